// SNPT and DNPT: stateless prefix translation, RFC 6296 (libip6t_SNPT and libip6t_DNPT of iptables 1.8.9,
// ip6t_NPT.c). The address keeps its interface identifier, but for the one 16-bit word that takes up the difference
// of the prefixes, so that no checksum changes.
//
//     prefix of 48 bits or less    word 3 takes the difference
//     longer                       the first word behind the prefix that is not ffff; none: parameter problem
//
// An ICMPv6 error about a translated packet gets the quoted address translated too.

import { Verdict } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import type { Packet } from '../../datapath/packet.ts'
import { fold } from '../../datapath/wire/checksum.ts'
import { IPV6_DST, IPV6_HEADER_LEN, IPV6_NEXT_HEADER, IPV6_SRC } from '../../datapath/wire/ipv6.ts'
import { IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import { CONTINUE, type Target } from '../extension.ts'
import { addressField } from '../layout.ts'
import { words } from '../matches/parts.ts'
import { formatAddress, prefixLength, prefixMask, type Words } from '../text/address.ts'

interface Prefix {
  readonly words: Words
  readonly length: number
}

export interface Npt {
  readonly from: Prefix
  readonly to: Prefix
}

const MAX_LENGTH = 64
/** Up to here the word behind the site's prefix takes the difference. */
const SITE = 48
const SUBNET_WORD = 3
const ICMP6_HEADER_LEN = 8
/** Errors are the types from the one to the other. */
const ICMPV6_DEST_UNREACH = 1
const ICMPV6_PARAMPROB = 4
const ICMPV6_HDR_FIELD = 0

/** What a translation needs, made once. */
interface Work {
  /** Bits of each word that become the new prefix's. */
  readonly mask: Words
  readonly to: Words
  readonly from: Words
  readonly fromMask: Words
  /** Added to the word that takes the difference. */
  readonly adjustment: number
  readonly short: boolean
}

const sumOf = (prefix: Words): number =>
  fold(prefix.reduce((sum, word) => sum + (word >>> 16) + (word & 0xffff), 0))

function workOf({ from, to }: Npt): Work {
  const length = Math.max(from.length, to.length)
  return {
    mask: prefixMask(length, 6),
    to: to.words,
    from: from.words,
    fromMask: prefixMask(from.length, 6),
    adjustment: fold(sumOf(from.words) + (~sumOf(to.words) & 0xffff)),
    short: length <= SITE,
  }
}

/** Translates the address at `at` (ip6t_npt_map_pfx). False: it has no word to take the difference, and is changed. */
function translate(view: DataView, at: number, w: Work): boolean {
  for (let i = 0; i < 2; i++) {
    const mask = w.mask[i]!
    view.setInt32(at + i * 4, (view.getInt32(at + i * 4) & ~mask) | (w.to[i]! & mask))
  }
  let word = SUBNET_WORD
  if (!w.short) {
    word = 4
    while (word < 8 && view.getUint16(at + word * 2) === 0xffff) word++
    if (word === 8) return false
  }
  const sum = fold(view.getUint16(at + word * 2) + w.adjustment)
  view.setUint16(at + word * 2, sum === 0xffff ? 0 : sum)
  return true
}

/** Whether the address at `at` has the prefix that is translated. */
function hasPrefix(view: DataView, at: number, w: Work): boolean {
  for (let i = 0; i < 2; i++) if ((view.getInt32(at + i * 4) & w.fromMask[i]!) !== w.from[i]) return false
  return true
}

/** Does not allocate. `field`: IPV6_SRC or IPV6_DST. */
function run(pkt: Packet, host: Host, field: number, w: Work): number {
  const { view } = host.memory
  const l3 = pkt.l3
  const done = translate(view, l3 + field, w)
  const at = l3 + field
  if (field === IPV6_SRC) {
    pkt.s0 = view.getInt32(at)
    pkt.s1 = view.getInt32(at + 4)
    pkt.s2 = view.getInt32(at + 8)
    pkt.s3 = view.getInt32(at + 12)
  } else {
    pkt.d0 = view.getInt32(at)
    pkt.d1 = view.getInt32(at + 4)
    pkt.d2 = view.getInt32(at + 8)
    pkt.d3 = view.getInt32(at + 12)
  }
  pkt.sumEnd = 0
  // Addresses of other prefixes do not add up the same: what was made here is verified anew, unless the device does it.
  if (pkt.local || (pkt.residue === -1 && pkt.arrival?.loopback === true)) pkt.csumOk = pkt.csumPartial
  if (!done) {
    host.replies6.icmpError(pkt, ICMPV6_PARAMPROB, ICMPV6_HDR_FIELD, field)
    return Verdict.Drop
  }
  const l4 = l3 + IPV6_HEADER_LEN
  const quote = l4 + ICMP6_HEADER_LEN
  if (view.getUint8(l3 + IPV6_NEXT_HEADER) !== IPPROTO_ICMPV6 || quote + IPV6_HEADER_LEN > pkt.end)
    return CONTINUE
  // The quoted packet went the other way.
  const type = view.getUint8(l4)
  if (type < ICMPV6_DEST_UNREACH || type > ICMPV6_PARAMPROB) return CONTINUE
  // In another piece than the first of what was put together the kernel changes a copy on its stack (skb_header_pointer()).
  const list = pkt.fragList
  if (list !== null && quote + IPV6_HEADER_LEN > l3 + list.header + list.sizes[0]!) return CONTINUE
  const other = quote + (field === IPV6_SRC ? IPV6_DST : IPV6_SRC)
  if (hasPrefix(view, other, w)) translate(view, other, w)
  return CONTINUE
}

function prefix(flag: string, { words: address, length }: Prefix): string {
  return address.every((word) => word === 0) && length === 0
    ? ''
    : `--${flag} ${format({ words: address, length })}`
}

const format = ({ words: address, length }: Prefix): string => `${formatAddress(address, 6)}/${length}`

/** Whether bits stand behind the prefix, or it is longer than half an address. */
const isWrong = ({ words: address, length }: Prefix): boolean =>
  length > MAX_LENGTH || prefixMask(length, 6).some((mask, i) => (address[i]! & ~mask) !== 0)

function npt(name: 'SNPT' | 'DNPT', field: number, chains: readonly string[]): Target<Npt> {
  return {
    kind: 'target',
    name,
    families: [6],
    layout: {
      size: 40,
      own: 34,
      fields: ({ from, to }) => [
        addressField(0, from.words),
        addressField(16, to.words),
        [32, 1, from.length],
        [33, 1, to.length],
      ],
    },
    tables: ['mangle'],
    chains,
    options: [
      { flag: 'src-pfx', holds: 'address', required: true },
      { flag: 'dst-pfx', holds: 'address', required: true },
    ],
    help: `${name} target options:
 --src-pfx prefix/length
 --dst-pfx prefix/length

`,
    parse(o) {
      const read = (flag: string): Prefix => {
        const { words: address, mask } = o.addressMask(flag)
        return { words: address, length: prefixLength(mask, 6) }
      }
      const to = o.has('dst-pfx') ? read('dst-pfx') : null
      return { from: read('src-pfx'), to: to ?? read('dst-pfx') }
    },
    print: (m) => words(prefix('src-pfx', m.from), prefix('dst-pfx', m.to)),
    list: (m) => `${name} src-pfx ${format(m.from)} dst-pfx ${format(m.to)}`,
    check: (m) => (isWrong(m.from) || isWrong(m.to) ? `${name}: prefix too long, or bits behind it` : null),
    reads: [field === IPV6_SRC ? 'source' : 'destination', 'payload'],
    writes: [field === IPV6_SRC ? 'source' : 'destination', 'payload'],
    flow: 'dynamic',
    emit: (m, js) => js`${js.bind(run)}(pkt, ${js.env.host}, ${field}, ${workOf(m)})`,
  }
}

export const snpt = npt('SNPT', IPV6_SRC, ['INPUT', 'POSTROUTING'])
export const dnpt = npt('DNPT', IPV6_DST, ['PREROUTING', 'OUTPUT'])
