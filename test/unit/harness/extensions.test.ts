// The random scenarios leave no extension out.

import { describe, expect, test } from 'vitest'
import type { Family } from '../../../datapath/packet.ts'
import { matches } from '../../../rules/matches/index.ts'
import { targets } from '../../../rules/targets/index.ts'
import { MATCHES } from '../../harness/extensions/matches.ts'
import { TARGETS, WITHOUT_ENTRY } from '../../harness/extensions/targets.ts'

describe.each([4, 6] as const)('IPv%i', (family) => {
  const fits = ({ families = [4, 6] }: { readonly families?: readonly Family[] }) => families.includes(family)

  test.each([
    ['match', matches, MATCHES],
    ['target', targets, TARGETS],
  ] as const)('every %s has one entry in extensions, or a reason', (_, known, entries) => {
    const names = entries.filter(fits).map(({ name }) => name)
    expect(names).toEqual([...new Set(names)])
    const missing = known.filter(fits).map(({ name }) => name)
    expect(missing.filter((name) => !names.includes(name) && !(name in WITHOUT_ENTRY))).toEqual([])
  })
})
