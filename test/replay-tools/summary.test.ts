// The table of a replay: who decided of how many packets. The light observer behind it says what the Recorder says.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { createEngine } from '../../daemon/engine.ts'
import { attach } from '../../daemon/explain/recorder.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { SeededRandom } from '../../daemon/random.ts'
import { CaptureFile } from '../../daemon/replay/capture-file.ts'
import { Decider } from '../../daemon/replay/decider.ts'
import { MAX_FRAME, Player, SLOTS } from '../../daemon/replay/player.ts'
import { printSummary } from '../../daemon/replay/summary.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { writeCapture, writeFolder } from '../harness/capture.ts'
import { icmp, tcp, udp } from '../harness/frames.ts'
import { run } from '../harness/run.ts'

const CONVERSATIONS = fileURLToPath(new URL('../replay/data/conversations', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'tunwall-summary-'))
afterAll(() => rmSync(root, { recursive: true }))

/** What decided of each packet of a capture, in words. */
function decisions(host: string, input: string, light: boolean): string[] {
  const memory = new FrameMemory(SLOTS, MAX_FRAME)
  const egress = Object.assign(new MemoryEgress(memory), { seconds: 0, nanos: 0 })
  const engine = createEngine(loadHostFolder(host), { memory, egress, random: new SeededRandom(1) })
  const capture = new CaptureFile(input)
  const player = new Player({ engine, source: capture.reader, file: input, iface: null, stamped: egress })
  const observer = light ? new Decider(engine, player.packet) : null
  const recorder = light ? null : attach(engine)
  const said: string[] = []
  while (capture.next()) {
    player.setClock()
    observer?.begin()
    recorder?.begin(capture.count - 1)
    const fate = player.receive()
    const decision = (observer ?? recorder)!.decision()
    said.push(
      `${capture.count} ${fate} ${decision === null ? 'nobody' : `${decision.rule.family} ${decision.rule.name} ${decision.verdict}`}`,
    )
  }
  capture.close()
  return said
}

test.each(readdirSync(CONVERSATIONS).filter((name) => name !== 'host'))(
  '%s: the decision is the Recorder’s',
  (name) => {
    const [host, input] = [join(CONVERSATIONS, 'host'), join(CONVERSATIONS, name, 'in.pcapng')]
    const light = decisions(host, input, true)
    expect(light).toEqual(decisions(host, input, false))
    expect(light.filter((line) => !line.endsWith('nobody')).length).toBeGreaterThan(0)
  },
)

const SAVE = `*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 7 -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:web - [0:0]
-A FORWARD -p tcp -m tcp --dport 80 -j web
-A FORWARD -p udp -j ACCEPT
-A web -s 10.0.1.9/32 -p tcp -j REJECT --reject-with tcp-reset
-A web -j ACCEPT
COMMIT
`

test('the table: rules by file and line, reasons where no rule decided', async () => {
  const host = writeFolder(join(root, 'host'), {
    'host.yaml': `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24]}
routes: [198.51.100.0/24 via 203.0.113.254]
sysctls: {net.ipv4.ip_forward: 1}
`,
    'iptables-save': SAVE,
  })
  const input = join(root, 'in.pcapng')
  const from = { src: '10.0.1.2', dst: '198.51.100.7', sport: 1000 }
  const frames = [
    ...Array.from({ length: 5 }, () => tcp({ ...from, dport: 80, flags: 'S' })),
    ...Array.from({ length: 4 }, () => tcp({ ...from, src: '10.0.1.9', dport: 80, flags: 'S' })),
    ...Array.from({ length: 3 }, () => udp({ ...from, dport: 53, payload: 10 })),
    tcp({ ...from, dport: 7, flags: 'S' }),
    tcp({ ...from, dport: 22, flags: 'S' }),
    tcp({ ...from, dport: 22, flags: 'S' }),
    udp({ ...from, dst: '192.0.2.1', dport: 1 }),
    udp({ ...from, dport: 53, ttl: 1 }),
    icmp({ src: '10.0.1.2', dst: '10.0.1.1', type: 8, code: 0, payload: 8 }),
  ]
  writeCapture(
    input,
    frames.map((bytes, i) => ({ iface: 'lan', seconds: 1_700_000_000, nanos: i * 1000, bytes })),
  )
  const out = join(root, 'out.pcapng')
  const quiet = await run('replay', '--host', host, '--in', input, '--out', out)
  expect(quiet.stderr).toBe('')
  const said = await run('replay', '--host', host, '--in', input, '--out', out, '--summary')
  expect(said.status).toBe(0)
  expect(said.stdout).toBe(quiet.stdout)
  expect(said.stderr.replaceAll(`${host}/`, '')).toBe(
    `${`
packets  bytes  verdict    decided by
      5    200  forwarded  -A web -j ACCEPT                                                iptables-save:13
      4    160  replied    -A web -s 10.0.1.9/32 -p tcp -j REJECT --reject-with tcp-reset  iptables-save:12
      3    114  forwarded  -A FORWARD -p udp -j ACCEPT                                     iptables-save:11
      2     80  dropped    -P FORWARD DROP
      1     40  dropped    -t mangle -A PREROUTING -p tcp -m tcp --dport 7 -j DROP         iptables-save:3
      1     28  replied    no-route
      1     28  replied    ttl
      1     36  replied    -P INPUT ACCEPT
`.trim()}\n`,
  )
})

test('colours only where asked for; a long tail is one line', () => {
  const rows = Array.from({ length: 40 }, (_, i) => ({
    packets: 40 - i,
    bytes: 100,
    verdict: 'dropped' as const,
    reason: `reason-${i}`,
    rule: null,
  }))
  const plain = printSummary(rows, false)
  expect(plain).not.toContain('\u001b')
  expect(plain.trimEnd().split('\n')).toHaveLength(26)
  expect(plain).toMatch(/\n +136 +1,600 {2}by 16 others\n$/)
  expect(printSummary(rows, true)).toContain('\u001b[31mdropped')
})
