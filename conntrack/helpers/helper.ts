// What an application helper is, and what helpers share: reading tuples, announcing connections, moving ports.
//
//     packet of a master ──> help() ──> announce() ──> expectation ──> its first packet is RELATED to the master
//                              └─ the master is translated: movePort() finds a port that is free outside too, the
//                                 payload is rewritten (mangle.ts), followMaster() will bind what comes
//
// A helper is rare: its code may allocate. A connection without one does not come here.

import { Verdict } from '../../datapath/hooks.ts'
import type { Family, Packet } from '../../datapath/packet.ts'
import { ensureWritable } from '../../datapath/rewrite.ts'
import type { AddressWords } from '../../datapath/wire/address.ts'
import { TCP_HEADER_LEN, tcpHeaderLength } from '../../datapath/wire/tcp.ts'
import type { Conntrack } from '../conntrack.ts'
import { type Expectation, ExpectError, type ExpectPolicy } from '../expect.ts'
import { Manip, singleRange } from '../nat/range.ts'
import { addressAt, DST, META, PORTS, SRC, STATUS, STRIDE, Status, TUPLE_WORDS } from '../table.ts'
import { Tuple } from '../tuple.ts'

/** An application helper (nf_conntrack_helper): reads a protocol and expects connections. */
export interface Helper {
  readonly name: string
  readonly family: Family
  readonly protocol: number
  /** By expectation class; absent: one class, no limit. */
  readonly policies?: readonly ExpectPolicy[]
  /** Sees each packet of its connections before it is confirmed. A Verdict. */
  help(pkt: Packet, entry: number, dir: number): number
  /** The entry ends. */
  destroy?(entry: number): void
  /** The entry is freed: what the helper knows of it goes. */
  forget?(entry: number): void
}

/** A helper's file: what CT --helper may name, and how it is made for a host. */
export interface HelperKind {
  readonly name: string
  readonly families: readonly Family[]
  readonly protocols: readonly number[]
  create(ct: Conntrack): Pick<Helper, 'policies' | 'help' | 'destroy' | 'forget'>
}

/** One helper for each family and protocol of its kind; they share what they know. */
export function helpersOf(kind: HelperKind, ct: Conntrack): Helper[] {
  const parts = kind.create(ct)
  return kind.families.flatMap((family) =>
    kind.protocols.map((protocol) => ({ ...parts, name: kind.name, family, protocol })),
  )
}

export type Words = AddressWords

export const BOTH: readonly Family[] = [4, 6]

/** NF_NAT_MANIP_SRC or _DST was needed for this connection (IPS_NAT_MASK). */
export const isTranslated = (ct: Conntrack, entry: number): boolean =>
  (ct.table.words[entry * STRIDE + STATUS]! & (Status.SrcNat | Status.DstNat)) !== 0

export const familyOf = (ct: Conntrack, entry: number): Family =>
  (ct.table.words[entry * STRIDE + META]! & 0xff) as Family

/** The connection's protocol; an error about it has another one. */
export const protocolOf = (ct: Conntrack, entry: number): number =>
  ct.table.words[entry * STRIDE + META]! >> 8

/** Addresses of the tuple of a direction. */
export const sourceOf = (ct: Conntrack, entry: number, dir: number): Words =>
  addressAt(ct.table.words, entry * STRIDE + dir * TUPLE_WORDS, SRC)
export const destinationOf = (ct: Conntrack, entry: number, dir: number): Words =>
  addressAt(ct.table.words, entry * STRIDE + dir * TUPLE_WORDS, DST)
/** Ports of the tuple of a direction. */
export const sourcePortOf = (ct: Conntrack, entry: number, dir: number): number =>
  ct.table.words[entry * STRIDE + dir * TUPLE_WORDS + PORTS]! >>> 16
export const destinationPortOf = (ct: Conntrack, entry: number, dir: number): number =>
  ct.table.words[entry * STRIDE + dir * TUPLE_WORDS + PORTS]! & 0xffff

export const sameWords = (a: Words, b: Words): boolean =>
  a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3]

/** skb_linearize(): the packet is in one piece from now on; a reassembled one leaves in pieces of the MTU. */
export function linearize(pkt: Packet): void {
  if (!pkt.isNonlinear && pkt.fragList === null) return
  ensureWritable(pkt, pkt.end - pkt.l3)
  pkt.fragList = null
}

/** Where TCP's data begin, an absolute offset; -1: no whole header, or no data. */
export function tcpData(ct: Conntrack, pkt: Packet): number {
  const { l4, end } = pkt
  if (l4 + TCP_HEADER_LEN > end) return -1
  const data = l4 + tcpHeaderLength(ct.host.memory.view, l4)
  return data >= end ? -1 : data
}

export interface Announcement {
  readonly class?: number
  /** Null: from anywhere. */
  readonly source: Words | null
  readonly destination: Words
  readonly protocol: number
  /** Null: any. */
  readonly sport: number | null
  readonly dport: number
  readonly flags?: number
  /** Number of the new entry's helper + 1, 0 none. */
  readonly helper?: number
}

const ALL: Words = [-1, -1, -1, -1]
const NOTHING: Words = [0, 0, 0, 0]

/** nf_ct_expect_init(): an expectation of `master`'s helper, not announced yet. */
export function expectation(ct: Conntrack, master: number, a: Announcement): Expectation {
  const family = familyOf(ct, master)
  const [s0, s1, s2, s3] = a.source ?? NOTHING
  const [d0, d1, d2, d3] = a.destination
  const tuple = new Tuple()
  Object.assign(tuple, { s0, s1, s2, s3, d0, d1, d2, d3 })
  tuple.ports = ((a.sport ?? 0) << 16) | a.dport
  tuple.meta = (a.protocol << 8) | family
  const [m0, m1, m2, m3] = a.source === null ? NOTHING : family === 4 ? ([-1, 0, 0, 0] as const) : ALL
  return {
    master,
    tuple,
    mask: { s0: m0, s1: m1, s2: m2, s3: m3, port: a.sport === null ? 0 : 0xffff },
    class: a.class ?? 0,
    helper: a.helper ?? 0,
    flags: a.flags ?? 0,
    name: ct.helpers.of(master)?.name ?? '',
    expires: 0,
    onMatch: null,
    nat: null,
  }
}

/** nf_ct_expect_related(), under the policy of its class. ExpectError. `anyMaster`: NF_CT_EXP_F_SKIP_MASTER. */
export function announce(ct: Conntrack, e: Expectation, anyMaster = false): number {
  const policy = ct.helpers.of(e.master)?.policies?.[e.class]
  e.expires = ct.host.now + (policy?.seconds ?? 0) * 1000
  return ct.expectations.add(e, ct.host.now, policy?.max ?? 0, anyMaster)
}

export const setExpectedPort = (e: Expectation, port: number): void => {
  e.tuple.ports = (e.tuple.ports & ~0xffff) | port
}

/** Ports tried, the one asked for included (nf_nat_exp_find_port). */
const MAX_ATTEMPTS = 128

/** nf_nat_exp_find_port(): announces at `port` or, if that is taken, at a random one above it. The port, 0 none. */
export function announceAtFreePort(ct: Conntrack, e: Expectation, port: number): number {
  const range = 0xffff - port
  let left = Math.min(range, MAX_ATTEMPTS)
  let at = port
  for (;;) {
    setExpectedPort(e, at)
    const result = announce(ct, e)
    if (result === ExpectError.None) return at
    if (result !== ExpectError.Busy || --left < 0) return 0
    at = port + Math.floor(((ct.host.random.i32() >>> 0) / 0x100000000) * range)
  }
}

/** nf_ct_helper_log(): a packet that cannot be helped is dropped, and the log says why. */
export function refuse(ct: Conntrack, pkt: Packet, entry: number, why: string): Verdict {
  const { iif, oif } = pkt
  // The line names no devices.
  pkt.iif = pkt.oif = 0
  ct.core.onInvalid?.(pkt, `nf_ct_${ct.helpers.of(entry)?.name}: dropping packet: ${why} `)
  pkt.iif = iif
  pkt.oif = oif
  return Verdict.Drop
}

/** Announces, or drops the packet. */
export const announceOrRefuse = (ct: Conntrack, pkt: Packet, entry: number, e: Expectation): Verdict =>
  announce(ct, e) === ExpectError.None ? Verdict.Accept : refuse(ct, pkt, entry, CANNOT_EXPECT)

export const CANNOT_EXPECT = 'cannot add expectation'
export const ALL_PORTS = 'all ports in use'
export const CANNOT_MANGLE = 'cannot mangle packet'

/** nf_nat_setup_info() with one address. */
export function bind(ct: Conntrack, entry: number, manip: Manip, address: Words, port: number | null): void {
  ct.nat?.setupEntry(entry, singleRange(address, port), manip)
}

/** nf_nat_follow_master(): an expected connection is translated as its master is. */
export function followMaster(ct: Conntrack): (entry: number, e: Expectation) => void {
  return (entry, e) => {
    const dir = e.nat!.dir
    bind(ct, entry, Manip.Src, destinationOf(ct, e.master, 1 - dir), null)
    bind(ct, entry, Manip.Dst, sourceOf(ct, e.master, 1 - dir), e.nat!.port)
  }
}
