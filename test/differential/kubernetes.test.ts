// A node of a cluster: kube-proxy's services, node ports and a load balancer's address, under Calico's policies with
// their sets; connections to all of them, those that policies deny too, as in the kernel.
//
//     eth0 192.168.1.1/24 ── others on the network
//     cali1 ── 10.244.1.2, the frontend: may do anything
//     cali2 ── 10.244.1.3 and .4, the web pods: let in the frontend alone
//
// TUNWALL_SEED=n draws the traffic from that seed.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { icmp, SeededRandom, tcp, toHex, udp } from '../harness/frames.ts'
import { repositoryRoot, whyNoKernel } from '../harness/kernel.ts'
import { OraclePool } from '../harness/oracle-pool.ts'
import type { Scenario, Step } from '../harness/scenario.ts'
import { report } from '../harness/scenario-check.ts'
import { runEngine } from '../harness/scenario-engine.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'
import { compareOnce } from '../harness/shrink.ts'

const why = whyNoKernel()
if (why !== null) console.warn(`NOT RUN: a node's rules are not compared with the kernel: ${why}`)
const seed = SEED_OF_RUN

const pool = new OraclePool(2)
afterAll(() => pool.close())

const SOURCES = [
  ['eth0', '192.168.1.9'],
  ['eth0', '203.0.113.7'],
  ['cali1', '10.244.1.2'],
  ['cali2', '10.244.1.3'],
  ['cali2', '10.244.1.4'],
  // Claims to be another pod.
  ['cali2', '10.244.1.2'],
] as const

/** Services, the node, endpoints, the world. */
const TARGETS = [
  ['tcp', '10.96.0.80', 80],
  ['tcp', '203.0.113.80', 443],
  ['tcp', '192.168.1.1', 30080],
  ['tcp', '192.168.1.1', 30081],
  ['tcp', '192.168.1.1', 10250],
  ['tcp', '10.244.1.3', 8080],
  ['tcp', '10.244.1.4', 8080],
  ['tcp', '10.244.1.2', 22],
  ['tcp', '198.51.100.1', 443],
  ['udp', '10.96.0.10', 53],
  ['udp', '10.244.1.3', 53],
  ['udp', '192.168.1.1', 53],
  ['icmp', '10.244.1.4', 0],
  ['icmp', '192.168.1.1', 0],
] as const

/** Every source opens a flow to every target, in a drawn order; then packets of those flows and answers to them. */
function traffic(random: SeededRandom): Step[] {
  const below = (n: number): number => random.u32() % n
  const flows = SOURCES.flatMap(([dev, src], s) =>
    TARGETS.map(([kind, dst, dport], t) => ({ dev, src, kind, dst, dport, sport: 2000 + s * 100 + t })),
  )
  for (let i = flows.length - 1; i > 0; i--) {
    const j = below(i + 1)
    ;[flows[i], flows[j]] = [flows[j]!, flows[i]!]
  }
  const frame = (flow: (typeof flows)[number], again: boolean, back: string | null): string => {
    const { src, dst, sport, dport, kind } = flow
    const way =
      back === null
        ? { src, dst, sport, dport }
        : {
            src: back,
            dst: src,
            sport: back.startsWith('10.244') ? (kind === 'tcp' ? 8080 : 53) : dport,
            dport: sport,
          }
    if (kind === 'udp') return toHex(udp({ ...way, payload: 20 }))
    if (kind === 'icmp')
      return toHex(icmp({ src: way.src, dst: way.dst, type: back ? 0 : 8, code: 0, payload: 16, id: sport }))
    const flags = back !== null ? 'SA' : again ? ['A', 'PA', 'FA', 'S'][below(4)]! : 'S'
    return toHex(tcp({ ...way, flags, seq: 1000, ack: flags === 'S' ? 0 : 1001 }))
  }
  const steps: Step[] = []
  const add = (dev: string, hexFrame: string): void =>
    void steps.push({ id: steps.length, dev, frame: hexFrame })
  for (const [i, flow] of flows.entries()) {
    add(flow.dev, frame(flow, false, null))
    const old = flows[below(i + 1)]!
    if (below(2) === 0) add(old.dev, frame(old, true, null))
    const web = below(2) === 0 ? '10.244.1.3' : '10.244.1.4'
    if (below(2) === 0) add('cali2', frame(old, true, web))
    if (below(4) === 0) add('eth0', frame(old, true, old.dst))
  }
  return steps
}

function scenario(s: number): Scenario {
  const text = (file: string): string =>
    readFileSync(join(repositoryRoot(), 'test/data/kubernetes', file), 'utf8')
  return {
    name: `kubernetes-${s}`,
    devices: [
      { name: 'eth0', mtu: 1500, addresses: ['192.168.1.1/24'] },
      { name: 'cali1', mtu: 1440, addresses: [] },
      { name: 'cali2', mtu: 1440, addresses: [] },
    ],
    routes: [
      'default via 192.168.1.254 dev eth0',
      '10.244.1.2/32 dev cali1',
      '10.244.1.3/32 dev cali2',
      '10.244.1.4/32 dev cali2',
    ],
    rules: [],
    sysctls: {
      'net.ipv4.ip_forward': '1',
      'net.ipv4.conf.all.rp_filter': '0',
      'net.netfilter.nf_conntrack_acct': '1',
    },
    sets: text('ipset-save'),
    iptables: text('iptables-save'),
    steps: traffic(new SeededRandom(s)),
  }
}

describe.skipIf(why !== null)('a node', () => {
  test.each([0, 1, 2, 3])('services, endpoints, node ports and denied policies, seed + %i', async (n) => {
    const result = await pool.use((oracle) => compareOnce(oracle, scenario(seed + n), runEngine))
    expect(result.differences.length, report(result)).toBe(0)
    // What it is about has happened: translations, denials by policy, refusals, false sources.
    const { save } = result.kernel
    for (const rule of [
      'KUBE-SEP-WEB1 -p tcp',
      'KUBE-SEP-WEB2 -p tcp',
      'KUBE-SEP-DNS -p udp',
      'KUBE-NODEPORTS -p tcp',
      'KUBE-SERVICES -m comment --comment "load balancers"',
      'cali-tw-cali2 -m comment --comment "Drop if no policies passed packet"',
      'cali-pi-web -p tcp',
      'cali-nat-outgoing',
      'cali-PREROUTING -m comment --comment "no pod',
      'KUBE-EXTERNAL-SERVICES',
    ])
      expect(save).toMatch(new RegExp(`^\\[[1-9]\\d*:\\d+\\] -A ${rule}`, 'm'))
  })
})
