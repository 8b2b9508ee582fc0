// What conversations that helpers read are made of: one TCP connection or exchange of datagrams, whose ends follow what
// really arrives, whatever the host made of it.

import { type Conversation, destination, learn, referencesOf, type View, type Wire } from './conversation.ts'
import * as build from './frames.ts'
import { headersOf, TCP, UDP, u16, u32 } from './headers.ts'
import type { StepRun } from './scenario.ts'

const add = (a: number, b: number): number => (a + b) >>> 0

/** Ports that the rules of the profile give helpers to. */
export const HELPER_PORTS = {
  ftp: 21,
  irc: 6667,
  sane: 6566,
  tftp: 69,
  amanda: 10080,
  'netbios-ns': 137,
  snmp: 161,
  snmp_trap: 162,
  pptp: 1723,
  sip: 5060,
  'Q.931': 1720,
  RAS: 1719,
} as const

/** A conversation written down in order: each `yield` gives the wire to others. */
export abstract class Scripted implements Conversation {
  protected readonly w: Wire
  readonly #script: AsyncGenerator<void, void>
  done = false

  constructor(wire: Wire) {
    this.w = wire
    this.#script = this.script()
  }

  async turn(): Promise<void> {
    if ((await this.#script.next()).done === true) this.done = true
  }

  protected abstract script(): AsyncGenerator<void, void>
}

/** Who begins, and with whom. */
export function talkers(w: Wire, port: number): View {
  const { world, random } = w
  const from = random.pick(world.peers)
  return {
    dev: from.dev,
    local: { address: from.address, port: random.pick(world.clientPorts) },
    remote: {
      address: destination(world, random, from),
      port: random.once(8) ? random.pick([2121, ...world.serverPorts]) : port,
    },
    learned: null,
  }
}

export interface TcpEnd {
  readonly name: string
  readonly view: View
  next: number
  /** Behind the last byte that came in order. */
  got: number
  window: number
  readonly scale: number
}

/** The text that `end` got in this run, '' if nothing. Moves `got`. */
function arrived(run: StepRun, end: TcpEnd): Uint8Array | null {
  const { local, remote } = end.view
  for (const { bytes } of run.sent) {
    const h = headersOf(bytes)
    if (bytes.length < 40 || h?.protocol !== TCP || (h.fragment !== null && h.fragment.offset > 0)) continue
    const { l4, src, dst } = h
    if (dst !== local.address || u16(bytes, l4 + 2) !== local.port) continue
    if (src !== remote.address || u16(bytes, l4) !== remote.port) continue
    const data = bytes.subarray(l4 + (bytes[l4 + 12]! >> 4) * 4)
    const flags = bytes[l4 + 13]!
    const length = data.length + (flags & 2 ? 1 : 0) + (flags & 1 ? 1 : 0)
    const seq = u32(bytes, l4 + 4)
    if ((flags & 2) !== 0 || ((add(seq, length) - end.got) | 0) > 0) end.got = add(seq, length)
    return data
  }
  return null
}

/** One TCP connection whose ends follow what really arrives. */
export class TcpSession {
  readonly #w: Wire
  readonly a: TcpEnd
  b: TcpEnd | null = null
  /** Nothing goes wrong on purpose. */
  readonly smooth: boolean

  constructor(w: Wire, view: View, smooth: boolean) {
    this.#w = w
    this.smooth = smooth
    this.a = this.#end('client', view)
  }

  #end(name: string, view: View): TcpEnd {
    const { random } = this.#w
    return {
      name,
      view,
      next: random.once(6) ? add(0xffffffff, -random.below(100)) : random.u32(),
      got: 0,
      window: this.smooth ? 65535 : random.pick([65535, 65535, 29200, 512, 100]),
      scale: random.once(2) ? random.pick([0, 2, 7]) : -1,
    }
  }

  other(end: TcpEnd): TcpEnd | null {
    return end === this.a ? this.b : this.a
  }

  async send(
    end: TcpEnd,
    flags: string,
    payload: Uint8Array | string = '',
    o: { seq?: number; note?: string; bad?: boolean; ack?: number; sack?: number } = {},
  ): Promise<Uint8Array | null> {
    const { random } = this.#w
    const data = build.payload(payload)
    const syn = flags.includes('S')
    const options: number[] = []
    if (syn) {
      options.push(2, 4, 5, 180)
      if (random.once(2)) options.push(4, 2)
      if (end.scale >= 0) options.push(1, 3, 3, end.scale)
    } else if (o.sack !== undefined) {
      const left = add(end.got, o.sack)
      const right = add(left, 50)
      options.push(1, 1, 5, 10)
      for (const n of [left, right]) options.push(n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255)
    }
    while (options.length % 4 !== 0) options.push(1)
    const frame = build.tcp({
      src: end.view.local.address,
      dst: end.view.remote.address,
      sport: end.view.local.port,
      dport: end.view.remote.port,
      flags,
      seq: o.seq ?? end.next,
      ack: flags.includes('A') ? (o.ack ?? end.got) : 0,
      window: end.window,
      tcpOptions: options,
      payload: data,
      badChecksum: o.bad ?? false,
      id: this.#w.id(),
      df: random.once(2),
    })
    const run = await this.#w.send(
      end.view.dev,
      frame,
      `${end.name}: ${o.note ?? flags}`,
      referencesOf(frame, end.view),
    )
    if (o.seq === undefined && o.bad !== true)
      end.next = add(end.next, data.length + (syn ? 1 : 0) + (flags.includes('F') ? 1 : 0))
    if (end === this.a && this.b === null && syn) {
      const view = learn(frame, run)
      if (view !== null) this.b = this.#end('server', view)
    }
    const to = this.other(end)
    return to === null ? null : arrived(run, to)
  }

  /** The handshake. False: nobody is there. */
  async *open(): AsyncGenerator<void, boolean> {
    await this.send(this.a, 'S')
    yield
    if (this.b === null) return false
    await this.send(this.b, 'SA')
    yield
    await this.send(this.a, 'A')
    yield
    return true
  }

  /** Says a line or so, perhaps badly. What the other end heard, put together. */
  async *say(end: TcpEnd, text: Uint8Array | string, note: string): AsyncGenerator<void, Uint8Array> {
    const { random } = this.#w
    const data = build.payload(text)
    const heard: Uint8Array[] = []
    const hear = (part: Uint8Array | null): void => {
      if (part !== null) heard.push(part)
    }
    const start = end.next
    const kind = this.smooth ? 99 : random.below(24)
    switch (kind) {
      case 0: {
        // In pieces, in order or not.
        const cut = 1 + random.below(Math.max(1, data.length - 1))
        const parts: [number, Uint8Array][] = [
          [start, data.subarray(0, cut)],
          [add(start, cut), data.subarray(cut)],
        ]
        if (random.once(3)) parts.reverse()
        for (const [seq, part] of parts) {
          hear(await this.send(end, 'PA', part, { seq, note: `${note}, in pieces` }))
          yield
        }
        end.next = add(start, data.length)
        break
      }
      case 1:
        hear(await this.send(end, 'PA', data, { bad: true, note: `${note}, wrong checksum` }))
        yield
        hear(await this.send(end, 'PA', data, { note }))
        yield
        break
      case 2:
        hear(await this.send(end, 'PA', data, { note }))
        yield
        hear(await this.send(end, 'PA', data, { seq: start, note: `${note}, again` }))
        yield
        break
      case 3: {
        // A first part, then all of it.
        const cut = 1 + random.below(Math.max(1, data.length - 1))
        hear(await this.send(end, 'PA', data.subarray(0, cut), { seq: start, note: `${note}, cut` }))
        yield
        hear(await this.send(end, 'PA', data, { note }))
        yield
        break
      }
      case 4:
        hear(
          await this.send(end, 'PA', data, {
            seq: add(start, random.pick([-1, 5, 3000])),
            note: `${note}, misplaced`,
          }),
        )
        yield
        hear(await this.send(end, 'PA', data, { note }))
        yield
        break
      case 5:
        end.window = random.pick([0, 10, 100, 65535])
        hear(await this.send(end, 'PA', data, { note }))
        yield
        break
      default:
        hear(await this.send(end, 'PA', data, { note }))
        yield
    }
    const other = this.other(end)
    if (other !== null && !random.once(3)) {
      const sack = random.once(6) ? { sack: random.pick([10, 100]) } : {}
      await this.send(other, 'A', '', { note: 'ACK', ...sack })
      yield
    }
    if (kind === 2 && random.once(2)) {
      hear(await this.send(end, 'PA', data, { seq: start, note: `${note}, again and late` }))
      yield
    }
    return heard.at(-1) ?? new Uint8Array()
  }

  async *close(): AsyncGenerator<void, void> {
    const { random } = this.#w
    const { a, b } = this
    if (b === null || random.once(3)) return
    if (random.once(3)) {
      await this.send(random.pick([a, b]), 'RA')
      yield
      return
    }
    await this.send(a, 'FA')
    yield
    await this.send(b, 'FA')
    yield
    await this.send(a, 'A')
    yield
  }
}

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

/** Somebody connects to what was announced, and a little is said. `dev`: where their packets come in. */
export async function* connectTo(
  w: Wire,
  dev: string,
  from: { address: string; port: number },
  to: { address: string; port: number },
): AsyncGenerator<void, void> {
  const { random } = w
  const session = new TcpSession(w, { dev, local: from, remote: to, learned: null }, !random.once(4))
  const open = yield* session.open()
  if (!open) {
    if (random.once(3)) {
      await session.send(session.a, 'S', '', { seq: add(session.a.next, -1), note: 'SYN again' })
      yield
    }
    return
  }
  yield* session.say(session.a, 'some data', 'data')
  if (random.once(2)) yield* session.say(session.b!, 'other data', 'data')
  yield* session.close()
}

/** Connects as announced, or a little beside it: another port, another source. */
export async function* follow(
  w: Wire,
  end: TcpEnd | { readonly view: View },
  to: { address: string; port: number },
  sport: number | null = null,
): AsyncGenerator<void, void> {
  const { random } = w
  // Commands may announce addresses of the other family.
  if (to.address.includes(':') !== (w.world.family === 6)) return
  const port = sport ?? random.pick([...w.world.clientPorts, 20])
  const target = random.once(12) ? { ...to, port: (to.port + 1) & 0xffff } : to
  const from = random.once(14) ? random.pick(w.world.peers) : { ...end.view.local, dev: end.view.dev }
  yield* connectTo(w, from.dev, { address: from.address, port }, target)
}

// -- UDP --------------------------------------------------------------------------------------------------------

/** Nothing but the datagram itself is one; helpers may have changed its length. */
const isDatagram = (_: Uint8Array, out: Uint8Array): boolean => {
  const h = headersOf(out)
  return h?.protocol === UDP && h.fragment === null && out.length >= h.l4 + 8
}

/** Datagrams both ways; what the far end knows it learned from what arrived. */
export class UdpSession {
  readonly #w: Wire
  readonly a: View
  b: View | null = null

  constructor(w: Wire, view: View) {
    this.#w = w
    this.a = view
  }

  /** The payload as it arrived, null if it did not. */
  async send(
    view: View,
    payload: build.Payload,
    note: string,
    change: { sport?: number; dst?: string } = {},
  ): Promise<{ data: Uint8Array; frame: Uint8Array; run: StepRun; dev: string } | null> {
    const { random } = this.#w
    const frame = build.udp({
      src: view.local.address,
      dst: change.dst ?? view.remote.address,
      sport: change.sport ?? view.local.port,
      dport: view.remote.port,
      payload,
      noChecksum: random.once(12),
      badChecksum: random.once(30),
      id: this.#w.id(),
      df: random.once(2),
    })
    const run = await this.#w.send(
      view.dev,
      frame,
      note,
      change.sport === undefined ? referencesOf(frame, view) : [],
    )
    if (view === this.a && change.sport === undefined) {
      const learned = learn(frame, run, isDatagram)
      if (learned !== null) this.b = learned
    }
    for (const { dev, bytes } of run.sent) {
      const h = headersOf(bytes)
      if (bytes.length >= 28 && h?.protocol === UDP && (h.family === 6 || u16(bytes, 4) === u16(frame, 4)))
        return { data: bytes.subarray(h.l4 + 8), frame: bytes, run, dev }
    }
    return null
  }
}
