// What trackers ask of connection tracking: when an entry ends and what it has counted, checksums, and whether somebody wants
// to know why a packet is INVALID.

import type { Host } from '../datapath/host.ts'
import type { Packet } from '../datapath/packet.ts'
import { checksumOk6, transportChecksumOk } from '../datapath/wire/checksum.ts'
import { IPPROTO_RAW, IPPROTO_SCTP } from '../datapath/wire/protocol.ts'
import type { Conntrack } from './conntrack.ts'
import type { ExpiryWheel } from './expiry.ts'
import { formatReason } from './reasons.ts'
import {
  type EntryTable,
  EXTENSIONS,
  Extension,
  endOf,
  POLICY_SHIFT,
  STATUS,
  STRIDE,
  Status,
} from './table.ts'
import type { TimeoutPolicies } from './timeouts.ts'
import type { Tracker, TrackerCore } from './trackers/tracker.ts'

/** What proc_dointvec_jiffies() takes, at 250 a second. A negative time is over at once. */
const MAX_TIMEOUT_S = Math.floor(0x7fffffff / 250)

export class Core implements TrackerCore {
  readonly host: Host
  readonly table: EntryTable
  checksum = true
  /** nf_conntrack_log_invalid: a protocol, 255 all, 0 none. */
  logged = 0
  /** A packet is INVALID and that sysctl wants to know. `text` as nf_log_packet's prefix. */
  onInvalid: ((pkt: Packet, text: string) => void) | null = null
  /** The same, whatever the sysctl says: format and values as for logInvalid. */
  onReason: ((pkt: Packet, reason: string, values: readonly (number | string)[]) => void) | null = null
  readonly #conntrack: Conntrack
  readonly #policies: TimeoutPolicies
  readonly #wheel: ExpiryWheel
  /** By protocol; filled while they are made. */
  readonly #trackers: ReadonlyMap<number, Tracker>

  constructor(conntrack: Conntrack, wheel: ExpiryWheel, trackers: ReadonlyMap<number, Tracker>) {
    this.host = conntrack.host
    this.table = conntrack.table
    this.#conntrack = conntrack
    this.#policies = conntrack.policies
    this.#wheel = wheel
    this.#trackers = trackers
  }

  kill(entry: number): boolean {
    return this.#conntrack.kill(entry)
  }

  /** Reads what kill() will ask of these confirmed entries. `hashes`: as EntryTable.touchAll(). Hot. */
  touchEnds(entries: Int32Array, hashes: Int32Array, count: number): void {
    this.table.touchAll(entries, hashes, count)
    this.#wheel.touch(entries, count)
    this.#conntrack.onTouch?.(entries, count)
  }

  killCounted(entry: number, dir: number, pkt: Packet): boolean {
    this.account(entry, dir, pkt.length)
    return this.kill(entry)
  }

  /** Hot. */
  refresh(entry: number, dir: number, length: number, timeoutMs: number, packets = 1): void {
    const { table } = this
    const w = table.words
    const o = entry * STRIDE
    const status = w[o + STATUS]!
    if ((status & (Status.FixedTimeout | Status.Confirmed)) === Status.Confirmed)
      this.expireIn(entry, timeoutMs)
    else if ((status & Status.FixedTimeout) === 0) table.setExpires(entry, timeoutMs)
    this.account(entry, dir, length, packets)
  }

  /** nf_ct_refresh: as refresh, but counts nothing. */
  prolong(entry: number, timeoutMs: number): void {
    const status = this.table.words[entry * STRIDE + STATUS]!
    if ((status & Status.FixedTimeout) !== 0) return
    if ((status & Status.Confirmed) !== 0) this.expireIn(entry, timeoutMs)
    else this.table.setExpires(entry, timeoutMs)
  }

  /** Made with nf_conntrack_acct. Where nobody was, not even the entry is looked at. Hot. */
  counts(entry: number): boolean {
    return (
      this.table.acct.length > 0 && (this.table.words[entry * STRIDE + EXTENSIONS]! & Extension.Acct) !== 0
    )
  }

  /** nf_ct_acct_update. `length`: bytes of the packet, or of so many. Hot. */
  account(entry: number, dir: number, length: number, packets = 1): void {
    if (!this.counts(entry)) return
    const { acct } = this.table
    acct[entry * 4 + dir * 2]! += packets
    acct[entry * 4 + dir * 2 + 1]! += length
  }

  /** nf_ct_is_expired. As below, no double is handed over, which costs memory where V8 inlines no more. Hot. */
  isOver(entry: number): boolean {
    return this.table.doubles[endOf(entry)]! <= this.host.now
  }

  expireIn(entry: number, timeoutMs: number): void {
    const { doubles } = this.table
    const at = endOf(entry)
    const before = doubles[at]!
    const ends = this.host.now + timeoutMs
    doubles[at] = ends
    if (ends < before) this.#wheel.shortened(entry)
  }

  timeouts(entry: number, standard: Float64Array): Float64Array {
    if (this.#policies.none === true) return standard
    const policy = this.table.words[entry * STRIDE + EXTENSIONS]! >>> POLICY_SHIFT
    return policy === 0 ? standard : this.#policies.values(policy)
  }

  standardOf(protocol: number): Float64Array {
    return this.#trackers.get(protocol)!.standard
  }

  /** Verified once: the packet then counts as checked, as skb->ip_summed says. */
  checksumOk(pkt: Packet): boolean {
    if (pkt.family === 6 && pkt.proto !== IPPROTO_SCTP) return checksumOk6(pkt, this.host.memory, true)
    if (pkt.csumOk) return true
    if (!transportChecksumOk(pkt, this.host.memory)) {
      if (pkt.family === 4) pkt.residue = 0
      return false
    }
    pkt.csumOk = true
    return true
  }

  /** Somebody wants to know why packets of this protocol are INVALID. */
  logs(protocol: number): boolean {
    return this.onReason !== null || this.#logs(protocol)
  }

  /** nf_conntrack_log_invalid is this protocol, or all, and somebody listens. */
  #logs(protocol: number): boolean {
    const wanted = this.logged
    return wanted !== 0 && this.onInvalid !== null && (wanted === protocol || wanted === IPPROTO_RAW)
  }

  logInvalid(
    pkt: Packet,
    protocol: number,
    reason: string,
    a: number | string = 0,
    b: number | string = 0,
    c: number | string = 0,
    d: number | string = 0,
  ): void {
    this.onReason?.(pkt, reason, [a, b, c, d])
    if (this.#logs(protocol))
      this.onInvalid?.(pkt, `nf_ct_proto_${protocol}: ${formatReason(reason, [a, b, c, d])} `)
  }

  synproxied(entry: number): boolean {
    return this.#conntrack.synproxy.has(entry)
  }

  seqOffset(entry: number, dir: number, seq: number): number {
    return this.#conntrack.sequences.offset(entry, dir, seq)
  }

  declareTimeout(name: string, seconds: number, into: Float64Array, index: number): void {
    this.host.tunables.declare({
      name: `net.netfilter.${name}`,
      default: seconds,
      min: -MAX_TIMEOUT_S,
      max: MAX_TIMEOUT_S,
      unit: 's',
      // nfct sets parts of a second, and times that are over by less than one: -0.
      read: () => Math.trunc(into[index]! / 1000),
      apply: (value) => {
        into[index] = value * 1000
      },
    })
  }

  declare(name: string, value: number, max: number, apply: (value: number) => void): void {
    this.host.tunables.declare({ name: `net.netfilter.${name}`, default: value, min: 0, max, apply })
  }
}
