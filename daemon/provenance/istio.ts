// Istio: ISTIO_…, which lead the traffic of a pod through its proxy.

import { oneOf, optionOf, type Recogniser } from './author.ts'

const KNOWN: Readonly<Record<string, string>> = {
  ISTIO_INBOUND: 'which inbound traffic goes through the proxy',
  ISTIO_IN_REDIRECT: 'to the proxy, inbound',
  ISTIO_OUTPUT: 'which outbound traffic goes through the proxy',
  ISTIO_REDIRECT: 'to the proxy, outbound',
  ISTIO_TPROXY: 'to the proxy, inbound, addresses kept',
  ISTIO_DIVERT: 'connections that the proxy has',
  ISTIO_DROP: 'invalid packets',
  ISTIO_OUTPUT_DNS: 'DNS through the proxy',
  ISTIO_PRERT: 'ambient: inbound',
}

const PORTS: Readonly<Record<string, string>> = {
  '15001': 'outbound listener',
  '15006': 'inbound listener',
  '15008': 'HBONE listener',
  '15053': 'DNS listener',
}

export const istio: Recogniser = {
  program: 'Istio',
  words: { chains: [oneOf(Object.keys(KNOWN))] },
  chain: (_, name) => (/^ISTIO_/.test(name) ? (KNOWN[name] ?? '') : null),
  rule(rule) {
    if (!rule.chain.startsWith('ISTIO_')) return null
    const port = optionOf(rule, '--to-ports') ?? optionOf(rule, '--on-port')
    if (port === null) return null
    return `to port ${port} of the proxy${PORTS[port] === undefined ? '' : `, its ${PORTS[port]}`}`
  },
}
