// Sets of type hash:*: elements of addresses, networks, ports, MACs, marks and interfaces in an ElementTable
// (ip_set_hash_gen.h and its users, Linux 6.18).
//
//     key   [ address … | proto port | address … | prefix lengths, physdev | interface ]
//
// A packet is looked up among networks by trying every prefix length that the set holds, the longest first: the
// first network found decides, and if it is marked `nomatch`, the packet is not in the set.

import type { Packet } from '../../datapath/packet.ts'
import { NEXTHDR_NONE } from '../../datapath/wire/ipv6-headers.ts'
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import { prefixMask, type Words } from '../text/address.ts'
import { Extensions, type PacketExtension } from './extensions.ts'
import { Interfaces } from './interfaces.ts'
import {
  type SetData,
  type SetEnv,
  SetError,
  type SetFamily,
  type SetMember,
  type SetOptions,
} from './set-type.ts'
import { ElementTable } from './table.ts'

/** What an element is made of, in the order of dimensions. */
export type HashPart = 'ip' | 'net' | 'port' | 'mac' | 'mark' | 'iface'

export interface HashShape {
  readonly parts: readonly HashPart[]
  /** Networks of prefix length 0 are elements as well (IP_SET_HASH_WITH_NET0). */
  readonly net0?: boolean
  /** netmask and bitmask cut addresses, and address 0 is no element. */
  readonly masks?: boolean
  /** As masks, but 0 is an element (hash:net,net). */
  readonly netMasks?: boolean
}

/** enotempty of a `nomatch` element. */
const NOMATCH = -1
const USED = 1
const FLAG_NOMATCH = 2
const FLAG_WILDCARD = 4
const DEFAULT_HASHSIZE = 1024
const MIN_HASHSIZE = 64
const DEFAULT_MAXELEM = 65536
const MAX_BUCKET = 12
const INIT_BUCKET = 2
const ONES: Words = [-1, -1, -1, -1]

const TCP_HEADER = 20
const SCTP_HEADER = 12
const UDP_HEADER = 8
const ICMP_HEADER = 8

/** Protocols whose elements carry ports (ip_set_proto_with_ports). */
export const withPorts = (proto: number): boolean =>
  proto === IPPROTO_TCP || proto === IPPROTO_UDP || proto === IPPROTO_SCTP || proto === IPPROTO_UDPLITE

/**
 * How much of a range is gone through: its first element, all, those that a set which gives up elements (forceadd) keeps
 * in the end, or those that are in the set. 2^31 addresses one by one would take minutes, as they do in the kernel.
 */
type Reach = 'one' | 'all' | 'last' | 'present'

interface Span {
  readonly from: number
  readonly to: number
}

export class HashSet implements SetData {
  readonly extensions: Extensions
  readonly #family: 4 | 6
  readonly #shape: HashShape
  readonly #env: SetEnv
  readonly #words: number
  readonly #hostMask: number
  readonly #table: ElementTable
  readonly #key: Int32Array
  /** Offset of each part in the key. */
  readonly #at: readonly number[]
  /** Parts that are networks: offsets of their addresses. */
  readonly #nets: readonly number[]
  /** Offset of the word of prefix lengths, -1 without networks. */
  readonly #cidrAt: number
  readonly #ifaceAt: number
  readonly #interfaces: Interfaces | null
  /** Elements by prefix length, for each network part; and the lengths there are, longest first. */
  readonly #lengthCounts: readonly Int32Array[]
  readonly #lengths: number[][]
  /** A `nomatch` element was ever added. */
  #nomatches = false
  /** The last look-up among interfaces met an element of the network. */
  #found = false
  /** The whole addresses of the packet's networks while prefix lengths are tried. */
  readonly #whole = new Int32Array(8)
  #cursor = 0
  /** Sets of networks with timeouts: what has expired still counts until the collector comes by. */
  readonly #collects: boolean
  /** Monotonic ms when it comes by next. */
  collectAt = Number.POSITIVE_INFINITY
  /** And how often, ms. */
  readonly #collectEvery: number
  readonly #hashsize: number
  readonly #maxelem: number
  readonly #netmask: number
  readonly #bitmask: Words
  readonly #hasBitmask: boolean
  readonly #markmask: number
  readonly #forceadd: boolean
  readonly #bucketsize: number
  readonly #initval: number

  constructor(family: SetFamily, shape: HashShape, options: SetOptions, env: SetEnv) {
    this.#family = family === 6 ? 6 : 4
    this.#hostMask = this.#family === 4 ? 32 : 128
    this.#words = this.#family === 4 ? 1 : 4
    this.#shape = shape
    this.#env = env
    if (options.netmask !== undefined && (options.netmask === 0 || options.netmask > this.#hostMask))
      throw new SetError('INVALID_NETMASK')
    if (options.bitmask?.every((word) => word === 0) === true) throw new SetError('INVALID_NETMASK')
    if (options.markmask === 0) throw new SetError('INVALID_MARKMASK')
    this.#netmask = options.netmask ?? this.#hostMask
    this.#bitmask =
      options.bitmask ?? (options.netmask === undefined ? ONES : prefixMask(options.netmask, this.#family))
    this.#hasBitmask = options.bitmask?.slice(0, this.#words).some((word) => word !== -1) === true
    this.#markmask = options.markmask ?? 0xffffffff
    this.#forceadd = options.forceadd === true
    this.#hashsize = roundUp(Math.max(options.hashsize ?? DEFAULT_HASHSIZE, MIN_HASHSIZE))
    this.#maxelem = options.maxelem ?? DEFAULT_MAXELEM
    this.#bucketsize = bucket(options.bucketsize ?? MAX_BUCKET)
    this.#initval = options.initval ?? env.host.random.u32()

    const offsets: number[] = []
    const nets: number[] = []
    let next = 0
    let iface = -1
    for (const part of shape.parts) {
      offsets.push(next)
      if (part === 'net') nets.push(next)
      if (part === 'ip' || part === 'net') next += this.#words
      else if (part === 'mac') next += 2
      else if (part === 'iface') iface = 0
      else next++
    }
    this.#cidrAt = nets.length > 0 ? next++ : -1
    const hashed = next
    this.#ifaceAt = iface < 0 ? -1 : next++
    this.#interfaces = iface < 0 ? null : new Interfaces(env.host.devices)
    this.#at = offsets
    this.#nets = nets
    this.#lengthCounts = nets.map(() => new Int32Array(this.#hostMask + 1))
    this.#lengths = nets.map(() => [])
    this.#key = new Int32Array(next)
    this.extensions = new Extensions(options, env.host)
    this.#collects = this.#cidrAt >= 0 && this.extensions.expires
    this.#collectEvery = collectEvery(this.extensions.timeout)
    if (this.#collects) this.collectAt = env.host.now + FIRST_COLLECT_MS
    this.#table = new ElementTable(next, hashed, this.#initval, (rows) => this.extensions.grow(rows))
  }

  // -- the tool's side

  add(options: SetOptions, exist: boolean): void {
    this.extensions.check(options)
    this.#collect()
    const flags = (options.nomatch ? FLAG_NOMATCH : 0) | (options.wildcard ? FLAG_WILDCARD : 0)
    if (options.nomatch) this.#nomatches = true
    this.#each(
      options,
      () => {
        const row = this.#findExact()
        if (row >= 0) {
          const expired = this.extensions.expired(row)
          if (!exist && !expired) throw new SetError('EXIST')
          this.#table.flags[row] = USED | flags
          this.extensions.put(row, options, expired)
        } else this.extensions.put(this.#insert(flags), options, true)
      },
      this.#forceadd ? 'last' : 'all',
    )
  }

  del(options: SetOptions, exist: boolean): void {
    this.extensions.check(options)
    this.#collect()
    this.#each(
      options,
      () => {
        const row = this.#findExact()
        if (row >= 0 && !this.extensions.expired(row)) this.#remove(row)
        else if (!exist) throw new SetError('EXIST')
      },
      exist ? 'present' : 'all',
    )
  }

  test(options: SetOptions): boolean {
    this.extensions.check(options)
    this.#collect()
    let result = 0
    this.#each(
      firstOf(options),
      () => {
        result = this.#lookup(null, null)
      },
      'one',
    )
    // ip_set_enomatch(): who asks for `nomatch` is told of such elements alone.
    return options.nomatch === true ? result === NOMATCH : result > 0
  }

  flush(): void {
    this.#table.clear()
    this.extensions.clear()
    for (const counts of this.#lengthCounts) counts.fill(0)
    for (const lengths of this.#lengths) lengths.length = 0
  }

  count(): number {
    if (!this.extensions.expires) return this.#table.size
    let live = 0
    for (let row = 0; row < this.#table.rows; row++) if (this.#live(row)) live++
    return live
  }

  *members(): Iterable<SetMember> {
    for (let row = 0; row < this.#table.rows; row++)
      if (this.#live(row)) yield { ...this.#read(row), ...this.extensions.read(row) }
  }

  header(): SetOptions {
    const masked = this.#shape.masks === true || this.#shape.netMasks === true
    return {
      family: this.#family,
      hashsize: this.#hashsize,
      maxelem: this.#maxelem,
      ...(masked && this.#hasBitmask && { bitmask: this.#bitmask }),
      ...(masked && this.#netmask !== this.#hostMask && { netmask: this.#netmask }),
      ...(this.#shape.parts.includes('mark') && { markmask: this.#markmask }),
      ...(this.#forceadd && { forceadd: true }),
      ...this.extensions.header(),
      bucketsize: this.#bucketsize,
      initval: this.#initval,
    }
  }

  memory(): number {
    return this.#table.bytes() + this.extensions.bytes()
  }

  same(other: SetData): boolean {
    return (
      other instanceof HashSet &&
      this.#maxelem === other.#maxelem &&
      this.#netmask === other.#netmask &&
      this.#markmask === other.#markmask &&
      this.#bitmask.every((word, i) => word === other.#bitmask[i]) &&
      this.extensions.same(other.extensions)
    )
  }

  destroy(): void {
    this.flush()
  }

  // -- elements

  #live(row: number): boolean {
    return this.#table.used(row) && !this.extensions.expired(row)
  }

  /** Calls `then` with the key of every element that the options name, as far as `reach` says. */
  #each(options: SetOptions, then: () => void, reach: Reach): void {
    const { parts, net0 } = this.#shape
    const one = reach === 'one'
    const key = this.#key
    const cidr = options.cidr ?? this.#hostMask
    const cidr2 = options.cidr2 ?? this.#hostMask
    const first = parts[0] === 'ip' || parts[0] === 'net' ? parts[0] : null
    const second = parts.findIndex((part, i) => i > 0 && (part === 'ip' || part === 'net'))
    if (first === 'net' && ((cidr === 0 && !net0) || cidr > this.#hostMask))
      throw new SetError('INVALID_CIDR')
    if (second > 0 && parts[second] === 'net' && ((cidr2 === 0 && !net0) || cidr2 > this.#hostMask))
      throw new SetError('INVALID_CIDR')
    if (this.#family === 6 && (options.ipTo !== undefined || options.ip2To !== undefined))
      throw new SetError('HASH_RANGE_UNSUPPORTED')
    if (this.#family === 6 && first === 'ip' && cidr !== this.#hostMask) throw new SetError('INVALID_CIDR')
    const ports = this.#ports(options)
    for (const [i, part] of parts.entries()) {
      const at = this.#at[i]!
      if (part === 'mac') {
        const [a, b] = options.ether ?? [0, 0]
        if (a === 0 && b === 0) throw new SetError('HASH_ELEM')
        key[at] = a
        key[at + 1] = b
      } else if (part === 'mark') key[at] = (options.mark ?? 0) & this.#markmask
    }
    if (this.#ifaceAt >= 0) key[this.#ifaceAt] = this.#interfaces!.id(options.iface ?? '')
    const physdev = options.physdev ? 1 << 16 : 0

    const overPorts = (): void => {
      if (ports === null) {
        then()
        return
      }
      const at = this.#at[parts.indexOf('port')]!
      for (let port = ports.from; ; port++) {
        key[at] = port | ((options.proto ?? 0) << 16)
        this.#overSecond(options, second, cidr2, reach, then)
        if (one || port >= ports.to) return
      }
    }
    const inner =
      ports === null && second > 0 ? () => this.#overSecond(options, second, cidr2, reach, then) : overPorts
    if (this.#cidrAt >= 0) key[this.#cidrAt] = physdev
    if (first === null) {
      inner()
      return
    }
    this.#overFirst(options, first, cidr, reach, ports === null ? 1 : ports.to - ports.from + 1, inner)
  }

  #ports(options: SetOptions): Span | null {
    if (!this.#shape.parts.includes('port')) return null
    const proto = options.proto ?? 0
    if (proto === 0) throw new SetError('INVALID_PROTO')
    const ported = withPorts(proto)
    const port = ported || proto === IPPROTO_ICMP || proto === IPPROTO_ICMPV6 ? (options.port ?? 0) : 0
    const to = ported ? (options.portTo ?? port) : port
    return { from: Math.min(port, to), to: Math.max(port, to) }
  }

  #overFirst(
    options: SetOptions,
    kind: 'ip' | 'net',
    cidr: number,
    reach: Reach,
    ports: number,
    then: () => void,
  ): void {
    const one = reach === 'one'
    const key = this.#key
    const words = options.ip ?? [0, 0, 0, 0]
    const masked = this.#shape.masks === true || this.#shape.netMasks === true
    if (this.#family === 6) {
      const mask = kind === 'net' ? prefixMask(cidr, 6) : ONES
      let any = 0
      for (let i = 0; i < 4; i++) {
        const word = words[i]! & mask[i]! & (masked ? this.#bitmask[i]! : -1)
        key[i] = word
        any |= word
      }
      if (any === 0 && this.#shape.masks) throw new SetError('HASH_ELEM')
      if (kind === 'net') this.#setCidr(0, cidr)
      then()
      return
    }
    const bits = masked ? this.#bitmask[0] : -1
    const from = (words[0] & bits) >>> 0
    if (kind === 'net') {
      const range = this.#netRange(words[0] & bits, options.ipTo, cidr)
      if (one || options.ipTo === undefined) {
        key[0] = words[0] & bits & prefixMask(cidr, 4)[0]
        this.#setCidr(0, cidr)
        then()
        return
      }
      this.#overNets(range, 0, reach, then)
      return
    }
    if (from === 0 && this.#shape.masks) throw new SetError('HASH_ELEM')
    key[0] = from | 0
    if (one) {
      then()
      return
    }
    let start = from
    let end = from
    if (options.ipTo !== undefined) {
      end = options.ipTo[0] >>> 0
      if (start > end) {
        if (end === 0 && this.#shape.masks) throw new SetError('HASH_ELEM')
        ;[start, end] = [end, start]
      }
    } else if (options.cidr !== undefined) {
      if (cidr === 0 || cidr > 32) throw new SetError('INVALID_CIDR')
      const mask = prefixMask(cidr, 4)[0]
      start = (from & mask) >>> 0
      end = (from | ~mask) >>> 0
    }
    const step = this.#shape.masks ? 2 ** (32 - this.#netmask) : 1
    const addresses = Math.floor((end - start) / step) + 1
    if (reach === 'present' && addresses > this.#table.rows) {
      for (const address of this.#addressesWithin(0, start, end))
        if ((address - start) % step === 0) {
          key[0] = address | 0
          then()
        }
      return
    }
    // Each address beyond these pushes out one before it.
    const kept = Math.ceil((2 * this.#maxelem) / ports)
    if (reach === 'last' && addresses > kept) start += (addresses - kept) * step
    for (let address = start; address <= end; address += step) {
      if (address === 0 && this.#shape.masks && address !== start) return
      // As the kernel: only the first was masked.
      key[0] = address | 0
      then()
    }
  }

  /** Addresses of elements at offset `at` of their keys, from `start` to `end`. */
  #addressesWithin(at: number, start: number, end: number): Set<number> {
    const { keys, rows, stride } = this.#table
    const found = new Set<number>()
    for (let row = 0; row < rows; row++) {
      const address = keys[row * stride + at]! >>> 0
      if (this.#table.used(row) && address >= start && address <= end) found.add(address)
    }
    return found
  }

  #overSecond(options: SetOptions, part: number, cidr: number, reach: Reach, then: () => void): void {
    if (part < 0) {
      then()
      return
    }
    const key = this.#key
    const at = this.#at[part]!
    const words = options.ip2 ?? [0, 0, 0, 0]
    const isNet = this.#shape.parts[part] === 'net'
    const which = this.#nets.indexOf(at)
    if (reach === 'one' || this.#family === 6 || !isNet || options.ip2To === undefined) {
      const mask = isNet ? prefixMask(cidr, this.#family) : ONES
      for (let i = 0; i < this.#words; i++)
        key[at + i] = words[i]! & mask[i]! & (this.#shape.netMasks ? this.#bitmask[i]! : -1)
      if (isNet) this.#setCidr(which, cidr)
      then()
      return
    }
    this.#overNets(this.#netRange(words[0], options.ip2To, cidr), which, reach, then)
  }

  #netRange(word: number, to: Words | undefined, cidr: number): Span {
    if (to === undefined) {
      const mask = prefixMask(cidr, 4)[0]
      return { from: (word & mask) >>> 0, to: (word | ~mask) >>> 0 }
    }
    const a = word >>> 0
    const b = to[0] >>> 0
    const range = { from: Math.min(a, b), to: Math.max(a, b) }
    if (range.from === 0 && range.to === 0xffffffff) throw new SetError('HASH_RANGE')
    return range
  }

  /**
   * The largest networks that together are the range (ip_set_range_to_cidr), each as part `which` of the key. As the
   * kernel compares ends as sequence numbers, no network ends 2^31 or more before the end of the range: it goes on by
   * single addresses there.
   */
  #overNets({ from, to }: Span, which: number, reach: Reach, then: () => void): void {
    const at = this.#nets[which]!
    const take = (address: number, length: number): void => {
      this.#key[at] = address | 0
      this.#setCidr(which, length)
      then()
    }
    const far = to - 2 ** 31
    for (let start = from; start <= to; ) {
      let length = 32
      while (length > 1) {
        const size = 2 ** (33 - length)
        if (start % size !== 0 || start + size - 1 > to) break
        length--
      }
      if (start + 2 ** (32 - length) - 1 <= far) {
        const end = endOfSingles(start, to)
        if (reach === 'present')
          for (const address of this.#addressesWithin(at, start, end - 1)) take(address, 32)
        else
          for (let i = reach === 'last' ? Math.max(start, end - 2 * this.#maxelem) : start; i < end; i++)
            take(i, 32)
        start = end
        continue
      }
      take(start, length)
      start += 2 ** (32 - length)
    }
  }

  #setCidr(which: number, length: number): void {
    const shift = which * 8
    const key = this.#key
    key[this.#cidrAt] = (key[this.#cidrAt]! & ~(0xff << shift)) | (length << shift)
  }

  /** The row of exactly the key; of interfaces, that with the same name, or one that the wildcard covers. */
  #findExact(): number {
    if (this.#ifaceAt < 0) return this.#table.find(this.#key)
    const table = this.#table
    for (let slot = table.nextAlike(this.#key, -1); slot >= 0; slot = table.nextAlike(this.#key, slot)) {
      const row = table.rowAt(slot)
      if (this.#sameInterface(row, this.#key[this.#ifaceAt]!)) return row
    }
    return -1
  }

  #sameInterface(row: number, id: number): boolean {
    const own = this.#table.keys[row * this.#table.stride + this.#ifaceAt]!
    return (this.#table.flags[row]! & FLAG_WILDCARD) === 0
      ? own === id
      : this.#interfaces!.name(id).startsWith(this.#interfaces!.name(own))
  }

  #insert(flags: number): number {
    const table = this.#table
    if (this.extensions.expires && !this.#collects) this.#sweep(2)
    if (table.size >= this.#maxelem) {
      if (this.extensions.expires) this.#sweep(table.rows)
      if (table.size >= this.#maxelem) {
        if (!this.#forceadd || table.size === 0) throw new SetError('HASH_FULL')
        this.#evict()
      }
    }
    const row = table.insert(this.#key)
    table.flags[row] = USED | flags
    if (this.#cidrAt >= 0) this.#countLengths(row, 1)
    return row
  }

  #remove(row: number): void {
    if (this.#cidrAt >= 0) this.#countLengths(row, -1)
    this.#table.remove(row)
  }

  /** forceadd: some element gives way. Differs from Linux: not one of the same hash bucket. */
  #evict(): void {
    const { rows } = this.#table
    do this.#cursor = (this.#cursor + 1) % rows
    while (!this.#table.used(this.#cursor))
    this.#remove(this.#cursor)
  }

  /** Gives back the room of expired elements among the next `rows`. */
  #sweep(rows: number): void {
    const table = this.#table
    for (let i = Math.min(rows, table.rows); i > 0; i--) {
      this.#cursor = (this.#cursor + 1) % table.rows
      if (table.used(this.#cursor) && this.extensions.expired(this.#cursor)) this.#remove(this.#cursor)
    }
  }

  /**
   * mtype_gc(): the collector comes by every third of the set's timeout, and only then an expired network stops to count
   * for its prefix length, and to end a search among interfaces. Here it comes by when somebody next asks. Hot.
   */
  #collect(): void {
    const { now } = this.#env.host
    if (now < this.collectAt) return
    const last = now - ((now - this.collectAt) % this.#collectEvery)
    this.collectAt = last + this.#collectEvery
    const table = this.#table
    for (let row = 0; row < table.rows; row++)
      if (table.used(row) && this.extensions.endedBefore(row, last)) this.#remove(row)
  }

  /** mtype_add_cidr() and mtype_del_cidr(). */
  #countLengths(row: number, by: number): void {
    const word = this.#table.keys[row * this.#table.stride + this.#cidrAt]!
    for (let which = 0; which < this.#nets.length; which++) {
      const counts = this.#lengthCounts[which]!
      const length = (word >>> (which * 8)) & 0xff
      const was = counts[length]!
      counts[length] = was + by
      if (was === 0 || was + by === 0) {
        const lengths: number[] = []
        for (let i = this.#hostMask; i >= 0; i--) if (counts[i]! > 0) lengths.push(i)
        this.#lengths[which] = lengths
      }
    }
  }

  #read(row: number): SetMember {
    const table = this.#table
    const { keys } = table
    const base = row * table.stride
    const member: SetMember = {}
    const flags = table.flags[row]!
    const address = (at: number): Words =>
      this.#words === 1
        ? [keys[base + at]!, 0, 0, 0]
        : [keys[base + at]!, keys[base + at + 1]!, keys[base + at + 2]!, keys[base + at + 3]!]
    for (const [i, part] of this.#shape.parts.entries()) {
      const at = this.#at[i]!
      if (part === 'ip' || part === 'net') {
        const which = this.#nets.indexOf(at)
        const length = which < 0 ? undefined : (keys[base + this.#cidrAt]! >>> (which * 8)) & 0xff
        if (i === 0) {
          member.ip = address(at)
          if (length !== undefined) member.cidr = length
        } else {
          member.ip2 = address(at)
          if (length !== undefined) member.cidr2 = length
        }
      } else if (part === 'port') {
        member.port = keys[base + at]! & 0xffff
        member.proto = keys[base + at]! >>> 16
      } else if (part === 'mac') member.ether = [keys[base + at]!, keys[base + at + 1]!]
      else if (part === 'mark') member.mark = keys[base + at]! >>> 0
      else {
        member.iface = this.#interfaces!.name(keys[base + this.#ifaceAt]!)
        if ((keys[base + this.#cidrAt]! >>> 16) & 1) member.physdev = true
        if (flags & FLAG_WILDCARD) member.wildcard = true
      }
    }
    if (flags & FLAG_NOMATCH) member.nomatch = true
    return member
  }

  // -- the packet's side

  match(pkt: Packet, dirs: number, ext: PacketExtension): number {
    if (this.#collects) this.#collect()
    if (this.#table.size === 0 || !this.#fill(pkt, dirs)) return 0
    for (let which = 0; which < this.#nets.length; which++) this.#setCidr(which, this.#hostMask)
    return this.#lookup(pkt, ext)
  }

  addPacket(pkt: Packet, dirs: number, ext: PacketExtension): boolean {
    if (this.#collects) this.#collect()
    if (!this.#fill(pkt, dirs) || !this.#cut()) return false
    const row = this.#findExact()
    if (row >= 0) {
      const expired = this.extensions.expired(row)
      if (!ext.exist && !expired) return false
      this.#table.flags[row] = USED
      this.extensions.putPacket(row, pkt, ext, !expired)
      return true
    }
    if (this.extensions.expires && !this.#collects) this.#sweep(2)
    if (this.#table.size >= this.#maxelem) {
      if (this.extensions.expires) this.#sweep(this.#table.rows)
      if (this.#table.size >= this.#maxelem && !this.#forceadd) return false
    }
    this.extensions.putPacket(this.#insert(0), pkt, ext, false)
    return true
  }

  delPacket(pkt: Packet, dirs: number, _ext: PacketExtension): boolean {
    if (this.#collects) this.#collect()
    if (!this.#fill(pkt, dirs) || !this.#cut()) return false
    const row = this.#findExact()
    if (row < 0 || this.extensions.expired(row)) return false
    this.#remove(row)
    return true
  }

  /** The packet's addresses as networks of the longest prefix length in the set (INIT_CIDR). */
  #cut(): boolean {
    for (let which = 0; which < this.#nets.length; which++) {
      const length = this.#lengths[which]![0] ?? this.#hostMask
      if (length === 0) return false
      this.#maskNet(which, length)
    }
    return true
  }

  /** The key from a packet; false if it lacks a part. Hot. */
  #fill(pkt: Packet, dirs: number): boolean {
    const { parts, masks, netMasks } = this.#shape
    const key = this.#key
    let net = 0
    if (this.#cidrAt >= 0) key[this.#cidrAt] = 0
    for (let i = 0; i < parts.length; i++) {
      const at = this.#at[i]!
      const source = (dirs & (1 << i)) !== 0
      switch (parts[i]) {
        case 'ip':
        case 'net': {
          key[at] = source ? pkt.s0 : pkt.d0
          if (this.#words === 4) {
            key[at + 1] = source ? pkt.s1 : pkt.d1
            key[at + 2] = source ? pkt.s2 : pkt.d2
            key[at + 3] = source ? pkt.s3 : pkt.d3
          }
          if ((masks || netMasks) && this.#bitmask !== ONES && (i === 0 || netMasks))
            for (let w = 0; w < this.#words; w++) key[at + w] = key[at + w]! & this.#bitmask[w]!
          if (masks) {
            let any = 0
            for (let w = 0; w < this.#words; w++) any |= key[at + w]!
            if (any === 0) return false
          }
          if (parts[i] === 'net') {
            for (let w = 0; w < this.#words; w++) this.#whole[net * 4 + w] = key[at + w]!
            net++
          }
          break
        }
        case 'port': {
          const word = portWord(pkt, source, this.#env.host.memory.bytes)
          if (word < 0) return false
          key[at] = word
          break
        }
        case 'mark':
          key[at] = pkt.mark & this.#markmask
          break
        case 'iface': {
          const id = this.#interfaces!.ofDevice(source ? pkt.iif : pkt.oif)
          if (id < 0) return false
          key[this.#ifaceAt] = id
          break
        }
        // Nothing that this host receives has a link layer header.
        default:
          return false
      }
    }
    return true
  }

  #maskNet(which: number, length: number): void {
    const at = this.#nets[which]!
    const key = this.#key
    const whole = this.#whole
    if (this.#words === 1) key[at] = length === 0 ? 0 : whole[which * 4]! & (-1 << (32 - length))
    else
      for (let w = 0; w < 4; w++) {
        const bits = length - 32 * w
        const word = whole[which * 4 + w]!
        key[at + w] = bits >= 32 ? word : bits <= 0 ? 0 : word & (-1 << (32 - bits))
      }
    this.#setCidr(which, length)
  }

  /** mtype_test() on the key; without a packet nothing is counted. */
  #lookup(pkt: Packet | null, ext: PacketExtension | null): number {
    const nets = this.#nets.length
    if (nets > 0) {
      let hosts = true
      for (let which = 0; which < nets; which++)
        if (((this.#key[this.#cidrAt]! >>> (which * 8)) & 0xff) !== this.#hostMask) hosts = false
      if (hosts) {
        if (pkt === null)
          for (let which = 0; which < nets; which++)
            for (let w = 0; w < this.#words; w++)
              this.#whole[which * 4 + w] = this.#key[this.#nets[which]! + w]!
        return this.#lookupNets(pkt, ext)
      }
    }
    if (this.#ifaceAt >= 0) return this.#lookupInterface(pkt, ext)
    const row = this.#table.find(this.#key)
    return row < 0 ? 0 : this.#verdict(row, pkt, ext)
  }

  /** mtype_test_cidrs(): most specific first. */
  #lookupNets(pkt: Packet | null, ext: PacketExtension | null): number {
    const table = this.#table
    const key = this.#key
    const lengths = this.#lengths[0]!
    const seconds = this.#nets.length > 1 ? this.#lengths[1]! : null
    for (let j = 0; j < lengths.length; j++) {
      this.#maskNet(0, lengths[j]!)
      for (let k = 0; k < (seconds === null ? 1 : seconds.length); k++) {
        if (seconds !== null) this.#maskNet(1, seconds[k]!)
        if (this.#ifaceAt >= 0) {
          const result = this.#lookupInterface(pkt, ext)
          // The most specific network ends the search, though none of its interfaces is the packet's (`multi`).
          if (result !== 0 || (this.#found && !this.#denied)) return result
          continue
        }
        const row = table.find(key)
        if (row < 0) continue
        const result = this.#verdict(row, pkt, ext)
        if (result !== 0) return result
      }
    }
    return 0
  }

  /** An element equal in all but its counters or time was the last looked at. */
  #denied = false

  #lookupInterface(pkt: Packet | null, ext: PacketExtension | null): number {
    const table = this.#table
    this.#found = false
    this.#denied = false
    for (let slot = table.nextAlike(this.#key, -1); slot >= 0; slot = table.nextAlike(this.#key, slot)) {
      const row = table.rowAt(slot)
      this.#found = true
      this.#denied = false
      if (!this.#sameInterface(row, this.#key[this.#ifaceAt]!)) continue
      const result = this.#verdict(row, pkt, ext)
      if (result !== 0) return result
      this.#denied = true
    }
    return 0
  }

  #verdict(row: number, pkt: Packet | null, ext: PacketExtension | null): number {
    if (pkt === null ? this.extensions.expired(row) : !this.extensions.met(row, pkt, ext!)) return 0
    return this.#nomatches && (this.#table.flags[row]! & FLAG_NOMATCH) !== 0 ? NOMATCH : 1
  }
}

/** The collector of a set first comes by so long after it was created, ms. */
const FIRST_COLLECT_MS = 1000
/** It comes by that often at least, seconds. */
const SELDOM = 180

/** IPSET_GC_PERIOD(), in ms, of a default timeout in seconds. */
const collectEvery = (timeout: number): number =>
  timeout < 3 ? 1000 : Math.min(Math.trunc(timeout / 3), SELDOM) * 1000

/** The first address, from `start` on, at which a network begins that ends less than 2^31 before `to`. */
function endOfSingles(start: number, to: number): number {
  const near = to - 2 ** 31 + 1
  for (let size = 2 ** 31; size > 1; size /= 2) {
    const first = near - (near % size)
    if (first >= start && first + size - 1 <= to) return first
  }
  return near
}

/** A test looks at one element only, the first of a range. */
function firstOf({ ipTo: _ip, ip2To: _ip2, portTo: _port, ...rest }: SetOptions): SetOptions {
  return rest
}

/** ip_set_get_ip4_port(), ip_set_get_ip6_port(): port or ICMP type and code, and the protocol above; -1 if it has none. Hot. */
export function portWord(pkt: Packet, source: boolean, bytes: Uint8Array): number {
  const { proto } = pkt
  if (proto === IPPROTO_ICMP || proto === IPPROTO_ICMPV6) {
    if (proto === IPPROTO_ICMPV6 && pkt.family === 4) return proto << 16
    if (pkt.fragOffset !== 0 || pkt.l4 + ICMP_HEADER > pkt.end) return -1
    return (bytes[pkt.l4]! << 8) | bytes[pkt.l4 + 1]! | (proto << 16)
  }
  if (withPorts(proto)) {
    const port = source ? pkt.sport : pkt.dport
    // As get_port(): the whole header must be there.
    const header = proto === IPPROTO_TCP ? TCP_HEADER : proto === IPPROTO_SCTP ? SCTP_HEADER : UDP_HEADER
    return pkt.fragOffset !== 0 || port < 0 || pkt.l4 + header > pkt.end ? -1 : port | (proto << 16)
  }
  // ipv6_skip_exthdr() ends at "no next header".
  if (pkt.family === 6 && (pkt.fragOffset !== 0 || proto === NEXTHDR_NONE)) return -1
  return proto !== 0 ? proto << 16 : -1
}

function roundUp(size: number): number {
  let power = 1
  while (power < size) power *= 2
  return power
}

function bucket(size: number): number {
  return size < INIT_BUCKET ? INIT_BUCKET : size > MAX_BUCKET ? MAX_BUCKET : size + (size % 2)
}
