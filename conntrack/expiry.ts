// When entries end: a wheel of slots of a tenth of a second driven by host.now.
//
//     cursor --> [slot] [slot] [slot] ... SLOTS of them; a slot is a list of entries
//
// The kernel ends entries lazily: a look-up that meets an expired one removes it, and a worker sweeps behind. Here
// too: whoever finds an entry asks `isOver`, and the wheel is the sweep. So a refresh only writes the entry's end:
// an entry stays in its slot until that comes up, and moves on if it was refreshed meanwhile. Only a timeout made
// shorter than the slot moves the entry at once. Work per call is bounded; what is left over stays for the next.

import type { EntryTable } from './table.ts'

/** A turn is 27 minutes; what ends later is looked at once a turn. */
const SLOTS = 16384
/** So long an entry that is over may still take up room, which many short-lived ones together feel. */
const SLOT_MS = 100
/** Entries looked at per sweep at most: about a millisecond of work, even where no code is compiled yet. */
const BUDGET = 64
/** Besides, as many as came since the last sweep, up to this many: a gateway sweeps once a batch. */
const BATCH = 256
/** Entries of a slot that are read together before the first of them ends. */
const TOGETHER = 64

/** Words of an entry's links: on one cache line. */
const LINKS = 4
/** Entry + 1 of the one behind, 0 none. */
const NEXT = 0
/** Entry + 1 of the one before; -slot - 1 for the first of a slot; 0 for an entry in no slot. */
const BEFORE = 1
/** Number of the slot: time / SLOT_MS, not wrapped. */
const SLOT = 2

export class ExpiryWheel {
  readonly #table: EntryTable
  readonly #expire: (entry: number) => void
  /** Entry + 1 of a slot's first entry; 0 none. */
  readonly #slots = new Int32Array(SLOTS)
  /** Of each entry NEXT, BEFORE and SLOT. */
  #links = new Int32Array(0)
  /** First slot not yet swept. */
  #cursor = 0
  #count = 0
  /** Since the last sweep. */
  #added = 0
  /** Of one slot, in turn, those that are looked at next. */
  readonly #due = new Int32Array(TOGETHER)
  /** The hashes of their tuples. */
  readonly #hashes = new Int32Array(TOGETHER * 2)

  /** `expire` ends an entry; it calls `remove`. */
  constructor(table: EntryTable, expire: (entry: number) => void) {
    this.#table = table
    this.#expire = expire
  }

  /** Entries in the wheel. */
  get size(): number {
    return this.#count
  }

  /** The entry ends at table.expiresAt(entry). */
  add(entry: number, now: number): void {
    if (entry * LINKS >= this.#links.length) this.#grow()
    if (this.#count === 0) this.#cursor = Math.floor(now / SLOT_MS)
    this.#link(entry)
    this.#count++
    this.#added++
  }

  /** The entry ends earlier than it did: moves it if that is before its slot. O(1), does not allocate. */
  shortened(entry: number): void {
    if (this.#table.expiresAt(entry) >= this.#links[entry * LINKS + SLOT]! * SLOT_MS) return
    this.#unlink(entry)
    this.#link(entry)
  }

  remove(entry: number): void {
    const at = entry * LINKS + BEFORE
    if (at >= this.#links.length || this.#links[at] === 0) return
    this.#unlink(entry)
    this.#count--
  }

  /** Ends entries that expired up to `now`. True if it ran out of budget and more may be due. */
  sweep(now: number): boolean {
    const current = Math.floor(now / SLOT_MS)
    if (this.#count === 0) {
      this.#cursor = current
      return false
    }
    // A slot that has come round twice is looked at once: all its entries are then checked against the clock.
    if (current - this.#cursor > SLOTS) this.#cursor = current - SLOTS
    let budget = BUDGET + Math.min(this.#added, BATCH)
    this.#added = 0
    while (this.#cursor < current) {
      const count = this.#gather(budget)
      if (count === 0) {
        if (budget === 0) return true
        this.#cursor++
        continue
      }
      budget -= count
      this.#look(count, now)
    }
    return false
  }

  /** The first entries of the cursor's slot, at most `most`, into #due; how many. */
  #gather(most: number): number {
    const links = this.#links
    const due = this.#due
    let count = 0
    let entry = this.#slots[this.#cursor & (SLOTS - 1)]! - 1
    for (; entry >= 0 && count < TOGETHER && count < most; entry = links[entry * LINKS + NEXT]! - 1)
      due[count++] = entry
    return count
  }

  /** Ends those of #due that are over; the others move on. */
  #look(count: number, now: number): void {
    const table = this.#table
    const due = this.#due
    const slot = this.#cursor & (SLOTS - 1)
    const hashes = this.#hashes
    table.touchAll(due, hashes, count)
    for (let i = 0; i < count; i++) {
      const entry = due[i]!
      const at = entry * LINKS
      // With one connection others may end.
      if (this.#links[at + BEFORE] === 0 || (this.#links[at + SLOT]! & (SLOTS - 1)) !== slot) continue
      if (table.expiresAt(entry) <= now) {
        table.recall(entry, hashes[i * 2]!, hashes[i * 2 + 1]!)
        this.#expire(entry)
      } else {
        this.#unlink(entry)
        this.#link(entry, this.#cursor + 1)
      }
    }
  }

  /** Into the slot after its end, but within one turn of the wheel. `earliest`: lowest slot allowed. */
  #link(entry: number, earliest = this.#cursor): void {
    let number = Math.floor(this.#table.expiresAt(entry) / SLOT_MS)
    if (number >= this.#cursor + SLOTS) number = this.#cursor + SLOTS - 1
    if (number < earliest) number = earliest
    const slot = number & (SLOTS - 1)
    const first = this.#slots[slot]!
    const links = this.#links
    const o = entry * LINKS
    links[o + NEXT] = first
    links[o + BEFORE] = -slot - 1
    links[o + SLOT] = number
    if (first !== 0) links[(first - 1) * LINKS + BEFORE] = entry + 1
    this.#slots[slot] = entry + 1
  }

  #unlink(entry: number): void {
    const links = this.#links
    const o = entry * LINKS
    const next = links[o + NEXT]!
    const before = links[o + BEFORE]!
    if (before < 0) this.#slots[-before - 1] = next
    else links[(before - 1) * LINKS + NEXT] = next
    if (next !== 0) links[(next - 1) * LINKS + BEFORE] = before
    links[o + BEFORE] = 0
  }

  #grow(): void {
    const links = new Int32Array(this.#table.capacity * LINKS)
    links.set(this.#links)
    this.#links = links
  }
}
