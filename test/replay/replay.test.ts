// tunwall replay from the outside: folder and capture in; capture, report and state out; exit status and one line.

import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import {
  type Captured,
  describe as line,
  readCapture,
  readReport,
  writeCapture,
  writeFolder,
} from '../harness/capture.ts'
import { decode, fragment, icmp, SeededRandom, tcp, udp } from '../harness/frames.ts'
import { run } from '../harness/run.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-replay-'))
afterAll(() => rmSync(root, { recursive: true }))
let made = 0

const T0 = 1_700_000_000
const HOST_YAML = `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24], mtu: 1400}
routes: [default via 203.0.113.254]
sysctls: {net.ipv4.ip_forward: 1, net.ipv4.icmp_ratelimit: 0}
`
const SAVE = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.1.2:80
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [5:300]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p udp -m udp --dport 999 -j LOG --log-prefix "nine "
-A FORWARD -p udp -m udp --dport 999 -j REJECT --reject-with icmp-port-unreachable
-A FORWARD -i lan -j ACCEPT
-A FORWARD -i wan -m conntrack --ctstate DNAT -j ACCEPT
COMMIT
`

interface Scene {
  files?: Record<string, string>
  packets: Captured[]
  seed?: number
}

const at = (seconds: number, iface: string, bytes: Uint8Array): Captured => ({
  iface,
  seconds: T0 + Math.floor(seconds),
  nanos: Math.round((seconds % 1) * 1e9),
  bytes,
})

async function play({ files = {}, packets, seed = 1 }: Scene) {
  const directory = join(root, String(made++))
  const host = writeFolder(join(directory, 'host'), { 'host.yaml': HOST_YAML, ...files })
  const path = (name: string) => join(directory, name)
  writeCapture(path('in.pcapng'), packets)
  const said = await run(
    ...['replay', '--host', host, '--in', path('in.pcapng'), '--out', path('out.pcapng')],
    ...['--report', path('report.jsonl'), '--after', path('after'), '--seed', String(seed)],
  )
  expect(said.stderr).toBe('')
  expect(said.status).toBe(0)
  return {
    out: readCapture(path('out.pcapng')).map((p) => line(p, T0)),
    report: readReport(path('report.jsonl')),
    after: (name: string) => readFileSync(join(path('after'), name), 'utf8'),
    bytes: () =>
      [
        path('out.pcapng'),
        path('report.jsonl'),
        ...readdirSync(path('after')).map((n) => join(path('after'), n)),
      ].map((p) => readFileSync(p, 'latin1')),
    stdout: said.stdout,
  }
}

const client = { src: '10.0.1.2', dst: '198.51.100.7' }

test('without rules: forwarded, answered, dropped, each with a word', async () => {
  const big = udp({ ...client, sport: 1, dport: 2, payload: 1450, df: true })
  const { out, report, stdout } = await play({
    packets: [
      at(0, 'lan', udp({ ...client, sport: 1, dport: 2, payload: 4 })),
      at(1, 'lan', icmp({ src: '10.0.1.2', dst: '10.0.1.1', type: 8, code: 0, payload: 8 })),
      at(2, 'lan', tcp({ src: '10.0.1.2', dst: '10.0.1.1', sport: 5, dport: 80, flags: 'S' })),
      at(3, 'lan', udp({ ...client, sport: 1, dport: 2, ttl: 1 })),
      at(4, 'lan', big),
      at(5, 'lan', udp({ src: '127.0.0.1', dst: '198.51.100.7', sport: 1, dport: 2 })),
      at(6, 'lan', udp({ ...client, sport: 1, dport: 2, badIpChecksum: true })),
      at(7, 'wan', Uint8Array.of(0x45)),
    ],
  })
  expect(
    report.map((r) => [r.n, r.ts, r.in, r.verdict, r.out.map((o) => `${o.dev} ${o.len}`).join(), r.reason]),
  ).toEqual([
    [0, T0, 'lan', 'forwarded', 'wan 32', ''],
    [1, T0 + 1, 'lan', 'replied', 'lan 36', 'delivered'],
    [2, T0 + 2, 'lan', 'replied', 'lan 40', 'port-unreachable'],
    [3, T0 + 3, 'lan', 'replied', 'lan 56', 'ttl'],
    [4, T0 + 4, 'lan', 'replied', 'lan 576', 'mtu'],
    [5, T0 + 5, 'lan', 'dropped', '', 'martian-source'],
    [6, T0 + 6, 'lan', 'dropped', '', 'bad-checksum'],
    [7, T0 + 7, 'wan', 'dropped', '', 'bad-header'],
  ])
  expect(out[0]).toBe('0 wan 10.0.1.2 > 198.51.100.7 ttl 63 id 0 udp 1 > 2 len 4')
  expect(out).toHaveLength(5)
  expect(stdout).toBe('8 packets: 3 dropped, 1 forwarded, 4 replied\n')
})

test('NAT, state, REJECT and LOG; counters and connections afterwards', async () => {
  const request = udp({ ...client, sport: 1000, dport: 53, payload: 4 })
  const answer = udp({ src: '198.51.100.7', dst: '203.0.113.1', sport: 53, dport: 1000, payload: 6 })
  const inbound = tcp({
    src: '198.51.100.9',
    dst: '203.0.113.1',
    sport: 4000,
    dport: 8080,
    flags: 'S',
    seq: 100,
  })
  const { out, report, after } = await play({
    files: { 'iptables-save': SAVE, sysctl: 'net.netfilter.nf_conntrack_acct = 1\n' },
    packets: [
      at(0, 'lan', request),
      at(0.5, 'wan', answer),
      at(1, 'wan', inbound),
      at(1.5, 'lan', udp({ ...client, sport: 7, dport: 999 })),
      at(2, 'wan', udp({ src: '198.51.100.7', dst: '10.0.1.2', sport: 7, dport: 7 })),
    ],
  })
  expect(out.slice(0, 3)).toEqual([
    '0 wan 203.0.113.1 > 198.51.100.7 ttl 63 id 0 udp 1000 > 53 len 4',
    '0.5 lan 198.51.100.7 > 10.0.1.2 ttl 63 id 0 udp 53 > 1000 len 6',
    '1 lan 198.51.100.9 > 10.0.1.2 ttl 63 id 0 tcp 4000 > 80 [S] seq 100 ack 0 win 0 len 0'.replace(
      /win \d+/,
      out[2]!.match(/win \d+/)![0],
    ),
  ])
  expect(report.map((r) => [r.verdict, r.reason])).toEqual([
    ['forwarded', ''],
    ['forwarded', ''],
    ['forwarded', ''],
    ['replied', 'rule'],
    ['dropped', 'rule'],
  ])
  expect(report[3]!.log![0]).toMatch(/^nine IN=lan OUT=wan .*SRC=10\.0\.1\.2 DST=198\.51\.100\.7 .*DPT=999/)
  const save = after('iptables-save')
  expect(save).toContain('[1:32] -A POSTROUTING -o wan -j MASQUERADE')
  expect(save).toContain(':FORWARD DROP [6:328]')
  expect(save).toContain(
    '[1:28] -A FORWARD -p udp -m udp --dport 999 -j REJECT --reject-with icmp-port-unreachable',
  )
  expect(after('conntrack').trim().split('\n').sort()).toEqual([
    expect.stringMatching(
      /^ipv4 +2 tcp +6 119 SYN_SENT src=198\.51\.100\.9 dst=203\.0\.113\.1 sport=4000 dport=8080 packets=1 bytes=40 \[UNREPLIED\] src=10\.0\.1\.2 dst=198\.51\.100\.9 sport=80 dport=4000 packets=0 bytes=0 mark=0 /,
    ),
    expect.stringMatching(
      /^ipv4 +2 udp +17 28 src=10\.0\.1\.2 dst=198\.51\.100\.7 sport=1000 dport=53 packets=1 bytes=32 src=198\.51\.100\.7 dst=203\.0\.113\.1 sport=53 dport=1000 packets=1 bytes=34 mark=0 /,
    ),
  ])
  expect(after('ipset-save')).toBe('')
  expect(after('ip6tables-save')).toBe('')
})

test('the clock: fragments that wait are consumed, and their timer answers; time never goes back', async () => {
  const pieces = fragment(
    udp({ src: '10.0.1.2', dst: '10.0.1.1', sport: 1, dport: 2, payload: 3000, id: 9 }),
    1000,
  )
  const { out, report } = await play({
    files: { 'iptables-save': SAVE },
    packets: [
      at(0, 'lan', pieces[0]!),
      at(1, 'lan', pieces[1]!),
      at(60, 'lan', udp({ ...client, sport: 5, dport: 6 })),
      at(59, 'lan', udp({ ...client, sport: 5, dport: 6 })),
    ],
  })
  expect(report.map((r) => r.verdict)).toEqual(['consumed', 'consumed', 'forwarded', 'forwarded'])
  // ip_expire(): 30 seconds after the first piece came, and up to the 2.05 s that a timer of this length is late in the
  // kernel's wheel, time exceeded in reassembly.
  expect(report[2]!.timers).toEqual([{ dev: 'lan', len: 576 }])
  expect(out[0]).toMatch(/^3[01](\.\d+)? lan 10\.0\.1\.1 > 10\.0\.1\.2 .*icmp 11\/1/)
  expect(out.slice(1).map((l) => l.split(' ')[0])).toEqual(['60', '59'])
})

test('connections end in capture time', async () => {
  const { after } = await play({
    files: { 'iptables-save': SAVE },
    packets: [
      at(0, 'lan', udp({ ...client, sport: 1, dport: 53 })),
      at(25, 'lan', udp({ ...client, sport: 2, dport: 53 })),
      at(31.5, 'lan', udp({ ...client, sport: 3, dport: 53 })),
    ],
  })
  const lines = after('conntrack').trim().split('\n')
  expect(lines.map((l) => l.match(/udp +17 (\d+) .*?sport=(\d+)/)!.slice(1)).sort()).toEqual([
    ['23', '2'],
    ['30', '3'],
  ])
})

test('the same capture and seed give the same files; another seed other random numbers', async () => {
  const random = new SeededRandom(77)
  const packets: Captured[] = []
  for (let i = 0; i < 3000; i++) {
    const up = random.u32() % 3 > 0
    const port = 1000 + (random.u32() % 50)
    const frame = up
      ? udp({
          src: `10.0.1.${2 + (random.u32() % 20)}`,
          dst: '198.51.100.7',
          sport: port,
          dport: 53 + (random.u32() % 3),
          payload: random.u32() % 60,
        })
      : udp({ src: '198.51.100.7', dst: '203.0.113.1', sport: 53, dport: port, ttl: 1 + (random.u32() % 3) })
    packets.push(at(i / 100, up ? 'lan' : 'wan', frame))
  }
  const files = { 'iptables-save': SAVE.replace('-j MASQUERADE', '-j MASQUERADE --random-fully') }
  const first = await play({ files, packets, seed: 5 })
  const again = await play({ files, packets, seed: 5 })
  const other = await play({ files, packets, seed: 6 })
  expect(again.bytes()).toEqual(first.bytes())
  expect(other.bytes()[0]).not.toBe(first.bytes()[0])
})

describe('captures', () => {
  const frame = udp({ ...client, sport: 1, dport: 2 })
  const folder = (yaml = HOST_YAML) => writeFolder(join(root, `c${made++}`), { 'host.yaml': yaml })
  const u32 = (...values: number[]) =>
    values.flatMap((v) => [v & 255, (v >>> 8) & 255, (v >>> 16) & 255, v >>> 24])
  const pcap = (linkType: number, ...frames: Uint8Array[]) =>
    Uint8Array.from([
      ...u32(0xa1b2c3d4, 0x00040002, 0, 0, 65535, linkType),
      ...frames.flatMap((f) => [...u32(T0, 0, f.length, f.length), ...f]),
    ])
  const ether = (dst: number, src: number, type: number[], body: Uint8Array) =>
    Uint8Array.from([2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, ...type, ...body])

  test('pcap with --iface, Ethernet with VLANs and a known MAC address', async () => {
    const host = folder(
      'interfaces:\n  lan: {addresses: 10.0.1.1/24, mac: "02:00:00:00:00:01"}\n  lan.5: {addresses: 10.0.5.1/24}\n  wan: {addresses: 203.0.113.1/24}\n' +
        'routes: [default via 203.0.113.254]\nsysctls: {net.ipv4.ip_forward: 1}\n',
    )
    const input = join(root, 'eth.pcap')
    const tagged = udp({ src: '10.0.5.2', dst: '198.51.100.7', sport: 1, dport: 2 })
    writeFileSync(
      input,
      pcap(
        1,
        ether(1, 9, [8, 0], frame),
        ether(9, 1, [8, 0], frame),
        ether(8, 9, [8, 0], frame),
        ether(1, 9, [0x81, 0, 0, 5, 8, 0], tagged),
        ether(1, 9, [0x81, 0, 0, 6, 8, 0], tagged),
        ether(1, 9, [8, 6], new Uint8Array(28)),
        ether(1, 9, [0x86, 0xdd], frame),
        ether(1, 9, [8, 0], Uint8Array.from([...frame, 0, 0, 0, 0, 0, 0])),
      ),
    )
    const report = join(root, 'eth.jsonl')
    const said = await run(
      'replay',
      '--host',
      host,
      '--in',
      input,
      '--out',
      join(root, 'eth.out'),
      '--iface',
      'lan',
      '--report',
      report,
    )
    expect(said).toEqual({ status: 0, stdout: '8 packets: 5 dropped, 3 forwarded\n', stderr: '' })
    expect(readReport(report).map((r) => [r.in, r.verdict, r.reason])).toEqual([
      ['lan', 'forwarded', ''],
      ['lan', 'dropped', 'outgoing'],
      ['lan', 'dropped', 'other-host'],
      ['lan.5', 'forwarded', ''],
      ['lan', 'dropped', 'vlan'],
      ['lan', 'dropped', 'not-ip'],
      ['lan', 'dropped', 'bad-header'],
      ['lan', 'forwarded', ''],
    ])
    expect(
      readCapture(join(root, 'eth.out'))
        .map((p) => decode(p.bytes))
        .at(-1),
    ).toBe('10.0.1.2 > 198.51.100.7 ttl 63 id 0 udp 1 > 2 len 0')
  })

  const bad: [string, () => string[], RegExp][] = [
    [
      'no such capture',
      () => ['--in', join(root, 'none.pcap')],
      /\/none\.pcap:1:1: cannot be read: no such file or directory\n$/,
    ],
    [
      'unknown interface',
      () => {
        writeCapture(join(root, 'x.pcapng'), [at(0, 'eth9', frame)])
        return ['--in', join(root, 'x.pcapng')]
      },
      /\/x\.pcapng:3:\d+: interface "eth9" is none of the host's: lo, lan, wan\n$/,
    ],
    [
      'unknown --iface',
      () => {
        writeFileSync(join(root, 'e.pcap'), pcap(101))
        return ['--in', join(root, 'e.pcap'), '--iface', 'eth9']
      },
      /^--iface eth9: expected an interface of the host: lo, lan, wan\n$/,
    ],
    [
      'interface not named',
      () => {
        writeFileSync(join(root, 'n.pcap'), pcap(101, frame))
        return ['--in', join(root, 'n.pcap')]
      },
      /\/n\.pcap:2:\d+: the capture does not name its interface: say --iface NAME\n$/,
    ],
    [
      'link type',
      () => {
        writeFileSync(join(root, 'l.pcap'), pcap(127, frame))
        return ['--in', join(root, 'l.pcap'), '--iface', 'lan']
      },
      /\/l\.pcap:2:\d+: link type 127 of interface 0 is none that holds IP/,
    ],
    [
      'cut off',
      () => {
        const whole = pcap(101, frame, frame)
        writeFileSync(join(root, 't.pcap'), whole.subarray(0, whole.length - 5))
        return ['--in', join(root, 't.pcap'), '--iface', 'lan']
      },
      /\/t\.pcap:3:\d+: the file ends within a packet of 28 bytes\n$/,
    ],
    ['not a capture', () => ['--in', `${folder()}/host.yaml`], /\/host\.yaml:1:1: neither pcap nor pcapng/],
    [
      'no folder',
      () => ['--in', join(root, 'n.pcap'), '--host', join(root, 'nowhere')],
      /\/nowhere:1:1: no host folder: no such file or directory\n$/,
    ],
    [
      'a bad rule',
      () => [
        '--in',
        join(root, 'n.pcap'),
        '--host',
        writeFolder(join(root, 'badrule'), {
          'host.yaml': HOST_YAML,
          'iptables-save': '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 70000 -j DROP\nCOMMIT\n',
        }),
      ],
      /\/badrule\/iptables-save:3:\d+: .*70000.*\n$/,
    ],
  ]
  test.each(bad)('%s: one line, status 2, no file left behind', async (_, argv, want) => {
    const directory = join(root, `bad${made++}`)
    writeFolder(directory, {})
    const words = argv()
    const host = words.includes('--host') ? [] : ['--host', folder()]
    const said = await run(
      'replay',
      ...host,
      ...words,
      '--out',
      join(directory, 'out.pcapng'),
      '--report',
      join(directory, 'r'),
      '--after',
      join(directory, 'after'),
    )
    expect(said.stderr).toMatch(want)
    expect(said.stderr.split('\n')).toHaveLength(2)
    expect(said.stdout).toBe('')
    expect(said.status).toBe(2)
    expect(readdirSync(directory)).toEqual([])
  })

  test('an output that cannot be written leaves the others alone', async () => {
    writeFileSync(join(root, 'ok.pcap'), pcap(101, frame))
    const directory = writeFolder(join(root, `w${made++}`), { 'out.pcapng': 'before' })
    const said = await run(
      ...['replay', '--host', folder(), '--in', join(root, 'ok.pcap'), '--iface', 'lan'],
      ...['--out', join(directory, 'out.pcapng'), '--report', join(directory, 'no/where')],
    )
    expect(said.status).toBe(1)
    expect(said.stderr).toMatch(/^tunwall: .*\/no\/where: cannot be written: no such file or directory\n$/)
    expect(readdirSync(directory)).toEqual(['out.pcapng'])
    expect(readFileSync(join(directory, 'out.pcapng'), 'utf8')).toBe('before')
    chmodSync(directory, 0o700)
  })
})

describe('the command', () => {
  test('--help and --version', async () => {
    expect(await run('--version')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    })
    const help = await run('--help')
    expect(help).toMatchObject({ status: 0, stderr: '' })
    for (const word of ['up', 'replay', 'exec', 'iptables', 'conntrack', 'sysctl'])
      expect(help.stdout).toMatch(new RegExp(`^  ${word} `, 'm'))
    expect((await run('replay', '--help')).stdout).toContain('--host <dir>')
  })

  test.each([
    [['replay'], /required option '--host <dir>' not specified/],
    [['replay', '--host', 'x', '--in', 'y', '--out', 'z', '--what'], /unknown option '--what'/],
    [['relpay'], /unknown command 'relpay'/],
    [
      ['replay', '--host', 'x', '--in', 'y', '--out', 'z', '--seed', 'abc'],
      /^--seed abc: expected a whole number/,
    ],
  ])('%j ends with 2', async (argv, want) => {
    const said = await run(...(argv as string[]))
    expect(said.status).toBe(2)
    expect(said.stderr).toMatch(want as RegExp)
    expect(said.stdout).toBe('')
  })
})

test('the capture of the README, recorded in the lab: what the lab showed', async () => {
  const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
  const dir = join(root, String(made++))
  const done = await run(
    ...['replay', '--host', at('../../scripts/lab/host'), '--in', at('data/web.pcapng')],
    ...['--out', `${dir}.pcapng`, '--after', `${dir}-after`],
  )
  expect(done).toEqual({ status: 0, stdout: '31 packets: 1 dropped, 28 forwarded, 2 replied\n', stderr: '' })
  const flows = readFileSync(`${dir}-after/conntrack`, 'utf8')
  expect(flows).toMatch(/src=10\.0\.1\.2 dst=203\.0\.113\.2 .* dport=80 .* dst=203\.0\.113\.1 .*\[ASSURED\]/)
  expect(flows).toMatch(
    /src=203\.0\.113\.2 dst=203\.0\.113\.1 .* dport=8080 .* src=10\.0\.1\.2 .*\[ASSURED\]/,
  )
  const rules = readFileSync(`${dir}-after/iptables-save`, 'utf8')
  for (const line of [/\[1:60\] .* -j DNAT /, /\[4:264\] .* -j MASQUERADE/, /\[1:60\] .* -j REJECT /])
    expect(rules).toMatch(line)
  expect(readCapture(`${dir}.pcapng`)).toHaveLength(30)
})
