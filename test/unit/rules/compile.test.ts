// Generated code against a plain interpreter with the kernel's jump stack, over random chains.

import { describe, expect, test } from 'vitest'
import { Hook, Hooks, Verdict } from '../../../datapath/hooks.ts'
import { Packet } from '../../../datapath/packet.ts'
import { nameFits } from '../../../rules/compile/names.ts'
import { call } from '../../../rules/compile/rule.ts'
import { type Code, makeJs } from '../../../rules/compile/template.ts'
import type { CompileEnv, Match, Target } from '../../../rules/extension.ts'
import {
  type BaseMatch,
  BUILTIN,
  type Chain,
  NO_BASE,
  type Rule,
  type TargetUse,
} from '../../../rules/model.ts'
import { type LoadedTable, Tables } from '../../../rules/tables.ts'
import { chainOf, ruleOf } from '../../harness/rule.ts'

/** mulberry32: a seed gives a stream. */
function random(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

const markIs: Match<number> = {
  kind: 'match',
  name: 'mark',
  families: [4, 6],
  options: [],
  help: '',
  parse: () => 0,
  print: String,
  reads: ['mark'],
  emit: (value, js) => js`(pkt.mark & 3) === ${value}`,
}

/** Every n-th time it is asked; its own state. */
const every: Match<number> = {
  ...markIs,
  name: 'every',
  reads: ['state'],
  state: () => ({ count: 0 }),
  emit: (n, js) => js`${js.state}.count++ % ${n} === 0`,
}

const setMark: Target<number> = {
  kind: 'target',
  name: 'MARK',
  families: [4, 6],
  options: [],
  help: '',
  parse: () => 0,
  print: String,
  reads: [],
  flow: 'continue',
  emit: (value, js) => js`pkt.mark = ${value}`,
}

function env(): CompileEnv {
  const names = ['', 'lo', 'eth0', 'eth1', 'wan']
  const devices = {
    generation: 0,
    byIndex: names.map((name, index) => (index === 0 ? undefined : { index, name })),
    byName: (name: string) => devices.byIndex.find((device) => device?.name === name),
  }
  let tracked = 0
  return {
    host: {
      hooks: new Hooks(),
      devices,
      memory: { bytes: new Uint8Array() },
      random: { i32: () => 0 },
      condResched: () => {},
    },
    conntrack: {
      need: () => {
        tracked++
        return () => tracked--
      },
      isActive: () => tracked > 0,
      flows: { recording: false, invalidate: () => {}, flush: () => {} },
    },
    nat: {},
  } as unknown as CompileEnv
}

interface Generated {
  readonly chains: Map<string, Chain>
}

function generate(rand: () => number): Generated {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rand() * list.length)]!
  const users = Array.from({ length: 1 + Math.floor(rand() * 6) }, (_, i) => `user${i}`)
  const target = (below: readonly string[]): TargetUse => {
    const roll = rand()
    if (roll < 0.35 && below.length > 0) return { kind: roll < 0.22 ? 'jump' : 'goto', chain: pick(below) }
    if (roll < 0.45)
      return { kind: 'standard', verdict: pick(['ACCEPT', 'DROP', 'RETURN', 'RETURN'] as const) }
    if (roll < 0.75) return { kind: 'extension', target: setMark as Target, data: Math.floor(rand() * 4) }
    return { kind: 'none' }
  }
  const rule = (below: readonly string[]): Rule => {
    const base: BaseMatch = {
      ...NO_BASE,
      inInterface: rand() < 0.3 ? { name: pick(['eth0', 'eth+', 'wan']), invert: rand() < 0.3 } : null,
      protocol: rand() < 0.3 ? { number: pick([6, 17]), invert: rand() < 0.3 } : null,
      source:
        rand() < 0.4
          ? {
              words: [rand() < 0.5 ? 0x0a000000 : -0x40000000, 0, 0, 0],
              mask: [pick([-1, -0x1000000, -2]), 0, 0, 0],
              invert: rand() < 0.3,
            }
          : null,
    }
    const matches = [
      ...(rand() < 0.4 ? [{ match: markIs as Match, data: Math.floor(rand() * 4) }] : []),
      ...(rand() < 0.3 ? [{ match: every as Match, data: 1 + Math.floor(rand() * 3) }] : []),
    ]
    return ruleOf(matches, target(below), base)
  }
  const chains = new Map<string, Chain>()
  const length = (): number => (rand() < 0.1 ? 150 + Math.floor(rand() * 200) : Math.floor(rand() * 8))
  for (const [i, name] of users.entries()) {
    // A chain leads only to later ones: no loops.
    const below = users.slice(i + 1)
    chains.set(
      name,
      chainOf(
        name,
        null,
        Array.from({ length: length() }, () => rule(below)),
      ),
    )
  }
  const policy = rand() < 0.5 ? 'ACCEPT' : 'DROP'
  const rules = Array.from({ length: length() }, () => rule(users))
  chains.set('FORWARD', chainOf('FORWARD', policy, rules))
  return { chains }
}

/** ipt_do_table() with an explicit stack of return places. */
class Interpreter {
  readonly counters = new Map<string, number[]>()
  policy = [0, 0]
  readonly #chains: ReadonlyMap<string, Chain>
  readonly #counts = new Map<object, number>()

  constructor(chains: ReadonlyMap<string, Chain>) {
    this.#chains = chains
    for (const [name, chain] of chains) this.counters.set(name, new Array(chain.rules.length * 2).fill(0))
  }

  run(pkt: Packet): number {
    const stack: { chain: Chain; at: number }[] = []
    let chain = this.#chains.get('FORWARD')!
    let at = 0
    for (;;) {
      if (at >= chain.rules.length) {
        const back = stack.pop()
        if (back === undefined) return this.#policy(pkt)
        chain = back.chain
        at = back.at
        continue
      }
      const rule = chain.rules[at]!
      const index = at++
      if (!this.#fits(rule, pkt)) continue
      const counters = this.counters.get(chain.name)!
      counters[index * 2]!++
      counters[index * 2 + 1]! += pkt.length
      const use = rule.target
      if (use.kind === 'extension') pkt.mark = use.data as number
      else if (use.kind === 'standard') {
        if (use.verdict === 'ACCEPT') return Verdict.Accept
        if (use.verdict === 'DROP') return Verdict.Drop
        at = Number.POSITIVE_INFINITY
      } else if (use.kind === 'jump' || use.kind === 'goto') {
        if (use.kind === 'jump') stack.push({ chain, at })
        chain = this.#chains.get(use.chain)!
        at = 0
      }
    }
  }

  #policy(pkt: Packet): number {
    this.policy[0]!++
    this.policy[1]! += pkt.length
    return this.#chains.get('FORWARD')!.policy === 'DROP' ? Verdict.Drop : Verdict.Accept
  }

  #fits(rule: Rule, pkt: Packet): boolean {
    const { inInterface, protocol, source } = rule.base
    const name = ['', 'lo', 'eth0', 'eth1', 'wan'][pkt.iif]!
    if (inInterface && nameFits(inInterface.name, name) === inInterface.invert) return false
    if (protocol && (pkt.proto === protocol.number) === protocol.invert) return false
    if (source) {
      const equal = (pkt.s0 & source.mask[0]) === (source.words[0] & source.mask[0])
      if (equal === source.invert) return false
    }
    for (const use of rule.matches) {
      if (use.match.name === 'mark') {
        if ((pkt.mark & 3) !== use.data) return false
      } else {
        const count = this.#counts.get(use) ?? 0
        this.#counts.set(use, count + 1)
        if (count % (use.data as number) !== 0) return false
      }
    }
    return true
  }
}

function packets(rand: () => number, count: number): (() => Packet)[] {
  return Array.from({ length: count }, () => {
    const [mark, iif, proto] = [Math.floor(rand() * 4), Math.floor(rand() * 5), rand() < 0.5 ? 6 : 17]
    const source = [0x0a000000, 0x0a000001, 0x0a000002, -0x40000000, -0x3fffffff][Math.floor(rand() * 5)]!
    const length = 20 + Math.floor(rand() * 1400)
    return () => Object.assign(new Packet(), { mark, iif, proto, s0: source, end: length })
  })
}

const filter = (tables: Tables): LoadedTable => tables.table(4, 'filter')

describe('compiled chains', () => {
  test('verdict, mark and counters are the interpreter’s, over random chains', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const rand = random(seed)
      const { chains } = generate(rand)
      const e = env()
      const tables = new Tables(e)
      tables.commit([{ family: 4, table: 'filter', chains }])
      const reference = new Interpreter(chains)
      for (const make of packets(rand, 60)) {
        // Code may be made before a packet asks for it.
        if (rand() < 0.1) tables.warm(Math.floor(rand() * 20))
        const ours = make()
        const theirs = make()
        expect([seed, e.host.hooks.run4[Hook.Forward]!(ours), ours.mark]).toEqual([
          seed,
          reference.run(theirs),
          theirs.mark,
        ])
      }
      for (const [name, counters] of reference.counters)
        expect([seed, name, [...filter(tables).chain(name).counters]]).toEqual([seed, name, counters])
      const forward = filter(tables).chain('FORWARD')
      expect([forward.policyPackets, forward.policyBytes]).toEqual(reference.policy)
    }
  })

  test('an edit keeps the counters of rules that stay, and starts match state anew', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const rand = random(seed)
      const { chains } = generate(rand)
      const e = env()
      const tables = new Tables(e)
      tables.commit([{ family: 4, table: 'filter', chains }])
      for (const make of packets(rand, 30)) e.host.hooks.run4[Hook.Forward]!(make())
      const chain = filter(tables).chain('FORWARD')
      const before = new Map(
        chain.model.rules.map((rule, i) => [rule, [chain.counters[i * 2], chain.counters[i * 2 + 1]]]),
      )
      const rules = chain.model.rules.filter(() => rand() < 0.7)
      if (rand() < 0.5) rules.reverse()
      rules.splice(Math.floor(rand() * rules.length), 0, ruleOf([]))
      tables.commit([
        { family: 4, table: 'filter', chains: new Map([['FORWARD', { ...chain.model, rules }]]) },
      ])
      for (const [i, rule] of rules.entries())
        expect([chain.counters[i * 2], chain.counters[i * 2 + 1]]).toEqual(before.get(rule) ?? [0, 0])
      for (const slot of chain.slots.at.subarray(0, chain.slots.count))
        for (const holder of chain.slots.statesOf(slot) ?? [])
          if (holder.s !== null) expect(holder.s).toEqual({ count: 0 })
    }
  })

  test('a long chain, edited at its end and elsewhere between packets, counts what it should', () => {
    const rand = random(4)
    const tables = new Tables(env())
    const chain = filter(tables).chain('FORWARD')
    const make = (): Rule => ruleOf([{ match: markIs as Match, data: Math.floor(rand() * 3) }])
    let rules = Array.from({ length: 290 }, make)
    const expected = new Map<Rule, number>()
    for (let edit = 0; edit < 120; edit++) {
      const dice = rand()
      const at = Math.floor(rand() * rules.length)
      if (dice < 0.6) rules = [...rules, ...Array.from({ length: 1 + Math.floor(rand() * 9) }, make)]
      else if (dice < 0.8) rules = rules.slice(0, rules.length - Math.floor(rand() * 30))
      else if (dice < 0.9) rules = rules.toSpliced(at, 1)
      else rules = rules.toSpliced(at, 0, make())
      tables.commit([
        { family: 4, table: 'filter', chains: new Map([['FORWARD', { ...chain.model, rules }]]) },
      ])
      if (rand() < 0.3) while (tables.warm(7)) {}
      for (let n = 0; n < 3; n++) {
        const pkt = Object.assign(new Packet(), { mark: n, end: 100 })
        call(chain, pkt, Hook.Forward)
        for (const rule of rules)
          if (rule.matches[0]!.data === n) expected.set(rule, (expected.get(rule) ?? 0) + 1)
      }
      const counts = rules.flatMap((rule) => [expected.get(rule) ?? 0, 100 * (expected.get(rule) ?? 0)])
      expect([edit, ...chain.counters]).toEqual([edit, ...counts])
    }
  })

  test('code that is replaced leaves nothing behind', () => {
    const tables = new Tables(env())
    const { codes } = filter(tables)
    const gone = new Map([['gone', null]])
    const sizes: number[][] = []
    for (let round = 0; round < 80; round++) {
      const rand = random(round % 10)
      const { chains } = generate(rand)
      tables.commit([{ family: 4, table: 'filter', chains }])
      while (tables.warm(1000));
      for (const make of packets(rand, 5)) call(filter(tables).chain('FORWARD'), make(), Hook.Forward)
      const empty = new Map(
        [...chains].map(([name, chain]) => [name, chain.policy === null ? null : { ...chain, rules: [] }]),
      )
      tables.commit([{ family: 4, table: 'filter', chains: new Map([...gone, ...empty]) }])
      sizes.push([codes.runs.length, codes.objects.length, codes.words.length, codes.heads.length])
    }
    // By then all shapes have a function, and later rounds find room where earlier ones had theirs.
    expect(sizes.at(-1)).toEqual(sizes[40])
  })

  test('tracking is on while a rule needs it', () => {
    const e = env()
    const tables = new Tables(e)
    const tracking: Match<number> = { ...markIs, name: 'state', tracks: true }
    const rule = ruleOf([{ match: tracking as Match, data: 0 }])
    const commit = (name: string, chain: Chain | null): void =>
      tables.commit([{ family: 4, table: 'filter', chains: new Map([[name, chain]]) }])
    commit('never-called', chainOf('never-called', null, [rule]))
    expect(e.conntrack.isActive(4)).toBe(true)
    commit('INPUT', chainOf('INPUT', 'ACCEPT', [rule, rule]))
    commit('never-called', null)
    expect(e.conntrack.isActive(4)).toBe(true)
    commit('INPUT', chainOf('INPUT', 'ACCEPT', []))
    expect(e.conntrack.isActive(4)).toBe(false)
  })

  test('iptables-save lists the newest table first', () => {
    const tables = new Tables(env())
    for (const name of ['raw', 'mangle', 'filter'] as const) tables.table(4, name)
    expect(tables.used(4).map((t) => t.name)).toEqual(['filter', 'mangle', 'raw'])
    expect([...filter(tables).chains.keys()]).toEqual([...BUILTIN.filter])
  })
})

describe('templates', () => {
  const names = { pattern: () => ({ t: new Uint8Array() }), exact: { t: new Int32Array() }, idOf: () => 0 }
  const js = makeJs(env(), 4, names)

  const text = (code: Code): string => js.text(code, true)

  test('text never becomes code', () => {
    for (const evil of ['"; process.exit(1); "', `\`$${'{x}'}\``, '\u2028', '\\', "'", '*/']) {
      const code = text(js`${evil}`)
      expect(new Function(`return ${code}`)()).toBe(evil)
    }
  })

  test('numbers keep their value beside operators', () => {
    expect(new Function(`return ${text(js`3 - ${-4}`)}`)()).toBe(7)
    expect(() => js`${Number.NaN}`).toThrow(TypeError)
  })

  test('code in a hole keeps together', () => {
    const sum = js`1 + 2`
    expect(new Function(`return ${text(js`${sum} * 3`)}`)()).toBe(9)
    expect(text(js.all([]))).toBe('true')
    expect(text(js.any([]))).toBe('false')
  })
})
