// Realms that policy rules give to what is routed by them (`ip rule … realms`), beside those of the routes. The kernel
// writes both into the rtable that it makes of a look-up's result, and keeps it at the next hop for whoever comes that way
// again: the realms are then those of the rule that led there first, until something about routing changes.
//
//     rule's realms ─┬─ nothing kept there, or not to be kept ─▶ this rule's ─┐
//                    └─ kept at the next hop ─▶ the first rule's ─────────────┴─▶ the route with these realms

import { RouteEntry } from './route-table.ts'

/** set_class_tag(): either half counts where there is none yet. FROM << 16 | TO; signed. Does not allocate. */
export const withRealm = (realm: number, other: number): number =>
  realm | ((realm & 0xffff) === 0 ? other & 0xffff : 0) | (realm >>> 16 === 0 ? other & 0xffff0000 : 0)

/** What the rtables of a next hop have from rules; null: there is none yet. */
interface Kept {
  /** nhc_rth_input. */
  input: number | null
  /** nhc_pcpu_rth_output. */
  output: number | null
}

/** For as long as nothing about routing changes: `begin` anew then. */
export class RuleRealms {
  #epoch = -1
  readonly #kept = new Map<RouteEntry, Kept>()
  /** Routes that are alike share their next hop (fib_find_info). */
  readonly #infos = new Map<string, Kept>()
  readonly #tagged = new Map<RouteEntry, RouteEntry[]>()

  /** rt_genid: whatever was kept under another number is no longer valid. */
  begin(epoch: number): void {
    if (epoch === this.#epoch) return
    this.#epoch = epoch
    this.#kept.clear()
    this.#infos.clear()
    this.#tagged.clear()
  }

  /** rt_cache_route(): the realms kept for the direction, these from now on if there were none. */
  keep(route: RouteEntry, shared: boolean, direction: keyof Kept, realm: number): number {
    let kept = this.#kept.get(route)
    if (kept === undefined) {
      kept = shared ? this.#info(route) : { input: null, output: null }
      this.#kept.set(route, kept)
    }
    return (kept[direction] ??= realm)
  }

  #info(route: RouteEntry): Kept {
    const { protocol, scope, source, metric, table, type, mtu, extras, device, gateway, realm } = route
    const key = JSON.stringify([
      ...[protocol, scope, source, metric, table, type, mtu, extras, device?.index, gateway, realm],
      route.nexthopScope,
    ])
    let info = this.#infos.get(key)
    if (info === undefined) this.#infos.set(key, (info = { input: null, output: null }))
    return info
  }

  /** rt_set_nexthop(): the route with its own realms and, where it has none, these. */
  tag(route: RouteEntry, realm: number): RouteEntry {
    const both = withRealm(route.realm, realm) >>> 0
    if (both === route.realm) return route
    let all = this.#tagged.get(route)
    if (all === undefined) this.#tagged.set(route, (all = []))
    for (let i = 0; i < all.length; i++) if (all[i]!.realm === both) return all[i]!
    const tagged = new RouteEntry({ ...route, realm: both })
    tagged.heard = route.heard
    all.push(tagged)
    return tagged
  }
}
