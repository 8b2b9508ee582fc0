// tunwall's side of the comparison: the scenario through the engine that gateway and replay run, with the clock
// and the draws (scenario-draws.ts) of the kernel's run.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatExpectation } from '../../conntrack/print.ts'
import { afterFiles } from '../../daemon/after.ts'
import { createEngine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { Packet } from '../../datapath/packet.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { hasHelpers, type Run, type Scenario, type Sent, type StepRun } from './scenario.ts'
import { DrawnRandom } from './scenario-draws.ts'
import { writeHostFolder } from './scenario-folder.ts'

/** Slots: packets that wait for their fragments, and those under way. */
const SLOTS = 512
/** The host has been up for a while when a scenario begins, milliseconds. */
const UPTIME_MS = 1_000_000

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
    ...(kernel.sets === undefined ? {} : { sets: after.get('ipset-save')! }),
    conntrack: after
      .get('conntrack')!
      .split('\n')
      .filter((l) => l !== ''),
    ...(hasHelpers(scenario)
      ? { expect: engine.conntrack.expectations.all().map((e) => formatExpectation(engine.conntrack, e)) }
      : {}),
  }
}
