// Addresses and prefixes as iproute2 reads and prints them.

import type { Family } from '../../datapath/packet.ts'
import type { Words } from '../../datapath/route.ts'
import { formatAddress, parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'

export interface Prefix {
  readonly family: Family
  readonly words: Words
  readonly prefixLength: number
}

export const ANY: Words = [0, 0, 0, 0]

/** Bits of an address of a family. */
export const bitsOf = (family: Family): number => (family === 4 ? 32 : 128)

/** An address of either family; null if the text is none. */
export function parseEither(text: string): { readonly family: Family; readonly words: Words } | null {
  const word = parseIpv4(text)
  if (word !== null) return { family: 4, words: [word, 0, 0, 0] }
  const words = parseIpv6(text)
  return words === null ? null : { family: 6, words }
}

/** `ADDRESS[/LENGTH]`; without a length all bits. Null if it is none. */
export function parsePrefix(text: string): Prefix | null {
  const slash = text.indexOf('/')
  const address = parseEither(slash < 0 ? text : text.slice(0, slash))
  if (address === null) return null
  const bits = bitsOf(address.family)
  if (slash < 0) return { ...address, prefixLength: bits }
  const length = text.slice(slash + 1)
  return /^\d{1,3}$/.test(length) && Number(length) <= bits
    ? { ...address, prefixLength: Number(length) }
    : null
}

/** `default`, an address, or a prefix, as `ip route` prints it. */
export function formatPrefix(family: Family, words: Words, length: number): string {
  if (length === 0) return 'default'
  const address = formatAddress(family, words)
  return length === bitsOf(family) ? address : `${address}/${length}`
}
