// The engine in memory: no device, no system call. Packets a second through the whole path, against parsing alone.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createEngine, type Engine } from '../daemon/engine.ts'
import { loadHostFolder } from '../daemon/host-folder/index.ts'
import { SeededRandom } from '../daemon/random.ts'
import { takeFrame } from '../datapath/offload.ts'
import { Packet } from '../datapath/packet.ts'
import { parse } from '../datapath/parse.ts'
import { CountingEgress, MemoryEgress } from '../datapath/ports/memory.ts'
import { createFrames, FrameMemory, HEADROOM } from '../datapath/ring.ts'
import { fold, sum } from '../datapath/wire/checksum.ts'
import { udp } from '../test/harness/frames.ts'
import { gatewayRules } from './rules.ts'
import { interleave, median, shuffled, spread, table } from './stats.ts'

const FLOWS = 10_000
const MANY_FLOWS = 100_000
const FILTERS = 20
const PACKETS = 1_000_000
const ROUNDS = 5
/** Frames in memory at once. */
const BATCH = 128

/** The bench's gateway over memory. */
export function memoryGateway(
  rules: string,
  sysctls = 'net.ipv4.conf.all.forwarding: 1',
): {
  engine: Engine
  egress: CountingEgress
  memory: FrameMemory
} {
  const dir = mkdtempSync(join(tmpdir(), 'tunwall-bench-'))
  try {
    writeFileSync(
      join(dir, 'host.yaml'),
      `interfaces:\n  lan: { addresses: [10.9.1.1/24] }\n  wan: { addresses: [10.9.2.1/24] }\nsysctls: { net.ipv4.ip_forward: 1, ${sysctls} }\n`,
    )
    writeFileSync(join(dir, 'iptables-save'), rules)
    const memory = new FrameMemory(BATCH + 64, 2048)
    const egress = new CountingEgress(memory)
    const engine = createEngine(loadHostFolder(dir), { memory, egress, random: new SeededRandom(1) })
    return { engine, egress, memory }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Sends frames through the engine in batches, as a reader of devices leaves them in memory. */
export class Feed {
  /** One behind the other, as words. */
  readonly #frames: Int32Array
  readonly #count: number
  readonly #length: number
  /** What the reader of devices sums up of each while it copies (Native.readBatch). */
  readonly #sums: Uint32Array
  readonly #engine: Engine
  readonly #memory: FrameMemory
  readonly #words: Int32Array
  readonly #batch = createFrames(BATCH)
  readonly #packet = new Packet()

  /** All frames have the same length, a multiple of four bytes. */
  constructor(engine: Engine, memory: FrameMemory, frames: readonly Uint8Array[]) {
    this.#engine = engine
    this.#memory = memory
    this.#words = new Int32Array(memory.buffer)
    this.#length = frames[0]!.length
    this.#count = frames.length
    const bytes = new Uint8Array(frames.length * this.#length)
    for (const [i, frame] of frames.entries()) bytes.set(frame, i * this.#length)
    this.#frames = new Int32Array(bytes.buffer)
    this.#sums = Uint32Array.from(frames, (frame) => fold(sum(frame, 0, frame.length)))
  }

  /** As a reader of devices does: BATCH frames into slots. */
  #read(from: number, count: number): void {
    const { offsets, lengths, sums } = this.#batch
    const memory = this.#memory
    const frames = this.#frames
    const words = this.#words
    const length = this.#length >> 2
    const n = Math.min(BATCH, count - from)
    for (let i = 0; i < n; i++) {
      const slot = memory.take()
      const frame = (from + i) % this.#count
      offsets[i] = slot + HEADROOM
      lengths[i] = this.#length
      sums[i] = this.#sums[frame]!
      let at = (slot + HEADROOM) >> 2
      const start = frame * length
      for (let word = start; word < start + length; word++) words[at++] = frames[word]!
    }
    this.#batch.count = n
  }

  /** Packets a second of processor time through the whole path. */
  path(device: string, count: number): number {
    const { host, lookAhead } = this.#engine
    const frames = this.#batch
    const from = host.devices.byName(device)!
    const now = performance.now()
    const start = processorMs()
    for (let at = 0; at < count; at += BATCH) {
      this.#read(at, count)
      host.now = now + at * 0.0003
      frames.hints = lookAhead(frames.offsets, frames.count)
      host.path.receiveBatch(frames, from)
    }
    return (count / (processorMs() - start)) * 1000
  }

  /** Packets a second of processor time through the parser alone. */
  parse(count: number): number {
    const { host } = this.#engine
    const frames = this.#batch
    const pkt = this.#packet
    const start = processorMs()
    for (let at = 0; at < count; at += BATCH) {
      this.#read(at, count)
      for (let i = 0; i < frames.count; i++) {
        takeFrame(pkt, frames, i, this.#memory.stride)
        parse(pkt, host)
        this.#memory.give(pkt.slot)
      }
    }
    return (count / (processorMs() - start)) * 1000
  }
}

/** Time that this process had the processor, its collector and compiler included: others on the machine do not count. */
function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

const flow = (i: number): Uint8Array =>
  udp({
    src: `10.9.1.${2 + (i % 200)}`,
    dst: `10.9.2.${2 + (i >> 13)}`,
    sport: 1024 + (i & 0x1fff),
    dport: 53,
    payload: 32,
  })

/** The answer to a frame that left. */
const answer = (bytes: Uint8Array): Uint8Array =>
  udp({
    src: `10.9.2.${bytes[19]}`,
    dst: '10.9.2.1',
    sport: 53,
    dport: (bytes[20]! << 8) | bytes[21]!,
    payload: 32,
  })

/**
 * Sends the first packet of each flow and the answer to it, so that all are established. Returns the answers.
 * Throws when one of them did not pass.
 */
export function establish(gateway: ReturnType<typeof memoryGateway>, feed: Feed, flows = FLOWS): Feed {
  const { engine, egress, memory } = gateway
  const kept = new MemoryEgress(memory)
  engine.host.egress = kept
  feed.path('lan', flows)
  engine.host.egress = egress
  const frames = kept.take().map(({ bytes }) => answer(bytes))
  const answers = new Feed(engine, memory, frames)
  const before = egress.packets
  answers.path('wan', frames.length)
  const passed = egress.packets - before
  if (passed !== flows) throw new Error(`${passed} answers to ${flows} flows passed`)
  return answers
}

/** What can be measured, each in a process of its own: V8 compiles the path for one gateway, as in life. */
const CONTENDERS: Readonly<Record<string, () => number>> = {
  parse: () => {
    const { feed } = started('')
    feed.parse(PACKETS)
    return feed.parse(PACKETS)
  },
  routing: () => {
    const { feed } = started('')
    feed.path('lan', PACKETS)
    return feed.path('lan', PACKETS)
  },
  established: () => {
    const { gateway, feed } = started(gatewayRules(FILTERS))
    establish(gateway, feed)
    feed.path('lan', PACKETS)
    return feed.path('lan', PACKETS)
  },
  answers: () => {
    const { gateway, feed } = started(gatewayRules(FILTERS))
    const answers = establish(gateway, feed)
    answers.path('wan', PACKETS)
    return answers.path('wan', PACKETS)
  },
  'established-many': () => {
    const { gateway, feed } = started(gatewayRules(1000), MANY_FLOWS)
    establish(gateway, feed, MANY_FLOWS)
    feed.path('lan', PACKETS)
    return feed.path('lan', PACKETS)
  },
  'established-scattered': () => {
    const { gateway, feed, frames } = started(gatewayRules(1000), MANY_FLOWS)
    establish(gateway, feed, MANY_FLOWS)
    const order = Array.from(shuffled(MANY_FLOWS), (i) => frames[i]!)
    const scattered = new Feed(gateway.engine, gateway.memory, order)
    scattered.path('lan', PACKETS)
    return scattered.path('lan', PACKETS)
  },
  fresh: () => fresh(FILTERS),
  'fresh-10': () => fresh(10),
  'fresh-100000': () => fresh(100_000),
}

/** New flows a second, beside this many rules that do not fit. */
function fresh(filters: number): number {
  const { gateway, feed } = started(gatewayRules(filters))
  const rates: number[] = []
  for (let i = 0; i < 20; i++) {
    gateway.engine.conntrack.flush()
    rates.push(feed.path('lan', FLOWS))
  }
  return median(rates.slice(10))
}

interface Started {
  readonly gateway: ReturnType<typeof memoryGateway>
  readonly feed: Feed
  readonly frames: readonly Uint8Array[]
}

function started(rules: string, flows = FLOWS): Started {
  const gateway = memoryGateway(rules)
  const frames = Array.from({ length: flows }, (_, i) => flow(i))
  return { gateway, feed: new Feed(gateway.engine, gateway.memory, frames), frames }
}

const HERE = fileURLToPath(import.meta.url)

function child(name: string): number {
  return Number(execFileSync(process.execPath, [HERE, name], { encoding: 'utf8' }))
}

export async function engine(): Promise<string> {
  const runs = await interleave(ROUNDS, {
    parse: () => child('parse'),
    routing: () => child('routing'),
    established: () => child('established'),
    answers: () => child('answers'),
    many: () => child('established-many'),
    scattered: () => child('established-scattered'),
    fresh: () => child('fresh'),
    fresh10: () => child('fresh-10'),
    fresh100000: () => child('fresh-100000'),
  })
  const row = (name: string, of: number[]): string[] => [
    name,
    spread(of),
    (median(runs.parse) / median(of)).toFixed(1),
  ]
  return [
    `${FLOWS} UDP flows of 60-byte packets, one core, packets per second of processor time; medians of ${ROUNDS} interleaved runs (lowest to highest).`,
    '',
    table(
      ['path', 'packets/s', 'times the cost of parsing'],
      [
        row('parse only', runs.parse),
        row('routing, no rules', runs.routing),
        row(`established flow: conntrack, MASQUERADE, ${FILTERS} filter rules`, runs.established),
        row('the same, answers', runs.answers),
        row(`established, ${MANY_FLOWS} flows, 1000 filter rules`, runs.many),
        row('the same, in no order', runs.scattered),
        row(`first packet of a flow, ${FILTERS} filter rules`, runs.fresh),
        row('the same with 10 filter rules', runs.fresh10),
        row('the same with 100000', runs.fresh100000),
      ],
    ),
    '',
    `100,000 rules that do not fit cost a new flow ${(median(runs.fresh10) / median(runs.fresh100000)).toFixed(2)} times what 10 do.`,
  ].join('\n')
}

if (process.argv[1] === HERE) console.log(CONTENDERS[process.argv[2]!]!())
