// The tools know no encoding: their strings are bytes, a character for each. People and files want the text.

/** The bytes of a tool's output. */
export const bytesOf = (text: string): Buffer =>
  /^[\0-\xff]*$/.test(text) ? Buffer.from(text, 'latin1') : Buffer.from(text)

/** Bytes as people read them: what is UTF-8 as its characters. */
export const textOf = (bytes: string): string =>
  /^[\0-\x7f]*$/.test(bytes) ? bytes : bytesOf(bytes).toString('utf8')
