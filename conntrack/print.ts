// Entries and expectations as conntrack(8) 1.4.7 prints them (libnetfilter_conntrack, snprintf_default.c).
//
//   ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=3 bytes=180
//     src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=2 bytes=120 [ASSURED] mark=0 zone=3 helper=ftp use=1

import { formatAddress } from '../datapath/wire/address.ts'
import {
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../datapath/wire/protocol.ts'
import type { Conntrack } from './conntrack.ts'
import type { Expectation } from './expect.ts'
import { LABELS, MASTER, SECMARK, STATUS, STRIDE, Status, TUPLE_WORDS, ZONE } from './table.ts'
import { Tuple } from './tuple.ts'

export interface FormatOptions {
  /** -o extended: the network protocol first. */
  readonly extended?: boolean
  /** -o id */
  readonly id?: boolean
  /** -o ktimestamp */
  readonly timestamps?: boolean
  /** -o labels: name of a label's bit, undefined for bits without one; true: no names are known (connlabel.conf). */
  readonly labels?: boolean | ((bit: number) => string | undefined)
}

/** The table's own names, not /etc/protocols. */
const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  [IPPROTO_ICMP]: 'icmp',
  [IPPROTO_TCP]: 'tcp',
  [IPPROTO_UDP]: 'udp',
  [IPPROTO_DCCP]: 'dccp',
  [IPPROTO_GRE]: 'gre',
  [IPPROTO_ICMPV6]: 'icmpv6',
  [IPPROTO_SCTP]: 'sctp',
  [IPPROTO_UDPLITE]: 'udplite',
}

/** One line, without newline. */
export function formatEntry(ct: Conntrack, entry: number, options: FormatOptions = {}): string {
  const w = ct.table.words
  const o = entry * STRIDE
  const status = w[o + STATUS]!
  const original = ct.table.readTuple(entry, 0, new Tuple())
  const reply = ct.table.readTuple(entry, 1, new Tuple())
  const { protocol } = original
  const parts: string[] = []
  if (options.extended === true) parts.push(original.family === 4 ? 'ipv4     2' : 'ipv6     10')
  parts.push(`${(PROTOCOL_NAMES[protocol] ?? 'unknown').padEnd(8)} ${protocol}`)
  parts.push(String(ct.remaining(entry)))
  const state = ct.trackerOf(entry).state?.(entry) ?? ''
  if (state !== '') parts.push(state)

  const zone0 = w[o + ZONE]!
  const zone1 = w[o + TUPLE_WORDS + ZONE]!
  parts.push(...printTuple(original))
  if (zone0 !== zone1 && zone0 !== 0) parts.push(`zone-orig=${zone0}`)
  parts.push(...counters(ct, entry, 0))
  if ((status & Status.SeenReply) === 0) parts.push('[UNREPLIED]')
  parts.push(...printTuple(reply))
  if (zone0 !== zone1 && zone1 !== 0) parts.push(`zone-reply=${zone1}`)
  parts.push(...counters(ct, entry, 1))
  if ((status & Status.Offload) !== 0) parts.push('[OFFLOAD]')
  else if ((status & Status.Assured) !== 0) parts.push('[ASSURED]')
  parts.push(`mark=${ct.mark(entry)}`)
  if (w[o + SECMARK] !== 0) parts.push(`secmark=${w[o + SECMARK]! >>> 0}`)
  if (zone0 === zone1 && zone0 !== 0) parts.push(`zone=${zone0}`)
  const started = ct.startedAt(entry)
  if (started >= 0) {
    parts.push(`delta-time=${Math.floor((ct.host.wall - started) / 1000)}`)
    if (options.timestamps === true) parts.push(`[start=${ctime(started)}]`)
  }
  const helper = ct.helperOf(entry)
  if (helper !== null && helper.name !== '') parts.push(`helper=${helper.name}`)
  parts.push(`use=${ct.references(entry)}`)
  if (options.id === true) parts.push(`id=${entryId(ct, entry)}`)
  if (typeof options.labels === 'function') {
    const names = labelNames(w, o, options.labels)
    if (names.length > 0) parts.push(`labels=${names.join(',')}`)
  }
  return parts.join(' ')
}

/** All lines of `conntrack -L`, in no particular order, as the kernel has none either. */
export function formatTable(ct: Conntrack, options: FormatOptions = {}): string[] {
  const lines: string[] = []
  ct.forEach((entry) => {
    lines.push(formatEntry(ct, entry, options))
  })
  return lines
}

/** One line of `conntrack -L expect`. */
export function formatExpectation(ct: Conntrack, e: Expectation): string {
  const t = e.tuple
  const master = ct.table.readTuple(e.master, 0, new Tuple())
  const mask = new Tuple()
  mask.s0 = e.mask.s0
  mask.s1 = e.mask.s1
  mask.s2 = e.mask.s2
  mask.s3 = e.mask.s3
  mask.d0 = mask.d1 = mask.d2 = mask.d3 = -1
  mask.ports = (e.mask.port << 16) | 0xffff
  mask.meta = t.meta
  const parts = [
    String(Math.max(0, Math.floor((e.expires - ct.host.now) / 1000))),
    `proto=${t.protocol}`,
    ...printTuple(t),
    `mask-${source(mask)}`,
    `mask-${destination(mask)}`,
    ...transport(mask),
    `master-${source(master)}`,
    `master-${destination(master)}`,
    ...transport(master),
  ]
  if ((e.flags & 1) !== 0) parts.push('PERMANENT')
  if ((e.flags & 2) !== 0) parts.push('INACTIVE')
  if ((e.flags & 4) !== 0) parts.push('USERSPACE')
  parts.push(`class=${e.class}`)
  if (e.name !== '') parts.push(`helper=${e.name}`)
  return parts.join(' ')
}

/** Lines of `conntrack -S`: one CPU. */
export function formatStats(ct: Conntrack): string {
  const s = ct.stats
  return `cpu=0   \tfound=${s.found} invalid=${s.invalid} insert=${s.insert} insert_failed=${s.insertFailed} drop=${s.drop} early_drop=${s.earlyDrop} error=${s.error} search_restart=${s.searchRestart} clash_resolve=${s.clashResolve} chaintoolong=${s.chainTooLong} `
}

/** Number that names an entry for its lifetime (nf_ct_get_id); unsigned 32 bit. */
export function entryId(ct: Conntrack, entry: number): number {
  const w = ct.table.words
  const o = entry * STRIDE
  let h = Math.imul(entry + 1, 0x9e3779b1) ^ Math.imul(w[o + MASTER]!, 0x85ebca6b)
  for (let i = 0; i < ZONE; i++) h = Math.imul(h ^ (h >>> 15) ^ w[o + i]!, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 13) ^ Math.floor(ct.table.born[entry]!), 0x27d4eb2f)
  return (h ^ (h >>> 16)) >>> 0
}

function printTuple(t: Tuple): string[] {
  return [source(t), destination(t), ...transport(t)]
}

const source = (t: Tuple): string => `src=${formatAddress(t.family, [t.s0, t.s1, t.s2, t.s3])}`
const destination = (t: Tuple): string => `dst=${formatAddress(t.family, [t.d0, t.d1, t.d2, t.d3])}`

function transport(t: Tuple): string[] {
  const high = t.ports >>> 16
  const low = t.ports & 0xffff
  switch (t.protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
      return [`sport=${high}`, `dport=${low}`]
    case IPPROTO_GRE:
      return [`srckey=0x${high.toString(16)}`, `dstkey=0x${low.toString(16)}`]
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return [`type=${low >> 8}`, `code=${low & 0xff}`, `id=${high}`]
    default:
      return []
  }
}

function counters(ct: Conntrack, entry: number, dir: number): string[] {
  const packets = ct.packets(entry, dir)
  return packets < 0 ? [] : [`packets=${packets}`, `bytes=${ct.bytes(entry, dir)}`]
}

function labelNames(w: Int32Array, o: number, name: (bit: number) => string | undefined): string[] {
  const names: string[] = []
  for (let bit = 0; bit < 128; bit++) {
    if ((w[o + LABELS + (bit >> 5)]! & (1 << (bit & 31))) === 0) continue
    const text = name(bit)
    if (text !== undefined) names.push(text)
  }
  return names
}

/** ctime(3) without its newline, local time. `ms`: since 1970. */
function ctime(ms: number): string {
  const t = new Date(ms)
  const two = (n: number): string => String(n).padStart(2, '0')
  const day = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][t.getDay()]
  const month = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'][
    t.getMonth()
  ]
  const time = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`
  return `${day} ${month} ${String(t.getDate()).padStart(2)} ${time} ${t.getFullYear()}`
}
