// The port of a packet as sets see it, and the protocols that have ports.

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { isExtension, skipHeaders, skipped } from '../../datapath/wire/ipv6-headers.ts'
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'

const TCP_HEADER = 20
const SCTP_HEADER = 12
const UDP_HEADER = 8
const ICMP_HEADER = 8

/** Protocols whose elements carry ports (ip_set_proto_with_ports). */
export const withPorts = (proto: number): boolean =>
  proto === IPPROTO_TCP || proto === IPPROTO_UDP || proto === IPPROTO_SCTP || proto === IPPROTO_UDPLITE

/** ip_set_get_ip4_port(), ip_set_get_ip6_port(): port or ICMP type and code, and the protocol above; -1 if it has none. Hot. */
export function portWord(pkt: Packet, source: boolean, memory: FrameMemory): number {
  const { proto } = pkt
  const { bytes } = memory
  if (proto === IPPROTO_ICMP || proto === IPPROTO_ICMPV6) {
    if (proto === IPPROTO_ICMPV6 && pkt.family === 4) return proto << 16
    if (pkt.fragOffset !== 0 || pkt.l4 + ICMP_HEADER > pkt.end) return -1
    return (bytes[pkt.l4]! << 8) | bytes[pkt.l4 + 1]! | (proto << 16)
  }
  if (withPorts(proto)) {
    const port = source ? pkt.sport : pkt.dport
    // As get_port(): the whole header must be there.
    const header = proto === IPPROTO_TCP ? TCP_HEADER : proto === IPPROTO_SCTP ? SCTP_HEADER : UDP_HEADER
    return pkt.fragOffset !== 0 || port < 0 || pkt.l4 + header > pkt.end ? -1 : port | (proto << 16)
  }
  if (pkt.family === 6) {
    if (pkt.fragOffset !== 0) return -1
    if (isExtension(proto)) return cutWord(pkt, memory)
  }
  return proto !== 0 ? proto << 16 : -1
}

/**
 * Of an IPv6 packet that ends within its chain of headers, or at "no next header", which ipv6_skip_exthdr() does not get
 * through; but two bytes stand for a whole routing header, and what that names is the protocol, without anything of it.
 */
function cutWord(pkt: Packet, memory: FrameMemory): number {
  if (skipHeaders(memory.view, pkt.l3, pkt.end) < 0 || skipped.offset !== 0) return -1
  const proto = skipped.next
  return proto === IPPROTO_ICMP || proto === IPPROTO_ICMPV6 || withPorts(proto) || proto === 0
    ? -1
    : proto << 16
}
