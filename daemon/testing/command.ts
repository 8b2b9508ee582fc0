// What `tunwall test` does: finds files, runs them, reports.

import { existsSync, readdirSync, statSync, watch } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { colorsFor } from '../colors.ts'
import { type CoverageOutput, Coverages } from '../coverage/command.ts'
import { CommandError, ExitCode, PlaceError, systemReason } from '../errors.ts'
import { OutputFiles } from '../output-files.ts'
import { junit, printSum, printTest, tap } from './reports.ts'
import { runSuite, type TestResult } from './runner.ts'
import { readSuite, type Suite } from './suite.ts'

export interface TestOptions {
  /** Test files, and folders with them. */
  readonly paths: readonly string[]
  readonly filter: ((name: string) => boolean) | null
  readonly tap: boolean
  /** File for JUnit's XML. */
  readonly junit: string | null
  /** Null: as the terminal has it. */
  readonly color: boolean | null
  readonly out: (text: string) => void
  /** Where coverage goes; null: nobody asks for it. */
  readonly coverage?: CoverageOutput | null
}

const TEST_FILE = /\.test\.ya?ml$/

/** The test files that paths mean, in order. Throws PlaceError for a path that is none. */
export function findTests(paths: readonly string[]): string[] {
  const files: string[] = []
  for (const path of paths) {
    let isFolder: boolean
    try {
      isFolder = statSync(path).isDirectory()
    } catch (error) {
      throw new PlaceError(`cannot be read: ${systemReason(error)}`, { file: path, line: 1, column: 1 })
    }
    if (!isFolder) files.push(path)
    else {
      const found = readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((name) => TEST_FILE.test(name) && !name.includes('node_modules'))
        .sort()
      if (found.length === 0)
        throw new PlaceError('there is no *.test.yaml in this folder', { file: path, line: 1, column: 1 })
      files.push(...found.map((name) => join(path, name)))
    }
  }
  return files
}

/** Runs them all; the exit status. Throws PlaceError for files that are unusable. */
export function runTests(options: TestOptions): ExitCode {
  return runSuites(findTests(options.paths).map(readSuite), options)
}

function runSuites(suites: readonly Suite[], options: TestOptions): ExitCode {
  const { out, filter } = options
  const colors = colorsFor(options.color)
  const begin = performance.now()
  const results: TestResult[] = []
  const coverages = new Coverages()
  for (const suite of suites) {
    let first = true
    const onTest = (result: TestResult): void => {
      if (options.tap) return
      if (first) out(`${suite.file}\n`)
      first = false
      out(printTest(result, colors))
    }
    results.push(
      ...runSuite(suite, {
        onTest,
        ...(filter !== null && { only: filter }),
        ...(options.coverage && { coverage: (host, name) => coverages.of(name, host.engine) }),
      }),
    )
  }
  if (results.length === 0)
    throw new CommandError(
      filter === null ? 'there are no tests in these files' : 'no test has a name that --filter lets pass',
      ExitCode.Unusable,
    )
  out(options.tap ? tap(results) : printSum(results, performance.now() - begin, colors))
  if (options.junit !== null) {
    const files = new OutputFiles()
    try {
      files.text(options.junit, junit(results))
      files.commit()
    } finally {
      files.discard()
    }
  }
  if (options.coverage) {
    // A TAP reader passes over comments.
    const say = (text: string): void => out(options.tap ? text.replace(/^/gm, '# ').replace(/# $/, '') : text)
    coverages.report(options.coverage, say)
  }
  return results.some(({ failure }) => failure !== null) ? ExitCode.Failure : ExitCode.Ok
}

/** Runs tests for what they hit alone. Throws PlaceError for a test of another host, CommandError if one fails. */
export function coverTests(paths: readonly string[], host: string, coverages: Coverages): void {
  for (const suite of findTests(paths).map(readSuite)) {
    if (suite.host.kind !== 'folder' || resolve(suite.host.directory) !== host)
      throw new PlaceError(`the host of these tests is not ${host}`, { file: suite.file, line: 1, column: 1 })
    const results = runSuite(suite, { coverage: (made, name) => coverages.of(name, made.engine) })
    const failure = results.find((result) => result.failure !== null)?.failure
    if (failure) throw new CommandError(`${failure.place}: ${failure.reason}`)
  }
}

/** Editors write in steps: what changes within this time is one change. */
const SETTLE_MS = 80

/** Runs them again and again, whenever one of their files changes, until the process is ended. */
export async function watchTests(options: TestOptions): Promise<never> {
  const { junit, coverage } = options
  const made = [junit, coverage?.lcov ?? null, coverage?.annotate ?? null].filter((file) => file !== null)
  const changes = new Changes(made.map((file) => resolve(file)))
  for (;;) {
    try {
      // Each is watched before it is read: what changes meanwhile counts too.
      for (const path of options.paths) changes.watch(path)
      const files = findTests(options.paths)
      for (const file of files) changes.watch(file)
      const suites = files.map(readSuite)
      for (const { host } of suites) if (host.kind === 'folder') changes.watch(host.directory)
      runSuites(suites, options)
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      options.out(`${error.message}\n`)
    }
    options.out('waiting for a change\n')
    await changes.next()
    options.out('\n')
  }
}

/** Tells of files that change, from the moment that they are watched. */
class Changes {
  readonly #folders = new Set<string>()
  /** Begins of files that are no news: what the tests themselves write. */
  readonly #own: readonly string[]
  #noticed = false
  #wake: () => void = () => {}

  constructor(own: readonly string[]) {
    this.#own = own
  }

  /** A file, or a folder with all that are in it. One that is not there is looked for in its parent. */
  watch(path: string): void {
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
      // A file that is replaced is a change of its folder.
      this.#one(dirname(path))
      return
    }
    this.#one(path)
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory()) this.watch(join(path, entry.name))
  }

  #one(folder: string): void {
    if (this.#folders.has(folder) || !existsSync(folder)) return
    this.#folders.add(folder)
    const watcher = watch(folder, (_event, name) => {
      if (name !== null && this.#own.some((own) => resolve(folder, name).startsWith(own))) return
      // A folder that is gone may come again, and is another one then.
      if (!existsSync(folder)) {
        watcher.close()
        this.#folders.delete(folder)
      }
      this.#noticed = true
      this.#wake()
    })
  }

  /** Resolves when something has changed since the last call, once it has settled. */
  async next(): Promise<void> {
    if (!this.#noticed)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    this.#noticed = false
  }
}
