// The files that tools print and people write: all members that a host is read from are there afterwards, nothing that
// nobody knows, and nothing that tells.

import { expect, test } from 'vitest'
import type { HostConfig } from '../../daemon/host-folder/config.ts'
import { loadHost } from '../../daemon/host-folder/index.ts'
import { SourceFile } from '../../daemon/host-folder/source.ts'
import { anonymized, leaks } from './support.ts'

const config = (files: Readonly<Record<string, string>>): HostConfig =>
  loadHost('host', (name) => (files[name] === undefined ? null : new SourceFile(name, files[name]!)))

const JSON_HOST = {
  'ip-addr.json': JSON.stringify([
    {
      ifindex: 1,
      ifname: 'lo',
      flags: ['LOOPBACK', 'UP'],
      mtu: 65536,
      link_type: 'loopback',
      address: '00:00:00:00:00:00',
      addr_info: [{ family: 'inet', local: '127.0.0.1', prefixlen: 8, scope: 'host', label: 'lo' }],
    },
    {
      ifindex: 2,
      ifname: 'office0',
      ifalias: 'to the building in Main Street',
      flags: ['BROADCAST', 'UP'],
      mtu: 1500,
      group: 'default',
      link_type: 'ether',
      address: '52:54:00:aa:bb:cc',
      broadcast: 'ff:ff:ff:ff:ff:ff',
      altnames: ['enp0s3mainstreet'],
      addr_info: [
        {
          family: 'inet',
          local: '198.18.5.9',
          prefixlen: 26,
          broadcast: '198.18.5.63',
          scope: 'global',
          label: 'office0:a',
        },
        { family: 'inet', local: '198.18.7.0', prefixlen: 31, scope: 'global', label: 'office0' },
        { family: 'inet6', local: 'fe80::5054:ff:feaa:bbcc', prefixlen: 64, scope: 'link' },
        { family: 'inet6', local: '2a00:1450:4001:81b::5', prefixlen: 64, scope: 'global' },
      ],
    },
    {
      ifindex: 3,
      ifname: 'office0.100',
      link: 'office0',
      flags: ['UP'],
      mtu: 1500,
      link_type: 'ether',
      address: '52:54:00:aa:bb:cc',
      addr_info: [{ family: 'inet', local: '10.9.0.1', address: '10.9.0.2', prefixlen: 32, scope: 'global' }],
    },
  ]),
  'ip-route.json': JSON.stringify([
    { dst: 'default', gateway: '198.18.5.1', dev: 'office0', protocol: 'static', flags: [] },
    {
      dst: '10.9.0.2',
      dev: 'office0.100',
      protocol: 'kernel',
      scope: 'link',
      prefsrc: '10.9.0.1',
      flags: [],
    },
    {
      dst: '45.6.0.0/16',
      flags: [],
      nexthops: [
        { gateway: '198.18.5.2', dev: 'office0', weight: 2, flags: [] },
        { via: { family: 'inet6', host: 'fe80::99' }, dev: 'office0', weight: 1, flags: [] },
      ],
    },
    { type: 'blackhole', dst: '46.0.0.0/8', table: 'branches', flags: [], nhid: 77 },
    {
      type: 'local',
      dst: '198.18.5.9',
      dev: 'office0',
      table: 'local',
      scope: 'host',
      prefsrc: '198.18.5.9',
      flags: [],
    },
    {
      type: 'broadcast',
      dst: '198.18.5.63',
      dev: 'office0',
      table: 'local',
      scope: 'link',
      prefsrc: '198.18.5.9',
      flags: [],
    },
  ]),
  'ip-rule.json': JSON.stringify([
    { priority: 0, src: 'all', table: 'local' },
    { priority: 100, src: '198.18.5.0', srclen: 26, iif: 'office0', table: 'branches' },
    { priority: 32766, src: 'all', table: 'main' },
  ]),
  rt_tables: '# of Main Street\n255 local\n77 branches # all of them\n',
  sysctl:
    'net.ipv4.ip_forward = 1\nnet.ipv4.conf.office0/100.rp_filter = 1\nnet.ipv6.conf.office0.stable_secret = 2001:db8:5ec::1\n',
}

test('what ip and sysctl print', () => {
  const { files, mapping } = anonymized(JSON_HOST)
  expect(leaks(JSON_HOST, files, mapping)).toEqual([])
  for (const told of ['main street', 'mainstreet', 'office', 'branches', 'nhid', 'secret'])
    expect(Object.values(files).join().toLowerCase()).not.toContain(told.toLowerCase())
  const [before, after] = [config(JSON_HOST), config(files)]
  const shape = ({ interfaces, ipv4, sysctls }: HostConfig): unknown => ({
    interfaces: interfaces.map(({ index, altNames, mtu, up, mac, addresses }) => [
      index,
      altNames.length,
      mtu,
      up,
      mac?.length,
      addresses.map((a) => [a.family, a.prefixLength, a.scope, a.broadcast === null, a.peer === null]),
    ]),
    routes: ipv4.routes.map((r) => [
      r.type,
      r.prefixLength,
      r.scope,
      r.table,
      r.nexthops?.map((n) => n.weight),
    ]),
    rules: ipv4.rules.map((r) => [r.priority, r.table, r.source?.prefixLength]),
    sysctls: sysctls.map(({ value }) => value),
  })
  const without = { ...before, sysctls: before.sysctls.filter(({ name }) => !name.endsWith('secret')) }
  expect(shape(after)).toEqual(shape(without))
  const [, , office] = [0, ...after.interfaces]
  const [first, second] = office!.addresses
  const link = office!.addresses.find(({ scope }) => scope === 253)
  // The broadcast address is its subnet's last one; of a /31 both addresses are hosts'.
  expect(first!.broadcast![0]).toBe(first!.words[0] | 63)
  expect(second!.words).toEqual(mapping.addresses.map(4, [0xc612_0700 | 0, 0, 0, 0]))
  // EUI-64 of the MAC address.
  const mac = office!.mac!.split(':').map((byte) => Number.parseInt(byte, 16))
  expect(link!.words[2]! >>> 8).toBe(((mac[0]! ^ 2) << 16) | (mac[1]! << 8) | mac[2]!)
  expect(link!.words[3]! & 0xff_ffff).toBe((mac[3]! << 16) | (mac[4]! << 8) | mac[5]!)
  // A VLAN's interface is still on top of its own.
  expect(after.interfaces[2]!.name).toBe(`${office!.name}.100`)
})

const YAML_HOST = {
  'host.yaml': `# the shop in Main Street
interfaces:
  shop:
    addresses: [10.20.0.1/24 brd + label shop:till, 10.20.1.0/31]
    mac: 52:54:00:00:00:01
    port: {tun: {namespace: /var/run/netns/tillroom, peer: [10.20.0.2/24], routes: [default via 10.20.0.1]}}
  street:
    addresses: 45.0.0.9/24
    port: {raw: mainstreet0}
local: {tun: {namespace: backroom, name: counter}}
routes:
  - default via 45.0.0.1 dev street
  - 10.8.0.0/16 via 10.20.0.7 metric 5 table 9
rules: [from 10.20.0.0/24 iif shop table 9]
sysctls: {net.ipv4.ip_forward: true, net.ipv4.conf.shop.rp_filter: 0}
`,
  'nfct-timeout':
    '.slowtill = {\n\t.l3proto = 2,\n\t.l4proto = 6,\n\t.policy = {\n\t\t.ESTABLISHED = 100,\n\t},\n};\n',
}

test('what people write', () => {
  const { files, mapping } = anonymized(YAML_HOST)
  expect(leaks(YAML_HOST, files, mapping)).toEqual([])
  for (const told of ['street', 'shop', 'till', 'backroom', 'counter', '#', 'netns/'])
    expect(Object.values(files).join().toLowerCase()).not.toContain(told)
  const { interfaces, local, ipv4, sysctls } = config(files)
  expect(interfaces.map(({ port }) => port?.kind)).toEqual([undefined, 'tun', 'raw'])
  expect(local?.namespace).toMatch(/^netns-/)
  expect(ipv4.routes.length).toBe(2)
  expect(ipv4.rules.some(({ iif }) => iif === interfaces[1]!.name)).toBe(true)
  expect(sysctls.map(({ name, value }) => `${name}=${value}`)).toContain(
    `net.ipv4.conf.${interfaces[1]!.name}.rp_filter=0`,
  )
})

test('what is to be kept is kept', () => {
  const { files } = anonymized(YAML_HOST, { keep: ['shop', '45.0.0.0/8'] })
  expect(files['host.yaml']).toContain('shop:')
  expect(files['host.yaml']).toContain('45.0.0.9/24')
  expect(files['host.yaml']).not.toContain('10.20.0')
})

test('wildcards fit the same interfaces', () => {
  const { mapping } = anonymized(YAML_HOST)
  const map = (name: string): string => mapping.names.interface(name)
  for (const [name, pattern] of [
    ['shop1', 'shop+'],
    ['cali123', 'cali+'],
    ['eth0', 'eth+'],
    ['tap0', 't+'],
    ['shop1', 'shop1.+'],
    ['shops', 'shop+'],
    ['ens3', 'en+'],
    ['shed', 'shop+'],
    ['eth0', 'et1+'],
  ] as const)
    expect(map(name).startsWith(map(pattern).slice(0, -1)), pattern).toBe(
      name.startsWith(pattern.slice(0, -1)),
    )
  for (const name of ['lo', 'eth0', 'ens3', 'enp0s31f6', 'docker0', 'wg0', 'eth0.100'])
    expect(map(name)).toBe(name)
  expect(map('cali12ab34cd56e')).toMatch(/^cali[\da-f]{11}$/)
  expect(map('br-0123456789ab')).toMatch(/^br-[\da-f]{12}$/)
  expect(map('enx525400123456')).toBe(`enx${mapping.addresses.mac('525400123456')}`)
  const all = ['lan0', 'lan1', 'dmz', 'wan', 'uplink', 'Lan0', 'lan-a', 'lan_b']
  expect(new Set(all.map(map)).size).toBe(all.length)
})
