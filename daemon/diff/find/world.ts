// The host that packets are made for: its interfaces, where addresses lie, members of its sets.

import type { Family } from '../../../datapath/packet.ts'
import type { HostConfig } from '../../host-folder/config.ts'
import { addresses, bitsOf, type Condition, prefix, toBig, type World } from './conditions.ts'

interface Network {
  readonly low: bigint
  readonly bits: number
  readonly device: string
  /** The host's own address in it; null: a route. */
  readonly own: bigint | null
}

/** Members of one set that are tried. */
const MEMBERS = 24

const big = (words: readonly number[], family: Family): bigint =>
  family === 4 ? BigInt(words[0]! >>> 0) : words.reduce((sum, word) => (sum << 32n) | BigInt(word >>> 0), 0n)

export class HostWorld implements World {
  readonly devices: readonly string[]
  readonly #networks: Readonly<Record<Family, readonly Network[]>>
  /** By set: lists of parts of each member. */
  readonly #sets = new Map<string, { type: string; members: string[] }>()
  /** Members that the other host's set of that name lacks. */
  readonly #telling: ReadonlyMap<string, ReadonlySet<string>>

  constructor(config: HostConfig, telling: ReadonlyMap<string, ReadonlySet<string>> = new Map()) {
    this.devices = config.interfaces.filter(({ loopback, up }) => !loopback && up).map(({ name }) => name)
    this.#networks = { 4: networksOf(config, 4), 6: networksOf(config, 6) }
    this.#telling = telling
    for (const [name, set] of setsOf(config.ipset?.text ?? '')) this.#sets.set(name, set)
  }

  /** The interface that an address lies behind; null: none. */
  deviceOf(address: bigint, family: Family): string | null {
    const bits = bitsOf(family)
    let best: Network | null = null
    for (const network of this.#networks[family]) {
      const host = BigInt(bits - network.bits)
      if (address >> host === network.low >> host && (best === null || network.bits > best.bits))
        best = network
    }
    return best?.device ?? null
  }

  /** The host's own addresses; of one interface. */
  own(family: Family, device: string | null = null): bigint[] {
    return this.#networks[family].flatMap((n) =>
      n.own !== null && (device === null || n.device === device) ? [n.own] : [],
    )
  }

  /** Addresses of others behind an interface: neighbours first. */
  behind(device: string, family: Family): bigint[] {
    const found: bigint[] = []
    const networks = this.#networks[family].filter((n) => n.device === device)
    for (const { low, bits, own } of networks.toSorted((a, b) => b.bits - a.bits)) {
      const size = 1n << BigInt(bitsOf(family) - bits)
      for (const step of [2n, 7n, 9n, size - 2n, 1n]) {
        const address = bits === 0 ? FAR[family] + step : low + step
        if (step > 0n && step < size && address !== own && this.deviceOf(address, family) === device)
          found.push(address)
      }
    }
    return found
  }

  /** Edges of all routes. */
  edges(family: Family): bigint[] {
    return this.#networks[family].flatMap(({ low, bits }) =>
      bits === 0 ? [] : prefixEdges(low, bits, family),
    )
  }

  members(set: string, directions: readonly string[], family: Family): readonly (readonly Condition[])[] {
    const found = this.#sets.get(set)
    if (found === undefined) return []
    const telling = this.#telling.get(set)
    const sorted =
      telling === undefined
        ? found.members
        : found.members.toSorted((a, b) => Number(telling.has(b)) - Number(telling.has(a)))
    const few = sorted.length > MEMBERS ? [...sorted.slice(0, MEMBERS - 2), ...sorted.slice(-2)] : sorted
    return few.flatMap((member) => {
      const conditions = this.#member(found.type, member, directions, family)
      return conditions === null ? [] : [conditions]
    })
  }

  #member(
    type: string,
    member: string,
    directions: readonly string[],
    family: Family,
  ): readonly Condition[] | null {
    if (type === 'list:set') return this.members(member, directions, family)[0] ?? null
    const kinds = type.slice(type.indexOf(':') + 1).split(',')
    const parts = member.split(',')
    const conditions: Condition[] = []
    for (const [i, kind] of kinds.entries()) {
      const part = parts[i]
      if (part === undefined) return null
      const toDst = directions[i] === 'dst'
      if (kind === 'ip' || kind === 'net') {
        const field = toDst ? 'dst' : 'src'
        const [low, high] = part.split('-').map(toBig)
        const condition =
          low != null && high != null ? addresses(field, low, high, family) : prefix(field, part, family)
        if (condition === null || part.includes(':') !== (family === 6)) return null
        conditions.push(condition)
      } else if (kind === 'port') {
        const [protocol, port] = part.includes(':') ? part.split(':') : ['tcp', part]
        const number = Number(port?.split('-')[0])
        if (!Number.isInteger(number)) return null
        conditions.push(exactly(toDst ? 'dport' : 'sport', number))
        conditions.push(exactly('protocol', protocol === 'udp' ? 17 : protocol === 'sctp' ? 132 : 6))
      } else if (kind === 'iface') conditions.push(exactly(toDst ? 'out' : 'in', part))
      else if (kind === 'mark') conditions.push(exactly('mark', Number(part)))
    }
    return conditions
  }

  typed(types: readonly string[], family: Family): { inside: bigint[]; outside: bigint[] } {
    const own = this.own(family)
    const others = this.devices.flatMap((device) => this.behind(device, family).slice(0, 2))
    const all = [...own, ...others, ...this.#broadcasts(family)]
    return {
      inside: all.filter((address) => this.isTyped(address, types)),
      outside: all.filter((address) => !this.isTyped(address, types)),
    }
  }

  isTyped(address: bigint, types: readonly string[]): boolean {
    const family: Family = address > 0xffffffffn ? 6 : 4
    const local = this.own(family).includes(address) || address >> 24n === 127n
    const broadcast = !local && this.#broadcasts(family).includes(address)
    const multicast = family === 4 && address >> 28n === 14n
    return types.some((type) => {
      if (type === 'LOCAL') return local
      if (type === 'BROADCAST') return broadcast
      if (type === 'MULTICAST') return multicast
      return type === 'UNICAST' && !local && !broadcast && !multicast
    })
  }

  #broadcasts(family: Family): bigint[] {
    if (family === 6) return []
    return this.#networks[4].flatMap(({ low, bits, own }) =>
      own === null || bits > 30 ? [] : [low + (1n << BigInt(32 - bits)) - 1n],
    )
  }
}

/** Somebody far away: 198.51.100.0, 2001:db8:ffff::. */
const FAR: Readonly<Record<Family, bigint>> = { 4: 0xc6336400n, 6: 0x20010db8ffffn << 80n }

const exactly = (field: Condition['field'], value: number | string): Condition => ({
  field,
  fits: (v) => v === value,
  inside: [value],
  outside: typeof value === 'number' ? [value + 1] : [],
})

function prefixEdges(low: bigint, bits: number, family: Family): bigint[] {
  const size = 1n << BigInt(bitsOf(family) - bits)
  const max = (1n << BigInt(bitsOf(family))) - 1n
  return [low + 1n, low + size - 1n, low, low + size, low - 1n].filter((a) => a > 0n && a < max)
}

function networksOf(config: HostConfig, family: Family): Network[] {
  const networks: Network[] = []
  for (const { name, addresses: list, loopback } of config.interfaces) {
    if (loopback) continue
    for (const address of list) {
      if (address.family !== family) continue
      const own = big(address.words, family)
      const host = BigInt(bitsOf(family) - address.prefixLength)
      networks.push({ low: (own >> host) << host, bits: address.prefixLength, device: name, own })
    }
  }
  const { routes } = family === 4 ? config.ipv4 : config.ipv6
  for (const route of routes) {
    const device =
      route.device ??
      route.nexthops?.[0]?.device ??
      (route.gateway === null ? null : deviceOfGateway(networks, big(route.gateway, family), family))
    // Unicast, of whatever table: it is a place to send to.
    if (device !== null && device !== 'lo' && route.type === 1)
      networks.push({ low: big(route.dst, family), bits: route.prefixLength, device, own: null })
  }
  return networks
}

function deviceOfGateway(networks: readonly Network[], gateway: bigint, family: Family): string | null {
  const found = networks.find(({ low, bits }) => {
    const host = BigInt(bitsOf(family) - bits)
    return gateway >> host === low >> host
  })
  return found?.device ?? null
}

/** Sets of `ipset save`: `create NAME TYPE …`, `add NAME MEMBER …`. */
export function setsOf(text: string): Map<string, { type: string; members: string[] }> {
  const sets = new Map<string, { type: string; members: string[] }>()
  for (const line of text.split('\n')) {
    const [verb, name, word] = line.split(' ')
    if (name === undefined || word === undefined) continue
    if (verb === 'create') sets.set(name, { type: word, members: [] })
    else if (verb === 'add') sets.get(name)?.members.push(word)
  }
  return sets
}
