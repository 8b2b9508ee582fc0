// One emulated host fed from captured frames, in their time. Replay drives one, a comparison two of the same frames.
//
//     source ─ link header ─ slot of frame memory ─ engine ─ egress
//        └─ time ─ host.now, host.wall, timers

import type { Device } from '../../datapath/devices.ts'
import { Fate } from '../../datapath/fate.ts'
import { Packet } from '../../datapath/packet.ts'
import { knownLinkType, LinkHeader } from '../../datapath/ports/link.ts'
import { type CaptureInterface, LinkType } from '../../datapath/ports/pcap.ts'
import { type FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import type { Engine } from '../engine.ts'
import { CommandError, ExitCode, PlaceError } from '../errors.ts'

/** Where frames come from, one at a time: a CaptureReader is one. */
export interface FrameSource {
  readonly interfaces: readonly CaptureInterface[]
  /** The frame is bytes[at, at + length); `words` are those of the same buffer. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly words: Int32Array<ArrayBuffer>
  readonly view: DataView<ArrayBuffer>
  readonly at: number
  readonly length: number
  /** Bytes on the wire. */
  readonly originalLength: number
  /** Index into `interfaces`. */
  readonly interface: number
  /** Time stamp: seconds since 1970 and nanoseconds in it. */
  readonly seconds: number
  readonly nanos: number
  /** Place of the frame for messages: number of its block, offset in the file of what follows. */
  readonly block: number
  readonly offset: number
}

/** Whoever stamps what leaves: the time of the packet, or of the timer, that caused it. */
export interface Stamped {
  seconds: number
  nanos: number
}

/** Slots of frame memory: a packet, its answers and its pieces; fragments that wait are not kept in slots. */
export const SLOTS = 512
export const MAX_FRAME = 65535
/** host.now at the first packet: the host has been up for a while, so that no time stamp looks like "never". */
const UPTIME_MS = 3_600_000
/** Timers run at least this often in capture time, so that what they send has about the right time. */
const TIMER_STEP_MS = 100
/** After a gap longer than this nothing is left that a timer could send. */
const TIMER_GAP_MS = 600_000

/** Up to here a loop copies faster than a call. */
const LOOP_BYTES = 512

/** Frames of one capture interface, as the host sees them. */
interface Ingress {
  readonly linkType: number
  /** Null: LINUX_SLL2 says for each packet. */
  readonly device: Device | null
  readonly mac: Uint8Array | null
}

export interface PlayerOptions {
  readonly engine: Engine
  readonly source: FrameSource
  /** Name of the source, for messages. */
  readonly file: string
  /** Where frames arrive, whatever the source says; null: as it says. */
  readonly iface: string | null
  readonly stamped: Stamped
}

export class Player {
  /** The packet's interface; null: it has not been found out. */
  device: Device | null = null
  /** The one packet that all frames of the source become in turn. */
  readonly packet = new Packet()
  readonly engine: Engine
  /** Bytes of the packet as it came, from the network header on; of the frame if that was not found. */
  length = 0
  /** Called when timers have run. */
  onTimers: (() => void) | null = null
  readonly #source: FrameSource
  readonly #file: string
  readonly #iface: string | null
  readonly #stamped: Stamped
  readonly #link = new LinkHeader()
  readonly #ingress: Ingress[] = []
  /** MAC addresses of the host's interfaces, by ifindex. */
  readonly #macs: (Uint8Array | undefined)[] = []
  readonly #words: Int32Array
  #start = Number.NaN
  #nextTimer = 0
  /** Why link layer or driver refused the packet; null: the path has said. */
  #refusal: string | null = null

  constructor({ engine, source, file, iface, stamped }: PlayerOptions) {
    this.engine = engine
    this.#source = source
    this.#file = file
    this.#iface = iface
    this.#stamped = stamped
    this.#words = new Int32Array(engine.host.memory.buffer)
    for (const { index, mac } of engine.config.interfaces)
      if (mac !== null)
        this.#macs[index] = Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16))
    const known = engine.host.devices.all().map((device) => device.name)
    if (iface !== null && !known.includes(iface))
      throw new CommandError(
        `--iface ${iface}: expected an interface of the host: ${known.join(', ')}`,
        ExitCode.Unusable,
      )
  }

  /** Why link layer or driver refused the packet; null: it has come to the path. */
  get refusal(): string | null {
    return this.#refusal
  }

  /** Why the packet's fate is what it is, in the report's words. */
  get reason(): string {
    return this.#refusal ?? this.engine.host.path.reason
  }

  /** The packet that receive() sent in last, from its IP header on; a copy. */
  frame(): Uint8Array {
    const { bytes, at, length } = this.#source
    return bytes.slice(Math.min(this.#link.l3, at + length), at + length)
  }

  /** Sets the host's clock to the packet's time, which never goes back, and lets timers run on the way there. */
  setClock(): void {
    const { host } = this.engine
    const { seconds, nanos } = this.#source
    const stamped = this.#stamped
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
    stamped.seconds = seconds
    stamped.nanos = nanos
  }

  #runTimers(now: number): void {
    const { host } = this.engine
    const stamped = this.#stamped
    let at = this.#nextTimer
    let steps = 0
    while (at <= now) {
      host.now = at
      host.wall = this.#start * 1000 + (at - UPTIME_MS)
      stamped.seconds = Math.floor(host.wall / 1000)
      stamped.nanos = Math.round((host.wall - stamped.seconds * 1000) * 1e6) % 1e9
      while (this.engine.tick());
      at += TIMER_STEP_MS
      if (++steps * TIMER_STEP_MS > TIMER_GAP_MS && at < now) at = now
    }
    this.#nextTimer = at
    this.onTimers?.()
  }

  /** Hot: sends in the frame that the source stands on. `mark`: as if something before the tables had set it. */
  receive(mark = 0): Fate {
    const source = this.#source
    const link = this.#link
    const { host } = this.engine
    const ingress = this.#ingress[source.interface] ?? this.#describe(source.interface)
    this.device = ingress.device
    this.length = source.length
    this.#refusal = link.decode(
      ingress.linkType,
      source.bytes,
      source.view,
      source.at,
      source.length,
      ingress.mac,
    )
    let device = ingress.device ?? this.#deviceOf(link.ifindex)
    this.device = device
    if (this.#refusal !== null) return Fate.Dropped
    if (link.vlan > 0) {
      // A tagged frame is for the VLAN interface on top; without one nobody takes it (vlan_do_receive).
      const tagged = host.devices.byName(`${device.name}.${link.vlan}`)
      if (tagged === undefined) return this.#refuse('vlan')
      this.device = device = tagged
    }
    if (!device.up) return this.#refuse('device-down')
    const l3 = link.l3
    const length = source.at + source.length - l3
    this.length = length
    const version = source.bytes[l3]! >> 4
    if (link.family !== 0 && version !== link.family) return this.#refuse('bad-header')
    if (length > MAX_FRAME) return this.#refuse('too-long')
    if (source.originalLength > source.length && ipLength(source, l3, version) > length)
      return this.#refuse('snap-length')

    const { memory } = host
    const slot = memory.take()
    if (slot < 0) return this.#refuse('no-memory')
    const to = slot + HEADROOM
    this.#copy(memory, to, l3, length)
    const pkt = this.packet
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = to
    pkt.end = to + length
    pkt.pktType = link.pktType
    pkt.mark = mark
    return host.path.receive(pkt, device)
  }

  #copy(memory: FrameMemory, to: number, from: number, length: number): void {
    const { bytes, words } = this.#source
    if (length > LOOP_BYTES) memory.bytes.set(bytes.subarray(from, from + length), to)
    else if (((from | to) & 3) === 0) {
      // Up to three bytes more than there are: headroom before, tail room behind are nobody's.
      const end = (from + length + 3) >> 2
      const out = this.#words
      for (let i = from >> 2, j = to >> 2; i < end; i++, j++) out[j] = words[i]!
    } else for (let i = 0; i < length; i++) memory.bytes[to + i] = bytes[from + i]!
  }

  #refuse(reason: string): Fate {
    this.#refusal = reason
    return Fate.Dropped
  }

  #mistake(reason: string): never {
    throw new PlaceError(reason, {
      file: this.#file,
      line: this.#source.block,
      column: this.#source.offset + 1,
    })
  }

  /** First packet of a capture interface: finds the host's. */
  #describe(index: number): Ingress {
    const { name, linkType } = this.#source.interfaces[index]!
    const { devices } = this.engine.host
    if (!knownLinkType(linkType))
      this.#mistake(
        `link type ${linkType} of interface ${name ?? index} is none that holds IP: see docs/replay.md`,
      )
    const wanted = this.#iface ?? name
    // A capture of "any" (LINUX_SLL2) says with each packet which interface it was.
    const each = this.#iface === null && linkType === LinkType.LinuxSll2 && (name === null || name === 'any')
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
      this.engine.host.devices.byIndex[ifindex] ??
      this.#mistake(`interface number ${ifindex} is none of the host's`)
    )
  }
}

/** Bytes of the packet as its header says; more than there are: the capture cut it. */
function ipLength(source: FrameSource, l3: number, version: number): number {
  const left = source.at + source.length - l3
  if (version === 4) return left >= 4 ? source.view.getUint16(l3 + 2) : 20
  if (version === 6) return left >= 6 ? 40 + source.view.getUint16(l3 + 4) : 40
  return 0
}
