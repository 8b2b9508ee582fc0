// Safe templates for generated code. A template's holes take numbers, booleans, strings (all quoted), other Code,
// or objects, which are bound by reference: no text of a rule ever becomes code.
//
//     js`…${hole}…` ─┬─▶ Code: the template and its holes; text only if somebody wants it
//                    ├─▶ values: numbers, strings and objects, in the order of their holes
//                    └─▶ trail: which templates met which kinds of holes
//
// Code with equal trails has equal text, but for its values: who has met a trail before need not write it again.

import type { Family, Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import type { CompileEnv } from '../extension.ts'

/** What a hole has become: a boolean, null, Code, or text that is put in as it is. */
type Part = boolean | null | string | Code

/** A piece of JavaScript made by a template; extensions have no other way to make one. */
export class Code {
  /** By template: strings between the holes. By joining: the operator alone. A name: its text alone. */
  readonly strings: readonly string[]
  readonly holes: readonly Part[]
  /** Its place among what was emitted; of a name below 0, and no other's. */
  readonly id: number
  /** A name, or a member of one: needs no parentheses. */
  readonly isName: boolean
  readonly kind: CodeKind

  constructor(kind: CodeKind, strings: readonly string[], holes: readonly Part[], id: number) {
    this.kind = kind
    this.strings = strings
    this.holes = holes
    this.id = id
    this.isName = kind === 'name' || kind === 'literal' || kind === 'value' || kind === 'member'
  }
}

/**
 * 'expression' and 'member' have their parts in parentheses, 'statement' as they are; 'all' joins in parentheses, 'lines'
 * as they are. A 'literal' is a number of 32 bits, a 'value' an object or whatever else, of those that belong to the code alone.
 */
type CodeKind = 'expression' | 'member' | 'statement' | 'all' | 'lines' | 'name' | 'literal' | 'value'

const NO_HOLES: readonly Part[] = []
let names = 0
const ofNoDraft = (kind: CodeKind, text: string): Code => new Code(kind, [text], NO_HOLES, -++names)

/** A fixed word of generated code, made once for all. */
export const fixed = (text: string): Code => ofNoDraft('name', text)

export const EMPTY = fixed('')

/** By number, made as they are needed: `${name}0`, `${name}1` … */
function numbered(kind: CodeKind, name: string): (at: number) => Code {
  const made: Code[] = []
  return (at) => {
    while (made.length <= at) made.push(ofNoDraft(kind, `${name}${made.length}`))
    return made[at]!
  }
}

const literalAt = numbered('literal', '')
const valueAt = numbered('value', '')
const commonAt = numbered('name', 'g')

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

/** Where the state of an extension's use lives. */
export interface Holder {
  s: object | null
}

export const STATELESS: Holder = { s: null }

/** What is code's own and no other's of its shape: numbers, strings, objects. */
export type Values = readonly unknown[]

/** What begin() was given. */
export const CODES = commonAt(0)
export const RECORDS = commonAt(1)

/** A tag that serves one use of an extension after the other: making one costs more than using it. */
export interface JsOf extends Js {
  /** The use that `state` means from now on. */
  holder: Holder
  /** The code emitted from now on is a piece of its own, which asks for `common`. */
  begin(common: readonly object[]): void
  /** The number of templates that were emitted since begin(), and what they were; good until the next begin(). */
  readonly trail: Trail
  /** What was bound since begin(); a copy. */
  values(): Values
  /** Which of the values are no numbers of 32 bits; a copy. */
  objects(): readonly number[]
  /** Objects that are the host's or the program's, and not one rule's: `g0`, `g1` … */
  common(): readonly object[]
  /**
   * The text. `alone`: with its numbers and strings in it, and objects of its own as k0, k1 …; else all of them stand in the
   * words `w` from `k` on (codes.ts), so that the text serves all code with the same trail.
   */
  text(code: Code, alone: boolean): string
  /** A statement: numbers are written as they are, Code without parentheses. */
  statement(strings: TemplateStringsArray, ...holes: (number | Code)[]): Code
  lines(parts: readonly Code[]): Code
  /** A number or a string of the rule. */
  literal(value: number | string): Code
}

/** Words that tell what was emitted. */
export class Trail {
  words = new Int32Array(1024)
  length = 0

  add(word: number): void {
    if (this.length === this.words.length) {
      const longer = new Int32Array(this.length * 2)
      longer.set(this.words)
      this.words = longer
    }
    this.words[this.length++] = word
  }
}

// First words of what a hole was, of an operator; templates and common objects have numbers behind these.
const LITERAL = 1
const FALSE = 2
const TRUE = 3
const NULL = 4
const CODE = 5
const VALUE = 6
const COMMON = 7
const TEXT = 8
const STATE = 9
const ALL = 10
const ANY = 11
const LINES = 12
const FIRST_ID = 16

/** Numbers for templates and common objects, for as long as they live. */
const ids = new WeakMap<object, number>()
let lastId = FIRST_ID
function idOf(of: object): number {
  let id = ids.get(of)
  if (id === undefined) ids.set(of, (id = ++lastId))
  return id
}

const MEMBER_STATE = ['', '.s']
const OPERATORS = { [ALL]: [' && '], [ANY]: [' || '], [LINES]: ['\n'] } as const
const IS_ON = { in: ['', '.t[pkt.iif] === 1'], out: ['', '.t[pkt.oif] === 1'] } as const
const TRUE_CODE = fixed('true')
const FALSE_CODE = fixed('false')

/** Numbers that are written as they are: protocols, no bits, all bits. They make more shapes, but not many more. */
const SMALL: ReadonlySet<number> = new Set([-1, 0, 1, 2, IPPROTO_TCP, IPPROTO_UDP])

/** Objects that code of many rules asks for: what they are called does not tell one rule from the other. */
const commonOf = ({ host, conntrack, nat, sets }: CompileEnv): ReadonlySet<object> =>
  new Set<object>([
    host,
    conntrack,
    nat,
    sets,
    host.memory,
    host.memory.bytes,
    host.random,
    host.dice,
    conntrack.flows,
  ])

/** A tag for uses of extensions, one after the other. begin() comes before the first. */
export function makeJs(env: CompileEnv, family: Family, names: DeviceNames): JsOf {
  const commons = commonOf(env)
  const trail = new Trail()
  let values: unknown[] = []
  let objects: number[] = []
  let common: object[] = []
  let steps = 0

  const emitted = (kind: CodeKind, strings: readonly string[], holes: readonly Part[]): Code =>
    new Code(kind, strings, holes, steps++)
  const own = (value: unknown): Code => {
    trail.add(VALUE)
    objects.push(values.length)
    return valueAt(values.push(value) - 1)
  }
  const literal = (value: number | string): Code => {
    if (!isWord(value)) return own(value)
    trail.add(LITERAL)
    return literalAt(values.push(value) - 1)
  }
  const ask = (value: object): Code => {
    trail.add(COMMON)
    trail.add(idOf(value))
    const at = common.indexOf(value)
    return commonAt(at < 0 ? common.push(value) - 1 : at)
  }
  const bind = (value: object): Code =>
    typeof value === 'function' || commons.has(value) ? ask(value) : own(value)
  const written = (value: number): string => {
    trail.add(TEXT)
    trail.add(value)
    return quoted(value)
  }
  const part = (hole: Hole): Part => {
    if (typeof hole === 'number') {
      if (!Number.isFinite(hole)) throw new TypeError(`generated code cannot hold ${hole}`)
      return SMALL.has(hole) ? written(hole) : literal(hole)
    }
    if (typeof hole === 'string') return literal(hole)
    if (typeof hole === 'boolean') {
      trail.add(hole ? TRUE : FALSE)
      return hole
    }
    if (hole === null) {
      trail.add(NULL)
      return null
    }
    if (!(hole instanceof Code)) return bind(hole)
    trail.add(CODE)
    trail.add(hole.id)
    return hole
  }
  const tag = (strings: TemplateStringsArray, ...holes: Hole[]): Code => {
    trail.add(idOf(strings))
    // The array of holes is the call's own.
    for (let i = 0; i < holes.length; i++) holes[i] = part(holes[i]!)
    return emitted('expression', strings, holes as Part[])
  }
  const statement = (strings: TemplateStringsArray, ...holes: (number | Code)[]): Code => {
    trail.add(idOf(strings))
    const parts = holes as (number | Part)[]
    for (let i = 0; i < parts.length; i++) {
      const hole = parts[i]!
      parts[i] = typeof hole === 'number' ? written(hole) : part(hole)
    }
    return emitted('statement', strings, parts as Part[])
  }
  const join = (parts: readonly Code[], operator: keyof typeof OPERATORS): Code => {
    trail.add(operator)
    trail.add(parts.length)
    for (const { id } of parts) trail.add(id)
    return emitted(operator === LINES ? 'lines' : 'all', OPERATORS[operator], parts)
  }
  const js: JsOf = Object.assign(tag, {
    holder: STATELESS,
    begin: (asked: readonly object[]) => {
      trail.length = 0
      steps = 0
      values = []
      objects = []
      common = []
      for (const object of asked) ask(object)
    },
    trail,
    values: () => values.slice(),
    objects: () => objects.slice(),
    common: () => common,
    text: (code: Code, alone: boolean) => write(code, values, alone),
    statement,
    lines: (parts: readonly Code[]) => join(parts, LINES),
    literal,
    bind,
    all: (parts: readonly Code[]) => (parts.length === 0 ? TRUE_CODE : join(parts, ALL)),
    any: (parts: readonly Code[]) => (parts.length === 0 ? FALSE_CODE : join(parts, ANY)),
    device: (of: 'in' | 'out', pattern: string) => {
      const on = bind(names.pattern(pattern))
      trail.add(of === 'in' ? TRUE : FALSE)
      return emitted('expression', IS_ON[of], [on])
    },
    env,
    family,
    state: EMPTY,
  })
  const state = (): Code => {
    trail.add(STATE)
    return emitted('member', MEMBER_STATE, [bind(js.holder)])
  }
  // Binds only when it is asked for, which Object.assign would do at once.
  Object.defineProperty(js, 'state', { get: state })
  js.begin([])
  return js
}

/** A number that is the same as a word of 32 bits. */
const isWord = (value: unknown): boolean => Object.is((value as number) | 0, value)

/** How a number or a string stands in code of its own. */
function quoted(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  const number = value as number
  return number < 0 ? `(${number})` : String(number)
}

function write(code: Code, values: Values, alone: boolean): string {
  const { kind, strings, holes } = code
  switch (kind) {
    case 'name':
      return strings[0]!
    case 'literal': {
      const at = Number(strings[0])
      return alone ? quoted(values[at]) : `w[k + ${at}]`
    }
    case 'value': {
      const at = Number(strings[0])
      if (!alone) return `g0.objects[w[k + ${at}]]`
      return typeof values[at] === 'object' ? `k${at}` : quoted(values[at])
    }
    case 'lines':
      return holes.map((part) => write(part as Code, values, alone)).join(strings[0])
    case 'all':
      return holes.map((part) => `(${write(part as Code, values, alone)})`).join(strings[0])
    default: {
      let text = strings[0]!
      for (let i = 0; i < holes.length; i++) {
        const part = holes[i]!
        if (!(part instanceof Code)) text += String(part)
        else if (part.isName || kind === 'statement') text += write(part, values, alone)
        else text += `(${write(part, values, alone)})`
        text += strings[i + 1]!
      }
      return text
    }
  }
}

/** `const k1 = k[1], … g0 = g[0], …;` for the head of code that stands alone. */
export function prologue(values: Values, common: readonly object[]): string {
  let text = ''
  for (let i = 0; i < values.length; i++) if (typeof values[i] === 'object') text += `const k${i} = k[${i}]; `
  return text + commonPrologue(common)
}

export const commonPrologue = (common: readonly object[]): string =>
  common.map((_, i) => `const g${i} = g[${i}]; `).join('')

/** One expression as a function of its own. */
export function functionOf(js: JsOf, code: Code): (pkt: Packet, hook: number) => unknown {
  const values = js.values()
  const common = js.common()
  const text = `${prologue(values, common)} return (pkt, hook) => ${js.text(code, true)}`
  return new Function('k', 'g', text)(values, common) as (pkt: Packet, hook: number) => unknown
}
