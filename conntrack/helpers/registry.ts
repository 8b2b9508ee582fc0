// The helpers that CT --helper knows. A connection's HELPER word is the number of its helper, 0 none.

import type { Family } from '../../datapath/packet.ts'
import type { Conntrack } from '../conntrack.ts'
import { HELPER, STRIDE } from '../table.ts'
import { type Helper, helpersOf } from './helper.ts'
import { HELPERS } from './index.ts'

export class HelperRegistry {
  readonly #conntrack: Conntrack
  /** By number less one. */
  readonly #all: Helper[] = []

  constructor(conntrack: Conntrack) {
    this.#conntrack = conntrack
    for (const kind of HELPERS) for (const helper of helpersOf(kind, conntrack)) this.register(helper)
  }

  /** Makes a helper known to CT --helper. Returns the undo: its connections lose it. */
  register(helper: Helper): () => void {
    this.#all.push(helper)
    const number = this.#all.length
    return () => {
      const { expectations, table } = this.#conntrack
      for (const e of expectations.all()) if (e.name === helper.name) expectations.remove(e)
      table.forEach((entry) => {
        const at = entry * STRIDE + HELPER
        if (table.words[at] === number) table.words[at] = 0
      })
      // The number stays taken, so that nobody else's connections get the helper.
      this.#all[number - 1] = { ...helper, name: '', help: () => 1 }
    }
  }

  /** Number of a helper, 0 if unknown (nf_conntrack_helper_try_module_get). */
  number(name: string, family: Family, protocol: number): number {
    return this.#all.findIndex((h) => h.name === name && h.family === family && h.protocol === protocol) + 1
  }

  /** The helper of a connection, or null. */
  of(entry: number): Helper | null {
    return this.#all[this.#conntrack.table.words[entry * STRIDE + HELPER]! - 1] ?? null
  }
}
