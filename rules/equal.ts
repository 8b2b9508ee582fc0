// Whether two rules are the same to -C and -D: all but their counters and the place they were read from.

import type { AddressMatch, BaseMatch, Rule, TargetUse } from './model.ts'

export function sameRule(a: Rule, b: Rule): boolean {
  if (a === b) return true
  return (
    a.matches.length === b.matches.length &&
    sameBase(a.base, b.base) &&
    a.matches.every(
      ({ match, data }, i) => match === b.matches[i]!.match && sameData(data, b.matches[i]!.data),
    ) &&
    sameTarget(a.target, b.target)
  )
}

export function sameBase(a: BaseMatch, b: BaseMatch): boolean {
  return (
    sameAddress(a.source, b.source) &&
    sameAddress(a.destination, b.destination) &&
    sameData(a.inInterface, b.inInterface) &&
    sameData(a.outInterface, b.outInterface) &&
    sameData(a.protocol, b.protocol) &&
    sameData(a.fragment, b.fragment)
  )
}

function sameAddress(a: AddressMatch | null, b: AddressMatch | null): boolean {
  if (a === null || b === null) return a === b
  return a.invert === b.invert && sameData(a.words, b.words) && sameData(a.mask, b.mask)
}

function sameTarget(a: TargetUse, b: TargetUse): boolean {
  if (a.kind === 'extension' && b.kind === 'extension')
    return a.target === b.target && sameData(a.data, b.data)
  return a.kind === b.kind && sameData(a, b)
}

/** Structural equality of plain data. */
export function sameData(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) || ArrayBuffer.isView(a)) {
    const [x, y] = [a as ArrayLike<unknown>, b as ArrayLike<unknown>]
    if (x.length !== y.length) return false
    for (let i = 0; i < x.length; i++) if (!sameData(x[i], y[i])) return false
    return true
  }
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  return keys.every((key) =>
    sameData((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
  )
}
