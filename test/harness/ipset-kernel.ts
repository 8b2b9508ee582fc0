// Runs ipset command lines on the kernel's sets, in a network namespace without a name that ends with the run.

import { spawnSync } from 'node:child_process'
import type { IpsetStep } from './generate-ipset.ts'

export interface IpsetAnswer {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** What -file wrote; null without. */
  readonly file: string | null
}

/** The child inside the namespace: steps in, answers out, as JSON. */
const CHILD = `
const { spawnSync } = require('node:child_process')
const { readFileSync, rmSync } = require('node:fs')
const steps = JSON.parse(readFileSync(0, 'utf8'))
const answers = steps.map(({ argv, input }) => {
  const { status, stdout, stderr } = spawnSync('ipset', argv, { input, encoding: 'utf8', maxBuffer: 1 << 28 })
  let file = null
  try {
    file = readFileSync('out', 'utf8')
    rmSync('out')
  } catch {}
  return { code: status, stdout, stderr, file }
})
process.stdout.write(JSON.stringify(answers))
`

/** All steps, one after the other, in a fresh namespace; files are written to `directory`. */
export function runRealIpset(steps: readonly IpsetStep[], directory: string): IpsetAnswer[] {
  const run = spawnSync('unshare', ['-n', process.execPath, '-e', CHILD], {
    cwd: directory,
    input: JSON.stringify(steps),
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  })
  if (run.status !== 0) throw new Error(`ipset could not be run: ${run.stderr}`)
  return JSON.parse(run.stdout) as IpsetAnswer[]
}
