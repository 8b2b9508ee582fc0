// SIP (RFC 3261; nf_conntrack_sip.c, Linux 6.18): telephones register where they can be called, and agree on where
// voice and pictures go.
//
//     REGISTER, Contact      calls from the registrar are expected there; inactive until it says 200
//     INVITE, 200 with SDP   an even port for each medium (RTP), the odd one behind it (RTCP), both ways
//     BYE, an error          media are not expected any more
//
// As nf_conntrack_sip is by default, calls come from the registrar alone, and media from the ends that agreed on them
// (sip_direct_signalling, sip_direct_media).

import { Verdict } from '../../datapath/hooks.ts'
import { CtInfo, type Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { TCP_SEQ } from '../../datapath/wire/tcp.ts'
import { UDP_HEADER_LEN } from '../../datapath/wire/udp.ts'
import type { Conntrack } from '../conntrack.ts'
import { type Expectation, ExpectError, ExpectFlag } from '../expect.ts'
import { HELPER, STATUS, STRIDE, Status, zoneOf } from '../table.ts'
import { Tuple } from '../tuple.ts'
import {
  announce,
  BOTH,
  CANNOT_EXPECT,
  destinationOf,
  expectation,
  familyOf,
  type HelperKind,
  isTranslated,
  linearize,
  protocolOf,
  refuse,
  sameWords,
  sourceOf,
  sourcePortOf,
  tcpData,
  type Words,
} from './helper.ts'
import { SipClass, type SipMaster, type SipMessage, SipNat } from './sip-nat.ts'
import { SipHeader, SipText } from './sip-text.ts'
import { CR, isAlpha, LF, SPACE } from './text.ts'

const SIGNALLING_TIMEOUT_MS = 3_600_000
/** `SIP/2.0 200` */
const SHORTEST = 11
const POLICIES = [
  { max: 1, seconds: 180 },
  { max: 4, seconds: 180 },
  { max: 4, seconds: 180 },
  { max: 2, seconds: 180 },
]

const MEDIA = [
  { text: 'audio ', class: SipClass.Audio },
  { text: 'video ', class: SipClass.Video },
  { text: 'image ', class: SipClass.Image },
] as const

const NOWHERE: Words = [0, 0, 0, 0]

function create(ct: Conntrack): ReturnType<HelperKind['create']> {
  const { bytes, view } = ct.host.memory
  const masters = new Map<number, SipMaster>()
  const nat = new SipNat(ct)

  const drop = (m: SipMessage, why: string): Verdict => refuse(ct, m.pkt, m.entry, why)

  // -- media

  /** set_expected_rtp_rtcp(). The address to be announced, null: to be dropped. */
  const expectMedia = (
    m: SipMessage,
    announced: Words,
    port: number,
    kind: number,
    at: number,
    length: number,
  ): Words | null => {
    const { entry, dir } = m
    if (!sameWords(announced, sourceOf(ct, entry, dir))) return announced
    const source = sourceOf(ct, entry, 1 - dir)
    let address = announced
    const t = new Tuple()
    ;[t.s0, t.s1, t.s2, t.s3] = source
    ;[t.d0, t.d1, t.d2, t.d3] = address
    t.ports = port
    t.meta = (IPPROTO_UDP << 8) | familyOf(ct, entry)
    t.zone = zoneOf(ct.table.words, entry * STRIDE, 0)
    let direct = false
    let known = false
    // Announced on another connection already, by one who is called on both.
    while (!known) {
      const e = ct.expectations.find(t, entry)
      if (e === null || e.master === entry || e.class !== kind) break
      if (ct.table.words[e.master * STRIDE + HELPER] !== ct.table.words[entry * STRIDE + HELPER]) break
      const saved = e.nat?.address ?? NOWHERE
      const savedPort = e.nat?.port ?? 0
      const moved =
        !sameWords(saved, [e.tuple.d0, e.tuple.d1, e.tuple.d2, e.tuple.d3]) ||
        savedPort !== (e.tuple.ports & 0xffff)
      if (!direct && moved && isTranslated(ct, entry)) {
        // Both are behind this host: they can reach each other without it.
        address = saved
        ;[t.d0, t.d1, t.d2, t.d3] = saved
        t.ports = savedPort
        direct = true
      } else known = true
    }
    const even = t.ports & 0xfffe
    if (direct && !nat.port(m, at, length, even)) return null
    if (known) return address
    const pair = [even, even + 1].map((dport) =>
      expectation(ct, entry, {
        class: kind,
        source,
        destination: address,
        protocol: IPPROTO_UDP,
        sport: null,
        dport,
      }),
    )
    const [rtp, rtcp] = pair as [Expectation, Expectation]
    if (isTranslated(ct, entry) && !direct) return nat.media(m, rtp, rtcp, at, length)
    // What another connection announced too is as good.
    const first = announce(ct, rtp, true)
    if (first !== ExpectError.None && first !== ExpectError.Already) return null
    const second = announce(ct, rtcp, true)
    if (second === ExpectError.None || second === ExpectError.Already) return address
    if (first === ExpectError.None) ct.expectations.remove(rtp)
    return null
  }

  /** process_sdp() */
  const session = (m: SipMessage): Verdict => {
    const { text, entry } = m
    const version = text.sdp(0, 'version', null)
    if (version === null || version === 'bad') return Verdict.Accept
    const start = version.at
    const common = text.sdpAddress(start, 'connection', 'media')
    let address = common?.address ?? null
    let at = start
    for (let n = 0; n < MEDIA.length; ) {
      const line = text.sdp(at, 'media', null)
      if (line === null || line === 'bad') break
      at = line.at
      let { length } = line
      const medium = MEDIA.find((t) => length >= t.text.length && sameText(text, at, t.text))
      if (medium === undefined) {
        at += length
        continue
      }
      at += medium.text.length
      length -= medium.text.length
      const port = text.number(at, text.length)?.value ?? 0
      if (port === 0) continue
      if (port < 1024 || port > 65535) return drop(m, `wrong port ${port}`)
      const own = text.sdpAddress(at, 'connection', 'media')
      address = own?.address ?? common?.address ?? null
      if (address === null) return drop(m, 'cannot parse SDP message')
      address = expectMedia(m, address, port, medium.class, at, length)
      if (address === null) return drop(m, 'cannot add expectation for voice')
      if (own !== null && isTranslated(ct, entry) && !nat.mediaAddress(m, at, address))
        return drop(m, 'cannot mangle SDP')
      n++
    }
    if (isTranslated(ct, entry) && address !== null && !nat.session(m, start, address)) return Verdict.Drop
    return Verdict.Accept
  }

  /** flush_expectations(): all media, or the one registration. */
  const forgetExpected = (entry: number, media: boolean): void => {
    for (const e of ct.expectations.of(entry)) {
      if ((e.class !== SipClass.Signalling) !== media) continue
      ct.expectations.remove(e)
      if (!media) break
    }
  }

  // -- registration

  /** ct_sip_parse_transport(): the connection's protocol; 0: another one is asked for. */
  const transport = (m: SipMessage, from: number): number => {
    const { text } = m
    const protocol = protocolOf(ct, m.entry)
    const found = text.param(from, 'transport=')
    if (found === null) return protocol
    const said = text.isAt(found.at, text.length, 'TCP')
      ? IPPROTO_TCP
      : text.isAt(found.at, text.length, 'UDP')
        ? IPPROTO_UDP
        : 0
    return said === protocol ? said : 0
  }

  const expiresHeader = ({ text }: SipMessage): number => {
    const span = text.value(SipHeader.Expires)
    return span === null ? 0 : (text.number(span.at, text.length)?.value ?? 0)
  }

  /** process_register_request() */
  const register = (m: SipMessage, cseq: number): Verdict => {
    const { text, entry, dir, master } = m
    if ((ct.table.words[entry * STRIDE + STATUS]! & Status.Expected) !== 0) return Verdict.Accept
    const contact = text.uri(0, SipHeader.Contact)
    if (contact === 'bad') return drop(m, 'cannot parse contact')
    // Nobody registers for somebody else.
    if (contact === null || !sameWords(sourceOf(ct, entry, dir), contact.address)) return Verdict.Accept
    const behind = contact.at + contact.length
    const protocol = transport(m, behind)
    if (protocol === 0) return Verdict.Accept
    const param = text.numberParam(behind, 'expires=')
    if (param === 'bad') return drop(m, 'cannot parse expires')
    if ((param?.value ?? expiresHeader(m)) !== 0) {
      const e = expectation(ct, entry, {
        class: SipClass.Signalling,
        source: sourceOf(ct, entry, 1 - dir),
        destination: contact.address,
        protocol,
        sport: null,
        dport: contact.port,
        flags: ExpectFlag.Permanent | ExpectFlag.Inactive,
        helper: ct.table.words[entry * STRIDE + HELPER]!,
      })
      if (isTranslated(ct, entry)) {
        const why = nat.expect(m, e, contact.at, contact.length)
        if (why !== null) return drop(m, why)
      } else if (announce(ct, e) !== ExpectError.None) return drop(m, CANNOT_EXPECT)
    }
    master.registerCseq = cseq
    return Verdict.Accept
  }

  /** refresh_signalling_expectation() */
  const refresh = (
    entry: number,
    address: Words,
    protocol: number,
    port: number,
    seconds: number,
  ): boolean => {
    for (const e of ct.expectations.of(entry)) {
      const t = e.tuple
      if (e.class !== SipClass.Signalling || t.protocol !== protocol || (t.ports & 0xffff) !== port) continue
      if (!sameWords([t.d0, t.d1, t.d2, t.d3], address)) continue
      ct.expectations.prolong(e, ct.host.now + seconds * 1000)
      e.flags &= ~ExpectFlag.Inactive
      return true
    }
    return false
  }

  /** process_register_response() */
  const registered = (m: SipMessage, cseq: number, code: number): Verdict => {
    const { text, entry, dir, master } = m
    if (master.registerCseq !== cseq || (code >= 100 && code <= 199)) return Verdict.Accept
    if (code >= 200 && code <= 299) {
      const expires = expiresHeader(m)
      for (let at = 0, inHeader = false; ; inHeader = true) {
        const contact = text.uri(at, SipHeader.Contact, inHeader)
        if (contact === 'bad') return drop(m, 'cannot parse contact')
        if (contact === null) break
        at = contact.at + contact.length
        if (!sameWords(destinationOf(ct, entry, dir), contact.address)) continue
        const protocol = transport(m, at)
        if (protocol === 0) continue
        const param = text.numberParam(at, 'expires=')
        if (param === 'bad') return drop(m, 'cannot parse expires')
        const seconds = param?.value ?? expires
        if (seconds === 0) break
        if (refresh(entry, contact.address, protocol, contact.port, seconds)) return Verdict.Accept
      }
    }
    forgetExpected(entry, false)
    return Verdict.Accept
  }

  // -- messages

  const isSuccess = (code: number): boolean => code >= 100 && code <= 299

  /** process_invite_response() and its like. */
  const answered = (m: SipMessage, cseq: number, code: number): Verdict => {
    if (isSuccess(code)) return session(m)
    if (m.master.inviteCseq === cseq) forgetExpected(m.entry, true)
    return Verdict.Accept
  }

  const invite = (m: SipMessage, cseq: number): Verdict => {
    forgetExpected(m.entry, true)
    const verdict = session(m)
    if (verdict === Verdict.Accept) m.master.inviteCseq = cseq
    return verdict
  }

  const bye = (m: SipMessage): Verdict => {
    forgetExpected(m.entry, true)
    return Verdict.Accept
  }

  const METHODS: readonly {
    readonly name: string
    readonly request: (m: SipMessage, cseq: number) => Verdict
    readonly response?: (m: SipMessage, cseq: number, code: number) => Verdict
  }[] = [
    { name: 'INVITE', request: invite, response: answered },
    { name: 'UPDATE', request: session, response: answered },
    { name: 'ACK', request: session },
    { name: 'PRACK', request: session, response: answered },
    { name: 'BYE', request: bye },
    { name: 'REGISTER', request: register, response: registered },
  ]

  /** The number in CSeq, and where it ends; or why there is none. */
  const cseqOf = (text: SipText): { value: number; end: number } | string => {
    const span = text.value(SipHeader.Cseq)
    if (span === null) return 'cannot parse cseq'
    const number = text.number(span.at, text.length)
    return number === null ? 'cannot get cseq' : { value: number.value, end: span.at + span.length }
  }

  /** process_sip_response() */
  const response = (m: SipMessage): Verdict => {
    const { text } = m
    if (text.length < SHORTEST) return Verdict.Accept
    const code = text.number('SIP/2.0 '.length, text.length)?.value ?? 0
    if (code === 0) return drop(m, 'cannot get code')
    const cseq = cseqOf(text)
    if (typeof cseq === 'string') return drop(m, cseq)
    const method = METHODS.find(
      (h) => h.response !== undefined && text.isAt(cseq.end + 1, text.length, h.name),
    )
    return method?.response?.(m, cseq.value, code) ?? Verdict.Accept
  }

  /** process_sip_request() */
  const request = (m: SipMessage): Verdict => {
    const { text, entry, dir, master } = m
    const via = text.uri(0, SipHeader.ViaUdp)
    if (
      via !== null &&
      via !== 'bad' &&
      via.port !== sourcePortOf(ct, entry, dir) &&
      sameWords(via.address, sourceOf(ct, entry, dir))
    )
      master.forcedPort = via.port
    for (const { name, request: handle } of METHODS) {
      if (text.length < name.length + 2 || !text.isAt(0, text.length, name)) continue
      if (text.byte(name.length) !== SPACE || !isAlpha(text.byte(name.length + 1))) continue
      const cseq = cseqOf(text)
      return typeof cseq === 'string' ? drop(m, cseq) : handle(m, cseq.value)
    }
    return Verdict.Accept
  }

  /** process_sip_msg() */
  const message = (m: SipMessage): Verdict => {
    const { text } = m
    const verdict = text.isAt(0, text.length, 'SIP/2.0 ') ? response(m) : request(m)
    if (verdict !== Verdict.Accept || !isTranslated(ct, m.entry)) return verdict
    return nat.message(m) ? Verdict.Accept : drop(m, 'cannot NAT SIP message')
  }

  const messageAt = (pkt: Packet, entry: number, dir: number, at: number): SipMessage => {
    let master = masters.get(entry)
    if (master === undefined) masters.set(entry, (master = { registerCseq: 0, inviteCseq: 0, forcedPort: 0 }))
    const text = new SipText(bytes, familyOf(ct, entry))
    text.start = at
    text.length = pkt.end - at
    return { pkt, entry, dir, master, offset: at - pkt.l4, text }
  }

  /** Where the message ends: behind the blank line, Content-Length further. -1: unknown. */
  const endOf = (text: SipText): number => {
    const span = text.value(SipHeader.ContentLength)
    const length = span === null ? null : text.number(span.at, text.length)
    if (length === null || length.value > text.length) return -1
    for (let at = length.end; at + 4 <= text.length; at++)
      if (
        text.byte(at) === CR &&
        text.byte(at + 1) === LF &&
        text.byte(at + 2) === CR &&
        text.byte(at + 3) === LF
      )
        return at + 4 + length.value
    return -1
  }

  /** sip_help_tcp(): a segment may hold several messages. */
  const stream = (pkt: Packet, entry: number, dir: number): Verdict => {
    if (pkt.ctInfo !== CtInfo.Established && pkt.ctInfo !== CtInfo.EstablishedReply) return Verdict.Accept
    const data = tcpData(ct, pkt)
    if (data < 0) return Verdict.Accept
    ct.core.prolong(entry, SIGNALLING_TIMEOUT_MS)
    linearize(pkt)
    const before = pkt.end - pkt.l3
    if (pkt.end - data < SHORTEST) return Verdict.Accept
    let verdict: Verdict = Verdict.Accept
    let offset = data - pkt.l4
    for (;;) {
      const m = messageAt(pkt, entry, dir, pkt.l4 + offset)
      const end = endOf(m.text)
      if (end < 0) break
      if (end > m.text.length) return Verdict.Accept
      m.text.length = end
      verdict = message(m)
      if (verdict !== Verdict.Accept) break
      offset += m.text.length
    }
    if (verdict === Verdict.Accept && isTranslated(ct, entry)) {
      const change = pkt.end - pkt.l3 - before
      if (change !== 0) ct.sequences.change(entry, dir, view.getInt32(pkt.l4 + TCP_SEQ), change)
    }
    return verdict
  }

  /** sip_help_udp() */
  const datagram = (pkt: Packet, entry: number, dir: number): Verdict => {
    const data = pkt.l4 + UDP_HEADER_LEN
    if (data >= pkt.end) return Verdict.Accept
    ct.core.prolong(entry, SIGNALLING_TIMEOUT_MS)
    linearize(pkt)
    return pkt.end - data < SHORTEST ? Verdict.Accept : message(messageAt(pkt, entry, dir, data))
  }

  return {
    policies: POLICIES,
    help: (pkt, entry, dir) => (protocolOf(ct, entry) === IPPROTO_TCP ? stream : datagram)(pkt, entry, dir),
    forget: (entry) => {
      masters.delete(entry)
    },
  }
}

function sameText(text: SipText, at: number, wanted: string): boolean {
  for (let i = 0; i < wanted.length; i++) if (text.byte(at + i) !== wanted.charCodeAt(i)) return false
  return true
}

export const sip: HelperKind = {
  name: 'sip',
  families: BOTH,
  protocols: [IPPROTO_TCP, IPPROTO_UDP],
  create,
}
