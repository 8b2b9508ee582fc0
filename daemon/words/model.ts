// Packet words: a packet as a person says it, and several packets as a conversation. docs/packet-words.md is the manual.
//
//     tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0, reply syn,ack, again ack, wait 5s, again psh,ack payload "GET /"
//
//     text ── parse.ts ──▶ Step[] ── conversation.ts ──▶ { device, frame } … one step at a time
//       ▲                    │                               ▲
//       └──── print.ts ◀─────┘       of-frame.ts: frame ─────┘ and back
//
// A packet in words has one form for each meaning: what may be said in two ways (payload as text or as hex) is kept in
// one, so parse(print(x)) is x.

import type { Family } from '../../datapath/packet.ts'

/** What may be said about a packet besides protocol and addresses. What is absent has its usual value. */
export interface PacketFields {
  /** TTL, hop limit of IPv6. Usually 64. */
  readonly ttl?: number
  /** TOS byte, traffic class of IPv6: DSCP in the six high bits, ECN in the two low ones. */
  readonly tos?: number
  /** Identification: of the IPv4 header, or of the IPv6 fragment header. */
  readonly ipId?: number
  readonly df?: true
  /** IPv4: the reserved flag (RFC 3514). */
  readonly evil?: true
  /** The packet is this fragment: offset in bytes, a multiple of 8. */
  readonly fragment?: { readonly offset: number; readonly more: boolean }
  /** The packet comes in fragments of at most so many bytes of data, a multiple of 8. */
  readonly pieces?: number
  /** IPv4 options as hex, without padding. */
  readonly ipOptions?: string
  /** IPv6 flow label. */
  readonly flow?: number
  /** IPv6 extension headers in order; `hex`: what follows next header and length. */
  readonly extensions?: readonly { readonly type: number; readonly hex: string }[]
  /** The length that the IP header says, if it lies: IPv4 total length, IPv6 payload length. */
  readonly ipLength?: number
  readonly badIpChecksum?: true

  /** TCP: flag bits of byte 13. Usually SYN. */
  readonly flags?: number
  /** TCP, DCCP, ESP, AH, GRE of PPTP. */
  readonly seq?: number
  /** TCP, DCCP: acknowledgement number. */
  readonly ack?: number
  /** TCP: usually 65535. */
  readonly window?: number
  readonly urgent?: number
  /** TCP options as hex, without padding. */
  readonly tcpOptions?: string
  /** UDP-Lite: bytes that the checksum covers, 0 all. */
  readonly coverage?: number
  /** ICMP, ICMPv6. Usually an echo request. */
  readonly icmpType?: number
  readonly icmpCode?: number
  /** ICMP: the four bytes behind the checksum: identifier and sequence number, MTU, gateway. */
  readonly rest?: number
  /** ICMP errors: the packet that is quoted, and how many bytes of it at most. */
  readonly about?: PacketWords
  readonly quote?: number
  /** GRE. */
  readonly ethertype?: number
  readonly key?: number
  readonly callId?: number
  /** ESP, AH: security parameter index. Usually 256. */
  readonly spi?: number
  /** AH: the protocol inside. Usually 59, nothing. */
  readonly next?: number
  /** SCTP: verification tag, chunks as hex. Usually an INIT. */
  readonly vtag?: number
  readonly chunks?: string
  /** DCCP: type of the packet. Usually 0, REQUEST. */
  readonly dccpType?: number
  /** Bytes as hex. */
  readonly payload?: string
  /** The payload is all that follows the IP header: no header of the protocol is made. */
  readonly raw?: true
  readonly badChecksum?: true
  /** The transport checksum, whatever would be right. */
  readonly checksum?: number
  /** UDP: the checksum field is 0. */
  readonly noChecksum?: true

  /** The mark with which it comes: as if something before the tables had set it. */
  readonly mark?: number
  /** How the frame was addressed, if not to this host. */
  readonly cast?: 'broadcast' | 'multicast' | 'other-host'
}

/** One packet. */
export interface PacketWords extends PacketFields {
  readonly family: Family
  /** IP protocol number. */
  readonly protocol: number
  readonly src: string
  readonly dst: string
  /** Where the protocol has ports, and the packet begins with its header. */
  readonly sport?: number
  readonly dport?: number
  /** Name of the interface on which it arrives; 'out': the host itself sends it; null: not said. */
  readonly from: From
}

export type From = { readonly device: string } | 'out' | null

/** One step of a conversation. */
export type Step =
  | { readonly kind: 'packet'; readonly packet: PacketWords }
  /** The other end answers the packet that left (or reached the host) last, with these fields. */
  | { readonly kind: 'reply'; readonly fields: PacketFields }
  /** The last packet that was no reply once more, with these fields instead of its own. */
  | { readonly kind: 'again'; readonly fields: PacketFields }
  /** An ICMP error about the packet that left last, from its destination or from `by`. */
  | { readonly kind: 'error'; readonly by: string | null; readonly fields: PacketFields }
  | { readonly kind: 'wait'; readonly ms: number }

/** Fields that steps fill while they are read. */
export type Draft = { -readonly [K in keyof PacketFields]: PacketFields[K] }
