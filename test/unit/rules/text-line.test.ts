import { expect, test } from 'vitest'
import { lines, splitWords } from '../../../rules/text/line.ts'

const split = (line: string): string[] => {
  const words: string[] = []
  splitWords(line, 0, words)
  return words
}

// As add_param_to_argv() of iptables 1.8.9 cuts them.
test.each([
  ['-A  INPUT\t-j ACCEPT\n', ['-A', 'INPUT', '-j', 'ACCEPT']],
  ['"two words" x', ['two words', 'x']],
  ['"a \\"b\\" \\\\ \\c"', ['a "b" \\ c']],
  ['a"b c"d', ['ab c', 'd']],
  ['"" x', ['', 'x']],
  ['x ""', ['x', '']],
  ['a\\b', ['a\\b']],
  ['"open\n', ['open\n']],
  ['"', []],
  ['', []],
  ["'a b'", ["'a", "b'"]],
])('%j', (line, words) => {
  expect(split(line)).toEqual(words)
})

test('columns count from 1 and stand on the quote', () => {
  const columns: number[] = []
  splitWords('-A  "x y"  z\n', 0, [], columns)
  expect(columns).toEqual([1, 5, 12])
})

test('too long a word and too many of them are refused', () => {
  expect(() => split('x'.repeat(1024))).toThrow('Parameter too long!')
  expect(split('x'.repeat(1023))).toHaveLength(1)
  expect(() => split('x '.repeat(255))).toThrow('Parser cannot handle more arguments')
})

test('lines keep their ends, and long ones come in pieces', () => {
  expect([...lines('a\n\nb')]).toEqual(['a\n', '\n', 'b'])
  expect([...lines(`${'x'.repeat(10300)}\n`)].map((l) => l.length)).toEqual([10239, 62])
})
