// What `tunwall test` does: finds files, runs them, reports.

import { type FSWatcher, readdirSync, statSync, watch } from 'node:fs'
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
  for (;;) {
    let watched = [...options.paths]
    try {
      const suites = findTests(options.paths).map(readSuite)
      watched = suites.flatMap(({ file, host }) => (host.kind === 'folder' ? [file, host.directory] : [file]))
      runSuites(suites, options)
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      options.out(`${error.message}\n`)
    }
    options.out('waiting for a change\n')
    await changed([...watched, ...options.paths])
    options.out('\n')
  }
}

/** Resolves some time after one of these files, or one in these folders, has changed. */
function changed(paths: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const watchers: FSWatcher[] = []
    let noticed = false
    const notice = (): void => {
      if (noticed) return
      noticed = true
      setTimeout(() => {
        for (const watcher of watchers) watcher.close()
        resolve()
      }, SETTLE_MS)
    }
    // A file that is replaced is a change of its folder.
    const folders = new Set(
      paths.map((path) => (statSync(path, { throwIfNoEntry: false })?.isDirectory() ? path : dirname(path))),
    )
    for (const folder of folders) watchers.push(watch(folder, { persistent: true }, notice))
  })
}
