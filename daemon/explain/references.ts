// Names for rules: where each stands, what it says, which line of which file it came from. Made when first asked for.

import { Verdict } from '../../datapath/hooks.ts'
import type { Family } from '../../datapath/packet.ts'
import type { LoadedChain } from '../../rules/chain.ts'
import type { Rule, TableName } from '../../rules/model.ts'
import { saveRule } from '../../rules/text/print.ts'
import { textOf } from '../bytes.ts'
import type { Engine } from '../engine.ts'
import type { Decision, RuleRef } from './record.ts'

/** A chain in force, as the recorder numbers it. */
export interface KnownChain {
  readonly family: Family
  readonly table: TableName
  readonly chain: LoadedChain
  readonly policy: () => Verdict
  /** Of the rules that `positions` and `refs` were made for. */
  rules: readonly Rule[] | null
  /** By slot. */
  positions: Int32Array
  refs: (RuleRef | undefined)[]
  policyRef: RuleRef | null
}

const VERDICT_NAMES = ['DROP', 'ACCEPT', 'STOLEN', 'QUEUE', 'REPEAT'] as const

export const verdictName = (verdict: number): string => VERDICT_NAMES[verdict] ?? String(verdict)

export class References {
  readonly engine: Engine
  readonly chains: KnownChain[] = []
  readonly #numbers = new Map<LoadedChain, number>()

  constructor(engine: Engine) {
    this.engine = engine
  }

  /** A number for the chain: the same whenever it is asked for. */
  chain(family: Family, table: TableName, chain: LoadedChain): number {
    let number = this.#numbers.get(chain)
    if (number === undefined) {
      number = this.chains.length
      this.chains.push({
        family,
        table,
        chain,
        policy: () => (chain.model.policy === 'DROP' ? Verdict.Drop : Verdict.Accept),
        rules: null,
        positions: new Int32Array(0),
        refs: [],
        policyRef: null,
      })
      this.#numbers.set(chain, number)
    }
    return number
  }

  /** The number of another chain of the same table; -1: nobody has asked for it yet. */
  numberOf({ family, table }: KnownChain, name: string): number {
    const chain = this.engine.tables.table(family, table).chains.get(name)
    return chain === undefined ? -1 : (this.#numbers.get(chain) ?? -1)
  }

  /** The rule in a slot; slot -1: the chain's policy. */
  rule(chain: number, slot: number): RuleRef {
    const known = this.chains[chain]!
    if (known.rules !== known.chain.model.rules) refresh(known)
    if (slot < 0) return (known.policyRef ??= policyOf(known))
    return (known.refs[slot] ??= refOf(known, slot))
  }

  decision(chain: number, slot: number, verdict: number): Decision {
    const rule = this.rule(chain, slot)
    const target = slot < 0 ? null : this.chains[chain]!.chain.slots.bySlot[slot]?.target
    return { rule, verdict: target?.kind === 'extension' ? target.target.name : verdictName(verdict) }
  }
}

function refresh(known: KnownChain): void {
  const { slots, model } = known.chain
  known.rules = model.rules
  known.refs = []
  known.policyRef = null
  const positions = new Int32Array(slots.bySlot.length).fill(-1)
  for (let i = 0; i < slots.count; i++) positions[slots.at[i]!] = i
  known.positions = positions
}

function refOf({ family, table, chain, positions }: KnownChain, slot: number): RuleRef {
  const rule = chain.slots.bySlot[slot]!
  const { name } = chain.model
  const number = positions[slot]! + 1
  return {
    family,
    table,
    chain: textOf(name),
    number,
    text: textOf(saveRule(name, rule, family)),
    name: `${table} ${textOf(name)} ${number}`,
    file: rule.place?.file ?? null,
    line: rule.place?.line ?? null,
  }
}

function policyOf({ family, table, chain }: KnownChain): RuleRef {
  const { name, policy } = chain.model
  return {
    family,
    table,
    chain: name,
    number: 0,
    text: `-P ${name} ${policy ?? 'RETURN'}`,
    name: `${table} ${name} policy`,
    file: null,
    line: null,
  }
}
