// connlabel: one of 128 bits of a connection (libxt_connlabel of iptables 1.8.9, connlabel_mt() of xt_connlabel.c).
// Only connections that are made while some rule asks for labels have room for them.

import type { Conntrack } from '../../conntrack/conntrack.ts'
import { Event, EXTENSIONS, Extension, LABELS, noteEvents, STRIDE } from '../../conntrack/table.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { OptionError } from '../options.ts'
import { sharedOf } from '../shared.ts'
import { plainStrtoul } from '../text/numbers.ts'

export interface ConnLabel {
  readonly bit: number
  readonly invert: boolean
  readonly set: boolean
}

const LAST_BIT = 127

const NO_NAMES = 'Warning: cannot open /etc/xtables/connlabel.conf: No such file or directory\n'

/** Differs from Linux: there is no connlabel.conf, so labels have numbers only. */
function parseLabel(text: string, warn: (text: string) => void): number {
  if (text === '') throw new OptionError('Argument must have a minimum length of 1 characters\n')
  // An int, whose lower half is kept.
  const { value, end } = plainStrtoul(text, 0)
  const bit = Number(BigInt.asIntN(32, value))
  if (end === text.length && bit >= 0) return bit & 0xffff
  warn(NO_NAMES)
  throw new OptionError(`label '${text}' not found or invalid value`)
}

/** Sets the bit first if asked to; false without room for it. Does not allocate. */
function has(pkt: Packet, conntrack: Conntrack, bit: number, set: boolean): boolean {
  if (pkt.ct < 0) return false
  const { table } = conntrack
  const { words } = table
  const entry = pkt.ct * STRIDE
  if ((words[entry + EXTENSIONS]! & Extension.Labels) === 0) return false
  const labels = table.extraOf(pkt.ct, LABELS + (bit >> 5))
  const mask = 1 << (bit & 31)
  if ((labels & mask) !== 0) return true
  if (!set) return false
  table.setExtra(pkt.ct, LABELS + (bit >> 5), labels | mask)
  noteEvents(words, entry, Event.Label)
  return true
}

interface Need {
  readonly undo: () => void
}

export const connlabel: Match<ConnLabel> = {
  kind: 'match',
  name: 'connlabel',
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ bit, invert, set }) => [
      [0, 2, bit],
      [2, 2, bits(invert, set)],
    ],
  },
  options: [
    { flag: 'label', required: true, invertible: true },
    { flag: 'set', arg: 'none' },
  ],
  help: `connlabel match options:
[!] --label name     Match if label has been set on connection
    --set            Set label on connection
`,
  parse: (o) => ({
    bit: parseLabel(o.text('label'), (text) => o.warn(text)),
    invert: o.inverted('label'),
    set: o.has('set'),
  }),
  printRemark: NO_NAMES,
  print: (m) => `${m.invert ? '! ' : ''}--label "${m.bit}"${m.set ? ' --set' : ''}`,
  list: (m) => `connlabel ${m.invert ? '! ' : ''}${m.bit}${m.set ? ' set' : ''}`,
  check: (m) =>
    m.bit > LAST_BIT ? { errno: 'ERANGE', reason: `connlabel: no bit ${m.bit} in a connection` } : null,
  tracks: true,
  state: (_, env) =>
    sharedOf<Need>(env.host, 'connlabel').take('', () => ({ undo: env.conntrack.needLabels() })),
  release(_, env) {
    const needs = sharedOf<Need>(env.host, 'connlabel')
    const need = needs.get('')
    needs.give('')
    if (needs.get('') === null) need?.undo()
  },
  reads: ['conntrack', 'state'],
  emit: (m, js) => js`${js.bind(has)}(pkt, ${js.env.conntrack}, ${m.bit}, ${m.set}) !== ${m.invert}`,
}
