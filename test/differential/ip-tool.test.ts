// ip(8) of iproute2 in a namespace against ours: command lines from a grammar, in sequences; exit status, output and
// complaints are equal, and so is everything that can be shown afterwards.
//
// TUNWALL_SEED begins at that seed, TUNWALL_SCENARIOS runs that many sequences.

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { ToolResult } from '../../daemon/control/protocol.ts'
import { SeededRandom } from '../harness/frames.ts'
import { IpGrammar } from '../harness/ip-commands.ts'
import { IpWorlds } from '../harness/ip-worlds.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: ip is not compared with the real one: ${reason}`)

const FIRST = Number(process.env.TUNWALL_SEED ?? 2000)
const SEQUENCES = Number(process.env.TUNWALL_SCENARIOS ?? 6)
const LINES = 60
/** Lists of lines: `## NAME` and what is said, one after the other on one host. */
const LISTS = readFileSync(new URL('ip-lines.txt', import.meta.url), 'utf8')
  .split(/^## /m)
  .slice(1)
  .map((section) => {
    const [name = '', ...lines] = section.trim().split('\n')
    return { name, routes: name.endsWith('[routes]'), lines }
  })
const PAUSE = new Int32Array(new SharedArrayBuffer(4))

/** Without what else holds a route just then, a check for duplicates that a batch sees under way, and passing seconds. */
const masked = ({ stdout, ...rest }: ToolResult): ToolResult => ({
  ...rest,
  stdout: stdout
    .replaceAll(
      /(users \d+|age \d+sec) |,"(?:users|age)":\d+|,\n +"(?:users|age)": \d+|tentative |"tentative":true,/g,
      '',
    )
    .replaceAll(
      /(valid_lft |preferred_lft |expires |life_time": ?|"expires": ?)([1-9]\d*)/g,
      (_, key: string, n: string) => `${key}${Math.ceil(Number(n) / 1000)}000`,
    )
    // A link with a queue of no length drops the kernel's MLD reports, which are not sent here (docs/parity.md).
    .replaceAll(
      /(TX: {2}bytes packets errors dropped [^\n\\]*[\n\\](?: +\d+){3} +|"tx":\s*\{[^}]*"dropped":\s*)\d+/g,
      (_, before: string) => `${before}0`,
    ),
})

function compare(
  worlds: IpWorlds,
  argv: readonly string[],
  input: string,
  before: readonly string[],
  seed: number,
): void {
  const real = masked(worlds.real(argv, input))
  const ours = masked(worlds.ours(argv, input))
  // The kernel finishes an IPv6 address behind the command's back (addrconf_dad_work).
  if (argv[0] === 'sysctl' || `${argv.join(' ')}${input}`.includes(':')) Atomics.wait(PAUSE, 0, 0, 4)
  // A receive buffer of -rcvbuf that holds no two messages of the kernel: how long those are follows from its memory.
  if (real.stderr.startsWith('netlink receive error No buffer space available')) return
  expect(
    ours,
    `seed ${seed}, after\n${before.slice(-40).join('\n')}\nthen: ip ${argv.join(' ')}${input === '' ? '' : ` <<< ${JSON.stringify(input)}`}`,
  ).toEqual(real)
}

/** Lines that once differed, one after the other on one host. */
const ONCE = `
link set lo master t2 link-netnsid 5
link set t0 mtu 70000 gso_max_size 65537
link set t0 dynamic on txqlen -1
link show t0
link set t1 txqueuelen 0
link show t1
link set t0 state up
link set t0 mode dormant trailers off
-d link show t0
link set group 9 up
link show down
link xstats type tun
link afstats dev nope
link property frob
link replace t0 up
addr add 10.0.0.2/24 dev t0 valid_lft 4000 preferred_lft 2000
addr add 10.0.0.4/24 dev t0 valid_lft 5000 preferred_lft 0
addr add 2001:db8::2/64 dev t0 valid_lft 4000 preferred_lft 2000
-6 route show
addr add 2001:db8::3/64 dev t0
-6 route show
addr del 2001:db8::3/64 dev t0
-6 route show
addr change 2001:db8::2/64 dev t0 preferred_lft 0
-j addr show t0
addr show deprecated
addr show dynamic
addr add 2001:db8:b::a peer 2001:db8:c::2/64 dev t1
-6 route add 2001:db8:1::/48 dev t0 expires 4000
-6 route add blackhole 2001:db8:5::/48 expires 4000
-6 route add 2001:db8:6::/48 nexthop dev t0 nexthop dev t1
-j -6 route show
-6 route change 2001:db8:1::/48 dev t0
-6 route show
route add 10.8.0.0/16 dev t0 features ecn ttl-propagate enabled
route show
rule add tun_id x
-6 rule del nat 5
route add 10.9.0.0/16 dev t0 encap mpls
route add 10.5.0.0/16 dev t0 encap mpls 100
route ls from 10/8
rule add ipproto udp prohibit pref 50
route get 10.0.0.3
rule del pref 50
-json a show type nope
-6 rule add from 2001:db8:9::9 dport 80 uidrange 0-5 l3mdev prio 200 type blackhole
-6 rule
`
  .trim()
  .split('\n')

describe.skipIf(reason !== null)('ip answers as iproute2', () => {
  test('lines that once differed', () => {
    const worlds = new IpWorlds()
    try {
      const said: string[] = []
      for (const line of ONCE) {
        compare(worlds, line.split(' '), '', said, 0)
        said.push(`ip ${line}`)
      }
    } finally {
      worlds.close()
    }
  })

  test.each(LISTS)('$name', { timeout: 60_000 }, ({ lines, routes }) => {
    const worlds = new IpWorlds(routes)
    try {
      const said: string[] = []
      for (const line of lines) {
        const [command = '', input] = line.split('<<<')
        const argv = [...command.matchAll(/'([^']*)'|(\S+)/g)].map((m) => m[1] ?? m[2]!)
        compare(worlds, argv, input === undefined ? '' : (JSON.parse(input) as string), said, 0)
        said.push(`ip ${line}`)
      }
    } finally {
      worlds.close()
    }
  })

  test.each(Array.from({ length: SEQUENCES }, (_, i) => FIRST + i))(
    'seed %d',
    { timeout: 120_000 },
    (seed) => {
      const worlds = new IpWorlds(seed % 2 === 1)
      try {
        const grammar = new IpGrammar(new SeededRandom(seed))
        const said: string[] = []
        for (let i = 0; i < LINES; i++) {
          const { argv, input } = grammar.step()
          compare(worlds, argv, input, said, seed)
          const words = argv.map((w) => (/^[\w./:+-]+$/.test(w) ? w : `'${w}'`))
          said.push(`ip ${words.join(' ')}${input === '' ? '' : ` <<< ${JSON.stringify(input)}`}`)
          if (i % 4 === 3) for (const all of IpGrammar.everything) compare(worlds, all, '', said, seed)
        }
      } finally {
        worlds.close()
      }
    },
  )
})
