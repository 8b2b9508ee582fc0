// Connection tracking of one host: what the rest of tunwall may ask of it. CONTRACT, to be filled in.

import type { Family, Packet } from '../datapath/packet.ts'
import type { EntryTable } from './table.ts'

export interface Conntrack {
  readonly table: EntryTable
  /** Registers the conntrack and defragmentation hooks of a family while somebody needs them (reference counted). */
  need(family: Family): () => void
  isActive(family: Family): boolean
  /** pkt's XT_CONNTRACK_STATE_* / --ctstate bit: 1 INVALID, 2 ESTABLISHED, 4 RELATED, 8 NEW, 64 UNTRACKED. */
  stateBit(pkt: Packet): number
  /** Remaining time, seconds, rounded down as the kernel prints. */
  remaining(entry: number): number
  /** Ends an entry (nf_ct_delete). */
  kill(entry: number): void
  flush(): void
  /** Fires expired timers; bounded work per call. Called by the driver with host.now set. */
  tick(): void
}
