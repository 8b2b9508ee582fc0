// Handles by the hashes of their tuples. Memory is what a look-up costs, so a cache line holds what it needs: as a rule one
// line is all that is read before the entry itself, or to know that there is none.
//
//     hash ─ low bits ─▶ home line: seven pairs (hash, handle) ─ full ─▶ another line …
//
//     words[line * 16 + ...]
//       0       where the pairs end: 4 to 16; 0 or 2 where there are none
//       1       the line that goes on, 0 none
//       2..15   pairs, without gaps, the newest behind the others
//
// The newest pair of a hash is met first, as in the kernel's lists: a connection whose answers look like itself is found by
// its reply. Lines behind a home line hold what is older, so that pairs are added in the home line alone.
//
// Pairs are met by their places, numbers of words; a place is good until something is added or removed. The kernel's
// buckets (nf_conntrack_buckets) are finer than lines: a bucket stands in one home line and those behind it, with others.

import { alignedWords, LINE_WORDS } from './cache-lines.ts'

const END = 0
const NEXT = 1
const PAIRS = 2
const LINE_BITS = 4
const IN_LINE = LINE_WORDS - 1
/** Tuples for which there is a home line: some three stand there where the table is full. */
const TUPLES_A_LINE = 4
const FEWEST = 16
const MOST = 0x4000000

export class TupleHash {
  #words!: Int32Array
  /** Home lines, a power of two, less one. */
  #mask = 0
  /** Buckets, a power of two, less one. */
  #bucketMask = 0
  /** Entries that there is room for, each with two tuples. */
  #capacity: number
  /** First of the lines behind home lines that no chain has, 0 none; the others follow by their NEXT. */
  #free = 0

  /** `buckets`: rounded up to a power of two. */
  constructor(capacity: number, buckets: number) {
    this.#capacity = capacity
    this.#lay(buckets)
  }

  get buckets(): number {
    return this.#bucketMask + 1
  }

  get bytes(): number {
    return this.#words.byteLength
  }

  // -- pairs

  /** Where the newest pair of the home line is: seek() from there. Hot. */
  start(hash: number): number {
    const line = this.#home(hash)
    return line + (this.#words[line + END]! || PAIRS) - 2
  }

  /** The place at `at` or the next older one that has the hash, -1 none. To go on: seek(hash, place - 2). Hot. */
  seek(hash: number, at: number): number {
    const w = this.#words
    let line = at & ~IN_LINE
    for (;;) {
      for (; at >= line + PAIRS; at -= 2) if (w[at] === hash) return at
      line = w[line + NEXT]! << LINE_BITS
      if (line === 0) return -1
      at = line + w[line + END]! - 2
    }
  }

  /** As seek(), for any pair of the bucket. */
  seekBucket(bucket: number, at: number): number {
    const w = this.#words
    const mask = this.#bucketMask
    const wanted = bucket & mask
    let line = at & ~IN_LINE
    for (;;) {
      for (; at >= line + PAIRS; at -= 2) if ((w[at]! & mask) === wanted) return at
      line = w[line + NEXT]! << LINE_BITS
      if (line === 0) return -1
      at = line + w[line + END]! - 2
    }
  }

  handleAt(place: number): number {
    return this.#words[place + 1]!
  }

  /** Something of both ends of the home line: who reads it has the line near, wherever malloc() has put it. Hot. */
  touch(hash: number): number {
    const w = this.#words
    const line = this.#home(hash)
    return w[line]! | w[line + IN_LINE]!
  }

  /** The bucket has more than `most` pairs. Hot. */
  isLonger(hash: number, most: number): boolean {
    // What stands in one line is never many.
    if (most >= LINE_WORDS / 2 && this.#words[this.#home(hash) + NEXT] === 0) return false
    let length = 0
    for (let at = this.seekBucket(hash, this.start(hash)); at >= 0; at = this.seekBucket(hash, at - 2))
      if (++length > most) return true
    return false
  }

  insert(hash: number, handle: number): void {
    const line = this.#home(hash)
    if (this.#words[line + END] === LINE_WORDS) this.#empty(line)
    const w = this.#words
    const end = w[line + END] || PAIRS
    w[line + end] = hash
    w[line + end + 1] = handle
    w[line + END] = end + 2
  }

  /** Newer pairs of its line close up. Nothing happens if it is not there. */
  remove(hash: number, handle: number): void {
    const w = this.#words
    let at = this.seek(hash, this.start(hash))
    while (at >= 0 && w[at + 1] !== handle) at = this.seek(hash, at - 2)
    if (at < 0) return
    const line = at & ~IN_LINE
    const end = line + w[line + END]! - 2
    for (; at < end; at++) w[at] = w[at + 2]!
    w[line + END] = end - line
    if (end > line + PAIRS) return
    const home = this.#home(hash)
    if (line === home) this.#pull(home)
    else {
      let before = home
      while (w[before + NEXT]! << LINE_BITS !== line) before = w[before + NEXT]! << LINE_BITS
      w[before + NEXT] = w[line + NEXT]!
      this.#give(line)
    }
  }

  #home(hash: number): number {
    return (hash & this.#mask) << LINE_BITS
  }

  // -- sizes

  /** nf_conntrack_hash_resize. */
  resize(buckets: number): void {
    if (powerOfTwo(buckets) !== this.buckets) this.#relay(buckets, true)
  }

  /** Room for that many entries. */
  reserve(capacity: number): void {
    this.#capacity = capacity
    if (linesFor(capacity, this.buckets) - 1 !== this.#mask) this.#relay(this.buckets, false)
  }

  #lay(buckets: number): void {
    this.#bucketMask = powerOfTwo(buckets) - 1
    const lines = linesFor(this.#capacity, this.buckets)
    this.#mask = lines - 1
    this.#words = alignedWords(lines * LINE_WORDS)
    this.#free = 0
  }

  /** `newestFirst`: the order of those with one hash turns round, as it does where the kernel moves them. */
  #relay(buckets: number, newestFirst: boolean): void {
    const old = this.#words
    const homes = (this.#mask + 1) * LINE_WORDS
    this.#lay(buckets)
    const places: number[] = []
    for (let home = 0; home < homes; home += LINE_WORDS) {
      for (let line = home; ; line = old[line + NEXT]! << LINE_BITS) {
        for (let at = line + old[line + END]! - 2; at >= line + PAIRS; at -= 2) places.push(at)
        if (old[line + NEXT] === 0) break
      }
      while (places.length > 0) {
        const at = newestFirst ? places.shift()! : places.pop()!
        this.insert(old[at]!, old[at + 1]!)
      }
    }
  }

  /** What stands in a full home line goes to a line of its own behind it. */
  #empty(home: number): void {
    if (this.#free === 0) this.#addLines()
    const w = this.#words
    const added = this.#free << LINE_BITS
    this.#free = w[added + NEXT]!
    w.copyWithin(added, home, home + LINE_WORDS)
    w[home + END] = 0
    w[home + NEXT] = added >> LINE_BITS
  }

  /** What stands behind an empty home line comes into it. */
  #pull(home: number): void {
    const w = this.#words
    const line = w[home + NEXT]! << LINE_BITS
    if (line === 0) return
    w.copyWithin(home, line, line + LINE_WORDS)
    this.#give(line)
  }

  #give(line: number): void {
    const w = this.#words
    w[line + END] = 0
    w[line + NEXT] = this.#free
    this.#free = line >> LINE_BITS
  }

  /** Allocates: more lines behind the home lines, half as many as there are. */
  #addLines(): void {
    const old = this.#words
    const before = old.length >> LINE_BITS
    const after = before + Math.max(FEWEST, before >> 1)
    const words = alignedWords(after * LINE_WORDS)
    words.set(old)
    this.#words = words
    for (let line = after - 1; line >= before; line--) {
      words[(line << LINE_BITS) + NEXT] = this.#free
      this.#free = line
    }
  }
}

/** Never more lines than buckets, so that a bucket has one home. */
const linesFor = (capacity: number, buckets: number): number =>
  Math.min(powerOfTwo((capacity * 2) / TUPLES_A_LINE), buckets)

function powerOfTwo(n: number): number {
  let size = FEWEST
  while (size < n && size < MOST) size *= 2
  return size
}
