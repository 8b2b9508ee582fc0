// Calls that nobody should make, to a running daemon through the C client and to the real tools in a namespace:
// closed and full descriptors, directories for files, empty words, bytes of no text, numbers beyond any range. The
// same answer, the same exit status, and the daemon lives on.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { whyNot } from '../harness/commands.ts'
import { repositoryRoot } from '../harness/kernel.ts'

const MULTI = '/usr/sbin/xtables-legacy-multi'
const MAIN = join(repositoryRoot(), 'dist/daemon/main.js')
const CLIENT = join(repositoryRoot(), 'datapath/native/build/tunwall-client')
const TOOLS =
  'iptables iptables-save iptables-restore iptables-xml ip6tables ipset conntrack ip sysctl'.split(' ')

/** Lines for bash, in turn: later ones see what earlier ones left behind. */
const LINES = String.raw`
iptables -L >/dev/full
iptables -L >&-
iptables -L 2>&-
iptables -L <&-
iptables-restore <&-
iptables-restore </
iptables-restore </dev/null
iptables-restore /nonexistent
iptables-restore /
iptables-restore >/dev/full <f4
iptables-save >/dev/full
iptables-save >&-
iptables-save -f /nonexistent/x
iptables-save -f /
iptables -A INPUT -j $'\x1b[31mred'
iptables -A INPUT -m $'\x1b[31mred'
iptables -A INPUT -s $'\u00fc.example' -j ACCEPT
iptables -N $'a\x1bb'
iptables -N $'\xff\xfe'
iptables -N ''
iptables -A INPUT --dport 99999999999999999999 -p tcp
iptables -A INPUT -p 99999999999999999999
iptables -I INPUT 99999999999999999999 -j ACCEPT
iptables -D INPUT 99999999999999999999
iptables ''
iptables '' -L
iptables -t '' -L
iptables -t $'\n' -L
iptables -L '' 
iptables -A '' -j ACCEPT
iptables --
iptables -
iptables -- -L
iptables-xml >/dev/full <f4
iptables-xml /nonexistent
iptables-xml </
ip6tables -A INPUT -s 1.2.3.4 -j ACCEPT
ipset
ipset ''
ipset create '' hash:ip
ipset create $'a\x1bb' hash:ip
ipset create b hash:ip hashsize 99999999999999999999
ipset create b hash:ip maxelem -1
ipset create b hash:ip timeout 99999999999
ipset create c hash:ip >&-
ipset list >/dev/full
ipset list >&-
ipset restore </
ipset restore <&-
ipset restore </dev/null
ipset -f /nonexistent restore
ipset -f / restore
ipset -f /nonexistent/x save
ipset -f / save
ipset add nope $'\xff\xfe'
ipset add c ''
ipset add c $'1.2.3.4\n'
ipset test c 1.2.3.4,
ipset destroy $'\x1b[31m'
ipset save c -o $'\xff'
conntrack
conntrack ''
conntrack -L ''
conntrack -L >/dev/full
conntrack -L >&-
conntrack -L -s ''
conntrack -L -s $'\xff'
conntrack -L -p 99999999999999999999
conntrack -L -p ''
conntrack -L -m 99999999999999999999
conntrack -L -o ''
conntrack -L -f ''
conntrack -L -u ''
conntrack -R /nonexistent
conntrack -R /
conntrack -R
conntrack -R </
conntrack -I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 99999999999 --dport 1 -t 5 --state NONE
conntrack -D -s 9.9.9.9
conntrack -L $'\x1b[31m'
conntrack -L nope
conntrack -Q
conntrack --nope
ip
ip ''
ip '' ''
ip addr ''
ip addr show ''
ip addr show dev ''
ip addr show dev $'\x1b[31m'
ip link show dev $'\xff'
ip addr >/dev/full
ip addr >&-
ip -batch /nonexistent
ip -batch /
ip -batch ''
ip -batch - </
ip -force -batch - </dev/null
ip route add 1.2.3.4/99999999999999999999 dev lo
ip route add '' dev lo
ip route get 99999999999999999999
ip route get ''
ip route show table 99999999999999999999
ip rule add pref 99999999999999999999
ip rule add from ''
ip rule show pref ''
ip -s
ip -d
ip -j ''
ip - a
ip -- a show lo
ip --
ip link set dev lo mtu 99999999999999999999
ip link set dev lo mtu -1
ip link set dev lo alias ''
ip addr add $'1.2.3.4\n/24' dev lo
sysctl ''
sysctl $'\xff\xfe'
sysctl $'net.\x1b[31m'
sysctl net.ipv4.ip_default_ttl=99999999999999999999
sysctl net.ipv4.ip_default_ttl=$'\x1b[31m'
sysctl net.ipv4.ip_default_ttl=$'1\n2'
sysctl -p /nonexistent
sysctl -p /
sysctl -p - </
sysctl -p - <&-
sysctl -a -r '[' 
sysctl -a -r '*'
sysctl net.ipv4.ip_default_ttl >/dev/full
sysctl net.ipv4.ip_default_ttl >&-
sysctl -b net.ipv4.ip_default_ttl >/dev/full
sysctl -p - <f2
iptables-restore /dev/stdin <f4
iptables-restore <(cat f4)
iptables-restore /dev/null
iptables-save -f /dev/stdout
ipset save -f /dev/stdout
ipset -f /dev/stdin restore <f5
conntrack -R /dev/null
sysctl -p /dev/stdin <f2
ip -batch /dev/stdin <f6
iptables-xml /dev/stdin <f4
iptables-save | head -1 | cut -c1-20
iptables -S | head -1
ipset list | head -1
ip addr | head -1
sysctl -a -r ip_forward$ | head -1
iptables-xml f4 | head -1
head -c 60 f4 | iptables-restore
head -c 60 f4 | iptables-xml
head -c 9 f5 | ipset restore
iptables -S
iptables-restore <f8
ip6tables-restore <f8
iptables-xml <f8
ipset restore <f8
ip -batch - <f8
ip -force -batch - <f8
conntrack -R f8
sysctl -p f8
iptables-restore <f9
ipset restore <f9
ip -batch - <f9
ip -force -batch f9
sysctl -p f9
conntrack -R f9
ipset list -name
iptables -S
ip -4 rule
ip link add $(printf 'x%.0s' {1..300}) type dummy
ip link set dev $(printf 'x%.0s' {1..300}) up
ip route add 10.0.0.0/8 dev $(printf 'x%.0s' {1..300})
ipset create $(printf 'x%.0s' {1..300}) hash:ip
ipset create s7 $(printf 'x%.0s' {1..300})
sysctl $(printf 'x%.0s' {1..300})=1
sysctl net.$(printf 'x%.0s' {1..9000})=1
conntrack -L -o $(printf 'x%.0s' {1..300})
iptables -L 2>&- >&-
ip addr 2>&- >&-
ipset list nope 2>&- >&-
`
  .trim()
  .split('\n')

const FILES: Readonly<Record<string, string>> = {
  f4: '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment "\x1b[31m\xff" -j ACCEPT\nCOMMIT\n',
  f2: 'net.ipv4.ip_default_ttl=\x0065\nnet.ipv4.ip_default_ttl=\x1b\nnet.ipv4.\xff=1\n',
  f5: 'create zz hash:ip\n',
  f6: 'addr show lo\n',
  // Bytes of no text, NUL among them; a line of ten megabytes.
  f8: Array.from({ length: 3000 }, (_, i) => String.fromCharCode((i * i * 31 + (i >> 3)) & 0xff)).join(''),
  f9: `add ${'x'.repeat(10_000_000)}\n`,
}

const missing = ['ipset', 'conntrack', 'sysctl', 'ip'].find(
  (tool) => spawnSync(tool, ['-V']).error !== undefined,
)
const why =
  whyNot() ??
  (missing === undefined ? null : `the program ${missing} is missing`) ??
  (existsSync(MAIN) && existsSync(CLIENT) ? null : 'dist is not built: npm run build')
if (why !== null) console.warn(`NOT RUN: the daemon gets no odd calls: ${why}`)

let dir = ''
let daemon: ChildProcess

beforeAll(async () => {
  if (why !== null) return
  dir = mkdtempSync(join(tmpdir(), 'tunwall-odd-'))
  for (const side of ['ours', 'theirs']) mkdirSync(join(dir, side))
  for (const tool of TOOLS) {
    symlinkSync(CLIENT, join(dir, 'ours', tool))
    if (tool.includes('tables')) symlinkSync(MULTI, join(dir, 'theirs', tool))
  }
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(dir, name), text, 'latin1')
  mkdirSync(join(dir, 'host'))
  writeFileSync(join(dir, 'host/host.yaml'), 'interfaces: {}\n')
  const argv = [MAIN, 'up', '--host', join(dir, 'host'), '--socket', join(dir, 'control')]
  daemon = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise<void>((resolve, reject) => {
    daemon.stdout!.on('data', (chunk: Buffer) => chunk.includes('ready') && resolve())
    daemon.on('exit', (code) => reject(new Error(`tunwall up ended with ${code}`)))
  })
})

afterAll(async () => {
  if (why !== null) return
  if (daemon.exitCode === null) {
    const gone = new Promise((resolve) => daemon.on('exit', resolve))
    daemon.kill('SIGTERM')
    await gone
  }
  rmSync(dir, { recursive: true })
})

interface Answer {
  readonly line: string
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

function answers(side: 'ours' | 'theirs'): Answer[] {
  // Braces, so that a line's own redirections win.
  const script = LINES.map(
    (line, i) =>
      `{ timeout 10 ${line}; } >${side}-${i}.out 2>${side}-${i}.err </dev/null; echo $? >${side}-${i}.code`,
  )
  const environment = {
    PATH: `${join(dir, side)}:/usr/sbin:/usr/bin:/sbin:/bin`,
    TUNWALL_SOCKET: join(dir, 'control'),
    LC_ALL: 'C',
  }
  const ran = spawnSync(side === 'ours' ? 'bash' : 'unshare', side === 'ours' ? [] : ['-n', 'bash'], {
    cwd: dir,
    env: environment,
    input: `${side === 'theirs' ? 'ip link set lo up\n' : ''}${script.join('\n')}`,
  })
  expect(ran.stderr.toString()).toBe('')
  const read = (name: string): string => readFileSync(join(dir, `${side}-${name}`), 'latin1')
  const masked = (text: string): string =>
    text.replaceAll(/^(# .* on ).*$/gm, '$1DATE').replaceAll(/initval 0x[0-9a-f]+/g, 'initval X')
  return LINES.map((line, i) => ({
    line,
    stdout: masked(read(`${i}.out`)),
    stderr: read(`${i}.err`),
    code: Number(read(`${i}.code`)),
  }))
}

describe.skipIf(why !== null)('odd calls', () => {
  test(`${LINES.length} of them are answered as by the real tools`, () => {
    const theirs = answers('theirs')
    const ours = answers('ours')
    const different = (_: Answer, i: number): boolean => JSON.stringify(ours[i]) !== JSON.stringify(theirs[i])
    expect(ours.filter(different)).toEqual(theirs.filter(different))
    expect(daemon.exitCode).toBeNull()
  }, 120_000)
})
