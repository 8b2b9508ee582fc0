// One rule as JavaScript: its conditions in the kernel's order, its counters, its target.

import { type FlowCache, Vary } from '../../conntrack/flow-cache.ts'
import { Verdict } from '../../datapath/hooks.ts'
import type { Family, Packet } from '../../datapath/packet.ts'
import { isExtension, NEXTHDR_NONE } from '../../datapath/wire/ipv6-headers.ts'
import { CONTINUE, type CompileEnv } from '../extension.ts'
import type { AddressMatch, BaseMatch, Rule, TargetUse } from '../model.ts'
import { BASE_PARTS, type BasePart, type Observed } from '../observe.ts'
import { BYTES, RECORD, type Records, type RuleSlots } from '../slots.ts'
import { tellFacts, tellMatch } from './recorded.ts'
import { Bindings, Code, type DeviceNames, type Js, type JsOf, ShapeBindings } from './template.ts'

/**
 * chain(pkt, hook): CONTINUE when the end was reached, or RETURN; a Verdict when the walk is over. Of a part of a chain:
 * NEXT when the packet goes on behind it.
 */
export type ChainFn = (pkt: Packet, hook: number) => number

/** The packet goes on with the next rule. */
export const NEXT = -2

/** What a chain's code refers to; stable over recompilation of the chains it jumps to. */
export interface Callable {
  run: ChainFn
}

/** Where one rule's own state lives, by match; the last is the target's. */
export type StateHolders = readonly { s: object | null }[]

export interface ChainSource {
  readonly family: Family
  readonly slots: RuleSlots
  readonly env: CompileEnv
  readonly names: DeviceNames
  /** Who hears of the rules that fit; null: nobody, and the code has no trace of it. */
  readonly observed: Observed | null
  callee(chain: string): Callable
  /** Serves the code of one chain after the other. */
  readonly js: JsOf
  /** The code tells it what it asks and counts; absent: it does not. */
  readonly recorder?: FlowCache
}

export const STATELESS = { s: null }
const NO_STATE: StateHolders = []

const asksProtocol = (base: BaseMatch): boolean => base.protocol !== null && base.protocol.number !== 0

/** The packet's chain of headers ends before an upper one. */
export const lacksUpper = (pkt: Packet): boolean => isExtension(pkt.proto) && pkt.proto !== NEXTHDR_NONE

/**
 * True for an IPv6 packet whose chain of headers is cut short before an upper one, which a rule that asks for the
 * protocol drops (ip6_packet_match). Does not allocate.
 */
function hasNoUpper(pkt: Packet): boolean {
  if (!lacksUpper(pkt)) return false
  pkt.hotdrop = true
  return true
}

/** Conditions of struct ipt_ip / ip6t_ip6, as ip_packet_match() tests them. */
export const emitBase = (base: BaseMatch, js: Js): Code[] => emitBaseParts(base, js).map(([, code]) => code)

/** The same, each with what it asks. */
function emitBaseParts(base: BaseMatch, js: Js): [BasePart, Code][] {
  const parts: [BasePart, Code][] = []
  if (base.source) for (const code of emitAddress(base.source, 's', js)) parts.push(['source', code])
  if (base.destination)
    for (const code of emitAddress(base.destination, 'd', js)) parts.push(['destination', code])
  for (const [of, on] of [
    ['in', base.inInterface],
    ['out', base.outInterface],
  ] as const)
    if (on) parts.push([of, on.invert ? js`!(${js.device(of, on.name)})` : js.device(of, on.name)])
  if (asksProtocol(base)) {
    const { number, invert } = base.protocol!
    if (js.family === 4)
      parts.push(['protocol', invert ? js`pkt.proto !== ${number}` : js`pkt.proto === ${number}`])
    // No packet has an extension header as its upper one.
    else if (isExtension(number) && number !== NEXTHDR_NONE)
      parts.push([
        'protocol',
        invert ? js`!${js.bind(hasNoUpper)}(pkt)` : js`${js.bind(hasNoUpper)}(pkt) && false`,
      ])
    else if (invert) parts.push(['protocol', js`pkt.proto !== ${number} && !${js.bind(hasNoUpper)}(pkt)`])
    else parts.push(['protocol', js`pkt.proto === ${number} || ${js.bind(hasNoUpper)}(pkt) && false`])
  }
  if (base.fragment)
    parts.push(['fragment', base.fragment.invert ? js`pkt.fragOffset === 0` : js`pkt.fragOffset !== 0`])
  return parts
}

function emitAddress(on: AddressMatch, side: 's' | 'd', js: Js): Code[] {
  const words = js.family === 4 ? 1 : 4
  const equal: Code[] = []
  for (let i = 0; i < words; i++) {
    const mask = on.mask[i]!
    const word = on.words[i]! & mask
    if (mask === 0 && on.words[i] === 0) continue
    const field = FIELDS[side][i]!
    equal.push(mask === -1 ? js`${field} === ${word}` : js`(${field} & ${mask}) === ${on.words[i]!}`)
  }
  if (!on.invert) return equal
  return [js`!(${js.all(equal)})`]
}

const FIELDS = {
  s: ['pkt.s0', 'pkt.s1', 'pkt.s2', 'pkt.s3'].map((t) => new Code(t, true)),
  d: ['pkt.d0', 'pkt.d1', 'pkt.d2', 'pkt.d3'].map((t) => new Code(t, true)),
} as const

/** Conditions of a rule, in the kernel's order: by number (see RuleObserver.miss), and as expressions. */
function emitConditions(rule: Rule, states: StateHolders, source: ChainSource, js: JsOf): [number, Code][] {
  const parts: [number, Code][] = emitBaseParts(rule.base, js).map(([part, code]) => [
    BASE_PARTS.indexOf(part),
    code,
  ])
  for (let i = 0; i < rule.matches.length; i++) {
    const use = rule.matches[i]!
    js.holder = states[i] ?? STATELESS
    const asked = use.match.emit(use.data, js)
    const told = source.recorder === undefined ? '' : tellMatch(use, js)
    parts.push([BASE_PARTS.length + i, told === '' ? asked : new Code(`(${told}, ${asked.text})`)])
  }
  return parts
}

/**
 * A statement for the rule in `slot`: returns where the walk ends, falls through where it goes on. `count`: what adds the
 * packet to its counters.
 */
export function emitRule(slot: number, count: string, source: ChainSource, js: JsOf): string {
  const rule = source.slots.bySlot[slot]!
  const states = source.slots.statesOf(slot) ?? NO_STATE
  const conditions = emitConditions(rule, states, source, js)
  const mayHotdrop =
    rule.matches.some((use) => use.match.hotdrop === true) || (source.family === 6 && asksProtocol(rule.base))
  const tell = source.observed === null ? null : new Telling(source.observed, slot, js)
  const hotdrop = mayHotdrop ? `if (pkt.hotdrop) { ${tell?.hotdrop() ?? ''} return ${Verdict.Drop}; }` : ''
  const body = `${count} ${tell?.hit() ?? ''} ${emitTarget(rule, states, source, js, hotdrop, tell)}`
  if (tell?.asksMisses !== true) {
    const condition = js.all(conditions.map(([, code]) => code)).text
    return `if (${condition}) { ${body} }${mayHotdrop ? ` else ${hotdrop}` : ''}`
  }
  // Each condition once, in order: the first that fails is told.
  const tests = conditions.map(([number, code]) => `!(${code.text}) ? ${js`${number}`.text} : `).join('')
  return `f = ${tests}-1; if (f < 0) { ${body} } else { ${tell.miss()} ${hotdrop} }`
}

/** What observed code says, as statements. */
class Telling {
  readonly asksMisses: boolean
  readonly #to: string
  readonly #rule: string

  constructor({ observer, chain }: Observed, slot: number, js: JsOf) {
    this.asksMisses = observer.misses
    this.#to = js.bind(observer).text
    this.#rule = js`${chain}, ${slot}`.text
  }

  hit(): string {
    return `${this.#to}.hit(${this.#rule}, pkt);`
  }

  did(): string {
    return `${this.#to}.did(pkt);`
  }

  hotdrop(): string {
    return `${this.#to}.hotdrop(${this.#rule});`
  }

  miss(): string {
    return `${this.#to}.miss(${this.#rule}, f, pkt);`
  }
}

function emitTarget(
  rule: Rule,
  states: StateHolders,
  source: ChainSource,
  js: JsOf,
  hotdrop: string,
  tell: Telling | null,
): string {
  const use = rule.target
  switch (use.kind) {
    case 'none':
      return hotdrop
    case 'standard':
      return `${hotdrop} return ${STANDARD[use.verdict]};`
    case 'jump':
      return `${hotdrop} if ((v = ${js.bind(source.callee(use.chain)).text}.run(pkt, hook)) !== ${CONTINUE}) return v;`
    case 'goto':
      return `${hotdrop} return ${js.bind(source.callee(use.chain)).text}.run(pkt, hook);`
    case 'extension': {
      js.holder = states[rule.matches.length] ?? STATELESS
      const code = emitExtension(use, source, js)
      const did = tell?.did() ?? ''
      if (use.target.flow === 'continue') return `${code}; ${did} ${hotdrop}`
      if (use.target.flow === 'final') return `v = ${code}; ${did} ${hotdrop} return v;`
      return `v = ${code}; ${did} ${hotdrop} if (v !== ${CONTINUE}) return v;`
    }
  }
}

function emitExtension(
  { target, data }: TargetUse & { readonly kind: 'extension' },
  { recorder }: ChainSource,
  js: JsOf,
): string {
  const code = target.emit(data, js).text
  if (recorder === undefined) return code
  const told = target.repeats === undefined ? `r.varies |= ${Vary.Never}` : tellFacts(target.reads)
  const done = target.repeats === 'each' ? `r.does(pkt, (pkt) => (${code}))` : code
  return told === '' ? done : `(${told}, ${done})`
}

const STANDARD = {
  ACCEPT: Verdict.Accept,
  DROP: Verdict.Drop,
  QUEUE: Verdict.Queue,
  RETURN: CONTINUE,
} as const

/** What a rule tells when it fits: a statement, by its place among the slots. */
type Tell = (place: number, js: JsOf) => string

function textOf(
  source: ChainSource,
  bindings: Bindings,
  slots: readonly number[],
  end: number,
  tell?: Tell,
): string {
  const { js } = source
  js.bindings = bindings
  js.holder = STATELESS
  const rules = slots.map((slot, i) => {
    const at = bindings.literal(source.slots.base + slot * RECORD)
    const count =
      `c.records[${at}]++; c.records[${at} + ${BYTES}] += pkt.end - pkt.l3;` +
      (source.recorder === undefined
        ? ''
        : `r.hit(${js.bind(source.slots).text}, ${bindings.literal(slot)});`)
    return emitRule(slot, tell === undefined ? count : `${count} ${tell(i, js)}`, source, js)
  })
  // In parentheses V8 compiles the inner function at once, instead of reading it twice.
  return `${bindings.prologue()} return ((pkt, hook) => { let v = 0${source.observed?.observer.misses === true ? ', f = 0' : ''};\n${rules.join('\n')}\nreturn ${end} })`
}

type MakeCode = (values: readonly unknown[], store: Records, recorder: FlowCache | undefined) => ChainFn
const makeCode = (text: string): MakeCode => new Function('k', 'c', 'r', text) as MakeCode

/** Long ones are seldom alike. */
const LONGEST_SHAPE = 16_384
const MOST_SHAPES = 1024
/** By text: what makes the code of what it binds; null after the first time. */
const shapes = new Map<string, MakeCode | null>()

/**
 * Code for the rules in `slots`, which falls through with `end`. Rules that differ in their numbers and names alone have
 * one shape: from the second time on they share a text, which is compiled and optimised once.
 */
export function codeOf(source: ChainSource, slots: readonly number[], end: number): ChainFn {
  const bindings = new ShapeBindings()
  const text = textOf(source, bindings, slots, end)
  if (text.length > LONGEST_SHAPE) return codeAlone(source, slots, end)
  const shape = shapes.get(text)
  if (shape === undefined) {
    if (shapes.size >= MOST_SHAPES) shapes.delete(shapes.keys().next().value!)
    shapes.set(text, null)
    return codeAlone(source, slots, end)
  }
  const make = shape ?? makeCode(text)
  if (shape === null) shapes.set(text, make)
  return make(bindings.values, source.slots.store, source.recorder)
}

/** The same with a text of its own, whose numbers are the faster for being known. */
export function codeAlone(source: ChainSource, slots: readonly number[], end: number, tell?: Tell): ChainFn {
  const bindings = new Bindings()
  return makeCode(textOf(source, bindings, slots, end, tell))(
    bindings.values,
    source.slots.store,
    source.recorder,
  )
}
