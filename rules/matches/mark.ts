// mark: the packet's mark (libxt_mark of iptables 1.8.9, mark_mt() of xt_mark.c).

import type { Match } from '../extension.ts'
import { hexMask } from '../text/numbers.ts'

export interface Mark {
  /** Unsigned 32 bits. */
  readonly value: number
  readonly mask: number
  readonly invert: boolean
}

export const mark: Match<Mark> = {
  kind: 'match',
  name: 'mark',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 16,
    fields: ({ value, mask, invert }) => [
      [0, 4, value],
      [4, 4, mask],
      [8, 1, Number(invert)],
    ],
  },
  options: [{ flag: 'mark', required: true, invertible: true }],
  help: `mark match options:
[!] --mark value[/mask]    Match nfmark value with optional mask
`,
  parse: (o) => ({ ...o.valueMask('mark'), invert: o.inverted('mark') }),
  print: (m) => `${m.invert ? '! ' : ''}--mark ${hexMask(m.value, m.mask)}`,
  list: (m) => `mark match ${m.invert ? '! ' : ''}${hexMask(m.value, m.mask)}`,
  reads: ['mark'],
  narrows: (m) => (m.invert ? {} : { mark: m }),
  emit(m, js) {
    // & gives a signed number, marks are unsigned.
    const value = m.mask === 0xffffffff ? js`pkt.mark` : js`((pkt.mark & ${m.mask}) >>> 0)`
    return m.invert ? js`${value} !== ${m.value}` : js`${value} === ${m.value}`
  },
}
