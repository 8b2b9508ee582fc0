// Entries as ctnetlink tells them to programs and takes them from programs (nf_conntrack_netlink.c, Linux 6.18).
//
//     entry  --describe-->  Flow          what a dump, an answer or an event says
//     Flow   --create, change, find-->    entry, or a negative errno
//
// A Flow holds only what was said: an attribute that is missing is not there, as in the message.

import { type Family, Packet } from '../datapath/packet.ts'
import type { AddressWords } from '../datapath/wire/address.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP } from '../datapath/wire/protocol.ts'
import type { Conntrack } from './conntrack.ts'
import { Errno } from './errno.ts'
import { ExpectFlag } from './expect.ts'
import type { Nat } from './nat/nat.ts'
import { Manip, singleRange } from './nat/range.ts'
import {
  CTMARK,
  clearEvents,
  DST,
  type EntryTable,
  Event,
  EXTENSIONS,
  Extension,
  LABELS,
  MASTER,
  META,
  PORTS,
  SECMARK,
  SRC,
  STATUS,
  STRIDE,
  Status,
  wordOf,
  zoneOf,
} from './table.ts'
import { invert, Tuple } from './tuple.ts'

export type Words = AddressWords

/** One direction of a Flow. */
export interface FlowTuple {
  family?: Family | undefined
  protocol?: number | undefined
  src?: Words | undefined
  dst?: Words | undefined
  /** Ports, or GRE keys. */
  sport?: number | undefined
  dport?: number | undefined
}

export interface Flow {
  readonly orig: FlowTuple
  readonly reply: FlowTuple
  icmpType?: number | undefined
  icmpCode?: number | undefined
  icmpId?: number | undefined
  /** Of the answers; the original's are above. The identifiers differ behind source NAT. */
  replyIcmpType?: number | undefined
  replyIcmpId?: number | undefined
  /** Seconds. */
  timeout?: number | undefined
  /** Number of the tracker's state. */
  state?: number | undefined
  /** TCP windows are not to be checked any more: `conntrack -p tcp` says so with every change. */
  liberal?: boolean | undefined
  /** SCTP verification tags, original and reply. */
  tags?: readonly [number, number] | undefined
  status?: number | undefined
  mark?: number | undefined
  secmark?: number | undefined
  zone?: number | undefined
  origZone?: number | undefined
  replyZone?: number | undefined
  /** Packets and bytes, original and reply. */
  counters?: readonly [number, number, number, number] | undefined
  /** ms since 1970. */
  start?: number | undefined
  stop?: number | undefined
  helper?: string | undefined
  /** Bits of the connlabels that are set. */
  labels?: readonly number[] | undefined
  use?: number | undefined
  id?: number | undefined
}

/** What a report of a change made by a program says (ctnetlink_new_conntrack). */
const REPORTED =
  Event.Reply | Event.Assured | Event.Helper | Event.ProtoInfo | Event.SeqAdjust | Event.Mark | Event.Synproxy

/** Longest timeout in seconds: INT_MAX jiffies at 250 a second. */
const MAX_TIMEOUT = 0x7fffffff / 250

/** Status bits that a program cannot change (IPS_UNCHANGEABLE_MASK). */
const UNCHANGEABLE =
  Status.SrcNat |
  Status.DstNat |
  Status.SrcNatDone |
  Status.DstNatDone |
  Status.Expected |
  Status.Confirmed |
  Status.Dying |
  Status.SeqAdjust |
  Status.Template |
  Status.Offload |
  0x8000

/**
 * What is said of an entry. `events`: null for a dump or an answer (ctnetlink_fill_info), the bits of an event
 * (ctnetlink_conntrack_event), which leaves out what did not change.
 */
export function describe(ct: Conntrack, entry: number, events: number | null = null): Flow {
  const { words } = ct.table
  const o = entry * STRIDE
  const destroyed = events !== null && (events & Event.Destroy) !== 0
  const original = ct.table.readTuple(entry, 0, new Tuple())
  const reply = ct.table.readTuple(entry, 1, new Tuple())
  const flow: Flow = { orig: flowTuple(original), reply: flowTuple(reply) }
  if (original.protocol === IPPROTO_ICMP || original.protocol === IPPROTO_ICMPV6) {
    flow.icmpType = (original.ports >>> 8) & 0xff
    flow.icmpCode = original.ports & 0xff
    flow.icmpId = original.ports >>> 16
    flow.replyIcmpType = (reply.ports >>> 8) & 0xff
    flow.replyIcmpId = reply.ports >>> 16
  }
  const zone0 = zoneOf(words, o, 0)
  const zone1 = zoneOf(words, o, 1)
  if (zone0 === zone1) flow.zone = zone0 === 0 ? undefined : zone0
  else if (zone0 !== 0) flow.origZone = zone0
  else flow.replyZone = zone1
  flow.status = words[o + STATUS]! & 0xffff
  flow.id = entryId(ct, entry)
  const timeout = ct.remaining(entry)
  if (!destroyed || timeout !== 0) flow.timeout = timeout
  if (events === null || destroyed) {
    if (ct.packets(entry, 0) >= 0)
      flow.counters = [ct.packets(entry, 0), ct.bytes(entry, 0), ct.packets(entry, 1), ct.bytes(entry, 1)]
    const started = ct.startedAt(entry)
    if (started >= 0) {
      flow.start = started
      if (destroyed) flow.stop = ct.host.wall
    }
  }
  if (events === null || (events & (Event.Destroy | Event.ProtoInfo)) !== 0) {
    const tracker = ct.trackerOf(entry)
    flow.state = tracker.stateNumber?.(entry)
    if (!destroyed) flow.tags = tracker.tags?.(entry)
  }
  const mark = ct.mark(entry)
  if (events === null || (events & Event.Mark) !== 0 || mark !== 0) flow.mark = mark
  const secmark = ct.table.extraOf(entry, SECMARK) >>> 0
  if (secmark !== 0 && !destroyed) flow.secmark = secmark
  if (!destroyed) {
    const helper = ct.helpers.of(entry)
    if (helper !== null && helper.name !== '') flow.helper = helper.name
  }
  if (!destroyed && (words[o + EXTENSIONS]! & Extension.Labels) !== 0)
    flow.labels = labelBits(ct.table, entry)
  if (events === null) flow.use = ct.references(entry)
  return flow
}

function labelBits(table: EntryTable, entry: number): number[] {
  const bits: number[] = []
  for (let bit = 0; bit < 128; bit++)
    if ((table.extraOf(entry, LABELS + (bit >> 5)) & (1 << (bit & 31))) !== 0) bits.push(bit)
  return bits
}

function flowTuple(t: Tuple): FlowTuple {
  return {
    family: t.family,
    protocol: t.protocol,
    src: [t.s0, t.s1, t.s2, t.s3],
    dst: [t.d0, t.d1, t.d2, t.d3],
    sport: t.ports >>> 16,
    dport: t.ports & 0xffff,
  }
}

const NOWHERE: Words = [0, 0, 0, 0]

/** The tuple that a message means (ctnetlink_parse_tuple); a negative errno if it says too little. */
export function tupleFrom(side: FlowTuple, flow: Flow, family: Family | 0, reply: boolean): Tuple | number {
  if (family === 0) return Errno.NotSupported
  if (side.family !== family) return Errno.Invalid
  // The library sends both addresses where one is known.
  const { src = NOWHERE, dst = NOWHERE, protocol = 0 } = side
  const t = new Tuple()
  t.s0 = src[0]
  t.s1 = src[1]
  t.s2 = src[2]
  t.s3 = src[3]
  t.d0 = dst[0]
  t.d1 = dst[1]
  t.d2 = dst[2]
  t.d3 = dst[3]
  t.meta = (protocol << 8) | family
  if (protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6) {
    const type = (reply ? (flow.replyIcmpType ?? flow.icmpType) : flow.icmpType) ?? 0
    t.ports = ((flow.icmpId ?? 0) << 16) | (type << 8) | (flow.icmpCode ?? 0)
    if (!invert(t, new Tuple())) return Errno.Invalid
  } else if (PORTED.has(protocol)) t.ports = ((side.sport ?? 0) << 16) | (side.dport ?? 0)
  return t
}

/** Not DCCP: no tracker of its own since 6.16. */
const PORTED = new Set([6, 17, 47, 132, 136])

/** Ports are told of the protocol's entries. */
export const hasPorts = (protocol: number): boolean => PORTED.has(protocol)

/** The zones of the two directions that a message asks for; null: one behind another (ctnetlink_parse_tuple_zone). */
function zones(flow: Flow): readonly [number, number] | null {
  const asked = [flow.zone, flow.origZone, flow.replyZone].filter((z) => z !== undefined)
  if (asked.slice(0, -1).some((z) => z !== 0)) return null
  const both = flow.zone ?? 0
  return [both || (flow.origZone ?? 0), both || (flow.replyZone ?? 0)]
}

/**
 * The entry that a message names by its original tuple, or its reply tuple (ctnetlink_get_conntrack): its number, or
 * a negative errno.
 */
export function find(ct: Conntrack, flow: Flow, family: Family | 0): number {
  const byOriginal = isSaid(flow.orig)
  if (!byOriginal && !isSaid(flow.reply)) return Errno.Invalid
  const t = tupleFrom(byOriginal ? flow.orig : flow.reply, flow, family, !byOriginal)
  if (typeof t === 'number') return t
  const zone = zones(flow)
  if (zone === null) return Errno.Invalid
  const handle = ct.findInZones(t, zone[0], zone[1])
  return handle < 0 ? Errno.NoEntry : handle >> 1
}

const isSaid = (t: FlowTuple): boolean => t.family !== undefined || t.protocol !== undefined

/** ctnetlink_create_expect: 0 or a negative errno. The master is named by `master`'s original tuple. */
export function createExpectation(
  ct: Conntrack,
  wish: { readonly master: Flow; readonly expected: FlowTuple; readonly mask: FlowTuple },
  timeout: number,
  family: Family | 0,
): number {
  const { master, expected, mask } = wish
  const tuple = tupleFrom(expected, master, family, false)
  if (typeof tuple === 'number') return tuple
  if (mask.src === undefined || mask.dst === undefined) return Errno.Invalid
  const entry = find(ct, master, family)
  if (entry < 0) return entry
  const helper = ct.helpers.of(entry)
  if (helper === null) return Errno.NotSupported
  const [s0, s1, s2, s3] = mask.src
  const made = ct.expectations.add(
    {
      master: entry,
      tuple,
      mask: { s0, s1, s2, s3, port: mask.sport ?? 0 },
      class: 0,
      helper: 0,
      flags: ExpectFlag.Userspace,
      name: helper.name,
      expires: ct.host.now + timeout * 1000,
      onMatch: null,
    },
    ct.host.now,
  )
  return made
}

/** Addresses and ports of CTA_NAT_SRC and CTA_NAT_DST. */
export interface NatWish {
  readonly address: Words
  readonly port: number | null
}

/**
 * Makes an entry (ctnetlink_create_conntrack). `report`: number of the program, for its own events. The entry, or a
 * negative errno.
 */
export function create(
  ct: Conntrack,
  nat: Nat,
  flow: Flow,
  family: Family | 0,
  wish: { readonly src: NatWish | null; readonly dst: NatWish | null },
  report: number,
): number {
  const original = tupleFrom(flow.orig, flow, family, false)
  if (typeof original === 'number') return original
  const reply = tupleFrom(flow.reply, flow, family, true)
  if (typeof reply === 'number') return reply
  // Such tuples can be asked for, but no entry has them.
  if (original.protocol === (family === 4 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) return Errno.Invalid
  const zone = zones(flow)
  if (zone === null || flow.timeout === undefined || original.protocol !== reply.protocol)
    return Errno.Invalid
  original.zone = zone[0]
  reply.zone = zone[1]
  const entry = ct.createEntry(original, reply)
  if (entry < 0) return Errno.NoMemory
  const { table } = ct
  const o = entry * STRIDE
  if (wish.src !== null || wish.dst !== null) {
    const pkt = new Packet()
    pkt.ct = entry
    for (const [manip, asked] of [
      [Manip.Dst, wish.dst],
      [Manip.Src, wish.src],
    ] as const) {
      const address = asked === null ? ownAddress(ct, entry, manip) : asked.address
      const port = asked?.port ?? null
      nat.setup(pkt, singleRange(address, port), manip)
    }
  }
  const failed = flow.status === undefined ? 0 : changeStatus(ct, entry, flow.status, Status.Confirmed)
  if (failed !== 0) {
    ct.abandon(entry)
    return failed
  }
  ct.trackerOf(entry).assign?.(entry, flow.state ?? null, flow.tags ?? null)
  if (flow.mark !== undefined) table.words[o + CTMARK] = flow.mark
  if (table.findClash(entry, 0, 1000) !== -1 || table.findClash(entry, 1, 1000) !== -1) {
    ct.abandon(entry)
    return Errno.Exists
  }
  table.setExpires(entry, ct.host.now + Math.min(flow.timeout, MAX_TIMEOUT) * 1000)
  ct.stats.insert++
  ct.insert(entry, true)
  clearEvents(table.words, o)
  ct.events.report(entry, Event.New | REPORTED, report)
  return entry
}

function ownAddress(ct: Conntrack, entry: number, manip: Manip): Words {
  const reply = ct.table.readTuple(entry, 1, new Tuple())
  return manip === Manip.Src
    ? [reply.d0, reply.d1, reply.d2, reply.d3]
    : [reply.s0, reply.s1, reply.s2, reply.s3]
}

/** nf_ct_change_status_common: 0, or -EBUSY. `known`: bits that both sides have anyway. */
function changeStatus(ct: Conntrack, entry: number, status: number, known: number): number {
  const { words } = ct.table
  const at = entry * STRIDE + STATUS
  const old = words[at]! | known
  const differs = old ^ (status | Status.Confirmed)
  if ((differs & (Status.Expected | Status.Confirmed | Status.Dying)) !== 0) return Errno.Busy
  if ((differs & ~status & (Status.SeenReply | Status.Assured)) !== 0) return Errno.Busy
  words[at] = words[at]! | (status & ~UNCHANGEABLE)
  return 0
}

/** ctnetlink_change_conntrack: 0 or a negative errno; what was changed before the failure stays. */
export function change(ct: Conntrack, entry: number, flow: Flow, natAsked: boolean, report: number): number {
  const failed = changed(ct, entry, flow, natAsked)
  if (failed === 0) ct.events.report(entry, REPORTED, report)
  return failed
}

/** Of `flow.labels` only none can be asked for: no label has a name. */
function changed(ct: Conntrack, entry: number, flow: Flow, natAsked: boolean): number {
  if (natAsked) return Errno.NotSupported
  const { words } = ct.table
  const o = entry * STRIDE
  if (flow.timeout !== undefined) {
    if ((words[o + STATUS]! & Status.FixedTimeout) !== 0) return Errno.Perm
    ct.core.expireIn(entry, Math.min(flow.timeout, MAX_TIMEOUT) * 1000)
  }
  if (flow.status !== undefined) {
    const failed = changeStatus(ct, entry, flow.status, 0)
    if (failed !== 0) return failed
  }
  // sctp: nlattr_to_sctp wants all three, or nothing.
  if (flow.orig.protocol === IPPROTO_SCTP && (flow.state === undefined) !== (flow.tags === undefined))
    return Errno.Invalid
  if (flow.state !== undefined || flow.tags !== undefined || flow.liberal === true)
    ct.trackerOf(entry).assign?.(entry, flow.state ?? null, flow.tags ?? null)
  if (flow.mark !== undefined) words[o + CTMARK] = flow.mark
  if (flow.labels !== undefined) for (let i = 0; i < 4; i++) ct.table.setExtra(entry, LABELS + i, 0)
  return 0
}

/** Number that names an entry for its lifetime (nf_ct_get_id); unsigned 32 bit. */
export function entryId(ct: Conntrack, entry: number): number {
  const w = ct.table.words
  const o = entry * STRIDE
  let h = Math.imul(entry + 1, 0x9e3779b1) ^ Math.imul(w[o + MASTER]!, 0x85ebca6b)
  for (const at of [SRC, DST])
    for (let i = 0; i < 4; i++) h = Math.imul(h ^ (h >>> 15) ^ w[o + wordOf(at, i)]!, 0xc2b2ae35)
  for (const at of [PORTS, META]) h = Math.imul(h ^ (h >>> 15) ^ w[o + at]!, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 13) ^ Math.floor(ct.table.born[entry]!), 0x27d4eb2f)
  return (h ^ (h >>> 16)) >>> 0
}
