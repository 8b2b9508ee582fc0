import { expect, test } from 'vitest'
import { formatIpv4 } from '../../../datapath/wire/address.ts'
import { jhash4, scale, swap32 } from '../../../datapath/wire/jhash.ts'
import { SeededRandom } from '../../harness/frames.ts'
import { ip } from './world.ts'

// Seen on Linux 6.18: --to-source 192.0.2.10-192.0.2.57, without and with --persistent; source, destination, choice.
const SNAT = [
  ['10.0.0.200', '198.51.127.167', '192.0.2.54'],
  ['10.0.0.236', '198.51.199.41', '192.0.2.37'],
  ['10.0.0.52', '198.51.196.77', '192.0.2.53'],
  ['10.0.0.150', '198.51.4.116', '192.0.2.44'],
  ['10.0.0.11', '198.51.221.243', '192.0.2.35'],
  ['10.0.0.83', '198.51.156.46', '192.0.2.33'],
  ['10.0.0.118', '198.51.215.38', '192.0.2.47'],
  ['10.0.0.224', '198.51.173.47', '192.0.2.23'],
] as const
const PERSISTENT = [
  ['10.0.0.57', '198.51.208.72', '192.0.2.10'],
  ['10.0.0.37', '198.51.227.33', '192.0.2.42'],
  ['10.0.0.2', '198.51.2.54', '192.0.2.56'],
  ['10.0.0.247', '198.51.84.224', '192.0.2.29'],
  ['10.0.0.76', '198.51.160.247', '192.0.2.15'],
  ['10.0.0.94', '198.51.212.43', '192.0.2.45'],
  ['10.0.0.183', '198.51.92.160', '192.0.2.54'],
  ['10.0.0.138', '198.51.207.9', '192.0.2.55'],
] as const

const choose = (source: string, initval: number): string =>
  formatIpv4(ip('192.0.2.10') + scale(jhash4(swap32(ip(source)), 0, 0, 0, initval), 48))

test('an address of a range is chosen as the kernel does', () => {
  for (const [source, destination, chosen] of SNAT)
    expect(choose(source, swap32(ip(destination))), `${source} to ${destination}`).toBe(chosen)
  for (const [source, destination, chosen] of PERSISTENT)
    expect(choose(source, 0), `${source} to ${destination}`).toBe(chosen)
})

test('scale is the high word of an exact product', () => {
  const random = new SeededRandom(3)
  for (let i = 0; i < 10_000; i++) {
    const value = random.u32()
    const count = random.u32() >>> random.below(32)
    expect(scale(value, count) >>> 0).toBe(Number((BigInt(value) * BigInt(count)) >> 32n))
  }
  expect(scale(-1, -1)).toBe(-2)
})

test('swap32 undoes itself', () => {
  const random = new SeededRandom(4)
  for (let i = 0; i < 1000; i++) {
    const word = random.u32() | 0
    expect(swap32(swap32(word))).toBe(word)
  }
  expect(swap32(0x01020304)).toBe(0x04030201)
})
