// A packet on which two hosts differ, without a capture: what differs in their files says where to look.
//
//     1  rules that only one of them has, or in another place: the way there, then the edges of what they ask
//     2  where other files differ (sets, routes, addresses, sysctls): packets from all their edges, at random
//     3  the edges of all other rules
//     4  at random, until time is up
//
// A packet that another rule takes on the way is changed so that this rule does not fit, and sent again.

import type { Family } from '../../../datapath/packet.ts'
import type { LoadedChain } from '../../../rules/chain.ts'
import type { Rule } from '../../../rules/model.ts'
import { TABLE_NAMES } from '../../../rules/model.ts'
import { saveRule } from '../../../rules/text/print.ts'
import type { HostConfig } from '../../host-folder/config.ts'
import { SeededRandom } from '../../random.ts'
import type { Step } from '../../words/model.ts'
import type { Side } from '../side.ts'
import { type Condition, type Field, negated, type Value } from './conditions.ts'
import { conversations } from './conversations.ts'
import { Paths, type Target, type Way } from './paths.ts'
import { type Fixed, type Plan, solve, wordsOfPlan } from './plan.ts'
import { type Found, Probe } from './probe.ts'
import { Traffic } from './traffic.ts'
import { HostWorld, setsOf } from './world.ts'

export interface SearchOptions {
  readonly seed: number
  /** Milliseconds. */
  readonly budget: number
  /** Told now and then: milliseconds gone, conversations tried. */
  readonly onProgress?: (gone: number, tried: number) => void
}

/** A conversation on which the hosts differ. */
export interface Hit {
  readonly steps: readonly Step[]
  readonly luck: number
  readonly found: Found
}

/** Values of one field that are tried at a target. */
const MOST_VALUES = 20
const MOST_REPAIRS = 5
/** Changed rules of a chain that are looked at one by one. */
const MOST_CHANGED = 400
/** For a difference that is only in the deciding rule: part of the budget in which a better one may turn up. */
const PATIENCE = 0.2

class TimeUp extends Error {}

/** One side's paths. */
interface Half {
  readonly side: Side
  readonly paths: Paths
}

export class Search {
  readonly probe: Probe
  readonly #halves: readonly [Half, Half]
  readonly #configs: readonly [HostConfig, HostConfig]
  readonly #random: SeededRandom
  readonly #options: SearchOptions
  readonly #began = performance.now()
  /** Edges of what differs, by field. */
  readonly #pool = new Map<Field, Set<Value>>()
  #weak: Hit | null = null
  #until = 0

  constructor(a: HostConfig, b: HostConfig, options: SearchOptions) {
    this.#options = options
    this.#configs = [a, b]
    this.#random = new SeededRandom(options.seed)
    this.probe = new Probe(a, b, options.seed)
    const [inA, inB] = [setsOf(a.ipset?.text ?? ''), setsOf(b.ipset?.text ?? '')]
    const half = (side: Side, config: HostConfig, own: typeof inA, other: typeof inA): Half => ({
      side,
      paths: new Paths(side.engine, new HostWorld(config, lacking(own, other))),
    })
    this.#halves = [half(this.probe.a, a, inA, inB), half(this.probe.b, b, inB, inA)]
  }

  /** The first difference that is more than another deciding rule; such a one if there is nothing better; null: none. */
  run(): Hit | null {
    this.#until = this.#began + this.#options.budget
    try {
      return this.#all()
    } catch (error) {
      if (error instanceof TimeUp) return this.#weak
      throw error
    }
  }

  #all(): Hit | null {
    const changed = this.#changed()
    for (const { half, target } of changed) this.#learn(half, target)
    for (const { half, target } of changed) {
      const hit = this.#aim(half, target, true)
      if (hit !== null) return hit
    }
    const others = this.#filesDiffer()
    if (!others && changed.length === 0) return this.#weak
    if (this.#weak !== null)
      this.#until = Math.min(this.#until, performance.now() + this.#options.budget * PATIENCE)
    if (others) {
      const hit = this.#atRandom(performance.now() + (this.#until - performance.now()) / 4)
      if (hit !== null) return hit
    }
    for (const half of this.#halves)
      for (const target of half.paths.targets()) {
        const hit = this.#aim(half, target, false)
        if (hit !== null) return hit
      }
    return this.#atRandom(this.#until) ?? this.#weak
  }

  // -- what differs

  #changed(): { half: Half; target: Target }[] {
    const [a, b] = this.#halves
    const sets = this.#changedSets()
    const lists: { half: Half; target: Target }[][] = [[], []]
    for (const family of [4, 6] as const)
      for (const table of TABLE_NAMES) {
        const chains = [a, b].map(({ side }) =>
          side.engine.tables.isUsed(family, table)
            ? side.engine.tables.table(family, table).chains
            : new Map<string, LoadedChain>(),
        ) as [Map<string, LoadedChain>, Map<string, LoadedChain>]
        for (const name of new Set([...chains[0].keys(), ...chains[1].keys()])) {
          const pair = [chains[0].get(name), chains[1].get(name)] as const
          const different = changedRules(pair[0], pair[1], family, sets)
          for (const [i, half] of [a, b].entries())
            for (const index of different[i]!)
              lists[i]!.push({ half, target: { family, table, chain: pair[i]!, index } })
        }
      }
    const [x, y] = lists as [(typeof lists)[0], (typeof lists)[0]]
    return Array.from({ length: Math.max(x.length, y.length) }, (_, i) => [x[i], y[i]])
      .flat()
      .filter((one) => one !== undefined)
  }

  #changedSets(): ReadonlySet<string> {
    const [a, b] = this.#configs.map(({ ipset }) => setsOf(ipset?.text ?? '')) as [
      ReturnType<typeof setsOf>,
      ReturnType<typeof setsOf>,
    ]
    const names = new Set<string>()
    for (const name of new Set([...a.keys(), ...b.keys()]))
      if (JSON.stringify(a.get(name)) !== JSON.stringify(b.get(name))) names.add(name)
    return names
  }

  /** Something besides rules differs. */
  #filesDiffer(): boolean {
    const facts = ({ interfaces, ipv4, ipv6, sysctls, ipset, fingerprints, policies }: HostConfig): string =>
      JSON.stringify(
        [interfaces, ipv4, ipv6, sysctls, ipset?.text, fingerprints?.text, policies?.text],
        (key, value: unknown) => (key === 'origin' ? undefined : value),
      )
    return facts(this.#configs[0]) !== facts(this.#configs[1])
  }

  #learn({ paths }: Half, target: Target): void {
    const rule = target.chain.model.rules[target.index]
    if (rule === undefined) return
    const { conditions, choices } = paths.asked(rule, target.family)
    const members = choices.flatMap((choice) => choice.members.slice(0, 4).flat())
    for (const { field, inside, outside } of [...conditions, ...members]) {
      let values = this.#pool.get(field)
      if (values === undefined) this.#pool.set(field, (values = new Set()))
      if (values.size < 64) for (const value of [...inside, ...outside]) values.add(value)
    }
  }

  // -- one rule

  #aim(half: Half, target: Target, thorough: boolean): Hit | null {
    for (const way of half.paths.ways(target)) {
      const { world } = half.paths
      const solveWith = (own: readonly Condition[], fixed: Fixed): Plan | null =>
        solve([...way.path, ...own], way.family, way.entry, way.luck, world, fixed)
      const hit = this.#reach(half, target, way, thorough ? MOST_REPAIRS : 1)
      if (hit !== null) return hit
      for (const [field, values] of this.#edges(way, thorough)) {
        const rest = way.own.filter((condition) => condition.field !== field)
        for (const value of values) {
          const plan = solveWith(rest, { [field]: value })
          const found = plan === null ? null : this.#try(plan, world)
          if (found !== null) return found
        }
      }
    }
    return null
  }

  /** Values to try: the rule's own edges, and those of other rules that differ. */
  #edges({ own }: Way, thorough: boolean): Map<Field, Set<Value>> {
    const edges = new Map<Field, Set<Value>>()
    const add = (field: Field, values: Iterable<Value>): void => {
      let known = edges.get(field)
      if (known === undefined) edges.set(field, (known = new Set()))
      for (const value of values) if (known.size < MOST_VALUES) known.add(value)
    }
    for (const { field, inside, outside } of own) add(field, [...inside, ...outside])
    if (thorough) {
      for (const [field, values] of this.#pool) add(field, values)
      if (!edges.has('protocol')) add('protocol', [17, 1, 6])
      add('flags', [16, 18, 1])
    }
    return edges
  }

  /** The packet that fits, changed where other rules take it before it comes there. */
  #reach(half: Half, target: Target, way: Way, repairs: number): Hit | null {
    const { paths, side } = half
    let left = repairs * 3
    const attempt = (more: readonly Condition[], depth: number): Hit | null => {
      const conditions = [...way.path, ...way.own, ...more]
      const plan = solve(conditions, way.family, way.entry, way.luck, paths.world)
      if (plan === null || left-- <= 0) return null
      side.observer.hits = []
      const first = this.#play([{ kind: 'packet', packet: wordsOfPlan(plan) }], plan.luck)
      const hits = side.observer.hits
      side.observer.hits = null
      if (first !== null) return first
      if (depth < repairs && !reached(side, target, hits)) {
        const blocker = lastTerminal(side, hits)
        if (blocker !== null)
          for (const condition of avoidable(paths.asked(blocker, way.family).conditions)) {
            const hit = attempt([...more, negated(condition)], depth + 1)
            if (hit !== null) return hit
          }
      }
      return this.#try(plan, paths.world)
    }
    return attempt([], 0)
  }

  #try(plan: Plan, world: HostWorld): Hit | null {
    for (const steps of conversations(plan, world)) {
      const hit = this.#play(steps, plan.luck)
      if (hit !== null) return hit
    }
    return null
  }

  #play(steps: readonly Step[], luck: number): Hit | null {
    const now = performance.now()
    if (now > this.#until) throw new TimeUp()
    if ((this.probe.count & 255) === 0) this.#options.onProgress?.(now - this.#began, this.probe.count)
    const found = this.probe.play(steps, luck)
    if (found === null) return null
    const hit = { steps, luck, found }
    if (found.kind !== 'rule') return hit
    this.#weak ??= hit
    return null
  }

  // -- at random

  #atRandom(until: number): Hit | null {
    const traffic = new Traffic(
      this.#halves.map(({ paths }) => paths),
      this.#random,
    )
    while (performance.now() < until) {
      const plan = traffic.next()
      const hit = plan === null ? null : this.#try(plan, this.#halves[0].paths.world)
      if (hit !== null) return hit
    }
    return null
  }
}

/** Members that the other host's set of the same name lacks, by set. */
function lacking(
  own: ReturnType<typeof setsOf>,
  other: ReturnType<typeof setsOf>,
): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, ReadonlySet<string>>()
  for (const [name, { members }] of own) {
    const there = new Set(other.get(name)?.members ?? [])
    const only = members.filter((member) => !there.has(member))
    if (only.length > 0) found.set(name, new Set(only))
  }
  return found
}

/** Positions of rules of each chain that the other lacks, or has in another place; its length: the policy. */
function changedRules(
  a: LoadedChain | undefined,
  b: LoadedChain | undefined,
  family: Family,
  sets: ReadonlySet<string>,
): [number[], number[]] {
  const textsOf = (chain: LoadedChain | undefined): string[] =>
    chain?.model.rules.map((rule) => saveRule('X', rule, family)) ?? []
  const [x, y] = [textsOf(a), textsOf(b)]
  let head = 0
  while (head < x.length && head < y.length && x[head] === y[head]) head++
  let tail = 0
  while (tail < x.length - head && tail < y.length - head && x.at(-1 - tail) === y.at(-1 - tail)) tail++
  const [inA, inB] = [new Set(x.slice(head, x.length - tail)), new Set(y.slice(head, y.length - tail))]
  const middle = (texts: string[], other: Set<string>): number[] => {
    const all = texts.slice(head, texts.length - tail).map((_, i) => head + i)
    const only = all.filter((i) => !other.has(texts[i]!))
    return only.length > 0 ? only : all
  }
  const asking = (texts: string[]): number[] =>
    sets.size === 0
      ? []
      : texts.flatMap((text, i) => {
          const name = /--match-set (\S+)/.exec(text)?.[1]
          return name !== undefined && sets.has(name) ? [i] : []
        })
  const policy = (chain: LoadedChain | undefined, other: LoadedChain | undefined): number[] =>
    chain !== undefined && other !== undefined && chain.model.policy !== other.model.policy
      ? [chain.model.rules.length]
      : []
  const [onlyA, onlyB] = [middle(x, inB), middle(y, inA)]
  return [
    [...new Set([...onlyA, ...asking(x), ...policy(a, b)])].slice(0, MOST_CHANGED),
    [...new Set([...onlyB, ...asking(y), ...policy(b, a)])].slice(0, MOST_CHANGED),
  ]
}

function reached({ observer }: Side, { chain, index }: Target, hits: readonly number[]): boolean {
  const slot = index < chain.slots.count ? chain.slots.at[index]! : -1
  for (let i = 0; i < hits.length; i += 2)
    if (hits[i + 1] === slot && observer.references.chains[hits[i]!]!.chain === chain) return true
  return slot < 0 && lastTerminal({ observer } as Side, hits) === null
}

/** The last rule that fitted and ended the walk. */
function lastTerminal({ observer }: Side, hits: readonly number[]): Rule | null {
  for (let i = hits.length - 2; i >= 0; i -= 2) {
    const rule = observer.references.chains[hits[i]!]!.chain.slots.bySlot[hits[i + 1]!]
    if (rule == null) continue
    const { target } = rule
    if (target.kind === 'standard' || (target.kind === 'extension' && target.target.flow === 'final'))
      return rule
  }
  return null
}

const AVOID: readonly Field[] = ['dport', 'sport', 'dst', 'src', 'protocol', 'flags', 'icmp', 'in', 'out']

/** Conditions that another packet can fail, the easiest first. */
const avoidable = (conditions: readonly Condition[]): Condition[] =>
  conditions
    .filter(({ field, outside }) => AVOID.includes(field) && outside.length > 0)
    .toSorted((a, b) => AVOID.indexOf(a.field) - AVOID.indexOf(b.field))
    .slice(0, 3)
