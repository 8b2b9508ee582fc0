import { describe, expect, test } from 'vitest'
import { Counters, REASONS, Reason } from '../../../datapath/counters.ts'
import { Packet } from '../../../datapath/packet.ts'
import { parse } from '../../../datapath/parse.ts'
import { FrameMemory, HEADROOM } from '../../../datapath/ring.ts'
import { fold, sum } from '../../../datapath/wire/checksum.ts'
import { fragment, type Ip4Packet, ip4, tcp, udp } from '../../harness/frames.ts'

const memory = new FrameMemory(1, 0xffff)
const counters = new Counters()

/** Parses the bytes as one frame; everything behind it in the slot is 0xff, so that a read past the end shows. */
function parsed(frame: Uint8Array): { pkt: Packet; refused: string } {
  memory.bytes.fill(0xff)
  memory.bytes.set(frame, HEADROOM)
  const pkt = new Packet()
  pkt.l3 = HEADROOM
  pkt.end = HEADROOM + frame.length
  const refused = parse(pkt, { memory, counters })
  return { pkt, refused: REASONS[refused]! }
}

const base: Ip4Packet = { src: '10.0.0.1', dst: '192.0.2.9', proto: 17, payload: 20 }

describe('what is refused, and why: in the order of ip_rcv_core', () => {
  const cases: readonly [string, Uint8Array, string][] = [
    ['nothing', new Uint8Array(0), 'not-ip'],
    ['neither 4 nor 6', Uint8Array.from([0x50, ...new Array(39).fill(0)]), 'not-ip'],
    ['a first byte alone', Uint8Array.of(0x45), 'bad-header'],
    ['19 bytes', ip4({ ...base, payload: [] }).subarray(0, 19), 'bad-header'],
    ['header length 4', ip4({ ...base, ihl: 4 }), 'bad-header'],
    ['header length 0', ip4({ ...base, ihl: 0 }), 'bad-header'],
    ['header longer than the frame', ip4({ ...base, ihl: 15, payload: 20 }), 'bad-header'],
    ['checksum off by one', ip4({ ...base, badIpChecksum: true }), 'bad-checksum'],
    ['checksum before length', ip4({ ...base, badIpChecksum: true, totalLength: 2000 }), 'bad-checksum'],
    ['more bytes promised than there are', ip4({ ...base, totalLength: 41 }), 'truncated'],
    ['total length inside the header', ip4({ ...base, totalLength: 19 }), 'bad-header'],
    ['total length 0', ip4({ ...base, totalLength: 0 }), 'bad-header'],
    [
      'total length inside the options',
      ip4({ ...base, options: [1, 1, 1, 1], totalLength: 20 }),
      'bad-header',
    ],
    ['a bare header', ip4({ ...base, payload: [] }), ''],
    ['padding behind the packet', Uint8Array.from([...ip4(base), 9, 9, 9]), ''],
    ['15 words of header', ip4({ ...base, options: new Array(40).fill(1) }), ''],
  ]
  test.each(cases)('%s', (_, frame, reason) => {
    expect(parsed(frame).refused).toBe(reason)
  })

  test('each refusal is counted under its reason', () => {
    const before = counters.drops[Reason.Truncated]!
    parsed(ip4({ ...base, totalLength: 2000 }))
    expect(counters.drops[Reason.Truncated]).toBe(before + 1)
  })

  test('a header checksum of any value is believed only if it is right', () => {
    for (let id = 0; id < 0x10000; id += 17) {
      const good = ip4({ ...base, id })
      expect(parsed(good).refused).toBe('')
      const at = id % 20
      const bad = Uint8Array.from(good)
      bad[at === 0 ? 1 : at]! ^= 1 << (id & 7)
      expect(parsed(bad).refused, `byte ${at}`).not.toBe('')
    }
  })
})

describe('cached fields', () => {
  test('of a TCP segment', () => {
    const { pkt } = parsed(tcp({ src: '10.1.2.3', dst: '203.0.113.200', sport: 65535, dport: 1 }))
    expect([pkt.family, pkt.proto, pkt.sport, pkt.dport]).toEqual([4, 6, 65535, 1])
    expect([pkt.s0 >>> 0, pkt.d0 >>> 0]).toEqual([0x0a010203, 0xcb0071c8])
    expect([pkt.l4 - pkt.l3, pkt.end - pkt.l3]).toEqual([20, 40])
  })

  test('the end is the total length, not the frame', () => {
    const { pkt } = parsed(Uint8Array.from([...ip4(base), 9, 9, 9]))
    expect(pkt.length).toBe(40)
  })

  test('ports are -1 where there are none', () => {
    const piece = (proto: number, payload: number, offset = 0): number[] => {
      const { pkt, refused } = parsed(ip4({ ...base, proto, payload, fragOffset: offset }))
      expect(refused).toBe('')
      return [pkt.sport, pkt.dport]
    }
    for (const proto of [6, 17, 33, 132, 136]) {
      expect(piece(proto, 4), `protocol ${proto}`).toEqual([0x0001, 0x0203])
      expect(piece(proto, 3), `protocol ${proto}, cut short`).toEqual([-1, -1])
      expect(piece(proto, 16, 8), `protocol ${proto}, later fragment`).toEqual([-1, -1])
    }
    for (const proto of [0, 1, 2, 47, 50, 51, 255]) expect(piece(proto, 16)).toEqual([-1, -1])
  })

  test('fragments', () => {
    const pieces = fragment(
      udp({ src: '10.0.0.1', dst: '10.0.0.2', sport: 7, dport: 9, payload: 3000 }),
      1000,
    )
    const seen = pieces.map((p) => {
      const { pkt } = parsed(p)
      return [pkt.fragOffset, pkt.moreFragments, pkt.sport]
    })
    expect(seen[0]).toEqual([0, true, 7])
    expect(seen.at(-1)!.slice(1)).toEqual([false, -1])
    expect(seen.length).toBe(4)
  })
})

describe('IPv6', () => {
  const v6 = (next: number, payload: number[], length = payload.length): Uint8Array => {
    const frame = new Uint8Array(40 + payload.length)
    const view = new DataView(frame.buffer)
    view.setUint32(0, 0x60000000)
    view.setUint16(4, length)
    frame[6] = next
    frame.fill(0x20, 8, 24)
    frame.fill(0x30, 24, 40)
    frame.set(payload, 40)
    return frame
  }
  const UDP_HEADER = [0, 7, 0, 9, 0, 8, 0, 0]

  test('the walk over extension headers ends at the transport header', () => {
    const hop = [43, 0, 1, 4, 0, 0, 0, 0]
    const routing = [60, 0, 0, 0, 0, 0, 0, 0]
    const dest = [17, 1, ...new Array(14).fill(0)]
    const { pkt } = parsed(v6(0, [...hop, ...routing, ...dest, ...UDP_HEADER]))
    expect([pkt.family, pkt.proto, pkt.sport, pkt.dport, pkt.l4 - pkt.l3]).toEqual([6, 17, 7, 9, 72])
    expect([pkt.s3, pkt.d0]).toEqual([0x20202020, 0x30303030])
  })

  test('fragments: the first has ports, later ones do not', () => {
    const first = parsed(v6(44, [17, 0, 0, 1, 0, 0, 0, 5, ...UDP_HEADER])).pkt
    expect([first.proto, first.fragOffset, first.moreFragments, first.sport]).toEqual([17, 0, true, 7])
    const later = parsed(v6(44, [17, 0, 0, 8, 0, 0, 0, 5, ...UDP_HEADER])).pkt
    expect([later.proto, later.fragOffset, later.moreFragments, later.sport]).toEqual([17, 8, false, -1])
  })

  test('headers cut short, lengths that lie', () => {
    expect(parsed(v6(17, UDP_HEADER, 9)).refused).toBe('truncated')
    expect(parsed(v6(17, UDP_HEADER, 4)).pkt.length).toBe(44)
    const { pkt, refused } = parsed(v6(60, [60, 9, 0, 0, 0, 0, 0, 0]))
    expect([refused, pkt.proto, pkt.sport]).toEqual(['', 60, -1])
    expect(parsed(v6(17, UDP_HEADER).subarray(0, 39)).refused).toBe('bad-header')
  })
})

test('whatever the bytes, parse neither throws nor points outside the frame', () => {
  let seed = 0x2545f491
  const random = (): number => {
    seed ^= seed << 13
    seed ^= seed >>> 17
    seed ^= seed << 5
    return seed >>> 0
  }
  let good = 0
  for (let n = 0; n < 200_000; n++) {
    const length = random() % 80
    const frame = new Uint8Array(length)
    for (let i = 0; i < length; i++) frame[i] = random()
    // Half of them get over the first hurdles: a version, lengths that fit, an IPv4 checksum that is right.
    if (n & 1 && length >= 40) {
      frame[0] = n & 2 ? 0x60 : 0x45 + (n & 4 ? random() % 5 : 0)
      if (n & 2) frame.set([0, random() % (length - 39), [0, 43, 44, 51, 60, 17][random() % 6]!], 4)
      else {
        frame.set([0, random() % (length + 1)], 2)
        frame.set([0, 0], 10)
        const check = ~fold(sum(frame, 0, (frame[0] & 15) * 4)) & 0xffff
        frame.set([check >> 8, check & 0xff], 10)
      }
    }
    const pkt = new Packet()
    pkt.l3 = HEADROOM
    pkt.end = HEADROOM + length
    memory.bytes.set(frame, HEADROOM)
    if (parse(pkt, { memory, counters }) !== Reason.None) continue
    good++
    if (pkt.l4 > pkt.end || pkt.end > HEADROOM + length || pkt.l4 < pkt.l3)
      throw new Error(`outside the frame: ${Buffer.from(frame).toString('hex')}`)
  }
  expect(good).toBeGreaterThan(20_000)
})
