// ip route, as iproute.c of iproute2 6.1 reads and prints it. `get` asks the engine's own look-ups.

import { type Device, Scope } from '../../datapath/devices.ts'
import {
  type Nexthop,
  newFlowKey,
  type Route,
  RouteError,
  RouteFailure,
  type RouteMetric,
  type RouteSpec,
  RouteType,
  Table,
  type Words,
} from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import { ANY, bitsOf, masked, sameWords } from '../host-folder/address.ts'
import { type IpContext, Refusal } from './ip-context.ts'
import { routeUsage } from './ip-usage.ts'
import {
  type AnyPrefix,
  agrees,
  begins,
  ipProtocolNumber,
  type Line,
  number,
  protocolNumber,
  protocolText,
  realms,
  routeType,
  scopeNumber,
  tableNumber,
  tosNumber,
} from './ip-words.ts'

type Change = 'add' | 'change' | 'replace' | 'prepend' | 'append' | 'test' | 'delete'

const CHANGES: readonly (readonly [string, Change])[] = [
  ['add', 'add'],
  ['change', 'change'],
  ['replace', 'replace'],
  ['prepend', 'prepend'],
  ['append', 'append'],
  ['test', 'test'],
  ['delete', 'delete'],
]

export function runRoute(context: IpContext, words: readonly string[]): number {
  const line = context.line(words)
  if (line.done) return show(context, line, false)
  const verb = line.take()
  for (const [name, change] of CHANGES)
    if (begins(verb, name) || (change === 'change' && verb === 'chg')) return modify(context, line, change)
  if (begins(verb, 'list') || begins(verb, 'show') || begins(verb, 'lst')) return show(context, line, false)
  if (begins(verb, 'get')) return get(context, line)
  if (begins(verb, 'flush')) return show(context, line, true)
  if (begins(verb, 'save') || begins(verb, 'restore') || begins(verb, 'showdump'))
    return line.die(`ip route ${verb}: the binary form is the kernel's; use ip -j route\n`)
  if (begins(verb, 'help')) return line.die(routeUsage)
  return line.die(`Command "${verb}" is unknown, try "ip route help".\n`)
}

// -- add, change, replace, append, delete

/** RTAX_* in the order of their numbers; `t`: a time in milliseconds. */
const METRICS =
  'mtu window rtt rttvar ssthresh cwnd advmss reordering hoplimit initcwnd features rto_min initrwnd quickack congctl fastopen_no_cookie'.split(
    ' ',
  )
/** Metrics whose names may be shortened. */
const SHORT = new Set(
  'reordering window cwnd initcwnd initrwnd quickack congctl rttvar ssthresh fastopen_no_cookie'.split(' '),
)

/** The metric that a word names. */
function metricOf(word: string): string | null {
  for (const name of METRICS)
    if (name !== 'features' && (word === name || (SHORT.has(name) && begins(word, name)))) return name
  return null
}

/** get_time_rtt(): seconds and milliseconds; a bare number is raw. */
function time(text: string): { ms: number; raw: boolean } | null {
  const found = /^(\d+(?:\.\d+)?)(s|sec|secs|ms|msec|msecs)?$/.exec(text)
  if (found === null) return null
  const value = Number(found[1])
  if (found[2] === undefined) return Number.isInteger(value) ? { ms: value, raw: true } : null
  return { ms: Math.ceil(value * (found[2].startsWith('s') ? 1000 : 1)), raw: false }
}

function readMetric(line: Line, name: string, locked: Set<string>): RouteMetric {
  let text = line.next()
  if (text === 'lock' && name !== 'rto_min' && name !== 'quickack') {
    locked.add(name)
    text = line.next()
  }
  if (name === 'rto_min') locked.add(name)
  if (name === 'congctl') return { name, value: text }
  const why = `"${name === 'advmss' ? 'mss' : name}" value is invalid\n`
  if (name === 'rtt' || name === 'rttvar' || name === 'rto_min') {
    const found = time(text) ?? line.invalid(why, text)
    // rtt is kept in eighths, rttvar in quarters of a millisecond.
    const unit = name === 'rtt' ? 8 : name === 'rttvar' ? 4 : 1
    return { name, value: found.raw ? found.ms : found.ms * unit }
  }
  const value = number(text, name === 'hoplimit' ? 255 : 0xffff_ffff) ?? line.invalid(why, text)
  if ((name === 'quickack' || name === 'fastopen_no_cookie') && value > 1)
    line.invalid(`"${name}" value should be 0 or 1\n`, text)
  return { name, value }
}

interface Hop {
  device: string | null
  gateway: AnyPrefix | null
  onlink: boolean
  weight: number
  realm: number
}

/** A gateway behind `via`. */
function readVia(line: Line, family: Family | 0): AnyPrefix {
  let text = line.next()
  const said = text === 'inet' ? 4 : text === 'inet6' ? 6 : 0
  if (said !== 0) text = line.next()
  return line.address(text, said === 0 ? family : said)
}

function modify(context: IpContext, line: Line, change: Change): number {
  let family: Family | 0 = context.options.family
  const settle = (p: AnyPrefix): AnyPrefix => {
    if (family === 0) family = p.family
    return p
  }
  let dst: AnyPrefix | null = null
  let type = change === 'delete' ? 0 : RouteType.Unicast
  let table: number | null = null
  let scope: number | null = null
  let protocol: string | null = change === 'delete' ? null : 'boot'
  let tos = 0
  let metric = 0
  let source: AnyPrefix | null = null
  let from: AnyPrefix | null = null
  let preference = 0
  let device: string | null = null
  const hop: Hop = { device: null, gateway: null, onlink: false, weight: 1, realm: 0 }
  const metrics = new Map<string, RouteMetric>()
  const locked = new Set<string>()
  const hops: Hop[] = []
  while (!line.done) {
    const word = line.take()
    const metricName = metricOf(word)
    if (word === 'src') source = settle(line.address(line.next(), family))
    else if (word === 'as') {
      const text = line.next()
      settle(line.address(text === 'to' ? line.next() : text, family))
    } else if (word === 'via') {
      if (hop.gateway !== null) line.invalid('use nexthop syntax to specify multiple via\n', word)
      hop.gateway = readVia(line, family)
      settle(hop.gateway)
    } else if (word === 'from') from = settle(line.prefix(line.next(), family))
    else if (word === 'tos' || begins(word, 'dsfield'))
      tos = line.named('"tos" value is invalid\n', tosNumber)
    else if (word === 'expires') line.number('"expires" value is invalid\n')
    else if (begins(word, 'metric') || begins(word, 'priority') || word === 'preference')
      metric = line.number('"metric" value is invalid\n')
    else if (word === 'scope') scope = line.named('invalid "scope" value\n', scopeNumber)
    else if (metricName !== null) metrics.set(metricName, readMetric(line, metricName, locked))
    else if (begins(word, 'realms')) hop.realm = line.named('"realm" value is invalid\n', realms)
    else if (word === 'onlink') hop.onlink = true
    else if (word === 'nexthop') {
      readNexthops(context, line, hops, () => family, settle)
      break
    } else if (word === 'nhid') line.number('"id" value is invalid\n')
    else if (begins(word, 'protocol'))
      protocol = protocolText(line.named('"protocol" value is invalid\n', protocolNumber))
    else if (begins(word, 'table')) table = line.named('"table" value is invalid\n', tableNumber)
    else if (begins(word, 'vrf')) line.invalid('Invalid VRF\n', line.next())
    else if (word === 'dev' || word === 'oif') device = line.next()
    else if (begins(word, 'pref')) {
      const text = line.next()
      const named = ({ low: 3, medium: 0, high: 1 } as Record<string, number>)[text]
      preference = named ?? number(text, 255) ?? line.invalid('"pref" value is invalid\n', text)
    } else {
      let text = word === 'to' ? line.next() : word
      const first = text[0] ?? ''
      if (first < '0' || first > '9') {
        const found = routeType(text)
        if (found !== null) {
          type = found
          text = line.next()
        }
      }
      if (begins(text, 'help')) line.die(routeUsage)
      if (dst !== null) line.garbage('to', text)
      dst = line.prefix(text, family)
      settle(dst)
    }
  }
  if (dst === null) return line.die(routeUsage)
  let out: Device | null = null
  if (device !== null) {
    out = context.device(device) ?? null
    if (out === null) return line.noDevice(device)
  }
  const own: Family = (family as Family | 0) === 0 ? 4 : (family as Family)
  const nexthops: Nexthop[] = []
  for (const h of hops) {
    const d = h.device === null ? null : (context.device(h.device) ?? null)
    nexthops.push({
      device: d!,
      gateway: h.gateway?.words ?? null,
      weight: h.weight,
      ...(h.onlink || (own === 6 && hop.onlink) ? { onlink: true } : {}),
      ...(h.realm === 0 ? {} : { realm: h.realm }),
    })
  }
  const behindOther = hop.gateway !== null && hop.gateway.family !== own
  const extras = {
    ...(hop.onlink ? { onlink: true } : {}),
    ...(behindOther ? { via6: hop.gateway!.words } : {}),
    ...metricExtras(metrics, locked),
    ...(preference === 0 ? {} : { preference }),
  }
  const ownScope =
    own === 6
      ? Scope.Universe
      : type === RouteType.Local || type === RouteType.Nat
        ? Scope.Host
        : type === RouteType.Broadcast || type === RouteType.Multicast || type === RouteType.Anycast
          ? Scope.Link
          : type === RouteType.Unicast || type === 0
            ? change === 'delete'
              ? Scope.Nowhere
              : hop.gateway === null && hops.length === 0
                ? Scope.Link
                : Scope.Universe
            : change === 'delete'
              ? Scope.Nowhere
              : Scope.Universe
  const ownTable =
    type === RouteType.Local ||
    type === RouteType.Broadcast ||
    type === RouteType.Anycast ||
    type === RouteType.Nat
      ? Table.Local
      : Table.Main
  const mtu = metrics.get('mtu')?.value ?? 0
  const spec: RouteSpec = {
    family: own,
    type,
    dst: own === 6 ? masked(dst.words, dst.length) : dst.words,
    prefixLength: dst.length,
    table:
      table === null || (table === 0 && own === 4)
        ? table === 0
          ? Table.Main
          : ownTable
        : table || Table.Main,
    tos: own === 6 ? 0 : tos,
    metric,
    scope: scope ?? ownScope,
    ...(protocol === null ? {} : { protocol }),
    device: out,
    gateway: behindOther ? null : (hop.gateway?.words ?? null),
    source: source?.words ?? null,
    mtu: Math.min(Number(mtu), 65520),
    realm: hop.realm,
    nexthops: nexthops.length === 0 ? null : nexthops,
    extras: Object.keys(extras).length === 0 ? null : extras,
  }
  return context.talk(() => {
    if (((tos ?? 0) & 3) !== 0 && own === 4)
      throw new Refusal('EINVAL', 'Invalid dsfield (tos): ECN bits must be 0')
    if (from !== null && own === 4 && from.length > 0)
      throw new Refusal('EINVAL', 'Invalid source prefix for route')
    request(context, spec, change)
  })
}

/** ip_metrics_convert(): what is out of range is brought into it, zero is nothing. */
function metricExtras(metrics: ReadonlyMap<string, RouteMetric>, locked: ReadonlySet<string>) {
  const kept: RouteMetric[] = []
  for (const name of METRICS) {
    const found = metrics.get(name)
    if (found === undefined || name === 'mtu' || found.value === 0) continue
    kept.push(name === 'advmss' ? { name, value: Math.min(Number(found.value), 65495) } : found)
  }
  return {
    ...(kept.length === 0 ? {} : { metrics: kept }),
    ...(locked.size === 0 ? {} : { locked: METRICS.filter((name) => locked.has(name)) }),
  }
}

function readNexthops(
  context: IpContext,
  line: Line,
  hops: Hop[],
  family: () => Family | 0,
  settle: (p: AnyPrefix) => AnyPrefix,
): void {
  let word = 'nexthop'
  for (;;) {
    if (word !== 'nexthop') line.die(`Error: "nexthop" or end of line is expected instead of "${word}"\n`)
    if (line.done) line.die('Error: unexpected end of line after "nexthop"\n')
    const hop: Hop = { device: null, gateway: null, onlink: false, weight: 1, realm: 0 }
    hops.push(hop)
    for (;;) {
      if (line.done) return
      word = line.take()
      if (word === 'via') hop.gateway = settle(readVia(line, family()))
      else if (word === 'dev') {
        hop.device = line.next()
        if (context.device(hop.device) === undefined) {
          line.noDevice(hop.device)
          line.die('Error: cannot parse nexthop\n')
        }
      } else if (word === 'weight') {
        const text = line.next()
        const weight = number(text)
        if (weight === null || weight === 0 || weight > 256) line.invalid('"weight" is invalid\n', text)
        hop.weight = weight
      } else if (word === 'onlink') hop.onlink = true
      else if (begins(word, 'realms')) hop.realm = line.named('"realm" value is invalid\n', realms)
      else break
    }
  }
}

function request(context: IpContext, spec: RouteSpec, change: Change): void {
  const { fib } = context.host
  if (change === 'delete') {
    const { type, protocol, device, gateway, source, nexthops, ...rest } = spec
    if (
      spec.family === 4 &&
      spec.prefixLength < 32 &&
      !sameWords(masked(spec.dst, spec.prefixLength), spec.dst)
    )
      throw new Refusal('EINVAL', 'Invalid prefix for given prefix length')
    fib.deleteRoute({
      ...rest,
      ...(type ? { type } : {}),
      ...(protocol === undefined ? {} : { protocol }),
      device: device ?? null,
      gateway: gateway ?? null,
      source: source ?? null,
      nexthops: nexthops ?? null,
    })
    return
  }
  if (change === 'test') {
    const there = fib
      .routes(spec.family ?? 4, spec.table)
      .some((r) => sameWords(r.dst, spec.dst) && r.prefixLength === spec.prefixLength)
    throw new RouteError(there ? 'EEXIST' : 'ENOENT', '')
  }
  // NLM_F_CREATE alone puts an IPv4 route in front, an IPv6 one behind.
  fib.addRoute(spec, change, true)
}

// -- show and flush

interface Filter {
  /** 0: all tables. */
  table: number
  cloned: boolean
  tos: number | null
  protocol: string | null
  protocolSaid: boolean
  scope: number | null
  scopeSaid: boolean
  type: number | null
  metric: number | null
  realm: number | null
  realmMask: number
  via: AnyPrefix | null
  source: AnyPrefix | null
  root: AnyPrefix | null
  match: AnyPrefix | null
  oif: Device | null
  iif: Device | null
}

function show(context: IpContext, line: Line, flush: boolean): number {
  let family: Family | 0 = context.options.family
  const f: Filter = {
    table: Table.Main,
    cloned: false,
    tos: null,
    protocol: null,
    protocolSaid: false,
    scope: null,
    scopeSaid: false,
    type: null,
    metric: null,
    realm: null,
    realmMask: 0,
    via: null,
    source: null,
    root: null,
    match: null,
    oif: null,
    iif: null,
  }
  if (flush && line.done) {
    line.warn('"ip route flush" requires arguments.\n')
    return 1
  }
  let oif: string | null = null
  let iif: string | null = null
  while (!line.done) {
    const word = line.take()
    if (begins(word, 'table')) {
      const text = line.next()
      const id = tableNumber(text)
      if (id !== null) f.table = id
      else if (text === 'all') f.table = 0
      else if (text === 'cache') f.cloned = true
      else if (text === 'help') line.die(routeUsage)
      else line.invalid('table id value is invalid\n', text)
    } else if (begins(word, 'vrf')) line.invalid('Invalid VRF\n', line.next())
    else if (begins(word, 'cached') || begins(word, 'cloned')) f.cloned = true
    else if (word === 'tos' || begins(word, 'dsfield'))
      f.tos = line.named('TOS value is invalid\n', tosNumber)
    else if (begins(word, 'protocol')) {
      const text = line.next()
      const found = protocolNumber(text)
      if (found === null && text !== 'all') line.invalid('invalid "protocol"\n', text)
      f.protocolSaid = found !== null
      f.protocol = found === null ? null : protocolText(found)
    } else if (begins(word, 'scope')) {
      const text = line.next()
      f.scope = scopeNumber(text)
      if (f.scope === null && text !== 'all') line.invalid('invalid "scope"\n', text)
      f.scopeSaid = f.scope !== null
    } else if (begins(word, 'type')) f.type = line.named('node type value is invalid\n', routeType)
    else if (word === 'dev' || word === 'oif') oif = line.next()
    else if (word === 'iif') iif = line.next()
    else if (word === 'mark') line.number('invalid mark value')
    else if (begins(word, 'metric') || begins(word, 'priority') || word === 'preference')
      f.metric = line.number('"metric" value is invalid\n')
    else if (word === 'via') {
      let text = line.next()
      const said = text === 'inet' ? 4 : text === 'inet6' ? 6 : 0
      if (said !== 0) text = line.next()
      f.via = line.prefix(text, said === 0 ? family : said)
    } else if (word === 'src') f.source = line.prefix(line.next(), family)
    else if (begins(word, 'realms')) {
      const text = line.next()
      const found = realms(text) ?? line.invalid('invalid realms\n', text)
      f.realm = found
      f.realmMask = 0xffff_ffff
      if ((found & 0xffff) === 0 && text.endsWith('/')) f.realmMask &= ~0xffff
      if (found >>> 16 === 0 && (!text.includes('/') || text.startsWith('/'))) f.realmMask &= 0xffff
    } else if (begins(word, 'from')) {
      const text = line.next()
      const named = begins(text, 'root') || begins(text, 'match') || begins(text, 'exact')
      line.prefix(named ? line.next() : text, family)
    } else {
      const text = begins(word, 'to') ? line.next() : word
      if (begins(text, 'root')) f.root = line.prefix(line.next(), family)
      else if (begins(text, 'match')) f.match = line.prefix(line.next(), family)
      else {
        f.match = line.prefix(begins(text, 'exact') ? line.next() : text, family)
        f.root = f.match
      }
    }
  }
  if (family === 0 && f.table !== 0) family = 4
  if (iif !== null) {
    f.iif = context.device(iif) ?? null
    if (f.iif === null) return line.noDevice(iif)
  }
  if (oif !== null) {
    f.oif = context.device(oif) ?? null
    if (f.oif === null) return line.noDevice(oif)
  }
  const families: readonly Family[] = family === 0 ? [4, 6] : [family]
  return flush ? flushRoutes(context, line, families, f) : showRoutes(context, line, families, f)
}

/** The table that is asked for does not exist: the kernel's dump ends with an error. */
function missingTable(context: IpContext, family: Family, id: number): boolean {
  return id !== 0 && !context.host.fib.hasTable(family, id)
}

function selected(context: IpContext, families: readonly Family[], f: Filter): Route[] {
  const { fib } = context.host
  if (f.cloned) return []
  return families.flatMap((family) =>
    fib.routes(family, f.table === 0 ? undefined : f.table).filter((r) => passes(r, f)),
  )
}

function showRoutes(context: IpContext, line: Line, families: readonly Family[], f: Filter): number {
  const { out } = context
  const refused = families.find((family) => missingTable(context, family, f.table))
  if (refused !== undefined && !(f.table === Table.Main)) {
    out.broken()
    line.warn(`Error: ipv${refused}: FIB table does not exist.\nDump terminated\n`)
    return 2
  }
  out.list(() => {
    for (const route of selected(context, families, f)) out.object(null, () => printRoute(context, route, f))
  })
  return 0
}

function flushRoutes(context: IpContext, line: Line, families: readonly Family[], f: Filter): number {
  const { out, options } = context
  if (f.cloned) {
    if (families[0] === 4 && options.stats > 0) out.plain('*** IPv4 routing cache is flushed.\n')
    if (families.length === 1 && families[0] === 4) return 0
  }
  const refused = families.find((family) => missingTable(context, family, f.table))
  if (refused !== undefined) {
    line.warn(`Error: ipv${refused}: FIB table does not exist.\nFlush terminated\n`)
    return 2
  }
  let round = 0
  for (;;) {
    const gone = selected(context, families, f)
    if (gone.length === 0) break
    round++
    if (options.stats > 1) for (const route of gone) printRoute(context, route, f)
    for (const route of gone) context.host.fib.removeRoute(route)
    if (options.stats > 0) out.plain(`\n*** Round ${round}, deleting ${gone.length} entries ***\n`)
  }
  if (options.stats > 0)
    out.plain(
      round === 0
        ? f.cloned && families[0] === 4
          ? ''
          : 'Nothing to flush.\n'
        : `*** Flush is complete after ${round} round${round > 1 ? 's' : ''} ***\n`,
    )
  return 0
}

function passes(r: Route, f: Filter): boolean {
  if (f.protocolSaid && r.protocol !== f.protocol) return false
  if (f.scopeSaid && r.scope !== f.scope) return false
  if (f.type !== null && r.type !== f.type) return false
  if (f.tos !== null && r.tos !== f.tos) return false
  if (f.metric !== null && r.metric !== f.metric) return false
  if (f.iif !== null) return false
  const root = f.root
  if (root !== null) {
    if (root.family !== 0 && root.family !== r.family) return false
    if (root.length > r.prefixLength || !agrees(r.dst, root.words, root.length)) return false
  }
  const match = f.match
  if (match !== null) {
    if (match.family !== 0 && match.family !== r.family) return false
    if (match.length < r.prefixLength || !agrees(r.dst, match.words, r.prefixLength)) return false
  }
  if (f.via !== null && f.via.family !== 0) {
    if (f.via.family !== r.family || !agrees(r.gateway ?? ANY, f.via.words, f.via.length)) return false
  }
  if (f.source !== null && f.source.family !== 0) {
    if (f.source.family !== r.family || !agrees(r.source ?? ANY, f.source.words, f.source.length))
      return false
  }
  if (f.realmMask !== 0 && ((r.realm ^ f.realm!) & f.realmMask) !== 0) return false
  if (f.oif !== null) {
    if (r.nexthops !== null) return r.nexthops.some((h) => h.device === f.oif)
    if (r.device !== f.oif) return false
  }
  return true
}

const NO_FILTER: Filter = {
  table: 0,
  cloned: false,
  tos: null,
  protocol: null,
  protocolSaid: false,
  scope: null,
  scopeSaid: false,
  type: null,
  metric: null,
  realm: null,
  realmMask: 0,
  via: null,
  source: null,
  root: null,
  match: null,
  oif: null,
  iif: null,
}

function printGateway(
  context: IpContext,
  family: Family,
  gateway: Words | null,
  other: Words | undefined,
): void {
  const { out } = context
  if (gateway !== null) {
    const text = formatAddress(family, gateway)
    out.any('gateway', text, `via ${text} `)
  }
  if (other !== undefined) {
    const text = formatAddress(6, other)
    out.plain(`via inet6 ${text} `)
    out.object('via', () => {
      out.member('family', 'inet6')
      out.member('host', text)
    })
  }
}

function printFlow(context: IpContext, realm: number): void {
  const { out, names } = context
  const from = realm >>> 16
  const to = names.realm(realm & 0xffff)
  out.plain(from === 0 ? `realm ${to} ` : `realms ${names.realm(from)}/${to} `)
  out.object('flow', () => {
    if (from !== 0) out.member('from', names.realm(from))
    out.member('to', to)
  })
}

function printFlags(context: IpContext, flags: readonly string[]): void {
  const { out } = context
  out.member('flags', flags)
  for (const flag of flags) out.plain(`${flag} `)
}

function printMetrics(context: IpContext, mtu: number, extras: Route['extras']): void {
  const { out } = context
  const locked = new Set(extras?.locked ?? [])
  const metrics: RouteMetric[] = [
    ...(mtu > 0 || locked.has('mtu') ? [{ name: 'mtu', value: mtu }] : []),
    ...(extras?.metrics ?? []),
  ]
  if (metrics.length === 0) return
  out.array('metrics', () =>
    out.object(null, () => {
      for (const { name, value } of metrics) {
        const lock = locked.has(name) ? 'lock ' : ''
        if (typeof value === 'number' && (name === 'rtt' || name === 'rttvar' || name === 'rto_min')) {
          const ms = name === 'rtt' ? value / 8 : name === 'rttvar' ? value / 4 : value
          const text = ms >= 1000 ? `${ms / 1000}s` : `${Math.trunc(ms)}ms`
          out.any(name, ms >= 1000 ? ms / 1000 : Math.trunc(ms), `${name} ${lock}${text} `)
        } else out.any(name, value, `${name} ${lock}${value} `)
      }
    }),
  )
}

const PREFERENCES: Readonly<Record<number, string>> = { 0: 'medium', 1: 'high', 3: 'low' }

/** print_route(). */
function printRoute(context: IpContext, r: Route, f: Filter, table = r.table): void {
  const { out, names, options } = context
  const { family } = r
  const bits = bitsOf(family)
  if (r.type !== RouteType.Unicast || options.details) {
    const name = names.type(r.type)
    out.any('type', name, `${name} `)
  }
  const dst =
    r.prefixLength === 0
      ? 'default'
      : `${formatAddress(family, r.dst)}${r.prefixLength === bits ? '' : `/${r.prefixLength}`}`
  out.any('dst', dst, `${dst} `)
  if (r.tos !== 0 && f.tos === null) out.any('tos', names.tos(r.tos), `tos ${names.tos(r.tos)} `)
  if (f.via === null || f.via.length !== bits) printGateway(context, family, r.gateway, r.extras?.via6)
  if (r.device !== null && r.nexthops === null && f.oif === null)
    out.any('dev', r.device.name, `dev ${r.device.name} `)
  if ((table !== Table.Main || options.details) && f.table === 0)
    out.any('table', names.table(table), `table ${names.table(table)} `)
  if ((r.protocol !== 'boot' || options.details) && !f.protocolSaid)
    out.any('protocol', names.protocol(r.protocol), `proto ${names.protocol(r.protocol)} `)
  if ((r.scope !== Scope.Universe || options.details) && !f.scopeSaid)
    out.any('scope', names.scope(r.scope), `scope ${names.scope(r.scope)} `)
  if (r.source !== null && (f.source === null || f.source.length !== bits)) {
    const text = formatAddress(family, r.source)
    out.any('prefsrc', text, `src ${text} `)
  }
  if ((family === 6 || r.metric !== 0) && f.metric === null)
    out.any('metric', r.metric, `metric ${r.metric} `)
  printFlags(context, r.extras?.onlink && r.nexthops === null ? ['onlink'] : [])
  if (r.realm !== 0 && r.nexthops === null) printFlow(context, r.realm)
  printMetrics(context, r.mtu, r.extras)
  if (family === 6) {
    const preference = PREFERENCES[r.extras?.preference ?? 0] ?? 'medium'
    out.any('pref', preference, `pref ${preference}`)
  }
  if (r.nexthops !== null) {
    const hops = r.nexthops
    out.array('nexthops', () => {
      for (const hop of hops)
        out.object(null, () => {
          out.plain(`${out.lineEnd}\tnexthop `)
          printGateway(context, family, hop.gateway, undefined)
          if (hop.realm) printFlow(context, hop.realm)
          out.any('dev', hop.device.name, `dev ${hop.device.name} `)
          out.any('weight', hop.weight, `weight ${hop.weight} `)
          printFlags(context, [
            ...(hop.device.up ? [] : ['dead']),
            ...(hop.onlink ? ['onlink'] : []),
            ...(hop.device.up ? [] : ['linkdown']),
          ])
        })
    })
  }
  out.plain('\n')
}

// -- get

function get(context: IpContext, line: Line): number {
  let family: Family | 0 = context.options.family
  const settle = (p: AnyPrefix): AnyPrefix => {
    if (family === 0) family = p.family
    return p
  }
  let dst: AnyPrefix | null = null
  let from: AnyPrefix | null = null
  let tos = 0
  let mark = 0
  let iif: string | null = null
  let oif: string | null = null
  let fibmatch = false
  let uid = 0
  const port = { sport: 0, dport: 0, protocol: 0 }
  while (!line.done) {
    const word = line.take()
    if (word === 'tos' || begins(word, 'dsfield')) tos = line.named('TOS value is invalid\n', tosNumber)
    else if (begins(word, 'from')) {
      const text = line.next()
      if (begins(text, 'help')) line.die(routeUsage)
      from = settle(line.prefix(text, family))
    } else if (begins(word, 'iif')) iif = line.next()
    else if (begins(word, 'mark')) mark = line.number('invalid mark value')
    else if (begins(word, 'oif') || word === 'dev') oif = line.next()
    else if (begins(word, 'notify') || begins(word, 'connected')) continue
    else if (begins(word, 'vrf')) line.invalid('Invalid VRF\n', line.next())
    else if (begins(word, 'uid')) uid = line.number('invalid UID\n')
    else if (begins(word, 'fibmatch')) fibmatch = true
    else if (begins(word, 'sport')) port.sport = line.number('invalid sport\n', 65535)
    else if (begins(word, 'dport')) port.dport = line.number('invalid dport\n', 65535)
    else if (begins(word, 'ipproto'))
      port.protocol = line.named('Invalid "ipproto" value\n', ipProtocolNumber)
    else {
      const text = word === 'to' ? line.next() : word
      if (begins(text, 'help')) line.die(routeUsage)
      dst = settle(line.prefix(text, family))
      if (family !== 0 && dst.length !== bitsOf(family))
        line.warn(
          `Warning: /${dst.length} as prefix is invalid, only /${bitsOf(family)} (or none) is supported.\n`,
        )
    }
  }
  if (dst === null) {
    line.warn('need at least a destination address\n')
    return 1
  }
  const devices: (Device | null)[] = []
  for (const name of [iif, oif]) {
    const device = name === null ? null : (context.device(name) ?? null)
    if (name !== null && device === null) return line.noDevice(name)
    devices.push(device)
  }
  const own: Family = (family as Family | 0) === 0 ? 4 : (family as Family)
  let answer: (() => void) | null = null
  const code = context.talk(() => {
    const key = newFlowKey()
    key.family = own
    ;[key.d0, key.d1, key.d2, key.d3] = dst!.words
    if (from !== null) [key.s0, key.s1, key.s2, key.s3] = from.words
    key.tos = tos
    key.mark = mark
    key.iif = devices[0]?.index ?? 0
    key.oif = devices[1]?.index ?? 0
    key.protocol = port.protocol
    key.sport = port.sport
    key.dport = port.dport
    answer = own === 4 ? get4(context, key, from, uid, fibmatch) : get6(context, key, from, fibmatch)
  })
  if (code !== 0) return code
  context.out.list(() => context.out.object(null, answer!))
  return 0
}

/** Without rules of its own a host has its local IPv4 table in the main one. */
const shownTable = (context: IpContext, r: Route): number =>
  r.family === 4 && r.table === Table.Local && !context.host.fib.customRules(4) ? Table.Main : r.table

type Key = ReturnType<typeof newFlowKey>

const FAILURES: Readonly<Record<number, string>> = {
  [RouteFailure.None]: 'ENETUNREACH',
  [RouteFailure.Prohibited]: 'EACCES',
  [RouteFailure.Invalid]: 'EINVAL',
  [RouteFailure.NetUnreach]: 'ENETUNREACH',
  [RouteFailure.HostUnreach]: 'EHOSTUNREACH',
}

/** inet_rtm_getroute(). */
function get4(
  context: IpContext,
  key: Key,
  from: AnyPrefix | null,
  uid: number,
  fibmatch: boolean,
): () => void {
  const { fib, devices, ipv4 } = context.host
  void ipv4
  const asked = { ...key }
  const refuse = (): never => {
    throw new Refusal(FAILURES[fib.failure] ?? 'ENETUNREACH')
  }
  const iif = devices.byIndex[key.iif]
  let route: Route | null
  if (iif !== undefined) {
    const found = fib.find(key)
    if (found === null || isErrorType(found.type))
      throw new Refusal(
        found === null && !iif.conf.forwarding ? 'EHOSTUNREACH' : (FAILURES[fib.failure] ?? 'ENETUNREACH'),
      )
    if (found.type === RouteType.Local || found.type === RouteType.Broadcast) route = fib.loopOf(found)
    else if (!iif.conf.forwarding) throw new Refusal('EHOSTUNREACH')
    else route = fib.forwarding(found, key)
  } else {
    route = fib.output(key)
    if (route === null) return refuse()
  }
  if (fibmatch) {
    const found = fib.find(key)
    if (found === null) return refuse()
    return () => printRoute(context, found, { ...NO_FILTER }, shownTable(context, found))
  }
  const out = route
  return () => printGet4(context, asked, key, out, from, uid)
}

function printGet4(
  context: IpContext,
  asked: Key,
  key: Key,
  r: Route,
  from: AnyPrefix | null,
  uid: number,
): void {
  const { out, names, options } = context
  if (r.type !== RouteType.Unicast || options.details)
    out.any('type', names.type(r.type), `${names.type(r.type)} `)
  const dst = formatAddress(4, [key.d0, 0, 0, 0])
  out.any('dst', dst, `${dst} `)
  if (from !== null && asked.s0 !== 0) {
    const text = formatAddress(4, from.words)
    out.any('from', text, `from ${text} `)
  }
  // The tos of the route, not of the question.
  if (r.tos !== 0) out.any('tos', names.tos(r.tos), `tos ${names.tos(r.tos)} `)
  if (r.type !== RouteType.Local)
    printGateway(context, 4, r.nexthopScope === Scope.Link ? r.gateway : null, r.extras?.via6)
  const device = r.type === RouteType.Local ? context.devices.loopback : r.device!
  out.any('dev', device.name, `dev ${device.name} `)
  const table = shownTable(context, r)
  if (table !== 0 && (table !== Table.Main || options.details))
    out.any('table', names.table(table), `table ${names.table(table)} `)
  if (asked.iif === 0 && asked.s0 !== key.s0) {
    const text = formatAddress(4, [key.s0, 0, 0, 0])
    out.any('prefsrc', text, `src ${text} `)
  }
  // RTCF_MULTICAST is the same bit as RTM_F_OFFLOAD_FAILED.
  printFlags(context, r.type === RouteType.Multicast ? ['rt_offload_failed'] : [])
  if (asked.mark !== 0) {
    out.member('mark', asked.mark)
    out.plain(asked.mark >= 16 ? `mark 0x${asked.mark.toString(16)} ` : `mark ${asked.mark} `)
  }
  if (r.realm !== 0) printFlow(context, r.realm)
  if (asked.iif === 0) out.any('uid', uid, `uid ${uid} `)
  const flags = [
    ...(r.type === RouteType.Local || r.type === RouteType.Broadcast || (asked.iif === 0 && device.loopback)
      ? ['local']
      : []),
    ...(r.type === RouteType.Multicast ? ['mc'] : []),
    ...(r.type === RouteType.Broadcast ? ['brd'] : []),
  ]
  out.member('cache', flags)
  out.plain(`${out.lineEnd}    cache ${flags.length === 0 ? '' : `<${flags.join(',')}> `}`)
  printMetrics(context, r.mtu, r.extras)
  if (asked.iif !== 0) {
    const name = context.devices.byIndex[asked.iif]!.name
    out.any('iif', name, `iif ${name} `)
  }
  out.plain('\n')
}

/** inet6_rtm_getroute(). */
function get6(context: IpContext, key: Key, from: AnyPrefix | null, fibmatch: boolean): () => void {
  const { fib, devices } = context.host
  const found = fib.find(key)
  if (found === null || isErrorType(found.type)) throw new Refusal(FAILURES[fib.failure] ?? 'ENETUNREACH')
  if (fibmatch) return () => printRoute(context, found, { ...NO_FILTER })
  const hop = found.nexthops?.find((h) => h.device.up) ?? null
  const local = found.type === RouteType.Local
  const device = local ? devices.loopback : (hop?.device ?? found.device!)
  const dst: Words = [key.d0, key.d1, key.d2, key.d3]
  const source = found.source ?? sourceFor6(context, device, local ? found.device! : device, dst)
  return () => {
    const { out, names, options } = context
    if (found.type !== RouteType.Unicast || options.details)
      out.any('type', names.type(found.type), `${names.type(found.type)} `)
    const text = formatAddress(6, dst)
    out.any('dst', text, `${text} `)
    const asked = formatAddress(6, from?.words ?? ANY)
    out.any('from', asked, `from ${asked} `)
    printGateway(context, 6, hop?.gateway ?? found.gateway, undefined)
    out.any('dev', device.name, `dev ${device.name} `)
    if (found.table !== Table.Main || options.details)
      out.any('table', names.table(found.table), `table ${names.table(found.table)} `)
    if (found.protocol !== 'boot' || options.details)
      out.any('protocol', names.protocol(found.protocol), `proto ${names.protocol(found.protocol)} `)
    if (options.details)
      out.any('scope', names.scope(Scope.Universe), `scope ${names.scope(Scope.Universe)} `)
    if (source !== null) {
      const shown = formatAddress(6, source)
      out.any('prefsrc', shown, `src ${shown} `)
    }
    out.any('metric', found.metric, `metric ${found.metric} `)
    printFlags(context, [])
    printMetrics(context, found.mtu, found.extras)
    const preference = PREFERENCES[found.extras?.preference ?? 0] ?? 'medium'
    out.any('pref', preference, `pref ${preference}`)
    out.plain('\n')
  }
}

const commonBits = (a: Words, b: Words): number => {
  for (let i = 0; i < 4; i++) if (a[i] !== b[i]) return i * 32 + Math.clz32(a[i]! ^ b[i]!)
  return 128
}

/** Scope of an address (RFC 4007): 1 host, 2 link, 5 site, 14 global. */
const scope6 = (w: Words): number => {
  const top = w[0] >>> 0
  if (top >>> 24 === 0xff) return (top >>> 16) & 15
  if (top >>> 22 === 0x3fa) return 2
  if (top >>> 22 === 0x3fb) return 5
  return w[0] === 0 && w[1] === 0 && w[2] === 0 && w[3] === 1 ? 1 : 14
}

/** Label of an address in the policy table of RFC 6724, as addrlabel.c has it. */
const label6 = (w: Words): number => {
  const top = w[0] >>> 0
  if (w[0] === 0 && w[1] === 0) {
    if (w[2] === 0) return w[3] === 1 ? 0 : 3
    if (w[2] === 0xffff) return 4
  }
  if (top >>> 25 === 0x7e) return 5
  if (top === 0x20010000) return 6
  if (top >>> 4 === 0x2001001) return 7
  if (top >>> 22 === 0x3fb) return 11
  if (top >>> 16 === 0x3ffe) return 12
  return top >>> 16 === 0x2002 ? 2 : 1
}

/** ipv6_dev_get_saddr() by rules 1, 2, 5, 6 and 8 of RFC 6724. */
function sourceFor6(context: IpContext, out: Device, home: Device, dst: Words): Words | null {
  const wanted = scope6(dst)
  let best: Words | null = null
  let score: readonly number[] = []
  for (const device of context.devices.all())
    for (const a of device.addresses) {
      if (a.family !== 6) continue
      const scope = scope6(a.words)
      if ((wanted <= 2 || dst[0] >>> 24 === 0xff) && device !== out && device !== home) continue
      const own = [
        sameWords(a.words, dst) ? 1 : 0,
        scope === wanted ? 1000 : scope > wanted ? 500 - scope : scope,
        device === out ? 1 : 0,
        label6(a.words) === label6(dst) ? 1 : 0,
        Math.min(commonBits(a.words, dst), a.prefixLength),
      ]
      const at = own.findIndex((n, i) => n !== (score[i] ?? -1))
      if (best === null || (at >= 0 && own[at]! > score[at]!)) {
        best = a.words
        score = own
      }
    }
  return best
}
