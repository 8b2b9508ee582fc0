// Packets that come while rules are put in force meet all of those before, or all of those after: verdict, mark and every
// counter, over random rules and packets, at every step of iptables-restore with and without -n. TUNWALL_SEED and
// TUNWALL_RUNS for longer ones.

import { expect, test, vi } from 'vitest'
import { Verdict } from '../../../datapath/hooks.ts'
import type { Family } from '../../../datapath/packet.ts'
import { statistic } from '../../../rules/matches/statistic.ts'
import { setTypes } from '../../../rules/sets/index.ts'
import { sharedOf } from '../../../rules/shared.ts'
import { Draw, packet, rule, ruleset, TableHost } from '../../harness/random-chains.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const RUNS = Number(process.env.TUNWALL_RUNS ?? 10)
/** Chains of more rules have their code made ahead where packets come. */
const LONG = 600

/** What `iptables-restore -n` may be told: chains anew, rules at both ends and in the middle, others taken out. */
function changes(d: Draw, host: TableHost): string {
  const lines = ['*mangle']
  const users = ['u0', 'u1', 'u2', 'u3'].filter(() => d.chance(40))
  for (const name of users) lines.push(`:${name} - [0:0]`)
  for (const [i, name] of users.entries())
    for (let n = d.below(40); n > 0; n--) lines.push(`-A ${name} ${rule(d, users.slice(i + 1))}`)
  let { length } = host.chain('FORWARD').model.rules
  if (d.chance(20)) {
    lines.push('-F FORWARD')
    length = 0
  }
  for (let n = 1 + d.below(8); n > 0; n--) {
    if (length > 0 && d.chance(30)) lines.push(`-D FORWARD ${1 + d.below(length--)}`)
    else if (d.chance(50)) lines.push(`-I FORWARD ${1 + d.below(1 + length++)} ${rule(d, users)}`)
    else {
      lines.push(`-A FORWARD ${rule(d, users)}`)
      length++
    }
  }
  return `${lines.join('\n')}\nCOMMIT\n`
}

function withMany(d: Draw, text: string): string {
  const many = Array.from({ length: LONG }, () => `-A FORWARD ${rule(d, [])}\n`)
  return text.replace(/COMMIT\n$/, `${many.join('')}COMMIT\n`)
}

/** Both hosts get one packet each. */
function meet(d: Draw, seed: number, a: TableHost, b: TableHost): void {
  const make = packet(d)
  const [ours, theirs] = [make(), make()]
  expect([seed, a.forward(ours), ours.mark, ours.hotdrop]).toEqual([
    seed,
    b.forward(theirs),
    theirs.mark,
    theirs.hotdrop,
  ])
}

function run(family: Family, seed: number): void {
  const d = new Draw(seed, family)
  const indexFrom = d.pick([1, 32, Number.POSITIVE_INFINITY])
  const [busy, idle] = [new TableHost(family, indexFrom), new TableHost(family, indexFrom)]
  busy.host.isBusy = d.chance(80)
  const first = ruleset(d)
  for (const host of [busy, idle]) host.load(first)
  for (let round = 0; round < 4; round++) {
    for (let n = 0; n < 20; n++) meet(d, seed, busy, idle)
    const noFlush = d.chance(50)
    const drawn = noFlush ? changes(d, busy) : ruleset(d)
    const text = d.chance(20) ? withMany(d, drawn) : drawn
    const before = busy.chain('FORWARD').model
    let isIn = false
    const often = d.pick([2, 20, 100])
    busy.host.condResched = () => {
      if (!isIn && busy.chain('FORWARD').model !== before) {
        isIn = true
        idle.load(text, noFlush)
      }
      if (d.chance(often)) meet(d, seed, busy, idle)
    }
    busy.load(text, noFlush)
    busy.host.condResched = () => {}
    if (!isIn) idle.load(text, noFlush)
    for (let n = 0; n < 40; n++) meet(d, seed, busy, idle)
    expect([seed, busy.counters()]).toEqual([seed, idle.counters()])
    for (const { host } of [busy, idle]) host.now += 1500
  }
}

test.each([4, 6] as const)(`IPv%d: seeds from ${SEED_OF_RUN}`, (family) => {
  for (let i = 0; i < RUNS; i++) run(family, SEED_OF_RUN + i)
})

test('a rule that comes into a chain made ahead jumps to the chain of that name now', () => {
  const host = new TableHost(4, 1)
  host.host.isBusy = true
  const many = Array.from({ length: LONG }, (_, i) => `-A FORWARD -s 10.1.${i >> 8}.${i & 255}\n`)
  host.load(`*mangle\n:u0 - [0:0]\n${many.join('')}COMMIT\n`)
  host.load('*mangle\n-X u0\nCOMMIT\n', true)
  host.load('*mangle\n:u1 - [0:0]\n-A u1 -j DROP\n:u0 - [0:0]\n-A u0 -j ACCEPT\nCOMMIT\n', true)
  host.load('*mangle\n-A FORWARD -s 10.0.0.2 -j u0\n-A FORWARD -j DROP\nCOMMIT\n', true)
  const pkt = Object.assign(packet(new Draw(1, 4))(), { s0: 0x0a000002, proto: 47, fragOffset: 0 })
  expect(host.forward(pkt)).toBe(Verdict.Accept)
})

test('functions that wait for more of their shape keep no records of chains that are gone', () => {
  const host = new TableHost(4, 1)
  const sizes: number[] = []
  for (let round = 0; round < 4; round++) {
    host.load(
      `*mangle\n${Array.from({ length: LONG }, (_, i) => `-A FORWARD -s 10.1.${i >> 8}.${i & 255}\n`).join('')}COMMIT\n`,
    )
    for (let i = 0; i < 4; i++)
      host.forward(Object.assign(packet(new Draw(1, 4))(), { s0: 0x0a010000 + i, proto: 47, fragOffset: 0 }))
    const { counts } = host.chain('FORWARD').codes
    let size = 0
    for (const store of new Set(counts)) size += store?.records.length ?? 0
    sizes.push(size)
  }
  expect(sizes).toEqual([sizes[0], sizes[0], sizes[0], sizes[0]])
})

/** Rules of two new chains and one of FORWARD that comes behind another are made before the state of the last cannot be. */
const FAILING = `*mangle
:u0 - [0:0]
:u1 - [0:0]
-A FORWARD -m recent --set --name beside
-A u0 -m recent --set --name one -m set --match-set held src
-A u0 -m recent --set --name two
-A u1 -m recent --set --name three -m statistic --mode nth --every 7 --packet 0
COMMIT
`

test('a commit that fails while states are made leaves nothing behind', () => {
  const host = new TableHost(4, 1)
  host.host.isBusy = true
  host.sets.create('held', setTypes.find(({ name }) => name === 'hash:ip')!, {}, false)
  host.load('*mangle\n:old - [0:0]\n-A FORWARD -m recent --set --name beside -j old\nCOMMIT\n')
  const table = host.tables.table(4, 'mangle')
  const { heads } = table.codes
  const inUse = (): unknown => ({
    records: table.records.records.length,
    heads: table.codes.heads.length,
    references: host.sets.lookup('held')!.references,
    recent: sharedOf(host.host, 'recent').names(),
    chains: [...table.chains.keys()],
  })
  const before = inUse()
  const state = vi.spyOn(statistic as Required<typeof statistic>, 'state').mockImplementation(() => {
    throw new RangeError('no memory for it')
  })
  // Rooms that were left taken would not fit what there is.
  for (let i = 0; i < heads.length; i++)
    for (const noFlush of [false, true]) expect(() => host.load(FAILING, noFlush)).toThrow('no memory for it')
  state.mockRestore()
  // Nor is it forgotten who jumps where.
  expect(() => host.load('*mangle\n-X old\nCOMMIT\n', true)).toThrow()
  expect(inUse()).toEqual(before)
  host.load('*mangle\n-F FORWARD\n-X old\nCOMMIT\n', true)
  expect(sharedOf(host.host, 'recent').names()).toEqual([])
  host.load(FAILING, true)
  host.load('*mangle\nCOMMIT\n')
  expect(sharedOf(host.host, 'recent').names()).toEqual([])
})

test('after a commit that failed, rules in force are not checked again', () => {
  const host = new TableHost(4, 1)
  const append = (words: string): void => host.load(`*filter\n-A INPUT ${words}\nCOMMIT\n`, true)
  const cluster = '-d 10.0.0.9 -i tun0 -j CLUSTERIP'
  append(`${cluster} --new --hashmode sourceip --clustermac 01:00:5e:00:00:20 --total-nodes 2 --local-node 1`)
  // Which the kernel takes since the first one stands before it.
  append(`-p tcp ${cluster}`)
  const state = vi.spyOn(statistic as Required<typeof statistic>, 'state').mockImplementation(() => {
    throw new RangeError('no memory for it')
  })
  expect(() => append('-m statistic --mode nth --every 3 --packet 0')).toThrow('no memory for it')
  state.mockRestore()
  append('-s 10.0.0.8')
  expect(host.tables.table(4, 'filter').chains.get('INPUT')!.model.rules).toHaveLength(3)
})
