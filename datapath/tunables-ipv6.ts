// net.ipv6.* of the datapath: declared with the kernel's defaults (6.18), kept as plain fields for hot code.
//
//     net.ipv6.conf.all.X       counts by itself, or is written through to default and every device (spreads)
//     net.ipv6.conf.default.X   what a new device starts with
//     net.ipv6.conf.DEV.X ─────▶ device.conf6.x

import type { Devices } from './device-table.ts'
import { type Device, ipv6Begun } from './devices.ts'
import {
  jiffiesOfMs,
  jiffiesOfText,
  numberRanges,
  parseSysctl,
  shownMilliseconds,
  TunableError,
  type Tunables,
} from './tunables.ts'
import { parseIpv6 } from './wire/address.ts'
import { IPV6_MIN_MTU } from './wire/ipv6.ts'

/** Values in the kernel's units. */
export class Ipv6Conf {
  /** conf.all.forwarding: nothing is forwarded without it, but what comes in where force_forwarding is set. */
  forwarding = false
  /** conf.all.accept_source_route; both this and the device's must be 0 or more for a type 2 routing header. */
  acceptSourceRoute = 0
  /** net.ipv6.conf.all.hop_limit. */
  hopLimit = 64
  /** fwmark_reflect: answers carry the mark of what they answer. */
  fwmarkReflect = false
  /** anycast_src_echo_reply: an anycast address answers an echo with itself. */
  anycastSource = false
  /** auto_flowlabels is not 0. */
  autoFlowLabels = true
  /** flowlabel_reflect: 1 established, 2 resets, 4 echo replies. */
  flowLabelReflect = 0
  /** flowlabel_state_ranges: the labels made here have their top bit set. */
  flowLabelRanges = false
  /** max_hbh_opts_number; below zero: unknown options are not accepted at all. */
  maxHopOptions = 8
  /** max_dst_opts_number, likewise. */
  maxDestinationOptions = 8
  /** max_hbh_length, max_dst_opts_length; bytes. */
  maxHopLength = 0x7fffffff
  maxDestinationLength = 0x7fffffff
  /** fib_multipath_hash_policy. */
  multipathHashPolicy = 0
  multipathHashFields = 7
  icmpEchoIgnoreAll = false
  icmpEchoIgnoreMulticast = false
  icmpEchoIgnoreAnycast = false
  icmpErrorAnycastAsUnicast = false
  /** ms between messages to one host, 0 no limit. */
  icmpRatelimit = 100
  /** Types that the limits are for. */
  readonly icmpLimited = new Uint8Array(256)
  /** As text: `0-1,3-127`. */
  ratemask = ''
  /** route.mtu_expires, seconds. */
  mtuExpires = 600

  constructor() {
    this.writeRatemask(RATEMASK)
  }

  /** net.ipv6.icmp.ratemask: false if it is no list of types. */
  writeRatemask(text: string): boolean {
    const types = numberRanges(text, 255)
    if (types === null) return false
    this.ratemask = types
    this.icmpLimited.fill(0)
    for (const part of types === '' ? [] : types.split(',')) {
      const [from, to = from] = part.split('-').map(Number)
      this.icmpLimited.fill(1, from, to! + 1)
    }
    return true
  }
}

const RATEMASK = '0-1,3-127'

/** Declares them all; `conf` follows. */
export function declareIpv6(tunables: Tunables, conf: Ipv6Conf): void {
  const number = (
    name: string,
    value: number,
    range: readonly [number, number],
    apply?: (v: number) => void,
    unit?: string,
  ): void =>
    tunables.declare({
      name: `net.ipv6.${name}`,
      default: value,
      min: range[0],
      max: range[1],
      ...(unit === undefined ? {} : { unit }),
      ...(apply === undefined ? {} : { apply }),
    })
  const flag = (name: string, value: boolean, apply?: (on: boolean) => void, max = 255): void =>
    number(name, value ? 1 : 0, [0, max], (v) => apply?.(v !== 0), 'bool')
  const any = [-0x80000000, 0x7fffffff] as const
  /** INT_MAX / HZ. */
  const seconds = [-8589934, 8589934] as const
  const milliseconds = (name: string, value: number, apply: (v: number) => void): void =>
    tunables.declare({ name: `net.ipv6.${name}`, default: value, unit: 'ms', store: jiffiesOfMs, apply })

  flag('bindv6only', false)
  flag('anycast_src_echo_reply', false, (on) => (conf.anycastSource = on))
  flag('flowlabel_consistency', true)
  number('auto_flowlabels', 1, [0, 3], (v) => (conf.autoFlowLabels = v !== 0))
  flag('fwmark_reflect', false, (on) => (conf.fwmarkReflect = on))
  number('idgen_retries', 3, any)
  number('idgen_delay', 1, seconds, undefined, 's')
  flag('flowlabel_state_ranges', false, (on) => (conf.flowLabelRanges = on))
  flag('ip_nonlocal_bind', false)
  tunables.declare({
    name: 'net.ipv6.flowlabel_reflect',
    default: 0,
    min: 0,
    max: 7,
    signed: true,
    apply: (v) => (conf.flowLabelReflect = v),
  })
  number('max_dst_opts_number', 8, any, (v) => (conf.maxDestinationOptions = v))
  number('max_hbh_opts_number', 8, any, (v) => (conf.maxHopOptions = v))
  number('max_dst_opts_length', 0x7fffffff, any, (v) => (conf.maxDestinationLength = v), 'bytes')
  number('max_hbh_length', 0x7fffffff, any, (v) => (conf.maxHopLength = v), 'bytes')
  number('fib_multipath_hash_policy', 0, [0, 3], (v) => (conf.multipathHashPolicy = v))
  number('fib_multipath_hash_fields', 7, [1, 0xfff], (v) => (conf.multipathHashFields = v))
  number('seg6_flowlabel', 0, any)
  number('fib_notify_on_flag_change', 0, [0, 2])
  tunables.declare({ name: 'net.ipv6.ioam6_id', default: 16777215, min: 0, max: 16777215, unsigned: true })
  declareWideId(tunables)
  number('xfrm6_gc_thresh', 32768, any)
  milliseconds('icmp.ratelimit', 100, (v) => (conf.icmpRatelimit = v))
  flag('icmp.echo_ignore_all', false, (on) => (conf.icmpEchoIgnoreAll = on))
  flag('icmp.echo_ignore_multicast', false, (on) => (conf.icmpEchoIgnoreMulticast = on))
  flag('icmp.echo_ignore_anycast', false, (on) => (conf.icmpEchoIgnoreAnycast = on))
  flag('icmp.error_anycast_as_unicast', false, (on) => (conf.icmpErrorAnycastAsUnicast = on), 1)
  tunables.declare({
    name: 'net.ipv6.icmp.ratemask',
    default: 0,
    words: { read: () => conf.ratemask, write: (text) => conf.writeRatemask(text) },
  })
  number('route.gc_thresh', 1024, any)
  number('route.max_size', 0x7fffffff, any)
  // One time under two names.
  let interval = 500
  tunables.declare({
    name: 'net.ipv6.route.gc_min_interval',
    default: 0,
    words: {
      read: () => String(Math.trunc(interval / 1000)),
      write: (text) => {
        const value = parseSysctl(text)
        if (!(value >= seconds[0] && value <= seconds[1])) return false
        interval = value * 1000
        return true
      },
    },
  })
  tunables.declare({
    name: 'net.ipv6.route.gc_min_interval_ms',
    default: 0,
    words: {
      read: () => shownMilliseconds(interval),
      write: (text) => {
        const value = jiffiesOfText(text)
        if (Number.isNaN(value)) return false
        interval = value
        return true
      },
    },
  })
  number('route.gc_timeout', 60, seconds, undefined, 's')
  number('route.gc_interval', 30, seconds, undefined, 's')
  number('route.gc_elasticity', 9, any)
  number('route.mtu_expires', 600, seconds, (v) => (conf.mtuExpires = v), 's')
  number('route.min_adv_mss', 1220, any, undefined, 'bytes')
  number('route.skip_notify_on_dev_down', 0, [0, 1])
}

/** ioam6_id_wide: 56 bits, more than a number holds. */
function declareWideId(tunables: Tunables): void {
  let id = 2n ** 56n - 1n
  tunables.declare({
    name: 'net.ipv6.ioam6_id_wide',
    default: 0,
    words: {
      read: () => String(id),
      write: (text) => {
        const digits = /^\s*(0x[\da-f]+|0[0-7]*|[1-9]\d*)(?:\s|$)/i.exec(text)?.[1]
        if (digits === undefined) return false
        const value = BigInt(/^0\d/.test(digits) ? `0o${digits.slice(1)}` : digits)
        if (value >= 2n ** 56n) return false
        id = value
        return true
      },
    },
  })
}

/** net.ipv6.conf.*: what `all` and `default` have in a fresh namespace (ipv6_devconf, ipv6_devconf_dflt). */
interface ConfSpec {
  readonly name: string
  readonly all: number
  /** Default: as `all`. */
  readonly initial?: number
  /** On lo and on a device without neighbours (IFF_NOARP) where it differs. */
  readonly bare?: number
  readonly readOnly?: boolean
  /** Written to `all`, it is written to `default` and every device too, or to the devices alone. */
  readonly spreads?: boolean | 'devices'
  readonly min?: number
  readonly max?: number
  readonly signed?: boolean
  readonly unsigned?: boolean
  readonly store?: (written: bigint) => number
}

/** INT_MAX / HZ. */
const SECONDS = { min: -8589934, max: 8589934 } as const

const CONF: readonly ConfSpec[] = [
  { name: 'accept_dad', all: 0, initial: 1, bare: -1 },
  { name: 'accept_ra', all: 1 },
  { name: 'accept_ra_defrtr', all: 1 },
  { name: 'accept_ra_from_local', all: 0 },
  { name: 'accept_ra_min_hop_limit', all: 1 },
  { name: 'accept_ra_min_lft', all: 0 },
  { name: 'accept_ra_mtu', all: 1 },
  { name: 'accept_ra_pinfo', all: 1 },
  { name: 'accept_ra_rt_info_max_plen', all: 0 },
  { name: 'accept_ra_rt_info_min_plen', all: 0 },
  { name: 'accept_ra_rtr_pref', all: 1 },
  { name: 'accept_redirects', all: 1 },
  { name: 'accept_source_route', all: 0 },
  { name: 'accept_untracked_na', all: 0, min: 0, max: 2, signed: true },
  { name: 'addr_gen_mode', all: 0, spreads: true, min: 0, max: 3 },
  { name: 'autoconf', all: 1 },
  { name: 'dad_transmits', all: 1 },
  { name: 'disable_ipv6', all: 0, spreads: true },
  { name: 'disable_policy', all: 0 },
  { name: 'drop_unicast_in_l2_multicast', all: 0 },
  { name: 'drop_unsolicited_na', all: 0 },
  { name: 'enhanced_dad', all: 1 },
  { name: 'force_forwarding', all: 0, spreads: 'devices', min: 0, max: 1 },
  { name: 'force_mld_version', all: 0 },
  { name: 'force_tllao', all: 0 },
  { name: 'forwarding', all: 0, spreads: true },
  { name: 'hop_limit', all: 64, min: 1, max: 255 },
  { name: 'ignore_routes_with_linkdown', all: 0, spreads: true },
  { name: 'ioam6_enabled', all: 0, min: 0, max: 1 },
  { name: 'ioam6_id', all: 65535, min: 0, max: 65535, unsigned: true },
  { name: 'ioam6_id_wide', all: 4294967295, min: 0, max: 4294967295 },
  { name: 'keep_addr_on_down', all: 0 },
  { name: 'max_addresses', all: 16 },
  { name: 'max_desync_factor', all: 600 },
  { name: 'mc_forwarding', all: 0, readOnly: true },
  { name: 'mldv1_unsolicited_report_interval', all: 10000, store: jiffiesOfMs },
  { name: 'mldv2_unsolicited_report_interval', all: 1000, store: jiffiesOfMs },
  { name: 'mtu', all: 1280, min: IPV6_MIN_MTU },
  { name: 'ndisc_evict_nocarrier', all: 1, min: 0, max: 1 },
  { name: 'ndisc_notify', all: 0 },
  { name: 'ndisc_tclass', all: 0, min: 0, max: 255, signed: true },
  { name: 'optimistic_dad', all: 0 },
  { name: 'proxy_ndp', all: 0 },
  { name: 'ra_defrtr_metric', all: 1024, min: 1, max: 4294967295 },
  { name: 'ra_honor_pio_life', all: 0, min: 0, max: 1 },
  { name: 'ra_honor_pio_pflag', all: 0, min: 0, max: 1 },
  { name: 'regen_max_retry', all: 3 },
  { name: 'regen_min_advance', all: 2 },
  { name: 'router_probe_interval', all: 60, ...SECONDS },
  { name: 'router_solicitation_delay', all: 1, ...SECONDS },
  { name: 'router_solicitation_interval', all: 4, ...SECONDS },
  { name: 'router_solicitation_max_interval', all: 3600, ...SECONDS },
  { name: 'router_solicitations', all: -1, min: -1 },
  { name: 'rpl_seg_enabled', all: 0, min: 0, max: 1, signed: true },
  { name: 'seg6_enabled', all: 0 },
  { name: 'seg6_require_hmac', all: 0 },
  { name: 'suppress_frag_ndisc', all: 1 },
  { name: 'temp_prefered_lft', all: 86400 },
  { name: 'temp_valid_lft', all: 604800 },
  { name: 'use_oif_addrs_only', all: 0 },
  { name: 'use_optimistic', all: 0 },
  { name: 'use_tempaddr', all: 0, bare: -1 },
]
const indexOf = (name: string): number => CONF.findIndex((c) => c.name === name)
const ADDR_GEN_MODE = indexOf('addr_gen_mode')
const ACCEPT_SOURCE_ROUTE = indexOf('accept_source_route')
const DISABLE = indexOf('disable_ipv6')
const FORCE_FORWARDING = indexOf('force_forwarding')
const KEEP_ADDRESSES = indexOf('keep_addr_on_down')
const FORWARDING = indexOf('forwarding')
const HOP_LIMIT = indexOf('hop_limit')
const MTU = indexOf('mtu')
const NDISC_TCLASS = indexOf('ndisc_tclass')
const USE_TEMPADDR = indexOf('use_tempaddr')
const L2_MULTICAST = indexOf('drop_unicast_in_l2_multicast')
const SUPPRESS_FRAGMENTED = indexOf('suppress_frag_ndisc')
const IOAM = indexOf('ioam6_enabled')
const USE_OIF_ADDRS_ONLY = indexOf('use_oif_addrs_only')

const ALL = 'all'
const DEFAULT = 'default'

/** Somebody writes a value; what `all` says is passed on; a device comes, or gets another MTU. */
type Cause = 'written' | 'spread' | 'declared'

/** The rows of net.ipv6.conf. Hot code reads device.conf6. */
export class Ipv6DeviceConf {
  readonly #tunables: Tunables
  readonly #devices: Devices
  readonly #conf: Ipv6Conf
  readonly #rows = new Map<string, number[]>()
  /** stable_secret, as it prints. */
  readonly #secrets = new Map<string, string>()
  /** Why values change: only what is written has consequences. */
  #cause: Cause = 'written'

  /** Follows the devices of `devices` from now on; lo is there already. */
  constructor(tunables: Tunables, devices: Devices, conf: Ipv6Conf) {
    this.#tunables = tunables
    this.#devices = devices
    this.#conf = conf
    this.#declareRow(ALL, null)
    this.#declareRow(DEFAULT, null)
    for (const device of devices.all()) this.#begin(device)
    devices.listen({
      deviceAdded: (device) => this.#begin(device),
      deviceRemoved: (device) => this.#forget(device.name),
      deviceRenamed: (device, old) => {
        const values = this.#rows.get(old)
        if (values === undefined) return
        this.#forget(old)
        const secret = this.#secrets.get(old)
        this.#secrets.delete(old)
        if (secret !== undefined) this.#secrets.set(device.name, secret)
        this.#declareRow(device.name, device, values)
      },
      mtuChanged: (device) => {
        if (!ipv6Begun(device)) return this.#end(device)
        if (!this.#rows.has(device.name)) return this.#begin(device)
        if (device.mtu >= IPV6_MIN_MTU) devices.announceMtu6(device)
        else this.#emptyLoopback(device)
        this.#freshMtu(device)
        this.#apply(device)
      },
      linkChanged: (device) => {
        if (!device.up || device.conf6.disabled || !ipv6Begun(device)) return
        if (device.mtu >= IPV6_MIN_MTU && device.conf6.mtu !== device.mtu) devices.announceMtu6(device)
        this.#freshMtu(device)
        this.#apply(device)
      },
    })
  }

  /**
   * The device's MTU is IPv6's again: when it changes, and when IPv6 begins on it (NETDEV_UP in addrconf_notify()); of lo one
   * below 1280 is not.
   */
  #freshMtu(device: Device): void {
    if (device.mtu < IPV6_MIN_MTU) return
    this.#cause = 'declared'
    this.#tunables.set(nameOf(device.name, 'mtu'), device.mtu)
    this.#cause = 'written'
  }

  /** ipv6_add_dev(): a new start, with what `default` says now; none on a device whose MTU is too small. */
  #begin(device: Device): void {
    if (ipv6Begun(device)) this.#declareRow(device.name, device)
    else this.#apply(device)
  }

  /** addrconf_ifdown() of a device whose MTU is too small: IPv6 leaves it, with all that was said of it there. */
  #end(device: Device): void {
    this.#forget(device.name)
    this.#secrets.delete(device.name)
    this.#apply(device)
  }

  /** addrconf_ifdown() of lo, which keeps its inet6_dev: addresses and routes go as if IPv6 were disabled for a moment. */
  #emptyLoopback(device: Device): void {
    const { conf6 } = device
    const { disabled } = conf6
    conf6.disabled = true
    this.#devices.ipv6Changed(device, 'ends')
    conf6.disabled = disabled
    if (!disabled) this.#devices.ipv6Changed(device)
  }

  #forget(name: string): void {
    for (const spec of CONF) this.#tunables.undeclare(nameOf(name, spec.name))
    this.#tunables.undeclare(nameOf(name, 'stable_secret'))
    this.#rows.delete(name)
  }

  #declareRow(name: string, device: Device | null, values?: number[]): void {
    const base = name === ALL ? null : this.#rows.get(DEFAULT)
    const row =
      values ??
      CONF.map((c, i) => {
        if (name === ALL) return c.all
        if (device !== null) {
          if (i === MTU) return Math.max(device.mtu, IPV6_MIN_MTU)
          if (c.bare !== undefined && (device.loopback || device.link.noArp)) return c.bare
        }
        return base?.[i] ?? c.initial ?? c.all
      })
    this.#rows.set(name, row)
    for (const [i, spec] of CONF.entries()) {
      this.#cause = 'declared'
      this.#tunables.declare({
        name: nameOf(name, spec.name),
        default: row[i]!,
        min: spec.min ?? -0x80000000,
        // An MTU for IPv6 may not be larger than the device's.
        get max() {
          if (spec.name !== 'mtu' || device === null) return spec.max ?? 0x7fffffff
          return device.mtu
        },
        ...(spec.signed ? { signed: true } : {}),
        ...(spec.unsigned ? { unsigned: true } : {}),
        ...(spec.readOnly ? { readOnly: true } : {}),
        ...(spec.store === undefined ? {} : { store: spec.store }),
        ...(i === ADDR_GEN_MODE && device !== null
          ? { unsigned: true, store: (mode) => this.#mode(name, mode) }
          : {}),
        apply: (value) => this.#write(name, i, value),
      })
      this.#cause = 'written'
    }
    this.#declareSecret(name)
    if (device !== null) this.#apply(device)
  }

  /** addrconf_sysctl_stable_secret(): a device that has one makes its addresses from it (mode 2). */
  #declareSecret(name: string): void {
    this.#tunables.declare({
      name: nameOf(name, 'stable_secret'),
      default: 0,
      words: {
        read: () => this.#secrets.get(name) ?? null,
        write: (text) => {
          const words = name === ALL ? null : parseIpv6(text.trim())
          if (words === null) throw new TunableError(text, 'Input/output error')
          const hex = words.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
          this.#secrets.set(name, hex.match(/.{4}/g)!.join(':'))
          for (const other of name === DEFAULT ? this.#rows.keys() : [name])
            if (other !== ALL && other !== DEFAULT)
              this.#tunables.set(nameOf(other, CONF[ADDR_GEN_MODE]!.name), 2)
          return true
        },
      },
    })
  }

  /** addrconf_sysctl_addr_gen_mode(): without a secret there is none to make addresses from. */
  #mode(name: string, mode: bigint): number {
    const secret = this.#cause !== 'written' || this.#secrets.has(name) || this.#secrets.has(DEFAULT)
    return mode < 0n || mode > 3n || (mode === 2n && !secret) ? Number.NaN : Number(mode)
  }

  /**
   * ipv6_gen_mode_random_init(): a device that begins to make addresses by chance has a secret from then on. One without
   * hardware address does so instead of EUI-64. Differs from Linux: the secret is not drawn.
   */
  #drawSecret(device: Device, mode: number): void {
    if (device.loopback || device.conf6.disabled || this.#secrets.has(device.name)) return
    if (mode !== 3 && !(mode === 0 && device.link.noArp)) return
    this.#secrets.set(device.name, Array.from({ length: 8 }, (_, i) => `a${i}5e`).join(':'))
  }

  /** addr_gen_mode of a device: 0 EUI-64, 1 none, 2 from the stable secret, 3 from a random one; 0 without IPv6. */
  addressMode(device: Device): number {
    return this.#rows.get(device.name)?.[ADDR_GEN_MODE] ?? 0
  }

  /** addrconf_sysctl_forward(), addrconf_sysctl_disable() and their kin. */
  #write(name: string, i: number, value: number): void {
    const row = this.#rows.get(name)!
    const changed = row[i] !== value
    row[i] = value
    if (i === ADDR_GEN_MODE && changed && this.#cause !== 'declared') {
      const device = this.#devices.byName(name)
      if (device !== undefined) this.#drawSecret(device, value)
    }
    if (this.#cause !== 'written') return
    if (name === ALL) {
      if (i === FORWARDING) {
        this.#conf.forwarding = value !== 0
        // addrconf_forward_change(): said again or not.
        if (value === 0) this.#spread(FORCE_FORWARDING, 0)
      }
      if (i === HOP_LIMIT) this.#conf.hopLimit = value
      if (i === ACCEPT_SOURCE_ROUTE) this.#conf.acceptSourceRoute = value
      if (CONF[i]!.spreads === true || (CONF[i]!.spreads === 'devices' && changed)) this.#spread(i, value)
    }
    for (const device of this.#devices.all()) if (this.#rows.has(device.name)) this.#apply(device)
  }

  /** What `all` says is written to every device. */
  #spread(i: number, value: number): void {
    const spec = CONF[i]!
    this.#cause = 'spread'
    for (const other of this.#rows.keys())
      if (other !== ALL && (other !== DEFAULT || spec.spreads === true))
        this.#tunables.set(nameOf(other, spec.name), value)
    this.#cause = 'written'
  }

  #apply(device: Device): void {
    const row = this.#rows.get(device.name)
    const conf = device.conf6
    if (row === undefined) {
      const ended = !conf.disabled
      conf.disabled = true
      if (ended) this.#devices.ipv6Changed(device, 'ends')
      this.#devices.touch(false)
      return
    }
    const forwarding = row[FORWARDING] !== 0
    const disabled = row[DISABLE] !== 0
    const turn = conf.disabled === disabled ? undefined : disabled ? 'ends' : 'begins'
    const changed = conf.forwarding !== forwarding || turn !== undefined
    if (turn === 'begins' && device.up) this.#freshMtu(device)
    conf.forwarding = forwarding
    conf.forceForwarding = row[FORCE_FORWARDING] !== 0
    conf.acceptSourceRoute = row[ACCEPT_SOURCE_ROUTE]!
    conf.disabled = disabled
    conf.hopLimit = row[HOP_LIMIT]!
    conf.mtu = Math.min(row[MTU]!, device.mtu)
    conf.ndiscTclass = row[NDISC_TCLASS]!
    conf.prefersTemporary = row[USE_TEMPADDR]! >= 2
    conf.suppressFragmentedNdisc = row[SUPPRESS_FRAGMENTED] !== 0
    conf.dropUnicastInL2Multicast = row[L2_MULTICAST] !== 0
    conf.ioam = row[IOAM] !== 0
    conf.keepsAddresses = (this.#rows.get(ALL)![KEEP_ADDRESSES] || row[KEEP_ADDRESSES]!) > 0
    conf.useOifAddrsOnly = row[USE_OIF_ADDRS_ONLY] !== 0
    // Addresses may go, anycast addresses of subnets come or go.
    if (changed) this.#devices.ipv6Changed(device, turn)
    this.#devices.touch(false)
  }
}

/** Name of a device's sysctl; a dot in an interface name is printed as a slash. */
const nameOf = (device: string, name: string): string =>
  `net.ipv6.conf.${device.replaceAll('.', '/')}.${name}`
