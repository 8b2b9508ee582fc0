// Rules that change TTL and hop limit on a way that is recorded: each packet leaves as on the whole path, looked up ahead
// or not.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createEngine } from '../../../daemon/engine.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { load, Packet } from '../../../datapath/packet.ts'
import { MemoryEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import { writeFolder } from '../../harness/capture.ts'
import { SeededRandom, udp } from '../../harness/frames.ts'

const folder = mkdtempSync(join(tmpdir(), 'tunwall-ttl-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const ENDS = {
  4: { src: '10.0.0.5', dst: '10.1.0.9', at: 8 },
  6: { src: '2001:db8::5', dst: '2001:db8:1::9', at: 7 },
} as const

/** Hop counts of a flow's packets as they leave by eth1, null for those that do not. */
function leaving(family: 4 | 6, rule: string, cached: boolean, ahead: boolean, ttls: readonly number[]) {
  const rules = `*mangle\n${rule}\nCOMMIT\n*filter\n-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\nCOMMIT\n`
  const other = '*filter\nCOMMIT\n'
  writeFolder(folder, {
    'host.yaml': `interfaces:
  eth0: { addresses: [10.0.0.1/24, '2001:db8::1/64'] }
  eth1: { addresses: [10.1.0.1/24, '2001:db8:1::1/64'] }
sysctls: { net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1 }
`,
    'iptables-save': family === 4 ? rules : other,
    'ip6tables-save': family === 6 ? rules : other,
  })
  const memory = new FrameMemory(64, 2048)
  const egress = new MemoryEgress(memory)
  const { host, conntrack } = createEngine(loadHostFolder(folder), {
    memory,
    egress,
    random: new SeededRandom(1),
  })
  conntrack.flows.enabled = cached
  const { src, dst, at } = ENDS[family]
  const pkt = new Packet()
  const eth0 = host.devices.byName('eth0')!
  const eth1 = host.devices.byName('eth1')!
  const left = ttls.map((ttl) => {
    load(pkt, memory, udp({ src, dst, ttl, sport: 4000, dport: 53, payload: 8 }))
    if (ahead) pkt.hint = conntrack.ahead.batch(Int32Array.of(pkt.l3), 1)[0]!
    host.path.receive(pkt, eth0)
    return egress.take().find(({ device }) => device === eth1.index)?.bytes[at] ?? null
  })
  return { left, hits: conntrack.flows.hits }
}

const TTLS = [64, 64, 64, 64, 9, 9, 9, 9, 4, 3, 2, 2, 2, 2, 1, 1, 1, 64, 255, 255, 255, 255, 64, 64]

for (const [family, target] of [
  [4, 'TTL --ttl'],
  [6, 'HL --hl'],
] as const)
  for (const chain of ['PREROUTING', 'FORWARD', 'POSTROUTING'])
    for (const change of ['set 1', 'set 2', 'set 200', 'dec 1', 'dec 3', 'inc 1', 'inc 100'])
      test(`IPv${family} ${chain} ${change}`, () => {
        const rule = `-A ${chain} -j ${target}-${change}`
        const plain = leaving(family, rule, false, false, TTLS)
        expect(plain.hits).toBe(0)
        for (const ahead of [false, true]) {
          const cached = leaving(family, rule, true, ahead, TTLS)
          expect(cached.left).toEqual(plain.left)
          if (plain.left[2] !== null) expect(cached.hits).toBeGreaterThan(3)
        }
      })
