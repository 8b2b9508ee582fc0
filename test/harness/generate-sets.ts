// Sets for random scenarios: what `ipset restore` is given before the rules, the matches and targets that use them,
// and the comparison of what `ipset save` prints afterwards.

import type { Draw, Entry } from './extensions/draw.ts'
import type { TargetEntry } from './extensions/targets.ts'
import type { SeededRandom } from './frames.ts'
import { stream, type World } from './generate-world.ts'
import type { Family } from './scenario.ts'

/** Name, type, and what the members are made of. One of each kind that the test machine's kernel has, some twice. */
const SETS = [
  ['ip', 'hash:ip', 'ip'],
  ['net', 'hash:net', 'net'],
  ['net2', 'hash:net', 'net'],
  ['ipp', 'hash:ip,port', 'ip,port'],
  ['ipi', 'hash:ip,port,ip', 'ip,port,ip'],
  ['ipn', 'hash:ip,port,net', 'ip,port,net'],
  ['np', 'hash:net,port', 'net,port'],
  ['ni', 'hash:net,iface', 'net,iface'],
  ['bip', 'bitmap:ip range %', 'ip'],
  ['bmac', 'bitmap:ip,mac range %', 'ip'],
  ['bport', 'bitmap:port range 0-65535', 'port'],
  ['list', 'list:set', 'set'],
] as const

/** Those that hold addresses of a family, or none; IPv6 has no bitmaps. */
const setsOf = (family: Family) => SETS.filter(([, type]) => family === 4 || !type.startsWith('bitmap:ip'))
const namesOf = (family: Family): string[] => setsOf(family).map(([name]) => name)
/** Sets without sets in them: only these may be added to by a rule without filling up others. */
const plainOf = (family: Family): string[] => namesOf(family).filter((name) => name !== 'list')

/** What is of one family in the members. */
const OF: Readonly<
  Record<Family, { lengths: number[]; masks: number[]; bits: string[]; icmp: string[]; host: string }>
> = {
  4: {
    lengths: [1, 8, 16, 23, 24, 28, 30, 31, 32],
    masks: [8, 16, 24, 31],
    bits: ['255.255.0.255', '0.0.0.255', '255.255.255.254', '128.0.0.1'],
    icmp: ['icmp:8/0', 'icmp:0/0', 'icmp:3/3'],
    host: '192.0.2.250',
  },
  6: {
    lengths: [1, 16, 32, 47, 48, 63, 64, 65, 120, 127, 128],
    masks: [16, 48, 64, 96, 127],
    bits: ['ffff:ffff::ffff', '::ff', 'ffff:ffff:ffff:ffff::', '8000::1'],
    icmp: ['icmpv6:128/0', 'icmpv6:129/0', 'icmpv6:1/4'],
    host: '2001:db8:250::1',
  },
}

function member(kind: string, random: SeededRandom, world: World, name: string): string {
  switch (kind) {
    case 'ip':
      return random.once(4) ? random.pick(world.own) : random.pick(world.peers).address
    case 'net': {
      if (random.once(3)) return random.pick(world.prefixes)
      const length = random.pick(OF[world.family].lengths)
      return `${random.pick(world.peers).address}/${length}`
    }
    case 'port': {
      const port = random.pick(random.once(3) ? world.clientPorts : world.serverPorts)
      if (name === 'bport') return String(port)
      return random.pick([`tcp:${port}`, `tcp:${port}`, `udp:${port}`, ...OF[world.family].icmp, 'gre:0'])
    }
    case 'iface':
      return `${random.once(8) ? 'physdev:' : ''}${random.pick(world.devices).name}`
    default:
      return random.pick(plainOf(world.family))
  }
}

/** Text for `ipset restore`. Always the same names. */
export function makeSets(seed: number, world: World): string {
  const random = stream(seed, 'sets')
  const lines: string[] = []
  const { family } = world
  const of = OF[family]
  for (const [name, type, parts] of setsOf(family)) {
    const has = {
      timeout: random.once(3),
      counters: random.once(2),
      comment: random.once(5),
      skbinfo: random.once(2),
    }
    const range = `${random.pick(world.peers).address}/${random.pick([16, 20, 24])}`
    const words = [
      type.replace('%', range),
      family === 6 && type.startsWith('hash') ? 'family inet6' : '',
      has.timeout ? `timeout ${random.pick([0, 1, 2, 6000])}` : '',
      ...(['counters', 'comment', 'skbinfo'] as const).map((option) => (has[option] ? option : '')),
      (name === 'ip' || name === 'ipp') && random.once(3)
        ? random.pick([`netmask ${random.pick(of.masks)}`, `bitmask ${random.pick(of.bits)}`])
        : '',
      // Narrower than its range.
      name === 'bip' && random.once(3) ? `netmask ${random.pick([28, 30, 31])}` : '',
      type.startsWith('hash') && random.once(4) ? `bucketsize ${random.pick([2, 4, 14])}` : '',
      name === 'ip' || name === 'np' ? `maxelem ${random.pick([9, 65536])}` : '',
    ]
    lines.push(`create ${name} ${words.filter((w) => w !== '').join(' ')}`)
    // A rule adds and deletes networks as long as the longest of the set, and one whose time is over counts until the
    // kernel's collector comes by, nobody knows when: there is always a host.
    if (has.timeout && parts.includes('net')) {
      const hosts: Readonly<Record<string, string>> = {
        ip: of.host,
        net: `${of.host}/${family === 4 ? 32 : 128}`,
        port: 'tcp:1',
        iface: 'lo',
      }
      lines.push(
        `add ${name} ${parts
          .split(',')
          .map((kind) => hosts[kind])
          .join()} timeout 0`,
      )
    }
    const [a, b] = range.split('/')
    for (let n = random.below(name === 'list' ? 5 : 9); n > 0; n--) {
      const drawn = parts.split(',').map((kind) => member(kind, random, world, name))
      // An element of a bitmap lies in its range.
      const inRange = type.startsWith('bitmap:ip') ? [a!.replace(/\.\d+$/, `.${random.below(9)}`)] : drawn
      if (b === undefined) continue
      const extra = [
        // Long ones: nobody knows when exactly the tool put them in.
        has.timeout ? `timeout ${random.pick([0, 6000])}` : '',
        has.counters && random.once(2) ? `packets ${random.below(6)} bytes ${random.below(500)}` : '',
        has.comment && random.once(2) ? 'comment "of a set"' : '',
        has.skbinfo
          ? `skbmark ${random.pick(['0x1', '0xf0/0xff', '0x0/0xffff'])} skbprio ${random.below(3)}:${random.below(9)} skbqueue ${random.below(4)}`
          : '',
        /net/.test(type) && random.once(5) ? 'nomatch' : '',
        name === 'ni' && random.once(3) ? 'wildcard' : '',
      ]
      lines.push(`-exist add ${name} ${inRange.join()} ${extra.filter((w) => w !== '').join(' ')}`.trim())
    }
  }
  return `${lines.join('\n')}\n`
}

/** A command that changes what is in `sets`. */
export function drawSetChange(random: SeededRandom, world: World, sets: string): string[] {
  const [name, , parts] = random.pick(setsOf(world.family))
  if (random.once(12)) return ['ipset', 'flush', name]
  if (random.once(12)) return ['ipset', 'swap', 'net', 'net2']
  const element = parts.split(',').map((kind) => member(kind, random, world, name))
  if (random.once(3)) return ['ipset', '-exist', 'del', name, element.join()]
  // None that ends soon: nobody knows when exactly the tool put it in.
  const stays = new RegExp(`^create ${name} .*\\btimeout `, 'm').test(sets) ? ['timeout', '0'] : []
  return ['ipset', '-exist', 'add', name, element.join(), ...stays]
}

function directions(d: Draw, name: string): string {
  const own = SETS.find(([n]) => n === name)![2].split(',').length
  const count = d.random.once(6) ? 1 + d.random.below(6) : name === 'list' ? 1 + d.random.below(3) : own
  return Array.from({ length: count }, () => d.pick(['src', 'dst'])).join()
}

const use = (d: Draw): string => {
  const name = d.pick(namesOf(d.family))
  return `${name} ${directions(d, name)}`
}

/** How often, in a scenario that has sets. */
const weight =
  (often: number, rarely: number) =>
  (profile: string): number =>
    profile === 'sets' ? often : rarely

export const SET_MATCH: Entry = {
  name: 'set',
  sets: true,
  weight: weight(60, 6),
  draw(d) {
    const counter = (what: string): string =>
      d.pick(['', '', `${d.not(3)}--${what}-eq`, `--${what}-lt`, `--${what}-gt`])
    const packets = counter('packets')
    const bytes = counter('bytes')
    return [
      `${d.not()}--match-set ${use(d)}`,
      d.random.once(6) ? '--return-nomatch' : '',
      d.random.once(6) ? '! --update-counters' : '',
      d.random.once(8) ? '! --update-subcounters' : '',
      packets && `${packets} ${d.random.below(6)}`,
      bytes && `${bytes} ${d.random.below(900)}`,
    ]
      .filter((word) => word !== '')
      .join(' ')
  },
}

export const SET_TARGET: TargetEntry = {
  name: 'SET',
  sets: true,
  weight: weight(40, 4),
  draw(d) {
    const out: string[] = []
    const map = d.place.table === 'mangle' && d.random.once(3)
    if (map) {
      const late = d.only('FORWARD', 'OUTPUT', 'POSTROUTING')
      out.push(`--map-set ${use(d)} --map-mark${late ? d.pick(['', ' --map-prio', ' --map-queue']) : ''}`)
    }
    if (!map || d.random.once(3)) {
      if (!d.random.once(4))
        out.push(
          `--add-set ${use(d)}${d.random.once(3) ? ' --exist' : ''}${d.random.once(2) ? ` --timeout ${d.pick([0, 1, 2, 500])}` : ''}`,
        )
      if (out.length === 0 || d.random.once(5)) out.push(`--del-set ${use(d)}`)
    }
    return out.join(' ')
  },
}

export interface SetLine {
  readonly text: string
  /** The element ends so soon that the other side may have lost it already. */
  readonly soon: boolean
}

/** A saved text as can be compared: no order of elements, no seconds, nothing that the kernel draws. */
export function comparableSets(save: string, slackSeconds: number): SetLine[] {
  return save.split('\n').map((line) => {
    const seconds = Number(/^add .* timeout (\d+)/.exec(line)?.[1] ?? 0)
    return {
      text: line
        .replace(/ (hashsize \d+|initval 0x[0-9a-f]+)/g, '')
        .replace(/^(add .* timeout) [1-9]\d*/, '$1 N'),
      soon: seconds > 0 && seconds <= slackSeconds,
    }
  })
}
