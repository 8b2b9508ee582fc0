// Frame memory: fixed slots in one SharedArrayBuffer.
//
//     | slot 0: headroom | frame ... tail room | slot 1: ... |          one size of slot
//
// Received frames are read straight into slots and written from the same slots; packets made here take slots
// from the same free list. Whoever takes a slot gives it back, or hands it to the egress, which gives it back
// once the bytes are out.

/** Bytes kept free in front of a frame. */
export const HEADROOM = 128
/** Bytes kept free behind a frame of full size (TCPMSS may add an option). */
export const TAILROOM = 64

export class FrameMemory {
  readonly buffer: SharedArrayBuffer
  readonly bytes: Uint8Array
  /** Big-endian by default, as the wire. */
  readonly view: DataView
  readonly stride: number
  readonly slots: number
  readonly #free: Int32Array
  #count: number
  /** Called when the free list is empty; must give slots back (flush the egress). */
  onEmpty: () => void = () => {}

  /** `maxFrame`: largest frame that fits a slot, bytes. */
  constructor(slots: number, maxFrame: number) {
    this.slots = slots
    this.stride = (HEADROOM + maxFrame + TAILROOM + 63) & ~63
    this.buffer = new SharedArrayBuffer(this.stride * slots)
    this.bytes = new Uint8Array(this.buffer)
    this.view = new DataView(this.buffer)
    this.#free = new Int32Array(slots)
    for (let i = 0; i < slots; i++) this.#free[i] = (slots - 1 - i) * this.stride
    this.#count = slots
  }

  get free(): number {
    return this.#count
  }

  /** Offset of a free slot; the frame goes to offset + HEADROOM. -1 if none can be had. Does not allocate. */
  take(): number {
    if (this.#count === 0) this.onEmpty()
    if (this.#count === 0) return -1
    return this.#free[--this.#count]!
  }

  give(slot: number): void {
    this.#free[this.#count++] = slot
  }
}

/** Frames that a device gave at once, each in a slot of its own. The first `count` of each array. */
export interface Frames {
  /** First bytes in frame memory, HEADROOM behind the slot's. */
  readonly offsets: Int32Array
  /** Bytes. */
  readonly lengths: Int32Array
  /** Folded ones-complement sums over all bytes, as for checksum.ts; of frames whose header is empty. */
  readonly sums: Uint32Array
  /** VNET_HEADER_WORDS each, what the device left to do (takeOffload); null: nothing. */
  readonly headers: Uint16Array | null
  /** For Packet.hint; good until the next batch. */
  hints: Int32Array
  count: number
}

/** Room for so many. `headers`: VNET_HEADER_WORDS each. */
export const createFrames = (capacity: number, headers: Uint16Array | null = null): Frames => ({
  offsets: new Int32Array(capacity),
  lengths: new Int32Array(capacity),
  sums: new Uint32Array(capacity),
  headers,
  hints: new Int32Array(capacity),
  count: 0,
})

/**
 * Where frames leave. `send` takes ownership of `slot` (-1: the bytes stay the caller's and must be used before
 * send returns, or before flush for frames of the current receive batch).
 */
export interface Egress {
  /**
   * `dev` ifindex; `off`, `len` bytes in frame memory. `offloaded`: the VNET_HEADER_LEN bytes before `off` say what the
   * device has still to do; only for devices that take offloads. Does not allocate.
   */
  send(dev: number, off: number, len: number, slot: number, offloaded?: boolean): void
  flush(): void
}

/** A way out that puts frames together from parts: a device that takes superframes. */
export interface PartsEgress extends Egress {
  /** Parts that a frame may have, the first one too. */
  readonly maxParts: number
  /** Number that the next frame gets that is sent to `dev`. */
  next(dev: number): number
  /**
   * The bytes go behind those of `frame`, a number of next(). False: it is on its way already. `slot` as in send; only
   * bytes in a slot. Does not allocate.
   */
  join(dev: number, frame: number, off: number, len: number, slot: number): boolean
}
