// A seed, checked: drawn and run by the kernel, run by tunwall, compared, shrunk if they differ.

import { describe } from './compare.ts'
import { FRAMES, generate } from './generate.ts'
import { PROFILES, type Profile } from './generate-world.ts'
import { ICMPV6 } from './headers.ts'
import type { Oracle } from './kernel.ts'
import { hex, type Run, type Scenario } from './scenario.ts'
import { type Comparison, compareOnce, judge, type Runner, shrink } from './shrink.ts'

/** The frames as they went in are the scenario from now on: what a reader sees is what ran. */
function asRun(scenario: Scenario, run: Run): Scenario {
  const injected = new Map(run.steps.map((s) => [s.id, s.injected]))
  return {
    ...scenario,
    steps: scenario.steps.map((s) => {
      const frame = injected.get(s.id)
      return frame == null ? s : { ...s, frame: hex(frame) }
    }),
  }
}

/** One seed in so many is also told to tunwall by the files that the stock tools print of the namespace. */
const CAPTURE_EVERY = 5
/** How often a scenario is run again for one run that nothing interrupted. */
const MOST_RUNS = 8
/** So much longer each time, milliseconds. */
const PATIENCE_MS = 500

export interface Verdict {
  readonly seed: number
  readonly profile: Profile
  /** Null: no difference. */
  readonly failure: Comparison | null
  /** The difference did not come again when both ran the scenario once more: something is timed too finely. */
  readonly unsteady: boolean
}

/** One seed of one profile. A failure is what was drawn, not yet shrunk. */
export async function checkSeed(
  oracle: Oracle,
  seed: number,
  profile: Profile,
  runner: Runner,
  frames: number = FRAMES,
): Promise<Verdict> {
  const capture = seed % CAPTURE_EVERY === 0
  const { scenario, run, captured } = await generate(oracle, seed, profile, frames, { capture })
  const differences = judge(scenario, run, runner)
  if (differences.length === 0) {
    if (captured === null) return { seed, profile, failure: null, unsteady: false }
    // The same host, told by the files that real tools print.
    const told = judge(scenario, run, (s, k) => runner(s, k, captured))
    const failure =
      told.length === 0 ? null : { scenario: asRun(scenario, run), kernel: run, differences: told, captured }
    return { seed, profile, failure, unsteady: false }
  }
  const failure: Comparison = { scenario: asRun(scenario, run), kernel: run, differences }
  // Only a run whose every step fell into one jiffy can tell; a machine that stands still is waited for.
  let again = await compareOnce(oracle, scenario, runner)
  for (let n = 1; n < MOST_RUNS && disturbed(again.kernel); n++) {
    await later(n * PATIENCE_MS)
    again = await compareOnce(oracle, scenario, runner)
  }
  const unsteady = again.differences.length === 0
  if (unsteady && disturbed(run) && !disturbed(again.kernel))
    return { seed, profile, failure: null, unsteady }
  return { seed, profile, failure, unsteady }
}

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const disturbed = (run: Run): boolean => (run.straddling ?? 0) > 0 || speaksOfGroups(run)

const MLD2_REPORT = 143

/** A worker was late, and told of the host's groups (MLD) when the set-up seemed over. */
const speaksOfGroups = (run: Run): boolean =>
  run.steps.some(({ before, sent }) =>
    [...before, ...sent].some(
      ({ bytes }) => bytes[0]! >> 4 === 6 && bytes[40] === ICMPV6 && bytes[48] === MLD2_REPORT,
    ),
  )

/** A failure in as few frames and rules as can be had in the time. */
export async function reduce(
  oracle: Oracle,
  failure: Comparison,
  runner: Runner,
  budgetMs: number,
): Promise<Comparison> {
  // Only the captured folder shows it: there is nothing to take out.
  if (failure.captured !== undefined) return failure
  const small = await shrink(oracle, failure, runner, budgetMs)
  return { ...small, scenario: asRun(small.scenario, small.kernel) }
}

export const report = (c: Comparison, most?: number): string =>
  describe(c.scenario, c.kernel, c.differences, most)

/** Seeds of a run: each profile in turn. */
export function plan(
  seed: number,
  scenarios: number,
  profiles: readonly Profile[] = PROFILES,
): [number, Profile][] {
  return Array.from({ length: scenarios }, (_, i) => [seed + i, profiles[i % profiles.length]!])
}
