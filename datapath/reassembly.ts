// What both families' reassembly share, as net/ipv4/inet_fragment.c of Linux 6.18: queues, runs, memory, time.
//
//     fragments of one datagram (a queue):
//
//         runs   [0 ........ 1480)[1480 .. 2960)      [4440 .. 5000)      a run: pieces that came one behind the other
//                └ first                               └ last: nothing may come behind it
//
//     complete when first and last are there and the bytes add up. An overlap is of no use to anybody (RFC 5722 §4),
//     a piece that a run holds already neither; what then becomes of the queue is the family's to say.
//
// Fragments are copied out of their slots, so that waiting ones never starve the ring; what they may hold is bounded
// by a threshold. Buffers and queues are used again: in the long run nothing here allocates.

import type { Device } from './devices.ts'
import type { Host } from './host.ts'
import { type Family, FragmentList, IpOptions, type Packet } from './packet.ts'
import { HEADROOM } from './ring.ts'
import type { Tunables } from './tunables.ts'

/** ip_frag_ecn_table, RFC 3168 §5.3, by the set of ECN fields seen: what to add to TOS, 0xff: drop. */
export const ECN_COMBINED: Readonly<Uint8Array> = new Uint8Array(16).map((_, seen) => {
  const notEct = seen & 1
  const ect = seen & 0b0110
  const ce = seen & 0b1000
  if (notEct && seen !== 1) return 0xff
  return ce && ect ? 3 : 0
})

const BUCKETS = 1024
/** Smallest buffer for a fragment, as a power of two. */
const MIN_CLASS = 8
/** sizeof(struct ipq), sizeof(struct frag_queue). */
const QUEUE_SIZE4 = 200
const QUEUE_SIZE6 = 184

/**
 * What the kernel counts for a frame of `length` bytes (skb->truesize), as TUN devices make their sk_buffs: 64 bytes in
 * front and 320 behind, rounded up to what the allocator has; what does not fit one page lies in others.
 */
function truesizeOf(length: number): number {
  if (length >= PAGE - SKB_PAD) return SKB_SIZE + PAGE + Math.ceil((length - SKB_LINEAR) / PAGE) * PAGE
  const head = ((SKB_PAD + length + 63) & ~63) + SKB_TAIL
  if (head <= SKB_SMALL_HEAD) return SKB_SIZE + SKB_SMALL_HEAD
  return SKB_SIZE + 2 ** (32 - Math.clz32(head - 1))
}
const PAGE = 4096
const SKB_SIZE = 256
const SKB_PAD = 64
const SKB_TAIL = 320
const SKB_LINEAR = PAGE - SKB_PAD - SKB_TAIL
const SKB_SMALL_HEAD = 576

/** Milliseconds of a jiffy; HZ is 250. */
const JIFFY = 4
/** What proc_dointvec_jiffies() takes, either sign. */
const MAX_SECONDS = Math.floor(0x7fffffff / (1000 / JIFFY))

/** calc_wheel_index(): the jiffy at which a timer fires that is to fire `delta` after `now`; later timers fire coarsely. */
function firesAt(now: number, delta: number): number {
  let granularity = 1
  for (let reach = 63; delta >= reach && granularity < 1 << 24; reach *= 8) granularity *= 8
  return (Math.floor((now + delta) / granularity) + 1) * granularity
}

/** One fragment: its headers and data in a buffer of a size class. */
class Fragment {
  readonly view: DataView
  readonly bytes: Uint8Array
  readonly sizeClass: number
  offset = 0
  /** Bytes of data; they stand behind `header` bytes of headers. */
  length = 0
  header = 0
  truesize = 0
  /** Of the first fragment in a run: the run's end. */
  runEnd = 0
  /** Next one of the same run. */
  next: Fragment | null = null

  constructor(sizeClass: number) {
    this.bytes = new Uint8Array(1 << sizeClass)
    this.view = new DataView(this.bytes.buffer)
    this.sizeClass = sizeClass
  }
}

/** Fragments seen from one source while datagrams of it are open (inet_peer.rid). */
export interface Source {
  count: number
  users: number
}

/** The fragments of one datagram (struct inet_frag_queue). */
export class Queue {
  // What its fragments have in common. IPv4 has only s0 and d0, IPv6 no protocol.
  id = 0
  s0 = 0
  s1 = 0
  s2 = 0
  s3 = 0
  d0 = 0
  d1 = 0
  d2 = 0
  d3 = 0
  proto = 0
  user = 0
  /** ifindex, 0 where any will do. */
  iif = 0
  /** By offset, without overlaps. */
  readonly runs: Fragment[] = []
  /** The fragment with the highest end. */
  tail: Fragment | null = null
  haveFirst = false
  haveLast = false
  /** Bytes of the datagram as far as known, and of those that are here. */
  total = 0
  meat = 0
  /** Set of ECN fields seen. */
  ecn = 0
  maxSize = 0
  maxDfSize = 0
  /** Where its last fragment came in. */
  device: Device | null = null
  /** `host.now` at which it is given up. Of those that go at once the one that began to wait last goes first. */
  expires = 0
  order = 0
  /** IPv4: ipfrag_max_dist. */
  source: Source | null = null
  seen = 0
  /** IPv6: where in the first fragment stands the byte that names the fragment header, from l3; -1: it has not come. */
  firstAt = -1
  // What travels with the datagram is the first fragment's.
  mark = 0
  priority = 0
  secmark = 0
  pktType = 0
  linkBytes = -1
  /** Packet.queue. */
  rxQueue = 0
  trace = false
  readonly opt = new IpOptions()
  // The table's own.
  hash = 0
  next: Queue | null = null
}

/** Answers of Reassembly.add(). */
export const Added = { Ok: 0, Duplicate: 1, Overlap: 2 } as const
export type Added = (typeof Added)[keyof typeof Added]

/** The queues that share a timeout and a threshold (struct fqdir). */
export class Reassembly {
  readonly #host: Host
  readonly #buckets: (Queue | null)[] = new Array(BUCKETS).fill(null)
  readonly #freeQueues: Queue[] = []
  readonly #freeFragments: Fragment[][] = Array.from({ length: 17 }, () => [])
  #memory = 0
  #waiting = 0
  /** No queue ends before. */
  #earliest = Number.POSITIVE_INFINITY
  /** How long a queue may wait, in ms; holds for those to come. */
  timeoutMs = 0
  /** Bytes beyond which nothing more is taken. */
  highThreshold = 0
  #lowThreshold = 0
  readonly #queueSize: number
  #armed = 0
  readonly #over: Queue[] = []

  constructor(host: Host, family: Family) {
    this.#host = host
    this.#queueSize = family === 4 ? QUEUE_SIZE4 : QUEUE_SIZE6
  }

  /** Datagrams that wait for more. */
  get waiting(): number {
    return this.#waiting
  }

  /** Bytes that they hold, as the kernel counts (`memory` in /proc/net/sockstat). */
  get memory(): number {
    return this.#memory
  }

  /** True when tick() has something to do. */
  get due(): boolean {
    return this.#host.now >= this.#earliest
  }

  /** Names and defaults of the three sysctls; seconds and bytes. */
  declare(tunables: Tunables, time: string, timeout: number, prefix: string): void {
    tunables.declare({
      name: time,
      default: timeout,
      min: -MAX_SECONDS,
      max: MAX_SECONDS,
      unit: 's',
      apply: (v) => {
        this.timeoutMs = v * 1000
      },
    })
    const self = this
    this.#lowThreshold = 3 << 20
    tunables.declare({
      name: `${prefix}high_thresh`,
      default: 4 << 20,
      get min() {
        return self.#lowThreshold
      },
      max: 2 ** 64,
      unsigned: true,
      wide: true,
      unit: 'bytes',
      apply: (v) => {
        this.highThreshold = v
      },
    })
    // Kept for compatibility only since 4.17; but the high one never lies below it.
    tunables.declare({
      name: `${prefix}low_thresh`,
      default: 3 << 20,
      min: 0,
      get max() {
        return self.highThreshold
      },
      unsigned: true,
      wide: true,
      unit: 'bytes',
      apply: (v) => {
        this.#lowThreshold = v
      },
    })
  }

  /** The queues of one hash, linked by `next`. */
  bucket(hash: number): Queue | null {
    return this.#buckets[hash & (BUCKETS - 1)]!
  }

  /** inet_frag_find(): whether fragments hold too much for one more. */
  get full(): boolean {
    return this.#memory > this.highThreshold || this.highThreshold === 0
  }

  /** A new queue for what `pkt` belongs to; `hash` is the one to find it by. */
  open(pkt: Packet, hash: number, id: number, proto: number, user: number, iif: number): Queue {
    const queue = this.#freeQueues.pop() ?? new Queue()
    const b = hash & (BUCKETS - 1)
    queue.id = id
    queue.s0 = pkt.s0
    queue.s1 = pkt.s1
    queue.s2 = pkt.s2
    queue.s3 = pkt.s3
    queue.d0 = pkt.d0
    queue.d1 = pkt.d1
    queue.d2 = pkt.d2
    queue.d3 = pkt.d3
    queue.proto = proto
    queue.user = user
    queue.iif = iif
    queue.maxSize = queue.maxDfSize = 0
    queue.tail = null
    queue.source = null
    queue.seen = 0
    this.restart(queue)
    queue.hash = b
    queue.next = this.#buckets[b]!
    this.#buckets[b] = queue
    this.#memory += this.#queueSize
    this.#waiting++
    return queue
  }

  /** Forgets the fragments of a queue and gives it time anew. */
  restart(queue: Queue): void {
    this.#flush(queue)
    const jiffy = Math.floor(this.#host.now / JIFFY)
    queue.expires = firesAt(jiffy, Math.max(this.timeoutMs / JIFFY, 0)) * JIFFY
    queue.order = ++this.#armed
    if (queue.expires < this.#earliest) this.#earliest = queue.expires
    queue.haveFirst = queue.haveLast = false
    queue.total = queue.meat = queue.ecn = 0
    queue.device = null
    queue.firstAt = -1
  }

  /**
   * inet_frag_queue_insert(): the fragment of `pkt` with data [offset, end), behind `header` bytes of headers from
   * pkt.l3 on, is copied into its place.
   */
  add(queue: Queue, pkt: Packet, offset: number, end: number, header: number): Added {
    const { runs, tail } = queue
    let at = runs.length
    if (tail !== null) {
      const tailEnd = tail.offset + tail.length
      if (tailEnd < end) {
        if (offset < tailEnd) return Added.Overlap
      } else {
        // The first run that ends behind the new one's start.
        let low = 0
        let high = runs.length
        while (low < high) {
          const middle = (low + high) >> 1
          if (runs[middle]!.runEnd <= offset) low = middle + 1
          else high = middle
        }
        at = low
        const run = runs[at]
        if (run !== undefined && run.offset < end)
          return offset >= run.offset && end <= run.runEnd ? Added.Duplicate : Added.Overlap
      }
    }
    const length = end - offset
    const fragment = this.#takeFragment(header + length)
    fragment.offset = offset
    fragment.length = length
    fragment.header = header
    fragment.runEnd = end
    const last = runs[runs.length - 1]
    if (at === runs.length) {
      if (tail !== null && last !== undefined && tail.offset + tail.length === offset) {
        last.runEnd = end
        tail.next = fragment
      } else runs.push(fragment)
      queue.tail = fragment
    } else runs.splice(at, 0, fragment)
    copyBytes(this.#host.memory.view, pkt.l3, fragment.view, 0, header + length)
    this.#memory += fragment.truesize
    queue.meat += length
    queue.device = pkt.arrival
    if (offset === 0) {
      queue.haveFirst = true
      queue.mark = pkt.mark
      queue.priority = pkt.priority
      queue.secmark = pkt.secmark
      queue.pktType = pkt.pktType
      queue.linkBytes = pkt.linkBytes
      queue.rxQueue = pkt.queue
      queue.trace = pkt.trace
      queue.opt.copy(pkt.opt)
    }
    return Added.Ok
  }

  /** Every byte is there. */
  complete(queue: Queue): boolean {
    return queue.haveFirst && queue.haveLast && queue.meat === queue.total
  }

  /**
   * Makes `pkt` room for a frame of `length` bytes and puts it there: pkt.l3, end, slot and limit, and what travels
   * with the first fragment. False: there is no slot, or it does not fit one.
   */
  place(queue: Queue, pkt: Packet, length: number): boolean {
    const { memory } = this.#host
    if (HEADROOM + length > memory.stride) return false
    if (pkt.slot < 0) {
      pkt.slot = memory.take()
      if (pkt.slot < 0) return false
      pkt.limit = pkt.slot + memory.stride
    }
    pkt.l3 = pkt.slot + HEADROOM
    pkt.end = pkt.l3 + length
    pkt.sumEnd = 0
    pkt.csumOk = false
    pkt.residue = -1
    pkt.mark = queue.mark
    pkt.priority = queue.priority
    pkt.secmark = queue.secmark
    pkt.pktType = queue.pktType
    pkt.linkBytes = queue.linkBytes
    pkt.queue = queue.rxQueue
    pkt.trace = queue.trace
    pkt.opt.copy(queue.opt)
    return true
  }

  /** Copies the data of all fragments to `at` in frame memory, and notes their lengths in `list` if there is one. */
  gather(queue: Queue, at: number, list: FragmentList | null): void {
    const { view } = this.#host.memory
    let count = 0
    for (const run of queue.runs)
      for (let f: Fragment | null = run; f !== null; f = f.next) {
        copyBytes(f.view, f.header, view, at + f.offset, f.length)
        if (list !== null) list.sizes[count] = f.length
        count++
      }
    if (list !== null) list.count = count
  }

  /** Bytes of headers in front of the data of the first fragment; which there is. */
  firstHeader(queue: Queue): number {
    return queue.runs[0]!.header
  }

  /** Copies bytes [from, to) of the first fragment's frame to `at` in frame memory. */
  copyFirst(queue: Queue, from: number, to: number, at: number): void {
    copyBytes(queue.runs[0]!.view, from, this.#host.memory.view, at, to - from)
  }

  /** The shortest header that a fragment came with. */
  leastHeader(queue: Queue): number {
    let least = queue.runs[0]!.header
    for (const run of queue.runs)
      for (let f: Fragment | null = run; f !== null; f = f.next) if (f.header < least) least = f.header
    return least
  }

  /**
   * The first fragment as it came, in a packet and a slot of its own, that is the caller's to give back; for the
   * error when time has run out. Null: it has not come, or there is no slot, or the device is no more. The header
   * fields are not filled.
   */
  pullFirst(queue: Queue): Packet | null {
    const host = this.#host
    const { device } = queue
    const first = queue.runs[0]
    if (
      !queue.haveFirst ||
      first === undefined ||
      device === null ||
      host.devices.byIndex[device.index] !== device
    )
      return null
    const slot = host.memory.take()
    if (slot < 0) return null
    const pkt = host.packets.take()
    pkt.slot = slot
    pkt.limit = slot + host.memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + first.header + first.length
    copyBytes(first.view, 0, host.memory.view, pkt.l3, first.header + first.length)
    pkt.arrival = device
    pkt.iif = device.index
    pkt.pktType = queue.pktType
    pkt.mark = queue.mark
    pkt.opt.copy(queue.opt)
    return pkt
  }

  /** inet_frag_kill() and inet_frag_destroy(). */
  kill(queue: Queue): void {
    const b = queue.hash
    let at: Queue | null = this.#buckets[b]!
    if (at === queue) this.#buckets[b] = queue.next
    else {
      while (at !== null && at.next !== queue) at = at.next
      if (at !== null) at.next = queue.next
    }
    this.#flush(queue)
    queue.source = null
    queue.next = null
    queue.device = null
    this.#memory -= this.#queueSize
    this.#waiting--
    this.#freeQueues.push(queue)
  }

  #flush(queue: Queue): void {
    for (const run of queue.runs)
      for (let f: Fragment | null = run; f !== null; ) {
        const next: Fragment | null = f.next
        this.#memory -= f.truesize
        f.next = null
        this.#freeFragments[f.sizeClass]!.push(f)
        f = next
      }
    queue.runs.length = 0
    queue.tail = null
  }

  #takeFragment(size: number): Fragment {
    let sizeClass = MIN_CLASS
    while (1 << sizeClass < size) sizeClass++
    const fragment = this.#freeFragments[sizeClass]!.pop() ?? new Fragment(sizeClass)
    fragment.truesize = truesizeOf(size)
    return fragment
  }

  /** Hands every queue whose time is over to `expire`, which must kill it, in the order of Linux. Cheap when nothing is due. */
  tick(expire: (queue: Queue) => void): void {
    const { now } = this.#host
    if (now < this.#earliest) return
    this.#earliest = Number.POSITIVE_INFINITY
    const over = this.#over
    for (let b = 0; b < BUCKETS; b++)
      for (let queue: Queue | null = this.#buckets[b]!; queue !== null; queue = queue.next)
        if (queue.expires <= now) over.push(queue)
        else if (queue.expires < this.#earliest) this.#earliest = queue.expires
    over.sort(byExpiry)
    const host = this.#host
    const { wall } = host
    for (const queue of over) {
      // At its time, which may be long ago: what is sent goes by rules with clocks.
      host.now = queue.expires
      host.wall = wall - now + queue.expires
      expire(queue)
    }
    host.now = now
    host.wall = wall
    over.length = 0
  }
}

const byExpiry = (a: Queue, b: Queue): number => a.expires - b.expires || b.order - a.order

/** Lists of packets on their way; four are more than are ever under way at once. */
export class FragmentLists {
  readonly #lists = [new FragmentList(), new FragmentList(), new FragmentList(), new FragmentList()]
  #next = 0

  /** An empty list whose first size counts from `header` bytes behind pkt.l3 on. */
  take(header: number): FragmentList {
    const list = this.#lists[this.#next++ & 3]!
    list.count = 0
    list.shared = false
    list.header = header
    return list
  }
}

/** Whether a packet may leave in the pieces it came in: ip_do_fragment()'s test of the geometry. */
export function fits(list: FragmentList, room: number): boolean {
  const { count, sizes } = list
  if (count < 2 || list.shared) return false
  for (let i = 0; i < count; i++)
    if (sizes[i]! > room || ((sizes[i]! & 7) !== 0 && i < count - 1)) return false
  return true
}

/**
 * A packet in a slot of its own: the first `header` bytes of pkt, `gap` bytes to be written, and `length` bytes from
 * `from` (ip_copy_metadata). Its cached header fields are not filled. Null: no slot.
 */
export function pieceOf(
  host: Host,
  pkt: Packet,
  header: number,
  gap: number,
  from: number,
  length: number,
): Packet | null {
  const { memory, packets } = host
  const slot = memory.take()
  if (slot < 0) return null
  const piece = packets.take()
  piece.slot = slot
  piece.limit = slot + memory.stride
  piece.family = pkt.family
  piece.l3 = slot + HEADROOM
  piece.end = piece.l3 + header + gap + length
  memory.bytes.copyWithin(piece.l3, pkt.l3, pkt.l3 + header)
  memory.bytes.copyWithin(piece.l3 + header + gap, from, from + length)
  piece.route = pkt.route
  piece.arrival = pkt.arrival
  piece.iif = pkt.iif
  piece.oif = pkt.oif
  piece.mark = pkt.mark
  piece.priority = pkt.priority
  piece.secmark = pkt.secmark
  piece.pktType = pkt.pktType
  piece.local = pkt.local
  piece.socketless = pkt.socketless
  piece.flags = pkt.flags
  piece.trace = pkt.trace
  piece.ct = pkt.ct
  piece.ctInfo = pkt.ctInfo
  if (piece.ct >= 0) host.tracker?.share?.(piece)
  return piece
}

/** Between two memories, without making a view of a part. Hot: does not allocate. */
function copyBytes(from: DataView, at: number, to: DataView, into: number, length: number): void {
  let i = 0
  for (; i + 8 <= length; i += 8) {
    to.setInt32(into + i, from.getInt32(at + i))
    to.setInt32(into + i + 4, from.getInt32(at + i + 4))
  }
  for (; i < length; i++) to.setUint8(into + i, from.getUint8(at + i))
}
