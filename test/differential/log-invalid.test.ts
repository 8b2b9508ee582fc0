// nf_conntrack_log_invalid: the lines that the kernel logs about INVALID packets of random scenarios, and ours.

import { spawn, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { generate } from '../harness/generate.ts'
import type { Profile } from '../harness/generate-world.ts'
import { KernelHost, Oracle, whyNoKernel } from '../harness/kernel.ts'
import type { Run, Scenario } from '../harness/scenario.ts'
import { runEngine } from '../harness/scenario-engine.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

/** Of the whole machine: whether the kernel logs what happens in other namespaces than the first. */
const ALL_NAMESPACES = '/proc/sys/net/netfilter/nf_log_all_netns'
const LOG_INVALID = 'net.netfilter.nf_conntrack_log_invalid'

const writable = (): boolean => {
  try {
    writeFileSync(ALL_NAMESPACES, readFileSync(ALL_NAMESPACES))
    return spawnSync('dmesg').status === 0
  } catch {
    return false
  }
}
const reason = whyNoKernel() ?? (writable() ? null : 'the kernel log of the machine cannot be had here')
if (reason !== null) console.warn(`NOT RUN: the lines about INVALID packets are not compared: ${reason}`)
const seed = SEED_OF_RUN
const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 2)
const PROFILES: readonly Profile[] = ['state', 'v6-mixed', 'mixed', 'v6-state']

/** Lines of nf_ct_l4proto_log_invalid; what other namespaces log has another begin. */
const isOurs = (line: string): boolean => line.startsWith('nf_ct_proto_')

/** One event may be two lines: a text of SCTP ends with a new line. */
const joined = (lines: readonly string[]): string[] =>
  lines.map((line) => line.replace(/\n/g, ' ').trimEnd()).filter(isOurs)

/** The kernel log while it is written: the ring of the kernel is small, and others write to it too. */
class KernelLog {
  readonly #child = spawn('dmesg', ['--follow-new', '--notime', '--nopager'])
  #text = ''

  constructor() {
    this.#child.stdout.setEncoding('latin1')
    this.#child.stdout.on('data', (chunk: string) => {
      this.#text += chunk
    })
  }

  /** Writes a line to the log and waits for it to come back. What came before it, since the last one. */
  async until(mark: string): Promise<string> {
    for (let n = 0; n < 1000; n++) {
      // The program may not follow yet.
      if (n % 100 === 0) writeFileSync('/dev/kmsg', `<7>${mark}\n`)
      const at = this.#text.indexOf(`${mark}\n`)
      if (at >= 0) {
        const before = this.#text.slice(0, at)
        this.#text = this.#text.slice(at + mark.length + 1)
        return before
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    throw new Error('the kernel log cannot be followed')
  }

  close(): void {
    this.#child.kill()
  }
}

/** What the kernel did, and what it logged meanwhile. */
async function take(
  oracle: Oracle,
  log: KernelLog,
  scenario: Scenario,
): Promise<{ run: Run; text: string; disturbed: boolean }> {
  const kernel = new KernelHost(oracle, scenario)
  await kernel.setUp()
  // For TRACE the harness has asked for another logger.
  for (const logger of ['2=nf_log_ipv4', '10=nf_log_ipv6'])
    await oracle.run(['sysctl', '-qw', `net.netfilter.nf_log.${logger}`])
  const mark = `tunwall-log-${process.pid}-${++marks}`
  await log.until(`${mark}-begin`)
  const before = readFileSync(ALL_NAMESPACES)
  let disturbed = false
  try {
    for (let at = 0; at < scenario.steps.length; at += BATCH) {
      writeFileSync(ALL_NAMESPACES, '1\n')
      await kernel.take(scenario.steps.slice(at, at + BATCH))
      disturbed ||= readFileSync(ALL_NAMESPACES, 'utf8') !== '1\n'
    }
  } finally {
    writeFileSync(ALL_NAMESPACES, before)
  }
  const text = await log.until(`${mark}-end`)
  return { run: await kernel.finish(), text, disturbed }
}
let marks = 0
/** Steps between two looks at the switch: another run of this test turns it off when it is through. */
const BATCH = 10

test.skipIf(reason !== null)(
  `what ${SCENARIOS} scenarios log about INVALID packets, seed ${seed}`,
  async () => {
    const oracle = new Oracle()
    const log = new KernelLog()
    let lines = 0
    try {
      for (let n = 0; n < SCENARIOS; n++) {
        const drawn = await generate(oracle, seed + n, PROFILES[n % PROFILES.length]!)
        const scenario = { ...drawn.scenario, sysctls: { ...drawn.scenario.sysctls, [LOG_INVALID]: '255' } }
        let logged = await take(oracle, log, scenario)
        for (let again = 0; logged.disturbed && again < 10; again++)
          logged = await take(oracle, log, scenario)
        const { run, text: after } = logged
        // dmesg repeats no prefix where a message has two lines.
        const theirs = after.replace(/\n IN=/g, '  IN=').split('\n')
        const ours: string[] = []
        runEngine(scenario, run, null, ({ text }) => ours.push(text))
        expect(joined(ours), `${scenario.name}: TUNWALL_SEED=${seed + n}`).toEqual(joined(theirs))
        lines += joined(ours).length
      }
      expect(lines, `seed ${seed}`).toBeGreaterThan(0)
    } finally {
      log.close()
      oracle.close()
    }
  },
  600_000,
)
