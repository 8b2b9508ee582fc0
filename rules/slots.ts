// The rules of one chain in force. Each has a slot of its own for as long as it stays, whatever is put before it or
// taken away: counters, state and code refer to slots, so that an edit costs what it changes.
//
//     position  0  1  2  3 …         as the chain reads
//     at       [4, 0, 1, 7 …]        slot of each position
//     records  [packets, bytes] …     by slot, from `base`
//     orders   [0, 3, 1, 2 …]         by slot: labels, ascending along the chain; there once somebody asked
//
// A chain that was written from its start to its end is straight: its slots are its positions. Most chains are, and
// share what says so. Chains of few rules share an array of records, too.

import { alignedDoubles, LINE_DOUBLES } from '../conntrack/cache-lines.ts'
import { type Counted, newCountedId } from '../conntrack/ways.ts'
import type { StateHolders } from './compile/rule.ts'
import type { Rule } from './model.ts'
import { Rooms } from './rooms.ts'

export interface Removed {
  readonly slot: number
  readonly rule: Rule
  readonly states: StateHolders | null
}

/** What an edit did, by slot, each in the order of the chain. */
export interface SlotEdit {
  readonly removed: readonly Removed[]
  readonly added: readonly number[]
}

/** Numbers of a record. */
export const RECORD = 2
export const PACKETS = 0
export const BYTES = 1

/** Chains of more slots have records of their own: so have those whose code is cut into pieces, which know where they are. */
const MOST_POOLED = 64
const FEWEST = 8

const NO_RULES: readonly Rule[] = []
const NO_STATES: readonly (StateHolders | null)[] = []
const NONE_REMOVED: readonly Removed[] = []

/** Records of one chain or of many. `records` is another array once it has grown. */
export interface Records {
  records: Float64Array
}

const NO_RECORDS: Records = { records: new Float64Array(0) }

/** The records of a table's short chains, each in a room of its own. */
export class RecordPool implements Records {
  records = alignedDoubles(1024)
  readonly #rooms = new Rooms(LINE_DOUBLES, RECORD)

  /** Room for that many slots, zeroed: the index of its first number. */
  take(slots: number): number {
    const size = slots * RECORD
    const base = this.#rooms.take(size)
    const { end } = this.#rooms
    if (end > this.records.length) {
      const records = alignedDoubles(end * 2)
      records.set(this.records)
      this.records = records
    }
    return base
  }

  give(base: number, slots: number): void {
    if (slots === 0) return
    const size = slots * RECORD
    this.records.fill(0, base, base + size)
    this.#rooms.give(base, size)
  }
}

/** 0, 1, 2 … for all straight chains; a longer one when one of them needs it. */
let positions = Int32Array.from({ length: 1024 }, (_, i) => i)

function positionsTo(count: number): Int32Array {
  if (count > positions.length) positions = Int32Array.from({ length: roomFor(count) }, (_, i) => i)
  return positions
}

/** Counts from 0, shared by all who ask. */
const upTo: (readonly number[])[] = []

function range(from: number, to: number): readonly number[] {
  if (from > 0 || to > MOST_POOLED) return Array.from({ length: to - from }, (_, i) => from + i)
  while (upTo.length <= to) upTo.push(Array.from({ length: upTo.length }, (_, i) => i))
  return upTo[to]!
}

export class RuleSlots implements Counted {
  readonly id = newCountedId()
  /** By position; the array of the chain's model. */
  rules: readonly Rule[] = NO_RULES
  /** By slot. Of a straight chain these are `rules`. */
  bySlot: readonly (Rule | null)[] = NO_RULES
  /** By position; the room behind the last rule means nothing. */
  at: Int32Array = positions
  /** Its records, and where those of slot 0 begin: both are others once the chain is too long for the pool. */
  store: Records = NO_RECORDS
  base = 0
  /** Null: nobody has asked for the order of slots. */
  #orders: Float64Array | null = null
  readonly #pool: RecordPool
  /** Slots that there is room for. */
  #capacity = 0
  #states = NO_STATES
  /** Null: the chain is straight. */
  #free: number[] | null = null

  constructor(pool: RecordPool) {
    this.#pool = pool
  }

  /** Packets that fitted the rule in a slot. */
  tally(slot: number, packets: number, bytes: number): void {
    this.setCounters(slot, this.packetsOf(slot) + packets, this.bytesOf(slot) + bytes)
  }

  setCounters(slot: number, packets: number, bytes: number): void {
    const at = this.base + slot * RECORD
    this.store.records[at + PACKETS] = packets
    this.store.records[at + BYTES] = bytes
  }

  packetsOf(slot: number): number {
    return this.store.records[this.base + slot * RECORD + PACKETS]!
  }

  bytesOf(slot: number): number {
    return this.store.records[this.base + slot * RECORD + BYTES]!
  }

  /** Labels of slots, ascending along the chain. An edit may change them, or the array. */
  get orders(): Float64Array {
    if (this.#orders === null) {
      this.#orders = new Float64Array(roomFor(this.bySlot.length))
      this.#labelAll(this.#orders)
    }
    return this.#orders
  }

  /** Null: the rule there has none. */
  statesOf(slot: number): StateHolders | null {
    return this.#states[slot] ?? null
  }

  get count(): number {
    return this.rules.length
  }

  /**
   * Puts new rules in force. Those that are `kept` at both ends keep slot, counters and state; those between that are there
   * again keep their counters.
   */
  replace(
    rules: readonly Rule[],
    [head, tail]: Kept,
    makeStates: (rule: Rule) => StateHolders | null,
  ): SlotEdit {
    const old = this.rules
    const leaving = old.length - tail - head
    const coming = rules.length - tail - head
    const counted = leaving > 0 && coming > 0 ? this.#countersOf(head, leaving) : null
    const removed = leaving === 0 ? NONE_REMOVED : this.#removedOf(head, leaving)
    const added =
      tail === 0 && (head === 0 || this.#free === null)
        ? this.#straightened(rules, head)
        : this.#edit(rules, head, leaving, coming)
    for (const slot of added) {
      const rule = this.bySlot[slot]!
      const states = makeStates(rule)
      if (states !== null || this.#states.length > slot) this.#setStates(slot, states)
      const before = counted?.get(rule)
      this.setCounters(slot, before?.packets ?? 0, before?.bytes ?? 0)
    }
    if (this.#orders !== null) this.#label(this.#ordersOfAll(this.#orders), head, rules.length - tail)
    return { removed, added }
  }

  /** The chain is gone: its records are others' from now on. */
  release(): void {
    if (this.store === this.#pool) this.#pool.give(this.base, this.#capacity)
    // Functions that are kept for more code of their shape hold on to it.
    else this.store.records = NO_RECORDS.records
    this.store = NO_RECORDS
    this.#capacity = 0
    this.#orders = null
  }

  /** The first rules of a chain, where there is no account to give: its records are zeros. `makeStates`: null if none has any. */
  fill(rules: readonly Rule[], makeStates: ((rule: Rule, slot: number) => StateHolders | null) | null): void {
    this.#straighten(rules, 0)
    if (makeStates === null) return
    for (let slot = 0; slot < rules.length; slot++) {
      const states = makeStates(rules[slot]!, slot)
      if (states !== null || this.#states.length > slot) this.#setStates(slot, states)
    }
  }

  /** What rules that may come again have counted. */
  #countersOf(head: number, leaving: number): Map<Rule, { packets: number; bytes: number }> {
    const counted = new Map<Rule, { packets: number; bytes: number }>()
    for (let i = head; i < head + leaving; i++) {
      const slot = this.at[i]!
      counted.set(this.rules[i]!, { packets: this.packetsOf(slot), bytes: this.bytesOf(slot) })
    }
    return counted
  }

  #removedOf(head: number, leaving: number): Removed[] {
    const removed: Removed[] = []
    for (let i = head; i < head + leaving; i++) {
      const slot = this.at[i]!
      removed.push({ slot, rule: this.rules[i]!, states: this.statesOf(slot) })
    }
    return removed
  }

  #straightened(rules: readonly Rule[], head: number): readonly number[] {
    this.#straighten(rules, head)
    return range(head, rules.length)
  }

  /** The chain's rules from `head` on are new: each gets its position for a slot. */
  #straighten(rules: readonly Rule[], head: number): void {
    if (head === 0) {
      this.#free = null
      this.#states = NO_STATES
    }
    this.rules = this.bySlot = rules
    this.at = positionsTo(rules.length)
    this.#reserve(rules.length)
  }

  /** Rules change between others: those that come get slots that are free. */
  #edit(rules: readonly Rule[], head: number, leaving: number, coming: number): number[] {
    const before = this.rules.length
    if (this.#free === null) {
      this.#free = []
      this.at = this.at.slice(0, roomFor(before))
      this.bySlot = this.rules.slice()
    }
    const free = this.#free
    const bySlot = this.bySlot as (Rule | null)[]
    for (let i = head; i < head + leaving; i++) {
      const slot = this.at[i]!
      bySlot[slot] = null
      if (this.#states.length > slot) this.#setStates(slot, null)
      free.push(slot)
    }
    this.#shift(before, head, before - head - leaving, rules.length)
    const added: number[] = []
    for (let i = head; i < head + coming; i++) {
      const slot = free.pop() ?? bySlot.push(null) - 1
      bySlot[slot] = rules[i]!
      this.at[i] = slot
      added.push(slot)
    }
    this.bySlot = bySlot
    this.rules = rules
    this.#reserve(bySlot.length)
    return added
  }

  #setStates(slot: number, states: StateHolders | null): void {
    if (this.#states === NO_STATES) this.#states = []
    const all = this.#states as (StateHolders | null)[]
    while (all.length <= slot) all.push(null)
    all[slot] = states
  }

  /** Makes room between the ends that stay. */
  #shift(before: number, head: number, tail: number, after: number): void {
    if (after > this.at.length) {
      const room = new Int32Array(roomFor(after))
      room.set(this.at.subarray(0, head))
      room.set(this.at.subarray(before - tail, before), after - tail)
      this.at = room
    } else if (before !== after) this.at.copyWithin(after - tail, before - tail, before)
  }

  /** Room for the records of that many slots. */
  #reserve(slots: number): void {
    if (slots <= this.#capacity) return
    const before = this.#capacity
    const { store, base } = this
    const capacity = before === 0 ? slots : roomFor(slots)
    this.#capacity = capacity
    if (capacity <= MOST_POOLED) {
      this.base = this.#pool.take(capacity)
      this.store = this.#pool
    } else {
      const records = new Float64Array(capacity * RECORD)
      records.set(store.records.subarray(base, base + before * RECORD))
      if (before > MOST_POOLED) {
        store.records = records
        return
      }
      this.base = 0
      this.store = { records }
    }
    if (before === 0) return
    if (capacity <= MOST_POOLED) this.store.records.copyWithin(this.base, base, base + before * RECORD)
    this.#pool.give(base, before)
  }

  /** The labels, with room for all slots. */
  #ordersOfAll(orders: Float64Array): Float64Array {
    const slots = this.bySlot.length
    if (slots <= orders.length) return orders
    const longer = new Float64Array(roomFor(slots))
    longer.set(orders)
    this.#orders = longer
    return longer
  }

  /** Labels for positions [from, to), between those of their neighbours. */
  #label(orders: Float64Array, from: number, to: number): void {
    if (from === to) return
    const { at } = this
    const total = this.rules.length
    const low = from === 0 ? null : orders[at[from - 1]!]!
    const high = to === total ? null : orders[at[to]!]!
    if (low === null || high === null) {
      // In front of the first, or behind the last.
      for (let i = from; i < to; i++)
        orders[at[i]!] = high === null ? (low ?? 0) + 1 + (i - from) : high - (to - i)
      return
    }
    const step = (high - low) / (to - from + 1)
    let last = low
    for (let i = from; i < to; i++) {
      const label = low + step * (i - from + 1)
      if (!(label > last && label < high)) {
        this.#labelAll(orders)
        return
      }
      orders[at[i]!] = label
      last = label
    }
  }

  /** Anew, too, when numbers run out between two rules after some fifty edits at one place. */
  #labelAll(orders: Float64Array): void {
    for (let i = 0; i < this.rules.length; i++) orders[this.at[i]!] = i
  }
}

/** How many rules are the same objects at both ends of a chain before an edit and behind it. */
export type Kept = readonly [head: number, tail: number]

export function keptOf(old: readonly Rule[], rules: readonly Rule[]): Kept {
  const shorter = Math.min(old.length, rules.length)
  let head = 0
  while (head < shorter && old[head] === rules[head]) head++
  let tail = 0
  while (tail < shorter - head && old[old.length - 1 - tail] === rules[rules.length - 1 - tail]) tail++
  return [head, tail]
}

/** Large chains grow often, small ones hardly ever. */
const roomFor = (count: number): number => (count < FEWEST ? count : count + (count >> 3) + FEWEST)
