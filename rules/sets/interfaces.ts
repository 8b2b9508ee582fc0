// Interface names as numbers, so that elements can be compared as words; the numbers of this host's devices are kept
// at hand.

import type { Devices } from '../../datapath/device-table.ts'

export class Interfaces {
  readonly #devices: Devices
  readonly #names: string[] = []
  readonly #ids = new Map<string, number>()
  #byIndex = new Int32Array(0)
  #seen = -1

  constructor(devices: Devices) {
    this.#devices = devices
  }

  id(name: string): number {
    let id = this.#ids.get(name)
    if (id === undefined) {
      id = this.#names.push(name) - 1
      this.#ids.set(name, id)
    }
    return id
  }

  name(id: number): string {
    return this.#names[id]!
  }

  /** Of the device with this index; -1 for none. Hot. */
  ofDevice(ifindex: number): number {
    if (this.#seen !== this.#devices.generation) this.#refresh()
    return ifindex > 0 && ifindex < this.#byIndex.length ? this.#byIndex[ifindex]! : -1
  }

  #refresh(): void {
    const { byIndex } = this.#devices
    this.#byIndex = new Int32Array(byIndex.length).fill(-1)
    for (const [i, device] of byIndex.entries()) if (device) this.#byIndex[i] = this.id(device.name)
    this.#seen = this.#devices.generation
  }
}
