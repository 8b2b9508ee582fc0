// The tree of one IPv6 table with its subtrees of source prefixes, as net/ipv6/ip6_fib.c has it with
// CONFIG_IPV6_SUBTREES (6.18). It says in which order routes are listed, which prefixes have a node, and, in a table
// with routes that ask for a source (`from`), which of them a look-up meets.
//
//     top ─┬─ 2001:db8::/32 ── routes without `from`
//          │        └─ sources ─┬─ 2001:db8:1::/64 ── routes from there
//          │                    └─ 2001:db8:2::/64 ── routes from there
//          └─ 2001:db8:7::/48 …
//
// A look-up starts at the narrowest node. One that has sources is passed over with its own routes where no source fits;
// it is only on the way back, once what was found does not do (another interface), that they count.
//
// A node without own routes stands under the prefix of some route below it, for which it has a stand-in. Whichever
// that is decides whether a look-up sees the node's sources: a stand-in behind a narrower prefix hides them from all
// other destinations. So the stand-ins are kept as the kernel keeps them.

import { type FlowKey, inPrefix, maskedWords, sameWords, type Words } from './route.ts'
import type { RouteEntry } from './route-table.ts'

export class RouteNode {
  readonly words: Words
  /** Bits that all below it share. */
  readonly length: number
  parent: RouteNode | null
  left: RouteNode | null = null
  right: RouteNode | null = null
  /** The root of its sources. */
  sources: RouteNode | null = null
  /** By metric, then age. */
  readonly routes: RouteEntry[] = []
  /** Where it has no routes: the route that its prefix is read from. Null: none, which at a root fits everything. */
  standIn: RouteEntry | null = null
  /** The root of a table's tree, or of a node's sources. */
  readonly root: 'table' | 'sources' | null

  constructor(
    words: Words,
    length: number,
    parent: RouteNode | null,
    root: 'table' | 'sources' | null = null,
  ) {
    this.words = words
    this.length = length
    this.parent = parent
    this.root = root
  }

  /** RTN_RTINFO: a look-up may end here. A table's root has a route that leads nowhere (fib6_null_entry). */
  get ends(): boolean {
    return this.routes.length > 0 || this.root === 'table'
  }

  get leaf(): RouteEntry | null {
    return this.routes[0] ?? this.standIn
  }
}

/** What becomes of a route: it is the same in other words, has more next hops, or went for another. */
export type Replacement = 'reworded' | 'joined' | 'replaced'

const ANYWHERE: Words = [0, 0, 0, 0]

export class RouteTree {
  readonly #top = new RouteNode(ANYWHERE, 0, null, 'table')

  // -- nodes

  /** The node that a route stands at, made if there is none (fib6_add, fib6_add_1). Put the route there, then settle(). */
  open({ dst, prefixLength, from }: RouteEntry): RouteNode {
    const node = grow(this.#top, dst, prefixLength)
    if (from === null) return node
    if (node.routes.length === 0) node.standIn = null
    node.sources ??= new RouteNode(ANYWHERE, 0, node, 'sources')
    return grow(node.sources, from.words, from.prefixLength)
  }

  /** `route` has come to stand at its node. */
  settle(node: RouteNode, route: RouteEntry): void {
    node.standIn = null
    const destination = this.at(route.dst, route.prefixLength)!
    if (!destination.ends && destination.standIn === null) destination.standIn = route
  }

  /** The node of exactly a prefix, whether or not routes stand there; null: the tree has none. */
  at(dst: Words, length: number): RouteNode | null {
    return descend(this.#top, dst, length)
  }

  /** The node of exactly a source behind a destination's. */
  atSource(destination: RouteNode, from: Words, length: number): RouteNode | null {
    return destination.sources === null ? null : descend(destination.sources, from, length)
  }

  /** A route was refused once its node had been looked for: nodes without routes find their stand-ins anew. */
  refused({ dst, prefixLength, from }: RouteEntry): void {
    const node = this.at(dst, prefixLength)
    const source = node !== null && from !== null ? this.atSource(node, from.words, from.prefixLength) : null
    for (const n of [source, node]) if (n !== null && !n.ends) n.standIn = anotherStandIn(n)
  }

  /** `route` has left the routes of `node` (fib6_del_route). */
  leave(node: RouteNode, route: RouteEntry): void {
    forget(node.routes.length === 0 && node.root !== 'table' ? trim(node) : node, route)
  }

  /** `now` stands where `old` did. */
  replace(node: RouteNode, old: RouteEntry, now: RouteEntry, how: Replacement): void {
    if (how !== 'reworded') this.settle(this.open(now), now)
    if (how === 'replaced') forget(node, old)
    else for (let n: RouteNode | null = node; n !== null; n = n.parent) if (n.standIn === old) n.standIn = now
  }

  /** All routes as fib6_walk() meets them: a node's sources, what lies in its prefix, its own routes. */
  list(): RouteEntry[] {
    const routes: RouteEntry[] = []
    const visit = (node: RouteNode | null): void => {
      if (node === null) return
      visit(node.sources)
      visit(node.left)
      visit(node.right)
      for (const route of node.routes) routes.push(route)
    }
    visit(this.#top)
    return routes
  }

  // -- look-ups

  /** fib6_node_lookup(): the first node whose routes a look-up tries; the table's root if none fits. Does not allocate. */
  find(key: FlowKey): RouteNode {
    const { d0, d1, d2, d3 } = key
    let node: RouteNode | null = deepest(this.#top, d0, d1, d2, d3)
    for (; node !== null; node = node.parent) {
      if (!node.ends && node.sources === null) continue
      const { leaf } = node
      const fits =
        leaf === null ? node.root === 'table' : inPrefix(leaf.dst, leaf.prefixLength, d0, d1, d2, d3)
      if (!fits) continue
      if (node.sources === null) return node
      const source = findSource(node.sources, key)
      if (source !== null) return source
    }
    return this.#top
  }

  /** fib6_backtrack(): the node to try next where the routes of `node` do not do; null: none. Does not allocate. */
  back(node: RouteNode, key: FlowKey): RouteNode | null {
    let at = node
    while (at.root !== 'table') {
      const parent: RouteNode = at.parent!
      const { sources } = parent
      at = sources !== null && sources !== at ? (findSource(sources, key) ?? sources) : parent
      if (at.ends) return at
    }
    return null
  }
}

/** The node below `root` that has routes from the key's source; null: none. Does not allocate. */
function findSource(root: RouteNode, { s0, s1, s2, s3 }: FlowKey): RouteNode | null {
  for (let node = deepest(root, s0, s1, s2, s3); node.root === null; node = node.parent!)
    if (node.ends && inPrefix(node.words, node.length, s0, s1, s2, s3)) return node
  return null
}

/** Where the bits of an address lead, whether or not the prefixes on the way are its own. */
function deepest(root: RouteNode, w0: number, w1: number, w2: number, w3: number): RouteNode {
  let node = root
  for (;;) {
    const { length } = node
    const word = length < 32 ? w0 : length < 64 ? w1 : length < 96 ? w2 : w3
    const next = (word >>> (31 - (length & 31))) & 1 ? node.right : node.left
    if (next === null) return node
    node = next
  }
}

/** Bit `at` (0: the first) of an address. */
const bitOf = (words: Words, at: number): number => (words[at >>> 5]! >>> (31 - (at & 31))) & 1

/** Leading bits that two addresses share, 128 if they are the same. */
function commonBits(a: Words, b: Words): number {
  for (let i = 0; i < 4; i++) if (a[i] !== b[i]) return i * 32 + Math.clz32(a[i]! ^ b[i]!)
  return 128
}

const holds = (node: RouteNode, words: Words): boolean =>
  inPrefix(node.words, node.length, words[0], words[1], words[2], words[3])

/** fib6_locate_1(). */
function descend(root: RouteNode, words: Words, length: number): RouteNode | null {
  let node: RouteNode | null = root
  while (node !== null && node.length < length) {
    if (!holds(node, words)) return null
    node = bitOf(words, node.length) ? node.right : node.left
  }
  return node !== null && node.length === length && sameWords(node.words, words) ? node : null
}

function hang(parent: RouteNode, child: RouteNode): void {
  child.parent = parent
  if (bitOf(child.words, parent.length)) parent.right = child
  else parent.left = child
}

/** fib6_add_1(): the node of a prefix, made where it has to stand; `words` have no bits behind `length`. */
function grow(root: RouteNode, words: Words, length: number): RouteNode {
  let above = root
  let node: RouteNode | null = root
  while (node !== null && node.length <= length && holds(node, words)) {
    if (node.length === length) return node
    above = node
    node = bitOf(words, node.length) ? node.right : node.left
  }
  const made = new RouteNode(words, length, above)
  if (node === null) {
    hang(above, made)
    return made
  }
  const shared = Math.min(commonBits(words, node.words), length, node.length)
  if (shared === length) {
    hang(above, made)
    hang(made, node)
    return made
  }
  const fork = new RouteNode(maskedWords(words, shared), shared, above)
  fork.standIn = node.leaf
  hang(above, fork)
  hang(fork, made)
  hang(fork, node)
  return made
}

/** fib6_find_prefix(): what is below, the side of zeros first; sources only where no narrower prefix is. */
function anotherStandIn(node: RouteNode): RouteEntry | null {
  if (node.root !== null) return null
  for (let n: RouteNode | null = node; n !== null; n = n.sources) {
    const child = n.left ?? n.right
    if (child !== null) return child.leaf
  }
  return null
}

/** fib6_repair_tree(): takes out a node that has lost its last route, and those that are needed no more for that. Where it ended. */
function trim(gone: RouteNode): RouteNode {
  for (let node = gone; ; ) {
    node.standIn = null
    const parent = node.parent!
    const child = node.left ?? node.right
    const forks = node.left !== null && node.right !== null
    if (forks || node.sources !== null || (child !== null && node.root === 'sources')) {
      node.standIn = anotherStandIn(node)
      return parent
    }
    if (node.root === 'sources') parent.sources = null
    else if (child !== null) hang(parent, child)
    else if (parent.left === node) parent.left = null
    else parent.right = null
    if (parent.ends || parent.sources !== null) return parent
    node = parent
  }
}

/** fib6_purge_rt(): nobody has `route` for a stand-in any more. */
function forget(from: RouteNode, route: RouteEntry): void {
  for (let node: RouteNode | null = from; node !== null; node = node.parent)
    if (node.standIn === route) node.standIn = anotherStandIn(node)
}
