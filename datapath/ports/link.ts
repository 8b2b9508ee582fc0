// Link layers of captures: where the IP packet begins, and what the link said about it.

import { PacketType } from '../packet.ts'
import { ETH_P_IP, ETH_P_IPV6 } from '../wire/ethernet.ts'
import { LinkType } from './pcap.ts'

/** Reasons for which a frame holds nothing for the IP stack, as the report words them. */
export type LinkRefusal = 'not-ip' | 'link-header' | 'outgoing' | 'other-host'

/** One reused object: what decode() found. */
export class LinkHeader {
  /** First byte of the network header. */
  l3 = 0
  /** What the link says follows: 4, 6, or 0 (only the packet itself tells). */
  family = 0
  /** PacketType. */
  pktType: number = PacketType.Host
  /** VLAN id of the outer tag; -1 none. 0 is a priority tag, which Linux reads as none. */
  vlan = -1
  /** ifindex that the capture noted (LINUX_SLL2), 0 none. */
  ifindex = 0
  /** Destination address of Ethernet: its first byte, or -1. */
  mac = -1

  /**
   * Hot: does not allocate. `at`, `length`: the frame in `bytes`. Null when the packet may go up the stack.
   * `own`: the interface's address as six bytes; frames to others are refused, as the kernel refuses them.
   */
  decode(
    type: number,
    bytes: Uint8Array,
    view: DataView,
    at: number,
    length: number,
    own: Uint8Array | null,
  ): LinkRefusal | null {
    this.l3 = at
    this.family = 0
    this.pktType = PacketType.Host
    this.vlan = -1
    this.ifindex = 0
    this.mac = -1
    const end = at + length
    switch (type) {
      case LinkType.Raw:
      case LinkType.RawBsd:
      case LinkType.RawOpenBsd:
        break
      case LinkType.Ipv4:
        this.family = 4
        break
      case LinkType.Ipv6:
        this.family = 6
        break
      case LinkType.Ethernet: {
        if (length < 14) return 'link-header'
        this.mac = at
        const refusal = this.#address(bytes, at, own)
        if (refusal !== null) return refusal
        return this.#etherType(view, at + 12, end)
      }
      case LinkType.LinuxSll: {
        if (length < 16) return 'link-header'
        const refusal = this.#sllType(view.getUint16(at))
        if (refusal !== null) return refusal
        return this.#etherType(view, at + 14, end)
      }
      case LinkType.LinuxSll2: {
        if (length < 20) return 'link-header'
        this.ifindex = view.getUint32(at + 4)
        const refusal = this.#sllType(view.getUint8(at + 10))
        if (refusal !== null) return refusal
        const protocol = view.getUint16(at)
        if (protocol === 0x8100 || protocol === 0x88a8) return this.#etherTag(view, at + 20, end)
        this.l3 = at + 20
        return this.l3 < end ? this.#protocol(protocol) : 'link-header'
      }
      case LinkType.Null:
      case LinkType.Loop: {
        if (length < 4) return 'link-header'
        // An address family in the byte order of whoever captured: small in one of the two.
        const word = view.getUint32(at)
        const af = word > 0xffff && type === LinkType.Null ? view.getUint32(at, true) : word
        this.l3 = at + 4
        if (af === 2) this.family = 4
        // AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
        else if (af === 10 || af === 24 || af === 28 || af === 30) this.family = 6
        else return 'not-ip'
        break
      }
      default:
        return 'not-ip'
    }
    return this.l3 < end ? null : 'link-header'
  }

  /** eth_type_trans(). */
  #address(bytes: Uint8Array, at: number, own: Uint8Array | null): LinkRefusal | null {
    if ((bytes[at]! & 1) !== 0) {
      this.pktType = PacketType.Broadcast
      for (let i = 0; i < 6; i++) if (bytes[at + i] !== 0xff) this.pktType = PacketType.Multicast
      return own !== null && same(bytes, at + 6, own) ? 'outgoing' : null
    }
    if (own === null || same(bytes, at, own)) return null
    return same(bytes, at + 6, own) ? 'outgoing' : 'other-host'
  }

  #sllType(type: number): LinkRefusal | null {
    if (type === 4) return 'outgoing'
    if (type === 3) return 'other-host'
    this.pktType = type === 1 ? PacketType.Broadcast : type === 2 ? PacketType.Multicast : PacketType.Host
    return null
  }

  /** The Ethernet type at `at`, with 802.1Q and 802.1ad tags before it. */
  #etherType(view: DataView, at: number, end: number): LinkRefusal | null {
    const type = view.getUint16(at)
    if (type === 0x8100 || type === 0x88a8) return this.#etherTag(view, at + 2, end)
    this.l3 = at + 2
    if (this.l3 >= end) return 'link-header'
    return this.#protocol(type)
  }

  #etherTag(view: DataView, at: number, end: number): LinkRefusal | null {
    if (at + 4 > end) return 'link-header'
    const id = view.getUint16(at) & 0xfff
    // Of two tags the inner one is left for an interface on top of the outer one's.
    if (this.vlan > 0) return 'not-ip'
    this.vlan = id
    return this.#etherType(view, at + 2, end)
  }

  #protocol(type: number): LinkRefusal | null {
    if (type === ETH_P_IP) this.family = 4
    else if (type === ETH_P_IPV6) this.family = 6
    else return 'not-ip'
    return null
  }
}

function same(bytes: Uint8Array, at: number, own: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (bytes[at + i] !== own[i]) return false
  return true
}

export function knownLinkType(type: number): boolean {
  return (Object.values(LinkType) as number[]).includes(type)
}
