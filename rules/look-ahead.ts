// Looking rules up ahead: packets of a batch that begin connections will ask the indexes of long chains, whose rules and
// chains no packet has met for long. What they will ask for is brought into the processor's caches for many packets at a
// time, where each would wait for one after the other.
//
//     frames ─ look-up ─▶ first rule that may fit ─▶ its words, the chain it jumps to
//       ─▶ that chain's words ─▶ its first counters, and the chain that chance will choose from there
//         ─▶ that chain's words ─▶ its first counters, and what NAT will ask (conntrack/nat/look-ahead.ts)
//
// A pass for each arrow and more, as in conntrack/look-ahead.ts: the less stands between two reads, the more of them the
// processor does at once, so what is reckoned stands in passes of its own. Nothing is counted, drawn or changed by it; a
// packet that goes elsewhere (translated before, dropped) has cost the look-up, and what it leaves undrawn others find
// changed.

import { LINE_WORDS } from '../conntrack/cache-lines.ts'
import { HINT_NEW } from '../conntrack/look-ahead.ts'
import type { NatLookAhead } from '../conntrack/nat/look-ahead.ts'
import type { Host } from '../datapath/host.ts'
import { Packet } from '../datapath/packet.ts'
import { IPV4_DST, IPV4_HEADER_LEN, IPV4_PROTOCOL, IPV4_SRC } from '../datapath/wire/ipv4.ts'
import { type Codes, type Foreseen, LATER, NO_CHAIN } from './compile/codes.ts'
import { CALLEE, type IndexWalk, K, RULE_WORDS } from './compile/indexed.ts'
import { RECORD, type Records } from './slots.ts'

/** Rules from which on an index does not stay in the caches by itself. */
const LARGE = 1024
/** Packets from which on they gain by waiting together. */
const ENOUGH = 4
/** Lines of words that are read for a packet, on average at most; of chains with many rules the first ones. */
const LINES = 4

export class RuleLookAhead {
  readonly #host: Host
  readonly #nat: NatLookAhead
  /** IPv4 indexes that are worth it, by their chains. */
  readonly #walks = new Map<object, IndexWalk>()
  #list: IndexWalk[] = []
  readonly #pkt = new Packet()
  /** Of the packets that begin connections: where their frames begin, the slot, the chain behind it. */
  #frames = new Int32Array(256)
  #slots = new Int32Array(256)
  /** Of each what it is looked up by. */
  #hashes = new Int32Array(256)
  /** The function of that chain or rule, and what it is called with. */
  #functions = new Int32Array(256)
  #places = new Int32Array(256)
  /** What is read together, by its place in an array. */
  #lines = new Int32Array(256 * LINES)
  /** The chain that a rule goes to. */
  #callees = new Int32Array(256)
  readonly #foreseen: Foreseen = { callee: NO_CHAIN, counters: 0, bound: false, address: 0, port: 0 }
  /** Somebody has to want what is read, or V8 would not read it. */
  touched = 0

  constructor(host: Host, nat: NatLookAhead) {
    this.#host = host
    this.#nat = nat
  }

  /** Indexes that are looked up ahead. */
  get size(): number {
    return this.#list.length
  }

  /** The chain has this index from now on; null: none. */
  set(chain: object, walk: IndexWalk | null): void {
    const old = this.#walks.get(chain)
    const wanted = walk !== null && walk.rules >= LARGE ? walk : undefined
    if (old === wanted) return
    if (wanted === undefined) this.#walks.delete(chain)
    else this.#walks.set(chain, wanted)
    this.#list = [...this.#walks.values()]
  }

  /** `offsets`: first bytes of the frames in frame memory. `hints`: of each, what conntrack's look-ahead says. Hot: does not allocate. */
  batch(offsets: Int32Array, hints: Int32Array, count: number): void {
    if (this.#list.length === 0) return
    const found = this.#gather(offsets, hints, count)
    if (found < ENOUGH) return
    for (const walk of this.#list) this.#touch(walk, found)
  }

  /** Frames with ports that begin connections, into #frames. */
  #gather(offsets: Int32Array, hints: Int32Array, count: number): number {
    if (count > this.#frames.length) {
      this.#frames = new Int32Array(count)
      this.#slots = new Int32Array(count)
      this.#functions = new Int32Array(count)
      this.#places = new Int32Array(count)
      this.#callees = new Int32Array(count)
      this.#lines = new Int32Array(count * LINES)
    }
    const frames = this.#frames
    let found = 0
    for (let i = 0; i < count; i++) if (hints[i] === HINT_NEW) frames[found++] = offsets[i]!
    return found
  }

  #touch(walk: IndexWalk, count: number): void {
    const slots = this.#slots
    const callees = this.#callees
    const functions = this.#functions
    const places = this.#places
    const lines = this.#lines
    const { codes, ruleWords, hash, seek, tables, orders, store, base } = walk
    const stride = tables.length
    if (count * stride > this.#hashes.length) this.#hashes = new Int32Array(count * stride)
    const hashes = this.#hashes
    for (let i = 0; i < count; i++) hash(this.#packet(i), hashes, i * stride)
    for (let t = 0; t < stride; t++) {
      const { cells, wrap } = tables[t]!
      for (let i = 0, h = t; i < count; i++, h += stride) lines[i] = (hashes[h]! << 1) & wrap
      this.#read(cells, count)
    }
    for (let i = 0; i < count; i++) slots[i] = seek(hashes, i * stride)
    for (let i = 0; i < count; i++) lines[i] = Math.max(slots[i]!, 0) * RULE_WORDS
    this.#read(ruleWords, count)
    for (let i = 0; i < count; i++) lines[i] = Math.max(slots[i]!, 0)
    this.#readDoubles(orders, count)
    for (let i = 0; i < count; i++) lines[i] = base + Math.max(slots[i]!, 0) * RECORD
    this.#readDoubles(store.records, count)
    for (let i = 0; i < count; i++) {
      const at = slots[i]! * RULE_WORDS
      functions[i] = at < 0 ? LATER : ruleWords[at]!
      places[i] = at < 0 ? 0 : ruleWords[at + K]!
      callees[i] = at < 0 ? NO_CHAIN : ruleWords[at + CALLEE]!
    }
    this.#touchWords(codes, count)
    this.#touchChains(codes, count)
    this.#foresee(codes, count)
    this.#touchCounters(codes, slots, count)
    this.#touchChains(codes, count)
    this.#touchReplies(codes, count)
  }

  /** The frame's packet, as far as indexes ask. */
  #packet(i: number): Packet {
    const { view } = this.#host.memory
    const pkt = this.#pkt
    const l3 = this.#frames[i]!
    pkt.proto = view.getUint8(l3 + IPV4_PROTOCOL)
    pkt.s0 = view.getInt32(l3 + IPV4_SRC)
    pkt.d0 = view.getInt32(l3 + IPV4_DST)
    pkt.sport = view.getUint16(l3 + IPV4_HEADER_LEN)
    pkt.dport = view.getUint16(l3 + IPV4_HEADER_LEN + 2)
    return pkt
  }

  /** What NAT will ask, if the chains in #callees send packets where they seem to. */
  #touchReplies(codes: Codes, count: number): void {
    const nat = this.#nat
    const to = this.#foreseen
    const { foresees } = codes
    nat.begin(count)
    for (let i = 0; i < count; i++) {
      const pkt = this.#packet(i)
      to.bound = false
      foresees[this.#functions[i]!]?.(this.#places[i]!, to)
      const d0 = to.bound ? to.address : pkt.d0
      const dport = to.bound && to.port >= 0 ? to.port : pkt.dport
      nat.add(pkt.s0, pkt.sport, d0, dport, pkt.proto)
    }
    nat.touch()
  }

  /**
   * Puts the chains that chance leads to in place of those in #callees, NO_CHAIN where that is not known, and into #slots
   * where the rules count that lead to them.
   */
  #foresee(codes: Codes, count: number): void {
    const to = this.#foreseen
    const { foresees } = codes
    this.#host.dice.look()
    for (let i = 0; i < count; i++) {
      to.callee = NO_CHAIN
      to.counters = 0
      foresees[this.#functions[i]!]?.(this.#places[i]!, to)
      this.#callees[i] = to.callee
      this.#slots[i] = to.counters
    }
  }

  /** The code of the chains in #callees, into #functions and #places; their words, and their first counters. */
  #touchChains(codes: Codes, count: number): void {
    const callees = this.#callees
    const functions = this.#functions
    const places = this.#places
    const lines = this.#lines
    const { heads, words } = codes
    for (let i = 0; i < count; i++) lines[i] = Math.max(callees[i]!, 0) * 2
    this.#read(heads, count)
    for (let i = 0; i < count; i++) {
      const at = callees[i]! * 2
      const fn = at < 0 ? LATER : heads[at]!
      functions[i] = fn
      // What has no code yet has no words.
      places[i] = fn === LATER ? 0 : heads[at + 1]!
    }
    this.#touchWords(codes, count)
    const first = this.#slots
    for (let i = 0; i < count; i++) first[i] = words[places[i]!]!
    this.#touchCounters(codes, first, count)
  }

  /** What the functions are called with. */
  #touchWords({ words, sizes }: Codes, count: number): void {
    const functions = this.#functions
    const places = this.#places
    const lines = this.#lines
    // The first line of each has its place.
    const most = lines.length - count
    let found = 0
    for (let i = 0; i < count; i++) {
      const from = places[i]!
      const end = from + sizes[functions[i]!]!
      lines[found++] = from
      for (let at = from + LINE_WORDS; at < end && found < most; at += LINE_WORDS) lines[found++] = at
    }
    this.#read(words, found)
  }

  /** Where rules of the functions count. */
  #touchCounters({ counts }: Codes, places: Int32Array, count: number): void {
    const functions = this.#functions
    const lines = this.#lines
    // Short chains share their records, so that nearly all are in one array.
    let most: Records | null = null
    for (let i = 0; i < count; i++) {
      const of = counts[functions[i]!]!
      most ??= of
      lines[i] = of !== null && of === most ? places[i]! : 0
    }
    if (most !== null) this.#readDoubles(most.records, count)
  }

  /** Reads the words in #lines: with so little between two of them, the processor waits for many at a time. */
  #read(words: Int32Array, count: number): void {
    const lines = this.#lines
    let read = 0
    let at = 0
    for (const stop = count - 3; at < stop; at += 4) {
      read |= words[lines[at]!]!
      read |= words[lines[at + 1]!]!
      read |= words[lines[at + 2]!]!
      read |= words[lines[at + 3]!]!
    }
    for (; at < count; at++) read |= words[lines[at]!]!
    this.touched = read
  }

  /** The same of doubles. */
  #readDoubles(doubles: Float64Array, count: number): void {
    const lines = this.#lines
    let read = 0
    let at = 0
    for (const stop = count - 3; at < stop; at += 4) {
      read += doubles[lines[at]!]!
      read += doubles[lines[at + 1]!]!
      read += doubles[lines[at + 2]!]!
      read += doubles[lines[at + 3]!]!
    }
    for (; at < count; at++) read += doubles[lines[at]!]!
    this.touched = read < 0 ? 1 : 0
  }
}
