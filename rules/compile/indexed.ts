// A long chain by look-up: cost grows with the rules that fit a packet, not with those that do not.
//
//     tables ─ one look-up a signature ─▶ lists of slots ─┐
//     loose rules ─ pieces of straight code ──────────────┴─ merged in the chain's order ─▶ rule, counters, target
//
// The same rules are asked in the same order as in straight code, but for those that cannot fit; so verdict, counters and
// every effect are the same.

import { alignedWords } from '../../conntrack/cache-lines.ts'
import type { Packet } from '../../datapath/packet.ts'
import {
  IPPROTO_DCCP,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import { CONTINUE } from '../extension.ts'
import { PACKETS, type Records, type RuleSlots, type SlotEdit } from '../slots.ts'
import { type ChainFn, type Codes, LATER, type Made, NO_CHAIN } from './codes.ts'
import { type KeyTable, maskOf, RuleKeys } from './key-tables.ts'
import {
  byFirstSlot,
  compileLinear,
  cutRun,
  type LinearChain,
  type Piece,
  releaseLinear,
  releasePieces,
} from './linear.ts'
import { type ChainSource, codeOf, lacksUpper, NEXT } from './rule.ts'

/** Costs of a packet that fits nothing, in rules of straight code; measured by `npm run bench rules`. */
const COST_OF_TABLE = 6
const COST_OF_PIECE = 6
/** Rules from which on a chain may be worth a look-up. */
const INDEX_FROM = 32

/** Bytes of transport header that the matches with ports want to see, by protocol; 0: no such match. */
const HEADER_BYTES = new Uint8Array(256)
HEADER_BYTES[IPPROTO_TCP] = 20
HEADER_BYTES[IPPROTO_UDP] = HEADER_BYTES[IPPROTO_UDPLITE] = 8
HEADER_BYTES[IPPROTO_SCTP] = HEADER_BYTES[IPPROTO_DCCP] = 12

/** Some rule may drop the packet for headers that are cut short, whatever else it asks. Does not allocate. */
function isCut(pkt: Packet): boolean {
  if (pkt.family === 6 && lacksUpper(pkt)) return true
  if (pkt.fragOffset !== 0) return pkt.fragOffset === 8 && pkt.proto === IPPROTO_TCP
  return pkt.end - pkt.l4 < HEADER_BYTES[pkt.proto]!
}

function pays(keys: RuleKeys, { at, count }: RuleSlots): boolean {
  let pieces = 0
  let wasLoose = false
  for (let i = 0; i < count; i++) {
    const isLoose = keys.isLoose(at[i]!)
    if (isLoose && !wasLoose) pieces++
    wasLoose = isLoose
  }
  return keys.tables.length * COST_OF_TABLE + pieces * COST_OF_PIECE + keys.loose < count
}

/** Of IndexWalk.ruleWords: words of a slot, and where among them are what its function is called with, and where the rule goes to. */
export const RULE_WORDS = 4
export const K = 1
export const CALLEE = 2

/** Walks a chain by its keys with one form of its rules' code. */
export class IndexWalk {
  readonly made: Made
  // For who looks ahead, in passes (rules/look-ahead.ts).
  /** What a packet is looked up by, a number for each table, into `hashes` from `at` on. Hot. */
  readonly hash: (pkt: Packet, hashes: Int32Array, at: number) => void
  /** The slot of the first keyed rule that the packet may fit, -1 none. Hot. */
  readonly seek: (hashes: Int32Array, at: number) => number
  // The generated code reads the following.
  /** The loose rules, in the chain's order, and the label of each piece's first; Infinity at the end. */
  pieces: Piece[] = []
  pieceOrder = new Float64Array([Number.POSITIVE_INFINITY])
  /** Pieces before the first keyed rule. */
  headPieces = 0
  readonly store: Records
  /** Where slot 0 counts its packets in there. */
  readonly base: number
  lists: Int32Array
  /** Of RuleSlots. */
  orders: Float64Array
  /**
   * RULE_WORDS a slot: its function, LATER until a packet asks; what that is called with; the chain that the rule goes to,
   * NO_CHAIN if none.
   */
  ruleWords: Int32Array = new Int32Array(0)
  readonly #source: ChainSource
  readonly #keys: RuleKeys
  /** All rules as straight code, for the packets that a look-up is not good for. */
  #whole: LinearChain | null = null
  #wholeIsGood = false
  /** Slots before this one are warm(). */
  #warmTo = 0

  constructor(source: ChainSource, keys: RuleKeys) {
    this.#source = source
    this.base = source.slots.base + PACKETS
    this.#keys = keys
    this.store = source.slots.store
    this.lists = keys.lists
    this.orders = source.slots.orders
    this.settle()
    const { run, hash, seek } = this.#generate()
    this.made = { fn: source.shapes.codes.add(run), k: 0 }
    this.hash = hash
    this.seek = seek
  }

  /** Where the functions are. */
  get codes(): Codes {
    return this.#source.shapes.codes
  }

  get tables(): readonly KeyTable[] {
    return this.#keys.tables
  }

  get rules(): number {
    return this.#source.slots.count
  }

  /** Takes over what the keys have become. */
  settle(): void {
    const { slots } = this.#source
    this.lists = this.#keys.lists
    this.orders = slots.orders
    this.#reserve(slots.bySlot.length)
    this.#wholeIsGood = false
    this.#cutLoose()
  }

  #reserve(slots: number): void {
    const before = this.ruleWords.length
    if (slots * RULE_WORDS <= before) return
    const words = alignedWords((slots + (before >> 3)) * RULE_WORDS)
    words.set(this.ruleWords)
    for (let at = before; at < words.length; at += RULE_WORDS) words[at + CALLEE] = NO_CHAIN
    this.ruleWords = words
  }

  /** The code of a single rule, made now. */
  make(slot: number): void {
    const { fn, k } = codeOf(this.#source, [slot], NEXT)
    const { target } = this.#source.slots.bySlot[slot]!
    const at = slot * RULE_WORDS
    this.ruleWords[at] = fn
    this.ruleWords[at + K] = k
    if (target.kind === 'jump' || target.kind === 'goto')
      this.ruleWords[at + CALLEE] = this.#source.callee(target.chain)
  }

  /** Makes the code of up to `most` rules that no packet has asked yet; how many it made. */
  warm(most: number): number {
    const { bySlot } = this.#source.slots
    let made = 0
    for (; this.#warmTo < bySlot.length && made < most; this.#warmTo++) {
      const slot = this.#warmTo
      if (bySlot[slot] === null || this.ruleWords[slot * RULE_WORDS] !== LATER || this.#keys.isLoose(slot))
        continue
      this.make(slot)
      made++
    }
    return made
  }

  /** The rule there is gone. */
  forget(slot: number): void {
    const at = slot * RULE_WORDS
    // One that was never asked has none.
    const fn = this.ruleWords[at] ?? LATER
    this.#warmTo = Math.min(this.#warmTo, slot)
    if (fn === LATER) return
    this.#source.shapes.release({ fn, k: this.ruleWords[at + K]! })
    this.ruleWords[at] = LATER
    this.ruleWords[at + CALLEE] = NO_CHAIN
  }

  /** Nobody walks here any more. */
  release(): void {
    const { shapes } = this.#source
    for (let slot = 0; slot * RULE_WORDS < this.ruleWords.length; slot++) this.forget(slot)
    releasePieces(shapes, this.pieces)
    if (this.#whole !== null) releaseLinear(shapes, this.#whole)
    shapes.release(this.made)
  }

  /** For a packet that a look-up is not good for. */
  whole(pkt: Packet, hook: number): number {
    if (this.#whole === null || !this.#wholeIsGood) {
      this.#whole = compileLinear(this.#source, this.#whole)
      this.#wholeIsGood = true
    }
    const { fn, k } = this.#whole.made
    return this.#source.shapes.codes.runs[fn]!(pkt, hook, k)
  }

  /** Loose rules that follow each other in the chain make pieces. */
  #cutLoose(): void {
    const { at, count } = this.#source.slots
    const before = byFirstSlot(this.pieces)
    const pieces: Piece[] = []
    let run: number[] = []
    const end = (): void => {
      if (run.length > 0) pieces.push(...cutRun(this.#source, run, before))
      run = []
    }
    this.headPieces = -1
    for (let i = 0; i < count; i++) {
      const slot = at[i]!
      if (this.#keys.isLoose(slot)) run.push(slot)
      else {
        end()
        if (this.headPieces < 0) this.headPieces = pieces.length
      }
    }
    end()
    releasePieces(this.#source.shapes, before.values())
    this.pieces = pieces
    this.pieceOrder = Float64Array.from([
      ...pieces.map((piece) => this.orders[piece.slots[0]!]!),
      Number.POSITIVE_INFINITY,
    ])
  }

  #generate(): Generated {
    const { tables, markMask } = this.#keys
    const marked = tables.some(({ signature }) => signature.mark)
    const which = tables.map((_, i) => i)
    const hashes = tables.map((table) => emitHash(table, this.#source, markMask))
    const starts = which.map((i) => `let p${i} = 0, s${i} = 0, o${i} = Infinity`).join('\n    ')
    const lookUps = `
    ${starts}
    ${tables.map((table, i) => onlyWithPort(table, `let h = 0; ${hashes[i]}; ${emitFind(i, orderOf(i))}`)).join('\n    ')}`
    // Where there is one table, nobody asks for the order, which would be waited for.
    const order = (i: number): string => (tables.length === 1 ? '0' : orderOf(i))
    const text = `
const { ${which.map((i) => `${i}: t${i}`).join(', ')} } = tables
const hash = ((pkt, hashes, at) => {
  ${hashes.map((mixed, i) => `{ let h = 0; ${mixed}; hashes[at + ${i}] = h }`).join('\n  ')}
})
const seek = ((hashes, at) => {
  const { lists, orders } = chain
  let best = Infinity, slot = -1
  ${starts}
  ${which.map((i) => `{ const h = hashes[at + ${i}]; ${emitFind(i, order(i))} }`).join('\n  ')}
  ${which.map((i) => `if (o${i} < best) { best = o${i}; slot = s${i} }`).join('\n  ')}
  return slot
})
const run = ((pkt, hook) => {
  if (isCut(pkt)) return chain.whole(pkt, hook)
  const { pieces, pieceOrder, lists, orders, ruleWords, headPieces } = chain, { runs } = codes
  let v = 0, piece = 0
  for (; piece < headPieces; piece++) if ((v = pieces[piece].run(pkt, hook, pieces[piece].k)) !== ${NEXT}) return v
  let after = -Infinity, mark = pkt.mark
  for (;;) {
    ${lookUps}
    ${marked ? `if (after !== -Infinity) { ${which.map((i) => `while (o${i} <= after) ${advance(i)}`).join('; ')} }` : ''}
    for (;;) {
      let best = pieceOrder[piece], from = -1
      ${which.map((i) => `if (o${i} < best) { best = o${i}; from = ${i} }`).join('\n      ')}
      if (best === Infinity) return ${CONTINUE}
      if (from < 0) { v = pieces[piece].run(pkt, hook, pieces[piece].k); piece++ }
      else {
        let slot = 0
        switch (from) {
          ${which.map((i) => `case ${i}: slot = s${i}; ${advance(i)}; break`).join('\n          ')}
        }
        const at = slot * ${RULE_WORDS}
        if (ruleWords[at] === ${LATER}) chain.make(slot)
        v = runs[ruleWords[at]](pkt, hook, ruleWords[at + ${K}])
      }
      if (v !== ${NEXT}) return v
      ${marked ? 'if (pkt.mark !== mark) { mark = pkt.mark; after = best; break }' : ''}
    }
  }
})
return { run, hash, seek }`
    return new Function('chain', 'codes', 'tables', 'names', 'isCut', text)(
      this,
      this.#source.shapes.codes,
      tables,
      this.#source.names.exact,
      isCut,
    ) as Generated
  }
}

/** What is generated. */
type Generated = Pick<IndexWalk, 'hash' | 'seek'> & { readonly run: ChainFn }

export class IndexedChain {
  readonly #source: ChainSource
  readonly #keys: RuleKeys
  readonly #walk: IndexWalk
  readonly #base: number
  /** In the form that tells the flow cache; null until it is asked for. */
  #recorded: IndexWalk | null = null

  /** Null if looking up would not help. `ahead`: packets may come meanwhile. */
  static make(source: ChainSource, ahead: boolean): IndexedChain | null {
    const { slots, env, family, names } = source
    if (slots.count < (env.indexFrom ?? INDEX_FROM)) return null
    const keys = new RuleKeys(family, slots, names, ahead ? env.host : null)
    if (keys.loose === slots.count) return null
    return env.indexFrom !== undefined || pays(keys, slots) ? new IndexedChain(source, keys) : null
  }

  private constructor(source: ChainSource, keys: RuleKeys) {
    this.#source = source
    this.#keys = keys
    this.#walk = new IndexWalk(source, keys)
    this.#base = source.slots.base
  }

  get made(): Made {
    return this.#walk.made
  }

  get walk(): IndexWalk {
    return this.#walk
  }

  /** The same walk by the code of another source of the same rules. */
  recorded(source: ChainSource): Made {
    this.#recorded ??= new IndexWalk(source, this.#keys)
    return this.#recorded.made
  }

  #unrecord(): void {
    this.#recorded?.release()
    this.#recorded = null
  }

  /** Nobody walks here any more. */
  release(): void {
    this.#unrecord()
    this.#walk.release()
  }

  /**
   * The slots have been edited, and nothing asked since. False: better make a new one. Else settle() comes before the next
   * packet.
   */
  edited({ removed, added }: SlotEdit): boolean {
    const { slots } = this.#source
    const { count } = slots
    this.#unrecord()
    // Code knows where the records of its rules are.
    if (slots.store !== this.#walk.store || slots.base !== this.#base) return false
    if (removed.length + added.length > 64 + (count >> 2)) return false
    for (const { slot, rule } of removed) {
      this.#keys.remove(slot, rule)
      this.#walk.forget(slot)
    }
    for (const slot of added) this.#keys.add(slot)
    return !this.#keys.worn && this.#keys.loose * 8 < count * 7
  }

  /** Makes code that no packet has asked for yet, of up to `most` rules; of how many it did. */
  warm(most: number): number {
    return this.#walk.warm(most)
  }

  /** Takes over what the keys have become. */
  settle(): void {
    this.#walk.settle()
    this.#unrecord()
  }
}

/** To the next slot of the list at p; p = 0: of one slot. */
const advance = (i: number): string =>
  `if (p${i} === 0) o${i} = Infinity; else { s${i} = lists[++p${i}]; o${i} = ${orderOf(i)} }`

const orderOf = (i: number): string => `s${i} < 0 ? Infinity : orders[s${i}]`

/** Statements that mix what table `signature` is keyed by into h; mirrors RuleKeys' hashes. */
function emitHash({ signature }: KeyTable, { family }: ChainSource, markMask: number): string {
  const steps: string[] = []
  const mixIn = (value: string): void => {
    steps.push(`h = Math.imul(h ^ ${value}, 0x9e3779b1); h ^= h >>> 15`)
  }
  const prefix = (field: 's' | 'd', bits: number): void => {
    for (let word = 0; word * 32 < bits && word < (family === 4 ? 1 : 4); word++) {
      const mask = maskOf(bits - word * 32)
      mixIn(mask === -1 ? `pkt.${field}${word}` : `(pkt.${field}${word} & ${mask})`)
    }
  }
  if (signature.source > 0) prefix('s', signature.source)
  if (signature.destination > 0) prefix('d', signature.destination)
  if (signature.protocol) mixIn('pkt.proto')
  if (signature.inInterface) mixIn('names.t[pkt.iif]')
  if (signature.outInterface) mixIn('names.t[pkt.oif]')
  if (signature.mark) mixIn(`(pkt.mark & ${markMask})`)
  if (signature.sport) mixIn('pkt.sport')
  if (signature.dport) mixIn('pkt.dport')
  return steps.join('; ')
}

/** A block that is passed over where there is no port to look up. */
const onlyWithPort = ({ signature }: KeyTable, block: string): string => {
  if (signature.dport) return `if (pkt.dport >= 0) { ${block} }`
  return signature.sport ? `if (pkt.sport >= 0) { ${block} }` : `{ ${block} }`
}

/** Sets p, s and o to the list in table `i` for the hash h, if there is one. */
const emitFind = (i: number, order: string): string => `const { cells, wrap } = t${i}
      for (let c = (h << 1) & wrap; cells[c + 1] !== 0; c = (c + 2) & wrap) if (cells[c] === h) {
        if ((s${i} = cells[c + 1] - 1) < 0) s${i} = lists[p${i} = -1 - s${i}]
        o${i} = ${order}
        break
      }`
