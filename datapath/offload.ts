// What a device may leave to its driver, and a driver to its device: transport checksums, and the cutting of TCP and UDP
// superframes into segments (virtio_net_hdr, linux/virtio_net.h; skb_gso_segment).
//
//     device ─ header, frame ─▶ takeOffload ─▶ engine: one packet, checked and counted once ─▶ Offloads.send ─┬─▶ header, frame
//                                                                                                            └─▶ segments
//
// While a packet's checksum is pending (Packet.csumPending), the field holds anything: what leaves gets the pseudo
// header's sum, or the whole checksum, made from the addresses that the packet has then. So nothing that rewrites
// headers needs to know.

import type { Device } from './devices.ts'
import type { Host } from './host.ts'
import { type Packet, place } from './packet.ts'
import { type Frames, HEADROOM } from './ring.ts'
import { fold, type Memory, pseudo, sumView, writeIpv4Checksum } from './wire/checksum.ts'
import { IPV4_HEADER_LEN, IPV4_ID, IPV4_TOTAL_LEN } from './wire/ipv4.ts'
import { IPV6_HEADER_LEN, IPV6_PAYLOAD_LEN } from './wire/ipv6.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from './wire/protocol.ts'
import {
  TCP_CHECKSUM,
  TCP_CWR,
  TCP_DATA_OFFSET,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_LEN,
  TCP_PSH,
  TCP_SEQ,
} from './wire/tcp.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN, UDP_LENGTH } from './wire/udp.ts'

/** Bytes of the header in front of each frame of a device with offloads (virtio_net_hdr_v1). */
export const VNET_HEADER_LEN = 12
/** 16-bit words of it, in the host's byte order: flags and GSO type, header length, GSO size, start, offset, buffers. */
export const VNET_HEADER_WORDS = VNET_HEADER_LEN / 2

const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1
const VIRTIO_NET_HDR_F_DATA_VALID = 2
/** skb_shared_info.gso_type as virtio has it. */
export const Gso = { None: 0, TcpV4: 1, TcpV6: 4, UdpL4: 5, Ecn: 0x80 } as const

/** What a device takes (TUNSETOFFLOAD's TUN_F_*). */
export const Offload = { Checksum: 1, Tso4: 2, Tso6: 4, TsoEcn: 8, Uso4: 0x20, Uso6: 0x40 } as const

/**
 * The packet as the header in front of its frame describes it: `words[at …]`. False: no such frame can be. Before
 * parsing. Hot: does not allocate.
 */
export function takeOffload(pkt: Packet, words: Uint16Array, at: number): boolean {
  const flags = words[at]! & 0xff
  const type = words[at]! >>> 8
  if (flags === 0 && type === Gso.None) return true
  // The reader made no sum of it.
  pkt.sumEnd = 0
  if ((flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID)) !== 0) pkt.csumOk = true
  if ((flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0) return type === Gso.None
  pkt.csumPending = pkt.csumPartial = true
  pkt.csumStart = words[at + 3]!
  pkt.csumOffset = words[at + 4]!
  if (pkt.l3 + pkt.csumStart + pkt.csumOffset + 2 > pkt.end) return false
  if (type === Gso.None) return true
  pkt.gsoType = type
  pkt.gsoSize = words[at + 2]!
  return pkt.gsoSize > 0
}

/** The header says but for this nothing: the checksum of UDP behind an IPv4 header without options is to be made. Hot. */
export const isUdpPending = (words: Uint16Array, at: number): boolean =>
  words[at] === VIRTIO_NET_HDR_F_NEEDS_CSUM &&
  words[at + 3] === IPV4_HEADER_LEN &&
  words[at + 4] === UDP_CHECKSUM

/** Frame `i` of a batch is the packet now: see Packet.begin(). False: the header in front of it cannot be. Hot. */
export function takeFrame(pkt: Packet, frames: Frames, i: number, stride: number): boolean {
  const { headers } = frames
  const offset = frames.offsets[i]!
  pkt.begin(offset - HEADROOM, stride, frames.lengths[i]!)
  pkt.sum = frames.sums[i]!
  pkt.sumFrom = offset
  pkt.sumEnd = pkt.end
  pkt.hint = frames.hints[i]!
  return headers === null || takeOffload(pkt, headers, i * VNET_HEADER_WORDS)
}

/** The header of a frame whose checksum the device makes: of all from `start` on (bytes from l3), into start + offset. */
export function writeVnetHeader(view: DataView, at: number, start: number, offset: number): void {
  view.setUint8(at, VIRTIO_NET_HDR_F_NEEDS_CSUM)
  view.setUint8(at + 1, Gso.None)
  view.setInt32(at + 2, 0)
  view.setUint16(at + 6, start, true)
  view.setUint16(at + 8, offset, true)
  view.setUint16(at + 10, 0)
}

/** And which it cuts: all headers have `headers` bytes, each segment `size` bytes of data. */
export function writeGso(view: DataView, at: number, type: number, headers: number, size: number): void {
  view.setUint8(at + 1, type)
  view.setUint16(at + 2, headers, true)
  view.setUint16(at + 4, size, true)
}

/** Bytes of the transport header, from l4. */
function transportHeader(pkt: Packet, { view }: Memory): number {
  if (pkt.proto !== IPPROTO_TCP) return UDP_HEADER_LEN
  return Math.max((view.getUint8(pkt.l4 + TCP_DATA_OFFSET) >> 4) << 2, TCP_HEADER_LEN)
}

/** Bytes of the largest packet that leaves: the packet, or a segment of it (skb_gso_network_seglen). Hot. */
export const wireLength = (pkt: Packet, memory: Memory): number =>
  pkt.gsoSize === 0
    ? pkt.end - pkt.l3
    : Math.min(pkt.end - pkt.l3, pkt.l4 - pkt.l3 + transportHeader(pkt, memory) + pkt.gsoSize)

/** The pending checksum is the packet's own, and not one of a packet inside it. */
const isOwn = (pkt: Packet): boolean => !pkt.csumPending || pkt.csumStart === pkt.l4 - pkt.l3

const checksumAt = (pkt: Packet): number =>
  isOwn(pkt)
    ? pkt.l4 + (pkt.proto === IPPROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM)
    : pkt.l3 + pkt.csumStart + pkt.csumOffset

/**
 * What stands in the checksum field of a packet that is left to the device (CHECKSUM_PARTIAL): the pseudo header's sum. NPT
 * changes addresses that it does not follow: it is what the whole checksum here knows of, once that is made.
 */
function partialChecksum(pkt: Packet, { view }: Memory): number {
  const at = checksumAt(pkt)
  if (pkt.csumPending || at + 2 > pkt.end) return fold(pseudo(pkt, pkt.proto, pkt.end - pkt.l4))
  const rest = sumView(view, at + 2, pkt.end, sumView(view, pkt.l4, at))
  // As a sum it is never 0: addresses are not.
  return fold((~view.getUint16(at) & 0xffff) + (~fold(rest) & 0xffff)) || 0xffff
}

/**
 * Writes it for a copy in `to` whose transport header is at `l4` and which ends at `end`, as in the quote of an ICMP error.
 */
export function writePartialChecksum(
  pkt: Packet,
  memory: Memory,
  l4: number,
  end: number,
  to: Memory = memory,
): void {
  if (!isOwn(pkt)) return
  const at = l4 + (pkt.proto === IPPROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM)
  if (at + 2 <= end) to.view.setUint16(at, partialChecksum(pkt, memory))
}

/**
 * Puts the pseudo header's sum into the checksum field of a packet that is left to the device, for those who look at its
 * bytes (string, u32, bpf). Returns what hidePartialChecksum() puts back; -1: nothing. Does not allocate.
 */
export function showPartialChecksum(pkt: Packet, memory: Memory): number {
  if (!pkt.csumPartial) return -1
  const at = checksumAt(pkt)
  // What is pending holds anything anyway.
  const whole = pkt.csumPending || at + 2 > pkt.end ? -1 : memory.view.getUint16(at)
  writePartialChecksum(pkt, memory, pkt.l4, pkt.end)
  return whole
}

export function hidePartialChecksum(pkt: Packet, { view }: Memory, whole: number): void {
  if (whole >= 0) view.setUint16(checksumAt(pkt), whole)
}

/** skb_checksum_help(): the checksum is whole from here on. */
export function completeChecksum(pkt: Packet, { view }: Memory): void {
  const at = checksumAt(pkt)
  const from = pkt.l3 + pkt.csumStart
  let sum = 0
  if (isOwn(pkt)) {
    view.setUint16(at, 0)
    sum = pseudo(pkt, pkt.proto, pkt.end - pkt.l4)
  }
  const check = ~fold(sumView(view, from, pkt.end, sum)) & 0xffff
  view.setUint16(at, check === 0 && pkt.proto !== IPPROTO_TCP ? 0xffff : check)
  pkt.csumPending = pkt.csumPartial = false
}

export class Offloads {
  readonly #host: Host
  /** Where the segments of the superframe at hand go. */
  #device: Device

  constructor(host: Host) {
    this.#host = host
    this.#device = host.devices.loopback
  }

  /** Sends a packet, and makes what of it is pending; the slot goes with it (-1: the bytes stay the caller's). Hot. */
  send(pkt: Packet, device: Device, slot: number): void {
    if (pkt.csumPending === true) this.#finishAndSend(pkt, device, slot)
    else this.#host.egress.send(device.index, pkt.l3, pkt.end - pkt.l3, slot)
  }

  #finishAndSend(pkt: Packet, device: Device, slot: number): void {
    const { memory, egress } = this.#host
    if (pkt.gsoSize > 0 && !takes(device, pkt)) {
      this.#device = device
      this.segment(pkt, this.#emit)
      if (slot >= 0) memory.give(slot)
      return
    }
    if ((device.offloads & Offload.Checksum) === 0) {
      completeChecksum(pkt, memory)
      egress.send(device.index, pkt.l3, pkt.end - pkt.l3, slot)
      return
    }
    this.#writeHeader(pkt)
    egress.send(device.index, pkt.l3, pkt.end - pkt.l3, slot, true)
  }

  readonly #emit = (piece: Packet): void => {
    const { slot } = piece
    piece.slot = -1
    this.#host.egress.send(this.#device.index, piece.l3, piece.end - piece.l3, slot)
  }

  #writeHeader(pkt: Packet): void {
    const { memory } = this.#host
    const { view } = memory
    writePartialChecksum(pkt, memory, pkt.l4, pkt.end)
    const at = pkt.l3 - VNET_HEADER_LEN
    writeVnetHeader(view, at, pkt.csumStart, pkt.csumOffset)
    if (pkt.gsoSize > 0)
      writeGso(view, at, pkt.gsoType, pkt.l4 - pkt.l3 + transportHeader(pkt, memory), pkt.gsoSize)
  }

  /**
   * skb_gso_segment(): the packets that a superframe stands for, each in a slot of its own which is the callee's, the
   * Packet this function's. Checksums are whole. What finds no slot is lost, as on a full device.
   */
  segment(pkt: Packet, each: (piece: Packet) => void): void {
    const { memory, packets } = this.#host
    const data = pkt.l4 + transportHeader(pkt, memory)
    const size = pkt.gsoSize
    for (let from = data, i = 0; from < pkt.end; from += size, i++) {
      const slot = memory.take()
      if (slot < 0) return
      const piece = packets.take()
      const end = Math.min(from + size, pkt.end)
      piece.slot = slot
      piece.limit = slot + memory.stride
      copyHeader(piece, pkt, slot + HEADROOM)
      memory.bytes.copyWithin(piece.l3, pkt.l3, data)
      memory.bytes.copyWithin(piece.l3 + data - pkt.l3, from, end)
      piece.end = piece.l3 + (data - pkt.l3) + (end - from)
      this.#finish(piece, i, from - data, end === pkt.end)
      each(piece)
      if (piece.slot >= 0) {
        memory.give(piece.slot)
        piece.slot = -1
      }
      packets.give(piece)
    }
  }

  /** Lengths, numbers, flags and checksums of segment `i`, which begins `offset` bytes into the data. */
  #finish(piece: Packet, i: number, offset: number, isLast: boolean): void {
    const { view } = this.#host.memory
    const { l3, l4, end } = piece
    if (piece.family === 4) {
      view.setUint16(l3 + IPV4_TOTAL_LEN, end - l3)
      view.setUint16(l3 + IPV4_ID, view.getUint16(l3 + IPV4_ID) + i)
      writeIpv4Checksum(view, l3)
    } else view.setUint16(l3 + IPV6_PAYLOAD_LEN, end - l3 - IPV6_HEADER_LEN)
    if (piece.proto === IPPROTO_TCP) {
      view.setUint32(l4 + TCP_SEQ, view.getUint32(l4 + TCP_SEQ) + offset)
      let flags = view.getUint8(l4 + TCP_FLAGS)
      if (!isLast) flags &= ~(TCP_FIN | TCP_PSH)
      if (i > 0) flags &= ~TCP_CWR
      view.setUint8(l4 + TCP_FLAGS, flags)
    } else if (piece.proto === IPPROTO_UDP) view.setUint16(l4 + UDP_LENGTH, end - l4)
    completeChecksum(piece, this.#host.memory)
  }
}

/** The device cuts such superframes itself. */
function takes(device: Device, pkt: Packet): boolean {
  const type = pkt.gsoType & ~Gso.Ecn
  const udp = pkt.family === 4 ? Offload.Uso4 : Offload.Uso6
  const needs = type === Gso.TcpV4 ? Offload.Tso4 : type === Gso.TcpV6 ? Offload.Tso6 : udp
  const all = (pkt.gsoType & Gso.Ecn) !== 0 ? needs | Offload.TsoEcn : needs
  return (device.offloads & all) === all
}

/** What a segment has of its superframe besides its bytes. */
function copyHeader(to: Packet, from: Packet, l3: number): void {
  place(to, from, l3)
  to.route = from.route
  to.flags = from.flags
  to.local = from.local
  to.csumOk = true
  to.csumPending = true
  to.csumStart = from.csumStart
  to.csumOffset = from.csumOffset
}
