// tunwall diff: both hosts from their folders, the traffic from a capture, from a generator, or searched for.

import { loadHostFolder } from '../host-folder/index.ts'
import { OutputFiles } from '../output-files.ts'
import { Provenance } from '../provenance/index.ts'
import { CaptureFile } from '../replay/capture-file.ts'
import { CaptureFilter } from '../replay/filter.ts'
import { Progress, Waiting } from '../replay/progress.ts'
import { Comparer } from './compare.ts'
import { type FindResult, find } from './find/index.ts'
import { testOf, writePackets } from './find/write.ts'
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
    const names = [`${options.save}.pcapng`, `${options.save}.yaml`] as const
    writePackets(files.bytes(names[0]), difference.sent)
    files.text(names[1], Buffer.from(testOf(difference, names[1], options.a), 'utf8').toString('latin1'))
    files.commit()
    return { ...result, provenance, files: names }
  } finally {
    files.discard()
  }
}
