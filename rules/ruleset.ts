// The tables as the commands see them: read, drafted, checked and put in force.
//
//     Store (Tables, or a plain map in tests) <── Ruleset.commit(draft) ── Links.check (check.ts)
//                                                      ^
//     iptables -A …  ──> Draft (draft.ts)

import type { Host } from '../datapath/host.ts'
import type { Family } from '../datapath/packet.ts'
import { type ChainSource, Links } from './check.ts'
import { Draft } from './draft.ts'
import { BUILTIN, TABLE_NAMES, type TableName } from './model.ts'
import type { TableEdit } from './tables.ts'
import type { ChainView, TableView } from './view.ts'

/** Where tables are kept; Tables has this shape. */
export interface TableStore {
  /** The host that the tables are of; absent in tests that need none. */
  readonly host?: Host
  /** Registers the table if this is its first use. */
  table(family: Family, name: TableName): TableView
  /** Tables ever used, newest first. */
  used(family: Family): readonly TableView[]
  isUsed(family: Family, name: TableName): boolean
  commit(edits: readonly TableEdit[]): void
}

/** What the commands ask of a ruleset. */
export interface RulesetAccess {
  /** Whose tables they are; null in tests that need none. */
  readonly host: Host | null
  /** Opens a table, which counts as its first use; null if there is none of this name. */
  open(family: Family, name: string): Draft | null
  used(family: Family): readonly TableView[]
  /** Puts a draft in force between two packets. Throws TableError for what the kernel would refuse. */
  commit(draft: Draft): void
}

export class Ruleset implements RulesetAccess {
  readonly #store: TableStore
  readonly #links = new Map<string, Links>()

  constructor(store: TableStore) {
    this.#store = store
  }

  get host(): Host | null {
    return this.#store.host ?? null
  }

  open(family: Family, name: string): Draft | null {
    if (!isTableName(name)) return null
    return new Draft(this.#store.table(family, name), this.#linksOf(family, name))
  }

  used(family: Family): readonly TableView[] {
    return this.#store.used(family)
  }

  commit(draft: Draft): void {
    if (!draft.changed) return
    const { view } = draft
    const edit = draft.edit()
    const links = this.#linksOf(view.family, view.name)
    const takeOver = links.check(edit.chains, viewSource(view), draft, edit.kept)
    this.#store.commit([edit])
    takeOver()
  }

  #linksOf(family: Family, name: TableName): Links {
    const key = `${family}${name}`
    let links = this.#links.get(key)
    if (links === undefined) {
      links = new Links(family, name, this.host)
      // Rules that came before us.
      const view = this.#store.isUsed(family, name) ? this.#store.table(family, name) : null
      if (view !== null) {
        const chains = new Map([...view.chains].map(([n, chain]) => [n, chain.model]))
        links.adopt(chains, viewSource(view))
      }
      this.#links.set(key, links)
    }
    return links
  }
}

export const isTableName = (name: string): name is TableName =>
  (TABLE_NAMES as readonly string[]).includes(name)

const viewSource = (view: TableView): ChainSource => ({
  chain: (name) => view.chains.get(name)?.model,
})

/** Tables in memory, without packets: for readers of files and for tests. */
export class MemoryStore implements TableStore {
  readonly #tables = new Map<string, { view: TableView; chains: Map<string, ChainView> }>()

  table(family: Family, name: TableName): TableView {
    return this.#get(family, name).view
  }

  used(family: Family): TableView[] {
    return [...this.#tables.values()]
      .map((t) => t.view)
      .filter((view) => view.family === family)
      .reverse()
  }

  isUsed(family: Family, name: TableName): boolean {
    return this.#tables.has(`${family}${name}`)
  }

  commit(edits: readonly TableEdit[]): void {
    for (const { family, table, chains, counters, moved = [] } of edits) {
      const into = this.#get(family, table).chains
      const carried = moved.map(({ from, seen }) => {
        const values = into.get(from.chain)!.counters
        return [values[from.rule * 2]! - seen.packets, values[from.rule * 2 + 1]! - seen.bytes]
      })
      for (const [name, model] of chains) {
        if (model === null) {
          into.delete(name)
          continue
        }
        const old = into.get(name)
        const positions = new Map(old?.model.rules.map((rule, i) => [rule, i]))
        const before = old?.counters ?? []
        const values = new Float64Array(model.rules.length * 2)
        for (const [i, rule] of model.rules.entries()) {
          const from = positions.get(rule)
          if (from === undefined) continue
          values[i * 2] = before[from * 2]!
          values[i * 2 + 1] = before[from * 2 + 1]!
        }
        into.set(name, {
          model,
          counters: values,
          policyPackets: old?.policyPackets ?? 0,
          policyBytes: old?.policyBytes ?? 0,
        })
      }
      for (const [name, set] of counters ?? []) {
        const chain = into.get(name)!
        const values = Float64Array.from(chain.counters)
        for (const [i, value] of set.rules ?? []) values.set([value.packets, value.bytes], i * 2)
        const { packets, bytes } = set.policy ?? { packets: chain.policyPackets, bytes: chain.policyBytes }
        into.set(name, { ...chain, counters: values, policyPackets: packets, policyBytes: bytes })
      }
      for (const [i, { to }] of moved.entries()) {
        const chain = into.get(to.chain)!
        const values = Float64Array.from(chain.counters)
        values.set(carried[i]!, to.rule * 2)
        into.set(to.chain, { ...chain, counters: values })
      }
    }
  }

  #get(family: Family, name: TableName): { view: TableView; chains: Map<string, ChainView> } {
    const key = `${family}${name}`
    let table = this.#tables.get(key)
    if (table === undefined) {
      const chains = new Map<string, ChainView>()
      for (const chain of BUILTIN[name])
        chains.set(chain, {
          model: { name: chain, policy: 'ACCEPT', rules: [], needs: 0 },
          counters: [],
          policyPackets: 0,
          policyBytes: 0,
        })
      table = { view: { family, name, chains }, chains }
      this.#tables.set(key, table)
    }
    return table
  }
}
