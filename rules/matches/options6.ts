// The two matches of IPv6 option headers, hop-by-hop and destination (libip6t_hbh and libip6t_dst of iptables 1.8.9,
// hbh_mt6() of ip6t_hbh.c): the header's length, and its first options in order.

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { extensionLength } from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { bits, type Field } from '../layout.ts'
import { OptionError } from '../options.ts'
import { strtoull, ULONG_MAX } from '../text/numbers.ts'
import { type AskedNumber, askedNumber, fitsNumber, headerOf, listNumber, printNumber } from './headers6.ts'
import { words } from './parts.ts'

export interface OptionHeader {
  /** Bytes. */
  readonly length: AskedNumber | null
  readonly opts: readonly HeaderOption[]
}

interface HeaderOption {
  readonly type: number
  /** Bytes; null: any. 255 cannot be told from that. */
  readonly length: number | null
}

/** IP6T_OPTS_OPTSNR */
const MAX_OPTIONS = 16
const ANY_LENGTH = 255

/** strtoul() whose low byte counts. */
function byte(text: string, name: string, what: string): number {
  const minus = /^\s*-(?=\d)/.exec(text)?.[0] ?? ''
  const read = strtoull(text.slice(minus.length), 0n, 2n ** 512n)
  if (read === null) throw new OptionError(`${name}: no valid digits in ${what} \`${text}'`)
  if (minus.length + read.end !== text.length)
    throw new OptionError(`${name}: error parsing ${what} \`${text}'`)
  if (read.value > ULONG_MAX) throw new OptionError(`${what} \`${text}' specified too big: would overflow`)
  return Number(BigInt.asUintN(8, minus === '' ? read.value : -read.value))
}

function parseOptions(text: string, name: string, noLength: string): HeaderOption[] {
  const options: HeaderOption[] = []
  for (const item of text.split(',')) {
    if (options.length === MAX_OPTIONS) throw new OptionError('too many addresses specified')
    const colon = item.indexOf(':')
    const type = byte(colon < 0 ? item : item.slice(0, colon), name, 'opt')
    if (colon < 0) options.push({ type, length: null })
    else {
      if (type === 0) throw new OptionError(noLength)
      const length = byte(item.slice(colon + 1), name, 'length')
      options.push({ type, length: length === ANY_LENGTH ? null : length })
    }
  }
  return options
}

const formatOptions = (options: readonly HeaderOption[]): string =>
  options.map(({ type, length }) => (length === null ? `${type}` : `${type}:${length}`)).join(',')

/** Does not allocate. */
function fits(pkt: Packet, memory: FrameMemory, kind: number, m: OptionHeader): boolean {
  const start = headerOf(pkt, memory, kind, 2)
  if (start < 0) return false
  const { bytes, view } = memory
  const length = extensionLength(view, kind, start)
  if (pkt.end - start < length) {
    pkt.hotdrop = true
    return false
  }
  if (!fitsNumber(length, m.length)) return false
  const { opts } = m
  const end = start + length
  let at = start + 2
  for (let i = 0; i < opts.length; i++) {
    const wanted = opts[i]!
    if (at >= end) return false
    const type = bytes[at]!
    if (type !== wanted.type) return false
    let size = 1
    if (type !== 0) {
      if (end - at < 2) return false
      size = bytes[at + 1]! + 2
      if (wanted.length !== null && size !== wanted.length + 2) return false
    }
    // The last one that is asked for may say more than the header has.
    if (at + size > end && i < opts.length - 1) return false
    at += size
  }
  return true
}

/** `kind`: its number as a next header. `noLength`: what is said of a length behind Pad1. */
export function optionHeader(
  name: 'hbh' | 'dst',
  kind: number,
  noLength: string,
  help: string,
): Match<OptionHeader> {
  return {
    kind: 'match',
    name,
    families: [6],
    layout: {
      size: 40,
      fields: ({ length, opts }) => [
        [0, 4, length?.value ?? 0],
        [4, 1, bits(length !== null, opts.length > 0)],
        [5, 1, length?.invert ? 1 : 0],
        ...Array.from(
          { length: MAX_OPTIONS },
          (_, i): Field => [6 + 2 * i, 2, opts[i] ? (opts[i].type << 8) | (opts[i].length ?? 0xff) : 0],
        ),
        [38, 1, opts.length],
      ],
    },
    options: [{ flag: `${name}-len`, invertible: true }, { flag: `${name}-opts` }],
    help,
    parse: (o) => ({
      length: askedNumber(o, `${name}-len`),
      opts: o.has(`${name}-opts`) ? parseOptions(o.text(`${name}-opts`), name, noLength) : [],
    }),
    print: (m) =>
      words(
        printNumber(`${name}-len`, m.length),
        m.opts.length === 0 ? '' : `--${name}-opts ${formatOptions(m.opts)}`,
      ),
    list: (m) =>
      words(name, listNumber('length', m.length), m.opts.length === 0 ? '' : `opts ${formatOptions(m.opts)}`),
    reads: ['payload'],
    hotdrop: true,
    emit: (m, js) => js`${js.bind(fits)}(pkt, ${js.env.host.memory}, ${kind}, ${m})`,
  }
}
