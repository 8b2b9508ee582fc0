// Which rules of a chain may fit a packet, by hashes of what they ask for (tuple space search).
//
//     rule ─ narrow ─▶ signature: which fields, prefixes how long ─▶ its table: hash of the fields' values ─▶ list of slots
//
// A packet is looked up once in the table of each signature. Rules that ask for nothing that could be looked up, or for
// what too many others ask, are `loose`: each packet passes them. Two values of one hash share a list, which does no
// harm: whoever is found is asked in full.

import type { Host } from '../../datapath/host.ts'
import type { Family } from '../../datapath/packet.ts'
import type { Rule } from '../model.ts'
import type { RuleSlots } from '../slots.ts'
import { type Narrow, narrow, type Prefix } from './narrow.ts'

/** The fields that a table is keyed by. */
export interface Signature {
  /** Bits of the addresses; 0: not asked. */
  readonly source: number
  readonly destination: number
  readonly protocol: boolean
  readonly sport: boolean
  readonly dport: boolean
  readonly inInterface: boolean
  readonly outInterface: boolean
  readonly mark: boolean
}

/** Lengths of prefixes that have tables of their own, each side. */
const MOST_LENGTHS = 5
const MOST_SIGNATURES = 16
/** A table keyed by less than this weight lets too many through. */
const LEAST_SHARED = 16
/** A look-up costs as much as some rules of straight code. */
const FEWEST_RULES = 4
/** Straight code asks a rule in a fraction of the time that it takes in a list: those of a longer one are loose, */
const LONGEST_LIST = 24
/** if it has more than this share of the chain's rules; else most packets are better off without them. */
const LARGEST_SHARE = 1 / 4
/** Words before a list: capacity, length. */
const HEAD = 2
/** A cell whose slot is gone: the list without any, which stands first. */
const NOBODY = -HEAD

/** h and a word, mixed; the same arithmetic stands in the generated code (indexed.ts). */
export const mix = (h: number, word: number): number => {
  const m = Math.imul(h ^ word, 0x9e3779b1)
  return m ^ (m >>> 15)
}

/** What the high bits of a word keep. */
export const maskOf = (bits: number): number => (bits >= 32 ? -1 : bits <= 0 ? 0 : -1 << (32 - bits))

/** Open addressing; cells: hash, and who has it: 0 nobody, n > 0 the slot n - 1, n < 0 the list at -n. */
export class KeyTable {
  readonly signature: Signature
  cells = new Int32Array(32)
  /** Of the cells' index: size in words less one pair's. */
  wrap = 30
  #keys = 0

  constructor(signature: Signature) {
    this.signature = signature
  }

  find(hash: number): number {
    const { cells, wrap } = this
    for (let i = (hash << 1) & wrap; cells[i + 1] !== 0; i = (i + 2) & wrap)
      if (cells[i] === hash) return cells[i + 1]!
    return 0
  }

  set(hash: number, list: number): void {
    if (this.#keys * 4 >= this.cells.length) this.#grow()
    const { cells, wrap } = this
    let i = (hash << 1) & wrap
    while (cells[i + 1] !== 0 && cells[i] !== hash) i = (i + 2) & wrap
    if (cells[i + 1] === 0) this.#keys++
    cells[i] = hash
    cells[i + 1] = list
  }

  #grow(): void {
    const old = this.cells
    this.cells = new Int32Array(old.length * 2)
    this.wrap = this.cells.length - 2
    this.#keys = 0
    for (let i = 0; i < old.length; i += 2) if (old[i + 1] !== 0) this.set(old[i]!, old[i + 1]!)
  }
}

/** Numbers for names of interfaces; the packet's device is looked up by the same. */
export interface NameIds {
  idOf(name: string): number
}

/** Stands for the ports of who asks for none. */
const ANY_PORT: readonly number[] = [0]

/** A slot that no table holds. */
const LOOSE = -1

export class RuleKeys {
  readonly tables: readonly KeyTable[]
  /** Bits of the mark that tables with marks are keyed by. */
  readonly markMask: number
  /** Rules that every packet passes. */
  loose = 0
  /** All lists: capacity, length, slots in the chain's order, -1. A list's place is that of its first slot. */
  lists = new Int32Array(1024)
  #used = HEAD + 1
  #wasted = 0
  readonly #family: Family
  readonly #slots: RuleSlots
  readonly #ids: NameIds
  readonly #sources: readonly number[]
  readonly #destinations: readonly number[]
  /** By signature of what a rule asks: the table for it. */
  readonly #tableOf = new Map<number, number>()
  /** By slot: its table's place, or LOOSE. */
  #home = new Int8Array(0)
  readonly #found: number[] = []

  /** Reads all rules of the chain. `host`: whose packets may come between them; null: none may. */
  constructor(family: Family, slots: RuleSlots, ids: NameIds, host: Host | null = null) {
    this.#family = family
    this.#slots = slots
    this.#ids = ids
    const inSteps = (visit: (i: number) => void): void => {
      for (let i = 0; i < slots.count; i++) {
        host?.condResched()
        visit(i)
      }
    }
    const narrows: Narrow[] = []
    inSteps((i) => narrows.push(narrow(slots.rules[i]!, family)))
    this.#sources = lengthsOf(narrows.map((n) => n.source))
    this.#destinations = lengthsOf(narrows.map((n) => n.destination))
    this.markMask = commonMask(narrows)
    host?.condResched()
    const step = Math.max(1, Math.floor(narrows.length / SAMPLE))
    const sample = narrows.filter((_, i) => i % step === 0)
    this.lists[HEAD] = -1
    this.tables = chooseSignatures(
      sample.map((n) => this.#signature(n)),
      sample,
      narrows.length,
      (n, by) => this.#hashes(n, by).slice(),
    ).map((signature) => new KeyTable(signature))

    const counts = this.tables.map(({ signature }) => new KeyTable(signature))
    const long = counts.map(() => new Set<number>())
    inSteps((i) => {
      const home = this.#homeFor(narrows[i]!)
      if (home === LOOSE) return
      const count = counts[home]!
      for (const hash of this.#hashes(narrows[i]!, count.signature)) {
        const length = count.find(hash) + 1
        count.set(hash, length)
        if (this.#isLong(length)) long[home]!.add(hash)
      }
    })
    inSteps((i) => {
      const n = narrows[i]!
      const home = this.#homeFor(n)
      const isLoose =
        home === LOOSE ||
        (long[home]!.size > 0 &&
          this.#hashes(n, this.tables[home]!.signature).some((hash) => long[home]!.has(hash)))
      this.#put(slots.at[i]!, n, isLoose ? LOOSE : home)
    })
  }

  /** The lists hold as much that is gone as what is there. */
  get worn(): boolean {
    return this.#wasted > 4096 && this.#wasted * 2 > this.#used
  }

  /** The rule has been put in the slot. */
  add(slot: number): void {
    const n = narrow(this.#slots.bySlot[slot]!, this.#family)
    let home = this.#homeFor(n)
    const table = this.tables[home]
    if (
      table !== undefined &&
      this.#hashes(n, table.signature).some((h) => this.#isLong(this.#lengthOf(table.find(h))))
    )
      home = LOOSE
    this.#put(slot, n, home)
  }

  #isLong(length: number): boolean {
    return length > LONGEST_LIST && length > this.#slots.count * LARGEST_SHARE
  }

  /** The rule is in the slot no more. */
  remove(slot: number, rule: Rule): void {
    const home = this.#home[slot]!
    if (home === LOOSE) {
      this.loose--
      return
    }
    const table = this.tables[home]!
    for (const hash of this.#hashes(narrow(rule, this.#family), table.signature)) {
      const who = table.find(hash)
      if (who > 0) table.set(hash, NOBODY)
      else this.#take(-who, slot)
    }
  }

  isLoose(slot: number): boolean {
    return this.#home[slot] === LOOSE
  }

  /** Slots that a cell names. */
  #lengthOf(who: number): number {
    return who > 0 ? 1 : who === 0 ? 0 : this.lists[-who - 1]!
  }

  #put(slot: number, n: Narrow, home: number): void {
    if (slot >= this.#home.length) {
      const room = new Int8Array(slot + (slot >> 3) + 64)
      room.set(this.#home)
      this.#home = room
    }
    this.#home[slot] = home
    if (home === LOOSE) {
      this.loose++
      return
    }
    const table = this.tables[home]!
    for (const hash of this.#hashes(n, table.signature)) table.set(hash, this.#insert(table.find(hash), slot))
  }

  /** What the cell names from now on: the slot too. */
  #insert(who: number, slot: number): number {
    const length = this.#lengthOf(who)
    if (length === 0) return slot + 1
    let at = -who
    if (who > 0 || length === this.lists[at - HEAD]!) {
      at = this.#allocate(length * 2)
      if (who > 0) this.lists[at] = who - 1
      else {
        this.lists.copyWithin(at, -who, -who + length)
        this.#wasted += length + HEAD + 1
      }
    }
    const { lists } = this
    const place = this.#placeOf(at, at + length, slot)
    lists.copyWithin(place + 1, place, at + length)
    lists[place] = slot
    lists[at + length + 1] = -1
    lists[at - 1] = length + 1
    return -at
  }

  #take(list: number, slot: number): void {
    const { lists } = this
    const length = lists[list - 1]!
    const place = lists.indexOf(slot, list)
    lists.copyWithin(place, place + 1, list + length + 1)
    lists[list - 1] = length - 1
  }

  #allocate(capacity: number): number {
    const at = this.#used + HEAD
    this.#used = at + capacity + 1
    if (this.#used > this.lists.length) {
      const lists = new Int32Array(this.#used * 2)
      lists.set(this.lists)
      this.lists = lists
    }
    this.lists[at - HEAD] = capacity
    return at
  }

  /** Where the slot belongs in lists[from, to). */
  #placeOf(from: number, to: number, slot: number): number {
    const { orders } = this.#slots
    let at = to
    while (at > from && orders[this.lists[at - 1]!]! > orders[slot]!) at--
    return at
  }

  /** What the rule asks, its prefixes as long as tables are. */
  #signature(n: Narrow): Signature {
    return {
      source: lengthFor(this.#sources, n.source),
      destination: lengthFor(this.#destinations, n.destination),
      protocol: n.protocol !== 0,
      sport: n.sports !== null,
      dport: n.dports !== null,
      inInterface: n.inInterface !== null,
      outInterface: n.outInterface !== null,
      mark: n.mark !== null && n.mark.mask === this.markMask,
    }
  }

  /** signatureKey() of that. */
  #keyOf(n: Narrow): number {
    let key = lengthFor(this.#sources, n.source) * 256 + lengthFor(this.#destinations, n.destination)
    key = key * 2 + (n.protocol !== 0 ? 1 : 0)
    key = key * 2 + (n.sports !== null ? 1 : 0)
    key = key * 2 + (n.dports !== null ? 1 : 0)
    key = key * 2 + (n.inInterface !== null ? 1 : 0)
    key = key * 2 + (n.outInterface !== null ? 1 : 0)
    return key * 2 + (n.mark !== null && n.mark.mask === this.markMask ? 1 : 0)
  }

  /** The place of the most selective table that the rule can be found in. */
  #homeFor(n: Narrow): number {
    const key = this.#keyOf(n)
    let home = this.#tableOf.get(key)
    if (home === undefined) {
      home = LOOSE
      const asked = this.#signature(n)
      for (const [i, { signature }] of this.tables.entries())
        if (
          isWider(signature, asked) &&
          (home === LOOSE || weight(signature) > weight(this.tables[home]!.signature))
        )
          home = i
      this.#tableOf.set(key, home)
    }
    return home
  }

  /** One for each pair of its ports. The array is good until the next call. */
  #hashes(n: Narrow, by: Signature): readonly number[] {
    let h = 0
    if (by.source > 0) h = mixPrefix(h, n.source!, by.source)
    if (by.destination > 0) h = mixPrefix(h, n.destination!, by.destination)
    if (by.protocol) h = mix(h, n.protocol)
    if (by.inInterface) h = mix(h, this.#ids.idOf(n.inInterface!))
    if (by.outInterface) h = mix(h, this.#ids.idOf(n.outInterface!))
    if (by.mark) h = mix(h, n.mark!.value | 0)
    const found = this.#found
    found.length = 0
    for (const sport of by.sport ? n.sports! : ANY_PORT) {
      const source = by.sport ? mix(h, sport) : h
      for (const dport of by.dport ? n.dports! : ANY_PORT) {
        const hash = by.dport ? mix(source, dport) : source
        if (!found.includes(hash)) found.push(hash)
      }
    }
    return found
  }
}

function mixPrefix(h: number, { words }: Prefix, bits: number): number {
  let mixed = h
  for (let i = 0; i * 32 < bits; i++) mixed = mix(mixed, words[i]! & maskOf(bits - i * 32))
  return mixed
}

/** The lengths that get tables, longest first: those that most rules have, the others are looked up by a shorter one. */
function lengthsOf(prefixes: readonly (Prefix | null)[]): number[] {
  const counts = new Map<number, number>()
  for (const prefix of prefixes)
    if (prefix !== null) counts.set(prefix.length, (counts.get(prefix.length) ?? 0) + 1)
  const lengths = [...counts.keys()].sort((a, b) => b - a)
  while (lengths.length > MOST_LENGTHS) {
    // The shortest stays: there is none to look its rules up by.
    let least = 0
    for (let i = 1; i < lengths.length - 1; i++)
      if (counts.get(lengths[i]!)! < counts.get(lengths[least]!)!) least = i
    const shorter = lengths[least + 1]!
    counts.set(shorter, counts.get(shorter)! + counts.get(lengths[least]!)!)
    lengths.splice(least, 1)
  }
  return lengths
}

const lengthFor = (lengths: readonly number[], prefix: Prefix | null): number =>
  prefix === null ? 0 : (lengths.find((length) => length <= prefix.length) ?? 0)

/** The mask that most rules look at marks with; 0: none does. */
function commonMask(narrows: readonly Narrow[]): number {
  const counts = new Map<number, number>()
  for (const { mark } of narrows) if (mark !== null) counts.set(mark.mask, (counts.get(mark.mask) ?? 0) + 1)
  let best = 0
  for (const [mask, count] of counts) if (count > (counts.get(best) ?? 0)) best = mask
  return best
}

const FLAGS = ['protocol', 'sport', 'dport', 'inInterface', 'outInterface', 'mark'] as const

/** Mirrored by RuleKeys, which needs it for each rule. */
function signatureKey(s: Signature): number {
  let key = s.source * 256 + s.destination
  for (const flag of FLAGS) key = key * 2 + (s[flag] ? 1 : 0)
  return key
}

/** Whoever asks for all of `asked` asks for all of `of`. */
const isWider = (of: Signature, asked: Signature): boolean =>
  of.source <= asked.source &&
  of.destination <= asked.destination &&
  FLAGS.every((flag) => asked[flag] || !of[flag])

/** How few packets a value of these fields lets through, roughly. */
const weight = (s: Signature): number =>
  s.source * 2 +
  s.destination * 2 +
  (s.sport ? 40 : 0) +
  (s.dport ? 32 : 0) +
  (s.mark ? 16 : 0) +
  (s.inInterface ? 8 : 0) +
  (s.outInterface ? 8 : 0) +
  (s.protocol ? 4 : 0)

/** What rules of both ask for. */
const meet = (a: Signature, b: Signature): Signature => ({
  source: Math.min(a.source, b.source),
  destination: Math.min(a.destination, b.destination),
  protocol: a.protocol && b.protocol,
  sport: a.sport && b.sport,
  dport: a.dport && b.dport,
  inInterface: a.inInterface && b.inInterface,
  outInterface: a.outInterface && b.outInterface,
  mark: a.mark && b.mark,
})

/** Costs in the same unit, about a nanosecond; measured by `npm run bench rules`. */
const COST_OF_TABLE = 8
const COST_OF_CANDIDATE = 12
/** Rules that are looked at to choose by. */
const SAMPLE = 512
/** Groups from which on pairs of them are weighed. */
const MOST_GROUPS = 24

/** Rules that could share a table. */
interface Members {
  readonly signature: Signature
  /** Of those in the sample. */
  readonly narrows: readonly Narrow[]
}

interface Group extends Members {
  /** Pairs of them with one hash. */
  readonly pairs: number
}

type Hashes = (n: Narrow, by: Signature) => readonly number[]

function groupOf(signature: Signature, narrows: readonly Narrow[], hashes: Hashes): Group {
  const counts = new Map<number, number>()
  let pairs = 0
  for (const n of narrows)
    for (const hash of hashes(n, signature)) {
      const others = counts.get(hash) ?? 0
      pairs += others
      counts.set(hash, others + 1)
    }
  return { signature, narrows, pairs }
}

/**
 * The signatures that get tables, by what rules of a sample ask for. A table costs each packet a look-up; rules that share a hash cost a packet that fits one
 * of them a look at the others. Two groups become one, keyed by what they share, where that is cheaper, or there are too
 * many. Packets are taken to be spread like the rules.
 */
function chooseSignatures(
  asked: readonly Signature[],
  sample: readonly Narrow[],
  rules: number,
  hashes: Hashes,
): Signature[] {
  const members = new Map<number, { signature: Signature; narrows: Narrow[] }>()
  for (let i = 0; i < sample.length; i++) {
    if (weight(asked[i]!) === 0) continue
    const key = signatureKey(asked[i]!)
    const found = members.get(key)
    if (found === undefined) members.set(key, { signature: asked[i]!, narrows: [sample[i]!] })
    else found.narrows.push(sample[i]!)
  }
  const groups = fewest([...members.values()]).map((m) => groupOf(m.signature, m.narrows, hashes))
  // Pairs grow with the square of the rules; each concerns two rules of all.
  const share = rules / sample.length
  const costOfPair = (2 * COST_OF_CANDIDATE * share ** 2) / rules
  mergeGroups(groups, costOfPair, hashes)
  return groups
    .filter((group) => group.narrows.length * share >= FEWEST_RULES)
    .map(({ signature }) => signature)
}

/** Joins the smallest with what it shares most with, until there are few enough to weigh. */
function fewest(members: Members[]): Members[] {
  while (members.length > MOST_GROUPS) {
    members.sort((a, b) => b.narrows.length - a.narrows.length)
    const least = members.pop()!
    let best = 0
    for (let i = 1; i < members.length; i++)
      if (shared(members[i]!, least) > shared(members[best]!, least)) best = i
    const other = members[best]!
    members[best] = {
      signature: meet(other.signature, least.signature),
      narrows: [...other.narrows, ...least.narrows],
    }
  }
  return members
}

const shared = (a: Members, b: Members): number => weight(meet(a.signature, b.signature))

/** Joins groups as long as that makes them cheaper, or they are too many. */
function mergeGroups(groups: Group[], costOfPair: number, hashes: Hashes): void {
  const join = (a: Group, b: Group): { group: Group; gain: number } | null => {
    const signature = meet(a.signature, b.signature)
    if (weight(signature) < LEAST_SHARED) return null
    const group = groupOf(signature, [...a.narrows, ...b.narrows], hashes)
    return { group, gain: COST_OF_TABLE - costOfPair * (group.pairs - a.pairs - b.pairs) }
  }
  /** By place of the first: the best partner behind it. */
  const joins = groups.map((a, i) => groups.slice(i + 1).map((b) => join(a, b)))
  for (;;) {
    let best: { i: number; j: number; gain: number } | null = null
    for (let i = 0; i < groups.length; i++)
      for (let j = i + 1; j < groups.length; j++) {
        const gain = joins[i]![j - i - 1]?.gain
        if (gain !== undefined && (best === null || gain > best.gain)) best = { i, j, gain }
      }
    if (best === null || (best.gain <= 0 && groups.length <= MOST_SIGNATURES)) return
    const { i, j } = best
    const { group } = joins[i]![j - i - 1]!
    // The joined group takes the first place, the second goes.
    groups[i] = group
    groups.splice(j, 1)
    joins.splice(j, 1)
    for (let k = 0; k < j; k++) joins[k]!.splice(j - k - 1, 1)
    for (let k = 0; k < groups.length; k++)
      if (k < i) joins[k]![i - k - 1] = join(groups[k]!, group)
      else if (k > i) joins[i]![k - i - 1] = join(group, groups[k]!)
  }
}
