// What the host takes for right after a rule has changed the header behind conntrack's back: sums off by as much as
// such rules change, of every protocol of IPv6, against the kernel. Random: TUNWALL_SEED and TUNWALL_SCENARIOS go on.

import { afterAll, describe, expect, test } from 'vitest'
import { describe as tell } from '../harness/compare.ts'
import { icmp, icmpError, SeededRandom, tcp, udp, udplite } from '../harness/frames.ts'
import { Oracle, whyNoKernel } from '../harness/kernel.ts'
import { hex, type Scenario } from '../harness/scenario.ts'
import { runEngine } from '../harness/scenario-engine.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'
import { compareOnce } from '../harness/shrink.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: checksums are not compared with the kernel: ${reason}`)
const oracle = reason === null ? new Oracle() : null
afterAll(() => oracle?.close())

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 12)
const FRAMES = 60

const CLIENT = '2001:db8:1::2'
const SERVER = '2001:db8:2::2'
const HERE = '2001:db8:1::1'

const MANGLE = [
  'HL --hl-inc 1',
  'HL --hl-dec 1',
  'HL --hl-inc 3',
  'HL --hl-set 64',
  'TOS --set-tos 0x04',
  'DSCP --set-dscp 1',
  'DNPT --src-pfx 2001:db8:7::/64 --dst-pfx 2001:db8:1::/64',
  'SNPT --src-pfx 2001:db8:1::/64 --dst-pfx 2001:db8:3::/64',
]
const REJECT = ['REJECT', 'REJECT --reject-with tcp-reset', 'ACCEPT']

/** Random rules that change headers, and such that look at checksums behind them. */
function rulesOf(random: SeededRandom): string {
  const change = (chains: readonly string[], targets: readonly string[]): string[] =>
    Array.from({ length: 1 + random.below(3) }, () => {
      const target = random.pick(targets)
      const chain = target.startsWith('SNPT') ? random.pick(['INPUT', 'POSTROUTING']) : random.pick(chains)
      const protocol = target.includes('tcp-reset') ? 'tcp' : random.pick(['tcp', 'udp', 'ipv6-icmp', ''])
      if (target.startsWith('DNPT') && !['PREROUTING', 'OUTPUT'].includes(chain)) return ''
      return `-A ${chain}${protocol === '' ? '' : ` -p ${protocol}`} -j ${target}`
    }).filter((line) => line !== '')
  return [
    '*mangle',
    ...change(['PREROUTING', 'INPUT', 'FORWARD', 'PREROUTING'], MANGLE),
    'COMMIT',
    ...(random.below(2) === 0
      ? [
          '*nat',
          `-A PREROUTING -d ${SERVER} -j DNAT --to-destination ${random.pick([HERE, '2001:db8:2::3'])}`,
        ]
      : ['*nat', `-A POSTROUTING -j SNAT --to-source 2001:db8:2::1`]),
    'COMMIT',
    '*filter',
    ...(random.below(4) === 0 ? [] : change(['INPUT', 'FORWARD', 'OUTPUT'], REJECT)),
    'COMMIT',
    '',
  ].join('\n')
}

/** Adds `by` to the checksum `at` bytes behind the fixed header, in ones' complement. */
function spoil(frame: Uint8Array, at: number, by: number): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset)
  const s = view.getUint16(40 + at) + (by < 0 ? by + 0xffff : by)
  view.setUint16(40 + at, (s & 0xffff) + (s >>> 16))
  return frame
}

function frameOf(random: SeededRandom): Uint8Array {
  const src = CLIENT
  const dst = random.pick([HERE, SERVER, '2001:db8:2::1'])
  const ttl = random.pick([64, 63, 65, 2])
  const payload = new Uint8Array(random.pick([0, 1, 7, 48, 49, 68, 69, 70, 200])).map(() => random.below(256))
  const ends = { src, dst, ttl, sport: 1000 + random.below(4), dport: 2000 + random.below(4) }
  const by = random.pick([0, 0, 1, -1, 2, -2, 3, -3, 0x40, -0x40, 0x100, -0x100, 0x55])
  switch (random.below(6)) {
    case 0:
      return spoil(tcp({ ...ends, flags: random.pick(['S', 'A', 'SA', 'F']), payload }), 16, by)
    case 1:
      return spoil(icmp({ src, dst, ttl, payload, echoId: random.below(3) }), 2, by)
    case 2: {
      const quoted = udp({ ...ends, src: dst, dst: src, payload })
      return spoil(icmpError(1, random.below(5), quoted, { ttl }), 2, by)
    }
    case 3:
      return spoil(udplite({ ...ends, payload }), 6, by)
    default: {
      const cut = random.below(3) === 0 ? Math.min(payload.length, random.below(9)) : 0
      const whole = udp({ ...ends, payload: payload.subarray(0, payload.length - cut) })
      if (cut === 0) return spoil(whole, 6, by)
      // Longer than its header says.
      const out = new Uint8Array(whole.length + cut)
      out.set(whole)
      out.set(payload.subarray(payload.length - cut), whole.length)
      new DataView(out.buffer).setUint16(4, out.length - 40)
      return spoil(out, 6, by)
    }
  }
}

function scenarioOf(seed: number): Scenario {
  const random = new SeededRandom(seed)
  return {
    name: `checksums-${seed}`,
    family: 6,
    devices: [
      { name: 'eth0', mtu: 1500, addresses: [`${HERE}/64`] },
      { name: 'eth1', mtu: 1500, addresses: ['2001:db8:2::1/64'] },
    ],
    routes: [],
    rules: [],
    sysctls: { 'net.ipv6.conf.all.forwarding': '1' },
    iptables: rulesOf(random),
    steps: Array.from({ length: FRAMES }, (_, id) => ({ id, dev: 'eth0', frame: hex(frameOf(random)) })),
  }
}

describe.skipIf(oracle === null)('checksums behind changed headers', () => {
  test(`${SCENARIOS} hosts from seed ${SEED_OF_RUN}`, async () => {
    for (let n = 0; n < SCENARIOS; n++) {
      const { scenario, kernel, differences } = await compareOnce(
        oracle!,
        scenarioOf(SEED_OF_RUN + n),
        runEngine,
      )
      expect(differences.length, tell(scenario, kernel, differences)).toBe(0)
    }
  })
})
