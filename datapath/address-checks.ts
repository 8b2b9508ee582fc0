// Checks of IPv6 addresses that begin again (addrconf_dad_run): what a link that changes has does not wait for them, but
// an address whose check is over is announced as if it were new (addrconf_dad_completed).

import type { Address, Device } from './devices.ts'

export class AddressChecks {
  /** Of each device: host.now at which the check of an address is over, by its words. */
  readonly #ends = new Map<Device, Map<string, number>>()

  /** addrconf_dad_kick() of every IPv6 address of a device. `end`: host.now at which the next one is over. */
  restart(device: Device, end: () => number): void {
    const ends = new Map<string, number>()
    for (const { family, words } of device.addresses) if (family === 6) ends.set(String(words), end())
    if (ends.size > 0) this.#ends.set(device, ends)
  }

  /** The address has gone: its check goes with it. */
  forget(device: Device, address: Address): void {
    if (address.family === 6) this.#ends.get(device)?.delete(String(address.words))
  }

  /** The device has gone. */
  forgetDevice(device: Device): void {
    this.#ends.delete(device)
  }

  /** Calls back for each address whose check is over. `now`: host.now. */
  finish(now: number, over: (device: Device, address: Address) => void): void {
    for (const [device, ends] of this.#ends) {
      for (const address of [...device.addresses]) {
        const end = address.family === 6 ? ends.get(String(address.words)) : undefined
        if (end === undefined || end > now) continue
        ends.delete(String(address.words))
        over(device, address)
      }
      if (ends.size === 0) this.#ends.delete(device)
    }
  }
}
