// Words that lines of ip(8) are made of: devices, addresses, prefixes, gateways, right and now and then wrong. From small
// pools, so that commands meet what others made.

import type { SeededRandom } from './frames.ts'

/** Interfaces besides lo, in the order of their numbers, from 2. */
export const IP_DEVICES = ['t0', 't1', 't2'] as const

const V4 = [
  '10.0.0.1',
  '10.0.0.2',
  '10.0.1.1',
  '10.0.1.200',
  '192.168.5.1',
  '127.0.0.5',
  '172.16.0.1',
  '10.0.0.77',
]
const V4_LENGTHS = [8, 16, 24, 24, 24, 30, 31, 32]
const V4_PREFIXES = [
  '10.1.0.0/16',
  '10.2.0.0/16',
  '10.2.3.0/24',
  '10.0.0.0/24',
  '10.0.0.0/8',
  '203.0.113.7',
  'default',
  '198.51.100.0/25',
  '10/8',
]
const V4_BAD = [
  '10.0.0.256',
  '10.0.0.0/33',
  'x',
  '10.1.1.1/16',
  '1.2.3.4.5',
  '10.0.0.1/-1',
  '2001:db8::1',
  '10.',
  '',
]
const V6 = ['2001:db8::1', '2001:db8::2', '2001:db8:1::1', 'fd00::1', '2001:db8:0:1::7', 'fd00::2']
const V6_LENGTHS = [32, 48, 64, 64, 64, 127, 128]
const V6_PREFIXES = [
  '2001:db8:5::/48',
  '2001:db8:6::/48',
  '2001:db8:6:7::/64',
  'default',
  'fd11::/16',
  '2001:db8:9::9',
  '::/0',
]
const V6_BAD = ['2001:db8::g', '2001:db8::/129', '1.2.3.4', ':::', 'fe80::/x']
export const TABLES = ['main', 'local', 'default', '5', '100', '1000', '0x10']
export const PROTOCOLS = ['static', 'kernel', 'boot', 'dhcp', 'bgp', '77', 'ra', '200']

/** How often a command is made wrong on purpose. */
const WRONG = 0.06

export class IpWords {
  readonly #random: SeededRandom

  constructor(random: SeededRandom) {
    this.#random = random
  }

  below(n: number): number {
    return this.#random.u32() % n
  }

  chance(p: number): boolean {
    return this.#random.u32() / 0x1_0000_0000 < p
  }

  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  /** Sometimes these words. */
  maybe(p: number, ...words: string[]): string[] {
    return this.chance(p) ? words : []
  }

  device(): string {
    return this.chance(WRONG)
      ? this.one(['nope', 'if2', 'averyveryverylongname', 'alt0', 'other', 'alt0'])
      : this.one([...IP_DEVICES, 't0', 't1', 'lo'])
  }

  /** A word, now and then shortened as a person would. */
  short(word: string, least: number): string {
    return this.chance(0.5) ? word : word.slice(0, least + this.below(word.length - least + 1))
  }

  six(): boolean {
    return this.chance(0.3)
  }

  address(six: boolean): string {
    if (this.chance(0.02)) return this.one(['any', 'all', 'default'])
    if (this.chance(WRONG)) return this.one(six ? V6_BAD : V4_BAD)
    return six ? this.one(V6) : this.one(V4)
  }

  local(six: boolean): string {
    const address = this.address(six)
    return this.chance(0.12) || address.includes('/')
      ? address
      : `${address}/${this.one(six ? V6_LENGTHS : V4_LENGTHS)}`
  }

  prefix(six: boolean): string {
    if (this.chance(0.03)) return this.one(['any', 'all', '0/0', '0.0.0.0/0', '10.0.0.0/255.0.0.0'])
    if (this.chance(WRONG)) return this.one(six ? V6_BAD : V4_BAD)
    return this.one(six ? V6_PREFIXES : V4_PREFIXES)
  }

  /** Behind `via`: sometimes of the other family. */
  gateway(six: boolean): string[] {
    return this.chance(0.92)
      ? [this.address(six)]
      : this.one([
          ['inet6', this.one(['fe80::1', ...V6])],
          ['inet6', this.one(['fe80::1', 'ff02::1', '::', ...V6])],
          ['inet', this.one(V4)],
          ['inet6', 'x'],
          ['0.0.0.0'],
          ['inet6', '::'],
          [this.one(['link', 'bridge', 'mpls']), this.one(['00:11', 'any', '100', 'x'])],
        ])
  }
}
