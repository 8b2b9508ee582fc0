// Where the parts of an element of a hash type stand in its key, and what members read from one.
//
//     key   [ address … | proto port | address … | prefix lengths, physdev | interface ]

import type { Words } from '../text/address.ts'
import type { Interfaces } from './interfaces.ts'
import type { SetMember } from './set-type.ts'
import type { ElementTable } from './table.ts'

/** What an element is made of, in the order of dimensions. */
export type HashPart = 'ip' | 'net' | 'port' | 'mac' | 'mark' | 'iface'

export interface HashShape {
  readonly parts: readonly HashPart[]
  /** Networks of prefix length 0 are elements as well (IP_SET_HASH_WITH_NET0). */
  readonly net0?: boolean
  /**
   * netmask and bitmask cut addresses. `network`: address 0 is no element, and a range has an element for each network
   * (hash_ip4_uadt); `address`: 0 cannot be named first, and a range has one for each address (hash_ipport4_uadt).
   */
  readonly masks?: 'network' | 'address'
  /** As masks, but 0 is an element (hash:net,net). */
  readonly netMasks?: boolean
}

/** Flags of an element. */
export const USED = 1
export const FLAG_NOMATCH = 2
export const FLAG_WILDCARD = 4

/** The prefix length of network `which`, into the word of lengths. Hot. */
export function setLength(key: Int32Array, cidrAt: number, which: number, length: number): void {
  const shift = which * 8
  key[cidrAt] = (key[cidrAt]! & ~(0xff << shift)) | (length << shift)
}

export class HashLayout {
  readonly family: 4 | 6
  readonly shape: HashShape
  /** Of an address. */
  readonly words: number
  /** Bits of an address. */
  readonly hostMask: number
  /** Offset of each part in the key. */
  readonly at: readonly number[]
  /** Parts that are networks: offsets of their addresses. */
  readonly nets: readonly number[]
  /** Offset of the word of prefix lengths, -1 without networks. */
  readonly cidrAt: number
  readonly ifaceAt: number
  /** Words of a key; and of them those that the hash covers: all but the interface. */
  readonly stride: number
  readonly hashed: number

  constructor(family: 4 | 6, shape: HashShape) {
    this.family = family
    this.shape = shape
    this.hostMask = family === 4 ? 32 : 128
    this.words = family === 4 ? 1 : 4
    const offsets: number[] = []
    const nets: number[] = []
    let next = 0
    for (const part of shape.parts) {
      offsets.push(next)
      if (part === 'net') nets.push(next)
      if (part === 'ip' || part === 'net') next += this.words
      else if (part === 'mac') next += 2
      else if (part !== 'iface') next++
    }
    this.cidrAt = nets.length > 0 ? next++ : -1
    this.hashed = next
    this.ifaceAt = shape.parts.includes('iface') ? next++ : -1
    this.stride = next
    this.at = offsets
    this.nets = nets
  }

  /** The element of a row, without its extensions. */
  read(table: ElementTable, row: number, interfaces: Interfaces | null): SetMember {
    const { keys } = table
    const base = row * table.stride
    const member: SetMember = {}
    const flags = table.flags[row]!
    const address = (at: number): Words =>
      this.words === 1
        ? [keys[base + at]!, 0, 0, 0]
        : [keys[base + at]!, keys[base + at + 1]!, keys[base + at + 2]!, keys[base + at + 3]!]
    for (const [i, part] of this.shape.parts.entries()) {
      const at = this.at[i]!
      if (part === 'ip' || part === 'net') {
        const which = this.nets.indexOf(at)
        const length = which < 0 ? undefined : (keys[base + this.cidrAt]! >>> (which * 8)) & 0xff
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
        member.iface = interfaces!.name(keys[base + this.ifaceAt]!)
        if ((keys[base + this.cidrAt]! >>> 16) & 1) member.physdev = true
        if (flags & FLAG_WILDCARD) member.wildcard = true
      }
    }
    if (flags & FLAG_NOMATCH) member.nomatch = true
    return member
  }
}
