// connlimit: how many connections a network has (libxt_connlimit of iptables 1.8.9, connlimit_mt() of xt_connlimit.c,
// nf_conncount.c). Each rule keeps its own lists: by masked address, the tuples that it has seen.
//
//     asked ── list of the packet's network: tuples whose connection is gone or closed leave it, then this packet's
//              connection joins unless it is there or assured ── its length; 0 drops the packet
//
// A list is looked through once in a jiffy, and again for a connection that may be in it. One that does not come to be
// (its packet dropped) leaves at the next look.

import type { Conntrack } from '../../conntrack/conntrack.ts'
import { anyZoneOf, META, STATUS, STRIDE, Status, zoneOf } from '../../conntrack/table.ts'
import { tcpState } from '../../conntrack/trackers/tcp-entry.ts'
import { TcpState } from '../../conntrack/trackers/tcp-states.ts'
import { Tuple } from '../../conntrack/tuple.ts'
import type { Host } from '../../datapath/host.ts'
import { type CtTemplate, Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { addressField, bits } from '../layout.ts'
import { OptionError, WholeError } from '../options.ts'
import { HZ, jiffies } from '../shared.ts'
import { parseAddress, prefixLength, prefixMask, type Words } from '../text/address.ts'
import { wholeNumber } from '../text/numbers.ts'

export interface ConnLimit {
  readonly limit: number
  /** --connlimit-upto. */
  readonly upto: boolean
  /** Prefix length. */
  readonly mask: number
  readonly side: 'saddr' | 'daddr'
}

/** CONNCOUNT_GC_MAX_COLLECT: more that left in one look end it; so many that joined make one necessary. */
const MAX_GONE = 64
const CLEAN_AFTER = 60 * HZ

/** A connection as the list knows it. */
class Known extends Tuple {
  /** The template of a packet that conntrack had not seen: in whose zone it is looked up. */
  template: CtTemplate | null = null

  override copy(from: Known): this {
    this.template = from.template
    return super.copy(from)
  }
}

/** Connections of one network. */
interface Counted {
  /** Its masked address. */
  readonly words: Words
  /** Another one of the same key: IPv6 networks share keys. */
  next: Counted | null
  readonly tuples: Known[]
  /** jiffy of the last look. */
  looked: number
  /** Length after it. */
  left: number
}

/** One rule's lists, by zone and masked address, which IPv6 folds to one word. */
export class ConnLimitState {
  readonly lists = new Map<number, Counted>()
  cleaned = 0
}

const tuple = new Known()
/** Zones taken from a mark are looked up as if there were none. */
const UNMARKED = new Packet()

const find = (conntrack: Conntrack, known: Known): number =>
  known.template === null ? conntrack.find(known) : conntrack.findZoned(known, UNMARKED, known.template)

/** TCP connections that are over but linger. */
function isOver(conntrack: Conntrack, entry: number): boolean {
  const { table } = conntrack
  if (table.words[entry * STRIDE + META]! >> 8 !== IPPROTO_TCP) return false
  const state = tcpState(table, entry)
  return state === TcpState.TimeWait || state === TcpState.Close
}

/** Lists whose connections are all gone go too. */
function clean(state: ConnLimitState, conntrack: Conntrack, now: number): void {
  state.cleaned = now
  for (const [key, first] of state.lists) {
    let left: Counted | null = null
    for (let list: Counted | null = first; list !== null; ) {
      const { next, tuples }: Counted = list
      let kept = 0
      for (const known of tuples) {
        const handle = find(conntrack, known)
        if (handle >= 0 && !isOver(conntrack, handle >> 1)) tuples[kept++] = known
      }
      tuples.length = kept
      if (kept > 0) {
        list.next = left
        left = list
      }
      list = next
    }
    if (left === null) state.lists.delete(key)
    else if (left !== first) state.lists.set(key, left)
  }
}

/** Whether a connection is in the zone of `tuple`, as both number that of the original direction (nf_ct_zone_equal). */
function isInZone({ table }: Conntrack, entry: number): boolean {
  const { template } = tuple
  const zone = template === null ? tuple.zone : (template.zoneDirs & 1) !== 0 ? template.zone : 0
  return zoneOf(table.words, entry * STRIDE, 0) === zone
}

/** Drops what is gone from the list; with `asked` only until it meets the connection of `tuple`: true. */
function look(list: Counted, conntrack: Conntrack, asked: boolean): boolean {
  const { tuples } = list
  let gone = 0
  let kept = 0
  let found = false
  let i = 0
  for (; i < tuples.length && gone <= MAX_GONE; i++) {
    const known = tuples[i]!
    const handle = find(conntrack, known)
    if (handle < 0) {
      gone++
      continue
    }
    if (asked && known.equals(tuple) && isInZone(conntrack, handle >> 1)) {
      found = true
      break
    }
    if (isOver(conntrack, handle >> 1)) gone++
    else tuples[kept++] = known
  }
  for (; i < tuples.length; i++) tuples[kept++] = tuples[i]!
  tuples.length = kept
  return found
}

/** __nf_conncount_add(), and nf_conncount_gc_list() after it. `status`: of the packet's connection, 0 for none. */
function add(list: Counted, conntrack: Conntrack, now: number, status: number): void {
  const known = (status & Status.Confirmed) !== 0
  const assured = known && (status & Status.Assured) !== 0
  if (
    assured ? list.looked !== now : known || list.looked !== now || list.tuples.length - list.left >= MAX_GONE
  ) {
    if (look(list, conntrack, !assured)) return
    list.looked = now
    list.left = list.tuples.length
  }
  if (!assured) list.tuples.push(new Known().copy(tuple))
}

function isNetwork(list: Counted, w0: number, w1: number, w2: number, w3: number): boolean {
  const { words } = list
  return words[0] === w0 && words[1] === w1 && words[2] === w2 && words[3] === w3
}

/** connlimit_mt(). Allocates for connections that are new to the rule. */
function within(
  pkt: Packet,
  host: Host,
  conntrack: Conntrack,
  state: ConnLimitState,
  mask: Words,
  m: ConnLimit,
): boolean {
  let entry = pkt.ct
  let zone = 0
  tuple.template = null
  if (entry >= 0) {
    conntrack.table.readTuple(entry, 0, tuple)
    // The zone's number, for whichever direction it counts.
    zone = anyZoneOf(conntrack.table.words, entry * STRIDE)
  } else {
    // nf_ct_get_tuplepr(): later fragments have no tuple, nor has a packet without an upper header.
    if (pkt.fragOffset !== 0 || !conntrack.tupleOf(pkt, tuple)) {
      pkt.hotdrop = true
      return false
    }
    tuple.zone = 0
    const template = pkt.ctTemplate
    if (template !== null && !template.zoneFromMark) {
      tuple.template = template
      zone = template.zone
    }
    entry = find(conntrack, tuple) >> 1
  }
  const now = jiffies(host)
  if (now - state.cleaned > CLEAN_AFTER) clean(state, conntrack, now)
  const daddr = m.side === 'daddr'
  const w0 = (daddr ? pkt.d0 : pkt.s0) & mask[0]
  const w1 = (daddr ? pkt.d1 : pkt.s1) & mask[1]
  const w2 = (daddr ? pkt.d2 : pkt.s2) & mask[2]
  const w3 = (daddr ? pkt.d3 : pkt.s3) & mask[3]
  const key =
    zone * 0x100000000 + ((w0 ^ Math.imul(w1, 31) ^ Math.imul(w2, 961) ^ Math.imul(w3, 29791)) >>> 0)
  const first = state.lists.get(key) ?? null
  let list = first
  while (list !== null && !isNetwork(list, w0, w1, w2, w3)) list = list.next
  if (list === null)
    state.lists.set(key, {
      words: [w0, w1, w2, w3],
      next: first,
      tuples: [new Known().copy(tuple)],
      looked: now,
      left: 0,
    })
  else {
    add(list, conntrack, now, entry >= 0 ? conntrack.table.words[entry * STRIDE + STATUS]! : 0)
  }
  const count = list === null ? 1 : list.tuples.length
  if (count === 0) {
    pkt.hotdrop = true
    return false
  }
  return count > m.limit !== m.upto
}

const LIMITS = ['connlimit-upto', 'connlimit-above'] as const

/** A prefix length; a dotted mask becomes one, and one with holes a host's. */
function parseMask(text: string, family: 4 | 6): number {
  const bits = family === 4 ? 32 : 128
  const length = wholeNumber(text, 0, bits)
  if (length !== null) return length
  const mask = parseAddress(text, family)
  if (mask === null)
    throw new OptionError(
      `connlimit: bad value for option "--connlimit-mask", neither a valid network mask nor valid CIDR (0-${bits}).\n`,
    )
  const found = prefixLength(mask, family)
  return found < 0 ? bits : found
}

export const connlimit: Match<ConnLimit> = {
  kind: 'match',
  name: 'connlimit',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 32,
    own: 24,
    fields: ({ limit, upto, mask, side }) => [
      addressField(0, prefixMask(mask, 6)),
      [16, 4, limit],
      [20, 4, bits(upto, side === 'daddr')],
    ],
  },
  options: [
    { flag: 'connlimit-upto', excludes: ['connlimit-above'], invertible: true },
    { flag: 'connlimit-above', excludes: ['connlimit-upto'], invertible: true },
    { flag: 'connlimit-mask' },
    { flag: 'connlimit-saddr', arg: 'none', excludes: ['connlimit-daddr'] },
    { flag: 'connlimit-daddr', arg: 'none', excludes: ['connlimit-saddr'] },
  ],
  help: `connlimit match options:
  --connlimit-upto n     match if the number of existing connections is 0..n
  --connlimit-above n    match if the number of existing connections is >n
  --connlimit-mask n     group hosts using prefix length (default: max len)
  --connlimit-saddr      select source address for grouping
  --connlimit-daddr      select destination addresses for grouping
`,
  parse(o) {
    const flag = LIMITS.find((name) => o.has(name))
    const limit = flag === undefined ? 0 : o.uint(flag, 32)
    const mask = o.has('connlimit-mask')
      ? parseMask(o.text('connlimit-mask'), o.family)
      : o.family === 4
        ? 32
        : 128
    if (flag === undefined)
      throw new WholeError('You must specify "--connlimit-above" or "--connlimit-upto".')
    return {
      limit,
      upto: (flag === 'connlimit-upto') !== o.inverted(flag),
      mask,
      side: o.has('connlimit-daddr') ? 'daddr' : 'saddr',
    }
  },
  print: (m) =>
    `--connlimit-${m.upto ? 'upto' : 'above'} ${m.limit} --connlimit-mask ${m.mask} --connlimit-${m.side}`,
  list: (m) => `#conn ${m.side === 'daddr' ? 'dst' : 'src'}/${m.mask} ${m.upto ? '<=' : '>'} ${m.limit}`,
  tracks: true,
  state: (): ConnLimitState => new ConnLimitState(),
  hotdrop: true,
  reads: ['source', 'destination', 'ports', 'conntrack', 'clock', 'state'],
  emit: (m, js) =>
    js`${js.bind(within)}(pkt, ${js.env.host}, ${js.env.conntrack}, ${js.state}, ${prefixMask(m.mask, js.family)}, ${m})`,
}
