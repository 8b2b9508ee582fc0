// Sysctls of what this host does without: sockets, TCP, neighbours, bridges. They are taken, checked and shown as the
// kernel's (6.18, a network namespace of its own), so that programs which set them go on, and have no effect.
//
// Defaults, ranges and conversions were asked of the kernel, name by name.

import type { Devices } from './device-table.ts'
import { type Device, ipv6Begun } from './devices.ts'
import {
  jiffiesOfMs,
  jiffiesOfText,
  numberRanges,
  parseExact,
  parseSysctl,
  shownMilliseconds,
  type Tunable,
  TunableError,
  type Tunables,
} from './tunables.ts'

const INT = [-0x80000000, 0x7fffffff] as const
/** Those of the kernel's sources: a captured host may have any of them. */
const CONGESTION_CONTROLS =
  'bbr bic cdg cubic dctcp dctcp-reno highspeed htcp hybla illinois lp nv reno scalable vegas veno westwood yeah'.split(
    ' ',
  )

/** ULONG_MAX as a number comes next to it. */
const LONG = 2 ** 64
/** INT_MAX / HZ, as proc_dointvec_jiffies() has it. */
const SECONDS = [-8589934, 8589934] as const
const HZ = 250
const USER_HZ = 100

/**
 * A line: name, default, range. The range is one number (0 to that), `min:max`, `int`, `s` (seconds kept as jiffies), `ms`
 * (milliseconds kept as jiffies), `long` (64 bits, unsigned), `bool`, or `ro`; `±` in front: it is signed, and takes `-0`.
 */
const NUMBERS = `
net.ipv4
fib_notify_on_flag_change 0 2
igmp_link_local_mcast_reports 1 255
igmp_max_memberships 20 int
igmp_max_msf 10 int
igmp_qrv 2 1:2147483647
ip_autobind_reuse 0 1
nexthop_compat_mode 1 1
raw_l3mdev_accept 1 1
tcp_abort_on_overflow 0 255
tcp_adv_win_scale 1 -31:31
tcp_app_win 31 31
tcp_autocorking 1 1
tcp_backlog_ack_defer 1 1
tcp_base_mss 1024 int
tcp_challenge_ack_limit 2147483647 int
tcp_child_ehash_entries 0 16777216
tcp_comp_sack_delay_ns 1000000 long
tcp_comp_sack_nr 44 255
tcp_comp_sack_slack_ns 100000 long
tcp_dsack 1 255
tcp_early_demux 1 255
tcp_early_retrans 3 4
tcp_ecn 2 2
tcp_ecn_fallback 1 1
tcp_ecn_option 2 2
tcp_ecn_option_beacon 3 3
tcp_ehash_entries -262144 ro
tcp_fack 0 255
tcp_fastopen 1 int
tcp_fastopen_blackhole_timeout_sec 0 ±0:2147483647
tcp_fin_timeout 60 s
tcp_frto 2 255
tcp_fwmark_accept 0 255
tcp_invalid_ratelimit 500 ms
tcp_keepalive_intvl 75 s
tcp_keepalive_probes 9 255
tcp_keepalive_time 7200 s
tcp_l3mdev_accept 0 1
tcp_limit_output_bytes 4194304 int
tcp_max_reordering 300 1:2147483647
tcp_max_syn_backlog 2048 int
tcp_max_tw_buckets 131072 int
tcp_migrate_req 0 1
tcp_min_rtt_wlen 300 ±0:86400
tcp_min_snd_mss 48 48:65535
tcp_min_tso_segs 2 1:255
tcp_moderate_rcvbuf 1 255
tcp_mtu_probe_floor 48 48:65535
tcp_mtu_probing 0 255
tcp_no_metrics_save 0 255
tcp_no_ssthresh_metrics_save 1 1
tcp_notsent_lowat 4294967295 4294967295
tcp_orphan_retries 0 255
tcp_pacing_ca_ratio 120 ±0:1000
tcp_pacing_ss_ratio 200 ±0:1000
tcp_pingpong_thresh 1 1:255
tcp_plb_cong_thresh 128 ±0:256
tcp_plb_enabled 0 1
tcp_plb_idle_rehash_rounds 3 31
tcp_plb_rehash_rounds 12 31
tcp_plb_suspend_rto_sec 60 255
tcp_probe_interval 600 17179869
tcp_probe_threshold 8 int
tcp_recovery 1 255
tcp_reflect_tos 0 1
tcp_retrans_collapse 1 255
tcp_retries1 3 255
tcp_retries2 15 255
tcp_rfc1337 0 255
tcp_rto_max_ms 120000 1000:120000
tcp_rto_min_us 200000 1:2147483647
tcp_sack 1 255
tcp_shrink_window 0 1
tcp_slow_start_after_idle 1 255
tcp_stdurg 0 255
tcp_syn_linear_timeouts 4 127
tcp_syn_retries 6 1:127
tcp_synack_retries 5 255
tcp_syncookies 1 255
tcp_thin_linear_timeouts 0 255
tcp_timestamps 1 255
tcp_tso_rtt_log 9 255
tcp_tso_win_divisor 3 255
tcp_tw_reuse 2 2
tcp_tw_reuse_delay 1000 1:60000
tcp_window_scaling 1 255
tcp_workaround_signed_windows 0 255
udp_child_hash_entries 0 65536
udp_early_demux 1 255
udp_hash_entries -16384 ro
udp_l3mdev_accept 0 1
udp_rmem_min 4096 1:2147483647
udp_wmem_min 4096 1:2147483647
xfrm4_gc_thresh 32768 int
net.core
optmem_max 131072 ±0:2147483647
rmem_default 212992 ro
rmem_max 4194304 ro
somaxconn 4096 ±0:2147483647
tstamp_allow_data 1 1
txrehash 1 1
wmem_default 212992 ro
wmem_max 4194304 ro
xfrm_acq_expires 30 int
xfrm_aevent_etime 10 4294967295
xfrm_aevent_rseqth 2 4294967295
xfrm_larval_drop 1 int
net.unix
max_dgram_qlen 10 int
net.mptcp
add_addr_timeout 120 s
allow_join_initial_addr_port 1 1
blackhole_timeout 3600 ±0:2147483647
checksum_enabled 0 1
close_timeout 60 s
enabled 1 1
stale_loss_cnt 4 4294967295
syn_retrans_before_tcp_fallback 2 255
net.bridge
bridge-nf-call-arptables 1 bool
bridge-nf-call-ip6tables 1 bool
bridge-nf-call-iptables 1 bool
bridge-nf-filter-pppoe-tagged 0 bool
bridge-nf-filter-vlan-tagged 0 bool
bridge-nf-pass-vlan-input-dev 0 bool
`
  .trim()
  .split('\n')

/** Reason of a refused write, as strerror(3) words it. */
const NO_ENTRY = 'No such file or directory'

/** Declares them all; those of neighbours follow the devices. */
export function declareStack(tunables: Tunables, devices: Devices): void {
  let prefix = ''
  for (const line of NUMBERS) {
    const [name = '', value, range] = line.split(' ')
    if (value === undefined || range === undefined) prefix = name
    else tunables.declare(numberSpec(`${prefix}.${name}`, Number(value), range))
  }
  tunables.declare({
    name: 'net.ipv4.tcp_reordering',
    default: 3,
    min: 1,
    get max() {
      return tunables.get('net.ipv4.tcp_max_reordering')
    },
  })
  declareTexts(tunables, devices)
  declareNeighbours(tunables, devices)
}

function numberSpec(name: string, value: number, range: string): Tunable {
  const [, signed, min, max = ''] = /^(±?)(?:(-?\d+):)?(.*)$/.exec(range)!
  switch (max) {
    case 'ro':
      return { name, default: value, readOnly: true }
    case 'int':
      return { name, default: value, min: INT[0], max: INT[1] }
    case 's':
      return { name, default: value, min: SECONDS[0], max: SECONDS[1], unit: 's' }
    case 'ms':
      return { name, default: value, unit: 'ms', store: jiffiesOfMs }
    case 'long':
      return { name, default: value, min: 0, max: LONG, unsigned: true, wide: true }
    case 'bool':
      return {
        name,
        default: value,
        store: (n) => (n >= INT[0] && n <= INT[1] ? Number(n !== 0n) : Number.NaN),
      }
    default:
      return {
        name,
        default: value,
        min: Number(min ?? 0),
        max: Number(max),
        ...(signed === '' && min === undefined ? { unsigned: true } : {}),
      }
  }
}

function declareTexts(tunables: Tunables, devices: Devices): void {
  const word = (name: string, initial: string, known: readonly string[] | null): void => {
    let held = initial
    tunables.declare({
      name,
      default: 0,
      ...(known === null ? { readOnly: true } : {}),
      words: {
        read: () => held,
        write: (text) => {
          if (!known?.includes(text.trim())) throw new TunableError(text, NO_ENTRY)
          held = text.trim()
          return true
        },
      },
    })
  }
  word('net.ipv4.tcp_congestion_control', 'cubic', CONGESTION_CONTROLS)
  word('net.ipv4.tcp_allowed_congestion_control', 'reno cubic', null)
  word('net.ipv4.tcp_available_congestion_control', 'reno cubic', null)
  word('net.mptcp.available_path_managers', PATH_MANAGERS.join(' '), null)
  word('net.mptcp.available_schedulers', 'default', null)
  word('net.mptcp.scheduler', 'default', ['default'])
  declarePathManager(tunables)
  declareTunnelHooks(tunables)
  for (const [n, logger] of LOGGERS.entries())
    word(`net.netfilter.nf_log.${n}`, logger, [...new Set(['NONE', logger, 'nfnetlink_log'])])

  const several = (name: string, initial: readonly number[], range: readonly [number, number]): void => {
    const values = [...initial]
    tunables.declare({
      name,
      default: 0,
      words: {
        read: () => values.join('\t'),
        write: (text) => {
          const said = text.trim().split(/\s+/).slice(0, initial.length).map(parseSysctl)
          // Those in front of a bad one stand (do_proc_dointvec).
          for (const [i, n] of said.entries()) {
            if (!(n >= range[0] && n <= range[1])) return false
            values[i] = n
          }
          return true
        },
      },
    })
  }
  several('net.ipv4.tcp_rmem', [4096, 131072, 33554432], [1, INT[1]])
  several('net.ipv4.tcp_wmem', [4096, 16384, 4194304], [1, INT[1]])
  declarePorts(tunables)

  let key = '00000000-00000000-00000000-00000000'
  tunables.declare({
    name: 'net.ipv4.tcp_fastopen_key',
    default: 0,
    words: {
      read: () => key,
      write: (text) => {
        if (!/^\s*[\da-f]{1,8}(-[\da-f]{1,8}){3}\s*$/i.test(text)) return false
        key = text
          .trim()
          .toLowerCase()
          .split('-')
          .map((part) => part.padStart(8, '0'))
          .join('-')
        return true
      },
    },
  })
  tunables.declare({ name: 'net.ipv6.route.flush', default: 0, writeOnly: true })
  const anything = {
    read: () => null,
    write: () => {
      devices.touch()
      return true
    },
  }
  tunables.declare({ name: 'net.ipv4.route.flush', default: 0, writeOnly: true, words: anything })
}

/** mptcp_pm_get_available(), in the order of their numbers. */
const PATH_MANAGERS = ['kernel', 'userspace']

/** One thing by its name and by its number, as it was before Linux 6.16. */
function declarePathManager(tunables: Tunables): void {
  let manager = 0
  tunables.declare({
    name: 'net.mptcp.pm_type',
    default: 0,
    min: 0,
    max: PATH_MANAGERS.length - 1,
    unsigned: true,
    read: () => manager,
    apply: (value) => {
      manager = value
    },
  })
  tunables.declare({
    name: 'net.mptcp.path_manager',
    default: 0,
    words: {
      read: () => PATH_MANAGERS[manager]!,
      write: (text) => {
        const named = PATH_MANAGERS.indexOf(text.trim())
        if (named < 0) throw new TunableError(text, NO_ENTRY)
        manager = named
        return true
      },
    },
  })
}

/** nf_hooks_lwtunnel_set(): once on, it stays. No route here has such a tunnel. */
function declareTunnelHooks(tunables: Tunables): void {
  let on = false
  tunables.declare({
    name: 'net.netfilter.nf_hooks_lwtunnel',
    default: 0,
    words: {
      read: () => (on ? '1' : '0'),
      write: (text) => {
        const n = parseSysctl(text)
        if (!(n >= 0 && n <= 1)) return false
        if (on && n === 0) throw new TunableError(text, 'Device or resource busy')
        on ||= n === 1
        return true
      },
    },
  })
}

/** By protocol family, as nf_log_syslog registers them. */
const LOGGERS =
  'NONE NONE nf_log_ipv4 nf_log_arp NONE nf_log_netdev NONE nf_log_bridge NONE NONE nf_log_ipv6'.split(' ')

/** The ports that sockets take by themselves, those they must not, and those that are root's. */
function declarePorts(tunables: Tunables): void {
  let range = [32768, 60999]
  let privileged = 1024
  /** Two numbers; the second may be left out. */
  const pair = (text: string, before: readonly number[]): [number, number] | null => {
    const said = text.trim().split(/\s+/).slice(0, 2).map(parseSysctl)
    return said.every((n) => n >= 0 && !Object.is(n, -0)) ? [said[0]!, said[1] ?? before[1]!] : null
  }
  tunables.declare({
    name: 'net.ipv4.ip_local_port_range',
    default: 0,
    words: {
      read: () => range.join('\t'),
      write: (text) => {
        const said = pair(text, range)
        if (said === null || said[0] > said[1] || said[0] < Math.max(1, privileged) || said[1] > 65535)
          return false
        range = said
        return true
      },
    },
  })
  tunables.declare({
    name: 'net.ipv4.ip_unprivileged_port_start',
    default: 1024,
    min: 0,
    get max() {
      return range[0]!
    },
    signed: true,
    apply: (value) => {
      privileged = value
    },
  })
  let groups = [1, 0]
  tunables.declare({
    name: 'net.ipv4.ping_group_range',
    default: 0,
    words: {
      read: () => groups.join('\t'),
      write: (text) => {
        const said = pair(text, groups)
        if (said === null || Math.max(...said) > 0xffff_fffe) return false
        groups = said[0] > said[1] ? [1, 0] : said
        return true
      },
    },
  })
  let reserved = ''
  tunables.declare({
    name: 'net.ipv4.ip_local_reserved_ports',
    default: 0,
    words: {
      read: () => reserved,
      write: (text) => {
        const made = numberRanges(text, 65535)
        if (made === null) return false
        reserved = made
        return true
      },
    },
  })
}

/** SKB_TRUESIZE(ETH_FRAME_LEN): what a packet counts for in a queue, bytes. */
const PACKET = 2090

/** net.ipv4.neigh.DEV.* and net.ipv6.neigh.DEV.* (neigh_sysctl_template). */
function declareNeighbours(tunables: Tunables, devices: Devices): void {
  const names = ['net.ipv4.neigh', 'net.ipv6.neigh'] as const
  type Prefix = (typeof names)[number]
  const declared = new Map<Prefix, Map<string, string[]>>(names.map((prefix) => [prefix, new Map()]))
  const add = (device: string, prefix: Prefix): void => {
    const made: string[] = []
    const name = (key: string): string => `${prefix}.${device.replaceAll('.', '/')}.${key}`
    const declare = (spec: Tunable): void => {
      made.push(spec.name)
      tunables.declare(spec)
    }
    const number = (key: string, value: number, min: number = INT[0], max: number = INT[1]): void =>
      declare({ name: name(key), default: value, min, max, signed: true })
    for (const key of ['app_solicit', 'mcast_resolicit']) number(key, 0, 0)
    for (const key of ['mcast_solicit', 'ucast_solicit']) number(key, 3, 0)
    number('proxy_qlen', 64, 0)
    number('delay_first_probe_time', 5, ...SECONDS)
    number('gc_stale_time', 60, ...SECONDS)
    for (const [key, ticks] of [
      ['anycast_delay', 250],
      ['locktime', prefix === names[0] ? 250 : 0],
      ['proxy_delay', 200],
    ] as const)
      declare(clockSpec(name(key), held(ticks)))
    declare({
      name: name('interval_probe_time_ms'),
      default: 5000,
      unit: 'ms',
      store: (ms) => jiffiesOfMs(ms) || Number.NaN,
    })
    const retransmit = held(HZ)
    declare(
      prefix === names[0]
        ? clockSpec(name('retrans_time'), retransmit)
        : ticksSpec(name('retrans_time'), retransmit),
    )
    declare(millisecondsSpec(name('retrans_time_ms'), retransmit))
    const reachable = held(30 * HZ)
    declare(millisecondsSpec(name('base_reachable_time_ms'), reachable))
    declare({
      name: name('base_reachable_time'),
      default: 30,
      min: SECONDS[0],
      max: SECONDS[1],
      signed: true,
      words: {
        read: () => String(Math.trunc(reachable.ticks / HZ)),
        write: (text) => {
          const n = parseSysctl(text)
          if (!(n >= SECONDS[0] && n <= SECONDS[1])) return false
          reachable.ticks = n * HZ
          return true
        },
      },
    })
    const queue = { bytes: 212992 }
    const queueSpec = (key: string, unit: number): Tunable => ({
      name: name(key),
      default: 0,
      words: {
        read: () => String(Math.trunc(queue.bytes / unit)),
        write: (text) => {
          const n = parseSysctl(text)
          if (!(n >= 0 && n <= Math.trunc(INT[1] / unit))) return false
          queue.bytes = n * unit
          return true
        },
      },
    })
    declare(queueSpec('unres_qlen', PACKET))
    declare(queueSpec('unres_qlen_bytes', 1))
    declared.get(prefix)!.set(device, made)
  }
  const remove = (device: string, prefix: Prefix): void => {
    for (const name of declared.get(prefix)!.get(device) ?? []) tunables.undeclare(name)
    declared.get(prefix)!.delete(device)
  }
  const begin = (device: Device): void => {
    for (const prefix of names) if (prefix === names[0] || ipv6Begun(device)) add(device.name, prefix)
  }
  for (const device of devices.all()) begin(device)
  devices.listen({
    deviceAdded: begin,
    deviceRemoved: (device) => {
      for (const prefix of names) remove(device.name, prefix)
    },
    // IPv6's neighbours come and go with it (ipv6_add_dev(), addrconf_ifdown()).
    mtuChanged: (device) => {
      const there = declared.get(names[1])!.has(device.name)
      if (ipv6Begun(device) === there) return
      if (there) remove(device.name, names[1])
      else add(device.name, names[1])
    },
    deviceRenamed: (device, old) => {
      const values = names
        .flatMap((prefix) => declared.get(prefix)!.get(old) ?? [])
        .map((name) => [name, tunables.text(name)!] as const)
      for (const prefix of names) remove(old, prefix)
      begin(device)
      const from = `.neigh.${old.replaceAll('.', '/')}.`
      const to = `.neigh.${device.name.replaceAll('.', '/')}.`
      for (const [name, text] of values) tunables.set(name.replace(from, to), text)
    },
  })
}

/** A time in jiffies that several names show. */
interface Held {
  ticks: number
}

const held = (ticks: number): Held => ({ ticks })

function ticksSpec(name: string, time: Held): Tunable {
  return {
    name,
    default: 0,
    words: {
      read: () => String(time.ticks),
      write: (text) => {
        const n = parseSysctl(text)
        if (!(n >= INT[0] && n <= INT[1])) return false
        time.ticks = n
        return true
      },
    },
  }
}

function millisecondsSpec(name: string, time: Held): Tunable {
  return {
    name,
    default: 0,
    words: {
      read: () => shownMilliseconds(time.ticks * (1000 / HZ)),
      write: (text) => {
        const ms = jiffiesOfText(text)
        if (Number.isNaN(ms)) return false
        time.ticks = ms / (1000 / HZ)
        return true
      },
    },
  }
}

/** LONG_MAX / HZ * USER_HZ */
const MOST_CLOCK = ((2n ** 63n - 1n) / BigInt(HZ)) * BigInt(USER_HZ)

/** proc_dointvec_userhz_jiffies(): hundredths of a second, with the losses that it has; what is too much is -1. */
function clockSpec(name: string, time: Held): Tunable {
  return {
    name,
    default: 0,
    words: {
      read: () => {
        const shown = Math.trunc((Math.abs(time.ticks) * USER_HZ) / HZ)
        return time.ticks < 0 ? `-${shown}` : String(shown)
      },
      write: (text) => {
        const n = parseExact(text)
        if (n === null || n > MOST_CLOCK || -n > MOST_CLOCK) return false
        // What is negative is far too much for the conversion.
        time.ticks = n < 0n ? -1 : Number(BigInt.asIntN(32, (n * BigInt(HZ)) / BigInt(USER_HZ)))
        return true
      },
    },
  }
}
