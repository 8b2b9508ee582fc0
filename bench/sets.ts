// Sets of a million members: memory against the kernel's for the same members, and a look-up by the code that a rule
// with `-m set` becomes.

import { execFileSync, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Conntrack } from '../conntrack/conntrack.ts'
import { Nat } from '../conntrack/nat/nat.ts'
import { runIpset } from '../daemon/cli/ipset.ts'
import { SeededRandom } from '../daemon/random.ts'
import { Hook } from '../datapath/hooks.ts'
import { Host } from '../datapath/host.ts'
import { Packet } from '../datapath/packet.ts'
import { CountingEgress } from '../datapath/ports/memory.ts'
import { FrameMemory } from '../datapath/ring.ts'
import { formatIpv4 } from '../datapath/wire/address.ts'
import { IPPROTO_TCP } from '../datapath/wire/protocol.ts'
import { PatternTables } from '../rules/compile/names.ts'
import { functionOf, makeJs } from '../rules/compile/template.ts'
import { set as setMatch } from '../rules/matches/set.ts'
import { Sets } from '../rules/sets/store.ts'
import { median, ratio, table } from './stats.ts'

const MEMBERS = 1_000_000
const LOOKUPS = 1_000_000
const ROUNDS = 3
/** Addresses that are asked for, one behind the other: more than fit into a cache. */
const ASKED = 1_000_000
/** The same for sets of other sizes. */
const SIZES = [1, 1000, 100_000, 1_000_000]
const SIZED = ['hash:ip', 'hash:net, /24 alone']

interface Kind {
  readonly create: string
  readonly directions: number
  /** Text of a member made of 32 random bits and a number from 0. */
  member(bits: number, i: number): string
}

const portOf = (bits: number): number => 1 + ((bits >>> 1) & 0xfff)
const LENGTHS = [16, 20, 22, 24, 24, 24, 24, 28, 32]
const network = (bits: number, length: number): string =>
  `${formatIpv4(length === 32 ? bits : bits & ~(0xffffffff >>> length))}/${length}`

const KINDS: Readonly<Record<string, Kind>> = {
  'hash:net, seven prefix lengths': {
    create: 'hash:net',
    directions: 1,
    member: (bits, i) => network(bits, LENGTHS[i % LENGTHS.length]!),
  },
  'hash:net, /24 alone': {
    create: 'hash:net',
    directions: 1,
    member: (bits) => network(bits, 24),
  },
  'hash:net with timeout, counters': {
    create: 'hash:net timeout 100000 counters',
    directions: 1,
    member: (bits, i) => network(bits, LENGTHS[i % LENGTHS.length]!),
  },
  'hash:ip': { create: 'hash:ip', directions: 1, member: (bits) => formatIpv4(bits | 1) },
  'hash:ip,port': {
    create: 'hash:ip,port',
    directions: 2,
    member: (bits) => `${formatIpv4(bits | 1)},tcp:${portOf(bits)}`,
  },
}

/** The members as `ipset restore` reads them; their addresses are put into `hits`. */
function restoreText(kind: Kind, hits: Int32Array | null, members = MEMBERS): string {
  const random = new SeededRandom(7)
  const lines = [`create m ${kind.create} maxelem 2000000`]
  const seen = new Set<string>()
  for (let i = 0; seen.size < members; i++) {
    const bits = random.u32() | 0
    const member = kind.member(bits, i)
    if (seen.has(member)) continue
    if (hits !== null && seen.size < hits.length) hits[seen.size] = bits
    seen.add(member)
    lines.push(`add m ${member}`)
  }
  return `${lines.join('\n')}\n`
}

/** Bytes that the kernel says the set takes, and processor seconds of the real ipset. */
function kernelSet(kind: Kind, members = MEMBERS): { memory: number; load: number } {
  const script = "TIMEFORMAT='timed %U %S'; time ipset restore; ipset list -t m"
  const run = spawnSync('unshare', ['-n', 'bash', '-ec', script], {
    input: restoreText(kind, null, members),
    encoding: 'utf8',
  })
  const found = /Size in memory: (\d+)/.exec(run.stdout)
  const timed = /^timed (\S+) (\S+)$/m.exec(run.stderr)
  if (found === null || timed === null) throw new Error(`ipset: ${run.stderr}`)
  return { memory: Number(found[1]), load: Number(timed[1]) + Number(timed[2]) }
}

interface Measured {
  readonly memory: number
  readonly hitNs: number
  readonly missNs: number
  /** Processor seconds of the restore. */
  readonly load: number
  /** Bytes of heap a look-up left behind. */
  readonly heap: number
}

function measure(kind: Kind, members: number): Measured {
  const memory = new FrameMemory(4, 2048)
  const host = new Host({ memory, egress: new CountingEgress(memory), random: new SeededRandom(1) })
  const conntrack = new Conntrack(host)
  const sets = new Sets(host)
  const hits = new Int32Array(Math.min(ASKED, members))
  const input = restoreText(kind, hits, members)
  const start = process.cpuUsage()
  const restored = runIpset({ argv: ['restore'], input, directory: '/' }, sets)
  const { user, system } = process.cpuUsage(start)
  const load = (user + system) / 1e6
  if (restored.code !== 0) throw new Error(restored.stderr)
  const env = { host, conntrack, nat: new Nat(host, conntrack), sets }
  const js = makeJs(env, 4, new PatternTables(host.devices))
  const dirs = Array.from({ length: kind.directions }, () => true)
  const none = { op: 0, value: 0n }
  const use = { set: 'm', number: 0, dirs, bits: (1 << kind.directions) - 1 }
  const code = setMatch.emit({ ...use, invert: false, flags: 0, packets: none, bytes: none }, js)
  const test = functionOf(js, code) as (pkt: Packet, hook: number) => boolean
  const random = new SeededRandom(9)
  // Not in the order in which they were added.
  for (let i = hits.length - 1; i > 0; i--) {
    const j = random.u32() % (i + 1)
    ;[hits[i], hits[j]] = [hits[j]!, hits[i]!]
  }
  const misses = Int32Array.from({ length: ASKED }, () => (random.u32() >>> 4) | 0)
  const pkt = new Packet()
  pkt.reset()
  pkt.family = 4
  pkt.proto = IPPROTO_TCP
  const ask = (addresses: Int32Array, spread: number): number => {
    let found = 0
    for (let i = 0; i < LOOKUPS; i++) {
      const at = i % addresses.length
      pkt.s0 = addresses[at]! | spread
      pkt.sport = portOf(addresses[at]!)
      if (test(pkt, Hook.Forward)) found++
    }
    return found
  }
  const timed = (addresses: Int32Array): number => {
    const start = process.cpuUsage()
    ask(addresses, spreadOf(kind))
    const { user } = process.cpuUsage(start)
    return (user * 1000) / LOOKUPS
  }
  ask(hits, spreadOf(kind))
  ask(misses, spreadOf(kind))
  const before = process.memoryUsage().heapUsed
  const times = Array.from({ length: ROUNDS }, () => [timed(hits), timed(misses)] as const)
  const [hitNs, missNs] = [median(times.map(([hit]) => hit)), median(times.map(([, miss]) => miss))]
  const heap = Math.max(0, process.memoryUsage().heapUsed - before) / (2 * ROUNDS * LOOKUPS)
  const { data } = sets.lookup('m')!.set
  if (data.count() !== members) throw new Error(`${data.count()} members`)
  return { memory: data.memory(), hitNs, missNs, load, heap }
}

const spreadOf = (kind: Kind): number => (kind.create.startsWith('hash:ip') ? 1 : 0)

const HERE = fileURLToPath(import.meta.url)

interface Compared {
  readonly ours: readonly Measured[]
  readonly real: readonly { readonly memory: number; readonly load: number }[]
}

function child(name: string, members: number): Measured {
  const out = execFileSync(process.execPath, [HERE, name, String(members)], { encoding: 'utf8' })
  return JSON.parse(out) as Measured
}

/** Once where it takes seconds. */
function compare(name: string, members: number): Compared {
  const done: { ours: Measured[]; real: ReturnType<typeof kernelSet>[] } = { ours: [], real: [] }
  for (let round = 0; round < (members < MEMBERS ? ROUNDS : 1); round++) {
    done.ours.push(child(name, members))
    done.real.push(kernelSet(KINDS[name]!, members))
  }
  return done
}

const medianOf = (all: readonly Measured[], key: keyof Measured): number => median(all.map((m) => m[key]))

export function sets(): string {
  const large = new Map(Object.keys(KINDS).map((name) => [name, compare(name, MEMBERS)]))
  const rows = [...large].map(([name, { ours: all, real }]) => {
    const ours = all[0]!.memory / MEMBERS
    const kernel = real[0]!.memory / MEMBERS
    return [
      name,
      ours.toFixed(1),
      kernel.toFixed(1),
      ratio(ours / kernel),
      medianOf(all, 'hitNs').toFixed(0),
      medianOf(all, 'missNs').toFixed(0),
      medianOf(all, 'heap').toFixed(2),
    ]
  })
  return [
    `Sets of ${MEMBERS} members; look-ups by the code of \`-m set\`, of ${ASKED} addresses in no order, medians of ${ROUNDS} runs. Kernel memory is what \`ipset list -t\` says.`,
    '',
    table(
      [
        'set',
        'bytes a member',
        "kernel's",
        'ratio',
        'ns a look-up, in the set',
        'not in it',
        'heap bytes a look-up',
      ],
      rows,
    ),
    '',
    'By size, and `ipset restore` of as many members beside the real one, processor time:',
    '',
    table(
      [
        'set',
        'members',
        'ns a look-up, in the set',
        'not in it',
        'against one member',
        'restore, ms',
        "real tool and kernel's, ms",
        'ratio',
      ],
      SIZED.flatMap((name) => bySize(name, large.get(name)!)),
    ),
  ].join('\n')
}

function bySize(name: string, large: Compared): string[][] {
  const rows: string[][] = []
  let first = 0
  for (const members of SIZES) {
    const { ours, real: tools } = members === MEMBERS ? large : compare(name, members)
    const real = tools.map((tool) => tool.load)
    const hit = medianOf(ours, 'hitNs')
    first ||= hit
    const load = medianOf(ours, 'load')
    const compared = members >= 1000
    rows.push([
      name,
      String(members),
      hit.toFixed(0),
      medianOf(ours, 'missNs').toFixed(0),
      ratio(hit / first),
      compared ? (load * 1000).toFixed(0) : '',
      compared ? (median(real) * 1000).toFixed(0) : '',
      compared ? ratio(load / median(real)) : '',
    ])
  }
  return rows
}

const [, script, kindName, members] = process.argv
if (script === HERE) console.log(JSON.stringify(measure(KINDS[kindName!]!, Number(members))))
