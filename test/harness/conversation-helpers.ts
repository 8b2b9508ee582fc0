// Conversations that application helpers read: FTP, IRC, SANE, TFTP, Amanda, NetBIOS, SNMP. What is announced comes
// true: somebody connects to the address and port that the far end read, after whatever the host made of them. Mostly
// right; now and then wrong, cut, split over segments, sent again, or in a window too small for it.

import { formatIpv6, parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import type { Conversation, Wire } from './conversation.ts'
import { PptpConversation } from './conversation-pptp.ts'
import {
  follow,
  HELPER_PORTS,
  Scripted,
  TcpSession,
  talkers,
  text,
  UdpSession,
} from './conversation-sessions.ts'
import { SipConversation } from './conversation-sip.ts'
import { SnmpConversation } from './conversation-snmp.ts'
import * as build from './frames.ts'
import { isIpv6, u16 } from './headers.ts'

// -- FTP --------------------------------------------------------------------------------------------------------

const commas = (address: string, port: number): string =>
  `${address.replaceAll('.', ',')},${port >> 8},${port & 255}`

/** An address as it is written usually; null: none. */
function plain(address: string): string | null {
  const words = parseIpv6(address)
  if (words !== null) return formatIpv6(...words)
  return parseIpv4(address) === null ? null : address
}

/** What a far end reads in a PORT, EPRT, 227 or 229. */
function readFtp(line: string, server: string): { address: string; port: number } | null {
  const six = /(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)/.exec(line)
  if (six !== null) {
    const n = six.slice(1).map(Number)
    if (n.some((x) => x > 255)) return null
    return { address: n.slice(0, 4).join('.'), port: (n[4]! << 8) | n[5]! }
  }
  const [, address, port] = /\|\d?\|([\d.:a-f]*)\|(\d+)\|/.exec(line) ?? []
  if (port === undefined || Number(port) > 65535) return null
  const to = address === '' ? server : plain(address!)
  return to === null || isIpv6(to) !== isIpv6(server) ? null : { address: to, port: Number(port) }
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
    const four = world.family === 4
    if (!four && !random.once(12)) {
      const d = random.once(8) ? random.pick(['!', '/', '~', '#']) : '|'
      const said = random.once(16) ? random.pick(['::', '1::2::3', 'x', '::ffff:1.2.3.4', '[::1]']) : whose
      return `${random.once(6) ? 'eprt' : 'EPRT'} ${d}${random.once(16) ? 1 : 2}${d}${said}${d}${port}${d}${end}`
    }
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
    if (random.once(world.family === 4 ? 3 : 1)) {
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

type Kind = new (wire: Wire) => Conversation

/** Of helpers that know both families. */
const BOTH: readonly Kind[] = [
  FtpConversation,
  FtpConversation,
  FtpConversation,
  SaneConversation,
  TftpHelperConversation,
  AmandaConversation,
  SipConversation,
  SipConversation,
]
/** Everything there is for the helpers profile. */
export const HELPER_CONVERSATIONS: Readonly<Record<4 | 6, readonly Kind[]>> = {
  4: [...BOTH, IrcConversation, NetbiosConversation, PptpConversation, SnmpConversation],
  6: BOTH,
}
