// Replay: a capture through an emulated host. Capture time is the clock, the seed is the randomness, so the same
// input gives the same output, byte for byte.
//
//     capture ─ link header ─ slot of frame memory ─ engine ─┬─ out.pcapng
//        └─ time ─ host.now, host.wall, timers               ├─ report, one line for each packet
//                                                            └─ after: tables, conntrack, sets
//
// Files are written beside their names and take them only when all is done: a failure leaves nothing behind.

import type { Device } from '../datapath/devices.ts'
import type { LogRecord } from '../datapath/events.ts'
import { FATE_NAMES, Fate } from '../datapath/fate.ts'
import { Packet } from '../datapath/packet.ts'
import { knownLinkType, LinkHeader } from '../datapath/ports/link.ts'
import {
  CaptureError,
  type CaptureReader,
  CaptureWriter,
  LinkType,
  openCapture,
} from '../datapath/ports/pcap.ts'
import { type Egress, FrameMemory, HEADROOM } from '../datapath/ring.ts'
import { traceLog } from '../rules/targets/trace.ts'
import { afterFiles } from './after.ts'
import { textOf } from './bytes.ts'
import { createEngine, type Engine } from './engine.ts'
import { CommandError, ExitCode, PlaceError, systemReason } from './errors.ts'
import { loadHostFolder } from './host-folder/index.ts'
import { NflogFiles } from './nflog-files.ts'
import { OutputFiles } from './output-files.ts'
import { SeededRandom } from './random.ts'

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
  readonly seed: number
}

export interface ReplaySummary {
  readonly packets: number
  /** Packets by FATE_NAMES, those that occurred. */
  readonly fates: Readonly<Record<string, number>>
}

/** Slots of frame memory: a packet, its answers and its pieces; fragments that wait are not kept in slots. */
const SLOTS = 512
const MAX_FRAME = 65535
/** host.now at the first packet: the host has been up for a while, so that no time stamp looks like "never". */
const UPTIME_MS = 3_600_000
/** Timers run at least this often in capture time, so that what they send has about the right time. */
const TIMER_STEP_MS = 100
/** After a gap longer than this nothing is left that a timer could send. */
const TIMER_GAP_MS = 600_000

/** Runs a capture through a host. Throws PlaceError for unusable input; no file has changed then. */
export function replay(options: ReplayOptions): ReplaySummary {
  const config = loadHostFolder(options.host)
  const memory = new FrameMemory(SLOTS, MAX_FRAME)
  const files = new OutputFiles()
  const egress = new ReplayEgress(memory)
  const engine = createEngine(config, { memory, egress, random: new SeededRandom(options.seed) })
  const known = engine.host.devices.all().map((device) => device.name)
  if (options.iface !== null && !known.includes(options.iface))
    throw new CommandError(
      `--iface ${options.iface}: expected an interface of the host: ${known.join(', ')}`,
      ExitCode.Unusable,
    )
  const capture = open(options.input)
  try {
    const run = new Run(options, engine, capture.reader, egress, files)
    const summary = run.all()
    if (options.after !== null) {
      files.directory(options.after)
      for (const [name, text] of afterFiles(engine)) files.text(`${options.after}/${name}`, text)
    }
    files.commit()
    return summary
  } finally {
    capture.close()
    files.discard()
  }
}

function open(path: string): { readonly reader: CaptureReader; readonly close: () => void } {
  try {
    return openCapture(path)
  } catch (error) {
    if (error instanceof CaptureError) throw captureMistake(path, error)
    throw new PlaceError(`cannot be read: ${systemReason(error)}`, { file: path, line: 1, column: 1 })
  }
}

/** Line: number of the block or record. Column: byte of the file, from 1. */
function captureMistake(file: string, error: CaptureError): PlaceError {
  return new PlaceError(error.message, { file, line: error.block, column: error.offset + 1 })
}

/** Takes what leaves the host: into the capture, with the time of the packet that caused it, and into the report. */
class ReplayEgress implements Egress {
  writer: CaptureWriter | null = null
  seconds = 0
  nanos = 0
  /** Names by ifindex. */
  names: (string | undefined)[] = []
  /** [ifindex, length] pairs of the current packet; null: nobody asks. */
  sent: number[] | null = null
  readonly #memory: FrameMemory
  /** Numbers of the writer's interfaces by ifindex; -1 not described yet. */
  readonly #numbers: number[] = []

  constructor(memory: FrameMemory) {
    this.#memory = memory
  }

  send(dev: number, off: number, len: number, slot: number): void {
    let number = this.#numbers[dev] ?? -1
    if (number < 0) {
      number = this.writer!.interface(this.names[dev] ?? `if${dev}`)
      this.#numbers[dev] = number
    }
    this.writer!.packet(number, this.seconds, this.nanos, this.#memory.bytes, off, len)
    this.sent?.push(dev, len)
    if (slot >= 0) this.#memory.give(slot)
  }

  flush(): void {}
}

/** Frames of one capture interface, as the host sees them. */
interface Ingress {
  readonly linkType: number
  /** Null: LINUX_SLL2 says for each packet. */
  readonly device: Device | null
  readonly mac: Uint8Array | null
}

class Run {
  readonly #options: ReplayOptions
  readonly #engine: Engine
  readonly #reader: CaptureReader
  readonly #egress: ReplayEgress
  readonly #report: Report | null
  #nflog: NflogFiles | null = null
  readonly #link = new LinkHeader()
  readonly #packet = new Packet()
  readonly #ingress: Ingress[] = []
  readonly #fates = new Float64Array(FATE_NAMES.length)
  /** MAC addresses of the host's interfaces, by ifindex. */
  readonly #macs: (Uint8Array | undefined)[] = []
  #packets = 0
  #start = Number.NaN
  #nextTimer = 0
  /** Why link layer or driver refused the packet; null: the path has said. */
  #refusal: string | null = null
  #device: Device | null = null

  constructor(
    options: ReplayOptions,
    engine: Engine,
    reader: CaptureReader,
    egress: ReplayEgress,
    files: OutputFiles,
  ) {
    this.#options = options
    this.#engine = engine
    this.#reader = reader
    this.#egress = egress
    egress.writer = new CaptureWriter(files.bytes(options.output))
    for (const device of engine.host.devices.all()) egress.names[device.index] = device.name
    for (const { index, mac } of engine.config.interfaces)
      if (mac !== null)
        this.#macs[index] = Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16))
    this.#report = options.report === null ? null : new Report(files.bytes(options.report), egress)
    const { host } = engine
    if (this.#report !== null) {
      host.events.log = (record) => this.#report!.log(record)
      host.events.trace = (record) => this.#report!.log(traceLog(record, host))
    }
    const directory = options.nflog ?? null
    if (directory !== null) {
      files.directory(directory)
      this.#nflog = new NflogFiles(host, (name) => files.bytes(`${directory}/${name}`))
    }
  }

  all(): ReplaySummary {
    while (this.#next()) {
      this.#setClock()
      const fate = this.#one()
      this.#fates[fate]!++
      this.#report?.packet(
        this.#packets,
        this.#reader,
        this.#device,
        fate,
        this.#refusal ?? this.#engine.host.path.reason,
      )
      this.#packets++
    }
    this.#egress.writer!.flush()
    this.#report?.flush()
    this.#nflog?.flush()
    const fates: Record<string, number> = {}
    for (const [i, name] of FATE_NAMES.entries()) if (this.#fates[i]! > 0) fates[name] = this.#fates[i]!
    return { packets: this.#packets, fates }
  }

  #next(): boolean {
    try {
      return this.#reader.next()
    } catch (error) {
      if (error instanceof CaptureError) throw captureMistake(this.#options.input, error)
      throw new PlaceError(`cannot be read: ${systemReason(error)}`, {
        file: this.#options.input,
        line: this.#reader.block + 1,
        column: this.#reader.offset + 1,
      })
    }
  }

  /** Sets the host's clock to the packet's time, which never goes back, and lets timers run on the way there. */
  #setClock(): void {
    const { host } = this.#engine
    const { seconds, nanos } = this.#reader
    const egress = this.#egress
    if (Number.isNaN(this.#start)) {
      this.#start = seconds
      host.now = UPTIME_MS + nanos / 1e6
      host.wall = seconds * 1000 + nanos / 1e6
      this.#nextTimer = host.now + TIMER_STEP_MS
    }
    const now = Math.max(UPTIME_MS + (seconds - this.#start) * 1000 + nanos / 1e6, host.now)
    if (now >= this.#nextTimer) this.#runTimers(now)
    host.now = now
    host.wall = this.#start * 1000 + (now - UPTIME_MS)
    egress.seconds = seconds
    egress.nanos = nanos
  }

  #runTimers(now: number): void {
    const { host } = this.#engine
    const egress = this.#egress
    let at = this.#nextTimer
    let steps = 0
    while (at <= now) {
      host.now = at
      host.wall = this.#start * 1000 + (at - UPTIME_MS)
      egress.seconds = Math.floor(host.wall / 1000)
      egress.nanos = Math.round((host.wall - egress.seconds * 1000) * 1e6) % 1e9
      while (this.#engine.tick());
      at += TIMER_STEP_MS
      if (++steps * TIMER_STEP_MS > TIMER_GAP_MS && at < now) at = now
    }
    this.#nextTimer = at
    this.#report?.timers()
  }

  /** Hot: the packet that the reader stands on. */
  #one(): Fate {
    const reader = this.#reader
    const link = this.#link
    const { host } = this.#engine
    const ingress = this.#ingress[reader.interface] ?? this.#describe(reader.interface)
    this.#device = ingress.device
    this.#refusal = link.decode(
      ingress.linkType,
      reader.bytes,
      reader.view,
      reader.at,
      reader.length,
      ingress.mac,
    )
    let device = ingress.device ?? this.#deviceOf(link.ifindex)
    this.#device = device
    if (this.#refusal !== null) return Fate.Dropped
    if (link.vlan > 0) {
      // A tagged frame is for the VLAN interface on top; without one nobody takes it (vlan_do_receive).
      const tagged = host.devices.byName(`${device.name}.${link.vlan}`)
      if (tagged === undefined) return this.#refuse('vlan')
      this.#device = device = tagged
    }
    if (!device.up) return this.#refuse('device-down')
    const l3 = link.l3
    const length = reader.at + reader.length - l3
    const version = reader.bytes[l3]! >> 4
    if (link.family !== 0 && version !== link.family) return this.#refuse('bad-header')
    if (length > MAX_FRAME) return this.#refuse('too-long')
    if (reader.originalLength > reader.length && ipLength(reader, l3, version) > length)
      return this.#refuse('snap-length')

    const { memory } = host
    const slot = memory.take()
    if (slot < 0) return this.#refuse('no-memory')
    const to = slot + HEADROOM
    const { bytes } = memory
    const from = reader.bytes
    if (length > 256) bytes.set(from.subarray(l3, l3 + length), to)
    else for (let i = 0; i < length; i++) bytes[to + i] = from[l3 + i]!
    const pkt = this.#packet
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = to
    pkt.end = to + length
    pkt.pktType = link.pktType
    return host.path.receive(pkt, device)
  }

  #refuse(reason: string): Fate {
    this.#refusal = reason
    return Fate.Dropped
  }

  #mistake(reason: string): never {
    throw new PlaceError(reason, {
      file: this.#options.input,
      line: this.#reader.block,
      column: this.#reader.offset + 1,
    })
  }

  /** First packet of a capture interface: finds the host's. */
  #describe(index: number): Ingress {
    const { name, linkType } = this.#reader.interfaces[index]!
    const { devices } = this.#engine.host
    if (!knownLinkType(linkType))
      this.#mistake(
        `link type ${linkType} of interface ${name ?? index} is none that holds IP: see docs/replay.md`,
      )
    const wanted = this.#options.iface ?? name
    // A capture of "any" (LINUX_SLL2) says with each packet which interface it was.
    const each =
      this.#options.iface === null && linkType === LinkType.LinuxSll2 && (name === null || name === 'any')
    let device: Device | null = null
    if (!each) {
      if (wanted === null) this.#mistake('the capture does not name its interface: say --iface NAME')
      device =
        devices.byName(wanted) ??
        this.#mistake(
          `interface "${wanted}" is none of the host's: ${devices
            .all()
            .map((d) => d.name)
            .join(', ')}`,
        )
    }
    const ingress = { linkType, device, mac: device === null ? null : (this.#macs[device.index] ?? null) }
    this.#ingress[index] = ingress
    return ingress
  }

  #deviceOf(ifindex: number): Device {
    return (
      this.#engine.host.devices.byIndex[ifindex] ??
      this.#mistake(`interface number ${ifindex} is none of the host's`)
    )
  }
}

/** Bytes of the packet as its header says; more than there are: the capture cut it. */
function ipLength(reader: CaptureReader, l3: number, version: number): number {
  const left = reader.at + reader.length - l3
  if (version === 4) return left >= 4 ? reader.view.getUint16(l3 + 2) : 20
  if (version === 6) return left >= 6 ? 40 + reader.view.getUint16(l3 + 4) : 40
  return 0
}

/** The report: one JSON object a line, built as bytes. */
class Report {
  readonly #write: (bytes: Uint8Array, length: number) => void
  readonly #sent: number[] = []
  readonly #bytes = Buffer.allocUnsafe(256 * 1024)
  #at = 0
  /** Names as JSON, by ifindex. */
  readonly #names: string[]
  readonly #reasons = new Map<string, string>()
  /** [ifindex, length] pairs of what timers sent. */
  #timers: number[] = []
  #log: string[] = []

  constructor(write: (bytes: Uint8Array, length: number) => void, egress: ReplayEgress) {
    this.#write = write
    this.#names = egress.names.map((name) => JSON.stringify(name ?? null))
    egress.sent = this.#sent
  }

  log(record: LogRecord): void {
    this.#log.push(textOf(record.text))
  }

  /** What has been sent since the last packet was sent by timers; it goes to the next packet's line. */
  timers(): void {
    if (this.#sent.length > 0) this.#timers.push(...this.#sent.splice(0))
  }

  packet(n: number, reader: CaptureReader, device: Device | null, fate: Fate, reason: string): void {
    if (this.#at > this.#bytes.length / 2) this.flush()
    this.#put('{"n":')
    this.#put(String(n))
    this.#put(',"ts":')
    this.#put(String(reader.seconds))
    this.#nanos(reader.nanos)
    this.#put(',"in":')
    this.#put(device === null ? 'null' : this.#names[device.index]!)
    this.#put(',"verdict":"')
    this.#put(FATE_NAMES[fate]!)
    this.#put('","out":')
    this.#frames(this.#sent)
    this.#sent.length = 0
    let quoted = this.#reasons.get(reason)
    if (quoted === undefined) {
      quoted = JSON.stringify(reason)
      this.#reasons.set(reason, quoted)
    }
    this.#put(',"reason":')
    this.#put(quoted)
    if (this.#timers.length > 0) {
      this.#put(',"timers":')
      this.#frames(this.#timers)
      this.#timers = []
    }
    if (this.#log.length > 0) {
      this.#put(',"log":')
      this.#put(JSON.stringify(this.#log))
      this.#log = []
    }
    this.#put('}\n')
  }

  #frames(pairs: readonly number[]): void {
    this.#put('[')
    for (let i = 0; i < pairs.length; i += 2) {
      this.#put(i > 0 ? ',{"dev":' : '{"dev":')
      this.#put(this.#names[pairs[i]!]!)
      this.#put(',"len":')
      this.#put(String(pairs[i + 1]))
      this.#put('}')
    }
    this.#put(']')
  }

  /** `.` and nine decimals. */
  #nanos(nanos: number): void {
    const bytes = this.#bytes
    bytes[this.#at] = 46
    let rest = nanos
    for (let i = 9; i > 0; i--) {
      bytes[this.#at + i] = 48 + (rest % 10)
      rest = Math.floor(rest / 10)
    }
    this.#at += 10
  }

  #put(text: string): void {
    const bytes = this.#bytes
    if (this.#at + text.length * 3 > bytes.length - 16) {
      this.flush()
      if (text.length * 3 > bytes.length - 16) {
        const long = Buffer.from(text)
        this.#write(long, long.length)
        return
      }
    }
    let at = this.#at
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i)
      if (c > 127) {
        this.#at += bytes.write(text, this.#at)
        return
      }
      bytes[at++] = c
    }
    this.#at = at
  }

  flush(): void {
    if (this.#at > 0) this.#write(this.#bytes, this.#at)
    this.#at = 0
  }
}
