// IPv4 routes come and go with addresses as fib_frontend.c puts them in and takes them out (fib_add_ifaddr,
// fib_del_ifaddr, fib_modify_prefix_metric): what somebody took away meanwhile is not missed, and what another address
// needs too stays.

import { inSubnet, prefixOf } from './device-table.ts'
import { type Address, type Device, Scope } from './devices.ts'
import type { Fib } from './fib.ts'
import { RouteError, type RouteSpec, RouteType, Table } from './route.ts'
import { prefixMask4 } from './wire/address.ts'
import { isZeronet4 } from './wire/ipv4.ts'

const maskOf = (a: Address): number => prefixMask4(a.prefixLength)

/** The network's own address, which stands for its broadcasts of old, and its last one. */
const firstOf = (a: Address): number => prefixOf(a) & maskOf(a)
const lastOf = (a: Address): number => prefixOf(a) | ~maskOf(a)

/** Routes lead to its subnet: not to 0.0.0.0/8 (RFC 1122 §3.2.1.3), nor to what is the address alone. */
const hasSubnet = (a: Address): boolean =>
  !isZeronet4(firstOf(a)) && (firstOf(a) !== a.words[0] || a.prefixLength < 32)

/** Of the same prefix. */
const siblings = (a: Address, b: Address): boolean =>
  a.prefixLength === b.prefixLength && inSubnet(prefixOf(a), b)

/** inet_ifa_byprefix(): the address that routes of a secondary one prefer. */
const primaryOf = (device: Device, address: Address): Address | undefined =>
  device.addresses.find((a) => a.family === 4 && siblings(address, a))

/** fib_magic(): what is asked of the tables for an address. */
function spec(
  device: Device,
  primary: Address,
  type: number,
  dst: number,
  prefixLength: number,
  metric = 0,
): RouteSpec {
  return {
    type,
    dst: [dst, 0, 0, 0],
    prefixLength,
    table: type === RouteType.Unicast ? Table.Main : Table.Local,
    scope: type === RouteType.Local ? Scope.Host : Scope.Link,
    protocol: 'kernel',
    device,
    source: primary.words,
    metric,
  }
}

/** The table has it already, or has it no more: nobody minds. */
function quietly(change: () => void): void {
  try {
    change()
  } catch (error) {
    if (!(error instanceof RouteError)) throw error
  }
}

function put(fib: Fib, wanted: RouteSpec): void {
  // fib_valid_prefsrc(): no route prefers an address that the host does not have.
  const source = wanted.source![0]
  const itself = wanted.type === RouteType.Local && wanted.dst[0] === source && source !== 0
  if (fib.live && !itself && fib.addressType(4, source, 0, 0, 0, 0) !== RouteType.Local) return
  quietly(() => fib.addRoute(wanted, 'append'))
}

const take = (fib: Fib, gone: RouteSpec): void => quietly(() => fib.deleteRoute(gone))

/** The route to the prefix of an address, if an address like it has one. */
function prefixRoute(device: Device, a: Address, metric: number): RouteSpec | null {
  if (a.noPrefixRoute || !hasSubnet(a)) return null
  return spec(
    device,
    a,
    device.loopback ? RouteType.Local : RouteType.Unicast,
    firstOf(a),
    a.prefixLength,
    metric,
  )
}

/** fib_add_ifaddr() */
export function addAddressRoutes(fib: Fib, device: Device, a: Address): void {
  const primary = a.secondary ? primaryOf(device, a) : a
  if (primary === undefined) return
  put(fib, spec(device, primary, RouteType.Local, a.words[0], 32))
  if (!device.up) return
  if (a.broadcast !== null && a.broadcast !== -1 && a.broadcast !== 0)
    put(fib, spec(device, primary, RouteType.Broadcast, a.broadcast, 32))
  if (a.secondary || !hasSubnet(a)) return
  const connected = prefixRoute(device, a, a.metric ?? 0)
  if (connected !== null) put(fib, connected)
  if (a.prefixLength < 31) put(fib, spec(device, primary, RouteType.Broadcast, lastOf(a), 32))
}

/** fib_modify_prefix_metric() */
export function changePrefixMetric(fib: Fib, device: Device, a: Address, old: Address): void {
  const [metric, before] = [a.metric ?? 0, old.metric ?? 0]
  if (metric === before || !device.up || a.secondary) return
  const now = prefixRoute(device, a, metric)
  if (now === null) return
  put(fib, now)
  take(fib, { ...now, metric: before })
}

/**
 * fib_del_ifaddr(). `leaving`: the primary address that goes, while this secondary one of its stays. The address may
 * stand in device.addresses still.
 */
export function removeAddressRoutes(
  fib: Fib,
  device: Device,
  a: Address,
  leaving: Address | null = null,
): void {
  const [first, last] = [firstOf(a), lastOf(a)]
  let primary = a
  let subnet = false
  if (a.secondary) {
    const found = primaryOf(device, a)
    if (found === undefined || (leaving !== null && found !== leaving)) return
    primary = found
  } else if (hasSubnet(a)) {
    const connected = prefixRoute(device, a, 0)
    if (connected !== null) take(fib, connected)
    subnet = true
  }
  const broadcast = a.broadcast ?? 0
  const needed = { local: false, broadcast: false, first: false, last: false }
  let gone = true
  let sharesSource = false
  let other = primary
  for (const b of device.addresses) {
    if (b.family !== 4) continue
    if (b === a) {
      gone = false
      continue
    }
    if (leaving !== null && siblings(leaving, b)) continue
    if (b.secondary) {
      // Another address of this subnet, or of one whose primary address has the same words.
      if (siblings(b, primary)) sharesSource = true
      else {
        if (!sharesSource) continue
        if (!siblings(b, other)) {
          const found = primaryOf(device, b)
          if (found === undefined) continue
          other = found
        }
        if (other.words[0] !== primary.words[0]) continue
      }
    } else {
      if (b.words[0] !== primary.words[0]) continue
      other = b
      if (b !== primary) sharesSource = true
    }
    if (b.words[0] === a.words[0]) needed.local = true
    const wanted = [b.broadcast ?? 0]
    if (other === b && b.prefixLength < 31 && !isZeronet4(firstOf(b))) wanted.push(lastOf(b), firstOf(b))
    needed.broadcast ||= wanted.includes(broadcast)
    needed.first ||= wanted.includes(first)
    needed.last ||= wanted.includes(last)
  }
  if (!needed.broadcast) take(fib, spec(device, primary, RouteType.Broadcast, broadcast, 32))
  if (subnet && a.prefixLength < 31) {
    if (!needed.last) take(fib, spec(device, primary, RouteType.Broadcast, last, 32))
    if (!needed.first) take(fib, spec(device, primary, RouteType.Broadcast, first, 32))
  }
  if (needed.local) return
  take(fib, spec(device, primary, RouteType.Local, a.words[0], 32))
  if (gone && fib.addressType(4, a.words[0], 0, 0, 0, 0) !== RouteType.Local) fib.sourceGone4(a.words[0])
}
