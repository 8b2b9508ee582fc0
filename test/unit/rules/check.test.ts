// What an edit of a table in force brings within the kernel's reach, or puts out of it.

import { expect, test } from 'vitest'
import { TableHost } from '../../harness/random-chains.ts'

const table = (...lines: readonly string[]): string => `*mangle\n${lines.join('\n')}\nCOMMIT\n`

test('a verdict that takes the place of one, and has rules in front of it that the other had behind it', () => {
  const host = new TableHost(4, 1)
  const inA = ['-A A -p tcp -j ACCEPT', '-A A -j ACCEPT', '-A A -j B']
  host.load(table(':A - [0:0]', ':B - [0:0]', '-A FORWARD -j A', ...inA, '-A B -j A'))
  expect(() => host.load(table('-D A 1', '-D A 1', '-A A -j ACCEPT'), true)).toThrow('line 5 failed')
  host.load(table('-D A 3', '-A A -p udp -j B'), true)
  expect(host.chain('A').model.rules).toHaveLength(3)
})
