// npm run bench [-- NAME …]: runs the benchmarks and writes docs/performance.md when all of them ran.
// npm run bench -- --short: see short.ts. npm run bench -- --builds WHAT DIRECTORY …: see builds.ts.

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../datapath/native/root.ts'
import { builds } from './builds.ts'
import { checksums } from './checksum.ts'
import { connections } from './connections.ts'
import { drops } from './drop.ts'
import { engine } from './engine.ts'
import { forward, rootless } from './forward.ts'
import { Lab } from './lab.ts'
import { replays } from './replay.ts'
import { restore } from './restore.ts'
import { ruleIndex } from './rule-index.ts'
import { scale, services } from './scale.ts'
import { sets } from './sets.ts'
import { short } from './short.ts'
import { updates } from './updates.ts'

const BENCHES: Readonly<Record<string, { title: string; run: () => Promise<string> | string }>> = {
  engine: { title: 'The engine in memory', run: engine },
  checksum: { title: 'Checksums', run: checksums },
  forward: { title: 'Forwarding over devices', run: forward },
  rootless: { title: 'Gateways of rootless containers', run: rootless },
  rules: { title: 'Walks through rules', run: ruleIndex },
  scale: { title: 'Rules', run: scale },
  services: { title: 'Services', run: services },
  drops: { title: 'Drops', run: drops },
  connections: { title: 'Connections', run: connections },
  restore: { title: 'Rulesets and commands', run: restore },
  updates: { title: 'Updates', run: updates },
  sets: { title: 'Sets', run: sets },
  replay: { title: 'Replay', run: replays },
}

const ROOT = packageRoot()
if (process.argv[2] === '--builds') process.exit(await builds(process.argv.slice(3)))
const options = process.argv.slice(2).filter((word) => word.startsWith('--'))
const asked = process.argv.slice(2).filter((word) => !word.startsWith('--'))
const unknown = asked.filter((name) => !(name in BENCHES))
if (unknown.length > 0) {
  console.error(`no benchmark "${unknown[0]}"; there are: ${Object.keys(BENCHES).join(', ')}`)
  process.exit(2)
}
const unread = options.find((word) => word !== '--short' && word !== '--write')
if (unread !== undefined) {
  console.error(`no option "${unread}"; there are: --short, --short --write, --builds`)
  process.exit(2)
}
const isShort = options.includes('--short')
// Who is not root sends nothing through devices; the short form says so and goes on.
if (!isShort || process.getuid?.() === 0)
  execFileSync('make', ['-s', '-C', join(ROOT, 'bench/native')], { stdio: 'inherit' })

if (isShort) process.exit(await short(options.includes('--write')))

const sections: string[] = []
let failed = false
for (const [name, bench] of Object.entries(BENCHES)) {
  if (asked.length > 0 && !asked.includes(name)) continue
  const start = performance.now()
  try {
    const text = `## ${bench.title}\n\n${await bench.run()}\n`
    console.log(text)
    sections.push(text)
  } catch (error) {
    console.error(`${name}: FAILED: ${(error as Error).stack}`)
    failed = true
  }
  console.error(`${name}: ${((performance.now() - start) / 1000).toFixed(0)} s`)
}
if (failed) process.exitCode = 1
else if (asked.length === 0) {
  const head = `# Performance\n\nWritten by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}: ${Lab.machine()}.\nMachines are shared and noisy: only the ratios of one run mean something.\n`
  writeFileSync(join(ROOT, 'docs/performance.md'), [head, ...sections].join('\n'))
}
