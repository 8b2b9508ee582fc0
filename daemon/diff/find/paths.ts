// Ways through the chains to a rule: which jumps must be taken from a built-in chain, and what each of them asks.
//
//     PREROUTING ─ rule 1 ─▶ KUBE-SERVICES ─ rule 812 ─▶ KUBE-SVC-X ─ rule 3
//                  nothing                 -d, --dport              two draws that miss, one that hits

import type { Family } from '../../../datapath/packet.ts'
import type { LoadedChain } from '../../../rules/chain.ts'
import type { Rule, TableName } from '../../../rules/model.ts'
import { TABLE_NAMES } from '../../../rules/model.ts'
import type { Engine } from '../../engine.ts'
import { type Asked, type Condition, conditionsOf } from './conditions.ts'
import type { Entry } from './plan.ts'
import type { HostWorld } from './world.ts'

/** A rule in force, or a built-in chain's policy. */
export interface Target {
  readonly family: Family
  readonly table: TableName
  readonly chain: LoadedChain
  /** Position in the chain; its length: the policy. */
  readonly index: number
}

/** One way to a target. */
export interface Way {
  readonly entry: Entry
  readonly family: Family
  /** Of the jumps. */
  readonly path: readonly Condition[]
  /** Of the target itself. */
  readonly own: readonly Condition[]
  /** Random draws that must miss. */
  readonly luck: number
}

const MOST_WAYS = 4
const MOST_CHOICES = 12
const DEEPEST = 16

export class Paths {
  readonly engine: Engine
  readonly world: HostWorld
  readonly #asked = new WeakMap<Rule, Asked>()
  /** Jumps to each chain of a table, by `FAMILY TABLE`. */
  readonly #callers = new Map<string, Map<string, { chain: LoadedChain; index: number }[]>>()

  constructor(engine: Engine, world: HostWorld) {
    this.engine = engine
    this.world = world
  }

  asked(rule: Rule, family: Family): Asked {
    let asked = this.#asked.get(rule)
    if (asked === undefined) this.#asked.set(rule, (asked = conditionsOf(rule, family, this.world)))
    return asked
  }

  /** All rules of all tables. */
  *targets(): Generator<Target> {
    for (const family of [4, 6] as const)
      for (const table of TABLE_NAMES) {
        if (!this.engine.tables.isUsed(family, table)) continue
        for (const chain of this.engine.tables.table(family, table).chains.values())
          for (let index = 0; index < chain.model.rules.length; index++) yield { family, table, chain, index }
      }
  }

  /** Ways to the target, one from each built-in chain first. */
  ways(target: Target): Way[] {
    const found: Way[] = []
    const { family, table } = target
    const rule = target.chain.model.rules[target.index]
    const own = rule === undefined ? { conditions: [], choices: [], luck: false } : this.asked(rule, family)
    const visit = (
      chain: LoadedChain,
      index: number,
      path: readonly Condition[],
      luck: number,
      seen: ReadonlySet<LoadedChain>,
    ): void => {
      if (found.length >= MOST_WAYS) return
      const draws = luck + this.#draws(chain, index, family)
      if (chain.model.policy !== null) {
        const entry = chain.model.name as Entry
        for (const members of choicesOf(own))
          found.push({ entry, family, path, own: [...own.conditions, ...members], luck: draws })
        return
      }
      if (seen.size > DEEPEST) return
      for (const caller of this.#callersOf(family, table, chain.model.name)) {
        if (seen.has(caller.chain)) continue
        const asked = this.asked(caller.chain.model.rules[caller.index]!, family)
        const [members = []] = choicesOf(asked)
        visit(
          caller.chain,
          caller.index,
          [...asked.conditions, ...members, ...path],
          draws,
          new Set([...seen, caller.chain]),
        )
      }
    }
    visit(target.chain, target.index, [], 0, new Set([target.chain]))
    return found
  }

  /** Rules before this one that ask for luck, which must not be had. */
  #draws(chain: LoadedChain, index: number, family: Family): number {
    let draws = 0
    const { rules } = chain.model
    // Long chains are lists of services or addresses, not of chances.
    const from = Math.max(0, index - 256)
    for (let i = from; i < index && i < rules.length; i++) if (this.asked(rules[i]!, family).luck) draws++
    return draws
  }

  #callersOf(family: Family, table: TableName, name: string): { chain: LoadedChain; index: number }[] {
    const key = `${family} ${table}`
    let callers = this.#callers.get(key)
    if (callers === undefined) {
      callers = new Map()
      for (const chain of this.engine.tables.table(family, table).chains.values())
        for (const [index, { target }] of chain.model.rules.entries()) {
          if (target.kind !== 'jump' && target.kind !== 'goto') continue
          const list = callers.get(target.chain)
          if (list === undefined) callers.set(target.chain, [{ chain, index }])
          else if (list.length < 8) list.push({ chain, index })
        }
      this.#callers.set(key, callers)
    }
    return callers.get(name) ?? []
  }
}

/** Lists of conditions, one member of each set; one empty list where no set is asked. */
function choicesOf({ choices }: Asked): (readonly Condition[])[] {
  let lists: (readonly Condition[])[] = [[]]
  for (const { members } of choices)
    lists = lists.flatMap((list) => members.map((member) => [...list, ...member])).slice(0, MOST_CHOICES)
  return lists
}
