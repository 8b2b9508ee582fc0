// Frames by name for tests: the product's builders, seeded randomness, and damage.

export * from '../../daemon/frames/build.ts'
export { decode } from '../../daemon/frames/decode.ts'
export { fragment } from '../../daemon/frames/fragment.ts'

/** xorshift32: the seeded randomness of tests. */
export class SeededRandom {
  #state: number
  constructor(seed: number) {
    this.#state = seed | 0 || 0x9e3779b9
  }
  u32(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    return Math.imul(x, 0x9e3779b1) >>> 0
  }
  /** As Host wants it. */
  i32(): number {
    return this.u32() | 0
  }
  /** 0 to n - 1. */
  below(n: number): number {
    return Math.floor((this.u32() / 0x100000000) * n)
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
  /** True once in `n`. */
  once(n: number): boolean {
    return this.below(n) === 0
  }
  bytes(n: number): Uint8Array {
    return Uint8Array.from({ length: n }, () => this.below(256))
  }
}

/** Damages a frame: flips bits, cuts it or replaces bytes. */
export function damage(frame: Uint8Array, random: SeededRandom): Uint8Array {
  const out = frame.slice(0, random.once(4) ? random.below(frame.length + 1) : frame.length)
  for (let n = random.below(4); n >= 0 && out.length > 0; n--) {
    const at = random.below(Math.min(out.length, random.once(2) ? 64 : out.length))
    out[at] = random.once(3) ? random.below(256) : out[at]! ^ (1 << random.below(8))
  }
  return out
}
