// Frame to Packet, or the reason for refusal. As ip_rcv_core() (net/ipv4/ip_input.c, 6.18) and ip6_rcv_core().
//
//     first nibble ─ 4 ─ header length ─ header checksum ─ total length ─ trim ─ addresses, protocol, ports
//                  └ 6 ─ payload length ─ trim ─ extension headers ─ addresses, protocol, ports
//
// The order of the checks is the kernel's, because each counts under its own reason. Nothing here throws, whatever
// the bytes: every read is behind a length check.

import { type Counters, IpStat, Reason } from './counters.ts'
import type { Packet } from './packet.ts'
import type { FrameMemory } from './ring.ts'
import {
  ECN_MASK,
  IP_MF,
  IP_OFFSET,
  IPV4_DST,
  IPV4_FRAG,
  IPV4_HEADER_LEN,
  IPV4_PLAIN,
  IPV4_PROTOCOL,
  IPV4_SRC,
  IPV4_TOS,
  IPV4_TOTAL_LEN,
} from './wire/ipv4.ts'
import { IPV6_DST, IPV6_HEADER_LEN, IPV6_NEXT_HEADER, IPV6_PAYLOAD_LEN, IPV6_SRC } from './wire/ipv6.ts'
import {
  extensionLength,
  isExtension,
  NEXTHDR_FRAGMENT,
  NEXTHDR_HOP,
  NEXTHDR_NONE,
  NEXTHDR_ROUTING,
} from './wire/ipv6-headers.ts'
import { hasPorts, IPPROTO_TCP, IPPROTO_UDP } from './wire/protocol.ts'

/** Reason.None (0): the packet is good. */
export type Refused = Reason

/**
 * Reads the headers of the frame [pkt.l3, pkt.end) into pkt's cached fields and trims pkt.end to the length that
 * the header gives. Anything but None: the frame is to be dropped, silently; pkt's fields are then partly filled.
 * Hot: does not allocate, does not throw.
 */
export function parse(
  pkt: Packet,
  host: { readonly memory: FrameMemory; readonly counters: Counters },
): Refused {
  const view = host.memory.view
  const l3 = pkt.l3
  // The reader of a device decides by the first byte (tun_get_user: EINVAL for neither 4 nor 6).
  if (pkt.end <= l3) return refuse(host.counters, Reason.NotIp)
  const first = view.getUint8(l3)
  if (first === IPV4_PLAIN && l3 + IPV4_HEADER_LEN <= pkt.end) {
    const word = view.getInt32(l3)
    count4(pkt, (word >>> 16) & ECN_MASK, host.counters.ip4)
    const sum =
      sumWord(word) +
      sumWord(view.getInt32(l3 + 4)) +
      sumWord(view.getInt32(l3 + 8)) +
      sumWord(view.getInt32(l3 + 12)) +
      sumWord(view.getInt32(l3 + 16))
    if ((sum & 0xffff) + (sum >>> 16) !== 0xffff) return refuse4(host.counters, Reason.BadChecksum)
    return parse4(pkt, view, l3 + IPV4_HEADER_LEN, host.counters)
  }
  if (first >> 4 === 4) {
    const header = (first & 0xf) << 2
    if (header < IPV4_HEADER_LEN || l3 + IPV4_HEADER_LEN > pkt.end) {
      host.counters.add4(IpStat.InReceives, IpStat.InOctets, pkt.end - l3)
      return refuse4(host.counters, Reason.BadHeader)
    }
    count4(pkt, view.getUint8(l3 + IPV4_TOS) & ECN_MASK, host.counters.ip4)
    if (l3 + header > pkt.end) return refuse4(host.counters, Reason.BadHeader)
    let sum = 0
    for (let i = l3; i < l3 + header; i += 4) sum += sumWord(view.getInt32(i))
    if ((sum & 0xffff) + (sum >>> 16) !== 0xffff) return refuse4(host.counters, Reason.BadChecksum)
    return parse4(pkt, view, l3 + header, host.counters)
  }
  if (first >> 4 === 6) return parse6(pkt, view, host.counters)
  return refuse(host.counters, Reason.NotIp)
}

const sumWord = (word: number): number => (word >>> 16) + (word & 0xffff)

function refuse(counters: Counters, reason: Reason): Refused {
  counters.drops[reason] = counters.drops[reason]! + 1
  return reason
}

/**
 * A frame with 20 bytes of a header came in; see Counters.ip4. Superframes count as what they stand for in ECN's
 * statistics alone. Hot.
 */
function count4(pkt: Packet, bits: number, ip4: Float64Array): void {
  const length = pkt.end - pkt.l3
  const ecn = IpStat.InNoECTPkts + bits
  ip4[IpStat.InOctets] = ip4[IpStat.InOctets]! + length
  ip4[ecn] = ip4[ecn]! + 1
  if (pkt.gsoSize === 0) return
  const more = Math.ceil(length / pkt.gsoSize) - 1
  ip4[ecn] = ip4[ecn]! + more
  ip4[IpStat.InReceives] = ip4[IpStat.InReceives]! - more
}

/** As count4(). */
function count6(pkt: Packet, view: DataView, { ip6 }: Counters): void {
  const length = pkt.end - pkt.l3
  const ecn = IpStat.InNoECTPkts + ((view.getUint8(pkt.l3 + 1) >> 4) & ECN_MASK)
  ip6[IpStat.InReceives] = ip6[IpStat.InReceives]! + 1
  ip6[IpStat.InOctets] = ip6[IpStat.InOctets]! + length
  ip6[ecn] = ip6[ecn]! + (pkt.gsoSize === 0 ? 1 : Math.ceil(length / pkt.gsoSize))
}

/** Refused, and counted as the kernel does: what is cut short under another name than what is wrong. */
function refuse4(counters: Counters, reason: Reason): Refused {
  if (reason === Reason.BadChecksum) counters.count4(IpStat.InCsumErrors)
  counters.count4(reason === Reason.Truncated ? IpStat.InTruncatedPkts : IpStat.InHdrErrors)
  return refuse(counters, reason)
}

/** The header stands in the frame and its checksum is right. */
function parse4(pkt: Packet, view: DataView, l4: number, counters: Counters): Refused {
  const l3 = pkt.l3
  const total = view.getUint16(l3 + IPV4_TOTAL_LEN)
  if (l3 + total > pkt.end) return refuse4(counters, Reason.Truncated)
  if (l3 + total < l4) return refuse4(counters, Reason.BadHeader)
  pkt.end = l3 + total
  pkt.family = 4
  fill4(pkt, view, l4)
  return Reason.None
}

/**
 * Cached fields of an IPv4 packet whose header is known to be good; pkt.l3 and pkt.end are set. For packets made
 * here and for reassembled ones too. Does not allocate.
 */
export function fill4(pkt: Packet, view: DataView, l4: number): void {
  const l3 = pkt.l3
  pkt.l4 = l4
  const frag = view.getUint16(l3 + IPV4_FRAG)
  pkt.fragOffset = (frag & IP_OFFSET) << 3
  pkt.moreFragments = (frag & IP_MF) !== 0
  const proto = view.getUint8(l3 + IPV4_PROTOCOL)
  pkt.proto = proto
  pkt.s0 = view.getInt32(l3 + IPV4_SRC)
  pkt.d0 = view.getInt32(l3 + IPV4_DST)
  fillPorts(pkt, view, proto)
}

function fillPorts(pkt: Packet, view: DataView, proto: number): void {
  const l4 = pkt.l4
  if (
    (proto === IPPROTO_UDP || proto === IPPROTO_TCP || hasPorts(proto)) &&
    pkt.fragOffset === 0 &&
    l4 + 4 <= pkt.end
  ) {
    const ports = view.getInt32(l4)
    pkt.sport = ports >>> 16
    pkt.dport = ports & 0xffff
  } else {
    pkt.sport = -1
    pkt.dport = -1
  }
}

/** As ip6_rcv_core() up to the addresses, then ipv6_find_hdr()'s walk to the last header. */
function parse6(pkt: Packet, view: DataView, counters: Counters): Refused {
  const l3 = pkt.l3
  if (l3 + IPV6_HEADER_LEN > pkt.end) {
    counters.add6(IpStat.InReceives, IpStat.InOctets, pkt.end - l3)
    counters.count6(IpStat.InHdrErrors)
    return refuse(counters, Reason.BadHeader)
  }
  count6(pkt, view, counters)
  const payload = view.getUint16(l3 + IPV6_PAYLOAD_LEN)
  // A payload length of 0 is a jumbogram's or nothing at all; only a hop-by-hop header could tell (RFC 2675).
  if (payload !== 0 || view.getUint8(l3 + IPV6_NEXT_HEADER) !== NEXTHDR_HOP) {
    if (l3 + IPV6_HEADER_LEN + payload > pkt.end) {
      pkt.family = 6
      fill6(pkt, view)
      return refuse(counters, Reason.Truncated)
    }
    pkt.end = l3 + IPV6_HEADER_LEN + payload
  }
  pkt.family = 6
  fill6(pkt, view)
  return Reason.None
}

/**
 * Cached fields of an IPv6 packet; pkt.l3 and pkt.end are set and hold a fixed header. The walk stops where
 * ipv6_find_hdr()'s does, at the first header that is no extension header, or whose first bytes are cut off, or that a
 * later fragment names: that is `proto`. `l4` is the end where the header before it says more than there is.
 */
export function fill6(pkt: Packet, view: DataView): void {
  const l3 = pkt.l3
  pkt.s0 = view.getInt32(l3 + IPV6_SRC)
  pkt.s1 = view.getInt32(l3 + IPV6_SRC + 4)
  pkt.s2 = view.getInt32(l3 + IPV6_SRC + 8)
  pkt.s3 = view.getInt32(l3 + IPV6_SRC + 12)
  pkt.d0 = view.getInt32(l3 + IPV6_DST)
  pkt.d1 = view.getInt32(l3 + IPV6_DST + 4)
  pkt.d2 = view.getInt32(l3 + IPV6_DST + 8)
  pkt.d3 = view.getInt32(l3 + IPV6_DST + 12)
  pkt.fragOffset = 0
  pkt.moreFragments = false
  let next = view.getUint8(l3 + IPV6_NEXT_HEADER)
  let at = l3 + IPV6_HEADER_LEN
  // Every header is 8 bytes or more, so the walk ends.
  while (isExtension(next) && next !== NEXTHDR_NONE) {
    if (at + (next === NEXTHDR_FRAGMENT || next === NEXTHDR_ROUTING ? 4 : 2) > pkt.end) break
    if (next === NEXTHDR_FRAGMENT) {
      const word = view.getUint16(at + 2)
      pkt.fragOffset = word & 0xfff8
      pkt.moreFragments = (word & 1) !== 0
    }
    const length = extensionLength(view, next, at)
    next = view.getUint8(at)
    at += length
    if (pkt.fragOffset !== 0) break // what follows is the middle of something
  }
  pkt.proto = next
  pkt.l4 = Math.min(at, pkt.end)
  if (next === NEXTHDR_NONE) {
    pkt.sport = -1
    pkt.dport = -1
  } else fillPorts(pkt, view, next)
}
