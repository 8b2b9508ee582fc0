// ip route, as iproute.c of iproute2 6.1 reads it: which command it is, and those that change routes.

import { type Device, Scope } from '../../datapath/devices.ts'
import {
  type Nexthop,
  type Route,
  RouteError,
  type RouteMetric,
  type RouteSpec,
  RouteType,
  Table,
} from '../../datapath/fib.ts'
import { invalidScope } from '../../datapath/fib-check.ts'
import { FOREVER } from '../../datapath/lifetimes.ts'
import type { Family } from '../../datapath/packet.ts'
import { maskedWords, sameWords, tableFor } from '../../datapath/route.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { doubleToUint, plainStrtoul, strtod } from '../../rules/text/numbers.ts'
import { ANY } from '../host-folder/address.ts'
import { type IpContext, Refusal } from './ip-context.ts'
import { getRoute } from './ip-route-get.ts'
import { listRoutes } from './ip-route-list.ts'
import { METRICS, NO_FILTER, printRoute } from './ip-route-print.ts'
import { routeUsage } from './ip-usage.ts'
import {
  type AnyPrefix,
  begins,
  isForeign,
  type Line,
  lastTable,
  number,
  protocolText,
  routeType,
  stays,
  tableNumber,
} from './ip-words.ts'

/** lwtunnel_encap_types of iproute2. */
const ENCAPSULATIONS = new Set('mpls ip ip6 ila bpf seg6 seg6local rpl ioam6 xfrm'.split(' '))

const CHANGES = ['add', 'change', 'replace', 'prepend', 'append', 'test', 'delete'] as const
type Change = (typeof CHANGES)[number]

export function runRoute(context: IpContext, words: readonly string[]): number {
  const line = context.line(words)
  if (line.done) return listRoutes(context, line, 'show')
  const verb = line.take()
  for (const change of CHANGES)
    if (begins(verb, change) || (change === 'change' && verb === 'chg')) return modify(context, line, change)
  if (begins(verb, 'list') || begins(verb, 'show') || begins(verb, 'lst'))
    return listRoutes(context, line, 'show')
  if (begins(verb, 'get')) return getRoute(context, line)
  if (begins(verb, 'flush')) return listRoutes(context, line, 'flush')
  if (begins(verb, 'save')) return listRoutes(context, line, 'save')
  if (begins(verb, 'restore') || begins(verb, 'showdump'))
    return line.fail(context.foreignDump(`route ${verb}`), 1)
  if (begins(verb, 'help')) return line.die(routeUsage)
  return line.die(`Command "${verb}" is unknown, try "ip route help".\n`)
}

// -- add, change, replace, append, delete

/** Metrics whose names may be shortened; the first that fits counts. */
const SHORT =
  'reordering window cwnd initcwnd initrwnd quickack congctl rttvar ssthresh fastopen_no_cookie'.split(' ')

const UNKNOWN_VIA = 'Unsupported address family in RTA_VIA'
const BOTH_HOPS = 'Nexthop specification and nexthop id are mutually exclusive'

/** The metric that a word names. */
function metricOf(word: string): string | null {
  if (word === 'features') return null
  return METRICS.find((name) => word === name) ?? SHORT.find((name) => begins(word, name)) ?? null
}

/** get_time_rtt(): seconds and milliseconds, as an unsigned int; a bare number is raw. */
function time(text: string): { ms: number; raw: boolean } | null {
  const dotted = text.includes('.') ? strtod(text) : null
  const end = text.includes('.') ? (dotted?.end ?? 0) : plainStrtoul(text, 0).end
  const read = dotted === null ? number(text.slice(0, end), Number.POSITIVE_INFINITY) : dotted.value
  if (end === 0 || read === null || (dotted !== null && read < 0)) return null
  const unit = /^(?:(m?)s(?:ecs?)?)?$/i.exec(text.slice(end))
  if (unit === null) return null
  const value = unit[0] === '' || unit[1] !== '' ? read : read * 1000
  const cut = doubleToUint(value)
  return { ms: cut < value ? (cut + 1) >>> 0 : cut, raw: unit[0] === '' }
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
    return { name, value: found.raw ? found.ms : Math.imul(found.ms, unit) >>> 0 }
  }
  const value = number(text, name === 'hoplimit' ? 255 : 0xffff_ffff) ?? line.invalid(why, text)
  if ((name === 'quickack' || name === 'fastopen_no_cookie') && value > 1)
    line.invalid(`"${name}" value should be 0 or 1\n`, text)
  return { name, value }
}

interface Hop {
  device: Device | null
  gateway: AnyPrefix | null
  /** IPv4: another gateway was said, of the other kind (RTA_GATEWAY and RTA_VIA). */
  both: boolean
  onlink: boolean
  weight: number
  /** null: not said. */
  realm: number | null
}

/** A gateway behind `via`. */
function readVia(line: Line, family: Family | 0): AnyPrefix {
  const text = line.next()
  if (!isForeign(text)) {
    const said = text === 'inet' ? 4 : text === 'inet6' ? 6 : 0
    return line.address(said === 0 ? text : line.next(), said === 0 ? family : said)
  }
  const found = line.foreignAddress(line.next(), text)
  if (family === 0 && line.foreign === null) line.become(text)
  return found
}

/** RTA_VIA: a gateway of another family than the route's. */
const isOfOther = (gateway: AnyPrefix | null, own: Family): boolean =>
  gateway !== null && (gateway.foreign !== undefined || gateway.family === (own === 4 ? 6 : 4))

/** `any` and `all` are addresses of no bytes, `default` is one of zeros, which is none to the kernel however it was said. */
const isNothing = (p: AnyPrefix | null): boolean => p !== null && !p.given
const isDefault = (p: AnyPrefix | null): boolean => p?.given === true && sameWords(p.words, ANY)

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
  const hop: Hop = { device: null, gateway: null, both: false, onlink: false, weight: 1, realm: null }
  const said: RouteMetric[] = []
  const locked = new Set<string>()
  let nexthopId = 0
  let nexthopSaid = false
  let expires = FOREVER
  const hops: Hop[] = []
  let nexthopsFollow = false
  while (!line.done) {
    const word = line.take()
    const metricName = metricOf(word)
    if (word === 'src') {
      source = settle(line.address(line.next(), family))
    } else if (word === 'as') {
      settle(readNewDestination(line, family))
    } else if (word === 'via') {
      if (hop.gateway !== null) line.invalid('use nexthop syntax to specify multiple via\n', word)
      hop.gateway = readVia(line, family)
      settle(hop.gateway)
    } else if (word === 'from') from = stays(from, settle(line.prefix(line.next(), family)))
    else if (word === 'tos' || begins(word, 'dsfield'))
      tos = line.named('"tos" value is invalid\n', line.numbers.tos)
    else if (word === 'expires') expires = line.number('"expires" value is invalid\n')
    else if (begins(word, 'metric') || begins(word, 'priority') || word === 'preference')
      metric = line.number('"metric" value is invalid\n')
    else if (word === 'scope') scope = line.named('invalid "scope" value\n', line.numbers.scope)
    else if (word === 'ttl-propagate') {
      const text = line.next()
      if (!begins(text, 'enabled') && !begins(text, 'disabled'))
        line.invalid('"ttl-propagate" value is invalid\n', text)
    } else if (begins(word, 'features')) {
      const text = line.next()
      if (text !== 'ecn') line.invalid('"features" value not valid\n', text)
      said.push({ name: 'features', value: 'ecn' })
    } else if (metricName !== null) said.push(readMetric(line, metricName, locked))
    else if (begins(word, 'realms')) hop.realm = line.named('"realm" value is invalid\n', line.numbers.realms)
    else if (word === 'onlink') hop.onlink = true
    else if (word === 'nexthop') {
      nexthopsFollow = true
      break
    } else if (word === 'nhid') {
      nexthopId = line.number('"id" value is invalid\n')
      nexthopSaid = true
    } else if (word === 'encap') {
      return refuseEncapsulation(context, line)
    } else if (begins(word, 'protocol'))
      protocol = protocolText(line.named('"protocol" value is invalid\n', line.numbers.protocol))
    else if (begins(word, 'table'))
      table = lastTable(table, line.named('"table" value is invalid\n', tableNumber))
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
    out = context.asked(device)
    if (out === null) return line.noDevice(device)
  }
  if (nexthopsFollow) readNexthops(context, line, hops, () => family, settle)
  const own: Family = (family as Family | 0) === 0 ? 4 : (family as Family)
  // ip6_route_multipath_add() and _del() look for RTA_GATEWAY alone; one of another family is RTA_VIA.
  if (own === 6) for (const h of hops) if (isOfOther(h.gateway, own)) h.gateway = null
  const nexthops: Nexthop[] = []
  for (const h of hops) {
    // ip6_route_multipath_add() and _del(): what a next hop does not say is the route's.
    const gateway = h.gateway ?? (own === 6 ? hop.gateway : null)
    const behindIt = isOfOther(gateway, own)
    const refused = refusalOf(h, own)
    nexthops.push({
      device: (h.device ?? (own === 6 ? out : null))!,
      // To add a gateway of zeros is to add none; no route to be deleted has one.
      gateway:
        gateway === null || behindIt || (own === 4 && isDefault(gateway) && change !== 'delete')
          ? null
          : gateway.words,
      ...(behindIt && own === 4 ? { via6: gateway!.words } : {}),
      weight: h.weight,
      ...(h.onlink || (own === 6 && hop.onlink) ? { onlink: true } : {}),
      ...(h.realm && own === 4 ? { realm: h.realm } : {}),
      ...(refused === null ? {} : { refused }),
    })
  }
  const behindOther = isOfOther(hop.gateway, own)
  // ip_metrics_convert(): of what is said twice the last stands, and is checked all the same.
  const metrics = new Map(said.map((metric) => [metric.name, metric]))
  const extras = {
    ...(hop.onlink ? { onlink: true } : {}),
    ...(behindOther ? { via6: hop.gateway!.words } : {}),
    ...metricExtras(metrics, locked),
    // A route that refuses has no more than its type.
    ...(preference === 0 || isErrorType(type) || (own === 6 && isReject6(out, type, dst))
      ? {}
      : { preference }),
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
  const mtu = metrics.get('mtu')?.value ?? 0
  const spec: RouteSpec = {
    family: own,
    type,
    dst: own === 6 ? maskedWords(dst.words, dst.length) : dst.words,
    prefixLength: dst.length,
    // IPv4 does not look at it.
    from:
      own === 6 && from !== null && from.length > 0
        ? { words: maskedWords(from.words, from.length), prefixLength: from.length }
        : null,
    table: table === null ? tableFor(type) : table || Table.Main,
    tos: own === 6 ? 0 : tos,
    metric,
    scope: own === 6 ? Scope.Universe : (scope ?? ownScope),
    // ip6_route_info_create(): RTPROT_UNSPEC is RTPROT_BOOT.
    ...(protocol === null
      ? {}
      : { protocol: own === 6 && protocol === 'unspec' && change !== 'delete' ? 'boot' : protocol }),
    device: out,
    gateway: behindOther || (isDefault(hop.gateway) && own === 4) ? null : (hop.gateway?.words ?? null),
    source: isDefault(source) ? null : (source?.words ?? null),
    mtu: Math.min(Number(mtu), 65520),
    // IPv6 knows no realms.
    realm: own === 4 ? (hop.realm ?? 0) : 0,
    nexthops: nexthops.length === 0 ? null : nexthops,
    extras: Object.keys(extras).length === 0 ? null : extras,
  }
  const { fib } = context.host
  let told: Route | null = null
  const code = context.talk(() => {
    if (line.foreign !== null) throw new Refusal('EOPNOTSUPP')
    // An address of no bytes: `any`.
    if (isNothing(source) || (!behindOther && isNothing(hop.gateway)))
      throw new Refusal('EINVAL', 'Attribute failed policy validation')
    if (tos !== 0 && own === 6)
      throw new Refusal('EINVAL', 'Invalid dsfield (tos): option not available for IPv6')
    if (((tos ?? 0) & 3) !== 0 && own === 4)
      throw new Refusal('EINVAL', 'Invalid dsfield (tos): ECN bits must be 0')
    const hopSaid = out !== null || hop.gateway !== null || hops.length > 0
    // rtm_to_fib6_config() asks for both before it looks at any next hop.
    if (own === 6 && nexthopSaid && hopSaid && !(behindOther && out === null && hops.length === 0))
      throw new Refusal('EINVAL', BOTH_HOPS)
    if (own === 6 && behindOther) throw new Refusal('EINVAL', 'IPv6 does not support RTA_VIA attribute')
    if (own === 6)
      for (const { gateway, refused } of nexthops) {
        if (refused !== undefined) throw new Refusal('EINVAL', refused)
        if (change !== 'delete' && gateway === null)
          throw new Refusal('EINVAL', 'Device only routes can not be added for IPv6 using the multipath API.')
      }
    if (hop.gateway?.foreign !== undefined) throw new Refusal('EINVAL', UNKNOWN_VIA)
    if (behindOther && isNothing(hop.gateway)) throw new Refusal('EINVAL', 'Invalid IPv6 address in RTA_VIA')
    // rtm_to_fib_config(), before it looks for a table.
    if (own === 4 && !sameWords(maskedWords(dst!.words, dst!.length), dst!.words))
      throw new Refusal('EINVAL', 'Invalid prefix for given prefix length')
    if (nexthopId !== 0) throw new Refusal('EINVAL', hopSaid ? BOTH_HOPS : 'Nexthop id does not exist')
    if (change !== 'delete') {
      // fib_new_table() and fib6_new_table() come before what may still be refused.
      fib.of(own).table(spec.table!)
      checkAlgorithms(context, spec, said)
    }
    told = change === 'delete' ? remove(context, spec, said, locked) : request(context, spec, change, expires)
  })
  if (code === 0 && context.options.echo) echo(context, told, change === 'delete')
  return code
}

/** What the kernel says of a gateway that is none, or of two (fib_gw_from_attr, fib_gw_from_via); null if it is good. */
function refusalOf({ gateway: found, both }: Hop, own: Family): string | null {
  if (both) return 'Nexthop configuration can not contain both GATEWAY and VIA'
  if (found?.foreign !== undefined) return UNKNOWN_VIA
  if (found === null || !isNothing(found)) return null
  return found.family === 0 || found.family === own
    ? `Invalid IPv${own} address in RTA_GATEWAY`
    : `Invalid IPv${found.family} address in RTA_VIA`
}

/** -echo: what the kernel says has come or gone. */
function echo(context: IpContext, told: Route | null, gone: boolean): void {
  const { out } = context
  out.echo(true, () => {
    if (told === null) return
    if (gone) out.any('deleted', true, 'Deleted ')
    printRoute(context, told, NO_FILTER)
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

/** `as [to] ADDRESS`, which is for MPLS: read, and no more. */
function readNewDestination(line: Line, family: Family | 0): AnyPrefix {
  const text = line.next()
  return line.address(text === 'to' ? line.next() : text, family)
}

/** lwt_parse_encap(), as far as the kind and what it begins with; no tunnels here, whatever follows. */
function refuseEncapsulation(context: IpContext, line: Line): number {
  const kind = line.next()
  if (!ENCAPSULATIONS.has(kind)) line.invalid('"encap type" value is invalid\n', kind)
  const label = line.next()
  if (kind === 'mpls') {
    if (line.done) line.die('Error: unexpected end of line after "encap"\n')
    if (!/^\d/.test(label)) line.die(`Error: mpls address is expected rather than "${label}".\n`, 1)
  }
  return context.talk(() => {
    throw new Refusal('EOPNOTSUPP', 'lwt encapsulation type not supported')
  })
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
    const hop: Hop = { device: null, gateway: null, both: false, onlink: false, weight: 1, realm: null }
    hops.push(hop)
    for (;;) {
      if (line.done) return
      word = line.take()
      // nla_find(): of an attribute that is said twice the first counts.
      if (word === 'via') addGateway(hop, settle(readVia(line, family())), family())
      else if (word === 'dev') {
        const name = line.next()
        hop.device = context.asked(name)
        if (hop.device === null) {
          line.noDevice(name)
          line.die('Error: cannot parse nexthop\n')
        }
      } else if (word === 'weight') {
        const text = line.next()
        const weight = number(text)
        if (weight === null || weight === 0 || weight > 256) line.invalid('"weight" is invalid\n', text)
        hop.weight = weight
      } else if (word === 'onlink') hop.onlink = true
      else if (begins(word, 'realms')) {
        const realm = line.named('"realm" value is invalid\n', line.numbers.realms)
        hop.realm ??= realm
      } else if (word === 'encap') line.fail('', refuseEncapsulation(context, line))
      else if (word === 'as') settle(readNewDestination(line, family()))
      else break
    }
  }
}

/** IPv6 does not look at a gateway of another family, IPv4 takes it for one of two. */
function addGateway(hop: Hop, said: AnyPrefix, family: Family | 0): void {
  const own = family === 6 ? 6 : 4
  const other = isOfOther(said, own)
  if (hop.gateway === null) hop.gateway = said
  else if (isOfOther(hop.gateway, own) === other) return
  else if (own === 4) hop.both = true
  else if (!other) hop.gateway = said
}

const isUnknownAlgorithm = ({ host }: IpContext, { name, value }: RouteMetric): boolean =>
  name === 'congctl' &&
  !(host.tunables.text('net.ipv4.tcp_available_congestion_control') ?? 'reno cubic')
    .split(' ')
    .includes(String(value))

/** Out of lo a route leads nowhere, unless it is local or that of ::1 (ip6_route_info_create). */
const isReject6 = (device: Device | null, type: number, { words: w }: Pick<AnyPrefix, 'words'>): boolean =>
  device?.loopback === true && type !== RouteType.Local && !((w[0] | w[1] | w[2]) === 0 && w[3] === 1)

function remove(
  context: IpContext,
  spec: RouteSpec,
  metrics: readonly RouteMetric[],
  locked: ReadonlySet<string>,
): Route {
  const { type, protocol, device, gateway, source, nexthops, ...rest } = spec
  // An algorithm that nobody knows is as none (tcp_ca_get_key_by_name).
  const values = metrics.map((metric) =>
    isUnknownAlgorithm(context, metric) ? { ...metric, value: '' } : metric,
  )
  return context.host.fib.deleteRoute(
    {
      ...rest,
      ...(type ? { type } : {}),
      // RTPROT_UNSPEC is any.
      ...(protocol === undefined || protocol === 'unspec' ? {} : { protocol }),
      device: device ?? null,
      gateway: gateway ?? null,
      source: source ?? null,
      nexthops: nexthops ?? null,
    },
    { values, locked: METRICS.filter((name) => locked.has(name)) },
  )
}

/** ip_metrics_convert(), before any next hop is looked at, and of IPv4 after the scope that the type asks for. */
function checkAlgorithms(context: IpContext, spec: RouteSpec, metrics: readonly RouteMetric[]): void {
  if (metrics.some((metric) => isUnknownAlgorithm(context, metric)))
    throw new Refusal(
      'EINVAL',
      (spec.family === 4 && invalidScope(spec)) || 'Unknown tcp congestion algorithm',
    )
}

/** `expires`: seconds, FOREVER; IPv4 does not know it. */
function request(
  context: IpContext,
  spec: RouteSpec,
  change: Exclude<Change, 'delete'>,
  expires: number,
): Route {
  const { fib } = context.host
  const type = spec.type ?? RouteType.Unicast
  const refuses = isErrorType(type) || isReject6(spec.device ?? null, type, { words: spec.dst })
  const mortal = expires !== FOREVER && spec.family === 6 && !refuses
  const end = mortal ? context.host.now + expires * 1000 : null
  // NLM_F_EXCL alone: IPv4 makes nothing, IPv6 does not look.
  if (change === 'test') {
    const made = fib.addRoute(spec, 'add', true, end)
    if (spec.family === 6) return made
    fib.removeRoute(made)
    throw new RouteError('ENOENT', 'No such file or directory')
  }
  // NLM_F_CREATE alone puts an IPv4 route in front, an IPv6 one behind.
  return fib.addRoute(spec, change, true, end)
}
