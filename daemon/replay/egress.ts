// Where frames of a replay go: into the capture, with the time of the packet that caused them.

import type { CaptureWriter } from '../../datapath/ports/capture-writer.ts'
import type { Egress, FrameMemory } from '../../datapath/ring.ts'
import type { Stamped } from './player.ts'

export class ReplayEgress implements Egress, Stamped {
  writer: CaptureWriter | null = null
  seconds = 0
  nanos = 0
  /** Names by ifindex. */
  names: (string | undefined)[] = []
  /** [ifindex, length] pairs of the current packet; null: nobody asks. */
  sent: number[] | null = null
  readonly #memory: FrameMemory
  /** Numbers of the writer's interfaces by ifindex; -1 not described yet. */
  readonly #numbers: number[] = []

  constructor(memory: FrameMemory) {
    this.#memory = memory
  }

  send(dev: number, off: number, len: number, slot: number): void {
    let number = this.#numbers[dev] ?? -1
    if (number < 0) {
      number = this.writer!.interface(this.names[dev] ?? `if${dev}`)
      this.#numbers[dev] = number
    }
    this.writer!.packet(number, this.seconds, this.nanos, this.#memory.bytes, off, len)
    this.sent?.push(dev, len)
    if (slot >= 0) this.#memory.give(slot)
  }

  flush(): void {}
}
