// Whether the random scenarios of a family try every option of every extension that sees its packets, in either sense,
// so that it fits some packets and misses others. Rehearsed by tunwall alone, always the same.

import { beforeAll, describe, expect, test } from 'vitest'
import { matches } from '../../rules/matches/index.ts'
import { targets } from '../../rules/targets/index.ts'
import { Coverage, type Tally } from './extensions/coverage.ts'
import { WITHOUT_ENTRY } from './extensions/targets.ts'
import { rehearse } from './generate.ts'
import type { Profile } from './generate-world.ts'
import { Rehearsal } from './rehearsal.ts'
import type { Family } from './scenario.ts'

/** Names of options by `-m NAME`, `-j NAME`. */
export type Options = Readonly<Record<string, readonly string[]>>

export interface CoverageOf {
  readonly family: Family
  readonly seed: number
  readonly profiles: readonly Profile[]
  /** How many scenarios at most. */
  readonly scenarios: number
  /** What the save tool never prints, because another option says the same. */
  readonly saidOtherwise: Options
  /** What needs something that no scenario has. */
  readonly notDrawn: Options
  /** What has one answer on a host of TUN devices without sockets, IPsec and fingerprints of systems. */
  readonly oneAnswer: readonly RegExp[]
  /** Whether each option must be tried in both senses, or each extension with some of its options. */
  readonly each: 'option' | 'extension'
}

/** 14 September 2026, and an hour more each time: other days and hours for -m time. */
const WALL = Date.UTC(2026, 8, 14)
const HOUR = 3_600_000

/** The tests. */
export function testCoverage({
  family,
  seed,
  profiles,
  scenarios,
  saidOtherwise,
  notDrawn,
  oneAnswer,
  each,
}: CoverageOf): void {
  const known = [
    ...matches.map((e) => ({ ...e, key: `-m ${e.name}` })),
    ...targets.map((e) => ({ ...e, key: `-j ${e.name}` })),
  ].filter((e) => e.families.includes(family) && !(e.name in WITHOUT_ENTRY))
  type Known = (typeof known)[number]

  const tallies = new Map<string, Tally>()
  const ofKey = (key: string): [string, Tally][] =>
    [...tallies].filter(([k]) => k === key || k.startsWith(`${key} `))

  const neverDrawn = ({ key, options }: Known): string[] => {
    if (each === 'extension') return ofKey(key).length > 0 ? [] : [key]
    const otherwise = [...(saidOtherwise[key] ?? []), ...(notDrawn[key] ?? [])]
    return options
      .flatMap(({ flag, invertible }) => [`--${flag}`, ...(invertible === true ? [`! --${flag}`] : [])])
      .filter((flag) => !otherwise.includes(flag) && !tallies.has(`${key} ${flag}`))
  }

  /** All options of an extension as one. */
  const together = (key: string): [string, Tally] => {
    const all: Tally = { rules: 0, fitted: 0, missed: 0 }
    for (const [, { rules, fitted, missed }] of ofKey(key)) {
      all.rules += rules
      all.fitted += fitted
      all.missed += missed
    }
    return [key, all]
  }

  /** Of a target, what is never carried out; of a match, what always says the same. */
  const onesided = ({ key }: Known): [string, Tally][] =>
    (each === 'option' ? ofKey(key) : [together(key)]).filter(([k, t]) =>
      key.startsWith('-j')
        ? t.fitted === 0
        : (t.fitted === 0 || t.missed === 0) && !oneAnswer.some((r) => r.test(k)),
    )

  beforeAll(async () => {
    const coverage = new Coverage()
    try {
      for (let i = 0; i < scenarios; i++) {
        const wall = WALL + i * HOUR
        await rehearse(seed + i, profiles[i % profiles.length]!, wall, (s) => new Rehearsal(s, wall))
        if (i % 25 !== 24) continue
        for (const [name, tally] of coverage.tallies) tallies.set(name, tally)
        if (known.every((e) => neverDrawn(e).length === 0 && onesided(e).length === 0)) {
          console.log(`every option was tried within ${i + 1} scenarios`)
          break
        }
      }
    } finally {
      coverage.end()
    }
  }, 600_000)

  test('something was drawn', () => {
    expect(tallies.size).toBeGreaterThan(300)
  })

  describe.each(known)('$key', (e) => {
    test('every option is drawn', () => {
      expect(ofKey(e.key), 'is never drawn').not.toEqual([])
      expect(neverDrawn(e)).toEqual([])
      // The list says nothing that is not so.
      expect((saidOtherwise[e.key] ?? []).filter((flag) => tallies.has(`${e.key} ${flag}`))).toEqual([])
    })

    test(
      e.key.startsWith('-m')
        ? 'every option fits some packets and misses others'
        : 'every option is carried out',
      () => {
        expect(onesided(e)).toEqual([])
      },
    )
  })
}
