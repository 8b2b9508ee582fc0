// The packet's journey, as far as both families share it: the way in, the way out, back to this host, and the ends.
//
//   receive ─ parse ─┬─ ipv4/path.ts ─┬─ transmit ─▶ egress
//                    └─ ipv6/path.ts ─┤      └─ lo: back to receive, once this packet is done
//   sendLocal ─ route ─ OUTPUT ───────┘
//
// Tables, conntrack and NAT are hooks; the path knows none of them. Whoever ends a packet gives its slot back and
// lets go of its conntrack entry: end() and transmit() are the only ends, besides hooks that keep it (Stolen).

import { IpStat, REASONS, Reason } from './counters.ts'
import type { Device } from './devices.ts'
import { Fate, MISS } from './fate.ts'
import type { Route, RouteFailure } from './fib.ts'
import { type HookFn, Verdict } from './hooks.ts'
import type { Host } from './host.ts'
import { Ipv4Path } from './ipv4/path.ts'
import type { PathMtus } from './ipv4/pmtu.ts'
import { Ipv6Path } from './ipv6/path.ts'
import type { PathMtus6 } from './ipv6/pmtu.ts'
import type { Ipv6Routes } from './ipv6/routes.ts'
import { takeFrame } from './offload.ts'
import {
  type Family,
  FragmentList,
  PAGED_FRAME_LEN,
  PAGED_HEAD_LEN,
  Packet,
  PacketType,
  PathFlag,
  place,
} from './packet.ts'
import { parse } from './parse.ts'
import { type Frames, HEADROOM } from './ring.ts'
import { RouteType, type Sides } from './route.ts'
import type { RouteEntry } from './route-table.ts'
import { ETH_HEADER_LEN } from './wire/ethernet.ts'

/** netdev_max_backlog: packets to this host itself that may wait. */
const BACKLOG = 1000

/** What dst_output() and the tables return no error for: queued, or thrown away by ip6_pkt_discard_out() and ip6_output(). */
const isSilent = (why: Reason): boolean =>
  why === Reason.Queue || why === Reason.NoRoute || why === Reason.Ipv6Disabled

export class Path {
  /**
   * Takes packets for this host instead of the local stack (ports/local.ts). True: taken; it has copied the bytes, or
   * the slot is its own now and pkt.slot -1. Called after INPUT.
   */
  localDelivery: ((pkt: Packet) => boolean) | null = null
  /** Hears why packets end here; must leave them as they are. */
  onDrop: ((pkt: Packet, reason: Reason) => void) | null = null
  /** Where IPv6 packets go. */
  readonly routes6: Ipv6Routes
  readonly pathMtus4: PathMtus
  readonly pathMtus6: PathMtus6
  /** Why the packet at hand ended. */
  why: Reason = Reason.None

  readonly #host: Host
  readonly #ipv4: Ipv4Path
  readonly #ipv6: Ipv6Path
  /** Packets made here that left on a real device. */
  #answers = 0
  #depth = 0
  readonly #backlog: Packet[] = []
  /** The one at hand of a batch. */
  readonly #frame = new Packet()

  constructor(host: Host) {
    this.#host = host
    this.#ipv4 = new Ipv4Path(host, this)
    this.#ipv6 = new Ipv6Path(host, this)
    this.routes6 = this.#ipv6.routes
    this.pathMtus4 = this.#ipv4.pathMtus
    this.pathMtus6 = this.#ipv6.pathMtus
  }

  /** Why the last packet ended as it did: a word of REASONS, '' for a forwarded one. */
  get reason(): string {
    return REASONS[this.why]!
  }

  // -- in

  /**
   * A batch of frames from a device, one after the other. Owns their slots from here on. Hot: does not allocate, does not throw.
   */
  receiveBatch(frames: Frames, device: Device): void {
    const { flows, memory } = this.#host
    const { hints, count } = frames
    const pkt = this.#frame
    for (let i = 0; i < count; ) {
      if (hints[i]! >= 0 && flows !== null && device.up === true) {
        const packets = flows.datagrams(frames, i, device)
        if (packets > 0) {
          i += packets
          continue
        }
      }
      if (takeFrame(pkt, frames, i++, memory.stride)) this.receive(pkt, device)
      else this.drop(pkt, Reason.Truncated)
    }
  }

  /**
   * So many packets of IPv4 went a recorded way from `device` to `out`, which are both up: counts as receive(), parse() and
   * transmit() do for each. `ecn`: of all of them. Hot.
   */
  forwarded4(device: Device, out: Device, ecn: number, packets: number, bytes: number): void {
    device.rxPackets += packets
    device.rxBytes += bytes
    out.txPackets += packets
    out.txBytes += bytes
    const { ip4 } = this.#host.counters
    const marked = IpStat.InNoECTPkts + ecn
    ip4[IpStat.InOctets] = ip4[IpStat.InOctets]! + bytes
    ip4[marked] = ip4[marked]! + packets
    ip4[IpStat.OutForwDatagrams] = ip4[IpStat.OutForwDatagrams]! + packets
    ip4[IpStat.OutTransmits] = ip4[IpStat.OutTransmits]! + packets
    ip4[IpStat.OutOctets] = ip4[IpStat.OutOctets]! + bytes
    this.why = Reason.None
  }

  /**
   * One frame from a device: all is as after Packet.begin(), but for the reader's sum, the hint and what the device left to
   * do. Owns the slot from here on. Hot: does not allocate, does not throw.
   */
  receive(pkt: Packet, device: Device): Fate {
    // tun_get_user(). `!== true`: see conntrack/express.ts.
    if (device.up !== true) {
      device.rxDropped++
      return this.drop(pkt, Reason.DeviceDown)
    }
    device.rxPackets++
    device.rxBytes += pkt.end - pkt.l3
    const { flows } = this.#host
    if (pkt.hint >= 0 && flows !== null) {
      const known = flows.segment(pkt, device)
      if (known !== MISS) return known as Fate
    }
    const answers = this.#answers
    this.#depth++
    pkt.arrive(device, 0)
    pkt.queue = 1
    pkt.head = pkt.end - pkt.l3 < PAGED_FRAME_LEN ? 0 : PAGED_HEAD_LEN
    let fate = this.#enter(pkt, device)
    if (this.#answers !== answers && (fate === Fate.Dropped || fate === Fate.Delivered)) fate = Fate.Replied
    if (--this.#depth === 0 && this.#backlog.length > 0) {
      const why = this.why
      this.#drain()
      this.why = why
      if (this.#answers !== answers && (fate === Fate.Dropped || fate === Fate.Delivered)) fate = Fate.Replied
    }
    return fate
  }

  /** ip_rcv(): from the device to the end. A looped packet has its route already. */
  #enter(pkt: Packet, device: Device): Fate {
    const { flows } = this.#host
    pkt.iif = device.index
    pkt.oif = 0
    const refused = parse(pkt, this.#host)
    if (refused !== Reason.None) {
      if (refused === Reason.Truncated && pkt.family === 6) this.#ipv6.truncated(pkt, device)
      device.rxDropped++
      this.why = refused
      return this.end(pkt, Fate.Dropped)
    }
    if (flows === null) return this.#walk(pkt, device)
    const known = flows.receive(pkt, device)
    if (known !== MISS) return known as Fate
    const fate = this.#walk(pkt, device)
    flows.end(pkt, fate, device)
    return fate
  }

  #walk(pkt: Packet, device: Device): Fate {
    return pkt.family === 4 ? this.#ipv4.enter(pkt, device) : this.#ipv6.enter(pkt, device)
  }

  // -- routing

  /** ip_route_input(): see Ipv4Path. */
  routeInput(pkt: Packet, d0: number): boolean {
    return this.#ipv4.routeInput(pkt, d0)
  }

  /** What is wrong with a route that routeInput() gave (dst.error); None for one that leads somewhere. */
  failureOf(route: Route): RouteFailure {
    return this.#ipv4.failureOf(route)
  }

  /** ip_dst_mtu_maybe_forward(): the MTU of an IPv4 route towards a destination. */
  mtu(route: Route, d0: number, forwarding: boolean): number {
    return this.#ipv4.mtu(route, d0, forwarding)
  }

  /** dst_mtu(): the MTU of an IPv6 route between two addresses. */
  mtu6(route: Route, key: Sides): number {
    return this.#ipv6.mtu(route, key)
  }

  /** Bytes that a route takes onward in one piece, as far as nobody was told of less. */
  plainMtu(route: Route, family: Family): number {
    return family === 4 ? this.#ipv4.plainMtu(route) : this.#ipv6.plainMtu(route)
  }

  /** No destination has an MTU of its own. Hot. */
  hasNoPathMtus(family: Family): boolean {
    return family === 4 ? this.pathMtus4.empty : this.pathMtus6.empty
  }

  /**
   * ip_route_me_harder(), ip6_route_me_harder(): routes a packet made here anew, by its present addresses, mark and TOS.
   * False: there is no way, the packet is to be dropped.
   */
  reroute(pkt: Packet): boolean {
    return pkt.family === 4 ? this.#ipv4.reroute(pkt) : this.#ipv6.reroute(pkt)
  }

  /**
   * Routes a packet as the socket does that it comes from: unlike reroute() always by protocol and ports. False: there is
   * no way.
   */
  routeOfSocket(pkt: Packet): boolean {
    return pkt.family === 4 ? this.#ipv4.routeOfSocket(pkt) : this.#ipv6.routeOfSocket(pkt)
  }

  // -- out

  /**
   * ip_local_out(): sends a packet made here. Its header is complete, checksums are right, the cached fields filled,
   * the bytes in a slot of their own, which is the path's from here on; the Packet object stays the caller's.
   * pkt.route may be set; if it is null, the packet is routed by its addresses, and the source need not be ours.
   * `device`: that it was made for (skb->dev), if any. False: it did not get out, and whoever sends it hears of that (a
   * negative result); of a queue that nobody reads it does not, nor of what is thrown away behind the tables.
   */
  sendLocal(pkt: Packet, device: Device | null = null): boolean {
    const outer = this.#depth++ === 0
    this.#host.flows?.spoil()
    pkt.local = true
    pkt.csumOk = true
    pkt.arrival = pkt.device = device
    pkt.iif = 0
    const routed = pkt.route !== null || this.routeOfSocket(pkt)
    let fate: Fate
    if (!routed) fate = this.drop(pkt, Reason.NoRoute)
    else fate = pkt.family === 4 ? this.#ipv4.localOut(pkt) : this.#ipv6.localOut(pkt)
    const out = fate !== Fate.Dropped || (routed && isSilent(this.why))
    this.#depth--
    if (outer && this.#backlog.length > 0) this.#drain()
    return out
  }

  /** nf_dup_ipv4(): see Ipv4Path. */
  duplicate(pkt: Packet, gateway: number, oif: number, decrease: boolean): void {
    this.#ipv4.duplicate(pkt, gateway, oif, decrease)
  }

  /** nf_dup_ipv6(): see Ipv6Path. */
  duplicate6(pkt: Packet, gateway: readonly number[], oif: number, decrease: boolean): void {
    this.#ipv6.duplicate(pkt, gateway, oif, decrease)
  }

  /** One fragment on its way out. It has a slot of its own, which goes with it; the Packet stays the caller's. */
  readonly emit = (pkt: Packet): void => {
    this.transmit(pkt, pkt.route!.device!)
  }

  /** dev_queue_xmit(): out of the device, or back to this host. */
  transmit(pkt: Packet, device: Device): Fate {
    const host = this.#host
    if (device.up !== true) {
      device.txDropped++
      return this.drop(pkt, Reason.DeviceDown)
    }
    const length = pkt.end - pkt.l3
    const { counters } = host
    const stats = pkt.family === 4 ? counters.ip4 : counters.ip6
    stats[IpStat.OutTransmits] = stats[IpStat.OutTransmits]! + 1
    stats[IpStat.OutOctets] = stats[IpStat.OutOctets]! + length
    device.txPackets++
    device.txBytes += length
    if (device.loopback === true) {
      device.rxPackets++
      device.rxBytes += length
      this.#loop(pkt, device)
      return Fate.Forwarded
    }
    if (pkt.local === true) this.#answers++
    if (pkt.ct >= 0) host.tracker?.release(pkt)
    const slot = pkt.slot
    pkt.slot = -1
    if (device.gro !== null) device.gro.send(pkt, slot)
    else host.offloads.send(pkt, device, slot)
    this.why = Reason.None
    return Fate.Forwarded
  }

  // -- back to this host

  /** Packets that wait to come in again. */
  get waiting(): number {
    return this.#backlog.length
  }

  /**
   * A copy of `pkt` was sent when so many packets waited: is it among those that wait now, then it has a share in the
   * pieces that pkt was put together from. One that left in pieces of its own has none.
   */
  sharePieces(pkt: Packet, waiting: number): void {
    const length = pkt.end - pkt.l3
    for (let i = waiting; i < this.#backlog.length; i++) {
      const copy = this.#backlog[i]!
      if (copy.end - copy.l3 === length) pkt.fragList!.shared = true
    }
  }

  /** loopback_xmit(): the packet comes in again once the present one is done; route, mark and entry stay with it. */
  #loop(pkt: Packet, device: Device): void {
    if (this.#backlog.length >= BACKLOG) {
      this.drop(pkt, Reason.Looped)
      return
    }
    const copy = this.#host.packets.take()
    if (!this.#moveInto(copy, pkt)) {
      this.#host.packets.give(copy)
      this.drop(pkt, Reason.NoMemory)
      return
    }
    copy.arrive(device, ETH_HEADER_LEN)
    copy.pktType = PacketType.Host
    const { route } = copy
    // A route that ip_route_output_key() found.
    if (
      pkt.family === 4 &&
      route !== null &&
      route.type === RouteType.Unicast &&
      (pkt.local || pkt.socketless)
    )
      copy.route = this.#host.fib.loopOf(route as RouteEntry)
    this.#backlog.push(copy)
  }

  /** dev_loopback_xmit() of a copy, after POSTROUTING of its own; it comes in by `route`. */
  loopCopy(pkt: Packet, device: Device, postRouting: HookFn, route: Route): void {
    const host = this.#host
    const slot = host.memory.take()
    if (slot < 0) return
    const copy = host.packets.take()
    const length = pkt.end - pkt.l3
    copyMeta(copy, pkt)
    copy.slot = slot
    copy.limit = slot + host.memory.stride
    place(copy, pkt, slot + HEADROOM)
    host.memory.bytes.copyWithin(copy.l3, pkt.l3, pkt.l3 + length)
    copy.ct = pkt.ct
    copy.ctInfo = pkt.ctInfo
    if (copy.ct >= 0) host.tracker?.share?.(copy)
    copy.oif = device.index
    copy.device = device
    copy.linkBytes = pkt.linkBytes
    copy.queue = pkt.queue
    const verdict = postRouting(copy)
    if (verdict !== Verdict.Accept || this.#backlog.length >= BACKLOG) {
      if (verdict === Verdict.Accept) this.drop(copy, Reason.Looped)
      else this.refuse(copy, verdict)
      host.packets.give(copy)
      return
    }
    copy.arrive(device, 0)
    // dev_loopback_xmit() believes what nobody summed up; what IPv4's conntrack found wrong stays so.
    if (copy.residue === -2) copy.residue = -1
    copy.csumOk = copy.family === 6 || copy.residue < 0 || copy.csumPartial
    copy.pktType = PacketType.Loopback
    copy.route = route
    this.#backlog.push(copy)
  }

  /** The slot, the entry and all that travels with a packet go over to `to`; false if there is no slot for it. */
  #moveInto(to: Packet, from: Packet): boolean {
    const host = this.#host
    if (from.slot >= 0) {
      copyMeta(to, from)
      to.slot = from.slot
      to.limit = from.limit
      place(to, from, from.l3)
      from.slot = -1
    } else {
      const slot = host.memory.take()
      if (slot < 0) return false
      copyMeta(to, from)
      to.slot = slot
      to.limit = slot + host.memory.stride
      place(to, from, slot + HEADROOM)
      host.memory.bytes.copyWithin(to.l3, from.l3, from.end)
    }
    to.sourceRealm = from.sourceRealm
    to.ct = from.ct
    to.ctInfo = from.ctInfo
    from.ct = -1
    from.ctInfo = 0
    return true
  }

  /** What was sent to this host itself outside of a packet's journey comes in. */
  settle(): void {
    if (this.#depth === 0 && this.#backlog.length > 0) this.#drain()
  }

  #drain(): void {
    this.#depth++
    // In order of arrival; what they send to this host again comes behind them.
    for (let i = 0; i < this.#backlog.length; i++) {
      const pkt = this.#backlog[i]!
      this.#enter(pkt, pkt.arrival!)
      this.#host.packets.give(pkt)
    }
    this.#backlog.length = 0
    this.#depth--
  }

  /** skb_copy() of a packet on its way, with all it carries but its conntrack entry; null if there is no room. */
  copy(pkt: Packet): Packet | null {
    const { memory, packets } = this.#host
    const slot = memory.take()
    if (slot < 0) return null
    const copy = packets.take()
    copyMeta(copy, pkt)
    copy.slot = slot
    copy.limit = slot + memory.stride
    place(copy, pkt, slot + HEADROOM)
    memory.bytes.copyWithin(copy.l3, pkt.l3, pkt.end)
    copy.opt.copy(pkt.opt)
    copy.flags = pkt.flags
    copy.pktType = pkt.pktType
    copy.arrival = pkt.arrival
    copy.linkBytes = pkt.linkBytes
    copy.queue = pkt.queue
    copy.local = pkt.local
    copy.socketless = pkt.socketless
    copy.csumOk = pkt.csumOk
    copy.fragMaxSize = pkt.fragMaxSize
    copy.fragHadDf = pkt.fragHadDf
    copy.head = pkt.head
    if (pkt.fragList !== null) {
      copy.fragList = new FragmentList()
      copy.fragList.count = pkt.fragList.count
      copy.fragList.header = pkt.fragList.header
      copy.fragList.least = pkt.fragList.least
      copy.fragList.sizes.set(pkt.fragList.sizes)
    }
    return copy
  }

  // -- ends

  /** A hook did not accept. */
  refuse(pkt: Packet, verdict: Verdict): Fate {
    if (verdict === Verdict.Stolen) {
      // Somebody keeps slot and entry.
      this.why = Reason.Fragment
      return Fate.Consumed
    }
    return this.drop(pkt, verdict === Verdict.Queue ? Reason.Queue : Reason.Rule)
  }

  drop(pkt: Packet, reason: Reason): Fate {
    const drops = this.#host.counters.drops
    drops[reason] = drops[reason]! + 1
    this.why = reason
    if (this.onDrop !== null) this.onDrop(pkt, reason)
    return this.end(pkt, Fate.Dropped)
  }

  /** kfree_skb(): entry and slot are let go. */
  end(pkt: Packet, fate: Fate): Fate {
    const host = this.#host
    if (host.tracker !== null) host.tracker.release(pkt)
    if (pkt.slot >= 0) {
      host.memory.give(pkt.slot)
      pkt.slot = -1
    }
    return fate
  }
}

/** What a loop through lo keeps of the sk_buff; the control block (IPCB) is emptied on the way. */
function copyMeta(to: Packet, from: Packet): void {
  to.mark = from.mark
  to.priority = from.priority
  to.secmark = from.secmark
  to.trace = from.trace
  to.route = from.route
  to.csumOk = from.csumOk
  to.residue = from.residue
  to.headerShift = from.headerShift
  to.csumPartial = from.csumPartial
  to.csumPending = from.csumPending
  to.csumStart = from.csumStart
  to.csumOffset = from.csumOffset
  to.gsoSize = from.gsoSize
  to.gsoType = from.gsoType
  const whole = from.fragOffset === 0 && !from.moreFragments
  to.ignoreDf =
    from.ignoreDf ||
    (whole &&
      (from.fragMaxSize !== 0 || (from.local && (from.flags & (PathFlag.Socket | PathFlag.Whole)) === 0)))
}
