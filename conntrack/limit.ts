// nf_conntrack_max, and what happens at it (__nf_conntrack_alloc, early_drop and gc_worker of nf_conntrack_core.c).
//
//     a new connection, the table full ── something unassured near by ── gives way
//                                └────── nothing ── the packet is dropped, and said so
//                                                   a second later all that may go, goes

import type { Conntrack } from './conntrack.ts'
import { HINT_NEW } from './look-ahead.ts'
import { STATUS, STRIDE, Status } from './table.ts'
import type { Tuple } from './tuple.ts'

/** early_drop: buckets searched for something to give up. */
const EVICTION_RANGE = 8
/** GC_SCAN_INTERVAL_MIN: the kernel's worker comes a second after a refusal, or up to a minute. */
const RELIEF_AFTER_MS = 1000
/** Slab positions looked at per tick while the table is full. */
const RELIEF_BUDGET = 4096
/** net_ratelimit: messages at once, and how often one more, ms. */
const MESSAGE_BURST = 10
const MESSAGE_INTERVAL_MS = 5000
/** Entries of which is looked ahead what their ends will ask for, each batch. */
const FORESEEN = 256

export class TableLimit {
  /** nf_conntrack_max; 0: none. */
  max = 262144
  /** Messages about the full table that were not said. */
  suppressed = 0
  readonly #conntrack: Conntrack
  #messages = MESSAGE_BURST
  #messagesAt = 0
  /** The table was full: the next walk gives up what may go. Entries below `#relieved` were looked at. */
  #pressure = false
  #relieved = 0
  /** When that walk may begin. */
  #relieveAt = 0
  readonly #foreseen = new Int32Array(FORESEEN)
  readonly #hashes = new Int32Array(FORESEEN * 2)

  constructor(conntrack: Conntrack) {
    this.#conntrack = conntrack
  }

  /** Whether there is room for one entry more, perhaps because another gave way. `t`: its original tuple. Hot. */
  hasRoom(t: Tuple): boolean {
    return this.max === 0 || this.#conntrack.table.used < this.max || this.#earlyDrop(t)
  }

  /**
   * A batch is about to come, with these hashes; those with HINT_NEW begin connections. Where the table has no room for all of
   * them, reads what the ends of those that will give way ask for: while a table is full, as it is when somebody floods it,
   * each new connection would wait for memory once more. Whoever stands in the bucket will do: most have seen no answer. Hot.
   */
  foresee(hashes: Int32Array, hints: Int32Array, count: number): void {
    const { table } = this.#conntrack
    let room = this.max - table.used
    if (this.max === 0 || room >= count) return
    const entries = this.#foreseen
    let found = 0
    for (let i = 0; i < count && found < FORESEEN; i++) {
      if (hints[i] !== HINT_NEW || room-- > 0) continue
      const before = found
      for (let near = 0; near < EVICTION_RANGE && found === before; near++) {
        const bucket = hashes[i]! + near
        let at = table.firstOfBucket(bucket)
        for (; at >= 0 && found < FORESEEN; at = table.nextOfBucket(bucket, at))
          entries[found++] = table.handleAt(at) >> 1
      }
      room += found - before
    }
    this.#conntrack.core.touchEnds(entries, this.#hashes, found)
  }

  /** A packet was refused for want of room. */
  refused(): void {
    if (!this.#pressure) this.#relieveAt = this.#conntrack.host.now + RELIEF_AFTER_MS
    this.#pressure = true
    this.#say()
  }

  /** Bounded work; true: more is due now. */
  tick(): boolean {
    if (!this.#pressure || this.#conntrack.host.now < this.#relieveAt) return false
    this.#relieve()
    return this.#pressure
  }

  /**
   * After a refusal: one walk over the table that gives up what is unassured or closing, while more than 95 % of
   * nf_conntrack_max are in use (gc_worker with early_drop).
   */
  #relieve(): void {
    const conntrack = this.#conntrack
    const { table } = conntrack
    const limit = Math.floor(this.max / 100) * 95
    const stop = Math.min(this.#relieved + RELIEF_BUDGET, table.capacity)
    for (let entry = this.#relieved; entry < stop && table.used >= limit; entry++) {
      const status = table.words[entry * STRIDE + STATUS]!
      if ((status & (Status.Confirmed | Status.Dying)) !== Status.Confirmed) continue
      if ((status & Status.Assured) === 0 || conntrack.trackerOf(entry).canEarlyDrop?.(entry) === true)
        conntrack.kill(entry)
    }
    this.#relieved = stop
    if (stop < table.capacity && table.used >= limit) return
    this.#relieved = 0
    this.#pressure = false
  }

  /** early_drop: gives up unassured entries of the first bucket near the tuple's that has any. */
  #earlyDrop(t: Tuple): boolean {
    const { table, stats } = this.#conntrack
    const bucket = table.bucketOf(t)
    for (let i = 0; i < EVICTION_RANGE; i++) {
      let drops = 0
      let at = table.firstOfBucket(bucket + i)
      while (at >= 0) {
        const entry = table.handleAt(at) >> 1
        const status = table.words[entry * STRIDE + STATUS]!
        const expired = this.#conntrack.core.isOver(entry)
        if ((!expired && (status & Status.Assured) !== 0) || (status & Status.Dying) !== 0) {
          at = table.nextOfBucket(bucket + i, at)
          continue
        }
        this.#conntrack.kill(entry)
        if (!expired) drops++
        // Its other tuple may have stood in this bucket too.
        at = table.firstOfBucket(bucket + i)
      }
      if (drops > 0) {
        stats.earlyDrop += drops
        return true
      }
    }
    return false
  }

  /** net_warn_ratelimited. */
  #say(): void {
    const { now, events } = this.#conntrack.host
    const earned = Math.floor((now - this.#messagesAt) / MESSAGE_INTERVAL_MS)
    if (earned > 0) {
      this.#messages = Math.min(MESSAGE_BURST, this.#messages + earned * MESSAGE_BURST)
      this.#messagesAt = now
    }
    if (this.#messages === 0) {
      this.suppressed++
      return
    }
    this.#messages--
    events.log?.({ level: 4, text: 'nf_conntrack: table full, dropping packet' })
  }
}
