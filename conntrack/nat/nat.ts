// NAT core: binds a connection at its first packet, translates every packet of it afterwards
// (nf_nat_core.c, nf_nat_proto.c, nf_nat_masquerade.c, nf_nat_redirect.c of Linux 6.18).
//
//     PREROUTING  -100  destination     in ──> DNAT ──> route ──> ... ──> SNAT ──> out
//     INPUT        100  source                  bound once: NEW or RELATED, status *_NAT_DONE not set
//     OUTPUT      -100  destination
//     POSTROUTING  100  source
//
// An unbound connection walks the nat table's chain of the hook; if no rule binds it, it is bound to what it is
// (the null binding), which still gives it another port when its tuple is taken. A reply is translated the other
// way round: what POSTROUTING did to the source, PREROUTING undoes at the destination, and so on.
//
// An entry's NAT word holds the ifindex that MASQUERADE chose the address of, 0 none.

import { type Address, type Device, Scope } from '../../datapath/devices.ts'
import type { Words } from '../../datapath/fib.ts'
import { Hook, type HookFn, Priority, Verdict } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import { selectAddress6 } from '../../datapath/ipv6/source-address.ts'
import { CtInfo, type Family, type Packet } from '../../datapath/packet.ts'
import { IPV6_SCOPE_BITS, Ipv6Address, ipv6AddressType } from '../../datapath/wire/ipv6-address.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import type { Conntrack } from '../conntrack.ts'
import { DST, isAddress, META, NAT, SRC, STATUS, STRIDE, Status, TUPLE_WORDS, wordOf } from '../table.ts'
import { invert, Tuple } from '../tuple.ts'
import { NatLookAhead } from './look-ahead.ts'
import { Translator } from './manip.ts'
import { Manip, type NatRange, Range } from './range.ts'
import { UniqueTuple } from './unique.ts'

export { Manip, type NatRange } from './range.ts'

export class Nat {
  /** Hears of connections that are about to begin. */
  readonly ahead: NatLookAhead
  readonly #host: Host
  readonly #conntrack: Conntrack
  readonly #unique: UniqueTuple
  readonly #translate: Translator
  /** passOver() was called since the rules were asked. */
  #passed = false
  readonly #range = new Range()
  readonly #current = new Tuple()
  readonly #chosen = new Tuple()

  constructor(host: Host, conntrack: Conntrack) {
    this.#host = host
    this.#conntrack = conntrack
    this.ahead = new NatLookAhead(conntrack.table, host.ports)
    this.#unique = new UniqueTuple(conntrack, host.ports, this.ahead)
    this.#translate = new Translator(host.memory, conntrack)
    conntrack.nat = this
    conntrack.onDestroy = (entry) => this.#unique.sources.remove(entry)
    conntrack.onTouch = (entries, count) => this.#unique.sources.touch(entries, count)
    host.devices.listen({
      addressRemoved: (device, address) => this.addressGone(device.index, address.family, gone(address)),
      linkChanged: (device) => {
        if (!device.up) this.addressGone(device.index)
      },
    })
  }

  /**
   * The nat table of a family is in use: registers NAT's four hooks; `lookups[hook]` walks the table's chain for the
   * first packet of a connection. Returns the undo.
   */
  attach(family: Family, lookups: Readonly<Record<number, HookFn>>): () => void {
    const register = (name: string, hook: Hook, priority: number, manip: Manip): (() => void) =>
      this.#host.hooks.register({
        name,
        family,
        hook,
        priority,
        run: this.#hook(family, hook, manip, lookups[hook] ?? null),
        recordable: true,
      })
    const undo = [
      register('nat-dst', Hook.PreRouting, Priority.NatDst, Manip.Dst),
      register('nat-src', Hook.PostRouting, Priority.NatSrc, Manip.Src),
      register('nat-dst', Hook.LocalOut, Priority.NatDst, Manip.Dst),
      register('nat-src', Hook.LocalIn, Priority.NatSrc, Manip.Src),
    ]
    return () => {
      for (const take of undo) take()
    }
  }

  /** nf_nat_ipv4_fn or nf_nat_ipv6_fn, and nf_nat_inet_fn, for one hook. */
  #hook(family: Family, hook: Hook, manip: Manip, lookup: HookFn | null): HookFn {
    const { table } = this.#conntrack
    const icmp = family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6
    const out = hook === Hook.PostRouting
    const done = manip === Manip.Src ? Status.SrcNatDone : Status.DstNatDone
    // By direction: replies undo at this hook what the other manip did to the original direction.
    const bits = manip === Manip.Src ? [Status.SrcNat, Status.DstNat] : [Status.DstNat, Status.SrcNat]
    const bit0 = bits[0]!
    const bit1 = bits[1]!
    const translate = this.#translate

    /** nf_nat_ipv6_in(): what loops has a route already, and loses it with its destination. */
    const inward = hook === Hook.PreRouting || hook === Hook.LocalIn
    const translate6 = (pkt: Packet, related: boolean, dir: number): Verdict => {
      const { d0, d1, d2, d3 } = pkt
      const verdict = related
        ? translate.icmpError6(pkt, manip, inward)
        : translate.packet6(pkt, pkt.ct, dir, manip)
      if (hook === Hook.PreRouting && (pkt.d3 !== d3 || pkt.d2 !== d2 || pkt.d1 !== d1 || pkt.d0 !== d0))
        pkt.route = null
      return verdict
    }

    /** Hot: does not allocate, does not throw. */
    const run: HookFn = (pkt) => {
      const entry = pkt.ct
      if (entry < 0) return Verdict.Accept
      const info = pkt.ctInfo
      if (info === CtInfo.Established || info === CtInfo.EstablishedReply) {
        if (out && info === CtInfo.Established && this.#deviceChanged(entry, pkt)) return Verdict.Drop
      } else {
        if (info !== CtInfo.New && pkt.proto === icmp)
          // What this host says was looked at in OUTPUT: what rules did to it since is not (CHECKSUM_COMPLETE).
          return family === 4 ? translate.icmpError(pkt, manip, out && pkt.local) : translate6(pkt, true, 0)
        if ((table.words[entry * STRIDE + STATUS]! & done) === 0) {
          const verdict = this.#bind(pkt, manip, done, lookup)
          if (verdict !== Verdict.Accept || this.#passed) return verdict
        } else if (out && info !== CtInfo.RelatedReply && this.#deviceChanged(entry, pkt)) return Verdict.Drop
      }
      const dir = info >= CtInfo.EstablishedReply ? 1 : 0
      if ((table.words[entry * STRIDE + STATUS]! & (dir === 0 ? bit0 : bit1)) === 0) return Verdict.Accept
      return family === 4 ? translate.packet(pkt, entry, dir, manip) : translate6(pkt, false, dir)
    }
    return hook === Hook.LocalOut ? this.#routedAnew(run) : run
  }

  /**
   * nf_nat_ipv4_local_fn, nf_nat_ipv6_local_fn: what this host sends in a connection whose destination is not what its
   * replies come from is routed anew, whether or not this packet was changed: an ICMP error about it is not.
   */
  #routedAnew(run: HookFn): HookFn {
    const { table } = this.#conntrack
    const { path } = this.#host
    return (pkt) => {
      this.#passed = false
      const verdict = run(pkt)
      if (verdict !== Verdict.Accept || this.#passed || pkt.ct < 0) return verdict
      const dir = pkt.ctInfo >= CtInfo.EstablishedReply ? TUPLE_WORDS : 0
      const to = pkt.ct * STRIDE + dir
      const from = pkt.ct * STRIDE + TUPLE_WORDS - dir
      const w = table.words
      let same = true
      for (let i = 0; i < 4; i++) same &&= w[to + wordOf(DST, i)] === w[from + wordOf(SRC, i)]
      return same || path.reroute(pkt) ? Verdict.Accept : Verdict.Drop
    }
  }

  /**
   * NFQUEUE with --queue-bypass and nobody at the queue: the packet goes on, but as its verdict was not ACCEPT, a NAT
   * hook that asked its rules leaves the connection unbound and the packet as it is, and asks again for the next one.
   */
  passOver(): Verdict {
    this.#passed = true
    return Verdict.Accept
  }

  /** First packet at a hook of this manip: the rules, or the null binding. */
  #bind(pkt: Packet, manip: Manip, done: number, lookup: HookFn | null): Verdict {
    const entry = pkt.ct
    this.#passed = false
    if (lookup !== null) {
      const verdict = lookup(pkt)
      if (verdict !== Verdict.Accept || this.#passed) return verdict
      if ((this.#conntrack.table.words[entry * STRIDE + STATUS]! & done) !== 0) return Verdict.Accept
    }
    // nf_nat_alloc_null_binding. From the reply: another manip may have been here already.
    const w = this.#conntrack.table.words
    const o = entry * STRIDE + TUPLE_WORDS
    const at = manip === Manip.Src ? DST : SRC
    this.#range
      .nothing()
      .address(w[o + at]!, w[o + wordOf(at, 1)]!, w[o + wordOf(at, 2)]!, w[o + wordOf(at, 3)]!)
    return this.#setup(entry, manip)
  }

  /** nf_nat_oif_changed: a masqueraded connection that is routed elsewhere now starts anew. */
  #deviceChanged(entry: number, pkt: Packet): boolean {
    const device = this.#conntrack.table.words[entry * STRIDE + NAT]!
    if (device === 0 || device === pkt.oif) return false
    this.#conntrack.kill(entry)
    return true
  }

  /** nf_nat_setup_info: binds pkt's connection. A Verdict. */
  setup(pkt: Packet, range: NatRange, manip: Manip): Verdict {
    if (pkt.ct < 0) return Verdict.Accept
    if (range.netmap && range.min !== null && range.max !== null) {
      const { min, max } = range
      const dst = manip === Manip.Dst
      this.#range
        .rules(range)
        .address(
          mapNet(dst ? pkt.d0 : pkt.s0, min[0], max[0]),
          mapNet(dst ? pkt.d1 : pkt.s1, min[1], max[1]),
          mapNet(dst ? pkt.d2 : pkt.s2, min[2], max[2]),
          mapNet(dst ? pkt.d3 : pkt.s3, min[3], max[3]),
        )
    } else this.#range.load(range)
    return this.#setup(pkt.ct, manip)
  }

  /** As setup() for a range of one IPv4 address and one port, or none (-1), and nothing else: most ranges are. */
  setup4(pkt: Packet, address: number, port: number, manip: Manip): Verdict {
    if (pkt.ct < 0) return Verdict.Accept
    this.#range.nothing().address(address, 0, 0, 0)
    if (port >= 0) this.#range.port(port)
    return this.#setup(pkt.ct, manip)
  }

  /** nf_nat_setup_info for an entry that a helper expected. A Verdict. */
  setupEntry(entry: number, range: NatRange, manip: Manip): Verdict {
    this.#range.load(range)
    return this.#setup(entry, manip)
  }

  /** With `#range` loaded. */
  #setup(entry: number, manip: Manip): Verdict {
    const { table } = this.#conntrack
    const status = entry * STRIDE + STATUS
    if ((table.words[status]! & Status.Confirmed) !== 0) return Verdict.Accept
    const done = manip === Manip.Src ? Status.SrcNatDone : Status.DstNatDone
    if ((table.words[status]! & done) !== 0) return Verdict.Drop
    const current = this.#current
    const chosen = this.#chosen
    invert(table.readTuple(entry, 1, chosen), current)
    this.#unique.choose(chosen, current, this.#range, manip, entry)
    if (!chosen.equals(current)) {
      invert(chosen, current)
      this.#conntrack.alterReply(entry, current)
      table.words[status]! |= manip === Manip.Src ? Status.SrcNat : Status.DstNat
    }
    if (manip === Manip.Src) this.#unique.sources.add(entry)
    table.words[status]! |= done
    return Verdict.Accept
  }

  /** nf_nat_masquerade_ipv4: the source becomes the address that the way out has towards the next hop. */
  masquerade(pkt: Packet, range: NatRange): Verdict {
    if (pkt.ct < 0) return Verdict.Accept
    const { table } = this.#conntrack
    const o = pkt.ct * STRIDE
    const device = this.#host.devices.byIndex[pkt.oif]
    if (device === undefined) return Verdict.Drop
    if (pkt.family === 6) return this.#masquerade6(pkt, range, device)
    // No source address yet: not for masquerading.
    if (table.words[o + SRC] === 0) return Verdict.Accept
    const towards = pkt.route?.gateway?.[0] || pkt.d0
    const source = this.#host.devices.selectAddress4(device, towards, Scope.Universe)
    if (source === 0) return Verdict.Drop
    this.#range.rules(range).address(source, 0, 0, 0)
    this.#leavesBy(o, device)
    return this.#setup(pkt.ct, Manip.Src)
  }

  /** nf_nat_masquerade_ipv6: the source becomes what the host itself would choose towards the destination. */
  #masquerade6(pkt: Packet, range: NatRange, device: Device): Verdict {
    const { devices } = this.#host
    const source = selectAddress6(devices, device, pkt.d0, pkt.d1, pkt.d2, pkt.d3)
    if (source === null) return Verdict.Drop
    this.#leavesBy(pkt.ct * STRIDE, device)
    const [w0, w1, w2, w3] = source.words
    this.#range.rules(range).address(w0, w1, w2, w3)
    return this.#setup(pkt.ct, Manip.Src)
  }

  /** Notes the device that MASQUERADE chose for the entry at word `o`. */
  #leavesBy(o: number, device: Device): void {
    const w = this.#conntrack.table.words
    // The kernel's extension can be had only before the entry is confirmed.
    const late = (w[o + STATUS]! & Status.Confirmed) !== 0 && w[o + NAT] === 0
    if (late || w[o + NAT] === device.index) return
    w[o + NAT] = device.index
    // What is recorded leaves by the device that it had before.
    this.#conntrack.table.forgetWays(o)
  }

  /**
   * nf_nat_redirect_ipv4, nf_nat_redirect_ipv6: to this host, at the first address of the device it came in by.
   * `hook`: its number.
   */
  redirect(pkt: Packet, range: NatRange, hook: number): Verdict {
    if (pkt.ct < 0) return Verdict.Accept
    this.#range.rules(range)
    if (pkt.family === 6) return this.#redirect6(pkt, hook)
    if (hook === Hook.LocalOut) this.#range.address(INADDR_LOOPBACK, 0, 0, 0)
    else {
      const first = this.#host.devices.byIndex[pkt.iif]?.addresses.find(isIpv4)
      if (first === undefined) return Verdict.Drop
      this.#range.address(first.words[0], 0, 0, 0)
    }
    return this.#setup(pkt.ct, Manip.Dst)
  }

  /** With `#range` loaded but for the address: an address of the destination's scope, if that has a narrow one. */
  #redirect6(pkt: Packet, hook: number): Verdict {
    if (hook === Hook.LocalOut) this.#range.address(0, 0, 0, 1)
    else {
      const scope = ipv6AddressType(pkt.d0, pkt.d1, pkt.d2, pkt.d3) & IPV6_SCOPE_BITS
      const first = usable6(this.#host.devices.byIndex[pkt.iif], scope)
      if (first === null) return Verdict.Drop
      const [w0, w1, w2, w3] = first.words
      this.#range.address(w0, w1, w2, w3)
    }
    return this.#setup(pkt.ct, Manip.Dst)
  }

  /**
   * An address left a device (null: the device went down): connections of its family masqueraded behind it end
   * (masq_inet_event, masq_inet6_event, masq_device_event).
   */
  addressGone(device: number, family: Family = 4, words: Words | null = null): void {
    const { table } = this.#conntrack
    table.forEach((entry) => {
      const w = table.words
      const o = entry * STRIDE
      if (w[o + NAT] !== device) return
      if (
        words === null ||
        ((w[o + META]! & 0xff) === family && isAddress(w, o + TUPLE_WORDS, DST, ...words))
      )
        this.#conntrack.kill(entry)
    })
  }
}

/** What masq_inet_event() compares with: of a point-to-point address the far end. */
const gone = (address: Address): Words =>
  address.family === 4 ? [address.peer ?? address.words[0], 0, 0, 0] : address.words

/** nf_nat_redirect_ipv6_usable. `scope`: bits of ipv6AddressType(), 0 any. */
function usable6(device: Device | undefined, scope: number): Address | null {
  if (device === undefined) return null
  for (const address of device.addresses) {
    if (address.family !== 6) continue
    const [w0, w1, w2, w3] = address.words
    const type = ipv6AddressType(w0, w1, w2, w3)
    if ((type & Ipv6Address.Mapped) === 0 && (scope === 0 || (type & scope) !== 0)) return address
  }
  return null
}

const INADDR_LOOPBACK = 0x7f000001

const isIpv4 = (address: Address): boolean => address.family === 4

/** The network part is where the ends of the range agree. */
function mapNet(word: number, min: number, max: number): number {
  const host = min ^ max
  return (word & host) | (min & ~host)
}
