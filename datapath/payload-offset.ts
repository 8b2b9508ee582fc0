// skb_get_poff() of net/core/flow_dissector.c (Linux 6.18): where the payload of a packet begins, of a tunnelled one that
// of the packet inside. Classic BPF asks for it (SKF_AD_PAY_OFFSET).

import { dissectFlow, flow } from './flow-dissector.ts'
import type { Packet } from './packet.ts'
import {
  IPPROTO_DCCP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IGMP,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from './wire/protocol.ts'

/** Where the payload begins, from the network header on; 0: the headers are cut, or nobody knows them. Does not allocate. */
export function payloadOffset(pkt: Packet, view: DataView): number {
  if (!dissectFlow(pkt, view)) return 0
  const { at } = flow
  const offset = at - pkt.l3
  if (flow.laterFragment) return offset
  switch (flow.proto) {
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
