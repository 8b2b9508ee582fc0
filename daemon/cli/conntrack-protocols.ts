// What -p of conntrack makes known: options of each transport protocol, and which command takes them.

import { type Command, Complaint, type Key, type Long, type Protocol } from './conntrack-wish.ts'
import { numeral } from './conntrack-words.ts'

export const long = (name: string, argument: 0 | 1 | 2, key: string): Long => ({ name, argument, key })

const PORT_LONG: readonly Long[] = [
  long('orig-port-src', 1, 'sport'),
  long('sport', 1, 'sport'),
  long('orig-port-dst', 1, 'dport'),
  long('dport', 1, 'dport'),
  long('reply-port-src', 1, 'reply-sport'),
  long('reply-port-dst', 1, 'reply-dport'),
  long('mask-port-src', 1, 'mask-sport'),
  long('mask-port-dst', 1, 'mask-dport'),
  long('tuple-port-src', 1, 'tuple-sport'),
  long('tuple-port-dst', 1, 'tuple-dport'),
]
const PORT_NAMES: readonly (readonly [Key, string])[] = [
  ['sport', 'sport'],
  ['dport', 'dport'],
  ['reply-sport', 'reply-port-src'],
  ['reply-dport', 'reply-port-dst'],
  ['mask-sport', 'mask-port-src'],
  ['mask-dport', 'mask-port-dst'],
]
const TUPLE_NAMES: readonly (readonly [Key, string])[] = [
  ['tuple-sport', 'tuple-port-src'],
  ['tuple-dport', 'tuple-port-dst'],
]
const PORT_HELP = ['orig', 'reply', 'mask', 'tuple']
  .map((side) => {
    const meaning = { orig: 'original', reply: 'reply', mask: 'mask', tuple: 'expectation tuple' }[side]!
    const [from, to] = side === 'tuple' ? ['src', 'dst'] : ['source', 'destination']
    // The tool's own help has the second name of the last pair wrong.
    return `  --${side}-port-src\t\t${meaning} ${from} port\n  --${side}-port-${side === 'tuple' ? 'src' : 'dst'}\t\t${meaning} ${to} port\n`
  })
  .join('')
const PORT_PAIRS = [
  "you have to specify `--sport' and `--dport'",
  "you have to specify `--reply-src-port' and `--reply-dst-port'",
] as const

/** Rows of `takes`: -L, -E and -D; -I and -A; -U; -G; expectations. */
function takes(rows: {
  list: string
  create: string
  update?: string
  get: string
  expectCreate: string
  expectGet: string
}): Partial<Record<Command, string>> {
  return {
    list: rows.list,
    delete: rows.list,
    event: rows.list,
    update: rows.update ?? rows.list,
    create: rows.create,
    add: rows.create,
    get: rows.get,
    'expect-create': rows.expectCreate,
    'expect-delete': rows.expectGet,
    'expect-get': rows.expectGet,
  }
}

const UDP_TAKES = takes({
  list: '22220000',
  create: '33330000',
  get: '33330000',
  expectCreate: '11001111',
  expectGet: '11110000',
})

const icmp = (name: string, number: number): Protocol => ({
  name,
  number,
  long: [long(`${name}-type`, 1, 'type'), long(`${name}-code`, 1, 'code'), long(`${name}-id`, 1, 'id')],
  names: [
    ['type', `${name}-type`],
    ['code', `${name}-code`],
    ['id', `${name}-id`],
  ],
  takes: takes({ list: '222', create: '112', get: '112', expectCreate: '000', expectGet: '000' }),
  pairs: null,
  help: `  --${name}-type\t\t\t${name} type\n  --${name}-code\t\t\t${name} code\n  --${name}-id\t\t\t${name} id\n`,
})

const ported = (name: string, number: number, slots: number): Protocol => ({
  name,
  number,
  long: PORT_LONG,
  names: [...PORT_NAMES, ...TUPLE_NAMES],
  slots,
  takes: UDP_TAKES,
  pairs: PORT_PAIRS,
  help: PORT_HELP,
})

const KEY_LONG = [
  ...PORT_LONG.filter((o) => o.name.includes('port-')).map((o) => ({
    ...o,
    name: o.name.replace('port', 'key'),
  })),
  long('srckey', 1, 'sport'),
  long('dstkey', 1, 'dport'),
]

const PROTOCOLS: readonly Protocol[] = [
  {
    name: 'tcp',
    number: 6,
    long: [...PORT_LONG, long('state', 1, 'state')],
    names: [...PORT_NAMES, ['state', 'state'], ...TUPLE_NAMES],
    slots: 10,
    takes: takes({
      list: '222200200',
      create: '333300100',
      get: '333300200',
      expectCreate: '110011011',
      expectGet: '111100000',
    }),
    pairs: PORT_PAIRS,
    help: `${PORT_HELP}  --state\t\t\tTCP state, fe. ESTABLISHED\n`,
  },
  ported('udp', 17, 9),
  ported('udplite', 136, 11),
  {
    name: 'sctp',
    number: 132,
    long: [
      ...PORT_LONG,
      long('state', 1, 'state'),
      long('orig-vtag', 1, 'orig-vtag'),
      long('reply-vtag', 1, 'reply-vtag'),
    ],
    names: [
      ...PORT_NAMES,
      ['state', 'state'],
      ...TUPLE_NAMES,
      ['orig-vtag', 'orig-vtag'],
      ['reply-vtag', 'reply-vtag'],
    ],
    takes: takes({
      list: '22220020000',
      create: '33330010011',
      update: '22220020022',
      get: '33330020022',
      expectCreate: '11001101111',
      expectGet: '11110000000',
    }),
    pairs: PORT_PAIRS,
    help: `${PORT_HELP}  --state\t\t\tSCTP state, fe. ESTABLISHED\n  --orig-vtag\t\toriginal verification tag\n  --reply-vtag\t\treply verification tag\n`,
  },
  {
    name: 'dccp',
    number: 33,
    long: [...PORT_LONG, long('state', 1, 'state'), long('role', 1, 'role')],
    names: [...PORT_NAMES, ['state', 'state'], ...TUPLE_NAMES, ['role', 'role']],
    slots: 11,
    takes: takes({
      list: '2222002000',
      create: '3333001001',
      get: '3333002000',
      expectCreate: '1100110111',
      expectGet: '1111000000',
    }),
    pairs: [PORT_PAIRS[0], "you have to specify `--reply-port-src' and `--report-port-dst'"],
    help: `${PORT_HELP}  --state\t\t\tDCCP state, fe. RESPOND\n`,
  },
  icmp('icmp', 1),
  icmp('icmpv6', 58),
  {
    name: 'gre',
    number: 47,
    long: KEY_LONG,
    names: [
      ['sport', 'srckey'],
      ['dport', 'dstkey'],
      ['reply-sport', 'reply-key-src'],
      ['reply-dport', 'reply-key-dst'],
      ['mask-sport', 'mask-key-src'],
      ['mask-dport', 'mask-key-dst'],
      ['tuple-sport', 'tuple-key-src'],
      ['tuple-dport', 'tuple-key-dst'],
    ],
    slots: 11,
    takes: { ...UDP_TAKES, 'expect-create': '11111111' },
    pairs: [
      "you have to specify `--srckey' and `--dstkey'",
      "you have to specify `--reply-src-key' and `--reply-dst-key'",
    ],
    help: PORT_HELP.replaceAll('-port-', '-key-').replaceAll(' port\n', ' key\n'),
  },
]

export const DCCP_STATES =
  'NONE REQUEST RESPOND PARTOPEN OPEN CLOSEREQ CLOSING TIMEWAIT IGNORE INVALID'.split(' ')

/** Names of /etc/protocols that have no options of their own, as Debian's netbase knows them. */
const OTHERS: Readonly<Record<string, number>> = {
  ip: 0,
  hopopt: 0,
  igmp: 2,
  ggp: 3,
  ipencap: 4,
  st: 5,
  egp: 8,
  igp: 9,
  pup: 12,
  hmp: 20,
  'xns-idp': 22,
  rdp: 27,
  'iso-tp4': 29,
  xtp: 36,
  ddp: 37,
  'idpr-cmtp': 38,
  ipv6: 41,
  'ipv6-route': 43,
  'ipv6-frag': 44,
  idrp: 45,
  rsvp: 46,
  esp: 50,
  'ipsec-esp': 50,
  ah: 51,
  'ipsec-ah': 51,
  skip: 57,
  'ipv6-icmp': 58,
  'ipv6-nonxt': 59,
  'ipv6-opts': 60,
  rspf: 73,
  vmtp: 81,
  eigrp: 88,
  ospf: 89,
  'ax.25': 93,
  ipip: 94,
  etherip: 97,
  encap: 98,
  pim: 103,
  ipcomp: 108,
  vrrp: 112,
  l2tp: 115,
  isis: 124,
  fc: 133,
  'mobility-header': 135,
  'mpls-in-ip': 137,
  manet: 138,
  hip: 139,
  shim6: 140,
  wesp: 141,
  rohc: 142,
}

export function protocolOf(text: string): Protocol {
  const known = PROTOCOLS.find((p) => p.name === text.toLowerCase())
  if (known !== undefined) return known
  const number = OTHERS[text] ?? numeral(text)
  if (number === null || number > 255) throw new Complaint(`\`${text}' unsupported protocol`)
  const named = OTHERS[text] === undefined ? PROTOCOLS.find((p) => p.number === number) : undefined
  return (
    named ?? {
      name: 'unknown',
      number,
      long: [],
      names: [],
      takes: {},
      pairs: null,
      help: '  no options (unsupported)\n',
    }
  )
}
