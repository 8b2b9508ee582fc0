// Numbers as the C library reads them: iptables takes 10, 0x0a and 012 for the same wherever it uses
// xtables_strtoul (base 0), and plain decimal where getaddrinfo reads a port.

export interface Read {
  readonly value: number
  /** Index one past what was read. */
  readonly end: number
}

/** Of a machine with 64 bits, as are all that these texts come from. */
export const ULONG_MAX = 2n ** 64n - 1n
const LONG_MAX = 2n ** 63n - 1n

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

/**
 * strtoul(3) itself, of 64 bits: a minus wraps; what is too large is the largest, whatever its sign, and leaves ERANGE
 * behind. `end` is 0 where there is no number, and the value 0.
 */
export function plainStrtoul(
  text: string,
  base: number,
): { readonly value: bigint; readonly end: number; readonly outOfRange: boolean } {
  const minus = /^\s*-(?![+-])/.exec(text)?.[0].length ?? 0
  // A blank behind the sign ends it.
  const at = minus > 0 && isSpace(text.charCodeAt(minus)) ? null : digits(text.slice(minus), base)
  if (at === null) return { value: 0n, end: 0, outOfRange: false }
  let value = 0n
  const radix = BigInt(at.base)
  for (let i = at.from; i < at.end; i++) value = value * radix + BigInt(digitOf(text.charCodeAt(minus + i)))
  const outOfRange = value > ULONG_MAX
  if (outOfRange) value = ULONG_MAX
  else if (minus > 0) value = BigInt.asUintN(64, -value)
  return { value, end: minus + at.end, outOfRange }
}

/** strtol(3) of base 10: what is beyond a long ends at its end, and leaves ERANGE behind. */
export function strtol(text: string): { readonly value: bigint; readonly outOfRange: boolean } {
  const digits = /^\s*([+-]?\d+)/.exec(text)?.[1] ?? '0'
  const value = BigInt(digits)
  if (value > LONG_MAX) return { value: LONG_MAX, outOfRange: true }
  if (value < -LONG_MAX - 1n) return { value: -LONG_MAX - 1n, outOfRange: true }
  return { value, outOfRange: false }
}

/** The number that sscanf(3) found digits of, before its low bits are stored: it ends at ULONG_MAX, whatever the sign. */
export const scanned = (value: bigint, minus: boolean): bigint =>
  value > ULONG_MAX ? ULONG_MAX : minus ? -value : value

/** %x of an unsigned 32-bit value. */
export const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`

/** A mark as most extensions print it: `0x1`, or `0x1/0xff` if not all bits are asked. */
export const hexMask = (value: number, mask: number): string =>
  mask >>> 0 === 0xffffffff ? hex(value) : `${hex(value)}/${hex(mask)}`

/** strtod() of the "C" locale: decimal, hexadecimal, `inf`, `nan`. Null if there is no number. */
export function strtod(text: string): Read | null {
  const found =
    /^\s*[+-]?(0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)/i.exec(
      text,
    )
  if (found === null) return null
  const body = found[1]!.toLowerCase()
  const sign = found[0].includes('-') && found[0].trimStart()[0] === '-' ? -1 : 1
  let value: number
  if (body.startsWith('inf')) value = Number.POSITIVE_INFINITY
  else if (body === 'nan') value = Number.NaN
  else if (body.startsWith('0x')) {
    const [digits = '', power = '0'] = body.slice(2).split('p')
    const [whole = '', part = ''] = digits.split('.')
    value = 0
    for (const c of whole + part) value = value * 16 + digitOf(c.charCodeAt(0))
    value *= 2 ** (Number(power) - 4 * part.length)
  } else value = Number(body)
  return { value: sign * value, end: found[0].length }
}

/** A double as C puts it into an unsigned int on x86-64: cut, and of what is too large the low bits. */
export function doubleToUint(value: number): number {
  if (!Number.isFinite(value) || Math.abs(value) >= 2 ** 63) return 0
  const cut = Math.trunc(value) % 2 ** 32
  return cut < 0 ? cut + 2 ** 32 : cut + 0
}

/** sscanf "%i" reads at least one digit. */
export const isScanInt = (text: string): boolean => /^\s*[-+]?\d/.test(text)

/** sscanf "%llu" */
export function scanCounter(text: string): number | null {
  const digits = /^\s*([-+]?)(\d+)/.exec(text)
  if (digits === null) return null
  const value = Number(digits[2])
  return digits[1] === '-' ? Number(BigInt.asUintN(64, -BigInt(digits[2]!))) : value
}

/** `%u` of sscanf: beyond 64 bits it is the largest, of anything else the last 32 bits count; null: no number. */
export function scanUnsigned(text: string): number | null {
  const found = /^\s*([-+]?)(\d+)/.exec(text)
  if (found === null) return null
  const value = BigInt(found[2]!)
  if (value >= 2n ** 64n) return 0xffff_ffff
  return Number(BigInt.asUintN(32, found[1] === '-' ? -value : value))
}
