// Our iptables, ip6tables, their -save and -restore and iptables-xml against the real ones (1.8.9, legacy), on random
// command lines with the options of every extension that the kernel has: exit status, both outputs and the ruleset
// afterwards must be the same, byte for byte, but for dates.
//
// TUNWALL_SEED=n starts from that seed; TUNWALL_SESSIONS=n runs so many sessions of 40 commands.

import { appendFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { chainEdits } from '../harness/chain-commands.ts'
import { type Call, CommandDice, kernelHas, masked, realAnswers, whyNot } from '../harness/commands.ts'
import { compare } from '../harness/commands-compare.ts'
import { RealCommands } from '../harness/commands-real.ts'
import { knownExtensions } from '../harness/commands-words.ts'
import { SeededRandom } from '../harness/frames.ts'

const SESSIONS = Number(process.env.TUNWALL_SESSIONS ?? 40)
const COMMANDS = 40
const SEED = Number(process.env.TUNWALL_SEED ?? 950_000)

/** TUNWALL_RECORD=FILE appends calls, the real answers and the ruleset where it changed, for test/unit/daemon/iptables-recorded.test.ts. */
function record(calls: readonly Call[]): void {
  const path = process.env.TUNWALL_RECORD
  if (path === undefined) return
  let before = ''
  const answers = realAnswers(calls).map(([answer, saved]) => {
    const { stdout } = masked(saved)
    const changed = stdout === before ? null : stdout
    before = stdout
    return [masked(answer), changed]
  })
  appendFileSync(path, `${JSON.stringify({ calls, answers })}\n`)
}

const reason = whyNot()
if (reason !== null)
  console.warn(`NOT RUN: iptables' command lines are not compared with the real ones: ${reason}`)
describe.skipIf(reason !== null)(`iptables' command lines${reason === null ? '' : ` (${reason})`}`, () => {
  test(`${SESSIONS} sessions of ${COMMANDS} commands from seed ${SEED}`, () => {
    const has = kernelHas()
    const differences: string[] = []
    for (let i = 0; i < SESSIONS && differences.length < 12; i++) {
      // In turn from a grammar of all options, and from real rules with something changed.
      const calls =
        i % 2 === 0
          ? new CommandDice(SEED + i, { has }).session(COMMANDS)
          : new RealCommands(SEED + i).session(COMMANDS)
      record(calls)
      const difference = compare(calls)
      if (difference !== null) differences.push(`seed ${SEED + i}\n${difference}`)
    }
    expect(differences.join('\n\n')).toBe('')
  })

  test.each(['iptables', 'ip6tables'] as const)(`%s: chains that end early, seed ${SEED}`, (tool) => {
    expect(compare(chainEdits(new SeededRandom(SEED), tool, 150)) ?? '').toBe('')
  })

  test('lines that once differed', () => {
    const lines: (readonly string[])[] = [
      [
        'iptables',
        '-v',
        '-A',
        'INPUT',
        '-m',
        'rateest',
        '--rateest1',
        'a',
        '--rateest-bps1',
        '5',
        '-j',
        'ACCEPT',
      ],
      ['iptables', '-A', 'INPUT', '-s', '::ffff:1.2.3.4', '-j', 'ACCEPT'],
      ['ip6tables', '-A', 'INPUT', '-s', 'fe80::1%lo', '-j', 'ACCEPT'],
      ['ip6tables', '-A', 'OUTPUT', '-p', 'all', '-j', 'ACCEPT'],
      ['ip6tables', '-C', 'OUTPUT', '-j', 'ACCEPT'],
      ['ip6tables', '-C', 'OUTPUT', '-p', '0', '-j', 'ACCEPT'],
      ['ip6tables', '-A', 'OUTPUT', '-j', 'SECMARK', '--selctx', 'x'],
      ...['1.2.3\\.0/0', 'a\\b', '1.2.\\3.0'].map((to) => [
        'ip6tables',
        '-t',
        'nat',
        '-A',
        'PREROUTING',
        '-j',
        'NETMAP',
        '--to',
        to,
      ]),
      ...[
        '--next --dir out --pol none',
        '--pol none --dir in --proto esp',
        '--next --pol none --strict --dir in',
      ].map((words) => ['iptables', ...`-A INPUT -m policy ${words}`.split(' ')]),
      ...[
        '--cluster-local-node 1 --cluster-local-nodemask',
        '--cluster-local-nodemask 1 --cluster-local-node',
      ].flatMap((words) =>
        ['1', '3', '7'].map((n) => [
          'iptables',
          ...`-A INPUT -m cluster --cluster-total-nodes 2 --cluster-hash-seed 1 ${words} ${n}`.split(' '),
        ]),
      ),
      ...['--mode tunnel --mode x', '--proto esp --proto tcp', '--proto esp --proto foo'].map((words) => [
        'iptables',
        ...`-A INPUT -m policy ${words}`.split(' '),
      ]),
      ['iptables', '-A', 'INPUT', '-m', 'set', '--packets-lt', '+1', '--packets-lt', 'x', '-j', 'ACCEPT'],
      ['iptables', '-A', 'INPUT', '-p', 'udp', '-m', 'udp', '--sport', '4294967296', '-j', 'ACCEPT'],
      ['iptables', '-A', 'INPUT', '-p', 'udp', '-m', 'udp', '--sport', '-4294967295', '-j', 'ACCEPT'],
      ['iptables', '-A', 'INPUT', '-m', 'mac', '--mac-source', '00::11:22:33:44', '-j', 'ACCEPT'],
      ['iptables', '-A', 'INPUT', '-m', 'mac', '--mac-source', '-1: 2:+3:4:5:', '-j', 'ACCEPT'],
      ['iptables', '-t', 'nat', '-A', 'INPUT', '-j', 'SNAT', '--to-source', '1.2.3./0'],
      ['iptables', '-A', 'OUTPUT', '-m', 'owner', '--suppl-groups', '--gid-owner', '2', '-j', 'ACCEPT'],
      ['iptables', '-A', 'OUTPUT', '-m', 'owner', '--uid-owner', '3:5', '-j', 'ACCEPT'],
      ['iptables', '-A', 'INPUT', '-m', 'time', '--monthdays', '18446744073709551615', '-j', 'ACCEPT'],
      ['ip6tables', '-A', 'INPUT', '-m', 'ipv6header', '--header', 'all', '-j', 'ACCEPT'],
      [
        'iptables',
        '-t',
        'mangle',
        '-A',
        'INPUT',
        '-j',
        'CONNMARK',
        '--restore-mark',
        '--xor-mark',
        '1',
        '--and-mark',
        '2',
      ],
      ['iptables', '-A', 'INPUT', '-m', 'hashlimit', '--hashlimit-htable-expire', 'x', '-j', 'ACCEPT'],
      ['iptables', '-A', 'INPUT', '-m', 'hashlimit', '--hashlimit-rate-interval', '0x10', '-j', 'ACCEPT'],
      ...['33', '32', '255.0.255.0', '129', '-1'].map((mask) => [
        'iptables',
        ...'-v -A INPUT -m hashlimit --hashlimit-upto 1/s --hashlimit-name n --hashlimit-srcmask'.split(' '),
        mask,
      ]),
      ...['--rateest1 a ! --rateest1 b', '--rateest-bps1 5 ! --rateest-bps1 6'].map((words) => [
        'iptables',
        ...`-A INPUT -m rateest ${words}`.split(' '),
      ]),
      ...['! --ctproto 0', '! --ctstatus EXPECTED --ctproto 0', '--ctproto 0 ! --ctstatus EXPECTED'].map(
        (words) => ['iptables', ...`-A INPUT -m conntrack ${words} -m addrtype --src-type FOO`.split(' ')],
      ),
      ['iptables', ...'-A INPUT -m nfacct --nfacct-name'.split(' '), 'a\nb', '--nfacct-name', 'c'],
      ['iptables', '-A', 'INPUT', '-m', 'iprange', '--dst-range', '2-1', '--src-range', '', '-j', 'ACCEPT'],
    ]
    lines.push(
      ...[
        ...['0x1/0xff', '0X2', '-31', '+1', ' 1', '-1', '33', '08', '0,1'].map((days) => [
          '--weekdays',
          days,
        ]),
        ...['+1', '-0', '08', ' 1,2', '0x'].map((days) => ['--monthdays', days]),
        ...['1970-01-0', '4294969296', '2000-4294967298'].map((date) => ['--datestart', date]),
        ['--timestart', '4294967297:0'],
      ].map((words) => ['iptables', '-A', 'INPUT', '-m', 'time', ...words]),
      ...['65536', '-0', '0x0a000001', '-1'].map((label) => [
        'iptables',
        ...`-A INPUT -m connlabel --label ${label}`.split(' '),
      ]),
      ...['4294967297', '4294967297/day', '-1kb/s', '18014398509481985kb/s'].map((rate) => [
        'iptables',
        ...`-A INPUT -m hashlimit --hashlimit-name n --hashlimit-upto ${rate}`.split(' '),
      ]),
      ['iptables', ...'-t mangle -A INPUT -p tcp -j TCPOPTSTRIP --strip-options mss,2'.split(' ')],
      ['iptables', ...'-t raw -A PREROUTING -j CT --zone MARK'.split(' ')],
      ...['-0', 'nan', '-1e-400', '-1e-320', '0x.8', '5.'].map((p) => [
        'iptables',
        ...`-A INPUT -m statistic --mode random --probability ${p}`.split(' '),
      ]),
      ...['2147483648', '4294967297', '-4294967291', '010', '+5'].map((n) => [
        'iptables',
        ...`-A INPUT -m hashlimit --hashlimit-name k --hashlimit-upto 5/s --hashlimit-rate-match --hashlimit-rate-interval ${n}`.split(
          ' ',
        ),
      ]),
      // What has a name must be of one kind in all rules that say it.
      ...[
        '-m hashlimit --hashlimit-name n --hashlimit-upto 5/s --hashlimit-htable-size 2000000 --hashlimit-htable-max 1048577',
        '-m hashlimit --hashlimit-name n --hashlimit-upto 5/s --hashlimit-rate-match',
        '-m hashlimit --hashlimit-name m --hashlimit-upto 5/s --hashlimit-rate-match',
        '-m hashlimit --hashlimit-name m --hashlimit-above 5kb/s --hashlimit-rate-match',
        '-m hashlimit --hashlimit-name m --hashlimit-above 5kb/s',
        '-j RATEEST --rateest-name a --rateest-interval 1s --rateest-ewmalog 2s',
        '-j RATEEST --rateest-name a --rateest-interval 1s --rateest-ewmalog 8s',
        '-j RATEEST --rateest-name a --rateest-interval 2s --rateest-ewmalog 2s',
        '-j RATEEST --rateest-name a --rateest-interval 1000ms --rateest-ewmalog 2s',
        '-j IDLETIMER --timeout 5 --label x',
        '-j IDLETIMER --timeout 5 --label x --alarm',
        '-j IDLETIMER --timeout 7 --label x',
        '-j IDLETIMER --timeout 7 --label y --alarm',
        '-j IDLETIMER --timeout 5 --label y',
      ].flatMap((words) =>
        ['INPUT', 'INPUT -t mangle'].map((where) => ['iptables', ...`-A ${where} ${words}`.split(' ')]),
      ),
      ['iptables', ...'-R INPUT 1 -m hashlimit --hashlimit-name m --hashlimit-above 5kb/s'.split(' ')],
      ['iptables', '-F'],
      ['iptables', '-F', '-t', 'mangle'],
    )
    const named = [
      '-s loopback',
      '-s LOOPBACK/8 -d link-local/16',
      '-s default',
      '! -d default/8',
      '-s 169.254.0.0/16 ! -d 0.0.0.0/32',
      '-s lo',
      '-m conntrack --ctorigsrc 127.0.0.0/8 --ctrepldst 0.0.0.0/8 ! --ctreplsrc 169.254.0.0',
      '-m conntrack --ctorigsrc 127.0.0.1/255.0.255.0 --ctorigdst 0.0.0.0',
      '-m conntrack --ctorigsrc LocalHost/8',
      '-m conntrack --ctorigsrc loopback',
      '-m recent --set --mask localhost',
      '-m policy --dir in --pol ipsec --strict --mode tunnel --tunnel-src localhost/8',
      '-m recent --rttl ! --remove',
      '-j TTL --ttl-dec 1 --ttl-inc 1 --ttl-set 1',
      '-j TTL --ttl-inc 1 --ttl-dec 1',
      '-m recent --rcheck --rttl --remove',
      '-j TEE --gateway 127.0.0.0 -t mangle',
      '-j TEE --gateway localhost -t mangle',
    ]
    const named6 = [
      '-j HL --hl-dec 1 --hl-inc 1 --hl-set 1',
      '-m connlabel --label  --set --set',
      '-s ::/16 ! -d ::/128',
      '-s ::1/64',
      '-s localhost',
      '-s loopback',
      '-m conntrack --ctorigsrc ::/16 --ctrepldst ::1 --ctreplsrc localhost/64',
      '-s ::1',
    ]
    for (const [tool, all] of [
      ['iptables', named],
      ['ip6tables', named6],
    ] as const) {
      for (const words of all)
        lines.push(
          [tool, ...`-A INPUT ${words}`.split(' ')],
          [tool, ...`-A PREROUTING ${words} -t mangle`.split(' ')],
        )
      for (const words of ['-L', '-nL', '-vL', '-S']) lines.push([tool, words, '-t', 'mangle'], [tool, words])
    }
    const calls: Call[] = lines.map(([tool, ...argv]) => ({ tool: tool as Call['tool'], argv, stdin: '' }))
    const zeroed =
      '*filter\n:INPUT ACCEPT [5:6]\n[3:4] -A INPUT -j ACCEPT\n-A INPUT -j DROP\n-Z INPUT\n-Z\nCOMMIT\n'
    calls.push({ tool: 'iptables-restore', argv: ['-c'], stdin: zeroed })
    const listed = [
      '-A a -j RETURN\n-S',
      '-A a -j b\n-S',
      '-A a -g b\n-vS',
      'COMMIT\n*filter\n-A b -j a\n-S b',
      '-L',
    ]
    for (const text of listed)
      calls.push({
        tool: 'iptables-restore',
        argv: ['-n'],
        stdin: `*filter\n:a - [0:0]\n:b - [0:0]\n${text}\nCOMMIT\n`,
      })
    calls.push({ tool: 'iptables', argv: ['-A', 'a', '-s', '1.1.1.1,2.2.2.2', '-j', 'b', '-v'], stdin: '' })
    expect(compare(calls)).toBeNull()
  })

  test('ip6tables -C: what it looks at of sets', () => {
    const calls: Call[] = []
    const run = (words: string): void => {
      calls.push({ tool: 'ip6tables', argv: words.split(' ').filter((word) => word !== ''), stdin: '' })
    }
    const pairs: readonly (readonly [string, string])[] = [
      ['--match-set s6 src', '--match-set list src'],
      ['--match-set list dst', '--match-set s6 src'],
      ['--match-set s6 src', '--match-set s6 dst'],
      ['! --match-set s6 src', '--match-set s6 src'],
      ['--match-set s6 src --packets-eq 5', '--match-set s6 src --packets-lt 6'],
      ['--match-set s6 src --return-nomatch', '--match-set s6 src'],
    ]
    const places = ['', '-p tcp', '-s fd00::ffff:ffff:ffff:ffff', '-d fd00::ffff', '-i eth0']
    for (const place of places) {
      for (const end of ['', '-j ACCEPT', '-j LOG'])
        for (const other of ['', '-m mark --mark 1', '-m comment --comment ab'])
          for (const [there, asked] of pairs) {
            run('-F INPUT')
            run(`-A INPUT ${place} ${other} -m set ${there} ${end}`)
            run(`-C INPUT ${place} ${other} -m set ${asked} ${end}`)
          }
      for (const [there, asked] of [
        ['--add-set s6 src', '--add-set list src'],
        ['--add-set s6 src', '--del-set list src'],
        ['--add-set s6 src --exist', '--add-set s6 src'],
        ['--add-set s6 src --timeout 5', '--add-set s6 src --timeout 6'],
      ]) {
        run('-F INPUT')
        run(`-A INPUT ${place} -j SET ${there}`)
        run(`-C INPUT ${place} -j SET ${asked}`)
      }
    }
    expect(compare(calls)).toBeNull()
  })

  test('names of users and groups', () => {
    const owners = [
      'root',
      'daemon',
      'www-data',
      'nobody',
      '33',
      '65534',
      '1000',
      '1-2',
      'root-daemon',
      'nope',
      '0x21',
    ]
    const calls = owners.flatMap((owner) =>
      [`--uid-owner ${owner}`, `! --gid-owner ${owner}`].map(
        (words): Call => ({
          tool: 'iptables',
          argv: `-A OUTPUT -m owner ${words}`.split(' '),
          stdin: '',
        }),
      ),
    )
    for (const argv of [['-L', 'OUTPUT'], ['-nL', 'OUTPUT'], ['-S']])
      calls.push({ tool: 'iptables', argv, stdin: '' })
    expect(compare(calls)).toBeNull()
  })

  test('help of every extension', () => {
    const has = kernelHas()
    const calls = knownExtensions().flatMap((known) =>
      ([4, 6] as const).flatMap((family) =>
        has(known, family)
          ? [
              {
                tool: family === 4 ? ('iptables' as const) : ('ip6tables' as const),
                argv: [known.kind === 'match' ? '-m' : '-j', known.name, '-h'],
                stdin: '',
              },
            ]
          : [],
      ),
    )
    expect(calls.length).toBeGreaterThan(100)
    expect(compare(calls)).toBeNull()
  })

  test('lines of ten megabytes and bytes of no text leave the old rules in force', () => {
    const huge = 10_000_000
    const dice = new CommandDice(SEED)
    const noise = Array.from({ length: 300_000 }, () => String.fromCharCode(dice.below(256))).join('')
    const calls: Call[] = []
    for (const program of ['iptables', 'ip6tables'] as const) {
      const run = (tool: Call['tool'], argv: readonly string[], stdin = ''): void => {
        calls.push({ tool, argv, stdin })
      }
      run(program, [
        '-A',
        'INPUT',
        '-i',
        '\xff\xfe',
        '-m',
        'comment',
        '--comment',
        '\xc3\x28 "\x80',
        '-j',
        'DROP',
      ])
      for (const stdin of [
        `*filter\n-A INPUT ${'x'.repeat(huge)}\nCOMMIT\n`,
        `*filter\n-A INPUT${' -i lo'.repeat(huge / 6)}\nCOMMIT\n`,
        `*filter\n-A INPUT -m comment --comment "${'"'.repeat(huge)}\nCOMMIT\n`,
        `#${'c'.repeat(huge)}`,
        `*${'t'.repeat(huge)}\n`,
        `*filter\n:${'c'.repeat(huge)} - [0:0]\nCOMMIT\n`,
        `*filter\n[${'1'.repeat(huge)}:1] -A INPUT\nCOMMIT\n`,
        '\0'.repeat(huge),
        '\n'.repeat(huge / 10),
        noise,
        `*filter\n${noise}`,
      ])
        run(`${program}-restore`, ['-c'], stdin)
      run(program, ['-S'])
    }
    expect(compare(calls)).toBeNull()
  })
})
