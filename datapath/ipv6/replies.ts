// What a host says by itself over IPv6: ICMPv6 errors, echo replies, TCP resets. As net/ipv6/icmp.c, tcp_ipv6.c and netfilter/nf_reject_ipv6.c of Linux 6.18.
//
//     cause ─ silences ─ global limit ─ source address ─ peer limit ─ route ─ header, quote ─▶ path.sendLocal
//
// Every answer is a packet of its own in a slot of its own, and walks OUTPUT and POSTROUTING like any other. It
// leaves before the function returns; `cause` is not changed.

import { ICMP_OUT, IcmpStat, IpStat, TcpStat } from '../counters.ts'
import type { Device } from '../devices.ts'
import { type FlowKey, newFlowKey, type Route, RouteType, type Words } from '../fib.ts'
import { Hook } from '../hooks.ts'
import type { Host } from '../host.ts'
import { writePartialChecksum } from '../offload.ts'
import { type Packet, PacketType, PathFlag } from '../packet.ts'
import { fill6 } from '../parse.ts'
import { answerProbe, answersProbe } from '../probe.ts'
import { HEADROOM } from '../ring.ts'
import { isJoined, type Sides } from '../route.ts'
import { isErrorType, type RouteEntry } from '../route-table.ts'
import { fold, pseudo6, sumHolds, sumView, transportChecksumOk, VERIFIED } from '../wire/checksum.ts'
import { ICMP_CHECKSUM, ICMP_HEADER_LEN, ICMP_REST } from '../wire/icmp.ts'
import {
  ICMPV6_DEST_UNREACH,
  ICMPV6_ECHO_REPLY,
  ICMPV6_EXT_ECHO_REPLY,
  ICMPV6_EXT_ECHO_REQUEST,
  ICMPV6_INFOMSG_MASK,
  ICMPV6_PARAMPROB,
  ICMPV6_PKT_TOOBIG,
  ICMPV6_UNK_OPTION,
} from '../wire/icmp6.ts'
import {
  IPV6_DST,
  IPV6_HEADER_LEN,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LEN,
  IPV6_SRC,
  ipv6FlowLabel,
  ipv6TrafficClass,
} from '../wire/ipv6.ts'
import { Ipv6Address, ipv6AddressType } from '../wire/ipv6-address.ts'
import { skipHeaders, skipped } from '../wire/ipv6-headers.ts'
import {
  IPPROTO_AH,
  IPPROTO_ESP,
  IPPROTO_GRE,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../wire/protocol.ts'
import {
  TCP_ACK,
  TCP_ACK_SEQ,
  TCP_CHECKSUM,
  TCP_DATA_OFFSET,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_LEN,
  TCP_RST,
  TCP_SEQ,
  TCP_SYN,
  TcpAuth,
  tcpAckSeq,
  tcpAuth,
  tcpDstPort,
  tcpFlags,
  tcpHeaderLength,
  tcpSeq,
  tcpSrcPort,
} from '../wire/tcp.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN } from '../wire/udp.ts'
import { hopLimitOf, interfaceOf, isAnycast, needsInterface } from './routes.ts'
import { selectAddress6 } from './source-address.ts'

const IPV6_MIN_MTU = 1280
const ECN_MASK = 3
/** Length of a jiffy at HZ 250, ms. */
const JIFFY = 4
/** Bits of net.ipv6.flowlabel_reflect. */
const REFLECT_TCP_RESET = 2
const REFLECT_ECHO_REPLIES = 4
const FLOW_LABEL_MASK = 0xfffff
/** IPV6_FLOWLABEL_STATELESS_FLAG. */
const STATELESS_LABEL = 0x80000

const isMulticast = (w0: number): boolean => w0 >>> 24 === 0xff
const isLinkLocal = (w0: number): boolean => w0 >>> 22 === 0x3fa
const isUnicast = (w0: number, w1: number, w2: number, w3: number): boolean =>
  (ipv6AddressType(w0, w1, w2, w3) & Ipv6Address.Unicast) !== 0

export class Replies6 {
  readonly #host: Host
  readonly #key = newFlowKey()
  /**
   * An ICMPv6 message of ours is on its way out (icmpv6_xmit_lock): whatever its journey gives cause for stays unsaid, as
   * when a rule in OUTPUT rejects it.
   */
  #sendingIcmp = false

  constructor(host: Host) {
    this.#host = host
  }

  // -- ICMPv6 errors

  /** icmpv6_param_prob(): `pointer` in bytes from l3. */
  parameterProblem(cause: Packet, code: number, pointer: number): boolean {
    return this.icmpError(cause, ICMPV6_PARAMPROB, code, pointer)
  }

  /**
   * icmp6_send(): an error of `type` and `code` about `cause`. `info`: the four bytes behind the checksum as a number
   * (MTU, pointer). `device`: where the packet stands (skb->dev), which decides about link-local addresses. False: none
   * was due, allowed, or possible.
   */
  icmpError(
    cause: Packet,
    type: number,
    code: number,
    info: number,
    device: Device | null = cause.arrival,
  ): boolean {
    const host = this.#host
    const { view } = host.memory
    if (cause.family !== 6 || device === null) return false
    let own = this.#isOwn(cause, device)
    if (isMulticast(cause.d0) || cause.pktType !== PacketType.Host) {
      if (
        type !== ICMPV6_PKT_TOOBIG &&
        !(
          type === ICMPV6_PARAMPROB &&
          code === ICMPV6_UNK_OPTION &&
          view.getUint8(cause.l3 + info) >> 6 === 2
        )
      )
        return false
      own = false
    }
    if ((cause.s0 | cause.s1 | cause.s2 | cause.s3) === 0 || isMulticast(cause.s0)) return false
    if (this.#aboutError(cause)) return false
    const limited = !device.loopback && host.ipv6.icmpLimited[type] === 1
    if (limited && !this.#allow()) return false
    if (this.#sendingIcmp) return false

    const key = this.#keyTo(cause)
    key.mark = 0
    if (own) this.#fromDestination(cause)
    else if (!this.#hasPreferredSource()) {
      const arrival = this.#arrival(cause)
      const source = arrival && selectAddress6(host.devices, arrival, key.d0, key.d1, key.d2, key.d3)
      if (source) {
        key.s0 = source.words[0]
        key.s1 = source.words[1]
        key.s2 = source.words[2]
        key.s3 = source.words[3]
      }
    }
    key.mark = this.#mark(cause)
    // __ipv6_addr_needs_scope_id() and icmp6_iif().
    if (isLinkLocal(cause.s0)) key.oif = this.#interface(cause, device).index
    key.dport = (type << 8) | code
    if (limited && !this.#peerAllow(cause)) return false
    const way = host.path.routes6.outputWithSource(key, cause)
    if (way === null) return false
    const anycast = isAnycast(way, key.d0, key.d1, key.d2, key.d3) || this.#clonedAnycast(way, key)
    if (!host.ipv6.icmpErrorAnycastAsUnicast && anycast) return false
    host.path.routes6.asAnswered(cause)

    const quote = Math.min(cause.end - cause.l3, IPV6_MIN_MTU - IPV6_HEADER_LEN - ICMP_HEADER_LEN)
    const pkt = this.#append(cause, way, ICMP_HEADER_LEN + quote)
    if (pkt === null) {
      host.counters.icmp6[IcmpStat.OutErrors]!++
      return false
    }
    const { l4 } = pkt
    view.setUint8(l4, type)
    view.setUint8(l4 + 1, code)
    view.setUint32(l4 + ICMP_REST, info)
    host.memory.bytes.copyWithin(l4 + ICMP_HEADER_LEN, cause.l3, cause.l3 + quote)
    if (cause.csumPartial)
      writePartialChecksum(cause, host.memory, l4 + ICMP_HEADER_LEN + cause.l4 - cause.l3, pkt.end)
    this.#header(pkt, hopLimitOf(way), 0, 0, IPPROTO_ICMPV6)
    this.#sealIcmp(pkt)
    host.tracker?.attach(pkt, cause)
    this.#sendIcmp(pkt, type)
    return true
  }

  /** ipv6_chk_addr() and ipv6_chk_acast_addr_src(): the destination is an address of this host, as seen from `device`. */
  #isOwn(cause: Packet, device: Device): boolean {
    const { d0, d1, d2, d3 } = cause
    const narrow = isLinkLocal(d0) || (d3 === 1 && (d0 | d1 | d2) === 0)
    for (const each of this.#host.devices.byIndex) {
      if (each === undefined || (narrow && each !== device)) continue
      for (const { family, words: w } of each.addresses)
        if (family === 6 && w[3] === d3 && w[2] === d2 && w[1] === d1 && w[0] === d0) return true
    }
    const only = isLinkLocal(d0) ? device : null
    for (const route of this.#host.fib.localRoutes6([d0, d1, d2, d3]))
      if (isJoined(route) && (only === null || route.device === only)) return true
    return false
  }

  /** is_ineligible(): no errors about errors. A chain of headers that is cut short is no error. */
  #aboutError(cause: Packet): boolean {
    const { view } = this.#host.memory
    const at = skipHeaders(view, cause.l3, cause.end)
    // Where the handlers are further on already than the header is, it is not found (Packet.transportAt).
    if (cause.transportAt !== 0 && at < cause.l4) return false
    if (at < 0 || skipped.next !== IPPROTO_ICMPV6) return false
    // A fragment may end in front of it; any bit in the field makes one.
    if (at >= cause.end) return skipped.field === 0
    return (view.getUint8(at) & ICMPV6_INFOMSG_MASK) === 0
  }

  /** icmpv6_rt_has_prefsrc(). */
  #hasPreferredSource(): boolean {
    const way = this.#host.path.routes6.output(this.#key)
    return !isErrorType(way.type) && way.source !== null
  }

  /** IP6CB(skb)->iif: where the packet came from; null for one that was made here. */
  #arrival(cause: Packet): Device | null {
    const { arrival, route } = cause
    if (cause.local) return null
    return arrival !== null && route !== null && arrival.loopback ? interfaceOf(route) : arrival
  }

  /** icmp6_iif(): from this host to this host it is the interface of the address. */
  #interface(cause: Packet, device: Device): Device {
    return device.loopback && cause.route !== null ? interfaceOf(cause.route) : device
  }

  /** icmp_global_allow(), whose refusals both families count in one place. */
  #allow(): boolean {
    const { icmpLimit, counters } = this.#host
    if (icmpLimit.allow()) return true
    counters.icmp4[IcmpStat.OutRateLimitGlobal]!++
    return false
  }

  /** icmpv6_xrlim_allow(): none to a loopback device, else a token of the peer. */
  #peerAllow(cause: Packet | null): boolean {
    const host = this.#host
    const key = this.#key
    const way = host.path.routes6.output(key, cause)
    const { counters } = host
    if (isErrorType(way.type)) {
      counters.count6(IpStat.OutNoRoutes)
      counters.icmp6[IcmpStat.OutRateLimitHost]!++
      return false
    }
    if (!way.device!.loopback) {
      const timeout = Math.ceil(host.ipv6.icmpRatelimit / JIFFY) * JIFFY
      const place = host.peers.place(6, key.d0, key.d1, key.d2, key.d3)
      if (!host.peers.allow(place, timeout)) {
        counters.icmp6[IcmpStat.OutRateLimitHost]!++
        return false
      }
    }
    host.icmpLimit.consume()
    return true
  }

  /**
   * ip6_rt_cache_alloc(): the copy of a link's route with a path MTU of its own is an anycast address's, if it is for the
   * first address of the link. isAnycast() holds those of more than two addresses for that anyway.
   */
  #clonedAnycast(way: Route, key: Sides): boolean {
    const { path } = this.#host
    const { dst } = way
    const { d0, d1, d2, d3 } = key
    return (
      way.prefixLength === 127 &&
      way.gateway === null &&
      dst[3] === d3 &&
      dst[2] === d2 &&
      dst[1] === d1 &&
      dst[0] === d0 &&
      path.pathMtus6.get(way, key) !== 0
    )
  }

  // -- answers of the local stack

  /**
   * icmpv6_echo_reply(): the request back, from the address it was for if that is one host's; a probe with what it asks.
   * Whether it was sent.
   */
  echoReply(pkt: Packet): boolean {
    const host = this.#host
    const { ipv6 } = host
    const { view, bytes } = host.memory
    const probe = view.getUint8(pkt.l4) === ICMPV6_EXT_ECHO_REQUEST
    const type = probe ? ICMPV6_EXT_ECHO_REPLY : ICMPV6_ECHO_REPLY
    if (isMulticast(pkt.d0) && ipv6.icmpEchoIgnoreMulticast) return false
    const route = pkt.route!
    const anycast = isAnycast(route, pkt.d0, pkt.d1, pkt.d2, pkt.d3)
    if (anycast && ipv6.icmpEchoIgnoreAnycast) return false
    const key = this.#keyTo(pkt)
    if (route.type === RouteType.Local || (anycast && ipv6.anycastSource)) this.#fromDestination(pkt)
    key.oif = this.#interface(pkt, pkt.arrival!).index
    key.mark = this.#mark(pkt)
    // Policy rules find type and code where the destination port is.
    key.dport = type << 8
    if (this.#sendingIcmp) return false
    const way = host.path.routes6.outputWithSource(key)
    if (way === null) return false
    const limited = !pkt.arrival!.loopback && ipv6.icmpLimited[ICMPV6_ECHO_REPLY] === 1
    if (limited && (!this.#allow() || !this.#peerAllow(null))) return false
    if (probe && !answersProbe(pkt, host)) return false
    const answer = this.#append(pkt, way, pkt.end - pkt.l4)
    if (answer === null) {
      host.counters.icmp6[IcmpStat.OutErrors]!++
      return false
    }
    bytes.copyWithin(answer.l4, pkt.l4, pkt.end)
    view.setUint8(answer.l4, type)
    if (probe) answerProbe(pkt, host, answer)
    const label = (ipv6.flowLabelReflect & REFLECT_ECHO_REPLIES) !== 0 ? ipv6FlowLabel(view, pkt.l3) : 0
    this.#header(answer, hopLimitOf(way), ipv6TrafficClass(view, pkt.l3), label, IPPROTO_ICMPV6)
    this.#sealIcmp(answer)
    this.#sendIcmp(answer, type)
    return true
  }

  /**
   * tcp_v6_rcv() without a socket: a reset, unless the segment is one, or damaged (tcp_v6_send_reset). Its traffic class
   * is the segment's without ECN.
   */
  localTcpReset(pkt: Packet): boolean {
    const host = this.#host
    const { view } = host.memory
    const { tcp } = host.counters
    if (pkt.pktType !== PacketType.Host) return false
    tcp[TcpStat.InSegs]!++
    if (pkt.l4 + TCP_HEADER_LEN > pkt.end) return false
    const header = tcpHeaderLength(view, pkt.l4)
    if (header < TCP_HEADER_LEN) tcp[TcpStat.InErrs]!++
    if (header < TCP_HEADER_LEN || pkt.l4 + header > pkt.end) return false
    if (!transportChecksumOk(pkt, host.memory)) {
      tcp[TcpStat.InCsumErrors]!++
      tcp[TcpStat.InErrs]!++
      return false
    }
    if ((tcpFlags(view, pkt.l4) & TCP_RST) !== 0 || pkt.route!.type !== RouteType.Local) return false
    // As over IPv4, but what TCP-AO signed is not looked at by a kernel without it.
    const auth = tcpAuth(view, pkt.l4)
    if (auth === TcpAuth.Md5 || auth === TcpAuth.Bad) return false
    const key = this.#keyTo(pkt)
    this.#fromDestination(pkt)
    key.protocol = IPPROTO_TCP
    key.sport = pkt.dport
    key.dport = pkt.sport
    key.mark = this.#mark(pkt)
    if (needsInterface(key.d0, key.d1, key.d2, key.d3)) key.oif = this.#interface(pkt, pkt.arrival!).index
    const way = host.path.routes6.outputWithSource(key)
    if (way === null) return false
    const answer = this.#make(this.#mark(pkt), way, TCP_HEADER_LEN)
    if (answer === null) return false
    const reflect = (host.ipv6.flowLabelReflect & REFLECT_TCP_RESET) !== 0
    const label = reflect ? ipv6FlowLabel(view, pkt.l3) : 0
    const tclass = ipv6TrafficClass(view, pkt.l3) & ~ECN_MASK
    this.#header(answer, hopLimitOf(way), tclass, label, IPPROTO_TCP)
    answer.csumPartial = true
    answer.socketless = true
    this.#reset(answer, pkt)
    host.counters.count6(IpStat.OutRequests)
    tcp[TcpStat.OutSegs]!++
    tcp[TcpStat.OutRsts]!++
    this.#send(answer)
    return true
  }

  // -- REJECT

  /**
   * nf_send_reset6(): `--reject-with tcp-reset`. Silent for what is no whole TCP header with a right checksum, and for
   * resets. Traffic class and flow label 0; it needs a route only, not a local address.
   */
  tcpReset(cause: Packet, hook: Hook): boolean {
    const host = this.#host
    const { view } = host.memory
    if (
      !isUnicast(cause.s0, cause.s1, cause.s2, cause.s3) ||
      !isUnicast(cause.d0, cause.d1, cause.d2, cause.d3)
    )
      return false
    const at = skipHeaders(view, cause.l3, cause.end)
    if (at < 0 || skipped.next !== IPPROTO_TCP || at + TCP_HEADER_LEN > cause.end) return false
    if ((tcpFlags(view, at) & TCP_RST) !== 0) return false
    // What conntrack found out is forgotten in ip6_forward().
    const known =
      cause.csumPartial ||
      (cause.residue === -1 || cause.residue === VERIFIED ? cause.csumOk : this.#believes(cause, hook))
    if (!known && !this.#sumsUp(cause, at, IPPROTO_TCP)) return false
    const key = this.#keyTo(cause)
    this.#fromDestination(cause)
    key.protocol = IPPROTO_TCP
    key.sport = tcpDstPort(view, at)
    key.dport = tcpSrcPort(view, at)
    key.mark = this.#mark(cause)
    const way = host.path.routes6.output(key)
    if (isErrorType(way.type)) return false
    const answer = this.#make(this.#mark(cause), way, TCP_HEADER_LEN)
    if (answer === null) return false
    this.#header(answer, hopLimitOf(way), 0, -1, IPPROTO_TCP)
    answer.socketless = true
    this.#reset(answer, cause)
    host.tracker?.attach(answer, cause)
    host.tracker?.closing?.(cause)
    this.#send(answer)
    return true
  }

  /**
   * nf_send_unreach6(): the other types of REJECT, `code` of destination unreachable. Silent for later fragments, wrong
   * checksums and packets without an upper header; a protocol without a checksum that is known here must sum up.
   */
  icmpReject(cause: Packet, code: number, hook: Hook): boolean {
    const { view } = this.#host.memory
    if (!cause.csumOk && !this.#believes(cause, hook)) {
      const at = skipHeaders(view, cause.l3, cause.end)
      if (at < 0 || at >= cause.end || cause.fragOffset !== 0) return false
      if (this.#verifies(cause, at, skipped.next) && !this.#sumsUp(cause, at, skipped.next)) return false
    }
    const device = hook === Hook.LocalOut ? (cause.device ?? this.#host.devices.loopback) : cause.arrival
    return this.icmpError(cause, ICMPV6_DEST_UNREACH, code, 0, device)
  }

  /** Whether a sum that was made before says that the packet is right (nf_ip6_checksum of CHECKSUM_COMPLETE). */
  #believes(cause: Packet, hook: Hook): boolean {
    return cause.residue >= 0 && (hook === Hook.LocalOut || sumHolds(cause))
  }

  /** nf_reject_verify_csum(): whether the packet should have a checksum over all of it; a cut UDP header should. */
  #verifies(cause: Packet, at: number, proto: number): boolean {
    switch (proto) {
      case IPPROTO_UDP:
        return at + UDP_HEADER_LEN > cause.end || this.#host.memory.view.getUint16(at + UDP_CHECKSUM) !== 0
      case IPPROTO_GRE:
      case IPPROTO_AH:
      case IPPROTO_ESP:
      case IPPROTO_SCTP:
      case IPPROTO_UDPLITE:
        return false
      default:
        return true
    }
  }

  /** nf_ip6_checksum(): over all that is there, fragment or not, with a pseudo header whatever the protocol. */
  #sumsUp(cause: Packet, at: number, proto: number): boolean {
    return (
      fold(sumView(this.#host.memory.view, at, cause.end, pseudo6(cause, proto, cause.end - at))) === 0xffff
    )
  }

  // -- neighbour discovery (ndisc.ts)

  /** ndisc_alloc_skb(): an ICMPv6 message of `length` bytes between two addresses, its bytes unset; null: no room. */
  message(way: Route, source: Words, to: Words, length: number): Packet | null {
    const key = this.#key
    key.s0 = source[0]
    key.s1 = source[1]
    key.s2 = source[2]
    key.s3 = source[3]
    key.d0 = to[0]
    key.d1 = to[1]
    key.d2 = to[2]
    key.d3 = to[3]
    return this.#make(0, way, length)
  }

  /** ndisc_send_skb(): seals and sends what message() gave, made for `device`. */
  sendMessage(pkt: Packet, device: Device): void {
    this.#header(pkt, 255, device.conf6.ndiscTclass, -1, IPPROTO_ICMPV6)
    this.#sealIcmp(pkt)
    pkt.flags |= PathFlag.Whole
    const { counters, memory, packets, path } = this.#host
    const type = memory.view.getUint8(pkt.l4)
    counters.count6(IpStat.OutRequests)
    if (path.sendLocal(pkt, device)) this.#countOut(type)
    packets.give(pkt)
  }

  // -- making packets

  /** The key of an answer to `cause`, from nobody yet. */
  #keyTo(cause: Packet): FlowKey {
    const key = this.#key
    key.family = 6
    key.d0 = cause.s0
    key.d1 = cause.s1
    key.d2 = cause.s2
    key.d3 = cause.s3
    key.s0 = key.s1 = key.s2 = key.s3 = 0
    key.tos = 0
    key.iif = key.oif = 0
    key.protocol = IPPROTO_ICMPV6
    key.sport = key.dport = 0
    return key
  }

  #fromDestination(cause: Packet): void {
    const key = this.#key
    key.s0 = cause.d0
    key.s1 = cause.d1
    key.s2 = cause.d2
    key.s3 = cause.d3
  }

  /** IP6_REPLY_MARK(). */
  #mark(cause: Packet): number {
    return this.#host.ipv6.fwmarkReflect ? cause.mark : 0
  }

  /** ip6_append_data(): as #make(), in the pieces that the route's MTU asks for. */
  #append(cause: Packet, way: RouteEntry, length: number): Packet | null {
    const mtu = this.#host.path.mtu6(way, this.#key)
    const pkt = this.#make(this.#mark(cause), way, length)
    if (pkt !== null) this.#host.fragments6.append(pkt, mtu)
    return pkt
  }

  /** A packet with `length` bytes behind the fixed header, in a slot of its own, or null if there is no room for one. */
  #make(mark: number, way: Route, length: number): Packet | null {
    const { memory, packets } = this.#host
    if (HEADROOM + IPV6_HEADER_LEN + length > memory.stride) return null
    const slot = memory.take()
    if (slot < 0) return null
    const pkt = packets.take()
    pkt.family = 6
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.l4 = pkt.l3 + IPV6_HEADER_LEN
    pkt.end = pkt.l4 + length
    pkt.route = way
    pkt.mark = mark
    pkt.local = true
    pkt.csumOk = true
    return pkt
  }

  /** The fixed header, addresses as in the key, and the packet's cached fields. `label`: 0 one made here, -1 none. */
  #header(pkt: Packet, hopLimit: number, tclass: number, label: number, proto: number): void {
    const { view } = this.#host.memory
    const key = this.#key
    const { l3 } = pkt
    view.setUint16(l3 + IPV6_PAYLOAD_LEN, pkt.end - pkt.l4)
    view.setUint8(l3 + IPV6_NEXT_HEADER, proto)
    view.setUint8(l3 + IPV6_HOP_LIMIT, hopLimit)
    view.setInt32(l3 + IPV6_SRC, key.s0)
    view.setInt32(l3 + IPV6_SRC + 4, key.s1)
    view.setInt32(l3 + IPV6_SRC + 8, key.s2)
    view.setInt32(l3 + IPV6_SRC + 12, key.s3)
    view.setInt32(l3 + IPV6_DST, key.d0)
    view.setInt32(l3 + IPV6_DST + 4, key.d1)
    view.setInt32(l3 + IPV6_DST + 8, key.d2)
    view.setInt32(l3 + IPV6_DST + 12, key.d3)
    const flow = label === 0 ? this.#flowLabel(proto) : Math.max(label, 0)
    view.setUint32(l3, ((6 << 28) | (tclass << 20) | flow) >>> 0)
    fill6(pkt, view)
  }

  /** ip6_make_flowlabel(): by the flow's addresses, protocol and ports. */
  #flowLabel(proto: number): number {
    const { ipv6 } = this.#host
    if (!ipv6.autoFlowLabels) return 0
    const key = this.#key
    let h = Math.imul(key.s0 ^ Math.imul(key.s1, 31) ^ Math.imul(key.s2, 961) ^ key.s3, 0x9e3779b1)
    h = Math.imul(h ^ key.d0 ^ Math.imul(key.d1, 31) ^ Math.imul(key.d2, 961) ^ key.d3, 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 15) ^ (key.sport << 16) ^ key.dport ^ proto, 0xc2b2ae35)
    const label = (h ^ (h >>> 13)) & FLOW_LABEL_MASK
    return ipv6.flowLabelRanges ? label | STATELESS_LABEL : label
  }

  /** icmpv6_push_pending_frames(). */
  #sealIcmp(pkt: Packet): void {
    const { view } = this.#host.memory
    const { l4, end } = pkt
    view.setUint16(l4 + ICMP_CHECKSUM, 0)
    view.setUint16(l4 + ICMP_CHECKSUM, ~fold(sumView(view, l4, end, pseudo6(pkt, IPPROTO_ICMPV6, end - l4))))
  }

  /** The reset's TCP header at pkt.l4: the acknowledged number, or an acknowledgment of what `cause` sent. */
  #reset(pkt: Packet, cause: Packet): void {
    const { view, bytes } = this.#host.memory
    const { l4 } = pkt
    bytes.fill(0, l4, l4 + TCP_HEADER_LEN)
    view.setUint16(l4, tcpDstPort(view, cause.l4))
    view.setUint16(l4 + 2, tcpSrcPort(view, cause.l4))
    view.setUint8(l4 + TCP_DATA_OFFSET, (TCP_HEADER_LEN >> 2) << 4)
    const flags = tcpFlags(view, cause.l4)
    if (flags & TCP_ACK) {
      view.setUint32(l4 + TCP_SEQ, tcpAckSeq(view, cause.l4))
      view.setUint8(l4 + TCP_FLAGS, TCP_RST)
    } else {
      const length = cause.end - cause.l4 - tcpHeaderLength(view, cause.l4)
      const numbers = length + (flags & TCP_SYN ? 1 : 0) + (flags & TCP_FIN ? 1 : 0)
      view.setUint32(l4 + TCP_ACK_SEQ, tcpSeq(view, cause.l4) + numbers)
      view.setUint8(l4 + TCP_FLAGS, TCP_RST | TCP_ACK)
    }
    // Of the segment's own addresses: one to the unspecified address gets a source that the sum does not know.
    const pseudo = pseudo6(cause, IPPROTO_TCP, TCP_HEADER_LEN)
    view.setUint16(l4 + TCP_CHECKSUM, ~fold(sumView(view, l4, l4 + TCP_HEADER_LEN, pseudo)))
    fill6(pkt, view)
  }

  /** ip6_push_pending_frames() and ip6_send_skb(): counted whatever becomes of it. */
  #sendIcmp(pkt: Packet, type: number): void {
    const { counters } = this.#host
    counters.count6(IpStat.OutRequests)
    this.#countOut(type)
    this.#sendingIcmp = true
    if (!this.#send(pkt)) counters.count6(IpStat.OutDiscards)
    this.#sendingIcmp = false
  }

  #countOut(type: number): void {
    const { icmp6, icmpTypes6 } = this.#host.counters
    icmp6[IcmpStat.OutMsgs]!++
    icmpTypes6[ICMP_OUT + type]!++
  }

  /** False: it did not get out. */
  #send(pkt: Packet): boolean {
    const host = this.#host
    const sent = host.path.sendLocal(pkt)
    host.packets.give(pkt)
    return sent
  }
}
