// CONNMARK: sets the connection's mark, or copies between it and the packet's (libxt_CONNMARK of iptables 1.8.9,
// connmark_tg_v2() of xt_connmark.c).
//
//     set:      ctmark = ((ctmark & ~ctmask) ^ value) shifted
//     save:     ctmark = (ctmark & ~ctmask) ^ ((mark & nfmask) shifted)
//     restore:  mark   = (mark & ~nfmask) ^ ((ctmark & ctmask) shifted)

import { CTMARK, STRIDE } from '../../conntrack/table.ts'
import type { Code, Js } from '../compile/template.ts'
import type { Target } from '../extension.ts'
import { type Options, WholeError } from '../options.ts'
import { hex } from '../text/numbers.ts'
import { listMark, MARK_FLAGS, parseMark } from './mark.ts'

export interface ConnMark {
  readonly mode: 'set' | 'save' | 'restore'
  /** Mode 'set' only. */
  readonly value: number
  readonly ctMask: number
  readonly nfMask: number
  /** Bits to the left; negative to the right. */
  readonly shift: number
}

const ALL = 0xffffffff
const MODES: readonly string[] = [...MARK_FLAGS, 'save-mark', 'restore-mark']
/** Their order in the tool's enum, not in its table. */
const BY_NUMBER = 'set-mark save-mark restore-mark and-mark or-mark xor-mark set-xmark'.split(' ')
const clash = (flag: string): string[] => MODES.filter((other) => other !== flag)

/** Options count in the order given: a mask behind --set-mark replaces that one's. */
function parse(o: Options): ConnMark {
  let mode: ConnMark['mode'] | null = null
  let value = 0
  let ctMask = ALL
  let nfMask = ALL
  let shift = 0
  for (const flag of o.given()) {
    switch (flag) {
      case 'save-mark':
        mode = 'save'
        break
      case 'restore-mark':
        mode = 'restore'
        break
      case 'ctmask':
        ctMask = o.uint(flag, 32)
        break
      case 'nfmask':
        nfMask = o.uint(flag, 32)
        break
      case 'mask':
        ctMask = nfMask = o.uint(flag, 32)
        break
      case 'left-shift-mark':
        shift = o.uint(flag, 8, 0, 32)
        break
      case 'right-shift-mark':
        shift = 0 - o.uint(flag, 8, 0, 32)
        break
      default: {
        const set = parseMark(o, flag as (typeof MARK_FLAGS)[number])
        mode = 'set'
        value = set.value
        ctMask = set.mask
      }
    }
  }
  if (mode === null) throw new WholeError('CONNMARK target: No operation specified')
  return { mode, value, ctMask, nfMask, shift }
}

const printShift = (m: ConnMark, dashes: string): string =>
  m.shift === 0 ? '' : ` ${dashes}${m.shift > 0 ? 'left' : 'right'}-shift-mark ${Math.abs(m.shift)}`

function listCopy(m: ConnMark): string {
  if (m.nfMask === ALL && m.ctMask === ALL) return ''
  if (m.nfMask === m.ctMask) return ` mask ${hex(m.nfMask)}`
  return m.mode === 'save'
    ? ` nfmask ${hex(m.nfMask)} ctmask ~${hex(m.ctMask)}`
    : ` ctmask ${hex(m.ctMask)} nfmask ~${hex(m.nfMask)}`
}

function shifted(value: Code, shift: number, js: Js): Code {
  if (shift === 0) return value
  return shift > 0 ? js`(${value} << ${shift})` : js`(${value} >>> ${-shift})`
}

export const connmark: Target<ConnMark> = {
  kind: 'target',
  name: 'CONNMARK',
  revision: 2,
  families: [4, 6],
  layout: {
    size: 16,
    fields: (m) => [
      [0, 4, m.value],
      [4, 4, m.ctMask],
      [8, 4, m.nfMask],
      [12, 1, m.shift < 0 ? 1 : 0],
      [13, 1, Math.abs(m.shift)],
      [14, 1, ['set', 'save', 'restore'].indexOf(m.mode)],
    ],
  },
  options: [
    ...MODES.map((flag) => ({
      flag,
      id: BY_NUMBER.indexOf(flag),
      ...(flag === 'save-mark' || flag === 'restore-mark' ? { arg: 'none' as const } : {}),
      excludes: clash(flag),
    })),
    { flag: 'left-shift-mark' },
    { flag: 'right-shift-mark' },
    { flag: 'ctmask', excludes: ['mask'] },
    { flag: 'nfmask', excludes: ['mask'] },
    { flag: 'mask', excludes: ['ctmask', 'nfmask'] },
  ],
  help: `CONNMARK target options:
  --set-xmark value[/ctmask]    Zero mask bits and XOR ctmark with value
  --save-mark [--ctmask mask] [--nfmask mask]
                                Copy ctmark to nfmark using masks
  --restore-mark [--ctmask mask] [--nfmask mask]
                                Copy nfmark to ctmark using masks
  --set-mark value[/mask]       Set conntrack mark value
  --save-mark [--mask mask]     Save the packet nfmark in the connection
  --restore-mark [--mask mask]  Restore saved nfmark value
  --and-mark value              Binary AND the ctmark with bits
  --or-mark value               Binary OR  the ctmark with bits
  --xor-mark value              Binary XOR the ctmark with bits
  --left-shift-mark value       Left shift the ctmark with bits
  --right-shift-mark value      Right shift the ctmark with bits
`,
  parse,
  print(m) {
    const what =
      m.mode === 'set'
        ? `--set-xmark ${hex(m.value)}/${hex(m.ctMask)}`
        : `--${m.mode}-mark --nfmask ${hex(m.nfMask)} --ctmask ${hex(m.ctMask)}`
    return what + printShift(m, '--')
  },
  list(m) {
    const what = m.mode === 'set' ? listMark({ value: m.value, mask: m.ctMask }) : m.mode + listCopy(m)
    return `CONNMARK ${what}${printShift(m, '')}`
  },
  check: (m) => (Math.abs(m.shift) > 31 ? 'CONNMARK: a shift by 32' : null),
  tracks: true,
  reads: ['mark', 'connmark'],
  writes: ['mark', 'connmark'],
  flow: 'continue',
  repeats: 'once',
  // Differs from Linux: behind a CT rule in raw, the kernel would set the mark of that rule's template.
  emit(m, js) {
    const ctMark = js`${js.env.conntrack.table}.words[pkt.ct * ${STRIDE} + ${CTMARK}]`
    if (m.mode === 'restore') {
      const copied = shifted(js`(${ctMark} & ${m.ctMask | 0})`, m.shift, js)
      const kept = js`(pkt.mark & ${~m.nfMask})`
      const bare = js`(pkt.ctTemplate !== null && (pkt.mark = ${kept} >>> 0))`
      return js`pkt.ct >= 0 ? pkt.mark = (${kept} ^ ${copied}) >>> 0 : ${bare}`
    }
    const kept = js`(${ctMark} & ${~m.ctMask})`
    if (m.mode === 'set') {
      const set = shifted(js`(${kept} ^ ${m.value | 0})`, m.shift, js)
      return js`pkt.ct >= 0 && ${js.env.conntrack}.setMark(pkt.ct, ${set})`
    }
    const copied = shifted(js`(pkt.mark & ${m.nfMask | 0})`, m.shift, js)
    return js`pkt.ct >= 0 && ${js.env.conntrack}.setMark(pkt.ct, ${kept} ^ ${copied})`
  },
}
