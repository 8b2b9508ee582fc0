// The options of conntrack 1.4.7: getopt_long with options that only -p makes known, which command takes which, and
// the template of a connection that they make.

import type { FlowTuple } from '../../conntrack/ctnetlink.ts'
import { Errno } from '../../conntrack/errno.ts'
import { SCTP_STATE_NAMES } from '../../conntrack/trackers/sctp.ts'
import { TCP_STATE_NAMES } from '../../conntrack/trackers/tcp-states.ts'
import type { Family } from '../../datapath/packet.ts'
import { plainStrtoul } from '../../rules/text/numbers.ts'
import { DCCP_STATES, long, protocolOf } from './conntrack-protocols.ts'
import { type Command, Complaint, type Long, OutputBit, type Protocol, type Wish } from './conntrack-wish.ts'
import {
  address,
  atoi16,
  atol,
  EVENT_WORDS,
  listOf,
  maskOf,
  OUTPUT_WORDS,
  portOf,
  splitPort,
  statusOf,
  tooLarge,
  word,
} from './conntrack-words.ts'

/** In the order in which what a command does not take is looked for. */
export const OPTIONS = [
  'src',
  'dst',
  'reply-src',
  'reply-dst',
  'protonum',
  'timeout',
  'status',
  'zero',
  'event-mask',
  'tuple-src',
  'tuple-dst',
  'mask-src',
  'mask-dst',
  'nat-range',
  'mark',
  'id',
  'family',
  'src-nat',
  'dst-nat',
  'output',
  'secmark',
  'buffer-size',
  'any-nat',
  'zone',
  'label',
  'label-add',
  'label-del',
  'orig-zone',
  'reply-zone',
] as const

/** For each option above: 0 refused, 1 needed, 2 taken, 3 needed in pairs. */
const TAKES: Readonly<Partial<Record<Command, string>>> = {
  list: '22222022000220202222202220022',
  create: '33331120000002200220000202022',
  update: '22222220000220222222000022200',
  delete: '22222220000220222222000220022',
  get: '33331000000000020002000020000',
  flush: '00000000000000002000000000000',
  event: '22222000200220202222222220022',
  help: '00002000000000000000000000000',
  'expect-list': '00000000000000002002000000000',
  'expect-create': '11221120011110000000000000000',
  'expect-delete': '11221000000000000000000000000',
  'expect-get': '11221000000000000000000000000',
  'expect-event': '00000000000000000002000000000',
  add: '33331120000002200220000202022',
}
const NOTHING = '0'.repeat(OPTIONS.length)
/** Without a command the tool reads the row before its table, whose last byte is neither. */
const UNSAID = `${NOTHING.slice(0, -1)} `

const LONG: readonly Long[] = [
  long('dump', 2, 'L'),
  long('create', 2, 'I'),
  long('add', 2, 'A'),
  long('delete', 2, 'D'),
  long('update', 2, 'U'),
  long('get', 2, 'G'),
  long('flush', 2, 'F'),
  long('event', 2, 'E'),
  long('counter', 2, 'C'),
  long('stats', 0, 'S'),
  long('version', 0, 'V'),
  long('help', 0, 'h'),
  long('orig-src', 1, 's'),
  long('src', 1, 's'),
  long('orig-dst', 1, 'd'),
  long('dst', 1, 'd'),
  long('reply-src', 1, 'r'),
  long('reply-dst', 1, 'q'),
  long('protonum', 1, 'p'),
  long('timeout', 1, 't'),
  long('status', 1, 'u'),
  long('zero', 0, 'z'),
  long('event-mask', 1, 'e'),
  long('tuple-src', 1, '['),
  long('tuple-dst', 1, ']'),
  long('mask-src', 1, '{'),
  long('mask-dst', 1, '}'),
  long('nat-range', 1, 'a'),
  long('mark', 1, 'm'),
  long('secmark', 1, 'c'),
  long('id', 2, 'i'),
  long('family', 1, 'f'),
  long('src-nat', 2, 'n'),
  long('dst-nat', 2, 'g'),
  long('output', 1, 'o'),
  long('buffer-size', 1, 'b'),
  long('any-nat', 2, 'j'),
  long('zone', 1, 'w'),
  long('label', 1, 'l'),
  long('label-add', 1, '<'),
  long('label-del', 2, '>'),
  long('orig-zone', 1, '('),
  long('reply-zone', 1, ')'),
]

const SHORT = ':L::I::U::D::G::E::F::A::hVs:d:r:q:p:t:u:e:a:z[:]:{:}:m:i:f:o:n::g::c:b:C::Sj::w:l:<:>::(:):'

const COMMANDS: Readonly<Record<string, readonly [Command, Command | null]>> = {
  L: ['list', 'expect-list'],
  I: ['create', 'expect-create'],
  D: ['delete', 'expect-delete'],
  G: ['get', 'expect-get'],
  F: ['flush', 'expect-flush'],
  E: ['event', 'expect-event'],
  V: ['version', 'version'],
  h: ['help', 'help'],
  C: ['count', 'expect-count'],
  S: ['stats', 'expect-stats'],
  U: ['update', null],
  A: ['add', null],
}
const LONG_OF: Readonly<Record<string, string>> = { U: 'update', A: 'add' }

/** Reads a command line; `outputs`: what -o has said before. Throws Complaint. */
export function parseOptions(argv: readonly string[], outputs = 0): Wish {
  const wish: Wish = {
    command: null,
    table: 'conntrack',
    given: new Set(),
    family: 0,
    flow: { orig: {}, reply: {} },
    expected: {},
    mask: {},
    mark: null,
    kernelMark: null,
    statusMask: 0,
    snat: null,
    dnat: null,
    outputs,
    events: 0,
    bufferSize: 0,
    protocol: null,
    left: Errno.None,
    warnings: '',
  }
  try {
    new Parser(argv, wish).run()
  } catch (error) {
    if (error instanceof Complaint && wish.warnings !== '') throw new WarnedComplaint(error, wish.warnings)
    throw error
  }
  return wish
}

/** A complaint before which something was said. */
export class WarnedComplaint extends Complaint {
  readonly warnings: string
  constructor(complaint: Complaint, warnings: string) {
    super(complaint.message, complaint.status)
    this.warnings = warnings
  }
}

class Parser {
  readonly #words: string[]
  readonly #wish: Wish
  /** The word that was read last. */
  #last = 'conntrack'
  #long: readonly Long[] = LONG
  /** Places of those options of the protocol that were given. A later -p reads them as its own. */
  readonly #own = new Set<number>()

  constructor(argv: readonly string[], wish: Wish) {
    this.#words = [...argv]
    this.#wish = wish
  }

  run(): void {
    // What getopt() has in front of the word that it is in: words that are no options come behind those it has read.
    let plain: string | null = null
    while (this.#words.length > 0) {
      const previous = this.#last
      const text = this.#shift()!
      if (text === '--') break
      if (text.startsWith('--')) this.#longOption(text)
      else if (text.startsWith('-') && text.length > 1) this.#cluster(text, plain ?? previous)
      else plain = text
    }
    this.#finish()
  }

  #shift(): string | null {
    const word = this.#words.shift() ?? null
    if (word !== null) this.#last = word
    return word
  }

  #longOption(text: string): void {
    const equals = text.indexOf('=')
    const name = text.slice(2, equals < 0 ? undefined : equals)
    const fitting = this.#long.filter((o) => o.name.startsWith(name))
    const option = fitting.find((o) => o.name === name) ?? fitting[0]
    const unknown = new Complaint(`unknown option \`${text}'`)
    if (option === undefined) throw unknown
    const clash = fitting.some((o) => o.key !== option.key || o.argument !== option.argument)
    if (option.name !== name && clash) throw unknown
    let value = equals < 0 ? null : text.slice(equals + 1)
    if (option.argument === 0 && value !== null) throw unknown
    if (option.argument === 1 && value === null) {
      value = this.#shift()
      if (value === null) throw new Complaint(`option \`${text}' requires an argument`)
    }
    this.#take(option.key, value)
  }

  #cluster(text: string, previous: string): void {
    for (let i = 1; i < text.length; i++) {
      const letter = text[i]!
      const last = i + 1 === text.length
      const at = letter === ':' || letter === ';' ? -1 : SHORT.indexOf(letter)
      if (at < 0) throw new Complaint(`unknown option \`${last ? text : previous}'`)
      if (SHORT[at + 1] !== ':') {
        // Where more letters follow, the next word is this one still, and no argument.
        this.#take(letter, last ? null : text)
        continue
      }
      let value: string | null = last ? null : text.slice(i + 1)
      if (value === null && SHORT[at + 2] !== ':') {
        value = this.#shift()
        if (value === null) throw new Complaint(`option \`${text}' requires an argument`)
      }
      this.#take(letter, value)
      return
    }
  }

  /** get_optional_arg: the next word, unless one was attached, which is lost. */
  #optional(attached: string | null): string | null {
    const next = this.#words[0]
    if (attached !== null || next === undefined || next[0] === '-' || next[0] === '!') return null
    return this.#shift()
  }

  #take(key: string, value: string | null): void {
    const wish = this.#wish
    const { flow } = wish
    const text = value ?? ''
    switch (key) {
      case 's':
        this.#address(key, text, 'src', flow.orig, 'src', true)
        return
      case 'd':
        this.#address(key, text, 'dst', flow.orig, 'dst', true)
        return
      case 'r':
        this.#address(key, text, 'reply-src', flow.reply, 'src', false)
        return
      case 'q':
        this.#address(key, text, 'reply-dst', flow.reply, 'dst', false)
        return
      case '[':
        this.#address(key, text, 'tuple-src', wish.expected, 'src', true)
        return
      case ']':
        this.#address(key, text, 'tuple-dst', wish.expected, 'dst', true)
        return
      case '{':
        this.#address(key, text, 'mask-src', wish.mask, 'src', false)
        return
      case '}':
        this.#address(key, text, 'mask-dst', wish.mask, 'dst', false)
        return
      case 'p': {
        wish.given.add('protonum')
        const protocol = protocolOf(text)
        wish.protocol = protocol
        this.#long = [...this.#long, ...protocol.long.map((o) => ({ ...o, key: placeOf(o, protocol) }))]
        flow.orig.protocol = protocol.number
        return
      }
      case 't':
        wish.given.add('timeout')
        flow.timeout = atol(text)
        return
      case 'u':
        wish.given.add('status')
        flow.status = statusOf(text, wish)
        if (wish.statusMask === 0) wish.statusMask = flow.status
        // The tool keeps the status where a mark stands that was given before.
        if (wish.mark !== null) wish.mark = { ...wish.mark, value: flow.status }
        return
      case 'e':
        wish.given.add('event-mask')
        wish.events |= listOf(text, EVENT_WORDS, wish)
        return
      case 'o':
        wish.given.add('output')
        wish.outputs |= listOf(text, OUTPUT_WORDS, wish)
        if ((wish.outputs & OutputBit.Labels) !== 0) this.#labelMap()
        if ((wish.outputs & OutputBit.Save) !== 0 && (wish.outputs & ~OutputBit.Save) !== 0)
          throw new Complaint('cannot combine save output with any other output type, use -o save only', 1)
        return
      case 'z':
        wish.given.add('zero')
        return
      case 'n':
      case 'g':
      case 'j':
        this.#nat(key, this.#optional(value))
        return
      case 'w':
        wish.given.add('zone')
        flow.zone = word(text) & 0xffff
        return
      case '(':
        wish.given.add('orig-zone')
        flow.origZone = word(text) & 0xffff
        return
      case ')':
        wish.given.add('reply-zone')
        flow.replyZone = word(text) & 0xffff
        return
      case 'i':
        wish.given.add('id')
        flow.id = word(text)
        if (tooLarge(text, 'strtoul')) wish.left = Errno.Range
        return
      case 'c':
        wish.given.add('secmark')
        flow.secmark = word(text)
        return
      case 'm': {
        wish.given.add('mark')
        const { end } = plainStrtoul(text, 0)
        const mask = text[end] === '/' ? word(text.slice(end + 1)) : 0xffffffff
        wish.mark = { value: word(text), mask }
        wish.kernelMark = wish.mark
        return
      }
      case 'l':
      case '<':
      case '>': {
        wish.given.add(key === 'l' ? 'label' : key === '<' ? 'label-add' : 'label-del')
        if (wish.given.has('label-add') && wish.given.has('label-del'))
          throw new Complaint('cannot use --label-add and --label-del at the same time', 1)
        const label = key === '>' ? this.#optional(value) : text
        this.#labelMap()
        if (label !== null) throw new Complaint(`unknown label '${label.split(',')[0]}'`)
        return
      }
      case 'a':
        wish.warnings += 'WARNING: ignoring -a, deprecated option.\n'
        return
      case 'f': {
        wish.given.add('family')
        const family = text.startsWith('ipv4') ? 4 : text.startsWith('ipv6') ? 6 : null
        if (family === null) throw new Complaint(`\`${text}' unsupported protocol`)
        this.#family(family)
        return
      }
      case 'b':
        wish.given.add('buffer-size')
        wish.bufferSize = atol(text)
        return
    }
    if (key in COMMANDS) this.#command(key, value)
    else this.#protocolOption(Number(key), text)
  }

  #command(key: string, value: string | null): void {
    const wish = this.#wish
    const text = this.#optional(value)
    const table =
      text === null
        ? 'conntrack'
        : (['expect', 'conntrack', 'dying', 'unconfirmed'] as const).find((name) => name.startsWith(text))
    if (table === undefined) throw new Complaint(`unknown type \`${text}'`)
    const other = table === 'dying' || table === 'unconfirmed'
    if (other && key !== 'L')
      throw new Complaint("Can't do that command with tables `dying' and `unconfirmed'")
    const command = COMMANDS[key]![table === 'expect' ? 1 : 0]
    if (command === null) throw new Complaint(`Can't do --${LONG_OF[key]} on expectations`)
    if (wish.command !== null) throw new Complaint('Invalid commands combination')
    wish.command = command
    wish.table = table
  }

  /** Differs from Linux: there is no connlabel.conf, so no label has a name; Debian ships none either. */
  #labelMap(): void {
    this.#wish.warnings += 'nfct_labelmap_new: No such file or directory\n'
    this.#wish.left = Errno.NoEntry
  }

  #family(family: Family): void {
    const wish = this.#wish
    if (wish.family === 0) wish.family = family
    else if (wish.family !== family) throw new Complaint('mismatched address family')
  }

  #address(
    key: string,
    text: string,
    option: string,
    side: FlowTuple,
    field: 'src' | 'dst',
    masked: boolean,
  ): void {
    const found = address(text)
    if (found === null) throw new Complaint(`Invalid IP address \`${text}'`)
    this.#family(found.family)
    if (found.length !== null && !masked)
      throw new Complaint(`CIDR notation unavailable for \`--${LONG.find((o) => o.key === key)!.name}'`)
    if (found.length === -1) throw new Complaint('Invalid netmask')
    const wish = this.#wish
    wish.given.add(option)
    side.family = found.family
    side[field] = found.words
    if (found.length === null || found.length === (found.family === 4 ? 32 : 128)) return
    wish.given.add(field === 'src' ? 'mask-src' : 'mask-dst')
    wish.mask.family = found.family
    wish.mask[field] = maskOf(found.length, found.family)
  }

  #nat(key: 'n' | 'g' | 'j', text: string | null): void {
    const wish = this.#wish
    wish.given.add({ n: 'src-nat', g: 'dst-nat', j: 'any-nat' }[key])
    if (text === null) return
    const [bare, port] = splitPort(text)
    const found = address(bare)
    if (found === null) throw new Complaint(`Invalid IP address \`${bare}'`)
    this.#family(found.family)
    if (found.length !== null)
      throw new Complaint(
        `CIDR notation unavailable for \`--${{ n: 'src-nat', g: 'dst-nat', j: 'any-nat' }[key]}'`,
      )
    const filter = { address: found.words, family: found.family, port }
    if (key !== 'g') wish.snat = filter
    if (key !== 'n') wish.dnat = filter
    wish.flow.orig.family = found.family
  }

  /** `place`: in the list of the protocol that made the option known; what it says there is for the last protocol to say. */
  #protocolOption(place: number, text: string): void {
    const wish = this.#wish
    const { flow, mask, expected } = wish
    const number = wish.protocol?.number ?? 0
    const key = wish.protocol?.names[place]?.[0]
    if (key === undefined) return
    this.#own.add(place)
    if (key !== 'state' && key !== 'role' && tooLarge(text, number === 47 ? 'strtoul' : 'atoi'))
      wish.left = Errno.Range
    switch (key) {
      case 'sport':
      case 'dport':
        flow.orig[key] = portOf(number, text)
        flow.orig.protocol = number
        return
      case 'reply-sport':
        flow.reply.sport = portOf(number, text)
        flow.reply.protocol = number
        return
      case 'reply-dport':
        flow.reply.dport = portOf(number, text)
        flow.reply.protocol = number
        return
      case 'mask-sport':
        mask.sport = portOf(number, text)
        mask.protocol = number
        return
      case 'mask-dport':
        mask.dport = portOf(number, text)
        mask.protocol = number
        return
      case 'tuple-sport':
        expected.sport = portOf(number, text)
        // The tool puts the port, byte-swapped, where the protocol belongs.
        expected.protocol = expected.sport >> 8
        return
      case 'tuple-dport':
        expected.dport = portOf(number, text)
        expected.protocol = expected.dport >> 8
        return
      case 'state': {
        const [names, title] =
          number === 6
            ? [TCP_STATE_NAMES as readonly string[], 'TCP']
            : number === 132
              ? [SCTP_STATE_NAMES.slice(0, 8) as readonly string[], 'SCTP']
              : [DCCP_STATES, 'DCCP']
        const state = number === 6 && text === 'LISTEN' ? 9 : names.indexOf(text)
        if (state < 0)
          throw new Complaint(`${title === 'DCCP' ? 'Unknown' : 'unknown'} ${title} state \`${text}'`)
        flow.state = state
        return
      }
      case 'role':
        if (text !== 'client' && text !== 'server') throw new Complaint(`Unknown DCCP role \`${text}'`)
        return
      case 'orig-vtag':
        flow.tags = [atol(text), flow.tags?.[1] ?? 0]
        return
      case 'reply-vtag':
        flow.tags = [flow.tags?.[0] ?? 0, atol(text)]
        return
      default:
        if (key === 'type') flow.icmpType = atol(text) & 0xff
        else if (key === 'code') flow.icmpCode = atol(text) & 0xff
        else flow.icmpId = atoi16(text)
        flow.orig.protocol = number
        if (flow.reply.family !== undefined) flow.reply.protocol = number
    }
  }

  #finish(): void {
    const wish = this.#wish
    const anyFamily: readonly (Command | null)[] = ['list', 'update', 'delete', 'get', 'flush', 'event']
    if (wish.family === 0 && !anyFamily.includes(wish.command)) wish.family = 4
    const { given } = wish
    if (given.has('any-nat') && (given.has('src-nat') || given.has('dst-nat')))
      throw new Complaint("cannot specify `--src-nat' or `--dst-nat' with `--any-nat'")
    matrix(
      OPTIONS.map((name) => [name, given.has(name)]),
      wish.command === null ? UNSAID : (TAKES[wish.command] ?? NOTHING),
      [
        ['src', 'dst'],
        ['reply-src', 'reply-dst'],
      ],
      ["you have to specify `--src' and `--dst'", "you have to specify `--reply-src' and `--reply-dst'"],
    )
    const { protocol, flow } = wish
    if (protocol?.name === 'unknown' && flow.reply.family !== undefined)
      flow.reply.protocol ??= protocol.number
    if (protocol === null || wish.command === 'help' || protocol.names.length === 0) return
    const { names, slots = names.length } = protocol
    matrix(
      Array.from({ length: slots }, (_, place) => [names[place]?.[1] ?? '(null)', this.#own.has(place)]),
      (protocol.takes[wish.command ?? 'version'] ?? '').padEnd(slots, '0'),
      [
        [protocol.names[0]![1], protocol.names[1]![1]],
        [protocol.names[2]![1], protocol.names[3]?.[1] ?? ''],
      ],
      protocol.pairs,
    )
    // The check of TCP's options asks for a state, and is told that there is none.
    if (protocol.number === 6 && flow.state === undefined) wish.left = Errno.NoData
  }
}

/** What getopt_long() returns for an option of a protocol: the same numbers for every protocol, from the first option on. */
const placeOf = (option: Long, protocol: Protocol): string =>
  String(protocol.names.findIndex(([key]) => key === option.key))

/** generic_opt_check: refuses what the command does not take, and asks for what it needs. */
function matrix(
  options: readonly (readonly [string, boolean])[],
  row: string,
  pairs: readonly (readonly [string, string])[],
  complaints: readonly [string, string] | null,
): void {
  for (const [i, [name, given]] of options.entries()) {
    if (!given && row[i] === '1')
      throw new Complaint(`You need to supply the \`--${name}' option for this command`)
    if (given && row[i] === '0') throw new Complaint(`Illegal option \`--${name}' with this command`)
  }
  if (!row.includes('3') || complaints === null) return
  const has = (name: string): boolean => options.some(([n, given]) => given && n === name)
  if (pairs.some(([a, b]) => has(a) && has(b))) return
  const half = pairs.findIndex(([a, b]) => has(a) || has(b))
  throw new Complaint(complaints[half === 1 ? 1 : 0])
}
