// Datagrams of one flow that leave one behind the other go to the device as one superframe (UDP GRO, on the way out): one
// write, and one way through the stack behind it, for up to 64 of them.
//
//     transmit ─▶ UdpGro ─┬─ first of its flow ─▶ Offloads.send ─▶ [ header | datagram ]
//                         └─ fits behind it ────▶ join ──────────▶ [ header | datagram | data | data ]
//
// The rules have seen each datagram, and whoever cuts the superframe gets the very same ones, byte for byte: a datagram
// joins only where the kernel's segmentation (__udp_gso_segment(), inet_gso_segment()) makes it again. Its header differs in
// identification, which goes up by one, and in checksums, which are right; it is as long as the first, or shorter and the
// last. Datagrams of other flows may be overtaken, as by the kernel's GRO; of one flow none is.

import type { Device, Gro } from './devices.ts'
import type { Host } from './host.ts'
import { Gso, Offload, VNET_HEADER_LEN, writeGso, writeVnetHeader } from './offload.ts'
import type { Packet } from './packet.ts'
import type { PartsEgress } from './ring.ts'
import { adjust16, fold, pseudo, sumView } from './wire/checksum.ts'
import {
  IP_DF,
  IPV4_CHECKSUM,
  IPV4_DST,
  IPV4_FRAG,
  IPV4_HEADER_LEN,
  IPV4_ID,
  IPV4_PLAIN,
  IPV4_SRC,
  IPV4_TOTAL_LEN,
  IPV4_TTL,
} from './wire/ipv4.ts'
import { IPV6_HEADER_LEN, IPV6_PAYLOAD_LEN } from './wire/ipv6.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from './wire/protocol.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN, UDP_LENGTH } from './wire/udp.ts'

/** Flows whose superframes may grow at the same time; a power of two. */
const FLOWS = 8
/** Largest IPv4 packet, and largest payload of IPv6. */
const MAX_LENGTH = 65535

/** A superframe that may grow. */
class Superframe {
  /** Its number at the way out (PartsEgress.next()); -1: none. */
  frame = -1
  /** Its first byte in frame memory. */
  l3 = 0
  /** Data bytes of the first datagram, and of all. */
  size = 0
  data = 0
  datagrams = 0
  /** IPv4: the identification that the next one must have. */
  id = 0
}

export class UdpGro implements Gro {
  readonly #host: Host
  readonly #device: Device
  readonly #egress: PartsEgress
  readonly #maxParts: number
  readonly #open = Array.from({ length: FLOWS }, () => new Superframe())
  /** Some of them may still grow. */
  #growing = false

  /** `egress`: the way out of `device`; while the host has another one, every packet leaves by itself. */
  constructor(host: Host, device: Device, egress: PartsEgress) {
    this.#host = host
    this.#device = device
    this.#egress = egress
    this.#maxParts = egress.maxParts
  }

  send(pkt: Packet, slot: number): void {
    const { offloads } = this.#host
    const device = this.#device
    if (!this.#mayJoin(pkt, slot)) {
      // It may be of a flow that has a superframe, which must not take what comes behind it.
      if (this.#growing && pkt.proto !== IPPROTO_TCP) this.#closeAll()
      offloads.send(pkt, device, slot)
      return
    }
    const { view } = this.#host.memory
    const at = this.#open[flowOf(pkt, view)]!
    if (at.frame >= 0 && this.#join(at, pkt, slot)) return
    const frame = this.#egress.next(device.index)
    offloads.send(pkt, device, slot)
    at.frame = frame
    at.l3 = pkt.l3
    at.size = at.data = pkt.end - pkt.l4 - UDP_HEADER_LEN
    at.datagrams = 1
    at.id = view.getUint16(pkt.l3 + IPV4_ID)
    this.#growing = true
  }

  #closeAll(): void {
    for (let i = 0; i < FLOWS; i++) this.#open[i]!.frame = -1
    this.#growing = false
  }

  /** A whole datagram with plain headers and a checksum that is right, or will be. */
  #mayJoin(pkt: Packet, slot: number): boolean {
    if (pkt.proto !== IPPROTO_UDP || slot < 0 || pkt.gsoSize > 0 || this.#host.egress !== this.#egress)
      return false
    const { view } = this.#host.memory
    const { l3, l4, end } = pkt
    if (pkt.family === 6) {
      if (l4 - l3 !== IPV6_HEADER_LEN || (this.#device.offloads & Offload.Uso6) === 0) return false
    } else if (
      view.getUint8(l3) !== IPV4_PLAIN ||
      (view.getUint16(l3 + IPV4_FRAG) & ~IP_DF) !== 0 ||
      // As right as 0, but nobody who makes a checksum writes it.
      view.getUint16(l3 + IPV4_CHECKSUM) === 0xffff ||
      (this.#device.offloads & Offload.Uso4) === 0
    )
      return false
    const length = end - l4
    if (length <= UDP_HEADER_LEN || view.getUint16(l4 + UDP_LENGTH) !== length) return false
    if (pkt.csumPending) return pkt.csumStart === l4 - l3
    if (view.getUint16(l4 + UDP_CHECKSUM) === 0) return false
    // What conntrack found right has been kept so. Others are believed by the stack, which does not make them right.
    if (pkt.csumOk && pkt.family === 4 && pkt.arrival !== null && !pkt.arrival.loopback) return true
    return fold(sumView(view, l4, end, pseudo(pkt, IPPROTO_UDP, length))) === 0xffff
  }

  /** Puts its data behind the superframe; false: it does not fit there. */
  #join(at: Superframe, pkt: Packet, slot: number): boolean {
    const { memory } = this.#host
    const { view } = memory
    const head = at.l3
    const data = pkt.l4 + UDP_HEADER_LEN
    const size = pkt.end - data
    if (size > at.size || at.datagrams === this.#maxParts || !sameHeaders(view, head, pkt)) return false
    if (pkt.family === 4 && view.getUint16(pkt.l3 + IPV4_ID) !== ((at.id + at.datagrams) & 0xffff))
      return false
    const headers = data - pkt.l3
    const total = at.data + size
    if (headers + total > MAX_LENGTH) return false
    if (!this.#egress.join(this.#device.index, at.frame, data, size, slot)) return false
    at.data = total
    at.datagrams++
    this.#writeHeaders(at, pkt, headers)
    if (size < at.size) at.frame = -1
    return true
  }

  /** The superframe's headers: as those of `pkt`, with other lengths, and the checksum left to the device. */
  #writeHeaders(at: Superframe, pkt: Packet, headers: number): void {
    const { view } = this.#host.memory
    const { l3 } = at
    const udp = l3 + headers - UDP_HEADER_LEN
    const length = UDP_HEADER_LEN + at.data
    if (pkt.family === 4) {
      const total = headers + at.data
      const check = adjust16(view.getUint16(l3 + IPV4_CHECKSUM), view.getUint16(l3 + IPV4_TOTAL_LEN), total)
      view.setUint16(l3 + IPV4_TOTAL_LEN, total)
      view.setUint16(l3 + IPV4_CHECKSUM, check)
    } else view.setUint16(l3 + IPV6_PAYLOAD_LEN, length)
    view.setUint16(udp + UDP_LENGTH, length)
    view.setUint16(udp + UDP_CHECKSUM, fold(pseudo(pkt, IPPROTO_UDP, length)))
    if (at.datagrams > 2) return
    writeVnetHeader(view, l3 - VNET_HEADER_LEN, udp - l3, UDP_CHECKSUM)
    writeGso(view, l3 - VNET_HEADER_LEN, Gso.UdpL4, headers, at.size)
  }
}

/** Where the superframe of its flow is kept. */
function flowOf({ l4, s0, s3, d0, d3 }: Packet, view: DataView): number {
  const hash = Math.imul(view.getInt32(l4) ^ s0 ^ s3 ^ d0 ^ d3, 0x9e3779b1)
  return (hash >>> 16) & (FLOWS - 1)
}

/** All that its segments have in common with the superframe: the headers but lengths, identification and checksums. */
function sameHeaders(view: DataView, head: number, pkt: Packet): boolean {
  const { l3 } = pkt
  if (pkt.family === 6) {
    // Class and flow label; next header and hop limit; addresses and ports.
    if (view.getInt32(l3) !== view.getInt32(head)) return false
    if (view.getUint16(l3 + 6) !== view.getUint16(head + 6)) return false
    for (let at = 8; at <= IPV6_HEADER_LEN; at += 4)
      if (view.getInt32(l3 + at) !== view.getInt32(head + at)) return false
    return true
  }
  // Version, header length and TOS; DF; TTL and protocol; addresses and ports.
  return (
    view.getUint16(l3) === view.getUint16(head) &&
    view.getUint16(l3 + IPV4_FRAG) === view.getUint16(head + IPV4_FRAG) &&
    view.getUint16(l3 + IPV4_TTL) === view.getUint16(head + IPV4_TTL) &&
    view.getInt32(l3 + IPV4_SRC) === view.getInt32(head + IPV4_SRC) &&
    view.getInt32(l3 + IPV4_DST) === view.getInt32(head + IPV4_DST) &&
    view.getInt32(l3 + IPV4_HEADER_LEN) === view.getInt32(head + IPV4_HEADER_LEN)
  )
}
