// What a rule needs beside its code: sets to hold, connection tracking, a place for its state.

import type { Family } from '../datapath/packet.ts'
import type { StateHolders } from './compile/rule.ts'
import type { CompileEnv, Fact, Match, Target } from './extension.ts'
import type { BaseMatch, Chain, MatchUse, Rule, TargetUse } from './model.ts'

/** Bits of Rule.needs. */
export const Need = {
  /** Connection tracking is on as long as there is such a rule (nf_ct_netns_get). */
  Tracking: 1,
  /** Its target is TRACE. */
  Tracing: 2,
  /** It changes what later rules are looked up by, and lets the walk go on. */
  Rewriting: 4,
  /** makeStates() */
  States: 8,
  /** setsOf() */
  Sets: 16,
  /** check.ts has something to ask. */
  Checks: 32,
} as const

/** What rules are looked up by: a target that writes these and goes on would make the look-up's answer old. */
const KEYS: ReadonlySet<Fact> = new Set<Fact>(['source', 'destination', 'protocol', 'ports', 'in', 'out'])

/** What one extension needs in a rule for that protocol. */
export function needsOf(ext: Match | Target, data: unknown, protocol: BaseMatch['protocol']): number {
  let needs = 0
  if (tracks(ext, data)) needs |= Need.Tracking
  if (ext.kind === 'target') {
    if (ext.name === 'TRACE') needs |= Need.Tracing
    if (writesKeys(ext)) needs |= Need.Rewriting
  }
  if (ext.state !== undefined && ext.stateless?.(data) !== true) needs |= Need.States
  if (ext.sets !== undefined) needs |= Need.Sets
  if (ext.check !== undefined || ext.tables !== undefined || ext.chains !== undefined) needs |= Need.Checks
  const { protocols } = ext
  if (
    protocols !== undefined &&
    protocols.length > 0 &&
    (protocol === null || protocol.invert || !protocols.includes(protocol.number))
  )
    needs |= Need.Checks
  return needs
}

/** What a rule needs; its addresses and interfaces need nothing. */
export function ruleNeeds(
  matches: readonly MatchUse[],
  target: TargetUse,
  protocol: BaseMatch['protocol'],
): number {
  let needs = target.kind === 'extension' ? needsOf(target.target, target.data, protocol) : 0
  for (const { match, data } of matches) needs |= needsOf(match, data, protocol)
  return needs
}

export const doesNeed = ({ needs }: Rule | Chain, need: number): boolean => (needs & need) !== 0

function tracks(ext: Match | Target, data: unknown): boolean {
  return typeof ext.tracks === 'function' ? ext.tracks(data) : ext.tracks === true
}

function writesKeys({ flow, writes }: Target): boolean {
  return flow !== 'final' && writes?.some((fact) => KEYS.has(fact)) === true
}

const NO_SETS: readonly string[] = []

/** Sets that the rule holds, once for each time. */
export function setsOf(rule: Rule): readonly string[] {
  if (!doesNeed(rule, Need.Sets)) return NO_SETS
  const { matches, target } = rule
  let sets: string[] | null = null
  for (const { match, data } of matches) if (match.sets) (sets ??= []).push(...match.sets(data))
  if (target.kind === 'extension' && target.target.sets)
    (sets ??= []).push(...target.target.sets(target.data))
  return sets ?? NO_SETS
}

/** Null: the rule has none. */
export function makeStates(rule: Rule, env: CompileEnv, family: Family): StateHolders | null {
  if (!doesNeed(rule, Need.States)) return null
  const count = rule.matches.length
  let holders: { s: object | null }[] | null = null
  let i = 0
  try {
    for (; i <= count; i++) {
      const s = makeState(rule, i, env, family)
      if (s === null) continue
      holders ??= Array.from({ length: count + 1 }, () => ({ s: null }))
      holders[i]!.s = s
    }
  } catch (error) {
    if (holders !== null) releaseStates(rule, env, family, i)
    throw error
  }
  return holders
}

/** State of match `i`, or of the target behind the last match. */
function makeState({ matches, target }: Rule, i: number, env: CompileEnv, family: Family): object | null {
  const use = matches[i]
  if (use !== undefined) return use.match.state?.(use.data, env, family) ?? null
  return target.kind === 'extension' ? (target.target.state?.(target.data, env, family) ?? null) : null
}

/** Begins its states anew. */
export function fillStates(rule: Rule, holders: StateHolders, env: CompileEnv, family: Family): void {
  for (let i = 0; i < holders.length; i++) holders[i]!.s = makeState(rule, i, env, family)
}

/** States that were made are not needed any more: all, or those of the first `made` uses. */
export function releaseStates(
  { matches, target }: Rule,
  env: CompileEnv,
  family: Family,
  made = matches.length + 1,
): void {
  for (const use of matches.slice(0, made)) use.match.release?.(use.data, env, family)
  if (made > matches.length && target.kind === 'extension') target.target.release?.(target.data, env, family)
}
