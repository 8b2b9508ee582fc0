// Frames into an engine as a reader of devices hands them over: many at once, with their sums, looked up ahead or not.

import { HINT_NONE } from '../../conntrack/look-ahead.ts'
import type { Engine } from '../../daemon/engine.ts'
import { VNET_HEADER_WORDS } from '../../datapath/offload.ts'
import { createFrames, type FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { fold, sum } from '../../datapath/wire/checksum.ts'

export class Batcher {
  readonly #engine: Engine
  readonly #memory: FrameMemory
  readonly #frames: ReturnType<typeof createFrames>

  /** `most`: frames in a batch. `offload`: of a device that puts a header in front of each. */
  constructor(engine: Engine, memory: FrameMemory, most: number, offload = false) {
    this.#engine = engine
    this.#memory = memory
    this.#frames = createFrames(most, offload ? new Uint16Array(most * VNET_HEADER_WORDS) : null)
  }

  /**
   * `ahead`: their connections are looked up first. `headers`: words of each in front of it, where there are such. Throws Error
   * where frames find no slot.
   */
  receive(
    device: string,
    batch: readonly Uint8Array[],
    ahead: boolean,
    headers: readonly (readonly number[])[] = [],
  ): void {
    const { host, lookAhead } = this.#engine
    const frames = this.#frames
    for (const [i, frame] of batch.entries()) {
      const slot = this.#memory.take()
      if (slot < 0) throw new Error(`all ${this.#memory.slots} slots of the frame memory are held`)
      this.#memory.bytes.set(frame, slot + HEADROOM)
      frames.offsets[i] = slot + HEADROOM
      frames.lengths[i] = frame.length
      frames.sums[i] = fold(sum(frame, 0, frame.length))
    }
    frames.headers?.fill(0)
    for (const [i, words] of headers.entries()) frames.headers!.set(words, i * VNET_HEADER_WORDS)
    frames.count = batch.length
    if (ahead) frames.hints = lookAhead(frames.offsets, frames.count)
    else frames.hints = new Int32Array(batch.length).fill(HINT_NONE)
    host.path.receiveBatch(frames, host.devices.byName(device)!)
  }
}
