// The local stack of a host where nobody listens: extension headers in turn, then what answers (ip6_protocol_deliver_rcu()
// of net/ipv6/ip6_input.c, exthdrs.c, icmp.c, udp.c; 6.18).
//
//     next header ─┬─ routing, destination options, fragment: once more with the next one
//                  ├─ ICMPv6, TCP, UDP, UDP-Lite: an answer, or none
//                  └─ anything else: parameter problem, at the byte that names it

import { IcmpStat, IpStat, Reason, UdpStat } from '../counters.ts'
import { Fate } from '../fate.ts'
import { newFlowKey } from '../fib.ts'
import { Verdict } from '../hooks.ts'
import type { Host } from '../host.ts'
import { type Packet, PacketType } from '../packet.ts'
import type { Path } from '../path.ts'
import { isErrorType } from '../route-table.ts'
import { coversPart, fold, isSummedAtOnce, sumHolds, sumView, transportChecksumOk } from '../wire/checksum.ts'
import { ICMP_HEADER_LEN, ICMP_REST } from '../wire/icmp.ts'
import {
  ICMPV6_DEST_UNREACH,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_EXT_ECHO_REQUEST,
  ICMPV6_HDR_FIELD,
  ICMPV6_INFOMSG_MASK,
  ICMPV6_MGM_QUERY,
  ICMPV6_MGM_REDUCTION,
  ICMPV6_MLD2_REPORT,
  ICMPV6_PKT_TOOBIG,
  ICMPV6_PORT_UNREACH,
  ICMPV6_UNK_NEXTHDR,
  NDISC_NEIGHBOUR_SOLICITATION,
  NDISC_REDIRECT,
} from '../wire/icmp6.ts'
import {
  IPV6_HEADER_LEN,
  IPV6_MIN_MTU,
  IPV6_NEXT_HEADER,
  ipv6Dst,
  ipv6Src,
  ipv6TrafficClass,
} from '../wire/ipv6.ts'
import {
  FRAGMENT_HEADER_LEN,
  NEXTHDR_DEST,
  NEXTHDR_FRAGMENT,
  NEXTHDR_HOP,
  NEXTHDR_NONE,
  NEXTHDR_ROUTING,
  skipHeaders,
  skipped,
} from '../wire/ipv6-headers.ts'
import {
  IPPROTO_ICMPV6,
  IPPROTO_PIM,
  IPPROTO_RAW,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../wire/protocol.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN, UDP_LENGTH } from '../wire/udp.ts'
import { inGroup } from './groups.ts'
import { quoteOfRedirect, receiveNdisc } from './ndisc.ts'
import { destinationOptionsOk } from './options.ts'
import type { Ipv6Path } from './path.ts'

/** Routing header types that are off by default: RPL and segment routing. */
const RPL = 3
const SEGMENTS = 4

/** ipv6_is_mld(): questions and reports about groups, RFC 2710, and reports of RFC 3810. */
const isMld = (type: number): boolean =>
  (type >= ICMPV6_MGM_QUERY && type <= ICMPV6_MGM_REDUCTION) || type === ICMPV6_MLD2_REPORT

/** What the next header says that some handler takes (inet6_protos[] with INET6_PROTO_FINAL, and "none"). */
function isKnown(next: number): boolean {
  switch (next) {
    case IPPROTO_ICMPV6:
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_PIM:
    case NEXTHDR_NONE:
      return true
  }
  return false
}

/** Where eight bytes of the upper header of the packet quoted at `inner` begin, -1: nowhere. Its kind: skipped.next. */
function quotedUpper(view: DataView, inner: number, end: number): number {
  if (inner + IPV6_HEADER_LEN > end) return -1
  const upper = skipHeaders(view, inner, end)
  return upper < 0 || upper + 8 > end ? -1 : upper
}

/** The residue of a datagram of `length` bytes, which the packet is longer than (pskb_trim_rcsum). */
function withoutTail(pkt: Packet, view: DataView, length: number): number {
  const from = pkt.l4 + length
  let tail = fold(sumView(view, from, pkt.end))
  // Its words began at an odd byte.
  if ((length & 1) !== 0) tail = ((tail & 0xff) << 8) | (tail >> 8)
  return fold(pkt.residue + (~tail & 0xffff) + (~(pkt.end - from) & 0xffff))
}

export class LocalStack6 {
  readonly #host: Host
  readonly #path: Path
  readonly #ipv6: Ipv6Path
  readonly #key = newFlowKey()

  constructor(host: Host, path: Path, ipv6: Ipv6Path) {
    this.#host = host
    this.#path = path
    this.#ipv6 = ipv6
  }

  /** ip6_input_finish(): a packet that INPUT let through. */
  receive(pkt: Packet): Fate {
    const host = this.#host
    const { view } = host.memory
    const { counters } = host
    if (this.#path.localDelivery?.(pkt)) {
      counters.count6(IpStat.InDelivers)
      this.#path.why = Reason.Delivered
      return this.#path.end(pkt, Fate.Delivered)
    }
    // The byte that names the next header, and where that header begins; both from l3.
    let nextAt = IPV6_NEXT_HEADER
    let at = IPV6_HEADER_LEN
    // What conntrack put together may name a hop-by-hop header that stood behind the fragment's.
    if (view.getUint8(pkt.l3 + nextAt) === NEXTHDR_HOP && pkt.transportAt !== IPV6_HEADER_LEN) {
      nextAt = IPV6_HEADER_LEN
      at += (view.getUint8(pkt.l3 + IPV6_HEADER_LEN + 1) + 1) << 3
    }
    // Not where the header begins that is named, if there were any others in front of the fragment header.
    if (pkt.transportAt !== 0) at = pkt.transportAt
    for (;;) {
      const start = pkt.l3 + at
      if (start > pkt.end) {
        counters.count6(IpStat.InDiscards)
        return this.#path.drop(pkt, Reason.BadHeader)
      }
      const next = view.getUint8(pkt.l3 + nextAt)
      switch (next) {
        case NEXTHDR_ROUTING:
          if (!this.#routingOk(pkt, start)) return this.#path.drop(pkt, Reason.SourceRoute)
          break
        case NEXTHDR_DEST:
          if (!destinationOptionsOk(pkt, host, start)) return this.#path.drop(pkt, Reason.Options)
          break
        case NEXTHDR_FRAGMENT: {
          const verdict = host.fragments6.receive(pkt, start, pkt.l3 + nextAt)
          if (verdict === Verdict.Drop) {
            const { problem, problemAt } = host.fragments6
            if (problem >= 0) counters.count6(IpStat.InHdrErrors)
            if (problem >= 0) host.replies6.parameterProblem(pkt, problem, problemAt)
            return this.#path.drop(pkt, Reason.Fragment)
          }
          if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
          // A fragment that is all of its packet keeps its header.
          if (view.getUint8(pkt.l3 + nextAt) === NEXTHDR_FRAGMENT) {
            nextAt = at
            at += FRAGMENT_HEADER_LEN
          }
          continue
        }
        default:
          // What conntrack summed up was another part of the packet.
          if (pkt.l4 !== start && pkt.residue !== -1) {
            pkt.residue = -1
            pkt.csumOk = pkt.csumPartial
          }
          pkt.l4 = start
          pkt.proto = next
          if (pkt.d0 >>> 24 === 0xff && !this.#hears(pkt, next)) {
            counters.count6(IpStat.InDiscards)
            return this.#path.drop(pkt, Reason.Multicast)
          }
          counters.count6(isKnown(next) ? IpStat.InDelivers : IpStat.InUnknownProtos)
          return this.#upper(pkt, next, nextAt)
      }
      nextAt = at
      at += (view.getUint8(start + 1) + 1) << 3
    }
  }

  /**
   * ip6_protocol_deliver_rcu(): what is for a group that the host is not in on that device came by a route to one address,
   * as TEE's copies do. Only handlers of upper protocols mind (INET6_PROTO_FINAL), and not when groups are asked about.
   */
  #hears(pkt: Packet, next: number): boolean {
    switch (next) {
      case IPPROTO_ICMPV6:
        if (pkt.l4 + ICMP_HEADER_LEN <= pkt.end && isMld(this.#host.memory.view.getUint8(pkt.l4))) return true
        break
      case IPPROTO_TCP:
      case IPPROTO_UDP:
      case IPPROTO_UDPLITE:
        break
      default:
        return true
    }
    return pkt.arrival === null || inGroup(pkt.arrival, pkt.d0, pkt.d1, pkt.d2, pkt.d3)
  }

  /** ipv6_rthdr_rcv(): a header that has been worked off is passed over, no other is. */
  #routingOk(pkt: Packet, at: number): boolean {
    const { counters, memory } = this.#host
    const { view } = memory
    if (at + 8 > pkt.end || at + ((view.getUint8(at + 1) + 1) << 3) > pkt.end) {
      counters.count6(IpStat.InHdrErrors)
      return false
    }
    if (pkt.d0 >>> 24 === 0xff || pkt.pktType !== PacketType.Host) {
      counters.count6(IpStat.InAddrErrors)
      return false
    }
    const type = view.getUint8(at + 2)
    if (type === RPL || type === SEGMENTS) return false
    if (view.getUint8(at + 3) === 0) return true
    counters.count6(IpStat.InHdrErrors)
    this.#host.replies6.parameterProblem(pkt, ICMPV6_HDR_FIELD, at + 2 - pkt.l3)
    return false
  }

  /**
   * The upper header. The handlers let go of the conntrack entry first, so that what they answer has one of its own;
   * an unknown next header's error belongs to its connection.
   */
  #upper(pkt: Packet, next: number, nextAt: number): Fate {
    const host = this.#host
    // What conntrack found may have become void, or may first hold now.
    if (pkt.residue >= 0 && next !== IPPROTO_UDP) pkt.csumOk = sumHolds(pkt)
    switch (next) {
      case IPPROTO_ICMPV6:
        this.#icmp(pkt)
        this.#path.why = Reason.Delivered
        return this.#path.end(pkt, Fate.Delivered)
      case IPPROTO_TCP:
        host.tracker?.release(pkt)
        this.#path.why = host.replies6.localTcpReset(pkt) ? Reason.Port : Reason.Delivered
        return this.#path.end(pkt, Fate.Delivered)
      case IPPROTO_UDP:
      case IPPROTO_UDPLITE:
        return this.#udp(pkt, next)
      case NEXTHDR_NONE:
      case IPPROTO_PIM:
        this.#path.why = Reason.Delivered
        return this.#path.end(pkt, Fate.Delivered)
      default:
        host.replies6.icmpError(pkt, 4, ICMPV6_UNK_NEXTHDR, nextAt)
        this.#path.why = Reason.Protocol
        return this.#path.end(pkt, Fate.Delivered)
    }
  }

  /** icmpv6_rcv(). */
  #icmp(pkt: Packet): void {
    const host = this.#host
    const { icmp6, icmpTypes6 } = host.counters
    icmp6[IcmpStat.InMsgs]!++
    const length = pkt.end - pkt.l4
    // What is too short to hold a checksum has a wrong one.
    if (!transportChecksumOk(pkt, host.memory) || (length < 4 && !pkt.csumOk)) {
      icmp6[IcmpStat.InCsumErrors]!++
      icmp6[IcmpStat.InErrors]!++
      return
    }
    if (length < ICMP_HEADER_LEN) {
      icmp6[IcmpStat.InErrors]!++
      return
    }
    const type = host.memory.view.getUint8(pkt.l4)
    icmpTypes6[type]!++
    if ((type & ICMPV6_INFOMSG_MASK) === 0 && this.#nobodyAsked(pkt, pkt.l4 + ICMP_HEADER_LEN))
      icmp6[IcmpStat.InErrors]!++
    switch (type) {
      case ICMPV6_EXT_ECHO_REQUEST:
        if (host.ipv4.icmpEchoEnableProbe && !host.ipv6.icmpEchoIgnoreAll) host.replies6.echoReply(pkt)
        break
      case ICMPV6_ECHO_REQUEST:
        if (!host.ipv6.icmpEchoIgnoreAll) host.replies6.echoReply(pkt)
        break
      case ICMPV6_PKT_TOOBIG:
        this.#learnMtu(pkt)
        break
      case NDISC_NEIGHBOUR_SOLICITATION:
        receiveNdisc(pkt, host)
        break
      case NDISC_REDIRECT: {
        const quote = quoteOfRedirect(pkt, host)
        if (quote >= 0 && this.#nobodyAsked(pkt, quote)) icmp6[IcmpStat.InErrors]!++
        break
      }
    }
  }

  /**
   * icmpv6_notify(): whether an error about the packet quoted at `inner` counts as one that says too little, or that
   * nobody asked for: TCP and UDP look for a socket, and sockets of IPPROTO_RAW hear nothing; others do not look.
   */
  #nobodyAsked(pkt: Packet, inner: number): boolean {
    if (quotedUpper(this.#host.memory.view, inner, pkt.end) < 0) return true
    const { next } = skipped
    return next === IPPROTO_TCP || next === IPPROTO_UDP || next === IPPROTO_UDPLITE || next === IPPROTO_RAW
  }

  /**
   * icmpv6_notify() and icmpv6_err(): "packet too big" about an ICMPv6 message of ours; nobody else here sends anything
   * that listens. As ip6_update_pmtu().
   */
  #learnMtu(pkt: Packet): void {
    const host = this.#host
    const { view } = host.memory
    const inner = pkt.l4 + ICMP_HEADER_LEN
    if (quotedUpper(view, inner, pkt.end) < 0 || skipped.next !== IPPROTO_ICMPV6) return
    const key = this.#key
    key.family = 6
    key.d0 = ipv6Dst(view, inner, 0)
    key.d1 = ipv6Dst(view, inner, 1)
    key.d2 = ipv6Dst(view, inner, 2)
    key.d3 = ipv6Dst(view, inner, 3)
    key.s0 = ipv6Src(view, inner, 0)
    key.s1 = ipv6Src(view, inner, 1)
    key.s2 = ipv6Src(view, inner, 2)
    key.s3 = ipv6Src(view, inner, 3)
    key.tos = ipv6TrafficClass(view, inner)
    key.oif = pkt.arrival!.index
    key.mark = host.ipv6.fwmarkReflect ? pkt.mark : 0
    key.protocol = key.sport = key.dport = 0
    const route = this.#ipv6.routes.output(key)
    if (isErrorType(route.type) || route.extras?.locked?.includes('mtu')) return
    const said = view.getUint32(pkt.l4 + ICMP_REST)
    if (said < IPV6_MIN_MTU || said >= this.#ipv6.mtu(route, key)) return
    this.#ipv6.pathMtus.learn(route, key, said, host.ipv6.mtuExpires * 1000)
  }

  /** __udp6_lib_rcv() without a socket. Unlike IPv4's, UDP has to have a checksum. */
  #udp(pkt: Packet, proto: number): Fate {
    const host = this.#host
    const { view } = host.memory
    const length = pkt.end - pkt.l4
    const stats = proto === IPPROTO_UDP ? host.counters.udp6 : host.counters.udpLite6
    if (length < UDP_HEADER_LEN) return this.#badUdp(pkt, stats)
    const claimed = view.getUint16(pkt.l4 + UDP_LENGTH)
    if (claimed > length) return this.#badUdp(pkt, stats)
    if (proto === IPPROTO_UDP && claimed !== 0) {
      if (claimed < UDP_HEADER_LEN) return this.#badUdp(pkt, stats)
      // What lies behind the datagram is no part of it, nor of the error's quote (pskb_trim_rcsum).
      if (claimed < length) {
        if (pkt.residue >= 0) pkt.residue = withoutTail(pkt, view, claimed)
        pkt.end = pkt.l4 + claimed
        pkt.sumEnd = 0
        pkt.csumOk = pkt.csumPartial
      }
    }
    const toMany = pkt.d0 >>> 24 === 0xff
    if (!this.#udpChecksumOk(pkt, proto, claimed, toMany)) {
      stats[UdpStat.InCsumErrors]!++
      return this.#badUdp(pkt, stats)
    }
    if (toMany) {
      stats[UdpStat.IgnoredMulti]!++
      this.#path.why = Reason.Delivered
      return this.#path.end(pkt, Fate.Delivered)
    }
    host.tracker?.release(pkt)
    stats[UdpStat.NoPorts]!++
    host.replies6.icmpError(pkt, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0)
    this.#path.why = Reason.Port
    return this.#path.end(pkt, Fate.Delivered)
  }

  #badUdp(pkt: Packet, stats: Float64Array): Fate {
    stats[UdpStat.InErrors]!++
    return this.#path.drop(pkt, Reason.BadTransport)
  }

  /** udp6_csum_init() and what follows it. To many, a datagram needs no checksum, and a long one is not summed up. */
  #udpChecksumOk(pkt: Packet, proto: number, claimed: number, toMany: boolean): boolean {
    const { memory } = this.#host
    if (memory.view.getUint16(pkt.l4 + UDP_CHECKSUM) === 0) return toMany && proto === IPPROTO_UDP
    if (proto === IPPROTO_UDPLITE && claimed !== 0 && claimed < UDP_HEADER_LEN) return false
    if (toMany && coversPart(pkt, memory.view)) return true
    const short = isSummedAtOnce(pkt)
    // udp6_csum_init() believes a sum that was made here, right or wrong.
    if (pkt.residue >= 0) {
      pkt.csumOk = sumHolds(pkt)
      if (!pkt.csumOk && !short) return false
    }
    return (toMany && !short) || transportChecksumOk(pkt, memory)
  }
}
