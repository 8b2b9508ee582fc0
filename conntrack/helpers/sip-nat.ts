// SIP behind NAT (nf_nat_sip.c, Linux 6.18): what a message says about this connection's ends is translated as the
// connection is; media and callers are expected at ports that are free outside.

import type { Packet } from '../../datapath/packet.ts'
import { formatIpv4, formatIpv6 } from '../../datapath/wire/address.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { tcpHeaderLength } from '../../datapath/wire/tcp.ts'
import { UDP_DST, UDP_HEADER_LEN } from '../../datapath/wire/udp.ts'
import type { Conntrack } from '../conntrack.ts'
import { type Expectation, ExpectError } from '../expect.ts'
import { Manip } from '../nat/range.ts'
import { META, STRIDE } from '../table.ts'
import {
  announce,
  announceAtFreePort,
  bind,
  CANNOT_MANGLE,
  destinationOf,
  destinationPortOf,
  protocolOf,
  refuse,
  sameWords,
  setExpectedPort,
  sourceOf,
  sourcePortOf,
  type Words,
} from './helper.ts'
import { ascii, mangleTcp, mangleUdp } from './mangle.ts'
import { type SdpLine, SipHeader, type SipText, type Uri } from './sip-text.ts'

/** Expectation classes (enum sip_expectation_classes). */
export const SipClass = { Signalling: 0, Audio: 1, Video: 2, Image: 3 } as const

/** What is known of a signalling connection (struct nf_ct_sip_master). */
export interface SipMaster {
  registerCseq: number
  inviteCseq: number
  /** A phone that sends from another port than it listens at; 0 none. */
  forcedPort: number
}

/** A message on its way. */
export interface SipMessage {
  readonly pkt: Packet
  readonly entry: number
  readonly dir: number
  readonly master: SipMaster
  /** Where it begins, from pkt.l4 on. */
  offset: number
  readonly text: SipText
}

export class SipNat {
  readonly #ct: Conntrack

  constructor(ct: Conntrack) {
    this.#ct = ct
  }

  /** mangle_packet(): false: there is no room. */
  #mangle(m: SipMessage, at: number, length: number, by: string): boolean {
    const ct = this.#ct
    const { pkt, text } = m
    const bytes = ascii(by)
    let done: boolean
    if (protocolOf(ct, m.entry) === IPPROTO_TCP) {
      const from = m.offset - tcpHeaderLength(ct.host.memory.view, pkt.l4) + at
      done = mangleTcp(ct, pkt, m.entry, m.dir, from, length, bytes, false)
    } else done = mangleUdp(ct, pkt, m.offset - UDP_HEADER_LEN + at, length, bytes)
    if (!done) return false
    text.start = pkt.l4 + m.offset
    text.length += bytes.length - length
    return true
  }

  #plain(m: SipMessage, w: Words): string {
    return m.text.family === 4 ? formatIpv4(w[0]) : formatIpv6(...w)
  }

  #bracketed(m: SipMessage, w: Words): string {
    return m.text.family === 4 ? formatIpv4(w[0]) : `[${formatIpv6(...w)}]`
  }

  /** map_addr(): an address that is an end of this connection becomes what it is on the other side. */
  #map(m: SipMessage, { at, length, address, port }: Uri): boolean {
    const ct = this.#ct
    const { entry, dir } = m
    let now: Words
    let nowPort: number
    if (sameWords(sourceOf(ct, entry, dir), address) && sourcePortOf(ct, entry, dir) === port) {
      now = destinationOf(ct, entry, 1 - dir)
      nowPort = destinationPortOf(ct, entry, 1 - dir)
    } else if (
      sameWords(destinationOf(ct, entry, dir), address) &&
      destinationPortOf(ct, entry, dir) === port
    ) {
      now = sourceOf(ct, entry, 1 - dir)
      nowPort = m.master.forcedPort || sourcePortOf(ct, entry, 1 - dir)
    } else return true
    if (sameWords(now, address) && nowPort === port) return true
    return this.#mangle(m, at, length, `${this.#bracketed(m, now)}:${nowPort}`)
  }

  #mapHeader(m: SipMessage, header: (typeof SipHeader)['From' | 'To']): boolean {
    const found = m.text.uri(0, header)
    return found === null || found === 'bad' || this.#map(m, found)
  }

  /** nf_nat_sip(): false: the message is to be dropped. */
  message(m: SipMessage): boolean {
    const { text, dir, master, pkt } = m
    const request = !text.isAt(0, text.length, 'SIP/2.0')
    if (request) {
      const found = text.request()
      if (found !== null && found !== 'bad' && !this.#map(m, found)) return false
    }
    if (!this.#via(m, request)) return false
    for (let at = 0, inHeader = false; ; inHeader = true) {
      const found = text.uri(at, SipHeader.Contact, inHeader)
      if (found === null || found === 'bad') break
      at = found.at + found.length
      if (!this.#map(m, found)) return false
    }
    if (!this.#mapHeader(m, SipHeader.From) || !this.#mapHeader(m, SipHeader.To)) return false
    if (dir === 0 || master.forcedPort === 0) return true
    this.#ct.host.memory.view.setUint16(pkt.l4 + UDP_DST, master.forcedPort)
    pkt.dport = master.forcedPort
    return mangleUdp(this.#ct, pkt, 0, 0, new Uint8Array())
  }

  /** The topmost Via header and its parameters, if it is about this connection. */
  #via(m: SipMessage, request: boolean): boolean {
    const ct = this.#ct
    const { text, entry, dir } = m
    const found = text.uri(0, protocolOf(ct, entry) === IPPROTO_TCP ? SipHeader.ViaTcp : SipHeader.ViaUdp)
    if (found === null || found === 'bad') return true
    const source = sourceOf(ct, entry, dir)
    const destination = destinationOf(ct, entry, dir)
    const own = request
      ? sameWords(found.address, source) && found.port === sourcePortOf(ct, entry, dir)
      : sameWords(found.address, destination) && found.port === destinationPortOf(ct, entry, dir)
    if (!own) return true
    const before = text.length
    if (!this.#map(m, found)) return false
    const end = found.at + found.length + text.length - before

    // Where answers go (RFC 3261 18.1.1).
    const maddr = text.addressParam(end, 'maddr=', true)
    const outside = destinationOf(ct, entry, 1 - dir)
    if (maddr !== null && sameWords(maddr.address, source) && !sameWords(maddr.address, outside))
      if (!this.#mangle(m, maddr.at, maddr.length, this.#bracketed(m, outside))) return false

    // Where the request came from (18.2.1), and from which port (RFC 3581).
    const received = text.addressParam(end, 'received=', false)
    const inside = sourceOf(ct, entry, 1 - dir)
    if (received !== null && sameWords(received.address, destination) && !sameWords(received.address, inside))
      if (!this.#mangle(m, received.at, received.length, this.#plain(m, inside))) return false

    const rport = text.numberParam(end, 'rport=')
    if (rport === null || rport === 'bad') return true
    const port = sourcePortOf(ct, entry, 1 - dir)
    const said = rport.value & 0xffff
    if (said !== destinationPortOf(ct, entry, dir) || said === port) return true
    return this.#mangle(m, rport.at, rport.length, `${port}`)
  }

  /** nf_nat_sip_expected(): media and calls go to whom they were announced for. */
  readonly #expected = (entry: number, e: Expectation): void => {
    const ct = this.#ct
    const { dir, port, address } = e.nat!
    bind(ct, entry, Manip.Dst, address!, port)
    const w = ct.table.words
    const source = sourceOf(ct, entry, 0)
    const sport = sourcePortOf(ct, entry, 0)
    if (e.class !== SipClass.Signalling) {
      // The source, if it is a medium of this call, has a name outside already.
      const pair = ct.expectations
        .of(e.master)
        .find(
          (p) =>
            p.tuple.meta === w[entry * STRIDE + META] &&
            sameWords(p.nat?.address ?? NOWHERE, source) &&
            (p.nat?.port ?? 0) === sport,
        )
      if (pair !== undefined) {
        const t = pair.tuple
        bind(ct, entry, Manip.Src, [t.d0, t.d1, t.d2, t.d3], t.ports & 0xffff)
        return
      }
    }
    if (sameWords(source, sourceOf(ct, e.master, dir)))
      bind(ct, entry, Manip.Src, destinationOf(ct, e.master, 1 - dir), null)
  }

  /** The address at which the other side will look for what is announced in this message. */
  #outside(m: SipMessage, e: Expectation): Words {
    const ct = this.#ct
    const outside = destinationOf(ct, m.entry, 1 - m.dir)
    return sameWords(sourceOf(ct, m.entry, m.dir), outside) ? destinationIn(e) : outside
  }

  #move(m: SipMessage, e: Expectation, outside: Words): void {
    e.nat = { dir: 1 - m.dir, port: e.tuple.ports & 0xffff, address: destinationIn(e) }
    ;[e.tuple.d0, e.tuple.d1, e.tuple.d2, e.tuple.d3] = outside
    e.onMatch = this.#expected
  }

  /** nf_nat_sip_expect(): calls to a contact that is registered, at [at, at + length) of the message. Why not, or null. */
  expect(m: SipMessage, e: Expectation, at: number, length: number): string | null {
    const ct = this.#ct
    const outside = this.#outside(m, e)
    const wanted = e.tuple.ports & 0xffff
    const own = m.master.forcedPort || sourcePortOf(ct, m.entry, m.dir)
    this.#move(m, e, outside)
    const port = announceAtFreePort(
      ct,
      e,
      wanted === own ? destinationPortOf(ct, m.entry, 1 - m.dir) : wanted,
    )
    if (port === 0) return 'all ports in use for SIP'
    if (sameWords(outside, e.nat!.address!) && port === wanted) return null
    if (this.#mangle(m, at, length, `${this.#bracketed(m, outside)}:${port}`)) return null
    ct.expectations.remove(e)
    return CANNOT_MANGLE
  }

  /** nf_nat_sdp_media(): a pair of ports for a medium. The address outside, null: to be dropped. */
  media(m: SipMessage, rtp: Expectation, rtcp: Expectation, at: number, length: number): Words | null {
    const ct = this.#ct
    const outside = this.#outside(m, rtp)
    const wanted = rtp.tuple.ports & 0xffff
    this.#move(m, rtp, outside)
    this.#move(m, rtcp, outside)
    let port = wanted
    // As 16 bits: past the last port there is 0 or 1, as in the kernel.
    for (; port !== 0; port = (port + 2) & 0xffff) {
      setExpectedPort(rtp, port)
      const first = announce(ct, rtp, true)
      if (first === ExpectError.Busy) continue
      if (first !== ExpectError.None) {
        port = 0
        break
      }
      setExpectedPort(rtcp, (port + 1) & 0xffff)
      const second = announce(ct, rtcp, true)
      if (second === ExpectError.None) break
      ct.expectations.remove(rtp)
      if (second !== ExpectError.Busy) {
        port = 0
        break
      }
    }
    if (port === 0) {
      refuse(ct, m.pkt, m.entry, 'all ports in use for SDP media')
      return null
    }
    if (port === wanted || this.port(m, at, length, port)) return outside
    ct.expectations.remove(rtp)
    ct.expectations.remove(rtcp)
    return null
  }

  /** mangle_content_len(): of what follows the headers. */
  #contentLength(m: SipMessage): boolean {
    const { text } = m
    const version = text.sdp(0, 'version', null)
    if (version === null || version === 'bad') return false
    const span = text.value(SipHeader.ContentLength)
    if (span === null) return false
    return this.#mangle(m, span.at, span.length, `${text.length - version.at + 'v='.length}`)
  }

  /** nf_nat_sdp_port() */
  port(m: SipMessage, at: number, length: number, port: number): boolean {
    return this.#mangle(m, at, length, `${port}`) && this.#contentLength(m)
  }

  /** Null: there is no such line. */
  #sdp(m: SipMessage, from: number, kind: SdpLine, by: string): boolean | null {
    const span = m.text.sdp(from, kind, 'media')
    return span === null || span === 'bad' ? null : this.#mangle(m, span.at, span.length, by)
  }

  /** nf_nat_sdp_addr(): the address of one medium. */
  mediaAddress(m: SipMessage, from: number, address: Words): boolean {
    return this.#sdp(m, from, 'connection', this.#plain(m, address)) === true && this.#contentLength(m)
  }

  /** nf_nat_sdp_session(): owner and address of the session. */
  session(m: SipMessage, from: number, address: Words): boolean {
    const by = this.#plain(m, address)
    if (this.#sdp(m, from, 'owner', by) !== true) return false
    return this.#sdp(m, from, 'connection', by) !== false && this.#contentLength(m)
  }
}

const NOWHERE: Words = [0, 0, 0, 0]

const destinationIn = ({ tuple: t }: Expectation): Words => [t.d0, t.d1, t.d2, t.d3]
