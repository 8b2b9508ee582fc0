// Routes as print_route() of iproute2 6.1 writes them, and the filter of a listing, which leaves out what it fixes.

import { type Device, Scope } from '../../datapath/devices.ts'
import { type Route, type RouteMetric, RouteType, Table, type Words } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { carries6, type RouteEntry } from '../../datapath/route-table.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import { bitsOf } from '../host-folder/address.ts'
import type { IpContext } from './ip-context.ts'
import type { Color } from './ip-output.ts'
import type { AnyPrefix } from './ip-words.ts'

export interface Filter {
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
  /** The same of a route's own source prefix. */
  fromRoot: AnyPrefix | null
  fromMatch: AnyPrefix | null
  oif: Device | null
  iif: Device | null
  /** `if99`, and nobody has that number. */
  noSuchOif: boolean
  noSuchIif: boolean
  mark: number
}

export const NO_FILTER: Filter = {
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
  fromRoot: null,
  fromMatch: null,
  oif: null,
  iif: null,
  noSuchOif: false,
  noSuchIif: false,
  mark: 0,
}

const colorOf = (family: Family): Color => (family === 4 ? 'inet' : 'inet6')

export function printGateway(
  context: IpContext,
  family: Family,
  gateway: Words | null,
  other: Words | undefined,
): void {
  const { out } = context
  if (gateway !== null) {
    const text = formatAddress(family, gateway)
    out.any('gateway', text, `via ${out.paint(colorOf(family), `${text} `)}`)
  }
  if (other !== undefined) {
    const text = formatAddress(6, other)
    out.plain(`via inet6 ${out.paint('inet6', `${text} `)}`)
    out.object('via', () => {
      out.member('family', 'inet6')
      out.member('host', text)
    })
  }
}

export function printFlow(context: IpContext, realm: number): void {
  const { out, names } = context
  const from = realm >>> 16
  const to = names.realm(realm & 0xffff)
  out.plain(from === 0 ? `realm ${to} ` : `realms ${names.realm(from)}/${to} `)
  out.object('flow', () => {
    if (from !== 0) out.member('from', names.realm(from))
    out.member('to', to)
  })
}

export function printFlags(context: IpContext, flags: readonly string[]): void {
  const { out } = context
  out.member('flags', flags)
  for (const flag of flags) out.plain(`${flag} `)
}

/** RTAX_* in the order of their numbers. */
export const METRICS: readonly string[] =
  'mtu window rtt rttvar ssthresh cwnd advmss reordering hoplimit initcwnd features rto_min initrwnd quickack congctl fastopen_no_cookie'.split(
    ' ',
  )

/** %g of printf(3), of a number from 1 to 10^10. */
function sixDigits(value: number): string {
  const short = Number(value.toPrecision(6))
  return short < 1e6 ? String(short) : short.toExponential().replace(/e\+(\d)$/, 'e+0$1')
}

export function printMetrics(context: IpContext, mtu: number, extras: Route['extras']): void {
  const { out } = context
  const locked = new Set(extras?.locked ?? [])
  const given = new Map<string, RouteMetric>(extras?.metrics?.map((metric) => [metric.name, metric]))
  if (mtu > 0) given.set('mtu', { name: 'mtu', value: mtu })
  // What is locked shows, though it may be nothing.
  const metrics = METRICS.flatMap((name) => given.get(name) ?? (locked.has(name) ? [{ name, value: 0 }] : []))
  if (metrics.length === 0) return
  out.array('metrics', () =>
    out.object(null, () => {
      for (const { name, value } of metrics) {
        if (name === 'features') {
          out.plain('features ecn ')
          out.member('ecn', null)
          continue
        }
        const lock = locked.has(name) ? 'lock ' : ''
        if (typeof value === 'number' && (name === 'rtt' || name === 'rttvar' || name === 'rto_min')) {
          const ms = Math.trunc(name === 'rtt' ? value / 8 : name === 'rttvar' ? value / 4 : value)
          const text = ms >= 1000 ? `${sixDigits(ms / 1000)}s` : `${ms}ms`
          out.any(name, ms, `${name} ${lock}${text} `)
        } else out.any(name === 'congctl' ? 'congestion' : name, value, `${name} ${lock}${value} `)
      }
    }),
  )
}

export const PREFERENCES: Readonly<Record<number, string>> = { 0: 'medium', 1: 'high', 3: 'low' }

/** print_route(). `iif`: of a question about a packet that comes in. */
export function printRoute(
  context: IpContext,
  r: Route,
  f: Filter,
  table = r.table,
  iif: Device | null = null,
  type = r.type,
): void {
  const { out, names, options } = context
  const { family } = r
  const bits = bitsOf(family)
  if (type !== RouteType.Unicast || options.details) {
    const name = names.type(type)
    out.any('type', name, `${name} `)
  }
  const text = (words: Words, length: number): string =>
    `${formatAddress(family, words)}${length === bits ? '' : `/${length}`}`
  const dst = r.prefixLength === 0 ? 'default' : text(r.dst, r.prefixLength)
  out.any('dst', dst, out.paint(r.prefixLength === 0 ? null : colorOf(family), `${dst} `))
  if (r.from !== null) {
    const from = text(r.from.words, r.from.prefixLength)
    out.any('from', from, out.paint(colorOf(family), `from ${from} `))
  }
  if (r.tos !== 0 && f.tos === null) out.any('tos', names.tos(r.tos), `tos ${names.tos(r.tos)} `)
  if (f.via === null || f.via.length !== bits) printGateway(context, family, r.gateway, r.extras?.via6)
  if (r.device !== null && r.nexthops === null && f.oif === null)
    out.any('dev', r.device.name, `dev ${out.paint('name', `${r.device.name} `)}`)
  if ((table !== Table.Main || options.details) && f.table === 0)
    out.any('table', names.table(table), `table ${names.table(table)} `)
  if ((r.protocol !== 'boot' || options.details) && !f.protocolSaid)
    out.any('protocol', names.protocol(r.protocol), `proto ${names.protocol(r.protocol)} `)
  if ((r.scope !== Scope.Universe || options.details) && !f.scopeSaid)
    out.any('scope', names.scope(r.scope), `scope ${names.scope(r.scope)} `)
  if (r.source !== null && (f.source === null || f.source.length !== bits)) {
    const text = formatAddress(family, r.source)
    out.any('prefsrc', text, `src ${out.paint(colorOf(family), `${text} `)}`)
  }
  if ((family === 6 || r.metric !== 0) && f.metric === null)
    out.any('metric', r.metric, `metric ${r.metric} `)
  printFlags(context, r.extras?.onlink && (r.nexthops === null || family === 4) ? ['onlink'] : [])
  if (r.realm !== 0 && r.nexthops === null && f.realmMask !== 0xffff_ffff) printFlow(context, r.realm)
  const end = context.host.fib.ends.get(r)
  if (end !== undefined) {
    const left = Math.trunc((end - context.host.now) / 1000)
    // Hundredths, at most INT_MAX of them (rtnl_put_cacheinfo).
    const seconds = Math.trunc(Math.min(left * 100, 0x7fffffff) / 100)
    out.any('expires', seconds, `expires ${seconds}sec `)
  }
  printMetrics(context, r.mtu, r.extras)
  if (iif !== null) out.any('iif', iif.name, `iif ${out.paint('name', `${iif.name} `)}`)
  if (family === 6) {
    const preference = PREFERENCES[r.extras?.preference ?? 0] ?? 'medium'
    out.any('pref', preference, `pref ${preference}`)
  }
  if (r.nexthops !== null) {
    const hops = r.nexthops
    const paths = (r as RouteEntry).paths ?? []
    // Without an address on its link a next hop of IPv4 is dead, too (fib_disable_ip).
    const isDead = (device: Device, i: number): boolean =>
      family === 6 ? !carries6(device) : !device.up || (paths[i]?.dead ?? false)
    out.array('nexthops', () => {
      for (const [i, hop] of hops.entries())
        out.object(null, () => {
          const dead = isDead(hop.device, i)
          out.plain(`${out.lineEnd}\tnexthop `)
          printGateway(context, family, hop.gateway, hop.via6)
          if (hop.realm) printFlow(context, hop.realm)
          out.any('dev', hop.device.name, `dev ${hop.device.name} `)
          out.any('weight', hop.weight, `weight ${hop.weight} `)
          printFlags(context, [
            ...(dead ? ['dead'] : []),
            ...(hop.onlink ? ['onlink'] : []),
            ...(dead ? ['linkdown'] : []),
          ])
        })
    })
  }
  out.plain('\n')
}
