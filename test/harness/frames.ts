// Frames by name for tests: builders that give the bytes of one IP packet, and decode(), which says in one line
// what a frame holds. The family is that of the addresses; fields that the other one has say nothing.
//
//     tcp({ src: '192.0.2.1', dst: '198.51.100.2', sport: 1024, dport: 80, flags: 'S' })
//     icmpError(3, 1, quoted)                      an error about `quoted`, sent back to its source
//     fragment(udp({ ..., payload: 3000 }), 1000)  the pieces of a datagram
//
// Whatever is not said is right: lengths, checksums, TTL (or hop limit) 64. Whatever is said stands, even if it is wrong.

import { formatIpv4, parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import { fold, pseudo4, sum } from '../../datapath/wire/checksum.ts'
import { icmpIsError } from '../../datapath/wire/icmp.ts'
import { sctpCrc } from '../../datapath/wire/sctp.ts'
import { addressAt, isIpv6, quotes } from './headers.ts'

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

const TCP_LETTERS = 'FSRPAUEC'

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
  payload?: Payload
  badChecksum?: boolean
}

/** With 48-bit sequence numbers (X=1), header of 20 bytes for a request. */
export function dccp(o: Dccp): Uint8Array {
  const body = payload(o.payload ?? [])
  const data = new Uint8Array(20 + body.length)
  const v = new DataView(data.buffer)
  v.setUint16(0, o.sport)
  v.setUint16(2, o.dport)
  v.setUint8(4, 5)
  v.setUint8(8, ((o.type ?? 0) << 1) | 1)
  v.setUint32(12, o.seq ?? 0)
  data.set(body, 20)
  return ip({
    ...o,
    proto: 33,
    payload: seal(data, 6, pseudo(o, 33, data.length), o.badChecksum),
  })
}

/**
 * The fragments of a frame, each with up to `size` bytes of data (a multiple of 8, the last one apart) or with the
 * sizes listed (the rest in one more). IPv4 options: only those with the copied bit go into later ones. `id`: of the
 * fragment headers of IPv6.
 */
export function fragment(frame: Uint8Array, size: number | readonly number[], id = 1): Uint8Array[] {
  if (frame[0]! >> 4 === 6) return fragment6(frame, size, id)
  const v = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const header = (v.getUint8(0) & 0xf) * 4
  const start = (v.getUint16(6) & 0x1fff) * 8
  const more = (v.getUint16(6) & 0x2000) !== 0
  const data = frame.slice(header)
  const pieces: Uint8Array[] = []
  const base: Omit<Ip4Packet, 'payload'> = {
    src: v.getInt32(12),
    dst: v.getInt32(16),
    proto: v.getUint8(9),
    ttl: v.getUint8(8),
    tos: v.getUint8(1),
    id: v.getUint16(4),
    df: (v.getUint16(6) & 0x4000) !== 0,
  }
  for (let at = 0, n = 0; at < data.length; n++) {
    const length = Math.min(typeof size === 'number' ? size : (size[n] ?? data.length), data.length - at)
    const options = at === 0 ? frame.slice(20, header) : copiedOptions(frame.slice(20, header))
    pieces.push(
      ip4({
        ...base,
        options,
        fragOffset: start + at,
        mf: more || at + length < data.length,
        payload: data.slice(at, at + length),
      }),
    )
    at += length
  }
  return pieces
}

function copiedOptions(options: Uint8Array): number[] {
  const kept: number[] = []
  for (let at = 0; at < options.length; ) {
    const kind = options[at]!
    if (kind === 0) break
    if (kind === 1) {
      kept.push(1)
      at++
      continue
    }
    const length = options[at + 1] ?? 0
    if (length < 2) break
    if (kind & 0x80) kept.push(...options.slice(at, at + length))
    at += length
  }
  return kept
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

/** xorshift32: the seeded randomness of tests; `u32` as Host wants it. */
export class SeededRandom {
  #state: number
  constructor(seed: number) {
    this.#state = seed | 0 || 0x9e3779b9
  }
  u32(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    return Math.imul(x, 0x9e3779b1) >>> 0
  }
  /** 0 to n - 1. */
  below(n: number): number {
    return Math.floor((this.u32() / 0x100000000) * n)
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
  /** True once in `n`. */
  once(n: number): boolean {
    return this.below(n) === 0
  }
  bytes(n: number): Uint8Array {
    return Uint8Array.from({ length: n }, () => this.below(256))
  }
}

/** Damages a frame: flips bits, cuts it or replaces bytes. */
export function damage(frame: Uint8Array, random: SeededRandom): Uint8Array {
  const out = frame.slice(0, random.once(4) ? random.below(frame.length + 1) : frame.length)
  for (let n = random.below(4); n >= 0 && out.length > 0; n--) {
    const at = random.below(Math.min(out.length, random.once(2) ? 64 : out.length))
    out[at] = random.once(3) ? random.below(256) : out[at]! ^ (1 << random.below(8))
  }
  return out
}

/**
 * One line for failure messages:
 * `192.0.2.1 > 198.51.100.2 ttl 64 id 7 DF tcp 1024 > 80 [S] seq 1 ack 0 win 65535 len 0`; wrong lengths and checksums
 * are named, an ICMP error shows its quote in brackets. Never throws.
 */
export function decode(frame: Uint8Array): string {
  if (frame.length === 0) return '(empty)'
  const version = frame[0]! >> 4
  if (version === 4) return decode4(frame, false)
  if (version === 6) return decode6(frame)
  return `(version ${version}) ${toHex(frame.slice(0, 64))}`
}

function decode4(frame: Uint8Array, quoted: boolean): string {
  const v = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const header = (frame[0]! & 0xf) * 4
  if (frame.length < 20 || header < 20 || header > frame.length)
    return `(damaged IPv4) ${toHex(frame.slice(0, 64))}`
  const total = v.getUint16(2)
  const words = [`${formatIpv4(v.getInt32(12))} > ${formatIpv4(v.getInt32(16))}`, `ttl ${frame[8]}`]
  if (frame[1] !== 0) words.push(`tos 0x${frame[1]!.toString(16)}`)
  words.push(`id ${v.getUint16(4)}`)
  const frag = v.getUint16(6)
  if (frag & 0x8000) words.push('CE')
  if (frag & 0x4000) words.push('DF')
  if (frag & 0x3fff)
    words.push(
      `frag ${(frag & 0x1fff) * 8}+${Math.min(frame.length, total) - header}${frag & 0x2000 ? ' MF' : ''}`,
    )
  if (header > 20) words.push(`options ${toHex(frame.slice(20, header))}`)
  if (fold(sum(frame, 0, header)) !== 0xffff) words.push('BAD-IP-CSUM')
  if (total !== frame.length && !quoted) words.push(`total ${total} of ${frame.length}`)
  const end = Math.min(frame.length, Math.max(total, header))
  const data = frame.subarray(header, end)
  const proto = frame[9]!
  if (frag & 0x1fff) words.push(`proto ${proto}`)
  else {
    const whole = (frag & 0x2000) === 0 && (!quoted || frame.length >= total)
    words.push(transport(proto, data, whole, pseudo4(v.getInt32(12), v.getInt32(16), proto, data.length)))
  }
  return words.join(' ')
}

const EXTENSIONS: Readonly<Record<number, string>> = { 0: 'hbh', 43: 'rt', 44: 'frag', 51: 'ah', 60: 'dst' }

function decode6(frame: Uint8Array, quoted = false): string {
  if (frame.length < 40) return `(damaged IPv6) ${toHex(frame)}`
  const v = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const words = [`${addressAt(frame, 8, 6)} > ${addressAt(frame, 24, 6)} hlim ${frame[7]}`]
  const first = v.getUint32(0)
  if ((first >>> 20) & 0xff) words.push(`tc 0x${((first >>> 20) & 0xff).toString(16)}`)
  if (first & 0xfffff) words.push(`flow 0x${(first & 0xfffff).toString(16)}`)
  const said = v.getUint16(4)
  if (said !== frame.length - 40 && !quoted) words.push(`length ${said} of ${frame.length - 40}`)
  const end = Math.min(frame.length, 40 + said)
  let next = frame[6]!
  let at = 40
  let whole = true
  while (EXTENSIONS[next] !== undefined && at + 8 <= end) {
    const name = EXTENSIONS[next]!
    if (next === 44) {
      const cut = v.getUint16(at + 2)
      words.push(
        `frag ${cut & 0xfff8}+${end - at - 8}${cut & 1 ? ' MF' : ''} id 0x${v.getUint32(at + 4).toString(16)}`,
      )
      if (cut & 6) words.push(`reserved ${cut & 6}`)
      if (cut & 0xfff9) whole = false
      next = frame[at]!
      at += 8
      if (cut & 0xfff8) {
        words.push(`proto ${next}`)
        return words.join(' ')
      }
      continue
    }
    const length = next === 51 ? (frame[at + 1]! + 2) * 4 : (frame[at + 1]! + 1) * 8
    words.push(`${name} ${toHex(frame.slice(at + 1, Math.min(end, at + length, at + 40)))}`)
    next = frame[at]!
    at += length
  }
  if (at > end) words.push('(cut)')
  const data = frame.subarray(Math.min(at, end), end)
  words.push(
    transport(
      next,
      data,
      whole && (!quoted || 40 + said <= frame.length),
      sum(frame, 8, 40, next + data.length),
    ),
  )
  return words.join(' ')
}

function transport(proto: number, d: Uint8Array, whole: boolean, start: number): string {
  const v = new DataView(d.buffer, d.byteOffset, d.byteLength)
  const bad = (s: number, name = 'BAD-CSUM'): string =>
    whole && fold(sum(d, 0, d.length, s)) !== 0xffff ? ` ${name}` : ''
  switch (proto) {
    case 6: {
      if (d.length < 8) break
      const ports = `tcp ${v.getUint16(0)} > ${v.getUint16(2)}`
      if (d.length < 20) return `${ports} seq ${v.getUint32(4)} (cut at ${d.length})`
      const flags = [...TCP_LETTERS].filter((_, i) => d[13]! & (1 << i)).join('')
      const header = (d[12]! >> 4) * 4
      const options = header > 20 ? ` opt ${toHex(d.slice(20, header))}` : ''
      return `${ports} [${flags}] seq ${v.getUint32(4)} ack ${v.getUint32(8)} win ${v.getUint16(14)}${options} len ${d.length - header}${bad(start)}`
    }
    case 17:
    case 136: {
      if (d.length < 8) break
      const name = proto === 17 ? 'udp' : 'udplite'
      const length = v.getUint16(4)
      const said = length === d.length ? '' : ` length ${length} of ${d.length}`
      const check = v.getUint16(6) === 0 ? ' no-csum' : proto === 17 ? bad(start) : ''
      return `${name} ${v.getUint16(0)} > ${v.getUint16(2)} len ${d.length - 8}${said}${check}`
    }
    case 1: {
      if (d.length < 8) break
      const head = `icmp ${d[0]}/${d[1]}`
      if (!icmpIsError(d[0]!))
        return `${head} id ${v.getUint16(4)} seq ${v.getUint16(6)} len ${d.length - 8}${bad(0)}`
      const rest = v.getUint32(4) === 0 ? '' : ` rest 0x${v.getUint32(4).toString(16)}`
      const inner = d.length > 8 ? decode4(d.subarray(8), true) : ''
      return `${head}${rest} len ${d.length - 8}${bad(0)} [${inner}]`
    }
    case 58:
      if (d.length < 8) break
      if (!quotes(58, d[0]!))
        return `icmp6 ${d[0]}/${d[1]} id ${v.getUint16(4)} seq ${v.getUint16(6)} len ${d.length - 8}${bad(start)}`
      return `icmp6 ${d[0]}/${d[1]} rest 0x${v.getUint32(4).toString(16)} len ${d.length - 8}${bad(start)} [${
        d.length > 8 && d[8]! >> 4 === 6 ? decode6(d.subarray(8), true) : toHex(d.slice(8, 48))
      }]`
    case 132:
      if (d.length < 12) break
      return `sctp ${v.getUint16(0)} > ${v.getUint16(2)} vtag ${v.getUint32(4)} ${toHex(d.slice(12, 28))} len ${d.length}${
        whole && v.getUint32(8, true) !== sctpCrc(d, 0, d.length) ? ' BAD-CRC' : ''
      }`
    case 33:
      if (d.length < 12) break
      return `dccp ${v.getUint16(0)} > ${v.getUint16(2)} len ${d.length}${bad(start)}`
    case 47:
      if (d.length < 4) break
      return `gre 0x${v.getUint16(0).toString(16)} proto 0x${v.getUint16(2).toString(16)} len ${d.length}`
  }
  return `proto ${proto} len ${d.length} ${toHex(d.slice(0, 16))}`
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

/** Fragment headers come behind hop-by-hop options and, with a routing header, what stands before and in it. */
function fragment6(frame: Uint8Array, size: number | readonly number[], id: number): Uint8Array[] {
  let link = 6
  let at = 40
  for (let walk = 40, from = 6, next = frame[6]!; [0, 43, 60].includes(next) && walk + 8 <= frame.length; ) {
    const end = walk + (frame[walk + 1]! + 1) * 8
    if (end > frame.length) break
    if (next !== 60) {
      link = walk
      at = end
    }
    from = walk
    next = frame[from]!
    walk = end
  }
  const head = frame.slice(0, at)
  const protocol = head[link]!
  head[link] = 44
  const data = frame.slice(at)
  const pieces: Uint8Array[] = []
  for (let from = 0, n = 0; from < data.length; n++) {
    const length = Math.min(typeof size === 'number' ? size : (size[n] ?? data.length), data.length - from)
    const piece = new Uint8Array(at + 8 + length)
    const v = new DataView(piece.buffer)
    piece.set(head)
    v.setUint16(4, at - 40 + 8 + length)
    v.setUint8(at, protocol)
    v.setUint16(at + 2, from | (from + length < data.length ? 1 : 0))
    v.setUint32(at + 4, id)
    piece.set(data.subarray(from, from + length), at + 8)
    pieces.push(piece)
    from += length
  }
  return pieces
}
