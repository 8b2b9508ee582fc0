// Where a packet meets conntrack (nf_conntrack_in, nf_confirm and ipv4_conntrack_defrag, Linux 6.18).
//
//     PREROUTING, OUTPUT:    defrag(-400)  raw(-300)  in(-200)
//     INPUT, POSTROUTING:    ... everything else ...  confirm(last)

import { DefragUser } from '../datapath/fragments.ts'
import { Hook, type HookEntry, type HookFn, Priority, Verdict } from '../datapath/hooks.ts'
import { DefragUser6 } from '../datapath/ipv6/fragments.ts'
import { CtInfo, type Family, type Packet } from '../datapath/packet.ts'
import { isExtension, NEXTHDR_ROUTING, skipHeaders, skipped } from '../datapath/wire/ipv6-headers.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../datapath/wire/protocol.ts'
import type { Conntrack } from './conntrack.ts'
import { icmpError } from './icmp-errors.ts'
import {
  Event,
  HELPER,
  MAX_CHAINLEN,
  META,
  MIN_CHAINLEN,
  noteEvents,
  STATUS,
  STRIDE,
  Status,
  TOO_LONG,
  zoneOf,
} from './table.ts'
import { Tracked } from './trackers/tracker.ts'

/** The hooks of one family, to be registered while conntrack is needed. */
export function conntrackHooks(ct: Conntrack, family: Family): HookEntry[] {
  const entry = (name: string, hook: Hook, priority: number, run: HookFn): HookEntry => ({
    name,
    family,
    hook,
    priority,
    run,
    recordable: true,
  })
  const confirmPacket: HookFn = (pkt) => confirm(ct, pkt)
  const first = family === 4 ? defrag : defrag6
  return [
    entry('defrag', Hook.PreRouting, Priority.Defrag, (pkt) => first(ct, pkt, Hook.PreRouting)),
    entry('defrag', Hook.LocalOut, Priority.Defrag, (pkt) => first(ct, pkt, Hook.LocalOut)),
    entry('conntrack', Hook.PreRouting, Priority.Conntrack, (pkt) => track(ct, pkt, Hook.PreRouting)),
    entry('conntrack', Hook.LocalOut, Priority.Conntrack, (pkt) =>
      family === 4 && isFragment(pkt) ? skip(pkt) : track(ct, pkt, Hook.LocalOut),
    ),
    entry('confirm', Hook.LocalIn, Priority.ConntrackConfirm, confirmPacket),
    entry('confirm', Hook.PostRouting, Priority.ConntrackConfirm, confirmPacket),
  ]
}

const isFragment = (pkt: Packet): boolean => pkt.moreFragments || pkt.fragOffset !== 0

/** A fragment that the sender wanted untouched: a template must not fool who comes later. */
function skip(pkt: Packet): Verdict {
  pkt.ctTemplate = null
  return Verdict.Accept
}

/** ipv4_conntrack_defrag: gathers fragments; each hook and zone has queues of its own. Hot. */
function defrag(ct: Conntrack, pkt: Packet, hook: Hook): Verdict {
  if (!isFragment(pkt) || pkt.ctInfo === CtInfo.Untracked) return Verdict.Accept
  // nf_ct_defrag_user; raw comes later, so that only a packet from loopback has a zone already.
  const user = hook === Hook.PreRouting ? DefragUser.ConntrackIn : DefragUser.ConntrackOut
  const zone = pkt.ct < 0 ? 0 : zoneOf(ct.table.words, pkt.ct * STRIDE, ct.direction(pkt))
  return ct.host.fragments.defrag(pkt, user + zone)
}

/** ipv6_defrag: the same, but a packet that has its entry from before loopback is left alone. Hot. */
function defrag6(ct: Conntrack, pkt: Packet, hook: Hook): Verdict {
  if (pkt.ct >= 0 || pkt.ctInfo === CtInfo.Untracked) return Verdict.Accept
  return ct.host.fragments6.defrag(
    pkt,
    hook === Hook.PreRouting ? DefragUser6.ConntrackIn : DefragUser6.ConntrackOut,
  )
}

/**
 * A packet whose headers ipv6_find_hdr() does not get through. ipv6_skip_exthdr() takes two bytes for a whole routing
 * header: what that names is the protocol then, though nothing of it is there.
 */
function trackCut(ct: Conntrack, pkt: Packet, hook: Hook): Verdict {
  const { proto, l4 } = pkt
  if (proto !== NEXTHDR_ROUTING || pkt.fragOffset !== 0) return invalid(ct, pkt)
  const at = skipHeaders(ct.host.memory.view, pkt.l3, pkt.end)
  if (at < 0) return invalid(ct, pkt)
  pkt.proto = skipped.next
  pkt.l4 = at
  const verdict = track(ct, pkt, hook)
  pkt.proto = proto
  pkt.l4 = l4
  return verdict
}

/** A template is of no use to a packet without a connection. */
function invalid(ct: Conntrack, pkt: Packet): Verdict {
  if (pkt.ctTemplate !== null) {
    pkt.ctTemplate = null
    pkt.ctInfo = 0
  }
  ct.stats.invalid++
  return Verdict.Accept
}

/** nf_conntrack_in: finds or makes the packet's entry and lets the tracker judge. Hot: does not allocate. */
export function track(ct: Conntrack, pkt: Packet, hook: Hook): Verdict {
  // Seen before: it came over loopback, was made for a connection, or is not to be tracked.
  if (pkt.ct >= 0 || pkt.ctInfo === CtInfo.Untracked) return Verdict.Accept
  const template = pkt.ctTemplate
  const { proto } = pkt
  const { stats } = ct

  // No upper header: there is none, or the chain of extension headers is cut short (ipv6_skip_exthdr).
  if (pkt.fragOffset !== 0 || (pkt.family === 6 && isExtension(proto))) return trackCut(ct, pkt, hook)
  // An answer to an untracked packet keeps its RELATED without an entry (attach): as an ICMP error it stays so.
  if (template !== null) {
    pkt.ctTemplate = null
    pkt.ctInfo = 0
  }
  if (proto === IPPROTO_ICMP || proto === IPPROTO_ICMPV6) {
    const result = icmpError(ct, pkt, template, hook)
    if (result !== Tracked.Accept) {
      stats.error++
      return Verdict.Accept
    }
    // It quotes a connection, or belongs to none.
    if (pkt.ct >= 0 || pkt.ctInfo !== 0) return Verdict.Accept
  }

  for (;;) {
    // The flow cache may have had the tracker's word already.
    const judged = ct.judged === pkt
    const handle = judged ? ct.takeJudgement(pkt) : ct.resolve(pkt, template)
    if (handle < 0) {
      if (handle === -1) {
        stats.invalid++
        return Verdict.Accept
      }
      stats.drop++
      return Verdict.Drop
    }
    const result = judged ? ct.judgement : ct.track(pkt, handle, hook)
    if (result > 0) {
      if ((handle & 1) !== 0) seenReply(ct, (handle >> 1) * STRIDE)
      return Verdict.Accept
    }
    ct.release(pkt)
    if (result === Tracked.Repeat) continue
    stats.invalid++
    if (result !== Tracked.Drop) return Verdict.Accept
    stats.drop++
    return Verdict.Drop
  }
}

/** nf_confirm: the packet leaves the host or reaches it, so its connection is real. Hot: does not allocate. */
export function confirm(ct: Conntrack, pkt: Packet): Verdict {
  const entry = pkt.ct
  if (entry < 0) return Verdict.Accept
  const w = ct.table.words
  const o = entry * STRIDE
  const status = w[o + STATUS]!
  if (w[o + HELPER] !== 0 || (status & Status.SeqAdjust) !== 0) {
    const verdict = help(ct, pkt, entry, status)
    if (verdict !== Verdict.Accept) return verdict
  }
  const verdict = (status & Status.Confirmed) !== 0 ? Verdict.Accept : confirmNew(ct, pkt, entry)
  if (ct.flows.recording) ct.flows.confirmed(pkt)
  if (ct.events.listening && pkt.ct >= 0 && verdict === Verdict.Accept) ct.events.tell(pkt.ct)
  return verdict
}

/** The first packet of the reply direction. Hot. */
export function seenReply(ct: Conntrack, o: number): void {
  const w = ct.table.words
  const status = w[o + STATUS]!
  if ((status & Status.SeenReply) !== 0) return
  w[o + STATUS] = status | Status.SeenReply
  noteEvents(w, o, Event.Reply)
}

/** The helper's turn, and the sequence numbers that NAT helpers moved. Errors that quote the connection are spared. */
function help(ct: Conntrack, pkt: Packet, entry: number, status: number): Verdict {
  if (pkt.ctInfo === CtInfo.RelatedReply) return Verdict.Accept
  const dir = ct.direction(pkt)
  const verdict = (ct.helpers.of(entry)?.help(pkt, entry, dir) ?? Verdict.Accept) as Verdict
  if (verdict !== Verdict.Accept) return verdict
  if ((status & Status.SeqAdjust) === 0 || ct.host.devices.byIndex[pkt.iif]?.loopback === true)
    return Verdict.Accept
  if (ct.sequences.adjust(pkt, entry, dir)) return Verdict.Accept
  ct.stats.drop++
  return Verdict.Drop
}

/** __nf_conntrack_confirm. */
function confirmNew(ct: Conntrack, pkt: Packet, entry: number): Verdict {
  // An error or RST made for an unconfirmed connection does not confirm it.
  if (pkt.ctInfo >= CtInfo.EstablishedReply) return Verdict.Accept
  const { table, stats } = ct
  if ((table.words[entry * STRIDE + STATUS]! & Status.Dying) !== 0) {
    stats.insertFailed++
    return Verdict.Drop
  }
  const limit =
    MIN_CHAINLEN + (table.confirmed < MIN_CHAINLEN ? 0 : (ct.host.random.i32() >>> 0) % MAX_CHAINLEN)
  let clash = table.findClash(entry, 0, limit)
  if (clash === -1) clash = table.findClash(entry, 1, limit)
  if (clash === TOO_LONG) {
    stats.chainTooLong++
    stats.insertFailed++
    return Verdict.Drop
  }
  if (clash >= 0) return resolveClash(ct, pkt, entry, clash >> 1)
  // The timeout runs from here.
  table.setExpires(entry, table.expiresAt(entry) + ct.host.now)
  ct.insert(entry, true)
  return Verdict.Accept
}

/** nf_ct_resolve_clash: an entry in the hash already has one of the tuples. */
function resolveClash(ct: Conntrack, pkt: Packet, loser: number, winner: number): Verdict {
  const { table, stats } = ct
  const protocol = table.words[winner * STRIDE + META]! >> 8
  if (ct.tracker(protocol).allowClash) {
    if (merge(ct, pkt, loser, winner)) return Verdict.Accept
    // nf_ct_resolve_clash_harder: only the reply must be unique. The entry then sees replies only, and not for long.
    const taken = table.findClash(loser, 1, Number.MAX_SAFE_INTEGER)
    if (taken < 0) {
      table.setExpires(loser, ct.host.now + 1000)
      table.words[loser * STRIDE + STATUS]! |= Status.FixedTimeout | Status.NatClash
      ct.insert(loser, false)
      stats.clashResolve++
      return Verdict.Accept
    }
    if (merge(ct, pkt, loser, taken >> 1)) return Verdict.Accept
  }
  stats.drop++
  stats.insertFailed++
  return Verdict.Drop
}

/** __nf_ct_resolve_clash: both are the same flow, or the same seen from the other side: the packet joins the winner. */
function merge(ct: Conntrack, pkt: Packet, loser: number, winner: number): boolean {
  const { table } = ct
  const same = table.equalTuples(winner, 0, loser, 0) && table.equalTuples(winner, 1, loser, 1)
  const reverse = table.equalTuples(winner, 0, loser, 1) && table.equalTuples(winner, 1, loser, 0)
  if (!same && !reverse) return false
  const info = pkt.ctInfo
  if (ct.packets(loser, 0) >= 0) ct.core.account(winner, ct.direction(pkt), pkt.length)
  ct.release(pkt)
  ct.hold(pkt, winner, info)
  ct.stats.clashResolve++
  return true
}
