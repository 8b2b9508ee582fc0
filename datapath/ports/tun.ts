// TUN devices as ports: batches read straight into slots of frame memory, written from the same slots.
//
//     TunPorts.receive ──> slots ──> engine ──> TunPorts.send (queue per device) ──> flush ──> device
//
// The device in the namespace is the neighbour's interface; our end of it is an interface of the emulated host.

import { IFF_VNET_HDR, type IoHandle, IS_PART, type Native, native } from '../native/index.ts'
import { Offload, VNET_HEADER_LEN, VNET_HEADER_WORDS } from '../offload.ts'
import { createFrames, type FrameMemory, type Frames, HEADROOM, type PartsEgress } from '../ring.ts'

/** Frames a device is asked for at once, and that wait for one device before they are written. */
export const BATCH = 128
/** Bytes that a device's namespace may hold of what was written, before frames are refused. */
const SEND_BUFFER = 16 << 20
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
  /** Bytes that its namespace may hold of what was written, before frames are refused; default SEND_BUFFER. */
  readonly sendBuffer?: number
}

const TSO = Offload.Checksum | Offload.Tso4 | Offload.Tso6 | Offload.TsoEcn
/** Linux knows UDP's since 6.2. */
const OFFLOADS = [TSO | Offload.Uso4 | Offload.Uso6, TSO, Offload.Checksum]

class TunPort {
  readonly device: number
  readonly fd: number
  /** What the last batch was; offsets: of slots that wait for frames, too. */
  readonly frames: Frames
  /** Offload bits that the kernel took. */
  readonly offloads: number
  readonly rx: IoHandle
  readonly txOffsets = new Int32Array(BATCH)
  readonly txLengths = new Int32Array(BATCH)
  readonly txSlots = new Int32Array(BATCH)
  /** What goes behind each: see Native.createWriter(). */
  readonly txParts = new Uint32Array(BATCH)
  /** Of a frame that waits: its last part. */
  readonly txTails = new Int32Array(BATCH)
  readonly tx: IoHandle
  txCount = 0
  /** Frames and parts that have left it: the number of the first one that waits. */
  written = 0
  /** Slots in frames.offsets that wait for frames. */
  room = 0
  /** There may be more to read: it was told so, or the last batch was full. */
  ready = true
  /** The device was removed under us. */
  gone = false
  /** Frames the device refused (down, no room): backpressure shows here. */
  txRefused = 0

  constructor(spec: TunSpec, memory: FrameMemory, io: Native) {
    this.device = spec.device
    this.fd = io.openTun(spec.name, spec.netns, spec.offload ? IFF_VNET_HDR : 0)
    io.setSendBuffer(this.fd, spec.sendBuffer ?? SEND_BUFFER)
    this.frames = createFrames(BATCH, spec.offload ? new Uint16Array(BATCH * VNET_HEADER_WORDS) : null)
    const { offsets, lengths, sums, headers } = this.frames
    this.offloads = spec.offload
      ? (OFFLOADS.find((bits) => io.setOffload(this.fd, VNET_HEADER_LEN, bits)) ?? 0)
      : 0
    this.rx = io.createReader(memory.bytes, offsets, lengths, sums, headers)
    this.tx = io.createWriter(memory.bytes, this.txOffsets, this.txLengths, this.txParts)
  }
}

/** A batch of `device` (ifindex), whose slots are the callee's now. Hints are not made yet: those of the batch before. Hot. */
export type OnFrames = (device: number, frames: Frames) => void

export class TunPorts implements PartsEgress {
  readonly #memory: FrameMemory
  readonly #io: Native = native()
  readonly maxParts = this.#io.maxParts
  readonly #ports: TunPort[] = []
  /** By ifindex. */
  readonly #byDevice: (TunPort | undefined)[] = []
  #fds = new Int32Array(0)
  #revents = new Int32Array(0)
  readonly #wakeFd: number
  /** Told of a device that was removed by somebody else. */
  onGone: (device: number) => void = () => {}
  /** Frames sent to an interface that has no port. */
  unported = 0
  /** Frames that were received, modulo 2^32. */
  received = 0

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
    this.#fds = Int32Array.of(...this.#ports.map((p) => (p.gone ? -1 : p.fd)), this.#wakeFd)
    this.#revents = new Int32Array(this.#fds.length)
  }

  /** Sleeps until a frame, a wake-up or the time is there. -1: for ever. True: it was woken. */
  wait(timeoutMs: number): boolean {
    const count = this.#io.poll(this.#fds, this.#revents, timeoutMs)
    if (count === 0) return false
    const revents = this.#revents
    const last = revents.length - 1
    for (let p = 0; p < last; p++) if (revents[p] !== 0) this.#ports[p]!.ready = true
    if (revents[last] === 0) return false
    this.#io.wakeClear(this.#wakeFd)
    return true
  }

  /** One batch from each device that may have something. True: there may be more. Hot: does not allocate. */
  receive(onFrames: OnFrames): boolean {
    let more = false
    for (let p = 0; p < this.#ports.length; p++) {
      const port = this.#ports[p]!
      if (!port.ready) continue
      this.#receiveFrom(port, onFrames)
      if (port.ready) more = true
    }
    return more
  }

  #receiveFrom(port: TunPort, onFrames: OnFrames): void {
    const { frames } = port
    const { offsets } = frames
    let { room } = port
    for (; room < BATCH; room++) {
      const slot = this.#memory.take()
      if (slot < 0) break
      offsets[room] = slot + HEADROOM
    }
    port.room = room
    const count = this.#io.readBatch(port.rx, port.fd, 0, room, MAX_FRAME)
    // A shorter one has seen the end of the queue. Without slots the frames stay there, and the device is asked again.
    port.ready = count === room
    if (count < 0) {
      this.#lose(port)
      return
    }
    this.received = (this.received + count) | 0
    frames.count = count
    if (count > 0) onFrames(port.device, frames)
    // Slots that were not used fill the places of those that were.
    port.room = room - count
    const from = Math.max(port.room, count)
    for (let i = from; i < room; i++) offsets[i - from] = offsets[i]!
  }

  /** A device that cannot be read is gone for good, and poll(2) would wake for it without end. */
  #lose(port: TunPort): void {
    port.gone = true
    this.#watch()
    this.onGone(port.device)
  }

  send(device: number, offset: number, length: number, slot: number, offloaded = false): void {
    const port = this.#byDevice[device]
    if (port === undefined) {
      this.unported++
      if (slot >= 0) this.#memory.give(slot)
      return
    }
    if (port.txCount === BATCH) this.#flushPort(port)
    const at = port.txCount++
    if (port.frames.headers === null) {
      port.txOffsets[at] = offset
      port.txLengths[at] = length
    } else {
      if (!offloaded) this.#writeEmptyHeader(offset - VNET_HEADER_LEN)
      port.txOffsets[at] = offset - VNET_HEADER_LEN
      port.txLengths[at] = length + VNET_HEADER_LEN
    }
    port.txSlots[at] = slot
    port.txParts[at] = 0
    port.txTails[at] = at
  }

  next(device: number): number {
    const port = this.#byDevice[device]
    return port === undefined ? 0 : port.written + port.txCount
  }

  join(device: number, frame: number, offset: number, length: number, slot: number): boolean {
    const port = this.#byDevice[device]
    if (port === undefined) return false
    if (port.txCount === BATCH) this.#flushPort(port)
    if (frame < port.written) return false
    const head = frame - port.written
    const at = port.txCount++
    port.txOffsets[at] = offset
    port.txLengths[at] = length
    port.txSlots[at] = slot
    port.txParts[at] = IS_PART
    const tail = port.txTails[head]!
    port.txParts[tail] = port.txParts[tail]! + at
    port.txTails[head] = at
    return true
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
    port.txRefused += count - this.#io.writeBatch(port.tx, port.fd, 0, count)
    for (let i = 0; i < count; i++) {
      const slot = port.txSlots[i]!
      if (slot >= 0) this.#memory.give(slot)
    }
    port.written += count
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
