// Rewrites the payload of a packet in flight, longer or shorter (nf_nat_helper.c, Linux 6.18).
//
//     | IP | TCP or UDP | before | match | behind |      ->      | IP | ... | before | replacement | behind |
//
// Lengths and checksums follow; TCP's later numbers are shifted (seqadj.ts). Room is taken from the slot behind the
// packet, or, if that is used up, in front of it.

import type { Packet } from '../../datapath/packet.ts'
import { fold, pseudo, sumView, writeIpv4Checksum } from '../../datapath/wire/checksum.ts'
import { IPV4_TOTAL_LEN } from '../../datapath/wire/ipv4.ts'
import { IPV6_HEADER_LEN, IPV6_PAYLOAD_LEN } from '../../datapath/wire/ipv6.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { TCP_CHECKSUM, TCP_SEQ, tcpHeaderLength } from '../../datapath/wire/tcp.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN, UDP_LENGTH } from '../../datapath/wire/udp.ts'
import type { Conntrack } from '../conntrack.ts'
import { linearize } from './helper.ts'

const MAX_PACKET = 65535

/** Replaces `length` bytes at `at` (absolute) and mends the IP header. False: the packet would be too long. */
function replace(ct: Conntrack, pkt: Packet, at: number, length: number, by: Uint8Array): boolean {
  const { bytes, view } = ct.host.memory
  const grow = by.length - length
  if (pkt.end - pkt.l3 + grow > MAX_PACKET) return false
  linearize(pkt)
  let to = at
  if (pkt.end + grow <= pkt.limit) {
    bytes.copyWithin(at + by.length, at + length, pkt.end)
    pkt.end += grow
  } else {
    if (pkt.slot < 0 || pkt.l3 - grow < pkt.slot) return false
    bytes.copyWithin(pkt.l3 - grow, pkt.l3, at)
    to -= grow
    pkt.l3 -= grow
    pkt.l4 -= grow
  }
  bytes.set(by, to)
  pkt.sumEnd = 0
  if (pkt.family === 4) {
    view.setUint16(pkt.l3 + IPV4_TOTAL_LEN, pkt.end - pkt.l3)
    writeIpv4Checksum(view, pkt.l3)
  } else view.setUint16(pkt.l3 + IPV6_PAYLOAD_LEN, pkt.end - pkt.l3 - IPV6_HEADER_LEN)
  return true
}

/** The transport checksum anew, as the device will write it: never 0 (skb_checksum_help). */
function seal(ct: Conntrack, pkt: Packet, field: number, protocol: number): void {
  const { view } = ct.host.memory
  const at = pkt.l4 + field
  view.setUint16(at, 0)
  const sum = fold(sumView(view, pkt.l4, pkt.end) + pseudo(pkt, protocol, pkt.end - pkt.l4))
  view.setUint16(at, sum === 0xffff ? 0xffff : ~sum & 0xffff)
  pkt.csumPartial = true
}

/**
 * __nf_nat_mangle_tcp_packet(): `length` bytes at `offset` of the data become `by`. `adjust`: shift what this
 * direction sends later. False: there is no room.
 */
export function mangleTcp(
  ct: Conntrack,
  pkt: Packet,
  entry: number,
  dir: number,
  offset: number,
  length: number,
  by: Uint8Array,
  adjust = true,
): boolean {
  const { view } = ct.host.memory
  if (!replace(ct, pkt, pkt.l4 + tcpHeaderLength(view, pkt.l4) + offset, length, by)) return false
  seal(ct, pkt, TCP_CHECKSUM, IPPROTO_TCP)
  if (adjust) ct.sequences.change(entry, dir, view.getInt32(pkt.l4 + TCP_SEQ), by.length - length)
  return true
}

/** nf_nat_mangle_udp_packet(). A datagram without checksum keeps none. */
export function mangleUdp(
  ct: Conntrack,
  pkt: Packet,
  offset: number,
  length: number,
  by: Uint8Array,
): boolean {
  if (!replace(ct, pkt, pkt.l4 + UDP_HEADER_LEN + offset, length, by)) return false
  const { view } = ct.host.memory
  view.setUint16(pkt.l4 + UDP_LENGTH, pkt.end - pkt.l4)
  if (view.getUint16(pkt.l4 + UDP_CHECKSUM) !== 0) seal(ct, pkt, UDP_CHECKSUM, IPPROTO_UDP)
  return true
}

const encoder = new TextEncoder()
export const ascii = (text: string): Uint8Array => encoder.encode(text)
