// Numbers as the C library reads them: iptables takes 10, 0x0a and 012 for the same wherever it uses
// xtables_strtoul (base 0), and plain decimal where getaddrinfo reads a port.

export interface Read {
  readonly value: number
  /** Index one past what was read. */
  readonly end: number
}

const isSpace = (c: number): boolean => c === 32 || (c >= 9 && c <= 13)

/** isspace(3) of the "C" locale, on a whole string's first character that has it. */
export function hasSpace(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (isSpace(text.charCodeAt(i))) return true
  return false
}

function digitOf(c: number): number {
  if (c >= 48 && c <= 57) return c - 48
  if (c >= 97 && c <= 122) return c - 87
  if (c >= 65 && c <= 90) return c - 55
  return 99
}

interface Digits {
  readonly from: number
  readonly end: number
  readonly base: number
}

/** Where strtoul would find its digits; null if it would read nothing or meets a minus (xtables refuses it). */
function digits(text: string, base: number): Digits | null {
  let i = 0
  while (i < text.length && isSpace(text.charCodeAt(i))) i++
  if (text[i] === '-') return null
  if (text[i] === '+') i++
  if ((base === 0 || base === 16) && text[i] === '0' && (text[i + 1] === 'x' || text[i + 1] === 'X')) {
    if (digitOf(text.charCodeAt(i + 2)) < 16) {
      i += 2
      base = 16
    } else return { from: i, end: i + 1, base: 10 }
  }
  if (base === 0) base = text[i] === '0' ? 8 : 10
  const from = i
  while (i < text.length && digitOf(text.charCodeAt(i)) < base) i++
  return i === from ? null : { from, end: i, base }
}

/**
 * xtables_strtoul(): an unsigned number within [min, max], or null. The text may go on behind it (`end` says
 * where it stopped); values above 2^53 come back as the nearest double, so that range checks stay right.
 */
export function strtoul(text: string, min: number, max: number, base = 0): Read | null {
  const at = digits(text, base)
  if (at === null) return null
  let value = 0
  for (let i = at.from; i < at.end; i++) value = value * at.base + digitOf(text.charCodeAt(i))
  return value < min || value > max ? null : { value, end: at.end }
}

/** As strtoul(), and nothing may follow. Null if it is not such a number. */
export function wholeNumber(text: string, min: number, max: number, base = 0): number | null {
  const read = strtoul(text, min, max, base)
  return read !== null && read.end === text.length ? read.value : null
}

/** strtoull for 64-bit values: exact. */
export function strtoull(
  text: string,
  min: bigint,
  max: bigint,
): { readonly value: bigint; readonly end: number } | null {
  const at = digits(text, 0)
  if (at === null) return null
  let value = 0n
  const base = BigInt(at.base)
  for (let i = at.from; i < at.end; i++) value = value * base + BigInt(digitOf(text.charCodeAt(i)))
  return value < min || value > max ? null : { value, end: at.end }
}

/** %x of an unsigned 32-bit value. */
export const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`

/** A mark as most extensions print it: `0x1`, or `0x1/0xff` if not all bits are asked. */
export const hexMask = (value: number, mask: number): string =>
  mask >>> 0 === 0xffffffff ? hex(value) : `${hex(value)}/${hex(mask)}`
