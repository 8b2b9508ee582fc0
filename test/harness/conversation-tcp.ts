// TCP connections: handshakes, data, options and ends, with what goes wrong between them.

import {
  be32,
  type Conversation,
  ipOptions,
  learn,
  opening,
  referencesOf,
  type View,
  type Wire,
} from './conversation.ts'
import * as build from './frames.ts'

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
