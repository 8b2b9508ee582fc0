// Conversations through the host. Each one has two ends; what the far end knows (addresses and ports after
// translation) it learned from frames that the host really sent, so its replies are right whatever the rules
// did. Ports drawn at random are repeated by reference (scenario.ts), so that another run can fill in its own.

import { harmless } from './extension-headers.ts'
import type { SeededRandom } from './frames.ts'
import * as build from './frames.ts'
import type { Peer, World } from './generate-world.ts'
import { type Headers, headersOf, ICMP, ICMPV6, isIcmp, TCP, UDP, u16, u32 } from './headers.ts'
import type { Reference, StepRun } from './scenario.ts'

/** What a conversation may do to the world. */
export interface Wire {
  readonly world: World
  readonly random: SeededRandom
  /** Sends a frame in at an interface, perhaps in fragments. */
  send(dev: string, frame: Uint8Array, note: string, references?: readonly Reference[]): Promise<StepRun>
  /** A fresh IP identification. */
  id(): number
  /** One frame in so many of IPv6 has extension headers. */
  readonly headersOnceIn: number
}

/** Where an end stands: its packets go in at `dev`, from `local` to `remote`. */
export interface View {
  readonly dev: string
  readonly local: { readonly address: string; readonly port: number }
  readonly remote: { readonly address: string; readonly port: number }
  /** The answer from which it was learned, if a port in it was changed on the way. */
  readonly learned: { readonly step: number; readonly answer: number; readonly l4: number } | null
}

/** Headers with what follows them, if it is the begin of a message. */
function whole(frame: Uint8Array): Headers | null {
  const h = headersOf(frame)
  // Of IPv4 no fragment at all, of IPv6 one that is the whole message is one.
  if (h === null || (h.fragment !== null && (h.family === 4 || h.fragment.more || h.fragment.offset > 0)))
    return null
  return frame.length >= h.l4 + 8 ? h : null
}

/** Is `out` what became of `went` on its way through? */
function sameMessage(went: Uint8Array, out: Uint8Array): boolean {
  const x = whole(went)
  const y = whole(out)
  if (x === null || y === null || x.family !== y.family || x.protocol !== y.protocol) return false
  const a = x.l4
  const b = y.l4
  // IPv6 has no identification: length and first bytes say it, of what NAT leaves alone.
  const alike = x.family === 4 ? u16(went, 4) === u16(out, 4) : went.length - a === out.length - b
  switch (x.protocol) {
    case TCP:
      return u32(went, a + 4) === u32(out, b + 4) && went[a + 13] === out[b + 13]
    case ICMP:
    case ICMPV6:
      return went[a] === out[b] && u16(went, a + 6) === u16(out, b + 6)
    case UDP:
      return u16(went, a + 4) === u16(out, b + 4) && alike
  }
  return alike
}

/** The far end's view, learned from the answers to `went`; null when it did not get through. `same`: what came of it. */
export function learn(went: Uint8Array, run: StepRun, same = sameMessage): View | null {
  const answer = run.sent.findIndex((s) => same(went, s.bytes))
  if (answer < 0) return null
  const { dev, bytes } = run.sent[answer]!
  const { l4, protocol, src, dst } = headersOf(bytes)!
  const icmp = isIcmp(protocol)
  const from = icmp ? u16(bytes, l4 + 4) : u16(bytes, l4)
  const to = icmp ? from : u16(bytes, l4 + 2)
  const a = headersOf(went)!.l4
  const changed = icmp ? u16(went, a + 4) !== from : u16(went, a) !== from || u16(went, a + 2) !== to
  return {
    dev,
    local: { address: dst, port: to },
    remote: { address: src, port: from },
    learned: changed ? { step: run.id, answer, l4 } : null,
  }
}

/** References of a frame from `view`. */
export function referencesOf(frame: Uint8Array, view: View): Reference[] {
  const h = headersOf(frame)
  if (view.learned === null || h === null) return []
  const { step, answer, l4 } = view.learned
  const at = h.l4
  switch (h.protocol) {
    case ICMP:
    case ICMPV6:
      return [{ at: at + 4, step, answer, from: l4 + 4 }]
    case TCP:
    case UDP:
    case UDPLITE:
      return [
        { at, step, answer, from: l4 + 2 },
        { at: at + 2, step, answer, from: l4 },
      ]
  }
  return []
}

/** References for the quotation of an answer inside an ICMP error. */
export function quotedReferences(error: Uint8Array, run: StepRun, answer: number): Reference[] {
  const sent = run.sent[answer]!.bytes
  const h = whole(sent)
  if (h === null) return []
  const { l4 } = h
  const base = headersOf(error)!.l4 + 8
  const offsets = isIcmp(h.protocol) ? [4] : [TCP, UDP, UDPLITE].includes(h.protocol) ? [0, 2] : []
  return offsets
    .filter((o) => base + l4 + o + 2 <= error.length)
    .map((o) => ({ at: base + l4 + o, step: run.id, answer, from: l4 + o }))
}

export interface Conversation {
  readonly done: boolean
  /** Sends one packet or so. */
  turn(): Promise<void>
}

const UDPLITE = 136

/** What the IP header says now and then. */
const ipOptions = (w: Wire): Partial<build.Ip> => ({
  id: w.id(),
  df: w.random.once(2),
  ...(w.world.family === 6 && w.random.once(w.headersOnceIn) ? { extensions: harmless(w) } : {}),
  ...(w.world.family === 6 && w.random.once(20) ? { flowLabel: w.random.below(1 << 20) } : {}),
  ...(w.random.once(12) ? { ttl: w.random.pick([1, 2, 3, 128, 255]) } : {}),
  ...(w.random.once(12) ? { tos: w.random.pick([0x10, 0x08, 0xb8, 0x03, 0x02, 0x20, 0xff]) } : {}),
})

/** Somebody to talk to: a peer behind another interface, a virtual address, the host. */
export function destination(world: World, random: SeededRandom, from: Peer): string {
  switch (random.below(12)) {
    case 0:
    case 1:
      return random.pick(world.own)
    case 2:
    case 3:
      return random.pick(world.virtual)
    case 4:
      return random.once(3) && world.refused.length > 0
        ? random.pick(world.refused)
        : random.pick(world.peers).address
  }
  const others = world.peers.filter((p) => p.dev !== from.dev)
  return random.pick(others.length > 0 ? others : world.peers).address
}

function opening(w: Wire): View {
  const from = w.random.pick(w.world.peers)
  const port = (list: readonly number[]): number => (w.random.once(3) ? list[0]! : w.random.pick(list))
  return {
    dev: from.dev,
    local: { address: from.address, port: port(w.world.clientPorts) },
    remote: { address: destination(w.world, w.random, from), port: port(w.world.serverPorts) },
    learned: null,
  }
}

// -- TCP --------------------------------------------------------------------------------------------------------

interface End {
  readonly name: string
  view: View
  /** Next sequence number to send. */
  next: number
  /** Acknowledged to the other end: what it sent and we got. */
  got: number
  window: number
  scale: number
  sack: boolean
  stamps: boolean
  clock: number
  fin: boolean
  last: { flags: string; seq: number; ack: number; payload: number; options: number[] } | null
}

const add = (a: number, b: number): number => (a + b) >>> 0
const be32 = (n: number): number[] => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]

export class TcpConversation implements Conversation {
  readonly #w: Wire
  readonly #a: End
  #b: End | null = null
  #phase: 'start' | 'syn' | 'synack' | 'open' | 'closing' | 'again' | 'done' = 'start'
  #turns = 0
  readonly #rough: boolean

  constructor(wire: Wire, rough: boolean) {
    this.#w = wire
    this.#rough = rough
    this.#a = this.#end('client', opening(wire))
  }

  get done(): boolean {
    return this.#phase === 'done' || this.#turns > 60
  }

  #end(name: string, view: View): End {
    const { random } = this.#w
    return {
      name,
      view,
      next: random.once(4) ? add(0xffffffff, -random.below(2000)) : random.u32(),
      got: 0,
      window: random.pick([65535, 65535, 29200, 1000, 512, 100]),
      scale: random.once(2) ? random.pick([0, 2, 7, 14]) : -1,
      sack: random.once(2),
      stamps: random.once(3),
      clock: random.below(1 << 30),
      fin: false,
      last: null,
    }
  }

  #options(end: End, syn: boolean, sack: boolean): number[] {
    const { random } = this.#w
    const out: number[] = []
    if (syn) {
      if (!random.once(8)) out.push(2, 4, ...be32(random.pick([1460, 1460, 536, 8960, 1200])).slice(2))
      if (end.sack) out.push(4, 2)
      if (end.scale >= 0) out.push(1, 3, 3, end.scale)
    }
    if (end.stamps) out.push(1, 1, 8, 10, ...be32(end.clock++), ...be32(0))
    if (sack && end.sack) {
      const left = add(end.got, random.pick([100, 1000, 5000, 100000]))
      out.push(1, 1, 5, 10, ...be32(left), ...be32(add(left, 1000)))
    }
    if (random.once(30))
      out.push(
        ...random.pick([
          [253, 4, 1, 2],
          [8, 3, 1],
          [2, 0],
          [19, 18],
        ]),
      )
    while (out.length % 4 !== 0) out.push(random.once(2) ? 1 : 0)
    return out.slice(0, 40)
  }

  async #send(
    end: End,
    flags: string,
    o: {
      seq?: number
      ack?: number
      payload?: number
      options?: number[]
      sack?: boolean
      note?: string
      bad?: boolean
      window?: number
    } = {},
  ): Promise<void> {
    const { random } = this.#w
    const syn = flags.includes('S')
    const seq = o.seq ?? end.next
    const ack = flags.includes('A') ? (o.ack ?? end.got) : random.once(20) ? random.u32() : 0
    const options = o.options ?? this.#options(end, syn, o.sack ?? false)
    const payload = o.payload ?? 0
    const frame = build.tcp({
      src: end.view.local.address,
      dst: end.view.remote.address,
      sport: end.view.local.port,
      dport: end.view.remote.port,
      // Set up ECN, echo and answer now and then (RFC 3168).
      flags: flags + random.pick(['', '', '', '', '', '', 'E', 'C', syn ? 'EC' : '']),
      seq,
      ack,
      window: o.window ?? end.window,
      tcpOptions: options,
      payload,
      badChecksum: o.bad ?? false,
      ...ipOptions(this.#w),
    })
    end.last = { flags, seq, ack, payload, options }
    const run = await this.#w.send(
      end.view.dev,
      frame,
      `tcp ${end.name}: ${o.note ?? flags}`,
      referencesOf(frame, end.view),
    )
    const view = learn(frame, run)
    if (end === this.#a && view !== null) {
      if (this.#b === null) this.#b = this.#end('server', view)
      // The same ports again may be another's behind NAT.
      else if (flags === 'S') this.#b.view = view
    }
    const other = end === this.#a ? this.#b : this.#a
    const through = view !== null && other !== null
    if (o.seq === undefined && !o.bad) {
      const length = payload + (syn ? 1 : 0) + (flags.includes('F') ? 1 : 0)
      if (length > 0) end.next = add(end.next, length)
      if (through && (other.got === seq || syn)) other.got = add(seq, length)
    }
    if (flags.includes('F')) end.fin = true
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#turns++
    const a = this.#a
    switch (this.#phase) {
      case 'start':
        this.#phase = 'syn'
        if (random.once(12)) {
          this.#phase = 'open'
          a.got = random.u32()
          return this.#send(a, random.pick(['A', 'PA', 'FA', 'SA', 'RA', 'R']), {
            payload: random.pick([0, 100]),
            note: 'picked up in the middle',
          })
        }
        return this.#send(
          a,
          random.once(10) ? random.pick(['SEC', 'SE', 'SC']) : 'S',
          random.once(20) ? { payload: 30 } : {},
        )
      case 'syn': {
        const b = this.#b
        if (b === null) {
          if (!random.once(4)) this.#phase = 'done'
          return this.#send(a, 'S', { seq: add(a.next, -1), note: 'SYN again' })
        }
        if (this.#rough)
          switch (random.below(14)) {
            case 0:
              return this.#send(a, 'S', { seq: add(a.next, -1), note: 'SYN again' })
            case 1:
              if (random.once(2)) this.#phase = 'done'
              return this.#send(b, 'RA', { seq: 0, note: 'refused' })
            case 2:
              this.#phase = 'synack'
              return this.#send(b, 'S', { note: 'simultaneous open' })
            case 3:
              return this.#send(b, 'A', { seq: random.u32(), ack: random.u32(), note: 'challenge ACK' })
            case 4:
              return this.#send(b, 'SA', {
                seq: random.u32(),
                ack: random.u32(),
                note: 'SYN/ACK with a wrong acknowledgement',
              })
            case 5:
              return this.#send(a, 'S', { seq: random.u32(), note: 'another SYN' })
            case 6:
              return this.#send(a, random.pick(['A', 'PA', 'F', 'R']), { note: 'too early' })
          }
        this.#phase = 'synack'
        return this.#send(b, 'SA')
      }
      case 'synack':
        if (this.#rough)
          switch (random.below(8)) {
            case 0:
              return this.#send(this.#b!, 'SA', { seq: add(this.#b!.next, -1), note: 'SYN/ACK again' })
            case 1:
              return this.#send(a, 'A', { ack: random.u32(), note: 'wrong acknowledgement' })
            case 2:
              return this.#send(a, 'SA', { seq: add(a.next, -1), note: 'simultaneous open' })
          }
        this.#phase = 'open'
        return this.#send(a, 'A', random.once(4) ? { payload: 200 } : {})
      case 'again': {
        const b = this.#b
        this.#phase = b === null ? 'syn' : random.pick(['syn', 'syn', 'again', 'done'])
        // He who was called may call back.
        if (b === null || !random.once(4)) return this.#send(a, 'S', { note: 'the same ports again' })
        this.#phase = 'open'
        await this.#send(b, 'S', { note: 'calls back' })
        return this.#send(a, 'SA')
      }
      case 'open':
      case 'closing':
        return this.#open()
      case 'done':
    }
  }

  /** The end; or the same ports are used again, with the numbers of another connection, by either side. */
  #over(): void {
    const { random } = this.#w
    this.#phase = 'done'
    if (!random.once(3)) return
    this.#phase = 'again'
    for (const end of [this.#a, this.#b])
      if (end !== null) {
        end.next = random.once(2) ? random.u32() : add(end.next, random.pick([1, 1000, 100_000, -70_000]))
        end.fin = false
      }
  }

  async #open(): Promise<void> {
    const { random } = this.#w
    const a = this.#a
    const end = this.#b !== null && random.once(2) ? this.#b : a
    const other = end === a ? this.#b : a
    if (this.#phase === 'closing' && a.fin && (this.#b?.fin ?? true) && random.once(3)) {
      if (random.once(3))
        return this.#send(a, 'S', {
          seq: add(a.next, random.pick([1000, 100000, -70000])),
          note: 'reuses the ports',
        })
      this.#over()
      return this.#send(end, 'A')
    }
    if (this.#rough && random.once(3)) return this.#trouble(end, other)
    switch (random.below(this.#turns > 12 ? 6 : 12)) {
      case 0:
        if (!end.fin) {
          this.#phase = 'closing'
          return this.#send(end, 'FA', random.once(4) ? { payload: 10 } : {})
        }
        return this.#send(end, 'A')
      case 1:
        return this.#send(end, 'A', { sack: true })
      case 2:
        if (this.#turns > 20) {
          this.#over()
          return this.#send(end, random.once(2) ? 'R' : 'RA', { note: 'reset' })
        }
        return this.#send(end, 'A')
      case 3:
        return this.#send(end, 'A')
      default:
        return this.#send(end, random.once(2) ? 'PA' : 'A', {
          payload: random.pick([1, 10, 100, 536, 1000, 1448, 1460, random.below(1400)]),
        })
    }
  }

  async #trouble(end: End, other: End | null): Promise<void> {
    const { random } = this.#w
    const near = (): number =>
      random.pick([
        1,
        -1,
        100,
        -100,
        1000,
        -1000,
        65535,
        -65536,
        70000,
        -70000,
        1 << 20,
        -(1 << 20),
        0x7fffffff,
      ])
    switch (random.below(16)) {
      case 0:
        if (end.last !== null) return this.#send(end, end.last.flags, { ...end.last, note: 'retransmitted' })
        break
      case 1:
        return this.#send(end, 'A', {
          seq: add(end.next, near()),
          payload: random.pick([0, 1, 500]),
          note: 'sequence out of place',
        })
      case 2:
        return this.#send(end, 'A', {
          ack: add(end.got, near()),
          seq: end.next,
          note: 'acknowledgement out of place',
        })
      case 3:
        return this.#send(end, random.pick(['R', 'RA']), {
          seq: add(end.next, near()),
          note: 'reset out of place',
        })
      case 4:
        if (other !== null) return this.#send(end, 'R', { seq: other.got, note: 'reset, exact' })
        break
      case 5:
        return this.#send(end, 'A', { seq: add(end.next, -1), payload: random.below(2), note: 'keep-alive' })
      case 6:
        return this.#send(
          end,
          random.pick(['', 'FPU', 'SF', 'SR', 'FSRPAUEC', 'SFA', 'U', 'P', 'F', 'FR', 'SRA']),
          { seq: random.once(2) ? end.next : random.u32(), note: 'odd flags' },
        )
      case 7:
        return this.#send(end, 'PA', { bad: true, payload: 10, note: 'bad checksum' })
      case 8:
        end.window = random.pick([0, 1, 100, 65535, 5000])
        return this.#send(end, 'A', { note: 'window' })
      case 9:
        return this.#send(end, 'S', {
          seq: random.once(2) ? random.u32() : add(end.next, near()),
          note: 'SYN inside',
        })
      case 10:
        return this.#send(end, 'SA', {
          seq: random.once(2) ? random.u32() : add(end.next, near()),
          note: 'SYN/ACK inside',
        })
      case 11:
        return this.#send(end, 'PAU', { payload: 20 })
      case 12:
        return this.#send(end, 'A', { seq: end.next, ack: add(end.got, 0), note: 'the same ACK' })
      case 13:
        return this.#send(end, 'A', {
          seq: add(end.next, random.pick([500, 1460, 3000, 20000])),
          payload: 500,
          note: 'a hole',
        })
      case 14:
        if (random.once(3)) {
          this.#over()
          return this.#send(end, 'R', { note: 'reset' })
        }
        break
      default:
        return this.#send(end, 'A', {
          seq: add(end.next, -random.below(3000)),
          payload: random.below(1500),
          note: 'partly old data',
        })
    }
    return this.#send(end, 'A')
  }
}

// -- UDP, ICMP echo, others -------------------------------------------------------------------------------------

export class UdpConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  #b: View | null = null
  #left: number

  constructor(wire: Wire) {
    this.#w = wire
    this.#a = opening(wire)
    this.#left = 1 + wire.random.below(10)
  }

  get done(): boolean {
    return this.#left <= 0
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#left--
    const view = this.#b !== null && random.once(2) ? this.#b : this.#a
    const frame = build.udp({
      src: view.local.address,
      dst: view.remote.address,
      sport: view.local.port,
      dport: view.remote.port,
      payload: random.once(8)
        ? random.pick(['GET /index.html', 'get /INDEX.HTML', 'a'.repeat(600)])
        : random.pick([0, 1, 12, 100, 500, 1200, 1472, random.below(1600)]),
      noChecksum: random.once(10),
      badChecksum: random.once(16),
      ...ipOptions(this.#w),
    })
    const run = await this.#w.send(
      view.dev,
      frame,
      view === this.#a ? 'udp client' : 'udp server',
      referencesOf(frame, view),
    )
    if (view === this.#a) this.#b = learn(frame, run) ?? this.#b
  }
}

export class EchoConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  #b: View | null = null
  #left: number
  #seq = 0
  readonly #id: number

  constructor(wire: Wire) {
    this.#w = wire
    this.#id = wire.random.pick([1, 77, 1000, 0, 0xffff, wire.random.below(65536)])
    const view = opening(wire)
    this.#a = {
      ...view,
      local: { ...view.local, port: this.#id },
      remote: { ...view.remote, port: this.#id },
    }
    this.#left = 1 + wire.random.below(6)
  }

  get done(): boolean {
    return this.#left <= 0
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#left--
    const reply = this.#b !== null && random.once(2)
    const view = reply ? this.#b! : this.#a
    const frame = build.icmp({
      src: view.local.address,
      dst: view.remote.address,
      type: this.#w.world.family === 6 ? (reply ? 129 : 128) : reply ? 0 : 8,
      code: random.once(16) ? 3 : 0,
      echoId: view.remote.port,
      seq: reply ? this.#seq : ++this.#seq,
      payload: random.pick([0, 8, 56, 56, 1000, 1472, random.below(1600)]),
      badChecksum: random.once(16),
      ...ipOptions(this.#w),
    })
    const run = await this.#w.send(
      view.dev,
      frame,
      reply ? 'echo reply' : 'echo request',
      referencesOf(frame, view),
    )
    if (!reply) this.#b = learn(frame, run) ?? this.#b
  }
}

/**
 * The checksum as udplite_error() of Linux wants it: over a pseudo header that says UDP. With the right one, every
 * UDP-Lite packet is INVALID.
 */
function likeUdp(frame: Uint8Array): void {
  const at = headersOf(frame)!.l4 + 6
  // ~sum grows by what the pseudo header loses.
  const check = u16(frame, at) + (136 - 17)
  const folded = (check & 0xffff) + (check >>> 16)
  frame[at] = folded >>> 8
  frame[at + 1] = folded & 0xff
}

/** Chunks of SCTP as bytes: type, flags, value. Padded to four bytes, as they must be. */
function chunk(type: number, flags: number, value: readonly number[] = []): number[] {
  const length = 4 + value.length
  return [type, flags, length >> 8, length & 255, ...value, ...Array<number>((4 - (length % 4)) % 4).fill(0)]
}

/** An association in its usual order: who sends, which chunk. Each end's tag is in what the other sends. */
const ASSOCIATION: readonly (readonly ['a' | 'b', number])[] = [
  ['a', 1],
  ['b', 2],
  ['a', 10],
  ['b', 11],
  ['a', 0],
  ['b', 3],
  ['b', 0],
  ['a', 4],
  ['b', 5],
  ['a', 7],
  ['b', 8],
  ['a', 14],
]
const CHUNK_TYPES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 64, 128, 130, 132, 192, 193, 194, 255]

export class SctpConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  #b: View | null = null
  #at = 0
  #turns = 0
  readonly #tags: Record<'a' | 'b', number>

  constructor(wire: Wire) {
    this.#w = wire
    this.#a = opening(wire)
    this.#tags = { a: 1 + wire.random.below(1000), b: 2000 + wire.random.below(1000) }
  }

  get done(): boolean {
    return this.#at >= ASSOCIATION.length || this.#turns > 20
  }

  #chunk(type: number, own: number): number[] {
    const { random } = this.#w
    if (type === 1 || type === 2) return chunk(type, 0, [...be32(own), 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1])
    const flags = type === 0 ? random.pick([3, 3, 7, 2, 1]) : random.once(6) ? 1 : 0
    const size = type === 0 ? 12 + random.pick([1, 4, 100]) : random.pick([0, 4, 8, 12])
    return chunk(type, flags, Array<number>(size).fill(7))
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#turns++
    let [who, type] = ASSOCIATION[this.#at]!
    if (random.once(5)) {
      // Out of turn.
      who = random.pick(['a', 'b'] as const)
      type = random.pick(CHUNK_TYPES)
    } else this.#at += random.once(8) ? 0 : 1
    const view = who === 'a' ? this.#a : this.#b
    if (view === null) return
    // Somebody who was started again has another tag.
    if (type <= 2 && type > 0 && random.once(8)) this.#tags[who] = random.u32()
    const own = this.#tags[who]
    const other = this.#tags[who === 'a' ? 'b' : 'a']
    const chunks = this.#chunk(type, own)
    for (let n = random.pick([0, 0, 0, 1, 2, 6]); n > 0; n--)
      chunks.push(...this.#chunk(random.pick(CHUNK_TYPES), own))
    // A last chunk that says it is longer than it is, or is none.
    if (random.once(16)) chunks.push(...random.pick([[0, 3, 0, 200], [6], [0, 0, 0, 0], [3, 0, 0, 3]]))
    const frame = build.sctp({
      src: view.local.address,
      dst: view.remote.address,
      sport: view.local.port,
      dport: view.remote.port,
      vtag:
        type === 1 && !random.once(16)
          ? 0
          : random.once(12)
            ? random.pick([0, own, random.below(4000)])
            : other,
      chunks,
      badChecksum: random.once(20),
      ...ipOptions(this.#w),
    })
    const run = await this.#w.send(view.dev, frame, `sctp ${who}: chunk ${type}`)
    if (view === this.#a) this.#b = learn(frame, run) ?? this.#b
  }
}

/** Bytes behind the first 16 of a DCCP header, by type. */
const DCCP_HEADERS = [4, 12, 0, 8, 8, 8, 8, 12, 8, 8]
const DCCP_OPTIONS = [
  [2, 1, 32, 3, 9],
  [32, 4, 1, 41],
  [41, 2, 3, 3],
]

/** A protocol without ports, both ways; or with ports that this host does not track by. */
export class OtherConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  readonly #kind: 'gre' | 'dccp' | 'udplite' | 'ah' | 'esp' | 'ipcomp' | 'mobility' | 'raw'
  readonly #protocol: number
  #b: View | null = null
  #left: number

  constructor(wire: Wire) {
    this.#w = wire
    this.#a = opening(wire)
    this.#left = 1 + wire.random.below(4)
    const last = wire.world.family === 6 ? 'mobility' : 'raw'
    this.#kind = wire.random.pick(['gre', 'udplite', 'dccp', 'dccp', 'ah', 'esp', 'ipcomp', 'raw', last])
    this.#protocol = wire.random.pick([50, 51, 4, 89, 103, 108, 2, 255, 0, 200, 33])
  }

  get done(): boolean {
    return this.#left <= 0
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#left--
    const view = this.#b !== null && random.once(2) ? this.#b : this.#a
    const head = { src: view.local.address, dst: view.remote.address, ...ipOptions(this.#w) }
    const ports = { sport: view.local.port, dport: view.remote.port }
    const spi = random.pick([1, 2, 255, 256, 4096, 0xffffffff])
    const raw = (proto: number, bytes: readonly number[]): Uint8Array =>
      build.ip({
        ...head,
        proto,
        // Whole, or cut just where the header ends.
        payload: random.once(6) ? bytes.slice(0, random.pick([bytes.length - 1, 4, 8, 11, 12])) : bytes,
      })
    let frame: Uint8Array
    switch (this.#kind) {
      case 'gre':
        frame = random.once(3)
          ? raw(47, [
              ...random.pick([
                [0x30, 0x01],
                [0x30, 0x81],
                [0x20, 0x01],
                [0x00, 0x01],
                [0x20, 0x02],
              ]),
              ...[0x88, 0x0b, 0, 4],
              ...be32(random.pick([1, 7, 0xffff])).slice(2),
              ...be32(random.below(9)),
              ...[0xff, 3, 0, 0x21],
            ])
          : build.gre({ ...head, payload: 40, ...(random.once(3) ? { key: random.pick([7, 0x70000]) } : {}) })
        break
      case 'udplite':
        frame = build.udplite({ ...head, ...ports, payload: 30, coverage: random.pick([0, 8, 20]) })
        if (random.once(2)) likeUdp(frame)
        break
      case 'dccp': {
        frame = build.dccp({
          ...head,
          ...ports,
          type: random.below(12),
          payload: random.pick([0, 4, 8, 12, 20, 24]),
        })
        const at = headersOf(frame)!.l4
        // Options: some behind the header of the type, whose words the offset counts; the rest is data.
        if (!random.once(4)) {
          const type = (frame[at + 8]! >> 1) & 15
          const options = at + 16 + (random.once(4) ? 4 : (DCCP_HEADERS[type] ?? 0))
          frame[at + 4] = random.once(3) ? random.pick([3, 4, 5, 6, 7, 10, 60]) : (options - at) / 4 + 1
          const written = random.pick(DCCP_OPTIONS)
          if (options < frame.length) frame.set(written.slice(0, frame.length - options), options)
        }
        break
      }
      case 'ah':
        // Of IPv6 it is an extension header: no next header follows it.
        frame = raw(51, [
          this.#w.world.family === 6 ? 59 : 6,
          4,
          0,
          0,
          ...be32(spi),
          ...be32(1),
          ...Array<number>(12).fill(3),
          1,
          2,
          3,
          4,
        ])
        break
      case 'esp':
        frame = raw(50, [...be32(spi), ...be32(1), 9, 9, 9, 9])
        break
      case 'mobility':
        // RFC 6275: no next header, its length, type, reserved, checksum, data.
        frame = raw(135, [59, 1, random.below(24), 0, 0, 0, ...Array<number>(10).fill(0)])
        break
      case 'ipcomp':
        frame = raw(108, [4, 0, ...be32(spi).slice(2), 1, 2, 3])
        break
      default:
        frame = build.ip({ ...head, proto: this.#protocol, payload: random.pick([0, 4, 20, 60]) })
    }
    const run = await this.#w.send(view.dev, frame, this.#kind, referencesOf(frame, view))
    if (view === this.#a) this.#b = learn(frame, run) ?? this.#b
  }
}

/** A file asked for by TFTP, and sent from another port, which only a helper can know. */
export class TftpConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  #b: View | null = null
  #turns = 0

  constructor(wire: Wire) {
    this.#w = wire
    const view = opening(wire)
    this.#a = { ...view, remote: { ...view.remote, port: 69 } }
  }

  get done(): boolean {
    return this.#turns > 3
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#turns++
    const view = this.#b ?? this.#a
    const server = this.#b !== null
    const frame = build.udp({
      src: view.local.address,
      dst: view.remote.address,
      sport: server ? random.pick([69, 3000, 3000, 3001]) : view.local.port,
      dport: view.remote.port,
      payload: server ? '\0\x03\0\x01data' : '\0\x01file\0octet\0',
      ...ipOptions(this.#w),
    })
    const run = await this.#w.send(view.dev, frame, server ? 'tftp data' : 'tftp request', [])
    if (!server) this.#b = learn(frame, run)
  }
}
