// Frames to packets in words: the words that build the same bytes.

import { fold, pseudo4, sum } from '../../datapath/wire/checksum.ts'
import {
  hasPorts,
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
import { sctpCrc } from '../../datapath/wire/sctp.ts'
import { addressAt, quotes, u16, u32 } from '../frames/headers.ts'
import { buildFrame, checksumAt } from './build.ts'
import type { Draft, From, PacketWords } from './model.ts'
import { hexOf } from './options.ts'

type Packet = { -readonly [K in keyof PacketWords]: PacketWords[K] }

/** IP header read so far: `at` is where the transport header begins, `end` where the packet ends. */
interface Inside {
  readonly packet: Packet
  readonly at: number
  readonly end: number
  /** A later fragment, or cut so that checksums say nothing. */
  readonly later: boolean
  readonly whole: boolean
}

/**
 * What the frame holds; null if its headers are not all there. Fields with their usual value are left out, so that the
 * words are short; what no word says (odd reserved bits) is not kept.
 */
export function wordsOf(frame: Uint8Array, from: From = null): PacketWords | null {
  const inside = read(frame, from)
  if (inside === null) return null
  if (inside.later) rest(inside, frame, inside.at)
  else if (!readTransport(inside, frame)) {
    // Cut within the header, or one that no word says.
    inside.packet.raw = true
    rest(inside, frame, inside.at)
  } else checkSum(inside, frame)
  return inside.packet
}

/** A checksum that is not what the words would make is said. */
function checkSum({ packet, at, whole }: Inside, frame: Uint8Array): void {
  const field = checksumAt(packet.protocol)
  if (field === null || packet.noChecksum || (whole && !packet.badChecksum)) return
  delete packet.badChecksum
  const value = (of: Uint8Array, l4: number): number =>
    field.bytes === 2 ? u16(of, l4 + field.at) : u32(of, l4 + field.at)
  const is = value(frame, at)
  const { ipLength: _, ...plain } = packet
  for (const bad of [false, true]) {
    const built = buildFrame(bad ? { ...plain, badChecksum: true } : plain)
    if (value(built, built.length - (frame.length - at)) !== is) continue
    if (bad) packet.badChecksum = true
    return
  }
  packet.checksum = is
}

function read(frame: Uint8Array, from: From): Inside | null {
  const version = (frame[0] ?? 0) >> 4
  return version === 4 ? read4(frame, from) : version === 6 ? read6(frame, from) : null
}

function read4(f: Uint8Array, from: From): Inside | null {
  const length = (f[0]! & 15) * 4
  if (length < 20 || f.length < length) return null
  const packet: Packet = {
    family: 4,
    protocol: f[9]!,
    src: addressAt(f, 12, 4),
    dst: addressAt(f, 16, 4),
    from,
  }
  const cut = u16(f, 6)
  const isPiece = (cut & 0x3fff) !== 0
  if (f[8] !== 64) packet.ttl = f[8]!
  if (f[1] !== 0) packet.tos = f[1]!
  if (u16(f, 4) !== (isPiece ? 1 : 0)) packet.ipId = u16(f, 4)
  if (cut & 0x4000) packet.df = true
  if (cut & 0x8000) packet.evil = true
  if (isPiece) packet.fragment = { offset: (cut & 0x1fff) * 8, more: (cut & 0x2000) !== 0 }
  if (length > 20) packet.ipOptions = hexOf(withoutPadding(f.subarray(20, length)))
  if (u16(f, 2) !== f.length) packet.ipLength = u16(f, 2)
  if (fold(sum(f, 0, length)) !== 0xffff) packet.badIpChecksum = true
  const end = Math.min(f.length, Math.max(u16(f, 2), length))
  return { packet, at: length, end, later: (cut & 0x1fff) !== 0, whole: !isPiece }
}

const EXTENSION_HEADERS = [0, 43, 44, 60]

function read6(f: Uint8Array, from: From): Inside | null {
  if (f.length < 40) return null
  const packet: Packet = {
    family: 6,
    protocol: f[6]!,
    src: addressAt(f, 8, 6),
    dst: addressAt(f, 24, 6),
    from,
  }
  const tos = (u16(f, 0) >> 4) & 255
  if (f[7] !== 64) packet.ttl = f[7]!
  if (tos !== 0) packet.tos = tos
  const flow = u32(f, 0) & 0xfffff
  if (flow !== 0) packet.flow = flow
  if (u16(f, 4) !== f.length - 40) packet.ipLength = u16(f, 4)
  const end = Math.min(f.length, 40 + u16(f, 4))
  let at = 40
  let later = false
  let whole = true
  const extensions: { type: number; hex: string }[] = []
  while (EXTENSION_HEADERS.includes(packet.protocol) && at + 8 <= end) {
    const type = packet.protocol
    const length = type === 44 ? 8 : (f[at + 1]! + 1) * 8
    if (at + length > end) break
    packet.protocol = f[at]!
    // The fragment header that the words put last.
    if (type === 44 && (later || !EXTENSION_HEADERS.includes(packet.protocol) || u16(f, at + 2) & 0xfff8)) {
      const cut = u16(f, at + 2)
      packet.fragment = { offset: cut & 0xfff8, more: (cut & 1) !== 0 }
      if (u32(f, at + 4) !== 1) packet.ipId = u32(f, at + 4)
      later = (cut & 0xfff8) !== 0
      whole = (cut & 0xfff9) === 0
      at += 8
      if (extensions.length > 0) packet.extensions = extensions
      return { packet, at, end, later, whole }
    }
    extensions.push({ type, hex: hexOf(f.subarray(at + 2, at + length)) })
    at += length
  }
  if (extensions.length > 0) packet.extensions = extensions
  return { packet, at, end, later, whole }
}

/** IPv4 and TCP options end with zeros where they do not fill words of four bytes. */
function withoutPadding(options: Uint8Array): Uint8Array {
  let at = 0
  while (at < options.length) {
    const kind = options[at]!
    if (kind === 0) {
      const rest = options.subarray(at)
      return rest.length < 4 && rest.every((b) => b === 0) ? options.subarray(0, at) : options
    }
    at += kind === 1 ? 1 : Math.max(options[at + 1] ?? 0, 2)
  }
  return options
}

function rest({ packet, end }: Inside, f: Uint8Array, at: number): void {
  if (at < end) packet.payload = hexOf(f.subarray(at, end))
}

/** False: the header is cut short. */
function readTransport(inside: Inside, f: Uint8Array): boolean {
  const { packet, at, end, whole } = inside
  const { protocol, family } = packet
  const length = end - at
  const put = <K extends keyof Draft>(field: K, value: Packet[K], usual: Packet[K]): void => {
    if (value !== usual) (packet as Draft)[field] = value as Draft[K]
  }
  const start =
    family === 4
      ? pseudo4(u32(f, 12) | 0, u32(f, 16) | 0, protocol, length)
      : sum(f, 8, 40, protocol + length)
  const bad = (from = start): void => {
    if (whole && fold(sum(f, at, end, from)) !== 0xffff) packet.badChecksum = true
  }
  if (hasPorts(protocol)) {
    if (length < 8) return false
    packet.sport = u16(f, at)
    packet.dport = u16(f, at + 2)
  }
  switch (protocol) {
    case IPPROTO_TCP: {
      const header = (f[at + 12]! >> 4) * 4
      if (length < 20 || header < 20 || header > length) return unread(packet)
      packet.flags = f[at + 13]!
      packet.seq = u32(f, at + 4)
      put('ack', u32(f, at + 8), 0)
      put('window', u16(f, at + 14), 65535)
      put('urgent', u16(f, at + 18), 0)
      if (header > 20) packet.tcpOptions = hexOf(withoutPadding(f.subarray(at + 20, at + header)))
      bad()
      rest(inside, f, at + header)
      return true
    }
    case IPPROTO_UDP:
      if (u16(f, at + 6) === 0) packet.noChecksum = true
      else bad()
      rest(inside, f, at + 8)
      return true
    case IPPROTO_UDPLITE: {
      const said = u16(f, at + 4)
      put('coverage', said, 0)
      const covered = said === 0 ? end : Math.min(end, at + said)
      if (whole && fold(sum(f, at, covered, start)) !== 0xffff) packet.badChecksum = true
      rest(inside, f, at + 8)
      return true
    }
    case IPPROTO_SCTP: {
      if (length < 12) return unread(packet)
      packet.vtag = u32(f, at + 4)
      packet.chunks = hexOf(f.subarray(at + 12, end))
      const crc = new DataView(f.buffer, f.byteOffset).getInt32(at + 8, true)
      if (whole && crc !== sctpCrc(f, at, end)) packet.badChecksum = true
      return true
    }
    case IPPROTO_DCCP: {
      const header = f[at + 4]! * 4
      if (length < 16 || header < 16 || header > length) return unread(packet)
      const type = (f[at + 8]! >> 1) & 15
      packet.dccpType = type
      put('seq', u32(f, at + 12), 0)
      if (type !== 0 && type !== 2 && header >= 24) put('ack', u32(f, at + 20), 0)
      bad()
      rest(inside, f, at + header)
      return true
    }
    case IPPROTO_GRE: {
      if (length < 4) return false
      const bits = u16(f, at)
      const ethertype = u16(f, at + 2)
      if (bits === 0x3001 && ethertype === 0x880b && length >= 12) {
        packet.callId = u16(f, at + 6)
        put('seq', u32(f, at + 8), 0)
        rest(inside, f, at + 12)
        return true
      }
      if ((bits !== 0 && bits !== 0x2000) || length < (bits === 0 ? 4 : 8)) return false
      put('ethertype', ethertype, 0x800)
      if (bits !== 0) packet.key = u32(f, at + 4)
      rest(inside, f, at + (bits === 0 ? 4 : 8))
      return true
    }
    case IPPROTO_ESP:
      if (length < 8) return false
      put('spi', u32(f, at), 256)
      put('seq', u32(f, at + 4), 1)
      rest(inside, f, at + 8)
      return true
    case IPPROTO_AH:
      if (length < 24 || f[at + 1] !== 4) return false
      put('next', f[at]!, 59)
      put('spi', u32(f, at + 4), 256)
      put('seq', u32(f, at + 8), 1)
      rest(inside, f, at + 24)
      return true
  }
  if (protocol !== (family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
    rest(inside, f, at)
    return true
  }
  if (length < 8) return false
  packet.icmpType = f[at]!
  packet.icmpCode = f[at + 1]!
  packet.rest = u32(f, at + 4)
  bad(family === 4 ? 0 : start)
  const quoted = quotes(protocol, f[at]!) ? quotation(f.subarray(at + 8, end)) : null
  if (quoted === null) rest(inside, f, at + 8)
  else packet.about = quoted
  return true
}

/** A quote of a whole packet; one that is cut short stays bytes. */
function quotation(bytes: Uint8Array): PacketWords | null {
  const six = bytes[0] !== undefined && bytes[0] >> 4 === 6
  const length = six ? 40 + u16(bytes, 4) : u16(bytes, 2)
  return length === bytes.length ? wordsOf(bytes) : null
}

function unread(packet: Packet): false {
  delete packet.sport
  delete packet.dport
  return false
}
