// Connection tracking of one host: what the rest of tunwall may ask of it. CONTRACT, to be filled in.

import type { Family, Packet } from '../datapath/packet.ts'
import type { EntryTable } from './table.ts'
import type { Tuple } from './tuple.ts'

export interface Conntrack {
  readonly table: EntryTable
  /** Registers the conntrack and defragmentation hooks of a family while somebody needs them (reference counted). */
  need(family: Family): () => void
  isActive(family: Family): boolean
  /** pkt's XT_CONNTRACK_STATE_* / --ctstate bit: 1 INVALID, 2 ESTABLISHED, 4 RELATED, 8 NEW, 64 UNTRACKED. */
  stateBit(pkt: Packet): number
  /** Remaining time, seconds, rounded down as the kernel prints. */
  remaining(entry: number): number
  /**
   * nf_conntrack_tuple_taken: an entry other than `ignored`, and not expired, has the tuple in tuple.zone. For NAT,
   * which asks for the reply it would like to have. Does not allocate.
   */
  isTaken(tuple: Tuple, ignored: number): boolean
  /** nf_conntrack_alter_reply: of an unconfirmed entry. */
  alterReply(entry: number, reply: Tuple): void
  /** Called when an entry's number becomes free (nf_conntrack_free): NAT forgets its source. */
  onDestroy: (entry: number) => void
  /** Ends an entry (nf_ct_delete). */
  kill(entry: number): void
  flush(): void
  /** Fires expired timers; bounded work per call. Called by the driver with host.now set. */
  tick(): void
}
