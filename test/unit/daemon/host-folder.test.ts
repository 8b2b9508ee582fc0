// The host folder: what iproute2 prints is read whole, and every mistake has a place and a reason.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { PlaceError } from '../../../daemon/errors.ts'
import type { HostConfig, RouteConfig } from '../../../daemon/host-folder/config.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { parseJson } from '../../../daemon/host-folder/json.ts'
import { SourceFile } from '../../../daemon/host-folder/source.ts'
import { formatAddress } from '../../../datapath/wire/address.ts'
import { SeededRandom } from '../../harness/frames.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-host-folder-'))
afterAll(() => rmSync(root, { recursive: true }))
let made = 0

function folder(files: Record<string, string>): string {
  const directory = join(root, String(made++))
  mkdirSync(directory)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
  return directory
}

const load = (files: Record<string, string>): HostConfig => loadHostFolder(folder(files))

/** The error's one line without the folder, or null. */
function mistake(files: Record<string, string>): string | null {
  const directory = folder(files)
  try {
    loadHostFolder(directory)
    return null
  } catch (error) {
    if (!(error instanceof PlaceError)) throw error
    expect(error.status).toBe(2)
    expect(error.message).not.toContain('\n')
    return error.message.replaceAll(`${directory}/`, '')
  }
}

const IFACE = (name: string, index: number, addresses: string): string =>
  `{"ifindex":${index},"ifname":"${name}","flags":["POINTOPOINT","MULTICAST","NOARP","UP","LOWER_UP"],"mtu":1500,` +
  `"qdisc":"pfifo_fast","operstate":"UP","group":"default","txqlen":500,"link_type":"none","addr_info":[${addresses}]}`
const ADDR =
  `[${IFACE('eth0', 2, '{"family":"inet","local":"10.0.0.1","prefixlen":24,"scope":"global","label":"eth0","valid_life_time":4294967295,"preferred_life_time":4294967295}')},` +
  `${IFACE('eth1', 3, '{"family":"inet","local":"10.5.0.1","prefixlen":24,"broadcast":"10.5.0.255","scope":"global","label":"eth1"}')}]`

const show = (r: RouteConfig): string =>
  [
    r.type === 1 ? '' : `type ${r.type}`,
    `${formatAddress(r.family, r.dst)}/${r.prefixLength}`,
    r.gateway === null ? '' : `via ${formatAddress(r.gatewayFamily, r.gateway)}`,
    r.device === null ? '' : `dev ${r.device}`,
    `table ${r.table}`,
    r.protocol === 'boot' ? '' : `proto ${r.protocol}`,
    `scope ${r.scope}`,
    r.preferredSource === null ? '' : `src ${formatAddress(r.family, r.preferredSource)}`,
    r.metric === 0 ? '' : `metric ${r.metric}`,
    r.tos === 0 ? '' : `tos ${r.tos}`,
    r.mtu === 0 ? '' : `mtu ${r.mtu}`,
    r.realm === 0 ? '' : `realm ${r.realm}`,
    r.onlink ? 'onlink' : '',
    ...(r.nexthops ?? []).map(
      (n) =>
        `nexthop ${n.gateway === null ? '' : formatAddress(r.family, n.gateway)} ${n.device} ${n.weight}`,
    ),
  ]
    .filter((part) => part !== '')
    .join(' ')

describe('ip -j', () => {
  test('interfaces and addresses', () => {
    const { interfaces } = load({ 'ip-addr.json': ADDR })
    expect(interfaces.map((i) => [i.index, i.name, i.mtu, i.up, i.loopback, i.pointToPoint])).toEqual([
      [1, 'lo', 65536, true, true, false],
      [2, 'eth0', 1500, true, false, true],
      [3, 'eth1', 1500, true, false, true],
    ])
    expect(
      interfaces[2]!.addresses.map((a) => [formatAddress(4, a.words), a.prefixLength, a.broadcast?.[0]]),
    ).toEqual([['10.5.0.1', 24, 0x0a0500ff]])
  })

  test('other names', () => {
    const named = ADDR.replace('"mtu"', `"altnames":["enp0s3","${'x'.repeat(127)}"],"mtu"`)
    const [, eth0, eth1] = load({ 'ip-addr.json': named }).interfaces
    expect(eth0!.altNames.map((a) => a.name)).toEqual(['enp0s3', 'x'.repeat(127)])
    expect(eth1!.altNames).toEqual([])
    for (const wrong of ['""', '"a b"', '"a/b"', `"${'x'.repeat(128)}"`, '7'])
      expect(mistake({ 'ip-addr.json': ADDR.replace('"mtu"', `"altnames":[${wrong}],"mtu"`) })).toMatch(
        /^ip-addr\.json:1:\d+: (?:.* is no other name of an interface|must be other name of an interface, not .*)$/,
      )
  })

  // Each line as `ip -j route show table all` of iproute2 6.1 printed it for a route added in a namespace.
  const routes: [string, string][] = [
    [
      '{"dst":"default","gateway":"10.0.0.9","dev":"eth0","flags":[]}',
      '0.0.0.0/0 via 10.0.0.9 dev eth0 table 254 scope 0',
    ],
    [
      '{"dst":"10.16.0.0/16","gateway":"10.0.0.3","dev":"eth0","table":"300","flags":[],"flow":{"to":"3"},"metrics":[{"mtu":1300,"window":3000,"rtt":20,"advmss":1200}]}',
      '10.16.0.0/16 via 10.0.0.3 dev eth0 table 300 scope 0 mtu 1300 realm 3',
    ],
    [
      '{"dst":"default","table":"100","flags":[],"nexthops":[{"gateway":"10.0.0.7","dev":"eth0","weight":2,"flags":[]},{"gateway":"10.5.0.7","dev":"eth1","weight":3,"flags":[]}]}',
      '0.0.0.0/0 table 100 scope 0 nexthop 10.0.0.7 eth0 2 nexthop 10.5.0.7 eth1 3',
    ],
    [
      '{"type":"throw","dst":"10.14.0.0/16","table":"100","flags":[]}',
      'type 9 10.14.0.0/16 table 100 scope 0',
    ],
    [
      '{"dst":"10.0.0.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"10.0.0.1","flags":[]}',
      '10.0.0.0/24 dev eth0 table 254 proto kernel scope 253 src 10.0.0.1',
    ],
    [
      '{"dst":"10.9.0.0/16","gateway":"10.0.0.8","dev":"eth0","prefsrc":"10.0.0.1","metric":100,"flags":[],"metrics":[{"mtu":1400}]}',
      '10.9.0.0/16 via 10.0.0.8 dev eth0 table 254 scope 0 src 10.0.0.1 metric 100 mtu 1400',
    ],
    ['{"type":"blackhole","dst":"10.11.0.0/16","flags":[]}', 'type 6 10.11.0.0/16 table 254 scope 0'],
    [
      '{"dst":"10.15.0.0/16","tos":"0x10","gateway":"10.0.0.3","dev":"eth0","flags":[]}',
      '10.15.0.0/16 via 10.0.0.3 dev eth0 table 254 scope 0 tos 16',
    ],
    [
      '{"dst":"10.20.0.1","via":{"family":"inet6","host":"fe80::1"},"dev":"eth1","flags":[]}',
      '10.20.0.1/32 via fe80::1 dev eth1 table 254 scope 0',
    ],
    [
      '{"dst":"10.21.0.0/16","gateway":"10.0.0.3","dev":"eth0","flags":[],"metrics":[{"hoplimit":3,"initcwnd":4,"ecn":null,"quickack":1,"congestion":"reno"}]}',
      '10.21.0.0/16 via 10.0.0.3 dev eth0 table 254 scope 0',
    ],
    [
      '{"dst":"10.26.0.0/16","nhid":5,"gateway":"10.0.0.44","dev":"eth0","flags":[]}',
      '10.26.0.0/16 via 10.0.0.44 dev eth0 table 254 scope 0',
    ],
    [
      '{"dst":"172.16.0.0/12","gateway":"9.9.9.9","dev":"eth0","flags":["onlink"]}',
      '172.16.0.0/12 via 9.9.9.9 dev eth0 table 254 scope 0 onlink',
    ],
    [
      '{"dst":"10.31.0.0/16","dev":"eth0","table":"4294967295","protocol":"77","scope":"77","flags":[]}',
      '10.31.0.0/16 dev eth0 table 4294967295 proto 77 scope 77',
    ],
    [
      '{"type":"broadcast","dst":"10.5.0.255","dev":"eth1","table":"local","protocol":"kernel","scope":"link","prefsrc":"10.5.0.1","flags":[]}',
      'type 3 10.5.0.255/32 dev eth1 table 255 proto kernel scope 253 src 10.5.0.1',
    ],
    [
      '{"type":"anycast","dst":"10.25.0.1","dev":"lo","table":"local","scope":"link","flags":[]}',
      'type 4 10.25.0.1/32 dev lo table 255 scope 253',
    ],
  ]
  test.each(routes)('%s', (json, want) => {
    const { ipv4 } = load({ 'ip-addr.json': ADDR, 'ip-route.json': `[${json}]` })
    expect(ipv4.routes.map(show)).toEqual([want])
  })

  test('IPv6 routes in ip-route.json count unless ip6-route.json is there', () => {
    const six =
      '{"type":"unreachable","dst":"2001:db8:3::/48","dev":"lo","metric":1024,"flags":[],"pref":"medium"}'
    const default6 = '{"dst":"default","dev":"eth0","metric":1024,"flags":[],"pref":"medium"}'
    const files = { 'ip-addr.json': ADDR, 'ip-route.json': `[${six},${default6}]` }
    expect(load(files).ipv6.routes.map(show)).toEqual([
      'type 7 2001:db8:3::/48 table 254 scope 0 metric 1024',
      '::/0 dev eth0 table 254 scope 0 metric 1024',
    ])
    expect(load({ ...files, 'ip6-route.json': '[]' }).ipv6.routes).toEqual([])
    expect(load(files).ipv4).toMatchObject({ from: 'main', routes: [] })
  })

  test('where routes come from', () => {
    const main = '{"dst":"10.0.0.0/24","dev":"eth0","protocol":"kernel","scope":"link","flags":[]}'
    const local = '{"type":"local","dst":"10.0.0.1","dev":"eth0","table":"local","flags":[]}'
    expect(load({ 'ip-addr.json': ADDR }).ipv4.from).toBe('addresses')
    expect(load({ 'ip-addr.json': ADDR, 'ip-route.json': `[${main}]` }).ipv4.from).toBe('main')
    expect(load({ 'ip-addr.json': ADDR, 'ip-route.json': `[${main},${local}]` }).ipv4.from).toBe('tables')
  })

  test('rules', () => {
    // As printed by `ip -j rule`.
    const text =
      '[{"priority":0,"src":"all","table":"local"},{"priority":37,"src":"all","fwmark":"0","fwmask":"0xff","table":"3"},' +
      '{"priority":39,"src":"all","dst":"5.5.5.5","nop":null},{"priority":40,"src":"all","iif":"nosuch","iif_detached":null,"table":"vpn"},' +
      '{"priority":43,"src":"3.3.3.3","table":"main","flow_from":"3","flow_to":"4"},{"priority":44,"src":"all","uid_start":1000,"uid_end":2000,"table":"6"},' +
      '{"priority":45,"src":"all","table":"5","suppress_ifgroup":"3"},{"priority":46,"src":"all","table":"main","suppress_prefixlen":0},' +
      '{"priority":47,"src":"all","ipproto":"tcp","sport_start":100,"sport_end":200,"dport":80,"table":"7"},' +
      '{"priority":49,"not":null,"src":"10.3.3.3","tos":"0x10","action":"unreachable"},{"priority":60,"src":"8.8.8.8","goto":9000},' +
      '{"priority":100,"src":"10.0.0.0","srclen":8,"table":"100"},{"priority":9000,"src":"all","action":"prohibit"}]'
    const { rules } = load({ 'ip-addr.json': ADDR, 'ip-rule.json': text, 'ip-route.json': '[]' }).ipv4
    const by = new Map(rules.map((r) => [r.priority, r]))
    expect(by.get(0)).toMatchObject({ table: 255, action: 'lookup', source: null })
    expect(by.get(37)).toMatchObject({ mark: 0, markMask: 255, table: 3 })
    expect(by.get(39)).toMatchObject({ action: 'nop', destination: { prefixLength: 32 } })
    expect(by.get(40)!.iif).toBe('nosuch')
    expect(by.get(43)!.realm).toBe(0x30004)
    expect(by.get(44)!.uids).toEqual([1000, 2000])
    expect(by.get(45)!.suppressGroup).toBe(3)
    expect(by.get(46)!.suppressPrefixLength).toBe(0)
    expect(by.get(47)).toMatchObject({ protocol: 6, sourcePorts: [100, 200], destinationPorts: [80, 80] })
    expect(by.get(49)).toMatchObject({ not: true, tos: 16, action: 'unreachable' })
    expect(by.get(60)).toMatchObject({ action: 'goto', target: 9000 })
    expect(by.get(100)!.source).toMatchObject({ prefixLength: 8 })
    expect(by.get(9000)!.action).toBe('prohibit')
  })

  test('without rules: the kernel’s own', () => {
    const { ipv4, ipv6 } = load({ 'ip-addr.json': ADDR })
    expect(ipv4.rules.map((r) => [r.priority, r.table])).toEqual([
      [0, 255],
      [32766, 254],
      [32767, 253],
    ])
    expect(ipv6.rules.map((r) => r.priority)).toEqual([0, 32766])
  })
})

describe('host.yaml', () => {
  const YAML = `
interfaces:
  eth0:
    addresses: [10.0.0.1/24, 10.0.0.2/24 label eth0:a, 2001:db8::1/64]
    mtu: 1400
    port: {tun: {namespace: client, peer: 10.0.0.9/24, routes: [default, 10.8.0.0/16 via 10.0.0.1]}}
  tun.1:
    addresses: 10.1.0.1 peer 10.1.0.2/32
    up: false
  wan:
    addresses: [192.0.2.1/24 brd +]
    mac: 02:00:00:00:00:01
    group: 7
    port: {raw: eth7}
routes:
  - default via 192.0.2.254
  - 10.7/16 via 10.0.0.77 metric 5 table 100
  - blackhole 10.99.0.0/16
  - 10.98.0.0/16 nexthop via 10.0.0.3 weight 2 nexthop dev wan
  - 2001:db8:1::/48 via 2001:db8::9
  - 172.16.0.0/12 via 9.9.9.9 dev wan onlink
rules:
  - from 10.0.0.0/8 table 100
  - fwmark 0x1/0xff iif eth0 unreachable priority 7
sysctls:
  net.ipv4.ip_forward: 1
  net.ipv4.conf.tun/1.rp_filter: 2
`
  test('everything', () => {
    const host = load({ 'host.yaml': YAML })
    expect(host.interfaces.map((i) => [i.index, i.name, i.mtu, i.up, i.pointToPoint, i.mac])).toEqual([
      [1, 'lo', 65536, true, false, null],
      [2, 'eth0', 1400, true, true, null],
      [3, 'tun.1', 1500, false, true, null],
      [4, 'wan', 1500, true, false, '02:00:00:00:00:01'],
    ])
    expect(host.interfaces.map((i) => i.group)).toEqual([0, 0, 0, 7])
    expect(host.interfaces[1]!.addresses.map((a) => a.secondary)).toEqual([false, true, false])
    expect(host.interfaces[2]!.addresses[0]).toMatchObject({ prefixLength: 32, peer: [0x0a010002, 0, 0, 0] })
    expect(host.interfaces[3]!.addresses[0]!.broadcast![0]! >>> 0).toBe(0xc00002ff)
    expect(host.interfaces[1]!.port).toMatchObject({
      kind: 'tun',
      namespace: 'client',
      name: 'eth0',
      peer: [{ prefixLength: 24 }],
      routes: [{ gateway: null }, { gateway: [0x0a000001, 0, 0, 0] }],
    })
    expect(host.interfaces[3]!.port).toMatchObject({ kind: 'raw', name: 'eth7' })
    expect(host.ipv4.routes.map(show)).toEqual([
      '0.0.0.0/0 via 192.0.2.254 dev wan table 254 scope 0',
      '10.7.0.0/16 via 10.0.0.77 dev eth0 table 100 scope 0 metric 5',
      'type 6 10.99.0.0/16 table 254 scope 0',
      '10.98.0.0/16 table 254 scope 0 nexthop 10.0.0.3 eth0 2 nexthop  wan 1',
      '172.16.0.0/12 via 9.9.9.9 dev wan table 254 scope 0 onlink',
    ])
    expect(host.ipv6.routes.map(show)).toEqual([
      '2001:db8:1::/48 via 2001:db8::9 dev eth0 table 254 scope 0 metric 1024',
    ])
    expect(host.ipv4.rules.map((r) => [r.priority, r.action, r.table])).toEqual([
      [0, 'lookup', 255],
      [7, 'unreachable', 0],
      [32765, 'lookup', 100],
      [32766, 'lookup', 254],
      [32767, 'lookup', 253],
    ])
    expect(host.sysctls.map((s) => [s.name, s.value])).toEqual([
      ['net.ipv4.ip_forward', '1'],
      ['net.ipv4.conf.tun/1.rp_filter', '2'],
    ])
  })

  test('adds to the JSON files, and may repeat what they say', () => {
    const host = load({
      'ip-addr.json': ADDR,
      'ip-route.json': '[{"dst":"default","gateway":"10.0.0.9","dev":"eth0","flags":[]}]',
      sysctl: 'net.ipv4.ip_forward = 1\nnet.ipv4.tcp_rmem = 4096\t131072\t33554432\n',
      'host.yaml':
        'interfaces: {eth0: {mtu: 1500, addresses: [10.0.0.1/24, 10.0.3.1/24], port: tun}, eth9: {}}\n' +
        'routes: [default via 10.0.0.9, 10.77.0.0/16 via 10.0.3.7]\nsysctls: {net.ipv4.ip_forward: true}\n',
    })
    expect(host.interfaces.map((i) => i.name)).toEqual(['lo', 'eth0', 'eth1', 'eth9'])
    expect(host.interfaces[1]!.addresses).toHaveLength(2)
    expect(host.ipv4.routes.map(show)).toEqual([
      '0.0.0.0/0 via 10.0.0.9 dev eth0 table 254 scope 0',
      '10.77.0.0/16 via 10.0.3.7 dev eth0 table 254 scope 0',
    ])
    expect(host.sysctls.map((s) => s.value)).toEqual(['1', '4096\t131072\t33554432'])
  })

  const named = (names: string): string => ADDR.replace('"mtu"', `"altnames":[${names}],"mtu"`)
  const yaml = (text: string): Record<string, string> => ({ 'ip-addr.json': ADDR, 'host.yaml': text })
  const clashes: [string, Record<string, string>, RegExp][] = [
    [
      'mtu',
      yaml('interfaces:\n  eth0:\n    mtu: 1400\n'),
      /^host\.yaml:3:10: mtu 1400 .* ip-addr\.json:1:2$/,
    ],
    [
      'altname',
      { 'ip-addr.json': named('"uplink","eth1"') },
      /^ip-addr\.json:1:\d+: altname "eth1" is a name already, of .*ip-addr\.json:1:\d+$/,
    ],
    [
      'altname in host.yaml',
      { 'ip-addr.json': named('"uplink"'), 'host.yaml': 'interfaces:\n  uplink: {}\n' },
      /^ip-addr\.json:1:\d+: altname "uplink" is a name already, of .*host\.yaml:2:11$/,
    ],
    [
      'address',
      yaml('interfaces:\n  eth0:\n    addresses:\n      - 10.0.0.1/24 scope link\n'),
      /^host\.yaml:4:9: address 10\.0\.0\.1 .* ip-addr\.json:1:\d+$/,
    ],
    [
      'route',
      {
        ...yaml('routes:\n  - default via 10.5.0.9\n'),
        'ip-route.json': '[\n {"dst":"default","gateway":"10.0.0.9","dev":"eth0","flags":[]}]',
      },
      /^host\.yaml:2:5: the route to default clashes .* ip-route\.json:2:2$/,
    ],
    [
      'connected',
      yaml('routes:\n  - 10.0.0.0/24 dev eth1\n'),
      /^host\.yaml:2:5: .*"eth0"'s address at ip-addr\.json:1:\d+$/,
    ],
    [
      'sysctl',
      { ...yaml('sysctls:\n  net.ipv4.ip_forward: 0\n'), sysctl: '# x\nnet.ipv4.ip_forward = 1\n' },
      /^host\.yaml:2:24: .* sysctl:2:1$/,
    ],
  ]
  test.each(clashes)('a clash names both places: %s', (_, files, want) => {
    expect(mistake(files)).toMatch(want)
  })
})

describe('mistakes', () => {
  const yaml = (text: string): Record<string, string> => ({ 'host.yaml': text })
  const eth0 = 'interfaces:\n  eth0: {addresses: [10.0.0.1/24]}\n'
  const cases: [Record<string, string>, string][] = [
    [{ 'ip-addr.json': '[{"ifindex":1,\n "ifname" "lo"}]' }, 'ip-addr.json:2:11: not JSON: expected ":"'],
    [{ 'ip-addr.json': '' }, 'ip-addr.json:1:1: not JSON: expected a value, not the end of the file'],
    [{ 'ip-addr.json': '[1,]' }, 'ip-addr.json:1:4: not JSON: expected a value'],
    [{ 'ip-addr.json': '{}' }, 'ip-addr.json:1:1: must be a list, as `ip -j addr` prints, not a mapping'],
    [{ 'ip-addr.json': '[{"ifindex":2}]' }, 'ip-addr.json:1:2: "ifname" is missing'],
    [
      { 'ip-addr.json': '[\n  {"ifindex":2,"ifname":"e","mtu":"x"}]' },
      'ip-addr.json:2:35: "mtu" must be a whole number from 0 to 2147483647, not "x"',
    ],
    [
      { 'ip-addr.json': ADDR.replace('10.5.0.1', '10.5.0.256') },
      `ip-addr.json:1:${ADDR.indexOf('"10.5.0.1"') + 1}: "10.5.0.256" is no IPv4 address`,
    ],
    [
      { 'ip-addr.json': ADDR, 'ip-route.json': '[{"dst":"default","dev":"eth7","flags":[]}]' },
      'ip-route.json:1:2: the route to default leaves through "eth7", which is no interface of this host',
    ],
    [
      { sysctl: 'net.ipv4.ip_forward 1\n' },
      'sysctl:1:1: expected "name = value", not "net.ipv4.ip_forward 1"',
    ],
    [yaml('interfaces: [eth0'), 'host.yaml:1:18: not YAML: '],
    [yaml('interfaces:\n  eth0: {}\n  eth0: {}\n'), 'host.yaml:3:3: not YAML: Map keys must be unique'],
    [
      yaml('interfacs: {}\n'),
      'host.yaml:1:1: unknown key "interfacs" in host.yaml: expected one of interfaces, local, routes, rules, sysctls',
    ],
    [
      yaml('interfaces:\n  eth0:\n    mtu: 12\n'),
      'host.yaml:3:10: "mtu" must be a whole number from 68 to 65536, not 12',
    ],
    [
      yaml('interfaces:\n  eth0:\n    addresses: [10.0.0.1/24, 10.0.0.1/33]\n'),
      'host.yaml:3:30: "10.0.0.1/33" is no address: expected ADDRESS/LENGTH',
    ],
    [yaml('interfaces: {a-name-of-sixteen: {}}'), 'host.yaml:1:14: "a-name-of-sixteen" is no interface name'],
    [
      yaml('interfaces: {eth0: {port: {tap: {}}}}'),
      'host.yaml:1:28: "tap" is no port: expected tun, raw or capture',
    ],
    [
      yaml('interfaces: {eth0: {port: {tun: {offload: false, udp_gro: true}}}}'),
      'host.yaml:1:59: udp_gro makes superframes, which need offload: true',
    ],
    [
      yaml('interfaces: {eth0: {port: {tun: {udp_gro: 1}}}}'),
      'host.yaml:1:43: "udp_gro" must be true or false, not 1',
    ],
    [yaml('local: tun\n'), 'host.yaml:1:8: "local" must be a local port: expected {tun: {namespace: NAME}}'],
    [yaml('local: {tun: {name: x}}'), 'host.yaml:1:14: a local port needs the namespace of its processes'],
    [yaml('local: {raw: eth0}'), 'host.yaml:1:9: "raw" is no local port: expected tun'],
    [yaml('local: {tun: {namespace: x, peer: 10.0.0.1/24}}'), 'host.yaml:1:29: unknown key "peer"'],
    [
      yaml(
        'interfaces: {lan: {port: {tun: {namespace: x, name: a}}}}\nlocal: {tun: {namespace: x, name: a}}',
      ),
      'host.yaml:2:8: "lan" has the same device behind its port as the local port at',
    ],
    [
      yaml(`${eth0}routes:\n  - default via 10.9.0.1\n`),
      'host.yaml:4:5: gateway 10.9.0.1 is on no link of this host',
    ],
    [
      yaml(`${eth0}routes:\n  - default via 10.0.0.1 dev eth0 onlink\n`),
      'host.yaml:4:5: gateway 10.0.0.1 is an address of this host',
    ],
    [
      yaml(`${eth0}routes:\n  - default via 10.0.0.9 mteric 5\n`),
      'host.yaml:4:26: unknown word "mteric" in a route',
    ],
    [
      yaml(`${eth0}routes:\n  - "10.4.0.1/16 dev eth0"\n`),
      'host.yaml:4:6: "10.4.0.1/16" has bits behind its prefix length',
    ],
    [
      yaml(`${eth0}routes:\n  - default dev eth5\n`),
      'host.yaml:4:5: the route to default leaves through "eth5"',
    ],
    [yaml(`${eth0}rules:\n  - from 10.0.0.0/8 table vpn\n`), 'host.yaml:4:27: "vpn" is no routing table'],
    [yaml('sysctls: {kernel.panic: 1}'), 'host.yaml:1:11: "kernel.panic" is no network sysctl'],
    [
      yaml('sysctls: {net.ipv4.conf.eth7.rp_filter: 1}'),
      'host.yaml:1:41: net.ipv4.conf.eth7.rp_filter: this host has no interface "eth7"',
    ],
  ]
  test.each(cases)('%j', (files, want) => {
    const said = mistake(files)
    expect(said?.slice(0, want.length)).toBe(want)
  })

  test('no folder', () => {
    expect(() => loadHostFolder(join(root, 'nowhere'))).toThrow(
      /nowhere:1:1: no host folder: no such file or directory$/,
    )
  })

  test('a damaged folder is refused with one line or read: it never throws anything else', () => {
    const random = new SeededRandom(7)
    const good: Record<string, string> = {
      'ip-addr.json': ADDR,
      'ip-route.json':
        '[{"dst":"default","gateway":"10.0.0.9","dev":"eth0","flags":[],"metrics":[{"mtu":1400}]}]',
      'ip-rule.json': '[{"priority":100,"src":"10.0.0.0","srclen":8,"table":"100"}]',
      sysctl: 'net.ipv4.ip_forward = 1\n',
      'host.yaml':
        'interfaces:\n  eth9: {addresses: 10.4.0.1/24, port: tun}\nroutes: [10.7.0.0/16 via 10.4.0.2 metric 4]\n',
    }
    const names = Object.keys(good)
    let refused = 0
    for (let i = 0; i < 600; i++) {
      const name = names[random.u32() % names.length]!
      const text = good[name]!
      const from = random.u32() % text.length
      const insert = ['', '"', '{', '[]', ':', '\n', 'null', '-1', '1e99', ' '][random.u32() % 10]!
      if (
        mistake({ ...good, [name]: text.slice(0, from) + insert + text.slice(from + (random.u32() % 4)) }) !==
        null
      )
        refused++
    }
    expect(refused).toBeGreaterThan(100)
  })
})

test('JSON: the place of a mistake is where JSON.parse stopped', () => {
  const random = new SeededRandom(3)
  const good = '{"a":[1,2.5e3,-0,"x\\u00e9\\n",true,false,null,{"b":[]}],"c":{}}'
  for (let i = 0; i < 2000; i++) {
    const at = random.u32() % good.length
    const text =
      good.slice(0, at) + String.fromCharCode(32 + (random.u32() % 95)) + good.slice(at + (random.u32() % 3))
    let valid = true
    try {
      JSON.parse(text)
    } catch {
      valid = false
    }
    const parse = () => parseJson(new SourceFile('f', text))
    if (valid) parse()
    else {
      expect(parse).toThrow(PlaceError)
      expect(parse).toThrow(/^f:1:\d+: not JSON: (expected|unknown escape)/)
    }
  }
})
