// Handles by the hashes of their tuples. Memory is what a look-up costs, so a cache line holds what it needs: as a rule one
// line is all that is read before the entry itself, or to know that there is none.
//
//     hash ─ low bits ─▶ home line: seven pairs (hash, handle) ─ full ─▶ another line …
//
//     words[line * 16 + ...]
//       0       where the pairs end: 4 to 16; 0 or 2 where there are none
//       1       the line that goes on, 0 none
//       2..15   pairs, without gaps, the newest behind the others; behind them nothing that a hash of this line could equal
//
// Of each home line there is a mark, so small that sixteen of them share a cache line and all are near: how many pairs it
// has, and a bit for each of them that another hash seldom has. A tuple that nobody has is known by it, and a pair is added
// without reading the line: a processor waits for what it reads, not for what it writes.
//
//     marks[line]   28 bits by hash, of the lines behind too │ a line goes on │ pairs in the home line
//
// The newest pair of a hash is met first, as in the kernel's lists: a connection whose answers look like itself is found by
// its reply. Lines behind a home line hold what is older, so that pairs are added in the home line alone; once few are left
// they come back into it.
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
/** Pairs of two lines that come into one, which has room for the next then. */
const MOST_JOINED = 6
const FEWEST = 16
const MOST = 0x4000000

// Of a mark.
const COUNT = 7
const GOES_ON = 8
const BITS = 28

export class TupleHash {
  #words!: Int32Array
  #marks!: Int32Array
  /** Home lines, a power of two, less one. */
  #mask = 0
  /** Buckets, a power of two, less one. */
  #bucketMask = 0
  /** Entries that there is room for, each with two tuples. */
  #capacity: number
  /** First of the lines behind home lines that no chain has, 0 none; the others follow by their NEXT. */
  #free = 0
  /** Where seekAll() leaves what it read, of no meaning: somebody has to want it, or V8 would not read it. */
  sink = 0

  /** `buckets`: rounded up to a power of two. */
  constructor(capacity: number, buckets: number) {
    this.#capacity = capacity
    this.#lay(buckets)
  }

  get buckets(): number {
    return this.#bucketMask + 1
  }

  // -- pairs
  //
  // Where the newest pair of a home line is stands in first(), firstNear() and #newest(): were the first two to call the third,
  // V8 would inline less of what calls them, for every packet.

  /** The place of the newest pair that has the hash, -1 none. Hot. */
  first(hash: number): number {
    const number = hash & this.#mask
    if ((this.#marks[number]! & bitOf(hash)) === 0) return -1
    const line = number << LINE_BITS
    return this.#seek(hash, -1, line + (this.#words[line + END]! || PAIRS) - 2)
  }

  /** As first(), for who has touched the home line. Hot. */
  firstNear(hash: number): number {
    const line = (hash & this.#mask) << LINE_BITS
    return this.#seek(hash, -1, line + (this.#words[line + END]! || PAIRS) - 2)
  }

  /** The place of the one before it in age, -1 none. Hot. */
  next(hash: number, place: number): number {
    return this.#seek(hash, -1, place - 2)
  }

  /** As first(), for any pair of the bucket. */
  firstOfBucket(bucket: number): number {
    return this.#seek(bucket & this.#bucketMask, this.#bucketMask, this.#newest(bucket))
  }

  nextOfBucket(bucket: number, place: number): number {
    return this.#seek(bucket & this.#bucketMask, this.#bucketMask, place - 2)
  }

  /** Where the newest pair of the home line is. */
  #newest(hash: number): number {
    const line = this.#home(hash)
    return line + (this.#words[line + END]! || PAIRS) - 2
  }

  /** The place at `at` or the next older one whose hash has these bits of the mask, -1 none. Hot. */
  #seek(bits: number, mask: number, at: number): number {
    const w = this.#words
    let line = at & ~IN_LINE
    for (;;) {
      for (; at >= line + PAIRS; at -= 2) if ((w[at]! & mask) === bits) return at
      line = w[line + NEXT]! << LINE_BITS
      if (line === 0) return -1
      at = line + w[line + END]! - 2
    }
  }

  handleAt(place: number): number {
    return this.#words[place + 1]!
  }

  /**
   * The newest handle of each hash, -1 none, into those of `hints` that are not negative. True: some have none. First all lines
   * are read, with as few instructions between as can be: the processor waits for so many at a time as it has room for
   * the instructions. Which of a line's pairs it is, no branch could foresee. Hot.
   */
  seekAll(hashes: Int32Array, hints: Int32Array, count: number): boolean {
    const w = this.#words
    const mask = this.#mask
    this.#touchHomes(hashes, count)
    let missing = false
    for (let i = 0; i < count; i++) {
      if (hints[i]! < 0) continue
      const hash = hashes[i]!
      const line = (hash & mask) << LINE_BITS
      let found = chosen(w, line + 2, hash, -1)
      found = chosen(w, line + 4, hash, found)
      found = chosen(w, line + 6, hash, found)
      found = chosen(w, line + 8, hash, found)
      if (w[line + END]! > 10) {
        found = chosen(w, line + 10, hash, found)
        found = chosen(w, line + 12, hash, found)
        found = chosen(w, line + 14, hash, found)
      }
      if (found < 0) {
        const place = w[line + NEXT] === 0 ? -1 : this.firstNear(hash)
        if (place < 0) missing = true
        else found = this.handleAt(place)
      }
      hints[i] = found
    }
    return missing
  }

  /** The same of the mark. Hot. */
  touchMark(hash: number): number {
    return this.#marks[hash & this.#mask]!
  }

  /** Reads what first() and insert() will ask of each hash, whether somebody has it or not. Hot. */
  touchFirst(hashes: Int32Array, count: number): void {
    const marks = this.#marks
    let read = 0
    for (let i = 0; i < count; i++) read |= marks[hashes[i]! & this.#mask]!
    this.sink = read
    this.#touchHomes(hashes, count)
  }

  /** Reads what remove() will ask of each hash. */
  touchLines(hashes: Int32Array, count: number): void {
    const w = this.#words
    const mask = this.#mask
    this.#touchHomes(hashes, count)
    let read = 0
    for (let i = 0; i < count; i++) {
      const next = w[((hashes[i]! & mask) << LINE_BITS) + NEXT]!
      if (next !== 0) read |= w[next << LINE_BITS]!
    }
    this.sink = read
  }

  /** Reads home lines: with so little between two of them, the processor waits for many at a time. */
  #touchHomes(hashes: Int32Array, count: number): void {
    const w = this.#words
    const mask = this.#mask
    let read = 0
    let at = 0
    for (const stop = count - 3; at < stop; at += 4) {
      read |= w[(hashes[at]! & mask) << LINE_BITS]!
      read |= w[(hashes[at + 1]! & mask) << LINE_BITS]!
      read |= w[(hashes[at + 2]! & mask) << LINE_BITS]!
      read |= w[(hashes[at + 3]! & mask) << LINE_BITS]!
    }
    for (; at < count; at++) read |= w[(hashes[at]! & mask) << LINE_BITS]!
    this.sink = read
  }

  /** The bucket has more than `most` pairs. Hot. */
  isLonger(hash: number, most: number): boolean {
    // What stands in one line is never many.
    if (most >= LINE_WORDS / 2 && (this.#marks[hash & this.#mask]! & GOES_ON) === 0) return false
    let length = 0
    for (let at = this.firstOfBucket(hash); at >= 0; at = this.nextOfBucket(hash, at))
      if (++length > most) return true
    return false
  }

  insert(hash: number, handle: number): void {
    const number = hash & this.#mask
    const line = number << LINE_BITS
    if ((this.#marks[number]! & COUNT) === COUNT) this.#empty(line)
    const w = this.#words
    const mark = this.#marks[number]!
    const end = PAIRS + (mark & COUNT) * 2
    w[line + end] = hash
    w[line + end + 1] = handle
    w[line + END] = end + 2
    this.#marks[number] = (mark | bitOf(hash)) + 1
  }

  /** Newer pairs of its line close up. Nothing happens if it is not there. Hot. */
  remove(hash: number, handle: number): void {
    const w = this.#words
    const home = this.#home(hash)
    if (w[home + NEXT] !== 0) {
      this.#removeFrom(hash, handle)
      return
    }
    // Which pair it is, no branch could foresee.
    const end = home + (w[home + END]! || PAIRS)
    let mark = 0
    // 0, then -2: how far pairs move.
    let by = 0
    for (let at = home + PAIRS; at < end; at += 2) {
      const otherHash = w[at]!
      const otherHandle = w[at + 1]!
      const difference = (otherHash ^ hash) | (otherHandle ^ handle)
      const isOther = (difference | -difference) >> 31
      w[at + by] = otherHash
      w[at + by + 1] = otherHandle
      mark |= bitOf(otherHash) & isOther
      by += ~isOther & -2
    }
    if (by === 0) return
    w[end - 2] = ~hash
    w[home + END] = end - 2 - home
    this.#marks[home >> LINE_BITS] = mark | ((end - home - 2 - PAIRS) >> 1)
  }

  /** As remove(), where lines stand behind the home line. */
  #removeFrom(hash: number, handle: number): void {
    const w = this.#words
    let at = this.firstNear(hash)
    while (at >= 0 && w[at + 1] !== handle) at = this.next(hash, at)
    if (at < 0) return
    const line = at & ~IN_LINE
    const end = line + w[line + END]! - 2
    for (; at < end; at++) w[at] = w[at + 2]!
    w[end] = ~hash
    w[line + END] = end - line
    const home = this.#home(hash)
    if (end === line + PAIRS && line !== home) {
      let before = home
      while (w[before + NEXT]! << LINE_BITS !== line) before = w[before + NEXT]! << LINE_BITS
      w[before + NEXT] = w[line + NEXT]!
      this.#give(line)
    }
    this.#join(home)
    this.#mark(home)
  }

  /** Brings the mark of a home line up to date. */
  #mark(home: number): void {
    const w = this.#words
    let mark = w[home + NEXT] === 0 ? 0 : GOES_ON
    for (let line = home; ; line = w[line + NEXT]! << LINE_BITS) {
      const end = line + w[line + END]!
      for (let at = line + PAIRS; at < end; at += 2) mark |= bitOf(w[at]!)
      if (w[line + NEXT] === 0) break
    }
    this.#marks[home >> LINE_BITS] = mark | (((w[home + END]! || PAIRS) - PAIRS) >> 1)
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
    // Where 0 would be a hash of the line.
    this.#words.fill(-1, PAIRS, LINE_WORDS)
    this.#marks = alignedWords(lines)
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
    w.fill(~(home >> LINE_BITS), home + PAIRS, home + LINE_WORDS)
    w[home + NEXT] = added >> LINE_BITS
    this.#mark(home)
  }

  /** What stands behind the home line comes into it, if few are in both: who looks for it waits for one line, not for two. */
  #join(home: number): void {
    const w = this.#words
    const line = w[home + NEXT]! << LINE_BITS
    if (line === 0) return
    const mine = (w[home + END]! || PAIRS) - PAIRS
    const older = w[line + END]! - PAIRS
    if (mine > 0 && mine + older > MOST_JOINED * 2) return
    w.copyWithin(home + PAIRS + older, home + PAIRS, home + PAIRS + mine)
    w.copyWithin(home + PAIRS, line + PAIRS, line + PAIRS + older)
    w[home + END] = PAIRS + older + mine
    w[home + NEXT] = w[line + NEXT]!
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

/** The handle of the pair at `at` if that has the hash, else `found`. Without a branch. */
function chosen(w: Int32Array, at: number, hash: number, found: number): number {
  const difference = w[at]! ^ hash
  // All bits where they differ, else none.
  const other = (difference | -difference) >> 31
  return (found & other) | (w[at + 1]! & ~other)
}

/** The bit that the pairs of a hash have in the mark of their line. */
const bitOf = (hash: number): number => 1 << (32 - BITS + (((hash >>> 24) * BITS) >> 8))

/** Never more lines than buckets, so that a bucket has one home. */
const linesFor = (capacity: number, buckets: number): number =>
  Math.min(powerOfTwo((capacity * 2) / TUPLES_A_LINE), buckets)

function powerOfTwo(n: number): number {
  let size = FEWEST
  while (size < n && size < MOST) size *= 2
  return size
}
