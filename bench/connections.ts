// Many connections (recipe R10): what one costs when there are 10,000, 100,000 and a million, in time and memory, and
// how long the host stops when all of them end.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { udp } from '../test/harness/frames.ts'
import { Feed, memoryGateway } from './engine.ts'
import { median, ratio, short, shuffled, table } from './stats.ts'

const SIZES = [10_000, 100_000, 1_000_000]
const ROUNDS = 3
/** Connections that are made and forgotten first: the compiler's turn. */
const WARM_UP = 5000
/** Look-ups that are timed: every connection once at least. */
const LOOKUPS = 1_000_000

const RULES = `*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan -o wan -j ACCEPT
COMMIT
`
/** One for each entry, as in the kernel where the table's size is its default. */
const SYSCTLS = 'net.netfilter.nf_conntrack_max: 1048576, net.netfilter.nf_conntrack_buckets: 1048576'

const frame = (i: number): Uint8Array =>
  udp({
    src: `10.9.1.${2 + (i % 200)}`,
    dst: '10.9.2.2',
    sport: 1024 + Math.floor(i / 200),
    dport: 53,
    payload: 32,
  })

interface Measured {
  /** New connections a second. */
  readonly fresh: number
  /** Nanoseconds of a packet of a connection that is there, drawn in no order. */
  readonly hit: number
  /** Bytes of all that grows with them, for each. */
  readonly bytes: number
  /** Longest time between two packets while all end, ms of this thread. */
  readonly pause: number
}

/** Bytes of the arrays that are in use. */
function arrays(): number {
  for (let i = 0; i < 3; i++) globalThis.gc!()
  return process.memoryUsage().arrayBuffers
}

const NOTHING = new Int32Array(new SharedArrayBuffer(4))

/**
 * Time that this thread has had a processor, ms: others, the collector's threads and the compiler's among them, do not count.
 * The kernel adds it up when the thread lets go of the processor, so it does.
 */
function threadMs(): number {
  Atomics.wait(NOTHING, 0, 0, 0.01)
  return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[0]) / 1e6
}

/** A gateway between two batches, as time goes by, until all connections are over: the longest sweep, ms. */
function endAll({ engine }: ReturnType<typeof memoryGateway>): number {
  const { host, conntrack } = engine
  let pause = 0
  for (const last = host.now + 300_000; host.now < last && conntrack.table.used > 0; host.now += 10)
    for (let more = true; more; ) {
      const from = threadMs()
      more = engine.tick()
      pause = Math.max(pause, threadMs() - from)
    }
  if (conntrack.table.used > 0) throw new Error(`${conntrack.table.used} connections did not end`)
  return pause
}

function measure(count: number): Measured {
  const gateway = memoryGateway(RULES, SYSCTLS)
  const { engine, memory } = gateway
  const feed = new Feed(
    engine,
    memory,
    Array.from(shuffled(count), (i) => frame(i)),
  )
  const before = arrays()
  engine.conntrack.table.reserve(count)
  feed.path('lan', WARM_UP)
  endAll(gateway)
  const fresh = feed.path('lan', count)
  const bytes = (arrays() - before) / count
  if (engine.conntrack.table.used !== count)
    throw new Error(`${engine.conntrack.table.used} of ${count} connections`)
  // The second packet of a connection is remembered, the third recorded: what is timed is what comes then, at any size.
  for (let i = 0; i < 2; i++) feed.path('lan', count)
  const hit = 1e9 / feed.path('lan', LOOKUPS)
  return { fresh, hit, bytes, pause: endAll(gateway) }
}

/** Bytes of the kernel's entry, without its extensions; null: nobody may read it. */
function slabObject(): number | null {
  try {
    const found = /^nf_conntrack\s+\d+\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/slabinfo', 'utf8'))
    return found === null ? null : Number(found[1])
  } catch {
    return null
  }
}

const HERE = fileURLToPath(import.meta.url)

export function connections(): string {
  const all = SIZES.map(() => [] as Measured[])
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, size] of SIZES.entries())
      all[i]!.push(
        JSON.parse(
          execFileSync(process.execPath, ['--expose-gc', HERE, String(size)], { encoding: 'utf8' }),
        ) as Measured,
      )
  const of = (i: number, key: keyof Measured): number => median(all[i]!.map((m) => m[key]))
  const slab = slabObject()
  const last = SIZES.length - 1
  return [
    `UDP connections in memory, conntrack and two filter rules; packets in no order, so that nothing is in a cache by chance; processor time; medians of ${ROUNDS} runs.`,
    '',
    table(
      [
        'connections',
        'new a second',
        'ns a packet of one that is there',
        'against 10,000',
        'bytes each',
        'longest pause while all end, ms',
      ],
      SIZES.map((size, i) => [
        short(size),
        short(of(i, 'fresh')),
        of(i, 'hit').toFixed(0),
        ratio(of(i, 'hit') / of(0, 'hit')),
        size < 1_000_000 ? '' : of(i, 'bytes').toFixed(0),
        of(i, 'pause').toFixed(2),
      ]),
    ),
    '',
    slab === null
      ? "NOT COMPARED: the kernel's slab: /proc/slabinfo cannot be read."
      : `The kernel's object has ${slab} bytes (nf_conntrack in /proc/slabinfo) beside extensions and hash table; ours, all of it: ${ratio(of(last, 'bytes') / slab)} times that.`,
  ].join('\n')
}

if (process.argv[1] === HERE) console.log(JSON.stringify(measure(Number(process.argv[2]))))
