// Every rule of tables/*.txt and tables6/*.txt against what the machine's iptables-legacy and ip6tables-legacy 1.8.9
// made of it (record.py): saved text,
// both listings, errors of the tool and of the kernel. And saved text, read again, is the same rule.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { matches } from '../../rules/matches/index.ts'
import { setAccounts } from '../../rules/matches/owner.ts'
import { OptionError } from '../../rules/options.ts'
import { STANDARD_HELP, targets } from '../../rules/targets/index.ts'
import { splitWords } from '../../rules/text/line.ts'
import { kernelRefusal, listRule, parseRule, printRule, shellWords, UnknownOption } from './rule.ts'

const FAMILIES = [
  { family: 4, tool: 'iptables', folder: join(import.meta.dirname, 'tables') },
  { family: 6, tool: 'ip6tables', folder: join(import.meta.dirname, 'tables6') },
] as const

interface Row {
  readonly rule: string
  saved: string | null
  numeric: string
  listed: string
  column: string
  error: string | null
}

function readTable(path: string): Row[] {
  const rows: Row[] = []
  for (const line of readFileSync(path, 'latin1').split('\n')) {
    const text = line.slice(2)
    const row = rows.at(-1)
    if (line.startsWith('> '))
      rows.push({ rule: text, saved: null, numeric: '', listed: '', column: '', error: null })
    else if (row === undefined || line === '') continue
    else if (line[0] === 'S') row.saved = text
    else if (line[0] === 'N') row.numeric = line.slice(1)
    else if (line[0] === 'L') row.listed = line.slice(1)
    else if (line[0] === 'T') row.column = text
    else if (line[0] === 'E') row.error = text
  }
  return rows
}

const KERNEL: Readonly<Record<string, string>> = {
  EINVAL: "1 TOOL: Invalid argument. Run `dmesg' for more information.",
  ENOENT: '1 TOOL: No chain/target/match by that name.',
  ERANGE: '1 TOOL: Numerical result out of range.',
}

/** The tool's own message out of its standard error; lines before it are remarks. */
function toolMessage(error: string, tool: string): string {
  const text = error.slice(2).replaceAll('\\n', '\n')
  const prefix = `${tool} v1.8.9 (legacy): `
  return text.slice(text.indexOf(prefix) + prefix.length, text.lastIndexOf('\nTry `'))
}

beforeAll(() => {
  const names = {
    user: ['root', 'daemon', '', '', '', '', '', 'lp'],
    group: ['root', '', 'bin', '', '', 'tty'],
  }
  setAccounts({
    id: (kind, name) => (name === '' || !names[kind].includes(name) ? null : names[kind].indexOf(name)),
    name: (kind, id) => names[kind][id] || null,
  })
  return () => setAccounts(null)
})

/** Tables of the NAT targets have rules that only the full parser reads: nat.test.ts. */
const NAT = ['DNAT.txt', 'SNAT.txt', 'MASQUERADE.txt', 'REDIRECT.txt', 'NETMAP.txt']

for (const { family, tool, folder } of FAMILIES)
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.txt') && !NAT.includes(name)))
    describe(`IPv${family} ${file}`, () => {
      for (const row of readTable(join(folder, file)))
        test(row.rule.slice(0, 120), () => {
          const [table, chain, ...words] = shellWords(row.rule)
          if (row.saved === null && row.error!.startsWith('2')) {
            expect(() => parseRule(words, family)).toThrow(OptionError)
            let error: unknown
            try {
              parseRule(words, family)
            } catch (thrown) {
              error = thrown
            }
            if (!(error instanceof UnknownOption))
              expect((error as Error).message).toBe(toolMessage(row.error!, tool))
            return
          }
          const rule = parseRule(words, family)
          const refusal = kernelRefusal(rule, table!, chain!, family)
          if (row.saved === null) {
            expect(KERNEL[refusal ?? '']?.replace('TOOL', tool)).toBe(row.error)
            return
          }
          expect(refusal).toBeNull()
          const saved = printRule(rule, chain!, family)
          expect(saved).toBe(row.saved)
          expect(listRule(rule, true, family)).toBe(row.numeric)
          expect(listRule(rule, false, family)).toBe(row.listed)
          if (rule.target) expect(rule.target.target.column ?? rule.target.target.name).toBe(row.column)
          const again: string[] = []
          splitWords(saved, 0, again)
          expect(printRule(parseRule(again.slice(2), family), chain!, family)).toBe(saved)
        })
    })

test('an option of no extension is unknown', () => {
  expect(() => parseRule(['-m', 'mark', '--nosuch'])).toThrow(UnknownOption)
})

describe.each([
  [4, 'help.json'],
  [6, 'help6.json'],
] as const)('IPv%i: help is what -m NAME -h prints', (family, file) => {
  const recorded = JSON.parse(
    readFileSync(join(import.meta.dirname, '../data/extensions', file), 'utf8'),
  ) as {
    readonly [flag: string]: string
  }
  for (const match of matches.filter(({ families }) => families.includes(family)))
    test(`-m ${match.name}`, () => expect(match.help).toBe(recorded[`-m ${match.name}`]))
  for (const target of targets.filter(({ families }) => families.includes(family)))
    test(`-j ${target.name}`, () => expect(target.help).toBe(recorded[`-j ${target.name}`]))
  test('-j ACCEPT', () => expect(STANDARD_HELP).toBe(recorded['-j ACCEPT']))
})
