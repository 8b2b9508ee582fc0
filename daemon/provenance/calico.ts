// Calico (Felix): chains cali-…, and a hash of the rule as `cali:…` in a comment of each.

import { oneOf, type Recogniser, type Surroundings, type Written } from './author.ts'

const PREFIXES: readonly (readonly [RegExp, string])[] = [
  [/^cali-pri?-(.+)$/, 'inbound'],
  [/^cali-pro?-(.+)$/, 'outbound'],
  [/^cali-tw-(.+)$/, 'to workload'],
  [/^cali-fw-(.+)$/, 'from workload'],
  [/^cali-sm-(.+)$/, 'mark of workload'],
  [/^cali-th-(.+)$/, 'to host endpoint'],
  [/^cali-fh-(.+)$/, 'from host endpoint'],
  [/^cali-thfw-(.+)$/, 'forwarded to host endpoint'],
  [/^cali-fhfw-(.+)$/, 'forwarded from host endpoint'],
]

const KNOWN: Readonly<Record<string, string>> = {
  'cali-PREROUTING': 'start',
  'cali-INPUT': 'packets to this host',
  'cali-FORWARD': 'forwarded packets',
  'cali-OUTPUT': 'packets of this host',
  'cali-POSTROUTING': 'last things',
  'cali-wl-to-host': 'workloads to this host',
  'cali-from-host-endpoint': 'policy of host endpoints, inbound',
  'cali-to-host-endpoint': 'policy of host endpoints, outbound',
  'cali-from-hep-forward': 'forwarding policy of host endpoints, inbound',
  'cali-to-hep-forward': 'forwarding policy of host endpoints, outbound',
  'cali-from-wl-dispatch': 'which workload it comes from',
  'cali-to-wl-dispatch': 'which workload it goes to',
  'cali-nat-outgoing': 'masquerading of pods that leave the pools',
  'cali-fip-dnat': 'floating addresses, inbound',
  'cali-fip-snat': 'floating addresses, outbound',
  'cali-forward-check': 'whether a service will forward it',
  'cali-set-endpoint-mark': 'mark of the endpoint that it comes from',
  'cali-from-endpoint-mark': 'endpoint by mark',
  'cali-forward-endpoint-mark': 'endpoint by mark, forwarded',
  'cali-rpf-skip': 'sources that may be spoofed',
  'cali-cidr-block': 'blocked prefixes',
  'cali-failsafe-in': 'ports that are always open, inbound',
  'cali-failsafe-out': 'ports that are always open, outbound',
}

const isHash = (comment: string): boolean => /^cali:[\w-]{1,16}$/.test(comment)

/** What the comments say beside the hash. */
const words = ({ comments }: Written): string | null => comments.find((c) => !isHash(c) && c !== '') ?? null

/** The policy that the chain is of, as a rule in it or a jump to it says. */
function policyOf(table: string, chain: string, around: Surroundings): string | null {
  for (const rule of [...around.rules(table, chain), ...around.callers(table, chain)])
    for (const comment of rule.comments) {
      const name = /\b(?:[Pp]olicy|[Pp]rofile) ((?:[\w-]+\/)?[\w.-]+(?:\/[\w.-]+)?)/.exec(comment)?.[1]
      if (name !== undefined && name !== 'explicitly') return name
    }
  return null
}

export const calico: Recogniser = {
  program: 'Calico',
  words: {
    chains: [
      oneOf(Object.keys(KNOWN)),
      /^cali-(?:pri?|pro?|p[io]|tw|fw|sm|th|fh|thfw|fhfw)-_(?<hash>[\w-]+)$/,
      /^cali-(?:tw|fw|sm|th|fh|thfw|fhfw)-(?<iface>.+)$/,
      /^cali-(?:pri?|pro?|p[io])-(?:kns\.|ksa\.)?(?<names>.+)$/,
    ],
    sets: [
      /^cali[46]0(?:masq-ipam-pools|all-ipam-pools|this-host|all-hosts-net|all-vxlan-net)$/,
      /^cali[46]0[sd]:(?<hash>[\w-]+)$/,
    ],
    comments: [
      /^cali:(?<hash>[\w-]{1,16})$/,
      /^(?:Policy|Profile) (?:kns\.|ksa\.)?(?<names>[\w./-]+)(?: (?:ingress|egress))?$/,
      /^(?:Start|End) of (?:tier (?<name>[\w-]+)|policies)(?:\. .*)?$/,
      /^(?:Return if (?:policy|profile) accepted|Drop if no (?:policies passed packet|profiles matched))$/,
      /^(?:Unknown (?:interface|endpoint)|Packet accepted by (?:policy|profile)|Allow ICMP and routing)$/,
      /^(?:Configured DefaultEndpointToHostAction|Policy explicitly accepted packet\.)$/,
      /^Drop (?:VXLAN|IPinIP|IPIP) encapped packets originating in (?:pods|workloads)$/,
    ],
  },
  chain(table, name, around) {
    if (!name.startsWith('cali-')) return null
    const known = KNOWN[name]
    if (known !== undefined) return known
    for (const [pattern, about] of PREFIXES) {
      const rest = pattern.exec(name)?.[1]
      if (rest === undefined) continue
      if (about.includes('bound')) {
        const what = /^cali-pr[io]-/.test(name) ? 'profile' : 'policy'
        return `${what} ${policyOf(table, name, around) ?? rest}, ${about}`
      }
      return `${about} ${rest}`
    }
    return ''
  },
  rule(rule, around) {
    const ours = rule.chain.startsWith('cali-') || rule.target?.startsWith('cali-') === true
    if (!ours && !rule.comments.some(isHash)) return null
    const said = words(rule)
    const of =
      calico.chain(rule.table, rule.chain, around) ?? calico.chain(rule.table, rule.target ?? '', around)
    return said === null ? (of ?? '') : of ? `${of}: ${said}` : said
  },
}
