// What a NAT rule allows: addresses, ports, and how to choose among them.

import type { Family } from '../../datapath/packet.ts'
import type { AddressWords } from '../../datapath/wire/address.ts'

/** struct nf_nat_range2. Addresses as words, ports in host order. */
export interface NatRange {
  /** Null: the address stays (no NF_NAT_RANGE_MAP_IPS). `min` and `max` are null together. */
  readonly min: AddressWords | null
  readonly max: AddressWords | null
  /** With `hasPorts` (NF_NAT_RANGE_PROTO_SPECIFIED). For ICMP they are identifiers. */
  readonly minPort: number
  readonly maxPort: number
  readonly hasPorts: boolean
  /** DNAT --to-destination a:lo-hi/base. */
  readonly basePort: number
  readonly offset: boolean
  readonly random: boolean
  readonly randomFully: boolean
  readonly persistent: boolean
  /** NETMAP: the network part comes from [min, max], the host part from the packet. */
  readonly netmap: boolean
}

/** Nothing is changed by it. */
export const NO_RANGE: NatRange = {
  min: null,
  max: null,
  minPort: 0,
  maxPort: 0,
  hasPorts: false,
  basePort: 0,
  offset: false,
  random: false,
  randomFully: false,
  persistent: false,
  netmap: false,
}

/** One address, and perhaps one port. */
export const singleRange = (address: AddressWords, port: number | null): NatRange => ({
  ...NO_RANGE,
  min: address,
  max: address,
  minPort: port ?? 0,
  maxPort: port ?? 0,
  hasPorts: port !== null,
})

export const Manip = { Src: 0, Dst: 1 } as const
export type Manip = (typeof Manip)[keyof typeof Manip]

/** A range being worked on; one reused object, so that a binding allocates nothing. */
export class Range {
  /** NF_NAT_RANGE_MAP_IPS. */
  mapIps = false
  readonly min: [number, number, number, number] = [0, 0, 0, 0]
  readonly max: [number, number, number, number] = [0, 0, 0, 0]
  minPort = 0
  maxPort = 0
  hasPorts = false
  basePort = 0
  offset = false
  /** NF_NAT_RANGE_PROTO_RANDOM_ALL. */
  random = false
  persistent = false

  /** Everything but the addresses. */
  rules(from: NatRange): this {
    this.minPort = from.minPort
    this.maxPort = from.maxPort
    this.hasPorts = from.hasPorts
    this.basePort = from.basePort
    this.offset = from.offset
    this.random = from.random || from.randomFully
    this.persistent = from.persistent
    return this
  }

  load(from: NatRange): this {
    this.mapIps = from.min !== null && from.max !== null
    if (from.min !== null && from.max !== null) {
      for (let i = 0; i < 4; i++) {
        this.min[i] = from.min[i]!
        this.max[i] = from.max[i]!
      }
    }
    return this.rules(from)
  }

  /** No rule asks for anything: the address stays what it is (nf_nat_alloc_null_binding). */
  nothing(): this {
    this.minPort = this.maxPort = this.basePort = 0
    this.hasPorts = this.offset = this.random = this.persistent = false
    return this
  }

  /** One address. */
  address(w0: number, w1: number, w2: number, w3: number): this {
    this.mapIps = true
    this.min[0] = this.max[0] = w0
    this.min[1] = this.max[1] = w1
    this.min[2] = this.max[2] = w2
    this.min[3] = this.max[3] = w3
    return this
  }

  /** One port. */
  port(port: number): this {
    this.hasPorts = true
    this.minPort = this.maxPort = port
    return this
  }

  get single(): boolean {
    const { min, max } = this
    return min[0] === max[0] && min[1] === max[1] && min[2] === max[2] && min[3] === max[3]
  }

  /** nf_nat_inet_in_range. */
  holdsAddress(family: Family, w0: number, w1: number, w2: number, w3: number): boolean {
    if (family === 4) return w0 >>> 0 >= this.min[0] >>> 0 && w0 >>> 0 <= this.max[0] >>> 0
    return !before(w0, w1, w2, w3, this.min) && !after(w0, w1, w2, w3, this.max)
  }
}

type Bound = readonly [number, number, number, number]

function before(w0: number, w1: number, w2: number, w3: number, b: Bound): boolean {
  if (w0 !== b[0]) return w0 >>> 0 < b[0] >>> 0
  if (w1 !== b[1]) return w1 >>> 0 < b[1] >>> 0
  if (w2 !== b[2]) return w2 >>> 0 < b[2] >>> 0
  return w3 >>> 0 < b[3] >>> 0
}

function after(w0: number, w1: number, w2: number, w3: number, b: Bound): boolean {
  if (w0 !== b[0]) return w0 >>> 0 > b[0] >>> 0
  if (w1 !== b[1]) return w1 >>> 0 > b[1] >>> 0
  if (w2 !== b[2]) return w2 >>> 0 > b[2] >>> 0
  return w3 >>> 0 > b[3] >>> 0
}
