// H.323's addresses, and what NAT makes of them (nf_nat_h323.c, Linux 6.18): six bytes in a message, address and port, are
// written over in place; ports are expected that are free outside too.

import type { Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { TCP_HEADER_LEN, tcpHeaderLength } from '../../datapath/wire/tcp.ts'
import { UDP_HEADER_LEN } from '../../datapath/wire/udp.ts'
import type { Conntrack } from '../conntrack.ts'
import { type Expectation, ExpectError } from '../expect.ts'
import { Manip } from '../nat/range.ts'
import { SRC, STRIDE, TUPLE_WORDS } from '../table.ts'
import type { Value } from './h323-per.ts'
import {
  announce,
  announceAtFreePort,
  bind,
  destinationOf,
  destinationPortOf,
  familyOf,
  followMaster,
  isTranslated,
  sameWords,
  setExpectedPort,
  sourceOf,
  sourcePortOf,
  type Words,
} from './helper.ts'
import { mangleTcp, mangleUdp } from './mangle.ts'

/** Channels whose ports are remembered: audio, video, fax and one more (H323_RTP_CHANNEL_MAX). */
export const CHANNELS = 4

type Pair = [original: number, reply: number]

/** What is known of a connection (struct nf_ct_h323_master); ports by the direction that knows them so, 0 none. */
export interface H323Master {
  /** Where calls, or control connections, are taken. */
  readonly signal: Pair
  readonly rtp: readonly Pair[]
  /** A packet header came alone: so many bytes of data are to follow. */
  readonly owed: Pair
  /** How long a registration holds, seconds, unsigned. */
  ttl: number
}

/** One message in a packet. */
export interface H323Message {
  readonly pkt: Packet
  readonly entry: number
  readonly dir: number
  readonly master: H323Master
  /** Where it begins, counted from the transport header. */
  base: number
  /** The same, counted from the transport's data. */
  readonly offset: number
}

/** An address in a message. */
export interface Said {
  readonly address: Words
  readonly port: number
  /** Where it stands in the message. */
  readonly at: number
}

const ADDRESS_LEN = 6

export class H323Nat {
  readonly #ct: Conntrack
  readonly follow: (entry: number, e: Expectation) => void

  constructor(ct: Conntrack) {
    this.#ct = ct
    this.follow = followMaster(ct)
  }

  /** NAT has to do with what these messages say. */
  needed({ entry }: H323Message): boolean {
    return familyOf(this.#ct, entry) === 4 && isTranslated(this.#ct, entry)
  }

  /** NAT has to do with what is to come from the other side: the sender is another one there. */
  changes(m: H323Message): boolean {
    const ct = this.#ct
    return this.needed(m) && !sameWords(sourceOf(ct, m.entry, m.dir), destinationOf(ct, m.entry, 1 - m.dir))
  }

  /** An address of the connection's family, at `four` or `six`; null: there is none. */
  #read(m: H323Message, four: Value | null, six: Value | null): Said | null {
    const v4 = familyOf(this.#ct, m.entry) === 4
    const value = v4 ? four : six
    if (value === null) return null
    const { view } = this.#ct.host.memory
    const at = m.pkt.l4 + m.base + value.at
    const word = (i: number): number => view.getInt32(at + 4 * i)
    return {
      address: v4 ? [word(0), 0, 0, 0] : [word(0), word(1), word(2), word(3)],
      port: view.getUint16(at + (v4 ? 4 : 16)),
      at: value.at,
    }
  }

  /** get_h225_addr() */
  h225(m: H323Message, value: Value): Said | null {
    return this.#read(m, value.get('ipAddress', 'ip'), value.get('ip6Address', 'ip'))
  }

  /** get_h245_addr() */
  h245(m: H323Message, value: Value): Said | null {
    return this.#read(
      m,
      value.get('unicastAddress', 'iPAddress', 'network'),
      value.get('unicastAddress', 'iP6Address', 'network'),
    )
  }

  /** set_addr(): false: there is no room for it. */
  write(m: H323Message, at: number, [address]: Words, port: number): boolean {
    const { pkt, entry, dir } = m
    const by = Uint8Array.of(address >>> 24, address >>> 16, address >>> 8, address, port >>> 8, port)
    const tcp = pkt.proto === IPPROTO_TCP
    const header = tcp ? tcpHeaderLength(this.#ct.host.memory.view, pkt.l4) : UDP_HEADER_LEN
    // H.245 over UDP takes the datagram for a segment, and writes elsewhere than it read. In the kernel beyond its end, too.
    if (pkt.l4 + header + m.offset + at + ADDRESS_LEN > pkt.end) return false
    const written = tcp
      ? mangleTcp(this.#ct, pkt, entry, dir, m.offset + at, ADDRESS_LEN, by)
      : mangleUdp(this.#ct, pkt, m.offset + at, ADDRESS_LEN, by)
    m.base = tcp ? header + m.offset : header
    return written
  }

  /** Writes the address that the sender has outside. */
  #outside(m: H323Message, at: number, port: number): boolean {
    return this.write(m, at, destinationOf(this.#ct, m.entry, 1 - m.dir), port)
  }

  /** set_sig_addr(): the first address at which calls are known to be taken. */
  signal(m: H323Message, values: readonly Value[]): boolean {
    const { entry, dir, master } = m
    const ct = this.#ct
    for (const [i, value] of values.entries()) {
      const said = this.h225(m, value)
      if (said === null || said.port !== master.signal[dir]) continue
      const port = master.signal[1 - dir]!
      if (sameWords(said.address, sourceOf(ct, entry, dir)))
        return this.#outside(m, (i > 0 ? this.#loopback(m, values[0]!) : null)?.at ?? said.at, port)
      if (sameWords(said.address, destinationOf(ct, entry, dir)))
        return this.write(m, said.at, sourceOf(ct, entry, 1 - dir), port)
    }
    return true
  }

  /** GnomeMeeting's first address may be its own 127.0.0.1. */
  #loopback(m: H323Message, value: Value): Said | null {
    const first = this.h225(m, value)
    return first !== null && first.address[0] >>> 24 === 127 ? first : null
  }

  /** set_ras_addr(): the first address that is the sender's. */
  ras(m: H323Message, values: readonly Value[]): boolean {
    const { entry, dir } = m
    const ct = this.#ct
    for (const value of values) {
      const said = this.h225(m, value)
      if (said === null || !sameWords(said.address, sourceOf(ct, entry, dir))) continue
      if (said.port !== sourcePortOf(ct, entry, dir)) continue
      return this.#outside(m, said.at, destinationPortOf(ct, entry, 1 - dir))
    }
    return true
  }

  #saved(m: H323Message, e: Expectation, onMatch = this.follow): void {
    e.nat = { dir: 1 - m.dir, port: e.tuple.ports & 0xffff }
    e.onMatch = onMatch
  }

  /** nat_rtp_rtcp(): a pair of ports that is free outside. False: the message is to be dropped. */
  media(m: H323Message, said: Said, rtp: Expectation, rtcp: Expectation): boolean {
    const { dir, master } = m
    const even = rtp.tuple.ports & 0xffff
    this.#saved(m, rtp)
    this.#saved(m, rtcp)
    const channel = master.rtp.find((ports) => ports[dir] === even || ports[dir] === 0)
    if (channel === undefined) return true
    const port = this.#pair(rtp, rtcp, even)
    if (port === 0) return true
    if (!this.#outside(m, said.at, port | (said.port & 1))) {
      this.#ct.expectations.remove(rtp)
      this.#ct.expectations.remove(rtcp)
      return false
    }
    channel[dir] = even
    channel[1 - dir] = port
    return true
  }

  /** Announces both, from `port` on upwards. The even port, 0: none is free. */
  #pair(rtp: Expectation, rtcp: Expectation, port: number): number {
    const ct = this.#ct
    for (let at = port; at !== 0; at = (at + 2) & 0xffff) {
      setExpectedPort(rtp, at)
      const first = announce(ct, rtp)
      if (first === ExpectError.Busy) continue
      if (first !== ExpectError.None) return 0
      setExpectedPort(rtcp, at + 1)
      const second = announce(ct, rtcp)
      if (second === ExpectError.None) return at
      ct.expectations.remove(rtp)
      if (second !== ExpectError.Busy) return 0
    }
    return 0
  }

  /** Announces at `port` or above it and writes the place down. The port, 0 none is free, -1: to be dropped. */
  #moved(m: H323Message, said: Said, e: Expectation, port: number): number {
    const free = announceAtFreePort(this.#ct, e, port)
    if (free === 0 || this.#outside(m, said.at, free)) return free
    this.#ct.expectations.remove(e)
    return -1
  }

  /** nat_t120() */
  t120(m: H323Message, said: Said, e: Expectation): boolean {
    this.#saved(m, e)
    return this.#moved(m, said, e, said.port) >= 0
  }

  /** nat_h245(), nat_q931(): a port that was announced before has its name outside already. */
  signalPort(m: H323Message, said: Said, e: Expectation, first: Value | null = null): boolean {
    const { dir, master } = m
    this.#saved(m, e)
    const known = master.signal[dir] === said.port
    const port = this.#moved(m, said, e, known ? master.signal[1 - dir]! : said.port)
    if (port <= 0) return port === 0
    master.signal[dir] = said.port
    master.signal[1 - dir] = port
    const loopback = first === null ? null : this.#loopback(m, first)
    if (loopback === null || this.#outside(m, loopback.at, port)) return true
    this.#ct.expectations.remove(e)
    return false
  }

  /** nat_callforwarding(): the call to somebody else comes here first. */
  callForwarding(m: H323Message, said: Said, e: Expectation): boolean {
    const ct = this.#ct
    const { tuple: t } = e
    e.nat = { dir: 1 - m.dir, port: said.port, address: [t.d0, t.d1, t.d2, t.d3] }
    e.onMatch = (entry, { nat }) => {
      // As those who are called see it: the caller itself, or whom it called.
      const at = entry * STRIDE + (1 - nat!.dir) * TUPLE_WORDS + SRC
      bind(ct, entry, Manip.Src, [ct.table.words[at]!, 0, 0, 0], null)
      bind(ct, entry, Manip.Dst, nat!.address!, nat!.port)
    }
    ;[t.d0, t.d1, t.d2, t.d3] = destinationOf(ct, m.entry, 1 - m.dir)
    return this.#moved(m, said, e, said.port) >= 0
  }
}

/** A TCP header is there: offset of what follows it, from the transport header on; -1. */
export function tcpDataOffset(ct: Conntrack, pkt: Packet): number {
  return pkt.l4 + TCP_HEADER_LEN > pkt.end ? -1 : tcpHeaderLength(ct.host.memory.view, pkt.l4)
}
