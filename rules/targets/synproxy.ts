// SYNPROXY: answers for a server until the client has shown that it is there (libxt_SYNPROXY of iptables 1.8.9,
// synproxy_tg4()); conntrack/synproxy.ts does it.

import { type Synproxy, type SynproxyInfo, SynproxyOption } from '../../conntrack/synproxy.ts'
import type { Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Target } from '../extension.ts'
import { sharedOf } from '../shared.ts'

const format = (m: SynproxyInfo, dashes: string): string =>
  [
    m.options & SynproxyOption.SackPerm ? `${dashes}sack-perm` : '',
    m.options & SynproxyOption.Timestamp ? `${dashes}timestamp` : '',
    m.options & SynproxyOption.Wscale ? `${dashes}wscale ${m.wscale}` : '',
    m.options & SynproxyOption.Mss ? `${dashes}mss ${m.mss}` : '',
    m.options & SynproxyOption.Ecn ? `${dashes}ecn` : '',
  ]
    .filter((part) => part !== '')
    .join(' ')

/** Hot: does not allocate. */
const arrive = (synproxy: Synproxy, pkt: Packet, m: SynproxyInfo): number => synproxy.arrive(pkt, m)

/** The hooks of SYNPROXY, while some rule needs them. */
interface Users {
  readonly undo: () => void
}

export const synproxy: Target<SynproxyInfo> = {
  kind: 'target',
  name: 'SYNPROXY',
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ options, wscale, mss }) => [
      [0, 1, options],
      [1, 1, wscale],
      [2, 2, mss],
    ],
  },
  chains: ['INPUT', 'FORWARD'],
  tracks: true,
  options: [
    { flag: 'sack-perm', arg: 'none' },
    { flag: 'timestamp', arg: 'none' },
    { flag: 'wscale' },
    { flag: 'mss' },
    { flag: 'ecn', arg: 'none' },
  ],
  help: `SYNPROXY target options:
  --sack-perm                        Set SACK_PERM
  --timestamp                        Set TIMESTAMP
  --wscale value                     Set window scaling factor
  --mss value                        Set MSS value
  --ecn                              Set ECN
`,
  parse: (o) => ({
    options:
      (o.has('sack-perm') ? SynproxyOption.SackPerm : 0) |
      (o.has('timestamp') ? SynproxyOption.Timestamp : 0) |
      (o.has('wscale') ? SynproxyOption.Wscale : 0) |
      (o.has('mss') ? SynproxyOption.Mss : 0) |
      (o.has('ecn') ? SynproxyOption.Ecn : 0),
    // Too large a number is cut to the field.
    wscale: o.has('wscale') ? o.uint('wscale', 32) & 0xff : 0,
    mss: o.has('mss') ? o.uint('mss', 32) & 0xffff : 0,
  }),
  print: (m) => format(m, '--'),
  list: (m) => `SYNPROXY ${format(m, '')}${m.options === 0 ? '' : ' '}`,
  check: (_, use) =>
    use.protocol === null || use.protocol.invert || use.protocol.number !== IPPROTO_TCP
      ? 'SYNPROXY: only for -p tcp'
      : null,
  state: (_, { host, conntrack }) =>
    sharedOf<Users>(host, 'synproxy').take('', () => {
      const undo = ([4, 6] as const).map((family) => conntrack.synproxy.need(family))
      return {
        undo: () => {
          for (const take of undo) take()
        },
      }
    }),
  release(_, { host }) {
    const users = sharedOf<Users>(host, 'synproxy')
    const held = users.get('')
    users.give('')
    if (users.get('') === null) held?.undo()
  },
  reads: ['tcp', 'clock', 'conntrack'],
  flow: 'dynamic',
  emit: (m, js) => js`${js.bind(arrive)}(${js.env.conntrack.synproxy}, pkt, ${m})`,
}
