// srh: the segment routing header, RFC 8754 §2 (libip6t_srh of iptables 1.8.9, srh1_mt6() of ip6t_srh.c). A packet
// without one, or with a damaged one, does not fit, whatever is inverted.

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { extensionLength, findHeader, NEXTHDR_ROUTING } from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { addressField, bits, type Field } from '../layout.ts'
import type { Options } from '../options.ts'
import { formatAddress, prefixLength, type Words } from '../text/address.ts'
import { words } from './parts.ts'

/** Null: not asked; else whether it is inverted. */
type Asked = boolean | null

interface Compared {
  /** One for all three: the option read last counts. */
  readonly value: number
  readonly eq: Asked
  readonly gt: Asked
  readonly lt: Asked
}

interface Sid {
  readonly words: Words
  readonly mask: Words
  readonly invert: boolean
}

export interface Srh {
  readonly nextHeader: { readonly value: number; readonly invert: boolean } | null
  readonly length: Compared
  readonly left: Compared
  readonly last: Compared
  readonly tag: { readonly value: number; readonly invert: boolean } | null
  readonly previous: Sid | null
  readonly next: Sid | null
  readonly lastSid: Sid | null
}

const SRH_HEADER_LEN = 8
/** IPV6_SRCRT_TYPE_4 */
const TYPE_SEGMENTS = 4
const COMPARISONS = ['eq', 'gt', 'lt'] as const

function parseCompared(o: Options, flag: string): Compared {
  const last = o.given().findLast((name) => name.startsWith(`${flag}-`))
  for (const how of COMPARISONS) if (o.has(`${flag}-${how}`)) o.uint(`${flag}-${how}`, 8)
  const asked = (how: string): Asked => (o.has(`${flag}-${how}`) ? o.inverted(`${flag}-${how}`) : null)
  return {
    value: last === undefined ? 0 : o.uint(last, 8),
    eq: asked('eq'),
    gt: asked('gt'),
    lt: asked('lt'),
  }
}

function parseSid(o: Options, flag: string): Sid | null {
  return o.has(flag) ? { ...o.addressMask(flag), invert: o.inverted(flag) } : null
}

const printCompared = (flag: string, { value, ...asked }: Compared): string =>
  words(
    ...COMPARISONS.map((how) =>
      asked[how] === null ? '' : `${asked[how] ? '! ' : ''}--${flag}-${how} ${value}`,
    ),
  )

const listCompared = (name: string, { value, ...asked }: Compared): string =>
  words(
    ...COMPARISONS.map((how) =>
      asked[how] === null ? '' : `${name}-${how}:${asked[how] ? '!' : ''}${value}`,
    ),
  )

const network = (sid: Sid): string => `${formatAddress(sid.words, 6)}/${prefixLength(sid.mask, 6)}`

const printSid = (flag: string, sid: Sid | null): string =>
  sid === null ? '' : `${sid.invert ? '! ' : ''}--${flag} ${network(sid)}`

/** Two blanks where `!` might stand. */
const listSid = (name: string, sid: Sid | null): string =>
  sid === null ? '' : `${name} ${sid.invert ? '!' : ''} ${network(sid)}`

/** True if a field is as none of the comparisons wants it. */
function fails(field: number, m: Compared): boolean {
  if (m.eq !== null && (field === m.value) === m.eq) return true
  if (m.gt !== null && field > m.value === m.gt) return true
  return m.lt !== null && field < m.value === m.lt
}

function isSid(view: DataView, at: number, end: number, sid: Sid): boolean {
  if (at + 16 > end) return false
  const { words: w, mask } = sid
  const same =
    ((view.getInt32(at) ^ w[0]) & mask[0]) === 0 &&
    ((view.getInt32(at + 4) ^ w[1]) & mask[1]) === 0 &&
    ((view.getInt32(at + 8) ^ w[2]) & mask[2]) === 0 &&
    ((view.getInt32(at + 12) ^ w[3]) & mask[3]) === 0
  return same !== sid.invert
}

/** Does not allocate. */
function fits(pkt: Packet, { bytes, view }: FrameMemory, m: Srh): boolean {
  const end = pkt.end
  const at = findHeader(view, pkt.l3, end, NEXTHDR_ROUTING)
  if (at < 0 || at + SRH_HEADER_LEN > end) return false
  if (end - at < extensionLength(view, NEXTHDR_ROUTING, at)) return false
  const left = bytes[at + 3]!
  const last = bytes[at + 4]!
  if (bytes[at + 2] !== TYPE_SEGMENTS || left > last) return false
  if (m.nextHeader !== null && (bytes[at] === m.nextHeader.value) === m.nextHeader.invert) return false
  if (fails(bytes[at + 1]!, m.length) || fails(left, m.left) || fails(last, m.last)) return false
  // Neither tool nor kernel turns the tag's bytes: on a little-endian machine 5 stands for 1280.
  if (m.tag !== null && (view.getUint16(at + 6, true) === m.tag.value) === m.tag.invert) return false
  const list = at + SRH_HEADER_LEN
  // Segments stand in reverse: the last one first.
  if (m.previous !== null && (left === last || !isSid(view, list + (left + 1) * 16, end, m.previous)))
    return false
  if (m.next !== null && (left === 0 || !isSid(view, list + (left - 1) * 16, end, m.next))) return false
  return m.lastSid === null || isSid(view, list, end, m.lastSid)
}

export const srh: Match<Srh> = {
  kind: 'match',
  name: 'srh',
  revision: 1,
  families: [6],
  layout: {
    size: 112,
    fields: (m) => {
      const compared = [m.length, m.left, m.last]
      const sids = [m.previous, m.next, m.lastSid]
      const asked = [
        m.nextHeader?.invert,
        ...compared.flatMap(({ eq, gt, lt }) => [eq, gt, lt]),
        m.tag?.invert,
        ...sids.map((sid) => sid?.invert),
      ]
      return [
        [0, 1, m.nextHeader?.value ?? 0],
        ...compared.map(({ value }, i): Field => [1 + i, 1, value]),
        [4, 2, m.tag?.value ?? 0],
        ...sids.flatMap((sid, i) => [
          addressField(8 + 16 * i, sid?.words),
          addressField(56 + 16 * i, sid?.mask),
        ]),
        [104, 2, bits(...asked.map((invert) => invert != null))],
        [106, 2, bits(...asked.map((invert) => invert === true))],
      ]
    },
  },
  options: [
    'next-hdr',
    ...['hdr-len', 'segs-left', 'last-entry'].flatMap((field) => COMPARISONS.map((how) => `${field}-${how}`)),
    'tag',
    'psid',
    'nsid',
    'lsid',
  ].map((flag) => ({
    flag: `srh-${flag}`,
    invertible: true,
    ...(flag.endsWith('sid') && { holds: 'address' as const }),
  })),
  help: `srh match options:
[!] --srh-next-hdr		next-hdr        Next Header value of SRH
[!] --srh-hdr-len-eq		hdr_len         Hdr Ext Len value of SRH
[!] --srh-hdr-len-gt		hdr_len         Hdr Ext Len value of SRH
[!] --srh-hdr-len-lt		hdr_len         Hdr Ext Len value of SRH
[!] --srh-segs-left-eq		segs_left       Segments Left value of SRH
[!] --srh-segs-left-gt		segs_left       Segments Left value of SRH
[!] --srh-segs-left-lt		segs_left       Segments Left value of SRH
[!] --srh-last-entry-eq 	last_entry      Last Entry value of SRH
[!] --srh-last-entry-gt 	last_entry      Last Entry value of SRH
[!] --srh-last-entry-lt 	last_entry      Last Entry value of SRH
[!] --srh-tag			tag             Tag value of SRH
[!] --srh-psid			addr[/mask]	SRH previous SID
[!] --srh-nsid			addr[/mask]	SRH next SID
[!] --srh-lsid			addr[/mask]	SRH Last SID
`,
  parse(o) {
    const number = (flag: string, bits: 8 | 16) =>
      o.has(flag) ? { value: o.uint(flag, bits), invert: o.inverted(flag) } : null
    return {
      nextHeader: number('srh-next-hdr', 8),
      length: parseCompared(o, 'srh-hdr-len'),
      left: parseCompared(o, 'srh-segs-left'),
      last: parseCompared(o, 'srh-last-entry'),
      tag: number('srh-tag', 16),
      previous: parseSid(o, 'srh-psid'),
      next: parseSid(o, 'srh-nsid'),
      lastSid: parseSid(o, 'srh-lsid'),
    }
  },
  print: (m) =>
    words(
      m.nextHeader === null ? '' : `${m.nextHeader.invert ? '! ' : ''}--srh-next-hdr ${m.nextHeader.value}`,
      printCompared('srh-hdr-len', m.length),
      printCompared('srh-segs-left', m.left),
      printCompared('srh-last-entry', m.last),
      m.tag === null ? '' : `${m.tag.invert ? '! ' : ''}--srh-tag ${m.tag.value}`,
      printSid('srh-psid', m.previous),
      printSid('srh-nsid', m.next),
      printSid('srh-lsid', m.lastSid),
    ),
  list: (m) =>
    words(
      'srh',
      m.nextHeader === null ? '' : `next-hdr:${m.nextHeader.invert ? '!' : ''}${m.nextHeader.value}`,
      listCompared('hdr-len', m.length),
      listCompared('segs-left', m.left),
      listCompared('last-entry', m.last),
      m.tag === null ? '' : `tag:${m.tag.invert ? '!' : ''}${m.tag.value}`,
      listSid('psid', m.previous),
      listSid('nsid', m.next),
      listSid('lsid', m.lastSid),
    ),
  reads: ['payload'],
  emit: (m, js) => js`${js.bind(fits)}(pkt, ${js.env.host.memory}, ${m})`,
}
