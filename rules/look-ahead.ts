// Looking rules up ahead: packets of a batch that begin connections will ask the indexes of long chains, whose rules and
// chains no packet has met for long. What they will ask for is brought into the processor's caches for many packets at a
// time, where each would wait for one after the other.
//
//     frames ─ look-up ─▶ first rule that may fit ─▶ its values, the chain it jumps to
//       ─▶ that chain's values ─▶ its first counters, and the chain that chance will choose from there
//         ─▶ that chain's values ─▶ its first counters
//
// A pass for each arrow, as in conntrack/look-ahead.ts. Nothing is counted, drawn or changed by it; a packet that goes
// elsewhere (translated before, dropped) has cost the look-up, and what it leaves undrawn others find changed.

import { HINT_NEW } from '../conntrack/look-ahead.ts'
import type { Host } from '../datapath/host.ts'
import { Packet } from '../datapath/packet.ts'
import { IPV4_DST, IPV4_HEADER_LEN, IPV4_PROTOCOL, IPV4_SRC } from '../datapath/wire/ipv4.ts'
import { CALLEE, CODE_FIELDS, type IndexWalk, VALUES } from './compile/indexed.ts'
import type { Callable, Foreseen } from './compile/rule.ts'
import type { Fields } from './compile/shapes.ts'

/** Rules from which on an index does not stay in the caches by itself. */
const LARGE = 1024
/** Packets from which on they gain by waiting together. */
const ENOUGH = 4

export class RuleLookAhead {
  readonly #host: Host
  /** IPv4 indexes that are worth it, by their chains. */
  readonly #walks = new Map<object, IndexWalk>()
  #list: IndexWalk[] = []
  readonly #pkt = new Packet()
  /** Of the packets that begin connections: where their frames begin, the slot, the chain behind it. */
  #frames = new Int32Array(256)
  #slots = new Int32Array(256)
  readonly #callees: (Callable | null)[] = []
  /** What that chain's code is called with. */
  readonly #values: (Fields | null)[] = []
  readonly #foreseen: Foreseen = { callee: null, counters: 0 }
  /** Somebody has to want what is read, or V8 would not read it. */
  touched = 0

  constructor(host: Host) {
    this.#host = host
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
    }
    const frames = this.#frames
    let found = 0
    for (let i = 0; i < count; i++) if (hints[i] === HINT_NEW) frames[found++] = offsets[i]!
    return found
  }

  #touch(walk: IndexWalk, count: number): void {
    const { view } = this.#host.memory
    const frames = this.#frames
    const slots = this.#slots
    const callees = this.#callees
    const values = this.#values
    const pkt = this.#pkt
    const { codes, seek } = walk
    let touched = 0
    for (let i = 0; i < count; i++) {
      const l3 = frames[i]!
      pkt.proto = view.getUint8(l3 + IPV4_PROTOCOL)
      pkt.s0 = view.getInt32(l3 + IPV4_SRC)
      pkt.d0 = view.getInt32(l3 + IPV4_DST)
      pkt.sport = view.getUint16(l3 + IPV4_HEADER_LEN)
      pkt.dport = view.getUint16(l3 + IPV4_HEADER_LEN + 2)
      slots[i] = seek(pkt)
    }
    for (let i = 0; i < count; i++) {
      const at = slots[i]! * CODE_FIELDS
      callees[i] = at < 0 ? null : (codes[at + CALLEE] as Callable | null)
      if (at < 0) continue
      if ((codes[at + VALUES] as Fields).near()) touched++
    }
    touched += this.#touchChains(count)
    this.#foresee(count)
    for (let i = 0; i < count; i++) {
      const k = values[i]!
      if (k !== null && k.n0 !== undefined && k.n0.records[slots[i]!]! < 0) touched++
    }
    touched += this.#touchChains(count)
    // Chains may end before the next batch.
    for (let i = 0; i < count; i++) callees[i] = values[i] = null
    this.touched = touched
  }

  /**
   * Puts the chains that chance leads to in place of those in #callees, null where that is not known, and into #slots where
   * the rules count that lead to them.
   */
  #foresee(count: number): void {
    const callees = this.#callees
    const to = this.#foreseen
    this.#host.dice.look()
    for (let i = 0; i < count; i++) {
      const callee = callees[i]!
      to.callee = null
      to.counters = 0
      callee?.foresee?.(callee.k, to)
      callees[i] = to.callee
      this.#slots[i] = to.counters
    }
    to.callee = null
  }

  /** The values of the chains in #callees, into #values, and their first counters. */
  #touchChains(count: number): number {
    const callees = this.#callees
    const values = this.#values
    let touched = 0
    for (let i = 0; i < count; i++) {
      const callee = callees[i]!
      values[i] = callee === null ? null : callee.k
    }
    for (let i = 0; i < count; i++) if (values[i]?.near() === true) touched++
    for (let i = 0; i < count; i++) {
      const k = values[i]!
      if (k !== null && k.n1 !== undefined && k.n0!.records[k.n1]! < 0) touched++
    }
    return touched
  }
}
