// Checksums over bytes that have changed: what was right stays right, and what was wrong stays wrong by as much.

/** The ones' complement sum of 16-bit words, not folded; an odd byte at the end is the upper half of one. */
export function sumOf(bytes: Uint8Array, from: number, end: number): number {
  let sum = 0
  let at = from
  for (; at + 1 < end; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!
  return at < end ? sum + (bytes[at]! << 8) : sum
}

/**
 * Adds to the checksum at `at` what makes up for a sum that grew by `grown`. `zero`: how a checksum of nothing is written,
 * 0xffff where 0 stands for none.
 */
export function makeUp(bytes: Uint8Array, at: number, grown: number, zero: 0 | 0xffff = 0): void {
  const by = ((grown % 0xffff) + 0xffff) % 0xffff
  if (by === 0) return
  const old = (bytes[at]! << 8) | bytes[at + 1]!
  const now = (old + 0xffff - by) % 0xffff || zero
  bytes[at] = now >> 8
  bytes[at + 1] = now
}
