// Results of tests for people, for TAP consumers, and for CI systems that read JUnit's XML.

import type { Colors } from '../colors.ts'
import type { TestResult } from './runner.ts'

const time = (ms: number): string =>
  ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
const indent = (text: string, by: string): string => text.replace(/^(?=.)/gm, by)

const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`

/** One test, as it ends. */
export function printTest({ name, failure, ms }: TestResult, c: Colors): string {
  if (failure === null) return `  ${c.green('✓')} ${name} ${c.dim(`(${time(ms)})`)}\n`
  const summary = failure.summary === '' ? '' : `${indent(failure.summary, '      ')}\n`
  return `  ${c.red('✗')} ${name}\n      ${c.red(`${failure.place}: ${failure.reason}`)}\n${c.dim(summary)}`
}

export function printSum(results: readonly TestResult[], ms: number, c: Colors): string {
  const failed = results.filter(({ failure }) => failure !== null).length
  const packets = results.reduce((sum, one) => sum + one.packets, 0)
  const parts = [
    c.green(`${results.length - failed} passed`),
    ...(failed > 0 ? [c.red(`${failed} failed`)] : []),
  ]
  return `${counted(results.length, 'test')}, ${counted(packets, 'packet')}: ${parts.join(', ')} ${c.dim(`(${time(ms)})`)}\n`
}

/** Test Anything Protocol, version 13. */
export function tap(results: readonly TestResult[]): string {
  const lines = ['TAP version 13', `1..${results.length}`]
  results.forEach(({ file, name, failure, ms }, i) => {
    // A number sign would begin a directive.
    const title = `${file}: ${name}`.replace(/#/g, '\\#')
    lines.push(`${failure === null ? 'ok' : 'not ok'} ${i + 1} - ${title}`)
    lines.push('  ---')
    if (failure !== null) {
      lines.push(`  message: ${JSON.stringify(failure.reason)}`, `  at: ${JSON.stringify(failure.place)}`)
      if (failure.summary !== '') lines.push('  summary: |', indent(failure.summary, '    '))
    }
    lines.push(`  duration_ms: ${ms.toFixed(3)}`, '  ...')
  })
  return `${lines.join('\n')}\n`
}

/** Without what XML 1.0 cannot hold. */
const xml = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out.
    .replace(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, '')
    .replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)

const seconds = (ms: number): string => (ms / 1000).toFixed(3)

/** JUnit's XML: a suite for each file. */
export function junit(results: readonly TestResult[]): string {
  const total = (list: readonly TestResult[]): string => {
    const failed = list.filter(({ failure }) => failure !== null).length
    const ms = list.reduce((sum, one) => sum + one.ms, 0)
    return `tests="${list.length}" failures="${failed}" errors="0" time="${seconds(ms)}"`
  }
  const lines = ['<?xml version="1.0" encoding="UTF-8"?>', `<testsuites name="tunwall" ${total(results)}>`]
  for (const file of new Set(results.map((one) => one.file))) {
    const own = results.filter((one) => one.file === file)
    lines.push(`  <testsuite name="${xml(file)}" ${total(own)}>`)
    for (const { name, failure, ms } of own) {
      const head = `    <testcase name="${xml(name)}" classname="${xml(file)}" time="${seconds(ms)}"`
      if (failure === null) lines.push(`${head}/>`)
      else
        lines.push(
          `${head}>`,
          `      <failure message="${xml(failure.reason)}">${xml(`${failure.place}: ${failure.reason}\n\n${failure.summary}`)}</failure>`,
          '    </testcase>',
        )
    }
    lines.push('  </testsuite>')
  }
  return `${lines.join('\n')}\n</testsuites>\n`
}
