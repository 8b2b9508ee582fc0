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
import {
  ENTRY_SIZE,
  HEADER_SIZE,
  interfaceMaskLength,
  inversionFlags,
  kernelName,
  PLAIN_LAYOUT,
} from './layout.ts'
import type { BaseMatch, Rule } from './model.ts'

/** sizeof(struct ip6t_entry) - sizeof(struct ip6t_entry *). */
const SHIFT = 160

function sizeOf({ layout = PLAIN_LAYOUT }: Match | Target): readonly [all: number, own: number] {
  return [layout.size, layout.own ?? layout.size]
}

const ENTRY = ENTRY_SIZE[6]
/** Of libiptc's rule_head in front of its copy of an entry. */
const RULE_HEAD = 64
/** Somebody's address in memory: six bytes that may be anything, but that malloc() aligns it to 16. */
const POINTER = [0xf0, 0xff, 0xff, 0xff, 0xff, 0xff]

/** Where a malloc() of so many bytes ends, its own eight bytes in front of the next included. */
const chunk = (bytes: number): number => Math.max(32, (bytes + 8 + 15) & ~15)

/** What `ip6tables -C` compares rules under, from the first byte of an entry on. */
function maskOf(rule: Rule): Uint8Array {
  const { matches, target, base } = rule
  const own = target.kind === 'extension' ? sizeOf(target.target) : ([8, 8] as const)
  const data = matches.map(({ match }) => sizeOf(match))
  const targetAt = data.reduce((sum, [all]) => sum + HEADER_SIZE + all, 0)
  const length = ENTRY + targetAt + HEADER_SIZE + own[0]
  const behind = chunk(length - SHIFT)
  const mask = new Uint8Array(behind + RULE_HEAD + length)
  mask.fill(0xff, 0, ENTRY - SHIFT)
  let at = ENTRY - SHIFT
  for (const [all, known] of data) {
    mask.fill(0xff, at, at + HEADER_SIZE + known)
    at += HEADER_SIZE + all
  }
  mask.fill(0xff, at, at + HEADER_SIZE + own[1])

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
    at += HEADER_SIZE + all
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
    bytes.fill(0xff, at + 96 + 16 * i, at + 96 + 16 * i + interfaceMaskLength(name))
  }
  view.setUint16(at + 128, protocol?.number ?? 0, true)
  bytes[at + 131] = protocol === null ? 0 : 1
  bytes[at + 132] = inversionFlags(base)
}

/** struct xt_entry_match or _target, and as much of the data as its layout tells. */
function putExtension(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  size: number,
  extension: Match | Target,
  data: unknown,
): void {
  view.setUint16(at, HEADER_SIZE + size, true)
  bytes.set(Buffer.from(kernelName(extension), 'latin1'), at + 2)
  bytes[at + 31] = extension.revision ?? 0
  for (const [offset, length, value] of extension.layout?.fields?.(data) ?? [])
    for (let i = 0; i < length; i++) bytes[at + HEADER_SIZE + offset + i] = byteOf(value, i) ?? 0
}

/** Byte `i` of a number in the machine's order, or of bytes; null for what is neither. */
const byteOf = (value: unknown, i: number): number | null =>
  value instanceof Uint8Array
    ? (value[i] ?? 0)
    : typeof value === 'number' || typeof value === 'bigint'
      ? Number((BigInt(value) >> BigInt(8 * i)) & 0xffn)
      : null

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
  const [ours, theirs] = [extension.layout?.fields?.(a), other.layout?.fields?.(b)]
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
    if (!sameUnder(mask, at + HEADER_SIZE, [match, other.match], data, other.data)) return false
    at += HEADER_SIZE + sizeOf(match)[0]
  }
  if (target.kind !== 'extension' || there.target.kind !== 'extension') return sameData(target, there.target)
  if (kernelName(target.target) !== kernelName(there.target.target)) return false
  return sameUnder(
    mask,
    at + HEADER_SIZE,
    [target.target, there.target.target],
    target.data,
    there.target.data,
  )
}
