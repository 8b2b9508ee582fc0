// What the random scenarios try: every option of every extension that sees IPv4 packets is drawn, in either sense, and
// fits some packets and misses others. Rehearsed by tunwall alone, always the same.
//
//     TUNWALL_SCENARIOS  how many at most; default 1200

import { beforeAll, describe, expect, test } from 'vitest'
import { matches } from '../../../rules/matches/index.ts'
import { targets } from '../../../rules/targets/index.ts'
import { Coverage, type Tally } from '../../harness/extensions/coverage.ts'
import { WITHOUT_ENTRY } from '../../harness/extensions/targets.ts'
import { rehearse } from '../../harness/generate.ts'
import type { Profile } from '../../harness/generate-world.ts'
import { Rehearsal } from '../../harness/rehearsal.ts'

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 1200)
const SEED = 910_000
const PROFILES: readonly Profile[] = ['extensions', 'extensions', 'nat', 'extensions', 'sets']
/** 14 September 2026, and an hour more each time: other days and hours for -m time. */
const WALL = Date.UTC(2026, 8, 14)
const HOUR = 3_600_000

/** What iptables-save never prints, because another option says the same. */
const SAID_OTHERWISE: Readonly<Record<string, readonly string[]>> = {
  '-m cluster': ['--cluster-local-node', '! --cluster-local-node'],
  '-m connlimit': ['! --connlimit-upto', '! --connlimit-above'],
  '-m dccp': ['--source-port', '! --source-port', '--destination-port', '! --destination-port'],
  '-m dscp': ['--dscp-class', '! --dscp-class'],
  '-m hashlimit': ['! --hashlimit-upto', '! --hashlimit-above'],
  '-m multiport': ['--source-ports', '! --source-ports', '--destination-ports', '! --destination-ports'],
  '-m sctp': ['--source-port', '! --source-port', '--destination-port', '! --destination-port'],
  '-m set': ['--update-counters', '--update-subcounters'],
  '-m tcp': [
    '--source-port',
    '! --source-port',
    '--destination-port',
    '! --destination-port',
    '--syn',
    '! --syn',
  ],
  '-m time': ['--localtz', '--utc', '! --monthdays', '! --weekdays'],
  '-m udp': ['--source-port', '! --source-port', '--destination-port', '! --destination-port'],
  '-j CONNMARK': ['--set-mark', '--and-mark', '--or-mark', '--xor-mark', '--mask'],
  '-j DSCP': ['--set-dscp-class'],
  '-j MARK': ['--set-mark', '--and-mark', '--or-mark', '--xor-mark'],
  '-j SET': ['add-set', 'del-set', 'map-set', 'exist', 'timeout', 'map-mark', 'map-prio', 'map-queue'].map(
    (flag) => `! --${flag}`,
  ),
  '-j TOS': ['--and-tos', '--or-tos', '--xor-tos'],
}

/** What needs something that no scenario has. */
const NOT_DRAWN: Readonly<Record<string, readonly string[]>> = {
  // A program pinned in the file system of BPF.
  '-m bpf': ['--object-pinned'],
  // Read, and never looked at.
  '-m ipcomp': ['--compres'],
  // A timeout policy, which no tool of the scenario makes.
  '-j CT': ['--timeout'],
}

/** What has one answer on a host of TUN devices without sockets, IPsec and fingerprints of systems; and why. */
const ONE_ANSWER: readonly RegExp[] = [
  /^-m (comment|mac|osf|physdev|policy|socket)\b/,
  // Only processors that no machine has are drawn.
  /^-m cpu/,
  // Packets of the host itself belong to no group, user or file.
  /^-m (cgroup|owner) (! )?--(path|uid-owner|gid-owner|suppl-groups)$/,
  // The first always fits.
  /^-m recent (! )?--set$/,
]

const known = [
  ...matches.map((e) => ({ ...e, key: `-m ${e.name}` })),
  ...targets.map((e) => ({ ...e, key: `-j ${e.name}` })),
].filter((e) => e.families.includes(4) && !(e.name in WITHOUT_ENTRY))
type Known = (typeof known)[number]

const tallies = new Map<string, Tally>()
const ofKey = (key: string): [string, Tally][] =>
  [...tallies].filter(([k]) => k === key || k.startsWith(`${key} `))

const neverDrawn = ({ key, options }: Known): string[] => {
  const otherwise = [...(SAID_OTHERWISE[key] ?? []), ...(NOT_DRAWN[key] ?? [])]
  return options
    .flatMap(({ flag, invertible }) => [`--${flag}`, ...(invertible === true ? [`! --${flag}`] : [])])
    .filter((flag) => !otherwise.includes(flag) && !tallies.has(`${key} ${flag}`))
}

/** Of a target, what is never carried out; of a match, what always says the same. */
const onesided = ({ key }: Known): [string, Tally][] =>
  ofKey(key).filter(([k, t]) =>
    key.startsWith('-j')
      ? t.fitted === 0
      : (t.fitted === 0 || t.missed === 0) && !ONE_ANSWER.some((r) => r.test(k)),
  )

beforeAll(async () => {
  const coverage = new Coverage()
  try {
    for (let i = 0; i < SCENARIOS; i++) {
      const wall = WALL + i * HOUR
      await rehearse(SEED + i, PROFILES[i % PROFILES.length]!, wall, (s) => new Rehearsal(s, wall))
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
    expect((SAID_OTHERWISE[e.key] ?? []).filter((flag) => tallies.has(`${e.key} ${flag}`))).toEqual([])
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
