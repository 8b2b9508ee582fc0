// The seed of a run's random tests: TUNWALL_SEED, or one that the committed code has of its own. So every change is tested
// by other dice, and whoever repeats a run of the same commit, CI or a person, throws the same.

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const FOLDERS = ['datapath', 'conntrack', 'rules', 'daemon', 'test']

function seedOfCode(): number {
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const asked = FOLDERS.map((folder) => `HEAD:${folder}`)
  const { status, stdout } = spawnSync('git', ['rev-parse', ...asked], { cwd, encoding: 'utf8' })
  // Without a repository: the time.
  if (status !== 0) return Math.floor(Date.now() / 1000)
  let seed = 0
  for (const hash of stdout.trim().split('\n'))
    seed = (Math.imul(seed, 31) + Number.parseInt(hash.slice(0, 7), 16)) >>> 0
  return seed % 1_000_000_000
}

/** A whole number below 10^9, or what TUNWALL_SEED says. */
export const SEED_OF_RUN =
  process.env.TUNWALL_SEED === undefined ? seedOfCode() : Number(process.env.TUNWALL_SEED)
