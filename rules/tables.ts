// The loaded tables of one host: each hooks itself into the packet path when it is first used, as the kernel's
// do, and holds the chains in force with their counters and code.
//
//     TableEdit ── prepare ──> versions of chains ── swap ──> LoadedTable ── LoadedChain ── ChainVersion ── end
//                  (packets still meet what was)              (between two packets)              (packets meet what is)
//
// Chains that a commit does not name are not touched, neither copied nor compiled again. Code is made when the first
// packet needs it, or ahead, where packets come while a commit is prepared.

import type { FlowCache } from '../conntrack/flow-cache.ts'
import { Hook, Priority, Verdict } from '../datapath/hooks.ts'
import type { Host } from '../datapath/host.ts'
import type { Family, Packet } from '../datapath/packet.ts'
import { ChainVersion, LoadedChain, type MadeStates } from './chain.ts'
import { byBytes } from './check.ts'
import { Codes } from './compile/codes.ts'
import { PatternTables } from './compile/names.ts'
import { call, type StateHolders } from './compile/rule.ts'
import { Shapes } from './compile/shapes.ts'
import { type JsOf, makeJs } from './compile/template.ts'
import { CONTINUE, type CompileEnv } from './extension.ts'
import { RuleLookAhead } from './look-ahead.ts'
import { BUILTIN, type Chain, type Counters, type NewCounters, type Rule, type TableName } from './model.ts'
import { doesNeed, makeStates, Need, releaseStates } from './needs.ts'
import type { RuleObserver } from './observe.ts'
import { type Kept, keptOf, RecordPool } from './slots.ts'

/** Chains to put in place, or to take away (null). */
export interface TableEdit {
  readonly family: Family
  readonly table: TableName
  readonly chains: ReadonlyMap<string, Chain | null>
  /** Of chains that are in force and have been compared with what comes. */
  readonly kept?: ReadonlyMap<string, Kept>
  /** No rule of before is among the new ones. */
  readonly anew?: boolean
  /** New values of counters (restore -c, -Z, -c PKTS BYTES): policy by chain, and rules by position, of `chains` alone. */
  readonly counters?: ReadonlyMap<string, { policy?: NewCounters; rules?: ReadonlyMap<number, NewCounters> }>
  /** New rules, none of `counters`, that go on counting where others do that are gone then. */
  readonly moved?: readonly MovedCounters[]
}

/** Where a rule stands, from 0. */
interface RulePlace {
  readonly chain: string
  readonly rule: number
}

export interface MovedCounters {
  /** In force. */
  readonly from: RulePlace
  readonly to: RulePlace
  /** What of it is left behind. */
  readonly seen: Counters
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

/** The observer of one host's tables. */
export interface Watch {
  observer: RuleObserver | null
}

/** What a commit puts in force of one chain: a version, of which all rules are new, or an edit of the version in force. */
type Coming =
  | { readonly chain: LoadedChain; readonly version: ChainVersion }
  | {
      readonly chain: LoadedChain
      readonly version: null
      readonly model: Chain
      readonly kept: Kept
      /** Of rules that come; null: none of the chain's has any. */
      readonly states: Map<Rule, StateHolders | null> | null
    }

/** A commit that is prepared. */
interface TableCommit {
  readonly edit: TableEdit
  readonly coming: Coming[]
  readonly gone: LoadedChain[]
}

const isStateful = (rule: Rule): boolean => doesNeed(rule, Need.States)
const NO_STATES: MadeStates = new Map<Rule, StateHolders | null>()
const NONE_MOVED: readonly MovedCounters[] = []
const NO_COUNTERS: ReadonlyMap<number, NewCounters> = new Map()
/** A packet waits for milliseconds while the code for so many rules is made. */
const MANY_RULES = 512

/**
 * Chains as the tool puts them into the kernel's table, where the first rule that names a recent list or a hashlimit table
 * says how it is made: built-in ones, then the others by name.
 */
function inOrder(chains: readonly Chain[], table: TableName): readonly Chain[] {
  const builtin = BUILTIN[table]
  const rank = ({ name }: Chain): number => builtin.indexOf(name) >>> 0
  return [...chains].sort((a, b) => rank(a) - rank(b) || byBytes(a.name, b.name))
}

/** None of the rules was there before. */
function areNew(rules: readonly Rule[], before: readonly Rule[], [head, tail]: Kept): boolean {
  if (before.length === 0 || rules.length === 0) return true
  if (head > 0 || tail > 0) return false
  const old = new Set(before)
  return !rules.some((rule) => old.has(rule))
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
  readonly codes = new Codes()
  readonly shapes = new Shapes(this.codes)
  readonly #stateful = new Set<LoadedChain>()
  /** Rules whose old states end with the commit, once for each time that they were made. */
  readonly #retired: Rule[] = []
  /** Chains whose code may not be made yet: those that are `cold`, from #warmed on. */
  #cold: LoadedChain[] = []
  #warmed = 0
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
      this.chains.set(
        chain,
        new LoadedChain(this, new ChainVersion(this, { name: chain, policy: 'ACCEPT', rules: [], needs: 0 })),
      )
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

  /** Makes what an edit will put in force. Nothing in force changes; packets may come meanwhile. */
  prepare(edit: TableEdit): TableCommit {
    const commit: TableCommit = { edit, coming: [], gone: [] }
    try {
      this.#prepare(commit)
    } catch (error) {
      this.discard(commit)
      throw error
    }
    return commit
  }

  #prepare({ edit, coming, gone }: TableCommit): void {
    const { condResched } = this.env.host
    const stateful: Chain[] = []
    const prepare = (model: Chain, loaded: LoadedChain | undefined): void => {
      const next = this.#comingOf(model, loaded, edit)
      coming.push(next)
      this.#fill(next, edit)
    }
    for (const [name, model] of edit.chains) {
      condResched()
      const loaded = this.chains.get(name)
      if (model === null) {
        if (loaded !== undefined) gone.push(loaded)
      } else if (doesNeed(model, Need.States) && model.rules.some(isStateful)) stateful.push(model)
      else prepare(model, loaded)
    }
    for (const model of inOrder(stateful, this.name)) {
      condResched()
      prepare(model, this.chains.get(model.name))
    }
    if (!this.env.host.isBusy) return
    for (const { chain, version } of coming)
      if (version !== null && version.slots.count >= MANY_RULES) chain.compileAhead(version)
  }

  /** Still without rules and states: what fails while they are made has to be found by discard(). */
  #comingOf(model: Chain, chain: LoadedChain | undefined, edit: TableEdit): Coming {
    const { rules } = model
    const before = chain?.model.rules
    if (before !== undefined && (rules === before || edit.anew !== true)) {
      const kept = edit.kept?.get(model.name) ?? keptOf(before, rules)
      if (rules === before || !areNew(rules, before, kept)) {
        const states = doesNeed(model, Need.States) ? new Map<Rule, StateHolders | null>() : null
        return { chain: chain!, version: null, model, kept, states }
      }
    }
    const version = new ChainVersion(this, model)
    return { chain: chain ?? new LoadedChain(this, version), version }
  }

  #fill(next: Coming, edit: TableEdit): void {
    const stateOf = (rule: Rule): StateHolders | null => makeStates(rule, this.env, this.family)
    const { version } = next
    if (version === null) {
      const { model, kept, states } = next
      if (states === null) return
      const come = model.rules.slice(kept[0], model.rules.length - kept[1])
      for (const rule of come) if (isStateful(rule)) states.set(rule, stateOf(rule))
    } else {
      version.fill(stateOf)
      version.setCounters(edit.counters?.get(version.model.name)?.rules ?? NO_COUNTERS)
    }
  }

  /** What prepare() has made will not be put in force: rooms, sets and states are given back. */
  discard({ coming }: TableCommit): void {
    for (const next of coming) {
      const { chain, version } = next
      if (version === null) {
        for (const [rule, states] of next.states ?? NO_STATES) if (states !== null) this.retire(rule)
      } else {
        if (chain.version === version) chain.end()
        version.end()
      }
    }
    this.#releaseRetired()
  }

  /** Puts in force what prepare() has made, between two packets. Returns what is not in force any more: see finish(). */
  swap({ edit, coming, gone }: TableCommit): ChainVersion[] {
    this.flows.invalidate()
    const { moved = NONE_MOVED } = edit
    const carried = moved.map(({ from, seen }) =>
      this.chain(from.chain).version.countedSince(from.rule, seen),
    )
    const rewriting = this.#rewriting
    const ended: ChainVersion[] = []
    for (const chain of gone) ended.push(this.#remove(chain))
    for (const next of coming) {
      const { chain, version } = next
      // A chain that is new begins with its version.
      const isNew = chain.version === version
      if (isNew) this.chains.set(chain.model.name, chain)
      else this.#count(chain.version, -1)
      if (version === null) {
        chain.edit(next.model, next.kept, next.states ?? NO_STATES)
        chain.version.setCounters(edit.counters?.get(next.model.name)?.rules ?? NO_COUNTERS)
      } else {
        if (!isNew) ended.push(chain.version)
        if (!isNew || version.ahead !== null) chain.put(version)
        // Its states have just been made; finish() knows whether it has any.
        if (this.#stateful.size > 0) this.#stateful.delete(chain)
      }
      this.#count(chain.version, 1)
    }
    if (rewriting > 0 !== this.#rewriting > 0) for (const chain of this.chains.values()) chain.recompile()
    for (const { version } of this.#stateful) version.resetState()
    for (const [name, { policy }] of edit.counters ?? [])
      if (policy) this.chain(name).setPolicyCounters(policy)
    for (const [i, { to }] of moved.entries()) this.chain(to.chain).version.carry(to.rule, carried[i]!)
    this.#followTracking()
    return ended
  }

  /** Ends what was in force. Packets may come meanwhile. */
  finish({ coming }: TableCommit, ended: readonly ChainVersion[]): void {
    const { condResched } = this.env.host
    for (const version of ended) {
      version.end()
      condResched()
    }
    this.#releaseRetired()
    for (const { chain } of coming) {
      if (!chain.cold) this.#cold.push(chain)
      chain.cold = true
      if (chain.hasState) this.#stateful.add(chain)
      else if (this.#stateful.size > 0) this.#stateful.delete(chain)
      condResched()
    }
    // Those that are gone are not kept for long.
    if (this.#cold.length <= 2 * this.chains.size) return
    this.#cold = this.#cold.slice(this.#warmed).filter((chain) => chain.cold)
    this.#warmed = 0
  }

  /** Its version. */
  #remove(chain: LoadedChain): ChainVersion {
    chain.end()
    this.#count(chain.version, -1)
    this.#stateful.delete(chain)
    this.chains.delete(chain.model.name)
    return chain.version
  }

  /** Makes code of about `rules` rules; of how many it did. */
  warm(rules: number): number {
    let made = 0
    for (; this.#warmed < this.#cold.length; this.#warmed++) {
      const chain = this.#cold[this.#warmed]!
      for (let now = -1; chain.cold && now !== 0 && made < rules; made += now) now = chain.warm(rules - made)
      if (made >= rules) return made
      chain.cold = false
    }
    this.#cold = []
    this.#warmed = 0
    return made
  }

  #count({ tracking, tracing, rewriting }: ChainVersion, by: 1 | -1): void {
    this.#tracking += by * tracking
    this.#tracing += by * tracing
    this.#rewriting += by * rewriting
  }

  /** A rule's states are replaced or gone. */
  retire(rule: Rule): void {
    this.#retired.push(rule)
  }

  #releaseRetired(): void {
    for (const rule of this.#retired) releaseStates(rule, this.env, this.family)
    this.#retired.length = 0
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
    const { flows, codes } = this
    const { head } = chain
    return (pkt) => {
      names.refresh()
      const plain = !flows.recording && !pkt.trace && this.#tracing === 0
      const verdict = plain ? codes.call(head, pkt, hook) : this.#observe(chain, pkt, hook)
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
    const tables = edits.map(({ family, table }) => this.table(family, table))
    const commits: TableCommit[] = []
    try {
      for (const [i, table] of tables.entries()) commits.push(table.prepare(edits[i]!))
    } catch (error) {
      for (const [i, commit] of commits.entries()) tables[i]!.discard(commit)
      throw error
    }
    const ended = tables.map((table, i) => table.swap(commits[i]!))
    for (const [i, table] of tables.entries()) table.finish(commits[i]!, ended[i]!)
  }
}
