// TUN devices as ports: batches read straight into slots of frame memory, written from the same slots.
//
//     TunPorts.receive ──> slots ──> engine ──> TunPorts.send (queue per device) ──> flush ──> device
//
// The device in the namespace is the neighbour's interface; our end of it is an interface of the emulated host.

import { IFF_VNET_HDR, type IoHandle, type Native, native } from '../native/index.ts'
import { Offload, VNET_HEADER_LEN, VNET_HEADER_WORDS } from '../offload.ts'
import { type Egress, type FrameMemory, HEADROOM } from '../ring.ts'

/** Frames a device is asked for at once, and that wait for one device before they are written. */
export const BATCH = 128
/** Largest IPv4 or IPv6 packet (without jumbograms). */
export const MAX_FRAME = 65535

export interface TunSpec {
  /** ifindex of the emulated host's interface. */
  readonly device: number
  /** Name of the TUN device in its namespace. */
  readonly name: string
  /** Path of the network namespace, null: the caller's. */
  readonly netns: string | null
  /** Superframes and checksums that are left to the device, on both ways. */
  readonly offload: boolean
}

const TSO = Offload.Checksum | Offload.Tso4 | Offload.Tso6 | Offload.TsoEcn
/** Linux knows UDP's since 6.2. */
const OFFLOADS = [TSO | Offload.Uso4 | Offload.Uso6, TSO, Offload.Checksum]

class TunPort {
  readonly device: number
  readonly fd: number
  readonly rxOffsets = new Int32Array(BATCH)
  readonly rxLengths = new Int32Array(BATCH)
  readonly rxSums = new Uint32Array(BATCH)
  /** The headers in front of the frames; null: a device without offloads. */
  readonly rxHeaders: Uint16Array | null
  /** Offload bits that the kernel took. */
  readonly offloads: number
  readonly rx: IoHandle
  readonly txOffsets = new Int32Array(BATCH)
  readonly txLengths = new Int32Array(BATCH)
  readonly txSlots = new Int32Array(BATCH)
  readonly tx: IoHandle
  txCount = 0
  readErrors = 0
  /** Frames the device refused (down, no room): backpressure shows here. */
  txRefused = 0

  constructor(spec: TunSpec, memory: FrameMemory, io: Native) {
    this.device = spec.device
    this.fd = io.openTun(spec.name, spec.netns, spec.offload ? IFF_VNET_HDR : 0)
    this.rxHeaders = spec.offload ? new Uint16Array(BATCH * VNET_HEADER_WORDS) : null
    this.offloads = spec.offload
      ? (OFFLOADS.find((bits) => io.setOffload(this.fd, VNET_HEADER_LEN, bits)) ?? 0)
      : 0
    this.rx = io.createIo(memory.bytes, this.rxOffsets, this.rxLengths, this.rxSums, this.rxHeaders)
    this.tx = io.createIo(memory.bytes, this.txOffsets, this.txLengths, new Uint32Array(BATCH), null)
    this.rxOffsets.fill(-1)
  }
}

/**
 * One received frame: `slot` is now the callee's; the frame is memory[offset, offset + length). `headers[at …]`: what the
 * device left to do (takeOffload); null: nothing. Hot.
 */
export type OnFrame = (
  device: number,
  slot: number,
  offset: number,
  length: number,
  sum: number,
  headers: Uint16Array | null,
  at: number,
) => void

export class TunPorts implements Egress {
  readonly #memory: FrameMemory
  readonly #io: Native = native()
  readonly #ports: TunPort[] = []
  /** By ifindex. */
  readonly #byDevice: (TunPort | undefined)[] = []
  #fds = new Int32Array(0)
  #events = new Int32Array(0)
  #revents = new Int32Array(0)
  readonly #wakeFd: number
  /** Told of each batch before its frames: their first bytes in frame memory. May change nothing. */
  onBatch: ((offsets: Int32Array, count: number) => void) | null = null
  /** Frames sent to an interface that has no port. */
  unported = 0

  constructor(memory: FrameMemory) {
    this.#memory = memory
    this.#wakeFd = this.#io.wakeOpen()
    this.#watch()
  }

  /** Descriptor that wakes a sleeping `wait` when written to (native().wake). */
  get wakeFd(): number {
    return this.#wakeFd
  }

  /** Opens a device. Returns the Offload bits that it takes. Throws Error with the system's reason. */
  open(spec: TunSpec): number {
    const port = new TunPort(spec, this.#memory, this.#io)
    this.#ports.push(port)
    this.#byDevice[spec.device] = port
    this.#watch()
    return port.offloads
  }

  #watch(): void {
    this.#fds = Int32Array.of(...this.#ports.map((p) => p.fd), this.#wakeFd)
    this.#events = new Int32Array(this.#fds.length).fill(1)
    this.#revents = new Int32Array(this.#fds.length)
  }

  /** Sleeps until a frame, a wake-up or the time is there. -1: for ever. */
  wait(timeoutMs: number): void {
    this.#io.poll(this.#fds, this.#events, this.#revents, this.#fds.length, timeoutMs)
    if (this.#revents[this.#fds.length - 1] !== 0) this.#io.wakeClear(this.#wakeFd)
  }

  /** One batch from each device. Returns the number of frames. Hot: does not allocate. */
  receive(onFrame: OnFrame): number {
    let total = 0
    for (let p = 0; p < this.#ports.length; p++) total += this.#receiveFrom(this.#ports[p]!, onFrame)
    return total
  }

  #receiveFrom(port: TunPort, onFrame: OnFrame): number {
    const { rxOffsets, rxLengths, rxSums, rxHeaders } = port
    let room = 0
    for (; room < BATCH; room++) {
      if (rxOffsets[room]! >= 0) continue
      const slot = this.#memory.take()
      if (slot < 0) break
      rxOffsets[room] = slot + HEADROOM
    }
    const count = this.#io.readBatch(port.rx, port.fd, 0, room, MAX_FRAME)
    if (count < 0) {
      port.readErrors++
      return 0
    }
    if (count > 1) this.onBatch?.(rxOffsets, count)
    for (let i = 0; i < count; i++) {
      const offset = rxOffsets[i]!
      rxOffsets[i] = -1
      onFrame(
        port.device,
        offset - HEADROOM,
        offset,
        rxLengths[i]!,
        rxSums[i]!,
        rxHeaders,
        i * VNET_HEADER_WORDS,
      )
    }
    this.#refill(port, count, room)
    return count
  }

  /** Slots that were not used move to the front, so that the next batch finds them first. */
  #refill(port: TunPort, used: number, room: number): void {
    const { rxOffsets } = port
    if (used === 0) return
    let to = 0
    for (let i = used; i < room; i++) {
      rxOffsets[to++] = rxOffsets[i]!
      rxOffsets[i] = -1
    }
  }

  send(device: number, offset: number, length: number, slot: number, offloaded = false): void {
    const port = this.#byDevice[device]
    if (port === undefined) {
      this.unported++
      if (slot >= 0) this.#memory.give(slot)
      return
    }
    const at = port.txCount++
    if (port.rxHeaders === null) {
      port.txOffsets[at] = offset
      port.txLengths[at] = length
    } else {
      if (!offloaded) this.#writeEmptyHeader(offset - VNET_HEADER_LEN)
      port.txOffsets[at] = offset - VNET_HEADER_LEN
      port.txLengths[at] = length + VNET_HEADER_LEN
    }
    port.txSlots[at] = slot
    if (port.txCount === BATCH) this.#flushPort(port)
  }

  #writeEmptyHeader(at: number): void {
    const { view } = this.#memory
    view.setInt32(at, 0)
    view.setInt32(at + 4, 0)
    view.setInt32(at + 8, 0)
  }

  flush(): void {
    for (let p = 0; p < this.#ports.length; p++) {
      const port = this.#ports[p]!
      if (port.txCount > 0) this.#flushPort(port)
    }
  }

  #flushPort(port: TunPort): void {
    const count = port.txCount
    const done = this.#io.writeBatch(port.tx, port.fd, 0, count)
    port.txRefused += count - done
    for (let i = 0; i < count; i++) {
      if (i < done && port.txLengths[i]! < 0) port.txRefused++
      const slot = port.txSlots[i]!
      if (slot >= 0) this.#memory.give(slot)
    }
    port.txCount = 0
  }

  /** Frames refused by a device since the start, by ifindex. */
  refused(device: number): number {
    return this.#byDevice[device]?.txRefused ?? 0
  }

  /** Closes every device, which removes it. */
  close(): void {
    for (const port of this.#ports) this.#io.close(port.fd)
    this.#ports.length = 0
    this.#byDevice.length = 0
    this.#watch()
  }
}
