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

import { type Address, Scope } from '../../datapath/devices.ts'
import { Hook, type HookFn, Priority, Verdict } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import { CtInfo, type Family, type Packet } from '../../datapath/packet.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import type { Conntrack } from '../conntrack.ts'
import { DST, META, NAT, SRC, STATUS, STRIDE, Status, TUPLE_WORDS } from '../table.ts'
import { invert, Tuple } from '../tuple.ts'
import { Translator } from './manip.ts'
import { Manip, type NatRange, Range } from './range.ts'
import { UniqueTuple } from './unique.ts'

export { Manip, type NatRange } from './range.ts'

export class Nat {
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
    this.#unique = new UniqueTuple(conntrack, host.random)
    this.#translate = new Translator(host.memory, conntrack)
    conntrack.onDestroy = (entry) => this.#unique.sources.remove(entry)
    host.devices.listen({
      addressRemoved: (device, address) =>
        this.addressGone(address.family, device.index, address.peer ?? address.words[0]),
      linkChanged: (device) => {
        if (!device.up) this.addressGone(4, device.index)
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

  /** nf_nat_ipv4_fn and nf_nat_inet_fn for one hook. */
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

    /** Hot: does not allocate, does not throw. */
    const run: HookFn = (pkt) => {
      const entry = pkt.ct
      if (entry < 0) return Verdict.Accept
      const info = pkt.ctInfo
      if (info === CtInfo.Established || info === CtInfo.EstablishedReply) {
        if (out && info === CtInfo.Established && this.#deviceChanged(entry, pkt)) return Verdict.Drop
      } else {
        if (info !== CtInfo.New && pkt.proto === icmp) return translate.icmpError(pkt, manip)
        if ((table.words[entry * STRIDE + STATUS]! & done) === 0) {
          const verdict = this.#bind(pkt, manip, done, lookup)
          if (verdict !== Verdict.Accept) return verdict
        } else if (out && info !== CtInfo.RelatedReply && this.#deviceChanged(entry, pkt)) return Verdict.Drop
      }
      const dir = info >= CtInfo.EstablishedReply ? 1 : 0
      if ((table.words[entry * STRIDE + STATUS]! & (dir === 0 ? bit0 : bit1)) === 0) return Verdict.Accept
      return translate.packet(pkt, entry, dir, manip)
    }
    return family === 4 && hook === Hook.LocalOut ? this.#routedAnew(run) : run
  }

  /**
   * nf_nat_ipv4_local_fn: what this host sends in a connection whose destination is not what its replies come from is
   * routed anew, whether or not this packet was changed: an ICMP error about it is not.
   */
  #routedAnew(run: HookFn): HookFn {
    const { table } = this.#conntrack
    const { path } = this.#host
    return (pkt) => {
      const verdict = run(pkt)
      if (verdict !== Verdict.Accept || pkt.ct < 0) return verdict
      const dir = pkt.ctInfo >= CtInfo.EstablishedReply ? TUPLE_WORDS : 0
      const o = pkt.ct * STRIDE
      const same = table.words[o + dir + DST] === table.words[o + TUPLE_WORDS - dir + SRC]
      return same || path.reroute(pkt) ? Verdict.Accept : Verdict.Drop
    }
  }

  /**
   * NFQUEUE with --queue-bypass and nobody at the queue: the packet goes on, but as its verdict was not ACCEPT, a NAT
   * hook that asked its rules leaves the connection unbound, and asks them again for the next packet.
   */
  passOver(): Verdict {
    this.#passed = true
    return Verdict.Accept
  }

  /** First packet at a hook of this manip: the rules, or the null binding. */
  #bind(pkt: Packet, manip: Manip, done: number, lookup: HookFn | null): Verdict {
    const entry = pkt.ct
    if (lookup !== null) {
      this.#passed = false
      const verdict = lookup(pkt)
      if (verdict !== Verdict.Accept || this.#passed) return verdict
      if ((this.#conntrack.table.words[entry * STRIDE + STATUS]! & done) !== 0) return Verdict.Accept
    }
    // nf_nat_alloc_null_binding. From the reply: another manip may have been here already.
    const w = this.#conntrack.table.words
    const o = entry * STRIDE + TUPLE_WORDS + (manip === Manip.Src ? DST : SRC)
    this.#range.nothing().address(w[o]!, w[o + 1]!, w[o + 2]!, w[o + 3]!)
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
    // No source address yet: not for masquerading.
    if (table.words[o + SRC] === 0) return Verdict.Accept
    const towards = pkt.route?.gateway?.[0] || pkt.d0
    const source = this.#host.devices.selectAddress4(device, towards, Scope.Universe)
    if (source === 0) return Verdict.Drop
    this.#range.rules(range).address(source, 0, 0, 0)
    // The kernel's extension can be had only before the entry is confirmed.
    if ((table.words[o + STATUS]! & Status.Confirmed) === 0 || table.words[o + NAT] !== 0)
      table.words[o + NAT] = device.index
    return this.#setup(pkt.ct, Manip.Src)
  }

  /** nf_nat_redirect_ipv4: to this host, at the first address of the device it came in by. `hook`: its number. */
  redirect(pkt: Packet, range: NatRange, hook: number): Verdict {
    if (pkt.ct < 0) return Verdict.Accept
    this.#range.rules(range)
    if (hook === Hook.LocalOut) this.#range.address(INADDR_LOOPBACK, 0, 0, 0)
    else {
      const first = this.#host.devices.byIndex[pkt.iif]?.addresses.find(isIpv4)
      if (first === undefined) return Verdict.Drop
      this.#range.address(first.words[0], 0, 0, 0)
    }
    return this.#setup(pkt.ct, Manip.Dst)
  }

  /**
   * An address left a device (`word`; null: the device went down): connections masqueraded behind it end
   * (masq_inet_event, masq_device_event).
   */
  addressGone(family: Family, device: number, word: number | null = null): void {
    const { table } = this.#conntrack
    table.forEach((entry) => {
      const w = table.words
      const o = entry * STRIDE
      if (w[o + NAT] !== device || (w[o + META]! & 0xff) !== family) return
      if (word === null || w[o + TUPLE_WORDS + DST] === word) this.#conntrack.kill(entry)
    })
  }
}

const INADDR_LOOPBACK = 0x7f000001

const isIpv4 = (address: Address): boolean => address.family === 4

/** The network part is where the ends of the range agree. */
function mapNet(word: number, min: number, max: number): number {
  const host = min ^ max
  return (word & host) | (min & ~host)
}
