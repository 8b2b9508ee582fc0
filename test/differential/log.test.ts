// LOG: the lines that the kernel logs about the packets of random scenarios, and ours, both families.
//
//     TUNWALL_SEED, TUNWALL_SCENARIOS   as in scenarios.test.ts; default: the code’s own, 4

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { generate } from '../harness/generate.ts'
import { kindOf, type Profile } from '../harness/generate-world.ts'
import { KernelHost, Oracle, whyNoKernel } from '../harness/kernel.ts'
import { runEngine } from '../harness/scenario-engine.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

/** Of the whole machine: whether the kernel logs what happens in other namespaces than the first. */
const ALL_NAMESPACES = '/proc/sys/net/netfilter/nf_log_all_netns'

const writable = (): boolean => {
  try {
    writeFileSync(ALL_NAMESPACES, readFileSync(ALL_NAMESPACES))
    return spawnSync('dmesg').status === 0
  } catch {
    return false
  }
}
const reason = whyNoKernel() ?? (writable() ? null : 'the kernel log of the machine cannot be had here')
if (reason !== null) console.warn(`NOT RUN: the lines of LOG are not compared: ${reason}`)
const seed = SEED_OF_RUN
const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 4)
const PROFILES: readonly Profile[] = ['extensions', 'v6-extensions', 'mixed', 'v6-mixed']
/** So many that the kernel's buffer holds their lines. */
const FRAMES = 80

const EVERYTHING = '--log-tcp-sequence --log-tcp-options --log-ip-options --log-uid --log-macdecode'

/** `mark`: what lines of this test begin with. */
const rules = (mark: string): string => `*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -j LOG --log-level 7 --log-prefix "${mark} a " ${EVERYTHING}
-A PREROUTING -m statistic --mode nth --every 2 --packet 0 -j MARK --set-xmark 0xbeef
-A INPUT -j LOG --log-level 7 --log-prefix "${mark} b " --log-tcp-sequence
-A OUTPUT -j LOG --log-level 7 --log-prefix "${mark} c " --log-tcp-options
-A POSTROUTING -j LOG --log-level 7 --log-prefix "${mark} d " --log-ip-options
COMMIT
`

const whose = (line: string): string => / SRC=\S+ DST=\S+ LEN=\d+ /.exec(line)?.[0] ?? ''

/** Its own packets' identifications the kernel draws; those to groups and broadcast addresses come in again. */
const comparable = (lines: readonly string[], mark: string): string[] => {
  const marked = lines.filter((line) => line.startsWith(mark))
  const own = new Set(marked.filter((line) => / IN=(lo)? /.test(line)).map(whose))
  return marked.map((line) => (own.has(whose(line)) ? line.replace(/ ID=\d+ /, ' ID=* ') : line).trimEnd())
}

test.skipIf(reason !== null)(
  `what LOG says about the packets of ${SCENARIOS} scenarios, seed ${seed}`,
  async () => {
    const oracle = new Oracle()
    let lines = 0
    try {
      for (let n = 0; n < SCENARIOS; n++) {
        const profile = PROFILES[n % PROFILES.length]!
        const drawn = await generate(oracle, seed + n, profile, FRAMES)
        const mark = `tw${process.pid}-${n}`
        const { sets: _, ...bare } = drawn.scenario
        const scenario = { ...bare, iptables: rules(mark) }
        const kernel = new KernelHost(oracle, scenario)
        await kernel.setUp()
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
        const ours: string[] = []
        runEngine(scenario, run, null, ({ text }) => ours.push(text))
        const theirs = comparable(stdout.split('\n'), mark)
        expect(comparable(ours, mark), `${scenario.name}: TUNWALL_SEED=${seed + n}`).toEqual(theirs)
        expect(theirs.length, `IPv${kindOf(profile).family}`).toBeGreaterThan(FRAMES / 2)
        lines += theirs.length
      }
      console.log(`${lines} lines of LOG, seed ${seed}`)
    } finally {
      oracle.close()
    }
  },
  600_000,
)
