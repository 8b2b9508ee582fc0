// What a rule says that it needs is what its extensions do when they are asked, and the reader of whole lines has gathered what
// the parser of commands has: all rows of test/extensions, in two tables each.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { BUILTIN, type Rule, TABLE_NAMES } from '../../../rules/model.ts'
import { makeStates, Need, releaseStates, setsOf } from '../../../rules/needs.ts'
import { repositoryRoot } from '../../harness/kernel.ts'
import { OurHost } from '../../harness/rulesets.ts'

/** Rules as iptables-save prints them: the line behind its chain, and that. */
function rows(family: 4 | 6): (readonly [string, string])[] {
  const folder = join(repositoryRoot(), 'test/extensions', family === 4 ? 'tables' : 'tables6')
  const found = new Map<string, string>()
  for (const file of readdirSync(folder))
    for (const line of readFileSync(join(folder, file), 'latin1').split('\n')) {
      const saved = /^S -A (\S+) (.*)$/.exec(line)
      if (saved !== null) found.set(saved[2]!, saved[1]!)
    }
  return [...found]
}

test.each([4, 6] as const)('IPv%d', (family) => {
  const ours = new OurHost()
  const { tables } = ours.engine
  const tool = family === 4 ? 'iptables-restore' : 'ip6tables-restore'
  let known = 0
  for (const [i, [options, saved]] of rows(family).entries()) {
    for (const j of [i, i + 2]) {
      const table = TABLE_NAMES[j % TABLE_NAMES.length]!
      const chain = BUILTIN[table].find((name) => name === saved) ?? BUILTIN[table][0]!
      const restore = (name: string): number =>
        ours.ask({ tool, argv: [], stdin: `*${table}\n-A ${name} ${options}\nCOMMIT\n` }).code
      const inForce = (): Rule => tables.table(family, table).chain(chain).model.rules[0]!
      const code = restore(chain)
      const rule = code === 0 ? inForce() : null
      // Quotes are for the parser of commands.
      expect([options, table, restore(`"${chain}"`)]).toEqual([options, table, code])
      if (rule === null) continue
      known++
      const { needs } = rule
      expect([options, inForce().needs]).toEqual([options, needs])
      const asked: Rule = { ...rule, place: null, needs: ~0 }
      const { env } = tables.table(family, table)
      const states = makeStates(asked, env, family)
      if (states !== null) releaseStates(asked, env, family)
      // Some have none with these options.
      if (states !== null) expect([options, needs & Need.States]).toEqual([options, Need.States])
      expect([options, (needs & Need.Sets) !== 0]).toEqual([options, setsOf(asked).length > 0])
    }
  }
  expect(known).toBeGreaterThan(150)
})
