// Writes down what happens to packets: which rules fit, what conntrack and NAT made of them, where they were routed,
// what left.
//
//     attach(engine) ─ begin() ─ host.path.receive() ─ take() ─▶ PacketRecord ─ begin() ─ … ─ detach()
//                        hooks ─┐
//                       tables ─┼─▶ Journal (numbers) ─▶ read.ts
//          conntrack, path, egress ┘
//
// While no recorder is attached the engine has no trace of it. While one is, packets take the observed way: the same
// verdicts, counters and frames, only slower.

import { formatReason } from '../../conntrack/reasons.ts'
import {
  CTMARK,
  DST,
  MASTER,
  META,
  PORTS,
  SRC,
  STATUS,
  STRIDE,
  Status,
  TUPLE_WORDS,
  wordOf,
} from '../../conntrack/table.ts'
import { tcpWindow } from '../../conntrack/trackers/tcp-entry.ts'
import { Tuple } from '../../conntrack/tuple.ts'
import { Reason } from '../../datapath/counters.ts'
import type { Fate } from '../../datapath/fate.ts'
import { FATE_NAMES } from '../../datapath/fate.ts'
import type { Route } from '../../datapath/fib.ts'
import { Hook, type HookEntry, type HookObserver, Verdict } from '../../datapath/hooks.ts'
import { type Family, type Packet, PacketType } from '../../datapath/packet.ts'
import type { Egress } from '../../datapath/ring.ts'
import { ipv4Tos } from '../../datapath/wire/ipv4.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { TCP_ACK_SEQ, TCP_FLAGS, TCP_HEADER_LEN, TCP_SEQ } from '../../datapath/wire/tcp.ts'
import type { LoadedChain } from '../../rules/chain.ts'
import { CONTINUE } from '../../rules/extension.ts'
import type { TableName } from '../../rules/model.ts'
import type { RuleObserver } from '../../rules/observe.ts'
import type { Engine } from '../engine.ts'
import { ENTRY, Journal, Op, type Recorded } from './journal.ts'
import { recordJson } from './json.ts'
import { readRecord } from './read.ts'
import type { Decision, PacketRecord } from './record.ts'
import { References } from './references.ts'
import { sawAt } from './saw.ts'

export interface RecorderOptions {
  /** Rules that do not fit are told too, with the condition that failed and what it saw. Slow. Default: no. */
  readonly misses?: boolean
  /** Frames that leave are kept in SentStep.bytes. Default: no. */
  readonly frames?: boolean
}

/** Records every packet that comes in from now on. One recorder at a time may be attached to an engine. */
export const attach = (engine: Engine, options: RecorderOptions = {}): Recorder =>
  new Recorder(engine, options)

/** Which part of conntrack or NAT a hook entry is. */
const Kind = { Other: 0, Defrag: 1, Conntrack: 2, Nat: 3, Confirm: 4 } as const

const KINDS: Readonly<Record<string, number>> = {
  defrag: Kind.Defrag,
  conntrack: Kind.Conntrack,
  'nat-dst': Kind.Nat,
  'nat-src': Kind.Nat,
  confirm: Kind.Confirm,
}

/** Reasons that routing gives. */
const isRouting = (reason: Reason): boolean => reason >= Reason.MartianSource && reason <= Reason.Multicast

const FULL = 'the table is full: nf_conntrack_max is reached'

/** Bits of the flags byte, -1 for others than TCP. Does not allocate. */
const tcpFlagsOf = (pkt: Packet, view: DataView): number =>
  pkt.proto === IPPROTO_TCP && pkt.fragOffset === 0 && pkt.l4 + TCP_HEADER_LEN <= pkt.end
    ? view.getUint8(pkt.l4 + TCP_FLAGS)
    : -1

export class Recorder implements RuleObserver, HookObserver, Recorded {
  readonly engine: Engine
  readonly misses: boolean
  readonly journal = new Journal()
  readonly references: References
  /** What the journal's numbers of texts and routes mean. */
  readonly texts: string[] = []
  readonly routes: Route[] = []
  /** Bytes of frames that left. */
  bytes = new Uint8Array(4096)
  #bytesAt = 0
  readonly #frames: boolean
  #egress: Egress
  #attached = false

  /** Packet object of each journey, and the route it was last seen with. */
  readonly #packets: (Packet | null)[] = []
  readonly #journeyRoutes: (Route | null)[] = []
  readonly causes: number[] = []
  #journeys = 0
  /** Journeys in the middle of a hook point, innermost last. */
  readonly #stack: number[] = []
  /** Whose frames leave now: the last that POSTROUTING let pass. */
  #leaving = -1

  // Before the target of the rule at hand.
  #mark = 0
  #ctmark = 0
  // Before conntrack, NAT or confirm.
  readonly #before = new Float64Array(ENTRY)
  #known = false
  #largest = 0
  #status = 0
  readonly #sides = new Float64Array(10)
  readonly #tuple = new Tuple()

  // The decision: see decision().
  #ruleChain = -1
  #ruleSlot = -1
  #ruleVerdict = 0
  #dropped = false
  /** The last walk through a table ended with DROP. */
  #refused = false
  #lastChain = -1
  #lastSlot = -1
  /** Of walks in the middle of which another began: last chain and slot, marks. */
  readonly #outer: number[] = []
  #n = 0

  constructor(engine: Engine, { misses = false, frames = false }: RecorderOptions) {
    this.engine = engine
    this.misses = misses
    this.#frames = frames
    this.references = new References(engine)
    this.#egress = engine.host.egress
    this.attach()
  }

  /** Watches again after detach(). */
  attach(): void {
    if (this.#attached) return
    this.#attached = true
    const { host, conntrack, tables } = this.engine
    const { memory } = host
    const egress = host.egress
    this.#egress = egress
    host.egress = {
      send: (dev, off, len, slot, offloaded) => {
        this.#sent(dev, memory.bytes, off, len)
        egress.send(dev, off, len, slot, offloaded)
      },
      flush: () => egress.flush(),
    }
    host.path.onDrop = (pkt, reason) => this.#drop(pkt, reason)
    conntrack.core.onReason = (pkt, reason, values) => this.#why(pkt, formatReason(reason, values))
    host.hooks.observe(this)
    tables.observe(this)
  }

  /** The engine is as it was. */
  detach(): void {
    if (!this.#attached) return
    this.#attached = false
    const { host, conntrack, tables } = this.engine
    host.egress = this.#egress
    host.path.onDrop = null
    conntrack.core.onReason = null
    host.hooks.observe(null)
    tables.observe(null)
  }

  /** Forgets what happened, before packet number `n` is received. */
  begin(n: number): void {
    this.#n = n
    this.journal.clear()
    this.texts.length = 0
    this.routes.length = 0
    this.#bytesAt = 0
    this.#packets.length = this.#journeyRoutes.length = this.causes.length = 0
    this.#journeys = 0
    this.#stack.length = this.#outer.length = 0
    this.#leaving = -1
    this.#ruleChain = this.#ruleSlot = -1
    this.#dropped = false
  }

  /**
   * What happened since begin(). `device`: the name of the interface it came in by; `fate`: what Path.receive() said;
   * `refusal`: why link layer or driver did not let it in, null: the path has said.
   */
  take(device: string, fate: Fate, refusal: string | null = null): PacketRecord {
    const { journeys, packet } = readRecord(this)
    return {
      n: this.#n,
      in: device,
      packet,
      verdict: FATE_NAMES[fate]!,
      reason: refusal ?? this.engine.host.path.reason,
      decision: this.decision(),
      journeys,
    }
  }

  /** take() as one line of JSON, without its end. */
  line(device: string, fate: Fate, refusal: string | null = null): string {
    return recordJson(this.take(device, fate, refusal))
  }

  /**
   * What decided of the packet since begin(): the rule or policy that dropped it or answered it; for one that passed the
   * last of the filter table, or of any if that has none. Null: no rule was asked. Cheaper than take().
   */
  decision(): Decision | null {
    if (this.#ruleChain < 0) return null
    return this.references.decision(this.#ruleChain, this.#ruleSlot, this.#ruleVerdict)
  }

  // -- HookObserver

  enter(family: Family, hook: Hook, pkt: Packet): void {
    const journey = this.#journeyOf(hook, pkt)
    if (hook !== Hook.PreRouting && pkt.route !== null && pkt.route !== this.#journeyRoutes[journey]) {
      this.#journeyRoutes[journey] = pkt.route
      this.#routed(journey, pkt, pkt.route, hook === Hook.LocalOut || pkt.local)
    }
    this.journal.push1(Op.Hook)
    this.journal.push5(journey, family, hook, pkt.iif, pkt.oif)
    this.#stack.push(journey)
  }

  /** A hook function that is no table dropped the packet, without any rule. */
  #refusedBy(name: string): void {
    const journey = this.#stack[this.#stack.length - 1]!
    this.texts.push(name)
    this.journal.push3(Op.Refused, journey, this.texts.length - 1)
    if (journey !== 0) return
    this.#ruleChain = -1
    this.#dropped = true
  }

  leave(_family: Family, hook: Hook, _pkt: Packet, verdict: Verdict): void {
    const journey = this.#stack.pop()!
    this.journal.push3(Op.HookEnd, journey, verdict)
    if (hook === Hook.PostRouting && verdict === Verdict.Accept) this.#leaving = journey
  }

  before(entry: HookEntry, pkt: Packet): void {
    this.#refused = false
    switch (KINDS[entry.name] ?? Kind.Other) {
      case Kind.Defrag:
        this.#largest = pkt.fragMaxSize
        break
      case Kind.Conntrack:
        this.#found(pkt)
        break
      case Kind.Nat:
        if (pkt.ct < 0) break
        this.#status = this.#statusOf(pkt.ct)
        sides(pkt, this.#sides, 0)
        break
      case Kind.Confirm:
        this.#status = pkt.ct < 0 ? Status.Confirmed : this.#statusOf(pkt.ct)
        break
    }
  }

  after(entry: HookEntry, pkt: Packet, verdict: Verdict): void {
    if (verdict === Verdict.Drop && !this.#refused) this.#refusedBy(entry.name)
    switch (KINDS[entry.name] ?? Kind.Other) {
      case Kind.Defrag:
        if (verdict !== Verdict.Accept) this.journal.push3(Op.Defrag, 0, pkt.end - pkt.l3)
        else if (pkt.fragMaxSize !== this.#largest) this.journal.push3(Op.Defrag, 1, pkt.end - pkt.l3)
        break
      case Kind.Conntrack:
        this.#tracked(pkt, verdict)
        break
      case Kind.Nat:
        if (pkt.ct >= 0) this.#translated(pkt, entry)
        break
      case Kind.Confirm:
        if (pkt.ct >= 0 && (this.#statusOf(pkt.ct) & ~this.#status & Status.Confirmed) !== 0) {
          this.journal.push1(Op.Confirm)
          this.#entry(pkt.ct)
        }
        break
    }
  }

  // -- RuleObserver

  chain(family: Family, table: TableName, chain: LoadedChain): number {
    return this.references.chain(family, table, chain)
  }

  walk(chain: number, _pkt: Packet): void {
    this.journal.push2(Op.Walk, chain)
    // In the middle of another walk, when a target of it sends something.
    this.#outer.push(this.#lastChain, this.#lastSlot, this.#mark, this.#ctmark)
    this.#lastSlot = -1
    this.#lastChain = chain
  }

  walked(chain: number, _pkt: Packet, verdict: number): void {
    this.journal.push3(Op.WalkEnd, chain, verdict)
    this.#refused =
      verdict === Verdict.Drop ||
      (verdict === CONTINUE && this.references.chains[chain]!.policy() === Verdict.Drop)
    if (this.#stack[this.#stack.length - 1] === 0) this.#ended(chain, verdict)
    this.#ctmark = this.#outer.pop()!
    this.#mark = this.#outer.pop()!
    this.#lastSlot = this.#outer.pop()!
    this.#lastChain = this.#outer.pop()!
  }

  /** A walk of the packet itself ended. */
  #ended(chain: number, verdict: number): void {
    const { table, policy } = this.references.chains[chain]!
    const said = verdict === CONTINUE ? policy() : verdict
    const policyDid = verdict === CONTINUE
    if (said !== Verdict.Accept)
      this.#decided(policyDid ? chain : this.#lastChain, policyDid ? -1 : this.#lastSlot, said, true)
    else if (
      !this.#dropped &&
      (table === 'filter' || this.#ruleChain < 0 || !this.#isFilter(this.#ruleChain))
    )
      this.#decided(policyDid ? chain : this.#lastChain, policyDid ? -1 : this.#lastSlot, said, false)
  }

  hit(chain: number, slot: number, pkt: Packet): void {
    this.journal.push3(Op.Hit, chain, slot)
    this.#lastChain = chain
    this.#lastSlot = slot
    this.#mark = pkt.mark
    this.#ctmark = pkt.ct < 0 ? 0 : this.engine.conntrack.table.words[pkt.ct * STRIDE + CTMARK]! >>> 0
  }

  did(pkt: Packet): void {
    if (pkt.mark !== this.#mark) this.journal.push3(Op.Mark, this.#mark, pkt.mark)
    const ctmark = pkt.ct < 0 ? 0 : this.engine.conntrack.table.words[pkt.ct * STRIDE + CTMARK]! >>> 0
    if (ctmark !== this.#ctmark && pkt.ct >= 0) this.journal.push3(Op.CtMark, this.#ctmark, ctmark)
  }

  hotdrop(chain: number, slot: number): void {
    this.journal.push3(Op.Hotdrop, chain, slot)
    this.#lastChain = chain
    this.#lastSlot = slot
  }

  miss(chain: number, slot: number, condition: number, pkt: Packet): void {
    const rule = this.references.chains[chain]!.chain.slots.bySlot[slot]!
    this.texts.push(sawAt(rule, condition, pkt, this.engine))
    this.journal.push5(Op.Miss, chain, slot, condition, this.texts.length - 1)
  }

  // -- inside

  #decided(chain: number, slot: number, verdict: number, dropped: boolean): void {
    this.#ruleChain = chain
    this.#ruleSlot = slot
    this.#ruleVerdict = verdict
    if (dropped) this.#dropped = true
  }

  #isFilter(chain: number): boolean {
    return this.references.chains[chain]!.table === 'filter'
  }

  #statusOf(entry: number): number {
    return this.engine.conntrack.table.words[entry * STRIDE + STATUS]!
  }

  /** The journey that a packet at a hook point is on. */
  #journeyOf(hook: Hook, pkt: Packet): number {
    if (hook !== Hook.PreRouting && hook !== Hook.LocalOut) {
      const known = this.#packets.lastIndexOf(pkt)
      if (known >= 0) return known
    }
    const journey = this.#journeys++
    // Whoever had the object before is done with it.
    this.#packets.push(pkt)
    this.#journeyRoutes.push(null)
    this.causes.push(this.#stack.length > 0 ? this.#stack[this.#stack.length - 1]! : journey === 0 ? -1 : 0)
    const looped = pkt.arrival?.loopback === true || pkt.pktType === PacketType.Loopback
    const kind =
      hook === Hook.LocalOut
        ? pkt.local
          ? 1
          : 3
        : hook !== Hook.PreRouting
          ? 3
          : looped && journey > 0
            ? 2
            : 0
    const { journal } = this
    journal.push3(Op.Journey, journey, kind)
    journal.push5(pkt.family, pkt.proto, pkt.end - pkt.l3, pkt.mark, 0)
    this.#pushSides(pkt)
    return journey
  }

  #pushSides(pkt: Packet): void {
    const { journal } = this
    journal.reserve(10)
    sides(pkt, journal.values, journal.length)
    journal.length += 10
  }

  /** The entry that conntrack is about to find, as it is before. Changes nothing. */
  #found(pkt: Packet): void {
    const { conntrack } = this.engine
    this.#known = false
    if (pkt.ct >= 0) {
      this.#fill(pkt.ct, this.#before, 0)
      this.#known = true
      return
    }
    const tuple = this.#tuple
    if (!conntrack.tupleOf(pkt, tuple)) return
    const { ctTemplate } = pkt
    tuple.zone = ctTemplate === null ? 0 : (ctTemplate.zoneFromMark ? pkt.mark : ctTemplate.zone) & 0xffff
    const handle = conntrack.table.find(tuple)
    if (handle < 0 || conntrack.table.expiresAt(handle >> 1) <= conntrack.host.now) return
    this.#known = true
    this.#fill(handle >> 1, this.#before, 0)
  }

  #tracked(pkt: Packet, verdict: Verdict): void {
    const { journal } = this
    if (verdict === Verdict.Drop) this.#why(pkt, FULL)
    const { conntrack } = this.engine
    journal.push2(Op.Conntrack, this.#known ? 1 : 0)
    journal.reserve(ENTRY)
    journal.values.set(this.#before, journal.length)
    journal.length += ENTRY
    journal.push2(conntrack.stateBit(pkt), pkt.ct >= 0 ? conntrack.direction(pkt) : 0)
    journal.push2(tcpFlagsOf(pkt, conntrack.host.memory.view), pkt.ct >= 0 ? 1 : 0)
    if (pkt.ct >= 0) this.#entry(pkt.ct)
  }

  #entry(entry: number): void {
    const { journal } = this
    journal.reserve(ENTRY)
    this.#fill(entry, journal.values, journal.length)
    journal.length += ENTRY
  }

  #fill(entry: number, into: Float64Array, at: number): void {
    const { conntrack } = this.engine
    const { table } = conntrack
    const w = table.words
    const o = entry * STRIDE
    const status = w[o + STATUS]!
    into[at] = entry
    into[at + 1] = status
    into[at + 2] = conntrack.trackerOf(entry).stateNumber?.(entry) ?? -1
    into[at + 3] = table.expiresAt(entry) - ((status & Status.Confirmed) !== 0 ? conntrack.host.now : 0)
    into[at + 4] = w[o + CTMARK]! >>> 0
    into[at + 5] = w[o + MASTER]! - 1
    into[at + 6] = w[o + META]!
    let to = at + 7
    for (let dir = 0; dir < 2; dir++) {
      const t = o + dir * TUPLE_WORDS
      for (let i = 0; i < 4; i++) into[to++] = w[t + wordOf(SRC, i)]!
      for (let i = 0; i < 4; i++) into[to++] = w[t + wordOf(DST, i)]!
      into[to++] = w[t + PORTS]!
    }
  }

  #translated(pkt: Packet, entry: HookEntry): void {
    const { journal } = this
    journal.push5(Op.Nat, entry.hook, entry.name === 'nat-src' ? 0 : 1, this.#status, this.#statusOf(pkt.ct))
    journal.reserve(10)
    journal.values.set(this.#sides, journal.length)
    journal.length += 10
    this.#pushSides(pkt)
  }

  #routed(journey: number, pkt: Packet, route: Route | null, local: boolean): void {
    const { journal } = this
    let number = -1
    if (route !== null) {
      number = this.routes.length
      this.routes.push(route)
    }
    const { view } = this.engine.host.memory
    const tos = pkt.family === 4 ? ipv4Tos(view, pkt.l3) : (view.getUint16(pkt.l3) >> 4) & 0xff
    journal.push3(Op.Route, journey, number)
    const from = local ? 0 : (pkt.arrival?.index ?? pkt.iif)
    journal.push5(from, pkt.mark, tos, pkt.proto, local ? 1 : 0)
    this.#pushSides(pkt)
  }

  /** Conntrack's words, and what the TCP window was when it said them. */
  #why(pkt: Packet, text: string): void {
    const { journal } = this
    this.texts.push(text)
    journal.push2(Op.Why, this.texts.length - 1)
    const inWindow = pkt.proto === IPPROTO_TCP && pkt.ct >= 0 && pkt.l4 + TCP_HEADER_LEN <= pkt.end
    journal.push1(inWindow ? 1 : 0)
    if (!inWindow) return
    const { conntrack, host } = this.engine
    const { view } = host.memory
    const dir = conntrack.direction(pkt)
    const { words } = conntrack.table
    journal.push3(view.getUint32(pkt.l4 + TCP_SEQ), view.getUint32(pkt.l4 + TCP_ACK_SEQ), 0)
    journal.push3(...tcpWindow(words, pkt.ct, dir))
    journal.push3(...tcpWindow(words, pkt.ct, 1 - dir))
  }

  #drop(pkt: Packet, reason: Reason): void {
    const journey = Math.max(this.#packets.lastIndexOf(pkt), 0)
    if (this.#journeys === 0) return
    if (isRouting(reason) && this.#journeyRoutes[journey] === null)
      this.#routed(journey, pkt, null, pkt.local)
    this.journal.push3(Op.Drop, journey, reason)
  }

  #sent(dev: number, from: Uint8Array, off: number, len: number): void {
    let at = -1
    if (this.#frames) {
      at = this.#bytesAt
      if (at + len > this.bytes.length) {
        const bytes = new Uint8Array(Math.max(this.bytes.length * 2, at + len))
        bytes.set(this.bytes)
        this.bytes = bytes
      }
      this.bytes.set(from.subarray(off, off + len), at)
      this.#bytesAt = at + len
    }
    this.journal.push5(Op.Sent, this.#leaving, dev, len, at)
  }
}

/** Addresses and ports of a packet: source 4, destination 4, ports 2. */
function sides(pkt: Packet, into: Float64Array, at: number): void {
  into[at] = pkt.s0
  into[at + 1] = pkt.s1
  into[at + 2] = pkt.s2
  into[at + 3] = pkt.s3
  into[at + 4] = pkt.d0
  into[at + 5] = pkt.d1
  into[at + 6] = pkt.d2
  into[at + 7] = pkt.d3
  into[at + 8] = pkt.sport
  into[at + 9] = pkt.dport
}
