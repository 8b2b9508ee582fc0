// nfct of conntrack-tools 1.4.7 in a namespace against ours: random command lines, rules that name policies in
// between; output, complaints and exit status.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sysctlTool } from '../../daemon/cli/sysctl.ts'
import { createEngine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { runTool } from '../../daemon/tools.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { writeFolder } from '../harness/capture.ts'
import { SeededRandom } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'
import { MutatedLines } from '../harness/mutated-lines.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const reason =
  whyNoKernel() ??
  (spawnSync('nfct', ['list', 'timeout']).error === undefined ? null : 'the program nfct is missing')
if (reason !== null) console.warn(`NOT RUN: nfct is not compared with the real one: ${reason}`)
const seed = SEED_OF_RUN
const LINES = Number(process.env.TUNWALL_LINES ?? 400)

const STATES: Readonly<Record<string, readonly string[]>> = {
  tcp: 'syn_sent syn_recv established fin_wait close_wait last_ack time_wait close syn_sent2 retrans unacknowledged none'.split(
    ' ',
  ),
  udp: ['unreplied', 'replied'],
  udplite: ['unreplied', 'replied'],
  gre: ['unreplied', 'replied'],
  icmp: ['timeout'],
  icmpv6: ['timeout'],
  generic: ['timeout'],
  sctp: 'closed cookie_wait cookie_echoed established shutdown_sent shutdown_recd shutdown_ack_sent heartbeat_sent none'.split(
    ' ',
  ),
  dccp: 'request respond partopen open closereq closing timewait'.split(' '),
}
/** Lines that once differed, in front of the drawn ones. */
const ONCE = `
nfct default-set timeout inet sctp established 18446744073709551615 1000
nfct default-set timeout inet sctp established 9223372036854775807 1000
nfct add timeout far inet tcp established -9223372036854775809 close
nfct add timeout far inet tcp established 99999999999999999999 nope 5
nfct add timeout far inet tcp established -9223372036854775808 close 99999999999999999999
nfct get timeout far
nfct delete timeout far
`

const LONG = 'abcdefghijklmnopqrstuvwxyz0123456'

function command(random: SeededRandom, lines: MutatedLines): string[] {
  if (random.below(10) < 4) return ['nfct', ...lines.line()]
  const name = (): string => random.pick(['a', 'b', 'c', 'd', 'e', 'f', LONG, LONG.slice(0, 31), '', 'x y'])
  const family = (): string =>
    random.once(20) ? random.pick(['inet7', 'INET', '4', '']) : random.pick(['inet', 'inet6'])
  const protocol = random.once(30) ? random.pick(['99', 'esp', '', 'ip']) : random.pick(Object.keys(STATES))
  const said = random.once(15) ? protocol.toUpperCase() : protocol
  const states = (): string[] => {
    const out: string[] = []
    for (let n = random.below(4); n > 0; n--) {
      const state = random.once(20)
        ? random.pick(['nope', 'timeout', 'replied', ''])
        : random.pick(STATES[protocol] ?? ['timeout'])
      out.push(random.once(10) ? state.toUpperCase() : state)
      if (!random.once(25))
        out.push(
          random.once(8)
            ? random.pick([
                'x',
                '-1',
                '',
                '0x10',
                '010',
                '8589934',
                '8589935',
                '4294967295',
                '4294967296',
                '1 2',
                '+3',
                '17179869',
                '17179870',
              ])
            : String(random.below(1000)),
        )
    }
    return out
  }
  const timeout = random.once(20)
    ? random.pick(['t', 'timeou', 'timeoutx', 'helper', 'h', 'foo', ''])
    : 'timeout'
  const rest = random.once(25) ? ['extra'] : []
  const word = (full: string): string =>
    random.once(15) ? full.slice(0, random.below(full.length + 1)) : full
  const order = (verb: string, ...more: string[]): string[] =>
    random.once(6) ? [timeout, word(verb), ...more] : [word(verb), timeout, ...more]
  switch (random.below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
      return ['nfct', ...order('add', name(), family(), said, ...states(), ...rest)]
    case 6:
      return ['nfct', ...order('list', ...rest)]
    case 7:
      return ['nfct', ...order('get', ...(random.once(10) ? [] : [name()]), ...rest)]
    case 8:
    case 9:
      return ['nfct', ...order('delete', ...(random.once(10) ? [] : [name()]), ...rest)]
    case 10:
      return random.once(3) ? ['nfct', ...order('flush', ...rest)] : ['nfct', 'list', 'timeout']
    case 11:
      return [
        'nfct',
        ...order('default-set', ...(random.once(10) ? [] : [family(), said]), ...states(), ...rest),
      ]
    case 12:
      return ['nfct', ...order('default-get', ...(random.once(10) ? [] : [family(), said]), ...rest)]
    case 13:
      return [
        'nfct',
        ...random.pick([
          [],
          ['-h'],
          ['help'],
          ['version', random.pick(['timeout', 'version', 'list', 'add', 'default-get', 'x'])],
          [random.pick(['list', 'get', 'd', 'x', 'helper']), random.pick(['version', 'v'])],
          ['help', 'x'],
          ['disable', 'timeout'],
          ['h', 'list'],
          ['add', 'helper', 'ftp', family(), random.pick(['tcp', 'udp', 'sctp'])],
          ['delete', 'helper', 'a', ...rest],
          ['get', 'helper', 'a', family(), random.pick(['tcp', 'udp', 'x']), ...rest],
          ['add', 'helper', 'a'],
          ['list', 'helper'],
          ['timeout'],
          ['default-set', 'helper'],
          ['disable', 'helper', 'a', 'inet', 'tcp'],
          ['foo', 'bar'],
        ]),
      ]
    default: {
      if (random.once(4)) return ['iptables-legacy', '-t', 'raw', '-F']
      // Of a longer name the kernel gives back four bytes, and the next command of iptables fails (docs/parity.md).
      const p = random.once(8)
        ? []
        : [
            ...(random.once(8) ? ['!'] : []),
            '-p',
            random.pick(['tcp', 'udp', 'udplite', 'icmp', 'sctp', 'gre', '99', '33', '255']),
          ]
      return [
        random.once(4) ? 'ip6tables-legacy' : 'iptables-legacy',
        '-t',
        'raw',
        '-A',
        'PREROUTING',
        ...p,
        '-j',
        'CT',
        '--timeout',
        name().slice(0, 4) || 'g',
      ]
    }
  }
}

test.skipIf(reason !== null)(`${LINES} lines of nfct, seed ${seed}`, () => {
  const root = mkdtempSync(join(tmpdir(), 'tunwall-nfct-'))
  const namespace = `tw-nfct-${process.pid}`
  try {
    expect(spawnSync('ip', ['netns', 'add', namespace]).status).toBe(0)
    const folder = writeFolder(join(root, 'host'), { 'host.yaml': 'interfaces: {}\n' })
    const memory = new FrameMemory(4, 2048)
    const egress = new MemoryEgress(memory)
    const engine = createEngine(loadHostFolder(folder), { memory, egress, random: new SeededRandom(1) })
    const random = new SeededRandom(seed)
    const real = (argv: readonly string[]): { stdout: string; stderr: string; code: number | null } => {
      const { stdout, stderr, status } = spawnSync('ip', ['netns', 'exec', namespace, ...argv], {
        encoding: 'utf8',
      })
      return { stdout, stderr, code: status }
    }
    const lines = new MutatedLines(random, 'nfct')
    const said: string[] = []
    const once = ONCE.trim().split('\n')
    for (let n = 0; n < once.length + LINES; n++) {
      const [tool = '', ...argv] = once[n]?.split(' ') ?? command(random, lines)
      said.push([tool, ...argv].map((w) => (/^[\w.-]+$/.test(w) ? w : `'${w}'`)).join(' '))
      const ours = runTool({ tool, directory: '/', argv, stdin: '' }, engine)
      expect(ours, `line ${n}:\n${said.slice(-12).join('\n')}`).toEqual(real([tool, ...argv]))
    }
    // The same policies in a host folder.
    const list = { tool: 'nfct', directory: '/', argv: ['list', 'timeout'], stdin: '' }
    const listed = runTool(list, engine).stdout
    const captured = { 'host.yaml': 'interfaces: {}\n', 'nfct-timeout': listed }
    const again = createEngine(loadHostFolder(writeFolder(join(root, 'again'), captured)), {
      memory,
      egress,
      random,
    })
    expect(runTool(list, again).stdout).toBe(listed)
    const names = engine.host.tunables.names().filter((name) => /nf_conntrack_.*_timeout/.test(name))
    const sysctl = sysctlTool.run({ tool: 'sysctl', directory: '/', argv: names, stdin: '' }, engine)
    expect(sysctl.stdout).toBe(real(['sysctl', ...names]).stdout)
  } finally {
    spawnSync('ip', ['netns', 'del', namespace])
    rmSync(root, { recursive: true, force: true })
  }
})
