// icmp6: type and code of the ICMPv6 header (libip6t_icmp6 of iptables 1.8.9, icmp6_match() of xt_tcpudp.c).

import { IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { OptionError } from '../options.ts'
import { strtoul } from '../text/numbers.ts'
import type { Icmp } from './icmp.ts'
import { abbreviates, headerFits, inRange } from './parts.ts'

type Name = readonly [name: string, type: number, codeMin: number, codeMax: number]
const all = (name: string, type: number): Name => [name, type, 0, 0xff]
const one = (name: string, type: number, code: number): Name => [name, type, code, code]

/** In iptables' order: an abbreviation must fit only one, and a listing names the first that fits. */
export const ICMPV6_NAMES: readonly Name[] = [
  all('destination-unreachable', 1),
  one('no-route', 1, 0),
  one('communication-prohibited', 1, 1),
  one('beyond-scope', 1, 2),
  one('address-unreachable', 1, 3),
  one('port-unreachable', 1, 4),
  one('failed-policy', 1, 5),
  one('reject-route', 1, 6),
  all('packet-too-big', 2),
  all('time-exceeded', 3),
  all('ttl-exceeded', 3),
  one('ttl-zero-during-transit', 3, 0),
  one('ttl-zero-during-reassembly', 3, 1),
  all('parameter-problem', 4),
  one('bad-header', 4, 0),
  one('unknown-header-type', 4, 1),
  one('unknown-option', 4, 2),
  all('echo-request', 128),
  all('ping', 128),
  all('echo-reply', 129),
  all('pong', 129),
  all('router-solicitation', 133),
  all('router-advertisement', 134),
  all('neighbour-solicitation', 135),
  all('neighbor-solicitation', 135),
  all('neighbour-advertisement', 136),
  all('neighbor-advertisement', 136),
  all('redirect', 137),
]

function parseType(text: string): Omit<Icmp, 'invert'> {
  let found: Name | null = null
  for (const name of ICMPV6_NAMES) {
    if (!abbreviates(text, name[0])) continue
    if (found !== null)
      throw new OptionError(`Ambiguous ICMPv6 type \`${text}': \`${found[0]}' or \`${name[0]}'?`)
    found = name
  }
  if (found !== null) return { type: found[1], codeMin: found[2], codeMax: found[3] }
  const slash = text.indexOf('/')
  const types = readRange(slash < 0 ? text : text.slice(0, slash))
  if (types === null) throw new OptionError(`Unknown ICMPv6 type \`${text}'`)
  if (types.rest !== '') throw new OptionError(`unknown character ${types.rest[0]}`)
  if (types.ranged) throw new OptionError('ICMPv6 type range not supported')
  if (slash < 0) return { type: types.min, codeMin: 0, codeMax: 0xff }
  const codes = readRange(text.slice(slash + 1))
  if (codes === null) throw new OptionError(`Unknown ICMPv6 code \`${text}'`)
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

export const icmp6: Match<Icmp> = {
  kind: 'match',
  name: 'icmp6',
  families: [6],
  layout: {
    size: 8,
    fields: ({ type, codeMin, codeMax, invert }) => [
      [0, 1, type],
      [1, 1, codeMin],
      [2, 1, codeMax],
      [3, 1, Number(invert)],
    ],
  },
  protocols: [IPPROTO_ICMPV6],
  options: [{ flag: 'icmpv6-type', invertible: true, required: true }],
  help: `icmpv6 match options:
[!] --icmpv6-type typename	match icmpv6 type
				(or numeric type or type/code)
Valid ICMPv6 Types:
destination-unreachable
   no-route
   communication-prohibited
   beyond-scope
   address-unreachable
   port-unreachable
   failed-policy
   reject-route
packet-too-big
time-exceeded (ttl-exceeded)
   ttl-zero-during-transit
   ttl-zero-during-reassembly
parameter-problem
   bad-header
   unknown-header-type
   unknown-option
echo-request (ping)
echo-reply (pong)
router-solicitation
router-advertisement
neighbour-solicitation (neighbor-solicitation)
neighbour-advertisement (neighbor-advertisement)
redirect
`,
  parse: (o) => ({ ...parseType(o.text('icmpv6-type')), invert: o.inverted('icmpv6-type') }),
  // A range of codes is cut to its first, as ip6tables-save cuts it.
  print: (m) => `${m.invert ? '! ' : ''}--icmpv6-type ${m.type}${allCodes(m) ? '' : `/${m.codeMin}`}`,
  list(m, numeric) {
    const name = numeric
      ? undefined
      : ICMPV6_NAMES.find(([, type, min, max]) => type === m.type && min === m.codeMin && max === m.codeMax)
    if (name !== undefined) return `ipv6-icmp ${m.invert ? '!' : ''}${name[0]}`
    const codes =
      m.codeMin === m.codeMax ? ` code ${m.codeMin}` : allCodes(m) ? '' : ` codes ${m.codeMin}-${m.codeMax}`
    return `ipv6-icmp${m.invert ? ' !' : ''}type ${m.type}${codes}`
  },
  reads: ['protocol', 'fragment', 'icmp'],
  hotdrop: true,
  emit(m, js) {
    const bytes = js.bind(js.env.host.memory.bytes)
    const type = js`${bytes}[pkt.l4] === ${m.type}`
    const same = allCodes(m)
      ? type
      : js`${type} && ${inRange(js`${bytes}[pkt.l4 + 1]`, [m.codeMin, m.codeMax], 0xff, false, js)}`
    return m.invert ? js`${headerFits(8, js)} && !${same}` : js`${headerFits(8, js)} && ${same}`
  },
}
