// What may follow `-m NAME` and `-j NAME`, for every extension there is, new ones too: its options by its own table of
// options, with values from the rows that test/extensions/tables has of it, values of any kind, and broken ones.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Family } from '../../datapath/packet.ts'
import type { Match, Target } from '../../rules/extension.ts'
import { matches } from '../../rules/matches/index.ts'
import type { OptionSpec } from '../../rules/options.ts'
import { targets } from '../../rules/targets/index.ts'
import { shellWords } from '../extensions/rule.ts'

/** mulberry32: the same session for the same seed, on any machine. */
export class Dice {
  #state: number
  constructor(seed: number) {
    this.#state = seed | 0
  }

  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }

  below(n: number): number {
    return Math.floor((this.u32() / 4294967296) * n)
  }

  chance(p: number): boolean {
    return this.u32() / 4294967296 < p
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!
  }
}

/** One use of an option: `!` if it stands before it, the flag as written, its words. */
interface Use {
  readonly words: readonly string[]
}

/** An extension with what its rows say. */
export interface Known {
  readonly kind: 'match' | 'target'
  readonly name: string
  readonly families: readonly Family[]
  readonly options: readonly OptionSpec[]
  /** All options of one row, in order. */
  readonly rows: readonly (readonly Use[])[]
  /** Values by flag. */
  readonly values: ReadonlyMap<string, readonly (readonly string[])[]>
  /** What stood behind -p in its rows; empty: nothing. */
  readonly protocols: readonly string[]
  readonly tables: readonly string[]
}

const folder = join(import.meta.dirname, '../extensions/tables')

/** Values that some option takes, and that most refuse. Bytes, as all words here. */
const VALUES = [
  '0',
  '1',
  '2',
  '63',
  '64',
  '255',
  '256',
  '65535',
  '65536',
  '2147483648',
  '4294967295',
  '4294967296',
  '4294967301',
  '-0',
  '-5',
  '08:00',
  'Mo,2,Fri',
  '10,+2',
  '18446744073709551615',
  '18446744073709551616',
  '-1',
  '+1',
  ' 1',
  '1 ',
  '0x10',
  '010',
  '08',
  '0x',
  '1.5',
  '',
  'a',
  'any',
  'all',
  'ALL',
  'none',
  'NEW',
  '1:2',
  '2:1',
  ':5',
  '5:',
  ':',
  '1:2:3',
  '1,2',
  '1,2,',
  ',',
  '1-2',
  '2-1',
  '1/2',
  '0x1/0xff',
  '1/',
  '/1',
  '10.0.0.1',
  '10.0.0.0/8',
  '10.0.0.1-10.0.0.9',
  '10.0.0.1:80',
  '1.2.3.256',
  'fd00::1',
  'fd00::/64',
  'fd00::1-fd00::9',
  '[fd00::1]:80-90',
  '::',
  'fd00:::1',
  'ssh',
  'ssh:http',
  'nosuch',
  '00:11:22:33:44:55',
  '1/s',
  '5/min',
  '50%',
  'src',
  'src,dst',
  's4',
  's4 src',
  'two words',
  'quo"ted',
  'back\\slash',
  "it's",
  '\xc3\xbc',
  '\xff\xfe',
  'tab\there',
  'line\nend',
  '!',
  '-',
  'x'.repeat(29),
  'x'.repeat(64),
  'y'.repeat(300),
]

const IPV4 = /\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b/g

/** Every extension, with the rows of its table. */
export function knownExtensions(): readonly Known[] {
  const rows = new Map<string, { uses: Use[][]; protocols: Set<string>; tables: Set<string> }>()
  const files = readdirSync(folder).filter((name) => name.endsWith('.txt'))
  for (const file of files)
    for (const line of readFileSync(join(folder, file), 'latin1').split('\n'))
      if (line.startsWith('> ')) harvest(line.slice(2), rows)
  const known = (kind: 'match' | 'target', { name, families, options }: Match | Target): Known => {
    const found = rows.get(`${kind} ${name}`)
    const values = new Map<string, (readonly string[])[]>()
    for (const uses of found?.uses ?? [])
      for (const { words } of uses) {
        const [flag, ...value] = words[0] === '!' ? words.slice(1) : words
        const spec = options.find((o) => [o.flag, ...(o.aliases ?? [])].includes(flag!.slice(2)))
        if (spec === undefined) continue
        const list = values.get(spec.flag) ?? []
        list.push(value)
        values.set(spec.flag, list)
      }
    return {
      kind,
      name,
      families,
      options,
      rows: found?.uses ?? [],
      values,
      protocols: [...(found?.protocols ?? [])],
      tables: [...(found?.tables ?? [])],
    }
  }
  return [...matches.map((m) => known('match', m)), ...targets.map((t) => known('target', t))]
}

/** Cuts one row into the uses of each of its extensions. */
function harvest(
  row: string,
  rows: Map<string, { uses: Use[][]; protocols: Set<string>; tables: Set<string> }>,
): void {
  const [table, , ...words] = shellWords(row)
  const at = words.indexOf('-p')
  const protocol = at < 0 ? '' : words[at + 1]!
  let uses: Use[] | null = null
  for (let i = 0; i < words.length; ) {
    const word = words[i]!
    if (word === '-m' || word === '-j') {
      const key = `${word === '-m' ? 'match' : 'target'} ${words[i + 1]}`
      let entry = rows.get(key)
      if (entry === undefined) {
        entry = { uses: [], protocols: new Set(), tables: new Set() }
        rows.set(key, entry)
      }
      uses = []
      entry.uses.push(uses)
      if (protocol !== '') entry.protocols.add(protocol)
      entry.tables.add(table!)
      i += 2
      continue
    }
    let end = i + 1
    if (word === '!') end++
    while (end < words.length && !/^(-[a-z]|--.*|!)$/.test(words[end]!)) end++
    if (/^(! )?--/.test(words.slice(i, i + 2).join(' '))) uses?.push({ words: words.slice(i, end) })
    i = end
  }
}

const isTame = (value: string): boolean => /^[\x21-\x7e]+$/.test(value)
const TAME_VALUES = VALUES.filter(isTame)

/** Draws options. `tame`: no values with blanks or bytes that iptables-save prints, but iptables-restore reads otherwise. */
export class ExtensionWords {
  readonly #dice: Dice
  readonly #family: Family
  readonly #tame: boolean
  readonly #values: readonly string[]
  constructor(dice: Dice, family: Family, tame: boolean) {
    this.#dice = dice
    this.#family = family
    this.#tame = tame
    this.#values = tame ? TAME_VALUES : VALUES
  }

  /** The words behind `-m NAME` or `-j NAME`, often right. */
  options(known: Known): string[] {
    const dice = this.#dice
    if (known.rows.length > 0 && dice.chance(0.6)) {
      const words: string[] = []
      for (const use of dice.pick(known.rows)) {
        if (dice.chance(0.03) || (this.#tame && !use.words.every(isTame))) continue
        if (dice.chance(0.06) && known.options.length > 0) words.push(...this.#option(known))
        words.push(...this.#shorten(this.#broken(use.words)))
      }
      return this.#inFamily(words)
    }
    if (known.options.length === 0) return []
    const words: string[] = []
    for (let n = dice.pick([0, 1, 1, 1, 1, 2, 2, 3]); n > 0; n--) words.push(...this.#option(known))
    return this.#inFamily(words)
  }

  /** One option with words of its own, taken from its rows, or of any kind. */
  #option(known: Known): string[] {
    const dice = this.#dice
    const spec = dice.pick(known.options)
    const flag = `--${dice.chance(0.2) ? dice.pick([spec.flag, ...(spec.aliases ?? [])]) : spec.flag}`
    const words = dice.chance(spec.invertible ? 0.3 : 0.05) ? ['!', flag] : [flag]
    const own = known.values.get(spec.flag)
    const value = own !== undefined && dice.chance(0.8) ? dice.pick(own) : null
    if (value !== null && (!this.#tame || value.every(isTame))) words.push(...this.#broken(value))
    else if (spec.arg !== 'none' || dice.chance(0.03)) {
      words.push(dice.pick(this.#values))
      if (spec.arg === 'two' && dice.chance(0.8)) words.push(dice.pick(this.#values))
    }
    return this.#shorten(words)
  }

  /** Sometimes a value with one character more, less, or another. */
  #broken(words: readonly string[]): string[] {
    const dice = this.#dice
    if (this.#tame || !dice.chance(0.08)) return [...words]
    const at = words.length - 1
    const word = words[at]
    if (word === undefined || word.startsWith('--')) return [...words]
    const place = dice.below(word.length + 1)
    const cut = dice.pick([0, 0, 1])
    const put = dice.pick(['', '0', '9', ':', ',', '/', '-', '.', ' ', 'x', '!', '"', '\\', '\xe9', 'Z', '%'])
    return [...words.slice(0, at), word.slice(0, place) + put + word.slice(place + cut)]
  }

  /** Sometimes an option cut short, or glued to its argument, or without it. */
  #shorten(words: readonly string[]): string[] {
    const dice = this.#dice
    const at = words[0] === '!' ? 1 : 0
    const flag = words[at]
    if (flag === undefined || !flag.startsWith('--') || flag.length < 4) return [...words]
    const rest = words.slice(at + 1)
    const before = words.slice(0, at)
    if (dice.chance(0.05)) return [...before, flag.slice(0, 3 + dice.below(flag.length - 2)), ...rest]
    if (dice.chance(0.04) && rest.length === 1) return [...before, `${flag}=${rest[0]}`]
    if (dice.chance(0.008)) return [...before, flag]
    if (dice.chance(0.01)) return [...words, ...words]
    return [...words]
  }

  /** Addresses of the tables are IPv4's: mostly put in IPv6's place. */
  #inFamily(words: readonly string[]): string[] {
    if (this.#family === 4 || this.#dice.chance(0.1)) return [...words]
    return words.map((word) => {
      if (!IPV4.test(word)) return word
      const port = /^[\d.-]+:[\d-]/.test(word)
      const six = word.replaceAll(IPV4, (text) => {
        const address = `fd00::${text.split('.').map(Number)[3]!.toString(16)}`
        return address
      })
      if (!port) return six.replace(/\/255\.[\d.]+$/, '/64')
      const colon = six.lastIndexOf(':')
      return `[${six.slice(0, colon)}]${six.slice(colon)}`
    })
  }
}
