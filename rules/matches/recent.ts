// recent: addresses seen lately, in lists with names (libxt_recent of iptables 1.8.9, recent_mt() of xt_recent.c).
//
//     list ── least recently touched first ──> entry: address, TTL, ring of time stamps
//
// A list lives as long as a rule names it; the first rule's mask counts. It remembers 100 addresses, and as many
// stamps of each as the largest --hitcount asks for, rounded up to a power of two, or 32.

import type { Host } from '../../datapath/host.ts'
import type { Family, Packet } from '../../datapath/packet.ts'
import { IPV4_TTL } from '../../datapath/wire/ipv4.ts'
import { IPV6_HOP_LIMIT } from '../../datapath/wire/ipv6.ts'
import type { Match } from '../extension.ts'
import { addressField, nameField } from '../layout.ts'
import { WholeError } from '../options.ts'
import { HZ, isProcName, jiffies, sharedOf } from '../shared.ts'
import { formatAddress, formatWhole, parseAddress, type Words } from '../text/address.ts'
import { cutBytes } from './comment.ts'
import { words } from './parts.ts'

export interface Recent {
  readonly action: 'set' | 'rcheck' | 'update' | 'remove'
  readonly invert: boolean
  /** 0: any time. */
  readonly seconds: number
  readonly reap: boolean
  /** 0: any number. */
  readonly hitcount: number
  readonly rttl: boolean
  readonly name: string
  readonly mask: Words
  readonly side: 'source' | 'dest'
}

const ACTIONS = ['set', 'rcheck', 'update', 'remove'] as const
const LISTED = { set: 'SET', rcheck: 'CHECK', update: 'UPDATE', remove: 'REMOVE' } as const
const MAX_NAME = 199
const MAX_STAMPS = 65536
const DEFAULT_STAMPS = 32
/** ip_list_tot: addresses in one list. */
const MAX_ENTRIES = 100
const BUCKETS = 128

class RecentEntry {
  readonly family: Family
  readonly address: Words
  ttl: number
  /** jiffies. */
  readonly stamps: number[]
  index = 1
  older: RecentEntry | null = null
  newer: RecentEntry | null = null
  next: RecentEntry | null = null

  constructor(family: Family, address: Words, ttl: number, now: number) {
    this.family = family
    this.address = address
    this.ttl = ttl
    this.stamps = [now]
  }
}

const bucketOf = (w0: number, w1: number, w2: number, w3: number): number =>
  (Math.imul(w0 ^ w1 ^ w2 ^ w3, 0x9e3779b1) >>> 25) & (BUCKETS - 1)

/** in4_pton(): four decimal numbers, whatever zeros they begin with. */
function plainIpv4(text: string): Words | null {
  if (!/^\d+(\.\d+){3}$/.test(text)) return null
  const bytes = text.split('.').map(Number)
  return bytes.some((byte) => byte > 255)
    ? null
    : [bytes.reduce((word, byte) => (word << 8) | byte, 0), 0, 0, 0]
}

/** One list, as /proc/net/xt_recent/NAME shows it. */
export class RecentList {
  readonly mask: Words
  stampMask: number
  readonly #buckets: (RecentEntry | null)[] = new Array(BUCKETS).fill(null)
  #oldest: RecentEntry | null = null
  #newest: RecentEntry | null = null
  #count = 0

  constructor(mask: Words, stampMask: number) {
    this.mask = mask
    this.stampMask = stampMask
  }

  /** `ttl` 0: any. Does not allocate. */
  find(family: Family, w0: number, w1: number, w2: number, w3: number, ttl: number): RecentEntry | null {
    for (let e: RecentEntry | null = this.#buckets[bucketOf(w0, w1, w2, w3)]!; e !== null; e = e.next) {
      const a = e.address
      if (e.family !== family || a[0] !== w0 || a[1] !== w1 || a[2] !== w2 || a[3] !== w3) continue
      if (ttl === e.ttl || ttl === 0 || e.ttl === 0) return e
    }
    return null
  }

  /** A new entry; the one that was touched longest ago makes room. */
  add(family: Family, address: Words, ttl: number, now: number): void {
    if (this.#count >= MAX_ENTRIES) this.remove(this.#oldest!)
    const entry = new RecentEntry(family, address, ttl, now)
    const bucket = bucketOf(...address)
    // At the end of its bucket: of two entries of one address the older is found.
    let last = this.#buckets[bucket]!
    if (last === null) this.#buckets[bucket] = entry
    else {
      while (last.next !== null) last = last.next
      last.next = entry
    }
    this.#append(entry)
    this.#count++
  }

  remove(entry: RecentEntry): void {
    const bucket = bucketOf(...entry.address)
    let at = this.#buckets[bucket]!
    if (at === entry) this.#buckets[bucket] = entry.next
    else {
      while (at!.next !== entry) at = at!.next!
      at!.next = entry.next
    }
    this.#unlink(entry)
    this.#count--
  }

  touch(entry: RecentEntry, now: number): void {
    entry.index &= this.stampMask
    entry.stamps[entry.index++] = now
    this.#unlink(entry)
    this.#append(entry)
  }

  /** Drops the entry touched longest ago if that was before `time`, unless it is `kept`. */
  reap(time: number, kept: RecentEntry | null): void {
    const entry = this.#oldest
    if (entry === null || entry === kept) return
    if (entry.stamps[entry.index - 1]! < time) this.remove(entry)
  }

  flush(): void {
    this.#buckets.fill(null)
    this.#oldest = this.#newest = null
    this.#count = 0
  }

  /** A further rule uses the list: if it asks for more stamps, the list begins anew. */
  widen(stampMask: number): void {
    if (stampMask <= this.stampMask) return
    this.flush()
    this.stampMask = stampMask
  }

  /** As /proc/net/xt_recent/NAME reads; entries in the order in which they were touched. */
  lines(): string[] {
    const lines: string[] = []
    for (let e = this.#oldest; e !== null; e = e.newer) {
      const last = e.stamps[(e.index - 1) & this.stampMask]
      lines.push(
        `src=${formatWhole(e.address, e.family)} ttl: ${e.ttl} last_seen: ${last} oldest_pkt: ${e.index} ${e.stamps.join(', ')}`,
      )
    }
    return lines
  }

  /** As a write to /proc/net/xt_recent/NAME: `+ADDRESS`, `-ADDRESS`, `/`. False for anything else (recent_mt_proc_write). */
  write(text: string, now: number): boolean {
    const [command = ''] = text.split('\n')
    if (command.startsWith('/')) {
      this.flush()
      return true
    }
    const family = command.includes(':') ? 6 : 4
    const address = family === 4 ? plainIpv4(command.slice(1)) : parseAddress(command.slice(1), 6)
    if (address === null || (command[0] !== '+' && command[0] !== '-')) return false
    const entry = this.find(family, ...address, 0)
    if (command[0] === '-') {
      if (entry !== null) this.remove(entry)
    } else if (entry !== null) this.touch(entry, now)
    else this.add(family, address, 0, now)
    return true
  }

  #append(entry: RecentEntry): void {
    entry.older = this.#newest
    entry.newer = null
    if (this.#newest === null) this.#oldest = entry
    else this.#newest.newer = entry
    this.#newest = entry
  }

  #unlink(entry: RecentEntry): void {
    if (entry.older === null) this.#oldest = entry.newer
    else entry.older.newer = entry.newer
    if (entry.newer === null) this.#newest = entry.older
    else entry.newer.older = entry.older
  }
}

/** The lists of a host. */
export const recentLists = (host: Host) => sharedOf<RecentList>(host, 'recent')

const stampMaskOf = (m: Recent): number =>
  m.hitcount === 0 ? DEFAULT_STAMPS - 1 : 2 ** Math.ceil(Math.log2(m.hitcount)) - 1

/** recent_mt(). Allocates only for an address that is new to the list. */
function seen(pkt: Packet, host: Host, list: RecentList, m: Recent): boolean {
  const { mask } = list
  const source = m.side === 'source'
  const w0 = (source ? pkt.s0 : pkt.d0) & mask[0]
  const w1 = pkt.family === 4 ? 0 : (source ? pkt.s1 : pkt.d1) & mask[1]
  const w2 = pkt.family === 4 ? 0 : (source ? pkt.s2 : pkt.d2) & mask[2]
  const w3 = pkt.family === 4 ? 0 : (source ? pkt.s3 : pkt.d3) & mask[3]
  // The TTL as it was before forwarding took one.
  const wasForwarded = pkt.oif !== 0 && (!pkt.local || pkt.socketless)
  const ttl =
    (host.memory.bytes[pkt.l3 + (pkt.family === 4 ? IPV4_TTL : IPV6_HOP_LIMIT)]! + (wasForwarded ? 1 : 0)) &
    0xff
  const now = jiffies(host)
  const entry = list.find(pkt.family, w0, w1, w2, w3, m.rttl ? ttl : 0)
  if (entry === null) {
    if (m.action !== 'set') return m.invert
    list.add(pkt.family, [w0, w1, w2, w3], ttl, now)
    return !m.invert
  }
  let fits = m.invert
  if (m.action === 'set') fits = !fits
  else if (m.action === 'remove') {
    list.remove(entry)
    fits = !fits
  } else {
    const time = now - (Math.imul(m.seconds, HZ) >>> 0)
    let hits = 0
    for (let i = 0; i < entry.stamps.length; i++) {
      if (m.seconds !== 0 && entry.stamps[i]! < time) continue
      if (m.hitcount === 0 || ++hits >= m.hitcount) {
        fits = !fits
        break
      }
    }
    if (m.reap) list.reap(time, m.action === 'update' && fits ? entry : null)
  }
  if (m.action === 'set' || (m.action === 'update' && fits)) {
    list.touch(entry, now)
    entry.ttl = ttl
  }
  return fits
}

export const recent: Match<Recent> = {
  kind: 'match',
  name: 'recent',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 232,
    fields: ({ name, side, mask, seconds, hitcount, ...rest }) => [
      [0, 4, seconds],
      [4, 4, hitcount],
      [8, 1, (1 << ACTIONS.indexOf(rest.action)) | (rest.rttl ? 0x10 : 0) | (rest.reap ? 0x20 : 0)],
      [9, 1, rest.invert ? 1 : 0],
      nameField(10, 200, name),
      [210, 1, side === 'dest' ? 1 : 0],
      addressField(212, mask),
    ],
  },
  options: [
    ...ACTIONS.map((flag) => ({
      flag,
      arg: 'none' as const,
      invertible: true,
      excludes: ACTIONS.filter((other) => other !== flag),
    })),
    { flag: 'seconds' },
    { flag: 'reap', arg: 'none', also: ['seconds'] },
    { flag: 'hitcount' },
    { flag: 'rttl', arg: 'none', excludes: ['set', 'remove'] },
    { flag: 'name', holds: 'name list' },
    { flag: 'rsource', arg: 'none' },
    { flag: 'rdest', arg: 'none' },
    { flag: 'mask', holds: 'mask' },
  ],
  help: `recent match options:
[!] --set                       Add source address to list, always matches.
[!] --rcheck                    Match if source address in list.
[!] --update                    Match if source address in list, also update last-seen time.
[!] --remove                    Match if source address in list, also removes that address from list.
    --seconds seconds           For check and update commands above.
                                Specifies that the match will only occur if source address last seen within
                                the last 'seconds' seconds.
    --reap                      Purge entries older then 'seconds'.
                                Can only be used in conjunction with the seconds option.
    --hitcount hits             For check and update commands above.
                                Specifies that the match will only occur if source address seen hits times.
                                May be used in conjunction with the seconds option.
    --rttl                      For check and update commands above.
                                Specifies that the match will only occur if the source address and the TTL
                                match between this packet and the one which was set.
                                Useful if you have problems with people spoofing their source address in order
                                to DoS you via this module.
    --name name                 Name of the recent list to be used.  DEFAULT used if none given.
    --rsource                   Match/Save the source address of each packet in the recent list table (default).
    --rdest                     Match/Save the destination address of each packet in the recent list table.
    --mask netmask              Netmask that will be applied to this recent list.
xt_recent by: Stephen Frost <sfrost@snowman.net>.
`,
  parse(o) {
    const action = ACTIONS.find((flag) => o.has(flag))
    const data = {
      seconds: o.has('seconds') ? o.uint('seconds', 32, 1, 0xffffffff) : 0,
      reap: o.has('reap'),
      hitcount: o.has('hitcount') ? o.uint('hitcount', 32) : 0,
      rttl: o.has('rttl'),
      name: o.has('name') ? cutBytes(o.text('name'), MAX_NAME) : 'DEFAULT',
      // All of it in either family: both may use the list.
      mask: o.has('mask') ? o.address('mask') : ([-1, -1, -1, -1] as const),
      side:
        o.given().findLast((flag) => flag === 'rsource' || flag === 'rdest') === 'rdest' ? 'dest' : 'source',
    } as const
    if (action === undefined)
      throw new WholeError("recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'")
    return { action, invert: o.inverted(action), ...data }
  },
  print: (m, family) =>
    words(
      `${m.invert ? '! ' : ''}--${m.action}`,
      m.seconds === 0 ? '' : `--seconds ${m.seconds | 0}`,
      m.reap ? '--reap' : '',
      m.hitcount === 0 ? '' : `--hitcount ${m.hitcount | 0}`,
      m.rttl ? '--rttl' : '',
      `--name ${m.name}`,
      `--mask ${formatAddress(m.mask, family)}`,
      `--r${m.side}`,
    ),
  list: (m, _, family) =>
    words(
      `${m.invert ? '! ' : ''}recent: ${LISTED[m.action]}`,
      m.seconds === 0 ? '' : `seconds: ${m.seconds | 0}`,
      m.reap ? 'reap' : '',
      m.hitcount === 0 ? '' : `hit_count: ${m.hitcount | 0}`,
      m.rttl ? 'TTL-Match' : '',
      `name: ${m.name} side: ${m.side} mask: ${formatAddress(m.mask, family)}`,
    ),
  check(m) {
    if (
      (m.action === 'set' || m.action === 'remove') &&
      (m.seconds !== 0 || m.hitcount !== 0 || m.rttl || m.reap)
    )
      return 'recent: --seconds, --hitcount, --reap and --rttl are for --rcheck and --update'
    if (m.hitcount >= MAX_STAMPS) return `recent: hitcount (${m.hitcount}) is larger than allowed maximum`
    return isProcName(m.name) ? null : 'recent: a name that no file can have'
  },
  state(m, env) {
    const mask = stampMaskOf(m)
    const list = recentLists(env.host).take(m.name, () => new RecentList(m.mask, mask))
    list.widen(mask)
    return list
  },
  release: (m, env) => recentLists(env.host).give(m.name),
  reads: ['source', 'destination', 'ttl', 'clock', 'state'],
  emit: (m, js) => js`${js.bind(seen)}(pkt, ${js.env.host}, ${js.state}, ${m})`,
}
