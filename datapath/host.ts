// One emulated host: what the parts of the datapath share. A pure engine: time, randomness and the way out are
// handed in, nothing here reads a clock, opens a file or prints.

import type { Devices } from './device-table.ts'
import type { Events } from './events.ts'
import type { Fib } from './fib.ts'
import type { Hooks } from './hooks.ts'
import type { Packet } from './packet.ts'
import type { Egress, FrameMemory } from './ring.ts'
import type { Tunables } from './tunables.ts'

/** Seedable source of randomness. */
export interface Random {
  /** Uniform unsigned 32-bit number. */
  u32(): number
}

/** What conntrack hangs into the datapath; null while it is not loaded. */
export interface TrackerLink {
  /** A packet is finished with its entry (nf_conntrack_put): unconfirmed entries die here. */
  release(pkt: Packet): void
  /** A packet made in answer to another belongs to its connection (nf_ct_attach). */
  attach(answer: Packet, cause: Packet): void
}

export interface Host {
  readonly memory: FrameMemory
  readonly hooks: Hooks
  readonly devices: Devices
  readonly fib: Fib
  readonly tunables: Tunables
  readonly events: Events
  readonly random: Random
  egress: Egress
  tracker: TrackerLink | null
  /** Monotonic milliseconds, may have a fraction; set before each packet or batch. */
  now: number
  /** Wall clock of `now`: milliseconds since 1970, for LOG, recent, time. */
  wall: number
}
