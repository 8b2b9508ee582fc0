// sysctl of procps 4.0.2 over the emulated host's tunables: the same words and exit statuses.

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { TunableError, type Tunables } from '../../datapath/tunables.ts'
import type { ToolCall, ToolResult } from '../control/protocol.ts'
import { systemReason } from '../errors.ts'
import type { Tool } from './tool.ts'

const VERSION = 'sysctl from procps-ng 4.0.2\n'

const USAGE = `
Usage:
 sysctl [options] [variable[=value] ...]

Options:
  -a, --all            display all variables
  -A                   alias of -a
  -X                   alias of -a
      --deprecated     include deprecated parameters to listing
      --dry-run        Print the key and values but do not write
  -b, --binary         print value without new line
  -e, --ignore         ignore unknown variables errors
  -N, --names          print variable names without values
  -n, --values         print only values of the given variable(s)
  -p, --load[=<file>]  read values from file
  -f                   alias of -p
      --system         read values from all system directories
  -r, --pattern <expression>
                       select setting that match expression
  -q, --quiet          do not echo variable set
  -w, --write          enable writing a value to variable
  -o                   does nothing
  -x                   does nothing
  -d                   alias of -h

 -h, --help     display this help and exit
 -V, --version  output version information and exit

For more details see sysctl(8).
`

interface Wish {
  all: boolean
  binary: boolean
  ignore: boolean
  names: boolean
  values: boolean
  quiet: boolean
  write: boolean
  dryRun: boolean
  load: boolean
  pattern: RegExp | null
  readonly operands: string[]
}

/** Ends the parsing with a text and an exit status. */
class Early extends Error {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
  constructor(stdout: string, stderr: string, code: number) {
    super()
    this.stdout = stdout
    this.stderr = stderr
    this.code = code
  }
}

const LONG: Readonly<Record<string, string>> = {
  all: 'a',
  deprecated: 'o',
  'dry-run': 'D',
  binary: 'b',
  ignore: 'e',
  names: 'N',
  values: 'n',
  load: 'p',
  pattern: 'r',
  quiet: 'q',
  write: 'w',
  help: 'h',
  version: 'V',
  system: 'S',
}

function parse(argv: readonly string[]): Wish {
  const wish: Wish = {
    all: false,
    binary: false,
    ignore: false,
    names: false,
    values: false,
    quiet: false,
    write: false,
    dryRun: false,
    load: false,
    pattern: null,
    operands: [],
  }
  const rest = [...argv]
  const set = (letter: string, value: () => string): void => {
    switch (letter) {
      case 'a':
      case 'A':
      case 'X':
        wish.all = true
        return
      case 'b':
        wish.binary = true
        wish.values = true
        return
      case 'e':
        wish.ignore = true
        return
      case 'N':
        wish.names = true
        return
      case 'n':
        wish.values = true
        return
      case 'q':
        wish.quiet = true
        return
      case 'w':
        wish.write = true
        return
      case 'D':
        wish.dryRun = true
        return
      case 'p':
      case 'f':
        wish.load = true
        return
      case 'r':
        wish.pattern = pattern(value())
        return
      case 'o':
      case 'x':
        return
      case 'h':
      case 'd':
        throw new Early(USAGE, '', 0)
      case 'V':
        throw new Early(VERSION, '', 0)
      case 'S':
        throw new Early(
          '',
          'sysctl: --system reads the files of a machine; name the file: sysctl -p FILE\n',
          1,
        )
      default:
        throw new Early(USAGE, `sysctl: invalid option -- '${letter}'\n`, 0)
    }
  }
  while (rest.length > 0) {
    const word = rest.shift()!
    if (word === '--') {
      wish.operands.push(...rest.splice(0))
    } else if (word.startsWith('--')) {
      const [name = '', attached] = word.slice(2).split(/=(.*)/s)
      const fits = Object.keys(LONG).filter((long) => long.startsWith(name))
      const long = fits.includes(name) ? name : fits.length === 1 ? fits[0]! : null
      if (long === null) {
        const how = fits.length > 1 ? 'ambiguous' : 'unrecognized'
        throw new Early(
          USAGE,
          `sysctl: ${how === 'ambiguous' ? `option '${word}' is ambiguous` : `${how} option '${word}'`}\n`,
          0,
        )
      }
      if (long === 'load' && attached !== undefined) wish.operands.unshift(attached)
      set(LONG[long]!, () => attached ?? argument(rest, `option '--${long}' requires an argument`))
    } else if (word.startsWith('-') && word.length > 1) {
      for (let i = 1; i < word.length; i++) {
        const letter = word[i]!
        const tail = word.slice(i + 1)
        if ((letter === 'p' || letter === 'f') && tail !== '') {
          set(letter, () => '')
          wish.operands.unshift(tail)
          break
        }
        set(letter, () => tail || argument(rest, `option requires an argument -- '${letter}'`))
        if (letter === 'r') break
      }
    } else wish.operands.push(word)
  }
  return wish
}

function argument(rest: string[], complaint: string): string {
  const value = rest.shift()
  if (value === undefined) throw new Early(USAGE, `sysctl: ${complaint}\n`, 0)
  return value
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text)
  } catch {
    throw new Early('', `sysctl: Invalid pattern: ${text}\n`, 1)
  }
}

/**
 * The name with dots between its parts. As sysctl(8): whichever of `/` and `.` comes first separates, the other
 * stands inside a name (`net/ipv4/conf/eth0.100/…` is `net.ipv4.conf.eth0/100.…`).
 */
function dotted(name: string): string {
  const first = /[./]/.exec(name)?.[0]
  if (first !== '/') return name
  return name.replace(/[./]/g, (c) => (c === '/' ? '.' : '/'))
}

/** As a path below /proc/sys. */
function path(name: string): string {
  return name.replace(/[./]/g, (c) => (c === '.' ? '/' : '.'))
}

class Session {
  readonly #tunables: Tunables
  readonly #wish: Wish
  #out = ''
  #err = ''
  #code = 0

  constructor(tunables: Tunables, wish: Wish) {
    this.#tunables = tunables
    this.#wish = wish
  }

  result(): ToolResult {
    return { stdout: this.#out, stderr: this.#err, code: this.#code }
  }

  #complain(text: string): void {
    this.#err += `sysctl: ${text}\n`
    this.#code = 1
  }

  #print(name: string, value: string): void {
    const { names, values, binary } = this.#wish
    if (names) this.#out += `${name}\n`
    else if (binary) this.#out += value
    else this.#out += values ? `${value}\n` : `${name} = ${value}\n`
  }

  #unknown(name: string): void {
    if (!this.#wish.ignore) this.#complain(`cannot stat /proc/sys/${path(name)}: No such file or directory`)
  }

  /** One name, or all below it. */
  read(given: string): void {
    if (given === '') {
      this.#err += 'sysctl: "" is an unknown key\n'
      this.#code = 255
      return
    }
    const name = dotted(given)
    const value = this.#tunables.text(name)
    if (value !== undefined) {
      this.#print(name, value)
      return
    }
    const below = this.#tunables.names().filter((n) => n.startsWith(`${name}.`))
    if (below.length === 0) this.#unknown(name)
    for (const each of below) this.#print(each, this.#tunables.text(each)!)
  }

  readAll(): void {
    for (const name of this.#tunables.names())
      if (this.#wish.pattern?.test(name) !== false) this.#print(name, this.#tunables.text(name)!)
  }

  write(assignment: string): void {
    const equals = assignment.indexOf('=')
    if (equals < 0) {
      this.#complain('command line(0): invalid syntax, continuing...')
      return
    }
    this.#set(assignment.slice(0, equals).trim(), assignment.slice(equals + 1).trim(), false)
  }

  #set(given: string, value: string, lenient: boolean): void {
    const name = dotted(given)
    if (this.#tunables.text(name) === undefined) {
      if (!lenient) this.#unknown(name)
      return
    }
    if (this.#tunables.isReadOnly(name)) {
      // Without write permission for anybody the real one says so, and still ends well.
      this.#err += `sysctl: setting key "${name}": Invalid argument\n`
      return
    }
    try {
      if (!this.#wish.dryRun) {
        if (value === '') throw new TunableError('empty')
        this.#tunables.keep(name, value)
      }
      if (!this.#wish.quiet) this.#print(name, value)
    } catch (error) {
      if (!(error instanceof TunableError)) throw error
      if (!lenient) this.#complain(`setting key "${name}": Invalid argument`)
    }
  }

  /** A sysctl.conf: comments, `name = value`, a leading dash forgives. */
  load(file: string, text: string): void {
    for (const [index, raw] of text.split('\n').entries()) {
      const line = raw.trim()
      if (line === '' || line.startsWith('#') || line.startsWith(';')) continue
      const lenient = line.startsWith('-')
      const [name, value] = (lenient ? line.slice(1) : line).split(/=(.*)/s)
      if (value === undefined) this.#err += `sysctl: ${file}(${index + 1}): invalid syntax, continuing...\n`
      else this.#set(name!.trim(), value.trim(), lenient)
    }
  }

  loadFile(file: string, call: ToolCall): void {
    if (file === '-') {
      this.load('stdin', call.stdin)
      return
    }
    try {
      this.load(file, readFileSync(resolve(call.directory, file), 'utf8'))
    } catch (error) {
      const reason = systemReason(error)
      this.#complain(`cannot open "${file}": ${reason[0]!.toUpperCase()}${reason.slice(1)}`)
    }
  }
}

export const sysctlTool: Tool = {
  names: ['sysctl'],
  wantsInput: (argv) => argv.includes('-'),
  run(call, engine) {
    try {
      const wish = parse(call.argv)
      const session = new Session(engine.host.tunables, wish)
      if (wish.load) {
        const files = wish.operands.length > 0 ? wish.operands : ['/etc/sysctl.conf']
        for (const file of files) session.loadFile(file, call)
      } else if (wish.all) session.readAll()
      else if (wish.operands.length === 0)
        return call.argv.length === 0
          ? { stdout: '', stderr: USAGE, code: 1 }
          : {
              stdout: '',
              stderr: `sysctl: no variables specified\nTry \`sysctl --help' for more information.\n`,
              code: 1,
            }
      else
        for (const operand of wish.operands)
          if (wish.write || operand.includes('=')) session.write(operand)
          else session.read(operand)
      return session.result()
    } catch (error) {
      if (error instanceof Early) return { stdout: error.stdout, stderr: error.stderr, code: error.code }
      throw error
    }
  },
}
