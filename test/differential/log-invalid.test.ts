// nf_conntrack_log_invalid: the lines that the kernel logs about INVALID packets of random scenarios, and ours.

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { generate } from '../harness/generate.ts'
import type { Profile } from '../harness/generate-world.ts'
import { KernelHost, Oracle, whyNoKernel } from '../harness/kernel.ts'
import { runEngine } from '../harness/scenario-engine.ts'

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
const seed = Number(process.env.TUNWALL_SEED ?? Date.now() % 1_000_000)
const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 2)
const PROFILES: readonly Profile[] = ['state', 'mixed']

/** Lines of nf_ct_l4proto_log_invalid; what other namespaces log has another begin. */
const isOurs = (line: string): boolean => line.startsWith('nf_ct_proto_')

/** One event may be two lines: a text of SCTP ends with a new line. */
const joined = (lines: readonly string[]): string[] =>
  lines.map((line) => line.replace(/\n/g, ' ').trimEnd()).filter(isOurs)

test.skipIf(reason !== null)(
  `what ${SCENARIOS} scenarios log about INVALID packets, seed ${seed}`,
  async () => {
    const oracle = new Oracle()
    let lines = 0
    try {
      for (let n = 0; n < SCENARIOS; n++) {
        const drawn = await generate(oracle, seed + n, PROFILES[n % PROFILES.length]!)
        const scenario = { ...drawn.scenario, sysctls: { ...drawn.scenario.sysctls, [LOG_INVALID]: '255' } }
        const mark = `tunwall-log-${process.pid}-${n}`
        const kernel = new KernelHost(oracle, scenario)
        await kernel.setUp()
        writeFileSync('/dev/kmsg', `<7>${mark}\n`)
        const before = readFileSync(ALL_NAMESPACES)
        writeFileSync(ALL_NAMESPACES, '1\n')
        try {
          await kernel.take(scenario.steps)
        } finally {
          writeFileSync(ALL_NAMESPACES, before)
        }
        const run = await kernel.finish()
        const { stdout } = spawnSync('dmesg', ['--notime', '--nopager'], {
          encoding: 'latin1',
          maxBuffer: 1 << 26,
        })
        const [, after = ''] = stdout.split(`${mark}\n`)
        // dmesg repeats no prefix where a message has two lines.
        const theirs = after.replace(/\n IN=/g, '  IN=').split('\n')
        const ours: string[] = []
        runEngine(scenario, run, null, ({ text }) => ours.push(text))
        expect(joined(ours), `${scenario.name}: TUNWALL_SEED=${seed + n}`).toEqual(joined(theirs))
        lines += joined(ours).length
      }
      expect(lines, `seed ${seed}`).toBeGreaterThan(0)
    } finally {
      oracle.close()
    }
  },
  600_000,
)
