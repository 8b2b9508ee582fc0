// Interface names against patterns, once for each change of devices instead of once a packet.

import type { Devices } from '../../datapath/device-table.ts'
import type { DeviceNames } from './template.ts'

/** As ifname_compare_aligned(): `eth+` compares what stands before the plus; anything else must be equal. */
export function nameFits(pattern: string, name: string): boolean {
  return pattern.endsWith('+') ? name.startsWith(pattern.slice(0, -1)) : pattern === name
}

export class PatternTables implements DeviceNames {
  readonly #devices: Devices
  readonly #tables = new Map<string, { t: Uint8Array }>()
  /** By ifindex: the number of the device's name among those that rules ask for exactly; 0: none of them. */
  readonly exact: { t: Int32Array } = { t: new Int32Array(1) }
  readonly #ids = new Map<string, number>()
  #seen = -1

  constructor(devices: Devices) {
    this.#devices = devices
  }

  pattern(pattern: string): { t: Uint8Array } {
    let table = this.#tables.get(pattern)
    if (table === undefined) {
      table = { t: this.#fill(pattern) }
      this.#tables.set(pattern, table)
    }
    return table
  }

  /** The number of a name, from 1. */
  idOf(name: string): number {
    let id = this.#ids.get(name)
    if (id === undefined) {
      id = this.#ids.size + 1
      this.#ids.set(name, id)
      const device = this.#devices.byName(name)
      if (device !== undefined && device.index < this.exact.t.length) this.exact.t[device.index] = id
    }
    return id
  }

  /** Called before a walk: one comparison when nothing changed. */
  refresh(): void {
    if (this.#seen === this.#devices.generation) return
    this.#seen = this.#devices.generation
    for (const [pattern, table] of this.#tables) table.t = this.#fill(pattern)
    this.#fillExact()
  }

  #fillExact(): void {
    const devices = this.#devices.byIndex
    const table = new Int32Array(Math.max(devices.length, 1))
    for (let i = 0; i < devices.length; i++) table[i] = this.#ids.get(devices[i]?.name ?? '') ?? 0
    this.exact.t = table
  }

  /** Index 0 is "no device", whose name is empty. */
  #fill(pattern: string): Uint8Array {
    const devices = this.#devices.byIndex
    const table = new Uint8Array(Math.max(devices.length, 1))
    table[0] = nameFits(pattern, '') ? 1 : 0
    for (let i = 1; i < devices.length; i++) {
      const device = devices[i]
      if (device !== undefined && nameFits(pattern, device.name)) table[i] = 1
    }
    return table
  }
}
