// Neighbour discovery (RFC 4861), as far as a host without neighbours takes part in it: it answers solicitations, and
// tells a sender of a shorter way. As net/ipv6/ndisc.c of Linux 6.18. What it hears of routers and of others' addresses
// it does not follow: on a TUN device there is no link layer to learn about.

import type { Device } from '../devices.ts'
import { type Route, RouteType, type Words } from '../fib.ts'
import type { Host } from '../host.ts'
import type { Packet } from '../packet.ts'
import { isJoined } from '../route.ts'
import { isErrorType, placeholderRoute, type RouteEntry } from '../route-table.ts'
import { NDISC_NEIGHBOUR_ADVERTISEMENT, NDISC_REDIRECT } from '../wire/icmp6.ts'
import { IPV6_DST, IPV6_HEADER_LEN, IPV6_HOP_LIMIT, IPV6_MIN_MTU } from '../wire/ipv6.ts'
import { selectAddress6 } from './source-address.ts'

/** ICMPv6 header and target; options follow. */
const SOLICITATION_LEN = 24
const TARGET = 8
/** Up to the options of a redirect: target and destination. */
const REDIRECT_LEN = 40
/** Packets that no router has passed on. */
const ND_HOP_LIMIT = 255

const ND_OPT_SOURCE_LL_ADDR = 1
const ND_OPT_TARGET_LL_ADDR = 2
const ND_OPT_REDIRECT_HDR = 4

/** Flags of an advertisement. */
const ROUTER = 0x80
const SOLICITED = 0x40
const OVERRIDE = 0x20

const ALL_NODES: Words = [0xff020000 | 0, 0, 0, 1]

const isMulticast = (w0: number): boolean => w0 >>> 24 === 0xff
const isLinkLocal = (w0: number): boolean => w0 >>> 22 === 0x3fa

/** ipv6_addr_is_solict_mult(): ff02::1:ff00:0/104. */
const isSolicitedNode = (pkt: Packet): boolean =>
  pkt.d0 === (0xff020000 | 0) && pkt.d1 === 0 && pkt.d2 === 1 && pkt.d3 >>> 24 === 0xff

/** ndisc_rcv(): a message of neighbour discovery for this host; its checksum is right. */
export function receiveNdisc(pkt: Packet, host: Host): void {
  const { view } = host.memory
  const device = pkt.arrival!
  if (pkt.fragmented && device.conf6.suppressFragmentedNdisc) return
  if (view.getUint8(pkt.l3 + IPV6_HOP_LIMIT) !== ND_HOP_LIMIT || view.getUint8(pkt.l4 + 1) !== 0) return
  if (pkt.l4 + SOLICITATION_LEN <= pkt.end) solicited(pkt, host, device)
}

/**
 * ndisc_redirect_rcv(): where the packet begins that a redirect for this host is about, -1: it is none to be heeded. Its
 * checksum is right.
 */
export function quoteOfRedirect(pkt: Packet, host: Host): number {
  const { view } = host.memory
  if (pkt.fragmented && pkt.arrival!.conf6.suppressFragmentedNdisc) return -1
  if (view.getUint8(pkt.l3 + IPV6_HOP_LIMIT) !== ND_HOP_LIMIT || view.getUint8(pkt.l4 + 1) !== 0) return -1
  if (!isLinkLocal(pkt.s0)) return -1
  let quote = -1
  for (let at = pkt.l4 + REDIRECT_LEN; at < pkt.end; ) {
    if (at + 2 > pkt.end) return -1
    const length = view.getUint8(at + 1) << 3
    if (length === 0 || at + length > pkt.end) return -1
    if (view.getUint8(at) === ND_OPT_REDIRECT_HDR && quote < 0) quote = at + 8
    at += length
  }
  return quote
}

/** ndisc_recv_ns(). */
function solicited(pkt: Packet, host: Host, device: Device): void {
  const { view } = host.memory
  const target: Words = [
    view.getInt32(pkt.l4 + TARGET),
    view.getInt32(pkt.l4 + TARGET + 4),
    view.getInt32(pkt.l4 + TARGET + 8),
    view.getInt32(pkt.l4 + TARGET + 12),
  ]
  if (isMulticast(target[0])) return
  // Somebody wants to know whether an address is free.
  const asksFree = (pkt.s0 | pkt.s1 | pkt.s2 | pkt.s3) === 0
  if (asksFree && !isSolicitedNode(pkt)) return
  const sender = senderOption(pkt, view)
  if (sender < 0 || (sender > 0 && asksFree)) return
  const own = hasAddress(device, target)
  if (!own && !isAnycastOf(host, device, target)) return
  const router = device.conf6.forwarding ? ROUTER : 0
  const toMany = isMulticast(pkt.d0)
  if (asksFree) {
    advertise(host, device, ALL_NODES, target, own, router | (own ? OVERRIDE : 0), true)
    return
  }
  // On a link with hardware addresses nobody is answered who has not told his own.
  if (device.link.mac !== null && toMany && sender === 0) return
  const flags = router | SOLICITED | (own && toMany ? OVERRIDE : 0)
  advertise(host, device, [pkt.s0, pkt.s1, pkt.s2, pkt.s3], target, own, flags, toMany)
}

/** ndisc_parse_options(): 1 if the sender told its hardware address, 0 if not, -1 for options that end in the middle. */
function senderOption(pkt: Packet, view: DataView): number {
  let found = 0
  for (let at = pkt.l4 + SOLICITATION_LEN; at < pkt.end; ) {
    if (at + 2 > pkt.end) return -1
    const length = view.getUint8(at + 1) << 3
    if (length === 0 || at + length > pkt.end) return -1
    // NDISC_OPT_SPACE(): eight bytes, be the address six bytes or none.
    if (view.getUint8(at) === ND_OPT_SOURCE_LL_ADDR && found === 0) found = length === 8 ? 1 : -1
    at += length
  }
  return found
}

function hasAddress(device: Device, words: Words): boolean {
  for (const { family, words: w } of device.addresses)
    if (family === 6 && w[3] === words[3] && w[2] === words[2] && w[1] === words[1] && w[0] === words[0])
      return true
  return false
}

/** ipv6_chk_acast_addr(). */
function isAnycastOf(host: Host, device: Device, words: Words): boolean {
  for (const route of host.fib.localRoutes6(words))
    if (isJoined(route) && route.device === device) return true
  return false
}

/** ndisc_send_na(): straight out of the device, whatever the routes say (icmp6_dst_alloc). */
function advertise(
  host: Host,
  device: Device,
  to: Words,
  target: Words,
  own: boolean,
  flags: number,
  withAddress: boolean,
): void {
  const { view, bytes } = host.memory
  const source = own ? target : selectAddress6(host.devices, device, to[0], to[1], to[2], to[3])?.words
  if (source === undefined) return
  const mac = withAddress ? device.link.mac : null
  const length = SOLICITATION_LEN + (mac === null ? 0 : 8)
  const pkt = host.replies6.message(straight(device, to), source, to, length)
  if (pkt === null) return
  const { l4 } = pkt
  bytes.fill(0, l4, l4 + length)
  view.setUint8(l4, NDISC_NEIGHBOUR_ADVERTISEMENT)
  view.setUint8(l4 + 4, flags)
  for (let i = 0; i < 4; i++) view.setInt32(l4 + TARGET + i * 4, target[i]!)
  if (mac !== null) {
    view.setUint8(l4 + SOLICITATION_LEN, ND_OPT_TARGET_LL_ADDR)
    view.setUint8(l4 + SOLICITATION_LEN + 1, 1)
    for (const [i, byte] of mac.split(':').entries())
      view.setUint8(l4 + SOLICITATION_LEN + 2 + i, Number.parseInt(byte, 16))
  }
  host.replies6.sendMessage(pkt, device)
}

const straight = (device: Device, to: Words): RouteEntry =>
  placeholderRoute(6, RouteType.Unicast, device, { dst: to, prefixLength: 128 })

/**
 * ndisc_send_redirect(): the sender of `cause` could reach the destination itself, or the gateway of `route`. Only said
 * where the host has a link-local address, and to neighbours. Whether it was said.
 */
export function redirect(cause: Packet, host: Host, route: Route): boolean {
  const { view, bytes } = host.memory
  const device = cause.arrival!
  // The last one that was added: wide scopes come first, in each the youngest.
  let source: Words | null = null
  for (const a of device.addresses) if (a.family === 6 && isLinkLocal(a.words[0])) source ??= a.words
  if (source === null) return false
  const { gateway } = route
  // Another gateway than a link-local one is only told of where it is the destination itself.
  const isDestination =
    gateway !== null &&
    gateway[0] === cause.d0 &&
    gateway[1] === cause.d1 &&
    gateway[2] === cause.d2 &&
    gateway[3] === cause.d3
  if (gateway !== null && !isLinkLocal(gateway[0]) && !isDestination) return false
  const to: Words = [cause.s0, cause.s1, cause.s2, cause.s3]
  const way = host.path.routes6.outputTo(to, source, device, NDISC_REDIRECT)
  if (isErrorType(way.type) || way.gateway !== null) return false
  const place = host.peers.place(6, cause.s0, cause.s1, cause.s2, cause.s3)
  if (!host.peers.allow(place, 1000)) return false
  // The packet stands in an option of whole eights, behind eight bytes of the option's own.
  const head = SOLICITATION_LEN + 16
  const option = Math.min(IPV6_MIN_MTU - IPV6_HEADER_LEN - head, cause.end - cause.l3 + 8) & ~7
  const pkt = host.replies6.message(way, source, to, head + option)
  if (pkt === null) return false
  const { l4 } = pkt
  const at = l4 + head
  bytes.fill(0, l4, at + 8)
  view.setUint8(l4, NDISC_REDIRECT)
  if (gateway === null) bytes.copyWithin(l4 + TARGET, cause.l3 + IPV6_DST, cause.l3 + IPV6_HEADER_LEN)
  else for (let i = 0; i < 4; i++) view.setInt32(l4 + TARGET + i * 4, gateway[i]!)
  bytes.copyWithin(l4 + SOLICITATION_LEN, cause.l3 + IPV6_DST, cause.l3 + IPV6_HEADER_LEN)
  view.setUint8(at, ND_OPT_REDIRECT_HDR)
  view.setUint8(at + 1, option >> 3)
  bytes.copyWithin(at + 8, cause.l3, cause.l3 + option - 8)
  host.replies6.sendMessage(pkt, device)
  return true
}
