// No step of the packet path allocates: two million packets of all kinds leave the heap where it was. Looked at
// without collecting in between, so that garbage counts as well as what is kept. V8 inlines nothing but the smallest
// functions: what it would inline hangs on what was compiled before, and a number that is handed over as it is, is an object
// where the call is one.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import v8 from 'node:v8'
import vm from 'node:vm'
import { afterAll, expect, test } from 'vitest'
import { HINT_NONE } from '../../../conntrack/look-ahead.ts'
import { createEngine, type Engine } from '../../../daemon/engine.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { SeededRandom } from '../../../daemon/random.ts'
import type { Device } from '../../../datapath/devices.ts'
import { CountingEgress, MemoryEgress } from '../../../datapath/ports/memory.ts'
import { createFrames, FrameMemory, HEADROOM } from '../../../datapath/ring.ts'
import { fold, sumView } from '../../../datapath/wire/checksum.ts'
import { writeFolder } from '../../harness/capture.ts'
import { icmp, tcp, udp } from '../../harness/frames.ts'

v8.setFlagsFromString('--expose-gc')
const gc = vm.runInNewContext('gc') as () => void

const root = mkdtempSync(join(tmpdir(), 'tunwall-heap-'))
afterAll(() => rmSync(root, { recursive: true }))

const HOST_YAML = `interfaces:
  lan: {addresses: [10.0.1.1/24, "fd00:a::1/64"]}
  wan: {addresses: [203.0.113.1/24, "fd00:b::1/64"]}
routes: [default via 203.0.113.254]
sysctls:
  net.ipv4.ip_forward: 1
  net.ipv6.conf.all.forwarding: 1
  net.netfilter.nf_conntrack_acct: 1
`
const RULES = `*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p udp -m udp --dport 5353 -j NOTRACK
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -j CONNMARK --restore-mark
-A PREROUTING -m mark --mark 0x0 -j MARK --set-xmark 0x5/0xff
-A PREROUTING -j CONNMARK --save-mark
-A FORWARD -p udp -j DSCP --set-dscp 0x0a
-A POSTROUTING -m statistic --mode random --probability 0.5 -j MARK --set-xmark 0x100/0xff00
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.1.9:80
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:shaped - [0:0]
-A INPUT -p icmp -j ACCEPT
-A FORWARD -p tcp -m multiport --dports 22,23,8000:8010 -j DROP
-A FORWARD -m iprange --src-range 198.18.0.1-198.18.0.9 -j DROP
-A FORWARD -m length --length 1400:65535 -j DROP
-A FORWARD -m limit --limit 10/sec -j shaped
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p udp -m udp --dport 5353 -j ACCEPT
-A FORWARD -i lan -o wan -m addrtype --dst-type UNICAST -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
-A shaped -m ttl --ttl-lt 2 -j DROP
COMMIT
`
const RULES6 = `*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -j CONNMARK --restore-mark
-A FORWARD -p udp -j DSCP --set-dscp 0x0a
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan -o wan -j ACCEPT
COMMIT
`
const FLOWS = 64
const PACKETS = 100_000
/** Between two looks at the heap. */
const WINDOW = 5000
/** Bytes of heap that a packet may cost: less than one heap number (16 bytes) in ten packets. */
const SLACK = 1.5
/** Bytes of bytecode that V8 may inline into one function; createEngine() allows thousands. */
const INLINED = 0

class World {
  readonly engine: Engine
  readonly egress: CountingEgress
  readonly #memory = new FrameMemory(64, 2048)
  readonly #ahead: boolean
  readonly #frames = createFrames(1)

  /** `ahead`: connections are looked up ahead, as a gateway does, and no rule keeps them from going a recorded way. */
  constructor(ahead: boolean) {
    this.#ahead = ahead
    this.egress = new CountingEgress(this.#memory)
    const config = loadHostFolder(
      writeFolder(root, {
        'host.yaml': HOST_YAML,
        'iptables-save': ahead ? RULES.replace(/^.*(-m (length|limit|statistic)|-j DSCP) .*\n/gm, '') : RULES,
        'ip6tables-save': RULES6,
      }),
    )
    this.engine = createEngine(config, {
      memory: this.#memory,
      egress: this.egress,
      random: new SeededRandom(1),
    })
    v8.setFlagsFromString(`--max-inlined-bytecode-size-cumulative=${INLINED}`)
  }

  device(name: string): Device {
    return this.engine.host.devices.byName(name)!
  }

  send(frame: Uint8Array, device: Device): void {
    const { bytes } = this.#memory
    const frames = this.#frames
    const at = this.#memory.take() + HEADROOM
    for (let i = 0; i < frame.length; i++) bytes[at + i] = frame[i]!
    frames.offsets[0] = at
    frames.lengths[0] = frame.length
    frames.sums[0] = fold(sumView(this.#memory.view, at, at + frame.length))
    frames.count = 1
    if (this.#ahead) frames.hints = this.engine.lookAhead(frames.offsets, 1)
    else frames.hints[0] = HINT_NONE
    this.engine.host.path.receiveBatch(frames, device)
  }

  /** What leaves when a frame comes in. */
  through(frame: Uint8Array, device: string): Uint8Array {
    const { host } = this.engine
    const kept = new MemoryEgress(this.#memory)
    host.egress = kept
    this.send(frame, this.device(device))
    host.egress = this.egress
    return kept.take()[0]!.bytes
  }

  /** Frames in turn, `count` of them; a microsecond apart, timers run as in a gateway. */
  pass(frames: readonly Uint8Array[], device: Device, count: number): void {
    const { engine } = this
    const { host } = engine
    for (let i = 0; i < count; i++) {
      host.now += 0.001
      this.send(frames[i % frames.length]!, device)
      if (i % 4096 === 0) engine.tick()
    }
  }

  /** Bytes of heap that a packet left behind, the least of some rounds: compiling and timers come and go. */
  cost(frames: readonly Uint8Array[], on: string): number {
    const device = this.device(on)
    this.pass(frames, device, PACKETS)
    let least = Number.POSITIVE_INFINITY
    for (let round = 0; round < 6 && least > SLACK / 4; round++) {
      gc()
      let left = 0
      for (let done = 0; done < PACKETS; done += WINDOW) {
        const before = process.memoryUsage().heapUsed
        this.pass(frames, device, WINDOW)
        // Less than before: the collector ran, which it does only because something was allocated in other windows.
        left += Math.max(0, process.memoryUsage().heapUsed - before)
      }
      least = Math.min(least, left / PACKETS)
    }
    return least
  }
}

const sportOf = (frame: Uint8Array): number => (frame[20]! << 8) | frame[21]!
const flows = (make: (i: number) => Uint8Array): Uint8Array[] =>
  Array.from({ length: FLOWS }, (_, i) => make(i))

interface Kind {
  readonly name: string
  /** Sets the flows up; the frames to send again and again, and where. */
  frames(world: World): { frames: Uint8Array[]; device: string }
  /** Packets out for a packet in. */
  readonly out: number
}

const SERVER = '198.51.100.7'
const udpOut = (i: number) => udp({ src: '10.0.1.2', dst: SERVER, sport: 2000 + i, dport: 9000, payload: 32 })
const udpBack = (port: number) =>
  udp({ src: SERVER, dst: '203.0.113.1', sport: 9000, dport: port, payload: 32 })
const pingOut = (i: number) =>
  icmp({ src: '10.0.1.2', dst: SERVER, type: 8, code: 0, rest: (i << 16) >>> 0, payload: 40 })

/** Three-way handshake of a masqueraded connection; its frames with data and acknowledgements, both ways. */
function connect(world: World, i: number): { out: Uint8Array; back: Uint8Array } {
  const there = { src: '10.0.1.2', dst: SERVER, sport: 3000 + i, dport: 80, window: 60000 }
  const port = sportOf(world.through(tcp({ ...there, flags: 'S', seq: 100 }), 'lan'))
  const here = { src: SERVER, dst: '203.0.113.1', sport: 80, dport: port, window: 60000 }
  world.through(tcp({ ...here, flags: 'SA', seq: 500, ack: 101 }), 'wan')
  world.through(tcp({ ...there, flags: 'A', seq: 101, ack: 501 }), 'lan')
  world.through(tcp({ ...there, flags: 'PA', seq: 101, ack: 501, payload: 100 }), 'lan')
  return {
    out: tcp({ ...there, flags: 'PA', seq: 201, ack: 501, payload: 100 }),
    back: tcp({ ...here, flags: 'PA', seq: 501, ack: 201, payload: 100 }),
  }
}

const there6 = { src: 'fd00:a::2', dst: 'fd00:b::2', dport: 9000, payload: 32 }

const KINDS: readonly Kind[] = [
  {
    name: 'UDP over IPv6',
    out: 1,
    frames: () => ({ frames: flows((i) => udp({ ...there6, sport: 2000 + i })), device: 'lan' }),
  },
  {
    name: 'UDP behind IPv6 options',
    out: 1,
    frames: () => ({
      frames: flows((i) =>
        udp({
          ...there6,
          sport: 5000 + i,
          extensions: [
            { type: 0, bytes: [0, 0, 5, 2, 0, 0, 1, 0] },
            { type: 60, bytes: [0, 0, 1, 4, 0, 0, 0, 0] },
          ],
        }),
      ),
      device: 'lan',
    }),
  },
  {
    name: 'echo over IPv6, for the host',
    out: 1,
    frames: () => ({
      frames: flows((i) =>
        icmp({ src: 'fd00:a::2', dst: 'fd00:a::1', type: 128, rest: (i << 16) >>> 0, payload: 40 }),
      ),
      device: 'lan',
    }),
  },
  {
    name: 'UDP, masqueraded',
    out: 1,
    frames: (world) => {
      for (const frame of flows(udpOut)) world.through(udpBack(sportOf(world.through(frame, 'lan'))), 'wan')
      return { frames: flows(udpOut), device: 'lan' }
    },
  },
  {
    name: 'UDP, answers',
    out: 1,
    frames: (world) => {
      const answers = flows(udpOut).map((frame) => udpBack(sportOf(world.through(frame, 'lan'))))
      return { frames: answers, device: 'wan' }
    },
  },
  {
    name: 'UDP, never answered',
    out: 1,
    frames: () => ({ frames: flows(udpOut), device: 'lan' }),
  },
  {
    name: 'UDP, not tracked',
    out: 1,
    frames: () => ({
      frames: flows((i) => udp({ src: '10.0.1.2', dst: SERVER, sport: 4000 + i, dport: 5353, payload: 32 })),
      device: 'lan',
    }),
  },
  {
    name: 'TCP, masqueraded',
    out: 1,
    frames: (world) => ({ frames: flows((i) => connect(world, i).out), device: 'lan' }),
  },
  {
    name: 'TCP, answers',
    out: 1,
    frames: (world) => ({ frames: flows((i) => connect(world, i).back), device: 'wan' }),
  },
  {
    name: 'TCP, to a published port',
    out: 1,
    frames: (world) => {
      const client = (i: number) => ({
        src: '198.51.100.9',
        dst: '203.0.113.1',
        sport: 5000 + i,
        dport: 8080,
        window: 60000,
      })
      const frames = flows((i) => {
        world.through(tcp({ ...client(i), flags: 'S', seq: 1 }), 'wan')
        const server = { src: '10.0.1.9', dst: '198.51.100.9', sport: 80, dport: 5000 + i, window: 60000 }
        world.through(tcp({ ...server, flags: 'SA', seq: 9, ack: 2 }), 'lan')
        world.through(tcp({ ...client(i), flags: 'A', seq: 2, ack: 10 }), 'wan')
        return tcp({ ...client(i), flags: 'PA', seq: 2, ack: 10, payload: 64 })
      })
      return { frames, device: 'wan' }
    },
  },
  { name: 'ICMP echo, masqueraded', out: 1, frames: () => ({ frames: flows(pingOut), device: 'lan' }) },
  {
    name: 'ICMP echo to the host, answered',
    out: 1,
    frames: () => ({
      frames: flows((i) =>
        icmp({ src: '10.0.1.2', dst: '10.0.1.1', type: 8, code: 0, rest: (i << 16) >>> 0, payload: 40 }),
      ),
      device: 'lan',
    }),
  },
  {
    name: 'UDP, dropped by a rule',
    out: 0,
    frames: () => ({
      frames: flows((i) => udp({ src: '198.18.0.3', dst: '10.0.1.2', sport: 100 + i, dport: 7 })),
      device: 'wan',
    }),
  },
  {
    name: 'damaged headers',
    out: 0,
    frames: () => ({
      frames: flows((i) => {
        const frame = udpOut(i)
        frame[8] = 99 // TTL, with the checksum of another
        return frame
      }),
      device: 'lan',
    }),
  },
]

const AHEAD = KINDS.filter(({ name }) => /^(UDP|TCP), (masq|answ|never|to a pub)/.test(name))
const CASES = [
  ...KINDS.map((kind) => ({ ...kind, ahead: false })),
  ...AHEAD.map((kind) => ({ ...kind, name: `${kind.name}, looked up ahead`, ahead: true })),
]

// Twice 100,000 packets of each kind: more than four million.
test.each(CASES)('$name: no allocation', ({ frames: make, out, ahead }) => {
  const world = new World(ahead)
  const { frames, device } = make(world)
  const { packets } = world.egress
  world.pass(frames, world.device(device), FLOWS)
  expect(world.egress.packets - packets).toBe(FLOWS * out)
  expect(world.cost(frames, device)).toBeLessThan(SLACK)
  if (ahead) expect(world.engine.conntrack.flows.hits).toBeGreaterThan(PACKETS)
})

test('the measure notices one heap number in ten packets', () => {
  const world = new World(false)
  const { host } = world.engine
  const kept: number[] = []
  const register = () =>
    host.hooks.register({
      name: 'leak',
      family: 4,
      hook: 0,
      priority: -500,
      run: (pkt) => {
        if (pkt.sport % 8 === 0) kept[pkt.sport & 63] = host.now
        return 1
      },
    })
  register()
  // An array of doubles stores them in place; with an object in it, each is a heap number.
  ;(kept as unknown[])[64] = {}
  expect(world.cost(flows(udpOut), 'lan')).toBeGreaterThan(SLACK)
})
