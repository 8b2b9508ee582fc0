// Sets of type bitmap:*: a byte for every address or port of a range of at most 65,536 (ip_set_bitmap_gen.h and its
// users, Linux 6.18).

import type { Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { prefixMask, type Words } from '../text/address.ts'
import { Extensions, type PacketExtension } from './extensions.ts'
import { portWord } from './port-word.ts'
import { type SetData, type SetEnv, SetError, type SetMember, type SetOptions } from './set-type.ts'

/** IPSET_BITMAP_MAX_RANGE + 1. */
const MAX_ELEMENTS = 65536

const unsigned = (words: Words | undefined): number => (words?.[0] ?? 0) >>> 0

const ABSENT = 0
const PRESENT = 1

/** What the elements of a range are: how options and packets become positions in it. */
interface BitmapKind {
  readonly first: number
  readonly last: number
  /** Values that share one element (netmask). */
  readonly step: number
  /** What hangs on an element is checked before its value. */
  readonly extensionsFirst: boolean
  /** The element's first value as it is written. */
  written(options: SetOptions): number
  /** From and to of an element's options; throws SetError. */
  span(options: SetOptions): readonly [number, number]
  /** Row of the packet's element, -1 if it can have none; of a value itself a call would allocate a large one. Hot. */
  pick(pkt: Packet, source: boolean): number
  read(value: number): SetMember
  header(): SetOptions
}

export class BitmapSet implements SetData {
  readonly extensions: Extensions
  readonly #kind: BitmapKind
  /** Elements carry a MAC, which may be missing. */
  readonly #macs: Map<number, readonly [number, number]> | null
  /** Elements without MAC: their time, in seconds, runs only once they have one. */
  readonly #waiting = new Map<number, number>()
  /**
   * Elements with a MAC that were added again without it: their seconds are taken for a moment since the kernel's start, and
   * so they are over, but not gone.
   */
  readonly #lost = new Set<number>()
  readonly #members: Uint8Array

  constructor(kind: BitmapKind, options: SetOptions, env: SetEnv, macs = false) {
    this.#kind = kind
    const elements = Math.floor((kind.last - kind.first) / kind.step) + 1
    if (elements > MAX_ELEMENTS) throw new SetError('BITMAP_RANGE_SIZE')
    this.extensions = new Extensions(options, env.host)
    this.extensions.grow(elements)
    this.#macs = macs ? new Map() : null
    this.#members = new Uint8Array(elements)
  }

  /** The order of uadt(): the value, then what hangs on it; with addresses the other way round. */
  #check(options: SetOptions): void {
    if (this.#kind.extensionsFirst) this.extensions.check(options)
    const value = this.#kind.written(options)
    if (value < this.#kind.first || value > this.#kind.last) throw new SetError('BITMAP_RANGE')
    this.extensions.check(options)
  }

  add(options: SetOptions, exist: boolean): void {
    this.#check(options)
    this.#each(options, (row) => {
      const live = this.#live(row)
      if (this.#macs !== null) {
        this.#addMac(row, options, exist, live)
        return
      }
      if (live && !exist) throw new SetError('EXIST')
      this.#members[row] = PRESENT
      // What counted before stays in its place, and counts on.
      this.extensions.put(row, options, false)
    })
  }

  /**
   * bitmap_ipmac_do_add(): a MAC may come later, and starts the element's time. Until then its seconds look like a moment
   * long ago, so that the element may be added again.
   */
  #addMac(row: number, options: SetOptions, exist: boolean, live: boolean): void {
    const macs = this.#macs!
    const { ether } = options
    const lost = this.#lost.has(row)
    const waited = live ? this.#waiting.get(row) : undefined
    const completes = live && !macs.has(row) && ether !== undefined
    if (live && !completes && !waited && !exist) throw new SetError('EXIST')
    this.#members[row] = PRESENT
    if (ether !== undefined && (!lost || exist)) macs.set(row, ether)
    else if (ether === undefined && !live && !lost) macs.delete(row)
    this.#waiting.delete(row)
    this.#lost.delete(row)
    const seconds = options.timeout ?? this.extensions.timeout
    if (ether !== undefined || !this.extensions.expires) {
      const stored = completes && seconds === this.extensions.timeout ? waited : undefined
      this.extensions.put(row, stored === undefined ? options : { ...options, timeout: stored }, false)
      return
    }
    this.extensions.put(row, { ...options, timeout: 0 }, false)
    if (!macs.has(row)) this.#waiting.set(row, seconds)
    else if (seconds !== 0) this.#lost.add(row)
  }

  del(options: SetOptions, exist: boolean): void {
    this.#check(options)
    this.#each(options, (row) => {
      // One whose time seems over goes, and the tool is told that it was not there.
      const over = (this.#waiting.get(row) ?? 0) !== 0 || !this.#live(row)
      if (this.#members[row] === PRESENT) this.#remove(row)
      if (over && !exist) throw new SetError('EXIST')
    })
  }

  test(options: SetOptions): boolean {
    this.#check(options)
    const { first, step } = this.#kind
    const row = Math.floor((this.#kind.written(options) - first) / step)
    const asked = options.ether
    if (!this.#live(row)) return asked === undefined && this.#lost.has(row)
    const mac = this.#macs?.get(row)
    return mac === undefined || asked === undefined || (mac[0] === asked[0] && mac[1] === asked[1])
  }

  flush(): void {
    this.#members.fill(ABSENT)
    this.#macs?.clear()
    this.#waiting.clear()
    this.#lost.clear()
    this.extensions.clear()
  }

  count(): number {
    let live = 0
    for (let row = 0; row < this.#members.length; row++) if (this.#live(row)) live++
    return live + this.#lost.size
  }

  *members(): Iterable<SetMember> {
    const { first, step } = this.#kind
    for (let row = 0; row < this.#members.length; row++) {
      if (!this.#live(row)) continue
      const member = { ...this.#kind.read(first + row * step), ...this.extensions.read(row) }
      const mac = this.#macs?.get(row)
      if (mac !== undefined) member.ether = mac
      const waiting = this.#waiting.get(row)
      if (waiting !== undefined) member.timeout = waiting
      yield member
    }
  }

  header(): SetOptions {
    return { ...this.#kind.header(), ...this.extensions.header() }
  }

  memory(): number {
    return this.#members.length + this.extensions.bytes()
  }

  same(other: SetData): boolean {
    return (
      other instanceof BitmapSet &&
      this.#kind.first === other.#kind.first &&
      this.#kind.last === other.#kind.last &&
      this.#kind.step === other.#kind.step &&
      this.extensions.same(other.extensions)
    )
  }

  destroy(): void {
    this.flush()
  }

  match(pkt: Packet, dirs: number, ext: PacketExtension): number {
    const row = this.#pick(pkt, dirs)
    return row >= 0 && this.#members[row] === PRESENT && this.extensions.met(row, pkt, ext) ? 1 : 0
  }

  addPacket(pkt: Packet, dirs: number, ext: PacketExtension): boolean {
    const row = this.#pick(pkt, dirs)
    if (row < 0 || (this.#live(row) && !ext.exist)) return false
    this.#members[row] = PRESENT
    this.extensions.putPacket(row, pkt, ext, false)
    return true
  }

  delPacket(pkt: Packet, dirs: number, _ext: PacketExtension): boolean {
    const row = this.#pick(pkt, dirs)
    if (row < 0 || !this.#live(row)) return false
    this.#remove(row)
    return true
  }

  #pick(pkt: Packet, dirs: number): number {
    // A MAC is asked for, and nothing that this host receives has one.
    if (this.#macs !== null) return -1
    return this.#kind.pick(pkt, (dirs & 1) !== 0)
  }

  #live(row: number): boolean {
    return this.#members[row] === PRESENT && !this.extensions.expired(row) && !this.#lost.has(row)
  }

  #remove(row: number): void {
    this.#members[row] = ABSENT
    this.#macs?.delete(row)
    this.#waiting.delete(row)
    this.#lost.delete(row)
  }

  #each(options: SetOptions, then: (row: number) => void): void {
    const { first, last, step } = this.#kind
    const [from, to] = this.#kind.span(options)
    if (from < first || to > last) throw new SetError('BITMAP_RANGE')
    for (let value = from; value <= to; value += step) then(Math.floor((value - first) / step))
  }
}

/** Addresses: bitmap:ip, bitmap:ip,mac. */
export function addressBitmap(options: SetOptions, env: SetEnv, macs: boolean): BitmapSet {
  let first = unsigned(options.ip)
  let last = unsigned(options.ipTo)
  if (options.ipTo !== undefined) {
    if (first > last) [first, last] = [last, first]
  } else {
    const cidr = options.cidr ?? 32
    if (cidr >= 32) throw new SetError('INVALID_CIDR')
    const mask = prefixMask(cidr, 4)[0]
    last = (first | ~mask) >>> 0
    first = (first & mask) >>> 0
  }
  const netmask = options.netmask ?? 32
  let step = 1
  if (options.netmask !== undefined) {
    if (netmask > 32) throw new SetError('INVALID_NETMASK')
    const mask = prefixMask(netmask, 4)[0]
    first = (first & mask) >>> 0
    last = (last | ~mask) >>> 0
    if (netmask < 32) {
      // The smallest network that has the first address for its own and the last one in it (range_to_mask).
      let bits = 31
      while (bits > 0 && (last & prefixMask(bits, 4)[0]) >>> 0 !== first) bits--
      if ((bits === 0 && (first !== 0 || last !== 0xffffffff)) || netmask <= bits)
        throw new SetError('BITMAP_RANGE')
    }
    step = 2 ** (32 - netmask)
  }
  const kind: BitmapKind = {
    first,
    last,
    step,
    extensionsFirst: true,
    written: (o) => unsigned(o.ip),
    span(o) {
      const ip = unsigned(o.ip)
      if (o.ipTo !== undefined) {
        const to = unsigned(o.ipTo)
        return ip > to ? [to, ip] : [ip, to]
      }
      if (o.cidr === undefined) return [ip, ip]
      if (o.cidr === 0 || o.cidr > 32) throw new SetError('INVALID_CIDR')
      const mask = prefixMask(o.cidr, 4)[0]
      return [(ip & mask) >>> 0, (ip | ~mask) >>> 0]
    },
    pick(pkt, source) {
      const value = (source ? pkt.s0 : pkt.d0) >>> 0
      return value < first || value > last ? -1 : Math.floor((value - first) / step)
    },
    read: (value) => ({ ip: [value | 0, 0, 0, 0] }),
    header: () => ({
      ip: [first | 0, 0, 0, 0],
      ipTo: [last | 0, 0, 0, 0],
      ...(netmask !== 32 && { netmask }),
    }),
  }
  return new BitmapSet(kind, options, env, macs)
}

/** Ports of TCP and UDP. */
export function portBitmap(options: SetOptions, env: SetEnv): BitmapSet {
  const a = options.port ?? 0
  const b = options.portTo ?? 0
  const first = Math.min(a, b)
  const last = Math.max(a, b)
  const { memory } = env.host
  return new BitmapSet(
    {
      first,
      last,
      step: 1,
      extensionsFirst: false,
      written: (o) => o.port ?? 0,
      span(o) {
        const port = o.port ?? 0
        const to = o.portTo ?? port
        return port > to ? [to, port] : [port, to]
      },
      pick(pkt, source) {
        if (pkt.proto !== IPPROTO_TCP && pkt.proto !== IPPROTO_UDP) return -1
        const word = portWord(pkt, source, memory)
        const port = word & 0xffff
        return word < 0 || port < first || port > last ? -1 : port - first
      },
      read: (value) => ({ port: value }),
      header: () => ({ port: first, portTo: last }),
    },
    options,
    env,
  )
}
