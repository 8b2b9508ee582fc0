// What of addresses and routes ends by itself: addresses with lifetimes (check_lifetime of devinet.c,
// addrconf_verify_rtnl of addrconf.c) and IPv6 routes that expire (fib6_age).

import type { Devices } from './device-table.ts'
import type { Address } from './devices.ts'
import type { Fib } from './fib.ts'

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
  fib.addresses6.finishChecks(now)
  for (const [route, end] of fib.ends) if (end <= now) fib.removeRoute(route)
}

/** ms at which the prefix route of an address ends, or null. */
export const endOf = ({ lifetime }: Address): number | null =>
  lifetime === undefined || lifetime.valid === FOREVER ? null : lifetime.since + lifetime.valid * 1000
