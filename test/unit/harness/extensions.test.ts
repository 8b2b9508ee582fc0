// The random scenarios leave no extension out.

import { expect, test } from 'vitest'
import { matches } from '../../../rules/matches/index.ts'
import { targets } from '../../../rules/targets/index.ts'
import { MATCHES } from '../../harness/extensions/matches.ts'
import { TARGETS, WITHOUT_ENTRY } from '../../harness/extensions/targets.ts'

const missing = (
  known: readonly { name: string; families: readonly number[] }[],
  entries: readonly string[],
) =>
  known
    .filter(
      ({ name, families }) => families.includes(4) && !entries.includes(name) && !(name in WITHOUT_ENTRY),
    )
    .map(({ name }) => name)

test('every match of IPv4 has an entry in extensions/matches.ts, or a reason', () => {
  const names = MATCHES.map(({ name }) => name)
  expect(missing(matches, names)).toEqual([])
  expect(names).toEqual([...new Set(names)])
})

test('every target of IPv4 has an entry in extensions/targets.ts, or a reason', () => {
  const names = TARGETS.map(({ name }) => name)
  expect(missing(targets, names)).toEqual([])
  expect(names).toEqual([...new Set(names)])
})
