// Chains that are looked up against the same chains as straight code: verdict, mark and every counter, over random rules,
// packets and edits. TUNWALL_SEED and TUNWALL_RUNS for longer ones.

import { expect, test } from 'vitest'
import { Conntrack } from '../../../conntrack/conntrack.ts'
import { Nat } from '../../../conntrack/nat/nat.ts'
import { Hook } from '../../../datapath/hooks.ts'
import { type Family, Packet } from '../../../datapath/packet.ts'
import { matches } from '../../../rules/matches/index.ts'
import type { Rule } from '../../../rules/model.ts'
import { Ruleset } from '../../../rules/ruleset.ts'
import { Sets } from '../../../rules/sets/store.ts'
import { Tables } from '../../../rules/tables.ts'
import { targets } from '../../../rules/targets/index.ts'
import { Registry } from '../../../rules/text/registry.ts'
import { loadRules } from '../../../rules/text/restore.ts'
import { SeededRandom } from '../../harness/frames.ts'
import { testHost } from '../../harness/host.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const SEED = SEED_OF_RUN
const RUNS = Number(process.env.TUNWALL_RUNS ?? 40)

class Draw {
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

function rule(d: Draw, chains: readonly string[]): string {
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

function ruleset(d: Draw): string {
  const users = ['u0', 'u1', 'u2', 'u3'].slice(0, d.below(5))
  const length = () => d.pick([0, 3, 9, 20, 40, 120, 300])
  const lines = ['*mangle', ...users.map((name) => `:${name} - [0:0]`)]
  for (let i = 0; i < length() + 20; i++) lines.push(`-A FORWARD ${rule(d, users)}`)
  for (const [i, name] of users.entries())
    for (let n = length(); n > 0; n--) lines.push(`-A ${name} ${rule(d, users.slice(i + 1))}`)
  return `${lines.join('\n')}\nCOMMIT\n`
}

function build(family: Family, indexFrom: number) {
  const { host } = testHost([
    ['tun0', 1500, family === 4 ? ['10.0.0.1/24'] : ['2001:db8::1/64']],
    ['tun1', 1500, family === 4 ? ['10.1.0.1/24'] : ['2001:db8:0:1::1/64']],
  ])
  host.now = 3_600_000
  const conntrack = new Conntrack(host)
  const sets = new Sets(host)
  const tables = new Tables({ host, conntrack, nat: new Nat(host, conntrack), sets, indexFrom })
  const load = (text: string) =>
    loadRules(text, {
      family,
      registry: new Registry(matches, targets, sets),
      rulesets: new Ruleset(tables),
      file: 'rules',
    })
  return { host, tables, load }
}

const PROTOCOLS = [6, 6, 6, 17, 17, 132, 33, 136, 1, 47, 58, 44, 0]
const WITH_PORTS = [6, 17, 132, 33, 136]

function packet(d: Draw): () => Packet {
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

const counters = ({ tables }: ReturnType<typeof build>, family: Family) =>
  [...tables.table(family, 'mangle').chains.values()].map((chain) => [chain.model.name, ...chain.counters])

/** Takes rules out, puts others or copies in, as commands do. */
function edited(d: Draw, rules: readonly Rule[], fresh: readonly Rule[]): Rule[] {
  const out = [...rules]
  for (let n = 1 + d.below(3); n > 0; n--) {
    const at = d.pick([0, out.length, d.below(out.length + 1)])
    if (d.chance(40)) out.splice(at, 1 + d.below(3))
    else if (d.chance(10)) out.reverse()
    else out.splice(at, d.chance(30) ? 1 : 0, { ...d.pick(fresh) })
  }
  return out
}

test.each([4, 6] as const)(`IPv%d: seeds from ${SEED}`, (family) => {
  for (let run = 0; run < RUNS; run++) {
    const d = new Draw(SEED + run, family)
    const text = ruleset(d)
    const [indexed, linear] = [build(family, 1), build(family, Number.POSITIVE_INFINITY)]
    linear.load(text)
    // The same rules, not equal ones: edits are told by identity.
    const models = [...linear.tables.table(family, 'mangle').chains.values()].map(
      (c) => [c.model.name, c.model] as const,
    )
    indexed.tables.commit([{ family, table: 'mangle', chains: new Map(models) }])
    const hook = family === 4 ? 'run4' : 'run6'
    for (let round = 0; round < 4; round++) {
      for (let n = 0; n < 60; n++) {
        if (d.chance(8)) indexed.tables.warm(d.below(40))
        const make = packet(d)
        const [ours, theirs] = [make(), make()]
        const said = [
          indexed.host.hooks[hook][Hook.Forward]!(ours),
          linear.host.hooks[hook][Hook.Forward]!(theirs),
        ]
        expect([SEED + run, said[0], ours.mark, ours.hotdrop]).toEqual([
          SEED + run,
          said[1],
          theirs.mark,
          theirs.hotdrop,
        ])
        for (const { host } of [indexed, linear]) host.now += 100
      }
      expect([SEED + run, counters(indexed, family)]).toEqual([SEED + run, counters(linear, family)])
      const chains = [...linear.tables.table(family, 'mangle').chains.values()]
      const chain = d.pick(chains)
      // Rules of built-in chains may lead anywhere, and to no loop; others keep to their own.
      const fresh = chain.model.policy === null ? chain.model.rules : chains.flatMap((c) => c.model.rules)
      if (fresh.length === 0) continue
      const rules = edited(d, chain.model.rules, fresh)
      for (const { tables } of [indexed, linear])
        tables.commit([
          { family, table: 'mangle', chains: new Map([[chain.model.name, { ...chain.model, rules }]]) },
        ])
    }
  }
})
