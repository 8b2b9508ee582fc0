// Datagrams of one connection that stand behind each other in a batch go together: hosts to which that happens and hosts that
// take one frame after the other, without a cache, send and count the same, whatever is wrong with some of them, and while
// rules, entries and time change.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../../daemon/engine.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { procFiles } from '../../../daemon/proc.ts'
import { runTool } from '../../../daemon/tools.ts'
import { MemoryEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import { Batcher } from '../../harness/batch.ts'
import { writeGateway } from '../../harness/capture.ts'
import { fragment, SeededRandom, tcp, type Udp, udp } from '../../harness/frames.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const folder = mkdtempSync(join(tmpdir(), 'tunwall-datagrams-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const BATCH = 24
const BATCHES = Number(process.env.TUNWALL_BATCHES ?? 1200)

writeGateway(
  folder,
  `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 10.9.1.1/32 -p udp --dport 53 -j DNAT --to-destination 10.9.2.2:5353
-A POSTROUTING -o wan -p udp --dport 123 -j RETURN
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m connmark --mark 7 -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan -o wan -j ACCEPT
COMMIT
`,
)

class Side {
  readonly engine: Engine
  readonly #memory = new FrameMemory(128, 2048)
  readonly #egress = new MemoryEgress(this.#memory)
  readonly #batch: Batcher
  /** Datagrams that went with others. */
  together = 0

  constructor() {
    this.engine = createEngine(loadHostFolder(folder), {
      memory: this.#memory,
      egress: this.#egress,
      random: new SeededRandom(1),
      dice: new SeededRandom(2),
      ports: new SeededRandom(3),
    })
    this.#batch = new Batcher(this.engine, this.#memory, BATCH, true)
    this.engine.host.now = 1 << 20
    const { flows } = this.engine.conntrack
    const { datagrams } = flows
    Object.assign(flows, {
      datagrams: (...of: Parameters<typeof datagrams>) => {
        const packets = datagrams(...of)
        if (packets > 1) this.together += packets
        return packets
      },
    })
  }

  /** What leaves when these come in one batch. */
  receive(
    device: string,
    frames: readonly Uint8Array[],
    ahead: boolean,
    headers: readonly (readonly number[])[],
  ): readonly { bytes: Uint8Array }[] {
    const free = this.#memory.free
    this.#batch.receive(device, frames, ahead, headers)
    const sent = this.#egress.take()
    expect(this.#memory.free).toBe(free)
    return sent
  }

  pass(ms: number): void {
    this.engine.host.now += ms
    this.engine.host.wall += ms
    // What has expired is not always swept up before the next packet.
    if (ms % 2 === 0) while (this.engine.tick()) {}
  }

  run(line: string): string {
    const [tool = '', ...argv] = line.split(' ')
    const { stdout, stderr, code } = runTool({ tool, argv, directory: '/', stdin: '' }, this.engine)
    return `${code}\n${stdout}\n${stderr}`
  }
}

/** What may be done to a host under traffic, and how it is undone some batches later. */
const EDITS: readonly (readonly [string, string?])[] = [
  ['iptables -I FORWARD -m ttl --ttl-lt 64', 'iptables -D FORWARD 1'],
  ['iptables -I FORWARD -m tos --tos 0x10', 'iptables -D FORWARD 1'],
  ['iptables -I FORWARD -m connmark --mark 1', 'iptables -D FORWARD 1'],
  ['iptables -I FORWARD -m conntrack --ctstatus ASSURED', 'iptables -D FORWARD 1'],
  ['iptables -I FORWARD -m length --length 0:60', 'iptables -D FORWARD 1'],
  ['iptables -I FORWARD -m u32 --u32 4&0xffff=1', 'iptables -D FORWARD 1'],
  ['iptables -I FORWARD -p udp --sport 1024 -j DROP', 'iptables -D FORWARD 1'],
  ['iptables -t mangle -A POSTROUTING -j TTL --ttl-inc 1', 'iptables -t mangle -F'],
  ['iptables -t mangle -A PREROUTING -j CONNMARK --set-xmark 1/1', 'iptables -t mangle -F'],
  ['iptables -t mangle -A FORWARD -j TOS --set-tos 0x10', 'iptables -t mangle -F'],
  ['iptables -t raw -A PREROUTING -p udp --dport 123 -j NOTRACK', 'iptables -t raw -F'],
  ['iptables -Z'],
  ['conntrack -F'],
  ['conntrack -D -p udp --dport 9'],
  ['conntrack -U -p udp --mark 1'],
  ['conntrack -U -p udp --mark 7', 'conntrack -U -p udp --mark 0'],
  ['conntrack -U -p udp --timeout 1'],
  ['sysctl -w net.netfilter.nf_conntrack_acct=0', 'sysctl -w net.netfilter.nf_conntrack_acct=1'],
  ['sysctl -w net.netfilter.nf_conntrack_checksum=0', 'sysctl -w net.netfilter.nf_conntrack_checksum=1'],
  [
    'sysctl -w net.netfilter.nf_conntrack_udp_timeout=0',
    'sysctl -w net.netfilter.nf_conntrack_udp_timeout=30',
  ],
  [
    'sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream=0',
    'sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream=120',
  ],
  ['sysctl -w net.ipv4.ip_forward=0', 'sysctl -w net.ipv4.ip_forward=1'],
  ['ip link set wan mtu 1500', 'ip link set wan mtu 1000'],
  ['ip link set wan down', 'ip link set wan up'],
  ['ip route replace default via 10.9.2.2'],
]

/** What may be wrong with a datagram, or unlike the one before. */
const ODDITIES: readonly Partial<Udp>[] = [
  { ttl: 1 },
  { ttl: 2 },
  { ttl: 63 },
  { tos: 0x10 },
  { tos: 3 },
  { badChecksum: true },
  { badIpChecksum: true },
  { noChecksum: true },
  { noChecksum: true, badIpChecksum: true },
  { udpLength: 7 },
  { udpLength: 12 },
  { udpLength: 600 },
  { totalLength: 24 },
  { totalLength: 30 },
  { totalLength: 1000 },
  { options: [7, 7, 4, 0, 0, 0, 0, 0] },
  { mf: true },
  { fragOffset: 8 },
  { df: true },
  { payload: 1200 },
  { payload: 0 },
  { payload: 7 },
]

/** What a device may have left to do: most of all to make the checksum of UDP. */
const HEADERS: readonly (readonly number[])[] = [
  ...Array.from({ length: 8 }, () => [1, 0, 0, 20, 6, 0]),
  [0, 0, 0, 0, 0, 0],
  [2, 0, 0, 0, 0, 0],
  [1, 0, 0, 20, 16, 0],
  [1, 0, 0, 24, 6, 0],
  [0x501, 28, 8, 20, 6, 0],
]

test(`random batches, edits and times, seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const { below, pick } = {
    below: (n: number) => random.below(n),
    pick: <T>(list: readonly T[]) => random.pick(list),
  }
  const [together, apart] = [new Side(), new Side()]
  apart.engine.conntrack.flows.enabled = false
  const both = (line: string): void => expect(together.run(line), line).toBe(apart.run(line))
  /** Frames that answer those that left last. */
  let answers: Uint8Array[] = []
  const undone: string[] = []
  both('sysctl -w net.netfilter.nf_conntrack_acct=1')
  both('ip link set wan mtu 1000')

  const connection = (): Pick<Udp, 'src' | 'dst' | 'sport' | 'dport'> => ({
    src: `10.9.1.${2 + below(3)}`,
    ...pick([
      { dst: '10.9.2.2', dport: 9 },
      { dst: '10.9.2.3', dport: 123 },
      { dst: '10.9.1.1', dport: 53 },
    ]),
    sport: 1024 + below(2),
  })
  const frames = (): Uint8Array[] => {
    const batch: Uint8Array[] = []
    const most = 1 + below(BATCH)
    while (batch.length < most) {
      const ends = connection()
      const plain = { ...ends, payload: pick([8, 32, 32, 500]) }
      for (let left = 1 + below(12); left > 0 && batch.length < most; left--) {
        const id = below(0x10000)
        const whim = below(80)
        if (whim < 10) {
          const odd = udp({ ...plain, id, ...pick(ODDITIES) })
          batch.push(odd, ...(below(4) === 0 ? [odd.slice(0, odd.length - 1 - below(20))] : []))
        } else if (whim < 13) batch.push(...fragment(udp({ ...plain, id, payload: 900 }), 600))
        else if (whim < 16) batch.push(tcp({ ...ends, flags: pick([2, 16, 4]) }))
        else if (whim < 19) batch.push(Uint8Array.from([...udp({ ...plain, id }), 0, 0]))
        else batch.push(udp({ ...plain, id }))
      }
    }
    return batch.slice(0, BATCH)
  }
  const answerTo = (bytes: Uint8Array): Uint8Array => {
    const at = (i: number): string => bytes.subarray(i, i + 4).join('.')
    const port = (i: number): number => (bytes[i]! << 8) | bytes[i + 1]!
    return udp({
      src: at(16),
      dst: at(12),
      sport: port(22),
      dport: port(20),
      payload: 16,
      id: below(0x10000),
    })
  }

  for (let i = 0; i < BATCHES; i++) {
    if (below(10) === 0) {
      const [edit, undo = ''] = pick(EDITS)
      both(edit)
      if (undo !== '') undone.push(undo)
    } else if (below(3) === 0) for (const undo of undone.splice(0).reverse()) both(undo)
    if (below(6) === 0) {
      const ms = pick([0.25, 1, 100, 2500, 2500, 31_000, 61_001, 130_001])
      together.pass(ms)
      apart.pass(ms)
    }
    const back = answers.length > 0 && below(3) === 0
    const batch = back ? answers : frames()
    const headers = below(3) === 0 ? batch.map(() => pick(HEADERS)) : []
    const device = back ? 'wan' : 'lan'
    const sent = together.receive(device, batch, below(8) > 0, headers)
    expect(sent).toStrictEqual(apart.receive(device, batch, false, headers))
    // Those of one connection behind each other.
    if (!back)
      answers = sent
        .filter(({ bytes }) => bytes[0] === 0x45 && bytes[9] === 17 && bytes.length >= 28)
        .slice(0, 4)
        .flatMap(({ bytes }) => Array.from({ length: 1 + below(5) }, () => answerTo(bytes)))
    if (i % 40 === 39) {
      both('iptables-save -c')
      both('conntrack -L -o extended')
      both('conntrack -S')
      both('ip -s link')
      const proc = ({ engine }: Side) => procFiles(engine).map((file) => [file.path, file.read()])
      expect(proc(together)).toStrictEqual(proc(apart))
    }
  }
  expect(apart.engine.conntrack.flows.hits).toBe(0)
  expect(together.together).toBeGreaterThan(BATCHES)
})
