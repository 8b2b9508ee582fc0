// Addresses to addresses, prefixes preserved (as Crypto-PAn): two that share n leading bits share exactly n in the
// result. Whether a bit is flipped follows from the bits before it, by the key.
//
//     byte 0        byte 1          byte 2
//     HMAC()   ──>  HMAC(b0)   ──>  HMAC(b0 b1)  …    each gives the 255 flips of a tree eight bits deep
//
// Where the kernel treats a range otherwise than the rest of the world, the way to it is pinned: what is in it stays in
// it, and what is outside stays outside.

import type { Family } from '../../datapath/packet.ts'
import { maskedWords } from '../../datapath/route.ts'
import {
  formatAddress,
  parseIpv4,
  parseIpv6,
  type AddressWords as Words,
} from '../../datapath/wire/address.ts'
import { bitsOf, parsePrefix } from '../host-folder/address.ts'
import { Frozen } from './frozen.ts'
import type { Prf } from './prf.ts'

/** Ranges that are the same afterwards, bit by bit: this network, loopback, link-local, multicast and above. */
const SAME4 = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3']
/** Ranges that are mapped into themselves. */
const OWN4 = ['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.168.0.0/16']
const SAME6 = ['::/127', 'ff00::/8']
/**
 * Also those by which source addresses are chosen (RFC 6724, ip6addrlbl.c). Behind fe80::/10 stand zeros: connected
 * routes are fe80::/64.
 */
const OWN6 = [
  '::/96',
  '::ffff:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '2001::/32',
  '2001:10::/28',
  '2001:db8::/32',
  '2002::/16',
  'fc00::/7',
  'fd00::/8',
  'fe80::/64',
  'fec0::/10',
]

const ALL_ONES: Words = [-1, -1, -1, -1]

export class AddressMap {
  readonly #prf: Prf
  readonly #frozen: Readonly<Record<Family, Frozen>> = { 4: new Frozen(), 6: new Frozen() }
  readonly #known4 = new Map<number, number>()
  readonly #known6 = new Map<string, Words>()
  readonly #knownMacs = new Map<string, string>()
  /** Last 24 bits of known addresses: what they have become. */
  readonly #solicited = new Map<number, number>()

  constructor(prf: Prf) {
    this.#prf = prf
    for (const text of SAME4) this.#keepText(4, text)
    for (const text of SAME6) this.#keepText(6, text)
    for (const text of OWN4) this.#ownText(4, text)
    for (const text of OWN6) this.#ownText(6, text)
  }

  #keepText(family: Family, text: string): void {
    const [words, length] = prefixOf(family, text)
    this.keep(family, words, length)
  }

  #ownText(family: Family, text: string): void {
    const [words, length] = prefixOf(family, text)
    this.#frozen[family].pin(words, 0, length)
  }

  // -- what must stay; before anything is mapped

  /** A prefix and all in it stay as they are. */
  keep(family: Family, words: Words, length: number): void {
    this.#still()
    this.#frozen[family].pin(words, 0, length)
    this.#frozen[family].hold(words, length, ALL_ONES)
  }

  /** The first address of a subnet stays the first, and of IPv4 the last the last: network, broadcast, anycast. */
  subnet(family: Family, words: Words, length: number): void {
    this.#still()
    const bits = bitsOf(family)
    if (length >= bits - 1) return
    const network = maskedWords(words, length)
    this.#frozen[family].pin(network, length, bits)
    if (family === 4) this.#frozen[4].pin([network[0] | (-1 >>> length), 0, 0, 0], length, 32)
  }

  /** Bits of `mask` in all addresses of the prefix. */
  hold(family: Family, words: Words, length: number, mask: Words): void {
    this.#still()
    this.#frozen[family].hold(words, length, mask)
  }

  /** From `min` to `max` are as many afterwards, in the same order. Answers the length of the prefix below which nothing is mapped, or null. */
  span(family: Family, min: Words, max: Words): number | null {
    const length = commonLength(min, max)
    if (length >= bitsOf(family)) return null
    if (isPrefix(family, min, max, length)) return null
    this.hold(family, min, length, maskBehind(length))
    return length
  }

  /** What is frozen now would come too late for those. */
  #still(): void {
    if (this.#known4.size + this.#known6.size > 0) throw new Error('addresses have been mapped already')
  }

  /** An address of the host: its solicited-node group follows it. */
  learn(words: Words): void {
    const low = words[3] & 0xff_ffff
    if (!this.#solicited.has(low)) this.#solicited.set(low, this.v6(words)[3] & 0xff_ffff)
  }

  // -- the mapping

  map(family: Family, words: Words): Words {
    return family === 4 ? [this.v4(words[0]), 0, 0, 0] : this.v6(words)
  }

  /** An address of a prefix: behind a network's address stays nothing but zeros. */
  prefix(family: Family, words: Words, length: number): Words {
    const to = this.map(family, words)
    const network = maskedWords(words, length)
    return network.every((word, i) => word === (words[i]! | 0)) ? maskedWords(to, length) : to
  }

  range(family: Family, min: Words, max: Words): readonly [Words, Words] {
    const length = commonLength(min, max)
    if (!isPrefix(family, min, max, length)) return [this.map(family, min), this.map(family, max)]
    const first = maskedWords(this.map(family, min), length)
    const behind = maskBehind(length)
    const last = first.map((word, i) => (i < bitsOf(family) / 32 ? word | behind[i]! : 0))
    return [first, last as unknown as Words]
  }

  /** `ADDRESS` or `ADDRESS/LENGTH` of either family, as text; null if it is none. */
  text(text: string): string | null {
    const prefix = parsePrefix(text)
    if (prefix === null) return null
    const { family, words, prefixLength } = prefix
    const to = formatAddress(family, this.prefix(family, words, prefixLength))
    return text.includes('/') ? `${to}/${prefixLength}` : to
  }

  v4(word: number): number {
    const known = this.#known4.get(word | 0)
    if (known !== undefined) return known
    let flips = 0
    let before = ''
    for (let shift = 24; shift >= 0; shift -= 8) {
      const byte = (word >>> shift) & 0xff
      flips |= flipsOf(this.#prf.bytes('ipv4', before), byte) << shift
      before += String.fromCharCode(byte)
    }
    const to = word ^ (flips & ~this.#frozen[4].of([word, 0, 0, 0])[0])
    this.#known4.set(word | 0, to)
    return to
  }

  v6(words: Words): Words {
    const name = words.join()
    const known = this.#known6.get(name)
    if (known !== undefined) return known
    const to = this.#group(words) ?? this.#unicast(words)
    this.#known6.set(name, to)
    return to
  }

  #unicast(words: Words): Words {
    const bytes = new Uint8Array(16)
    for (let i = 0; i < 16; i++) bytes[i] = words[i >> 2]! >>> (24 - 8 * (i & 3))
    const flips = this.#flips6(bytes)
    const at = embedded(words)
    if (at >= 0) {
      // An IPv4 address in it is mapped as such.
      let inner = 0
      for (let i = 0; i < 4; i++) inner = (inner << 8) | bytes[at + i]!
      const flipped = this.v4(inner) ^ inner
      for (let i = 0; i < 4; i++) flips[at + i] = flipped >>> (24 - 8 * i)
    }
    const frozen = this.#frozen[6].of(words)
    const to = [0, 0, 0, 0]
    for (let i = 0; i < 4; i++) {
      const flip =
        (flips[4 * i]! << 24) | (flips[4 * i + 1]! << 16) | (flips[4 * i + 2]! << 8) | flips[4 * i + 3]!
      to[i] = words[i]! ^ (flip & ~frozen[i]!)
    }
    return to as unknown as Words
  }

  /**
   * The first three bytes of an interface identifier are mapped as those of a MAC address are, and so are the last three
   * behind ff:fe: what was made of a MAC address (EUI-64) still is.
   */
  #flips6(bytes: Uint8Array): Uint8Array {
    const flips = new Uint8Array(16)
    let before = ''
    let mac = ''
    let leading = true
    for (let i = 0; i < 16; i++) {
      const byte = bytes[i]!
      const eui = i >= 13 && bytes[11] === 0xff && bytes[12] === 0xfe
      const digest = (i >= 8 && i < 11) || eui ? this.#prf.bytes('mac', mac) : this.#prf.bytes('ipv6', before)
      flips[i] = flipsOf(digest, byte)
      if (i >= 8 && i < 11) flips[i] = identifierFlips(flips[i]!, i - 8, byte, leading)
      if (i === 11) flips[i] = flips[i]! & ~along(byte, 0xff)
      if (i === 12 && bytes[11] === 0xff) flips[i] = flips[i]! & ~along(byte, 0xfe)
      if (i >= 8) leading &&= byte === 0
      before += String.fromCharCode(byte)
      if (i >= 8 && i !== 11 && i !== 12) mac += String.fromCharCode(i === 8 ? byte ^ 2 : byte)
    }
    return flips
  }

  /** A solicited-node group, ff02::1:ffXX:XXXX; null: not one. */
  #group(words: Words): Words | null {
    if (words[0] >>> 24 !== 0xff) return null
    if (words[0] !== SOLICITED || words[1] !== 0 || words[2] !== 1 || words[3] >>> 24 !== 0xff) return words
    return [words[0], 0, 1, (words[3] & 0xff00_0000) | this.solicited(words[3] & 0xff_ffff)]
  }

  /** Last 24 bits of an address of which nothing else is known. */
  solicited(low: number): number {
    const known = this.#solicited.get(low)
    if (known !== undefined) return known
    let flips = 0
    let before = ''
    for (let shift = 16; shift >= 0; shift -= 8) {
      const byte = (low >>> shift) & 0xff
      flips |= flipsOf(this.#prf.bytes('solicited', before), byte) << shift
      before += String.fromCharCode(byte)
    }
    return low ^ flips
  }

  /** Six bytes in hexadecimal, without colons, lower case. Groups stay, but for those of solicited nodes. */
  mac(hex: string): string {
    const known = this.#knownMacs.get(hex)
    if (known !== undefined) return known
    const bytes = Buffer.from(hex, 'hex')
    let to = hex
    if (hex.startsWith('3333ff'))
      to = `3333ff${this.solicited(Number.parseInt(hex.slice(6), 16))
        .toString(16)
        .padStart(6, '0')}`
    else if ((bytes[0]! & 1) === 0 && hex !== '000000000000') {
      let before = ''
      const out = Buffer.from(bytes)
      // So far nothing but zeros, as an interface identifier.
      let leading = true
      for (const [i, byte] of bytes.entries()) {
        const flips = flipsOf(this.#prf.bytes('mac', before), byte)
        const own = i === 0 ? byte ^ 2 : byte
        out[i] = byte ^ (i < 3 ? identifierFlips(flips, i, own, leading) : flips)
        leading &&= own === 0
        before += String.fromCharCode(byte)
      }
      to = out.toString('hex')
    }
    this.#knownMacs.set(hex, to)
    return to
  }

  /** All that was mapped, for the owner's eyes. */
  known(): {
    readonly v4: ReadonlyMap<number, number>
    readonly v6: readonly (readonly [Words, Words])[]
    readonly macs: ReadonlyMap<string, string>
  } {
    const v6 = [...this.#known6].map(
      ([name, to]) => [name.split(',').map(Number) as unknown as Words, to] as const,
    )
    return { v4: this.#known4, v6, macs: this.#knownMacs }
  }
}

/** ff02:: */
const SOLICITED = 0xff02_0000 | 0

/** The byte's way through a tree of eight levels: node by node whether the bit is flipped. */
function flipsOf(digest: Uint8Array, byte: number): number {
  let flips = 0
  for (let level = 0; level < 8; level++) {
    const at = (1 << level) | (byte >> (8 - level))
    flips = (flips << 1) | ((digest[at >> 3]! >> (at & 7)) & 1)
  }
  return flips
}

/**
 * Flips of one of the first three bytes of an interface identifier: universal or local, group or one, stay; and so does the
 * way to the identifier of zeros, which stands for a subnet itself. `leading`: all bytes before it are zeros.
 */
function identifierFlips(flips: number, at: number, byte: number, leading: boolean): number {
  const kept = at === 0 ? flips & 0xfc : flips
  return leading ? kept & ~along(byte, 0) : kept
}

/** Bits of a byte before which it is as `other`. */
function along(byte: number, other: number): number {
  const differs = byte ^ other
  return differs === 0 ? 0xff : (0xff << (31 - Math.clz32(differs))) & 0xff
}

/** Offset of the IPv4 address in ::ffff:0:0/96, 64:ff9b::/96 and 2002::/16, -1 none. */
function embedded([a, b, c]: Words): number {
  if (a >>> 16 === 0x2002) return 2
  const high = a | b
  if ((high === 0 && c === 0xffff) || (a === 0x0064_ff9b && (b | c) === 0)) return 12
  return -1
}

function prefixOf(family: Family, text: string): readonly [Words, number] {
  const [address = '', length] = text.split('/')
  const words: Words = family === 4 ? [parseIpv4(address)!, 0, 0, 0] : parseIpv6(address)!
  return [words, Number(length)]
}

/** Leading bits that both have. */
export function commonLength(a: Words, b: Words): number {
  for (let i = 0; i < 4; i++) {
    const differs = a[i]! ^ b[i]!
    if (differs !== 0) return 32 * i + Math.clz32(differs)
  }
  return 128
}

/** All bits from `length` on. */
export const maskBehind = (length: number): Words => {
  const front = maskedWords(ALL_ONES, length)
  return [~front[0], ~front[1], ~front[2], ~front[3]]
}

/** Whether all addresses of the prefix that both share, and no others, lie between them. */
function isPrefix(family: Family, min: Words, max: Words, length: number): boolean {
  const behind = maskBehind(Math.min(length, bitsOf(family)))
  for (let i = 0; i < bitsOf(family) / 32; i++)
    if ((min[i]! & behind[i]!) !== 0 || (max[i]! & behind[i]!) !== (behind[i]! | 0)) return false
  return true
}
