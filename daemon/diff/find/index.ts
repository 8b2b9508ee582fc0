// tunwall diff --find: searched, shrunk, and asked once more of two hosts that have seen nothing else.

import type { HostConfig } from '../../host-folder/config.ts'
import { Probe, type SentIn } from './probe.ts'
import { Search, type SearchOptions } from './search.ts'
import { type Plain, shrink, withSeed } from './shrink.ts'
import { HostWorld } from './world.ts'

export interface Difference extends Plain {
  readonly probe: Probe
  readonly sent: readonly SentIn[]
}

export interface FindResult {
  /** Null: nothing was found. */
  readonly difference: Difference | null
  /** Conversations tried. */
  readonly tried: number
  readonly seconds: number
}

/** Searches until something is found or the budget is spent. */
export function find(a: HostConfig, b: HostConfig, options: SearchOptions): FindResult {
  const began = performance.now()
  const search = new Search(a, b, options)
  const hit = search.run()
  const result = (difference: Difference | null): FindResult => ({
    difference,
    tried: search.probe.count,
    seconds: (performance.now() - began) / 1000,
  })
  if (hit === null) return result(null)
  const plain =
    withSeed(shrink(hit, search.probe, new HostWorld(a)), search.probe) ?? withSeed(hit, search.probe)
  if (plain === null) return result(null)
  // What other conversations left behind (limits, lists, sets) has no part in it.
  const probe = new Probe(a, b, options.seed)
  const found = probe.play(plain.steps, null, plain.seed)
  return result(found === null ? null : { ...plain, found, probe, sent: found.sent })
}
