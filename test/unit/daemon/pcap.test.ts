// Capture files: every header variant is read alike, damage is refused with its place, and what we write is read
// back by us and by tshark.

import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { PacketType } from '../../../datapath/packet.ts'
import { CaptureWriter, writeTo } from '../../../datapath/ports/capture-writer.ts'
import { LinkHeader } from '../../../datapath/ports/link.ts'
import { CaptureError, CaptureReader, LinkType } from '../../../datapath/ports/pcap.ts'
import { SeededRandom, toHex, udp } from '../../harness/frames.ts'

const directory = mkdtempSync(join(tmpdir(), 'tunwall-pcap-'))
afterAll(() => rmSync(directory, { recursive: true }))

/** Gives the bytes in pieces of uneven size, as a file may. */
function source(bytes: Uint8Array, piece = 65536): (into: Uint8Array, at: number, length: number) => number {
  let from = 0
  return (into, at, length) => {
    const count = Math.min(length, piece, bytes.length - from)
    into.set(bytes.subarray(from, from + count), at)
    from += count
    return count
  }
}

interface Seen {
  name: string | null
  linkType: number
  time: string
  original: number
  bytes: string
}

function readAll(bytes: Uint8Array, piece?: number): Seen[] {
  const reader = new CaptureReader(source(bytes, piece))
  const seen: Seen[] = []
  while (reader.next()) {
    const { name, linkType } = reader.interfaces[reader.interface]!
    seen.push({
      name,
      linkType,
      time: `${reader.seconds}.${String(reader.nanos).padStart(9, '0')}`,
      original: reader.originalLength,
      bytes: toHex(reader.bytes.subarray(reader.at, reader.at + reader.length)),
    })
  }
  return seen
}

/** Builds files by hand, in either byte order. */
class Build {
  readonly #parts: number[] = []
  readonly le: boolean
  constructor(le: boolean) {
    this.le = le
  }
  u16(...values: number[]): this {
    for (const v of values)
      this.#parts.push(...(this.le ? [v & 255, (v >> 8) & 255] : [(v >> 8) & 255, v & 255]))
    return this
  }
  u32(...values: number[]): this {
    for (const v of values) {
      const b = [v & 255, (v >>> 8) & 255, (v >>> 16) & 255, (v >>> 24) & 255]
      this.#parts.push(...(this.le ? b : b.reverse()))
    }
    return this
  }
  raw(bytes: Iterable<number>): this {
    this.#parts.push(...bytes)
    return this
  }
  block(type: number, body: (b: Build) => void): this {
    const inner = new Build(this.le)
    body(inner)
    const bytes = [...inner.bytes]
    while (bytes.length % 4 !== 0) bytes.push(0)
    return this.u32(type, bytes.length + 12)
      .raw(bytes)
      .u32(bytes.length + 12)
  }
  section(): this {
    return this.block(0x0a0d0d0a, (b) => b.u32(0x1a2b3c4d).u16(1, 0).u32(0xffffffff, 0xffffffff))
  }
  describe(linkType: number, options: [number, number[]][] = [], snap = 0): this {
    return this.block(1, (b) => {
      b.u16(linkType, 0).u32(snap)
      for (const [code, value] of options) {
        b.u16(code, value.length).raw(value)
        for (let i = value.length; i % 4 !== 0; i++) b.raw([0])
      }
      if (options.length > 0) b.u16(0, 0)
    })
  }
  packet(iface: number, units: bigint, data: Uint8Array, original = data.length): this {
    return this.block(6, (b) =>
      b.u32(iface, Number(units >> 32n), Number(units & 0xffffffffn), data.length, original).raw(data),
    )
  }
  get bytes(): Uint8Array {
    return Uint8Array.from(this.#parts)
  }
}

const frame = udp({ src: '192.0.2.1', dst: '198.51.100.2', sport: 1, dport: 2, payload: 'abcde' })
const text = (s: string): number[] => [...new TextEncoder().encode(s)]

describe('pcap', () => {
  for (const le of [true, false])
    for (const nano of [true, false])
      test(`${le ? 'little' : 'big'}-endian, ${nano ? 'ns' : 'µs'}`, () => {
        const b = new Build(le)
          .u32(nano ? 0xa1b23c4d : 0xa1b2c3d4)
          .u16(2, 4)
          .u32(0, 0, 65535, LinkType.Raw)
        b.u32(1700000000, 123456, frame.length, frame.length + 7).raw(frame)
        b.u32(1700000001, 999999, 3, 3).raw([1, 2, 3])
        for (const piece of [1, 7, 65536])
          expect(readAll(b.bytes, piece)).toEqual([
            {
              name: null,
              linkType: 101,
              time: nano ? '1700000000.000123456' : '1700000000.123456000',
              original: frame.length + 7,
              bytes: toHex(frame),
            },
            {
              name: null,
              linkType: 101,
              time: nano ? '1700000001.000999999' : '1700000001.999999000',
              original: 3,
              bytes: toHex(Uint8Array.of(1, 2, 3)),
            },
          ])
      })
})

describe('pcapng', () => {
  for (const le of [true, false])
    test(`sections, options, all packet blocks, ${le ? 'little' : 'big'}-endian`, () => {
      const b = new Build(le)
        .section()
        .describe(LinkType.Ethernet, [
          [3, text('10.0.0.1')],
          [2, text('eth0')],
        ])
        .describe(LinkType.Raw, [
          [2, text('a.b')],
          [9, [9]],
        ])
        .describe(LinkType.Raw, [[9, [0x80 | 10]]])
        .describe(LinkType.Raw, [
          [9, [3]],
          [14, le ? [16, 0, 0, 0, 0, 0, 0, 0] : [0, 0, 0, 0, 0, 0, 0, 16]],
        ])
        .describe(LinkType.Raw, [[9, [10]]])
        .block(0x0bad, (x) => x.raw(new Array(100).fill(9)))
        .packet(0, 1_700_000_000_123_456n, frame)
        .packet(1, 1_700_000_000_123_456_789n, frame, 2000)
        .packet(2, (1_700_000_000n << 10n) | 512n, frame)
        .packet(3, 1_700_000_000_250n, frame)
        .packet(4, 17_000_000_001_234_567_899n, frame)
        .block(3, (x) => x.u32(5).raw([1, 2, 3, 4, 5]))
        .block(2, (x) => x.u16(1, 0).u32(0, 77, 2, 2).raw([7, 8]))
      // A second section in the other byte order begins its numbers anew.
      const c = new Build(!le).section().describe(LinkType.Ipv4, [[2, text('wan')]], 4)
      c.packet(0, 1_000_001n, frame).block(3, (x) => x.u32(9).raw([1, 2, 3, 4]))
      const bytes = Uint8Array.from([...b.bytes, ...c.bytes])
      const want = [
        ['eth0', 1, '1700000000.123456000', frame.length],
        ['a.b', 101, '1700000000.123456789', 2000],
        [null, 101, '1700000000.500000000', frame.length],
        [null, 101, '1700000016.250000000', frame.length],
        [null, 101, '1700000000.123456789', frame.length],
        ['eth0', 1, '1700000000.123456789', 5],
        ['a.b', 101, '0.000000077', 2],
        ['wan', 228, '1.000001000', frame.length],
        ['wan', 228, '1.000001000', 9],
      ]
      for (const piece of [1, 13, 65536]) {
        const seen = readAll(bytes, piece)
        expect(seen.map((s) => [s.name, s.linkType, s.time, s.original])).toEqual(want)
        expect(seen.map((s) => s.bytes.length / 2)).toEqual([
          ...new Array(5).fill(frame.length),
          5,
          2,
          frame.length,
          4,
        ])
      }
    })

  test('random nanosecond times survive', () => {
    const random = new SeededRandom(11)
    for (let i = 0; i < 2000; i++) {
      const units = (BigInt(random.u32() >>> (random.u32() % 3)) << 32n) | BigInt(random.u32())
      const b = new Build(true)
        .section()
        .describe(101, [[9, [9]]])
        .packet(0, units, frame)
      expect(readAll(b.bytes)[0]!.time).toBe(
        `${units / 1_000_000_000n}.${String(units % 1_000_000_000n).padStart(9, '0')}`,
      )
    }
  })
})

describe('writing', () => {
  const make = (each: (w: CaptureWriter) => void): Uint8Array => {
    const out: Uint8Array[] = []
    const writer = new CaptureWriter((bytes, length) => out.push(bytes.slice(0, length)))
    each(writer)
    writer.flush()
    return Uint8Array.from(Buffer.concat(out))
  }

  test('is read back', () => {
    const random = new SeededRandom(5)
    const frames = Array.from({ length: 200 }, () => ({
      seconds: random.u32(),
      nanos: random.u32() % 1e9,
      iface: random.u32() % 2,
      bytes: Uint8Array.from({ length: random.u32() % 2000 }, () => random.u32() & 255),
    }))
    const bytes = make((w) => {
      w.interface('eth0')
      w.interface('tun.15')
      for (const f of frames) w.packet(f.iface, f.seconds, f.nanos, f.bytes, 0, f.bytes.length)
    })
    expect(readAll(bytes)).toEqual(
      frames.map((f) => ({
        name: ['eth0', 'tun.15'][f.iface],
        linkType: 101,
        time: `${f.seconds}.${String(f.nanos).padStart(9, '0')}`,
        original: f.bytes.length,
        bytes: toHex(f.bytes),
      })),
    )
  })

  const tshark = spawnSync('tshark', ['-v']).status === 0
  test.skipIf(!tshark)('tshark reads it (needs tshark)', () => {
    for (const count of [0, 2]) {
      const path = join(directory, `out-${count}.pcapng`)
      const fd = openSync(path, 'w')
      const writer = new CaptureWriter(writeTo(fd))
      if (count > 0) writer.interface('wan')
      for (let i = 0; i < count; i++) writer.packet(0, 1700000000 + i, 5, frame, 0, frame.length)
      writer.flush()
      closeSync(fd)
      const fields = ['frame.interface_name', 'frame.time_epoch', 'ip.src', 'udp.dstport'].flatMap((f) => [
        '-e',
        f,
      ])
      const run = spawnSync('tshark', ['-r', path, '-T', 'fields', ...fields], { encoding: 'utf8' })
      expect(run.status).toBe(0)
      expect(run.stdout.trim().split('\n').filter(Boolean)).toEqual(
        Array.from({ length: count }, (_, i) => `wan\t${1700000000 + i}.000000005\t192.0.2.1\t2`),
      )
    }
  })

  test('100,000 packets leave the heap where it was', () => {
    const writer = new CaptureWriter(() => {})
    writer.interface('eth0')
    const pass = () => {
      for (let i = 0; i < 100_000; i++) writer.packet(0, 1700000000, i, frame, 0, frame.length)
    }
    pass()
    const before = process.memoryUsage().heapUsed
    pass()
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(1_000_000)
  })
})

describe('damage', () => {
  const good = (): Build => new Build(true).section().describe(101, [[2, text('eth0')]])
  const cases: [string, Uint8Array, number, number][] = [
    ['the file is empty', new Uint8Array(0), 1, 0],
    ['shorter than 4 bytes', Uint8Array.of(1, 2), 1, 0],
    [
      'neither pcap nor pcapng: it begins with 0x68656c6c',
      Uint8Array.from(text('hello world and more')),
      1,
      0,
    ],
    ['compressed with gzip', Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0), 1, 0],
    ['ends within the pcap header', new Build(true).u32(0xa1b2c3d4).u16(2, 4).bytes, 1, 0],
    ['no byte-order magic', Uint8Array.of(0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 9, 9, 9, 9), 1, 8],
    [
      'ends within a packet of 4 bytes',
      new Build(true).u32(0xa1b2c3d4).u16(2, 4).u32(0, 0, 9, 101, 1, 1, 4, 4).raw([1]).bytes,
      2,
      41,
    ],
    [
      'a packet of 4294967295 bytes cannot be',
      new Build(true).u32(0xa1b2c3d4).u16(2, 4).u32(0, 0, 9, 101, 1, 1, 0xffffffff, 4).bytes,
      2,
      32,
    ],
    ['which the section has not described', good().packet(1, 0n, frame).bytes, 3, 28 + 32 + 8],
    [
      'in a block that has room for 4',
      good().block(6, (b) => b.u32(0, 0, 0, 5, 5).raw([1, 2, 3, 4])).bytes,
      3,
      28 + 32 + 28,
    ],
    ['a block of 13 bytes cannot be', good().u32(6, 13, 0).bytes, 3, 28 + 32 + 4],
    ['the block says 16 bytes first and 20 last', good().u32(6, 16, 0, 20).bytes, 3, 28 + 32 + 12],
    [
      'an option reaches past the end',
      new Build(true).section().block(1, (b) => b.u16(101, 0).u32(0).u16(2, 40)).bytes,
      2,
      28 + 16,
    ],
  ]
  test.each(cases)('%s', (reason, bytes, block, offset) => {
    try {
      readAll(bytes)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(CaptureError)
      expect((error as Error).message).toContain(reason)
      expect([(error as CaptureError).block, (error as CaptureError).offset]).toEqual([block, offset])
    }
  })

  test('random damage gives CaptureError or packets, nothing else', () => {
    const random = new SeededRandom(23)
    const whole = good()
      .packet(0, 5n, frame)
      .describe(1)
      .packet(1, 6n, frame)
      .block(3, (b) => b.u32(4).raw([1, 2, 3, 4])).bytes
    for (let i = 0; i < 20_000; i++) {
      const bytes = whole.slice(0, random.u32() % 4 === 0 ? random.u32() % whole.length : whole.length)
      for (let n = random.u32() % 4; n >= 0 && bytes.length > 0; n--)
        bytes[random.u32() % bytes.length] = random.u32() % 3 === 0 ? 255 : random.u32()
      try {
        for (const seen of readAll(bytes)) expect(seen.bytes.length).toBeLessThanOrEqual(2 * whole.length)
      } catch (error) {
        if (!(error instanceof CaptureError)) throw error
      }
    }
  })
})

describe('link layers', () => {
  const link = new LinkHeader()
  const decode = (type: number, bytes: number[], own: number[] | null = null) => {
    const b = Uint8Array.from(bytes)
    const refused = link.decode(
      type,
      b,
      new DataView(b.buffer),
      0,
      b.length,
      own === null ? null : Uint8Array.from(own),
    )
    return refused ?? [link.l3, link.family, link.pktType, link.vlan]
  }
  const me = [2, 0, 0, 0, 0, 1]
  const you = [2, 0, 0, 0, 0, 2]
  const ip = [0x45, 0]
  const cases: [string, unknown, unknown][] = [
    ['raw', decode(101, ip), [0, 0, PacketType.Host, -1]],
    ['raw BSD', decode(12, ip), [0, 0, PacketType.Host, -1]],
    ['ipv4', decode(228, ip), [0, 4, PacketType.Host, -1]],
    ['ipv6', decode(229, ip), [0, 6, PacketType.Host, -1]],
    ['ethernet', decode(1, [...me, ...you, 8, 0, ...ip]), [14, 4, PacketType.Host, -1]],
    ['ethernet, ours', decode(1, [...me, ...you, 0x86, 0xdd, ...ip], me), [14, 6, PacketType.Host, -1]],
    ['ethernet, from us', decode(1, [...you, ...me, 8, 0, ...ip], me), 'outgoing'],
    ['ethernet, to another', decode(1, [...you, ...you, 8, 0, ...ip], me), 'other-host'],
    [
      'ethernet, broadcast',
      decode(1, [255, 255, 255, 255, 255, 255, ...you, 8, 0, ...ip], me),
      [14, 4, PacketType.Broadcast, -1],
    ],
    [
      'ethernet, multicast',
      decode(1, [1, 0, 94, 0, 0, 1, ...you, 8, 0, ...ip], me),
      [14, 4, PacketType.Multicast, -1],
    ],
    ['arp', decode(1, [...me, ...you, 8, 6, ...ip]), 'not-ip'],
    ['vlan', decode(1, [...me, ...you, 0x81, 0, 0x20, 5, 8, 0, ...ip]), [18, 4, PacketType.Host, 5]],
    ['priority tag', decode(1, [...me, ...you, 0x81, 0, 0x20, 0, 8, 0, ...ip]), [18, 4, PacketType.Host, 0]],
    ['two tags', decode(1, [...me, ...you, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0, ...ip]), 'not-ip'],
    ['ethernet, short', decode(1, [...me, ...you, 8]), 'link-header'],
    ['ethernet, empty', decode(1, [...me, ...you, 8, 0]), 'link-header'],
    [
      'sll',
      decode(113, [0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, ...ip]),
      [16, 4, PacketType.Host, -1],
    ],
    ['sll, sent', decode(113, [0, 4, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, ...ip]), 'outgoing'],
    [
      'sll2',
      decode(276, [8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0, ...ip]),
      [20, 4, PacketType.Broadcast, -1],
    ],
    [
      'sll2, vlan',
      decode(276, [0x81, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 8, 0, ...ip]),
      [24, 4, PacketType.Host, 9],
    ],
    ['null', decode(0, [2, 0, 0, 0, ...ip]), [4, 4, PacketType.Host, -1]],
    ['null, other byte order', decode(0, [0, 0, 0, 30, ...ip]), [4, 6, PacketType.Host, -1]],
    ['loop', decode(108, [0, 0, 0, 2, ...ip]), [4, 4, PacketType.Host, -1]],
    ['null, other family', decode(0, [7, 0, 0, 0, ...ip]), 'not-ip'],
    ['raw, empty', decode(101, []), 'link-header'],
  ]
  test.each(cases)('%s', (_, got, want) => {
    expect(got).toEqual(want)
  })

  test('damaged frames never throw', () => {
    const random = new SeededRandom(2)
    for (let i = 0; i < 100_000; i++) {
      const bytes = Uint8Array.from({ length: random.u32() % 40 }, () =>
        random.u32() % 2 ? random.u32() : [0x81, 0, 8, 0x88, 0xa8][random.u32() % 5]!,
      )
      const type = [0, 1, 12, 101, 108, 113, 228, 229, 276, 7][random.u32() % 10]!
      const view = new DataView(bytes.buffer)
      if (link.decode(type, bytes, view, 0, bytes.length, null) === null)
        expect(link.l3).toBeLessThan(bytes.length)
    }
  })
})
