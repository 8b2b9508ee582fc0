// What the recorder writes while a packet is on its way: numbers only, one operation behind the other, so that a record
// costs little until somebody reads it (read.ts).

import type { Route } from '../../datapath/fib.ts'
import type { Engine } from '../engine.ts'
import type { References } from './references.ts'

/** Numbers of an entry: entry, status, state, timeout (ms), mark, master, meta, 18 of the tuples. */
export const ENTRY = 25

/** Numbers of a TCP window: seq, ack, 0 of the packet; end, highest end, window of its sender; the same of the other. */
export const WINDOW = 9

/** Each is followed by as many numbers as it says. */
export const Op = {
  /** journey; facts of the packet (FACTS) */
  Journey: 1,
  /** journey, family, hook, iif, oif */
  Hook: 2,
  /** journey, verdict */
  HookEnd: 3,
  /** chain */
  Walk: 4,
  /** chain, verdict or CONTINUE */
  WalkEnd: 5,
  /** chain, slot */
  Hit: 6,
  /** before, after */
  Mark: 7,
  /** before, after */
  CtMark: 8,
  /** journey, number of the text (name of a hook function that is no table) */
  Refused: 9,
  /** chain, slot */
  Hotdrop: 10,
  /** chain, slot, condition, number of the text (of what it saw) */
  Miss: 11,
  /** 1 the packet is whole now, 0 kept; length */
  Defrag: 12,
  /** number of the text; 1: WINDOW numbers follow */
  Why: 13,
  /** 1 there was an entry; ENTRY numbers before; state bit, direction, TCP flags or -1; 1 there is an entry; ENTRY numbers after */
  Conntrack: 14,
  /** ENTRY numbers */
  Confirm: 15,
  /** hook, manip, status before, status after, 10 numbers of addresses and ports before, 10 after */
  Nat: 16,
  /** journey, number of the route object or -1, iif, mark, tos, protocol, 10 numbers of addresses and ports, local */
  Route: 17,
  /** journey, reason */
  Drop: 18,
  /** journey, ifindex, length, offset in the copied bytes or -1 */
  Sent: 19,
} as const

/** A growing row of numbers. */
export class Journal {
  values = new Float64Array(1024)
  length = 0

  clear(): void {
    this.length = 0
  }

  /** Room for `count` more. */
  reserve(count: number): void {
    if (this.length + count <= this.values.length) return
    const values = new Float64Array(Math.max(this.values.length * 2, this.length + count))
    values.set(this.values)
    this.values = values
  }

  push1(a: number): void {
    this.reserve(1)
    this.values[this.length++] = a
  }

  push2(a: number, b: number): void {
    this.reserve(2)
    const { values } = this
    values[this.length++] = a
    values[this.length++] = b
  }

  push3(a: number, b: number, c: number): void {
    this.reserve(3)
    const { values } = this
    values[this.length++] = a
    values[this.length++] = b
    values[this.length++] = c
  }

  push5(a: number, b: number, c: number, d: number, e: number): void {
    this.push3(a, b, c)
    this.push2(d, e)
  }
}

/** A recorder, as its reader sees it. */
export interface Recorded {
  readonly engine: Engine
  readonly journal: Journal
  readonly references: References
  /** What the journal's numbers of texts and routes mean. */
  readonly texts: readonly string[]
  readonly routes: readonly Route[]
  /** Bytes of frames that left. */
  readonly bytes: Uint8Array
  /** By journey: that in the middle of which it began, -1 none. */
  readonly causes: readonly number[]
}
