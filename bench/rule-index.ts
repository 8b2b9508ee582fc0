// Walks of one table in memory: chains that are looked up against the same chains as straight code.

import { Conntrack } from '../conntrack/conntrack.ts'
import { Nat } from '../conntrack/nat/nat.ts'
import { SeededRandom } from '../daemon/random.ts'
import { Hook } from '../datapath/hooks.ts'
import { Packet } from '../datapath/packet.ts'
import { call } from '../rules/compile/rule.ts'
import { matches } from '../rules/matches/index.ts'
import { Ruleset } from '../rules/ruleset.ts'
import { Sets } from '../rules/sets/store.ts'
import { Tables } from '../rules/tables.ts'
import { targets } from '../rules/targets/index.ts'
import { Registry } from '../rules/text/registry.ts'
import { loadRules } from '../rules/text/restore.ts'
import { testHost } from '../test/harness/host.ts'
import { median, table } from './stats.ts'

/** What a packet of rule `i` looks like. */
interface Flow {
  readonly source: number
  readonly destination: number
  readonly protocol: number
  readonly sport: number
  readonly dport: number
}

interface Kind {
  readonly name: string
  /** Text of the filter table with about `n` rules, and a packet for the rule of each number. */
  make(n: number, random: SeededRandom): { text: string; flow(i: number): Flow }
}

const dotted = (w: number): string => [24, 16, 8, 0].map((s) => (w >>> s) & 255).join('.')
const save = (chains: readonly string[], rules: readonly string[]): string =>
  ['*filter', ...chains.map((c) => `:${c} - [0:0]`), ...rules, 'COMMIT', ''].join('\n')

const KINDS: readonly Kind[] = [
  {
    name: 'blocklist: one source each',
    make(n) {
      const address = (i: number): number => (0x0b000000 + Math.imul(i, 7919)) | 0
      return {
        text: save(
          [],
          Array.from({ length: n }, (_, i) => `-A FORWARD -s ${dotted(address(i))}/32 -j DROP`),
        ),
        flow: (i) => ({ source: address(i), destination: 1, protocol: 6, sport: 1024, dport: 80 }),
      }
    },
  },
  {
    name: 'networks: blocklist of prefixes',
    make(n, random) {
      const nets = Array.from({ length: n }, () => {
        const length = [24, 24, 24, 22, 20, 23, 16, 28, 32][random.u32() % 9]!
        return [(random.u32() & (-1 << (32 - length))) | 0, length] as const
      })
      return {
        text: save(
          [],
          nets.map(([w, l]) => `-A FORWARD -s ${dotted(w)}/${l} -j DROP`),
        ),
        flow: (i) => ({ source: nets[i]![0] | 1, destination: 1, protocol: 6, sport: 1024, dport: 80 }),
      }
    },
  },
  {
    name: 'kube-proxy: services by address and port',
    make(n) {
      const rules: string[] = []
      const chains = ['KUBE-SERVICES']
      const address = (i: number): number => (0x0a600000 + i) | 0
      rules.push('-A FORWARD -m comment --comment "kubernetes service portals" -j KUBE-SERVICES')
      for (let i = 0; i < n; i++) {
        chains.push(`KUBE-SVC-${i}`)
        rules.push(
          `-A KUBE-SERVICES -d ${dotted(address(i))}/32 -p tcp -m comment --comment "ns/svc-${i}:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-${i}`,
        )
      }
      return {
        text: save(chains, rules),
        flow: (i) => ({
          source: 1,
          destination: address(i),
          protocol: 6,
          sport: 1024 + (i % 60000),
          dport: 80,
        }),
      }
    },
  },
  {
    name: 'enterprise: networks, protocols, services',
    make(n, random) {
      const ports = [22, 25, 53, 80, 123, 443, 389, 636, 1433, 1521, 3306, 3389, 5432, 8080, 8443]
      const pick = <T>(list: readonly T[]): T => list[random.u32() % list.length]!
      const flows: Flow[] = []
      const rules = ['-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT']
      for (let i = 0; i < n; i++) {
        const from = 0x0a000000 | (random.u32() & 0xffffff) | 0
        const to = 0x0a000000 | (random.u32() & 0xffffff) | 0
        const [sl, dl] = [pick([0, 16, 24, 24, 32, 27]), pick([24, 32, 32, 32, 28, 16])]
        const protocol = pick(['tcp', 'tcp', 'tcp', 'udp'])
        const service =
          random.u32() % 5 === 0
            ? `-m multiport --dports ${pick(ports)},${pick(ports)},9000:9003`
            : random.u32() % 6 === 0
              ? `-m ${protocol} --dport 1024:65535`
              : `-m ${protocol} --dport ${pick(ports)}`
        const mask = (w: number, l: number) => (l === 0 ? 0 : w & (-1 << (32 - l)))
        rules.push(
          `-A FORWARD ${sl ? `-s ${dotted(mask(from, sl))}/${sl} ` : ''}-d ${dotted(mask(to, dl))}/${dl} -p ${protocol} ${service} -j ${pick(['ACCEPT', 'ACCEPT', 'DROP'])}`,
        )
        flows.push({
          source: from,
          destination: to,
          protocol: protocol === 'tcp' ? 6 : 17,
          sport: 1024,
          dport: pick(ports),
        })
      }
      return { text: save([], rules), flow: (i) => flows[i]! }
    },
  },
  {
    name: 'random 5-tuples',
    make(n, random) {
      const flows: Flow[] = []
      const rules: string[] = []
      for (let i = 0; i < n; i++) {
        const [source, destination] = [random.u32() | 0, random.u32() | 0]
        const [sport, dport] = [random.u32() & 0xffff, random.u32() & 0xffff]
        const [sl, dl] = [16 + (random.u32() % 17), 16 + (random.u32() % 17)]
        const mask = (w: number, l: number) => w & (-1 << (32 - l))
        const tcp = random.u32() % 2 === 0
        const ports = `${random.u32() % 3 === 0 ? `--sport ${sport} ` : ''}${random.u32() % 4 === 0 ? `--dport ${dport & 0xff00}:${dport | 0xff}` : `--dport ${dport}`}`
        rules.push(
          `-A FORWARD -s ${dotted(mask(source, sl))}/${sl} -d ${dotted(mask(destination, dl))}/${dl} -p ${tcp ? 'tcp -m tcp' : 'udp -m udp'} ${ports} -j DROP`,
        )
        flows.push({ source, destination, protocol: tcp ? 6 : 17, sport, dport })
      }
      return { text: save([], rules), flow: (i) => flows[i]! }
    },
  },
]

function walker(text: string, indexFrom: number | undefined): (pkt: Packet) => number {
  const { host } = testHost([
    ['tun0', 1500, ['10.0.0.1/24']],
    ['tun1', 1500, ['10.1.0.1/24']],
  ])
  const conntrack = new Conntrack(host)
  const sets = new Sets(host)
  const tables = new Tables({
    host,
    conntrack,
    nat: new Nat(host, conntrack),
    sets,
    ...(indexFrom !== undefined && { indexFrom }),
  })
  const rulesets = new Ruleset(tables)
  loadRules(text, { family: 4, registry: new Registry(matches, targets, sets), rulesets, file: 'rules' })
  const chain = tables.table(4, 'filter').chain('FORWARD')
  return (pkt) => call(chain, pkt, Hook.Forward)
}

/** Nanoseconds a walk; packets of random rules, in `share` of 100 cases, others fit none. */
function time(run: (pkt: Packet) => number, flow: (i: number) => Flow, n: number, share: number): number {
  const random = new SeededRandom(7)
  const packets = Array.from({ length: 4096 }, () => {
    const f = flow(random.u32() % n)
    const pkt = new Packet()
    const fits = random.u32() % 100 < share
    Object.assign(pkt, { l4: 20, end: 60, proto: f.protocol, sport: f.sport, dport: f.dport, iif: 1, oif: 2 })
    pkt.s0 = fits ? f.source : f.source ^ 0x40000000
    pkt.d0 = fits ? f.destination : f.destination ^ 0x40000000
    return pkt
  })
  const rounds: number[] = []
  for (let round = 0; round < 9; round++) {
    const start = process.hrtime.bigint()
    let walks = 0
    while (Number(process.hrtime.bigint() - start) < 60e6) {
      for (const pkt of packets) run(pkt)
      walks += packets.length
    }
    rounds.push(Number(process.hrtime.bigint() - start) / walks)
  }
  return median(rounds.slice(3))
}

/** One table: rulesets by sizes. */
export function ruleIndex(): string {
  const rows: string[][] = []
  for (const kind of KINDS)
    for (const n of [10, 100, 1000, 10_000, 100_000]) {
      const { text, flow } = kind.make(n, new SeededRandom(n))
      const indexed = walker(text, undefined)
      const start = performance.now()
      indexed(Object.assign(new Packet(), { l4: 20, end: 60, proto: 6, sport: 1, dport: 1 }))
      const built = performance.now() - start
      const straight = n <= 1000 ? walker(text, Number.POSITIVE_INFINITY) : null
      const ns = (x: number): string => x.toFixed(0)
      rows.push([
        kind.name,
        String(n),
        ns(time(indexed, flow, n, 90)),
        ns(time(indexed, flow, n, 0)),
        straight === null ? '' : ns(time(straight, flow, n, 90)),
        straight === null ? '' : ns(time(straight, flow, n, 0)),
        built.toFixed(0),
      ])
      console.log(rows.at(-1)!.join(' | '))
    }
  return table(
    [
      'rules',
      'how many',
      'ns a walk, 90 % fit',
      'none fits',
      'straight, 90 % fit',
      'none fits',
      'ms to build',
    ],
    rows,
  )
}
