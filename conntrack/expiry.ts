// When entries end: a wheel of one-second slots driven by host.now.
//
//     cursor --> [slot] [slot] [slot] ... SLOTS of them; a slot is a list of entries
//
// The kernel ends entries lazily: a look-up that meets an expired one removes it, and a worker sweeps behind. Here
// too: whoever finds an entry asks `isOver`, and the wheel is the sweep. So a refresh only writes the entry's end:
// an entry stays in its slot until that comes up, and moves on if it was refreshed meanwhile. Only a timeout made
// shorter than the slot moves the entry at once. Work per call is bounded; what is left over stays for the next.

import type { EntryTable } from './table.ts'

const SLOTS = 1024
const SLOT_MS = 1000
/** Entries looked at per sweep at most: well under a millisecond of work, even where none is in a cache. */
const BUDGET = 256

export class ExpiryWheel {
  readonly #table: EntryTable
  readonly #expire: (entry: number) => void
  /** Entry + 1 of a slot's first entry; 0 none. */
  readonly #slots = new Int32Array(SLOTS)
  #next = new Int32Array(0)
  /** Entry + 1 of the one before; -slot - 1 for the first of a slot; 0 for an entry in no slot. */
  #before = new Int32Array(0)
  /** Slot number (time / SLOT_MS, not wrapped) of each entry. */
  #slot = new Int32Array(0)
  /** First slot not yet swept. */
  #cursor = 0
  #count = 0

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
    if (entry >= this.#before.length) this.#grow()
    if (this.#count === 0) this.#cursor = Math.floor(now / SLOT_MS)
    this.#link(entry)
    this.#count++
  }

  /** The entry ends earlier than it did: moves it if that is before its slot. O(1), does not allocate. */
  shortened(entry: number): void {
    if (this.#table.expiresAt(entry) >= this.#slot[entry]! * SLOT_MS) return
    this.#unlink(entry)
    this.#link(entry)
  }

  remove(entry: number): void {
    if (entry >= this.#before.length || this.#before[entry] === 0) return
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
    const table = this.#table
    let budget = BUDGET
    while (this.#cursor < current) {
      const slot = this.#cursor & (SLOTS - 1)
      for (let entry = this.#slots[slot]! - 1; entry >= 0; entry = this.#slots[slot]! - 1) {
        if (budget-- === 0) return true
        if (table.expiresAt(entry) <= now) this.#expire(entry)
        else {
          this.#unlink(entry)
          this.#link(entry, this.#cursor + 1)
        }
      }
      this.#cursor++
    }
    return false
  }

  /** Into the slot after its end, but within one turn of the wheel. `earliest`: lowest slot allowed. */
  #link(entry: number, earliest = this.#cursor): void {
    let number = Math.floor(this.#table.expiresAt(entry) / SLOT_MS)
    if (number >= this.#cursor + SLOTS) number = this.#cursor + SLOTS - 1
    if (number < earliest) number = earliest
    const slot = number & (SLOTS - 1)
    const first = this.#slots[slot]!
    this.#slot[entry] = number
    this.#next[entry] = first
    this.#before[entry] = -slot - 1
    if (first !== 0) this.#before[first - 1] = entry + 1
    this.#slots[slot] = entry + 1
  }

  #unlink(entry: number): void {
    const before = this.#before[entry]!
    const next = this.#next[entry]!
    if (before < 0) this.#slots[-before - 1] = next
    else this.#next[before - 1] = next
    if (next !== 0) this.#before[next - 1] = before
    this.#before[entry] = 0
  }

  #grow(): void {
    const capacity = this.#table.capacity
    const next = new Int32Array(capacity)
    next.set(this.#next)
    const before = new Int32Array(capacity)
    before.set(this.#before)
    const slot = new Int32Array(capacity)
    slot.set(this.#slot)
    this.#next = next
    this.#before = before
    this.#slot = slot
  }
}
