// rt: the routing header (libip6t_rt of iptables 1.8.9, rt_mt6() of ip6t_rt.c). The --rt-0 options are for type 0,
// RFC 2460 §4.4: four reserved bytes, then addresses.

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { extensionLength, NEXTHDR_ROUTING } from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { addressField, bits } from '../layout.ts'
import { OptionError, type Options } from '../options.ts'
import { formatAddress, parseAddress, type Words } from '../text/address.ts'
import {
  type AskedNumber,
  askedNumber,
  fitsNumber,
  headerOf,
  listNumber,
  printNumber,
  within,
} from './headers6.ts'
import { printRange, type Range, words } from './parts.ts'

export interface Rt {
  readonly type: AskedNumber | null
  readonly segments: Range
  readonly segmentsInvert: boolean
  /** IP6T_RT_SGS: --rt-segsleft was said. Nothing looks at it but -C and -D. */
  readonly segmentsSaid: boolean
  /** Bytes. */
  readonly length: AskedNumber | null
  readonly reserved: boolean
  readonly addresses: readonly Words[]
  /** Others may stand between the addresses. */
  readonly notStrict: boolean
}

/** IP6T_RT_HOPS */
const MAX_ADDRESSES = 16
const HEADER = 4
const ADDRESSES = 8
const ALL: Range = [0, 0xffffffff]

const all = ([min, max]: Range): boolean => min === 0 && max === 0xffffffff

function parseAddresses(text: string): Words[] {
  const addresses: Words[] = []
  for (const item of text.split(',')) {
    if (addresses.length === MAX_ADDRESSES) throw new OptionError('too many addresses specified')
    const found = parseAddress(item, 6)
    if (found === null) throw new OptionError(`bad address: ${item}`)
    addresses.push(found)
  }
  return addresses
}

/** What must stand before an option on the command line. */
function checkOrder(o: Options): void {
  const given = o.given()
  const typeAt = given.indexOf('rt-type')
  const zero = typeAt >= 0 && !o.inverted('rt-type') && o.uint('rt-type', 32) === 0
  for (const [at, flag] of given.entries()) {
    if ((flag === 'rt-0-res' || flag === 'rt-0-addrs') && (!zero || typeAt > at))
      throw new OptionError(`\`--rt-type 0' required before \`--${flag}'`)
    if (flag === 'rt-0-not-strict') {
      const addresses = given.indexOf('rt-0-addrs')
      if (addresses < 0 || addresses > at)
        throw new OptionError("`--rt-0-addr ...' required before `--rt-0-not-strict'")
    }
  }
}

function isAddress(view: DataView, at: number, words: Words): boolean {
  return (
    view.getInt32(at) === words[0] &&
    view.getInt32(at + 4) === words[1] &&
    view.getInt32(at + 8) === words[2] &&
    view.getInt32(at + 12) === words[3]
  )
}

/** The addresses asked for are the header's, all of them in order; or with others between and behind. */
function hasAddresses(view: DataView, at: number, count: number, m: Rt): boolean {
  const { addresses } = m
  if (addresses.length > count) return false
  if (!m.notStrict && addresses.length !== count) return false
  let i = 0
  for (let n = 0; n < count && i < addresses.length; n++) {
    if (isAddress(view, at + n * 16, addresses[i]!)) i++
    else if (!m.notStrict) return false
  }
  return i === addresses.length
}

/** Does not allocate. */
function fits(pkt: Packet, memory: FrameMemory, m: Rt): boolean {
  const at = headerOf(pkt, memory, NEXTHDR_ROUTING, HEADER)
  if (at < 0) return false
  const { bytes, view } = memory
  const length = extensionLength(view, NEXTHDR_ROUTING, at)
  if (pkt.end - at < length) {
    pkt.hotdrop = true
    return false
  }
  if (!within(bytes[at + 3]!, m.segments, m.segmentsInvert)) return false
  if (!fitsNumber(length, m.length) || !fitsNumber(bytes[at + 2]!, m.type)) return false
  if (m.reserved && view.getUint32(at + HEADER) !== 0) return false
  return m.addresses.length === 0 || hasAddresses(view, at + ADDRESSES, (length - ADDRESSES) >> 4, m)
}

const listAddresses = (m: Rt): string => m.addresses.map((words) => formatAddress(words, 6)).join(',')

export const rt: Match<Rt> = {
  kind: 'match',
  name: 'rt',
  families: [6],
  layout: {
    size: 280,
    fields: (m) => [
      [0, 4, m.type?.value ?? 0],
      [4, 4, m.segments[0]],
      [8, 4, m.segments[1]],
      [12, 4, m.length?.value ?? 0],
      [
        16,
        1,
        bits(
          m.type !== null,
          m.segmentsSaid,
          m.length !== null,
          m.reserved,
          m.addresses.length > 0,
          m.notStrict,
        ),
      ],
      [17, 1, bits(m.type?.invert, m.segmentsInvert, m.length?.invert)],
      ...Array.from({ length: MAX_ADDRESSES }, (_, i) => addressField(20 + 16 * i, m.addresses[i])),
      [276, 1, m.addresses.length],
    ],
  },
  options: [
    { flag: 'rt-type', invertible: true },
    { flag: 'rt-segsleft', invertible: true },
    { flag: 'rt-len', invertible: true },
    { flag: 'rt-0-res', arg: 'none' },
    { flag: 'rt-0-addrs', holds: 'addresses' },
    { flag: 'rt-0-not-strict', arg: 'none' },
  ],
  help: `rt match options:
[!] --rt-type type             match the type
[!] --rt-segsleft num[:num]    match the Segments Left field (range)
[!] --rt-len length            total length of this header
 --rt-0-res                    check the reserved field too (type 0)
 --rt-0-addrs ADDR[,ADDR...]   Type=0 addresses (list, max: 16)
 --rt-0-not-strict             List of Type=0 addresses not a strict list
`,
  parse(o) {
    checkOrder(o)
    return {
      type: askedNumber(o, 'rt-type'),
      segments: o.has('rt-segsleft') ? o.uintRange('rt-segsleft', 32) : ALL,
      segmentsSaid: o.has('rt-segsleft'),
      segmentsInvert: o.has('rt-segsleft') && o.inverted('rt-segsleft'),
      length: askedNumber(o, 'rt-len'),
      reserved: o.has('rt-0-res'),
      addresses: o.has('rt-0-addrs') ? parseAddresses(o.text('rt-0-addrs')) : [],
      notStrict: o.has('rt-0-not-strict'),
    }
  },
  print: (m) =>
    words(
      printNumber('rt-type', m.type),
      all(m.segments) ? '' : `${m.segmentsInvert ? '! ' : ''}--rt-segsleft ${printRange(m.segments)}`,
      printNumber('rt-len', m.length),
      m.reserved ? '--rt-0-res' : '',
      m.addresses.length === 0 ? '' : `--rt-0-addrs ${listAddresses(m)}`,
      m.notStrict ? '--rt-0-not-strict' : '',
    ),
  list(m) {
    const plural = m.segments[0] === m.segments[1] ? '' : 's'
    const segments =
      all(m.segments) && !m.segmentsInvert
        ? ''
        : `segsleft${plural}:${m.segmentsInvert ? '!' : ''}${printRange(m.segments)}`
    return words(
      'rt',
      // %d
      listNumber('type', m.type === null ? null : { ...m.type, value: m.type.value | 0 }),
      segments,
      listNumber('length', m.length),
      m.reserved ? 'reserved' : '',
      m.addresses.length === 0 ? '' : `0-addrs ${listAddresses(m)}`,
      m.notStrict ? '0-not-strict' : '',
    )
  },
  reads: ['payload'],
  hotdrop: true,
  emit: (m, js) => js`${js.bind(fits)}(pkt, ${js.env.host.memory}, ${m})`,
}
