// Rewrites packets to what their connection's tuples say (nf_nat_manip_pkt, nf_nat_icmp_reply_translation).
//
//     entry     original  A:1 -> S:80        packet of the original direction   source <- reply's destination
//               reply     S:80 -> G:7        packet of the reply                destination <- original's source
//
//     ICMP error of the reply direction, quoting what was sent as G:7 -> S:80:
//               outer destination G -> A as any reply, quoted source G:7 -> A:1

import { Verdict } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import {
  changeAddress4,
  changeAddress6,
  changeIcmpId,
  changePort,
  ensureWritable,
  isEcho6,
  portHeaderLength,
  refreshIcmp6Checksum,
  refreshIcmpChecksum,
  setDestination4,
  setDestination6,
  setDestinationAndPort4,
  setDestinationPort,
  setIcmp6Id,
  setIcmpId,
  setSource4,
  setSource6,
  setSourceAndPort4,
  setSourcePort,
} from '../../datapath/rewrite.ts'
import { checksumOk6, type Memory, transportChecksumOk } from '../../datapath/wire/checksum.ts'
import { GRE_CALL_ID, GRE_PPTP_HEADER_LEN, greVersion } from '../../datapath/wire/gre.ts'
import { ICMP_HEADER_LEN, ICMP_REDIRECT, icmpIsError } from '../../datapath/wire/icmp.ts'
import { IPV4_DST, IPV4_HEADER_LEN, IPV4_SRC, ipv4HeaderLength } from '../../datapath/wire/ipv4.ts'
import { IPV6_DST, IPV6_HEADER_LEN, IPV6_SRC } from '../../datapath/wire/ipv6.ts'
import { NEXTHDR_FRAGMENT, skipHeaders, skipped } from '../../datapath/wire/ipv6-headers.ts'
import {
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import type { Conntrack } from '../conntrack.ts'
import { addressAt, DST, META, PORTS, SRC, STATUS, STRIDE, Status, TUPLE_WORDS, wordOf } from '../table.ts'
import { Manip } from './range.ts'

/** RFC 4861 §4.5. */
const NDISC_REDIRECT = 137

const NAT_MASK = Status.SrcNat | Status.DstNat
const DONE_MASK = Status.SrcNatDone | Status.DstNatDone

export class Translator {
  readonly #memory: Memory
  readonly #conntrack: Conntrack

  constructor(memory: Memory, conntrack: Conntrack) {
    this.#memory = memory
    this.#conntrack = conntrack
  }

  /**
   * Source or destination of `pkt` becomes the inverse of the other direction's tuple. Drop if its header is one that
   * cannot be translated. Hot: does not allocate, does not throw.
   */
  packet(pkt: Packet, entry: number, dir: number, manip: Manip): Verdict {
    const w = this.#conntrack.table.words
    const memory = this.#memory
    const o = entry * STRIDE + (1 - dir) * TUPLE_WORDS
    const ports = w[o + PORTS]!
    const proto = pkt.proto
    if ((proto === IPPROTO_TCP || proto === IPPROTO_UDP) && pkt.sport >= 0) {
      if (manip === Manip.Src) setSourceAndPort4(pkt, memory, w[o + DST]!, ports & 0xffff)
      else setDestinationAndPort4(pkt, memory, w[o + SRC]!, ports >>> 16)
      return Verdict.Accept
    }
    if (proto === IPPROTO_GRE && !this.#gre(pkt, pkt.l4, pkt.end, ports >>> 16, manip)) return Verdict.Drop
    if (manip === Manip.Src) {
      setSource4(pkt, memory, w[o + DST]!)
      if (proto === IPPROTO_SCTP || proto === IPPROTO_UDPLITE) setSourcePort(pkt, memory, ports & 0xffff)
    } else {
      setDestination4(pkt, memory, w[o + SRC]!)
      if (proto === IPPROTO_SCTP || proto === IPPROTO_UDPLITE) setDestinationPort(pkt, memory, ports >>> 16)
    }
    if (proto === IPPROTO_ICMP) setIcmpId(pkt, memory, ports >>> 16)
    return Verdict.Accept
  }

  /**
   * nf_nat_icmp_reply_translation: an error about a translated packet must quote it as its sender knows it. `verified`:
   * its checksum was found right before.
   */
  icmpError(pkt: Packet, manip: Manip, verified: boolean): Verdict {
    const memory = this.#memory
    const { view } = memory
    const { l4, end, ct: entry } = pkt
    const inner = l4 + ICMP_HEADER_LEN
    if (inner + IPV4_HEADER_LEN > end) return Verdict.Drop
    ensureWritable(pkt, inner + IPV4_HEADER_LEN - pkt.l3)
    if (!verified && !transportChecksumOk(pkt, memory)) return Verdict.Drop
    const w = this.#conntrack.table.words
    const status = w[entry * STRIDE + STATUS]!
    // A redirect names a gateway of this side: useless on the other one.
    if (
      view.getUint8(l4) === ICMP_REDIRECT &&
      ((status & DONE_MASK) !== DONE_MASK || (status & NAT_MASK) !== 0)
    )
      return Verdict.Drop
    const dir = pkt.ctInfo >= 3 ? 1 : 0
    const bit = (manip === Manip.Src) === (dir === 0) ? Status.SrcNat : Status.DstNat
    if ((status & bit) === 0) return Verdict.Accept

    const other = entry * STRIDE + (1 - dir) * TUPLE_WORDS
    const innerManip = manip === Manip.Src ? Manip.Dst : Manip.Src
    if (!this.#quoted(pkt, inner, other, innerManip)) return Verdict.Drop
    refreshIcmpChecksum(memory, l4, end)
    if (manip === Manip.Src) setSource4(pkt, memory, w[other + DST]!)
    else setDestination4(pkt, memory, w[other + SRC]!)
    return Verdict.Accept
  }

  /**
   * The quoted packet at `inner`, which went the other way, gets source or destination of the tuple at word `o`.
   * False if it is cut off too early.
   */
  #quoted(pkt: Packet, inner: number, o: number, manip: Manip): boolean {
    const memory = this.#memory
    const w = this.#conntrack.table.words
    const { end } = pkt
    const l4 = inner + ipv4HeaderLength(memory.view, inner)
    const proto = w[o + META]! >>> 8
    const source = manip === Manip.Src
    const ports = w[o + PORTS]!
    switch (proto) {
      case IPPROTO_TCP:
      case IPPROTO_UDP:
      case IPPROTO_UDPLITE:
      case IPPROTO_SCTP:
      case IPPROTO_ICMP:
        if (l4 + 8 > end) return false
        ensureWritable(pkt, l4 - pkt.l3 + portHeaderLength(proto, end - l4))
        break
      case IPPROTO_GRE:
        if (!this.#gre(pkt, l4, end, ports & 0xffff, manip)) return false
        break
    }
    changeAddress4(memory, inner, end, source ? IPV4_SRC : IPV4_DST, w[o + (source ? SRC : DST)]!)
    switch (proto) {
      case IPPROTO_TCP:
      case IPPROTO_UDP:
      case IPPROTO_UDPLITE:
      case IPPROTO_SCTP:
        changePort(memory, l4, end, proto, source ? 0 : 2, source ? ports >>> 16 : ports & 0xffff)
        break
      case IPPROTO_ICMP:
        if (!icmpIsError(memory.view.getUint8(l4))) changeIcmpId(memory, l4, end, ports >>> 16)
        break
    }
    return true
  }

  // -- IPv6

  /** As packet(), over IPv6. Hot: does not allocate, does not throw. */
  packet6(pkt: Packet, entry: number, dir: number, manip: Manip): Verdict {
    const w = this.#conntrack.table.words
    const memory = this.#memory
    const o = entry * STRIDE + (1 - dir) * TUPLE_WORDS
    const ports = w[o + PORTS]!
    const { proto } = pkt
    if (proto === IPPROTO_GRE && !this.#gre(pkt, pkt.l4, pkt.end, ports >>> 16, manip)) return Verdict.Drop
    const ported =
      proto === IPPROTO_TCP || proto === IPPROTO_UDP || proto === IPPROTO_SCTP || proto === IPPROTO_UDPLITE
    this.#setAddress6(pkt, o, manip)
    if (ported && manip === Manip.Src) setSourcePort(pkt, memory, ports & 0xffff)
    else if (ported) setDestinationPort(pkt, memory, ports >>> 16)
    if (proto === IPPROTO_ICMPV6) setIcmp6Id(pkt, memory, ports >>> 16)
    return Verdict.Accept
  }

  /** Source or destination becomes the opposite end of the tuple at word `o`. Hot. */
  #setAddress6(pkt: Packet, o: number, manip: Manip): void {
    const memory = this.#memory
    const w = this.#conntrack.table.words
    const at = manip === Manip.Src ? DST : SRC
    const w0 = w[o + at]!
    const w1 = w[o + wordOf(at, 1)]!
    const w2 = w[o + wordOf(at, 2)]!
    const w3 = w[o + wordOf(at, 3)]!
    if (manip === Manip.Src) setSource6(pkt, memory, w0, w1, w2, w3)
    else setDestination6(pkt, memory, w0, w1, w2, w3)
  }

  /** nf_nat_icmpv6_reply_translation. `inward`: in PREROUTING or INPUT. */
  icmpError6(pkt: Packet, manip: Manip, inward: boolean): Verdict {
    const memory = this.#memory
    const { view } = memory
    const { l4, end, ct: entry } = pkt
    const inner = l4 + ICMP_HEADER_LEN
    if (inner + IPV6_HEADER_LEN > end) return Verdict.Drop
    ensureWritable(pkt, inner + IPV6_HEADER_LEN - pkt.l3)
    if (!checksumOk6(pkt, memory, inward)) return Verdict.Drop
    const w = this.#conntrack.table.words
    const status = w[entry * STRIDE + STATUS]!
    if (
      view.getUint8(l4) === NDISC_REDIRECT &&
      ((status & DONE_MASK) !== DONE_MASK || (status & NAT_MASK) !== 0)
    )
      return Verdict.Drop
    const dir = pkt.ctInfo >= 3 ? 1 : 0
    const bit = (manip === Manip.Src) === (dir === 0) ? Status.SrcNat : Status.DstNat
    if ((status & bit) === 0) return Verdict.Accept

    const o = entry * STRIDE + (1 - dir) * TUPLE_WORDS
    if (!this.#quoted6(pkt, inner, o, manip === Manip.Src ? Manip.Dst : Manip.Src)) return Verdict.Drop
    // Over the addresses that it still has; what follows adjusts it.
    refreshIcmp6Checksum(memory, pkt.l3, l4, end)
    this.#setAddress6(pkt, o, manip)
    return Verdict.Accept
  }

  /** As #quoted(): nf_nat_ipv6_manip_pkt() of what stands at `inner`. Of a later fragment only the address changes. */
  #quoted6(pkt: Packet, inner: number, o: number, manip: Manip): boolean {
    const memory = this.#memory
    const { view } = memory
    const w = this.#conntrack.table.words
    const { end } = pkt
    const proto = w[o + META]! >>> 8
    const source = manip === Manip.Src
    const ports = w[o + PORTS]!
    const field = source ? IPV6_SRC : IPV6_DST
    const found = skipHeaders(view, inner, end)
    const l4 = found < 0 || skipped.next === NEXTHDR_FRAGMENT ? -1 : found
    if (l4 >= 0)
      switch (proto) {
        case IPPROTO_TCP:
        case IPPROTO_UDP:
        case IPPROTO_UDPLITE:
        case IPPROTO_SCTP:
        case IPPROTO_ICMPV6:
          if (l4 + 8 > end) return false
          ensureWritable(pkt, l4 - pkt.l3 + portHeaderLength(proto, end - l4))
          break
        case IPPROTO_GRE:
          if (!this.#gre(pkt, l4, end, ports & 0xffff, manip)) return false
          break
      }
    const [w0, w1, w2, w3] = addressAt(w, o, source ? SRC : DST)
    changeAddress6(memory, inner, l4, end, proto, field, w0, w1, w2, w3)
    if (l4 < 0) return true
    switch (proto) {
      case IPPROTO_TCP:
      case IPPROTO_UDP:
      case IPPROTO_UDPLITE:
      case IPPROTO_SCTP:
        changePort(memory, l4, end, proto, source ? 0 : 2, source ? ports >>> 16 : ports & 0xffff)
        break
      case IPPROTO_ICMPV6:
        if (isEcho6(view.getUint8(l4))) changeIcmpId(memory, l4, end, ports >>> 16)
        break
    }
    return true
  }

  /** gre_manip_pkt: of PPTP the call id, the destination's key. False for a version nobody knows. */
  #gre(pkt: Packet, l4: number, end: number, key: number, manip: Manip): boolean {
    if (l4 + GRE_PPTP_HEADER_LEN > end) return false
    ensureWritable(pkt, l4 - pkt.l3 + GRE_PPTP_HEADER_LEN)
    if (manip !== Manip.Dst) return true
    const { view } = this.#memory
    const version = greVersion(view, l4)
    if (version === 1) view.setUint16(l4 + GRE_CALL_ID, key)
    return version <= 1
  }
}
