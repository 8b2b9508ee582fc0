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
  type Words,
} from '../../datapath/fib.ts'
import { invalidScope } from '../../datapath/fib-check.ts'
import { FOREVER } from '../../datapath/lifetimes.ts'
import type { Family } from '../../datapath/packet.ts'
import { maskedWords, sameWords, tableFor } from '../../datapath/route.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { ANY } from '../host-folder/address.ts'
import { type IpContext, Refusal } from './ip-context.ts'
import { getRoute } from './ip-route-get.ts'
import { listRoutes } from './ip-route-list.ts'
import { METRICS, NO_FILTER, printRoute } from './ip-route-print.ts'
import { CHANGES, type Change, isOfOther, type RouteWords, readRoute } from './ip-route-words.ts'
import { routeUsage } from './ip-usage.ts'
import { type AnyPrefix, begins, type Line } from './ip-words.ts'

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

const UNKNOWN_VIA = 'Unsupported address family in RTA_VIA'
const BOTH_HOPS = 'Nexthop specification and nexthop id are mutually exclusive'

/** `any` and `all` are addresses of no bytes, `default` is one of zeros, which is none to the kernel however it was said. */
const isNothing = (p: AnyPrefix | null): boolean => p !== null && !p.given
const isDefault = (p: AnyPrefix | null): boolean => p?.given === true && sameWords(p.words, ANY)

function modify(context: IpContext, line: Line, change: Change): number {
  const said = readRoute(context, line, change)
  const nexthops = nexthopsOf(said, change)
  const spec = specOf(said, nexthops, change)
  const { fib } = context.host
  let told: Route | null = null
  const code = context.talk(() => {
    if (line.foreign !== null) throw new Refusal('EOPNOTSUPP')
    refuse(said, nexthops, change)
    if (change === 'delete') {
      told = remove(context, spec, said)
      return
    }
    // fib_new_table() and fib6_new_table() come before what may still be refused.
    fib.of(said.family).table(spec.table!)
    checkAlgorithms(context, spec, said.metrics)
    told = request(context, spec, change, said.expires)
  })
  if (code === 0 && context.options.echo) echo(context, told, change === 'delete')
  return code
}

function nexthopsOf({ family, hop, hops }: RouteWords, change: Change): Nexthop[] {
  return hops.map((h) => {
    // ip6_route_multipath_add() and _del() look for RTA_GATEWAY alone; one of another family is RTA_VIA. What a next hop does
    // not say is the route's.
    const own = family === 6 && isOfOther(h.gateway, family) ? null : h.gateway
    const gateway = own ?? (family === 6 ? hop.gateway : null)
    const behindIt = isOfOther(gateway, family)
    const refused = refusalOf(own, h.both, family)
    return {
      device: (h.device ?? (family === 6 ? hop.device : null))!,
      // To add a gateway of zeros is to add none; no route to be deleted has one.
      gateway:
        gateway === null || behindIt || (family === 4 && isDefault(gateway) && change !== 'delete')
          ? null
          : gateway.words,
      ...(behindIt && family === 4 ? { via6: gateway!.words } : {}),
      weight: h.weight,
      ...(h.onlink || (family === 6 && hop.onlink) ? { onlink: true } : {}),
      ...(h.realm && family === 4 ? { realm: h.realm } : {}),
      ...(refused === null ? {} : { refused }),
    }
  })
}

/** What is said, or what the tool sends instead. IPv6 does not look at it. */
function scopeOf({ family, type, scope, hop, hops }: RouteWords, change: Change): number {
  if (family === 6) return Scope.Universe
  if (scope !== null) return scope
  if (type === RouteType.Local || type === RouteType.Nat) return Scope.Host
  if (type === RouteType.Broadcast || type === RouteType.Multicast || type === RouteType.Anycast)
    return Scope.Link
  if (change === 'delete') return Scope.Nowhere
  const plain = type === RouteType.Unicast || type === RouteType.Unspec
  return plain && hop.gateway === null && hops.length === 0 ? Scope.Link : Scope.Universe
}

function specOf(said: RouteWords, nexthops: readonly Nexthop[], change: Change): RouteSpec {
  const { family, dst, from, type, table, protocol, preference, source, hop, locked } = said
  const behindOther = isOfOther(hop.gateway, family)
  // ip_metrics_convert(): of what is said twice the last stands, and is checked all the same.
  const metrics = new Map(said.metrics.map((metric) => [metric.name, metric]))
  const extras = {
    ...(hop.onlink ? { onlink: true } : {}),
    ...(behindOther ? { via6: hop.gateway!.words } : {}),
    ...metricExtras(metrics, locked),
    // A route that refuses has no more than its type.
    ...(preference === 0 || isErrorType(type) || (family === 6 && isReject6(hop.device, type, dst.words))
      ? {}
      : { preference }),
  }
  const mtu = metrics.get('mtu')?.value ?? 0
  return {
    family,
    type,
    dst: family === 6 ? maskedWords(dst.words, dst.length) : dst.words,
    prefixLength: dst.length,
    // IPv4 does not look at it.
    from:
      family === 6 && from !== null && from.length > 0
        ? { words: maskedWords(from.words, from.length), prefixLength: from.length }
        : null,
    table: table === null ? tableFor(type) : table || Table.Main,
    tos: family === 6 ? 0 : said.tos,
    metric: said.metric,
    scope: scopeOf(said, change),
    // ip6_route_info_create(): RTPROT_UNSPEC is RTPROT_BOOT.
    ...(protocol === null
      ? {}
      : { protocol: family === 6 && protocol === 'unspec' && change !== 'delete' ? 'boot' : protocol }),
    device: hop.device,
    gateway: behindOther || (isDefault(hop.gateway) && family === 4) ? null : (hop.gateway?.words ?? null),
    source: isDefault(source) ? null : (source?.words ?? null),
    mtu: Math.min(Number(mtu), 65520),
    // IPv6 knows no realms.
    realm: family === 4 ? (hop.realm ?? 0) : 0,
    nexthops: nexthops.length === 0 ? null : nexthops,
    extras: Object.keys(extras).length === 0 ? null : extras,
  }
}

/** What is refused before any table is looked for (rtm_to_fib_config, rtm_to_fib6_config). */
function refuse(said: RouteWords, nexthops: readonly Nexthop[], change: Change): void {
  const { family, dst, tos, source, hop, nexthopId } = said
  const fail = (why: string): never => {
    throw new Refusal('EINVAL', why)
  }
  const behindOther = isOfOther(hop.gateway, family)
  // An address of no bytes: `any`.
  if (isNothing(source) || (!behindOther && isNothing(hop.gateway)))
    fail('Attribute failed policy validation')
  if (tos !== 0 && family === 6) fail('Invalid dsfield (tos): option not available for IPv6')
  if ((tos & 3) !== 0 && family === 4) fail('Invalid dsfield (tos): ECN bits must be 0')
  const hopSaid = hop.device !== null || hop.gateway !== null || nexthops.length > 0
  // rtm_to_fib6_config() asks for both before it looks at any next hop.
  if (
    family === 6 &&
    nexthopId !== null &&
    hopSaid &&
    !(behindOther && hop.device === null && nexthops.length === 0)
  )
    fail(BOTH_HOPS)
  if (family === 6 && behindOther) fail('IPv6 does not support RTA_VIA attribute')
  if (family === 6)
    for (const { gateway, refused } of nexthops) {
      if (refused !== undefined) fail(refused)
      if (change !== 'delete' && gateway === null)
        fail('Device only routes can not be added for IPv6 using the multipath API.')
    }
  if (hop.gateway?.foreign !== undefined) fail(UNKNOWN_VIA)
  if (behindOther && isNothing(hop.gateway)) fail('Invalid IPv6 address in RTA_VIA')
  if (family === 4 && !sameWords(maskedWords(dst.words, dst.length), dst.words))
    fail('Invalid prefix for given prefix length')
  if (nexthopId) fail(hopSaid ? BOTH_HOPS : 'Nexthop id does not exist')
}

/** What the kernel says of a gateway that is none, or of two (fib_gw_from_attr, fib_gw_from_via); null if it is good. */
function refusalOf(gateway: AnyPrefix | null, both: boolean, own: Family): string | null {
  if (both) return 'Nexthop configuration can not contain both GATEWAY and VIA'
  if (gateway?.foreign !== undefined) return UNKNOWN_VIA
  if (gateway === null || !isNothing(gateway)) return null
  return gateway.family === 0 || gateway.family === own
    ? `Invalid IPv${own} address in RTA_GATEWAY`
    : `Invalid IPv${gateway.family} address in RTA_VIA`
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

const isUnknownAlgorithm = ({ host }: IpContext, { name, value }: RouteMetric): boolean =>
  name === 'congctl' &&
  !(host.tunables.text('net.ipv4.tcp_available_congestion_control') ?? 'reno cubic')
    .split(' ')
    .includes(String(value))

/** Out of lo a route leads nowhere, unless it is local or that of ::1 (ip6_route_info_create). */
const isReject6 = (device: Device | null, type: number, w: Words): boolean =>
  device?.loopback === true && type !== RouteType.Local && !((w[0] | w[1] | w[2]) === 0 && w[3] === 1)

function remove(context: IpContext, spec: RouteSpec, { metrics, locked }: RouteWords): Route {
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
  const refuses = isErrorType(type) || isReject6(spec.device ?? null, type, spec.dst)
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
