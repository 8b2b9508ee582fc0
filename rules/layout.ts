// How the data of an extension stand in the memory of the tools, for what they compare byte by byte (check-mask.ts).

/** A value with its place. Numbers are in the machine's order; anything but numbers and bytes is compared whole. */
export type Field = readonly [at: number, length: number, value: unknown]

/** Of the last revision's structure, as ip6tables of 1.8.9 has it on 64 bits. */
export interface Layout<D> {
  /** Bytes, aligned to 8 (XT_ALIGN of xtables_match.size). */
  readonly size: number
  /** Bytes that are not the kernel's own (userspacesize); absent: all. */
  readonly own?: number
  /** Absent: the data are compared whole. */
  fields?(data: D): Field[]
}

/** Of extensions that have none: eight bytes, compared whole. */
export const PLAIN_LAYOUT: Layout<unknown> = { size: 8 }

/** A string in an array of char, up to its end. */
export const textFields = (at: number, value: string): Field[] =>
  [...value, '\0'].map((letter, i): Field => [at + i, 1, letter.charCodeAt(0)])
