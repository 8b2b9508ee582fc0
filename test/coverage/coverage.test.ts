// tunwall coverage and tunwall test --coverage: hits, rules that nothing can hit, annotated rules, lcov.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { tunwall } from '../../daemon/cli/tunwall.ts'
import { writeCapture } from '../harness/capture.ts'
import { tcp, udp } from '../harness/frames.ts'

const folder = mkdtempSync(join(tmpdir(), 'tunwall-coverage-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const SAVE = `*filter
:INPUT ACCEPT [7:420]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:OLD - [0:0]
:WEB - [0:0]
[3:120] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A FORWARD -i eth0 -p tcp -j WEB
[0:0] -A FORWARD -p udp -m udp --dport 53 -j ACCEPT
[0:0] -A FORWARD -s 10.0.0.9/32 -p udp -m udp --dport 53 -j DROP
[0:0] -A OLD -j DROP
[0:0] -A WEB -p tcp -m tcp --dport 80 -j ACCEPT
[0:0] -A WEB -p tcp -m tcp --dport 443 -j ACCEPT
COMMIT
`

const host = join(folder, 'site')
mkdirSync(host)
writeFileSync(join(host, 'iptables-save'), SAVE)
writeFileSync(
  join(host, 'host.yaml'),
  'interfaces: {eth0: {addresses: 10.0.0.1/24}, eth1: {addresses: 10.1.0.1/24}}\nsysctls: {net.ipv4.ip_forward: 1}\n',
)
writeFileSync(
  join(host, 'site.test.yaml'),
  `host: .
tests:
  - {name: web, send: tcp 10.0.0.5 > 10.1.0.5:80 in eth0, expect: forwarded}
  - {name: other, send: tcp 10.0.0.5 > 10.1.0.5:81 in eth0, expect: {dropped-by: FORWARD policy}}
`,
)

function capture(name: string, frames: readonly Uint8Array[]): string {
  const path = join(folder, name)
  writeCapture(
    path,
    frames.map((bytes, i) => ({ iface: 'eth0', seconds: 1_790_000_000 + i, nanos: 0, bytes })),
  )
  return path
}

const PACKETS = capture('a.pcapng', [
  udp({ src: '10.0.0.5', dst: '10.1.0.5', sport: 1, dport: 53 }),
  udp({ src: '10.0.0.9', dst: '10.1.0.5', sport: 1, dport: 53 }),
  tcp({ src: '10.0.0.5', dst: '10.1.0.5', sport: 1, dport: 80, flags: 'S' }),
])

async function run(...argv: string[]): Promise<{ code: number; text: string }> {
  const { write: out } = process.stdout
  const { write: err } = process.stderr
  let text = ''
  const collect = (part: string | Uint8Array): boolean => {
    text += String(part)
    return true
  }
  process.stdout.write = collect
  process.stderr.write = collect
  try {
    const code = await tunwall(argv)
    return { code, text: text.replaceAll(`${folder}/`, '') }
  } finally {
    process.stdout.write = out
    process.stderr.write = err
  }
}

test('a capture, as annotated rules', async () => {
  expect(await run('coverage', '--host', host, '--in', PACKETS)).toEqual({
    code: 0,
    text: `        -:    0:Source:site/iptables-save
        -:    1:*filter
        0:    2::INPUT ACCEPT [7:420]
        0:    3::FORWARD DROP [0:0]
        0:    4::OUTPUT ACCEPT [0:0]
        -:    5::OLD - [0:0]
        -:    6::WEB - [0:0]
    #####:    7:[3:120] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        1:    8:[0:0] -A FORWARD -i eth0 -p tcp -j WEB
        2:    9:[0:0] -A FORWARD -p udp -m udp --dport 53 -j ACCEPT
    =====:   10:[0:0] -A FORWARD -s 10.0.0.9/32 -p udp -m udp --dport 53 -j DROP  # can never be hit: shadowed by line 9
    =====:   11:[0:0] -A OLD -j DROP  # can never be hit: nothing that can be hit jumps to OLD
        1:   12:[0:0] -A WEB -p tcp -m tcp --dport 80 -j ACCEPT
    #####:   13:[0:0] -A WEB -p tcp -m tcp --dport 443 -j ACCEPT
        -:   14:COMMIT

                 rules  hit       never hit  can never be hit
iptables filter      7    3  42%          2                 2
all                  7    3  42%          2                 2
`,
  })
})

test('captures and tests add up; lcov', async () => {
  const file = join(folder, 'lcov.info')
  const marked = join(folder, 'marked')
  const { code, text } = await run(
    'coverage',
    '--host',
    host,
    '--in',
    PACKETS,
    PACKETS,
    '--lcov',
    file,
    '--annotate',
    marked,
    '--min',
    '70',
    '--',
    host,
  )
  expect(code).toBe(1)
  expect(text).toMatch(/^ {17}rules/)
  expect(text).toMatch(/\n3 of 5 rules that can be hit: less than 70%\n$/)
  expect(readFileSync(file, 'utf8')).toBe(
    `TN:\nSF:${host}/iptables-save\nDA:2,0\nDA:3,1\nDA:4,0\nDA:7,0\nDA:8,4\nDA:9,4\nDA:10,0\nDA:11,0\nDA:12,3\nDA:13,0\nLF:10\nLH:4\nend_of_record\n`,
  )
  expect(readFileSync(marked, 'utf8')).toContain('        3:   12:[0:0] -A WEB')
  expect((await run('coverage', '--host', host, '--in', PACKETS, '--summary', '--min', '60')).code).toBe(0)
})

test('tunwall test --coverage, of a host in the file too', async () => {
  const path = join(folder, 'inline.test.yaml')
  writeFileSync(
    path,
    `host:
  interfaces: {eth0: 10.0.0.1/24, eth1: 10.1.0.1/24}
  iptables: |
    -A FORWARD -p tcp --dport 80 -j ACCEPT
    -A FORWARD -p tcp --dport 22 -j DROP
tests:
  - {name: web, send: tcp 10.0.0.5 > 10.1.0.5:80 in eth0, expect: forwarded}
  - name: a rule that a test puts there does not count
    steps:
      - run: iptables -I FORWARD 1 -p tcp --dport 80 -j DROP
      - {send: tcp 10.0.0.5 > 10.1.0.5:80 in eth0, expect: dropped}
`,
  )
  const file = join(folder, 'inline.info')
  const { code, text } = await run(
    'test',
    path,
    join(host, 'site.test.yaml'),
    '--coverage',
    '--lcov',
    file,
    '--no-color',
  )
  expect(code).toBe(0)
  expect(text).toContain('iptables filter      2    1  50%          1                 0\n')
  expect(text).toContain('iptables filter      7    2  28%          3                 2\n')
  expect(readFileSync(file, 'utf8')).toContain(`SF:${path}\nDA:4,1\nDA:5,0\n`)
})

test('bad input is one line', async () => {
  expect(await run('coverage', '--host', join(folder, 'nowhere'))).toEqual({
    code: 2,
    text: 'nowhere:1:1: no host folder: no such file or directory\n',
  })
  expect(await run('coverage', '--host', host, '--in', join(folder, 'nothing'))).toEqual({
    code: 2,
    text: 'nothing:1:1: cannot be read: no such file or directory\n',
  })
  expect(await run('coverage', '--host', host, '--min', '101')).toEqual({
    code: 2,
    text: '--min 101: expected a whole number from 0 to 100\n',
  })
  expect((await run('coverage', '--host', host, join(folder, 'inline.test.yaml'))).text).toBe(
    'inline.test.yaml:1:1: the host of these tests is not site\n'
      .replace('site', `${folder}/site`)
      .replaceAll(`${folder}/`, ''),
  )
})

test('10,000 rules are judged fast', async () => {
  const rules = Array.from(
    { length: 10_000 },
    (_, i) =>
      `-A FORWARD -s 10.${i >> 8}.${i & 255}.0/24 -p tcp -m tcp --dport ${1000 + (i % 50)} -j ${i % 3 ? 'ACCEPT' : 'DROP'}`,
  )
  const big = join(folder, 'big')
  mkdirSync(big)
  writeFileSync(
    join(big, 'iptables-save'),
    `*filter\n:FORWARD DROP [0:0]\n${rules.join('\n')}\n-A FORWARD -s 10.3.0.0/25 -p tcp -m tcp --dport 1018 -j LOG\nCOMMIT\n`,
  )
  const begin = performance.now()
  const { text } = await run('coverage', '--host', big, '--summary')
  expect(text).toContain('iptables filter  10001    0  0%      10000                 1\n')
  expect(performance.now() - begin).toBeLessThan(30_000)
})
