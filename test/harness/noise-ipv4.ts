// What noise of IPv4 is made of.

import type { Wire } from './conversation.ts'
import type { FamilyNoise } from './noise.ts'

/** The routes of an address option point at the world. */
function options(w: Wire): number[] {
  const { random, world } = w
  const bytes = (a: string): number[] => a.split('.').map(Number)
  const address = (): number[] =>
    bytes(random.pick([random.pick(world.own), random.pick(world.peers).address]))
  const list: (() => number[])[] = [
    () => [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0],
    () => [7, 7, 8, ...address()],
    () => [7, 39, 4, ...Array<number>(36).fill(0)],
    () => [0x44, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    () => [0x44, 12, 13, random.pick([0, 0x10, 0xf0, 1]), ...address(), 0, 0, 0, 0],
    () => [0x44, 12, 5, 3, ...address(), 0, 0, 0, 0],
    () => [0x83, 7, 4, ...address()],
    () => [0x89, 7, 4, ...address()],
    () => [0x83, 11, 4, ...address(), ...address()],
    () => [0x89, 11, 8, ...address(), ...address()],
    () => [0x94, 4, 0, 0],
    () => [0x82, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    () => [1, 1, 1, 1],
    () => [0, 0, 0, 0],
    () => [1, 0x86, 6, 0, 0, 0, 1, 0],
    () => [0x88, 4, 1, 2],
    // Damaged ones.
    () => [7, 0, 0, 0],
    () => [7, 3, 1, 0],
    () => [7, 40, 4, 0],
    () => [0x44, 3, 5, 0],
    () => [0x83, 2, 0, 0],
    () => [0x99, 1, 0, 0],
    () => [1, 1, 1, 7],
    () => [7, 7, 5, ...address()],
  ]
  const out = random.pick(list)()
  if (random.once(3)) out.push(...random.pick(list)())
  return out.slice(0, 40)
}

export const NOISE4: FamilyNoise = {
  errors: [
    [3, 0],
    [3, 1],
    [3, 2],
    [3, 3],
    [3, 4],
    [3, 13],
    [11, 0],
    [11, 1],
    [12, 0],
    [4, 0],
    [5, 1],
    [3, 16],
  ],
  tooBig: [3, 4],
  mtus: [1400, 576, 68, 0, 1500],
  quotes: [20, 24, 28, 27, 36, 8, 0],
  icmpTypes: [8, 8, 8, 0, 13, 15, 17, 42, 3, 11, 200, 10, 9],
  queries: [13, 13, 14, 15, 16, 17, 18, 0],
  protocols: [50, 47, 132, 4, 89, 255, 0, 200, 136, 2, 103, 33, 41],
  cut: [1, 6, 17, 136, 132, 47],
  martians: [
    '127.0.0.1',
    '0.0.0.0',
    '255.255.255.255',
    '224.0.0.1',
    '239.1.2.3',
    '240.0.0.1',
    '169.254.1.1',
    '0.1.2.3',
    '127.1.2.3',
  ],
  unroutable: ['203.0.114.9', '198.51.100.200', '172.31.255.1'],
  groups: ['224.0.0.1', '224.0.0.251', '239.255.255.250', '255.255.255.255'],
  headers: [
    { badIpChecksum: true },
    { version: 5 },
    { version: 6 },
    { version: 0 },
    { ihl: 4 },
    { ihl: 0 },
    { ihl: 15 },
    { ihl: 6 },
    { totalLength: 10 },
    { totalLength: 20 },
    { totalLength: 24 },
    { totalLength: 65535 },
    { totalLength: 27 },
    { ce: true },
  ],
  begins: [0x45, 0x46, 0x45, 0x4f, 0x60],
  options: (w) => ({ options: options(w) }),
  makers: {},
}
