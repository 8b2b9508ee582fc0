// `tunwall up` as its user has it: the built program, TUN devices in namespaces, the tools over the socket, and what
// goes wrong: bad restores, killed clients, damaged folders, taken names, signals.
//
//     namespace tw-gw-PID-a           tunwall up             namespace tw-gw-PID-b
//     eth0 10.0.1.2  ═══ TUN ═══ lan 10.0.1.1
//                                wan 10.0.2.1 ═══ TUN ═══ eth0 10.0.2.2

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { native } from '../../datapath/native/index.ts'
import { fold, sum } from '../../datapath/wire/checksum.ts'
import { readCapture, writeCapture, writeFolder } from '../harness/capture.ts'
import { decode, fragment, icmp, icmpError, tcp, udp } from '../harness/frames.ts'
import { Gateway as Daemon, type Done, MAIN, run as runProgram } from '../harness/gateway.ts'
import { nativeProgram, whyNoKernel } from '../harness/kernel.ts'

const why = whyNoKernel() ?? (existsSync(MAIN) ? null : 'dist is not built: npm run build')
if (why !== null) console.warn(`NOT RUN: the gateway is not started: ${why}`)

const [A, B] = [`tw-gw-${process.pid}-a`, `tw-gw-${process.pid}-b`]
const root = why === null ? mkdtempSync(join(tmpdir(), 'tunwall-gateway-')) : ''
let made = 0

const YAML = `interfaces:
  lan:
    addresses: [10.0.1.1/24]
    port: { tun: { namespace: ${A}, name: eth0, peer: [10.0.1.2/24], routes: [default via 10.0.1.1] } }
  wan:
    addresses: [10.0.2.1/24]
    port: { tun: { namespace: ${B}, name: eth0, peer: [10.0.2.2/24], routes: [default via 10.0.2.1] } }
sysctls:
  net.ipv4.ip_forward: 1
`
const RULES = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
`
const FOLDER = { 'host.yaml': YAML, 'iptables-save': RULES }

const folder = (files: Record<string, string>): string => writeFolder(join(root, `host-${made++}`), files)

class Gateway extends Daemon {
  constructor(directory: string, socket = join(root, `socket-${made++}`), under: readonly string[] = []) {
    super(directory, socket, under)
  }
}
const run = (argv: readonly string[], options: { socket?: string; input?: string | Buffer } = {}): Done =>
  runProgram(argv, { socket: join(root, 'nobody'), ...options })
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const devices = (namespace: string): string =>
  execFileSync('ip', ['-n', namespace, '-o', 'link'], { encoding: 'utf8' })

/** The rules without counters and dates. */
const rules = (gateway: Gateway): string =>
  gateway.sh('iptables-save').stdout.replace(/^#.*$|\[\d+:\d+\]/gm, '')

const NAT_RULES = `*nat
-A PREROUTING -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.9.0.2:80
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p udp -m udp --dport 9 -j REJECT
-A FORWARD -p tcp -m tcp --dport 81 -j REJECT --reject-with tcp-reset
-A FORWARD -p tcp -m tcp --dport 82 -j DROP
COMMIT
`
const [CLIENT, SERVER, PUBLIC] = ['10.9.0.2', '10.8.0.2', '10.0.2.1']
const lan = (bytes: Uint8Array) => ({ iface: 'lan', bytes })
const wan = (bytes: Uint8Array) => ({ iface: 'wan', bytes })
const asked = udp({ src: CLIENT, dst: SERVER, sport: 4000, dport: 53, payload: 'question' })

/** As they arrive at the gateway. */
const FRAMES = [
  lan(tcp({ src: CLIENT, dst: SERVER, sport: 1000, dport: 80, flags: 'S', seq: 1 })),
  wan(tcp({ src: SERVER, dst: PUBLIC, sport: 80, dport: 1000, flags: 'SA', seq: 9, ack: 2 })),
  lan(
    tcp({ src: CLIENT, dst: SERVER, sport: 1000, dport: 80, flags: 'PA', seq: 2, ack: 10, payload: 'GET /' }),
  ),
  wan(tcp({ src: SERVER, dst: PUBLIC, sport: 80, dport: 1000, flags: 'A', seq: 10, ack: 7 })),
  wan(tcp({ src: SERVER, dst: PUBLIC, sport: 5000, dport: 8080, flags: 'S', seq: 1 })),
  lan(tcp({ src: CLIENT, dst: SERVER, sport: 80, dport: 5000, flags: 'SA', seq: 1, ack: 2 })),
  lan(tcp({ src: CLIENT, dst: SERVER, sport: 1001, dport: 81, flags: 'S', seq: 1 })),
  lan(tcp({ src: CLIENT, dst: SERVER, sport: 1002, dport: 82, flags: 'S', seq: 1 })),
  lan(asked),
  wan(udp({ src: SERVER, dst: PUBLIC, sport: 53, dport: 4000, payload: 'answer' })),
  wan(
    icmpError(3, 3, udp({ src: PUBLIC, dst: SERVER, sport: 4000, dport: 53, payload: 'question' }), {
      src: SERVER,
      dst: PUBLIC,
    }),
  ),
  lan(udp({ src: CLIENT, dst: SERVER, sport: 4000, dport: 9, payload: 'x' })),
  lan(icmp({ src: CLIENT, dst: SERVER, echoId: 7, seq: 1, payload: 'ping' })),
  wan(icmp({ src: SERVER, dst: PUBLIC, type: 0, echoId: 7, seq: 1, payload: 'ping' })),
  lan(icmp({ src: CLIENT, dst: SERVER, echoId: 8, seq: 1, ttl: 1 })),
  lan(icmp({ src: CLIENT, dst: '10.0.1.1', echoId: 9, seq: 1 })),
  lan(udp({ src: CLIENT, dst: '10.0.1.1', sport: 1, dport: 7 })),
  wan(tcp({ src: SERVER, dst: PUBLIC, sport: 9, dport: 22, flags: 'S', seq: 1 })),
  ...fragment(udp({ src: CLIENT, dst: SERVER, sport: 4001, dport: 53, payload: 2000, id: 5 }), 1000).map(lan),
]

/** With the TTL raised by `by` and the header's checksum made anew. */
function withTtl(frame: Uint8Array, by: number): Uint8Array {
  const out = Uint8Array.from(frame)
  out[8] = out[8]! + by
  out.fill(0, 10, 12)
  const check = ~fold(sum(out, 0, (out[0]! & 15) * 4)) & 0xffff
  out.set([check >> 8, check & 255], 10)
  return out
}

/** Readable, and without the identification that the host draws for what it makes itself. */
const told = (frame: Uint8Array): string => decode(frame).replace(/\bid=?\s*\d+/, 'id')

/** A TUN device behind the namespace, which then routes: frames written there reach the gateway. */
function farEnd(namespace: string, prefix: string): number {
  const fd = native().openTun('far', `/run/netns/${namespace}`, 0)
  const script = `for i in all default eth0 far; do echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/far/disable_ipv6
    ip link set far up && ip route add ${prefix} dev far`
  execFileSync('ip', ['netns', 'exec', namespace, 'sh', '-ec', script])
  return fd
}

/** Bytes of the next frame; 0 when none is waiting. */
function readNow(fd: number, into: Buffer): number {
  try {
    return readSync(fd, into)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0
    throw error
  }
}

describe.skipIf(why !== null)('tunwall up', () => {
  beforeAll(() => {
    for (const name of [A, B]) execFileSync('ip', ['netns', 'add', name])
  })
  afterAll(() => {
    for (const name of [A, B]) spawnSync('ip', ['netns', 'del', name])
    rmSync(root, { recursive: true, force: true })
  })

  describe('tools', () => {
    let gateway: Gateway
    beforeAll(async () => {
      gateway = await new Gateway(folder(FOLDER)).ready()
    })
    afterAll(async () => {
      await gateway.stop()
    })
    afterEach(() => {
      expect(gateway.sh('iptables -F && iptables -X && iptables-restore', RULES).code).toBe(0)
    })

    test('a script of commands, each under its own name', () => {
      const done = gateway.sh(`set -e
        iptables -N web
        iptables -A web -p tcp --dport 80 -j ACCEPT
        iptables -A FORWARD -i lan -j web
        iptables -C FORWARD -i lan -j web
        ! iptables -C FORWARD -i wan -j web 2>/dev/null
        iptables-save -t filter | grep -- '-A'
        sysctl -n net.ipv4.ip_forward
        conntrack -C`)
      expect(done.stderr).toBe('')
      expect(done.stdout.split('\n')).toEqual([
        '-A FORWARD -m conntrack --ctstate INVALID -j DROP',
        '-A FORWARD -i lan -j web',
        '-A web -p tcp -m tcp --dport 80 -j ACCEPT',
        '1',
        '0',
        '',
      ])
      expect(done.code).toBe(0)
    })

    test('save, change, restore: as iptables-apply does it', () => {
      const done = gateway.sh(`set -e
        dir=$(mktemp -d); trap 'rm -rf $dir' EXIT
        iptables-save > $dir/old
        printf '*filter\\n-F FORWARD\\n-A FORWARD -p icmp -j DROP\\nCOMMIT\\n' | iptables-restore --noflush
        iptables -S FORWARD
        iptables-restore < $dir/old
        iptables -S FORWARD`)
      expect(done).toMatchObject({ code: 0, stderr: '' })
      expect(done.stdout).toBe(
        '-P FORWARD ACCEPT\n-A FORWARD -p icmp -j DROP\n' +
          '-P FORWARD ACCEPT\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\n',
      )
    })

    test('packets go on while a ruleset is restored', async () => {
      const lines = Array.from({ length: 100_000 }, (_, i) => {
        const source = `198.18.${(i >> 8) & 255}.${i & 255}`
        return `-A ${['INPUT', 'FORWARD'][i >> 16]} -s ${source}/32 -p udp -m udp --dport ${i % 60_000} -j DROP\n`
      })
      const ping = spawn('ip', ['netns', 'exec', A, 'ping', '-D', '-i', '0.01', '10.0.2.2'])
      let replies = ''
      ping.stdout.on('data', (data) => {
        replies += data
      })
      await new Promise((resolve) => ping.stdout.once('data', resolve))
      const { stdout, stderr, code } = gateway.sh(
        'date +%s.%N; iptables-restore; date +%s.%N',
        `*filter\n${lines.join('')}COMMIT\n`,
      )
      const ended = new Promise((resolve) => ping.on('close', resolve))
      ping.kill('SIGINT')
      await ended
      expect([code, stderr]).toEqual([0, ''])
      const [from, to] = stdout.split('\n').map(Number)
      const times = [...replies.matchAll(/^\[([\d.]+)\] 64 bytes/gm)].map(([, time]) => Number(time))
      const quarter = (to! - from!) / 4
      expect(times.filter((time) => time > from! + quarter && time < to! - quarter)).not.toEqual([])
      expect(gateway.sh('iptables -S | wc -l').stdout).toBe('100003\n')
    })

    const bad: [string, string, RegExp][] = [
      ['an unknown target', '*filter\n-F\n-A FORWARD -j NOSUCH\nCOMMIT\n', /NOSUCH[\s\S]*line: [34]/],
      ['a bad port', '*filter\n-A FORWARD -p tcp --dport 99999 -j DROP\nCOMMIT\n', /99999[\s\S]*line: 2/],
      ['no COMMIT', '*filter\n-F\n-A FORWARD -p icmp -j DROP\n', /COMMIT expected at line 4/],
      ['an unknown table', '*nope\nCOMMIT\n', /nope[\s\S]*line: 1/],
      ['no table', '-A FORWARD -j DROP\n', /line 1 failed/],
    ]
    test.each(bad)('a restore with %s leaves the old rules in force', (_, input, message) => {
      const before = rules(gateway)
      const done = gateway.sh('iptables-restore', input)
      expect(done.code).toBeGreaterThan(0)
      expect(done.stderr).toMatch(message)
      expect(rules(gateway)).toBe(before)
    })

    test('lines of ten megabytes and binary garbage', () => {
      const before = rules(gateway)
      const long = `*filter\n-A FORWARD -m comment --comment "${'a'.repeat(10_000_000)}" -j DROP\nCOMMIT\n`
      expect(gateway.sh('iptables-restore', long)).toMatchObject({ code: 2 })
      const noise = Buffer.alloc(3_000_000)
      for (let i = 0; i < noise.length; i++) noise[i] = (Math.imul(i, 2654435761) >>> 13) & 255
      expect(gateway.sh('iptables-restore', noise).code).toBeGreaterThan(0)
      expect(gateway.sh('iptables -A "$(printf "\\001\\377")" -j DROP').code).toBeGreaterThan(0)
      expect(rules(gateway)).toBe(before)
    })

    test('a client that is killed in the middle of its input changes nothing', async () => {
      const before = rules(gateway)
      const child = spawn(process.execPath, [MAIN, 'iptables-restore'], {
        env: { ...process.env, TUNWALL_SOCKET: gateway.socket },
        stdio: ['pipe', 'ignore', 'ignore'],
      })
      child.stdin.on('error', () => {})
      child.stdin.write(`*filter\n${'-A FORWARD -p icmp -j DROP\n'.repeat(20_000)}`)
      await pause(500)
      child.kill('SIGKILL')
      await new Promise((resolve) => child.on('close', resolve))
      expect(rules(gateway)).toBe(before)
    })

    test('a hundred clients at once', () => {
      const done = gateway.sh(`for i in $(seq 100); do
          iptables -A INPUT -p tcp --dport $((1000 + i)) -j ACCEPT || echo failed &
        done; wait; iptables -S INPUT | grep -c dport`)
      expect(done).toMatchObject({ code: 0, stderr: '', stdout: '100\n' })
    })

    test('exec passes the exit status, signals and arguments on, and leaves no folder', () => {
      expect(gateway.sh('exit 7').code).toBe(7)
      expect(gateway.sh('kill -TERM $$').code).toBe(143)
      expect(run(['exec', '--', '/nonexistent'], { socket: gateway.socket }).code).toBe(1)
      const dir = gateway.sh('dirname "$(command -v iptables)"').stdout.trim()
      expect(dir).toMatch(/tunwall-exec-/)
      expect(existsSync(dir)).toBe(false)
    })

    test('a tool without a daemon says what to do', () => {
      const done = run(['iptables', '-L'])
      expect(done.code).toBe(1)
      expect(done.stderr).toMatch(/^tunwall: no tunwall answers at .*: .*start one with: tunwall up\n$/)
    })

    test('a second gateway on the same socket, or in the same namespaces, is refused; the first lives on', () => {
      const other = run([
        'up',
        '--host',
        folder({ 'host.yaml': 'interfaces: {}\n' }),
        '--socket',
        gateway.socket,
      ])
      expect(other).toMatchObject({ code: 1, stdout: '' })
      expect(other.stderr).toMatch(/another tunwall is running there\n$/)
      const same = run(['up', '--host', folder(FOLDER), '--socket', join(root, 'same')])
      expect(same.code).toBe(1)
      expect(same.stderr).toMatch(/^tunwall: lan: cannot open TUN device eth0: .*busy/i)
      expect(same.stderr.trim().split('\n')).toHaveLength(1)
      expect(existsSync(join(root, 'same'))).toBe(false)
      expect(gateway.tool('iptables', '-S', 'FORWARD').code).toBe(0)
    })
  })

  describe('what cannot start', () => {
    const bad: [string, Record<string, string>, RegExp][] = [
      [
        'a missing namespace',
        { 'host.yaml': YAML.replace(A, 'tw-gw-none') },
        /host\.yaml:4:11: there is no network namespace/,
      ],
      [
        'two interfaces on one device',
        { 'host.yaml': YAML.replace(B, A) },
        /host\.yaml:7:11: .*same device.*host\.yaml:4:11/,
      ],
      [
        'a bad rule',
        { ...FOLDER, 'iptables-save': RULES.replace('INVALID', 'NOPE') },
        /iptables-save:5:\d+: .*NOPE/,
      ],
      [
        'a cut ruleset',
        { ...FOLDER, 'iptables-save': RULES.replace('COMMIT\n', '') },
        /iptables-save:\d+:\d+: /,
      ],
      ['bad YAML', { 'host.yaml': 'interfaces: [\n' }, /host\.yaml:\d+:\d+: /],
      [
        'an unknown key',
        { 'host.yaml': 'interfaces:\n  lan: {adresses: [10.0.0.1/24]}\n' },
        /host\.yaml:2:9: .*adresses/,
      ],
      ['bad JSON', { ...FOLDER, 'ip-addr.json': '[{"ifname":' }, /ip-addr\.json:1:\d+: /],
      ['bad routes', { ...FOLDER, 'ip-route.json': '[{"dst":"10.9.0.0/99"}]' }, /ip-route\.json:1:\d+: /],
      ['bad rules of routing', { ...FOLDER, 'ip-rule.json': '{}' }, /ip-rule\.json:1:1: /],
      ['a bad sysctl', { ...FOLDER, sysctl: 'net.ipv4.ip_default_ttl = many\n' }, /sysctl:1:\d+: /],
    ]
    test.each(bad)('%s: one line with its place, status 2, no device left', (_, files, message) => {
      const socket = join(root, `socket-${made++}`)
      const done = run(['up', '--host', folder(files), '--socket', socket])
      expect(done.stderr).toMatch(message)
      expect(done.stderr.trim().split('\n')).toHaveLength(1)
      expect(done).toMatchObject({ code: 2, stdout: '' })
      expect(existsSync(socket)).toBe(false)
      for (const name of [A, B]) expect(devices(name)).not.toContain('eth0')
    })

    test('a device’s name that is taken', () => {
      const done = run(['up', '--host', folder({ 'host.yaml': YAML.replaceAll('name: eth0', 'name: lo') })])
      expect(done.code).toBe(1)
      expect(done.stderr).toMatch(/^tunwall: lan: cannot open TUN device lo: .* in tw-gw-\d+-a\n$/)
    })

    test('a neighbour that cannot be set up: the other device goes too', () => {
      const done = run([
        'up',
        '--host',
        folder({ 'host.yaml': YAML.replace('via 10.0.2.1', 'via 99.0.0.1') }),
      ])
      expect(done.code).toBe(1)
      expect(done.stderr).toMatch(/^tunwall: ip -4 route add .*99\.0\.0\.1.*\n$/)
      for (const name of [A, B]) expect(devices(name)).not.toContain('eth0')
    })

    test('sockets that cannot be: the devices go, what stood there stays', () => {
      const file = join(root, 'precious')
      writeFileSync(file, 'precious')
      const host = folder(FOLDER)
      for (const path of [file, root, '/nonexistent/socket', join(root, 'x'.repeat(120))]) {
        const done = run(['up', '--host', host, '--socket', path])
        expect(done).toMatchObject({ code: 1, stdout: '' })
        expect(done.stderr).toMatch(/^tunwall: \/[^\n]+: [^\n]+\n$/)
      }
      expect(readFileSync(file, 'utf8')).toBe('precious')
      for (const name of [A, B]) expect(devices(name)).not.toContain('eth0')
    })
  })

  test('udp_gro: rules count datagrams, the neighbour superframes, and its socket hears each as it was sent', async () => {
    const yaml = YAML.replace('default via 10.0.2.1]', 'default via 10.0.2.1], udp_gro: true')
    const gateway = new Gateway(folder({ 'host.yaml': yaml, 'iptables-save': RULES }))
    await gateway.ready()
    const count = 150
    const node = (namespace: string, script: string) =>
      spawn('ip', ['netns', 'exec', namespace, process.execPath, '-e', script], { stdio: 'pipe' })
    const receiver = node(
      B,
      `const { createSocket } = require('node:dgram'); let next = 0
      const socket = createSocket('udp4', (data) => {
        if (data.length !== 100 + (next % 7 === 6 ? -9 : 0) || data.readUInt32BE() !== next) throw new Error('at ' + next)
        if (++next === ${count}) socket.close()
      })
      socket.bind(9999, () => { console.log('bound') })`,
    )
    const ended = new Promise((resolve) => receiver.on('close', resolve))
    await new Promise((resolve) => receiver.stdout.once('data', resolve))
    const sender = node(
      A,
      `const { createSocket } = require('node:dgram'); const socket = createSocket('udp4')
      socket.connect(9999, '10.0.2.2', () => {
        let left = ${count}
        for (let i = 0; i < ${count}; i++) {
          const data = Buffer.alloc(100 + (i % 7 === 6 ? -9 : 0)); data.writeUInt32BE(i)
          socket.send(data, () => { if (--left === 0) socket.close() })
        }
      })`,
    )
    await new Promise((resolve) => sender.on('close', resolve))
    const limit = setTimeout(() => receiver.kill(), 10_000)
    expect(await ended).toBe(0)
    clearTimeout(limit)
    expect(gateway.sh('iptables -nvxL FORWARD').stdout).toMatch(new RegExp(`policy ACCEPT ${count} packets`))
    const path = '/sys/class/net/eth0/statistics/rx_packets'
    const received = execFileSync('ip', ['netns', 'exec', B, 'cat', path], { encoding: 'utf8' })
    expect(Number(received)).toBeLessThan(count)
    await gateway.stop()
  })

  test('where unshare(2) is forbidden, as in containers, packets pass all the same', async () => {
    const under = [nativeProgram('without-unshare')]
    const gateway = await new Gateway(folder(FOLDER), undefined, under).ready()
    const ping = spawnSync('ip', ['netns', 'exec', A, 'ping', '-c', '3', '-i', '0.1', '-w', '5', '10.0.2.2'])
    expect([ping.status, ping.stderr.toString()]).toEqual([0, ''])
    expect(await gateway.stop()).toBe(0)
  })

  test('the same frames through the gateway and through replay', async () => {
    const host = folder({
      'host.yaml': `${YAML}routes:\n  - 10.9.0.0/16 via 10.0.1.2\n  - 10.8.0.0/16 via 10.0.2.2\n`,
      'iptables-save': NAT_RULES,
    })
    // What replay makes of them.
    const capture = join(root, 'in.pcapng')
    const report = join(root, 'report.jsonl')
    const out = join(root, 'out.pcapng')
    writeCapture(
      capture,
      FRAMES.map(({ iface, bytes }, i) => ({ iface, seconds: 1_700_000_000, nanos: i * 50_000_000, bytes })),
    )
    const replay = run(['replay', '--host', host, '--in', capture, '--out', out, '--report', report])
    expect(replay).toMatchObject({ code: 0, stderr: '' })
    const wanted = readCapture(out).map(({ iface, bytes }) => `${iface} ${told(bytes)}`)
    const counts = readFileSync(report, 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { out: unknown[] }).out.length)
    expect(wanted.length).toBeGreaterThan(10)

    // What the gateway does. The kernels of both namespaces stand between: each takes one from the TTL.
    const gateway = await new Gateway(host).ready()
    const far = new Map([
      ['lan', farEnd(A, '10.9.0.0/16')],
      ['wan', farEnd(B, '10.8.0.0/16')],
    ])
    const got: string[] = []
    const room = Buffer.alloc(65536)
    const collect = (): void => {
      for (const [iface, fd] of far)
        for (let n = readNow(fd, room); n > 0; n = readNow(fd, room))
          got.push(`${iface} ${told(withTtl(room.subarray(0, n), 1))}`)
    }
    try {
      let expected = 0
      for (const [i, { iface, bytes }] of FRAMES.entries()) {
        writeSync(far.get(iface)!, withTtl(bytes, 1))
        expected += counts[i]!
        for (const end = Date.now() + 3000; got.length < expected && Date.now() < end; collect())
          await pause(2)
      }
      await pause(100)
      collect()
    } finally {
      for (const fd of far.values()) native().close(fd)
      expect(await gateway.stop()).toBe(0)
    }
    expect(got).toEqual(wanted)
  })

  describe('the end', () => {
    test.each(['SIGTERM', 'SIGINT'] as const)(
      '%s while busy: status 0, devices and socket gone',
      async (signal) => {
        const gateway = await new Gateway(folder(FOLDER)).ready()
        expect(statSync(gateway.socket).mode & 0o777).toBe(0o600)
        expect(devices(A)).toContain('eth0')
        const idle = connect(gateway.socket)
        idle.on('error', () => {})
        const busy = [
          spawn('ip', ['netns', 'exec', A, 'ping', '-q', '-f', '-c', '100000', '-w', '10', '10.0.2.2']),
          spawn(
            process.execPath,
            [
              MAIN,
              'exec',
              '--socket',
              gateway.socket,
              '--',
              'sh',
              '-c',
              'for i in $(seq 300); do iptables -A INPUT -p udp --dport $i || exit; done',
            ],
            { stdio: 'ignore' },
          ),
        ]
        await pause(1000)
        gateway.signal(signal)
        const late = setTimeout(() => gateway.signal('SIGKILL'), 10_000)
        expect(await gateway.ended).toBe(0)
        clearTimeout(late)
        expect(existsSync(gateway.socket)).toBe(false)
        for (const name of [A, B]) expect(devices(name)).not.toContain('eth0')
        for (const child of busy) child.kill('SIGKILL')
        idle.destroy()
      },
    )

    test('after a SIGKILL the next one takes the socket over', async () => {
      const first = await new Gateway(folder(FOLDER)).ready()
      first.signal('SIGKILL')
      await first.ended
      expect(existsSync(first.socket)).toBe(true)
      const second = await new Gateway(folder(FOLDER), first.socket).ready()
      expect(second.tool('iptables', '-S', 'FORWARD').code).toBe(0)
      expect(await second.stop()).toBe(0)
    })
  })
})
