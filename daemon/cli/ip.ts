// ip(8) of iproute2 6.1 over the emulated host: addr, route, rule and link, in the words and with the exit statuses of
// the real one.

import { endLifetimes } from '../../datapath/lifetimes.ts'
import type { Family } from '../../datapath/packet.ts'
import type { ToolCall, ToolResult } from '../control/protocol.ts'
import type { Engine } from '../engine.ts'
import { systemReason } from '../errors.ts'
import { readCallFile } from './files.ts'
import { runAddress } from './ip-address.ts'
import { IpContext, type IpOptions, type IpSession, PLAIN } from './ip-context.ts'
import { runLink } from './ip-link.ts'
import { runRoute } from './ip-route.ts'
import { runRule } from './ip-rule.ts'
import { ipUsage } from './ip-usage.ts'
import { begins, Exit, type Foreign, NumberReader, number, Returned } from './ip-words.ts'
import type { Tool } from './tool.ts'

const VERSION = 'ip utility, iproute2-6.1.0, libbpf 1.1.2\n'

type Run = (context: IpContext, words: readonly string[]) => number

/** In the order of iproute2's own table: `ip a` is the first that begins so. Null: not a part of this host. */
const OBJECTS: readonly (readonly [string, Run | null])[] = [
  ['address', runAddress],
  ['addrlabel', null],
  ['maddress', null],
  ['route', runRoute],
  ['rule', runRule],
  ['neighbor', null],
  ['neighbour', null],
  ['ntable', null],
  ['ntbl', null],
  ['link', runLink],
]

interface Parsed {
  options: IpOptions
  batch: string | null
  force: boolean
  words: readonly string[]
}

/** The words in front of the object. Throws Exit after `say`. */
function readOptions(argv: readonly string[], say: (out: string, err: string) => void): Parsed {
  const options: IpOptions = { ...PLAIN }
  let batch: string | null = null
  let force = false
  let at = 0
  const end = (out: string, err: string, code: number): never => {
    say(out, err)
    throw new Exit(code)
  }
  const argument = (): string => {
    at++
    return argv[at] ?? end('', ipUsage, 255)
  }
  const prefer = (own: Family | 0, foreign: Foreign | null = null): void => {
    options.family = own
    options.foreign = foreign
  }
  const family = (name: string): void => {
    if (name === 'inet') prefer(4)
    else if (name === 'inet6') prefer(6)
    else if (name === 'link' || name === 'mpls' || name === 'bridge') prefer(0, name)
    else if (name === 'help') end('', ipUsage, 255)
    else end('', `Error: argument "${name}" is wrong: invalid protocol family\n`, 255)
  }
  for (; at < argv.length; at++) {
    let word = argv[at]!
    if (word === '--') {
      at++
      break
    }
    if (word[0] !== '-') break
    if (word[1] === '-') word = word.slice(1)
    if (begins(word, '-loops')) {
      const text = argument()
      // atoi(3)
      options.maxLoops = Number.parseInt(text, 10) || 0
    } else if (begins(word, '-family')) family(argument())
    else if (word === '-4') prefer(4)
    else if (word === '-6') prefer(6)
    else if (word === '-0') prefer(0, 'link')
    else if (word === '-M') prefer(0, 'mpls')
    else if (word === '-B') prefer(0, 'bridge')
    else if (begins(word, '-human') || begins(word, '-human-readable')) options.human = true
    else if (begins(word, '-iec')) options.human = true
    else if (begins(word, '-stats') || begins(word, '-statistics')) options.stats++
    else if (begins(word, '-details')) options.details = true
    else if (begins(word, '-resolve')) continue
    else if (begins(word, '-oneline')) options.oneline = true
    else if (begins(word, '-timestamp') || begins(word, '-tshort')) options.timestamp = true
    else if (begins(word, '-Version')) end(VERSION, '', 0)
    else if (begins(word, '-force')) force = true
    else if (begins(word, '-batch')) batch = argument()
    else if (begins(word, '-brief')) options.brief = true
    else if (begins(word, '-json')) options.json = true
    else if (begins(word, '-rcvbuf')) {
      const text = argument()
      if (number(text) === null) end('', `Invalid rcvbuf size '${text}'\n`, 255)
    } // Differs from Linux: the daemon sees no terminal, `auto` is never.
    else if (/^-(c(o(l(or?)?)?)?)?(=(always|auto|never)?)?$/.test(word))
      options.color = !/(auto|never)$/.test(word)
    else if (begins(word, '-help')) end('', ipUsage, 255)
    else if (begins(word, '-netns'))
      end('', `Cannot open network namespace "${argv[at + 1] ?? '(null)'}": No such file or directory\n`, 255)
    else if (begins(word, '-Numeric')) options.numeric = true
    else if (begins(word, '-all')) continue
    else if (word === '-echo') options.echo = true
    else if (begins(word, '-pretty')) options.pretty = true
    else end('', `Option "${word}" is unknown, try "ip -help".\n`, 255)
  }
  return { options, batch, force, words: argv.slice(at) }
}

interface One extends ToolResult {
  /** The command ended the whole program. */
  readonly ended: boolean
}

/** One command with the options that stand in front of all. */
function runOne(
  engine: Engine,
  options: IpOptions,
  words: readonly string[],
  session: IpSession | null,
  input = '',
): One {
  endLifetimes(engine.host.devices, engine.host.fib, engine.host.now)
  // Differs from Linux: in a batch iproute2 takes acknowledgements that are left over for answers.
  const echo = options.echo && session === null
  const context = new IpContext(engine.host, { ...options, echo }, session, input)
  const [object = '', ...rest] = words
  const run = OBJECTS.find(([name]) => begins(object, name))?.[1] ?? null
  if (run === null) {
    if (begins(object, 'help')) return { stdout: '', stderr: ipUsage, code: 255, ended: true }
    return { stdout: '', stderr: `Object "${object}" is unknown, try "ip help".\n`, code: 1, ended: false }
  }
  let code: number
  let ended = false
  try {
    code = run(context, rest)
  } catch (error) {
    if (!(error instanceof Exit)) throw error
    code = error.code
    ended = !(error instanceof Returned)
  }
  return { stdout: context.out.text, stderr: context.err, code, ended }
}

/** MAX_ARGS of a batch, with the end. */
const MOST_WORDS = 511

/** makeargs(): words, or quoted ones, that end where their quote does; or what is wrong with the line. */
function splitLine(text: string): string[] | string {
  const words: string[] = []
  let at = 0
  for (;;) {
    while (at < text.length && ' \t\r\n'.includes(text[at]!)) at++
    if (at >= text.length) return words
    if (words.length === MOST_WORDS) return 'Too many arguments to command'
    const quote = text[at]!
    if (quote === '"' || quote === "'") {
      const end = text.indexOf(quote, at + 1)
      if (end < 0) return 'Unterminated quoted string'
      words.push(text.slice(at + 1, end))
      at = end + 1
    } else {
      let end = at
      while (end < text.length && !' \t\r\n'.includes(text[end]!)) end++
      words.push(text.slice(at, end))
      at = end + 1
    }
  }
}

/** getcmdline(): lines with those that continue them, without comments, and the number of the last. `cut`: one to continue with is missing. */
function batchLines(text: string): { lines: { line: string; number: number }[]; cut: boolean } {
  const physical = text.match(/[^\n]*\n|[^\n]+$/g) ?? []
  // getline(3) reads on behind a NUL, and nobody looks there.
  const bare = (line: string): string => line.replace(/[#\0].*/s, '')
  const lines: { line: string; number: number }[] = []
  for (let at = 0; at < physical.length; at++) {
    let line = bare(physical[at]!)
    // Where a comment or the file has cut the newline off, nothing continues.
    while (line.endsWith('\\\n')) {
      if (at + 1 >= physical.length) return { lines, cut: true }
      line = line.slice(0, -2) + bare(physical[++at]!)
    }
    lines.push({ line, number: at + 1 })
  }
  return { lines, cut: false }
}

function runBatch(engine: Engine, call: ToolCall, parsed: Parsed, file: string): ToolResult {
  let text: string
  if (file === '-') text = call.stdin
  else
    try {
      text = readCallFile(call, file)
    } catch (error) {
      const reason = systemReason(error)
      return {
        stdout: '',
        stderr: `Cannot open file "${file}" for reading: ${reason[0]!.toUpperCase()}${reason.slice(1)}\n`,
        code: 1,
      }
    }
  let stdout = ''
  let stderr = ''
  let code = 0
  const session: IpSession = { links: false, numbers: new NumberReader() }
  const { lines, cut } = batchLines(text)
  for (const { line, number } of lines) {
    engine.host.condResched()
    const words = splitLine(line)
    if (typeof words === 'string') return { stdout, stderr: `${stderr}${words}\n`, code: 1 }
    if (words.length === 0) continue
    const result = runOne(engine, parsed.options, words, session)
    stdout += result.stdout
    stderr += result.stderr
    // exit(3) inside a command ends the whole batch, silently.
    if (result.ended) return { stdout, stderr, code: result.code }
    if (result.code === 0) continue
    stderr += `Command failed ${file}:${number}\n`
    code = 1
    if (!parsed.force) return { stdout, stderr, code }
  }
  if (cut) stderr += 'Missing continuation line\n'
  return { stdout, stderr, code }
}

/** Commands that read a dump, however short. */
const RESTORES = /^(res(t(o(re?)?)?)?|showd(u(mp?)?)?)$/

export const ipTool: Tool = {
  names: ['ip'],
  wantsInput: (argv) => {
    const at = argv.findIndex((word) => /^--?b(a(t(ch?)?)?)?$/.test(word))
    return (at >= 0 && argv[at + 1] === '-') || argv.some((word) => RESTORES.test(word))
  },
  run(call, engine): ToolResult {
    let stdout = ''
    let stderr = ''
    let parsed: Parsed
    try {
      parsed = readOptions(call.argv, (out, err) => {
        stdout += out
        stderr += err
      })
    } catch (error) {
      if (!(error instanceof Exit)) throw error
      return { stdout, stderr, code: error.code }
    }
    if (parsed.batch !== null) return runBatch(engine, call, parsed, parsed.batch)
    if (parsed.words.length === 0) return { stdout: '', stderr: ipUsage, code: 255 }
    const { stdout: out, stderr: err, code } = runOne(engine, parsed.options, parsed.words, null, call.stdin)
    return { stdout: out, stderr: err, code }
  },
}
