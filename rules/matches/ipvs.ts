// ipvs: packets of virtual servers (libxt_ipvs of iptables 1.8.9, ipvs_mt() of xt_ipvs.c). This host balances no load:
// no packet belongs to an IPVS connection.

import type { Match } from '../extension.ts'
import { addressField, bits, portField } from '../layout.ts'
import { OptionError, type Options, PARAMETER_PROBLEM, WholeError } from '../options.ts'
import { formatAddress, formatMask, type Words } from '../text/address.ts'
import { nameOf } from '../text/host-names.ts'
import { protocolNumber } from '../text/services.ts'
import { words } from './parts.ts'

export interface Ipvs {
  /** Only --ipvs, or not even that beside other options. */
  readonly invert: boolean
  readonly protocol: { readonly number: number; readonly invert: boolean } | null
  readonly address: { readonly words: Words; readonly mask: Words; readonly invert: boolean } | null
  readonly port: { readonly number: number; readonly invert: boolean } | null
  readonly reply: boolean | null
  readonly method: { readonly name: string; readonly invert: boolean } | null
  readonly controlPort: { readonly number: number; readonly invert: boolean } | null
}

const METHODS = ['GATE', 'IPIP', 'MASQ']

function named(o: Options, flag: string, names: readonly string[]): string {
  const text = o.text(flag).toUpperCase()
  if (!names.includes(text))
    throw new OptionError(
      `ipvs: Bad value for "--${flag}" option: "${o.text(flag)}"`,
      PARAMETER_PROBLEM,
      true,
    )
  return text
}

function protocolOf(text: string): number {
  const number = protocolNumber(text)
  if (number === null) throw new OptionError(`unknown protocol "${text}" specified`, PARAMETER_PROBLEM, true)
  return number
}

/** IP_VS_CONN_F_*. */
const METHOD_NUMBERS: Readonly<Record<string, number>> = { MASQ: 0, IPIP: 2, GATE: 3 }

const isBare = (m: Ipvs): boolean =>
  m.protocol === null &&
  m.address === null &&
  m.port === null &&
  m.reply === null &&
  m.method === null &&
  m.controlPort === null

const not = (of: { readonly invert: boolean }): string => (of.invert ? '! ' : '')

function format(m: Ipvs, dash: string, numeric: boolean, family: 4 | 6): string {
  const any = m.address !== null && !numeric && m.address.words.every((word) => word === 0)
  return words(
    isBare(m) ? `${not(m)}${dash}ipvs` : '',
    m.protocol === null ? '' : `${not(m.protocol)}${dash}proto ${m.protocol.number}`,
    m.address === null
      ? ''
      : `${not(m.address)}${dash}vaddr ${any ? 'anywhere' : (numeric ? formatAddress : nameOf)(m.address.words, family) + formatMask(m.address.mask, family)}`,
    m.port === null ? '' : `${not(m.port)}${dash}vport ${m.port.number}`,
    m.reply === null ? '' : `${dash}vdir ${m.reply ? 'REPLY' : 'ORIGINAL'}`,
    m.method === null ? '' : `${not(m.method)}${dash}vmethod ${m.method.name}`,
    m.controlPort === null ? '' : `${not(m.controlPort)}${dash}vportctl ${m.controlPort.number}`,
  )
}

export const ipvs: Match<Ipvs> = {
  kind: 'match',
  name: 'ipvs',
  families: [4, 6],
  layout: {
    size: 40,
    fields: (m) => {
      const asked = [
        undefined,
        m.protocol,
        m.address,
        m.port,
        m.reply === null ? null : { invert: m.reply },
        m.method,
        m.controlPort,
      ]
      return [
        addressField(0, m.address?.words),
        addressField(16, m.address?.mask),
        portField(32, m.port?.number ?? 0),
        [34, 1, m.protocol?.number ?? 0],
        [35, 1, METHOD_NUMBERS[m.method?.name ?? 'MASQ'] ?? 0],
        portField(36, m.controlPort?.number ?? 0),
        [38, 1, bits(m.invert, ...asked.slice(1).map((one) => one?.invert))],
        [39, 1, bits(isBare(m), ...asked.slice(1).map((one) => one !== null))],
      ]
    },
  },
  options: [
    { flag: 'ipvs', arg: 'none', invertible: true },
    { flag: 'vproto', invertible: true },
    { flag: 'vaddr', holds: 'address', invertible: true },
    { flag: 'vport', invertible: true },
    { flag: 'vdir' },
    { flag: 'vmethod', invertible: true },
    { flag: 'vportctl', invertible: true },
  ],
  help: `IPVS match options:
[!] --ipvs                      packet belongs to an IPVS connection

Any of the following options implies --ipvs (even negated)
[!] --vproto protocol           VIP protocol to match; by number or name,
                                e.g. "tcp"
[!] --vaddr address[/mask]      VIP address to match
[!] --vport port                VIP port to match; by number or name,
                                e.g. "http"
    --vdir {ORIGINAL|REPLY}     flow direction of packet
[!] --vmethod {GATE|IPIP|MASQ}  IPVS forwarding method used
[!] --vportctl port             VIP port of the controlling connection to
                                match, e.g. 21 for FTP
`,
  parse(o) {
    const invertOf = (flag: string) => ({ invert: o.inverted(flag) })
    const m: Ipvs = {
      invert: o.inverted('ipvs'),
      protocol: o.has('vproto') ? { number: protocolOf(o.text('vproto')), ...invertOf('vproto') } : null,
      address: o.has('vaddr') ? { ...o.addressMask('vaddr'), ...invertOf('vaddr') } : null,
      port: o.has('vport') ? { number: o.port('vport'), ...invertOf('vport') } : null,
      reply: o.has('vdir') ? named(o, 'vdir', ['ORIGINAL', 'REPLY']) === 'REPLY' : null,
      method: o.has('vmethod') ? { name: named(o, 'vmethod', METHODS), ...invertOf('vmethod') } : null,
      controlPort: o.has('vportctl') ? { number: o.port('vportctl'), ...invertOf('vportctl') } : null,
    }
    if (o.given().length === 0) throw new WholeError('IPVS: At least one option is required')
    if (m.invert && !isBare(m)) throw new WholeError('! --ipvs cannot be together with other options')
    return m
  },
  // Differs from Linux: iptables-save prints `--proto`, which iptables-restore takes for the rule's own protocol.
  print: (m, family) => format(m, '--', true, family).replace('--proto ', '--vproto '),
  list: (m, numeric, family) => format(m, '', numeric, family),
  reads: [],
  emit: (m, js) => js`${isBare(m) && m.invert}`,
}
