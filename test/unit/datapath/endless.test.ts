// A packet that rules send round for ever: the kernel goes on until the namespace ends, tunwall does not.

import { expect, test } from 'vitest'
import { Reason } from '../../../datapath/counters.ts'
import { udp } from '../../harness/frames.ts'
import type { Scenario } from '../../harness/scenario.ts'
import { EngineHost } from '../../harness/scenario-engine.ts'

const scenario: Scenario = {
  name: 'round',
  family: 6,
  devices: [{ name: 'eth0', mtu: 1500, addresses: ['fd00:1::1/64', 'fe80::1/64'] }],
  routes: ['default dev eth0'],
  rules: [],
  sysctls: { 'net.ipv6.conf.all.forwarding': '1' },
  iptables: '*mangle\n-A PREROUTING -p udp -j TEE --gateway fd00:1::2\nCOMMIT\n',
  steps: [],
}

test('copies of multicast that come back are dropped after a thousand rounds', () => {
  const host = new EngineHost(scenario, { i32: () => 1 }, null)
  const { counters } = host.engine.host
  host.receive('eth0', udp({ src: 'fd00:1::2', dst: 'ff02::2', sport: 7, dport: 9, payload: 0 }))
  const frames = host.sent()
  expect(counters.drops[Reason.Looped]).toBe(1)
  expect(frames.length).toBeGreaterThan(900)
  expect(frames.length).toBeLessThan(1100)
  // It goes on as ever.
  host.receive('eth0', udp({ src: 'fd00:1::2', dst: 'fd00:1::3', sport: 7, dport: 9, payload: 0 }))
  expect(host.sent().length).toBeGreaterThan(0)
})
