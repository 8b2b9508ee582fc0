// Frames in memory: the way out for tests and measurements, where no device stands behind an interface.

import type { Egress, FrameMemory } from '../ring.ts'

export interface SentFrame {
  /** ifindex. */
  readonly device: number
  readonly bytes: Uint8Array
}

/** Counts what leaves and gives the slots back. Does not allocate. */
export class CountingEgress implements Egress {
  packets = 0
  bytes = 0
  readonly #memory: FrameMemory

  constructor(memory: FrameMemory) {
    this.#memory = memory
  }

  send(_dev: number, _off: number, len: number, slot: number): void {
    this.packets++
    this.bytes += len
    if (slot >= 0) this.#memory.give(slot)
  }

  flush(): void {}
}

/** Keeps a copy of every frame that leaves, in order. */
export class MemoryEgress implements Egress {
  readonly #memory: FrameMemory
  #sent: SentFrame[] = []

  constructor(memory: FrameMemory) {
    this.#memory = memory
  }

  send(dev: number, off: number, len: number, slot: number): void {
    this.#sent.push({ device: dev, bytes: Uint8Array.from(this.#memory.bytes.subarray(off, off + len)) })
    if (slot >= 0) this.#memory.give(slot)
  }

  flush(): void {}

  /** The frames since the last call. */
  take(): SentFrame[] {
    const sent = this.#sent
    this.#sent = []
    return sent
  }
}
