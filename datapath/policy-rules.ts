// Policy rules: what `ip rule` has (net/core/fib_rules.c, fib4_rule_*, fib6_rule_*).

import type { Family } from './packet.ts'
import { RouteError, type RoutePrefix, sameWords, Table } from './route.ts'

export type RuleAction = 'lookup' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit'

/** A policy rule as `ip rule add` says it. What is absent is not asked. */
export interface RuleSpec {
  readonly family?: Family
  /** Default: one less than the second rule's, as fib_default_rule_pref(). */
  readonly priority?: number
  readonly not?: boolean
  readonly source?: RoutePrefix | null
  readonly destination?: RoutePrefix | null
  readonly tos?: number
  readonly mark?: number
  /** 0: the mark is not asked. */
  readonly markMask?: number
  readonly iif?: string | null
  readonly oif?: string | null
  /** 0: not asked. */
  readonly protocol?: number
  readonly sourcePorts?: readonly [number, number] | null
  readonly destinationPorts?: readonly [number, number] | null
  readonly uids?: readonly [number, number] | null
  readonly tunnel?: number
  readonly l3mdev?: boolean
  readonly action: RuleAction
  /** A number that no action has (RTN_*): a blackhole under another name. */
  readonly otherAction?: number
  readonly table?: number
  /** Priority that `goto` leads to. */
  readonly target?: number
  /** -1 or absent: none. */
  readonly suppressPrefixLength?: number
  /** -1 or absent: none. */
  readonly suppressGroup?: number
  /** 0 is none, but asked for where a rule is looked for. */
  readonly realm?: number
  /** FRA_PROTOCOL: who set it, as `protocol` of a route; default `kernel`. */
  readonly setBy?: string
}

/** A rule that stands in the list. */
export interface Rule extends RuleSpec {
  readonly family: Family
  readonly priority: number
}

const DEFAULT_RULES: readonly { readonly priority: number; readonly table: number }[] = [
  { priority: 0, table: Table.Local },
  { priority: 32766, table: Table.Main },
  { priority: 32767, table: Table.Default },
]

/** The rules of a fresh namespace. */
export const defaultRules = (family: Family): Rule[] =>
  DEFAULT_RULES.filter((r) => family === 4 || r.table !== Table.Default).map((r) => ({
    family,
    priority: r.priority,
    action: 'lookup',
    table: r.table,
  }))

/**
 * rule_exists(): `rule` would be another like `there`, which inverts, leads to another rule or is narrower all the same. Of
 * addresses, TOS and realm a rule that says nothing asks nothing (fib4_rule_compare, fib6_rule_compare).
 */
export function isThere(there: Rule, rule: Rule): boolean {
  const { not = false, target = 0, source, destination, tos, realm } = rule
  return (
    sameRule(
      {
        ...there,
        not,
        target,
        ...(source ? null : { source: null }),
        ...(destination ? null : { destination: null }),
        ...(tos ? null : { tos: 0 }),
      },
      rule,
    ) &&
    (realm === undefined || realm === (there.realm ?? 0))
  )
}

/** Everything but what is absent on both sides. */
export function sameRule(a: Rule, b: Rule): boolean {
  const text = (r: Rule): string =>
    JSON.stringify([
      r.priority,
      r.not ?? false,
      r.source?.words.slice(0, 4) ?? null,
      r.source?.prefixLength ?? 0,
      r.destination?.words.slice(0, 4) ?? null,
      r.destination?.prefixLength ?? 0,
      r.tos ?? 0,
      r.mark ?? 0,
      r.markMask ?? 0,
      r.iif ?? null,
      r.oif ?? null,
      r.protocol ?? 0,
      r.sourcePorts ?? null,
      r.destinationPorts ?? null,
      r.uids ?? null,
      r.tunnel ?? 0,
      r.l3mdev ?? false,
      r.action,
      r.otherAction ?? 0,
      r.action === 'lookup' ? (r.table ?? Table.Main) : 0,
      r.target ?? 0,
      r.suppressPrefixLength ?? -1,
      r.suppressGroup ?? -1,
      r.setBy ?? 'kernel',
    ])
  return text(a) === text(b)
}

/** A rule that may be put among `rules` (fib_nl2rule). Throws RouteError. */
export function checkedRule(family: Family, rules: readonly Rule[], spec: RuleSpec): Rule {
  const priority = spec.priority ?? Math.max((rules[1]?.priority ?? 1) - 1, 0)
  if (spec.action === 'goto' && (spec.target === undefined || spec.target <= priority))
    throw new RouteError('EINVAL', 'Backward goto not supported', true)
  if (((spec.tos ?? 0) & 3) !== 0)
    throw new RouteError('EINVAL', 'Invalid dsfield (tos): ECN bits must be 0', true)
  return { ...spec, family, priority }
}

/** The first rules are the kernel's own. */
const DEFAULTS: Partial<RuleSpec> = { setBy: 'kernel', realm: 0 }

/** rule_find(): the rule has everything that is said, and may have more. */
export function answers(rule: Rule, said: Partial<RuleSpec>): boolean {
  return (Object.keys(said) as (keyof RuleSpec)[]).every((key) => {
    const a = rule[key] ?? DEFAULTS[key] ?? null
    const b = said[key] ?? null
    if (a === b) return true
    if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return false
    if ('words' in a && 'words' in b) return a.prefixLength === b.prefixLength && sameWords(a.words, b.words)
    return JSON.stringify(a) === JSON.stringify(b)
  })
}
