// ICMP: errors with what they quote, redirects, advertised routers (RFC 1256), probes.

import {
  ICMP_ADDRESS,
  ICMP_ADDRESSREPLY,
  ICMP_EXT_ECHO,
  ICMP_EXT_ECHOREPLY,
  ICMP_HEADER_LEN,
  ICMP_REDIRECT,
  ICMP_REST,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMPREPLY,
  icmpIsError,
} from '../../datapath/wire/icmp.ts'
import type { PacketMapper } from './packets.ts'
import { mapProbe } from './probes.ts'

const ROUTER_ADVERTISEMENT = 9

/** The whole message but its checksum. Answers where payload begins, which is left to the caller. */
export function mapIcmpMessage(by: PacketMapper, at: number, end: number, depth: number): number {
  const type = at < end ? by.bytes[at]! : 0
  const body = at + ICMP_HEADER_LEN
  if (icmpIsError(type)) {
    if (type === ICMP_REDIRECT && body <= end) by.address4(at + ICMP_REST)
    if (body < end) by.inner(body, end, depth + 1)
    return end
  }
  switch (type) {
    case ROUTER_ADVERTISEMENT:
      routers(by, at, end)
      return end
    case ICMP_EXT_ECHO:
    case ICMP_EXT_ECHOREPLY:
      mapProbe(by, at, end)
      return end
    case ICMP_TIMESTAMP:
    case ICMP_TIMESTAMPREPLY:
      return Math.min(at + 20, end)
    case ICMP_ADDRESS:
    case ICMP_ADDRESSREPLY:
      return Math.min(at + 12, end)
    default:
      return Math.min(body, end)
  }
}

/** Routers with how much they are preferred: how many, and of how many words each. */
function routers(by: PacketMapper, at: number, end: number): void {
  let known = at + ICMP_HEADER_LEN
  if (known > end) return
  if (by.bytes[at + 5] === 2)
    for (let left = by.bytes[at + 4]!; left > 0 && known + 8 <= end; left--, known += 8) by.address4(known)
  by.blank(known, end)
}
