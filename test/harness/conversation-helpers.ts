// Conversations that application helpers read: FTP, IRC, SANE, TFTP, Amanda, NetBIOS, SNMP. What is announced comes
// true: somebody connects to the address and port that the far end read, after whatever the host made of them. Mostly
// right; now and then wrong, cut, split over segments, sent again, or in a window too small for it.

import { parseIpv4 } from '../../datapath/wire/address.ts'
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

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

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
async function* follow(
  w: Wire,
  end: TcpEnd | { readonly view: View },
  to: { address: string; port: number },
  sport: number | null = null,
): AsyncGenerator<void, void> {
  const { random } = w
  const port = sport ?? random.pick([...w.world.clientPorts, 20])
  const target = random.once(12) ? { ...to, port: (to.port + 1) & 0xffff } : to
  const from = random.once(14) ? random.pick(w.world.peers) : { ...end.view.local, dev: end.view.dev }
  yield* connectTo(w, from.dev, { address: from.address, port }, target)
}

// -- FTP --------------------------------------------------------------------------------------------------------

const commas = (address: string, port: number): string =>
  `${address.replaceAll('.', ',')},${port >> 8},${port & 255}`

/** What a far end reads in a PORT, EPRT, 227 or 229. */
function readFtp(line: string, server: string): { address: string; port: number } | null {
  const six = /(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)/.exec(line)
  if (six !== null) {
    const n = six.slice(1).map(Number)
    if (n.some((x) => x > 255)) return null
    return { address: n.slice(0, 4).join('.'), port: (n[4]! << 8) | n[5]! }
  }
  const [, address, port] = /\|\d?\|([\d.]*)\|(\d+)\|/.exec(line) ?? []
  if (port === undefined || Number(port) > 65535) return null
  return { address: address === '' ? server : address!, port: Number(port) }
}

export class FtpConversation extends Scripted {
  #dataPort(): number {
    const { random } = this.w
    return random.pick([5000, 5000, 20001, 65535, 65530, 1024 + random.below(60000), 0])
  }

  #command(address: string): string {
    const { random, world } = this.w
    const whose = random.once(8) ? random.pick(world.peers).address : address
    const port = this.#dataPort()
    const end = random.once(12) ? random.pick(['\n', '', ' \r\n', ',1\r\n', '\r']) : '\r\n'
    if (random.once(16))
      return random.pick([
        `PORT ${commas(whose, port).slice(0, -random.below(9))}${end}`,
        `PORT 300,1,2,3,4,5${end}`,
        `PORT 1,2,3${end}`,
        `PORT ${commas(whose, port)}x${end}`,
        `EPRT |1|${whose}|70000|${end}`,
        `EPRT |3|${whose}|${port}|${end}`,
        `EPRT |1|${whose}${end}`,
        `EPRT 1|${whose}|${port}|${end}`,
        `PORTX ${commas(whose, port)}${end}`,
        `POR`,
        `EP`,
        `NOOP\r\nPORT ${commas(whose, port)}${end}`,
        `PORT${end}`,
        'PORT \r\n',
      ])
    if (random.once(3)) {
      const d = random.once(5) ? random.pick(['!', '/', '~', '#']) : '|'
      return `${random.once(6) ? 'eprt' : 'EPRT'} ${d}1${d}${whose}${d}${port}${d}${end}`
    }
    const space = random.once(10) ? '  ' : ' '
    return `${random.once(6) ? 'Port' : 'PORT'}${space}${commas(whose, port)}${end}`
  }

  #answer(address: string): string {
    const { random, world } = this.w
    const whose = random.once(8) ? random.pick(world.peers).address : address
    const port = this.#dataPort()
    const end = random.once(12) ? random.pick(['\n', '', '\r']) : '\r\n'
    if (random.once(16))
      return random.pick([
        `227 Entering${end}`,
        `227 (${commas(whose, port).slice(0, -random.below(9))})${end}`,
        `227 300,1,2,3,4,5${end}`,
        `227-Entering Passive Mode (${commas(whose, port)})${end}`,
        `229 Extended |||${port}|${end}`,
        `229 Extended (||${port}|)${end}`,
        `229 Extended (|||${port})${end}`,
        '227',
        '22',
        `200 fine\r\n227 (${commas(whose, port)})${end}`,
      ])
    if (random.once(3)) {
      const d = random.once(5) ? random.pick(['!', '/', '~']) : '|'
      return `229 Entering Extended Passive Mode (${d}${d}${d}${port}${d})${end}`
    }
    return random.pick([
      `227 Entering Passive Mode (${commas(whose, port)}).${end}`,
      `227 =${commas(whose, port)}${end}`,
      `227 Entering Passive Mode. ${commas(whose, port)}${end}`,
    ])
  }

  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    const session = new TcpSession(w, talkers(w, HELPER_PORTS.ftp), random.once(2))
    if (!(yield* session.open())) return
    const { a } = session
    const b = session.b!
    if (!random.once(3)) yield* session.say(b, '220 ready\r\n', 'ftp greeting')
    if (!random.once(3)) {
      yield* session.say(a, 'USER x\r\n', 'ftp USER')
      yield* session.say(b, '230 come in\r\n', 'ftp 230')
    }
    for (let n = 1 + random.below(4); n > 0; n--) {
      if (random.once(2)) {
        const line = this.#command(a.view.local.address)
        const heard = text(yield* session.say(a, line, `ftp ${line.trim()}`))
        const to = readFtp(heard, a.view.local.address)
        if (!random.once(4)) yield* session.say(b, '200 PORT command successful\r\n', 'ftp 200')
        if (to !== null) yield* follow(w, b, to, random.pick([20, 20, null]))
      } else {
        yield* session.say(a, random.pick(['PASV\r\n', 'EPSV\r\n']), 'ftp PASV')
        const line = this.#answer(b.view.local.address)
        const heard = text(yield* session.say(b, line, `ftp ${line.trim()}`))
        const to = readFtp(heard, a.view.remote.address)
        if (to !== null) yield* follow(w, a, to)
      }
      if (!random.once(3)) yield* session.say(b, '226 done\r\n', 'ftp 226')
    }
    yield* session.close()
  }
}

// -- IRC --------------------------------------------------------------------------------------------------------

export class IrcConversation extends Scripted {
  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random, world } = w
    const session = new TcpSession(w, talkers(w, HELPER_PORTS.irc), random.once(2))
    if (!(yield* session.open())) return
    const { a } = session
    const b = session.b!
    if (!random.once(3)) yield* session.say(b, ':irc NOTICE hello\r\n', 'irc greeting')
    for (let n = 1 + random.below(3); n > 0; n--) {
      const end = random.once(8) ? b : a
      const address = random.once(8) ? random.pick(world.peers).address : end.view.local.address
      const number = random.once(10)
        ? random.pick(['0', '4294967296', 'x', '1 2'])
        : `${parseIpv4(address)! >>> 0}`
      const port = random.pick([5000, 5000, 65535, 1024 + random.below(60000), 0, 70000])
      const what = random.pick([
        'SEND file',
        'SEND file',
        'CHAT chat',
        'TSEND f',
        'SCHAT chat',
        'MOVE x',
        'RESUME f',
      ])
      const tail = random.pick(['\x01\r\n', ' 1234\x01\r\n', '\x01\n', '\x01', '\n'])
      const head = random.once(6)
        ? random.pick([
            '\r\n ',
            'privmsg y',
            'NOTICE x',
            '',
            'PRIVMSG averyveryverylongnicknamethatgoeson',
            'PRIVMSG a :b :',
          ])
        : 'PRIVMSG nick'
      const gap = random.once(10) ? '  ' : ' '
      const line = `${head} :\x01DCC ${what}${gap}${number}${gap}${port}${tail}`
      const more = random.once(10) ? `${line}${line}` : line
      const heard = text(yield* session.say(end, more, `irc ${what}`))
      const [, ip, to] = /DCC \w+ \S+ +(\d+) +(\d+)/.exec(heard) ?? []
      if (ip === undefined || Number(to) > 65535 || Number(ip) > 0xffffffff) continue
      const n32 = Number(ip)
      const target = {
        address: [n32 >>> 24, (n32 >>> 16) & 255, (n32 >>> 8) & 255, n32 & 255].join('.'),
        port: Number(to),
      }
      const far = random.once(2)
        ? (session.other(end) ?? a)
        : { view: { ...a.view, ...random.pick(world.peers) } }
      const view =
        'address' in far.view
          ? { ...far.view, local: { ...a.view.local, address: far.view.address as string } }
          : far.view
      yield* follow(w, { view }, target)
    }
    yield* session.close()
  }
}

// -- SANE -------------------------------------------------------------------------------------------------------

export class SaneConversation extends Scripted {
  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    const session = new TcpSession(w, talkers(w, HELPER_PORTS.sane), random.once(2))
    if (!(yield* session.open())) return
    const { a } = session
    const b = session.b!
    for (let n = 1 + random.below(4); n > 0; n--) {
      const code = random.once(5) ? random.below(10) : 7
      const request = [0, 0, 0, code, 0, 0, 0, 1]
      if (random.once(10)) request.push(0)
      yield* session.say(a, Uint8Array.from(request), 'sane request')
      const port = random.pick([5000, 1024 + random.below(60000)])
      const answer = [
        0,
        0,
        0,
        random.once(8) ? 1 : 0,
        0,
        random.once(12) ? 1 : 0,
        port >> 8,
        port & 255,
        0,
        0,
        18,
        52,
      ]
      const heard = yield* session.say(
        b,
        Uint8Array.from(answer.slice(0, random.once(10) ? 4 + random.below(8) : 12)),
        `sane answer ${port}`,
      )
      if (heard.length >= 8) yield* follow(w, a, { address: a.view.remote.address, port: u16(heard, 6) })
    }
    yield* session.close()
  }
}

// -- UDP --------------------------------------------------------------------------------------------------------

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
      const learned = learn(frame, run)
      if (learned !== null) this.b = learned
    }
    for (const { dev, bytes } of run.sent) {
      const h = headersOf(bytes)
      if (bytes.length >= 28 && h?.protocol === UDP && u16(bytes, 4) === u16(frame, 4))
        return { data: bytes.subarray(h.l4 + 8), frame: bytes, run, dev }
    }
    return null
  }
}

export class TftpHelperConversation extends Scripted {
  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    const session = new UdpSession(w, talkers(w, HELPER_PORTS.tftp))
    for (let n = 1 + random.below(2); n > 0; n--) {
      const code = random.once(8) ? random.below(6) : random.pick([1, 2])
      const request = random.once(16) ? [0] : [0, code, 0x61, 0, 0x6f, 0]
      await session.send(session.a, request, `tftp request ${code}`)
      yield
    }
    const far = session.b
    if (far === null) return
    const port = random.pick([3000, 1024 + random.below(60000), HELPER_PORTS.tftp])
    const from = random.once(10) ? random.pick(w.world.peers) : { address: far.local.address, dev: far.dev }
    const data = new UdpSession(w, {
      dev: from.dev,
      local: { address: from.address, port },
      remote: far.remote,
      learned: far.learned === null ? null : far.learned,
    })
    for (let n = 1 + random.below(4); n > 0; n--) {
      const ack = random.once(2) ? data.b : null
      if (ack !== null) await data.send(ack, [0, 4, 0, 1], 'tftp ACK')
      else await data.send(data.a, [0, 3, 0, 1, 7, 7, 7], 'tftp data')
      yield
    }
  }
}

export class AmandaConversation extends Scripted {
  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    const session = new UdpSession(w, talkers(w, HELPER_PORTS.amanda))
    await session.send(session.a, 'Amanda 2.6 REQ HANDLE 1 SEQ 2\nSERVICE amandad\n', 'amanda request')
    yield
    const far = session.b
    if (far === null) return
    for (let n = 1 + random.below(3); n > 0; n--) {
      const port = (): number => random.pick([50001, 50002, 999, 9999, 65535, 10000 + random.below(50000), 0])
      const ports = [port(), port(), port()]
      const line = random.once(8)
        ? random.pick([
            'CONNECT DATA\n',
            'CONNECT DATA 5',
            `CONNECT MESG ${ports[0]} DATA ${ports[1]}\n`,
            'CONNECT STATE 123456 \n',
            'CONNECT\n',
          ])
        : `CONNECT DATA ${ports[0]} MESG ${ports[1]} INDEX ${ports[2]}\n`
      const got = await session.send(
        far,
        `Amanda 2.6 REP HANDLE 1 SEQ 2\n${line}OPTIONS ;\n\n`,
        `amanda ${line.trim()}`,
      )
      yield
      if (got === null) continue
      for (const [, number] of text(got.data).matchAll(/(?:DATA|MESG|INDEX|STATE) (\d+)/g))
        if (Number(number) <= 65535)
          yield* follow(w, { view: session.a }, { address: session.a.remote.address, port: Number(number) })
    }
  }
}

/** A name asked of everybody on the network, and whoever answers. */
export class NetbiosConversation extends Scripted {
  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random, world } = w
    const view = talkers(w, HELPER_PORTS['netbios-ns'])
    const session = new UdpSession(w, view)
    const dst =
      random.once(3) || world.broadcasts.length === 0 ? view.remote.address : random.pick(world.broadcasts)
    for (let n = 1 + random.below(3); n > 0; n--) {
      await session.send(view, 50, 'netbios query', { dst })
      yield
    }
    const from = random.pick(world.peers)
    const frame = build.udp({
      src: from.address,
      dst: view.local.address,
      sport: HELPER_PORTS['netbios-ns'],
      dport: view.local.port,
      payload: 62,
      id: w.id(),
    })
    await w.send(from.dev, frame, 'netbios answer')
    yield
  }
}

/** Everything there is for the helpers profile. */
export const HELPER_CONVERSATIONS: readonly (new (wire: Wire) => Conversation)[] = [
  FtpConversation,
  FtpConversation,
  FtpConversation,
  IrcConversation,
  SaneConversation,
  TftpHelperConversation,
  AmandaConversation,
  NetbiosConversation,
]
