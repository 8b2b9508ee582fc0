// dscp: the DSCP bits of the TOS byte (libxt_dscp of iptables 1.8.9, dscp_mt() of xt_dscp.c).

import type { Match } from '../extension.ts'
import { OptionError, WholeError } from '../options.ts'
import { emitTos, hexByte } from './tos.ts'

export interface Dscp {
  /** 0 to 63. */
  readonly value: number
  readonly invert: boolean
}

/** RFC 2474, 2597, 3246: CSx is x * 8, AFxy is x * 8 + y * 2. */
const CLASSES: ReadonlyMap<string, number> = new Map([
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((x) => [`CS${x}`, x * 8] as const),
  ['BE', 0],
  ...[1, 2, 3, 4].flatMap((x) => [1, 2, 3].map((y) => [`AF${x}${y}`, x * 8 + y * 2] as const)),
  ['EF', 46],
])

/** The code point of a class name, in any case; what follows the name is not looked at. Throws OptionError. */
export function dscpClass(text: string): number {
  const upper = text.toUpperCase()
  for (const [name, value] of CLASSES) if (upper.startsWith(name)) return value
  throw new OptionError(`Invalid DSCP value \`${text}'`)
}

export const dscp: Match<Dscp> = {
  kind: 'match',
  name: 'dscp',
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ value, invert }) => [
      [0, 1, value],
      [1, 1, invert ? 1 : 0],
    ],
  },
  options: [
    { flag: 'dscp', invertible: true, excludes: ['dscp-class'] },
    { flag: 'dscp-class', invertible: true, excludes: ['dscp'] },
  ],
  help: `dscp match options
[!] --dscp value		Match DSCP codepoint with numerical value
  		                This value can be in decimal (ex: 32)
               		or in hex (ex: 0x20)
[!] --dscp-class name		Match the DiffServ class. This value may
				be any of the BE,EF, AFxx or CSx classes

				These two options are mutually exclusive !
`,
  parse(o) {
    if (o.has('dscp')) return { value: o.uint('dscp', 8, 0, 63), invert: o.inverted('dscp') }
    if (o.has('dscp-class'))
      return { value: dscpClass(o.text('dscp-class')), invert: o.inverted('dscp-class') }
    throw new WholeError('DSCP match: Parameter --dscp is required')
  },
  print: (m) => `${m.invert ? '! ' : ''}--dscp ${hexByte(m.value)}`,
  list: (m) => `DSCP match ${m.invert ? '!' : ''}${hexByte(m.value)}`,
  reads: ['tos'],
  emit(m, js) {
    const value = js`${emitTos(js)} >> 2`
    return m.invert ? js`${value} !== ${m.value}` : js`${value} === ${m.value}`
  },
}
