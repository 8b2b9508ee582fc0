// net.ipv4.* of the datapath: declared with the kernel's defaults (6.18), kept as plain fields for hot code.

import { jiffiesOfMs, type Tunables } from './tunables.ts'

/** Values in the kernel's units. Fields that only say something to sockets are kept for printing. */
export class Ipv4Conf {
  /** ip_default_ttl. */
  defaultTtl = 64
  /** ip_forward_use_pmtu */
  forwardUsePmtu = false
  /** ip_forward_update_priority */
  forwardUpdatePriority = true
  /** fwmark_reflect: answers carry the mark of what they answer. */
  fwmarkReflect = false
  icmpEchoIgnoreAll = false
  /** icmp_echo_enable_probe, of both families: RFC 8335. */
  icmpEchoEnableProbe = false
  icmpEchoIgnoreBroadcasts = true
  icmpIgnoreBogusErrorResponses = true
  icmpErrorsUseInboundIfaddr = false
  /** ms between errors to one host, 0 no limit. */
  icmpRatelimit = 1000
  /** Bit per ICMP type that the limit is for. */
  icmpRatemask = 6168
  icmpMsgsPerSec = 1000
  icmpMsgsBurst = 50
  /** fib_multipath_hash_policy: 0 addresses, 1 ports too, 2 inner addresses, 3 what multipathHashFields says. */
  multipathHashPolicy = 0
  multipathHashFields = 7
  /** 0: none. */
  multipathHashSeed = 0
  /** route.min_pmtu, bytes. */
  minPmtu = 552
  /** route.mtu_expires, seconds. */
  mtuExpires = 600
  noPmtuDisc = 0
}

/** Declares them all; `conf` follows. */
export function declareIpv4(tunables: Tunables, conf: Ipv4Conf): void {
  const flag = (name: string, value: boolean, apply: (on: boolean) => void, max = 255): void =>
    tunables.declare({
      name: `net.ipv4.${name}`,
      default: value ? 1 : 0,
      min: 0,
      max,
      unit: 'bool',
      apply: (v) => apply(v !== 0),
    })
  const number = (
    name: string,
    value: number,
    range: readonly [number, number],
    apply?: (v: number) => void,
    unit?: string,
  ): void =>
    tunables.declare({
      name: `net.ipv4.${name}`,
      default: value,
      min: range[0],
      max: range[1],
      ...(unit === undefined ? {} : { unit }),
      ...(apply === undefined ? {} : { apply }),
    })
  const any = [-0x80000000, 0x7fffffff] as const
  const positive = [0, 0x7fffffff] as const
  /** INT_MAX / HZ. */
  const seconds = [-8589934, 8589934] as const

  number('ip_default_ttl', 64, [1, 255], (v) => (conf.defaultTtl = v))
  flag('ip_forward_use_pmtu', false, (on) => (conf.forwardUsePmtu = on))
  flag('ip_forward_update_priority', true, (on) => (conf.forwardUpdatePriority = on), 1)
  flag('fwmark_reflect', false, (on) => (conf.fwmarkReflect = on))
  flag('icmp_echo_ignore_all', false, (on) => (conf.icmpEchoIgnoreAll = on), 1)
  flag('icmp_echo_enable_probe', false, (on) => (conf.icmpEchoEnableProbe = on), 1)
  flag('icmp_echo_ignore_broadcasts', true, (on) => (conf.icmpEchoIgnoreBroadcasts = on), 1)
  flag('icmp_ignore_bogus_error_responses', true, (on) => (conf.icmpIgnoreBogusErrorResponses = on), 1)
  flag('icmp_errors_use_inbound_ifaddr', false, (on) => (conf.icmpErrorsUseInboundIfaddr = on), 1)
  tunables.declare({
    name: 'net.ipv4.icmp_ratelimit',
    default: 1000,
    unit: 'ms',
    store: jiffiesOfMs,
    apply: (v) => (conf.icmpRatelimit = v),
  })
  number('icmp_ratemask', 6168, any, (v) => (conf.icmpRatemask = v))
  number('icmp_msgs_per_sec', 1000, positive, (v) => (conf.icmpMsgsPerSec = v))
  number('icmp_msgs_burst', 50, positive, (v) => (conf.icmpMsgsBurst = v))
  number('fib_multipath_hash_policy', 0, [0, 3], (v) => (conf.multipathHashPolicy = v))
  number('fib_multipath_hash_fields', 7, [1, 0xfff], (v) => (conf.multipathHashFields = v))
  number('fib_multipath_hash_seed', 0, [0, 0xffffffff], (v) => (conf.multipathHashSeed = v))
  flag('fib_multipath_use_neigh', false, () => {}, 1)
  number('route.min_pmtu', 552, [68, 0x7fffffff], (v) => (conf.minPmtu = v), 'bytes')
  number('route.mtu_expires', 600, seconds, (v) => (conf.mtuExpires = v), 's')
  number('route.min_adv_mss', 256, any, undefined, 'bytes')
  number('ip_no_pmtu_disc', 0, [0, 255], (v) => (conf.noPmtuDisc = v))
  number('ip_early_demux', 1, [0, 255])
  number('ip_nonlocal_bind', 0, [0, 255])
  number('ip_dynaddr', 0, [0, 255])
}
