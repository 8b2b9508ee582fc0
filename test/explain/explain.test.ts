// tunwall explain, as it is called: what it says, and how it says that it cannot.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CommandError } from '../../daemon/errors.ts'
import { type ExplainOptions, explain } from '../../daemon/explain/explain.ts'
import type { ConntrackStep, PacketRecord, Step } from '../../daemon/explain/record.ts'
import { MATCH_VALUES } from '../../daemon/explain/values.ts'
import { tcp } from '../../daemon/frames/build.ts'
import { CaptureWriter } from '../../datapath/ports/capture-writer.ts'
import { matches } from '../../rules/matches/index.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-explain-'))
afterAll(() => rmSync(root, { recursive: true }))

const YAML = `interfaces:
  eth0: {addresses: [192.0.2.10/24]}
  eth1: {addresses: [10.0.0.1/24]}
routes: [default via 192.0.2.1, unreachable 10.9.0.0/16]
sysctls: {net.ipv4.ip_forward: 1}
`
const RULES = `*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i eth1 -j MARK --set-xmark 0x10/0xff
-A PREROUTING -p tcp -m tcp --dport 443 -j MARK --set-xmark 0x300/0xff00
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.5:80
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:web - [0:0]
-A INPUT -p tcp -m tcp --dport 23 -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p tcp -m tcp --dport 80 -j web
-A FORWARD -s 10.0.0.0/24 -i eth1 -j ACCEPT
-A web -s 198.51.100.0/24 -j DROP
-A web -m conntrack --ctstate DNAT -j ACCEPT
COMMIT
`

/** A folder; answers its path. */
function folder(name: string, rules = RULES, yaml = YAML): string {
  const path = join(root, name)
  mkdirSync(path, { recursive: true })
  writeFileSync(join(path, 'host.yaml'), yaml)
  writeFileSync(join(path, 'iptables-save'), rules)
  return path
}

let host: string
beforeAll(() => {
  host = folder('host')
})

type Asked = Partial<Omit<ExplainOptions, 'packets'>>

function say(text: string, asked: Asked = {}): string {
  const usual = { host, all: false, whyNot: null, json: false, color: false, seed: 1 }
  return explain({ ...usual, ...asked, packets: { text } })
}

type Json = PacketRecord & {
  readonly summary: string
  readonly mark: { readonly value: number; readonly setBy: readonly { bits: number; rule: string }[] }
  readonly left: readonly {
    dev: string
    changes: readonly { field: string; before: string; after: string }[]
  }[]
}

const json = (text: string, asked: Asked = {}): Json[] =>
  JSON.parse(say(text, { ...asked, json: true })).packets

const first = (text: string, asked: Asked = {}): string => say(text, asked).split('\n')[0]!

const stepsOf = <T extends Step['at']>(record: PacketRecord, at: T): Extract<Step, { at: T }>[] =>
  record.journeys[0]!.steps.filter((step): step is Extract<Step, { at: T }> => step.at === at)

describe('the summary', () => {
  const save = (line: number): string => `${join(host, 'iptables-save')}:${line}`
  test.each([
    [
      'tcp 198.51.200.7:40000 > 192.0.2.10:8080 syn in eth0',
      () =>
        `FORWARDED out of eth1; ACCEPT by filter web 2 (${save(29)}); destination 192.0.2.10:8080 -> 10.0.0.5:80 by nat PREROUTING 1`,
    ],
    [
      'tcp 198.51.100.7:40000 > 192.0.2.10:8080 syn in eth0',
      () =>
        `DROPPED by filter web 1 (${save(28)}); destination 192.0.2.10:8080 -> 10.0.0.5:80 by nat PREROUTING 1`,
    ],
    [
      'udp 10.0.0.5:5000 > 203.0.113.1:53 in eth1',
      () =>
        `FORWARDED out of eth0; ACCEPT by filter FORWARD 4 (${save(27)}); source 10.0.0.5:5000 -> 192.0.2.10:5000 by nat POSTROUTING 1`,
    ],
    ['udp 203.0.113.1:53 > 10.0.0.5:53 in eth0', () => 'DROPPED by the policy of filter FORWARD'],
    ['udp 10.0.0.5:1 > 10.9.1.1:1 in eth1', () => 'ANSWERED with icmp 10.0.0.1 > 10.0.0.5'],
    ['tcp 10.0.0.5:1 > 10.0.0.1:23 in eth1', () => 'ANSWERED with tcp 10.0.0.1:23 > 10.0.0.5:1'],
    ['icmp 10.0.0.5 > 10.0.0.1 in eth1', () => 'ANSWERED with icmp 10.0.0.1 > 10.0.0.5'],
    ['udp 10.0.0.1:1 > 10.0.0.9:1 in eth1', () => 'DROPPED its source is an address of this host itself'],
    [
      'udp 10.0.0.5:1 > 203.0.113.1:1 fragment 0 more payload "12345678" in eth1',
      () => 'KEPT as a fragment, until the others come',
    ],
  ])('%s', (words, expected) => {
    expect(first(words)).toContain(expected())
  })
})

describe('what is told', () => {
  test('marks, with who set each bit', () => {
    const [packet] = json('tcp 10.0.0.5:40000 > 203.0.113.1:443 syn in eth1')
    expect(packet!.mark).toEqual({
      value: 0x310,
      setBy: [
        { bits: 0x10, rule: 'mangle PREROUTING 1' },
        { bits: 0x300, rule: 'mangle PREROUTING 2' },
      ],
    })
  })

  test('what changed in the packet', () => {
    const [packet] = json('tcp 198.51.200.7:40000 > 192.0.2.10:8080 syn in eth0')
    const changed = packet!.left[0]!.changes.map(({ field, before, after }) => `${field} ${before} ${after}`)
    expect(changed.slice(0, 3)).toEqual(['dst 192.0.2.10 10.0.0.5', 'dport 8080 80', 'ttl 64 63'])
    expect(changed[3]).toMatch(/^checksum 0x\w{4} 0x\w{4}$/)
    expect(changed).toHaveLength(4)
  })

  test('routing, with the rule, the table and the route', () => {
    const [packet] = json('udp 10.0.0.5:5000 > 203.0.113.1:53 in eth1')
    expect(stepsOf(packet!, 'route')).toMatchObject([
      {
        rule: '32766: from all lookup main',
        table: 'main',
        route: 'default via 192.0.2.1 dev eth0',
        to: 'forward',
        via: '192.0.2.1',
      },
    ])
  })

  test('policy routing: the rule that chose', () => {
    const yaml = `${YAML}rules: [fwmark 0x10/0xff lookup 100 priority 50]\n`.replace(
      'routes: [',
      'routes: [default via 192.0.2.77 table 100, ',
    )
    const [packet] = json('udp 10.0.0.5:5000 > 203.0.113.1:53 in eth1', {
      host: folder('policy', RULES, yaml),
    })
    expect(stepsOf(packet!, 'route')[0]).toMatchObject({
      rule: '50: from all fwmark 0x10/0xff lookup 100',
      table: '100',
      via: '192.0.2.77',
      mark: 0x10,
    })
  })

  test('rp_filter', () => {
    const yaml = YAML.replace(
      'net.ipv4.ip_forward: 1',
      'net.ipv4.ip_forward: 1, net.ipv4.conf.eth1.rp_filter: 1',
    )
    const [packet] = json('udp 203.0.113.9:1 > 192.0.2.10:1 in eth1', { host: folder('rp', RULES, yaml) })
    expect(stepsOf(packet!, 'route')[0]!.why).toBe(
      'rp_filter of eth1 (1): the way back to 203.0.113.9 is default via 192.0.2.1 dev eth0; rp_filter=0 for eth1 and for all would let it in',
    )
  })

  test('a conversation: replies go the way back, and the connection moves on', () => {
    const packets = json('tcp 198.51.200.7:40000 > 192.0.2.10:8080 syn in eth0, reply, again ack')
    expect(packets.map((p) => p.verdict)).toEqual(['forwarded', 'forwarded', 'forwarded'])
    const states = packets.map((p) => stepsOf(p, 'conntrack')[0]!)
    expect(states.map((s) => [s.state, s.before?.state ?? null, s.after?.state])).toEqual([
      ['NEW', null, 'SYN_SENT'],
      ['ESTABLISHED', 'SYN_SENT', 'SYN_RECV'],
      ['ESTABLISHED', 'SYN_RECV', 'ESTABLISHED'],
    ])
  })

  test('--all: every rule that did not fit, with what it saw', () => {
    const text = say('tcp 10.0.0.5:40000 > 203.0.113.1:443 syn in eth1', { all: true })
    expect(text).toContain(
      '- FORWARD 1  -m conntrack --ctstate INVALID -j DROP: not -m conntrack --ctstate INVALID saw state NEW',
    )
    expect(text).toContain('not -m tcp --dport 80 saw sport 40000, dport 443, flags SYN')
    expect(text).toContain('+ FORWARD 4  -s 10.0.0.0/24 -i eth1 -j ACCEPT')
  })

  test.each([
    [
      'filter FORWARD 1',
      'filter FORWARD 1 (PLACE:24) did not fit: -m conntrack --ctstate INVALID: saw state NEW',
    ],
    ['iptables-save:27', 'filter FORWARD 4 (PLACE:27) did fit, in filter FORWARD'],
    ['-A web -s 198.51.100.0/24 -j DROP', 'nothing led to the chain web'],
    ['filter INPUT 1', 'the packet did not come to INPUT'],
    ['nat PREROUTING 1', 'did not fit: -i eth0: saw in eth1'],
  ])('--why-not %s', (whyNot, expected) => {
    const text = say('tcp 10.0.0.5:40000 > 203.0.113.1:443 syn in eth1', { whyNot })
    expect(text.replaceAll(`${join(host, 'iptables-save')}`, 'PLACE')).toContain(expected)
  })

  test('--why-not: a rule behind the one that decided', () => {
    const text = say('tcp 10.0.0.5:40000 > 203.0.113.1:80 syn in eth1, reply', { whyNot: 'filter FORWARD 4' })
    expect(text).toContain('was not reached: filter FORWARD 2')
  })

  test('every match can say what it saw', () => {
    expect(matches.map(({ name }) => name).filter((name) => !MATCH_VALUES.has(name))).toEqual([])
  })

  test('in colours, when asked', () => {
    expect(say('icmp 10.0.0.5 > 10.0.0.1 in eth1', { color: true })).toContain('\u001b[1m')
    expect(say('icmp 10.0.0.5 > 10.0.0.1 in eth1')).not.toContain('\u001b')
  })
})

// What it says would change conntrack's mind does.
describe('why conntrack says what it says', () => {
  const opened = 'tcp 10.0.0.5:40000 > 203.0.113.1:80 syn in eth1, reply, again ack'
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['over the window', `${opened}, again ack seq 90000000 payload "x"`, /^SEQ is over upper bound/],
    ['acknowledged too much', `${opened}, again ack ack-number 90000000`, /^ACK is over upper bound/],
    ['bad checksum', 'udp 10.0.0.5:1 > 203.0.113.1:53 payload "x" bad-checksum in eth1', /^bad checksum/],
    [
      'in the middle',
      'tcp 10.0.0.5:40000 > 203.0.113.1:80 ack seq 1 ack-number 1 in eth1',
      /^picked up in the middle/,
    ],
  ]
  const judged = (text: string, at: string): ConntrackStep =>
    stepsOf(json(text, { host: at }).at(-1)!, 'conntrack')[0]!

  test.each(cases)('%s', (name, words, why) => {
    const step = judged(words, host)
    expect(step.why).toMatch(why)
    const [sysctl, value] = step.sysctl!.split('=')
    const yaml = YAML.replace('net.ipv4.ip_forward: 1', `net.ipv4.ip_forward: 1, ${sysctl}: ${value}`)
    const after = judged(words, folder(`sysctl-${name}`, RULES, yaml))
    expect(after.state).not.toBe(step.state)
  })

  test('an old segment: noted, and nothing would change it', () => {
    const step = judged(`${opened}, again ack seq 4000000000 payload "x"`, host)
    expect(step).toMatchObject({ state: 'ESTABLISHED', sysctl: null })
    expect(step.why).toMatch(/^SEQ is under lower bound/)
  })

  test('the window, in numbers', () => {
    const { window } = judged(cases[0]![1], host)
    expect(window).toMatchObject({ seq: 90000000, sender: { end: 1001 } })
  })
})

describe('a packet of a capture', () => {
  const capture = join(root, 'in.pcapng')
  beforeAll(() => {
    const parts: Uint8Array[] = []
    const writer = new CaptureWriter((bytes, length) => {
      parts.push(bytes.slice(0, length))
    })
    const number = writer.interface('eth1')
    const flow = { src: '10.0.0.5', dst: '203.0.113.1', sport: 40000, dport: 80 }
    for (const [i, flags] of ['S', 'A', 'A'].entries()) {
      const frame = tcp({ ...flow, flags, seq: 1000 + Math.min(i, 1) })
      writer.packet(number, 1000 + i, 0, frame, 0, frame.length)
    }
    writer.flush()
    writeFileSync(capture, Buffer.concat(parts))
  })
  const of = (number: number): string =>
    explain({
      host,
      packets: { capture, number, iface: null },
      all: false,
      whyNot: null,
      json: true,
      color: false,
      seed: 1,
    })

  test('the state is made of those before it', () => {
    const [packet] = JSON.parse(of(2)).packets as Json[]
    expect(stepsOf(packet!, 'conntrack')[0]!.before).toMatchObject({ state: 'SYN_SENT' })
    expect(packet!.packet).toMatchObject({ src: '10.0.0.5', sport: 40000 })
  })

  test('one that is not there', () => {
    expect(() => of(4)).toThrow(`${capture}: there is no packet 4: it has 3`)
  })
})

describe('mistakes get one line that says where', () => {
  test.each([
    [
      'tcp 10.0.0.5:40000 > 10.0.0.1:80 syn in eth7',
      /^packet:1:1: no interface eth7 on this host: lo, eth0, eth1$/,
    ],
    ['tcp 10.0.0.5:99999 > 10.0.0.1:80', /^packet:1:\d+: /],
    ['tcp 10.0.0.5:1 > 10.0.0.1:80', /^packet:1:1: expected where the packet comes from/],
    ['reply', /^packet:1:1: "reply" needs a packet before it/],
  ])('%s', (text, message) => {
    expect(() => say(text)).toThrow(CommandError)
    expect(() => say(text)).toThrow(message)
  })

  test.each([
    ['filter FORWARD 99', /^--why-not filter FORWARD 99: no such rule/],
    ['-j ACCEPT', /^--why-not -j ACCEPT: \d rules fit: /],
  ])('--why-not %s', (whyNot, message) => {
    expect(() => say('icmp 10.0.0.5 > 10.0.0.1 in eth1', { whyNot })).toThrow(message)
  })

  test('a host folder that is not there, or broken', () => {
    expect(() => say('icmp 10.0.0.5 > 10.0.0.1 in eth1', { host: join(root, 'none') })).toThrow(CommandError)
    const broken = folder('broken', RULES.replace('-j web', '-j nowhere'))
    expect(() => say('icmp 10.0.0.5 > 10.0.0.1 in eth1', { host: broken })).toThrow(/iptables-save:26:\d+: /)
  })
})

test('as a command: exit status, one line on standard error, nothing on standard output', () => {
  const main = new URL('../../dist/daemon/main.js', import.meta.url).pathname
  execFileSync('test', ['-x', main])
  const run = (...argv: string[]) =>
    spawnSync(process.execPath, [main, 'explain', '--host', host, ...argv], {
      encoding: 'utf8',
      // A pipe stays without colours, wherever CI is set.
      env: { ...process.env, CI: 'true', FORCE_COLOR: '' },
    })
  const good = run('icmp', '10.0.0.5', '>', '10.0.0.1', 'in', 'eth1')
  expect([good.status, good.stderr]).toEqual([0, ''])
  expect(good.stdout).toMatch(/^ANSWERED /)
  for (const argv of [
    ['udp'],
    [],
    ['--in', join(root, 'none'), '--packet', '1'],
    ['--in', 'x', '--packet', 'y'],
  ]) {
    const bad = run(...argv)
    expect([bad.status, bad.stdout]).toEqual([2, ''])
    expect(bad.stderr.trim().split('\n')).toHaveLength(1)
  }
})
