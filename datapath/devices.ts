// Interfaces of the emulated host: names, MTUs, addresses, per-device sysctls. No I/O.

import type { Family, Packet } from './packet.ts'
import { IPV6_MIN_MTU } from './wire/ipv6.ts'
import { Ipv6Address, ipv6AddressType } from './wire/ipv6-address.ts'

/** RT_SCOPE_*; the numbers are the kernel's. */
export const Scope = { Universe: 0, Site: 200, Link: 253, Host: 254, Nowhere: 255 } as const

/** rt_scope() of an IPv6 address, which says itself how far it reaches: RT_SCOPE_*. */
export function scopeOf6([w0, w1, w2, w3]: Address['words']): number {
  const type = ipv6AddressType(w0, w1, w2, w3)
  if ((type & Ipv6Address.Loopback) !== 0) return Scope.Host
  if ((type & Ipv6Address.LinkLocal) !== 0) return Scope.Link
  return (type & Ipv6Address.SiteLocal) !== 0 ? Scope.Site : Scope.Universe
}

/** One `ip addr` line. Addresses as signed 32-bit words: IPv4 uses word 0. */
export interface Address {
  readonly family: Family
  readonly words: readonly [number, number, number, number]
  readonly prefixLength: number
  /** IPv4 broadcast address word, or null (none set). */
  readonly broadcast: number | null
  /** IPv4 peer (point to point) word, or null. */
  readonly peer: number | null
  /** RT_SCOPE: 0 universe, 253 link, 254 host. */
  readonly scope: number
  readonly secondary: boolean
  readonly label: string | null
  /** IFA_F_NOPREFIXROUTE: no connected route follows from it. */
  readonly noPrefixRoute?: boolean
  /** IFA_RT_PRIORITY: metric of the connected route. */
  readonly metric?: number
  /** Flags that `ip addr` shows: nodad, home, mngtmpaddr, autojoin; temporary (RFC 8981), which decides who is a source. */
  readonly flags?: readonly string[]
  /** How long it is valid and preferred, seconds (0xffffffff: for ever), from `since` (host.now, ms). Absent: for ever. */
  readonly lifetime?: { readonly since: number; readonly valid: number; readonly preferred: number }
  /** IFA_F_DEPRECATED: no longer preferred. */
  readonly deprecated?: boolean
  /** IPv6 peer (point to point), four words; null or absent: none. */
  readonly peer6?: readonly [number, number, number, number] | null
  /**
   * Metric of the route to its peer6, which is made when the address comes and stays as it is; null: the link was down
   * then, or the peer is another by now. Absent: that of the address.
   */
  readonly peerRoute?: number | null
  /**
   * IPv6: it has outlived its link (keep_addr_on_down), and no route follows from it until that is up again. Tentative
   * meanwhile, unless it is `nodad`.
   */
  readonly suspended?: boolean
}

/** IFA_F_TENTATIVE: no packet comes from it. Checks for duplicates take no time here. */
export const isTentative = ({ suspended, flags }: Address): boolean =>
  suspended === true && !flags?.includes('nodad')

/** What of a link only `ip link` shows and sets; packets do not ask for it. */
export interface LinkState {
  /** Hardware address, lower case; null: a link without (ARPHRD_NONE). */
  mac: string | null
  txQueueLength: number
  /** Other names (`ip link property`), in the order in which they came. */
  readonly altNames: string[]
  /** `ip link set … group`; 0: default. */
  group: number
  alias: string | null
  noArp: boolean
  multicast: boolean
  /** IFF_ALLMULTI, IFF_PROMISC, IFF_DYNAMIC. */
  allMulticast: boolean
  promiscuous: boolean
  dynamic: boolean
  /** IFF_NOTRAILERS. */
  noTrailers: boolean
  /** `ip link set … state`; null: as its kind has it. */
  operState: 'UP' | null
  /** `ip link set … mode`. */
  mode: 'DEFAULT' | 'DORMANT'
  /** Broadcast address that was set; null: as its kind has it. */
  broadcast: string | null
  /** Largest superframes, bytes and segments. */
  gsoMaxSize: number
  gsoMaxSegments: number
  groMaxSize: number
  /** It has been up: from then on it has a queueing discipline, `noqueue` if it had no queue then. */
  wasUp: boolean
  noQueue: boolean
}

/** The sysctls of net.ipv4.conf.DEV that the path reads; already combined with `all`. */
export interface DeviceConf {
  forwarding: boolean
  /** 0 no source validation, 1 strict (RFC 3704), 2 loose. */
  rpFilter: number
  acceptLocal: boolean
  routeLocalnet: boolean
  acceptSourceRoute: boolean
  sendRedirects: boolean
  secureRedirects: boolean
  sharedMedia: boolean
  srcValidMark: boolean
  logMartians: boolean
  bcForwarding: boolean
  dropUnicastInL2Multicast: boolean
  promoteSecondaries: boolean
}

/** What the path reads of net.ipv6.conf.DEV; tunables-ipv6.ts keeps it. */
export interface DeviceConf6 {
  /** A router on this interface: it hears all-routers groups and answers for its subnets' anycast addresses. */
  forwarding: boolean
  /** Packets from here are forwarded even if conf.all.forwarding is 0. */
  forceForwarding: boolean
  acceptSourceRoute: number
  /** disable_ipv6, or an MTU below 1280: nothing comes in or goes out. */
  disabled: boolean
  hopLimit: number
  /** Bytes, 1280 up to the device's MTU. */
  mtu: number
  ndiscTclass: number
  /** use_tempaddr: temporary addresses are rather sources than others. */
  prefersTemporary: boolean
  suppressFragmentedNdisc: boolean
  dropUnicastInL2Multicast: boolean
  ioam: boolean
  /** keep_addr_on_down, that of all devices if it is not 0: permanent addresses outlive the link. */
  keepsAddresses: boolean
  /** Packets that leave here have no address of another interface. */
  useOifAddrsOnly: boolean
}

export interface Device {
  /** ifindex, from 1. lo is 1. */
  readonly index: number
  name: string
  mtu: number
  /** IFF_UP; changed by Devices.setUp. */
  up: boolean
  loopback: boolean
  /** IFF_POINTOPOINT: TUN devices are, unless said otherwise. */
  pointToPoint: boolean
  /** Primary addresses first, each kind in order of arrival, as `ip addr` lists them. */
  readonly addresses: Address[]
  readonly conf: DeviceConf
  readonly conf6: DeviceConf6
  readonly link: LinkState
  rxPackets: number
  rxBytes: number
  rxDropped: number
  txPackets: number
  txBytes: number
  txDropped: number
  /** Offload bits: what the port behind it takes. */
  offloads: number
  /** Who puts datagrams together on the way out; null: nobody. */
  gro: Gro | null
}

/** Who sends a device's packets in place of Offloads.send(). */
export interface Gro {
  /** The slot goes with the packet (-1: the bytes stay the caller's). Hot. */
  send(pkt: Packet, slot: number): void
}

export interface DeviceOptions {
  /** ifindex; default the next free one. */
  readonly index?: number
  readonly pointToPoint?: boolean
  readonly loopback?: boolean
  /** Default true. */
  readonly up?: boolean
  /** Hardware address; default: none, as a TUN device. */
  readonly mac?: string | null
}

/** A device that stands in no table: Devices.add() puts it into one, and a request may name one that is in none. */
export function newDevice(index: number, name: string, mtu: number, options: DeviceOptions = {}): Device {
  const loopback = options.loopback ?? false
  return {
    index,
    name,
    mtu,
    up: options.up ?? true,
    loopback,
    pointToPoint: options.pointToPoint ?? !loopback,
    addresses: [],
    conf: {
      forwarding: false,
      rpFilter: 0,
      acceptLocal: false,
      routeLocalnet: false,
      acceptSourceRoute: false,
      sendRedirects: false,
      secureRedirects: false,
      sharedMedia: false,
      srcValidMark: false,
      logMartians: false,
      bcForwarding: false,
      dropUnicastInL2Multicast: false,
      promoteSecondaries: false,
    },
    conf6: {
      forwarding: false,
      forceForwarding: false,
      acceptSourceRoute: 0,
      disabled: false,
      hopLimit: 64,
      mtu,
      ndiscTclass: 0,
      prefersTemporary: false,
      suppressFragmentedNdisc: true,
      dropUnicastInL2Multicast: false,
      ioam: false,
      keepsAddresses: false,
      useOifAddrsOnly: false,
    },
    link: {
      altNames: [],
      mac: loopback ? '00:00:00:00:00:00' : (options.mac ?? null),
      txQueueLength: loopback || options.mac ? 1000 : 500,
      group: 0,
      alias: null,
      noArp: !loopback && !options.mac,
      multicast: !loopback,
      allMulticast: false,
      promiscuous: false,
      dynamic: false,
      noTrailers: false,
      operState: null,
      mode: 'DEFAULT',
      broadcast: null,
      gsoMaxSize: 65536,
      gsoMaxSegments: 65535,
      groMaxSize: 65536,
      wasUp: options.up ?? true,
      noQueue: loopback,
    },
    rxPackets: 0,
    rxBytes: 0,
    rxDropped: 0,
    txPackets: 0,
    txBytes: 0,
    txDropped: 0,
    offloads: 0,
    gro: null,
  }
}

/** Whether a device has an inet6_dev, though IPv6 may be disabled on it. */
export const ipv6Begun = ({ mtu, loopback }: Pick<Device, 'mtu' | 'loopback'>): boolean =>
  loopback || mtu >= IPV6_MIN_MTU
