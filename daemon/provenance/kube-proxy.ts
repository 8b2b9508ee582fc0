// kube-proxy in iptables mode: KUBE-SERVICES leads by service (KUBE-SVC-, KUBE-EXT-, KUBE-FW-) to endpoints (KUBE-SEP-).

import { inComments, oneOf, optionOf, type Recogniser, type Surroundings } from './author.ts'

const HOUSEKEEPING: Readonly<Record<string, string>> = {
  'KUBE-SERVICES': 'every service',
  'KUBE-EXTERNAL-SERVICES': 'services from outside',
  'KUBE-NODEPORTS': 'node ports',
  'KUBE-NODE-PORT': 'node ports',
  'KUBE-LOAD-BALANCER': 'load balancers',
  'KUBE-POSTROUTING': 'masquerading of marked packets',
  'KUBE-MARK-MASQ': 'mark for masquerading',
  'KUBE-MARK-DROP': 'mark for dropping',
  'KUBE-FIREWALL': 'dropping of marked packets, and of strangers on 127.0.0.0/8',
  'KUBE-PROXY-FIREWALL': 'source ranges of load balancers',
  'KUBE-SOURCE-RANGES-FIREWALL': 'source ranges of load balancers',
  'KUBE-FORWARD': 'forwarding for services',
  'KUBE-KUBELET-CANARY': 'canary: tells when the tables were flushed',
  'KUBE-PROXY-CANARY': 'canary: tells when the tables were flushed',
}

/** Prefixes of chains of one service. */
const OF_SERVICE: Readonly<Record<string, string>> = {
  SVC: 'service',
  SVL: 'service, endpoints of this node alone',
  EXT: 'service from outside',
  XLB: 'service from outside',
  FW: 'service, source ranges of its load balancer',
}

/** `namespace/name:port` somewhere in a comment. */
const SERVICE = /(?:^|[\s"])([a-z0-9][a-z0-9.-]*\/[a-z0-9][a-z0-9.-]*(?::[A-Za-z0-9_.-]+)?)(?=$|[\s",])/

const KIND = /(cluster IP|loadbalancer IP|external IP|has no (?:local )?endpoints)/

/** The service that the chain is for, by the comments in it or on the way to it. */
function serviceOf(table: string, chain: string, around: Surroundings, depth = 0): string | null {
  for (const rule of [...around.rules(table, chain), ...around.callers(table, chain)]) {
    const found = inComments(SERVICE, rule)
    if (found !== null) return found
  }
  if (depth > 0) return null
  // An endpoint of rules without comments: whose chain leads to it.
  for (const caller of around.callers(table, chain)) {
    const found = serviceOf(table, caller.chain, around, depth + 1)
    if (found !== null) return found
  }
  return null
}

function endpointOf(table: string, chain: string, around: Surroundings): string | null {
  for (const rule of around.rules(table, chain)) {
    const to = optionOf(rule, '--to-destination')
    if (to !== null) return to
  }
  return null
}

export const kubeProxy: Recogniser = {
  program: 'kube-proxy',
  words: {
    chains: [oneOf(Object.keys(HOUSEKEEPING)), /^KUBE-(?:SVC|SVL|EXT|XLB|FW|SEP)-(?<hash>[A-Z0-9]+)$/],
    sets: [/^KUBE-[A-Z0-9-]+$/],
    comments: [
      /^(?:(?:pod |masquerade |masquerade LOCAL |route LOCAL )?traffic for )?(?<names>[a-z0-9.-]+\/[a-z0-9.-]+(?::[\w.-]+)?)(?: -> (?<address>\S+))?(?: (?:cluster IP|loadbalancer IP|external IP|external destinations|has no (?:local )?endpoints))?$/,
      /^kubernetes (?:forwarding|postrouting) rules$/,
      /^kubernetes (?:externally-visible )?service portals$/,
      /^kubernetes (?:load balancer firewall|health check service ports|service traffic requiring SNAT)$/,
      /^kubernetes forwarding conntrack (?:pod source |pod destination )?rule$/,
      /^kubernetes firewall for dropping marked packets$/,
      /^kubernetes service nodeports; NOTE: this must be the last rule in this chain$/,
      /^block incoming localnet connections$/,
    ],
  },
  chain(table, name, around) {
    if (!name.startsWith('KUBE-')) return null
    const own = HOUSEKEEPING[name]
    if (own !== undefined) return own
    const kind = /^KUBE-([A-Z]+)-/.exec(name)?.[1] ?? ''
    const service = serviceOf(table, name, around)
    if (kind === 'SEP') {
      const endpoint = endpointOf(table, name, around) ?? 'an address'
      return service === null ? `endpoint ${endpoint}` : `endpoint ${endpoint} of ${service}`
    }
    const words = OF_SERVICE[kind]
    if (words === undefined) return ''
    return service === null ? words : words.replace('service', `service ${service}`)
  },
  rule(rule, around) {
    const { table, chain, target } = rule
    const service = inComments(SERVICE, rule)
    const ours = chain.startsWith('KUBE-')
    if (!ours && target?.startsWith('KUBE-') !== true) return null
    if (service === null) return null
    if (chain.startsWith('KUBE-SEP-')) return kubeProxy.chain(table, chain, around)
    if (target?.startsWith('KUBE-SEP-')) return kubeProxy.chain(table, target, around)
    const kind = inComments(KIND, rule)
    return `service ${service}${kind === null ? '' : `, ${kind}`}`
  },
}
