// The words of `ip route add` and its kin, as iproute_modify() of iproute2 6.1 reads them.

import type { Device } from '../../datapath/devices.ts'
import { type RouteMetric, RouteType } from '../../datapath/fib.ts'
import { FOREVER } from '../../datapath/lifetimes.ts'
import type { Family } from '../../datapath/packet.ts'
import { doubleToUint, plainStrtoul, strtod } from '../../rules/text/numbers.ts'
import { type IpContext, Refusal } from './ip-context.ts'
import { METRICS } from './ip-route-print.ts'
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

export const CHANGES = ['add', 'change', 'replace', 'prepend', 'append', 'test', 'delete'] as const
export type Change = (typeof CHANGES)[number]

export interface Hop {
  device: Device | null
  gateway: AnyPrefix | null
  /** IPv4: another gateway was said, of the other kind (RTA_GATEWAY and RTA_VIA). */
  both: boolean
  onlink: boolean
  weight: number
  /** null: not said. */
  realm: number | null
}

/** What is not said is null, but for what has a default. */
export interface RouteWords {
  readonly family: Family
  readonly dst: AnyPrefix
  /** RouteType; 0: none was said of what is to be deleted. */
  readonly type: number
  readonly table: number | null
  readonly scope: number | null
  readonly protocol: string | null
  readonly tos: number
  readonly metric: number
  readonly source: AnyPrefix | null
  readonly from: AnyPrefix | null
  /** As RouteExtras.preference. */
  readonly preference: number
  /** What is said of a next hop outside of `nexthop`. */
  readonly hop: Hop
  readonly hops: readonly Hop[]
  /** In the order in which they were said, some twice. */
  readonly metrics: readonly RouteMetric[]
  readonly locked: ReadonlySet<string>
  readonly nexthopId: number | null
  /** Seconds, FOREVER. */
  readonly expires: number
}

/** lwtunnel_encap_types of iproute2. */
const ENCAPSULATIONS = new Set('mpls ip ip6 ila bpf seg6 seg6local rpl ioam6 xfrm'.split(' '))

/** Metrics whose names may be shortened; the first that fits counts. */
const SHORT =
  'reordering window cwnd initcwnd initrwnd quickack congctl rttvar ssthresh fastopen_no_cookie'.split(' ')

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
export const isOfOther = (gateway: AnyPrefix | null, own: Family): boolean =>
  gateway !== null && (gateway.foreign !== undefined || gateway.family === (own === 4 ? 6 : 4))

/** iproute_modify(): the words behind the command. Exits where the tool does. */
export function readRoute(context: IpContext, line: Line, change: Change): RouteWords {
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
  const metrics: RouteMetric[] = []
  const locked = new Set<string>()
  let nexthopId: number | null = null
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
      metrics.push({ name: 'features', value: 'ecn' })
    } else if (metricName !== null) metrics.push(readMetric(line, metricName, locked))
    else if (begins(word, 'realms')) hop.realm = line.named('"realm" value is invalid\n', line.numbers.realms)
    else if (word === 'onlink') hop.onlink = true
    else if (word === 'nexthop') {
      nexthopsFollow = true
      break
    } else if (word === 'nhid') {
      nexthopId = line.number('"id" value is invalid\n')
    } else if (word === 'encap') {
      line.fail('', refuseEncapsulation(context, line))
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
  if (dst === null) line.die(routeUsage)
  if (device !== null) {
    hop.device = context.asked(device)
    if (hop.device === null) line.fail('', line.noDevice(device))
  }
  if (nexthopsFollow) readNexthops(context, line, hops, () => family, settle)
  return {
    family: (family as Family | 0) === 0 ? 4 : (family as Family),
    dst,
    type,
    table,
    scope,
    protocol,
    tos,
    metric,
    source,
    from,
    preference,
    hop,
    hops,
    metrics,
    locked,
    nexthopId,
    expires,
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
