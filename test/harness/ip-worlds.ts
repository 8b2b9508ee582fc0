// Two hosts that are asked the same of ip(8): a namespace with TUN devices, and the emulated one.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ipTool } from '../../daemon/cli/ip.ts'
import { sysctlTool } from '../../daemon/cli/sysctl.ts'
import type { ToolResult } from '../../daemon/control/protocol.ts'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { native } from '../../datapath/native/index.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { writeFolder } from './capture.ts'
import { SeededRandom } from './frames.ts'
import { IP_DEVICES } from './ip-words.ts'

let made = 0

const FORWARDING = ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding']

/** The child of each(): calls in, answers out. */
const EACH = `
const { spawnSync } = require('node:child_process')
const calls = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
const answers = calls.map(({ argv, input }) => {
  const { status, stdout, stderr } = spawnSync(argv[0], argv.slice(1), { input, encoding: 'utf8', maxBuffer: 1 << 26 })
  return { stdout, stderr, code: status ?? -1 }
})
process.stdout.write(JSON.stringify(answers))
`

export class IpWorlds {
  readonly engine: Engine
  readonly #namespace = `tw-ip-${process.pid}-${made++}`
  readonly #descriptors: number[] = []
  readonly #root = mkdtempSync(join(tmpdir(), 'tunwall-ip-'))

  /** `routes`: both forward packets. */
  constructor(routes = false) {
    const run = (...argv: string[]): void => {
      const done = spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8' })
      if (done.status !== 0) throw new Error(`${argv.join(' ')}: ${done.stderr}`)
    }
    run('ip', 'netns', 'add', this.#namespace)
    const inside = (script: string): void => run('ip', 'netns', 'exec', this.#namespace, 'sh', '-c', script)
    // Link-local addresses are made from chance, duplicate detection takes time, and begins again after a random one.
    inside(
      'sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitation_delay=0 net.ipv6.conf.lo.router_solicitation_delay=0 net.ipv4.fib_multipath_hash_seed=77; ip link set lo up',
    )
    if (routes) inside(`sysctl -qw ${FORWARDING.map((name) => `${name}=1`).join(' ')}`)
    for (const name of IP_DEVICES) {
      this.#descriptors.push(native().openTun(name, `/run/netns/${this.#namespace}`, 0))
      inside(`ip link set ${name} up`)
    }
    const folder = writeFolder(join(this.#root, 'host'), {
      'host.yaml': `interfaces:\n${IP_DEVICES.map((name) => `  ${name}: {}\n`).join('')}`,
    })
    const memory = new FrameMemory(4, 2048)
    this.engine = createEngine(loadHostFolder(folder), {
      memory,
      egress: new MemoryEgress(memory),
      random: new SeededRandom(1),
    })
    this.engine.host.tunables.set('net.ipv4.fib_multipath_hash_seed', 77)
    if (routes) for (const name of FORWARDING) this.engine.host.tunables.set(name, 1)
    for (const name of ['default', 'lo', ...IP_DEVICES])
      this.engine.host.tunables.set(`net.ipv6.conf.${name}.router_solicitation_delay`, 0)
    for (const name of ['default', ...IP_DEVICES])
      this.engine.host.tunables.set(`net.ipv6.conf.${name}.addr_gen_mode`, 1)
  }

  /** The real one's answer; a line whose first word is `sysctl` is one of that tool. */
  real(argv: readonly string[], input = ''): ToolResult {
    if (argv[0] === 'sysctl') return this.inside(argv)
    const done = spawnSync('ip', ['-n', this.#namespace, ...argv], { encoding: 'utf8', input })
    return { stdout: done.stdout, stderr: done.stderr, code: done.status ?? -1 }
  }

  /** Any command in the namespace. */
  inside(argv: readonly string[], input = ''): ToolResult {
    const done = spawnSync('ip', ['netns', 'exec', this.#namespace, ...argv], {
      encoding: 'utf8',
      input,
      maxBuffer: 1 << 28,
    })
    return { stdout: done.stdout, stderr: done.stderr, code: done.status ?? -1 }
  }

  /** Several commands in the namespace, one after the other, from one process. */
  each(calls: readonly { readonly argv: readonly string[]; readonly input: string }[]): ToolResult[] {
    const { stdout, stderr, code } = this.inside([process.execPath, '-e', EACH], JSON.stringify(calls))
    if (code !== 0) throw new Error(stderr)
    return JSON.parse(stdout) as ToolResult[]
  }

  ours(argv: readonly string[], input = ''): ToolResult {
    if (argv[0] === 'sysctl')
      return sysctlTool.run({ tool: 'sysctl', directory: '/', argv: argv.slice(1), stdin: '' }, this.engine)
    return ipTool.run({ tool: 'ip', directory: '/', argv, stdin: input }, this.engine)
  }

  close(): void {
    for (const fd of this.#descriptors) native().close(fd)
    spawnSync('ip', ['netns', 'del', this.#namespace])
    rmSync(this.#root, { recursive: true, force: true })
  }
}
