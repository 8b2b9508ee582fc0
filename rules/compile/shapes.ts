// Functions of generated code. Rules that differ in their numbers and names alone have one shape: from the second time on
// they share a function, which is written, compiled and optimised once. What they differ in stands in their values.

import type { Records } from '../slots.ts'
import type { ChainFn, Foresee } from './rule.ts'
import {
  type Code,
  commonPrologue,
  fieldsOf,
  type JsOf,
  prologue,
  type Trail,
  type Values,
} from './template.ts'

/** A function, and what it is called with. */
export interface Made {
  readonly run: ChainFn
  readonly k: Fields
  /** Null: nothing is known ahead. */
  readonly foresee: Foresee | null
}

/**
 * Values as the fields of one object: in an array they would be two objects, and a packet that is the first for long
 * waits for each.
 */
export interface Fields {
  /** The records of its rules' counters, and where its first ones begin in them; absent where they stand in the text. */
  readonly n0?: Records
  readonly n1?: number
  /** Reads all of it, so that the processor has it near. False. */
  near(): boolean
}

/** Words of a trail; longer ones are seldom alike. */
const LONGEST_TRAIL = 4096
const MOST_SHAPES = 1024

/** V8 keeps some 250 fields in an object itself. */
const MOST_VALUES = 250

interface Shape {
  readonly trail: Int32Array
  /** Null after the first time. */
  shared: Shared | null
}

interface Shared {
  readonly run: ChainFn
  readonly Fields: new (values: Values) => Fields
  readonly foresee: Foresee | null
}

export const NO_FIELDS: Fields = { near: () => false }

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

/** Code whose numbers stand in its text. */
export function makeAlone(js: JsOf, body: Code): Made {
  const values = js.values()
  const common = js.common()
  const text = `${prologue(values, common)} return ((pkt, hook) => ${js.text(body, true)})`
  return { run: new Function('k', 'g', text)(values, common) as ChainFn, k: NO_FIELDS, foresee: null }
}

function share(js: JsOf, body: Code, foresight: Code | null, values: Values): Shared {
  const common = js.common()
  const head = commonPrologue(common)
  // In parentheses V8 compiles the inner function at once, instead of reading it twice.
  const text = `${head} return { Fields: ${fieldsOf(values)}, run: ((pkt, hook, k) => ${js.text(body, false)}) }`
  const made = new Function('g', text)(common) as Omit<Shared, 'foresee'>
  if (foresight === null) return { ...made, foresee: null }
  const { dice } = js.env.host
  const others = common.map((object) => (object === dice ? dice.ahead : object))
  return {
    ...made,
    foresee: new Function('g', `${head} return ((k, to) => ${js.text(foresight, false)})`)(others) as Foresee,
  }
}

/** The functions of one table. */
export class Shapes {
  /** By a hash of the trail. */
  readonly #shapes = new Map<number, Shape>()

  /** Code for all that emit the same, from the second of them on. `foresight`: the body of its `foresee`. */
  make(js: JsOf, body: Code, foresight: Code | null): Made {
    const { trail } = js
    const values = js.values()
    if (trail.length > LONGEST_TRAIL || values.length > MOST_VALUES) return makeAlone(js, body)
    const hash = hashOf(trail)
    const shape = this.#shapes.get(hash)
    if (shape === undefined || !isTrail(shape.trail, trail)) {
      if (this.#shapes.size >= MOST_SHAPES) this.#shapes.delete(this.#shapes.keys().next().value!)
      this.#shapes.set(hash, { trail: trail.words.slice(0, trail.length), shared: null })
      return makeAlone(js, body)
    }
    shape.shared ??= share(js, body, foresight, values)
    const { run, Fields, foresee } = shape.shared
    return { run, k: new Fields(values), foresee }
  }
}
