// podman through netavark: NETAVARK…, a chain for each network and for the ports of each.

import { inComments, oneOf, optionOf, type Recogniser } from './author.ts'

const KNOWN: Readonly<Record<string, string>> = {
  NETAVARK_FORWARD: 'forwarding of all networks',
  NETAVARK_INPUT: 'services of this host for containers',
  NETAVARK_ISOLATION_1: 'isolation of networks',
  NETAVARK_ISOLATION_2: 'isolation of networks',
  NETAVARK_ISOLATION_3: 'isolation of networks',
  'NETAVARK-HOSTPORT-DNAT': 'published ports',
  'NETAVARK-HOSTPORT-SETMARK': 'mark for masquerading',
  'NETAVARK-HOSTPORT-MASQ': 'masquerading of marked packets',
}

const NAME = /^dnat name: (\S+) id: [0-9a-f]+/
const CONTAINER = /^dnat name: \S+ id: ([0-9a-f]{1,12})/

export const podman: Recogniser = {
  program: 'podman',
  words: {
    chains: [oneOf(Object.keys(KNOWN)), /^NETAVARK-(?:DN-)?(?<hash>[0-9A-Fa-f]+)$/],
    comments: [
      /^dnat name: (?<name>\S+) id: (?<hash>[0-9a-f]+)$/,
      /^netavark (?:firewall rules|isolation rules|portfw masq mark)$/,
    ],
  },
  chain(table, name, around) {
    if (!/^NETAVARK[-_]/.test(name)) return null
    const known = KNOWN[name]
    if (known !== undefined) return known
    const ports = name.startsWith('NETAVARK-DN-')
    for (const rule of around.callers(table, name)) {
      const network = inComments(NAME, rule)
      if (network !== null) return `ports of containers in network ${network}`
    }
    const prefix = around.callers(table, name).map((rule) => optionOf(rule, '-s'))[0]
    return ports ? 'ports of containers' : `network${prefix == null ? '' : ` ${prefix}`}, masquerading`
  },
  rule(rule) {
    if (!/^NETAVARK/.test(rule.chain)) return null
    const container = inComments(CONTAINER, rule)
    if (container !== null) return `ports of container ${container} in network ${inComments(NAME, rule)}`
    const to = optionOf(rule, '--to-destination')
    return to === null ? null : `port ${optionOf(rule, '--dport') ?? 'any'} published for container ${to}`
  },
}
