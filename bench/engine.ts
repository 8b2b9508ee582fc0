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

/** Sends frames through the engine one slot at a time, as a reader would have left them in memory. */
export class Feed {
  readonly #frames: readonly Int32Array[]
  readonly #length: number
  readonly #engine: Engine
  readonly #memory: FrameMemory
  readonly #words: Int32Array
  readonly #packet = new Packet()

  /** All frames have the same length, a multiple of four bytes. */
  constructor(engine: Engine, memory: FrameMemory, frames: readonly Uint8Array[]) {
    this.#engine = engine
    this.#memory = memory
    this.#words = new Int32Array(memory.buffer)
    this.#length = frames[0]!.length
    this.#frames = frames.map((frame) => new Int32Array(Uint8Array.from(frame).buffer))
  }

  #load(frame: Int32Array): Packet {
    const memory = this.#memory
    const slot = memory.take()
    const pkt = this.#packet
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + this.#length
    const words = this.#words
    const at = pkt.l3 >> 2
    for (let i = 0; i < frame.length; i++) words[at + i] = frame[i]!
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
