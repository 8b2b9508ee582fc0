// tunwall's side of the comparison: the scenario through the engine that gateway and replay run, with the clock
// and the draws of the kernel's run.
//
// Random ports are not masked but drawn alike: when NAT asks for a random number in a step, it is given one that
// leads to the port which the kernel drew there. So what follows from a draw (the same source keeps its port, a
// port is taken, a range is full) is compared exactly as well.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterFiles } from '../../daemon/after.ts'
import { createEngine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import type { Random } from '../../datapath/host.ts'
import { Packet } from '../../datapath/packet.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { addressAt, l4Of, protocolOf } from './conversation.ts'
import { SeededRandom } from './frames.ts'
import type { Run, Scenario, Sent, StepRun } from './scenario.ts'
import { writeHostFolder } from './scenario-folder.ts'

/** Slots: packets that wait for their fragments, and those under way. */
const SLOTS = 512
/** The host has been up for a while when a scenario begins, milliseconds. */
const UPTIME_MS = 1_000_000

const u16 = (b: Uint8Array, at: number): number => (b[at]! << 8) | b[at + 1]!

/** Ports, or the identifier of an ICMP echo twice; null where there are none. */
function portsOf(frame: Uint8Array): [number, number] | null {
  if (frame.length < 28 || frame[0]! >> 4 !== 4 || (u16(frame, 6) & 0x1fff) !== 0) return null
  const l4 = l4Of(frame)
  if (l4 + 8 > frame.length) return null
  switch (protocolOf(frame)) {
    case 1:
      return [0, 8, 13, 14, 15, 16, 17, 18].includes(frame[l4]!)
        ? [u16(frame, l4 + 4), u16(frame, l4 + 4)]
        : null
    case 6:
    case 17:
    case 132:
    case 136:
      return [u16(frame, l4), u16(frame, l4 + 2)]
  }
  return null
}

/** Randomness that repeats the kernel's draws of ports. */
class DrawnRandom implements Random {
  readonly #plain = new SeededRandom(0x7075)
  readonly #ranges: [number, number][] = []
  readonly #flows = new Map<string, number>()
  readonly #first = new Map<string, [number, number]>()
  #next: number | null = null

  constructor(scenario: Scenario, kernel: Run) {
    for (const [, a, b] of scenario.iptables.matchAll(
      /(?:--to-ports |--to-(?:source|destination) \S*:)(\d+)-(\d+)/g,
    ))
      this.#ranges.push([Number(a), Number(b) - Number(a) + 1])
    this.#ranges.sort((x, y) => x[1] - y[1])
    for (const line of kernel.conntrack) {
      const values = (key: string): string[] =>
        [...line.matchAll(new RegExp(`\\b${key}=(\\S+)`, 'g'))].map((m) => m[1]!)
      const [src] = values('src')
      const [dst] = values('dst')
      // An echo has its identifier for both ports, both ways.
      const ids = values('id')
      const [from, replyFrom] = ids.length > 0 ? ids : values('sport')
      const [to, replyTo] = ids.length > 0 ? ids : values('dport')
      if (from === undefined || replyTo === undefined) continue
      const drawn = replyTo !== from ? replyTo : replyFrom !== to ? replyFrom : undefined
      if (drawn !== undefined)
        this.#flows.set(`${line.split(/\s+/)[3]} ${src} ${dst} ${from} ${to}`, Number(drawn))
    }
  }

  /** Looks at what the kernel did with the frame that goes in now. */
  prepare(step: StepRun): void {
    this.#next = null
    if (step.injected === null) return
    const went = this.#portsOf(step.injected)
    for (const { bytes } of step.sent) {
      const came = portsOf(bytes)
      if (came === null) continue
      const drawn = came.find((p) => p !== 0 && (went === null || !went.includes(p)))
      if (drawn !== undefined) {
        this.#aim(drawn, protocolOf(bytes) === 1)
        return
      }
    }
    if (went === null) return
    const key = `${protocolOf(step.injected)} ${addressAt(step.injected, 12)} ${addressAt(step.injected, 16)} ${went[0]} ${went[1]}`
    const drawn = this.#flows.get(key)
    if (drawn !== undefined) this.#aim(drawn, protocolOf(step.injected) === 1)
  }

  /** Ports of a packet, of later fragments those of the first one. */
  #portsOf(frame: Uint8Array): [number, number] | null {
    if (frame.length < 20) return null
    const key = `${u16(frame, 4)} ${frame[9]} ${addressAt(frame, 12)} ${addressAt(frame, 16)}`
    const ports = portsOf(frame)
    if (ports !== null && (u16(frame, 6) & 0x2000) !== 0) this.#first.set(key, ports)
    return ports ?? this.#first.get(key) ?? null
  }

  /** The number from which nf_nat_l4proto_unique_tuple() arrives at `port`. */
  #aim(port: number, identifier: boolean): void {
    // An offset of 0 would give the host's own packets an identification of 0, which the kernel never draws.
    if (port === 0) return
    const inside = this.#ranges.find(([min, size]) => port >= min && port < min + size)
    const [min, size] =
      inside ?? (identifier ? [0, 65536] : port < 512 ? [1, 511] : port < 1024 ? [600, 424] : [1024, 64512])
    this.#next = Math.max(0, port - min)
    if (this.#next === 0 && size < 65536) this.#next = size
  }

  u32(): number {
    const plain = this.#plain.u32()
    return this.#next === null ? plain : ((plain & 0xffff0000) | this.#next) >>> 0
  }
}

/**
 * Runs what `kernel` ran, frame by frame, at the same times. `captured`: the host folder as the tools printed it of
 * the kernel's namespace; without it the short form, host.yaml, says the same.
 */
export function runEngine(
  scenario: Scenario,
  kernel: Run,
  captured: Readonly<Record<string, string>> | null = null,
): Run {
  const memory = new FrameMemory(SLOTS, 65535)
  const egress = new MemoryEgress(memory)
  const random = new DrawnRandom(scenario, kernel)
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-scenario-'))
  let engine: ReturnType<typeof createEngine>
  try {
    if (captured === null) writeHostFolder(directory, scenario)
    else for (const [name, text] of Object.entries(captured)) writeFileSync(join(directory, name), text)
    engine = createEngine(loadHostFolder(directory), { memory, egress, random })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
  const { host } = engine
  const pkt = new Packet()
  const sent = (): Sent[] => {
    host.egress.flush()
    return egress.take().map((f) => ({ dev: host.devices.byIndex[f.device]!.name, bytes: f.bytes }))
  }
  const advance = (at: number, wall: number): void => {
    host.now = UPTIME_MS + at
    host.wall = wall
    while (engine.tick()) {
      // More was due than one call may do.
    }
  }
  const steps: StepRun[] = []
  advance(0, kernel.wall)
  for (const step of kernel.steps) {
    advance(step.at, step.wall)
    const before = sent()
    if (step.injected !== null) {
      random.prepare(step)
      const slot = memory.take()
      if (slot < 0) throw new Error(`step ${step.id}: all ${SLOTS} slots of the frame memory are held`)
      memory.bytes.set(step.injected, slot + HEADROOM)
      pkt.reset()
      pkt.slot = slot
      pkt.limit = slot + memory.stride
      pkt.l3 = slot + HEADROOM
      pkt.end = pkt.l3 + step.injected.length
      try {
        host.path.receive(pkt, host.devices.byName(step.dev!)!)
      } catch (error) {
        throw new Error(`step ${step.id}: ${(error as Error).stack ?? error}`, { cause: error })
      }
    }
    steps.push({
      id: step.id,
      at: step.at,
      wall: step.wall,
      dev: step.dev,
      injected: step.injected,
      before,
      sent: sent(),
    })
  }
  advance(kernel.endAt, kernel.wall + kernel.endAt)
  const after = new Map(afterFiles(engine))
  return {
    wall: kernel.wall,
    steps,
    endAt: kernel.endAt,
    save: after.get('iptables-save')!,
    conntrack: after
      .get('conntrack')!
      .split('\n')
      .filter((l) => l !== ''),
  }
}
