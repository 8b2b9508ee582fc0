// Where frames of a replay go: into the capture, with the time of the packet that caused them; or into a buffer, until
// somebody knows what to say of them.

import type { CaptureWriter, Note } from '../../datapath/ports/capture-writer.ts'
import type { Egress, FrameMemory } from '../../datapath/ring.ts'
import type { Stamped } from './player.ts'

/** Frames that left because of one packet, kept by copy. */
export class HeldFrames {
  bytes = new Uint8Array(64 * 1024)
  count = 0
  /** ifindex, first byte in `bytes`, length, seconds, nanos of each. */
  readonly #facts: number[] = []
  #end = 0

  clear(): void {
    this.count = this.#end = 0
  }

  add(dev: number, from: Uint8Array, off: number, len: number, seconds: number, nanos: number): void {
    if (this.#end + len > this.bytes.length) {
      const bytes = new Uint8Array(Math.max(this.bytes.length * 2, this.#end + len))
      bytes.set(this.bytes)
      this.bytes = bytes
    }
    const to = this.#end
    if (len > 256) this.bytes.set(from.subarray(off, off + len), to)
    else for (let i = 0; i < len; i++) this.bytes[to + i] = from[off + i]!
    const at = this.count++ * 5
    this.#facts[at] = dev
    this.#facts[at + 1] = to
    this.#facts[at + 2] = len
    this.#facts[at + 3] = seconds
    this.#facts[at + 4] = nanos
    this.#end += len
  }

  dev(i: number): number {
    return this.#facts[i * 5]!
  }

  at(i: number): number {
    return this.#facts[i * 5 + 1]!
  }

  length(i: number): number {
    return this.#facts[i * 5 + 2]!
  }

  seconds(i: number): number {
    return this.#facts[i * 5 + 3]!
  }

  nanos(i: number): number {
    return this.#facts[i * 5 + 4]!
  }

  /** A view, good until the next packet. */
  frame(i: number): Uint8Array {
    return this.bytes.subarray(this.at(i), this.at(i) + this.length(i))
  }
}

/** A capture of what leaves: interfaces are described as they come. */
export class Leaving {
  readonly writer: CaptureWriter
  readonly #names: readonly (string | undefined)[]
  /** Numbers of the writer's interfaces by ifindex. */
  readonly #numbers: number[] = []

  /** `names`: by ifindex. */
  constructor(writer: CaptureWriter, names: readonly (string | undefined)[]) {
    this.writer = writer
    this.#names = names
  }

  number(dev: number): number {
    return (this.#numbers[dev] ??= this.writer.interface(this.#names[dev] ?? `if${dev}`))
  }

  /** All held frames, with what is to be said of them. */
  noted(held: HeldFrames, note: Note): void {
    for (let i = 0; i < held.count; i++) {
      const length = held.length(i)
      this.writer.noted(
        this.number(held.dev(i)),
        held.seconds(i),
        held.nanos(i),
        held.bytes,
        held.at(i),
        length,
        length,
        note,
      )
    }
  }

  /** The same without. */
  plain(held: HeldFrames): void {
    for (let i = 0; i < held.count; i++)
      this.writer.packet(
        this.number(held.dev(i)),
        held.seconds(i),
        held.nanos(i),
        held.bytes,
        held.at(i),
        held.length(i),
      )
  }
}

export class ReplayEgress implements Egress, Stamped {
  /** Frames go here at once, unless they are held. */
  leaving: Leaving | null = null
  held: HeldFrames | null = null
  seconds = 0
  nanos = 0
  /** [ifindex, length] pairs of the current packet; null: nobody asks. */
  sent: number[] | null = null
  readonly #memory: FrameMemory

  constructor(memory: FrameMemory) {
    this.#memory = memory
  }

  send(dev: number, off: number, len: number, slot: number): void {
    const { bytes } = this.#memory
    if (this.held !== null) this.held.add(dev, bytes, off, len, this.seconds, this.nanos)
    else {
      const { writer } = this.leaving!
      writer.packet(this.leaving!.number(dev), this.seconds, this.nanos, bytes, off, len)
    }
    this.sent?.push(dev, len)
    if (slot >= 0) this.#memory.give(slot)
  }

  flush(): void {}
}
