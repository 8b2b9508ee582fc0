// Compares tunwall with the kernel on random scenarios, for as long as one likes.
//
//     npm run compare -- --seed 1 --scenarios 500 --jobs 16 --out /tmp/differences
//     npm run compare -- --minutes 30 --profile nat
//     npm run compare -- --file test/differential/regressions/x.json
//     npm run compare -- --file OUT/NAME/scenario.json --run OUT/NAME/run.json    what the kernel did then, not now
//
// Needs root, TUN devices, iptables-legacy, conntrack and a C compiler. Exit status 1 if anything differs.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { refusals } from '../test/harness/generate.ts'
import { PROFILES, type Profile } from '../test/harness/generate-world.ts'
import { type Oracle, whyNoKernel } from '../test/harness/kernel.ts'
import { OraclePool } from '../test/harness/oracle-pool.ts'
import { parseRun, parseScenario } from '../test/harness/scenario.ts'
import { checkSeed, plan, reduce, report } from '../test/harness/scenario-check.ts'
import { runEngine } from '../test/harness/scenario-engine.ts'
import { writeScenarioFolder } from '../test/harness/scenario-folder.ts'
import { type Comparison, compareOnce, judge, kinds } from '../test/harness/shrink.ts'

const USAGE = `usage: npm run compare -- [--seed N] [--scenarios N] [--minutes N] [--profile NAME,...] [--frames N]
                          [--jobs N] [--out DIR] [--shrink SECONDS] [--most N] [--file SCENARIO.json]... [--run RUN.json]
profiles: ${PROFILES.join(', ')}`

/** One line for who called it wrongly. */
function refuse(reason: string): never {
  console.error(`fuzz-kernel: ${reason}`)
  process.exit(2)
}

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  seed: { type: 'string' },
  scenarios: { type: 'string', default: '500' },
  minutes: { type: 'string' },
  profile: { type: 'string' },
  frames: { type: 'string', default: '200' },
  jobs: { type: 'string', default: '16' },
  out: { type: 'string' },
  file: { type: 'string', multiple: true },
  run: { type: 'string' },
  shrink: { type: 'string', default: '60' },
  most: { type: 'string', default: '20' },
} as const

function readOptions() {
  try {
    return parseArgs({ options: OPTIONS }).values
  } catch (error) {
    return refuse((error as Error).message.split('\n')[0]!)
  }
}

/** The least that each number may be. */
const LEAST = { seed: 0, scenarios: 0, minutes: 0, frames: 1, jobs: 1, shrink: 0, most: 0 } as const

const values = readOptions()

if (values.help) {
  console.log(USAGE)
  process.exit(0)
}

for (const [name, least] of Object.entries(LEAST)) {
  const value = values[name as keyof typeof LEAST]
  if (value === undefined) continue
  const whole = name !== 'minutes' && name !== 'shrink'
  const n = value.trim() === '' ? Number.NaN : Number(value)
  if (!(n >= least && n <= Number.MAX_SAFE_INTEGER) || (whole && !Number.isInteger(n)))
    refuse(`--${name} takes a ${whole ? 'whole ' : ''}number from ${least} on, not "${value}"`)
}
for (const file of [...(values.file ?? []), values.run])
  if (file !== undefined && !existsSync(file)) refuse(`no such file: ${file}`)

const seed = values.seed === undefined ? (Date.now() / 1000) | 0 : Number(values.seed)
const profiles = values.profile === undefined ? PROFILES : (values.profile.split(',') as Profile[])
for (const profile of profiles) if (!PROFILES.includes(profile)) refuse(`no such profile: "${profile}"`)
const deadline =
  values.minutes === undefined ? Number.POSITIVE_INFINITY : Date.now() + Number(values.minutes) * 60_000
const pool = new OraclePool(Number(values.jobs))
/** Kind of difference to how often it was seen; only the first of a kind is shrunk. */
const seen = new Map<string, number>()
let shrunk = 0
/** How often it is said how far the run is, in scenarios. */
const SAY_EVERY = 250

/** What was said, and about which line, of a refusal that has the whole set-up below it. */
function refusalOf(text: string): string {
  const lines = text.split('\n')
  const [, at] = /line:? (\d+)/.exec(text) ?? []
  const start = lines.findIndex((l) => l.startsWith('*'))
  return [lines[0], at === undefined || start < 0 ? '' : lines[start + Number(at) - 1]].join('  ')
}

async function show(oracle: Oracle, failure: Comparison, unsteady: boolean): Promise<void> {
  const kind = [...kinds(failure.differences)].join(', ')
  const times = (seen.get(kind) ?? 0) + 1
  seen.set(kind, times)
  if (times > 1 || shrunk >= Number(values.most)) {
    console.log(`DIFFERENT ${failure.scenario.name}: ${kind} (seen ${times} times)`)
    return
  }
  shrunk++
  const small = unsteady ? failure : await reduce(oracle, failure, runEngine, Number(values.shrink) * 1000)
  const text = report(small)
  console.log(
    `\nDIFFERENT ${kind}${unsteady ? ` (not the second time; ${failure.kernel.straddling ?? 0} steps across two jiffies)` : ''}\n${text}\n`,
  )
  if (values.out !== undefined) {
    const directory = join(values.out, failure.scenario.name)
    writeScenarioFolder(directory, small.scenario, small.kernel, text, small.captured)
    console.log(`saved as ${directory}`)
  }
}

async function main(): Promise<number> {
  const why = whyNoKernel()
  if (why !== null) {
    console.error(`the kernel cannot be asked here: ${why}`)
    return 2
  }
  let run = 0
  let bad = 0
  let lost = 0
  const started = Date.now()
  if (values.file !== undefined) {
    for (const file of values.file)
      await pool.use(async (oracle) => {
        const scenario = parseScenario(readFileSync(file, 'utf8'))
        const kernel = values.run === undefined ? null : parseRun(readFileSync(values.run, 'utf8'))
        const result =
          kernel === null
            ? await compareOnce(oracle, scenario, runEngine)
            : { scenario, kernel, differences: judge(scenario, kernel, runEngine) }
        run++
        if (result.differences.length === 0) return
        bad++
        console.log(report(result))
      })
  } else {
    console.log(`seed ${seed}`)
    const todo = plan(seed, Number(values.scenarios), profiles)
    await Promise.all(
      todo.map(([s, profile]) => {
        const once = async (oracle: Oracle): Promise<void> => {
          if (Date.now() > deadline) return
          const verdict = await checkSeed(oracle, s, profile, runEngine, Number(values.frames))
          run++
          if (run % SAY_EVERY === 0) console.error(`${run} of ${todo.length} scenarios, ${bad} differ`)
          if (verdict.failure === null) return
          bad++
          await show(oracle, verdict.failure, verdict.unsteady).catch((error: Error) => {
            console.log(
              `DIFFERENT ${profile}-${s}: not shrunk: ${error.message}\n${report(verdict.failure!)}`,
            )
          })
        }
        // A scenario that could not be run is no reason to give up the others.
        return pool.use(once).catch((first) =>
          pool.use(once).catch((error: Error) => {
            lost++
            console.log(`NOT RUN ${profile}-${s}: ${error.message} (before: ${first.message})`)
          }),
        )
      }),
    )
  }
  for (const [kind, times] of [...seen].sort((a, b) => b[1] - a[1]))
    console.log(`${String(times).padStart(6)} ${kind}`)
  if (refusals.length > 0) console.log(`${refusals.length} set-ups were refused:`)
  for (const text of refusals.slice(0, 10)) console.log(`  ${refusalOf(text)}`)
  if (lost > 0) console.log(`${lost} scenarios could not be run`)
  console.log(`${run} scenarios, ${bad} differ, ${((Date.now() - started) / 1000).toFixed(1)} s`)
  return bad + lost === 0 ? 0 : 1
}

main()
  .then((status) => {
    process.exitCode = status
  })
  .catch((error) => {
    console.error(error)
    process.exitCode = 2
  })
  .finally(() => pool.close())
