// PPTP (RFC 2637; nf_conntrack_pptp.c and nf_nat_pptp.c, Linux 6.18): the control connection agrees on two call
// identifiers, each end names its own. The data are GRE, in which a packet has that of its receiver.
//
//     PNS (client)  Outgoing-Call-Request  id  ────────> PAC (server)
//                   <────────  Outgoing-Call-Reply  id, the client's id
//     GRE in both directions is expected
//
// NAT gives the client another identifier, the source port of its control connection, so that clients behind one
// address do not meet. One call for each control connection.

import { Verdict } from '../../datapath/hooks.ts'
import { CtInfo, type Packet } from '../../datapath/packet.ts'
import { IPPROTO_GRE, IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Conntrack } from '../conntrack.ts'
import { type Expectation, ExpectError } from '../expect.ts'
import { Manip } from '../nat/range.ts'
import { STRIDE, zoneOf } from '../table.ts'
import { invert, Tuple } from '../tuple.ts'
import {
  announce,
  bind,
  destinationOf,
  destinationPortOf,
  expectation,
  type HelperKind,
  isTranslated,
  sourceOf,
  tcpData,
  type Words,
} from './helper.ts'
import { mangleTcp } from './mangle.ts'

// Offsets in a control message.
const PACKET_TYPE = 2
const MAGIC_COOKIE = 4
const MESSAGE_TYPE = 8
const BODY = 12
// In the body.
const CALL_ID = 0
const PEERS_CALL_ID = 2
const START_RESULT = 2
const STOP_RESULT = 0
const CALL_RESULT = 4

const CONTROL = 1
const COOKIE = 0x1a2b3c4d

const Message = {
  StartRequest: 1,
  StartReply: 2,
  StopRequest: 3,
  StopReply: 4,
  EchoRequest: 5,
  EchoReply: 6,
  OutCallRequest: 7,
  OutCallReply: 8,
  InCallRequest: 9,
  InCallReply: 10,
  InCallConnect: 11,
  ClearRequest: 12,
  DisconnectNotify: 13,
  WanError: 14,
  SetLink: 15,
} as const

/** Shortest body, by message type. */
const BODY_LEN = [0, 144, 144, 4, 4, 0, 0, 156, 20, 208, 12, 16, 4, 136, 28, 12]

/** State of the control session; the order counts. */
const Session = { None: 0, Error: 1, StopRequested: 2, Requested: 3, Confirmed: 4 } as const
const Call = {
  None: 0,
  OutRequested: 1,
  OutConfirmed: 2,
  InRequested: 3,
  InReplied: 4,
  InConfirmed: 5,
  ClearRequested: 6,
} as const

/** Result of a request that is granted. */
const GRANTED = 1

interface Master {
  session: number
  call: number
  /** As the server sees them. */
  pac: number
  pns: number
  /** As the client sees them (struct nf_nat_pptp). */
  insidePac: number
  insidePns: number
}

/** Where a message carries what NAT changes; -1: nowhere. */
function clientIdAt(type: number, dir: number): number {
  if (dir === 0)
    return type === Message.OutCallRequest || type === Message.InCallReply || type === Message.ClearRequest
      ? CALL_ID
      : -1
  switch (type) {
    case Message.OutCallReply:
      return PEERS_CALL_ID
    case Message.InCallConnect:
    case Message.WanError:
    case Message.DisconnectNotify:
    case Message.SetLink:
      return CALL_ID
    default:
      return -1
  }
}

function create(ct: Conntrack): ReturnType<HelperKind['create']> {
  const { view } = ct.host.memory
  const masters = new Map<number, Master>()
  const masterOf = (entry: number): Master => {
    let known = masters.get(entry)
    if (known === undefined) {
      known = { session: Session.None, call: Call.None, pac: 0, pns: 0, insidePac: 0, insidePns: 0 }
      masters.set(entry, known)
    }
    return known
  }
  const tuple = new Tuple()
  /** GRE between the ends of a direction of the master. */
  const gre = (entry: number, source: Words, destination: Words, sourceKey: number, key: number): Tuple => {
    ;[tuple.s0, tuple.s1, tuple.s2, tuple.s3] = source
    ;[tuple.d0, tuple.d1, tuple.d2, tuple.d3] = destination
    tuple.ports = (sourceKey << 16) | key
    tuple.meta = (IPPROTO_GRE << 8) | 4
    tuple.zone = zoneOf(ct.table.words, entry * STRIDE, 0)
    return tuple
  }

  /** pptp_destroy_siblings() */
  const destroySiblings = (entry: number): void => {
    const { pac, pns } = masters.get(entry) ?? { pac: 0, pns: 0 }
    ct.callIds.forget(entry)
    for (const dir of [0, 1]) {
      const [from, to] = dir === 0 ? [pns, pac] : [pac, pns]
      const t = gre(entry, sourceOf(ct, entry, dir), destinationOf(ct, entry, dir), from, to)
      const handle = ct.find(t)
      if (handle >= 0) {
        ct.kill(handle >> 1)
        continue
      }
      const expected = ct.expectations.find(t, entry)
      if (expected !== null) ct.expectations.remove(expected)
    }
  }

  /** pptp_expectfn(): the other direction is not expected any more, it will be the reply. */
  const matched = (entry: number, e: Expectation): void => {
    const other = new Tuple()
    if (!isTranslated(ct, e.master)) {
      invert(e.tuple, other)
      other.zone = zoneOf(ct.table.words, entry * STRIDE, 0)
      const expected = ct.expectations.find(other, entry)
      if (expected !== null) ct.expectations.remove(expected)
      return
    }
    translated(entry, e)
  }

  /** pptp_nat_expected() */
  const translated = (entry: number, e: Expectation): void => {
    const master = masterOf(e.master)
    const dir = e.nat?.dir ?? 0
    const source = sourceOf(ct, e.master, 1 - dir)
    const destination = destinationOf(ct, e.master, 1 - dir)
    // Of the call in the other direction the kernel asks the new connection, which knows none.
    const [from, to] = dir === 0 ? [master.pac, master.pns] : [0, 0]
    const expected = ct.expectations.find(gre(entry, source, destination, from, to), entry)
    if (expected !== null) ct.expectations.remove(expected)
    const key = e.nat?.port ?? 0
    bind(ct, entry, Manip.Src, destination, dir === 0 ? key : null)
    bind(ct, entry, Manip.Dst, source, dir === 1 ? key : null)
  }

  /** exp_gre() */
  const expectGre = (entry: number, master: Master, pac: number, pns: number): void => {
    const both = [0, 1].map((dir) => {
      const e = expectation(ct, entry, {
        source: sourceOf(ct, entry, dir),
        destination: destinationOf(ct, entry, dir),
        protocol: IPPROTO_GRE,
        sport: dir === 0 ? pns : pac,
        dport: dir === 0 ? pac : pns,
      })
      e.onMatch = matched
      return e
    })
    const [original, reply] = both as [Expectation, Expectation]
    if (isTranslated(ct, entry)) {
      master.insidePac = master.pac
      original.nat = { dir: 0, port: master.pns }
      original.tuple.ports = (master.insidePns << 16) | master.pac
      reply.nat = { dir: 1, port: master.insidePns }
      reply.tuple.ports = (master.insidePac << 16) | master.pns
    }
    if (announce(ct, original) !== ExpectError.None) return
    if (announce(ct, reply) !== ExpectError.None) {
      ct.expectations.remove(original)
      return
    }
    if (ct.callIds.add(entry, 0, original.tuple)) {
      if (ct.callIds.add(entry, 1, reply.tuple)) return
      ct.callIds.forget(entry)
    }
    ct.expectations.remove(reply)
    ct.expectations.remove(original)
  }

  /** pptp_inbound_pkt(): what the server says. False: it does not fit the state. */
  const inbound = (entry: number, master: Master, type: number, body: number): boolean => {
    const id = (): number => view.getUint16(body + CALL_ID)
    switch (type) {
      case Message.StartReply:
        if (master.session < Session.Requested) return false
        master.session = view.getUint8(body + START_RESULT) === GRANTED ? Session.Confirmed : Session.Error
        return true
      case Message.StopReply:
        if (master.session > Session.StopRequested) return false
        master.session = view.getUint8(body + STOP_RESULT) === GRANTED ? Session.None : Session.Error
        return true
      case Message.OutCallReply:
        if (master.session !== Session.Confirmed) return false
        if (master.call !== Call.OutRequested && master.call !== Call.OutConfirmed) return false
        if (view.getUint16(body + PEERS_CALL_ID) !== master.pns) return false
        if (view.getUint8(body + CALL_RESULT) !== GRANTED) {
          master.call = Call.None
          return true
        }
        master.call = Call.OutConfirmed
        master.pac = id()
        expectGre(entry, master, master.pac, master.pns)
        return true
      case Message.InCallRequest:
        if (master.session !== Session.Confirmed) return false
        master.call = Call.InRequested
        master.pac = id()
        return true
      case Message.InCallConnect:
        if (master.session !== Session.Confirmed) return false
        if (master.call !== Call.InReplied && master.call !== Call.InConfirmed) return false
        if (id() !== master.pns) return false
        master.call = Call.InConfirmed
        expectGre(entry, master, master.pac, master.pns)
        return true
      case Message.DisconnectNotify:
        master.call = Call.None
        destroySiblings(entry)
        return true
      case Message.WanError:
      case Message.SetLink:
      case Message.EchoRequest:
      case Message.EchoReply:
        return true
      default:
        return false
    }
  }

  /** pptp_outbound_pkt(): what the client says. */
  const outbound = (_entry: number, master: Master, type: number, body: number): boolean => {
    switch (type) {
      case Message.StartRequest:
        if (master.session !== Session.None) return false
        master.session = Session.Requested
        return true
      case Message.StopRequest:
        master.session = Session.StopRequested
        return true
      case Message.OutCallRequest:
        if (master.session !== Session.Confirmed) return false
        master.call = Call.OutRequested
        master.pns = view.getUint16(body + CALL_ID)
        return true
      case Message.InCallReply:
        if (master.call !== Call.InRequested && master.call !== Call.InReplied) return false
        if (view.getUint16(body + PEERS_CALL_ID) !== master.pac) return false
        if (view.getUint8(body + CALL_RESULT) === GRANTED) {
          master.call = Call.InReplied
          master.pns = view.getUint16(body + CALL_ID)
        } else master.call = Call.None
        return true
      case Message.ClearRequest:
        if (master.session !== Session.Confirmed) return false
        master.call = Call.ClearRequested
        return true
      case Message.SetLink:
      case Message.EchoRequest:
      case Message.EchoReply:
        return true
      default:
        return false
    }
  }

  /** The client's identifier is another one outside. */
  const translate = (pkt: Packet, entry: number, dir: number, master: Master, type: number): Verdict => {
    const at = clientIdAt(type, dir)
    if (at < 0) return Verdict.Accept
    if (dir === 0 && type === Message.OutCallRequest) {
      master.insidePns = master.pns
      master.pns = destinationPortOf(ct, entry, 1)
    }
    const id = dir === 0 ? master.pns : master.insidePns
    const bytes = Uint8Array.of(id >> 8, id & 0xff)
    return mangleTcp(ct, pkt, entry, dir, BODY + at, 2, bytes) ? Verdict.Accept : Verdict.Drop
  }

  const help = (pkt: Packet, entry: number, dir: number): Verdict => {
    if (pkt.ctInfo !== CtInfo.Established && pkt.ctInfo !== CtInfo.EstablishedReply) return Verdict.Accept
    const data = tcpData(ct, pkt)
    if (data < 0 || data + BODY > pkt.end) return Verdict.Accept
    if (view.getUint16(data + PACKET_TYPE) !== CONTROL || view.getUint32(data + MAGIC_COOKIE) !== COOKIE)
      return Verdict.Accept
    const type = view.getUint16(data + MESSAGE_TYPE)
    const body = data + BODY
    if (pkt.end - body < (BODY_LEN[type] ?? 0)) return Verdict.Accept
    const master = masterOf(entry)
    const fits = (dir === 0 ? outbound : inbound)(entry, master, type, body)
    return fits && isTranslated(ct, entry) ? translate(pkt, entry, dir, master, type) : Verdict.Accept
  }

  return {
    policies: [{ max: 2, seconds: 300 }],
    help,
    destroy: destroySiblings,
    forget: (entry) => {
      masters.delete(entry)
    },
  }
}

export const pptp: HelperKind = { name: 'pptp', families: [4], protocols: [IPPROTO_TCP], create }
