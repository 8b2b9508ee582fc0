// Random chains in the mangle table, packets that meet them, and hosts to put them in.

import { Conntrack } from '../../conntrack/conntrack.ts'
import { Nat } from '../../conntrack/nat/nat.ts'
import { Hook } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import { type Family, Packet } from '../../datapath/packet.ts'
import type { LoadedChain } from '../../rules/chain.ts'
import { matches } from '../../rules/matches/index.ts'
import { Ruleset } from '../../rules/ruleset.ts'
import { Sets } from '../../rules/sets/store.ts'
import { Tables } from '../../rules/tables.ts'
import { targets } from '../../rules/targets/index.ts'
import { Registry } from '../../rules/text/registry.ts'
import { Restore } from '../../rules/text/restore.ts'
import { SeededRandom } from './frames.ts'
import { testHost } from './host.ts'

/** What is drawn: few values, so that rules and packets meet. */
export class Draw {
  readonly random: SeededRandom
  readonly family: Family
  /** How often rules of this run ask for what, in percent. */
  readonly often: Readonly<Record<'source' | 'destination' | 'in' | 'out' | 'mark' | 'protocol', number>>
  constructor(seed: number, family: Family) {
    this.random = new SeededRandom(seed)
    this.family = family
    const often = () => this.pick([0, 10, 40, 95])
    this.often = {
      source: often(),
      destination: often(),
      in: often(),
      out: often(),
      mark: often(),
      protocol: often(),
    }
  }
  below(n: number): number {
    return this.random.u32() % n
  }
  chance(percent: number): boolean {
    return this.below(100) < percent
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
  /** Few of them, near each other, in 256 networks of few. */
  words(): [number, number, number, number] {
    const host = this.pick([0, 1, 2, 3, 127, 128, 255])
    const net = this.pick([0, 1, 2, 3, 64, 255])
    if (this.family === 4) return [(10 << 24) | (this.pick([0, 1, 9]) << 16) | (net << 8) | host, 0, 0, 0]
    return [0x20010db8, this.pick([0, 0, 1]), this.pick([0, -1]), (net << 8) | host]
  }
  address(): string {
    const w = this.words()
    if (this.family === 4) return [24, 16, 8, 0].map((s) => (w[0] >>> s) & 255).join('.')
    return w.flatMap((x) => [(x >>> 16).toString(16), (x & 0xffff).toString(16)]).join(':')
  }
  prefix(): string {
    const lengths =
      this.family === 4
        ? [32, 32, 32, 24, 24, 31, 30, 25, 16, 12, 8, 1, 0]
        : [128, 128, 64, 120, 127, 48, 65, 33, 32, 0]
    if (this.family === 4 && this.chance(3)) return `${this.address()}/255.0.255.255`
    return `${this.address()}/${this.pick(lengths)}`
  }
  port(): number {
    return this.pick([0, 22, 53, 80, 443, 1000, 1001, 1023, 1024, 8080, 65535])
  }
  ports(): string {
    if (this.chance(70)) return String(this.port())
    const [a, b] = [this.port(), this.port()]
    return a === b ? String(a) : `${Math.min(a, b)}:${Math.max(a, b)}`
  }
}

/** Without its chain. */
export function rule(d: Draw, chains: readonly string[]): string {
  const not = (percent: number) => (d.chance(percent) ? '! ' : '')
  const parts: string[] = []
  if (d.chance(d.often.source)) parts.push(`${not(8)}-s ${d.prefix()}`)
  if (d.chance(d.often.destination)) parts.push(`${not(8)}-d ${d.prefix()}`)
  if (d.chance(d.often.in)) parts.push(`${not(20)}-i ${d.pick(['tun0', 'tun1', 'tun+', 'wan'])}`)
  if (d.chance(d.often.out)) parts.push(`${not(20)}-o ${d.pick(['tun0', 'tun1', 't+'])}`)
  if (d.family === 4 && d.chance(3)) parts.push(`${not(50)}-f`)
  if (d.chance(5)) parts.push('-m statistic --mode nth --every 3 --packet 0')
  if (d.chance(d.often.mark))
    parts.push(`-m mark ${not(15)}--mark ${d.below(6)}${d.chance(30) ? '/0x3' : ''}`)
  if (d.chance(10)) parts.push('-m comment --comment "what it is for"')
  if (d.chance(8))
    parts.push(`-m iprange ${not(10)}--${d.pick(['src', 'dst'])}-range ${d.address()}-${d.address()}`)
  if (d.chance(d.often.protocol)) {
    const protocol = d.pick(['tcp', 'tcp', 'udp', 'sctp', 'dccp', 'udplite', 'icmp', '47'])
    const inverted = not(5)
    parts.push(`${inverted}-p ${protocol === 'icmp' && d.family === 6 ? 'ipv6-icmp' : protocol}`)
    if (inverted === '' && ['tcp', 'udp', 'sctp', 'dccp'].includes(protocol) && d.chance(80)) {
      parts.push(`-m ${protocol}`)
      if (d.chance(30)) parts.push(`${not(10)}--sport ${d.ports()}`)
      if (d.chance(80)) parts.push(`${not(10)}--dport ${d.ports()}`)
    }
    if (inverted === '' && protocol !== 'icmp' && protocol !== '47' && d.chance(20)) {
      const list = Array.from({ length: 1 + d.below(4) }, () => d.ports()).join(',')
      parts.push(`-m multiport ${not(10)}--${d.pick(['sports', 'dports', 'ports'])} ${list}`)
    }
  }
  if (d.chance(4)) parts.push('-m limit --limit 1/s --limit-burst 2')
  const target = d.below(100)
  if (target < 8) parts.push(`-j ${d.pick(['ACCEPT', 'DROP', 'RETURN', 'RETURN'])}`)
  else if (target < 20) parts.push(`-j MARK --set-xmark ${d.below(6)}/0xffffffff`)
  else if (target < 45 && chains.length > 0) parts.push(`-${d.pick(['j', 'j', 'j', 'g'])} ${d.pick(chains)}`)
  return parts.join(' ')
}

/** A mangle table with rules in FORWARD and up to four chains more. */
export function ruleset(d: Draw): string {
  const users = ['u0', 'u1', 'u2', 'u3'].slice(0, d.below(5))
  const length = () => d.pick([0, 3, 9, 20, 40, 120, 300])
  const lines = ['*mangle', ...users.map((name) => `:${name} - [0:0]`)]
  for (let i = 0; i < length() + 20; i++) lines.push(`-A FORWARD ${rule(d, users)}`)
  for (const [i, name] of users.entries())
    for (let n = length(); n > 0; n--) lines.push(`-A ${name} ${rule(d, users.slice(i + 1))}`)
  return `${lines.join('\n')}\nCOMMIT\n`
}

/** A host with two interfaces, its tables and sets. `indexFrom`: rules from which on chains are looked up. */
export class TableHost {
  readonly host: Host
  readonly tables: Tables
  readonly sets: Sets
  readonly #family: Family
  readonly #rulesets: Ruleset

  constructor(family: Family, indexFrom: number) {
    this.#family = family
    const { host } = testHost([
      ['tun0', 1500, family === 4 ? ['10.0.0.1/24'] : ['2001:db8::1/64']],
      ['tun1', 1500, family === 4 ? ['10.1.0.1/24'] : ['2001:db8:0:1::1/64']],
    ])
    host.now = 3_600_000
    const conntrack = new Conntrack(host)
    this.sets = new Sets(host)
    this.tables = new Tables({ host, conntrack, nat: new Nat(host, conntrack), sets: this.sets, indexFrom })
    this.#rulesets = new Ruleset(this.tables)
    this.host = host
  }

  /** iptables-restore; `noFlush`: with -n. */
  load(text: string, noFlush = false): void {
    new Restore({
      family: this.#family,
      registry: new Registry(matches, targets, this.sets),
      rulesets: this.#rulesets,
      program: 'iptables-restore',
      sink: { out: () => {}, err: () => {} },
      file: 'rules',
      counters: false,
      noFlush,
    }).run(text)
  }

  chain(name: string): LoadedChain {
    return this.tables.table(this.#family, 'mangle').chain(name)
  }

  /** The verdict of FORWARD. */
  forward(pkt: Packet): number {
    return this.host.hooks[this.#family === 4 ? 'run4' : 'run6'][Hook.Forward]!(pkt)
  }

  /** Of all rules, by chain. */
  counters(): (string | number)[][] {
    return [...this.tables.table(this.#family, 'mangle').chains.values()]
      .map((chain) => [chain.model.name, ...chain.counters])
      .sort()
  }
}

const PROTOCOLS = [6, 6, 6, 17, 17, 132, 33, 136, 1, 47, 58, 44, 0]
const WITH_PORTS = [6, 17, 132, 33, 136]

/** Makes equal packets, which no frame stands behind. */
export function packet(d: Draw): () => Packet {
  const [s0, s1, s2, s3] = d.words()
  const [d0, d1, d2, d3] = d.words()
  const proto = d.pick(PROTOCOLS)
  const fragOffset = d.chance(6) ? d.pick([8, 16, 1480]) : 0
  const l4 = d.family === 4 ? 20 : 40
  const end = l4 + (d.chance(10) ? d.below(24) : 24 + d.below(1000))
  const hasPorts = WITH_PORTS.includes(proto) && fragOffset === 0 && end >= l4 + 4
  const [sport, dport] = hasPorts ? [d.port(), d.port()] : [-1, -1]
  const fields = {
    family: d.family,
    s0,
    s1,
    s2,
    s3,
    d0,
    d1,
    d2,
    d3,
    proto,
    fragOffset,
    l4,
    end,
    sport,
    dport,
  }
  const more = { mark: d.below(6), iif: d.below(4), oif: d.below(4) }
  return () => Object.assign(new Packet(), fields, more)
}
