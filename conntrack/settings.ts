// The sysctls of connection tracking as a whole; those of a protocol are declared by its tracker.

import type { Conntrack } from './conntrack.ts'

/** nf_ct_alloc_hashtable: buckets come in pages. */
const BUCKETS_A_PAGE = 512

export class Settings {
  /** nf_conntrack_acct: new entries count packets and bytes. */
  acct = false
  /** nf_conntrack_timestamp. */
  timestamps = false
  /** nf_conntrack_events: 1 new entries have events, 2 only while somebody listens. */
  events = 2
  /** What nf_conntrack_buckets says. */
  #buckets = 262144

  constructor(conntrack: Conntrack) {
    const { tunables } = conntrack.host
    const most = (name: string, initial: number, min: number, apply: (value: number) => void): void =>
      tunables.declare({
        name: `net.netfilter.${name}`,
        default: initial,
        min,
        max: 0x7fffffff,
        unit: 'entries',
        apply,
      })
    most('nf_conntrack_max', 262144, 0, (value) => {
      conntrack.limit.max = value
    })
    tunables.alias('net.nf_conntrack_max', 'net.netfilter.nf_conntrack_max')
    tunables.declare({
      name: 'net.netfilter.nf_conntrack_buckets',
      default: 262144,
      min: 1,
      max: 0x4000000,
      unit: 'entries',
      read: () => this.#buckets,
      // Differs from Linux: rounded up to a power of two inside.
      apply: (value) => {
        this.#buckets = Math.ceil(value / BUCKETS_A_PAGE) * BUCKETS_A_PAGE
        conntrack.table.rehash(value)
      },
    })
    tunables.declare({
      name: 'net.netfilter.nf_conntrack_count',
      default: 0,
      unit: 'entries',
      readOnly: true,
      read: () => conntrack.count,
    })
    conntrack.core.declare('nf_conntrack_acct', 0, 1, (value) => {
      this.acct = value !== 0
    })
    conntrack.core.declare('nf_conntrack_checksum', 1, 1, (value) => {
      conntrack.core.checksum = value !== 0
    })
    conntrack.core.declare('nf_conntrack_events', 2, 2, (value) => {
      this.events = value
    })
    most('nf_conntrack_expect_max', 4096, 1, (value) => {
      conntrack.expectations.max = value
    })
    conntrack.core.declare('nf_conntrack_log_invalid', 0, 255, (value) => {
      conntrack.core.logged = value
    })
    conntrack.core.declare('nf_conntrack_timestamp', 0, 1, (value) => {
      this.timestamps = value !== 0
    })
  }
}
