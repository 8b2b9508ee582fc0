// When entries end: a wheel of slots of a tenth of a second driven by host.now.
//
//     cursor --> [slot] [slot] [slot] ... SLOTS of them; a slot is a list of chunks
//                  └─▶ chunk ─▶ full chunk ─▶ full chunk
//
//     chunks[chunk * 16 + ...]   0  entries in it   1  the full one behind, 0 none   2  number of the slot   3..15  entries
//     where[entry]               where it stands in there, 0 if it is in none
//
// An entry that leaves is replaced by the slot's last one, so that all chunks of a slot but its first are full. What ends
// together stands together: a list of entries would be one read after the other.
//
// The kernel ends entries lazily: a look-up that meets an expired one removes it, and a worker sweeps behind. Here
// too: whoever finds an entry asks `isOver`, and the wheel is the sweep. So a refresh only writes the entry's end:
// an entry stays in its slot until that comes up, and moves on if it was refreshed meanwhile. Only a timeout made
// shorter than the slot moves the entry at once. Work per call is bounded; what is left over stays for the next.

import { LINE_WORDS, mostlyAlignedWords } from './cache-lines.ts'
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

// Words of a chunk, which is a cache line.
const COUNT = 0
const NEXT = 1
/** time / SLOT_MS, not wrapped. */
const SLOT = 2
const FIRST = 3
/** Entries that there is room for. */
const ROOM = LINE_WORDS - FIRST

export class ExpiryWheel {
  /** As EntryTable.sink. */
  sink = 0
  readonly #table: EntryTable
  readonly #expire: (entry: number) => void
  /** A slot's first chunk, 0 none. */
  readonly #slots = new Int32Array(SLOTS)
  #chunks = mostlyAlignedWords(LINE_WORDS)
  #where = new Int32Array(0)
  /** Chunks before this one are or were in use; of those that were, the first, 0 none, and behind it the others by NEXT. */
  #used = 1
  #free = 0
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
    if (entry >= this.#where.length) this.#grow()
    if (this.#count === 0) this.#cursor = Math.floor(now / SLOT_MS)
    this.#link(entry)
    this.#count++
    this.#added++
  }

  /** The entry ends earlier than it did: moves it if that is before its slot. O(1), does not allocate. Who is in none stays so. */
  shortened(entry: number): void {
    if (this.#where[entry] === 0 || this.#table.expiresAt(entry) >= this.#slotOf(entry) * SLOT_MS) return
    this.#unlink(entry)
    this.#link(entry)
  }

  remove(entry: number): void {
    if (entry >= this.#where.length || this.#where[entry] === 0) return
    this.#unlink(entry)
    this.#count--
  }

  /** Reads what remove() will ask of these entries, which are in the wheel, a pass for each step as in EntryTable.seekAll(). Hot. */
  touch(entries: Int32Array, count: number): void {
    const chunks = this.#chunks
    const where = this.#where
    let read = 0
    for (let i = 0; i < count; i++) read |= where[entries[i]!]!
    for (let i = 0; i < count; i++) read |= chunks[where[entries[i]!]! & -LINE_WORDS]!
    for (let i = 0; i < count; i++)
      read |= chunks[this.#slots[this.#slotOf(entries[i]!) & (SLOTS - 1)]! * LINE_WORDS]!
    this.sink = read
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
    const chunks = this.#chunks
    const due = this.#due
    const wanted = Math.min(most, TOGETHER)
    let count = 0
    for (let chunk = this.#slots[this.#cursor & (SLOTS - 1)]!; chunk !== 0 && count < wanted; ) {
      const o = chunk * LINE_WORDS
      for (let at = o + FIRST + chunks[o + COUNT]! - 1; at >= o + FIRST && count < wanted; at--)
        due[count++] = chunks[at]!
      chunk = chunks[o + NEXT]!
    }
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
      // With one connection others may end.
      if (this.#where[entry] === 0 || (this.#slotOf(entry) & (SLOTS - 1)) !== slot) continue
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
    let chunk = this.#slots[slot]!
    if (chunk === 0 || this.#chunks[chunk * LINE_WORDS + COUNT] === ROOM)
      chunk = this.#slots[slot] = this.#open(number, chunk)
    const chunks = this.#chunks
    const o = chunk * LINE_WORDS
    const at = o + FIRST + chunks[o + COUNT]!
    chunks[o + COUNT]!++
    chunks[at] = entry
    this.#where[entry] = at
  }

  #unlink(entry: number): void {
    const chunks = this.#chunks
    const where = this.#where
    const at = where[entry]!
    const slot = this.#slotOf(entry) & (SLOTS - 1)
    const first = this.#slots[slot]!
    const o = first * LINE_WORDS
    const left = chunks[o + COUNT]! - 1
    const last = chunks[o + FIRST + left]!
    chunks[o + COUNT] = left
    chunks[at] = last
    where[last] = at
    where[entry] = 0
    if (left > 0) return
    this.#slots[slot] = chunks[o + NEXT]!
    chunks[o + NEXT] = this.#free
    this.#free = first
  }

  /** Number of the slot of an entry that is in one. */
  #slotOf(entry: number): number {
    return this.#chunks[(this.#where[entry]! & -LINE_WORDS) + SLOT]!
  }

  /** An empty chunk of a slot, before `next`. */
  #open(number: number, next: number): number {
    const chunk = this.#free === 0 ? this.#used++ : this.#free
    const o = chunk * LINE_WORDS
    if (chunk === this.#free) this.#free = this.#chunks[o + NEXT]!
    this.#chunks[o + COUNT] = 0
    this.#chunks[o + NEXT] = next
    this.#chunks[o + SLOT] = number
    return chunk
  }

  /** Room for all entries of the table: full chunks, and one of each slot that may not be. Untouched memory costs none. */
  #grow(): void {
    const { capacity } = this.#table
    const where = new Int32Array(capacity)
    where.set(this.#where)
    this.#where = where
    const chunks = mostlyAlignedWords((Math.ceil(capacity / ROOM) + SLOTS + 1) * LINE_WORDS)
    chunks.set(this.#chunks)
    this.#chunks = chunks
  }
}
