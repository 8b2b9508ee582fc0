// Where chance sends the next packet: what is foreseen is what then happens, and to look changes nothing.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../../daemon/engine.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { load, Packet } from '../../../datapath/packet.ts'
import { MemoryEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import type { LoadedChain } from '../../../rules/chain.ts'
import { type Foresee, type Foreseen, NO_CHAIN } from '../../../rules/compile/codes.ts'
import { writeGateway } from '../../harness/capture.ts'
import { SeededRandom, udp } from '../../harness/frames.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const folder = mkdtempSync(join(tmpdir(), 'tunwall-foresee-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What looks ahead calls, and with what. */
function codeOf({ codes, head }: LoadedChain): { foresee: Foresee | null; k: number } {
  return { foresee: codes.foresees[codes.heads[head * 2]!]!, k: codes.heads[head * 2 + 1]! }
}

/** Balancers of one shape, the first of which has code of its own, each with endpoints of its own. */
const BALANCERS = 3
const PACKETS = 300

/** The rule that chooses endpoint `i` of `count`; of every kind that may stand there. */
function rule(random: SeededRandom, i: number, count: number): string {
  const to = `${random.pick(['-j', '-g'])} `
  if (i === count - 1) return to
  const probability = (1 / (count - i)).toFixed(5)
  const remark = random.below(2) === 0 ? '-m comment --comment "to one of them" ' : ''
  return `${remark}-m statistic --mode random ${random.below(4) === 0 ? '! ' : ''}--probability ${probability} ${to}`
}

function rules(random: SeededRandom, endpoints: number): string {
  const lines: string[] = []
  const chains: string[] = []
  // The same words for all, so that they have one shape.
  const choices = Array.from({ length: endpoints }, (_, i) => rule(random, i, endpoints))
  for (let b = 0; b < BALANCERS; b++) {
    lines.push(`-A FORWARD -p udp --dport ${100 + b} -j LB${b}`)
    // What the look ahead cannot tell, and is passed over.
    chains.push(`LB${b}`, `MARKED${b}`)
    lines.push(
      `-A LB${b} -p udp --dport ${100 + b} -j MARKED${b}`,
      `-A MARKED${b} -s 10.9.1.${2 + b} -j ACCEPT`,
    )
    for (let i = 0; i < endpoints; i++) {
      chains.push(`EP${b}-${i}`)
      lines.push(`-A LB${b} ${choices[i]}EP${b}-${i}`, `-A EP${b}-${i} -j ACCEPT`)
    }
  }
  const declared = chains.map((name) => `:${name} - [0:0]`)
  return ['*filter', ':FORWARD DROP [0:0]', ...declared, ...lines, 'COMMIT', ''].join('\n')
}

function start(text: string): { engine: Engine; send: (sport: number, dport: number) => void } {
  writeGateway(folder, text)
  const memory = new FrameMemory(16, 2048)
  const egress = new MemoryEgress(memory)
  const engine = createEngine(loadHostFolder(folder), { memory, egress, random: new SeededRandom(1) })
  const lan = engine.host.devices.byName('lan')!
  const pkt = new Packet()
  const send = (sport: number, dport: number): void => {
    load(pkt, memory, udp({ src: '10.9.1.99', dst: '10.9.2.9', sport, dport, payload: 4 }))
    engine.host.path.receive(pkt, lan)
    egress.take()
  }
  return { engine, send }
}

test(`random balancers, seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  for (let round = 0; round < 4; round++) {
    const endpoints = 2 + random.below(9)
    const { engine, send } = start(rules(random, endpoints))
    while (engine.tables.warm(1000));
    const filter = engine.tables.table(4, 'filter')
    expect(codeOf(filter.chain('LB0')).foresee).toBeNull()
    const seen = new Set<unknown>()
    for (let i = 0; i < PACKETS; i++) {
      const b = 1 + random.below(BALANCERS - 1)
      const { slots } = filter.chain(`LB${b}`)
      const { foresee, k } = codeOf(filter.chain(`LB${b}`))
      const to: Foreseen = { callee: NO_CHAIN, counters: 0, bound: false, address: 0, port: 0 }
      engine.host.dice.look()
      foresee!(k, to)
      const counted = slots.store.records[to.counters]!
      const before = Array.from({ length: endpoints }, (_, e) => filter.chain(`EP${b}-${e}`).counters[0]!)
      send(1 + i, 100 + b)
      const went = before.findIndex((packets, e) => filter.chain(`EP${b}-${e}`).counters[0]! > packets)
      expect(to.callee).toBe(filter.chain(`EP${b}-${went}`).head)
      expect(slots.store.records[to.counters]).toBe(counted + 1)
      seen.add(to.callee)
    }
    expect(seen.size).toBeGreaterThan(1)
  }
})

test('the destination that DNAT seems to give', () => {
  const chains = (b: number): string[] => [
    `-A LB${b} -p udp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.9.2.${b}`,
    `-A LB${b} -s 10.9.1.1 -j RETURN`,
    `-A LB${b} -p udp -j DNAT --to-destination 10.9.3.${b}:53`,
  ]
  const numbers = [0, 1, 2]
  const { engine } = start(
    [
      '*nat',
      ...numbers.map((b) => `:LB${b} - [0:0]`),
      ...numbers.map((b) => `-A PREROUTING -p udp --dport ${100 + b} -j LB${b}`),
      ...numbers.flatMap(chains),
      'COMMIT',
      '',
    ].join('\n'),
  )
  while (engine.tables.warm(1000));
  const nat = engine.tables.table(4, 'nat')
  for (const b of [1, 2]) {
    const { foresee, k } = codeOf(nat.chain(`LB${b}`))
    const to: Foreseen = { callee: NO_CHAIN, counters: 0, bound: false, address: 0, port: 0 }
    foresee!(k, to)
    // The first that seems to fit: the protocol is not asked.
    expect(to).toStrictEqual({
      callee: NO_CHAIN,
      counters: 0,
      bound: true,
      address: 0x0a090200 + b,
      port: -1,
    })
  }
})
