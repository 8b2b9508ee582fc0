// Packed encoding (ITU-T X.691, aligned) as nf_conntrack_h323_asn1.c reads it, Linux 6.18: types are described as data
// (h323-types.ts), and a reader walks along a message and keeps the few values whose fields have a name.
//
//     sequence   [extended?] [optional fields that are there]  fields ...  [which additions, each with its length]
//     choice     [extended?] [which]  what was chosen          [extended: with its length]
//     list       [how many]  items ...
//
// Where the kernel reads a message otherwise than the standard has it, so does this: its word is law to what it expects.

/** How the length of something is told: so many bits, one or two bytes, or X.691's own form (one byte or two). */
export type Count = number | 'byte' | 'word' | 'length'

export interface FieldTraits {
  /** Kept under this name; absent: stepped over. */
  readonly name?: string
  readonly optional?: boolean
}

/** Additions of later versions (behind `...`): they have lengths, so that only what is kept is described. */
export interface Additions {
  /** How many the kernel knows. */
  readonly known: number
  /** By position. */
  readonly kept: Readonly<Record<number, Type>>
  /** Position at which reading ends, whether that addition is there or not. */
  readonly stop?: number
}

export type Type = FieldTraits &
  (
    | { readonly is: 'nothing' }
    /** BOOLEAN, ENUMERATED, and INTEGER of up to 255 values. */
    | { readonly is: 'bits'; readonly bits: number }
    /** As many whole bytes; kept is where they stand. */
    | { readonly is: 'bytes'; readonly bytes: number }
    /** INTEGER of more than 65536 values: a number of bytes, in two bits, then those. */
    | { readonly is: 'number'; readonly least: number }
    /** Strings: a length, then units of so many bits. */
    | { readonly is: 'string'; readonly count: Count; readonly least: number; readonly unit: number }
    /** Anything, with its length, not aligned. */
    | { readonly is: 'open' }
    /** The reader goes no further in here. `optional`: how many optional fields of the sequence are behind. */
    | { readonly is: 'stop'; readonly behind: number }
    | {
        readonly is: 'sequence'
        readonly fields: readonly Type[]
        /** Optional fields, those behind a stop included. */
        readonly optionals: number
        readonly additions: Additions | null
      }
    /** `most`: so many are kept. `wrapped`: each has its length before it. */
    | { readonly is: 'list'; readonly item: Type; readonly most: number; readonly wrapped: boolean }
    | {
        readonly is: 'choice'
        readonly of: readonly Type[]
        readonly bits: number
        /** Null: there is no bit that says whether it is extended. `stop`: all of them end the reading. */
        readonly additions: (Omit<Additions, 'stop'> & { readonly stop?: boolean }) | null
      }
  )

/** A value that was kept. */
export class Value {
  /** Bytes: where they stand, from the message's first byte on. */
  at = -1
  number = 0
  /** Of a list. */
  readonly items: Value[] = []
  readonly #parts = new Map<string, Value>()

  part(name: string): Value {
    const value = new Value()
    this.#parts.set(name, value)
    return value
  }

  /** The value at the end of a path through sequences and choices; null: it is not there, or was not chosen. */
  get(...path: readonly string[]): Value | null {
    let at: Value = this
    for (const name of path) {
      const next = at.#parts.get(name)
      if (next === undefined) return null
      at = next
    }
    return at
  }
}

/** More bits of additions than the kernel has room for. */
const MAX_ADDITIONS = 32

export class PerReader {
  readonly #bytes: Uint8Array
  #start = 0
  #end = 0
  #at = 0
  /** Bits of the byte at #at that are read. */
  #bit = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /**
   * Reads one value from `at` up to `end`, absolute offsets; what is kept is counted from `start`. Null: it is cut
   * short or wrong.
   */
  read(type: Type, start: number, at: number, end: number): Value | null {
    this.#start = start
    this.#at = at
    this.#end = end
    this.#bit = 0
    const value = new Value()
    return this.#value(type, value) ? value : null
  }

  /** nf_h323_error_boundary(): so much more is not there. */
  #short(bytes: number, bits: number): boolean {
    return this.#at + bytes + ((this.#bit + bits + 7) >> 3) > this.#end
  }

  #align(): void {
    if (this.#bit !== 0) this.#at++
    this.#bit = 0
  }

  #skipBits(bits: number): void {
    const to = this.#bit + bits
    this.#at += to >>> 3
    this.#bit = to & 7
  }

  /** Up to 32 bits, which are there, unsigned. */
  #bits(count: number): number {
    let value = 0
    for (let left = count; left > 0; left--) {
      value = value * 2 + ((this.#bytes[this.#at]! >> (7 - this.#bit)) & 1)
      this.#skipBits(1)
    }
    return value
  }

  /**
   * get_bitmap(): which additions are there. Where these bits end four whole bytes, the kernel takes as many from the
   * begin of those bytes.
   */
  #bitmap(count: number): number {
    if (this.#bit + count === 32) this.#bit = 0
    const bits = this.#bits(count)
    this.#align()
    return bits
  }

  /** get_len(): a length in one byte or two, -1 if it is not there. What it counts must be there too. */
  #length(): number {
    if (this.#at >= this.#end) return -1
    let length = this.#bytes[this.#at++]!
    if ((length & 0x80) !== 0) {
      if (this.#at >= this.#end) return -1
      length = ((length & 0x3f) << 8) | this.#bytes[this.#at++]!
    }
    return this.#short(length, 0) ? -1 : length
  }

  /** A count before what is counted, -1 if it is not there. Behind it, bytes are aligned. */
  #count(count: Count): number {
    if (typeof count === 'number') {
      if (this.#short(0, count)) return -1
      const n = this.#bits(count)
      this.#align()
      return n
    }
    this.#align()
    if (this.#short(count === 'byte' ? 1 : 2, 0)) return -1
    const first = this.#bytes[this.#at++]!
    if (count === 'byte' || (count === 'length' && (first & 0x80) === 0)) return first
    return ((count === 'word' ? first : first & 0x3f) << 8) | this.#bytes[this.#at++]!
  }

  /** False: the message is cut short or wrong. `into` null: nothing of it is kept. */
  #value(type: Type, into: Value | null): boolean {
    switch (type.is) {
      case 'nothing':
      case 'stop':
        return true
      case 'bits':
        this.#skipBits(type.bits)
        return !this.#short(0, 0)
      case 'bytes':
        this.#align()
        if (into !== null) into.at = this.#at - this.#start
        this.#at += type.bytes
        return !this.#short(0, 0)
      case 'number':
        return this.#number(type.least, into)
      case 'string': {
        const units = this.#count(type.count)
        if (units < 0) return false
        this.#skipBits((units + type.least) * type.unit)
        return !this.#short(0, 0)
      }
      case 'open':
        return this.#open()
      case 'sequence':
        return this.#sequence(type, into)
      case 'list':
        return this.#list(type, into)
      case 'choice':
        return this.#choice(type, into)
    }
  }

  /** decode_int() of CONS. */
  #number(least: number, into: Value | null): boolean {
    if (this.#short(0, 2)) return false
    const count = this.#bits(2) + 1
    this.#align()
    if (into !== null) {
      if (this.#short(count, 0)) return false
      into.number = (this.#bits(count * 8) + least) >>> 0
    }
    // The kernel steps over a number that it keeps twice; a length before it says where to go on.
    this.#at += count
    return !this.#short(0, 0)
  }

  #open(): boolean {
    if (this.#short(2, 0)) return false
    const length = this.#length()
    if (length < 0) return false
    this.#at += length
    return true
  }

  /** Something whose length is told before it, which counts. `whole` false: it is stepped over. */
  #wrapped(type: Type, into: Value | null, whole = into !== null): boolean {
    const length = this.#length()
    if (length < 0) return false
    const behind = this.#at + length
    if (whole && !this.#value(type, into)) return false
    this.#at = behind
    this.#bit = 0
    return true
  }

  #sequence(type: Type & { is: 'sequence' }, into: Value | null): boolean {
    const { fields, optionals, additions } = type
    if (this.#short(0, 1)) return false
    const extended = additions !== null && this.#bits(1) === 1
    if (this.#short(0, optionals)) return false
    const there = this.#bits(optionals)
    let left = optionals
    for (const field of fields) {
      if (field.is === 'stop') return true
      if (field.optional === true && ((there >>> --left) & 1) === 0) continue
      if (!this.#value(field, keptIn(into, field))) return false
    }
    return !extended || this.#additions(additions, into)
  }

  #additions({ known, kept, stop }: Additions, into: Value | null): boolean {
    if (this.#short(0, 7)) return false
    const count = this.#bits(7) + 1
    if (this.#short(0, count) || count > MAX_ADDITIONS) return false
    const there = this.#bitmap(count)
    for (let i = 0; i < count; i++) {
      if (i === stop) return true
      // Of additions that it does not know the kernel does not ask whether they are there.
      if (i < known && ((there >>> (count - 1 - i)) & 1) === 0) continue
      if (this.#short(2, 0)) return false
      const type = i < known ? kept[i] : undefined
      if (!this.#wrapped(type ?? NOTHING, type === undefined ? null : keptIn(into, type))) return false
    }
    return true
  }

  #list(type: Type & { is: 'list' }, into: Value | null): boolean {
    const count = this.#count('length')
    if (count < 0) return false
    for (let i = 0; i < count; i++) {
      const item = into !== null && i < type.most ? new Value() : null
      if (item !== null) into!.items.push(item)
      if (!type.wrapped) {
        if (!this.#value(type.item, item)) return false
        continue
      }
      this.#align()
      if (this.#short(2, 0)) return false
      // One too many is read all the same.
      if (!this.#wrapped(type.item, item, into !== null)) return false
    }
    return true
  }

  #choice(type: Type & { is: 'choice' }, into: Value | null): boolean {
    if (this.#short(0, 1)) return false
    const { additions } = type
    if (additions === null || this.#bits(1) === 0) {
      if (this.#short(0, type.bits)) return false
      const chosen = type.of[this.#bits(type.bits)]
      return chosen !== undefined && this.#value(chosen, keptIn(into, chosen))
    }
    if (this.#short(0, 7)) return false
    const which = this.#bits(7)
    if (which < additions.known && additions.stop === true) return true
    this.#align()
    if (this.#short(2, 0)) return false
    const chosen = which < additions.known ? additions.kept[which] : undefined
    return this.#wrapped(chosen ?? NOTHING, chosen === undefined ? null : keptIn(into, chosen))
  }
}

const NOTHING: Type = { is: 'nothing' }

const keptIn = (into: Value | null, field: Type): Value | null =>
  into === null || field.name === undefined ? null : into.part(field.name)
