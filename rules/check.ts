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
import { BUILTIN, type Chain, isVerdictAlone, type Rule, type TableName } from './model.ts'
import { changedRange } from './slots.ts'
import { errnoText, kernelError, type TableError } from './text/errors.ts'

/** The chains of a table after an edit: what check() looks at. */
export interface ChainSource {
  chain(name: string): Chain | undefined
  /** No rule of before is left: saves looking for those that moved. */
  readonly anew?: boolean
  /** All chains, in the kernel's order. */
  names?(): readonly string[]
}

/** The chain that a rule jumps or goes to, or null. */
export const calleeOf = (rule: Rule): string | null =>
  rule.target.kind === 'jump' || rule.target.kind === 'goto' ? rule.target.chain : null

const NO_RULES: readonly Rule[] = []
const NO_HOOKS: readonly string[] = []
/** Every rule of a chain. */
const ALL = 'all'

/** What an edit brings, gathered chain by chain. */
class Edit {
  /** No rule of before is left: all are new, and all jumps are counted. */
  readonly anew: boolean
  /** New rules by chain, unless all are. */
  readonly fresh = new Map<string, ReadonlySet<Rule> | typeof ALL>()
  /** New jumps, from and to; cut off once they are `many`. */
  readonly jumps: (readonly [string, string])[] = []
  many = false
  /** Some jump went, or none leads to it any more. */
  removed = false
  /** Of changed chains: the first rule that is a verdict alone. Infinity: none. */
  readonly ends = new Map<string, number>()
  readonly #deltas = new Map<string, number>()
  /** The callee of the last jumps, which often are to the same, and how many those are. */
  #last = ''
  #count = 0

  constructor(anew: boolean) {
    this.anew = anew
    this.many = anew
  }

  /** A jump to `callee` came (1) or went (-1). */
  jump(callee: string, by: 1 | -1): void {
    if (callee !== this.#last) this.#settle(callee)
    this.#count += by
  }

  /** Jumps that came less those that went, by callee. */
  get deltas(): Map<string, number> {
    this.#settle('')
    return this.#deltas
  }

  #settle(next: string): void {
    if (this.#count !== 0) this.#deltas.set(this.#last, (this.#deltas.get(this.#last) ?? 0) + this.#count)
    this.#last = next
    this.#count = 0
  }
}

/** More new jumps than this, and the whole table is walked once instead of once for each. */
const MANY_JUMPS = 64

export class Links {
  readonly family: Family
  readonly table: TableName
  readonly #host: Host | null
  readonly #condResched = (): unknown => this.#host?.condResched()
  /** Rules that jump to a chain, by its name; 0 is left out. */
  #references = new Map<string, number>()
  /**
   * Built-in chains that lead to a chain, as bits of their position in BUILTIN. After jumps were taken away it may
   * have bits too many (`#loose`); it is made exact before anything is refused for it.
   */
  #hooks = new Map<string, number>()
  #loose = false
  /** The first rule of a chain that is a verdict alone, behind which the kernel looks at nothing; those that have one. */
  #ends = new Map<string, number>()

  constructor(family: Family, table: TableName, host: Host | null = null) {
    this.family = family
    this.#host = host
    this.table = table
    for (const [i, name] of BUILTIN[table].entries()) this.#hooks.set(name, 1 << i)
  }

  references(chain: string): number {
    return this.#references.get(chain) ?? 0
  }

  /**
   * Checks the edit from `before` to `after`, of which only the `changed` chains differ, and takes it over; throws
   * TableError and changes nothing if the kernel would refuse.
   */
  update(changed: ReadonlyMap<string, Chain | null>, before: ChainSource, after: ChainSource): void {
    const edit = new Edit(after.anew === true)
    for (const [name, chain] of changed) {
      this.#condResched()
      const old = edit.anew ? NO_RULES : (before.chain(name)?.rules ?? NO_RULES)
      const rules = chain?.rules ?? NO_RULES
      if (old === rules) continue
      compare(name, old, rules, this.#endOf(name, edit.anew), edit)
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
      if (!edit.anew)
        for (const [name, mask] of exact) if ((mask & ~(this.#hooks.get(name) ?? 0)) !== 0) grown.add(name)
    }

    const maskOf = (name: string): number =>
      exact !== null ? (exact.get(name) ?? 0) : (hooks.get(name) ?? this.#hooks.get(name) ?? 0)
    const refused = this.#checkRules(changed, grown, edit, after, maskOf)
    if (refused !== null) {
      if (exact !== null || (!this.#loose && !edit.removed)) throw refused
      exact = this.#walkAll(after)
      const again = this.#checkRules(changed, grown, edit, after, (name) => exact!.get(name) ?? 0)
      if (again !== null) throw again
    }

    if (edit.anew) {
      this.#references = edit.deltas
      this.#ends.clear()
    } else this.#refer(edit.deltas)
    for (const [name, end] of edit.ends)
      if (end === Number.POSITIVE_INFINITY) this.#ends.delete(name)
      else this.#ends.set(name, end)
    if (exact !== null) {
      this.#hooks = exact
      this.#loose = false
      return
    }
    for (const [name, mask] of hooks) this.#hooks.set(name, mask)
    for (const [name, chain] of changed) if (chain === null) this.#hooks.delete(name)
    this.#loose ||= edit.removed
  }

  /** As Edit.ends, before the edit. */
  #endOf(name: string, anew: boolean): number {
    return (anew ? undefined : this.#ends.get(name)) ?? Number.POSITIVE_INFINITY
  }

  #refer(deltas: ReadonlyMap<string, number>): void {
    for (const [name, by] of deltas) {
      const count = this.references(name) + by
      if (count > 0) this.#references.set(name, count)
      else this.#references.delete(name)
    }
  }

  /** Carries hooks along new jumps, and finds the loops that they close. `hooks` gets the new masks. */
  #spread(
    jumps: readonly (readonly [string, string])[],
    after: ChainSource,
    hooks: Map<string, number>,
  ): Set<string> {
    const maskOf = (name: string): number => hooks.get(name) ?? this.#hooks.get(name) ?? 0
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
    { anew, fresh, ends }: Edit,
    after: ChainSource,
    maskOf: (name: string) => number,
  ): TableError | null {
    const builtin = BUILTIN[this.table]
    const byMask = new Map<number, readonly string[]>()
    const checkChain = (name: string): TableError | null => {
      const some = anew || grown.has(name) ? ALL : fresh.get(name)
      if (some === undefined) return null
      const mask = maskOf(name)
      let hooks = byMask.get(mask)
      if (hooks === undefined) {
        hooks = builtin.filter((_, i) => (mask & (1 << i)) !== 0)
        byMask.set(mask, hooks)
      }
      const end = ends.get(name) ?? this.#endOf(name, anew)
      const rules = after.chain(name)?.rules ?? NO_RULES
      for (let i = 0; i < rules.length; i++) {
        const rule = rules[i]!
        if (some !== ALL && !some.has(rule)) continue
        const error = this.#checkRule(rule, i <= end ? hooks : NO_HOOKS, after)
        if (error !== null) return error
      }
      return null
    }
    const names = anew ? changed.keys() : new Set([...changed.keys(), ...grown])
    for (const name of names) {
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

  #checkRule(rule: Rule, hooks: readonly string[], after: ChainSource): TableError | null {
    if (rule.plain === true || (rule.matches.length === 0 && rule.target.kind !== 'extension')) return null
    const { protocol } = rule.base
    const use: CheckContext = {
      family: this.family,
      table: this.table,
      hooks,
      protocol,
      matches: rule.matches,
      base: rule.base,
      host: this.#host,
      earlier: () => rulesBefore(rule, after),
    }
    for (const { match, data } of rule.matches) {
      const error = checkExtension(match, data, use, rule)
      if (error !== null) return error
    }
    return rule.target.kind === 'extension'
      ? checkExtension(rule.target.target, rule.target.data, use, rule)
      : null
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
  oldEnd: number,
  edit: Edit,
): void {
  const [head, tail] = changedRange(old, rules)
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
  if (revived || (kept !== null && end !== oldEnd)) {
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
  if (!edit.anew && edit.fresh.get(name) !== ALL) edit.fresh.set(name, fresh ?? ALL)
}

/** xt_check_match() and xt_check_target(), then the extension's own checkentry. */
function checkExtension(
  ext: Match | Target,
  data: unknown,
  use: CheckContext,
  rule: Rule,
): TableError | null {
  const place = rule.place
  if (ext.tables !== undefined && !ext.tables.includes(use.table))
    return kernelError(
      'EINVAL',
      `${ext.name}: only valid in the ${ext.tables.join(', ')} table, not ${use.table}`,
      place,
    )
  if (ext.chains !== undefined) {
    const wrong = use.hooks.filter((hook) => !ext.chains!.includes(hook))
    if (wrong.length > 0)
      return kernelError(
        'EINVAL',
        `${ext.name}: used from hooks ${use.hooks.join('/')}, but only valid from ${ext.chains.join('/')}`,
        place,
      )
  }
  if (ext.protocols !== undefined && ext.protocols.length > 0) {
    const { protocol } = use
    if (protocol === null || protocol.invert || !ext.protocols.includes(protocol.number))
      return kernelError(
        'EINVAL',
        `${ext.name}: only valid for protocol ${ext.protocols.join(', ')}, not ${protocol?.number ?? 0}`,
        place,
      )
  }
  const refusal = ext.check?.(data, use) ?? null
  if (refusal === null) return null
  return typeof refusal === 'string'
    ? kernelError('EINVAL', `${ext.name}: ${refusal}`, place)
    : kernelError(refusal.errno, `${ext.name}: ${refusal.reason}`, place)
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
