// A chain as straight-line JavaScript: one `if` a rule, in order. This is the yardstick for every faster form.
//
//     chain(pkt, hook):  -1  the end was reached, or RETURN: the caller goes on
//                        >=0 a Verdict: the walk is over
//
// A jump is a call, a goto a tail call: where a goto's chain ends, the walk goes on behind the last jump, as
// ipt_do_table's jump stack has it.

import { Verdict } from '../../datapath/hooks.ts'
import type { Family, Packet } from '../../datapath/packet.ts'
import { isExtension, NEXTHDR_NONE } from '../../datapath/wire/ipv6-headers.ts'
import { CONTINUE, type CompileEnv } from '../extension.ts'
import type { AddressMatch, BaseMatch, Rule } from '../model.ts'
import { Bindings, Code, type DeviceNames, type Js, type JsOf, makeJs } from './template.ts'

export type ChainFn = (pkt: Packet, hook: number) => number

/** What a chain's code refers to; stable over recompilation of the chains it jumps to. */
export interface Callable {
  run: ChainFn
}

/** Where one rule's own state lives, by match; the last is the target's. */
export type StateHolders = readonly { s: object | null }[]

export interface ChainSource {
  readonly family: Family
  readonly rules: readonly Rule[]
  /** [packets, bytes] of each rule in turn. */
  readonly counters: Float64Array
  readonly states: readonly (StateHolders | null)[]
  readonly env: CompileEnv
  readonly names: DeviceNames
  callee(chain: string): Callable
  /** Told of every rule that fits, by position, and of the end (as many as there are rules): traced code. */
  readonly trace?: TraceFn
}

/** Hears that the packet is at the rule. */
export type TraceFn = (pkt: Packet, index: number) => void

/** V8 does not optimise functions beyond 60 kB of bytecode: a long chain is cut into several. */
const RULES_A_FUNCTION = 96
/** A piece of a long chain fell through to the next piece. */
const NEXT_PIECE = -2

const NO_STATE: StateHolders = []
const STATELESS = { s: null }

const asksProtocol = (base: BaseMatch): boolean => base.protocol !== null && base.protocol.number !== 0

/**
 * True for an IPv6 packet whose chain of headers is cut short before an upper one, which a rule that asks for the
 * protocol drops (ip6_packet_match). Does not allocate.
 */
function hasNoUpper(pkt: Packet): boolean {
  if (!isExtension(pkt.proto) || pkt.proto === NEXTHDR_NONE) return false
  pkt.hotdrop = true
  return true
}

/** Conditions of struct ipt_ip / ip6t_ip6, as ip_packet_match() tests them. */
export function emitBase(base: BaseMatch, js: Js): Code[] {
  const parts: Code[] = []
  if (base.source) parts.push(...emitAddress(base.source, 's', js))
  if (base.destination) parts.push(...emitAddress(base.destination, 'd', js))
  for (const [of, on] of [
    ['in', base.inInterface],
    ['out', base.outInterface],
  ] as const)
    if (on) parts.push(on.invert ? js`!(${js.device(of, on.name)})` : js.device(of, on.name))
  if (asksProtocol(base)) {
    const { number, invert } = base.protocol!
    if (js.family === 4) parts.push(invert ? js`pkt.proto !== ${number}` : js`pkt.proto === ${number}`)
    else if (invert) parts.push(js`pkt.proto !== ${number} && !${js.bind(hasNoUpper)}(pkt)`)
    else parts.push(js`pkt.proto === ${number} || ${js.bind(hasNoUpper)}(pkt) && false`)
  }
  if (base.fragment) parts.push(base.fragment.invert ? js`pkt.fragOffset === 0` : js`pkt.fragOffset !== 0`)
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
  s: ['pkt.s0', 'pkt.s1', 'pkt.s2', 'pkt.s3'].map((t) => new Code(t)),
  d: ['pkt.d0', 'pkt.d1', 'pkt.d2', 'pkt.d3'].map((t) => new Code(t)),
} as const

/** All conditions of a rule as one expression, in the kernel's order. */
function emitCondition(rule: Rule, states: StateHolders, js: JsOf): Code {
  const parts = emitBase(rule.base, js)
  for (let i = 0; i < rule.matches.length; i++) {
    const use = rule.matches[i]!
    js.holder = states[i] ?? STATELESS
    parts.push(use.match.emit(use.data, js))
  }
  return js.all(parts)
}

function emitRule(index: number, source: ChainSource, js: JsOf): string {
  const rule = source.rules[index]!
  const states = source.states[index] ?? NO_STATE
  const condition = emitCondition(rule, states, js).text
  const mayHotdrop =
    rule.matches.some((use) => use.match.hotdrop === true) || (source.family === 6 && asksProtocol(rule.base))
  const hotdrop = mayHotdrop ? `if (pkt.hotdrop) return ${Verdict.Drop};` : ''
  const count = `c[${index * 2}]++; c[${index * 2 + 1}] += pkt.end - pkt.l3;`
  const traced = source.trace === undefined ? '' : `${js.bind(source.trace).text}(pkt, ${index});`
  const body = `${count} ${traced} ${emitTarget(rule, states, source, js, hotdrop)}`
  return `if (${condition}) { ${body} }${mayHotdrop ? ` else ${hotdrop}` : ''}`
}

function emitTarget(
  rule: Rule,
  states: StateHolders,
  source: ChainSource,
  js: JsOf,
  hotdrop: string,
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
      const code = use.target.emit(use.data, js).text
      if (use.target.flow === 'continue') return `${code}; ${hotdrop}`
      if (use.target.flow === 'final') return `v = ${code}; ${hotdrop} return v;`
      return `v = ${code}; ${hotdrop} if (v !== ${CONTINUE}) return v;`
    }
  }
}

const STANDARD = {
  ACCEPT: Verdict.Accept,
  DROP: Verdict.Drop,
  QUEUE: Verdict.Queue,
  RETURN: CONTINUE,
} as const

/** Some rules of a chain, and their code: made when the first packet comes this far. */
interface Piece {
  readonly rules: readonly Rule[]
  readonly states: readonly (StateHolders | null)[]
  readonly counters: Float64Array
  run: ChainFn
}

/** A chain's code. */
export interface CompiledChain {
  readonly run: ChainFn
  readonly pieces: readonly Piece[]
}

/** One function over rules[from, to). */
function codeOf(source: ChainSource, from: number, to: number, end: number): ChainFn {
  const bindings = new Bindings()
  const js = makeJs(source.env, source.family, bindings, source.names, STATELESS)
  const rules: string[] = []
  for (let i = from; i < to; i++) rules.push(emitRule(i, source, js))
  // In parentheses V8 compiles the inner function at once, instead of reading it twice.
  const text = `${bindings.prologue()} return ((pkt, hook) => { let v = 0;\n${rules.join('\n')}\nreturn ${end} })`
  return new Function('k', 'c', text)(bindings.values, source.counters) as ChainFn
}

function makePiece(source: ChainSource, from: number, to: number): Piece {
  const piece: Piece = {
    rules: source.rules.slice(from, to),
    states: source.states.slice(from, to),
    counters: source.counters,
    run: (pkt, hook) => {
      piece.run = codeOf(source, from, to, NEXT_PIECE)
      return piece.run(pkt, hook)
    },
  }
  return piece
}

/** The piece does what one made now would do: the same rules, with the same states and places of their counters. */
function stillGood(piece: Piece | undefined, source: ChainSource, from: number, to: number): boolean {
  if (piece === undefined || piece.rules.length !== to - from) return false
  if (piece.counters.buffer !== source.counters.buffer) return false
  for (let i = from; i < to; i++)
    if (piece.rules[i - from] !== source.rules[i] || piece.states[i - from] !== source.states[i]) return false
  return true
}

/**
 * Compiles a chain, piece by piece as packets come to them. The counters are updated in place. `old`: its code before
 * an edit, of which the pieces before the edit are kept, if the counters are views of the same memory.
 */
export function compileLinear(source: ChainSource, old: CompiledChain | null = null): CompiledChain {
  const total = source.rules.length
  const pieces: Piece[] = []
  if (total === 0) return { run: () => CONTINUE, pieces }
  if (total <= RULES_A_FUNCTION) return { run: codeOf(source, 0, total, CONTINUE), pieces }
  for (let from = 0; from < total; from += RULES_A_FUNCTION) {
    const to = Math.min(total, from + RULES_A_FUNCTION)
    const kept = old?.pieces[pieces.length]
    pieces.push(stillGood(kept, source, from, to) ? kept! : makePiece(source, from, to))
  }
  return { run: walkOf(pieces), pieces }
}

/** The chain's code with `trace` in it, whose end it tells of too. */
export function compileTraced(source: ChainSource & { readonly trace: TraceFn }): ChainFn {
  const total = source.rules.length
  const pieces: Piece[] = []
  for (let from = 0; from < total; from += RULES_A_FUNCTION)
    pieces.push(makePiece(source, from, Math.min(total, from + RULES_A_FUNCTION)))
  return (pkt, hook) => {
    for (let i = 0; i < pieces.length; i++) {
      const verdict = pieces[i]!.run(pkt, hook)
      if (verdict !== NEXT_PIECE) return verdict
    }
    source.trace(pkt, total)
    return CONTINUE
  }
}

function walkOf(pieces: readonly Piece[]): ChainFn {
  return (pkt, hook) => {
    for (let i = 0; i < pieces.length; i++) {
      const verdict = pieces[i]!.run(pkt, hook)
      if (verdict !== NEXT_PIECE) return verdict
    }
    return CONTINUE
  }
}
