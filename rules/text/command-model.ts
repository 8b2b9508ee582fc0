// What a command line of iptables says once it is read: a Command, and in it the text of a rule.

import type { AddressMatch, BaseMatch, Counters, MatchUse, Place, Rule, TargetUse } from '../model.ts'
import { ruleNeeds } from '../needs.ts'

export const VERSION = '1.8.9'
export const VARIANT = `${VERSION} (legacy)`

/** Commands by their letter; n: -D with a number, z: -Z with a number. */
export type Op = 'A' | 'C' | 'D' | 'I' | 'R' | 'L' | 'S' | 'F' | 'Z' | 'N' | 'X' | 'E' | 'P' | 'n' | 'z'

/** What stands in a rule before chains are known: `make` gives the rules, one for each pair of addresses. */
export interface RuleText {
  readonly base: Omit<BaseMatch, 'source' | 'destination'>
  readonly sources: readonly (AddressMatch | null)[]
  readonly destinations: readonly (AddressMatch | null)[]
  readonly matches: readonly MatchUse[]
  /** Of -j or -g; '' if there is none. */
  readonly jumpTo: string
  readonly goto: boolean
  /** The extension of that name, or a verdict; null if only a chain can be meant. */
  readonly target: TargetUse | null
}

export interface Command {
  /** -L and -Z may come together. */
  readonly ops: ReadonlySet<Op>
  readonly table: string
  readonly chain: string | null
  readonly newName: string | null
  readonly policy: string | null
  readonly number: number
  readonly verbose: number
  readonly numeric: boolean
  readonly exact: boolean
  readonly lineNumbers: boolean
  /** -c, or null. */
  readonly counters: Counters | null
  readonly rule: RuleText
}

/** The rules that a RuleText stands for, in the order in which iptables puts them in. */
export function makeRules(text: RuleText, target: TargetUse, place: Place | null): Rule[] {
  const { base, matches } = text
  const needs = ruleNeeds(matches, target, base.protocol)
  if (text.sources.length === 1 && text.destinations.length === 1)
    return [
      {
        base: {
          source: text.sources[0]!,
          destination: text.destinations[0]!,
          inInterface: base.inInterface,
          outInterface: base.outInterface,
          protocol: base.protocol,
          fragment: base.fragment,
        },
        matches,
        target,
        place,
        needs,
      },
    ]
  return text.sources.flatMap((source) =>
    text.destinations.map((destination) => ({
      base: { ...base, source, destination },
      matches,
      target,
      place,
      needs,
    })),
  )
}
