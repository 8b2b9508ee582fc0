// tunwall = kernel, on random scenarios and on those that once differed. docs/parity.md says which still do.
//
//     TUNWALL_SEED       first seed; default: the code's own, so every change is a new one
//     TUNWALL_SCENARIOS  scenarios a profile; default 1
//
// A failing scenario is shrunk, printed, and saved under TUNWALL_DIFFERENCES (default .cache/differences).

import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PROFILES } from '../harness/generate-world.ts'
import { repositoryRoot, whyNoKernel } from '../harness/kernel.ts'
import { OraclePool } from '../harness/oracle-pool.ts'
import { parseScenario } from '../harness/scenario.ts'
import { checkSeed, plan, reduce, report } from '../harness/scenario-check.ts'
import { runEngine } from '../harness/scenario-engine.ts'
import { writeScenarioFolder } from '../harness/scenario-folder.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'
import { compareOnce } from '../harness/shrink.ts'

const why = whyNoKernel()
if (why !== null) console.warn(`NOT RUN: tunwall is not compared with the kernel: ${why}`)

const seed = SEED_OF_RUN
const each = Number(process.env.TUNWALL_SCENARIOS ?? 1)
const keep = process.env.TUNWALL_DIFFERENCES ?? join(repositoryRoot(), '.cache/differences')
/** Most scenarios spend their time in pauses; more of them than there are cores may run at once. */
const JOBS = 12
const SHRINK_MS = 60_000

const pool = new OraclePool(JOBS)
afterAll(() => pool.close())

const regressions = join(dirname(fileURLToPath(import.meta.url)), 'regressions')

describe.skipIf(why !== null)('tunwall does what the kernel does', () => {
  beforeAll(() => {
    console.log(`random scenarios: TUNWALL_SEED=${seed} TUNWALL_SCENARIOS=${each}`)
  })

  describe('where they once differed', () => {
    const files = readdirSync(regressions).filter((f) => f.endsWith('.json'))
    test.each(files)('%s', async (file) => {
      const scenario = parseScenario(readFileSync(join(regressions, file), 'utf8'))
      const result = await pool.use((oracle) => compareOnce(oracle, scenario, runEngine))
      expect(result.differences.length, report(result)).toBe(0)
    })
  })

  test.each([...PROFILES])(`${each} random scenarios: %s`, async (profile) => {
    const failures: string[] = []
    const first = seed + PROFILES.indexOf(profile) * 100_000
    await Promise.all(
      plan(first, each, [profile]).map(([s]) =>
        pool.use(async (oracle) => {
          const { failure, unsteady } = await checkSeed(oracle, s, profile, runEngine)
          if (failure === null) return
          if (unsteady) {
            // The kernel itself does not do it twice: a jiffy that ended in between, or a number it drew.
            console.warn(
              `seed ${s}, profile ${profile}: differed once, the second run agreed\n${report(failure, 3)}`,
            )
            return
          }
          if (failures.length > 0) {
            failures.push(`${failure.scenario.name} differs too`)
            return
          }
          failures.push('')
          const small = await reduce(oracle, failure, runEngine, SHRINK_MS)
          const text = report(small)
          const directory = join(keep, failure.scenario.name)
          mkdirSync(keep, { recursive: true })
          writeScenarioFolder(directory, small.scenario, small.kernel, text, small.captured)
          failures[0] = `seed ${s}, profile ${profile}; saved as ${directory}\n${text}`
        }),
      ),
    )
    expect(failures.join('\n'), failures.join('\n')).toBe('')
  })
})
