// A packet from its network header on, in place: addresses wherever the protocols have them, in what errors quote too, and
// zeros for what it carries. Lengths, ports, flags, numbers and times stay.
//
//     IPv4, IPv6 ── options, extension headers ── transport ── payload
//         └──────────── ICMP errors, tunnels: a packet within ───┘
//
// A frame may be cut short or damaged anywhere: whatever does not hold together is taken for payload.

import { ETH_P_IP, ETH_P_IPV6 } from '../../datapath/wire/ethernet.ts'
import {
  IPPROTO_AH,
  IPPROTO_DCCP,
  IPPROTO_ESP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IGMP,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import { sctpCrc } from '../../datapath/wire/sctp.ts'
import { makeUp, sumOf } from './checksums.ts'
import { mapIcmpMessage } from './icmp.ts'
import { mapIcmp6Message } from './icmp6.ts'
import type { Mapping } from './mapping.ts'

/** IPv6's next headers that are no transport. */
const HOP_BY_HOP = 0
const ROUTING = 43
const FRAGMENT = 44
const DESTINATION = 60
const MOBILITY = 135
/** Options of IPv6. */
const ROUTER_ALERT = 5
const JUMBO = 0xc2
const HOME_ADDRESS = 0xc9

/** Packets in packets: deeper is payload. */
const DEEPEST = 8
/** Kinds of TCP options that mean something (IANA): sizes, scale, SACK, times, signatures, timeouts, multipath, cookies, experiments. */
const TCP_OPTIONS: ReadonlySet<number> = new Set([2, 3, 4, 5, 8, 19, 28, 29, 30, 34, 253, 254])
/** TCP's header without options: a fragment that begins before its end has a part of it. */
const TCP_HEADER = 20

/** What stands below a transport header. */
interface Below {
  /** By how much the addresses of the pseudo-header grew, as a sum. */
  readonly grown: number
  /** Part of a packet: bytes before this one, and whether more follow. */
  readonly offset: number
  readonly more: boolean
  readonly depth: number
}

export class PacketMapper {
  readonly mapping: Mapping
  bytes: Uint8Array = new Uint8Array()

  constructor(mapping: Mapping) {
    this.mapping = mapping
  }

  /** The packet is bytes[at, end). */
  packet(bytes: Uint8Array, at: number, end: number): void {
    this.bytes = bytes
    this.inner(at, end, 0)
  }

  /** A packet of whatever family its first bits say. */
  inner(at: number, end: number, depth: number): void {
    const version = at < end ? this.bytes[at]! >> 4 : 0
    if (depth > DEEPEST) this.zeros(at, end)
    else if (version === 4) this.#ipv4(at, end, depth)
    else if (version === 6) this.#ipv6(at, end, depth)
    else this.blank(at + 1, end)
  }

  u16(at: number): number {
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!
  }

  /** Zeros, unless payload is to stay. */
  blank(from: number, end: number): void {
    if (!this.mapping.keepPayload) this.zeros(from, end)
  }

  /** Zeros for what is no payload and may hold anything. */
  zeros(from: number, end: number): void {
    if (from < end) this.bytes.fill(0, from, end)
  }

  address4(at: number): void {
    const { bytes } = this
    const word = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
    this.put32(at, this.mapping.addresses.v4(word))
  }

  address6(at: number): void {
    const word = (i: number): number => (this.u16(at + 4 * i) << 16) | this.u16(at + 4 * i + 2)
    const to = this.mapping.addresses.v6([word(0), word(1), word(2), word(3)])
    for (let i = 0; i < 4; i++) this.put32(at + 4 * i, to[i]!)
  }

  mac(at: number): void {
    const hex = Buffer.from(this.bytes.subarray(at, at + 6)).toString('hex')
    this.bytes.set(Buffer.from(this.mapping.addresses.mac(hex), 'hex'), at)
  }

  put32(at: number, word: number): void {
    for (let i = 0; i < 4; i++) this.bytes[at + i] = word >>> (24 - 8 * i)
  }

  /** Runs `change`, which changes bytes[from, end); answers by how much their sum grew. */
  grown(from: number, end: number, change: () => void): number {
    const before = sumOf(this.bytes, from, end)
    change()
    return sumOf(this.bytes, from, end) - before
  }

  // -- IPv4

  #ipv4(at: number, end: number, depth: number): void {
    const { bytes } = this
    if (at + 20 > end) {
      this.zeros(at + 12, end)
      return
    }
    const header = at + 4 * (bytes[at]! & 15)
    // What an error quotes may end in the middle of the header.
    const there = Math.min(Math.max(header, at + 20), end)
    const addresses = this.grown(at + 12, at + 20, () => {
      this.address4(at + 12)
      this.address4(at + 16)
    })
    const options = this.grown(at + 20, there, () => this.#options4(at + 20, there))
    makeUp(bytes, at + 10, addresses + options)
    const length = this.u16(at + 2)
    if (header !== there || at + length < header) {
      this.blank(there, end)
      return
    }
    const stop = Math.min(at + length, end)
    this.blank(stop, end)
    const part = this.u16(at + 6)
    this.#transport(bytes[at + 9]!, header, stop, {
      grown: addresses,
      offset: (part & 0x1fff) * 8,
      more: (part & 0x2000) !== 0,
      depth,
    })
  }

  /** Record route, source routes, and time stamps with addresses; of other options what they carry is payload. */
  #options4(from: number, end: number): void {
    for (let at = from; at < end; ) {
      const kind = this.bytes[at]!
      if (kind === 1) {
        at++
        continue
      }
      const length = kind !== 0 && at + 1 < end ? this.bytes[at + 1]! : 0
      const stop = at + length
      const route = kind === 7 || kind === 131 || kind === 137
      if (length < 2 || (stop > end && !route)) {
        this.blank(at + (kind === 0 ? 1 : 2), end)
        return
      }
      if (route) {
        // What an error quotes may end in the middle of an address.
        let i = at + 3
        for (; i + 4 <= Math.min(stop, end); i += 4) this.address4(i)
        if (stop > end) this.zeros(i, end)
      } else if (kind !== 68) this.blank(at + 2, stop)
      else if (length > 4 && [1, 3].includes(this.bytes[at + 3]! & 15))
        for (let i = at + 4; i + 8 <= stop; i += 8) this.address4(i)
      at = stop
    }
  }

  // -- IPv6

  #ipv6(at: number, end: number, depth: number): void {
    if (at + 40 > end) {
      this.zeros(at + 8, end)
      return
    }
    const { bytes } = this
    const grown = this.grown(at + 8, at + 40, () => {
      this.address6(at + 8)
      this.address6(at + 24)
    })
    const length = this.u16(at + 4)
    // Of a jumbogram the length stands in an option.
    const stop = length === 0 ? end : Math.min(at + 40 + length, end)
    this.blank(stop, end)
    let next = bytes[at + 6]!
    let here = at + 40
    let offset = 0
    let more = false
    // As conntrack skips them: in any order.
    while ([HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, IPPROTO_AH].includes(next)) {
      if (here + 8 > stop) {
        this.blank(here, stop)
        return
      }
      const size =
        next === FRAGMENT ? 8 : next === IPPROTO_AH ? 4 * (bytes[here + 1]! + 2) : 8 * (bytes[here + 1]! + 1)
      if (here + size > stop) {
        this.blank(here + 4, stop)
        return
      }
      if (next === FRAGMENT) {
        offset = this.u16(here + 2) & 0xfff8
        more = (bytes[here + 3]! & 1) !== 0
      } else if (next === ROUTING) this.#routing(here, here + size)
      else if (next === IPPROTO_AH) this.blank(here + 12, here + size)
      else this.#options6(here + 2, here + size)
      next = bytes[here]!
      here += size
      if (offset > 0) break
    }
    this.#transport(next, here, stop, { grown, offset, more, depth })
  }

  /** Types 0 and 2, and segment routing. */
  #routing(at: number, end: number): void {
    const type = this.bytes[at + 2]!
    const count = type === 4 ? this.bytes[at + 4]! + 1 : Number.POSITIVE_INFINITY
    if (type !== 0 && type !== 2 && type !== 4) {
      this.blank(at + 4, end)
      return
    }
    let known = at + 8
    for (let left = count; left > 0 && known + 16 <= end; left--, known += 16) this.address6(known)
    this.blank(known, end)
  }

  /** A home address, without which the kernel computes checksums; what unknown options carry is payload. */
  #options6(from: number, end: number): void {
    for (let at = from; at < end; ) {
      const kind = this.bytes[at]!
      const length = kind === 0 ? 1 : at + 1 < end ? 2 + this.bytes[at + 1]! : end
      if (at + length > end) {
        this.blank(at + 2, end)
        return
      }
      if (kind === HOME_ADDRESS && length === 18) this.address6(at + 2)
      else if (kind !== ROUTER_ALERT && kind !== JUMBO) this.blank(at + 2, at + length)
      at += length
    }
  }

  // -- transports

  #transport(proto: number, at: number, end: number, below: Below): void {
    if (below.offset > 0) {
      this.#laterPart(proto, at, end, below)
      return
    }
    const payload = this.#head(proto, at, end, below)
    if (payload !== null && below.more) this.#replaceAlike(payload, end)
  }

  /**
   * Header and all that is not payload. Of a first fragment the checksum covers what others carry: there the payload is
   * left to the caller, and where it begins is answered.
   */
  #head(proto: number, at: number, end: number, below: Below): number | null {
    switch (proto) {
      case IPPROTO_TCP: {
        const header = at + 20 <= end ? Math.max(4 * (this.bytes[at + 12]! >> 4), 20) : 20
        const payload = Math.min(at + header, end)
        return this.#summed(at, end, 16, below, () => {
          this.#tcpOptions(at + 20, payload)
          return payload
        })
      }
      case IPPROTO_UDP: {
        const length = at + 6 <= end ? this.u16(at + 4) : 0
        const covered = length >= 8 && at + length <= end ? at + length : end
        if (at + 8 <= end && this.u16(at + 6) === 0) {
          if (below.more) return at + 8
          this.blank(at + 8, end)
          return null
        }
        return this.#summed(at, end, 6, below, () => Math.min(at + 8, end), covered, 0xffff)
      }
      case IPPROTO_UDPLITE: {
        const length = at + 6 <= end ? this.u16(at + 4) : 0
        const covered = length >= 8 && at + length <= end ? at + length : end
        return this.#summed(at, end, 6, below, () => Math.min(at + 8, end), covered, 0xffff)
      }
      case IPPROTO_DCCP: {
        const header = at + 12 <= end ? Math.max(4 * this.bytes[at + 4]!, 12) : 12
        const coverage = at + 12 <= end ? this.bytes[at + 5]! & 15 : 0
        const covered = coverage === 0 ? end : Math.min(at + header + 4 * (coverage - 1), end)
        return this.#summed(at, end, 6, below, () => Math.min(at + header, end), covered)
      }
      case IPPROTO_ICMP:
        return this.#summed(at, end, 2, { ...below, grown: 0 }, () =>
          mapIcmpMessage(this, at, end, below.depth),
        )
      case IPPROTO_ICMPV6:
        return this.#summed(at, end, 2, below, () => mapIcmp6Message(this, at, end, below.depth))
      case IPPROTO_IGMP:
        return this.#summed(at, end, 2, { ...below, grown: 0 }, () => {
          this.#igmp(at, end)
          return end
        })
      case MOBILITY:
        return this.#summed(at, end, 4, below, () => Math.min(at + 6, end))
      case IPPROTO_SCTP:
        this.#sctp(at, end)
        return null
      case IPPROTO_IPIP:
      case IPPROTO_IPV6:
        if (below.more) return at
        this.inner(at, end, below.depth + 1)
        return null
      case IPPROTO_GRE:
        return this.#gre(at, end, below)
      case IPPROTO_AH: {
        const size = at + 2 <= end ? 4 * (this.bytes[at + 1]! + 2) : 0
        if (size < 12 || at + size > end) {
          this.blank(at + 8, end)
          return null
        }
        this.blank(at + 12, at + size)
        return this.#head(this.bytes[at]!, at + size, end, below)
      }
      case IPPROTO_ESP:
        if (below.more) return Math.min(at + 8, end)
        this.blank(at + 8, end)
        return null
      default:
        if (below.more) return Math.min(at + 4, end)
        this.blank(at + 4, end)
        return null
    }
  }

  /** A header with an Internet checksum at `field`; `change` answers where payload begins. As #head. */
  #summed(
    at: number,
    end: number,
    field: number,
    below: Below,
    change: () => number,
    covered = end,
    zero: 0 | 0xffff = 0,
  ): number | null {
    let payload = end
    let grown = this.grown(at, covered, () => {
      payload = change()
      if (!below.more) this.blank(payload, end)
    })
    grown += below.grown
    if (at + field + 2 <= end) makeUp(this.bytes, at + field, grown, zero)
    return below.more ? payload : null
  }

  /** Part of a packet, but not the first: of TCP it may still have some header. */
  #laterPart(proto: number, at: number, end: number, { offset, grown }: Below): void {
    let from = at
    if (proto === IPPROTO_TCP && offset < TCP_HEADER) {
      const sum = at + 16 - offset
      if (sum >= at && sum + 2 <= end) makeUp(this.bytes, sum, grown)
      from = Math.min(at + TCP_HEADER - offset, end)
    }
    this.#replaceAlike(from, end)
  }

  /** Zeros of the same sum: checksums elsewhere in the packet stay what they were. */
  #replaceAlike(from: number, end: number): void {
    if (this.mapping.keepPayload || end - from < 2) return
    const sum = sumOf(this.bytes, from, end)
    this.bytes.fill(0, from, end)
    const folded = sum === 0 ? 0 : ((sum - 1) % 0xffff) + 1
    this.bytes[from] = folded >> 8
    this.bytes[from + 1] = folded
  }

  /** ADD_ADDR of multipath TCP. What no kind says, or is cut short, is payload: kinds and lengths stay, by which others walk. */
  #tcpOptions(from: number, end: number): void {
    for (let at = from; at < end; ) {
      const kind = this.bytes[at]!
      if (kind === 0) return
      const length = kind === 1 ? 1 : at + 1 < end ? this.bytes[at + 1]! : 0
      if (length < 1 || (kind !== 1 && length < 2)) return
      const next = Math.min(at + length, end)
      if (at + length > end || (kind !== 1 && !TCP_OPTIONS.has(kind))) this.blank(at + 2, next)
      else if (kind === 30 && length >= 8 && this.bytes[at + 2]! >> 4 === 3) {
        if (length >= 20) this.address6(at + 4)
        else this.address4(at + 4)
      }
      at = next
    }
  }

  /** Groups stay; sources of IGMPv3 are addresses. */
  #igmp(at: number, end: number): void {
    const type = at < end ? this.bytes[at]! : 0
    let known = at + 8
    if (type === 0x11 && at + 12 <= end) {
      known = at + 12
      for (let left = this.u16(at + 10); left > 0 && known + 4 <= end; left--, known += 4)
        this.address4(known)
    } else if (type === 0x22 && at + 8 <= end)
      for (let left = this.u16(at + 6); left > 0 && known + 8 <= end; left--) {
        let source = known + 8
        const stop = source + 4 * this.u16(known + 2)
        for (; source < stop && source + 4 <= end; source += 4) this.address4(source)
        if (source < stop) break
        known = stop + 4 * this.bytes[known + 1]!
        this.blank(stop, Math.min(known, end))
      }
    this.blank(known, end)
  }

  #gre(at: number, end: number, below: Below): number | null {
    if (at + 4 > end) return null
    const flags = this.bytes[at]!
    const version = this.bytes[at + 1]! & 7
    let header = at + 4
    for (const bit of version === 1 ? [0x10] : [0x80, 0x20, 0x10]) if ((flags & bit) !== 0) header += 4
    if (version === 1) header += 4 + ((this.bytes[at + 1]! & 0x80) !== 0 ? 4 : 0)
    header = Math.min(header, end)
    if (below.more) return header
    const within = this.u16(at + 2)
    const grown = this.grown(at, end, () => {
      if (version === 0 && (within === ETH_P_IP || within === ETH_P_IPV6))
        this.inner(header, end, below.depth + 1)
      else this.blank(header, end)
    })
    if (version === 0 && (flags & 0x80) !== 0 && at + 6 <= end) makeUp(this.bytes, at + 4, grown)
    return null
  }

  /** Chunks stay with their kinds, lengths and numbers; data, cookies and the like are payload. */
  #sctp(at: number, end: number): void {
    if (at + 12 > end) return
    const { bytes } = this
    const before = sctpCrc(bytes, at, end)
    for (let chunk = at + 12; chunk + 4 <= end; ) {
      const type = bytes[chunk]!
      const stop = Math.min(chunk + Math.max(this.u16(chunk + 2), 4), end)
      const fixed = SCTP_FIXED[type] ?? 4
      if (type === 1 || type === 2) this.#sctpParameters(chunk + 20, stop)
      else this.blank(chunk + fixed, stop)
      chunk = chunk + (((stop - chunk + 3) >> 2) << 2)
    }
    // CRC32c is linear: it differs by the same bits as those of the bytes do.
    const differs = before ^ sctpCrc(bytes, at, end)
    for (let i = 0; i < 4; i++) bytes[at + 8 + i] = bytes[at + 8 + i]! ^ (differs >>> (8 * i))
  }

  #sctpParameters(from: number, end: number): void {
    for (let at = from; at + 4 <= end; ) {
      const type = this.u16(at)
      const stop = Math.min(at + Math.max(this.u16(at + 2), 4), end)
      if (type === 5 && at + 8 <= stop) this.address4(at + 4)
      else if (type === 6 && at + 20 <= stop) this.address6(at + 4)
      else if (type !== 12) this.blank(at + 4, stop)
      at += ((stop - at + 3) >> 2) << 2
    }
  }
}

/** Bytes of chunks that are no payload: DATA, SACK, SHUTDOWN, I-DATA. Of others the first four. */
const SCTP_FIXED: Readonly<Record<number, number>> = { 0: 16, 3: 0xffff, 7: 8, 64: 20 }
