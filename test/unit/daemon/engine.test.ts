// createEngine(): what the folder says is what the host has.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../../daemon/engine.ts'
import { PlaceError } from '../../../daemon/errors.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { SeededRandom } from '../../../daemon/random.ts'
import { runTool } from '../../../daemon/tools.ts'
import type { Route } from '../../../datapath/fib.ts'
import { MemoryEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import { formatAddress } from '../../../datapath/wire/address.ts'
import { writeFolder } from '../../harness/capture.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-engine-'))
afterAll(() => rmSync(root, { recursive: true }))
let made = 0

function build(files: Record<string, string>): Engine {
  const config = loadHostFolder(writeFolder(join(root, String(made++)), files))
  const memory = new FrameMemory(16, 2000)
  return createEngine(config, { memory, egress: new MemoryEgress(memory), random: new SeededRandom(1) })
}

/** The error's line without the folder. */
function mistake(files: Record<string, string>): string {
  try {
    build(files)
  } catch (error) {
    if (error instanceof PlaceError) return error.message.replaceAll(`${join(root, String(made - 1))}/`, '')
    throw error
  }
  return 'none'
}

const show = (r: Route): string =>
  `${r.type} ${formatAddress(r.family, r.dst)}/${r.prefixLength} ${r.device?.name ?? '-'} ${r.table} ${r.protocol}`

const ADDR =
  '[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"mtu":65536,"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host","label":"lo"}]},' +
  '{"ifindex":4,"ifname":"eth0","flags":["UP","POINTOPOINT"],"mtu":1400,"addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24,"scope":"global"},' +
  '{"family":"inet","local":"10.0.0.2","prefixlen":24,"scope":"global","secondary":true}]}]'
const LISTED =
  '[{"dst":"10.0.0.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"10.0.0.1","flags":[]},' +
  '{"type":"local","dst":"10.0.0.1","dev":"eth0","table":"local","protocol":"kernel","scope":"host","prefsrc":"10.0.0.1","flags":[]}]'

describe('addresses', () => {
  // As Linux 6.18 told of an interface with use_tempaddr, and what it chose.
  const TEMPORARY =
    '[{"ifindex":2,"ifname":"tt0","flags":["POINTOPOINT","UP"],"mtu":1500,"addr_info":[' +
    '{"family":"inet6","local":"2001:db8:1:0:59d8:a651:b0d:87ba","prefixlen":64,"scope":"global","temporary":true,"dynamic":true,"valid_life_time":604800,"preferred_life_time":85997},' +
    '{"family":"inet6","local":"2001:db8:1::1","prefixlen":64,"scope":"global","mngtmpaddr":true,"valid_life_time":4294967295,"preferred_life_time":4294967295}]}]'
  test.each([
    [0, '2001:db8:1::1'],
    [1, '2001:db8:1::1'],
    [2, '2001:db8:1:0:59d8:a651:b0d:87ba'],
  ])('that are temporary are sources where use_tempaddr is 2, not %i', (value, source) => {
    const sysctl = `net.ipv6.conf.tt0.use_tempaddr = ${value}\n`
    const engine = build({ 'ip-addr.json': TEMPORARY, sysctl })
    const argv = ['-6', 'route', 'get', '2001:db8:1::5']
    const { stdout } = runTool({ tool: 'ip', directory: '/', argv, stdin: '' }, engine)
    expect(stdout).toContain(` src ${source} `)
  })
})

describe('routes', () => {
  test('that the folder lists go with their address, an anycast one too', () => {
    const listed = (type: string, dst: string, table: string): string =>
      `{"type":"${type}","dst":"${dst}","dev":"eth0","table":"${table}","protocol":"kernel","metric":${table === 'main' ? 256 : 0},"flags":[],"pref":"medium"}`
    const engine = build({
      'ip-addr.json':
        '[{"ifindex":4,"ifname":"eth0","flags":["UP","POINTOPOINT","MULTICAST"],"mtu":1500,"addr_info":[{"family":"inet6","local":"2001:db8::1","prefixlen":64,"scope":"global"}]}]',
      'ip6-route.json': `[${listed('unicast', '2001:db8::/64', 'main')},${listed('anycast', '2001:db8::', 'local')},${listed('local', '2001:db8::1', 'local')}]`,
      sysctl: 'net.ipv6.conf.all.forwarding = 1\nnet.ipv6.conf.eth0.forwarding = 1\n',
    })
    const ours = (): string[] =>
      engine.host.fib
        .routes(6)
        .map(show)
        .filter((text) => text.includes('2001:db8::'))
        .sort()
    expect(ours()).toEqual([
      '1 2001:db8::/64 eth0 254 kernel',
      '2 2001:db8::1/128 eth0 255 kernel',
      '4 2001:db8::/128 eth0 255 kernel',
    ])
    const argv = ['addr', 'del', '2001:db8::1/64', 'dev', 'eth0']
    runTool({ tool: 'ip', directory: '/', argv, stdin: '' }, engine)
    expect(ours()).toEqual([])
  })

  test('follow from addresses', () => {
    const { host } = build({ 'ip-addr.json': ADDR })
    expect(host.devices.byName('eth0')).toMatchObject({ index: 4, mtu: 1400, up: true, pointToPoint: true })
    expect(host.fib.routes(4).map(show).sort()).toEqual([
      '1 10.0.0.0/24 eth0 254 kernel',
      '2 10.0.0.1/32 eth0 255 kernel',
      '2 10.0.0.2/32 eth0 255 kernel',
      '2 127.0.0.0/8 lo 255 kernel',
      '2 127.0.0.1/32 lo 255 kernel',
      '3 10.0.0.255/32 eth0 255 kernel',
      '3 127.255.255.255/32 lo 255 kernel',
    ])
  })

  test('with the local table listed, nothing but the list', () => {
    const { host } = build({ 'ip-addr.json': ADDR, 'ip-route.json': LISTED })
    expect(host.fib.routes(4).map(show).sort()).toEqual([
      '1 10.0.0.0/24 eth0 254 kernel',
      '2 10.0.0.1/32 eth0 255 kernel',
    ])
  })

  test('without it, local and broadcast routes follow', () => {
    const { host } = build({
      'ip-addr.json': ADDR,
      'ip-route.json': '[{"dst":"default","dev":"eth0","flags":[]}]',
    })
    const all = host.fib.routes(4).map(show)
    expect(all.filter((r) => r.includes(' 254 '))).toEqual(['1 0.0.0.0/0 eth0 254 boot'])
    expect(all.filter((r) => r.includes(' 255 '))).toHaveLength(6)
  })

  test('of an address that only host.yaml has are there all the same', () => {
    const { host } = build({
      'ip-addr.json': ADDR,
      'ip-route.json': LISTED,
      'host.yaml': 'interfaces: {eth0: {addresses: 10.7.0.1/16}}\nroutes: [10.8.0.0/16 via 10.7.0.9]\n',
    })
    expect(host.fib.routes(4).map(show).sort()).toEqual([
      '1 10.0.0.0/24 eth0 254 kernel',
      '1 10.7.0.0/16 eth0 254 kernel',
      '1 10.8.0.0/16 eth0 254 boot',
      '2 10.0.0.1/32 eth0 255 kernel',
      '2 10.7.0.1/32 eth0 255 kernel',
      '3 10.7.255.255/32 eth0 255 kernel',
    ])
  })

  test('rules of both files', () => {
    const { host } = build({
      'ip-addr.json': ADDR,
      'ip-rule.json':
        '[{"priority":0,"src":"all","table":"local"},{"priority":9,"src":"10.0.0.0","srclen":8,"table":"vpn"},{"priority":32766,"src":"all","table":"main"}]',
      'ip-route.json': '[{"dst":"default","dev":"eth0","table":"vpn","flags":[]}]',
      'host.yaml': 'rules: [fwmark 7 table vpn]\n',
    })
    const vpn = host.fib.routes(4).find((r) => r.prefixLength === 0)!.table
    expect(host.fib.rules(4).map((r) => [r.priority, r.table])).toEqual([
      [0, 255],
      [8, vpn],
      [9, vpn],
      [32766, 254],
    ])
  })
})

describe('sysctls', () => {
  test('in an order in which one does not undo another; unknown ones are kept, read-only ones passed over', () => {
    const { host } = build({
      'ip-addr.json': ADDR,
      sysctl:
        'net.ipv4.conf.all.accept_redirects = 1\nnet.ipv4.conf.all.forwarding = 1\nnet.ipv4.conf.eth0.forwarding = 0\n' +
        'net.ipv4.conf.eth0.mc_forwarding = 0\nnet.ipv4.conf.lo.forwarding = 1\nnet.ipv4.ip_forward = 1\n' +
        'net.ipv4.tcp_rmem = 4096\t131072\t33554432\nnet.netfilter.nf_conntrack_count = 5\nnet.netfilter.nf_conntrack_udp_timeout = 7\n',
    })
    const { tunables } = host
    expect(tunables.get('net.ipv4.ip_forward')).toBe(1)
    expect(tunables.get('net.ipv4.conf.all.accept_redirects')).toBe(1)
    expect(host.devices.byName('eth0')!.conf.forwarding).toBe(false)
    expect(host.devices.byName('lo')!.conf.forwarding).toBe(true)
    expect(tunables.text('net.ipv4.tcp_rmem')).toBe('4096\t131072\t33554432')
    expect(tunables.get('net.netfilter.nf_conntrack_count')).toBe(0)
    expect(tunables.get('net.netfilter.nf_conntrack_udp_timeout')).toBe(7)
  })

  test('one that bounds another may come behind it', () => {
    const { host } = build({
      'ip-addr.json': ADDR,
      sysctl: 'net.ipv4.ipfrag_high_thresh = 3000\nnet.ipv4.ipfrag_low_thresh = 0\n',
    })
    expect(host.tunables.get('net.ipv4.ipfrag_high_thresh')).toBe(3000)
    expect(() => build({ 'ip-addr.json': ADDR, sysctl: 'net.ipv4.ipfrag_high_thresh = 3000\n' })).toThrow(
      'sysctl:1:1: net.ipv4.ipfrag_high_thresh: "3000" must be',
    )
  })

  test.each([
    [
      'sysctls:\n  net.ipv4.ip_default_ttl: 256\n',
      /^host\.yaml:2:28: net\.ipv4\.ip_default_ttl: "256" must be a whole number from 1 to 255$/,
    ],
    ['sysctls:\n  net.ipv4.ip_forward: on and off\n', /^host\.yaml:2:24: /],
    ['sysctls:\n  net.netfilter.nf_conntrack_count: 5\n', /^host\.yaml:2:37: .*read-only$/],
  ])('%j', (yaml, want) => {
    expect(mistake({ 'host.yaml': yaml })).toMatch(want)
  })
})

describe('rulesets', () => {
  const rules = (text: string) => ({ 'ip-addr.json': ADDR, 'iptables-save': text })

  test('are in force with their counters', () => {
    const { tables } = build(
      rules(
        '*filter\n:INPUT DROP [1:2]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n[3:4] -A INPUT -i lo -j ACCEPT\nCOMMIT\n',
      ),
    )
    const chain = tables.table(4, 'filter').chain('INPUT')
    expect([chain.model.policy, chain.policyPackets, chain.policyBytes]).toEqual(['DROP', 1, 2])
    expect([...chain.counters]).toEqual([3, 4])
    expect(tables.isUsed(4, 'nat')).toBe(false)
  })

  test.each([
    ['*filter\n-A INPUT -j NOWHERE\nCOMMIT\n', /^iptables-save:2:\d+: .*NOWHERE/],
    ['*filter\n-A INPUT -p tcp --dport 70000 -j DROP\nCOMMIT\n', /^iptables-save:2:\d+: .*70000/],
    ['*filter\n-A INPUT --what -j DROP\nCOMMIT\n', /^iptables-save:2:\d+: .*--what/],
    ['*filter\n-A INPUT -j DROP\n', /^iptables-save:\d+:\d+: .*COMMIT/],
    ['*fliter\nCOMMIT\n', /^iptables-save:1:\d+: .*fliter/],
    ['hello\n', /^iptables-save:1:1: .*hello/],
    [
      '*filter\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -j A\n-A INPUT -j A\nCOMMIT\n',
      /^iptables-save:\d+:\d+: /,
    ],
  ])('%j', (text, want) => {
    expect(mistake(rules(text))).toMatch(want)
  })

  test('10,000 rules load', () => {
    const lines = Array.from(
      { length: 10_000 },
      (_, i) => `-A FORWARD -s 10.${i >> 8}.${i & 255}.1/32 -p tcp -m tcp --dport ${1 + i} -j ACCEPT`,
    )
    const text = `*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n${lines.join('\n')}\nCOMMIT\n`
    const { tables } = build(rules(text))
    expect(tables.table(4, 'filter').chain('FORWARD').model.rules).toHaveLength(10_000)
  })
})

test('a random host folder of many routes loads, whatever order gateways and links stand in', () => {
  const routes = Array.from({ length: 50_000 }, (_, i) => ({
    dst: `${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/24`,
    gateway: `10.0.0.${2 + (i % 200)}`,
    dev: 'eth0',
    flags: [],
  }))
  const { host } = build({ 'ip-addr.json': ADDR, 'ip-route.json': JSON.stringify(routes) })
  expect(host.fib.routes(4, 254)).toHaveLength(50_000)
})
