// A real host taken home: a namespace with everything iproute2 knows to say, captured with the commands of
// docs/host-folder.md, must load, have the kernel's routes, and route as the kernel does.
//
//     namespace ─ ip -j …, sysctl, iptables-save ─▶ host folder ─▶ engine ─┐
//         └─ ip route get ─────────────────────────────────────────────────┴─ same way out?

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { afterFiles } from '../../daemon/after.ts'
import { ipTool } from '../../daemon/cli/ip.ts'
import { createEngine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { SeededRandom } from '../../daemon/random.ts'
import { newFlowKey, type Route, RouteType } from '../../datapath/fib.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { formatAddress, parseIpv4 } from '../../datapath/wire/address.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const missing = whyNoKernel()
const namespace = `twfolder${process.pid}`
const directory = mkdtempSync(join(tmpdir(), 'tunwall-home-'))

afterAll(() => {
  rmSync(directory, { recursive: true })
  if (missing === null) spawnSync('ip', ['netns', 'del', namespace])
})

/** Runs a shell line in the namespace. */
function shell(line: string): { status: number; stdout: string; stderr: string } {
  const done = spawnSync('ip', ['netns', 'exec', namespace, 'sh', '-c', line], { encoding: 'utf8' })
  return { status: done.status ?? 1, stdout: done.stdout, stderr: done.stderr }
}

const SETUP = `
ip link set lo up
ip tuntap add dev eth0 mode tun
ip tuntap add dev tun.15 mode tun
ip tuntap add dev tap0 mode tap
ip tuntap add dev down0 mode tun
ip link set eth0 up mtu 1400
ip link set tun.15 up
ip link set tap0 up
ip addr add 10.0.0.1/24 brd + dev eth0
ip addr add 10.0.0.2/24 dev eth0 label eth0:two
ip addr add 10.1.0.1 peer 10.1.0.2/32 dev tun.15
ip addr add 10.5.0.1/16 metric 77 dev tap0
ip addr add 10.6.0.1/24 noprefixroute dev tap0
ip addr add 10.7.0.1/24 dev down0
ip addr add 2001:db8::1/64 dev eth0 nodad
ip link property add dev eth0 altname uplink altname averyveryverylongnameindeed
ip link property add dev tap0 altname lan0
ip route add default via 10.0.0.9
ip route add default via 10.5.0.9 metric 5
ip route add 20.0.0.0/8 via 10.0.0.8 metric 100 mtu 1300 src 10.0.0.2
ip route add 20.1.0.0/16 dev tun.15 proto static
ip route add blackhole 20.2.0.0/16
ip route add unreachable 20.3.0.0/16 metric 5
ip route add prohibit 20.4.0.0/16
ip route add throw 20.5.0.0/16 table 100
ip route add default table 100 via 10.0.0.7
ip route add 20.6.0.0/16 nexthop via 10.0.0.7 weight 2 nexthop via 10.5.0.7 weight 3
ip route add 20.7.0.0/16 via 9.9.9.9 dev eth0 onlink
ip route add 20.8.0.0/16 tos 0x10 via 10.0.0.3
ip route add 20.8.0.0/16 via 10.0.0.4
ip route add local 20.9.0.0/16 dev lo
ip route add broadcast 20.10.0.255 dev eth0
ip route add 20.11.0.0/16 via 10.0.0.3 realms 3 table 4000000000
ip route add 20.12.0.1 via inet6 fe80::1 dev tap0
ip route add multicast 224.1.0.0/16 dev eth0
ip rule add fwmark 1 table 100 priority 50
ip rule add fwmark 0x2/0xf table 4000000000
ip rule add from 10.6.0.1 unreachable
ip rule add to 20.1.0.0/16 fwmark 3 prohibit
ip rule add not to 20.0.0.0/8 fwmark 4 blackhole
ip rule add fwmark 5 lookup main suppress_prefixlength 0
ip rule add fwmark 6 goto 32766
ip rule add iif lan0 lookup 100
ip rule add oif uplink lookup main priority 45
ip -6 route add default via 2001:db8::9 dev eth0
ip -6 rule add from 2001:db8::/32 table 7
sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.conf.tap0.forwarding=0 net.ipv4.conf.tun/15.rp_filter=2
iptables-legacy -A FORWARD -i eth0 -p tcp -m tcp --dport 22 -j ACCEPT
iptables-legacy -t mangle -A PREROUTING -i tun.+ -j MARK --set-mark 7
`

/** docs/host-folder.md, "Taking a real host home". */
const CAPTURE = `
iptables-legacy-save -c > iptables-save;   ip6tables-legacy-save -c > ip6tables-save
ip -j addr > ip-addr.json
ip -j route show table all > ip-route.json;   ip -6 -j route show table all > ip6-route.json
ip -j rule > ip-rule.json;   ip -6 -j rule > ip6-rule.json
sysctl net > sysctl 2> /dev/null
`

const line = (r: Route): string =>
  [
    r.type,
    formatAddress(r.family, r.dst),
    r.prefixLength,
    r.table,
    r.metric,
    r.tos,
    r.device?.name ?? '-',
    r.protocol,
  ].join(' ')

test.skipIf(missing !== null)(
  `a captured host is the host${missing === null ? '' : ` (skipped: ${missing})`}`,
  () => {
    expect(spawnSync('ip', ['netns', 'add', namespace]).status).toBe(0)
    const setup = shell(`set -e\n${SETUP}`)
    expect(setup.stderr).toBe('')
    expect(shell(`cd ${directory}\n${CAPTURE}`).status).toBe(0)

    const memory = new FrameMemory(16, 2000)
    const config = loadHostFolder(directory)
    const engine = createEngine(config, {
      memory,
      egress: new MemoryEgress(memory),
      random: new SeededRandom(1),
    })
    const { host } = engine

    // Every route of the files is there, and no other.
    const listed = (file: string): number =>
      (
        JSON.parse(readFileSync(join(directory, file), 'utf8')) as {
          dst: string
          gateway?: string
          pref?: string
        }[]
      ).filter((r) => (r.pref !== undefined) === (file === 'ip6-route.json')).length
    expect(host.fib.routes(4)).toHaveLength(listed('ip-route.json'))
    expect(host.fib.routes(6)).toHaveLength(listed('ip6-route.json'))
    expect(host.fib.routes(4).map(line)).toContain('1 20.0.0.0 8 254 100 0 eth0 boot')
    expect(host.fib.rules(4)).toHaveLength(
      JSON.parse(readFileSync(join(directory, 'ip-rule.json'), 'utf8')).length,
    )

    // What is printed back is what was read.
    const comments = (text: string): string =>
      text.replaceAll(/^#.*\n/gm, '').replaceAll(/\[\d+:\d+\] ?/g, '')
    const sorted = (text: string): string => comments(text).split('COMMIT\n').sort().join()
    const after = new Map(afterFiles(engine))
    expect(sorted(after.get('iptables-save')!)).toBe(
      sorted(readFileSync(join(directory, 'iptables-save'), 'utf8')),
    )
    const differing = readFileSync(join(directory, 'sysctl'), 'utf8')
      .split('\n')
      .filter((text) => text.includes(' = '))
      .filter((text) => {
        const [name, value] = text.split(' = ') as [string, string]
        return host.tunables.text(name)?.trim() !== value.trim()
      })
      // Counters of the machine, not of this host, and what its kernel has loaded for anybody.
      .filter(
        (text) =>
          !/nf_conntrack_(count|buckets)|\.mtu |tcp_(allowed|available)_congestion_control/.test(text),
      )
    expect(differing).toEqual([])

    // Other names: whatever takes a name takes them, and the first one is shown.
    const ip = (line: string): string =>
      ipTool.run({ tool: 'ip', directory: '/', argv: line.split(' '), stdin: '' }, engine).stdout
    // Nobody is behind the namespace's devices.
    const connected = (text: string): string =>
      text.replace(
        /"?NO-CARRIER"?,|,"?LOWER_UP"?|state \w+ |"operstate":"\w+",|(UNKNOWN|DOWN) +| linkdown/g,
        '',
      )
    for (const line of [
      'link show dev uplink',
      '-j link show dev lan0',
      '-br addr show dev averyveryverylongnameindeed',
      'rule show',
      'rule show iif lan0',
      '-4 route show dev uplink table all',
      'route get 10.0.0.77 oif uplink',
      'route get 10.0.0.77 from 10.5.0.8 iif lan0',
    ])
      expect(connected(ip(line)), line).toBe(connected(shell(`ip ${line}`).stdout))

    // The way out, as `ip route get` says it.
    const random = new SeededRandom(Number(process.env.TUNWALL_SEED ?? 1))
    const pick = <T>(of: readonly T[]): T => of[random.u32() % of.length]!
    const questions = Array.from({ length: 300 }, () => ({
      dst: pick([
        `20.${random.u32() % 13}.0.${pick([1, 2, 255])}`,
        `10.${random.u32() % 8}.0.${1 + (random.u32() % 12)}`,
        `${pick(['8.8.8.8', '127.0.0.1', '224.1.0.7', '10.0.0.255', '10.5.255.255', '1.1.1.1'])}`,
      ]),
      mark: pick([0, 0, 1, 2, 3, 4, 5, 6, 18]),
      tos: pick([0, 0, 0x10, 0x20]),
    }))
    const wrong: string[] = []
    for (const { dst, mark, tos } of questions) {
      const asked = shell(`ip -j route get ${dst} mark ${mark} tos ${tos.toString(16)}`)
      const key = newFlowKey()
      key.d0 = parseIpv4(dst)!
      key.mark = mark
      key.tos = tos
      const route = host.fib.output(key)
      const ours =
        route === null
          ? 'no route'
          : `${route.type} ${route.device!.name} ${route.gateway === null ? '-' : formatAddress(4, route.gateway)}`
      let theirs = 'no route'
      if (asked.status === 0) {
        const [told] = JSON.parse(asked.stdout) as [Record<string, unknown>]
        const type = {
          local: RouteType.Local,
          broadcast: RouteType.Broadcast,
          multicast: RouteType.Multicast,
        }[String(told.type)]
        theirs = `${type ?? RouteType.Unicast} ${told.dev} ${told.gateway ?? '-'}`
      }
      // Several next hops: the kernel's choice follows a key that it draws at boot.
      if (ours !== theirs && !dst.startsWith('20.6.'))
        wrong.push(`${dst} mark ${mark} tos ${tos}: ${ours}, kernel: ${theirs}`)
    }
    expect(wrong).toEqual([])
  },
)

test.skipIf(missing !== null)('a folder whose files are empty says so in one line', () => {
  writeFileSync(join(directory, 'ip-rule.json'), '')
  expect(() => loadHostFolder(directory)).toThrow(
    /ip-rule\.json:1:1: not JSON: expected a value, not the end of the file$/,
  )
})
