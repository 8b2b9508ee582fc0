// Bob Jenkins' lookup3 as the kernel has it (include/linux/jhash.h): for one to three words, and for arrays of four. Where
// it is used without a secret, the same addresses give the same choice here as there, and after every restart. Words are
// signed: beyond 2^31 a call that V8 does not inline would allocate an unsigned one.

const INITVAL = 0xdeadbeef

const rol = (w: number, bits: number): number => (w << bits) | (w >>> (32 - bits))

/** __jhash_final(): the last rounds over three words. */
function final(a0: number, b0: number, c0: number): number {
  let a = a0
  let b = b0
  let c = c0
  c = ((c ^ b) - rol(b, 14)) | 0
  a = ((a ^ c) - rol(c, 11)) | 0
  b = ((b ^ a) - rol(a, 25)) | 0
  c = ((c ^ b) - rol(b, 16)) | 0
  a = ((a ^ c) - rol(c, 4)) | 0
  b = ((b ^ a) - rol(a, 14)) | 0
  c = ((c ^ b) - rol(b, 24)) | 0
  return c
}

export const jhashWord = (word: number, seed: number): number => {
  const start = (seed + INITVAL + 4) | 0
  return final((word + start) | 0, start, start)
}

export const jhashWords2 = (a: number, b: number, seed: number): number => {
  const start = (seed + INITVAL + 8) | 0
  return final((a + start) | 0, (b + start) | 0, start)
}

export const jhashWords3 = (a: number, b: number, c: number, seed: number): number => {
  const start = (seed + INITVAL + 12) | 0
  return final((a + start) | 0, (b + start) | 0, (c + start) | 0)
}

/** jhash2 of four words, in the byte order of memory. */
export function jhash4(k0: number, k1: number, k2: number, k3: number, initval: number): number {
  let a = (INITVAL + 16 + initval) | 0
  let b = a
  let c = a
  a = (a + k0) | 0
  b = (b + k1) | 0
  c = (c + k2) | 0

  a = ((a - c) ^ rol(c, 4)) | 0
  c = (c + b) | 0
  b = ((b - a) ^ rol(a, 6)) | 0
  a = (a + c) | 0
  c = ((c - b) ^ rol(b, 8)) | 0
  b = (b + a) | 0
  a = ((a - c) ^ rol(c, 16)) | 0
  c = (c + b) | 0
  b = ((b - a) ^ rol(a, 19)) | 0
  a = (a + c) | 0
  c = ((c - b) ^ rol(b, 4)) | 0
  b = (b + a) | 0

  return final((a + k3) | 0, b, c)
}

/** A word as a little-endian machine reads it from network order; its own inverse. */
export function swap32(w: number): number {
  return ((w & 0xff) << 24) | ((w & 0xff00) << 8) | ((w >>> 8) & 0xff00) | (w >>> 24)
}

/** reciprocal_scale: the high 32 bits of value * count, both taken as unsigned; as a signed word. */
export function scale(value: number, count: number): number {
  const vh = value >>> 16
  const vl = value & 0xffff
  const ch = count >>> 16
  const cl = count & 0xffff
  const middle = vh * cl + Math.floor((vl * cl) / 0x10000)
  return (vh * ch + Math.floor((middle + vl * ch) / 0x10000)) | 0
}
