// Expectations (nf_conntrack_expect.c): connections that a helper saw announced inside another one. The first packet
// that fits becomes RELATED to that master. Rare, so they are plain objects.
//
//     master (ftp control) --helper--> expectation --first packet that fits--> entry with a master

import type { EntryTable } from './table.ts'
import { anyZoneOf, HELPER, STATUS, STRIDE, Status } from './table.ts'
import type { Tuple } from './tuple.ts'

/** NF_CT_EXPECT_*. */
export const ExpectFlag = { Permanent: 1, Inactive: 2, Userspace: 4 } as const

/** What an expectation does not ask of the source (struct nf_conntrack_tuple_mask); bits that are 1 are compared. */
export interface TupleMask {
  readonly s0: number
  readonly s1: number
  readonly s2: number
  readonly s3: number
  /** Of the source port, 16 bit. */
  readonly port: number
}

/** struct nf_conntrack_expect_policy: of one class of a helper's expectations. */
export interface ExpectPolicy {
  /** How many a master may have at once, 0 any. */
  readonly max: number
  readonly seconds: number
}

/** How NAT will bind what comes (struct nf_conntrack_expect, CONFIG_NF_NAT). */
export interface ExpectNat {
  /** Direction of the master in which the new connection begins. */
  readonly dir: number
  /** Port, or GRE key, before translation. */
  readonly port: number
  /** Address before translation. */
  readonly address?: readonly [number, number, number, number]
}

export interface Expectation {
  readonly master: number
  readonly tuple: Tuple
  readonly mask: TupleMask
  /** Policy class of the master's helper. */
  readonly class: number
  /** Helper number of the new entry + 1, 0 none. */
  readonly helper: number
  flags: number
  /** Name of the helper that expects, for printing. */
  readonly name: string
  /** host.now at which it is forgotten, ms. */
  expires: number
  /** Called with the new, unconfirmed entry (expectfn): NAT helpers bind it. */
  onMatch: ((entry: number, expectation: Expectation) => void) | null
  nat?: ExpectNat | null
}

/** Hears of expectations; `made` false: it ended. */
export type ExpectListener = (expectation: Expectation, made: boolean) => void

/** Why an expectation was not taken (negative errno of nf_ct_expect_related). */
export const ExpectError = { None: 0, Shutdown: -108, Busy: -16, TooMany: -24, Already: -114 } as const

export class Expectations {
  readonly #table: EntryTable
  /** By destination port and protocol; newest first. */
  readonly #lists = new Map<number, Expectation[]>()
  /** By master; newest first. */
  readonly #masters = new Map<number, Expectation[]>()
  /** No expectation ends before, ms. */
  #soonest = Number.POSITIVE_INFINITY
  /** nf_conntrack_expect_max. */
  max = 4096
  count = 0
  /** Statistics: connections that were expected, expectations made and ended. */
  matched = 0
  created = 0
  deleted = 0

  readonly #listeners = new Set<ExpectListener>()

  constructor(table: EntryTable) {
    this.#table = table
  }

  /**
   * nf_ct_expect_related: takes an expectation. One of the same tuple, mask, master and class is replaced; of
   * another, it is a clash. `limit`: max_expected of the class, 0 any; beyond it the oldest of the master goes.
   * `anyMaster`: one of another master is told apart from a clash (NF_CT_EXP_F_SKIP_MASTER). ExpectError.
   */
  add(expectation: Expectation, now: number, limit = 0, anyMaster = false): number {
    if (this.#ending(expectation.master)) return ExpectError.Shutdown
    this.expire(now)
    for (const other of [...(this.#lists.get(keyOf(expectation.tuple)) ?? [])]) {
      if (!this.#zoneEqual(other, expectation.master)) continue
      if (sameMask(other.mask, expectation.mask) && other.tuple.equals(expectation.tuple)) {
        if (other.master !== expectation.master || other.class !== expectation.class)
          return anyMaster ? ExpectError.Already : ExpectError.Busy
        this.remove(other)
      } else if (clashes(other, expectation)) return ExpectError.Busy
    }
    if (limit !== 0) {
      const own = this.of(expectation.master).filter((e) => e.class === expectation.class)
      if (own.length >= limit) this.remove(own.at(-1)!)
    }
    if (this.count >= this.max) return ExpectError.TooMany
    const key = keyOf(expectation.tuple)
    const list = this.#lists.get(key)
    if (list === undefined) this.#lists.set(key, [expectation])
    else list.unshift(expectation)
    const siblings = this.#masters.get(expectation.master)
    if (siblings === undefined) this.#masters.set(expectation.master, [expectation])
    else siblings.unshift(expectation)
    this.#soonest = Math.min(this.#soonest, expectation.expires)
    this.count++
    this.created++
    for (const listener of this.#listeners) listener(expectation, true)
    return ExpectError.None
  }

  /**
   * nf_ct_find_expectation: the expectation that a new connection's tuple fulfils, or null. It is used up, unless
   * permanent. `zone`: the new connection's, though it may count for one direction only.
   */
  take(tuple: Tuple, zone: number, now: number): Expectation | null {
    this.expire(now)
    for (const e of this.#lists.get(keyOf(tuple)) ?? []) {
      if ((e.flags & ExpectFlag.Inactive) !== 0 || !fits(e, tuple)) continue
      const o = e.master * STRIDE
      const w = this.#table.words
      if (this.#zoneOf(e.master) !== zone) continue
      // A master whose packet has not left yet cannot have told anybody; one that ends is no master.
      if ((w[o + STATUS]! & (Status.Confirmed | Status.Dying)) !== Status.Confirmed) return null
      if ((e.flags & ExpectFlag.Permanent) === 0) this.remove(e)
      this.matched++
      return e
    }
    return null
  }

  remove(expectation: Expectation): boolean {
    const key = keyOf(expectation.tuple)
    const list = this.#lists.get(key)
    const at = list?.indexOf(expectation) ?? -1
    if (list === undefined || at < 0) return false
    list.splice(at, 1)
    if (list.length === 0) this.#lists.delete(key)
    const siblings = this.#masters.get(expectation.master)!
    siblings.splice(siblings.indexOf(expectation), 1)
    if (siblings.length === 0) this.#masters.delete(expectation.master)
    this.count--
    this.deleted++
    for (const listener of this.#listeners) listener(expectation, false)
    return true
  }

  /** Tells `listener` of every expectation made and ended from now on. Returns the undo. */
  listen(listener: ExpectListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** nf_ct_remove_expectations: the master ends. */
  removeOf(master: number): void {
    if (this.#masters.has(master)) for (const e of this.of(master)) this.remove(e)
  }

  /** nf_ct_expect_find_get: the expectation that a tuple in the zone of `entry` would fulfil, or null; it stays. */
  find(tuple: Tuple, entry: number): Expectation | null {
    const zone = this.#zoneOf(entry)
    for (const e of this.#lists.get(keyOf(tuple)) ?? [])
      if (fits(e, tuple) && this.#zoneOf(e.master) === zone) return e
    return null
  }

  /** Those of a master, newest first. */
  of(master: number): readonly Expectation[] {
    return [...(this.#masters.get(master) ?? [])]
  }

  /** Another end than it had (mod_timer). */
  prolong(expectation: Expectation, expires: number): void {
    expectation.expires = expires
    this.#soonest = Math.min(this.#soonest, expires)
  }

  all(): Expectation[] {
    return [...this.#lists.values()].flat()
  }

  flush(): void {
    for (const e of this.all()) this.remove(e)
  }

  /** Forgets what is past its time. */
  expire(now: number): void {
    if (now < this.#soonest) return
    this.#soonest = Number.POSITIVE_INFINITY
    for (const e of this.all())
      if (e.expires <= now) this.remove(e)
      else this.#soonest = Math.min(this.#soonest, e.expires)
  }

  #ending(master: number): boolean {
    const o = master * STRIDE
    const w = this.#table.words
    return (w[o + STATUS]! & Status.Dying) !== 0 || w[o + HELPER] === 0
  }

  #zoneEqual(e: Expectation, master: number): boolean {
    return this.#zoneOf(e.master) === this.#zoneOf(master)
  }

  /** nf_ct_zone(ct)->id, whichever directions it counts for (nf_ct_zone_equal_any). */
  #zoneOf(entry: number): number {
    return anyZoneOf(this.#table.words, entry * STRIDE)
  }
}

function keyOf(t: Tuple): number {
  return (t.ports & 0xffff) * 0x1000000 + t.meta
}

function sameMask(a: TupleMask, b: TupleMask): boolean {
  return a.s0 === b.s0 && a.s1 === b.s1 && a.s2 === b.s2 && a.s3 === b.s3 && a.port === b.port
}

/** nf_ct_tuple_mask_cmp. */
function fits(e: Expectation, t: Tuple): boolean {
  return sameDestination(e.tuple, t) && sourceFits(e.tuple, t, e.mask)
}

function sameDestination(a: Tuple, b: Tuple): boolean {
  return (
    a.meta === b.meta &&
    (a.ports & 0xffff) === (b.ports & 0xffff) &&
    a.d0 === b.d0 &&
    a.d1 === b.d1 &&
    a.d2 === b.d2 &&
    a.d3 === b.d3
  )
}

function sourceFits(a: Tuple, b: Tuple, m: TupleMask): boolean {
  return (
    ((a.s0 ^ b.s0) & m.s0) === 0 &&
    ((a.s1 ^ b.s1) & m.s1) === 0 &&
    ((a.s2 ^ b.s2) & m.s2) === 0 &&
    ((a.s3 ^ b.s3) & m.s3) === 0 &&
    (((a.ports >>> 16) ^ (b.ports >>> 16)) & m.port) === 0
  )
}

/** expect_clash: some packet could fulfil both. */
function clashes(a: Expectation, b: Expectation): boolean {
  const mask = {
    s0: a.mask.s0 & b.mask.s0,
    s1: a.mask.s1 & b.mask.s1,
    s2: a.mask.s2 & b.mask.s2,
    s3: a.mask.s3 & b.mask.s3,
    port: a.mask.port & b.mask.port,
  }
  return sameDestination(a.tuple, b.tuple) && sourceFits(a.tuple, b.tuple, mask)
}
