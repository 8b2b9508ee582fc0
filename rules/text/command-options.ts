// The options that getopt_long of iptables 1.8.9 knows: its own, and those of the extensions that a command line has
// loaded by then.

import type { Family } from '../../datapath/packet.ts'
import type { OptionSpec } from '../options.ts'
import type { Loadable } from './registry.ts'

export interface Given {
  readonly spec: OptionSpec
  readonly inverted: boolean
  readonly words: readonly string[]
  /** Where it stood in the command line. */
  readonly word: number
  /** What -p had said by then: -p that comes later does not help. */
  readonly protocol: number
  readonly protocolInverted: boolean
}

export interface Use {
  readonly loaded: Loadable
  readonly given: Given[]
}

/** What an extension says though nothing is wrong: as its options are read, and when all have been. */
export interface Remarks {
  readonly early: string
  readonly whole: string
}

/** Options of an extension within the merged table; -m twice merges once, and the later use gets the options. */
export interface Layer {
  readonly loaded: Loadable
  use: Use
}

type Argument = 'none' | 'required' | 'optional' | 'two' | 'next'

export interface Found {
  readonly argument: Argument
  /** A letter of the global options, or the extension's option. */
  readonly global: string
  readonly layer: Layer | null
  readonly spec: OptionSpec | null
}

const global = (letter: string, argument: Argument): Found => ({
  argument,
  global: letter,
  layer: null,
  spec: null,
})

export const SHORT = new Map<string, Found>()
for (const letter of 'ACDEIMNPRcdijopstgm') SHORT.set(letter, global(letter, 'required'))
for (const letter of 'FLSXZWhw') SHORT.set(letter, global(letter, 'optional'))
for (const letter of 'vV46bfnx') SHORT.set(letter, global(letter, 'none'))

const LONG = new Map<string, Found>()
for (const [names, letter] of [
  ['append', 'A'],
  ['delete', 'D'],
  ['check', 'C'],
  ['insert', 'I'],
  ['replace', 'R'],
  ['list', 'L'],
  ['list-rules', 'S'],
  ['flush', 'F'],
  ['zero', 'Z'],
  ['new-chain', 'N'],
  ['delete-chain', 'X'],
  ['rename-chain', 'E'],
  ['policy', 'P'],
  ['source src', 's'],
  ['destination dst', 'd'],
  ['protocol', 'p'],
  ['in-interface', 'i'],
  ['jump', 'j'],
  ['table', 't'],
  ['match', 'm'],
  ['numeric', 'n'],
  ['out-interface', 'o'],
  ['verbose', 'v'],
  ['wait', 'w'],
  ['wait-interval', 'W'],
  ['exact', 'x'],
  ['fragments', 'f'],
  ['version', 'V'],
  ['help', 'h'],
  ['modprobe', 'M'],
  ['set-counters', 'c'],
  ['goto', 'g'],
  ['ipv4', '4'],
  ['ipv6', '6'],
] as const)
  for (const name of names.split(' ')) LONG.set(name, SHORT.get(letter)!)
LONG.set('line-numbers', global('0', 'none'))

/** getopt_long's choice of a name, or of the beginning of one; null for none. `layers`: newest last. */
export function longOption(name: string, layers: readonly Layer[], family: Family): Found | null {
  const exact = LONG.get(name)
  if (exact !== undefined && (family === 4 || exact.global !== 'f')) return exact
  for (let i = layers.length - 1; i >= 0; i--) {
    const layer = layers[i]!
    const spec = layer.loaded.long.get(name)
    if (spec !== undefined) return { argument: spec.arg ?? 'required', global: '', layer, spec }
  }
  return abbreviated(name, layers, family)
}

/** The one option that starts with `name`; null for none or several that are not the same. */
function abbreviated(name: string, layers: readonly Layer[], family: Family): Found | null {
  let found: Found | null = null
  for (const [long, option] of LONG) {
    if (!long.startsWith(name) || (family === 6 && option.global === 'f')) continue
    if (found !== null && found !== option) return null
    found = option
  }
  for (const layer of layers)
    for (const [long, spec] of layer.loaded.long) {
      if (!long.startsWith(name)) continue
      if (found !== null && (found.spec !== spec || found.layer !== layer)) return null
      found = { argument: spec.arg ?? 'required', global: '', layer, spec }
    }
  return found
}

/** Commands that each of these may stand beside. */
export const BESIDE: Readonly<Record<string, string>> = { L: 'Zz', S: 'Zz', Z: 'LS' }

/** Options that only some commands take: bits of options_v_commands. */
export const ONLY_WITH: Readonly<Record<string, string>> = {
  n: 'L',
  s: 'IDRAC',
  d: 'IDRAC',
  p: 'IDRAC',
  j: 'IDRAC',
  x: 'L',
  i: 'IDRAC',
  o: 'IDRAC',
  0: 'L',
  c: 'IRAP',
  f: 'IDRAC',
}
export const OPTION_ORDER = 'nsdpjvxio0cf'
