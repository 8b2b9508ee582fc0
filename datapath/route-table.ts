// One routing table: longest prefix match by a hash over (masked destination, prefix length), asked from the
// longest length in use to the shortest.
//
//     order: 32 ─ 24 ─ 0       lengths in use, longest first
//              │
//     hash(destination & mask, length) ─▶ node ─▶ routes of that prefix: by tos, then metric, then age
//
// A look-up costs one probe a length in use, whether the table holds ten routes or a hundred thousand. IPv6 has the
// kernel's tree besides (route-tree.ts), for the order of its routes, and for look-ups once one of them asks for a source.

import { type Device, Scope } from './devices.ts'
import type { Family } from './packet.ts'
import {
  type FlowKey,
  leadsNowhere6,
  type Nexthop,
  type Route,
  type RouteExtras,
  type RoutePrefix,
  RouteType,
  type Words,
} from './route.ts'
import { type Replacement, type RouteNode, RouteTree } from './route-tree.ts'

type RouteFields = Omit<
  RouteEntry,
  | 'loop'
  | 'recast'
  | 'joined'
  | 'heard'
  | 'paths'
  | 'uses'
  | 'through'
  | 'extras'
  | 'from'
  | 'weight'
  | 'origin'
  | 'dead'
  | 'first'
  | 'ownAddress'
  | 'accessed'
  | 'place'
> & {
  readonly origin?: Device | null
  readonly extras?: RouteExtras | null
  readonly from?: RoutePrefix | null
  readonly weight?: number
}

/** Next hops out of a device are alive (fib6_ifdown, fib6_ifup). */
export const carries6 = (device: Device): boolean => device.up && !device.conf6.disabled

/** A route as it stands in a table; fib.ts has the meaning of the fields. */
export class RouteEntry {
  readonly family: Family
  readonly type: number
  readonly dst: Words
  readonly prefixLength: number
  readonly from: RoutePrefix | null
  readonly table: number
  readonly tos: number
  readonly metric: number
  readonly scope: number
  readonly protocol: string
  readonly device: Device | null
  readonly gateway: Words | null
  readonly source: Words | null
  readonly mtu: number
  readonly realm: number
  readonly nexthops: readonly Nexthop[] | null
  /** nhc_scope: Host for destinations on the link, Link behind a gateway, Nowhere for local routes. */
  readonly nexthopScope: number
  /** What look-ups do not ask; null: nothing. */
  readonly extras: RouteExtras | null
  /** It follows from an address of a device (fib_add_ifaddr). */
  readonly derived: boolean
  /** Of a `loop`: the device of the route that it stands for (rt6i_idev). */
  readonly origin: Device | null
  /** Several next hops: one route for each. */
  readonly paths: readonly RouteEntry[] | null
  /** One of several next hops: the address that the host would have there when it was last asked for (nh_saddr). */
  ownAddress = 0
  /** One of several next hops whose device is down, or has no address, or knows no IPv6 (RTNH_F_DEAD). */
  dead = false
  /** Of one of several next hops, or of one that was said alone, which others may join; 1 otherwise. */
  readonly weight: number
  /** The same route as rtable has it for packets to this host: out of the loopback device. */
  loop: RouteEntry | null = null
  /** The same route under another type: a broadcast one as bc_forwarding has it, a unicast one for multicast. */
  recast: RouteEntry | null = null
  /** The same route as a multicast one to a group that this host is in. */
  joined: RouteEntry | null = null
  /** As Route.heard. */
  heard = false
  /** Some look-up has found it (FA_S_ACCESSED). */
  accessed = false
  /** IPv6: as Nexthop.place, of its first next hop. */
  place: number | undefined = undefined

  constructor(o: RouteFields) {
    this.family = o.family
    this.type = o.type
    this.dst = o.dst
    this.prefixLength = o.prefixLength
    this.from = o.from ?? null
    this.table = o.table
    this.tos = o.tos
    this.metric = o.metric
    this.scope = o.scope
    this.protocol = o.protocol
    this.device = o.device
    this.gateway = o.gateway
    this.source = o.source
    this.mtu = o.mtu
    this.realm = o.realm
    this.nexthops = o.nexthops
    this.nexthopScope = o.nexthopScope
    this.extras = o.extras ?? null
    this.derived = o.derived
    this.weight = o.weight ?? 1
    this.origin = o.origin ?? null
    if (o.nexthops === null) {
      this.paths = null
      return
    }
    this.paths = o.nexthops.map((h) => {
      const path = new RouteEntry({
        ...o,
        nexthops: null,
        weight: h.weight,
        device: h.device,
        gateway: h.gateway,
        ...(h.via6 ? { extras: { ...o.extras, via6: h.via6 } } : {}),
        nexthopScope: h.scope ?? (h.gateway === null && !h.via6 ? Scope.Host : Scope.Link),
      })
      path.dead = o.family === 6 && !carries6(h.device)
      return path
    })
  }

  /** fib_info_nh_uses_dev(). Does not allocate. */
  uses(device: Device): boolean {
    if (this.paths === null) return this.device === device
    for (let i = 0; i < this.paths.length; i++) if (this.paths[i]!.device === device) return true
    return false
  }

  /** The first next hop that is not dead: what a look-up gives before one is chosen (nh_sel). Does not allocate. */
  first(): RouteEntry {
    if (this.paths === null) return this
    for (let i = 0; i < this.paths.length; i++) if (!this.paths[i]!.dead) return this.paths[i]!
    return this.paths[0]!
  }

  /** The next hop out of a device (ifindex), or null. */
  through(index: number): RouteEntry | null {
    if (this.paths === null) return this.device !== null && this.device.index === index ? this : null
    for (let i = 0; i < this.paths.length; i++)
      if (this.paths[i]!.device!.index === index && !this.paths[i]!.dead) return this.paths[i]!
    return null
  }
}

/** fib_props[].error is not 0: blackhole, unreachable, prohibit, throw. */
export const isErrorType = (type: number): boolean => type >= 6 && type <= 9

/** fib6_is_reject(). */
export const isReject6 = (route: Route): boolean => isErrorType(route.type) || leadsNowhere6(route)

const KEY = 5
/** Bits of TOS that routes and rules are compared with (IPTOS_RT_MASK). */
export const TOS_MASK = 0x1c

/** Of how many IPv4 routes to parts of blocks of 256 addresses there are, by placeOf(); blocks may share a place. */
export class NarrowRoutes {
  readonly #counts = new Int32Array(1024)

  /** Some route may lead to a part of the block of an address only: else all of it is led the same way. Hot. */
  partBlockOf(address: number): boolean {
    return this.#counts[placeOf(address)] !== 0
  }

  /** A route comes (1) or goes (-1). */
  count({ dst, prefixLength }: RouteEntry, by: 1 | -1): void {
    if (prefixLength > BLOCK_BITS) this.#counts[placeOf(dst[0])]! += by
  }
}

const BLOCK_BITS = 24
const placeOf = (address: number): number => Math.imul(address >>> 8, 0x9e3779b1) >>> 22

export class RouteTable {
  readonly id: number
  readonly #bits: number
  /** Routes in use of each prefix length. */
  readonly #counts: Int32Array
  readonly #order: Int32Array
  #orderCount = 0
  /** Node + 1; 0 free, -1 was used. */
  #slots = new Int32Array(16)
  #used = 0
  /** Four words and the length, by node. */
  #keys = new Int32Array(8 * KEY)
  #chains: RouteEntry[][] = []
  readonly #spare: number[] = []
  size = 0
  /** Routes with a tos: look-ups in this table depend on it. */
  tosRoutes = 0
  /** Routes with several next hops. */
  multipathRoutes = 0
  /** IPv6 routes with a source. They stand in the tree alone, the others in both. */
  sourceRoutes = 0
  readonly #tree: RouteTree | null
  /** Next hops of IPv6 that have come. */
  #places = 0

  readonly #narrow: NarrowRoutes

  /** `narrow`: of all tables of the family; IPv4 counts there. */
  constructor(family: Family, id: number, narrow: NarrowRoutes) {
    this.id = id
    this.#narrow = narrow
    this.#bits = family === 4 ? 32 : 128
    this.#counts = new Int32Array(this.#bits + 1)
    this.#order = new Int32Array(this.#bits + 1)
    this.#tree = family === 6 ? new RouteTree() : null
  }

  /**
   * The first fit route of the longest prefix; null if none. An error type is a fit. `oif`: ifindex the route must
   * lead out of, 0 any. `leastScope`: wider routes do not count. Does not allocate.
   */
  find4(d0: number, tos: number, oif: number, leastScope = 0): RouteEntry | null {
    const order = this.#order
    for (let i = 0; i < this.#orderCount; i++) {
      const length = order[i]!
      const word = length === 0 ? 0 : length === 32 ? d0 : d0 & (-1 << (32 - length))
      const slots = this.#slots
      const mask = slots.length - 1
      for (let h = hash(word, 0, 0, 0, length) & mask; slots[h] !== 0; h = (h + 1) & mask) {
        const node = slots[h]! - 1
        if (node < 0) continue
        const k = node * KEY
        if (this.#keys[k] !== word || this.#keys[k + 4] !== length) continue
        const hit = firstFit(this.#chains[node]!, tos, oif, leastScope)
        if (hit !== null) return hit
        break
      }
    }
    return null
  }

  /** As find4 for four words, out of whatever device. */
  find6(d0: number, d1: number, d2: number, d3: number): RouteEntry | null {
    for (let i = 0; i < this.#orderCount; i++) {
      const length = this.#order[i]!
      const node = this.#node(
        d0 & maskWord(length, 0),
        d1 & maskWord(length, 1),
        d2 & maskWord(length, 2),
        d3 & maskWord(length, 3),
        length,
      )
      if (node < 0) continue
      const hit = firstFit(this.#chains[node]!, 0, 0, 0)
      if (hit !== null) return hit
    }
    return null
  }

  /**
   * fib6_table_lookup(): the best route of the longest prefix that has one; null if none. `oif`: ifindex that is better
   * than others, 0 any; with `strict` others do not count at all. Does not allocate.
   */
  select6(key: FlowKey, oif: number, strict: boolean): RouteEntry | null {
    if (this.sourceRoutes > 0) {
      const tree = this.#tree!
      for (let node: RouteNode | null = tree.find(key); node !== null; node = tree.back(node, key)) {
        const hit = bestFit(node.routes, oif, strict)
        if (hit !== null) return hit
      }
      return null
    }
    for (let i = 0; i < this.#orderCount; i++) {
      const node = this.#nodeOf(key, this.#order[i]!)
      if (node < 0) continue
      const hit = bestFit(this.#chains[node]!, oif, strict)
      if (hit !== null) return hit
    }
    return null
  }

  /**
   * rt6_device_match(): the first route of the longest prefix that leads out of `oif` (ifindex, 0 any), whatever its
   * metric; the first of all if none does, or with `only` one of a shorter prefix. Null if none. Does not allocate.
   */
  match6(key: FlowKey, oif: number, only: boolean): RouteEntry | null {
    if (this.sourceRoutes > 0) {
      const tree = this.#tree!
      for (let node: RouteNode | null = tree.find(key); node !== null; node = tree.back(node, key)) {
        const hit = firstMatch(node.routes, oif, only)
        if (hit !== null) return hit
      }
      return null
    }
    for (let i = 0; i < this.#orderCount; i++) {
      const node = this.#nodeOf(key, this.#order[i]!)
      if (node < 0) continue
      const hit = firstMatch(this.#chains[node]!, oif, only)
      if (hit !== null) return hit
    }
    return null
  }

  /** Routes of exactly that prefix, and of that source, in order; the table's own array. */
  chain(dst: Words, prefixLength: number, from: RoutePrefix | null = null): readonly RouteEntry[] {
    if (from !== null) {
      const node = this.#tree?.at(dst, prefixLength)
      return (node && this.#tree!.atSource(node, from.words, from.prefixLength)?.routes) ?? []
    }
    const node = this.#node(dst[0], dst[1], dst[2], dst[3], prefixLength)
    return node < 0 ? [] : this.#chains[node]!
  }

  /** fib6_locate(): chain() of an IPv6 route to be taken away. Where nobody asks for a source, none is minded. */
  located(dst: Words, prefixLength: number, from: RoutePrefix | null): readonly RouteEntry[] {
    return this.chain(dst, prefixLength, this.hasSources(dst, prefixLength) ? from : null)
  }

  /** Some IPv6 route of exactly that prefix has a source. */
  hasSources(dst: Words, prefixLength: number): boolean {
    return this.#tree?.at(dst, prefixLength)?.sources != null
  }

  /**
   * Whether the kernel's tree has a node for the prefixes of an IPv6 route, if only because narrower ones part right behind
   * (fib6_add_1()).
   */
  hasNode({ dst, prefixLength, from }: RouteEntry): boolean {
    const node = this.#tree!.at(dst, prefixLength)
    if (node === null || from === null) return node !== null
    return this.#tree!.atSource(node, from.words, from.prefixLength) !== null
  }

  /** An IPv6 route was refused for those that are there, or are not. */
  refused(route: RouteEntry): void {
    this.#tree?.refused(route)
  }

  /** Puts a route behind those of the same tos and metric, or in front of them. */
  insert(route: RouteEntry, first = false): void {
    const node = this.#tree?.open(route)
    const chain = route.from === null ? this.#open(route, node) : node!.routes
    const after = (r: RouteEntry): boolean =>
      r.tos < route.tos ||
      (r.tos === route.tos && (first ? r.metric >= route.metric : r.metric > route.metric))
    const at = chain.findIndex(after)
    chain.splice(at < 0 ? chain.length : at, 0, route)
    if (node !== undefined) {
      this.#tree!.settle(node, route)
      this.#number(route, this.#places++)
    }
    this.size++
    if (this.#bits === 32) this.#narrow.count(route, 1)
    if (route.tos !== 0) this.tosRoutes++
    if (route.paths !== null) this.multipathRoutes++
    if (route.from !== null) this.sourceRoutes++
    else if (this.#counts[route.prefixLength]!++ === 0) this.#reorder()
  }

  /** The routes of a prefix; `treeNode`: the same array is there. */
  #open({ dst: [w0, w1, w2, w3], prefixLength }: RouteEntry, treeNode: RouteNode | undefined): RouteEntry[] {
    const there = this.#node(w0, w1, w2, w3, prefixLength)
    if (there >= 0) return this.#chains[there]!
    if ((this.#used + 1) * 2 > this.#slots.length) this.#rehash()
    const node = this.#spare.pop() ?? this.#chains.length
    if ((node + 1) * KEY > this.#keys.length) {
      const keys = new Int32Array(this.#keys.length * 2)
      keys.set(this.#keys)
      this.#keys = keys
    }
    this.#keys.set([w0, w1, w2, w3, prefixLength], node * KEY)
    const chain = treeNode?.routes ?? []
    this.#chains[node] = chain
    this.#place(node)
    return chain
  }

  /** Puts `now`, of the same prefixes, tos and metric, where `old` stands. */
  replace(old: RouteEntry, now: RouteEntry, how: Replacement): void {
    const chain = this.chain(old.dst, old.prefixLength, old.from) as RouteEntry[]
    chain[chain.indexOf(old)] = now
    if (how === 'replaced') this.#number(now, old.place!)
    else {
      now.place ??= old.place!
      for (const hop of now.nexthops ?? []) hop.place ??= this.#places++
      // Its first next hop may have gone.
      chain.sort((a, b) => a.metric - b.metric || a.place! - b.place!)
    }
    if (old.paths !== null) this.multipathRoutes--
    if (now.paths !== null) this.multipathRoutes++
    const node = this.#treeNode(old)
    if (node !== null) this.#tree!.replace(node, old, now, how)
  }

  /** The first next hop stands at `place`, others behind all that are there (ip6_route_multipath_add). */
  #number(route: RouteEntry, place: number): void {
    route.place = place
    for (const [i, hop] of (route.nexthops ?? []).entries()) hop.place = i === 0 ? place : this.#places++
  }

  /** An IPv6 route stands between next hops of another of its prefix and metric. */
  #isPassedOver(route: RouteEntry): boolean {
    if (this.multipathRoutes === 0 || this.#tree === null) return false
    const { place = 0, metric } = route
    return this.chain(route.dst, route.prefixLength, route.from).some(
      (r) =>
        r !== route &&
        r.metric === metric &&
        r.nexthops !== null &&
        r.place! < place &&
        place < r.nexthops.at(-1)!.place!,
    )
  }

  #treeNode({ dst, prefixLength, from }: RouteEntry): RouteNode | null {
    const node = this.#tree?.at(dst, prefixLength) ?? null
    return node === null || from === null ? node : this.#tree!.atSource(node, from.words, from.prefixLength)
  }

  remove(route: RouteEntry): boolean {
    const [w0, w1, w2, w3] = route.dst
    const chain = this.chain(route.dst, route.prefixLength, route.from) as RouteEntry[]
    const at = chain.indexOf(route)
    if (at < 0) return false
    const treeNode = this.#treeNode(route)
    chain.splice(at, 1)
    this.size--
    if (this.#bits === 32) this.#narrow.count(route, -1)
    if (route.tos !== 0) this.tosRoutes--
    if (route.paths !== null) this.multipathRoutes--
    if (treeNode !== null) this.#tree!.leave(treeNode, route)
    if (route.from !== null) {
      this.sourceRoutes--
      return true
    }
    if (chain.length === 0) {
      const node = this.#node(w0, w1, w2, w3, route.prefixLength)
      const mask = this.#slots.length - 1
      let h = hash(w0, w1, w2, w3, route.prefixLength) & mask
      while (this.#slots[h] !== node + 1) h = (h + 1) & mask
      this.#slots[h] = -1
      this.#keys[node * KEY + 4] = -1
      // The tree may have the array still.
      this.#chains[node] = []
      this.#spare.push(node)
    }
    if (--this.#counts[route.prefixLength]! === 0) this.#reorder()
    return true
  }

  /**
   * All routes in the order in which the kernel prints them. IPv4 (fib_trie): by address, longer prefixes first. IPv6: as
   * its tree has them.
   */
  list(): RouteEntry[] {
    if (this.#tree !== null) return this.#tree.list()
    const prefixes = this.#chains.filter((c) => c.length > 0)
    prefixes.sort((a, b) => {
      const x = a[0]!
      const y = b[0]!
      return (x.dst[0] >>> 0) - (y.dst[0] >>> 0) || y.prefixLength - x.prefixLength
    })
    return prefixes.flat()
  }

  /**
   * Those of list() that fib6_walk() comes by: over the routes of a node it goes from the first one of several next hops to
   * the last (fib6_dump_node, fib6_clean_node), whatever stands between them. What goes meanwhile is not in the way any more.
   */
  *walk(): Generator<RouteEntry> {
    for (const route of this.list()) if (!this.#isPassedOver(route)) yield route
  }

  #node(w0: number, w1: number, w2: number, w3: number, length: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    for (let h = hash(w0, w1, w2, w3, length) & mask; slots[h] !== 0; h = (h + 1) & mask) {
      const node = slots[h]! - 1
      if (node < 0) continue
      const k = node * KEY
      const keys = this.#keys
      if (
        keys[k] === w0 &&
        keys[k + 1] === w1 &&
        keys[k + 2] === w2 &&
        keys[k + 3] === w3 &&
        keys[k + 4] === length
      )
        return node
    }
    return -1
  }

  /** The node of a destination's first `length` bits. */
  #nodeOf({ d0, d1, d2, d3 }: FlowKey, length: number): number {
    return this.#node(
      d0 & maskWord(length, 0),
      d1 & maskWord(length, 1),
      d2 & maskWord(length, 2),
      d3 & maskWord(length, 3),
      length,
    )
  }

  #place(node: number): void {
    const k = node * KEY
    const keys = this.#keys
    const mask = this.#slots.length - 1
    let h = hash(keys[k]!, keys[k + 1]!, keys[k + 2]!, keys[k + 3]!, keys[k + 4]!) & mask
    while (this.#slots[h]! > 0) h = (h + 1) & mask
    if (this.#slots[h] === 0) this.#used++
    this.#slots[h] = node + 1
  }

  #rehash(): void {
    let live = 0
    for (const chain of this.#chains) if (chain.length > 0) live++
    let size = 16
    while (size < (live + 1) * 4) size *= 2
    this.#slots = new Int32Array(size)
    this.#used = 0
    for (const [node, chain] of this.#chains.entries()) if (chain.length > 0) this.#place(node)
  }

  #reorder(): void {
    this.#orderCount = 0
    for (let length = this.#bits; length >= 0; length--)
      if (this.#counts[length]! > 0) this.#order[this.#orderCount++] = length
  }
}

/** fib_table_lookup()'s walk over the aliases of one prefix. */
function firstFit(chain: RouteEntry[], tos: number, oif: number, leastScope: number): RouteEntry | null {
  for (let i = 0; i < chain.length; i++) {
    const r = chain[i]!
    if (r.tos !== 0 && r.tos !== (tos & TOS_MASK)) continue
    if (r.scope < leastScope) continue
    if (oif === 0 || isErrorType(r.type)) return r
    if (r.paths === null ? r.device !== null && r.device.index === oif : r.through(oif) !== null) return r
  }
  return null
}

/**
 * rt6_score_route() of a next hop; -1: it does not count. `preference`: of the route, as IPV6_DECODE_PREF() gives it. What
 * refuses is of lo, and needs no link.
 */
function score(
  device: Device | null,
  dead: boolean,
  type: number,
  preference: number,
  oif: number,
  strict: boolean,
): number {
  if (device === null || dead) return -1
  // Addresses that came while the link was down are this host's all the same.
  const needsLink = !isErrorType(type) && type !== RouteType.Local && type !== RouteType.Anycast
  if (!device.up && needsLink) return -1
  const fits = oif === 0 || device.index === oif
  return !fits && strict ? -1 : (fits ? 2 : 0) | (preference << 2)
}

/** rt6_select(): of the routes with the lowest metric the one with the highest score. */
function bestFit(chain: RouteEntry[], oif: number, strict: boolean): RouteEntry | null {
  let best: RouteEntry | null = null
  let points = -1
  for (let i = 0; i < chain.length; i++) {
    const r = chain[i]!
    if (best !== null && r.metric !== best.metric) break
    const preference = (r.extras?.preference ?? 0) ^ 2
    if (r.paths === null) {
      const p = score(r.device, false, r.type, preference, oif, strict)
      if (p > points) {
        points = p
        best = r
      }
    } else
      for (let j = 0; j < r.paths.length; j++) {
        const p = score(r.paths[j]!.device, r.paths[j]!.dead, r.type, preference, oif, strict)
        if (p > points) {
          points = p
          best = r
        }
      }
  }
  return best
}

/** rt6_device_match() among the routes of one node. */
function firstMatch(chain: RouteEntry[], oif: number, only: boolean): RouteEntry | null {
  if (oif !== 0) for (let j = 0; j < chain.length; j++) if (chain[j]!.through(oif) !== null) return chain[j]!
  return only && oif !== 0 ? null : (chain[0] ?? null)
}

function hash(w0: number, w1: number, w2: number, w3: number, length: number): number {
  let h = Math.imul(w0 ^ Math.imul(length, 0x27d4eb2f), 0x9e3779b1)
  if ((w1 | w2 | w3) !== 0)
    h = Math.imul(h ^ w1 ^ Math.imul(w2, 0x85ebca6b) ^ Math.imul(w3, 0xc2b2ae35), 0x9e3779b1)
  h ^= h >>> 15
  h = Math.imul(h, 0x85ebca6b)
  return h ^ (h >>> 13)
}

/** Word `i` of the mask of an IPv6 prefix length. */
function maskWord(length: number, i: number): number {
  const bits = length - i * 32
  return bits <= 0 ? 0 : bits >= 32 ? -1 : -1 << (32 - bits)
}

const ANYWHERE: Words = [0, 0, 0, 0]

/** A route of no table out of `device`, to everywhere unless said: for what nobody looked up, or found no way. */
export const placeholderRoute = (
  family: Family,
  type: number,
  device: Device,
  {
    metric = 0,
    dst = ANYWHERE,
    prefixLength = 0,
  }: Partial<Pick<RouteEntry, 'metric' | 'dst' | 'prefixLength'>> = {},
): RouteEntry =>
  new RouteEntry({
    family,
    type,
    dst,
    prefixLength,
    table: 0,
    tos: 0,
    metric,
    scope: Scope.Universe,
    protocol: 'kernel',
    device,
    gateway: null,
    source: null,
    mtu: 0,
    realm: 0,
    nexthops: null,
    nexthopScope: Scope.Host,
    derived: true,
  })
