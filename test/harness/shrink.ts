// Making a failing scenario small: parts are taken out as long as both sides, run again, still differ in the
// same way. Frames first, in halves, then rules, tables, sysctls, routes and interfaces, then pauses; over again
// until nothing more can go.

import type { Difference } from './compare.ts'
import { compareRuns } from './compare.ts'
import { type Oracle, Refused, runKernel } from './kernel.ts'
import { type Beside, firstRules, type Run, type Scenario } from './scenario.ts'
import { flowOf } from './scenario-draws.ts'

/** One comparison. `differences` is empty when the two agree. */
export interface Comparison {
  readonly scenario: Scenario
  readonly kernel: Run
  readonly differences: readonly Difference[]
  /** The host folder with which alone they differ. */
  readonly captured?: Readonly<Record<string, string>>
}

/** tunwall's side, given the kernel's. */
export type Runner = (scenario: Scenario, kernel: Run, captured?: Readonly<Record<string, string>>) => Run

export async function compareOnce(oracle: Oracle, scenario: Scenario, runner: Runner): Promise<Comparison> {
  const kernel = await runKernel(oracle, scenario)
  return { scenario, kernel, differences: judge(scenario, kernel, runner) }
}

/** Sets of networks whose collector comes by every second, and how late the kernel may be. */
const COLLECTED = /^create \S+ hash:\S*net\S* .*timeout /m
const LATE_MS = Array.from({ length: 20 }, (_, i) => (i + 1) * 50)

/**
 * What differs. The collector of expired networks is a deferrable timer, late on an idle processor: nothing that
 * follows from when it came by is a difference. Nor is which of two connections drew which port, if no frame shows it.
 */
export function judge(scenario: Scenario, kernel: Run, runner: Runner): Difference[] {
  const found = judgeOnce(scenario, kernel, runner)
  if (found.length > 0 && inSomeOrder(scenario, kernel, found, runner)) return []
  if (found.length === 0 || kernel.setsAt === undefined || !COLLECTED.test(scenario.sets ?? '')) return found
  for (const late of LATE_MS)
    if (judgeOnce(scenario, { ...kernel, setsAt: kernel.setsAt + late }, runner).length === 0) return []
  return found
}

/**
 * Connections of the same tuple in two zones: nobody knows which of them drew which port, of one such pair as little as
 * of the next, for the kernel lists them in the order of a hash with a secret. True: in some order all is as it was.
 */
function inSomeOrder(scenario: Scenario, kernel: Run, found: readonly Difference[], runner: Runner): boolean {
  let { conntrack } = kernel
  let fewest = found.length
  for (const flow of new Set(conntrack.map(flowOf))) {
    const same = conntrack.filter((line) => flowOf(line) === flow)
    if (same.length === 1) continue
    const turned = same.toReversed()
    const other = conntrack.map((line) => (same.includes(line) ? turned[same.indexOf(line)]! : line))
    const differences = judgeOnce(scenario, { ...kernel, conntrack: other }, runner).length
    if (differences === 0) return true
    if (differences >= fewest) continue
    fewest = differences
    conntrack = other
  }
  return false
}

/** An engine that throws is a difference too. */
function judgeOnce(scenario: Scenario, kernel: Run, runner: Runner): Difference[] {
  try {
    return compareRuns(kernel, runner(scenario, kernel))
  } catch (error) {
    const { message, stack } = error as Error
    // Without names of temporary files, and numbers of steps.
    const signature = `crash: ${message.split('\n')[0]!.replace(/\S*\/|\d+/g, '')}`
    return [{ kind: 'crash', signature, step: null, text: `  ${stack ?? message}` }]
  }
}

/** What makes two failures the same: the kind, and for frames what went in and what was expected, roughly. */
export function kinds(differences: readonly Difference[]): Set<string> {
  // Counters and flows follow from frames; a crash says it all.
  const frames = differences.filter((d) => d.kind === 'frame' || d.kind === 'crash')
  const flows = differences.filter((d) => d.kind === 'flow')
  const telling = (frames.length > 0 ? frames : flows.length > 0 ? flows : differences).slice(0, 1)
  return new Set(telling.map((d) => d.signature ?? d.kind))
}

/**
 * Shrinks `failing`. Bounded by `budgetMs`; what is left then is smaller, if not smallest.
 * `keep`: which difference to hold on to; default whatever kinds the first one had.
 */
export async function shrink(
  oracle: Oracle,
  failing: Comparison,
  runner: Runner,
  budgetMs = 60_000,
): Promise<Comparison> {
  const until = Date.now() + budgetMs
  const wanted = kinds(failing.differences)
  let best = failing

  const attempt = async (candidate: Scenario): Promise<boolean> => {
    if (Date.now() > until) return false
    try {
      const result = await compareOnce(oracle, candidate, runner)
      if (![...kinds(result.differences)].some((k) => wanted.has(k))) return false
      best = result
      return true
    } catch (error) {
      if (error instanceof Refused) return false
      throw error
    }
  }

  /** Delta debugging over a list: drops runs of halving length. */
  const thin = async <T>(
    get: (s: Scenario) => readonly T[],
    put: (s: Scenario, list: readonly T[]) => Scenario,
  ): Promise<void> => {
    for (let size = get(best.scenario).length; size >= 1; size = Math.floor(size / 2)) {
      for (let at = get(best.scenario).length - size; at > -size; at -= size) {
        if (Date.now() > until) return
        const list = get(best.scenario)
        const from = Math.max(0, at)
        const rest = [...list.slice(0, from), ...list.slice(at + size)]
        if (rest.length < list.length) await attempt(put(best.scenario, rest))
      }
    }
  }

  // Nothing after the first difference in a frame can be its cause.
  const order = new Map(best.scenario.steps.map((s, i) => [s.id, i]))
  const first = Math.min(
    ...best.differences.map((d) =>
      d.step === null ? Number.POSITIVE_INFINITY : (order.get(d.step) ?? Number.POSITIVE_INFINITY),
    ),
  )
  if (Number.isFinite(first))
    await attempt({ ...best.scenario, steps: best.scenario.steps.slice(0, first + 1) })

  // Pauses cost time at every attempt.
  await attempt({ ...best.scenario, steps: best.scenario.steps.map((s) => without(s, 'pause')) })

  for (let size = -1; size !== weight(best.scenario) && Date.now() < until; ) {
    size = weight(best.scenario)
    await thin(
      (s) => s.steps,
      (s, steps) => ({ ...s, steps }),
    )
    if (best.scenario.beside !== undefined) {
      await attempt(without(best.scenario, 'beside'))
      for (const part of ['routes', 'rules'] as const)
        await thin(
          (s) => s.beside?.[part] ?? [],
          (s, list) => withBeside(s, { [part]: list }),
        )
      const rules = (s: Scenario): string => s.beside?.iptables ?? ''
      await thin(
        (s) => tablesOf(rules(s)),
        (s, list) => withBeside(s, { iptables: list.join('') }),
      )
      await thin(
        (s) => ruleLines(rules(s)),
        (s, list) => withBeside(s, { iptables: withRules(rules(s), list) }),
      )
    }
    await thin(
      (s) => tablesOf(s.iptables),
      (s, list) => ({ ...s, iptables: list.join('') }),
    )
    await thin(
      (s) => ruleLines(s.iptables),
      (s, list) => ({ ...s, iptables: withRules(s.iptables, list) }),
    )
    await thin(
      (s) => chainLines(s.iptables),
      (s, list) => ({ ...s, iptables: withChains(s.iptables, list) }),
    )
    await simplifyRules()
    await thin(
      // Without a seed the kernel draws one, and nobody knows its next hops.
      (s) => Object.entries(s.sysctls).filter(([name]) => !name.endsWith('hash_seed')),
      (s, list) => {
        const seed = Object.entries(s.sysctls).filter(([name]) => name.endsWith('hash_seed'))
        return { ...s, sysctls: Object.fromEntries([...list, ...seed]) }
      },
    )
    await thin(
      (s) => s.rules,
      (s, rules) => ({ ...s, rules }),
    )
    await thin(
      (s) => s.routes,
      (s, routes) => ({ ...s, routes }),
    )
    await thin(
      (s) => s.devices,
      (s, devices) => ({ ...s, devices }),
    )
    for (const [i, device] of best.scenario.devices.entries()) {
      if (device.mtu !== 1500)
        await attempt(withDevice(best.scenario, i, { ...best.scenario.devices[i]!, mtu: 1500 }))
      if (device.addresses.length > 1)
        await thin(
          (s) => s.devices[i]!.addresses,
          (s, addresses) => withDevice(s, i, { ...s.devices[i]!, addresses }),
        )
    }
    for (const step of best.scenario.steps)
      if (step.pause !== undefined)
        await attempt({
          ...best.scenario,
          steps: best.scenario.steps.map((s) => (s.id === step.id ? without(s, 'pause') : s)),
        })
  }
  return best

  /** Matches out of each rule, one at a time. */
  async function simplifyRules(): Promise<void> {
    for (let i = 0; i < ruleLines(best.scenario.iptables).length; i++) {
      for (const pattern of PARTS) {
        for (let n = 0; n < 4; n++) {
          if (Date.now() > until) return
          const list = ruleLines(best.scenario.iptables)
          const found = [...list[i]!.matchAll(pattern)][n]
          if (found === undefined) break
          const shorter = list[i]!.slice(0, found.index) + list[i]!.slice(found.index + found[0].length)
          if (
            await attempt({
              ...best.scenario,
              iptables: withRules(best.scenario.iptables, list.with(i, shorter)),
            })
          )
            n--
        }
      }
    }
  }
}

/** A match with its options, and the plain options, as the generator writes them. */
const PARTS = [
  / -m comment --comment "[^"]*"/g,
  / -m (?!comment)\S+(?: (?:! )?--(?!to-|set-|reject|log|save|restore|and-|or-|xor-|notrack|zone|clamp|ttl-(?:set|inc|dec))\S+(?: [^-! ]\S*)*)*/g,
  / (?:! )?-[sdiop] \S+/g,
  / (?:! )?-f/g,
]

const weight = (s: Scenario): number =>
  s.steps.length * 100 +
  firstRules(s).length +
  (s.beside === undefined ? 0 : 1000) +
  Object.keys(s.sysctls).length * 10 +
  s.routes.length * 10 +
  s.rules.length * 10 +
  s.devices.length * 10

function without<T extends object, K extends keyof T>(object: T, key: K): Omit<T, K> {
  const { [key]: _, ...rest } = object
  return rest
}

/** The other family's part changed; a scenario without one stays. */
function withBeside(scenario: Scenario, part: Partial<Beside>): Scenario {
  return scenario.beside === undefined ? scenario : { ...scenario, beside: { ...scenario.beside, ...part } }
}

function withDevice(scenario: Scenario, at: number, device: Scenario['devices'][number]): Scenario {
  return { ...scenario, devices: scenario.devices.with(at, device) }
}

const tablesOf = (text: string): string[] => text.split(/(?=^\*)/m).filter((t) => t !== '')
const ruleLines = (text: string): string[] => text.split('\n').filter((l) => l.startsWith('-A'))
const chainLines = (text: string): string[] => text.split('\n').filter((l) => /^:\S+ - /.test(l))

/** The same text with other rules: `list` is a part of the old rules in their order, perhaps reworded. */
function withRules(text: string, list: readonly string[]): string {
  const old = text.split('\n')
  const total = ruleLines(text).length
  if (list.length === total) {
    let n = 0
    return old.map((l) => (l.startsWith('-A') ? list[n++]! : l)).join('\n')
  }
  return filterLines(old, list, (l) => l.startsWith('-A'))
}

const withChains = (text: string, list: readonly string[]): string => {
  const kept = filterLines(text.split('\n'), list, (l) => /^:\S+ - /.test(l))
  return kept
}

/** Keeps the lines of `list`, a subsequence of those that `is` knows. */
function filterLines(
  lines: readonly string[],
  list: readonly string[],
  is: (line: string) => boolean,
): string {
  let n = 0
  return lines
    .filter((l) => {
      if (!is(l)) return true
      if (l !== list[n]) return false
      n++
      return true
    })
    .join('\n')
}
