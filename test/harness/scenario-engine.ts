// tunwall's side of the comparison: the scenario through the engine that gateway and replay run, with the clock
// and the draws (scenario-draws.ts) of the kernel's run.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatExpectation, formatStats } from '../../conntrack/print.ts'
import { afterFiles } from '../../daemon/after.ts'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { procFiles } from '../../daemon/proc.ts'
import { formatNetstat, formatSnmp, formatSnmp6 } from '../../daemon/statistics.ts'
import { runTool } from '../../daemon/tools.ts'
import { Reason } from '../../datapath/counters.ts'
import type { LogRecord } from '../../datapath/events.ts'
import type { Random } from '../../datapath/host.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { HashSet } from '../../rules/sets/hash.ts'
import { Batcher } from './batch.ts'
import { Records } from './records.ts'
import {
  familiesOf,
  firstRules,
  hasHelpers,
  hasProc,
  hasRecords,
  type Run,
  readSnmp,
  readSnmp6,
  readStats,
  type Scenario,
  type Sent,
  type StepRun,
} from './scenario.ts'
import { DrawnRandom } from './scenario-draws.ts'
import { savedAs, writeHostFolder } from './scenario-folder.ts'

/** Slots: packets that wait for their fragments, and those under way. */
const SLOTS = 512
/** The host has been up for a while when a scenario begins, milliseconds; a multiple of what timers are rounded to. */
const UPTIME_MS = 1 << 20
const JIFFY_MS = 4
/**
 * Timers that end so near to the end of a scenario may have been counted by the other side, or not yet: the kernel's
 * wheel rounds those of 2 seconds and more up to the next quarter of a second, and its clock runs beside ours.
 */
const END_SLACK_MS = 320

/** What the engine printed when the scenario was over. */
export type Ends = Pick<
  Run,
  'save' | 'saveBeside' | 'sets' | 'proc' | 'records' | 'conntrack' | 'expect' | 'stats' | 'snmp'
>

/** The engine with the host of a scenario in it. */
export class EngineHost {
  readonly engine: Engine
  readonly #memory = new FrameMemory(SLOTS, 65535)
  readonly #egress = new MemoryEgress(this.#memory)
  readonly #batch: Batcher
  readonly #records: Records
  readonly #jiffies: boolean
  readonly #uptime: number

  /**
   * `captured`: the host folder as the tools printed it of the kernel's namespace; without it the short form,
   * host.yaml, says the same. `jiffies`: of the kernel's run when it began, milliseconds. `setsAt`: as in Run.
   */
  constructor(
    scenario: Scenario,
    random: Random,
    captured: Readonly<Record<string, string>> | null,
    jiffies = 0,
    setsAt = 0,
  ) {
    this.#uptime = UPTIME_MS + (jiffies % UPTIME_MS)
    const directory = mkdtempSync(join(tmpdir(), 'tunwall-scenario-'))
    try {
      if (captured === null) writeHostFolder(directory, scenario)
      else for (const [name, text] of Object.entries(captured)) writeFileSync(join(directory, name), text)
      const memory = this.#memory
      this.engine = createEngine(loadHostFolder(directory), {
        memory,
        egress: this.#egress,
        random,
        // Every second scenario looks up whatever can be looked up; chains of theirs are too short for it to pay.
        ...(scenario.iptables.length % 2 === 1 && { indexFrom: 1 }),
      })
      this.#batch = new Batcher(this.engine, memory, 1)
      // Some have the code of all rules made before the first packet, as a gateway that had nothing to do.
      if (scenario.iptables.length % 3 === 1) while (this.engine.tables.warm(64)) {}
      this.#records = new Records(this.engine.host)
      this.#jiffies = hasProc(scenario)
      this.engine.host.now = this.#uptime
      for (const { set } of this.engine.sets.all())
        if (set.data instanceof HashSet && Number.isFinite(set.data.collectAt))
          set.data.collectAt += this.#uptime + setsAt
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  }

  /** What left since it was last asked. */
  sent(): Sent[] {
    const { host } = this.engine
    host.egress.flush()
    return this.#egress.take().map((f) => ({ dev: host.devices.byIndex[f.device]!.name, bytes: f.bytes }))
  }

  /** `at`: milliseconds since the scenario began; `wall`: since 1970. */
  advance(at: number, wall: number): void {
    const { host } = this.engine
    // What timers send is stamped by rules that keep lists: every jiffy counts then.
    if (this.#jiffies)
      for (let left = this.#uptime + at - host.now - JIFFY_MS; left > 0; left -= JIFFY_MS)
        this.#tick(host.now + JIFFY_MS, wall - left)
    this.#tick(this.#uptime + at, wall)
  }

  #tick(now: number, wall: number): void {
    const { engine } = this
    engine.host.now = now
    engine.host.wall = wall
    while (engine.tick()) {
      // More was due than one call may do.
    }
  }

  /** Takes what has expired out of the table of connections. */
  collect(): void {
    this.engine.conntrack.forEach(() => {})
  }

  /** Connections are looked up ahead, as a gateway does for the frames of a batch. */
  ahead = true

  /** One frame in. */
  receive(dev: string, frame: Uint8Array): void {
    this.#batch.receive(dev, [frame], this.ahead)
  }

  /** A tool, as the gateway answers it. */
  run([tool = '', ...argv]: readonly string[], stdin = ''): void {
    runTool({ tool, directory: '/', argv, stdin }, this.engine)
  }

  #proc(): Record<string, string> {
    const kept = procFiles(this.engine).filter(({ path }) => /xt_recent|hashlimit/.test(path))
    return Object.fromEntries(kept.map((file) => [file.path, file.read()]))
  }

  /** Numbers of /proc/net/snmp and the like, of the scenario's families. */
  statistics(scenario: Scenario): Readonly<Record<string, number>> {
    const { host } = this.engine
    const families = familiesOf(scenario)
    return {
      ...(families.includes(4) ? readSnmp(formatSnmp(host) + formatNetstat(host)) : {}),
      ...(families.includes(6) ? readSnmp6(formatSnmp6(host), formatSnmp(host)) : {}),
    }
  }

  ends(scenario: Scenario): Ends {
    const { conntrack } = this.engine
    const after = new Map(afterFiles(this.engine))
    return {
      save: after.get(savedAs(scenario.family))!,
      ...(scenario.beside === undefined
        ? {}
        : { saveBeside: after.get(savedAs(scenario.family === 6 ? 4 : 6))! }),
      ...(scenario.sets === undefined ? {} : { sets: after.get('ipset-save')! }),
      conntrack: after
        .get('conntrack')!
        .split('\n')
        .filter((l) => l !== ''),
      ...(hasRecords(scenario) ? { records: this.#records.all() } : {}),
      ...(hasProc(scenario) ? { proc: this.#proc() } : {}),
      ...(hasHelpers(scenario)
        ? { expect: conntrack.expectations.all().map((e) => formatExpectation(conntrack, e)) }
        : {}),
      stats: readStats(formatStats(conntrack)),
      snmp: this.statistics(scenario),
    }
  }
}

/** The scenario up to its last step, frame by frame, at the kernel's times. */
function play(
  scenario: Scenario,
  kernel: Run,
  captured: Readonly<Record<string, string>> | null,
  log: ((record: LogRecord) => void) | null,
): { host: EngineHost; steps: StepRun[] } {
  const random = new DrawnRandom(scenario, kernel)
  const host = new EngineHost(scenario, random, captured, kernel.uptime, kernel.setsAt)
  host.engine.host.events.log = log
  const steps: StepRun[] = []
  const given = new Map(scenario.steps.map((step) => [step.id, step]))
  host.advance(0, kernel.wall)
  for (const step of kernel.steps) {
    const { id, at, wall, dev, injected } = step
    host.advance(at, wall)
    if (step.collected) host.collect()
    const before = host.sent()
    const { command, input } = given.get(id) ?? {}
    if (command !== undefined) host.run(command, input)
    if (injected !== null) {
      random.prepare(step)
      try {
        host.receive(dev!, injected)
      } catch (error) {
        throw new Error(`step ${id}: ${(error as Error).stack ?? error}`, { cause: error })
      }
    }
    steps.push({ id, at, wall, dev, injected, before, sent: host.sent() })
  }
  return { host, steps }
}

/** Runs what `kernel` ran, frame by frame, at the same times. `log`: hears what the host logs. */
export function runEngine(
  scenario: Scenario,
  kernel: Run,
  captured: Readonly<Record<string, string>> | null = null,
  log: ((record: LogRecord) => void) | null = null,
): Run {
  const { host, steps } = play(scenario, kernel, captured, log)
  const { endAt, wall } = kernel
  const around = (at: number): Readonly<Record<string, number>> => {
    host.advance(at, wall + at)
    return host.statistics(scenario)
  }
  const early = around(Math.max(steps.at(-1)?.at ?? 0, endAt - END_SLACK_MS))
  host.advance(endAt, wall + endAt)
  const ends = host.ends(scenario)
  const endless = host.engine.host.counters.drops[Reason.Looped]! > 0
  const run: Run = { wall, steps, endAt, ...ends, endless, snmpAround: [early, around(endAt + END_SLACK_MS)] }
  if (!firstRules(scenario).includes('--hashlimit-rate-match')) return run
  // Windows of rates end where somebody looks: nobody has before.
  const later = play(scenario, kernel, captured, null).host
  later.advance(endAt + END_SLACK_MS, wall + endAt + END_SLACK_MS)
  return { ...run, procLater: later.ends(scenario).proc ?? {} }
}
