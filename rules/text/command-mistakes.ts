// Which of several mistakes in the options of one extension iptables would have met first.

import { OptionError, ParsedOptions, WholeError } from '../options.ts'
import type { Given, Use } from './command-options.ts'
import type { Loadable } from './registry.ts'

/** Options of an extension from what was given. */
export type Gather = (loaded: Loadable, given: readonly Given[]) => ParsedOptions

/** The error that option `i` of a use makes as it is read, as against one of the options as a whole. */
export function badValue(gather: Gather, use: Use, i: number): OptionError | null {
  const given = use.given[i]!
  const before = use.given.slice(0, i)
  const error = tryParse(gather, use, [...before, given])
  if (error !== null && !(error instanceof WholeError))
    return error.isValue || tryParse(gather, use, before)?.message !== error.message ? error : null
  // Of options that exclude each other one may hide what is wrong with the other.
  const clashes = ({ spec }: Given): boolean =>
    (spec.excludes?.includes(given.spec.flag) ?? false) || (given.spec.excludes?.includes(spec.flag) ?? false)
  if (!before.some(clashes)) return null
  const alone = tryParse(gather, use, [given])
  return alone instanceof WholeError || alone?.message === tryParse(gather, use, [])?.message ? null : alone
}

export function tryParse(
  gather: Gather,
  use: Use,
  given: readonly Given[] | ParsedOptions,
): OptionError | null {
  const options = given instanceof ParsedOptions ? given : gather(use.loaded, given)
  try {
    use.loaded.extension.parse(options)
    return null
  } catch (bad) {
    if (bad instanceof OptionError) return bad
    throw bad
  }
}
