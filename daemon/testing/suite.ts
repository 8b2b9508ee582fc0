// Test files: plain YAML for people without TypeScript. docs/testing-firewalls.md is the manual.
//
//     host: site                        the host folder, beside this file; or the host itself, in a few lines
//     tests:
//       - name: the shop is reachable
//         send: tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0
//         expect: {forwarded: {dev: eth1, dst: 10.200.3.7:8080}}
//       - name: a flow is forgotten
//         steps:
//           - send: udp 10.0.0.5:1 > 1.1.1.1:53 in eth0
//           - wait: 31s
//           - expect: {flows: 0}
//
// What is wrong with a file is a PlaceError; nothing has run by then.

import { statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { PlaceError } from '../errors.ts'
import { type Cursor, SourceFile } from '../host-folder/source.ts'
import { parseYaml } from '../host-folder/yaml.ts'
import type { PlaceOf } from '../words/line.ts'
import type { Step } from '../words/model.ts'
import { type Conversation, parseWords, readDuration } from '../words/parse.ts'
import type { About } from '../words/vocabulary.ts'
import { type Check, readChecks } from './checks.ts'
import { splitCommand } from './command-line.ts'
import type { HostOptions } from './host.ts'
import type { HostSpec } from './spec.ts'

/** Where the tests of a file find their host. */
export type SuiteHost =
  | { readonly kind: 'folder'; readonly directory: string; readonly origin: Cursor }
  | {
      readonly kind: 'inline'
      readonly spec: HostSpec
      readonly sources: Readonly<Record<string, SourceFile>>
    }

export interface Suite {
  readonly file: string
  readonly host: SuiteHost
  readonly options: HostOptions
  readonly tests: readonly TestCase[]
}

export interface TestCase {
  readonly name: string
  readonly origin: Cursor
  readonly steps: readonly TestStep[]
}

export type TestStep =
  /** `checks`: of each packet, in order. */
  | { readonly kind: 'send'; readonly said: Said; readonly checks: readonly (readonly Check[])[] }
  | { readonly kind: 'wait'; readonly ms: number }
  | {
      readonly kind: 'run'
      readonly tool: string
      readonly argv: readonly string[]
      readonly input: string
      readonly origin: Cursor
    }
  /** Of the host, and of the packet sent last. */
  | { readonly kind: 'expect'; readonly checks: readonly Check[] }

/** Packet words, with the place of each step. */
export interface Said {
  readonly steps: readonly Step[]
  fail(n: number, reason: string): never
}

/** Reads a test file. Throws PlaceError. */
export function readSuite(file: string): Suite {
  const source = SourceFile.read(file)
  if (source === null) throw new PlaceError('no such file', { file, line: 1, column: 1 })
  const root = parseYaml(source)
  root.record('a mapping with host and tests')
  root.only(['host', 'seed', 'time', 'listening', 'tests'], 'a test file')
  const options = readOptions(root)
  return {
    file,
    host: readHost(root.need('host'), source),
    options,
    tests: root
      .need('tests')
      .list('a list of tests')
      .map((one) => readTest(one, source)),
  }
}

function readOptions(root: Cursor): HostOptions {
  const seed = root.get('seed')
  const listening = root.get('listening')
  const time = root.get('time')
  if (time !== null && Number.isNaN(new Date(String(time.value)).getTime()))
    time.fail(`${time.shown()} is no time: expected one like 2026-04-02T12:00:00Z`)
  return {
    ...(seed !== null && { seed: seed.integer(0, Number.MAX_SAFE_INTEGER) }),
    ...(listening !== null && { listening: listening.boolean() }),
    ...(time !== null && { time: String(time.value) }),
  }
}

const HOST_KEYS = ['interfaces', 'routes', 'rules', 'sysctls', 'iptables', 'ip6tables', 'ipset']

function readHost(host: Cursor, source: SourceFile): SuiteHost {
  if (typeof host.value === 'string') {
    const directory = resolve(dirname(source.path), host.string('a host folder'))
    if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory())
      host.fail(`${host.shown()} is no folder: expected a host folder, from where this file is`)
    return { kind: 'folder', directory, origin: host }
  }
  host.record('a host folder, or a mapping with interfaces and iptables')
  host.only(HOST_KEYS, 'a host')
  const sources: Record<string, SourceFile> = {}
  for (const name of ['iptables', 'ip6tables', 'ipset']) {
    const text = host.get(name)
    if (text !== null) sources[name] = inPlace(text, source)
  }
  return { kind: 'inline', spec: host.value as HostSpec, sources }
}

/** The text of a block, on the lines where it stands in the file, so that its places are those of the file. */
function inPlace(cursor: Cursor, source: SourceFile): SourceFile {
  const text = cursor.string('rules as text')
  const { line } = cursor.place()
  const first = text.split('\n')[0]!
  const raw = source.text.split('\n')
  // A block begins on the line behind its mark, a text in quotes on its own.
  const start = raw[line]?.trim() === first.trim() ? line : line - 1
  const indent = Math.max(raw[start]?.indexOf(first.trim()) ?? 0, 0)
  const lines = text
    .split('\n')
    .map((one) => (one === '' || /^\s*\*/m.test(text) ? one : ' '.repeat(indent) + one))
  const bytes = Buffer.from(lines.join('\n'), 'utf8').toString('latin1')
  return new SourceFile(source.path, '\n'.repeat(start) + bytes)
}

function readTest(one: Cursor, source: SourceFile): TestCase {
  one.record('a test: a mapping with name, send and expect')
  one.only(['name', 'send', 'expect', 'steps'], 'a test')
  const name = one.need('name').string('the name of the test')
  const context: Context = { source, about: null }
  const steps = one.get('steps')
  if (steps !== null) {
    for (const key of ['send', 'expect'])
      if (one.has(key)) one.get(key)?.failKey(`"${key}" and "steps" in one test: say it as a step`)
    return { name, origin: one, steps: steps.list('a list of steps').map((step) => readStep(step, context)) }
  }
  one.need('send')
  one.need('expect')
  return { name, origin: one, steps: [readSend(one, context)] }
}

interface Context {
  readonly source: SourceFile
  /** The packet that `reply` would answer. */
  about: About | null
}

function readStep(step: Cursor, context: Context): TestStep {
  step.record('a step: send, wait, run or expect')
  step.only(['send', 'expect', 'wait', 'run', 'input'], 'a step')
  const kinds = ['send', 'wait', 'run'].filter((key) => step.has(key))
  if (kinds.length > 1)
    step.get(kinds[1]!)?.failKey(`"${kinds[0]}" and "${kinds[1]}" in one step: make it two`)
  if (kinds[0] === 'send') return readSend(step, context)
  if (kinds[0] === 'wait') {
    const wait = step.need('wait')
    const ms =
      readDuration(String(wait.value)) ?? wait.fail(`${wait.shown()} is no time: expected 5s, 200ms, 1m30s`)
    if (step.has('expect')) step.get('expect')?.failKey('what is expected after waiting is a step of its own')
    return { kind: 'wait', ms }
  }
  if (kinds[0] === 'run') {
    const run = step.need('run')
    let words: string[] = []
    try {
      words = splitCommand(run.string('a command line, as iptables -I FORWARD 1 -j DROP'))
    } catch (error) {
      run.fail((error as Error).message)
    }
    if (step.has('expect'))
      step.get('expect')?.failKey('what is expected after a command is a step of its own')
    const [tool = '', ...argv] = words
    return { kind: 'run', tool, argv, input: step.get('input')?.string() ?? '', origin: run }
  }
  return { kind: 'expect', checks: readChecks(step.need('expect'), 'state') }
}

function readSend(step: Cursor, context: Context): TestStep {
  const send = step.need('send')
  const parts = (Array.isArray(send.value) ? send.list() : [send]).map((part) => {
    const text = part.string('packet words')
    const parsed = parseWords(text, placesOf(part, text, context.source), context.about)
    for (const one of parsed.steps)
      if (one.kind === 'packet') context.about = one.packet
      else if (one.kind === 'error' && context.about !== null)
        context.about = { family: context.about.family, protocol: context.about.family === 4 ? 1 : 58 }
    return parsed
  })
  const said = joined(parts)
  const packets = said.steps.filter((one) => one.kind !== 'wait').length
  const expect = step.get('expect')
  const checks: Check[][] = Array.from({ length: packets }, () => [])
  if (expect !== null && Array.isArray(expect.value)) {
    const list = expect.list()
    if (list.length !== packets)
      expect.fail(
        `${packets} packet${packets === 1 ? ' is' : 's are'} sent: expected a list of ${packets}, not of ${list.length}`,
      )
    for (const [n, one] of list.entries()) if (one.value !== null) checks[n] = readChecks(one, 'packet')
  } else if (expect !== null) {
    if (packets === 0) expect.fail('no packet is sent of which something could be expected')
    checks[packets - 1] = readChecks(expect, 'packet')
  }
  return { kind: 'send', said, checks }
}

/** Places of characters of a text; of a block (`|`) on the lines behind its mark. */
function placesOf(cursor: Cursor, text: string, source: SourceFile): PlaceOf {
  const { file, line } = cursor.place()
  const raw = source.text.split('\n')
  const first = text.split('\n')[0]!
  if (!text.includes('\n') || raw[line]?.trim() !== first.trim()) return (at) => cursor.placeWithin(at)
  return (at) => {
    const before = text.slice(0, at).split('\n')
    const n = line + before.length - 1
    const indent = raw[n]!.indexOf(text.split('\n')[before.length - 1]!)
    return { file, line: n + 1, column: Math.max(indent, 0) + before.at(-1)!.length + 1 }
  }
}

function joined(parts: readonly Conversation[]): Said {
  const steps = parts.flatMap((part) => part.steps)
  const places = parts.flatMap((part) => part.offsets.map((at) => () => part.placeOf(at)))
  return {
    steps,
    fail(n, reason) {
      throw new PlaceError(reason, places[n]!())
    },
  }
}
