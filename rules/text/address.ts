// Addresses and masks between text and words. A word is a signed 32-bit integer in host order; IPv4 uses word 0
// of four, the other words are 0.

import type { Family } from '../../datapath/packet.ts'
import { type AddressWords, formatIpv4, formatIpv6, parseIpv6 } from '../../datapath/wire/address.ts'
import { wholeNumber } from './numbers.ts'

export type Words = AddressWords

export const ANY: Words = [0, 0, 0, 0]

/** inet_aton(3), as getaddrinfo reads a numeric host: 1 to 4 parts, each decimal, 0x or octal. Null if not one. */
export function inetAton(text: string): number | null {
  const parts = text.split('.')
  if (parts.length > 4) return null
  let word = 0
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!
    const last = i === parts.length - 1
    let value: number
    if (/^0[xX][0-9a-fA-F]+$/.test(part)) value = Number.parseInt(part, 16)
    else if (/^0[0-7]*$/.test(part)) value = Number.parseInt(part, 8)
    else if (/^[1-9][0-9]*$/.test(part)) value = Number.parseInt(part, 10)
    else return null
    const bits = last ? 8 * (4 - i) : 8
    if (value >= 2 ** bits) return null
    word += value * (last ? 1 : 2 ** (24 - 8 * i))
  }
  return word | 0
}

/**
 * xtables_numeric_to_ipaddr(), as -s, -d and the address arguments of most extensions are read: parts in any base.
 * With fewer than four, the rest is 0 (10.1 is 10.1.0.0), which a mask may not leave out. Null if not one.
 */
export function numericIpv4(text: string, isMask = false): number | null {
  const whole = dottedQuad(text)
  if (whole !== null) return whole
  const parts = text.slice(0, 19).split('.')
  if (parts.length > 4 || (isMask && parts.length < 4)) return null
  let word = 0
  for (let i = 0; i < parts.length; i++) {
    const byte = wholeNumber(parts[i]!, 0, 255)
    if (byte === null) return null
    word |= byte << (24 - 8 * i)
  }
  return word
}

/** The usual form, fast: four plain decimal numbers. */
function dottedQuad(text: string): number | null {
  let word = 0
  let parts = 0
  let value = -1
  for (let i = 0; i <= text.length; i++) {
    const c = i < text.length ? text.charCodeAt(i) : 46
    if (c === 46) {
      if (value < 0 || parts === 4) return null
      word = (word << 8) | value
      parts++
      value = -1
    } else if (c >= 48 && c <= 57) {
      if (value === 0) return null // octal
      value = (value < 0 ? 0 : value * 10) + c - 48
      if (value > 255) return null
    } else return null
  }
  return parts === 4 ? word : null
}

/** A numeric address of the family as getaddrinfo takes it, or null. */
export function parseAddress(text: string, family: Family): Words | null {
  if (family === 6) return parseIpv6(text)
  const word = inetAton(text)
  return word === null ? null : [word, 0, 0, 0]
}

/**
 * As parseAddress; getaddrinfo also takes `::ffff:1.2.3.4` for the IPv4 address in it, and `%` with the number of an
 * interface, or, of link-local scope, its name: rules are read where only lo is sure to be.
 */
export function parseHost(text: string, family: Family): Words | null {
  const words = parseAddress(text, family)
  if (words !== null) return words
  if (family === 6) {
    const [, address = '', scope = ''] = /^([^%]*)%(.+)$/s.exec(text) ?? []
    const inside = address === '' ? null : parseIpv6(address)
    if (inside === null) return null
    const local = inside[0] >>> 22 === 0xfe80 >>> 6 || (inside[0] & 0xff0f0000) >>> 0 === 0xff020000
    return (local && scope === 'lo') || /^\s*\+?\d+$/.test(scope) ? inside : null
  }
  if (!text.includes(':')) return null
  const mapped = parseIpv6(text)
  if (mapped === null || mapped[0] !== 0 || mapped[1] !== 0 || mapped[2] !== 0xffff) return null
  return [mapped[3], 0, 0, 0]
}

export const formatAddress = (words: Words, family: Family): string =>
  family === 4 ? formatIpv4(words[0]) : formatIpv6(words[0], words[1], words[2], words[3])

/** %pI4, %pI6: IPv6 with all its digits. */
export const formatWhole = (words: Words, family: Family): string =>
  family === 4
    ? formatIpv4(words[0])
    : words
        .flatMap((word) => [word >>> 16, word & 0xffff])
        .map((half) => half.toString(16).padStart(4, '0'))
        .join(':')

/** Words of a prefix length. */
export function prefixMask(bits: number, family: Family): Words {
  const word = (n: number): number => (n <= 0 ? 0 : n >= 32 ? -1 : (-1 << (32 - n)) | 0)
  return family === 4
    ? [word(bits), 0, 0, 0]
    : [word(bits), word(bits - 32), word(bits - 64), word(bits - 96)]
}

/** Prefix length of a mask, or -1 if it has holes (xtables_ipmask_to_cidr). */
export function prefixLength(mask: Words, family: Family): number {
  const words = family === 4 ? 1 : 4
  let bits = 0
  for (let i = 0; i < words; i++)
    bits += mask[i] === 0 ? 0 : 32 - Math.log2(((~mask[i]! >>> 0) + 1) as number)
  if (!Number.isInteger(bits)) return -1
  const whole = prefixMask(bits, family)
  return whole.every((w, i) => w === mask[i]) ? bits : -1
}

/** xtables_ipmask_to_numeric(): '' for a host, `/24`, or `/255.0.255.0` where there are holes. */
export function formatMask(mask: Words, family: Family): string {
  const bits = prefixLength(mask, family)
  if (bits === (family === 4 ? 32 : 128)) return ''
  return bits >= 0 ? `/${bits}` : `/${formatAddress(mask, family)}`
}

/** Address and mask as most extensions print them: `10.0.0.0/8`, and a host without its mask. */
export const formatNetwork = (words: Words, mask: Words, family: Family): string =>
  formatAddress(words, family) + formatMask(mask, family)

export const maskWords = (words: Words, mask: Words): Words => [
  words[0] & mask[0],
  words[1] & mask[1],
  words[2] & mask[2],
  words[3] & mask[3],
]
