// One direction of a flow, as comparable words. Reused objects: the hot path makes none.
//
//     packet  --tupleOf-->  tuple  --invert-->  tuple of the answers
//
// Ports and identifiers share one word: source << 16 | destination for protocols with ports and for GRE keys;
// id << 16 | type << 8 | code for ICMP and ICMPv6; 0 for everything else.

import type { Family, Packet } from '../datapath/packet.ts'
import {
  GRE_PPTP_HEADER_LEN,
  GRE_PROTO_PPP,
  greCallId,
  greFits,
  greProtocol,
  greVersion,
} from '../datapath/wire/gre.ts'
import {
  ICMP_ADDRESS,
  ICMP_ADDRESSREPLY,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_HEADER_LEN,
  ICMP_INFO_REPLY,
  ICMP_INFO_REQUEST,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMPREPLY,
} from '../datapath/wire/icmp.ts'
import { IP_OFFSET, IPV4_HEADER_LEN } from '../datapath/wire/ipv4.ts'
import { IPV6_HEADER_LEN } from '../datapath/wire/ipv6.ts'
import {
  NEXTHDR_FRAGMENT,
  NEXTHDR_NONE,
  NEXTHDR_ROUTING,
  skipHeaders,
  skipped,
} from '../datapath/wire/ipv6-headers.ts'
import {
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../datapath/wire/protocol.ts'

export class Tuple {
  s0 = 0
  s1 = 0
  s2 = 0
  s3 = 0
  d0 = 0
  d1 = 0
  d2 = 0
  d3 = 0
  /** See above; a signed word. */
  ports = 0
  /** protocol << 8 | family. */
  meta = 0
  /** The zone that counts for the direction this tuple stands for. */
  zone = 0

  get protocol(): number {
    return this.meta >> 8
  }

  get family(): Family {
    return (this.meta & 0xff) as Family
  }

  copy(from: Tuple): this {
    this.s0 = from.s0
    this.s1 = from.s1
    this.s2 = from.s2
    this.s3 = from.s3
    this.d0 = from.d0
    this.d1 = from.d1
    this.d2 = from.d2
    this.d3 = from.d3
    this.ports = from.ports
    this.meta = from.meta
    this.zone = from.zone
    return this
  }

  /** nf_ct_tuple_equal: everything but the zone. */
  equals(other: Tuple): boolean {
    return (
      this.ports === other.ports &&
      this.s0 === other.s0 &&
      this.d0 === other.d0 &&
      this.meta === other.meta &&
      this.s1 === other.s1 &&
      this.s2 === other.s2 &&
      this.s3 === other.s3 &&
      this.d1 === other.d1 &&
      this.d2 === other.d2 &&
      this.d3 === other.d3
    )
  }
}

/** Ethernet type of PPP in GRE (RFC 2637). */

/** Whether the header at `l4` gives a tuple (nf_ct_get_tuple): it is long enough. `end`: one past the last byte. */
function transportFits(view: DataView, proto: number, l4: number, end: number): boolean {
  switch (proto) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
      return l4 + 4 <= end
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return l4 + ICMP_HEADER_LEN <= end
    case IPPROTO_GRE:
      return (
        !greFits(l4, end) ||
        greVersion(view, l4) !== 1 ||
        l4 + GRE_PPTP_HEADER_LEN > end ||
        greProtocol(view, l4) === GRE_PROTO_PPP
      )
    default:
      return true
  }
}

/** The ports word of a header that fits. ICMP: type and code are the first two bytes, as they should lie in the word. */
function transportWord(view: DataView, proto: number, l4: number, end: number): number {
  switch (proto) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
      return view.getInt32(l4)
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return (view.getUint16(l4 + 4) << 16) | view.getUint16(l4)
    case IPPROTO_GRE:
      // PPTP only: the call id is the destination key. See CallIds for the source key.
      return greFits(l4, end) && greVersion(view, l4) === 1 && l4 + GRE_PPTP_HEADER_LEN <= end
        ? greCallId(view, l4)
        : 0
    default:
      return 0
  }
}

/**
 * The tuple of a whole packet, zone left alone. False where nf_ct_get_tuple() finds none: the header is cut short.
 * Hot: does not allocate.
 */
export function tupleOf(pkt: Packet, view: DataView, into: Tuple): boolean {
  const proto = pkt.proto
  into.s0 = pkt.s0
  into.d0 = pkt.d0
  into.s1 = pkt.s1
  into.s2 = pkt.s2
  into.s3 = pkt.s3
  into.d1 = pkt.d1
  into.d2 = pkt.d2
  into.d3 = pkt.d3
  into.meta = (proto << 8) | pkt.family
  if (pkt.sport >= 0) {
    into.ports = proto === IPPROTO_DCCP ? 0 : (pkt.sport << 16) | pkt.dport
    return true
  }
  // ipv6_skip_exthdr() ends at "no next header"; a fragment that was not put together begins with no header.
  if (pkt.family === 6 && (proto === NEXTHDR_NONE || pkt.fragOffset !== 0)) return false
  if (!transportFits(view, proto, pkt.l4, pkt.end)) return false
  into.ports = transportWord(view, proto, pkt.l4, pkt.end)
  return true
}

/**
 * The same of an IPv6 packet that ends within its chain of headers: two bytes stand for a whole routing header
 * (ipv6_skip_exthdr).
 */
export function cutTupleOf(pkt: Packet, view: DataView, into: Tuple): boolean {
  const { proto, l4 } = pkt
  if (proto !== NEXTHDR_ROUTING || pkt.fragOffset !== 0) return false
  const at = skipHeaders(view, pkt.l3, pkt.end)
  if (at < 0) return false
  pkt.proto = skipped.next
  pkt.l4 = at
  const found = tupleOf(pkt, view, into)
  pkt.proto = proto
  pkt.l4 = l4
  return found
}

/** Conntrack has no DCCP tracker since 6.16: such flows are told apart by address only. */
const IPPROTO_DCCP = 33

/**
 * The tuple of the packet that starts at `at`, as quoted in an ICMP error (nf_ct_get_tuplepr); zone left alone.
 * `end`: one past the last byte there is. False for a later fragment, or a header cut short.
 */
export function tupleAt(view: DataView, at: number, end: number, family: Family, into: Tuple): boolean {
  let proto: number
  let l4: number
  if (family === 4) {
    if (at + IPV4_HEADER_LEN > end) return false
    if ((view.getUint16(at + 6) & IP_OFFSET) !== 0) return false
    l4 = at + ((view.getUint8(at) & 0xf) << 2)
    if (l4 > end) return false
    proto = view.getUint8(at + 9)
    into.s0 = view.getInt32(at + 12)
    into.d0 = view.getInt32(at + 16)
    into.s1 = into.s2 = into.s3 = into.d1 = into.d2 = into.d3 = 0
  } else {
    if (at + IPV6_HEADER_LEN > end) return false
    l4 = skipHeaders(view, at, end)
    proto = skipped.next
    // Of a later fragment it names the fragment header.
    if (l4 < 0 || proto === NEXTHDR_FRAGMENT) return false
    into.s0 = view.getInt32(at + 8)
    into.s1 = view.getInt32(at + 12)
    into.s2 = view.getInt32(at + 16)
    into.s3 = view.getInt32(at + 20)
    into.d0 = view.getInt32(at + 24)
    into.d1 = view.getInt32(at + 28)
    into.d2 = view.getInt32(at + 32)
    into.d3 = view.getInt32(at + 36)
  }
  if (!transportFits(view, proto, l4, end)) return false
  into.ports = transportWord(view, proto, l4, end)
  into.meta = (proto << 8) | family
  return true
}

/** Answer's type + 1 of each ICMP type that has one, 0 for the others. */
const INVERSE = new Uint8Array(256)
INVERSE[ICMP_ECHO] = ICMP_ECHOREPLY + 1
INVERSE[ICMP_ECHOREPLY] = ICMP_ECHO + 1
INVERSE[ICMP_TIMESTAMP] = ICMP_TIMESTAMPREPLY + 1
INVERSE[ICMP_TIMESTAMPREPLY] = ICMP_TIMESTAMP + 1
INVERSE[ICMP_INFO_REQUEST] = ICMP_INFO_REPLY + 1
INVERSE[ICMP_INFO_REPLY] = ICMP_INFO_REQUEST + 1
INVERSE[ICMP_ADDRESS] = ICMP_ADDRESSREPLY + 1
INVERSE[ICMP_ADDRESSREPLY] = ICMP_ADDRESS + 1

/** The same for ICMPv6: echo 128/129 (RFC 4443) and node information 139/140 (RFC 4620). */
const INVERSE6 = new Uint8Array(256)
INVERSE6[128] = 129 + 1
INVERSE6[129] = 128 + 1
INVERSE6[139] = 140 + 1
INVERSE6[140] = 139 + 1

/**
 * The tuple of the answers to `t` (nf_ct_invert_tuple); the zone is copied. `into` may be `t` itself. False if nothing
 * can answer it: an ICMP type without a reply. Does not allocate.
 */
export function invert(t: Tuple, into: Tuple): boolean {
  const proto = t.meta >> 8
  let ports: number
  if (proto === IPPROTO_ICMP || proto === IPPROTO_ICMPV6) {
    const type = (proto === IPPROTO_ICMP ? INVERSE : INVERSE6)[(t.ports >>> 8) & 0xff]!
    if (type === 0) return false
    ports = (t.ports & ~0xff00) | ((type - 1) << 8)
  } else ports = (t.ports >>> 16) | (t.ports << 16)
  const { s0, s1, s2, s3 } = t
  into.s0 = t.d0
  into.s1 = t.d1
  into.s2 = t.d2
  into.s3 = t.d3
  into.d0 = s0
  into.d1 = s1
  into.d2 = s2
  into.d3 = s3
  into.ports = ports
  into.meta = t.meta
  into.zone = t.zone
  return true
}
