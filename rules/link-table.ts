// Chains of a table by number, and their links in arrays: there may be hundreds of thousands of them.
//
//     rules ─ gatherJumps ─▶ Jumps ─ calleesFirst ─▶ an order ─ spreadHooks ─▶ LinkTable.hooks

import { calleeOf, isVerdictAlone, type Rule } from './model.ts'

/** LinkTable.ends of a chain that has no end: more than any chain has rules. */
export const NO_END = 0x7fffffff

/** What is known of each chain. */
export class LinkTable {
  readonly #numbers = new Map<string, number>()
  readonly #free: number[] = []
  #used = 0
  /** Rules that jump to the chain. */
  references: Int32Array
  /** Built-in chains that lead to it, as bits of their position in BUILTIN. */
  hooks: Int32Array
  /** Its first rule that is a verdict alone, behind which the kernel looks at nothing; NO_END: none. */
  ends: Int32Array

  constructor(room: number) {
    this.references = new Int32Array(room)
    this.hooks = new Int32Array(room)
    this.ends = new Int32Array(room).fill(NO_END)
  }

  /** Numbers up to this one were given. */
  get used(): number {
    return this.#used
  }

  /** -1: nothing is known of it. */
  find(chain: string): number {
    return this.#numbers.get(chain) ?? -1
  }

  /** Its number, a new one if it has none: then the arrays may be others. */
  add(chain: string): number {
    let number = this.#numbers.get(chain)
    if (number !== undefined) return number
    number = this.#free.pop() ?? this.#used++
    this.#numbers.set(chain, number)
    if (number === this.ends.length) this.#grow()
    return number
  }

  /** The chain is gone. */
  delete(chain: string): void {
    const number = this.find(chain)
    if (number < 0) return
    this.references[number] = 0
    this.hooks[number] = 0
    this.ends[number] = NO_END
    this.#numbers.delete(chain)
    this.#free.push(number)
  }

  #grow(): void {
    const more = new LinkTable(this.ends.length * 2 + 16)
    more.references.set(this.references)
    more.hooks.set(this.hooks)
    more.ends.set(this.ends)
    ;({ references: this.references, hooks: this.hooks, ends: this.ends } = more)
  }
}

/** Jumps of all chains, by number, one chain after the other. */
export class Jumps {
  #to = new Int32Array(1024)
  #count = 0
  /** Where those of a chain begin; those of the next begin where they end. */
  readonly from: Int32Array

  constructor(chains: number) {
    this.from = new Int32Array(chains + 1)
  }

  get count(): number {
    return this.#count
  }

  push(callee: number): void {
    if (this.#count === this.#to.length) {
      const more = new Int32Array(this.#count * 2)
      more.set(this.#to)
      this.#to = more
    }
    this.#to[this.#count++] = callee
  }

  at(index: number): number {
    return this.#to[index]!
  }

  /** Those of chain `number` end here; a chain that nobody has described has none. */
  end(number: number): number {
    return number + 1 < this.from.length ? this.from[number + 1]! : 0
  }

  begin(number: number): number {
    return number + 1 < this.from.length ? this.from[number]! : 0
  }
}

/** Counts a chain's jumps, and notes those that can be come to. Returns its first rule that is a verdict alone. */
export function gatherJumps(rules: readonly Rule[], links: LinkTable, jumps: Jumps): number {
  let end = NO_END
  let last: string | null = null
  let number = -1
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i]!
    const callee = calleeOf(rule)
    if (callee === null) {
      if (end === NO_END && isVerdictAlone(rule)) end = i
      continue
    }
    if (callee !== last) {
      number = links.add(callee)
      last = callee
      if (end === NO_END) jumps.push(number)
    }
    links.references[number] = links.references[number]! + 1
  }
  return end
}

/** Chains that some of these lead to, and these, each behind those it jumps to. Null: there is a loop. */
export function calleesFirst(
  starts: readonly string[],
  links: LinkTable,
  jumps: Jumps,
  condResched: () => unknown,
): Int32Array | null {
  const { used } = links
  const order = new Int32Array(used)
  let finished = 0
  /** Of each chain, the jump to look at next; -1: not been there; -2: finished. */
  const next = new Int32Array(used).fill(-1)
  const path = new Int32Array(used)
  for (const start of starts) {
    let depth = 0
    const first = links.find(start)
    if (first < 0 || next[first] !== -1) continue
    path[depth++] = first
    next[first] = jumps.begin(first)
    while (depth > 0) {
      const top = path[depth - 1]!
      const at = next[top]!
      if (at === jumps.end(top)) {
        next[top] = -2
        order[finished++] = top
        depth--
        continue
      }
      next[top] = at + 1
      const callee = jumps.at(at)
      if (next[callee]! >= 0) return null
      if (next[callee] === -2) continue
      condResched()
      path[depth++] = callee
      next[callee] = jumps.begin(callee)
    }
  }
  return order.subarray(0, finished)
}

/** Tells each chain which built-in ones lead to it. */
export function spreadHooks(
  builtin: readonly string[],
  links: LinkTable,
  jumps: Jumps,
  order: Int32Array,
): void {
  const { hooks } = links
  for (const [i, name] of builtin.entries()) {
    const number = links.find(name)
    if (number >= 0) hooks[number] = 1 << i
  }
  for (let i = order.length - 1; i >= 0; i--) {
    const number = order[i]!
    const end = jumps.end(number)
    for (let at = jumps.begin(number); at < end; at++) {
      const callee = jumps.at(at)
      hooks[callee] = hooks[callee]! | hooks[number]!
    }
  }
}
