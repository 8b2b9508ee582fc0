// A host as configured: what the files of the host folder said, checked, not yet applied.

import type { RouteMetric, Words } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import type { Prefix } from './address.ts'
import type { Origin, SourceFile } from './source.ts'

/** One `ip addr` line. */
export interface AddressConfig {
  readonly family: Family
  readonly words: Words
  readonly prefixLength: number
  /** Point to point: the address of the other end, whose prefix is the connected one. */
  readonly peer: Words | null
  /** IPv4 only, null for none. */
  readonly broadcast: Words | null
  /** RT_SCOPE_*. */
  readonly scope: number
  readonly secondary: boolean
  readonly label: string | null
  /** No connected route follows from it (IFA_F_NOPREFIXROUTE). */
  readonly noPrefixRoute: boolean
  /** Said in host.yaml: its routes follow from it even where a file lists those of the others. */
  readonly byHand: boolean
  /** Metric of the connected route. */
  readonly metric: number
  /** No longer preferred as a source (IFA_F_DEPRECATED). How long addresses last is not kept: the folder is what is now. */
  readonly deprecated: boolean
  /** On a link that is down: it was kept (keep_addr_on_down). */
  readonly tentative: boolean
  /** As Address.flags. */
  readonly flags: readonly string[]
  readonly origin: Origin
}

/** What stands behind an interface of the gateway. */
export type PortConfig =
  | {
      readonly kind: 'tun'
      /** Name of a network namespace, a path to one, or null: the daemon's own. */
      readonly namespace: string | null
      /** The device's name in there. */
      readonly name: string
      /** Addresses that the device gets in there. */
      readonly peer: readonly Prefix[]
      /** Destinations that are routed to the device in there; a null gateway is on the link. */
      readonly routes: readonly { readonly dst: Prefix; readonly gateway: Words | null }[]
      /** Superframes and checksums are left to the device. */
      readonly offload: boolean
      /** Datagrams of one flow leave as superframes: see UdpGro. */
      readonly udpGro: boolean
      readonly origin: Origin
    }
  | {
      readonly kind: 'raw' | 'capture'
      readonly namespace: string | null
      /** The existing interface that frames are read from and, with raw, written to. */
      readonly name: string
      readonly origin: Origin
    }

/** A name that `ip` takes for an interface's, and rules may be about; packets know the first one alone. */
export interface AltName {
  readonly name: string
  readonly origin: Origin
}

export interface InterfaceConfig {
  readonly name: string
  /** Other names (`altname` of ip link), in the order of the file. */
  readonly altNames: readonly AltName[]
  /** ifindex; given by ip-addr.json, else the next free one. */
  readonly index: number
  readonly mtu: number
  readonly up: boolean
  readonly loopback: boolean
  readonly pointToPoint: boolean
  /** Link layer address, lower case; null for interfaces without (TUN). */
  readonly mac: string | null
  /** `ip link set … group`; 0: default. */
  readonly group: number
  readonly addresses: readonly AddressConfig[]
  readonly port: PortConfig | null
  readonly origin: Origin
}

export interface NexthopConfig {
  readonly device: string
  readonly gateway: Words | null
  /** 1 to 256. */
  readonly weight: number
}

export interface RouteConfig {
  readonly family: Family
  /** RouteType. */
  readonly type: number
  readonly dst: Words
  readonly prefixLength: number
  /** IPv6 `from`. */
  readonly source: Prefix | null
  readonly table: number
  readonly tos: number
  readonly metric: number
  /** RT_SCOPE_*. */
  readonly scope: number
  /** Name as /etc/iproute2/rt_protos has it, or the number. */
  readonly protocol: string
  /** Null for blackhole and its kin, and where there are several next hops. */
  readonly device: string | null
  readonly gateway: Words | null
  /** Family of `gateway`; differs from `family` for `via inet6`. */
  readonly gatewayFamily: Family
  readonly preferredSource: Words | null
  /** 0: the interface's. */
  readonly mtu: number
  /** Other metrics, in the order of their numbers. */
  readonly metrics: readonly RouteMetric[]
  /** Names of locked metrics, `mtu` among them; ip -j does not tell. */
  readonly locked: readonly string[]
  /** ICMPV6_ROUTER_PREF_*: 0 or absent medium, 1 high, 3 low. */
  readonly preference?: number
  readonly realm: number
  readonly onlink: boolean
  readonly nexthops: readonly NexthopConfig[] | null
  readonly origin: Origin
}

export type RuleAction = 'lookup' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit'

/** One `ip rule` line. */
export interface RuleConfig {
  readonly family: Family
  readonly priority: number
  readonly not: boolean
  readonly source: Prefix | null
  readonly destination: Prefix | null
  readonly tos: number
  readonly mark: number
  /** 0: the mark is not asked. */
  readonly markMask: number
  readonly iif: string | null
  readonly oif: string | null
  readonly protocol: number
  /** Null: any. */
  readonly sourcePorts: readonly [number, number] | null
  readonly destinationPorts: readonly [number, number] | null
  readonly uids: readonly [number, number] | null
  readonly tunnel: number
  readonly l3mdev: boolean
  readonly action: RuleAction
  readonly table: number
  /** Priority that `goto` leads to. */
  readonly target: number
  /** Routes with a prefix this long or shorter do not count; -1 none. */
  readonly suppressPrefixLength: number
  /** Routes out of interfaces of this group do not count; -1 none. */
  readonly suppressGroup: number
  readonly realm: number
  readonly origin: Origin
}

export interface SysctlConfig {
  /** With dots, as sysctl(8) prints it. */
  readonly name: string
  readonly value: string
  /** Said in host.yaml. */
  readonly byHand: boolean
  readonly origin: Origin
}

/** Routes of one family. */
export interface RoutingConfig {
  /**
   * Where routes come from. `addresses`: connected, local and broadcast routes follow from the addresses.
   * `tables`: all of them are in `routes`. `main`: the local table follows from the addresses, the rest is listed
   * (the file was taken without `table all`).
   */
  readonly from: 'addresses' | 'tables' | 'main'
  readonly routes: readonly RouteConfig[]
  /** Null: the kernel's local, main, default. */
  readonly rules: readonly RuleConfig[]
}

/** Where the processes of the host live: a TUN device in their namespace. */
export interface LocalConfig {
  /** Name of a network namespace, or a path to one. */
  readonly namespace: string
  /** The device's name in there. */
  readonly name: string
  /** As a tun port's. */
  readonly offload: boolean
  readonly origin: Origin
}

export interface HostConfig {
  readonly directory: string
  /** Null: nobody but the local stack answers. */
  readonly local: LocalConfig | null
  readonly interfaces: readonly InterfaceConfig[]
  readonly ipv4: RoutingConfig
  readonly ipv6: RoutingConfig
  readonly sysctls: readonly SysctlConfig[]
  /** Texts as they stand in the folder; null where the file is absent. */
  readonly iptables: SourceFile | null
  readonly ip6tables: SourceFile | null
  readonly ipset: SourceFile | null
  /** pf.os, for the match osf. */
  readonly fingerprints: SourceFile | null
  /** What `nfct list timeout` prints. */
  readonly policies: SourceFile | null
}
