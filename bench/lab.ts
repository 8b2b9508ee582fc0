// Two namespaces and something between them: the C copier, tunwall, or the kernel as a router.
//
//     client 10.9.1.2 ──[TUN or veth]── forwarder ──[TUN or veth]── server 10.9.2.2
//
// Everything is made here under names of this process and removed again.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TRAFFIC = join(ROOT, 'bench/native/build/traffic')
const COPIER = join(ROOT, 'bench/native/build/copier')

/** Connections that stay at their first packet go soon, so that the table has room for the next. */
const SHORT_SYN = 'net.netfilter.nf_conntrack_tcp_timeout_syn_sent'

export const CLIENT = '10.9.1.2'
export const SERVER = '10.9.2.2'

/** Traffic before what is measured, seconds, for each contender: the compiler's and the caches' turn. */
const WARM_UP = 1
/** The same for new connections: each chain that they come through is met for the first time once. */
const CONNECTIONS_WARM_UP = 3

/** kernel: iptables-legacy; kernel-nft: iptables-nft. */
export type ForwarderKind = 'copier' | 'tunwall' | 'kernel' | 'kernel-nft'

export interface LabOptions {
  readonly kind: ForwarderKind
  /** iptables-save text; the copier has none. */
  readonly rules: string
  /** Superframes and checksums are left to the devices, as between veths; default true. */
  readonly offload?: boolean
}

function sh(...argv: string[]): string {
  return execFileSync(argv[0]!, argv.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

export class Lab {
  readonly #id: string
  readonly #client: string
  readonly #server: string
  readonly #router: string
  readonly #dir: string
  readonly #children: ChildProcess[] = []

  readonly #kind: ForwarderKind

  private constructor(kind: ForwarderKind, serial: number) {
    this.#kind = kind
    this.#id = `twb${process.pid}-${serial}`
    this.#client = `${this.#id}c`
    this.#server = `${this.#id}s`
    this.#router = `${this.#id}r`
    this.#dir = mkdtempSync(join(tmpdir(), `${this.#id}-`))
  }

  static #serial = 0
  static readonly #live = new Set<Lab>()

  /** A bench that is interrupted leaves no namespace behind. */
  static {
    process.on('exit', () => {
      for (const lab of Lab.#live) lab.stop()
    })
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
  }

  static async start(options: LabOptions): Promise<Lab> {
    const lab = new Lab(options.kind, Lab.#serial++)
    Lab.#live.add(lab)
    try {
      sh('ip', 'netns', 'add', lab.#client)
      sh('ip', 'netns', 'add', lab.#server)
      if (options.kind === 'kernel') lab.#startKernel(options.rules, 'iptables-legacy-restore')
      else if (options.kind === 'kernel-nft') lab.#startKernel(options.rules, 'iptables-nft-restore')
      else if (options.kind === 'copier') await lab.#startCopier(options.offload ?? true)
      else await lab.#startTunwall(options.rules, options.offload ?? true)
      return lab
    } catch (error) {
      lab.stop()
      throw error
    }
  }

  async #startCopier(offload: boolean): Promise<void> {
    await this.#spawnUntil(/ready/, COPIER, [
      ...(offload ? ['--offload'] : []),
      `/run/netns/${this.#client}`,
      'eth0',
      `/run/netns/${this.#server}`,
      'eth0',
    ])
    this.#address(this.#client, '10.9.1.2/24')
    this.#address(this.#server, '10.9.2.2/24')
  }

  #address(ns: string, address: string): void {
    sh('ip', '-n', ns, 'link', 'set', 'eth0', 'up')
    sh('ip', '-n', ns, 'addr', 'add', address, 'dev', 'eth0')
    sh('ip', '-n', ns, 'route', 'add', 'default', 'dev', 'eth0')
  }

  async #startTunwall(rules: string, offload: boolean): Promise<void> {
    writeFileSync(
      join(this.#dir, 'host.yaml'),
      `interfaces:
  lan: { addresses: [10.9.1.1/24], mtu: 1500, port: { tun: { namespace: ${this.#client}, name: eth0, peer: [10.9.1.2/24], routes: [default via 10.9.1.1], offload: ${offload} } } }
  wan: { addresses: [10.9.2.1/24], mtu: 1500, port: { tun: { namespace: ${this.#server}, name: eth0, peer: [10.9.2.2/24], routes: [default via 10.9.2.1], offload: ${offload} } } }
routes: [10.128.0.0/10 via 10.9.2.2]
sysctls: { net.ipv4.ip_forward: 1, ${SHORT_SYN}: 1 }
`,
    )
    writeFileSync(join(this.#dir, 'iptables-save'), rules)
    await this.#spawnUntil(/ready/, process.execPath, [
      join(ROOT, 'dist/daemon/main.js'),
      'up',
      '--host',
      this.#dir,
      '--socket',
      join(this.#dir, 'control'),
    ])
  }

  #startKernel(rules: string, restore: string): void {
    sh('ip', 'netns', 'add', this.#router)
    const link = (ns: string, outside: string, near: string, far: string): void => {
      sh(
        'ip',
        '-n',
        this.#router,
        'link',
        'add',
        outside,
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'netns',
        ns,
      )
      sh('ip', '-n', this.#router, 'addr', 'add', `${near}/24`, 'dev', outside)
      sh('ip', '-n', this.#router, 'link', 'set', outside, 'up')
      sh('ip', '-n', ns, 'link', 'set', 'eth0', 'up')
      sh('ip', '-n', ns, 'addr', 'add', `${far}/24`, 'dev', 'eth0')
      sh('ip', '-n', ns, 'route', 'add', 'default', 'via', near)
    }
    link(this.#client, 'lan', '10.9.1.1', CLIENT)
    link(this.#server, 'wan', '10.9.2.1', SERVER)
    sh('ip', 'netns', 'exec', this.#router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1')
    sh('ip', 'netns', 'exec', this.#router, 'sysctl', '-qw', `${SHORT_SYN}=1`)
    // Endpoints of services.
    sh('ip', '-n', this.#router, 'route', 'add', '10.128.0.0/10', 'via', SERVER)
    execFileSync('ip', ['netns', 'exec', this.#router, restore], {
      input: rules,
      maxBuffer: 1 << 26,
    })
  }

  /** Starts a child that says it is ready. Rejects with what it printed when it ends first. */
  #spawnUntil(ready: RegExp, command: string, argv: string[]): Promise<void> {
    const child = spawn(command, argv, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#children.push(child)
    return new Promise((resolve, reject) => {
      let text = ''
      const take = (chunk: Buffer): void => {
        text += chunk.toString()
        if (ready.test(text)) resolve()
      }
      child.stdout.on('data', take)
      child.stderr.on('data', take)
      child.on('exit', (code) => reject(new Error(`${command} ended with ${code}: ${text}`)))
      child.on('error', reject)
    })
  }

  #traffic(ns: string, ...argv: string[]): Promise<string> {
    const child = spawn('ip', ['netns', 'exec', ns, TRAFFIC, ...argv], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#children.push(child)
    return new Promise((resolve, reject) => {
      let text = ''
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString()
      })
      child.on('exit', (code) =>
        code === 0 ? resolve(text.trim()) : reject(new Error(`traffic ${argv[0]}: ${code}`)),
      )
      child.on('error', reject)
    })
  }

  #received(): number {
    return Number(sh('ip', 'netns', 'exec', this.#server, 'cat', '/sys/class/net/eth0/statistics/rx_packets'))
  }

  /** Nanoseconds that the forwarder's threads had a processor; 0 for the kernel, whose work is nobody's. */
  #forwarderNs(): number {
    const pid = this.#children[0]?.pid
    let total = 0
    for (const task of readdirSync(`/proc/${pid}/task`))
      total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
    return total
  }

  /**
   * 60-byte UDP packets offered without pause: those a second that reach the server's interface, and the forwarder's
   * processor time for each, ns.
   */
  async udp(seconds: number): Promise<{ rate: number; ns: number }> {
    const hold = this.#traffic(this.#server, 'udp-hold', '7', String(seconds + WARM_UP + 1))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await this.#traffic(this.#client, 'udp-send', SERVER, '7', '32', String(WARM_UP))
    const received = this.#received()
    const spent = this.#kind.startsWith('kernel') ? 0 : this.#forwarderNs()
    await this.#traffic(this.#client, 'udp-send', SERVER, '7', '32', String(seconds))
    const packets = this.#received() - received
    const ns = this.#kind.startsWith('kernel') ? 0 : this.#forwarderNs() - spent
    await hold
    return { rate: packets / seconds, ns: ns / packets }
  }

  /** Packets a second that reach the server's interface, of 60-byte UDP packets offered without pause. */
  async udpRate(seconds: number): Promise<number> {
    return (await this.udp(seconds)).rate
  }

  /**
   * New connections a second that reach the server's interface: a SYN each, to addresses of services from 10.96.0.0 on,
   * offered without pause.
   */
  async newConnections(services: number, seconds: number): Promise<number> {
    const offer = (address: string, time: number): Promise<string> =>
      this.#traffic(this.#client, 'syn-flows', address, '10.96.0.0', String(services), '80', String(time))
    // Other sources, so that these are connections of their own.
    await offer('10.9.1.3', CONNECTIONS_WARM_UP)
    const before = this.#received()
    await offer(CLIENT, seconds)
    return (this.#received() - before) / seconds
  }

  /** Bits a second of one TCP stream, as the receiver counts. */
  async tcpRate(seconds: number): Promise<number> {
    await this.#stream(WARM_UP)
    return this.#stream(seconds)
  }

  async #stream(seconds: number): Promise<number> {
    const sink = this.#traffic(this.#server, 'tcp-sink', '8', String(seconds + 2))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await this.#traffic(this.#client, 'tcp-send', SERVER, '8', String(seconds))
    const [bytes, took] = (await sink).split(' ').map(Number)
    return (bytes! * 8) / took!
  }

  stop(): void {
    Lab.#live.delete(this)
    for (const child of this.#children) if (child.exitCode === null) child.kill('SIGTERM')
    for (const ns of [this.#client, this.#server, this.#router])
      try {
        sh('ip', 'netns', 'del', ns)
      } catch {
        // It was never made.
      }
    rmSync(this.#dir, { recursive: true, force: true })
  }

  static machine(): string {
    const cpu = /model name\s*:\s*(.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown CPU'
    return `${cpu}, ${sh('nproc').trim()} cores, Linux ${sh('uname', '-r').trim()}, Node ${process.version}`
  }
}
