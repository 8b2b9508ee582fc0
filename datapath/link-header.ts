// What stands in front of the network header (skb_mac_header()): nothing on TUN devices, an Ethernet header without
// addresses on lo, which stays with a packet that came back by it.

import type { Device } from './devices.ts'
import type { Packet } from './packet.ts'
import type { Memory } from './wire/checksum.ts'
import { ETH_HEADER_LEN, ETH_P_IP, ETH_P_IPV6 } from './wire/ethernet.ts'

const ARPHRD_NONE = 0xfffe
const ARPHRD_LOOPBACK = 772

/** dev->type. */
export const hardwareType = (device: Device): number => (device.loopback ? ARPHRD_LOOPBACK : ARPHRD_NONE)

/** dev->hard_header_len. */
const headerLength = (device: Device): number => (device.loopback ? ETH_HEADER_LEN : 0)

/** skb->protocol. */
export const etherType = (pkt: Packet): number => (pkt.family === 4 ? ETH_P_IP : ETH_P_IPV6)

/** Puts the link header of a packet that has one where it stands: nobody keeps it there. Does not allocate. */
export function writeLinkHeader(pkt: Packet, { bytes, view }: Memory): void {
  if (pkt.linkBytes < ETH_HEADER_LEN) return
  bytes.fill(0, pkt.l3 - pkt.linkBytes, pkt.l3 - 2)
  view.setUint16(pkt.l3 - 2, etherType(pkt))
}

/** What loggers say of the link layer: as many bytes as its device has in front, from the link header on, whatever they are. */
export interface LinkHeader {
  readonly type: number
  readonly bytes: Uint8Array
  /** It has a source address (dev_parse_header()). */
  readonly addressed: boolean
}

/** Null: the packet has no link header, be it an empty one, or no device (`iif`: nf_hook_state.in). */
export function linkHeaderOf(pkt: Packet, memory: Memory): LinkHeader | null {
  const { device, linkBytes } = pkt
  if (pkt.iif === 0 || device === null || linkBytes < 0) return null
  writeLinkHeader(pkt, memory)
  const from = pkt.l3 - linkBytes
  return {
    type: hardwareType(device),
    bytes: memory.bytes.slice(from, from + headerLength(device)),
    addressed: device.loopback && linkBytes > 0,
  }
}
