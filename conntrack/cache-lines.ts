// Typed arrays that begin where a cache line does, so that a record of 64 bytes costs one miss and not two.

/** Bytes of a cache line. */
const LINE = 64
/** How far into a line a large block of malloc() begins: 16 bytes behind the page that it got. */
const BLOCK = 16

/** 32-bit words of a line. */
export const LINE_WORDS = LINE / 4

/** Zeros; of a large block from the beginning of a line on. */
export const alignedWords = (count: number): Int32Array =>
  new Int32Array(new ArrayBuffer(count * 4 + LINE), LINE - BLOCK, count)

/** The same of doubles. */
export const alignedDoubles = (count: number): Float64Array =>
  new Float64Array(new ArrayBuffer(count * 8 + LINE), LINE - BLOCK, count)
