// The README's table of rules, which stands between two comments.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../datapath/native/root.ts'

const BEGIN = '<!-- written by npm run bench: -->\n'
const END = '<!-- to here -->\n'

/** Puts `text` in the place of what stands there. Throws if there is no such place. */
export function intoReadme(text: string): void {
  const file = join(packageRoot(), 'README.md')
  const before = readFileSync(file, 'utf8')
  const from = before.indexOf(BEGIN)
  const to = before.indexOf(END)
  if (from < 0 || to < from)
    throw new Error(`README.md: no place for the table: "${BEGIN.trim()}", "${END.trim()}"`)
  writeFileSync(file, `${before.slice(0, from)}${BEGIN}\n${text}\n\n${before.slice(to)}`)
}
