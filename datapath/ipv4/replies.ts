// What a host says by itself: ICMP errors, echo and timestamp replies, TCP resets. As net/ipv4/icmp.c, tcp_ipv4.c,
// ip_output.c (ip_send_unicast_reply) and netfilter/nf_reject_ipv4.c of Linux 6.18.
//
//     cause ─ silences ─ rate limit ─ source address, options ─ route ─ peer limit ─ header, quote ─▶ path.sendLocal
//
// Every answer is a packet of its own in a slot of its own, and walks OUTPUT and POSTROUTING like any other. It
// leaves before the function returns; `cause` is not changed.

import { ICMP_OUT, IcmpStat, IpStat, TcpStat } from '../counters.ts'
import { newFlowKey, type Route, RouteType } from '../fib.ts'
import { Hook } from '../hooks.ts'
import type { Host } from '../host.ts'
import { writePartialChecksum } from '../offload.ts'
import { IpOptions, type Packet, PacketType } from '../packet.ts'
import { fill4 } from '../parse.ts'
import { answerProbe, answersProbe } from '../probe.ts'
import { HEADROOM } from '../ring.ts'
import { hopLimitMetric, isForHost, isToMany } from '../route.ts'
import { fold, pseudo4, sumView, transportChecksumOk, writeIpv4Checksum } from '../wire/checksum.ts'
import {
  ICMP_ADDRESS,
  ICMP_ADDRESSREPLY,
  ICMP_CHECKSUM,
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_EXC_FRAGTIME,
  ICMP_EXT_ECHO,
  ICMP_EXT_ECHOREPLY,
  ICMP_FRAG_NEEDED,
  ICMP_HEADER_LEN,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_REST,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMPREPLY,
  NR_ICMP_TYPES,
  NR_ICMP_UNREACH,
} from '../wire/icmp.ts'
import {
  ECN_MASK,
  IP_DF,
  IPV4_DST,
  IPV4_HEADER_LEN,
  IPV4_PLAIN,
  IPV4_PROTOCOL,
  IPV4_TOS,
} from '../wire/ipv4.ts'
import {
  IPPROTO_AH,
  IPPROTO_ESP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_RAW,
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
import { buildOptions, echoOptions, specificDestination, timestampOf } from './options.ts'
import { relookup } from './relookup.ts'

/** IPTOS_PREC_INTERNETCONTROL: what errors have in the precedence bits. */
const INTERNET_CONTROL = 0xc0
/** RT_TOS(): the bits of TOS that an error keeps. */
const RT_TOS = 0x1e
/** RFC 1812 §4.3.2.3: no error is longer than this. */
const ERROR_MAX = 576
/** INADDR_DUMMY, RFC 7600: the source of errors from a host without addresses. */
const DUMMY_ADDRESS = 0xc0000008 | 0
/** IP_DEFAULT_MULTICAST_TTL of its sockets (mc_ttl). */
const MULTICAST_TTL = 1
const IP_MAX_LENGTH = 0xffff
const IPV4_MIN_MTU = 68
/** Types that icmp_pointers[] marks as errors; types unknown to it count as such when quoted. */
const ERROR_TYPES =
  (1 << 1) |
  (1 << 2) |
  (1 << ICMP_DEST_UNREACH) |
  (1 << ICMP_SOURCE_QUENCH) |
  (1 << ICMP_REDIRECT) |
  (1 << 6) |
  (1 << 7) |
  (1 << 9) |
  (1 << 10) |
  (1 << ICMP_TIME_EXCEEDED) |
  (1 << ICMP_PARAMETERPROB)

const isErrorType = (type: number): boolean => type <= NR_ICMP_TYPES && ((ERROR_TYPES >> type) & 1) !== 0

export class Replies {
  readonly #host: Host
  readonly #key = newFlowKey()
  /** Options of the answer being made. */
  readonly #options = new IpOptions()
  readonly #optionBytes = new Uint8Array(40)
  /**
   * An ICMP message of ours is on its way out (icmp_xmit_lock): whatever its journey gives cause for stays unsaid, as
   * when a rule in OUTPUT rejects it.
   */
  #sendingIcmp = false

  constructor(host: Host) {
    this.#host = host
  }

  // -- ICMP errors

  /**
   * icmp_send(): an error of `type` and `code` about `cause`. `info`: the four bytes behind the checksum as a number
   * (MTU, gateway, pointer << 24). False: none was due, allowed, or possible.
   */
  icmpError(cause: Packet, type: number, code: number, info: number): boolean {
    const host = this.#host
    const { view } = host.memory
    const route = cause.route
    if (route === null || cause.family !== 4) return false
    if (cause.pktType !== PacketType.Host || isToMany(route)) return false
    if (cause.fragOffset !== 0) return false
    if (cause.proto === IPPROTO_ICMP && isErrorType(type)) {
      // No errors about errors; what nobody knows may be one.
      if (cause.l4 >= cause.end) return false
      const quoted = view.getUint8(cause.l4)
      if (quoted > NR_ICMP_TYPES || isErrorType(quoted)) return false
    }
    const limited = !(cause.arrival?.loopback ?? false) && this.#limited(type, code)
    if (limited && !this.#allow()) return false
    if (this.#sendingIcmp) return false

    let source = 0
    // __mkroute_output(): what leaves by lo is for this host, whosever address it has.
    const looping =
      (cause.local || cause.socketless) && route.type === RouteType.Unicast && route.device?.loopback === true
    if (isForHost(route) || looping) source = cause.d0
    // A copy of TEE's left by a route of the host's own (rt_is_input_route).
    else if (
      host.ipv4.icmpErrorsUseInboundIfaddr &&
      !cause.local &&
      !cause.socketless &&
      cause.arrival !== null
    )
      source = host.devices.selectAddress4(cause.arrival, cause.s0, 253)
    let tos = view.getUint8(cause.l3 + IPV4_TOS)
    if (isErrorType(type)) tos = (tos & RT_TOS) | INTERNET_CONTROL
    const options = this.#options
    if (!echoOptions(cause, host, this.#optionBytes, options)) return false
    const way = this.#route(cause, source, tos, options, IPPROTO_ICMP, (type << 8) | code)
    if (way === null) return false
    if (host.fib.of(4).ruleRealms) relookup(host, cause)
    const peer = this.#key.d0
    if (limited && !this.#peerAllow(peer, way)) return false

    const header = IPV4_HEADER_LEN + options.length
    const room = Math.min(host.path.mtu(way, peer, false), ERROR_MAX) - header - ICMP_HEADER_LEN
    if (room <= IPV4_HEADER_LEN) return false
    const quote = Math.min(cause.end - cause.l3, room)
    const pkt = this.#append(cause, way, header + ICMP_HEADER_LEN + quote)
    if (pkt === null) {
      host.counters.icmp4[IcmpStat.OutErrors]!++
      return false
    }
    const l4 = pkt.l3 + header
    view.setUint8(l4, type)
    view.setUint8(l4 + 1, code)
    view.setUint32(l4 + ICMP_REST, info)
    host.memory.bytes.copyWithin(l4 + ICMP_HEADER_LEN, cause.l3, cause.l3 + quote)
    if (cause.csumPartial)
      writePartialChecksum(cause, host.memory, l4 + ICMP_HEADER_LEN + cause.l4 - cause.l3, pkt.end)
    this.#header(pkt, cause.s0, this.#key.s0 === 0 ? DUMMY_ADDRESS : this.#key.s0, tos, IPPROTO_ICMP, false)
    this.#sealIcmp(pkt, l4)
    if (quote > 0 && isErrorType(type)) host.tracker?.attach(pkt, cause)
    this.#sendIcmp(pkt, type)
    return true
  }

  /** icmpv4_mask_allow(): whether messages of this type are limited at all. */
  #limited(type: number, code: number): boolean {
    if (type > NR_ICMP_TYPES || (type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED)) return false
    return ((1 << type) & this.#host.ipv4.icmpRatemask) !== 0
  }

  /** icmp_global_allow(). */
  #allow(): boolean {
    const { icmpLimit, counters } = this.#host
    if (icmpLimit.allow()) return true
    counters.icmp4[IcmpStat.OutRateLimitGlobal]!++
    return false
  }

  /** icmpv4_xrlim_allow() and icmp_global_consume(): none to a loopback device, else a token of the peer. */
  #peerAllow(peer: number, way: Route): boolean {
    const host = this.#host
    if (way.device!.loopback) {
      host.icmpLimit.consume()
      return true
    }
    const place = host.peers.place(4, peer, 0, 0, 0)
    if (!host.peers.allow(place, host.ipv4.icmpRatelimit)) {
      host.counters.icmp4[IcmpStat.OutRateLimitHost]!++
      return false
    }
    host.icmpLimit.consume()
    return true
  }

  // -- answers of the local stack

  /**
   * icmp_rcv(): an ICMP message for this host, of any sort. Answers echo and timestamp requests. Whether something
   * was sent.
   */
  localIcmp(pkt: Packet): boolean {
    const host = this.#host
    const { icmp4, icmpTypes4 } = host.counters
    icmp4[IcmpStat.InMsgs]!++
    const length = pkt.end - pkt.l4
    if (
      !transportChecksumOk(pkt, host.memory) ||
      (length < 4 ? !pkt.csumOk : host.memory.view.getUint32(pkt.l4) === 0 && this.#isNothing(pkt))
    ) {
      icmp4[IcmpStat.InCsumErrors]!++
      return this.#badIcmp()
    }
    if (length < ICMP_HEADER_LEN) return this.#badIcmp()
    const type = host.memory.view.getUint8(pkt.l4)
    icmpTypes4[type]!++
    const toMany = pkt.route !== null && isToMany(pkt.route)
    // RFC 8335: an answer to a probe is one's own.
    if (type === ICMP_EXT_ECHO) return this.echoReply(pkt)
    if (type > NR_ICMP_TYPES) return (type !== ICMP_EXT_ECHOREPLY || toMany) && this.#badIcmp()
    if (toMany) {
      const asks = type === ICMP_ECHO || type === ICMP_TIMESTAMP
      if (asks ? host.ipv4.icmpEchoIgnoreBroadcasts : type !== ICMP_ADDRESS && type !== ICMP_ADDRESSREPLY)
        return this.#badIcmp()
    }
    switch (type) {
      case ICMP_ECHO:
        return this.echoReply(pkt)
      case ICMP_TIMESTAMP:
        return this.#timestampReply(pkt)
      case ICMP_DEST_UNREACH:
      case ICMP_SOURCE_QUENCH:
      case ICMP_TIME_EXCEEDED:
      case ICMP_PARAMETERPROB:
      case ICMP_REDIRECT:
        if (!this.#quoteConcernsNobody(pkt, type)) this.#badIcmp()
    }
    return false
  }

  /**
   * A message of zeros sums up to nothing, which is wrong, unless conntrack found it right: that sums the IP header too,
   * which gives -0. What came back by lo nobody has looked at.
   */
  #isNothing(pkt: Packet): boolean {
    if (pkt.csumOk && !(pkt.arrival?.loopback ?? false)) return false
    return sumView(this.#host.memory.view, pkt.l4, pkt.end) === 0
  }

  #badIcmp(): false {
    this.#host.counters.icmp4[IcmpStat.InErrors]!++
    return false
  }

  /**
   * icmp_unreach(), icmp_redirect() and icmp_socket_deliver() on a host where nobody listens: true unless the error is
   * counted as one that nobody asked for, or that says too little. TCP and UDP miss the socket, those of IPPROTO_RAW
   * hear nothing; others do not look.
   */
  #quoteConcernsNobody(pkt: Packet, type: number): boolean {
    const { memory, ipv4, fib } = this.#host
    const { view } = memory
    const inner = pkt.l4 + ICMP_HEADER_LEN
    if (inner + IPV4_HEADER_LEN > pkt.end) return false
    const header = (view.getUint8(inner) & 0xf) << 2
    const protocol = view.getUint8(inner + IPV4_PROTOCOL)
    const code = view.getUint8(pkt.l4 + 1)
    if (type !== ICMP_REDIRECT) {
      if (header < IPV4_HEADER_LEN) return false
      if (type === ICMP_DEST_UNREACH) {
        if ((code & 15) === ICMP_FRAG_NEEDED) {
          if (ipv4.noPmtuDisc === 2) return true
          // Of these protocols none says that it can tell its own packets (icmp_strict_tag_validation) but TCP.
          if (ipv4.noPmtuDisc === 3 && protocol !== IPPROTO_TCP) return true
        }
        if (code > NR_ICMP_UNREACH) return true
      }
      if (type === ICMP_TIME_EXCEEDED && code === ICMP_EXC_FRAGTIME) return true
      if (
        !ipv4.icmpIgnoreBogusErrorResponses &&
        fib.addressType(4, view.getInt32(inner + IPV4_DST), 0, 0, 0, 0) === RouteType.Broadcast
      )
        return true
    }
    if (inner + header + 8 > pkt.end) return false
    return (
      protocol !== IPPROTO_TCP &&
      protocol !== IPPROTO_UDP &&
      protocol !== IPPROTO_UDPLITE &&
      protocol !== IPPROTO_RAW
    )
  }

  /** icmp_echo(): the request back, with its code, identifier, sequence, data, TOS and options; a probe with what it asks. */
  echoReply(pkt: Packet): boolean {
    const host = this.#host
    if (host.ipv4.icmpEchoIgnoreAll) return false
    const probe = host.memory.view.getUint8(pkt.l4) === ICMP_EXT_ECHO
    if (probe && !answersProbe(pkt, host)) return false
    const data = pkt.end - pkt.l4 - ICMP_HEADER_LEN
    const answer = this.#icmpReply(pkt, probe ? ICMP_EXT_ECHOREPLY : ICMP_ECHOREPLY, data)
    if (answer === null) return false
    const l4 = answer.l4
    host.memory.bytes.copyWithin(l4 + 1, pkt.l4 + 1, pkt.end)
    if (probe) answerProbe(pkt, host, answer)
    this.#sealIcmp(answer, l4)
    this.#sendIcmp(answer, 0)
    return true
  }

  /** icmp_timestamp(): originate time of the request, receive and transmit time now; code 0. */
  #timestampReply(pkt: Packet): boolean {
    if (pkt.end - pkt.l4 - ICMP_HEADER_LEN < 4) return this.#badIcmp()
    const answer = this.#icmpReply(pkt, ICMP_TIMESTAMPREPLY, 12)
    if (answer === null) return false
    const { view } = this.#host.memory
    const l4 = answer.l4
    const now = timestampOf(this.#host.wall)
    view.setUint8(l4 + 1, 0)
    view.setUint32(l4 + ICMP_REST, view.getUint32(pkt.l4 + ICMP_REST))
    view.setUint32(l4 + ICMP_HEADER_LEN, view.getUint32(pkt.l4 + ICMP_HEADER_LEN))
    view.setUint32(l4 + ICMP_HEADER_LEN + 4, now)
    view.setUint32(l4 + ICMP_HEADER_LEN + 8, now)
    const first = answer.fragList === null ? answer.end - l4 : answer.fragList.sizes[0]!
    if (l4 + first < answer.end) this.#sealCutTimestamps(answer, pkt, first)
    else this.#sealIcmp(answer, l4)
    this.#sendIcmp(answer, 0)
    return true
  }

  /**
   * Where the first fragment has no room for the times, __ip_append_data() goes on with the request, as many bytes before
   * its data as the times lack; the checksum is over the times and those bytes.
   */
  #sealCutTimestamps(answer: Packet, request: Packet, first: number): void {
    const { view, bytes } = this.#host.memory
    const { l4, end } = answer
    view.setUint16(l4 + ICMP_CHECKSUM, 0)
    const sum = fold(sumView(view, l4, end))
    const from = request.l4 + ICMP_HEADER_LEN - (end - l4 - first)
    bytes.copyWithin(l4 + first, from, request.l4 + ICMP_HEADER_LEN)
    view.setUint16(l4 + ICMP_CHECKSUM, ~fold(sum + sumView(view, l4 + first, end)))
  }

  /** icmp_reply(): a packet with its header done, ICMP's type set; `data` bytes behind the ICMP header. */
  #icmpReply(pkt: Packet, type: number, data: number): Packet | null {
    const host = this.#host
    const options = this.#options
    if (!echoOptions(pkt, host, this.#optionBytes, options)) return null
    const limited = this.#limited(type, 0)
    if (limited && !this.#allow()) return null
    if (this.#sendingIcmp) return null
    const tos = host.memory.view.getUint8(pkt.l3 + IPV4_TOS)
    const way = this.#route(pkt, specificDestination(pkt, host), tos, options)
    if (way === null) return null
    if (limited && !this.#peerAllow(this.#key.d0, way)) return null
    const header = IPV4_HEADER_LEN + options.length
    const length = header + ICMP_HEADER_LEN + data
    const answer = length > IP_MAX_LENGTH ? null : this.#append(pkt, way, length)
    if (answer === null) {
      host.counters.icmp4[IcmpStat.OutErrors]!++
      return null
    }
    this.#header(answer, pkt.s0, this.#key.s0, tos, IPPROTO_ICMP, false)
    host.memory.view.setUint8(answer.l4, type)
    return answer
  }

  /**
   * tcp_v4_rcv() without a socket: a reset, unless the segment is one, or damaged (tcp_v4_send_reset). DSCP is the
   * segment's, options are echoed, DF is set and the identification 0.
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
    if ((tcpFlags(view, pkt.l4) & TCP_RST) !== 0) return false
    if (pkt.route === null || pkt.route.type !== RouteType.Local) return false
    // What is signed is for a socket, and nobody here has its key.
    if (tcpAuth(view, pkt.l4) !== TcpAuth.None) return false
    // Counted whether or not it gets out.
    tcp[TcpStat.OutSegs]!++
    tcp[TcpStat.OutRsts]!++
    const options = this.#options
    if (!echoOptions(pkt, host, this.#optionBytes, options)) return false
    const tos = view.getUint8(pkt.l3 + IPV4_TOS) & ~ECN_MASK
    const way = this.#route(pkt, pkt.d0, tos, options, IPPROTO_TCP)
    if (way === null) return false
    const length = IPV4_HEADER_LEN + options.length + TCP_HEADER_LEN
    // It may not be cut: with echoed options it may be too long for the way (__ip_append_data).
    if (length > host.path.mtu(way, this.#key.d0, false)) return false
    const answer = this.#append(pkt, way, length)
    if (answer === null) return false
    this.#header(answer, pkt.s0, this.#key.s0, tos, IPPROTO_TCP, true)
    this.#reset(answer, pkt)
    if (!this.#send(answer)) host.counters.count4(IpStat.OutDiscards)
    return true
  }

  // -- REJECT

  /**
   * nf_send_reset(): `--reject-with tcp-reset`. Silent for what is no whole TCP header with a right checksum, and
   * for resets. TOS 0, DF, identification 0, whatever the segment has; it needs a route only, not a local address.
   */
  tcpReset(cause: Packet, hook: Hook): boolean {
    const host = this.#host
    if (cause.family !== 4 || cause.fragOffset !== 0 || cause.proto !== IPPROTO_TCP) return false
    if (cause.l4 + TCP_HEADER_LEN > cause.end) return false
    if ((tcpFlags(host.memory.view, cause.l4) & TCP_RST) !== 0) return false
    // What conntrack found out is forgotten in ip_forward(), and was about another destination behind a source route.
    const known =
      cause.csumPartial ||
      (hook !== Hook.Forward && cause.opt.srr === 0 && cause.csumOk) ||
      this.#believes(cause, hook)
    if (!known && !this.#sumsUp(cause, IPPROTO_TCP)) return false
    if (cause.route === null || isToMany(cause.route)) return false
    this.#options.clear()
    const answer = this.#make(cause, cause.route, IPV4_HEADER_LEN + TCP_HEADER_LEN)
    if (answer === null) return false
    this.#header(answer, cause.s0, cause.d0, 0, IPPROTO_TCP, true)
    answer.socketless = true
    answer.csumPartial = true
    this.#reset(answer, cause)
    fill4(answer, host.memory.view, answer.l3 + IPV4_HEADER_LEN)
    const way = host.path.reroute(answer) ? answer.route : null
    if (way === null || answer.end - answer.l3 > host.path.mtu(way, answer.d0, false)) {
      this.#discard(answer)
      return false
    }
    host.tracker?.attach(answer, cause)
    host.tracker?.closing?.(cause)
    this.#send(answer)
    return true
  }

  /**
   * nf_send_unreach(): the other types of REJECT, `code` of destination unreachable. Silent for later fragments and
   * wrong checksums; a protocol without one that is known here must sum up to zero, as in the kernel.
   */
  icmpReject(cause: Packet, code: number, hook: Hook): boolean {
    if (cause.family !== 4 || cause.fragOffset !== 0) return false
    const known = cause.csumOk || !this.#verifies(cause) || this.#believes(cause, hook)
    if (!known && !this.#sumsUp(cause, cause.proto)) return false
    return this.icmpError(cause, ICMP_DEST_UNREACH, code, 0)
  }

  /** nf_ip_checksum() in OUTPUT takes any sum that was made before for right (CHECKSUM_COMPLETE): of what TEE copied. */
  #believes(cause: Packet, hook: Hook): boolean {
    return cause.residue >= 0 && hook === Hook.LocalOut
  }

  /** nf_reject_verify_csum(): whether the packet should have a checksum over all of it; a cut UDP header should. */
  #verifies(cause: Packet): boolean {
    switch (cause.proto) {
      case IPPROTO_UDP:
        return (
          cause.l4 + UDP_HEADER_LEN > cause.end ||
          this.#host.memory.view.getUint16(cause.l4 + UDP_CHECKSUM) !== 0
        )
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

  /**
   * nf_ip_checksum(): over all that is there, fragment or not, and over the IP header too, whose sum is nothing as
   * long as its checksum is right: compileOptions() leaves it wrong. Only TCP and UDP have a pseudo header.
   */
  #sumsUp(cause: Packet, proto: number): boolean {
    const known = cause.sumEnd === cause.end && cause.sumFrom === cause.l3
    let sum = known ? cause.sum : sumView(this.#host.memory.view, cause.l3, cause.end)
    if (proto === IPPROTO_TCP || proto === IPPROTO_UDP)
      sum += pseudo4(cause.s0, cause.d0, proto, cause.end - cause.l4)
    return fold(sum) === 0xffff
  }

  // -- making packets

  /**
   * ip_route_output_key() for an answer to `cause`: the key keeps source and destination as routed. `source` 0: the
   * route's. A source route of the options decides where it goes first. `error`: type and code of an ICMP error, which
   * lie where rules look for the destination port; of several next hops it takes the one of what it is about.
   */
  #route(
    cause: Packet,
    source: number,
    tos: number,
    options: IpOptions,
    proto = IPPROTO_ICMP,
    error = 0,
  ): Route | null {
    const key = this.#key
    key.family = 4
    key.d0 = options.srr !== 0 ? options.nexthop : cause.s0
    key.s0 = source
    key.d1 = key.d2 = key.d3 = key.s1 = key.s2 = key.s3 = 0
    key.tos = tos
    key.mark = this.#mark(cause)
    key.iif = key.oif = 0
    key.protocol = proto
    key.sport = proto === IPPROTO_TCP ? cause.dport : 0
    key.dport = proto === IPPROTO_TCP ? cause.sport : error
    return this.#host.fib.output(key, false, error === 0 ? null : cause)
  }

  /** IP4_REPLY_MARK(). */
  #mark(cause: Packet): number {
    return this.#host.ipv4.fwmarkReflect ? cause.mark : 0
  }

  /** ip_append_data(): as #make(), in the pieces that the route's MTU asks for; nothing goes by one below 68. */
  #append(cause: Packet, way: Route, length: number): Packet | null {
    const { fragments, path } = this.#host
    const mtu = path.mtu(way, this.#key.d0, false)
    if (mtu < IPV4_MIN_MTU) return null
    const pkt = this.#make(cause, way, length)
    if (pkt !== null) fragments.append(pkt, mtu)
    return pkt
  }

  /** A packet of `length` bytes in a slot of its own, or null if there is no room for one. */
  #make(cause: Packet, way: Route, length: number): Packet | null {
    const { memory, packets } = this.#host
    if (HEADROOM + length > memory.stride) return null
    const slot = memory.take()
    if (slot < 0) return null
    const pkt = packets.take()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + length
    pkt.l4 = pkt.l3 + IPV4_HEADER_LEN + this.#options.length
    pkt.route = way
    pkt.mark = this.#mark(cause)
    pkt.local = true
    pkt.csumOk = true
    return pkt
  }

  /**
   * __ip_make_skb(): the IP header with the options at hand, and the packet's cached fields. `to` is the destination
   * behind a source route. A packet with DF has identification 0, another one drawn at random.
   */
  #header(pkt: Packet, to: number, source: number, tos: number, proto: number, df: boolean): void {
    const host = this.#host
    const { view, bytes } = host.memory
    const options = this.#options
    const l3 = pkt.l3
    view.setUint8(l3, IPV4_PLAIN + (options.length >> 2))
    view.setUint8(l3 + 1, tos)
    view.setUint16(l3 + 2, pkt.end - l3)
    view.setUint16(l3 + 4, df ? 0 : host.random.i32() & 0xffff)
    view.setUint16(l3 + 6, df ? IP_DF : 0)
    // A group may be the first stop of a source route that is turned round.
    view.setUint8(
      l3 + 8,
      pkt.route?.type === RouteType.Multicast
        ? MULTICAST_TTL
        : hopLimitMetric(pkt.route) || host.ipv4.defaultTtl,
    )
    view.setUint8(l3 + 9, proto)
    view.setInt32(l3 + 12, source)
    view.setInt32(l3 + 16, options.srr !== 0 ? options.nexthop : to)
    if (options.length > 0) {
      for (let i = 0; i < options.length; i++) bytes[l3 + IPV4_HEADER_LEN + i] = this.#optionBytes[i]!
      buildOptions(view, l3, options, to, source, host.wall)
      pkt.opt.copy(options)
      pkt.opt.rrNeedAddr = pkt.opt.tsNeedAddr = pkt.opt.tsNeedTime = false
    }
    writeIpv4Checksum(view, l3)
  }

  /** icmp_push_reply(): its sum starts from all ones, so that a message of zeros has the checksum 0, not 0xffff. */
  #sealIcmp(pkt: Packet, l4: number): void {
    const { view } = this.#host.memory
    view.setUint16(l4 + ICMP_CHECKSUM, 0)
    view.setUint16(l4 + ICMP_CHECKSUM, ~fold(sumView(view, l4, pkt.end, 0xffff)))
  }

  /** The reset's TCP header at pkt.l4: the acknowledged number, or an acknowledgment of what `cause` sent. */
  #reset(pkt: Packet, cause: Packet): void {
    const { view, bytes } = this.#host.memory
    const l4 = pkt.l4
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
    // By the final destination, which a source route keeps from the header until the last hop.
    const start = pseudo4(cause.d0, cause.s0, IPPROTO_TCP, TCP_HEADER_LEN)
    view.setUint16(l4 + TCP_CHECKSUM, ~fold(sumView(view, l4, l4 + TCP_HEADER_LEN, start)))
  }

  /** icmp_out_count() and ip_send_skb(). `counted`: the type as the kernel's flow has it, 0 for all that is no error. */
  #sendIcmp(pkt: Packet, counted: number): void {
    const { counters } = this.#host
    counters.icmp4[IcmpStat.OutMsgs]!++
    counters.icmpTypes4[ICMP_OUT + counted]!++
    this.#sendingIcmp = true
    if (!this.#send(pkt)) counters.count4(IpStat.OutDiscards)
    this.#sendingIcmp = false
  }

  /** False: it did not get out. */
  #send(pkt: Packet): boolean {
    const host = this.#host
    fill4(pkt, host.memory.view, pkt.l4)
    const out = host.path.sendLocal(pkt)
    host.packets.give(pkt)
    return out
  }

  #discard(pkt: Packet): void {
    this.#host.memory.give(pkt.slot)
    this.#host.packets.give(pkt)
  }
}
