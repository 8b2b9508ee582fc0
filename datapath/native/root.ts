import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

let found: string | null = null

/** The package's folder, from the sources and from what the build makes alike. Throws Error if it is not there. */
export function packageRoot(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); found === null; at = dirname(at)) {
    if (isOurs(join(at, 'package.json'))) found = at
    else if (at === dirname(at)) throw new Error('package.json of tunwall is missing')
  }
  return found
}

function isOurs(file: string): boolean {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).name === 'tunwall'
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
