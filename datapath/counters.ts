// Why packets ended here: one number per reason, and the word for it in reports. Drops are counted, never thrown.

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

export class Counters {
  /** Packets that ended for each Reason, forwarded ones excepted. */
  readonly drops = new Float64Array(REASONS.length)
  received = 0
  forwarded = 0
  /** Packets made here, answers included. */
  sent = 0

  /** Reasons that happened, by word. */
  byReason(): Record<string, number> {
    const words: Record<string, number> = {}
    for (let i = 1; i < REASONS.length; i++) if (this.drops[i]! > 0) words[REASONS[i]!] = this.drops[i]!
    return words
  }
}
