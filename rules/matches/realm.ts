// realm: the realm of a packet's route (libxt_realm of iptables 1.8.9, realm_mt() of xt_realm.c).

import type { Match } from '../extension.ts'
import { formatNamedMask, type NamedMask, parseNamedMask } from './named-mask.ts'

const DEFAULT_NAME = 'cosmos'

export const realm: Match<NamedMask> = {
  kind: 'match',
  name: 'realm',
  families: [4],
  chains: ['INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  options: [{ flag: 'realm', required: true, invertible: true }],
  help: `realm match options:
[!] --realm value[/mask]
				Match realm
`,
  parse: (o) => parseNamedMask(o, 'realm', DEFAULT_NAME),
  print: (m) => `${m.invert ? '! ' : ''}--realm ${formatNamedMask(m, DEFAULT_NAME, false)}`,
  list: (m, numeric) => `${m.invert ? '! ' : ''}realm ${formatNamedMask(m, DEFAULT_NAME, numeric)}`,
  reads: ['fib'],
  // Differs from Linux: only the realm of the route to the destination counts, not that of the one to the source.
  emit: (m, js) =>
    js`(((pkt.route === null ? 0 : pkt.route.realm) & ${m.mask | 0}) === ${m.value | 0}) !== ${m.invert}`,
}
