// A host on a stage: one packet after the other is sent to it, and each is explained.
//
//     packet words ─ Talk ─┐                       ┌─ PacketRecord
//                          ├─▶ engine + Recorder ─▶┤─ what left, what a process got
//     capture ── Player ───┘                       └─ what came

import { Reason } from '../../datapath/counters.ts'
import { Fate } from '../../datapath/fate.ts'
import { load, Packet, PacketType } from '../../datapath/packet.ts'
import { parse } from '../../datapath/parse.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { createEngine, type Engine } from '../engine.ts'
import { CommandError, ExitCode } from '../errors.ts'
import { loadHostFolder } from '../host-folder/index.ts'
import { SeededRandom } from '../random.ts'
import { type Arrival, failAt, Talk } from '../words/conversation.ts'
import { placeIn } from '../words/line.ts'
import type { Step } from '../words/model.ts'
import { wordsOf } from '../words/of-frame.ts'
import { parseWords } from '../words/parse.ts'
import { printPacket } from '../words/print.ts'
import type { PacketRecord } from './record.ts'
import { attach, type Recorder, type RecorderOptions } from './recorder.ts'

/** One packet, and what became of it. */
export interface Played {
  /** The packet in words; null: its headers are not all there. */
  readonly words: string | null
  readonly came: Uint8Array
  readonly record: PacketRecord
  /** What left, in order. */
  readonly left: readonly { readonly device: string; readonly frame: Uint8Array }[]
  /** The packet as a process of the host got it, or would have got it; null: it did not get there. */
  readonly delivered: Uint8Array | null
}

/** Slots of frame memory: a packet, its answers and its pieces. */
const SLOTS = 128
const MAX_FRAME = 65535
/** The host has been up for a while, so that no time stamp looks like "never"; ms. */
const UPTIME_MS = 3_600_000
/** Between two packets of a conversation, if nobody says wait; ms. */
const PAUSE_MS = 1
/** Noon of a Thursday in April; ms since 1970. */
const WALL_MS = Date.UTC(2026, 3, 2, 12)
const TICK_MS = 100

const CAST = {
  broadcast: PacketType.Broadcast,
  multicast: PacketType.Multicast,
  'other-host': PacketType.OtherHost,
} as const

export interface StageOptions extends RecorderOptions {
  /** Of what the host draws at random. Default 1. */
  readonly seed?: number
}

export class Stage {
  readonly engine: Engine
  readonly recorder: Recorder
  readonly #egress: MemoryEgress
  readonly #packet = new Packet()
  #delivered: Uint8Array | null = null
  #listening = false
  #count = 0

  /** The host of a folder. Throws PlaceError for what it cannot be built of. */
  constructor(folder: string, options: StageOptions = {}) {
    const config = loadHostFolder(folder)
    const memory = new FrameMemory(SLOTS, MAX_FRAME)
    this.#egress = new MemoryEgress(memory)
    const random = new SeededRandom(options.seed ?? 1)
    this.engine = createEngine(config, { memory, egress: this.#egress, random })
    const { host } = this.engine
    host.now = UPTIME_MS
    host.wall = WALL_MS
    this.recorder = attach(this.engine, { ...options, frames: true })
    host.path.localDelivery = (pkt) => {
      this.#delivered = memory.bytes.slice(pkt.l3, pkt.end)
      return this.#listening
    }
  }

  /**
   * A conversation in packet words (docs/packet-words.md); all packets explained, in order. Throws PlaceError with the
   * column of a mistake. Where the next packet is a reply, somebody listens at the host's own addresses; else nobody does.
   */
  play(text: string, file = 'packet'): Played[] {
    const parsed = parseWords(text, placeIn(text, file))
    const talk = new Talk()
    const played: Played[] = []
    for (const [n, step] of parsed.steps.entries()) {
      if (step.kind === 'wait') {
        this.#advance(step.ms)
        continue
      }
      const fail = failAt(parsed, n)
      const { packet, arrivals } = talk.send(step, fail)
      this.#listening = isAnswered(parsed.steps, n)
      const parts = arrivals.map((arrival) => {
        this.#advance(PAUSE_MS)
        return this.#arrive(arrival, fail)
      })
      played.push(
        ...parts.map((part, i) =>
          parts.length === 1 || i === 0 ? { ...part, words: printPacket(packet) } : part,
        ),
      )
      const delivered = parts.at(-1)?.delivered ?? null
      talk.settle({ left: parts.flatMap((part) => part.left), delivered })
    }
    return played
  }

  #arrive({ device, frame, mark, cast }: Arrival, fail: (reason: string) => never): Played {
    const { host } = this.engine
    const link = device === null ? host.devices.loopback : host.devices.byName(device)
    if (link === undefined) {
      const names = host.devices.all().map(({ name }) => name)
      fail(`no interface ${device} on this host: ${names.join(', ')}`)
    }
    if (frame.length > MAX_FRAME) fail(`${frame.length} bytes are too long for a packet`)
    const { memory } = host
    const pkt = this.#packet
    if (!load(pkt, memory, frame)) fail('all frame memory is held')
    pkt.mark = mark
    if (cast != null) pkt.pktType = CAST[cast]
    return this.record(
      () => (device === null ? this.#sendLocal(pkt) : host.path.receive(pkt, link)),
      () => ({ came: frame, device: link.name, reason: null }),
    )
  }

  /** As a process would. */
  #sendLocal(pkt: Packet): Fate {
    const { host } = this.engine
    const refused = parse(pkt, host)
    if (refused !== Reason.None) return host.path.drop(pkt, refused)
    pkt.local = true
    pkt.oif = 0
    const dropped = Number(host.counters.drops.reduce((sum, n) => sum + n, 0))
    host.path.sendLocal(pkt)
    return host.counters.drops.reduce((sum, n) => sum + n, 0) > dropped ? Fate.Dropped : Fate.Forwarded
  }

  /** Explains the packet that `receive` sends in. `about`: asked then; `reason`: null: as the path says. */
  record(
    receive: () => Fate,
    about: () => { readonly came: Uint8Array; readonly device: string; readonly reason: string | null },
  ): Played {
    this.#delivered = null
    this.forget()
    this.recorder.begin(this.#count++)
    const fate = receive()
    const { came, device, reason } = about()
    const record = this.recorder.take(device, fate, reason)
    const { byIndex } = this.engine.host.devices
    const words = wordsOf(came)
    return {
      words: words === null ? null : printPacket(words),
      came,
      record,
      left: this.#egress
        .take()
        .map(({ device: index, bytes }) => ({ device: byIndex[index]!.name, frame: bytes })),
      delivered: this.#delivered,
    }
  }

  /** What has left so far is nobody's business. */
  forget(): void {
    this.#egress.take()
  }

  /** Lets time pass, and timers run. */
  #advance(ms: number): void {
    const { host } = this.engine
    const end = host.now + ms
    while (host.now < end) {
      const step = Math.min(TICK_MS, end - host.now)
      host.now += step
      host.wall += step
      while (this.engine.tick());
    }
  }
}

/** The step behind the packet is a reply, or its own host speaks. */
function isAnswered(steps: readonly Step[], n: number): boolean {
  const next = steps.slice(n + 1).find((step) => step.kind !== 'wait')
  return next?.kind === 'reply'
}

/** A mistake of somebody who asks for something that is not there. */
export const notThere = (what: string): never => {
  throw new CommandError(what, ExitCode.Unusable)
}
