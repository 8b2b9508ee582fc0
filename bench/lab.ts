// Two namespaces and something between them: the C copier, tunwall, the kernel as a router, or another user-space
// gateway.
//
//     client 10.9.1.2 ──[TUN or veth]── forwarder ──[TUN or veth]── server 10.9.2.2
//
// Several may be up at once and be measured in turn. Everything is made here under names of this process and removed
// again.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../datapath/native/root.ts'

const ROOT = packageRoot()
const TRAFFIC = join(ROOT, 'bench/native/build/traffic')
const COPIER = join(ROOT, 'bench/native/build/copier')

/** Connections that stay at their first packet go soon, after the second that is the least, so that the table has room for the next. */
const SHORT_SYN = 'net.netfilter.nf_conntrack_tcp_timeout_syn_sent'
/**
 * More than tunwall begins in that second: at the usual 262,144 its table would be full, and each new connection be one that is
 * given up, too. The kernel's limit is the machine's, not a namespace's, and the kernel stays far below it.
 */
const CONNECTIONS = 1_048_576

/** The server takes datagrams to it without reading them. */
const SINK_PORT = '7'
/** Bytes of a datagram's IP and UDP headers, and of its data. */
const UDP_HEADERS = 28
const UDP_DATA = 32
/** Who forwards nothing for so long has nothing left to forward; and how long is waited for that at most. */
const STILL_MS = 30
const DRAIN_MS = 3000
/** Which veths count, TUN devices do not have. */
const ETH_HLEN = 14
/** Of services, behind the server: what comes for them is counted and no more. */
const ENDPOINTS = '10.128.0.0/10'

export const CLIENT = '10.9.1.2'
export const SERVER = '10.9.2.2'
/** pasta gives the client the server's address, and leads to the server under its router's. */
const PASTA_SERVER = '10.9.2.1'

/**
 * tunwall-gro: with udp_gro, which needs offloads; kernel: iptables-legacy; kernel-nft: iptables-nft; slirp4netns, pasta:
 * what rootless containers have.
 */
export type ForwarderKind =
  | 'copier'
  | 'tunwall'
  | 'tunwall-gro'
  | 'kernel'
  | 'kernel-nft'
  | 'slirp4netns'
  | 'pasta'

export interface LabOptions {
  readonly kind: ForwarderKind
  /** iptables-save text; copier, slirp4netns and pasta have none. */
  readonly rules?: string
  /** Connection tracking has its usual limit and timeouts; default: SHORT_SYN and CONNECTIONS. */
  readonly usualLimits?: boolean
  /** Superframes and checksums are left to the devices, as between veths; default true. */
  readonly offload?: boolean
  /** Bytes; default 1500. */
  readonly mtu?: number
  /** What tunwall is: a repository with dist; default this one. */
  readonly root?: string
}

/** Packets a second, and the forwarder's processor time for each, ns (NaN: the kernel). */
export interface Rate {
  readonly rate: number
  readonly ns: number
}

/** Seconds of traffic until V8 has compiled what is hot. */
export const TUNWALL_SETTLES_S = 3

/** The program is there; the copier and tunwall always are. */
export function hasForwarder(kind: ForwarderKind): boolean {
  if (kind !== 'slirp4netns' && kind !== 'pasta') return true
  return ['/usr/bin', '/usr/local/bin'].some((directory) => existsSync(join(directory, kind)))
}

function sh(...argv: string[]): string {
  return execFileSync(argv[0]!, argv.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

export class Lab {
  readonly kind: ForwarderKind
  readonly #id: string
  readonly #client: string
  readonly #server: string
  readonly #router: string
  readonly #dir: string
  readonly #mtu: number
  readonly #usualLimits: boolean
  readonly #root: string
  readonly #children: ChildProcess[] = []
  #forwarder: ChildProcess | null = null

  private constructor(options: LabOptions, serial: number) {
    this.kind = options.kind
    this.#mtu = options.mtu ?? 1500
    this.#usualLimits = options.usualLimits ?? false
    this.#root = options.root ?? ROOT
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
    const lab = new Lab(options, Lab.#serial++)
    Lab.#live.add(lab)
    const { kind, rules = '', offload = true } = options
    try {
      sh('ip', 'netns', 'add', lab.#client)
      sh('ip', 'netns', 'add', lab.#server)
      if (kind === 'kernel') lab.#startKernel(rules, 'iptables-legacy-restore')
      else if (kind === 'kernel-nft') lab.#startKernel(rules, 'iptables-nft-restore')
      else if (kind === 'copier') await lab.#startCopier(offload)
      else if (kind === 'tunwall') await lab.#startTunwall(rules, `offload: ${offload}`)
      else if (kind === 'tunwall-gro') await lab.#startTunwall(rules, 'udp_gro: true')
      else await lab.#startRootless(kind)
      sh('ip', '-n', lab.#server, 'link', 'set', 'lo', 'up')
      lab.#sink()
      return lab
    } catch (error) {
      lab.stop()
      throw error
    }
  }

  /**
   * What is only to be counted ends at once: the server's cost stays out of the measurement, as far as it can, and nobody
   * answers.
   */
  #sink(): void {
    for (const what of [`-p udp --dport ${SINK_PORT}`, `-d ${ENDPOINTS}`]) {
      const rule = `-t raw -A PREROUTING ${what} -j DROP`.split(' ')
      sh('ip', 'netns', 'exec', this.#server, 'iptables-legacy', ...rule)
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
    sh('ip', '-n', ns, 'link', 'set', 'eth0', 'up', 'mtu', String(this.#mtu))
    sh('ip', '-n', ns, 'addr', 'add', address, 'dev', 'eth0')
    sh('ip', '-n', ns, 'route', 'add', 'default', 'dev', 'eth0')
  }

  async #startTunwall(rules: string, how: string): Promise<void> {
    const device = (net: number, namespace: string): string =>
      `{ addresses: [10.9.${net}.1/24], mtu: ${this.#mtu}, port: { tun: { namespace: ${namespace}, name: eth0, peer: [10.9.${net}.2/24], routes: [default via 10.9.${net}.1], ${how} } } }`
    const limits = this.#usualLimits
      ? ''
      : `, ${SHORT_SYN}: 1, net.netfilter.nf_conntrack_max: ${CONNECTIONS}`
    writeFileSync(
      join(this.#dir, 'host.yaml'),
      `interfaces:
  lan: ${device(1, this.#client)}
  wan: ${device(2, this.#server)}
routes: [${ENDPOINTS} via 10.9.2.2]
sysctls: { net.ipv4.ip_forward: 1${limits} }
`,
    )
    writeFileSync(join(this.#dir, 'iptables-save'), rules)
    mkdirSync(join(this.#dir, 'bin'))
    for (const tool of ['iptables', 'iptables-restore', 'iptables-save'])
      symlinkSync(join(this.#root, 'datapath/native/build/tunwall-client'), join(this.#dir, 'bin', tool))
    await this.#spawnUntil(/ready/, process.execPath, [
      join(this.#root, 'dist/daemon/main.js'),
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
      const mtu = String(Math.min(this.#mtu, 65535))
      const ends = `link add ${outside} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${ns}`
      sh('ip', '-n', this.#router, ...ends.split(' '))
      sh('ip', '-n', this.#router, 'addr', 'add', `${near}/24`, 'dev', outside)
      sh('ip', '-n', this.#router, 'link', 'set', outside, 'up')
      sh('ip', '-n', ns, 'link', 'set', 'eth0', 'up')
      sh('ip', '-n', ns, 'addr', 'add', `${far}/24`, 'dev', 'eth0')
      sh('ip', '-n', ns, 'route', 'add', 'default', 'via', near)
    }
    link(this.#client, 'lan', '10.9.1.1', CLIENT)
    link(this.#server, 'wan', '10.9.2.1', SERVER)
    sh('ip', 'netns', 'exec', this.#router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1')
    if (!this.#usualLimits) sh('ip', 'netns', 'exec', this.#router, 'sysctl', '-qw', `${SHORT_SYN}=1`)
    sh('ip', '-n', this.#router, 'route', 'add', ENDPOINTS, 'via', SERVER)
    execFileSync('ip', ['netns', 'exec', this.#router, restore], {
      input: rules,
      maxBuffer: 1 << 26,
    })
  }

  /** Their gateway is a process in the server's namespace, which takes that one's addresses as its own. */
  async #startRootless(kind: 'slirp4netns' | 'pasta'): Promise<void> {
    sh('ip', '-n', this.#server, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth1')
    sh('ip', '-n', this.#server, 'link', 'set', 'eth1', 'up')
    sh('ip', '-n', this.#server, 'link', 'set', 'lo', 'up')
    sh('ip', '-n', this.#server, 'link', 'set', 'eth0', 'up')
    sh('ip', '-n', this.#server, 'addr', 'add', `${SERVER}/24`, 'dev', 'eth0')
    sh('ip', '-n', this.#server, 'route', 'add', 'default', 'via', PASTA_SERVER)
    const client = `/run/netns/${this.#client}`
    const [ready, ...argv] =
      kind === 'slirp4netns'
        ? [/received tapfd/, `--mtu=${this.#mtu}`, '--configure', '--netns-type=path', client, 'tap0']
        : [
            /DNS|router/,
            '--runas',
            '0:0',
            '-4',
            '-f',
            '--config-net',
            '-m',
            String(this.#mtu),
            '--netns',
            client,
          ]
    await this.#spawnUntil(ready as RegExp, 'ip', [
      'netns',
      'exec',
      this.#server,
      kind,
      ...(argv as string[]),
    ])
    await new Promise((resolve) => setTimeout(resolve, 300))
  }

  /** Starts the forwarder, which says that it is ready. Rejects with what it printed when it ends first. */
  #spawnUntil(ready: RegExp, command: string, argv: string[]): Promise<void> {
    const child = spawn(command, argv, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#forwarder = child
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

  /** Seconds of traffic after which it is no longer faster than before: V8 compiles what is hot while it runs. */
  get settling(): number {
    return this.kind.startsWith('tunwall') ? TUNWALL_SETTLES_S : 0.7
  }

  /** A traffic program; what it printed. */
  #run(ns: string, ...argv: string[]): Promise<string> {
    const child = spawn('ip', ['netns', 'exec', ns, TRAFFIC, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#children.push(child)
    return new Promise((resolve, reject) => {
      let text = ''
      let errors = ''
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString()
      })
      child.stderr.on('data', (chunk: Buffer) => {
        errors += chunk.toString()
      })
      // Not 'exit', behind which what it printed may still be on its way.
      child.on('close', (code) =>
        code === 0 ? resolve(text.trim()) : reject(new Error(`traffic ${argv[0]}: ${code} ${errors}`)),
      )
      child.on('error', reject)
    })
  }

  #received(): number {
    return this.#statistic('rx_packets')
  }

  #statistic(name: 'rx_packets' | 'rx_bytes'): number {
    return Number(sh('ip', 'netns', 'exec', this.#server, 'cat', `/sys/class/net/eth0/statistics/${name}`))
  }

  /** Datagrams of `udp` that came: a superframe of them is one packet with their data. */
  #datagrams(): number {
    const ethernet = this.kind.startsWith('kernel') ? ETH_HLEN : 0
    return (this.#statistic('rx_bytes') - (UDP_HEADERS + ethernet) * this.#received()) / UDP_DATA
  }

  /** Nanoseconds that the forwarder's threads had a processor; NaN for the kernel, whose work is nobody's. */
  #forwarderNs(): number {
    if (this.#forwarder === null) return Number.NaN
    let total = 0
    for (const task of readdirSync(`/proc/${this.#forwarder.pid}/task`))
      total += Number(
        readFileSync(`/proc/${this.#forwarder.pid}/task/${task}/schedstat`, 'utf8').split(' ')[0],
      )
    return total
  }

  /**
   * 60-byte UDP packets offered without pause: those that reach the server's interface. `connections`: whose packets come in
   * turn, a divisor of 64.
   */
  udp(seconds: number, connections = 1): Promise<Rate> {
    const program = ['udp-send', SERVER, SINK_PORT, ...[UDP_DATA, seconds, connections].map(String)]
    return this.#measure(program, seconds, () => this.#datagrams())
  }

  /** What a traffic program of so many seconds brings about, as `count` tells it. */
  async #measure(
    program: readonly string[],
    seconds: number,
    count: () => number | Promise<number>,
  ): Promise<Rate> {
    const before = await count()
    const spent = this.#forwarderNs()
    await this.#run(this.#client, ...program)
    const ns = this.#forwarderNs() - spent
    const packets = (await count()) - before
    await this.#drained(count)
    return { rate: packets / seconds, ns: ns / packets }
  }

  /**
   * Nothing is counted any more. A kernel that has more to do than it can has a thousand packets in its backlog, for which
   * whoever is measured next would have to do without a processor for a while.
   */
  async #drained(count: () => number | Promise<number>): Promise<void> {
    const deadline = Date.now() + DRAIN_MS
    for (let before = -1, now = await count(); now !== before && Date.now() < deadline; ) {
      before = now
      await new Promise((resolve) => setTimeout(resolve, STILL_MS))
      now = await count()
    }
  }

  /** Packets a second of `udp`. */
  async udpRate(seconds: number, connections = 1): Promise<number> {
    return (await this.udp(seconds, connections)).rate
  }

  /** 60-byte UDP packets, evenly, while `during` runs: how many were offered and how many came. */
  async pacedUdp(
    seconds: number,
    rate: number,
    during: () => Promise<unknown>,
  ): Promise<{ offered: number; received: number }> {
    const before = this.#received()
    const sender = this.#run(this.#client, 'udp-pace', SERVER, SINK_PORT, '32', String(seconds), String(rate))
    await during()
    const offered = Number(await sender)
    await new Promise((resolve) => setTimeout(resolve, 200))
    return { offered, received: this.#received() - before }
  }

  /**
   * New connections that reach the server's interface: a SYN each, to addresses of services from 10.96.0.0 on, offered
   * without pause. Other sources are connections of their own.
   */
  newConnections(services: number, seconds: number, source = CLIENT): Promise<Rate> {
    const program = ['syn-flows', source, '10.96.0.0', String(services), '80', String(seconds)]
    return this.#measure(program, seconds, () => this.#received())
  }

  /** Bits a second of TCP streams, as the receiver counts. */
  async tcpRate(seconds: number, streams = 1): Promise<number> {
    const sink = this.#run(this.#server, 'tcp-sink', '8', String(seconds + 2), String(streams))
    const to = this.kind === 'pasta' ? PASTA_SERVER : SERVER
    const senders = Array.from({ length: streams }, () =>
      this.#run(this.#client, 'tcp-send', to, '8', String(seconds)),
    )
    await Promise.all(senders)
    const [bytes, took] = (await sink).split(' ').map(Number)
    return (bytes! * 8) / took!
  }

  /** Round trip of a small packet, median of `count`, microseconds. */
  ping(count: number): number {
    const argv = ['-n', '-c', String(count), '-i', '0.002', SERVER]
    const out = sh('ip', 'netns', 'exec', this.#client, 'ping', ...argv)
    const times = [...out.matchAll(/time=([\d.]+)/g)].map(([, ms]) => Number(ms) * 1000)
    return times.toSorted((a, b) => a - b)[times.length >> 1]!
  }

  /** Runs a shell script where `iptables` and `iptables-restore` are the forwarder's. */
  async tools(script: string): Promise<string> {
    const ours = this.kind.startsWith('tunwall')
    const flavour = this.kind === 'kernel-nft' ? 'nft' : 'legacy'
    const names = `iptables() { iptables-${flavour} "$@"; }; iptables-restore() { iptables-${flavour}-restore "$@"; }\n`
    const child = ours
      ? spawn('bash', ['-ec', script], {
          env: {
            ...process.env,
            PATH: `${join(this.#dir, 'bin')}:${process.env.PATH}`,
            TUNWALL_SOCKET: join(this.#dir, 'control'),
          },
        })
      : spawn('ip', ['netns', 'exec', this.#router, 'bash', '-ec', names + script])
    let text = ''
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    const code = await new Promise((resolve) => child.on('close', resolve))
    if (code !== 0) throw new Error(`${script}\n${text}`)
    return text
  }

  /** Packets that the rule with this comment has counted. */
  async counted(table: string, comment: string): Promise<number> {
    const out = await this.tools(`iptables -t ${table} -nvxL`)
    const line = out.split('\n').find((text) => text.includes(`/* ${comment} */`))
    return Number(line!.trim().split(/\s+/)[0])
  }

  /** Offers 60-byte UDP packets that a rule with this comment drops. */
  dropped(table: string, comment: string, seconds: number): Promise<Rate> {
    const program = ['udp-send', SERVER, '9', '32', String(seconds)]
    return this.#measure(program, seconds, () => this.counted(table, comment))
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

/** Labs that live side by side, one of each kind, while `use` measures them in turn. */
export async function withLabs<K extends ForwarderKind, T>(
  kinds: readonly K[],
  options: Omit<LabOptions, 'kind'>,
  use: (labs: Readonly<Record<K, Lab>>) => Promise<T>,
): Promise<T> {
  const labs = {} as Record<K, Lab>
  try {
    for (const kind of kinds) labs[kind] = await Lab.start({ ...options, kind })
    return await use(labs)
  } finally {
    for (const lab of Object.values<Lab>(labs)) lab.stop()
  }
}
