// frag: the fragment header (libip6t_frag of iptables 1.8.9, frag_mt6() of ip6t_frag.c).

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { FRAGMENT_HEADER_LEN, NEXTHDR_FRAGMENT } from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { type AskedNumber, askedNumber, headerOf, listNumber, printNumber, wordWithin } from './headers6.ts'
import { printRange, type Range, words } from './parts.ts'

export interface Frag {
  readonly id: Range
  readonly idInvert: boolean
  /** IP6T_FRAG_IDS: --fragid was said. Nothing looks at it but -C and -D. */
  readonly idSaid: boolean
  /** Said and printed, but the kernel does not look at it: the header's length never changes. */
  readonly length: AskedNumber | null
  readonly reserved: boolean
  readonly first: boolean
  readonly more: boolean
  readonly last: boolean
}

const ALL_IDS: Range = [0, 0xffffffff]
const OFFSET = 0xfff8
const RESERVED = 0x0006
const MORE = 0x0001

const all = ([min, max]: Range): boolean => min === 0 && max === 0xffffffff

/** Does not allocate. */
function fits(pkt: Packet, memory: FrameMemory, m: Frag): boolean {
  const at = headerOf(pkt, memory, NEXTHDR_FRAGMENT, FRAGMENT_HEADER_LEN)
  if (at < 0) return false
  const { view } = memory
  if (!wordWithin(view, at + 4, m.id, m.idInvert)) return false
  const word = view.getUint16(at + 2)
  if (m.reserved && (view.getUint8(at + 1) !== 0 || (word & RESERVED) !== 0)) return false
  if (m.first && (word & OFFSET) !== 0) return false
  if (m.more && (word & MORE) === 0) return false
  return !m.last || (word & MORE) === 0
}

function listIds(m: Frag): string {
  if (all(m.id) && !m.idInvert) return ''
  return `id${m.id[0] === m.id[1] ? '' : 's'}:${m.idInvert ? '!' : ''}${printRange(m.id)}`
}

export const frag: Match<Frag> = {
  kind: 'match',
  name: 'frag',
  families: [6],
  layout: {
    size: 16,
    fields: ({ id, idInvert, idSaid, length, reserved, first, more, last }) => [
      [0, 4, id[0]],
      [4, 4, id[1]],
      [8, 4, length?.value ?? 0],
      [12, 1, bits(idSaid, length !== null, reserved, first, more, last)],
      [13, 1, bits(idInvert, length?.invert)],
    ],
  },
  options: [
    { flag: 'fragid', invertible: true },
    { flag: 'fraglen', invertible: true },
    { flag: 'fragres', arg: 'none' },
    { flag: 'fragfirst', arg: 'none' },
    { flag: 'fragmore', arg: 'none', excludes: ['fraglast'] },
    { flag: 'fraglast', arg: 'none', excludes: ['fragmore'] },
  ],
  help: `frag match options:
[!] --fragid id[:id]           match the id (range)
[!] --fraglen length           total length of this header
 --fragres                     check the reserved field too
 --fragfirst                   matches on the first fragment
 [--fragmore|--fraglast]       there are more fragments or this
                               is the last one
`,
  parse: (o) => ({
    id: o.has('fragid') ? o.uintRange('fragid', 32) : ALL_IDS,
    idSaid: o.has('fragid'),
    idInvert: o.has('fragid') && o.inverted('fragid'),
    length: askedNumber(o, 'fraglen'),
    reserved: o.has('fragres'),
    first: o.has('fragfirst'),
    more: o.has('fragmore'),
    last: o.has('fraglast'),
  }),
  print: (m) =>
    words(
      all(m.id) ? '' : `${m.idInvert ? '! ' : ''}--fragid ${printRange(m.id)}`,
      printNumber('fraglen', m.length),
      m.reserved ? '--fragres' : '',
      m.first ? '--fragfirst' : '',
      m.more ? '--fragmore' : '',
      m.last ? '--fraglast' : '',
    ),
  // Without an identification its blank stays, as in iptables.
  list(m) {
    const rest = words(
      listNumber('length', m.length),
      m.reserved ? 'reserved' : '',
      m.first ? 'first' : '',
      m.more ? 'more' : '',
      m.last ? 'last' : '',
    )
    return `frag ${listIds(m)}${rest === '' ? '' : ` ${rest}`}`
  },
  reads: ['fragment', 'payload'],
  hotdrop: true,
  emit: (m, js) => js`${js.bind(fits)}(pkt, ${js.env.host.memory}, ${m})`,
}
