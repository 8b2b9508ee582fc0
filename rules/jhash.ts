// Bob Jenkins' lookup3 for one to three words, as the kernel's jhash_1word() to jhash_3words() compute it.

const INITIAL = 0xdeadbeef

const rol = (w: number, bits: number): number => (w << bits) | (w >>> (32 - bits))

/** The last rounds over three words; unsigned. */
function final(a0: number, b0: number, c0: number): number {
  let [a, b, c] = [a0, b0, c0]
  c = ((c ^ b) - rol(b, 14)) | 0
  a = ((a ^ c) - rol(c, 11)) | 0
  b = ((b ^ a) - rol(a, 25)) | 0
  c = ((c ^ b) - rol(b, 16)) | 0
  a = ((a ^ c) - rol(c, 4)) | 0
  b = ((b ^ a) - rol(a, 14)) | 0
  c = ((c ^ b) - rol(b, 24)) | 0
  return c >>> 0
}

export const jhashWord = (word: number, seed: number): number => {
  const start = (seed + INITIAL + 4) | 0
  return final((word + start) | 0, start, start)
}

export const jhashWords2 = (a: number, b: number, seed: number): number => {
  const start = (seed + INITIAL + 8) | 0
  return final((a + start) | 0, (b + start) | 0, start)
}

export const jhashWords3 = (a: number, b: number, c: number, seed: number): number => {
  const start = (seed + INITIAL + 12) | 0
  return final((a + start) | 0, (b + start) | 0, (c + start) | 0)
}
