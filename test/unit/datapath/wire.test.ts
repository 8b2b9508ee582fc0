import { describe, expect, test } from 'vitest'
import { Packet } from '../../../datapath/packet.ts'
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6, prefixMask4 } from '../../../datapath/wire/address.ts'
import {
  adjust16,
  adjust32,
  checksum,
  fold,
  sum,
  sumView,
  transportChecksumOk,
} from '../../../datapath/wire/checksum.ts'
import { sctpCrc } from '../../../datapath/wire/sctp.ts'
import { tcpOption } from '../../../datapath/wire/tcp.ts'
import {
  dccp,
  decode,
  fragment,
  hex,
  icmp,
  icmpError,
  ip4,
  SeededRandom,
  sctp,
  tcp,
  toHex,
  udp,
  udplite,
} from '../../harness/frames.ts'

const A = { src: '192.0.2.1', dst: '198.51.100.2' }

/** The definition, RFC 1071 §1, in the plainest form. */
function plainFold(bytes: Uint8Array): number {
  let s = 0n
  for (let i = 0; i < bytes.length; i += 2) s += BigInt((bytes[i]! << 8) | (bytes[i + 1] ?? 0))
  while (s > 0xffffn) s = (s & 0xffffn) + (s >> 16n)
  return Number(s)
}

function packetOf(frame: Uint8Array): { pkt: Packet; memory: { bytes: Uint8Array; view: DataView } } {
  const bytes = new Uint8Array(frame.length + 7)
  bytes.set(frame, 3)
  const view = new DataView(bytes.buffer)
  const pkt = new Packet()
  pkt.l3 = 3
  pkt.l4 = 3 + (frame[0]! & 15) * 4
  pkt.end = 3 + frame.length
  pkt.proto = frame[9]!
  pkt.s0 = view.getInt32(3 + 12)
  pkt.d0 = view.getInt32(3 + 16)
  pkt.fragOffset = (view.getUint16(3 + 6) & 0x1fff) * 8
  pkt.moreFragments = (view.getUint16(3 + 6) & 0x2000) !== 0
  return { pkt, memory: { bytes, view } }
}

describe('sums', () => {
  test('sum and sumView agree with RFC 1071 for any alignment and length', () => {
    const random = new SeededRandom(1)
    for (let n = 0; n < 500; n++) {
      const bytes = random.once(5)
        ? new Uint8Array(random.below(2000)).fill(0xff)
        : random.bytes(random.below(200))
      const from = random.below(bytes.length + 1)
      const end = from + random.below(bytes.length - from + 1)
      const expected = plainFold(bytes.slice(from, end))
      expect(fold(sum(bytes, from, end))).toBe(expected)
      expect(fold(sumView(new DataView(bytes.buffer), from, end))).toBe(expected)
    }
  })

  test('64 KiB of ones do not overflow', () => {
    const bytes = new Uint8Array(65536).fill(0xff)
    expect(fold(sumView(new DataView(bytes.buffer), 0, 65536, 0xffff * 4))).toBe(0xffff)
    expect(fold(sum(bytes, 0, 65536, 0xffff * 4))).toBe(0xffff)
  })

  test('an incremental checksum is the one computed anew', () => {
    const random = new SeededRandom(2)
    for (let n = 0; n < 5000; n++) {
      const bytes = random.bytes(40)
      if (random.once(4)) bytes.fill(random.once(2) ? 0xff : 0, 0, 40)
      bytes[39] = 1 // a sum of zero has two representations; headers are never all zero
      const v = new DataView(bytes.buffer)
      const before = checksum(v, 0, 40)
      const at = random.below(18) * 2
      const wide = random.once(2)
      const now = random.once(4) ? random.pick([0, 0xffffffff, 0xffff, 1]) : random.u32()
      let after: number
      if (wide) {
        after = adjust32(before, v.getInt32(at), now | 0)
        v.setUint32(at, now)
      } else {
        after = adjust16(before, v.getUint16(at), now & 0xffff)
        v.setUint16(at, now & 0xffff)
      }
      expect(after).toBe(checksum(v, 0, 40))
    }
  })
})

describe('transport checksums', () => {
  const random = new SeededRandom(3)
  const body = (): Uint8Array => random.bytes(random.below(100))
  const builders = {
    tcp: (badChecksum: boolean) => tcp({ ...A, sport: 1, dport: 2, payload: body(), badChecksum }),
    udp: (badChecksum: boolean) => udp({ ...A, sport: 1, dport: 2, payload: body(), badChecksum }),
    udplite: (badChecksum: boolean) =>
      udplite({ ...A, sport: 1, dport: 2, payload: body(), coverage: random.pick([0, 8]), badChecksum }),
    icmp: (badChecksum: boolean) => icmp({ ...A, echoId: 9, payload: body(), badChecksum }),
    sctp: (badChecksum: boolean) => sctp({ ...A, sport: 1, dport: 2, badChecksum }),
    dccp: (badChecksum: boolean) => dccp({ ...A, sport: 1, dport: 2, payload: body(), badChecksum }),
  }
  test.each(Object.entries(builders))('%s: right and wrong are told apart', (_, build) => {
    for (let n = 0; n < 50; n++)
      for (const bad of [false, true]) {
        const { pkt, memory } = packetOf(build(bad))
        expect(transportChecksumOk(pkt, memory)).toBe(!bad)
        // With the reader's sum over the frame.
        pkt.sum = fold(sum(memory.bytes, pkt.l3, pkt.end))
        pkt.sumFrom = pkt.l3
        pkt.sumEnd = pkt.end
        expect(transportChecksumOk(pkt, memory)).toBe(!bad)
      }
  })

  test('UDP without checksum, later fragments and cut headers pass', () => {
    const none = packetOf(udp({ ...A, sport: 1, dport: 2, noChecksum: true, payload: 9 }))
    expect(transportChecksumOk(none.pkt, none.memory)).toBe(true)
    for (const frame of fragment(udp({ ...A, sport: 1, dport: 2, payload: 900 }), 200)) {
      const { pkt, memory } = packetOf(frame)
      expect(transportChecksumOk(pkt, memory)).toBe(true)
    }
  })

  test('CRC32c of RFC 3720 B.4', () => {
    // 32 zero bytes, and 32 of ones; the four bytes taken as zero are zero in the first only.
    expect(sctpCrc(new Uint8Array(32), 0, 32)).toBe(0x8a9136aa | 0)
  })
})

describe('addresses', () => {
  test.each([
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['0:0:1::', '0:0:1::'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['::1:2', '::0.1.0.2'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ])('%s prints as %s', (text, printed) => {
    const words = parseIpv6(text)
    expect(words).not.toBeNull()
    expect(formatIpv6(...(words as [number, number, number, number]))).toBe(printed)
  })
  test.each([
    '',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '12345::',
    'g::',
    '1:',
    ':1',
    '::1.2.3',
    '1.2.3.4::',
    '1:2:3:4:5:6:7:1.2.3.4',
    '1:2:3:4:5:6:7:8::',
  ])('refuses %s', (text) => expect(parseIpv6(text)).toBeNull())
  test('IPv6 words survive print and parse', () => {
    const random = new SeededRandom(4)
    for (let n = 0; n < 3000; n++) {
      const w = [0, 1, 2, 3].map(() =>
        random.pick([0, random.u32() | 0, random.u32() & 0xffff, random.u32() << 16]),
      ) as [number, number, number, number]
      expect(parseIpv6(formatIpv6(...w))).toEqual(w)
    }
  })
  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.1.1.1',
    '1..2.3',
    '1.2.3.4 ',
    '.1.2.3',
    '1.2.3.',
    '00.0.0.0',
  ])('IPv4 refuses "%s"', (text) => expect(parseIpv4(text)).toBeNull())
  test('IPv4 words survive print and parse', () => {
    const random = new SeededRandom(5)
    for (let n = 0; n < 1000; n++) {
      const w = random.u32() | 0
      expect(parseIpv4(formatIpv4(w))).toBe(w)
    }
    expect(parseIpv4('0.0.0.0')).toBe(0)
    expect(parseIpv4('255.255.255.255')).toBe(-1)
    expect(prefixMask4(0)).toBe(0)
    expect(prefixMask4(24)).toBe(0xffffff00 | 0)
  })
})

test('tcpOption finds an option and survives any bytes', () => {
  const { pkt, memory } = packetOf(
    tcp({ ...A, sport: 1, dport: 2, flags: 'S', tcpOptions: [1, 1, 4, 2, 2, 4, 5, 0xb4] }),
  )
  expect(tcpOption(memory.view, pkt.l4, 2) - pkt.l4).toBe(24)
  expect(tcpOption(memory.view, pkt.l4, 8)).toBe(-1)
  const random = new SeededRandom(6)
  for (let n = 0; n < 5000; n++) {
    const bytes = random.bytes(60)
    bytes[12] = 0xf0
    expect(tcpOption(new DataView(bytes.buffer), 0, random.below(9))).toBeLessThan(60)
  }
})

describe('frames', () => {
  test('decode says what was built', () => {
    const syn = tcp({ ...A, sport: 1024, dport: 80, flags: 'S', seq: 1, id: 7, df: true })
    expect(decode(syn)).toBe(
      '192.0.2.1 > 198.51.100.2 ttl 64 id 7 DF tcp 1024 > 80 [S] seq 1 ack 0 win 65535 len 0',
    )
    expect(decode(icmpError(3, 4, syn, { rest: 576, quote: 28 }))).toBe(
      '198.51.100.2 > 192.0.2.1 ttl 64 tos 0xc0 id 0 icmp 3/4 rest 0x240 len 28 [192.0.2.1 > 198.51.100.2 ttl 64 id 7 DF tcp 1024 > 80 seq 1 (cut at 8)]',
    )
    expect(decode(udp({ ...A, sport: 1, dport: 2, badChecksum: true, badIpChecksum: true }))).toMatch(
      /BAD-IP-CSUM.*BAD-CSUM/,
    )
  })
  test('decode takes any bytes', () => {
    const random = new SeededRandom(7)
    for (let n = 0; n < 20000; n++) {
      const bytes = random.bytes(random.below(120))
      if (bytes.length > 9) {
        bytes[0] = random.pick([0x45, 0x46, 0x60, bytes[0]!])
        bytes[9] = random.pick([1, 6, 17, 33, 47, 132, 136, bytes[9]!])
      }
      expect(decode(bytes).length).toBeGreaterThan(0)
    }
  })
  test('a header computed elsewhere', () => {
    const header = '45000073000040004011b861c0a80001c0a800c7' // Wikipedia, IPv4 header checksum
    expect(
      toHex(ip4({ src: '192.168.0.1', dst: '192.168.0.199', proto: 17, df: true, totalLength: 0x73 })),
    ).toBe(header)
    expect(decode(hex(header))).not.toMatch(/BAD-IP/)
  })
})
