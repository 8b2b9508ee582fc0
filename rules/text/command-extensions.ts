// The options of an extension that a command line gave, and the data that it makes of them. The same options give the
// same object: parsing 100,000 lines of one kind parses them once.

import type { Family } from '../../datapath/packet.ts'
import type { Match, Target } from '../extension.ts'
import type { MatchUse, TargetUse } from '../model.ts'
import { MissingOption, ParsedOptions } from '../options.ts'
import type { Given, Remarks, Use } from './command-options.ts'
import type { Loadable, Registry } from './registry.ts'

interface Memo {
  readonly made: MatchUse | TargetUse
  readonly remarks: Remarks | null
}

const MAX_MEMO = 20_000

/** Of one family; keeps what it learned from one line to the next. */
export class ExtensionReader {
  readonly #registry: Registry
  readonly #family: Family
  readonly #memo = new Map<Match | Target, Map<string, Memo>>()

  constructor(registry: Registry, family: Family) {
    this.#registry = registry
    this.#family = family
  }

  /** The data of an extension from its options, remembered. */
  complete<T extends MatchUse | TargetUse>(
    use: Use,
    remarks: Remarks[],
    make: (extension: Match | Target, data: unknown) => T,
  ): T {
    const { extension } = use.loaded
    const [first] = use.given
    const protocol = first?.protocol ?? 0
    const inverted = first?.protocolInverted ?? false
    let memo = this.#memo.get(extension)
    if (memo === undefined) {
      memo = new Map()
      this.#memo.set(extension, memo)
    }
    let key = inverted ? `!${protocol}` : `${protocol}`
    for (const { spec, inverted: not, words } of use.given) {
      key += not ? `\n!${spec.flag}` : `\n${spec.flag}`
      for (const word of words) key += `\t${word.length}:${word}`
    }
    const known = memo.get(key)
    if (known !== undefined) {
      if (known.remarks !== null) remarks.push(known.remarks)
      return known.made as T
    }
    const options = this.gather(use.loaded, use.given)
    let data: unknown
    try {
      data = extension.parse(options)
    } catch (error) {
      if (error instanceof MissingOption) options.check()
      throw error
    }
    try {
      options.check()
    } catch (error) {
      if (options.wholeWarnings !== '') remarks.push({ early: '', whole: options.wholeWarnings })
      throw error
    }
    const made = make(extension, data)
    if (memo.size >= MAX_MEMO) memo.clear()
    const said =
      options.warnings + options.wholeWarnings === ''
        ? null
        : { early: options.warnings, whole: options.wholeWarnings }
    memo.set(key, { made, remarks: said })
    if (said !== null) remarks.push(said)
    return made
  }

  /** What was given to an extension, for its parse(). */
  gather(loaded: Loadable, given: readonly Given[]): ParsedOptions {
    const [first] = given
    const options = new ParsedOptions(
      loaded.extension,
      this.#family,
      first?.protocol ?? 0,
      first?.protocolInverted ?? false,
    )
    const { sets } = this.#registry
    if (sets !== null) options.sets = sets
    for (const use of given) options.add(use.spec, use.inverted, use.words)
    return options
  }
}
