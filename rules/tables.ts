// The loaded tables of one host: each hooks itself into the packet path when it is first used, as the kernel's
// do, and holds the chains in force with their counters and code.
//
//     TableEdit ── commit() ──> LoadedTable ── LoadedChain (model, counters, state, code)
//
// A commit happens between two packets; chains that it does not name are not touched, neither copied nor
// compiled again. Code is made when the first packet needs it.

import type { FlowCache } from '../conntrack/flow-cache.ts'
import { type Counted, newCountedId } from '../conntrack/ways.ts'
import { Hook, Priority, Verdict } from '../datapath/hooks.ts'
import type { Host } from '../datapath/host.ts'
import type { Family, Packet } from '../datapath/packet.ts'
import { IndexedChain } from './compile/indexed.ts'
import { compileLinear, compileTraced, type LinearChain } from './compile/linear.ts'
import { PatternTables } from './compile/names.ts'
import { type Callable, type ChainFn, type ChainSource, call, type Foresee } from './compile/rule.ts'
import { type Fields, type Made, NO_FIELDS, Shapes } from './compile/shapes.ts'
import { type JsOf, makeJs } from './compile/template.ts'
import { CONTINUE, type CompileEnv } from './extension.ts'
import { RuleLookAhead } from './look-ahead.ts'
import { BUILTIN, type Chain, type Counters, isVerdictAlone, type Rule, type TableName } from './model.ts'
import { fillStates, makeStates, needsTracking, releaseStates, rewrites, setsOf, traces } from './needs.ts'
import type { RuleObserver } from './observe.ts'
import { RecordPool, RuleSlots } from './slots.ts'

/** Chains to put in place, or to take away (null). */
export interface TableEdit {
  readonly family: Family
  readonly table: TableName
  readonly chains: ReadonlyMap<string, Chain | null>
  /** No rule of before is among the new ones. */
  readonly anew?: boolean
  /** New values of counters (restore -c, -Z, -c PKTS BYTES): by chain; policy, and rules by position. */
  readonly counters?: ReadonlyMap<string, { policy?: Counters; rules?: ReadonlyMap<number, Counters> }>
}

const HOOK_OF: Readonly<Record<string, Hook>> = {
  PREROUTING: Hook.PreRouting,
  INPUT: Hook.LocalIn,
  FORWARD: Hook.Forward,
  OUTPUT: Hook.LocalOut,
  POSTROUTING: Hook.PostRouting,
}

const PRIORITY: Readonly<Record<Exclude<TableName, 'nat'>, number>> = {
  raw: Priority.Raw,
  mangle: Priority.Mangle,
  filter: Priority.Filter,
  security: Priority.Security,
}

/** One chain in force. The object stays the same while the chain exists, so that jumps can hold it. */
export class LoadedChain implements Counted, Callable {
  // What jumps need stands together.
  run: ChainFn = compileAndRun
  k: Fields = NO_FIELDS
  foresee: Foresee | null = null
  readonly id = newCountedId()
  model: Chain
  readonly slots: RuleSlots
  #policyPackets = 0
  #policyBytes = 0
  /** Rules here that need connection tracking. */
  tracking = 0
  /** Rules here with the target TRACE. */
  tracing = 0
  /** Rules here that change what later rules are looked up by, and let the walk go on. */
  rewriting = 0
  #traced: Later | null = null
  #recorded: Later | null = null
  #linear: LinearChain | null = null
  #index: IndexedChain | null = null
  /** Slots whose rules have state; null as long as none ever had. */
  #stateful: Set<number> | null = null
  readonly #table: LoadedTable

  /** Without rules, until they are put in force. */
  constructor(table: LoadedTable, model: Chain) {
    this.#table = table
    this.model = model
    this.slots = new RuleSlots(table.records)
  }

  /** For packets that TRACE has marked, and for tables with such rules. */
  get traced(): Callable {
    return (this.#traced ??= new Later(this, 'compileTraced'))
  }

  /** For a packet that the flow cache records. */
  get recorded(): Callable {
    return (this.#recorded ??= new Later(this, 'compileRecorded'))
  }

  get hasState(): boolean {
    return this.#stateful !== null && this.#stateful.size > 0
  }

  get policyPackets(): number {
    this.#table.flows.flush()
    return this.#policyPackets
  }

  get policyBytes(): number {
    this.#table.flows.flush()
    return this.#policyBytes
  }

  setPolicyCounters({ packets, bytes }: Counters): void {
    this.#policyPackets = packets
    this.#policyBytes = bytes
  }

  /** Packets that the policy took. */
  tally(_: number, packets: number, bytes: number): void {
    this.#policyPackets += packets
    this.#policyBytes += bytes
  }

  /** [packets, bytes] of each rule in turn; a copy. */
  get counters(): Float64Array {
    this.#table.flows.flush()
    const { slots } = this
    const out = new Float64Array(slots.count * 2)
    for (let i = 0; i < slots.count; i++) {
      out[i * 2] = slots.packetsOf(slots.at[i]!)
      out[i * 2 + 1] = slots.bytesOf(slots.at[i]!)
    }
    return out
  }

  /** Puts a new version in force; rules that are the same objects keep their counters. */
  replace(model: Chain, anew: boolean): void {
    const { env, family } = this.#table
    this.model = model
    if (model.rules !== this.slots.rules) {
      const edit = this.slots.replace(model.rules, anew, (rule) => makeStates(rule, env, family))
      for (const { slot, rule, states } of edit.removed) {
        this.#count(rule, -1)
        this.#stateful?.delete(slot)
        if (states) this.#table.retire(rule)
      }
      for (const slot of edit.added) {
        const rule = this.slots.bySlot[slot]!
        if (rule.plain === true) continue
        this.#count(rule, 1)
        if (this.slots.statesOf(slot) !== null) (this.#stateful ??= new Set()).add(slot)
        for (const set of setsOf(rule)) env.sets.hold(set)
      }
      for (const { rule } of edit.removed) for (const set of setsOf(rule)) env.sets.release(set)
      if (this.#index?.edited(edit) === false) this.#use(null)
    }
    this.recompile()
  }

  /** Code is made anew when the next packet comes. */
  recompile(): void {
    this.run = compileAndRun
    this.k = NO_FIELDS
    this.foresee = null
    this.#traced?.again()
    this.#recorded?.again()
  }

  setCounters(index: number, { packets, bytes }: Counters): void {
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

  /** The chain is gone. Its states are over once the new ones of the table are made. */
  end(): void {
    this.#use(null)
    for (const slot of this.#stateful ?? []) this.#table.retire(this.slots.bySlot[slot]!)
    for (const rule of this.slots.rules) for (const set of setsOf(rule)) this.#table.env.sets.release(set)
    this.slots.release()
  }

  #count(rule: Rule, by: 1 | -1): void {
    if (rule.plain === true) return
    if (needsTracking(rule)) this.tracking += by
    if (traces(rule)) this.tracing += by
    if (rewrites(rule)) this.rewriting += by
  }

  /** Code for an observer, or without one, is made from scratch. */
  reobserve(): void {
    this.#use(null)
    this.#linear = null
    this.recompile()
  }

  /** The look-ahead goes by the same index. */
  #use(index: IndexedChain | null): void {
    this.#index = index
    this.#table.ahead?.set(this, index?.walk ?? null)
  }

  #source(callee: (name: string) => Callable): ChainSource {
    const { family, name, env, names, watch, js, shapes } = this.#table
    const { observer } = watch
    const observed = observer === null ? null : { observer, chain: observer.chain(family, name, this) }
    return { family, slots: this.slots, env, names, observed, callee, js, shapes }
  }

  /** A built-in chain's code, with its walks told to the observer. */
  #told({ observed }: ChainSource, run: ChainFn): ChainFn {
    if (observed === null || this.model.policy === null) return run
    const { observer, chain } = observed
    return (pkt, hook, k) => {
      observer.walk(chain, pkt)
      const verdict = run(pkt, hook, k)
      observer.walked(chain, pkt, verdict)
      return verdict
    }
  }

  /** Brings #index up to date; null where looking up does not help. */
  #settleIndex(source: ChainSource): IndexedChain | null {
    let index = this.#index
    if (this.#table.rewriting > 0 || source.observed?.observer.misses === true) index = null
    else if (index === null) index = IndexedChain.make(source)
    else index.settle()
    this.#use(index)
    return index
  }

  /** Makes `run`. */
  compile(): void {
    const table = this.#table
    const source = this.#source((name) => table.chain(name))
    if (this.#settleIndex(source) === null) this.#linear = compileLinear(source, this.#linear)
    else this.#linear = null
    const { run, k, foresee } = (this.#index ?? this.#linear)!
    this.run = this.#told(source, run)
    this.k = k
    this.foresee = foresee
  }

  /** Makes code before a packet asks for it, of about `most` rules; of how many it did. 0: it is all there. */
  warm(most: number): number {
    if (this.run !== compileAndRun) return this.#index?.warm(most) ?? 0
    this.compile()
    return 1 + this.slots.count
  }

  compileRecorded(): Made {
    const table = this.#table
    // The index is as the last commit left it once `run` is made.
    if (this.run === compileAndRun && this.#settleIndex(this.#source((name) => table.chain(name))) !== null)
      this.run = this.#index!.run
    const source = { ...this.#source((name) => table.chain(name).recorded), recorder: table.flows }
    return this.#index?.recorded(source) ?? compileLinear(source, null)
  }

  compileTraced(): Made {
    const table = this.#table
    const rules = this.slots.count
    const source = this.#source((name) => table.chain(name).traced)
    const run = compileTraced(source, (p, index) => {
      // The end of a built-in chain is its policy, which the walk tells of.
      if (p.trace && (index < rules || this.model.policy === null)) this.trace(p, index)
    })
    return { run: this.#told(source, run), k: NO_FIELDS, foresee: null }
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

/** The code of a chain that has none yet. */
function compileAndRun(this: LoadedChain, pkt: Packet, hook: number): number {
  this.compile()
  return this.run(pkt, hook, this.k)
}

/** Code that is made when the first packet comes. */
class Later implements Callable {
  run: ChainFn
  k: Fields = NO_FIELDS
  readonly foresee = null
  readonly #first: ChainFn

  constructor(chain: LoadedChain, make: 'compileTraced' | 'compileRecorded') {
    this.#first = (pkt, hook) => {
      const { run, k } = chain[make]()
      this.run = run
      this.k = k
      return run(pkt, hook, k)
    }
    this.run = this.#first
  }

  /** What was made is old. */
  again(): void {
    this.run = this.#first
    this.k = NO_FIELDS
  }
}

/**
 * The edit's chains as the tool puts them into the kernel's table, where the first rule that names a recent list or a
 * hashlimit table says how it is made: built-in ones, then the others by name.
 */
function inOrder({ chains, table }: TableEdit): readonly string[] {
  const builtin = BUILTIN[table]
  const user = [...chains.keys()].filter((name) => !builtin.includes(name)).sort()
  return [...builtin.filter((name) => chains.has(name)), ...user]
}

/** The observer of one host's tables. */
export interface Watch {
  observer: RuleObserver | null
}

/** What all tables of a host share. */
interface Common {
  readonly env: CompileEnv
  readonly names: PatternTables
  readonly watch: Watch
  /** Hears of the IPv4 packets that are about to be received. */
  readonly ahead: RuleLookAhead
}

export class LoadedTable {
  readonly family: Family
  readonly name: TableName
  readonly env: CompileEnv
  readonly names: PatternTables
  readonly watch: Watch
  /** Null for IPv6. */
  readonly ahead: RuleLookAhead | null
  /** Built-in chains first, then user chains in order of creation. */
  readonly chains = new Map<string, LoadedChain>()
  /** Those of short chains. */
  readonly records = new RecordPool()
  /** What makes the code of its chains. */
  readonly js: JsOf
  readonly shapes = new Shapes()
  readonly #stateful = new Set<LoadedChain>()
  /** Rules whose old states end with the commit, once for each time that they were made. */
  readonly #retired: Rule[] = []
  /** Chains whose code may not be made yet. */
  readonly #cold = new Set<LoadedChain>()
  #tracking = 0
  #tracing = 0
  #rewriting = 0
  #untrack: (() => void) | null = null

  constructor(family: Family, name: TableName, { env, names, watch, ahead }: Common) {
    this.ahead = family === 4 ? ahead : null
    this.family = family
    this.name = name
    this.env = env
    this.names = names
    this.js = makeJs(env, family, names)
    this.watch = watch
    for (const chain of BUILTIN[name])
      this.chains.set(chain, new LoadedChain(this, { name: chain, policy: 'ACCEPT', rules: [] }))
    this.#register()
  }

  get flows(): FlowCache {
    return this.env.conntrack.flows
  }

  /** Throws for a chain that is not there: check.ts has refused such a rule before. */
  chain(name: string): LoadedChain {
    const chain = this.chains.get(name)
    if (chain === undefined) throw new Error(`${this.name}: no chain ${name}`)
    return chain
  }

  /** Rules that change what others are looked up by. */
  get rewriting(): number {
    return this.#rewriting
  }

  apply(edit: TableEdit): void {
    this.flows.invalidate()
    const rewriting = this.#rewriting
    for (const name of inOrder(edit)) {
      const model = edit.chains.get(name) ?? null
      const loaded = this.chains.get(name)
      if (loaded) {
        this.#count(loaded, -1)
        this.#stateful.delete(loaded)
      }
      if (model === null) {
        if (loaded) {
          loaded.end()
          this.#cold.delete(loaded)
        }
        this.chains.delete(name)
        continue
      }
      const chain = loaded ?? new LoadedChain(this, model)
      chain.replace(model, edit.anew === true)
      this.#cold.add(chain)
      if (loaded === undefined) this.chains.set(name, chain)
      this.#count(chain, 1)
      if (chain.hasState) this.#stateful.add(chain)
    }
    if (rewriting > 0 !== this.#rewriting > 0) for (const chain of this.chains.values()) chain.recompile()
    for (const chain of this.#stateful) chain.resetState()
    for (const rule of this.#retired) releaseStates(rule, this.env, this.family)
    this.#retired.length = 0
    for (const [name, counters] of edit.counters ?? []) this.#setCounters(this.chain(name), counters)
    this.#followTracking()
  }

  /** Makes code of about `rules` rules; of how many it did. */
  warm(rules: number): number {
    let made = 0
    for (const chain of this.#cold) {
      for (let now = -1; now !== 0 && made < rules; made += now) now = chain.warm(rules - made)
      if (made >= rules) break
      this.#cold.delete(chain)
    }
    return made
  }

  #count(chain: LoadedChain, by: 1 | -1): void {
    this.#tracking += by * chain.tracking
    this.#tracing += by * chain.tracing
    this.#rewriting += by * chain.rewriting
  }

  /** A rule's states are replaced or gone. */
  retire(rule: Rule): void {
    this.#retired.push(rule)
  }

  #setCounters(chain: LoadedChain, to: { policy?: Counters; rules?: ReadonlyMap<number, Counters> }): void {
    if (to.policy) chain.setPolicyCounters(to.policy)
    for (const [index, counters] of to.rules ?? []) chain.setCounters(index, counters)
  }

  #followTracking(): void {
    if (this.#tracking > 0) this.#untrack ??= this.env.conntrack.need(this.family)
    else {
      this.#untrack?.()
      this.#untrack = null
    }
  }

  #register(): void {
    const { hooks } = this.env.host
    if (this.name === 'nat') {
      const lookups: Record<number, (pkt: Packet) => Verdict> = {}
      for (const chain of BUILTIN.nat) lookups[HOOK_OF[chain]!] = this.#walk(chain)
      this.env.nat.attach(this.family, lookups)
      return
    }
    for (const chain of BUILTIN[this.name])
      hooks.register({
        name: this.name,
        family: this.family,
        hook: HOOK_OF[chain]!,
        priority: PRIORITY[this.name],
        run: this.#walk(chain),
        recordable: true,
      })
  }

  /** ipt_do_table() from a built-in chain. Hot. */
  #walk(name: string): (pkt: Packet) => Verdict {
    const chain = this.chain(name)
    const names = this.names
    const hook = HOOK_OF[name]!
    const { flows } = this
    return (pkt) => {
      names.refresh()
      const plain = !flows.recording && !pkt.trace && this.#tracing === 0
      const verdict = plain ? chain.run(pkt, hook, chain.k) : this.#observe(chain, pkt, hook)
      if (verdict !== CONTINUE) return verdict as Verdict
      if (pkt.trace) chain.trace(pkt, chain.model.rules.length)
      if (flows.recording) flows.hit(chain, 0)
      chain.tally(0, 1, pkt.end - pkt.l3)
      return chain.model.policy === 'DROP' ? Verdict.Drop : Verdict.Accept
    }
  }

  /** A walk that somebody follows: TRACE, or the flow cache. */
  #observe(chain: LoadedChain, pkt: Packet, hook: Hook): number {
    if (pkt.trace || this.#tracing > 0) {
      this.flows.spoil()
      return call(chain.traced, pkt, hook)
    }
    // Connections are bound by the nat table when they begin.
    if (this.name !== 'nat') return call(chain.recorded, pkt, hook)
    this.flows.spoil()
    return call(chain, pkt, hook)
  }
}

/** All tables of one host, by family. */
export class Tables {
  readonly host: Host
  readonly #common: Common
  readonly #tables: Readonly<Record<Family, Map<TableName, LoadedTable>>> = { 4: new Map(), 6: new Map() }

  constructor(env: CompileEnv) {
    this.host = env.host
    this.#common = {
      env,
      names: new PatternTables(env.host.devices),
      watch: { observer: null },
      ahead: new RuleLookAhead(env.host, env.nat.ahead),
    }
  }

  get ahead(): RuleLookAhead {
    return this.#common.ahead
  }

  /** The table, registered now if this is its first use. */
  table(family: Family, name: TableName): LoadedTable {
    const of = this.#tables[family]
    let table = of.get(name)
    if (table === undefined) {
      table = new LoadedTable(family, name, this.#common)
      of.set(name, table)
    }
    return table
  }

  /** Tables that were ever used, the newest first, as the kernel lists them to iptables-save. */
  used(family: Family): LoadedTable[] {
    return [...this.#tables[family].values()].reverse()
  }

  isUsed(family: Family, name: TableName): boolean {
    return this.#tables[family].has(name)
  }

  /** Tells `observer` of every walk from the next packet on; null: nobody, and walks cost nothing more. */
  observe(observer: RuleObserver | null): void {
    this.#common.watch.observer = observer
    this.#common.env.conntrack.flows.observed = observer !== null
    for (const of of Object.values(this.#tables))
      for (const table of of.values()) for (const chain of table.chains.values()) chain.reobserve()
  }

  /**
   * Makes code that no packet has asked for yet, of about `rules` rules: for when there is nothing else to do. False: there
   * is none left.
   */
  warm(rules: number): boolean {
    for (const of of [this.#tables[4], this.#tables[6]])
      for (const table of of.values()) if (table.warm(rules) > 0) return true
    return false
  }

  /** Puts edits in force together. They must have passed check.ts. */
  commit(edits: readonly TableEdit[]): void {
    for (const edit of edits) this.table(edit.family, edit.table).apply(edit)
  }
}
