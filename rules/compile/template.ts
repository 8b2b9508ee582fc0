// Safe templates for generated code. A template's holes take numbers, booleans, strings (all quoted), other Code,
// or objects, which are bound by reference as k[n]: no text of a rule ever becomes code.

import type { CompileEnv } from '../extension.ts'

/** A piece of JavaScript made by a template; nothing else can make one. */
export class Code {
  readonly #text: string
  private constructor(text: string) {
    this.#text = text
  }
  static unsafe(text: string): Code {
    return new Code(text)
  }
  toString(): string {
    return this.#text
  }
}

export type Hole = number | boolean | string | Code | object | null

/**
 * The tag: js`(${a} & pkt.mark) === ${b}`. Inside: `pkt` is the Packet, `hook` the Hook number.
 * `bind` names an object or function of the closure; `state` is the rule's own state object.
 */
export interface Js {
  (strings: TemplateStringsArray, ...holes: Hole[]): Code
  bind(value: object): Code
  /** Joins with an operator: all([]) is true, any([]) is false. */
  all(parts: readonly Code[]): Code
  any(parts: readonly Code[]): Code
  /** The rule's state holder's current object. */
  readonly state: Code
  /** Index into a per-device table of names: an expression, true if the device `of` fits the pattern. */
  device(of: 'in' | 'out', pattern: string): Code
  readonly env: CompileEnv
  readonly family: 4 | 6
}
