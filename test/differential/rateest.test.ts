// RATEEST and -m rateest with packets that come and time that passes: bursts, silence, thresholds around the estimate.
// The estimators run on clocks of their own, which began at a moment that nobody knows: some moment there is with which
// every answer is the kernel's.

import { afterAll, expect, test } from 'vitest'
import { udp } from '../harness/frames.ts'
import { Oracle, runKernel, whyNoKernel } from '../harness/kernel.ts'
import { hex, type Scenario, type Step } from '../harness/scenario.ts'
import { runEngine } from '../harness/scenario-engine.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: RATEEST is not compared with the kernel: ${reason}`)
const oracle = reason === null ? new Oracle() : null
afterAll(() => oracle?.close())

const THRESHOLDS = [0, 2, 5, 10, 20, 40, 80, 160, 320]
/** Of 500 bytes, for bits a second. */
const BITS = 4000
/** Of the longer interval, milliseconds: how long before the kernel's first packet ours began. */
const PHASES = Array.from({ length: 25 }, (_, i) => i * 20)

const rules = (): string[] => [
  '-A FORWARD -p udp --dport 1 -j RATEEST --rateest-name a --rateest-interval 250ms --rateest-ewmalog 500ms',
  '-A FORWARD -p udp --dport 2 -j RATEEST --rateest-name b --rateest-interval 500ms --rateest-ewmalog 2s',
  ...THRESHOLDS.flatMap((n) => [
    `-A FORWARD -p udp --dport 3 -m rateest --rateest a --rateest-gt --rateest-pps ${n}`,
    `-A FORWARD -p udp --dport 3 -m rateest --rateest b --rateest-lt --rateest-bps ${n * BITS}bit`,
    `-A FORWARD -p udp --dport 3 -m rateest --rateest-delta --rateest a --rateest-bps1 ${160 * BITS}bit --rateest-gt --rateest-bps2 ${n * BITS}bit`,
  ]),
  '-A FORWARD -p udp --dport 3 -m rateest --rateest1 a --rateest-pps --rateest-gt --rateest2 b',
  '-A FORWARD -p udp --dport 3 -m rateest --rateest1 a --rateest-bps ! --rateest-lt --rateest2 b',
]

function steps(): Step[] {
  const out: Step[] = []
  const frame = (dport: number) =>
    hex(udp({ src: '10.0.0.2', dst: '10.0.1.2', sport: 9, dport, payload: dport === 3 ? 1 : 472 }))
  const send = (dport: number, count: number, pause: number): void => {
    for (let i = 0; i < count; i++)
      out.push({
        id: out.length,
        ...(i === 0 && pause > 0 ? { pause } : {}),
        dev: 'eth0',
        frame: frame(dport),
      })
  }
  for (const [a, b, pause] of [
    [0, 0, 300],
    [40, 10, 50],
    [0, 0, 1300],
    [20, 80, 100],
    [0, 0, 900],
    [0, 0, 1800],
  ] as const) {
    send(3, 1, pause)
    send(1, a, 0)
    send(2, b, 0)
  }
  return out
}

test.skipIf(reason !== null)(
  'estimates are as in the kernel',
  // In real time: a machine that was busy elsewhere is asked again.
  { timeout: 120_000, retry: 2 },
  async () => {
    const scenario: Scenario = {
      name: 'rateest',
      devices: [
        { name: 'eth0', mtu: 1500, addresses: ['10.0.0.1/24'] },
        { name: 'eth1', mtu: 1500, addresses: ['10.0.1.1/24'] },
      ],
      routes: [],
      rules: [],
      sysctls: { 'net.ipv4.ip_forward': '1' },
      iptables: `*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n${rules().join('\n')}\nCOMMIT\n`,
      steps: steps(),
    }
    const kernel = await runKernel(oracle!, scenario)
    const counts = (save: string): number[] =>
      [...save.matchAll(/^\[(\d+):\d+\].*-m rateest/gm)].map((m) => Number(m[1]))
    const theirs = counts(kernel.save)
    const ours = PHASES.map((phase) => {
      const steps = kernel.steps.map((step) => ({ ...step, at: step.at + phase }))
      return counts(runEngine(scenario, { ...kernel, steps, endAt: kernel.endAt + phase }).save).join()
    })
    expect(ours).toContain(theirs.join())
    // Some thresholds are above the estimate, some below.
    expect(Math.min(...theirs)).toBe(0)
    expect(Math.max(...theirs)).toBe(6)
    expect(new Set(theirs).size).toBeGreaterThan(3)
  },
)
