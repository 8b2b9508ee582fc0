// Numbers by chance that may be looked at before they are drawn.
//
//     source ─▶ held: looked at, not yet drawn ─▶ i32()
//
// Where nobody looks ahead, nothing is held: what is drawn is what the source gives now.

import type { Random } from './host.ts'

/** Numbers that may be held; a power of two. */
const MOST = 4096

export class Dice implements Random {
  /** The numbers to come; look() says from which on. */
  readonly ahead: Ahead
  readonly #source: Random
  readonly #held = new Int32Array(MOST)
  /** Where the next one is. */
  #first = 0
  #count = 0

  constructor(source: Random) {
    this.#source = source
    this.ahead = new Ahead(this)
  }

  /** Hot. */
  i32(): number {
    if (this.#count === 0) return this.#source.i32()
    const drawn = this.#held[this.#first]!
    this.#first = (this.#first + 1) & (MOST - 1)
    this.#count--
    return drawn
  }

  /** What the draw behind `others` draws from now will give; 0 beyond what may be held. Hot. */
  peek(others: number): number {
    if (others >= MOST) return 0
    while (this.#count <= others) this.#held[(this.#first + this.#count++) & (MOST - 1)] = this.#source.i32()
    return this.#held[(this.#first + others) & (MOST - 1)]!
  }

  /** `ahead` begins with the number that is drawn next. */
  look(): Ahead {
    this.ahead.others = 0
    return this.ahead
  }
}

class Ahead implements Random {
  others = 0
  readonly #dice: Dice

  constructor(dice: Dice) {
    this.#dice = dice
  }

  i32(): number {
    return this.#dice.peek(this.others++)
  }
}
