// Every net.netfilter.nf_conntrack_* that the kernel has: its default, and what it makes of good and bad values.

import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { Conntrack } from '../../conntrack/conntrack.ts'
import { Host } from '../../datapath/host.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { TunableError } from '../../datapath/tunables.ts'
import { SeededRandom } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: sysctls of conntrack are not kernel with the kernel: ${reason}`)
const seed = SEED_OF_RUN
const WRITES = 3000

/** Of the whole machine, so that a namespace can only read them. */
const MACHINE = ['nf_conntrack_max', 'nf_conntrack_buckets', 'nf_conntrack_expect_max', 'nf_conntrack_count']

const VALUES =
  `0 1 2 3 5 254 255 256 65535 65536 8589934 8589935 2147483647 2147483648 4294967295 4294967296 3145728 4194304 5000000
-1 -2 -256 -8589934 -8589935 -2147483648 99999999999999999999 0x10 0X1f 0x 010 08 00 007 -0x2 +1 x 7x 1.5 1e3`
    .split(/\s+/)
    .concat(['', ' ', ' 7', '7 ', '1 2', '1 x', '\t3', '- 1', '0x 1'])

const bash = (script: string): string => {
  const input = `cd /proc/sys/net/netfilter\n${script}\n`
  const { stdout, status } = spawnSync('unshare', ['-n', 'bash'], { encoding: 'utf8', input })
  expect(status).toBe(0)
  return stdout
}

test.skipIf(reason !== null)(`sysctls of conntrack, seed ${seed}`, () => {
  const { tunables } = new Conntrack(
    new Host({
      memory: new FrameMemory(1, 2048),
      egress: { send: () => {}, flush: () => {} },
      random: new SeededRandom(1),
    }),
  ).host
  const kernel = bash('grep . nf_conntrack_*')
    .trim()
    .split('\n')
    .map((line) => line.split(':') as [string, string])

  expect(kernel.map(([name]) => [name, tunables.text(`net.netfilter.${name}`)])).toEqual(kernel)
  const known = tunables.names().filter((name) => name.startsWith('net.netfilter.nf_conntrack_'))
  expect(known.filter((name) => !kernel.some(([one]) => name === `net.netfilter.${one}`))).toEqual([])

  const names = kernel.map(([name]) => name).filter((name) => !MACHINE.includes(name))
  const random = new SeededRandom(seed)
  const writes = Array.from({ length: WRITES }, () => [random.pick(names), random.pick(VALUES)] as const)
  const answers = bash(
    writes
      .map(([name, value]) => `{ printf '%s\\n' '${value}' > ${name}; } 2>/dev/null; echo $? $(<${name})`)
      .join('\n'),
  )
    .trim()
    .split('\n')
  for (const [n, [name, value]] of writes.entries()) {
    let status = 0
    try {
      tunables.set(`net.netfilter.${name}`, value)
    } catch (error) {
      if (!(error instanceof TunableError)) throw error
      status = 1
    }
    expect(`${status} ${tunables.text(`net.netfilter.${name}`)}`, `${name} = "${value}"`).toBe(answers[n])
  }
})
