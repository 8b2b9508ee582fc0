// Numbers, addresses and lists as conntrack 1.4.7 reads them.

import type { Words } from '../../conntrack/ctnetlink.ts'
import { Status } from '../../conntrack/table.ts'
import type { Family } from '../../datapath/packet.ts'
import { parseAddress } from '../../datapath/wire/address.ts'
import { plainStrtoul, strtol } from '../../rules/text/numbers.ts'
import { Complaint, EventBit, OutputBit, type Wish } from './conntrack-wish.ts'

/** strtoul(3) with base 0 over the whole text; null if something else stands there. */
export function numeral(text: string): number | null {
  const { value, end } = plainStrtoul(text, 0)
  return end > 0 && end === text.length ? Number(value) : null
}

/** The low 32 bits of strtoul(3) with base 0. */
export const word = (text: string): number => Number(BigInt.asUintN(32, plainStrtoul(text, 0).value))

/** atol(3), as 32 bits without a sign. */
export const atol = (text: string): number => Number(BigInt.asUintN(32, strtol(text).value))

/** htons(atoi(...)): 16 bits. */
export const atoi16 = (text: string): number => atol(text) & 0xffff

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

export function address(text: string): Address | null {
  const cut = text.slice(0, 45)
  const slash = cut.indexOf('/')
  const bare = slash < 0 ? cut : cut.slice(0, slash)
  const v4 = inetAton(bare)
  const words = v4 ?? (bare.includes(':') ? parseAddress(6, bare) : null)
  if (words === null) return null
  const family: Family = v4 === null ? 6 : 4
  if (slash < 0) return { family, words, length: null }
  const tail = cut.slice(slash + 1)
  // strtol(3) of nothing is 0; the tool keeps an int of it.
  const value = /^(\s*[+-]?\d+)?$/.test(tail) ? atol(tail) | 0 : -1
  return { family, words, length: value < 0 || value > (family === 4 ? 32 : 128) ? -1 : value }
}

export function maskOf(length: number, family: Family): Words {
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
export const EVENT_WORDS: readonly (readonly [string, number])[] = [
  ['ALL', 7],
  ['NEW', EventBit.New],
  ['UPDATES', EventBit.Update],
  ['DESTROY', EventBit.Destroy],
]
export const OUTPUT_WORDS: readonly (readonly [string, number])[] = [
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

export function listOf(text: string, words: readonly (readonly [string, number])[], wish: Wish): number {
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
export function statusOf(text: string, wish: Wish): number {
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

/** The tool reads keys of GRE with strtoul, ports with atoi. */
export function portOf(protocol: number, text: string): number {
  return protocol === 47 ? word(text) & 0xffff : atoi16(text)
}

/** Whether the tool's reader of an option leaves ERANGE behind: strtoul() or strtol() in the guise of atoi(). */
export const tooLarge = (text: string, reader: 'strtoul' | 'atoi'): boolean =>
  (reader === 'strtoul' ? plainStrtoul(text, 0) : strtol(text)).outOfRange

export function splitPort(text: string): [string, number | null] {
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
