// iprange: source or destination between two addresses (libxt_iprange of iptables 1.8.9, iprange_mt4() of
// xt_iprange.c).

import type { Family, Packet } from '../../datapath/packet.ts'
import { commonPrefix } from '../compile/narrow.ts'
import type { Code, Js } from '../compile/template.ts'
import type { Match } from '../extension.ts'
import { addressField } from '../layout.ts'
import { OptionError, type Options, WholeError } from '../options.ts'
import { formatAddress, numericIpv4, parseAddress, type Words } from '../text/address.ts'
import { words } from './parts.ts'

export interface AddressRange {
  readonly min: Words
  readonly max: Words
  readonly invert: boolean
}

/** Null: not asked. */
export interface IpRange {
  readonly source: AddressRange | null
  readonly destination: AddressRange | null
}

/** An address without look-up of names: IPv4 as xtables_numeric_to_ipaddr() reads it. */
function numericAddress(text: string, family: Family): Words | null {
  if (family === 6) return parseAddress(text, family)
  const word = numericIpv4(text)
  return word === null ? null : [word, 0, 0, 0]
}

function parseRange(o: Options, flag: string): AddressRange | null {
  if (!o.has(flag)) return null
  const text = o.text(flag)
  const dash = text.indexOf('-')
  const address = (part: string): Words => {
    const found = numericAddress(part, o.family)
    if (found === null) throw new OptionError(`iprange: Bad value for "--${flag}" option: "${part}"`)
    return found
  }
  const min = address(dash < 0 ? text : text.slice(0, dash))
  const max = dash < 0 ? min : address(text.slice(dash + 1))
  if (compare(min[0], min[1], min[2], min[3], max) > 0)
    o.warn(`xt_iprange: range ${text} is reversed and will never match\n`)
  return { min, max, invert: o.inverted(flag) }
}

const format = ({ min, max }: AddressRange, family: Family): string =>
  `${formatAddress(min, family)}-${formatAddress(max, family)}`

/** Words of an address against another, unsigned, the first word first: below 0 for a lower one, above for a higher. */
function compare(w0: number, w1: number, w2: number, w3: number, to: Words): number {
  if (w0 !== to[0]) return w0 >>> 0 < to[0] >>> 0 ? -1 : 1
  if (w1 !== to[1]) return w1 >>> 0 < to[1] >>> 0 ? -1 : 1
  if (w2 !== to[2]) return w2 >>> 0 < to[2] >>> 0 ? -1 : 1
  if (w3 !== to[3]) return w3 >>> 0 < to[3] >>> 0 ? -1 : 1
  return 0
}

/** Does not allocate. */
const sourceWithin = (pkt: Packet, { min, max }: AddressRange): boolean =>
  compare(pkt.s0, pkt.s1, pkt.s2, pkt.s3, min) >= 0 && compare(pkt.s0, pkt.s1, pkt.s2, pkt.s3, max) <= 0
const destinationWithin = (pkt: Packet, { min, max }: AddressRange): boolean =>
  compare(pkt.d0, pkt.d1, pkt.d2, pkt.d3, min) >= 0 && compare(pkt.d0, pkt.d1, pkt.d2, pkt.d3, max) <= 0

function emitSide(range: AddressRange, side: 's' | 'd', js: Js): Code {
  let inside: Code
  if (js.family === 4) {
    const word = side === 's' ? js`(pkt.s0 >>> 0)` : js`(pkt.d0 >>> 0)`
    inside = js`${word} >= ${range.min[0] >>> 0} && ${word} <= ${range.max[0] >>> 0}`
  } else inside = js`${js.bind(side === 's' ? sourceWithin : destinationWithin)}(pkt, ${range})`
  return range.invert ? js`!${inside}` : inside
}

export const iprange: Match<IpRange> = {
  kind: 'match',
  name: 'iprange',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 72,
    fields: ({ source, destination }) => [
      ...[source?.min, source?.max, destination?.min, destination?.max].map((words, i) =>
        addressField(16 * i, words),
      ),
      [
        64,
        1,
        (source ? (source.invert ? 0x11 : 1) : 0) | (destination ? (destination.invert ? 0x22 : 2) : 0),
      ],
    ],
  },
  options: [
    { flag: 'src-range', holds: 'range', invertible: true },
    { flag: 'dst-range', holds: 'range', invertible: true },
  ],
  help: `iprange match options:
[!] --src-range ip[-ip]    Match source IP in the specified range
[!] --dst-range ip[-ip]    Match destination IP in the specified range
`,
  parse(o) {
    let source: AddressRange | null = null
    let destination: AddressRange | null = null
    // In the order given: what is said of one stands before the mistake in the other.
    for (const flag of o.given())
      if (flag === 'src-range') source = parseRange(o, flag)
      else destination = parseRange(o, flag)
    if (source === null && destination === null)
      throw new WholeError("iprange match: You must specify `--src-range' or `--dst-range'")
    return { source, destination }
  },
  print: ({ source, destination }, family) =>
    words(
      source === null ? '' : `${source.invert ? '! ' : ''}--src-range ${format(source, family)}`,
      destination === null
        ? ''
        : `${destination.invert ? '! ' : ''}--dst-range ${format(destination, family)}`,
    ),
  list: ({ source, destination }, _, family) =>
    words(
      source === null ? '' : `source IP range ${source.invert ? '! ' : ''}${format(source, family)}`,
      destination === null
        ? ''
        : `destination IP range ${destination.invert ? '! ' : ''}${format(destination, family)}`,
    ),
  reads: ['source', 'destination'],
  narrows: ({ source, destination }) => ({
    ...(source !== null && !source.invert && { source: commonPrefix(source.min, source.max) }),
    ...(destination !== null &&
      !destination.invert && { destination: commonPrefix(destination.min, destination.max) }),
  }),
  emit: ({ source, destination }, js) =>
    js.all([
      ...(source === null ? [] : [emitSide(source, 's', js)]),
      ...(destination === null ? [] : [emitSide(destination, 'd', js)]),
    ]),
}
