// The options of conntrack 1.4.7: getopt_long with options that only -p makes known, which command takes which, and
// the template of a connection that they make.

import type { Flow, FlowTuple, Words } from '../../conntrack/ctnetlink.ts'
import { Status } from '../../conntrack/table.ts'
import { SCTP_STATE_NAMES } from '../../conntrack/trackers/sctp.ts'
import { TCP_STATE_NAMES } from '../../conntrack/trackers/tcp.ts'
import type { Family } from '../../datapath/packet.ts'
import { parseAddress } from '../../datapath/wire/address.ts'

/** Ends the command with a complaint, as exit_error() does. `status` 2: followed by the hint. */
export class Complaint extends Error {
  readonly status: 1 | 2
  constructor(message: string, status: 1 | 2 = 2) {
    super(message)
    this.status = status
  }
}

export type Command =
  | 'list'
  | 'create'
  | 'update'
  | 'delete'
  | 'get'
  | 'flush'
  | 'event'
  | 'version'
  | 'help'
  | 'expect-list'
  | 'expect-create'
  | 'expect-delete'
  | 'expect-get'
  | 'expect-flush'
  | 'expect-event'
  | 'count'
  | 'expect-count'
  | 'stats'
  | 'expect-stats'
  | 'add'

export type CtTable = 'conntrack' | 'expect' | 'dying' | 'unconfirmed'

/** What -o asks for. */
export const OutputBit = {
  Xml: 1,
  Extended: 2,
  Timestamp: 4,
  Id: 8,
  KernelTimes: 16,
  Labels: 32,
  Save: 64,
} as const
/** What -e asks for. */
export const EventBit = { New: 1, Update: 2, Destroy: 4 } as const

export interface NatFilter {
  readonly address: Words
  readonly family: Family
  readonly port: number | null
}

/** A command as it was typed. */
export interface Wish {
  command: Command | null
  table: CtTable
  /** Names of the options given, as OPTIONS has them. */
  readonly given: Set<string>
  family: Family | 0
  /** Everything asked of, or for, a connection. */
  readonly flow: Flow
  /** Of an expectation: its tuple and mask. */
  readonly expected: FlowTuple
  readonly mask: FlowTuple
  /** What the tool sets, or compares itself. */
  mark: { readonly value: number; readonly mask: number } | null
  /** What the dump is asked for. */
  kernelMark: { readonly value: number; readonly mask: number } | null
  /** For the kernel's filter of -L. */
  statusMask: number
  snat: NatFilter | null
  dnat: NatFilter | null
  outputs: number
  events: number
  bufferSize: number
  protocol: Protocol | null
  /** What was said on standard error meanwhile. */
  warnings: string
}

/** In the order in which what a command does not take is looked for. */
const OPTIONS = [
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

interface Long {
  readonly name: string
  /** 0 none, 1 required, 2 optional. */
  readonly argument: 0 | 1 | 2
  readonly key: string
}

const long = (name: string, argument: 0 | 1 | 2, key: string): Long => ({ name, argument, key })

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

/** What options of one transport protocol do. */
type Key =
  | 'sport'
  | 'dport'
  | 'reply-sport'
  | 'reply-dport'
  | 'mask-sport'
  | 'mask-dport'
  | 'state'
  | 'tuple-sport'
  | 'tuple-dport'
  | 'orig-vtag'
  | 'reply-vtag'
  | 'role'
  | 'type'
  | 'code'
  | 'id'

export interface Protocol {
  readonly name: string
  readonly number: number
  readonly long: readonly Long[]
  /** Names as complaints have them, in their order. */
  readonly names: readonly (readonly [Key, string])[]
  readonly takes: Readonly<Partial<Record<Command, string>>>
  /** Complaints about half a pair. */
  readonly pairs: readonly [string, string] | null
  readonly help: string
}

const PORT_LONG: readonly Long[] = [
  long('orig-port-src', 1, 'sport'),
  long('sport', 1, 'sport'),
  long('orig-port-dst', 1, 'dport'),
  long('dport', 1, 'dport'),
  long('reply-port-src', 1, 'reply-sport'),
  long('reply-port-dst', 1, 'reply-dport'),
  long('mask-port-src', 1, 'mask-sport'),
  long('mask-port-dst', 1, 'mask-dport'),
  long('tuple-port-src', 1, 'tuple-sport'),
  long('tuple-port-dst', 1, 'tuple-dport'),
]
const PORT_NAMES: readonly (readonly [Key, string])[] = [
  ['sport', 'sport'],
  ['dport', 'dport'],
  ['reply-sport', 'reply-port-src'],
  ['reply-dport', 'reply-port-dst'],
  ['mask-sport', 'mask-port-src'],
  ['mask-dport', 'mask-port-dst'],
]
const TUPLE_NAMES: readonly (readonly [Key, string])[] = [
  ['tuple-sport', 'tuple-port-src'],
  ['tuple-dport', 'tuple-port-dst'],
]
const PORT_HELP = ['orig', 'reply', 'mask', 'tuple']
  .map((side) => {
    const meaning = { orig: 'original', reply: 'reply', mask: 'mask', tuple: 'expectation tuple' }[side]!
    const [from, to] = side === 'tuple' ? ['src', 'dst'] : ['source', 'destination']
    // The tool's own help has the second name of the last pair wrong.
    return `  --${side}-port-src\t\t${meaning} ${from} port\n  --${side}-port-${side === 'tuple' ? 'src' : 'dst'}\t\t${meaning} ${to} port\n`
  })
  .join('')
const PORT_PAIRS = [
  "you have to specify `--sport' and `--dport'",
  "you have to specify `--reply-src-port' and `--reply-dst-port'",
] as const

/** Rows of `takes`: -L, -E and -D; -I and -A; -U; -G; expectations. */
function takes(rows: {
  list: string
  create: string
  update?: string
  get: string
  expectCreate: string
  expectGet: string
}): Partial<Record<Command, string>> {
  return {
    list: rows.list,
    delete: rows.list,
    event: rows.list,
    update: rows.update ?? rows.list,
    create: rows.create,
    add: rows.create,
    get: rows.get,
    'expect-create': rows.expectCreate,
    'expect-delete': rows.expectGet,
    'expect-get': rows.expectGet,
  }
}

const UDP_TAKES = takes({
  list: '22220000',
  create: '33330000',
  get: '33330000',
  expectCreate: '11001111',
  expectGet: '11110000',
})

const icmp = (name: string, number: number): Protocol => ({
  name,
  number,
  long: [long(`${name}-type`, 1, 'type'), long(`${name}-code`, 1, 'code'), long(`${name}-id`, 1, 'id')],
  names: [
    ['type', `${name}-type`],
    ['code', `${name}-code`],
    ['id', `${name}-id`],
  ],
  takes: takes({ list: '222', create: '112', get: '112', expectCreate: '000', expectGet: '000' }),
  pairs: null,
  help: `  --${name}-type\t\t\t${name} type\n  --${name}-code\t\t\t${name} code\n  --${name}-id\t\t\t${name} id\n`,
})

const ported = (name: string, number: number): Protocol => ({
  name,
  number,
  long: PORT_LONG,
  names: [...PORT_NAMES, ...TUPLE_NAMES],
  takes: UDP_TAKES,
  pairs: PORT_PAIRS,
  help: PORT_HELP,
})

const KEY_LONG = [
  ...PORT_LONG.filter((o) => o.name.includes('port-')).map((o) => ({
    ...o,
    name: o.name.replace('port', 'key'),
  })),
  long('srckey', 1, 'sport'),
  long('dstkey', 1, 'dport'),
]

const PROTOCOLS: readonly Protocol[] = [
  {
    name: 'tcp',
    number: 6,
    long: [...PORT_LONG, long('state', 1, 'state')],
    names: [...PORT_NAMES, ['state', 'state'], ...TUPLE_NAMES],
    takes: takes({
      list: '222200200',
      create: '333300100',
      get: '333300200',
      expectCreate: '110011011',
      expectGet: '111100000',
    }),
    pairs: PORT_PAIRS,
    help: `${PORT_HELP}  --state\t\t\tTCP state, fe. ESTABLISHED\n`,
  },
  ported('udp', 17),
  ported('udplite', 136),
  {
    name: 'sctp',
    number: 132,
    long: [
      ...PORT_LONG,
      long('state', 1, 'state'),
      long('orig-vtag', 1, 'orig-vtag'),
      long('reply-vtag', 1, 'reply-vtag'),
    ],
    names: [
      ...PORT_NAMES,
      ['state', 'state'],
      ...TUPLE_NAMES,
      ['orig-vtag', 'orig-vtag'],
      ['reply-vtag', 'reply-vtag'],
    ],
    takes: takes({
      list: '22220020000',
      create: '33330010011',
      update: '22220020022',
      get: '33330020022',
      expectCreate: '11001101111',
      expectGet: '11110000000',
    }),
    pairs: PORT_PAIRS,
    help: `${PORT_HELP}  --state\t\t\tSCTP state, fe. ESTABLISHED\n  --orig-vtag\t\toriginal verification tag\n  --reply-vtag\t\treply verification tag\n`,
  },
  {
    name: 'dccp',
    number: 33,
    long: [...PORT_LONG, long('state', 1, 'state'), long('role', 1, 'role')],
    names: [...PORT_NAMES, ['state', 'state'], ...TUPLE_NAMES, ['role', 'role']],
    takes: takes({
      list: '2222002000',
      create: '3333001001',
      get: '3333002000',
      expectCreate: '1100110110',
      expectGet: '1111000000',
    }),
    pairs: [PORT_PAIRS[0], "you have to specify `--reply-port-src' and `--report-port-dst'"],
    help: `${PORT_HELP}  --state\t\t\tDCCP state, fe. RESPOND\n`,
  },
  icmp('icmp', 1),
  icmp('icmpv6', 58),
  {
    name: 'gre',
    number: 47,
    long: KEY_LONG,
    names: [
      ['sport', 'srckey'],
      ['dport', 'dstkey'],
      ['reply-sport', 'reply-key-src'],
      ['reply-dport', 'reply-key-dst'],
      ['mask-sport', 'mask-key-src'],
      ['mask-dport', 'mask-key-dst'],
      ['tuple-sport', 'tuple-key-src'],
      ['tuple-dport', 'tuple-key-dst'],
    ],
    takes: UDP_TAKES,
    pairs: [
      "you have to specify `--srckey' and `--dstkey'",
      "you have to specify `--reply-src-key' and `--reply-dst-key'",
    ],
    help: PORT_HELP.replaceAll('-port-', '-key-').replaceAll(' port\n', ' key\n'),
  },
]

const DCCP_STATES = 'NONE REQUEST RESPOND PARTOPEN OPEN CLOSEREQ CLOSING TIMEWAIT IGNORE INVALID'.split(' ')

/** Names of /etc/protocols that have no options of their own, as Debian's netbase knows them. */
const OTHERS: Readonly<Record<string, number>> = {
  ip: 0,
  hopopt: 0,
  igmp: 2,
  ggp: 3,
  ipencap: 4,
  st: 5,
  egp: 8,
  igp: 9,
  pup: 12,
  hmp: 20,
  'xns-idp': 22,
  rdp: 27,
  'iso-tp4': 29,
  xtp: 36,
  ddp: 37,
  'idpr-cmtp': 38,
  ipv6: 41,
  'ipv6-route': 43,
  'ipv6-frag': 44,
  idrp: 45,
  rsvp: 46,
  esp: 50,
  'ipsec-esp': 50,
  ah: 51,
  'ipsec-ah': 51,
  skip: 57,
  'ipv6-icmp': 58,
  'ipv6-nonxt': 59,
  'ipv6-opts': 60,
  rspf: 73,
  vmtp: 81,
  eigrp: 88,
  ospf: 89,
  'ax.25': 93,
  ipip: 94,
  etherip: 97,
  encap: 98,
  pim: 103,
  ipcomp: 108,
  vrrp: 112,
  l2tp: 115,
  isis: 124,
  fc: 133,
  'mobility-header': 135,
  'mpls-in-ip': 137,
  manet: 138,
  hip: 139,
  shim6: 140,
  wesp: 141,
  rohc: 142,
}

function protocolOf(text: string): Protocol {
  const known = PROTOCOLS.find((p) => p.name === text.toLowerCase())
  if (known !== undefined) return known
  const number = OTHERS[text] ?? numeral(text)
  if (number === null || number > 255) throw new Complaint(`\`${text}' unsupported protocol`)
  const named = OTHERS[text] === undefined ? PROTOCOLS.find((p) => p.number === number) : undefined
  return (
    named ?? {
      name: 'unknown',
      number,
      long: [],
      names: [],
      takes: {},
      pairs: null,
      help: '  no options (unsupported)\n',
    }
  )
}

/** strtoul(3) with base 0 over the whole text; null if something else stands there. */
function numeral(text: string): number | null {
  if (!/^\s*[+-]?(0x[0-9a-f]+|\d+)$/i.test(text)) return null
  const [value, end] = strtoul(text)
  return end === text.length ? value : null
}

/** strtoul(3) with base 0: the number, wrapped to 64 bits when negative, and where it ended. */
function strtoul(text: string): [number, number] {
  const found = /^\s*([+-]?)(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)/i.exec(text)
  if (found === null) return [0, 0]
  const digits = found[2]!
  let value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits)
  if (found[1] === '-') value = -value
  return [Number(value >= 2n ** 64n ? 2n ** 64n - 1n : BigInt.asUintN(64, value)), found[0].length]
}

/** The low 32 bits of strtoul(3). */
function word(text: string): number {
  const found = /^\s*([+-]?)(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)/i.exec(text)
  if (found === null) return 0
  const digits = found[2]!
  let value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits)
  if (value >= 2n ** 64n) value = 2n ** 64n - 1n
  return Number(BigInt.asUintN(32, found[1] === '-' ? -value : value))
}

/** atol(3), as 32 bits. */
function atol(text: string): number {
  const found = /^\s*([+-]?)(\d+)/.exec(text)
  if (found === null) return 0
  let value = BigInt(found[2]!)
  const most = 2n ** 63n - 1n
  if (value > most) value = most
  return Number(BigInt.asUintN(32, found[1] === '-' ? -value : value))
}

/** htons(atoi(...)): 16 bits. */
const atoi16 = (text: string): number => atol(text) & 0xffff

/** inet_aton(3): one to four parts, decimal, octal or hexadecimal; the last fills what is left; then white space. */
function inetAton(text: string): Words | null {
  const parts = (/^([^\s]*)(\s.*)?$/s.exec(text)?.[1] ?? '').split('.')
  if (parts.length > 4) return null
  let value = 0
  for (const [i, part] of parts.entries()) {
    if (!/^(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)$/i.test(part)) return null
    const number = /^0[0-7]+$/.test(part) ? Number.parseInt(part, 8) : Number(part)
    const last = i === parts.length - 1
    if (number >= (last ? 2 ** (8 * (4 - i)) : 256)) return null
    value += last ? number : number * 2 ** (8 * (3 - i))
  }
  return [value | 0, 0, 0, 0]
}

interface Address {
  readonly family: Family
  readonly words: Words
  /** null none, -1 nonsense. */
  readonly length: number | null
}

function address(text: string): Address | null {
  const cut = text.slice(0, 45)
  const slash = cut.indexOf('/')
  const bare = slash < 0 ? cut : cut.slice(0, slash)
  const v4 = inetAton(bare)
  const words = v4 ?? (bare.includes(':') ? parseAddress(6, bare) : null)
  if (words === null) return null
  const family: Family = v4 === null ? 6 : 4
  if (slash < 0) return { family, words, length: null }
  const tail = cut.slice(slash + 1)
  // strtol(3) of nothing is 0.
  const value = tail === '' ? 0 : /^\s*[+-]?\d+$/.test(tail) ? Number(tail) : -1
  return { family, words, length: value < 0 || value > (family === 4 ? 32 : 128) ? -1 : value }
}

function maskOf(length: number, family: Family): Words {
  const part = (i: number): number => {
    const bits = Math.min(Math.max(length - 32 * i, 0), 32)
    return bits === 0 ? 0 : -1 << (32 - bits)
  }
  return family === 4 ? [part(0), 0, 0, 0] : [part(0), part(1), part(2), part(3)]
}

const STATUS_WORDS: readonly (readonly [string, number])[] = [
  ['ASSURED', Status.Assured],
  ['SEEN_REPLY', Status.SeenReply],
  ['UNSET', 0],
  ['FIXED_TIMEOUT', Status.FixedTimeout],
  ['EXPECTED', Status.Expected],
  ['OFFLOAD', Status.Offload],
  ['HW_OFFLOAD', 1 << 15],
]
const EVENT_WORDS: readonly (readonly [string, number])[] = [
  ['ALL', 7],
  ['NEW', EventBit.New],
  ['UPDATES', EventBit.Update],
  ['DESTROY', EventBit.Destroy],
]
const OUTPUT_WORDS: readonly (readonly [string, number])[] = [
  ['xml', OutputBit.Xml],
  ['extended', OutputBit.Extended],
  ['timestamp', OutputBit.Timestamp],
  ['id', OutputBit.Id],
  ['ktimestamp', OutputBit.KernelTimes],
  ['labels', OutputBit.Labels],
  ['userspace', 0],
  ['save', OutputBit.Save],
]

/** One word of a list: any beginning will do (strncasecmp with the length given). null: nothing fits. */
function oneOf(text: string, words: readonly (readonly [string, number])[], wish: Wish): number | null {
  const begins = (whole: string): boolean => whole.toLowerCase().startsWith(text.toLowerCase())
  for (const [name, instead] of [
    ['SRC_NAT', 'src-nat'],
    ['DST_NAT', 'dst-nat'],
  ] as const)
    if (begins(name)) {
      wish.warnings += `WARNING: ignoring ${name}, use --${instead} instead\n`
      return 0
    }
  return words.find(([name]) => begins(name))?.[1] ?? null
}

function listOf(text: string, words: readonly (readonly [string, number])[], wish: Wish): number {
  let bits = 0
  let rest = text
  for (;;) {
    const comma = rest.indexOf(',')
    const item = comma < 0 ? rest : rest.slice(0, comma)
    const bit = item === '' ? null : oneOf(item, words, wish)
    if (bit === null) throw new Complaint(`Bad parameter \`${rest}'`)
    bits |= bit
    if (comma < 0) return bits
    rest = rest.slice(comma + 1)
  }
}

/** -u: what must be set, and behind `!` what must not. */
function statusOf(text: string, wish: Wish): number {
  let status = wish.flow.status ?? 0
  let rest = text
  for (;;) {
    const comma = rest.indexOf(',')
    if (comma === 0) throw new Complaint(`Bad parameter \`${rest}'`)
    const negated = rest[0] === '!'
    if (negated) rest = rest.slice(1)
    const end = rest.indexOf(',')
    const item = comma < 0 ? rest : rest.slice(0, end)
    if (!negated && rest.startsWith('UNREPLIED')) wish.statusMask |= Status.SeenReply
    else {
      const bit = item === '' ? null : oneOf(item, STATUS_WORDS, wish)
      if (bit === null) throw new Complaint(`Bad parameter \`${rest}'`)
      if (negated) wish.statusMask |= bit
      else status |= bit
    }
    if (comma < 0) return status
    rest = rest.slice(end + 1)
  }
}

/** Reads a command line. Throws Complaint. */
export function parseOptions(argv: readonly string[]): Wish {
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
    outputs: 0,
    events: 0,
    bufferSize: 0,
    protocol: null,
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
  #long: readonly Long[] = LONG
  /** Options of the protocol that were given. */
  readonly #own = new Set<Key>()

  constructor(argv: readonly string[], wish: Wish) {
    this.#words = [...argv]
    this.#wish = wish
  }

  run(): void {
    const words = this.#words
    let previous = 'conntrack'
    while (words.length > 0) {
      const text = words.shift()!
      if (text === '--') break
      if (text.startsWith('--')) this.#longOption(text)
      else if (text.startsWith('-') && text.length > 1) this.#cluster(text, previous)
      previous = text
    }
    this.#finish()
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
      value = this.#words.shift() ?? null
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
        this.#take(letter, null)
        continue
      }
      let value: string | null = last ? null : text.slice(i + 1)
      if (value === null && SHORT[at + 2] !== ':') {
        value = this.#words.shift() ?? null
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
    return this.#words.shift()!
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
        this.#long = [...this.#long, ...protocol.long]
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
        return
      case 'c':
        wish.given.add('secmark')
        flow.secmark = word(text)
        return
      case 'm': {
        wish.given.add('mark')
        const [, end] = strtoul(text)
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
    else this.#protocolOption(key as Key, text)
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

  #protocolOption(key: Key, text: string): void {
    const wish = this.#wish
    const { flow, mask, expected } = wish
    const number = wish.protocol?.number ?? 0
    this.#own.add(key)
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
      TAKES[wish.command ?? 'version'] ?? NOTHING,
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
    matrix(
      protocol.names.map(([key, name]) => [name, this.#own.has(key)]),
      protocol.takes[wish.command ?? 'version'] ?? '0'.repeat(protocol.names.length),
      [
        [protocol.names[0]![1], protocol.names[1]![1]],
        [protocol.names[2]![1], protocol.names[3]?.[1] ?? ''],
      ],
      protocol.pairs,
    )
  }
}

/** The tool reads keys of GRE with strtoul, ports with atoi. */
function portOf(protocol: number, text: string): number {
  return protocol === 47 ? word(text) & 0xffff : atoi16(text)
}

function splitPort(text: string): [string, number | null] {
  let bare = text
  let port: string | null = null
  const open = text.indexOf('[')
  if (open >= 0) {
    const close = text.indexOf(']', open + 1)
    if (close === open + 1) throw new Complaint('No IPv6 address specified')
    if (close < 0) throw new Complaint("No closing ']' around IPv6 address")
    const colon = text.indexOf(':', close)
    if (colon >= 0) {
      bare = text.slice(open + 1, close)
      port = text.slice(colon + 1)
    }
  } else {
    const colon = text.indexOf(':')
    if (colon >= 0 && !text.includes(':', colon + 1)) {
      bare = text.slice(0, colon)
      port = text.slice(colon + 1)
    }
  }
  if (port === '') throw new Complaint("No port specified after `:'")
  if (port !== null && !(/^\d+$/.test(port) && Number(port) <= 0xffff))
    throw new Complaint(`Invalid port \`${port}'`)
  return [bare, port === null ? null : Number(port)]
}

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
