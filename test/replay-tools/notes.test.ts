// --comments and --annotated, as Wireshark shows them; --trace, line by line.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import type { PacketRecord } from '../../daemon/explain/record.ts'
import { recordLine } from '../../daemon/replay/trace.ts'
import { readCapture, readReport, writeCapture, writeFolder } from '../harness/capture.ts'
import { decode, tcp, udp } from '../harness/frames.ts'
import { run } from '../harness/run.ts'

const CONVERSATIONS = fileURLToPath(new URL('../replay/data/conversations', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'tunwall-notes-'))
afterAll(() => rmSync(root, { recursive: true }))
const at = (name: string): string => join(root, name)

const host = writeFolder(at('host'), {
  'host.yaml': `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24]}
routes: [default via 203.0.113.254]
sysctls: {net.ipv4.ip_forward: 1}
`,
  'iptables-save': `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 198.51.100.7:8080
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -p tcp -m tcp --dport 23 -m comment --comment "no telnet" -j REJECT --reject-with tcp-reset
-A FORWARD -i lan -j ACCEPT
COMMIT
`,
})
const input = at('in.pcapng')
const T0 = 1_700_000_000
const from = { src: '10.0.1.2', sport: 4000 }
const frames = [
  tcp({ ...from, dst: '10.96.0.10', dport: 80, flags: 'S' }),
  tcp({ ...from, dst: '198.51.100.9', dport: 23, flags: 'S' }),
  udp({ ...from, src: '127.0.0.1', dst: '198.51.100.9', dport: 1 }),
  udp({ ...from, dst: '198.51.100.9', dport: 53, payload: 9 }),
]
writeCapture(
  input,
  frames.map((bytes, i) => ({ iface: 'lan', seconds: T0, nanos: i * 1_000_000, bytes })),
)

/** Lines of tshark's fields, `|` between them. */
function shown(path: string, ...fields: string[]): string[] {
  const { status, stdout, stderr } = spawnSync(
    'tshark',
    ['-r', path, '-T', 'fields', '-E', 'separator=|', ...fields.flatMap((field) => ['-e', field])],
    { encoding: 'utf8' },
  )
  expect(status, stderr).toBe(0)
  return stdout.trimEnd().replaceAll(`${host}/`, '').split('\n')
}

const play = (...options: string[]) =>
  run('replay', '--host', host, '--in', input, '--out', at('out.pcapng'), ...options)

const tshark = spawnSync('tshark', ['-v']).status === 0

const ACCEPTED = 'forwarded by -A FORWARD -i lan -j ACCEPT (iptables-save:10)\\nconntrack: NEW'
const MASQUERADED = (port: number): string =>
  `NAT: source 10.0.1.2:${port} -> 203.0.113.1:${port} by -t nat -A POSTROUTING -o wan -j MASQUERADE (iptables-save:5)`
const NOTES = [
  `${ACCEPTED}\\nNAT: destination 10.96.0.10:80 -> 198.51.100.7:8080 by -t nat -A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 198.51.100.7:8080 (iptables-save:4)\\n${MASQUERADED(4000)}`,
  'replied by -A FORWARD -p tcp -m tcp --dport 23 -m comment --comment "no telnet" -j REJECT --reject-with tcp-reset (iptables-save:9)\\nreason: rule\\nconntrack: NEW',
  'dropped: martian-source\\nconntrack: NEW',
  `${ACCEPTED}\\n${MASQUERADED(4000)}`,
]

describe.skipIf(!tshark)('Wireshark shows (needs tshark)', () => {
  test('what came in and what left: one id, verdict, rule, NAT, reason', async () => {
    expect((await play('--annotated', at('both.pcapng'))).status).toBe(0)
    const fields = ['frame.packet_id', 'frame.interface_name', 'frame.packet_flags_direction']
    const lines = shown(at('both.pcapng'), ...fields, 'frame.verdict.ebpf_tc', 'frame.comment')
    const [dnat, telnet, martian, dns] = NOTES as [string, string, string, string]
    expect(lines).toEqual([
      `0|lan|0x00000001|0|${dnat}`,
      `0|wan|0x00000002|0|${dnat}`,
      `1|lan|0x00000001|2|${telnet}`,
      `1|lan|0x00000002|0|${telnet}`,
      `2|lan|0x00000001|2|${martian}`,
      `3|lan|0x00000001|0|${dns}`,
      `3|wan|0x00000002|0|${dns}`,
    ])
    // A person looks for what was lost.
    const lost = spawnSync('tshark', ['-r', at('both.pcapng'), '-Y', 'frame.verdict.ebpf_tc == 2'])
    expect(lost.stdout.toString().trimEnd().split('\n')).toHaveLength(2)
  })

  test('--comments: OUT has the same frames, with notes', async () => {
    await play()
    const plain = readCapture(at('out.pcapng')).map((p) => `${p.iface} ${decode(p.bytes)}`)
    await play('--comments')
    expect(readCapture(at('out.pcapng')).map((p) => `${p.iface} ${decode(p.bytes)}`)).toEqual(plain)
    expect(shown(at('out.pcapng'), 'frame.packet_id', 'frame.comment')).toEqual([
      `0|${NOTES[0]}`,
      `1|${NOTES[1]}`,
      `3|${NOTES[3]}`,
    ])
  })
})

test('OUT is the same with trace, summary and annotated capture as without', async () => {
  await play()
  const plain = readFileSync(at('out.pcapng'))
  await play('--trace', at('t.jsonl'), '--annotated', at('both.pcapng'), '--summary')
  expect(readFileSync(at('out.pcapng')).equals(plain)).toBe(true)
})

const records = (path: string): (PacketRecord & { ts: number })[] =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

test('--trace: a line for each packet, told as the report tells it', async () => {
  expect((await play('--trace', at('t.jsonl'), '--report', at('r.jsonl'))).status).toBe(0)
  const traced = records(at('t.jsonl'))
  const report = readReport(at('r.jsonl'))
  expect(traced.map(({ n, ts, in: dev, verdict, reason }) => [n, ts, dev, verdict, reason])).toEqual(
    report.map(({ n, ts, in: dev, verdict, reason }) => [n, ts, dev, verdict, reason]),
  )
  expect(traced[0]!.decision!.rule).toMatchObject({ chain: 'FORWARD', number: 2, line: 10 })
  expect(traced[0]!.journeys[0]!.steps.filter((step) => step.at === 'nat')).toHaveLength(2)
})

test.each(readdirSync(CONVERSATIONS).filter((name) => name !== 'host'))(
  '%s: lines are what JSON.stringify() writes',
  async (name) => {
    const said = await run(
      ...['replay', '--host', join(CONVERSATIONS, 'host'), '--in', join(CONVERSATIONS, name, 'in.pcapng')],
      ...['--out', at('c.pcapng'), '--trace', at('c.jsonl')],
    )
    expect(said.status).toBe(0)
    const lines = readFileSync(at('c.jsonl'), 'utf8').trimEnd().split('\n')
    expect(lines.length).toBeGreaterThan(3)
    for (const line of lines) {
      const { ts, ...record } = JSON.parse(line) as PacketRecord & { ts: number }
      const [stamp] = /"ts":([0-9.]+)/.exec(line)!.slice(1)
      expect(Number(stamp)).toBe(ts)
      const { n, ...rest } = record
      expect(line).toBe(JSON.stringify({ n, ts: 0, ...rest }).replace('"ts":0', `"ts":${stamp}`))
      expect(recordLine(record, stamp!)).toBe(`${line}\n`)
    }
  },
)

test('names that JSON quotes, and steps of every kind', () => {
  const rule = {
    family: 4,
    table: 'filter',
    chain: 'FORWARD',
    number: 1,
    text: '-A FORWARD -m comment --comment "a \\"b\\" ü" -j DROP',
    name: 'filter FORWARD 1',
    file: null,
    line: null,
  } as const
  const facts = {
    family: 4,
    protocol: 'udp',
    src: '10.0.0.1',
    dst: '10.0.0.2',
    sport: 1,
    dport: 2,
    length: 28,
    mark: 0xffffffff,
  } as const
  const record: PacketRecord = {
    n: 7,
    in: 'we"ird\\0',
    packet: null,
    verdict: 'dropped',
    reason: 'rule',
    decision: { rule, verdict: 'DROP' },
    journeys: [
      {
        kind: 'made here',
        cause: 0,
        began: [1, 0],
        packet: facts,
        steps: [
          { at: 'defrag', complete: true, length: 5 },
          { at: 'drop', reason: 'rule' },
          { at: 'sent', frame: 0, dev: 'ü', length: 3 },
          {
            at: 'table',
            table: 'filter',
            chain: 'FORWARD',
            rules: [
              { matched: true, rule, depth: 0, mark: [1, 2], ctmark: [3, 4] },
              { matched: false, rule, depth: 1, failed: '-s 1.2.3.4', saw: 'source "x"' },
            ],
            verdict: 'DROP',
            by: rule,
          },
        ],
      },
    ],
  }
  const { n, ...rest } = record
  expect(recordLine(record, '1.5')).toBe(`${JSON.stringify({ n, ts: 1.5, ...rest })}\n`)
})
