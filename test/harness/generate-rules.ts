// Random rulesets as iptables-save text, over every match and target (extensions/). Addresses, ports, marks and
// names come from the scenario's world, other values from frames like those that it will send, so that rules do
// match its traffic, or just fail to.

import { matches as knownMatches } from '../../rules/matches/index.ts'
import { targets as knownTargets } from '../../rules/targets/index.ts'
import { Draw, type Entry, type Hook, type Place, type Table } from './extensions/draw.ts'
import { MATCHES } from './extensions/matches.ts'
import { TARGETS, type TargetEntry } from './extensions/targets.ts'
import type { SeededRandom } from './frames.ts'
import { SET_MATCH, SET_TARGET } from './generate-sets.ts'
import { type Kind, shuffled, stream, type World } from './generate-world.ts'
import type { Family } from './scenario.ts'

export const HOOKS: Readonly<Record<Table, readonly Hook[]>> = {
  raw: ['PREROUTING', 'OUTPUT'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  security: ['INPUT', 'FORWARD', 'OUTPUT'],
}

/** Chance in percent that a table is there, by profile. */
const TABLES: Readonly<Record<Kind, Readonly<Record<Table, number>>>> = {
  filtering: { raw: 20, mangle: 20, nat: 10, filter: 100, security: 20 },
  state: { raw: 25, mangle: 20, nat: 20, filter: 100, security: 5 },
  nat: { raw: 10, mangle: 25, nat: 100, filter: 60, security: 5 },
  mangle: { raw: 30, mangle: 100, nat: 25, filter: 40, security: 10 },
  local: { raw: 25, mangle: 40, nat: 40, filter: 80, security: 10 },
  fragments: { raw: 25, mangle: 40, nat: 40, filter: 60, security: 5 },
  mixed: { raw: 50, mangle: 60, nat: 60, filter: 80, security: 30 },
  sets: { raw: 50, mangle: 80, nat: 10, filter: 80, security: 15 },
  extensions: { raw: 50, mangle: 80, nat: 25, filter: 80, security: 15 },
  routing: { raw: 15, mangle: 80, nat: 50, filter: 20, security: 0 },
  helpers: { raw: 50, mangle: 50, nat: 50, filter: 50, security: 0 },
  h323: { raw: 50, mangle: 50, nat: 50, filter: 50, security: 0 },
}

/** What the rules are drawn from. */
export interface Basis {
  readonly seed: number
  readonly profile: Kind
  readonly world: World
  /** Frames like those that will be sent. */
  readonly frames: readonly Uint8Array[]
  /** Wall clock, milliseconds since 1970. */
  readonly wall: number
}

export interface Context extends Basis {
  readonly random: SeededRandom
}

export function makeRules(basis: Basis): string {
  const random = stream(basis.seed, 'rules')
  let text = ''
  for (const table of shuffled(['raw', 'mangle', 'nat', 'filter', 'security'] as const, random)) {
    if (random.below(100) < TABLES[basis.profile][table])
      text += makeTable(table, { ...basis, random }, text === '' ? estimators(basis.world) : [])
  }
  return text
}

/** What -m rateest asks for; no packet comes from that address. */
const estimators = ({ family }: World): string[] =>
  ['R0', 'R1'].map(
    (name) =>
      ` -s ${family === 4 ? '0.0.0.1' : '::2'} -j RATEEST --rateest-name ${name} --rateest-interval 250ms --rateest-ewmalog 500ms`,
  )
/** What -m helper asks for. */
const HELPERS = [' -p udp --dport 69 -j CT --helper tftp']

/** `first`: rules that the first chain begins with in the profile of extensions. */
function makeTable(table: Table, context: Context, first: readonly string[]): string {
  const { random, profile } = context
  const hooks = HOOKS[table]
  const lines: string[] = [`*${table}`]
  for (const h of hooks) {
    const drop = table !== 'nat' && random.once(table === 'filter' ? 6 : 24)
    lines.push(`:${h} ${drop ? 'DROP' : 'ACCEPT'} [0:0]`)
  }
  // A user chain is reachable from the hooks it is made for, and from chains made before it: no loops.
  const user: { name: string; hooks: readonly Hook[] }[] = []
  for (let i = random.below(random.once(2) ? 5 : 2); i > 0; i--) {
    const groups: readonly Hook[][] =
      table === 'nat'
        ? [
            ['PREROUTING', 'OUTPUT'],
            ['INPUT', 'POSTROUTING'],
          ]
        : [
            [...hooks],
            [random.pick(hooks)],
            ['FORWARD', 'INPUT'].filter((h): h is Hook => hooks.includes(h as Hook)),
          ]
    const group = random.pick(groups.filter((g) => g.length > 0))
    user.push({
      name: random.pick(['KUBE-', 'cali-', 'my_', 'DOCKER-']) + user.length + random.pick(['', '-x', '.y']),
      hooks: group,
    })
  }
  for (const u of user) lines.push(`:${u.name} - [0:0]`)
  const most = profile === 'extensions' ? 12 : 8
  if (profile === 'extensions') {
    const helpers = table === 'raw' && !random.once(4) ? HELPERS : []
    for (const rule of [...first, ...helpers]) lines.push(`-A ${hooks[0]}${rule}`)
  }
  const fill = (chain: string, place: Place, later: typeof user): void => {
    const reach = later.filter((u) => place.hooks.every((h) => u.hooks.includes(h))).map((u) => u.name)
    for (let n = random.below(place.builtin ? most : 5); n > 0; n--)
      lines.push(`-A ${chain}${makeRule(place, context, reach)}`)
  }
  for (const h of hooks) fill(h, { table, hooks: [h], builtin: true }, user)
  for (const [i, u] of user.entries())
    fill(u.name, { table, hooks: u.hooks, builtin: false }, user.slice(i + 1))
  return `${lines.join('\n')}\nCOMMIT\n`
}

const not = (random: SeededRandom, oneIn = 6): string => (random.once(oneIn) ? '! ' : '')

/** Addresses and prefixes that are no one's in particular; masks with holes; prefix lengths. */
const ADDRESSES: Readonly<
  Record<Family, { any: string[]; masks: string[]; lengths: number[]; own: string }>
> = {
  4: {
    any: ['0.0.0.0/0', '10.0.0.0/8', '192.0.0.0/4', '0.0.0.0/1', '128.0.0.0/1', '224.0.0.0/4'],
    masks: ['255.0.255.0', '0.0.0.255', '255.255.0.255', '0.0.0.1'],
    lengths: [8, 16, 20, 25, 31],
    own: '127.0.0.1',
  },
  6: {
    any: ['::/0', '2000::/3', 'fc00::/7', 'fe80::/10', '::/1', '8000::/1', 'ff00::/8', '2001:db8::/32'],
    masks: ['ffff::ffff', '::ff', 'ffff:ffff:0:ffff::', '::1', '0:ffff::', '::ffff:ffff:0:0'],
    lengths: [3, 16, 32, 33, 48, 63, 64, 65, 96, 97, 126, 127, 128],
    own: '::1',
  },
}

function address(random: SeededRandom, world: World): string {
  const { any, masks, lengths, own } = ADDRESSES[world.family]
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
      return random.pick(world.peers).address
    case 3:
      return random.pick(world.own)
    case 4:
    case 5:
      return random.pick(world.prefixes)
    case 6:
      return random.pick([...world.virtual, ...world.broadcasts, ...world.refused, own])
    case 7:
      return random.pick(any)
    case 8:
      return `${random.pick(world.peers).address}/${random.pick(masks)}`
    default:
      return `${random.pick(world.peers).address}/${random.pick(lengths)}`
  }
}

const device = (random: SeededRandom, world: World): string => {
  const name = random.once(12) ? 'lo' : random.pick(world.devices).name
  return random.once(5) ? `${name.slice(0, 1 + random.below(name.length))}+` : name
}

const COMMON = ['', '', '', 'tcp', 'tcp', 'tcp', 'udp', 'udp', 'icmp']
const RARE = ['sctp', 'dccp', 'ah', 'esp', 'ipcomp', 'udplite']
const COMMON6 = [...COMMON.slice(0, -1), 'ipv6-icmp', 'ipv6-icmp']
const RARE6 = [...RARE, 'ipv6-mh']
const OTHERS = [
  '47',
  '50',
  '89',
  '132',
  'gre',
  'udplite',
  '2',
  '255',
  'igmp',
  'ipencap',
  'ipv6',
  'vrrp',
  'pim',
]
/** Those of extension headers too, which the tool warns of: later fragments may begin with one. */
const OTHERS6 = [
  ...['47', '50', '89', '132', 'gre', 'ipv6-nonxt', 'icmp', '255', '253', 'ipencap', 'ipv6', 'vrrp', 'pim'],
  ...['ipv6-route', 'ipv6-frag', 'ipv6-opts'],
]

function makeProtocol({ random, profile, world }: Context, table: Table): string {
  const four = world.family === 4
  if (random.once(profile === 'extensions' ? 3 : 12)) return random.pick(four ? RARE : RARE6)
  if (random.once(10)) return 'other'
  const protocol = random.pick(four ? COMMON : COMMON6)
  return protocol === '' && table === 'nat' && random.once(2) ? random.pick(['tcp', 'udp']) : protocol
}

/** Text after `-A CHAIN`. `reach`: chains that it may jump to. */
export function makeRule(place: Place, context: Context, reach: readonly string[]): string {
  const { random, world, profile } = context
  const parts: string[] = []
  const can = (h: Hook): boolean => place.hooks.includes(h)
  const inFits = !place.builtin || can('PREROUTING') || can('INPUT') || can('FORWARD')
  const outFits = !place.builtin || can('FORWARD') || can('OUTPUT') || can('POSTROUTING')
  if (random.once(6)) parts.push(`${not(random)}-s ${address(random, world)}`)
  if (random.once(5)) parts.push(`${not(random)}-d ${address(random, world)}`)
  if (inFits && random.once(8)) parts.push(`${not(random, 4)}-i ${device(random, world)}`)
  if (outFits && random.once(8)) parts.push(`${not(random, 4)}-o ${device(random, world)}`)
  const stateful = profile !== 'fragments' || random.once(3)
  const target = pickTarget(place, context, reach, stateful)
  let protocol = makeProtocol(context, place.table)
  let inverted = false
  if (typeof target !== 'string' && target.protocols !== undefined) protocol = random.pick(target.protocols)
  else if (protocol !== '' && protocol !== 'other') inverted = random.once(12)
  if (protocol === 'other')
    parts.push(`${not(random, 4)}-p ${random.pick(world.family === 4 ? OTHERS : OTHERS6)}`)
  else if (protocol !== '') parts.push(`${inverted ? '! ' : ''}-p ${protocol}`)
  // Which asks for an upper header.
  else if (world.family === 6 && random.once(6)) parts.push('-p all')
  if (world.family === 4 && random.once(profile === 'fragments' ? 6 : 40)) parts.push(`${not(random, 3)}-f`)
  const named = inverted || protocol === 'other' ? '' : protocol
  const d = new Draw({ ...context, place, protocol: named })
  if (typeof target !== 'string' && target.asks !== undefined) parts.push(target.asks)
  const own = MATCHES.find((m) => (m.own ?? m.name) === named && fits(m, knownMatches, world.family))
  if (own !== undefined && random.once(2)) parts.push(`-m ${own.name} ${own.draw(d)}`)
  const has: string[] = []
  for (let n = random.pick([0, 0, 0, 1, 1, 1, 2]) + (profile === 'extensions' ? 1 : 0); n > 0; n--)
    parts.push(makeMatch(d, stateful, has))
  parts.push(typeof target === 'string' ? target : `-j ${target.name} ${target.draw(d)}`)
  return parts
    .filter((p) => p !== '')
    .map((p) => ` ${p.trim()}`)
    .join('')
}

/** Whether the extension is there for the family; an entry may wait for it. */
const fits = (
  entry: Pick<Entry, 'name' | 'families'>,
  known: readonly { readonly name: string; readonly families: readonly Family[] }[],
  family: Family,
): boolean =>
  entry.families?.includes(family) !== false &&
  known.some((k) => k.name === entry.name && k.families.includes(family))

const FAMILIES = [4, 6] as const
const matchEntries = FAMILIES.map((family) =>
  [...MATCHES, SET_MATCH].filter((e) => fits(e, knownMatches, family)),
)
const targetEntries = FAMILIES.map((family) =>
  [...TARGETS, SET_TARGET].filter((e) => fits(e, knownTargets, family)),
)

/** Behind both of these the tool does not know whose `--mark` is meant. */
const sameOption = ['mark', 'connmark']

/** `has`: names of the rule's matches so far. */
function makeMatch(d: Draw, stateful: boolean, has: string[]): string {
  const { profile, place, random } = d
  const entries = matchEntries[d.family === 4 ? 0 : 1]!
  const fit = entries
    .filter(
      (e) =>
        (stateful || e.tracks !== true) &&
        (d.world.sets || e.sets !== true) &&
        (e.protocols === undefined || e.protocols.includes(d.protocol)) &&
        (e.tables === undefined || e.tables.includes(place.table)) &&
        (e.hooks === undefined || d.only(...e.hooks)) &&
        (e.fits === undefined || e.fits(d)) &&
        !(sameOption.includes(e.name) && sameOption.every((name) => has.includes(name))),
    )
    .map((e): [number, string] => [e.weight?.(profile) ?? 1, e.name])
  const name = weighted(fit, random)
  const entry = entries.find((e) => e.name === name)
  if (entry === undefined) return ''
  has.push(entry.name)
  return `-m ${name} ${entry.draw(d)}`
}

function weighted<T>(list: readonly (readonly [number, T])[], random: SeededRandom): T | undefined {
  let at = random.below(list.reduce((sum, [w]) => sum + w, 0))
  for (const [w, one] of list) {
    if (at < w) return one
    at -= w
  }
  return undefined
}

/** A target with options, or the whole text of a verdict or a jump. */
function pickTarget(
  place: Place,
  { random, profile, world }: Context,
  reach: readonly string[],
  stateful: boolean,
): TargetEntry | string {
  const { table, hooks } = place
  const extensions = profile === 'extensions'
  const choices: [number, TargetEntry | string][] = [
    [extensions ? 2 : 5, '-j ACCEPT'],
    [table === 'nat' ? 0 : table === 'filter' && !extensions ? 4 : 1, '-j DROP'],
    [extensions ? 1 : 2, '-j RETURN'],
    [extensions ? 8 : 2, ''],
  ]
  if (reach.length > 0) choices.push([8, `${random.once(3) ? '-g' : '-j'} ${random.pick(reach)}`])
  for (const e of targetEntries[world.family === 4 ? 0 : 1]!) {
    if (e.tables !== undefined && !e.tables.includes(table)) continue
    if (e.hooks !== undefined && !hooks.every((h) => e.hooks!.includes(h))) continue
    if (e.tracks === true && !stateful) continue
    if (e.sets === true && !world.sets) continue
    choices.push([e.weight?.(profile, table) ?? 1, e])
  }
  return weighted(choices, random) ?? ''
}
