// The kernel's side of the comparison: scenarios run in unnamed network namespaces by native/oracle.c.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  addressesOf,
  type Family,
  familiesOf,
  firstRules,
  hasHelpers,
  hasProc,
  hasRecords,
  partOf,
  type Run,
  readSnmp,
  readSnmp6,
  readStats,
  type Scenario,
  type Sent,
  type Step,
  type StepRun,
} from './scenario.ts'
import { fillReferences } from './scenario-references.ts'

/** Top of the source tree, from sources and from dist alike. */
export function repositoryRoot(): string {
  let at = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(at, 'package-lock.json'))) {
    if (at === dirname(at)) throw new Error('the harness is not inside the repository')
    at = dirname(at)
  }
  return at
}

/** Why the kernel cannot be asked on this machine; null when it can. */
export function whyNoKernel(): string | null {
  if (process.platform !== 'linux') return 'this is not Linux'
  if (process.getuid?.() !== 0) return 'network namespaces with TUN devices need root'
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
  } catch {
    return '/dev/net/tun cannot be opened'
  }
  for (const tool of [
    'ip',
    'iptables-legacy-save',
    'ip6tables-legacy-save',
    'conntrack',
    'nfct',
    'make',
    'cc',
  ]) {
    if (spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0) return `the program ${tool} is missing`
  }
  return null
}

const binaries = join(repositoryRoot(), 'test/harness/native')
let isMade = false

/** A program of native/, made before its first use. */
export function nativeProgram(name: 'oracle' | 'without-unshare'): string {
  if (!isMade) {
    const made = spawnSync('make', ['-s', '-C', binaries], { encoding: 'utf8' })
    if (made.status !== 0) throw new Error(`the programs of ${binaries} do not build:\n${made.stderr}`)
    isMade = true
  }
  return join(binaries, 'build', name)
}

/** As in native/oracle.c. */
const STRADDLES = 0x80000000
const COLLECTED = 0x40000000
/** How often the end of a scenario is looked at again because something was still going on. */
const MOST_ENDS = 5
/** A busy machine's workers have come by (nf_nat_masq_schedule). */
const WORKER_MS = 60
/** So long may it take to look at everything, milliseconds; a busy machine is asked so often. */
const SLOW_MS = 300
const MOST_SLOW = 25
/** A question may take this long besides the pauses it asks for. */
const PATIENCE_MS = 30_000

/** Thrown when an oracle process has ended or does not answer: the machine's fault, not the scenario's. */
export class OracleGone extends Error {
  override readonly name = 'OracleGone'
}

/** One oracle process. Questions are answered in order. */
export class Oracle {
  readonly #child: ChildProcess
  #chunks: Buffer[] = []
  #have = 0
  readonly #waiting: { resolve: (b: Buffer) => void; reject: (e: Error) => void; timer: NodeJS.Timeout }[] =
    []
  #dead: Error | null = null

  constructor() {
    this.#child = spawn(nativeProgram('oracle'), { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child.stdout!.on('data', (chunk: Buffer) => this.#read(chunk))
    this.#child.stdin!.on('error', () => {})
    this.#child.on('error', (e) => this.#die(e))
    this.#child.on('exit', (code, signal) =>
      this.#die(new OracleGone(`the oracle process ended: ${signal ?? code}`)),
    )
  }

  /** Whoever still waits for an answer hears of it when the process has ended; one that does not end is killed. */
  close(): void {
    this.#dead ??= new OracleGone('the oracle process was closed')
    this.#child.stdin!.end()
    setTimeout(() => this.#child.kill('SIGKILL'), PATIENCE_MS).unref()
  }

  #die(reason: Error): void {
    this.#dead ??= reason
    for (const w of this.#waiting.splice(0)) {
      clearTimeout(w.timer)
      w.reject(this.#dead)
    }
  }

  #read(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#have += chunk.length
    while (this.#have >= 4) {
      if (this.#chunks[0]!.length < 4) this.#chunks = [Buffer.concat(this.#chunks)]
      const length = this.#chunks[0]!.readUInt32LE(0)
      if (this.#have < 4 + length) return
      const all = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
      const rest = all.subarray(4 + length)
      this.#chunks = rest.length > 0 ? [rest] : []
      this.#have = rest.length
      const waiting = this.#waiting.shift()
      // Closed while it was answering.
      if (waiting === undefined) return
      clearTimeout(waiting.timer)
      const status = all[4]
      const payload = all.subarray(5, 4 + length)
      if (status === 0) waiting.resolve(payload)
      else waiting.reject(new Error(payload.toString()))
    }
  }

  ask(op: string, payload: Buffer = Buffer.alloc(0), patienceMs: number = PATIENCE_MS): Promise<Buffer> {
    if (this.#dead !== null) return Promise.reject(this.#dead)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#die(new OracleGone(`the oracle did not answer ${op} within ${patienceMs} ms`))
        this.#child.kill('SIGKILL')
      }, patienceMs)
      this.#waiting.push({ resolve, reject, timer })
      const head = Buffer.alloc(5)
      head.writeUInt32LE(payload.length + 1, 0)
      head.write(op, 4, 'latin1')
      this.#child.stdin!.write(Buffer.concat([head, payload]))
    })
  }

  /** Runs a program inside the namespace. */
  async run(
    argv: readonly string[],
    stdin = '',
  ): Promise<{ status: number; stdout: string; stderr: string }> {
    const argc = Buffer.alloc(4)
    argc.writeUInt32LE(argv.length)
    const answer = await this.ask('X', Buffer.concat([argc, Buffer.from(`${argv.join('\0')}\0${stdin}`)]))
    const length = answer.readUInt32LE(4)
    return {
      status: answer.readInt32LE(0),
      stdout: answer.toString('utf8', 8, 8 + length),
      stderr: answer.toString('utf8', 8 + length),
    }
  }
}

/** Sysctls of every scenario: nothing is rate-limited, no IPv6 of its own (kernel-notes 37). */
const BASE_SYSCTLS: Readonly<Record<Family, Readonly<Record<string, string>>>> = {
  4: {
    'net.ipv4.icmp_ratelimit': '0',
    'net.ipv4.icmp_ratemask': '0',
    'net.ipv4.icmp_msgs_per_sec': '1000000',
    'net.ipv4.icmp_msgs_burst': '1000000',
    'net.ipv6.conf.all.disable_ipv6': '1',
    'net.ipv6.conf.default.disable_ipv6': '1',
  },
  6: {
    'net.ipv6.icmp.ratelimit': '0',
    'net.ipv6.icmp.ratemask': '255',
    'net.ipv4.icmp_msgs_per_sec': '1000000',
    'net.ipv4.icmp_msgs_burst': '1000000',
    'net.ipv6.auto_flowlabels': '0',
    'net.ipv6.conf.default.accept_dad': '0',
    'net.ipv6.conf.default.router_solicitations': '0',
    'net.ipv6.conf.default.addr_gen_mode': '1',
  },
}
export function baseSysctls(scenario: Scenario): Readonly<Record<string, string>> {
  const families = familiesOf(scenario)
  const all = Object.assign({}, ...families.map((family) => BASE_SYSCTLS[family])) as Record<string, string>
  if (!families.includes(6)) return all
  return Object.fromEntries(Object.entries(all).filter(([name]) => !name.endsWith('.disable_ipv6')))
}

/** Only in the namespace: hosts and routers say twice which groups they are in, here soon (RFC 3810). */
const REPORTS: Readonly<Record<string, string>> = {
  'net.ipv6.conf.default.mldv2_unsolicited_report_interval': '1',
}
/** It has said so when it was silent for so long, milliseconds, so often. */
const REPORT_MS = 20
const SILENCES = 4
/** A device that has said nothing by then is in no group. */
const MOST_WAITS = 10

/** `net.ipv4.conf.eth0/1.rp_filter` as sysctl(8) names it, to its file. */
function sysctlPath(name: string): string {
  return `/proc/sys/${name.replace(/[./]/g, (c) => (c === '.' ? '/' : '.'))}`
}

/** Thrown when the kernel or its tools refuse a scenario: a fault of whoever wrote it. */
export class Refused extends Error {
  override readonly name = 'Refused'
}

const toolOf = (family: Family): 'iptables' | 'ip6tables' => (family === 4 ? 'iptables' : 'ip6tables')

const linesOf = (said: readonly { readonly stdout: string }[]): string[] =>
  said.flatMap(({ stdout }) => stdout.split('\n').filter((l) => l !== ''))

/** One namespace, set up as a scenario says. */
export class KernelHost {
  readonly #oracle: Oracle
  readonly #scenario: Scenario
  readonly #families: readonly Family[]
  readonly #numbers = new Map<string, number>()
  readonly #runs: StepRun[] = []
  readonly #byId = new Map<number, StepRun>()
  #start = Number.NaN
  /** Length of a jiffy, milliseconds. */
  #tick = 1
  #wall = 0
  #uptime = 0
  /** Steps across two jiffies; and one for what the host itself said when the rules were in force already. */
  #straddling = 0
  /** When the sets were made, on the oracle's clock. */
  #setsAt = Number.NaN
  /** Of IPv6, when the set-up was over: it has spoken of groups by then. */
  #statistics: Record<string, number> = {}

  constructor(oracle: Oracle, scenario: Scenario) {
    this.#oracle = oracle
    this.#scenario = scenario
    this.#families = familiesOf(scenario)
  }

  async setUp(): Promise<void> {
    const oracle = this.#oracle
    const scenario = this.#scenario
    this.#tick = (await oracle.ask('N')).readDoubleLE(0)
    const six = this.#families.includes(6)
    const early = { ...baseSysctls(scenario), ...(six ? REPORTS : {}) }
    const refused = await oracle.ask('W', writes(early))
    if (refused.length > 0) throw new Refused(refused.toString())
    const links = ['link set lo up']
    const ups: string[] = []
    scenario.devices.forEach((d, i) => {
      this.#numbers.set(d.name, i)
      void oracle.ask('T', Buffer.from(`${d.name}\0`)).catch(() => {})
      // A packet of 64 KiB in fragments of 68 bytes must fit the device's queue.
      links.push(`link set ${d.name} mtu ${d.mtu} txqueuelen 4000`)
      if (d.group !== undefined) links.push(`link set ${d.name} group ${d.group}`)
      ups.push(`link set ${d.name} up`)
    })
    const addresses = (family: Family): string[] =>
      scenario.devices.flatMap((d) =>
        addressesOf(scenario, d, family).map((a) => `addr add ${a} dev ${d.name}`),
      )
    // Routes of IPv6 to peers are made when nobody was found to have the address: on a link that comes up then, not
    // always.
    if (six) await this.#ip(6, [...links, ...ups, ...addresses(6)], true)
    if (!six) await this.#ip(4, [...links, ...addresses(4), ...ups], false)
    else if (this.#families.includes(4)) await this.#ip(4, addresses(4), false)
    for (const family of this.#families) {
      const { routes, rules } = partOf(scenario, family)
      const batch = [...routes.map((r) => `route add ${r}`), ...rules.map((r) => `rule add ${r}`)]
      await this.#ip(family, batch, false)
    }
    const failed = await oracle.ask('W', writes(scenario.sysctls))
    if (failed.length > 0) throw new Refused(failed.toString())
    const waiting = new Set(scenario.devices.map((d) => d.name))
    for (let silent = 0, n = 0; six && silent < SILENCES; n++) {
      await this.#take([{ id: -1, pause: REPORT_MS }])
      const { before, sent } = this.#runs.at(-1)!
      for (const { dev } of [...before, ...sent]) waiting.delete(dev)
      const settled = before.length + sent.length === 0 && (waiting.size === 0 || n >= MOST_WAITS)
      silent = settled ? silent + 1 : 0
    }
    if (scenario.sets !== undefined) {
      await this.#take([{ id: -1, pause: 0 }])
      this.#setsAt = this.#start + this.#runs.at(-1)!.at
      const restored = await oracle.run(['ipset', 'restore'], scenario.sets)
      if (restored.status !== 0) throw new Refused(`ipset: ${restored.stderr}\n${scenario.sets}`)
    }
    for (const policy of scenario.policies ?? []) {
      const added = await oracle.run(['nfct', 'add', 'timeout', ...policy.split(' ')])
      if (added.status !== 0) throw new Refused(`nfct: ${added.stderr}\n${policy}`)
    }
    if (hasRecords(scenario)) {
      const groups = groupsOf(scenario)
      const message = Buffer.alloc(2 + groups.length * 2)
      message.writeUInt16LE(groups.length)
      for (const [i, group] of groups.entries()) message.writeUInt16LE(group, 2 + i * 2)
      await oracle.ask('G', message)
      // TRACE speaks to group 0 then.
      const loggers = this.#families.map(
        (family) => `/proc/sys/net/netfilter/nf_log/${family === 4 ? 2 : 10}\0nfnetlink_log\0`,
      )
      const refusal = await oracle.ask('W', Buffer.from(loggers.join('')))
      if (refusal.length > 0) throw new Refused(refusal.toString())
    }
    for (const family of this.#families) {
      const { iptables } = partOf(scenario, family)
      if (iptables === '') continue
      const tool = toolOf(family)
      const restore = await oracle.run([`${tool}-legacy-restore`], iptables)
      if (restore.status !== 0) throw new Refused(`${tool}-restore: ${restore.stderr}\n${iptables}`)
    }
    // Takes the clock's zero, and what the set-up itself made the devices say.
    this.#start = Number.NaN
    await this.#take([{ id: -1, pause: 0 }])
    const { before, sent } = this.#runs.at(-1)!
    // Of groups after all, and the rules have counted it.
    if (before.length + sent.length > 0) this.#straddling++
    this.#runs.length = 0
    if (six) {
      const { stdout } = await this.#oracle.run(['cat', '/proc/net/snmp', '/proc/net/snmp6'])
      this.#statistics = readSnmp6(stdout, stdout)
    }
  }

  /** Lines for `ip -batch`. `settled`: till no address is tentative any more; a busy kernel takes its time (addrconf_dad_work). */
  async #ip(of: Family, batch: readonly string[], settled: boolean): Promise<void> {
    const family = `-${of}`
    const ip = await this.#oracle.run(['ip', family, '-batch', '-'], `${batch.join('\n')}\n`)
    if (ip.status !== 0) throw new Refused(`ip: ${ip.stderr}\n${batch.join('\n')}`)
    for (let again = 0; settled && again < MOST_ENDS * 20; again++) {
      const { stdout } = await this.#oracle.run(['ip', family, '-o', 'addr', 'show', 'tentative'])
      if (stdout === '') return
      await this.#oracle.run(['sleep', '0.02'])
    }
  }

  async #take(steps: readonly Step[]): Promise<void> {
    const parts: Buffer[] = [Buffer.alloc(4)]
    parts[0]!.writeUInt32LE(steps.length)
    const frames: (Uint8Array | null)[] = []
    let pauses = 0
    for (const step of steps) {
      const frame = step.frame === undefined ? null : fillReferences(step, this.#byId)
      frames.push(frame)
      pauses += step.pause ?? 0
      const head = Buffer.alloc(16)
      head.writeDoubleLE(step.pause ?? 0, 0)
      head.writeUInt16LE(step.dev === undefined ? 0xffff : (this.#numbers.get(step.dev) ?? 0xffff), 8)
      head.writeUInt32LE(frame?.length ?? 0, 12)
      parts.push(head)
      if (frame !== null) parts.push(Buffer.from(frame.buffer, frame.byteOffset, frame.length))
    }
    const answer = await this.#oracle.ask('S', Buffer.concat(parts), pauses + PATIENCE_MS)
    let at = 0
    const list = (): Sent[] => {
      const count = answer.readUInt32LE(at)
      at += 4
      const sent: Sent[] = []
      for (let i = 0; i < count; i++) {
        const dev = this.#scenario.devices[answer.readUInt16LE(at)]!.name
        const length = answer.readUInt32LE(at + 4)
        sent.push({ dev, bytes: new Uint8Array(answer.subarray(at + 8, at + 8 + length)) })
        at += 8 + length
      }
      return sent
    }
    steps.forEach((step, i) => {
      const time = answer.readDoubleLE(at)
      const wall = answer.readDoubleLE(at + 8)
      const cause = answer.readUInt32LE(at + 16)
      if ((cause & STRADDLES) !== 0) this.#straddling++
      at += 20
      if (Number.isNaN(this.#start)) {
        this.#start = time
        this.#wall = wall
        this.#uptime = time
      }
      const before = list()
      const sent = list()
      const now = Math.round((time - this.#start) / this.#tick) * this.#tick
      const run = {
        id: step.id,
        at: now,
        wall,
        ...((cause & COLLECTED) === 0 ? {} : { collected: true }),
        dev: step.dev ?? null,
        injected: frames[i]!,
        before,
        sent,
      }
      this.#runs.push(run)
      this.#byId.set(step.id, run)
    })
  }

  /** Takes the steps, in order; those that refer to answers go one by one behind them. */
  async take(steps: readonly Step[]): Promise<StepRun[]> {
    const first = this.#runs.length
    let batch: Step[] = []
    const pending = new Set<number>()
    for (const step of steps) {
      if (step.command !== undefined || step.references?.some((r) => pending.has(r.step))) {
        if (batch.length > 0) await this.#take(batch)
        batch = []
        pending.clear()
      }
      if (step.command !== undefined) await this.#command(step.command, step.input)
      batch.push(step)
      pending.add(step.id)
    }
    if (batch.length > 0) await this.#take(batch)
    return this.#runs.slice(first)
  }

  /** What a command sets a worker on is over before the next frame: masquerading forgets an address in one. */
  async #command(argv: readonly string[], input?: string): Promise<void> {
    const { stderr } = await this.#oracle.run(argv, input)
    // conntrack -D gives up when one of those it found has ended by itself meanwhile.
    for (let again = 0, said = stderr; said.includes('Operation failed') && again < MOST_ENDS; again++)
      said = (await this.#oracle.run(argv)).stderr
    const address = argv.includes('addr') && firstRules(this.#scenario).includes('MASQUERADE')
    // A route with realms makes the check of sources a whole one until RCU frees it (fib_nh_release()).
    const realms = argv[0] === 'ip' && this.#scenario.routes.some((r) => r.includes(' realm '))
    if (address || realms) await this.#oracle.run(['sleep', String(WORKER_MS / 1000)])
  }

  /** Statistics but for what the set-up itself counted. */
  #since(text: string): Record<string, number> {
    const both = text
      .split('\n')
      .filter((line) => /^\w+: /.test(line))
      .join('\n')
    const four = this.#families.includes(4) ? readSnmp(both) : {}
    if (!this.#families.includes(6)) return four
    const out = readSnmp6(text, both)
    for (const [name, before] of Object.entries(this.#statistics)) {
      const left = (out[name] ?? 0) - before
      if (left === 0) delete out[name]
      else out[name] = left
    }
    return { ...four, ...out }
  }

  async finish(): Promise<Run> {
    await this.#take([{ id: -2, pause: 0 }])
    const said: Uint8Array[] = []
    // At once, however busy the machine is: timers go on meanwhile.
    const run = (argv: readonly string[]): ReturnType<Oracle['run']> =>
      this.#oracle.run(['chrt', '-r', '1', ...argv])
    /** One tool for each family. */
    const each = (argv: (family: Family) => readonly string[]) =>
      Promise.all(this.#families.map((family) => run(argv(family))))
    const files = this.#families.map((family) => `/proc/net/${family === 4 ? 'netstat' : 'snmp6'}`)
    const statistics = ['cat', '/proc/net/snmp', ...files]
    for (let again = 0; ; again++) {
      const [early, records, proc, save, sets, flows, expect, stats, snmp] = await Promise.all([
        run(statistics),
        hasRecords(this.#scenario) ? this.#oracle.ask('H') : null,
        hasProc(this.#scenario) ? run(['sh', '-c', PROC]) : null,
        each((family) => [`${toolOf(family)}-legacy-save`, '-c']),
        this.#scenario.sets === undefined ? null : run(['ipset', 'save']),
        each((family) => ['conntrack', '-L', '-f', `ipv${family}`, '-o', 'extended']),
        hasHelpers(this.#scenario)
          ? each((family) => ['conntrack', '-L', 'expect', '-f', `ipv${family}`])
          : null,
        run(['conntrack', '-S']),
        run(statistics),
        this.#take([{ id: -2, pause: 0 }]),
      ])
      for (const { status, stderr } of [...save, ...flows])
        if (status !== 0) throw new Refused(`iptables-save or conntrack: ${stderr}`)
      if (records !== null) said.push(...splitRecords(records))
      const after = this.#runs.pop()!
      const last = this.#runs.at(-1)!
      const slow = after.at - last.at > SLOW_MS
      const silent = after.before.length === 0 && early.stdout === snmp.stdout
      if (again < (silent && slow ? MOST_SLOW : MOST_ENDS) && (slow || !silent)) {
        // A timer ended meanwhile, or may have, perhaps without a word: it is not sure that the counters know.
        this.#runs[this.#runs.length - 1] = { ...after, before: [...last.before, ...after.before] }
        continue
      }
      // Anything still said after the last step belongs to it.
      if (last.before.length === 0) this.#runs.pop()
      return {
        wall: this.#wall,
        uptime: this.#uptime,
        straddling: this.#straddling,
        steps: [...this.#runs],
        endAt: last.at,
        save: save[this.#families.indexOf(this.#scenario.family ?? 4)]!.stdout,
        ...(save.length === 1 ? {} : { saveBeside: save[this.#scenario.family === 6 ? 0 : 1]!.stdout }),
        ...(sets === null ? {} : { sets: sets.stdout, setsAt: this.#setsAt - this.#start }),
        conntrack: linesOf(flows),
        ...(records === null ? {} : { records: said }),
        ...(proc === null ? {} : { proc: splitFiles(proc.stdout) }),
        ...(expect === null ? {} : { expect: linesOf(expect) }),
        stats: readStats(stats.stdout),
        snmp: this.#since(snmp.stdout),
      }
    }
  }

  /** The namespace as a host folder: what the stock tools print of it. File name to text. */
  async capture(): Promise<Record<string, string>> {
    const tools: [string, string[]][] = [
      ['ip-addr.json', ['ip', '-j', 'addr']],
      ['sysctl', ['sysctl', 'net']],
    ]
    for (const family of this.#families) {
      const ip = family === 4 ? 'ip' : 'ip6'
      tools.push(
        [`${toolOf(family)}-save`, [`${toolOf(family)}-legacy-save`]],
        [`${ip}-route.json`, ['ip', `-${family}`, '-j', 'route', 'show', 'table', 'all']],
        [`${ip}-rule.json`, ['ip', `-${family}`, '-j', 'rule']],
      )
    }
    if (this.#scenario.policies !== undefined) tools.push(['nfct-timeout', ['nfct', 'list', 'timeout']])
    if (this.#scenario.sets !== undefined) tools.push(['ipset-save', ['ipset', 'save']])
    const files: Record<string, string> = {}
    for (const [name, argv] of tools) {
      const { status, stdout, stderr } = await this.#oracle.run(argv)
      if (status !== 0) throw new Refused(`${argv.join(' ')}: ${stderr}`)
      files[name] = stdout
    }
    return files
  }
}

/** Each file behind a line with its path. */
const PROC =
  'cd /proc; for f in net/xt_recent/* net/ip*t_hashlimit/*; do [ -f $f ] && echo "= $f" && { cat $f || echo unreadable; }; done'

function splitFiles(text: string): Record<string, string> {
  const files: Record<string, string> = {}
  for (const part of text.split(/^= /m).slice(1)) {
    const end = part.indexOf('\n')
    files[part.slice(0, end)] = part.slice(end + 1)
  }
  return files
}

/** NFLOG groups that rules name, and that of TRACE. */
export const groupsOf = (scenario: Scenario): number[] => [
  ...new Set([0, ...[...firstRules(scenario).matchAll(/--nflog-group (\d+)/g)].map((m) => Number(m[1]))]),
]

function splitRecords(bytes: Buffer): Uint8Array[] {
  const records: Uint8Array[] = []
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at)
    records.push(new Uint8Array(bytes.subarray(at + 4, at + 4 + length)))
    at += 4 + length
  }
  return records
}

function writes(sysctls: Readonly<Record<string, string>>): Buffer {
  return Buffer.from(
    Object.entries(sysctls)
      .map(([name, value]) => `${sysctlPath(name)}\0${value}\0`)
      .join(''),
  )
}

/** The whole scenario on a fresh namespace. */
export async function runKernel(oracle: Oracle, scenario: Scenario): Promise<Run> {
  const host = new KernelHost(oracle, scenario)
  await host.setUp()
  await host.take(scenario.steps)
  return host.finish()
}
