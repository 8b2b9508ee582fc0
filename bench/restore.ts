// Rulesets as commands see them: the tools of a running daemon, called through the native client, beside the real
// iptables in a namespace of its own.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runTool } from '../daemon/tools.ts'
import { packageRoot } from '../datapath/native/root.ts'
import { udp } from '../test/harness/frames.ts'
import { kubeProxy } from '../test/harness/rulesets.ts'
import { Feed, memoryGateway } from './engine.ts'
import { interleave, median, table } from './stats.ts'

const ROOT = packageRoot()
const SERVICES = 10_000
const ENDPOINTS = 10
const ROUNDS = 3
const CALLS = 100
/** The scheduler's unit of /proc/PID/stat. */
const TICK_MS = 1000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** Milliseconds by the clock and of processors. */
interface Time {
  readonly wall: number
  readonly cpu: number
}

/** A daemon without devices, and its tools in a folder. */
class Daemon {
  readonly #dir = mkdtempSync(join(tmpdir(), 'tunwall-bench-'))
  readonly #child: ChildProcess

  constructor() {
    writeFileSync(join(this.#dir, 'host.yaml'), 'interfaces:\n  lan: { addresses: [10.9.1.1/24] }\n')
    mkdirSync(join(this.#dir, 'bin'))
    for (const tool of ['iptables', 'iptables-restore'])
      symlinkSync(join(ROOT, 'datapath/native/build/tunwall-client'), join(this.#dir, 'bin', tool))
    const argv = ['up', '--host', this.#dir, '--socket', join(this.#dir, 'control')]
    this.#child = spawn(process.execPath, [join(ROOT, 'dist/daemon/main.js'), ...argv], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
  }

  async ready(): Promise<void> {
    for await (const chunk of this.#child.stdout!) if (String(chunk).includes('ready')) break
    this.#child.stdout!.resume()
  }

  /** Runs a shell script with our tools in PATH; what it printed, and the processor time of both sides. */
  run(script: string): { out: string; cpu: number } {
    const before = this.#cpu()
    const out = bash(script, {
      PATH: `${join(this.#dir, 'bin')}:${process.env.PATH}`,
      TUNWALL_SOCKET: join(this.#dir, 'control'),
    })
    return { out, cpu: this.#cpu() - before }
  }

  #cpu(): number {
    const stat = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8')
    const [user, system] = stat.slice(stat.lastIndexOf(')')).split(' ').slice(12, 14)
    return (Number(user) + Number(system)) * TICK_MS
  }

  stop(): void {
    this.#child.kill('SIGTERM')
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

function bash(script: string, env: NodeJS.ProcessEnv): string {
  const ran = spawnSync('bash', ['-e'], { input: script, env, encoding: 'utf8' })
  if (ran.status !== 0) throw new Error(`${script}\n${ran.stderr}`)
  return ran.stdout + ran.stderr
}

/** Real seconds, then those of processors, of a command of bash. */
const timed = (command: string): string => `TIMEFORMAT='timed %R %U %S'; time ${command}`

function times(out: string, daemonCpu = 0): Time[] {
  return [...out.matchAll(/^timed (\S+) (\S+) (\S+)$/gm)].map(([, wall, user, system]) => ({
    wall: Number(wall) * 1000,
    cpu: (Number(user) + Number(system)) * 1000 + daemonCpu,
  }))
}

/** One -A after another, each by the clock, in microseconds. */
const calls = (tool: string, count: number): string =>
  `for ((i = 0; i < ${count}; i++)); do a=\${EPOCHREALTIME/./}; ${tool} -A INPUT -s 192.0.2.$i -p tcp --dport 80 -j ACCEPT; echo call $((\${EPOCHREALTIME/./} - a)); done`
const callTimes = (out: string): number[] =>
  [...out.matchAll(/^call (\d+)$/gm)].map(([, micros]) => Number(micros) / 1000)

const APPENDED = '-t nat -A KUBE-SERVICES -d 10.97.1.1/32 -p tcp -m tcp --dport 443 -j KUBE-NODEPORTS'

interface Round {
  readonly restore: Time
  readonly append: Time
}

/** How long the first packets after a commit take, ms: through all of KUBE-SERVICES, and again after one -A. */
function firstPackets(text: string): { first: number; afterAppend: number; steady: number } {
  const { engine, memory } = memoryGateway(text)
  const frame = udp({ src: '10.9.1.2', dst: '10.9.2.2', sport: 1024, dport: 53, payload: 32 })
  let sport = 1024
  const send = (): number => {
    const bytes = frame.slice()
    new DataView(bytes.buffer).setUint16(20, ++sport)
    new DataView(bytes.buffer).setUint16(26, 0)
    const feed = new Feed(engine, memory, [bytes])
    const before = performance.now()
    feed.path('lan', 1)
    return performance.now() - before
  }
  const first = send()
  runTool({ tool: 'iptables', argv: APPENDED.split(' '), stdin: '', directory: '/' }, engine)
  const afterAppend = send()
  return { first, afterAppend, steady: median(Array.from({ length: 20 }, send)) }
}

export async function restore(): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'tunwall-bench-'))
  const daemon = new Daemon()
  try {
    await daemon.ready()
    const text = kubeProxy(SERVICES, ENDPOINTS)
    const file = join(dir, 'rules')
    writeFileSync(file, text)

    // Calls on a table that is empty at first; the daemon has just started.
    const ourCalls: number[] = []
    const realCalls: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      ourCalls.push(...callTimes(daemon.run(`iptables -F; ${calls('iptables', CALLS)}`).out))
      realCalls.push(
        ...callTimes(bash(`unshare -n bash -ec '${calls('iptables-legacy', CALLS)}'`, process.env)),
      )
    }

    const ours: Round[] = []
    const real: Round[] = []
    await interleave(ROUNDS, {
      ours: () => {
        const restored = daemon.run(timed(`iptables-restore ${file}`))
        const appended = daemon.run(timed(`iptables ${APPENDED}`))
        ours.push({
          restore: times(restored.out, restored.cpu)[0]!,
          append: times(appended.out, appended.cpu)[0]!,
        })
        return 0
      },
      real: () => {
        const script = `${timed(`iptables-legacy-restore ${file}`)}; ${timed(`iptables-legacy ${APPENDED}`)}`
        const [whole, one] = times(bash(`unshare -n bash -e <<'E'\n${script}\nE`, process.env))
        real.push({ restore: whole!, append: one! })
        return 0
      },
    })

    const { first, afterAppend, steady } = firstPackets(text)
    const ms = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(0))
    const row = (what: string, a: number[], b: number[]): string[] => [
      what,
      `${ms(median(a))} (${ms(Math.min(...a))} to ${ms(Math.max(...a))})`,
      `${ms(median(b))} (${ms(Math.min(...b))} to ${ms(Math.max(...b))})`,
      (median(a) / median(b)).toFixed(3),
    ]
    const lines = text.split('\n').length - 1
    return [
      `kube-proxy's nat table for ${SERVICES} services of ${ENDPOINTS} endpoints, ${lines} lines; tools called through the native client, the real iptables-legacy in a namespace. Milliseconds; medians of ${ROUNDS} interleaved rounds (lowest to highest). Processor time of ours is client and daemon together, its collector included.`,
      '',
      table(
        ['what', 'tunwall', 'iptables-legacy', 'ratio'],
        [
          row(
            'restore',
            ours.map((r) => r.restore.wall),
            real.map((r) => r.restore.wall),
          ),
          row(
            'restore, processor time',
            ours.map((r) => r.restore.cpu),
            real.map((r) => r.restore.cpu),
          ),
          row(
            'one -A after it',
            ours.map((r) => r.append.wall),
            real.map((r) => r.append.wall),
          ),
          row(`each of ${CALLS} -A on an empty table`, ourCalls, realCalls),
        ],
      ),
      '',
      `A packet through the ${SERVICES} rules of KUBE-SERVICES: the first after the restore ${ms(first)} ms, the first after one -A ${ms(afterAppend)} ms, others ${ms(steady)} ms.`,
    ].join('\n')
  } finally {
    daemon.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}
