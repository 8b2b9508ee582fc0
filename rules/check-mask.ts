// What `ip6tables -C` of 1.8.9 compares. It makes its mask for a rule whose entry is as long as a pointer
// (make_delete_mask() with sizeof(fw) in check_entry() of ip6tables.c), so that what was meant for a byte of an extension's
// data says something of one 160 bytes before it. The last 160 bytes of a rule are compared under what lies behind the mask
// in memory, which is libiptc's copy of the rule asked for: few bytes of most rules say anything there.
//
//     rule     ip6t_entry 168 │ tcp 48 │ comment 288 │ target 40
//     mask          8 │ tcp 48 │ comment 288 │ target 40 │ malloc │ rule_head 64 │ ip6t_entry 168 │ …
//
// -D, and iptables, compare everything.

import { sameBase, sameData } from './equal.ts'
import type { Match, Target } from './extension.ts'
import { type AddressTest, type Asked, type ConntrackTest, NOTHING_ASKED } from './matches/conntrack.ts'
import type { HashLimit } from './matches/hashlimit.ts'
import type { Icmp } from './matches/icmp.ts'
import type { Limit } from './matches/limit.ts'
import type { Mark } from './matches/mark.ts'
import type { Ports, Range } from './matches/parts.ts'
import type { Recent } from './matches/recent.ts'
import type { SetMatch } from './matches/set.ts'
import type { StringMatch } from './matches/string.ts'
import type { Tcp } from './matches/tcp.ts'
import type { BaseMatch, Rule } from './model.ts'
import { RETURN_NOMATCH, SKIP_COUNTER_UPDATE, SKIP_SUBCOUNTER_UPDATE } from './sets/extensions.ts'
import type { SetUse } from './sets/rule.ts'
import type { Log } from './targets/log.ts'
import type { SetMark } from './targets/mark.ts'
import type { SetTarget } from './targets/set.ts'

/** sizeof(struct ip6t_entry) - sizeof(struct ip6t_entry *). */
const SHIFT = 160
/** XT_ALIGN(sizeof(struct xt_entry_match)), and of a target. */
const HEADER = 32

/** Bytes of the data of an extension's last revision that are neither 8 nor all the tool's: [all, the tool's]. */
const SIZES: Readonly<Record<string, number | readonly [number, number]>> = {
  ah: 16,
  bpf: [528, 520],
  cgroup: [528, 520],
  cluster: 16,
  comment: 256,
  connbytes: 24,
  connlimit: [32, 24],
  connmark: 16,
  conntrack: 168,
  dccp: 16,
  devgroup: 24,
  dst: 40,
  esp: 16,
  frag: 16,
  hashlimit: [312, 304],
  hbh: 40,
  helper: 40,
  ipcomp: 16,
  iprange: 72,
  ipvs: 40,
  limit: [40, 8],
  mac: 16,
  mark: 16,
  multiport: 48,
  nfacct: [40, 32],
  owner: 24,
  physdev: 72,
  policy: 312,
  quota: [24, 16],
  rateest: [72, 56],
  recent: 232,
  rt: 280,
  sctp: 296,
  set: 48,
  srh: 112,
  state: 168,
  statistic: [24, 12],
  string: [160, 152],
  tcp: 16,
  time: 24,
  u32: 1984,
  udp: 16,
}

/** A value with its place in the extension's data. Numbers are in the machine's order; anything else is compared whole. */
type Place = readonly [at: number, length: number, value: unknown]

const text = (at: number, value: string): Place[] =>
  [...value, '\0'].map((letter, i): Place => [at + i, 1, letter.charCodeAt(0)])

/** An address and its mask as they stand in memory. */
function addressBytes(test: AddressTest | undefined): Uint8Array {
  const bytes = new Uint8Array(32)
  const view = new DataView(bytes.buffer)
  for (const [i, word] of [...(test?.words ?? []), ...(test?.mask ?? [])].entries())
    view.setInt32(4 * i, word)
  return bytes
}

const ports = ({ sport, dport }: Ports): Place[] =>
  [...sport, ...dport].map((port, i): Place => [2 * i, 2, port])

/** XT_CONNTRACK_STATE_ALIAS: `-m state` is conntrack to the kernel. */
const STATE_ALIAS = 1 << 13

/** struct xt_conntrack_mtinfo3. */
function conntrack({ addresses, ports: tested, ...rest }: ConntrackTest, alias = 0): Place[] {
  const asked = [
    rest.state,
    rest.protocol,
    addresses.origsrc,
    addresses.origdst,
    addresses.replsrc,
    addresses.repldst,
    rest.status,
    rest.expires,
    tested.origsrcport,
    tested.origdstport,
    tested.replsrcport,
    tested.repldstport,
  ]
  const direction = rest.direction === null ? 0 : 1 << asked.length
  const given = asked.reduce((bits, one, i) => bits | (one === null ? 0 : 1 << i), direction)
  const inverted = asked.reduce((bits, one, i) => bits | (one?.invert ? 1 << i : 0), 0)
  return [
    [0, 32, addressBytes(addresses.origsrc?.value)],
    [32, 32, addressBytes(addresses.origdst?.value)],
    [64, 32, addressBytes(addresses.replsrc?.value)],
    [96, 32, addressBytes(addresses.repldst?.value)],
    [128, 4, rest.expires?.value[0] ?? 0],
    [132, 4, rest.expires?.value[1] ?? 0],
    [136, 2, rest.protocol?.value ?? 0],
    ...asked.slice(8).map((one, i): Place => [138 + 2 * i, 2, (one?.value as Range | undefined)?.[0] ?? 0]),
    [146, 2, given | alias],
    [148, 2, rest.direction === 'REPLY' ? inverted | direction : inverted],
    [150, 2, rest.state?.value ?? 0],
    [152, 2, rest.status?.value ?? 0],
    ...asked.slice(8).map((one, i): Place => [154 + 2 * i, 2, (one?.value as Range | undefined)?.[1] ?? 0]),
  ]
}

/** XT_HASHLIMIT_* bits. */
const hashMode = ({ keys, above, bytes, rateMatch }: HashLimit): number =>
  (keys.includes('dstip') ? 1 : 0) |
  (keys.includes('dstport') ? 2 : 0) |
  (keys.includes('srcip') ? 4 : 0) |
  (keys.includes('srcport') ? 8 : 0) |
  (above ? 0x10 : 0) |
  (bytes ? 0x20 : 0) |
  (rateMatch ? 0x40 : 0)

/** struct xt_set_info; null: IPSET_INVALID_ID. Bit 0 is IPSET_INV_MATCH, those of the dimensions follow. */
const setInfo = (at: number, use: SetUse | null, invert = false): Place[] => [
  [at, 2, use?.number ?? 0xffff],
  [at + 2, 1, use?.dirs.length ?? 0],
  [at + 3, 1, ((use?.bits ?? 0) << 1) | Number(invert)],
]

/** Data whose bytes one may meet under the mask. */
const PLACES: Readonly<Record<string, (data: never) => Place[]>> = {
  comment: ({ text: comment }: { readonly text: string }) => text(0, comment),
  conntrack: (data: ConntrackTest) => conntrack(data),
  hashlimit: (data: HashLimit) => [
    ...text(0, data.name),
    [256, 8, data.average],
    [264, 8, data.burst],
    [272, 4, hashMode(data)],
    [276, 4, data.size],
    [280, 4, data.max],
    [284, 4, data.gcInterval],
    [288, 4, data.expire],
    [292, 4, data.interval],
    [296, 1, data.sourceMask],
    [297, 1, data.destinationMask],
  ],
  icmp6: ({ type, codeMin, codeMax, invert }: Icmp) => [
    [0, 1, type],
    [1, 1, codeMin],
    [2, 1, codeMax],
    [3, 1, Number(invert)],
  ],
  limit: ({ period, burst }: Limit) => [
    [0, 4, period],
    [4, 4, burst],
  ],
  mark: ({ value, mask, invert }: Mark) => [
    [0, 4, value],
    [4, 4, mask],
    [8, 1, Number(invert)],
  ],
  recent: ({ name, side, mask, seconds, hitcount, ...rest }: Recent) => [
    [0, 4, seconds],
    [4, 4, hitcount],
    [8, 2, rest],
    ...text(10, name),
    [210, 22, [side, mask]],
  ],
  // struct xt_set_info_match_v4; IPSET_FLAG_* as the interface numbers them.
  set: (data: SetMatch) => [
    ...setInfo(0, data, data.invert),
    [8, 8, data.packets.value],
    [16, 1, data.packets.op],
    [24, 8, data.bytes.value],
    [32, 1, data.bytes.op],
    [
      40,
      4,
      (data.flags & SKIP_COUNTER_UPDATE ? 1 << 3 : 0) |
        (data.flags & SKIP_SUBCOUNTER_UPDATE ? 1 << 4 : 0) |
        (data.flags & RETURN_NOMATCH ? 1 << 7 : 0),
    ],
  ],
  state: (data: Asked<number>) => conntrack({ ...NOTHING_ASKED, state: data }, STATE_ALIAS),
  string: ({ from, to, algo, pattern, ...rest }: StringMatch) => [
    [0, 2, from],
    [2, 2, to],
    ...text(4, algo),
    ...pattern.map((byte, i): Place => [20 + i, 1, byte]),
    [148, 1, pattern.length],
    [149, 1, rest],
  ],
  tcp: (data: Tcp) => [
    ...ports(data),
    [8, 1, data.option],
    [9, 1, data.flagsMask],
    [10, 1, data.flagsCompare],
    [11, 1, [data.sportInvert, data.dportInvert, data.flagsInvert, data.optionInvert]],
  ],
  udp: (data: Ports) => [...ports(data), [8, 1, [data.sportInvert, data.dportInvert]]],
  LOG: ({ level, flags, prefix }: Log) => [[0, 1, level], [1, 1, flags], ...text(2, prefix)],
  MARK: ({ value, mask }: SetMark) => [
    [0, 4, value],
    [4, 4, mask],
  ],
  // struct xt_set_info_target_v3.
  SET: ({ add, del, map, timeout, ...flags }: SetTarget) => [
    ...setInfo(0, add),
    ...setInfo(4, del),
    ...setInfo(8, map),
    [
      12,
      4,
      Number(flags.exist) |
        (flags.mapMark ? 1 << 8 : 0) |
        (flags.mapPrio ? 1 << 9 : 0) |
        (flags.mapQueue ? 1 << 10 : 0),
    ],
    [16, 4, timeout],
  ],
}

/** The same of targets. */
const TARGET_SIZES: Readonly<Record<string, number | readonly [number, number]>> = {
  CONNMARK: 16,
  CT: [72, 64],
  DNAT: 48,
  DNPT: [40, 34],
  HMARK: 64,
  IDLETIMER: [48, 40],
  LED: [40, 32],
  LOG: 32,
  MASQUERADE: 40,
  NETMAP: 40,
  NFLOG: 80,
  NOTRACK: [72, 64],
  RATEEST: [32, 24],
  REDIRECT: 40,
  SECMARK: [264, 257],
  SET: 24,
  SNAT: 40,
  SNPT: [40, 34],
  TCPOPTSTRIP: 32,
  TEE: [40, 32],
  TPROXY: 32,
  TRACE: 0,
}

function sizeOf({ kind, name }: Match | Target): readonly [all: number, own: number] {
  const size = (kind === 'match' ? SIZES : TARGET_SIZES)[name] ?? 8
  return typeof size === 'number' ? [size, size] : size
}

/** sizeof(struct ip6t_entry), and of libiptc's rule_head in front of its copy of one. */
const ENTRY = 168
const RULE_HEAD = 64
/** Somebody's address in memory: six bytes that may be anything. */
const POINTER = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]

/** Where a malloc() of so many bytes ends, its own eight bytes in front of the next included. */
const chunk = (bytes: number): number => Math.max(32, (bytes + 8 + 15) & ~15)

/** What `ip6tables -C` compares rules under, from the first byte of an entry on. */
function maskOf(rule: Rule): Uint8Array {
  const { matches, target, base } = rule
  const own = target.kind === 'extension' ? sizeOf(target.target) : ([8, 8] as const)
  const data = matches.map(({ match }) => sizeOf(match))
  const targetAt = data.reduce((sum, [all]) => sum + HEADER + all, 0)
  const length = ENTRY + targetAt + HEADER + own[0]
  const behind = chunk(length - SHIFT)
  const mask = new Uint8Array(behind + RULE_HEAD + length)
  mask.fill(0xff, 0, ENTRY - SHIFT)
  let at = ENTRY - SHIFT
  for (const [all, known] of data) {
    mask.fill(0xff, at, at + HEADER + known)
    at += HEADER + all
  }
  mask.fill(0xff, at, at + HEADER + own[1])

  const view = new DataView(mask.buffer)
  view.setUint32(behind - 8, chunk(RULE_HEAD + length) | 1, true)
  mask.set(POINTER, behind + 16)
  const jumps = target.kind === 'jump' || target.kind === 'goto'
  mask[behind + 40] = target.kind === 'extension' ? 1 : target.kind === 'none' ? 2 : jumps ? 3 : 0
  if (jumps) mask.set(POINTER, behind + 48)
  view.setUint32(behind + 56, length, true)
  const entry = behind + RULE_HEAD
  putBase(mask, view, entry, base)
  if (target.kind === 'goto') mask[entry + 131]! |= 4
  view.setUint16(entry + 140, ENTRY + targetAt, true)
  view.setUint16(entry + 142, length, true)
  at = entry + ENTRY
  for (const [i, use] of matches.entries()) {
    const all = data[i]![0]
    putExtension(mask, view, at, all, use.match, use.data)
    at += HEADER + all
  }
  if (target.kind === 'extension') putExtension(mask, view, at, own[0], target.target, target.data)
  return mask
}

/** struct ip6t_ip6. */
function putBase(bytes: Uint8Array, view: DataView, at: number, base: BaseMatch): void {
  const { source, destination, inInterface, outInterface, protocol } = base
  for (let i = 0; i < 4; i++) {
    view.setInt32(at + 4 * i, source?.words[i] ?? 0)
    view.setInt32(at + 16 + 4 * i, destination?.words[i] ?? 0)
    view.setInt32(at + 32 + 4 * i, source?.mask[i] ?? 0)
    view.setInt32(at + 48 + 4 * i, destination?.mask[i] ?? 0)
  }
  for (const [i, name] of [inInterface?.name, outInterface?.name].entries()) {
    if (name === undefined || name === '') continue
    bytes.set(Buffer.from(name, 'latin1'), at + 64 + 16 * i)
    const asked = name.endsWith('+') ? name.length - 1 : name.length + 1
    bytes.fill(0xff, at + 96 + 16 * i, at + 96 + 16 * i + asked)
  }
  view.setUint16(at + 128, protocol?.number ?? 0, true)
  bytes[at + 131] = protocol === null ? 0 : 1
  bytes[at + 132] =
    (inInterface?.invert ? 1 : 0) |
    (outInterface?.invert ? 2 : 0) |
    (source?.invert ? 8 : 0) |
    (destination?.invert ? 0x10 : 0) |
    (protocol?.invert ? 0x40 : 0)
}

/** struct xt_entry_match or _target, and as much of the data as PLACES knows. */
function putExtension(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  size: number,
  { name, revision }: Match | Target,
  data: unknown,
): void {
  view.setUint16(at, HEADER + size, true)
  bytes.set(Buffer.from(name === 'state' ? 'conntrack' : name, 'latin1'), at + 2)
  bytes[at + 31] = revision ?? 0
  for (const [offset, length, value] of placesOf(name, data) ?? [])
    for (let i = 0; i < length; i++) bytes[at + HEADER + offset + i] = byteOf(value, i) ?? 0
}

const placesOf = (name: string, data: unknown): Place[] | undefined =>
  (PLACES[name] as ((data: unknown) => Place[]) | undefined)?.(data)

/** Byte `i` of a number in the machine's order, or of bytes; null for what is neither. */
const byteOf = (value: unknown, i: number): number | null =>
  value instanceof Uint8Array
    ? (value[i] ?? 0)
    : typeof value === 'number' || typeof value === 'bigint'
      ? Number((BigInt(value) >> BigInt(8 * i)) & 0xffn)
      : null

const kernelName = ({ name }: Match | Target): string => (name === 'state' ? 'conntrack' : name)

/** Whether data that stand at `at` are the same as far as the mask asks. */
function sameUnder(
  mask: Uint8Array,
  at: number,
  [extension, other]: readonly [Match | Target, Match | Target],
  a: unknown,
  b: unknown,
): boolean {
  if (extension === other && sameData(a, b)) return true
  const asks = (from: number, length: number): boolean =>
    mask.subarray(at + from, at + from + length).some((byte) => byte !== 0)
  const [ours, theirs] = [placesOf(extension.name, a), placesOf(other.name, b)]
  if (ours === undefined || theirs === undefined) return !asks(0, sizeOf(extension)[1])
  for (let k = 0; k < Math.max(ours.length, theirs.length); k++) {
    const [from, length, value] = ours[k] ?? theirs[k]!
    const found = theirs[k]?.[0] === from && ours[k] !== undefined ? theirs[k]![2] : 0
    if (sameData(value, found)) continue
    for (let i = 0; i < length; i++) {
      const [x, y] = [byteOf(value, i), byteOf(found, i)]
      const differ = x === null || y === null ? 0xff : x ^ y
      if ((differ & mask[at + from + i]!) !== 0) return false
    }
  }
  return true
}

/** Whether `ip6tables -C` takes `there` for the rule `asked`. */
export function sameToCheck6(there: Rule, asked: Rule): boolean {
  const { matches, target } = asked
  if (
    there.matches.length !== matches.length ||
    !sameBase(there.base, asked.base) ||
    !matches.every(({ match }, i) => kernelName(match) === kernelName(there.matches[i]!.match)) ||
    there.target.kind !== target.kind
  )
    return false
  const mask = maskOf(asked)
  let at = ENTRY
  for (const [i, { match, data }] of matches.entries()) {
    const other = there.matches[i]!
    if (!sameUnder(mask, at + HEADER, [match, other.match], data, other.data)) return false
    at += HEADER + sizeOf(match)[0]
  }
  if (target.kind !== 'extension' || there.target.kind !== 'extension') return sameData(target, there.target)
  if (target.target !== there.target.target) return false
  return sameUnder(mask, at + HEADER, [target.target, target.target], target.data, there.target.data)
}
