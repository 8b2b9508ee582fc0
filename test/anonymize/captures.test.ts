// Packets: addresses wherever protocols have them, checksums that are as right or wrong as before, and nothing left of what
// packets carried.
//
//     TUNWALL_SEED, TUNWALL_SCENARIOS  scenarios that lend their frames, per family; default 1

import { expect, test } from 'vitest'
import { FrameMapper } from '../../daemon/anonymize/captures.ts'
import { sumOf } from '../../daemon/anonymize/checksums.ts'
import { Mapping } from '../../daemon/anonymize/mapping.ts'
import { LinkType } from '../../datapath/ports/pcap.ts'
import { parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import { sctpCrc } from '../../datapath/wire/sctp.ts'
import { rehearse } from '../harness/generate.ts'
import type { Profile } from '../harness/generate-world.ts'
import { Rehearsal } from '../harness/rehearsal.ts'
import type { Step, StepRun } from '../harness/scenario.ts'
import { hex, unhex } from '../harness/scenario.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 1)
const WALL = Date.UTC(2026, 8, 14)

const mapping = (keepPayload = false): Mapping =>
  new Mapping({ key: Buffer.from('k'), keep: [], keepPayload })

function mapped(by: Mapping, bytes: Uint8Array, link: number = LinkType.Raw): Uint8Array {
  const copy = Uint8Array.from(bytes)
  new FrameMapper(by).frame(link, copy, 0, copy.length)
  return copy
}

const v4 = (by: Mapping, text: string): string =>
  (by.addresses.v4(parseIpv4(text)!) >>> 0).toString(16).padStart(8, '0')
const v6 = (by: Mapping, text: string): string =>
  by.addresses
    .v6(parseIpv6(text)!)
    .map((word) => (word >>> 0).toString(16).padStart(8, '0'))
    .join('')

interface Parts {
  readonly proto: number
  readonly l4: number
  readonly end: number
  readonly part: boolean
  /** Offset and length of the addresses. */
  readonly addresses: readonly [number, number]
}

/** A whole packet's parts; null: something is amiss with it. */
function partsOf(bytes: Uint8Array): Parts | null {
  const u16 = (at: number): number => (bytes[at]! << 8) | bytes[at + 1]!
  const version = bytes[0]! >> 4
  if (version === 4) {
    const l4 = 4 * (bytes[0]! & 15)
    if (l4 < 20 || u16(2) < l4 || u16(2) > bytes.length) return null
    return { proto: bytes[9]!, l4, end: u16(2), part: (u16(6) & 0x3fff) !== 0, addresses: [12, 8] }
  }
  if (version !== 6 || bytes.length < 40 || 40 + u16(4) > bytes.length) return null
  return { proto: bytes[6]!, l4: 40, end: 40 + u16(4), part: false, addresses: [8, 32] }
}

/** What a checksum is off by: pseudo-header and all, modulo 0xffff; null: no checksum that one could know. */
function residue(bytes: Uint8Array): number | null {
  const parts = partsOf(bytes)
  if (parts === null || parts.part) return null
  const { proto, l4, end, addresses } = parts
  const lengths: Readonly<Record<number, number>> = { 6: 20, 17: 8, 1: 8, 58: 8 }
  if (lengths[proto] === undefined || end - l4 < lengths[proto]!) return null
  if (proto === 17) {
    const length = (bytes[l4 + 4]! << 8) | bytes[l4 + 5]!
    if (length !== end - l4 || (bytes[l4 + 6]! | bytes[l4 + 7]!) === 0) return null
  }
  const pseudo = proto === 1 ? 0 : sumOf(bytes, addresses[0], addresses[0] + addresses[1]) + proto + end - l4
  return (pseudo + sumOf(bytes, l4, end)) % 0xffff
}

const headerResidue = (bytes: Uint8Array): number | null =>
  bytes[0]! >> 4 === 4 && partsOf(bytes) !== null ? sumOf(bytes, 0, 4 * (bytes[0]! & 15)) % 0xffff : null

class Frames extends Rehearsal {
  readonly frames: Uint8Array[] = []
  override async take(steps: readonly Step[]): Promise<StepRun[]> {
    const runs = await super.take(steps)
    for (const { injected, sent } of runs)
      this.frames.push(...(injected === null ? [] : [injected]), ...sent.map(({ bytes }) => bytes))
    return runs
  }
}

async function framesOf(profile: Profile, seed: number): Promise<Uint8Array[]> {
  let made: Frames | null = null
  await rehearse(
    seed,
    profile,
    WALL,
    (scenario) => {
      made = new Frames({ ...scenario, iptables: '' }, WALL)
      return made
    },
    150,
  )
  return made!.frames
}

const SEEDS = Array.from({ length: SCENARIOS }, (_, i) => SEED_OF_RUN + i)

test.each(
  (['mixed', 'local', 'v6-mixed', 'v6-local'] as const).flatMap((profile) =>
    SEEDS.map((seed) => [profile, seed] as const),
  ),
)(
  '%s, seed %i: lengths stay, checksums are as right as they were, payload is gone',
  async (profile, seed) => {
    const by = mapping()
    let right = 0
    for (const frame of await framesOf(profile, seed)) {
      const to = mapped(by, frame)
      const what = `${hex(frame)} became ${hex(to)}`
      expect(to.length).toBe(frame.length)
      expect(headerResidue(to), what).toBe(headerResidue(frame))
      expect(residue(to), what).toBe(residue(frame))
      if (residue(frame) === 0) right++
      // The generators' payloads count upwards.
      expect(hex(to)).not.toContain('101112131415161718')
      expect(mapped(mapping(), frame)).toEqual(to)
    }
    expect(right).toBeGreaterThan(20)
  },
)

test('what is kept is only mapped', async () => {
  const by = mapping(true)
  let kept = 0
  for (const frame of await framesOf('mixed', SEED_OF_RUN)) {
    const to = mapped(by, frame)
    expect(residue(to)).toBe(residue(frame))
    if (hex(frame).includes('101112131415161718') && hex(to).includes('101112131415161718')) kept++
  }
  expect(kept).toBeGreaterThan(5)
})

// -- by hand: before, and what must stand where afterwards

const ipv4 = (proto: number, rest: string, options = ''): string => {
  const length = (20 + options.length / 2 + rest.length / 2).toString(16).padStart(4, '0')
  const ihl = (5 + options.length / 8).toString(16)
  return `4${ihl}00${length}000040004${'0'}${proto.toString(16).padStart(2, '0')}0000c0a80105c0a80207${options}${rest}`
}
const ipv6 = (next: number, rest: string): string =>
  `60000000${(rest.length / 2).toString(16).padStart(4, '0')}${next.toString(16).padStart(2, '0')}40` +
  `2a001450400100000000000000000001${'2a001450400100000000000000000002'}${rest}`

test('ARP and the link layer', () => {
  const by = mapping()
  const frame = unhex(
    'ffffffffffff5254001234560806' +
      '00010800060400015254001234560a0000050000000000000a000007' +
      'deadbeefdeadbeef',
  )
  const mac = by.addresses.mac('525400123456')
  expect(hex(mapped(by, frame, LinkType.Ethernet))).toBe(
    `ffffffffffff${mac}0806` +
      `0001080006040001${mac}${v4(by, '10.0.0.5')}000000000000${v4(by, '10.0.0.7')}` +
      '0'.repeat(16),
  )
  const tagged = unhex(`525400123456525400654321810000640800${ipv4(17, '00350035000800000')}`)
  expect(hex(mapped(by, tagged, LinkType.Ethernet)).slice(24, 36)).toBe('810000640800')
  const other = mapped(
    by,
    unhex(`0180c2000000525400123456${'0026'}424203000002023c7e5254001234`),
    LinkType.Ethernet,
  )
  expect(hex(other).slice(28)).toMatch(/^0+$/)
})

test('addresses in ICMP: redirects, errors, what errors quote', () => {
  const by = mapping()
  const inner = ipv4(6, '1f90005000000001')
  const to = hex(mapped(by, unhex(ipv4(1, `05010000c0a80101${inner}`))))
  expect(to.slice(48, 56)).toBe(v4(by, '192.168.1.1'))
  expect(to.slice(56 + 24, 56 + 40)).toBe(v4(by, '192.168.1.5') + v4(by, '192.168.2.7'))
  expect(to.slice(-16)).toBe('1f90005000000001')
})

test('addresses in options of IPv4', () => {
  const by = mapping()
  const route = '070b08c0a8010900000000' + '00'
  const to = hex(mapped(by, unhex(ipv4(17, '0035003500080000', route))))
  expect(to.slice(40, 64)).toBe(`070b08${v4(by, '192.168.1.9')}0000000000`)
})

test('neighbour discovery', () => {
  const by = mapping()
  const target = '2a001450400100000000000000123456'
  const group = 'ff0200000000000000000001ff123456'
  by.addresses.learn(parseIpv6('2a00:1450:4001::12:3456')!)
  const rest = `87000000${'00000000'}${target}0101525400123456`
  const frame = `6000000000203aff2a001450400100000000000000000001${group}${rest}`
  const to = hex(mapped(by, unhex(frame)))
  const mappedTarget = v6(by, '2a00:1450:4001::12:3456')
  expect(to.slice(96, 128)).toBe(mappedTarget)
  expect(to.slice(48, 80)).toBe(`ff0200000000000000000001ff${mappedTarget.slice(-6)}`)
  expect(to.slice(-12)).toBe(by.addresses.mac('525400123456'))
})

test('router advertisements: prefixes, servers, names', () => {
  const by = mapping()
  const prefix = '030440c0000151800000384000000000' + '2a001450400100020000000000000000'
  const server = '1903000000000e10' + '2a001450400100000000000000000053'
  const search = '1f02000000000e10' + '076578616d706c65'
  const to = hex(mapped(by, unhex(ipv6(58, `8600000040000708${'0'.repeat(16)}${prefix}${server}${search}`))))
  const net = v6(by, '2a00:1450:4001:2::')
  expect(to).toContain(`${net.slice(0, 16)}${'0'.repeat(16)}`)
  expect(to).toContain(v6(by, '2a00:1450:4001::53'))
  expect(to).not.toContain('6578616d706c65')
})

test('packets in packets', () => {
  const by = mapping()
  const inner = ipv4(17, '00350035000a0000abcd')
  for (const outer of [ipv4(4, inner), ipv4(47, `00000800${inner}`), ipv6(4, inner)]) {
    const to = hex(mapped(by, unhex(outer)))
    expect(to.slice(-inner.length + 24, -inner.length + 40)).toBe(
      v4(by, '192.168.1.5') + v4(by, '192.168.2.7'),
    )
    expect(to.slice(-4)).toBe('0000')
  }
})

test('routing headers', () => {
  const by = mapping()
  const rest = `3b02000100000000${'2a001450400100000000000000000009'}`
  expect(hex(mapped(by, unhex(ipv6(43, rest)))).slice(-32)).toBe(v6(by, '2a00:1450:4001::9'))
})

test('SCTP keeps its chunks and a right checksum', () => {
  const by = mapping()
  const init =
    '01000024' + '11223344' + '0000ffff' + '00010001' + '00000001' + '00050008c0a80109' + '000b00086d61696e'
  const data = '00030016' + '00000001' + '00000000' + '00000000' + '736563726574' + '0000'
  for (const chunks of [init, data]) {
    const frame = unhex(ipv4(132, `1f901f900000000000000000${chunks}`))
    new DataView(frame.buffer).setUint32(28, sctpCrc(frame, 20, frame.length), true)
    const to = mapped(by, frame)
    expect(new DataView(to.buffer).getInt32(28, true)).toBe(sctpCrc(to, 20, to.length))
    expect(hex(to)).not.toContain('736563726574')
    expect(hex(to)).not.toContain('6d61696e')
    expect(hex(to).slice(64, 72)).toBe(chunks.slice(0, 8))
  }
  expect(hex(mapped(by, unhex(ipv4(132, `1f901f900000000000000000${init}`))))).toContain(
    `00050008${v4(by, '192.168.1.9')}`,
  )
})

test('parts of a datagram still make a right checksum', () => {
  const by = mapping()
  const text = 'secret words in a datagram that is cut.!'
  const udp = unhex(
    `00350035${(8 + text.length).toString(16).padStart(4, '0')}0000${Buffer.from(text).toString('hex')}`,
  )
  const whole = unhex(ipv4(17, hex(udp)))
  const sum = 0xffff - ((sumOf(whole, 12, 20) + 17 + udp.length + sumOf(udp, 0, udp.length)) % 0xffff)
  new DataView(udp.buffer).setUint16(6, sum)
  const cut = [0, 16, 32, 48].map((from, i) => {
    const piece = unhex(ipv4(17, hex(udp.subarray(from, from + 16))))
    new DataView(piece.buffer).setUint16(6, (i < 2 ? 0x2000 : 0) | (from / 8))
    return mapped(by, piece.subarray(0, 20 + Math.max(0, Math.min(16, udp.length - from))))
  })
  const together = Buffer.concat(cut.map((piece) => piece.subarray(20)))
  const addresses = sumOf(cut[0]!, 12, 20)
  expect((addresses + 17 + udp.length + sumOf(together, 0, together.length)) % 0xffff).toBe(0)
  expect(together.toString('latin1')).not.toMatch(/secret|words|datagram|cut/)
})

test('frames cut short anywhere, and garbage, do no harm and tell no address', async () => {
  const by = mapping()
  for (const frame of (await framesOf('v6-mixed', SEED_OF_RUN))
    .concat(await framesOf('mixed', SEED_OF_RUN))
    .slice(0, 60))
    for (let length = 0; length <= Math.min(frame.length, 100); length += 3)
      for (const link of Object.values(LinkType)) mapped(by, frame.subarray(0, length), link)
  const nonsense = mapped(by, unhex('f5c0a80105c0a80207c0a80105'))
  expect(hex(nonsense)).toBe('f5000000000000000000000000')
})
