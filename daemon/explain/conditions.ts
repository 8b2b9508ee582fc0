// One condition of a rule, as iptables-save writes it: `-s 10.0.0.0/8`, `-m tcp --dport 80`.

import type { Family } from '../../datapath/packet.ts'
import { NO_BASE, type Rule } from '../../rules/model.ts'
import { BASE_PARTS } from '../../rules/observe.ts'
import { saveRule } from '../../rules/text/print.ts'
import { textOf } from '../bytes.ts'

/** `condition`: as RuleObserver.miss has it. */
export function conditionText(rule: Rule, condition: number, family: Family): string {
  const { base, matches } = rule
  const part = BASE_PARTS[condition]
  // Which iptables-save leaves out.
  if (part === 'protocol' && base.protocol?.number === 0) return '-p all'
  const alone: Rule = {
    base:
      part === undefined
        ? NO_BASE
        : {
            ...NO_BASE,
            ...(part === 'source' && { source: base.source }),
            ...(part === 'destination' && { destination: base.destination }),
            ...(part === 'in' && { inInterface: base.inInterface }),
            ...(part === 'out' && { outInterface: base.outInterface }),
            ...(part === 'protocol' && { protocol: base.protocol }),
            ...(part === 'fragment' && { fragment: base.fragment }),
          },
    matches: part === undefined ? [matches[condition - BASE_PARTS.length]!] : [],
    target: { kind: 'none' },
    place: null,
    needs: 0,
  }
  return textOf(saveRule('', alone, family).slice('-A  '.length))
}
