// conntrack of conntrack-tools 1.4.7 over the gateway's flows: list, count, get, delete, flush, statistics, with the
// filters of the real tool and its words.

import { type FormatOptions, formatEntry, formatExpectation, formatStats } from '../../conntrack/print.ts'
import {
  CTMARK,
  DST,
  META,
  PORTS,
  SRC,
  STATUS,
  STRIDE,
  Status,
  TUPLE_WORDS,
  ZONE,
} from '../../conntrack/table.ts'
import type { Family } from '../../datapath/packet.ts'
import { parseAddress } from '../../datapath/wire/address.ts'
import type { Engine } from '../engine.ts'
import { CONNTRACK_USAGE } from './conntrack-usage.ts'
import type { Tool } from './tool.ts'

const NAME = 'conntrack v1.4.7 (conntrack-tools): '
const HINT = "Try `conntrack -h' or 'conntrack --help' for more information.\n"

/** Ends the command with a complaint, as exit_error() does: status 2. */
class Complaint extends Error {}

const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
}

interface Word {
  readonly long: readonly string[]
  readonly short?: string
  readonly arg?: boolean
  /** Only with these protocols. */
  readonly protocols?: readonly string[]
}

const PORTED = ['tcp', 'udp', 'udplite', 'sctp', 'dccp']
const ICMPS = ['icmp', 'icmpv6']

const COMMANDS: Readonly<Record<string, Word>> = {
  list: { long: ['dump'], short: 'L' },
  get: { long: ['get'], short: 'G' },
  delete: { long: ['delete'], short: 'D' },
  flush: { long: ['flush'], short: 'F' },
  count: { long: ['count'], short: 'C' },
  stats: { long: ['stats'], short: 'S' },
  version: { long: ['version'], short: 'V' },
  help: { long: ['help'], short: 'h' },
}

/** Options in the order in which the real tool looks for one that the command does not take. */
const NAMES: Readonly<Record<string, string>> = {
  source: 'src',
  destination: 'dst',
  replySource: 'reply-src',
  replyDestination: 'reply-dst',
  protocol: 'protonum',
  timeout: 'timeout',
  status: 'status',
  zero: 'zero',
  events: 'event-mask',
  maskSource: 'mask-src',
  maskDestination: 'mask-dst',
  mark: 'mark',
  family: 'family',
  srcNat: 'src-nat',
  dstNat: 'dst-nat',
  output: 'output',
  secmark: 'secmark',
  buffer: 'buffer-size',
  anyNat: 'any-nat',
  zone: 'zone',
  origZone: 'orig-zone',
  replyZone: 'reply-zone',
}
const FILTERS = Object.keys(NAMES).filter((key) => !['timeout', 'events', 'buffer', 'secmark'].includes(key))
/** What each command takes; the protocols' own options go with --protonum. */
const TAKES: Readonly<Record<string, readonly string[]>> = {
  list: FILTERS,
  get: FILTERS,
  delete: FILTERS,
  flush: ['family'],
}

const OPTIONS: Readonly<Record<string, Word>> = {
  source: { long: ['orig-src', 'src'], short: 's', arg: true },
  destination: { long: ['orig-dst', 'dst'], short: 'd', arg: true },
  replySource: { long: ['reply-src'], short: 'r', arg: true },
  replyDestination: { long: ['reply-dst'], short: 'q', arg: true },
  protocol: { long: ['protonum'], short: 'p', arg: true },
  family: { long: ['family'], short: 'f', arg: true },
  mark: { long: ['mark'], short: 'm', arg: true },
  zone: { long: ['zone'], short: 'w', arg: true },
  origZone: { long: ['orig-zone'], arg: true },
  replyZone: { long: ['reply-zone'], arg: true },
  status: { long: ['status'], short: 'u', arg: true },
  output: { long: ['output'], short: 'o', arg: true },
  srcNat: { long: ['src-nat'], short: 'n' },
  dstNat: { long: ['dst-nat'], short: 'g' },
  anyNat: { long: ['any-nat'], short: 'j' },
  zero: { long: ['zero'], short: 'z' },
  timeout: { long: ['timeout'], short: 't', arg: true },
  events: { long: ['event-mask'], short: 'e', arg: true },
  secmark: { long: ['secmark'], short: 'c', arg: true },
  buffer: { long: ['buffer-size'], short: 'b', arg: true },
  maskSource: { long: ['mask-src'], arg: true },
  maskDestination: { long: ['mask-dst'], arg: true },
  sport: { long: ['orig-port-src', 'sport'], arg: true, protocols: PORTED },
  dport: { long: ['orig-port-dst', 'dport'], arg: true, protocols: PORTED },
  replySport: { long: ['reply-port-src'], arg: true, protocols: PORTED },
  replyDport: { long: ['reply-port-dst'], arg: true, protocols: PORTED },
  state: { long: ['state'], arg: true, protocols: ['tcp', 'sctp', 'dccp'] },
  icmpType: { long: ['icmp-type'], arg: true, protocols: ICMPS },
  icmpCode: { long: ['icmp-code'], arg: true, protocols: ICMPS },
  icmpId: { long: ['icmp-id'], arg: true, protocols: ICMPS },
}

const STATUS_BITS: Readonly<Record<string, number>> = {
  ASSURED: Status.Assured,
  SEEN_REPLY: Status.SeenReply,
  FIXED_TIMEOUT: Status.FixedTimeout,
  EXPECTED: Status.Expected,
}

const STATES: Readonly<Record<string, string>> = {
  tcp: 'NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE LISTEN SYN_SENT2',
  sctp: 'NONE CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD SHUTDOWN_ACK_SENT HEARTBEAT_SENT HEARTBEAT_ACKED',
  dccp: 'NONE REQUEST RESPOND PARTOPEN OPEN CLOSEREQ CLOSING TIMEWAIT IGNORE INVALID',
}

const OUTPUTS = ['extended', 'id', 'labels', 'ktimestamp', 'userspace']

interface Wish {
  command: string | null
  table: string
  readonly options: Map<string, string>
}

function parse(argv: readonly string[]): Wish {
  const wish: Wish = { command: null, table: 'conntrack', options: new Map() }
  const rest = [...argv]
  const protocol = protocolGiven(argv)
  const set = (key: string, given: string, attached: string | null): void => {
    if (key in COMMANDS) {
      if (wish.command !== null) throw new Complaint('Invalid commands combination')
      wish.command = key
      const next = rest[0]
      if (next !== undefined && !next.startsWith('-') && key !== 'version' && key !== 'help')
        wish.table = tableOf(rest.shift()!)
      return
    }
    const word = OPTIONS[key]!
    if (word.protocols && !word.protocols.includes(protocol ?? ''))
      throw new Complaint(`unknown option \`${given}'`)
    const value = word.arg ? (attached ?? rest.shift()) : optional(key)
    if (value === undefined) throw new Complaint(`option \`${given}' requires an argument`)
    wish.options.set(key, value)
  }
  const optional = (key: string): string => {
    if (key === 'zero') return ''
    const next = rest[0]
    return next !== undefined && !next.startsWith('-') ? rest.shift()! : ''
  }
  while (rest.length > 0) {
    const word = rest.shift()!
    if (word.startsWith('--') && word.length > 2) {
      const [name = '', attached = null] = word.slice(2).split(/=(.*)/s)
      set(longKey(name, word), `--${name}`, attached)
    } else if (word.startsWith('-') && word.length > 1) {
      const letter = word[1]!
      const key = [...Object.entries(COMMANDS), ...Object.entries(OPTIONS)].find(
        ([, w]) => w.short === letter,
      )?.[0]
      if (key === undefined) throw new Complaint(`unknown option \`-${letter}'`)
      const tail = word.slice(2)
      if (tail !== '' && !OPTIONS[key]?.arg) rest.unshift(`-${tail}`)
      set(key, `-${letter}`, tail !== '' && OPTIONS[key]?.arg ? tail : null)
    } else if (wish.command !== null) throw new Complaint(`unknown argument \`${word}'`)
  }
  return wish
}

function tableOf(word: string): string {
  if (!['conntrack', 'expect', 'dying', 'unconfirmed'].includes(word))
    throw new Complaint(`unknown type \`${word}'`)
  return word
}

function longKey(name: string, word: string): string {
  const all = [...Object.entries(COMMANDS), ...Object.entries(OPTIONS)]
  const exact = all.find(([, w]) => w.long.includes(name))
  if (exact) return exact[0]
  const fits = all.filter(([, w]) => w.long.some((long) => long.startsWith(name)))
  if (fits.length !== 1) throw new Complaint(`unknown option \`${word}'`)
  return fits[0]![0]
}

/** The protocol's own options are known only once it is. */
function protocolGiven(argv: readonly string[]): string | null {
  for (const [i, word] of argv.entries()) {
    if (word === '-p' || word === '--protonum') return i + 1 < argv.length ? protocolName(argv[i + 1]!) : null
    if (word.startsWith('-p') && word.length > 2) return protocolName(word.slice(2))
    if (word.startsWith('--protonum=')) return protocolName(word.slice(11))
  }
  return null
}

function protocolName(text: string): string {
  const name = text.toLowerCase()
  if (name in PROTOCOLS) return name
  const number = /^\d+$/.test(text) ? Number(text) : -1
  const known = Object.entries(PROTOCOLS).find(([, n]) => n === number)
  if (known) return known[0]
  if (number >= 0 && number < 256) return text
  throw new Complaint(`\`${text}' unsupported protocol`)
}

/** A test over one entry. */
type Filter = (words: Int32Array, o: number) => boolean

function addressFilter(text: string, maskText: string | undefined, tuple: number, side: number): Filter {
  const [address, length] = text.split('/')
  const family: Family = address!.includes(':') ? 6 : 4
  const words = family === 4 ? inetAton(address!) : parseAddress(family, address!)
  if (words === null) throw new Complaint(`Invalid IP address \`${text}'`)
  const bits = family === 4 ? 32 : 128
  if (length !== undefined && !(/^\d+$/.test(length) && Number(length) <= bits))
    throw new Complaint('Invalid netmask')
  const mask =
    maskText === undefined
      ? maskOf(length === undefined ? bits : Number(length))
      : parseAddress(family, maskText)
  if (mask === null) throw new Complaint(`Invalid IP address \`${maskText}'`)
  return (w, o) => {
    const at = o + tuple * TUPLE_WORDS
    if ((w[at + META]! & 0xff) !== family) return false
    for (let i = 0; i < family - (family === 4 ? 3 : 2); i++)
      if (((w[at + side + i]! ^ words[i]!) & mask[i]!) !== 0) return false
    return true
  }
}

function maskOf(length: number): [number, number, number, number] {
  const word = (i: number): number => {
    const bits = Math.min(Math.max(length - 32 * i, 0), 32)
    return bits === 0 ? 0 : -1 << (32 - bits)
  }
  return [word(0), word(1), word(2), word(3)]
}

/** inet_aton(3): one to four parts, decimal, octal or hexadecimal; the last fills what is left. */
function inetAton(text: string): [number, number, number, number] | null {
  const parts = text.split('.')
  if (parts.length > 4) return null
  let word = 0
  for (const [i, part] of parts.entries()) {
    if (!/^(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)$/i.test(part)) return null
    const value = /^0[0-7]+$/.test(part) ? Number.parseInt(part, 8) : Number(part)
    const last = i === parts.length - 1
    if (value >= (last ? 2 ** (8 * (4 - i)) : 256)) return null
    word += last ? value : value * 2 ** (8 * (3 - i))
  }
  return [word | 0, 0, 0, 0]
}

/** strtoul(3) with base 0: what is no number is 0, and what follows one is passed over. */
function number(text: string): number {
  const found = /^\s*(0x[0-9a-f]+|\d+)/i.exec(text)
  if (found === null) return 0
  return /^0[0-7]+$/.test(found[1]!) ? Number.parseInt(found[1]!, 8) : Number(found[1])
}

function wordFilter(offset: number, shift: number, mask: number, value: number): Filter {
  return (w, o) => ((w[o + offset]! >>> shift) & mask) === value
}

/**
 * Translated, as libnetfilter_conntrack has it: the binding is made, and address or port of the other direction is
 * not the mirror image. ICMP keeps its identifier where others have the source port, so it never mirrors.
 */
function natFilter(text: string, source: boolean): Filter {
  const done = source ? Status.SrcNatDone : Status.DstNatDone
  const [there, back] = source ? [SRC, DST] : [DST, SRC]
  const [shiftThere, shiftBack] = source ? [16, 0] : [0, 16]
  const translated: Filter = (w, o) => {
    if ((w[o + STATUS]! & done) === 0) return false
    const protocol = (w[o + META]! >>> 8) & 0xff
    if (protocol === PROTOCOLS.icmp || protocol === PROTOCOLS.icmpv6) return true
    const reply = o + TUPLE_WORDS
    for (let i = 0; i < 4; i++) if (w[o + there + i] !== w[reply + back + i]) return true
    return ((w[o + PORTS]! >>> shiftThere) & 0xffff) !== ((w[reply + PORTS]! >>> shiftBack) & 0xffff)
  }
  if (text === '') return translated
  const address = addressFilter(text, undefined, 1, back)
  const bit = source ? Status.SrcNat : Status.DstNat
  return (w, o) => (w[o + STATUS]! & bit) !== 0 && address(w, o)
}

function filters(wish: Wish, engine: Engine): Filter[] {
  const out: Filter[] = []
  const { options } = wish
  const get = (key: string, make: (text: string) => Filter): void => {
    const text = options.get(key)
    if (text !== undefined) out.push(make(text))
  }
  get('source', (t) => addressFilter(t, options.get('maskSource'), 0, SRC))
  get('destination', (t) => addressFilter(t, options.get('maskDestination'), 0, DST))
  get('replySource', (t) => addressFilter(t, undefined, 1, SRC))
  get('replyDestination', (t) => addressFilter(t, undefined, 1, DST))
  get('protocol', (t) => {
    const name = protocolName(t)
    return wordFilter(META, 8, 0xff, PROTOCOLS[name] ?? Number(name))
  })
  get('family', (t) => {
    if (t !== 'ipv4' && t !== 'ipv6') throw new Complaint(`\`${t}' unsupported protocol`)
    return wordFilter(META, 0, 0xff, t === 'ipv4' ? 4 : 6)
  })
  get('mark', (t) => {
    const [value, mask] = t.split('/')
    const m = mask === undefined ? 0xffffffff : number(mask)
    const v = number(value!) >>> 0
    return (w, o) => (w[o + CTMARK]! & m) >>> 0 === v
  })
  const zones = (w: Int32Array, o: number): [number, number] => [w[o + ZONE]!, w[o + TUPLE_WORDS + ZONE]!]
  get('zone', (t) => {
    const zone = number(t) & 0xffff
    return (w, o) => zones(w, o).every((z) => z === zone)
  })
  // A zone of one direction: the kernel says so only where the other has none.
  get('origZone', (t) => (w, o) => zones(w, o)[0] === (number(t) & 0xffff) && zones(w, o)[1] === 0)
  get('replyZone', (t) => (w, o) => zones(w, o)[1] === (number(t) & 0xffff) && zones(w, o)[0] === 0)
  get('status', (t) => {
    let bits = 0
    for (const name of t.split(',')) {
      const bit = name === 'UNSET' ? 0 : STATUS_BITS[name]
      if (bit === undefined) throw new Complaint(`Bad parameter \`${t}'`)
      bits |= bit
    }
    // The kernel refuses a filter for no bit at all.
    if (bits === 0) throw new Failed('Operation failed: invalid parameters')
    return (w, o) => (w[o + STATUS]! & bits) === bits
  })
  // What the source was turned into stands in the answers' destination, and the other way round.
  get('srcNat', (t) => natFilter(t, true))
  get('dstNat', (t) => natFilter(t, false))
  get('anyNat', (t) => {
    const [a, b] = [natFilter(t, true), natFilter(t, false)]
    return (w, o) => a(w, o) || b(w, o)
  })
  get('sport', (t) => wordFilter(PORTS, 16, 0xffff, number(t) & 0xffff))
  get('dport', (t) => wordFilter(PORTS, 0, 0xffff, number(t) & 0xffff))
  get('replySport', (t) => wordFilter(TUPLE_WORDS + PORTS, 16, 0xffff, number(t) & 0xffff))
  get('replyDport', (t) => wordFilter(TUPLE_WORDS + PORTS, 0, 0xffff, number(t) & 0xffff))
  get('icmpType', (t) => wordFilter(PORTS, 8, 0xff, number(t) & 0xff))
  get('icmpCode', (t) => wordFilter(PORTS, 0, 0xff, number(t) & 0xff))
  get('icmpId', (t) => wordFilter(PORTS, 16, 0xffff, number(t) & 0xffff))
  get('state', (t) => {
    const protocol = protocolName(options.get('protocol') ?? '')
    if (!STATES[protocol]?.split(' ').includes(t))
      throw new Complaint(`unknown ${protocol.toUpperCase()} state \`${t}'`)
    return (_, o) =>
      formatEntry(engine.conntrack, o / STRIDE)
        .split(' ')
        .includes(t)
  })
  return out
}

function outputs(wish: Wish): FormatOptions {
  const words = (wish.options.get('output') ?? '').split(',').filter((word) => word !== '')
  for (const word of words) if (!OUTPUTS.includes(word)) throw new Complaint(`Bad parameter \`${word}'`)
  const has = (word: string): boolean => words.includes(word)
  return {
    extended: has('extended'),
    id: has('id'),
    timestamps: has('ktimestamp'),
    ...(has('labels') ? { labels: (bit: number) => String(bit) } : {}),
  }
}

function matching(wish: Wish, engine: Engine): number[] {
  const tests = filters(wish, engine)
  const { conntrack } = engine
  const found: number[] = []
  conntrack.forEach((entry) => {
    const { words } = conntrack.table
    if (tests.every((test) => test(words, entry * STRIDE))) found.push(entry)
  })
  return found
}

interface Said {
  out: string
  err: string
}

function run(wish: Wish, engine: Engine, said: Said): void {
  const { conntrack } = engine
  const count = (entries: number, what: string): void => {
    said.err += `${NAME}${entries} flow entries have been ${what}.\n`
  }
  const print = (entry: number): void => {
    said.out += `${formatEntry(conntrack, entry, outputs(wish))}\n`
  }
  checkOptions(wish)
  switch (wish.command) {
    case 'version':
      said.out += 'conntrack v1.4.7 (conntrack-tools)\n'
      return
    case 'list': {
      if (wish.table === 'expect') {
        const waiting = conntrack.expectations.all()
        for (const expectation of waiting) said.out += `${formatExpectation(conntrack, expectation)}\n`
        said.err += `${NAME}${waiting.length} expectations have been shown.\n`
        return
      }
      if (wish.options.has('zero') && wish.options.size > 1)
        throw new Complaint("Can't use -z with filtering parameters")
      const found = wish.table === 'conntrack' ? matching(wish, engine) : []
      for (const entry of found) print(entry)
      if (wish.options.has('zero')) for (const entry of found) conntrack.zeroAcct(entry)
      count(found.length, 'shown')
      return
    }
    case 'get': {
      const has = (key: string): boolean => wish.options.has(key)
      if (wish.table === 'expect')
        throw new Complaint("You need to supply the `--src' option for this command")
      if (!has('protocol')) throw new Complaint("You need to supply the `--protonum' option for this command")
      if (!(has('source') && has('destination'))) {
        if (!(has('replySource') && has('replyDestination')))
          throw new Complaint("you have to specify `--src' and `--dst'")
        throw new Failed('Operation failed: invalid parameters')
      }
      const found = matching(wish, engine)
      if (found.length === 0) throw new Failed("Operation failed: such conntrack doesn't exist")
      print(found[0]!)
      count(1, 'shown')
      return
    }
    case 'delete': {
      if (wish.table === 'expect')
        throw new Complaint("You need to supply the `--src' option for this command")
      const found = matching(wish, engine)
      for (const entry of found) {
        print(entry)
        conntrack.kill(entry)
      }
      count(found.length, 'deleted')
      if (found.length === 0) throw new Failed()
      return
    }
    case 'flush':
      if (wish.table === 'expect') {
        conntrack.expectations.flush()
        said.err += `${NAME}expectation table has been emptied.\n`
        return
      }
      conntrack.flush()
      said.err += `${NAME}connection tracking table has been emptied.\n`
      return
    case 'count':
      said.out += `${wish.table === 'expect' ? conntrack.expectations.count : conntrack.count}\n`
      return
    case 'stats':
      said.out += `${formatStats(conntrack)}\n`
      return
    default:
      said.out += CONNTRACK_USAGE
  }
}

/** Refuses options that the command does not take, as generic_opt_check() does. */
function checkOptions({ command, options }: Wish): void {
  if (command === 'version' || command === 'help') return
  const takes = TAKES[command ?? ''] ?? []
  for (const [key, name] of Object.entries(NAMES))
    if (options.has(key) && !takes.includes(key))
      throw new Complaint(`Illegal option \`--${name}' with this command`)
}

/** Ends with status 1; what was said stays. */
class Failed extends Error {}

export const conntrackTool: Tool = {
  names: ['conntrack'],
  run(call, engine) {
    const said: Said = { out: '', err: '' }
    try {
      run(parse(call.argv), engine, said)
      return { stdout: said.out, stderr: said.err, code: 0 }
    } catch (error) {
      if (error instanceof Failed) {
        const why = error.message === '' ? '' : `${NAME}${error.message}\n`
        return { stdout: said.out, stderr: said.err + why, code: 1 }
      }
      if (error instanceof Complaint)
        return { stdout: said.out, stderr: `${said.err}${NAME}${error.message}\n${HINT}`, code: 2 }
      throw error
    }
  },
}
