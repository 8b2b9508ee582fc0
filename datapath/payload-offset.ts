// skb_get_poff() of net/core/flow_dissector.c (Linux 6.18): where the payload of a packet begins, of a tunnelled one that
// of the packet inside. Classic BPF asks for it (SKF_AD_PAY_OFFSET).
//
//     IP ─▶ protocol ─┬─ extension header ─▶ protocol
//                     ├─ IPIP, 6in4, GRE, PPTP, Ethernet in GRE ─▶ IP
//                     └─ what is neither, or a fragment: behind its header

import type { Packet } from './packet.ts'
import {
  ETH_HEADER_LEN,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_TEB,
} from './wire/ethernet.ts'
import {
  GRE_CHECKSUM_FLAG,
  GRE_KEY_FLAG,
  GRE_PROTO_PPP,
  GRE_ROUTING_FLAG,
  GRE_VERSION,
  greFits,
  greHeaderLength,
  greProtocol,
} from './wire/gre.ts'
import { NEXTHDR_DEST, NEXTHDR_FRAGMENT, NEXTHDR_HOP, NEXTHDR_ROUTING } from './wire/ipv6-headers.ts'
import {
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IGMP,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from './wire/protocol.ts'

const GRE_UP_TO_KEY = GRE_CHECKSUM_FLAG | GRE_KEY_FLAG
const PPP_HEADER_LEN = 4
const PPP_IP = 0x21
const PPP_IPV6 = 0x57
/** MAX_FLOW_DISSECT_HDRS */
const MOST_HEADERS = 15

/** What dissect() found; one reused object. */
const found = { at: 0, proto: 0, laterFragment: false }

/** Where the payload begins, from the network header on; 0: the headers are cut, or nobody knows them. Does not allocate. */
export function payloadOffset(pkt: Packet, view: DataView): number {
  if (!dissect(view, pkt.l3, pkt.end, pkt.family === 4 ? ETH_P_IP : ETH_P_IPV6)) return 0
  const at = Math.min(found.at, pkt.end)
  const offset = at - pkt.l3
  if (found.laterFragment) return offset
  switch (found.proto) {
    case IPPROTO_TCP:
      return at + 13 <= pkt.end ? offset + Math.max(20, (view.getUint8(at + 12) & 0xf0) >> 2) : offset
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
    case IPPROTO_IGMP:
      return offset + 8
    case IPPROTO_DCCP:
    case IPPROTO_SCTP:
      return offset + 12
    default:
      return offset
  }
}

/** __skb_flow_dissect() without any flag: true if it comes to an end that it knows. */
function dissect(view: DataView, start: number, end: number, ethertype: number): boolean {
  let at = start
  let type = ethertype
  let headers = 0
  found.laterFragment = false
  for (;;) {
    let proto: number
    let fragment = false
    if (type === ETH_P_IP) {
      if (at + 20 > end || (view.getUint8(at) & 15) < 5) return false
      proto = view.getUint8(at + 9)
      const place = view.getUint16(at + 6) & 0x3fff
      at += (view.getUint8(at) & 15) * 4
      fragment = place !== 0
      found.laterFragment = (place & 0x1fff) !== 0
    } else if (type === ETH_P_IPV6) {
      if (at + 40 > end) return false
      proto = view.getUint8(at + 6)
      at += 40
      while (proto === NEXTHDR_HOP || proto === NEXTHDR_ROUTING || proto === NEXTHDR_DEST) {
        if (at + 2 > end) return false
        proto = view.getUint8(at)
        at += (view.getUint8(at + 1) + 1) * 8
        if (++headers > MOST_HEADERS) return ended(at, proto)
      }
      if (proto === NEXTHDR_FRAGMENT) {
        if (at + 8 > end) return false
        fragment = true
        found.laterFragment = view.getUint16(at + 2) >> 3 !== 0
        proto = view.getUint8(at)
        at += 8
      }
    } else if (type === ETH_P_MPLS_UC || type === ETH_P_MPLS_MC) return ended(at, 0)
    else return false
    if (fragment) return ended(at, proto)
    if (proto === IPPROTO_IPIP) type = ETH_P_IP
    else if (proto === IPPROTO_IPV6) type = ETH_P_IPV6
    else if (proto === IPPROTO_GRE) {
      if (!greFits(at, end)) return false
      const flags = view.getUint16(at)
      type = greProtocol(view, at)
      const version = flags & GRE_VERSION
      const pptp = version === 1 && type === GRE_PROTO_PPP && (flags & GRE_KEY_FLAG) !== 0
      if ((flags & GRE_ROUTING_FLAG) !== 0 || (version !== 0 && !pptp)) return ended(at, proto)
      // Of the fields only the key is read.
      if ((flags & GRE_KEY_FLAG) !== 0 && at + greHeaderLength(flags & GRE_UP_TO_KEY) > end) return false
      at += greHeaderLength(flags)
      if (pptp) {
        if (at + PPP_HEADER_LEN > end) return false
        const inside = view.getUint16(at + 2)
        if (inside === PPP_IP) type = ETH_P_IP
        else if (inside === PPP_IPV6) type = ETH_P_IPV6
        at += PPP_HEADER_LEN
      } else if (type === ETH_P_TEB) {
        if (at + ETH_HEADER_LEN > end) return false
        type = view.getUint16(at + 12)
        at += ETH_HEADER_LEN
      }
    } else return ended(at, proto)
    if (++headers > MOST_HEADERS) return ended(at, proto)
  }
}

function ended(at: number, proto: number): boolean {
  found.at = at
  found.proto = proto
  return true
}
