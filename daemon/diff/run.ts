// tunwall diff: both hosts from their folders, the traffic from a capture, from a generator, or searched for.

import { CommandError } from '../errors.ts'
import { loadHostFolder } from '../host-folder/index.ts'
import { OutputFiles } from '../output-files.ts'
import { Provenance } from '../provenance/index.ts'
import { SeededRandom } from '../random.ts'
import { CaptureFile } from '../replay/capture-file.ts'
import { CaptureFilter } from '../replay/filter.ts'
import { Progress, Waiting } from '../replay/progress.ts'
import { type Sending, Talk } from '../words/conversation.ts'
import type { Step } from '../words/model.ts'
import { Comparer } from './compare.ts'
import { conversations } from './find/conversations.ts'
import { type FindResult, find } from './find/index.ts'
import { Paths } from './find/paths.ts'
import { Traffic } from './find/traffic.ts'
import { HostWorld } from './find/world.ts'
import { testOf, writePackets } from './find/write.ts'
import { MemorySource } from './memory-source.ts'
import type { Comparison } from './report.ts'
import { Side } from './side.ts'

export interface DiffOptions {
  /** The host folders. */
  readonly a: string
  readonly b: string
  readonly input: string
  readonly iface: string | null
  readonly filter: string | null
  readonly seed: number
  /** A bar on standard error while it takes long. */
  readonly progress: boolean
}

export interface DiffResult {
  readonly comparison: Comparison
  readonly provenance: readonly [Provenance, Provenance]
}

/** Plays a capture on both hosts. Throws PlaceError for unusable input. */
export function diffCapture(options: DiffOptions): DiffResult {
  const [configA, configB] = [loadHostFolder(options.a), loadHostFolder(options.b)]
  const filter = options.filter === null ? null : new CaptureFilter(options.filter)
  const capture = new CaptureFile(options.input)
  const progress = options.progress && capture.size !== null ? new Progress(capture.size) : null
  try {
    const { reader, path } = capture
    const a = new Side(configA, reader, path, options.iface, options.seed)
    const b = new Side(configB, reader, path, options.iface, options.seed)
    const comparer = new Comparer(a, b, reader)
    while (capture.next()) {
      progress?.tick(reader.offset, capture.count)
      if (filter !== null && !filter.passes(reader)) continue
      comparer.packet(capture.count - 1)
    }
    return { comparison: comparer.result(), provenance: provenanceOf(a, b) }
  } finally {
    progress?.end()
    capture.close()
  }
}

export interface GenerateOptions {
  readonly a: string
  readonly b: string
  /** Packets. */
  readonly count: number
  readonly seed: number
}

/** Milliseconds between generated packets. */
const PAUSE_MS = 1

/** Compares on packets at random, of what both hosts' rules speak of. Throws PlaceError for unusable folders. */
export function diffGenerated({ a: dirA, b: dirB, count, seed }: GenerateOptions): DiffResult {
  const [configA, configB] = [loadHostFolder(dirA), loadHostFolder(dirB)]
  const source = new MemorySource()
  source.seconds = Date.UTC(2026, 3, 2, 12) / 1000
  const a = new Side(configA, source, 'generated', null, seed)
  const b = new Side(configB, source, 'generated', null, seed)
  const comparer = new Comparer(a, b, source)
  const world = new HostWorld(configA)
  const paths = [new Paths(a.engine, world), new Paths(b.engine, new HostWorld(configB))]
  const traffic = new Traffic(paths, new SeededRandom(seed))
  const both = (device: string): boolean =>
    [a, b].every((side) => side.engine.host.devices.byName(device) !== undefined)
  for (let n = 0, misses = 0; n < count && misses < count + 1000; ) {
    const plan = traffic.next(['FORWARD', 'FORWARD', 'INPUT'])
    if (plan === null || plan.in === null || !both(plan.in)) {
      misses++
      continue
    }
    const talk = new Talk()
    // What is said, an answer to it if it left, and what is said to that.
    const [steps = []] = conversations(plan, world)
    for (const step of steps) {
      if (step.kind === 'wait' || n >= count) break
      const sending = trySend(talk, step)
      if (sending === null) break
      for (const { device, frame } of sending.arrivals) {
        if (device === null || !both(device)) continue
        source.set(device, frame, PAUSE_MS)
        comparer.packet(n++)
      }
      const left = Array.from({ length: a.held.count }, (_, i) => ({
        device: a.names[a.held.dev(i)] ?? null,
        frame: a.held.frame(i).slice(),
      })).flatMap(({ device, frame }) => (device === null ? [] : [{ device, frame }]))
      talk.settle({ left, delivered: null })
    }
  }
  return { comparison: comparer.result(), provenance: provenanceOf(a, b) }
}

/** Null: there is nothing to answer. */
function trySend(talk: Talk, step: Exclude<Step, { kind: 'wait' }>): Sending | null {
  try {
    return talk.send(step, (reason) => {
      throw new CommandError(reason)
    })
  } catch (error) {
    if (error instanceof CommandError) return null
    throw error
  }
}

export const provenanceOf = (a: Side, b: Side): readonly [Provenance, Provenance] => [
  new Provenance(a.engine.tables),
  new Provenance(b.engine.tables),
]

export interface FindOptions {
  readonly a: string
  readonly b: string
  readonly seed: number
  /** Seconds. */
  readonly budget: number
  /** Where PREFIX.pcapng and PREFIX.yaml go; null: nowhere. */
  readonly save: string | null
  /** Says now and then how far it is, on standard error. */
  readonly progress: boolean
}

export interface FindAnswer extends FindResult {
  readonly provenance: readonly [Provenance, Provenance] | null
  /** Files written. */
  readonly files: readonly string[]
}

/** Searches for a packet on which the hosts differ. Throws PlaceError for folders that no host can be built of. */
export function diffFind(options: FindOptions): FindAnswer {
  const [configA, configB] = [loadHostFolder(options.a), loadHostFolder(options.b)]
  const progress = options.progress ? new Waiting(options.budget * 1000) : null
  const result = find(configA, configB, {
    seed: options.seed,
    budget: options.budget * 1000,
    ...(progress && { onProgress: (gone, tried) => progress.tick(gone, tried) }),
  })
  progress?.end()
  const { difference } = result
  if (difference === null) return { ...result, provenance: null, files: [] }
  const provenance = provenanceOf(difference.probe.a, difference.probe.b)
  if (options.save === null) return { ...result, provenance, files: [] }
  const files = new OutputFiles()
  try {
    const names = [`${options.save}.pcapng`, `${options.save}.test.yaml`] as const
    writePackets(files.bytes(names[0]), difference.sent)
    files.text(names[1], Buffer.from(testOf(difference, names[1], options.a), 'utf8').toString('latin1'))
    files.commit()
    return { ...result, provenance, files: names }
  } finally {
    files.discard()
  }
}
