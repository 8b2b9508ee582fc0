// Capture files out: a pcapng of one section, little-endian, time in nanoseconds. Nothing in it depends on the
// machine. A packet may carry a note that Wireshark shows: draft-ietf-opsawg-pcapng, section 4.3.

import { writeSync } from 'node:fs'
import { LinkType } from './pcap.ts'

const SHB = 0x0a0d0d0a
const IDB = 1
const EPB = 6
const BYTE_ORDER = 0x1a2b3c4d

const OPT_COMMENT = 1
const OPT_IF_NAME = 2
const OPT_IF_TSRESOL = 9
const OPT_EPB_FLAGS = 2
const OPT_EPB_PACKETID = 5
const OPT_EPB_VERDICT = 7
/** epb_verdict's first byte: the next eight are a TC_ACT code of Linux. */
const VERDICT_LINUX_TC = 1

const NS = 1e9
/** Longest comment, bytes: the length of an option is 16 bits. */
const MAX_COMMENT = 65535
const BUFFER = 1024 * 1024
/** Up to here a loop copies faster than a call. */
const LOOP_BYTES = 512

/** Where the bytes go. */
export type WriteBytes = (bytes: Uint8Array, length: number) => void

/** All bytes to a file descriptor. */
export function writeTo(fd: number): WriteBytes {
  return (bytes, length) => {
    for (let at = 0; at < length; ) at += writeSync(fd, bytes, at, length - at)
  }
}

/** Longest frame that packet() takes. */
export const MAX_FRAME = 256 * 1024

/** What epb_verdict says (TC_ACT_* of linux/pkt_cls.h). */
export const Action = { Ok: 0, Shot: 2, Stolen: 4 } as const
export type Action = (typeof Action)[keyof typeof Action]

/** epb_flags: direction. */
export const Direction = { In: 1, Out: 2 } as const
export type Direction = (typeof Direction)[keyof typeof Direction]

/** What is written beside a packet. */
export interface Note {
  /** epb_packetid: the same for a packet and for what left because of it; null: no packet's. */
  readonly id: number | null
  /** Null: nobody decided. */
  readonly action: Action | null
  readonly direction: Direction
  readonly comment: string
}

export class CaptureWriter {
  readonly #write: WriteBytes
  readonly #words: Int32Array | null
  readonly #bytes = new Uint8Array(BUFFER)
  readonly #view = new DataView(this.#bytes.buffer)
  readonly #out = new Int32Array(this.#bytes.buffer)
  #at = 0
  #interfaces = 0
  /** Time stamp of the second of the last packet, as two words. */
  #second = Number.NaN
  #secondHigh = 0
  #secondLow = 0

  /** `words`: those of the buffer in which all packets lie; null: packets come from anywhere. */
  constructor(write: WriteBytes, words: Int32Array | null = null) {
    this.#write = write
    this.#words = words
    const v = this.#view
    v.setUint32(0, SHB)
    v.setUint32(4, 28, true)
    v.setUint32(8, BYTE_ORDER, true)
    v.setUint16(12, 1, true)
    v.setUint16(14, 0, true)
    v.setUint32(16, 0xffff_ffff, true)
    v.setUint32(20, 0xffff_ffff, true)
    v.setUint32(24, 28, true)
    this.#at = 28
  }

  /** Describes an interface, null: without a name; answers its number for packet(). */
  interface(name: string | null, linkType: number = LinkType.Raw): number {
    const text = new TextEncoder().encode(name ?? '')
    const padded = name === null ? -4 : (text.length + 3) & ~3
    const total = 20 + 4 + padded + 8 + 4
    this.#room(total)
    const v = this.#view
    const at = this.#at
    this.#bytes.fill(0, at, at + total)
    v.setUint32(at, IDB, true)
    v.setUint32(at + 4, total, true)
    v.setUint16(at + 8, linkType, true)
    if (name !== null) {
      v.setUint16(at + 16, OPT_IF_NAME, true)
      v.setUint16(at + 18, text.length, true)
      this.#bytes.set(text, at + 20)
    }
    const option = at + 20 + padded
    v.setUint16(option, OPT_IF_TSRESOL, true)
    v.setUint16(option + 2, 1, true)
    v.setUint8(option + 4, 9)
    v.setUint32(at + total - 4, total, true)
    this.#at += total
    return this.#interfaces++
  }

  /** One packet of `length` bytes at `from`, `original` on the wire. Does not allocate but for large packets. */
  packet(
    iface: number,
    seconds: number,
    nanos: number,
    bytes: Uint8Array,
    from: number,
    length: number,
    original = length,
  ): void {
    const total = 32 + ((length + 3) & ~3)
    this.#room(total)
    const at = this.#at
    this.#header(at, total, iface, seconds, nanos, length, original)
    this.#data(at + 28, bytes, this.#words, from, length)
    this.#view.setUint32(at + total - 4, total, true)
    this.#at += total
  }

  /** The same with a note, and with more bytes on the wire than are there; of a longer frame the first MAX_FRAME. */
  noted(
    iface: number,
    seconds: number,
    nanos: number,
    bytes: Uint8Array,
    from: number,
    captured: number,
    original: number,
    note: Note,
  ): void {
    const length = Math.min(captured, MAX_FRAME)
    const padded = (length + 3) & ~3
    this.#room(32 + padded + 36 + MAX_COMMENT + 1 + 4)
    const v = this.#view
    const start = this.#at
    this.#data(start + 28, bytes, null, from, length)
    let at = start + 28 + padded
    const comment = this.#comment(at + 4, note.comment)
    if (comment > 0) at = this.#option(at, OPT_COMMENT, comment)
    v.setUint32(at + 4, note.direction, true)
    at = this.#option(at, OPT_EPB_FLAGS, 4)
    if (note.id !== null) {
      v.setUint32(at + 4, note.id >>> 0, true)
      v.setUint32(at + 8, Math.floor(note.id / 0x1_0000_0000), true)
      at = this.#option(at, OPT_EPB_PACKETID, 8)
    }
    if (note.action !== null) {
      v.setUint32(at + 4, VERDICT_LINUX_TC, true)
      v.setUint8(at + 5, note.action)
      v.setUint32(at + 6, 0, true)
      v.setUint32(at + 10, 0, true)
      at = this.#option(at, OPT_EPB_VERDICT, 9)
    }
    v.setUint32(at, 0, true)
    const total = at + 8 - start
    this.#header(start, total, iface, seconds, nanos, length, original)
    v.setUint32(at + 4, total, true)
    this.#at += total
  }

  #header(
    at: number,
    total: number,
    iface: number,
    seconds: number,
    nanos: number,
    length: number,
    original: number,
  ): void {
    const v = this.#view
    // seconds * 10^9 + nanos in two words; seconds up to 2^34. Remainders of doubles are slow: once a second.
    if (seconds !== this.#second) {
      const high = Math.floor(seconds / 65536) * NS
      const low = (high % 65536) * 65536 + (seconds % 65536) * NS
      this.#secondHigh = Math.floor(high / 65536) + Math.floor(low / 0x1_0000_0000)
      this.#secondLow = low % 0x1_0000_0000
      this.#second = seconds
    }
    const low = this.#secondLow + nanos
    const carry = low >= 0x1_0000_0000 ? 1 : 0
    v.setUint32(at, EPB, true)
    v.setUint32(at + 4, total, true)
    v.setUint32(at + 8, iface, true)
    v.setUint32(at + 12, this.#secondHigh + carry, true)
    v.setUint32(at + 16, low - carry * 0x1_0000_0000, true)
    v.setUint32(at + 20, length, true)
    v.setUint32(at + 24, original, true)
  }

  /** The packet's bytes, padded with zeros to a whole word. */
  #data(to: number, bytes: Uint8Array, words: Int32Array | null, from: number, length: number): void {
    const out = this.#bytes
    const padded = (length + 3) & ~3
    if (length > LOOP_BYTES) out.set(bytes.subarray(from, from + length), to)
    else if (words !== null && (from & 3) === 0) {
      const end = (from + padded) >> 2
      const o = this.#out
      for (let i = from >> 2, j = to >> 2; i < end; i++, j++) o[j] = words[i]!
    } else for (let i = 0; i < length; i++) out[to + i] = bytes[from + i]!
    for (let i = length; i < padded; i++) out[to + i] = 0
  }

  /** Its bytes at `at`, whole characters of it; answers how many bytes. */
  #comment(at: number, text: string): number {
    return new TextEncoder().encodeInto(text, this.#bytes.subarray(at, at + MAX_COMMENT)).written
  }

  /** Head and padding around a value of `length` bytes that stands there already; answers where the next goes. */
  #option(at: number, code: number, length: number): number {
    this.#view.setUint16(at, code, true)
    this.#view.setUint16(at + 2, length, true)
    const end = at + 4 + ((length + 3) & ~3)
    for (let i = at + 4 + length; i < end; i++) this.#bytes[i] = 0
    return end
  }

  #room(count: number): void {
    if (this.#at + count > this.#bytes.length) this.flush()
  }

  flush(): void {
    if (this.#at > 0) this.#write(this.#bytes, this.#at)
    this.#at = 0
  }
}
