// Rules and tables of one family, and what of a packet they look at: what they do not ask for need not be in the key of
// a cache of what follows from them.

import type { Family } from './packet.ts'
import { defaultRules, type Rule } from './policy-rules.ts'
import { NarrowRoutes, RouteTable } from './route-table.ts'

/** Its rules are for what this host sends. */
const LOOPBACK = 'lo'

/** What addresses of a block have in common, see NarrowRoutes. */
const BLOCK = ~0xff

/** Rules and tables of one family. */
export class Routing {
  readonly family: Family
  readonly tables = new Map<number, RouteTable>()
  rules: Rule[]
  /** Interfaces that the rules name, resolved: iif and oif of each, -1 for one that is not there. */
  ifaces = new Int32Array(0)
  /** The rules are not, or no longer, the kernel's three (fib_has_custom_rules). */
  custom = false
  /** A local route was put in by hand (fib_has_custom_local_routes). */
  customLocal = false
  /** Routes with realms. */
  realms = 0
  /** Some rule has realms. */
  ruleRealms = false
  /** Routes that follow from links alone are wanted: not after a captured table has been taken as it is. */
  followed = true
  /** What rules and routes look at besides the destination; the rest need not be in a cache's key. */
  asksSource = false
  asksTos = false
  asksMark = false
  asksIif = false
  asksPorts = false
  /** Incoming packets' protocol and ports are looked at for some rule (fib_rule_requires_fldissect). */
  dissects = false
  multipath = false
  readonly narrow = new NarrowRoutes()

  /**
   * For a cache's key, in place of an IPv4 destination: with many of them none would come twice, but a block of 256 has one
   * way unless a route parts it, or rules say otherwise. Hot.
   */
  blockOf(d0: number): number {
    return this.custom || this.narrow.partBlockOf(d0) ? d0 : d0 & BLOCK
  }

  /** The same in place of a destination of what arrives. Hot. */
  blockOfArrival(d0: number): number {
    const block = this.blockOf(d0)
    // Paths are chosen by addresses; 0.0.0.0 and 255.255.255.255 are not led by routes.
    return this.asksSource || this.multipath || block === 0 || block === BLOCK ? d0 : block
  }

  constructor(family: Family) {
    this.family = family
    this.rules = defaultRules(family)
  }

  /** fib_has_custom_rules(), fib_has_custom_local_routes, fib_num_tclassid_users: a quick source check will not do. */
  get needsFullSourceCheck(): boolean {
    return this.custom || this.customLocal
  }

  /** Some route or rule has realms (fib_num_tclassid_users). */
  get usesRealms(): boolean {
    return this.realms > 0 || this.ruleRealms
  }

  table(id: number): RouteTable {
    let table = this.tables.get(id)
    if (table === undefined) {
      table = new RouteTable(this.family, id, this.narrow)
      this.tables.set(id, table)
    }
    return table
  }

  /** After every change of rules and routes: what of a packet they look at now. */
  settle(): void {
    let tos = false
    let source = false
    this.multipath = false
    for (const table of this.tables.values()) {
      tos ||= table.tosRoutes > 0
      source ||= table.sourceRoutes > 0
      this.multipath ||= table.multipathRoutes > 0
    }
    const rules = this.custom ? this.rules : []
    const any = (asks: (r: Rule) => unknown): boolean => rules.some((r) => Boolean(asks(r)))
    this.asksTos = tos || any((r) => r.tos)
    this.asksSource = source || any((r) => r.source)
    this.asksMark = any((r) => r.markMask)
    this.asksIif = any((r) => r.iif)
    this.ruleRealms = any((r) => r.realm)
    const asks = (r: Rule) => r.protocol || r.sourcePorts || r.destinationPorts
    this.asksPorts = any(asks)
    this.dissects = any((r) => r.iif !== LOOPBACK && asks(r))
  }
}
