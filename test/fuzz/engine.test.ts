// A million damaged frames through a whole host, with state, NAT, REJECT, LOG and fragments: nothing throws, no slot
// of frame memory is lost, no connection stays held.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { SeededRandom as EngineRandom } from '../../daemon/random.ts'
import { FATE_NAMES } from '../../datapath/fate.ts'
import { Packet, PacketType } from '../../datapath/packet.ts'
import { CountingEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { writeFolder } from '../harness/capture.ts'
import {
  damage,
  fragment,
  gre,
  icmp,
  icmpError,
  SeededRandom,
  sctp,
  tcp,
  udp,
  udplite,
} from '../harness/frames.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-fuzz-'))
afterAll(() => rmSync(root, { recursive: true }))

const SLOTS = 64
const HOST_YAML = `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24], mtu: 600}
routes: [default via 203.0.113.254, unreachable 10.9.0.0/16, prohibit 10.8.0.0/16, blackhole 10.7.0.0/16]
sysctls:
  net.ipv4.ip_forward: 1
  net.ipv4.icmp_ratelimit: 0
  net.ipv4.icmp_msgs_per_sec: 1000000
  net.netfilter.nf_conntrack_max: 5000
`
const RULES = `*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p udp -m udp --dport 5353 -j NOTRACK
-A PREROUTING -p udp -m udp --dport 7777 -j CT --zone 3
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -p udp -j DSCP --set-dscp 0x0a
-A PREROUTING -m ttl --ttl-lt 3 -j TTL --ttl-inc 5
-A POSTROUTING -m statistic --mode random --probability 0.5 -j MARK --set-xmark 0x1/0xff
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.1.2-10.0.1.9:80
-A PREROUTING -i lan -p udp -m udp --dport 53 -j REDIRECT --to-ports 5300
-A POSTROUTING -o wan -p udp -j MASQUERADE --random-fully
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m multiport --dports 22,23 -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -m limit --limit 5/sec -j LOG --log-prefix "invalid " --log-tcp-options --log-ip-options
-A FORWARD -p tcp -m tcp --dport 81 -j REJECT --reject-with tcp-reset
-A FORWARD -p udp -m udp --dport 82 -j REJECT --reject-with icmp-admin-prohibited
-A FORWARD -m length --length 1000:65535 -m tos --tos 0x10 -j DROP
-A FORWARD -i lan -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
COMMIT
`

interface World {
  engine: Engine
  memory: FrameMemory
  egress: CountingEgress
  /** Answers the fate. */
  send(frame: Uint8Array, device: string, pktType?: number): number
}

function world(rules = RULES): World {
  const memory = new FrameMemory(SLOTS, 65535)
  const egress = new CountingEgress(memory)
  const config = loadHostFolder(
    writeFolder(join(root, String(rules.length)), { 'host.yaml': HOST_YAML, 'iptables-save': rules }),
  )
  const engine = createEngine(config, { memory, egress, random: new EngineRandom(1) })
  const { host } = engine
  const pkt = new Packet()
  const send = (frame: Uint8Array, device: string, pktType: number = PacketType.Host): number => {
    const slot = memory.take()
    const l3 = slot + HEADROOM
    memory.bytes.set(frame, l3)
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = l3
    pkt.end = l3 + frame.length
    pkt.pktType = pktType
    return host.path.receive(pkt, host.devices.byName(device)!)
  }
  return { engine, memory, egress, send }
}

const ADDRESSES = [
  '10.0.1.2',
  '10.0.1.3',
  '10.0.1.1',
  '203.0.113.1',
  '198.51.100.7',
  '10.9.1.1',
  '10.8.1.1',
  '10.7.1.1',
  '10.0.1.255',
  '127.0.0.1',
  '224.0.0.1',
  '255.255.255.255',
  '0.0.0.0',
]
const PORTS = [22, 53, 80, 81, 82, 1000, 5300, 5353, 7777, 8080, 65535]

/** A frame of any kind, right in itself. */
function frameOf(random: SeededRandom): Uint8Array {
  const ip = {
    src: random.pick(ADDRESSES),
    dst: random.pick(ADDRESSES),
    ttl: random.pick([64, 64, 64, 1, 2, 255]),
    tos: random.pick([0, 0, 0x10, 0xb8]),
    id: random.below(50),
    df: random.once(3),
    ...(random.once(20) ? { options: random.bytes(random.below(41)) } : {}),
  }
  const ports = { sport: random.pick(PORTS), dport: random.pick(PORTS) }
  const payload = random.once(6) ? 1000 : random.below(100)
  switch (random.below(9)) {
    case 0:
    case 1:
      return udp({ ...ip, ...ports, payload })
    case 2:
    case 3:
    case 4:
      return tcp({
        ...ip,
        ...ports,
        flags: random.pick(['S', 'SA', 'A', 'FA', 'R', 'PA', '']),
        seq: random.u32(),
        ack: random.u32(),
        payload: random.once(2) ? 0 : payload,
      })
    case 5:
      return icmp({ ...ip, type: random.pick([0, 8, 13, 17, 5, 3]), code: 0, payload })
    case 6:
      return icmpError(
        random.pick([3, 11, 12, 5]),
        random.below(5),
        frameOf(random).subarray(0, 28 + random.below(100)),
        ip,
      )
    case 7:
      return random.once(2) ? sctp({ ...ip, ...ports }) : udplite({ ...ip, ...ports, payload })
    default:
      return gre({ ...ip })
  }
}

const SEED = Number(process.env.TUNWALL_SEED ?? 20)
const FRAMES = 1_000_000

test(`a million damaged frames, seed ${SEED}`, () => {
  const { engine, memory, egress, send } = world()
  const { host, conntrack } = engine
  const random = new SeededRandom(SEED)
  const logs = { count: 0 }
  host.events.log = () => logs.count++
  const fates = new Float64Array(FATE_NAMES.length)
  // Frames are made in batches and used several times, each time damaged anew.
  let pool: Uint8Array[] = []
  for (let i = 0; i < FRAMES; i++) {
    if (i % 5000 === 0) {
      pool = Array.from({ length: 1000 }, () => frameOf(random))
      for (let n = 0; n < 100; n++) {
        const whole = udp({
          src: random.pick(ADDRESSES),
          dst: random.pick(ADDRESSES),
          sport: 1,
          dport: random.pick(PORTS),
          id: random.below(10),
          payload: 500 + random.below(3000),
        })
        pool.push(...fragment(whole, 8 * (20 + random.below(100))))
      }
    }
    const good = random.pick(pool)
    const frame = random.once(8)
      ? random.bytes(random.below(80))
      : random.once(5)
        ? good
        : damage(good, random)
    const fate = send(
      frame,
      random.once(2) ? 'lan' : 'wan',
      random.once(30) ? random.below(4) : PacketType.Host,
    )
    fates[fate]!++
    host.now += random.below(20)
    host.wall += 10
    if (i % 500 === 0) engine.tick()
    if (memory.free !== SLOTS) throw new Error(`frame ${i} lost a slot: ${memory.free} of ${SLOTS} are free`)
  }
  for (const [i, name] of FATE_NAMES.entries()) expect(fates[i], name).toBeGreaterThan(1000)
  expect(egress.packets).toBeGreaterThan(10_000)
  expect(logs.count).toBeGreaterThan(10)
  // Nobody holds an entry between packets, and none is unconfirmed.
  expect(conntrack.table.used).toBe(conntrack.table.confirmed)
  expect(conntrack.table.used).toBeLessThanOrEqual(5000)
})
