// The IPv4 packet's journey, as net/ipv4/{ip_input,route,ip_forward,ip_output}.c have it (6.18).
//
//   PREROUTING ─ route ─ options ─┬─ local: defrag ─ INPUT ─ local stack or local port
//                                 ├─ forward: ttl, mtu, redirect ─ FORWARD ─ options ─┐
//                                 └─ error: ICMP unreachable, prohibited, or nothing  │
//   localOut: OUTPUT (rerouted after mangle and nat) ────────────────────────┬────────┘
//                                                                            ▼
//                                          transmit ◀─ fragment ◀─ mtu ◀─ POSTROUTING

import { CacheWorth } from '../cache-worth.ts'
import { IpStat, Reason } from '../counters.ts'
import type { Device } from '../devices.ts'
import { Fate } from '../fate.ts'
import { type FlowKey, newFlowKey, type Route, RouteFailure, RouteType, usesGateway } from '../fib.ts'
import { ALL_HOSTS } from '../fib-lookup.ts'
import { DefragUser } from '../fragments.ts'
import { Hook, Priority, Verdict } from '../hooks.ts'
import type { Host } from '../host.ts'
import { Martians } from '../martians.ts'
import { completeChecksum, wireLength } from '../offload.ts'
import { CtInfo, type Packet, PacketType, PathFlag } from '../packet.ts'
import type { Path } from '../path.ts'
import { decreaseTtl } from '../rewrite.ts'
import { isErrorType, placeholderRoute, type RouteEntry, TOS_MASK } from '../route-table.ts'
import type { Routing } from '../routing.ts'
import { writeIpv4Checksum } from '../wire/checksum.ts'
import {
  ICMP_DEST_UNREACH,
  ICMP_EXC_TTL,
  ICMP_FRAG_NEEDED,
  ICMP_HOST_UNREACH,
  ICMP_NET_UNREACH,
  ICMP_PKT_FILTERED,
  ICMP_SR_FAILED,
  ICMP_TIME_EXCEEDED,
} from '../wire/icmp.ts'
import {
  IP_DF,
  IPV4_FRAG,
  IPV4_HEADER_LEN,
  IPV4_TOS,
  IPV4_TTL,
  ipv4Tos,
  isLoopback4,
  isMulticast4,
  isZeronet4,
} from '../wire/ipv4.ts'
import { IPPROTO_ICMP } from '../wire/protocol.ts'
import { LocalStack4 } from './local.ts'
import { compileOptions, forwardOptions } from './options.ts'
import { PathMtus } from './pmtu.ts'
import { sendRedirect } from './redirect.ts'

const IP_MAX_MTU = 0xffff

/** ip_rt_error_cost and ip_rt_error_burst: one routing error a second to each host, five at once; ms. */
const ERROR_COST = 1000
const ERROR_BURST = 5000

/** ip_tos2prio, by bits 1 to 4 of TOS. */
const TOS_PRIORITY = new Uint8Array([0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4])

/** In a cache's key, beside the interface: an ICMP error goes the way of what it is about. */
const ICMP_BIT = 1 << 23
/** What of Packet.flags a route says. */
const ROUTE_FLAGS = PathFlag.DoRedirect | PathFlag.Broadcast
const CACHE = 4096
const CACHE_WORDS = 8

export class Ipv4Path {
  readonly #host: Host
  readonly #path: Path
  readonly #routing: Routing
  readonly #key: FlowKey = newFlowKey()
  readonly #reverse: FlowKey = newFlowKey()
  /** Routes that say why there is none (dst.error with ip_error as input). */
  readonly #noNet: Route
  readonly #noHost: Route
  readonly #filtered: Route
  readonly #silent: Route
  /** Before the mangle table saw a packet in OUTPUT. */
  readonly #before = { s0: 0, d0: 0, mark: 0, tos: 0, /** It is in the mangle table. */ open: false }

  readonly #stats: Float64Array
  readonly pathMtus: PathMtus
  readonly #martians: Martians
  readonly #local: LocalStack4

  // Decisions of route input, by source, block of destinations, interface, tos and mark. Empty once anything they follow from changes.
  readonly #cacheKeys = new Int32Array(CACHE * CACHE_WORDS)
  readonly #cacheRoutes: (Route | null)[] = new Array(CACHE).fill(null)
  readonly #cacheReasons = new Uint8Array(CACHE)
  readonly #cacheFlags = new Uint8Array(CACHE)
  readonly #cacheWorth = new CacheWorth()

  constructor(host: Host, path: Path) {
    this.#host = host
    this.#path = path
    this.#routing = host.fib.of(4)
    this.#stats = host.counters.ip4
    const failure = (): Route => placeholderRoute(4, RouteType.Unreachable, host.devices.loopback)
    this.#noNet = failure()
    this.#noHost = failure()
    this.#filtered = failure()
    this.#silent = failure()
    this.#martians = new Martians(host)
    this.pathMtus = new PathMtus(host)
    this.#local = new LocalStack4(host, path, this)
    this.#registerReroute()
  }

  // -- in

  /** ip_rcv() behind the validation: from PREROUTING to the end. A looped packet has its route already. */
  enter(pkt: Packet, device: Device): Fate {
    const d0 = pkt.d0
    const verdict = this.#host.hooks.run4[Hook.PreRouting]!(pkt)
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    if (pkt.route !== null && pkt.d0 !== d0) pkt.route = null // nf_nat_ipv4_pre_routing()
    return this.#finishReceive(pkt, device)
  }

  /** ip_rcv_finish(). */
  #finishReceive(pkt: Packet, device: Device): Fate {
    if (pkt.route === null) {
      const reason = this.#routeInput(pkt, pkt.d0, device)
      if (reason !== Reason.None) {
        if (reason === Reason.ReversePath) this.#host.counters.reversePath++
        if (device.conf.logMartians) this.#noteMartian(reason, pkt, pkt.d0, device)
        return this.#path.drop(pkt, reason)
      }
    }
    if (pkt.l4 - pkt.l3 > IPV4_HEADER_LEN && !compileOptions(pkt, this.#host))
      return this.#path.drop(pkt, Reason.Options)
    const type = pkt.route!.type
    if (type === RouteType.Unicast && !pkt.route!.heard) {
      if ((pkt.flags & PathFlag.Broadcast) !== 0) this.#countIn(pkt, RouteType.Broadcast)
      if (
        (pkt.pktType === PacketType.Broadcast || pkt.pktType === PacketType.Multicast) &&
        device.conf.dropUnicastInL2Multicast
      )
        return this.#path.drop(pkt, Reason.LinkBroadcast)
      return this.#forward(pkt, device)
    }
    if (type === RouteType.Unreachable) return this.#routeError(pkt, device)
    if (type !== RouteType.Local) {
      this.#countIn(pkt, type)
      // Out of lo to a group that nobody here is in: dst_discard().
      if (type === RouteType.Multicast && !pkt.route!.heard) return this.#path.drop(pkt, Reason.Multicast)
    }
    return this.#deliver(pkt)
  }

  /** What came in for more than this host. */
  #countIn(pkt: Packet, type: number): void {
    const { counters } = this.#host
    const length = pkt.end - pkt.l3
    if (type === RouteType.Multicast) counters.add4(IpStat.InMcastPkts, IpStat.InMcastOctets, length)
    else if (type === RouteType.Broadcast) counters.add4(IpStat.InBcastPkts, IpStat.InBcastOctets, length)
  }

  // -- route input

  /**
   * ip_route_input(): sets pkt.route for a packet that arrived on pkt.arrival, for destination `d0` (a source route
   * may ask for another than pkt.d0). False: it is to be dropped, the route is null then.
   */
  routeInput(pkt: Packet, d0: number): boolean {
    const reason = this.#routeInput(pkt, d0, pkt.arrival!)
    if (reason !== Reason.None) {
      pkt.route = null
      if (pkt.arrival!.conf.logMartians) this.#noteMartian(reason, pkt, d0, pkt.arrival!)
    }
    return reason === Reason.None
  }

  /** Of multicast destinations nothing is said. */
  #noteMartian(reason: Reason, pkt: Packet, d0: number, device: Device): void {
    if (!isMulticast4(d0)) this.#martians.note(reason, pkt.s0, d0, device)
  }

  #routeInput(pkt: Packet, d0: number, device: Device): Reason {
    const host = this.#host
    const fib = host.fib
    const rt = this.#routing
    pkt.sourceRealm = 0
    if (isMulticast4(d0)) return this.#routeMulticast(pkt, d0, device)
    const epoch = (fib.generation + host.devices.generation) | 0
    const s0 = pkt.s0
    const where =
      device.index |
      (rt.asksTos ? (host.memory.view.getUint8(pkt.l3 + IPV4_TOS) & TOS_MASK) << 24 : 0) |
      (rt.multipath && pkt.proto === IPPROTO_ICMP ? ICMP_BIT : 0)
    const mark = rt.asksMark ? pkt.mark | 0 : 0
    const block = rt.blockOfArrival(d0)
    let h = Math.imul(block ^ Math.imul(s0, 0x85ebca6b) ^ where ^ mark, 0x9e3779b1)
    h = (h ^ (h >>> 16)) & (CACHE - 1)
    const keys = this.#cacheKeys
    const k = h * CACHE_WORDS
    const asks = this.#cacheWorth.asks(h)
    if (asks) {
      const known =
        keys[k] === block &&
        keys[k + 1] === s0 &&
        keys[k + 2] === where &&
        keys[k + 3] === mark &&
        keys[k + 4] === epoch &&
        keys[k + 5] === 1
      this.#cacheWorth.tell(known)
      if (known) {
        pkt.route = this.#cacheRoutes[h]!
        pkt.flags |= this.#cacheFlags[h]!
        return this.#cacheReasons[h] as Reason
      }
    }
    // Realms: what the source's route has is not among what is kept.
    this.#cacheable = asks && !rt.asksPorts && !rt.usesRealms
    pkt.route = null
    pkt.flags &= ~ROUTE_FLAGS
    const reason = this.#routeSlow(pkt, d0, device)
    if (this.#cacheable) {
      keys[k] = block
      keys[k + 1] = s0
      keys[k + 2] = where
      keys[k + 3] = mark
      keys[k + 4] = epoch
      keys[k + 5] = 1
      this.#cacheRoutes[h] = pkt.route
      this.#cacheReasons[h] = reason
      this.#cacheFlags[h] = pkt.flags & ROUTE_FLAGS
    }
    return reason
  }

  #cacheable = true

  /** ip_route_input_slow(). */
  #routeSlow(pkt: Packet, d0: number, device: Device): Reason {
    const fib = this.#host.fib
    const conf = device.conf
    const s0 = pkt.s0
    if (isMulticast4(s0) || s0 === -1) return Reason.MartianSource
    if (d0 === -1 || (s0 | d0) === 0) return this.#routeBroadcast(pkt, fib.broadcastIn, device)
    if (isZeronet4(s0)) return Reason.MartianSource
    if (isZeronet4(d0)) return Reason.MartianDestination
    if (isLoopback4(d0)) {
      if (!conf.routeLocalnet) return Reason.MartianDestination
    } else if (isLoopback4(s0) && !conf.routeLocalnet) return Reason.MartianSource

    const key = this.#key
    fib.fill(key, pkt)
    key.d0 = d0
    key.iif = device.index
    const found = fib.find(key)
    if (found === null || isErrorType(found.type)) {
      pkt.route = conf.forwarding ? this.#failed(fib.failure) : this.#noHost
      return Reason.None
    }
    let type = found.type
    if (type === RouteType.Broadcast) {
      if (!conf.bcForwarding) return this.#routeBroadcast(pkt, fib.loopOf(found), device)
      type = RouteType.Unicast
      pkt.flags |= PathFlag.Broadcast
    } else if (type === RouteType.Local) {
      const valid = this.#validateSource(pkt, s0, d0, 0, device)
      if (valid < 0) return -valid as Reason
      pkt.route = fib.loopOf(found)
      return Reason.None
    } else {
      if (!conf.forwarding) {
        pkt.route = this.#noHost
        return Reason.None
      }
      if (type !== RouteType.Unicast) return Reason.MartianDestination
    }

    // ip_mkroute_input()
    if (found.paths !== null && !fib.choosesByAddresses(pkt)) this.#cacheable = false
    const way = fib.forwarding(found, key, pkt)
    const realm = fib.ruleRealm(key)
    const out = way.device!
    const valid = this.#validateSource(pkt, s0, d0, out.index, device)
    if (valid < 0) return -valid as Reason
    if (
      out === device &&
      valid > 0 &&
      out.conf.sendRedirects &&
      (out.conf.sharedMedia || this.#host.devices.onLink4(out, s0, way.gateway === null ? 0 : way.gateway[0]))
    )
      pkt.flags |= PathFlag.DoRedirect
    pkt.route = fib.forwardingRealms(way, realm, pkt.sourceRealm === 0, found.paths === null)
    return Reason.None
  }

  /** What is wrong with a route that routeInput() gave (dst.error); None for one that leads somewhere. */
  failureOf(route: Route): RouteFailure {
    if (route.type !== RouteType.Unreachable) return RouteFailure.None
    if (route === this.#noNet) return RouteFailure.NetUnreach
    if (route === this.#noHost) return RouteFailure.HostUnreach
    return route === this.#filtered ? RouteFailure.Prohibited : RouteFailure.Invalid
  }

  #failed(failure: RouteFailure): Route {
    if (failure === RouteFailure.NetUnreach) return this.#noNet
    if (failure === RouteFailure.HostUnreach) return this.#noHost
    if (failure === RouteFailure.Prohibited) return this.#filtered
    return this.#silent
  }

  /** brd_input of ip_route_input_slow(). */
  #routeBroadcast(pkt: Packet, route: Route, device: Device): Reason {
    if (!isZeronet4(pkt.s0)) {
      const valid = this.#validateSource(pkt, pkt.s0, 0, 0, device)
      if (valid < 0) return -valid as Reason
    }
    pkt.route = route
    return Reason.None
  }

  /** ip_route_input_mc(): the host is in no group but 224.0.0.1, and routes no multicast. */
  #routeMulticast(pkt: Packet, d0: number, device: Device): Reason {
    const s0 = pkt.s0
    if (d0 !== ALL_HOSTS) return Reason.Multicast
    if (isMulticast4(s0) || s0 === -1) return Reason.MartianSource
    if (isLoopback4(s0) && !device.conf.routeLocalnet) return Reason.MartianSource
    if (!isZeronet4(s0)) {
      const valid = this.#validateSource(pkt, s0, 0, 0, device)
      if (valid < 0) return -valid as Reason
    }
    pkt.route = this.#host.fib.multicastIn
    return Reason.None
  }

  /**
   * fib_validate_source(): may a packet from `src` come in at `device`? Negative: no, by -reason. 1: the source is
   * on the link there. `oif`: ifindex it would be forwarded to, 0 for packets to this host.
   */
  #validateSource(pkt: Packet, src: number, dst: number, oif: number, device: Device): number {
    const { fib, devices } = this.#host
    const rt = this.#routing
    const conf = device.conf
    const rpf = conf.rpFilter
    if (rpf === 0 && !rt.usesRealms && (device.index !== oif || !conf.sendRedirects)) {
      if (conf.acceptLocal) return 0
      if (!rt.needsFullSourceCheck) return devices.hasAddress4(src) ? -Reason.LocalSource : 0
    }
    const key = this.#reverse
    fib.fill(key, pkt)
    key.d0 = src
    key.s0 = dst
    key.iif = oif
    if (!conf.srcValidMark) key.mark = 0
    if (rt.dissects) {
      const sport = key.sport
      key.sport = key.dport
      key.dport = sport
    } else key.protocol = key.sport = key.dport = 0
    const found = fib.find(key)
    if (found === null || isErrorType(found.type)) return rpf === 0 ? 0 : -Reason.ReversePath
    if (found.type !== RouteType.Unicast) {
      if (found.type !== RouteType.Local) return -Reason.MartianSource
      if (!conf.acceptLocal) return -Reason.LocalSource
    }
    const there = found.uses(device) || (found.type === RouteType.Local && device.loopback)
    // fib_combine_itag(): a device without addresses learns nothing from a route that leads elsewhere.
    if (there || hasAddress4(device)) {
      const rule = fib.ruleRealm(key)
      pkt.sourceRealm = found.first().realm << 16 || rule << 16
      pkt.sourceRealm |= rule >>> 16
    }
    if (there) return onLink(found.first())
    if (!hasAddress4(device)) return rpf === 0 ? 0 : -Reason.ReversePath
    if (rpf === 1) return -Reason.ReversePath
    key.oif = device.index
    const through = fib.find(key)
    if (through === null || through.type !== RouteType.Unicast) return 0
    return onLink(through.through(device.index) ?? through)
  }

  /** ip_error(): there is no way to the destination. */
  #routeError(pkt: Packet, device: Device): Fate {
    const host = this.#host
    const route = pkt.route
    if (!device.conf.forwarding) {
      host.counters.count4(IpStat.InAddrErrors)
      return this.#path.drop(pkt, Reason.NotForwarding)
    }
    if (route === this.#noNet) host.counters.count4(IpStat.InNoRoutes)
    if (route !== this.#noNet && route !== this.#noHost && route !== this.#filtered)
      return this.#path.drop(pkt, Reason.Blackhole)
    const place = host.peers.place(4, pkt.s0, 0, 0, 0)
    if (host.peers.take(place, ERROR_COST, ERROR_BURST)) {
      const code =
        route === this.#noNet
          ? ICMP_NET_UNREACH
          : route === this.#noHost
            ? ICMP_HOST_UNREACH
            : ICMP_PKT_FILTERED
      host.replies.icmpError(pkt, ICMP_DEST_UNREACH, code, 0)
    }
    return this.#path.drop(
      pkt,
      route === this.#noNet
        ? Reason.NoRoute
        : route === this.#noHost
          ? Reason.Unreachable
          : Reason.Prohibited,
    )
  }

  // -- forward

  /** ip_forward(). */
  #forward(pkt: Packet, device: Device): Fate {
    const host = this.#host
    const view = host.memory.view
    const l3 = pkt.l3
    if (pkt.pktType !== PacketType.Host) return this.#path.drop(pkt, Reason.LinkBroadcast)
    // skb_forward_csum()
    pkt.residue = -1
    if (view.getUint8(l3 + IPV4_TTL) <= 1) {
      host.counters.count4(IpStat.InHdrErrors)
      host.replies.icmpError(pkt, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0)
      return this.#path.drop(pkt, Reason.Ttl)
    }
    const route = pkt.route!
    const options = pkt.l4 - l3 > IPV4_HEADER_LEN
    if (options && pkt.opt.strictRoute && usesGateway(route)) {
      host.replies.icmpError(pkt, ICMP_DEST_UNREACH, ICMP_SR_FAILED, 0)
      return this.#path.drop(pkt, Reason.SourceRoute)
    }
    const stats = this.#stats
    stats[IpStat.OutForwDatagrams] = stats[IpStat.OutForwDatagrams]! + 1
    pkt.flags |= PathFlag.Forwarded
    const mtu = this.mtu(route, pkt.d0, true)
    if (
      wireLength(pkt, host.memory) > mtu &&
      (view.getUint16(l3 + IPV4_FRAG) & IP_DF) !== 0 &&
      (pkt.fragMaxSize > mtu || (pkt.fragMaxSize === 0 && !pkt.ignoreDf))
    ) {
      host.counters.count4(IpStat.FragFails)
      host.replies.icmpError(pkt, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
      return this.#path.drop(pkt, Reason.Mtu)
    }
    decreaseTtl(pkt, host.memory)
    // A source route knows why it goes round.
    if ((pkt.flags & PathFlag.DoRedirect) !== 0 && !(options && pkt.opt.srr !== 0))
      sendRedirect(host, pkt, route)
    if (host.ipv4.forwardUpdatePriority)
      pkt.priority = TOS_PRIORITY[(view.getUint8(l3 + IPV4_TOS) & 0x1e) >> 1]!
    pkt.iif = device.index
    pkt.oif = route.device!.index
    const verdict = host.hooks.run4[Hook.Forward]!(pkt)
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    if (options) forwardOptions(pkt, host)
    return this.#output(pkt)
  }

  // -- local

  /** ip_local_deliver(). */
  #deliver(pkt: Packet): Fate {
    const host = this.#host
    if (pkt.moreFragments || pkt.fragOffset !== 0) {
      const verdict = host.fragments.defrag(pkt, DefragUser.LocalDeliver)
      if (verdict === Verdict.Drop) return this.#path.drop(pkt, Reason.Fragment)
      if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    }
    const verdict = host.hooks.run4[Hook.LocalIn]!(pkt)
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    if (this.#path.localDelivery?.(pkt)) {
      host.counters.count4(IpStat.InDelivers)
      this.#path.why = Reason.Delivered
      return this.#path.end(pkt, Fate.Delivered)
    }
    return this.#local.receive(pkt)
  }

  // -- out

  /**
   * __ip_local_out() of a packet with a route: OUTPUT, and what comes behind it. POSTROUTING sees its device as where it
   * came in.
   */
  localOut(pkt: Packet): Fate {
    this.#host.counters.count4(IpStat.OutRequests)
    pkt.oif = pkt.route!.device!.index
    const before = this.#before
    const { s0, d0, mark, tos, open } = before
    before.open = false
    let verdict = this.#host.hooks.run4[Hook.LocalOut]!(pkt)
    // The mangle table has a packet routed anew before it is queued.
    if (verdict === Verdict.Queue && before.open && !this.#settle(pkt)) verdict = Verdict.Drop
    before.s0 = s0
    before.d0 = d0
    before.mark = mark
    before.tos = tos
    before.open = open
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    pkt.iif = pkt.device === null ? 0 : pkt.device.index
    return this.#output(pkt)
  }

  /**
   * nf_dup_ipv4(): a copy of a packet on its way, through OUTPUT and POSTROUTING to the gateway (a word) by the device
   * `oif` (0: any), untracked and with DF. `decrease`: with one hop less. A copy makes no copies of its own.
   */
  duplicate(pkt: Packet, gateway: number, oif: number, decrease: boolean): void {
    const host = this.#host
    if (this.#duplicating) return
    const copy = this.#path.copy(pkt)
    if (copy === null) return
    copy.ctInfo = CtInfo.Untracked
    copy.iif = 0
    // The pieces are the original's: a copy is cut anew (skb_shared() in ip_do_fragment).
    copy.fragList = null
    copy.socketless = true
    const { view } = host.memory
    view.setUint16(copy.l3 + IPV4_FRAG, view.getUint16(copy.l3 + IPV4_FRAG) | IP_DF)
    if (decrease) view.setUint8(copy.l3 + IPV4_TTL, view.getUint8(copy.l3 + IPV4_TTL) - 1)
    writeIpv4Checksum(view, copy.l3)
    const key = host.fib.keyOf(copy)
    key.d0 = gateway
    key.s0 = 0
    key.mark = 0
    key.iif = 0
    key.oif = oif
    key.tos = ipv4Tos(view, copy.l3) & TOS_MASK
    key.protocol = key.sport = key.dport = 0
    const route = host.fib.output(key, false, null, true)
    if (route === null) this.#path.drop(copy, Reason.NoRoute)
    else {
      this.#duplicating = true
      copy.route = route
      // nf_dup_ipv4_route() leaves the way out as the device of the copy.
      copy.device = route.device
      const waiting = this.#path.waiting
      this.localOut(copy)
      if (pkt.fragList !== null) this.#path.sharePieces(pkt, waiting)
      this.#duplicating = false
    }
    host.packets.give(copy)
  }

  #duplicating = false

  /**
   * ip_route_me_harder(): routes a packet made here anew, by its present addresses, mark and TOS. False: there is no
   * way, the packet is to be dropped.
   */
  reroute(pkt: Packet): boolean {
    const { fib } = this.#host
    const key = fib.keyOf(pkt)
    // fib4_rules_early_flow_dissect(): protocol and ports are known only where a rule for what comes in asks for them.
    if (!this.#routing.dissects) key.protocol = key.sport = key.dport = 0
    return this.#routeOut(pkt, key)
  }

  /** See Path.routeOfSocket(). */
  routeOfSocket(pkt: Packet): boolean {
    return this.#routeOut(pkt, this.#host.fib.keyOfSocket(pkt))
  }

  #routeOut(pkt: Packet, key: FlowKey): boolean {
    const { fib } = this.#host
    const type = fib.addressType(4, pkt.s0, 0, 0, 0, 0)
    const known = type === RouteType.Local || type === RouteType.Unicast
    if (!known) key.s0 = 0
    const route = fib.output(key, known)
    if (route === null) return false
    pkt.route = route
    return true
  }

  /**
   * A packet whose mark, TOS or addresses the mangle table changed in OUTPUT goes another way (ipt_mangle_out). Done
   * by hooks around it, so that the tables behind it see the packet, or do not see it if there is no way any more.
   * NAT sees to its own.
   */
  #registerReroute(): void {
    const hooks = this.#host.hooks
    const before = this.#before
    const view = this.#host.memory.view
    const note = (pkt: Packet): Verdict => {
      before.s0 = pkt.s0
      before.d0 = pkt.d0
      before.mark = pkt.mark
      before.tos = view.getUint8(pkt.l3 + IPV4_TOS)
      before.open = true
      return Verdict.Accept
    }
    const entry = (name: string, priority: number, run: (pkt: Packet) => Verdict): void => {
      hooks.register({ name, family: 4, hook: Hook.LocalOut, priority, run })
    }
    entry('reroute', Priority.Mangle - 1, note)
    entry('reroute', Priority.Mangle + 1, (pkt) => (this.#settle(pkt) ? Verdict.Accept : Verdict.Drop))
  }

  /** Behind the mangle table. False: it changed the packet, and there is no way for it any more. */
  #settle(pkt: Packet): boolean {
    const before = this.#before
    before.open = false
    return (
      (pkt.s0 === before.s0 &&
        pkt.d0 === before.d0 &&
        pkt.mark === before.mark &&
        this.#host.memory.view.getUint8(pkt.l3 + IPV4_TOS) === before.tos) ||
      this.reroute(pkt)
    )
  }

  /** dst_output(): ip_output() or ip_mc_output(). */
  #output(pkt: Packet): Fate {
    const host = this.#host
    const route = pkt.route!
    const device = route.device!
    pkt.oif = device.index
    pkt.device = device
    const toAll = route.type === RouteType.Broadcast
    if (!device.loopback && (toAll || (route.heard && route.type === RouteType.Multicast))) {
      // ip_mc_output(): the host hears what it sends to everybody. Groups that it is not in leave by ip_output().
      pkt.iif = 0
      this.#path.loopCopy(
        pkt,
        device,
        host.hooks.run4[Hook.PostRouting]!,
        toAll ? host.fib.broadcastIn : host.fib.multicastIn,
      )
      if (route.heard && host.memory.view.getUint8(pkt.l3 + IPV4_TTL) === 0)
        return this.#path.drop(pkt, Reason.Ttl)
    }
    const verdict = host.hooks.run4[Hook.PostRouting]!(pkt)
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    return this.#finishOutput(pkt, device)
  }

  /** ip_finish_output2(): what leaves for more than one host is counted, each piece of it. */
  #transmit(pkt: Packet, device: Device): Fate {
    const { type } = pkt.route!
    if (type !== RouteType.Unicast || (pkt.flags & PathFlag.Broadcast) !== 0)
      this.#countOut(pkt, type === RouteType.Unicast ? RouteType.Broadcast : type)
    return this.#path.transmit(pkt, device)
  }

  readonly #emit = (pkt: Packet): void => {
    this.#transmit(pkt, pkt.route!.device!)
  }

  #countOut(pkt: Packet, type: number): void {
    const { counters } = this.#host
    const length = pkt.end - pkt.l3
    if (type === RouteType.Multicast) counters.add4(IpStat.OutMcastPkts, IpStat.OutMcastOctets, length)
    else if (type === RouteType.Broadcast) counters.add4(IpStat.OutBcastPkts, IpStat.OutBcastOctets, length)
  }

  /** ip_finish_output_gso(): a segment that is larger than the way out is wide. */
  readonly #cut = (piece: Packet): void => {
    const mtu = this.mtu(piece.route!, piece.d0, (piece.flags & PathFlag.Forwarded) !== 0)
    if (piece.end - piece.l3 <= mtu) this.#emit(piece)
    else this.#host.fragments.fragmentAndSend(piece, mtu, this.#emit)
  }

  /** ip_finish_output() and ip_fragment(). */
  #finishOutput(pkt: Packet, device: Device): Fate {
    const host = this.#host
    const mtu = this.mtu(pkt.route!, pkt.d0, (pkt.flags & PathFlag.Forwarded) !== 0)
    if (wireLength(pkt, host.memory) <= mtu && pkt.fragMaxSize === 0) return this.#transmit(pkt, device)
    const df = (host.memory.view.getUint16(pkt.l3 + IPV4_FRAG) & IP_DF) !== 0
    // Packets made here, and reassembled ones whose pieces fit, are cut in spite of DF (skb->ignore_df).
    const cuttable =
      pkt.fragMaxSize !== 0 || pkt.ignoreDf || (pkt.local && (pkt.flags & PathFlag.Socket) === 0)
    if (df && (!cuttable || pkt.fragMaxSize > mtu)) {
      host.counters.count4(IpStat.FragFails)
      host.replies.icmpError(pkt, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
      return this.#path.drop(pkt, Reason.Mtu)
    }
    if (pkt.gsoSize > 0) host.offloads.segment(pkt, this.#cut)
    else {
      if (pkt.csumPending) completeChecksum(pkt, host.memory)
      host.fragments.fragmentAndSend(pkt, mtu, this.#emit)
    }
    this.#path.why = Reason.None
    return this.#path.end(pkt, pkt.local ? Fate.Replied : Fate.Forwarded)
  }

  /**
   * ip_dst_mtu_maybe_forward(): the MTU of a route towards a destination. What the host was told of the path counts
   * for its own packets. dst_mtu() of the kernel is this with `forwarding` false.
   */
  mtu(route: Route, d0: number, forwarding: boolean): number {
    if (!this.pathMtus.empty) {
      const told = this.pathMtus.get(route, d0, forwarding && !this.#host.ipv4.forwardUsePmtu)
      if (told !== 0) return told
    }
    return this.plainMtu(route)
  }

  plainMtu(route: Route): number {
    return Math.min(route.mtu === 0 ? route.device!.mtu : route.mtu, IP_MAX_MTU)
  }
}

/** nhc_scope >= RT_SCOPE_HOST. */
const onLink = (route: RouteEntry): number => (route.nexthopScope >= 254 ? 1 : 0)

function hasAddress4(device: Device): boolean {
  for (let i = 0; i < device.addresses.length; i++) if (device.addresses[i]!.family === 4) return true
  return false
}
