// H.323 (ITU-T H.225.0, H.245; nf_conntrack_h323_main.c, Linux 6.18): telephones register with a gatekeeper, call each
// other, and agree on channels for voice, pictures and data.
//
//     RAS, UDP 1719      registration, admission: where calls are taken (Q.931)
//     Q.931, TCP 1720    Setup, Connect, ...: where to agree on channels (H.245); or the channels at once (fastStart)
//     H.245, TCP         OpenLogicalChannel: even port of a medium (RTP), the odd one behind it (RTCP), T.120 over TCP
//
// Calls come from the gatekeeper alone (gkrouted_only), and one that is passed on to somebody on the same side is no
// business of this host (callforward_filter), as is the default of nf_conntrack_h323. A message that cannot be read passes.

import { Verdict } from '../../datapath/hooks.ts'
import { CtInfo, type Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import type { Conntrack } from '../conntrack.ts'
import { type Expectation, ExpectError, ExpectFlag } from '../expect.ts'
import { CHANNELS, type H323Master, type H323Message, H323Nat, type Said, tcpDataOffset } from './h323-nat.ts'
import { PerReader, type Value } from './h323-per.ts'
import { RasMessages } from './h323-ras.ts'
import { sameWay } from './h323-route.ts'
import { h245Message, userInformation } from './h323-types.ts'
import {
  announce,
  BOTH,
  destinationOf,
  destinationPortOf,
  expectation,
  familyOf,
  type Helper,
  type HelperKind,
  sameWords,
  sourceOf,
  sourcePortOf,
} from './helper.ts'

/** Before a message in a stream: version 3, reserved, length with this header (RFC 1006, TPKT). */
const TPKT_LEN = 4
const TPKT_VERSION = 0x0300

// Q.931.
const DISCRIMINATOR = 0x08
const USER_USER = 0x7e

const TIMEOUT_S = 240
const H245_POLICIES = [{ max: CHANNELS * 4 + 2, seconds: TIMEOUT_S }]
const Q931_POLICIES = [{ max: CHANNELS * 4 + 4, seconds: TIMEOUT_S }]
const RAS_POLICIES = [{ max: 32, seconds: TIMEOUT_S }]

type Parts = ReturnType<HelperKind['create']>

/** What the three helpers share. */
class H323 {
  readonly #ct: Conntrack
  readonly #per: PerReader
  readonly #nat: H323Nat
  readonly #ras: RasMessages
  readonly #masters = new Map<number, H323Master>()

  constructor(ct: Conntrack) {
    this.#ct = ct
    this.#per = new PerReader(ct.host.memory.bytes)
    this.#nat = new H323Nat(ct)
    this.#ras = new RasMessages(ct, this.#per, this.#nat)
  }

  #masterOf(entry: number): H323Master {
    let master = this.#masters.get(entry)
    if (master === undefined) {
      const rtp = Array.from({ length: CHANNELS }, (): [number, number] => [0, 0])
      this.#masters.set(entry, (master = { signal: [0, 0], rtp, owed: [0, 0], ttl: 0 }))
    }
    return master
  }

  parts(policies: NonNullable<Parts['policies']>, help: Helper['help']): Parts {
    return {
      policies,
      help,
      forget: (entry) => {
        this.#masters.delete(entry)
      },
    }
  }

  /** ras_help() */
  readonly ras: Helper['help'] = (pkt, entry, dir) =>
    this.#ras.help(pkt, entry, dir, this.#masterOf(entry)) ? Verdict.Accept : Verdict.Drop

  /** h245_help() */
  readonly h245: Helper['help'] = (pkt, entry, dir) =>
    this.#stream(pkt, entry, dir, (m, length) => {
      const at = pkt.l4 + m.base
      const message = this.#per.read(h245Message, at, at, at + length)
      return message === null ? null : this.#control(m, message)
    })

  /** q931_help() */
  readonly q931: Helper['help'] = (pkt, entry, dir) =>
    this.#stream(pkt, entry, dir, (m, length) => {
      const message = this.#userInformation(pkt.l4 + m.base, length)
      return message === null ? null : this.#call(m, message)
    })

  /**
   * Reads each message of a segment (get_tpkt_data). `read`: false, the packet is to be dropped; null, it could not be
   * read, nor what follows.
   */
  #stream(
    pkt: Packet,
    entry: number,
    dir: number,
    read: (m: H323Message, length: number) => boolean | null,
  ): Verdict {
    if (pkt.ctInfo !== CtInfo.Established && pkt.ctInfo !== CtInfo.EstablishedReply) return Verdict.Accept
    const ct = this.#ct
    const { view } = ct.host.memory
    const header = tcpDataOffset(ct, pkt)
    if (header < 0) return Verdict.Accept
    const master = this.#masterOf(entry)
    const owed = master.owed[dir]!
    const total = pkt.end - pkt.l4 - header
    for (let offset = 0; ; ) {
      const left = total - offset
      const at = pkt.l4 + header + offset
      let length: number
      if (left >= TPKT_LEN && (offset === 0 || left > TPKT_LEN) && view.getUint16(at) === TPKT_VERSION) {
        const said = view.getUint16(at + 2)
        length = said - TPKT_LEN
        if (length < 0 || said > left) {
          master.owed[dir] = length > 0 && left === TPKT_LEN ? length : 0
          break
        }
        offset += TPKT_LEN
      } else {
        // NetMeeting sends the header by itself. What is no message at all leaves it waiting.
        if (offset > 0 || total <= 0 || owed > 0) master.owed[dir] = 0
        if (offset > 0 || total <= 0 || owed === 0 || owed > total) break
        length = owed
      }
      master.owed[dir] = 0
      const m: H323Message = { pkt, entry, dir, master, base: header + offset, offset }
      const done = read(m, length)
      if (done === false) return Verdict.Drop
      if (done === null) break
      offset += length
    }
    return Verdict.Accept
  }

  /** DecodeQ931(): what is among the information elements. */
  #userInformation(start: number, length: number): Value | null {
    const { view } = this.#ct.host.memory
    const end = start + length
    if (length < 2 || view.getUint8(start) !== DISCRIMINATOR) return null
    // The call reference, then the type of the message.
    let at = start + 2 + view.getUint8(start + 1)
    if (at + 2 > end) return null
    at++
    if ((view.getUint8(at) & 0x80) !== 0) at++
    while (at < end) {
      if (view.getUint8(at) === USER_USER) {
        if (at + 3 > end) return null
        const size = view.getUint16(at + 1)
        // Behind a protocol discriminator.
        if (size === 0 || at + 3 + size > end) return null
        return this.#per.read(userInformation, start, at + 4, at + 3 + size)
      }
      if (at + 2 > end) return null
      at += 2 + view.getUint8(at + 1)
    }
    return null
  }

  // -- call signalling. Each says false if the packet is to be dropped.

  /** process_q931() */
  #call(m: H323Message, message: Value): boolean {
    const pdu = message.get('pdu')
    const setup = pdu?.get('body', 'setup')
    if (setup && !this.#setup(m, setup)) return false
    for (const name of ['callProceeding', 'connect', 'alerting', 'progress']) {
      const said = pdu?.get('body', name)
      if (said && !this.#answer(m, said)) return false
    }
    const facility = pdu?.get('body', 'facility')
    if (facility && !this.#facility(m, facility)) return false
    return (pdu?.get('h245Control')?.items ?? []).every((control) => this.#control(m, control))
  }

  /** process_callproceeding() and its like. */
  #answer(m: H323Message, said: Value): boolean {
    const address = said.get('h245Address')
    if (address !== null && !this.#expectH245(m, address)) return false
    return this.#fastStart(m, said)
  }

  #fastStart(m: H323Message, said: Value): boolean {
    return (said.get('fastStart')?.items ?? []).every((channel) => this.#open(m, channel))
  }

  /** process_setup() */
  #setup(m: H323Message, setup: Value): boolean {
    const { entry, dir } = m
    const ct = this.#ct
    const address = setup.get('h245Address')
    if (address !== null && !this.#expectH245(m, address)) return false
    if (this.#nat.needed(m)) {
      const other = 1 - dir
      for (const [name, now, port] of [
        ['destCallSignalAddress', sourceOf(ct, entry, other), sourcePortOf(ct, entry, other)],
        ['sourceCallSignalAddress', destinationOf(ct, entry, other), destinationPortOf(ct, entry, other)],
      ] as const) {
        const value = setup.get(name)
        const said = value === null ? null : this.#nat.h225(m, value)
        if (said === null || sameWords(said.address, now)) continue
        if (!this.#nat.write(m, said.at, now, port)) return false
      }
    }
    return this.#fastStart(m, setup)
  }

  /** process_facility() */
  #facility(m: H323Message, facility: Value): boolean {
    if (facility.get('reason', 'callForwarded') === null) return this.#answer(m, facility)
    const to = facility.get('alternativeAddress')
    return to === null || this.#expectForwarded(m, to)
  }

  /** The sender's own address and a port; null: somebody else's, or none. */
  #own(m: H323Message, said: Said | null): Said | null {
    return said !== null && said.port !== 0 && sameWords(said.address, sourceOf(this.#ct, m.entry, m.dir))
      ? said
      : null
  }

  /** What is announced to come from the other end of the connection. */
  #fromOther(m: H323Message, protocol: number, port: number): Expectation {
    const other = 1 - m.dir
    return expectation(this.#ct, m.entry, {
      source: sourceOf(this.#ct, m.entry, other),
      destination: destinationOf(this.#ct, m.entry, other),
      protocol,
      sport: null,
      dport: port,
      flags: 0,
    })
  }

  /** expect_h245() */
  #expectH245(m: H323Message, value: Value): boolean {
    const ct = this.#ct
    const said = this.#own(m, this.#nat.h225(m, value))
    if (said === null) return true
    // The kernel has one helper for both families, and says UDP of it.
    const e = {
      ...this.#fromOther(m, IPPROTO_TCP, said.port),
      helper: ct.helpers.number('H.245', familyOf(ct, m.entry), IPPROTO_UDP),
    }
    if (this.#nat.changes(m)) return this.#nat.signalPort(m, said, e)
    return announce(ct, e) === ExpectError.None
  }

  /** expect_callforwarding() */
  #expectForwarded(m: H323Message, value: Value): boolean {
    const ct = this.#ct
    const { entry, dir } = m
    const said = this.#nat.h225(m, value)
    if (said === null || said.port === 0) return true
    const caller = sourceOf(ct, entry, 1 - dir)
    if (sameWay(ct.host, familyOf(ct, entry), said.address, caller)) return true
    const e = expectation(ct, entry, {
      source: caller,
      destination: said.address,
      protocol: IPPROTO_TCP,
      sport: null,
      dport: said.port,
      helper: ct.helpers.number('Q.931', familyOf(ct, entry), IPPROTO_TCP),
    })
    if (this.#nat.changes(m)) return this.#nat.callForwarding(m, said, e)
    return announce(ct, e) === ExpectError.None
  }

  // -- H.245

  /** process_h245() */
  #control(m: H323Message, message: Value): boolean {
    const channel = message.get('request', 'openLogicalChannel')
    if (channel !== null) return this.#open(m, channel)
    const ack = message.get('response', 'openLogicalChannelAck')
    return ack === null || this.#acknowledged(m, ack)
  }

  /** process_olc() */
  #open(m: H323Message, channel: Value): boolean {
    if (!this.#channel(m, channel.get('forward', 'multiplex', 'h2250'))) return false
    if (!this.#channel(m, channel.get('reverse', 'multiplex', 'h2250'))) return false
    if (channel.get('forward', 'dataType', 'data', 'application', 't120', 'separateLANStack') === null)
      return true
    return this.#separate(m, channel)
  }

  /** process_olca() */
  #acknowledged(m: H323Message, ack: Value): boolean {
    return (
      this.#channel(m, ack.get('reverse', 'multiplex', 'h2250')) &&
      this.#channel(m, ack.get('forwardAck', 'h2250')) &&
      this.#separate(m, ack)
    )
  }

  /** process_h245_channel() */
  #channel(m: H323Message, channel: Value | null): boolean {
    for (const name of ['mediaChannel', 'mediaControlChannel']) {
      const value = channel?.get(name)
      if (value && !this.#expectMedia(m, value)) return false
    }
    return true
  }

  /** expect_rtp_rtcp() */
  #expectMedia(m: H323Message, value: Value): boolean {
    const ct = this.#ct
    const said = this.#own(m, this.#nat.h245(m, value))
    if (said === null) return true
    const rtp = this.#fromOther(m, IPPROTO_UDP, said.port & ~1)
    const rtcp = this.#fromOther(m, IPPROTO_UDP, said.port | 1)
    if (this.#nat.changes(m)) return this.#nat.media(m, said, rtp, rtcp)
    if (announce(ct, rtp) !== ExpectError.None) return false
    if (announce(ct, rtcp) === ExpectError.None) return true
    ct.expectations.remove(rtp)
    return false
  }

  /** expect_t120() */
  #separate(m: H323Message, channel: Value): boolean {
    const value = channel.get('separateStack', 'networkAddress', 'localAreaAddress')
    const said = value === null ? null : this.#own(m, this.#nat.h245(m, value))
    if (said === null) return true
    const e = this.#fromOther(m, IPPROTO_TCP, said.port)
    e.flags = ExpectFlag.Permanent
    if (this.#nat.changes(m)) return this.#nat.t120(m, said, e)
    return announce(this.#ct, e) === ExpectError.None
  }
}

/** A host's: helpers of one call know each other's connections only through expectations, but read alike. */
const known = new WeakMap<Conntrack, H323>()
function h323Of(ct: Conntrack): H323 {
  let h323 = known.get(ct)
  if (h323 === undefined) known.set(ct, (h323 = new H323(ct)))
  return h323
}

export const ras: HelperKind = {
  name: 'RAS',
  families: BOTH,
  protocols: [IPPROTO_UDP],
  create: (ct) => h323Of(ct).parts(RAS_POLICIES, h323Of(ct).ras),
}
export const q931: HelperKind = {
  name: 'Q.931',
  families: BOTH,
  protocols: [IPPROTO_TCP],
  create: (ct) => h323Of(ct).parts(Q931_POLICIES, h323Of(ct).q931),
}
/** Its connections are expected, and TCP; by name the kernel gives it to UDP alone. */
export const h245: HelperKind = {
  name: 'H.245',
  families: BOTH,
  protocols: [IPPROTO_UDP],
  create: (ct) => h323Of(ct).parts(H245_POLICIES, h323Of(ct).h245),
}
