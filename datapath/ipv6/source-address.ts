// Which of its addresses a host sends from (ipv6_dev_get_saddr() of addrconf.c, RFC 6724 §5): the rules in turn, each
// only among those that the rules before it find equal. Linux of Debian knows no home addresses (CONFIG_IPV6_MIP6), so
// the rules about those never decide.

import type { Devices } from '../device-table.ts'
import { type Address, type Device, isTentative } from '../devices.ts'
import { Ipv6Address, Ipv6Scope, ipv6AddressType, ipv6SourceScope } from '../wire/ipv6-address.ts'

/** Words where nothing is equal give their leading zeros: bits that two addresses share (ipv6_addr_diff). */
function sharedBits(a: Address, d0: number, d1: number, d2: number, d3: number): number {
  const w = a.words
  let bits = Math.clz32(w[0] ^ d0)
  if (bits < 32) return bits
  bits = Math.clz32(w[1] ^ d1)
  if (bits < 32) return 32 + bits
  bits = Math.clz32(w[2] ^ d2)
  if (bits < 32) return 64 + bits
  return 96 + Math.clz32(w[3] ^ d3)
}

/** ip6addrlbl_init_table (`ip addrlabel`): the label of the longest prefix that holds the address. */
function labelOf(w0: number, w1: number, w2: number, w3: number): number {
  if (w0 >>> 25 === 0xfc >>> 1) return 5
  if (w0 >>> 16 === 0x2002) return 2
  if (w0 >>> 22 === 0xfec0 >>> 6) return 11
  if (w0 >>> 16 === 0x3ffe) return 12
  if (w0 === 0x20010000) return 6
  if (w0 >>> 4 === 0x2001001) return 7
  if (w0 !== 0 || w1 !== 0) return 1
  if (w2 === 0) return w3 === 1 ? 0 : 3
  return w2 === 0xffff ? 4 : 1
}

const isOrchid = (w0: number): boolean => w0 >>> 4 === 0x2001001

/** IPV6_SADDR_RULE_SCOPE: wide enough and as narrow as can be is best; too narrow ones lie far below. */
function scopeScore(scope: number, wanted: number): number {
  return scope >= wanted ? -scope : scope - 128
}

/**
 * ipv6_dev_get_saddr(): the address from which packets to d0…d3 go that leave by `device` (null: by any). Null: there
 * is none. Does not allocate.
 */
export function selectAddress6(
  devices: Devices,
  device: Device | null,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): Address | null {
  const type = ipv6AddressType(d0, d1, d2, d3)
  const scope = ipv6SourceScope(type)
  if (
    device !== null &&
    ((type & Ipv6Address.Multicast) !== 0 || scope <= Ipv6Scope.Link || device.conf6.useOifAddrsOnly)
  )
    return bestOf(device, device, null, scope, d0, d1, d2, d3)
  let best: Address | null = null
  for (const each of devices.byIndex)
    if (each !== undefined) best = bestOf(each, device, best, scope, d0, d1, d2, d3)
  return best
}

/** Device of the best address so far; __ipv6_dev_get_saddr() asks it of the address. */
let bestOn: Device | null = null

/** __ipv6_dev_get_saddr(): the better of `best` and what `device` has. */
function bestOf(
  device: Device,
  out: Device | null,
  best: Address | null,
  scope: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): Address | null {
  for (const a of device.addresses) {
    if (a.family !== 6 || isTentative(a)) continue
    const [w0, w1, w2, w3] = a.words
    const type = ipv6AddressType(w0, w1, w2, w3)
    if (type === Ipv6Address.Any || (type & Ipv6Address.Multicast) !== 0) continue
    if (best === null || isBetter(a, type, device, best, out, scope, d0, d1, d2, d3)) {
      best = a
      bestOn = device
    }
  }
  return best
}

/** Rule 7 (IPV6_SADDR_RULE_PRIVACY): temporary on an interface that prefers such, not so on any other. */
const isWantedTemporary = ({ flags }: Address, { conf6 }: Device): boolean =>
  (flags?.includes('temporary') ?? false) === conf6.prefersTemporary

/** Whether `a` wins against `best` by the first rule that tells them apart. */
function isBetter(
  a: Address,
  type: number,
  device: Device,
  best: Address,
  out: Device | null,
  scope: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): boolean {
  const [w0, w1, w2, w3] = a.words
  const [b0, b1, b2, b3] = best.words
  if (w0 === d0 && w1 === d1 && w2 === d2 && w3 === d3) return true
  if (b0 === d0 && b1 === d1 && b2 === d2 && b3 === d3) return false
  const scopes =
    scopeScore(ipv6SourceScope(type), scope) -
    scopeScore(ipv6SourceScope(ipv6AddressType(b0, b1, b2, b3)), scope)
  if (scopes !== 0) return scopes > 0
  const deprecated = best.deprecated === true
  if ((a.deprecated === true) !== deprecated) return deprecated
  if (out !== null && (device === out) !== (bestOn === out)) return device === out
  const label = labelOf(d0, d1, d2, d3)
  const fits = labelOf(w0, w1, w2, w3) === label
  if (fits !== (labelOf(b0, b1, b2, b3) === label)) return fits
  const wanted = isWantedTemporary(a, device)
  if (wanted !== isWantedTemporary(best, bestOn!)) return wanted
  const orchid = isOrchid(w0) === isOrchid(d0)
  if (orchid !== (isOrchid(b0) === isOrchid(d0))) return orchid
  const shared = Math.min(sharedBits(a, d0, d1, d2, d3), a.prefixLength)
  return shared > Math.min(sharedBits(best, d0, d1, d2, d3), best.prefixLength)
}
