// The rules that the project was founded on (kube-proxy's, Calico's with its sets, the hand-written ones of the
// seeds) load, print back, and behave as in the kernel.

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
if (why !== null) console.warn(`NOT RUN: the seeds' rules are not compared with the kernel: ${why}`)
const seed = SEED_OF_RUN

const pool = new OraclePool(2)
afterAll(() => pool.close())

const HOSTS: Readonly<Record<string, readonly string[]>> = {
  eth0: ['192.168.1.3', '8.8.8.8', '118.24.1.1', '192.168.0.102'],
  cali12ab34: ['192.170.80.7', '10.123.32.5'],
  docker0: ['172.17.0.2', '192.170.80.9'],
  'eth2.2': ['10.2.0.9'],
}
/** Service, load balancer, published, node's own and pod addresses of the seeds. */
const TARGETS = [
  '192.170.7.7',
  '10.123.63.85',
  '118.24.224.100',
  '202.202.202.2',
  '203.0.113.80',
  '192.168.1.1',
  '10.2.0.1',
  '10.123.32.5',
  '192.168.0.102',
  '172.17.0.2',
  '8.8.8.8',
]
const PORTS = [80, 8080, 30392, 443, 53]

function traffic(random: SeededRandom): Step[] {
  const pick = <T>(list: readonly T[]): T => list[random.u32() % list.length]!
  const sent: { dev: string; src: string; dst: string; sport: number; dport: number }[] = []
  return Array.from({ length: 300 }, (_, id) => {
    // Now and then the far end of an earlier packet answers.
    const old = sent.length > 0 && random.u32() % 3 === 0 ? pick(sent) : null
    const dev = old ? pick(Object.keys(HOSTS)) : pick(Object.keys(HOSTS))
    const way = old
      ? { src: pick([old.dst, '10.123.32.5']), dst: old.src, sport: pick([old.dport, 80]), dport: old.sport }
      : { src: pick(HOSTS[dev]!), dst: pick(TARGETS), sport: 1024 + (random.u32() % 20), dport: pick(PORTS) }
    if (!old) sent.push({ dev, ...way })
    const kind = random.u32() % 10
    const flags = old ? pick(['SA', 'A', 'RA']) : pick(['S', 'S', 'S', 'A', 'FA', 'SAR'])
    const frame =
      kind < 7
        ? tcp({ ...way, flags, seq: random.u32(), ack: flags.includes('A') ? random.u32() : 0 })
        : kind < 9
          ? udp({ ...way, payload: 20 })
          : icmp({ src: way.src, dst: way.dst, type: 8, code: 0, payload: 16 })
    return { id, dev, frame: toHex(frame) }
  })
}

function scenario(s: number): Scenario {
  return {
    name: `seeds-${s}`,
    devices: [
      { name: 'eth0', mtu: 1500, addresses: ['192.168.1.1/24', '192.168.0.1/24'] },
      { name: 'cali12ab34', mtu: 1440, addresses: [] },
      { name: 'docker0', mtu: 1500, addresses: ['172.17.0.1/16'] },
      { name: 'eth2.2', mtu: 1500, addresses: ['10.2.0.1/24'] },
    ],
    routes: [
      'default via 192.168.1.254 dev eth0',
      '192.170.80.7/32 dev cali12ab34',
      '10.123.32.5/32 dev cali12ab34',
      '192.170.80.9/32 dev docker0',
    ],
    rules: [],
    sysctls: {
      'net.ipv4.ip_forward': '1',
      'net.ipv4.conf.all.rp_filter': '0',
      'net.netfilter.nf_conntrack_acct': '1',
    },
    sets: readFileSync(join(repositoryRoot(), 'test/data/seeds/ipset-save'), 'utf8'),
    // The kernel's side restores without -c; a host folder keeps the counters.
    iptables: readFileSync(join(repositoryRoot(), 'test/data/seeds/iptables-save'), 'utf8').replace(
      /\[\d+:\d+\]/g,
      '[0:0]',
    ),
    steps: traffic(new SeededRandom(s)),
  }
}

describe.skipIf(why !== null)('the rules of the seeds', () => {
  test.each([0, 1, 2])('300 packets through kube-proxy’s and Calico’s rules, seed + %i', async (n) => {
    const result = await pool.use((oracle) => compareOnce(oracle, scenario(seed + n), runEngine))
    expect(result.differences.length, report(result)).toBe(0)
    // The comparison covers the printed rules, too; they must not be empty on both sides.
    expect(result.kernel.save).toContain('KUBE-SEP-GZIIAEF444AZU3YY -p tcp')
  })
})
