// sysctl of procps 4.0.2 over the emulated host's tunables: the same words and exit statuses.

import { join } from 'node:path'
import { TunableError, type Tunables } from '../../datapath/tunables.ts'
import type { ToolCall, ToolResult } from '../control/protocol.ts'
import type { Engine } from '../engine.ts'
import { systemReason } from '../errors.ts'
import { filesIn, isFile, readCallFile } from './files.ts'
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
  /** Show base_reachable_time and retrans_time, which have better ones. */
  deprecated: boolean
  ignore: boolean
  names: boolean
  values: boolean
  quiet: boolean
  write: boolean
  dryRun: boolean
  load: boolean
  /** Read the directories of a machine: nothing that stands behind it is looked at. */
  system: boolean
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

/** In the order of the tool's own table, in which it lists what an abbreviation may stand for. */
const LONG: Readonly<Record<string, string>> = {
  all: 'a',
  deprecated: 'd+',
  // A sign behind the letter: there is no short option.
  'dry-run': 'D+',
  binary: 'b',
  ignore: 'e',
  names: 'N',
  values: 'n',
  load: 'p',
  quiet: 'q',
  write: 'w',
  system: 'S+',
  pattern: 'r',
  help: 'h',
  version: 'V',
}

function parse(argv: readonly string[]): Wish {
  const wish: Wish = {
    all: false,
    binary: false,
    deprecated: false,
    ignore: false,
    names: false,
    values: false,
    quiet: false,
    write: false,
    dryRun: false,
    load: false,
    system: false,
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
      case 'D+':
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
      case 'd+':
        wish.deprecated = true
        return
      case 'h':
      case 'd':
        throw new Early(USAGE, '', 0)
      case 'V':
        throw new Early(VERSION, '', 0)
      case 'S+':
        wish.system = true
        return
      default:
        throw new Early(USAGE, `sysctl: invalid option -- '${letter}'\n`, 0)
    }
  }
  while (rest.length > 0 && !wish.system) {
    const word = rest.shift()!
    if (word === '--') {
      wish.operands.push(...rest.splice(0))
    } else if (word.startsWith('--')) {
      const [name = '', attached] = word.slice(2).split(/=(.*)/s)
      const fits = Object.keys(LONG).filter((long) => long.startsWith(name))
      const long = fits.includes(name) ? name : fits.length === 1 ? fits[0]! : null
      if (long === null) {
        const wrong =
          fits.length > 1
            ? `option '${word}' is ambiguous; possibilities: ${fits.map((fit) => `'--${fit}'`).join(' ')}`
            : `unrecognized option '${word}'`
        throw new Early(USAGE, `sysctl: ${wrong}\n`, 0)
      }
      if (attached !== undefined && long !== 'load' && long !== 'pattern')
        throw new Early(USAGE, `sysctl: option '--${long}' doesn't allow an argument\n`, 0)
      if (long === 'load' && attached !== undefined) wish.operands.unshift(attached)
      set(LONG[long]!, () => attached ?? argument(rest, `option '--${long}' requires an argument`))
    } else if (word.startsWith('-') && word.length > 1) {
      for (let i = 1; i < word.length; i++) {
        const letter = word[i]!
        const tail = word.slice(i + 1)
        if (letter === 'p' && tail !== '') {
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
    return new RegExp(extended(text), 's')
  } catch {
    return /(?!)/ // regcomp(3) failed: nothing fits
  }
}

/** What differs in an expression of regex(7): sets, in which a backslash is one, and named classes. */
function extended(text: string): string {
  return text.replace(/\\.|\[\^?\]?(?:\[[:.=][^\]]*[:.=]\]|[^\]])*\]/gs, (part) =>
    part[0] === '\\'
      ? part
      : part
          .replace(/\\/g, '\\\\')
          .replace(/^(\[\^?)\]/, '$1\\]')
          .replace(/\[:(\w+):\]/g, (_, name: string) => CLASSES[name] ?? '\uffff')
          .replace(/(?<=.)\[/gs, '\\['),
  )
}

const CLASSES: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  blank: ' \\t',
  digit: '0-9',
  lower: 'a-z',
  punct: '!-\\/:-@\\[-`{-~',
  space: '\\s',
  upper: 'A-Z',
  xdigit: '0-9A-Fa-f',
}

/** Not in a list, unless asked for (is_deprecated). */
const DEPRECATED = /\.(base_reachable|retrans)_time$/

/**
 * slashdot(): a name with `to` between its parts. Whichever of `/` and `.` comes first separates, the other stands inside
 * a name (`net/ipv4/conf/eth0.100/…` is `net.ipv4.conf.eth0/100.…`). Tells once of two in a row.
 */
function separated(name: string, to: '.' | '/', warn: (rest: string) => void): string {
  const first = /[./]/.exec(name)?.[0]
  if (first === undefined || first === to) return name
  const twice = /[./]{2}/.exec(name)
  if (twice !== null) warn(name.slice(twice.index))
  return name.replace(/[./]/g, (c) => (c === '/' ? '.' : '/'))
}

const outside = (path: string): string => `sysctl: Path is not under /proc/sys/: /proc/sys/${path}\n`

/** The name, dotted, of what is behind a path below /proc/sys: `.`, `..` and empty parts lead where they always do. */
function nameOf(path: string): string {
  const parts: string[] = []
  for (const part of path.split('/'))
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part.replaceAll('.', '/'))
  return parts.join('.')
}

/** Where --system looks, and what it reads last. */
const SYSTEM_DIRECTORIES = [
  '/etc/sysctl.d',
  '/run/sysctl.d',
  '/usr/local/lib/sysctl.d',
  '/usr/lib/sysctl.d',
  '/lib/sysctl.d',
]
const SYSTEM_FILE = '/etc/sysctl.conf'

/** PATH_MAX without `/proc/sys/`. */
const LONGEST = 4096 - 10

/** One assignment of a command line or a file. `value` null: `-key` alone, which patterns leave out. */
interface Setting {
  /** With dots between its parts. */
  readonly name: string
  /** Below /proc/sys, as it was said. */
  readonly path: string
  readonly value: string | null
}

/** Characters that make a key of a file a pattern of glob(3). */
const PATTERN = /[*?[]/

/** A pattern over a whole name, part by part. */
function globbed(name: string): RegExp {
  const text = name.replace(/\[!?[^\]]+\]|[*?]|[^\w]/g, (c) =>
    c === '*' ? '[^.]*' : c === '?' ? '[^.]' : c.length > 1 ? c.replace('[!', '[^') : `\\${c}`,
  )
  return new RegExp(`^${text}$`)
}

/** The path that glob(3) finds: of a pattern its parts that are none stay, repeated separators too. */
function filledIn(pattern: string, name: string): string {
  const parts = separated(name, '/', () => {}).split('/')
  return pattern
    .split('/')
    .map((part) => (part === '' || part === '.' || part === '..' ? part : (parts.shift() ?? part)))
    .join('/')
}

/** glob(3) finds what stands in front of slashes at the end, where that is more than one character. */
function withoutSlashes(path: string): string {
  let end = path.length
  const escaped = (): boolean => /\\*$/.exec(path.slice(0, end - 1))![0].length % 2 === 1
  while (end > 2 && path[end - 1] === '/' && !escaped()) end--
  return path.slice(0, end)
}

/** In the order of directories that are read one by one. */
function byPath(a: string, b: string): number {
  const x = a.split('.')
  const y = b.split('.')
  for (let i = 0; i < x.length && i < y.length; i++) if (x[i] !== y[i]) return x[i]! < y[i]! ? -1 : 1
  return x.length - y.length
}

class Session {
  readonly #tunables: Tunables
  readonly #wish: Wish
  readonly #names: readonly string[]
  #out = ''
  #err = ''
  #code = 0

  constructor(tunables: Tunables, wish: Wish) {
    this.#tunables = tunables
    this.#wish = wish
    this.#names = tunables.names().sort(byPath)
  }

  /** Failed reads are added up, failed writes are not. */
  result(): ToolResult {
    return { stdout: this.#out, stderr: this.#err, code: this.#code & 0xff }
  }

  #complain(text: string): void {
    this.#err += `sysctl: ${text}\n`
    this.#code |= 1
  }

  #print(name: string, value: string): void {
    const { names, values, binary } = this.#wish
    if (names) this.#out += `${name}\n`
    else if (binary) this.#out += value
    else this.#out += values ? `${value}\n` : `${name} = ${value}\n`
  }

  #isDirectory(name: string): boolean {
    return this.#names.some((n) => n.startsWith(`${name}.`))
  }

  #warn = (rest: string): void => {
    this.#err += `sysctl: separators should not be repeated: ${rest}\n`
  }

  /** The path goes through a file as if it were a directory. */
  #throughFile(path: string): boolean {
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1))
      if (this.#tunables.text(nameOf(path.slice(0, at))) !== undefined) return true
    return false
  }

  /** is_proc_path(): it is /proc/sys itself, or above. */
  #leadsOut(path: string): boolean {
    const parts = path.split('/')
    return (
      path !== '' &&
      nameOf(path) === '' &&
      parts.every((part, i) => part !== '..' || i === 0 || this.#isThere(nameOf(parts.slice(0, i).join('/'))))
    )
  }

  #isThere(name: string): boolean {
    return name === '' || this.#isDirectory(name)
  }

  /** stat(2) of what is not there. */
  #missing(path: string): string {
    const reason = this.#throughFile(path)
      ? 'Not a directory'
      : path.length >= LONGEST
        ? 'File name too long'
        : 'No such file or directory'
    return `sysctl: cannot stat /proc/sys/${path}: ${reason}\n`
  }

  /** One name, or all below it. */
  read(given: string): void {
    if (given === '') {
      this.#err += 'sysctl: "" is an unknown key\n'
      this.#code -= 1
      return
    }
    const shown = this.#shown(given)
    const path = separated(given, '/', this.#warn)
    const name = nameOf(path)
    if (this.#leadsOut(path)) {
      this.#err += outside(path)
      this.#code -= 1
      return
    }
    const through = this.#throughFile(path)
    const value = through ? undefined : this.#tunables.text(name)
    if (value !== undefined) {
      this.#code += this.#read(name, shown)
      return
    }
    const below = through ? [] : this.#names.filter((n) => n.startsWith(`${name}.`))
    if (below.length === 0 && !this.#wish.ignore) {
      this.#err += this.#missing(path)
      this.#code += 1
    }
    const plain = path === name.replace(/[./]/g, (c) => (c === '.' ? '/' : '.'))
    for (const each of below) {
      if (this.#hidden(each)) continue
      const rest = each.slice(name.length + 1).replace(/[./]/g, (c) => (c === '.' ? '/' : '.'))
      const failed = this.#read(each, plain ? each : this.#shown(`${path}/${rest}`))
      // What fails in a directory of the directory is not counted.
      if (!each.slice(name.length + 1).includes('.')) this.#code += failed
    }
  }

  /** Prints it, by its name alone without a look at it; 1 if it cannot be read, which only the exit status says. */
  #read(name: string, shown = name): 0 | 1 {
    const unreadable = this.#tunables.unreadable(name)
    if (unreadable === 'hidden' || !this.#wanted(shown)) return 0
    if (unreadable === 'failing' && !this.#wish.names) return 1
    this.#print(shown, this.#tunables.text(name)!)
    return 0
  }

  /** A name as it is printed, which is made twice. */
  #shown(given: string): string {
    separated(given, '.', this.#warn)
    return separated(given, '.', this.#warn)
  }

  /** Not in lists. */
  #hidden(name: string): boolean {
    return DEPRECATED.test(name) && !this.#wish.deprecated
  }

  #wanted(name: string): boolean {
    return this.#wish.pattern?.test(name) !== false
  }

  readAll(): void {
    for (const name of this.#names) if (!this.#hidden(name)) this.#read(name)
  }

  /** parse_setting_line(); null: nothing to set. */
  #parse(file: string, number: number, text: string): Setting | null {
    const whole = text.trimStart()
    const line = whole.trimEnd()
    // A single character counts only with its line end.
    if (line === '' || whole.length < 2 || line[0] === '#' || line[0] === ';') return null
    const equals = line.indexOf('=')
    const key = (equals < 0 ? line : line.slice(0, equals)).trimEnd()
    // -r looks at all of the line, its dash, value and end too.
    if (!this.#wanted(whole)) return null
    const dash = key.startsWith('-')
    if (equals < 0 && !dash) {
      this.#err += `sysctl: ${file}(${number}): invalid syntax, continuing...\n`
      return null
    }
    // The reader of a line takes one dash off, and the maker of a setting another.
    const path = separated(key.replace(/^--?/, ''), '/', this.#warn)
    return { name: nameOf(path), path, value: equals < 0 ? null : line.slice(equals + 1).trim() }
  }

  write(assignment: string): void {
    const setting = this.#parse('command line', 0, assignment)
    if (setting === null) this.#code |= 1
    else this.#set(setting.name, setting.value, setting.path)
  }

  /** `value`: null behind a dash without `=`. */
  #set(name: string, value: string | null, path: string): void {
    if (path === '' || this.#leadsOut(path)) {
      this.#err += outside(path)
      this.#code |= 1
      return
    }
    const directory = this.#isDirectory(name)
    if (this.#throughFile(path) || (this.#tunables.text(name) === undefined && !directory)) {
      if (!this.#wish.ignore) {
        this.#err += this.#missing(path)
        this.#code |= 1
      }
      return
    }
    const shown = separated(path, '.', this.#warn)
    // What nobody may write, and directories, are said and still end well.
    if (directory || this.#tunables.isReadOnly(name)) {
      this.#err += `sysctl: setting key "${shown}": Invalid argument\n`
      return
    }
    // write(2) of nothing.
    if (value === null) {
      this.#complain(`setting key "${shown}": Invalid argument`)
      return
    }
    try {
      if (!this.#wish.dryRun) {
        if (value === '' && !this.#tunables.has(name)) throw new TunableError('empty')
        this.#tunables.keep(name, value)
      }
    } catch (error) {
      if (!(error instanceof TunableError)) throw error
      this.#complain(`setting key "${shown}": ${error.reason}`)
      return
    }
    const { names, quiet, values, binary, dryRun } = this.#wish
    if (quiet && !dryRun) return
    if (names) this.#out += `${value}\n`
    else if (binary) this.#out += value
    else this.#out += values ? `${value}\n` : `${shown} = ${value}\n`
  }

  /** A sysctl.conf: comments, `name = value`; names that stand for themselves go before patterns. */
  load(file: string, text: string): Setting[] {
    // getline(3) reads on behind a NUL, and nobody looks there.
    const lines = text.replace(/\0[^\n]*\n?/g, '\0').split(/\n|(?<=\0)/)
    return lines.flatMap(
      (line, i) =>
        this.#parse(
          file,
          i + 1,
          line.endsWith('\0') ? line.slice(0, -1) : i === lines.length - 1 ? line : `${line}\n`,
        ) ?? [],
    )
  }

  /** Null: it cannot be read, which has been said. */
  loadFile(said: string, call: Pick<ToolCall, 'directory' | 'stdin'>, root = ''): Setting[] {
    if (said === '-') return this.load(said, call.stdin)
    const file = withoutSlashes(said)
    try {
      return this.load(file, readCallFile(call, `${root.replace(/\/$/, '')}${file}`))
    } catch (error) {
      const reason = systemReason(error)
      this.#complain(`cannot open "${file}": ${reason[0]!.toUpperCase()}${reason.slice(1)}`)
      return []
    }
  }

  /** PreloadSystem(): of files with one name the first counts; what is not there is no mistake. */
  applySystem(root: string): void {
    this.#wish.ignore = true
    const files = new Map<string, string>()
    for (const directory of SYSTEM_DIRECTORIES)
      for (const name of filesIn(join(root, directory)))
        if (name.endsWith('.conf') && !files.has(name)) files.set(name, `${directory}/${name}`)
    const paths = [...files.keys()].sort().map((name) => files.get(name)!)
    if (isFile(join(root, SYSTEM_FILE))) paths.push(SYSTEM_FILE)
    const settings = paths.flatMap((path) => {
      if (!this.#wish.quiet) this.#out += `* Applying ${path} ...\n`
      return this.loadFile(path, { directory: '/', stdin: '' }, root)
    })
    this.apply(settings)
  }

  /** All that the files say, once they have been read. */
  apply(settings: readonly Setting[]): void {
    // As they were said: another path to the same is another.
    const own = new Set(settings.filter(({ name }) => !PATTERN.test(name)).map(({ path }) => path))
    for (const { name, value, path } of settings) {
      if (value === null) continue
      if (!PATTERN.test(name)) this.#set(name, value, path)
      else
        for (const each of this.#matching(name)) {
          const found = filledIn(path, each)
          if (!own.has(found)) this.#set(each, value, found)
        }
    }
  }

  /** glob(3): what is there by that pattern, directories too. */
  #matching(pattern: string): string[] {
    const wanted = globbed(pattern)
    const depth = pattern.split('.').length
    const found = new Set(this.#names.map((name) => name.split('.').slice(0, depth).join('.')))
    return [...found].filter((name) => wanted.test(name)).sort(byPath)
  }
}

export const sysctlTool: Tool = {
  names: ['sysctl'],
  wantsInput: (argv) => argv.some((word) => /^(-|-\w*p-|--l\w*=-)$/.test(word)),
  run: (call, engine) => runSysctl(call, engine),
}

/** `root`: where the directories of --system are looked for. */
export function runSysctl(call: ToolCall, engine: Engine, root = '/'): ToolResult {
  try {
    const wish = parse(call.argv)
    const session = new Session(engine.host.tunables, wish)
    if (wish.system) session.applySystem(root)
    else if (wish.load) {
      const files = wish.operands.length > 0 ? wish.operands : [SYSTEM_FILE]
      // Standard input has been read to its end by the first that names it.
      const ends = (file: string, i: number): boolean => file === '-' && files.indexOf('-') < i
      session.apply(
        files.flatMap((file, i) => session.loadFile(file, ends(file, i) ? { ...call, stdin: '' } : call)),
      )
    } else if (wish.all) session.readAll()
    else if (wish.operands.length === 0)
      return call.argv.length === 0
        ? { stdout: '', stderr: USAGE, code: 1 }
        : {
            stdout: '',
            stderr: `sysctl: no variables specified\nTry \`sysctl --help' for more information.\n`,
            code: 1,
          }
    else if (wish.names && wish.quiet)
      return {
        stdout: '',
        stderr: `sysctl: options -N and -q cannot coexist\nTry \`sysctl --help' for more information.\n`,
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
}
