// What is printed reads back as the same; the short way of reading equals the long one; checks of what changed
// equal checks of the whole.

import { describe, expect, test } from 'vitest'
import { type ChainSource, Links } from '../../rules/check.ts'
import { matches } from '../../rules/matches/index.ts'
import type { Chain, Rule } from '../../rules/model.ts'
import { MemoryStore, Ruleset } from '../../rules/ruleset.ts'
import { targets } from '../../rules/targets/index.ts'
import { Registry } from '../../rules/text/registry.ts'
import { Restore } from '../../rules/text/restore.ts'
import { saveTable } from '../../rules/text/save.ts'
import { CommandDice, OurTools } from '../harness/commands.ts'
import { chainOf, ruleOf } from '../harness/rule.ts'

const SEED = Number(process.env.TUNWALL_SEED ?? 4711)
const registry = new Registry(matches, targets)

const BASE = /\d-\d+\/\d+$/

/** A table full of rules that iptables takes, as it prints them. */
function randomTable(seed: number): string {
  const dice = new CommandDice(seed, { tame: true })
  const table = dice.pick(['filter', 'nat', 'mangle', 'raw', 'security'])
  const tools = new OurTools()
  for (const chain of ['a', 'b', 'web', 'web-2', 'KUBE-SVC-ABCDEFGHIJKLMNOP', 'x_y', 'Zed'])
    tools.run({ tool: 'iptables', argv: ['-t', table, '-N', chain], stdin: '' })
  for (let i = 0; i < 90; i++) {
    const chain = dice.chain(table)
    const rule = dice.rule(table, chain)
    // iptables 1.8.9 prints the base of a range of ports as 0, and does not take that again.
    if (rule.some((word) => BASE.test(word))) continue
    tools.run({ tool: 'iptables', argv: ['-t', table, '-A', chain, ...rule], stdin: '' })
  }
  return tools.save().stdout
}

function restore(text: string, verbose: boolean): string {
  const store = new MemoryStore()
  const sink = { out: () => {}, err: () => {} }
  const restore = new Restore({
    family: 4,
    registry,
    rulesets: new Ruleset(store),
    program: 'iptables-restore',
    file: 'text',
    sink,
    counters: true,
    verbose: verbose ? 1 : 0,
  })
  restore.run(text)
  return store
    .used(4)
    .map((view) => saveTable(view, true, 'iptables-save', 0))
    .join('')
}

test(`saved tables read back unchanged, the short and the long way (seed ${SEED})`, () => {
  let rules = 0
  for (let i = 0; i < 40; i++) {
    const text = randomTable(SEED + i)
    rules += text.match(/^\[\d+:\d+\] -A/gm)?.length ?? 0
    expect(restore(text, false)).toBe(text)
    // -v prints every rule, and so reads none the short way.
    expect(restore(text, true)).toBe(text)
  }
  expect(rules).toBeGreaterThan(500)
})

describe('Links', () => {
  const masquerade = registry.target('MASQUERADE', 4)!.extension
  const NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
  const BUILTIN = ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING']
  const none: ChainSource = { chain: () => undefined }

  const verdict = (run: () => void): string => {
    try {
      run()
      return 'accepted'
    } catch (error) {
      return (error as { errno: string }).errno
    }
  }

  test(`checks of what changed equal checks of the whole (seed ${SEED})`, () => {
    const seen = new Map<string, number>()
    for (let round = 0; round < 150; round++) {
      const dice = new CommandDice(SEED + round)
      const chains = new Map<string, Chain>()
      for (const name of [...BUILTIN, ...NAMES]) chains.set(name, chainOf(name, null, []))
      const links = new Links(4, 'nat')
      for (let step = 0; step < 60; step++) {
        const after = new Map(chains)
        const changed = new Map<string, Chain>()
        for (let n = dice.below(3); n >= 0; n--) {
          const name = dice.pick([...BUILTIN, ...NAMES, ...NAMES])
          const rules = [...after.get(name)!.rules]
          if (dice.chance(0.35) && rules.length > 0) rules.splice(dice.below(rules.length), 1)
          else rules.splice(dice.below(rules.length + 1), 0, randomRule(dice))
          const chain = chainOf(name, null, rules)
          after.set(name, chain)
          changed.set(name, chain)
        }
        const before: ChainSource = { chain: (name) => chains.get(name) }
        const source: ChainSource = { chain: (name) => after.get(name) }
        const whole = verdict(() => new Links(4, 'nat').check(after, none, source))
        const part = verdict(() => links.check(changed, before, source)())
        expect(part).toBe(whole)
        seen.set(part, (seen.get(part) ?? 0) + 1)
        if (part !== 'accepted') continue
        for (const [name, chain] of changed) chains.set(name, chain)
        for (const name of NAMES)
          expect(links.references(name)).toBe(
            [...chains.values()]
              .flatMap((chain) => chain.rules)
              .filter((rule) => rule.target.kind === 'jump' && rule.target.chain === name).length,
          )
      }
    }
    expect([...seen.keys()].sort()).toEqual(['EINVAL', 'ELOOP', 'accepted'])
  })

  const randomRule = (dice: CommandDice): Rule =>
    ruleOf(
      [],
      dice.chance(0.12)
        ? { kind: 'extension', target: masquerade, data: {} }
        : { kind: 'jump', chain: dice.pick(NAMES) },
    )
})

test('an append to a large table touches one chain', () => {
  const lines = ['*filter']
  for (let i = 0; i < 20_000; i++) lines.push(`:c${i} - [0:0]`)
  for (let i = 0; i < 20_000; i++)
    lines.push(`-A INPUT -s 10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32 -j c${i}`)
  for (let i = 0; i < 20_000; i++) lines.push(`-A c${i} -p tcp -m tcp --dport ${i} -j ACCEPT`)
  lines.push('COMMIT', '')
  const tools = new OurTools()
  expect(tools.run({ tool: 'iptables-restore', argv: [], stdin: lines.join('\n') }).stderr).toBe('')
  const draft = tools.rulesets.open(4, 'filter')!
  draft.append('c7', ruleOf([], { kind: 'jump', chain: 'c8' }), null)
  expect([...draft.edit().chains.keys()]).toEqual(['c7'])
  tools.rulesets.commit(draft)
  expect(tools.run({ tool: 'iptables', argv: ['-S', 'c7'], stdin: '' }).stdout).toBe(
    '-N c7\n-A c7 -p tcp -m tcp --dport 7 -j ACCEPT\n-A c7 -j c8\n',
  )
})
