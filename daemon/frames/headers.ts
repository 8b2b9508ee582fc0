// Where things are in a frame of either family.

import { formatIpv4, formatIpv6 } from '../../datapath/wire/address.ts'

export interface Fragment {
  /** Offset of the identification in the frame: two bytes of IPv4, four of IPv6. */
  readonly at: number
  readonly id: number
  /** In bytes. */
  readonly offset: number
  readonly more: boolean
}

export interface Headers {
  readonly family: 4 | 6
  readonly src: string
  readonly dst: string
  /** Offsets of the addresses. */
  readonly srcAt: number
  readonly dstAt: number
  /** Of what follows the IP header, of IPv6 the last extension header. */
  readonly protocol: number
  /** Where that begins; may be the end of the frame. */
  readonly l4: number
  /** IPv6: null without fragment header. IPv4: null if neither first nor later. */
  readonly fragment: Fragment | null
}

export const ICMP = 1
export const TCP = 6
export const UDP = 17
export const ICMPV6 = 58
const AH = 51
const FRAGMENT = 44

export const u16 = (b: Uint8Array, at: number): number => ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0)
export const u32 = (b: Uint8Array, at: number): number => (u16(b, at) * 0x10000 + u16(b, at + 2)) >>> 0

/** Of the packet that begins at `at`; null if its headers are not all there or are damaged. */
export function headersOf(frame: Uint8Array, at = 0): Headers | null {
  const version = (frame[at] ?? 0) >> 4
  if (version === 4) return headers4(frame, at)
  return version === 6 ? headers6(frame, at) : null
}

function headers4(frame: Uint8Array, l3: number): Headers | null {
  const length = (frame[l3]! & 15) * 4
  if (length < 20 || l3 + length > frame.length) return null
  const cut = u16(frame, l3 + 6)
  return {
    family: 4,
    src: addressAt(frame, l3 + 12, 4),
    dst: addressAt(frame, l3 + 16, 4),
    srcAt: l3 + 12,
    dstAt: l3 + 16,
    protocol: frame[l3 + 9]!,
    l4: l3 + length,
    fragment:
      (cut & 0x3fff) === 0
        ? null
        : {
            at: l3 + 4,
            id: u16(frame, l3 + 4),
            offset: (cut & 0x1fff) * 8,
            more: (cut & 0x2000) !== 0,
          },
  }
}

/** As ipv6_skip_exthdr(): hop-by-hop and destination options, routing, fragment and authentication are passed over. */
function headers6(frame: Uint8Array, l3: number): Headers | null {
  if (l3 + 40 > frame.length) return null
  let protocol = frame[l3 + 6]!
  let l4 = l3 + 40
  let fragment: Fragment | null = null
  while ([0, 43, FRAGMENT, AH, 60].includes(protocol)) {
    if (l4 + 8 > frame.length) {
      // Of a first fragment it may be what is cut.
      if (fragment === null) return null
      l4 = frame.length
      break
    }
    const next = frame[l4]!
    if (protocol === FRAGMENT) {
      const cut = u16(frame, l4 + 2)
      const offset = cut & 0xfff8
      const inner = fragment !== null
      // Of several the first one counts: it is what the host takes off and puts on.
      fragment ??= { at: l4 + 4, id: u32(frame, l4 + 4), offset, more: (cut & 1) !== 0 }
      l4 += 8
      if (offset === 0 || !inner) protocol = next
      if (offset > 0) break
      continue
    }
    l4 += protocol === AH ? (frame[l4 + 1]! + 2) * 4 : (frame[l4 + 1]! + 1) * 8
    protocol = next
    if (l4 > frame.length) {
      if (fragment === null) return null
      l4 = frame.length
      break
    }
  }
  return {
    family: 6,
    src: addressAt(frame, l3 + 8, 6),
    dst: addressAt(frame, l3 + 24, 6),
    srcAt: l3 + 8,
    dstAt: l3 + 24,
    protocol,
    l4,
    fragment,
  }
}

export function addressAt(frame: Uint8Array, at: number, family: 4 | 6): string {
  const word = (n: number): number => u32(frame, at + n * 4) | 0
  return family === 4 ? formatIpv4(word(0)) : formatIpv6(word(0), word(1), word(2), word(3))
}

export const isIcmp = (protocol: number): boolean => protocol === ICMP || protocol === ICMPV6

/** Types that quote a packet, of either ICMP. */
export const quotes = (protocol: number, type: number): boolean =>
  protocol === ICMP ? [3, 4, 5, 11, 12].includes(type) : protocol === ICMPV6 && type >= 1 && type <= 4

/** `2001:db8::1` rather than `192.0.2.1`. */
export const isIpv6 = (address: string | number): boolean =>
  typeof address === 'string' && address.includes(':')
