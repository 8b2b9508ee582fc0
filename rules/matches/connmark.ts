// connmark: the connection's mark (libxt_connmark of iptables 1.8.9, connmark_mt() of xt_connmark.c).

import { CTMARK, STRIDE } from '../../conntrack/table.ts'
import type { Match } from '../extension.ts'
import { hexMask } from '../text/numbers.ts'
import type { Mark } from './mark.ts'

export const connmark: Match<Mark> = {
  kind: 'match',
  name: 'connmark',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 16,
    fields: ({ value, mask, invert }) => [
      [0, 4, value],
      [4, 4, mask],
      [8, 1, invert ? 1 : 0],
    ],
  },
  options: [{ flag: 'mark', required: true, invertible: true }],
  help: `connmark match options:
[!] --mark value[/mask]    Match ctmark value with optional mask
`,
  parse: (o) => ({ ...o.valueMask('mark'), invert: o.inverted('mark') }),
  print: (m) => `${m.invert ? '! ' : ''}--mark ${hexMask(m.value, m.mask)}`,
  list: (m) => `connmark match ${m.invert ? '!' : ''} ${hexMask(m.value, m.mask)}`,
  tracks: true,
  reads: ['connmark'],
  emit(m, js) {
    const words = js`${js.env.conntrack.table}.words`
    const value = js`((${words}[pkt.ct * ${STRIDE} + ${CTMARK}] & ${m.mask | 0}) === ${m.value | 0})`
    // In raw, behind a CT rule, the packet has that rule's template, whose mark is 0.
    const template = (m.value === 0) !== m.invert
    return js`pkt.ct >= 0 ? ${value} !== ${m.invert} : ${template ? js`pkt.ctTemplate !== null` : js`false`}`
  },
}
