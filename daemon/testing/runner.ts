// Runs test files: each test on a host as it was loaded, with its own clock, flows and counters.

import { performance } from 'node:perf_hooks'
import type { Coverage } from '../coverage/collect.ts'
import { CommandError, PlaceError } from '../errors.ts'
import type { Cursor } from '../host-folder/source.ts'
import type { Check } from './checks.ts'
import { Host } from './host.ts'
import type { Result } from './result.ts'
import { isRule, type RuleName } from './rule-names.ts'
import type { Suite, SuiteHost, TestCase, TestStep } from './suite.ts'

export interface Failure {
  /** `FILE:LINE:COLUMN` of the expectation. */
  readonly place: string
  /** One line, perhaps with a list behind it. */
  readonly reason: string
  /** What happened to the packet; '' where none was looked at. */
  readonly summary: string
}

export interface TestResult {
  readonly file: string
  readonly name: string
  readonly place: string
  /** Null: it passed. */
  readonly failure: Failure | null
  readonly ms: number
  /** Packets sent. */
  readonly packets: number
}

export interface RunOptions {
  /** Which tests are run. */
  readonly only?: (name: string) => boolean
  /** Where hits of rules are added up: the same for hosts of the same rules. */
  readonly coverage?: (host: Host, name: string) => Coverage
  /** Hears of each test when it is over. */
  readonly onTest?: (test: TestResult) => void
}

/** Runs the tests of a file in order. Throws PlaceError for a host or a packet that cannot be. */
export function runSuite(suite: Suite, options: RunOptions = {}): TestResult[] {
  const results: TestResult[] = []
  let host: Host | null = null
  for (const test of suite.tests) {
    if (options.only?.(test.name) === false) continue
    const begin = performance.now()
    if (host === null || !host.renew()) host = makeHost(suite)
    const coverage = options.coverage?.(host, hostName(suite.host, suite.file))
    const counts = coverage?.begin(host.engine)
    const run = new Run(host)
    const failure = run.test(test)
    if (counts !== undefined) coverage?.count(host.engine, counts)
    const result = {
      file: suite.file,
      name: test.name,
      place: at(test.origin),
      failure,
      ms: performance.now() - begin,
      packets: run.packets,
    }
    results.push(result)
    options.onTest?.(result)
  }
  return results
}

/** The host that the tests of a file begin with. Throws PlaceError. */
export function makeHost({ host, options, file }: Pick<Suite, 'host' | 'options' | 'file'>): Host {
  return host.kind === 'folder'
    ? Host.load(host.directory, options)
    : Host.within(file, host.spec, host.sources, options)
}

/** The folder or file that the rules of a host stand in. */
export const hostName = (host: SuiteHost, file: string): string =>
  host.kind === 'folder' ? host.directory : file

const at = (origin: Cursor): string => {
  const { file, line, column } = origin.place()
  return `${file}:${line}:${column}`
}

class Run {
  packets = 0
  readonly #host: Host
  /** Packets and bytes of each rule when the test began, by name. */
  readonly #before = new Map<string, readonly [number, number]>()
  #last: Result | null = null

  constructor(host: Host) {
    this.#host = host
  }

  test({ steps }: TestCase): Failure | null {
    if (steps.some(asksCounters))
      for (const { ref, packets, bytes } of this.#host.rules())
        this.#before.set(`${ref.family} ${ref.name} ${ref.text}`, [packets, bytes])
    for (const step of steps) {
      const failure = this.#step(step)
      if (failure !== null) return failure
    }
    return null
  }

  #step(step: TestStep): Failure | null {
    const host = this.#host
    switch (step.kind) {
      case 'wait':
        host.advance(step.ms)
        return null
      case 'run': {
        const { code, stderr } = host.tool(step.tool, step.argv, step.input)
        return code === 0
          ? null
          : {
              place: at(step.origin),
              reason: `${step.tool} failed: ${stderr.trim() || `exit status ${code}`}`,
              summary: '',
            }
      }
      case 'expect':
        return this.#check(step.checks)
      default:
        return this.#send(step)
    }
  }

  #send({ said, checks }: Extract<TestStep, { kind: 'send' }>): Failure | null {
    const host = this.#host
    let packet = 0
    for (const [n, step] of said.steps.entries()) {
      if (step.kind === 'wait') {
        host.advance(step.ms)
        continue
      }
      try {
        this.#last = host.step(step, (reason) => said.fail(n, reason))
      } catch (error) {
        if (error instanceof CommandError && !(error instanceof PlaceError)) said.fail(n, error.message)
        throw error
      }
      this.packets++
      const failure = this.#check(checks[packet++]!)
      if (failure !== null) return failure
    }
    return null
  }

  #check(checks: readonly Check[]): Failure | null {
    for (const check of checks) {
      let reason: string | null
      try {
        reason = check.run({ result: this.#last, host: this.#host, counted: (rule) => this.#counted(rule) })
      } catch (error) {
        if (!(error instanceof CommandError)) throw error
        reason = error.message
      }
      if (reason !== null)
        return { place: at(check.origin), reason, summary: this.#last === null ? '' : this.#last.summary() }
    }
    return null
  }

  #counted(rule: RuleName): { packets: number; bytes: number } {
    const found = [...this.#host.rules()].filter(({ ref }) => isRule(ref, rule, this.#host.engine))
    if (found.length === 0) throw new CommandError(`no rule is called ${String(rule)}`)
    const sum = { packets: 0, bytes: 0 }
    for (const { ref, packets, bytes } of found) {
      const [p, b] = this.#before.get(`${ref.family} ${ref.name} ${ref.text}`) ?? [0, 0]
      sum.packets += packets - p
      sum.bytes += bytes - b
    }
    return sum
  }
}

const asksCounters = (step: TestStep): boolean => {
  const lists = step.kind === 'send' ? step.checks : step.kind === 'expect' ? [step.checks] : []
  return lists.some((checks) => checks.some((check) => check.counters === true))
}
