// A value with a mask, where the value may have a name (xtables_parse_val_mask): realm, devgroup.

import { OptionError, type Options } from '../options.ts'
import { hex, hexMask, strtoul } from '../text/numbers.ts'

export interface NamedMask {
  readonly value: number
  readonly mask: number
  readonly invert: boolean
}

const ALL = 0xffffffff

/** `name`: the one that value 0 has, as in the files that iproute2 brings. */
export function parseNamedMask(o: Options, flag: string, name: string): NamedMask {
  const text = o.text(flag)
  const invert = o.inverted(flag)
  const read = strtoul(text, 0, ALL)
  if (read === null || (read.end < text.length && text[read.end] !== '/')) {
    if (text === name) return { value: 0, mask: ALL, invert }
    throw new OptionError(
      `${o.extension}: could not map name ${text} to an integer value for option "--${flag}".\n`,
    )
  }
  if (read.end === text.length) return { value: read.value, mask: ALL, invert }
  const rest = text.slice(read.end + 1)
  const mask = strtoul(rest, 0, ALL)
  if (mask === null)
    throw new OptionError(`${o.extension}: bad integer value for option "--${flag}", or out of range.\n`)
  if (mask.end !== rest.length)
    throw new OptionError(`${o.extension}: trailing garbage after value for option "--${flag}".\n`)
  return { value: read.value, mask: mask.value, invert }
}

export const formatNamedMask = (m: NamedMask, name: string, numeric: boolean): string =>
  m.mask === ALL && m.value === 0 ? (numeric ? hex(0) : name) : hexMask(m.value, m.mask)
