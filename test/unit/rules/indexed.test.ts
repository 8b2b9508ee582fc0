// Chains that are looked up against the same chains as straight code: verdict, mark and every counter, over random rules,
// packets and edits. TUNWALL_SEED and TUNWALL_RUNS for longer ones.

import { expect, test } from 'vitest'
import type { Rule } from '../../../rules/model.ts'
import { Draw, packet, ruleset, TableHost } from '../../harness/random-chains.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const SEED = SEED_OF_RUN
const RUNS = Number(process.env.TUNWALL_RUNS ?? 40)

/** Takes rules out, puts others or copies in, as commands do. */
function edited(d: Draw, rules: readonly Rule[], fresh: readonly Rule[]): Rule[] {
  const out = [...rules]
  for (let n = 1 + d.below(3); n > 0; n--) {
    const at = d.pick([0, out.length, d.below(out.length + 1)])
    if (d.chance(40)) out.splice(at, 1 + d.below(3))
    else if (d.chance(10)) out.reverse()
    else out.splice(at, d.chance(30) ? 1 : 0, { ...d.pick(fresh) })
  }
  return out
}

test.each([4, 6] as const)(`IPv%d: seeds from ${SEED}`, (family) => {
  for (let run = 0; run < RUNS; run++) {
    const d = new Draw(SEED + run, family)
    const text = ruleset(d)
    const [indexed, linear] = [new TableHost(family, 1), new TableHost(family, Number.POSITIVE_INFINITY)]
    linear.load(text)
    // The same rules, not equal ones: edits are told by identity.
    const models = [...linear.tables.table(family, 'mangle').chains.values()].map(
      (c) => [c.model.name, c.model] as const,
    )
    indexed.tables.commit([{ family, table: 'mangle', chains: new Map(models) }])
    for (let round = 0; round < 4; round++) {
      for (let n = 0; n < 60; n++) {
        if (d.chance(8)) indexed.tables.warm(d.below(40))
        const make = packet(d)
        const [ours, theirs] = [make(), make()]
        const said = [indexed.forward(ours), linear.forward(theirs)]
        expect([SEED + run, said[0], ours.mark, ours.hotdrop]).toEqual([
          SEED + run,
          said[1],
          theirs.mark,
          theirs.hotdrop,
        ])
        for (const { host } of [indexed, linear]) host.now += 100
      }
      expect([SEED + run, indexed.counters()]).toEqual([SEED + run, linear.counters()])
      const chains = [...linear.tables.table(family, 'mangle').chains.values()]
      const chain = d.pick(chains)
      // Rules of built-in chains may lead anywhere, and to no loop; others keep to their own.
      const fresh = chain.model.policy === null ? chain.model.rules : chains.flatMap((c) => c.model.rules)
      if (fresh.length === 0) continue
      const rules = edited(d, chain.model.rules, fresh)
      for (const { tables } of [indexed, linear])
        tables.commit([
          { family, table: 'mangle', chains: new Map([[chain.model.name, { ...chain.model, rules }]]) },
        ])
    }
  }
})
