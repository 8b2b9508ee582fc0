// A recorder tells the truth and changes nothing, over random scenarios of all profiles: the rules that it says fitted are
// those whose counters rose, and the host does what it does without a recorder.
//
//     TUNWALL_SEED, TUNWALL_SCENARIOS  per profile; default 1

import { expect, test } from 'vitest'
import { PlaceError } from '../../daemon/errors.ts'
import { recordJson } from '../../daemon/explain/json.ts'
import type { PacketRecord, TableStep } from '../../daemon/explain/record.ts'
import { attach, type Recorder } from '../../daemon/explain/recorder.ts'
import { Fate } from '../../datapath/fate.ts'
import { rehearse } from '../harness/generate.ts'
import { PROFILES, type Profile } from '../harness/generate-world.ts'
import { Rehearsal } from '../harness/rehearsal.ts'
import type { Scenario, Step, StepRun } from '../harness/scenario.ts'
import type { EngineHost } from '../harness/scenario-engine.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 1)
const FRAMES = 120
const WALL = Date.UTC(2026, 8, 14)

/** Packets by rule, and by policy, of everything that has counters. */
function counters({ engine }: EngineHost): Map<string, number> {
  const all = new Map<string, number>()
  for (const family of [4, 6] as const)
    for (const table of engine.tables.used(family))
      for (const [name, chain] of table.chains) {
        chain.counters.forEach((value, i) => {
          if (i % 2 === 0) all.set(`${family} ${table.name} ${name} ${i / 2 + 1}`, value)
        })
        if (chain.model.policy !== null)
          all.set(`${family} ${table.name} ${name} policy`, chain.policyPackets)
      }
  return all
}

function risen(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string[] {
  const rose: string[] = []
  for (const [name, value] of after) {
    const by = value - (before.get(name) ?? 0)
    for (let i = 0; i < by; i++) rose.push(name)
  }
  return rose.sort()
}

const walks = (record: PacketRecord): TableStep[] =>
  record.journeys.flatMap((journey) => journey.steps.filter((step) => step.at === 'table'))

/** What the record says was counted. */
function told(record: PacketRecord): string[] {
  const names: string[] = []
  for (const { rules, by } of walks(record)) {
    for (const { matched, rule } of rules) if (matched) names.push(`${rule.family} ${rule.name}`)
    if (by.number === 0) names.push(`${by.family} ${by.name}`)
  }
  return names.sort()
}

/** Two hosts: one is watched. */
class Twins extends Rehearsal {
  readonly #plain: Rehearsal
  readonly #recorder: Recorder
  records = 0

  constructor(scenario: Scenario, wall: number, misses: boolean) {
    super(scenario, wall)
    this.#plain = new Rehearsal(scenario, wall)
    this.#recorder = attach(this.host.engine, { misses, frames: true })
  }

  override async take(steps: readonly Step[]): Promise<StepRun[]> {
    const runs: StepRun[] = []
    for (const step of steps) {
      const recorder = this.#recorder
      const before = counters(this.host)
      recorder.begin(step.id)
      const [run] = await super.take([step])
      const record = recorder.take(step.dev ?? '', Fate.Dropped)
      const [plain] = await this.#plain.take([step])
      expect(run!.sent).toEqual(plain!.sent)
      // Commands change the counters themselves.
      if (step.command === undefined) {
        const names = told(record)
        expect(names).toEqual(risen(before, counters(this.host)))
        expect(JSON.parse(JSON.stringify(record))).toEqual(record)
        expect(recordJson(record)).toBe(JSON.stringify(record))
        this.records += names.length
        const frames = record.journeys
          .flatMap((j) => j.steps.filter((s) => s.at === 'sent'))
          .sort((a, b) => a.frame - b.frame)
        expect(frames.map((f) => `${f.dev} ${f.bytes}`)).toEqual(
          [...run!.before, ...run!.sent].map((f) => `${f.dev} ${Buffer.from(f.bytes).toString('hex')}`),
        )
      }
      runs.push(run!)
    }
    return runs
  }

  /** With the recorder gone both hosts have the same counters. */
  end(): void {
    this.#recorder.detach()
    expect(counters(this.host)).toEqual(counters(this.#plain.host))
  }
}

const ALL = Array.from({ length: SCENARIOS }, (_, i) => SEED_OF_RUN + i)

test.each(PROFILES.flatMap((profile) => ALL.map((seed) => [profile, seed] as const)))(
  '%s, seed %i',
  async (profile: Profile, seed: number) => {
    let twins: Twins | null = null
    // A host that its own folder cannot say (two routes that clash) is a fault of the generator: another is drawn.
    for (let attempt = 0; twins === null; attempt++)
      try {
        await rehearse(
          seed + attempt * 1_000_003,
          profile,
          WALL,
          (scenario) => {
            twins = new Twins(scenario, WALL, seed % 2 === 0)
            return twins
          },
          FRAMES,
        )
      } catch (error) {
        if (!(error instanceof PlaceError) || attempt === 9) throw error
      }
    ;(twins as Twins).end()
  },
)
