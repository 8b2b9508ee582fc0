// One chain in force, and the versions of it that edits put in force one after the other.
//
//     LoadedChain   what jumps hold: the code, the policy's counters
//         └─ ChainVersion   what an edit replaces: the rules with their slots, states, counters, what is made of them
//
// A version whose rules are all new is made while packets still pass the one before (tables.ts); a few new rules are
// put into the one in force. Code is made when the first packet needs it.

import { type Counted, newCountedId } from '../conntrack/ways.ts'
import type { Packet } from '../datapath/packet.ts'
import type { Codes, Made, Owner } from './compile/codes.ts'
import { IndexedChain } from './compile/indexed.ts'
import { compileLinear, compileTraced, type LinearChain, releaseLinear } from './compile/linear.ts'
import type { Callable, ChainSource, StateHolders } from './compile/rule.ts'
import { type Chain, type Counters, isVerdictAlone, type NewCounters, type Rule } from './model.ts'
import { doesNeed, fillStates, Need, setsOf } from './needs.ts'
import { type Kept, RuleSlots } from './slots.ts'
import type { LoadedTable } from './tables.ts'

/** States of rules that are about to come into a chain, made ahead. */
export type MadeStates = ReadonlyMap<Rule, StateHolders | null>

/** What a version counts its rules by. */
const COUNTED = Need.Tracking | Need.Tracing | Need.Rewriting

export class ChainVersion {
  model: Chain
  readonly slots: RuleSlots
  /** Rules here that need connection tracking. */
  tracking = 0
  /** Rules here with the target TRACE. */
  tracing = 0
  /** Rules here that change what later rules are looked up by, and let the walk go on. */
  rewriting = 0
  /** Its code, made before it is in force; null: not yet. */
  ahead: Made | null = null
  #index: IndexedChain | null = null
  #linear: LinearChain | null = null
  /** The walk that an observer hears of. */
  #told: Made | null = null
  /** Slots whose rules have state; null as long as none ever had. */
  #stateful: Set<number> | null = null
  readonly #table: LoadedTable

  /** Without rules, until they are put in. */
  constructor(table: LoadedTable, model: Chain) {
    this.#table = table
    this.model = model
    this.slots = new RuleSlots(table.records)
  }

  get index(): IndexedChain | null {
    return this.#index
  }

  get hasState(): boolean {
    return this.#stateful !== null && this.#stateful.size > 0
  }

  /** Puts in the first rules. What the chain's `needs` say is not there costs nothing. After a throw end() gives back what it took. */
  fill(stateOf: (rule: Rule) => StateHolders | null): void {
    const { model, slots } = this
    if (doesNeed(model, COUNTED)) for (const rule of model.rules) this.#count(rule, 1)
    if (doesNeed(model, Need.Sets))
      for (const rule of model.rules) for (const set of setsOf(rule)) this.#table.env.sets.hold(set)
    const stateAt = (rule: Rule, slot: number): StateHolders | null => {
      const states = stateOf(rule)
      if (states !== null) (this.#stateful ??= new Set()).add(slot)
      return states
    }
    slots.fill(model.rules, doesNeed(model, Need.States) ? stateAt : null)
  }

  /** Puts new rules in; those that are the same objects keep their counters. */
  edit(model: Chain, kept: Kept, stateOf: (rule: Rule) => StateHolders | null): void {
    this.model = model
    if (model.rules === this.slots.rules) return
    const { env } = this.#table
    const edit = this.slots.replace(model.rules, kept, stateOf)
    for (const { slot, rule, states } of edit.removed) {
      this.#count(rule, -1)
      this.#stateful?.delete(slot)
      if (states) this.#table.retire(rule)
    }
    for (const slot of edit.added) {
      const rule = this.slots.bySlot[slot]!
      this.#count(rule, 1)
      if (this.slots.statesOf(slot) !== null) (this.#stateful ??= new Set()).add(slot)
      for (const set of setsOf(rule)) env.sets.hold(set)
    }
    for (const { rule } of edit.removed) for (const set of setsOf(rule)) env.sets.release(set)
    if (this.#index?.edited(edit) === false) this.#use(null)
  }

  /** [packets, bytes] of each rule in turn; a copy. */
  get counters(): Float64Array {
    const { slots } = this
    const out = new Float64Array(slots.count * 2)
    for (let i = 0; i < slots.count; i++) {
      out[i * 2] = slots.packetsOf(slots.at[i]!)
      out[i * 2 + 1] = slots.bytesOf(slots.at[i]!)
    }
    return out
  }

  setCounters(of: ReadonlyMap<number, NewCounters>): void {
    const { slots } = this
    for (const [index, { packets, bytes, seen }] of of) {
      const slot = slots.at[index]!
      if (seen === undefined) slots.setCounters(slot, packets, bytes)
      else slots.tally(slot, packets - seen.packets, bytes - seen.bytes)
    }
  }

  /** What a rule has counted since `seen`. */
  countedSince(index: number, seen: Counters): Counters {
    const slot = this.slots.at[index]!
    return {
      packets: this.slots.packetsOf(slot) - seen.packets,
      bytes: this.slots.bytesOf(slot) - seen.bytes,
    }
  }

  /** A new rule goes on from what another has counted. */
  carry(index: number, { packets, bytes }: Counters): void {
    this.slots.setCounters(this.slots.at[index]!, packets, bytes)
  }

  /** As the kernel's checkentry, which runs for every rule whenever a table is replaced. */
  resetState(): void {
    const { slots } = this
    const { env, family } = this.#table
    for (const slot of this.#stateful ?? []) {
      this.#table.retire(slots.bySlot[slot]!)
      fillStates(slots.bySlot[slot]!, slots.statesOf(slot)!, env, family)
    }
  }

  /** It is in force no more, nor is anything that counted for it. Its states are over once those of its successor are made. */
  end(): void {
    this.forget()
    const { env } = this.#table
    if (this.#stateful !== null)
      for (const slot of this.#stateful) this.#table.retire(this.slots.bySlot[slot]!)
    if (doesNeed(this.model, Need.Sets))
      for (const rule of this.slots.rules) for (const set of setsOf(rule)) env.sets.release(set)
    this.slots.release()
  }

  /** Nobody calls its code any more. */
  forget(): void {
    this.#use(null)
    this.#useLinear(null)
    this.#untell()
    this.ahead = null
  }

  /** Its code. `ahead`: it is not in force, and packets may come meanwhile. */
  make(source: ChainSource, ahead = false): Made {
    this.#untell()
    if (this.settleIndex(source, ahead) === null) this.#useLinear(compileLinear(source, this.#linear))
    else this.#useLinear(null)
    const { made } = (this.#index ?? this.#linear)!
    this.#told = tell(source, this.model, made)
    return this.#told ?? made
  }

  /** Brings `index` up to date; null where looking up does not help. */
  settleIndex(source: ChainSource, ahead = false): IndexedChain | null {
    if (this.#table.rewriting > 0 || source.observed?.observer.misses === true) this.#use(null)
    else if (this.#index === null) this.#use(IndexedChain.make(source, ahead))
    else this.#index.settle()
    return this.#index
  }

  #use(index: IndexedChain | null): void {
    this.#index?.release()
    this.#index = index
  }

  /** compileLinear() has released what was there before. */
  #useLinear(linear: LinearChain | null): void {
    if (linear === null && this.#linear !== null) releaseLinear(this.#table.shapes, this.#linear)
    this.#linear = linear
  }

  #untell(): void {
    if (this.#told !== null) this.#table.shapes.release(this.#told)
    this.#told = null
  }

  #count(rule: Rule, by: 1 | -1): void {
    if (!doesNeed(rule, COUNTED)) return
    if (doesNeed(rule, Need.Tracking)) this.tracking += by
    if (doesNeed(rule, Need.Tracing)) this.tracing += by
    if (doesNeed(rule, Need.Rewriting)) this.rewriting += by
  }
}

/** A built-in chain's code, with its walks told to the observer; null: there is none. */
function tell({ observed, shapes: { codes } }: ChainSource, { policy }: Chain, { fn, k }: Made): Made | null {
  if (observed === null || policy === null) return null
  const { observer, chain } = observed
  const run = codes.runs[fn]!
  const told = codes.add((pkt, hook) => {
    observer.walk(chain, pkt)
    const verdict = run(pkt, hook, k)
    observer.walked(chain, pkt, verdict)
    return verdict
  })
  return { fn: told, k: 0 }
}

/** One chain in force. Its number stays the same while the chain exists, so that jumps can hold it. */
export class LoadedChain implements Counted, Callable, Owner {
  readonly head: number
  /** It waits for LoadedTable.warm(). */
  cold = false
  readonly id = newCountedId()
  model: Chain
  slots: RuleSlots
  #policyPackets = 0
  #policyBytes = 0
  #version: ChainVersion
  #traced: Later | null = null
  #recorded: Later | null = null
  readonly #table: LoadedTable

  constructor(table: LoadedTable, version: ChainVersion) {
    this.#table = table
    this.#version = version
    this.model = version.model
    this.slots = version.slots
    this.head = table.codes.open(this)
  }

  get codes(): Codes {
    return this.#table.codes
  }

  /** For packets that TRACE has marked, and for tables with such rules. */
  get traced(): Callable {
    return (this.#traced ??= new Later(this, 'compileTraced'))
  }

  /** For a packet that the flow cache records. */
  get recorded(): Callable {
    return (this.#recorded ??= new Later(this, 'compileRecorded'))
  }

  /** What is in force. */
  get version(): ChainVersion {
    return this.#version
  }

  get hasState(): boolean {
    return this.#version.hasState
  }

  get policyPackets(): number {
    this.#table.flows.flush()
    return this.#policyPackets
  }

  get policyBytes(): number {
    this.#table.flows.flush()
    return this.#policyBytes
  }

  setPolicyCounters({ packets, bytes, seen }: NewCounters): void {
    this.#policyPackets = packets + (seen === undefined ? 0 : this.#policyPackets - seen.packets)
    this.#policyBytes = bytes + (seen === undefined ? 0 : this.#policyBytes - seen.bytes)
  }

  /** Packets that the policy took. */
  tally(_: number, packets: number, bytes: number): void {
    this.#policyPackets += packets
    this.#policyBytes += bytes
  }

  /** [packets, bytes] of each rule in turn; a copy. */
  get counters(): Float64Array {
    this.#table.flows.flush()
    return this.#version.counters
  }

  /** Puts a version in force, between two packets. */
  put(version: ChainVersion): void {
    const before = this.#version.index
    this.#version = version
    this.model = version.model
    this.slots = version.slots
    this.recompile()
    if (before !== null || version.index !== null) this.#tellAhead()
    if (version.ahead !== null) this.codes.set(this.head, version.ahead)
    version.ahead = null
  }

  /** Edits the version in force, between two packets. */
  edit(model: Chain, kept: Kept, states: MadeStates): void {
    const version = this.#version
    const before = version.index
    version.edit(model, kept, (rule) => states.get(rule) ?? null)
    this.model = model
    this.recompile()
    // An index that stays is not settled before the next packet asks for code, which is behind the look-ahead.
    if (before !== null) this.#table.ahead?.set(this, null)
  }

  /** Code is made anew when the next packet comes. */
  recompile(): void {
    this.codes.forget(this.head)
    this.#traced?.again()
    this.#recorded?.again()
  }

  /** The chain is gone; its version ends when nobody counts for it any more. */
  end(): void {
    this.cold = false
    if (this.#version.index !== null) this.#table.ahead?.set(this, null)
    this.#traced?.end()
    this.#recorded?.end()
    this.codes.close(this.head)
  }

  /** Code for an observer, or without one, is made from scratch. */
  reobserve(): void {
    this.recompile()
    this.#version.forget()
    this.#tellAhead()
  }

  /** The look-ahead goes by the same index. */
  #tellAhead(): void {
    this.#table.ahead?.set(this, this.#version.index?.walk ?? null)
  }

  #source(callee: (name: string) => number, { slots } = this.#version): ChainSource {
    const { family, name, env, names, watch, js, shapes } = this.#table
    const { observer } = watch
    const observed = observer === null ? null : { observer, chain: observer.chain(family, name, this) }
    return { family, slots, env, names, observed, callee, js, shapes }
  }

  /** Puts code into its head. */
  compile(): void {
    const made = this.#version.make(this.#source((name) => this.#table.chain(name).head))
    this.#tellAhead()
    this.codes.set(this.head, made)
  }

  /**
   * Makes the code of a version that is not in force yet, of so many rules that those are made when a packet asks: by then
   * all chains are in force that it jumps to. The index lasts longer than some of them: it asks by name for each rule.
   */
  compileAhead(version: ChainVersion): void {
    version.ahead = version.make(
      this.#source((name) => this.#table.chain(name).head, version),
      true,
    )
  }

  /** Makes code before a packet asks for it, of about `most` rules; of how many it did. 0: it is all there. */
  warm(most: number): number {
    if (this.codes.has(this.head)) return this.#version.index?.warm(most) ?? 0
    this.compile()
    return 1 + this.slots.count
  }

  compileRecorded(): Compiled {
    const table = this.#table
    const version = this.#version
    // The index is as the last commit left it once there is code.
    if (!this.codes.has(this.head)) {
      const index = version.settleIndex(this.#source((name) => table.chain(name).head))
      this.#tellAhead()
      if (index !== null) this.codes.set(this.head, index.made)
    }
    const source = { ...this.#source((name) => table.chain(name).recorded.head), recorder: table.flows }
    const made = version.index?.recorded(source)
    // The index ends what it has made.
    if (made !== undefined) return { made, release: () => {} }
    const linear = compileLinear(source, null)
    return { made: linear.made, release: () => releaseLinear(table.shapes, linear) }
  }

  compileTraced(): Compiled {
    const { shapes } = this.#table
    const rules = this.slots.count
    const source = this.#source((name) => this.#table.chain(name).traced.head)
    const linear = compileTraced(source, (p, index) => {
      // The end of a built-in chain is its policy, which the walk tells of.
      if (p.trace && (index < rules || this.model.policy === null)) this.trace(p, index)
    })
    const told = tell(source, this.model, linear.made)
    const release = (): void => {
      releaseLinear(shapes, linear)
      if (told !== null) shapes.release(told)
    }
    return { made: told ?? linear.made, release }
  }

  /** trace_packet(): rule `index` fits, or the end is reached. */
  trace(pkt: Packet, index: number): void {
    const { env, name } = this.#table
    const { rules, policy } = this.model
    const rule = rules[index]
    const kind = rule !== undefined && !isVerdictAlone(rule) ? 'rule' : policy === null ? 'return' : 'policy'
    env.host.events.trace?.({ table: name, chain: this.model.name, kind, rule: index + 1, pkt })
  }
}

/** Code, and what is to be done when nobody calls it any more. */
interface Compiled {
  readonly made: Made
  release(): void
}

/** Code that is made when the first packet comes. */
class Later implements Callable, Owner {
  readonly codes: Codes
  readonly head: number
  readonly #chain: LoadedChain
  readonly #make: 'compileTraced' | 'compileRecorded'
  #compiled: Compiled | null = null

  constructor(chain: LoadedChain, make: 'compileTraced' | 'compileRecorded') {
    this.codes = chain.codes
    this.head = this.codes.open(this)
    this.#chain = chain
    this.#make = make
  }

  compile(): void {
    this.#compiled = this.#chain[this.#make]()
    this.codes.set(this.head, this.#compiled.made)
  }

  /** What was made is old. */
  again(): void {
    this.codes.forget(this.head)
    this.#compiled?.release()
    this.#compiled = null
  }

  end(): void {
    this.again()
    this.codes.close(this.head)
  }
}
