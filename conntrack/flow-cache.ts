// The flow cache: a packet of a known connection mostly goes the way of the one before it. That way is recorded once and
// gone again without asking the rules: which of them count, what is rewritten, where the packet leaves.
//
//     packet ─ connection, tracker ─ Way still good for it? ─┬─ yes: rewrite, hop count, count, send
//                                                            └─ no: the whole path; the second such packet records it
//
// A Way holds what the rules decided from facts that are fixed for a connection, a direction and a state. Facts that
// change from packet to packet (Fact) either become a condition of the Way (TOS, TTL, TCP flags, connmark, status) or
// keep the packet from being recorded. Nothing is asked that has an effect, so nothing is missed by not asking it.
//
// Connections that go the same way share it, so that ways are few. What the rules of a way have counted is added to
// them when somebody looks (flush), which is also the time when all ways end: any change of rules, sets, routes,
// addresses, devices, hooks or sysctls ends them (invalidate), in O(ways).

import { IpStat } from '../datapath/counters.ts'
import type { Device } from '../datapath/devices.ts'
import { Fate, MISS } from '../datapath/fate.ts'
import { type Route, RouteType } from '../datapath/fib.ts'
import { Hook } from '../datapath/hooks.ts'
import type { FlowLink, Host } from '../datapath/host.ts'
import { wireLength } from '../datapath/offload.ts'
import { type Family, type Packet, PacketType, PathFlag } from '../datapath/packet.ts'
import { decreaseTtl, setHopLimit } from '../datapath/rewrite.ts'
import type { Memory } from '../datapath/wire/checksum.ts'
import { IPV4_HEADER_LEN, IPV4_TTL, ipv4Tos } from '../datapath/wire/ipv4.ts'
import { IPV6_HEADER_LEN, IPV6_HOP_LIMIT, ipv6TrafficClass } from '../datapath/wire/ipv6.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../datapath/wire/protocol.ts'
import { TCP_FLAGS, TCP_HEADER_LEN } from '../datapath/wire/tcp.ts'
import { UDP_HEADER_LEN } from '../datapath/wire/udp.ts'
import type { Conntrack } from './conntrack.ts'
import { createExpress } from './express.ts'
import { seenReply } from './hooks.ts'
import { Translator } from './nat/manip.ts'
import { Manip } from './nat/range.ts'
import { CTMARK, FLOW, HELPER, infoOf, STATUS, STRIDE, Status, TUPLE_WORDS, USES } from './table.ts'
import type { Datagrams } from './trackers/tracker.ts'
import { Tuple, tupleOf } from './tuple.ts'
import { type Counted, type Effect, Way, Ways } from './ways.ts'

/** What a way may depend on besides what is fixed for its connections; bits. */
export const Vary = {
  /** Something that no condition can hold: the packet goes unrecorded. */
  Never: 1,
  /** IPv4 TOS, IPv6 traffic class. */
  Tos: 2,
  /** TTL, hop limit. */
  Ttl: 4,
  Connmark: 8,
  Status: 16,
  /** Members of sets, as long as none changes. */
  Sets: 32,
} as const

/** Status bits that every way depends on. */
const ALWAYS =
  Status.SrcNat | Status.DstNat | Status.SeqAdjust | Status.Confirmed | Status.Dying | Status.NatClash
/** A packet of a connection was seen that could have been recorded. */
const SEEN_ONCE = 1
/** One packet in so many of connections that could not be recorded is another try. */
const RETRY = 1024
/** Ways lost and recorded anew among which hits are looked for, and packets left unrecorded where there were few. */
const TRIAL = 4096
const PAUSE = 65536

export class FlowCache implements FlowLink {
  #enabled = true
  #observed = false
  /** The packet at hand is being recorded: chains run in the form that tells of it. */
  recording = false
  /** Vary bits of what was asked so far. */
  varies = 0
  /** TCP flags that were asked for. */
  flagsAsked = 0
  /** Packets that went a recorded way, and packets recorded. */
  hits = 0
  records = 0
  readonly ways = new Ways()
  readonly segment: FlowLink['segment']
  readonly datagrams: FlowLink['datagrams']
  readonly #host: Host
  readonly #conntrack: Conntrack
  readonly #translate: Translator
  readonly #tuple = new Tuple()
  #usable4 = false
  #usable6 = false
  #generation = -1
  /** Packets of connections that could not be recorded. */
  #misses = 0
  /** Some way depends on the members of sets. */
  #asksSets = false
  #hitsBefore = 0
  #renewals = 0
  #pause = 0
  // Of the packet being recorded.
  #pkt: Packet | null = null
  #handle = -1
  #tos = 0
  #ttl = 0
  #flags = 0
  #ctmark = 0
  /** ctInfo as the last hook saw it; -1: it has not. */
  #info = -1
  /** The first #count of these. */
  readonly #hits: Counted[] = []
  readonly #places: number[] = []
  #count = 0
  #before: Effect[] = []
  #after: Effect[] = []

  constructor(host: Host, conntrack: Conntrack, udp: Datagrams) {
    this.#host = host
    this.#conntrack = conntrack
    this.#translate = new Translator(host.memory, conntrack)
    const { segment, datagrams } = createExpress(this, conntrack, udp)
    this.segment = segment
    this.datagrams = datagrams
    host.flows = this
  }

  get enabled(): boolean {
    return this.#enabled
  }

  /** False: every packet asks every rule. */
  set enabled(on: boolean) {
    this.#enabled = on
    this.invalidate()
  }

  /** Somebody wants to hear of every rule: as if disabled. */
  set observed(on: boolean) {
    this.#observed = on
    this.invalidate()
  }

  // -- packets

  /** Packets of the family can go recorded ways; those of before a change are gone. Hot. */
  usable(family: Family): boolean {
    const { fib, devices, hooks, tunables } = this.#host
    const generation = fib.generation + devices.generation + hooks.generation + tunables.generation
    if (generation !== this.#generation) this.#renew(generation)
    return family === 4 ? this.#usable4 : this.#usable6
  }

  /**
   * The fate of a parsed packet that goes a recorded way; MISS: it has the whole path before it. Hot: does not allocate
   * unless it is going to record.
   */
  receive(pkt: Packet, device: Device): number {
    const host = this.#host
    const { family, proto } = pkt
    if (this.#conntrack.judged === pkt || !this.usable(family)) return MISS
    const room = pkt.end - pkt.l4
    if (proto === IPPROTO_UDP ? room < UDP_HEADER_LEN : proto !== IPPROTO_TCP || room < TCP_HEADER_LEN)
      return MISS
    if (
      pkt.l4 - pkt.l3 !== (family === 4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN) ||
      pkt.moreFragments ||
      pkt.fragOffset !== 0 ||
      pkt.route !== null ||
      pkt.pktType !== PacketType.Host ||
      pkt.mark !== 0 ||
      pkt.trace
    )
      return MISS

    const ct = this.#conntrack
    const { table } = ct
    const ports = (pkt.sport << 16) | pkt.dport
    const meta = (proto << 8) | family
    let handle = pkt.hint
    if (handle < 0 || !table.isOf(handle, pkt.s0, pkt.d0, ports, meta)) {
      handle = this.#find(pkt)
      if (handle < 0) {
        ct.absent = pkt
        return MISS
      }
    }
    const entry = handle >> 1
    if (ct.core.isOver(entry)) return MISS
    const w = table.words
    const o = entry * STRIDE
    const dir = handle & 1
    const number = w[o + dir * TUPLE_WORDS + FLOW]!
    const index = number - this.ways.base
    if (index < 0) return this.#first(pkt, handle, number)
    if (index === 0) {
      if (++this.#misses % RETRY === 0) this.#begin(pkt, handle)
      return MISS
    }
    const way = this.ways.list[index]!

    // What does not take the tracker's word.
    const { bytes } = host.memory
    const info = infoOf(w[o + STATUS]!, dir)
    const ttl = hopLimit(pkt, host.memory)
    const tos = trafficClass(pkt, host.memory)
    if (
      way.ctInfo !== info ||
      way.iif !== device.index ||
      (way.tosMask & tos) !== way.tos ||
      (way.ttlMask & ttl) !== way.ttl
    ) {
      this.again(pkt, handle)
      return MISS
    }
    if (
      ttl <= 1 ||
      (proto === IPPROTO_TCP && (way.flagsMask & bytes[pkt.l4 + TCP_FLAGS]!) !== way.flags) ||
      wireLength(pkt, host.memory) > way.mtu ||
      !host.path.hasNoPathMtus(family)
    )
      return MISS

    // As resolve() and track().
    w[o + USES]!++
    pkt.ct = entry
    pkt.ctInfo = info
    const result = ct.track(pkt, handle, Hook.PreRouting)
    const words = table.words
    if (result > 0) {
      if (dir === 1) seenReply(ct, o)
      if (
        (words[o + STATUS]! & way.statusMask) === way.status &&
        (words[o + CTMARK]! & way.ctmarkMask) === way.ctmark
      )
        return this.#go(pkt, way, entry, dir)
      if ((words[o + STATUS]! & Status.Dying) === 0) this.again(pkt, handle)
    }
    ct.judge(pkt, handle, result)
    return MISS
  }

  /** Of a packet with ports, which always has a tuple. */
  #find(pkt: Packet): number {
    tupleOf(pkt, this.#host.memory.view, this.#tuple)
    return this.#conntrack.table.find(this.#tuple)
  }

  /** The way itself. */
  #go(pkt: Packet, way: Way, entry: number, dir: number): Fate {
    const host = this.#host
    const { memory } = host
    const v4 = pkt.family === 4
    const translate = this.#translate
    const device = way.device!
    this.ways.count(way.index, 1, pkt.end - pkt.l3)
    this.hits++
    if (way.before !== null) for (const effect of way.before) effect(pkt)
    if (way.translatesDestination) {
      if (v4) translate.packet(pkt, entry, dir, Manip.Dst)
      else translate.packet6(pkt, entry, dir, Manip.Dst)
    }
    pkt.route = way.route
    pkt.flags |= PathFlag.Forwarded
    if (v4) decreaseTtl(pkt, memory)
    else setHopLimit(pkt, memory, hopLimit(pkt, memory) - 1)
    if (way.after !== null) for (const effect of way.after) effect(pkt)
    if (way.translatesSource) {
      if (v4) translate.packet(pkt, entry, dir, Manip.Src)
      else translate.packet6(pkt, entry, dir, Manip.Src)
    }
    if (this.#conntrack.events.listening) this.#conntrack.events.tell(entry)
    const stats = v4 ? host.counters.ip4 : host.counters.ip6
    stats[IpStat.OutForwDatagrams] = stats[IpStat.OutForwDatagrams]! + 1
    return host.path.transmit(pkt, device)
  }

  // -- recording

  /** A packet of a connection that has no way in this direction yet: the second one is recorded. */
  #first(pkt: Packet, handle: number, number: number): number {
    if (number === 0)
      this.#conntrack.table.words[(handle >> 1) * STRIDE + (handle & 1) * TUPLE_WORDS + FLOW] = SEEN_ONCE
    else if (number === SEEN_ONCE) this.#begin(pkt, handle)
    else this.again(pkt, handle)
    return MISS
  }

  /** The way that there was is no good. Where ways end as soon as they are recorded, recording only costs. */
  again(pkt: Packet, handle: number): void {
    if (this.#pause > 0) {
      this.#pause--
      return
    }
    if (++this.#renewals % TRIAL === 0) {
      if (this.hits - this.#hitsBefore < TRIAL) this.#pause = PAUSE
      this.#hitsBefore = this.hits
    }
    this.#begin(pkt, handle)
  }

  #begin(pkt: Packet, handle: number): void {
    const { memory } = this.#host
    const o = (handle >> 1) * STRIDE
    const w = this.#conntrack.table.words
    this.#ttl = hopLimit(pkt, memory)
    this.#tos = trafficClass(pkt, memory)
    this.#flags = pkt.proto === IPPROTO_TCP ? memory.bytes[pkt.l4 + TCP_FLAGS]! : 0
    this.#ctmark = w[o + CTMARK]!
    this.#pkt = pkt
    this.#handle = handle
    this.#info = -1
    this.varies = this.#host.fib.of(pkt.family).asksTos ? Vary.Tos : 0
    this.flagsAsked = 0
    this.#count = 0
    if (this.#before.length > 0) this.#before = []
    if (this.#after.length > 0) this.#after = []
    this.recording = true
  }

  /** A rule or a policy counts the packet that is being recorded. */
  hit(who: Counted, at: number): void {
    this.#hits[this.#count] = who
    this.#places[this.#count++] = at
  }

  /** A target that changes the header does so, now and for every packet that goes this way. */
  does(pkt: Packet, effect: Effect): void {
    if (pkt.route === null) this.#before.push(effect)
    else this.#after.push(effect)
    effect(pkt)
  }

  /** The last hook sees the packet that is being recorded, with its entry. */
  confirmed(pkt: Packet): void {
    if (pkt === this.#pkt && pkt.ct === this.#handle >> 1) this.#info = pkt.ctInfo
  }

  /** Another packet is about to walk through the rules meanwhile, or something else that a way cannot hold. */
  spoil(): void {
    this.recording = false
  }

  /** The whole path is behind the packet. */
  end(pkt: Packet, fate: Fate, device: Device): void {
    this.#conntrack.absent = null
    this.#conntrack.forgetJudgement(pkt)
    if (this.#pkt !== pkt) return
    this.#pkt = null
    const { route } = pkt
    const o = (this.#handle >> 1) * STRIDE
    const w = this.#conntrack.table.words
    const status = w[o + STATUS]!
    // It is over, or another has taken its place.
    const lives = (status & (Status.Confirmed | Status.Dying)) === Status.Confirmed
    if (
      lives &&
      this.recording &&
      fate === Fate.Forwarded &&
      route !== null &&
      this.#isGood(pkt, route, device, status)
    )
      this.#keep(pkt, device, route, status)
    else if (lives && this.#generation >= 0) w[o + (this.#handle & 1) * TUPLE_WORDS + FLOW] = this.ways.base
    this.recording = false
  }

  /** What was recorded is all there was to it. */
  #isGood(pkt: Packet, route: Route, device: Device, status: number): boolean {
    const { path, memory, fib } = this.#host
    const { family } = pkt
    const entry = this.#handle >> 1
    const w = this.#conntrack.table.words
    const out = route.device!
    return (
      this.#info >= 0 &&
      (this.varies & Vary.Never) === 0 &&
      route.type === RouteType.Unicast &&
      (pkt.flags & PathFlag.DoRedirect) === 0 &&
      !out.loopback &&
      out.up &&
      // Of several next hops the flow label may choose; a way back to where it came from may be told of.
      (family === 4 || !(fib.of(6).multipath || out === device)) &&
      wireLength(pkt, memory) <= path.plainMtu(route, family) &&
      path.hasNoPathMtus(family) &&
      (status & (Status.SeqAdjust | Status.NatClash)) === 0 &&
      w[entry * STRIDE + HELPER] === 0 &&
      w[entry * STRIDE + CTMARK] === this.#ctmark &&
      !this.#conntrack.core.synproxied(entry)
    )
  }

  #keep(pkt: Packet, device: Device, route: Route, status: number): void {
    const mtu = this.#host.path.plainMtu(route, pkt.family)
    const dir = this.#handle & 1
    const o = (this.#handle >> 1) * STRIDE
    const { varies } = this
    const tosMask = (varies & Vary.Tos) !== 0 ? 0xff : 0
    const ttlMask = (varies & Vary.Ttl) !== 0 ? 0xff : 0
    const ctmarkMask = (varies & Vary.Connmark) !== 0 ? -1 : 0
    const statusMask = (varies & Vary.Status) !== 0 ? -1 : ALWAYS
    const flagsMask = pkt.proto === IPPROTO_TCP ? this.flagsAsked : 0
    let key = `${routeNumber(route)},${mtu},${device.index},${this.#info},${status & statusMask},${statusMask},${this.#ctmark & ctmarkMask},${ctmarkMask},${this.#tos & tosMask},${tosMask},${this.#ttl & ttlMask},${ttlMask},${this.#flags & flagsMask},${flagsMask}`
    for (let i = 0; i < this.#count; i++) key += `,${this.#hits[i]!.id}:${this.#places[i]}`
    let way = this.ways.byKey(key)
    if (way === undefined) {
      if (this.ways.full) this.invalidate()
      way = new Way(
        this.ways.list.length,
        route,
        this.#hits.slice(0, this.#count),
        this.#places.slice(0, this.#count),
      )
      way.ctInfo = this.#info
      way.iif = device.index
      way.statusMask = statusMask
      way.status = status & statusMask
      way.ctmarkMask = ctmarkMask
      way.ctmark = this.#ctmark & ctmarkMask
      way.tosMask = tosMask
      way.tos = this.#tos & tosMask
      way.ttlMask = ttlMask
      way.ttl = this.#ttl & ttlMask
      way.flagsMask = flagsMask
      way.flags = this.#flags & flagsMask
      way.mtu = mtu
      const natted = this.#host.hooks
        .entries(pkt.family, Hook.PostRouting)
        .some(({ name }) => name === 'nat-src')
      way.translatesDestination = natted && (status & (dir === 0 ? Status.DstNat : Status.SrcNat)) !== 0
      way.translatesSource = natted && (status & (dir === 0 ? Status.SrcNat : Status.DstNat)) !== 0
      way.before = this.#before.length === 0 ? null : this.#before
      way.after = this.#after.length === 0 ? null : this.#after
      way.plain =
        way.before === null && way.after === null && !(way.translatesDestination && way.translatesSource)
      this.ways.add(key, way)
    }
    this.#conntrack.table.words[o + dir * TUPLE_WORDS + FLOW] = this.ways.base + way.index
    if ((varies & Vary.Sets) !== 0) this.#asksSets = true
    this.records++
  }

  // -- ends

  /** All ways end: what they follow from is about to change, or has. */
  invalidate(): void {
    this.ways.end()
    this.#asksSets = false
    if (this.ways.exhausted) this.#renumber()
    this.#generation = -1
  }

  setsChanged(): void {
    if (this.#asksSets) this.invalidate()
  }

  /** Tells those who count of what has passed since they were told last. */
  flush(): void {
    this.ways.flush()
  }

  #renumber(): void {
    const { table } = this.#conntrack
    table.forEach((entry) => {
      table.forgetWays(entry * STRIDE)
    })
    this.ways.restart()
  }

  /** Something has changed: ways begin anew, if there can be any. */
  #renew(generation: number): void {
    this.invalidate()
    this.#generation = generation
    this.#usable4 = this.#isUsable(4)
    this.#usable6 = this.#isUsable(6)
  }

  /** Every hook on the way through does for a known connection what can be recorded. */
  #isUsable(family: Family): boolean {
    if (!this.#enabled || this.#observed || !this.#conntrack.isActive(family)) return false
    return [Hook.PreRouting, Hook.Forward, Hook.PostRouting].every((hook) =>
      this.#host.hooks.entries(family, hook).every((entry) => entry.recordable === true),
    )
  }
}

const hopLimit = (pkt: Packet, { bytes }: Memory): number =>
  bytes[pkt.l3 + (pkt.family === 4 ? IPV4_TTL : IPV6_HOP_LIMIT)]!

/** TOS of IPv4. */
const trafficClass = (pkt: Packet, { view }: Memory): number =>
  pkt.family === 4 ? ipv4Tos(view, pkt.l3) : ipv6TrafficClass(view, pkt.l3)

const numbers = new WeakMap<Route, number>()
let nextRoute = 0

function routeNumber(route: Route): number {
  let number = numbers.get(route)
  if (number === undefined) {
    number = nextRoute++
    numbers.set(route, number)
  }
  return number
}
