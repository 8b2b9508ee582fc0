// Rules that can never be hit: known cases, and random chains whose packets must not disagree.
//
//     TUNWALL_SEED, TUNWALL_SCENARIOS  random chains; default 24

import { afterAll, describe, expect, test } from 'vitest'
import { type Never, neverHit } from '../../daemon/coverage/shadow.ts'
import { Host } from '../../daemon/testing/index.ts'
import type { Draft, PacketWords } from '../../daemon/words/model.ts'
import { printPacket } from '../../daemon/words/print.ts'
import { SeededRandom } from '../harness/frames.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const CHAINS = Number(process.env.TUNWALL_SCENARIOS ?? 24)

function analyse(
  host: Host,
  family: 4 | 6,
  table: 'filter' | 'nat' | 'mangle' = 'filter',
): Map<string, Map<number, Never>> {
  const chains = new Map(
    [...host.engine.tables.table(family, table).chains].map(([name, { model }]) => [name, model]),
  )
  return neverHit(family, table, chains)
}

/** Of chain FORWARD: `3 by 1,2`, `4 impossible`. */
function never(rules: string, family: 4 | 6 = 4, chain = 'FORWARD'): string[] {
  const host = Host.from({ [family === 4 ? 'iptables' : 'ip6tables']: rules })
  return [...(analyse(host, family).get(chain) ?? [])].map(([position, how]) =>
    how.why === 'shadowed' ? `${position} by ${how.by.join(',')}` : `${position} ${how.why}`,
  )
}

describe('known cases', () => {
  const table: readonly (readonly [what: string, rules: string, never: readonly string[], family?: 4 | 6])[] =
    [
      ['the same again', '-A FORWARD -s 10.0.0.0/8 -j DROP\n-A FORWARD -s 10.0.0.0/8 -j ACCEPT', ['2 by 1']],
      [
        'a part of it',
        '-A FORWARD -s 10.0.0.0/8 -j DROP\n-A FORWARD -s 10.1.0.0/16 -p tcp --dport 22 -j ACCEPT',
        ['2 by 1'],
      ],
      ['more than it', '-A FORWARD -s 10.1.0.0/16 -j DROP\n-A FORWARD -s 10.0.0.0/8 -j ACCEPT', []],
      [
        'two halves',
        '-A FORWARD -s 10.0.0.0/9 -j DROP\n-A FORWARD -s 10.128.0.0/9 -j ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j LOG',
        ['3 by 1,2'],
      ],
      [
        'ports',
        '-A FORWARD -p tcp --dport 0:79 -j DROP\n-A FORWARD -p tcp -m multiport --dports 80,81:65535 -j DROP\n-A FORWARD -p tcp --dport 443 --sport 1:9 -j ACCEPT\n-A FORWARD -p tcp -m tcp -j ACCEPT\n-A FORWARD -p tcp -j ACCEPT',
        ['3 by 2', '4 by 1,2'],
      ],
      [
        'later fragments have no ports',
        '-A FORWARD -p udp -m udp -j DROP\n-A FORWARD -p udp -j DROP\n-A FORWARD -p udp -f -j ACCEPT',
        ['3 by 2'],
      ],
      [
        'states',
        '-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n-A FORWARD -m state --state INVALID,UNTRACKED -j DROP\n-A FORWARD -m state --state NEW -j ACCEPT\n-A FORWARD -p tcp -j LOG',
        ['4 by 1,2,3'],
      ],
      [
        'inverted',
        '-A FORWARD ! -i eth0 -j DROP\n-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD -o eth1 -j LOG',
        ['3 by 1,2'],
      ],
      [
        'wildcards',
        '-A FORWARD -i eth+ -j DROP\n-A FORWARD -i eth0.5 -j ACCEPT\n-A FORWARD -i et+ -j LOG\n-A FORWARD ! -i eth1 -j LOG',
        ['2 by 1'],
      ],
      [
        'the name of a wildcard without its plus',
        '-A FORWARD -i eth+ -j DROP\n-A FORWARD -i eth -j LOG',
        ['2 by 1'],
      ],
      [
        'marks',
        '-A FORWARD -m mark --mark 0x1/0x1 -j DROP\n-A FORWARD -m mark ! --mark 0x1/0x1 -j DROP\n-A FORWARD -m mark --mark 0x2 -j LOG',
        ['3 by 2'],
      ],
      [
        'a mark that changes between',
        '-A FORWARD -m mark --mark 1 -j DROP\n-A FORWARD -j MARK --set-mark 1\n-A FORWARD -m mark --mark 1 -j LOG',
        [],
      ],
      [
        'an address does not',
        '-A FORWARD -s 10.0.0.1 -j DROP\n-A FORWARD -j MARK --set-mark 1\n-A FORWARD -s 10.0.0.1 -m mark --mark 1 -j LOG',
        ['3 by 1'],
      ],
      [
        'flags',
        '-A FORWARD -p tcp --syn -j DROP\n-A FORWARD -p tcp ! --syn -j DROP\n-A FORWARD -p tcp --tcp-flags ALL FIN -j LOG',
        ['3 by 2'],
      ],
      [
        'icmp',
        '-A FORWARD -p icmp --icmp-type echo-request -j DROP\n-A FORWARD -p icmp --icmp-type 8/0 -j LOG\n-A FORWARD -p icmp --icmp-type 3/1 -j LOG',
        ['2 by 1'],
      ],
      [
        'LOG and limit take nothing away',
        '-A FORWARD -j LOG\n-A FORWARD -m limit --limit 1/s -j DROP\n-A FORWARD -j ACCEPT',
        [],
      ],
      [
        'what is not known must be the same',
        '-A FORWARD -m length --length 0:100 -j DROP\n-A FORWARD -p tcp -m length --length 0:100 -j LOG\n-A FORWARD -m length --length 0:99 -j LOG',
        ['2 by 1'],
      ],
      [
        'what is drawn is never the same',
        '-A FORWARD -m statistic --mode random --probability 0.5 -j DROP\n-A FORWARD -m statistic --mode random --probability 0.5 -j LOG',
        [],
      ],
      ['comments say nothing', '-A FORWARD -m comment --comment all -j DROP\n-A FORWARD -j LOG', ['2 by 1']],
      [
        'a jump to where all ends',
        '-N END\n-A END -j LOG\n-A END -j REJECT\n-A FORWARD -s 10.0.0.1 -j END\n-A FORWARD -s 10.0.0.1 -j ACCEPT',
        ['2 by 1'],
      ],
      [
        'a jump that may come back',
        '-N END\n-A END -s 10.0.0.2 -j RETURN\n-A END -j DROP\n-A FORWARD -s 10.0.0.1 -j END\n-A FORWARD -s 10.0.0.1 -j ACCEPT',
        [],
      ],
      ['a goto never comes back', '-N ON\n-A FORWARD -p udp -g ON\n-A FORWARD -p udp -j ACCEPT', ['2 by 1']],
      [
        'impossible',
        '-A FORWARD -p tcp -m tcp --dport 1:2 -m multiport --dports 3:4 -j DROP',
        ['1 impossible'],
      ],
      [
        'IPv6',
        '-A FORWARD -s 2001:db8::/33 -j DROP\n-A FORWARD -s 2001:db8:8000::/33 -j DROP\n-A FORWARD -s 2001:db8::/32 -j LOG\n-A FORWARD -s 2001:db8::/31 -j LOG',
        ['3 by 1,2'],
        6,
      ],
    ]
  for (const [what, rules, expected, family = 4] of table)
    test(what, () => {
      expect(never(rules, family)).toEqual(expected)
    })

  test('chains that nothing leads to', () => {
    const rules = '-N A\n-N B\n-A A -j DROP\n-A B -j DROP\n-A FORWARD -j ACCEPT\n-A FORWARD -j B'
    expect(never(rules, 4, 'A')).toEqual(['1 unreachable'])
    expect(never(rules, 4, 'B')).toEqual(['1 unreachable'])
  })
})

const NETS = [
  '10.0.0.0/8',
  '10.0.0.0/9',
  '10.128.0.0/9',
  '10.1.0.0/16',
  '10.1.2.3',
  '192.168.0.0/16',
  '0.0.0.0/1',
  '128.0.0.0/1',
]
const NETS6 = ['2001:db8::/32', '2001:db8::/33', '2001:db8:8000::/33', '2001:db8::1', '::/1', '8000::/1']
const DEVICES = ['eth0', 'eth1', 'wlan0']
const NAMES = ['eth0', 'eth1', 'eth+', 'wl+', 'wlan0']

const KINDS = [
  'source',
  'destination',
  'in',
  'out',
  'protocol',
  'ports',
  'flags',
  'fragment',
  'state',
  'mark',
  'other',
] as const
type Kind = (typeof KINDS)[number]

/** What goes together is seldom drawn together. */
const COMBINED: readonly (readonly Kind[])[] = [
  ['mark'],
  ['mark', 'source'],
  ['fragment', 'ports'],
  ['fragment', 'protocol'],
  ['ports', 'flags'],
  ['state'],
  ['source', 'destination'],
  ['in', 'out'],
  ['other'],
]

/** The few kinds of conditions that a chain is about, so that its rules often cover each other. */
const someKinds = (random: SeededRandom): ReadonlySet<Kind> =>
  new Set(
    random.once(3)
      ? Array.from({ length: 1 + random.below(3) }, () => random.pick(KINDS))
      : random.pick(COMBINED),
  )

function rule(random: SeededRandom, six: boolean, chain: string, loved: ReadonlySet<Kind>): string {
  const words: string[] = []
  const not = (): string => (random.once(4) ? '! ' : '')
  const wants = (kind: Kind): boolean => (loved.has(kind) ? !random.once(3) : random.once(24))
  const some = (kind: Kind, text: () => string): void => {
    if (wants(kind)) words.push(text())
  }
  const nets = six ? NETS6 : NETS
  some('source', () => `${not()}-s ${random.pick(nets)}`)
  some('destination', () => `${not()}-d ${random.pick(nets)}`)
  some('in', () => `${not()}-i ${random.pick(NAMES)}`)
  some('out', () => `${not()}-o ${random.pick(NAMES)}`)
  const range = (): string => random.pick(['1000', '0:1023', '1024:65535', '1000:2000', '0:999'])
  const [ports, flags] = [wants('ports'), wants('flags')]
  if (ports || flags || wants('protocol')) {
    const protocol = flags
      ? 'tcp'
      : ports
        ? random.pick(['tcp', 'tcp', 'udp'])
        : random.pick(['tcp', 'udp', 'icmp', '! udp'])
    words.push(
      protocol === 'icmp' && six ? '-p icmpv6' : protocol === '! udp' ? '! -p udp' : `-p ${protocol}`,
    )
    if (ports && random.once(2))
      words.push(`-m ${protocol} ${not()}--${random.pick(['sport', 'dport'])} ${range()}`)
    else if (ports)
      words.push(`-m multiport ${not()}--${random.pick(['sports', 'dports', 'ports'])} ${range()},7`)
    if (flags)
      words.push(`-m tcp ${not()}${random.pick(['--syn', '--tcp-flags SYN,ACK ACK', '--tcp-flags RST RST'])}`)
    if (protocol === 'icmp')
      words.push(
        `-m ${six ? 'icmp6 --icmpv6-type' : 'icmp --icmp-type'} ${random.pick(['echo-request', '3/1', '1'])}`,
      )
  }
  if (!six) some('fragment', () => `${not()}-f`)
  const states = ['NEW', 'ESTABLISHED,RELATED', 'INVALID', 'NEW,INVALID', 'NEW,ESTABLISHED,RELATED']
  some('state', () => `-m conntrack ${not()}--ctstate ${random.pick(states)}`)
  some('mark', () => `-m mark ${not()}--mark ${random.pick(['0x1/0x1', '0x1/0x1', '0x2', '0x0/0x3', '0x1'])}`)
  some('other', () =>
    random
      .pick([
        '-m length --length 0:60',
        '-m limit --limit 1/s',
        '-m statistic --mode nth --every 3 --packet 0',
        '-m ttl --ttl-eq 9',
      ])
      .replace('ttl --ttl', six ? 'hl --hl' : 'ttl --ttl'),
  )
  const target = random.pick([
    'ACCEPT',
    'DROP',
    'DROP',
    'RETURN',
    'REJECT',
    'LOG',
    'MARK --set-mark 1',
    'MARK --set-mark 2',
    'USER',
    'ENDS',
    '',
  ])
  const jump =
    loved.has('mark') && random.once(4)
      ? `MARK --set-mark ${random.below(3)}`
      : chain === 'FORWARD' || !['USER', 'ENDS'].includes(target)
        ? target
        : 'DROP'
  return `-A ${chain} ${words.join(' ')}${jump === '' ? '' : ` -j ${jump}`}`
}

function packet(random: SeededRandom, six: boolean): PacketWords {
  const address = (): string =>
    random.pick(
      six
        ? ['2001:db8::1', '2001:db8::2', '2001:db8:8000::1', '2001:db9::1', '9000::1', '3000::1']
        : ['10.1.2.3', '10.1.2.4', '10.0.0.9', '10.200.0.1', '192.168.1.1', '172.16.0.1', '8.8.8.8'],
    )
  const protocol = random.pick([6, 6, 17, six ? 58 : 1, 47])
  const port = (): number => random.pick([7, 999, 1000, 1023, 1024, 2000, 2001, 65535])
  const fields: Draft = {}
  if (random.once(2)) fields.mark = random.below(4)
  if (random.once(3)) fields.payload = '00'.repeat(random.pick([1, 40, 100]))
  if (protocol === 6) fields.flags = random.pick([2, 2, 16, 18, 1, 4])
  const icmpTypes = six ? [128, 3, 1] : [8, 3, 1]
  if (protocol === 1 || protocol === 58) {
    fields.icmpType = random.pick(icmpTypes)
    fields.icmpCode = random.below(2)
  }
  if (!six && random.once(4)) fields.fragment = { offset: random.pick([0, 8, 64]), more: random.once(2) }
  const headless = (fields.fragment?.offset ?? 0) > 0
  if (headless) for (const key of ['flags', 'icmpType', 'icmpCode'] as const) delete fields[key]
  const ports = (protocol === 6 || protocol === 17) && !headless && { sport: port(), dport: port() }
  return {
    family: six ? 6 : 4,
    protocol,
    src: address(),
    dst: address(),
    ...ports,
    ...fields,
    from: { device: random.pick(DEVICES) },
  }
}

let judged = 0
afterAll(() => expect(judged).toBeGreaterThan(CHAINS))

test.each(Array.from({ length: CHAINS }, (_, i) => SEED_OF_RUN + i))('random chains, seed %i', (seed) => {
  const random = new SeededRandom(seed)
  const six = seed % 3 === 2
  const family = six ? 6 : 4
  const lines = ['-N USER', '-N ENDS']
  for (const chain of ['USER', 'FORWARD']) {
    const kinds = someKinds(random)
    for (let n = 3 + random.below(12); n > 0; n--) lines.push(rule(random, six, chain, kinds))
  }
  lines.push(
    '-A ENDS -m mark --mark 1 -j LOG',
    random.pick(['-A ENDS -j DROP', '-A ENDS -j REJECT', '-A ENDS -s 1.2.3.4 -j DROP']),
  )
  if (six) lines[lines.length - 1] = '-A ENDS -j REJECT'
  const rules = lines.join('\n')
  // Conntrack is only asked where a rule wants it; without it fragments come to the rules as they are.
  const noTrack = random.once(2) ? lines.filter((line) => !line.includes('ctstate')).join('\n') : rules
  const host = Host.from(
    {
      interfaces: { eth0: '10.0.0.1/24', eth1: '192.168.1.254/24', wlan0: '172.16.0.254/24' },
      routes: [
        'default dev eth1',
        '10.0.0.0/8 dev eth0',
        '172.16.0.0/16 dev wlan0',
        '-6 default dev eth1',
        '-6 2001:db8::/33 dev eth0',
      ],
      sysctls: { 'net.ipv4.conf.all.rp_filter': 0, 'net.ipv4.conf.default.rp_filter': 0 },
      [six ? 'ip6tables' : 'iptables']: noTrack,
    },
    { seed },
  )
  const dead = analyse(host, family)
  for (const chain of dead.values()) judged += chain.size
  for (let n = 0; n < 300; n++) {
    const one = packet(random, six)
    const result = host.sendNow(one)
    if (random.once(40)) host.advance('10s')
    for (const { table, chain, number, text } of result.rules)
      if (table === 'filter' && number > 0)
        expect(dead.get(chain)?.get(number), `${printPacket(one)}\n${text}\n${noTrack}`).toBeUndefined()
  }
  for (const { ref, packets } of host.rules())
    if (
      ref.family === family &&
      ref.table === 'filter' &&
      ref.number > 0 &&
      dead.get(ref.chain)?.has(ref.number)
    )
      expect(packets, ref.text).toBe(0)
})
