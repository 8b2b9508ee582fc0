// Typed arrays that begin where a cache line does, so that a record of 64 bytes costs one miss and not two.

/** Bytes of a cache line. */
const LINE = 64
/** How far into a line a block of malloc() begins that has pages of its own: 16 bytes behind the first of them. */
const BLOCK = 16
/** Blocks that do not stay in the processor's caches by themselves. */
const LARGE = 0x100000
/** Above the most that malloc() ever takes from what was given back, and not from new pages (DEFAULT_MMAP_THRESHOLD_MAX). */
const PAGES_OF_ITS_OWN = 0x2100000

/** 32-bit words of a line. */
export const LINE_WORDS = LINE / 4
/** Doubles of a line. */
export const LINE_DOUBLES = LINE / 8

/** Untouched memory costs address space only. */
const block = (bytes: number): ArrayBuffer =>
  new ArrayBuffer(bytes < LARGE ? bytes + LINE : Math.max(bytes + LINE, PAGES_OF_ITS_OWN))

/** Zeros; of a large block from the beginning of a line on. */
export const alignedWords = (count: number): Int32Array =>
  new Int32Array(block(count * 4), LINE - BLOCK, count)

/** The same of doubles. */
export const alignedDoubles = (count: number): Float64Array =>
  new Float64Array(block(count * 8), LINE - BLOCK, count)

/** As alignedWords(), but as a rule only: malloc() may take it from what was given back. No larger than it is asked for. */
export const mostlyAlignedWords = (count: number): Int32Array =>
  new Int32Array(new ArrayBuffer(count * 4 + LINE), LINE - BLOCK, count)
