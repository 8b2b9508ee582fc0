// Packets at random, of everything that rules and routes of the hosts speak of.

import type { Random } from '../../../datapath/host.ts'
import type { Family } from '../../../datapath/packet.ts'
import { hasPorts } from '../../../datapath/wire/protocol.ts'
import type { Field, Value } from './conditions.ts'
import type { Paths } from './paths.ts'
import { type Entry, type Fixed, type Plan, solve } from './plan.ts'

/** Rules that are read for values. */
const MOST_RULES = 20_000

const ENTRIES: readonly Entry[] = ['FORWARD', 'FORWARD', 'INPUT', 'OUTPUT']

export class Traffic {
  readonly #paths: readonly Paths[]
  readonly #random: Random
  readonly #addresses: Readonly<Record<Family, readonly bigint[]>>
  readonly #ports: readonly number[]
  readonly #icmp: readonly number[]
  readonly #protocols: readonly number[]

  constructor(paths: readonly Paths[], random: Random) {
    this.#paths = paths
    this.#random = random
    const addresses = { 4: new Set<bigint>(), 6: new Set<bigint>() }
    const [ports, icmp, protocols] = [new Set([22, 53, 80, 443]), new Set<number>(), new Set<number>()]
    for (const one of paths) {
      for (const family of [4, 6] as const) {
        for (const address of [...one.world.own(family), ...one.world.edges(family)])
          addresses[family].add(address)
        for (const device of one.world.devices)
          for (const address of one.world.behind(device, family)) addresses[family].add(address)
      }
      let rules = 0
      for (const { family, chain, index } of one.targets()) {
        if (rules++ > MOST_RULES) break
        const { conditions, choices } = one.asked(chain.model.rules[index]!, family)
        for (const { field, inside, outside } of [...conditions, ...choices.flatMap((c) => c.members.flat())])
          for (const value of [...inside, ...outside])
            if (typeof value === 'bigint') addresses[family].add(value)
            else if (field === 'sport' || field === 'dport') ports.add(Number(value))
            else if (field === 'icmp') icmp.add(Number(value))
            else if (field === 'protocol') protocols.add(Number(value))
      }
    }
    this.#addresses = { 4: [...addresses[4]], 6: [...addresses[6]] }
    this.#ports = [...ports]
    this.#icmp = [...icmp]
    this.#protocols = [...protocols]
  }

  /** The next packet; null: what was drawn cannot be. `entries`: which ways packets take. */
  next(entries: readonly Entry[] = ENTRIES): Plan | null {
    const { world } = this.#draw(this.#paths)!
    const family: Family = this.#once(4) && this.#addresses[6].length > 0 ? 6 : 4
    const protocol = this.#draw([6, 6, 17, 17, family === 4 ? 1 : 58, ...this.#protocols])!
    const fixed: Fixed = { protocol }
    const set = <T extends Value>(field: Field, values: readonly T[]): void => {
      const value = this.#draw(values)
      if (value !== undefined) fixed[field] = value
    }
    const addresses = this.#addresses[family]
    if (!this.#once(4)) set('dst', addresses)
    if (!this.#once(3)) set('src', addresses)
    if (hasPorts(protocol)) {
      if (!this.#once(3)) set('dport', this.#ports)
      if (this.#once(3)) set('sport', this.#ports)
    }
    if (protocol === 6 && this.#once(3)) set('flags', [2, 16, 18, 4, 1, 0, 41])
    if (protocol === 1 || protocol === 58) set('icmp', [...this.#icmp, protocol === 1 ? 2048 : 32768])
    if (this.#once(3)) set('in', world.devices)
    if (this.#once(8)) set('ttl', [1, 2, 255])
    if (this.#once(8)) set('tos', [0x10, 0xb8, 3])
    if (this.#once(10)) set('length', [60, 576, 1500, 1400])
    return solve([], family, this.#draw(entries)!, this.#draw([0, 0, 0, 1, 2, 5])!, world, fixed)
  }

  #draw<T>(list: readonly T[]): T | undefined {
    return list[Math.floor(((this.#random.i32() >>> 0) / 0x1_0000_0000) * list.length)]
  }

  #once(n: number): boolean {
    return (this.#random.i32() >>> 0) % n === 0
  }
}
