// The IPv6 packet's journey, as net/ipv6/{ip6_input,route,ip6_output}.c have it (6.18).
//
//   hop-by-hop ─ PREROUTING ─ route ─┬─ local, groups: INPUT ─ local port or extension headers, local stack (local.ts)
//                                    ├─ forward: hop limit, redirect, mtu ─ FORWARD ──┐
//                                    └─ error: ICMPv6 no route, prohibited, or nothing│
//   localOut: OUTPUT (rerouted after mangle and nat) ───────────────────────┬─────────┘
//                                                                           ▼
//                                         transmit ◀─ fragment ◀─ mtu ◀─ POSTROUTING

import { CacheWorth } from '../cache-worth.ts'
import { IpStat, Reason } from '../counters.ts'
import type { Device } from '../devices.ts'
import { Fate } from '../fate.ts'
import { type FlowKey, newFlowKey, type Route, RouteType } from '../fib.ts'
import { Hook, Priority, Verdict } from '../hooks.ts'
import type { Host } from '../host.ts'
import { completeChecksum, wireLength } from '../offload.ts'
import { CtInfo, type Packet, PacketType, PathFlag } from '../packet.ts'
import type { Path } from '../path.ts'
import { setHopLimit } from '../rewrite.ts'
import { leadsNowhere6, type Sides } from '../route.ts'
import { isErrorType, isReject6, type RouteEntry } from '../route-table.ts'
import {
  ICMPV6_ADM_PROHIBITED,
  ICMPV6_DEST_UNREACH,
  ICMPV6_EXC_HOPLIMIT,
  ICMPV6_NOROUTE,
  ICMPV6_NOT_NEIGHBOUR,
  ICMPV6_PKT_TOOBIG,
  ICMPV6_TIME_EXCEED,
} from '../wire/icmp6.ts'
import { ECN_MASK } from '../wire/ipv4.ts'
import { IPV6_HOP_LIMIT, IPV6_MIN_MTU, IPV6_NEXT_HEADER, ipv6TrafficClass } from '../wire/ipv6.ts'
import { Ipv6Address, ipv6AddressType } from '../wire/ipv6-address.ts'
import { NEXTHDR_HOP } from '../wire/ipv6-headers.ts'
import { inGroup } from './groups.ts'
import { LocalStack6 } from './local.ts'
import { redirect } from './ndisc.ts'
import { hopByHopOk } from './options.ts'
import { PathMtus6 } from './pmtu.ts'
import { forwardMtu, Ipv6Routes, interfaceOf, routeMtu } from './routes.ts'

/** How often the destination of a redirect is told of, ms. */
const REDIRECT_COST = 1000

const CACHE = 4096
const CACHE_WORDS = 16

const isMulticast = (w0: number): boolean => w0 >>> 24 === 0xff

/** What of a packet may send it another way. */
const newBefore = () => ({
  s0: 0,
  s1: 0,
  s2: 0,
  s3: 0,
  d0: 0,
  d1: 0,
  d2: 0,
  d3: 0,
  mark: 0,
  hopLimit: 0,
  flow: 0,
  /** It is in the mangle table. */
  open: false,
})

export class Ipv6Path {
  readonly routes: Ipv6Routes
  readonly pathMtus: PathMtus6
  readonly #host: Host
  readonly #path: Path
  readonly #local: LocalStack6
  readonly #key = newFlowKey()
  /** Before the mangle table saw a packet in OUTPUT. */
  #before = newBefore()
  readonly #spare: ReturnType<typeof newBefore>[] = []
  /** A copy of TEE's is under way. */
  #duplicating = false

  // Decisions of route input, by addresses, interface, class and mark. Empty once anything they follow from changes.
  readonly #cacheKeys = new Int32Array(CACHE * CACHE_WORDS)
  readonly #cacheRoutes: (RouteEntry | null)[] = new Array(CACHE).fill(null)
  readonly #cacheWorth = new CacheWorth()

  constructor(host: Host, path: Path) {
    this.#host = host
    this.#path = path
    this.pathMtus = new PathMtus6(host)
    this.routes = new Ipv6Routes(host)
    this.#local = new LocalStack6(host, path, this)
    this.#registerReroute()
    host.devices.listen({ mtu6Changes: (device) => this.pathMtus.follow(device) })
  }

  // -- in

  /** ip6_rcv_core() behind the lengths: from validation to the end. A looped packet has its route already. */
  enter(pkt: Packet, device: Device): Fate {
    const host = this.#host
    const refused = this.#validate(pkt, device)
    if (refused !== Reason.None) {
      this.#countRefused(pkt, refused)
      device.rxDropped++
      return this.#path.drop(pkt, refused)
    }
    if (host.memory.view.getUint8(pkt.l3 + IPV6_NEXT_HEADER) === NEXTHDR_HOP && !hopByHopOk(pkt, host)) {
      host.counters.count6(IpStat.InHdrErrors)
      return this.#path.drop(pkt, Reason.Options)
    }
    pkt.transportAt = 0
    if (pkt.residue < 0) pkt.headerShift = 0
    // IP6CB(skb)->iif: of the route that it was sent by, whatever becomes of that.
    const from = device.loopback && pkt.route !== null ? interfaceOf(pkt.route) : device
    const verdict = host.hooks.run6[Hook.PreRouting]!(pkt)
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    // Only NAT takes the route of a looped packet that it changed, DNPT does not.
    if (pkt.route === null) pkt.route = this.#routeInput(pkt, device)
    return this.#input(pkt, device, from)
  }

  /** A packet with less behind its header than that says: other faults go before this one. */
  truncated(pkt: Packet, device: Device): void {
    const refused = this.#validate(pkt, device)
    if (refused === Reason.None) this.#host.counters.count6(IpStat.InTruncatedPkts)
    else this.#countRefused(pkt, refused)
  }

  #countRefused(pkt: Packet, reason: Reason): void {
    const { counters, memory } = this.#host
    if (reason !== Reason.Ipv6Disabled) counters.count6(IpStat.InHdrErrors)
    else {
      counters.count6(IpStat.InDiscards)
      // Nobody looked at its header.
      const ecn = IpStat.InNoECTPkts + (ipv6TrafficClass(memory.view, pkt.l3) & ECN_MASK)
      counters.ip6[ecn]!--
    }
  }

  /** The addresses that may not stand on the wire, RFC 4291. */
  #validate(pkt: Packet, device: Device): Reason {
    if (device.conf6.disabled) return Reason.Ipv6Disabled
    const { s0, d0 } = pkt
    if (isMulticast(d0)) {
      const scope = (d0 >>> 16) & 0xf
      if (scope === 0) return Reason.MartianDestination
      if (scope === 1 && !device.loopback && pkt.pktType !== PacketType.Loopback)
        return Reason.MartianDestination
    } else {
      if (
        (pkt.pktType === PacketType.Broadcast || pkt.pktType === PacketType.Multicast) &&
        device.conf6.dropUnicastInL2Multicast
      )
        return Reason.LinkBroadcast
      if (d0 === 0 && !device.loopback && pkt.d3 === 1 && (pkt.d1 | pkt.d2) === 0)
        return Reason.MartianDestination
    }
    if (isMulticast(s0)) return Reason.MartianSource
    if (s0 === 0 && pkt.s3 === 1 && (pkt.s1 | pkt.s2) === 0 && !device.loopback) return Reason.MartianSource
    return Reason.None
  }

  /** dst_input(): what the route says of packets that come in by it. */
  #input(pkt: Packet, device: Device, from: Device): Fate {
    const route = pkt.route!
    const { type } = route
    if (isReject6(route)) return this.#unroutable(pkt, type)
    if (type === RouteType.Local || type === RouteType.Anycast) return this.#deliver(pkt)
    if (isMulticast(route.dst[0]) && route.prefixLength >= 8) {
      // ip6_mc_input(): multicast is not routed here.
      this.#host.counters.add6(IpStat.InMcastPkts, IpStat.InMcastOctets, pkt.end - pkt.l3)
      const on = device.loopback ? interfaceOf(route) : device
      return inGroup(on, pkt.d0, pkt.d1, pkt.d2, pkt.d3)
        ? this.#deliver(pkt)
        : this.#path.drop(pkt, Reason.Multicast)
    }
    return this.#forward(pkt, device, from, route)
  }

  // -- route input

  /** ip6_route_input(): the route of a packet that arrived on `device`. */
  #routeInput(pkt: Packet, device: Device): RouteEntry {
    const host = this.#host
    const rt = host.fib.of(6)
    const { d0, d1, d2, d3 } = pkt
    if (rt.asksPorts || rt.asksTos) return this.routes.input(pkt, device)
    const epoch = (host.fib.generation + host.devices.generation) | 0
    const mark = rt.asksMark ? pkt.mark | 0 : 0
    const bySource = rt.asksSource
    const s0 = bySource ? pkt.s0 : 0
    const s1 = bySource ? pkt.s1 : 0
    const s2 = bySource ? pkt.s2 : 0
    const s3 = bySource ? pkt.s3 : 0
    let h = Math.imul(d0 ^ Math.imul(d1, 31) ^ Math.imul(d2, 961) ^ d3 ^ (device.index << 16), 0x9e3779b1)
    h = Math.imul(h ^ s0 ^ Math.imul(s3, 0x85ebca6b) ^ mark, 0xc2b2ae35)
    h = (h ^ (h >>> 16)) & (CACHE - 1)
    if (!this.#cacheWorth.asks(h)) return this.routes.input(pkt, device)
    const keys = this.#cacheKeys
    const k = h * CACHE_WORDS
    const known =
      keys[k] === d0 &&
      keys[k + 1] === d1 &&
      keys[k + 2] === d2 &&
      keys[k + 3] === d3 &&
      keys[k + 4] === device.index &&
      keys[k + 5] === epoch &&
      keys[k + 6] === mark &&
      keys[k + 7] === s0 &&
      keys[k + 8] === s1 &&
      keys[k + 9] === s2 &&
      keys[k + 10] === s3
        ? this.#cacheRoutes[h]!
        : null
    this.#cacheWorth.tell(known !== null)
    if (known !== null) return known
    const route = this.routes.input(pkt, device)
    keys[k] = d0
    keys[k + 1] = d1
    keys[k + 2] = d2
    keys[k + 3] = d3
    keys[k + 4] = device.index
    keys[k + 5] = epoch
    keys[k + 6] = mark
    keys[k + 7] = s0
    keys[k + 8] = s1
    keys[k + 9] = s2
    keys[k + 10] = s3
    // One of several next hops is chosen anew for each flow.
    this.#cacheRoutes[h] = this.routes.shared ? null : route
    return route
  }

  /** ip6_pkt_drop(): there is no way to the destination. Said whether or not the host forwards. */
  #unroutable(pkt: Packet, type: number): Fate {
    if (type === RouteType.Blackhole) return this.#path.drop(pkt, Reason.Blackhole)
    const prohibited = type === RouteType.Prohibit
    const code = prohibited ? ICMPV6_ADM_PROHIBITED : ICMPV6_NOROUTE
    const nobody = (pkt.d0 | pkt.d1 | pkt.d2 | pkt.d3) === 0
    this.#host.counters.count6(nobody ? IpStat.InAddrErrors : IpStat.InNoRoutes)
    this.#host.replies6.icmpError(pkt, ICMPV6_DEST_UNREACH, code, 0)
    if (prohibited) return this.#path.drop(pkt, Reason.Prohibited)
    return this.#path.drop(pkt, pkt.route!.table === 0 ? Reason.NoRoute : Reason.Unreachable)
  }

  // -- forward

  /** ip6_forward(). `from`: the interface that it counts as having come in by. */
  #forward(pkt: Packet, device: Device, from: Device, route: Route): Fate {
    const host = this.#host
    const view = host.memory.view
    if (!host.ipv6.forwarding && !from.conf6.forceForwarding) {
      host.counters.count6(IpStat.InAddrErrors)
      return this.#path.drop(pkt, Reason.NotForwarding)
    }
    if (pkt.pktType !== PacketType.Host) return this.#path.drop(pkt, Reason.LinkBroadcast)
    const hopLimit = view.getUint8(pkt.l3 + IPV6_HOP_LIMIT)
    if (hopLimit <= 1) {
      host.replies6.icmpError(pkt, ICMPV6_TIME_EXCEED, ICMPV6_EXC_HOPLIMIT, 0)
      host.counters.count6(IpStat.InHdrErrors)
      return this.#path.drop(pkt, Reason.Ttl)
    }
    const out = route.device!
    if (out === from) {
      const { peers } = host
      // Limited by destination here and by source in redirect().
      const place = peers.place(6, pkt.d0, pkt.d1, pkt.d2, pkt.d3)
      if (peers.allow(place, REDIRECT_COST)) redirect(pkt, host, route)
    } else {
      const type = ipv6AddressType(pkt.s0, pkt.s1, pkt.s2, pkt.s3)
      const badSource =
        type === Ipv6Address.Any ||
        (type & (Ipv6Address.Multicast | Ipv6Address.Loopback | Ipv6Address.LinkLocal)) !== 0
      if (badSource) {
        if ((type & Ipv6Address.LinkLocal) !== 0)
          host.replies6.icmpError(pkt, ICMPV6_DEST_UNREACH, ICMPV6_NOT_NEIGHBOUR, 0)
        host.counters.count6(IpStat.InAddrErrors)
        return this.#path.drop(pkt, Reason.MartianSource)
      }
    }
    host.counters.count6(IpStat.OutForwDatagrams)
    const mtu = Math.max(forwardMtu(route), IPV6_MIN_MTU)
    const fits = pkt.fragMaxSize === 0 ? pkt.ignoreDf : pkt.fragMaxSize <= mtu
    if (wireLength(pkt, host.memory) > mtu && !fits) {
      host.replies6.icmpError(pkt, ICMPV6_PKT_TOOBIG, 0, mtu, out)
      host.counters.count6(IpStat.InTooBigErrors)
      host.counters.count6(IpStat.FragFails)
      return this.#path.drop(pkt, Reason.Mtu)
    }
    setHopLimit(pkt, host.memory, hopLimit - 1)
    // skb_forward_csum()
    if (pkt.residue >= 0) pkt.residue = -2
    pkt.flags |= PathFlag.Forwarded
    pkt.iif = device.index
    pkt.oif = out.index
    const verdict = host.hooks.run6[Hook.Forward]!(pkt)
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    return this.#output(pkt)
  }

  // -- local

  /** ip6_input(): fragments are put together behind INPUT, unlike IPv4's. */
  #deliver(pkt: Packet): Fate {
    const verdict = this.#host.hooks.run6[Hook.LocalIn]!(pkt)
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    return this.#local.receive(pkt)
  }

  // -- out

  /**
   * __ip6_local_out() of a packet with a route: OUTPUT, and what comes behind it. POSTROUTING sees its device as where it
   * came in.
   */
  localOut(pkt: Packet): Fate {
    pkt.oif = pkt.route!.device!.index
    // A hook of OUTPUT may send another packet meanwhile.
    const before = this.#before
    this.#before = this.#spare.pop() ?? newBefore()
    this.#before.open = false
    let verdict = this.#host.hooks.run6[Hook.LocalOut]!(pkt)
    // The mangle table has a packet routed anew before it is queued.
    if (verdict === Verdict.Queue && this.#before.open && !this.#settle(pkt)) verdict = Verdict.Drop
    this.#spare.push(this.#before)
    this.#before = before
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    pkt.iif = pkt.device === null ? 0 : pkt.device.index
    return this.#output(pkt)
  }

  /**
   * nf_dup_ipv6(): a copy of a packet on its way, through OUTPUT and POSTROUTING to the gateway by the device `oif` (0:
   * any), untracked. `decrease`: with one hop less. A copy makes no copies of its own.
   */
  duplicate(pkt: Packet, gateway: readonly number[], oif: number, decrease: boolean): void {
    const host = this.#host
    if (this.#duplicating) return
    const copy = this.#path.copy(pkt)
    if (copy === null) return
    copy.ctInfo = CtInfo.Untracked
    copy.iif = 0
    // The pieces are the original's: a copy is cut anew (skb_shared() in ip_do_fragment).
    copy.fragList = null
    copy.socketless = true
    if (decrease) setHopLimit(copy, host.memory, host.memory.view.getUint8(copy.l3 + IPV6_HOP_LIMIT) - 1)
    const key = this.#key
    key.family = 6
    key.d0 = gateway[0]!
    key.d1 = gateway[1]!
    key.d2 = gateway[2]!
    key.d3 = gateway[3]!
    key.s0 = key.s1 = key.s2 = key.s3 = 0
    key.mark = 0
    key.oif = oif
    key.tos = key.protocol = key.sport = key.dport = 0
    const route = this.routes.output(key, null, false, true)
    if (isErrorType(route.type)) this.#path.drop(copy, Reason.NoRoute)
    else {
      this.#duplicating = true
      copy.route = route
      // nf_dup_ipv6_route() leaves the way out as the device of the copy.
      copy.device = route.device
      const waiting = this.#path.waiting
      this.localOut(copy)
      if (pkt.fragList !== null) this.#path.sharePieces(pkt, waiting)
      this.#duplicating = false
    }
    host.packets.give(copy)
  }

  /**
   * ip6_route_me_harder(): routes a packet made here anew, by its present addresses, mark and class. False: there is no
   * way, the packet is to be dropped.
   */
  reroute(pkt: Packet): boolean {
    const { fib } = this.#host
    const key = fib.keyOf(pkt)
    // Only a rule that wants them has it look for protocol and ports (fib6_rules_early_flow_dissect).
    if (!fib.of(6).dissects) key.protocol = key.sport = key.dport = 0
    // What is meant depends on the link: it stays the one that it was.
    if (pkt.route !== null && (isMulticast(pkt.d0) || pkt.d0 >>> 22 === 0x3fa))
      key.oif = pkt.route.device!.index
    return this.#routeOut(pkt, key)
  }

  /** See Path.routeOfSocket(). */
  routeOfSocket(pkt: Packet): boolean {
    return this.#routeOut(pkt, this.#host.fib.keyOfSocket(pkt))
  }

  #routeOut(pkt: Packet, key: FlowKey): boolean {
    const route = this.routes.output(key)
    if (isErrorType(route.type)) {
      this.#host.counters.count6(IpStat.OutNoRoutes)
      return false
    }
    pkt.route = route
    return true
  }

  /** As Ipv4Path's: a packet that the mangle table changed in OUTPUT goes another way (ip6t_mangle_out). */
  #registerReroute(): void {
    const hooks = this.#host.hooks
    const view = this.#host.memory.view
    const note = (pkt: Packet): Verdict => {
      const before = this.#before
      before.s0 = pkt.s0
      before.s1 = pkt.s1
      before.s2 = pkt.s2
      before.s3 = pkt.s3
      before.d0 = pkt.d0
      before.d1 = pkt.d1
      before.d2 = pkt.d2
      before.d3 = pkt.d3
      before.mark = pkt.mark
      before.hopLimit = view.getUint8(pkt.l3 + IPV6_HOP_LIMIT)
      before.flow = view.getInt32(pkt.l3)
      before.open = true
      return Verdict.Accept
    }
    const entry = (name: string, priority: number, run: (pkt: Packet) => Verdict): void => {
      hooks.register({ name, family: 6, hook: Hook.LocalOut, priority, run })
    }
    entry('reroute', Priority.Mangle - 1, note)
    entry('reroute', Priority.Mangle + 1, (pkt) => (this.#settle(pkt) ? Verdict.Accept : Verdict.Drop))
  }

  /** Behind the mangle table. False: it changed the packet, and there is no way for it any more. */
  #settle(pkt: Packet): boolean {
    const { view } = this.#host.memory
    const before = this.#before
    before.open = false
    return (
      (pkt.s0 === before.s0 &&
        pkt.s1 === before.s1 &&
        pkt.s2 === before.s2 &&
        pkt.s3 === before.s3 &&
        pkt.d0 === before.d0 &&
        pkt.d1 === before.d1 &&
        pkt.d2 === before.d2 &&
        pkt.d3 === before.d3 &&
        pkt.mark === before.mark &&
        view.getUint8(pkt.l3 + IPV6_HOP_LIMIT) === before.hopLimit &&
        view.getInt32(pkt.l3) === before.flow) ||
      this.reroute(pkt)
    )
  }

  /** dst_output(): ip6_output() and __ip6_finish_output(). */
  #output(pkt: Packet): Fate {
    const host = this.#host
    const route = pkt.route!
    const device = route.device!
    if (leadsNowhere6(route)) {
      // ip6_pkt_discard_out()
      host.counters.count6(IpStat.OutNoRoutes)
      host.replies6.icmpError(pkt, ICMPV6_DEST_UNREACH, ICMPV6_NOROUTE, 0, device)
      return this.#path.drop(pkt, Reason.NoRoute)
    }
    if (device.conf6.disabled) {
      host.counters.count6(IpStat.OutDiscards)
      return this.#path.drop(pkt, Reason.Ipv6Disabled)
    }
    pkt.oif = device.index
    pkt.device = device
    const verdict = host.hooks.run6[Hook.PostRouting]!(pkt)
    if (verdict !== Verdict.Accept) return this.#path.refuse(pkt, verdict)
    const mtu = this.mtu(route, pkt)
    const length = wireLength(pkt, host.memory)
    if (length <= mtu && (pkt.fragMaxSize === 0 || length <= pkt.fragMaxSize))
      return isMulticast(pkt.d0) ? this.#transmitMulticast(pkt, device) : this.#path.transmit(pkt, device)
    if (pkt.gsoSize > 0) {
      host.offloads.segment(pkt, this.#cut)
      this.#path.why = Reason.None
      return this.#path.end(pkt, pkt.local ? Fate.Replied : Fate.Forwarded)
    }
    if (pkt.csumPending) completeChecksum(pkt, host.memory)
    const emit = isMulticast(pkt.d0) ? this.#emitMulticast : this.#path.emit
    const tooBig = (pkt.flags & PathFlag.Whole) !== 0 ? mtu : host.fragments6.fragmentAndSend(pkt, mtu, emit)
    if (tooBig !== 0) {
      host.counters.count6(IpStat.FragFails)
      host.replies6.icmpError(pkt, ICMPV6_PKT_TOOBIG, 0, tooBig, device)
      return this.#path.drop(pkt, Reason.Mtu)
    }
    this.#path.why = Reason.None
    return this.#path.end(pkt, pkt.local ? Fate.Replied : Fate.Forwarded)
  }

  /** ip6_finish_output_gso_slowpath_drop(): a segment that is larger than the way out is wide. */
  readonly #cut = (piece: Packet): void => {
    const mtu = this.mtu(piece.route!, piece)
    if (piece.end - piece.l3 <= mtu) this.#path.emit(piece)
    else this.#host.fragments6.fragmentAndSend(piece, mtu, this.#path.emit)
  }

  readonly #emitMulticast = (pkt: Packet): void => {
    this.#transmitMulticast(pkt, pkt.route!.device!)
  }

  /** ip6_finish_output2(): the host hears what it sends to a group that it is in. */
  #transmitMulticast(pkt: Packet, device: Device): Fate {
    const host = this.#host
    if (!device.loopback && inGroup(device, pkt.d0, pkt.d1, pkt.d2, pkt.d3)) {
      const { iif } = pkt
      pkt.iif = 0
      this.#path.loopCopy(pkt, device, host.hooks.run6[Hook.PostRouting]!, pkt.route!)
      pkt.iif = iif
      if (host.memory.view.getUint8(pkt.l3 + IPV6_HOP_LIMIT) === 0) {
        host.counters.count6(IpStat.OutDiscards)
        return this.#path.drop(pkt, Reason.Ttl)
      }
    }
    host.counters.add6(IpStat.OutMcastPkts, IpStat.OutMcastOctets, pkt.end - pkt.l3)
    if (((pkt.d0 >>> 16) & 0xf) <= 1 && !device.loopback) return this.#path.drop(pkt, Reason.Multicast)
    return this.#path.transmit(pkt, device)
  }

  /** Bytes that a route takes onward in one piece. */
  plainMtu(route: Route): number {
    return Math.min(Math.max(forwardMtu(route), IPV6_MIN_MTU), routeMtu(route))
  }

  /** dst_mtu(): of a route between two addresses, with what the host was told of the way. */
  mtu(route: Route, key: Sides): number {
    const own = routeMtu(route)
    if (this.pathMtus.empty) return own
    const told = this.pathMtus.get(route, key)
    return told === 0 ? own : told
  }
}
