// tunwall diff from the outside: flows whose verdict, translation or deciding rule differ; exit status; one line for
// mistakes.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Comparison } from '../../daemon/diff/report.ts'
import { writeCapture, writeFolder } from '../harness/capture.ts'
import { tcp, udp } from '../harness/frames.ts'
import { run } from '../harness/run.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-diff-'))
afterAll(() => rmSync(root, { recursive: true }))

const YAML = `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24]}
  dmz: {addresses: [192.0.2.1/24]}
routes: [default via 203.0.113.254]
sysctls: {net.ipv4.ip_forward: 1}
`
const save = (forward: string, nat = ''): string => `*nat
:POSTROUTING ACCEPT [0:0]
${nat}-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
${forward}COMMIT
`
const ALLOW = '-A FORWARD -i lan -p udp -j ACCEPT\n-A FORWARD -i lan -p tcp -m tcp --dport 80 -j ACCEPT\n'

const folder = (name: string, files: Record<string, string>): string =>
  writeFolder(join(root, name), { 'host.yaml': YAML, ...files })

const input = join(root, 'in.pcapng')
const from = { src: '10.0.1.2', dst: '198.51.100.7', sport: 1000 }
writeCapture(
  input,
  [
    udp({ ...from, dport: 53, payload: 2 }),
    udp({ ...from, dport: 53, payload: 4 }),
    udp({ ...from, dport: 123 }),
    tcp({ ...from, dport: 80, flags: 'S' }),
    tcp({ ...from, dport: 22, flags: 'S' }),
  ].map((bytes, i) => ({ iface: 'lan', seconds: 1_700_000_000 + i, nanos: 0, bytes })),
)
const a = folder('a', { 'iptables-save': save(ALLOW) })

async function diff(b: string, ...options: string[]) {
  const said = await run('diff', '--a', a, '--b', b, '--in', input, '--no-color', ...options)
  expect(said.stderr).toBe('')
  return { ...said, stdout: said.stdout.replaceAll(`${root}/`, '') }
}
const json = async (b: string): Promise<Comparison> => JSON.parse((await diff(b, '--json')).stdout)
const kinds = ({ flows }: Comparison) => flows.map(({ kind, flow, packets }) => `${kind} ${packets} ${flow}`)

test('the same rules on other lines are no difference: exit 0', async () => {
  const b = folder('same', { 'iptables-save': save(`# moved\n\n${ALLOW}`) })
  expect(await diff(b)).toEqual({ status: 0, stdout: 'no difference in 5 packets\n', stderr: '' })
})

test('another verdict: both rules, packets and bytes, exit 1', async () => {
  const b = folder('drop', {
    'iptables-save': save(`-A FORWARD -p udp -m udp --dport 53 -j DROP\n${ALLOW}`),
  })
  expect(await diff(b)).toEqual({
    status: 1,
    stderr: '',
    stdout: `another verdict: 1 flow, 2 packets, 62 bytes
  A  forwarded by -A FORWARD -i lan -p udp -j ACCEPT (a/iptables-save:8)
  B  dropped by -A FORWARD -p udp -m udp --dport 53 -j DROP (drop/iptables-save:8)
     udp 10.0.1.2:1000 > 198.51.100.7:53 in lan  2 packets, 62 bytes, first 0

1 flow differs: 2 of 5 packets
`,
  })
})

test('another translation, for all packets of the connection', async () => {
  const b = folder('snat', {
    'iptables-save': save(
      ALLOW,
      '-A POSTROUTING -o wan -p udp -m udp --dport 53 -j SNAT --to-source 203.0.113.9\n',
    ),
  })
  const result = await json(b)
  expect(kinds(result)).toEqual(['translation 2 udp 10.0.1.2:1000 > 198.51.100.7:53 in lan'])
  const [flow] = result.flows
  expect(flow!.a.out).toMatchObject([{ dev: 'wan', flow: 'udp 203.0.113.1:1000 > 198.51.100.7:53' }])
  expect(flow!.b.out).toMatchObject([{ dev: 'wan', flow: 'udp 203.0.113.9:1000 > 198.51.100.7:53' }])
  expect(flow!.b.nat.map((rule) => rule.text)).toEqual([
    '-A POSTROUTING -o wan -p udp -m udp --dport 53 -j SNAT --to-source 203.0.113.9',
  ])
  expect((await diff(b)).stdout).toContain('       B  out wan: udp 203.0.113.9:1000 > 198.51.100.7:53\n')
})

test('another way out, other contents, another rule, another port of the host itself', async () => {
  const way = writeFolder(join(root, 'way'), {
    'host.yaml': YAML.replace('via 203.0.113.254', 'via 192.0.2.254'),
    'iptables-save': save(ALLOW),
  })
  expect(kinds(await json(way)).map((line) => line.split(' ')[0])).toEqual(['way', 'way', 'way'])
  const contents = folder('tos', {
    'iptables-save': `*mangle\n-A FORWARD -p tcp -j TOS --set-tos 0x10/0x3f\nCOMMIT\n${save(ALLOW)}`,
  })
  expect(kinds(await json(contents))).toEqual(['contents 1 tcp 10.0.1.2:1000 > 198.51.100.7:80 in lan'])
  const rule = folder('rule', {
    'iptables-save': save(ALLOW.replace('--dport 80', '-m comment --comment web --dport 80')),
  })
  expect(kinds(await json(rule))).toEqual(['rule 1 tcp 10.0.1.2:1000 > 198.51.100.7:80 in lan'])
  const local = folder('local', {
    'iptables-save': `*nat\n-A PREROUTING -p tcp -m tcp --dport 22 -j REDIRECT --to-ports 2222\nCOMMIT\n`,
  })
  const other = folder('other', {
    'iptables-save': `*nat\n-A PREROUTING -p tcp -m tcp --dport 22 -j REDIRECT --to-ports 3333\nCOMMIT\n`,
  })
  const said = await run('diff', '--a', local, '--b', other, '--in', input, '--json')
  const [flow] = (JSON.parse(said.stdout) as Comparison).flows
  expect([flow!.kind, flow!.a.out[0], flow!.b.out[0]]).toMatchObject([
    'translation',
    { dev: null, flow: 'tcp 10.0.1.2:1000 > 10.0.1.1:2222' },
    { dev: null, flow: 'tcp 10.0.1.2:1000 > 10.0.1.1:3333' },
  ])
})

test('random numbers are the same on both sides, though one draws more', async () => {
  const luck = '-A FORWARD -p udp -m statistic --mode random --probability 0.5 -j DROP\n'
  const many = join(root, 'many.pcapng')
  writeCapture(
    many,
    Array.from({ length: 200 }, (_, i) => ({
      iface: 'lan',
      seconds: 1_700_000_000,
      nanos: i,
      bytes: udp({ ...from, sport: 2000 + i, dport: 53 }),
    })),
  )
  const x = folder('luck', { 'iptables-save': save(`${luck}${ALLOW}`) })
  const y = folder('luck-too', {
    // TCP packets draw here, these do not; then the same.
    'iptables-save': save(`-A FORWARD -p tcp -m statistic --mode random --probability 0.1\n${luck}${ALLOW}`),
  })
  const said = await run('diff', '--a', x, '--b', y, '--in', many)
  expect([said.status, said.stdout]).toEqual([0, 'no difference in 200 packets\n'])
})

test('generated traffic: the same for the same seed, and it meets the rules', async () => {
  const b = folder('generated', { 'iptables-save': save(ALLOW.replace('--dport 80', '--dport 81')) })
  const words = ['diff', '--a', a, '--b', b, '--generate', '400', '--json']
  const [one, two] = [await run(...words), await run(...words)]
  expect(one).toEqual(two)
  const result = JSON.parse(one.stdout) as Comparison
  expect([one.status, result.packets]).toEqual([1, 400])
  expect(result.flows.length).toBeGreaterThan(3)
  // Answers to such connections as well.
  for (const { kind, flow } of result.flows) expect(`${kind} ${flow}`).toMatch(/^verdict tcp .*:8[01]\b/)
  const same = await run('diff', '--a', a, '--b', a, '--generate', '400')
  expect([same.status, same.stdout]).toEqual([0, 'no difference in 400 packets\n'])
})

describe('mistakes are one line, exit 2', () => {
  test.each([
    [
      'a folder that is not there',
      () => ['--a', a, '--b', join(root, 'none'), '--in', input],
      /none:1:1: no host folder: no such file or directory\n$/,
    ],
    ['nothing to play', () => ['--a', a, '--b', a], /^expected one of --in FILE/],
    [
      'a capture that is none',
      () => ['--a', a, '--b', a, '--in', join(a, 'host.yaml')],
      /host\.yaml:1:1: neither pcap nor pcapng/,
    ],
    [
      'rules with a mistake',
      () => [
        '--a',
        a,
        '--b',
        folder('bad', { 'iptables-save': save('-A FORWARD -p tcp --dport x -j DROP\n') }),
        '--in',
        input,
      ],
      /bad\/iptables-save:8:1: /,
    ],
    [
      'an interface that B lacks',
      () => [
        '--a',
        a,
        '--b',
        writeFolder(join(root, 'less'), {
          'host.yaml': YAML.replace('  lan: {addresses: [10.0.1.1/24]}\n', ''),
        }),
        '--in',
        input,
      ],
      /in\.pcapng:3:\d+: interface "lan" is none of the host's: lo, wan, dmz\n$/,
    ],
  ])('%s', async (_, words, message) => {
    const said = await run('diff', ...words())
    expect([said.status, said.stdout]).toEqual([2, ''])
    expect(said.stderr).toMatch(message)
    expect(said.stderr.trimEnd()).not.toContain('\n')
  })
})
