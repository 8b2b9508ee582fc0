// What rules keep between packets: recent lists, hashlimit buckets, hours, quotas, reverse paths, connection counts;
// and that named things live as long as some rule in force names them.

import { describe, expect, test } from 'vitest'
import { Hook, Verdict } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { call } from '../../rules/compile/rule.ts'
import { hashLimitTables } from '../../rules/matches/hashlimit-table.ts'
import { recentLists } from '../../rules/matches/recent.ts'
import type { Rule } from '../../rules/model.ts'
import { Tables } from '../../rules/tables.ts'
import { tcp, udp } from '../harness/frames.ts'
import { chainOf, ruleOf } from '../harness/rule.ts'
import { parseRule, shellWords } from './rule.ts'
import { World } from './world.ts'

const DST = '10.1.0.2'
const from = (world: World, src: string, sport = 1): Packet =>
  world.forwarded(udp({ src, dst: DST, sport, dport: 2, payload: 'data' }))!

/** Which of the packets (milliseconds, source) fit. */
function run(rule: string, packets: readonly (readonly [number, string])[], world = new World()): string {
  const match = world.match(rule)
  return packets
    .map(([ms, src]) => {
      world.host.now = ms
      return match(from(world, src))
    })
    .join('')
}
const A = '10.0.0.2'
const B = '10.0.0.3'
const at = (...times: number[]): (readonly [number, string])[] => times.map((ms) => [ms, A] as const)

describe('recent', () => {
  test('seen within so many seconds, so often', () => {
    const world = new World()
    const set = world.match('-m recent --name x --set')
    const check = world.match('-m recent --name x --rcheck --seconds 10 --hitcount 3')
    const answers = [0, 1000, 2000, 11_000, 12_004].map((ms) => {
      world.host.now = ms
      const answer = check(from(world, A))
      set(from(world, A))
      return answer
    })
    // At 11 s the stamps of 1 and 2 s are left; at 12.004 s only that of 11 s.
    expect(answers.join('')).toBe('00000')
    world.host.now = 12_500
    expect([check(from(world, A)), check(from(world, B))]).toEqual(['0', '0'])
    set(from(world, A))
    expect(check(from(world, A))).toBe('1')
  })

  test('update renews only what fits, remove takes away', () => {
    const world = new World()
    const update = world.match('-m recent --name x --update --seconds 5')
    world.match('-m recent --name x --set')(from(world, A))
    const answers = [4000, 8000, 13_004, 14_000].map((ms) => {
      world.host.now = ms
      return update(from(world, A))
    })
    expect(answers.join('')).toBe('1100')
    const remove = world.match('-m recent --name x --remove')
    expect([remove(from(world, A)), remove(from(world, A))]).toEqual(['1', '0'])
  })

  test('a list keeps the 100 addresses that were touched last', () => {
    const world = new World()
    const set = world.match('-m recent --name x --set')
    const check = world.match('-m recent --name x --rcheck')
    for (let i = 0; i < 101; i++) set(from(world, `10.0.7.${i}`))
    expect(check(from(world, '10.0.7.0'))).toBe('0')
    expect(check(from(world, '10.0.7.1'))).toBe('1')
    expect(recentLists(world.host).get('x')!.lines()).toHaveLength(100)
    expect(recentLists(world.host).get('x')!.lines()[0]).toBe(
      'src=10.0.7.1 ttl: 64 last_seen: 0 oldest_pkt: 1 0',
    )
  })

  test('as a program writes to the file of a list', () => {
    const world = new World()
    const check = world.match('-m recent --name x --rcheck')
    const list = recentLists(world.host).get('x')!
    expect(list.write(`+${A}\n`, 0)).toBe(true)
    expect(check(from(world, A))).toBe('1')
    expect(list.write(`-${A}`, 0)).toBe(true)
    expect(check(from(world, A))).toBe('0')
    expect(list.write('nonsense', 0)).toBe(false)
  })
})

describe('hashlimit', () => {
  test('a burst for each source, then one each period', () => {
    const rule =
      '-m hashlimit --hashlimit-upto 1/s --hashlimit-burst 2 --hashlimit-mode srcip --hashlimit-name n'
    expect(run(rule, [...at(0, 0, 0), [0, B], ...at(999, 1000, 1000, 2000)])).toBe('11010101')
    expect(run(rule.replace('upto', 'above'), at(0, 0, 0, 999, 1000, 1000))).toBe('001101')
  })

  test('bytes: a second of credit, refilled by the burst', () => {
    // 64 bytes a second are five pieces of 16, and 32 bytes are three.
    const rule = '-m hashlimit --hashlimit-upto 64b/s --hashlimit-name n'
    expect(run(rule, at(0, 0, 500, 1000, 1004))).toBe('10110')
    expect(run(`${rule} --hashlimit-burst 128`, at(0, 0, 0, 0))).toBe('1110')
  })

  test('an idle bucket is collected and begins anew', () => {
    const rule =
      '-m hashlimit --hashlimit-upto 1/min --hashlimit-burst 1 --hashlimit-name n --hashlimit-htable-expire 2000'
    expect(run(rule, at(0, 1000, 2999))).toBe('100')
    // Idle since 2999, so over at 4999: the collector comes by at 5000.
    expect(run(rule, at(0, 1000, 2999, 5000))).toBe('1001')
  })

  test('a rate of a window', () => {
    const rule =
      '-m hashlimit --hashlimit-above 1/s --hashlimit-burst 1 --hashlimit-rate-match --hashlimit-name n'
    expect(run(rule, at(0, 0, 0, 0))).toBe('0011')
  })

  test('a full table drops', () => {
    const rule =
      '-m hashlimit --hashlimit-upto 1/s --hashlimit-mode srcip --hashlimit-name n --hashlimit-htable-size 2 --hashlimit-htable-max 2'
    expect(
      run(rule, [
        [0, A],
        [0, B],
        [0, '10.0.0.4'],
        [0, A],
      ]),
    ).toBe('11x1')
  })
})

test('time: hours, days, dates', () => {
  const world = new World()
  const pkt = from(world, A)
  const answer = (rule: string, date: string): string => {
    world.host.wall = Date.parse(date)
    return world.match(`-m time ${rule}`)(pkt)
  }
  // 2026-11-21 is a Saturday.
  expect(answer('--timestart 10:00 --timestop 12:00', '2026-11-21T12:00:00Z')).toBe('1')
  expect(answer('--timestart 10:00 --timestop 12:00', '2026-11-21T12:00:01Z')).toBe('0')
  expect(answer('--timestart 22:00 --timestop 06:00', '2026-11-21T03:00:00Z')).toBe('1')
  expect(answer('--timestart 22:00 --timestop 06:00', '2026-11-21T07:00:00Z')).toBe('0')
  expect(answer('--weekdays Sat', '2026-11-21T07:00:00Z')).toBe('1')
  expect(answer('--weekdays Sun,Mon', '2026-11-21T07:00:00Z')).toBe('0')
  expect(answer('--weekdays Fri --timestart 22:00 --timestop 06:00', '2026-11-21T03:00:00Z')).toBe('0')
  expect(
    answer('--weekdays Fri --timestart 22:00 --timestop 06:00 --contiguous', '2026-11-21T03:00:00Z'),
  ).toBe('1')
  for (const [date, day] of [
    ['2024-02-29', 29],
    ['2026-12-31', 31],
    ['2000-03-01', 1],
  ] as const)
    expect(answer(`--monthdays ${day}`, `${date}T23:59:59Z`)).toBe('1')
  expect(answer('--monthdays 1', '2024-02-29T00:00:00Z')).toBe('0')
  expect(answer('--datestart 2026-11-21 --datestop 2026-11-22', '2026-11-22T00:00:00Z')).toBe('1')
  expect(answer('--datestart 2026-11-21 --datestop 2026-11-22', '2026-11-22T00:00:01Z')).toBe('0')
})

test('rpfilter asks for the way back', () => {
  const world = new World()
  const answer = (rule: string, src: string): string =>
    world.match(`-m rpfilter ${rule}`)(from(world, src), Hook.PreRouting)
  expect(answer('', A)).toBe('1')
  expect(answer('', '8.8.8.8')).toBe('0')
  expect(answer('--loose', '8.8.8.8')).toBe('1')
  expect(answer('--invert', '8.8.8.8')).toBe('1')
  expect(answer('', '172.16.0.1')).toBe('1')
})

test('connlimit counts connections of a source', () => {
  const world = new World()
  const match = world.match('-m connlimit --connlimit-above 1')
  const syn = (sport: number, src = A): Packet =>
    world.forwarded(tcp({ src, dst: DST, sport, dport: 80, flags: 'S' }))!
  expect(match(syn(1))).toBe('0')
  // In the same jiffy nobody looks whether the first one lives; later it is found to be gone.
  expect(match(syn(2))).toBe('1')
  expect(match(syn(3, B))).toBe('0')
  world.host.now = 1000
  expect(match(syn(4))).toBe('0')
})

test('NFLOG hands out a copy, NFQUEUE drops or goes on, TPROXY drops', () => {
  const world = new World()
  const records: { group: number; prefix: string; length: number; bytes: Uint8Array }[] = []
  world.host.events.nflog = (record) => records.push(record)
  world.target('-j NFLOG --nflog-group 7 --nflog-prefix p --nflog-size 20')(from(world, A))
  expect(records).toHaveLength(1)
  expect(records[0]).toMatchObject({ group: 7, prefix: 'p', length: 32 })
  expect(records[0]!.bytes).toHaveLength(20)
  expect(world.target('-j NFQUEUE --queue-num 3')(from(world, A))).toBe(Verdict.Queue)
  expect(world.target('-j NFQUEUE --queue-bypass')(from(world, A))).toBe(Verdict.Accept)
  expect(world.target('-p udp -j TPROXY --on-port 1')(from(world, A))).toBe(Verdict.Drop)
})

describe('named things over commits', () => {
  const rule = (text: string): Rule => {
    const { matches } = parseRule(shellWords(text))
    return ruleOf(matches)
  }
  const put = (tables: Tables, name: string, rules: readonly Rule[] | null): void => {
    const chain = rules === null ? null : chainOf(name, name === 'FORWARD' ? 'ACCEPT' : null, rules)
    tables.commit([{ family: 4, table: 'filter', chains: new Map([[name, chain]]) }])
  }

  test('lists and tables stay while a rule names them', () => {
    const world = new World()
    const tables = new Tables(world.env)
    const recent = rule('-m recent --name x --set')
    const limit = rule('-m hashlimit --hashlimit-upto 1/s --hashlimit-name n')
    put(tables, 'FORWARD', [recent, limit])
    const list = recentLists(world.host).get('x')
    const table = hashLimitTables(world.host).get('4n')
    expect(list).not.toBeNull()
    expect(table).not.toBeNull()
    call(tables.table(4, 'filter').chain('FORWARD'), from(world, A), Hook.Forward)
    expect(list!.lines()).toHaveLength(1)
    // A chain that is made anew with another rule of the same name, and the first one gone.
    put(tables, 'other', [rule('-m recent --name x --rcheck')])
    put(tables, 'FORWARD', [])
    expect(recentLists(world.host).get('x')).toBe(list)
    expect(list!.lines()).toHaveLength(1)
    expect(hashLimitTables(world.host).get('4n')).toBeNull()
    put(tables, 'other', null)
    expect(recentLists(world.host).names()).toEqual([])
    put(tables, 'FORWARD', [recent])
    expect(recentLists(world.host).get('x')!.lines()).toEqual([])
  })

  test('a commit of other chains renews rules but not what they share', () => {
    const world = new World()
    const tables = new Tables(world.env)
    put(tables, 'FORWARD', [rule('-m recent --name x --set')])
    const list = recentLists(world.host).get('x')
    for (let i = 0; i < 5; i++) put(tables, 'other', [])
    expect(recentLists(world.host).get('x')).toBe(list)
    put(tables, 'FORWARD', [])
    expect(recentLists(world.host).get('x')).toBeNull()
  })
})
