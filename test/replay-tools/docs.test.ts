// The examples of docs/replay.md and docs/diff.md print what the pages say. After a change of the output:
//
//     TUNWALL_DOCS=write npx vitest run test/replay-tools/docs.test.ts

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MAIN } from '../harness/gateway.ts'
import { repositoryRoot } from '../harness/kernel.ts'

const has = (program: string): boolean => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0

/** Both outputs of a command line, as a terminal shows them; null: it needs a program that is not here. */
function output(line: string): string | null {
  for (const program of ['tshark', 'jq']) if (line.includes(program) && !has(program)) return null
  const quoted = `tunwall() { '${process.execPath}' '${MAIN}' "$@"; }\n${line}`
  const { stdout } = spawnSync('sh', ['-c', `{ ${quoted}\n} 2>&1`], {
    cwd: repositoryRoot(),
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  return stdout
    .replace(/^Running as user "root".*\n/m, '')
    .replace(/found after .*\n/, 'found after 4 conversations in 0.1 s\n')
}

test.skipIf(!has(MAIN)).each(['replay', 'diff'])('docs/%s.md (needs npm run build)', (name) => {
  const page = join(repositoryRoot(), 'docs', `${name}.md`)
  const text = readFileSync(page, 'utf8')
  let made = ''
  let at = 0
  const blocks = [...text.matchAll(/^```console\n([\s\S]*?)^```\n/gm)]
  expect(blocks.length).toBeGreaterThan(1)
  for (const block of blocks) {
    made += text.slice(at, block.index)
    at = block.index + block[0].length
    const commands = [...block[1]!.matchAll(/^\$ (.*)\n/gm)].map(([, line]) => line!)
    const said = commands.map((line) => [line, output(line)] as const)
    if (said.some(([, out]) => out === null)) made += block[0]
    else made += `\`\`\`console\n${said.map(([line, out]) => `$ ${line}\n${out}`).join('')}\`\`\`\n`
  }
  made += text.slice(at)
  if (process.env.TUNWALL_DOCS === 'write') writeFileSync(page, made)
  else expect(made).toBe(text)
})
