// __skb_flow_dissect() of net/core/flow_dissector.c (Linux 6.18): the headers of a packet, of a tunnelled one down to the
// innermost. The hash of multipath routes goes by it, and the payload offset that classic BPF asks for.
//
//     IP ─▶ protocol ─┬─ extension header ─▶ protocol
//                     ├─ IPIP, 6in4 ─▶ IP
//                     ├─ GRE, PPTP ─▶ EtherType ─┬─ IP
//                     │                          ├─ VLAN, PPPoE, HSR, batman-adv ─▶ EtherType
//                     │                          └─ MPLS, TIPC, ARP …: the end
//                     └─ what is neither, or a fragment: the end
//
// What an outer header said stays where an inner one that is cut or damaged says nothing.

import { portsOffset } from './dissect.ts'
import type { Packet } from './packet.ts'
import {
  ETH_HEADER_LEN,
  ETH_P_1588,
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_ARP,
  ETH_P_BATMAN,
  ETH_P_CFM,
  ETH_P_FCOE,
  ETH_P_HSR,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_PPP_SES,
  ETH_P_PRP,
  ETH_P_RARP,
  ETH_P_TEB,
  ETH_P_TIPC,
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
import {
  IP_MF,
  IP_OFFSET,
  IPV4_HEADER_LEN,
  ipv4Dst,
  ipv4Frag,
  ipv4HeaderLength,
  ipv4Protocol,
  ipv4Src,
} from './wire/ipv4.ts'
import { IPV6_HEADER_LEN, IPV6_SRC, ipv6FlowLabel, ipv6NextHeader } from './wire/ipv6.ts'
import {
  FRAGMENT_HEADER_LEN,
  NEXTHDR_DEST,
  NEXTHDR_FRAGMENT,
  NEXTHDR_HOP,
  NEXTHDR_ROUTING,
} from './wire/ipv6-headers.ts'
import { IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_MPLS } from './wire/protocol.ts'

const GRE_UP_TO_KEY = GRE_CHECKSUM_FLAG | GRE_KEY_FLAG
const PPP_HEADER_LEN = 4
const PPP_IP = 0x21
const PPP_IPV6 = 0x57
const PPP_MPLS_UC = 0x281
const PPP_MPLS_MC = 0x283
/** Bytes of the headers that may stand behind GRE. */
const VLAN_HEADER_LEN = 4
const PPPOE_HEADER_LEN = 8
const HSR_HEADER_LEN = 6
const TIPC_HEADER_LEN = 16
const TIPC_SENDER = 12
const FCOE_HEADER_LEN = 38
const PTP_HEADER_LEN = 34
const MPLS_LABEL_LEN = 4
/** A unicast packet of batman-adv and the Ethernet header behind it; its type and the only version that is known. */
const BATMAN_HEADER_LEN = 24
const BATMAN_UNICAST = 0x400f
/** Version 1, type 1, code 0: of a PPPoE session. */
const PPPOE_SESSION = 0x1100
/** MAX_FLOW_DISSECT_HDRS */
const MOST_HEADERS = 15

/** What dissectFlow() found; one reused object. */
export const flow = {
  /** Of the addresses: 4, 6, 0 of TIPC. */
  family: 0,
  /** Source, then destination: a word each of IPv4, four of IPv6. */
  addresses: new Int32Array(8),
  /** Of the innermost IPv6 header that has one. */
  flowLabel: 0,
  /** Of the header where the dissector stopped, and where that begins. */
  proto: 0,
  at: 0,
  /** Both ports, source first, or what stands for them; 0 none. */
  ports: 0,
  /** Something stands inside of a tunnel, though it may be damaged. */
  encapsulated: false,
  /** The innermost IP packet is a fragment that is not the first. */
  laterFragment: false,
}

/** What a layer returns in place of the EtherType that follows. */
const END = -1
const BAD = -2

/** Where the next header begins. */
let next = 0
/** How often the dissector went on to another header. */
let headers = 0

/** Dissects all of a packet; false: a header is cut, or nobody knows it. Does not allocate. */
export function dissectFlow(pkt: Packet, view: DataView): boolean {
  flow.family = flow.proto = flow.ports = flow.flowLabel = 0
  flow.encapsulated = flow.laterFragment = false
  next = pkt.l3
  headers = 0
  let type = pkt.family === 4 ? ETH_P_IP : ETH_P_IPV6
  do {
    if (type === ETH_P_IP) type = throughIpv4(view, pkt.end)
    else if (type === ETH_P_IPV6) type = throughIpv6(view, pkt.end)
    else type = throughLink(view, pkt.end, type)
  } while (type >= 0 && ++headers <= MOST_HEADERS)
  flow.at = Math.min(next, pkt.end)
  return type !== BAD
}

function throughIpv4(view: DataView, end: number): number {
  if (next + IPV4_HEADER_LEN > end || ipv4HeaderLength(view, next) < IPV4_HEADER_LEN) return BAD
  flow.family = 4
  flow.proto = ipv4Protocol(view, next)
  flow.addresses[0] = ipv4Src(view, next)
  flow.addresses[1] = ipv4Dst(view, next)
  const fragment = ipv4Frag(view, next) & (IP_MF | IP_OFFSET)
  next += ipv4HeaderLength(view, next)
  if (fragment === 0) return throughProtocol(view, end)
  flow.laterFragment = (fragment & IP_OFFSET) !== 0
  return END
}

function throughIpv6(view: DataView, end: number): number {
  if (next + IPV6_HEADER_LEN > end) return BAD
  flow.family = 6
  flow.proto = ipv6NextHeader(view, next)
  for (let i = 0; i < 8; i++) flow.addresses[i] = view.getInt32(next + IPV6_SRC + 4 * i)
  // One of an outer header stays where the inner one has none.
  const label = ipv6FlowLabel(view, next)
  if (label !== 0) flow.flowLabel = label
  next += IPV6_HEADER_LEN
  while (flow.proto === NEXTHDR_HOP || flow.proto === NEXTHDR_ROUTING || flow.proto === NEXTHDR_DEST) {
    if (next + 2 > end) return BAD
    flow.proto = view.getUint8(next)
    next += (view.getUint8(next + 1) + 1) * 8
    if (++headers > MOST_HEADERS) return ended(view, end)
  }
  if (flow.proto !== NEXTHDR_FRAGMENT) return throughProtocol(view, end)
  if (next + FRAGMENT_HEADER_LEN > end) return BAD
  flow.proto = view.getUint8(next)
  flow.laterFragment = view.getUint16(next + 2) >> 3 !== 0
  next += FRAGMENT_HEADER_LEN
  return END
}

function throughProtocol(view: DataView, end: number): number {
  switch (flow.proto) {
    case IPPROTO_IPIP:
      flow.encapsulated = true
      return ETH_P_IP
    case IPPROTO_IPV6:
      flow.encapsulated = true
      return ETH_P_IPV6
    case IPPROTO_MPLS:
      return ETH_P_MPLS_UC
    case IPPROTO_GRE:
      return throughGre(view, end)
    default:
      return ended(view, end)
  }
}

/** The ports, of a packet that is no fragment. */
function ended(view: DataView, end: number): number {
  const offset = portsOffset(flow.proto)
  if (offset >= 0 && next + offset + 4 <= end) flow.ports = view.getInt32(next + offset)
  return END
}

/** Version 0 without routing, and version 1 as PPTP has it: what is inside. */
function throughGre(view: DataView, end: number): number {
  if (!greFits(next, end)) return BAD
  const flags = view.getUint16(next)
  const version = flags & GRE_VERSION
  let type = greProtocol(view, next)
  const pptp = version === 1 && type === GRE_PROTO_PPP && (flags & GRE_KEY_FLAG) !== 0
  if ((flags & GRE_ROUTING_FLAG) !== 0 || (version !== 0 && !pptp)) return END
  // Of the fields only the key is read.
  if ((flags & GRE_KEY_FLAG) !== 0 && next + greHeaderLength(flags & GRE_UP_TO_KEY) > end) return BAD
  let at = next + greHeaderLength(flags)
  if (pptp) {
    if (at + PPP_HEADER_LEN > end) return BAD
    const inside = view.getUint16(at + 2)
    if (inside === PPP_IP) type = ETH_P_IP
    else if (inside === PPP_IPV6) type = ETH_P_IPV6
    at += PPP_HEADER_LEN
  } else if (type === ETH_P_TEB) {
    if (at + ETH_HEADER_LEN > end) return BAD
    type = etherTypeAt(view, at)
    at += ETH_HEADER_LEN
  }
  next = at
  flow.encapsulated = true
  return type
}

const etherTypeAt = (view: DataView, ethernet: number): number =>
  view.getUint16(ethernet + ETH_HEADER_LEN - 2)

/** What is not IP, as GRE may carry it. */
function throughLink(view: DataView, end: number, type: number): number {
  const at = next
  const left = end - at
  switch (type) {
    case ETH_P_8021AD:
    case ETH_P_8021Q:
      if (left < VLAN_HEADER_LEN) return BAD
      next += VLAN_HEADER_LEN
      return view.getUint16(at + 2)
    case ETH_P_PPP_SES:
      return throughPppoe(view, left)
    case ETH_P_PRP:
    case ETH_P_HSR:
      if (left < HSR_HEADER_LEN) return BAD
      next += HSR_HEADER_LEN
      return view.getUint16(at + 4)
    case ETH_P_BATMAN:
      if (left < BATMAN_HEADER_LEN || view.getUint16(at) !== BATMAN_UNICAST) return BAD
      next += BATMAN_HEADER_LEN
      flow.encapsulated = true
      return etherTypeAt(view, next - ETH_HEADER_LEN)
    case ETH_P_MPLS_UC:
    case ETH_P_MPLS_MC:
      next += MPLS_LABEL_LEN
      return END
    case ETH_P_FCOE:
      if (left < FCOE_HEADER_LEN) return BAD
      next += FCOE_HEADER_LEN
      return END
    case ETH_P_1588:
      if (left < PTP_HEADER_LEN) return BAD
      next += PTP_HEADER_LEN
      return END
    case ETH_P_TIPC:
      if (left < TIPC_HEADER_LEN) return BAD
      // Its key, the node that sent it, stands where the first word of addresses does.
      flow.family = 0
      flow.addresses[0] = view.getInt32(at + TIPC_SENDER)
      return END
    case ETH_P_ARP:
    case ETH_P_RARP:
    case ETH_P_CFM:
      return END
    default:
      return BAD
  }
}

/** A session of PPPoE: version, type and code, session, length, then what PPP calls a protocol. */
function throughPppoe(view: DataView, left: number): number {
  if (left < PPPOE_HEADER_LEN || view.getUint16(next) !== PPPOE_SESSION) return BAD
  const inside = view.getUint16(next + PPPOE_HEADER_LEN - 2)
  next += PPPOE_HEADER_LEN
  switch (inside) {
    case PPP_IP:
      return ETH_P_IP
    case PPP_IPV6:
      return ETH_P_IPV6
    case PPP_MPLS_UC:
      return ETH_P_MPLS_UC
    case PPP_MPLS_MC:
      return ETH_P_MPLS_MC
    default:
      // ppp_proto_is_valid(): the last bit of the second byte, not that of the first.
      return (inside & 0x0101) === 1 ? END : BAD
  }
}
