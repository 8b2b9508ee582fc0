// length: bytes of the packet from the network header on (libxt_length of iptables 1.8.9, length_mt() of
// xt_length.c).

import type { Match } from '../extension.ts'
import { inRange, printRange, type Range } from './parts.ts'

export interface Length {
  readonly range: Range
  readonly invert: boolean
}

export const length: Match<Length> = {
  kind: 'match',
  name: 'length',
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ range, invert }) => [
      [0, 2, range[0]],
      [2, 2, range[1]],
      [4, 1, invert ? 1 : 0],
    ],
  },
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
