// Datagrams put together on the way out, and cut again by the kernel: the very same frames, those of each flow in their order,
// as when each of them is written by itself.
//
//     frames ─▶ engine: NAT, NOTRACK ─┬─▶ near ═╡ namespace, forwards ╞═ far ─▶ read      same?
//                                     └─ UdpGro ─▶ near ═╡   cuts     ╞═ far ─▶ read

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { native } from '../../datapath/native/index.ts'

import { TunPorts } from '../../datapath/ports/tun.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { UdpGro } from '../../datapath/udp-gro.ts'
import { UDP_CHECKSUM } from '../../datapath/wire/udp.ts'
import { Batcher } from '../harness/batch.ts'
import { writeFolder } from '../harness/capture.ts'
import { type Datagram, drawDatagrams } from '../harness/datagrams.ts'
import { SeededRandom, toHex } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const why = whyNoKernel()
if (why !== null) console.warn(`NOT RUN: UDP GRO: ${why}`)

const STREAMS = Number(process.env.TUNWALL_SCENARIOS ?? 30)
const FRAMES = 400
const NS = `tw-gro-${process.pid}`
const RULES = `*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p udp --dport 4000 -j CT --notrack
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p udp --dport 5000 -j DNAT --to-destination :5001
-A POSTROUTING -p udp --dport 443 -j MASQUERADE
COMMIT
`
const HOST = `interfaces:
  lan: { addresses: [10.9.0.1/24, "2001:db8:9::1/64"] }
  wan: { addresses: [10.7.0.1/24, "2001:db8:7::1/64"] }
routes: [10.8.0.0/16 via 10.7.0.2, "2001:db8:8::/48 via 2001:db8:7::2"]
sysctls: { net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1 }
`

class Gateway {
  readonly engine: Engine
  readonly ports: TunPorts
  readonly #memory = new FrameMemory(1024, 2048)
  readonly #far: number
  readonly #room = Buffer.alloc(2048)
  #random = new SeededRandom(1)

  constructor() {
    execFileSync('ip', ['netns', 'add', NS])
    this.ports = new TunPorts(this.#memory)
    const dir = mkdtempSync(join(tmpdir(), 'tunwall-gro-'))
    try {
      writeFolder(dir, { 'host.yaml': HOST, 'iptables-save': RULES, 'ip6tables-save': RULES })
      const random = { i32: () => this.#random.u32() | 0 }
      this.engine = createEngine(loadHostFolder(dir), { memory: this.#memory, egress: this.ports, random })
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
    const wan = this.engine.host.devices.byName('wan')!
    const netns = `/run/netns/${NS}`
    wan.offloads = this.ports.open({ device: wan.index, name: 'near', netns, offload: true })
    this.#far = native().openTun('far', netns, 0)
    const script = `for i in all default near far; do
        echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter
        echo 0 > /proc/sys/net/ipv6/conf/$i/accept_dad
        echo 1 > /proc/sys/net/ipv6/conf/$i/addr_gen_mode
        echo 0 > /proc/sys/net/ipv6/conf/$i/router_solicitations
      done
      echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
      ip link set near up; ip link set far up txqueuelen 4000
      ip addr add 10.7.0.2/24 dev near; ip addr add 2001:db8:7::2/64 dev near
      ip route add 10.8.0.0/16 dev far; ip route add 2001:db8:8::/48 dev far`
    execFileSync('ip', ['netns', 'exec', NS, 'sh', '-ec', script])
    this.#arrived()
  }

  /** What comes out at the far end of the namespace. `batch`: frames between two flushes. */
  run(datagrams: readonly Datagram[], batch: number, gro: boolean): string[] {
    const { host, conntrack } = this.engine
    const wan = host.devices.byName('wan')!
    conntrack.flush()
    // Identifications of fragments are drawn.
    this.#random = new SeededRandom(1)
    wan.gro = gro ? new UdpGro(host, wan, this.ports) : null
    const free = this.#memory.free
    const out: string[] = []
    const batcher = new Batcher(this.engine, this.#memory, batch, true)
    for (let i = 0; i < datagrams.length; i += batch) {
      const some = datagrams.slice(i, i + batch)
      batcher.receive(
        'lan',
        some.map(({ frame }) => frame),
        true,
        some.map(({ frame, pending }) => [
          pending ? 1 : 0,
          0,
          0,
          frame[0]! >> 4 === 6 ? 40 : 20,
          UDP_CHECKSUM,
        ]),
      )
      this.ports.flush()
      out.push(...this.#arrived())
    }
    expect(this.#memory.free).toBe(free)
    expect(this.ports.refused(wan.index)).toBe(0)
    return out
  }

  /** Packets of the namespace's near device so far: a superframe is one. */
  received(): number {
    const path = '/sys/class/net/near/statistics/rx_packets'
    return Number(execFileSync('ip', ['netns', 'exec', NS, 'cat', path], { encoding: 'utf8' }))
  }

  #arrived(): string[] {
    const frames: string[] = []
    for (;;)
      try {
        const length = readSync(this.#far, this.#room)
        // What the kernel says of itself (MLD).
        if (this.#room[0]! >> 4 === 6 && this.#room[24] === 0xff) continue
        frames.push(toHex(this.#room.subarray(0, length)))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return frames
        throw error
      }
  }

  close(): void {
    this.ports.close()
    native().close(this.#far)
    spawnSync('ip', ['netns', 'del', NS])
  }
}

/** Protocol, addresses and ports; fragments are of their datagram's addresses. */
function flowOf(hex: string): string {
  if (hex[0] === '6') return `${hex.slice(12, 14)} ${hex.slice(16, 88)}`
  const isFragment = (Number.parseInt(hex.slice(12, 16), 16) & 0x3fff) !== 0
  const ports = Number.parseInt(hex[1]!, 16) * 4 * 2
  return `${hex.slice(18, 20)} ${hex.slice(24, 40)} ${isFragment ? '' : hex.slice(ports, ports + 8)}`
}

function byFlow(frames: readonly string[]): Map<string, string[]> {
  const flows = new Map<string, string[]>()
  for (const frame of frames) {
    const key = flowOf(frame)
    const list = flows.get(key)
    if (list === undefined) flows.set(key, [frame])
    else list.push(frame)
  }
  return flows
}

let gateway: Gateway
beforeAll(() => {
  if (why === null) gateway = new Gateway()
})
afterAll(() => {
  gateway?.close()
})

test.skipIf(why !== null)(`what was put together is cut into the same datagrams; seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  let [alone, together] = [0, 0]
  for (let n = 0; n < STREAMS; n++) {
    const datagrams = drawDatagrams(random, FRAMES, '10.8.0.', '2001:db8:8::')
    const batch = random.pick([1, 7, 64, 128, 300])
    const before = gateway.received()
    const expected = gateway.run(datagrams, batch, false)
    const between = gateway.received()
    const actual = gateway.run(datagrams, batch, true)
    alone += between - before
    together += gateway.received() - between
    expect(actual.length).toBe(expected.length)
    expect(byFlow(actual)).toEqual(byFlow(expected))
  }
  // Bursts of up to 150, of which most become one frame.
  expect(alone).toBeGreaterThan(STREAMS * FRAMES * 0.8)
  expect(together).toBeLessThan(alone * 0.7)
})
