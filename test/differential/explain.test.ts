// What explanations say, the kernel did: the rules that a record says fitted are those whose counters the kernel raised,
// and for every third packet they are those of the kernel's TRACE, in its order.
//
//     TUNWALL_SEED, TUNWALL_SCENARIOS  per profile; default 1
//     TUNWALL_PROFILES                 with commas; default a third of them

import { afterAll, describe, expect, test } from 'vitest'
import type { PacketRecord, RuleRef, TableStep } from '../../daemon/explain/record.ts'
import { attach } from '../../daemon/explain/recorder.ts'
import { Fate } from '../../datapath/fate.ts'
import { generate } from '../harness/generate.ts'
import type { Profile } from '../harness/generate-world.ts'
import { runKernel, whyNoKernel } from '../harness/kernel.ts'
import { OraclePool } from '../harness/oracle-pool.ts'
import type { Run, Scenario } from '../harness/scenario.ts'
import { DrawnRandom } from '../harness/scenario-draws.ts'
import { EngineHost } from '../harness/scenario-engine.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const why = whyNoKernel()
if (why !== null) console.warn(`NOT RUN: explanations are not compared with the kernel: ${why}`)

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 1)
const USUAL: readonly Profile[] = ['filtering', 'nat', 'mangle', 'local', 'mixed', 'v6-filtering', 'v6-mixed']
const PROFILES = (process.env.TUNWALL_PROFILES?.split(',') as Profile[] | undefined) ?? USUAL
const FRAMES = 100
const EVERY = 3

const pool = new OraclePool(4)
afterAll(() => pool.close())

/** The same with TRACE for every third packet, before all other rules. */
function traced(scenario: Scenario): Scenario {
  const rules = ['PREROUTING', 'OUTPUT']
    .map((chain) => `-A ${chain} -m statistic --mode nth --every ${EVERY} --packet 0 -j TRACE\n`)
    .join('')
  // ip6tables-save leaves it out, and then nobody can tell a verdict that stands alone.
  const iptables = scenario.iptables.replaceAll(' -p all', '')
  const raw = /^\*raw\n(?:[:#].*\n)*/m.exec(iptables)
  if (raw === null)
    return {
      ...scenario,
      iptables: `*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n${rules}COMMIT\n${iptables}`,
    }
  const at = raw.index + raw[0].length
  return { ...scenario, iptables: `${iptables.slice(0, at)}${rules}${iptables.slice(at)}` }
}

/** The engine does what the kernel did, and is recorded. */
function record(scenario: Scenario, kernel: Run): PacketRecord[] {
  const random = new DrawnRandom(scenario, kernel)
  const host = new EngineHost(scenario, random, null)
  const recorder = attach(host.engine)
  const records: PacketRecord[] = []
  const take = (dev: string): void => {
    records.push(recorder.take(dev, Fate.Dropped))
  }
  host.advance(0, kernel.wall)
  for (const step of kernel.steps) {
    recorder.begin(step.id)
    host.advance(step.at, step.wall)
    if (step.injected !== null) {
      random.prepare(step)
      host.receive(step.dev!, step.injected)
    }
    take(step.dev ?? '')
    host.sent()
  }
  recorder.begin(-1)
  host.advance(kernel.endAt, kernel.wall + kernel.endAt)
  take('')
  return records
}

/** What one packet did, in time: the rules that fitted, of every journey where the others are in the midst of it. */
function rulesOf({ journeys }: PacketRecord): { readonly rule: RuleRef; readonly journey: number }[] {
  const out: { rule: RuleRef; journey: number }[] = []
  const walk = (n: number): void => {
    const within = journeys
      .map((journey, number) => ({ journey, number }))
      .filter(({ journey }) => journey.cause === n && journey.began !== null)
    const begin = (step: number, rule: number): void => {
      for (const { journey, number } of within)
        if (journey.began![0] === step && journey.began![1] === rule) {
          walk(number)
        }
    }
    begin(0, 0)
    for (const [i, step] of journeys[n]!.steps.entries()) {
      if (step.at !== 'table') {
        begin(i + 1, 0)
        continue
      }
      begin(i + 1, 0)
      for (const [j, { matched, rule }] of step.rules.entries()) {
        if (matched) out.push({ rule, journey: n })
        begin(i + 1, j + 1)
      }
    }
  }
  for (const [n, { cause }] of journeys.entries()) if (cause === null) walk(n)
  return out
}

/** The kernel takes a rule of nothing but a verdict for the end of its chain, and says "return" or "policy" of it. */
const isVerdictAlone = ({ text }: RuleRef): boolean => /^-A \S+ -j (ACCEPT|DROP|RETURN|QUEUE)$/.test(text)

/** Lines that TRACE would have written of the rules. */
function traceOf(records: readonly PacketRecord[]): string[] {
  const lines: string[] = []
  for (const record of records) {
    const marked = new Set<number>()
    for (const { rule, journey } of rulesOf(record)) {
      const { kind } = record.journeys[journey]!
      if (kind === 'looped' && !marked.has(journey)) {
        // It is the packet that left by lo last.
        for (let n = journey - 1; n >= 0; n--)
          if (
            record.journeys[n]!.steps.some(
              (s) => s.at === 'hook' && s.hook === 'POSTROUTING' && s.out === 'lo',
            )
          ) {
            if (marked.has(n)) marked.add(journey)
            break
          }
      }
      if (marked.has(journey) && !isVerdictAlone(rule))
        lines.push(`${rule.table}:${rule.chain}:rule:${rule.number}`)
      if (rule.text.endsWith('-j TRACE')) marked.add(journey)
    }
  }
  return lines
}

const kernelTrace = (run: Run): string[] =>
  (run.records ?? [])
    .map((bytes) => /TRACE: (\w+:\S+:rule:\d+) /.exec(Buffer.from(bytes).toString('latin1'))?.[1])
    .filter((line) => line !== undefined)

/** Packets by rule, from iptables-save -c. */
function counted(save: string): Map<string, number> {
  const all = new Map<string, number>()
  let table = ''
  const numbers = new Map<string, number>()
  for (const line of save.split('\n')) {
    if (line.startsWith('*')) {
      table = line.slice(1)
      numbers.clear()
    }
    const rule = /^\[(\d+):\d+\] -A (\S+)/.exec(line)
    if (rule === null) continue
    const chain = rule[2]!
    const number = (numbers.get(chain) ?? 0) + 1
    numbers.set(chain, number)
    if (rule[1] !== '0') all.set(`${table} ${chain} ${number}`, Number(rule[1]))
  }
  return all
}

function told(records: readonly PacketRecord[]): Map<string, number> {
  const all = new Map<string, number>()
  const walks = records.flatMap(({ journeys }) =>
    journeys.flatMap(({ steps }) => steps.filter((step): step is TableStep => step.at === 'table')),
  )
  for (const { rules } of walks)
    for (const { matched, rule } of rules) if (matched) all.set(rule.name, (all.get(rule.name) ?? 0) + 1)
  return all
}

const sorted = (all: ReadonlyMap<string, number>): string[] =>
  [...all].map(([name, count]) => `${name}: ${count}`).sort()

describe.skipIf(why !== null)('what explanations say, the kernel did', () => {
  const cases = PROFILES.flatMap((profile) =>
    Array.from({ length: SCENARIOS }, (_, i) => [profile, SEED_OF_RUN + i] as const),
  )
  test.concurrent.each(cases)('%s, seed %i', async (profile, seed) => {
    await pool.use(async (oracle) => {
      const drawn = await generate(oracle, seed, profile, FRAMES)
      // What a command changes no counter of a record has.
      const scenario = traced({
        ...drawn.scenario,
        steps: drawn.scenario.steps.filter((s) => s.command === undefined),
      })
      const run = await runKernel(oracle, scenario)
      const records = record(scenario, run)
      expect(sorted(told(records))).toEqual(sorted(counted(run.save)))
      if (scenario.iptables.includes('--random')) return
      const lines = kernelTrace(run)
      expect(run.records?.length).toBeGreaterThan(0)
      expect(traceOf(records)).toEqual(lines)
    })
  })
})
