// Which rules traffic hit: their counters after it, less those before.

import type { Family } from '../../datapath/packet.ts'
import type { Rule, TableName } from '../../rules/model.ts'
import { saveRule } from '../../rules/text/print.ts'
import { textOf } from '../bytes.ts'
import type { Engine } from '../engine.ts'
import { type Never, neverHit } from './shadow.ts'

/** One rule, or a chain's policy, of the rules that a host begins with. */
export interface Covered {
  readonly family: Family
  readonly table: TableName
  readonly chain: string
  /** From 1; 0: the policy. */
  readonly number: number
  /** As iptables-save prints it. */
  readonly text: string
  readonly file: string | null
  readonly line: number | null
  /** Packets that matched it. */
  hits: number
  /** Why no packet can ever match it; null: some might. */
  readonly never: Never | null
}

type Counts = Map<Rule | string, number>

/** Rules of one host folder or file, with the hits of all the hosts that were made of it. */
export class Coverage {
  readonly rules: Covered[] = []
  readonly #byKey = new Map<string, Covered>()

  /** The rules that count are those that `engine` has now. */
  constructor(engine: Engine) {
    for (const family of [4, 6] as const)
      for (const { name: table, chains } of engine.tables.used(family)) {
        const views = new Map([...chains].map(([name, { model }]) => [name, model]))
        const never = neverHit(family, table, views)
        for (const { name, policy, rules } of views.values()) {
          const chain = textOf(name)
          const common = { family, table, chain, hits: 0 }
          if (policy !== null)
            this.#add({
              ...common,
              number: 0,
              text: `-P ${name} ${policy}`,
              file: null,
              line: null,
              never: null,
            })
          rules.forEach((rule, i) => {
            this.#add({
              ...common,
              number: i + 1,
              text: textOf(saveRule(name, rule, family)),
              file: rule.place?.file ?? null,
              line: rule.place?.line ?? null,
              never: never.get(name)?.get(i + 1) ?? null,
            })
          })
        }
      }
  }

  #add(rule: Covered): void {
    this.rules.push(rule)
    this.#byKey.set(keyOf(rule), rule)
  }

  /** What the counters say now, to give to count() later. */
  begin(engine: Engine): Counts {
    const counts: Counts = new Map()
    walk(engine, (where, rule, packets) => counts.set(rule ?? where, packets))
    return counts
  }

  /** Adds what has been counted since; rules that were not there at first are passed over. */
  count(engine: Engine, since: Counts): void {
    walk(engine, (where, rule, packets, known) => {
      const hits = packets - (since.get(rule ?? where) ?? 0)
      if (hits <= 0) return
      const covered = this.#byKey.get(known)
      if (covered !== undefined) covered.hits += hits
    })
  }
}

/** A rule is known again by where its text stands; one without a place by its own. */
const keyOf = ({
  family,
  table,
  chain,
  number,
  text,
  file,
  line,
}: Omit<Covered, 'hits' | 'never'>): string =>
  number > 0 && file !== null
    ? `${file}:${line} ${chain} ${text}`
    : `${family} ${table} ${chain} ${number > 0 ? text : ''}`

function walk(
  { tables }: Engine,
  each: (where: string, rule: Rule | null, packets: number, key: string) => void,
): void {
  for (const family of [4, 6] as const)
    for (const { name: table, chains } of tables.used(family))
      for (const loaded of chains.values()) {
        const { name, policy, rules } = loaded.model
        const chain = textOf(name)
        const { counters } = loaded
        const where = `${family} ${table} ${chain}`
        if (policy !== null) each(where, null, loaded.policyPackets, `${where} `)
        rules.forEach((rule, i) => {
          if (counters[i * 2] === 0) return
          const text = textOf(saveRule(name, rule, family))
          const place = { file: rule.place?.file ?? null, line: rule.place?.line ?? null }
          each(where, rule, counters[i * 2]!, keyOf({ family, table, chain, number: i + 1, text, ...place }))
        })
      }
}
