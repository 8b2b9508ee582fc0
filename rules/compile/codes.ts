// The code of one table's chains, by numbers. What code of one shape differs in (addresses, marks, shares, the chains that
// it jumps to) stands as words next to each other, and so do the chains: a packet that is the first for long waits for cache
// lines, and objects of V8's would be three times as many.
//
//     heads[chain * 2 + ...]   0  number of its function      words[k + ...]   0  where the records of its rules begin
//                              1  k: where its words begin                     1… numbers; chains; places in `objects`
//
// A function has a number, by which its caller finds what else is known of it. What is made is released by who made it: words
// that others jump by are good until then.

import { alignedWords, LINE_WORDS } from '../../conntrack/cache-lines.ts'
import type { Packet } from '../../datapath/packet.ts'
import { Rooms } from '../rooms.ts'
import type { Records } from '../slots.ts'

/**
 * chain(pkt, hook, k): CONTINUE when the end was reached, or RETURN; a Verdict when the walk is over. Of a part of a chain:
 * NEXT when the packet goes on behind it. Chains of one shape share a function; `k`: where the words are that they differ in.
 */
export type ChainFn = (pkt: Packet, hook: number, k: number) => number

/** Where the next packet that walks a chain by chance will go to. */
export interface Foreseen {
  /** A chain, NO_CHAIN none. */
  callee: number
  /** Where the counters of the rule are that sends it there. */
  counters: number
  /** DNAT seems to give it the destination below. */
  bound: boolean
  address: number
  port: number
}

/** Fills in `to` if it knows. Draws ahead (host.dice). */
export type Foresee = (k: number, to: Foreseen) => void

export const NO_CHAIN = -1

/** What is known of a function. */
export interface Routine {
  readonly run: ChainFn
  /** Where a packet will most likely go on from there; null: nothing is known ahead. */
  readonly foresee: Foresee | null
  /** Where its rules count; null: it has no words. */
  readonly counts: Records | null
  /** Words that it is called with. */
  readonly size: number
  /** Which of them are places in `objects`. */
  readonly objects: readonly number[]
}

/** A function by its number, and what it is called with. */
export interface Made {
  readonly fn: number
  readonly k: number
}

/** Who makes a chain's code when the first packet comes: puts it into the chain's head. */
export interface Owner {
  compile(): void
}

/** Of chains that have no code yet. */
export const LATER = 0

const FEWEST = 4
const FEWEST_HEADS = 512

const NO_OBJECTS: readonly number[] = []

export class Codes {
  words = alignedWords(4096)
  heads = alignedWords(FEWEST_HEADS)
  /** By function: Routine's. */
  readonly runs: ChainFn[] = []
  readonly foresees: (Foresee | null)[] = []
  readonly counts: (Records | null)[] = []
  readonly sizes: number[] = []
  /** What is no number of 32 bits. */
  readonly objects: unknown[] = []
  readonly #objectsOf: (readonly number[])[] = []
  /** By chain. */
  readonly #owners: (Owner | null)[] = []
  readonly #rooms = new Rooms(LINE_WORDS, FEWEST)
  readonly #freeFunctions: number[] = []
  readonly #freeObjects: number[] = []
  readonly #freeHeads: number[] = []

  constructor() {
    this.add((pkt, hook, chain) => {
      this.#owners[chain]!.compile()
      return this.call(chain, pkt, hook)
    })
  }

  /** Hot. */
  call(chain: number, pkt: Packet, hook: number): number {
    return this.runs[this.heads[chain * 2]!]!(pkt, hook, this.heads[chain * 2 + 1]!)
  }

  // -- chains

  /** A number for a chain, which has no code yet. */
  open(owner: Owner): number {
    const chain = this.#freeHeads.pop() ?? this.#owners.length
    this.#owners[chain] = owner
    if (chain * 2 >= this.heads.length) {
      const heads = alignedWords(this.heads.length * 2)
      heads.set(this.heads)
      this.heads = heads
    }
    this.forget(chain)
    return chain
  }

  /** Nobody jumps there any more. */
  close(chain: number): void {
    this.forget(chain)
    this.#owners[chain] = null
    this.#freeHeads.push(chain)
  }

  /** The chain has this code from now on. */
  set(chain: number, { fn, k }: Made): void {
    this.heads[chain * 2] = fn
    this.heads[chain * 2 + 1] = k
  }

  /** Its code is made anew when the next packet comes. */
  forget(chain: number): void {
    this.heads[chain * 2] = LATER
    this.heads[chain * 2 + 1] = chain
  }

  has(chain: number): boolean {
    return this.heads[chain * 2] !== LATER
  }

  // -- functions

  /** The number of a function that asks for no words. */
  add(run: ChainFn): number {
    return this.addRoutine({ run, foresee: null, counts: null, size: 0, objects: NO_OBJECTS })
  }

  addRoutine({ run, foresee, counts, size, objects }: Routine): number {
    const fn = this.#freeFunctions.pop() ?? this.runs.length
    this.runs[fn] = run
    this.foresees[fn] = foresee
    this.counts[fn] = counts
    this.sizes[fn] = size
    this.#objectsOf[fn] = objects
    return fn
  }

  drop(fn: number): void {
    this.runs[fn] = gone
    this.foresees[fn] = this.counts[fn] = null
    this.#freeFunctions.push(fn)
  }

  // -- words

  /** Words for a function of `addRoutine`, out of its values: numbers of 32 bits, and objects where it has them. */
  lay(fn: number, values: readonly unknown[]): number {
    const k = this.#take(this.sizes[fn]!)
    const { words } = this
    for (let i = 0; i < values.length; i++)
      if (typeof values[i] === 'number') words[k + i] = values[i] as number
    for (const i of this.#objectsOf[fn]!) words[k + i] = this.#keep(values[i])
    return k
  }

  /** Gives the words of a function back. */
  clear({ fn, k }: Made): void {
    const size = this.sizes[fn]!
    if (size === 0) return
    for (const i of this.#objectsOf[fn]!) {
      const at = this.words[k + i]!
      this.objects[at] = null
      this.#freeObjects.push(at)
    }
    this.#rooms.give(k, size)
  }

  #keep(value: unknown): number {
    const at = this.#freeObjects.pop() ?? this.objects.length
    this.objects[at] = value
    return at
  }

  #take(size: number): number {
    const k = this.#rooms.take(size)
    const { end } = this.#rooms
    if (end > this.words.length) {
      const words = alignedWords(end * 2)
      words.set(this.words)
      this.words = words
    }
    return k
  }
}

const gone: ChainFn = () => {
  throw new Error('the code of this chain was released')
}
