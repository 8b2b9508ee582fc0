// A million damaged frames through hosts whose rules are every match and target there is: one rule drawn from each
// table of test/extensions/tables, in worlds drawn from a seed. Nothing throws; in the end every slot of frame memory
// is free, no connection is held by anybody, and flushing leaves none.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { MASTER, STRIDE, USES } from '../../conntrack/table.ts'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { PlaceError } from '../../daemon/errors.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { SeededRandom as EngineRandom } from '../../daemon/random.ts'
import { Packet, PacketType } from '../../datapath/packet.ts'
import { CountingEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { writeFolder } from '../harness/capture.ts'
import {
  damage,
  fragment,
  gre,
  icmp,
  icmpError,
  ip4,
  SeededRandom,
  sctp,
  tcp,
  udp,
  udplite,
} from '../harness/frames.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-frames-'))
afterAll(() => rmSync(root, { recursive: true }))

const SEED = Number(process.env.TUNWALL_SEED ?? 20)
const WORLDS = 20
const FRAMES = 50_000
const SLOTS = 64

const HOST_YAML = `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24], mtu: 600}
routes: [default via 203.0.113.254, unreachable 10.9.0.0/16, prohibit 10.8.0.0/16]
sysctls:
  net.ipv4.ip_forward: 1
  net.ipv4.icmp_ratelimit: 0
  net.ipv4.icmp_msgs_per_sec: 1000000
  net.netfilter.nf_conntrack_max: 2000
  net.netfilter.nf_conntrack_acct: 1
`

interface Recorded {
  readonly table: string
  readonly text: string
}

/** The rules that the kernel took, as iptables-save printed them, by extension. */
function recorded(): Map<string, Recorded[]> {
  const folder = join(import.meta.dirname, '../extensions/tables')
  const all = new Map<string, Recorded[]>()
  for (const file of readdirSync(folder)) {
    const rules: Recorded[] = []
    let table = ''
    for (const line of readFileSync(join(folder, file), 'utf8').split('\n')) {
      if (line.startsWith('> ')) table = line.split(' ')[1]!
      else if (line.startsWith('S ')) rules.push({ table, text: line.slice(2) })
    }
    if (rules.length > 0) all.set(file, rules)
  }
  return all
}

/** What makes connections, translates them and says so, before and behind the drawn rules. */
const FIRST: Readonly<Record<string, readonly string[]>> = {
  raw: ['-A PREROUTING -p udp -m udp --dport 5353 -j NOTRACK'],
  nat: [
    '-A PREROUTING -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.1.2-10.0.1.9:80',
    '-A POSTROUTING -o wan -j MASQUERADE',
  ],
  filter: [
    '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -m statistic --mode nth --every 2 --packet 0 -j ACCEPT',
  ],
}

const CHAINS: Readonly<Record<string, readonly string[]>> = {
  raw: ['PREROUTING', 'OUTPUT'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  security: ['INPUT', 'FORWARD', 'OUTPUT'],
}

/** One rule of each extension, each asked of one packet in ten so that those behind it have their turn. */
function rulesOf(all: Map<string, Recorded[]>, random: SeededRandom): string[] {
  const tables = new Map<string, string[]>(
    Object.keys(CHAINS).map((name) => [name, [...(FIRST[name] ?? [])]]),
  )
  for (const rules of all.values()) {
    const { table, text } = random.pick(rules)
    const [, chain, rest] = /^-A (\S+) ?(.*)$/.exec(text)!
    tables.get(table)!.push(`-A ${chain} -m statistic --mode random --probability 0.1 ${rest}`)
  }
  const lines: string[] = []
  for (const [name, rules] of tables) {
    const user = new Set(rules.map((rule) => rule.split(' ')[1]!).filter((c) => !CHAINS[name]!.includes(c)))
    lines.push(`*${name}`, ...CHAINS[name]!.map((chain) => `:${chain} ACCEPT [0:0]`))
    lines.push(...[...user].map((chain) => `:${chain} - [0:0]`), ...rules, 'COMMIT')
  }
  return lines
}

/** A gateway with drawn rules. Some that iptables-save prints cannot be read again; they are left out. */
function worldOf(lines: string[], seed: number, memory: FrameMemory, egress: CountingEgress): Engine {
  for (let refused = 0; refused < 12; refused++)
    try {
      const text = `${lines.join('\n')}\n`
      const config = loadHostFolder(
        writeFolder(join(root, String(seed)), { 'host.yaml': HOST_YAML, 'iptables-save': text }),
      )
      return createEngine(config, { memory, egress, random: new EngineRandom(seed) })
    } catch (error) {
      if (!(error instanceof PlaceError)) throw error
      lines.splice(error.place.line - 1, 1)
    }
  throw new Error('more than a dozen rules cannot be read')
}

const ADDRESSES = [
  '10.0.1.2',
  '10.0.1.3',
  '10.0.1.1',
  '203.0.113.1',
  '198.51.100.7',
  '10.9.1.1',
  '10.0.1.255',
  '127.0.0.1',
  '224.0.0.1',
  '255.255.255.255',
]
const PORTS = [21, 22, 53, 80, 81, 1000, 5353, 8080, 65535]
/** Protocols that some match or the stack knows, and some that nobody does. */
const PROTOCOLS = [0, 1, 2, 6, 17, 33, 41, 47, 50, 51, 58, 89, 103, 108, 132, 136, 255]

function frameOf(random: SeededRandom): Uint8Array {
  const ip = {
    src: random.pick(ADDRESSES),
    dst: random.pick(ADDRESSES),
    ttl: random.pick([64, 64, 64, 1, 2, 255]),
    tos: random.pick([0, 0x03, 0x10, 0xb8]),
    id: random.below(50),
    df: random.once(3),
    ...(random.once(10) ? { options: random.bytes(4 * random.below(11)) } : {}),
  }
  const ports = { sport: random.pick(PORTS), dport: random.pick(PORTS) }
  const payload = random.once(6) ? 1000 : random.below(100)
  switch (random.below(12)) {
    case 0:
    case 1:
      return udp({ ...ip, ...ports, payload })
    case 2:
    case 3:
    case 4:
      return tcp({
        ...ip,
        ...ports,
        flags: random.pick(['S', 'S', 'SA', 'A', 'FA', 'R', 'PA', 'FSRPA', '']),
        seq: random.u32(),
        ack: random.u32(),
        options: random.once(2) ? random.bytes(4 * random.below(11)) : new Uint8Array(0),
        payload: random.once(2) ? 0 : payload,
      })
    case 5:
      return icmp({ ...ip, type: random.pick([0, 8, 13, 17, 5, 3]), code: random.below(3), payload })
    case 6:
    case 7:
      return icmpError(
        random.pick([3, 11, 12, 5]),
        random.below(5),
        frameOf(random).subarray(0, 20 + random.below(120)),
        ip,
      )
    case 8:
      return random.once(2) ? sctp({ ...ip, ...ports }) : udplite({ ...ip, ...ports, payload })
    case 9:
      return gre({ ...ip })
    case 10:
      return ip4({ ...ip, proto: random.pick(PROTOCOLS), payload: random.bytes(random.below(60)) })
    default: {
      // IPv6 by its first nibble, with chains of extension headers.
      const frame = random.bytes(40 + random.below(120))
      frame[0] = 0x60 | (frame[0]! & 0xf)
      new DataView(frame.buffer).setUint16(4, frame.length - 40)
      for (let at = 40, next = 6; at < frame.length; at += 8, next = at - 8) {
        frame[next] = random.pick([0, 43, 44, 51, 60, 6, 17, 58, 59])
        if (at + 1 < frame.length) frame[at + 1] = random.below(2)
      }
      return frame
    }
  }
}

function poolOf(random: SeededRandom): Uint8Array[] {
  const pool = Array.from({ length: 1500 }, () => frameOf(random))
  for (let n = 0; n < 100; n++) {
    const whole = udp({
      src: random.pick(ADDRESSES),
      dst: random.pick(ADDRESSES),
      sport: 1,
      dport: random.pick(PORTS),
      id: random.below(10),
      payload: 500 + random.below(3000),
    })
    pool.push(...fragment(whole, 8 * (20 + random.below(100))))
  }
  return pool
}

/** Frames through one world; throws where a slot is lost. */
function flood(engine: Engine, memory: FrameMemory, random: SeededRandom): void {
  const { host } = engine
  const devices = [host.devices.byName('lan')!, host.devices.byName('wan')!]
  const pool = poolOf(random)
  const pkt = new Packet()
  for (let i = 0; i < FRAMES; i++) {
    const good = random.pick(pool)
    const frame = random.once(8)
      ? random.bytes(random.below(64))
      : random.once(4)
        ? good
        : damage(good, random)
    const slot = memory.take()
    memory.bytes.set(frame, slot + HEADROOM)
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + frame.length
    if (random.once(30)) pkt.pktType = random.pick([PacketType.Broadcast, PacketType.Multicast])
    host.path.receive(pkt, random.pick(devices))
    host.now += random.below(20)
    host.wall += 10
    if (i % 500 === 0) engine.tick()
    if (memory.free !== SLOTS) throw new Error(`frame ${i} lost a slot: ${memory.free} of ${SLOTS} are free`)
  }
}

/** Nobody holds a connection between packets but its expected ones, and none is unconfirmed. */
function expectReleased({ conntrack }: Engine): void {
  const { table } = conntrack
  expect(table.used).toBe(table.confirmed)
  const held = new Map<number, number>()
  table.forEach((entry) => {
    const master = table.words[entry * STRIDE + MASTER]! - 1
    if (master >= 0) held.set(master, (held.get(master) ?? 0) + 1)
  })
  table.forEach((entry) => {
    expect(table.words[entry * STRIDE + USES], `uses of entry ${entry}`).toBe(held.get(entry) ?? 0)
  })
}

const all = recorded()
let connections = 0
let left = 0

test.each(Array.from({ length: WORLDS }, (_, i) => SEED * 1000 + i))(
  'world %i: 50,000 damaged frames',
  (seed) => {
    const random = new SeededRandom(seed)
    const memory = new FrameMemory(SLOTS, 65535)
    const egress = new CountingEgress(memory)
    const engine = worldOf(rulesOf(all, random), seed, memory, egress)
    const { host, conntrack } = engine
    host.events.log = () => {}
    host.events.trace = () => {}
    flood(engine, memory, random)
    expectReleased(engine)
    connections += conntrack.table.used
    left += egress.packets
    // What waits for its other fragments, and what is tracked, goes when its time is over.
    host.now += 600_000
    while (engine.tick());
    conntrack.flush()
    expect(conntrack.table.used).toBe(0)
    expect(memory.free).toBe(SLOTS)
  },
)

test('the frames got somewhere', () => {
  expect(left).toBeGreaterThan(WORLDS * 1000)
  expect(connections).toBeGreaterThan(WORLDS * 10)
})
