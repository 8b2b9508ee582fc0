// The command: what it writes, what it refuses, and that it leaves nothing half written.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { readCapture, writeCapture, writeFolder } from '../harness/capture.ts'
import { repositoryRoot } from '../harness/kernel.ts'
import { run } from '../harness/run.ts'
import { unhex } from '../harness/scenario.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-anonymize-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let folder = ''
let count = 0
beforeEach(() => {
  folder = join(root, String(count++))
  mkdirSync(folder)
})
const at = (name: string): string => join(folder, name)

const UDP = '4500002000004000401100000a0000050a00000700350035000c000061626364'
const FILES = {
  'host.yaml': 'interfaces:\n  lan: {addresses: 10.0.0.1/24}\n  wan: {addresses: 45.6.7.8/24}\n',
  'iptables-save':
    '*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:shop - [0:0]\n' +
    '-A FORWARD -s 10.0.0.5/32 -i lan -j shop\n-A shop -m string --string secret --algo bm -j DROP\nCOMMIT\n',
}

function capture(name: string): string {
  const path = at(name)
  writeCapture(path, [
    { iface: 'lan', seconds: 1_700_000_000, nanos: 5, bytes: unhex(UDP) },
    { iface: 'wan', seconds: 1_700_000_001, nanos: 7, bytes: unhex(UDP) },
  ])
  return path
}

const anonymize = (...argv: string[]) => run('anonymize', ...argv)

test('a folder and its capture, by one mapping', async () => {
  writeFolder(at('host'), FILES)
  const input = capture('in.pcapng')
  const got = await anonymize(
    ...['--host', at('host'), '--out', at('out'), '--in', input, '--to', at('out.pcapng')],
    ...['--key', 'k', '--map', at('map.json')],
  )
  expect(got.status).toBe(0)
  expect(got.stdout).toBe('anonymized 2 files, 2 packets\n')
  expect(got.stderr).toBe(
    `${at('host')}/iptables-save:7:1: --string looks for other bytes now, and captures have none left to find\n`,
  )
  expect(readdirSync(folder).sort()).toEqual(['host', 'in.pcapng', 'map.json', 'out', 'out.pcapng'])
  expect(statSync(at('map.json')).mode & 0o777).toBe(0o600)
  const map = JSON.parse(readFileSync(at('map.json'), 'utf8'))
  const back = (kind: string, name: string): string =>
    Object.entries(map[kind]).find(([, from]) => from === name)![0]
  const rules = readFileSync(at('out/iptables-save'), 'utf8')
  expect(rules).toContain(
    `-A FORWARD -s ${back('address', '10.0.0.5')}/32 -i ${back('interface', 'lan')} -j ${back('chain', 'shop')}`,
  )
  expect(rules).not.toContain('secret')
  const [first, second] = readCapture(at('out.pcapng'))
  expect([first!.iface, second!.iface]).toEqual([back('interface', 'lan'), back('interface', 'wan')])
  expect([first!.seconds, first!.nanos, second!.nanos]).toEqual([1_700_000_000, 5, 7])
  expect([...first!.bytes.subarray(12, 16)].join('.')).toBe(back('address', '10.0.0.5'))
  expect(Buffer.from(first!.bytes).subarray(20).toString('hex')).toMatch(/^00350035000c000000000000$/)
  // The same host does the same with it.
  const replayed = await run(
    'replay',
    '--host',
    at('out'),
    '--in',
    at('out.pcapng'),
    '--out',
    at('left.pcapng'),
  )
  expect(replayed.status).toBe(0)
})

test('without a key each time is another; with one, of a file too, it is the same', async () => {
  writeFolder(at('host'), FILES)
  writeFileSync(at('key'), 'k\n')
  const out: string[] = []
  for (const key of [[], [], ['--key', 'k'], ['--key-file', at('key')]]) {
    const to = at(`out${out.length}`)
    expect((await anonymize('--host', at('host'), '--out', to, ...key)).status).toBe(0)
    out.push(readFileSync(join(to, 'iptables-save'), 'utf8'))
  }
  expect(new Set(out).size).toBe(3)
  expect(out[2]).toBe(out[3])
})

test('several hosts at once, and what is kept', async () => {
  writeFolder(at('a'), FILES)
  writeFolder(at('b'), { 'host.yaml': 'interfaces:\n  lan: {addresses: 10.0.0.2/24}\n' })
  const got = await anonymize(
    ...[
      '--host',
      at('a'),
      '--out',
      at('x'),
      '--host',
      at('b'),
      '--out',
      at('y'),
      '--keep',
      '45.6.7.0/24',
      '--keep',
      'wan',
    ],
  )
  expect(got.status).toBe(0)
  const [a, b] = ['x', 'y'].map((name) => readFileSync(at(`${name}/host.yaml`), 'utf8'))
  expect(a).toContain('wan:')
  expect(a).toContain('45.6.7.8/24')
  const net = /(10\.\d+\.\d+)\.\d+\/24/
  expect(net.exec(a!)![1]).toBe(net.exec(b!)![1])
})

test('pipes, gzip, pcap without names, and packets that were cut', async () => {
  const pcap = Buffer.alloc(24 + 16 + 32)
  pcap.writeUInt32LE(0xa1b2c3d4, 0)
  pcap.writeUInt16LE(2, 4)
  pcap.writeUInt32LE(32, 16)
  pcap.writeUInt32LE(101, 20)
  pcap.writeUInt32LE(7, 24)
  pcap.writeUInt32LE(32, 32)
  pcap.writeUInt32LE(900, 36)
  pcap.set(unhex(UDP), 40)
  writeFileSync(at('in.pcap.gz'), gzipSync(pcap))
  expect((await anonymize('--in', at('in.pcap.gz'), '--to', at('out.pcapng.gz'))).status).toBe(0)
  const bytes = gunzipSync(readFileSync(at('out.pcapng.gz')))
  writeFileSync(at('out.pcapng'), bytes)
  const [only] = readCapture(at('out.pcapng'))
  expect(only!.iface).toBe('?')
  // Bytes on the wire stand behind those captured.
  const block = bytes.indexOf(Buffer.from([6, 0, 0, 0]))
  expect([bytes.readUInt32LE(block + 20), bytes.readUInt32LE(block + 24)]).toEqual([32, 900])
})

test('the folder of an example is explained alike', async () => {
  const host = join(repositoryRoot(), 'docs/examples/calico')
  const got = await anonymize('--host', host, '--out', at('out'), '--key', 'k')
  expect(got.status).toBe(0)
  const names = readFileSync(at('out/iptables-save'), 'utf8')
  expect(names).toContain(':cali-FORWARD')
})

// -- ten things that nobody asked for

const refused = async (words: RegExp, status: number, ...argv: string[]): Promise<void> => {
  const before = readdirSync(folder)
  const got = await anonymize(...argv)
  expect(got.stderr).toMatch(words)
  expect(got.stderr.trim().split('\n').length).toBe(1)
  expect(got.stdout).toBe('')
  expect(got.status).toBe(status)
  expect(readdirSync(folder)).toEqual(before)
}

test('nothing to do, and half of a pair', async () => {
  await refused(/^expected --host DIR --out DIR, or --in FILE --to FILE$/m, 2)
  await refused(/^expected as many --out as --host, not 0 and 1$/m, 2, '--host', at('host'))
  await refused(/^expected as many --to as --in, not 2 and 1$/m, 2, '--in', 'a', '--to', 'b', '--to', 'c')
})

test('a folder that is not there, or not right', async () => {
  await refused(
    /nowhere:1:1: no host folder: no such file or directory$/m,
    2,
    '--host',
    at('nowhere'),
    '--out',
    at('out'),
  )
  writeFolder(at('host'), { ...FILES, 'iptables-save': '*filter\n-A FORWARD --dport 80\nCOMMIT\n' })
  await refused(/host\/iptables-save:2:\d+: /, 2, '--host', at('host'), '--out', at('out'))
  writeFolder(at('json'), { 'ip-addr.json': '[{"ifname": 7}]' })
  await refused(/json\/ip-addr.json:1:\d+: /, 2, '--host', at('json'), '--out', at('out'))
})

test('a place where something is', async () => {
  writeFolder(at('host'), FILES)
  writeFolder(at('full'), { mine: 'x' })
  writeFileSync(at('file'), 'x')
  await refused(/full: is not empty/, 2, '--host', at('host'), '--out', at('full'))
  await refused(/file: is there, and no directory/, 2, '--host', at('host'), '--out', at('file'))
  await refused(
    /host\/new: is inside of .*host, which it is made of/,
    2,
    '--host',
    at('host'),
    '--out',
    at('host/new'),
  )
  expect(readFileSync(at('full/mine'), 'utf8')).toBe('x')
  mkdirSync(at('empty'))
  expect((await anonymize('--host', at('host'), '--out', at('empty'))).status).toBe(0)
})

test('the capture itself, by whatever name', async () => {
  const input = capture('in.pcapng')
  symlinkSync(input, at('link.pcapng'))
  await refused(/is the capture itself/, 2, '--in', input, '--to', at('./in.pcapng'))
  await refused(/is the capture itself/, 2, '--in', at('link.pcapng'), '--to', input)
  await refused(/is written twice/, 2, '--in', input, '--to', at('x'), '--in', input, '--to', at('x'))
})

test('no capture, or half of one: the folder is not written either', async () => {
  writeFolder(at('host'), FILES)
  const whole = readFileSync(capture('in.pcapng'))
  writeFileSync(at('half.pcapng'), whole.subarray(0, whole.length - 10))
  writeFileSync(at('text'), 'hello, world')
  const host = ['--host', at('host'), '--out', at('out')]
  await refused(/half.pcapng:\d+:\d+: /, 2, ...host, '--in', at('half.pcapng'), '--to', at('to'))
  await refused(/text:1:1: neither pcap nor pcapng/, 2, ...host, '--in', at('text'), '--to', at('to'))
  await refused(/none:1:1: cannot be read: no such file/, 2, ...host, '--in', at('none'), '--to', at('to'))
  expect(existsSync(at('out'))).toBe(false)
})

test('keys that are none', async () => {
  writeFileSync(at('empty'), '\n')
  const host = ['--host', at('host'), '--out', at('out')]
  await refused(/--key: is empty/, 2, ...host, '--key', '')
  await refused(/empty:1:1: no key: the file is empty/, 2, ...host, '--key-file', at('empty'))
  await refused(/nokey:1:1: cannot be read: no such file/, 2, ...host, '--key-file', at('nokey'))
  await refused(/expected one of --key and --key-file/, 2, ...host, '--key', 'a', '--key-file', at('empty'))
})

test('the private mapping among what is shown', async () => {
  writeFolder(at('host'), FILES)
  await refused(
    /is private, and .*out is to be shown/,
    2,
    '--host',
    at('host'),
    '--out',
    at('out'),
    '--map',
    at('out/map.json'),
  )
})

test('a link type that holds no IP', async () => {
  const pcap = Buffer.alloc(24 + 16)
  pcap.writeUInt32LE(0xa1b2c3d4, 0)
  pcap.writeUInt16LE(2, 4)
  pcap.writeUInt32LE(105, 20)
  writeFileSync(at('wifi.pcap'), pcap)
  await refused(/wifi.pcap:\d+:\d+: link type 105/, 2, '--in', at('wifi.pcap'), '--to', at('to'))
})

test('files that belong to no host are left out, and said', async () => {
  writeFolder(at('host'), { ...FILES, 'notes.txt': 'Main Street 5', '.netrc': 'x' })
  const got = await anonymize('--host', at('host'), '--out', at('out'))
  expect(got.stderr).toContain(`${at('host')}: left out, as no host is read from them: .netrc, notes.txt\n`)
  expect(readdirSync(at('out')).sort()).toEqual(['host.yaml', 'iptables-save'])
})

test('rules that delete and insert', async () => {
  writeFolder(at('host'), {
    'host.yaml': FILES['host.yaml'],
    'iptables-save':
      '*filter\n-N a\n-A INPUT -s 45.6.7.9 -j a\n-I INPUT -s 45.6.7.10 -j DROP\n-A INPUT -s 10.0.0.9,10.0.0.10 -j DROP\n-D INPUT -s 10.0.0.9 -j DROP\nCOMMIT\n',
  })
  expect((await anonymize('--host', at('host'), '--out', at('out'), '--keep', '0.0.0.0/0')).status).toBe(0)
  const rules = readFileSync(at('out/iptables-save'), 'utf8').match(/-A .*/g)
  expect(rules).toEqual([
    '-A INPUT -s 45.6.7.10/32 -j DROP',
    expect.stringMatching(/^-A INPUT -s 45\.6\.7\.9\/32 -j chain-\w{10}$/),
    '-A INPUT -s 10.0.0.10/32 -j DROP',
  ])
})

test('what says that a mapping cannot hold', async () => {
  writeFolder(at('host'), {
    'host.yaml': FILES['host.yaml'],
    'iptables-save':
      '*filter\n-A INPUT -m u32 --u32 "12=0xa000005" -j DROP\n-A INPUT -m iprange --src-range 45.0.0.1-99.0.0.1 -j DROP\nCOMMIT\n',
  })
  const { stderr, status } = await anonymize('--host', at('host'), '--out', at('out'))
  expect(status).toBe(0)
  expect(stderr).toContain('iptables-save:2:1: --u32 looks into packets and is kept as it is')
  expect(stderr).toContain('iptables-save:3:1: a range: all addresses of 0.0.0.0/1 keep 31 bits')
})
