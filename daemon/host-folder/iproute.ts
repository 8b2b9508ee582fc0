// What `ip -j addr`, `ip -j route show table all` and `ip -j rule` print (iproute2 6.1).

import { RouteType, type Words } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { sameWords } from '../../datapath/route.ts'
import { ANY, bitsOf, type Prefix, parseEither, parsePrefix } from './address.ts'
import type {
  AddressConfig,
  InterfaceConfig,
  NexthopConfig,
  RouteConfig,
  RuleAction,
  RuleConfig,
} from './config.ts'
import {
  parseIpProtocol,
  parseNumber,
  parseScope,
  parseTos,
  SCOPE_UNIVERSE,
  TABLE_MAIN,
  type TableNames,
  validAltName,
  validInterfaceName,
} from './names.ts'
import type { Cursor } from './source.ts'
import { isRefusal, PREFERENCES, parseRouteType, plainRule, readMark, readRealm } from './words.ts'

const U32 = 0xffff_ffff

/** Reads a string member with `parse`; `what` names it in the error. */
function read<T>(cursor: Cursor, what: string, parse: (text: string) => T | null): T {
  const text = cursor.string(what)
  return parse(text) ?? cursor.fail(`${cursor.shown()} is no ${what}`)
}

function readFamilyAddress(cursor: Cursor, family: Family): Words {
  const found = read(cursor, `IPv${family} address`, (text) => {
    const address = parseEither(text)
    return address?.family === family ? address : null
  })
  return found.words
}

/** Objects of the file's list; iproute2 prints `{}` for what a filter left out. */
function items(root: Cursor, what: string): Cursor[] {
  return root.list(`a list, as \`${what}\` prints`).filter((item) => item.entries('an object').length > 0)
}

/** Interfaces and addresses; `port` is null. */
export function readInterfaces(root: Cursor): InterfaceConfig[] {
  return items(root, 'ip -j addr').map((item) => {
    const name = read(item.need('ifname'), 'interface name', (text) =>
      validInterfaceName(text) ? text : null,
    )
    const flags = (item.get('flags')?.list() ?? []).map((flag) => flag.string('a flag'))
    const index = item.need('ifindex')
    if ((index.value === 1) !== (name === 'lo'))
      index.fail('interface 1 is "lo" on every host, and no other is')
    const mac = item.get('link_type')?.value === 'ether' ? item.get('address') : null
    const addresses: AddressConfig[] = []
    const later: AddressConfig[] = []
    for (const info of item.get('addr_info')?.list() ?? []) {
      const family = info.get('family')?.value
      // IPv6 addresses come newest first: the oldest must be added first.
      if (family === 'inet') addresses.push(readAddress(info, 4))
      else if (family === 'inet6' && info.get('dadfailed') === null) later.unshift(readAddress(info, 6))
    }
    return {
      name,
      altNames: (item.get('altnames')?.list() ?? []).map((other) => ({
        name: read(other, 'other name of an interface', (text) => (validAltName(text) ? text : null)),
        origin: other,
      })),
      index: index.integer(1, 0x7fff_ffff),
      mtu: item.need('mtu').integer(0, 0x7fff_ffff),
      up: flags.includes('UP'),
      loopback: flags.includes('LOOPBACK'),
      pointToPoint: flags.includes('POINTOPOINT'),
      mac: mac === null ? null : read(mac, 'link layer address', readMac),
      group: optional(item, 'group', readGroup) ?? 0,
      addresses: [...addresses, ...later],
      port: null,
      origin: item,
    }
  })
}

/** The group of an interface; the one name is that of Debian's /etc/iproute2/group. */
export const readGroup = (cursor: Cursor): number =>
  readName(cursor, 'interface group', (t) => (t === 'default' ? 0 : parseNumber(t, 0x7fff_ffff)))

/** `02:00:00:00:00:01`, lower case; null if it is none. */
export const readMac = (text: string): string | null =>
  /^[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}$/.test(text) ? text.toLowerCase() : null

const KEPT_FLAGS = ['nodad', 'home', 'mngtmpaddr', 'autojoin', 'temporary'] as const

function readAddress(info: Cursor, family: Family): AddressConfig {
  const peer = info.get('address')
  const local = readFamilyAddress(info.get('local') ?? peer ?? info.need('local'), family)
  const far = peer === null ? null : readFamilyAddress(peer, family)
  const broadcast = info.get('broadcast')
  const scope = info.get('scope')
  return {
    family,
    words: local,
    prefixLength: info.need('prefixlen').integer(0, bitsOf(family)),
    peer: far === null || sameWords(far, local) ? null : far,
    broadcast: broadcast === null || family === 6 ? null : readFamilyAddress(broadcast, 4),
    scope: scope === null ? SCOPE_UNIVERSE : readName(scope, 'scope', parseScope),
    secondary: family === 4 && info.get('secondary') !== null,
    label: info.get('label')?.string() ?? null,
    noPrefixRoute: info.get('noprefixroute') !== null,
    byHand: false,
    metric: info.get('metric')?.integer(0, U32) ?? 0,
    deprecated: info.get('deprecated') !== null,
    tentative: info.get('tentative') !== null,
    flags: KEPT_FLAGS.filter((flag) => info.get(flag) !== null),
    origin: info,
  }
}

/** A name or number; with `ip -N -j` numbers may come bare. */
function readName<T>(cursor: Cursor, what: string, parse: (text: string) => T | null): T {
  if (typeof cursor.value === 'number')
    return parse(String(cursor.value)) ?? cursor.fail(`${cursor.shown()} is no ${what}`)
  return read(cursor, what, parse)
}

/** A route's family: IPv6 routes carry `pref` even where no address tells. */
function familyOf(item: Cursor): Family {
  for (const key of ['dst', 'gateway', 'from', 'prefsrc']) {
    const text = item.get(key)?.value
    if (typeof text === 'string' && text !== 'default' && text !== 'all') return text.includes(':') ? 6 : 4
  }
  return item.has('pref') ? 6 : 4
}

/**
 * Routes of one family; those of the other, which `ip -j route show table all` lists as well, go to `others`.
 * Dead routes (their interface is down) are left out, as look-ups do.
 */
export function readRoutes(
  root: Cursor,
  family: Family,
  tables: TableNames,
  others: RouteConfig[],
): RouteConfig[] {
  const routes: RouteConfig[] = []
  for (const item of items(
    root,
    family === 4 ? 'ip -j route show table all' : 'ip -6 -j route show table all',
  )) {
    const own = familyOf(item)
    if (isDead(item)) continue
    ;(own === family ? routes : others).push(readRoute(item, own, tables))
  }
  return routes
}

const isDead = (item: Cursor): boolean =>
  (item.get('flags')?.list() ?? []).some((flag) => flag.value === 'dead')

function readDestination(cursor: Cursor, family: Family): Prefix {
  if (cursor.value === 'default' || cursor.value === 'all') return { family, words: ANY, prefixLength: 0 }
  return read(cursor, `IPv${family} prefix`, (text) => {
    const prefix = parsePrefix(text)
    return prefix?.family === family ? prefix : null
  })
}

function readGateway(item: Cursor, family: Family): { words: Words | null; family: Family } {
  const gateway = item.get('gateway')
  if (gateway !== null) return { words: readFamilyAddress(gateway, family), family }
  const via = item.get('via')
  if (via === null) return { words: null, family }
  const other = read(via.need('family'), 'address family', (t) =>
    t === 'inet' ? 4 : t === 'inet6' ? 6 : null,
  )
  return { words: readFamilyAddress(via.need('host'), other), family: other }
}

function readRoute(item: Cursor, family: Family, tables: TableNames): RouteConfig {
  const typeName = item.get('type')
  const type = typeName === null ? RouteType.Unicast : read(typeName, 'route type', parseRouteType)
  item.get('encap')?.failKey('a route with "encap" leaves IP; this host cannot send it')
  const dst = readDestination(item.need('dst'), family)
  const gateway = readGateway(item, family)
  const nexthops = item
    .get('nexthops')
    ?.list()
    .filter((hop) => !isDead(hop))
    .map(
      (hop): NexthopConfig => ({
        device: hop.need('dev').string('interface name'),
        gateway: readGateway(hop, family).words,
        weight: hop.get('weight')?.integer(1, 256) ?? 1,
      }),
    )
  const device = item.get('dev')
  if (!isRefusal(type) && nexthops === undefined && device === null)
    item.fail('the route has neither "dev" nor "nexthops"')
  const from = item.get('from')
  const metrics = item.get('metrics')?.list() ?? []
  const flags = item.get('flags')?.list() ?? []
  return {
    family,
    type,
    dst: dst.words,
    prefixLength: dst.prefixLength,
    source: from === null || from.value === 'all' ? null : readDestination(from, family),
    table: readTable(item, tables, TABLE_MAIN),
    tos: optional(item, 'tos', (c) => readName(c, 'tos', parseTos)) ?? 0,
    metric: item.get('metric')?.integer(0, U32) ?? 0,
    scope: optional(item, 'scope', (c) => readName(c, 'scope', parseScope)) ?? SCOPE_UNIVERSE,
    protocol: optional(item, 'protocol', (c) => String(c.value)) ?? 'boot',
    device: isRefusal(type) ? null : (device?.string('interface name') ?? null),
    gateway: gateway.words,
    gatewayFamily: gateway.family,
    preferredSource: optional(item, 'prefsrc', (c) => readFamilyAddress(c, family)) ?? null,
    mtu: metrics.map((m) => m.get('mtu')?.integer(0, U32) ?? 0).find((mtu) => mtu > 0) ?? 0,
    metrics: metrics.flatMap((m) =>
      m
        .entries('a mapping of metrics')
        .flatMap(([name, { value }]) =>
          name !== 'mtu' && (typeof value === 'number' || typeof value === 'string') ? [{ name, value }] : [],
        ),
    ),
    locked: [],
    preference: PREFERENCES.get(String(item.get('pref')?.value ?? 'medium')) ?? 0,
    realm: readFlow(item.get('flow')),
    onlink: flags.some((flag) => flag.value === 'onlink'),
    nexthops: nexthops ?? null,
    origin: item,
  }
}

function optional<T>(item: Cursor, key: string, then: (cursor: Cursor) => T): T | null {
  const cursor = item.get(key)
  return cursor === null ? null : then(cursor)
}

function readTable(item: Cursor, tables: TableNames, absent: number): number {
  const table = item.get('table')
  if (table === null) return absent
  return typeof table.value === 'number'
    ? table.integer(0, U32)
    : tables.captured(table.string('routing table'))
}

/** `{"from":"3","to":"4"}`, the realms of a route. */
function readFlow(flow: Cursor | null): number {
  if (flow === null) return 0
  const part = (key: string): number => optional(flow, key, (c) => readName(c, 'realm', readRealm)) ?? 0
  return ((part('from') << 16) | part('to')) >>> 0
}

/** Policy rules, in the order printed. */
export function readRules(root: Cursor, family: Family, tables: TableNames): RuleConfig[] {
  return items(root, family === 4 ? 'ip -j rule' : 'ip -6 -j rule').map((item): RuleConfig => {
    const prefix = (address: string, length: string): Prefix | null => {
      const cursor = item.get(address)
      if (cursor === null || cursor.value === 'all') return null
      const found = readDestination(cursor, family)
      const bits = item.get(length)?.integer(0, bitsOf(family)) ?? found.prefixLength
      return bits === 0 ? null : { ...found, prefixLength: bits }
    }
    const ports = (name: string): readonly [number, number] | null => {
      const one = item.get(name)?.integer(0, 65535)
      if (one !== undefined) return [one, one]
      const low = item.get(`${name}_start`)?.integer(0, 65535)
      return low === undefined ? null : [low, item.need(`${name}_end`).integer(low, 65535)]
    }
    const mark = item.get('fwmark')
    const mask = item.get('fwmask')
    const markText = mark === null ? null : `${mark.value}${mask === null ? '' : `/${mask.value}`}`
    const [value, bits] =
      markText === null ? [0, 0] : (readMark(markText) ?? mark!.fail(`"${markText}" is no mark with a mask`))
    const uidStart = item.get('uid_start')?.integer(0, U32)
    const target = item.get('goto')?.integer(0, U32)
    const action: RuleAction =
      target !== undefined
        ? 'goto'
        : item.has('nop')
          ? 'nop'
          : (optional(item, 'action', (c) =>
              read(c, 'action', (t) =>
                t === 'blackhole' || t === 'unreachable' || t === 'prohibit' || t === 'nop' ? t : null,
              ),
            ) ?? 'lookup')
    if (target !== undefined && target <= (item.get('priority')?.integer(0, U32) ?? 0))
      item.need('goto').fail('"goto" must lead to a rule of higher priority number')
    const flowPart = (key: string): number => optional(item, key, (c) => readName(c, 'realm', readRealm)) ?? 0
    return {
      ...plainRule(family),
      priority: item.get('priority')?.integer(0, U32) ?? 0,
      not: item.has('not'),
      source: prefix('src', 'srclen'),
      destination: prefix('dst', 'dstlen'),
      tos: optional(item, 'tos', (c) => readName(c, 'tos', parseTos)) ?? 0,
      mark: value,
      markMask: bits,
      iif: item.get('iif')?.string() ?? null,
      oif: item.get('oif')?.string() ?? null,
      protocol: optional(item, 'ipproto', (c) => readName(c, 'protocol', ipProtocol)) ?? 0,
      sourcePorts: ports('sport'),
      destinationPorts: ports('dport'),
      uids: uidStart === undefined ? null : [uidStart, item.need('uid_end').integer(uidStart, U32)],
      tunnel: item.get('tun_id')?.integer(0, U32) ?? 0,
      l3mdev: item.has('l3mdev'),
      action,
      table: readTable(item, tables, 0),
      target: target ?? 0,
      suppressPrefixLength: item.get('suppress_prefixlen')?.integer(0, 128) ?? -1,
      suppressGroup: optional(item, 'suppress_ifgroup', readGroup) ?? -1,
      realm: ((flowPart('flow_from') << 16) | flowPart('flow_to')) >>> 0,
      origin: item,
    }
  })
}

/** A protocol as `ip rule` prints it: also `ipproto-47`. */
const ipProtocol = (text: string): number | null => parseIpProtocol(text.replace(/^ipproto-/, ''))
