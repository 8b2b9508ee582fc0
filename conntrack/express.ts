// The flow cache's short ways, for frames that LookAhead gave a hint for, before anything is parsed: IPv4 with a plain header,
// a connection with a way that changes nothing but one address, port and the hop count. All is read and written once.
//
//     batch ─┬─ TCP: segment(), one at a time
//            └─ UDP: datagrams(), those of one connection that stand behind each other: it is looked at once for all of them
//
// Functions for each host, and not methods: what they hold on to never changes, so that V8 compiles the host's own buffers
// and objects into them where a process has one host, and asks nothing about them.

import { IpStat } from '../datapath/counters.ts'
import type { Device } from '../datapath/devices.ts'
import { MISS } from '../datapath/fate.ts'
import { Hook } from '../datapath/hooks.ts'
import type { FlowLink } from '../datapath/host.ts'
import { isUdpPending, takeOffload, VNET_HEADER_WORDS } from '../datapath/offload.ts'
import { Packet } from '../datapath/packet.ts'
import { fill4 } from '../datapath/parse.ts'
import { forward4, forwardFrom4, forwardTo4 } from '../datapath/rewrite.ts'
import { HEADROOM } from '../datapath/ring.ts'
import { fold, pseudo4 } from '../datapath/wire/checksum.ts'
import {
  ECN_MASK,
  IP_MF,
  IP_OFFSET,
  IPV4_DST,
  IPV4_HEADER_LEN,
  IPV4_ID,
  IPV4_PROTOCOL,
  IPV4_SRC,
  IPV4_TTL,
} from '../datapath/wire/ipv4.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../datapath/wire/protocol.ts'
import { TCP_FLAGS, TCP_HEADER_LEN } from '../datapath/wire/tcp.ts'
import { UDP_HEADER_LEN, UDP_LENGTH } from '../datapath/wire/udp.ts'
import type { Conntrack } from './conntrack.ts'
import type { FlowCache } from './flow-cache.ts'
import { seenReply } from './hooks.ts'
import { CTMARK, DST, FLOW, infoOf, PORTS, SRC, STATUS, STRIDE, Status, TUPLE_WORDS, USES } from './table.ts'
import type { Datagrams } from './trackers/tracker.ts'
import type { Way } from './ways.ts'

/** See FlowLink. `udp`: of its tracker. */
export function createExpress(
  cache: FlowCache,
  ct: Conntrack,
  udp: Datagrams,
): Pick<FlowLink, 'segment' | 'datagrams'> {
  const { host, table, core, events } = ct
  const { path } = host
  const { view, stride } = host.memory
  const { ip4 } = host.counters
  const { ways } = cache
  /** For datagrams with which more is to be done than to send them. */
  const pkt = new Packet()

  /** A header without options whose words these are has a checksum that is right. */
  const isWhole = (first: number, second: number, third: number, s0: number, d0: number): boolean => {
    const sum =
      (first >>> 16) +
      (first & 0xffff) +
      (second >>> 16) +
      (second & 0xffff) +
      (third >>> 16) +
      (third & 0xffff) +
      (s0 >>> 16) +
      (s0 & 0xffff) +
      (d0 >>> 16) +
      (d0 & 0xffff)
    return (sum & 0xffff) + (sum >>> 16) === 0xffff
  }

  /**
   * The way of a connection, as far as it does not hang on what the tracker makes of the packet. `handle`: a hint; the rest
   * as the frame says. Null: there is none for it.
   */
  const wayOf = (
    handle: number,
    s0: number,
    d0: number,
    ports: number,
    proto: number,
    tos: number,
    ttl: number,
    device: Device,
  ): Way | null => {
    if (!table.isOf(handle, s0, d0, ports, (proto << 8) | 4) || core.isOver(handle >> 1)) return null
    const w = table.words
    const o = (handle >> 1) * STRIDE
    const dir = handle & 1
    const index = w[o + dir * TUPLE_WORDS + FLOW]! - ways.base
    if (index <= 0) return null
    const way = ways.list[index]!
    return way.plain === true &&
      way.ctInfo === infoOf(w[o + STATUS]!, dir) &&
      way.iif === device.index &&
      (way.tosMask & tos) === way.tos &&
      (way.ttlMask & ttl) === way.ttl &&
      ttl > 1 &&
      path.hasNoPathMtus(4) === true
      ? way
      : null
  }

  /** What the tracker has made of the connection is what the way was recorded for. */
  const isFor = (way: Way, o: number): boolean => {
    const w = table.words
    return (
      (w[o + STATUS]! & way.statusMask) === way.status && (w[o + CTMARK]! & way.ctmarkMask) === way.ctmark
    )
  }

  /** One end's address and port, and one hop less. `o`, `dir`: the connection's, as the frame's ends are before. */
  const rewrite = (
    way: Way,
    l3: number,
    third: number,
    s0: number,
    d0: number,
    ports: number,
    o: number,
    dir: number,
  ): void => {
    const w = table.words
    const other = o + (1 - dir) * TUPLE_WORDS
    if (way.translatesSource === true)
      forwardFrom4(view, l3, third, s0, ports >>> 16, w[other + DST]!, w[other + PORTS]! & 0xffff)
    else if (way.translatesDestination === true)
      forwardTo4(view, l3, third, d0, ports & 0xffff, w[other + SRC]!, w[other + PORTS]! >>> 16)
    else forward4(view, l3, third)
  }

  // `=== true`: for "is it true?" of what may be anything V8 looks at more than the one word.
  const segment: FlowLink['segment'] = (pkt, device) => {
    const { l3 } = pkt
    if (
      view.getUint8(l3 + IPV4_PROTOCOL) !== IPPROTO_TCP ||
      cache.usable(4) !== true ||
      pkt.gsoSize !== 0 ||
      pkt.csumPending === true
    )
      return MISS
    const first = view.getInt32(l3)
    const second = view.getInt32(l3 + IPV4_ID)
    const third = view.getInt32(l3 + IPV4_TTL)
    const s0 = view.getInt32(l3 + IPV4_SRC)
    const d0 = view.getInt32(l3 + IPV4_DST)
    const total = first & 0xffff
    const received = pkt.end
    if (
      l3 + total > received ||
      total < IPV4_HEADER_LEN + TCP_HEADER_LEN ||
      (second & (IP_MF | IP_OFFSET)) !== 0 ||
      !isWhole(first, second, third, s0, d0)
    )
      return MISS
    const l4 = l3 + IPV4_HEADER_LEN
    const ports = view.getInt32(l4)
    const handle = pkt.hint
    const tos = (first >>> 16) & 0xff
    const way = wayOf(handle, s0, d0, ports, IPPROTO_TCP, tos, third >>> 24, device)
    if (way === null || (way.flagsMask & view.getUint8(l4 + TCP_FLAGS)) !== way.flags || total > way.mtu)
      return MISS

    const entry = handle >> 1
    const dir = handle & 1
    const o = entry * STRIDE
    pkt.end = l3 + total
    pkt.arrive(device, 0)
    pkt.iif = device.index
    fill4(pkt, view, l4)
    table.words[o + USES]!++
    pkt.ct = entry
    pkt.ctInfo = way.ctInfo
    const result = ct.track(pkt, handle, Hook.PreRouting)
    const words = table.words
    if (result > 0 && dir === 1) seenReply(ct, o)
    if (result <= 0 || !isFor(way, o)) {
      if (result > 0 && (words[o + STATUS]! & Status.Dying) === 0) cache.again(pkt, handle)
      ct.judge(pkt, handle, result)
      pkt.end = received
      return MISS
    }

    // It lives, so that nothing else is to be done when this packet lets go of it.
    words[o + USES]!--
    pkt.ct = -1
    // The way itself: count, translate, one hop less.
    ways.count(way.index, 1, total)
    cache.hits++
    const ecn = IpStat.InNoECTPkts + (tos & ECN_MASK)
    ip4[IpStat.InOctets] = ip4[IpStat.InOctets]! + (received - l3)
    ip4[ecn] = ip4[ecn]! + 1
    ip4[IpStat.OutForwDatagrams] = ip4[IpStat.OutForwDatagrams]! + 1
    rewrite(way, l3, third, s0, d0, ports, o, dir)
    if (events.listening === true) events.tell(entry)
    const fate = path.transmit(pkt, way.device!)
    pkt.leave()
    return fate
  }

  const datagrams: FlowLink['datagrams'] = (frames, at, device) => {
    const { offsets, lengths, sums, headers, hints, count } = frames
    const begin = offsets[at]!
    const third0 = view.getInt32(begin + IPV4_TTL)
    if (((third0 >>> 16) & 0xff) !== IPPROTO_UDP || cache.usable(4) !== true) return 0
    const first0 = view.getInt32(begin)
    const s0 = view.getInt32(begin + IPV4_SRC)
    const d0 = view.getInt32(begin + IPV4_DST)
    const ports = view.getInt32(begin + IPV4_HEADER_LEN)
    const tos = (first0 >>> 16) & 0xff
    const handle = hints[at]!
    const entry = handle >> 1
    const dir = handle & 1
    const o = entry * STRIDE
    const way = wayOf(handle, s0, d0, ports, IPPROTO_UDP, tos, third0 >>> 24, device)
    if (way === null || !isFor(way, o)) return 0
    const state = udp.steady(entry)
    const out = way.device!
    if (state < 0 || out.up !== true) return 0
    const { gro } = out
    const { egress } = host
    const { mtu } = way
    let bytes = 0
    let i = at
    do {
      const l3 = offsets[i]!
      const first = view.getInt32(l3)
      const second = view.getInt32(l3 + IPV4_ID)
      const third = view.getInt32(l3 + IPV4_TTL)
      const total = first & 0xffff
      if (
        (i !== at &&
          (first >>> 16 !== first0 >>> 16 ||
            third >>> 16 !== third0 >>> 16 ||
            view.getInt32(l3 + IPV4_SRC) !== s0 ||
            view.getInt32(l3 + IPV4_DST) !== d0 ||
            view.getInt32(l3 + IPV4_HEADER_LEN) !== ports)) ||
        lengths[i] !== total ||
        total > mtu ||
        (second & (IP_MF | IP_OFFSET)) !== 0 ||
        !isWhole(first, second, third, s0, d0)
      )
        break
      // What is wrong with a datagram is told by who knows more of the packet.
      const room = total - IPV4_HEADER_LEN
      const fourth = view.getInt32(l3 + IPV4_HEADER_LEN + UDP_LENGTH)
      const length = fourth >>> 16
      if (length > room || length < UDP_HEADER_LEN) break
      let checked = false
      const pending = headers !== null && headers[i * VNET_HEADER_WORDS] !== 0
      if (pending) {
        if (!isUdpPending(headers, i * VNET_HEADER_WORDS)) break
      } else if ((fourth & 0xffff) !== 0 && core.checksum === true) {
        // The header's own part of the sum is none.
        if (fold(sums[i]! + pseudo4(s0, d0, IPPROTO_UDP, room)) !== 0xffff) break
        checked = true
      }
      rewrite(way, l3, third, s0, d0, ports, o, dir)
      const slot = l3 - HEADROOM
      if (gro === null && !pending) egress.send(out.index, l3, total, slot)
      else {
        pkt.begin(slot, stride, total)
        pkt.arrive(device, 0)
        if (pending) takeOffload(pkt, headers, i * VNET_HEADER_WORDS)
        else pkt.csumOk = checked
        fill4(pkt, view, l3 + IPV4_HEADER_LEN)
        if (gro === null) host.offloads.send(pkt, out, slot)
        else gro.send(pkt, slot)
        pkt.csumPending = pkt.csumPartial = false
        pkt.leave()
      }
      bytes += total
      i++
    } while (i < count && hints[i] === handle)
    const packets = i - at
    if (packets === 0) return 0

    udp.heard(entry, dir, state, packets, bytes)
    if (events.listening === true) events.tell(entry)
    ways.count(way.index, packets, bytes)
    cache.hits += packets
    path.forwarded4(device, out, tos & ECN_MASK, packets, bytes)
    return packets
  }

  return { segment, datagrams }
}
