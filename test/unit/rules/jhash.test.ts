// jhash_1word() against the nodes that the kernel's cluster match (6.18) chose for sources on loopback.

import { expect, test } from 'vitest'
import { parseIpv4 } from '../../../datapath/wire/address.ts'
import { jhashWord, scale, swap32 } from '../../../datapath/wire/jhash.ts'

/** Source, node from 0 of 32, seed. */
const CHOSEN = `
127.0.0.2 1 0xdeadbeef
127.1.2.3 12 0xdeadbeef
127.200.100.50 15 0xdeadbeef
127.255.0.9 30 0xdeadbeef
127.7.7.7 19 0xdeadbeef
127.0.9.8 6 0xdeadbeef
127.3.1.4 6 0xdeadbeef
127.0.0.2 3 0x00000001
127.1.2.3 2 0x00000001
127.200.100.50 10 0x00000001
127.255.0.9 27 0x00000001
127.7.7.7 8 0x00000001
127.0.9.8 29 0x00000001
127.3.1.4 31 0x00000001
`
  .trim()
  .split('\n')
  .map((line) => line.split(' '))

test('the kernel chose the same node', () => {
  expect(CHOSEN).toHaveLength(14)
  for (const [source, node, seed] of CHOSEN)
    expect(scale(jhashWord(swap32(parseIpv4(source!)!), Number(seed)), 32), source).toBe(Number(node))
})
