// A routing decision in words: what was asked, which `ip rule` led to which table, which route that had.

import { newFlowKey, type Route, RouteType } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import { hasPorts } from '../../datapath/wire/protocol.ts'
import { IpContext, PLAIN } from '../cli/ip-context.ts'
import { NO_FILTER, printRoute } from '../cli/ip-route-print.ts'
import { printRule } from '../cli/ip-rule.ts'
import type { Engine } from '../engine.ts'
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
  const { family, route, words } = asked
  const key = newFlowKey()
  key.family = family
  key.s0 = words[0]!
  key.s1 = words[1]!
  key.s2 = words[2]!
  key.s3 = words[3]!
  key.d0 = words[4]!
  key.d1 = words[5]!
  key.d2 = words[6]!
  key.d3 = words[7]!
  key.mark = asked.mark
  key.tos = asked.tos
  key.iif = asked.local && family === 6 ? host.devices.loopback.index : asked.iif
  key.protocol = asked.protocol
  if (hasPorts(asked.protocol)) {
    key.sport = Math.max(words[8]!, 0)
    key.dport = Math.max(words[9]!, 0)
  }
  const found = family === 4 ? host.fib.findAnew(key) : host.path.routes6.findAnew(key)
  const decided =
    host.fib.decided ??
    (found === null
      ? null
      : host.fib.rules(family).find((r) => r.action === 'lookup' && r.table === found.table))
  const context = new IpContext(host, PLAIN, null)
  const print = (write: () => void): string => {
    context.out.text = ''
    write()
    return context.out.text.replace(/\s+/g, ' ').trim()
  }
  const device = (index: number): string | null => host.devices.byIndex[index]?.name ?? null
  const type = route?.type ?? RouteType.Unreachable
  return {
    at: 'route',
    dst: formatAddress(family, [key.d0, key.d1, key.d2, key.d3]),
    src: formatAddress(family, [key.s0, key.s1, key.s2, key.s3]),
    mark: asked.mark,
    tos: asked.tos,
    in: asked.local ? null : device(asked.iif),
    rule: decided == null ? null : print(() => printRule(context, decided)),
    table: found === null ? null : context.names.table(found.table),
    route: found === null ? null : print(() => printRoute(context, found, { ...NO_FILTER })),
    to:
      route === null || isErrorType(type)
        ? 'nowhere'
        : type === RouteType.Local || type === RouteType.Anycast
          ? 'local'
          : type === RouteType.Broadcast
            ? 'broadcast'
            : type === RouteType.Multicast
              ? 'multicast'
              : 'forward',
    dev: route?.device?.name ?? null,
    via: route?.gateway ? formatAddress(family, route.gateway) : null,
    why: null,
  }
}
