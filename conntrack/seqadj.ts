// Sequence numbers that a helper or SYNPROXY moved (nf_conntrack_seqadj.c, Linux 6.18): what one end sends has grown
// or shrunk on the way, so the numbers of all that follows are shifted, and the other end's acknowledgments back.
//
//     direction ── position of the last change ── offset before it, offset behind it
//
// Few connections need it: their words lie beside the table, found by entry.

import type { Packet } from '../datapath/packet.ts'
import { ensureWritable, setTcp32 } from '../datapath/rewrite.ts'
import {
  TCP_ACK,
  TCP_ACK_SEQ,
  TCP_FLAGS,
  TCP_HEADER_LEN,
  TCP_SEQ,
  TCPOPT_EOL,
  TCPOPT_NOP,
  TCPOPT_SACK,
  tcpHeaderLength,
} from '../datapath/wire/tcp.ts'
import type { Conntrack } from './conntrack.ts'
import { STATUS, STRIDE, Status } from './table.ts'

// Words of a direction; the reply's are DIRECTION words on.
const POSITION = 0
const BEFORE = 1
const AFTER = 2
const DIRECTION = 3

const SACK_BLOCK = 8

/** a is later than b, modulo 2^32. */
const after = (a: number, b: number): boolean => ((b - a) | 0) < 0

/** What an end's number is shifted by. */
const offsetAt = (words: Int32Array, at: number, seq: number): number =>
  after(seq, words[at + POSITION]!) ? words[at + AFTER]! : words[at + BEFORE]!

/** What a number that is shifted already was shifted by. */
const offsetOf = (words: Int32Array, at: number, shifted: number): number =>
  offsetAt(words, at, (shifted - words[at + BEFORE]!) | 0)

export class Sequences {
  readonly #conntrack: Conntrack
  readonly #entries = new Map<number, Int32Array>()

  constructor(conntrack: Conntrack) {
    this.#conntrack = conntrack
  }

  #of(entry: number): Int32Array {
    let words = this.#entries.get(entry)
    if (words === undefined) {
      words = new Int32Array(2 * DIRECTION)
      this.#entries.set(entry, words)
    }
    return words
  }

  #mark(entry: number): void {
    this.#conntrack.table.words[entry * STRIDE + STATUS]! |= Status.SeqAdjust
  }

  /** nf_ct_seqadj_init(): all that `dir` sends is shifted by `offset`; nothing if that is 0. */
  init(entry: number, dir: number, offset: number): void {
    if ((offset | 0) === 0) return
    this.#mark(entry)
    const words = this.#of(entry)
    words[dir * DIRECTION + BEFORE] = offset
    words[dir * DIRECTION + AFTER] = offset
  }

  /** nf_ct_seqadj_set(): what `dir` sends behind `seq` is shifted by `change` more. */
  change(entry: number, dir: number, seq: number, change: number): void {
    if ((change | 0) === 0) return
    this.#mark(entry)
    const words = this.#of(entry)
    const at = dir * DIRECTION
    // The same segment sent again changes nothing.
    if (words[at + BEFORE] !== words[at + AFTER] && !after(seq, words[at + POSITION]!)) return
    words[at + POSITION] = seq
    words[at + BEFORE] = words[at + AFTER]!
    words[at + AFTER] = words[at + AFTER]! + change
  }

  /** nf_ct_seq_offset(): what the number `seq` of `dir` is shifted by. Hot. */
  offset(entry: number, dir: number, seq: number): number {
    const words = this.#entries.get(entry)
    return words === undefined ? 0 : offsetAt(words, dir * DIRECTION, seq)
  }

  /** nf_ct_seq_adjust(): shifts the numbers of a segment. False: its options are damaged, it is to be dropped. Hot. */
  adjust(pkt: Packet, entry: number, dir: number): boolean {
    const words = this.#entries.get(entry)
    if (words === undefined) return true
    const { memory } = this.#conntrack.host
    const { view } = memory
    const { l4 } = pkt
    if (l4 + TCP_HEADER_LEN > pkt.end) return false
    ensureWritable(pkt, l4 - pkt.l3 + TCP_HEADER_LEN)
    const own = dir * DIRECTION
    const other = DIRECTION - own
    const seq = view.getInt32(l4 + TCP_SEQ)
    setTcp32(pkt, memory, l4 + TCP_SEQ, (seq + offsetAt(words, own, seq)) | 0)
    if ((view.getUint8(l4 + TCP_FLAGS) & TCP_ACK) === 0) return true
    const ack = view.getInt32(l4 + TCP_ACK_SEQ)
    setTcp32(pkt, memory, l4 + TCP_ACK_SEQ, (ack - offsetOf(words, other, ack)) | 0)
    return this.#sack(pkt, words, other)
  }

  /** nf_ct_sack_adjust() */
  #sack(pkt: Packet, words: Int32Array, other: number): boolean {
    const { memory } = this.#conntrack.host
    const { view } = memory
    const end = pkt.l4 + tcpHeaderLength(view, pkt.l4)
    if (end > pkt.end) return false
    ensureWritable(pkt, end - pkt.l3)
    let at = pkt.l4 + TCP_HEADER_LEN
    while (at < end) {
      const kind = view.getUint8(at)
      if (kind === TCPOPT_EOL) return true
      if (kind === TCPOPT_NOP) {
        at++
        continue
      }
      if (at + 1 === end) return false
      const length = view.getUint8(at + 1)
      if (length < 2 || at + length > end) return false
      if (kind === TCPOPT_SACK && length >= 2 + SACK_BLOCK && (length - 2) % SACK_BLOCK === 0)
        for (let edge = at + 2; edge < at + length; edge += 4) {
          const seq = view.getInt32(edge)
          setTcp32(pkt, memory, edge, (seq - offsetOf(words, other, seq)) | 0)
        }
      at += length
    }
    return true
  }

  /** The entry is freed. */
  forget(entry: number): void {
    this.#entries.delete(entry)
  }
}
