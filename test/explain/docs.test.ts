// The examples of docs/explain.md print what the page says. After a change of the output:
//
//     TUNWALL_DOCS=write npx vitest run test/explain/docs.test.ts

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { repositoryRoot } from '../harness/kernel.ts'
import { run } from '../harness/run.ts'

const page = join(repositoryRoot(), 'docs/explain.md')

/** Words of a command line: quotes keep what is between them. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c ?? '')

/** What a shell would print: tunwall in this process, what is behind pipes by the shell. */
async function output(line: string): Promise<string> {
  const [first = '', ...filters] = line.split(' | ')
  const [program, ...argv] = wordsOf(first)
  expect(program).toBe('tunwall')
  const { status, stdout, stderr } = await run(...argv, '--no-color')
  expect([status, stderr]).toEqual([0, ''])
  if (filters.length === 0) return stdout
  return spawnSync('sh', ['-c', filters.join(' | ')], { input: stdout, encoding: 'utf8' }).stdout
}

test('docs/explain.md', async () => {
  const text = readFileSync(page, 'utf8')
  const before = process.cwd()
  process.chdir(repositoryRoot())
  try {
    let made = ''
    let at = 0
    const blocks = [...text.matchAll(/^```console\n(\$ (.*)\n)([\s\S]*?)^```\n/gm)]
    expect(blocks.length).toBeGreaterThan(5)
    for (const block of blocks) {
      made += text.slice(at, block.index)
      made += `\`\`\`console\n${block[1]}${await output(block[2]!)}\`\`\`\n`
      at = block.index + block[0].length
    }
    made += text.slice(at)
    if (process.env.TUNWALL_DOCS === 'write') writeFileSync(page, made)
    else expect(made).toBe(text)
  } finally {
    process.chdir(before)
  }
})
