// CLASSIFY: sets the packet's priority, a tc class (libxt_CLASSIFY of iptables 1.8.9, classify_tg() of
// xt_CLASSIFY.c).

import type { Target } from '../extension.ts'
import { OptionError } from '../options.ts'
import { scanned } from '../text/numbers.ts'

export interface Classify {
  /** Major in the upper 16 bits, minor in the lower; unsigned. */
  readonly priority: number
}

/** A number of sscanf("%x"): a sign and a prefix may stand in front, and digits may be missing behind the prefix. */
const HEX = String.raw`\s*([+-]?)(?:0[xX])?([0-9a-fA-F]+|(?<=0[xX]))`
const CLASS = new RegExp(`^${HEX}:${HEX}`)

/** sscanf("%x:%x"): what stands behind the second number is not looked at. */
function parseClass(text: string): number {
  const found = CLASS.exec(text)
  if (found === null) throw new OptionError(`Bad class value "${text}"`)
  const number = (sign: string, digits: string): number =>
    Number(BigInt.asIntN(32, scanned(BigInt(`0x${digits || 0}`), sign === '-')))
  const major = number(found[1]!, found[2]!)
  const minor = number(found[3]!, found[4]!)
  return ((major << 16) | (minor & 0xffff)) >>> 0
}

export const classify: Target<Classify> = {
  kind: 'target',
  name: 'CLASSIFY',
  families: [4, 6],
  layout: { size: 8, fields: ({ priority }) => [[0, 4, priority]] },
  chains: ['OUTPUT', 'FORWARD', 'POSTROUTING'],
  options: [{ flag: 'set-class', required: true }],
  help: `CLASSIFY target options:
--set-class MAJOR:MINOR    Set skb->priority value (always hexadecimal!)
`,
  parse: (o) => ({ priority: parseClass(o.text('set-class')) }),
  print({ priority }) {
    const part = (value: number): string => value.toString(16).padStart(4, '0')
    return `--set-class ${part(priority >>> 16)}:${part(priority & 0xffff)}`
  },
  list: ({ priority }) =>
    `CLASSIFY set ${(priority >>> 16).toString(16)}:${(priority & 0xffff).toString(16)}`,
  reads: [],
  flow: 'continue',
  repeats: 'once',
  emit: (m, js) => js`pkt.priority = ${m.priority}`,
}
