// The local port: real processes in the place of the local stack. What INPUT accepts goes to a TUN device in their
// namespace, what they send goes through OUTPUT as the host's own.
//
//     INPUT ─▶ deliver ─▶ egress, as if out of lo ─▶ TUN ─▶ sockets
//     OUTPUT ◀─ send ◀──────── frames "from lo" ◀── TUN ◀── sockets
//
// TPROXY hands a packet to the socket of another port. Only the kernel of that namespace could do so without changing
// it: here the port is changed on the way to the proxy and changed back in what it answers.

import { Reason } from '../counters.ts'
import { RouteFailure, RouteType } from '../fib.ts'
import type { Host } from '../host.ts'
import { takeFrame } from '../offload.ts'
import { Packet, PathFlag } from '../packet.ts'
import { parse } from '../parse.ts'
import { setDestinationPort, setSourcePort } from '../rewrite.ts'
import { type Frames, HEADROOM } from '../ring.ts'
import { placeholderRoute, type RouteEntry } from '../route-table.ts'
import { ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, ICMP_NET_UNREACH, ICMP_PKT_FILTERED } from '../wire/icmp.ts'
import {
  ICMPV6_ADDR_UNREACH,
  ICMPV6_ADM_PROHIBITED,
  ICMPV6_DEST_UNREACH,
  ICMPV6_NOROUTE,
} from '../wire/icmp6.ts'

export class LocalPort {
  readonly #host: Host
  readonly #ports = new ProxyPorts()
  /** The one at hand of a batch. */
  readonly #frame = new Packet()
  /** What a packet without a way has as its route, so that its sender can be told. */
  readonly #nowhere: RouteEntry

  /** From now on `host` has processes. */
  constructor(host: Host) {
    this.#host = host
    this.#nowhere = placeholderRoute(4, RouteType.Unreachable, host.devices.loopback)
    host.path.localDelivery = this.#deliver
  }

  /** A packet that INPUT accepted: its slot goes to the egress. Hot: does not allocate. */
  readonly #deliver = (pkt: Packet): boolean => {
    const { memory, offloads, devices } = this.#host
    if (pkt.proxyPort !== 0 && pkt.proxyPort !== pkt.dport && pkt.dport >= 0) {
      this.#ports.note(pkt, pkt.dport)
      setDestinationPort(pkt, memory, pkt.proxyPort)
    }
    let { slot } = pkt
    if (slot < 0) {
      slot = memory.take()
      if (slot < 0) return true
      const by = slot + HEADROOM - pkt.l3
      memory.bytes.copyWithin(pkt.l3 + by, pkt.l3, pkt.end)
      pkt.l3 += by
      pkt.l4 += by
      pkt.end += by
    }
    pkt.slot = -1
    offloads.send(pkt, devices.loopback, slot)
    return true
  }

  /** What processes sent. Owns the slots from here on. Hot: does not allocate. */
  sendBatch(frames: Frames): void {
    const { memory, path } = this.#host
    const pkt = this.#frame
    for (let i = 0; i < frames.count; i++)
      if (takeFrame(pkt, frames, i, memory.stride)) this.send(pkt)
      else path.drop(pkt, Reason.Truncated)
  }

  /**
   * A frame that a process sent: slot, limit, l3 and end are set, all else is as after reset(). Owns the slot from
   * here on. Hot: does not allocate.
   */
  send(pkt: Packet): void {
    const host = this.#host
    const refused = parse(pkt, host)
    if (refused !== Reason.None) {
      host.path.drop(pkt, refused)
      return
    }
    if (!this.#ports.empty && pkt.sport >= 0) {
      const port = this.#ports.original(pkt)
      if (port !== 0) setSourcePort(pkt, host.memory, port)
    }
    pkt.flags |= PathFlag.Socket
    pkt.local = true
    if (!host.path.routeOfSocket(pkt)) this.#noWay(pkt)
    else host.path.sendLocal(pkt)
  }

  /** Where connect() and sendto() would have failed, the process is told by an ICMP error. */
  #noWay(pkt: Packet): void {
    const host = this.#host
    pkt.csumOk = true
    if (pkt.family === 4) {
      const code = CODES[host.fib.failure]
      pkt.route = this.#nowhere
      if (code !== undefined) host.replies.icmpError(pkt, ICMP_DEST_UNREACH, code, 0)
      pkt.route = null
    } else {
      const { type, metric } = host.path.routes6.output(host.fib.keyOfSocket(pkt))
      // Only where nothing was found has the route the last of all metrics (ip6_null_entry).
      const code = type === RouteType.Unreachable && metric === 0xffffffff ? ICMPV6_NOROUTE : CODES6[type]
      if (code !== undefined)
        host.replies6.icmpError(pkt, ICMPV6_DEST_UNREACH, code, 0, host.devices.loopback)
    }
    host.path.settle()
    host.path.drop(pkt, Reason.NoRoute)
  }
}

const CODES: Readonly<Record<number, number>> = {
  [RouteFailure.NetUnreach]: ICMP_NET_UNREACH,
  [RouteFailure.HostUnreach]: ICMP_HOST_UNREACH,
  [RouteFailure.Prohibited]: ICMP_PKT_FILTERED,
}

const CODES6: Readonly<Record<number, number>> = {
  [RouteType.Unreachable]: ICMPV6_ADDR_UNREACH,
  [RouteType.Prohibit]: ICMPV6_ADM_PROHIBITED,
}

const SETS = 1024
const WAYS = 4
/** Both addresses, both ports, the protocol. */
const KEY = 10

/**
 * The ports that connections to a transparent proxy had before: by peer, original address and the proxy's port. A
 * table of a fixed size; where it is full, the connection that was quiet longest is forgotten.
 */
class ProxyPorts {
  readonly #keys = new Int32Array(SETS * WAYS * KEY)
  readonly #ports = new Uint16Array(SETS * WAYS)
  readonly #used = new Float64Array(SETS * WAYS)
  readonly #key = new Int32Array(KEY)
  #clock = 0

  get empty(): boolean {
    return this.#clock === 0
  }

  /** A packet to the proxy; `port`: where it was sent to. */
  note(pkt: Packet, port: number): void {
    const key = this.#key
    key[0] = pkt.s0
    key[1] = pkt.d0
    key[2] = pkt.s1
    key[3] = pkt.d1
    key[4] = pkt.s2
    key[5] = pkt.d2
    key[6] = pkt.s3
    key[7] = pkt.d3
    key[8] = (pkt.sport << 16) | pkt.proxyPort
    key[9] = (pkt.proto << 8) | pkt.family
    const place = this.#place()
    this.#keys.set(key, place * KEY)
    this.#ports[place] = port
    this.#used[place] = ++this.#clock
  }

  /** The port that a packet from the proxy has to come from; 0: it is no answer of a proxy. */
  original(pkt: Packet): number {
    const key = this.#key
    key[0] = pkt.d0
    key[1] = pkt.s0
    key[2] = pkt.d1
    key[3] = pkt.s1
    key[4] = pkt.d2
    key[5] = pkt.s2
    key[6] = pkt.d3
    key[7] = pkt.s3
    key[8] = (pkt.dport << 16) | pkt.sport
    key[9] = (pkt.proto << 8) | pkt.family
    const place = this.#place()
    return this.#is(place) ? this.#ports[place]! : 0
  }

  /** Where #key stands, or may be put. */
  #place(): number {
    const key = this.#key
    let h = 0
    for (let i = 0; i < KEY; i++) h = Math.imul(h ^ key[i]!, 0x9e3779b1) ^ (h >>> 15)
    const first = ((h ^ (h >>> 16)) & (SETS - 1)) * WAYS
    let oldest = first
    for (let p = first; p < first + WAYS; p++) {
      if (this.#is(p)) return p
      if (this.#used[p]! < this.#used[oldest]!) oldest = p
    }
    return oldest
  }

  #is(place: number): boolean {
    for (let i = 0; i < KEY; i++) if (this.#keys[place * KEY + i] !== this.#key[i]) return false
    return this.#used[place]! > 0
  }
}
