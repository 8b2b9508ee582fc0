// A routing decision in words: what was asked, which `ip rule` led to which table, which route that had.

import { newFlowKey, type Route, RouteType } from '../../datapath/fib.ts'
import type { Host } from '../../datapath/host.ts'
import type { Family } from '../../datapath/packet.ts'
import type { Rule } from '../../datapath/policy-rules.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
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
  const found = family === 4 ? host.fib.findAnew(key) : host.path.routes6.findAnew(key)
  const decided =
    host.fib.decided ??
    (found === null
      ? null
      : (host.fib.rules(family).find((r) => r.action === 'lookup' && r.table === found.table) ?? null))
  const words = wordsOf(host)
  const type = route?.type ?? RouteType.Unreachable
  return {
    at: 'route',
    dst: addressText(family, key.d0, key.d1, key.d2, key.d3),
    src: addressText(family, key.s0, key.s1, key.s2, key.s3),
    mark: asked.mark,
    tos: asked.tos,
    in: asked.local ? null : (host.devices.byIndex[asked.iif]?.name ?? null),
    rule: decided === null ? null : words.rule(decided),
    table: found === null ? null : words.table(found.table),
    route: found === null ? null : words.route(found),
    to: whither(route, type),
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
