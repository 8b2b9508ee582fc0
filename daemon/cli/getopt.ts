// getopt_long(3) with its own messages, for the commands that leave errors to it.

export interface LongOption {
  readonly name: string
  readonly letter: string
  readonly argument: 'none' | 'required' | 'optional'
}

export interface Parsed {
  readonly options: readonly { readonly letter: string; readonly value: string | null }[]
  /** Words that are no options. */
  readonly rest: readonly string[]
  /** What getopt prints of the first mistake, with the line end; parsing stops there. */
  readonly error: string | null
}

/**
 * `takesNext`: letters of optional arguments that also take the following word, unless it is an option or `!`.
 * `goesOn`: mistakes become options `?` with the message as their value, and parsing goes on.
 */
export function getopt(
  argv: readonly string[],
  short: string,
  long: readonly LongOption[],
  program: string,
  takesNext = '',
  goesOn = false,
): Parsed {
  const options: { letter: string; value: string | null }[] = []
  const rest: string[] = []
  let at = 0
  const next = (letter: string): string | null => {
    const word = argv[at]
    if (!takesNext.includes(letter) || word === undefined || word[0] === '-' || word[0] === '!') return null
    at++
    return word
  }
  const fail = (message: string): Parsed | null => {
    const error = `${program}: ${message}\n`
    if (!goesOn) return { options, rest, error }
    options.push({ letter: '?', value: error })
    return null
  }
  while (at < argv.length) {
    const word = argv[at++]!
    if (word === '--') {
      rest.push(...argv.slice(at))
      break
    }
    if (word.length < 2 || word[0] !== '-') {
      rest.push(word)
      continue
    }
    if (word[1] === '-') {
      const equals = word.indexOf('=')
      const name = word.slice(2, equals < 0 ? undefined : equals)
      const fitting = long.filter((option) => option.name.startsWith(name))
      const option = fitting.find((o) => o.name === name) ?? fitting[0]
      let value = equals < 0 ? null : word.slice(equals + 1)
      let wrong: string | null = null
      if (option === undefined) wrong = `unrecognized option '${word}'`
      else if (option.name !== name && fitting.some((o) => o.letter !== option.letter))
        wrong = `option '${word}' is ambiguous; possibilities: ${fitting.map((o) => `'--${o.name}'`).join(' ')}`
      else if (option.argument === 'none' && value !== null)
        wrong = `option '--${option.name}' doesn't allow an argument`
      else if (option.argument === 'required' && value === null) {
        if (at >= argv.length) wrong = `option '--${option.name}' requires an argument`
        else value = argv[at++]!
      }
      if (option === undefined || wrong !== null) {
        const failed = fail(wrong!)
        if (failed !== null) return failed
        continue
      }
      options.push({ letter: option.letter, value: value ?? next(option.letter) })
      continue
    }
    for (let i = 1; i < word.length; i++) {
      const letter = word[i]!
      const spec = letter === ':' ? -1 : short.indexOf(letter)
      if (spec < 0) {
        const failed = fail(`invalid option -- '${letter}'`)
        if (failed !== null) return failed
        continue
      }
      if (short[spec + 1] !== ':') {
        options.push({ letter, value: i + 1 === word.length ? next(letter) : null })
        continue
      }
      let value: string | null = i + 1 < word.length ? word.slice(i + 1) : null
      if (value === null && short[spec + 2] !== ':') {
        if (at >= argv.length) {
          const failed = fail(`option requires an argument -- '${letter}'`)
          if (failed !== null) return failed
          break
        }
        value = argv[at++]!
      }
      options.push({ letter, value: value ?? next(letter) })
      break
    }
  }
  return { options, rest, error: null }
}
