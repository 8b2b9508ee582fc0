// IPv6 reassembly and fragmentation, as nf_ct_frag6_gather(), ipv6_frag_rcv() and ip6_fragment() of Linux 6.18. What it
// shares with IPv4 is in ../reassembly.ts.
//
//     IPv6 ─ hop-by-hop ─ routing ─ fragment ─ rest     a datagram is known by id, addresses and user
//     └ unfragmentable ──────────┘  header              └ reassembled, the fragment header is gone
//
// Conntrack reassembles before the hooks and says nothing about what it refuses; it leaves alone what it can do
// nothing with, the end host tells the sender (RFC 8200 §4.5). Each has queues, timeout and thresholds of its own.

import { IpStat } from '../counters.ts'
import { Fate } from '../fate.ts'
import { Verdict } from '../hooks.ts'
import type { Host } from '../host.ts'
import type { FragmentList, Packet } from '../packet.ts'
import { fill6 } from '../parse.ts'
import { Added, ECN_COMBINED, FragmentLists, pieceOf, type Queue, Reassembly } from '../reassembly.ts'
import {
  ICMPV6_EXC_FRAGTIME,
  ICMPV6_HDR_FIELD,
  ICMPV6_HDR_INCOMP,
  ICMPV6_TIME_EXCEED,
} from '../wire/icmp6.ts'
import { ECN_MASK } from '../wire/ipv4.ts'
import { IPV6_HEADER_LEN, IPV6_NEXT_HEADER, IPV6_PAYLOAD_LEN, ipv6TrafficClass } from '../wire/ipv6.ts'
import {
  extensionLength,
  FRAGMENT_HEADER_LEN,
  isExtension,
  NEXTHDR_DEST,
  NEXTHDR_FRAGMENT,
  NEXTHDR_HOP,
  NEXTHDR_NONE,
  NEXTHDR_ROUTING,
  skipHeadersFrom,
  skipped,
} from '../wire/ipv6-headers.ts'
import { IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP } from '../wire/protocol.ts'
import { TCP_HEADER_LEN } from '../wire/tcp.ts'
import { UDP_HEADER_LEN } from '../wire/udp.ts'

/** enum ip6_defrag_users: who reassembles. Datagrams of different users do not mix; conntrack adds the zone. */
export const DefragUser6 = { LocalDeliver: 0, ConntrackIn: 1, ConntrackOut: 1 + 0x10000 } as const

// Fields of the fragment header (RFC 8200 §4.5).
const FRAG_OFFSET = 2
const FRAG_ID = 4
const IP6_OFFSET = 0xfff8
const IP6_MF = 1

const IPV6_MAX_PAYLOAD = 0xffff
const IPV6_MIN_MTU = 1280
const ICMPV6_HEADER_LEN = 8

/** What a TUN device leaves free in front of a frame, and what a device wants (LL_RESERVED_SPACE). */
const TUN_HEADROOM = 64
const DEVICE_HEADROOM = 16

export class Fragments6 {
  readonly #host: Host
  /** Of the end host, and of conntrack. */
  readonly #local: Reassembly
  readonly #tracked: Reassembly
  readonly #lists = new FragmentLists()
  /** Where findFragment() and unfragmentable() found the byte that names the next header; from l3. */
  #nextAt = 0
  /**
   * Set by receive() when it drops: the code of the parameter problem that the sender is to be told, -1 for none, and
   * where the problem stands, in bytes from l3.
   */
  problem = -1
  problemAt = 0

  constructor(host: Host) {
    this.#host = host
    const { tunables } = host
    this.#local = new Reassembly(host, 6)
    this.#local.declare(tunables, 'net.ipv6.ip6frag_time', 60, 'net.ipv6.ip6frag_')
    this.#tracked = new Reassembly(host, 6)
    const prefix = 'net.netfilter.nf_conntrack_frag6_'
    this.#tracked.declare(tunables, `${prefix}timeout`, 60, prefix)
  }

  /** Datagrams that wait for more. */
  get waiting(): number {
    return this.#local.waiting + this.#tracked.waiting
  }

  /** Bytes that they hold, as the kernel counts. */
  get held(): number {
    return this.#local.memory + this.#tracked.memory
  }

  // -- in

  /**
   * nf_ct_frag6_gather(): takes a fragment for conntrack. Stolen: it waits here, its slot has been given back. Accept:
   * it was the last one missing, `pkt` is the whole datagram now; or it is no fragment, or one that is of no use and
   * goes on as it is. Drop: no use for it; the packet stays the caller's. `user` is one of DefragUser6, plus the zone.
   */
  defrag(pkt: Packet, user: number): Verdict {
    const { l3, end } = pkt
    if (pkt.l4 - l3 === IPV6_HEADER_LEN && pkt.proto !== NEXTHDR_FRAGMENT) return Verdict.Accept
    // Conntrack and TPROXY both ask for it. A second fragment header stays.
    if (pkt.fragmented) return Verdict.Accept
    const { view } = this.#host.memory
    const payload = view.getUint16(l3 + IPV6_PAYLOAD_LEN)
    if (payload === 0) return Verdict.Accept
    const at = this.#findFragment(view, l3, end)
    if (at < 0 || truncated(view, at, end, NEXTHDR_FRAGMENT)) return Verdict.Accept
    if (at + FRAGMENT_HEADER_LEN > end) return Verdict.Drop
    const nextAt = this.#nextAt

    const queues = this.#tracked
    if (queues.due) this.tick()
    const queue = find(queues, pkt, view.getInt32(at + FRAG_ID), user)
    if (queue === null) return Verdict.Drop
    const header = at + FRAGMENT_HEADER_LEN - l3
    const word = view.getUint16(at + FRAG_OFFSET)
    const offset = word & IP6_OFFSET
    const stop = offset + end - l3 - header
    if (stop > IPV6_MAX_PAYLOAD) return Verdict.Drop
    // Where IPv4 and the end host give up the queue, conntrack only drops the packet: the queue waits on.
    if ((word & IP6_MF) === 0) {
      if (stop < queue.total || (queue.haveLast && stop !== queue.total)) return Verdict.Drop
      queue.haveLast = true
      queue.total = stop
    } else {
      if ((stop & 7) !== 0) {
        queues.kill(queue)
        return Verdict.Accept
      }
      if (stop > queue.total) {
        if (queue.haveLast) return Verdict.Drop
        queue.total = stop
      }
    }
    if (stop === offset) return Verdict.Drop

    const added = queues.add(queue, pkt, offset, stop, header)
    if (added === Added.Overlap) queues.kill(queue)
    if (added !== Added.Ok) return Verdict.Drop
    return this.#taken(queues, queue, pkt, IPV6_HEADER_LEN + payload, nextAt, this.#lists)
  }

  /**
   * ipv6_frag_rcv(): takes a packet to this host whose fragment header begins at `at`, named by the byte at `nextAt`
   * (both from the start of frame memory). Accept: `pkt` is whole; the next header is that of the byte at `nextAt`,
   * counted from l3, and stands where the fragment header stood; an atomic fragment is left as it is, with the next
   * header's number at `at` and the header behind it. Stolen, Drop: as defrag(); see `problem`.
   */
  receive(pkt: Packet, at: number, nextAt: number): Verdict {
    const { counters, memory } = this.#host
    const { view } = memory
    const { l3, end } = pkt
    this.problem = -1
    if (pkt.fragmented) return this.#problem(ICMPV6_HDR_FIELD, at - l3)
    counters.count6(IpStat.ReasmReqds)
    if (view.getUint16(l3 + IPV6_PAYLOAD_LEN) === 0 || at + FRAGMENT_HEADER_LEN > end)
      return this.#problem(ICMPV6_HDR_FIELD, at - l3)
    const word = view.getUint16(at + FRAG_OFFSET)
    if ((word & (IP6_OFFSET | IP6_MF)) === 0) {
      counters.count6(IpStat.ReasmOKs)
      pkt.fragmented = true
      pkt.fragMaxSize = end - l3
      return Verdict.Accept
    }
    if (truncated(view, l3 + IPV6_HEADER_LEN, end, view.getUint8(l3 + IPV6_NEXT_HEADER)))
      return this.#problem(ICMPV6_HDR_INCOMP, 0)

    const queues = this.#local
    if (queues.due) this.tick()
    const queue = find(queues, pkt, view.getInt32(at + FRAG_ID), DefragUser6.LocalDeliver)
    if (queue === null) {
      counters.count6(IpStat.ReasmFails)
      return Verdict.Drop
    }
    queue.device = pkt.arrival
    const header = at + FRAGMENT_HEADER_LEN - l3
    const offset = word & IP6_OFFSET
    const stop = offset + end - l3 - header
    if (stop > IPV6_MAX_PAYLOAD) return this.#problem(ICMPV6_HDR_FIELD, at + FRAG_OFFSET - l3)
    if ((word & IP6_MF) === 0) {
      if (stop < queue.total || (queue.haveLast && stop !== queue.total)) return this.#fail(queues, queue)
      queue.haveLast = true
      queue.total = stop
    } else {
      if ((stop & 7) !== 0) return this.#problem(ICMPV6_HDR_FIELD, IPV6_PAYLOAD_LEN)
      if (stop > queue.total) {
        if (queue.haveLast) return this.#fail(queues, queue)
        queue.total = stop
      }
    }
    if (stop === offset) return this.#fail(queues, queue)

    const added = queues.add(queue, pkt, offset, stop, header)
    if (added === Added.Duplicate) return Verdict.Drop
    if (added === Added.Overlap) return this.#fail(queues, queue)
    return this.#taken(queues, queue, pkt, end - l3, nextAt - l3, null)
  }

  /** The end host gives up all that has come of a datagram. */
  #fail(queues: Reassembly, queue: Queue): Verdict {
    this.#host.counters.count6(IpStat.ReasmFails)
    return give(queues, queue)
  }

  #problem(code: number, at: number): Verdict {
    this.problem = code
    this.problemAt = at
    return Verdict.Drop
  }

  /** The fragment is in its queue: it waits, or the datagram is complete. `size`: of its whole packet. */
  #taken(
    queues: Reassembly,
    queue: Queue,
    pkt: Packet,
    size: number,
    nextAt: number,
    lists: FragmentLists | null,
  ): Verdict {
    const { memory } = this.#host
    const { view } = memory
    queue.ecn |= 1 << (ipv6TrafficClass(view, pkt.l3) & ECN_MASK)
    if (size > queue.maxSize) queue.maxSize = size
    // Of the packet that has just come: only the first one starts at offset 0.
    if (queue.haveFirst && queue.firstAt < 0) queue.firstAt = nextAt
    if (queues.complete(queue)) return this.#complete(queues, queue, pkt, lists)
    this.#host.path.end(pkt, Fate.Consumed)
    return Verdict.Stolen
  }

  /** nf_ct_frag6_reasm(), ip6_frag_reasm(): the datagram goes into pkt's slot, behind the headers of the first fragment. */
  #complete(queues: Reassembly, queue: Queue, pkt: Packet, lists: FragmentLists | null): Verdict {
    const { view } = this.#host.memory
    const ecn = ECN_COMBINED[queue.ecn]!
    const unfragmentable = queues.firstHeader(queue) - FRAGMENT_HEADER_LEN
    const length = unfragmentable + queue.total
    if (ecn === 0xff || length - IPV6_HEADER_LEN > IPV6_MAX_PAYLOAD || !queues.place(queue, pkt, length))
      return lists === null ? this.#fail(queues, queue) : give(queues, queue)
    if (lists === null) this.#host.counters.count6(IpStat.ReasmOKs)
    const l3 = pkt.l3
    queues.copyFirst(queue, 0, unfragmentable, l3)
    queues.copyFirst(queue, unfragmentable, unfragmentable + 1, l3 + queue.firstAt)
    let list: FragmentList | null = null
    if (lists !== null) {
      list = lists.take(IPV6_HEADER_LEN)
      list.least = queues.leastHeader(queue)
    }
    queues.gather(queue, l3 + unfragmentable, list)
    if (list !== null) list.sizes[0] = list.sizes[0]! + unfragmentable - IPV6_HEADER_LEN
    pkt.fragList = list
    pkt.fragMaxSize = queue.maxSize
    pkt.fragmented = true
    pkt.transportAt = lists === null ? 0 : unfragmentable
    view.setUint16(l3 + IPV6_PAYLOAD_LEN, length - IPV6_HEADER_LEN)
    view.setUint16(l3, view.getUint16(l3) | (ecn << 4))
    fill6(pkt, view)
    queues.kill(queue)
    return Verdict.Accept
  }

  /** find_prev_fhdr(): where the fragment header begins; -1: there is none, or the way to it is cut short. */
  #findFragment(view: DataView, l3: number, end: number): number {
    let next = view.getUint8(l3 + IPV6_NEXT_HEADER)
    let nextAt = IPV6_NEXT_HEADER
    let at = l3 + IPV6_HEADER_LEN
    while (next !== NEXTHDR_FRAGMENT) {
      if (!isExtension(next) || next === NEXTHDR_NONE || at + 2 > end) return -1
      // The kernel keeps it in a byte.
      nextAt = (at - l3) & 0xff
      const length = extensionLength(view, next, at)
      next = view.getUint8(at)
      at += length
    }
    this.#nextAt = nextAt
    return at > end ? -1 : at
  }

  /**
   * ip6frag_expire_frag_queue() of every datagram whose time is over: it goes, and if its first fragment had come the
   * sender is told so, by conntrack on behalf of whomever it was sent to as well. Cheap when nothing is due.
   */
  tick(): void {
    this.#local.tick(this.#expireLocal)
    this.#tracked.tick(this.#expireTracked)
  }

  readonly #expireLocal = (queue: Queue): void => this.#expire(this.#local, queue)
  readonly #expireTracked = (queue: Queue): void => this.#expire(this.#tracked, queue)

  #expire(queues: Reassembly, queue: Queue): void {
    const host = this.#host
    const pkt = queues.pullFirst(queue)
    const { device } = queue
    queues.kill(queue)
    // Conntrack opens a queue for a fragment that it then refuses: such a one ends without a word.
    if (device === null) return
    host.counters.count6(IpStat.ReasmFails)
    host.counters.count6(IpStat.ReasmTimeout)
    if (pkt === null) return
    pkt.family = 6
    fill6(pkt, host.memory.view)
    host.replies6.icmpError(pkt, ICMPV6_TIME_EXCEED, ICMPV6_EXC_FRAGTIME, 0)
    host.memory.give(pkt.slot)
    host.packets.give(pkt)
  }

  // -- out

  /**
   * __ip6_append_data(): a packet made here that is longer than the MTU of its first route consists of pieces from the
   * start, and leaves in them by whatever way if they fit. It has no extension headers.
   */
  append(pkt: Packet, mtu: number): void {
    let left = pkt.end - pkt.l3 - IPV6_HEADER_LEN
    if (IPV6_HEADER_LEN + left <= mtu) return
    const list = this.#lists.take(IPV6_HEADER_LEN)
    list.least = IPV6_HEADER_LEN + FRAGMENT_HEADER_LEN
    const whole = ((mtu - IPV6_HEADER_LEN) & ~7) - FRAGMENT_HEADER_LEN
    // The last may be longer where the headers alone are too many.
    const last = left <= mtu ? mtu - IPV6_HEADER_LEN : whole
    let count = 0
    for (; left > last; left -= whole) list.sizes[count++] = whole
    list.sizes[count++] = left
    list.count = count
    pkt.fragList = list
  }

  /**
   * ip6_fragment(): sends pkt in pieces of at most `mtu` bytes, headers included, and no larger than the largest that
   * it was reassembled from. `emit` gets each in a slot of its own, which goes with it; the Packet object does not.
   * 0: done, or it could not be done and nobody is told. Else the sender is to be told that this is the MTU. `pkt`
   * stays the caller's.
   */
  fragmentAndSend(pkt: Packet, mtu: number, emit: (piece: Packet) => void): number {
    const host = this.#host
    const { view } = host.memory
    const { l3, fragList } = pkt
    // Headers are looked for in the first piece only.
    const header = this.#unfragmentable(
      view,
      l3,
      fragList === null ? pkt.end : l3 + IPV6_HEADER_LEN + fragList.sizes[0]!,
    )
    if (header < 0) {
      host.counters.count6(IpStat.FragFails)
      return 0
    }
    const nextAt = this.#nextAt
    let limit = mtu
    // Only packets made here and reassembled ones may be cut (skb->ignore_df).
    if (!pkt.local && !pkt.ignoreDf && pkt.fragMaxSize === 0 && pkt.end - l3 > mtu) return mtu
    if (pkt.fragMaxSize !== 0) {
      if (pkt.fragMaxSize > mtu) return mtu
      limit = Math.max(pkt.fragMaxSize, IPV6_MIN_MTU)
    }
    if (limit < header + 2 * FRAGMENT_HEADER_LEN) return limit
    const room = limit - header - FRAGMENT_HEADER_LEN
    const id = host.random.i32()
    const next = view.getUint8(l3 + nextAt)
    const list = fragList !== null && fits6(fragList, header, room) ? fragList : null
    let from = l3 + header
    for (let n = 0; from < pkt.end; n++) {
      const left = pkt.end - from
      let length = left
      if (list !== null) {
        length = list.sizes[n]!
        if (n === 0) length -= header - IPV6_HEADER_LEN
        if (length > left) length = left
      } else if (length > room) length = room & ~7
      // The first may be empty: headers that came behind the fragment header stand in front of it now.
      if (length < 0) return 0
      const piece = pieceOf(host, pkt, header, FRAGMENT_HEADER_LEN, from, length)
      if (piece === null) {
        host.counters.count6(IpStat.FragFails)
        return 0
      }
      const offset = from - l3 - header
      from += length
      const p3 = piece.l3
      const at = p3 + header
      view.setUint8(p3 + nextAt, NEXTHDR_FRAGMENT)
      view.setUint16(p3 + IPV6_PAYLOAD_LEN, piece.end - p3 - IPV6_HEADER_LEN)
      view.setUint16(at, next << 8)
      view.setUint16(at + FRAG_OFFSET, offset | (from < pkt.end ? IP6_MF : 0))
      view.setUint32(at + FRAG_ID, id)
      fill6(piece, view)
      emit(piece)
      host.counters.count6(IpStat.FragCreates)
      host.packets.give(piece)
    }
    host.counters.count6(IpStat.FragOKs)
    return 0
  }

  /** ip6_find_1stfragopt(): length of the headers that every fragment repeats; -1: they do not end before `end`. */
  #unfragmentable(view: DataView, l3: number, end: number): number {
    let nextAt = l3 + IPV6_NEXT_HEADER
    let at = l3 + IPV6_HEADER_LEN
    let routed = false
    while (at <= end) {
      const next = view.getUint8(nextAt)
      if (next === NEXTHDR_ROUTING) routed = true
      // Destination options in front of a routing header are for every stop; the kernel does not look for one.
      else if (next !== NEXTHDR_HOP && (next !== NEXTHDR_DEST || routed)) {
        this.#nextAt = nextAt - l3
        return at - l3
      }
      if (at + 2 > end) return -1
      nextAt = at
      at += extensionLength(view, next, at)
    }
    return -1
  }
}

/** fq_find(): the queue of a fragment, a new one if need be; null when fragments hold too much already. */
function find(queues: Reassembly, pkt: Packet, id: number, user: number): Queue | null {
  if (queues.full) return null
  // Multicast and link-local destinations mean something else on each interface.
  const iif = pkt.d0 >>> 24 === 0xff || pkt.d0 >>> 22 === 0x3fa ? pkt.iif : 0
  const hash = hashOf(pkt, id)
  for (let q: Queue | null = queues.bucket(hash); q !== null; q = q.next)
    if (
      q.id === id &&
      q.s3 === pkt.s3 &&
      q.d3 === pkt.d3 &&
      q.s0 === pkt.s0 &&
      q.s1 === pkt.s1 &&
      q.s2 === pkt.s2 &&
      q.d0 === pkt.d0 &&
      q.d1 === pkt.d1 &&
      q.d2 === pkt.d2 &&
      q.user === user &&
      q.iif === iif
    )
      return q
  return queues.open(pkt, hash, id, 0, user, iif)
}

function hashOf(pkt: Packet, id: number): number {
  const a = Math.imul(pkt.s3 ^ (pkt.s2 << 7) ^ pkt.s1, 0x85ebca6b) ^ pkt.d3 ^ (pkt.d2 << 9)
  const h = Math.imul(a ^ Math.imul(id, 0xc2b2ae35) ^ pkt.s0 ^ pkt.d0 ^ pkt.d1, 0x9e3779b1)
  return h ^ (h >>> 16)
}

function give(queues: Reassembly, queue: Queue): Verdict {
  queues.kill(queue)
  return Verdict.Drop
}

/** ipv6frag_thdr_truncated(): whether a first fragment, walked from the header at `at` on, ends before its upper header. */
function truncated(view: DataView, at: number, end: number, next: number): boolean {
  const start = skipHeadersFrom(view, at, end, next)
  if (start < 0 || skipped.offset !== 0) return false
  switch (skipped.next) {
    case IPPROTO_TCP:
      return start + TCP_HEADER_LEN > end
    case IPPROTO_UDP:
      return start + UDP_HEADER_LEN > end
    case IPPROTO_ICMPV6:
      return start + ICMPV6_HEADER_LEN > end
    default:
      return start + 1 > end
  }
}

/** Whether a packet may leave in the pieces it consists of: the geometry, and room for the headers in front of them. */
function fits6(list: FragmentList, header: number, room: number): boolean {
  const { count, sizes } = list
  if (count < 2 || list.shared) return false
  const first = IPV6_HEADER_LEN + sizes[0]! - header
  if (first > room || (first & 7) !== 0) return false
  for (let i = 1; i < count; i++)
    if (sizes[i]! > room || ((sizes[i]! & 7) !== 0 && i < count - 1)) return false
  return TUN_HEADROOM + list.least >= header + DEVICE_HEADROOM + FRAGMENT_HEADER_LEN
}
