// Entries in typed arrays: slab, free list, hash by either tuple. The only file that knows the layout.
//
// An entry is a small integer. Its two tuples are found by handles: handle = entry * 2 + direction.
//
//   words[entry * STRIDE + ...]  (Int32Array, 192 bytes an entry, three cache lines)
//     0..3    tuple of direction 0: src, dst, ports, meta
//     4       zones, of direction 0 and above it of direction 1, see zoneOf
//     5       what the flow cache knows of direction 0 (FLOW)
//     6..9    tuple of direction 1
//    10       host.now when it was made, whole ms, modulo 2^32 (SINCE)
//    11       what the flow cache knows of direction 1
//    12       status (IPS_* bits)
//    13       ctmark
//    14..15   when it ends: a double, see expiresAt
//    16..21   direction 0 over IPv6: what follows the first word of src (3) and dst (3), see wordOf
//    22..27   direction 1 over IPv6
//    28       NAT: device that MASQUERADE chose (see nat/nat.ts)
//    29       extensions the entry has (Extension), events not told yet above them, timeout policy number + 1 on top
//    30       helper number + 1, 0 none
//    31       master entry + 1 (expected connections), 0 none
//    32..46   private to the tracker (tcp: windows)
//    47       uses: packets that hold the entry, and expected entries whose master it is
//   born[entry]      host.now when it was made
//   acct[entry * 4 + dir * 2 + (0 packets, 1 bytes)], if the entry has Extension.Acct
//   extra[entry * EXTRA + ...]   what few entries have: secmark, event masks, labels
//
// The last two are there only once somebody wants them.
//
// With many connections, memory is what costs: a look-up reads a line of handles (tuple-hash.ts) and only the entry whose
// hash fits, and all that a packet of a known UDP connection over IPv4 needs lies in the entry's first line; TCP asks for the
// third one, too.
//
// ports word: see tuple.ts. meta word: protocol << 8 | family (4 or 6). The zone of a direction is the one that
// counts there (nf_ct_zone_id), so a zone of one direction only is 0 in the other.
//
// The arrays are replaced when the slab grows: nobody keeps `words` over a call that may make an entry.

import { CtInfo } from '../datapath/packet.ts'
import { alignedWords } from './cache-lines.ts'
import type { Tuple } from './tuple.ts'
import { TupleHash } from './tuple-hash.ts'

export const STRIDE = 48
export const TUPLE_WORDS = 6
export const STATUS = 12
export const CTMARK = 13
const ZONES = 4
export const SINCE = 10
const EXPIRES = 14
/** Before the first of the words that only IPv6 has. */
const REST = 15
export const NAT = 28
export const EXTENSIONS = 29
export const HELPER = 30
export const MASTER = 31
export const PRIVATE = 32
export const USES = 47
/** Words of `extra`. */
const EXTRA = 8
export const SECMARK = 0
/** ctevents | expevents << 16 (CT --ctevents, --expevents). */
export const EVENTS = 1
/** 128 bits. */
export const LABELS = 2
/** Which of the table's doubles says when an entry ends. */
export const endOf = (entry: number): number => (entry * STRIDE + EXPIRES) >> 1

/** Offsets inside a tuple. */
export const SRC = 0
export const DST = 1
export const PORTS = 2
export const META = 3
export const FLOW = 5

/** Where word `i`, 0 to 3, of the address `at` (SRC, DST) stands inside a tuple. */
export const wordOf = (at: number, i: number): number => (i === 0 ? at : REST + 3 * at + i)
const S1 = wordOf(SRC, 1)
const S2 = wordOf(SRC, 2)
const S3 = wordOf(SRC, 3)
const D1 = wordOf(DST, 1)
const D2 = wordOf(DST, 2)
const D3 = wordOf(DST, 3)

/** The address `at` (SRC, DST) of the tuple at word `o`. */
export const addressAt = (w: Int32Array, o: number, at: number): [number, number, number, number] => [
  w[o + at]!,
  w[o + wordOf(at, 1)]!,
  w[o + wordOf(at, 2)]!,
  w[o + wordOf(at, 3)]!,
]

/** The zone that counts in a direction of the entry at word `o` (nf_ct_zone_id). Hot. */
export const zoneOf = (w: Int32Array, o: number, dir: number): number =>
  (w[o + ZONES]! >>> (dir << 4)) & 0xffff

/** The zone's number, whichever directions it counts for (nf_ct_zone(ct)->id). */
export const anyZoneOf = (w: Int32Array, o: number): number => zoneOf(w, o, 0) || zoneOf(w, o, 1)

/** Whether the address `at` of the tuple at word `o` is this one. Hot. */
export const isAddress = (
  w: Int32Array,
  o: number,
  at: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): boolean =>
  w[o + at] === w0 &&
  w[o + wordOf(at, 1)] === w1 &&
  w[o + wordOf(at, 2)] === w2 &&
  w[o + wordOf(at, 3)] === w3

/** enum ip_conntrack_status; the numbers are the kernel's. */
export const Status = {
  Expected: 1 << 0,
  SeenReply: 1 << 1,
  Assured: 1 << 2,
  Confirmed: 1 << 3,
  SrcNat: 1 << 4,
  DstNat: 1 << 5,
  SeqAdjust: 1 << 6,
  SrcNatDone: 1 << 7,
  DstNatDone: 1 << 8,
  Dying: 1 << 9,
  FixedTimeout: 1 << 10,
  Template: 1 << 11,
  NatClash: 1 << 12,
  Helper: 1 << 13,
  Offload: 1 << 14,
} as const

/** enum ip_conntrack_events, as bits. */
export const Event = {
  New: 1 << 0,
  Related: 1 << 1,
  Destroy: 1 << 2,
  Reply: 1 << 3,
  Assured: 1 << 4,
  ProtoInfo: 1 << 5,
  Helper: 1 << 6,
  Mark: 1 << 7,
  SeqAdjust: 1 << 8,
  SecMark: 1 << 9,
  Label: 1 << 10,
  Synproxy: 1 << 11,
} as const

/** A tracker found the connection worth keeping: said once. `o`: first word of the entry. */
export function assure(w: Int32Array, o: number): void {
  const status = w[o + STATUS]!
  if ((status & Status.Assured) !== 0) return
  w[o + STATUS] = status | Status.Assured
  noteEvents(w, o, Event.Assured)
}

/** ip_conntrack_info of a packet in direction `dir` of an entry with this status (resolve_normal_ct). Hot. */
export function infoOf(status: number, dir: number): number {
  if (dir !== 0) return CtInfo.EstablishedReply
  if ((status & Status.SeenReply) !== 0) return CtInfo.Established
  return (status & Status.Expected) !== 0 ? CtInfo.Related : CtInfo.New
}

/** Event bits that wait for the packet to pass (nf_conntrack_ecache.cache). `o`: first word of the entry. */
export function noteEvents(w: Int32Array, o: number, events: number): void {
  w[o + EXTENSIONS] = w[o + EXTENSIONS]! | (events << EVENT_SHIFT)
}

export const eventsOf = (w: Int32Array, o: number): number => (w[o + EXTENSIONS]! >> EVENT_SHIFT) & EVENT_BITS

export function clearEvents(w: Int32Array, o: number): void {
  w[o + EXTENSIONS] = w[o + EXTENSIONS]! & ~(EVENT_BITS << EVENT_SHIFT)
}

/** Bits of the word EXTENSIONS (struct nf_ct_ext): made at creation, by the sysctls of that moment. */
export const Extension = { Timestamp: 1, Labels: 2, Events: 4, Acct: 8 } as const
const EVENT_SHIFT = 4
const EVENT_BITS = 0xfff
export const POLICY_SHIFT = 16

/** Longest chain that a new entry may join: MIN_CHAINLEN plus a random part below MAX_CHAINLEN. */
export const MIN_CHAINLEN = 50
export const MAX_CHAINLEN = 30

/** Answer of `findClash`: the chain is longer than allowed. */
export const TOO_LONG = -2

export class EntryTable {
  words!: Int32Array
  /** `words` as bytes, as 16-bit words, as doubles. */
  bytes!: Uint8Array
  halves!: Uint16Array
  doubles!: Float64Array
  /** Empty until clearAcct() was called. */
  acct = new Float64Array(0)
  /** Empty until setExtra() was called. */
  extra = new Int32Array(0)
  /** host.now when the entry was made. */
  born: Float64Array
  capacity: number
  /** Confirmed entries (nf_conntrack_count counts unconfirmed ones too: see `used`). */
  confirmed = 0
  /** Entries in use, confirmed or not. */
  used = 0
  /** Where seekAll() leaves what it read, of no meaning: somebody has to want it, or V8 would not read it. */
  sink = 0
  #free: Int32Array
  #freeCount: number
  readonly #handles: TupleHash
  readonly #seed: number
  /** The entry whose tuples have these hashes, -1 none: who asks for them asks again. */
  #hashed = -1
  #hash0 = 0
  #hash1 = 0

  /** `capacity`: entries before the arrays grow. `buckets`: rounded up to a power of two. */
  constructor(seed: number, capacity = 1024, buckets = 4096) {
    this.#seed = seed | 1
    this.capacity = capacity
    this.#view(alignedWords(capacity * STRIDE))
    this.born = new Float64Array(capacity)
    this.#free = new Int32Array(capacity)
    for (let i = 0; i < capacity; i++) this.#free[i] = capacity - 1 - i
    this.#freeCount = capacity
    this.#handles = new TupleHash(capacity, buckets)
  }

  #view(words: Int32Array): void {
    const { buffer, byteOffset } = words
    this.words = words
    this.doubles = new Float64Array(buffer, byteOffset)
    this.bytes = new Uint8Array(buffer, byteOffset)
    this.halves = new Uint16Array(buffer, byteOffset)
  }

  get buckets(): number {
    return this.#handles.buckets
  }

  /** A zeroed entry, not in the hash. Grows the arrays by doubling; does not allocate otherwise. */
  create(): number {
    if (this.#freeCount === 0) this.reserve(this.capacity * 2)
    const entry = this.#free[--this.#freeCount]!
    // fill() is a call out of JavaScript, which costs more than so few words.
    const { doubles } = this
    const from = entry * (STRIDE >> 1)
    for (let i = from; i < from + (STRIDE >> 1); i++) doubles[i] = 0
    if (this.extra.length > 0) this.extra.fill(0, entry * EXTRA, entry * EXTRA + EXTRA)
    this.used++
    return entry
  }

  destroy(entry: number): void {
    this.#free[this.#freeCount++] = entry
    this.used--
  }

  /**
   * Room for that many entries, so that no later growth copies the slab: a gateway asks for nf_conntrack_max once.
   * Memory that no entry touched costs address space only.
   */
  reserve(capacity: number): void {
    const old = this.capacity
    if (capacity <= old) return
    const words = alignedWords(capacity * STRIDE)
    words.set(this.words)
    this.#handles.reserve(capacity)
    if (this.acct.length > 0) {
      const acct = new Float64Array(capacity * 4)
      acct.set(this.acct)
      this.acct = acct
    }
    if (this.extra.length > 0) {
      const extra = new Int32Array(capacity * EXTRA)
      extra.set(this.extra)
      this.extra = extra
    }
    const born = new Float64Array(capacity)
    born.set(this.born)
    this.#view(words)
    this.born = born
    this.capacity = capacity
    // New numbers below the free ones already there: low numbers are used first.
    const free = new Int32Array(capacity)
    for (let i = 0; i < capacity - old; i++) free[i] = capacity - 1 - i
    free.set(this.#free.subarray(0, this.#freeCount), capacity - old)
    this.#freeCount += capacity - old
    this.#free = free
  }

  /** nf_conntrack_hash_resize. */
  rehash(buckets: number): void {
    this.#handles.resize(buckets)
  }

  /** The entry counts its packets from none. */
  clearAcct(entry: number): void {
    if (this.acct.length === 0) this.acct = new Float64Array(this.capacity * 4)
    this.acct.fill(0, entry * 4, entry * 4 + 4)
  }

  /** SECMARK, EVENTS or a word of LABELS. */
  extraOf(entry: number, at: number): number {
    return this.extra.length === 0 ? 0 : this.extra[entry * EXTRA + at]!
  }

  setExtra(entry: number, at: number, value: number): void {
    if (this.extra.length === 0) {
      if (value === 0) return
      this.extra = new Int32Array(this.capacity * EXTRA)
    }
    this.extra[entry * EXTRA + at] = value
  }

  /** The flow cache knows nothing of the entry at word `o` any more. */
  forgetWays(o: number): void {
    this.words[o + FLOW] = this.words[o + TUPLE_WORDS + FLOW] = 0
  }

  /** host.now at which the entry ends, ms; while unconfirmed the time from confirmation on. Hot. */
  expiresAt(entry: number): number {
    return this.doubles[endOf(entry)]!
  }

  setExpires(entry: number, ms: number): void {
    this.doubles[endOf(entry)] = ms
  }

  setTuple(entry: number, dir: number, t: Tuple): void {
    const w = this.words
    const o = entry * STRIDE + dir * TUPLE_WORDS
    this.#hashed = -1
    w[o] = t.s0
    w[o + S1] = t.s1
    w[o + S2] = t.s2
    w[o + S3] = t.s3
    w[o + DST] = t.d0
    w[o + D1] = t.d1
    w[o + D2] = t.d2
    w[o + D3] = t.d3
    w[o + PORTS] = t.ports
    w[o + META] = t.meta
    this.setZone(entry, dir, t.zone)
  }

  /** The zone that counts in a direction. */
  setZone(entry: number, dir: number, zone: number): void {
    const o = entry * STRIDE + ZONES
    const shift = dir << 4
    this.#hashed = -1
    this.words[o] = (this.words[o]! & ~(0xffff << shift)) | (zone << shift)
  }

  #zone(handle: number): number {
    return zoneOf(this.words, (handle >> 1) * STRIDE, handle & 1)
  }

  readTuple(entry: number, dir: number, into: Tuple): Tuple {
    const w = this.words
    const o = entry * STRIDE + dir * TUPLE_WORDS
    into.s0 = w[o]!
    into.s1 = w[o + S1]!
    into.s2 = w[o + S2]!
    into.s3 = w[o + S3]!
    into.d0 = w[o + DST]!
    into.d1 = w[o + D1]!
    into.d2 = w[o + D2]!
    into.d3 = w[o + D3]!
    into.ports = w[o + PORTS]!
    into.meta = w[o + META]!
    into.zone = zoneOf(w, entry * STRIDE, dir)
    return into
  }

  /** Handle of the entry that has the tuple in its zone, or -1. Expired entries are found too. Hot. */
  find(t: Tuple): number {
    const w = this.words
    const handles = this.#handles
    const { s0, d0, ports, meta } = t
    const hash = this.hashOf(t)
    for (let at = handles.firstNear(hash); at >= 0; at = handles.next(hash, at)) {
      const handle = handles.handleAt(at)
      const o = offsetOf(handle)
      if (
        w[o + PORTS] === ports &&
        w[o] === s0 &&
        w[o + DST] === d0 &&
        w[o + META] === meta &&
        zoneOf(w, (handle >> 1) * STRIDE, handle & 1) === t.zone &&
        ((meta & 0xff) === 4 ||
          (w[o + S1] === t.s1 &&
            w[o + S2] === t.s2 &&
            w[o + S3] === t.s3 &&
            w[o + D1] === t.d1 &&
            w[o + D2] === t.d2 &&
            w[o + D3] === t.d3))
      )
        return handle
    }
    return -1
  }

  /** Hash of an IPv4 tuple in zone 0. Hot. */
  hashOf4(s0: number, d0: number, ports: number, meta: number): number {
    const h = this.#hash4(s0, d0, ports, meta)
    return h ^ (h >>> 15)
  }

  /** Reads what tells whether somebody has tuples with these hashes, as seekAll() does. Hot. */
  touchFirst(hashes: Int32Array, count: number): void {
    this.#handles.touchFirst(hashes, count)
  }

  /** The first place whose handle has a tuple with this hash, -1 none. Good until an entry comes or goes. Hot. */
  firstPlace(hash: number): number {
    return this.#handles.first(hash)
  }

  /** The one behind `place` with the same hash, -1 none. Hot. */
  nextPlace(hash: number, place: number): number {
    return this.#handles.next(hash, place)
  }

  handleAt(place: number): number {
    return this.#handles.handleAt(place)
  }

  /** The first place of a bucket of the kernel's, -1 none; `bucket` is taken modulo their number. */
  firstOfBucket(bucket: number): number {
    return this.#handles.firstOfBucket(bucket)
  }

  /** The one behind `place` in the same bucket, -1 none. */
  nextOfBucket(bucket: number, place: number): number {
    return this.#handles.nextOfBucket(bucket, place)
  }

  /**
   * The first handle whose tuple has the hash, -1 none, into those of `hints` that are not negative: hints, see isOf(). Reads
   * what packets of their entries will ask for, so that the processor has it near. A pass for each step: what it reads for one
   * hash does not wait for what it reads for another, and which handle fits is decided when all are there, since a branch
   * that waits for memory and was foreseen wrongly throws away what was begun behind it. Hot.
   */
  seekAll(hashes: Int32Array, hints: Int32Array, count: number): void {
    const w = this.words
    const handles = this.#handles
    const missing = handles.seekAll(hashes, hints, count)
    let read = 0
    let at = 0
    // As in TupleHash.seekAll().
    for (const stop = count - 3; at < stop; at += 4) {
      read |= w[entryOf(hints[at]!)]!
      read |= w[entryOf(hints[at + 1]!)]!
      read |= w[entryOf(hints[at + 2]!)]!
      read |= w[entryOf(hints[at + 3]!)]!
    }
    for (; at < count; at++) read |= w[entryOf(hints[at]!)]!
    if (missing) for (let i = 0; i < count; i++) if (hints[i] === -1) read |= handles.touchMark(hashes[i]!)
    this.sink = read
  }

  /**
   * Reads what ending these entries will ask for, as seekAll() does, and leaves the hashes of their tuples, by handle, in
   * `hashes`.
   */
  touchAll(entries: Int32Array, hashes: Int32Array, count: number): void {
    const w = this.words
    let read = 0
    for (let i = 0; i < count; i++) {
      const o = entries[i]! * STRIDE
      read |= w[o]! | w[o + NAT]! | w[o + USES]!
    }
    this.sink = read
    for (let i = 0; i < count; i++) {
      const handle = entries[i]! * 2
      hashes[i * 2] = this.#hashAt(handle)
      hashes[i * 2 + 1] = this.#hashAt(handle + 1)
    }
    this.#handles.touchLines(hashes, count * 2)
  }

  /** The entry behind a handle is in the hash with this IPv4 tuple in zone 0. Hot. */
  isOf(handle: number, s0: number, d0: number, ports: number, meta: number): boolean {
    const w = this.words
    const entry = (handle >> 1) * STRIDE
    const o = entry + (handle & 1) * TUPLE_WORDS
    return (
      w[o + PORTS] === ports &&
      w[o] === s0 &&
      w[o + DST] === d0 &&
      w[o + META] === meta &&
      zoneOf(w, entry, handle & 1) === 0 &&
      (w[entry + STATUS]! & (Status.Confirmed | Status.Dying | Status.NatClash)) === Status.Confirmed
    )
  }

  /** As find, but only in one direction: zones that count in one direction need it. */
  findIn(t: Tuple, dir: number): number {
    const hash = this.hashOf(t)
    for (let at = this.firstPlace(hash); at >= 0; at = this.nextPlace(hash, at)) {
      const handle = this.handleAt(at)
      if ((handle & 1) === dir && this.#same(t, offsetOf(handle)) && this.#zone(handle) === t.zone)
        return handle
    }
    return -1
  }

  /**
   * Handle of an entry already in the hash whose key equals `entry`'s tuple of direction `dir` (nf_ct_key_equal in
   * __nf_conntrack_confirm): the zones must be equal in the direction of the entry found. -1 none; TOO_LONG if none, and
   * the bucket has more than `limit` others. Expired entries count, as in the kernel.
   */
  findClash(entry: number, dir: number, limit: number): number {
    const own = entry * STRIDE + dir * TUPLE_WORDS
    const hash = this.#hashOf(entry, dir)
    const zone = this.#zone(entry * 2 + dir)
    for (let at = this.firstPlace(hash); at >= 0; at = this.nextPlace(hash, at)) {
      const handle = this.handleAt(at)
      if (this.#sameWords(own, offsetOf(handle)) && this.#zoneFits(entry, handle, zone)) return handle
    }
    return this.#handles.isLonger(hash, limit + 1) ? TOO_LONG : -1
  }

  /** Whether `handle`'s zone equals `entry`'s in the direction of `handle`, and it hashes with `zone`. */
  #zoneFits(entry: number, handle: number, zone: number): boolean {
    const w = this.words
    const other = this.#zone(handle)
    return other === zone && other === zoneOf(w, entry * STRIDE, handle & 1)
  }

  /** nf_ct_tuple_equal of `t` and the tuple behind a handle. */
  sameTuple(t: Tuple, handle: number): boolean {
    return this.#same(t, offsetOf(handle))
  }

  /** Tuples and zones of direction `dirA` of `a` and `dirB` of `b` are equal. */
  equalTuples(a: number, dirA: number, b: number, dirB: number): boolean {
    const x = a * STRIDE + dirA * TUPLE_WORDS
    const y = b * STRIDE + dirB * TUPLE_WORDS
    return this.#sameWords(x, y) && this.#zone(a * 2 + dirA) === this.#zone(b * 2 + dirB)
  }

  /** Puts both directions into the hash. */
  insert(entry: number): void {
    this.#link(entry, 0)
    this.#link(entry, 1)
    this.confirmed++
  }

  /** Puts only the reply direction into the hash (nf_ct_resolve_clash_harder; status has NatClash). */
  insertReply(entry: number): void {
    this.#link(entry, 1)
    this.confirmed++
  }

  remove(entry: number): void {
    if ((this.words[entry * STRIDE + STATUS]! & Status.NatClash) === 0) this.#unlink(entry, 0)
    this.#unlink(entry, 1)
    this.confirmed--
  }

  /** Number of the bucket that a tuple in its zone hashes to. */
  bucketOf(t: Tuple): number {
    return this.hashOf(t) & (this.buckets - 1)
  }

  /** Calls `each` for every confirmed entry in slab order; entries may be removed meanwhile. */
  forEach(each: (entry: number) => void): void {
    for (let e = 0; e < this.capacity; e++)
      if ((this.words[e * STRIDE + STATUS]! & (Status.Confirmed | Status.Dying)) === Status.Confirmed) each(e)
  }

  /** Hash of a tuple in its zone. */
  hashOf(t: Tuple): number {
    return this.#hash(t.s0, t.s1, t.s2, t.s3, t.d0, t.d1, t.d2, t.d3, t.ports, t.meta, t.zone)
  }

  /** The hashes of an entry's tuples, as touchAll() left them, are asked for next. */
  recall(entry: number, hash0: number, hash1: number): void {
    this.#hashed = entry
    this.#hash0 = hash0
    this.#hash1 = hash1
  }

  /** Hash of one of the tuples of an entry that comes or goes. */
  #hashOf(entry: number, dir: number): number {
    if (this.#hashed !== entry) this.recall(entry, this.#hashAt(entry * 2), this.#hashAt(entry * 2 + 1))
    return dir === 0 ? this.#hash0 : this.#hash1
  }

  /** Hash of the tuple behind a handle. */
  #hashAt(handle: number): number {
    const w = this.words
    const o = offsetOf(handle)
    return this.#hash(
      w[o]!,
      w[o + S1]!,
      w[o + S2]!,
      w[o + S3]!,
      w[o + DST]!,
      w[o + D1]!,
      w[o + D2]!,
      w[o + D3]!,
      w[o + PORTS]!,
      w[o + META]!,
      this.#zone(handle),
    )
  }

  #same(t: Tuple, o: number): boolean {
    const w = this.words
    return (
      w[o + PORTS] === t.ports &&
      w[o] === t.s0 &&
      w[o + DST] === t.d0 &&
      w[o + META] === t.meta &&
      w[o + S1] === t.s1 &&
      w[o + S2] === t.s2 &&
      w[o + S3] === t.s3 &&
      w[o + D1] === t.d1 &&
      w[o + D2] === t.d2 &&
      w[o + D3] === t.d3
    )
  }

  #sameWords(a: number, b: number): boolean {
    const w = this.words
    for (let i = 0; i <= META; i++) if (w[a + i] !== w[b + i]) return false
    for (let i = S1; i <= D3; i++) if (w[a + i] !== w[b + i]) return false
    return true
  }

  #link(entry: number, dir: number): void {
    const handle = entry * 2 + dir
    this.#handles.insert(this.#hashOf(entry, dir), handle)
  }

  #unlink(entry: number, dir: number): void {
    const handle = entry * 2 + dir
    this.#handles.remove(this.#hashOf(entry, dir), handle)
  }

  /** What all tuples have, mixed with the table's seed. */
  #hash4(s0: number, d0: number, ports: number, meta: number): number {
    let h = Math.imul(s0 ^ this.#seed, 0x9e3779b1)
    h = Math.imul((h ^ (h >>> 15)) + d0, 0x85ebca6b)
    h = Math.imul((h ^ (h >>> 13)) + ports, 0xc2b2ae35)
    return Math.imul((h ^ (h >>> 16)) + meta, 0x27d4eb2f)
  }

  /** Multiplicative mix of the tuple with the table's seed. */
  #hash(
    s0: number,
    s1: number,
    s2: number,
    s3: number,
    d0: number,
    d1: number,
    d2: number,
    d3: number,
    ports: number,
    meta: number,
    zone: number,
  ): number {
    let h = this.#hash4(s0, d0, ports, meta + (zone << 16))
    if ((s1 | s2 | s3 | d1 | d2 | d3) !== 0) {
      h = Math.imul((h ^ (h >>> 15)) + s1 + (s2 << 7), 0x85ebca6b)
      h = Math.imul((h ^ (h >>> 13)) + s3 + (d1 << 7), 0xc2b2ae35)
      h = Math.imul((h ^ (h >>> 15)) + d2 + (d3 << 7), 0x27d4eb2f)
    }
    return h ^ (h >>> 15)
  }
}

/** Words [from, to) become 0, few of them: fill() is a call out of JavaScript. Hot. */
export function zero(w: Int32Array, from: number, to: number): void {
  for (let i = from; i < to; i++) w[i] = 0
}

function offsetOf(handle: number): number {
  return (handle >> 1) * STRIDE + (handle & 1) * TUPLE_WORDS
}

/** The first word of the entry behind a handle; of the first entry if it is negative. Without a branch. */
function entryOf(handle: number): number {
  return ((handle & ~(handle >> 31)) >> 1) * STRIDE
}
