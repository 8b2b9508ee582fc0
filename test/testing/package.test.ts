// The package as its user has it: what npm run build made, packed, unpacked into an empty folder without network,
// type-checked and run.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { docBlocks, writeBlocks } from './doc-blocks.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MODULES = join(ROOT, 'node_modules')
const TSC = join(MODULES, '.bin/tsc')
const folder = mkdtempSync(join(tmpdir(), 'tunwall-package-'))
const app = join(folder, 'app')

function run(cwd: string, command: string, ...argv: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, argv, { cwd, encoding: 'utf8', timeout: 120_000 })
  if (status !== 0) throw new Error(`${command} ${argv.join(' ')}: ${status}\n${stdout}${stderr}`)
  return stdout
}

beforeAll(() => {
  run(ROOT, 'npm', 'pack', '--offline', '--ignore-scripts', '--pack-destination', folder)
  const packed = readdirSync(folder).find((name) => name.endsWith('.tgz'))!
  const home = join(app, 'node_modules', 'tunwall')
  mkdirSync(home, { recursive: true })
  run(folder, 'tar', '-xzf', packed, '-C', home, '--strip-components=1')
  for (const name of readdirSync(MODULES))
    if (!name.startsWith('.') && name !== 'tunwall')
      symlinkSync(join(MODULES, name), join(app, 'node_modules', name))
  const options = {
    module: 'NodeNext',
    target: 'ES2023',
    strict: true,
    types: ['node'],
    rootDir: '.',
    outDir: 'out',
  }
  writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['*.ts'] }))
  writeFileSync(join(app, 'package.json'), '{"type": "module"}')
}, 240_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const PROGRAM = `
import { Host, icmp, tcp, udp, type Result } from 'tunwall'
const host: Host = Host.from({
  interfaces: { eth0: '10.0.0.1/24', eth1: '10.1.0.1/24' },
  iptables: '-A FORWARD -p tcp --dport 22 -j DROP',
})
const result: Result = await host.send(tcp('10.0.0.5 > 10.1.0.5:22', { syn: true }), 'eth0')
console.log(result.headline())
// @ts-expect-error: a wrong option is a mistake of types.
export const wrong = (): unknown => tcp('10.0.0.5 > 10.1.0.5:22', { syn: 1 })
for (const packet of [udp('10.0.0.5 > 10.1.0.5:53'), icmp('10.0.0.5 > 10.1.0.5')])
  console.log((await host.send(packet, 'eth0')).verdict)
`

test('type-checks and runs, with the libraries checked too', () => {
  writeFileSync(join(app, 'main.ts'), PROGRAM)
  // The example of docs/testing-firewalls.md.
  writeBlocks(docBlocks('testing-firewalls.md'), app)
  run(app, TSC)
  expect(run(app, 'node', 'out/main.js')).toBe(
    'tcp 10.0.0.5:40000 > 10.1.0.5:22 syn in eth0: dropped by filter FORWARD 1 (iptables:1: -A FORWARD -p tcp -m tcp --dport 22 -j DROP)\nforwarded\nforwarded\n',
  )
  const told = run(app, 'node', join(MODULES, 'vitest/vitest.mjs'), 'run', '--root', app, 'out/shop.test.js')
  expect(told).toMatch(/8 passed/)
})
