// Routes that follow from IPv6 addresses (addrconf_prefix_route and its kin); fib-addresses.ts has those of IPv4.

import { type Address, type Device, Scope } from './devices.ts'
import { maskedWords, type RouteSpec, RouteType, sameWords, Table, type Words } from './route.ts'

/** The routes that one IPv6 address brings (ip6_ins_rt of addrconf_f6i_alloc, addrconf_prefix_route). */
export function derive6(device: Device, address: Address): RouteSpec[] {
  if (address.suspended) return []
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

/** The route to the prefix of an address. */
export const prefixOf6 = (device: Device, { words, prefixLength, metric }: Address): RouteSpec =>
  toPrefix6(device, words, prefixLength, metric)

/** The route to the peer of an address. */
export const isPeer = (address: Address, spec: RouteSpec): boolean =>
  spec.prefixLength === 128 && sameWords(address.peer6 ?? null, spec.dst ?? null)

/** Two specs of one text are the same derived route. */
export const describe = (s: RouteSpec): string => `${s.type} ${s.dst}/${s.prefixLength} ${s.metric ?? 0}`
