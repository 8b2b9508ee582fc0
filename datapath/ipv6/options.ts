// Options of hop-by-hop and destination headers (RFC 8200 §4.2), as ip6_parse_tlv() and its kin of net/ipv6/exthdrs.c
// (6.18) read them: all are checked before the packet goes on, none is kept.
//
//     header ─ next, length ─ option ─ option ─ padding (at most 7 bytes of zeros in a row)
//                              └ type: what to do with one that is not known is in its two highest bits

import { IpStat } from '../counters.ts'
import type { Host } from '../host.ts'
import type { Packet } from '../packet.ts'
import { ICMPV6_HDR_FIELD, ICMPV6_UNK_OPTION } from '../wire/icmp6.ts'
import { IPV6_HEADER_LEN, IPV6_PAYLOAD_LEN } from '../wire/ipv6.ts'

const IPV6_TLV_PAD1 = 0
const IPV6_TLV_PADN = 1
const IPV6_TLV_ROUTERALERT = 5
const IPV6_TLV_CALIPSO = 7
const IPV6_TLV_IOAM = 0x31
const IPV6_TLV_JUMBO = 0xc2

const IPV6_MAXPLEN = 65535
const MOST_PADDING = 7

/** ipv6_parse_hopopts(): the header behind the fixed one. False: the packet is to be dropped, its sender told if due. */
export function hopByHopOk(pkt: Packet, host: Host): boolean {
  return optionsOk(pkt, host, pkt.l3 + IPV6_HEADER_LEN, true)
}

/** ipv6_destopt_rcv(): the destination options at `at`. False: as hopByHopOk(). */
export function destinationOptionsOk(pkt: Packet, host: Host, at: number): boolean {
  const { view } = host.memory
  const ok = optionsOk(pkt, host, at, false)
  // Too long a header is not counted.
  const fits = at + 8 <= pkt.end && at + ((view.getUint8(at + 1) + 1) << 3) <= pkt.end
  if (!ok && !(fits && (view.getUint8(at + 1) + 1) << 3 > host.ipv6.maxDestinationLength))
    host.counters.count6(IpStat.InHdrErrors)
  return ok
}

function optionsOk(pkt: Packet, host: Host, at: number, hop: boolean): boolean {
  const { view } = host.memory
  const { ipv6 } = host
  if (at + 8 > pkt.end) return false
  const length = (view.getUint8(at + 1) + 1) << 3
  if (at + length > pkt.end) return false
  if (length > (hop ? ipv6.maxHopLength : ipv6.maxDestinationLength)) return false
  let most = hop ? ipv6.maxHopOptions : ipv6.maxDestinationOptions
  // Below zero it says how many, and that all must be known.
  const knownOnly = most < 0
  if (knownOnly) most = -most
  const stop = at + length
  let padding = 0
  for (let o = at + 2; o < stop; ) {
    const type = view.getUint8(o)
    if (type === IPV6_TLV_PAD1) {
      if (++padding > MOST_PADDING) return false
      o++
      continue
    }
    if (stop - o < 2) return false
    const size = view.getUint8(o + 1) + 2
    if (o + size > stop) return false
    if (type === IPV6_TLV_PADN) {
      padding += size
      if (padding > MOST_PADDING) return false
      for (let i = o + 2; i < o + size; i++) if (view.getUint8(i) !== 0) return false
    } else {
      if (--most < 0) return false
      if (!(hop && isHopOption(type) ? hopOptionOk(pkt, host, o, type) : unknownOk(pkt, host, o, knownOnly)))
        return false
      padding = 0
    }
    o += size
  }
  return true
}

const isHopOption = (type: number): boolean =>
  type === IPV6_TLV_ROUTERALERT ||
  type === IPV6_TLV_IOAM ||
  type === IPV6_TLV_JUMBO ||
  type === IPV6_TLV_CALIPSO

/** ipv6_hop_ra(), ipv6_hop_ioam(), ipv6_hop_jumbo(), ipv6_hop_calipso(). */
function hopOptionOk(pkt: Packet, host: Host, o: number, type: number): boolean {
  const { view } = host.memory
  const { l3 } = pkt
  const length = view.getUint8(o + 1)
  // Nobody here waits for router alerts.
  if (type === IPV6_TLV_ROUTERALERT) return length === 2
  if (type === IPV6_TLV_IOAM) return ((o - l3) & 3) === 0
  // There are no labels, so that no domain of interpretation is known.
  if (type === IPV6_TLV_CALIPSO) return false
  if (length !== 4 || ((o - l3) & 3) !== 2) return false
  const jumbo = view.getUint32(o + 2)
  if (jumbo <= IPV6_MAXPLEN) host.replies6.parameterProblem(pkt, ICMPV6_HDR_FIELD, o - l3 + 2)
  else if (view.getUint16(l3 + IPV6_PAYLOAD_LEN) !== 0)
    host.replies6.parameterProblem(pkt, ICMPV6_HDR_FIELD, o - l3)
  // No frame holds as much.
  return false
}

/** ip6_tlvopt_unknown(): whether the option may be passed over. */
function unknownOk(pkt: Packet, host: Host, o: number, knownOnly: boolean): boolean {
  if (knownOnly) return false
  const action = host.memory.view.getUint8(o) >> 6
  if (action === 0) return true
  if (action === 2 || (action === 3 && pkt.d0 >>> 24 !== 0xff))
    host.replies6.parameterProblem(pkt, ICMPV6_UNK_OPTION, o - pkt.l3)
  return false
}
