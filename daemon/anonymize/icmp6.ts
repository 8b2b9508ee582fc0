// ICMPv6: errors with what they quote, neighbour and router discovery, multicast listeners, probes.

import {
  ICMPV6_EXT_ECHO_REPLY,
  ICMPV6_EXT_ECHO_REQUEST,
  ICMPV6_INFOMSG_MASK,
  ICMPV6_MGM_QUERY,
  ICMPV6_MGM_REDUCTION,
  ICMPV6_MGM_REPORT,
  ICMPV6_MLD2_REPORT,
  NDISC_NEIGHBOUR_ADVERTISEMENT,
  NDISC_NEIGHBOUR_SOLICITATION,
  NDISC_REDIRECT,
  NDISC_ROUTER_ADVERTISEMENT,
  NDISC_ROUTER_SOLICITATION,
} from '../../datapath/wire/icmp6.ts'
import type { PacketMapper } from './packets.ts'
import { mapProbe } from './probes.ts'

/** The whole message but its checksum. Answers where payload begins, which is left to the caller. */
export function mapIcmp6Message(by: PacketMapper, at: number, end: number, depth: number): number {
  const type = at < end ? by.bytes[at]! : 0
  const address = (offset: number): void => {
    if (at + offset + 16 <= end) by.address6(at + offset)
  }
  // All below 128 are errors (RFC 4443, section 2.1), known or not.
  if (type < ICMPV6_INFOMSG_MASK) {
    if (at + 8 < end) by.inner(at + 8, end, depth + 1)
    return end
  }
  switch (type) {
    case ICMPV6_MGM_QUERY:
    case ICMPV6_MGM_REPORT:
    case ICMPV6_MGM_REDUCTION: {
      address(8)
      let known = at + 24
      if (type === ICMPV6_MGM_QUERY && at + 28 <= end) {
        known = at + 28
        for (let left = by.u16(at + 26); left > 0 && known + 16 <= end; left--, known += 16)
          by.address6(known)
      }
      by.blank(known, end)
      return end
    }
    case NDISC_ROUTER_SOLICITATION:
      options(by, at + 8, end, depth)
      return end
    case NDISC_ROUTER_ADVERTISEMENT:
      options(by, at + 16, end, depth)
      return end
    case NDISC_NEIGHBOUR_SOLICITATION:
    case NDISC_NEIGHBOUR_ADVERTISEMENT:
      address(8)
      options(by, at + 24, end, depth)
      return end
    case NDISC_REDIRECT:
      address(8)
      address(24)
      options(by, at + 40, end, depth)
      return end
    case ICMPV6_MLD2_REPORT:
      listeners(by, at, end)
      return end
    case ICMPV6_EXT_ECHO_REQUEST:
    case ICMPV6_EXT_ECHO_REPLY:
      mapProbe(by, at, end)
      return end
    default:
      return Math.min(at + 8, end)
  }
}

/** Options of neighbour discovery (RFC 4861, 4191, 8106). */
function options(by: PacketMapper, from: number, end: number, depth: number): void {
  for (let at = from; at + 2 <= end; ) {
    const size = 8 * by.bytes[at + 1]!
    if (size === 0 || at + size > end) {
      by.blank(at + 2, end)
      return
    }
    const stop = at + size
    switch (by.bytes[at]) {
      case 1:
      case 2:
        by.mac(at + 2)
        by.blank(at + 8, stop)
        break
      case 3:
        if (size >= 32) prefix(by, at + 16, by.bytes[at + 2]!, 16)
        break
      case 4:
        if (size > 8) by.inner(at + 8, stop, depth + 1)
        break
      case 5:
        break
      case 24:
        prefix(by, at + 8, by.bytes[at + 2]!, size - 8)
        break
      case 25:
        for (let i = at + 8; i + 16 <= stop; i += 16) by.address6(i)
        break
      default:
        by.blank(at + 2, stop)
    }
    at = stop
  }
}

/** The first `bytes` of an address; what is not there is zeros, and so it is behind the prefix. */
function prefix(by: PacketMapper, at: number, length: number, bytes: number): void {
  const whole = new Uint8Array(16)
  whole.set(by.bytes.subarray(at, at + Math.min(bytes, 16)))
  const view = new DataView(whole.buffer)
  const to = by.mapping.addresses.prefix(
    6,
    [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)],
    Math.min(length, 128),
  )
  for (let i = 0; i < 4; i++) view.setInt32(4 * i, to[i]!)
  by.bytes.set(whole.subarray(0, Math.min(bytes, 16)), at)
}

/** Reports of MLDv2 (RFC 3810, section 5.2). */
function listeners(by: PacketMapper, at: number, end: number): void {
  let known = at + 8
  if (at + 8 <= end)
    for (let left = by.u16(at + 6); left > 0 && known + 20 <= end; left--) {
      by.address6(known + 4)
      let source = known + 20
      const stop = source + 16 * by.u16(known + 2)
      for (; source < stop && source + 16 <= end; source += 16) by.address6(source)
      if (source < stop) {
        known = source
        break
      }
      known = stop + 4 * by.bytes[known + 1]!
      by.blank(stop, Math.min(known, end))
    }
  by.blank(known, end)
}
