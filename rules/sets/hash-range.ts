// What the words of a command name: every element of a range of addresses, networks and ports, one after the other as
// a key (the uadt functions of ip_set_hash_*.c).

import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import { prefixMask, type Words } from '../text/address.ts'
import { type HashLayout, setLength } from './hash-layout.ts'
import type { Interfaces } from './interfaces.ts'
import { withPorts } from './port-word.ts'
import { SetError, type SetOptions } from './set-type.ts'
import type { ElementTable } from './table.ts'

/**
 * How much of a range is gone through: its first element, all, those that a set which gives up elements (forceadd) keeps
 * in the end, or those that are in the set. 2^31 addresses one by one would take minutes, as they do in the kernel.
 */
export type Reach = 'one' | 'all' | 'last' | 'present'

interface Span {
  readonly from: number
  readonly to: number
}

/** What a set was created with: cuts of addresses and marks, and how many elements it may have. */
export interface HashLimits {
  readonly bitmask: Words
  readonly netmask: number
  readonly markmask: number
  readonly maxelem: number
}

const ONES: Words = [-1, -1, -1, -1]

export class HashRange {
  readonly #layout: HashLayout
  readonly #limits: HashLimits
  /** Filled for every element. */
  readonly #key: Int32Array
  readonly #table: ElementTable
  readonly #interfaces: Interfaces | null

  constructor(
    layout: HashLayout,
    limits: HashLimits,
    key: Int32Array,
    table: ElementTable,
    interfaces: Interfaces | null,
  ) {
    this.#layout = layout
    this.#limits = limits
    this.#key = key
    this.#table = table
    this.#interfaces = interfaces
  }

  /** Calls `then` with the key of every element that the options name, as far as `reach` says. */
  each(options: SetOptions, then: () => void, reach: Reach): void {
    const { parts, net0 } = this.#layout.shape
    const one = reach === 'one'
    const key = this.#key
    const cidr = options.cidr ?? this.#layout.hostMask
    const cidr2 = options.cidr2 ?? this.#layout.hostMask
    const first = parts[0] === 'ip' || parts[0] === 'net' ? parts[0] : null
    const second = parts.findIndex((part, i) => i > 0 && (part === 'ip' || part === 'net'))
    if (first === 'net' && ((cidr === 0 && !net0) || cidr > this.#layout.hostMask))
      throw new SetError('INVALID_CIDR')
    if (second > 0 && parts[second] === 'net' && ((cidr2 === 0 && !net0) || cidr2 > this.#layout.hostMask))
      throw new SetError('INVALID_CIDR')
    if (this.#layout.family === 6 && (options.ipTo !== undefined || options.ip2To !== undefined))
      throw new SetError('HASH_RANGE_UNSUPPORTED')
    if (this.#layout.family === 6 && first === 'ip' && cidr !== this.#layout.hostMask)
      throw new SetError('INVALID_CIDR')
    const ports = this.#ports(options)
    for (const [i, part] of parts.entries()) {
      const at = this.#layout.at[i]!
      if (part === 'mac') {
        const [a, b] = options.ether ?? [0, 0]
        if (a === 0 && b === 0) throw new SetError('HASH_ELEM')
        key[at] = a
        key[at + 1] = b
      } else if (part === 'mark') key[at] = (options.mark ?? 0) & this.#limits.markmask
    }
    if (this.#layout.ifaceAt >= 0) key[this.#layout.ifaceAt] = this.#interfaces!.id(options.iface ?? '')
    const physdev = options.physdev ? 1 << 16 : 0

    const overPorts = (): void => {
      if (ports === null) {
        then()
        return
      }
      const at = this.#layout.at[parts.indexOf('port')]!
      for (let port = ports.from; ; port++) {
        key[at] = port | ((options.proto ?? 0) << 16)
        this.#overSecond(options, second, cidr2, reach, then)
        if (one || port >= ports.to) return
      }
    }
    const inner =
      ports === null && second > 0 ? () => this.#overSecond(options, second, cidr2, reach, then) : overPorts
    if (this.#layout.cidrAt >= 0) key[this.#layout.cidrAt] = physdev
    if (first === null) {
      inner()
      return
    }
    this.#overFirst(options, first, cidr, reach, ports === null ? 1 : ports.to - ports.from + 1, inner)
  }

  #ports(options: SetOptions): Span | null {
    if (!this.#layout.shape.parts.includes('port')) return null
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
    const masked = this.#layout.shape.masks !== undefined || this.#layout.shape.netMasks === true
    if (this.#layout.family === 6) {
      const mask = kind === 'net' ? prefixMask(cidr, 6) : ONES
      let any = 0
      for (let i = 0; i < 4; i++) {
        const word = words[i]! & mask[i]! & (masked ? this.#limits.bitmask[i]! : -1)
        key[i] = word
        any |= word
      }
      if (any === 0) this.#refuseNull()
      if (kind === 'net') this.#setCidr(0, cidr)
      then()
      return
    }
    const bits = masked ? this.#limits.bitmask[0] : -1
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
    if (from === 0) this.#refuseNull()
    key[0] = from | 0
    if (one) {
      then()
      return
    }
    const byNetwork = this.#layout.shape.masks === 'network'
    let start = from
    let end = from
    if (options.ipTo !== undefined) {
      end = options.ipTo[0] >>> 0
      if (start > end) {
        if (end === 0 && byNetwork) throw new SetError('HASH_ELEM')
        ;[start, end] = [end, start]
      }
    } else if (options.cidr !== undefined) {
      if (cidr === 0 || cidr > 32) throw new SetError('INVALID_CIDR')
      const mask = prefixMask(cidr, 4)[0]
      start = (from & mask) >>> 0
      end = (from | ~mask) >>> 0
    }
    const step = byNetwork ? 2 ** (32 - this.#limits.netmask) : 1
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
    const kept = Math.ceil((2 * this.#limits.maxelem) / ports)
    if (reach === 'last' && addresses > kept) start += (addresses - kept) * step
    for (let address = start; address <= end; address += step) {
      if (address === 0 && byNetwork && address !== start) return
      // As the kernel: only the first was masked.
      key[0] = address | 0
      then()
    }
  }

  /** Address 0 in front of an element, where masks could make it of any other. */
  #refuseNull(): void {
    const { masks } = this.#layout.shape
    if (masks !== undefined) throw new SetError(masks === 'network' ? 'HASH_ELEM' : 'EINVAL')
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
    const at = this.#layout.at[part]!
    const words = options.ip2 ?? [0, 0, 0, 0]
    const isNet = this.#layout.shape.parts[part] === 'net'
    const which = this.#layout.nets.indexOf(at)
    if (reach === 'one' || this.#layout.family === 6 || !isNet || options.ip2To === undefined) {
      const mask = isNet ? prefixMask(cidr, this.#layout.family) : ONES
      for (let i = 0; i < this.#layout.words; i++)
        key[at + i] = words[i]! & mask[i]! & (this.#layout.shape.netMasks ? this.#limits.bitmask[i]! : -1)
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
    const at = this.#layout.nets[which]!
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
          for (
            let i = reach === 'last' ? Math.max(start, end - 2 * this.#limits.maxelem) : start;
            i < end;
            i++
          )
            take(i, 32)
        start = end
        continue
      }
      take(start, length)
      start += 2 ** (32 - length)
    }
  }

  #setCidr(which: number, length: number): void {
    setLength(this.#key, this.#layout.cidrAt, which, length)
  }
}

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
export function firstOf({ ipTo: _ip, ip2To: _ip2, portTo: _port, ...rest }: SetOptions): SetOptions {
  return rest
}
