// `ip route`, `ip rule` and `ip addr` words, as people write them in host.yaml.

import { scopeOf6 } from '../../datapath/devices.ts'
import { RouteType, type Words } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { maskedWords, sameWords } from '../../datapath/route.ts'
import { parseIpv4 } from '../../datapath/wire/address.ts'
import { PlaceError } from '../errors.ts'
import { ANY, bitsOf, type Prefix, parseEither, parsePrefix } from './address.ts'
import type { AddressConfig, NexthopConfig, RouteConfig, RuleAction, RuleConfig } from './config.ts'
import {
  parseIpProtocol,
  parseNumber,
  parseRouteProtocol,
  parseScope,
  parseTos,
  SCOPE_HOST,
  SCOPE_LINK,
  SCOPE_UNIVERSE,
  TABLE_LOCAL,
  TABLE_MAIN,
  type TableNames,
} from './names.ts'
import type { Cursor } from './source.ts'

/** The words of one line, with their places. */
class Line {
  readonly #cursor: Cursor
  readonly #words: { readonly text: string; readonly at: number }[] = []
  #next = 0

  constructor(cursor: Cursor, what: string) {
    this.#cursor = cursor
    for (const match of cursor.string(what).matchAll(/\S+/g))
      this.#words.push({ text: match[0], at: match.index })
  }

  peek(): string | undefined {
    return this.#words[this.#next]?.text
  }

  /** Takes the word if it is one of these. */
  accept(...words: string[]): boolean {
    if (!words.includes(this.peek() ?? '')) return false
    this.#next++
    return true
  }

  take(what: string): string {
    const word = this.#words[this.#next]
    if (word === undefined)
      return this.#cursor.fail(`${what} is missing at the end of ${this.#cursor.shown()}`)
    this.#next++
    return word.text
  }

  /** The word taken last is wrong. */
  fail(reason: string): never {
    const word = this.#words[this.#next - 1]
    throw new PlaceError(
      reason,
      word === undefined ? this.#cursor.place() : this.#cursor.placeWithin(word.at),
    )
  }

  /** Takes a word and reads it; null from `read` is a mistake. */
  value<T>(what: string, read: (text: string) => T | null): T {
    const text = this.take(what)
    return read(text) ?? this.fail(`"${text}" is no ${what}`)
  }

  number(what: string, max: number): number {
    return this.value(what, (text) => parseNumber(text, max))
  }
}

/** iproute2's prefix: also 10/8, 0/0 and 10.0.0.0/255.0.0.0. */
function readPrefix(text: string): Prefix | null {
  const short = /^(\d+(?:\.\d+){0,3})\/(.+)$/.exec(text)
  if (short === null) return parsePrefix(text)
  const parts = short[1]!.split('.')
  while (parts.length < 4) parts.push('0')
  const mask = parseIpv4(short[2]!)
  if (mask === null) return parsePrefix(`${parts.join('.')}/${short[2]}`)
  const inverse = ~mask >>> 0
  return (inverse & (inverse + 1)) === 0 ? parsePrefix(`${parts.join('.')}/${Math.clz32(inverse)}`) : null
}

const ROUTE_TYPES: Readonly<Record<string, number>> = {
  unicast: RouteType.Unicast,
  local: RouteType.Local,
  broadcast: RouteType.Broadcast,
  anycast: RouteType.Anycast,
  multicast: RouteType.Multicast,
  blackhole: RouteType.Blackhole,
  unreachable: RouteType.Unreachable,
  prohibit: RouteType.Prohibit,
  throw: RouteType.Throw,
}

/** RTN_* of the name; null if it is none. */
export const parseRouteType = (text: string): number | null =>
  Object.hasOwn(ROUTE_TYPES, text) ? ROUTE_TYPES[text]! : null

/** Route types that need no interface. */
export const isRefusal = (type: number): boolean => type >= RouteType.Blackhole && type <= RouteType.Throw

/** RTAX_* besides the mtu, in the order of their numbers. */
const METRICS =
  'window rtt rttvar ssthresh cwnd advmss reordering hoplimit initcwnd rto_min initrwnd quickack'.split(' ')

/** ICMPV6_ROUTER_PREF_*. */
export const PREFERENCES: ReadonlyMap<string, number> = new Map([
  ['medium', 0],
  ['high', 1],
  ['low', 3],
])

/** A route that lacks its device: a gateway says where it goes. */
export type UnresolvedRoute = RouteConfig

/** `ip route add` with these words. A route with a gateway may come back without a device. */
export function parseRouteWords(cursor: Cursor, tables: TableNames): UnresolvedRoute {
  const line = new Line(cursor, 'a route in `ip route` words')
  let family: Family | null = line.accept('-6', '-6') ? 6 : line.accept('-4') ? 4 : null
  line.accept('add')
  const typeName = line.peek()
  let type: number = RouteType.Unicast
  if (typeName !== undefined && parseRouteType(typeName) !== null) {
    type = parseRouteType(typeName)!
    line.take('type')
  }
  line.accept('to')
  const settle = (found: Family): void => {
    if (family !== null && family !== found) line.fail(`an IPv${found} address in an IPv${family} route`)
    family = found
  }
  const dstText = line.take('destination')
  let dst: Prefix | null = null
  if (dstText !== 'default' && dstText !== 'any' && dstText !== 'all') {
    dst =
      readPrefix(dstText) ??
      line.fail(`"${dstText}" is no destination: expected default, an address or a prefix`)
    settle(dst.family)
    if (!sameWords(dst.words, maskedWords(dst.words, dst.prefixLength)))
      line.fail(`"${dstText}" has bits behind its prefix length`)
  }

  let source: Prefix | null = null
  let table: number | null = null
  let tos = 0
  let metric: number | null = null
  let scope: number | null = null
  let protocol = 'boot'
  let preferredSource: Words | null = null
  let mtu = 0
  let preference = 0
  const metrics = new Map<string, number | string>()
  const locked = new Set<string>()
  let realm = 0
  let hop: Hop = { device: null, gateway: null, gatewayFamily: null, onlink: false, weight: 1, realm: 0 }
  const nexthops: Hop[] = []
  const address = (text: string, want: Family | null): Words => {
    const found = parseEither(text) ?? line.fail(`"${text}" is no address`)
    if (want === null) settle(found.family)
    else if (found.family !== want) line.fail(`"${text}" is no IPv${want} address`)
    return found.words
  }
  /** A word that may stand in the route or behind `nexthop`. */
  const hopWord = (word: string): boolean => {
    if (word === 'via') {
      const other = line.accept('inet6') ? 6 : line.accept('inet') ? 4 : null
      if (hop.gateway !== null) line.fail('a second gateway: use "nexthop via" for each of several')
      hop = { ...hop, gateway: address(line.take('gateway'), other), gatewayFamily: other }
    } else if (word === 'dev') hop = { ...hop, device: line.take('interface') }
    else if (word === 'onlink') hop = { ...hop, onlink: true }
    else if (word === 'realms' || word === 'realm') hop = { ...hop, realm: line.value('realm', readRealm) }
    else return false
    return true
  }
  while (line.peek() !== undefined) {
    const word = line.take('word')
    if (nexthops.length > 0 && word !== 'nexthop') {
      if (word === 'weight') hop = { ...hop, weight: Math.max(line.number('weight', 256), 1) }
      else if (!hopWord(word)) line.fail(`"${word}" cannot stand behind "nexthop"`)
      nexthops[nexthops.length - 1] = hop
    } else if (word === 'nexthop') {
      if (nexthops.length === 0 && hop.gateway !== null) line.fail('"nexthop" and "via" in one route')
      hop = { device: null, gateway: null, gatewayFamily: null, onlink: false, weight: 1, realm: 0 }
      nexthops.push(hop)
    } else if (hopWord(word)) realm = hop.realm
    else if (word === 'from') {
      source = line.value('source prefix', readPrefix)
      if (source.family !== 6) line.fail('"from" is for IPv6 routes')
      settle(6)
    } else if (word === 'src') preferredSource = address(line.take('source address'), null)
    else if (word === 'table') table = line.value('routing table', (t) => tables.parse(t))
    else if (word === 'tos' || word === 'dsfield') tos = line.value('tos', parseTos)
    else if (word === 'metric' || word === 'priority' || word === 'preference')
      metric = line.number('metric', 0xffff_ffff)
    else if (word === 'scope') scope = line.value('scope', parseScope)
    else if (word === 'proto' || word === 'protocol') protocol = line.value('protocol', parseRouteProtocol)
    else if (word === 'mtu') {
      if (line.accept('lock')) locked.add(word)
      mtu = line.number('mtu', 0xffff_ffff)
    } else if (METRICS.includes(word)) {
      if (line.accept('lock')) locked.add(word)
      const value = line.take(word)
      metrics.set(word, /^\d+$/.test(value) ? Number(value) : value)
    } else if (word === 'pref') preference = line.value('preference', (t) => PREFERENCES.get(t) ?? null)
    else line.fail(`unknown word "${word}" in a route`)
  }

  const routed: Family = family ?? 4
  if (dst === null) dst = { family: routed, words: ANY, prefixLength: 0 }
  if (isRefusal(type)) {
    if (hop.device !== null || hop.gateway !== null || nexthops.length > 0)
      cursor.fail(`a ${typeName} route leads nowhere: "via", "dev" and "nexthop" have no place in it`)
  } else if (nexthops.length === 0 && hop.device === null && hop.gateway === null)
    cursor.fail(`the route has neither "dev" nor "via"`)
  for (const nexthop of nexthops)
    if (nexthop.device === null && nexthop.gateway === null)
      cursor.fail(`a "nexthop" has neither "dev" nor "via"`)
  const ownScope =
    type === RouteType.Local
      ? SCOPE_HOST
      : type === RouteType.Broadcast || type === RouteType.Multicast || type === RouteType.Anycast
        ? SCOPE_LINK
        : type === RouteType.Unicast && hop.gateway === null && nexthops.length === 0
          ? SCOPE_LINK
          : SCOPE_UNIVERSE
  const ownTable =
    type === RouteType.Local || type === RouteType.Broadcast || type === RouteType.Anycast
      ? TABLE_LOCAL
      : TABLE_MAIN
  return {
    family: routed,
    type,
    dst: dst.words,
    prefixLength: dst.prefixLength,
    source,
    table: table ?? ownTable,
    tos,
    metric: metric ?? (routed === 6 ? 1024 : 0),
    scope: scope ?? (routed === 6 ? SCOPE_UNIVERSE : ownScope),
    protocol,
    device: nexthops.length > 0 ? null : hop.device,
    gateway: nexthops.length > 0 ? null : hop.gateway,
    gatewayFamily: hop.gatewayFamily ?? routed,
    preferredSource,
    mtu,
    preference,
    metrics: METRICS.filter((m) => metrics.has(m)).map((m) => ({ name: m, value: metrics.get(m)! })),
    locked: ['mtu', ...METRICS].filter((m) => locked.has(m)),
    realm,
    onlink: hop.onlink || nexthops.some((n) => n.onlink),
    // An empty device is filled in from the gateway by the loader.
    nexthops:
      nexthops.length === 0
        ? null
        : nexthops.map(
            (n): NexthopConfig => ({ device: n.device ?? '', gateway: n.gateway, weight: n.weight }),
          ),
    origin: cursor,
  }
}

interface Hop {
  readonly device: string | null
  readonly gateway: Words | null
  readonly gatewayFamily: Family | null
  readonly onlink: boolean
  readonly weight: number
  readonly realm: number
}

/** `TO` or `FROM/TO` as rtm_flow has it: from << 16 | to. */
export function readRealm(text: string): number | null {
  const parts = text.split('/').map((part) => (part === 'cosmos' ? 0 : parseNumber(part, 0xffff)))
  if (parts.length > 2 || parts.includes(null)) return null
  return parts.length === 1 ? parts[0]! : ((parts[0]! << 16) | parts[1]!) >>> 0
}

/** `ip rule add` with these words; `priority` is -1 when not given. */
export function parseRuleWords(cursor: Cursor, tables: TableNames): RuleConfig {
  const line = new Line(cursor, 'a rule in `ip rule` words')
  let family: Family | null = line.accept('-6') ? 6 : line.accept('-4') ? 4 : null
  line.accept('add')
  const settle = (found: Family): void => {
    if (family !== null && family !== found) line.fail(`an IPv${found} address in an IPv${family} rule`)
    family = found
  }
  const prefix = (what: string): Prefix | null => {
    const text = line.take(what)
    if (text === 'all' || text === 'any' || text === 'default') return null
    const found = readPrefix(text) ?? line.fail(`"${text}" is no ${what}`)
    settle(found.family)
    return found.prefixLength === 0 ? null : found
  }
  const rule: { -readonly [K in keyof RuleConfig]: RuleConfig[K] } = {
    ...plainRule(4),
    priority: -1,
    origin: cursor,
  }
  let action: RuleAction | null = null
  let table: number | null = null
  while (line.peek() !== undefined) {
    const word = line.take('word')
    if (word === 'not') rule.not = true
    else if (word === 'from') rule.source = prefix('source prefix')
    else if (word === 'to') rule.destination = prefix('destination prefix')
    else if (
      word === 'preference' ||
      word === 'pref' ||
      word === 'order' ||
      word === 'priority' ||
      word === 'prio'
    )
      rule.priority = line.number('priority', 0xffff_ffff)
    else if (word === 'tos' || word === 'dsfield') rule.tos = line.value('tos', parseTos)
    else if (word === 'fwmark') {
      const [mark, mask] = line.value('mark', readMark)
      rule.mark = mark
      rule.markMask = mask
    } else if (word === 'iif' || word === 'dev') rule.iif = line.take('interface')
    else if (word === 'oif') rule.oif = line.take('interface')
    else if (word === 'ipproto') rule.protocol = line.value('protocol', parseIpProtocol)
    else if (word === 'sport') rule.sourcePorts = line.value('port or range', readPorts)
    else if (word === 'dport') rule.destinationPorts = line.value('port or range', readPorts)
    else if (word === 'uidrange') rule.uids = line.value('range of user ids', readUids)
    else if (word === 'tun_id') rule.tunnel = line.number('tunnel id', 0xffff_ffff)
    else if (word === 'realms' || word === 'realm') rule.realm = line.value('realm', readRealm)
    else if (word === 'protocol' || word === 'proto') line.value('protocol', parseRouteProtocol)
    else if (word === 'table' || word === 'lookup')
      table = line.value('routing table', (t) => tables.parse(t))
    else if (word === 'suppress_prefixlength' || word === 'sup_pl')
      rule.suppressPrefixLength = line.number('prefix length', 128)
    else if (word === 'suppress_ifgroup' || word === 'sup_group')
      rule.suppressGroup = line.value('interface group', (t) =>
        t === 'default' ? 0 : parseNumber(t, 0x7fff_ffff),
      )
    else if (word === 'l3mdev') rule.l3mdev = true
    else if (word === 'goto') {
      action = 'goto'
      rule.target = line.number('priority', 0xffff_ffff)
    } else if (word === 'nop' || word === 'blackhole' || word === 'unreachable' || word === 'prohibit')
      action = word
    else if (word === 'type') {
      const kind = line.take('rule type')
      if (kind === 'blackhole' || kind === 'unreachable' || kind === 'prohibit' || kind === 'nop')
        action = kind
      else if (kind !== 'unicast' && kind !== 'lookup') line.fail(`"${kind}" is no rule type`)
    } else line.fail(`unknown word "${word}" in a rule`)
  }
  if (rule.l3mdev && table !== null) cursor.fail('a rule with "l3mdev" takes its table from the device')
  rule.family = family ?? 4
  rule.action = action ?? 'lookup'
  rule.table = rule.action === 'lookup' ? (table ?? (rule.l3mdev ? 0 : TABLE_MAIN)) : (table ?? 0)
  return rule
}

/** A rule that asks nothing and looks up main; the parsers start from it. */
export function plainRule(family: Family): Omit<RuleConfig, 'origin' | 'priority'> {
  return {
    family,
    not: false,
    source: null,
    destination: null,
    tos: 0,
    mark: 0,
    markMask: 0,
    iif: null,
    oif: null,
    protocol: 0,
    sourcePorts: null,
    destinationPorts: null,
    uids: null,
    tunnel: 0,
    l3mdev: false,
    action: 'lookup',
    table: TABLE_MAIN,
    target: 0,
    suppressPrefixLength: -1,
    suppressGroup: -1,
    realm: 0,
  }
}

/** `MARK[/MASK]`; the mask is all ones if not given. */
export function readMark(text: string): readonly [number, number] | null {
  const [mark, mask, ...more] = text.split('/').map((part) => parseNumber(part, 0xffff_ffff))
  if (mark === null || mark === undefined || mask === null || more.length > 0) return null
  return [mark, mask ?? 0xffff_ffff]
}

function readRange(
  text: string,
  min: number,
  max: number,
  single: boolean,
): readonly [number, number] | null {
  const [low, high, ...more] = text.split('-').map((part) => parseNumber(part, max))
  if (low === null || low === undefined || high === null || more.length > 0) return null
  if (high === undefined) return single && low >= min ? [low, low] : null
  return low >= min && low <= high ? [low, high] : null
}

const readPorts = (text: string): readonly [number, number] | null => readRange(text, 1, 65535, true)
const readUids = (text: string): readonly [number, number] | null => readRange(text, 0, 0xffff_ffff, false)

/** Words of `ip addr add` behind the address that say nothing to this host. */
const ADDRESS_FLAGS = new Set('nodad home mngtmpaddr optimistic autojoin permanent'.split(' '))

/** `ip addr add` with these words, without `dev`. `secondary` is left to the loader. */
export function parseAddressWords(cursor: Cursor): AddressConfig {
  const line = new Line(cursor, 'an address in `ip addr` words')
  line.accept('local')
  const text = line.take('address')
  const local =
    parsePrefix(text) ??
    line.fail(`"${text}" is no address: expected ADDRESS/LENGTH, as 192.0.2.1/24 or 2001:db8::1/64`)
  const { family } = local
  let length = local.prefixLength
  let peer: Words | null = null
  let broadcast: Words | null = null
  let scope: number | null = null
  let label: string | null = null
  let metric = 0
  let noPrefixRoute = false
  let deprecated = false
  const flags: string[] = []
  const range = (): number => (length >= 31 ? 0 : -1 >>> length)
  while (line.peek() !== undefined) {
    const word = line.take('word')
    if (word === 'peer' || word === 'remote') {
      const far = line.value('peer address', parsePrefix)
      if (far.family !== family) line.fail(`the peer of an IPv${family} address must be one too`)
      peer = far.words
      length = far.prefixLength
    } else if (word === 'broadcast' || word === 'brd') {
      if (family !== 4) line.fail('IPv6 has no broadcast address')
      const given = line.take('broadcast address')
      if (given === '+') broadcast = length >= 31 ? null : [local.words[0] | range(), 0, 0, 0]
      else if (given === '-') broadcast = length >= 31 ? null : [local.words[0] & ~range(), 0, 0, 0]
      else broadcast = [parseIpv4(given) ?? line.fail(`"${given}" is no broadcast address`), 0, 0, 0]
    } else if (word === 'scope') scope = line.value('scope', parseScope)
    else if (word === 'label') label = line.take('label')
    else if (word === 'metric' || word === 'priority' || word === 'preference')
      metric = line.number('metric', 0xffff_ffff)
    else if (word === 'noprefixroute') noPrefixRoute = true
    else if (word === 'valid_lft') line.take('lifetime')
    else if (word === 'preferred_lft') deprecated = line.take('lifetime') === '0'
    else if (!ADDRESS_FLAGS.has(word)) line.fail(`unknown word "${word}" in an address`)
    else if (family === 6 && word !== 'optimistic' && word !== 'permanent') flags.push(word)
  }
  if (peer !== null && sameWords(peer, local.words)) peer = null
  const loopback = family === 4 && local.words[0] >>> 24 === 127
  return {
    family,
    words: local.words,
    prefixLength: Math.min(length, bitsOf(family)),
    peer,
    broadcast,
    // An IPv6 address says it itself.
    scope: family === 6 ? scopeOf6(local.words) : (scope ?? (loopback ? SCOPE_HOST : SCOPE_UNIVERSE)),
    secondary: false,
    label,
    noPrefixRoute,
    byHand: true,
    metric,
    deprecated,
    tentative: false,
    flags,
    origin: cursor,
  }
}
