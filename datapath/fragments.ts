// IPv4 reassembly and fragmentation, as net/ipv4/ip_fragment.c and ip_do_fragment() of Linux 6.18. What it shares
// with IPv6 is in reassembly.ts. A datagram is known by its id, addresses, protocol and user; an overlap throws all of
// it away. It is put together in the slot of the fragment that completed it.
//
// A reassembled packet leaves in the pieces it came in if they fit (skb_shinfo()->frag_list), else in pieces no larger
// than the largest of them.

import { IpStat } from './counters.ts'
import { Fate } from './fate.ts'
import { RouteType } from './fib.ts'
import { Verdict } from './hooks.ts'
import type { Host } from './host.ts'
import { fragmentOptions } from './ipv4/options.ts'
import type { Packet } from './packet.ts'
import { fill4 } from './parse.ts'
import {
  Added,
  ECN_COMBINED,
  FragmentLists,
  fits,
  pieceOf,
  type Queue,
  Reassembly,
  type Source,
} from './reassembly.ts'
import { ensureWritable } from './rewrite.ts'
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

export class Fragments {
  readonly #host: Host
  readonly #queues: Reassembly
  readonly #sources = new Map<number, Source>()
  readonly #lists = new FragmentLists()
  #maxDistance = 64

  constructor(host: Host) {
    this.#host = host
    const { tunables } = host
    this.#queues = new Reassembly(host, 4)
    this.#queues.declare(tunables, 'net.ipv4.ipfrag_time', 30, 'net.ipv4.ipfrag_')
    tunables.declare({
      name: 'net.ipv4.ipfrag_max_dist',
      default: 64,
      min: 0,
      unit: 'fragments',
      apply: (v) => {
        this.#maxDistance = v
      },
    })
  }

  /** Datagrams that wait for more. */
  get waiting(): number {
    return this.#queues.waiting
  }

  /** Bytes that they hold, as the kernel counts. */
  get held(): number {
    return this.#queues.memory
  }

  // -- in

  /**
   * ip_defrag(): takes a fragment. Stolen: it waits here, its slot has been given back. Accept: it was the last one
   * missing, `pkt` is the whole datagram now. Drop: no use for it; the packet stays the caller's. `user` is one of
   * DefragUser, for conntrack plus the zone. A packet that is no fragment is accepted as it is.
   */
  defrag(pkt: Packet, user: number): Verdict {
    const { counters } = this.#host
    const { view } = this.#host.memory
    if (!pkt.moreFragments && pkt.fragOffset === 0) return Verdict.Accept
    counters.count4(IpStat.ReasmReqds)
    if (this.#queues.due) this.tick()
    const l3 = pkt.l3
    const header = pkt.l4 - l3
    const queue = this.#find(pkt, view.getUint16(l3 + IPV4_ID), user)
    if (queue === null) {
      counters.count4(IpStat.ReasmFails)
      return Verdict.Drop
    }
    if (this.#tooFar(queue)) {
      counters.count4(IpStat.ReasmFails)
      this.#queues.restart(queue)
    }

    const offset = pkt.fragOffset
    let end = offset + pkt.end - pkt.l4
    if (!pkt.moreFragments) {
      if (end < queue.total || (queue.haveLast && end !== queue.total)) return this.#fail(queue)
      queue.haveLast = true
      queue.total = end
    } else {
      end &= ~7
      if (end > queue.total) {
        if (queue.haveLast) return this.#fail(queue)
        queue.total = end
      }
    }
    if (end === offset) return this.#fail(queue)

    const added = this.#queues.add(queue, pkt, offset, end, header)
    if (added === Added.Duplicate) return Verdict.Drop
    if (added === Added.Overlap) {
      counters.count4(IpStat.ReasmOverlaps)
      return this.#fail(queue)
    }
    queue.ecn |= 1 << (view.getUint8(l3 + IPV4_TOS) & ECN_MASK)
    const size = header + end - offset
    if (size > queue.maxSize) queue.maxSize = size
    if ((view.getUint16(l3 + IPV4_FRAG) & IP_DF) !== 0 && size > queue.maxDfSize) queue.maxDfSize = size
    if (this.#queues.complete(queue)) return this.#complete(queue, pkt)
    this.#host.path.end(pkt, Fate.Consumed)
    return Verdict.Stolen
  }

  /** ip_find(): the queue of a fragment, a new one if need be; null when fragments hold too much already. */
  #find(pkt: Packet, id: number, user: number): Queue | null {
    const queues = this.#queues
    if (queues.full) return null
    const hash = hashOf(id, pkt.s0, pkt.d0, pkt.proto)
    for (let q: Queue | null = queues.bucket(hash); q !== null; q = q.next)
      if (q.id === id && q.s0 === pkt.s0 && q.d0 === pkt.d0 && q.proto === pkt.proto && q.user === user)
        return q
    const queue = queues.open(pkt, hash, id, pkt.proto, user, 0)
    if (this.#maxDistance > 0) {
      let source = this.#sources.get(pkt.s0)
      if (source === undefined) {
        source = { count: 0, users: 0 }
        this.#sources.set(pkt.s0, source)
      }
      source.users++
      queue.source = source
    }
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

  /** ip_frag_reasm(): the datagram goes into pkt's slot, with the header of the first fragment. */
  #complete(queue: Queue, pkt: Packet): Verdict {
    const queues = this.#queues
    const { view } = this.#host.memory
    const ecn = ECN_COMBINED[queue.ecn]!
    const header = queues.firstHeader(queue)
    const length = header + queue.total
    if (ecn === 0xff || length > IP_MAX_LENGTH || !queues.place(queue, pkt, length)) return this.#fail(queue)
    const l3 = pkt.l3
    const list = queue.user === DefragUser.LocalDeliver ? null : this.#lists.take(header)
    queues.copyFirst(queue, 0, header, l3)
    queues.gather(queue, l3 + header, list)
    pkt.fragList = list
    // DF only if the largest piece had it: a small one with DF does not speak for the path (IPSKB_FRAG_PMTU).
    pkt.fragMaxSize = Math.max(queue.maxSize, queue.maxDfSize)
    pkt.fragHadDf = queue.maxDfSize === queue.maxSize
    view.setUint16(l3 + IPV4_TOTAL_LEN, length)
    view.setUint8(l3 + IPV4_TOS, view.getUint8(l3 + IPV4_TOS) | ecn)
    view.setUint16(l3 + IPV4_FRAG, pkt.fragHadDf ? IP_DF : 0)
    writeIpv4Checksum(view, l3)
    fill4(pkt, view, l3 + header)
    this.#host.counters.count4(IpStat.ReasmOKs)
    this.#kill(queue)
    return Verdict.Accept
  }

  /** All that came of it is given up. */
  #fail(queue: Queue): Verdict {
    this.#host.counters.count4(IpStat.ReasmFails)
    return this.#kill(queue)
  }

  #kill(queue: Queue): Verdict {
    if (queue.source !== null && --queue.source.users === 0) this.#sources.delete(queue.s0)
    this.#queues.kill(queue)
    return Verdict.Drop
  }

  /**
   * ip_expire() of every datagram that waited for ipfrag_time: it goes, and if its first fragment had come the sender
   * is told so. Cheap when nothing is due.
   */
  tick(): void {
    this.#queues.tick(this.#expire)
  }

  readonly #expire = (queue: Queue): void => {
    const header = queue.haveFirst ? this.#queues.firstHeader(queue) : 0
    const pkt = this.#queues.pullFirst(queue)
    if (pkt !== null) {
      fill4(pkt, this.#host.memory.view, pkt.l3 + header)
      this.#tell(pkt, queue.user)
    }
    this.#fail(queue)
    this.#host.counters.count4(IpStat.ReasmTimeout)
  }

  /** The ICMP error of tick(). */
  #tell(pkt: Packet, user: number): void {
    const host = this.#host
    // Conntrack reassembles for others too; only the end host tells (RFC 792).
    if (
      host.path.routeInput(pkt, pkt.d0) &&
      pkt.route !== null &&
      (user === DefragUser.LocalDeliver || (pkt.route as { type: number }).type === RouteType.Local)
    )
      host.replies.icmpError(pkt, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0)
    host.memory.give(pkt.slot)
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
    const list = this.#lists.take(header)
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
    const { counters } = this.#host
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
      const piece = pieceOf(this.#host, pkt, header, 0, from, length)
      if (piece === null) return
      left -= length
      const offset = start + from - pkt.l4
      view.setUint16(piece.l3 + IPV4_TOTAL_LEN, header + length)
      view.setUint16(piece.l3 + IPV4_FRAG, (offset >> 3) | df | (left > 0 || more !== 0 ? IP_MF : 0))
      writeIpv4Checksum(view, piece.l3)
      fill4(piece, view, piece.l3 + header)
      // Later pieces of a first fragment inherit these options; those of a later one had them mended before. Whose options
      // nobody has read keeps them, as what TEE copies in PREROUTING.
      if (offset === 0 && pkt.opt.length > 0) fragmentOptions(bytes, l3, pkt.l4)
      from += length
      emit(piece)
      counters.count4(IpStat.FragCreates)
      this.#host.packets.give(piece)
    }
    counters.count4(IpStat.FragOKs)
  }
}

function hashOf(id: number, s0: number, d0: number, proto: number): number {
  const h = Math.imul(s0 ^ Math.imul(d0, 0x85ebca6b) ^ (id << 8) ^ proto, 0x9e3779b1)
  return h ^ (h >>> 16)
}
