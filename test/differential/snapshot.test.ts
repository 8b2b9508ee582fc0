// tunwall snapshot: what it collects of a namespace loads, and its rules, sets and routes are the namespace's; what cannot be
// collected leaves nothing behind.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { afterFiles } from '../../daemon/after.ts'
import { createEngine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { SeededRandom } from '../../daemon/random.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const missing = whyNoKernel()
const namespace = `twsnap${process.pid}`
const root = mkdtempSync(join(tmpdir(), 'tunwall-snapshot-'))
const script = fileURLToPath(new URL('../../scripts/snapshot', import.meta.url))

afterAll(() => {
  rmSync(root, { recursive: true })
  if (missing === null) spawnSync('ip', ['netns', 'del', namespace])
})

const inside = (line: string) =>
  spawnSync('ip', ['netns', 'exec', namespace, 'sh', '-ec', line], { encoding: 'utf8' })
const snapshot = (...argv: string[]) => spawnSync('sh', [script, ...argv], { encoding: 'utf8' })

/** Without dates and the order of tables, which the tool draws from the order of their first use. */
const rulesOf = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .sort()

test.skipIf(missing !== null)('a namespace, taken home', () => {
  spawnSync('ip', ['netns', 'add', namespace])
  const made = inside(`
    ip link set lo up
    ip tuntap add eth0 mode tun; ip addr add 10.1.1.1/24 dev eth0; ip link set eth0 up
    ip route add 10.9.0.0/16 via 10.1.1.9; ip rule add from 10.9.0.0/16 table 7; ip route add default via 10.1.1.8 table 7
    ipset create known hash:net; ipset add known 192.0.2.0/24
    iptables-legacy -A FORWARD -m set --match-set known src -j DROP
    iptables-legacy -t nat -A POSTROUTING -o eth0 -j MASQUERADE
    ip6tables-legacy -P FORWARD DROP
    ip6tables-legacy -A FORWARD -p tcp --dport 80 -j ACCEPT
    sysctl -qw net.ipv4.ip_forward=1`)
  expect(made.stderr).toBe('')
  const home = join(root, 'home')
  expect(snapshot('--netns', namespace, home)).toMatchObject({ status: 0, stdout: '' })

  const memory = new FrameMemory(4, 2048)
  const engine = createEngine(loadHostFolder(home), {
    memory,
    egress: new MemoryEgress(memory),
    random: new SeededRandom(1),
  })
  const after = new Map(afterFiles(engine))
  expect(rulesOf(after.get('iptables-save')!)).toStrictEqual(
    rulesOf(inside('iptables-legacy-save -c').stdout),
  )
  expect(rulesOf(after.get('ip6tables-save')!)).toStrictEqual(
    rulesOf(inside('ip6tables-legacy-save -c').stdout),
  )
  expect(readFileSync(join(home, 'ipset-save'), 'utf8')).toBe(inside('ipset save').stdout)
  expect(engine.host.tunables.get('net.ipv4.ip_forward')).toBe(1)
  expect(engine.host.fib.routes(4, 7)).toHaveLength(1)
})

test.skipIf(missing !== null)('what cannot be done leaves nothing behind', () => {
  const there = readdirSync(root)
  expect(snapshot('--netns', `${namespace}x`, join(root, 'other'))).toMatchObject({ status: 1 })
  expect(snapshot()).toMatchObject({ status: 2 })
  expect(snapshot('--odd', join(root, 'other'))).toMatchObject({ status: 2 })
  expect(snapshot(join(root, 'no', 'such', 'folder'))).toMatchObject({ status: 1 })
  const again = snapshot('--netns', namespace, join(root, 'home'))
  expect(again).toMatchObject({ status: 1, stderr: `snapshot: ${join(root, 'home')}: is there already\n` })
  expect(readdirSync(root)).toStrictEqual(there)
  expect(existsSync(join(root, 'other'))).toBe(false)
})
