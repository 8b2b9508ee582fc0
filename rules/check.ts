// What the kernel checks before a table is put in force: jumps that come back on themselves, and extensions in
// tables, chains or protocols where they may not be. Work is done for what changed alone: a rule appended to a
// table of 300,000 costs a look at its own chain and, if it jumps, at what can be reached from there.
//
//     Links ── per chain: how many rules jump to it; which built-in chains lead to it (`hooks`, a bit each)
//
// As in the kernel (mark_source_chains), a loop that no built-in chain leads to is no error, and neither is a
// misplaced target in a chain that none leads to; nor either of them behind a verdict that nothing is asked for.

import type { Host } from '../datapath/host.ts'
import type { Family } from '../datapath/packet.ts'
import type { CheckContext, Match, Target } from './extension.ts'
import { calleesFirst, gatherJumps, Jumps, LinkTable, NO_END, spreadHooks } from './link-table.ts'
import { BUILTIN, type Chain, calleeOf, isVerdictAlone, type Rule, type TableName } from './model.ts'
import { doesNeed, Need } from './needs.ts'
import { type Kept, keptOf } from './slots.ts'
import { errnoText, kernelError, type TableError } from './text/errors.ts'

/** The chains of a table after an edit: what check() looks at. */
export interface ChainSource {
  chain(name: string): Chain | undefined
  /** No rule of before is left, and the edit names every chain: all is reckoned from the start. */
  readonly anew?: boolean
  /** All chains, in the kernel's order. */
  names?(): readonly string[]
}

const NO_RULES: readonly Rule[] = []
const NO_HOOKS: readonly string[] = []
/** Every rule of a chain. */
const ALL = 'all'

/** What an edit brings, gathered chain by chain. */
class Edit {
  /** New rules by chain. */
  readonly fresh = new Map<string, ReadonlySet<Rule> | typeof ALL>()
  /** New jumps, from and to; cut off once they are `many`. */
  readonly jumps: (readonly [string, string])[] = []
  many = false
  /** Some jump went, or none leads to it any more. */
  removed = false
  /** Of changed chains: the first rule that is a verdict alone. Infinity: none. */
  readonly ends = new Map<string, number>()
  /** Jumps that came less those that went, by callee. */
  readonly deltas = new Map<string, number>()

  /** A jump to `callee` came (1) or went (-1). */
  jump(callee: string, by: 1 | -1): void {
    this.deltas.set(callee, (this.deltas.get(callee) ?? 0) + by)
  }
}

/** More new jumps than this, and the whole table is walked once instead of once for each. */
const MANY_JUMPS = 64

export class Links {
  readonly family: Family
  readonly table: TableName
  /** Null in tests that need none. */
  readonly host: Host | null
  readonly #condResched = (): unknown => this.host?.condResched()
  #links = new LinkTable(16)
  /**
   * After jumps were taken away `hooks` may have bits too many; they are made exact before anything is refused for
   * them.
   */
  #loose = false

  constructor(family: Family, table: TableName, host: Host | null = null) {
    this.family = family
    this.host = host
    this.table = table
    for (const [i, name] of BUILTIN[table].entries()) {
      const number = this.#links.add(name)
      this.#links.hooks[number] = 1 << i
    }
  }

  references(chain: string): number {
    const number = this.#links.find(chain)
    return number < 0 ? 0 : this.#links.references[number]!
  }

  #hooksOf(chain: string): number {
    const number = this.#links.find(chain)
    return number < 0 ? 0 : this.#links.hooks[number]!
  }

  /**
   * Checks the edit from `before` to `after`, of which only the `changed` chains differ; throws TableError if the kernel would
   * refuse it. What is returned takes the edit over, once it is in force. `kept`: as TableEdit.kept.
   */
  check(
    changed: ReadonlyMap<string, Chain | null>,
    before: ChainSource,
    after: ChainSource,
    kept?: ReadonlyMap<string, Kept>,
  ): () => void {
    if (after.anew === true) return this.#checkAnew(changed, after)
    const edit = new Edit()
    for (const [name, chain] of changed) {
      this.#condResched()
      const old = before.chain(name)?.rules ?? NO_RULES
      const rules = chain?.rules ?? NO_RULES
      if (old === rules) continue
      compare(name, old, rules, kept?.get(name) ?? keptOf(old, rules), this.#endOf(name), edit)
    }

    const hooks = new Map<string, number>()
    let grown = new Set<string>()
    let exact: Map<string, number> | null = null
    if (!edit.many) {
      try {
        grown = this.#spread(edit.jumps, after, hooks)
      } catch (error) {
        // A loop that only seems to be reached is none.
        if (!this.#loose && !edit.removed) throw error
        edit.many = true
      }
    }
    if (edit.many) {
      exact = this.#walkAll(after)
      grown = new Set()
      for (const [name, mask] of exact) if ((mask & ~this.#hooksOf(name)) !== 0) grown.add(name)
    }

    const maskOf = (name: string): number =>
      exact !== null ? (exact.get(name) ?? 0) : (hooks.get(name) ?? this.#hooksOf(name))
    const refused = this.#checkRules(changed, grown, edit, after, maskOf)
    if (refused !== null) {
      if (exact !== null || (!this.#loose && !edit.removed)) throw refused
      exact = this.#walkAll(after)
      const again = this.#checkRules(changed, grown, edit, after, (name) => exact!.get(name) ?? 0)
      if (again !== null) throw again
    }

    return () => this.#take(changed, edit, exact, hooks)
  }

  /** `exact`: all masks; null: `hooks` has those that are others now. */
  #take(
    changed: ReadonlyMap<string, Chain | null>,
    { deltas, ends, removed }: Edit,
    exact: ReadonlyMap<string, number> | null,
    hooks: ReadonlyMap<string, number>,
  ): void {
    const links = this.#links
    for (const [name, by] of deltas) {
      const number = links.add(name)
      links.references[number] = links.references[number]! + by
    }
    for (const [name, end] of ends) {
      const number = links.add(name)
      links.ends[number] = Math.min(end, NO_END)
    }
    if (exact !== null) links.hooks.fill(0)
    for (const [name, mask] of exact ?? hooks) {
      const number = links.add(name)
      links.hooks[number] = mask
    }
    for (const [name, chain] of changed) if (chain === null) links.delete(name)
    this.#loose = exact === null && (this.#loose || removed)
  }

  /** Takes over what is in force, every chain of it. It was checked when it came, perhaps beside rules that are gone. */
  adopt(chains: ReadonlyMap<string, Chain>, source: ChainSource): void {
    this.#replace(this.#reckon(chains, source))
  }

  /** check() where every chain is among the changed and all rules are new. */
  #checkAnew(changed: ReadonlyMap<string, Chain | null>, after: ChainSource): () => void {
    const links = this.#reckon(changed, after)
    this.#checkAll(changed, links, after)
    return () => this.#replace(links)
  }

  #replace(links: LinkTable): void {
    this.#links = links
    this.#loose = false
  }

  /**
   * The links of these chains, which are all. Throws for a loop. Rules are walked once: there may be hundreds of thousands,
   * none of them in the processor's caches.
   */
  #reckon(chains: ReadonlyMap<string, Chain | null>, after: ChainSource): LinkTable {
    const links = new LinkTable(chains.size)
    for (const [name, chain] of chains) if (chain !== null) links.add(name)
    const jumps = new Jumps(links.used)
    let number = 0
    for (const chain of chains.values()) {
      if (chain === null) continue
      this.#condResched()
      jumps.from[number] = jumps.count
      const end = gatherJumps(chain.rules, links, jumps)
      links.ends[number] = end
      number++
    }
    jumps.from[number] = jumps.count
    const order = calleesFirst(BUILTIN[this.table], links, jumps, this.#condResched)
    // There is one, and this says where.
    if (order === null) findLoop(BUILTIN[this.table], after, this.#condResched)
    else spreadHooks(BUILTIN[this.table], links, jumps, order)
    return links
  }

  /** Throws for the first rule, in the kernel's order, that it would refuse. */
  #checkAll(changed: ReadonlyMap<string, Chain | null>, links: LinkTable, after: ChainSource): void {
    const builtin = BUILTIN[this.table]
    const namesOf = hookNames(builtin)
    const check = (chain: Chain, number: number): TableError | null => {
      this.#condResched()
      if (!doesNeed(chain, Need.Checks)) return null
      const hooks = namesOf(links.hooks[number]!)
      return this.#checkChain(chain.rules, ALL, hooks, links.ends[number]!, after)
    }
    let number = 0
    let refused = false
    for (const chain of changed.values())
      if (chain !== null && check(chain, number++) !== null) {
        refused = true
        break
      }
    if (!refused) return
    for (const name of inKernelOrder(changed.keys(), builtin)) {
      const chain = changed.get(name)
      const error = chain ? check(chain, links.find(name)) : null
      if (error !== null) throw error
    }
  }

  /** As Edit.ends, before the edit. */
  #endOf(name: string): number {
    const number = this.#links.find(name)
    const end = number < 0 ? NO_END : this.#links.ends[number]!
    return end === NO_END ? Number.POSITIVE_INFINITY : end
  }

  /** Carries hooks along new jumps, and finds the loops that they close. `hooks` gets the new masks. */
  #spread(
    jumps: readonly (readonly [string, string])[],
    after: ChainSource,
    hooks: Map<string, number>,
  ): Set<string> {
    const maskOf = (name: string): number => hooks.get(name) ?? this.#hooksOf(name)
    const grown = new Set<string>()
    const unreached = new Set<string>()
    const work = jumps.map(([from, to]) => [from, to] as const)
    for (let next = work.pop(); next !== undefined; next = work.pop()) {
      const [from, to] = next
      const mask = maskOf(to)
      const wider = mask | maskOf(from)
      if (wider === mask) continue
      if (mask === 0) unreached.add(to)
      hooks.set(to, wider)
      grown.add(to)
      for (const rule of after.chain(to)?.rules ?? []) {
        const callee = calleeOf(rule)
        if (callee !== null) work.push([to, callee])
        else if (isVerdictAlone(rule)) break
      }
    }
    const starts = new Set(jumps.filter(([from]) => maskOf(from) !== 0).map(([, to]) => to))
    for (const name of unreached) starts.add(name)
    // A built-in chain is never jumped to: new jumps from one close no loop by themselves.
    const builtin = new Set(BUILTIN[this.table])
    if (unreached.size > 0 || jumps.some(([from]) => !builtin.has(from) && maskOf(from) !== 0))
      findLoop(starts, after, this.#condResched)
    return grown
  }

  /** All masks anew, and a search for loops from the built-in chains; linear in the table. */
  #walkAll(after: ChainSource): Map<string, number> {
    const builtin = BUILTIN[this.table]
    const order = findLoop(builtin, after, this.#condResched)
    const hooks = new Map<string, number>()
    for (let i = order.length - 1; i >= 0; i--) {
      this.#condResched()
      const chain = order[i]!
      const own = builtin.indexOf(chain.name)
      if (own >= 0) chain.hooks |= 1 << own
      hooks.set(chain.name, chain.hooks)
      for (const callee of chain.callees) callee.hooks |= chain.hooks
    }
    return hooks
  }

  #checkRules(
    changed: ReadonlyMap<string, Chain | null>,
    grown: ReadonlySet<string>,
    { fresh, ends }: Edit,
    after: ChainSource,
    maskOf: (name: string) => number,
  ): TableError | null {
    const builtin = BUILTIN[this.table]
    const namesOf = hookNames(builtin)
    const checkChain = (name: string): TableError | null => {
      const some = grown.has(name) ? ALL : fresh.get(name)
      if (some === undefined) return null
      const rules = after.chain(name)?.rules ?? NO_RULES
      return this.#checkChain(rules, some, namesOf(maskOf(name)), ends.get(name) ?? this.#endOf(name), after)
    }
    for (const name of new Set([...changed.keys(), ...grown])) {
      this.#condResched()
      if (checkChain(name) === null) continue
      // The kernel names the first in its own order.
      for (const first of inKernelOrder([...changed.keys(), ...grown], builtin)) {
        const error = checkChain(first)
        if (error !== null) return error
      }
    }
    return null
  }

  /** `some` of a chain's rules, those behind its `end` as if nothing led there. */
  #checkChain(
    rules: readonly Rule[],
    some: ReadonlySet<Rule> | typeof ALL,
    hooks: readonly string[],
    end: number,
    after: ChainSource,
  ): TableError | null {
    for (let i = 0; i < rules.length; i++) {
      const rule = rules[i]!
      if (some !== ALL && !some.has(rule)) continue
      const error = this.#checkRule(rule, i <= end ? hooks : NO_HOOKS, after)
      if (error !== null) return error
    }
    return null
  }

  #checkRule(rule: Rule, hooks: readonly string[], after: ChainSource): TableError | null {
    if (!doesNeed(rule, Need.Checks)) return null
    const { matches, target } = rule
    for (const { match, data } of matches) {
      const error = this.#checkExtension(match, data, rule, hooks, after)
      if (error !== null) return error
    }
    return target.kind === 'extension'
      ? this.#checkExtension(target.target, target.data, rule, hooks, after)
      : null
  }

  /** xt_check_match() and xt_check_target(), then the extension's own checkentry. */
  #checkExtension(
    ext: Match | Target,
    data: unknown,
    rule: Rule,
    hooks: readonly string[],
    after: ChainSource,
  ): TableError | null {
    const error = misplaced(ext, rule, this.table, hooks)
    if (error !== null || ext.check === undefined) return error
    const { base, matches } = rule
    const use: CheckContext = {
      family: this.family,
      table: this.table,
      hooks,
      protocol: base.protocol,
      matches,
      base,
      host: this.host,
      earlier: () => rulesBefore(rule, after),
    }
    const refusal = ext.check(data, use)
    if (refusal === null) return null
    return typeof refusal === 'string'
      ? kernelError('EINVAL', `${ext.name}: ${refusal}`, rule.place)
      : kernelError(refusal.errno, `${ext.name}: ${refusal.reason}`, rule.place)
  }
}

/** The rules of a table that stand before one of them. */
function* rulesBefore(rule: Rule, chains: ChainSource): Generator<Rule> {
  for (const name of chains.names?.() ?? [])
    for (const earlier of chains.chain(name)?.rules ?? NO_RULES) {
      if (earlier === rule) return
      yield earlier
    }
}

/** The first rule from `from` up to before `to` that is a verdict alone; Infinity: none. */
function endIn(rules: readonly Rule[], from: number, to: number): number {
  for (let i = from; i < to; i++) if (isVerdictAlone(rules[i]!)) return i
  return Number.POSITIVE_INFINITY
}

/** Counts the jumps that came and went in one chain, and collects its new rules. `oldEnd`: as Edit.ends, before. */
function compare(
  name: string,
  old: readonly Rule[],
  rules: readonly Rule[],
  [head, tail]: Kept,
  oldEnd: number,
  edit: Edit,
): void {
  const gone = old.length - tail - head
  const come = rules.length - tail - head
  // Where the chain ends now; rules behind what changed may be looked at again, or no more.
  let end = oldEnd
  let revived = false
  if (oldEnd >= head) {
    const moved = oldEnd >= head + gone ? oldEnd + come - gone : endIn(rules, head + come, rules.length)
    end = Math.min(endIn(rules, head, head + come), moved)
    if (oldEnd >= head + gone) edit.removed ||= tail > 0 && end < moved
    else revived = end >= head + come
  }
  if (end !== oldEnd) edit.ends.set(name, end)

  const survivors = gone === 0 || come === 0 ? null : new Set(rules.slice(head, head + come))
  let kept: Set<Rule> | null = null
  for (let i = head; i < head + gone; i++) {
    const rule = old[i]!
    if (survivors?.has(rule)) {
      kept ??= new Set()
      kept.add(rule)
      continue
    }
    const callee = calleeOf(rule)
    if (callee === null) continue
    edit.jump(callee, -1)
    edit.removed = true
  }
  // Where rules went and others came, one that stays may now stand on the other side of the end, be that at the same place.
  const ended = end !== oldEnd || (end >= head && end < head + come)
  if (revived || (kept !== null && ended)) {
    edit.many = true
    edit.fresh.set(name, ALL)
  }
  if (come === 0) return
  const fresh = come === rules.length && kept === null ? null : new Set<Rule>()
  for (let i = head; i < head + come; i++) {
    const rule = rules[i]!
    if (kept?.has(rule)) continue
    fresh?.add(rule)
    const callee = calleeOf(rule)
    if (callee === null) continue
    edit.jump(callee, 1)
    if (edit.many || i > end) continue
    if (edit.jumps.length < MANY_JUMPS) edit.jumps.push([name, callee])
    else edit.many = true
  }
  if (edit.fresh.get(name) !== ALL) edit.fresh.set(name, fresh ?? ALL)
}

/** An extension where it may not be: the table, the built-in chains that lead there, the protocol. */
function misplaced(
  { name, tables, chains, protocols }: Match | Target,
  rule: Rule,
  table: TableName,
  hooks: readonly string[],
): TableError | null {
  if (tables !== undefined && !tables.includes(table))
    return kernelError(
      'EINVAL',
      `${name}: only valid in the ${tables.join(', ')} table, not ${table}`,
      rule.place,
    )
  if (chains !== undefined && !hooks.every((hook) => chains.includes(hook)))
    return kernelError(
      'EINVAL',
      `${name}: used from hooks ${hooks.join('/')}, but only valid from ${chains.join('/')}`,
      rule.place,
    )
  if (protocols !== undefined && protocols.length > 0) {
    const { protocol } = rule.base
    if (protocol === null || protocol.invert || !protocols.includes(protocol.number))
      return kernelError(
        'EINVAL',
        `${name}: only valid for protocol ${protocols.join(', ')}, not ${protocol?.number ?? 0}`,
        rule.place,
      )
  }
  return null
}

/** Chains as they stand in the kernel's blob: built-in ones first, then by name. */
export function inKernelOrder(names: Iterable<string>, builtin: readonly string[]): string[] {
  const all = new Set(names)
  const first = builtin.filter((name) => all.delete(name))
  return [...first, ...[...all].sort(byBytes)]
}

/** strcmp() for the names that chains have. */
export const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** A chain that a walk has come to. */
class Visited {
  readonly name: string
  readonly rules: readonly Rule[]
  /** Of its rules, the one to look at next. */
  at = 0
  onPath = true
  /** Those it jumps to, once for each jump. */
  readonly callees: Visited[] = []
  /** Built-in chains that lead to it, as bits. */
  hooks = 0

  constructor(name: string, rules: readonly Rule[]) {
    this.name = name
    this.rules = rules
  }
}

/** The built-in chains of a mask of them. */
function hookNames(builtin: readonly string[]): (mask: number) => readonly string[] {
  const byMask = new Map<number, readonly string[]>()
  return (mask) => {
    let names = byMask.get(mask)
    if (names === undefined) {
      names = builtin.filter((_, i) => (mask & (1 << i)) !== 0)
      byMask.set(mask, names)
    }
    return names
  }
}

/** Depth-first from `starts`; throws ELOOP for a chain that leads back to itself. Returns chains, callees first. */
function findLoop(starts: Iterable<string>, chains: ChainSource, condResched: () => unknown): Visited[] {
  const finished: Visited[] = []
  const all = new Map<string, Visited>()
  const path: Visited[] = []
  const enter = (name: string): Visited => {
    condResched()
    const chain = new Visited(name, chains.chain(name)?.rules ?? NO_RULES)
    all.set(name, chain)
    path.push(chain)
    return chain
  }
  for (const start of starts) {
    if (all.has(start)) continue
    enter(start)
    while (path.length > 0) {
      const top = path[path.length - 1]!
      if (top.at === top.rules.length) {
        top.onPath = false
        finished.push(top)
        path.pop()
        continue
      }
      const rule = top.rules[top.at++]!
      const name = calleeOf(rule)
      if (name === null) {
        if (isVerdictAlone(rule)) top.at = top.rules.length
        continue
      }
      const seen = all.get(name)
      if (seen?.onPath === true) {
        const round = [...path.slice(path.indexOf(seen)).map((chain) => chain.name), name]
        throw kernelError('ELOOP', `${errnoText('ELOOP')}: ${round.join(' -> ')}`, rule.place)
      }
      top.callees.push(seen ?? enter(name))
    }
  }
  return finished
}
