// Extensions that keep state or look at connections and sockets: what record-kernel.py cannot ask packet by packet.
// The tables of connection tests are what the kernel counted for the same rules (6.18, a UDP flow through a router).

import { describe, expect, test } from 'vitest'
import { CTMARK, STATUS, STRIDE, Status } from '../../conntrack/table.ts'
import { Tuple } from '../../conntrack/tuple.ts'
import { Hook, Verdict } from '../../datapath/hooks.ts'
import { CtInfo, type CtTemplate, type Packet, PacketType } from '../../datapath/packet.ts'
import { parseIpv4 } from '../../datapath/wire/address.ts'
import { CONTINUE } from '../../rules/extension.ts'
import { matches } from '../../rules/matches/index.ts'
import { targets } from '../../rules/targets/index.ts'
import { decode, tcp, udp } from '../harness/frames.ts'
import { parseRule, shellWords } from './rule.ts'
import { World } from './world.ts'

const SRC = '10.0.0.2'
const DST = '10.1.0.2'
const frame = udp({ src: SRC, dst: DST, sport: 1000, dport: 2000, payload: 'x' })

/** A confirmed or new entry for the flow of `frame`, in the table. */
function entry(world: World, status: number, seconds: number): number {
  const { table } = world.conntrack
  const e = table.create()
  const t = new Tuple()
  t.s0 = parseIpv4(SRC)!
  t.d0 = parseIpv4(DST)!
  t.ports = (1000 << 16) | 2000
  t.meta = (17 << 8) | 4
  table.setTuple(e, 0, t)
  t.s0 = parseIpv4(DST)!
  t.d0 = parseIpv4('192.0.2.7')!
  t.ports = (2000 << 16) | 4000
  table.setTuple(e, 1, t)
  table.words[e * STRIDE + STATUS] = status
  table.words[e * STRIDE + CTMARK] = 0x80000005 | 0
  table.setExpires(e, world.host.now + seconds * 1000)
  return e
}

/** Answers of several rules for one packet, as a record. */
const ask = (world: World, pkt: Packet, rules: readonly string[]): Record<string, string> =>
  Object.fromEntries(rules.map((rule) => [rule, world.match(rule)(pkt)]))

const all = (answers: Readonly<Record<string, '0' | '1'>>, world: World, pkt: Packet): void =>
  expect(ask(world, pkt, Object.keys(answers))).toEqual(answers)

describe('conntrack', () => {
  test('a confirmed entry, answered', () => {
    const world = new World()
    const pkt = world.forwarded(frame)!
    pkt.ct = entry(world, Status.Confirmed | Status.SeenReply | Status.SrcNat, 30.5)
    pkt.ctInfo = CtInfo.Established
    all(
      {
        '-m conntrack --ctstate ESTABLISHED': '1',
        '-m conntrack --ctstate RELATED,ESTABLISHED': '1',
        '-m conntrack --ctstate NEW': '0',
        '-m conntrack ! --ctstate NEW': '1',
        '-m conntrack ! --ctstate ESTABLISHED': '0',
        '-m conntrack --ctstate INVALID,UNTRACKED': '0',
        '-m conntrack --ctstate SNAT': '1',
        '-m conntrack ! --ctstate SNAT': '0',
        '-m conntrack --ctstate DNAT': '0',
        '-m conntrack --ctstate NEW,SNAT': '1',
        '-m conntrack ! --ctstate NEW,DNAT': '1',
        '-m state --state ESTABLISHED': '1',
        '-m state ! --state ESTABLISHED': '0',
        '-m conntrack --ctproto 17': '1',
        '-m conntrack ! --ctproto udp': '0',
        '-m conntrack --ctproto 6': '0',
        '-m conntrack --ctorigsrc 10.0.0.2': '1',
        '-m conntrack --ctorigsrc 10.0.0.0/8': '1',
        '-m conntrack ! --ctorigsrc 10.0.0.0/8': '0',
        '-m conntrack --ctorigsrc 10.0.0.3': '0',
        '-m conntrack --ctorigdst 10.1.0.2/31': '1',
        '-m conntrack --ctreplsrc 10.1.0.2': '1',
        '-m conntrack --ctrepldst 192.0.2.7': '1',
        '-m conntrack --ctrepldst 10.0.0.2': '0',
        '-m conntrack --ctrepldst 0.0.0.0/0': '1',
        '-m conntrack ! --ctrepldst 0.0.0.0/0': '0',
        '-m conntrack --ctorigsrcport 1000': '1',
        '-m conntrack --ctorigsrcport 999:1001': '1',
        '-m conntrack --ctorigsrcport 1001:65535': '0',
        '-m conntrack ! --ctorigsrcport 1001:': '1',
        '-m conntrack --ctorigdstport 2000': '1',
        '-m conntrack --ctreplsrcport 2000': '1',
        '-m conntrack --ctrepldstport 4000': '1',
        '-m conntrack ! --ctrepldstport 4000': '0',
        '-m conntrack ! --ctrepldstport 0:65535': '0',
        '-m conntrack --ctstatus CONFIRMED': '1',
        '-m conntrack --ctstatus ASSURED': '0',
        '-m conntrack --ctstatus ASSURED,SEEN_REPLY': '1',
        '-m conntrack ! --ctstatus ASSURED': '1',
        '-m conntrack --ctstatus NONE': '0',
        '-m conntrack ! --ctstatus NONE': '1',
        '-m conntrack --ctexpire 30': '1',
        '-m conntrack --ctexpire 31:': '0',
        '-m conntrack ! --ctexpire 0:29': '1',
        '-m conntrack --ctdir ORIGINAL': '1',
        '-m conntrack --ctdir REPLY': '0',
        '-m conntrack --ctstate ESTABLISHED --ctproto 6': '0',
        '-m connmark --mark 0x80000005': '1',
        '-m connmark --mark 5/0x7fffffff': '1',
        '-m connmark ! --mark 5/0xff': '0',
        '-m connmark --mark 0x80000000/0x80000000': '1',
      },
      world,
      pkt,
    )
    pkt.ctInfo = CtInfo.EstablishedReply
    all(
      {
        '-m conntrack --ctdir ORIGINAL': '0',
        '-m conntrack --ctdir REPLY': '1',
        '-m conntrack --ctstate ESTABLISHED': '1',
        '-m conntrack --ctstate RELATED': '0',
      },
      world,
      pkt,
    )
    pkt.ctInfo = CtInfo.RelatedReply
    all({ '-m conntrack --ctstate RELATED': '1', '-m state --state ESTABLISHED': '0' }, world, pkt)
  })

  test('a new entry is not confirmed and has no time left', () => {
    const world = new World()
    const pkt = world.forwarded(frame)!
    pkt.ct = entry(world, 0, 30)
    pkt.ctInfo = CtInfo.New
    all(
      {
        '-m conntrack --ctstate NEW': '1',
        '-m conntrack --ctdir ORIGINAL': '1',
        '-m conntrack --ctexpire 0': '1',
        '-m conntrack --ctexpire 1:': '0',
        '-m conntrack ! --ctstatus NONE': '1',
        '-m conntrack --ctstatus CONFIRMED': '0',
      },
      world,
      pkt,
    )
  })

  test('without a connection only the state is asked', () => {
    const world = new World()
    const pkt = world.forwarded(frame)!
    all(
      {
        '-m conntrack --ctstate INVALID': '1',
        '-m conntrack ! --ctstate INVALID': '0',
        '-m conntrack ! --ctstate NEW': '1',
        '-m conntrack --ctstate UNTRACKED': '0',
        '-m conntrack --ctstate INVALID --ctdir REPLY --ctproto 7': '1',
        '-m conntrack ! --ctstate NEW --ctproto 7': '1',
        '-m conntrack --ctproto 17': '0',
        '-m conntrack ! --ctproto 7': '0',
        '-m conntrack ! --ctstatus ASSURED': '0',
        '-m connmark --mark 0': '0',
        '-m connmark ! --mark 1': '0',
        '-m state --state INVALID': '1',
      },
      world,
      pkt,
    )
    pkt.ctInfo = CtInfo.Untracked
    all(
      {
        '-m conntrack --ctstate UNTRACKED': '1',
        '-m conntrack --ctstate UNTRACKED,INVALID': '1',
        '-m conntrack --ctstate INVALID': '0',
        '-m conntrack ! --ctstate UNTRACKED': '0',
        '-m conntrack --ctstate INVALID,NEW,ESTABLISHED,RELATED': '0',
      },
      world,
      pkt,
    )
  })

  test('behind a CT rule, a template: new, confirmed, all zero', () => {
    const world = new World()
    const pkt = world.parsed(frame)!
    world.target('-j CT --zone 5')(pkt, Hook.PreRouting)
    all(
      {
        '-m conntrack --ctstate NEW': '1',
        '-m conntrack --ctstate INVALID': '0',
        '-m conntrack --ctstatus CONFIRMED': '1',
        '-m conntrack ! --ctstatus CONFIRMED': '0',
        '-m conntrack --ctproto 0': '1',
        '-m conntrack --ctproto 17': '0',
        '-m conntrack --ctorigsrc 0.0.0.0': '1',
        '-m conntrack --ctorigsrc 10.0.0.0/8': '0',
        '-m conntrack --ctexpire 0': '1',
        '-m conntrack --ctdir ORIGINAL': '1',
        '-m conntrack --ctdir REPLY': '0',
        '-m connmark --mark 0': '1',
        '-m connmark --mark 1': '0',
      },
      world,
      pkt,
    )
  })
})

describe('CT and NOTRACK', () => {
  const template = (rule: string): CtTemplate | null => {
    const world = new World()
    const pkt = world.parsed(frame)!
    world.target(rule)(pkt, Hook.PreRouting)
    return pkt.ctTemplate
  }

  test('templates', () => {
    const none = {
      zone: 0,
      zoneDirs: 3,
      zoneFromMark: false,
      helper: null,
      timeoutPolicy: null,
      ctevents: null,
      expevents: null,
    }
    expect(template('-j CT')).toEqual(none)
    expect(template('-j CT --zone 7')).toEqual({ ...none, zone: 7 })
    expect(template('-j CT --zone-orig 7')).toEqual({ ...none, zone: 7, zoneDirs: 1 })
    expect(template('-j CT --zone-reply mark')).toEqual({ ...none, zoneDirs: 2, zoneFromMark: true })
    expect(template('-p tcp -j CT --helper ftp --ctevents new,destroy --expevents new')).toEqual({
      ...none,
      helper: 'ftp',
      ctevents: 5,
      expevents: 1,
    })
  })

  test('only a packet that nobody looked at', () => {
    for (const rule of ['-j CT --notrack', '-j NOTRACK', '-j CT --notrack --zone 3']) {
      const world = new World()
      const pkt = world.parsed(frame)!
      world.target(rule)(pkt, Hook.PreRouting)
      expect([pkt.ctInfo, pkt.ctTemplate]).toEqual([CtInfo.Untracked, null])
      world.target('-j CT --zone 1')(pkt, Hook.PreRouting)
      expect(pkt.ctTemplate).toBeNull()
    }
    const world = new World()
    const pkt = world.parsed(frame)!
    world.target('-j CT --zone 1')(pkt)
    world.target('-j NOTRACK')(pkt)
    expect([pkt.ctInfo, pkt.ctTemplate?.zone]).toEqual([0, 1])
  })

  test('needs of the tracker', () => {
    const tracks = (rule: string): boolean => {
      const { target, data } = parseRule(shellWords(rule)).target!
      return typeof target.tracks === 'function' ? target.tracks(data) : target.tracks === true
    }
    expect(tracks('-j CT --notrack')).toBe(false)
    expect(tracks('-j NOTRACK')).toBe(false)
    expect(tracks('-j CT --zone 1')).toBe(true)
    expect(tracks('-j CONNMARK --save-mark')).toBe(true)
    expect(tracks('-j MARK --set-mark 1')).toBe(false)
    expect(matches.filter((match) => match.tracks).map((match) => match.name)).toEqual([
      'cluster',
      'connbytes',
      'connlabel',
      'connlimit',
      'connmark',
      'conntrack',
      'helper',
      'state',
    ])
    expect(targets.filter((target) => target.tracks === true).map((target) => target.name)).toEqual([
      'CLUSTERIP',
      'CONNMARK',
      'CONNSECMARK',
      'DNAT',
      'MASQUERADE',
      'NETMAP',
      'REDIRECT',
      'SNAT',
      'SYNPROXY',
    ])
  })
})

describe('marks', () => {
  const marked = (rule: string, mark: number): number => {
    const world = new World()
    const pkt = world.parsed(frame)!
    pkt.mark = mark
    world.target(rule)(pkt)
    return pkt.mark
  }

  test('MARK', () => {
    expect(marked('-j MARK --set-mark 0xffffffff', 5)).toBe(0xffffffff)
    expect(marked('-j MARK --set-mark 0x1/0xff', 0xabcd)).toBe(0xab01)
    expect(marked('-j MARK --set-xmark 0xfeedcafe/0xfeed', 0x12345678)).toBe(
      ((0x12345678 & ~0xfeed) ^ 0xfeedcafe) >>> 0,
    )
    expect(marked('-j MARK --and-mark 0x80000001', 0xffffffff)).toBe(0x80000001)
    expect(marked('-j MARK --or-mark 0x80000000', 1)).toBe(0x80000001)
    expect(marked('-j MARK --xor-mark 0xffffffff', 1)).toBe(0xfffffffe)
  })

  test('CONNMARK', () => {
    const run = (rule: string, mark: number, ctMark: number): [number, number] => {
      const world = new World()
      const pkt = world.forwarded(frame)!
      pkt.ct = entry(world, Status.Confirmed, 10)
      pkt.mark = mark
      const { table } = world.conntrack
      table.words[pkt.ct * STRIDE + CTMARK] = ctMark | 0
      world.target(rule)(pkt)
      return [pkt.mark, table.words[pkt.ct * STRIDE + CTMARK]! >>> 0]
    }
    expect(run('-j CONNMARK --set-mark 0x80000000', 1, 2)).toEqual([1, 0x80000000])
    expect(run('-j CONNMARK --set-xmark 0xf0/0xff', 1, 0x1234)).toEqual([1, 0x12f0])
    expect(run('-j CONNMARK --set-mark 0x81 --left-shift-mark 4', 1, 2)).toEqual([1, 0x810])
    expect(run('-j CONNMARK --set-mark 0x80000001 --right-shift-mark 31', 1, 2)).toEqual([1, 1])
    expect(run('-j CONNMARK --save-mark', 0x80000007, 1)).toEqual([0x80000007, 0x80000007])
    expect(run('-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf00', 0x1234, 0xfff)).toEqual([0x1234, 0xcb])
    expect(run('-j CONNMARK --save-mark --left-shift-mark 8', 0x81, 7)).toEqual([0x81, 0x8100])
    expect(run('-j CONNMARK --restore-mark', 1, 0x80000007)).toEqual([0x80000007, 0x80000007])
    expect(run('-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xf', 0xabcd, 0x1234)).toEqual([
      0xab04, 0x1234,
    ])
    expect(run('-j CONNMARK --restore-mark --right-shift-mark 4', 1, 0xfffffff0)).toEqual([
      0x0fffffff, 0xfffffff0,
    ])
  })

  test('CONNMARK without a connection does nothing', () => {
    for (const what of ['--set-mark 1', '--save-mark', '--restore-mark'])
      expect(marked(`-j CONNMARK ${what}`, 9)).toBe(9)
  })

  test('CLASSIFY', () => {
    const world = new World()
    const pkt = world.parsed(frame)!
    world.target('-j CLASSIFY --set-class ffff:10')(pkt)
    expect(pkt.priority).toBe(0xffff0010)
  })
})

describe('limit', () => {
  /** Which of the packets at these milliseconds fit. */
  const run = (rule: string, times: readonly number[]): string => {
    const world = new World()
    const match = world.match(rule)
    const pkt = world.forwarded(frame)!
    return times
      .map((ms) => {
        world.host.now = ms
        return match(pkt)
      })
      .join('')
  }

  test('a burst, then one each period', () => {
    expect(run('-m limit --limit 1/s --limit-burst 3', [0, 0, 0, 0, 999, 1000, 1001, 1999, 2000, 2003])).toBe(
      '1110010010',
    )
  })
  test('credit grows by jiffies of 4 ms, up to the burst', () => {
    expect(run('-m limit --limit 250/s --limit-burst 1', [0, 3, 4, 7, 8, 15, 16, 16])).toBe('10101110')
    expect(run('-m limit --limit 1/s --limit-burst 2', [0, 0, 0, 60_000, 60_000, 60_000])).toBe('110110')
  })
  test('the default is 3 an hour with a burst of 5', () => {
    const hour = 3_600_000
    expect(run('-m limit', [0, 0, 0, 0, 0, 0, hour / 3 - 5, hour / 3])).toBe('11111001')
  })
  test('credit overflows after 37 hours of silence, as 32 bits do', () => {
    // 2^32 credits are 33554432 jiffies of 4 ms: the next packet finds what was left and no more.
    const wrap = (2 ** 32 / 128) * 4
    expect(run('-m limit --limit 1/min --limit-burst 1', [0, wrap, wrap + 59_000, wrap + 60_000])).toBe(
      '1001',
    )
  })
  test('each rule has its own credit', () => {
    const world = new World()
    const first = world.match('-m limit --limit 1/s --limit-burst 1')
    const second = world.match('-m limit --limit 1/s --limit-burst 1')
    const pkt = world.forwarded(frame)!
    expect([first(pkt), first(pkt), second(pkt), second(pkt)]).toEqual(['1', '0', '1', '0'])
  })
})

describe('statistic', () => {
  test('a share of random packets, the rest inverted', () => {
    const world = new World(7)
    const match = world.match('-m statistic --mode random --probability 0.25')
    const pkt = world.forwarded(frame)!
    let hits = 0
    for (let i = 0; i < 20_000; i++) if (match(pkt) === '1') hits++
    expect(hits / 20_000).toBeCloseTo(0.25, 1)
    expect(Math.abs(hits - 5000)).toBeLessThan(250)
  })

  test('31 bits below the threshold', () => {
    const world = new World()
    let next = 0
    Object.assign(world.host.random, { i32: () => next })
    const pkt = world.forwarded(frame)!
    const match = world.match('-m statistic --mode random --probability 0.5')
    const answers = [0x3fffffff, 0x40000000, 0xbfffffff, 0xc0000000, 0, 0xffffffff].map((value) => {
      next = value | 0
      return match(pkt)
    })
    expect(answers.join('')).toBe('101010')
  })
})

describe('owner', () => {
  test('what the host sends has a socket without a user', () => {
    const world = new World()
    const pkt = world.parsed(frame)!
    pkt.local = true
    const answers = {
      '-m owner --socket-exists': '1',
      '-m owner ! --socket-exists': '0',
      '-m owner --uid-owner 0': '0',
      '-m owner ! --uid-owner 0': '1',
      '-m owner ! --uid-owner 0 ! --socket-exists': '0',
      '-m owner --socket-exists ! --uid-owner 0': '1',
      '-m owner ! --gid-owner 5': '1',
    } as const
    all(answers, world, pkt)
    // The RST of a REJECT rule, and packets that are forwarded.
    const without = {
      ...answers,
      '-m owner --socket-exists': '0',
      '-m owner ! --socket-exists': '1',
      '-m owner ! --uid-owner 0 ! --socket-exists': '1',
      '-m owner --socket-exists ! --uid-owner 0': '0',
    } as const
    pkt.socketless = true
    all(without, world, pkt)
    pkt.socketless = pkt.local = false
    all(without, world, pkt)
  })
})

test('pkttype of looped packets goes by the address', () => {
  const world = new World()
  const pkt = world.parsed(frame)!
  pkt.pktType = PacketType.Loopback
  all({ '-m pkttype --pkt-type broadcast': '1', '-m pkttype ! --pkt-type broadcast': '0' }, world, pkt)
  pkt.d0 = parseIpv4('224.0.0.1')!
  all({ '-m pkttype --pkt-type multicast': '1', '-m pkttype --pkt-type unicast': '0' }, world, pkt)
})

describe('REJECT', () => {
  test('drops, and asks for the answer of its type', () => {
    const world = new World()
    const asked: unknown[][] = []
    Object.assign(world.host.replies, {
      icmpReject: (_: Packet, ...rest: unknown[]) => asked.push(['icmp', ...rest]),
      tcpReset: (_: Packet, ...rest: unknown[]) => asked.push(['reset', ...rest]),
    })
    const pkt = world.forwarded(tcp({ src: SRC, dst: DST, sport: 1, dport: 2, flags: 'S' }))!
    const types = [
      'net-unreach',
      'host-unreach',
      'proto-unreach',
      'port-unreach',
      'net-prohib',
      'host-prohib',
    ]
    for (const type of [...types, 'admin-prohib'])
      expect(world.target(`-j REJECT --reject-with ${type}`)(pkt, Hook.LocalIn)).toBe(Verdict.Drop)
    expect(world.target('-p tcp -j REJECT --reject-with tcp-reset')(pkt, Hook.Forward)).toBe(Verdict.Drop)
    expect(asked).toEqual([
      ...[0, 1, 2, 3, 9, 10, 13].map((code) => ['icmp', code, Hook.LocalIn]),
      ['reset', Hook.Forward],
    ])
  })

  test('a real answer leaves the host', () => {
    const world = new World()
    const sent: string[] = []
    world.host.egress = {
      send: (dev, off, len, slot) => {
        sent.push(`${dev} ${decode(world.memory.bytes.slice(off, off + len))}`)
        if (slot >= 0) world.memory.give(slot)
      },
      flush: () => {},
    }
    world.memory.take()
    world.host.tunables.set('net.ipv4.ip_forward', 1)
    const pkt = world.forwarded(tcp({ src: SRC, dst: DST, sport: 1, dport: 2, flags: 'S' }))!
    world.target('-j REJECT')(pkt)
    world.target('-p tcp -j REJECT --reject-with tcp-reset')(pkt)
    expect(sent).toHaveLength(2)
    expect(sent[0]).toMatch(/^2 .*10\.0\.0\.1.*10\.0\.0\.2/)
    expect(sent[1]).toMatch(/^2 .*10\.1\.0\.2.*10\.0\.0\.2/)
  })
})

test('TCPMSS clamps to the smaller of both ways, and goes on', () => {
  const world = new World()
  const mss = (src: string, dst: string): number => {
    const pkt = world.forwarded(
      tcp({ src, dst, sport: 1, dport: 2, flags: 'S', tcpOptions: [2, 4, 0x05, 0xb4] }),
    )!
    const clamp = world.target('-p tcp --tcp-flags SYN SYN -j TCPMSS --clamp-mss-to-pmtu')
    expect(clamp(pkt)).toBe(CONTINUE)
    return world.memory.view.getUint16(pkt.l4 + 22)
  }
  expect(mss('10.0.0.2', '10.1.0.2')).toBe(1260)
  expect(mss('8.8.8.8', '10.1.0.2')).toBe(1360)
  expect(mss('10.0.0.2', '10.1.255.1')).toBe(860)
  expect(mss('172.16.0.1', '10.1.0.2')).toBe(560)
})
