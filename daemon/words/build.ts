// Packets in words to frames. Whatever is not said is right: lengths, checksums, TTL 64.

import {
  IPPROTO_AH,
  IPPROTO_DCCP,
  IPPROTO_ESP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import * as frames from '../frames/build.ts'
import { fragment } from '../frames/fragment.ts'
import { headersOf } from '../frames/headers.ts'
import type { PacketWords } from './model.ts'
import { sctpChunk } from './options.ts'
import { DEFAULT_ECHO, echoRequest, isQuery } from './vocabulary.ts'

const SYN = 2
const FRAGMENT_HEADER = 44
const NO_NEXT_HEADER = 59

const bytes = (hex: string | undefined): Uint8Array =>
  hex === undefined ? new Uint8Array(0) : Uint8Array.from(Buffer.from(hex, 'hex'))

/** The frame, or its fragments where `pieces` asks for them, in order. */
export function buildFrames(packet: PacketWords): Uint8Array[] {
  const frame = buildWhole(packet)
  return packet.pieces === undefined ? [frame] : fragment(frame, packet.pieces, packet.ipId ?? 1)
}

/** The frame in one piece. */
export function buildFrame(packet: PacketWords): Uint8Array {
  return buildWhole(packet)
}

function buildWhole(packet: PacketWords): Uint8Array {
  // A later piece is data without a header.
  if (!packet.raw && (packet.fragment?.offset ?? 0) === 0) {
    const frame = transport(packet)
    if (packet.checksum !== undefined) writeChecksum(frame, packet.protocol, packet.checksum)
    return frame
  }
  return frames.ip({ ...header(packet), proto: packet.protocol, payload: bytes(packet.payload) })
}

/** Where the checksum stands in the transport header, and of how many bytes it is; null: there is none. */
export function checksumAt(protocol: number): { readonly at: number; readonly bytes: 2 | 4 } | null {
  if (protocol === IPPROTO_TCP) return { at: 16, bytes: 2 }
  if (protocol === IPPROTO_UDP || protocol === IPPROTO_UDPLITE || protocol === IPPROTO_DCCP)
    return { at: 6, bytes: 2 }
  if (protocol === IPPROTO_SCTP) return { at: 8, bytes: 4 }
  return protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6 ? { at: 2, bytes: 2 } : null
}

function writeChecksum(frame: Uint8Array, protocol: number, value: number): void {
  const field = checksumAt(protocol)
  const l4 = headersOf(frame)?.l4
  if (field === null || l4 === undefined) return
  for (let i = 0; i < field.bytes; i++)
    frame[l4 + field.at + i] = Math.floor(value / 2 ** (8 * (field.bytes - 1 - i)))
}

/** The IP header as frames/build.ts has it. */
function header(packet: PacketWords): frames.Ip {
  const { family, fragment: piece } = packet
  const common = {
    src: packet.src,
    dst: packet.dst,
    ...(packet.ttl !== undefined && { ttl: packet.ttl }),
    ...(packet.tos !== undefined && { tos: packet.tos }),
  }
  if (family === 6) {
    const extensions = (packet.extensions ?? []).map(({ type, hex }) => extension(type, bytes(hex)))
    if (piece !== undefined) {
      const cut = piece.offset | (piece.more ? 1 : 0)
      const id = packet.ipId ?? 1
      const idBytes = [id >>> 24, (id >>> 16) & 255, (id >>> 8) & 255, id & 255]
      extensions.push({ type: FRAGMENT_HEADER, bytes: [0, 0, cut >> 8, cut & 255, ...idBytes] })
    }
    return {
      ...common,
      ...(packet.flow !== undefined && { flowLabel: packet.flow }),
      ...(extensions.length > 0 && { extensions }),
      ...(packet.ipLength !== undefined && { payloadLength: packet.ipLength }),
    }
  }
  const id = packet.ipId ?? (piece === undefined && packet.pieces === undefined ? 0 : 1)
  return {
    ...common,
    id,
    df: packet.df ?? false,
    ce: packet.evil ?? false,
    ...(piece !== undefined && { fragOffset: piece.offset, mf: piece.more }),
    ...(packet.ipOptions !== undefined && { options: bytes(packet.ipOptions) }),
    ...(packet.ipLength !== undefined && { totalLength: packet.ipLength }),
    badIpChecksum: packet.badIpChecksum ?? false,
  }
}

/** The second byte is the length in units of eight bytes, the first one apart (RFC 8200 §4.2). */
const extension = (type: number, body: Uint8Array): frames.Extension => ({
  type,
  bytes: [0, type === FRAGMENT_HEADER ? 0 : (body.length + 2) / 8 - 1, ...body],
})

function transport(packet: PacketWords): Uint8Array {
  const ip = header(packet)
  const { family, protocol } = packet
  const common = {
    ...ip,
    sport: packet.sport ?? 0,
    dport: packet.dport ?? 0,
    payload: bytes(packet.payload),
    badChecksum: packet.badChecksum ?? false,
  }
  switch (protocol) {
    case IPPROTO_TCP:
      return frames.tcp({
        ...common,
        flags: packet.flags ?? SYN,
        seq: packet.seq ?? 0,
        ack: packet.ack ?? 0,
        ...(packet.window !== undefined && { window: packet.window }),
        urgent: packet.urgent ?? 0,
        tcpOptions: bytes(packet.tcpOptions),
      })
    case IPPROTO_UDP:
      return frames.udp({ ...common, noChecksum: packet.noChecksum ?? false })
    case IPPROTO_UDPLITE:
      return frames.udplite({ ...common, coverage: packet.coverage ?? 0 })
    case IPPROTO_SCTP:
      return frames.sctp({
        ...common,
        vtag: packet.vtag ?? usualTag(packet.chunks),
        chunks: chunksOf(packet),
      })
    case IPPROTO_DCCP: {
      const type = packet.dccpType ?? 0
      // Requests and data acknowledge nothing (RFC 4340 §5.1).
      const acks = type !== 0 && type !== 2
      return frames.dccp({ ...common, type, seq: packet.seq ?? 0, ...(acks && { ack: packet.ack ?? 0 }) })
    }
    case IPPROTO_GRE:
      return frames.gre({
        ...common,
        ...(packet.ethertype !== undefined && { protocol: packet.ethertype }),
        ...(packet.key !== undefined && { key: packet.key }),
        ...(packet.callId !== undefined && { callId: packet.callId }),
        ...(packet.seq !== undefined && { seq: packet.seq }),
      })
    case IPPROTO_ESP: {
      const head = [...u32(packet.spi ?? 256), ...u32(packet.seq ?? 1)]
      return frames.ip({ ...ip, proto: protocol, payload: [...head, ...bytes(packet.payload)] })
    }
    case IPPROTO_AH: {
      // 96 bits of integrity check value (RFC 4302 §2.2).
      const head = [
        packet.next ?? NO_NEXT_HEADER,
        4,
        0,
        0,
        ...u32(packet.spi ?? 256),
        ...u32(packet.seq ?? 1),
      ]
      const icv = Array<number>(12).fill(0)
      return frames.ip({ ...ip, proto: protocol, payload: [...head, ...icv, ...bytes(packet.payload)] })
    }
  }
  if (protocol === (family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) return icmp(packet, common)
  return frames.ip({ ...ip, proto: protocol, payload: bytes(packet.payload) })
}

function icmp(packet: PacketWords, common: frames.Ip & { badChecksum: boolean }): Uint8Array {
  const type = packet.icmpType ?? echoRequest(packet.family)
  const code = packet.icmpCode ?? 0
  const rest = packet.rest ?? (isQuery(type) ? DEFAULT_ECHO : 0)
  if (packet.about === undefined) return frames.icmp({ ...common, type, code, rest })
  const quoted = buildFrame(packet.about)
  const most = packet.quote ?? (packet.family === 4 ? 548 : 1232)
  const payload = [...quoted.subarray(0, most), ...bytes(packet.payload)]
  return frames.icmp({ ...common, type, code, rest, payload })
}

const u32 = (n: number): number[] => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]

const chunksOf = (packet: PacketWords): Uint8Array => bytes(packet.chunks ?? sctpChunk('init', 1))

/** An INIT has the tag 0 (RFC 9260 §8.5.1), all else here that of an INIT without a word. */
const usualTag = (chunks: string | undefined): number =>
  chunks === undefined || chunks.startsWith('01') ? 0 : 1
