// What a rule needs beside its code: sets to hold, connection tracking, a place for its state.

import type { Family } from '../datapath/packet.ts'
import type { StateHolders } from './compile/rule.ts'
import type { CompileEnv, Fact, Match, Target } from './extension.ts'
import type { BaseMatch, Rule } from './model.ts'

/**
 * What Rule.plain says, of one extension in a rule for that protocol: every question below has "no" for an answer, and
 * check.ts would ask nothing.
 */
export function isPlain(ext: Match | Target, data: unknown, protocol: BaseMatch['protocol']): boolean {
  if (hasState(ext, data)) return false
  if (ext.tracks !== undefined || ext.sets !== undefined || ext.check !== undefined) return false
  if (ext.tables !== undefined || ext.chains !== undefined || ext.name === 'TRACE') return false
  if (ext.kind === 'target' && ext.writes !== undefined) return false
  const { protocols } = ext
  return (
    protocols === undefined ||
    protocols.length === 0 ||
    (protocol !== null && !protocol.invert && protocols.includes(protocol.number))
  )
}

/** Whether extension `ext` of a rule has state that makeStates() makes. */
const hasState = (ext: Match | Target, data: unknown): boolean =>
  ext.state !== undefined && ext.stateless?.(data) !== true

/** Whether makeStates() makes something. */
export const isStateful = ({ matches, target, plain }: Rule): boolean =>
  plain !== true &&
  (matches.some(({ match, data }) => hasState(match, data)) ||
    (target.kind === 'extension' && hasState(target.target, target.data)))

export const traces = ({ target }: Rule): boolean =>
  target.kind === 'extension' && target.target.name === 'TRACE'

/** Connection tracking is on as long as there is such a rule (nf_ct_netns_get). */
export function needsTracking(rule: Rule): boolean {
  const asks = (tracks: boolean | ((data: unknown) => boolean) | undefined, data: unknown): boolean =>
    typeof tracks === 'function' ? tracks(data) : tracks === true
  if (rule.matches.some((use) => asks(use.match.tracks, use.data))) return true
  return rule.target.kind === 'extension' && asks(rule.target.target.tracks, rule.target.data)
}

/** What rules are looked up by: a target that writes these and goes on would make the look-up's answer old. */
const KEYS: ReadonlySet<Fact> = new Set<Fact>(['source', 'destination', 'protocol', 'ports', 'in', 'out'])

/** Changes what later rules are looked up by, and lets the walk go on. */
export const rewrites = ({ target }: Rule): boolean =>
  target.kind === 'extension' &&
  target.target.flow !== 'final' &&
  target.target.writes?.some((fact) => KEYS.has(fact)) === true

const NO_SETS: readonly string[] = []

/** Sets that the rule holds, once for each time. */
export function setsOf({ matches, target, plain }: Rule): readonly string[] {
  if (plain === true) return NO_SETS
  let sets: string[] | null = null
  for (const { match, data } of matches) if (match.sets) (sets ??= []).push(...match.sets(data))
  if (target.kind === 'extension' && target.target.sets)
    (sets ??= []).push(...target.target.sets(target.data))
  return sets ?? NO_SETS
}

/** Null: the rule has none. */
export function makeStates(rule: Rule, env: CompileEnv, family: Family): StateHolders | null {
  if (rule.plain === true) return null
  const count = rule.matches.length
  let holders: { s: object | null }[] | null = null
  for (let i = 0; i <= count; i++) {
    const s = makeState(rule, i, env, family)
    if (s === null) continue
    holders ??= Array.from({ length: count + 1 }, () => ({ s: null }))
    holders[i]!.s = s
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

/** States that were made are not needed any more. */
export function releaseStates(rule: Rule, env: CompileEnv, family: Family): void {
  for (const use of rule.matches) use.match.release?.(use.data, env, family)
  if (rule.target.kind === 'extension') rule.target.target.release?.(rule.target.data, env, family)
}
