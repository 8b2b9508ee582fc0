// SYNPROXY (nf_synproxy_core.c, Linux 6.18): answers a client's SYN itself, and talks to the server only when the
// client has shown that it is there.
//
//     client                     this host                           server
//       | ── SYN ───────────────> |                                     |     cookie: the whole state is in its number
//       | <── SYN/ACK, window 0 ─ |                                     |
//       | ── ACK ───────────────> | cookie right: ── SYN ─────────────> |     an entry, with this file's words
//       |                         | <─────────────────────── SYN/ACK ── |
//       | <── ACK, window open ── |  ── ACK ──────────────────────────> |     numbers of the server are shifted from now on
//
// The target calls arrive(); the hooks before confirm see the server's side. What the client's options said is kept
// in the low bits of the time stamp that it echoes: window scale 0..3 (15: none), 4 SACK, 5 ECN.

import { Hook, type HookFn, Priority, Verdict } from '../datapath/hooks.ts'
import type { Host } from '../datapath/host.ts'
import { CtInfo, type CtTemplate, type Family, type Packet } from '../datapath/packet.ts'
import { fill4, fill6 } from '../datapath/parse.ts'
import { ensureWritable, setTcp32 } from '../datapath/rewrite.ts'
import { HEADROOM } from '../datapath/ring.ts'
import { isErrorType } from '../datapath/route-table.ts'
import {
  checksumOk6,
  fold,
  pseudo,
  sumView,
  transportChecksumOk,
  writeIpv4Checksum,
} from '../datapath/wire/checksum.ts'
import { IP_DF, IPV4_HEADER_LEN, IPV4_PLAIN } from '../datapath/wire/ipv4.ts'
import {
  IPV6_DST,
  IPV6_HEADER_LEN,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LEN,
  IPV6_SRC,
} from '../datapath/wire/ipv6.ts'
import { jhash4 } from '../datapath/wire/jhash.ts'
import { IPPROTO_TCP } from '../datapath/wire/protocol.ts'
import {
  TCP_ACK,
  TCP_ACK_SEQ,
  TCP_CHECKSUM,
  TCP_CWR,
  TCP_DATA_OFFSET,
  TCP_ECE,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_LEN,
  TCP_RST,
  TCP_SEQ,
  TCP_SYN,
  TCP_WINDOW,
  TCPOPT_EOL,
  TCPOPT_MSS,
  TCPOPT_NOP,
  TCPOPT_SACK_PERM,
  TCPOPT_WINDOW,
  tcpHeaderLength,
} from '../datapath/wire/tcp.ts'
import type { Conntrack } from './conntrack.ts'
import { Event, META, STRIDE } from './table.ts'
import { tcpMaxWindow, tcpState } from './trackers/tcp-entry.ts'
import { TcpState } from './trackers/tcp-states.ts'

/** NF_SYNPROXY_OPT_* */
export const SynproxyOption = { Mss: 1, Wscale: 2, SackPerm: 4, Timestamp: 8, Ecn: 16 } as const
const O = SynproxyOption

export interface SynproxyInfo {
  /** Bits of SynproxyOption. */
  readonly options: number
  readonly wscale: number
  readonly mss: number
}

const TCPOPT_TIMESTAMP = 8
const MAX_WSCALE = 14
const NO_WSCALE = 0xf

/** msstab[] of the cookies, by family. */
const MSS_TABLES: Readonly<Record<Family, readonly number[]>> = {
  4: [536, 1300, 1440, 1460],
  6: [1220, 1420, 1440, 8940],
}
const COOKIE_BITS = 24
const COOKIE_MASK = (1 << COOKIE_BITS) - 1
/** TCP_SYNCOOKIE_PERIOD: the counter in a cookie, ms; cookies of this and the last one are good. */
const COOKIE_PERIOD = 60_000
const MAX_COOKIE_AGE = 2

/** Makes conntrack give the entry of a server's SYN the words of this file (snet->tmpl). */
export const SYNPROXY_TEMPLATE: CtTemplate = {
  zone: 0,
  zoneDirs: 3,
  zoneFromMark: false,
  helper: null,
  timeoutPolicy: null,
  ctevents: null,
  expevents: null,
  synproxy: true,
}

/** struct nf_conn_synproxy */
interface Connection {
  /** Our first number, which the client knows. */
  isn: number
  /** Our time stamp in the SYN/ACK. */
  its: number
  /** What the server's time stamps are ahead of ours. */
  tsoff: number
}

/** struct synproxy_options, of the segment at hand. */
class SynOptions {
  options = 0
  wscale = 0
  mssOption = 0
  mssEncode = 0
  tsval = 0
  tsecr = 0

  clear(): void {
    this.options = this.wscale = this.mssOption = this.mssEncode = this.tsval = this.tsecr = 0
  }

  /** synproxy_parse_options(): false if the header is cut short. */
  read(view: DataView, l4: number, end: number): boolean {
    this.options = 0
    const stop = l4 + tcpHeaderLength(view, l4)
    if (stop > end) return false
    let at = l4 + TCP_HEADER_LEN
    while (at < stop) {
      const kind = view.getUint8(at)
      if (kind === TCPOPT_EOL) return true
      if (kind === TCPOPT_NOP) {
        at++
        continue
      }
      if (at + 1 >= stop) return true
      const size = view.getUint8(at + 1)
      if (size < 2 || at + size > stop) return true
      if (kind === TCPOPT_MSS && size === 4) {
        this.mssOption = view.getUint16(at + 2)
        this.options |= O.Mss
      } else if (kind === TCPOPT_WINDOW && size === 3) {
        this.wscale = Math.min(view.getUint8(at + 2), MAX_WSCALE)
        this.options |= O.Wscale
      } else if (kind === TCPOPT_TIMESTAMP && size === 10) {
        this.tsval = view.getUint32(at + 2)
        this.tsecr = view.getUint32(at + 6)
        this.options |= O.Timestamp
      } else if (kind === TCPOPT_SACK_PERM && size === 2) this.options |= O.SackPerm
      at += size
    }
    return true
  }

  /** Bytes that write() needs (synproxy_options_size). */
  get size(): number {
    let size = (this.options & O.Mss) !== 0 ? 4 : 0
    if ((this.options & O.Timestamp) !== 0) size += 12
    else if ((this.options & O.SackPerm) !== 0) size += 4
    return size + ((this.options & O.Wscale) !== 0 ? 4 : 0)
  }

  /** synproxy_build_options() */
  write(view: DataView, start: number): void {
    let at = start
    const { options } = this
    const put = (word: number): void => {
      view.setUint32(at, word)
      at += 4
    }
    const sack = (TCPOPT_SACK_PERM << 8) | 2
    const nops = (TCPOPT_NOP << 8) | TCPOPT_NOP
    if ((options & O.Mss) !== 0) put((TCPOPT_MSS << 24) | (4 << 16) | this.mssOption)
    if ((options & O.Timestamp) !== 0) {
      put((((options & O.SackPerm) !== 0 ? sack : nops) << 16) | (TCPOPT_TIMESTAMP << 8) | 10)
      put(this.tsval)
      put(this.tsecr)
    } else if ((options & O.SackPerm) !== 0) put((nops << 16) | sack)
    if ((options & O.Wscale) !== 0) put((TCPOPT_NOP << 24) | (TCPOPT_WINDOW << 16) | (3 << 8) | this.wscale)
  }

  swapStamps(): void {
    const { tsval } = this
    this.tsval = this.tsecr
    this.tsecr = tsval
  }
}

export class Synproxy {
  readonly #host: Host
  readonly #conntrack: Conntrack
  readonly #connections = new Map<number, Connection>()
  readonly #opts = new SynOptions()
  readonly #secrets: number[] = []
  readonly #users: Record<Family, number> = { 4: 0, 6: 0 }
  readonly #undo: Record<Family, (() => void)[]> = { 4: [], 6: [] }
  /** /proc/net/stat/synproxy */
  readonly stats = { synReceived: 0, cookieInvalid: 0, cookieValid: 0, cookieRetrans: 0, connReopened: 0 }

  constructor(host: Host, conntrack: Conntrack) {
    this.#host = host
    this.#conntrack = conntrack
  }

  /** Registers the hooks of a family while some rule needs them (nf_synproxy_ipv4_init). Returns the undo. */
  need(family: Family): () => void {
    if (this.#users[family]++ === 0)
      this.#undo[family] = [Hook.LocalIn, Hook.PostRouting].map((hook) =>
        this.#host.hooks.register({
          name: 'synproxy',
          family,
          hook,
          priority: Priority.ConntrackConfirm - 1,
          run: this.#hook,
          recordable: true,
        }),
      )
    return () => {
      if (--this.#users[family] > 0) return
      for (const undo of this.#undo[family]) undo()
      this.#undo[family] = []
    }
  }

  /** A new entry of a packet with SYNPROXY_TEMPLATE (nf_ct_add_synproxy). */
  begin(entry: number): void {
    this.#connections.set(entry, { isn: 0, its: 0, tsoff: 0 })
  }

  /** Whether the entry is of a connection made here. */
  has(entry: number): boolean {
    return this.#connections.has(entry)
  }

  /** The entry is freed. */
  forget(entry: number): void {
    if (this.#connections.size > 0) this.#connections.delete(entry)
  }

  // -- cookies

  /** cookie_hash(): keyed with what this host drew. */
  #hash(pkt: Packet, count: number, key: 0 | 1): number {
    while (this.#secrets.length < 4) this.#secrets.push(this.#host.random.i32())
    const ports = (pkt.sport << 16) | pkt.dport
    let saddr = pkt.s0
    let daddr = pkt.d0
    if (pkt.family === 6) {
      saddr = jhash4(pkt.s0, pkt.s1, pkt.s2, pkt.s3, this.#secrets[key * 2 + 1]!)
      daddr = jhash4(pkt.d0, pkt.d1, pkt.d2, pkt.d3, saddr)
    }
    const first = jhash4(saddr, daddr, ports, count, this.#secrets[key * 2]!)
    return jhash4(first, daddr ^ ports, saddr ^ count, this.#secrets[key * 2 + 1]!, first)
  }

  #count(): number {
    return Math.floor(this.#host.now / COOKIE_PERIOD) >>> 0
  }

  /** __cookie_v4_init_sequence(), __cookie_v6_init_sequence(): our first number for a SYN of the client with this MSS. */
  #cookie(syn: Packet, seq: number, mss: number): number {
    const table = MSS_TABLES[syn.family]
    let index = table.length - 1
    while (index > 0 && mss < table[index]!) index--
    const count = this.#count()
    const secret = (this.#hash(syn, count, 1) + index) & COOKIE_MASK
    return (this.#hash(syn, 0, 0) + seq + (count << COOKIE_BITS) + secret) >>> 0
  }

  /** __cookie_v4_check(), __cookie_v6_check(): the MSS that the cookie stands for, 0 if it is none of ours. */
  #check(pkt: Packet, seq: number, cookie: number): number {
    const count = this.#count()
    const rest = (cookie - this.#hash(pkt, 0, 0) - seq) | 0
    const age = (count - (rest >>> COOKIE_BITS)) & 0xff
    if (age >= MAX_COOKIE_AGE) return 0
    const index = (rest - this.#hash(pkt, (count - age) >>> 0, 1)) & COOKIE_MASK
    return MSS_TABLES[pkt.family][index] ?? 0
  }

  // -- segments made here

  /**
   * A segment in answer to `cause`: back to where it came from, or onwards. Its options are those at hand. Null if there
   * is no room.
   */
  #segment(
    cause: Packet,
    back: boolean,
    seq: number,
    ack: number,
    flags: number,
    win: number,
  ): Packet | null {
    const { memory, packets } = this.#host
    const { view } = memory
    const { family } = cause
    const slot = memory.take()
    if (slot < 0) return null
    const opts = this.#opts
    const header = TCP_HEADER_LEN + opts.size
    const pkt = packets.take()
    pkt.family = family
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    const l3 = slot + HEADROOM
    const l4 = l3 + (family === 4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN)
    pkt.l3 = l3
    pkt.l4 = l4
    pkt.end = l4 + header
    if (family === 4) this.#header4(cause, back, l3, pkt.end)
    else this.#header6(cause, back, l3, pkt.end)
    view.setUint16(l4, back ? cause.dport : cause.sport)
    view.setUint16(l4 + 2, back ? cause.sport : cause.dport)
    view.setInt32(l4 + TCP_SEQ, seq)
    view.setInt32(l4 + TCP_ACK_SEQ, ack)
    view.setUint8(l4 + TCP_DATA_OFFSET, header << 2)
    view.setUint8(l4 + TCP_FLAGS, flags)
    view.setUint16(l4 + TCP_WINDOW, win)
    view.setUint32(l4 + TCP_CHECKSUM, 0)
    opts.write(view, l4 + TCP_HEADER_LEN)
    // ip_route_me_harder() begins with the way that the cause has; IPv6 asks for one as a socket does.
    pkt.route = family === 4 ? cause.route : null
    pkt.local = true
    pkt.socketless = true
    pkt.csumPartial = true
    pkt.csumOk = true
    if (family === 4) fill4(pkt, view, l4)
    else fill6(pkt, view)
    const start = pseudo(pkt, IPPROTO_TCP, header)
    view.setUint16(l4 + TCP_CHECKSUM, ~fold(sumView(view, l4, pkt.end, start)))
    return pkt
  }

  /** synproxy_build_ip() */
  #header4(cause: Packet, back: boolean, l3: number, end: number): void {
    const { memory, ipv4 } = this.#host
    const { view } = memory
    view.setUint16(l3, IPV4_PLAIN << 8)
    view.setUint16(l3 + 2, end - l3)
    view.setUint16(l3 + 4, 0)
    view.setUint16(l3 + 6, IP_DF)
    view.setUint8(l3 + 8, ipv4.defaultTtl)
    view.setUint8(l3 + 9, IPPROTO_TCP)
    view.setInt32(l3 + 12, back ? cause.d0 : cause.s0)
    view.setInt32(l3 + 16, back ? cause.s0 : cause.d0)
    writeIpv4Checksum(view, l3)
  }

  /** synproxy_build_ip_ipv6() */
  #header6(cause: Packet, back: boolean, l3: number, end: number): void {
    const { view } = this.#host.memory
    view.setUint32(l3, 0x60000000)
    view.setUint16(l3 + IPV6_PAYLOAD_LEN, end - l3 - IPV6_HEADER_LEN)
    view.setUint8(l3 + IPV6_NEXT_HEADER, IPPROTO_TCP)
    view.setUint8(l3 + IPV6_HOP_LIMIT, this.#host.ipv6.hopLimit)
    const src = l3 + (back ? IPV6_DST : IPV6_SRC)
    const dst = l3 + (back ? IPV6_SRC : IPV6_DST)
    view.setInt32(src, cause.s0)
    view.setInt32(src + 4, cause.s1)
    view.setInt32(src + 8, cause.s2)
    view.setInt32(src + 12, cause.s3)
    view.setInt32(dst, cause.d0)
    view.setInt32(dst + 4, cause.d1)
    view.setInt32(dst + 8, cause.d2)
    view.setInt32(dst + 12, cause.d3)
  }

  /** synproxy_send_tcp(), synproxy_send_tcp_ipv6(): with `entry` it belongs to that connection, as an answer. */
  #send(pkt: Packet | null, entry: number, template: CtTemplate | null): void {
    if (pkt === null) return
    const host = this.#host
    if (pkt.family === 4 ? host.path.reroute(pkt) : this.#route6(pkt)) {
      if (entry >= 0) this.#conntrack.hold(pkt, entry, CtInfo.EstablishedReply)
      pkt.ctTemplate = template
      host.path.sendLocal(pkt)
    } else host.memory.give(pkt.slot)
    host.packets.give(pkt)
  }

  /** nf_ip6_route(), by protocol and ports as a socket would ask; nothing is counted if there is no way. */
  #route6(pkt: Packet): boolean {
    const { fib, path } = this.#host
    const route = path.routes6.output(fib.keyOfSocket(pkt))
    if (isErrorType(route.type)) return false
    pkt.route = route
    return true
  }

  // -- the client's side

  /** synproxy_tg4(), synproxy_tg6(): a segment of a client. A Verdict, or -1 to go on with the next rule. */
  arrive(pkt: Packet, info: SynproxyInfo): number {
    const { memory, now } = this.#host
    const { view } = memory
    const { l4 } = pkt
    if (l4 + TCP_HEADER_LEN > pkt.end || pkt.fragOffset !== 0) return Verdict.Drop
    if (
      pkt.family === 6
        ? !checksumOk6(pkt, memory, pkt.oif === 0)
        : !pkt.csumOk && !transportChecksumOk(pkt, memory)
    )
      return Verdict.Drop
    const opts = this.#opts
    opts.clear()
    if (!opts.read(view, l4, pkt.end)) return Verdict.Drop
    const flags = view.getUint8(l4 + TCP_FLAGS)
    const kind = flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST)
    const seq = view.getUint32(l4 + TCP_SEQ)
    if (kind === TCP_SYN) {
      this.stats.synReceived++
      if ((flags & (TCP_ECE | TCP_CWR)) === (TCP_ECE | TCP_CWR)) opts.options |= O.Ecn
      opts.options &= info.options
      opts.mssEncode = opts.mssOption
      opts.mssOption = info.mss
      if ((opts.options & O.Timestamp) !== 0) {
        // synproxy_init_timestamp_cookie()
        opts.tsecr = opts.tsval
        opts.tsval = (Math.floor(now) >>> 0) & ~0x3f
        if ((opts.options & O.Wscale) !== 0) {
          opts.tsval |= opts.wscale
          opts.wscale = info.wscale
        } else opts.tsval |= NO_WSCALE
        if ((opts.options & O.SackPerm) !== 0) opts.tsval |= 1 << 4
        if ((opts.options & O.Ecn) !== 0) opts.tsval |= 1 << 5
        opts.tsval >>>= 0
      } else opts.options &= ~(O.Wscale | O.SackPerm | O.Ecn)
      const reply = TCP_SYN | TCP_ACK | ((opts.options & O.Ecn) !== 0 ? TCP_ECE : 0)
      this.#send(
        this.#segment(pkt, true, this.#cookie(pkt, seq, opts.mssEncode), seq + 1, reply, 0),
        pkt.ct,
        null,
      )
      return Verdict.Drop
    }
    if (kind === TCP_ACK) {
      this.#acknowledged(pkt, seq)
      return Verdict.Drop
    }
    return -1
  }

  /** synproxy_recv_client_ack(): with a right cookie the server is asked. `first`: the number behind the client's SYN. */
  #acknowledged(pkt: Packet, first: number): boolean {
    const { view } = this.#host.memory
    const { l4 } = pkt
    const ack = view.getUint32(l4 + TCP_ACK_SEQ)
    const mss = this.#check(pkt, view.getUint32(l4 + TCP_SEQ) - 1, ack - 1)
    if (mss === 0) {
      this.stats.cookieInvalid++
      return false
    }
    this.stats.cookieValid++
    const opts = this.#opts
    opts.mssOption = mss
    opts.options |= O.Mss
    if ((opts.options & O.Timestamp) !== 0) {
      // synproxy_check_timestamp_cookie()
      opts.wscale = opts.tsecr & 0xf
      if (opts.wscale !== NO_WSCALE) opts.options |= O.Wscale
      if ((opts.tsecr & (1 << 4)) !== 0) opts.options |= O.SackPerm
      if ((opts.tsecr & (1 << 5)) !== 0) opts.options |= O.Ecn
    }
    const flags = TCP_SYN | ((opts.options & O.Ecn) !== 0 ? TCP_ECE | TCP_CWR : 0)
    // The acknowledged number tells the hook below what we began with.
    this.#send(
      this.#segment(pkt, false, first - 1, ack - 1, flags, view.getUint16(l4 + TCP_WINDOW)),
      -1,
      SYNPROXY_TEMPLATE,
    )
    return true
  }

  // -- the server's side

  /** ipv4_synproxy_hook(), ipv6_synproxy_hook(). Hot for connections of ours alone. */
  readonly #hook: HookFn = (pkt) => {
    const entry = pkt.ct
    if (entry < 0) return Verdict.Accept
    const own = this.#connections.get(entry)
    if (own === undefined || pkt.arrival?.loopback === true) return Verdict.Accept
    const { table, sequences } = this.#conntrack
    const { view } = this.#host.memory
    const { l4 } = pkt
    if (table.words[entry * STRIDE + META]! >> 8 !== IPPROTO_TCP) return Verdict.Accept
    if (pkt.proto !== IPPROTO_TCP || pkt.fragOffset !== 0) return Verdict.Accept
    if (l4 + TCP_HEADER_LEN > pkt.end) return Verdict.Drop
    const flags = view.getUint8(l4 + TCP_FLAGS)
    const seq = view.getInt32(l4 + TCP_SEQ)
    const dir = this.#conntrack.direction(pkt)
    const opts = this.#opts
    switch (tcpState(table, entry)) {
      case TcpState.Close:
        if ((flags & TCP_RST) !== 0 && dir === 1) {
          sequences.init(entry, dir, (own.isn - seq + 1) | 0)
          break
        }
        if ((flags & TCP_SYN) === 0 || (flags & TCP_ACK) !== 0 || dir !== 0) break
        // Opened again: what was shifted is found out anew.
        own.tsoff = 0
        this.stats.connReopened++
        if (!this.#sent(pkt, own, flags, dir)) return Verdict.Drop
        break
      case TcpState.SynSent:
        if (!this.#sent(pkt, own, flags, dir)) return Verdict.Drop
        break
      case TcpState.SynRecv: {
        if ((flags & (TCP_SYN | TCP_ACK)) !== (TCP_SYN | TCP_ACK)) break
        opts.clear()
        if (!opts.read(view, l4, pkt.end)) return Verdict.Drop
        if ((opts.options & O.Timestamp) !== 0) own.tsoff = (opts.tsval - own.its) | 0
        const { wscale } = opts
        opts.options &= ~(O.Mss | O.Wscale | O.SackPerm)
        const ack = view.getInt32(l4 + TCP_ACK_SEQ)
        opts.swapStamps()
        this.#send(
          this.#segment(pkt, true, ack, (seq + 1) | 0, TCP_ACK, tcpMaxWindow(table.words, entry, 0) & 0xffff),
          -1,
          null,
        )
        sequences.init(entry, dir, (own.isn - seq) | 0)
        this.#conntrack.events.note(entry, Event.SeqAdjust)
        opts.swapStamps()
        const win = view.getUint16(l4 + TCP_WINDOW) >> wscale
        this.#send(this.#segment(pkt, false, (seq + 1) | 0, ack, TCP_ACK, win), pkt.ct, null)
        return Verdict.Drop
      }
    }
    this.#adjustStamps(pkt, own, dir)
    return Verdict.Accept
  }

  /** The server has been asked and has not answered. False: the segment is to be dropped. */
  #sent(pkt: Packet, own: Connection, flags: number, dir: number): boolean {
    const { view } = this.#host.memory
    const opts = this.#opts
    opts.clear()
    if (!opts.read(view, pkt.l4, pkt.end)) return false
    if ((flags & (TCP_SYN | TCP_ACK)) === TCP_ACK && dir === 0) {
      // A keep-alive has the number before the next one, that of the SYN.
      if (this.#acknowledged(pkt, view.getUint32(pkt.l4 + TCP_SEQ) + 1)) this.stats.cookieRetrans++
      return false
    }
    own.isn = view.getInt32(pkt.l4 + TCP_ACK_SEQ)
    if ((opts.options & O.Timestamp) !== 0) own.its = opts.tsecr
    this.#conntrack.events.note(pkt.ct, Event.Synproxy)
    return true
  }

  /** synproxy_tstamp_adjust() */
  #adjustStamps(pkt: Packet, own: Connection, dir: number): void {
    if (own.tsoff === 0) return
    const { memory } = this.#host
    const { view } = memory
    const end = pkt.l4 + tcpHeaderLength(view, pkt.l4)
    if (end > pkt.end) return
    ensureWritable(pkt, end - pkt.l3)
    let at = pkt.l4 + TCP_HEADER_LEN
    while (at < end) {
      const kind = view.getUint8(at)
      if (kind === TCPOPT_EOL) return
      if (kind === TCPOPT_NOP) {
        at++
        continue
      }
      if (at + 1 === end) return
      const size = view.getUint8(at + 1)
      if (size < 2 || at + size > end) return
      if (kind === TCPOPT_TIMESTAMP && size === 10) {
        const field = dir === 1 ? at + 2 : at + 6
        const by = dir === 1 ? -own.tsoff : own.tsoff
        setTcp32(pkt, memory, field, (view.getInt32(field) + by) | 0)
        return
      }
      at += size
    }
  }
}
