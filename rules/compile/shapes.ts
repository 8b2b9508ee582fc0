// Functions of generated code. Rules that differ in their numbers and names alone have one shape: from the second time on
// they share a function, which is written, compiled and optimised once. What they differ in stands in their words (codes.ts).

import type { Records } from '../slots.ts'
import type { ChainFn, Codes, Foresee, Made } from './codes.ts'
import { type Code, commonPrologue, type JsOf, prologue, type Trail } from './template.ts'

/** Words of a trail; longer ones are seldom alike. */
const LONGEST_TRAIL = 4096
const MOST_SHAPES = 1024

interface Shape {
  readonly trail: Int32Array
  /** The function's number; -1 until there is code for the second time. */
  fn: number
  /** Code that is called with words for it. */
  uses: number
  /** Nothing finds it any more: it ends with its last use. */
  forgotten: boolean
}

function hashOf({ words, length }: Trail): number {
  let hash = length
  for (let i = 0; i < length; i++) hash = (Math.imul(hash, 31) + words[i]!) | 0
  return hash
}

function isTrail(of: Int32Array, { words, length }: Trail): boolean {
  if (of.length !== length) return false
  for (let i = 0; i < length; i++) if (of[i] !== words[i]) return false
  return true
}

/** The functions of one table. */
export class Shapes {
  readonly codes: Codes
  /** By a hash of the trail. */
  readonly #shapes = new Map<number, Shape>()
  /** By function. */
  readonly #byFunction: (Shape | undefined)[] = []

  constructor(codes: Codes) {
    this.codes = codes
  }

  /**
   * Code for all that emit the same, from the second of them on. `foresight`: the body of its `foresee`. `counts`: where its
   * rules do.
   */
  make(js: JsOf, body: Code, foresight: Code | null, counts: Records): Made {
    const { trail } = js
    if (trail.length > LONGEST_TRAIL) return this.makeAlone(js, body)
    const hash = hashOf(trail)
    let shape = this.#shapes.get(hash)
    if (shape === undefined || !isTrail(shape.trail, trail)) {
      if (shape !== undefined) this.#forget(shape)
      else if (this.#shapes.size >= MOST_SHAPES) {
        const [oldest, first] = this.#shapes.entries().next().value!
        this.#shapes.delete(oldest)
        this.#forget(first)
      }
      shape = { trail: trail.words.slice(0, trail.length), fn: -1, uses: 0, forgotten: false }
      this.#shapes.set(hash, shape)
      return this.makeAlone(js, body)
    }
    const values = js.values()
    if (shape.fn < 0) {
      shape.fn = this.#share(js, body, foresight, counts, values.length)
      this.#byFunction[shape.fn] = shape
    }
    shape.uses++
    return { fn: shape.fn, k: this.codes.lay(shape.fn, values) }
  }

  /** Code whose numbers stand in its text. */
  makeAlone(js: JsOf, body: Code): Made {
    const values = js.values()
    const common = js.common()
    const text = `${prologue(values, common)} return ((pkt, hook) => ${js.text(body, true)})`
    return { fn: this.codes.add(new Function('k', 'g', text)(values, common) as ChainFn), k: 0 }
  }

  /** Nobody will call it. */
  release(made: Made): void {
    const { fn } = made
    const shape = this.#byFunction[fn]
    if (shape === undefined) {
      this.codes.drop(fn)
      return
    }
    this.codes.clear(made)
    if (--shape.uses === 0 && shape.forgotten) this.#end(shape)
  }

  #forget(shape: Shape): void {
    shape.forgotten = true
    if (shape.uses === 0 && shape.fn >= 0) this.#end(shape)
  }

  #end({ fn }: Shape): void {
    this.#byFunction[fn] = undefined
    this.codes.drop(fn)
  }

  #share(js: JsOf, body: Code, foresight: Code | null, counts: Records, size: number): number {
    const common = js.common()
    const head = commonPrologue(common)
    // In parentheses V8 compiles the inner function at once, instead of reading it twice.
    const text = `${head} return ((pkt, hook, k) => { const w = g0.words; ${js.text(body, false)} })`
    const run = new Function('g', text)(common) as ChainFn
    let foresee: Foresee | null = null
    if (foresight !== null) {
      const { dice } = js.env.host
      const others = common.map((object) => (object === dice ? dice.ahead : object))
      const ahead = `${head} return ((k, to) => { const w = g0.words; ${js.text(foresight, false)} })`
      foresee = new Function('g', ahead)(others) as Foresee
    }
    return this.codes.addRoutine({ run, foresee, counts, size, objects: js.objects() })
  }
}
