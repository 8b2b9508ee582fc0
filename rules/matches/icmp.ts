// icmp: type and code of the ICMP header (libipt_icmp of iptables 1.8.9, icmp_match() of xt_tcpudp.c).

import { IPPROTO_ICMP } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { OptionError } from '../options.ts'
import { strtoul } from '../text/numbers.ts'
import { abbreviates, headerFits, inRange } from './parts.ts'

export interface Icmp {
  /** 255: any. */
  readonly type: number
  readonly codeMin: number
  readonly codeMax: number
  readonly invert: boolean
}

const ANY_TYPE = 0xff

type Name = readonly [name: string, type: number, codeMin: number, codeMax: number]
const all = (name: string, type: number): Name => [name, type, 0, 0xff]
const one = (name: string, type: number, code: number): Name => [name, type, code, code]

/** In iptables' order: an abbreviation must fit only one, and a listing names the first that fits. */
export const ICMP_NAMES: readonly Name[] = [
  all('any', ANY_TYPE),
  all('echo-reply', 0),
  all('pong', 0),
  all('destination-unreachable', 3),
  one('network-unreachable', 3, 0),
  one('host-unreachable', 3, 1),
  one('protocol-unreachable', 3, 2),
  one('port-unreachable', 3, 3),
  one('fragmentation-needed', 3, 4),
  one('source-route-failed', 3, 5),
  one('network-unknown', 3, 6),
  one('host-unknown', 3, 7),
  one('network-prohibited', 3, 9),
  one('host-prohibited', 3, 10),
  one('TOS-network-unreachable', 3, 11),
  one('TOS-host-unreachable', 3, 12),
  one('communication-prohibited', 3, 13),
  one('host-precedence-violation', 3, 14),
  one('precedence-cutoff', 3, 15),
  all('source-quench', 4),
  all('redirect', 5),
  one('network-redirect', 5, 0),
  one('host-redirect', 5, 1),
  one('TOS-network-redirect', 5, 2),
  one('TOS-host-redirect', 5, 3),
  all('echo-request', 8),
  all('ping', 8),
  all('router-advertisement', 9),
  all('router-solicitation', 10),
  all('time-exceeded', 11),
  all('ttl-exceeded', 11),
  one('ttl-zero-during-transit', 11, 0),
  one('ttl-zero-during-reassembly', 11, 1),
  all('parameter-problem', 12),
  one('ip-header-bad', 12, 0),
  one('required-option-missing', 12, 1),
  all('timestamp-request', 13),
  all('timestamp-reply', 14),
  all('address-mask-request', 17),
  all('address-mask-reply', 18),
]

function parseType(text: string): Omit<Icmp, 'invert'> {
  let found: Name | null = null
  for (const name of ICMP_NAMES) {
    if (!abbreviates(text, name[0])) continue
    if (found !== null)
      throw new OptionError(`Ambiguous ICMP type \`${text}': \`${found[0]}' or \`${name[0]}'?`)
    found = name
  }
  if (found !== null) return { type: found[1], codeMin: found[2], codeMax: found[3] }
  // A range of types is read, and refused; one of codes is taken.
  const slash = text.indexOf('/')
  const types = readRange(slash < 0 ? text : text.slice(0, slash))
  if (types === null) throw new OptionError(`Unknown ICMP type \`${text}'`)
  if (types.rest !== '') throw new OptionError(`unknown character ${types.rest[0]}`)
  if (types.ranged) throw new OptionError('ICMP type range not supported')
  if (slash < 0) return { type: types.min, codeMin: 0, codeMax: 0xff }
  const codes = readRange(text.slice(slash + 1))
  if (codes === null) throw new OptionError(`Unknown ICMP code \`${text}'`)
  if (codes.rest !== '') throw new OptionError(`unknown character ${codes.rest[0]}`)
  return { type: types.min, codeMin: codes.min, codeMax: codes.max }
}

/** `n` or `n:m` of 0 to 255, and what is left of the text. */
function readRange(
  text: string,
): { readonly min: number; readonly max: number; readonly ranged: boolean; readonly rest: string } | null {
  const min = strtoul(text, 0, 0xff)
  if (min === null) return null
  if (text[min.end] !== ':')
    return { min: min.value, max: min.value, ranged: false, rest: text.slice(min.end) }
  const tail = text.slice(min.end + 1)
  const max = strtoul(tail, 0, 0xff)
  return max === null ? null : { min: min.value, max: max.value, ranged: true, rest: tail.slice(max.end) }
}

const allCodes = (m: Icmp): boolean => m.codeMin === 0 && m.codeMax === 0xff

export const icmp: Match<Icmp> = {
  kind: 'match',
  name: 'icmp',
  families: [4],
  protocols: [IPPROTO_ICMP],
  options: [{ flag: 'icmp-type', invertible: true, required: true }],
  help: `icmp match options:
[!] --icmp-type typename	match icmp type
[!] --icmp-type type[/code]	(or numeric type or type/code)
Valid ICMP Types:
any
echo-reply (pong)
destination-unreachable
   network-unreachable
   host-unreachable
   protocol-unreachable
   port-unreachable
   fragmentation-needed
   source-route-failed
   network-unknown
   host-unknown
   network-prohibited
   host-prohibited
   TOS-network-unreachable
   TOS-host-unreachable
   communication-prohibited
   host-precedence-violation
   precedence-cutoff
source-quench
redirect
   network-redirect
   host-redirect
   TOS-network-redirect
   TOS-host-redirect
echo-request (ping)
router-advertisement
router-solicitation
time-exceeded (ttl-exceeded)
   ttl-zero-during-transit
   ttl-zero-during-reassembly
parameter-problem
   ip-header-bad
   required-option-missing
timestamp-request
timestamp-reply
address-mask-request
address-mask-reply
`,
  parse: (o) => ({ ...parseType(o.text('icmp-type')), invert: o.inverted('icmp-type') }),
  // A range of codes is cut to its first, as iptables-save cuts it.
  print(m) {
    const type = m.type === ANY_TYPE ? 'any' : allCodes(m) ? `${m.type}` : `${m.type}/${m.codeMin}`
    return `${m.invert ? '! ' : ''}--icmp-type ${type}`
  },
  list(m, numeric) {
    const name = numeric
      ? undefined
      : ICMP_NAMES.find(([, type, min, max]) => type === m.type && min === m.codeMin && max === m.codeMax)
    if (name !== undefined) return `icmp ${m.invert ? '!' : ''}${name[0]}`
    const codes =
      m.codeMin === m.codeMax ? ` code ${m.codeMin}` : allCodes(m) ? '' : ` codes ${m.codeMin}-${m.codeMax}`
    return `icmp${m.invert ? ' !' : ''}type ${m.type}${codes}`
  },
  reads: ['protocol', 'fragment', 'icmp'],
  hotdrop: true,
  emit(m, js) {
    const fits = headerFits(8, js)
    if (m.type === ANY_TYPE) return m.invert ? js`${fits} && false` : fits
    const bytes = js.bind(js.env.host.memory.bytes)
    const type = js`${bytes}[pkt.l4] === ${m.type}`
    const same = allCodes(m)
      ? type
      : js`${type} && ${inRange(js`${bytes}[pkt.l4 + 1]`, [m.codeMin, m.codeMax], 0xff, false, js)}`
    return m.invert ? js`${fits} && !${same}` : js`${fits} && ${same}`
  },
}
