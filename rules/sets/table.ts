// The elements of a hash type: keys of a few words in one Int32Array, found by open addressing.
//
//     slots [ 0 | tag 6 | 0 | tag 2 | 1 | … ]   0 free, 1 was used, else the row + 2 and, in the bits that the size of
//                                               `slots` leaves, the hash's high bits
//     filter [ bits ]                           two bits of one word for every key, a byte a member: says of nearly all
//                                               keys that are not there that they are not
//     keys  [ row 0: w0 w1 … | row 1 … ]        rows in the order they were added; free ones are a list through w0
//
// A miss costs one word of `filter` nearly always, which is small enough for a near cache though networks are looked up
// once for every prefix length; a hit one slot and one row more. The cost does not depend on how many elements there
// are, but for the caches. At most 7 in 10 slots are taken, so a row + 2 always fits into a slot's low bits.

const FREE = 0
const GONE = 1
const FIRST_ROW = 2
const FIRST_SLOTS = 64
/** Words of the filter: one for so many slots. */
const SLOTS_A_WORD = 8
const FIRST_ROWS = 16
const NO_ROW = -1

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
  #slots = new Int32Array(FIRST_SLOTS)
  #filter = new Int32Array(FIRST_SLOTS / SLOTS_A_WORD)
  /** Elements removed whose bits are still in the filter. */
  #stale = 0
  /** Bit 0: the row is used; the other bits are the owner's. */
  flags = new Uint8Array(FIRST_ROWS)
  /** Slots that are not free. */
  #taken = 0
  /** First of the free rows below `rows`. */
  #spare = NO_ROW
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

  /** Hash of the words of `key` from `at`. Hot. */
  hash(key: Int32Array, at: number): number {
    let h = this.#seed
    for (let i = at; i < at + this.hashed; i++) {
      h = Math.imul(h ^ key[i]!, 0x9e3779b1)
      h ^= h >>> 15
    }
    h = Math.imul(h, 0x85ebca6b)
    return h ^ (h >>> 13)
  }

  /** The row with this key, -1 if none. Hot. */
  find(key: Int32Array): number {
    const slots = this.#slots
    const keys = this.keys
    const stride = this.stride
    const mask = slots.length - 1
    const h = this.hash(key, 0)
    const bits = (1 << h) | (1 << (h >>> 5))
    const filter = this.#filter
    if ((filter[(h >>> 10) & (filter.length - 1)]! & bits) !== bits) return NO_ROW
    for (let slot = h & mask; ; slot = (slot + 1) & mask) {
      const value = slots[slot]!
      if (value === FREE) return NO_ROW
      if (((value ^ h) & ~mask) !== 0 || value === GONE) continue
      const row = (value & mask) - FIRST_ROW
      const at = row * stride
      let i = 0
      while (i < stride && keys[at + i] === key[i]) i++
      if (i === stride) return row
    }
  }

  /**
   * The next slot with a row whose hashed words are those of `key`, the oldest first; -1 if there is none. `after`:
   * the slot found before, -1 at first. Hot.
   */
  nextAlike(key: Int32Array, after: number): number {
    const slots = this.#slots
    const keys = this.keys
    const hashed = this.hashed
    const mask = slots.length - 1
    const h = this.hash(key, 0)
    for (let slot = after < 0 ? h & mask : (after + 1) & mask; ; slot = (slot + 1) & mask) {
      const value = slots[slot]!
      if (value === FREE) return -1
      if (((value ^ h) & ~mask) !== 0 || value === GONE) continue
      const at = ((value & mask) - FIRST_ROW) * this.stride
      let i = 0
      while (i < hashed && keys[at + i] === key[i]) i++
      if (i === hashed) return slot
    }
  }

  /** The row that a slot of nextAlike() holds. */
  rowAt(slot: number): number {
    return (this.#slots[slot]! & (this.#slots.length - 1)) - FIRST_ROW
  }

  /** Adds a key that is not there; its row. */
  insert(key: Int32Array): number {
    if ((this.#taken + 1) * 10 > this.#slots.length * 7 || this.#stale > this.#slots.length) this.#rehash()
    const { stride } = this
    let row = this.#spare
    if (row !== NO_ROW) this.#spare = this.keys[row * stride]!
    else {
      row = this.rows++
      if (row === this.flags.length) this.#growRows()
    }
    for (let i = 0; i < stride; i++) this.keys[row * stride + i] = key[i]!
    this.flags[row] = 1
    this.size++
    this.#link(row)
    return row
  }

  #link(row: number): void {
    const slots = this.#slots
    const mask = slots.length - 1
    const h = this.hash(this.keys, row * this.stride)
    let slot = h & mask
    while (slots[slot] !== FREE) slot = (slot + 1) & mask
    slots[slot] = (h & ~mask) | (row + FIRST_ROW)
    const filter = this.#filter
    filter[(h >>> 10) & (filter.length - 1)]! |= (1 << h) | (1 << (h >>> 5))
    this.#taken++
  }

  remove(row: number): void {
    const slots = this.#slots
    const mask = slots.length - 1
    const h = this.hash(this.keys, row * this.stride)
    const wanted = (h & ~mask) | (row + FIRST_ROW)
    let slot = h & mask
    while (slots[slot] !== wanted) slot = (slot + 1) & mask
    slots[slot] = GONE
    // A run that ends here needs no marks.
    if (slots[(slot + 1) & mask] === FREE)
      for (; slots[slot] === GONE; slot = (slot - 1) & mask) {
        slots[slot] = FREE
        this.#taken--
      }
    this.flags[row] = 0
    this.size--
    this.#stale++
    this.keys[row * this.stride] = this.#spare
    this.#spare = row
  }

  used(row: number): boolean {
    return (this.flags[row]! & 1) !== 0
  }

  clear(): void {
    this.#slots = new Int32Array(FIRST_SLOTS)
    this.#filter = new Int32Array(FIRST_SLOTS / SLOTS_A_WORD)
    this.#stale = 0
    this.keys = new Int32Array(FIRST_ROWS * this.stride)
    this.flags = new Uint8Array(FIRST_ROWS)
    this.rows = this.size = this.#taken = 0
    this.#spare = NO_ROW
    this.#grew(FIRST_ROWS)
  }

  bytes(): number {
    return this.#slots.byteLength + this.#filter.byteLength + this.keys.byteLength + this.flags.length
  }

  #growRows(): void {
    const rows = Math.ceil(this.flags.length * 1.25)
    const keys = new Int32Array(rows * this.stride)
    keys.set(this.keys)
    this.keys = keys
    const flags = new Uint8Array(rows)
    flags.set(this.flags)
    this.flags = flags
    this.#grew(rows)
  }

  /** More slots, or as many without marks of what is gone. */
  #rehash(): void {
    let slots = this.#slots.length
    while ((this.size + 1) * 10 > slots * 6) slots *= 2
    this.#slots = new Int32Array(slots)
    this.#filter = new Int32Array(slots / SLOTS_A_WORD)
    this.#stale = 0
    this.#taken = 0
    for (let row = 0; row < this.rows; row++) if (this.used(row)) this.#link(row)
  }
}
