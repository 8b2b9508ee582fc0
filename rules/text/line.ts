// Lines of an iptables-save file into words, as iptables-restore cuts them: blanks part words, double quotes hold
// them together, a backslash inside quotes takes the next character as it is. A closing quote ends the word.

/** Longest word, and most words in a line, that iptables-restore takes. */
const MAX_WORD = 1023
const MAX_WORDS = 254
/** Its line buffer: longer lines are read as several. */
const MAX_LINE = 10239

export class LineError extends Error {}

/**
 * Appends the words of `line` from `from` on to `words`; `columns`, if given, gets where each starts (from 1),
 * `quoted` which of them ended with a quote. `line` still has its line end: inside an open quote it belongs to the word.
 */
export function splitWords(
  line: string,
  from: number,
  words: string[],
  columns?: number[],
  quoted?: boolean[],
): void {
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
      quoted?.push(false)
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
      quoted?.push(closed)
    }
  }
}

function push(words: string[], word: string): void {
  if (word.length > MAX_WORD) throw new LineError('Parameter too long!')
  if (words.length >= MAX_WORDS) throw new LineError('Parser cannot handle more arguments')
  words.push(word)
}

/** One past the line at `from`, its line end included: as much as fgets() gives at once. */
export function lineEnd(text: string, from: number): number {
  const newline = text.indexOf('\n', from)
  const end = newline < 0 ? text.length : newline + 1
  return end - from > MAX_LINE ? from + MAX_LINE : end
}

/** Lines of a text, each with its line end if it has one, as they are seen. */
export function* lines(text: string): Generator<string> {
  for (let at = 0; at < text.length; ) {
    const end = lineEnd(text, at)
    yield beforeZero(text.slice(at, end))
    at = end
  }
}

/** What is seen of a line: C's strings end at a byte 0. */
export function beforeZero(line: string): string {
  const zero = line.indexOf('\0')
  return zero < 0 ? line : line.slice(0, zero)
}

/** strtok() by blanks. */
export function fields(text: string): string[] {
  const found: string[] = []
  let from = -1
  for (let at = 0; at <= text.length; at++) {
    const c = at < text.length ? text.charCodeAt(at) : 32
    if (c !== 32 && c !== 9 && c !== 10) {
      if (from < 0) from = at
    } else if (from >= 0) {
      found.push(text.slice(from, at))
      from = -1
    }
  }
  return found
}

/** Counters in front of a rule, and where the rule stands behind them. */
export interface RuleCounters {
  readonly packets: string
  readonly bytes: string
  readonly from: number
  /** One past the rule: what strtok() cut off ends the line. */
  readonly end: number
}

/** `[packets:bytes]` at the start of a line (tokenize_rule_counters), or what is amiss: `]` or `:`. */
export function ruleCounters(line: string): RuleCounters | ']' | ':' {
  const close = line.indexOf(']')
  if (close < 0) return ']'
  const start = skip(line, 1, ':')
  if (start === line.length) return ':'
  const colon = line.indexOf(':', start)
  const second = colon < 0 ? line.length : skip(line, colon + 1, ']')
  if (second === line.length) return ']'
  const found = line.indexOf(']', second)
  const stop = found < 0 ? line.length : found
  const cuts = [colon, stop].filter((cut) => cut > close)
  return {
    packets: line.slice(start, colon),
    bytes: line.slice(second, stop),
    from: close + 1,
    end: Math.min(line.length, ...cuts),
  }
}

/** Index of the first character from `from` on that is not `c`. */
function skip(text: string, from: number, c: string): number {
  while (text[from] === c) from++
  return from
}

const scratch = Buffer.alloc(256)

/** A copy of a string that was cut from a longer one, so that it does not keep the whole text alive. */
export function own(text: string): string {
  // What is this short V8 copies by itself.
  if (text.length < 13) return text
  if (text.length > scratch.length) return Buffer.from(text, 'latin1').toString('latin1')
  scratch.write(text, 'latin1')
  return scratch.toString('latin1', 0, text.length)
}
