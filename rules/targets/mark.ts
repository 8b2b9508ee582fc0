// MARK: sets the packet's mark (libxt_MARK of iptables 1.8.9, mark_tg() of xt_mark.c).

import type { Target } from '../extension.ts'
import { type Options, WholeError } from '../options.ts'
import { hex } from '../text/numbers.ts'

/** mark = (mark & ~mask) ^ value; unsigned 32 bits. */
export interface SetMark {
  readonly value: number
  readonly mask: number
}

const ALL = 0xffffffff
export const MARK_FLAGS = ['set-xmark', 'set-mark', 'and-mark', 'or-mark', 'xor-mark'] as const

/** The five ways to say it, which CONNMARK shares. */
export function parseMark(o: Options, flag: (typeof MARK_FLAGS)[number]): SetMark {
  const bits = (): number => o.uint(flag, 32)
  switch (flag) {
    case 'set-xmark':
      return o.valueMask(flag)
    case 'set-mark': {
      const { value, mask } = o.valueMask(flag)
      return { value, mask: (mask | value) >>> 0 }
    }
    case 'and-mark':
      return { value: 0, mask: ~bits() >>> 0 }
    case 'or-mark': {
      const value = bits()
      return { value, mask: value }
    }
    case 'xor-mark':
      return { value: bits(), mask: 0 }
  }
}

/** The shortest name for what it does. */
export function listMark({ value, mask }: SetMark): string {
  if (value === 0) return `and ${hex(~mask)}`
  if (value === mask) return `or ${hex(value)}`
  if (mask === 0) return `xor ${hex(value)}`
  if (mask === ALL) return `set ${hex(value)}`
  return `xset ${hex(value)}/${hex(mask)}`
}

const clash = (flag: string): string[] => MARK_FLAGS.filter((other) => other !== flag)

export const mark: Target<SetMark> = {
  kind: 'target',
  name: 'MARK',
  revision: 2,
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ value, mask }) => [
      [0, 4, value],
      [4, 4, mask],
    ],
  },
  options: MARK_FLAGS.map((flag) => ({ flag, excludes: clash(flag) })),
  help: `MARK target options:
  --set-xmark value[/mask]  Clear bits in mask and XOR value into nfmark
  --set-mark value[/mask]   Clear bits in mask and OR value into nfmark
  --and-mark bits           Binary AND the nfmark with bits
  --or-mark bits            Binary OR the nfmark with bits
  --xor-mark bits           Binary XOR the nfmark with bits
`,
  parse(o) {
    const given = MARK_FLAGS.find((flag) => o.has(flag))
    if (given === undefined)
      throw new WholeError('MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required')
    return parseMark(o, given)
  },
  print: (m) => `--set-xmark ${hex(m.value)}/${hex(m.mask)}`,
  list: (m) => `MARK ${listMark(m)}`,
  reads: ['mark'],
  writes: ['mark'],
  flow: 'continue',
  repeats: 'once',
  // >>> 0: & and ^ give signed numbers, marks are unsigned.
  emit(m, js) {
    if (m.mask === ALL) return js`pkt.mark = ${m.value}`
    return js`pkt.mark = (pkt.mark & ${~m.mask} ^ ${m.value}) >>> 0`
  },
}
