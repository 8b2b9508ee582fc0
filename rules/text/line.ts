// Lines of an iptables-save file into words, as iptables-restore cuts them: blanks part words, double quotes hold
// them together, a backslash inside quotes takes the next character as it is. A closing quote ends the word.

/** Longest word, and most words in a line, that iptables-restore takes. */
const MAX_WORD = 1023
const MAX_WORDS = 254
/** Its line buffer: longer lines are read as several. */
const MAX_LINE = 10239

export class LineError extends Error {}

/**
 * Appends the words of `line` from `from` on to `words`; `columns`, if given, gets where each starts (from 1).
 * `line` still has its line end: inside an open quote it belongs to the word.
 */
export function splitWords(line: string, from: number, words: string[], columns?: number[]): void {
  const end = line.length
  let at = from
  while (at < end) {
    // Fast: a plain word up to the next blank.
    let c = line.charCodeAt(at)
    if (c === 32 || c === 9 || c === 10) {
      at++
      continue
    }
    const start = at
    while (c !== 34 && c !== 32 && c !== 9 && c !== 10 && ++at < end) c = line.charCodeAt(at)
    if (at === end || c !== 34) {
      push(words, line.slice(start, at))
      columns?.push(start + 1)
      continue
    }
    let word = line.slice(start, at)
    let closed = false
    let run = ++at
    for (; at < end; at++) {
      c = line.charCodeAt(at)
      if (c === 34) {
        closed = true
        break
      }
      if (c === 92) {
        word += line.slice(run, at)
        run = ++at
      }
    }
    word += line.slice(run, Math.min(at, end))
    at++
    if (closed || word !== '') {
      push(words, word)
      columns?.push(start + 1)
    }
  }
}

function push(words: string[], word: string): void {
  if (word.length > MAX_WORD / 4 && Buffer.byteLength(word) > MAX_WORD)
    throw new LineError('Parameter too long!')
  if (words.length >= MAX_WORDS) throw new LineError('Parser cannot handle more arguments')
  words.push(word)
}

/** Lines of a text, each with its line end if it has one, as fgets() gives them. */
export function* lines(text: string): Generator<string> {
  let at = 0
  while (at < text.length) {
    const newline = text.indexOf('\n', at)
    let end = newline < 0 ? text.length : newline + 1
    if (end - at > MAX_LINE) end = at + MAX_LINE
    yield text.slice(at, end)
    at = end
  }
}
