// The local stack of a host where nobody listens: what answers, and what the host learns from what it is told
// (ip_protocol_deliver_rcu() of net/ipv4/ip_input.c, udp.c, icmp.c; 6.18).

import { IpStat, Reason, UdpStat } from '../counters.ts'
import { Fate } from '../fate.ts'
import { newFlowKey, RouteType } from '../fib.ts'
import type { Host } from '../host.ts'
import { type Packet, PacketType } from '../packet.ts'
import type { Path } from '../path.ts'
import { isToMany } from '../route.ts'
import { coversPart, isPlausible, isSummedAtOnce, transportChecksumOk } from '../wire/checksum.ts'
import {
  ICMP_DEST_UNREACH,
  ICMP_ECHOREPLY,
  ICMP_FRAG_NEEDED,
  ICMP_HEADER_LEN,
  ICMP_PORT_UNREACH,
  ICMP_PROT_UNREACH,
  ICMP_SEQUENCE,
} from '../wire/icmp.ts'
import { IPV4_HEADER_LEN, ipv4Dst, ipv4HeaderLength, ipv4Protocol, ipv4Src, ipv4Tos } from '../wire/ipv4.ts'
import {
  IPPROTO_ICMP,
  IPPROTO_IGMP,
  IPPROTO_PIM,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../wire/protocol.ts'
import type { Ipv4Path } from './path.ts'

/** Protocols that this host has a handler for (inet_protos[]). */
function isKnown(protocol: number): boolean {
  switch (protocol) {
    case IPPROTO_ICMP:
    case IPPROTO_IGMP:
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_PIM:
      return true
  }
  return false
}

export class LocalStack4 {
  readonly #host: Host
  readonly #path: Path
  readonly #ipv4: Ipv4Path
  readonly #key = newFlowKey()

  constructor(host: Host, path: Path, ipv4: Ipv4Path) {
    this.#host = host
    this.#path = path
    this.#ipv4 = ipv4
  }

  /**
   * ip_protocol_deliver_rcu() on a host where nobody listens. The handlers of TCP and UDP let go of the conntrack
   * entry first, so that what they answer has one of its own.
   */
  receive(pkt: Packet): Fate {
    const host = this.#host
    host.counters.count4(isKnown(pkt.proto) ? IpStat.InDelivers : IpStat.InUnknownProtos)
    switch (pkt.proto) {
      case IPPROTO_ICMP:
        if (
          pkt.l4 + ICMP_HEADER_LEN <= pkt.end &&
          host.memory.view.getUint16(pkt.l4) === ((ICMP_DEST_UNREACH << 8) | ICMP_FRAG_NEEDED)
        )
          this.#learnMtu(pkt)
        host.replies.localIcmp(pkt)
        this.#path.why = Reason.Delivered
        return this.#path.end(pkt, Fate.Delivered)
      case IPPROTO_TCP:
        host.tracker?.release(pkt)
        // Its pseudo header has the destination that a source route led to.
        if (pkt.opt.srr !== 0) pkt.csumOk = pkt.csumPartial
        this.#path.why = host.replies.localTcpReset(pkt) ? Reason.Port : Reason.Delivered
        return this.#path.end(pkt, Fate.Delivered)
      case IPPROTO_UDP:
      case IPPROTO_UDPLITE:
        host.tracker?.release(pkt)
        return this.#udp(pkt)
      case IPPROTO_IGMP:
      case IPPROTO_PIM:
        this.#path.why = Reason.Delivered
        return this.#path.end(pkt, Fate.Delivered)
      default:
        host.replies.icmpError(pkt, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0)
        this.#path.why = Reason.Protocol
        return this.#path.end(pkt, Fate.Delivered)
    }
  }

  /**
   * __udp4_lib_rcv() without a socket: the checksum is looked at before anybody is told, whatever conntrack said of
   * it: that was about all of the packet, and about the destination before a source route took effect.
   */
  #udp(pkt: Packet): Fate {
    const host = this.#host
    const view = host.memory.view
    const length = pkt.end - pkt.l4
    const stats = pkt.proto === IPPROTO_UDP ? host.counters.udp4 : host.counters.udpLite4
    const claimed = length < 8 ? 0 : view.getUint16(pkt.l4 + 4)
    if (length < 8 || claimed > length) return this.#badUdp(pkt, stats)
    if (pkt.proto === IPPROTO_UDP) {
      if (claimed < 8) return this.#badUdp(pkt, stats)
      // What lies behind the datagram is no part of it, nor of the error's quote (pskb_trim_rcsum).
      if (claimed < length) {
        pkt.end = pkt.l4 + claimed
        pkt.sumEnd = 0
      }
    }
    // What ip_mc_output() gave back to this host is believed, if nobody summed it up on the way (dev_loopback_xmit()).
    if (pkt.pktType !== PacketType.Loopback || pkt.residue >= 0) pkt.csumOk = pkt.csumPartial
    const toMany = isToMany(pkt.route!)
    // Of what goes to many, a short datagram is summed up nonetheless, and of all others conntrack's word is taken.
    const looked =
      !toMany ||
      (pkt.proto === IPPROTO_UDPLITE && !isPlausible(pkt, view)) ||
      ((pkt.residue >= 0 || isSummedAtOnce(pkt)) && !coversPart(pkt, view))
    if (looked && !transportChecksumOk(pkt, host.memory)) {
      stats[UdpStat.InCsumErrors]!++
      return this.#badUdp(pkt, stats)
    }
    if (toMany) {
      stats[UdpStat.IgnoredMulti]!++
      this.#path.why = Reason.Delivered
      return this.#path.end(pkt, Fate.Delivered)
    }
    stats[UdpStat.NoPorts]!++
    host.replies.icmpError(pkt, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0)
    this.#path.why = Reason.Port
    return this.#path.end(pkt, Fate.Delivered)
  }

  #badUdp(pkt: Packet, stats: Float64Array): Fate {
    stats[UdpStat.InErrors]!++
    return this.#path.drop(pkt, Reason.BadTransport)
  }

  /**
   * icmp_err() of "fragmentation needed" about an echo reply of ours: nobody else here sends anything that listens.
   * As icmp_unreach() and ipv4_update_pmtu().
   */
  #learnMtu(pkt: Packet): void {
    const host = this.#host
    const { fib, ipv4, memory } = host
    const view = memory.view
    const inner = pkt.l4 + ICMP_HEADER_LEN
    if (ipv4.noPmtuDisc >= 2 || isToMany(pkt.route!) || inner + IPV4_HEADER_LEN > pkt.end) return
    const header = ipv4HeaderLength(view, inner)
    if (header < IPV4_HEADER_LEN || inner + header + ICMP_HEADER_LEN > pkt.end) return
    if (ipv4Protocol(view, inner) !== IPPROTO_ICMP || view.getUint8(inner + header) !== ICMP_ECHOREPLY) return
    if (!transportChecksumOk(pkt, memory)) return
    const key = this.#key
    fib.fill(key, pkt)
    key.d0 = ipv4Dst(view, inner)
    key.s0 = ipv4Src(view, inner)
    key.tos = ipv4Tos(view, inner)
    key.iif = 0
    key.mark = ipv4.fwmarkReflect ? pkt.mark : 0
    const route = fib.output(key)
    if (route === null || route.type !== RouteType.Unicast) return
    const said = ipv4.noPmtuDisc === 0 ? view.getUint16(pkt.l4 + ICMP_SEQUENCE) : 0
    const old = this.#ipv4.mtu(route, key.d0, false)
    this.#ipv4.pathMtus.update(route, key.d0, said, old, ipv4.minPmtu, ipv4.mtuExpires * 1000)
  }
}
