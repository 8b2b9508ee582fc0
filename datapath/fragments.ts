// IPv4 reassembly and fragmentation, as net/ipv4/ip_fragment.c, inet_fragment.c and ip_do_fragment() of Linux 6.18.
//
//     fragments of one datagram (id, addresses, protocol, user):
//
//         runs   [0 ........ 1480)[1480 .. 2960)      [4440 .. 5000)      a run: pieces that came one behind the other
//                └ first                               └ last: nothing may come behind it
//
//     complete when first and last are there and the bytes add up; an overlap throws all of it away (RFC 5722 §4,
//     which IPv4 follows here too), a piece that a run holds already is ignored.
//
// Fragments are copied out of their slots, so that waiting ones never starve the ring; what they may hold is
// bounded by ipfrag_high_thresh. The datagram is put together in the slot of the fragment that completed it.
//
// A reassembled packet leaves in the pieces it came in if they fit (skb_shinfo()->frag_list), else in pieces no larger
// than the largest of them.

import type { Device } from './devices.ts'
import { RouteType } from './fib.ts'
import { Verdict } from './hooks.ts'
import type { Host } from './host.ts'
import { fragmentOptions } from './ipv4/options.ts'
import { FragmentList, IpOptions, type Packet } from './packet.ts'
import { fill4 } from './parse.ts'
import { ensureWritable } from './rewrite.ts'
import { HEADROOM } from './ring.ts'
import { writeIpv4Checksum } from './wire/checksum.ts'
import { ICMP_EXC_FRAGTIME, ICMP_TIME_EXCEEDED } from './wire/icmp.ts'
import {
  ECN_MASK,
  IP_DF,
  IP_MF,
  IP_OFFSET,
  IPV4_FRAG,
  IPV4_ID,
  IPV4_TOS,
  IPV4_TOTAL_LEN,
} from './wire/ipv4.ts'
import { IPPROTO_TCP } from './wire/protocol.ts'
import { TCP_HEADER_LEN } from './wire/tcp.ts'

/** enum ip_defrag_users: who reassembles. Datagrams of different users do not mix; conntrack adds the zone. */
export const DefragUser = { LocalDeliver: 0, ConntrackIn: 2, ConntrackOut: 2 + 0x10000 } as const

const IP_MAX_LENGTH = 0xffff
/** ip_frag_ecn_table, RFC 3168 §5.3, by the set of ECN fields seen: what to add to TOS, 0xff: drop. */
const ECN_COMBINED = new Uint8Array(16).map((_, seen) => {
  const notEct = seen & 1
  const ect = seen & 0b0110
  const ce = seen & 0b1000
  if (notEct && seen !== 1) return 0xff
  return ce && ect ? 3 : 0
})

const BUCKETS = 1024
/** Smallest buffer for a fragment, as a power of two. */
const MIN_CLASS = 8
/** What the kernel counts for a queue, and for an sk_buff besides its data; near enough. */
const QUEUE_SIZE = 208
const SKB_SIZE = 256
const SKB_EXTRA = 384

/** One fragment: its IP header and data in a buffer of a size class. */
class Fragment {
  readonly view: DataView
  readonly bytes: Uint8Array
  readonly sizeClass: number
  offset = 0
  /** Bytes of data; they stand behind `header` bytes of IP header. */
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
interface Source {
  count: number
  users: number
}

class Queue {
  id = 0
  s0 = 0
  d0 = 0
  proto = 0
  user = 0
  /** By offset, without overlaps. */
  readonly runs: Fragment[] = []
  /** The fragment with the highest end. */
  tail: Fragment | null = null
  haveFirst = false
  haveLast = false
  /** Bytes of the datagram as far as known, and of those that are here. */
  total = 0
  meat = 0
  ecn = 0
  maxSize = 0
  maxDfSize = 0
  device: Device | null = null
  expires = 0
  source: Source | null = null
  seen = 0
  next: Queue | null = null
  // What travels with the datagram is the first fragment's.
  mark = 0
  priority = 0
  secmark = 0
  pktType = 0
  trace = false
  readonly opt = new IpOptions()
}

export class Fragments {
  readonly #host: Host
  readonly #buckets: (Queue | null)[] = new Array(BUCKETS).fill(null)
  readonly #freeQueues: Queue[] = []
  readonly #freeFragments: Fragment[][] = Array.from({ length: 17 }, () => [])
  readonly #sources = new Map<number, Source>()
  /** Lists of packets on their way; four are more than are ever under way at once. */
  readonly #lists = [new FragmentList(), new FragmentList(), new FragmentList(), new FragmentList()]
  #nextList = 0
  #memory = 0
  #queues = 0
  /** No queue ends before. */
  #earliest = Number.POSITIVE_INFINITY
  #timeoutMs = 30_000
  #highThreshold = 4 << 20
  #maxDistance = 64

  constructor(host: Host) {
    this.#host = host
    const { tunables } = host
    const declare = (name: string, initial: number, unit: string, apply?: (value: number) => void): void =>
      tunables.declare({
        name: `net.ipv4.ipfrag_${name}`,
        default: initial,
        min: 0,
        unit,
        ...(apply === undefined ? {} : { apply }),
      })
    declare('time', 30, 's', (v) => {
      this.#timeoutMs = v * 1000
    })
    declare('high_thresh', 4 << 20, 'bytes', (v) => {
      this.#highThreshold = v
    })
    // The kernel has kept both for compatibility only since 4.17; nothing reads them.
    declare('low_thresh', 3 << 20, 'bytes')
    declare('secret_interval', 0, 's')
    declare('max_dist', 64, 'fragments', (v) => {
      this.#maxDistance = v
    })
  }

  /** Datagrams that wait for more. */
  get waiting(): number {
    return this.#queues
  }

  // -- in

  /**
   * ip_defrag(): takes a fragment. Stolen: it waits here, its slot has been given back. Accept: it was the last one
   * missing, `pkt` is the whole datagram now. Drop: no use for it; the packet stays the caller's. `user` is one of
   * DefragUser, for conntrack plus the zone. A packet that is no fragment is accepted as it is.
   */
  defrag(pkt: Packet, user: number): Verdict {
    const { memory, now } = this.#host
    const { view } = memory
    if (!pkt.moreFragments && pkt.fragOffset === 0) return Verdict.Accept
    if (now >= this.#earliest) this.tick()
    const l3 = pkt.l3
    const header = pkt.l4 - l3
    const queue = this.#find(pkt, view.getUint16(l3 + IPV4_ID), user)
    if (queue === null) return Verdict.Drop
    if (this.#tooFar(queue)) {
      this.#flush(queue)
      queue.expires = now + this.#timeoutMs
      queue.haveFirst = queue.haveLast = false
      queue.total = queue.meat = queue.ecn = 0
      queue.device = null
    }

    const offset = pkt.fragOffset
    let end = offset + pkt.end - pkt.l4
    if (!pkt.moreFragments) {
      if (end < queue.total || (queue.haveLast && end !== queue.total)) return this.#kill(queue)
      queue.haveLast = true
      queue.total = end
    } else {
      end &= ~7
      if (end > queue.total) {
        if (queue.haveLast) return this.#kill(queue)
        queue.total = end
      }
    }
    if (end === offset) return this.#kill(queue)

    const inserted = this.#insert(queue, offset, end, header)
    if (inserted === DUPLICATE) return Verdict.Drop
    if (inserted === OVERLAP) return this.#kill(queue)
    const fragment = inserted
    const length = end - offset
    copyBytes(view, l3, fragment.view, 0, header + length)
    queue.device = pkt.arrival
    queue.meat += length
    queue.ecn |= 1 << (view.getUint8(l3 + IPV4_TOS) & ECN_MASK)
    this.#memory += fragment.truesize
    if (offset === 0) {
      queue.haveFirst = true
      queue.mark = pkt.mark
      queue.priority = pkt.priority
      queue.secmark = pkt.secmark
      queue.pktType = pkt.pktType
      queue.trace = pkt.trace
      queue.opt.copy(pkt.opt)
    }
    const size = header + length
    if (size > queue.maxSize) queue.maxSize = size
    if ((view.getUint16(l3 + IPV4_FRAG) & IP_DF) !== 0 && size > queue.maxDfSize) queue.maxDfSize = size
    if (queue.haveFirst && queue.haveLast && queue.meat === queue.total) return this.#complete(queue, pkt)
    if (pkt.slot >= 0) {
      memory.give(pkt.slot)
      pkt.slot = -1
    }
    return Verdict.Stolen
  }

  /** ip_find(): the queue of a fragment, a new one if need be; null when fragments hold too much already. */
  #find(pkt: Packet, id: number, user: number): Queue | null {
    if (this.#memory > this.#highThreshold || this.#highThreshold === 0) return null
    const b = bucketOf(id, pkt.s0, pkt.d0, pkt.proto)
    for (let q: Queue | null = this.#buckets[b]!; q !== null; q = q.next)
      if (q.id === id && q.s0 === pkt.s0 && q.d0 === pkt.d0 && q.proto === pkt.proto && q.user === user)
        return q
    const queue = this.#freeQueues.pop() ?? new Queue()
    queue.id = id
    queue.s0 = pkt.s0
    queue.d0 = pkt.d0
    queue.proto = pkt.proto
    queue.user = user
    queue.haveFirst = queue.haveLast = false
    queue.total = queue.meat = queue.ecn = queue.maxSize = queue.maxDfSize = 0
    queue.tail = null
    queue.device = null
    queue.expires = this.#host.now + this.#timeoutMs
    if (queue.expires < this.#earliest) this.#earliest = queue.expires
    queue.source = null
    if (this.#maxDistance > 0) {
      let source = this.#sources.get(pkt.s0)
      if (source === undefined) {
        source = { count: 0, users: 0 }
        this.#sources.set(pkt.s0, source)
      }
      source.users++
      queue.source = source
    }
    queue.seen = 0
    queue.next = this.#buckets[b]!
    this.#buckets[b] = queue
    this.#memory += QUEUE_SIZE
    this.#queues++
    return queue
  }

  /** ip_frag_too_far(): so many other fragments came from there meanwhile that this id is in use anew. */
  #tooFar(queue: Queue): boolean {
    const source = queue.source
    if (source === null || this.#maxDistance === 0) return false
    const start = queue.seen
    queue.seen = ++source.count
    return queue.tail !== null && queue.seen - start > this.#maxDistance
  }

  /** inet_frag_queue_insert(): the fragment, without its bytes yet, in its place; or DUPLICATE, or OVERLAP. */
  #insert(queue: Queue, offset: number, end: number, header: number): Fragment | Refused {
    const { runs, tail } = queue
    let at = runs.length
    if (tail !== null) {
      const tailEnd = tail.offset + tail.length
      if (tailEnd < end) {
        if (offset < tailEnd) return OVERLAP
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
          return offset >= run.offset && end <= run.runEnd ? DUPLICATE : OVERLAP
      }
    }
    const fragment = this.#takeFragment(header + end - offset)
    fragment.offset = offset
    fragment.length = end - offset
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
    return fragment
  }

  /** ip_frag_reasm(): the datagram goes into pkt's slot, with the header of the first fragment. */
  #complete(queue: Queue, pkt: Packet): Verdict {
    const { memory } = this.#host
    const { view } = memory
    const ecn = ECN_COMBINED[queue.ecn]!
    const first = queue.runs[0]!
    const length = first.header + queue.total
    if (ecn === 0xff || length > IP_MAX_LENGTH || HEADROOM + length > memory.stride) return this.#kill(queue)
    if (pkt.slot < 0) {
      pkt.slot = memory.take()
      if (pkt.slot < 0) return this.#kill(queue)
      pkt.limit = pkt.slot + memory.stride
    }
    const l3 = pkt.slot + HEADROOM
    const list = queue.user === DefragUser.LocalDeliver ? null : this.#lists[this.#nextList++ & 3]!
    let count = 0
    copyBytes(first.view, 0, view, l3, first.header)
    for (const run of queue.runs)
      for (let f: Fragment | null = run; f !== null; f = f.next) {
        copyBytes(f.view, f.header, view, l3 + first.header + f.offset, f.length)
        if (list !== null) list.sizes[count] = f.length
        count++
      }
    if (list !== null) list.count = count
    pkt.fragList = list
    pkt.l3 = l3
    pkt.end = l3 + length
    // DF only if the largest piece had it: a small one with DF does not speak for the path (IPSKB_FRAG_PMTU).
    pkt.fragMaxSize = Math.max(queue.maxSize, queue.maxDfSize)
    pkt.fragHadDf = queue.maxDfSize === queue.maxSize
    view.setUint16(l3 + IPV4_TOTAL_LEN, length)
    view.setUint8(l3 + IPV4_TOS, view.getUint8(l3 + IPV4_TOS) | ecn)
    view.setUint16(l3 + IPV4_FRAG, pkt.fragHadDf ? IP_DF : 0)
    writeIpv4Checksum(view, l3)
    pkt.sumEnd = 0
    pkt.csumOk = false
    pkt.mark = queue.mark
    pkt.priority = queue.priority
    pkt.secmark = queue.secmark
    pkt.pktType = queue.pktType
    pkt.trace = queue.trace
    pkt.opt.copy(queue.opt)
    fill4(pkt, view, l3 + first.header)
    this.#kill(queue)
    return Verdict.Accept
  }

  /** inet_frag_kill() and inet_frag_destroy(). */
  #kill(queue: Queue): Verdict {
    const b = bucketOf(queue.id, queue.s0, queue.d0, queue.proto)
    let at: Queue | null = this.#buckets[b]!
    if (at === queue) this.#buckets[b] = queue.next
    else {
      while (at !== null && at.next !== queue) at = at.next
      if (at !== null) at.next = queue.next
    }
    this.#flush(queue)
    if (queue.source !== null && --queue.source.users === 0) this.#sources.delete(queue.s0)
    queue.source = null
    queue.next = null
    queue.device = null
    this.#memory -= QUEUE_SIZE
    this.#queues--
    this.#freeQueues.push(queue)
    return Verdict.Drop
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
    // kmalloc's size classes are powers of two here, from 512 on.
    let data = 512
    while (data < size + SKB_EXTRA) data *= 2
    fragment.truesize = SKB_SIZE + data
    return fragment
  }

  /**
   * ip_expire() of every datagram that waited for ipfrag_time: it goes, and if its first fragment had come the sender
   * is told so. Cheap when nothing is due.
   */
  tick(): void {
    const { now } = this.#host
    if (now < this.#earliest) return
    this.#earliest = Number.POSITIVE_INFINITY
    for (let b = 0; b < BUCKETS; b++) {
      let queue: Queue | null = this.#buckets[b]!
      while (queue !== null) {
        const next: Queue | null = queue.next
        if (queue.expires <= now) this.#expire(queue)
        else if (queue.expires < this.#earliest) this.#earliest = queue.expires
        queue = next
      }
    }
  }

  #expire(queue: Queue): void {
    this.#tell(queue)
    this.#kill(queue)
  }

  /** The ICMP error of tick(). */
  #tell(queue: Queue): void {
    const host = this.#host
    const { device, user } = queue
    const first = queue.runs[0]
    if (
      !queue.haveFirst ||
      first === undefined ||
      device === null ||
      host.devices.byIndex[device.index] !== device
    )
      return
    const slot = host.memory.take()
    if (slot < 0) return
    const pkt = host.packets.take()
    pkt.slot = slot
    pkt.limit = slot + host.memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + first.header + first.length
    copyBytes(first.view, 0, host.memory.view, pkt.l3, first.header + first.length)
    fill4(pkt, host.memory.view, pkt.l3 + first.header)
    pkt.arrival = device
    pkt.iif = device.index
    pkt.pktType = queue.pktType
    pkt.mark = queue.mark
    pkt.opt.copy(queue.opt)
    // Conntrack reassembles for others too; only the end host tells (RFC 792).
    if (
      host.path.routeInput(pkt, pkt.d0) &&
      pkt.route !== null &&
      (user === DefragUser.LocalDeliver || (pkt.route as { type: number }).type === RouteType.Local)
    )
      host.replies.icmpError(pkt, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0)
    host.memory.give(slot)
    host.packets.give(pkt)
  }

  // -- out

  /**
   * ip_append_data(): a packet made here that is longer than the MTU of its first route consists of pieces from the
   * start, and leaves in them by whatever way if they fit.
   */
  append(pkt: Packet, mtu: number): void {
    const header = pkt.l4 - pkt.l3
    let left = pkt.end - pkt.l4
    if (header + left <= mtu) return
    const list = this.#lists[this.#nextList++ & 3]!
    const whole = (mtu - header) & ~7
    let count = 0
    for (; header + left > mtu; left -= whole) list.sizes[count++] = whole
    list.sizes[count++] = left
    list.count = count
    pkt.fragList = list
  }

  /**
   * ip_do_fragment(): sends pkt in pieces of at most `mtu` bytes, header included, and no larger than the largest
   * that it was reassembled from. `emit` gets each in a slot of its own, which goes with it; the Packet object
   * does not. `pkt` stays the caller's, its header may be changed.
   */
  fragmentAndSend(pkt: Packet, mtu: number, emit: (piece: Packet) => void): void {
    const { view, bytes } = this.#host.memory
    const l3 = pkt.l3
    const header = pkt.l4 - l3
    const limit = pkt.fragMaxSize !== 0 && pkt.fragMaxSize < mtu ? pkt.fragMaxSize : mtu
    const room = limit - header
    // tcp_v4_early_demux() has pulled the header into the first piece on the way in.
    if (pkt.fragList !== null && !pkt.local && pkt.proto === IPPROTO_TCP)
      ensureWritable(pkt, header + TCP_HEADER_LEN)
    const frag = view.getUint16(l3 + IPV4_FRAG)
    const start = (frag & IP_OFFSET) << 3
    const more = frag & IP_MF
    const list =
      pkt.fragList !== null && fits(pkt.fragList, room) && start === 0 && more === 0 ? pkt.fragList : null
    // The kernel forgets DF when it sends the pieces as they came.
    const df = list === null && pkt.fragHadDf ? IP_DF : 0
    let left = pkt.end - pkt.l4
    let from = pkt.l4
    for (let n = 0; left > 0; n++) {
      let length = left
      if (list !== null) length = Math.min(list.sizes[n]!, left)
      else if (length > room) length = room & ~7
      if (length <= 0) return
      const piece = this.#piece(pkt, header, from, length)
      if (piece === null) return
      left -= length
      const offset = start + from - pkt.l4
      view.setUint16(piece.l3 + IPV4_TOTAL_LEN, header + length)
      view.setUint16(piece.l3 + IPV4_FRAG, (offset >> 3) | df | (left > 0 || more !== 0 ? IP_MF : 0))
      writeIpv4Checksum(view, piece.l3)
      fill4(piece, view, piece.l3 + header)
      // Later pieces of a first fragment inherit these options; those of a later one had them mended before.
      if (offset === 0 && header > 20) fragmentOptions(bytes, l3, pkt.l4)
      from += length
      emit(piece)
      this.#host.packets.give(piece)
    }
  }

  /** A packet in a slot of its own: pkt's header and `length` bytes from `from`. Null: no slot. */
  #piece(pkt: Packet, header: number, from: number, length: number): Packet | null {
    const { memory, packets } = this.#host
    const slot = memory.take()
    if (slot < 0) return null
    const piece = packets.take()
    piece.slot = slot
    piece.limit = slot + memory.stride
    piece.l3 = slot + HEADROOM
    piece.end = piece.l3 + header + length
    memory.bytes.copyWithin(piece.l3, pkt.l3, pkt.l3 + header)
    memory.bytes.copyWithin(piece.l3 + header, from, from + length)
    piece.route = pkt.route
    piece.arrival = pkt.arrival
    piece.iif = pkt.iif
    piece.oif = pkt.oif
    piece.mark = pkt.mark
    piece.priority = pkt.priority
    piece.secmark = pkt.secmark
    piece.pktType = pkt.pktType
    piece.local = pkt.local
    piece.flags = pkt.flags
    piece.csumOk = true
    return piece
  }
}

const DUPLICATE = 1
const OVERLAP = 2
type Refused = typeof DUPLICATE | typeof OVERLAP

/** Whether a packet may leave in the pieces it came in: ip_do_fragment()'s test of the geometry. */
function fits(list: FragmentList, room: number): boolean {
  const { count, sizes } = list
  if (count < 2) return false
  for (let i = 0; i < count; i++)
    if (sizes[i]! > room || ((sizes[i]! & 7) !== 0 && i < count - 1)) return false
  return true
}

function bucketOf(id: number, s0: number, d0: number, proto: number): number {
  let h = Math.imul(s0 ^ Math.imul(d0, 0x85ebca6b) ^ (id << 8) ^ proto, 0x9e3779b1)
  h ^= h >>> 16
  return h & (BUCKETS - 1)
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
