// Reading SIP and SDP as nf_conntrack_sip.c does (RFC 3261, 4566; Linux 6.18). All offsets count from the beginning of
// the message.
//
//     INVITE sip:bob@10.0.0.2:5060 SIP/2.0          request line
//     Via: SIP/2.0/UDP 10.0.0.1:5060;rport=5060     header: name, colon, value; may go on in lines that begin blank
//     m: <sip:alice@10.0.0.1>                       short name
//
//     v=0                                           SDP: `c=` of a medium counts more than that of the session
//     c=IN IP4 10.0.0.1
//     m=audio 4000 RTP/AVP 0

import type { Family } from '../../datapath/packet.ts'
import { parseIpv6 } from '../../datapath/wire/address.ts'
import type { Words } from './helper.ts'
import { CR, isAlpha, isDigit, LF, SPACE, slice, startsWith, startsWithAnyCase } from './text.ts'

export const SIP_PORT = 5060
const TAB = 0x09
const COLON = 0x3a
const AT = 0x40

/** What was found: where, and how long. */
export interface Span {
  readonly at: number
  readonly length: number
}

export interface Uri extends Span {
  readonly address: Words
  readonly port: number
}

/** `bad`: it stands there and cannot be read; null: it is not there. */
export type Found<T> = T | 'bad' | null

type Measure = (m: SipText, at: number, limit: number) => Span | null

interface Header {
  readonly name: string
  readonly short?: string
  /** What stands before the part that counts. */
  readonly search?: string
  readonly measure: Measure
}

const isEol = (c: number | undefined): boolean => c === CR || c === LF
const isBlank = (c: number | undefined): boolean => c === SPACE || c === TAB

const digits: Measure = (m, at, limit) => {
  let end = at
  while (end < limit && isDigit(m.byte(end))) end++
  return end === at ? null : { at, length: end - at }
}
const address: Measure = (m, at, limit) => {
  const found = m.uriAt(at, limit)
  return found === 'bad' ? null : { at, length: found.length }
}
/** Behind the user's name, if there is one on this line. */
const userAddress: Measure = (m, at, limit) => {
  let i = at
  while (i < limit && m.byte(i) !== AT && !isEol(m.byte(i))) i++
  return address(m, i < limit && m.byte(i) === AT ? i + 1 : at, limit)
}

export const SipHeader = {
  Cseq: { name: 'CSeq', measure: digits },
  From: { name: 'From', short: 'f', search: 'sip:', measure: userAddress },
  To: { name: 'To', short: 't', search: 'sip:', measure: userAddress },
  Contact: { name: 'Contact', short: 'm', search: 'sip:', measure: userAddress },
  ViaUdp: { name: 'Via', short: 'v', search: 'UDP ', measure: address },
  ViaTcp: { name: 'Via', short: 'v', search: 'TCP ', measure: address },
  Expires: { name: 'Expires', measure: digits },
  ContentLength: { name: 'Content-Length', short: 'l', measure: digits },
} as const satisfies Record<string, Header>

const sdpAddress: Measure = (m, at, limit) => {
  const found = m.addressAt(at, limit, false)
  return found === null || found.end === at ? null : { at, length: found.end - at }
}
/** A word, a blank and digits. */
const media: Measure = (m, at, limit) => {
  let end = at
  while (end < limit && isAlpha(m.byte(end))) end++
  if (end >= limit || m.byte(end) !== SPACE) return null
  end++
  while (end < limit && isDigit(m.byte(end))) end++
  return { at, length: end - at }
}

const sdp = (network: string) => ({
  version: { name: 'v=', measure: digits },
  owner: { name: 'o=', search: network, measure: sdpAddress },
  connection: { name: 'c=', search: network, measure: sdpAddress },
  media: { name: 'm=', measure: media },
})
const SDP = { 4: sdp('IN IP4 '), 6: sdp('IN IP6 ') } as const
export type SdpLine = keyof (typeof SDP)[4]

/** Biggest number that is one. */
const MAX_UINT = 0xffffffff
/** Longest run of digits looked at. */
const MAX_DIGITS = 11

/** A message: [start, start + length) of frame memory. */
export class SipText {
  readonly bytes: Uint8Array
  readonly family: Family
  start = 0
  length = 0

  constructor(bytes: Uint8Array, family: Family) {
    this.bytes = bytes
    this.family = family
  }

  byte(at: number): number {
    return this.bytes[this.start + at]!
  }

  isAt(at: number, limit: number, text: string): boolean {
    return startsWithAnyCase(this.bytes, this.start + at, this.start + limit, text)
  }

  /** Address at `at`; in IPv6 with `delimited` in brackets. */
  addressAt(at: number, limit: number, delimited: boolean): { address: Words; end: number } | null {
    if (this.family === 4) return this.#ipv4At(at, limit)
    let from = at
    if (from < limit && this.byte(from) === 0x5b) from++
    else if (delimited) return null
    let end = from
    while (end < limit && /[\da-fA-F:.]/.test(String.fromCharCode(this.byte(end)))) end++
    const parsed = parseIpv6(slice(this.bytes, this.start + from, this.start + end))
    if (parsed === null) return null
    if (from > at || delimited) {
      if (end < limit && this.byte(end) === 0x5d) end++
      else if (delimited) return null
    }
    return { address: parsed, end }
  }

  /** in4_pton(): empty parts are 0; letters of hexadecimal numbers end nothing. */
  #ipv4At(at: number, limit: number): { address: Words; end: number } | null {
    let word = 0
    let part = 0
    let count = 0
    for (let i = at; ; i++) {
      const c = i < limit ? this.byte(i) : 0
      if (isDigit(c)) {
        part = part * 10 + c - 0x30
        if (part > 255 || count >= 4) return null
        continue
      }
      const lower = c | 0x20
      if (lower >= 0x61 && lower <= 0x66) return null
      word = (word << 8) | part
      part = 0
      count++
      if (c !== 0x2e) return count === 4 ? { address: [word, 0, 0, 0], end: i } : null
      if (count >= 4) return null
    }
  }

  /** sip_parse_port(): a colon and a port, or nothing. Null: neither. */
  portAt(at: number, limit: number): { port: number; end: number } | null {
    if (at >= limit) return null
    if (this.byte(at) !== COLON) return { port: SIP_PORT, end: at }
    let end = at + 1
    let port = 0
    while (end < limit && isDigit(this.byte(end))) {
      port = port * 10 + this.byte(end) - 0x30
      if (++end - at > 6) return null
    }
    if (end === at + 1 || end >= limit || port < 1024 || port > 65535) return null
    return { port, end }
  }

  /** Address and perhaps a port. */
  uriAt(at: number, limit: number): Uri | 'bad' {
    const found = this.addressAt(at, limit, true)
    if (found === null) return 'bad'
    const port = this.portAt(found.end, limit)
    if (port === null || port.end === at) return 'bad'
    return { at, length: port.end - at, address: found.address, port: port.port }
  }

  /** sip_strtouint(): null: no digit, or more than 32 bits. `end`: behind the digits. */
  number(at: number, limit: number): { value: number; end: number } | null {
    let value = 0
    let i = at
    for (; i < limit && isDigit(this.byte(i)); i++) {
      if (i - at >= MAX_DIGITS) return null
      value = value * 10 + this.byte(i) - 0x30
      if (value > MAX_UINT) return null
    }
    return i === at ? null : { value, end: i }
  }

  /** sip_follow_continuation(): from an end of line into the next one, if that begins blank; -1. */
  #continuation(at: number, limit: number): number {
    let i = at + 1
    if (i >= limit) return -1
    if (this.byte(i - 1) === CR && this.byte(i) === LF && ++i >= limit) return -1
    if (!isBlank(this.byte(i))) return -1
    while (i < limit && isBlank(this.byte(i))) i++
    return i
  }

  #skipBlanks(at: number, limit: number): number {
    let i = at
    while (i < limit && isBlank(this.byte(i))) i++
    return i < limit && isEol(this.byte(i)) ? this.#continuation(i, limit) : i
  }

  /** ct_sip_header_search(): where `text` begins in a header's value; -1. */
  search(at: number, limit: number, text: string): number {
    const last = limit - text.length
    for (let i = at; i < last; i++) {
      if (isEol(this.byte(i))) {
        i = this.#continuation(i, last)
        if (i < 0) return -1
        continue
      }
      if (this.isAt(i, limit, text)) return i
    }
    return -1
  }

  /** The beginning of the next line behind `at`; -1: there is none. */
  #nextLine(at: number): number {
    let i = at
    while (i < this.length && !isEol(this.byte(i))) i++
    if (++i >= this.length) return -1
    if (this.byte(i - 1) === CR && this.byte(i) === LF && ++i >= this.length) return -1
    return i
  }

  /** ct_sip_get_header(): the next such header behind `from`. `bad` has `at`: where to look on. */
  header(from: number, header: Header): Found<Span> | { readonly badAt: number } {
    const limit = this.length
    for (let at = this.#nextLine(from); at >= 0; at = this.#nextLine(at)) {
      if (isBlank(this.byte(at))) {
        at++
        continue
      }
      const { name, short, search } = header
      let i: number
      if (this.isAt(at, limit, name)) i = at + name.length
      else if (
        short !== undefined &&
        limit - at >= short.length + 1 &&
        this.isAt(at, limit, short) &&
        !isAlpha(this.byte(at + short.length))
      )
        i = at + short.length
      else {
        at++
        continue
      }
      i = this.#skipBlanks(i, limit)
      if (i < 0 || i >= limit || this.byte(i) !== COLON || ++i >= limit) return null
      i = this.#skipBlanks(i, limit)
      if (i < 0) return null
      const badAt = i
      if (search !== undefined) {
        i = this.search(i, limit, search)
        if (i < 0) return { badAt }
        i += search.length
      }
      return header.measure(this, i, limit) ?? { badAt }
    }
    return null
  }

  /** The header's value as a span, null if there is none that can be read. */
  value(header: Header): Span | null {
    const found = this.header(0, header)
    return found !== null && found !== 'bad' && 'length' in found ? found : null
  }

  /** ct_sip_next_header(): the next of several values behind commas. */
  #nextValue(from: number, header: Header): Span | null | { readonly badAt: number } {
    const limit = this.length
    let at = this.search(from, limit, ',')
    if (at < 0) return null
    at = this.search(at, limit, header.search!)
    if (at < 0) return null
    at += header.search!.length
    return header.measure(this, at, limit) ?? { badAt: at }
  }

  /**
   * ct_sip_parse_header_uri(): the first address of such a header that can be read, from `from` on. `inHeader`: `from`
   * is inside one, whose further values come first.
   */
  uri(from: number, header: Header, inHeader = false): Found<Uri> {
    let span: Span | null = null
    let at = from
    if (inHeader)
      for (;;) {
        const next = this.#nextValue(at, header)
        if (next === null) break
        if ('length' in next) {
          span = next
          break
        }
        at = next.badAt
      }
    while (span === null) {
      const found = this.header(at, header)
      if (found === null || found === 'bad') return null
      if ('length' in found) span = found
      else at = found.badAt
    }
    return this.uriAt(span.at, this.length)
  }

  /** ct_sip_parse_request(): the address in the request line. */
  request(): Found<Uri> {
    const limit = this.length
    let at = 0
    while (at < limit && isAlpha(this.byte(at))) at++
    if (at === 0 || ++at >= limit) return null
    for (; at < limit - 4; at++) {
      if (isEol(this.byte(at))) return 'bad'
      if (this.isAt(at, limit, 'sip:')) {
        at += 4
        break
      }
    }
    const span = userAddress(this, at, limit)
    return span === null ? null : this.uriAt(span.at, limit)
  }

  /** Where the value that `from` is in ends: at a comma. */
  #valueEnd(from: number): number {
    const comma = this.search(from, this.length, ',')
    return comma < 0 ? this.length : comma
  }

  /** ct_sip_parse_param(): what follows `name` up to a semicolon. */
  param(from: number, name: string): Span | null {
    const limit = this.#valueEnd(from)
    let at = this.search(from, limit, name)
    if (at < 0) return null
    at += name.length
    const end = this.search(at, limit, ';')
    return { at, length: (end < 0 ? limit : end) - at }
  }

  /** ct_sip_parse_address_param() */
  addressParam(from: number, name: string, delimited: boolean): (Span & { address: Words }) | null {
    const limit = this.#valueEnd(from)
    let at = this.search(from, limit, name)
    if (at < 0) return null
    at += name.length
    const found = this.addressAt(at, limit, delimited)
    return found === null ? null : { at, length: found.end - at, address: found.address }
  }

  /** ct_sip_parse_numerical_param() */
  numberParam(from: number, name: string): Found<Span & { value: number }> {
    const limit = this.#valueEnd(from)
    let at = this.search(from, limit, name)
    if (at < 0) return null
    at += name.length
    const found = this.number(at, limit)
    return found === null ? 'bad' : { at, length: found.end - at, value: found.value }
  }

  /** ct_sip_get_sdp_header(): the next line of the kind behind `from`, before one of the kind `until`. */
  sdp(from: number, kind: SdpLine, until: SdpLine | null): Found<Span> {
    const limit = this.length
    const lines = SDP[this.family]
    const { name, measure, search } = lines[kind] as Header
    for (let at = this.#nextLine(from); at >= 0; at = this.#nextLine(at)) {
      if (until !== null && this.isAt(at, limit, lines[until].name)) return null
      if (!this.isAt(at, limit, name)) {
        at++
        continue
      }
      at += name.length
      if (search !== undefined) {
        const last = limit - search.length
        let i = at
        while (
          i < last &&
          !isEol(this.byte(i)) &&
          !startsWith(this.bytes, this.start + i, this.start + limit, search)
        )
          i++
        if (i >= last || isEol(this.byte(i))) return 'bad'
        at = i + search.length
      }
      return measure(this, at, limit) ?? 'bad'
    }
    return null
  }

  /** ct_sip_parse_sdp_addr(); null also if it cannot be read. */
  sdpAddress(from: number, kind: SdpLine, until: SdpLine | null): (Span & { address: Words }) | null {
    const span = this.sdp(from, kind, until)
    if (span === null || span === 'bad') return null
    const found = this.addressAt(span.at, span.at + span.length, false)
    return found === null ? null : { ...span, address: found.address }
  }
}
