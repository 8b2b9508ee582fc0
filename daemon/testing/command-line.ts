// A command line into words, as a shell cuts it: blanks part words, single and double quotes hold them together, a
// backslash takes the next character as it is. Nothing is expanded.

import { CommandError, ExitCode } from '../errors.ts'

/** Throws CommandError for a quote that is not closed. */
export function splitCommand(line: string): string[] {
  const words: string[] = []
  let word: string | null = null
  let quote = ''
  for (let i = 0; i < line.length; i++) {
    const c = line[i]!
    if (quote !== '') {
      if (c === quote) quote = ''
      else if (c === '\\' && quote === '"' && i + 1 < line.length) word += line[++i]!
      else word += c
    } else if (c === '"' || c === "'") {
      quote = c
      word ??= ''
    } else if (/\s/.test(c)) {
      if (word !== null) words.push(word)
      word = null
    } else word = (word ?? '') + (c === '\\' && i + 1 < line.length ? line[++i]! : c)
  }
  if (quote !== '') throw new CommandError(`${line}: a ${quote} is not closed`, ExitCode.Unusable)
  if (word !== null) words.push(word)
  return words
}
