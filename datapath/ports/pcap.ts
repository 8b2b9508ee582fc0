// Capture files in: pcap and pcapng. Streams through one buffer; a packet costs no object.
//
//     pcap:    file header | record | record ...            draft-ietf-opsawg-pcap
//     pcapng:  SHB | IDB | EPB, SPB, OPB ... | SHB | ...    draft-ietf-opsawg-pcapng
//
// Each section of a pcapng has its own byte order and numbers its interfaces anew; `interfaces` lists those of all
// sections seen so far.

import { closeSync, openSync, readSync } from 'node:fs'

/** Link types that replay reads (tcpdump.org/linktypes.html). */
export const LinkType = {
  Null: 0,
  Ethernet: 1,
  RawBsd: 12,
  RawOpenBsd: 14,
  Raw: 101,
  Loop: 108,
  LinuxSll: 113,
  Ipv4: 228,
  Ipv6: 229,
  LinuxSll2: 276,
} as const

/** What is wrong with a capture. */
export class CaptureError extends Error {
  override readonly name = 'CaptureError'
  /** Number of the block (pcapng), or of the record with the file header as the first (pcap); from 1. */
  readonly block: number
  /** Byte of the file, from 0. */
  readonly offset: number
  constructor(reason: string, block: number, offset: number) {
    super(reason)
    this.block = block
    this.offset = offset
  }
}

export interface CaptureInterface {
  /** if_name; null: not given. */
  readonly name: string | null
  readonly linkType: number
  /** Longest capture, bytes; 0: no limit. */
  readonly snapLength: number
}

/** Where the bytes come from: fills `into` from `at` on; answers how many, 0 at the end. */
export type ReadBytes = (into: Uint8Array, at: number, length: number) => number

/** Larger blocks are garbage, or nothing that one would hold in memory. */
const MAX_BLOCK = 16 * 1024 * 1024
const CHUNK = 256 * 1024

const SHB = 0x0a0d0d0a
const IDB = 1
const OPB = 2
const SPB = 3
const EPB = 6
const BYTE_ORDER = 0x1a2b3c4d

const OPT_END = 0
const OPT_IF_NAME = 2
const OPT_IF_TSRESOL = 9
const OPT_IF_TSOFFSET = 14

const NS = 1e9

/** Clock of an interface: units per second, and seconds to add. */
interface Clock {
  readonly unitsPerSecond: number
  /** Nanoseconds per unit where that is whole, else 0. */
  readonly nsPerUnit: number
  readonly offset: number
}

export class CaptureReader {
  readonly interfaces: CaptureInterface[] = []
  /** The bytes, as such, as numbers and as words; good until the next call of next(). */
  bytes: Uint8Array<ArrayBuffer>
  view: DataView<ArrayBuffer>
  words: Int32Array<ArrayBuffer>
  /** The frame that next() found: first byte in `bytes`, bytes captured, bytes on the wire. */
  at = 0
  length = 0
  originalLength = 0
  /** Index into `interfaces`. */
  interface = 0
  /** Time stamp: seconds since 1970 and nanoseconds in it. */
  seconds = 0
  nanos = 0

  readonly #read: ReadBytes
  readonly #clocks: Clock[] = []
  readonly #pcapng: boolean
  #le = true
  /** First interface of this section. */
  #section = 0
  #start = 0
  #end = 0
  /** Offset in the file of bytes[0]. */
  #base = 0
  #block = 1
  /** The second that the last packet fell into: whose clock (-1 none), and where in its units it began. */
  #secondOf = -1
  #second = 0
  #secondHigh = 0
  #secondLow = 0

  /** Reads the beginning. Throws CaptureError for what is no capture. */
  constructor(read: ReadBytes) {
    this.#read = read
    this.bytes = new Uint8Array(CHUNK)
    this.view = new DataView(this.bytes.buffer)
    this.words = new Int32Array(this.bytes.buffer)
    if (!this.#have(4)) this.#fail(this.#end === 0 ? 'the file is empty' : 'no capture: shorter than 4 bytes')
    const magic = this.view.getUint32(this.#start)
    this.#pcapng = magic === SHB
    if (!this.#pcapng) this.#pcapHeader(magic)
  }

  /** Offset in the file of what is read next. */
  get offset(): number {
    return this.#base + this.#start
  }

  /** Number of the block or record that next() found; the number that CaptureError has. */
  get block(): number {
    return this.#block - 1
  }

  /** On to the next packet; false at the end. Throws CaptureError where the file is damaged. */
  next(): boolean {
    return this.#pcapng ? this.#nextBlock() : this.#nextRecord()
  }

  #fail(reason: string, within = 0): never {
    throw new CaptureError(reason, this.#block, this.#base + this.#start + within)
  }

  /** Makes `count` bytes available from #start; false if the file ends before. */
  #have(count: number): boolean {
    if (this.#end - this.#start >= count) return true
    if (count > this.bytes.length - this.#start) {
      const held = this.bytes.subarray(this.#start, this.#end)
      const size = Math.max(this.bytes.length, 2 ** Math.ceil(Math.log2(count)))
      const to = size > this.bytes.length ? new Uint8Array(size) : this.bytes
      if (to === this.bytes) to.copyWithin(0, this.#start, this.#end)
      else to.set(held)
      this.#base += this.#start
      this.#end -= this.#start
      this.#start = 0
      if (to !== this.bytes) {
        this.bytes = to
        this.view = new DataView(to.buffer)
        this.words = new Int32Array(to.buffer)
      }
    }
    while (this.#end - this.#start < count) {
      const got = this.#read(this.bytes, this.#end, this.bytes.length - this.#end)
      if (got === 0) return false
      this.#end += got
    }
    return true
  }

  // -- pcap

  #pcapHeader(magic: number): void {
    const nano = magic === 0xa1b23c4d || magic === 0x4d3cb2a1
    const micro = magic === 0xa1b2c3d4 || magic === 0xd4c3b2a1
    if (magic >>> 16 === 0x1f8b) this.#fail('compressed with gzip: unpack it first')
    if (magic === 0x28b52ffd) this.#fail('compressed with zstd: unpack it first')
    if (!nano && !micro)
      this.#fail(`neither pcap nor pcapng: it begins with 0x${magic.toString(16).padStart(8, '0')}`)
    this.#le = magic === 0x4d3cb2a1 || magic === 0xd4c3b2a1
    if (!this.#have(24)) this.#fail('the file ends within the pcap header')
    const major = this.view.getUint16(this.#start + 4, this.#le)
    if (major !== 2) this.#fail(`pcap version ${major}: expected 2`, 4)
    this.interfaces.push({
      name: null,
      linkType: this.view.getUint32(this.#start + 20, this.#le) & 0x0fff_ffff,
      snapLength: this.view.getUint32(this.#start + 16, this.#le),
    })
    this.#clocks.push(nano ? clock(9, 0) : clock(6, 0))
    this.#start += 24
    this.#block++
  }

  #nextRecord(): boolean {
    if (!this.#have(16)) {
      if (this.#end > this.#start) this.#fail('the file ends within the header of a packet')
      return false
    }
    const le = this.#le
    const at = this.#start
    const captured = this.view.getUint32(at + 8, le)
    if (captured > MAX_BLOCK) this.#fail(`a packet of ${captured} bytes cannot be`, 8)
    this.seconds = this.view.getUint32(at, le)
    this.nanos = this.view.getUint32(at + 4, le) * this.#clocks[0]!.nsPerUnit
    if (this.nanos >= NS) {
      this.seconds += Math.floor(this.nanos / NS)
      this.nanos %= NS
    }
    this.originalLength = this.view.getUint32(at + 12, le)
    if (!this.#have(16 + captured))
      this.#fail(`the file ends within a packet of ${captured} bytes`, this.#end - this.#start)
    this.at = this.#start + 16
    this.length = captured
    this.#start += 16 + captured
    this.#block++
    return true
  }

  // -- pcapng

  #nextBlock(): boolean {
    for (;;) {
      if (!this.#have(12)) {
        if (this.#end > this.#start) this.#fail('the file ends within the header of a block')
        return false
      }
      let type = this.view.getUint32(this.#start, this.#le)
      // Its byte order is known only from its own magic; the type reads alike both ways.
      if (type === SHB) this.#byteOrder()
      else if (this.#block === 1) this.#fail('the file does not begin with a section header')
      type = this.view.getUint32(this.#start, this.#le)
      const total = this.view.getUint32(this.#start + 4, this.#le)
      if (total < 12 || total % 4 !== 0) this.#fail(`a block of ${total} bytes cannot be`, 4)
      const packet = type === EPB || type === SPB || type === OPB
      if (!packet && type !== SHB && type !== IDB) {
        this.#skip(total)
        continue
      }
      if (total > MAX_BLOCK) this.#fail(`a block of ${total} bytes is too long`, 4)
      if (!this.#have(total))
        this.#fail(`the file ends within a block of ${total} bytes`, this.#end - this.#start)
      const again = this.view.getUint32(this.#start + total - 4, this.#le)
      if (again !== total) this.#fail(`the block says ${total} bytes first and ${again} last`, total - 4)
      const body = this.#start + 8
      const end = this.#start + total - 4
      if (type === SHB) this.#sectionHeader(body, end)
      else if (type === IDB) this.#interfaceDescription(body, end)
      else if (type === EPB) this.#enhancedPacket(body, end)
      else if (type === SPB) this.#simplePacket(body, end)
      else this.#oldPacket(body, end)
      this.#start += total
      this.#block++
      if (packet) return true
    }
  }

  #byteOrder(): void {
    const magic = this.view.getUint32(this.#start + 8, true)
    if (magic === BYTE_ORDER) this.#le = true
    else if (this.view.getUint32(this.#start + 8) === BYTE_ORDER) this.#le = false
    else this.#fail('the section header has no byte-order magic', 8)
  }

  /** Over a block that says nothing to us, however long it is. */
  #skip(total: number): void {
    let left = total
    while (left > 0) {
      const step = Math.min(left, CHUNK)
      if (!this.#have(step))
        this.#fail(`the file ends within a block of ${total} bytes`, this.#end - this.#start)
      this.#start += step
      left -= step
    }
    this.#block++
  }

  #sectionHeader(body: number, end: number): void {
    if (end - body < 16) this.#fail('the section header is too short')
    const major = this.view.getUint16(body + 4, this.#le)
    if (major !== 1) this.#fail(`pcapng version ${major}: expected 1`, 12)
    this.#section = this.interfaces.length
  }

  #interfaceDescription(body: number, end: number): void {
    if (end - body < 8) this.#fail('the interface description is too short')
    const { view } = this
    const le = this.#le
    let name: string | null = null
    let resolution = 6
    let offset = 0
    for (let at = body + 8; at + 4 <= end; ) {
      const code = view.getUint16(at, le)
      const length = view.getUint16(at + 2, le)
      if (code === OPT_END) break
      const value = at + 4
      if (value + length > end) this.#fail('an option reaches past the end of its block', at - this.#start)
      if (code === OPT_IF_NAME) name = new TextDecoder().decode(this.bytes.slice(value, value + length))
      else if (code === OPT_IF_TSRESOL && length >= 1) resolution = view.getUint8(value)
      else if (code === OPT_IF_TSOFFSET && length >= 8) offset = Number(view.getBigInt64(value, le))
      at = value + ((length + 3) & ~3)
    }
    this.interfaces.push({
      name: name === null ? null : name.replace(/\0+$/, ''),
      linkType: view.getUint16(body, le),
      snapLength: view.getUint32(body + 4, le),
    })
    this.#clocks.push(clock(resolution, offset))
  }

  #packetOf(within: number, data: number, room: number, captured: number): void {
    const index = this.#section + within
    if (index >= this.interfaces.length)
      this.#fail(`the packet is of interface ${within}, which the section has not described`, 8)
    if (captured > room)
      this.#fail(`a packet of ${captured} bytes in a block that has room for ${room}`, data - this.#start)
    this.interface = index
    this.at = data
    this.length = captured
  }

  #enhancedPacket(body: number, end: number): void {
    if (end - body < 20) this.#fail('the packet block is too short')
    const { view } = this
    const le = this.#le
    this.#packetOf(view.getUint32(body, le), body + 20, end - body - 20, view.getUint32(body + 12, le))
    this.originalLength = view.getUint32(body + 16, le)
    this.#time(view.getUint32(body + 4, le), view.getUint32(body + 8, le))
  }

  #oldPacket(body: number, end: number): void {
    if (end - body < 20) this.#fail('the packet block is too short')
    const { view } = this
    const le = this.#le
    this.#packetOf(view.getUint16(body, le), body + 20, end - body - 20, view.getUint32(body + 12, le))
    this.originalLength = view.getUint32(body + 16, le)
    this.#time(view.getUint32(body + 4, le), view.getUint32(body + 8, le))
  }

  /** It has no time of its own: that of the packet before it stands. */
  #simplePacket(body: number, end: number): void {
    if (end - body < 4) this.#fail('the packet block is too short')
    const original = this.view.getUint32(body, this.#le)
    const room = end - body - 4
    const snap = this.interfaces[this.#section]?.snapLength ?? 0
    this.#packetOf(0, body + 4, room, Math.min(original, snap === 0 ? original : snap))
    this.originalLength = original
  }

  /** high * 2^32 + low units of the interface's clock. Does not allocate for decimal resolutions up to ns. */
  #time(high: number, low: number): void {
    const c = this.#clocks[this.interface]!
    const d = c.unitsPerSecond
    if (c.nsPerUnit === 0) {
      const units = (BigInt(high) << 32n) | BigInt(low)
      const whole = units / BigInt(d)
      this.seconds = Number(whole) + c.offset
      this.nanos = Number(((units - whole * BigInt(d)) * 1_000_000_000n) / BigInt(d))
      return
    }
    // Most packets are of the same second as the one before: remainders of doubles are slow.
    const since = (high - this.#secondHigh) * 0x1_0000_0000 + (low - this.#secondLow)
    if (this.#secondOf === this.interface && since >= 0 && since < d) {
      this.seconds = this.#second
      this.nanos = since * c.nsPerUnit
      return
    }
    // Long division, 16 bits at a time: units pass 2^53 in nanoseconds.
    let rest = high % d
    let quotient = Math.floor(high / d)
    let part = rest * 65536 + (low >>> 16)
    rest = part % d
    quotient = quotient * 65536 + Math.floor(part / d)
    part = rest * 65536 + (low & 0xffff)
    rest = part % d
    quotient = quotient * 65536 + Math.floor(part / d)
    this.seconds = quotient + c.offset
    this.nanos = rest * c.nsPerUnit
    this.#secondOf = this.interface
    this.#second = this.seconds
    this.#secondHigh = high
    this.#secondLow = low - rest
  }
}

/** if_tsresol: 10^-n, or 2^-n with the top bit. */
function clock(resolution: number, offset: number): Clock {
  const power = resolution & 0x7f
  const unitsPerSecond = resolution & 0x80 ? 2 ** power : 10 ** power
  const decimal = (resolution & 0x80) === 0 && power <= 9
  return { unitsPerSecond, nsPerUnit: decimal ? 10 ** (9 - power) : 0, offset }
}

/** Opens a capture file. The caller closes it with the function that comes with the reader. */
export function openCapture(path: string): { readonly reader: CaptureReader; readonly close: () => void } {
  const fd = openSync(path, 'r')
  try {
    const reader = new CaptureReader((into, at, length) => readSync(fd, into, at, length, null))
    return { reader, close: () => closeSync(fd) }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}
