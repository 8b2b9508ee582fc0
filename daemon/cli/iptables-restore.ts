// iptables-restore and ip6tables-restore 1.8.9 (legacy). Each table of the input is put in force as a whole, at its
// COMMIT; a bad line leaves that table and those after it as they were.

import { VARIANT } from '../../rules/text/command-model.ts'
import { ToolError } from '../../rules/text/errors.ts'
import { scanUnsigned } from '../../rules/text/numbers.ts'
import { EndMissing, LineFailed, Restore } from '../../rules/text/restore.ts'
import { getopt, type LongOption } from './getopt.ts'
import { failure, Output, type ToolOutput, type ToolWorld, toolName } from './iptables-common.ts'
import { reasonOf } from './iptables-save.ts'

const LONG: readonly LongOption[] = [
  { name: 'counters', letter: 'c', argument: 'none' },
  { name: 'verbose', letter: 'v', argument: 'none' },
  { name: 'version', letter: 'V', argument: 'none' },
  { name: 'test', letter: 't', argument: 'none' },
  { name: 'help', letter: 'h', argument: 'none' },
  { name: 'noflush', letter: 'n', argument: 'none' },
  { name: 'modprobe', letter: 'M', argument: 'required' },
  { name: 'table', letter: 'T', argument: 'required' },
  { name: 'wait', letter: 'w', argument: 'optional' },
  { name: 'wait-interval', letter: 'W', argument: 'optional' },
]

const usage = (
  program: string,
): string => `Usage: ${program} [-c] [-v] [-V] [-t] [-h] [-n] [-w secs] [-W usecs] [-T table] [-M command] [file]
	   [ --counters ]
	   [ --verbose ]
	   [ --version]
	   [ --test ]
	   [ --help ]
	   [ --noflush ]
	   [ --wait=<seconds>
	   [ --table=<TABLE> ]
	   [ --modprobe=<command> ]
`

interface Wish {
  counters: boolean
  verbose: number
  testing: boolean
  noFlush: boolean
  only: string | null
  /** Seconds; -1: for ever. */
  wait: number
  waitInterval: boolean
}

/** Whether standard input is read: not when a file is named or something else ends the command before. */
export function restoreReadsInput(argv: readonly string[]): boolean {
  const parsed = getopt(argv, 'bcvVthnwWM:T:', LONG, '', 'wW')
  return (
    parsed.error === null &&
    parsed.rest.length === 0 &&
    !parsed.options.some(({ letter }) => letter === 'h' || letter === 'V')
  )
}

/** `argv` without the program's name. */
export function runIptablesRestore(argv: readonly string[], world: ToolWorld): ToolOutput {
  const program = toolName(world.family, '-restore')
  const output = new Output(world.rulesets.host)
  const wish: Wish = {
    counters: false,
    verbose: 0,
    testing: false,
    noFlush: false,
    only: null,
    wait: 0,
    waitInterval: false,
  }
  const end = (code: number, stderr: string): ToolOutput => {
    output.err(stderr)
    return output.finish(code)
  }
  const fail = (error: unknown, line: number): ToolOutput => {
    const failed = failure(error, program, line)
    output.out(failed.stdout)
    return end(failed.code, failed.stderr)
  }

  const parsed = getopt(argv, 'bcvVthnwWM:T:', LONG, program, 'wW')
  for (const { letter, value } of parsed.options) {
    try {
      if (letter === 'V') {
        output.out(`${program} v${VARIANT}\n`)
        return output.finish(0)
      }
      if (letter === 'h') return end(0, usage(program))
      setOption(wish, letter, value, output)
    } catch (error) {
      return fail(error, 0)
    }
  }
  if (parsed.error !== null) return end(1, `${parsed.error}Try \`${program} -h' for more information.\n`)
  if (parsed.rest.length > 1) return end(1, 'Unknown arguments found on commandline\n')

  const path = parsed.rest[0]
  let text: string
  try {
    text = path === undefined ? world.io.stdin() : world.io.readFile(path)
  } catch (error) {
    return end(1, `Can't open ${path ?? 'standard input'}: ${reasonOf(error)}\n`)
  }

  if (wish.waitInterval && wish.wait === 0) return end(1, 'Option --wait-interval requires option --wait\n')

  const { family, registry, rulesets } = world
  const restore = new Restore({
    family,
    registry,
    rulesets,
    program,
    sink: output,
    file: path ?? 'stdin',
    ...wish,
  })
  try {
    restore.run(text)
  } catch (error) {
    if (error instanceof LineFailed || error instanceof EndMissing) return end(1, `${error.message}\n`)
    return fail(error, restore.line)
  }
  return output.finish(0)
}

function setOption(wish: Wish, letter: string, value: string | null, output: Output): void {
  switch (letter) {
    case 'b':
      output.err('-b/--binary option is not implemented\n')
      break
    case 'c':
      wish.counters = true
      break
    case 'v':
      wish.verbose++
      break
    case 't':
      wish.testing = true
      break
    case 'n':
      wish.noFlush = true
      break
    case 'T':
      wish.only = value
      break
    case 'w':
      if (value !== null && !/^\s*[-+]?\d/.test(value)) throw new ToolError('wait seconds not numeric')
      wish.wait = value === null ? -1 : Number.parseInt(value, 10) | 0
      break
    case 'W': {
      if (value === null) throw new ToolError('wait interval value required')
      const micros = scanUnsigned(value)
      if (micros === null) throw new ToolError('wait interval not numeric')
      if (micros > 999999) throw new ToolError(`too long usec wait ${micros} > 999999 usec`)
      output.err('Ignoring deprecated --wait-interval option.\n')
      wish.waitInterval = true
    }
  }
}
