// The mapping of addresses: prefixes preserved, special ranges in their place, subnets and ranges whole.
//
//     TUNWALL_SEED, TUNWALL_SCENARIOS  default 1: so many thousands of pairs

import { expect, test } from 'vitest'
import { AddressMap, commonLength } from '../../daemon/anonymize/addresses.ts'
import { Prf } from '../../daemon/anonymize/prf.ts'
import { type AddressWords, formatAddress, parseAddress } from '../../datapath/wire/address.ts'
import { SeededRandom } from '../harness/frames.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

type Family = 4 | 6

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 1)
const FAMILIES: readonly Family[] = [4, 6]
const map = (key = `seed ${SEED_OF_RUN}`): AddressMap => new AddressMap(new Prf(Buffer.from(key)))
const words = (text: string): AddressWords => parseAddress(text.includes(':') ? 6 : 4, text)!
const mapped = (by: AddressMap, text: string): string => {
  const family = text.includes(':') ? 6 : 4
  return formatAddress(family, by.map(family, words(text)))
}

/** Addresses like those of real networks: many of one prefix, some from anywhere, special ones among them. */
function draw(random: SeededRandom, family: Family): AddressWords {
  const any = (): number => random.u32() | 0
  if (family === 4) {
    const near = ['10.1.2.0', '172.20.0.0', '192.168.7.0', '8.8.8.0', '127.0.0.0', '224.0.0.0', '100.64.3.0']
    if (random.u32() % 3 === 0) return [any(), 0, 0, 0]
    return [words(near[random.u32() % near.length]!)[0] ^ (any() >>> (random.u32() % 31)), 0, 0, 0]
  }
  const near = [
    '2a00:1450::1',
    'fe80::',
    'fd12:3456::',
    '2001:db8::',
    '::ffff:10.0.0.1',
    '2002:a00:1::',
    '::1',
  ]
  if (random.u32() % 4 === 0) return [any(), any(), any(), any()]
  const [a, b, c, d] = words(near[random.u32() % near.length]!)
  const by = random.u32() % 4
  return [by === 0 ? a ^ (any() >>> 20) : a, by <= 1 ? b ^ any() : b, by <= 2 ? c ^ any() : c, d ^ any()]
}

test.each(FAMILIES)('IPv%i: prefixes are preserved', (family) => {
  const random = new SeededRandom(SEED_OF_RUN)
  const by = map()
  const group = (a: AddressWords): boolean => family === 6 && a[0] >>> 24 === 0xff
  let previous = draw(random, family)
  for (let i = 0; i < 2000 * SCENARIOS; i++) {
    const next = draw(random, family)
    const both = `${formatAddress(family, previous)} ${formatAddress(family, next)}, seed ${SEED_OF_RUN}`
    // Solicited-node groups follow the addresses they are of, and nothing else.
    if (!(group(previous) && group(next)))
      expect(commonLength(by.map(family, previous), by.map(family, next)), both).toBe(
        commonLength(previous, next),
      )
    if (random.u32() % 3 > 0) previous = next
  }
})

test('the same key maps alike, another one otherwise', () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const [a, b, other] = [map(), map(), map('other')]
  let differ = 0
  for (let i = 0; i < 200; i++)
    for (const family of FAMILIES) {
      const address = draw(random, family)
      expect(a.map(family, address)).toEqual(b.map(family, address))
      if (a.map(family, address).join() !== other.map(family, address).join()) differ++
    }
  expect(differ).toBeGreaterThan(250)
})

const CLASSES: readonly (readonly [string, (a: string) => boolean])[] = [
  ['10.0.0.0/8', (a) => a.startsWith('10.')],
  ['172.16.0.0/12', (a) => /^172\.(1[6-9]|2\d|3[01])\./.test(a)],
  ['192.168.0.0/16', (a) => a.startsWith('192.168.')],
  ['100.64.0.0/10', (a) => /^100\.(6[4-9]|[789]\d|1[01]\d|12[0-7])\./.test(a)],
  ['fe80::/64', (a) => /^fe80::/.test(a)],
  ['fc00::/8', (a) => /^fc[\da-f]{2}:/.test(a)],
  ['fd00::/8', (a) => /^fd[\da-f]{2}:/.test(a)],
  ['64:ff9b::/96', (a) => /^64:ff9b::[0-9a-f:.]*$/.test(a)],
  ['2002::/16', (a) => /^2002:/.test(a)],
  ['::ffff:0:0/96', (a) => /^::ffff:\d+\./.test(a)],
]

test('special ranges stay what they are', () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const by = map()
  for (const same of ['0.0.0.0', '0.1.2.3', '127.0.0.1', '127.1.2.3', '169.254.169.254', '224.0.0.5'])
    expect(mapped(by, same)).toBe(same)
  for (const same of ['239.255.255.250', '240.0.0.1', '255.255.255.255', '::', '::1', 'ff02::1', 'ff05::1:3'])
    expect(mapped(by, same)).toBe(same)
  for (let i = 0; i < 1000 * SCENARIOS; i++)
    for (const family of FAMILIES) {
      const from = formatAddress(family, draw(random, family))
      const to = mapped(by, from)
      for (const [name, within] of CLASSES)
        expect(within(to), `${from} became ${to}: ${name}, seed ${SEED_OF_RUN}`).toBe(within(from))
      if (family === 4)
        expect(/^(0|127|22[4-9]|2[345]\d)\./.test(to)).toBe(/^(0|127|22[4-9]|2[345]\d)\./.test(from))
    }
})

test('an IPv4 address within one of IPv6 is mapped as such', () => {
  const by = map()
  const v4 = mapped(by, '192.0.2.33')
  expect(mapped(by, '::ffff:192.0.2.33')).toBe(`::ffff:${v4}`)
  expect(by.v6(words('64:ff9b::192.0.2.33'))[3]).toBe(words(v4)[0])
  const [a, b] = by.v6(words('2002:c000:221::1'))
  expect((a << 16) | (b >>> 16)).toBe(words(v4)[0])
})

test('an interface identifier made of a MAC address follows it', () => {
  const by = map()
  // Of a connected subnet, too, whose first address stays the first.
  by.subnet(6, words('fe80::'), 64)
  for (const mac of [
    '005400123456',
    '020000123456',
    '525400123456',
    '02421a2b3c4d',
    '001b21000001',
    '7c1e52ffffff',
  ]) {
    const to = Buffer.from(by.mac(mac), 'hex')
    expect(to[0]! & 3).toBe(Number.parseInt(mac.slice(0, 2), 16) & 3)
    const bytes = Buffer.from(mac, 'hex')
    const eui = (b: Buffer): [number, number] => [
      ((b[0]! ^ 2) << 24) | (b[1]! << 16) | (b[2]! << 8) | 0xff | 0,
      (0xfe << 24) | (b[3]! << 16) | (b[4]! << 8) | b[5]! | 0,
    ]
    for (const net of ['fe80::', '2a00:1450:4001::'])
      expect(by.v6([words(net)[0], words(net)[1], ...eui(bytes)]).slice(2)).toEqual(eui(to))
  }
  for (const group of ['ffffffffffff', '01005e000001', '333300000001', '000000000000'])
    expect(by.mac(group)).toBe(group)
})

test('groups of solicited nodes follow the addresses of the host', () => {
  const by = map()
  const own = words('2a00:1450::12:3456')
  by.learn(own)
  const low = by.v6(own)[3] & 0xff_ffff
  expect(by.v6(words('ff02::1:ff12:3456'))[3]).toBe(0xff00_0000 | low | 0)
  expect(by.mac('3333ff123456')).toBe(`3333ff${low.toString(16).padStart(6, '0')}`)
})

test('the ends of a subnet stay its ends', () => {
  for (const key of ['a', 'b', 'c', 'd', 'e']) {
    const by = map(key)
    by.subnet(4, words('203.0.113.64'), 26)
    by.subnet(6, words('2a00:1450:1:2::'), 64)
    const net = by.v4(words('203.0.113.64')[0])
    expect(net & 63).toBe(0)
    expect(by.v4(words('203.0.113.127')[0])).toBe(net | 63)
    expect(by.v6(words('2a00:1450:1:2::')).slice(2)).toEqual([0, 0])
  }
})

test('ranges stay ranges', () => {
  const random = new SeededRandom(SEED_OF_RUN)
  for (let i = 0; i < 40 * SCENARIOS; i++)
    for (const family of FAMILIES) {
      const by = map(`range ${i}`)
      const word = family === 4 ? 0 : 3
      const at = draw(random, family)
      const put = (low: number): AddressWords =>
        at.map((w, n) => (n === word ? (w & ~0xffff) | low : w)) as unknown as AddressWords
      const ends = [random.u32() & 0xffff, random.u32() & 0xffff].sort((a, b) => a - b)
      by.span(family, put(ends[0]!), put(ends[1]!))
      const [min, max] = by.range(family, put(ends[0]!), put(ends[1]!))
      const within = (a: AddressWords): boolean =>
        a.every((w, n) => n === word || w === min[n]) &&
        a[word]! >>> 0 >= min[word]! >>> 0 &&
        a[word]! >>> 0 <= max[word]! >>> 0
      for (let n = 0; n < 50; n++) {
        const low = n === 0 ? ends[0]! : n === 1 ? ends[1]! : random.u32() & 0xffff
        expect(within(by.map(family, put(low))), `seed ${SEED_OF_RUN}`).toBe(
          low >= ends[0]! && low <= ends[1]!,
        )
      }
    }
})

test('a mask with holes asks the same of the same', () => {
  const by = map()
  const mask = 0xff00_00ff | 0
  by.hold(4, words('20.0.0.7'), 8, [mask & 0x00ff_ffff, 0, 0, 0])
  const random = new SeededRandom(SEED_OF_RUN)
  const wanted = words('20.0.0.7')[0]
  for (let i = 0; i < 500; i++) {
    const a =
      i % 2 === 0 ? (wanted & mask) | (random.u32() & ~mask) : words('20.0.0.0')[0] | (random.u32() >>> 8)
    expect((by.v4(a) & mask) === (by.v4(wanted) & mask)).toBe((a & mask) === (wanted & mask))
  }
})

test('what is to be kept is kept', () => {
  const by = map()
  by.keep(4, words('8.8.8.0'), 24)
  expect(mapped(by, '8.8.8.8')).toBe('8.8.8.8')
  expect(mapped(by, '8.8.9.8')).toMatch(/^8\.8\.9\./)
  expect(() => by.keep(4, words('9.9.9.9'), 32)).toThrow('mapped already')
})
