// The tables of test/harness/tcp-tables.ts, row by row through the kernel: that what they expect is what it does.

import { afterAll, describe, expect, test } from 'vitest'
import { KernelHost, Oracle, whyNoKernel } from '../harness/kernel.ts'
import { hex } from '../harness/scenario.ts'
import { frameOf, type SegmentTable, segments, TCP_TABLES, wordsOf } from '../harness/tcp-tables.ts'

const reason = whyNoKernel()
if (reason !== null)
  console.warn(`NOT RUN: the tables of TCP segments are not asked of the kernel: ${reason}`)

const LETTERS = { N: 'NEW', E: 'ESTABLISHED', R: 'RELATED', I: 'INVALID' } as const
const RULES = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
${Object.values(LETTERS)
  .map((state) => `-A FORWARD -m conntrack --ctstate ${state} -m comment --comment ${state}`)
  .join('\n')}
COMMIT
`
const oracle = reason === null ? new Oracle() : null
afterAll(() => oracle?.close())

async function ask(table: SegmentTable): Promise<string[]> {
  const kernel = new KernelHost(oracle!, {
    name: table.name,
    devices: [
      { name: 'eth0', mtu: 1500, addresses: ['10.0.1.1/24'] },
      { name: 'eth1', mtu: 1500, addresses: ['10.0.2.1/24'] },
    ],
    routes: [],
    rules: [],
    sysctls: {
      'net.ipv4.ip_forward': '1',
      ...Object.fromEntries(
        Object.entries(table.sysctls).map(([n, v]) => [`net.netfilter.nf_conntrack_${n}`, String(v)]),
      ),
    },
    iptables: RULES,
    steps: [],
  })
  await kernel.setUp()
  const out: string[] = []
  for (const [id, segment] of segments(table).entries()) {
    const dev = segment.reply ? 'eth1' : 'eth0'
    await kernel.take([{ id, pause: segment.wait * 1000, dev, frame: hex(frameOf(segment)) }])
    const [flows, save] = await Promise.all([
      oracle!.run(['conntrack', '-L', '-o', 'extended']),
      oracle!.run(['iptables-legacy', '-t', 'filter', '-L', 'FORWARD', '-vxn', '-Z']),
    ])
    const [letter = '?'] =
      Object.entries(LETTERS).find(([, state]) =>
        new RegExp(`^ +1 .*/\\* ${state} \\*/`, 'm').test(save.stdout),
      ) ?? []
    out.push(`${letter} ${wordsOf(flows.stdout.split('\n').find((l) => l.includes(' tcp ')))}`)
  }
  return out
}

/** A second that ended between a segment and the question is no difference. */
function same(expected: string, got: string): boolean {
  const [a, b] = [expected, got].map((words) => words.replace(/ \d+/, '#'))
  const [x, y] = [expected, got].map((words) => Number(/ \d+/.exec(words)?.[0] ?? 0))
  return a === b && x! - y! >= 0 && x! - y! <= 1
}

describe.skipIf(reason !== null)('nf_conntrack_tcp_packet', () => {
  test.each(TCP_TABLES.map((table) => [table.name, table] as const))('%s', async (_, table) => {
    const got = await ask(table)
    for (const [n, { letter, entry, text }] of segments(table).entries())
      expect(same(`${letter} ${entry}`, got[n]!), `${text}\nkernel: ${got[n]}`).toBe(true)
  })
})
