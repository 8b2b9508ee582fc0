// One table while it is edited: libiptc's handle, with its operations and their errors. The chains that an operation
// touches are copied once, the others shared; what the commit changes is told as a TableEdit, and nothing is seen by
// packets until then.

import { byBytes, type ChainSource, type Links } from './check.ts'
import { sameToCheck6 } from './check-mask.ts'
import { sameRule } from './equal.ts'
import {
  BUILTIN,
  type Chain,
  type Counters,
  calleeOf,
  type NewCounters,
  type Rule,
  type TargetUse,
} from './model.ts'
import { type Kept, keptOf } from './slots.ts'
import type { MovedCounters, TableEdit } from './tables.ts'
import { errnoText, TableError } from './text/errors.ts'
import { own } from './text/line.ts'
import { VERDICTS } from './text/registry.ts'
import type { ChainView, TableView } from './view.ts'

/** A chain of a draft that differs from the one in force. */
class DraftChain {
  readonly name: string
  /** The chain in force of that name. */
  readonly old: ChainView | undefined
  /** The one in force whose rules it began with: another if it has been renamed. */
  readonly origin: ChainView | undefined
  policy: 'ACCEPT' | 'DROP' | null
  rules: Rule[]
  /** As Chain.needs. */
  needs: number
  /** Counters that the commit shall set; other rules keep theirs, new ones start at 0. Null: none. */
  set: Map<Rule, NewCounters> | null = null
  setPolicy: Counters | null = null
  /** What all jumps to it share; null until the first. */
  jump: (TargetUse & { readonly kind: 'jump' }) | null = null

  constructor(
    name: string,
    old: ChainView | undefined,
    policy: DraftChain['policy'],
    copied: Chain | null,
    origin = old,
  ) {
    this.name = name
    this.old = old
    this.origin = origin
    this.policy = policy
    this.rules = copied === null ? [] : copied.rules.slice()
    this.needs = copied === null ? 0 : copied.needs
  }

  /** Most chains have one rule or two: an array that grows has room for many more. */
  append(rule: Rule): void {
    const { rules } = this
    if (rules.length === 0) this.rules = [rule]
    else if (rules.length === 1) this.rules = [rules[0]!, rule]
    else rules.push(rule)
    this.needs |= rule.needs
  }
}

const ZERO: Counters = { packets: 0, bytes: 0 }
const NONE_CARRIED: ReadonlyMap<number, MovedCounters> = new Map()
/** libiptc's COUNTER_MAP_NOMAP: what was counted will be lost, and is printed until then. */
const UNMAPPED: Counters = { ...ZERO }

function setCounters(chain: DraftChain, rule: Rule, counters: NewCounters): void {
  chain.set ??= new Map()
  chain.set.set(rule, counters)
}

/** Why an operation failed, in iptc_strerror()'s words. */
function refuse(errno: ConstructorParameters<typeof TableError>[0], text?: string): never {
  throw new TableError(errno, text ?? errnoText(errno))
}

const E2BIG = { insert: 'insertion', replace: 'replacement', delete: 'deletion', zero: 'counter' } as const
const tooBig = (what: keyof typeof E2BIG): never => refuse('E2BIG', `Index of ${E2BIG[what]} too big`)
const BAD_RULE = 'Bad rule (does a matching rule exist in that chain?)'

/** One table being edited: libiptc's handle. Rule numbers count from 1. */
export class Draft implements ChainSource {
  readonly view: TableView
  readonly #links: Links
  /** Chains that differ; null: gone. */
  readonly #chains = new Map<string, DraftChain | null>()
  /** Jumps more or fewer than in force, by chain; null until somebody asks. */
  #references: Map<string, number> | null = null
  /** The chain edited last: the lines of a file come chain by chain. */
  #last: DraftChain | null = null
  /** The one that chainName() found last: the next rule is for it. */
  #named: DraftChain | null = null
  /** Rules that jump to a chain under its new name, and what they were before. */
  readonly #redirected = new Map<Rule, Rule>()
  /** Since clear(): what is not drafted is gone, or is an empty built-in chain. */
  #cleared = false
  /** Counters of chains in force when they were first asked for: packets may come while the draft is made. */
  readonly #seen = new Map<string, ArrayLike<number>>()
  /** Counters of policies when they were first asked for. */
  #seenPolicies: ReadonlyMap<string, Counters> | null = null

  constructor(view: TableView, links: Links) {
    this.view = view
    this.#links = links
  }

  /**
   * Edits are to follow: what policies have counted by now is lost with the commit. Must be called before the first step that
   * lets packets through.
   */
  begin(): void {
    this.#policies()
  }

  #policies(): ReadonlyMap<string, Counters> {
    const { name, chains } = this.view
    this.#seenPolicies ??= new Map(
      BUILTIN[name].map((builtin) => {
        const { policyPackets, policyBytes } = chains.get(builtin)!
        return [builtin, { packets: policyPackets, bytes: policyBytes }]
      }),
    )
    return this.#seenPolicies
  }

  /** Anything was edited, be it to the same: then the kernel is handed the table anew. */
  get changed(): boolean {
    return this.#cleared || this.#chains.size > 0
  }

  get anew(): boolean {
    return this.#cleared
  }

  // --- reading

  isBuiltin(name: string): boolean {
    return BUILTIN[this.view.name].includes(name)
  }

  isChain(name: string): boolean {
    const drafted = this.#chains.get(name)
    return drafted === undefined ? !this.#cleared && this.view.chains.has(name) : drafted !== null
  }

  chain(name: string): Chain | undefined {
    const drafted = this.#chains.get(name)
    if (drafted === undefined) return this.#cleared ? undefined : this.view.chains.get(name)?.model
    return drafted ?? undefined
  }

  /** Built-in chains, then the others by name. */
  names(): string[] {
    const user = new Set<string>()
    if (!this.#cleared) for (const name of this.view.chains.keys()) user.add(name)
    for (const [name, chain] of this.#chains) {
      if (chain === null) user.delete(name)
      else user.add(name)
    }
    const builtin = BUILTIN[this.view.name]
    for (const name of builtin) user.delete(name)
    return [...builtin, ...[...user].sort(byBytes)]
  }

  rules(name: string): readonly Rule[] {
    return this.chain(name)?.rules ?? []
  }

  policy(name: string): Counters & { readonly policy: 'ACCEPT' | 'DROP' } {
    const set = this.#chains.get(name)?.setPolicy ?? UNMAPPED
    const counters = set === UNMAPPED ? (this.#policies().get(name) ?? ZERO) : set
    return { policy: this.chain(name)?.policy ?? 'ACCEPT', ...counters }
  }

  /** Counters of a chain's rules as they are printed: ask the result by rule and position. Those zeroed are, with the commit. */
  counters(name: string): (rule: Rule, index: number) => Counters {
    const drafted = this.#chains.get(name)
    if (!drafted) {
      const inForce = this.view.chains.get(name)!
      return (_, index) => this.#seenOf(inForce, index)
    }
    const { set, origin } = drafted
    const positions = this.#positionsIn(origin)
    return (rule) => {
      const value = set?.get(rule)
      if (value !== undefined) return value.seen ?? value
      const position = positions(rule)
      return position === undefined ? ZERO : this.#seenOf(origin!, position)
    }
  }

  /** Where rules stand in a chain in force, be that under another name of what they jump to. */
  #positionsIn(chain: ChainView | undefined): (rule: Rule) => number | undefined {
    const positions = new Map(chain?.model.rules.map((rule, i) => [rule, i]))
    return (rule) => positions.get(this.#before(rule))
  }

  /** The rule as it was before what it jumps to was renamed. */
  #before(rule: Rule): Rule {
    return this.#redirected.get(rule) ?? rule
  }

  /** For rules of a chain that no commit has seen yet: what they jumped to when they were drafted. Null: others. */
  newCallees(name: string): (rule: Rule) => string | null {
    const drafted = this.#chains.get(name)
    if (!drafted) return () => null
    const loaded = new Set(drafted.origin?.model.rules)
    return (rule) => {
      const before = this.#before(rule)
      return loaded.has(before) ? null : calleeOf(before)
    }
  }

  references(name: string): number {
    return (this.#cleared ? 0 : this.#links.references(name)) + (this.#moved().get(name) ?? 0)
  }

  /** The name as the table holds it, or null if there is no such chain. */
  chainName(name: string): string | null {
    const drafted = this.#chains.get(name)
    if (drafted) this.#named = drafted
    if (drafted !== undefined) return drafted?.name ?? null
    return this.#cleared ? null : (this.view.chains.get(name)?.model.name ?? null)
  }

  /** A jump to the chain, or null if there is none. */
  jumpTo(name: string): (TargetUse & { readonly kind: 'jump' }) | null {
    const drafted = this.#chains.get(name)
    if (drafted) return (drafted.jump ??= { kind: 'jump', chain: drafted.name })
    const chain = this.chainName(name)
    return chain === null ? null : { kind: 'jump', chain }
  }

  // --- editing; each throws TableError as libiptc would fail

  /** iptables-restore without --noflush: no rules, no user chains; policies and their counters stay. */
  clear(): void {
    this.#chains.clear()
    this.#references = null
    this.#forgetLast()
    this.#cleared = true
    for (const name of BUILTIN[this.view.name]) {
      const old = this.view.chains.get(name)
      this.#chains.set(name, new DraftChain(name, old, old?.model.policy ?? 'ACCEPT', null))
    }
  }

  append(name: string, rule: Rule, counters: Counters | null): void {
    this.#must(name)
    this.#mustMap(rule)
    this.#put(this.#edit(name), Number.POSITIVE_INFINITY, rule, counters)
  }

  /** append() of a rule that is known not to jump to a built-in chain. */
  add(name: string, rule: Rule, counters: Counters | null): void {
    let chain = this.#last
    if (chain === null || chain.name !== name) {
      if (this.#named !== null && this.#named.name === name) this.#last = chain = this.#named
      else {
        this.#must(name)
        chain = this.#edit(name)
      }
    }
    this.#put(chain, Number.POSITIVE_INFINITY, rule, counters)
  }

  insert(name: string, number: number, rule: Rule, counters: Counters | null): void {
    if (number - 1 > this.#must(name).rules.length) tooBig('insert')
    this.#mustMap(rule)
    this.#put(this.#edit(name), number - 1, rule, counters)
  }

  replace(name: string, number: number, rule: Rule, counters: Counters | null): void {
    if (number > this.#must(name).rules.length) tooBig('replace')
    this.#mustMap(rule)
    const chain = this.#edit(name)
    this.#forget(chain, chain.rules[number - 1]!)
    this.#count(rule, 1)
    chain.rules[number - 1] = rule
    chain.needs |= rule.needs
    if (counters !== null) setCounters(chain, rule, counters)
  }

  /** Removes the first rule that is the same (-D), or only looks for it (-C). */
  delete(name: string, rule: Rule, dryRun = false): void {
    const { rules } = this.chain(name) ?? refuse('ENOENT', BAD_RULE)
    this.#mustMap(rule)
    const same = dryRun && this.view.family === 6 ? sameToCheck6 : sameRule
    const at = rules.findIndex((other) => same(other, rule))
    // What libiptc says depends on whether it had to look the target up.
    const { kind } = rule.target
    if (at < 0) refuse('ENOENT', kind === 'none' || kind === 'standard' ? BAD_RULE : undefined)
    if (!dryRun) this.#take(this.#edit(name), at)
  }

  deleteNumber(name: string, number: number): void {
    if (number > this.#must(name).rules.length) tooBig('delete')
    this.#take(this.#edit(name), number - 1)
  }

  flush(name: string): void {
    this.#must(name)
    const chain = this.#edit(name)
    for (const rule of chain.rules) this.#count(rule, -1)
    chain.rules = []
    chain.set = null
  }

  zero(name: string): void {
    this.#must(name)
    const chain = this.#edit(name)
    const positions = this.#positionsIn(chain.origin)
    for (const rule of chain.rules) this.#zeroRule(chain, rule, positions(rule))
  }

  zeroNumber(name: string, number: number): void {
    const rule = this.#must(name).rules[number - 1]
    if (rule === undefined) tooBig('zero')
    const chain = this.#edit(name)
    const position = chain.origin?.model.rules.indexOf(this.#before(rule!)) ?? -1
    this.#zeroRule(chain, rule!, position < 0 ? undefined : position)
  }

  /** libiptc zeroes what is in force (`position`), but for what it has not seen; counters that this very draft has set stay. */
  #zeroRule(chain: DraftChain, rule: Rule, position: number | undefined): void {
    if (position === undefined || chain.set?.has(rule)) return
    setCounters(chain, rule, { ...ZERO, seen: this.#seenOf(chain.origin!, position) })
  }

  create(name: string): void {
    if (this.isChain(name) || VERDICTS.has(name)) refuse('EEXIST', 'Chain already exists')
    // The table in force has a copy already, as a rule.
    const old = this.view.chains.get(name)
    const named = old?.model.name ?? own(name)
    this.#chains.set(named, new DraftChain(named, old, null, null))
  }

  remove(name: string): void {
    const chain = this.#must(name)
    if (this.isBuiltin(name)) refuse('EINVAL')
    if (this.references(name) > 0) refuse('EMLINK')
    if (chain.rules.length > 0) refuse('ENOTEMPTY')
    this.#chains.set(name, null)
    this.#forgetLast()
  }

  rename(old: string, name: string): void {
    if (this.isChain(name) || VERDICTS.has(name)) refuse('EEXIST')
    const chain = this.#must(old)
    if (this.isBuiltin(old)) refuse('ENOENT')
    const references = this.references(old)
    const drafted = this.#chains.get(old)
    const { view } = this
    const origin = drafted ? drafted.origin : view.chains.get(old)
    const renamed = new DraftChain(name, view.chains.get(name), null, chain, origin)
    renamed.set = drafted?.set ?? null
    this.#chains.set(old, null)
    this.#forgetLast()
    this.#chains.set(name, renamed)
    if (references > 0) for (const caller of this.names()) this.#redirect(caller, old, name)
  }

  /** Jumps of a chain to `old` go to the chain `name` from now on. What they have counted and what is set stays. */
  #redirect(caller: string, old: string, name: string): void {
    if (!this.rules(caller).some((rule) => calleeOf(rule) === old)) return
    const edited = this.#edit(caller)
    for (const [i, rule] of edited.rules.entries()) {
      const { target } = rule
      if ((target.kind !== 'jump' && target.kind !== 'goto') || target.chain !== old) continue
      const { base, matches, place, needs } = rule
      const moved: Rule = { base, matches, target: { kind: target.kind, chain: name }, place, needs }
      this.#redirected.set(moved, this.#before(rule))
      this.#redirected.delete(rule)
      const set = edited.set?.get(rule)
      if (set !== undefined) {
        setCounters(edited, moved, set)
        edited.set?.delete(rule)
      }
      edited.rules[i] = moved
      this.#count(rule, -1)
      this.#count(moved, 1)
    }
  }

  setPolicy(name: string, policy: string, counters: Counters | null): void {
    if (!this.isChain(name) || !this.isBuiltin(name)) refuse('ENOENT', 'Bad built-in chain name')
    if (policy !== 'ACCEPT' && policy !== 'DROP') refuse('EINVAL', 'Bad policy name')
    const chain = this.#edit(name)
    chain.policy = policy as 'ACCEPT' | 'DROP'
    chain.setPolicy = counters ?? UNMAPPED
  }

  /** What the commit changes. Packets may come between chains. */
  edit(): TableEdit {
    const { host } = this.#links
    const { chains: inForce } = this.view
    const chains = new Map<string, Chain | null>()
    const counters = new Map<string, { policy?: NewCounters; rules?: ReadonlyMap<number, NewCounters> }>()
    const moved: MovedCounters[] = []
    const kept = new Map<string, Kept>()
    // libiptc loses the policy counters that it has seen of a table that it writes, all but those it is told to set.
    const lost = (name: string): NewCounters => ({ ...ZERO, seen: this.#policies().get(name)! })
    for (const name of BUILTIN[this.view.name]) counters.set(name, { policy: lost(name) })
    if (this.#cleared && this.#someAreGone())
      for (const name of inForce.keys()) {
        host?.condResched()
        if (!this.#chains.has(name)) chains.set(name, null)
      }
    for (const [name, chain] of this.#chains) {
      host?.condResched()
      if (chain === null) {
        if (inForce.has(name)) chains.set(name, null)
        continue
      }
      const model = this.#modelOf(chain, kept)
      chains.set(name, model)
      const { policy, rules } = chain
      const carried = this.#carried(chain)
      moved.push(...carried.values())
      if (chain.set === null && chain.setPolicy === null) continue
      const positions = new Map<number, NewCounters>()
      if (chain.set !== null)
        for (let i = 0; i < rules.length; i++) {
          const value = chain.set.get(rules[i]!)
          if (value !== undefined && !carried.has(i)) positions.set(i, value)
        }
      counters.set(name, {
        ...(policy !== null && { policy: chain.setPolicy ?? lost(name) }),
        rules: positions,
      })
    }
    const { family, name: table } = this.view
    return { family, table, chains, kept, anew: this.#cleared, counters, moved }
  }

  /** By position: the chain's rules that go on counting where others do now, be that since it, or a chain that they jump to, was renamed. */
  #carried(chain: DraftChain): ReadonlyMap<number, MovedCounters> {
    const { name, origin, old, rules } = chain
    const renamed = origin !== old
    if (origin === undefined || !(renamed || this.#redirected.size > 0)) return NONE_CARRIED
    const carried = new Map<number, MovedCounters>()
    const positions = this.#positionsIn(origin)
    for (const [i, rule] of rules.entries()) {
      const position = renamed || this.#redirected.has(rule) ? positions(rule) : undefined
      const set = chain.set?.get(rule)
      if (position === undefined || (set !== undefined && set.seen === undefined)) continue
      const from = { chain: origin.model.name, rule: position }
      carried.set(i, { from, to: { chain: name, rule: i }, seen: set?.seen ?? ZERO })
    }
    return carried
  }

  #modelOf({ name, old, policy, rules, needs }: DraftChain, kept: Map<string, Kept>): Chain {
    if (old !== undefined && (!this.#cleared || rules.length === 0)) {
      const before = old.model.rules
      const ends = keptOf(before, rules)
      kept.set(name, ends)
      if (before.length === rules.length && ends[0] === rules.length)
        return old.model.policy === policy ? old.model : { ...old.model, policy }
    }
    // An array that grew has more room than it needs.
    const exact = rules.length > 2 ? rules.slice() : rules
    return { name, policy, rules: exact, needs }
  }

  /** Chains in force have no successor among the drafted, after clear(). */
  #someAreGone(): boolean {
    let left = this.view.chains.size
    for (const chain of this.#chains.values()) if (chain?.old !== undefined) left--
    return left > 0
  }

  // --- inside

  #seenOf(chain: ChainView, position: number): Counters {
    const { name } = chain.model
    let seen = this.#seen.get(name)
    if (seen === undefined) {
      seen = chain.counters
      this.#seen.set(name, seen)
    }
    return { packets: seen[position * 2]!, bytes: seen[position * 2 + 1]! }
  }

  #forgetLast(): void {
    this.#last = null
    this.#named = null
  }

  #must(name: string): Chain {
    return this.chain(name) ?? refuse('ENOENT')
  }

  /** iptcc_map_target(): a built-in chain is no target. */
  #mustMap(rule: Rule): void {
    const callee = calleeOf(rule)
    if (callee !== null && this.isBuiltin(callee)) refuse('EINVAL')
  }

  #edit(name: string): DraftChain {
    const drafted = this.#chains.get(name)
    if (drafted) {
      this.#last = drafted
      return drafted
    }
    const old = this.view.chains.get(name)!
    const { model } = old
    const chain = new DraftChain(model.name, old, model.policy, model)
    this.#chains.set(model.name, chain)
    this.#last = chain
    return chain
  }

  #put(chain: DraftChain, at: number, rule: Rule, counters: Counters | null): void {
    if (at >= chain.rules.length) chain.append(rule)
    else {
      chain.rules.splice(at, 0, rule)
      chain.needs |= rule.needs
    }
    if (counters !== null) setCounters(chain, rule, counters)
    this.#count(rule, 1)
  }

  #take(chain: DraftChain, at: number): void {
    const [rule] = chain.rules.splice(at, 1)
    this.#forget(chain, rule!)
  }

  #forget(chain: DraftChain, rule: Rule): void {
    chain.set?.delete(rule)
    this.#count(rule, -1)
  }

  #count(rule: Rule, by: number): void {
    const callee = this.#references === null ? null : calleeOf(rule)
    if (callee !== null) this.#references!.set(callee, (this.#references!.get(callee) ?? 0) + by)
  }

  #moved(): ReadonlyMap<string, number> {
    if (this.#references !== null) return this.#references
    this.#references = new Map()
    for (const [name, chain] of this.#chains) {
      const old = this.#cleared ? undefined : this.view.chains.get(name)?.model.rules
      if (chain?.rules === old) continue
      for (const rule of chain?.rules ?? []) this.#count(rule, 1)
      for (const rule of old ?? []) this.#count(rule, -1)
    }
    return this.#references
  }
}
