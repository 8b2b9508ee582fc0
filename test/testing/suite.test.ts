// tunwall test: what files may say, what runs, what is reported, and how mistakes are told.

import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { tunwall } from '../../daemon/cli/tunwall.ts'
import { CommandError } from '../../daemon/errors.ts'
import { runTests } from '../../daemon/testing/command.ts'
import { runSuite } from '../../daemon/testing/runner.ts'
import { readSuite } from '../../daemon/testing/suite.ts'
import { MAIN } from '../harness/gateway.ts'

const folder = mkdtempSync(join(tmpdir(), 'tunwall-suite-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
function write(text: string, name = `${files++}.test.yaml`): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const HOST = `host:
  interfaces: {eth0: 10.0.0.1/24, eth1: [10.200.0.1/16], wan: 203.0.113.2/24}
  routes: [default via 203.0.113.254]
  iptables: |
    # what leaves and comes back
    -P FORWARD DROP
    -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
    -A FORWARD -i eth0 -p tcp --dport 8080 -j ACCEPT
    -A FORWARD -i eth0 -o wan -m comment --comment "to the world" -j ACCEPT
    -A FORWARD -i eth0 -p tcp --dport 23 -j REJECT --reject-with tcp-reset
    -A INPUT -p tcp --dport 22 ! -s 10.0.0.0/24 -j DROP
    -A INPUT -p udp --dport 514 -j LOG --log-prefix "syslog: "
    -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.200.3.7:8080
    -t nat -A POSTROUTING -o wan -j MASQUERADE
`

/** What runs, and what it says, without times. */
function run(...paths: string[]): { code: number; text: string } {
  let text = ''
  const code = runTests({
    paths,
    filter: null,
    tap: false,
    junit: null,
    color: false,
    out: (t) => (text += t),
  })
  return { code, text: text.replace(/ \([\d.]+ m?s\)/g, '').replaceAll(`${folder}/`, '') }
}

const failures = (tests: string): (string | undefined)[] =>
  runSuite(readSuite(write(`${HOST}tests:\n${tests}`))).map(({ failure }) => failure?.reason)

describe('what a file may say', () => {
  test('every outcome', () => {
    const path = write(`${HOST}
tests:
  - name: the shop
    send: tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0
    expect:
      forwarded: {dev: eth1, dst: "10.200.3.7:8080", src: 10.0.0.5, ttl: 63, state: NEW}
      translated: {dst: "10.200.3.7:8080", src: null}
      decided-by: -A FORWARD -i eth0 -p tcp --dport 8080 -j ACCEPT
      matches: [nat PREROUTING 1, /dport 8080/]
      matches-not: FORWARD 1
      counters: {FORWARD 2: 1, FORWARD 1: 0, nat PREROUTING 1: {packets: 1, bytes: 40}}
      flows: [{protocol: tcp, dport: 80, reply-src: 10.200.3.7, state: SYN_SENT}]
      mark: 0
  - name: no ssh from outside
    send: tcp 198.51.100.7 > 203.0.113.2:22 in wan
    expect: {dropped-by: 0.test.yaml:11, dropped: rule}
  - name: words
    send: tcp 10.0.0.5 > 10.0.0.1:22 in eth0
    expect: delivered
  - name: rejected
    send: tcp 10.0.0.5 > 10.200.0.9:23 in eth0
    expect: {rejected-with: tcp-reset, rejected: true, answer: {flags: "rst,ack", dst: "10.0.0.5:40000"}}
  - name: a conversation, each packet
    send: tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0, reply, again ack
    expect: [forwarded, {forwarded: {dev: eth0, src: "10.96.0.10:80"}}, {state: established}]
  - name: steps
    steps:
      - send: udp 10.0.0.5:1 > 1.1.1.1:53 in eth0
        expect: {forwarded: {dev: wan, src: 203.0.113.2, via: 203.0.113.254, frames: 1}}
      - send: reply payload "answer"
        expect: {forwarded: {dst: "10.0.0.5:1", payload: answer, dscp: 0}}
      - expect: {flows: 1}
      - wait: 3m
      - expect: {flows: 0}
      - run: iptables -I FORWARD 1 -j DROP
      - send: udp 10.0.0.5:1 > 1.1.1.1:53 in eth0
        expect: {dropped-by: FORWARD 1}
  - name: after a command the host is as it was
    send: udp 10.0.0.5:1 > 1.1.1.1:53 in eth0
    expect: {forwarded: {}, counters: {to the world: 1}, flows: 1}
  - name: the log
    send: [udp 10.0.0.5:1 > 10.0.0.1:514 in eth0]
    expect: {log: "syslog: IN=eth0", delivered: {dst: "10.0.0.1:514"}}
`)
    const { code, text } = run(path)
    expect(text).toBe(`0.test.yaml
  ✓ the shop
  ✓ no ssh from outside
  ✓ words
  ✓ rejected
  ✓ a conversation, each packet
  ✓ steps
  ✓ after a command the host is as it was
  ✓ the log
8 tests, 12 packets: 8 passed
`)
    expect(code).toBe(0)
  })

  test('a host folder beside the file', () => {
    mkdirSync(join(folder, 'site/tests'), { recursive: true })
    writeFileSync(join(folder, 'site/host.yaml'), 'interfaces: {eth0: {addresses: 10.0.0.1/24}}\n')
    writeFileSync(
      join(folder, 'site/iptables-save'),
      '*filter\n:INPUT DROP [5:300]\n-A INPUT -s 10.0.0.5/32 -j ACCEPT\nCOMMIT\n',
    )
    write(
      `host: ..
tests:
  - {name: friend, send: tcp 10.0.0.5 > 10.0.0.1:22 in eth0, expect: {delivered: {}, decided-by: "iptables-save:3"}}
  - {name: foe, send: tcp 10.0.0.6 > 10.0.0.1:22 in eth0, expect: {dropped-by: INPUT policy, counters: {INPUT policy: 1}}}
`,
      'site/tests/a.test.yaml',
    )
    expect(run(join(folder, 'site'))).toEqual({
      code: 0,
      text: 'site/tests/a.test.yaml\n  ✓ friend\n  ✓ foe\n2 tests, 2 packets: 2 passed\n',
    })
  })
})

test('tests do not see each other', () => {
  // Flows, counters, ports drawn, the clock: each test finds what the first one found.
  const one = `  - name: x
    send: udp 10.0.0.5:1 > 1.1.1.1:53 in eth0, wait 10s, udp 10.0.0.5:2 > 1.1.1.1:53 in eth0
    expect: {flows: 2, counters: {to the world: 2}, state: NEW, forwarded: {src: "203.0.113.2:2"}}
`
  expect(failures(one.repeat(4))).toEqual(
    Array(4)
      .fill(undefined)
      .map(() => undefined),
  )
})

test('what fails says where, and shows what happened', () => {
  const path = write(
    `${HOST}tests:
  - name: wrong
    send: tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0
    expect:
      forwarded: {dev: eth1, dst: "10.200.3.8:8080"}
`,
    'wrong.test.yaml',
  )
  const { code, text } = run(path)
  expect(code).toBe(1)
  expect(text).toMatch(
    /^wrong.test.yaml\n {2}✗ wrong\n {6}wrong.test.yaml:19:18: expected dst 10.200.3.8:8080, it was 10.200.3.7:8080\n {6}tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0: forwarded to eth1/,
  )
  expect(text).toMatch(/\n1 test, 1 packet: 0 passed, 1 failed\n$/)
  expect(
    failures(`  - {name: a, send: tcp 10.0.0.5 > 10.200.0.9:23 in eth0, expect: forwarded}
  - {name: b, send: tcp 10.0.0.5 > 10.200.0.9:25 in eth0, expect: {dropped: no-route}}
  - {name: c, send: tcp 10.0.0.5 > 10.200.0.9:25 in eth0, expect: {dropped-by: FORWARD 4}}
  - {name: d, send: tcp 10.0.0.5 > 10.200.0.9:25 in eth0, expect: {counters: {FORWARD policy: 2}}}
  - {name: e, send: tcp 10.0.0.5 > 10.200.0.9:25 in eth0, expect: {counters: {NOPE: 2}}}
  - {name: f, send: tcp 10.0.0.5 > 10.200.0.9:8080 in eth0, expect: {translated: {}}}
  - {name: g, send: tcp 10.0.0.5 > 10.200.0.9:8080 in eth0, expect: {flows: 0}}
  - {name: h, steps: [{run: iptables -D FORWARD 77}]}
  - {name: i, send: tcp 10.0.0.5 > 10.200.0.9:8080 in eth0, expect: {log: hello}}
`),
  ).toEqual([
    'expected it to be forwarded, it was rejected with tcp-reset by filter FORWARD 4 (' +
      `${folder}/${files - 1}.test.yaml:10: -A FORWARD -i eth0 -p tcp -m tcp --dport 23 -j REJECT --reject-with tcp-reset)`,
    'expected the reason no-route, it was rule',
    'expected FORWARD 4 to decide, filter FORWARD policy (-P FORWARD DROP) decided',
    'expected FORWARD policy to count 2 packets, it counted 1',
    'no rule is called NOPE',
    'expected it to be translated, nothing changed',
    expect.stringMatching(/^expected 0 connections, there were 1\n {4}ipv4 +2 tcp/),
    'iptables failed: iptables: Index of deletion too big.',
    'expected a line of the log with "hello"',
  ])
})

describe('mistakes are one line with a place', () => {
  const table: readonly (readonly [string, string])[] = [
    ['tests: []', '1:1: "host" is missing'],
    [
      'host: nowhere\ntests: []',
      '1:7: "nowhere" is no folder: expected a host folder, from where this file is',
    ],
    ['host: {interfaces: {}}\ntests: []', ' there are no tests in these files'],
    ['host: {interfaces: {}}\ntests: [', '2:9: not YAML'],
    ['host: {rools: 1}\ntests: []', '1:8: unknown key "rools" in a host: expected one of interfaces'],
    ['host: {}\ntests:\n  - {name: a}', '3:5: "send" is missing'],
    [
      'host: {}\ntests:\n  - {name: a, send: tcp 1.1.1.1 > 2.2.2.2 in lo, expect: dropped}',
      '3:35: expected the port that it is sent to: 2.2.2.2:PORT',
    ],
    [
      'host: {}\ntests:\n  - {name: a, send: tcp 1.1.1.1 > 2.2.2.2:1 in lo, expect: droped}',
      '3:60: "droped" is no outcome: expected forwarded, sent',
    ],
    [
      'host: {}\ntests:\n  - {name: a, send: tcp 1.1.1.1 > 2.2.2.2:1 in lo, expect: {drop: 1}}',
      '3:61: unknown key "drop" in an expectation',
    ],
    [
      'host: {}\ntests:\n  - {name: a, send: tcp 1.1.1.1 > 2.2.2.2:1 in lo, expect: {forwarded: {devi: a}}}',
      'unknown key "devi" in an expected packet',
    ],
    [
      'host: {}\ntests:\n  - {name: a, send: tcp 1.1.1.1 > 2.2.2.2:1 in eth7, expect: dropped}',
      '3:21: "eth7" is no interface of the host: expected one of lo',
    ],
    [
      'host: {}\ntests:\n  - {name: a, send: tcp 1.1.1.1 > 2.2.2.2:1, expect: dropped}',
      '3:21: expected where the packet comes from: in DEVICE, or out',
    ],
    [
      'host: {}\ntests:\n  - {name: a, send: "tcp 1.1.1.1 > 2.2.2.2:1 in lo, reply", expect: [dropped]}',
      '3:69: 2 packets are sent: expected a list of 2, not of 1',
    ],
    [
      'host: {}\ntests:\n  - {name: a, steps: [{wait: soon}]}',
      '3:30: "soon" is no time: expected 5s, 200ms, 1m30s',
    ],
    [
      'host: {}\ntests:\n  - {name: a, steps: [{wait: 1s, send: x}]}',
      '"send" and "wait" in one step: make it two',
    ],
    [
      'host:\n  iptables: |\n    -P FORWARD DROP\n    -A FORWARD -p tcp --dprt 5 -j DROP\ntests:\n  - {name: a, steps: [{wait: 1s}]}',
      '4:5: unknown option "--dprt"',
    ],
    [
      'host:\n  iptables: |\n    *filter\n    -A FORWARD -j NOWHERE\n    COMMIT\ntests:\n  - {name: a, steps: [{wait: 1s}]}',
      '4:',
    ],
    ['host: {}\ntime: noon\ntests: []', '2:7: "noon" is no time'],
  ]
  test.each(table)('%s', (text, message) => {
    const path = write(text, 'bad.test.yaml')
    let said = ''
    try {
      run(path)
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      expect(error.status).toBe(2)
      said = error.message
    }
    expect(said.replace(`${path}:`, '')).toContain(message.trim())
    expect(said).not.toContain('\n')
  })

  test('in a block of packet words', () => {
    const path = write(`${HOST}tests:
  - name: a
    send: |
      tcp 10.0.0.5 > 10.1.0.5:80 syn in eth0
      tcp 10.0.0.5 > 10.1.0.5:80 sny in eth0
    expect: forwarded
`)
    expect(() => run(path)).toThrow(`${path}:19:34: unknown word "sny": did you mean "syn"?`)
  })

  test('a folder without tests, a path that is none', () => {
    mkdirSync(join(folder, 'empty'))
    expect(() => run(join(folder, 'empty'))).toThrow('empty:1:1: there is no *.test.yaml in this folder')
    expect(() => run(join(folder, 'nothing'))).toThrow(
      'nothing:1:1: cannot be read: no such file or directory',
    )
  })
})

const TWO = `${HOST}tests:
  - {name: "good & #1", send: tcp 10.0.0.5 > 10.200.0.9:8080 in eth0, expect: forwarded}
  - {name: bad, send: tcp 10.0.0.5 > 10.200.0.9:8080 in eth0, expect: dropped}
`

test('without a rule that asks for it there is no conntrack', () => {
  const path = write(`host: {interfaces: {a: 10.0.0.1/24, b: 10.1.0.1/24}}
tests:
  - {name: a, send: udp 10.0.0.5 > 10.1.0.5:80 in a, expect: {state: NEW}}
`)
  const [result] = runSuite(readSuite(path))
  expect(result?.failure?.reason).toBe(
    'expected the state NEW, it was none: conntrack did not see it, which is off while no rule asks for it',
  )
})

test('TAP and JUnit', () => {
  const path = write(TWO, 'two.test.yaml')
  const file = join(folder, 'junit.xml')
  let text = ''
  const code = runTests({
    paths: [path],
    filter: null,
    tap: true,
    junit: file,
    color: false,
    out: (t) => (text += t),
  })
  expect(code).toBe(1)
  expect(text).toMatch(
    /^TAP version 13\n1..2\nok 1 - .*two.test.yaml: good & \\#1\n {2}---\n {2}duration_ms: [\d.]+\n {2}\.\.\.\nnot ok 2 - .*bad\n {2}---\n {2}message: "expected it to be dropped, /,
  )
  const xml = readFileSync(file, 'utf8')
  expect(xml).toContain('<testsuites name="tunwall" tests="2" failures="1" errors="0"')
  expect(xml).toContain('<testcase name="good &amp; #1"')
  expect(xml).toMatch(
    /<failure message="expected it to be dropped, it was forwarded to eth1">[^<]*two.test.yaml:17:/,
  )
})

test('the command: filter, exit statuses, colours', async () => {
  const path = write(TWO, 'command.test.yaml')
  const said: string[] = []
  const { write: out } = process.stdout
  const { write: err } = process.stderr
  process.stdout.write = (text: string | Uint8Array) => said.push(String(text)) > 0
  process.stderr.write = (text: string | Uint8Array) => said.push(String(text)) > 0
  const codes: number[] = []
  try {
    codes.push(await tunwall(['test', path, '--filter', 'GOOD', '--no-color']))
    codes.push(await tunwall(['test', path, '--filter', '/^b.d$/', '--no-color']))
    codes.push(await tunwall(['test', path, '--filter', 'ugly']))
    codes.push(await tunwall(['test', path, '--filter', '/(/']))
    codes.push(await tunwall(['test', join(folder, 'nothing')]))
  } finally {
    process.stdout.write = out
    process.stderr.write = err
  }
  expect(codes).toEqual([0, 1, 2, 2, 2])
  expect(said.join('')).toMatch(/1 test, 1 packet: 1 passed/)
})

/** `tunwall test --watch`; `until`: what it said so far fits. */
function watching(path: string, ...more: string[]) {
  const child = spawn(process.execPath, [MAIN, 'test', path, '--watch', '--no-color', ...more])
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    said += part
  })
  const until = async (pattern: RegExp): Promise<void> => {
    for (const end = Date.now() + 30_000; Date.now() < end && !pattern.test(said); )
      await new Promise((resolve) => setTimeout(resolve, 20))
    expect(said).toMatch(pattern)
  }
  return { child, until, text: () => said }
}

test('--watch runs again when a file changes', async () => {
  const path = write(TWO.replace('expect: dropped', 'expect: forwarded'), 'watch.test.yaml')
  const { child, until } = watching(path)
  try {
    await until(/2 passed[\s\S]*waiting for a change\n$/)
    writeFileSync(path, TWO)
    await until(/1 passed, 1 failed[\s\S]*waiting for a change\n$/)
    writeFileSync(path, 'host: [')
    await until(/not YAML[\s\S]*waiting for a change\n$/)
  } finally {
    child.kill()
  }
})

test('--watch sees tests in folders that are new', async () => {
  const top = join(folder, 'watched')
  mkdirSync(top)
  writeFileSync(join(top, 'one.test.yaml'), TWO)
  // What it writes itself is no change.
  const { child, until, text } = watching(top, '--junit', join(top, 'report.xml'))
  try {
    await until(/1 passed, 1 failed[\s\S]*waiting for a change\n$/)
    mkdirSync(join(top, 'new/deep'), { recursive: true })
    writeFileSync(join(top, 'new/deep/two.test.yaml'), TWO)
    await until(/2 passed, 2 failed[\s\S]*waiting for a change\n$/)
    writeFileSync(join(top, 'new/deep/two.test.yaml'), TWO.replace('expect: dropped', 'expect: forwarded'))
    await until(/3 passed, 1 failed[\s\S]*waiting for a change\n$/)
    const rounds = text().split('waiting for a change').length
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(text().split('waiting for a change').length).toBe(rounds)
  } finally {
    child.kill()
  }
})
