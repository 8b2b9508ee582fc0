// The words of ipset 7.17: its commands and options, the lines of restore, and what it complains of (ipset.c, errcode.c of
// libipset).

import type { SetErrorCode } from '../../rules/sets/set-type.ts'

export const NAME = 'ipset v7.17: '
export const HINT = "Try `ipset help' for more information.\n"
/** MAX_CMDLINE_CHARS without the final 0: longer lines of restore are read in pieces. */
const MAX_LINE = 1023
/** MAX_ARGS: words of a line. */
export const MAX_WORDS = 32
export const MAX_TYPE_NAME = 31
/** IPSET_ERRORBUFLEN without the line end and the final 0. */
export const MAX_REPORT = 1022
export const PROMPT = 'ipset> '

/** The command is over: exit status and what stands on standard error. */
export class Stop extends Error {
  readonly code: number
  constructor(code: number, text: string) {
    super(text)
    this.code = code
  }
}

/** IPSET_PARAMETER_PROBLEM */
export const parameter = (text: string): Stop => new Stop(2, `${NAME}${text}\n${HINT}`)
/** What the kernel says of a message that lacks something. */
export const protocolError = (): Stop => problem('Kernel error received: ipset protocol error')
/** IPSET_OTHER_PROBLEM, or an error of the session. */
export const problem = (text: string): Stop => new Stop(1, `${NAME}${text}\n`)

export type Command =
  | 'create'
  | 'add'
  | 'del'
  | 'test'
  | 'destroy'
  | 'list'
  | 'save'
  | 'restore'
  | 'flush'
  | 'rename'
  | 'swap'
  | 'help'
  | 'version'
  | 'quit'

/** Names in the order in which a word is tried as the beginning of one; arguments: 2 both needed, 1 optional. */
export const COMMANDS: readonly (readonly [Command, readonly string[], 0 | 1 | 2])[] = [
  ['create', ['create', 'new', '-N'], 2],
  ['add', ['add', '-A'], 2],
  ['del', ['del', '-D'], 2],
  ['test', ['test', '-T'], 2],
  ['destroy', ['destroy', 'x', '-X'], 1],
  ['list', ['list', '-L'], 1],
  ['save', ['save', '-S'], 1],
  ['restore', ['restore', '-R'], 0],
  ['flush', ['flush', '-F'], 1],
  ['rename', ['rename', 'e', '-E'], 2],
  ['swap', ['swap', 'w', '-W'], 2],
  ['help', ['help', '-h', '-H'], 1],
  ['version', ['version', '-v', '-V'], 0],
  ['quit', ['quit'], 0],
]

export const ENVIRONMENT: readonly (readonly [string, string, boolean])[] = [
  ['-o', '-output', true],
  ['-s', '-sorted', false],
  ['-q', '-quiet', false],
  ['-r', '-resolve', false],
  ['-!', '-exist', false],
  ['-n', '-name', false],
  ['-t', '-terse', false],
  ['-f', '-file', true],
]

/** errcode.c; a code that reads differently with a command stands as `CODE command`. */
export const ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'The set with the given name does not exist',
  EEXIST: 'Set cannot be created: set with the same name already exists',
  ENOMEM: 'Kernel error received: Cannot allocate memory',
  EINVAL: 'Kernel error received: Invalid argument',
  INVALID_NETMASK: 'The value of the netmask parameter is invalid',
  INVALID_MARKMASK: 'The value of the markmask parameter is invalid',
  INVALID_FAMILY: 'Protocol family not supported by the set type',
  BUSY: 'Set cannot be destroyed: it is in use by a kernel component',
  'EXIST_SETNAME2 rename': 'Set cannot be renamed: a set with the new name already exists',
  'EXIST_SETNAME2 swap': 'Sets cannot be swapped: the second set does not exist',
  REFERENCED: 'Set cannot be renamed: it is in use by another system',
  TYPE_MISMATCH: 'The sets cannot be swapped: their type does not match',
  INVALID_CIDR: 'The value of the CIDR parameter of the IP address is invalid',
  TIMEOUT: 'Timeout cannot be used: set was created without timeout support',
  COUNTER: 'Packet/byte counters cannot be used: set was created without counter support',
  COMMENT: 'Comment cannot be used: set was created without comment support',
  SKBINFO: 'Skbinfo mapping cannot be used: set was created without skbinfo support',
  'EXIST add': "Element cannot be added to the set: it's already added",
  'EXIST del': "Element cannot be deleted from the set: it's not added",
  BITMAP_RANGE: 'Element is out of the range of the set',
  BITMAP_RANGE_SIZE: 'The range you specified exceeds the size limit of the set type',
  HASH_FULL: 'Hash is full, cannot add more elements',
  HASH_ELEM: 'Null-valued element, cannot be stored in a hash type of set',
  INVALID_PROTO: 'Invalid protocol specified',
  HASH_RANGE_UNSUPPORTED: 'Range is not supported in the "net" component of the element',
  HASH_RANGE: 'Invalid range, covers the whole address space',
  NAME: 'Set to be added/deleted/tested as element does not exist.',
  LOOP: 'Sets with list:set type cannot be added to the set.',
  BEFORE: 'No reference set specified.',
  NAMEREF: "The set to which you referred with 'before' or 'after' does not exist.",
  REF_EXIST: "The set to which you referred with 'before' or 'after' is not added to the set.",
}

export const errorText = (code: SetErrorCode, command: Command): string =>
  ERRORS[`${code} ${command}`] ?? ERRORS[code]!

/** ipset_match_cmd(): the beginning of a name, or of one with two dashes. */
export function begins(word: string, names: readonly string[]): boolean {
  const text = word.startsWith('--') ? word.slice(2) : word
  return text !== '' && text !== '-' && names.some((name) => name.startsWith(text))
}

export function* lines(text: string): Iterable<string> {
  for (let at = 0; at < text.length; ) {
    const newline = text.indexOf('\n', at)
    const end = Math.min(newline < 0 ? text.length : newline + 1, at + MAX_LINE)
    // fgets(3) reads on behind a NUL, and nobody looks there.
    yield text.slice(at, end).replace(/\0.*/s, '')
    at = end
  }
}

/**
 * build_argv(): words with double quotes, which may stand anywhere. A line that ends inside quotes is refused, unless
 * its last character is white: then only the word is lost.
 */
export function words(line: string): string[] {
  const out: string[] = []
  let word = ''
  let quoted = false
  for (let i = 0; i < line.length; i++) {
    if (out.length + 2 === MAX_WORDS) throw parameter('Line is too long to parse.')
    const c = line[i]!
    const last = i + 1 === line.length
    if (c === '"') {
      quoted = !quoted
      if (!last) continue
    } else if (c === ' ' || c === '\r' || c === '\n' || c === '\t') {
      if (quoted) {
        word += c
        continue
      }
    } else {
      word += c
      if (!last) continue
    }
    if (last && quoted) throw parameter('Missing close quote!')
    if (word === '') continue
    out.push(word)
    word = ''
  }
  return out
}
