// The one source of whatever a mapping draws: HMAC-SHA256 under the key, over a label and what has been fixed so far.

import { createHmac } from 'node:crypto'

/** 32 bytes for each text; the same key gives the same ones, and nothing tells the key from them. */
export class Prf {
  readonly #key: Buffer
  readonly #known = new Map<string, Uint8Array>()

  constructor(key: Buffer) {
    this.#key = key
  }

  /** `label` keeps uses apart; `text` has a character for each byte or is plain ASCII. Remembered: nodes of a tree are shared. */
  bytes(label: string, text: string): Uint8Array {
    const message = `${label}\0${text}`
    let digest = this.#known.get(message)
    if (digest === undefined) {
      digest = this.once(message)
      this.#known.set(message, digest)
    }
    return digest
  }

  /** The same, not remembered. */
  once(message: string): Uint8Array {
    return createHmac('sha256', this.#key).update(message, 'latin1').digest()
  }
}

const CONSONANTS = 'bdfghjklmnprstvz'
const VOWELS = 'aiou'

/** Letters that can be said, five for two bytes (proquints): `lusabgutih`. */
export function spoken(bytes: Uint8Array, quints = 2): string {
  let text = ''
  for (let i = 0; i < quints; i++) {
    const word = (bytes[2 * i]! << 8) | bytes[2 * i + 1]!
    text += CONSONANTS[word >> 12]! + VOWELS[(word >> 10) & 3]! + CONSONANTS[(word >> 6) & 15]!
    text += VOWELS[(word >> 4) & 3]! + CONSONANTS[word & 15]!
  }
  return text
}
