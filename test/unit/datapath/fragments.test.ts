// The expected frames here were seen on Linux 6.18 (two TUN devices, iptables-legacy with a nat rule for the
// reassembling cases).

import { describe, expect, test } from 'vitest'
import { DefragUser } from '../../../datapath/fragments.ts'
import { Verdict } from '../../../datapath/hooks.ts'
import { Packet } from '../../../datapath/packet.ts'
import { fill4 } from '../../../datapath/parse.ts'
import { HEADROOM } from '../../../datapath/ring.ts'
import { decode, fragment, icmp, ip4, SeededRandom, tcp, toHex, udp } from '../../harness/frames.ts'
import { defragment, type TestHost, testHost } from '../../harness/host.ts'

const DEVICES = [
  ['eth0', 1500, ['10.1.0.1/24']],
  ['eth1', 1400, ['10.2.0.1/24']],
] as const
const C = { src: '10.1.0.2', dst: '10.2.0.2', sport: 1, dport: 2, id: 5 }

function reassembling(): TestHost {
  const t = testHost(DEVICES)
  defragment(t.host)
  return t
}

/** `offset+length` of what left for a list of fragments, with DF and MF as letters. */
function pieces(t: TestHost, frames: readonly Uint8Array[]): string[] {
  const out: string[] = []
  for (const frame of frames)
    for (const { frame: f } of t.feed('eth0', frame)) {
      const v = new DataView(f.buffer)
      const w = v.getUint16(6)
      out.push(
        `${(w & 0x1fff) * 8}+${f.length - (f[0]! & 15) * 4}${w & 0x4000 ? ' DF' : ''}${w & 0x2000 ? ' MF' : ''}`,
      )
    }
  return out
}

/** One fragment through defrag alone. The datagram if it is complete. */
function defrag(t: TestHost, frame: Uint8Array): { verdict: number; whole: Uint8Array | null } {
  const { memory } = t.host
  const pkt = new Packet()
  pkt.slot = memory.take()
  pkt.l3 = pkt.slot + HEADROOM
  pkt.end = pkt.l3 + frame.length
  pkt.limit = pkt.slot + memory.stride
  memory.bytes.set(frame, pkt.l3)
  fill4(pkt, memory.view, pkt.l3 + (frame[0]! & 15) * 4)
  const verdict = t.host.fragments.defrag(pkt, DefragUser.LocalDeliver)
  const whole = verdict === Verdict.Accept ? memory.bytes.slice(pkt.l3, pkt.end) : null
  if (pkt.slot >= 0) memory.give(pkt.slot)
  return { verdict, whole }
}

function shuffle<T>(list: T[], random: SeededRandom): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[list[i], list[j]] = [list[j]!, list[i]!]
  }
  return list
}

describe('reassembly', () => {
  test('fragments in any order, duplicates included, give the datagram back', () => {
    const random = new SeededRandom(11)
    const t = testHost(DEVICES)
    for (let n = 0; n < 400; n++) {
      const datagram = udp({ ...C, id: n, tos: 0x10, payload: random.below(random.once(10) ? 60000 : 4000) })
      const sizes: number[] = []
      for (let left = datagram.length - 20; left > 0; left -= sizes.at(-1)!)
        sizes.push(8 * (1 + random.below(random.once(4) ? 200 : 20)))
      const parts = fragment(datagram, sizes)
      if (parts.length < 2) continue
      const order = shuffle([...parts], random)
      const last = order.pop()!
      for (const part of order) {
        expect(defrag(t, part).verdict).toBe(Verdict.Stolen)
        if (random.once(5)) expect(defrag(t, part).verdict).toBe(Verdict.Drop)
      }
      expect(toHex(defrag(t, last).whole!)).toBe(toHex(datagram))
    }
    expect(t.host.fragments.waiting).toBe(0)
    expect(t.host.memory.free).toBe(64)
  })

  test('two datagrams that differ in one key field do not mix', () => {
    for (const other of [{ id: 6 }, { src: '10.1.0.3' }, { dst: '10.2.0.3' }] as const) {
      const t = testHost(DEVICES)
      const [a, b] = fragment(udp({ ...C, payload: 100 }), 56) as [Uint8Array, Uint8Array]
      const [, d] = fragment(udp({ ...C, ...other, payload: 100 }), 56) as [Uint8Array, Uint8Array]
      expect(defrag(t, a).verdict).toBe(Verdict.Stolen)
      expect(defrag(t, d).verdict).toBe(Verdict.Stolen)
      expect(defrag(t, b).verdict).toBe(Verdict.Accept)
      expect(t.host.fragments.waiting).toBe(1)
    }
  })

  const part = (offset: number, length: number, mf = true, more = {}): Uint8Array =>
    ip4({ ...C, proto: 17, fragOffset: offset, mf, payload: length, ...more })

  test.each([
    ['overlap with the tail', [part(0, 16), part(8, 16)]],
    ['overlap in front', [part(16, 16), part(8, 16)]],
    ['across two runs', [part(0, 8), part(16, 8), part(8, 8), part(0, 24)]],
    ['beyond the last', [part(8, 8, false), part(16, 8)]],
    ['a second, other end', [part(8, 8, false), part(8, 16, false)]],
    ['an end before what is there', [part(16, 16), part(8, 8, false)]],
    ['no data', [part(0, 16), part(16, 0)]],
    ['less than eight bytes, more to follow', [part(0, 16), part(16, 7)]],
  ])('%s: the datagram is dropped', (_, frames) => {
    const t = testHost(DEVICES)
    let verdict = -1
    for (const f of frames) verdict = defrag(t, f).verdict
    expect(verdict).toBe(Verdict.Drop)
    expect(t.host.fragments.waiting).toBe(0)
  })

  test.each([
    ['the same again', [part(0, 16), part(0, 16)]],
    ['inside a run of two', [part(0, 16), part(16, 16), part(8, 16)]],
    ['the tail again', [part(0, 16), part(16, 16), part(16, 16)]],
  ])('%s: ignored', (_, frames) => {
    const t = testHost(DEVICES)
    let verdict = -1
    for (const f of frames) verdict = defrag(t, f).verdict
    expect(verdict).toBe(Verdict.Drop)
    expect(t.host.fragments.waiting).toBe(1)
  })

  test('data that is no multiple of eight is cut', () => {
    const t = testHost(DEVICES)
    defrag(t, part(0, 21))
    const { whole } = defrag(t, part(16, 5, false))
    expect(whole!.length).toBe(20 + 21)
    expect(whole![20 + 15]).toBe(15)
    expect(whole![20 + 16]).toBe(0)
  })

  test('longer than 65535: dropped when complete', () => {
    const t = testHost(DEVICES)
    for (let at = 0; at < 65520; at += 1456) defrag(t, part(at, Math.min(1456, 65520 - at)))
    expect(t.host.fragments.waiting).toBe(1)
    expect(defrag(t, part(65520, 16, false)).verdict).toBe(Verdict.Drop)
    expect(t.host.fragments.waiting).toBe(0)
  })

  // RFC 3168 §5.3; null: dropped.
  test.each([
    [0, 0, 0],
    [1, 1, 1],
    [2, 3, 3],
    [1, 3, 3],
    [3, 1, 3],
    [1, 2, 1],
    [0, 3, null],
    [2, 0, null],
  ])('ECN %i and %i give %s', (a, b, expected) => {
    const t = testHost(DEVICES)
    defrag(t, part(0, 16, true, { tos: a }))
    const { verdict, whole } = defrag(t, part(16, 16, false, { tos: b }))
    if (expected === null) expect(verdict).toBe(Verdict.Drop)
    else expect(whole![1]).toBe(expected)
  })

  test('a source that sends many others meanwhile starts anew (ipfrag_max_dist)', () => {
    const t = testHost(DEVICES, { 'net.ipv4.ipfrag_max_dist': 3 })
    defrag(t, part(0, 16))
    for (let id = 100; id < 104; id++) defrag(t, part(0, 16, true, { id }))
    // Too far: what was there is forgotten, so that this one is not the last one missing.
    expect(defrag(t, part(16, 16, false)).verdict).toBe(Verdict.Stolen)
    expect(defrag(t, part(0, 16)).verdict).toBe(Verdict.Accept)
  })

  test('ipfrag_high_thresh bounds what waits', () => {
    const t = testHost(DEVICES, {
      'net.ipv4.ipfrag_low_thresh': 0,
      'net.ipv4.ipfrag_high_thresh': 100_000,
    })
    const verdicts = Array.from({ length: 300 }, (_, id) => defrag(t, part(0, 16, true, { id })).verdict)
    const held = verdicts.filter((v) => v === Verdict.Stolen).length
    expect(held).toBeGreaterThan(50)
    expect(held).toBeLessThan(250)
    t.host.now = 30_720
    t.host.fragments.tick()
    expect(t.host.fragments.waiting).toBe(0)
    expect(defrag(t, part(0, 16)).verdict).toBe(Verdict.Stolen)
  })

  // Seen in /proc/net/sockstat.
  test.each([
    [28, 1032],
    [188, 1032],
    [196, 1480],
    [636, 1480],
    [644, 2504],
    [1660, 2504],
    [1668, 4552],
    [3716, 8648],
    [7780, 8648],
    [7844, 12744],
    [61076, 65992],
  ])('a waiting fragment of %i bytes holds %i', (length, held) => {
    const t = testHost(DEVICES)
    defrag(t, part(0, length - 20))
    expect(t.host.fragments.held).toBe(held)
  })

  test.each([
    ['for this host', '10.1.0.1', 0, 1],
    ['for this host, first fragment missing', '10.1.0.1', 1, 0],
    ['for another, reassembled by conntrack', '10.2.0.2', 0, 0],
  ])('time runs out %s', (_, dst, which, errors) => {
    const t = reassembling()
    const frames = fragment(udp({ ...C, dst, payload: 2000 }), 600)
    expect(t.feed('eth0', frames[which]!)).toEqual([])
    t.host.now = 30_719
    t.host.fragments.tick()
    expect(t.host.fragments.waiting).toBe(1)
    t.host.now = 30_720
    t.host.fragments.tick()
    expect(t.host.fragments.waiting).toBe(0)
    expect(t.sent.length).toBe(errors)
    if (errors > 0)
      expect(decode(t.sent[0]!.frame)).toMatch(
        /10\.1\.0\.1 > 10\.1\.0\.2 .* icmp 11\/1 len 548 \[10\.1\.0\.2 > .* frag 0\+528 MF udp/,
      )
    expect(t.host.memory.free).toBe(64)
  })
})

describe('on the way out', () => {
  const datagram = udp({ ...C, payload: 2000 })

  test.each<[string, number | number[], string[]]>([
    ['as it came', 800, ['0+800 MF', '800+800 MF', '1600+408']],
    ['uneven pieces too', [80, 800, 8], ['0+80 MF', '80+800 MF', '880+8 MF', '888+1120']],
    ['cut anew when a piece does not fit', 1480, ['0+1376 MF', '1376+632']],
  ])('a reassembled packet leaves %s', (_, sizes, expected) => {
    expect(pieces(reassembling(), fragment(datagram, sizes))).toEqual(expected)
    expect(pieces(reassembling(), fragment(datagram, sizes).reverse())).toEqual(expected)
  })

  test('DF is lost on pieces sent as they came', () => {
    expect(pieces(reassembling(), fragment(udp({ ...C, df: true, payload: 2000 }), 800))).toEqual([
      '0+800 MF',
      '800+800 MF',
      '1600+408',
    ])
  })

  test('DF, and pieces larger than the way out: fragmentation needed, about the whole datagram', () => {
    const t = reassembling()
    const [a, b] = fragment(udp({ ...C, df: true, payload: 2000 }), 1480) as [Uint8Array, Uint8Array]
    expect(t.feed('eth0', a)).toEqual([])
    const [error] = t.feed('eth0', b)
    expect(decode(error!.frame)).toMatch(
      /icmp 3\/4 rest 0x578 len 548 \[.* id 5 DF udp 1 > 2 len 520 length 2008 of 528\]/,
    )
  })

  test('a TCP header in several pieces is put together, and the packet cut by the largest piece', () => {
    expect(pieces(reassembling(), fragment(tcp({ ...C, flags: 'S', payload: 200 }), [8, 8]))).toEqual([
      '0+200 MF',
      '200+20',
    ])
    expect(pieces(reassembling(), fragment(udp({ ...C, payload: 100 }), [8, 8]))).toEqual([
      '0+8 MF',
      '8+8 MF',
      '16+92',
    ])
  })

  test('forwarded fragments that do not fit are cut again, at their place', () => {
    const t = testHost(DEVICES)
    expect(pieces(t, fragment(datagram, [8, 1472]))).toEqual([
      '0+8 MF',
      '8+1376 MF',
      '1384+96 MF',
      '1480+528',
    ])
  })

  test('only copied options go into later pieces', () => {
    const t = testHost([
      ['eth0', 1500, ['10.1.0.1/24']],
      ['eth1', 576, ['10.2.0.1/24']],
    ])
    const options = [7, 7, 4, 0, 0, 0, 0, 1, 0x94, 4, 0, 0]
    const out = t.feed('eth0', udp({ ...C, payload: 1000, options }))
    expect(out.map(({ frame }) => toHex(frame.slice(20, 32)))).toEqual([
      '0707080a0200010194040000',
      '010101010101010194040000',
    ])
  })

  test('fragments of any packet, put together again, are the packet', () => {
    const random = new SeededRandom(12)
    const there = testHost([
      ['eth0', 1500, ['10.1.0.1/24']],
      ['eth1', 1500, ['10.2.0.1/24']],
    ])
    const back = testHost(DEVICES)
    const out = there.host.devices.byName('eth1')!
    for (let n = 0; n < 300; n++) {
      out.mtu = 68 + random.below(1400)
      there.host.devices.generation++
      const options = random.once(3) ? [0x94, 4, 0, 0] : []
      const datagram = icmp({ ...C, id: n, options, payload: random.below(1400) })
      const sent = there.feed('eth0', datagram)
      const expected = datagram.slice()
      expected[8] = 63
      const frames = shuffle(
        sent.map((s) => s.frame),
        random,
      )
      for (const f of frames) expect(f.length).toBeLessThanOrEqual(out.mtu)
      const whole = frames.length === 1 ? frames[0]! : frames.map((f) => defrag(back, f).whole).at(-1)!
      expect(toHex(whole.slice(12))).toBe(toHex(expected.slice(12)))
      expect(decode(whole)).not.toMatch(/BAD/)
    }
  })
})

test('random fragments neither throw nor lose slots', () => {
  const random = new SeededRandom(13)
  const t = reassembling()
  for (let n = 0; n < 30_000; n++) {
    t.host.now += random.below(50)
    const size = random.below(random.once(50) ? 1480 : 64)
    t.feed(
      'eth0',
      ip4({
        src: `10.1.0.${2 + random.below(3)}`,
        dst: random.pick(['10.1.0.1', '10.2.0.2', '10.2.0.255']),
        proto: random.pick([1, 6, 17, 132]),
        id: random.below(4),
        tos: random.below(4),
        df: random.once(3),
        mf: !random.once(4),
        fragOffset: random.once(30) ? random.below(8192) * 8 : random.below(8) * 8,
        payload: random.bytes(size),
        options: random.once(6) ? random.bytes(random.below(41)) : [],
      }),
    )
  }
  t.host.now += 33_000
  t.host.fragments.tick()
  expect(t.host.fragments.waiting).toBe(0)
  expect(t.host.memory.free).toBe(64)
})
