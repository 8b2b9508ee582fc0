// length: bytes of the packet from the network header on (libxt_length of iptables 1.8.9, length_mt() of
// xt_length.c).

import type { Match } from '../extension.ts'
import { inRange, printRange, type Range, SHORT_RANGE_LAYOUT } from './parts.ts'

export interface Length {
  readonly range: Range
  readonly invert: boolean
}

export const length: Match<Length> = {
  kind: 'match',
  name: 'length',
  families: [4, 6],
  layout: SHORT_RANGE_LAYOUT,
  options: [{ flag: 'length', required: true, invertible: true }],
  help: `length match options:
[!] --length length[:length]    Match packet length against value or range
                                of values (inclusive)
`,
  parse: (o) => ({ range: o.uintRange('length', 16), invert: o.inverted('length') }),
  print: (m) => `${m.invert ? '! ' : ''}--length ${printRange(m.range)}`,
  list: (m) => `length ${m.invert ? '!' : ''}${printRange(m.range)}`,
  reads: ['length'],
  emit: (m, js) => inRange(js`(pkt.end - pkt.l3)`, m.range, 0xffff, m.invert, js),
}
