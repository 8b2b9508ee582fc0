// A rule's words read into uses of extensions, with as little as the tables of this folder need: -p, -m, -j, `!` and
// the extensions' own options. The full parser of command lines is rules/text.

import type { Family } from '../../datapath/packet.ts'
import type { CheckContext, Match, Target } from '../../rules/extension.ts'
import { matches } from '../../rules/matches/index.ts'
import type { MatchUse, TableName } from '../../rules/model.ts'
import { MissingOption, OptionError, type OptionSpec, ParsedOptions } from '../../rules/options.ts'
import { targets } from '../../rules/targets/index.ts'
import { protocolName, protocolNumber } from '../../rules/text/services.ts'

export interface TestRule {
  readonly protocol: { readonly number: number; readonly invert: boolean } | null
  readonly matches: readonly MatchUse[]
  readonly target: { readonly target: Target; readonly data: unknown } | null
  readonly verdict: string | null
}

/** Words of a shell line: blanks part them, quotes hold them together. */
export function shellWords(line: string): string[] {
  const words: string[] = []
  let word: string | null = null
  let quote = ''
  for (let i = 0; i < line.length; i++) {
    const c = line[i]!
    if (quote === '' && c === ' ') {
      if (word !== null) words.push(word)
      word = null
    } else if (c === quote) quote = ''
    else if (quote === '' && (c === '"' || c === "'")) {
      quote = c
      word ??= ''
    } else if (c === '\\' && quote !== "'" && (quote === '' || '"\\'.includes(line[i + 1]!)))
      word = (word ?? '') + line[++i]
    else word = (word ?? '') + c
  }
  return word === null ? words : [...words, word]
}

interface Loaded {
  readonly extension: Match | Target
  readonly options: ParsedOptions
}

const SYNONYMS: Readonly<Record<string, string>> = {
  icmpv6: 'icmp6',
  'ipv6-icmp': 'icmp6',
  'mobility-header': 'mh',
}

/** The match of that name in the family. */
const findMatch = (name: string, family: Family): Match | undefined =>
  matches.find((known) => known.name === (SYNONYMS[name] ?? name) && known.families.includes(family))

export class UnknownOption extends OptionError {}

/** Throws OptionError as the extensions do, UnknownOption for an option that none of the loaded ones has. */
export function parseRule(words: readonly string[], family: Family = 4): TestRule {
  // Extensions see the protocol of the whole rule, wherever -p stands.
  const at = words.indexOf('-p')
  const protocol = at < 0 ? 0 : protocolNumber(words[at + 1]!)!
  const protocolInvert = words[at - 1] === '!'
  const loaded: Loaded[] = []
  let target: Loaded | null = null
  let verdict: string | null = null
  let invert = false
  const load = (extension: Match | Target): Loaded => ({
    extension,
    options: new ParsedOptions(extension, family, protocol, protocolInvert),
  })
  // An exact name before an abbreviation, the target before the matches, later matches before earlier ones.
  const find = (name: string): { readonly use: Loaded; readonly spec: OptionSpec } | null => {
    const uses = [...(target === null ? [] : [target]), ...loaded.toReversed()]
    for (const fits of [(long: string) => long === name, (long: string) => long.startsWith(name)])
      for (const use of uses)
        for (const spec of use.extension.options)
          if ([spec.flag, ...(spec.aliases ?? [])].some(fits)) return { use, spec }
    return null
  }
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (word === '!') invert = true
    else if (word === '-p') {
      i++
      invert = false
    } else if (word === '-m') {
      const name = words[++i]!
      loaded.push(load(findMatch(name, family)!))
    } else if (word === '-j') {
      const name = words[++i]!
      const found = targets.find((known) => known.name === name && known.families.includes(family))
      if (found === undefined) verdict = name
      else target = load(found)
    } else if (word.startsWith('--')) {
      let found = find(word.slice(2))
      if (found === null) {
        const match = findMatch(protocolName(protocol, true) ?? '', family)
        if (match !== undefined && !loaded.some((use) => use.extension === match)) {
          loaded.push(load(match))
          found = find(word.slice(2))
        }
      }
      if (found === null) throw new UnknownOption(`unknown option "${word}"`)
      const given: string[] = []
      const { arg } = found.spec
      if (arg !== 'none' && arg !== 'next') given.push(words[++i]!)
      const next = words[i + 1]
      if ((arg === 'two' || arg === 'next') && next !== undefined && !/^[-!]/.test(next))
        given.push(words[++i]!)
      found.use.options.add(found.spec, invert, given)
      invert = false
    } else throw new OptionError(`Bad argument \`${word}'`)
  }
  const finish = ({ extension, options }: Loaded): unknown => {
    try {
      const data = extension.parse(options)
      options.check()
      return data
    } catch (error) {
      if (error instanceof MissingOption) options.check()
      throw error
    }
  }
  return {
    protocol: protocol === 0 ? null : { number: protocol, invert: protocolInvert },
    matches: loaded.map((use) => ({ match: use.extension as Match, data: finish(use) })),
    target: target === null ? null : { target: (target as Loaded).extension as Target, data: finish(target) },
    verdict,
  }
}

/** The error that the kernel refuses the rule with, or null. */
export function kernelRefusal(
  rule: TestRule,
  table: string,
  chain: string,
  family: Family = 4,
): string | null {
  const use: CheckContext = {
    family,
    table: table as TableName,
    hooks: [chain],
    protocol: rule.protocol,
    matches: rule.matches,
  }
  const all = [
    ...rule.matches.map(({ match, data }) => ({ extension: match as Match | Target, data })),
    ...(rule.target === null ? [] : [{ extension: rule.target.target, data: rule.target.data }]),
  ]
  for (const { extension, data } of all) {
    if (extension.tables && !extension.tables.includes(use.table)) return 'EINVAL'
    if (extension.chains && !extension.chains.includes(chain)) return 'EINVAL'
    if (
      extension.protocols &&
      (use.protocol?.invert || !extension.protocols.includes(use.protocol?.number ?? 0))
    )
      return 'EINVAL'
    const refusal = extension.check?.(data, use) ?? null
    if (refusal !== null) return typeof refusal === 'string' ? 'EINVAL' : refusal.errno
  }
  return null
}

export function printRule(rule: TestRule, chain: string, family: Family = 4): string {
  const words = [`-A ${chain}`]
  if (rule.protocol)
    words.push(`${rule.protocol.invert ? '! ' : ''}-p ${protocolName(rule.protocol.number, true)}`)
  for (const { match, data } of rule.matches) words.push(`-m ${match.name}`, match.print(data, family))
  if (rule.target)
    words.push(`-j ${rule.target.target.name}`, rule.target.target.print(rule.target.data, family))
  else if (rule.verdict) words.push(`-j ${rule.verdict}`)
  return words.filter((word) => word !== '').join(' ')
}

export function listRule(rule: TestRule, numeric: boolean, family: Family = 4): string {
  const put = (text: string, tight = false): string => (text === '' || tight ? text : ` ${text}`)
  const parts = rule.matches.map(({ match, data }) =>
    put((match.list ?? ((d) => match.print(d, family)))(data, numeric, family), match.listedTight),
  )
  if (rule.target) {
    const { target, data } = rule.target
    parts.push(put((target.list ?? ((d: unknown) => target.print(d, family)))(data, numeric, family)))
  }
  return parts.join('')
}
