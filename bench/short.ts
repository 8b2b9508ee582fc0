// npm run bench -- --short [--write]: a few ratios, in less than a minute, against those of short.json. A ratio is the
// peer's cost through ours, as medians of short turns that alternate; costs are processor time, never the clock. One
// that has fallen by more than a fifth, three times in a row, fails; where the peer itself is not steady nothing can be
// said, and nothing fails.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { runTool } from '../daemon/tools.ts'
import { packageRoot } from '../datapath/native/root.ts'
import { udp } from '../test/harness/frames.ts'
import { kubeProxy } from '../test/harness/rulesets.ts'
import { establish, Feed, memoryGateway } from './engine.ts'
import { Lab } from './lab.ts'
import { gatewayRules } from './rules.ts'
import { median, ratio, table } from './stats.ts'

/** A ratio may be this part of the committed one. */
const KEPT = 0.8
/** Middle half of the peer's turns through their median; beyond it the machine is of no use. */
const STEADY = 0.3
const TURNS = 9
const TRIES = 3

const HERE = fileURLToPath(import.meta.url)
const COMMITTED = join(packageRoot(), 'bench/short.json')

const PACKETS = 100_000
const FLOWS = 10_000
const SERVICES = 300

function frames(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) =>
    udp({
      src: `10.9.1.${2 + (i % 200)}`,
      dst: '10.9.2.2',
      sport: 1024 + (i & 0x3fff),
      dport: 53,
      payload: 32,
    }),
  )
}

function fed(rules: string): { gateway: ReturnType<typeof memoryGateway>; feed: Feed } {
  const gateway = memoryGateway(rules)
  return { gateway, feed: new Feed(gateway.engine, gateway.memory, frames(FLOWS)) }
}

const cpu = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}

function fresh(rules: number): () => number {
  const { gateway, feed } = fed(gatewayRules(rules))
  return () => {
    gateway.engine.conntrack.flush()
    return 1e9 / feed.path('lan', FLOWS)
  }
}

/** What one process does again and again, warm: nanoseconds for one packet, or for the whole. */
const WORK: Readonly<Record<string, () => () => number>> = {
  parse: () => {
    const { feed } = fed('')
    return () => 1e9 / feed.parse(PACKETS)
  },
  routing: () => {
    const { feed } = fed('')
    return () => 1e9 / feed.path('lan', PACKETS)
  },
  established: () => {
    const { gateway, feed } = fed(gatewayRules(20))
    establish(gateway, feed, FLOWS)
    return () => 1e9 / feed.path('lan', PACKETS)
  },
  'fresh-10': () => fresh(10),
  'fresh-10000': () => fresh(10_000),
  restore: () => {
    const { engine } = memoryGateway('')
    const stdin = kubeProxy(SERVICES, 10)
    return () => {
      const before = cpu()
      const done = runTool({ tool: 'iptables-restore', argv: [], stdin, directory: '/' }, engine)
      if (done.code !== 0) throw new Error(done.stderr)
      return cpu() - before
    }
  },
}

interface Contender {
  cost(): Promise<number>
  stop(): void
}

/** A process that does one kind of work when it is asked. */
class Worker implements Contender {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>

  constructor(name: string) {
    this.#child = spawn(process.execPath, [HERE, name], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#answers = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]()
  }

  async cost(): Promise<number> {
    this.#child.stdin!.write('\n')
    const { value, done } = await this.#answers.next()
    if (done === true) throw new Error('a worker of the benchmark ended')
    return Number(value)
  }

  stop(): void {
    this.#child.kill('SIGKILL')
  }
}

/** Nanoseconds of the forwarder for a packet. */
class Forwarder implements Contender {
  readonly #lab: Lab

  constructor(lab: Lab) {
    this.#lab = lab
  }

  async cost(): Promise<number> {
    return (await this.#lab.udp(0.35)).ns
  }

  stop(): void {
    this.#lab.stop()
  }
}

class LegacyRestore implements Contender {
  readonly #directory = mkdtempSync(join(tmpdir(), 'tunwall-bench-'))
  readonly #script: string

  constructor() {
    const file = join(this.#directory, 'rules')
    writeFileSync(file, kubeProxy(SERVICES, 10))
    this.#script = `TIMEFORMAT='%U %S'; time iptables-legacy-restore ${file}`
  }

  async cost(): Promise<number> {
    const out = execFileSync('unshare', ['-n', 'bash', '-ec', `(${this.#script}) 2>&1`], { encoding: 'utf8' })
    const [user, system] = out.trim().split(' ').map(Number)
    return (user! + system!) * 1e9
  }

  stop(): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

interface Measure {
  readonly name: string
  readonly ours: string
  readonly peer: string
}

const MEASURES: readonly Measure[] = [
  { name: 'parsing alone / routing', ours: 'routing', peer: 'parse' },
  { name: 'parsing alone / established flow', ours: 'established', peer: 'parse' },
  { name: 'new flow, 10 rules / 10,000 rules', ours: 'fresh-10000', peer: 'fresh-10' },
  { name: 'C copier / forwarding over TUN', ours: 'tunwall', peer: 'copier' },
  { name: 'iptables-legacy-restore / restore', ours: 'restore', peer: 'legacy-restore' },
]

function whyNot(name: string): string | null {
  if (name !== 'tunwall' && name !== 'copier' && name !== 'legacy-restore') return null
  return process.getuid?.() === 0 ? null : 'needs root'
}

async function contender(name: string): Promise<Contender> {
  if (name === 'legacy-restore') return new LegacyRestore()
  if (name === 'copier' || name === 'tunwall')
    return new Forwarder(await Lab.start({ kind: name, offload: false, rules: gatewayRules(20) }))
  return new Worker(name)
}

interface Result {
  readonly ratio: number
  /** Middle half of the peer's costs through their median. */
  readonly scatter: number
}

async function measure({ ours, peer }: Measure): Promise<Result> {
  const pair: Contender[] = []
  try {
    for (const name of [ours, peer]) pair.push(await contender(name))
    const [us, them] = pair as [Contender, Contender]
    const costs: { ours: number[]; peer: number[] } = { ours: [], peer: [] }
    // The first turns are the compiler's.
    for (let turn = -5; turn < TURNS; turn++) {
      const [a, b] = [await us.cost(), await them.cost()]
      if (turn < 0) continue
      costs.ours.push(a)
      costs.peer.push(b)
    }
    const sorted = costs.peer.toSorted((a, b) => a - b)
    const middle = sorted[Math.floor(TURNS * 0.75)]! - sorted[Math.floor(TURNS * 0.25)]!
    return { ratio: median(costs.peer) / median(costs.ours), scatter: middle / median(sorted) }
  } finally {
    for (const one of pair) one.stop()
  }
}

/** Measures, prints and compares. Returns the process's exit status. */
export async function short(write: boolean): Promise<number> {
  const committed = JSON.parse(readFileSync(COMMITTED, 'utf8')) as Record<string, number>
  const rows: string[][] = []
  let fallen = 0
  for (const one of MEASURES) {
    const why = whyNot(one.ours)
    const wanted = committed[one.name]
    if (why !== null || (wanted === undefined && !write)) {
      rows.push([one.name, '', '', `NOT RUN: ${why ?? 'short.json has no such ratio'}`])
      continue
    }
    const results: Result[] = []
    let verdict = ''
    for (let i = 0; i < TRIES && verdict === ''; i++) {
      const result = await measure(one)
      results.push(result)
      if (write || result.ratio >= wanted! * KEPT) verdict = 'ok'
      else if (result.scatter > STEADY) verdict = 'NOT JUDGED: the peer is not steady on this machine now'
    }
    if (verdict === '') {
      verdict = 'FALLEN'
      fallen++
    }
    const best = Math.max(...results.map((r) => r.ratio))
    if (write) committed[one.name] = Number(best.toPrecision(3))
    rows.push([one.name, ratio(best), ratio(wanted ?? best), verdict])
  }
  console.log(table(['ratio of costs', 'now', 'committed', ''], rows))
  if (write) writeFileSync(COMMITTED, `${JSON.stringify(committed, null, 2)}\n`)
  return fallen === 0 ? 0 : 1
}

if (process.argv[1] === HERE) {
  const work = WORK[process.argv[2]!]!()
  createInterface({ input: process.stdin }).on('line', () => console.log(work()))
}
