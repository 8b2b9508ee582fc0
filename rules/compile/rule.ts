// One rule as JavaScript: its conditions in the kernel's order, its counters, its target.

import { type FlowCache, Vary } from '../../conntrack/flow-cache.ts'
import { Verdict } from '../../datapath/hooks.ts'
import type { Family, Packet } from '../../datapath/packet.ts'
import { isExtension, NEXTHDR_NONE } from '../../datapath/wire/ipv6-headers.ts'
import { CONTINUE, type CompileEnv, type Destination } from '../extension.ts'
import type { AddressMatch, BaseMatch, Rule, TargetUse } from '../model.ts'
import { BASE_PARTS, type BasePart, type Observed } from '../observe.ts'
import { BYTES, PACKETS, RECORD, type RuleSlots } from '../slots.ts'
import type { Codes, Made } from './codes.ts'
import { tellFacts, tellMatch } from './recorded.ts'
import type { Shapes } from './shapes.ts'
import {
  CODES,
  type Code,
  type DeviceNames,
  EMPTY,
  fixed,
  type Js,
  type JsOf,
  RECORDS,
  STATELESS,
} from './template.ts'

/** The packet goes on with the next rule. */
export const NEXT = -2

/** What jumps go to: stable while the chain's code is made anew. */
export interface Callable {
  readonly codes: Codes
  /** Its number there. */
  readonly head: number
}

export const call = ({ codes, head }: Callable, pkt: Packet, hook: number): number =>
  codes.call(head, pkt, hook)

/** Where one rule's own state lives, by match; the last is the target's. */
export type StateHolders = readonly { s: object | null }[]

export interface ChainSource {
  readonly family: Family
  readonly slots: RuleSlots
  readonly env: CompileEnv
  readonly names: DeviceNames
  /** Who hears of the rules that fit; null: nobody, and the code has no trace of it. */
  readonly observed: Observed | null
  /** The number of a chain, for jumps. */
  callee(chain: string): number
  /** Serves the code of one chain after the other. */
  readonly js: JsOf
  readonly shapes: Shapes
  /** The code tells it what it asks and counts; absent: it does not. */
  readonly recorder?: FlowCache
}

const NO_STATE: StateHolders = []

/** As -p is read, 0 of IPv6 alone: any protocol, but there has to be one. */
const asksProtocol = (base: BaseMatch): boolean => base.protocol !== null

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
    else if (number === 0) parts.push(['protocol', js`!${js.bind(hasNoUpper)}(pkt)`])
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
  s: ['pkt.s0', 'pkt.s1', 'pkt.s2', 'pkt.s3'].map(fixed),
  d: ['pkt.d0', 'pkt.d1', 'pkt.d2', 'pkt.d3'].map(fixed),
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
    const told = source.recorder === undefined ? EMPTY : tellMatch(use, source.recorder, js)
    parts.push([BASE_PARTS.length + i, told === EMPTY ? asked : js.statement`(${told}, ${asked})`])
  }
  return parts
}

/** Whether the rule's packets are chosen by chance, or not at all. */
const choosesByChance = ({ base, matches }: Rule): boolean =>
  !base.source &&
  !base.destination &&
  !base.inInterface &&
  !base.outInterface &&
  !base.protocol &&
  !base.fragment &&
  matches.every((use) => use.match.byChance?.(use.data) === true)

/** Statements that foresee where a chain leads, in the order of its rules. */
interface Foresight {
  /** Where chance alone decides. */
  readonly sure: Code[]
  /** Where a packet goes that fits. */
  readonly likely: Code[]
}

/** Where a rule's target sends its packets. */
interface Leads {
  /** EMPTY: to no chain. */
  readonly callee: Code
  /** Null: to none that could be foreseen. */
  readonly destination: Destination | null
}

function leadsOf({ target }: Rule, source: ChainSource, js: JsOf): Leads {
  if (target.kind === 'jump' || target.kind === 'goto')
    return { callee: js.literal(source.callee(target.chain)), destination: null }
  const destination = target.kind === 'extension' ? target.target.destination?.(target.data, js) : null
  return { callee: EMPTY, destination: destination ?? null }
}

/** What foresees that; `at`: where the rule counts. */
function emitLeads(at: Code, { callee, destination }: Leads, js: JsOf): Code | null {
  if (callee !== EMPTY) return js.statement`to.callee = ${callee}; to.counters = ${at}; return`
  if (destination === null) return null
  const { address, port } = destination
  return js.statement`to.bound = true; to.address = ${address}; to.port = ${port}; return`
}

/** How a rule counts. */
interface Counting {
  /** Index of its packets among the records. */
  readonly at: Code
  readonly count: Code
}

/**
 * A statement for the rule in `slot`: returns where the walk ends, falls through where it goes on. `count`: what adds the
 * packet to its counters. `ahead` gets what foresees that the rule sends it somewhere.
 */
function emitRule(
  slot: number,
  { at, count }: Counting,
  source: ChainSource,
  js: JsOf,
  ahead: Foresight,
): Code {
  const rule = source.slots.bySlot[slot]!
  const states = source.slots.statesOf(slot) ?? NO_STATE
  const conditions = emitConditions(rule, states, source, js)
  const mayHotdrop =
    rule.matches.some((use) => use.match.hotdrop === true) || (source.family === 6 && asksProtocol(rule.base))
  const tell = source.observed === null ? null : new Telling(source.observed, slot, js)
  const hotdrop = mayHotdrop
    ? js.statement`if (pkt.hotdrop) { ${tell?.hotdrop() ?? EMPTY} return ${Verdict.Drop}; }`
    : EMPTY
  const leads = leadsOf(rule, source, js)
  const target = emitTarget(rule, states, source, js, leads, hotdrop, tell)
  const foreseen = emitLeads(at, leads, js)
  if (foreseen !== null && choosesByChance(rule))
    ahead.sure.push(js.statement`if (${js.all(conditions.map(([, code]) => code))}) { ${foreseen} }`)
  else if (foreseen !== null && leads.callee === EMPTY) ahead.likely.push(foreseen)
  const body = js.statement`${count} ${tell?.hit() ?? EMPTY} ${target}`
  if (tell?.asksMisses !== true) {
    const condition = js.all(conditions.map(([, code]) => code))
    return mayHotdrop
      ? js.statement`if (${condition}) { ${body} } else ${hotdrop}`
      : js.statement`if (${condition}) { ${body} }`
  }
  // Each condition once, in order: the first that fails is told.
  const failed = conditions.reduceRight(
    (rest, [number, code]) => js.statement`!(${code}) ? ${number} : ${rest}`,
    js.statement`-1`,
  )
  return js.statement`f = ${failed}; if (f < 0) { ${body} } else { ${tell.miss()} ${hotdrop} }`
}

/** What observed code says, as statements. */
class Telling {
  readonly asksMisses: boolean
  readonly #js: JsOf
  readonly #to: Code
  readonly #chain: number
  readonly #slot: number

  constructor({ observer, chain }: Observed, slot: number, js: JsOf) {
    this.asksMisses = observer.misses
    this.#js = js
    this.#to = js.bind(observer)
    this.#chain = chain
    this.#slot = slot
  }

  hit(): Code {
    return this.#js.statement`${this.#to}.hit(${this.#chain}, ${this.#slot}, pkt);`
  }

  did(): Code {
    return this.#js.statement`${this.#to}.did(pkt);`
  }

  hotdrop(): Code {
    return this.#js.statement`${this.#to}.hotdrop(${this.#chain}, ${this.#slot});`
  }

  miss(): Code {
    return this.#js.statement`${this.#to}.miss(${this.#chain}, ${this.#slot}, f, pkt);`
  }
}

function emitTarget(
  rule: Rule,
  states: StateHolders,
  source: ChainSource,
  js: JsOf,
  { callee, destination }: Leads,
  hotdrop: Code,
  tell: Telling | null,
): Code {
  const use = rule.target
  switch (use.kind) {
    case 'none':
      return hotdrop
    case 'standard':
      return js.statement`${hotdrop} return ${STANDARD[use.verdict]};`
    case 'jump':
      return js.statement`${hotdrop} ${emitCall(callee, js)} if (v !== ${CONTINUE}) return v;`
    case 'goto':
      return js.statement`${hotdrop} ${emitCall(callee, js)} return v;`
    case 'extension': {
      js.holder = states[rule.matches.length] ?? STATELESS
      const code = emitExtension(use, destination, source, js)
      const did = tell?.did() ?? EMPTY
      if (use.target.flow === 'continue') return js.statement`${code}; ${did} ${hotdrop}`
      if (use.target.flow === 'final') return js.statement`v = ${code}; ${did} ${hotdrop} return v;`
      return js.statement`v = ${code}; ${did} ${hotdrop} if (v !== ${CONTINUE}) return v;`
    }
  }
}

/** Statements that set v; as Codes.call(). */
const emitCall = (chain: Code, js: JsOf): Code =>
  js.statement`const to = ${chain} * 2; v = ${CODES}.runs[${CODES}.heads[to]](pkt, hook, ${CODES}.heads[to + 1]);`

function emitExtension(
  { target, data }: TargetUse & { readonly kind: 'extension' },
  destination: Destination | null,
  { recorder }: ChainSource,
  js: JsOf,
): Code {
  const code = target.emit(data, js, destination)
  if (recorder === undefined) return code
  const r = js.bind(recorder)
  const told =
    target.repeats === undefined
      ? js.statement`${r}.varies |= ${Vary.Never}`
      : tellFacts(target.reads, recorder, js)
  const done = target.repeats === 'each' ? js.statement`${r}.does(pkt, (pkt) => (${code}))` : code
  return told === EMPTY ? done : js.statement`(${told}, ${done})`
}

const STANDARD = {
  ACCEPT: Verdict.Accept,
  DROP: Verdict.Drop,
  QUEUE: Verdict.Queue,
  RETURN: CONTINUE,
} as const

/** What a rule tells when it fits: a statement, by its place among the slots. */
type Tell = (place: number, js: JsOf) => Code

/** The rules as a function's body; what foresees where they lead, null if nothing does. */
function emitRules(
  source: ChainSource,
  slots: readonly number[],
  end: number,
  tell?: Tell,
): { body: Code; foresight: Code | null } {
  const { js, recorder, observed } = source
  js.begin([source.shapes.codes, source.slots.store])
  js.holder = STATELESS
  const first = slots[0]!
  const at = js.literal(source.slots.base + first * RECORD)
  const ahead: Foresight = { sure: [], likely: [] }
  const rules = slots.map((slot, i) => {
    // Chains that differ in where their records begin alone have one shape.
    const packets = (slot - first) * RECORD + PACKETS
    const bytes = packets - PACKETS + BYTES
    const place = js.statement`${at} + ${packets}`
    let count = js.statement`${RECORDS}.records[${place}]++; ${RECORDS}.records[${at} + ${bytes}] += pkt.end - pkt.l3;`
    if (recorder !== undefined)
      count = js.statement`${count} ${js.bind(recorder)}.hit(${js.bind(source.slots)}, ${js.literal(slot)});`
    if (tell !== undefined) count = js.statement`${count} ${tell(i, js)}`
    return emitRule(slot, { at: place, count }, source, js, ahead)
  })
  const misses = observed?.observer.misses === true ? js.statement`let f = 0;` : EMPTY
  const body = js.statement`{ let v = 0; ${misses}\n${js.lines(rules)}\nreturn ${end} }`
  const foresight = [...ahead.sure, ...ahead.likely.slice(0, 1)]
  return { body, foresight: foresight.length === 0 ? null : js.statement`{ ${js.lines(foresight)} }` }
}

/** Code for the rules in `slots`, which falls through with `end`. */
export function codeOf(source: ChainSource, slots: readonly number[], end: number): Made {
  const { body, foresight } = emitRules(source, slots, end)
  const ahead = source.recorder === undefined ? foresight : null
  return source.shapes.make(source.js, body, ahead, source.slots.store)
}

/** The same with a text of its own, whose numbers are the faster for being known. */
export const codeAlone = (source: ChainSource, slots: readonly number[], end: number, tell?: Tell): Made =>
  source.shapes.makeAlone(source.js, emitRules(source, slots, end, tell).body)
