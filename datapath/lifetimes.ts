// What of addresses and routes ends by itself: addresses with lifetimes (check_lifetime of devinet.c,
// addrconf_verify_rtnl of addrconf.c) and IPv6 routes that expire (fib6_age).

import type { Devices } from './device-table.ts'
import type { Address, Device } from './devices.ts'
import type { Fib } from './fib.ts'
import type { Route } from './route.ts'

/** INFINITY_LIFE_TIME. */
export const FOREVER = 0xffff_ffff

/** Whole seconds that are left of an address: valid and preferred, FOREVER among them. `now`: ms. */
export function lifeLeft({ family, lifetime }: Address, now: number): { valid: number; preferred: number } {
  if (lifetime === undefined) return { valid: FOREVER, preferred: FOREVER }
  const { since, valid, preferred } = lifetime
  const passed = Math.trunc((now - since) / 1000)
  const left = (seconds: number): number => (seconds === FOREVER ? FOREVER : Math.max(seconds - passed, 0))
  // IPv4 tells of no time that a permanent address is preferred for.
  if (valid === FOREVER && family === 4) return { valid: FOREVER, preferred: FOREVER }
  return { valid: left(valid), preferred: left(preferred) }
}

/** IFA_F_PERMANENT. */
export const isPermanent = ({ lifetime }: Address): boolean =>
  lifetime === undefined || lifetime.valid === FOREVER

/** Takes away what is over, and marks addresses that are no longer preferred. `now`: host.now. */
export function endLifetimes(devices: Devices, fib: Fib, now: number): void {
  if (devices.mortal) {
    let mortal = false
    for (const device of devices.all())
      for (const address of [...device.addresses]) {
        if (address.lifetime === undefined || !device.addresses.includes(address)) continue
        mortal = true
        const { since, valid, preferred } = address.lifetime
        if (valid !== FOREVER && now - since >= valid * 1000) devices.removeAddress(device, address)
        else if (
          !address.deprecated &&
          preferred !== FOREVER &&
          (address.family === 6 || valid !== FOREVER) &&
          now - since >= preferred * 1000
        )
          devices.markDeprecated(device, address)
      }
    devices.mortal = mortal
  }
  fib.finishChecks(now)
  for (const [route, end] of fib.ends) if (end <= now) fib.removeRoute(route)
}

/** ms at which the prefix route of an address ends, or null. */
export const endOf = ({ lifetime }: Address): number | null =>
  lifetime === undefined || lifetime.valid === FOREVER ? null : lifetime.since + lifetime.valid * 1000

/**
 * An address has come, or come in the place of `old`; `before`: the route to its prefix that was there. A new one ends
 * with the address (addrconf_prefix_route), one that ends takes the new end, one for ever stays so (fib6_add_rt2node);
 * but what belonged to a permanent address is changed (modify_prefix_route).
 */
export function followLifetime(
  fib: Fib,
  device: Device,
  address: Address,
  before: Route | undefined,
  old: Address | undefined,
): void {
  const route = fib.prefixRoute6(device, address)
  if (route === undefined) return
  const owned = old !== undefined && isPermanent(old) && !old.noPrefixRoute
  // What leads to lo is made as what refuses, without an end (ip6_route_info_create).
  if (route !== before ? !device.loopback : owned || fib.ends.has(route)) fib.setEnd(route, endOf(address))
}

/**
 * check_cleanup_prefix_route(): when a permanent address goes and only mortal ones are left in its prefix, the route
 * ends with the last of them.
 */
export function leaveLifetime(fib: Fib, device: Device, gone: Address): void {
  if (!isPermanent(gone)) return
  const route = fib.prefixRoute6(device, gone)
  if (route === undefined) return
  let last: number | null = null
  for (const other of device.addresses) {
    if (other.family !== 6 || fib.prefixRoute6(device, other) !== route) continue
    const end = endOf(other)
    if (end === null) return
    last = Math.max(last ?? 0, end)
  }
  if (last !== null) fib.setEnd(route, last)
}
