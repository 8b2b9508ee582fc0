// sysctl of procps 4.0.2 in a namespace against ours: the same command lines, output, complaints and exit status.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runSysctl, sysctlTool } from '../../daemon/cli/sysctl.ts'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { writeFolder } from '../harness/capture.ts'
import { SeededRandom } from '../harness/frames.ts'
import { IpWorlds } from '../harness/ip-worlds.ts'
import { whyNoKernel } from '../harness/kernel.ts'
import { SysctlGrammar, type SysctlLine } from '../harness/sysctl-commands.ts'

const reason =
  whyNoKernel() ?? (spawnSync('sysctl', ['-V']).status === 0 ? null : 'the program sysctl is missing')
if (reason !== null) console.warn(`NOT RUN: sysctl is not compared with the real one: ${reason}`)

const NAMESPACE = `tw-sysctl-${process.pid}`
/** In order: later ones read what earlier ones wrote. */
const LINES = `net.ipv4.ip_forward
net.mptcp.pm_type=1
net.mptcp.path_manager
net.mptcp.path_manager=kernel
net.mptcp.pm_type
net.mptcp.path_manager=kern
net.mptcp.path_manager=
net.mptcp.pm_type=2
net.mptcp.pm_type=+1
net.mptcp.scheduler=none
net.mptcp.available_schedulers=default
-a -r ^net.mptcp
net.netfilter.nf_hooks_lwtunnel
net.netfilter.nf_hooks_lwtunnel=-0
net.netfilter.nf_hooks_lwtunnel=2
-n net.ipv4.ip_forward
net.ipv4.ip_forward=1
net/ipv4/ip_forward
net/ipv4/ip_forward=0
-N net.ipv4.ip_forward
-b net.ipv4.ip_forward
-n net.ipv4.ip_forward net.ipv4.ip_default_ttl
--values net.ipv4.ip_forward
-- --net.ipv4.ip_default_ttl=61
-- ---net.ipv4.ip_default_ttl=61
-- --net.ipv4.nope=1
-w -- --
-w -- -net.ipv4.nope
-w -- -/
-w -- -net.ipv4.ip_forward
--names net.ipv4.ip_forward
--v net.ipv4.ip_forward
--d=3 net.ipv4.ip_forward
--no
-D
-nD net.ipv4.ip_forward
-S=
net.ipv4.ipfrag_secret_interval
net.ipv6.ip6frag_secret_interval
--quiet net.ipv4.ip_forward=1
--write net.ipv4.ip_forward=1
-qw net.ipv4.ip_forward=1 net.ipv4.ip_forward
-w net.ipv4.ip_forward
-w
-q
-x

-y
--nope
-r
-V
--version
-h
net.nope
-e net.nope
-e net.nope=1
net.ipv4.nope=1
net.ipv4.ip_forward net.nope net.ipv4.ip_default_ttl
-w net.ipv4.ip_forward=1 net.nope=1 net.ipv4.ip_default_ttl=63
net.ipv4.ip_default_ttl
net.ipv6.conf.lo.force_forwarding=1
net.ipv6.conf.all.forwarding=0
net.ipv6.conf.lo.force_forwarding
net.ipv6.conf.all.force_forwarding=1
net.ipv6.conf.lo.force_forwarding
net.ipv6.conf.lo.force_forwarding=0
net.ipv6.conf.all.force_forwarding=1
net.ipv6.conf.lo.force_forwarding
net.ipv6.conf.all.forwarding=0
net.ipv6.conf.all.force_forwarding=0
net//ipv4//ip_forward
net//ipv4//nope
net..ipv4..ip_forward
net..ipv4..nope
net/ipv4/ip_forward/
net/ipv4/route//
/net/ipv4/nope
.net.nope
net//ipv4//ip_forward=1
net..ipv4..ip_forward=1
net..ipv4..nope=1
net//ipv4//nope=1
/net/ipv4/ip_forward=1
.net.ipv4.ip_forward=1
net/../net/ipv4/ip_forward=1
../net/ipv4/ip_forward=1
///net/ipv4/ip_forward
//net/ipv4/ip_forward=1
-N net//ipv4//ip_forward
-r nope net//ipv4//ip_forward
-r ip net//ipv4//ip_forward
-e net//ipv4//nope
net/ipv4/conf/lo//forwarding
net.ipv4.conf.lo/.forwarding
net/ipv4/./ip_forward=1
net.ipv4.conf..lo.forwarding
net//ipv4/route
net/ipv4/ip_forward/..
net/ipv4/ip_forward/=1
net//ipv4/=1
net//ipv4/ip_default_ttl=999
net..ipv4..ip_default_ttl=999
--all=1
--names=1 net.ipv4.ip_forward
net.ipv4.ip_default_ttl=0
net.ipv4.ip_default_ttl=256
net.ipv4.ip_default_ttl=x
net.ipv4.ip_default_ttl=
net.ipv4.conf.all.rp_filter=1
net.ipv4.conf.all.rp_filter
net.ipv4.conf.lo.rp_filter
net.ipv4.conf.none.rp_filter
net.netfilter.nf_conntrack_udp_timeout=60
net.netfilter.nf_conntrack_udp_timeout
net.netfilter.nf_conntrack_count=3
net.netfilter.nf_conntrack_count
net.netfilter.nf_conntrack_tcp_timeout_established
-a -r nf_conntrack_(udp|icmp)_timeout$
-r ip_default_ttl$
-a -N -r net.ipv4.ip_forward$
-r ip_forward$ net.ipv4.ip_forward=1
-r ip_forward=1$ net.ipv4.ip_forward=1
-a -r neigh.lo.[[:alpha:]]*_time
-a --deprecated -r neigh.lo.[[:alpha:]]*_time
net.ipv4.neigh.lo.retrans_time=7
net.ipv4.neigh.lo.retrans_time
net.ipv6.conf.all.force_forwarding=5
net.ipv6.conf.all.force_forwarding=1
net.ipv6.conf.default.force_forwarding
net.ipv6.conf.lo.stable_secret
net.ipv6.conf.lo.addr_gen_mode=2
net.ipv6.conf.lo.stable_secret=1::2
net.ipv6.conf.lo.stable_secret
net.ipv6.conf.lo.addr_gen_mode
-N net.ipv6.conf.all.stable_secret
-r hop net.ipv6.conf.all.stable_secret
net.ipv6.conf.all.stable_secret net.ipv6.conf.default.stable_secret
-r stable net.ipv6.conf.all net.ipv6.conf.default
-N -r stable net.ipv6.conf
-a -N -r stable_secret
-a -r stable_secret
-N -r flush net.ipv4.route
net/ipv4/neigh/lo/
net.ipv4.neigh.lo.
net.ipv4.route.flush=1
net.ipv4.route.flush
net.ipv4.route.mtu_expires=8589935
net.ipv4.icmp_ratelimit=7
net.ipv4.icmp_ratelimit
net.ipv4.fwmark_reflect=-0
net.ipv4.tcp_syncookies=2
net.ipv4.tcp_reordering=301
net.ipv4.tcp_max_reordering=50
net.ipv4.tcp_reordering=60
net.ipv4.tcp_reordering=50
net.ipv6.route.gc_min_interval=8589934
net.ipv6.route.gc_min_interval_ms
net.ipv4.neigh.lo.base_reachable_time=8589934
net.ipv4.neigh.lo.base_reachable_time_ms
net.ipv4.icmp_ratelimit=9223372036854775807
net.ipv4.neigh.lo.locktime=9223372036854775807
net.ipv4.neigh.lo.locktime=-2
net.ipv4.neigh.lo.locktime
net.ipv4.ipfrag_high_thresh=18446744073709551615
net.ipv4.ipfrag_high_thresh
net.ipv4.ipfrag_low_thresh=9223372036854775809
net.ipv4.ipfrag_low_thresh
net.ipv4.ipfrag_low_thresh=1000
net.ipv4.ipfrag_high_thresh=999
net.ipv4.ipfrag_high_thresh=4194304
net.ipv4.tcp_comp_sack_delay_ns=18446744073709551615
net.ipv4.tcp_comp_sack_delay_ns
net.ipv4.ip_local_port_range=60000
net.ipv4.ip_local_reserved_ports=5,3-4
net.ipv4.ip_local_reserved_ports=80-90,
net.ipv4.ip_local_reserved_ports=,
net.ipv4.ip_local_reserved_ports=80,,
net.ipv4.ip_local_reserved_ports
/
//
.
..
/.
./
net/..
../..
net/../..
kernel/../../foo
net/ipv4/../ipv4/ip_forward
/=1
//=1
.=1
net..ipv4.ip_forward
/net/ipv4/ip_forward
net/ipv4//ip_forward
..ipv4
/net/ipv4/ip_forward/
net.ipv4.ip_forward.
../sys/net/ipv4/ip_forward
..=1
net/..=1
nope/..
nope/..=1
-n /
-e /
-e //
-q /
/ net.ipv4.ip_forward
/ /
/ nope
net.netfilter.nf_log.2=nope
net.netfilter.nf_log.2=nf_log_ipv4
-f-
-fe /nonexistent
-p /nonexistent`.split('\n')

let engine: Engine
const root = reason === null ? mkdtempSync(join(tmpdir(), 'tunwall-sysctl-')) : ''

describe.skipIf(reason !== null)('sysctl answers as procps', () => {
  beforeAll(() => {
    expect(spawnSync('ip', ['netns', 'add', NAMESPACE]).status).toBe(0)
    const folder = writeFolder(join(root, 'host'), { 'host.yaml': 'interfaces: {}\n' })
    const memory = new FrameMemory(4, 2048)
    engine = createEngine(loadHostFolder(folder), {
      memory,
      egress: new MemoryEgress(memory),
      random: new SeededRandom(1),
    })
  })
  afterAll(() => {
    spawnSync('ip', ['netns', 'del', NAMESPACE])
    rmSync(root, { recursive: true, force: true })
  })

  test.each(LINES)('%s', (line) => {
    const argv = line === '' ? [] : line.split(' ')
    const real = spawnSync('ip', ['netns', 'exec', NAMESPACE, 'sysctl', ...argv], {
      encoding: 'utf8',
      input: '',
    })
    const ours = sysctlTool.run({ tool: 'sysctl', directory: '/', argv, stdin: '' }, engine)
    expect(ours).toEqual({ stdout: real.stdout, stderr: real.stderr, code: real.status })
  })
})

/** Files one after the other: names and patterns as they are said, separators and all. */
const FILES = [
  'net..nope\n',
  'net..nope = 5\n',
  'net.ipv4..ip_forward = 1\n',
  'net..ipv4.ip_forward\n',
  '/net/ipv4/ip_forward = 1\n',
  '/net/ipv4/conf/*/rp_filter = 2\n',
  'net/ipv4/conf/*/rp_filter = 1\n',
  'net..ipv4.conf.*.rp_filter=2\n',
  'net.ipv4..conf.*.rp_filter=2\n',
  'net//ipv4/conf/*/rp_filter=1\n',
  '//net/ipv4/conf/*/rp_filter=1\n',
  '-/net/ipv4/conf/lo/rp_filter\nnet.ipv4.conf.*.rp_filter=2\n',
  '-net.ipv4.conf.lo.rp_filter\nnet.ipv4.conf.*.rp_filter=1\n',
  '-net.ipv4.conf.lo.rp_filter\n/net/ipv4/conf/*/rp_filter=1\n',
  '-net/ipv4/conf/lo/rp_filter\nnet.ipv4.conf.*.rp_filter=1\n',
  '-/net/ipv4/conf/lo/rp_filter\n/net/ipv4/conf/*/rp_filter=2\n',
  '/net/ipv4/conf/lo/rp_filter=0\nnet.ipv4.conf.*.rp_filter=1\n',
  'net/ipv4/conf/lo/rp_filter=0\nnet.ipv4.conf.*.rp_filter=1\n',
  '/net/ipv4/conf/*/rp_filter = x\n',
  '/net/ipv4/conf/*/nope = x\n',
  '-/net/ipv4/conf/*/rp_filter = x\n',
  '-/net/ipv4/conf/*/rp_filter\nnet.ipv4.conf.*.rp_filter=2\n',
  ' 5\n 5',
  ' 5',
]

describe.skipIf(reason !== null)('sysctl -p reads as procps', () => {
  test.each(FILES)('%j', (text) => {
    const worlds = new IpWorlds()
    try {
      const [real] = worlds.each([{ argv: ['sysctl', '-p', '-'], input: text }])
      const call = { tool: 'sysctl', directory: '/', argv: ['-p', '-'], stdin: text }
      expect(sysctlTool.run(call, worlds.engine)).toEqual(real)
    } finally {
      worlds.close()
    }
  })
})

/** TUNWALL_SEED begins at that seed, TUNWALL_SCENARIOS runs that many sequences. */
const FIRST = Number(process.env.TUNWALL_SEED ?? 10)
const SEQUENCES = Number(process.env.TUNWALL_SCENARIOS ?? 2)
const RANDOM_LINES = 60
/**
 * What all namespaces share, what follows from the machine (its memory, its modules, its TCP), what is counted; what the
 * harness sets for itself; a random secret.
 */
const OTHERS =
  /^net\.(core\.(rps|[rw]mem)|bridge)|nf_conntrack_(max|buckets|expect_max|count|hash)|congestion_control$|(hash|tw_buckets|max_syn).*|addr_gen_mode|accept_dad|secret|lwtunnel/

/** -a with a pattern finds what is not of the network, too. */
const ofNet = (listed: string): string =>
  listed.replace(/^(abi|debug|dev|fs|kernel|sunrpc|user|vm)\..*\n/gm, '')

describe.skipIf(reason !== null)('random command lines of sysctl', () => {
  test.each(Array.from({ length: SEQUENCES }, (_, i) => FIRST + i))(
    'seed %d',
    { timeout: 120_000 },
    (seed) => {
      const worlds = new IpWorlds()
      const ask = ({ argv, stdin }: SysctlLine) => ({
        real: worlds.inside(['sysctl', ...argv], stdin),
        ours: sysctlTool.run({ tool: 'sysctl', directory: '/', argv, stdin }, worlds.engine),
      })
      try {
        // One that nobody wrote yet has its default.
        const listed = (text: string): Map<string, string> =>
          new Map(text.split('\n').flatMap((line) => [line.split(' = ') as [string, string]]))
        const both = ask({ argv: ['-a', '-r', '^net'], stdin: '' })
        const [theirs, mine] = [listed(both.real.stdout), listed(both.ours.stdout)]
        const names = [...mine.keys()].filter((name) => name !== '' && theirs.has(name) && !OTHERS.test(name))
        const complete = (directory: string): boolean =>
          [...theirs.keys()].every((name) => !name.startsWith(`${directory}.`) || mine.has(name))
        const directories = [
          'net.ipv4.conf',
          'net.ipv4.conf.lo',
          'net.ipv4.conf.all',
          'net.ipv4.neigh',
          'net.ipv6.neigh.t0',
          'net.ipv6.icmp',
          'net.ipv6.route',
          'net.ipv4.route',
        ].filter(complete)
        const grammar = new SysctlGrammar(new SeededRandom(seed), names, [...directories, 'net.none'])
        const shared = (text: string): string[] => {
          const found = listed(text)
          return names.map((name) => `${name} = ${found.get(name)}`)
        }
        const everything: SysctlLine = { argv: ['-a', '-r', '^net'], stdin: '' }
        const lines = Array.from({ length: RANDOM_LINES }, (_, i) =>
          i % 10 === 9 ? [grammar.line(), everything] : [grammar.line()],
        ).flat()
        const answers = worlds.each(
          lines.map(({ tool = 'sysctl', argv, stdin }) => ({ argv: [tool, ...argv], input: stdin })),
        )
        const said: string[] = []
        for (const [i, line] of lines.entries()) {
          const real = { ...answers[i]!, stdout: ofNet(answers[i]!.stdout) }
          const { tool = 'sysctl', argv, stdin } = line
          const ours =
            tool === 'ip'
              ? worlds.ours(argv)
              : sysctlTool.run({ tool, directory: '/', argv, stdin }, worlds.engine)
          if (line === everything) {
            expect(shared(ours.stdout), `seed ${seed}, after\n${said.slice(-30).join('\n')}`).toEqual(
              shared(real.stdout),
            )
            continue
          }
          said.push(
            `${tool} ${argv.map((w) => JSON.stringify(w)).join(' ')}${stdin === '' ? '' : ` <<< ${JSON.stringify(stdin)}`}`,
          )
          // All that there is: what both have is compared.
          const whole = real.stdout.includes('net.core.rps_default_mask = ') && real.stdout.length > 10_000
          if (whole) expect(shared(ours.stdout), `seed ${seed}`).toEqual(shared(real.stdout))
          const other = whole ? { stdout: '' } : {}
          expect({ ...ours, ...other }, `seed ${seed}, after\n${said.slice(-30).join('\n')}`).toEqual({
            ...real,
            ...other,
          })
        }
      } finally {
        worlds.close()
      }
    },
  )
})

describe.skipIf(reason !== null)("IPv6's MTU of a device", () => {
  test('below 1280 takes IPv6 and its sysctls away, and another begins with the defaults', () => {
    const worlds = new IpWorlds()
    try {
      const lines = [
        'sysctl net.ipv6.conf.t0.hop_limit=7 net.ipv6.neigh.t0.mcast_solicit=5 net.ipv4.neigh.t0.mcast_solicit=4',
        'sysctl net.ipv6.conf.t0.mtu=1400',
        'ip link set t0 mtu 1500',
        'sysctl net.ipv6.conf.t0.mtu',
        'ip link set t0 mtu 1279',
        'sysctl net.ipv6.conf.t0.hop_limit net.ipv6.neigh.t0.mcast_solicit net.ipv4.neigh.t0.mcast_solicit',
        'sysctl -w net.ipv6.conf.t0.forwarding=1 net.ipv6.conf.all.forwarding=1',
        'sysctl net.ipv6.conf.t0',
        'sysctl -ar ipv6.(conf|neigh).t0',
        'sysctl -ar ipv[46].conf.t.[.]mtu|conf.*.forwarding',
        'ip link set t0 down',
        'ip link set t0 up',
        'ip link set t0 mtu 68',
        'sysctl net.ipv6.conf.default.hop_limit=9 net.ipv6.conf.all.hop_limit=8 net.ipv6.conf.t0.hop_limit=1',
        'ip link set t0 mtu 1280',
        'sysctl net.ipv6.conf.t0.hop_limit net.ipv6.neigh.t0.mcast_solicit net.ipv4.neigh.t0.mcast_solicit',
        'sysctl net.ipv6.conf.t0.forwarding net.ipv6.conf.t0.mtu',
        'ip link set t0 mtu 1000',
        'ip link set t0 down',
        'ip link set t0 mtu 1400',
        'sysctl net.ipv6.conf.t0.mtu net.ipv6.conf.t0.forwarding',
        'ip link set lo mtu 1000',
        'sysctl net.ipv6.conf.lo.mtu net.ipv6.neigh.lo.mcast_solicit net.ipv6.conf.lo.mtu=1280',
        'ip link set lo down',
        'ip link set lo up',
        'ip addr show lo',
        'sysctl net.ipv6.conf.lo.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=0',
        'ip link set lo mtu 1500',
        'ip addr show lo',
        'sysctl net.ipv6.conf.t2.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=1',
        'ip addr add 2001:db8::1/64 dev t2',
        'ip addr change 2001:db8::1/64 dev t2',
        'ip addr add 2001:db8::1/63 dev t2 mngtmpaddr',
        'ip addr add ff02::5/64 dev t2',
        'ip addr add ::1/128 dev lo',
        'ip -6 route add prohibit 2001:db8:2::/48',
        'ip link set lo mtu 600',
        'ip -6 route show',
        'ip link set lo mtu 1500',
        'ip addr flush dev lo',
        'sysctl -w net.ipv6.conf.lo.forwarding=1 net.ipv6.conf.all.forwarding=0',
        'ip addr show lo',
        'sysctl -w net.ipv6.conf.lo.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=0',
        'ip addr show lo',
        'ip link set t1 mtu 1000 down',
        'ip link set t1 name t7',
        'ip -d link show t7',
        'ip link set t7 mtu 1400 up',
        'sysctl -ar ipv[46].*t7.*mtu',
      ]
      for (const line of lines) {
        const [tool = '', ...argv] = line.split(' ')
        const call = { tool, directory: '/', argv, stdin: '' }
        const ours = tool === 'ip' ? worlds.ours(argv) : sysctlTool.run(call, worlds.engine)
        expect(ours, line).toEqual(worlds.inside([tool, ...argv]))
      }
    } finally {
      worlds.close()
    }
  })

  test("is the device's again when IPv6 begins on it", () => {
    const worlds = new IpWorlds()
    try {
      const mtu = 'net.ipv6.conf.t0.mtu'
      const off = 'net.ipv6.conf.t0.disable_ipv6'
      for (const line of [
        `sysctl ${mtu}=1400 ${off}=1 ${mtu} ${off}=0 ${mtu}`,
        `sysctl ${mtu}=1400`,
        'ip link set t0 down',
        `sysctl ${mtu} ${off}=1 ${off}=0 ${mtu} ${off}=1`,
        'ip link set t0 up',
        `sysctl ${mtu} ${off}=0 ${mtu} ${mtu}=1300`,
        'ip link set t0 down',
        'ip link set t0 up',
        `sysctl ${mtu} ${mtu}=1300`,
        'ip link set t0 mtu 1450',
        `sysctl ${mtu}`,
      ]) {
        const [tool = '', ...argv] = line.split(' ')
        const call = { tool, directory: '/', argv, stdin: '' }
        const ours = tool === 'ip' ? worlds.ours(argv) : sysctlTool.run(call, worlds.engine)
        expect(ours, line).toEqual(worlds.inside([tool, ...argv]))
      }
    } finally {
      worlds.close()
    }
  })
})

/** What stands in the directories of --system, below a root of its own. */
const SYSTEM: Readonly<Record<string, string>> = {
  'etc/sysctl.d/50-a.conf': 'net.ipv4.ip_forward = 1\n',
  'usr/lib/sysctl.d/50-a.conf': 'net.ipv4.ip_forward = 0\n',
  'run/sysctl.d/50-a.conf': 'net.ipv4.ip_forward = 2\n',
  'usr/lib/sysctl.d/10-b.conf': 'net.ipv4.conf.lo.rp_filter = 2\n',
  'run/sysctl.d/20-b.conf': 'net.ipv4.conf.lo.rp_filter = 1\njunk\nnet.nope = 1\n',
  'run/sysctl.d/30-e.conf': 'net.ipv4.ip_default_ttl = x\n-net.ipv4.ip_default_ttl = y\n',
  'usr/lib/sysctl.d/40-null.conf': 'net.ipv4.ip_default_ttl = 7\n',
  'etc/sysctl.d/60-x.txt': 'net.ipv4.ip_default_ttl = 8\n',
  'etc/sysctl.d/.conf': 'net.ipv4.ip_default_ttl = 9\n',
  'etc/sysctl.d/a.conf': 'net.ipv4.ip_default_ttl = 11\n',
  'usr/local/lib/sysctl.d/B.conf': 'net.ipv4.ip_default_ttl = 12\n',
  'etc/sysctl.conf': 'net.ipv4.conf.*.rp_filter = 1\n',
}

describe.skipIf(reason !== null)('sysctl --system', () => {
  const root = reason === null ? mkdtempSync(join(tmpdir(), 'tunwall-sysctl-system-')) : ''
  beforeAll(() => {
    for (const [path, text] of Object.entries(SYSTEM)) {
      mkdirSync(join(root, path, '..'), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    mkdirSync(join(root, 'run/sysctl.d/31-directory.conf'))
    symlinkSync('/dev/null', join(root, 'etc/sysctl.d/40-null.conf'))
    symlinkSync('/nonexistent', join(root, 'etc/sysctl.d/41-dangling.conf'))
  })
  afterAll(() => rmSync(root, { recursive: true, force: true }))

  test.each([
    '--system',
    '-q --system',
    '-e --system',
    '-N --system',
    '-b --system',
    '-n --system -a',
    '-r ttl --system',
    '--system -r ttl',
    '--dry-run --system',
    '--system nope -Q',
    '--sys',
    '-Q --system',
  ])('%s', (line) => {
    const argv = line.split(' ')
    const script = [
      ...['etc/sysctl.d', 'usr/lib/sysctl.d', 'etc/sysctl.conf'].map(
        (p) => `mount --bind ${root}/${p} /${p}`,
      ),
      `mount --bind ${root}/run /run`,
      `mount --bind ${root}/usr/local/lib /usr/local/lib`,
      `exec sysctl ${line}`,
    ].join(' && ')
    const { stdout, stderr, status } = spawnSync('unshare', ['-mn', 'sh', '-c', script], { encoding: 'utf8' })
    const folder = writeFolder(mkdtempSync(join(root, 'host')), { 'host.yaml': 'interfaces: {}\n' })
    const memory = new FrameMemory(4, 2048)
    const egress = new MemoryEgress(memory)
    const host = createEngine(loadHostFolder(folder), { memory, egress, random: new SeededRandom(1) })
    const call = { tool: 'sysctl', directory: '/', argv, stdin: '' }
    expect(runSysctl(call, host, root)).toEqual({ stdout, stderr, code: status })
  })
})
