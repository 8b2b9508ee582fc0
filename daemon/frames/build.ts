// Frames by name: builders that give the bytes of one IP packet. The family is that of the addresses; fields that the
// other one has say nothing.
//
//     tcp({ src: '192.0.2.1', dst: '198.51.100.2', sport: 1024, dport: 80, flags: 'S' })
//     icmpError(3, 1, quoted)                      an error about `quoted`, sent back to its source
//     fragment(udp({ ..., payload: 3000 }), 1000)  the pieces of a datagram
//
// Whatever is not said is right: lengths, checksums, TTL (or hop limit) 64. Whatever is said stands, even if it is wrong.

import { parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import { fold, pseudo4, sum } from '../../datapath/wire/checksum.ts'
import { sctpCrc } from '../../datapath/wire/sctp.ts'
import { addressAt, isIpv6 } from './headers.ts'

/** Bytes, a text (UTF-8), or a length: that many bytes 0, 1, 2 … */
export type Payload = Uint8Array | readonly number[] | string | number

export function payload(p: Payload): Uint8Array {
  if (typeof p === 'number') return Uint8Array.from({ length: p }, (_, i) => i & 0xff)
  if (typeof p === 'string') return new TextEncoder().encode(p)
  return Uint8Array.from(p)
}

/** The IPv4 header. Addresses as text or as words. */
export interface Ip4 {
  src: string | number
  dst: string | number
  /** Default 64. */
  ttl?: number
  tos?: number
  id?: number
  df?: boolean
  mf?: boolean
  /** The reserved bit. */
  ce?: boolean
  /** In bytes, a multiple of 8. */
  fragOffset?: number
  /** IP options; padded with zeros to a multiple of four. */
  options?: readonly number[] | Uint8Array
  /** The header's checksum is off by one. */
  badIpChecksum?: boolean
  totalLength?: number
  /** Header length in words, as it stands in the header. */
  ihl?: number
  version?: number
}

export interface Ip4Packet extends Ip4 {
  proto: number
  payload?: Payload
}

/** What only IPv6 headers say. `ttl` is the hop limit, `tos` the traffic class. */
export interface Ip6Only {
  flowLabel?: number
  /** Extension headers between IPv6 and transport header. */
  extensions?: readonly Extension[]
  payloadLength?: number
  /** The first next header field, instead of that of what follows. */
  nextHeader?: number
}

/** An extension header: its number, and its bytes, of which the first will say what follows. */
export interface Extension {
  readonly type: number
  readonly bytes: readonly number[]
}

/** The IP header of either family. */
export interface Ip extends Ip4, Ip6Only {}

export interface IpPacket extends Ip {
  proto: number
  payload?: Payload
}

/** One packet of the addresses' family with the payload as it is. */
export const ip = (o: IpPacket): Uint8Array => (isIpv6(o.src) ? ip6({ ...o, next: o.proto }) : ip4(o))

/** Sum of the pseudo header of the addresses' family. */
function pseudo({ src, dst }: Pick<Ip, 'src' | 'dst'>, proto: number, length: number): number {
  if (!isIpv6(src)) return pseudo4(word(src), word(dst), proto, length)
  const bytes = Uint8Array.from([...bytes6(src), ...bytes6(dst)])
  return sum(bytes, 0, bytes.length, proto + length)
}

/** The sixteen bytes of an IPv6 address. */
export function bytes6(address: string | number): number[] {
  const words = parseIpv6(String(address))
  if (words === null) throw new Error(`no IPv6 address: ${address}`)
  return words.flatMap((w) => [w >>> 24, (w >>> 16) & 255, (w >>> 8) & 255, w & 255])
}

const word = (address: string | number): number => {
  if (typeof address === 'number') return address | 0
  const parsed = parseIpv4(address)
  if (parsed === null) throw new Error(`no IPv4 address: ${address}`)
  return parsed
}

/** One IPv4 packet with the payload as it is. */
export function ip4(o: Ip4Packet): Uint8Array {
  const data = payload(o.payload ?? [])
  const options = payload(o.options ?? [])
  const header = 20 + ((options.length + 3) & ~3)
  const frame = new Uint8Array(header + data.length)
  const v = new DataView(frame.buffer)
  v.setUint8(0, ((o.version ?? 4) << 4) | (o.ihl ?? header >> 2))
  v.setUint8(1, o.tos ?? 0)
  v.setUint16(2, o.totalLength ?? frame.length)
  v.setUint16(4, o.id ?? 0)
  v.setUint16(6, (o.ce ? 0x8000 : 0) | (o.df ? 0x4000 : 0) | (o.mf ? 0x2000 : 0) | ((o.fragOffset ?? 0) >> 3))
  v.setUint8(8, o.ttl ?? 64)
  v.setUint8(9, o.proto)
  v.setInt32(12, word(o.src))
  v.setInt32(16, word(o.dst))
  frame.set(options, 20)
  frame.set(data, header)
  const covered = o.ihl === undefined ? header : Math.min(Math.max(o.ihl * 4, 20), frame.length)
  v.setUint16(10, ~fold(sum(frame, 0, covered)) & 0xffff)
  if (o.badIpChecksum) v.setUint16(10, v.getUint16(10) ^ 1)
  return frame
}

/** Sets the transport checksum at `at` of `data`, or an off-by-one. 0 becomes 0xffff where `zeroIsNone`. */
function seal(
  data: Uint8Array,
  at: number,
  start: number,
  bad: boolean | undefined,
  zeroIsNone = false,
): Uint8Array {
  const v = new DataView(data.buffer)
  let check = ~fold(sum(data, 0, data.length, start)) & 0xffff
  if (zeroIsNone && check === 0) check = 0xffff
  if (bad) check = check === 1 ? 2 : check ^ 1
  v.setUint16(at, check)
  return data
}

export interface Tcp extends Ip {
  sport: number
  dport: number
  /** Letters of FSRPAUEC (FIN SYN RST PSH ACK URG ECE CWR), or the number. Default 'A'. */
  flags?: string | number
  seq?: number
  ack?: number
  window?: number
  urgent?: number
  /** TCP options; padded with zeros to a multiple of four. */
  tcpOptions?: readonly number[] | Uint8Array
  payload?: Payload
  badChecksum?: boolean
  /** In words. */
  dataOffset?: number
  /** The reserved four bits behind the data offset. */
  reserved?: number
}

export const TCP_LETTERS = 'FSRPAUEC'

export function tcpFlagBits(flags: string | number): number {
  if (typeof flags === 'number') return flags
  let bits = 0
  for (const letter of flags.toUpperCase()) {
    const bit = TCP_LETTERS.indexOf(letter)
    if (bit < 0) throw new Error(`no TCP flag: ${letter}`)
    bits |= 1 << bit
  }
  return bits
}

export function tcp(o: Tcp): Uint8Array {
  const body = payload(o.payload ?? [])
  const options = payload(o.tcpOptions ?? [])
  const header = 20 + ((options.length + 3) & ~3)
  const data = new Uint8Array(header + body.length)
  const v = new DataView(data.buffer)
  v.setUint16(0, o.sport)
  v.setUint16(2, o.dport)
  v.setUint32(4, o.seq ?? 0)
  v.setUint32(8, o.ack ?? 0)
  v.setUint8(12, ((o.dataOffset ?? header >> 2) << 4) | (o.reserved ?? 0))
  v.setUint8(13, tcpFlagBits(o.flags ?? 'A'))
  v.setUint16(14, o.window ?? 65535)
  v.setUint16(18, o.urgent ?? 0)
  data.set(options, 20)
  data.set(body, header)
  return ip({
    ...o,
    proto: 6,
    payload: seal(data, 16, pseudo(o, 6, data.length), o.badChecksum),
  })
}

export interface Udp extends Ip {
  sport: number
  dport: number
  payload?: Payload
  badChecksum?: boolean
  /** The checksum field is 0: none. */
  noChecksum?: boolean
  /** The length field. */
  udpLength?: number
}

export function udp(o: Udp): Uint8Array {
  const body = payload(o.payload ?? [])
  const data = new Uint8Array(8 + body.length)
  const v = new DataView(data.buffer)
  v.setUint16(0, o.sport)
  v.setUint16(2, o.dport)
  v.setUint16(4, o.udpLength ?? data.length)
  data.set(body, 8)
  if (!o.noChecksum) seal(data, 6, pseudo(o, 17, data.length), o.badChecksum, true)
  return ip({ ...o, proto: 17, payload: data })
}

export interface UdpLite extends Ip {
  sport: number
  dport: number
  payload?: Payload
  /** Bytes covered by the checksum, 0 (default) all. */
  coverage?: number
  badChecksum?: boolean
}

export function udplite(o: UdpLite): Uint8Array {
  const body = payload(o.payload ?? [])
  const data = new Uint8Array(8 + body.length)
  const v = new DataView(data.buffer)
  v.setUint16(0, o.sport)
  v.setUint16(2, o.dport)
  v.setUint16(4, o.coverage ?? 0)
  data.set(body, 8)
  const start = pseudo(o, 136, data.length)
  let check =
    ~fold(sum(data, 0, o.coverage ? Math.min(o.coverage, data.length) : data.length, start)) & 0xffff
  if (check === 0) check = 0xffff
  v.setUint16(6, o.badChecksum ? check ^ 2 : check)
  return ip({ ...o, proto: 136, payload: data })
}

/** ICMP, or ICMPv6. */
export interface Icmp extends Ip {
  /** Default echo request. */
  type?: number
  code?: number
  id?: number
  /** Echo identifier and sequence number. */
  echoId?: number
  seq?: number
  /** The four bytes behind the checksum, instead of echoId and seq. */
  rest?: number
  payload?: Payload
  badChecksum?: boolean
}

export function icmp(o: Icmp): Uint8Array {
  const body = payload(o.payload ?? [])
  const data = new Uint8Array(8 + body.length)
  const v = new DataView(data.buffer)
  const six = isIpv6(o.src)
  v.setUint8(0, o.type ?? (six ? 128 : 8))
  v.setUint8(1, o.code ?? 0)
  v.setUint32(4, o.rest ?? (((o.echoId ?? 0) << 16) | (o.seq ?? 0)) >>> 0)
  data.set(body, 8)
  return six
    ? ip({ ...o, proto: 58, payload: seal(data, 2, pseudo(o, 58, data.length), o.badChecksum) })
    : ip({ ...o, proto: 1, payload: seal(data, 2, 0, o.badChecksum) })
}

export type IcmpError = Partial<Icmp> & {
  /** Bytes of the quoted packet; default all of it, but at most 548 of IPv4, 1232 of IPv6. */
  quote?: number
}

/** An ICMP error about `quoted`: to its source, from its destination unless `o.src` says otherwise. */
export function icmpError(type: number, code: number, quoted: Uint8Array, o: IcmpError = {}): Uint8Array {
  const six = quoted[0]! >> 4 === 6
  const at = six ? [8, 24] : [12, 16]
  const [to, from] = at.map((a) => addressAt(quoted, a, six ? 6 : 4))
  const part = quoted.slice(0, Math.min(quoted.length, o.quote ?? (six ? 1232 : 548)))
  return icmp({
    src: from!,
    dst: to!,
    tos: six ? 0 : 0xc0,
    ...o,
    type,
    code,
    rest: o.rest ?? 0,
    payload: part,
  })
}

export interface Gre extends Ip {
  /** EtherType inside; default 0x0800, with `callId` 0x880b. */
  protocol?: number
  key?: number
  /** Makes it the version 1 of PPTP. */
  callId?: number
  seq?: number
  payload?: Payload
}

export function gre(o: Gre): Uint8Array {
  const body = payload(o.payload ?? [])
  if (o.callId !== undefined) {
    const head = [0x30, 0x01, 0x88, 0x0b, body.length >> 8, body.length & 255, o.callId >> 8, o.callId & 255]
    const seq = o.seq ?? 0
    return ip({
      ...o,
      proto: 47,
      payload: [...head, seq >>> 24, (seq >> 16) & 255, (seq >> 8) & 255, seq & 255, ...body],
    })
  }
  const type = o.protocol ?? 0x0800
  const key = o.key === undefined ? [] : [o.key >>> 24, (o.key >> 16) & 255, (o.key >> 8) & 255, o.key & 255]
  return ip({ ...o, proto: 47, payload: [key.length ? 0x20 : 0, 0, type >> 8, type & 255, ...key, ...body] })
}

export interface Sctp extends Ip {
  sport: number
  dport: number
  vtag?: number
  /** Chunks as bytes; default an INIT. */
  chunks?: Payload
  badChecksum?: boolean
}

export function sctp(o: Sctp): Uint8Array {
  const init = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1]
  const chunks = payload(o.chunks ?? init)
  const data = new Uint8Array(12 + chunks.length)
  const v = new DataView(data.buffer)
  v.setUint16(0, o.sport)
  v.setUint16(2, o.dport)
  v.setUint32(4, o.vtag ?? 0)
  data.set(chunks, 12)
  v.setUint32(8, sctpCrc(data, 0, data.length) ^ (o.badChecksum ? 1 : 0), true)
  return ip({ ...o, proto: 132, payload: data })
}

export interface Dccp extends Ip {
  sport: number
  dport: number
  /** Default 0, REQUEST. */
  type?: number
  seq?: number
  /** Acknowledgement number; absent: a header without one. */
  ack?: number
  payload?: Payload
  badChecksum?: boolean
}

const DCCP_RESPONSE = 1
const DCCP_RESET = 7

/** With 48-bit sequence numbers (X=1), header of 20 bytes for a request. */
export function dccp(o: Dccp): Uint8Array {
  const body = payload(o.payload ?? [])
  const type = o.type ?? 0
  const header = o.ack === undefined ? 20 : type === DCCP_RESPONSE || type === DCCP_RESET ? 28 : 24
  const data = new Uint8Array(header + body.length)
  const v = new DataView(data.buffer)
  v.setUint16(0, o.sport)
  v.setUint16(2, o.dport)
  v.setUint8(4, header / 4)
  v.setUint8(8, (type << 1) | 1)
  v.setUint32(12, o.seq ?? 0)
  if (o.ack !== undefined) v.setUint32(20, o.ack)
  data.set(body, header)
  return ip({
    ...o,
    proto: 33,
    payload: seal(data, 6, pseudo(o, 33, data.length), o.badChecksum),
  })
}

/** One IPv6 packet with the payload as it is; `next`: the protocol of the payload. */
export function ip6(
  o: Ip6Only & {
    src: string | number
    dst: string | number
    next: number
    hopLimit?: number
    ttl?: number
    tos?: number
    version?: number
    payload?: Payload
  },
): Uint8Array {
  const data = payload(o.payload ?? [])
  const extensions = o.extensions ?? []
  const chain = extensions.flatMap(({ bytes }, i) => [extensions[i + 1]?.type ?? o.next, ...bytes.slice(1)])
  const frame = new Uint8Array(40 + chain.length + data.length)
  const v = new DataView(frame.buffer)
  v.setUint32(0, (((o.version ?? 6) << 28) | ((o.tos ?? 0) << 20) | (o.flowLabel ?? 0)) >>> 0)
  v.setUint16(4, o.payloadLength ?? chain.length + data.length)
  v.setUint8(6, o.nextHeader ?? extensions[0]?.type ?? o.next)
  v.setUint8(7, o.hopLimit ?? o.ttl ?? 64)
  frame.set(bytes6(o.src), 8)
  frame.set(bytes6(o.dst), 24)
  frame.set(chain, 40)
  frame.set(data, 40 + chain.length)
  return frame
}

/** `45000054…`, blanks allowed, to bytes. */
export function hex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, '')
  return Uint8Array.from({ length: digits.length >> 1 }, (_, i) =>
    Number.parseInt(digits.slice(i * 2, i * 2 + 2), 16),
  )
}

export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')
