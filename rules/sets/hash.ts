// Sets of type hash:*: elements of addresses, networks, ports, MACs, marks and interfaces in an ElementTable
// (ip_set_hash_gen.h and its users, Linux 6.18). hash-layout.ts: what a key is; hash-range.ts: which keys a command means.
//
// A packet is looked up among networks by trying every prefix length that the set holds, the longest first: the
// first network found decides, and if it is marked `nomatch`, the packet is not in the set.

import type { Packet } from '../../datapath/packet.ts'
import { prefixMask, type Words } from '../text/address.ts'
import { Extensions, type PacketExtension } from './extensions.ts'
import { FLAG_NOMATCH, FLAG_WILDCARD, HashLayout, type HashShape, setLength, USED } from './hash-layout.ts'
import { PrefixLengths } from './hash-lengths.ts'
import { firstOf, HashRange } from './hash-range.ts'
import { Interfaces } from './interfaces.ts'
import { portWord } from './port-word.ts'
import {
  type SetData,
  type SetEnv,
  SetError,
  type SetFamily,
  type SetMember,
  type SetOptions,
} from './set-type.ts'
import { ElementTable } from './table.ts'

/** enotempty of a `nomatch` element. */
const NOMATCH = -1
const DEFAULT_HASHSIZE = 1024
const MIN_HASHSIZE = 64
const DEFAULT_MAXELEM = 65536
const MAX_BUCKET = 12
/** Also by how much one grows. */
const INIT_BUCKET = 2
/** So large may one grow that interfaces of the same network share (AHASH_MAX_TUNED). */
const MAX_TUNED = 64
const ONES: Words = [-1, -1, -1, -1]

export class HashSet implements SetData {
  readonly extensions: Extensions
  readonly #layout: HashLayout
  readonly #shape: HashShape
  readonly #env: SetEnv
  readonly #words: number
  readonly #hostMask: number
  readonly #table: ElementTable
  readonly #key: Int32Array
  /** Of the layout, which packets need at hand. */
  readonly #at: readonly number[]
  readonly #nets: readonly number[]
  readonly #cidrAt: number
  readonly #ifaceAt: number
  readonly #interfaces: Interfaces | null
  readonly #range: HashRange
  readonly #counted: PrefixLengths
  /** The prefix lengths there are, longest first, for each network part. */
  readonly #lengths: readonly (readonly number[])[]
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
  #bucketsize: number
  readonly #initval: number

  constructor(family: SetFamily, shape: HashShape, options: SetOptions, env: SetEnv) {
    const layout = new HashLayout(family === 6 ? 6 : 4, shape)
    this.#layout = layout
    this.#hostMask = layout.hostMask
    this.#words = layout.words
    this.#shape = shape
    this.#env = env
    if (options.netmask !== undefined && (options.netmask === 0 || options.netmask > this.#hostMask))
      throw new SetError('INVALID_NETMASK')
    if (options.bitmask?.every((word) => word === 0) === true) throw new SetError('INVALID_NETMASK')
    if (options.markmask === 0) throw new SetError('INVALID_MARKMASK')
    this.#netmask = options.netmask ?? this.#hostMask
    this.#bitmask =
      options.bitmask ?? (options.netmask === undefined ? ONES : prefixMask(options.netmask, layout.family))
    this.#hasBitmask = options.bitmask?.slice(0, this.#words).some((word) => word !== -1) === true
    this.#markmask = options.markmask ?? 0xffffffff
    this.#forceadd = options.forceadd === true
    this.#hashsize = roundUp(Math.max(options.hashsize ?? DEFAULT_HASHSIZE, MIN_HASHSIZE))
    this.#maxelem = options.maxelem ?? DEFAULT_MAXELEM
    this.#bucketsize = bucket(options.bucketsize ?? MAX_BUCKET)
    this.#initval = options.initval ?? env.host.random.i32() >>> 0

    this.#at = layout.at
    this.#nets = layout.nets
    this.#cidrAt = layout.cidrAt
    this.#ifaceAt = layout.ifaceAt
    this.#interfaces = layout.ifaceAt < 0 ? null : new Interfaces(env.host.devices)
    this.#counted = new PrefixLengths(layout.nets.length, layout.hostMask)
    this.#lengths = this.#counted.present
    this.#key = new Int32Array(layout.stride)
    this.extensions = new Extensions(options, env.host)
    this.#collects = this.#cidrAt >= 0 && this.extensions.expires
    this.#collectEvery = collectEvery(this.extensions.timeout)
    if (this.#collects) this.collectAt = env.host.now + FIRST_COLLECT_MS
    this.#table = new ElementTable(layout.stride, layout.hashed, this.#initval, (rows) =>
      this.extensions.grow(rows),
    )
    const limits = {
      bitmask: this.#bitmask,
      netmask: this.#netmask,
      markmask: this.#markmask,
      maxelem: this.#maxelem,
    }
    this.#range = new HashRange(layout, limits, this.#key, this.#table, this.#interfaces)
  }

  // -- the tool's side

  add(options: SetOptions, exist: boolean): void {
    this.extensions.check(options)
    this.#collect()
    const flags = (options.nomatch ? FLAG_NOMATCH : 0) | (options.wildcard ? FLAG_WILDCARD : 0)
    if (options.nomatch) this.#nomatches = true
    this.#range.each(
      options,
      () => {
        const row = this.#findExact()
        if (row >= 0) {
          const expired = this.extensions.expired(row)
          if (!exist && !expired) throw new SetError('EXIST')
          this.#again(row, flags)
          this.extensions.put(row, options, expired)
        } else this.extensions.put(this.#insert(flags), options, true)
      },
      this.#forceadd ? 'last' : 'all',
    )
  }

  del(options: SetOptions, exist: boolean): void {
    this.extensions.check(options)
    this.#collect()
    this.#range.each(
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
    this.#range.each(
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
    this.#counted.clear()
  }

  count(): number {
    if (!this.extensions.expires) return this.#table.size
    let live = 0
    for (let row = 0; row < this.#table.rows; row++) if (this.#live(row)) live++
    return live
  }

  *members(): Iterable<SetMember> {
    for (let row = 0; row < this.#table.rows; row++)
      if (this.#live(row))
        yield { ...this.#layout.read(this.#table, row, this.#interfaces), ...this.extensions.read(row) }
  }

  header(): SetOptions {
    const masked = this.#shape.masks !== undefined || this.#shape.netMasks === true
    return {
      family: this.#layout.family,
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
    if (!this.#tune()) throw new SetError('HASH_FULL')
    return this.#place(flags)
  }

  /**
   * mtype_add() of interfaces, whose hash has none of them: those of one network share a bucket. It has room for two more
   * at a time, and the set's measure grows with it; false: not beyond MAX_TUNED. Does not allocate.
   */
  #tune(): boolean {
    if (this.#ifaceAt < 0) return true
    const table = this.#table
    let alike = 0
    for (let slot = table.nextAlike(this.#key, -1); slot >= 0; slot = table.nextAlike(this.#key, slot))
      alike++
    if (alike === 0 || alike % INIT_BUCKET !== 0) return true
    if (this.#bucketsize >= MAX_TUNED) return false
    if (this.#bucketsize <= alike) this.#bucketsize += INIT_BUCKET
    return true
  }

  #place(flags: number): number {
    const table = this.#table
    const row = table.insert(this.#key)
    table.flags[row] = USED | flags
    if (this.#cidrAt >= 0) this.#countLength(row, 1)
    return row
  }

  /** An element that is there already: what was added as a wildcard stays one, and only that (mtype_data_set_flags). */
  #again(row: number, flags: number): void {
    const { flags: all } = this.#table
    all[row] = USED | (all[row]! & FLAG_WILDCARD) | (flags & FLAG_NOMATCH)
  }

  #remove(row: number): void {
    if (this.#cidrAt >= 0) this.#countLength(row, -1)
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

  #countLength(row: number, by: number): void {
    this.#counted.count(this.#table.keys[row * this.#table.stride + this.#cidrAt]!, by)
  }

  // -- the packet's side

  match(pkt: Packet, dirs: number, ext: PacketExtension): number {
    if (this.#collects) this.#collect()
    if (this.#table.size === 0 || !this.#fill(pkt, dirs)) return 0
    for (let which = 0; which < this.#nets.length; which++)
      setLength(this.#key, this.#cidrAt, which, this.#hostMask)
    return this.#lookup(pkt, ext)
  }

  addPacket(pkt: Packet, dirs: number, ext: PacketExtension): boolean {
    if (this.#collects) this.#collect()
    if (!this.#fill(pkt, dirs) || !this.#cut()) return false
    const row = this.#findExact()
    if (row >= 0) {
      const expired = this.extensions.expired(row)
      if (!ext.exist && !expired) return false
      this.#again(row, 0)
      this.extensions.putPacket(row, pkt, ext, !expired)
      return true
    }
    if (this.extensions.expires && !this.#collects) this.#sweep(2)
    if (this.#table.size >= this.#maxelem) {
      if (this.extensions.expires) this.#sweep(this.#table.rows)
      if (this.#table.size >= this.#maxelem) {
        if (!this.#forceadd || this.#table.size === 0) return false
        this.#evict()
      }
    }
    if (!this.#tune()) return false
    this.extensions.putPacket(this.#place(0), pkt, ext, false)
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
          const word = portWord(pkt, source, this.#env.host.memory)
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
    setLength(this.#key, this.#cidrAt, which, length)
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

function roundUp(size: number): number {
  let power = 1
  while (power < size) power *= 2
  return power
}

function bucket(size: number): number {
  return size < INIT_BUCKET ? INIT_BUCKET : size > MAX_BUCKET ? MAX_BUCKET : size + (size % 2)
}
