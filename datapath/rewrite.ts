// The one place that writes headers of a packet in flight: checksums are adjusted incrementally (RFC 1624) and the
// Packet's cached fields follow. What a host makes anew (replies.ts) it writes in place.
//
// Two layers. The `change…` functions work on byte offsets, so that they serve the packet quoted inside an ICMP error
// too; the `set…` functions work on the Packet, keep its cache, and forget the reader's sum. `memory` is
// FrameMemory. All are hot: they do not allocate and do not throw.
//
// Headers that are not there are left alone: a later fragment has no transport header, a short one no checksum, as in
// the kernel's nf_nat_proto.c, where a quoted TCP header of 8 bytes gets its port and nothing else.

import type { Packet } from './packet.ts'
import { adjust16, adjust32, checksum, fold, type Memory, sumView } from './wire/checksum.ts'
import { ICMP_CHECKSUM, ICMP_HEADER_LEN, ICMP_ID } from './wire/icmp.ts'
import {
  IP_OFFSET,
  IPV4_CHECKSUM,
  IPV4_DST,
  IPV4_FRAG,
  IPV4_HEADER_LEN,
  IPV4_PROTOCOL,
  IPV4_SRC,
  IPV4_TOS,
  IPV4_TOTAL_LEN,
  IPV4_TTL,
  ipv4HeaderLength,
} from './wire/ipv4.ts'
import { IPV6_DST, IPV6_HEADER_LEN, IPV6_HOP_LIMIT, IPV6_PAYLOAD_LEN, IPV6_SRC } from './wire/ipv6.ts'
import {
  hasPorts,
  IPPROTO_DCCP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from './wire/protocol.ts'
import { SCTP_CHECKSUM, SCTP_HEADER_LEN, sctpCrc } from './wire/sctp.ts'
import { TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_HEADER_LEN, TCPOPT_MSS } from './wire/tcp.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN } from './wire/udp.ts'

/** RFC 4443 §4.1; the reply is 129. */
const ICMPV6_ECHO_REQUEST = 128

// -- by offset

/**
 * Where the transport checksum that covers the pseudo header stands, or -1: no such protocol, header cut short, UDP
 * without checksum. DCCP's stays as it is: since Linux 6.16 NAT does not know the protocol.
 */
function pseudoChecksumAt(view: DataView, l4: number, end: number, proto: number): number {
  switch (proto) {
    case IPPROTO_TCP:
      return l4 + TCP_HEADER_LEN <= end ? l4 + TCP_CHECKSUM : -1
    case IPPROTO_UDP:
      return l4 + UDP_HEADER_LEN <= end && view.getUint16(l4 + UDP_CHECKSUM) !== 0 ? l4 + UDP_CHECKSUM : -1
    case IPPROTO_UDPLITE:
      return l4 + UDP_HEADER_LEN <= end ? l4 + UDP_CHECKSUM : -1
    default:
      return -1
  }
}

/** A checksum as it may stand: UDP knows 0 as "none", so a sum of 0 is written as 0xffff (CSUM_MANGLED_0). */
const unzero = (check: number, proto: number): number =>
  check === 0 && (proto === IPPROTO_UDP || proto === IPPROTO_UDPLITE) ? 0xffff : check

/**
 * Writes an IPv4 address: `field` is IPV4_SRC or IPV4_DST of the header at l3. Adjusts the header checksum, and the
 * transport checksum if the packet, which ends at `end`, is no later fragment.
 */
export function changeAddress4(memory: Memory, l3: number, end: number, field: number, word: number): void {
  const view = memory.view
  const old = view.getInt32(l3 + field)
  view.setInt32(l3 + field, word)
  view.setUint16(l3 + IPV4_CHECKSUM, adjust32(view.getUint16(l3 + IPV4_CHECKSUM), old, word))
  if ((view.getUint16(l3 + IPV4_FRAG) & IP_OFFSET) !== 0) return
  const proto = view.getUint8(l3 + IPV4_PROTOCOL)
  const at = pseudoChecksumAt(view, l3 + ipv4HeaderLength(view, l3), end, proto)
  if (at >= 0) view.setUint16(at, unzero(adjust32(view.getUint16(at), old, word), proto))
}

/**
 * Writes an IPv6 address: `field` is IPV6_SRC or IPV6_DST of the header at l3. Adjusts the transport checksum of the
 * header at `l4` (-1: there is none, as in a later fragment), of protocol `proto`; ICMPv6 has a pseudo header too.
 */
export function changeAddress6(
  memory: Memory,
  l3: number,
  l4: number,
  end: number,
  proto: number,
  field: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): void {
  const view = memory.view
  const to = l3 + field
  const delta =
    change(view.getInt32(to), w0) +
    change(view.getInt32(to + 4), w1) +
    change(view.getInt32(to + 8), w2) +
    change(view.getInt32(to + 12), w3)
  view.setInt32(to, w0)
  view.setInt32(to + 4, w1)
  view.setInt32(to + 8, w2)
  view.setInt32(to + 12, w3)
  if (l4 < 0) return
  const at =
    proto !== IPPROTO_ICMPV6
      ? pseudoChecksumAt(view, l4, end, proto)
      : l4 + ICMP_HEADER_LEN <= end
        ? l4 + ICMP_CHECKSUM
        : -1
  if (at >= 0) view.setUint16(at, unzero(adjustBy(view.getUint16(at), delta), proto))
}

/** What a word's change adds to a sum, carries not folded: below 2^18. */
const change = (old: number, now: number): number =>
  (~old >>> 16) + (~old & 0xffff) + (now >>> 16) + (now & 0xffff)

/** RFC 1624 eqn. 3 for a sum of changes below 2^31. */
function adjustBy(check: number, delta: number): number {
  let s = (~check & 0xffff) + delta
  s = (s & 0xffff) + (s >>> 16)
  return ~((s & 0xffff) + (s >>> 16)) & 0xffff
}

/** Writes a port: `field` 0 the source, 2 the destination. Adjusts the transport checksum; SCTP's is made anew. */
export function changePort(
  memory: Memory,
  l4: number,
  end: number,
  proto: number,
  field: 0 | 2,
  port: number,
): void {
  if (l4 + field + 2 > end || !hasPorts(proto)) return
  const view = memory.view
  const old = view.getUint16(l4 + field)
  view.setUint16(l4 + field, port)
  if (proto === IPPROTO_SCTP) {
    if (l4 + SCTP_HEADER_LEN <= end) view.setUint32(l4 + SCTP_CHECKSUM, sctpCrc(memory.bytes, l4, end), true)
    return
  }
  const at = pseudoChecksumAt(view, l4, end, proto)
  if (at >= 0) view.setUint16(at, unzero(adjust16(view.getUint16(at), old, port), proto))
}

/** Writes an ICMP echo (timestamp, information, address mask) identifier; adjusts the ICMP checksum. */
export function changeIcmpId(memory: Memory, l4: number, end: number, id: number): void {
  if (l4 + ICMP_HEADER_LEN > end) return
  const view = memory.view
  const old = view.getUint16(l4 + ICMP_ID)
  view.setUint16(l4 + ICMP_ID, id)
  view.setUint16(l4 + ICMP_CHECKSUM, adjust16(view.getUint16(l4 + ICMP_CHECKSUM), old, id))
}

/** Computes an ICMPv6 checksum anew over [l4, end) and the addresses of the header at l3. */
export function refreshIcmp6Checksum(memory: Memory, l3: number, l4: number, end: number): void {
  if (l4 + ICMP_HEADER_LEN > end) return
  const { view } = memory
  const length = end - l4
  view.setUint16(l4 + ICMP_CHECKSUM, 0)
  const addresses = sumView(view, l3 + IPV6_SRC, l3 + IPV6_HEADER_LEN)
  const sum = sumView(view, l4, end, addresses + IPPROTO_ICMPV6 + (length >>> 16) + (length & 0xffff))
  view.setUint16(l4 + ICMP_CHECKSUM, ~fold(sum))
}

/** Computes an ICMP checksum anew over [l4, end): for errors whose quote changed. */
export function refreshIcmpChecksum(memory: Memory, l4: number, end: number): void {
  if (l4 + ICMP_HEADER_LEN > end) return
  memory.view.setUint16(l4 + ICMP_CHECKSUM, 0)
  memory.view.setUint16(l4 + ICMP_CHECKSUM, checksum(memory.view, l4, end))
}

// -- by packet

/**
 * skb_ensure_writable(): the first `length` bytes from l3 are to be in one piece. A reassembled packet keeps the
 * pieces it came in, and leaves in them; what is pulled into the first one decides how (__pskb_pull_tail).
 */
export function ensureWritable(pkt: Packet, length: number): void {
  const list = pkt.fragList
  if (list === null) {
    if (pkt.head !== 0 && pkt.head < length && length <= pkt.end - pkt.l3) pkt.head = length
    return
  }
  const sizes = list.sizes
  let missing = length - list.header - sizes[0]!
  // More than there is cannot be had: nothing is pulled.
  if (missing <= 0 || length > pkt.end - pkt.l3) return
  sizes[0] = sizes[0]! + missing
  let eaten = 1
  while (eaten < list.count && sizes[eaten]! <= missing) missing -= sizes[eaten++]!
  if (eaten < list.count) sizes[eaten] = sizes[eaten]! - missing
  sizes.copyWithin(1, eaten, list.count)
  list.count -= eaten - 1
}

/** IPv4 source address, a word. */
export function setSource4(pkt: Packet, memory: Memory, word: number): void {
  changeAddress4(memory, pkt.l3, pkt.end, IPV4_SRC, word)
  pkt.s0 = word
  pkt.sumEnd = 0
}

/** IPv4 destination address, a word. */
export function setDestination4(pkt: Packet, memory: Memory, word: number): void {
  changeAddress4(memory, pkt.l3, pkt.end, IPV4_DST, word)
  pkt.d0 = word
  pkt.sumEnd = 0
}

/**
 * Source address and port at once: what setSource4 and setSourcePort do one after the other, in half the time. For
 * whole TCP and UDP packets over IPv4, whose ports are cached. Hot.
 */
export function setSourceAndPort4(pkt: Packet, memory: Memory, word: number, port: number): void {
  changeBoth(pkt, memory, pkt.l3 + IPV4_SRC, pkt.l4, pkt.s0, word, pkt.sport, port)
  pkt.s0 = word
  pkt.sport = port
}

/** Destination address and port at once; see setSourceAndPort4. Hot. */
export function setDestinationAndPort4(pkt: Packet, memory: Memory, word: number, port: number): void {
  changeBoth(pkt, memory, pkt.l3 + IPV4_DST, pkt.l4 + 2, pkt.d0, word, pkt.dport, port)
  pkt.d0 = word
  pkt.dport = port
}

/** The sum of what changed is the same for both checksums, but for the port. */
function changeBoth(
  pkt: Packet,
  memory: Memory,
  addressAt: number,
  portAt: number,
  oldWord: number,
  word: number,
  oldPort: number,
  port: number,
): void {
  const { view } = memory
  const { l3, l4, proto } = pkt
  if (pkt.fragList !== null) ensureWritable(pkt, l4 - l3 + portHeaderLength(proto, pkt.end - l4))
  view.setInt32(addressAt, word)
  view.setUint16(portAt, port)
  const delta = (~oldWord >>> 16) + (~oldWord & 0xffff) + (word >>> 16) + (word & 0xffff)
  let s = (~view.getUint16(l3 + IPV4_CHECKSUM) & 0xffff) + delta
  s = (s & 0xffff) + (s >>> 16)
  view.setUint16(l3 + IPV4_CHECKSUM, ~((s & 0xffff) + (s >>> 16)))
  pkt.sumEnd = 0
  let at: number
  let old: number
  if (proto === IPPROTO_UDP) {
    at = l4 + UDP_CHECKSUM
    old = view.getUint16(at)
    if (old === 0) return
  } else {
    if (l4 + TCP_HEADER_LEN > pkt.end) return
    at = l4 + TCP_CHECKSUM
    old = view.getUint16(at)
  }
  s = (~old & 0xffff) + delta + (~oldPort & 0xffff) + port
  s = (s & 0xffff) + (s >>> 16)
  const check = ~((s & 0xffff) + (s >>> 16)) & 0xffff
  view.setUint16(at, unzero(check, proto))
}

/** IPv6 source address, four words. The packet is no later fragment. */
export function setSource6(
  pkt: Packet,
  memory: Memory,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): void {
  changeAddress6(memory, pkt.l3, pkt.l4, pkt.end, pkt.proto, IPV6_SRC, w0, w1, w2, w3)
  pkt.s0 = w0
  pkt.s1 = w1
  pkt.s2 = w2
  pkt.s3 = w3
  pkt.sumEnd = 0
}

/** IPv6 destination address, four words. The packet is no later fragment. */
export function setDestination6(
  pkt: Packet,
  memory: Memory,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): void {
  changeAddress6(memory, pkt.l3, pkt.l4, pkt.end, pkt.proto, IPV6_DST, w0, w1, w2, w3)
  pkt.d0 = w0
  pkt.d1 = w1
  pkt.d2 = w2
  pkt.d3 = w3
  pkt.sumEnd = 0
}

/** Bytes of transport header that the kernel makes writable before it writes a port; `length`: those that there are. */
export function portHeaderLength(proto: number, length: number): number {
  if (proto === IPPROTO_TCP) return length >= TCP_HEADER_LEN ? TCP_HEADER_LEN : 8
  if (proto === IPPROTO_SCTP || proto === IPPROTO_DCCP) return length >= 12 ? 12 : 8
  return 8
}

/** Source port; nothing if the packet has none. */
export function setSourcePort(pkt: Packet, memory: Memory, port: number): void {
  if (pkt.sport < 0) return
  const header = pkt.l4 - pkt.l3
  ensureWritable(pkt, header + portHeaderLength(pkt.proto, pkt.end - pkt.l4))
  changePort(memory, pkt.l4, pkt.end, pkt.proto, 0, port)
  pkt.sport = port
  pkt.sumEnd = 0
}

/** Destination port; nothing if the packet has none. */
export function setDestinationPort(pkt: Packet, memory: Memory, port: number): void {
  if (pkt.dport < 0) return
  const header = pkt.l4 - pkt.l3
  ensureWritable(pkt, header + portHeaderLength(pkt.proto, pkt.end - pkt.l4))
  changePort(memory, pkt.l4, pkt.end, pkt.proto, 2, port)
  pkt.dport = port
  pkt.sumEnd = 0
}

/** Identifier of an ICMP query; nothing for another protocol or a later fragment. */
export function setIcmpId(pkt: Packet, memory: Memory, id: number): void {
  if (pkt.proto !== IPPROTO_ICMP || pkt.fragOffset !== 0) return
  ensureWritable(pkt, pkt.l4 - pkt.l3 + ICMP_HEADER_LEN)
  changeIcmpId(memory, pkt.l4, pkt.end, id)
  pkt.sumEnd = 0
}

/** Identifier of an ICMPv6 echo; nothing for another message (icmpv6_manip_pkt). */
export function setIcmp6Id(pkt: Packet, memory: Memory, id: number): void {
  if (pkt.proto !== IPPROTO_ICMPV6 || pkt.fragOffset !== 0 || pkt.l4 + ICMP_HEADER_LEN > pkt.end) return
  ensureWritable(pkt, pkt.l4 - pkt.l3 + ICMP_HEADER_LEN)
  if (!isEcho6(memory.view.getUint8(pkt.l4))) return
  changeIcmpId(memory, pkt.l4, pkt.end, id)
  pkt.sumEnd = 0
}

/** Of all ICMPv6 messages NAT takes only echo for one with an identifier. */
export const isEcho6 = (type: number): boolean =>
  type === ICMPV6_ECHO_REQUEST || type === ICMPV6_ECHO_REQUEST + 1

/** The TOS byte, or IPv6's traffic class (ipv4_get_dsfield, ipv6_get_dsfield). */
export const tosOf = (pkt: Packet, { view }: Memory): number =>
  pkt.family === 4 ? view.getUint8(pkt.l3 + IPV4_TOS) : (view.getUint16(pkt.l3) >> 4) & 0xff

/** The whole TOS byte or traffic class, DSCP and ECN (ipv4_change_dsfield, ipv6_change_dsfield). */
export function setTos(pkt: Packet, memory: Memory, tos: number): void {
  const { view } = memory
  const l3 = pkt.l3
  if (pkt.family === 6) {
    const old = view.getUint16(l3)
    const now = (old & 0xf00f) | ((tos & 0xff) << 4)
    view.setUint16(l3, now)
    pkt.headerShift += now - old
    pkt.sumEnd = 0
    return
  }
  const old = view.getUint8(l3 + IPV4_TOS)
  if (old === tos) return
  view.setUint8(l3 + IPV4_TOS, tos)
  view.setUint16(l3 + IPV4_CHECKSUM, adjust16(view.getUint16(l3 + IPV4_CHECKSUM), old, tos & 0xff))
  pkt.sumEnd = 0
}

/** Time to live, 0 to 255. */
export function setTtl(pkt: Packet, memory: Memory, ttl: number): void {
  const { view } = memory
  const l3 = pkt.l3
  const old = view.getUint8(l3 + IPV4_TTL)
  if (old === ttl) return
  view.setUint8(l3 + IPV4_TTL, ttl)
  view.setUint16(
    l3 + IPV4_CHECKSUM,
    adjust16(view.getUint16(l3 + IPV4_CHECKSUM), old << 8, (ttl & 0xff) << 8),
  )
  // A reader's sum follows the header: both changes cancel out, so the sum over the packet stays what it was.
}

/** IPv6's hop limit, 0 to 255. */
export function setHopLimit(pkt: Packet, memory: Memory, limit: number): void {
  const at = pkt.l3 + IPV6_HOP_LIMIT
  pkt.headerShift += (limit & 0xff) - memory.view.getUint8(at)
  memory.view.setUint8(at, limit)
  pkt.sumEnd = 0
}

/** ip_decrease_ttl(). Hot. */
export function decreaseTtl(pkt: Packet, memory: Memory): void {
  const { view } = memory
  const at = pkt.l3 + IPV4_TTL
  view.setUint8(at, view.getUint8(at) - 1)
  view.setUint16(pkt.l3 + IPV4_CHECKSUM, lessHop(view.getUint16(pkt.l3 + IPV4_CHECKSUM)))
}

/**
 * What a known connection's packet with a plain IPv4 header needs on its way, written once: source address and port, and
 * one hop less. `third`: the header's word of TTL, protocol and checksum. TCP and UDP; the packet's cache is left alone.
 * As decreaseTtl() and then setSourceAndPort4(). Hot.
 */
export function forwardFrom4(
  view: DataView,
  l3: number,
  third: number,
  oldWord: number,
  oldPort: number,
  word: number,
  port: number,
): void {
  const delta = change(oldWord, word)
  view.setInt32(l3 + IPV4_SRC, word)
  view.setUint16(l3 + IPV4_HEADER_LEN, port)
  writeThird(view, l3, third, adjustBy(lessHop(third & 0xffff), delta))
  mendTransport(view, l3 + IPV4_HEADER_LEN, third, delta + (~oldPort & 0xffff) + port)
}

/** Destination address and port, then one hop less; see forwardFrom4(). */
export function forwardTo4(
  view: DataView,
  l3: number,
  third: number,
  oldWord: number,
  oldPort: number,
  word: number,
  port: number,
): void {
  const delta = change(oldWord, word)
  view.setInt32(l3 + IPV4_DST, word)
  view.setUint16(l3 + IPV4_HEADER_LEN + 2, port)
  writeThird(view, l3, third, lessHop(adjustBy(third & 0xffff, delta)))
  mendTransport(view, l3 + IPV4_HEADER_LEN, third, delta + (~oldPort & 0xffff) + port)
}

/** One hop less; see forwardFrom4(). */
export function forward4(view: DataView, l3: number, third: number): void {
  writeThird(view, l3, third, lessHop(third & 0xffff))
}

/** ip_decrease_ttl(): the checksum. */
function lessHop(check: number): number {
  const sum = check + 0x100
  return (sum + (sum >= 0xffff ? 1 : 0)) & 0xffff
}

function writeThird(view: DataView, l3: number, third: number, check: number): void {
  view.setInt32(l3 + IPV4_TTL, ((third & 0xffff0000) - 0x01000000) | check)
}

/** The transport checksum after what it covers has changed by `delta`. */
function mendTransport(view: DataView, l4: number, third: number, delta: number): void {
  const proto = (third >>> 16) & 0xff
  const at = l4 + (proto === IPPROTO_UDP ? UDP_CHECKSUM : TCP_CHECKSUM)
  const old = view.getUint16(at)
  if (proto !== IPPROTO_UDP || old !== 0) view.setUint16(at, unzero(adjustBy(old, delta), proto))
}

/** Sets pkt.end and the total length of the header with it. */
export function setTotalLength4(pkt: Packet, memory: Memory, length: number): void {
  const { view } = memory
  const l3 = pkt.l3
  const old = view.getUint16(l3 + IPV4_TOTAL_LEN)
  view.setUint16(l3 + IPV4_TOTAL_LEN, length)
  view.setUint16(l3 + IPV4_CHECKSUM, adjust16(view.getUint16(l3 + IPV4_CHECKSUM), old, length))
  pkt.end = l3 + length
  pkt.sumEnd = 0
}

/** Sets pkt.end and the payload length of the IPv6 header with it; `length`: bytes from the network header on. */
function setTotalLength6(pkt: Packet, memory: Memory, length: number): void {
  memory.view.setUint16(pkt.l3 + IPV6_PAYLOAD_LEN, length - IPV6_HEADER_LEN)
  pkt.end = pkt.l3 + length
  pkt.sumEnd = 0
}

/** A 16-bit field of the TCP header at absolute offset `at`; adjusts TCP's checksum (inet_proto_csum_replace2). */
export function setTcp16(pkt: Packet, memory: Memory, at: number, value: number): void {
  if (at + 2 > pkt.end || pkt.l4 + TCP_HEADER_LEN > pkt.end) return
  const { view } = memory
  const check = pkt.l4 + TCP_CHECKSUM
  const old = view.getUint16(at)
  view.setUint16(at, value)
  // A field at an odd offset adds its bytes to the other halves of words.
  view.setUint16(
    check,
    (at - pkt.l4) & 1
      ? adjust16(view.getUint16(check), swap(old), swap(value))
      : adjust16(view.getUint16(check), old, value),
  )
  pkt.sumEnd = 0
}

/** A 32-bit field of the TCP header at absolute offset `at` (sequence numbers, SACK edges); `value` may be signed. */
export function setTcp32(pkt: Packet, memory: Memory, at: number, value: number): void {
  if (at + 4 > pkt.end || pkt.l4 + TCP_HEADER_LEN > pkt.end) return
  const { view } = memory
  const check = pkt.l4 + TCP_CHECKSUM
  const old = view.getInt32(at)
  view.setInt32(at, value)
  view.setUint16(
    check,
    (at - pkt.l4) & 1
      ? adjust32(view.getUint16(check), swap32(old), swap32(value))
      : adjust32(view.getUint16(check), old, value),
  )
  pkt.sumEnd = 0
}

const swap = (value: number): number => ((value & 0xff) << 8) | ((value >>> 8) & 0xff)
const swap32 = (value: number): number => (swap(value >>> 16) << 16) | swap(value & 0xffff)

/**
 * The MSS value of the option at `option` (offset of its kind byte). At an odd offset the checksum comes out wrong, as
 * the kernel's does: tcpmss_mangle_packet() adds the value's bytes as if they stood at an even one.
 */
export function setTcpMss(pkt: Packet, memory: Memory, option: number, mss: number): void {
  const { view } = memory
  const check = pkt.l4 + TCP_CHECKSUM
  view.setUint16(check, adjust16(view.getUint16(check), view.getUint16(option + 2), mss))
  view.setUint16(option + 2, mss)
  pkt.sumEnd = 0
}

/**
 * Adds an MSS option in front of the others (tcpmss_mangle_packet). False if there is no room: a header of 60 bytes,
 * a packet of 65532, or the slot is full. TCP's fixed header must be in bounds.
 */
export function addTcpMss(pkt: Packet, memory: Memory, mss: number): boolean {
  const { view, bytes } = memory
  const l4 = pkt.l4
  const first = view.getUint16(l4 + TCP_DATA_OFFSET)
  if (first >>> 12 >= 15 || pkt.end + 4 > pkt.limit || pkt.end + 4 - pkt.l3 > 0xffff) return false
  const options = l4 + TCP_HEADER_LEN
  bytes.copyWithin(options + 4, options, pkt.end)
  view.setUint32(options, (TCPOPT_MSS << 24) | (4 << 16) | (mss & 0xffff))
  const length = pkt.end - l4
  let check = view.getUint16(l4 + TCP_CHECKSUM)
  check = adjust16(check, length, length + 4)
  check = adjust32(check, 0, view.getInt32(options))
  check = adjust16(check, first, first + 0x1000)
  view.setUint16(l4 + TCP_DATA_OFFSET, first + 0x1000)
  view.setUint16(l4 + TCP_CHECKSUM, check)
  if (pkt.family === 4) setTotalLength4(pkt, memory, pkt.end + 4 - pkt.l3)
  else setTotalLength6(pkt, memory, pkt.end + 4 - pkt.l3)
  return true
}
