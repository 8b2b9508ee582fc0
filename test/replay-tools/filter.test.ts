// --filter plays the packets that tcpdump shows for the same words; packed captures and pipes; one line for mistakes.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { CaptureFile } from '../../daemon/replay/capture-file.ts'
import { CaptureFilter } from '../../daemon/replay/filter.ts'
import { readCapture, readReport, writeCapture, writeFolder } from '../harness/capture.ts'
import { SeededRandom, tcp, udp } from '../harness/frames.ts'
import { MAIN } from '../harness/gateway.ts'
import { run } from '../harness/run.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-filter-'))
afterAll(() => rmSync(root, { recursive: true }))

const host = writeFolder(join(root, 'host'), {
  'host.yaml': `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24]}
routes: [default via 203.0.113.254]
sysctls: {net.ipv4.ip_forward: 1}
`,
})

const libpcap = (() => {
  try {
    new CaptureFilter('tcp')
    return true
  } catch {
    return false
  }
})()
const tcpdump = spawnSync('tcpdump', ['--version']).status === 0

/** `count` frames of one link type as a pcap: IPv4 and IPv6, TCP, UDP and ICMP, fragments, VLAN tags, noise. */
function randomCapture(path: string, linkType: number, count: number, seed: number): void {
  const random = new SeededRandom(seed)
  const records: Buffer[] = []
  const header = Buffer.alloc(24)
  header.writeUInt32LE(0xa1b2c3d4, 0)
  header.writeUInt16LE(2, 4)
  header.writeUInt16LE(4, 6)
  header.writeUInt32LE(262144, 16)
  header.writeUInt32LE(linkType, 20)
  records.push(header)
  for (let i = 0; i < count; i++) {
    const six = random.once(3)
    const ends = six
      ? { src: `2001:db8::${random.below(4)}`, dst: `2001:db8::${random.below(4)}` }
      : { src: `10.0.0.${random.below(4)}`, dst: `10.0.${random.below(2)}.${random.below(4)}` }
    const ports = { sport: random.pick([53, 80, 1024, 4000]), dport: random.pick([53, 80, 443]) }
    const ip = random.once(2)
      ? tcp({ ...ends, ...ports, flags: random.pick(['S', 'SA', 'A', 'R', 'FA']) })
      : udp({ ...ends, ...ports, payload: random.below(60) })
    if (!six && random.once(6)) ip[7] = random.below(3)
    const type = six ? [0x86, 0xdd] : [8, 0]
    const link =
      linkType === 1
        ? [...random.bytes(12), ...(random.once(5) ? [0x81, 0, 0, random.below(3)] : []), ...type]
        : linkType === 113
          ? [0, random.below(5), 0, 1, 0, 6, ...random.bytes(8), ...type]
          : []
    const frame = Buffer.from([...link, ...ip])
    if (random.once(20)) frame.fill(random.below(256), link.length)
    const cut = random.once(8) ? random.below(frame.length + 1) : frame.length
    const record = Buffer.alloc(16)
    record.writeUInt32LE(1_700_000_000, 0)
    record.writeUInt32LE(i, 4)
    record.writeUInt32LE(cut, 8)
    record.writeUInt32LE(frame.length, 12)
    records.push(record, frame.subarray(0, cut))
  }
  writeFileSync(path, Buffer.concat(records))
}

const EXPRESSIONS = [
  'tcp',
  'udp port 53',
  'ip6',
  'tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn',
  'src host 10.0.0.1 or dst net 10.0.1.0/24',
  'ip6 host 2001:db8::2 and not port 80',
  'greater 80',
  'less 60 and udp',
  'portrange 400-1100',
  'ip[6:2] & 0x1fff != 0',
  'ip proto 6 and ip[8] > 3',
  'len % 3 == 1',
]
const ETHERNET = ['vlan', 'vlan 1 and tcp', 'ether[0] & 1 != 0', 'arp or ip6']

describe.skipIf(!libpcap)('libpcap compiles, we run (needs libpcap0.8)', () => {
  test.skipIf(!tcpdump).each([
    ['RAW', 101],
    ['EN10MB', 1],
    ['LINUX_SLL', 113],
  ] as const)('%s: as tcpdump shows (needs tcpdump)', (name, linkType) => {
    const path = join(root, `${name}.pcap`)
    randomCapture(path, linkType, 400, 7 + linkType)
    let passed = 0
    for (const expression of [...EXPRESSIONS, ...(linkType === 1 ? ETHERNET : [])]) {
      const shown = spawnSync('tcpdump', ['-r', path, '-nn', '-tt', '-q', expression], { encoding: 'utf8' })
      expect(shown.status, shown.stderr).toBe(0)
      const theirs = shown.stdout
        .split('\n')
        .filter((line) => /^1700000000\./.test(line))
        .map((line) => Number(line.slice(11, 17)))
      const filter = new CaptureFilter(expression)
      const capture = new CaptureFile(path)
      const ours: number[] = []
      while (capture.next()) if (filter.passes(capture.reader)) ours.push(capture.reader.nanos / 1000)
      capture.close()
      expect(ours, expression).toEqual(theirs)
      passed += ours.length
    }
    expect(passed).toBeGreaterThan(300)
  })

  test('packets keep their numbers; the others are as if they were not there', async () => {
    const input = join(root, 'few.pcapng')
    writeCapture(
      input,
      [53, 80, 53].map((dport, i) => ({
        iface: 'lan',
        seconds: 1_700_000_000 + i,
        nanos: 0,
        bytes: udp({ src: '10.0.1.2', dst: '8.8.8.8', sport: 1, dport }),
      })),
    )
    const report = join(root, 'few.jsonl')
    const out = join(root, 'few-out.pcapng')
    const said = await run(
      ...['replay', '--host', host, '--in', input, '--out', out, '--report', report],
      ...['--filter', 'udp port 53'],
    )
    expect(said).toEqual({ status: 0, stdout: '2 packets: 2 forwarded\n', stderr: '' })
    expect(readReport(report).map((line) => line.n)).toEqual([0, 2])
    expect(readCapture(out)).toHaveLength(2)
  })

  test.each([
    ['tcp prt 80', '--filter:1:5: "tcp prt 80": syntax error\n'],
    ['port eighty thousand', `--filter:1:1: "port eighty thousand": unknown port 'eighty'\n`],
    ['host 10.0.0.300', /^--filter:1:1: "host 10.0.0.300": .*10\.0\.0\.300/],
    ['tcp and (udp', '--filter:1:5: "tcp and (udp": syntax error\n'],
  ])('%s: one line that says where', async (filter, message) => {
    const out = join(root, 'never.pcapng')
    const said = await run('replay', '--host', host, '--in', '/dev/null', '--out', out, '--filter', filter)
    expect(said.status).toBe(2)
    if (typeof message === 'string') expect(said.stderr).toBe(message)
    else expect(said.stderr).toMatch(message)
    expect(said.stderr.trimEnd()).not.toContain('\n')
    expect(existsSync(out)).toBe(false)
  })

  test('what only some links have: none of the others pass', () => {
    const path = join(root, 'arp.pcap')
    randomCapture(path, 101, 5, 1)
    const filter = new CaptureFilter('arp')
    const capture = new CaptureFile(path)
    while (capture.next()) expect(filter.passes(capture.reader)).toBe(false)
    capture.close()
  })
})

test('without libpcap: one line, exit 2', () => {
  expect(() => new CaptureFilter('tcp', { compile: () => null })).toThrowError(
    expect.objectContaining({
      message: '--filter: libpcap is not installed (Debian package libpcap0.8)',
      status: 2,
    }),
  )
})

describe('packed captures and pipes', () => {
  const plain = join(root, 'plain.pcapng')
  writeCapture(
    plain,
    Array.from({ length: 5000 }, (_, i) => ({
      iface: 'lan',
      seconds: 1_700_000_000,
      nanos: i,
      bytes: udp({ src: '10.0.1.2', dst: '8.8.8.8', sport: 1, dport: 2, payload: 300 }),
    })),
  )
  const packed = join(root, 'packed.pcapng.gz')
  // Two pieces, as a writer that was started twice leaves them.
  const bytes = readFileSync(plain)
  writeFileSync(packed, Buffer.concat([gzipSync(bytes.subarray(0, 9999)), gzipSync(bytes.subarray(9999))]))

  test('gzip in, gzip out: the same bytes inside', async () => {
    const [a, b] = [join(root, 'a.pcapng'), join(root, 'b.pcapng.gz')]
    expect((await run('replay', '--host', host, '--in', plain, '--out', a)).status).toBe(0)
    expect((await run('replay', '--host', host, '--in', packed, '--out', b)).status).toBe(0)
    expect(gunzipSync(readFileSync(b)).equals(readFileSync(a))).toBe(true)
    if (spawnSync('tshark', ['-v']).status !== 0) return
    const shown = spawnSync('tshark', ['-r', b, '-T', 'fields', '-e', 'frame.number'], { encoding: 'utf8' })
    expect(shown.stdout.trimEnd().split('\n')).toHaveLength(5000)
  })

  test('damaged gzip: one line', async () => {
    const bad = join(root, 'bad.gz')
    writeFileSync(bad, gzipSync(bytes).subarray(0, 400))
    const said = await run('replay', '--host', host, '--in', bad, '--out', join(root, 'c.pcapng'))
    expect(said).toEqual({
      status: 2,
      stdout: '',
      stderr: `${bad}:1:1: cannot be unpacked: unexpected end of file\n`,
    })
  })

  test.skipIf(!existsSync(MAIN))('standard input and output (needs npm run build)', async () => {
    const a = join(root, 'd.pcapng')
    await run('replay', '--host', host, '--in', plain, '--out', a)
    const child = spawnSync(process.execPath, [MAIN, 'replay', '--host', host, '--in', '-', '--out', '-'], {
      input: bytes,
      maxBuffer: 1e9,
    })
    expect(child.stderr.toString()).toBe('5000 packets: 5000 forwarded\n')
    expect(child.status).toBe(0)
    expect(child.stdout.equals(readFileSync(a))).toBe(true)
  })
})
