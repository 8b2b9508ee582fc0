// Safe templates for generated code. A template's holes take numbers, booleans, strings (all quoted), other Code,
// or objects, which are bound by reference as constants of the closure: no text of a rule ever becomes code.

import type { Family } from '../../datapath/packet.ts'
import type { CompileEnv } from '../extension.ts'

/** A piece of JavaScript made by a template; extensions have no other way to make one. */
export class Code {
  readonly text: string
  /** One name or a member of one: needs no parentheses. */
  readonly isName: boolean
  constructor(text: string, isName = false) {
    this.text = text
    this.isName = isName
  }
  toString(): string {
    return this.text
  }
}

export type Hole = number | boolean | string | Code | object | null

/**
 * The tag: js`(${a} & pkt.mark) === ${b}`. Inside: `pkt` is the Packet, `hook` the Hook number. Code in a hole is
 * put in parentheses.
 */
export interface Js {
  (strings: TemplateStringsArray, ...holes: Hole[]): Code
  /** Names an object or function of the closure. */
  bind(value: object): Code
  /** Joins with an operator: all([]) is true, any([]) is false. */
  all(parts: readonly Code[]): Code
  any(parts: readonly Code[]): Code
  /** The rule's own state object, as made by the extension's `state`. */
  readonly state: Code
  /** True if the name of the hook's `in` or `out` device fits the pattern (`eth0`, `eth+`); no device is ''. */
  device(of: 'in' | 'out', pattern: string): Code
  readonly env: CompileEnv
  readonly family: Family
}

/** The device names of a host, matched against patterns once and not once a packet. */
export interface DeviceNames {
  /** An object whose `t[ifindex]` is 1 where the name fits; kept up to date. */
  pattern(pattern: string): { t: Uint8Array }
  /** An object whose `t[ifindex]` is idOf() the device's name, or 0; kept up to date. */
  readonly exact: { readonly t: Int32Array }
  idOf(name: string): number
}

/** Values that are looked through one by one. */
const MOST_SEARCHED = 48
/** By the number of values: they are the same for all code. */
const prologues = ['']

/** Objects that a piece of generated code refers to. */
export class Bindings {
  readonly values: unknown[] = []
  /** Where the objects are, once there are many values; most code binds few. */
  #index: Map<unknown, number> | null = null

  /** How a number or a string stands in the code. */
  literal(value: number | string): string {
    if (typeof value === 'string') return JSON.stringify(value)
    return value < 0 ? `(${value})` : String(value)
  }

  bind(value: object): Code {
    const { values } = this
    let at = this.#index === null ? values.indexOf(value) : (this.#index.get(value) ?? -1)
    if (at < 0) {
      at = values.push(value) - 1
      if (this.#index !== null) this.#index.set(value, at)
      else if (values.length > MOST_SEARCHED) this.#index = new Map(values.map((bound, i) => [bound, i]))
    }
    return new Code(`k${at}`, true)
  }

  /** `const k0 = k[0], …;` for the head of the closure. */
  prologue(): string {
    const { length } = this.values
    while (prologues.length <= length) {
      const at = prologues.length - 1
      prologues.push(`${prologues[at]}const k${at} = k[${at}]; `)
    }
    return prologues[length]!
  }
}

/** For code that many rules share: their numbers and strings are bound too, so that rules of one shape have one text. */
export class ShapeBindings extends Bindings {
  override literal(value: number | string): string {
    this.values.push(value)
    return `k${this.values.length - 1}`
  }
}

/** Where the state of an extension's use lives. */
export interface Holder {
  s: object | null
}

/** A tag that serves one use of an extension after the other: making one costs more than using it. */
export interface JsOf extends Js {
  /** The use that `state` means from now on. */
  holder: Holder
  /** What the code binds from now on. */
  bindings: Bindings
}

/** A tag for uses of extensions, the first with its state in `holder`. */
export function makeJs(
  env: CompileEnv,
  family: Family,
  bindings: Bindings,
  names: DeviceNames,
  holder: Holder,
): JsOf {
  const hole = (value: Hole): string => {
    const { bindings } = js
    if (typeof value === 'number') {
      if (!Number.isFinite(value)) throw new TypeError(`generated code cannot hold ${value}`)
      return bindings.literal(value)
    }
    if (typeof value === 'boolean') return String(value)
    if (typeof value === 'string') return bindings.literal(value)
    if (value === null) return 'null'
    if (value instanceof Code) return value.isName ? value.text : `(${value.text})`
    return bindings.bind(value).text
  }
  const tag = (strings: TemplateStringsArray, ...holes: Hole[]): Code => {
    let text = strings[0]!
    for (let i = 0; i < holes.length; i++) text += hole(holes[i]!) + strings[i + 1]!
    return new Code(text)
  }
  const join = (parts: readonly Code[], operator: string, empty: string): Code =>
    new Code(parts.length === 0 ? empty : parts.map((p) => `(${p.text})`).join(operator))
  const js: JsOf = Object.assign(tag, {
    holder,
    bindings,
    bind: (value: object) => js.bindings.bind(value),
    all: (parts: readonly Code[]) => join(parts, ' && ', 'true'),
    any: (parts: readonly Code[]) => join(parts, ' || ', 'false'),
    device: (of: 'in' | 'out', pattern: string) =>
      new Code(
        `${js.bindings.bind(names.pattern(pattern)).text}.t[pkt.${of === 'in' ? 'iif' : 'oif'}] === 1`,
      ),
    env,
    family,
    state: new Code(''),
  })
  // Binds only when it is asked for, which Object.assign would do at once.
  Object.defineProperty(js, 'state', { get: () => new Code(`${js.bindings.bind(js.holder).text}.s`, true) })
  return js
}
