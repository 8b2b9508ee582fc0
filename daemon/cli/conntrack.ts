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
  UNSET: 0,
  FIXED_TIMEOUT: Status.FixedTimeout,
  EXPECTED: Status.Expected,
  CONFIRMED: Status.Confirmed,
  SNAT: Status.SrcNat,
  DNAT: Status.DstNat,
}

const OUTPUTS = ['extended', 'id', 'labels', 'ktimestamp']

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
      if (wish.command !== null) throw new Complaint('Multiple commands used')
      wish.command = key
      const next = rest[0]
      if (next !== undefined && !next.startsWith('-') && key !== 'version' && key !== 'help')
        wish.table = rest.shift()!
      return
    }
    const word = OPTIONS[key]!
    if (word.protocols && !word.protocols.includes(protocol ?? ''))
      throw new Complaint(`unknown option \`${given}'`)
    const value = word.arg ? (attached ?? rest.shift()) : optional(key)
    if (value === undefined) throw new Complaint(`option \`${given}' requires an argument`)
    if (wish.options.has(key) && key !== 'output') throw new Complaint(`can't use same option twice`)
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
    } else throw new Complaint(`unknown argument \`${word}'`)
  }
  return wish
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
    if (word === '-p' || word === '--protonum') return protocolName(argv[i + 1] ?? '')
    if (word.startsWith('-p') && word.length > 2) return protocolName(word.slice(2))
    if (word.startsWith('--protonum=')) return protocolName(word.slice(11))
  }
  return null
}

function protocolName(text: string): string {
  if (text in PROTOCOLS) return text
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
  const words = parseAddress(family, address!)
  if (words === null) throw new Complaint(`Invalid IP address \`${text}'`)
  const bits = family === 4 ? 32 : 128
  if (length !== undefined && !(/^\d+$/.test(length) && Number(length) <= bits))
    throw new Complaint(`Invalid IP address \`${text}'`)
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

function number(text: string, what: string, max: number): number {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN
  if (!(value <= max)) throw new Complaint(`invalid ${what} \`${text}'`)
  return value
}

function wordFilter(offset: number, shift: number, mask: number, value: number): Filter {
  return (w, o) => ((w[o + offset]! >>> shift) & mask) === value
}

function natFilter(text: string, bit: number, tuple: number, side: number): Filter {
  const changed: Filter = (w, o) => (w[o + STATUS]! & bit) !== 0
  if (text === '') return changed
  const address = addressFilter(text, undefined, tuple, side)
  return (w, o) => changed(w, o) && address(w, o)
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
    const m = mask === undefined ? 0xffffffff : number(mask, 'mark', 0xffffffff)
    const v = number(value!, 'mark', 0xffffffff)
    return (w, o) => (w[o + CTMARK]! & m) >>> 0 === v
  })
  get('zone', (t) => {
    const zone = number(t, 'zone', 65535)
    return (w, o) => w[o + ZONE] === zone && w[o + TUPLE_WORDS + ZONE] === zone
  })
  get('origZone', (t) => wordFilter(ZONE, 0, 0xffff, number(t, 'zone', 65535)))
  get('replyZone', (t) => wordFilter(TUPLE_WORDS + ZONE, 0, 0xffff, number(t, 'zone', 65535)))
  get('status', (t) => {
    let bits = 0
    for (const name of t.split(',')) {
      const bit = STATUS_BITS[name]
      if (bit === undefined) throw new Complaint(`Bad parameter \`${t}'`)
      bits |= bit
    }
    return (w, o) => (w[o + STATUS]! & bits) === bits
  })
  // What the source was turned into stands in the answers' destination, and the other way round.
  get('srcNat', (t) => natFilter(t, Status.SrcNat, 1, DST))
  get('dstNat', (t) => natFilter(t, Status.DstNat, 1, SRC))
  get('anyNat', (t) => {
    const [a, b] = [natFilter(t, Status.SrcNat, 1, DST), natFilter(t, Status.DstNat, 1, SRC)]
    return (w, o) => a(w, o) || b(w, o)
  })
  get('sport', (t) => wordFilter(PORTS, 16, 0xffff, number(t, 'port', 65535)))
  get('dport', (t) => wordFilter(PORTS, 0, 0xffff, number(t, 'port', 65535)))
  get('replySport', (t) => wordFilter(TUPLE_WORDS + PORTS, 16, 0xffff, number(t, 'port', 65535)))
  get('replyDport', (t) => wordFilter(TUPLE_WORDS + PORTS, 0, 0xffff, number(t, 'port', 65535)))
  get('icmpType', (t) => wordFilter(PORTS, 8, 0xff, number(t, 'ICMP type', 255)))
  get('icmpCode', (t) => wordFilter(PORTS, 0, 0xff, number(t, 'ICMP code', 255)))
  get('icmpId', (t) => wordFilter(PORTS, 16, 0xffff, number(t, 'ICMP id', 65535)))
  get(
    'state',
    (t) => (_, o) =>
      formatEntry(engine.conntrack, o / STRIDE)
        .split(' ')
        .includes(t),
  )
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
  if (!['conntrack', 'expect', 'dying', 'unconfirmed'].includes(wish.table))
    throw new Complaint(`unknown table \`${wish.table}'`)
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
      const found = wish.table === 'conntrack' ? matching(wish, engine) : []
      for (const entry of found) print(entry)
      if (wish.options.has('zero')) for (const entry of found) conntrack.zeroAcct(entry)
      count(found.length, 'shown')
      return
    }
    case 'get': {
      if (!wish.options.has('protocol'))
        throw new Complaint("You need to supply the `--protonum' option for this command")
      const found = matching(wish, engine)
      if (found.length === 0) {
        said.err += `${NAME}Operation failed: such conntrack doesn't exist\n`
        throw new Failed()
      }
      print(found[0]!)
      count(1, 'shown')
      return
    }
    case 'delete': {
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
      if (error instanceof Failed) return { stdout: said.out, stderr: said.err, code: 1 }
      if (error instanceof Complaint)
        return { stdout: said.out, stderr: `${said.err}${NAME}${error.message}\n${HINT}`, code: 2 }
      throw error
    }
  },
}
