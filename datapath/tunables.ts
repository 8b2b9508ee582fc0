// Sysctls: every module declares its own, with default, range and unit; hot code reads plain fields that the
// `apply` callback of the declaration keeps up to date, never this map.

export interface Tunable {
  readonly name: string // dotted, as `sysctl` prints: net.ipv4.ip_forward
  readonly default: number
  readonly min?: number
  readonly max?: number
  /** Unit of the value for people: 's', 'ms', 'entries', 'bytes', 'bool'. */
  readonly unit?: string
  readonly readOnly?: boolean
  /** Shows nothing: what counts is that it was written (route.flush). */
  readonly writeOnly?: boolean
  /** A minus in front is refused, even of 0 (proc_dou8vec_minmax, proc_doulongvec_minmax); default: as the range suggests. */
  readonly unsigned?: boolean
  readonly signed?: boolean
  /** unsigned long: kept and shown to the last digit, beyond what a number holds. */
  readonly wide?: boolean
  /**
   * What becomes of a number that is written; NaN: it is refused. The range is not looked at then.
   */
  readonly store?: (written: bigint) => number
  /** Gives the value when it is asked for: counters. */
  readonly read?: () => number
  /** A value that is no number: `set` hands it over as text and is told whether it will do. Null: reading fails. */
  readonly words?: { readonly read: () => string | null; readonly write: (text: string) => boolean }
  /** Called at declaration and at every change. */
  readonly apply?: (value: number) => void
  /** Called for a write that is refused: some handlers of the kernel note that there was one. */
  readonly refused?: () => void
}

/** What went wrong with a write; the command words it as sysctl(8) does. */
export class TunableError extends RangeError {
  override readonly name = 'TunableError'
  /** As strerror(3) words it. */
  readonly reason: string
  constructor(message: string, reason = 'Invalid argument') {
    super(message)
    this.reason = reason
  }
}

interface Slot {
  readonly spec: Tunable
  value: number
  /** Where a number does not hold all of it. */
  exact?: bigint
}

export class Tunables {
  readonly #known = new Map<string, Slot>()
  /** Names of a captured host that nothing here reads; kept so that they print back. */
  readonly #foreign = new Map<string, string>()
  readonly #aliases = new Map<string, string>()
  /** Raised at each change; caches compare it. */
  generation = 0

  declare(spec: Tunable): void {
    const kept = this.#foreign.get(spec.name)
    this.#foreign.delete(spec.name)
    this.#known.set(spec.name, { spec, value: spec.default })
    spec.apply?.(spec.default)
    if (kept !== undefined) this.set(spec.name, kept)
  }

  undeclare(name: string): void {
    this.#known.delete(name)
  }

  alias(name: string, target: string): void {
    this.#aliases.set(name, target)
  }

  has(name: string): boolean {
    return this.#known.has(this.#aliases.get(name) ?? name)
  }

  get(name: string): number {
    const slot = this.#known.get(this.#aliases.get(name) ?? name)
    if (slot === undefined) throw new TunableError(`no such sysctl: ${name}`)
    return slot.spec.read?.() ?? slot.value
  }

  /** As text, known or foreign; undefined if never heard of. */
  text(name: string): string | undefined {
    const slot = this.#known.get(this.#aliases.get(name) ?? name)
    if (slot === undefined) return this.#foreign.get(name)
    const { spec } = slot
    if (spec.writeOnly) return ''
    if (spec.words !== undefined) return spec.words.read() ?? ''
    if (slot.exact !== undefined) return String(slot.exact)
    const value = spec.read?.() ?? slot.value
    return Object.is(value, -0) ? '-0' : String(value)
  }

  /** `hidden`: it is only written. `failing`: there is nothing to read yet. */
  unreadable(name: string): 'hidden' | 'failing' | null {
    const spec = this.#known.get(this.#aliases.get(name) ?? name)?.spec
    if (spec?.writeOnly) return 'hidden'
    return spec?.words !== undefined && spec.words.read() === null ? 'failing' : null
  }

  /** Sets a declared sysctl. Throws TunableError for text that is no number, or one out of range. */
  set(name: string, value: number | string): void {
    const slot = this.#known.get(this.#aliases.get(name) ?? name)
    if (slot === undefined) throw new TunableError(`no such sysctl: ${name}`)
    if (slot.spec.words !== undefined) {
      if (!slot.spec.words.write(String(value))) throw new TunableError(`${name}: "${value}" will not do`)
      this.generation++
      return
    }
    const { min = -0x80000000, max = 0x7fffffff, unsigned, signed, store, wide } = slot.spec
    if (slot.spec.readOnly) throw new TunableError(`${name} is read-only`)
    const written = parseExact(String(value))
    let number = Number.NaN
    if (written !== null) number = store === undefined ? Number(written) : store(written)
    const minus =
      written === 0n &&
      isNegated(String(value)) &&
      !signed &&
      (unsigned || (min >= 0 && (max <= 255 || max > 0x7fffffff)))
    if (!Number.isInteger(number) || minus || (store === undefined && (number < min || number > max))) {
      slot.spec.refused?.()
      throw new TunableError(`${name}: "${value}" must be a whole number from ${min} to ${max}`)
    }
    // No minus in front of zero.
    const kept = number === 0 ? 0 : number
    slot.value = kept
    if (wide) slot.exact = written!
    this.generation++
    slot.spec.apply?.(kept)
  }

  /** True for values that are only shown. */
  isReadOnly(name: string): boolean {
    return this.#known.get(this.#aliases.get(name) ?? name)?.spec.readOnly === true
  }

  /** Takes a line of a captured host: sets what is declared, keeps other names, passes over read-only counters. */
  keep(name: string, value: string): void {
    const known = this.#known.get(this.#aliases.get(name) ?? name)
    if (known === undefined) this.#foreign.set(name, value)
    else if (known.spec.readOnly !== true) this.set(name, value)
  }

  /** All names, known and kept, sorted. */
  names(): string[] {
    return [...this.#known.keys(), ...this.#aliases.keys(), ...this.#foreign.keys()].sort()
  }
}

/**
 * As proc_get_long() reads: decimal, 0x or 0 in front for hexadecimal or octal; what follows a blank is not looked at. NaN:
 * no number, or none that fits into 64 bits.
 */
export function parseSysctl(text: string): number {
  const exact = parseExact(text)
  if (exact === null) return Number.NaN
  return exact === 0n && isNegated(text) ? -0 : Number(exact)
}

/** Some handlers refuse a minus even in front of zero. */
const isNegated = (text: string): boolean => text.trimStart().startsWith('-')

/** The same to the last digit; null: no such number. */
export function parseExact(text: string): bigint | null {
  const [, minus, digits] = /^\s*(-?)(0x[\da-f]+|0[0-7]*|[1-9]\d*)(?:\s|$)/i.exec(text) ?? []
  if (digits === undefined) return null
  const number = BigInt(/^0\d/.test(digits) ? `0o${digits.slice(1)}` : digits)
  if (number >= 2n ** 64n) return null
  return minus === '-' ? -number : number
}

/**
 * proc_dointvec_ms_jiffies(): milliseconds as they come back from jiffies of 4, cut to 32 bits before; NaN: they are too
 * many.
 */
export function jiffiesOfMs(ms: bigint): number {
  const cut = Number(BigInt.asUintN(32, ms))
  return cut >= 2 ** 31 ? Number.NaN : Math.ceil(cut / 4) * 4
}

/** jiffiesOfMs() of what is written. */
export function jiffiesOfText(text: string): number {
  const ms = parseExact(text)
  return ms === null ? Number.NaN : jiffiesOfMs(ms)
}

/** How many milliseconds jiffies_to_msecs() shows: 32 bits of them, behind a minus. */
export function shownMilliseconds(ms: number): string {
  const cut = Math.abs(ms) % 2 ** 32
  return ms < 0 ? `-${cut}` : String(cut)
}

/** proc_do_large_bitmap(): `5,3-4,` becomes `3-5`; null: no list of numbers up to `max`. */
export function numberRanges(text: string, max: number): string | null {
  const bits = new Uint8Array(max + 2)
  const list = text.replace(/,$/, '')
  if (list === '' && text !== '') return null
  for (const part of list === '' ? [] : list.split(/[,\n]/)) {
    const found = /^(\w+)(?:-(\w+))?$/.exec(part)
    if (found === null) return null
    const from = parseSysctl(found[1]!)
    const to = parseSysctl(found[2] ?? found[1]!)
    if (!(from <= to && to <= max)) return null
    bits.fill(1, from, to + 1)
  }
  const out: string[] = []
  for (let i = 0; i <= max; i++) {
    if (bits[i] === 0) continue
    const first = i
    while (bits[i + 1] === 1) i++
    out.push(first === i ? `${i}` : `${first}-${i}`)
  }
  return out.join(',')
}
