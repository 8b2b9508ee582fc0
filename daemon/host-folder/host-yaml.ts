// host.yaml: the short form for people. docs/host-folder.md describes it.
//
//     interfaces:
//       eth0:
//         addresses: [192.0.2.1/24]
//         mtu: 1500
//         port: {tun: {namespace: client, peer: 192.0.2.2/24, routes: [default]}}
//     local: {tun: {namespace: server}}
//     routes: [default via 192.0.2.254]
//     rules: [fwmark 1 table 100]
//     sysctls: {net.ipv4.ip_forward: 1}

import { ANY, type Prefix, parseEither, parsePrefix } from './address.ts'
import type {
  AddressConfig,
  LocalConfig,
  PortConfig,
  RouteConfig,
  RuleConfig,
  SysctlConfig,
} from './config.ts'
import { readGroup, readMac } from './iproute.ts'
import { type TableNames, validInterfaceName } from './names.ts'
import type { Cursor, Origin } from './source.ts'
import { sysctlName } from './sysctl.ts'
import { parseAddressWords, parseRouteWords, parseRuleWords } from './words.ts'

/** What host.yaml says of an interface; undefined: nothing. */
export interface InterfaceWords {
  readonly name: string
  readonly addresses: readonly AddressConfig[]
  readonly mtu: Said<number>
  readonly up: Said<boolean>
  readonly pointToPoint: Said<boolean>
  readonly mac: Said<string>
  readonly group: Said<number>
  readonly port: PortConfig | null
  readonly origin: Origin
}

export type Said<T> = { readonly value: T; readonly origin: Cursor } | null

export interface HostYaml {
  readonly interfaces: readonly InterfaceWords[]
  readonly local: LocalConfig | null
  readonly routes: readonly RouteConfig[]
  /** priority -1: the kernel picks. */
  readonly rules: readonly RuleConfig[]
  readonly sysctls: readonly SysctlConfig[]
}

export function readHostYaml(root: Cursor, tables: TableNames): HostYaml {
  // An empty document is a host of which nothing is said.
  if (root.value === null) return { interfaces: [], local: null, routes: [], rules: [], sysctls: [] }
  root.record('a mapping with interfaces, local, routes, rules and sysctls')
  root.only(['interfaces', 'local', 'routes', 'rules', 'sysctls'], 'host.yaml')
  const local = root.get('local')
  return {
    local: local === null ? null : readLocal(local),
    interfaces: root.get('interfaces')?.entries('a mapping from interface names').map(readInterface) ?? [],
    routes:
      root
        .get('routes')
        ?.listOrOne()
        .map((c) => parseRouteWords(c, tables)) ?? [],
    rules:
      root
        .get('rules')
        ?.listOrOne()
        .map((c) => parseRuleWords(c, tables)) ?? [],
    sysctls: root.get('sysctls')?.entries('a mapping from names to values').map(readSysctl) ?? [],
  }
}

const INTERFACE_KEYS = ['addresses', 'mtu', 'up', 'mac', 'group', 'point_to_point', 'port']

function readInterface([name, item]: [string, Cursor]): InterfaceWords {
  if (!validInterfaceName(name))
    item.failKey(`"${name}" is no interface name: 1 to 15 bytes without blank, slash and colon`)
  if (item.value === null)
    return {
      name,
      addresses: [],
      mtu: null,
      up: null,
      pointToPoint: null,
      mac: null,
      group: null,
      port: null,
      origin: item,
    }
  item.record('a mapping, with addresses and more')
  item.only(INTERFACE_KEYS, 'an interface')
  const said = <T>(key: string, read: (cursor: Cursor) => T): Said<T> => {
    const cursor = item.get(key)
    return cursor === null ? null : { value: read(cursor), origin: cursor }
  }
  const port = item.get('port')
  return {
    name,
    addresses: item.get('addresses')?.listOrOne().map(parseAddressWords) ?? [],
    mtu: said('mtu', (c) => c.integer(68, 65536)),
    up: said('up', (c) => c.boolean()),
    pointToPoint: said('point_to_point', (c) => c.boolean()),
    mac: said(
      'mac',
      (c) => readMac(c.string()) ?? c.fail(`${c.shown()} is no link layer address, as 02:00:00:00:00:01`),
    ),
    group: said('group', readGroup),
    port: port === null ? null : readPort(port, name),
    origin: item,
  }
}

/** `tun`, or a mapping with one key: tun, raw or capture. */
function readPort(port: Cursor, name: string): PortConfig {
  const expected = 'expected tun, raw or capture'
  const plain = {
    kind: 'tun',
    namespace: null,
    name,
    peer: [],
    routes: [],
    offload: true,
    udpGro: false,
    origin: port,
  } as const
  if (typeof port.value === 'string') {
    if (port.value !== 'tun') port.fail(`${port.shown()} is no port: ${expected}`)
    return plain
  }
  const kinds = port.entries(`a port: ${expected}`)
  const [kind, item] = kinds[0] ?? port.fail(`a port without a kind: ${expected}`)
  if (kinds.length > 1) kinds[1]![1].failKey(`an interface has one port, not ${kind} and ${kinds[1]![0]}`)
  if (kind === 'raw' || kind === 'capture') {
    if (typeof item.value === 'string')
      return { kind, namespace: null, name: readDeviceName(item), origin: port }
    item.only(['namespace', 'name'], `a ${kind} port`)
    return { kind, namespace: readNamespace(item), name: readDeviceName(item.need('name')), origin: port }
  }
  if (kind !== 'tun') item.failKey(`"${kind}" is no port: ${expected}`)
  if (item.value === null) return plain
  item.only(['namespace', 'name', 'peer', 'routes', 'offload', 'udp_gro'], 'a tun port')
  const own = item.get('name')
  const offload = item.get('offload')?.boolean() ?? plain.offload
  const gro = item.get('udp_gro')
  const udpGro = gro?.boolean() ?? plain.udpGro
  if (udpGro && !offload) gro!.fail('udp_gro makes superframes, which need offload: true')
  return {
    kind: 'tun',
    namespace: readNamespace(item),
    name: own === null ? name : readDeviceName(own),
    peer: item.get('peer')?.listOrOne().map(readPeer) ?? [],
    routes: item.get('routes')?.listOrOne().map(readPeerRoute) ?? [],
    offload,
    udpGro,
    origin: port,
  }
}

/** As a tun port, with a namespace and nothing to route there: what it needs follows from the host. */
function readLocal(local: Cursor): LocalConfig {
  const expected = 'a local port: expected {tun: {namespace: NAME}}'
  const kinds = local.entries(expected)
  const [kind, item] = kinds[0] ?? local.fail(expected)
  if (kind !== 'tun') item.failKey(`"${kind}" is no local port: expected tun`)
  if (kinds.length > 1) kinds[1]![1].failKey(`a host has one local port, not tun and ${kinds[1]![0]}`)
  if (item.value === null) item.fail(expected)
  item.only(['namespace', 'name', 'offload'], 'a local port')
  const own = item.get('name')
  return {
    namespace: readNamespace(item) ?? item.fail('a local port needs the namespace of its processes'),
    name: own === null ? 'local0' : readDeviceName(own),
    offload: item.get('offload')?.boolean() ?? true,
    origin: local,
  }
}

function readDeviceName(cursor: Cursor): string {
  const name = cursor.string('an interface name')
  return validInterfaceName(name) ? name : cursor.fail(`${cursor.shown()} is no interface name`)
}

function readNamespace(item: Cursor): string | null {
  const cursor = item.get('namespace')
  if (cursor === null) return null
  const name = cursor.string('the name of a network namespace, or a path to one')
  if (!name.startsWith('/') && !/^[^/\s]+$/.test(name))
    cursor.fail(`${cursor.shown()} is no network namespace`)
  return name
}

function readPeer(cursor: Cursor): Prefix {
  const text = cursor.string('ADDRESS/LENGTH')
  return parsePrefix(text) ?? cursor.fail(`${cursor.shown()} is no address: expected ADDRESS/LENGTH`)
}

/** `PREFIX` or `PREFIX via ADDRESS`, in the namespace behind the port. */
function readPeerRoute(cursor: Cursor): { dst: Prefix; gateway: Prefix['words'] | null } {
  const [dst, via, gateway, ...more] = cursor.string('a destination').split(/\s+/)
  const next = gateway === undefined ? null : parseEither(gateway)
  if ((via !== undefined && (via !== 'via' || next === null)) || more.length > 0)
    cursor.fail(`${cursor.shown()} is no route of a peer: expected PREFIX or PREFIX via ADDRESS`)
  const prefix: Prefix | null =
    dst === 'default' ? { family: next?.family ?? 4, words: ANY, prefixLength: 0 } : parsePrefix(dst!)
  if (prefix === null || (next !== null && next.family !== prefix.family))
    return cursor.fail(`${cursor.shown()} is no route of a peer: expected PREFIX or PREFIX via ADDRESS`)
  return { dst: prefix, gateway: next?.words ?? null }
}

function readSysctl([key, cursor]: [string, Cursor]): SysctlConfig {
  const name = sysctlName(key)
  if (!/^net(?:\.[^\s.]+)+$/.test(name)) cursor.failKey(`"${key}" is no network sysctl: expected net.…`)
  const { value } = cursor
  if (typeof value === 'boolean') return { name, value: value ? '1' : '0', byHand: true, origin: cursor }
  if (typeof value !== 'number' && typeof value !== 'string')
    cursor.fail(`the value of ${name} must be a number or text, not ${cursor.shown()}`)
  return { name, value: String(value), byHand: true, origin: cursor }
}
