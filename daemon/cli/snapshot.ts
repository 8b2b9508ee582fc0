// tunwall snapshot: a host folder of the machine that it runs on. scripts/snapshot does the work, so that hosts without
// Node can be collected the same way.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { packageRoot } from '../../datapath/native/root.ts'
import { CommandError, ExitCode } from '../errors.ts'

function script(): string {
  const found = join(packageRoot(), 'scripts/snapshot')
  if (!existsSync(found)) throw new CommandError('scripts/snapshot is missing', ExitCode.Failure)
  return found
}

export function addSnapshot(program: Command): void {
  program
    .command('snapshot')
    .description('collect a host folder from this machine, as root: addresses, routes, rules, sets, sysctls')
    .argument('[dir]', 'the folder to make')
    .option('--netns <name>', 'of a network namespace')
    .option('--script', 'print the shell script that does it, for a host without tunwall')
    .action((dir: string | undefined, { netns, script: print }: { netns?: string; script?: boolean }) => {
      if (print === true) {
        process.stdout.write(readFileSync(script(), 'utf8'))
        return
      }
      if (dir === undefined) throw new CommandError('expected a folder to make', ExitCode.Unusable)
      const argv = [...(netns === undefined ? [] : ['--netns', netns]), '--', dir]
      const { status, error } = spawnSync('/bin/sh', [script(), ...argv], { stdio: 'inherit' })
      if (error !== undefined) throw new CommandError(`/bin/sh: ${error.message}`, ExitCode.Failure)
      process.exitCode = status ?? ExitCode.Failure
    })
}
