// What iptables, iptables-save and iptables-restore share: their world, and how they fail.

import type { Host } from '../../datapath/host.ts'
import type { Family } from '../../datapath/packet.ts'
import { OptionError } from '../../rules/options.ts'
import type { RulesetAccess } from '../../rules/ruleset.ts'
import { VARIANT } from '../../rules/text/command-model.ts'
import { TableError, ToolError, ToolStop } from '../../rules/text/errors.ts'
import { LineError } from '../../rules/text/line.ts'
import type { Registry } from '../../rules/text/registry.ts'

/** What a command may ask of the world outside. */
export interface ToolIo {
  /** All of standard input. */
  stdin(): string
  /** Throws as fs.readFileSync does. */
  readFile(path: string): string
  writeFile(path: string, text: string): void
  /** ms since 1970, for the dates that iptables-save prints. */
  now(): number
}

export interface ToolOutput {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

/** A command of one family over the host's ruleset. */
export interface ToolWorld {
  readonly family: Family
  readonly io: ToolIo
  readonly rulesets: RulesetAccess
  readonly registry: Registry
}

/** Text for both streams, gathered as the command goes: packets of the host may come between its pieces. */
export class Output {
  readonly #host: Host | null
  #out: string[] = []
  #err = ''

  constructor(host: Host | null) {
    this.#host = host
  }

  out(text: string): void {
    this.#out.push(text)
    this.#host?.condResched()
  }

  err(text: string): void {
    this.#err += text
    this.#host?.condResched()
  }

  finish(code: number): ToolOutput {
    return { stdout: this.#out.join(''), stderr: this.#err, code }
  }
}

export const toolName = (family: Family, suffix = ''): string =>
  `${family === 4 ? 'iptables' : 'ip6tables'}${suffix}`

/** `-w` and `-W` outside of a rule, messages of libxtables: what stderr shows, and the exit status. */
export function failure(error: unknown, program: string, line: number | null, version = VARIANT): ToolOutput {
  if (error instanceof ToolStop) return { stdout: error.message, stderr: '', code: 0 }
  const text = error instanceof LineError ? error.message : null
  if (text === null && !(error instanceof ToolError) && !(error instanceof OptionError)) throw error
  const code = error instanceof ToolError || error instanceof OptionError ? error.code : 2
  const message = text ?? (error as Error).message
  let stderr = ''
  if (error instanceof ToolError && error.bare) stderr = message === '' ? '' : `${message}\n`
  else stderr = `${program} v${version}: ${message}\n`
  if (code === 2) {
    if (line !== null) stderr += `Error occurred at line: ${line}\n`
    stderr += `Try \`${program} -h' or '${program} --help' for more information.\n`
  } else if (code === 3)
    stderr += `Perhaps ${program.replace(/-.*/, '')} or your kernel needs to be upgraded.\n`
  return { stdout: '', stderr, code }
}

/** XT_TABLE_MAXNAMELEN */
const MAX_TABLE = 32

/** Why a table cannot be opened: libiptc finds too long a name before the kernel does. */
export const noTable = (name: string): string =>
  name.length < MAX_TABLE ? 'Table does not exist (do you need to insmod?)' : 'Module is wrong version'

/** How iptables ends when an operation on a table or the commit fails. */
export function tableFailure(error: TableError, program: string): string {
  const dmesg = error.errno === 'EINVAL' ? " Run `dmesg' for more information." : ''
  return `${program}: ${error.message}.${dmesg}\n`
}

export { TableError }
