// Files of `conntrack -R`: command lines without the program's name.

import { parseOptions } from './conntrack-options.ts'
import { Complaint, type Wish } from './conntrack-wish.ts'

/** Every line, before any is done. `warn` hears what each says on standard error. */
export function wishesOf(
  text: string,
  warn: (warnings: string) => void,
): { readonly wishes: readonly Wish[]; readonly outputs: number } {
  const wishes: Wish[] = []
  let outputs = 0
  for (const line of text.split(/(?<=\n)/)) {
    // fgets(3) reads on behind a NUL, and nobody looks there.
    const bare = line.replace(/^[ \t]+|\0.*/gs, '')
    if (bare === '' || bare === '\n' || bare.startsWith('#')) continue
    // What -o says holds for all lines, those before too.
    const wish = parseOptions(words(bare), outputs)
    outputs = wish.outputs
    warn(wish.warnings)
    wishes.push(wish)
  }
  for (const { command } of wishes)
    if (!['create', 'add', 'update', 'delete', 'flush'].includes(command ?? ''))
      throw new Complaint(
        `Cannot use command \`${NOT_IN_FILES[command ?? ''] ?? 'unknown'}' with --load-file`,
      )
  return { wishes, outputs }
}

const NOT_IN_FILES: Readonly<Record<string, string>> = {
  list: '-L',
  get: '-G',
  event: '-E',
  version: '-V',
  help: '-h',
  'expect-list': '-L expect',
  'expect-create': '-C expect',
  'expect-delete': '-D expect',
  'expect-get': '-G expect',
  'expect-flush': '-F expect',
  'expect-event': '-E expect',
  count: '-C',
  'expect-count': '-C expect',
  stats: '-S',
  'expect-stats': '-S expect',
}

const LONGEST_WORD = 1023

/** MAX_ARGC without the name of the program and the end. */
const MOST_WORDS = 253

/** Words of a line: parted by white space, but for what stands in double quotes, with which a word ends. */
function words(line: string): string[] {
  const out: string[] = []
  let word = ''
  let quoted = false
  let escaped = false
  const add = (): void => {
    if (out.length >= MOST_WORDS) throw new Complaint('too many arguments')
    out.push(word)
    word = ''
  }
  const more = (letter: string): void => {
    word += letter
    if (word.length > LONGEST_WORD) throw new Complaint('Parameter too long!')
  }
  for (const letter of line) {
    if (quoted && !escaped && letter === '\\') escaped = true
    else if (quoted && (escaped || letter !== '"')) {
      escaped = false
      more(letter)
    } else if (letter === '"') {
      if (quoted) add()
      quoted = !quoted
    } else if (/[ \t\n]/.test(letter)) {
      if (word !== '') add()
    } else more(letter)
  }
  if (word !== '') add()
  return out
}
