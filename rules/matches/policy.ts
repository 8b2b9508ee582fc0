// policy: the IPsec policy that a packet came or goes through (libxt_policy of iptables 1.8.9, policy_mt() of
// xt_policy.c). This host has no IPsec: no packet came through any, which is what `--pol none` asks for.

import type { Family } from '../../datapath/packet.ts'
import type { Match } from '../extension.ts'
import { addressField, bits, type Field, networkField } from '../layout.ts'
import { hostWords, OptionError, type Options, WholeError } from '../options.ts'
import {
  formatAddress,
  formatNetwork,
  parseAddress,
  prefixLength,
  prefixMask,
  type Words,
} from '../text/address.ts'
import { hex, wholeNumber } from '../text/numbers.ts'
import { protocolName, protocolNumber } from '../text/services.ts'
import { words } from './parts.ts'

interface Asked<T> {
  readonly value: T
  readonly invert: boolean
}

interface Tunnel {
  readonly words: Words
  readonly mask: Words
}

type Mode = 'transport' | 'tunnel'

/** One element of a policy; what is not asked is left out. */
export interface PolicyElement {
  readonly reqid?: Asked<number>
  readonly spi?: Asked<number>
  readonly proto?: Asked<number>
  readonly mode?: Asked<Mode>
  readonly tunnelDst?: Asked<Tunnel>
  readonly tunnelSrc?: Asked<Tunnel>
}

export interface Policy {
  readonly direction: 'in' | 'out'
  readonly none: boolean
  readonly strict: boolean
  readonly elements: readonly PolicyElement[]
}

const MAX_ELEMENTS = 4
const PROTOCOLS = [51, 50, 108]
const MODES = ['transport', 'tunnel']
const WITHOUT_IN = ['OUTPUT', 'POSTROUTING']
const WITHOUT_OUT = ['PREROUTING', 'INPUT']
const ELEMENT = ['reqid', 'spi', 'proto', 'mode', 'tunnel-dst', 'tunnel-src'] as const
type ElementFlag = (typeof ELEMENT)[number]

const fail = (message: string): never => {
  throw new OptionError(`policy match: ${message}`)
}

function parseTunnel(text: string, flag: string, family: Family): Tunnel {
  const bits = family === 4 ? 32 : 128
  const slash = text.indexOf('/')
  if (slash < 0) return { words: hostWords(text, family), mask: prefixMask(bits, family) }
  const maskText = text.slice(slash + 1)
  const address = hostWords(text.slice(0, slash), family)
  let length = wholeNumber(maskText, 0, bits)
  if (length === null) {
    const mask = parseAddress(maskText, family)
    if (mask === null)
      throw new OptionError(
        `policy: bad value for option "--${flag}", neither a valid network mask nor valid CIDR (0-${bits}).\n`,
      )
    length = prefixLength(mask, family)
  }
  return { words: address, mask: prefixMask(length < 0 ? bits : length, family) }
}

function parseNumber(text: string, flag: string): number {
  const value = wholeNumber(text, 0, 0xffffffff)
  if (value === null)
    throw new OptionError(`policy: bad value for option "--${flag}", or out of range (0-4294967295).\n`)
  return value
}

function parseProto(text: string): number {
  const number = protocolNumber(text)
  if (number === null) throw new OptionError(`unknown protocol "${text}" specified`)
  return number
}

function parseElement(flag: ElementFlag, text: string, invert: boolean, family: Family): PolicyElement {
  switch (flag) {
    case 'reqid':
      return { reqid: { value: parseNumber(text, flag), invert } }
    case 'spi':
      return { spi: { value: parseNumber(text, flag), invert } }
    case 'proto':
      return { proto: { value: parseProto(text), invert } }
    case 'mode':
      return { mode: { value: text as Mode, invert } }
    case 'tunnel-dst':
      return { tunnelDst: { value: parseTunnel(text, flag, family), invert } }
    case 'tunnel-src':
      return { tunnelSrc: { value: parseTunnel(text, flag, family), invert } }
  }
}

/** What policy_parse() minds once it knows that the option is no double. */
function checkElement({ mode, proto }: PolicyElement): void {
  if (mode !== undefined && !MODES.includes(mode.value)) fail(`invalid mode "${mode.value}"`)
  if (proto !== undefined && !PROTOCOLS.includes(proto.value)) fail('protocol must be ah/esp/ipcomp')
}

/** Elements in the order of the options; `--next` begins another one. */
function parseElements(o: Options): PolicyElement[] {
  let element: PolicyElement = {}
  const elements: PolicyElement[] = []
  const used = new Map<string, number>()
  for (const flag of o.given()) {
    if (flag === 'next') {
      elements.push(element)
      if (elements.length === MAX_ELEMENTS) fail('maximum policy depth reached')
      element = {}
      continue
    }
    const known = ELEMENT.find((name) => name === flag)
    if (known === undefined) continue
    const i = used.get(flag) ?? 0
    used.set(flag, i + 1)
    const part = parseElement(known, o.texts(flag)[i]!, o.inversions(flag)[i]!, o.family)
    if (Object.keys(part).some((key) => key in element)) fail(`double --${flag} option`)
    checkElement(part)
    element = { ...element, ...part }
  }
  return [...elements, element]
}

const refuse = (message: string): never => {
  throw new WholeError(`policy match: ${message}`)
}

function check(m: Policy): void {
  if (m.none) {
    if (m.strict) refuse('policy none but --strict given')
    // --next alone counts elements.
    if (m.elements.length > 1) refuse('policy none but policy given')
    return
  }
  for (const [i, e] of m.elements.entries()) {
    if (m.strict && Object.keys(e).length === 0)
      refuse(
        `empty policy element ${i}. --strict is in effect, but at least one of reqid, spi, tunnel-src, tunnel-dst, proto or mode is required.`,
      )
    if ((e.tunnelSrc || e.tunnelDst) && (e.mode?.value !== 'tunnel' || e.mode.invert))
      refuse('--tunnel-src/--tunnel-dst is only valid in tunnel mode')
  }
}

function formatElement(e: PolicyElement, dashes: string, numeric: boolean, family: Family): string {
  const put = <T>(flag: string, asked: Asked<T> | undefined, text: (value: T) => string): string =>
    asked === undefined ? '' : `${asked.invert ? '! ' : ''}${dashes}${flag} ${text(asked.value)}`
  const tunnel = ({ words: address, mask }: Tunnel): string =>
    prefixLength(mask, family) === (family === 4 ? 32 : 128)
      ? formatAddress(address, family)
      : formatNetwork(address, mask, family)
  return words(
    put('reqid', e.reqid, String),
    put('spi', e.spi, hex),
    put('proto', e.proto, (value) =>
      numeric ? String(value) : (protocolName(value, true) ?? String(value)),
    ),
    put('mode', e.mode, String),
    put('tunnel-dst', e.tunnelDst, tunnel),
    put('tunnel-src', e.tunnelSrc, tunnel),
  )
}

/** struct xt_policy_elem. */
function elementFields(at: number, e: PolicyElement): Field[] {
  const asked = [e.tunnelSrc, e.tunnelDst, e.proto, e.mode, e.spi, e.reqid]
  return [
    addressField(at, e.tunnelSrc?.value.words),
    addressField(at + 16, e.tunnelSrc?.value.mask),
    addressField(at + 32, e.tunnelDst?.value.words),
    addressField(at + 48, e.tunnelDst?.value.mask),
    networkField(at + 64, e.spi?.value ?? 0),
    [at + 68, 4, e.reqid?.value ?? 0],
    [at + 72, 1, e.proto?.value ?? 0],
    [at + 73, 1, e.mode?.value === 'tunnel' ? 1 : 0],
    [at + 74, 1, bits(...asked.map((one) => one !== undefined))],
    [at + 75, 1, bits(...asked.map((one) => one?.invert))],
  ]
}

export const policy: Match<Policy> = {
  kind: 'match',
  name: 'policy',
  families: [4, 6],
  layout: {
    size: 312,
    fields: (m) => [
      ...Array.from({ length: MAX_ELEMENTS }, (_, i) => elementFields(76 * i, m.elements[i] ?? {})).flat(),
      [304, 2, bits(m.direction === 'in', m.direction === 'out', m.none, m.strict)],
      [306, 2, m.none ? 0 : m.elements.length],
    ],
  },
  options: [
    { flag: 'dir' },
    { flag: 'pol' },
    { flag: 'strict', arg: 'none' },
    ...ELEMENT.map((flag) => ({
      flag,
      multiple: true,
      invertible: true,
      ...(flag.startsWith('tunnel') && { holds: 'address' as const }),
    })),
    { flag: 'next', arg: 'none', multiple: true, also: ['strict'] },
  ],
  help: `policy match options:
  --dir in|out			match policy applied during decapsulation/
				policy to be applied during encapsulation
  --pol none|ipsec		match policy
  --strict 			match entire policy instead of single element
				at any position
These options may be used repeatedly, to describe policy elements:
[!] --reqid reqid		match reqid
[!] --spi spi			match SPI
[!] --proto proto		match protocol (ah/esp/ipcomp)
[!] --mode mode 		match mode (transport/tunnel)
[!] --tunnel-src addr/mask	match tunnel source
[!] --tunnel-dst addr/mask	match tunnel destination
  --next 			begin next element in policy
`,
  parse(o) {
    const direction = o.has('dir') ? o.text('dir') : null
    if (direction !== null && direction !== 'in' && direction !== 'out')
      throw new OptionError(`policy_match: invalid dir "${direction}"`)
    const pol = o.has('pol') ? o.text('pol') : 'ipsec'
    if (pol !== 'none' && pol !== 'ipsec') fail(`invalid policy "${pol}"`)
    const elements = parseElements(o)
    if (direction === null) return refuse('neither --dir in nor --dir out specified')
    const none = pol === 'none'
    const data: Policy = { direction, none, strict: o.has('strict'), elements }
    check(data)
    if (o.has('next') && !data.strict)
      throw new WholeError('policy: option "--next" also requires "--strict".\n')
    return data
  },
  print: (m, family) =>
    words(
      `--dir ${m.direction} --pol ${m.none ? 'none' : 'ipsec'}`,
      m.strict ? '--strict' : '',
      (m.none ? [] : m.elements)
        .map((e) => formatElement(e, '--', false, family))
        .join(' --next ')
        .trim(),
    ),
  list: (m, numeric, family) =>
    words(
      `policy match dir ${m.direction} pol ${m.none ? 'none' : 'ipsec'}`,
      m.strict ? 'strict' : '',
      ...(m.none ? [] : m.elements).map((e, i) =>
        words(m.elements.length > 1 ? `[${i}]` : '', formatElement(e, '', numeric, family)),
      ),
    ),
  check(m, use) {
    if (m.direction === 'out' && use.hooks.some((hook) => WITHOUT_OUT.includes(hook)))
      return 'policy: output policy not valid in PREROUTING and INPUT'
    if (m.direction === 'in' && use.hooks.some((hook) => WITHOUT_IN.includes(hook)))
      return 'policy: input policy not valid in POSTROUTING and OUTPUT'
    return null
  },
  reads: [],
  emit: (m, js) => js`${m.none}`,
}
