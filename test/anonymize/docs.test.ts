// The examples of docs/anonymize.md print what the page says, beside a copy of docs/examples. After a change of the output:
//
//     TUNWALL_DOCS=write npx vitest run test/anonymize/docs.test.ts

import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { repositoryRoot } from '../harness/kernel.ts'
import { run } from '../harness/run.ts'

const page = join(repositoryRoot(), 'docs/anonymize.md')

/** Words of a command line: quotes keep what is between them. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')

/** What a shell would print: tunwall in this process. */
async function output(line: string): Promise<string> {
  const [program, ...argv] = wordsOf(line)
  if (program !== 'tunwall') return spawnSync('sh', ['-c', line], { encoding: 'utf8' }).stdout
  const { status, stdout, stderr } = await run(...argv)
  expect([status, stderr]).toEqual([0, ''])
  return stdout
}

test('docs/anonymize.md', async () => {
  const text = readFileSync(page, 'utf8')
  const before = process.cwd()
  const folder = mkdtempSync(join(tmpdir(), 'tunwall-docs-'))
  cpSync(join(repositoryRoot(), 'docs/examples'), folder, { recursive: true })
  process.chdir(folder)
  try {
    let made = ''
    let at = 0
    const blocks = [...text.matchAll(/^```console\n([\s\S]*?)^```\n/gm)]
    expect(blocks.length).toBeGreaterThan(1)
    for (const block of blocks) {
      made += `${text.slice(at, block.index)}\`\`\`console\n`
      for (const [, command] of block[1]!.matchAll(/^\$ (.*)$/gm))
        made += `$ ${command}\n${await output(command!)}`
      made += '```\n'
      at = block.index + block[0].length
    }
    made += text.slice(at)
    if (process.env.TUNWALL_DOCS === 'write') writeFileSync(page, made)
    else expect(made).toBe(text)
  } finally {
    process.chdir(before)
    rmSync(folder, { recursive: true, force: true })
  }
})
