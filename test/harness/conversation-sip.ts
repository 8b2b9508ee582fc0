// SIP over UDP and TCP: registration, calls both ways, media. Who answers copies what it heard, as real ones do.

import { parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import type { View, Wire } from './conversation.ts'
import { HELPER_PORTS, Scripted, TcpSession, talkers, text, UdpSession } from './conversation-sessions.ts'
import * as build from './frames.ts'
import { isIpv6 } from './headers.ts'

interface Place {
  readonly address: string
  readonly port: number
}

/** The lines of a message that an answer repeats. */
const repeated = (heard: string): string[] =>
  heard.split('\r\n').filter((l) => /^(Via|v|From|f|To|t|Call-ID|i|CSeq) *:/i.test(l))

/** A message that was cut may have half of one. */
const isAddress = (text: string): boolean => (isIpv6(text) ? parseIpv6(text) : parseIpv4(text)) !== null

/** An address in a URI: of IPv6 in brackets. */
const uriOf = (address: string): string => (address.includes(':') ? `[${address}]` : address)
const CONTACT = /^(?:Contact|m) *:.*?sip:(?:[^@\r\n]*@)?(?:([\d.]+)|\[([\da-f:.]+)\])(?::(\d+))?/im

/** What the far end reads in Contact, in the SDP. */
function contactOf(heard: string): Place | null {
  const [, four, six, port] = CONTACT.exec(heard) ?? []
  const address = four ?? six
  return address === undefined || !isAddress(address) ? null : { address, port: Number(port ?? 5060) }
}
function mediaOf(heard: string): Place[] {
  const session = /\r\nc=IN IP[46] ([\d.:a-f]+)/.exec(heard)?.[1]
  return heard
    .split(/\r\n(?=m=)/)
    .slice(1)
    .flatMap((part) => {
      const port = Number(/^m=\w+ (\d+)/.exec(part)?.[1] ?? 0)
      const address = /\r\nc=IN IP[46] ([\d.:a-f]+)/.exec(part)?.[1] ?? session
      return port === 0 || port > 65535 || address === undefined || !isAddress(address)
        ? []
        : [{ address, port }]
    })
}

export class SipConversation extends Scripted {
  #cseq = 1
  #tcp = false

  #sdp(w: Wire, address: string): string {
    const { random } = w
    const whose = random.once(10) ? random.pick(w.world.peers).address : address
    const ip = `IP${random.once(24) ? 4 : w.world.family}`
    const lines = ['v=0']
    if (!random.once(12)) lines.push(`o=alice 1 1 IN ${ip} ${whose}`)
    lines.push('s=-')
    const common = !random.once(6)
    if (common) lines.push(`c=IN ${ip} ${whose}`)
    lines.push('t=0 0')
    for (let n = random.pick([1, 1, 1, 2, 3, 4, 0]); n > 0; n--) {
      const port = random.once(12)
        ? random.pick([0, 80, 70000, 65535, 65534, 1023])
        : random.pick([4000, 4000, 4001, 4002, 20000 + random.below(20000)])
      lines.push(`m=${random.pick(['audio', 'audio', 'audio', 'video', 'image', 'data'])} ${port} RTP/AVP 0`)
      if (!common || random.once(4))
        lines.push(`c=IN ${ip} ${random.once(6) ? random.pick(w.world.peers).address : whose}`)
      lines.push('a=sendrecv')
    }
    return `${lines.join('\r\n')}${random.once(12) ? '' : '\r\n'}`
  }

  /** Puts a message together, now and then badly. */
  #message(w: Wire, first: string, headers: readonly string[], body: string): string {
    const { random } = w
    let lines = [...headers]
    if (body !== '') lines.push('Content-Type: application/sdp')
    const length = body.length + (random.once(20) ? random.pick([-3, 5, 1000]) : 0)
    if (!random.once(12) || (this.#tcp && !random.once(4)))
      lines.push(`${random.once(5) ? 'l' : 'Content-Length'}${random.once(12) ? ' ' : ''}: ${length}`)
    if (random.once(10)) lines.splice(random.below(lines.length), 1)
    if (random.once(16)) lines = lines.map((l) => l.replace(': ', random.pick([':', ' : ', ':\t', ':\r\n '])))
    const eol = random.once(24) ? '\n' : '\r\n'
    let out = `${[first, ...lines].join(eol)}${eol}${eol}${body}`
    if (random.once(24)) out = out.slice(0, random.below(out.length))
    return out
  }

  #request(
    w: Wire,
    view: View,
    method: string,
    o: { to?: Place; contact?: boolean; expires?: number | null; sdp?: boolean },
  ): string {
    const { random } = w
    const { local } = view
    const to = o.to ?? view.remote
    const uri = `${random.once(3) ? 'bob@' : ''}${uriOf(to.address)}${to.port === 5060 && random.once(2) ? '' : `:${to.port}`}`
    const mine = `${uriOf(local.address)}${local.port === 5060 && random.once(2) ? '' : `:${local.port}`}`
    const via =
      random.once(16) && local.port !== 5060
        ? `${uriOf(local.address)}:5060`
        : random.once(12)
          ? '1.2.3.4:5060'
          : mine
    const params = [
      '',
      ';branch=z9hG4bK1',
      ';rport;branch=z9',
      `;maddr=${uriOf(local.address)};branch=z9`,
      `;received=${view.remote.address}`,
      `;rport=${view.remote.port}`,
    ]
    const short = random.once(5)
    const name = (long: string, brief: string): string => (short ? brief : long)
    const headers = [
      `${name('Via', 'v')}: SIP/2.0/${this.#tcp ? 'TCP' : 'UDP'} ${via}${random.pick(params)}`,
      `${name('From', 'f')}: "Alice" <sip:alice@${random.once(3) ? mine : 'example.org'}>;tag=1`,
      `${name('To', 't')}: <sip:bob@${random.once(2) ? uri.replace('bob@', '') : 'example.org'}>`,
      `${name('Call-ID', 'i')}: 1234@${local.address}`,
      `CSeq: ${random.once(24) ? random.pick(['x', '', '99999999999', '-1']) : this.#cseq} ${method}`,
      'Max-Forwards: 70',
    ]
    if (o.contact !== false && !random.once(10)) {
      const whose = random.once(12) ? `${uriOf(random.pick(w.world.peers).address)}:5060` : mine
      const port = random.once(12)
        ? `${uriOf(local.address)}:${random.pick([5061, 6000, 80, 65535, 99999])}`
        : whose
      const param =
        o.expires === undefined || o.expires === null || random.once(2)
          ? ''
          : `;expires=${random.once(16) ? random.pick(['x', '', '99999999999']) : o.expires}`
      const transport = random.once(8) ? `;transport=${random.pick(['tcp', 'udp', 'UDP', 'sctp'])}` : ''
      const one = `<sip:${random.once(2) ? 'alice@' : ''}${port}${transport}>${param}`
      headers.push(`${name('Contact', 'm')}: ${random.once(8) ? `<sip:x@1.2.3.4>, ${one}` : one}`)
      if (random.once(10)) headers.push(`Contact: <sip:second@${mine}>`)
    }
    if (o.expires !== undefined && o.expires !== null && random.once(2)) headers.push(`Expires: ${o.expires}`)
    const target = random.once(16) ? 'sip:example.org' : `sip:${uri}`
    return this.#message(
      w,
      `${method} ${target} SIP/2.0`,
      headers,
      o.sdp === true ? this.#sdp(w, local.address) : '',
    )
  }

  #answer(w: Wire, view: View, heard: string, code: number, o: { expires?: number; sdp?: boolean }): string {
    const { random } = w
    const headers = repeated(heard).map((l) => {
      if (!/^(Via|v) *:/i.test(l) || random.once(2)) return l
      return `${l}${random.once(2) ? `;received=${view.remote.address}` : ''};rport=${view.remote.port}`
    })
    const contact = contactOf(heard)
    if (o.expires !== undefined && contact !== null) {
      const one = `<sip:alice@${uriOf(contact.address)}${contact.port === 5060 && random.once(2) ? '' : `:${contact.port}`}>`
      const param = random.once(2) ? `;expires=${o.expires}` : ''
      headers.push(`Contact: ${random.once(6) ? `<sip:x@1.2.3.4>;expires=9, ${one}` : one}${param}`)
      if (param === '' || random.once(3)) headers.push(`Expires: ${o.expires}`)
    } else if (random.once(2))
      headers.push(`Contact: <sip:bob@${uriOf(view.local.address)}:${view.local.port}>`)
    return this.#message(
      w,
      `SIP/2.0 ${random.once(30) ? 'x' : code} OK`,
      headers,
      o.sdp === true ? this.#sdp(w, view.local.address) : '',
    )
  }

  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    this.#tcp = random.once(3)
    let view = talkers(w, HELPER_PORTS.sip)
    if (random.once(2)) view = { ...view, local: { ...view.local, port: 5060 } }
    let say: (mine: boolean, message: string, note: string) => AsyncGenerator<void, string | null>
    let far: () => View | null
    if (this.#tcp) {
      const session = new TcpSession(w, view, random.once(2))
      if (!(yield* session.open())) return
      far = () => session.b?.view ?? null
      say = async function* (mine, message, note) {
        return text(yield* session.say(mine ? session.a : session.b!, message, note))
      }
    } else {
      const session = new UdpSession(w, view)
      far = () => session.b
      say = async function* (mine, message, note) {
        const got = await session.send(mine || session.b === null ? session.a : session.b, message, note)
        yield
        return got === null ? null : text(got.data)
      }
    }
    for (let n = 1 + random.below(3); n > 0; n--) {
      this.#cseq += 1
      if (random.once(2)) yield* this.#register(say, view, far)
      else yield* this.#call(say, view, far)
    }
  }

  async *#register(
    say: (mine: boolean, message: string, note: string) => AsyncGenerator<void, string | null>,
    view: View,
    far: () => View | null,
  ): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    const expires = random.pick([3600, 60, 3, 0, 7200])
    const heard = yield* say(true, this.#request(w, view, 'REGISTER', { expires }), 'sip REGISTER')
    const there = far()
    if (heard === null || heard === '' || there === null) return
    if (random.once(6)) yield* say(false, this.#answer(w, there, heard, 100, {}), 'sip 100')
    const code = random.once(6) ? random.pick([401, 403, 500]) : 200
    yield* say(false, this.#answer(w, there, heard, code, { expires }), `sip ${code}`)
    const contact = contactOf(heard)
    if (contact === null || contact.port > 65535 || isIpv6(contact.address) !== isIpv6(view.local.address))
      return
    // The registrar calls, perhaps from somewhere else.
    for (let n = random.below(3); n > 0; n--) {
      const from = random.once(6)
        ? random.pick(w.world.peers)
        : { address: there.local.address, dev: there.dev }
      const caller: View = {
        dev: from.dev,
        local: { address: from.address, port: random.pick([5060, 5060, 5070]) },
        remote: contact,
        learned: null,
      }
      if (this.#tcp) {
        const session = new TcpSession(w, caller, true)
        if (yield* session.open())
          yield* session.say(
            session.a,
            this.#request(w, caller, 'INVITE', { to: contact, sdp: true }),
            'sip call',
          )
      } else {
        const session = new UdpSession(w, caller)
        const rung = await session.send(
          caller,
          this.#request(w, caller, 'INVITE', { to: contact, sdp: true }),
          'sip call',
        )
        yield
        if (rung === null || session.b === null) continue
        const answer = this.#answer(w, session.b, text(rung.data), 200, { sdp: true })
        await session.send(session.b, answer, 'sip call 200')
        yield
      }
    }
  }

  async *#call(
    say: (mine: boolean, message: string, note: string) => AsyncGenerator<void, string | null>,
    view: View,
    far: () => View | null,
  ): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    const method = random.once(8) ? random.pick(['UPDATE', 'PRACK', 'ACK', 'OPTIONS', 'invite']) : 'INVITE'
    const heard = yield* say(true, this.#request(w, view, method, { sdp: !random.once(6) }), `sip ${method}`)
    const there = far()
    if (heard === null || heard === '' || there === null) return
    let answered: string | null = null
    if (random.once(3))
      yield* say(false, this.#answer(w, there, heard, 180, { sdp: random.once(3) }), 'sip 180')
    if (random.once(6)) yield* say(false, this.#answer(w, there, heard, 486, {}), 'sip 486')
    else answered = yield* say(false, this.#answer(w, there, heard, 200, { sdp: !random.once(6) }), 'sip 200')
    if (random.once(2)) yield* say(true, this.#request(w, view, 'ACK', { contact: false }), 'sip ACK')
    const here = mediaOf(heard)
    const beyond = answered === null ? [] : mediaOf(answered)
    for (let n = random.below(6); n > 0; n--) {
      // Media: to where the other one said, from where oneself did.
      const mine = random.once(2)
      const to = mine ? beyond : here
      if (to.length === 0) continue
      const from = mine ? here : beyond
      const target = random.pick(to)
      if (isIpv6(target.address) !== isIpv6(view.local.address)) continue
      const rtcp = random.once(4) ? 1 : 0
      const source = mine ? view : there
      const sport = random.once(3)
        ? random.pick([4000, 4001, 7078])
        : ((from[0]?.port ?? 7078) & 0xfffe) + rtcp
      const frame = build.udp({
        src: random.once(12) ? random.pick(w.world.peers).address : source.local.address,
        dst: target.address,
        sport,
        dport: (target.port & 0xfffe) + rtcp,
        payload: 20,
        id: w.id(),
      })
      await w.send(source.dev, frame, `rtp of ${mine ? 'caller' : 'called'}`)
      yield
    }
    if (random.once(2))
      yield* say(
        random.once(2),
        this.#request(w, random.once(2) ? view : there, 'BYE', { contact: false }),
        'sip BYE',
      )
  }
}
