// What a protocol's tracker is, and what it may ask of the core. One file per protocol beside this one.

import type { Hook } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { EntryTable } from '../table.ts'

/** What a tracker makes of a packet; the numbers are those of nf_conntrack_handle_packet(). */
export const Tracked = {
  /** NF_ACCEPT: the packet belongs to the entry. */
  Accept: 1,
  /** -NF_ACCEPT: INVALID; the packet goes on without an entry. */
  Invalid: -1,
  /** NF_DROP. */
  Drop: 0,
  /** -NF_REPEAT: the entry was ended, look up again. */
  Repeat: -4,
} as const
export type Tracked = (typeof Tracked)[keyof typeof Tracked]

/** The core, as trackers see it. */
export interface TrackerCore {
  readonly host: Host
  readonly table: EntryTable
  /** nf_conntrack_checksum. */
  readonly checksum: boolean
  /**
   * nf_ct_refresh_acct: the entry ends `timeoutMs` from now (unconfirmed: after confirmation); counts the packet of `length`
   * bytes, or so many packets of together as many.
   */
  refresh(entry: number, dir: number, length: number, timeoutMs: number, packets?: number): void
  /** Sets the end of a confirmed entry, whatever its status. */
  expireIn(entry: number, timeoutMs: number): void
  /** nf_ct_kill: false if it was ending already. */
  kill(entry: number): boolean
  /** nf_ct_kill_acct. */
  killCounted(entry: number, dir: number, pkt: Packet): boolean
  /** The timeouts (ms) of the entry's policy for this tracker, or `standard`. Hot. */
  timeouts(entry: number, standard: Float64Array): Float64Array
  /** The timeouts in force of a tracker earlier in the list, ms. */
  standardOf(protocol: number): Float64Array
  /** The transport checksum is right; verified once a packet. */
  checksumOk(pkt: Packet): boolean
  /**
   * nf_l4proto_log_invalid, if nf_conntrack_log_invalid wants this protocol. `reason`: a format of %u (unsigned), %d,
   * %x and %s for what follows, so that nothing is put together which nobody reads.
   */
  logInvalid(
    pkt: Packet,
    protocol: number,
    reason: string,
    a?: number | string,
    b?: number | string,
    c?: number | string,
    d?: number | string,
  ): void
  /** Declares net.netfilter.`name` in seconds; keeps `into[index]` in ms. */
  declareTimeout(name: string, seconds: number, into: Float64Array, index: number): void
  /** Declares net.netfilter.`name`, 0 to `max`. */
  declare(name: string, value: number, max: number, apply: (value: number) => void): void
  /** nfct_synproxy: SYNPROXY made this connection to the server. */
  synproxied(entry: number): boolean
  /** nf_ct_seq_offset; only asked for entries with Status.SeqAdjust. */
  seqOffset(entry: number, dir: number, seq: number): number
}

/** Several datagrams at once, as packet() one after the other. Called without `this`. Hot: does not allocate. */
export interface Datagrams {
  /**
   * Datagrams that are right, any number at this moment, change nothing but when the entry ends and what it counts: the number of
   * the timeout that is its. -1: one may change more.
   */
  readonly steady: (this: void, entry: number) => number
  /** So many have come, together of so many bytes, in that state. */
  readonly heard: (
    this: void,
    entry: number,
    dir: number,
    state: number,
    packets: number,
    bytes: number,
  ) => void
}

export interface Tracker {
  /** IPPROTO_*; 255 for everything that has no tracker of its own. */
  readonly protocol: number
  /** As conntrack(8) prints it. */
  readonly name: string
  /** nf_conntrack_l4proto.allow_clash. */
  readonly allowClash: boolean
  /** Names of the timeouts of a policy, in the order of the tracker's timeout array. */
  readonly timeoutNames: readonly string[]
  /** The timeouts in force, ms. */
  readonly standard: Float64Array
  /** nf_conntrack_*_packet. `dir`: 0 original, 1 reply. Called without `this`. Hot: does not allocate. */
  readonly packet: (this: void, pkt: Packet, entry: number, dir: number, hook: Hook) => Tracked
  /** UDP alone. */
  readonly datagrams?: Datagrams
  /** nf_conntrack_l4proto.can_early_drop: a closing connection, though assured. */
  canEarlyDrop?(entry: number): boolean
  /** nf_conntrack_tcp_set_closing: the host answered with a reset, the confirmed connection is over. */
  closed?(entry: number): void
  /** The state in `conntrack -L`, '' for none. */
  state?(entry: number): string
  /** Number of the state, as ctnetlink tells it; undefined for none. */
  stateNumber?(entry: number): number
  /** SCTP: verification tags of the original and the reply direction. */
  tags?(entry: number): readonly [number, number]
  /**
   * A program sets the state by its number (from_nlattr); null: left alone. TCP windows are not checked from then on,
   * as conntrack(8) asks.
   */
  assign?(entry: number, state: number | null, tags: readonly [number, number] | null): void
  /** Tracking begins again after a pause (nf_ct_tcp_fixup). */
  resume?(entry: number): void
}

export type TrackerMaker = (core: TrackerCore) => Tracker
