// Routes that follow from addresses (fib_add_ifaddr, fib_magic; addrconf_prefix_route and its kin).

import { type Address, type Device, Scope } from './devices.ts'
import { type RouteSpec, RouteType, Table, type Words } from './route.ts'
import { prefixMask4 } from './wire/address.ts'
import { isZeronet4 } from './wire/ipv4.ts'

/** The routes that one IPv6 address brings (ip6_ins_rt of addrconf_f6i_alloc, addrconf_prefix_route). */
export function derive6(device: Device, address: Address): RouteSpec[] {
  const common = { family: 6, protocol: 'kernel', scope: Scope.Universe, device } as const
  const routes: RouteSpec[] = [
    {
      ...common,
      type: RouteType.Local,
      dst: address.words,
      prefixLength: 128,
      table: Table.Local,
      metric: 0,
    },
  ]
  // addrconf_join_anycast(): a router is any router of its subnets, those of a link that is down as well.
  const subnet = maskedWords(address.words, address.prefixLength)
  if (device.conf6.forwarding && address.prefixLength < 127 && subnet.some((w) => w !== 0))
    routes.push({
      ...common,
      type: RouteType.Anycast,
      dst: subnet,
      prefixLength: 128,
      table: Table.Local,
      metric: 0,
    })
  if (!device.up) return routes
  // The peer's route stands whatever noprefixroute says of the address itself (__ipv6_ifa_notify).
  const peerMetric = address.peerRoute === undefined ? address.metric : address.peerRoute
  if (address.peer6 && peerMetric !== null) routes.push(toPrefix6(device, address.peer6, 128, peerMetric))
  if (!address.noPrefixRoute && !isOwnLoopback(device, address))
    routes.push(toPrefix6(device, address.words, address.prefixLength, address.metric))
  return routes
}

/** addrconf_prefix_route(). */
export const toPrefix6 = (
  device: Device,
  words: Words,
  prefixLength: number,
  metric: number | undefined,
): RouteSpec => ({
  family: 6,
  protocol: 'kernel',
  scope: Scope.Universe,
  device,
  type: RouteType.Unicast,
  dst: maskedWords(words, prefixLength),
  prefixLength,
  table: Table.Main,
  metric: metric || KERNEL_METRIC6,
})

/** init_loopback(): ::1 of lo comes without a route to its prefix. */
const isOwnLoopback = (device: Device, { words: w }: Address): boolean =>
  device.loopback && w[0] === 0 && w[1] === 0 && w[2] === 0 && w[3] === 1

/** IP6_RT_PRIO_ADDRCONF. */
const KERNEL_METRIC6 = 256

/** addrconf_add_mroute(). */
export const multicast6 = (device: Device): RouteSpec => ({
  family: 6,
  type: RouteType.Multicast,
  dst: [0xff00_0000 | 0, 0, 0, 0],
  prefixLength: 8,
  table: Table.Local,
  scope: Scope.Universe,
  protocol: 'kernel',
  metric: KERNEL_METRIC6,
  device,
})

function maskedWords(w: Words, length: number): Words {
  const word = (i: number): number => {
    const bits = Math.min(Math.max(length - i * 32, 0), 32)
    return bits === 0 ? 0 : w[i]! & (-1 << (32 - bits))
  }
  return [word(0), word(1), word(2), word(3)]
}

/** The routes that one address brings (fib_add_ifaddr, fib_magic). */
export function derive(device: Device, address: Address, up = device.up): RouteSpec[] {
  const mask = prefixMask4(address.prefixLength)
  const own = address.words[0]
  const prefix = (address.peer ?? own) & mask
  // Routes of a secondary address prefer the primary one of its subnet.
  const primary = address.secondary
    ? device.addresses.find(
        (a) =>
          a.family === 4 &&
          !a.secondary &&
          a.prefixLength === address.prefixLength &&
          ((a.peer ?? a.words[0]) & mask) === prefix,
      )
    : address
  if (primary === undefined) return []
  const route = (type: number, dst: number, prefixLength: number, metric = 0): RouteSpec => ({
    type,
    dst: [dst, 0, 0, 0],
    prefixLength,
    table: type === RouteType.Unicast ? Table.Main : Table.Local,
    scope: type === RouteType.Local ? Scope.Host : Scope.Link,
    protocol: 'kernel',
    device,
    source: primary.words,
    metric,
  })
  const routes = [route(RouteType.Local, own, 32)]
  if (!up) return routes
  if (address.broadcast !== null && address.broadcast !== -1 && address.broadcast !== 0)
    routes.push(route(RouteType.Broadcast, address.broadcast, 32))
  if (!isZeronet4(prefix) && !address.secondary && (prefix !== own || address.prefixLength < 32)) {
    if (!address.noPrefixRoute)
      routes.push(
        route(
          device.loopback ? RouteType.Local : RouteType.Unicast,
          prefix,
          address.prefixLength,
          address.metric ?? 0,
        ),
      )
    if (address.prefixLength < 31) routes.push(route(RouteType.Broadcast, prefix | ~mask, 32))
  }
  return routes
}

/** Two specs of one text are the same derived route. */
export const describe = (s: RouteSpec): string =>
  `${s.family ?? 4} ${s.type} ${s.dst}/${s.prefixLength} ${s.source?.[0]} ${s.metric ?? 0}`
