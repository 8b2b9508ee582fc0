// A routing decision in words: what was asked, which `ip rule` led to which table, which route that had.

import { Reason } from '../../datapath/counters.ts'
import { type FlowKey, newFlowKey, type Route, RouteType } from '../../datapath/fib.ts'
import type { Host } from '../../datapath/host.ts'
import type { Family } from '../../datapath/packet.ts'
import type { Rule } from '../../datapath/policy-rules.ts'
import { sameWords } from '../../datapath/route.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { formatAddress, parseIpv4 } from '../../datapath/wire/address.ts'
import { hasPorts } from '../../datapath/wire/protocol.ts'
import { IpContext, PLAIN } from '../cli/ip-context.ts'
import { NO_FILTER, printRoute } from '../cli/ip-route-print.ts'
import { printRule } from '../cli/ip-rule.ts'
import type { Engine } from '../engine.ts'
import { addressText } from './address.ts'
import type { RouteStep } from './record.ts'

export interface RouteAsked {
  readonly family: Family
  /** What the path took; null: it refused the packet. */
  readonly route: Route | null
  readonly iif: number
  readonly mark: number
  readonly tos: number
  readonly protocol: number
  readonly local: boolean
  /** Source 4, destination 4, ports 2. */
  readonly words: ArrayLike<number>
}

/** The decision, looked up again by the same key. */
export function explainRoute(engine: Engine, asked: RouteAsked): RouteStep {
  const { host } = engine
  const { family, route, words: sides } = asked
  const key = newFlowKey()
  key.family = family
  key.s0 = sides[0]!
  key.s1 = sides[1]!
  key.s2 = sides[2]!
  key.s3 = sides[3]!
  key.d0 = sides[4]!
  key.d1 = sides[5]!
  key.d2 = sides[6]!
  key.d3 = sides[7]!
  key.mark = asked.mark
  key.tos = asked.tos
  key.iif = asked.local && family === 6 ? host.devices.loopback.index : asked.iif
  key.protocol = asked.protocol
  if (hasPorts(asked.protocol)) {
    key.sport = Math.max(sides[8]!, 0)
    key.dport = Math.max(sides[9]!, 0)
  }
  const words = wordsOf(host)
  const type = route?.type ?? RouteType.Unreachable
  const found = family === 4 ? host.fib.findAnew(key) : host.path.routes6.findAnew(key)
  // A copy of TEE's goes by its gateway, whatever the addresses say.
  const other =
    route !== null &&
    type === RouteType.Unicast &&
    found?.paths == null &&
    (found?.device !== route.device || !sameWords(found.gateway, route.gateway))
  if (other)
    return {
      ...stepOf(engine, asked, key),
      rule: null,
      table: words.table(route.table),
      route: words.route(route),
    }
  const decided =
    host.fib.decided ??
    (found === null
      ? null
      : (host.fib.rules(family).find((r) => r.action === 'lookup' && r.table === found.table) ?? null))
  return {
    ...stepOf(engine, asked, key),
    rule: decided === null ? null : words.rule(decided),
    table: found === null ? null : words.table(found.table),
    route: found === null ? null : words.route(found),
  }
}

/** Without what was found. */
function stepOf(
  { host }: Engine,
  { family, route, mark, tos, local, iif }: RouteAsked,
  key: FlowKey,
): RouteStep {
  return {
    at: 'route',
    dst: addressText(family, key.d0, key.d1, key.d2, key.d3),
    src: addressText(family, key.s0, key.s1, key.s2, key.s3),
    mark,
    tos,
    in: local ? null : (host.devices.byIndex[iif]?.name ?? null),
    rule: null,
    table: null,
    route: null,
    to: whither(route, route?.type ?? RouteType.Unreachable),
    dev: route?.device?.name ?? null,
    via: route?.gateway ? formatAddress(family, route.gateway) : null,
    why: null,
  }
}

function whither(route: Route | null, type: number): RouteStep['to'] {
  if (route === null || isErrorType(type)) return 'nowhere'
  if (type === RouteType.Local || type === RouteType.Anycast) return 'local'
  if (type === RouteType.Broadcast) return 'broadcast'
  return type === RouteType.Multicast ? 'multicast' : 'forward'
}

/** Why routing ended a packet there, with the sysctl that would have it otherwise; null: the route says it. */
export function whyNowhere(engine: Engine, reason: Reason, family: Family, step: RouteStep): string | null {
  const { in: name, src } = step
  const conf = `net.ipv4.conf.${name}`
  switch (reason) {
    case Reason.ReversePath: {
      const back = wayBack(engine, family, step)
      const strict = engine.host.devices.byName(name ?? '')?.conf.rpFilter ?? 0
      const way = back === null ? `there is no route back to ${src}` : `the way back to ${src} is ${back}`
      return `rp_filter of ${name} (${strict}): ${way}; rp_filter=0 for ${name} and for all would let it in`
    }
    case Reason.LocalSource:
      return `${src} is an address of this host; ${conf}.accept_local=1 would let it in`
    case Reason.MartianSource:
    case Reason.MartianDestination:
      return src.startsWith('127.') || step.dst.startsWith('127.')
        ? `127.0.0.0/8 does not come from outside; ${conf}.route_localnet=1 would let it in`
        : `no packet has such ${reason === Reason.MartianSource ? 'a source' : 'a destination'}`
    case Reason.NotForwarding:
      return family === 4
        ? `this host does not forward: net.ipv4.ip_forward=1 would make it`
        : `this host does not forward: net.ipv6.conf.all.forwarding=1 would make it`
    default:
      return null
  }
}

/** The route to the packet's source, as ip(8) prints it; null: there is none. */
function wayBack({ host }: Engine, family: Family, { src, dst, in: name }: RouteStep): string | null {
  const key = newFlowKey()
  key.family = family
  const to = parseIpv4(src)
  const from = parseIpv4(dst)
  if (to === null || from === null) return null
  key.d0 = to
  key.s0 = from
  key.iif = name === null ? 0 : (host.devices.byName(name)?.index ?? 0)
  const found = host.fib.findAnew(key)
  return found === null ? null : wordsOf(host).route(found)
}

/** Routes and rules as ip(8) prints them, once each. */
class Words {
  readonly #context: IpContext
  readonly #routes = new WeakMap<Route, string>()
  readonly #rules = new WeakMap<Rule, string>()

  constructor(host: Host) {
    this.#context = new IpContext(host, PLAIN, null)
  }

  table(number: number): string {
    return this.#context.names.table(number)
  }

  route(route: Route): string {
    return this.#once(this.#routes, route, () => printRoute(this.#context, route, { ...NO_FILTER }))
  }

  rule(rule: Rule): string {
    return this.#once(this.#rules, rule, () => printRule(this.#context, rule))
  }

  #once<T extends object>(known: WeakMap<T, string>, of: T, print: () => void): string {
    let text = known.get(of)
    if (text === undefined) {
      const { out } = this.#context
      out.text = ''
      print()
      text = out.text.replace(/\s+/g, ' ').trim()
      known.set(of, text)
    }
    return text
  }
}

const wordsByHost = new WeakMap<Host, Words>()

function wordsOf(host: Host): Words {
  let words = wordsByHost.get(host)
  if (words === undefined) {
    words = new Words(host)
    wordsByHost.set(host, words)
  }
  return words
}
