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

  /** Called before a walk: one comparison when nothing changed. */
  refresh(): void {
    if (this.#seen === this.#devices.generation) return
    this.#seen = this.#devices.generation
    for (const [pattern, table] of this.#tables) table.t = this.#fill(pattern)
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
