// Choosing the tuple that a connection will have behind NAT (get_unique_tuple and what it calls in
// nf_nat_core.c, Linux 6.18). "Taken" is always asked of the reply: that is what must tell connections apart.
//
//     source NAT      the tuple as it is, if the range allows it and it is free
//                     else what this source is mapped to already, if that is free
//     both            an address of the range, by a hash of the addresses
//                     the port as it is, if the range allows it and it is free
//                     else ports of the range in turn, from a random, shifted or (destination NAT) the first one
//                     else the last one tried: confirming the connection will settle it

import type { Random } from '../../datapath/host.ts'
import type { Family } from '../../datapath/packet.ts'
import { jhash4, scale, swap32 } from '../../datapath/wire/jhash.ts'
import {
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import type { Conntrack } from '../conntrack.ts'
import { anyZoneOf, MASTER, META, STATUS, STRIDE, Status, zoneOf } from '../table.ts'
import { tcpSentEnd, tcpState } from '../trackers/tcp-entry.ts'
import { TcpState } from '../trackers/tcp-states.ts'
import { invert, Tuple } from '../tuple.ts'
import type { NatLookAhead } from './look-ahead.ts'
import { Manip, type Range } from './range.ts'
import { SourceIndex } from './source-index.ts'

/** NF_NAT_MAX_ATTEMPTS. */
const MAX_ATTEMPTS = 128
/** Tries left from which on a closing TCP connection is pushed aside (NF_NAT_HARDER_THRESH). */
const HARDER = MAX_ATTEMPTS / 4
const USES_NAT = Status.SrcNat | Status.DstNat | Status.SeqAdjust

export class UniqueTuple {
  readonly sources: SourceIndex
  readonly #conntrack: Conntrack
  /** What choose() does is noted there. */
  readonly #ahead: NatLookAhead
  readonly #random: Random
  readonly #reply = new Tuple()
  readonly #other = new Tuple()
  /** Of the range that choose() drew a port from by chance, first and size; 0 none. */
  #from = 0
  #drawn = 0

  /** `random`: of ports. */
  constructor(conntrack: Conntrack, random: Random, ahead: NatLookAhead) {
    this.#conntrack = conntrack
    this.#ahead = ahead
    this.#random = random
    this.sources = new SourceIndex(conntrack.table, random.i32())
  }

  /**
   * Fills `into`: what the connection's packets in the original direction should look like behind this manip.
   * `current`: what they look like so far. Does not allocate.
   */
  choose(into: Tuple, current: Tuple, range: Range, manip: Manip, entry: number): void {
    this.#drawn = 0
    this.#choose(into, current, range, manip, entry)
    if (manip === Manip.Src && (into.meta & 0xff) === 4)
      this.#ahead.note(into.s0 === current.s0 ? 0 : into.s0, this.#from, this.#drawn)
  }

  #choose(into: Tuple, current: Tuple, range: Range, manip: Manip, entry: number): void {
    if (manip === Manip.Src && !range.random) {
      if (inRange(current, range)) {
        if (!this.#usedByOthers(current, entry)) {
          into.copy(current)
          return
        }
      } else if (this.#existing(into, current, range, entry) && !this.#used(into, entry)) return
    }
    into.copy(current)
    if (range.mapIps) this.#address(into, range, manip, entry)
    if (!range.random) {
      if (range.hasPorts) {
        if (
          !range.offset &&
          portInRange(into, manip, range) &&
          (range.minPort === range.maxPort || !this.#used(into, entry))
        )
          return
      } else if (!this.#used(into, entry)) return
    }
    this.#port(into, range, manip, entry)
  }

  /** nf_nat_used_tuple. */
  #used(tuple: Tuple, entry: number): boolean {
    invert(tuple, this.#reply)
    return this.#conntrack.isTaken(this.#reply, entry)
  }

  /**
   * nf_nat_used_tuple_new: as #used(), but for the same flow seen the other way round, which is found only in another
   * zone, or by another processor: that is for confirm to settle. Only for what NAT leaves as it is.
   */
  #usedByOthers(tuple: Tuple, entry: number): boolean {
    if (!this.#used(tuple, entry)) return false
    const ct = this.#conntrack
    const { table } = ct
    const w = table.words
    const o = entry * STRIDE
    if (!ct.tracker(w[o + META]! >>> 8).allowClash || (w[o + STATUS]! & USES_NAT) !== 0) return true
    const other = this.#other
    other.copy(tuple)
    let handle = ct.findBeside(other, entry)
    if (handle < 0) {
      invert(tuple, other)
      handle = ct.findBeside(other, entry)
      if (handle < 0) return false
    }
    const holder = handle >> 1
    if ((w[holder * STRIDE + STATUS]! & USES_NAT) !== 0) return true
    return !table.sameTuple(table.readTuple(entry, 1, other), holder * 2)
  }

  /** find_appropriate_src. */
  #existing(into: Tuple, current: Tuple, range: Range, self: number): boolean {
    const { table } = this.#conntrack
    const zone = zoneOf(table.words, self * STRIDE, 0)
    for (let e = this.sources.first(current, zone); e >= 0; e = this.sources.next(e)) {
      if (!this.sources.sameSource(e, current, zone)) continue
      invert(table.readTuple(e, 1, this.#reply), into)
      into.d0 = current.d0
      into.d1 = current.d1
      into.d2 = current.d2
      into.d3 = current.d3
      into.ports = (into.ports & ~0xffff) | (current.ports & 0xffff)
      into.meta = current.meta
      into.zone = current.zone
      if (inRange(into, range)) return true
    }
    return false
  }

  /** find_best_ips_proto. */
  #address(tuple: Tuple, range: Range, manip: Manip, entry: number): void {
    const { min, max } = range
    if (range.single) {
      if (manip === Manip.Src) setSource(tuple, min[0], min[1], min[2], min[3])
      else setDestination(tuple, min[0], min[1], min[2], min[3])
      return
    }
    const ipv4 = (tuple.meta & 0xff) === 4
    // The kernel hashes words as they lie in memory, and mixes in the destination in that order too.
    const zone = anyZoneOf(this.#conntrack.table.words, entry * STRIDE)
    const initval = range.persistent ? 0 : swap32(ipv4 ? tuple.d0 : tuple.d3) ^ zone
    let j = jhash4(swap32(tuple.s0), swap32(tuple.s1), swap32(tuple.s2), swap32(tuple.s3), initval)
    if (ipv4) {
      const word = (min[0] + scale(j, (max[0] - min[0] + 1) | 0)) | 0
      if (manip === Manip.Src) tuple.s0 = word
      else tuple.d0 = word
      return
    }
    let full = false
    for (let i = 0; i < 4; i++) {
      const from = full ? 0 : min[i]!
      const count = full ? -1 : (max[i]! - min[i]! + 1) | 0
      const word = (from + scale(j, count)) | 0
      if (word !== max[i]) full = true
      setWord(tuple, manip, i, word)
      if (!range.persistent) j ^= swap32(destinationWord(tuple, i))
    }
  }

  /** nf_nat_l4proto_unique_tuple. */
  #port(tuple: Tuple, range: Range, manip: Manip, entry: number): void {
    let min = range.minPort
    let size = range.maxPort - range.minPort + 1
    let source = manip === Manip.Src
    switch (tuple.meta >>> 8) {
      case IPPROTO_ICMP:
      case IPPROTO_ICMPV6:
        // The identifier is the same both ways.
        source = true
        if (!range.hasPorts) {
          min = 0
          size = 65536
        }
        break
      case IPPROTO_GRE:
        // Keys are PPTP's, and only its helper makes entries with a master.
        if (this.#conntrack.table.words[entry * STRIDE + MASTER] === 0) return
        if (!range.hasPorts) {
          min = 1
          size = 65535
        }
        break
      case IPPROTO_TCP:
      case IPPROTO_UDP:
      case IPPROTO_UDPLITE:
      case IPPROTO_SCTP:
        if (range.hasPorts) {
          if (range.maxPort < range.minPort) {
            min = range.maxPort
            size = range.minPort - range.maxPort + 1
          }
        } else {
          if (manip === Manip.Dst) return
          // Servers that trust a low port go on getting one.
          const port = tuple.ports >>> 16
          if (port < 512) {
            min = 1
            size = 511
          } else if (port < 1024) {
            min = 600
            size = 424
          } else {
            min = 1024
            size = 64512
          }
        }
        break
      default:
        return
    }
    // A range of identifiers or keys that is upside down: the kernel's unsigned size is as good as endless, which for
    // what is drawn, 16 bits, is all of them.
    if (size <= 0) size = 0x10000
    let off = 0
    if (range.random && !range.offset) {
      this.#from = min
      this.#drawn = size
    }
    if (range.offset) off = ((source ? tuple.ports >>> 16 : tuple.ports & 0xffff) - range.basePort) & 0xffff
    else if (range.random || manip === Manip.Src) off = this.#random.i32() & 0xffff

    let attempts = Math.min(size, MAX_ATTEMPTS)
    for (;;) {
      for (let i = 0; i < attempts; i++) {
        const key = (min + (off % size)) & 0xffff
        tuple.ports = source ? (key << 16) | (tuple.ports & 0xffff) : (tuple.ports & ~0xffff) | key
        if (!this.#usedHarder(tuple, entry, attempts - i)) return
        off = (off + 1) & 0xffff
      }
      if (attempts >= size || attempts < 16) return
      attempts >>= 1
      off = this.#random.i32() & 0xffff
    }
  }

  /**
   * nf_nat_used_tuple_harder: near the end of its tries a new TCP connection may push one aside that is closing, if
   * its sequence numbers are ahead, so that late packets of the old one cannot be taken for its own.
   */
  #usedHarder(tuple: Tuple, entry: number, left: number): boolean {
    const conntrack = this.#conntrack
    const reply = this.#reply
    invert(tuple, reply)
    const handle = conntrack.taker(reply, entry)
    if (handle < 0) return false
    const w = conntrack.table.words
    if (
      left > HARDER ||
      tuple.meta >>> 8 !== IPPROTO_TCP ||
      tcpState(conntrack.table, entry) !== TcpState.SynSent ||
      (handle & 1) === 0
    )
      return true
    const old = handle >> 1
    const status = w[old * STRIDE + STATUS]!
    if (
      tcpState(conntrack.table, old) < TcpState.TimeWait ||
      (status & (Status.FixedTimeout | Status.SrcNat)) !== Status.SrcNat ||
      ((tcpSentEnd(w, entry) - tcpSentEnd(w, old)) | 0) <= 0
    )
      return true
    return !conntrack.kill(old)
  }
}

/** nf_in_range: would this be a source mapping that the range allows? */
function inRange(tuple: Tuple, range: Range): boolean {
  if (
    range.mapIps &&
    !range.holdsAddress((tuple.meta & 0xff) as Family, tuple.s0, tuple.s1, tuple.s2, tuple.s3)
  )
    return false
  return !range.hasPorts || portInRange(tuple, Manip.Src, range)
}

/** l4proto_in_range. */
function portInRange(tuple: Tuple, manip: Manip, range: Range): boolean {
  let port = tuple.ports >>> 16
  switch (tuple.meta >>> 8) {
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      break
    case IPPROTO_GRE:
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
      if (manip === Manip.Dst) port = tuple.ports & 0xffff
      break
    default:
      return true
  }
  return port >= range.minPort && port <= range.maxPort
}

function setSource(t: Tuple, w0: number, w1: number, w2: number, w3: number): void {
  t.s0 = w0
  t.s1 = w1
  t.s2 = w2
  t.s3 = w3
}

function setDestination(t: Tuple, w0: number, w1: number, w2: number, w3: number): void {
  t.d0 = w0
  t.d1 = w1
  t.d2 = w2
  t.d3 = w3
}

function destinationWord(t: Tuple, i: number): number {
  return i === 0 ? t.d0 : i === 1 ? t.d1 : i === 2 ? t.d2 : t.d3
}

function setWord(t: Tuple, manip: Manip, i: number, word: number): void {
  const source = manip === Manip.Src
  if (i === 0) {
    if (source) t.s0 = word
    else t.d0 = word
  } else if (i === 1) {
    if (source) t.s1 = word
    else t.d1 = word
  } else if (i === 2) {
    if (source) t.s2 = word
    else t.d2 = word
  } else if (source) t.s3 = word
  else t.d3 = word
}
