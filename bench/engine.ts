// The engine in memory: no device, no system call. Packets a second through the whole path, against parsing alone.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createEngine, type Engine } from '../daemon/engine.ts'
import { loadHostFolder } from '../daemon/host-folder/index.ts'
import { SeededRandom } from '../daemon/random.ts'
import { Packet } from '../datapath/packet.ts'
import { parse } from '../datapath/parse.ts'
import { CountingEgress } from '../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../datapath/ring.ts'
import { udp } from '../test/harness/frames.ts'
import { gatewayRules } from './rules.ts'
import { interleave, median, short, table } from './stats.ts'

const FLOWS = 10_000
const PACKETS = 1_000_000
const ROUNDS = 5

/** The bench's gateway over memory. */
export function memoryGateway(rules: string): {
  engine: Engine
  egress: CountingEgress
  memory: FrameMemory
} {
  const dir = mkdtempSync(join(tmpdir(), 'tunwall-bench-'))
  try {
    writeFileSync(
      join(dir, 'host.yaml'),
      'interfaces:\n  lan: { addresses: [10.9.1.1/24] }\n  wan: { addresses: [10.9.2.1/24] }\nsysctls: { net.ipv4.ip_forward: 1 }\n',
    )
    writeFileSync(join(dir, 'iptables-save'), rules)
    const memory = new FrameMemory(64, 2048)
    const egress = new CountingEgress(memory)
    const engine = createEngine(loadHostFolder(dir), { memory, egress, random: new SeededRandom(1) })
    return { engine, egress, memory }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Frames back to back in one buffer; runs them through `receive`, one slot at a time, as the reader would. */
class Feed {
  readonly #frames: Uint8Array[]
  readonly #engine: Engine
  readonly #memory: FrameMemory
  readonly #packet = new Packet()

  constructor(engine: Engine, memory: FrameMemory, frames: Uint8Array[]) {
    this.#engine = engine
    this.#memory = memory
    this.#frames = frames
  }

  #load(frame: Uint8Array): Packet {
    const memory = this.#memory
    const slot = memory.take()
    const pkt = this.#packet
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + frame.length
    memory.bytes.set(frame, pkt.l3)
    return pkt
  }

  /** Packets a second through the whole path. */
  path(device: string, count: number): number {
    const { host } = this.#engine
    const from = host.devices.byName(device)!
    const start = performance.now()
    for (let i = 0; i < count; i++) {
      host.now = start + i * 0.0003
      host.path.receive(this.#load(this.#frames[i % this.#frames.length]!), from)
    }
    return (count / (performance.now() - start)) * 1000
  }

  /** Packets a second through the parser alone. */
  parse(count: number): number {
    const { host } = this.#engine
    const start = performance.now()
    for (let i = 0; i < count; i++) {
      const pkt = this.#load(this.#frames[i % this.#frames.length]!)
      parse(pkt, host)
      this.#memory.give(pkt.slot)
    }
    return (count / (performance.now() - start)) * 1000
  }
}

const flow = (i: number): Uint8Array =>
  udp({ src: `10.9.1.${2 + (i % 200)}`, dst: '10.9.2.2', sport: 1024 + i, dport: 53, payload: 32 })

export async function engine(): Promise<string> {
  const frames = Array.from({ length: FLOWS }, (_, i) => flow(i))
  const plain = memoryGateway('')
  const full = memoryGateway(gatewayRules(20))
  const routing = new Feed(plain.engine, plain.memory, frames)
  const gateway = new Feed(full.engine, full.memory, frames)
  gateway.path('lan', FLOWS)
  if (full.egress.packets !== FLOWS) throw new Error(`${full.egress.packets} of ${FLOWS} packets left`)
  const runs = await interleave(ROUNDS, {
    parse: () => routing.parse(PACKETS),
    routing: () => routing.path('lan', PACKETS),
    established: () => gateway.path('lan', PACKETS),
    fresh: () => {
      full.engine.conntrack.flush()
      return gateway.path('lan', FLOWS)
    },
  })
  const row = (name: string, of: number[]): string[] => [
    name,
    short(median(of)),
    (median(runs.parse) / median(of)).toFixed(1),
  ]
  return [
    `${FLOWS} UDP flows of 60-byte packets, one core; medians of ${ROUNDS} interleaved runs.`,
    '',
    table(
      ['path', 'packets/s', 'times the cost of parsing'],
      [
        row('parse only', runs.parse),
        row('routing, no rules', runs.routing),
        row('established flow: conntrack, MASQUERADE, 20 filter rules', runs.established),
        row('first packet of a flow, same rules', runs.fresh),
      ],
    ),
  ].join('\n')
}
