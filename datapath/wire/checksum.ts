// The Internet checksum (RFC 1071), its incremental update (RFC 1624), and the question "is the transport checksum
// of this packet right".
//
// A "sum" below is a ones-complement sum that may still have carries: any number below 2^53 that fold() brings to
// 16 bits. A "checksum" is the complement of a folded sum, as it stands in a header.

import { type Packet, PacketType } from '../packet.ts'
import { DCCP_CHECKSUM, dccpCoveredEnd, dccpFits } from './dccp.ts'
import {
  IPPROTO_DCCP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from './protocol.ts'
import { SCTP_CHECKSUM, sctpCrc, sctpFits } from './sctp.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN, UDP_LENGTH } from './udp.ts'

/** Where packets lie; FrameMemory is one. Both look at the same bytes. */
export interface Memory {
  readonly bytes: Uint8Array
  /** Big-endian by default. */
  readonly view: DataView
}

/** Sum of 16-bit words of [from, end), added to `start`; an odd last byte counts as the high half. Up to 64 KiB. */
export function sum(bytes: Uint8Array, from: number, end: number, start = 0): number {
  let acc = 0
  let i = from
  const pairs = end - 1
  for (; i < pairs; i += 2) acc += (bytes[i]! << 8) | bytes[i + 1]!
  if (i < end) acc += bytes[i]! << 8
  return acc + start
}

/** As sum(), by 32-bit words: several times faster on long ranges. Hot: does not allocate. */
export function sumView(view: DataView, from: number, end: number, start = 0): number {
  let acc = 0 // high and low halves of words added apart: below 2^31 for 64 KiB
  let i = from
  for (const stop = end - 15; i < stop; i += 16) {
    const a = view.getInt32(i)
    const b = view.getInt32(i + 4)
    const c = view.getInt32(i + 8)
    const d = view.getInt32(i + 12)
    acc =
      (acc +
        ((a >>> 16) + (a & 0xffff) + (b >>> 16) + (b & 0xffff)) +
        ((c >>> 16) + (c & 0xffff) + (d >>> 16) + (d & 0xffff))) |
      0
  }
  for (const stop = end - 3; i < stop; i += 4) {
    const a = view.getInt32(i)
    acc = (acc + (a >>> 16) + (a & 0xffff)) | 0
  }
  if (i + 1 < end) {
    acc = (acc + view.getUint16(i)) | 0
    i += 2
  }
  if (i < end) acc = (acc + (view.getUint8(i) << 8)) | 0
  return (acc >>> 0) + start
}

/** Carries brought back in: 0 to 0xffff. */
export function fold(sum: number): number {
  // Two roundings for int32 sums; the modulus is for larger ones, which only long additions make.
  if (sum > 0x7fffffff) sum = (sum % 0x10000) + (Math.floor(sum / 0x10000) % 0xffff)
  sum = (sum & 0xffff) + (sum >>> 16)
  return (sum & 0xffff) + (sum >>> 16)
}

/** Checksum of [from, end) as for a header whose checksum field is zero; 0 when the field is right in place. */
export function checksum(view: DataView, from: number, end: number): number {
  return ~fold(sumView(view, from, end)) & 0xffff
}

/** Sum of the IPv4 pseudo header. `src`, `dst`: words. `length`: transport header and data, bytes. */
export function pseudo4(src: number, dst: number, proto: number, length: number): number {
  return (src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff) + proto + length
}

/** Sum of the IPv6 pseudo header (RFC 8200 §8.1) of a packet's addresses. */
export function pseudo6(pkt: Packet, proto: number, length: number): number {
  return (
    half(pkt.s0) +
    half(pkt.s1) +
    half(pkt.s2) +
    half(pkt.s3) +
    half(pkt.d0) +
    half(pkt.d1) +
    half(pkt.d2) +
    half(pkt.d3) +
    proto +
    (length >>> 16) +
    (length & 0xffff)
  )
}

/** Pseudo header sum of the packet's family. */
export function pseudo(pkt: Packet, proto: number, length: number): number {
  return pkt.family === 4 ? pseudo4(pkt.s0, pkt.d0, proto, length) : pseudo6(pkt, proto, length)
}

const half = (word: number): number => (word >>> 16) + (word & 0xffff)

/** RFC 1624 eqn. 3: the checksum after a 16-bit field went from `old` to `now`. */
export function adjust16(check: number, old: number, now: number): number {
  let s = (~check & 0xffff) + (~old & 0xffff) + now
  s = (s & 0xffff) + (s >>> 16)
  return ~((s & 0xffff) + (s >>> 16)) & 0xffff
}

/** RFC 1624 eqn. 3 for a 32-bit field (an address, a sequence number); words may be signed. */
export function adjust32(check: number, old: number, now: number): number {
  let s = (~check & 0xffff) + (~old >>> 16) + (~old & 0xffff) + (now >>> 16) + (now & 0xffff)
  s = (s & 0xffff) + (s >>> 16)
  return ~((s & 0xffff) + (s >>> 16)) & 0xffff
}

/** Writes the right checksum into the IPv4 header at l3 (ip_send_check). */
export function writeIpv4Checksum(view: DataView, l3: number): void {
  view.setUint16(l3 + 10, 0)
  view.setUint16(l3 + 10, checksum(view, l3, l3 + ((view.getUint8(l3) & 0xf) << 2)))
}

/**
 * Folded sum of [l4, end) of a whole packet. Uses the sum that the native reader made over the frame: an IPv4 header
 * adds nothing to it, since its own checksum is right (parse.ts saw to that, rewrites keep it so), but for zero, which
 * turns from 0 to its other form, 0xffff. An IPv6 header is taken out; its length is even.
 */
export function transportSum(pkt: Packet, memory: Memory): number {
  if (pkt.sumEnd === pkt.end && pkt.sumFrom === pkt.l3) {
    if (pkt.family === 4) return fold(pkt.sum)
    return fold(pkt.sum + (~fold(sumView(memory.view, pkt.l3, pkt.l4)) & 0xffff))
  }
  return fold(sumView(memory.view, pkt.l4, pkt.end))
}

/**
 * Whether the transport checksum is right, over everything from l4 to end (nf_ip_checksum; callers that trust a UDP
 * length trim `end` first, as __udp4_lib_rcv). True for protocols without one, IPv4's fragments and IPv6's later ones
 * (nothing to check them with), and headers too short to hold one: those are other checks' business. A first fragment
 * of IPv6 is summed up as if it were all (nf_ip6_checksum).
 */
export function transportChecksumOk(pkt: Packet, memory: Memory): boolean {
  if (pkt.csumOk) return true
  if (pkt.fragOffset !== 0 || (pkt.moreFragments && pkt.family === 4)) return true
  const length = pkt.end - pkt.l4
  const view = memory.view
  switch (pkt.proto) {
    case IPPROTO_TCP:
      return length < 18 || fold(transportSum(pkt, memory) + pseudo(pkt, IPPROTO_TCP, length)) === 0xffff
    case IPPROTO_UDP:
      if (length < UDP_HEADER_LEN) return true
      if (view.getUint16(pkt.l4 + UDP_CHECKSUM) === 0) return pkt.family === 4
      return fold(transportSum(pkt, memory) + pseudo(pkt, IPPROTO_UDP, length)) === 0xffff
    case IPPROTO_UDPLITE:
      return length < UDP_HEADER_LEN || udpliteOk(pkt, view, length)
    case IPPROTO_ICMP:
      return length < 4 || !isWrong(transportSum(pkt, memory))
    case IPPROTO_ICMPV6:
      if (pkt.family === 4) return true
      return length < 4 || fold(transportSum(pkt, memory) + pseudo6(pkt, IPPROTO_ICMPV6, length)) === 0xffff
    case IPPROTO_SCTP:
      return (
        !sctpFits(pkt.l4, pkt.end) ||
        view.getInt32(pkt.l4 + SCTP_CHECKSUM, true) === sctpCrc(memory.bytes, pkt.l4, pkt.end)
      )
    case IPPROTO_DCCP: {
      if (!dccpFits(pkt.l4, pkt.end) || DCCP_CHECKSUM + 2 > length) return true
      const covered = dccpCoveredEnd(view, pkt.l4, pkt.end)
      return fold(sumView(view, pkt.l4, covered, pseudo(pkt, IPPROTO_DCCP, length))) === 0xffff
    }
    default:
      return true
  }
}

/**
 * IPv6: whether the sum that conntrack made says that the packet is right, now that a rule may have changed its header.
 * Linux does not follow such changes: a right sum becomes a wrong one, and a wrong one that is off by as much becomes a
 * right one (CHECKSUM_COMPLETE in __skb_checksum_validate_complete and nf_ip6_checksum). False if there is no such sum.
 */
export const sumHolds = (pkt: Packet): boolean =>
  pkt.residue >= 0 && (pkt.residue - pkt.headerShift) % 0xffff === 0

/** Packet.residue of what came back by lo and was found right there, for good (CHECKSUM_UNNECESSARY). */
export const VERIFIED = -3

/** It comes from this host itself, and is not the copy of a multicast packet (dev_loopback_xmit). */
const looped = ({ arrival, pktType }: Packet): boolean =>
  arrival?.loopback === true && pktType !== PacketType.Loopback

/**
 * nf_ip6_checksum() of a protocol that has a checksum over all of it. Remembers what it found. `inward`: in PREROUTING or
 * INPUT; elsewhere a sum that was made before is believed. Hot: does not allocate.
 */
export function checksumOk6(pkt: Packet, memory: Memory, inward: boolean): boolean {
  if (pkt.residue === -1 || pkt.residue === VERIFIED) {
    if (pkt.csumOk) {
      // What is made here has a right sum, but nobody has looked yet; come back by lo it may still be so.
      if (pkt.residue === -1 && (pkt.local || looped(pkt)) && !pkt.csumPartial) {
        pkt.residue = 0xffff
        pkt.headerShift = 0
      }
      return true
    }
  } else if (pkt.residue >= 0) {
    if (!inward) return true
    if (sumHolds(pkt)) {
      pkt.residue = looped(pkt) ? VERIFIED : -1
      pkt.csumOk = true
      return true
    }
  }
  pkt.csumOk = false
  const ok = transportChecksumOk(pkt, memory)
  pkt.residue = ok ? 0xffff : fold(transportSum(pkt, memory) + pseudo6(pkt, pkt.proto, pkt.end - pkt.l4))
  pkt.headerShift = 0
  pkt.csumOk = ok
  return ok
}

/** A message of zeros has the sum 0, which is right too: nf_ip_checksum() adds the IP header, whose own sum is -0. */
const isWrong = (sum: number): boolean => sum !== 0xffff && sum !== 0

/**
 * udplite_checksum_init(): a UDP-Lite header that may be right. RFC 3828 §3.1: coverage 0 is everything, less than the
 * header or more than the packet is wrong; 0 is no checksum.
 */
export function isPlausible(pkt: Packet, view: DataView): boolean {
  const coverage = view.getUint16(pkt.l4 + UDP_LENGTH)
  if (coverage !== 0 && (coverage < UDP_HEADER_LEN || coverage > pkt.end - pkt.l4)) return false
  return view.getUint16(pkt.l4 + UDP_CHECKSUM) !== 0
}

/** The checksum of a UDP-Lite datagram covers a part of it: nobody sums that up who does not read it. */
export function coversPart(pkt: Packet, view: DataView): boolean {
  if (pkt.proto !== IPPROTO_UDPLITE) return false
  const coverage = view.getUint16(pkt.l4 + UDP_LENGTH)
  return coverage !== 0 && coverage < pkt.end - pkt.l4
}

/** CHECKSUM_BREAK: datagrams up to here are summed up before anything else is done with them. */
const CHECKSUM_BREAK = 76

export const isSummedAtOnce = (pkt: Packet): boolean => pkt.end - pkt.l4 <= CHECKSUM_BREAK

/** The sum of a UDP-Lite datagram. */
function udpliteOk(pkt: Packet, view: DataView, length: number): boolean {
  if (!isPlausible(pkt, view)) return false
  const coverage = view.getUint16(pkt.l4 + UDP_LENGTH) || length
  return fold(sumView(view, pkt.l4, pkt.l4 + coverage, pseudo(pkt, IPPROTO_UDPLITE, length))) === 0xffff
}
