// Seeded randomness for replay: the same seed gives the same numbers on every machine.

import type { Random } from '../datapath/host.ts'

/** sfc32 (Chris Doty-Humphrey's small fast counting generator, PractRand): 128 bits of state, period at least 2^32. */
export class SeededRandom implements Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  /** `seed`: a whole number, up to 53 bits of it count. */
  constructor(seed: number) {
    this.#a = 0
    this.#b = seed | 0
    this.#c = Math.floor(seed / 0x1_0000_0000) | 0
    for (let i = 0; i < 12; i++) this.i32()
  }

  i32(): number {
    const out = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + out) | 0
    return out
  }

  /** The same as an unsigned number. */
  u32(): number {
    return this.i32() >>> 0
  }
}
