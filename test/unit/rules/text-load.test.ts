// Rules files: what is wrong is said with file, line and column, and nothing of that table is put in force.

import { expect, test } from 'vitest'
import { matches } from '../../../rules/matches/index.ts'
import { MemoryStore, Ruleset } from '../../../rules/ruleset.ts'
import { targets } from '../../../rules/targets/index.ts'
import { Registry } from '../../../rules/text/registry.ts'
import { loadRules } from '../../../rules/text/restore.ts'

const registry = new Registry(matches, targets)

function load(text: string): MemoryStore {
  const store = new MemoryStore()
  loadRules(text, { family: 4, registry, rulesets: new Ruleset(store), file: 'web.rules' })
  return store
}

test.each([
  ['*filter\n-A INPUT -p tcp --dport 80 --dprot 81 -j ACCEPT\nCOMMIT\n', '2:28: unknown option "--dprot"'],
  ['*filter\n[1:2] -A INPUT --bad\nCOMMIT\n', '2:16: unknown option "--bad"'],
  ['*filter\n-A INPUT junk\nCOMMIT\n', "2:10: Bad argument `junk'"],
  [
    '*filter\n\n# x\n-A INPUT -j NOPE\nCOMMIT\n',
    "4:1: Couldn't load target `NOPE':No such file or directory",
  ],
  ['*filter\n-A NOPE -j ACCEPT\nCOMMIT\n', '2:1: No chain/target/match by that name'],
  ['*filter\n:INPUT FOO [0:0]\nCOMMIT\n', "2:1: Can't set policy `FOO' on `INPUT' line 2: Bad policy name"],
  ['*nope\nCOMMIT\n', "1:1: iptables-restore: unable to initialize table 'nope'"],
  ['junk\n', '1:1: expected a comment or *TABLE, found "junk"'],
  ['*filter\n-A INPUT -j ACCEPT\n', '2:19: the table lacks its COMMIT'],
  [
    '*filter\n:a - [0:0]\n:b - [0:0]\n-A INPUT -j a\n-A a -j b\n-A b -j a\nCOMMIT\n',
    '6:1: Too many levels of symbolic links: a -> b -> a',
  ],
  [
    '*nat\n-A PREROUTING -j MASQUERADE\nCOMMIT\n',
    '2:1: MASQUERADE: used from hooks PREROUTING, but only valid from POSTROUTING',
  ],
  ['*filter\n-A INPUT -m tcp --dport 1\nCOMMIT\n', '2:1: tcp: only valid for protocol 6, not 0'],
])('%j', (text, message) => {
  expect(() => load(text)).toThrow(`web.rules:${message}`)
})

test('counters are taken where they stand, a last line end may be missing', () => {
  const store = load(
    '*filter\n:INPUT DROP [7:8]\n:FORWARD ACCEPT\n[1:2] -A INPUT -j ACCEPT\n-A INPUT -j DROP\nCOMMIT',
  )
  const input = store.table(4, 'filter').chains.get('INPUT')!
  expect(input).toMatchObject({ policyPackets: 7, policyBytes: 8, model: { policy: 'DROP' } })
  expect([...Array.from(input.counters)]).toEqual([1, 2, 0, 0])
  expect(input.model.rules.map((rule) => rule.place)).toEqual([
    { file: 'web.rules', line: 4, column: 1 },
    { file: 'web.rules', line: 5, column: 1 },
  ])
})
