// Long commands let packets through at each of their steps: what they do then to what the packets have changed meanwhile.

import { expect, test } from 'vitest'
import type { Engine } from '../../../daemon/engine.ts'
import { OurHost } from '../../harness/rulesets.ts'

const CONNECTIONS = 40

function withConnections(): { ours: OurHost; engine: Engine } {
  const ours = new OurHost()
  ours.ask({ tool: 'iptables', argv: ['-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'NEW'] })
  for (let i = 0; i < CONNECTIONS; i++) {
    const line = `-I -p udp -s 10.0.0.1 -d 10.0.0.2 --sport ${1000 + i} --dport 53 -t 60`
    expect(ours.ask({ tool: 'conntrack', argv: line.split(' ') }).code).toBe(0)
  }
  return { ours, engine: ours.engine }
}

/** Calls `then` at the `nth` step from now on; gives the number of steps taken. */
function atStep({ host }: Engine, nth: number, then: () => void): () => number {
  let steps = 0
  host.condResched = () => {
    if (++steps === nth) then()
  }
  return () => steps
}

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '')

test('conntrack -L shows no connection that has ended since it began', () => {
  const { ours, engine } = withConnections()
  const steps = atStep(engine, 10, () => engine.conntrack.flush())
  const { stdout } = ours.ask({ tool: 'conntrack', argv: ['-L'] })
  expect(linesOf(stdout)).toHaveLength(10)
  // One for each that was there, and those of the flush.
  expect(steps()).toBe(2 * CONNECTIONS)
})

test('conntrack -D leaves alone what came since it began', () => {
  const { ours, engine } = withConnections()
  const late = '-I -p udp -s 10.0.0.9 -d 10.0.0.2 --sport 9 --dport 53 -t 60'
  atStep(engine, CONNECTIONS, () => ours.ask({ tool: 'conntrack', argv: late.split(' ') }))
  const { stdout } = ours.ask({ tool: 'conntrack', argv: ['-D', '-p', 'udp'] })
  expect(linesOf(stdout)).toHaveLength(CONNECTIONS)
  expect(linesOf(ours.ask({ tool: 'conntrack', argv: ['-L'] }).stdout)).toEqual([
    expect.stringContaining('src=10.0.0.9 '),
  ])
})

test('conntrack -D -f ipv4 leaves alone what came in the place of one that ended', () => {
  const { ours, engine } = withConnections()
  atStep(engine, 1, () => {
    engine.conntrack.flush()
    for (let i = 0; i < CONNECTIONS; i++) {
      const late = `-I -p udp -s fd00::1 -d fd00::2 --sport ${1000 + i} --dport 53 -t 60`
      expect(ours.ask({ tool: 'conntrack', argv: late.split(' ') }).code).toBe(0)
    }
  })
  const { stdout } = ours.ask({ tool: 'conntrack', argv: ['-D', '-f', 'ipv4'] })
  expect(linesOf(stdout)).toHaveLength(1)
  expect(linesOf(ours.ask({ tool: 'conntrack', argv: ['-L', '-f', 'ipv6'] }).stdout)).toHaveLength(
    CONNECTIONS,
  )
})

test('-L -Z: what comes meanwhile is listed, or is counted afterwards', () => {
  const { ours, engine } = withConnections()
  for (let i = 0; i < 20; i++) ours.ask({ tool: 'iptables', argv: ['-A', 'INPUT', '-p', String(i + 1)] })
  const input = engine.tables.table(4, 'filter').chain('INPUT')
  let came = 0
  const packet = (): void => {
    came++
    for (let slot = 0; slot < input.slots.count; slot++) input.slots.tally(slot, 1, 60)
    input.tally(0, 1, 60)
  }
  const counted = (text: string): number[] =>
    linesOf(text)
      .filter((line) => /^(-P|-A|:|\[.* -A) ?INPUT/.test(line))
      .map((line) => Number(/(?:-c |\[)(\d+)/.exec(line)![1]))
  packet()
  engine.host.condResched = packet
  const { stdout } = ours.ask({ tool: 'iptables', argv: ['-v', '-S', 'INPUT', '-Z'] })
  engine.host.condResched = () => {}
  const left = counted(ours.ask({ tool: 'iptables-save', argv: ['-c', '-t', 'filter'] }).stdout)
  expect(came).toBeGreaterThan(20)
  expect(counted(stdout).map((listed, i) => listed + left[i]!)).toEqual(
    Array.from({ length: 22 }, () => came),
  )
})

test('a chain that is renamed, and what jumps to it, count on', () => {
  const { ours, engine } = withConnections()
  const lines = ['*filter', ':A - [0:0]', '[1:10] -A FORWARD -j A', '[2:20] -A A -p tcp', '[3:30] -A A', '']
  const stdin = lines.join('\n')
  expect(ours.ask({ tool: 'iptables-restore', argv: ['-nc'], stdin: `${stdin}COMMIT\n` }).code).toBe(0)
  const filter = engine.tables.table(4, 'filter')
  let came = 0
  const packet = (): void => {
    const renamed = filter.chains.get('A')
    if (renamed === undefined) return
    came++
    for (const chain of [filter.chain('FORWARD'), renamed])
      for (let slot = 0; slot < chain.slots.count; slot++) chain.slots.tally(slot, 1, 60)
  }
  engine.host.condResched = packet
  const edits = '*filter\n-Z A 1\n-E A B\n-A B -p udp\n-c 7 8 -I B\nCOMMIT\n'
  expect(ours.ask({ tool: 'iptables-restore', argv: ['-n'], stdin: edits }).code).toBe(0)
  engine.host.condResched = () => {}
  expect(came).toBeGreaterThan(4)
  const { stdout } = ours.ask({ tool: 'iptables-save', argv: ['-c', '-t', 'filter'] })
  const jump = linesOf(stdout).filter((line) => /-A (FORWARD|B)/.test(line))
  expect(jump).toEqual([
    `[${1 + came}:${10 + 60 * came}] -A FORWARD -j B`,
    '[7:8] -A B',
    // One packet passed before the line with -Z, and was seen.
    `[${came - 1}:${60 * (came - 1)}] -A B -p tcp`,
    `[${3 + came}:${30 + 60 * came}] -A B`,
    '[0:0] -A B -p udp',
  ])
})

test('elements of ipset restore are there one after the other, and all at the end', () => {
  const { engine, ...rest } = withConnections()
  const adds = Array.from({ length: 100 }, (_, i) => `add s 10.1.${i}.1\n`)
  const seen: number[] = []
  engine.host.condResched = () => {
    seen.push(engine.sets.lookup('s')?.set.data.count() ?? 0)
  }
  const stdin = `create s hash:ip\n${adds.join('')}`
  expect(rest.ours.ask({ tool: 'ipset', argv: ['restore'], stdin })).toEqual({
    stdout: '',
    stderr: '',
    code: 0,
  })
  expect(seen).toEqual([...seen].sort((a, b) => a - b))
  expect(new Set(seen).size).toBe(101)
})

test('iptables-save and -S print rules with the counters of their moment, a step each', () => {
  const { ours, engine } = withConnections()
  for (let i = 0; i < 20; i++) ours.ask({ tool: 'iptables', argv: ['-A', 'INPUT', '-p', String(i + 1)] })
  for (const asked of [
    { tool: 'iptables-save', argv: ['-c'] },
    { tool: 'iptables', argv: ['-S', '-v'] },
  ]) {
    const steps = atStep(engine, 1, () => {})
    const { stdout } = ours.ask(asked)
    expect(linesOf(stdout).filter((line) => line.includes('-A INPUT'))).toHaveLength(21)
    expect(steps()).toBeGreaterThan(20)
  }
})
