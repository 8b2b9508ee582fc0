// The CNI plugins bridge, portmap and firewall: CNI-…, with the network's name and the container in comments.

import { inComments, oneOf, optionOf, type Recogniser } from './author.ts'

const KNOWN: Readonly<Record<string, string>> = {
  'CNI-FORWARD': 'firewall: forwarding of containers',
  'CNI-ADMIN': 'firewall: rules of the administrator',
  'CNI-ISOLATION-STAGE-1': 'firewall: isolation of networks',
  'CNI-ISOLATION-STAGE-2': 'firewall: isolation of networks',
  'CNI-HOSTPORT-DNAT': 'portmap: published ports',
  'CNI-HOSTPORT-SETMARK': 'portmap: mark for masquerading',
  'CNI-HOSTPORT-MASQ': 'portmap: masquerading of marked packets',
}

const NAME = /name: "([^"]+)" id: "/
const ID = /id: "([^"]{1,12})/

export const cni: Recogniser = {
  program: 'CNI',
  words: {
    chains: [oneOf(Object.keys(KNOWN)), /^CNI-(?:DN-)?(?<hash>[0-9a-f]+)$/],
    comments: [
      /^(?:dnat )?name: "(?<name>[^"]*)" id: "(?<hash>[^"]*)"$/,
      /^CNI (?:portfwd masquerade mark|portfwd requiring masquerade|firewall plugin rules|firewall plugin admin overrides)$/,
    ],
  },
  chain(table, name, around) {
    if (!/^CNI-/.test(name)) return null
    const known = KNOWN[name]
    if (known !== undefined) return known
    const plugin = name.startsWith('CNI-DN-') ? 'portmap: ports' : 'bridge: masquerading'
    for (const rule of around.callers(table, name)) {
      const network = inComments(NAME, rule)
      if (network !== null) return `${plugin} of container ${inComments(ID, rule)} in network ${network}`
    }
    return plugin
  },
  rule(rule) {
    if (!rule.chain.startsWith('CNI-DN-')) return null
    const to = optionOf(rule, '--to-destination')
    return to === null
      ? null
      : `portmap: port ${optionOf(rule, '--dport') ?? 'any'} published for container ${to}`
  },
}
