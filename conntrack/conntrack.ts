// Connection tracking of one host (nf_conntrack_core.c, Linux 6.18): the table of connections, and what the rest of
// tunwall may ask of it.
//
//     packet ── resolve ── found ───────────────────────── tracker ── state, timeout ── hooks go on
//                  └────── none: a new, unconfirmed entry ──┘              └─ confirm (last hook): into the hash
//
// An entry is a number in EntryTable. It lives while it is in the hash or packets hold it (USES): `kill` takes it out
// of the hash, `release` of the last packet frees it. A packet that is dropped before the last hook takes its
// unconfirmed entry with it. Files: hooks.ts says what happens to a packet, trackers/ what each protocol means.

import type { Hook } from '../datapath/hooks.ts'
import type { Host, TrackerLink } from '../datapath/host.ts'
import { CtInfo, type CtTemplate, type Family, type Packet } from '../datapath/packet.ts'
import { isExtension } from '../datapath/wire/ipv6-headers.ts'
import { IPPROTO_GRE, IPPROTO_RAW, IPPROTO_UDP } from '../datapath/wire/protocol.ts'
import { CallIds } from './call-ids.ts'
import { Core } from './core.ts'
import { Events } from './events.ts'
import { Expectations } from './expect.ts'
import { ExpiryWheel } from './expiry.ts'
import { FlowCache } from './flow-cache.ts'
import { HelperRegistry } from './helpers/registry.ts'
import { conntrackHooks } from './hooks.ts'
import { TableLimit } from './limit.ts'
import { LookAhead } from './look-ahead.ts'
import type { Manip, NatRange } from './nat/range.ts'
import { formatStats } from './print.ts'
import { Sequences } from './seqadj.ts'
import { Settings } from './settings.ts'
import { Synproxy } from './synproxy.ts'
import {
  CTMARK,
  EntryTable,
  EVENTS,
  Event,
  EXTENSIONS,
  Extension,
  HELPER,
  infoOf,
  MASTER,
  META,
  noteEvents,
  POLICY_SHIFT,
  SECMARK,
  SINCE,
  STATUS,
  STRIDE,
  Status,
  USES,
  zoneOf,
} from './table.ts'
import { TimeoutPolicies } from './timeouts.ts'
import { TRACKERS } from './trackers/index.ts'
import type { Tracked, Tracker } from './trackers/tracker.ts'
import { cutTupleOf, invert, Tuple, tupleOf } from './tuple.ts'

/** `conntrack -S`, struct ip_conntrack_stat. */
export interface ConntrackStats {
  /** A tuple asked for by NAT was taken. */
  found: number
  invalid: number
  /** Entries made from outside (conntrack -I). */
  insert: number
  insertFailed: number
  drop: number
  earlyDrop: number
  error: number
  searchRestart: number
  clashResolve: number
  chainTooLong: number
}

export type { Helper } from './helpers/helper.ts'

/** NAT, as helpers see it: binds an unconfirmed entry (nf_nat_setup_info). A Verdict. */
export interface NatBinder {
  setupEntry(entry: number, range: NatRange, manip: Manip): number
}

/** What `resolve` answers besides a handle. */
const NONE = -1
const FULL = -2

/** Half of what the word SINCE tells apart from what is to come, ms. */
const LONG_AGO = 0x40000000

export class Conntrack implements TrackerLink {
  readonly host: Host
  readonly table: EntryTable
  /** What trackers ask. */
  readonly core: Core
  readonly events: Events
  readonly helpers: HelperRegistry
  readonly expectations: Expectations
  readonly stats: ConntrackStats = {
    found: 0,
    invalid: 0,
    insert: 0,
    insertFailed: 0,
    drop: 0,
    earlyDrop: 0,
    error: 0,
    searchRestart: 0,
    clashResolve: 0,
    chainTooLong: 0,
  }

  /** An entry is freed: NAT takes it out of its own lists (nf_conntrack_free). */
  onDestroy: ((entry: number) => void) | null = null
  /** Entries are about to be freed: NAT reads what onDestroy() will ask for, see Core.touchEnds(). */
  onTouch: ((entries: Int32Array, count: number) => void) | null = null
  /** An entry got into the hash. */
  onConfirm: ((entry: number) => void) | null = null
  /** Sequence numbers moved by a NAT helper or SYNPROXY. */
  readonly sequences: Sequences
  readonly synproxy: Synproxy
  /** Of PPTP's calls. */
  readonly callIds = new CallIds()
  /** nf_conntrack_max. */
  readonly limit: TableLimit
  /** Timeouts for CT --timeout. */
  readonly policies: TimeoutPolicies
  /** How packets of known connections go. */
  readonly flows: FlowCache
  /** Looks up what is about to be received. */
  readonly ahead: LookAhead
  /** Null until there is NAT. */
  nat: NatBinder | null = null
  readonly #settings: Settings
  readonly #wheel: ExpiryWheel
  readonly #trackers = new Map<number, Tracker>()
  /** By protocol number. Bare functions: a call through them stays cheap, however many kinds there are. */
  readonly #track: ((pkt: Packet, entry: number, dir: number, hook: Hook) => Tracked)[] = []
  readonly #byProtocol: Tracker[] = []
  readonly #users: Record<Family, number> = { 4: 0, 6: 0 }
  readonly #undo: Record<Family, (() => void)[]> = { 4: [], 6: [] }
  readonly #tuple = new Tuple()
  readonly #reply = new Tuple()
  /** Connlabel rules in use (net->ct.labels_used): new entries get labels. */
  #labelUsers = 0

  constructor(host: Host) {
    this.host = host
    this.table = new EntryTable(host.random.i32(), 1024, 262144)
    this.events = new Events(this.table)
    this.expectations = new Expectations(this.table)
    this.sequences = new Sequences(this)
    this.synproxy = new Synproxy(host, this)
    this.policies = new TimeoutPolicies(this.table, host.tunables, (protocol) => this.tracker(protocol))
    this.#wheel = new ExpiryWheel(this.table, (entry) => this.kill(entry))
    this.core = new Core(this, this.#wheel, this.#trackers)
    this.ahead = new LookAhead(host, this)
    this.limit = new TableLimit(this)
    this.#settings = new Settings(this)
    for (const make of TRACKERS) {
      const tracker = make(this.core)
      this.#trackers.set(tracker.protocol, tracker)
    }
    this.flows = new FlowCache(host, this, this.#trackers.get(IPPROTO_UDP)!.datagrams!)
    const generic = this.#trackers.get(IPPROTO_RAW)!
    for (let proto = 0; proto < 256; proto++) {
      const tracker = this.#trackers.get(proto) ?? generic
      this.#byProtocol.push(tracker)
      this.#track.push(tracker.packet)
    }
    this.helpers = new HelperRegistry(this)
    host.tracker = this
  }

  // -- while somebody needs it

  /**
   * Registers the conntrack and defragmentation hooks of a family while somebody needs them (nf_ct_netns_get).
   * Returns the undo, which works once.
   */
  need(family: Family): () => void {
    if (this.#users[family]++ === 0) {
      this.#undo[family] = conntrackHooks(this, family).map((hook) => this.host.hooks.register(hook))
      // Nothing was seen meanwhile: windows have moved (nf_ct_tcp_fixup).
      this.table.forEach((entry) => {
        if ((this.table.words[entry * STRIDE + META]! & 0xff) === family)
          this.trackerOf(entry).resume?.(entry)
      })
    }
    let needed = true
    return () => {
      if (!needed) return
      needed = false
      if (--this.#users[family] > 0) return
      for (const undo of this.#undo[family]) undo()
      this.#undo[family] = []
    }
  }

  isActive(family: Family): boolean {
    return this.#users[family] > 0
  }

  /** A connlabel rule is in use: entries made from now on have labels. Returns the undo. */
  needLabels(): () => void {
    this.#labelUsers++
    let needed = true
    return () => {
      if (needed) this.#labelUsers--
      needed = false
    }
  }

  // -- packets

  /**
   * pkt's XT_CONNTRACK_STATE_* / --ctstate bit: 1 INVALID, 2 ESTABLISHED, 4 RELATED, 8 NEW, 64 UNTRACKED. Hot.
   */
  stateBit(pkt: Packet): number {
    if (pkt.ct >= 0) return 2 << (pkt.ctInfo >= CtInfo.EstablishedReply ? pkt.ctInfo - 3 : pkt.ctInfo)
    return pkt.ctInfo === CtInfo.Untracked ? 64 : 1
  }

  /** Direction of the packet in its connection: 0 original, 1 reply (CTINFO2DIR). */
  direction(pkt: Packet): number {
    return pkt.ctInfo >= CtInfo.EstablishedReply ? 1 : 0
  }

  /** A packet is finished with its entry (nf_conntrack_put): unconfirmed entries die here. Hot. */
  release(pkt: Packet): void {
    const entry = pkt.ct
    pkt.ctInfo = 0
    pkt.ctTemplate = null
    if (entry < 0) return
    pkt.ct = -1
    this.put(entry)
  }

  /** Gives back one use of an entry. */
  put(entry: number): void {
    const w = this.table.words
    const o = entry * STRIDE
    const uses = w[o + USES]! - 1
    w[o + USES] = uses
    if (uses === 0 && (w[o + STATUS]! & (Status.Confirmed | Status.Dying)) !== Status.Confirmed)
      this.#free(entry)
  }

  /** Ties a packet to an entry (nf_ct_set, with a reference taken). */
  hold(pkt: Packet, entry: number, info: number): void {
    this.table.words[entry * STRIDE + USES]!++
    pkt.ct = entry
    pkt.ctInfo = info
  }

  /** A copy of a packet holds its entry too (nf_conntrack_get). */
  share(copy: Packet): void {
    if (copy.ct >= 0) this.table.words[copy.ct * STRIDE + USES]!++
  }

  /** A packet made in answer to another belongs to its connection (nf_conntrack_attach). */
  attach(answer: Packet, cause: Packet): void {
    if (cause.ct < 0) {
      // There is no entry to hold, and yet _nfct is set: NOTRACK and CT pass over the answer, states call it INVALID.
      if (cause.ctInfo === CtInfo.Untracked) answer.ctInfo = CtInfo.Related
      return
    }
    this.hold(answer, cause.ct, this.direction(cause) === 0 ? CtInfo.RelatedReply : CtInfo.Related)
  }

  /** REJECT answers `cause` with a reset: its connection is over (nf_ct_set_closing). */
  closing(cause: Packet): void {
    if (cause.ct < 0 || (this.table.words[cause.ct * STRIDE + STATUS]! & Status.Confirmed) === 0) return
    this.trackerOf(cause.ct).closed?.(cause.ct)
  }

  /** The tuple of a packet as it is now, zone left alone (nf_ct_get_tuple). */
  tupleOf(pkt: Packet, into: Tuple): boolean {
    const { view } = this.host.memory
    if (pkt.family === 6 && isExtension(pkt.proto)) return cutTupleOf(pkt, view, into)
    if (!tupleOf(pkt, view, into)) return false
    if (pkt.proto === IPPROTO_GRE) this.callIds.complete(into)
    return true
  }

  /**
   * Handle (entry * 2 + direction) of the entry of a packet: found, or a new unconfirmed one; then the packet holds
   * it and has its ctInfo (resolve_normal_ct). -1: no tuple, -2: the table is full. Hot.
   */
  resolve(pkt: Packet, template: CtTemplate | null): number {
    const t = this.#tuple
    if (!tupleOf(pkt, this.host.memory.view, t)) return NONE
    if (pkt.proto === IPPROTO_GRE) this.callIds.complete(t)
    t.zone = 0
    let handle: number
    if (template === null) handle = this.absent === pkt ? NONE : this.find(t)
    else handle = this.findZoned(t, pkt, template)
    if (handle < 0) {
      const entry = this.#create(pkt, t, template)
      if (entry < 0) return entry
      handle = entry * 2
    }
    const entry = handle >> 1
    const o = entry * STRIDE
    const w = this.table.words
    w[o + USES]!++
    pkt.ct = entry
    pkt.ctInfo = infoOf(w[o + STATUS]!, handle & 1)
    return handle
  }

  /** A packet that was looked up already, without finding its connection; null none. */
  absent: Packet | null = null
  /** A packet whose tracker has spoken before its hooks ran, null none; it has its entry, though the packet does not show it. */
  judged: Packet | null = null
  /** What the tracker said. */
  judgement: Tracked = 1
  #judgedHandle = -1
  #judgedInfo = 0

  /** The packet holds its entry and the tracker has spoken: the hook takes it from here. */
  judge(pkt: Packet, handle: number, result: Tracked): void {
    this.judged = pkt
    this.judgement = result
    this.#judgedHandle = handle
    this.#judgedInfo = pkt.ctInfo
    pkt.ct = -1
    pkt.ctInfo = 0
  }

  /** As resolve() for a judged packet. */
  takeJudgement(pkt: Packet): number {
    this.judged = null
    pkt.ct = this.#judgedHandle >> 1
    pkt.ctInfo = this.#judgedInfo
    return this.#judgedHandle
  }

  /** The packet has ended; nobody may have taken the judgement. */
  forgetJudgement(pkt: Packet): void {
    if (this.judged !== pkt) return
    this.judged = null
    this.put(this.#judgedHandle >> 1)
  }

  /** nf_conntrack_handle_packet. Hot. */
  track(pkt: Packet, handle: number, hook: Hook): Tracked {
    // By the packet's own protocol: ICMP that NAT moved keeps it.
    return this.#track[pkt.proto]!(pkt, handle >> 1, handle & 1, hook)
  }

  // -- look-ups

  /** Handle of the live entry with the tuple in `t.zone`, or -1. Expired ones met on the way end. Hot. */
  find(t: Tuple): number {
    for (;;) {
      const handle = this.table.find(t)
      if (handle < 0 || !this.core.isOver(handle >> 1)) return handle
      this.kill(handle >> 1)
    }
  }

  /** The look-up with the zone of a template (nf_ct_zone_tmpl); leaves t.zone that of the original direction. */
  findZoned(t: Tuple, pkt: Packet, template: CtTemplate): number {
    const zone = (template.zoneFromMark ? pkt.mark : template.zone) & 0xffff
    const original = (template.zoneDirs & 1) !== 0 ? zone : 0
    const reply = (template.zoneDirs & 2) !== 0 ? zone : 0
    return this.findInZones(t, original, reply)
  }

  /** nf_conntrack_find_get with a zone of its own for each direction; leaves t.zone that of the original one. */
  findInZones(t: Tuple, original: number, reply: number): number {
    t.zone = original
    if (original === reply) return this.find(t)
    let handle = this.#findIn(t, 0)
    if (handle < 0) {
      t.zone = reply
      handle = this.#findIn(t, 1)
      t.zone = original
    }
    return handle
  }

  /** Handle of the live entry with the tuple in the zone of `entry`, or -1; t.zone changes (nf_conntrack_find_get). */
  findBeside(t: Tuple, entry: number): number {
    const w = this.table.words
    for (let dir = 0; dir < 2; dir++) {
      t.zone = zoneOf(w, entry * STRIDE, dir)
      const handle = this.#findIn(t, dir)
      if (handle >= 0) return handle
    }
    return -1
  }

  #findIn(t: Tuple, dir: number): number {
    for (;;) {
      const handle = this.table.findIn(t, dir)
      if (handle < 0 || !this.core.isOver(handle >> 1)) return handle
      this.kill(handle >> 1)
    }
  }

  /**
   * Whether an entry other than `ignored` has the tuple, which is to be the reply of `ignored`
   * (nf_conntrack_tuple_taken). One with the same original tuple does not count: confirm settles that.
   */
  isTaken(reply: Tuple, ignored: number): boolean {
    return this.taker(reply, ignored) >= 0
  }

  /** The handle that makes isTaken true, -1 none. `reply.zone` is set from `ignored`. */
  taker(reply: Tuple, ignored: number): number {
    const { table } = this
    reply.zone = zoneOf(table.words, ignored * STRIDE, 1)
    const hash = table.hashOf(reply)
    for (let at = table.firstPlace(hash); at >= 0; ) {
      const handle = table.handleAt(at)
      const entry = handle >> 1
      if (entry !== ignored && table.sameTuple(reply, handle)) {
        if (this.core.isOver(entry)) {
          at = this.kill(entry) ? table.firstPlace(hash) : table.nextPlace(hash, at)
          continue
        }
        const w = table.words
        const zone = zoneOf(w, entry * STRIDE, handle & 1)
        if (
          zone === reply.zone &&
          zone === zoneOf(w, ignored * STRIDE, handle & 1) &&
          !table.equalTuples(entry, 0, ignored, 0)
        ) {
          this.stats.found++
          return handle
        }
      }
      at = table.nextPlace(hash, at)
    }
    return -1
  }

  // -- entries

  /** Sets the tuple of the answers, before confirmation (nf_conntrack_alter_reply). The zone stays. */
  alterReply(entry: number, reply: Tuple): void {
    reply.zone = zoneOf(this.table.words, entry * STRIDE, 1)
    this.table.setTuple(entry, 1, reply)
  }

  tracker(protocol: number): Tracker {
    return this.#byProtocol[protocol & 0xff]!
  }

  trackerOf(entry: number): Tracker {
    return this.#byProtocol[(this.table.words[entry * STRIDE + META]! >> 8) & 0xff]!
  }

  /** Remaining time, seconds, rounded down as the kernel prints (nf_ct_expires). */
  remaining(entry: number): number {
    const confirmed = (this.table.words[entry * STRIDE + STATUS]! & Status.Confirmed) !== 0
    const ms = this.table.expiresAt(entry) - (confirmed ? this.host.now : 0)
    return ms > 0 ? Math.floor(ms / 1000) : 0
  }

  /** ctmark, unsigned. */
  mark(entry: number): number {
    return this.table.words[entry * STRIDE + CTMARK]! >>> 0
  }

  setMark(entry: number, value: number): void {
    const w = this.table.words
    const o = entry * STRIDE
    if (w[o + CTMARK] === (value | 0)) return
    w[o + CTMARK] = value
    noteEvents(w, o, Event.Mark)
  }

  /** Packets of a direction, -1 if the entry was made without nf_conntrack_acct. */
  packets(entry: number, dir: number): number {
    return this.core.counts(entry) ? this.table.acct[entry * 4 + dir * 2]! : -1
  }

  /** Bytes of a direction, -1 if the entry was made without nf_conntrack_acct. */
  bytes(entry: number, dir: number): number {
    return this.core.counts(entry) ? this.table.acct[entry * 4 + dir * 2 + 1]! : -1
  }

  /** Counters back to nothing (conntrack -L -z). */
  zeroAcct(entry: number): void {
    this.table.clearAcct(entry)
  }

  /** Wall clock of the entry's beginning, ms since 1970; -1 if it was made without nf_conntrack_timestamp. */
  startedAt(entry: number): number {
    if ((this.table.words[entry * STRIDE + EXTENSIONS]! & Extension.Timestamp) === 0) return -1
    return this.host.wall - (this.host.now - this.table.born[entry]!)
  }

  /** `use=`: the hash, packets and expected entries that hold it. */
  references(entry: number): number {
    return 1 + this.table.words[entry * STRIDE + USES]!
  }

  /**
   * Ends an entry (nf_ct_delete). False if it was ending already. `report`: number of the program that wants it, 0
   * none.
   */
  kill(entry: number, report = 0): boolean {
    const w = this.table.words
    const o = entry * STRIDE
    const status = w[o + STATUS]!
    if ((status & Status.Dying) !== 0) return false
    if (this.events.listening) this.events.report(entry, Event.Destroy, report)
    w[o + STATUS] = status | Status.Dying
    if (w[o + HELPER] !== 0) {
      // Held, so that the end of the last connection that it expected does not free it here.
      w[o + USES]!++
      this.helpers.of(entry)!.destroy?.(entry)
      w[o + USES]!--
    }
    this.expectations.removeOf(entry)
    if ((status & Status.Confirmed) !== 0) {
      this.table.remove(entry)
      this.#wheel.remove(entry)
      if (w[o + USES] === 0) this.#free(entry)
    }
    return true
  }

  /** What `conntrack -S` prints. */
  statistics(): string {
    return formatStats(this)
  }

  /** Ends every entry (conntrack -F). */
  flush(report = 0): void {
    this.table.forEach((entry) => {
      this.kill(entry, report)
      this.host.condResched()
    })
  }

  /** conntrack -L would list it. */
  isListed(entry: number): boolean {
    const status = this.table.words[entry * STRIDE + STATUS]!
    return (
      (status & (Status.Confirmed | Status.Dying | Status.NatClash)) === Status.Confirmed &&
      !this.core.isOver(entry)
    )
  }

  /** Calls `each` for every listed entry, in slab order; entries may be ended meanwhile. What has expired ends. */
  forEach(each: (entry: number) => void): void {
    this.table.forEach((entry) => {
      if (this.core.isOver(entry)) this.kill(entry)
      else if ((this.table.words[entry * STRIDE + STATUS]! & Status.NatClash) === 0) each(entry)
    })
  }

  /** net.netfilter.nf_conntrack_count: entries, those of packets on the way included, expired ones not. */
  get count(): number {
    let expired = 0
    this.table.forEach((entry) => {
      if (this.core.isOver(entry)) expired++
    })
    return this.table.used - expired
  }

  /**
   * Ends what has expired; bounded work per call. Called by the driver with host.now set, ten times a second or
   * more. True: more is due, call again when there is time.
   */
  tick(): boolean {
    this.expectations.expire(this.host.now)
    const relieving = this.limit.tick()
    return this.#wheel.sweep(this.host.now) || relieving
  }

  // -- making and freeing

  /** init_conntrack. The entry, not yet in the hash; NONE if nothing can answer it, FULL. */
  #create(pkt: Packet, t: Tuple, template: CtTemplate | null): number {
    const r = this.#reply
    if (!invert(t, r)) return NONE
    const { table, expectations } = this
    if (!this.limit.hasRoom(t)) {
      this.limit.refused()
      return FULL
    }
    const entry = table.create()
    let zone = 0
    if (template !== null) {
      zone = (template.zoneFromMark ? pkt.mark : template.zone) & 0xffff
      r.zone = (template.zoneDirs & 2) !== 0 ? zone : 0
    }
    table.setTuple(entry, 0, t)
    table.setTuple(entry, 1, r)
    table.born[entry] = this.host.now
    const w = table.words
    const o = entry * STRIDE
    w[o + SINCE] = this.host.now
    let extensions = this.#extend(entry)
    if (template !== null) {
      if (template.timeoutPolicy !== null)
        extensions |= this.policies.number(template.timeoutPolicy) << POLICY_SHIFT
      if (template.ctevents !== null || template.expevents !== null) {
        extensions |= Extension.Events
        table.setExtra(entry, EVENTS, ((template.ctevents ?? 0) & 0xffff) | ((template.expevents ?? 0) << 16))
      }
    }
    w[o + EXTENSIONS] = extensions
    if (template?.synproxy === true) this.synproxy.begin(entry)
    const expected = expectations.count === 0 ? null : expectations.take(t, zone, this.host.now)
    if (expected !== null) {
      const master = expected.master * STRIDE
      w[o + STATUS] = Status.Expected
      w[o + MASTER] = expected.master + 1
      w[master + USES]!++
      w[o + HELPER] = expected.helper
      w[o + CTMARK] = w[master + CTMARK]!
      table.setExtra(entry, SECMARK, table.extraOf(expected.master, SECMARK))
      expected.onMatch?.(entry, expected)
    } else if (template !== null && template.helper !== null) {
      w[o + HELPER] = this.helpers.number(template.helper, pkt.family, pkt.proto)
      if (w[o + HELPER] !== 0) w[o + STATUS] = Status.Helper
    }
    return entry
  }

  /** Extension bits that a new entry has by the settings of now. */
  #extend(entry: number): number {
    let extensions = 0
    if (this.#settings.acct) {
      extensions |= Extension.Acct
      this.table.clearAcct(entry)
    }
    if (this.#settings.timestamps) extensions |= Extension.Timestamp
    if (this.#labelUsers > 0) extensions |= Extension.Labels
    if (this.#wantEvents()) extensions |= Extension.Events
    return extensions
  }

  /** nf_ct_ecache_ext_add: by nf_conntrack_events, 2 only while somebody listens. */
  #wantEvents(): boolean {
    const { events } = this.#settings
    return events === 1 || (events === 2 && this.events.listening)
  }

  /** An entry that a program wants, not yet in the hash (ctnetlink_create_conntrack); -1 if the table is full. */
  createEntry(original: Tuple, reply: Tuple): number {
    const { table } = this
    if (!this.limit.hasRoom(original)) return -1
    const entry = table.create()
    table.setTuple(entry, 0, original)
    table.setTuple(entry, 1, reply)
    table.born[entry] = this.host.now
    const o = entry * STRIDE
    // It began before its first packet: proto.udp.stream_ts is 0.
    table.words[o + SINCE] = this.host.now - LONG_AGO
    table.words[o + EXTENSIONS] = this.#extend(entry)
    return entry
  }

  /** Gives up an entry of createEntry that did not get into the hash. */
  abandon(entry: number): void {
    this.#free(entry)
  }

  /** Puts an unconfirmed entry into the hash (__nf_conntrack_confirm's end). `both`: false for a clashing one. */
  insert(entry: number, both: boolean): void {
    const { table } = this
    if (both) table.insert(entry)
    else table.insertReply(entry)
    table.words[entry * STRIDE + STATUS]! |= Status.Confirmed
    this.#wheel.add(entry, this.host.now)
    const w = table.words
    const o = entry * STRIDE
    noteEvents(
      w,
      o,
      (w[o + MASTER] !== 0 ? Event.Related : Event.New) | (w[o + HELPER] !== 0 ? Event.Helper : 0),
    )
    if (both) this.onConfirm?.(entry)
  }

  #free(entry: number): void {
    const w = this.table.words
    const o = entry * STRIDE
    // An unconfirmed entry was not killed, so that expectations of its first packet are still there.
    if (this.expectations.count !== 0) this.expectations.removeOf(entry)
    this.onDestroy?.(entry)
    if ((w[o + STATUS]! & Status.SeqAdjust) !== 0) this.sequences.forget(entry)
    this.synproxy.forget(entry)
    if (w[o + HELPER] !== 0) this.helpers.of(entry)!.forget?.(entry)
    const master = w[o + MASTER]! - 1
    if (master >= 0 && w[o + META]! >> 8 === IPPROTO_GRE) this.callIds.forget(master)
    w[o + STATUS] = Status.Dying
    this.table.destroy(entry)
    if (master >= 0) this.put(master)
  }
}
