// The tunwall command in this process.

import { tunwall } from '../../daemon/cli/tunwall.ts'

/** Runs the command; both outputs are kept. */
export async function run(...argv: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' }
  const keep = { stdout: process.stdout.write, stderr: process.stderr.write }
  const catcher = (name: 'stdout' | 'stderr') =>
    ((text: string | Uint8Array) => {
      said[name] += String(text)
      return true
    }) as typeof process.stdout.write
  process.stdout.write = catcher('stdout')
  process.stderr.write = catcher('stderr')
  try {
    const status = await tunwall(argv)
    return { status, ...said }
  } finally {
    process.stdout.write = keep.stdout
    process.stderr.write = keep.stderr
    process.exitCode = 0
  }
}
