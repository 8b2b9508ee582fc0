// Helpers do what Linux 6.18 did: conversations of the profiles `helpers` and `h323`, recorded from the kernel with all that it
// sent, tracked and expected (test/data/helpers/*.json). They ask no kernel.
//
//     TUNWALL_RECORD=1 npx vitest run --project unit test/unit/conntrack/helpers.test.ts      records what is missing (root)

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { formatTable } from '../../../conntrack/print.ts'
import { createEngine } from '../../../daemon/engine.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { Packet } from '../../../datapath/packet.ts'
import { MemoryEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../../datapath/ring.ts'
import { describe as inWords } from '../../harness/compare.ts'
import { gre, SeededRandom, tcp, udp } from '../../harness/frames.ts'
import { generate } from '../../harness/generate.ts'
import type { Profile } from '../../harness/generate-world.ts'
import { Oracle, repositoryRoot } from '../../harness/kernel.ts'
import { hex, type Run, type Scenario, type Sent, unhex } from '../../harness/scenario.ts'
import { runEngine } from '../../harness/scenario-engine.ts'
import { judge } from '../../harness/shrink.ts'

const DATA = join(repositoryRoot(), 'test/data/helpers')
const FRAMES = 90
/** Seeds in which much was announced and came true. */
const SEEDS: readonly (readonly [Profile, number])[] = [
  ['helpers', 8100],
  ['helpers', 8103],
  ['helpers', 8104],
  ['v6-helpers', 8105],
  ['v6-helpers', 8106],
  ['h323', 8202],
  ['h323', 8204],
  ['h323', 8206],
  ['v6-h323', 8223],
  ['v6-h323', 8231],
]

interface Recorded {
  readonly scenario: Scenario
  /** With frames in hex. */
  readonly run: unknown
}

const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, v) => (v instanceof Uint8Array ? hex(v) : v)))

function runOf(recorded: Recorded): Run {
  type Text = { dev: string; bytes: string }
  const run = recorded.run as Run
  const bytes = (list: readonly Sent[]): Sent[] =>
    (list as unknown as Text[]).map((s) => ({ dev: s.dev, bytes: unhex(s.bytes) }))
  return {
    ...run,
    steps: run.steps.map((s) => ({
      ...s,
      injected: s.injected === null ? null : unhex(s.injected as unknown as string),
      before: bytes(s.before),
      sent: bytes(s.sent),
    })),
  }
}

if (process.env.TUNWALL_RECORD === '1') {
  test('recorded', async () => {
    mkdirSync(DATA, { recursive: true })
    const oracle = new Oracle()
    for (const [profile, seed] of SEEDS) {
      const file = join(DATA, `${profile}-${seed}.json`)
      if (existsSync(file)) continue
      const { scenario, run } = await generate(oracle, seed, profile, FRAMES)
      // The run says what went in.
      const bare = {
        ...scenario,
        steps: scenario.steps.map(({ id, dev }) => ({ id, ...(dev ? { dev } : {}) })),
      }
      const text = JSON.stringify(plain({ scenario: bare, run }))
      writeFileSync(file, `${text.replaceAll('},{"id"', '},\n{"id"')}\n`)
    }
    oracle.close()
  }, 600_000)
}

describe('as the kernel was seen to do', () => {
  test.each(readdirSync(DATA))('%s', (file) => {
    const recorded = JSON.parse(readFileSync(join(DATA, file), 'utf8')) as Recorded
    const run = runOf(recorded)
    const differences = judge(recorded.scenario, run, runEngine)
    expect(differences.length, inWords(recorded.scenario, run, differences)).toBe(0)
  })

  test('much was expected, and much came true', () => {
    let related = 0
    const helpers = new Set<string>()
    for (const file of readdirSync(DATA)) {
      const { run } = JSON.parse(readFileSync(join(DATA, file), 'utf8')) as { run: Run }
      for (const line of [...run.conntrack, ...(run.expect ?? [])])
        helpers.add(/helper=(\S+)/.exec(line)?.[1] ?? '')
      for (const line of run.save.split('\n'))
        related += Number(/^\[(\d+):.*--ctstate RELATED /.exec(`${line} `)?.[1] ?? 0)
    }
    expect(related).toBeGreaterThan(30)
    for (const name of ['amanda', 'ftp', 'irc', 'pptp', 'sane', 'sip', 'snmp', 'tftp'])
      expect(helpers).toContain(name)
  })
})

/** A host with an engine of its own, rules in raw, and frames in. */
function start(raw: string) {
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-helpers-'))
  writeFileSync(
    join(directory, 'host.yaml'),
    'interfaces:\n  a: {addresses: [10.0.0.1/24]}\n  b: {addresses: [10.1.0.1/24]}\nsysctls: {net.ipv4.ip_forward: 1}\n',
  )
  writeFileSync(join(directory, 'iptables-save'), `*raw\n${raw}COMMIT\n`)
  const memory = new FrameMemory(16, 2048)
  const engine = createEngine(loadHostFolder(directory), {
    memory,
    egress: new MemoryEgress(memory),
    random: new SeededRandom(1),
  })
  rmSync(directory, { recursive: true })
  const pkt = new Packet()
  const feed = (device: string, bytes: Uint8Array): void => {
    const slot = memory.take()
    memory.bytes.set(bytes, slot + HEADROOM)
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + bytes.length
    engine.host.path.receive(pkt, engine.host.devices.byName(device)!)
  }
  return { engine, feed }
}

test('a master that ends takes its calls with it, and is freed once', () => {
  const { engine, feed } = start('-A PREROUTING -p tcp -j CT --helper pptp\n')
  const { conntrack } = engine
  const message = (type: number, length: number, ...words: number[]): Uint8Array => {
    const view = new DataView(new ArrayBuffer(12 + length))
    for (const [i, word] of [12 + length, 1, 0x1a2b, 0x3c4d, type, 0, ...words].entries())
      view.setUint16(2 * i, word)
    return new Uint8Array(view.buffer)
  }
  const there = { src: '10.0.0.2', dst: '10.1.0.2', sport: 1000, dport: 1723, flags: 'PA' }
  const back = { src: '10.1.0.2', dst: '10.0.0.2', sport: 1723, dport: 1000, flags: 'PA' }
  feed('a', tcp({ ...there, flags: 'S', seq: 1 }))
  feed('b', tcp({ ...back, flags: 'SA', seq: 1, ack: 2 }))
  feed('a', tcp({ ...there, seq: 2, ack: 2, payload: message(1, 144, 0x100) }))
  feed('b', tcp({ ...back, seq: 2, ack: 158, payload: message(2, 144, 0x100, 0x100) }))
  feed('a', tcp({ ...there, seq: 158, ack: 158, payload: message(7, 156, 7) }))
  feed('b', tcp({ ...back, seq: 158, ack: 326, payload: message(8, 20, 9, 7, 0x100) }))
  expect(conntrack.expectations.count).toBe(2)
  feed('a', gre({ src: '10.0.0.2', dst: '10.1.0.2', callId: 9 }))
  expect(conntrack.expectations.count).toBe(0)
  expect(conntrack.table.used).toBe(2)

  let master = -1
  conntrack.forEach((entry) => {
    if (conntrack.helpers.of(entry)?.name === 'pptp') master = entry
  })
  expect(conntrack.kill(master)).toBe(true)
  expect(conntrack.table.used).toBe(0)
  for (const sport of [1, 2, 3]) feed('a', udp({ src: '10.0.0.2', dst: '10.1.0.2', sport, dport: 9 }))
  expect(formatTable(conntrack)).toHaveLength(3)
})

test('a packet that is dropped is named in the log', () => {
  const { engine, feed } = start(
    '-A PREROUTING -p tcp -j CT --helper ftp\n-A PREROUTING -p udp -j CT --helper sip\n',
  )
  const said: string[] = []
  engine.host.events.log = (record) => said.push(record.text)
  const [client, server] = [
    { src: '10.0.0.2', dst: '10.1.0.2', sport: 1000, dport: 21 },
    { src: '10.1.0.2', dst: '10.0.0.2', sport: 21, dport: 1000 },
  ]
  feed('a', tcp({ ...client, flags: 'S', seq: 1 }))
  feed('b', tcp({ ...server, flags: 'SA', seq: 8, ack: 2 }))
  feed('a', tcp({ ...client, flags: 'PA', seq: 2, ack: 9, payload: 'X\r\n' }))
  feed('a', tcp({ ...client, flags: 'PA', seq: 5, ack: 9, payload: 'EPRT |1|\r\n' }))
  feed('a', udp({ ...client, payload: 'INVITE sip:b@10.1.0.2 SIP/2.0\r\nVia: x\r\n\r\n' }))
  feed('a', udp({ ...client, payload: 'SIP/2.0 abc\r\nCSeq: 1 INVITE\r\n\r\n' }))
  expect(said.map((text) => text.replace(/ LEN=.*/, ''))).toEqual([
    "nf_ct_ftp: dropping packet: partial matching of `EPRT' IN= OUT= SRC=10.0.0.2 DST=10.1.0.2",
    'nf_ct_sip: dropping packet: cannot parse cseq IN= OUT= SRC=10.0.0.2 DST=10.1.0.2',
    'nf_ct_sip: dropping packet: cannot get code IN= OUT= SRC=10.0.0.2 DST=10.1.0.2',
  ])
})
