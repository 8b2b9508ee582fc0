// Replay: a capture through an emulated host. Capture time is the clock, the seed is the randomness, so the same
// input gives the same output, byte for byte.
//
//     capture ─ filter ─ player ─ engine ─┬─ out.pcapng, notes beside its frames
//                                         ├─ report, trace: one line for each packet
//                                         ├─ summary, by verdict and deciding rule
//                                         └─ after: tables, conntrack, sets
//
// Files are written beside their names and take them only when all is done: a failure leaves nothing behind.

import { FATE_NAMES } from '../datapath/fate.ts'
import { CaptureWriter } from '../datapath/ports/capture-writer.ts'
import { FrameMemory } from '../datapath/ring.ts'
import { traceLog } from '../rules/targets/trace.ts'
import { afterFiles } from './after.ts'
import { createEngine } from './engine.ts'
import { attach } from './explain/recorder.ts'
import { loadHostFolder } from './host-folder/index.ts'
import { NflogFiles } from './nflog-files.ts'
import { OutputFiles } from './output-files.ts'
import { SeededRandom } from './random.ts'
import { CaptureFile } from './replay/capture-file.ts'
import { Decider } from './replay/decider.ts'
import { HeldFrames, Leaving, ReplayEgress } from './replay/egress.ts'
import { CaptureFilter } from './replay/filter.ts'
import { Notes } from './replay/notes.ts'
import { MAX_FRAME, Player, SLOTS } from './replay/player.ts'
import { Progress } from './replay/progress.ts'
import { Report } from './replay/report.ts'
import { Summary, type SummaryRow } from './replay/summary.ts'
import { Trace } from './replay/trace.ts'

export interface ReplayOptions {
  /** The host folder. */
  readonly host: string
  readonly input: string
  readonly output: string
  /** Where frames arrive if the capture does not say, and whatever it says. */
  readonly iface: string | null
  /** Directory for the state at the end. */
  readonly after: string | null
  /** JSON Lines file. */
  readonly report: string | null
  /** Directory for nflog-GROUP.pcap; absent: nobody listens. */
  readonly nflog?: string | null
  /** Which packets are played, in tcpdump's words; absent: all. */
  readonly filter?: string | null
  /** A bar on standard error while it takes long. */
  readonly progress?: boolean
  /** JSON Lines file of explanations (daemon/explain/record.ts). */
  readonly trace?: string | null
  /** Frames in the output carry a note each. */
  readonly comments?: boolean
  /** A pcapng of what came in and what left, with notes. */
  readonly annotated?: string | null
  /** Count packets by verdict and deciding rule. */
  readonly summary?: boolean
  readonly seed: number
}

export interface ReplaySummary {
  /** Packets played; with a filter the capture has more. */
  readonly packets: number
  /** Packets by FATE_NAMES, those that occurred. */
  readonly fates: Readonly<Record<string, number>>
  /** By verdict and deciding rule, most packets first; null: nobody asked. */
  readonly rows: readonly SummaryRow[] | null
}

/** Runs a capture through a host. Throws PlaceError for unusable input; no file has changed then. */
export function replay(options: ReplayOptions): ReplaySummary {
  const config = loadHostFolder(options.host)
  const memory = new FrameMemory(SLOTS, MAX_FRAME)
  const files = new OutputFiles()
  const egress = new ReplayEgress(memory)
  const engine = createEngine(config, { memory, egress, random: new SeededRandom(options.seed) })
  const { host } = engine
  const filter = typeof options.filter === 'string' ? new CaptureFilter(options.filter) : null
  const capture = new CaptureFile(options.input)
  const progress = options.progress && capture.size !== null ? new Progress(capture.size) : null
  const { trace: tracePath = null, annotated = null, nflog: directory = null } = options
  try {
    const { reader, path } = capture
    const player = new Player({ engine, source: reader, file: path, iface: options.iface, stamped: egress })
    const names: string[] = []
    for (const device of host.devices.all()) names[device.index] = device.name
    // Notes are for frames that lie elsewhere by the time they are written.
    const noting = options.comments === true || annotated !== null
    const words = noting ? null : new Int32Array(memory.buffer)
    const leaving = new Leaving(new CaptureWriter(files.bytes(options.output), words), names)
    egress.leaving = leaving
    const both = annotated === null ? null : new Leaving(new CaptureWriter(files.bytes(annotated)), names)
    const notes = noting ? new Notes(leaving, options.comments === true, both) : null
    const held = noting ? new HeldFrames() : null
    egress.held = held
    const trace = tracePath === null ? null : new Trace(files.bytes(tracePath))
    const recorder = notes === null && trace === null ? null : attach(engine)
    const report = options.report === null ? null : new Report(files.bytes(options.report), names, egress)
    if (report !== null) {
      host.events.log = (record) => report.log(record)
      host.events.trace = (record) => report.log(traceLog(record, host))
    }
    player.onTimers = () => {
      report?.timers()
      if (held !== null) notes!.timers(held)
    }
    if (directory !== null) files.directory(directory)
    const nflog =
      directory === null ? null : new NflogFiles(host, (name) => files.bytes(`${directory}/${name}`))
    const decider = options.summary && recorder === null ? new Decider(engine, player.packet) : null
    const summary = options.summary ? new Summary() : null
    const count = new Float64Array(FATE_NAMES.length)
    while (capture.next()) {
      progress?.tick(reader.offset, capture.count)
      if (filter !== null && !filter.passes(reader)) continue
      const n = capture.count - 1
      recorder?.begin(n)
      player.setClock()
      decider?.begin()
      const fate = player.receive()
      count[fate]!++
      report?.packet(n, reader, player.device, fate, player.reason)
      if (recorder !== null) {
        const record = recorder.take(player.device?.name ?? '', fate, player.refusal)
        trace?.packet(record, reader.seconds, reader.nanos)
        if (held !== null) notes!.packet(record, fate, reader, held)
        summary?.packet(fate, player.reason, record.decision?.rule ?? null, player.length)
      } else summary?.packet(fate, player.reason, decider!.rule(), player.length)
    }
    leaving.writer.flush()
    both?.writer.flush()
    trace?.flush()
    report?.flush()
    nflog?.flush()
    if (options.after !== null) {
      files.directory(options.after)
      for (const [name, text] of afterFiles(engine)) files.text(`${options.after}/${name}`, text)
    }
    files.commit()
    const fates: Record<string, number> = {}
    for (const [i, name] of FATE_NAMES.entries()) if (count[i]! > 0) fates[name] = count[i]!
    return { packets: count.reduce((sum, n) => sum + n), fates, rows: summary?.rows() ?? null }
  } finally {
    progress?.end()
    capture.close()
    files.discard()
  }
}
