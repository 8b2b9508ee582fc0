// conntrack: what the tracker knows of the packet's connection (libxt_conntrack of iptables 1.8.9, conntrack_mt() of
// xt_conntrack.c).
//
//     no connection: only --ctstate is asked (INVALID, UNTRACKED), and the other options do not count
//     a connection:  every option must fit
//     a template:    in raw, behind a CT rule: a connection whose fields are all zero

import type { Conntrack } from '../../conntrack/conntrack.ts'
import * as layout from '../../conntrack/table.ts'
import { STATUS, STRIDE, Status, TUPLE_WORDS } from '../../conntrack/table.ts'
import { CtInfo } from '../../datapath/packet.ts'
import type { Code, Js } from '../compile/template.ts'
import type { Match } from '../extension.ts'
import type { Field } from '../layout.ts'
import { OptionError, type Options, WholeError } from '../options.ts'
import { formatAddress, formatMask, prefixLength, type Words } from '../text/address.ts'
import { nameOf } from '../text/host-names.ts'
import { protocolNumber } from '../text/services.ts'
import { abbreviates, inRange, listItems, printRange, type Range, words } from './parts.ts'

/** XT_CONNTRACK_STATE_*. */
export const State = {
  Invalid: 1 << 0,
  Established: 1 << 1,
  Related: 1 << 2,
  New: 1 << 3,
  Snat: 1 << 6,
  Dnat: 1 << 7,
  Untracked: 1 << 8,
} as const

export interface AddressTest {
  readonly words: Words
  readonly mask: Words
}

export interface Asked<T> {
  readonly value: T
  readonly invert: boolean
}

export type AddressField = 'origsrc' | 'origdst' | 'replsrc' | 'repldst'
export type PortField = 'origsrcport' | 'origdstport' | 'replsrcport' | 'repldstport'

/** Null: not asked. */
export interface ConntrackTest {
  /** State bits. */
  readonly state: Asked<number> | null
  readonly protocol: Asked<number> | null
  readonly addresses: Readonly<Record<AddressField, Asked<AddressTest> | null>>
  readonly ports: Readonly<Record<PortField, Asked<Range> | null>>
  /** Bits of Status. */
  readonly status: Asked<number> | null
  /** Seconds that are left. */
  readonly expires: Asked<Range> | null
  readonly direction: 'ORIGINAL' | 'REPLY' | null
}

/** In the order in which they are printed. */
const STATES: readonly (readonly [string, number])[] = [
  ['INVALID', State.Invalid],
  ['NEW', State.New],
  ['RELATED', State.Related],
  ['ESTABLISHED', State.Established],
  ['UNTRACKED', State.Untracked],
  ['SNAT', State.Snat],
  ['DNAT', State.Dnat],
]
/** In the order in which abbreviations are tried. */
const STATE_WORDS: readonly string[] = [
  'INVALID',
  'NEW',
  'ESTABLISHED',
  'RELATED',
  'UNTRACKED',
  'SNAT',
  'DNAT',
]

const STATUSES: readonly (readonly [string, number])[] = [
  ['EXPECTED', Status.Expected],
  ['SEEN_REPLY', Status.SeenReply],
  ['ASSURED', Status.Assured],
  ['CONFIRMED', Status.Confirmed],
]
const STATUS_WORDS: readonly string[] = ['NONE', 'EXPECTED', 'SEEN_REPLY', 'ASSURED', 'CONFIRMED']

/** direction, and source or destination. */
const ADDRESSES: readonly (readonly [AddressField, 0 | 1, number])[] = [
  ['origsrc', 0, layout.SRC],
  ['origdst', 0, layout.DST],
  ['replsrc', 1, layout.SRC],
  ['repldst', 1, layout.DST],
]
const PORTS: readonly (readonly [PortField, 0 | 1, 'source' | 'destination'])[] = [
  ['origsrcport', 0, 'source'],
  ['origdstport', 0, 'destination'],
  ['replsrcport', 1, 'source'],
  ['repldstport', 1, 'destination'],
]

/** Bits of the comma-separated words of an option; an abbreviation takes the first word that it fits. */
function parseWords(
  text: string,
  order: readonly string[],
  bits: readonly (readonly [string, number])[],
  what: string,
): number {
  let mask = 0
  for (const { item, rest } of listItems(text)) {
    const word = item === '' ? undefined : order.find((name) => abbreviates(item, name))
    if (word === undefined) throw new OptionError(`Bad ${what} "${rest}"`)
    mask |= bits.find(([name]) => name === word)?.[1] ?? 0
  }
  return mask
}

/** The words of --state: as --ctstate, without SNAT and DNAT, and with an error of its own for an empty end. */
export function parseState(text: string): number {
  if (text === '' || text.endsWith(',')) {
    for (const { item, rest } of text === '' ? [] : listItems(text.slice(0, -1)))
      if (item === '' || !STATE_WORDS.slice(0, 5).some((name) => abbreviates(item, name)))
        throw new OptionError(`Bad state "${rest},"`)
    throw new OptionError('"--state" requires a list of states with no spaces, e.g. ESTABLISHED,RELATED')
  }
  return parseWords(text, STATE_WORDS.slice(0, 5), STATES, 'state')
}

export const printState = (bits: number): string =>
  STATES.filter(([, bit]) => bits & bit)
    .map(([name]) => name)
    .join(',')

const printStatus = (bits: number): string =>
  bits === 0
    ? 'NONE'
    : STATUSES.filter(([, bit]) => bits & bit)
        .map(([name]) => name)
        .join(',')

function asked<T>(o: Options, flag: string, read: (flag: string) => T): Asked<T> | null {
  return o.has(flag) ? { value: read(flag), invert: o.inverted(flag) } : null
}

/** A mask with holes is printed as none, as libxt_conntrack prints it. */
function formatTest({ words: address, mask }: AddressTest, family: 4 | 6, numeric: boolean): string {
  if (!numeric && address.every((w) => w === 0)) return 'anywhere'
  const host = numeric ? formatAddress(address, family) : nameOf(address, family)
  return prefixLength(mask, family) < 0 ? host : host + formatMask(mask, family)
}

/** One option as print and list write it, `dashes` before its name. */
function format(m: ConntrackTest, dashes: string, family: 4 | 6, numeric: boolean): string {
  const put = <T>(name: string, test: Asked<T> | null, text: (value: T) => string): string =>
    test === null ? '' : `${test.invert ? '! ' : ''}${dashes}${name} ${text(test.value)}`
  const address = (test: AddressTest): string => formatTest(test, family, numeric)
  return words(
    put('ctstate', m.state, printState),
    put('ctproto', m.protocol, String),
    ...ADDRESSES.map(([field]) => put(`ct${field}`, m.addresses[field], address)),
    ...PORTS.map(([field]) => put(`ct${field}`, m.ports[field], printRange)),
    put('ctstatus', m.status, printStatus),
    put('ctexpire', m.expires, printRange),
    m.direction === null ? '' : `${dashes}ctdir ${m.direction}`,
  )
}

export const NOTHING_ASKED: ConntrackTest = {
  state: null,
  protocol: null,
  addresses: { origsrc: null, origdst: null, replsrc: null, repldst: null },
  ports: { origsrcport: null, origdstport: null, replsrcport: null, repldstport: null },
  status: null,
  expires: null,
  direction: null,
}

/** An address and its mask as they stand in memory. */
function addressBytes(test: AddressTest | undefined): Uint8Array {
  const bytes = new Uint8Array(32)
  const view = new DataView(bytes.buffer)
  for (const [i, word] of [...(test?.words ?? []), ...(test?.mask ?? [])].entries())
    view.setInt32(4 * i, word)
  return bytes
}

/** XT_CONNTRACK_STATE_ALIAS: `-m state` is conntrack to the kernel. */
export const STATE_ALIAS = 1 << 13

/** struct xt_conntrack_mtinfo3. */
export function conntrackFields({ addresses, ports: tested, ...rest }: ConntrackTest, alias = 0): Field[] {
  const asked = [
    rest.state,
    rest.protocol,
    addresses.origsrc,
    addresses.origdst,
    addresses.replsrc,
    addresses.repldst,
    rest.status,
    rest.expires,
    tested.origsrcport,
    tested.origdstport,
    tested.replsrcport,
    tested.repldstport,
  ]
  const direction = rest.direction === null ? 0 : 1 << asked.length
  const given = asked.reduce((bits, one, i) => bits | (one === null ? 0 : 1 << i), direction)
  const inverted = asked.reduce((bits, one, i) => bits | (one?.invert ? 1 << i : 0), 0)
  return [
    [0, 32, addressBytes(addresses.origsrc?.value)],
    [32, 32, addressBytes(addresses.origdst?.value)],
    [64, 32, addressBytes(addresses.replsrc?.value)],
    [96, 32, addressBytes(addresses.repldst?.value)],
    [128, 4, rest.expires?.value[0] ?? 0],
    [132, 4, rest.expires?.value[1] ?? 0],
    [136, 2, rest.protocol?.value ?? 0],
    ...asked.slice(8).map((one, i): Field => [138 + 2 * i, 2, (one?.value as Range | undefined)?.[0] ?? 0]),
    [146, 2, given | alias],
    [148, 2, rest.direction === 'REPLY' ? inverted | direction : inverted],
    [150, 2, rest.state?.value ?? 0],
    [152, 2, rest.status?.value ?? 0],
    ...asked.slice(8).map((one, i): Field => [154 + 2 * i, 2, (one?.value as Range | undefined)?.[1] ?? 0]),
  ]
}

export const conntrack: Match<ConntrackTest> = {
  kind: 'match',
  name: 'conntrack',
  revision: 3,
  families: [4, 6],
  layout: { size: 168, fields: (data) => conntrackFields(data) },
  options: [
    { flag: 'ctstate', invertible: true },
    { flag: 'ctproto', invertible: true },
    { flag: 'ctorigsrc', holds: 'address', invertible: true },
    { flag: 'ctorigdst', holds: 'address', invertible: true },
    { flag: 'ctreplsrc', holds: 'address', invertible: true },
    { flag: 'ctrepldst', holds: 'address', invertible: true },
    { flag: 'ctstatus', invertible: true },
    { flag: 'ctexpire', invertible: true },
    { flag: 'ctorigsrcport', invertible: true },
    { flag: 'ctorigdstport', invertible: true },
    { flag: 'ctreplsrcport', invertible: true },
    { flag: 'ctrepldstport', invertible: true },
    { flag: 'ctdir' },
  ],
  help: `conntrack match options:
[!] --ctstate {INVALID|ESTABLISHED|NEW|RELATED|UNTRACKED|SNAT|DNAT}[,...]
                               State(s) to match
[!] --ctproto proto            Protocol to match; by number or name, e.g. "tcp"
[!] --ctorigsrc address[/mask]
[!] --ctorigdst address[/mask]
[!] --ctreplsrc address[/mask]
[!] --ctrepldst address[/mask]
                               Original/Reply source/destination address
[!] --ctorigsrcport port
[!] --ctorigdstport port
[!] --ctreplsrcport port
[!] --ctrepldstport port
                               TCP/UDP/SCTP orig./reply source/destination port
[!] --ctstatus {NONE|EXPECTED|SEEN_REPLY|ASSURED|CONFIRMED}[,...]
                               Status(es) to match
[!] --ctexpire time[:time]     Match remaining lifetime in seconds against
                               value or range of values (inclusive)
    --ctdir {ORIGINAL|REPLY}   Flow direction of packet
`,
  parse(o) {
    const address = (field: AddressField) => asked(o, `ct${field}`, (flag) => o.addressMask(flag))
    const ports = (field: PortField) => asked(o, `ct${field}`, (flag) => o.portRange(flag))
    const test: ConntrackTest = {
      state: asked(o, 'ctstate', (flag) => parseWords(o.text(flag), STATE_WORDS, STATES, 'ctstate')),
      protocol: asked(o, 'ctproto', (flag) => {
        const number = protocolNumber(o.text(flag))
        if (number === null) throw new OptionError(`unknown protocol "${o.text(flag)}" specified`)
        // XT_INV_PROTO, which is looked for, is the bit of an inverted --ctstatus.
        const given = o.given()
        const before = given.slice(0, given.indexOf(flag)).includes('ctstatus')
        if (number === 0 && before && o.inverted('ctstatus'))
          throw new OptionError('conntrack: rule would never match protocol')
        return number
      }),
      addresses: {
        origsrc: address('origsrc'),
        origdst: address('origdst'),
        replsrc: address('replsrc'),
        repldst: address('repldst'),
      },
      ports: {
        origsrcport: ports('origsrcport'),
        origdstport: ports('origdstport'),
        replsrcport: ports('replsrcport'),
        repldstport: ports('repldstport'),
      },
      status: asked(o, 'ctstatus', (flag) => parseWords(o.text(flag), STATUS_WORDS, STATUSES, 'ctstatus')),
      expires: asked(o, 'ctexpire', (flag) => o.uintRange(flag, 32)),
      direction: o.has('ctdir') ? parseDirection(o.text('ctdir')) : null,
    }
    if (o.given().length === 0) throw new WholeError('conntrack: At least one option is required')
    return test
  },
  print: (m, family) => format(m, '--', family, true),
  list: (m, numeric, family) => format(m, '', family, numeric),
  tracks: true,
  reads: (m) => {
    const more = m.protocol ?? m.status ?? m.expires ?? m.direction
    const natted = m.state !== null && (m.state.value & (State.Snat | State.Dnat)) !== 0
    const tuple = [...Object.values(m.addresses), ...Object.values(m.ports)].some((test) => test !== null)
    return [
      ...(m.state === null ? [] : (['ctstate'] as const)),
      ...(more !== null || natted || tuple ? (['conntrack'] as const) : []),
      ...(m.expires === null ? [] : (['clock'] as const)),
    ]
  },
  emit: (m, js) => emitConntrack(m, js),
}

function parseDirection(text: string): 'ORIGINAL' | 'REPLY' {
  const upper = text.toUpperCase()
  if (upper === 'ORIGINAL' || upper === 'REPLY') return upper
  throw new OptionError(`conntrack: Bad value for "--ctdir" option: "${text}"`)
}

/** One bit for each value of pkt.ctInfo whose state is among `bits`. */
function infoBits(bits: number): number {
  let info = 0
  if (bits & State.Established) info |= (1 << CtInfo.Established) | (1 << CtInfo.EstablishedReply)
  if (bits & State.Related) info |= (1 << CtInfo.Related) | (1 << CtInfo.RelatedReply)
  if (bits & State.New) info |= 1 << CtInfo.New
  return info
}

/** The whole test as one expression; `-m state` is this with nothing but the state asked. */
export function emitConntrack(m: ConntrackTest, js: Js): Code {
  const tracked = js.all([...(m.state === null ? [] : [emitState(m.state, js)]), ...emitEntry(m, js)])
  return js`pkt.ct >= 0 ? ${tracked} : ${emitNoEntry(m, js)}`
}

/** A word of the packet's entry. The array may be replaced by a larger one: it is asked for each time. */
const entryWord = (offset: number, js: Js): Code =>
  js`${js.env.conntrack.table}.words[pkt.ct * ${STRIDE} + ${offset}]`

function emitState({ value, invert }: Asked<number>, js: Js): Code {
  const info = infoBits(value)
  const nat = (value & State.Snat ? Status.SrcNat : 0) | (value & State.Dnat ? Status.DstNat : 0)
  if (nat === 0) return js`(${info} >>> pkt.ctInfo & 1) === ${invert ? 0 : 1}`
  const either = js`(${info} >>> pkt.ctInfo & 1) === 1 || (${entryWord(STATUS, js)} & ${nat}) !== 0`
  return invert ? js`!${either}` : either
}

function emitEntry(m: ConntrackTest, js: Js): Code[] {
  const parts: Code[] = []
  const put = (test: Code, invert: boolean): void => {
    parts.push(invert ? js`!${test}` : test)
  }
  if (m.direction !== null)
    parts.push(
      m.direction === 'REPLY'
        ? js`pkt.ctInfo >= ${CtInfo.EstablishedReply}`
        : js`pkt.ctInfo < ${CtInfo.EstablishedReply}`,
    )
  for (const [field, dir, at] of ADDRESSES) {
    const test = m.addresses[field]
    if (test === null) continue
    const { words: address, mask } = test.value
    const equal = [0, 1, 2, 3]
      .slice(0, js.family === 4 ? 1 : 4)
      .filter((i) => mask[i] !== 0)
      .map((i) => {
        const bits = address[i]! & mask[i]!
        return js`(${entryWord(dir * TUPLE_WORDS + layout.wordOf(at, i), js)} & ${mask[i]!}) === ${bits}`
      })
    put(js.all(equal), test.invert)
  }
  if (m.protocol !== null)
    put(js`${entryWord(layout.META, js)} >>> 8 === ${m.protocol.value}`, m.protocol.invert)
  for (const [field, dir, side] of PORTS) {
    const test = m.ports[field]
    if (test === null) continue
    const both = entryWord(dir * TUPLE_WORDS + layout.PORTS, js)
    const port = side === 'source' ? js`(${both} >>> 16)` : js`(${both} & 65535)`
    parts.push(inRange(port, test.value, 0xffff, test.invert, js))
  }
  if (m.status !== null) put(js`(${entryWord(STATUS, js)} & ${m.status.value}) !== 0`, m.status.invert)
  if (m.expires !== null) {
    const left = js`${js.bind(secondsLeft)}(${js.env.conntrack}, pkt.ct)`
    parts.push(inRange(left, m.expires.value, 0xffffffff, m.expires.invert, js))
  }
  return parts
}

/** nf_ct_expires(): an entry that is not confirmed has no timer yet, and 0 seconds left. Does not allocate. */
function secondsLeft(conntrack: Conntrack, entry: number): number {
  const confirmed = conntrack.table.words[entry * STRIDE + STATUS]! & Status.Confirmed
  return confirmed ? conntrack.remaining(entry) : 0
}

/** The answer for a packet without an entry: three constants. */
function emitNoEntry(m: ConntrackTest, js: Js): Code {
  const state = (bit: number): boolean => m.state !== null && ((m.state.value & bit) !== 0) !== m.state.invert
  const untracked = state(State.Untracked)
  const invalid = state(State.Invalid)
  const bare =
    untracked === invalid
      ? js`${invalid}`
      : untracked
        ? js`pkt.ctInfo === ${CtInfo.Untracked}`
        : js`pkt.ctInfo !== ${CtInfo.Untracked}`
  const template = fitsTemplate(m)
  return untracked === invalid && template === invalid
    ? bare
    : js`pkt.ctTemplate !== null ? ${template} : ${bare}`
}

/** Whether the test fits a CT rule's template: NEW, CONFIRMED, everything else 0. */
function fitsTemplate(m: ConntrackTest): boolean {
  const put = <T>(test: Asked<T> | null, fits: (value: T) => boolean): boolean =>
    test === null || fits(test.value) !== test.invert
  return (
    put(m.state, (bits) => (bits & State.New) !== 0) &&
    m.direction !== 'REPLY' &&
    Object.values(m.addresses).every((test) =>
      put(test, ({ words: address, mask }) => address.every((w, i) => (w & mask[i]!) === 0)),
    ) &&
    put(m.protocol, (number) => number === 0) &&
    Object.values(m.ports).every((test) => put(test, ([min]) => min === 0)) &&
    put(m.status, (bits) => (bits & Status.Confirmed) !== 0) &&
    put(m.expires, ([min]) => min === 0)
  )
}
