// The contract of set types (struct ip_set_type). A type is one file and one line in index.ts: it says how its
// elements and options are written, and makes the data of a set.
//
//     ipset add …  ──> SetOptions ──> SetData.add/del/test        the tool: one element or a range of them
//     a packet     ──> SetData.match/addPacket/delPacket          -m set, -j SET: what `dirs` picks from it

import type { Host } from '../../datapath/host.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { Words } from '../text/address.ts'
import type { Extensions, PacketExtension } from './extensions.ts'

/** NFPROTO_UNSPEC, IPv4, IPv6. */
export type SetFamily = 0 | 4 | 6

/** What the kernel refuses with; the command words it (IPSET_ERR_*, and ENOENT, EEXIST, ENOMEM). */
export type SetErrorCode =
  | 'ENOENT'
  | 'EEXIST'
  | 'ENOMEM'
  | 'EINVAL'
  | 'INVALID_NETMASK'
  | 'INVALID_MARKMASK'
  | 'INVALID_FAMILY'
  | 'BUSY'
  | 'EXIST_SETNAME2'
  | 'REFERENCED'
  | 'TYPE_MISMATCH'
  | 'INVALID_CIDR'
  | 'TIMEOUT'
  | 'COUNTER'
  | 'COMMENT'
  | 'SKBINFO'
  | 'EXIST'
  | 'BITMAP_RANGE'
  | 'BITMAP_RANGE_SIZE'
  | 'HASH_FULL'
  | 'HASH_ELEM'
  | 'INVALID_PROTO'
  | 'HASH_RANGE_UNSUPPORTED'
  | 'HASH_RANGE'
  | 'NAME'
  | 'LOOP'
  | 'BEFORE'
  | 'NAMEREF'
  | 'REF_EXIST'

export class SetError extends Error {
  override readonly name = 'SetError'
  readonly code: SetErrorCode
  constructor(code: SetErrorCode) {
    super(code)
    this.code = code
  }
}

/** Parsed options of one command, by meaning (IPSET_ATTR_*). Absent: not given. Addresses in host-order words. */
export interface SetOptions {
  family?: SetFamily
  ip?: Words
  ipTo?: Words
  cidr?: number
  ip2?: Words
  ip2To?: Words
  cidr2?: number
  port?: number
  portTo?: number
  proto?: number
  /** Two words: the first four bytes, the last two. */
  ether?: readonly [number, number]
  mark?: number
  iface?: string
  physdev?: true
  /** list:set: the member, and the one it stands before or after. */
  setName?: string
  nameRef?: string
  before?: true
  /** Seconds; 0 is for ever. */
  timeout?: number
  packets?: bigint
  bytes?: bigint
  comment?: string
  /** mark, mask. */
  skbmark?: readonly [number, number]
  skbprio?: number
  skbqueue?: number
  nomatch?: true
  wildcard?: true
  hashsize?: number
  maxelem?: number
  netmask?: number
  bitmask?: Words
  markmask?: number
  size?: number
  counters?: true
  withComment?: true
  forceadd?: true
  skbinfo?: true
  bucketsize?: number
  initval?: number
}

/** A part of an element, in the kernel's order; says how the tool reads and prints it. */
export type Part =
  /** Any of address, range and network; IPv6: as `ip6` says. */
  | { readonly kind: 'ip'; readonly ip6: 'single' | 'net' | 'any' }
  | { readonly kind: 'ip2'; readonly ip6: 'single' | 'net' }
  /** One address only, of either family. */
  | { readonly kind: 'single' }
  | { readonly kind: 'single2' }
  | { readonly kind: 'proto-port' }
  /** A port or range of ports without protocol. */
  | { readonly kind: 'port' }
  | { readonly kind: 'ether' }
  | { readonly kind: 'mark' }
  | { readonly kind: 'iface' }
  | { readonly kind: 'set' }

/** What the commands know of a type (struct ipset_type of libipset): words that may follow the element, and ranges. */
export interface CommandSpec {
  /** Option names in the order that they are checked and printed. */
  readonly options: readonly string[]
  /** Forms of the element that are refused: a network, a range of addresses, of ports, of second addresses. */
  readonly ranges: readonly ('cidr' | 'ip-to' | 'port-to' | 'ip2-to')[]
  /** The element in the type's help. */
  readonly help: string
}

export interface SetType {
  readonly name: string
  readonly alias: string
  readonly revision: number
  /** 0: family neutral; 4: IPv4 only; 46: either. */
  readonly family: 0 | 4 | 46
  readonly parts: readonly Part[]
  /** The last part may be left out (bitmap:ip,mac). */
  readonly lastOptional?: boolean
  readonly create: CommandSpec
  readonly add: CommandSpec
  readonly del: CommandSpec
  readonly test: CommandSpec
  readonly usage: string
  /** The usage ends with the forms of a port. */
  readonly portUsage?: boolean
  /** IPSET_TYPE_NOMATCH. */
  readonly nomatch?: boolean
  make(options: SetOptions, env: SetEnv): SetData
}

export interface SetEnv {
  readonly host: Host
  /** The set of a name, for members of list:set; counts no reference. */
  lookup(name: string): SetHolder | null
}

/** The place of a set: rules and list:set hold it, swap exchanges what is in it. */
export interface SetHolder {
  readonly name: string
  set: LoadedSet
  /** Rules and lists that hold it (ip_set.ref). */
  references: number
}

export interface LoadedSet {
  readonly type: SetType
  readonly family: SetFamily
  readonly data: SetData
}

/** One element as it is listed: the same fields that add takes. */
export type SetMember = SetOptions

export interface SetData {
  readonly extensions: Extensions
  /** Adds an element or a range. Throws SetError. `exist`: of those there already only the extensions change. */
  add(options: SetOptions, exist: boolean): void
  /** Throws SetError; `exist`: what is not there is no error. */
  del(options: SetOptions, exist: boolean): void
  test(options: SetOptions): boolean
  flush(): void
  /** Live elements. */
  count(): number
  /** Live elements in the order of listing. */
  members(): Iterable<SetMember>
  /** Options as create takes them. */
  header(): SetOptions
  /** Bytes that the elements take. */
  memory(): number
  /** Whether two sets may be swapped beyond type and family, and `create -exist` finds the same (same_set). */
  same(other: SetData): boolean
  /** The set goes away: gives back what it holds. */
  destroy(): void
  /**
   * As kadt(IPSET_TEST): positive matched, 0 not, negative a `nomatch` element matched. `dirs`: bit i is set if
   * dimension i takes the source. Hot.
   */
  match(pkt: Packet, dirs: number, ext: PacketExtension): number
  /** As kadt(IPSET_ADD) and (IPSET_DEL); true if something changed. Hot. */
  addPacket(pkt: Packet, dirs: number, ext: PacketExtension): boolean
  delPacket(pkt: Packet, dirs: number, ext: PacketExtension): boolean
}
