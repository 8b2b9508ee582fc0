// The matches that only IPv6 has.

import { addressAt } from '../headers.ts'
import { type Draw, type Entry, Sample } from './draw.ts'

const words = (...parts: readonly string[]): string => parts.filter((p) => p !== '').join(' ')
const maybe = (d: Draw, make: () => string, oneIn = 2): string => (d.random.once(oneIn) ? make() : '')

const ICMP6_NAMES = [
  'destination-unreachable',
  'no-route',
  'port-unreachable',
  'packet-too-big',
  'time-exceeded',
  'ttl-zero-during-transit',
  'parameter-problem',
  'unknown-header-type',
  'echo-request',
  'echo-reply',
  'neighbour-solicitation',
  'neighbor-advertisement',
  'router-solicitation',
  'router-advertisement',
  'redirect',
  'beyond-scope',
  'address-unreachable',
  'communication-prohibited',
  'failed-policy',
  'reject-route',
  'ttl-zero-during-reassembly',
  'bad-header',
  'unknown-option',
]
const MH_NAMES = ['brr', 'hoti', 'coti', 'hot', 'cot', 'bu', 'ba', 'be']
const HEADERS = ['hop', 'dst', 'route', 'frag', 'auth', 'esp', 'none', 'prot']

/** Where an extension header is. */
interface Place {
  readonly f: Sample
  readonly at: number
}

/** Of the fixed header's length, and an extension header as the scenarios make them (extension-headers.ts). */
function likely(d: Draw, type: number, kind: number): Place {
  const bytes = new Uint8Array(64)
  bytes[40] = 59
  switch (type) {
    case 51:
      bytes.set([4, 0, 0, 0, 0, 0, d.pick([1, 2, 255])], 41)
      break
    case 43:
      bytes.set([d.pick([0, 2, 2, 4]), kind < 0 ? d.pick([0, 2, 3, 4]) : kind, d.pick([0, 0, 1, 2])], 41)
      break
  }
  return { f: new Sample(bytes), at: 40 }
}

/** Where the extension header of a type is in a frame that has one, of a routing header's `kind` if that is not -1. */
function header(d: Draw, type: number, kind = -1): Place {
  for (let tries = 0; tries < 40; tries++) {
    const f = d.frame('')
    let next = f.u8(6)
    for (let at = 40; [0, 43, 44, 51, 60, 135].includes(next) && at + 8 <= f.length; ) {
      if (next === type && (kind < 0 || f.u8(at + 2) === kind)) return { f, at }
      const length = next === 44 ? 8 : next === 51 ? (f.u8(at + 1) + 2) * 4 : (f.u8(at + 1) + 1) * 8
      next = f.u8(at)
      at += length
    }
  }
  return likely(d, type, kind)
}

/** The header's length in bytes, as the tools call for it. */
const length = ({ f, at }: Place): number => (f.u8(at + 1) + 1) * 8

/** `type[:length]` of a header's options, at most three, in their order or not. */
function options(d: Draw, { f, at }: Place): string {
  const found: string[] = []
  const end = Math.min(f.length, at + length({ f, at }))
  for (let o = at + 2; o < end; o += f.u8(o) === 0 ? 1 : 2 + f.u8(o + 1))
    found.push(f.u8(o) === 0 ? '0' : `${f.u8(o)}${d.pick(['', `:${d.near(f.u8(o + 1), 255)}`])}`)
  if (found.length === 0 || d.random.once(6)) found.push(d.pick(['1', '5:2', '30', '194:4', '201:16']))
  return d.random.once(2) ? found.slice(0, 3).join(',') : d.some(found).join(',')
}

/** Addresses of a routing header of type 0, all, the first ones or others. */
function routed(d: Draw, { f, at }: Place): string[] {
  const all: string[] = []
  for (let a = at + 8; a + 16 <= Math.min(f.length, at + length({ f, at })); a += 16)
    all.push(addressAt(f.bytes, a, 6))
  if (all.length === 0 || d.random.once(5)) return d.some(d.world.peers.map((p) => p.address))
  return d.random.once(2) ? all : all.slice(0, 1 + d.random.below(all.length))
}

const optionsHeader = (name: 'dst' | 'hbh', type: number): Entry => ({
  name,
  families: [6],
  weight: () => 2,
  draw(d) {
    const where = header(d, type)
    return words(
      maybe(d, () => `${d.not()}--${name}-len ${length(where) + d.pick([0, 0, 0, 8])}`),
      maybe(d, () => `--${name}-opts ${options(d, where)}`),
    )
  },
})

export const MATCHES6: readonly Entry[] = [
  {
    name: 'ah',
    families: [6],
    draw(d) {
      const { f, at } = header(d, 51)
      return words(
        maybe(d, () => `${d.not()}--ahspi ${d.range(f.u32(at + 4), 0xffffffff, ':')}`),
        maybe(d, () => `${d.not()}--ahlen ${(f.u8(at + 1) + 2) * 4 + d.pick([0, 0, 4])}`),
        maybe(d, () => '--ahres', 4),
      )
    },
  },
  optionsHeader('dst', 60),
  { name: 'eui64', families: [6], hooks: ['PREROUTING', 'INPUT', 'FORWARD'], draw: () => '' },
  {
    name: 'frag',
    families: [6],
    weight: (kind) => (kind === 'fragments' ? 6 : 1),
    draw(d) {
      const { f, at } = header(d, 44)
      return words(
        maybe(
          d,
          () =>
            `${d.not()}--fragid ${d.random.once(3) ? d.pick(['0:65535', '0:2147483647']) : d.range(f.u32(at + 4), 0xffffffff, ':')}`,
          3,
        ),
        maybe(d, () => '--fragres', 4),
        d.pick(['', '', '--fragfirst']),
        d.pick(['', '--fragmore', '--fraglast']),
      )
    },
  },
  optionsHeader('hbh', 0),
  {
    name: 'hl',
    families: [6],
    weight: () => 2,
    draw: (d) =>
      `${d.pick([`${d.not()}--hl-eq`, '--hl-lt', '--hl-gt'])} ${d.near(d.near(d.frame().ttl, 255), 255)}`,
  },
  {
    name: 'icmp6',
    families: [6],
    own: 'ipv6-icmp',
    protocols: ['ipv6-icmp'],
    draw(d) {
      const f = d.frame('ipv6-icmp')
      const type = d.near(f.u8(f.l4), 255)
      const code = d.near(f.u8(f.l4 + 1), 255)
      return `${d.not()}--icmpv6-type ${d.random.once(3) ? d.pick(ICMP6_NAMES) : d.random.once(2) ? type : `${type}/${code}`}`
    },
  },
  {
    name: 'ipv6header',
    families: [6],
    weight: () => 2,
    draw: (d) => `${d.not()}--header ${d.some(HEADERS).join(',')}${d.random.once(2) ? ' --soft' : ''}`,
  },
  {
    name: 'mh',
    families: [6],
    own: 'ipv6-mh',
    protocols: ['ipv6-mh'],
    draw(d) {
      const f = d.frame('ipv6-mh')
      const type = d.near(f.u8(f.l4 + 2), 255)
      return `${d.not()}--mh-type ${d.random.once(3) ? d.pick(MH_NAMES) : d.range(type, 255, ':', false)}`
    },
  },
  {
    name: 'rt',
    families: [6],
    weight: () => 3,
    draw(d) {
      const where = header(d, 43, d.random.once(2) ? 0 : -1)
      const { f, at } = where
      const type = f.u8(at + 2)
      const zero = type === 0 && d.random.once(2)
      return words(
        zero ? '--rt-type 0' : maybe(d, () => `${d.not()}--rt-type ${d.near(type, 255)}`),
        maybe(d, () => `${d.not()}--rt-segsleft ${d.range(f.u8(at + 3), 255, ':')}`),
        maybe(d, () => `${d.not()}--rt-len ${length(where) + d.pick([0, 0, 8])}`),
        zero ? maybe(d, () => '--rt-0-res', 3) : '',
        zero
          ? maybe(
              d,
              () =>
                `--rt-0-addrs ${routed(d, where).join(',')}${d.random.once(3) ? '' : ' --rt-0-not-strict'}`,
              2,
            )
          : '',
      )
    },
  },
  {
    name: 'srh',
    families: [6],
    weight: () => 3,
    draw(d) {
      const where = header(d, 43, 4)
      const { f, at } = where
      const all = d.random.once(2)
      // All of them together fit nothing.
      const some = (make: () => string, oneIn: number): (() => string)[] =>
        all && !d.random.once(oneIn) ? [] : [make]
      // As it is in the frame, more often than not.
      const compare = (n: number): string => {
        const [how, by] = d.pick([['eq', 0] as const, ['gt', -1] as const, ['lt', 1] as const])
        return `${how} ${d.random.once(3) ? d.near(n, 255) : Math.max(0, n + by)}`
      }
      const sid = (): string =>
        `${d.random.once(2) ? d.address() : d.pick(routed(d, where))}${d.pick(['', '/64', '/127'])}`
      const options = [
        ...some(() => `${d.not(3)}--srh-next-hdr ${d.pick([f.u8(at), 6, 17])}`, 4),
        ...some(() => `${d.not(3)}--srh-hdr-len-${compare(f.u8(at + 1))}`, 3),
        ...some(() => `${d.not(3)}--srh-segs-left-${compare(f.u8(at + 3))}`, 3),
        ...some(() => `${d.not(3)}--srh-last-entry-${compare(f.u8(at + 4))}`, 3),
        ...some(() => `${d.not(3)}--srh-tag ${d.near((f.u8(at + 6) << 8) | f.u8(at + 7), 65535)}`, 4),
        ...['psid', 'nsid', 'lsid'].flatMap((which) => some(() => `${d.not(3)}--srh-${which} ${sid()}`, 4)),
      ]
      return all ? words(...options.map((make) => make())) : d.pick(options)()
    },
  },
]
