// The loaded tables of one host: each hooks itself into the packet path when it is first used, as the kernel's
// do, and holds the chains in force with their counters and code.
//
//     TableEdit ── commit() ──> LoadedTable ── LoadedChain (model, counters, state, code)
//
// A commit happens between two packets; chains that it does not name are not touched, neither copied nor
// compiled again. Code is made when the first packet needs it.

import { Hook, Priority, Verdict } from '../datapath/hooks.ts'
import type { Host } from '../datapath/host.ts'
import type { Family, Packet } from '../datapath/packet.ts'
import {
  type ChainFn,
  type CompiledChain,
  compileLinear,
  compileTraced,
  type StateHolders,
} from './compile/linear.ts'
import { PatternTables } from './compile/names.ts'
import { CONTINUE, type CompileEnv } from './extension.ts'
import { BUILTIN, type Chain, type Counters, type Rule, type TableName } from './model.ts'

/** Chains to put in place, or to take away (null). */
export interface TableEdit {
  readonly family: Family
  readonly table: TableName
  readonly chains: ReadonlyMap<string, Chain | null>
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
export class LoadedChain {
  model: Chain
  /** [packets, bytes] of each rule in turn. */
  counters: Float64Array
  states: (StateHolders | null)[]
  policyPackets = 0
  policyBytes = 0
  /** Rules here that need connection tracking. */
  tracking = 0
  /** Names of the sets that rules here hold, once for each time. */
  sets: readonly string[] = []
  hasState = false
  /** Rules here with the target TRACE. */
  tracing = 0
  run: ChainFn
  /** The same for packets that TRACE has marked, and for tables with such rules. */
  readonly traced: { run: ChainFn }
  #code: CompiledChain | null = null
  readonly #table: LoadedTable

  constructor(table: LoadedTable, model: Chain) {
    this.#table = table
    this.model = model
    this.counters = makeCounters(model.rules.length)
    this.states = []
    this.run = this.#compileAndRun
    this.traced = { run: this.#traceAndRun }
    this.#derive()
  }

  /** Puts a new version in force; rules that are the same objects keep their counters. */
  replace(model: Chain): void {
    if (model !== this.model) {
      this.counters = carry(this.model.rules, this.counters, model.rules)
      this.retireStates()
      this.model = model
      this.run = this.#compileAndRun
      this.traced.run = this.#traceAndRun
      this.#derive()
    }
  }

  setCounters(index: number, counters: Counters): void {
    this.counters[index * 2] = counters.packets
    this.counters[index * 2 + 1] = counters.bytes
  }

  /** As the kernel's checkentry, which runs for every rule whenever a table is replaced. */
  resetState(): void {
    for (const [i, holders] of this.states.entries()) {
      if (!holders) continue
      this.#table.retire(this.model.rules[i]!)
      fillStates(this.model.rules[i]!, holders, this.#table)
    }
  }

  /** Its states are over once the new ones of the table are made. */
  retireStates(): void {
    for (const [i, holders] of this.states.entries()) if (holders) this.#table.retire(this.model.rules[i]!)
  }

  #derive(): void {
    this.tracking = 0
    this.tracing = 0
    const sets: string[] = []
    for (const rule of this.model.rules) collectSets(rule, sets)
    this.sets = sets
    this.hasState = false
    this.states = this.model.rules.map((rule) => {
      if (needsTracking(rule)) this.tracking++
      if (rule.target.kind === 'extension' && rule.target.target.name === 'TRACE') this.tracing++
      const holders = makeStates(rule, this.#table)
      if (holders) this.hasState = true
      return holders
    })
  }

  #source(callee: (name: string) => { run: ChainFn }) {
    const { family, env, names } = this.#table
    const { counters, states } = this
    return { family, rules: this.model.rules, counters, states, env, names, callee }
  }

  #compileAndRun: ChainFn = (pkt, hook) => {
    const table = this.#table
    this.#code = compileLinear(
      this.#source((name) => table.chain(name)),
      this.#code,
    )
    this.run = this.#code.run
    return this.run(pkt, hook)
  }

  #traceAndRun: ChainFn = (pkt, hook) => {
    const table = this.#table
    const rules = this.model.rules.length
    this.traced.run = compileTraced({
      ...this.#source((name) => table.chain(name).traced),
      trace: (p, index) => {
        // The end of a built-in chain is its policy, which the walk tells of.
        if (p.trace && (index < rules || this.model.policy === null)) this.trace(p, index)
      },
    })
    return this.traced.run(pkt, hook)
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

/** The kernel takes a rule of nothing but a verdict for the end of its chain (get_chainname_rulenum). */
const isVerdictAlone = ({ base, matches, target }: Rule): boolean =>
  target.kind === 'standard' && matches.length === 0 && Object.values(base).every((part) => part === null)

function needsTracking(rule: Rule): boolean {
  const asks = (tracks: boolean | ((data: unknown) => boolean) | undefined, data: unknown): boolean =>
    typeof tracks === 'function' ? tracks(data) : tracks === true
  if (rule.matches.some((use) => asks(use.match.tracks, use.data))) return true
  return rule.target.kind === 'extension' && asks(rule.target.target.tracks, rule.target.data)
}

const NO_SETS: readonly string[] = []

/** Sets that the rule holds, appended to `into`. */
function collectSets({ matches, target }: Rule, into: string[]): void {
  for (const { match, data } of matches) if (match.sets) into.push(...match.sets(data))
  if (target.kind === 'extension' && target.target.sets) into.push(...target.target.sets(target.data))
}

function makeStates(rule: Rule, table: LoadedTable): StateHolders | null {
  const count = rule.matches.length
  let holders: { s: object | null }[] | null = null
  for (let i = 0; i <= count; i++) {
    const s = makeState(rule, i, table)
    if (s === null) continue
    holders ??= Array.from({ length: count + 1 }, () => ({ s: null }))
    holders[i]!.s = s
  }
  return holders
}

/** State of match `i`, or of the target behind the last match. */
function makeState({ matches, target }: Rule, i: number, { env, family }: LoadedTable): object | null {
  const use = matches[i]
  if (use !== undefined) return use.match.state?.(use.data, env, family) ?? null
  return target.kind === 'extension' ? (target.target.state?.(target.data, env, family) ?? null) : null
}

function fillStates(rule: Rule, holders: StateHolders, table: LoadedTable): void {
  for (let i = 0; i < holders.length; i++) holders[i]!.s = makeState(rule, i, table)
}

function releaseStates(rule: Rule, { env, family }: LoadedTable): void {
  for (const use of rule.matches) use.match.release?.(use.data, env, family)
  if (rule.target.kind === 'extension') rule.target.target.release?.(rule.target.data, env, family)
}

/** Rules beyond which a chain gets room for more, so that what is appended leaves counters and code where they are. */
const LONG_CHAIN = 64

function makeCounters(rules: number): Float64Array {
  const room = rules < LONG_CHAIN ? rules : rules + (rules >> 3)
  return new Float64Array(new ArrayBuffer(room * 16), 0, rules * 2)
}

/** Counters of the rules that both versions share, by identity: the ends first, then whatever moved. */
function carry(old: readonly Rule[], counters: Float64Array, rules: readonly Rule[]): Float64Array {
  const shorter = Math.min(old.length, rules.length)
  let head = 0
  while (head < shorter && old[head] === rules[head]) head++
  const bytes = counters.buffer.byteLength
  // Longer or shorter at its end alone. What stands there may be left of rules that are gone.
  if (head === shorter && rules.length * 16 <= bytes && rules.length * 32 >= bytes)
    return new Float64Array(counters.buffer, 0, rules.length * 2).fill(0, head * 2)
  const out = makeCounters(rules.length)
  out.set(counters.subarray(0, head * 2))
  let tail = 0
  while (tail < shorter - head && old[old.length - 1 - tail] === rules[rules.length - 1 - tail]) tail++
  if (tail > 0) out.set(counters.subarray((old.length - tail) * 2), (rules.length - tail) * 2)
  if (head + tail < shorter) {
    const moved = new Map<Rule, number>()
    for (let i = head; i < old.length - tail; i++) moved.set(old[i]!, i)
    for (let i = head; i < rules.length - tail; i++) {
      const from = moved.get(rules[i]!)
      if (from === undefined) continue
      out[i * 2] = counters[from * 2]!
      out[i * 2 + 1] = counters[from * 2 + 1]!
    }
  }
  return out
}

export class LoadedTable {
  readonly family: Family
  readonly name: TableName
  readonly env: CompileEnv
  readonly names: PatternTables
  /** Built-in chains first, then user chains in order of creation. */
  readonly chains = new Map<string, LoadedChain>()
  readonly #stateful = new Set<LoadedChain>()
  /** Rules whose old states end with the commit, once for each time that they were made. */
  readonly #retired: Rule[] = []
  #tracking = 0
  #tracing = 0
  #untrack: (() => void) | null = null

  constructor(family: Family, name: TableName, env: CompileEnv, names: PatternTables) {
    this.family = family
    this.name = name
    this.env = env
    this.names = names
    for (const chain of BUILTIN[name])
      this.chains.set(chain, new LoadedChain(this, { name: chain, policy: 'ACCEPT', rules: [] }))
    this.#register()
  }

  /** Throws for a chain that is not there: check.ts has refused such a rule before. */
  chain(name: string): LoadedChain {
    const chain = this.chains.get(name)
    if (chain === undefined) throw new Error(`${this.name}: no chain ${name}`)
    return chain
  }

  apply(edit: TableEdit): void {
    for (const [name, model] of edit.chains) {
      const loaded = this.chains.get(name)
      this.#tracking -= loaded?.tracking ?? 0
      this.#tracing -= loaded?.tracing ?? 0
      const held = loaded?.sets ?? NO_SETS
      if (loaded) this.#stateful.delete(loaded)
      if (model === null) {
        loaded?.retireStates()
        this.chains.delete(name)
        for (const set of held) this.env.sets.release(set)
        continue
      }
      const chain = loaded ?? new LoadedChain(this, model)
      chain.replace(model)
      for (const set of chain.sets) this.env.sets.hold(set)
      for (const set of held) this.env.sets.release(set)
      if (loaded === undefined) this.chains.set(name, chain)
      this.#tracking += chain.tracking
      this.#tracing += chain.tracing
      if (chain.hasState) this.#stateful.add(chain)
    }
    for (const chain of this.#stateful) chain.resetState()
    for (const rule of this.#retired) releaseStates(rule, this)
    this.#retired.length = 0
    for (const [name, counters] of edit.counters ?? []) this.#setCounters(this.chain(name), counters)
    this.#followTracking()
  }

  /** A rule's states are replaced or gone. */
  retire(rule: Rule): void {
    this.#retired.push(rule)
  }

  #setCounters(chain: LoadedChain, to: { policy?: Counters; rules?: ReadonlyMap<number, Counters> }): void {
    if (to.policy) {
      chain.policyPackets = to.policy.packets
      chain.policyBytes = to.policy.bytes
    }
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
      })
  }

  /** ipt_do_table() from a built-in chain. Hot. */
  #walk(name: string): (pkt: Packet) => Verdict {
    const chain = this.chain(name)
    const names = this.names
    const hook = HOOK_OF[name]!
    return (pkt) => {
      names.refresh()
      const verdict = pkt.trace || this.#tracing > 0 ? chain.traced.run(pkt, hook) : chain.run(pkt, hook)
      if (verdict !== CONTINUE) return verdict as Verdict
      if (pkt.trace) chain.trace(pkt, chain.model.rules.length)
      chain.policyPackets++
      chain.policyBytes += pkt.end - pkt.l3
      return chain.model.policy === 'DROP' ? Verdict.Drop : Verdict.Accept
    }
  }
}

/** All tables of one host, by family. */
export class Tables {
  readonly host: Host
  readonly #env: CompileEnv
  readonly #names: PatternTables
  readonly #tables: Readonly<Record<Family, Map<TableName, LoadedTable>>> = { 4: new Map(), 6: new Map() }

  constructor(env: CompileEnv) {
    this.host = env.host
    this.#env = env
    this.#names = new PatternTables(env.host.devices)
  }

  /** The table, registered now if this is its first use. */
  table(family: Family, name: TableName): LoadedTable {
    const of = this.#tables[family]
    let table = of.get(name)
    if (table === undefined) {
      table = new LoadedTable(family, name, this.#env, this.#names)
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

  /** Puts edits in force together. They must have passed check.ts. */
  commit(edits: readonly TableEdit[]): void {
    for (const edit of edits) this.table(edit.family, edit.table).apply(edit)
  }
}
