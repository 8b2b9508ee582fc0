// sctp: ports and chunks (libxt_sctp of iptables 1.8.9, sctp_mt() of xt_sctp.c).

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPPROTO_SCTP } from '../../datapath/wire/protocol.ts'
import { SCTP_HEADER_LEN } from '../../datapath/wire/sctp.ts'
import type { Match } from '../extension.ts'
import { bits, type Field } from '../layout.ts'
import { OptionError, type Options } from '../options.ts'
import {
  emitPorts,
  headerFits,
  listPorts,
  narrowsPorts,
  ownPorts,
  type Ports,
  printRange,
  words,
} from './parts.ts'

export interface ChunkFlags {
  readonly type: number
  /** Bits that are looked at, and what they must be. */
  readonly mask: number
  readonly value: number
}

export interface Chunks {
  readonly mode: 'all' | 'any' | 'only'
  /** Chunk types, ascending; 'ALL' is every one of 256. */
  readonly types: readonly number[]
  readonly flags: readonly ChunkFlags[]
  readonly invert: boolean
}

export interface Sctp extends Ports {
  readonly hasSport: boolean
  readonly hasDport: boolean
  readonly chunks: Chunks | null
}

const EVERY = 256
/** XT_NUM_SCTP_FLAGS. */
const MAX_FLAGS = 4

/** Name and letters of the flags, the highest bit first; a blank is no flag. */
const CHUNKS: readonly (readonly [name: string, type: number, flags: string])[] = [
  ['DATA', 0, '    IUBE'],
  ['INIT', 1, ''],
  ['INIT_ACK', 2, ''],
  ['SACK', 3, ''],
  ['HEARTBEAT', 4, ''],
  ['HEARTBEAT_ACK', 5, ''],
  ['ABORT', 6, '       T'],
  ['SHUTDOWN', 7, ''],
  ['SHUTDOWN_ACK', 8, ''],
  ['ERROR', 9, ''],
  ['COOKIE_ECHO', 10, ''],
  ['COOKIE_ACK', 11, ''],
  ['ECN_ECNE', 12, ''],
  ['ECN_CWR', 13, ''],
  ['SHUTDOWN_COMPLETE', 14, '       T'],
  ['I_DATA', 64, '    IUBE'],
  ['RE_CONFIG', 130, ''],
  ['PAD', 132, ''],
  ['ASCONF', 193, ''],
  ['ASCONF_ACK', 128, ''],
  ['FORWARD_TSN', 192, ''],
  ['I_FORWARD_TSN', 194, ''],
]

function parseChunks(o: Options): Chunks | null {
  if (!o.has('chunk-types')) return null
  const [modeText, list, ...more] = o.texts('chunk-types')
  if (more.length > 0) throw new OptionError("Only one `--chunk-types' allowed")
  if (modeText === undefined || list === undefined) throw new OptionError('--chunk-types requires two args')
  const mode = modeText.toLowerCase()
  if (mode !== 'all' && mode !== 'any' && mode !== 'only')
    throw new OptionError('Match type has to be one of "ALL", "ANY" or "ONLY"')
  let types = new Set<number>()
  const flags = new Map<number, ChunkFlags>()
  if (list.toUpperCase() === 'ALL') types = new Set(Array.from({ length: EVERY }, (_, i) => i))
  else if (list.toUpperCase() !== 'NONE')
    for (const item of list.split(',')) {
      if (item === '') continue
      const colon = item.indexOf(':')
      const name = colon < 0 ? item : item.slice(0, colon)
      const index = CHUNKS.findIndex(([known]) => known === name.toUpperCase())
      const chunk = CHUNKS[index]
      if (chunk === undefined) throw new OptionError(`Unknown sctp chunk \`${name}'`)
      const [, type, letters] = chunk
      types.add(type)
      // libxt_sctp files flags under the place in its list: from I_DATA on they are of no chunk that is asked for.
      if (colon >= 0) addFlags(flags, index, letters, item.slice(colon + 1))
    }
  return {
    mode,
    types: [...types].sort((a, b) => a - b),
    flags: [...flags.values()],
    invert: o.inverted('chunk-types'),
  }
}

/** Upper case: the flag must be set; lower case: it must not. */
function addFlags(flags: Map<number, ChunkFlags>, type: number, letters: string, text: string): void {
  let { mask, value } = flags.get(type) ?? { mask: 0, value: 0 }
  if (!flags.has(type) && flags.size === MAX_FLAGS)
    throw new OptionError('Number of chunk types with flags exceeds currently allowed limit.')
  for (const letter of text) {
    const at = letter === ' ' ? -1 : letters.indexOf(letter.toUpperCase())
    if (at < 0) throw new OptionError(`Invalid flags for chunk type ${type}`)
    const bit = 1 << (7 - at)
    mask |= bit
    if (letter === letter.toUpperCase()) value |= bit
    else value &= ~bit
  }
  flags.set(type, { type, mask, value })
}

function printChunks(chunks: Chunks, numeric: boolean): string {
  let list = 'NONE'
  if (chunks.types.length === EVERY) list = 'ALL'
  else if (chunks.types.length > 0)
    list = chunks.types
      .map((type) => {
        const known = CHUNKS.find(([, number]) => number === type)
        const name = numeric ? `0x${type.toString(16).toUpperCase().padStart(4, '0')}` : known![0]
        const flags = chunks.flags.find((f) => f.type === type)
        if (flags === undefined || flags.mask === 0) return name
        let letters = ''
        for (let at = 0; at < 8; at++) {
          const bit = 1 << (7 - at)
          const letter = known![2][at]!
          if (flags.mask & bit) letters += flags.value & bit ? letter : letter.toLowerCase()
        }
        return `${name}:${letters}`
      })
      .join(',')
  return `${chunks.mode} ${list}`
}

/** The chunks of a use as bytes: what match_packet() looks at. */
interface ChunkTable {
  readonly mode: number
  /** 1 for the types asked. */
  readonly asked: Uint8Array
  readonly count: number
  readonly mask: Uint8Array
  readonly value: Uint8Array
  /** Types that this packet had, for mode 'all'. */
  readonly seen: Uint8Array
}

const ALL = 0
const ANY = 1
const ONLY = 2

function chunkTable(chunks: Chunks): ChunkTable {
  const table: ChunkTable = {
    mode: { all: ALL, any: ANY, only: ONLY }[chunks.mode],
    asked: new Uint8Array(EVERY),
    count: chunks.types.length,
    mask: new Uint8Array(EVERY),
    value: new Uint8Array(EVERY),
    seen: new Uint8Array(EVERY),
  }
  for (const type of chunks.types) table.asked[type] = 1
  for (const { type, mask, value } of chunks.flags) {
    table.mask[type] = mask
    table.value[type] = value
  }
  return table
}

/** match_packet(): a chunk that is cut short, or of length 0, drops the packet. Does not allocate. */
function chunksFit(pkt: Packet, { bytes, view }: FrameMemory, table: ChunkTable): boolean {
  let missing = table.count
  if (table.mode === ALL) table.seen.fill(0)
  let at = pkt.l4 + SCTP_HEADER_LEN
  do {
    const size = at + 4 <= pkt.end ? view.getUint16(at + 2) : 0
    if (size === 0) {
      pkt.hotdrop = true
      return false
    }
    const type = bytes[at]!
    const fits = table.asked[type] === 1 && (bytes[at + 1]! & table.mask[type]!) === table.value[type]
    if (fits) {
      if (table.mode === ANY) return true
      if (table.mode === ALL && table.seen[type] === 0) {
        table.seen[type] = 1
        missing--
      }
    } else if (table.mode === ONLY) return false
    at += (size + 3) & ~3
  } while (at < pkt.end)
  return table.mode === ALL ? missing === 0 : table.mode === ONLY
}

/** struct xt_sctp_info from the chunks on. */
function chunkFields(chunks: Chunks | null): Field[] {
  const map = new Uint8Array(256)
  const types = chunks?.types ?? []
  // The map has eight times the room that 256 bits take; ALL fills it.
  if (types.length === 256) map.fill(0xff)
  else for (const type of types) map[type >>> 3]! |= 1 << (type & 7)
  const flags = chunks?.flags ?? []
  return [
    [8, 256, map],
    [264, 4, chunks === null ? 0 : { any: 1, all: 2, only: 4 }[chunks.mode]],
    ...Array.from({ length: 4 }, (_, i): Field[] => [
      [268 + 3 * i, 1, flags[i]?.type ?? 0xff],
      [269 + 3 * i, 1, flags[i]?.value ?? 0],
      [270 + 3 * i, 1, flags[i]?.mask ?? 0],
    ]).flat(),
    [280, 4, flags.length],
  ]
}

export const sctp: Match<Sctp> = {
  kind: 'match',
  name: 'sctp',
  families: [4, 6],
  layout: {
    size: 296,
    fields: (m) => [
      ...[...m.dport, ...m.sport].map((port, i): Field => [2 * i, 2, port]),
      ...chunkFields(m.chunks),
      [284, 4, bits(m.hasSport, m.hasDport, m.chunks !== null)],
      [288, 4, bits(m.sportInvert, m.dportInvert, m.chunks?.invert)],
    ],
  },
  protocols: [IPPROTO_SCTP],
  options: [
    { flag: 'source-port', aliases: ['sport'], invertible: true, multiple: true },
    { flag: 'destination-port', aliases: ['dport'], invertible: true, multiple: true },
    { flag: 'chunk-types', arg: 'two', invertible: true, multiple: true },
  ],
  help: `sctp match options
[!] --source-port port[:port]                          match source port(s)
 --sport ...
[!] --destination-port port[:port]                     match destination port(s)
 --dport ...
[!] --chunk-types (all|any|none) (chunktype[:flags])+	match if all, any or none of
						        chunktypes are present
chunktypes - DATA INIT INIT_ACK SACK HEARTBEAT HEARTBEAT_ACK ABORT SHUTDOWN SHUTDOWN_ACK ERROR COOKIE_ECHO COOKIE_ACK ECN_ECNE ECN_CWR SHUTDOWN_COMPLETE ASCONF ASCONF_ACK FORWARD_TSN ALL NONE
`,
  parse: (o) => ({
    ...ownPorts(o, 'sctp'),
    hasSport: o.has('source-port'),
    hasDport: o.has('destination-port'),
    chunks: parseChunks(o),
  }),
  print: (m) =>
    words(
      m.hasSport ? `${m.sportInvert ? '! ' : ''}--sport ${printRange(m.sport)}` : '',
      m.hasDport ? `${m.dportInvert ? '! ' : ''}--dport ${printRange(m.dport)}` : '',
      m.chunks === null ? '' : `${m.chunks.invert ? '! ' : ''}--chunk-types ${printChunks(m.chunks, false)}`,
    ),
  list: (m, numeric) =>
    words(
      'sctp',
      listPorts('spt', m.sport, m.sportInvert, numeric ? null : 'sctp'),
      listPorts('dpt', m.dport, m.dportInvert, numeric ? null : 'sctp'),
      m.chunks === null ? '' : `${m.chunks.invert ? '! ' : ''}${printChunks(m.chunks, numeric)}`,
    ),
  reads: (m) => ['protocol', 'fragment', 'ports', ...(m.chunks === null ? [] : (['payload'] as const))],
  hotdrop: true,
  narrows: narrowsPorts,
  dropsWhole: (m) => m.chunks !== null,
  emit(m, js) {
    const parts = [headerFits(SCTP_HEADER_LEN, js), ...emitPorts(m, js)]
    if (m.chunks !== null) {
      const fit = js`${js.bind(chunksFit)}(pkt, ${js.env.host.memory}, ${chunkTable(m.chunks)})`
      parts.push(m.chunks.invert ? js`!${fit}` : fit)
    }
    return js.all(parts)
  },
}
