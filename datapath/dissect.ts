// What skb_flow_dissect() finds of an IPv6 packet (net/core/flow_dissector.c of Linux 6.18): policy rules and the hash of
// multipath routes go by it. It stops earlier than ipv6_find_hdr(): AH is a protocol with an SPI, any fragment header the
// end, mobility no extension.

import type { Packet } from './packet.ts'
import { IPV6_HEADER_LEN, IPV6_NEXT_HEADER } from './wire/ipv6.ts'
import {
  extensionLength,
  FRAGMENT_HEADER_LEN,
  NEXTHDR_DEST,
  NEXTHDR_FRAGMENT,
  NEXTHDR_HOP,
  NEXTHDR_ROUTING,
} from './wire/ipv6-headers.ts'
import {
  IPPROTO_AH,
  IPPROTO_DCCP,
  IPPROTO_ESP,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from './wire/protocol.ts'

/** What dissect6() and dissectFrom() found; one reused object. */
export const dissected6 = {
  /** Of the header where they stopped. */
  proto: 0,
  /** Where that begins. */
  at: 0,
  /** It belongs to a fragment, atomic ones too. */
  fragment: false,
  /** Both ports, source first, or what stands for them; 0 none. */
  ports: 0,
}

/** Does not allocate. */
export function dissect6(pkt: Packet, view: DataView): void {
  dissectFrom(view, pkt.l3 + IPV6_HEADER_LEN, pkt.end, view.getUint8(pkt.l3 + IPV6_NEXT_HEADER))
}

/** The same from the header at `at` on, which is of the kind `next`. */
export function dissectFrom(view: DataView, at: number, end: number, next: number): void {
  while ((next === NEXTHDR_HOP || next === NEXTHDR_ROUTING || next === NEXTHDR_DEST) && at + 2 <= end) {
    const length = extensionLength(view, next, at)
    next = view.getUint8(at)
    at += length
  }
  const found = dissected6
  found.ports = 0
  found.fragment = next === NEXTHDR_FRAGMENT && at + FRAGMENT_HEADER_LEN <= end
  found.proto = found.fragment ? view.getUint8(at) : next
  found.at = found.fragment ? at + FRAGMENT_HEADER_LEN : at
  if (found.fragment) return
  const offset = portsOffset(next)
  if (offset >= 0 && at + offset + 4 <= end) found.ports = view.getInt32(at + offset)
}

/** proto_ports_offset(): where a protocol has its ports, or what stands for them; -1: it has none. */
export function portsOffset(proto: number): number {
  switch (proto) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_DCCP:
    case IPPROTO_ESP:
    case IPPROTO_SCTP:
    case IPPROTO_UDPLITE:
      return 0
    case IPPROTO_AH:
      return 4
    default:
      return -1
  }
}
