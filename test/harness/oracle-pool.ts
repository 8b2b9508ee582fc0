// A few oracle processes for many scenarios.

import { Oracle, OracleGone } from './kernel.ts'

/** What a pool needs of an oracle. */
export interface Closable {
  close(): void
}

interface Waiting<O> {
  resolve(oracle: O): void
  reject(reason: Error): void
}

/** Most of a scenario's time is spent in pauses, so many oracles can wait at once; `size` of them at most. */
export class OraclePool<O extends Closable = Oracle> {
  readonly #make: () => O
  readonly #free: O[] = []
  readonly #all = new Set<O>()
  readonly #waiting: Waiting<O>[] = []
  readonly #size: number
  #closed = false

  constructor(size: number, make: () => O = () => new Oracle() as Closable as O) {
    this.#size = size
    this.#make = make
  }

  /** Gives `work` an oracle of its own. One whose work failed is not used again. */
  async use<T>(work: (oracle: O) => Promise<T>): Promise<T> {
    const oracle = await this.#take()
    let sound = false
    try {
      const result = await work(oracle)
      sound = true
      return result
    } finally {
      if (!sound) {
        this.#all.delete(oracle)
        oracle.close()
      }
      this.#next(sound ? oracle : null)
    }
  }

  /** `back`: is free now; null: there is room for a new one. */
  #next(back: O | null): void {
    if (this.#closed) return
    const next = this.#waiting.shift()
    if (next === undefined) {
      if (back !== null) this.#free.push(back)
    } else
      try {
        next.resolve(back ?? this.#started())
      } catch (e) {
        next.reject(e as Error)
      }
  }

  #started(): O {
    const made = this.#make()
    this.#all.add(made)
    return made
  }

  async #take(): Promise<O> {
    if (this.#closed) throw new OracleGone('the oracles were closed')
    const free = this.#free.pop()
    if (free !== undefined) return free
    if (this.#all.size < this.#size) return this.#started()
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  /** Nobody gets an oracle any more, and who waits for one hears of it. */
  close(): void {
    this.#closed = true
    for (const { reject } of this.#waiting.splice(0)) reject(new OracleGone('the oracles were closed'))
    for (const oracle of this.#all) oracle.close()
    this.#all.clear()
    this.#free.length = 0
  }
}
