// Reading a payload that is text: absolute offsets into frame memory, as the kernel's helpers walk pointers.

export const CR = 0x0d
export const LF = 0x0a
export const SPACE = 0x20

export const isDigit = (c: number): boolean => c >= 0x30 && c <= 0x39
export const isAlpha = (c: number): boolean => (c | 0x20) >= 0x61 && (c | 0x20) <= 0x7a

const lower = (c: number): number => (c >= 0x41 && c <= 0x5a ? c | 0x20 : c)

/** Whether `text` stands at `at`; nothing is read behind `end`. */
export function startsWith(bytes: Uint8Array, at: number, end: number, text: string): boolean {
  if (at + text.length > end) return false
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false
  return true
}

/** The same without regard to case (strncasecmp). */
export function startsWithAnyCase(bytes: Uint8Array, at: number, end: number, text: string): boolean {
  if (at + text.length > end) return false
  for (let i = 0; i < text.length; i++) if (lower(bytes[at + i]!) !== lower(text.charCodeAt(i))) return false
  return true
}

/** First offset in [from, end) at which `text` stands whole; -1 none. */
export function find(bytes: Uint8Array, from: number, end: number, text: string): number {
  for (let at = from; at + text.length <= end; at++) if (startsWith(bytes, at, end, text)) return at
  return -1
}

/** simple_strtoul(): digits from `at` on, modulo 2^32; `end` of the result: behind the last digit. */
export function decimal(bytes: Uint8Array, at: number, end: number): { value: number; end: number } {
  let value = 0
  let i = at
  for (; i < end && isDigit(bytes[i]!); i++) value = (value * 10 + bytes[i]! - 0x30) >>> 0
  return { value, end: i }
}

/** The bytes as Latin-1 characters. */
export function slice(bytes: Uint8Array, from: number, end: number): string {
  let text = ''
  for (let i = from; i < end; i++) text += String.fromCharCode(bytes[i]!)
  return text
}
