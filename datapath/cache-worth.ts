// Whether a cache is worth asking: where no two questions are alike (a host of many destinations), each costs a read that
// waits for memory, and a write that takes what is worth more from the processor's caches. One place of SAMPLE is asked
// always; how it goes where the cache is asked decides about the others.

const SAMPLE = 16
/** Questions from one decision to the next. */
const WINDOW = 256
/** Hits of them from which on it is worth it. */
const ENOUGH = WINDOW / 8

export class CacheWorth {
  #worth = true
  #asked = 0
  #hits = 0

  /** The place is to be asked. Hot. */
  asks(place: number): boolean {
    return this.#worth || place % SAMPLE === 0
  }

  /** How it went. Hot. */
  tell(hit: boolean): void {
    if (hit) this.#hits++
    if (++this.#asked < WINDOW) return
    this.#worth = this.#hits >= ENOUGH
    this.#asked = this.#hits = 0
  }
}
