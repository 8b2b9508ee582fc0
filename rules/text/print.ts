// Rules as text: lines of iptables-save and -S, and rows of -L, as iptables 1.8.9 (legacy) writes them.

import type { Family } from '../../datapath/packet.ts'
import type {
  AddressMatch,
  BaseMatch,
  Counters,
  InterfaceMatch,
  MatchUse,
  Rule,
  TargetUse,
} from '../model.ts'
import { formatAddress, formatMask, prefixLength } from './address.ts'
import { PrintEnds } from './errors.ts'
import { nameOf } from './host-names.ts'
import { protocolName } from './services.ts'

/** What is kept as a number and has 64 bits; above 2^53 it is rounded, but for the largest. */
export const unsigned64 = (value: number): bigint => (value >= 2 ** 64 ? 2n ** 64n - 1n : BigInt(value))

export const countText = (value: number): string =>
  String(value <= Number.MAX_SAFE_INTEGER ? value : unsigned64(value))

/** Counters of a saved rule: not at all, in front (`[1:2] -A …`), or as -S -v (`-c 1 2`). */
export type CounterStyle = 'none' | 'front' | 'option'

/** One rule as a line of iptables-save, without the line end. */
export function saveRule(
  chain: string,
  rule: Rule,
  family: Family,
  style: CounterStyle = 'none',
  counters: Counters | null = null,
): string {
  let text =
    style === 'front'
      ? `[${countText(counters!.packets)}:${countText(counters!.bytes)}] -A ${chain}`
      : `-A ${chain}`
  text += saveBase(rule.base, family)
  for (const use of rule.matches) text += saveMatch(use, family)
  if (style === 'option') text += ` -c ${countText(counters!.packets)} ${countText(counters!.bytes)}`
  return text + saveTarget(rule.target, family)
}

function saveBase(base: BaseMatch, family: Family): string {
  let text = ''
  if (base.source !== null) text += saveAddress('s', base.source, family)
  if (base.destination !== null) text += saveAddress('d', base.destination, family)
  if (base.inInterface !== null) text += saveInterface('i', base.inInterface)
  if (base.outInterface !== null) text += saveInterface('o', base.outInterface)
  const { protocol, fragment } = base
  if (protocol !== null && protocol.number !== 0)
    text += `${protocol.invert ? ' !' : ''} -p ${protocolName(protocol.number, true) ?? protocol.number}`
  if (fragment !== null) text += fragment.invert ? ' ! -f' : ' -f'
  return text
}

function saveAddress(letter: string, match: AddressMatch, family: Family): string {
  const bits = prefixLength(match.mask, family)
  const mask = bits < 0 ? formatAddress(match.mask, family) : bits
  return `${match.invert ? ' !' : ''} -${letter} ${formatAddress(match.words, family)}/${mask}`
}

/** `+` alone has an empty mask and is not printed, not even with `!`. */
function saveInterface(letter: string, match: InterfaceMatch): string {
  return match.name === '+' ? '' : `${match.invert ? ' !' : ''} -${letter} ${match.name}`
}

function saveMatch({ match, data }: MatchUse, family: Family): string {
  const alias = match.alias?.(data)
  const text = alias === undefined ? match.print(data, family) : alias.text
  return ` -m ${alias?.name ?? match.name}${text === '' ? '' : ` ${text}`}`
}

function saveTarget(target: TargetUse, family: Family): string {
  switch (target.kind) {
    case 'none':
      return ''
    case 'standard':
      return ` -j ${target.verdict}`
    case 'jump':
      return ` -j ${target.chain}`
    case 'goto':
      return ` -g ${target.chain}`
    case 'extension': {
      const text = target.target.print(target.data, family)
      return ` -j ${target.target.name}${text === '' ? '' : ` ${text}`}`
    }
  }
}

/** What is to be said on standard error beside a printed rule, once for each match that says so. */
export const printRemarks = (rule: Rule): string =>
  rule.matches.map(({ match }) => match.printRemark ?? '').join('')

/** How -L prints. */
export interface ListFormat {
  readonly family: Family
  readonly numeric: boolean
  /** -v: counters and interfaces. */
  readonly verbose: boolean
  /** -x: no K, M, G. */
  readonly exact: boolean
  readonly lineNumbers: boolean
}

/** xtables_print_num() with its trailing blank; `padded` as in a table. */
export function formatCount(value: number, exact: boolean, padded: boolean): string {
  const text = countText(value)
  if (exact) return `${padded ? text.padStart(8) : text} `
  if (value <= 99999) return `${padded ? text.padStart(5) : text} `
  // Rounding wraps at 64 bits: the largest counters are 0K.
  let shown = value > Number.MAX_SAFE_INTEGER ? Number(BigInt.asUintN(64, BigInt(text) + 500n)) - 500 : value
  let unit = ''
  for (unit of ['K', 'M', 'G', 'T']) {
    shown = Math.floor((shown + 500) / 1000)
    if (shown <= 9999) break
  }
  return `${padded ? String(shown).padStart(4) : shown}${unit} `
}

/** `Chain NAME (policy …)` or `(n references)`, and the line of column names. */
export function listHeader(
  name: string,
  policy: (Counters & { readonly policy: string }) | null,
  references: number,
  format: ListFormat,
): string {
  let text = `Chain ${name}`
  if (policy === null) text += ` (${references} references)\n`
  else {
    text += ` (policy ${policy.policy}`
    if (format.verbose)
      text += ` ${formatCount(policy.packets, format.exact, false)}packets, ${formatCount(policy.bytes, format.exact, false)}bytes`
    text += ')\n'
  }
  if (format.lineNumbers) text += 'num  '
  if (format.verbose) text += format.exact ? '    pkts      bytes ' : ' pkts bytes '
  text += 'target     prot opt'
  if (format.verbose) text += ' in     out   '
  return `${text}${format.verbose ? ' ' : ''} source               destination         \n`
}

/** print_rule_details() gets a byte: mptcp, 262, is shown as tcp. */
const shownProtocol = ({ base: { protocol } }: Rule): number => (protocol?.number ?? 0) & 0xff

/** One row of -L, with the line end. */
export function listRule(rule: Rule, number: number, counters: Counters, format: ListFormat): string {
  const { family, numeric } = format
  const { protocol, fragment } = rule.base
  let text = format.lineNumbers ? `${String(number).padEnd(4)} ` : ''
  if (format.verbose)
    text +=
      formatCount(counters.packets, format.exact, true) + formatCount(counters.bytes, format.exact, true)
  text += `${columnOf(rule.target).padEnd(9)} `
  text += protocol?.invert ? '!' : ' '
  const shown = shownProtocol(rule)
  const name = protocolName(shown, !numeric)
  text += `${(numeric || name === null ? String(shown) : name).padEnd(4)} `
  text += `${fragmentFlags(fragment)} `
  if (format.verbose) {
    const any = numeric ? '*' : 'any'
    text += ` ${interfaceName(rule.base.inInterface, any).padEnd(6)} `
    text += `${interfaceName(rule.base.outInterface, any).padEnd(6)} `
  }
  for (const address of [rule.base.source, rule.base.destination])
    text += `${address?.invert ? '!' : ' '}${listAddress(address, family, numeric).padEnd(19)} `
  if (rule.target.kind === 'goto') text += '[goto] '
  return `${text}${listParts(rule, family, numeric)}\n`
}

/** What -v prints of a rule that it appends, inserts or deletes (FMT_PRINT_RULE), with the line end. */
export function describeRule(rule: Rule, family: Family): string {
  const { protocol, fragment, source, destination } = rule.base
  const number = shownProtocol(rule)
  let text = `${columnOf(rule.target)} ${protocol?.invert ? '!' : ' '}${protocolName(number) ?? number} `
  text += `opt ${fragmentFlags(fragment)} `
  text += `in ${interfaceName(rule.base.inInterface, '*')} out ${interfaceName(rule.base.outInterface, '*')} `
  text += `${source?.invert ? '!' : ' '}${listAddress(source, family, true)} `
  text += `${destination?.invert ? '!' : ' '}-> ${listAddress(destination, family, true)}`
  text += '  '
  if (rule.target.kind === 'goto') text += '[goto] '
  try {
    return `${text}${listParts(rule, family, true)}\n`
  } catch (error) {
    throw error instanceof PrintEnds ? new PrintEnds(text + error.message) : error
  }
}

function listParts(rule: Rule, family: Family, numeric: boolean): string {
  let text = ''
  for (const { match, data } of rule.matches) {
    try {
      const part = match.list ? match.list(data, numeric, family) : match.print(data, family)
      if (part !== '') text += match.listedTight ? part : ` ${part}`
    } catch (error) {
      throw error instanceof PrintEnds ? new PrintEnds(`${text} ${error.message}`) : error
    }
  }
  if (rule.target.kind === 'extension') {
    const { target, data } = rule.target
    const part = target.list ? target.list(data, numeric, family) : target.print(data, family)
    if (part !== '') text += ` ${part}`
  }
  return text
}

function columnOf(target: TargetUse): string {
  switch (target.kind) {
    case 'none':
      return ''
    case 'standard':
      return target.verdict
    case 'extension':
      return target.target.column ?? target.target.name
    default:
      return target.chain
  }
}

const fragmentFlags = (fragment: BaseMatch['fragment']): string =>
  fragment === null ? '--' : fragment.invert ? '!f' : '-f'

const interfaceName = (match: InterfaceMatch | null, any: string): string =>
  match === null ? any : `${match.invert ? '!' : ''}${match.name}`

/** As legacy prints an address: of IPv6 nothing but the address says whether it is any, of IPv4 the mask. */
function listAddress(match: AddressMatch | null, family: Family, numeric: boolean): string {
  if (match === null || (!numeric && (family === 4 ? match.mask : match.words).every((w) => w === 0)))
    return numeric ? (family === 4 ? '0.0.0.0/0' : '::/0') : 'anywhere'
  const { words, mask } = match
  return (numeric ? formatAddress(words, family) : nameOf(words, family)) + formatMask(mask, family)
}
