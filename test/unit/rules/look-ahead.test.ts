// Rules looked up ahead: hosts whose batches are and hosts whose are not send and count the same, while rules change.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../../daemon/engine.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { runTool } from '../../../daemon/tools.ts'
import { load, Packet } from '../../../datapath/packet.ts'
import { MemoryEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import { Batcher } from '../../harness/batch.ts'
import { writeGateway } from '../../harness/capture.ts'
import { SeededRandom, tcp, udp } from '../../harness/frames.ts'
import { kubeProxy } from '../../harness/rulesets.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const folder = mkdtempSync(join(tmpdir(), 'tunwall-rules-ahead-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** More than stay in caches by themselves. */
const SERVICES = 1100
const BATCH = 16
const BATCHES = 40

writeGateway(folder, kubeProxy(SERVICES, 2))

class Side {
  readonly engine: Engine
  readonly #memory = new FrameMemory(64, 2048)
  readonly #egress = new MemoryEgress(this.#memory)
  readonly #batch: Batcher

  constructor() {
    this.engine = createEngine(loadHostFolder(folder), {
      memory: this.#memory,
      egress: this.#egress,
      random: new SeededRandom(1),
      // Who looks ahead takes numbers earlier than who does not.
      dice: new SeededRandom(2),
      ports: new SeededRandom(3),
    })
    this.#batch = new Batcher(this.engine, this.#memory, BATCH)
  }

  /** What leaves when these come in one batch. */
  batch(frames: readonly Uint8Array[], ahead: boolean): unknown {
    this.#batch.receive('lan', frames, ahead)
    return this.#egress.take()
  }

  /** Looks so many times the same frame up, and receives it once. */
  look(frame: Uint8Array, times: number): void {
    const pkt = new Packet()
    load(pkt, this.#memory, frame)
    this.engine.lookAhead(new Int32Array(times).fill(pkt.l3), times)
    this.engine.host.path.receive(pkt, this.engine.host.devices.byName('lan')!)
    this.#egress.take()
  }

  run(line: string, stdin = ''): string {
    const [tool = '', ...argv] = line.split(' ')
    const { stdout, stderr, code } = runTool({ tool, argv, directory: '/', stdin }, this.engine)
    return `${code}\n${stdout}\n${stderr}`
  }
}

/** First packets of connections to services, and others. */
function frames(below: (n: number) => number): () => Uint8Array {
  return () => {
    const service = below(SERVICES + 50)
    const ends = {
      src: `10.9.1.${2 + below(200)}`,
      dst: `10.96.${service >> 8}.${service & 255}`,
      sport: 1024 + below(5000),
      dport: below(10) === 0 ? 443 : 80,
    }
    return below(8) === 0 ? udp({ ...ends, payload: 8 }) : tcp({ ...ends, flags: 2 })
  }
}

test(`random batches and edits, seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const below = (n: number): number => random.u32() % n
  const [ahead, plain] = [new Side(), new Side()]
  const both = (line: string): void => expect(ahead.run(line)).toBe(plain.run(line))
  const frame = frames(below)
  const edit = (): string => {
    const portal = `10.96.0.${below(256)}`
    const at = 1 + below(SERVICES)
    const edits = [
      `iptables -t nat -D KUBE-SERVICES ${at}`,
      `iptables -t nat -I KUBE-SERVICES ${at} -d ${portal} -j ACCEPT`,
      `iptables -t nat -R KUBE-SERVICES ${at} -d ${portal} -j KUBE-NODEPORTS`,
      'iptables -t nat -A KUBE-NODEPORTS -p tcp -j MARK --set-mark 1',
      'iptables -t nat -F KUBE-NODEPORTS',
      'iptables -t raw -I PREROUTING -p udp -j NOTRACK',
      'iptables -t raw -F',
      'conntrack -F',
    ]
    return edits[below(edits.length)]!
  }
  let left = 0
  for (let i = 0; i < BATCHES; i++) {
    if (i % 4 === 3) both(edit())
    const came = Array.from({ length: 1 + below(BATCH) }, frame)
    const sent = ahead.batch(came, true)
    expect(sent).toStrictEqual(plain.batch(came, false))
    left += (sent as unknown[]).length
  }
  expect(left).toBeGreaterThan(BATCHES)
  expect(ahead.engine.tables.ahead.size).toBe(1)
  both('iptables-save -c')
  // With the large chain gone there is nothing to look up, and nothing stays of it.
  both('iptables -t nat -F')
  both('iptables -t nat -X')
  expect(ahead.engine.tables.ahead.size).toBe(0)
  const last = Array.from({ length: BATCH }, frame)
  expect(ahead.batch(last, true)).toStrictEqual(plain.batch(last, false))
  both('iptables-save -c')
})

test(`a full table, seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const below = (n: number): number => random.u32() % n
  const frame = frames(below)
  const [ahead, plain] = [new Side(), new Side()]
  const both = (line: string): void => expect(ahead.run(line)).toBe(plain.run(line))
  for (let i = 0; i < BATCHES; i++) {
    if (i % 8 === 0) {
      both(`sysctl -w net.netfilter.nf_conntrack_buckets=${16 << below(4)}`)
      both(`sysctl -w net.netfilter.nf_conntrack_max=${1 + below(100)}`)
    }
    const came = Array.from({ length: 1 + below(BATCH) }, frame)
    expect(ahead.batch(came, true)).toStrictEqual(plain.batch(came, false))
  }
  expect(ahead.engine.conntrack.stats.earlyDrop).toBeGreaterThan(BATCHES)
  both('conntrack -S')
  both('conntrack -L')
})

/** Sees which numbers the array is asked for that it has no word for. */
function watched(words: Int32Array, beyond: Set<string>): Int32Array {
  return new Proxy(words, {
    get(target, key) {
      if (typeof key === 'string' && !(key in target)) beyond.add(key)
      const value = Reflect.get(target, key, target) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

test('a chain without code is read where there are words', () => {
  const side = new Side()
  const { codes } = side.engine.tables.table(4, 'nat')
  // Those without code have numbers, which are no places.
  const chains = 6000
  const lines = Array.from({ length: chains }, (_, i) => `:C${i} - [0:0]`)
  // Chains of one shape share their code, which is called with words then.
  for (let i = 0; i < 6 * 90; i++)
    lines.push(`-A LONG${i % 6} -m statistic --mode random --probability 0.0${1 + (i % 9)} -j C${i}`)
  for (let i = 0; i < 1100; i++)
    lines.push(`-A PORTALS -d 10.96.${i >> 8}.${i & 255} -j ${i < 6 ? `LONG${i}` : `C${chains - 1 - i}`}`)
  const text = [
    '*nat',
    ...Array.from({ length: 6 }, (_, i) => `:LONG${i} - [0:0]`),
    ':PORTALS - [0:0]',
    ...lines,
    '-A PREROUTING -j PORTALS',
    '-A POSTROUTING -j MASQUERADE',
    'COMMIT',
    '',
  ]
  expect(side.run('iptables-restore', text.join('\n'))).toBe('0\n\n')
  const to = (service: number, sport: number): Uint8Array =>
    tcp({ src: '10.9.1.2', dst: `10.96.0.${service}`, sport, dport: 80, flags: 2 })
  const services = [0, 1, 2, 3, 4, 5, 8]
  for (const service of services) side.look(to(service, 1024), 1)
  expect(side.engine.tables.ahead.size).toBe(1)
  // Its code is made anew.
  side.run(`iptables -t nat -A C${chains - 1 - 8} -j RETURN`)
  for (const service of services) {
    const beyond = new Set<string>()
    codes.words = watched(codes.words, beyond)
    side.look(to(service, 1025), 128)
    expect([...beyond], `${service}`).toStrictEqual([])
  }
})
