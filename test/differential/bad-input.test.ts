// A running daemon fed what no sane program sends, beside the real tools: same answers, same exit status, old rules in
// force, and alive at the end. Then what only a daemon can suffer: clients that die half way, and a crowd of them.
//
// TUNWALL_SEED=n draws the garbage from that seed.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SeededRandom } from '../../daemon/random.ts'
import { whyNot } from '../harness/commands.ts'
import { repositoryRoot } from '../harness/kernel.ts'
import { withoutDates } from '../harness/rulesets.ts'

const MULTI = '/usr/sbin/xtables-legacy-multi'
const MAIN = join(repositoryRoot(), 'dist/daemon/main.js')
const CLIENT = join(repositoryRoot(), 'datapath/native/build/tunwall-client')
const TOOLS = [
  'iptables',
  'iptables-save',
  'iptables-restore',
  'ip6tables',
  'ip6tables-save',
  'ip6tables-restore',
]
const SEED = Number(process.env.TUNWALL_SEED ?? randomInt(1 << 30))

const why = whyNot() ?? (existsSync(MAIN) && existsSync(CLIENT) ? null : 'dist is not built: npm run build')
if (why !== null) console.warn(`NOT RUN: the daemon is not fed bad input: ${why}`)

const BEFORE = `*filter
:INPUT ACCEPT [5:300]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:kept - [0:0]
[7:420] -A INPUT -s 192.0.2.1/32 -j kept
[1:60] -A kept -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
`

/** A command with its standard input, which must leave the rules as they are. */
interface Bad {
  readonly words: string
  readonly input?: Buffer | string
}

const restore = (input: Buffer | string): Bad => ({ words: 'iptables-restore', input })
const table = (...lines: string[]): string => `*filter\n${lines.map((line) => `${line}\n`).join('')}COMMIT\n`
const long = (count: number): string => 'x'.repeat(count)

function garbage(random: SeededRandom, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = random.u32() & 255
  return bytes
}

/** Printable words of rules in any order: what gets further than bytes do. */
function salad(random: SeededRandom): string {
  const words =
    '-A -I -D INPUT kept nowhere -s -p tcp 300 ! -m --dport 22 65536 -j ACCEPT " [1:2] [x:1] [1 -c 9 COMMIT *nat : ::'.split(
      ' ',
    )
  const line = (): string =>
    Array.from({ length: 1 + (random.u32() % 9) }, () => words[random.u32() % words.length]!).join(' ')
  return table(`-A INPUT ${line()} --nonsense`, ...Array.from({ length: 5 }, line))
}

function badInputs(): Bad[] {
  const random = new SeededRandom(SEED)
  return [
    // Unknown things.
    { words: 'iptables -A INPUT -m nosuch -j ACCEPT' },
    { words: 'iptables -A INPUT -j NOSUCH' },
    { words: 'iptables -A INPUT --nosuch 1 -j ACCEPT' },
    { words: 'iptables -A INPUT -p tcp --dport 65536 -j ACCEPT' },
    { words: 'iptables -A INPUT -p nosuch' },
    { words: 'iptables -A INPUT -s 300.1.1.1/99 -j DROP' },
    { words: 'iptables -t nosuch -L' },
    { words: 'iptables -A nowhere -j ACCEPT' },
    { words: 'iptables -D INPUT 99' },
    { words: 'iptables -X kept' },
    { words: 'iptables -P kept DROP' },
    { words: 'iptables' },
    restore(table('-A INPUT -m nosuch -j ACCEPT')),
    restore(table('-A INPUT -j ACCEPT', '-A INPUT -j NOSUCH')),
    restore('*nosuch\nCOMMIT\n'),
    restore(table('-A INPUT -j ACCEPT').replace('COMMIT\n', '')),
    restore('-A INPUT -j ACCEPT\n'),
    // Loops.
    { words: 'iptables -A kept -j kept' },
    restore(table(':a - [0:0]', ':b - [0:0]', '-A INPUT -j a', '-A a -j b', '-A b -j a')),
    restore(table(':a - [0:0]', '-A FORWARD -j a', '-A a -g a')),
    // Long names.
    { words: `iptables -N ${long(29)}` },
    { words: `iptables -N ${long(5000)}` },
    { words: `iptables -A INPUT -j ${long(40)}` },
    { words: `iptables -A INPUT -m ${long(40)} -j ACCEPT` },
    { words: `iptables -A INPUT -i ${long(16)} -j ACCEPT` },
    { words: `iptables -A INPUT -m comment --comment ${long(257)}` },
    { words: `iptables -A INPUT -j LOG --log-prefix ${long(31)}` },
    { words: `iptables -t ${long(100)} -L` },
    restore(table(`:${long(29)} - [0:0]`)),
    restore(table(`:${long(3000)} - [0:0]`)),
    restore(`*${long(200)}\nCOMMIT\n`),
    // Long lines: ten megabytes.
    restore(`*filter\n-A INPUT -m comment --comment ${long(10_000_000)}\nCOMMIT\n`),
    restore(`*filter\n${'-A INPUT -j ACCEPT '.repeat(500_000)}\nCOMMIT\n`),
    restore(long(10_000_000)),
    restore(`*filter\n[${'9'.repeat(10_000_000)}:1] -A INPUT -j ACCEPT\nCOMMIT\n`),
    // Bytes.
    restore(garbage(random, 1_000_000)),
    restore(Buffer.concat([Buffer.from('*filter\n'), garbage(random, 100_000)])),
    restore(
      Buffer.concat([Buffer.from('*filter\n-A INPUT -s '), garbage(random, 2000), Buffer.from('\nCOMMIT\n')]),
    ),
    restore(Buffer.alloc(100_000)),
    restore('*filter\n\0\0-A INPUT -j ACCEPT\nCOMMIT\n'),
    ...Array.from({ length: 20 }, () => restore(salad(random))),
  ]
}

let dir = ''
let daemon: ChildProcess

const environment = (side: string): NodeJS.ProcessEnv => ({
  PATH: `${join(dir, side)}:/usr/sbin:/usr/bin:/sbin:/bin`,
  TUNWALL_SOCKET: join(dir, 'control'),
  LC_ALL: 'C',
})

beforeAll(async () => {
  if (why !== null) return
  dir = mkdtempSync(join(tmpdir(), 'tunwall-bad-'))
  for (const [side, program] of [
    ['ours', CLIENT],
    ['theirs', MULTI],
  ] as const) {
    mkdirSync(join(dir, side))
    for (const tool of TOOLS) symlinkSync(program, join(dir, side, tool))
  }
  mkdirSync(join(dir, 'host'))
  writeFileSync(join(dir, 'host/host.yaml'), 'interfaces: {}\n')
  const argv = [MAIN, 'up', '--host', join(dir, 'host'), '--socket', join(dir, 'control')]
  daemon = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise<void>((resolve, reject) => {
    daemon.stdout!.on('data', (chunk: Buffer) => chunk.includes('ready') && resolve())
    daemon.on('exit', (code) => reject(new Error(`tunwall up ended with ${code}`)))
  })
})

afterAll(async () => {
  if (why !== null) return
  // Ended already if it never came up.
  if (daemon.exitCode !== null) return
  const gone = new Promise((resolve) => daemon.on('exit', resolve))
  daemon.kill('SIGTERM')
  await gone
  rmSync(dir, { recursive: true })
})

interface Answer {
  readonly command: string
  readonly stdout: string
  readonly stderr: string
  readonly code: number
  readonly rules: string
}

/** Runs all of them on one side, each with the rules behind it. */
function answers(side: 'ours' | 'theirs', inputs: readonly Bad[]): Answer[] {
  const script = [`iptables-restore -c <before`]
  for (const [i, { words }] of inputs.entries())
    script.push(
      `${words} <${i}.in >${side}-${i}.out 2>${side}-${i}.err; echo $? >${side}-${i}.code`,
      `iptables-save -c >${side}-${i}.rules`,
    )
  const ran = spawnSync(side === 'ours' ? 'bash' : 'unshare', side === 'ours' ? [] : ['-n', 'bash'], {
    cwd: dir,
    env: environment(side),
    input: script.join('\n'),
  })
  expect(ran.stderr.toString()).toBe('')
  const read = (name: string): string => readFileSync(join(dir, `${side}-${name}`), 'latin1')
  return inputs.map(({ words }, i) => ({
    command: words.slice(0, 80),
    stdout: read(`${i}.out`),
    stderr: read(`${i}.err`),
    code: Number(read(`${i}.code`)),
    rules: withoutDates(read(`${i}.rules`)),
  }))
}

const ours = (words: string[], input = ''): ReturnType<typeof spawnSync> =>
  spawnSync(words[0]!, words.slice(1), { env: environment('ours'), input })
const rules = (): string => withoutDates(String(ours(['iptables-save', '-c', '-t', 'filter']).stdout))

describe.skipIf(why !== null)('a running daemon', () => {
  test(`says what the real tools say to bad input, and keeps its rules (seed ${SEED})`, () => {
    const inputs = badInputs()
    writeFileSync(join(dir, 'before'), BEFORE)
    for (const [i, { input = '' }] of inputs.entries()) writeFileSync(join(dir, `${i}.in`), input)
    const theirs = answers('theirs', inputs)
    const mine = answers('ours', inputs)
    for (const [i, answer] of mine.entries()) {
      expect(answer, `input ${i}`).toEqual(theirs[i])
      expect(answer.rules, `input ${i}`).toContain('[1:60] -A kept -p tcp -m tcp --dport 22 -j ACCEPT\n')
    }
    expect(daemon.exitCode).toBeNull()
  })

  test('a client that dies in the middle of its input changes nothing', async () => {
    ours(['iptables-restore', '-c'], BEFORE)
    const before = rules()
    expect(before).toContain('-A INPUT -s 192.0.2.1/32 -j kept')
    for (let i = 0; i < 10; i++) {
      const client = spawn('iptables-restore', [], {
        env: environment('ours'),
        stdio: ['pipe', 'ignore', 'ignore'],
      })
      client.stdin.on('error', () => {})
      const ended = new Promise((resolve) => client.on('exit', resolve))
      await new Promise((resolve) =>
        client.stdin.write(`*filter\n${'-A INPUT -j DROP\n'.repeat(1 + 3000 * i)}COMMIT\n`, resolve),
      )
      client.kill('SIGKILL')
      await ended
    }
    expect(rules()).toBe(before)
  })

  test('100 clients at once: every rule is there once, and every restore is whole', async () => {
    ours(['iptables-restore'], table())
    const run = (words: string[], input: string): Promise<number | null> =>
      new Promise((resolve, reject) => {
        const client = spawn(words[0]!, words.slice(1), {
          env: environment('ours'),
          stdio: ['pipe', 'ignore', 'inherit'],
        })
        client.on('error', reject)
        // -A does not read its input, and may be gone before it is written.
        client.stdin.on('error', () => {})
        client.on('exit', resolve)
        client.stdin.end(input)
      })
    const clients = Array.from({ length: 100 }, (_, i) =>
      i % 4 === 0
        ? run(['iptables-restore', '-n'], table(`:c${i} - [0:0]`, `-A c${i} -j DROP`, `-A FORWARD -j c${i}`))
        : run(['iptables', '-A', 'INPUT', '-s', `192.0.2.${i}`, '-j', 'DROP'], ''),
    )
    expect(new Set(await Promise.all(clients))).toEqual(new Set([0]))
    const lines = rules().split('\n')
    for (let i = 0; i < 100; i++) {
      const expected =
        i % 4 === 0
          ? [`:c${i} - [0:0]`, `[0:0] -A c${i} -j DROP`, `[0:0] -A FORWARD -j c${i}`]
          : [`[0:0] -A INPUT -s 192.0.2.${i}/32 -j DROP`]
      for (const line of expected)
        expect(
          lines.filter((l) => l === line),
          line,
        ).toHaveLength(1)
    }
  })
})
