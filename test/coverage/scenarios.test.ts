// Rules that are said to be hit by nothing, in random scenarios of all profiles: nothing hits them.
//
//     TUNWALL_SEED, TUNWALL_SCENARIOS  per profile; default 1

import { afterAll, expect, test } from 'vitest'
import { neverHit } from '../../daemon/coverage/shadow.ts'
import { PlaceError } from '../../daemon/errors.ts'
import type { Rule } from '../../rules/model.ts'
import { saveRule } from '../../rules/text/print.ts'
import { rehearse } from '../harness/generate.ts'
import { PROFILES, type Profile } from '../harness/generate-world.ts'
import { Rehearsal } from '../harness/rehearsal.ts'
import type { Step, StepRun } from '../harness/scenario.ts'
import type { EngineHost } from '../harness/scenario-engine.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 1)
const FRAMES = 100
const WALL = Date.UTC(2026, 8, 14)

/** Texts of the rules that nothing can hit, by rule. */
function dead({ engine }: EngineHost): Map<Rule, string> {
  const found = new Map<Rule, string>()
  for (const family of [4, 6] as const)
    for (const { name: table, chains } of engine.tables.used(family)) {
      const models = new Map([...chains].map(([name, { model }]) => [name, model]))
      for (const [name, never] of neverHit(family, table, models))
        for (const [number, how] of never) {
          const rule = models.get(name)!.rules[number - 1]!
          found.set(rule, `${table} ${saveRule(name, rule, family)} ${JSON.stringify(how)}`)
        }
    }
  return found
}

function hits({ engine }: EngineHost): Map<Rule, number> {
  const all = new Map<Rule, number>()
  for (const family of [4, 6] as const)
    for (const { chains } of engine.tables.used(family))
      for (const { model, counters } of chains.values())
        for (const [i, rule] of model.rules.entries()) all.set(rule, (all.get(rule) ?? 0) + counters[i * 2]!)
  return all
}

let judged = 0
afterAll(() => expect(judged).toBeGreaterThan(0))

/** After each step: whatever is dead now was not hit by it. A command makes other rules, and so other dead ones. */
class Judged extends Rehearsal {
  override async take(steps: readonly Step[]): Promise<StepRun[]> {
    const runs: StepRun[] = []
    for (const step of steps) {
      const before = hits(this.host)
      const never = step.command === undefined ? dead(this.host) : new Map<Rule, string>()
      runs.push(...(await super.take([step])))
      if (never.size === 0) continue
      judged += never.size
      const after = hits(this.host)
      for (const [rule, text] of never) expect(after.get(rule), text).toBe(before.get(rule))
    }
    return runs
  }
}

const ALL = Array.from({ length: SCENARIOS }, (_, i) => SEED_OF_RUN + i)

test.each(PROFILES.flatMap((profile) => ALL.map((seed) => [profile, seed] as const)))(
  '%s, seed %i',
  async (profile: Profile, seed: number) => {
    try {
      await rehearse(seed, profile, WALL, (scenario) => new Judged(scenario, WALL), FRAMES)
    } catch (error) {
      // A world that was drawn with a route twice: the kernel takes it, a host folder does not.
      if (!(error instanceof PlaceError)) throw error
      console.log(`passed over: ${error.message}`)
    }
  },
)
