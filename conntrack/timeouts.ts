// Timeout policies (nfnetlink_cttimeout.c, Linux 6.18): sets of timeouts with a name, made by nfct(8), which
// CT --timeout gives to new connections instead of those of the sysctls.
//
// A rule holds the policies that it names; a connection does not: when a policy goes, its connections go back to
// the timeouts of the sysctls.

import type { Family } from '../datapath/packet.ts'
import type { Tunables } from '../datapath/tunables.ts'
import { Errno } from './errno.ts'
import { type EntryTable, EXTENSIONS, POLICY_SHIFT, STRIDE } from './table.ts'
import type { Tracker } from './trackers/tracker.ts'

/** Longest name. */
export const MAX_POLICY_NAME = 31

/** Jiffies in a second, and milliseconds in a jiffy. */
const HZ = 250
const JIFFY_MS = 1000 / HZ

/** A name of a timeout (see Tracker.timeoutNames) and a number of seconds. */
export type Seconds = readonly (readonly [name: string, seconds: number])[]

export interface TimeoutPolicy {
  readonly name: string
  readonly family: Family
  readonly protocol: number
  /** In the order of Tracker.timeoutNames, ms. */
  readonly values: Float64Array
  /** Rules that hold it. */
  users: number
}

/** Names that no message of nfct carries: a state that no connection stays in, and one that came later. */
const UNTOLD: ReadonlySet<string> = new Set(['none', 'heartbeat_sent'])

/** An unsigned 32 bit number of jiffies, of which the kernel takes the upper half for times that are over. */
const toMs = (seconds: number): number => (((seconds * HZ) % 0x100000000) | 0) * JIFFY_MS
const toSeconds = (ms: number): number => Math.floor(((ms / JIFFY_MS) >>> 0) / HZ)

export class TimeoutPolicies {
  readonly #table: EntryTable
  readonly #tunables: Tunables
  readonly #tracker: (protocol: number) => Tracker
  /** An entry's policy number - 1; null: free. */
  readonly #policies: (TimeoutPolicy | null)[] = []
  /** Numbers in the order in which policies were added. */
  readonly #order = new Set<number>()

  /** There is no policy. */
  none = true

  constructor(table: EntryTable, tunables: Tunables, tracker: (protocol: number) => Tracker) {
    this.#table = table
    this.#tunables = tunables
    this.#tracker = tracker
  }

  /** The timeouts of an entry's policy, ms. Hot. */
  values(number: number): Float64Array {
    return this.#policies[number - 1]!.values
  }

  /** Number for the entries of a policy, 0 for a name that nobody has. */
  number(name: string): number {
    for (const at of this.#order) if (this.#policies[at]!.name === name) return at + 1
    return 0
  }

  get(name: string): TimeoutPolicy | null {
    return this.#policies[this.number(name) - 1] ?? null
  }

  /** The protocol whose tracker follows packets of `protocol`: 255 without one of its own. */
  trackedAs(protocol: number): number {
    return this.#tracker(protocol).protocol
  }

  /** The timeouts of a protocol with a tracker that nfct knows. */
  names(protocol: number): readonly string[] {
    const tracker = this.#tracker(protocol)
    return tracker.protocol === protocol ? tracker.timeoutNames.filter((name) => !UNTOLD.has(name)) : []
  }

  /** In the order in which they were added. */
  all(): TimeoutPolicy[] {
    return [...this.#order].map((at) => this.#policies[at]!)
  }

  /** Timeouts that are not named are those in force now (cttimeout_new_timeout). 0 or a negative errno. */
  add(name: string, family: Family, protocol: number, seconds: Seconds): number {
    if (seconds.length === 0) return Errno.Invalid
    if (this.number(name) !== 0) return Errno.Busy
    const tracker = this.#tracker(protocol)
    if (tracker.protocol !== protocol) return Errno.NotSupported
    const values = tracker.standard.slice()
    for (const [timeout, value] of seconds) values[tracker.timeoutNames.indexOf(timeout)] = toMs(value)
    const free = this.#policies.indexOf(null)
    const at = free < 0 ? this.#policies.length : free
    this.#policies[at] = { name, family, protocol, values, users: 0 }
    this.#order.add(at)
    this.none = false
    return Errno.None
  }

  /** cttimeout_del_timeout of one policy. */
  remove(name: string): number {
    const number = this.number(name)
    if (number === 0) return Errno.NoEntry
    if (this.#policies[number - 1]!.users > 0) return Errno.Busy
    const w = this.#table.words
    // Packets under way, whose entries are not in the hash, have none of them between two commands.
    this.#table.forEach((entry) => {
      const o = entry * STRIDE + EXTENSIONS
      if (w[o]! >>> POLICY_SHIFT === number) w[o] = w[o]! & ((1 << POLICY_SHIFT) - 1)
    })
    this.#policies[number - 1] = null
    this.#order.delete(number - 1)
    this.none = this.#order.size === 0
    return Errno.None
  }

  /** All that no rule holds. */
  flush(): void {
    for (const { name } of this.all()) this.remove(name)
  }

  /** Timeouts in force for everything without a policy (cttimeout_default_set). 0 or a negative errno. */
  setDefaults(protocol: number, seconds: Seconds): number {
    const tracker = this.#tracker(protocol)
    if (tracker.protocol !== protocol) return Errno.NotSupported
    for (const [timeout, value] of seconds) {
      tracker.standard[tracker.timeoutNames.indexOf(timeout)] = toMs(value)
    }
    this.#tunables.generation++
    return Errno.None
  }

  /** Those in force, as told to nfct; a negative errno for a protocol without a tracker. */
  defaults(protocol: number): Seconds | number {
    const tracker = this.#tracker(protocol)
    return tracker.protocol === protocol ? this.#told(tracker, tracker.standard) : Errno.NotSupported
  }

  /** The timeouts of a policy, as told to nfct. */
  seconds(policy: TimeoutPolicy): Seconds {
    return this.#told(this.#tracker(policy.protocol), policy.values)
  }

  #told(tracker: Tracker, values: Float64Array): Seconds {
    return this.names(tracker.protocol).map((name) => [
      name,
      toSeconds(values[tracker.timeoutNames.indexOf(name)]!),
    ])
  }
}
