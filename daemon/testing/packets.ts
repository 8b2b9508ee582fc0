// Packets for tests: tcp('10.0.0.5:40000 > 10.96.0.10:80', { syn: true }). The text is packet words without the protocol,
// the options are more words: `{ ttl: 5, badChecksum: true }` is `ttl 5 bad-checksum`.

import type { PacketWords } from '../words/model.ts'
import { parsePacket } from '../words/parse.ts'
import { printPacket } from '../words/print.ts'

/** A packet, as docs/packet-words.md says it. Plain data: it may be sent more than once, by any host. */
export type Packet = PacketWords

/** A payload: text (UTF-8), bytes, or so many bytes 0, 1, 2 … */
export type Payload = string | Uint8Array | number

/** What may be said of any packet; see docs/packet-words.md for each. */
export interface IpOptions {
  /** TTL, hop limit of IPv6. Usually 64. */
  readonly ttl?: number
  /** TOS byte, traffic class of IPv6. */
  readonly tos?: number
  /** 0 to 63, or a name: `ef`, `af21`. */
  readonly dscp?: number | string
  readonly ecn?: 'not-ect' | 'ect0' | 'ect1' | 'ce' | number
  /** Identification of the IP header. */
  readonly ipId?: number
  readonly df?: boolean
  /** Flow label of IPv6. */
  readonly flow?: number
  /** Names and 0xHEX, with commas: `router-alert,nop`. */
  readonly ipOptions?: string
  /** `OFFSET` or `OFFSET more`: the packet is this fragment. */
  readonly fragment?: string | number
  /** The packet comes in fragments of so many bytes. */
  readonly pieces?: number
  readonly badIpChecksum?: boolean
  readonly payload?: Payload
  /** With which mark it comes. */
  readonly mark?: number
  readonly broadcast?: boolean
  readonly multicast?: boolean
  readonly otherHost?: boolean
}

export interface TcpOptions extends IpOptions {
  /** Flags; without any the packet is a SYN. `ack` may be the acknowledgement number. */
  readonly syn?: boolean
  readonly ack?: boolean | number
  readonly fin?: boolean
  readonly rst?: boolean
  readonly psh?: boolean
  readonly urg?: boolean
  readonly ece?: boolean
  readonly cwr?: boolean
  /** All eight bits; `none` is `flags: 0`. */
  readonly flags?: number
  /** Usually what follows from the packets that the host has seen. */
  readonly seq?: number
  readonly window?: number
  readonly urgent?: number
  readonly mss?: number
  readonly wscale?: number
  readonly sackOk?: boolean
  /** `VALUE:ECHO`. */
  readonly timestamp?: string | number
  readonly badChecksum?: boolean
}

export interface UdpOptions extends IpOptions {
  readonly noChecksum?: boolean
  readonly badChecksum?: boolean
}

export interface IcmpOptions extends IpOptions {
  /** A name (`echo-request`, `host-unreachable`), `3/1`, or the number. Usually an echo request. */
  readonly type?: string | number
  readonly code?: number
  readonly id?: number
  readonly seq?: number
  readonly mtu?: number
  /** The packet that an error quotes. */
  readonly about?: Packet
  readonly badChecksum?: boolean
}

const FLAGS = ['syn', 'fin', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr']

/** Options as words. */
export function optionWords(options: object): string {
  const words: string[] = []
  const flags: string[] = []
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === false) continue
    const word = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    if (FLAGS.includes(name) && value === true) flags.push(name)
    else if (name === 'payload') words.push(`payload ${payloadWord(value)}`)
    else if (name === 'about') words.push(`about (${printPacket({ ...(value as Packet), from: null })})`)
    else if (name === 'type' && typeof value === 'string') words.push(value)
    else words.push(value === true ? word : `${word} ${value}`)
  }
  return [...(flags.length > 0 ? [flags.join(',')] : []), ...words].join(' ')
}

function payloadWord(value: unknown): string {
  if (typeof value === 'number') return String(value)
  const bytes = Buffer.from(value as string | Uint8Array)
  return bytes.length === 0 ? '0' : `0x${bytes.toString('hex')}`
}

const builder =
  <O extends object>(protocol: string | number) =>
  (words: string, options?: O): Packet =>
    parsePacket(options === undefined ? words : `${words} ${optionWords(options)}`, protocol)

/** A TCP packet; without flags a SYN. Throws PlaceError (a message with line and column) for words that say nothing. */
export const tcp = builder<TcpOptions>('tcp')
/** A UDP packet. */
export const udp = builder<UdpOptions>('udp')
/** An ICMP packet, between IPv6 addresses ICMPv6. Without a type an echo request. */
export const icmp = builder<IcmpOptions>('icmp')
/** A UDP-Lite packet. */
export const udplite = builder<UdpOptions & { readonly coverage?: number }>('udplite')
/** An SCTP packet; chunks stand in the words: `sctp('10.0.0.1:1 > 10.0.0.2:2 init')`. */
export const sctp = builder<IpOptions & { readonly vtag?: number; readonly badChecksum?: boolean }>('sctp')
/** A DCCP packet; its type stands in the words. */
export const dccp = builder<IpOptions & { readonly seq?: number; readonly badChecksum?: boolean }>('dccp')
/** A GRE packet. */
export const gre = builder<IpOptions & { readonly key?: number; readonly ethertype?: number }>('gre')
/** An ESP packet. */
export const esp = builder<IpOptions & { readonly spi?: number; readonly seq?: number }>('esp')
/** A packet of any protocol, by number. */
export const ip = (protocol: number, words: string, options?: IpOptions): Packet =>
  builder<IpOptions>(protocol)(words, options)
