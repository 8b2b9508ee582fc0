import { describe, expect, test } from 'vitest'
import { Hook, Verdict } from '../../../datapath/hooks.ts'
import { DefragUser6 } from '../../../datapath/ipv6/fragments.ts'
import { Packet } from '../../../datapath/packet.ts'
import { fill6 } from '../../../datapath/parse.ts'
import { HEADROOM } from '../../../datapath/ring.ts'
import { decode, type Extension, fragment, ip6, SeededRandom, tcp, toHex, udp } from '../../harness/frames.ts'
import { type TestHost, testHost } from '../../harness/host.ts'

const DEVICES = [['eth0', 1500, ['2001:db8:1::1/64']]] as const
const A = { src: '2001:db8:1::2', dst: '2001:db8:2::2' }
const C = { ...A, sport: 1, dport: 2 }

/** A destination options header of 8n bytes, all padding. */
const dest = (n: number): Extension => ({
  type: 60,
  bytes: [0, n - 1, 1, n * 8 - 4, ...Array(n * 8 - 4).fill(0)],
})
const hop: Extension = { type: 0, bytes: [0, 0, 1, 4, 0, 0, 0, 0] }
const fragmentHeader = (offset: number, more: boolean, id = 5): Extension => ({
  type: 44,
  bytes: [0, 0, offset >> 8, (offset & 0xf8) | (more ? 1 : 0), 0, 0, 0, id],
})

interface PartOptions {
  id?: number
  tos?: number
  next?: number
  before?: readonly Extension[]
  src?: string
  dst?: string
}

const part = (offset: number, payload: number, more = true, o: PartOptions = {}): Uint8Array =>
  ip6({
    ...A,
    ...o,
    next: o.next ?? 17,
    extensions: [...(o.before ?? []), fragmentHeader(offset, more, o.id)],
    payload,
  })

function load(t: TestHost, frame: Uint8Array): Packet {
  const { memory, devices } = t.host
  const pkt = new Packet()
  pkt.slot = memory.take()
  pkt.l3 = pkt.slot + HEADROOM
  pkt.end = pkt.l3 + frame.length
  pkt.limit = pkt.slot + memory.stride
  pkt.family = 6
  pkt.arrival = devices.byName('eth0')!
  pkt.iif = pkt.arrival.index
  memory.bytes.set(frame, pkt.l3)
  fill6(pkt, memory.view)
  return pkt
}

interface Result {
  verdict: number
  bytes: Uint8Array | null
  pkt: Packet
  problem: string
}

function finish(t: TestHost, pkt: Packet, verdict: number): Result {
  const { memory, fragments6 } = t.host
  const bytes = verdict === Verdict.Accept ? memory.bytes.slice(pkt.l3, pkt.end) : null
  if (pkt.slot >= 0) memory.give(pkt.slot)
  const problem = fragments6.problem < 0 ? '' : `${fragments6.problem}@${fragments6.problemAt}`
  return { verdict, bytes, pkt, problem }
}

/** One packet through conntrack's defragmentation. */
function defrag(t: TestHost, frame: Uint8Array): Result {
  const pkt = load(t, frame)
  return finish(t, pkt, t.host.fragments6.defrag(pkt, DefragUser6.ConntrackIn))
}

/** One packet to the host, whose fragment header begins at `at`, named by the byte at `nextAt`. */
function receive(t: TestHost, frame: Uint8Array, at = 40, nextAt = 6): Result {
  const pkt = load(t, frame)
  return finish(t, pkt, t.host.fragments6.receive(pkt, pkt.l3 + at, pkt.l3 + nextAt))
}

/** `offset+length` of the pieces that a packet leaves in, with MF as a letter; or the MTU to tell the sender. */
function pieces(t: TestHost, pkt: Packet, mtu: number): string[] {
  const out: string[] = []
  const { memory, fragments6 } = t.host
  const told = fragments6.fragmentAndSend(pkt, mtu, (piece) => {
    const word = memory.view.getUint16(piece.l4 - 6)
    out.push(`${word & 0xfff8}+${piece.end - piece.l4}${word & 1 ? ' MF' : ''}`)
    memory.give(piece.slot)
  })
  return told === 0 ? out : [`mtu ${told}`]
}

/** The packet that the frames make, in its slot. */
function whole(t: TestHost, frames: readonly Uint8Array[]): Packet {
  for (const frame of frames) {
    const pkt = load(t, frame)
    if (t.host.fragments6.defrag(pkt, DefragUser6.ConntrackIn) === Verdict.Accept) return pkt
  }
  throw new Error('not complete')
}

describe('conntrack reassembles', () => {
  test('fragments in any order, duplicates included, give the packet back', () => {
    const random = new SeededRandom(12)
    const t = testHost(DEVICES)
    for (let n = 0; n < 300; n++) {
      const extensions = random.pick([[], [hop], [dest(2)], [hop, dest(1)]])
      const packet = udp({ ...C, extensions, payload: 8 + random.below(random.once(10) ? 60000 : 4000) })
      const frames = fragment(packet, 8 * (3 + random.below(200)), n)
      const last = frames.splice(random.below(frames.length), 1)[0]!
      for (const frame of frames) expect(defrag(t, frame).verdict).toBe(Verdict.Stolen)
      if (frames.length > 0) expect(defrag(t, frames[0]!).verdict).toBe(Verdict.Drop)
      const { bytes, pkt } = defrag(t, last)
      expect(toHex(bytes!)).toBe(toHex(packet))
      expect([pkt.fragmented, pkt.proto, pkt.sport]).toEqual([true, 17, 1])
    }
    expect(t.host.fragments6.waiting).toBe(0)
    expect(t.host.memory.free).toBe(64)
  })

  test('packets that differ in one key field do not mix', () => {
    for (const other of [{ id: 6 }, { src: '2001:db8:1::3' }, { dst: '2001:db8:3::2' }]) {
      const t = testHost(DEVICES)
      expect(defrag(t, part(0, 16)).verdict).toBe(Verdict.Stolen)
      expect(defrag(t, part(16, 8, false, other)).verdict).toBe(Verdict.Stolen)
      expect(t.host.fragments6.waiting).toBe(2)
      // The protocol is that of the first fragment; those of others are of no account.
      expect(defrag(t, part(16, 8, false, { next: 6 })).pkt.proto).toBe(17)
    }
  })

  test.each([
    ['2001:db8:1::1', true],
    ['fe80::1', false],
    ['ff02::1', false],
  ])('pieces to %s that come in at two interfaces are of one packet: %s', (dst, one) => {
    const t = testHost([...DEVICES, ['eth1', 1500, []]])
    expect(defrag(t, part(0, 16, true, { dst })).verdict).toBe(Verdict.Stolen)
    const pkt = load(t, part(16, 8, false, { dst }))
    pkt.iif = t.host.devices.byName('eth1')!.index
    const verdict = t.host.fragments6.defrag(pkt, DefragUser6.ConntrackIn)
    expect(finish(t, pkt, verdict).verdict).toBe(one ? Verdict.Accept : Verdict.Stolen)
  })

  test.each([
    ['no fragment header', udp({ ...C, payload: 4 })],
    ['a first fragment without all of its upper header', part(0, 8, true, { next: 6 })],
    ['behind "no next header"', ip6({ ...A, next: 59, payload: 40 })],
    ['behind ESP', ip6({ ...A, next: 50, payload: 40 })],
    [
      'a jumbogram',
      ip6({ ...A, next: 17, extensions: [hop, fragmentHeader(0, true)], payloadLength: 0, payload: 40 }),
    ],
  ])('%s: left alone', (_, frame) => {
    const t = testHost(DEVICES)
    expect(toHex(defrag(t, frame).bytes!)).toBe(toHex(frame))
    expect(t.host.fragments6.waiting).toBe(0)
  })

  test('an atomic fragment loses its fragment header', () => {
    const t = testHost(DEVICES)
    const { bytes, pkt } = defrag(t, part(0, 16, false, { before: [hop] }))
    expect(toHex(bytes!)).toBe(toHex(ip6({ ...A, next: 17, extensions: [hop], payload: 16 })))
    expect(pkt.fragMaxSize).toBe(40 + 8 + 8 + 16)
  })

  test('a second fragment header stays, however many ask for reassembly', () => {
    const t = testHost(DEVICES)
    const pkt = load(t, part(0, 16, false, { before: [fragmentHeader(0, false, 6)] }))
    const { fragments6 } = t.host
    expect(fragments6.defrag(pkt, DefragUser6.ConntrackIn)).toBe(Verdict.Accept)
    const again = finish(t, pkt, fragments6.defrag(pkt, DefragUser6.ConntrackIn))
    expect(toHex(again.bytes!)).toBe(toHex(part(0, 16, false)))
  })

  test('a fragment in the middle that is no multiple of eight ends the queue and goes on', () => {
    const t = testHost(DEVICES)
    defrag(t, part(0, 16))
    expect(defrag(t, part(16, 15)).verdict).toBe(Verdict.Accept)
    expect(t.host.fragments6.waiting).toBe(0)
  })

  test.each([
    ['overlap', [part(0, 16), part(8, 16)], 0],
    ['across two runs', [part(0, 8), part(16, 8), part(8, 8), part(0, 24)], 0],
    ['the same again', [part(0, 16), part(0, 16)], 1],
    ['beyond the last', [part(8, 8, false), part(16, 8)], 1],
    ['a second, other end', [part(8, 8, false), part(8, 16, false)], 1],
    ['an end before what is there', [part(16, 16), part(8, 8, false)], 1],
    ['no data', [part(0, 16), part(16, 0, false)], 1],
    ['beyond 65535', [part(65528, 16, false)], 1],
    ['cut fragment header', [ip6({ ...A, next: 44, payload: [17, 0, 0, 9] })], 0],
  ])('%s: dropped', (_, frames, waiting) => {
    const t = testHost(DEVICES)
    let verdict = -1
    for (const f of frames) verdict = defrag(t, f).verdict
    expect(verdict).toBe(Verdict.Drop)
    expect(t.host.fragments6.waiting).toBe(waiting)
  })

  // RFC 3168 §5.3; null: dropped.
  test.each([
    [0x50, 0x50, 0x50],
    [0x51, 0x53, 0x53],
    [0x52, 0x51, 0x52],
    [0x53, 0x50, null],
    [0x50, 0x52, null],
  ])('traffic class %i and %i give %s', (a, b, expected) => {
    const t = testHost(DEVICES)
    defrag(t, part(0, 16, true, { tos: a }))
    const { verdict, bytes } = defrag(t, part(16, 16, false, { tos: b }))
    if (expected === null) expect(verdict).toBe(Verdict.Drop)
    else expect(((bytes![0]! << 4) | (bytes![1]! >> 4)) & 0xff).toBe(expected)
  })

  test('nf_conntrack_frag6_high_thresh bounds what waits, nf_conntrack_frag6_timeout for how long', () => {
    const t = testHost(DEVICES, {
      'net.netfilter.nf_conntrack_frag6_low_thresh': 0,
      'net.netfilter.nf_conntrack_frag6_high_thresh': 100_000,
      'net.netfilter.nf_conntrack_frag6_timeout': 7,
    })
    const verdicts = Array.from({ length: 200 }, (_, id) => defrag(t, part(0, 16, true, { id })).verdict)
    const held = verdicts.filter((v) => v === Verdict.Stolen).length
    expect(held).toBeGreaterThan(50)
    expect(held).toBeLessThan(150)
    t.host.now = 7_167
    t.host.fragments6.tick()
    expect(t.host.fragments6.waiting).toBe(held)
    t.host.now = 7_168
    t.host.fragments6.tick()
    expect(t.host.fragments6.waiting).toBe(0)
  })
})

// Seen in /proc/net/sockstat6.
test.each([
  [56, 1016],
  [192, 1016],
  [200, 1464],
  [1672, 4536],
  [3720, 8632],
])('a waiting fragment of %i bytes holds %i', (length, held) => {
  const t = testHost(DEVICES)
  receive(t, part(0, length - 48))
  expect(t.host.fragments6.held).toBe(held)
})

describe('the host reassembles', () => {
  test('what comes to it', () => {
    const t = testHost(DEVICES)
    const packet = udp({ ...C, extensions: [hop], payload: 3000 })
    const frames = fragment(packet, 1000)
    const results = frames.map((frame) => receive(t, frame, 48, 40))
    expect(results.map((r) => r.verdict)).toEqual([
      Verdict.Stolen,
      Verdict.Stolen,
      Verdict.Stolen,
      Verdict.Accept,
    ])
    expect(toHex(results[3]!.bytes!)).toBe(toHex(packet))
    expect(results[3]!.pkt.fragList).toBeNull()
  })

  test('an atomic fragment stays as it is, a second fragment header is a problem', () => {
    const t = testHost(DEVICES)
    const frame = part(0, 16, false)
    const { bytes, pkt } = receive(t, frame)
    expect(toHex(bytes!)).toBe(toHex(frame))
    expect([pkt.fragmented, pkt.fragMaxSize]).toEqual([true, 64])
    const again = load(t, frame)
    again.fragmented = true
    const verdict = t.host.fragments6.receive(again, again.l3 + 40, again.l3 + 6)
    expect(finish(t, again, verdict).problem).toBe('0@40')
  })

  test.each([
    ['cut fragment header', [ip6({ ...A, next: 44, payload: [17, 0, 0, 9] })], '0@40', 0],
    ['a first fragment without all of its upper header', [part(0, 8, true, { next: 6 })], '3@0', 0],
    ['no multiple of eight', [part(0, 15)], '0@4', 1],
    ['beyond 65535', [part(65528, 16, false)], '0@42', 1],
    ['overlap', [part(0, 16), part(8, 16)], '', 0],
    ['the same again', [part(0, 16), part(0, 16)], '', 1],
    ['beyond the last', [part(8, 8, false), part(16, 8)], '', 0],
    ['no data', [part(0, 16), part(16, 0, false)], '', 0],
  ])('%s: dropped', (_, frames, problem, waiting) => {
    const t = testHost(DEVICES)
    let last: Result | null = null
    for (const f of frames) last = receive(t, f)
    expect([last!.verdict, last!.problem]).toEqual([Verdict.Drop, problem])
    expect(t.host.fragments6.waiting).toBe(waiting)
  })

  test('headers in front of the fragment header: conntrack leaves the local stack behind them, not at the first', () => {
    const t = testHost(DEVICES)
    expect(defrag(t, part(0, 16, false)).pkt.transportAt).toBe(40)
    expect(defrag(t, part(0, 16, false, { before: [hop, dest(1)] })).pkt.transportAt).toBe(56)
    expect(receive(t, part(0, 16, false, { before: [dest(1)] }), 48, 40).pkt.transportAt).toBe(0)
  })

  test('apart from conntrack', () => {
    const t = testHost(DEVICES)
    receive(t, part(0, 16))
    expect(defrag(t, part(16, 8, false)).verdict).toBe(Verdict.Stolen)
    expect(receive(t, part(16, 8, false)).verdict).toBe(Verdict.Accept)
  })
})

test.each([
  ['conntrack', defrag],
  ['the host', receive],
])('time runs out for %s: the sender is told, if the first fragment has come', (_, take) => {
  const t = testHost(DEVICES)
  const first = part(0, 16)
  take(t, first)
  take(t, part(16, 16, true, { id: 6 }))
  t.host.now = 61_439
  t.host.fragments6.tick()
  expect(t.sent).toEqual([])
  t.host.now = 61_440
  t.host.fragments6.tick()
  // The flow label is drawn.
  expect(t.sent.map(({ frame }) => decode(frame).replace(/ flow 0x\w+/, ''))).toEqual([
    `2001:db8:1::1 > 2001:db8:1::2 hlim 64 icmp6 3/1 rest 0x0 len ${first.length} [${decode(first)}]`,
  ])
  expect(t.host.fragments6.waiting).toBe(0)
  expect(t.host.memory.free).toBe(64)
})

test('of what waits in vain the last goes first, as far as the kernel can tell their times apart', () => {
  const t = testHost(DEVICES, { 'net.ipv6.ip6frag_time': 1 })
  for (const [now, id] of [
    [0, 1],
    [3, 2],
    [28, 3],
    [32, 4],
  ] as const) {
    t.host.now = now
    receive(t, part(0, 16, true, { id }))
  }
  const gone = (now: number): number[] => {
    t.host.now = now
    t.sent.length = 0
    t.host.fragments6.tick()
    return t.sent.map(({ frame }) => frame[40 + 8 + 40 + 7]!)
  }
  expect(gone(1023)).toEqual([])
  expect(gone(1024)).toEqual([2, 1])
  expect(gone(1056)).toEqual([4, 3])
})

test('what is said about fragments is said at their time, however late one looks', () => {
  const t = testHost(DEVICES, { 'net.ipv6.ip6frag_time': 1 })
  const times: number[] = []
  t.host.hooks.register({
    name: 'clock',
    family: 6,
    hook: Hook.LocalOut,
    priority: 0,
    run: () => {
      times.push(t.host.now, t.host.wall)
      return Verdict.Accept
    },
  })
  receive(t, part(0, 16))
  t.host.now = 500
  receive(t, part(0, 16, true, { id: 6 }))
  t.host.now = 9000
  t.host.wall = 1_000_000
  t.host.fragments6.tick()
  expect(times).toEqual([1024, 992_024, 1504, 992_504])
  expect([t.host.now, t.host.wall]).toEqual([9000, 1_000_000])
})

describe('fragmentation', () => {
  const datagram = udp({ ...C, payload: 3000 })

  test('a packet made here is cut to the MTU', () => {
    const t = testHost(DEVICES)
    const pkt = load(t, datagram)
    pkt.local = true
    expect(pieces(t, pkt, 1500)).toEqual(['0+1448 MF', '1448+1448 MF', '2896+112'])
    expect(pieces(t, pkt, 1280)).toEqual(['0+1232 MF', '1232+1232 MF', '2464+544'])
  })

  test('it keeps the pieces of its first route', () => {
    const t = testHost(DEVICES)
    const pkt = load(t, datagram)
    pkt.local = true
    t.host.fragments6.append(pkt, 1280)
    expect(pieces(t, pkt, 1500)).toEqual(['0+1232 MF', '1232+1232 MF', '2464+544'])
    expect(pieces(t, pkt, 1400)).toEqual(['0+1232 MF', '1232+1232 MF', '2464+544'])
  })

  test('a forwarded one is not cut', () => {
    const t = testHost(DEVICES)
    expect(pieces(t, load(t, datagram), 1500)).toEqual(['mtu 1500'])
  })

  test('a reassembled one leaves in the pieces it came in', () => {
    const t = testHost(DEVICES)
    const pkt = whole(t, fragment(datagram, [1000, 400, 1424, 184], 9))
    expect(pieces(t, pkt, 1500)).toEqual(['0+1000 MF', '1000+400 MF', '1400+1424 MF', '2824+184'])
  })

  test('its largest piece is larger than the MTU: too big', () => {
    const t = testHost(DEVICES)
    const pkt = whole(t, fragment(datagram, 1424, 9))
    expect(pieces(t, pkt, 1400)).toEqual(['mtu 1400'])
  })

  test('pieces of odd sizes: cut anew, to no more than the largest and no less than 1280', () => {
    const t = testHost(DEVICES)
    const small = whole(t, fragment(datagram, 400, 9))
    small.fragList!.sizes[0] = small.fragList!.sizes[0]! + 4
    expect(pieces(t, small, 1500)).toEqual(['0+1232 MF', '1232+1232 MF', '2464+544'])
    const large = whole(t, fragment(datagram, 1400, 10))
    large.fragList!.sizes[0] = large.fragList!.sizes[0]! + 4
    expect(pieces(t, large, 1500)).toEqual(['0+1400 MF', '1400+1400 MF', '2800+208'])
  })

  test('destination options behind the fragment header go in front of it', () => {
    const t = testHost(DEVICES)
    const frames = fragment(udp({ ...C, extensions: [dest(2)], payload: 1000 }), 400, 9)
    expect(pieces(t, whole(t, frames), 1500)).toEqual(['0+384 MF', '384+400 MF', '784+224'])
    // Forty-eight bytes more is what the pieces have room for.
    const six = fragment(udp({ ...C, extensions: [dest(6)], payload: 1000 }), 400, 9)
    expect(pieces(t, whole(t, six), 1500)).toEqual(['0+352 MF', '352+400 MF', '752+256'])
    const seven = fragment(udp({ ...C, extensions: [dest(7)], payload: 1000 }), 400, 9)
    expect(pieces(t, whole(t, seven), 1500)).toEqual(['0+1008'])
  })

  test('every piece has the headers, the same identification and the right length', () => {
    const t = testHost(DEVICES)
    const pkt = load(t, tcp({ ...C, flags: 'A', extensions: [hop], payload: 2000 }))
    pkt.local = true
    const { memory } = t.host
    const ids = new Set<number>()
    t.host.fragments6.fragmentAndSend(pkt, 1280, (piece) => {
      const { view, bytes } = memory
      expect([bytes[piece.l3 + 6], bytes[piece.l3 + 40], bytes[piece.l3 + 48]]).toEqual([0, 44, 6])
      expect(view.getUint16(piece.l3 + 4)).toBe(piece.end - piece.l3 - 40)
      ids.add(view.getUint32(piece.l3 + 52))
      memory.give(piece.slot)
    })
    expect(ids.size).toBe(1)
  })
})

test('random fragments neither throw nor lose slots', () => {
  const random = new SeededRandom(7)
  const t = testHost(DEVICES)
  for (let n = 0; n < 5000; n++) {
    t.host.now += random.below(3000)
    const frame = part(8 * random.below(20), random.below(60), random.once(2), {
      id: random.below(6),
      next: random.pick([17, 6, 58, 59, 60, 0, 43, 51, 44]),
      before: random.pick([[], [hop], [dest(1)]]),
      tos: random.below(4),
    })
    for (let i = random.below(4); i > 0; i--) frame[random.below(frame.length)] = random.below(256)
    if (random.once(2)) defrag(t, frame)
    else receive(t, frame, frame[6] === 44 ? 40 : 48)
    if (random.once(30)) {
      const pkt = load(t, frame)
      pkt.local = random.once(2)
      pieces(t, pkt, 1280)
      t.host.memory.give(pkt.slot)
    }
  }
  expect(t.host.memory.free).toBe(64)
})
