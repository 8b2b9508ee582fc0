// The rules of one chain in force. Each has a slot of its own for as long as it stays, whatever is put before it or
// taken away: counters, state and code refer to slots, so that an edit costs what it changes.
//
//     position  0  1  2  3 …         as the chain reads
//     at       [4, 0, 1, 7 …]        slot of each position
//     records  [packets, bytes, order, ·] …  by slot; order: a label, ascending along the chain

import { type Counted, newCountedId } from '../conntrack/ways.ts'
import type { StateHolders } from './compile/rule.ts'
import type { Rule } from './model.ts'

/** What an edit did, by slot, each in the order of the chain. */
export interface SlotEdit {
  readonly removed: readonly {
    readonly slot: number
    readonly rule: Rule
    readonly states: StateHolders | null
  }[]
  readonly added: readonly number[]
}

/** Numbers of a record. */
export const RECORD = 4
export const PACKETS = 0
export const BYTES = 1
export const ORDER = 2

const FEWEST = 8
// Most chains of large rulesets have one rule or none: an array of their own would be most of what they cost.
const NO_RECORDS = new Float64Array(0)
const NO_SLOTS = new Int32Array(0)

export class RuleSlots implements Counted {
  readonly id = newCountedId()
  /** By position; the array of the chain's model. */
  rules: readonly Rule[] = []
  /** By slot. */
  readonly bySlot: (Rule | null)[] = []
  readonly states: (StateHolders | null)[] = []
  /** RECORD numbers by slot. A new array when it grows. */
  records = NO_RECORDS
  /** By position; the room behind the last rule means nothing. */
  at = NO_SLOTS
  readonly #free: number[] = []

  /** Packets that fitted the rule in a slot. */
  tally(slot: number, packets: number, bytes: number): void {
    const at = slot * RECORD
    this.records[at + PACKETS]! += packets
    this.records[at + BYTES]! += bytes
  }

  orderOf(slot: number): number {
    return this.records[slot * RECORD + ORDER]!
  }

  #setOrder(slot: number, label: number): void {
    this.records[slot * RECORD + ORDER] = label
  }

  get count(): number {
    return this.rules.length
  }

  /**
   * Puts new rules in force. Those that are the same objects at both ends keep slot, counters and state; those between
   * that are there again keep their counters.
   */
  replace(rules: readonly Rule[], makeStates: (rule: Rule) => StateHolders | null): SlotEdit {
    const old = this.rules
    const shorter = Math.min(old.length, rules.length)
    let head = 0
    while (head < shorter && old[head] === rules[head]) head++
    let tail = 0
    while (tail < shorter - head && old[old.length - 1 - tail] === rules[rules.length - 1 - tail]) tail++
    const removed = []
    const leaving = old.length - tail - head
    const coming = rules.length - tail - head
    // Old rules that may be among the new ones, and what they have counted.
    const moved = leaving > 0 && coming > 0 ? new Map<Rule, number>() : null
    const counted = moved === null ? NO_RECORDS : new Float64Array(leaving * 2)
    for (let i = head; i < head + leaving; i++) {
      const slot = this.at[i]!
      const rule = old[i]!
      if (moved !== null) {
        moved.set(rule, i - head)
        counted[(i - head) * 2] = this.records[slot * RECORD + PACKETS]!
        counted[(i - head) * 2 + 1] = this.records[slot * RECORD + BYTES]!
      }
      removed.push({ slot, rule, states: this.states[slot]! })
      this.bySlot[slot] = this.states[slot] = null
      this.#free.push(slot)
    }
    this.#shift(old.length, head, tail, rules.length)
    this.#reserve(this.bySlot.length + coming - this.#free.length)
    const added: number[] = []
    for (let i = head; i < head + coming; i++) {
      const rule = rules[i]!
      const slot = this.#take()
      const before = moved?.get(rule)
      this.bySlot[slot] = rule
      this.states[slot] = makeStates(rule)
      this.records[slot * RECORD + PACKETS] = before === undefined ? 0 : counted[before * 2]!
      this.records[slot * RECORD + BYTES] = before === undefined ? 0 : counted[before * 2 + 1]!
      this.at[i] = slot
      added.push(slot)
    }
    this.rules = rules
    this.#label(head, rules.length - tail)
    return { removed, added }
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

  #take(): number {
    const free = this.#free.pop()
    if (free !== undefined) return free
    this.states.push(null)
    return this.bySlot.push(null) - 1
  }

  /** Room for the records of that many slots. */
  #reserve(slots: number): void {
    if (slots * RECORD <= this.records.length) return
    const records = new Float64Array(roomFor(slots) * RECORD)
    records.set(this.records)
    this.records = records
  }

  /** Labels for positions [from, to), between those of their neighbours. */
  #label(from: number, to: number): void {
    if (from === to) return
    const { at } = this
    const total = this.rules.length
    const low = from === 0 ? null : this.orderOf(at[from - 1]!)
    const high = to === total ? null : this.orderOf(at[to]!)
    if (low === null || high === null) {
      // In front of the first, or behind the last.
      for (let i = from; i < to; i++)
        this.#setOrder(at[i]!, high === null ? (low ?? 0) + 1 + (i - from) : high - (to - i))
      return
    }
    const step = (high - low) / (to - from + 1)
    let last = low
    for (let i = from; i < to; i++) {
      const label = low + step * (i - from + 1)
      if (!(label > last && label < high)) {
        this.#labelAll()
        return
      }
      this.#setOrder(at[i]!, label)
      last = label
    }
  }

  /** Numbers run out between two rules after some fifty edits at one place. */
  #labelAll(): void {
    for (let i = 0; i < this.rules.length; i++) this.#setOrder(this.at[i]!, i)
  }
}

/** Large chains grow often, small ones hardly ever. */
const roomFor = (count: number): number => (count < FEWEST ? count : count + (count >> 3) + FEWEST)
