// How rules name a set: its name and, for each dimension, whether the source or the destination is meant
// (libxt_set.h of iptables 1.8.9).

import type { Field } from '../layout.ts'
import { OptionError, type Options } from '../options.ts'

export interface SetUse {
  readonly set: string
  /** ip_set_id_t, by which the kernel's copy of the rule names it. */
  readonly number: number
  /** For each dimension: true for the source. */
  readonly dirs: readonly boolean[]
  /** The same as bits. */
  readonly bits: number
}

/** IPSET_DIM_MAX */
const MAX_DIRS = 6
const MAX_NAME = 31

/** Set and directions of an option that may be given once. `older`: another name of the same option. */
export function parseSetUse(o: Options, flag: string, repeated: string, older = flag): SetUse {
  const given = o.given().filter((name) => name === flag || name === older)
  if (given.length > 1) throw new OptionError(repeated)
  const words = o.texts(given[0] ?? flag)
  const [name = '', text] = words
  if (text === undefined) throw new OptionError(`--${flag} requires two args.`)
  if (name.length > MAX_NAME)
    throw new OptionError(`setname \`${name}' too long, max ${MAX_NAME} characters.`)
  const { sets } = o
  if (sets !== undefined) {
    const family = sets.familyOf(name)
    if (family === null) throw new OptionError(`Set ${name} doesn't exist.\n`)
    if (family !== 0 && family !== o.family)
      throw new OptionError(
        `The protocol family of set ${name} is ${family === 4 ? 'IPv4' : 'IPv6'}, which is not applicable.\n`,
      )
  }
  const dirs = text.split(',').map((word, i) => {
    if (i >= MAX_DIRS) throw new OptionError(`Can't be more src/dst options than ${MAX_DIRS}.`)
    if (word.startsWith('src')) return true
    if (word.startsWith('dst')) return false
    throw new OptionError("You must spefify (the comma separated list of) 'src' or 'dst'.")
  })
  const number = sets?.numberOf(name) ?? 0
  return { set: name, number, dirs, bits: dirs.reduce((bits, source, i) => bits | (source ? 1 << i : 0), 0) }
}

export const printSetUse = (use: SetUse): string =>
  `${use.set} ${use.dirs.map((source) => (source ? 'src' : 'dst')).join()}`

/** struct xt_set_info at `at`; null: IPSET_INVALID_ID. Bit 0 is IPSET_INV_MATCH, those of the dimensions follow. */
export const setFields = (at: number, use: SetUse | null, invert = false): Field[] => [
  [at, 2, use?.number ?? 0xffff],
  [at + 2, 1, use?.dirs.length ?? 0],
  [at + 3, 1, ((use?.bits ?? 0) << 1) | Number(invert)],
]
