// Rules looked up ahead: hosts whose batches are and hosts whose are not send and count the same, while rules change.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../../daemon/engine.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { runTool } from '../../../daemon/tools.ts'
import { load, Packet } from '../../../datapath/packet.ts'
import { MemoryEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import { writeGateway } from '../../harness/capture.ts'
import { SeededRandom, tcp, udp } from '../../harness/frames.ts'
import { kubeProxy } from '../../harness/rulesets.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const folder = mkdtempSync(join(tmpdir(), 'tunwall-rules-ahead-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** More than stay in caches by themselves. */
const SERVICES = 1100
const BATCH = 16
const BATCHES = 40

writeGateway(folder, kubeProxy(SERVICES, 2))

class Side {
  readonly engine: Engine
  readonly #memory = new FrameMemory(64, 2048)
  readonly #egress = new MemoryEgress(this.#memory)
  readonly #packets = Array.from({ length: BATCH }, () => new Packet())

  constructor() {
    this.engine = createEngine(loadHostFolder(folder), {
      memory: this.#memory,
      egress: this.#egress,
      random: new SeededRandom(1),
      // Who looks ahead takes numbers earlier than who does not.
      dice: new SeededRandom(2),
      ports: new SeededRandom(3),
    })
  }

  /** What leaves when these come in one batch. */
  batch(frames: readonly Uint8Array[], ahead: boolean): unknown {
    const { host } = this.engine
    const packets = frames.map((frame, i) => {
      const pkt = this.#packets[i]!
      load(pkt, this.#memory, frame)
      return pkt
    })
    if (ahead) {
      const hints = this.engine.lookAhead(
        Int32Array.from(packets, ({ l3 }) => l3),
        packets.length,
      )
      for (const [i, pkt] of packets.entries()) pkt.hint = hints[i]!
    }
    const lan = host.devices.byName('lan')!
    for (const pkt of packets) host.path.receive(pkt, lan)
    return this.#egress.take()
  }

  run(line: string): string {
    const [tool = '', ...argv] = line.split(' ')
    const { stdout, stderr, code } = runTool({ tool, argv, directory: '/', stdin: '' }, this.engine)
    return `${code}\n${stdout}\n${stderr}`
  }
}

test(`random batches and edits, seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const below = (n: number): number => random.u32() % n
  const [ahead, plain] = [new Side(), new Side()]
  const both = (line: string): void => expect(ahead.run(line)).toBe(plain.run(line))
  const frame = (): Uint8Array => {
    const service = below(SERVICES + 50)
    const ends = {
      src: `10.9.1.${2 + below(200)}`,
      dst: `10.96.${service >> 8}.${service & 255}`,
      sport: 1024 + below(5000),
      dport: below(10) === 0 ? 443 : 80,
    }
    return below(8) === 0 ? udp({ ...ends, payload: 8 }) : tcp({ ...ends, flags: 2 })
  }
  const edit = (): string => {
    const portal = `10.96.0.${below(256)}`
    const at = 1 + below(SERVICES)
    const edits = [
      `iptables -t nat -D KUBE-SERVICES ${at}`,
      `iptables -t nat -I KUBE-SERVICES ${at} -d ${portal} -j ACCEPT`,
      `iptables -t nat -R KUBE-SERVICES ${at} -d ${portal} -j KUBE-NODEPORTS`,
      'iptables -t nat -A KUBE-NODEPORTS -p tcp -j MARK --set-mark 1',
      'iptables -t nat -F KUBE-NODEPORTS',
      'iptables -t raw -I PREROUTING -p udp -j NOTRACK',
      'iptables -t raw -F',
      'conntrack -F',
    ]
    return edits[below(edits.length)]!
  }
  let left = 0
  for (let i = 0; i < BATCHES; i++) {
    if (i % 4 === 3) both(edit())
    const frames = Array.from({ length: 1 + below(BATCH) }, frame)
    const sent = ahead.batch(frames, true)
    expect(sent).toStrictEqual(plain.batch(frames, false))
    left += (sent as unknown[]).length
  }
  expect(left).toBeGreaterThan(BATCHES)
  expect(ahead.engine.tables.ahead.size).toBe(1)
  both('iptables-save -c')
  // With the large chain gone there is nothing to look up, and nothing stays of it.
  both('iptables -t nat -F')
  both('iptables -t nat -X')
  expect(ahead.engine.tables.ahead.size).toBe(0)
  const frames = Array.from({ length: BATCH }, frame)
  expect(ahead.batch(frames, true)).toStrictEqual(plain.batch(frames, false))
  both('iptables-save -c')
})
