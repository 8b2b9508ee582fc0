// Which prefix lengths the networks of a set have: a packet is looked up once for each.

export class PrefixLengths {
  /** Elements by prefix length, for each network part. */
  readonly #counts: readonly Int32Array[]
  /** The lengths there are, longest first, for each network part. */
  readonly present: number[][]

  /** `nets`: parts that are networks; `most`: bits of an address. */
  constructor(nets: number, most: number) {
    this.#counts = Array.from({ length: nets }, () => new Int32Array(most + 1))
    this.present = Array.from({ length: nets }, () => [])
  }

  /** An element with that word of lengths has come (1) or gone (-1): mtype_add_cidr(), mtype_del_cidr(). */
  count(word: number, by: number): void {
    for (let which = 0; which < this.#counts.length; which++) {
      const counts = this.#counts[which]!
      const length = (word >>> (which * 8)) & 0xff
      const was = counts[length]!
      counts[length] = was + by
      if (was === 0 || was + by === 0) {
        const lengths: number[] = []
        for (let i = counts.length - 1; i >= 0; i--) if (counts[i]! > 0) lengths.push(i)
        this.present[which] = lengths
      }
    }
  }

  clear(): void {
    for (const counts of this.#counts) counts.fill(0)
    for (const lengths of this.present) lengths.length = 0
  }
}
