// Rules and chains made by hand.

import {
  type BaseMatch,
  type Chain,
  type MatchUse,
  NO_BASE,
  type Rule,
  type TargetUse,
} from '../../rules/model.ts'
import { ruleNeeds } from '../../rules/needs.ts'

export function ruleOf(
  matches: readonly MatchUse[],
  target: TargetUse = { kind: 'none' },
  base: BaseMatch = NO_BASE,
): Rule {
  return { base, matches, target, place: null, needs: ruleNeeds(matches, target, base.protocol) }
}

export function chainOf(name: string, policy: Chain['policy'], rules: readonly Rule[]): Chain {
  return { name, policy, rules, needs: rules.reduce((needs, rule) => needs | rule.needs, 0) }
}
