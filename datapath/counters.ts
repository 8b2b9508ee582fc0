// What is counted: why packets ended here, one number per reason and the word for it in reports (drops are counted,
// never thrown); and the kernel's own statistics of both families (RFC 4293, /proc/net/snmp, netstat, snmp6).

/** What ended a packet. The values index `REASONS` and `Counters.drops`. */
export const Reason = {
  None: 0,
  // parse: before any hook
  NotIp: 1,
  Truncated: 2,
  BadHeader: 3,
  BadChecksum: 4,
  OtherHost: 5,
  Ipv6Disabled: 6,
  // hooks
  Rule: 7,
  Queue: 8,
  Fragment: 9,
  // routing
  MartianSource: 10,
  MartianDestination: 11,
  ReversePath: 12,
  LocalSource: 13,
  NoRoute: 14,
  Unreachable: 15,
  Prohibited: 16,
  Blackhole: 17,
  NotForwarding: 18,
  Multicast: 19,
  // forwarding
  Ttl: 20,
  Mtu: 21,
  Options: 22,
  SourceRoute: 23,
  LinkBroadcast: 24,
  // the way out
  DeviceDown: 25,
  NoMemory: 26,
  Looped: 27,
  // local delivery
  Delivered: 28,
  BadTransport: 29,
  Port: 30,
  Protocol: 31,
  Echo: 32,
} as const
export type Reason = (typeof Reason)[keyof typeof Reason]

/** The word for each Reason, as replay reports it. */
export const REASONS: readonly string[] = [
  '',
  'not-ip',
  'truncated',
  'bad-header',
  'bad-checksum',
  'other-host',
  'ipv6-disabled',
  'rule',
  'queue',
  'fragment',
  'martian-source',
  'martian-destination',
  'reverse-path',
  'local-source',
  'no-route',
  'unreachable',
  'prohibited',
  'blackhole',
  'not-forwarding',
  'multicast',
  'ttl',
  'mtu',
  'options',
  'source-route',
  'link-broadcast',
  'device-down',
  'no-memory',
  'looped',
  'delivered',
  'bad-transport',
  'port-unreachable',
  'protocol-unreachable',
  'echo',
]

/** IPSTATS_MIB_*: one family's IP. Values index `Counters.ip4` and `ip6`. */
export const IpStat = {
  InReceives: 0,
  InOctets: 1,
  InDelivers: 2,
  OutForwDatagrams: 3,
  OutRequests: 4,
  OutOctets: 5,
  InHdrErrors: 6,
  InTooBigErrors: 7,
  InNoRoutes: 8,
  InAddrErrors: 9,
  InUnknownProtos: 10,
  InTruncatedPkts: 11,
  InDiscards: 12,
  OutDiscards: 13,
  OutNoRoutes: 14,
  ReasmTimeout: 15,
  ReasmReqds: 16,
  ReasmOKs: 17,
  ReasmFails: 18,
  FragOKs: 19,
  FragFails: 20,
  FragCreates: 21,
  InMcastPkts: 22,
  OutMcastPkts: 23,
  InBcastPkts: 24,
  OutBcastPkts: 25,
  InMcastOctets: 26,
  OutMcastOctets: 27,
  InBcastOctets: 28,
  OutBcastOctets: 29,
  InCsumErrors: 30,
  /** And behind it, by the two bits of ECN: ECT(1), ECT(0), CE. */
  InNoECTPkts: 31,
  InECT1Pkts: 32,
  InECT0Pkts: 33,
  InCEPkts: 34,
  ReasmOverlaps: 35,
  OutTransmits: 36,
} as const
const IP_STATS = 37

/** ICMP_MIB_*, ICMP6_MIB_*. Values index `Counters.icmp4` and `icmp6`. */
export const IcmpStat = {
  InMsgs: 0,
  InErrors: 1,
  OutMsgs: 2,
  OutErrors: 3,
  InCsumErrors: 4,
  OutRateLimitGlobal: 5,
  OutRateLimitHost: 6,
} as const
const ICMP_STATS = 7
/** `Counters.icmpTypes4` and `icmpTypes6`: messages that came by type, and behind them those that left. */
export const ICMP_OUT = 256

/** TCP_MIB_*, of both families. Values index `Counters.tcp`. */
export const TcpStat = { InSegs: 0, OutSegs: 1, InErrs: 2, OutRsts: 3, InCsumErrors: 4 } as const
const TCP_STATS = 5

/** UDP_MIB_*. Values index `Counters.udp4`, `udpLite4`, `udp6`, `udpLite6`. */
export const UdpStat = { NoPorts: 0, InErrors: 1, InCsumErrors: 2, IgnoredMulti: 3, InDatagrams: 4 } as const
const UDP_STATS = 5

export class Counters {
  /** Packets that ended for each Reason, forwarded ones excepted. */
  readonly drops = new Float64Array(REASONS.length)
  /**
   * By IpStat. InReceives is what ECN's four numbers, which count every packet with a header, do not say: frames without
   * one, less the segments of superframes beyond the first. See receives4().
   */
  readonly ip4 = new Float64Array(IP_STATS)
  readonly ip6 = new Float64Array(IP_STATS)
  /** By IcmpStat. */
  readonly icmp4 = new Float64Array(ICMP_STATS)
  readonly icmp6 = new Float64Array(ICMP_STATS)
  /** By type; see ICMP_OUT. */
  readonly icmpTypes4 = new Float64Array(512)
  readonly icmpTypes6 = new Float64Array(512)
  /** By TcpStat. */
  readonly tcp = new Float64Array(TCP_STATS)
  /** By UdpStat. */
  readonly udp4 = new Float64Array(UDP_STATS)
  readonly udpLite4 = new Float64Array(UDP_STATS)
  readonly udp6 = new Float64Array(UDP_STATS)
  readonly udpLite6 = new Float64Array(UDP_STATS)
  /** LINUX_MIB_IPRPFILTER. */
  reversePath = 0

  /** One more of IPv4. */
  count4(which: number): void {
    this.ip4[which] = this.ip4[which]! + 1
  }

  /** One more of IPv6. */
  count6(which: number): void {
    this.ip6[which] = this.ip6[which]! + 1
  }

  /** A packet of `length` bytes of a sort whose packets and octets are counted. */
  add4(packets: number, octets: number, length: number): void {
    this.ip4[packets] = this.ip4[packets]! + 1
    this.ip4[octets] = this.ip4[octets]! + length
  }

  /** As add4(), of IPv6. */
  add6(packets: number, octets: number, length: number): void {
    this.ip6[packets] = this.ip6[packets]! + 1
    this.ip6[octets] = this.ip6[octets]! + length
  }

  /** InReceives of IPv4. */
  receives4(): number {
    const { ip4 } = this
    const ecn = IpStat.InNoECTPkts
    return ip4[IpStat.InReceives]! + ip4[ecn]! + ip4[ecn + 1]! + ip4[ecn + 2]! + ip4[ecn + 3]!
  }

  /** Reasons that happened, by word. */
  byReason(): Record<string, number> {
    const words: Record<string, number> = {}
    for (let i = 1; i < REASONS.length; i++) if (this.drops[i]! > 0) words[REASONS[i]!] = this.drops[i]!
    return words
  }
}
