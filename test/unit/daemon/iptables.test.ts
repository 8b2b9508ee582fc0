// iptables, iptables-save and iptables-restore by hand: one case for each thing a person should be able to look up.

import { expect, test } from 'vitest'
import { OurTools } from '../../harness/commands.ts'

function host() {
  const tools = new OurTools()
  const run = (line: string, stdin = '') => {
    const [tool, ...argv] = line.split(' ')
    return tools.run({ tool: tool as 'iptables', argv, stdin })
  }
  return {
    run,
    ok(line: string, stdin = ''): string {
      const answer = run(line, stdin)
      expect(answer, line).toMatchObject({ code: 0, stderr: '' })
      return answer.stdout
    },
    rules: (table = 'filter'): string[] => run(`iptables -t ${table} -S`).stdout.trimEnd().split('\n'),
  }
}

test('lists with counters, interfaces, numbers and abbreviations', () => {
  const { ok } = host()
  ok('iptables -N web')
  ok('iptables -A FORWARD -i eth+ ! -s 10.0.0.0/8 -p tcp --dport 80 -c 123456 9999999 -j web')
  ok('iptables -A web -j REJECT -c 10000000000 5')
  expect(ok('iptables -nvL --line-numbers')).toBe(`Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
num   pkts bytes target     prot opt in     out     source               destination         

Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)
num   pkts bytes target     prot opt in     out     source               destination         
1     123K   10M web        6    --  eth+   *      !10.0.0.0/8           0.0.0.0/0            tcp dpt:80

Chain OUTPUT (policy ACCEPT 0 packets, 0 bytes)
num   pkts bytes target     prot opt in     out     source               destination         

Chain web (1 references)
num   pkts bytes target     prot opt in     out     source               destination         
1      10G     5 REJECT     0    --  *      *       0.0.0.0/0            0.0.0.0/0            reject-with icmp-port-unreachable
`)
  expect(ok('iptables -L web')).toBe(`Chain web (1 references)
target     prot opt source               destination         
REJECT     all  --  anywhere             anywhere             reject-with icmp-port-unreachable
`)
})

test('a list of addresses is as many rules, -I puts the last one first', () => {
  const { ok, rules } = host()
  ok('iptables -I INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4 -j DROP')
  expect(rules().slice(3)).toEqual([
    '-A INPUT -s 2.2.2.2/32 -d 4.4.4.4/32 -j DROP',
    '-A INPUT -s 2.2.2.2/32 -d 3.3.3.3/32 -j DROP',
    '-A INPUT -s 1.1.1.1/32 -d 4.4.4.4/32 -j DROP',
    '-A INPUT -s 1.1.1.1/32 -d 3.3.3.3/32 -j DROP',
  ])
})

test('--dport behind -m multiport is multiport’s, before it the protocol’s', () => {
  const { ok, rules } = host()
  ok('iptables -A INPUT -p tcp -m multiport --dport 80,81')
  ok('iptables -A INPUT -p tcp --dport 80 -m multiport --sports 1,2')
  expect(rules().slice(3)).toEqual([
    '-A INPUT -p tcp -m multiport --dports 80,81',
    '-A INPUT -p tcp -m tcp --dport 80 -m multiport --sports 1,2',
  ])
})

test.each([
  ['iptables -A INPUT -j NOPE', 2, "Couldn't load target `NOPE':No such file or directory\n"],
  ['iptables -A INPUT -g NOPE', 2, "goto 'NOPE' is not a chain"],
  ['iptables -A INPUT -o eth0', 2, "Can't use -o with INPUT\n"],
  [
    'iptables -t nat -A PREROUTING -j DROP',
    2,
    '\nThe "nat" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n',
  ],
  [
    'iptables -t none -L',
    3,
    "can't initialize iptables table `none': Table does not exist (do you need to insmod?)",
  ],
  ['iptables -N ACCEPT', 2, 'chain name may not clash with target name'],
  ['iptables -N -x', 2, "chain name not allowed to start with `-'"],
  [
    'iptables -N abcdefghijklmnopqrstuvwxyz123',
    2,
    "chain name `abcdefghijklmnopqrstuvwxyz123' too long (must be under 29 chars)",
  ],
])('%s is refused', (line, code, message) => {
  const tail =
    code === 2
      ? "Try `iptables -h' or 'iptables --help' for more information.\n"
      : 'Perhaps iptables or your kernel needs to be upgraded.\n'
  expect(host().run(line)).toEqual({
    stdout: '',
    stderr: `iptables v1.8.9 (legacy): ${message}\n${tail}`,
    code,
  })
})

test.each([
  ['iptables -D INPUT 1', 'Index of deletion too big.'],
  ['iptables -D INPUT -j ACCEPT', 'Bad rule (does a matching rule exist in that chain?).'],
  ['iptables -A nope -j ACCEPT', 'No chain/target/match by that name.'],
  ['iptables -X used', 'Too many links.'],
  ['iptables -X lone', 'Directory not empty.'],
  ['iptables -N used', 'Chain already exists.'],
  ['iptables -E used full', 'File exists.'],
  ['iptables -P used DROP', 'Bad built-in chain name.'],
  ['iptables -P INPUT REJECT', "Bad policy name. Run `dmesg' for more information."],
  ['iptables -A INPUT -j INPUT', "Invalid argument. Run `dmesg' for more information."],
  ['iptables -A INPUT -j MASQUERADE', "Invalid argument. Run `dmesg' for more information."],
  ['iptables -A used -j full', 'Too many levels of symbolic links.'],
])('%s fails and changes nothing', (line, message) => {
  const { ok, run } = host()
  for (const command of [
    '-N used',
    '-N full',
    '-A full -j used',
    '-A INPUT -j full',
    '-N lone',
    '-A lone -j used',
  ])
    ok(`iptables ${command}`)
  if (line.includes('deletion') || line.startsWith('iptables -D')) ok('iptables -F INPUT')
  const before = ok('iptables-save -c')
  expect(run(line)).toEqual({ stdout: '', stderr: `iptables: ${message}\n`, code: 1 })
  expect(ok('iptables-save -c')).toBe(before)
})

test('a loop is refused once a built-in chain leads to it, however it comes about', () => {
  const { ok, run } = host()
  for (const command of ['-N a', '-N b', '-A a -j b', '-A b -j a']) ok(`iptables ${command}`)
  expect(run('iptables -A INPUT -g b').stderr).toBe('iptables: Too many levels of symbolic links.\n')
  ok('iptables -D b -j a')
  ok('iptables -A INPUT -g b')
  ok('iptables -A INPUT -j a')
})

test('chains that are made one by one know who jumps to them, before a restore and after it', () => {
  const { ok, run } = host()
  const chains = Array.from({ length: 70 }, (_, i) => `c${i}`)
  for (let round = 0; round < 2; round++) {
    for (const [i, name] of chains.entries()) {
      ok(`iptables -N ${name}`)
      if (i > 0) ok(`iptables -A ${name} -s 192.0.2.${i} -j ${chains[i - 1]}`)
    }
    ok('iptables -A INPUT -j c69')
    expect(run('iptables -A c0 -j c69').stderr).toMatch(/Too many levels of symbolic links/)
    expect(run('iptables -X c34').stderr).toMatch(/Too many links/)
    const saved = ok('iptables-save -t filter')
    ok('iptables-restore', saved)
    expect(ok('iptables-save -t filter').replaceAll(/^#.*$/gm, '')).toBe(saved.replaceAll(/^#.*$/gm, ''))
    expect(run('iptables -A c0 -j c69').stderr).toMatch(/Too many levels of symbolic links/)
    expect(run('iptables -X c34').stderr).toMatch(/Too many links/)
    expect(ok('iptables -L c34')).toMatch(/^Chain c34 \(1 references\)/)
    ok('iptables -D INPUT 1')
    ok('iptables -A c0 -j c69')
    ok('iptables -F')
    ok('iptables -X')
    ok('iptables-restore', '*filter\n:mine - [0:0]\n-A INPUT -j mine\nCOMMIT\n')
    ok('iptables -D INPUT -j mine')
    ok('iptables -X mine')
  }
})

test('a target that must not be reached from a chain is refused when a jump leads to it', () => {
  const { ok, run } = host()
  ok('iptables -t nat -N masq')
  ok('iptables -t nat -A masq -j MASQUERADE')
  ok('iptables -t nat -A POSTROUTING -j masq')
  expect(run('iptables -t nat -A PREROUTING -j masq').code).toBe(1)
  // Once the jump is gone, the chain may be used elsewhere for what fits there.
  ok('iptables -t nat -D POSTROUTING -j masq')
  ok('iptables -t nat -R masq 1 -j REDIRECT')
  ok('iptables -t nat -A PREROUTING -j masq')
  expect(run('iptables -t nat -A POSTROUTING -j masq').code).toBe(1)
})

test('renaming takes jumps and counters along', () => {
  const { ok, rules } = host()
  ok('iptables -N old')
  ok('iptables -A old -c 3 4 -j ACCEPT')
  ok('iptables -A INPUT -c 1 2 -j old')
  ok('iptables -E old new')
  expect(rules().slice(3)).toEqual(['-N new', '-A INPUT -j new', '-A new -j ACCEPT'])
  expect(ok('iptables -vS new')).toBe('-N new\n-A new -c 3 4 -j ACCEPT\n')
})

test('a restore is in force as a whole or not at all, and names the bad line', () => {
  const { ok, run } = host()
  ok('iptables -A INPUT -j DROP')
  const before = ok('iptables-save -c')
  expect(run('iptables-restore', '*filter\n-A INPUT -j ACCEPT\n-A INPUT --bad\nCOMMIT\n')).toEqual({
    stdout: '',
    stderr: `iptables-restore v1.8.9 (legacy): unknown option "--bad"
Error occurred at line: 3
Try \`iptables-restore -h' or 'iptables-restore --help' for more information.
`,
    code: 2,
  })
  expect(run('iptables-restore', '*filter\n-A INPUT -j ACCEPT\n-A nope -j ACCEPT\nCOMMIT\n')).toEqual({
    stdout: '',
    stderr: 'iptables-restore: line 3 failed\n',
    code: 1,
  })
  expect(run('iptables-restore', '*filter\n-A INPUT -j ACCEPT\n').stderr).toBe(
    'iptables-restore: COMMIT expected at line 3\n',
  )
  ok('iptables-restore -t', '*filter\n-A INPUT -j ACCEPT\nCOMMIT\n')
  expect(ok('iptables-save -c')).toBe(before)
})

test('tables that were never used are not saved; the latest comes first', () => {
  const { ok } = host()
  expect(ok('iptables-save')).toBe('')
  ok('iptables -L')
  ok('iptables-save -t raw')
  expect(ok('iptables-save').match(/^\*.*/gm)).toEqual(['*raw', '*filter'])
})
