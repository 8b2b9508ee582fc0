// The elements of a hash type: keys of a few words in one Int32Array, found by open addressing.
//
//     tags  [ 0 | t | 0 | t | 1 | … ]      a byte a slot: 0 free, 1 was used, else 7 bits of the hash and bit 7
//     slots [   | 4 |   | 0 |   | … ]      the row
//     keys  [ row 0: w0 w1 … | row 1 … ]   rows in the order they were added
//
// A miss costs one byte of `tags` nearly always, a hit one slot and one row more: the cost does not depend on how
// many elements there are, but for the caches. Rows of deleted elements are used again.

const FREE = 0
const GONE = 1
const FIRST_SLOTS = 64
const FIRST_ROWS = 16

export class ElementTable {
  /** Words of a key. */
  readonly stride: number
  /** Words that the hash covers; those behind only tell elements apart. */
  readonly hashed: number
  keys: Int32Array
  /** One past the last row ever used. */
  rows = 0
  /** Elements, expired ones included. */
  size = 0
  #tags = new Uint8Array(FIRST_SLOTS)
  #slots = new Int32Array(FIRST_SLOTS)
  /** Bit 0: the row is used; the other bits are the owner's. */
  flags = new Uint8Array(FIRST_ROWS)
  /** Slots that are not free. */
  #taken = 0
  #spare: number[] = []
  readonly #seed: number
  readonly #grew: (rows: number) => void

  /** `grew`: called with the number of rows whenever there is room for more. */
  constructor(stride: number, hashed: number, seed: number, grew: (rows: number) => void) {
    this.stride = stride
    this.hashed = hashed
    this.#seed = seed | 0
    this.#grew = grew
    this.keys = new Int32Array(FIRST_ROWS * stride)
    grew(FIRST_ROWS)
  }

  /** Hash of `key`. Hot. */
  hash(key: Int32Array): number {
    let h = this.#seed
    for (let i = 0; i < this.hashed; i++) {
      h = Math.imul(h ^ key[i]!, 0x9e3779b1)
      h ^= h >>> 15
    }
    h = Math.imul(h, 0x85ebca6b)
    return h ^ (h >>> 13)
  }

  /** The row with this key, -1 if none. Hot. */
  find(key: Int32Array): number {
    const h = this.hash(key)
    const tags = this.#tags
    const mask = tags.length - 1
    const tag = 0x80 | (h >>> 25)
    for (let slot = h & mask; ; slot = (slot + 1) & mask) {
      const t = tags[slot]!
      if (t === FREE) return -1
      if (t === tag) {
        const row = this.#slots[slot]!
        if (this.#equal(row, key, this.stride)) return row
      }
    }
  }

  /** Rows whose hashed words are those of `key`, the oldest first, appended to `out`. */
  collect(key: Int32Array, out: number[]): void {
    const h = this.hash(key)
    const tags = this.#tags
    const mask = tags.length - 1
    const tag = 0x80 | (h >>> 25)
    for (let slot = h & mask; ; slot = (slot + 1) & mask) {
      const t = tags[slot]!
      if (t === FREE) return
      if (t === tag && this.#equal(this.#slots[slot]!, key, this.hashed)) out.push(this.#slots[slot]!)
    }
  }

  #equal(row: number, key: Int32Array, words: number): boolean {
    const keys = this.keys
    const at = row * this.stride
    for (let i = 0; i < words; i++) if (keys[at + i] !== key[i]) return false
    return true
  }

  /** Adds a key that is not there; its row. */
  insert(key: Int32Array): number {
    if ((this.#taken + 1) * 10 > this.#tags.length * 7) this.#rehash()
    let row = this.#spare.pop()
    if (row === undefined) {
      row = this.rows++
      if (row === this.flags.length) this.#growRows()
    }
    this.keys.set(key.length === this.stride ? key : key.subarray(0, this.stride), row * this.stride)
    this.flags[row] = 1
    this.size++
    this.#link(row, this.hash(key))
    return row
  }

  #link(row: number, h: number): void {
    const tags = this.#tags
    const mask = tags.length - 1
    let slot = h & mask
    while (tags[slot] !== FREE) slot = (slot + 1) & mask
    tags[slot] = 0x80 | (h >>> 25)
    this.#slots[slot] = row
    this.#taken++
  }

  remove(row: number): void {
    const h = this.hash(this.keys.subarray(row * this.stride, (row + 1) * this.stride))
    const tags = this.#tags
    const mask = tags.length - 1
    let slot = h & mask
    while (tags[slot]! < 0x80 || this.#slots[slot] !== row) slot = (slot + 1) & mask
    tags[slot] = GONE
    // A run that ends here needs no marks.
    if (tags[(slot + 1) & mask] === FREE)
      for (; tags[slot] === GONE; slot = (slot - 1) & mask) {
        tags[slot] = FREE
        this.#taken--
      }
    this.flags[row] = 0
    this.size--
    this.#spare.push(row)
  }

  used(row: number): boolean {
    return (this.flags[row]! & 1) !== 0
  }

  clear(): void {
    this.#tags = new Uint8Array(FIRST_SLOTS)
    this.#slots = new Int32Array(FIRST_SLOTS)
    this.keys = new Int32Array(FIRST_ROWS * this.stride)
    this.flags = new Uint8Array(FIRST_ROWS)
    this.rows = this.size = this.#taken = 0
    this.#spare = []
    this.#grew(FIRST_ROWS)
  }

  bytes(): number {
    return this.#tags.length * 5 + this.keys.byteLength + this.flags.length
  }

  #growRows(): void {
    const rows = Math.ceil(this.flags.length * 1.5)
    const keys = new Int32Array(rows * this.stride)
    keys.set(this.keys)
    this.keys = keys
    const flags = new Uint8Array(rows)
    flags.set(this.flags)
    this.flags = flags
    this.#grew(rows)
  }

  /** More slots, or the same without marks of what is gone. */
  #rehash(): void {
    let slots = this.#tags.length
    while ((this.size + 1) * 2 > slots) slots *= 2
    this.#tags = new Uint8Array(slots)
    this.#slots = new Int32Array(slots)
    this.#taken = 0
    for (let row = 0; row < this.rows; row++)
      if (this.used(row))
        this.#link(row, this.hash(this.keys.subarray(row * this.stride, (row + 1) * this.stride)))
  }
}
