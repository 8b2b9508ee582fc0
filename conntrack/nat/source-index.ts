// Entries by their original source, so that one source keeps one mapping towards every destination
// (nf_nat_bysource). Lists of entry numbers in typed arrays, newest first; an entry is in one list from the moment
// its source is bound until the entry ends.
//
//     buckets[hash(source, port, protocol, zone)] -> entry -> entry -> none

import { type EntryTable, isAddress, META, PORTS, SRC, STRIDE, wordOf, zoneOf } from '../table.ts'
import type { Tuple } from '../tuple.ts'

/** Words of an entry's links. */
const LINKS = 2
/** Entry + 1 of the next in the list, 0 none. */
const AFTER = 0
/** Entry + 1 of the one before; -bucket - 1 for the first of a list, 0 for who is in none. */
const BEFORE = 1

export class SourceIndex {
  /** As EntryTable.sink. */
  sink = 0
  readonly #table: EntryTable
  readonly #seed: number
  /** Entry + 1, 0 none. As many as a power of two. */
  #buckets = new Int32Array(256)
  /** Of each entry AFTER and BEFORE. */
  #links = new Int32Array(256 * LINKS)
  #count = 0

  constructor(table: EntryTable, seed: number) {
    this.#table = table
    this.#seed = seed | 1
  }

  get size(): number {
    return this.#count
  }

  /** Allocates only when the conntrack table has grown. */
  add(entry: number): void {
    if (entry * LINKS >= this.#links.length) this.#grow()
    if (this.#links[entry * LINKS + BEFORE] !== 0) return
    this.#link(entry)
    this.#count++
  }

  /** Nothing happens to an entry that is in no list. */
  remove(entry: number): void {
    const links = this.#links
    const o = entry * LINKS
    if (o >= links.length) return
    const before = links[o + BEFORE]!
    if (before === 0) return
    const after = links[o + AFTER]!
    if (before < 0) this.#buckets[-before - 1] = after
    else links[(before - 1) * LINKS + AFTER] = after
    if (after !== 0) links[(after - 1) * LINKS + BEFORE] = before
    links[o + BEFORE] = links[o + AFTER] = 0
    this.#count--
  }

  /** Reads what remove() will ask of these entries, as EntryTable.seekAll() does. Hot. */
  touch(entries: Int32Array, count: number): void {
    const links = this.#links
    const last = links.length / LINKS - 1
    let read = 0
    for (let i = 0; i < count; i++) read |= links[Math.min(entries[i]!, last) * LINKS]!
    this.sink = read
  }

  /** Newest entry that may have the tuple's source, -1 none. `zone`: of the original direction. */
  first(tuple: Tuple, zone: number): number {
    const { s0, s1, s2, s3 } = tuple
    return this.#buckets[this.#hash(s0, s1, s2, s3, tuple.ports >>> 16, tuple.meta, zone)]! - 1
  }

  next(entry: number): number {
    return this.#links[entry * LINKS + AFTER]! - 1
  }

  /** same_src: protocol, address and source port (or identifier) of the original direction, and its zone. */
  sameSource(entry: number, tuple: Tuple, zone: number): boolean {
    const w = this.#table.words
    const o = entry * STRIDE
    return (
      w[o + PORTS]! >>> 16 === tuple.ports >>> 16 &&
      w[o + META] === tuple.meta &&
      zoneOf(w, o, 0) === zone &&
      isAddress(w, o, SRC, tuple.s0, tuple.s1, tuple.s2, tuple.s3)
    )
  }

  #link(entry: number): void {
    const w = this.#table.words
    const o = entry * STRIDE
    const bucket = this.#hash(
      w[o + SRC]!,
      w[o + wordOf(SRC, 1)]!,
      w[o + wordOf(SRC, 2)]!,
      w[o + wordOf(SRC, 3)]!,
      w[o + PORTS]! >>> 16,
      w[o + META]!,
      zoneOf(w, o, 0),
    )
    const head = this.#buckets[bucket]!
    const links = this.#links
    links[entry * LINKS + AFTER] = head
    links[entry * LINKS + BEFORE] = -bucket - 1
    if (head !== 0) links[(head - 1) * LINKS + BEFORE] = entry + 1
    this.#buckets[bucket] = entry + 1
  }

  /** At least as many buckets as the table has entries; lists keep their order. */
  #grow(): void {
    const capacity = this.#table.capacity
    const oldest: number[] = []
    for (const head of this.#buckets) {
      const list: number[] = []
      for (let e = head - 1; e >= 0; e = this.next(e)) list.push(e)
      oldest.push(...list.reverse())
    }
    // The table may have been made for any number (nf_conntrack_max).
    this.#buckets = new Int32Array(1 << (32 - Math.clz32(capacity - 1)))
    this.#links = new Int32Array(capacity * LINKS)
    for (const entry of oldest) this.#link(entry)
  }

  #hash(s0: number, s1: number, s2: number, s3: number, port: number, meta: number, zone: number): number {
    let h = Math.imul(s0 ^ this.#seed, 0x9e3779b1)
    h = Math.imul((h ^ (h >>> 15)) + port, 0x85ebca6b)
    h = Math.imul((h ^ (h >>> 13)) + meta + (zone << 16), 0xc2b2ae35)
    if ((s1 | s2 | s3) !== 0) {
      h = Math.imul((h ^ (h >>> 15)) + s1 + (s2 << 7), 0x85ebca6b)
      h = Math.imul((h ^ (h >>> 13)) + s3, 0x27d4eb2f)
    }
    return (h ^ (h >>> 15)) & (this.#buckets.length - 1)
  }
}
