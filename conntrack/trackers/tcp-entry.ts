// What the tracker keeps of a TCP connection in its entry (struct ip_ct_tcp), and what others may ask of it.

import { type EntryTable, PRIVATE, STRIDE } from '../table.ts'

// Private words. Those of one direction follow each other; the other direction's are SEEN words on.
export const SEEN = 5
export const END = PRIVATE
export const MAXEND = PRIVATE + 1
export const MAXWIN = PRIVATE + 2
export const MAXACK = PRIVATE + 3
/** Flags below, and the window scale << 8. */
export const FLAGS = PRIVATE + 4
export const LAST_SEQ = PRIVATE + 10
export const LAST_ACK = PRIVATE + 11
export const LAST_END = PRIVATE + 12
// Bytes of table.bytes, from four times the entry's first word on.
export const STATE = (PRIVATE + 13) * 4
export const LAST_DIR = STATE + 1
export const LAST_INDEX = STATE + 2
export const RETRANS = STATE + 3
export const LAST_FLAGS = STATE + 4
export const LAST_WSCALE = STATE + 5
/** Of table.halves, from twice the entry's first word on. */
export const LAST_WIN = STATE / 2 + 3
export const PRIVATE_END = PRIVATE + 15

/** IP_CT_TCP_FLAG_*; the last two are only in LAST_FLAGS. */
export const F_WINDOW_SCALE = 0x01
export const F_SACK_PERM = 0x02
export const F_CLOSE_INIT = 0x04
export const F_BE_LIBERAL = 0x08
export const F_UNACKNOWLEDGED = 0x10
export const F_MAXACK_SET = 0x20
export const F_CHALLENGE_ACK = 0x40
export const F_SIMULTANEOUS_OPEN = 0x80
export const SCALE_SHIFT = 8

/** State of an entry, for NAT (nf_nat_used_tuple_harder) and for printing. */
export function tcpState({ bytes }: EntryTable, entry: number): number {
  return bytes[entry * STRIDE * 4 + STATE]!
}

/** The largest window that a direction announced (seen[dir].td_maxwin). */
export function tcpMaxWindow(words: Int32Array, entry: number, dir: number): number {
  return words[entry * STRIDE + MAXWIN + dir * SEEN]!
}

/** One past the highest sequence number that the original direction sent (seen[0].td_end); signed. NAT asks it. */
export function tcpSentEnd(words: Int32Array, entry: number): number {
  return words[entry * STRIDE + END]!
}

/**
 * What a direction's window check goes by, unsigned: one past the highest sequence number that was sent, one past the
 * highest that may be, the largest window announced. For explanations.
 */
export function tcpWindow(words: Int32Array, entry: number, dir: number): readonly [number, number, number] {
  const o = entry * STRIDE + dir * SEEN
  return [words[o + END]! >>> 0, words[o + MAXEND]! >>> 0, words[o + MAXWIN]! >>> 0]
}
