// ipset 7.17 over the host's sets: all commands, options and output modes, with the words and exit codes of the real
// one (ipset.c, session.c, errcode.c of libipset).
//
//     argv ── options anywhere ── command ── element, options ──> Sets ──> plain, save or XML
//     restore: the same for every line; adds to one set wait until another command comes, as they go in one message

import { setTypes } from '../../rules/sets/index.ts'
import {
  FamilyError,
  ignoredAs,
  ReadError,
  readElement,
  readName,
  readOption,
  takesValue,
} from '../../rules/sets/read.ts'
import {
  type CommandSpec,
  type SetData,
  SetError,
  type SetHolder,
  type SetOptions,
  type SetType,
} from '../../rules/sets/set-type.ts'
import type { Sets } from '../../rules/sets/store.ts'
import { writeElement } from '../../rules/sets/write.ts'
import type { ToolResult } from '../control/protocol.ts'
import { isStandardOutput, readCallFile, writeCallFile } from './files.ts'
import { type ListMode, listSets } from './ipset-list.ts'
import { ipsetHelp } from './ipset-usage.ts'
import {
  begins,
  COMMANDS,
  type Command,
  ENVIRONMENT,
  ERRORS,
  errorText,
  HINT,
  lines,
  MAX_REPORT,
  MAX_TYPE_NAME,
  MAX_WORDS,
  NAME,
  PROMPT,
  parameter,
  problem,
  protocolError,
  Stop,
  words,
} from './ipset-words.ts'
import type { Tool } from './tool.ts'

/** An `add` or `del` of restore that waits for others of the same set. */
interface Waiting {
  readonly line: number
  run(): void
}

/** One run of the program. */
class Session {
  readonly #sets: Sets
  readonly #call: IpsetCall
  stdout = ''
  stderr = ''
  #output: ListMode | null = null
  #sorted = false
  /** -resolve: no resolver is asked, but -sorted then goes by letters. */
  #resolve = false
  #quiet = false
  #exist = false
  #namesOnly = false
  #terse = false
  /** `save`: the kernel sends elements even if -terse then leaves out their heading. */
  #saving = false
  #file: string | null = null
  /** Something was written to that file. */
  #wrote = false
  /** The line of restore, 0 on the command line. */
  #line = 0
  #interactive = false
  #waiting: Waiting[] = []
  #waitingFor = ''

  constructor(sets: Sets, call: IpsetCall) {
    this.#sets = sets
    this.#call = call
  }

  /** The line of restore that was read last, from 1. */
  get line(): number {
    return this.#line
  }

  /** Runs to the end; the exit status. */
  main(argv: readonly string[]): number {
    try {
      this.#run(argv)
      return 0
    } catch (error) {
      if (!(error instanceof Stop)) throw error
      if (!this.#quiet) this.stderr += error.message
      return error.code
    }
  }

  /**
   * An error of the session: with the line of restore, and there only what was said last, but for names of ports,
   * which are tried in several ways first.
   */
  #refuse(text: string, line = this.#line): Stop {
    const last = text.slice(text.lastIndexOf('\n') + 1)
    const said =
      line === 0 || (last !== text && last.startsWith('cannot parse'))
        ? text
        : `Error in line ${line}: ${last}`
    return problem(said.slice(0, MAX_REPORT))
  }

  /** What `ipset -` says and then goes on, as nobody looks at what custom_error() gives back. */
  #complain(complaint: Stop): void {
    if (!this.#interactive) throw complaint
    this.stderr += complaint.message
  }

  /** A line of restore that is warned of is the last one, though nothing failed. */
  #warn(text: string): void {
    if (this.#quiet) return
    this.stderr += text
    if (this.#line > 0) throw new Stop(0, '')
  }

  /** What libipset or the kernel refuse, in ipset's words. */
  #guard<T>(command: Command, run: () => T, line = this.#line): T {
    try {
      return run()
    } catch (error) {
      if (error instanceof SetError) throw this.#refuse(errorText(error.code, command), line)
      if (error instanceof ReadError) throw this.#refuse(error.message, line)
      throw error
    }
  }

  #run(argv: readonly string[]): void {
    if (argv.length >= MAX_WORDS) throw parameter('Line is too long to parse.')
    const rest = this.#environment(argv)
    const word = rest.shift()
    if (word === '-' && this.#line === 0 && !this.#interactive) {
      this.#converse()
      return
    }
    const known = word === undefined ? undefined : COMMANDS.find(([, names]) => begins(word, names))
    if (known === undefined && this.#interactive) {
      this.stdout += 'No command specified\n'
      return
    }
    if (known === undefined)
      throw parameter(`No command specified${word === undefined ? '.' : `: unknown argument ${word}`}`)
    const [command, , args] = known
    if (this.#interactive && command === 'restore') {
      this.stdout += 'Restore command is not supported in interactive mode\n'
      return
    }
    if (this.#line > 0 && (command === 'restore' || command === 'version' || command === 'help'))
      throw parameter(`Command \`${command}' is invalid in restore mode.`)
    if (args === 2 && rest.length < 1) throw parameter(`Missing mandatory argument to command ${command}`)
    const first = args > 0 ? (rest.shift() ?? null) : null
    if (args === 2 && rest.length < 1)
      throw parameter(`Missing second mandatory argument to command ${command}`)
    const second = args === 2 ? rest.shift()! : ''
    this.#dispatch(command, first, second, rest)
  }

  #dispatch(command: Command, first: string | null, second: string, rest: string[]): void {
    switch (command) {
      case 'version':
        this.stdout += 'ipset v7.17, protocol version: 7\n'
        return
      case 'help':
        this.#help(first)
        return
      case 'quit':
        throw new Stop(0, '')
      case 'restore':
        if (rest.length > 0) throw parameter(`Unknown argument ${rest[0]}`)
        this.#restore()
        return
      case 'create':
        this.#create(first!, second, rest)
        return
      case 'add':
      case 'del':
      case 'test':
        this.#element(command, first!, second, rest)
        return
      default:
        this.#whole(command, first, second, rest)
    }
  }

  #environment(argv: readonly string[]): string[] {
    const rest = [...argv]
    for (const [short, long, value] of ENVIRONMENT)
      for (let i = 0; i < rest.length; ) {
        const word = rest[i]!.startsWith('--') ? rest[i]!.slice(1) : rest[i]!
        if (word !== short && word !== long) {
          i++
          continue
        }
        rest.splice(i, 1)
        if (value && i >= rest.length) throw parameter(`Missing mandatory argument to option ${short}`)
        this.#set(short, value ? rest.splice(i, 1)[0]! : '')
      }
    return rest
  }

  #set(option: string, text: string): void {
    if (option === '-o') {
      if (text !== 'plain' && text !== 'save' && text !== 'xml')
        throw this.#refuse(`Syntax error: unknown output mode '${text}'`)
      this.#output = text
    } else if (option === '-s') this.#sorted = true
    else if (option === '-r') this.#resolve = true
    else if (option === '-q') this.#quiet = true
    else if (option === '-!') this.#exist = true
    else if (option === '-n') this.#namesOnly = true
    else if (option === '-t') this.#terse = true
    else if (option === '-f') {
      if (this.#file !== null) throw parameter('-file option cannot be used when full io is activated')
      this.#file = text
    }
  }

  #help(name: string | null): void {
    const type = name === null ? null : (typeOf(name) ?? undefined)
    // In a conversation -quiet is of no account.
    const brief = this.#quiet && !this.#interactive
    this.stdout += ipsetHelp(type ?? null, brief || type === undefined)
    if (type === undefined && !brief) throw parameter(`Unknown settype: \`${name}'`)
  }

  // -- create

  #create(name: string, typeName: string, rest: readonly string[]): void {
    const type = this.#guard('create', () => {
      readName(name)
      if (typeName.length > MAX_TYPE_NAME)
        throw new ReadError(`Syntax error: typename '${typeName}' is longer than ${MAX_TYPE_NAME} characters`)
      const found = typeOf(typeName)
      if (found === null) throw new ReadError(`Syntax error: typename '${typeName}' is unknown`)
      return found
    })
    const options: SetOptions = {}
    this.#ignoredWords = ''
    this.#options(type, type.create, rest, options, 'family')
    this.#options(type, type.create, rest, options, 'others')
    if (this.#mandatory(type, options)) throw protocolError()
    this.#allowed('create', type, type.create, options, familyName(type, options.family))
    this.#commit()
    this.#guard('create', () => this.#sets.create(name, type, options, this.#exist))
    // A complaint takes the place of what was warned of.
    if (this.#ignoredWords !== '') this.#warn(`Warning: ${this.#ignoredWords}\n`)
  }

  /** check_mandatory(): whether something is missing. */
  #mandatory(type: SetType, options: SetOptions): boolean {
    if (!type.name.startsWith('bitmap:')) return false
    const ports = type.parts[0]!.kind === 'port'
    const from = ports ? options.port : options.ip
    const to = ports ? options.portTo : (options.ipTo ?? options.cidr)
    if (from !== undefined && to !== undefined) return false
    this.#complain(parameter(`Mandatory option \`${from === undefined ? 'range' : 'to'}' is missing`))
    return true
  }

  /** call_parser(): `family` comes first, as it says how addresses are read. */
  #options(
    type: SetType,
    spec: CommandSpec,
    words: readonly string[],
    options: SetOptions,
    pass: 'family' | 'others',
    mistake: string | null = null,
  ): void {
    const creating = spec === type.create
    const given = new Set<string>()
    if (pass === 'others' && !creating && options.nameRef !== undefined) given.add('reference')
    for (let i = 0; i < words.length; ) {
      const written = words[i++]!
      const name = written.startsWith('--') ? written.slice(2) : written
      if (!spec.options.includes(name)) throw parameter(`Unknown argument: \`${written}'`)
      let text = written
      if (takesValue(name, creating)) {
        if (i >= words.length) throw parameter(`Missing mandatory argument of option \`${name}'`)
        text = words[i++]!
      }
      const isFamily = name === 'family' || name === '-4' || name === '-6'
      if (isFamily !== (pass === 'family')) continue
      const ignored = creating ? ignoredAs(type, name) : null
      if (ignored !== null) {
        // The first of each is warned of.
        if (!given.has(ignored)) this.#ignored(ignored, text)
        given.add(ignored)
        continue
      }
      const slots = isSwitch(name, creating) ? [] : (SLOTS[name] ?? [name])
      this.#guard('create', () => {
        try {
          if (slots.some((slot) => given.has(slot)))
            throw new ReadError(`Syntax error: ${name} already specified`)
          readOption(type, name, text, options, creating)
        } catch (error) {
          if (mistake === null || !(error instanceof ReadError)) throw error
          throw new ReadError(`${mistake}\n${error.message}`)
        }
      })
      for (const slot of slots) given.add(slot)
      // A range may have said its end, too.
      if (options.ipTo !== undefined || options.portTo !== undefined) given.add('to')
    }
  }

  #ignoredWords = ''

  #ignored(name: string, text: string): void {
    const line = `Option '--${name} ${text}' is ignored. Please upgrade your syntax.`
    this.#ignoredWords += this.#ignoredWords === '' ? line : `\n${line}`
  }

  /** check_allowed(): forms of an element that the command does not take. */
  #allowed(command: Command, type: SetType, spec: CommandSpec, options: SetOptions, family: string): void {
    const why = notAllowed(type, spec, options)
    if (why === null) return
    const where = `in command ${command} with set type ${type.name} and family ${family}`
    this.#complain(problem(why.endsWith('.') ? why : `${why} is not allowed ${where}`))
  }

  // -- add, del, test

  #element(command: 'add' | 'del' | 'test', name: string, text: string, rest: readonly string[]): void {
    this.#guard(command, () => readName(name))
    // The header of a set made or changed by a line before: what waits has no part in that.
    const holder = this.#sets.lookup(name)
    if (holder === null) throw this.#refuse(ERRORS.ENOENT!)
    const { type, family } = holder.set
    const options: SetOptions = { family }
    const spec = type[command]
    const mistake = this.#readElement(command, type, text, options)
    this.#options(type, spec, rest, options, 'others', mistake)
    if (mistake !== null) {
      const missing = `Invalid ${command} command: missing setname`
      if (spec.options.length > 0) throw this.#refuse(`${mistake}\n${missing}`)
      this.#complain(
        problem(
          "There are missing mandatory flags but can't check them. It's a bug, please report the problem.",
        ),
      )
      throw this.#refuse(missing)
    }
    this.#allowed(command, type, spec, options, familyName(type, family))
    const unknown = hasUnknown(type, options)
    if (command === 'test') {
      // Of a range the kernel is asked for the beginning alone.
      delete options.ip2To
      this.#commit()
      if (unknown) throw protocolError()
      this.#test(holder, options)
      return
    }
    const exist = this.#exist
    const run = (): void => {
      if (unknown) throw protocolError()
      const { data } = holder.set
      this.#sets.changed()
      if (command === 'add') data.add(options, exist)
      else data.del(options, exist)
    }
    if (this.#line === 0) {
      this.#guard(command, run)
      return
    }
    const key = `${command} ${name}`
    if (this.#waitingFor !== key) this.#commit()
    this.#waitingFor = key
    this.#waiting.push({ line: this.#line, run })
  }

  /** A mistake that shows at the end of the line only. */
  #readElement(command: Command, type: SetType, text: string, options: SetOptions): string | null {
    return this.#guard(command, () => {
      try {
        readElement(type, text, options)
        return null
      } catch (error) {
        if (error instanceof FamilyError) return error.message
        throw error
      }
    })
  }

  #test({ name, set }: SetHolder, options: SetOptions): void {
    const found = isIn(set.data, options)
    // The flag of `physdev:` is lost on the way to the message.
    const { physdev: _, ...shown } = options
    // ipset_print_ip() asks for the end of the first address, whichever it prints.
    if (shown.ip2 !== undefined && shown.ipTo !== undefined) shown.ip2To = shown.ipTo
    const element = writeElement(set.type, shown, set.family)
    if (found) this.#warn(`Warning: ${element} is in set ${name}.\n`)
    else throw new Stop(1, this.#quiet ? '' : `${element} is NOT in set ${name}.\n`)
  }

  /** ipset_commit(): what waits is done in order, up to the first that is refused. */
  #commit(): void {
    const waiting = this.#waiting
    const command = this.#waitingFor.startsWith('del') ? 'del' : 'add'
    this.#waiting = []
    this.#waitingFor = ''
    for (const { line, run } of waiting) {
      this.#guard(command, run, line)
      this.#sets.host.condResched()
    }
  }

  // -- the other commands

  #whole(command: Command, first: string | null, second: string, rest: readonly string[]): void {
    const sets = this.#sets
    // The file is there, though empty, whatever comes of the command.
    if ((command === 'list' || command === 'save') && this.#file !== null) {
      this.#write(this.#file, '')
      this.#wrote = true
    }
    this.#guard(command, () => {
      if (first !== null) readName(first)
      if (command === 'rename' || command === 'swap') readName(second)
    })
    if (rest.length > 0) throw parameter(`Unknown argument ${rest[0]}`)
    this.#commit()
    this.#guard(command, () => {
      if (command === 'destroy') sets.destroy(first, this.#exist)
      else if (command === 'flush') sets.flush(first)
      else if (command === 'rename') sets.rename(first!, second)
      else if (command === 'swap') sets.swap(first!, second)
      else {
        this.#saving = command === 'save'
        // The first one of a session says how all are printed.
        this.#output ??= command === 'save' ? 'save' : 'plain'
        this.#list(first, this.#output)
      }
    })
  }

  #list(name: string | null, mode: ListMode): void {
    const one = name === null ? null : this.#sets.lookup(name)
    if (name !== null && one === null) throw new SetError('ENOENT')
    const text = listSets(one === null ? this.#sets.all() : [one], {
      mode,
      namesOnly: this.#namesOnly,
      terse: this.#terse,
      saving: this.#saving,
      sorted: this.#sorted,
      resolve: this.#resolve,
      host: this.#sets.host,
    })
    if (this.#file === null) this.stdout += text
    else this.#write(this.#file, text)
  }

  #write(file: string, text: string): void {
    if (isStandardOutput(file)) {
      this.stdout += text
      return
    }
    try {
      writeCallFile(this.#call.directory, file, text)
    } catch (error) {
      throw this.#refuse(`Cannot open ${file} for writing: ${reason(error)}`)
    }
  }

  /** `ipset -`: lines of standard input as commands; what is wrong with one does not end it. */
  #converse(): void {
    this.#interactive = true
    this.stdout += PROMPT
    for (const line of lines(this.#call.input)) {
      const command = line.replace(/^\s+/, '')
      if (command === '' || command.startsWith('#')) this.stdout += PROMPT
      else
        try {
          this.#run(words(command))
        } catch (error) {
          if (!(error instanceof Stop)) throw error
          // `quit`
          if (error.code === 0) throw error
          // -quiet or not.
          this.stderr += error.message
        }
      this.stdout += PROMPT
    }
  }

  // -- restore

  #restore(): void {
    let text = this.#call.input
    if (this.#file !== null)
      try {
        text = readCallFile({ directory: this.#call.directory, stdin: this.#call.input }, this.#file)
      } catch {
        // 7.17 says nothing.
        throw new Stop(255, '')
      }
    const source = this.#file
    for (const line of lines(text)) {
      this.#sets.host.condResched()
      this.#line++
      const command = line.replace(/^\s+/, '')
      if (command === '' || command.startsWith('#')) continue
      if (/^COMMIT\r?\n$/.test(command)) {
        this.#commit()
        continue
      }
      this.#run(words(command))
      // 7.17 writes to the file that it reads, and there is no more of it then.
      if (source !== null && this.#wrote) break
    }
    this.#commit()
  }
}

/** The first form of an element that a command does not take. */
function notAllowed(type: SetType, { ranges, options: known }: CommandSpec, o: SetOptions): string | null {
  if (o.ipTo !== undefined && !ranges.includes('ip-to')) return 'FROM-TO IP range'
  if (o.cidr !== undefined && !ranges.includes('cidr') && !ranges.includes('ip-to')) return 'IP/CIDR range'
  if (o.portTo !== undefined && !ranges.includes('port-to')) return 'FROM-TO port range'
  const odd = hasUnknown(type, o) ? 28 : 29
  if (odd === 29 && (o.ip2To === undefined || ranges.includes('ip2-to'))) return null
  return `There are not allowed options (${odd}) but ${known.length === 0 ? 'option list is empty' : "can't resolve them"}. It's a bug, please report the problem.`
}

/** The length of a second address where the kernel's policy of attributes has none; a conversation sends it all the same. */
const hasUnknown = (type: SetType, { cidr2 }: SetOptions): boolean =>
  cidr2 !== undefined && type.parts.some((part) => part.kind === 'single2')

/** Whatever the kernel minds, the element is not in the set (ip_set_utest). */
function isIn(data: SetData, options: SetOptions): boolean {
  try {
    return data.test(options)
  } catch (error) {
    if (error instanceof SetError) return false
    throw error
  }
}

/** Options that set the same thing: only one of them may be given. */
const SLOTS: Readonly<Record<string, readonly string[]>> = {
  '-4': ['family'],
  '-6': ['family'],
  before: ['reference'],
  after: ['reference'],
  range: ['from'],
  network: ['from'],
}

/** Switches may be given again and again, but for those of the family. */
const isSwitch = (name: string, creating: boolean): boolean => !takesValue(name, creating) && !(name in SLOTS)

const typeOf = (name: string): SetType | null =>
  setTypes.find((type) => type.name === name || type.alias === name) ?? null

function familyName(type: SetType, family: number | undefined): string {
  if (type.family === 0) return 'unspec'
  return family === 6 ? 'inet6' : 'inet'
}

const reason = (error: unknown): string => {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return 'No such file or directory'
  if (code === 'EACCES') return 'Permission denied'
  return code === 'EISDIR' ? 'Is a directory' : String(code)
}

export interface IpsetCall {
  readonly argv: readonly string[]
  readonly input: string
  /** Where relative file names start. */
  readonly directory: string
}

export function runIpset(call: IpsetCall, sets: Sets): ToolResult {
  const session = new Session(sets, call)
  const code = session.main(call.argv)
  return { stdout: session.stdout, stderr: session.stderr, code }
}

/** All sets as `ipset save` prints them. */
export function saveSets(sets: Sets): string {
  return runIpset({ argv: ['save'], input: '', directory: '/' }, sets).stdout
}

/** `ipset restore` of a saved text; where and why it was refused, or null. */
export function restoreSets(text: string, sets: Sets): { line: number; reason: string } | null {
  const session = new Session(sets, { argv: [], input: text, directory: '/' })
  if (session.main(['restore']) === 0) return null
  const said = session.stderr.replace(NAME, '').replace(HINT, '').trim()
  const [, line, reason] = /^Error in line (\d+): (.*)$/s.exec(said) ?? []
  return { line: line === undefined ? session.line : Number(line), reason: reason ?? said }
}

const TAKES_VALUE = new Set(['-o', '-output', '-f', '-file'])

export const ipsetTool: Tool = {
  names: ['ipset'],
  /** `restore` without -file. */
  wantsInput(argv) {
    const plain = argv.map((word) => (word.startsWith('--') ? word.slice(1) : word))
    if (plain.includes('-f') || plain.includes('-file')) return false
    const options = ENVIRONMENT.flatMap((option) => option.slice(0, 2))
    const word = argv.find((_, i) => !options.includes(plain[i]!) && !TAKES_VALUE.has(plain[i - 1] ?? ''))
    if (word === '-') return true
    return word !== undefined && COMMANDS.find(([, names]) => begins(word, names))?.[0] === 'restore'
  },
  run: (call, engine) =>
    runIpset({ argv: call.argv, input: call.stdin, directory: call.directory }, engine.sets),
}
