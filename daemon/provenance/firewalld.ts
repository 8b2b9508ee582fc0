// firewalld with the iptables backend: a chain for each zone or policy, hook and stage: IN_public_allow.

import type { Recogniser, Surroundings } from './author.ts'

const WAYS: Readonly<Record<string, string>> = {
  IN: 'to this host',
  OUT: 'of this host',
  FWD: 'forwarded',
  FWDI: 'forwarded, in by',
  FWDO: 'forwarded, out by',
  PRE: 'before routing',
  POST: 'after routing',
}

const HOOKS: Readonly<Record<string, string>> = {
  IN: 'INPUT',
  OUT: 'OUTPUT',
  FWD: 'FORWARD',
  FWDI: 'FORWARD',
  FWDO: 'FORWARD',
  PRE: 'PREROUTING',
  POST: 'POSTROUTING',
}

const GENERAL =
  /^(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING)_(direct|ZONES|ZONES_SOURCE|ZONES_IFACES|IN_ZONES|OUT_ZONES|IN_ZONES_SOURCE|OUT_ZONES_SOURCE|POLICIES_pre|POLICIES_post|rpfilter)$/

const STAGES = new Set(['pre', 'log', 'deny', 'allow', 'post'])

/** Policies are led to from the chains of policies, zones from those of zones. */
function isPolicy(table: string, chain: string, hook: string, around: Surroundings): boolean {
  return ['pre', 'post'].some((stage) =>
    around.rules(table, `${hook}_POLICIES_${stage}`).some((rule) => rule.target === chain),
  )
}

export const firewalld: Recogniser = {
  program: 'firewalld',
  words: {
    beside: Object.values(HOOKS).flatMap((hook) => [`${hook}_direct`, `${hook}_ZONES`]),
    chains: [
      GENERAL,
      /^RFC3964_IPv4$/,
      /^(?:IN|OUT|FWD|FWDI|FWDO|PRE|POST)_(?<name>.+?)(?:_(?:pre|log|deny|allow|post))?$/,
    ],
    logs: [/^(?:FINAL_REJECT|STATE_INVALID_DROP|rpfilter_DROP): $/],
  },
  chain(table, name, around) {
    const general = GENERAL.exec(name)
    if (general !== null) {
      const what = general[2]!
      if (what === 'direct') return 'direct rules'
      if (what.startsWith('POLICIES'))
        return `policies ${what.endsWith('pre') ? 'before' : 'after'} the zones`
      return what === 'rpfilter' ? 'reverse path' : 'choice of the zone'
    }
    if (name === 'RFC3964_IPv4') return '6to4 of addresses that are not public'
    const found = /^(IN|OUT|FWD|FWDI|FWDO|PRE|POST)_(.+)$/.exec(name)
    if (found === null) return null
    const way = found[1]!
    const hook = HOOKS[way]!
    // Others have such names as well; only firewalld has these beside them.
    if (!around.has(table, `${hook}_direct`) && !around.has(table, `${hook}_ZONES`)) return null
    const parts = found[2]!.split('_')
    const stage = parts.length > 1 && STAGES.has(parts.at(-1)!) ? parts.pop()! : null
    const zone = parts.join('_')
    const kind = isPolicy(table, `${way}_${zone}`, hook, around) ? 'policy' : 'zone'
    return `${kind} ${zone}, ${WAYS[way]}${stage === null ? '' : `: ${stage}`}`
  },
}
