// Our iptables, ip6tables, their -save and -restore and iptables-xml against the real ones (1.8.9, legacy), on random
// command lines with the options of every extension that the kernel has: exit status, both outputs and the ruleset
// afterwards must be the same, byte for byte, but for dates.
//
// TUNWALL_SEED=n starts from that seed; TUNWALL_SESSIONS=n runs so many sessions of 40 commands.

import { appendFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { TABLE_NAMES } from '../../rules/model.ts'
import { chainEdits } from '../harness/chain-commands.ts'
import { type Call, CommandDice, kernelHas, masked, realAnswers, whyNot } from '../harness/commands.ts'
import { compare } from '../harness/commands-compare.ts'
import { RealCommands } from '../harness/commands-real.ts'
import { knownExtensions } from '../harness/commands-words.ts'
import { SeededRandom } from '../harness/frames.ts'
import { restoreEdits } from '../harness/restore-edits.ts'

const SESSIONS = Number(process.env.TUNWALL_SESSIONS ?? 40)
const COMMANDS = 40
const SEED = Number(process.env.TUNWALL_SEED ?? 950_000)

/** Every table as libiptc sees it, with the sizes of what its rules have. */
const DUMPS: readonly Call[] = (['iptables', 'ip6tables'] as const).flatMap((tool) =>
  TABLE_NAMES.map((table) => ({ tool, argv: ['-t', table, '-vvS'], stdin: '' })),
)

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
      calls.push(...DUMPS)
      record(calls)
      const difference = compare(calls)
      if (difference !== null) differences.push(`seed ${SEED + i}\n${difference}`)
    }
    expect(differences.join('\n\n')).toBe('')
  })

  test.each(['iptables', 'ip6tables'] as const)(`%s: chains that end early, seed ${SEED}`, (tool) => {
    expect(compare(chainEdits(new SeededRandom(SEED), tool, 150)) ?? '').toBe('')
  })

  test.each(['iptables', 'ip6tables'] as const)(`%s: edits of restored tables, seed ${SEED}`, (tool) => {
    for (let seed = SEED; seed < SEED + Math.ceil(SESSIONS / 20); seed++)
      expect(compare(restoreEdits(new SeededRandom(seed), tool, 60)) ?? '').toBe('')
  })

  test.each([
    ['-Z A', '-S A -v'],
    ['-A A -p tcp', '-Z A', '-L A -v'],
    ['-Z A 1', '-S A -v', '-E A B'],
    ['-P INPUT DROP', '-S -v', '-Z'],
    // The verdict at the same place as before, and a loop in front of it now.
    ['-D A 1', '-D A 1', '-A A -j ACCEPT'],
  ])('restored without flushing: %j', (...lines) => {
    const table = [':INPUT ACCEPT [3:4]', ':A - [0:0]', '[1:2] -A INPUT -j A']
    const rules = ['[5:6] -A A -p tcp -j ACCEPT', '[7:8] -A A -j ACCEPT', '-A A -j A']
    const restore = (argv: readonly string[], text: readonly string[]): Call => ({
      tool: 'iptables-restore',
      argv,
      stdin: `*filter\n${text.join('\n')}\nCOMMIT\n`,
    })
    expect(compare([restore(['-c'], [...table, ...rules]), restore(['-n'], lines)]) ?? '').toBe('')
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
      ...['-j ! -TTL -vn', '-s ! -TT', '! -TT', '-s 1 ! -TT'].map((words) => [
        'iptables',
        '-A',
        'INPUT',
        ...words.split(' '),
      ]),
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
      ...[
        '! --bytes-eq 64 ! --bytes-gt 1:2:3',
        '--bytes-eq 64 ! --bytes-gt x',
        '--packets-eq x ! --packets-lt 2',
        '! --packets-lt x',
        '--bytes-gt 1 --packets-lt 2 --bytes-gt x',
      ].map((words) => ['iptables', ...`-A INPUT -m set ${words} -j ACCEPT`.split(' ')]),
      ...['512KB/S', '512kb/s', '5/s'].flatMap((rate) =>
        ['1mb', '1', '2000000', 'x'].map((burst) => [
          'iptables',
          ...`-A INPUT -m hashlimit --hashlimit-upto ${rate} --hashlimit-burst ${burst} --hashlimit-name n --foo`.split(
            ' ',
          ),
        ]),
      ),
      ['iptables', '-A', 'INPUT', '-m', 'iprange', '--dst-range', '2-1', '--src-range', '', '-j', 'ACCEPT'],
      // What is said of a word is said when it is read.
      ...[
        ['-m', 'physdev', '--physdev-in', 'a b', '-W', '100'],
        ['-W', '100', '-m', 'physdev', '--physdev-in', 'a b'],
        ['-m', 'physdev', '--physdev-in', 'a b', '-w', '-W', '100', '-i', 'c d', '-j', 'ACCEPT'],
        [
          '-m',
          'physdev',
          '--physdev-in',
          'a b',
          '-i',
          'c d',
          '-m',
          'physdev',
          '--physdev-is-in',
          '-j',
          'ACCEPT',
        ],
        ['-i', 'c d', '-m', 'physdev', '--physdev-in', 'a b', '-m', 'limit', '--limit', 'x', '-W', '100'],
      ].map((words) => ['iptables', '-A', 'INPUT', ...words]),
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
      // A rate whose burst 1.8.9 divides by nothing: what stands in front of it is refused first.
      ['iptables', ...'-A INPUT -j SET --add-set nope src -m hashlimit'.split(' ')].concat(
        '--hashlimit-above 1gb/s --hashlimit-burst 60 --hashlimit-name n'.split(' '),
      ),
      ['iptables', ...'-A INPUT -m hashlimit --hashlimit-above 1gb/s --hashlimit-burst 60'.split(' ')].concat(
        '--hashlimit-name n -j TTL --ttl-set 5 --ttl-set 5'.split(' '),
      ),
      // Lower case is ASCII's.
      ['ip6tables', '-A', 'INPUT', '-p', 'TCP\xc9\xd9'],
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

  test('-v twice: what libiptc has', () => {
    const calls: Call[] = []
    for (const tool of ['iptables', 'ip6tables'] as const) {
      const run = (words: string): void => {
        calls.push({ tool, argv: words.split(' '), stdin: '' })
      }
      const four = tool === 'iptables'
      const both = [
        '-N b',
        '-N a',
        '-A FORWARD -i + -o eth+ -j a',
        '-A FORWARD ! -i lo ! -o ethethethetheth -g b',
        '-A FORWARD ! -i + -p all -j QUEUE',
        '-A a -j b',
        '-A a',
        '-A a -p tcp ! --dport 5 -j RETURN',
        '-A b -c 5 18446744073709551615 -m comment --comment x -m state --state NEW -m limit -m mark --mark 1',
        '-A INPUT -m hashlimit --hashlimit-upto 5/s --hashlimit-name h -m recent --set -m time -m addrtype --src-type LOCAL',
        `-A INPUT -m iprange --src-range ${four ? '1.1.1.1-1.1.1.2' : '::1-::2'} -j LOG`,
        '-A INPUT -p tcp -m multiport --ports 1:2,3 -m string --string x --algo bm -m statistic --mode nth --every 2 -j REJECT',
        '-A INPUT -p udp -m udp --sport 5 -m length --length 4 -m connlimit --connlimit-above 3 -m u32 --u32 0=0 -j NFLOG',
        '-A INPUT -m policy --pol none --dir in -m owner --uid-owner 0 -j NFQUEUE',
        '-A INPUT -m rpfilter',
        '-A OUTPUT -m owner --uid-owner 0 -m connmark --mark 1 -m conntrack --ctstate NEW -m helper --helper ftp',
        '-A OUTPUT -p sctp -m sctp --chunk-types any DATA -m quota --quota 5 -m pkttype --pkt-type host -m cpu --cpu 0',
        '-P FORWARD DROP',
        '-t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 5',
        `-t nat -A PREROUTING -j DNAT --to-destination ${four ? '1.1.1.1' : '::1'}`,
        `-t nat -A PREROUTING -j NETMAP --to ${four ? '1.1.1.0/24' : '::/64'}`,
        '-t nat -A POSTROUTING -j MASQUERADE',
        `-t nat -A POSTROUTING -j SNAT --to-source ${four ? '1.1.1.1' : '::1'}`,
        '-t raw -A PREROUTING -j NOTRACK',
        '-t raw -A PREROUTING -j CT --zone 5',
        '-t raw -A OUTPUT -j TRACE',
        '-t mangle -A PREROUTING -j MARK --set-mark 1',
        '-t mangle -A PREROUTING -j CONNMARK --save-mark',
        '-t mangle -A PREROUTING -p tcp -j TPROXY --on-port 5',
        '-t mangle -A FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu',
        '-t mangle -A FORWARD -p tcp -j TCPOPTSTRIP --strip-options 5',
        `-t mangle -A FORWARD -j TEE --gateway ${four ? '1.1.1.1' : '::1'}`,
        '-t mangle -A FORWARD -j DSCP --set-dscp 5',
        '-t mangle -A FORWARD -j TOS --set-tos 5',
        '-t mangle -A FORWARD -j CLASSIFY --set-class 1:1',
        '-t mangle -A FORWARD -j HMARK --hmark-tuple src --hmark-mod 5 --hmark-rnd 5',
        '-t security -A INPUT -j CONNSECMARK --save',
      ]
      const own = four
        ? [
            '-A INPUT ! -s 1.2.3.4 -d 1.2.3.4/255.0.255.0 ! -f',
            '-A INPUT -f -m ttl --ttl-eq 5 -j DROP',
            '-A INPUT -p ah -m ah --ahspi 5',
            '-A INPUT -m realm --realm 5',
            '-A INPUT -p tcp -m osf --genre Linux',
            '-A INPUT -p icmp --icmp-type 8 -j REJECT --reject-with icmp-host-prohibited',
            '-A INPUT -p tcp -m ecn --ecn-tcp-cwr',
            '-t mangle -A FORWARD -j TTL --ttl-set 5',
            '-t mangle -A FORWARD -p tcp -j ECN --ecn-tcp-remove',
          ]
        : [
            '-A INPUT ! -s 1::/64 ! -d 2::1.2.3.4/ffff:0:ffff::',
            '-A INPUT -p 0 -s ::ffff:1.2.3.4 -m hl --hl-eq 5',
            '-A INPUT -m ah --ahspi 5 -m frag --fragid 5 -m rt --rt-type 0 -m hbh --hbh-len 8 -m dst --dst-len 8',
            '-A INPUT -m ipv6header --header hop -m eui64',
            '-A INPUT -p icmpv6 --icmpv6-type 128',
            '-A INPUT -p mh --mh-type 1',
            '-A INPUT -m srh --srh-segs-left 1',
            '-t mangle -A FORWARD -j HL --hl-set 5',
            '-t mangle -A POSTROUTING -j SNPT --src-pfx 1::/64 --dst-pfx 2::/64',
          ]
      for (const words of [...both, ...own]) run(words)
      calls.push(...DUMPS)
      for (const words of [
        '-vv -L -n',
        '-v -v -Z',
        '--verbose --verbose -S b 1',
        '-vvv -L nix',
        '-vv -S nix',
        '-vv -A nix',
        '-vv -A INPUT -j nix',
        '-vv -A INPUT -g nix',
        `-vv -A INPUT -s ${four ? '1.1.1.1,1.1.1.2' : '::1,::2'} -j ACCEPT`,
        '-vv -I INPUT 99',
        '-vv -I INPUT 2 -j a',
        '-vv -R INPUT 2 -j DROP',
        '-vv -D INPUT 99',
        '-vv -D INPUT 2',
        '-vv -D INPUT -p 99',
        '-vv -C INPUT -p 99',
        '-vv -E b c',
        '-vv -N b',
        '-vv -N b',
        '-vv -N ACCEPT',
        '-vv -X a',
        '-vv -X b',
        '-vv -P INPUT DROP',
        '-vv -P nix DROP',
        '-vv -P INPUT RETURN',
        '-vv -X INPUT',
        '-vv -E INPUT x',
        '-vv -E x y',
        '-vv -D nix 1',
        '-vv -D nix -j ACCEPT',
        '-vv -F nix',
        '-vv -Z INPUT 99',
        '-vv -R INPUT 99 -j ACCEPT',
        '-vv -L -Z',
        '-vv -S -Z INPUT 1',
        '-vv -Z INPUT 1',
        '-vv -A FORWARD -j INPUT',
        '-vv -t nix -L',
        '-vv -h',
        '-vv -F',
        '-vv -X',
      ])
        run(words)
      const lines =
        '*filter\n:z - [0:0]\n-A z -v -j DROP\n[1:2] -A z -vv -j ACCEPT\n-A z -v\n-S -v\nCOMMIT\n*nat\n-vv -L\n-L\nCOMMIT\n'
      for (const argv of [[], ['-v'], ['-vv'], ['-tv'], ['-nv'], ['-n'], ['-cv']])
        calls.push({ tool: `${tool}-restore`, argv, stdin: lines })
    }
    expect(compare([...calls, ...DUMPS]) ?? '').toBe('')
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

  test('--set of a match, which recent and set both have', () => {
    const calls = [
      '-m set --set s4 src,dst',
      '-m set ! --set s4 src -m recent --set',
      '-m recent --set -m set --set s4 src',
      '-m recent --set -m set --match-set s4 src -m recent --set',
      '-m set -m recent --set',
      '-m set --se s4 src',
      '-m set --set=s4 src',
      '-m set --set s4',
      '-m set --set nosuch src',
      '-m set --set s4 src --set s4 src',
      '-m set --set s4 src --packets-eq x',
      '-m set --packets-eq x --set s4 src',
      '-m set --match-set s4 src,',
      '-m set --match-set s4 src,src,src,src,src,src,',
      '-j SET --add-set s4 ,',
    ].map((words): Call => ({ tool: 'iptables', argv: `-A INPUT ${words}`.split(' '), stdin: '' }))
    expect(compare([...calls, ...DUMPS])).toBeNull()
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
