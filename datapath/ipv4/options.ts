// IPv4 options on their way through a host, as net/ipv4/ip_options.c (6.18) and ip_rcv_options().
//
//     route ─ compileOptions ─ FORWARD ─ forwardOptions ─ POSTROUTING ─ fragmentOptions (second fragment on)
//                    └ malformed: ICMP parameter problem        └ answers: echoOptions ─ buildOptions
//
//     +------+--------+---------+------ ... ------+      record route, source routes: slots of 4 bytes
//     | type | length | pointer |  slots           |      timestamp: a byte of overflow and flags, then slots
//     +------+--------+---------+------ ... ------+      `pointer` counts from 1 at `type`
//
// compileOptions writes into the packet (its own address, the time) and leaves the header checksum as it was;
// only forwardOptions makes it right. A packet refused in between shows it so, in Linux as here.
//
// Nothing here is hot: a packet with options is rare and slow everywhere. Nothing throws, whatever the bytes.

import { IpStat } from '../counters.ts'
import { Scope } from '../devices.ts'
import { newFlowKey, RouteType } from '../fib.ts'
import type { Host } from '../host.ts'
import { type IpOptions, type Packet, PacketType } from '../packet.ts'
import { isForHost } from '../route.ts'
import { isErrorType } from '../route-table.ts'
import { writeIpv4Checksum } from '../wire/checksum.ts'
import { ICMP_PARAMETERPROB } from '../wire/icmp.ts'
import { IPV4_DST, IPV4_HEADER_LEN, isZeronet4 } from '../wire/ipv4.ts'

export const IPOPT_END = 0
export const IPOPT_NOOP = 1
export const IPOPT_RR = 7
export const IPOPT_TIMESTAMP = 68
export const IPOPT_LSRR = 131
export const IPOPT_CIPSO = 134
export const IPOPT_SSRR = 137
export const IPOPT_RA = 148
/** The option goes into every fragment. */
const IPOPT_COPY = 0x80

/** Flags of a timestamp option. */
const TS_TSONLY = 0
const TS_TSANDADDR = 1
const TS_PRESPEC = 3

const MS_PER_DAY = 86_400_000
const key = newFlowKey()

/** inet_current_timestamp(): milliseconds since midnight UT. */
export function timestampOf(wall: number): number {
  return Math.floor(wall) % MS_PER_DAY
}

/**
 * fib_compute_spec_dst(): this host's address as the sender of `pkt` should know it (a word); 0 if it has none.
 * `pkt.route` must be set.
 */
export function specificDestination(pkt: Packet, host: Host): number {
  if (pkt.route !== null && isForHost(pkt.route)) return pkt.d0
  const device = pkt.arrival
  if (device === null) return 0
  if (isZeronet4(pkt.s0)) return host.devices.selectAddress4(device, pkt.s0, Scope.Link)
  host.fib.fill(key, pkt)
  key.d0 = pkt.s0
  key.s0 = 0
  key.iif = 0
  key.mark = device.conf.srcValidMark ? pkt.mark : 0
  key.protocol = key.sport = key.dport = 0
  const route = host.fib.find(key)
  if (route !== null && route.type <= RouteType.Multicast) return host.fib.sourceFor(route.first(), pkt.s0)
  return host.devices.selectAddress4(device, pkt.s0, Scope.Universe)
}

/**
 * What ip_rt_get_source() gives: the address of the interface that the packet leaves by (a word). It is asked for anew,
 * without protocol and ports, so that the answer may be another route's. Packets made here have it as their source.
 */
function sourceOf(pkt: Packet, host: Host): number {
  const { route } = pkt
  if (pkt.local || route === null) return pkt.s0
  const { fib, devices } = host
  const device = route.device!
  fib.fill(key, pkt)
  key.oif = device.index
  key.protocol = key.sport = key.dport = 0
  const found = fib.find(key)
  if (found === null || isErrorType(found.type))
    return devices.selectAddress4(device, route.gateway?.[0] ?? pkt.d0, Scope.Universe)
  return fib.sourceFor(found.through(device.index) ?? found.first(), pkt.d0)
}

/**
 * ip_rcv_options(): reads the options of a packet whose route is known into pkt.opt, fills in what a host on the way
 * has to, and follows a source route that names this host (pkt.route and pkt.d0 then change). False: the packet
 * is to be dropped; the ICMP error, if one is due, has been sent.
 */
export function compileOptions(pkt: Packet, host: Host): boolean {
  const opt = pkt.opt
  opt.clear()
  opt.length = pkt.l4 - pkt.l3 - IPV4_HEADER_LEN
  if (opt.length <= 0) return true
  // Options may be written to from here on.
  pkt.sumEnd = 0
  const wrong = compile(pkt, host)
  if (wrong >= 0) {
    host.counters.count4(IpStat.InHdrErrors)
    host.replies.icmpError(pkt, ICMP_PARAMETERPROB, 0, (wrong << 24) >>> 0)
    return false
  }
  if (opt.srr === 0) return true
  if (pkt.arrival !== null && !pkt.arrival.conf.acceptSourceRoute) return false
  return sourceRoute(pkt, host)
}

/** __ip_options_compile(): -1, or the offset from l3 of the first wrong byte. */
function compile(pkt: Packet, host: Host): number {
  const { bytes, view } = host.memory
  const opt = pkt.opt
  const l3 = pkt.l3
  const end = pkt.l4
  let at = l3 + IPV4_HEADER_LEN
  while (at < end) {
    const type = bytes[at]!
    if (type === IPOPT_END) {
      for (at++; at < end; at++)
        if (bytes[at] !== IPOPT_END) {
          bytes[at] = IPOPT_END
          opt.changed = true
        }
      return -1
    }
    if (type === IPOPT_NOOP) {
      at++
      continue
    }
    const room = end - at
    if (room < 2) return at - l3
    const length = bytes[at + 1]!
    if (length < 2 || length > room) return at - l3
    switch (type) {
      case IPOPT_SSRR:
      case IPOPT_LSRR:
        if (length < 3) return at + 1 - l3
        if (bytes[at + 2]! < 4) return at + 2 - l3
        // RFC 1812 §5.2.4.1: one source route only.
        if (opt.srr !== 0) return at - l3
        opt.strictRoute = type === IPOPT_SSRR
        opt.srr = at - l3
        break
      case IPOPT_RR: {
        if (opt.rr !== 0) return at - l3
        if (length < 3) return at + 1 - l3
        const pointer = bytes[at + 2]!
        if (pointer < 4) return at + 2 - l3
        if (pointer <= length) {
          if (pointer + 3 > length) return at + 2 - l3
          view.setInt32(at + pointer - 1, specificDestination(pkt, host))
          opt.changed = true
          bytes[at + 2] = pointer + 4
          opt.rrNeedAddr = true
        }
        opt.rr = at - l3
        break
      }
      case IPOPT_TIMESTAMP: {
        if (opt.ts !== 0) return at - l3
        if (length < 4) return at + 1 - l3
        const pointer = bytes[at + 2]!
        if (pointer < 5) return at + 2 - l3
        if (pointer <= length) {
          if (pointer + 3 > length) return at + 2 - l3
          const wrong = timestamp(pkt, host, at, pointer, length)
          if (wrong) return at + 2 - l3
        } else if ((bytes[at + 3]! & 0xf) !== TS_PRESPEC) {
          const overflow = bytes[at + 3]! >> 4
          if (overflow === 15) return at + 3 - l3
          bytes[at + 3] = (bytes[at + 3]! & 0xf) | ((overflow + 1) << 4)
          opt.changed = true
        }
        opt.ts = at - l3
        break
      }
      case IPOPT_RA:
        if (length < 4) return at + 1 - l3
        if (view.getUint16(at + 2) === 0) opt.routerAlert = at - l3
        break
      case IPOPT_CIPSO:
        if (opt.cipso !== 0) return at - l3
        opt.cipso = at - l3
        // cipso_v4_validate(): the domain is not known, none ever is here.
        return at + (length < 8 ? 1 : 2) - l3
    }
    at += length
  }
  return -1
}

/** A timestamp option with room left. True: the pointer leaves no room for what the flags ask. */
function timestamp(pkt: Packet, host: Host, at: number, pointer: number, length: number): boolean {
  const { bytes, view } = host.memory
  const opt = pkt.opt
  let timeAt = -1
  switch (bytes[at + 3]! & 0xf) {
    case TS_TSONLY:
      timeAt = at + pointer - 1
      opt.tsNeedTime = true
      bytes[at + 2] = pointer + 4
      break
    case TS_TSANDADDR:
      if (pointer + 7 > length) return true
      view.setInt32(at + pointer - 1, specificDestination(pkt, host))
      timeAt = at + pointer + 3
      opt.tsNeedAddr = true
      opt.tsNeedTime = true
      bytes[at + 2] = pointer + 8
      break
    case TS_PRESPEC:
      if (pointer + 7 > length) return true
      if (host.fib.addressType(4, view.getInt32(at + pointer - 1), 0, 0, 0, 0) === RouteType.Unicast) break
      timeAt = at + pointer + 3
      opt.tsNeedTime = true
      bytes[at + 2] = pointer + 8
      break
  }
  if (timeAt >= 0) {
    view.setUint32(timeAt, timestampOf(host.wall))
    opt.changed = true
  }
  return false
}

/** ip_options_rcv_srr(): false drops the packet. */
function sourceRoute(pkt: Packet, host: Host): boolean {
  const { bytes, view } = host.memory
  const opt = pkt.opt
  if (pkt.route === null) return true
  if (pkt.pktType !== PacketType.Host) return false
  if (pkt.route.type === RouteType.Unicast) {
    if (!opt.strictRoute) return true
    host.replies.icmpError(pkt, ICMP_PARAMETERPROB, 0, 16 << 24)
    return false
  }
  if (pkt.route.type !== RouteType.Local) return false
  const at = pkt.l3 + opt.srr
  const length = bytes[at + 1]!
  let pointer = bytes[at + 2]!
  let nexthop = 0
  for (; pointer <= length; pointer += 4) {
    if (pointer + 3 > length) {
      host.replies.icmpError(pkt, ICMP_PARAMETERPROB, 0, ((opt.srr + 2) << 24) >>> 0)
      return false
    }
    nexthop = view.getInt32(at + pointer - 1)
    if (!host.path.routeInput(pkt, nexthop)) return false
    const type: number = pkt.route.type
    if (type === RouteType.Unicast) break
    if (type !== RouteType.Local) return false
    // Its next stop is this host again: that hop is done at once.
    pkt.d0 = nexthop
    view.setInt32(pkt.l3 + IPV4_DST, nexthop)
    opt.changed = true
  }
  if (pointer <= length) {
    opt.srrIsHit = true
    opt.nexthop = nexthop
    opt.changed = true
  }
  return true
}

/**
 * ip_forward_options(): after FORWARD, writes the address of the way out into what compileOptions left open, turns
 * the packet to the next stop of its source route, and makes the header checksum right again.
 */
export function forwardOptions(pkt: Packet, host: Host): void {
  const opt = pkt.opt
  if (opt.length === 0) return
  const { bytes, view } = host.memory
  if (opt.rrNeedAddr) {
    const at = pkt.l3 + opt.rr
    put(view, pkt, at + bytes[at + 2]! - 5, sourceOf(pkt, host))
    opt.changed = true
  }
  if (opt.srrIsHit) {
    const at = pkt.l3 + opt.srr
    const length = bytes[at + 1]!
    let pointer = bytes[at + 2]!
    while (pointer + 3 <= length && view.getInt32(at + pointer - 1) !== opt.nexthop) pointer += 4
    if (pointer + 3 <= length) {
      opt.changed = true
      view.setInt32(pkt.l3 + IPV4_DST, opt.nexthop)
      pkt.d0 = opt.nexthop
      view.setInt32(at + pointer - 1, sourceOf(pkt, host))
      bytes[at + 2] = pointer + 4
    }
    if (opt.tsNeedAddr) {
      const ts = pkt.l3 + opt.ts
      put(view, pkt, ts + bytes[ts + 2]! - 9, sourceOf(pkt, host))
      opt.changed = true
    }
  }
  if (opt.changed) {
    opt.changed = false
    writeIpv4Checksum(view, pkt.l3)
  }
}

/** Writes a word of the options, if the place lies in them: a mangling target may have moved the pointer since. */
function put(view: DataView, pkt: Packet, at: number, word: number): void {
  if (at >= pkt.l3 + IPV4_HEADER_LEN && at + 4 <= pkt.l4) view.setInt32(at, word)
}

/**
 * __ip_options_echo(): the options with which to answer `pkt`: record route and timestamp with the next slot taken,
 * the source route turned round, CIPSO. They go to `into` (40 bytes); `answer` describes them as positions from the
 * IP header, `answer.nexthop` is the first stop of a source route. False: they cannot be echoed, do not answer.
 */
export function echoOptions(pkt: Packet, host: Host, into: Uint8Array, answer: IpOptions): boolean {
  answer.clear()
  const opt = pkt.opt
  if (opt.length === 0) return true
  const { bytes, view } = host.memory
  const l3 = pkt.l3
  let out = 0
  if (opt.rr !== 0) {
    const at = l3 + opt.rr
    const length = bytes[at + 1]!
    const pointer = bytes[at + 2]!
    answer.rr = out + IPV4_HEADER_LEN
    copy(into, out, bytes, at, length)
    if (opt.rrNeedAddr && pointer <= length) {
      if (pointer + 3 > length) return false
      into[out + 2] = pointer + 4
      answer.rrNeedAddr = true
    }
    out += length
  }
  if (opt.ts !== 0) {
    const at = l3 + opt.ts
    const length = bytes[at + 1]!
    let pointer = bytes[at + 2]!
    answer.ts = out + IPV4_HEADER_LEN
    copy(into, out, bytes, at, length)
    if (pointer <= length) {
      if (opt.tsNeedAddr) {
        if (pointer + 3 > length) return false
        answer.tsNeedAddr = true
        pointer += 4
      }
      if (opt.tsNeedTime) {
        if (pointer + 3 > length) return false
        if ((bytes[at + 3]! & 0xf) !== TS_PRESPEC) {
          answer.tsNeedTime = true
          pointer += 4
        } else if (
          pointer + 7 <= length &&
          host.fib.addressType(4, view.getInt32(at + pointer - 1), 0, 0, 0, 0) !== RouteType.Unicast
        ) {
          answer.tsNeedTime = true
          pointer += 8
        }
      }
      into[out + 2] = pointer
    }
    out += length
  }
  if (opt.srr !== 0) {
    const at = l3 + opt.srr
    const length = bytes[at + 1]!
    let from = Math.min(bytes[at + 2]!, length + 1) - 4
    let to = 0
    let first = 0
    if (from > 3) {
      first = view.getInt32(at + from - 1)
      for (from -= 4, to = 4; from > 3; from -= 4, to += 4) copy(into, out + to - 1, bytes, at + from - 1, 4)
      // RFC 1812: mend routes that name the sender twice.
      if (view.getInt32(at + from + 3) === pkt.s0) to -= 4
    }
    if (to > 3) {
      answer.nexthop = first
      into[out] = bytes[at]!
      into[out + 1] = to + 3
      into[out + 2] = 4
      answer.srr = out + IPV4_HEADER_LEN
      answer.strictRoute = opt.strictRoute
      out += to + 3
    }
  }
  if (opt.cipso !== 0) {
    const at = l3 + opt.cipso
    answer.cipso = out + IPV4_HEADER_LEN
    copy(into, out, bytes, at, bytes[at + 1]!)
    out += bytes[at + 1]!
  }
  while (out & 3) into[out++] = IPOPT_END
  answer.length = out
  return true
}

function copy(to: Uint8Array, at: number, from: Uint8Array, start: number, length: number): void {
  for (let i = 0; i < length && at + i < to.length; i++) to[at + i] = from[start + i]!
}

/**
 * ip_options_build(): fills the open slots of options made by echoOptions, now behind the IP header at l3: the final
 * destination, the source of the packet (words), the time (`wall`, ms since 1970).
 */
export function buildOptions(
  view: DataView,
  l3: number,
  opt: IpOptions,
  destination: number,
  source: number,
  wall: number,
): void {
  if (opt.srr !== 0) view.setInt32(l3 + opt.srr + view.getUint8(l3 + opt.srr + 1) - 4, destination)
  if (opt.rrNeedAddr) view.setInt32(l3 + opt.rr + view.getUint8(l3 + opt.rr + 2) - 5, source)
  if (opt.ts === 0) return
  const pointer = l3 + opt.ts + view.getUint8(l3 + opt.ts + 2)
  if (opt.tsNeedAddr) view.setInt32(pointer - 9, source)
  if (opt.tsNeedTime) view.setUint32(pointer - 5, timestampOf(wall))
}

/** ip_options_fragment(): options that only the first fragment carries become no-operations. Does not allocate. */
export function fragmentOptions(bytes: Uint8Array, l3: number, end: number): void {
  let at = l3 + IPV4_HEADER_LEN
  while (at < end) {
    const type = bytes[at]!
    if (type === IPOPT_END) return
    if (type === IPOPT_NOOP) {
      at++
      continue
    }
    if (at + 1 >= end) return
    const length = bytes[at + 1]!
    if (length < 2 || length > end - at) return
    if ((type & IPOPT_COPY) === 0) bytes.fill(IPOPT_NOOP, at, at + length)
    at += length
  }
}
