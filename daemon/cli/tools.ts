// tunwall iptables …, tunwall conntrack …: a tool by name, in the daemon; and tunwall exec, which puts all of them
// first in PATH.

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { packageRoot } from '../../datapath/native/root.ts'
import { callTool, defaultSocket } from '../control/client.ts'
import { CommandError, systemReason } from '../errors.ts'
import { toolNames } from '../tools.ts'

export function addTools(program: Command): void {
  for (const name of toolNames)
    program
      // The names of Debian's alternatives work, but would only lengthen the help.
      .command(name, { hidden: name.includes('-legacy') })
      .description(`${name} of the running gateway; arguments as the real one's`)
      .helpOption(false)
      .allowUnknownOption()
      .allowExcessArguments()
      .argument('[args...]')
      .action(async () => {
        // commander reorders nothing of what stands behind the tool's name: it is passed as it was typed.
        const at = process.argv.indexOf(name, 2)
        process.exitCode = await callTool(defaultSocket(), name, process.argv.slice(at + 1), process)
      })
  program
    .command('exec')
    .description('run a program with the gateway’s iptables, conntrack, sysctl … first in PATH')
    .option('--socket <path>', 'where the gateway listens', defaultSocket())
    .argument('<command>')
    .argument('[args...]')
    .passThroughOptions()
    .action(async (command: string, args: string[], options: { socket: string }) => {
      process.exitCode = await exec(command, args, options.socket)
    })
}

/** The C program that stands in for every tool. */
function clientPath(): string {
  const path = join(packageRoot(), 'datapath/native/build/tunwall-client')
  if (existsSync(path)) return path
  throw new CommandError('the tools’ client is not built: run "npm run build:native"')
}

function exec(command: string, args: readonly string[], socket: string): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), 'tunwall-exec-'))
  for (const name of toolNames) symlinkSync(clientPath(), join(dir, name))
  const env = {
    ...process.env,
    PATH: `${dir}:${process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin'}`,
    TUNWALL_SOCKET: socket,
  }
  const child = spawn(command, args, { stdio: 'inherit', env })
  // Ctrl-C goes to the whole group: the child decides what it means.
  const ignore = (): void => {}
  process.on('SIGINT', ignore)
  return new Promise<number>((resolve, reject) => {
    child.on('error', (error) => reject(new CommandError(`${command}: ${systemReason(error)}`, 1)))
    child.on('exit', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    )
  }).finally(() => {
    process.off('SIGINT', ignore)
    rmSync(dir, { recursive: true, force: true })
  })
}
