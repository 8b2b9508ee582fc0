// IPv6 extension headers for frames: harmless ones, which a packet may carry anywhere, and chains that are odd,
// damaged or forbidden.

import type { Extension, SeededRandom } from './frames.ts'
import { bytes6 } from './frames.ts'
import type { World } from './generate-world.ts'

/** What headers are drawn from. */
interface Basis {
  readonly random: SeededRandom
  readonly world: World
}

const HOP = 0
const ROUTING = 43
const FRAGMENT = 44
const AUTHENTICATION = 51
const DESTINATION = 60

const PAD1 = [0]
const padN = (n: number): number[] => [1, n, ...Array<number>(n).fill(0)]

/** A header of options, padded to eight bytes; `length`: what it says of itself instead. */
function options(type: number, list: readonly number[], length?: number): Extension {
  const bytes = [0, 0, ...list]
  const room = (8 - (bytes.length % 8)) % 8
  if (room === 1) bytes.push(...PAD1)
  else if (room > 1) bytes.push(...padN(room - 2))
  bytes[1] = length ?? bytes.length / 8 - 1
  return { type, bytes }
}

const ROUTER_ALERT = [5, 2, 0, 0]
const TUNNEL_LIMIT = [4, 1, 4]
/** Skipped, discarded, answered, answered unless multicast: what the two highest bits of an unknown option say. */
const UNKNOWN = [0x1e, 0x5e, 0x9e, 0xde]

function option({ random, world }: Basis): number[] {
  return random.pick<() => number[]>([
    () => ROUTER_ALERT,
    () => TUNNEL_LIMIT,
    () => [random.pick(UNKNOWN), 2, 7, 7],
    () => [random.pick([0x1e, 0x3e]), 4, 1, 2, 3, 4],
    () => [201, 16, ...bytes6(random.pick(world.peers).address)],
    () => [0xc2, 4, 0, 1, 0, 0],
    () => [0xc2, 4, 0, 0, 0, 40],
    () => [7, 8, 0, 0, 0, 1, 0, 0, 0, 0],
    () => [5, random.pick([1, 3]), 0, 0, 0].slice(0, random.pick([3, 5])),
    () => padN(random.pick([0, 1, 4, 5, 6, 12])),
    () => [1, 2, 0, random.pick([0, 9])],
    () => [...PAD1, ...PAD1, ...PAD1],
    () => Array<number>(random.pick([7, 8, 9])).fill(0),
    // Longer than the header.
    () => [random.pick([0x1e, 1, 5]), 200],
  ])()
}

const someOptions = (basis: Basis, type: number): Extension => {
  const list: number[] = []
  for (let n = basis.random.pick([1, 1, 1, 2, 3, 9]); n > 0; n--) list.push(...option(basis))
  return options(type, list)
}

/** A routing header with addresses; `left`: segments left. */
function routing({ random, world }: Basis, type: number, left: number, least = 0): Extension {
  const addresses = Array.from({ length: Math.max(least, random.pick([0, 1, 1, 2, 3])) }, () =>
    bytes6(random.pick([random.pick(world.own), random.pick(world.peers).address])),
  )
  // Of type 4 (SRH): last entry, flags, tag; of the others: reserved.
  const rest =
    type === 4
      ? [Math.max(0, addresses.length - 1), 0, 0, random.below(4)]
      : [0, 0, 0, random.once(4) ? 7 : 0]
  const bytes = [0, addresses.length * 2, type, left, ...rest, ...addresses.flat()]
  return { type: ROUTING, bytes }
}

const atomic = (random: SeededRandom, cut = 0): Extension => ({
  type: FRAGMENT,
  bytes: [0, 0, cut >> 8, cut & 255, 0, 0, random.below(256), random.below(256)],
})

const authentication = ({ random }: Basis, words = 4): Extension => ({
  type: AUTHENTICATION,
  bytes: [0, words, 0, 0, 0, 0, 0, random.pick([1, 2, 255]), 0, 0, 0, 1, ...Array<number>(12).fill(3)],
})

/** One to three headers that no router and no host minds, in their order. */
export function harmless(basis: Basis): Extension[] {
  const { random } = basis
  const list = [
    () => options(HOP, random.pick([[], ROUTER_ALERT, [0x1e, 2, 7, 7]])),
    () => options(DESTINATION, random.pick([[], TUNNEL_LIMIT, [0x1e, 4, 1, 2, 3, 4]])),
    () => routing(basis, random.pick([0, 2, 3, 4, 4, 4]), 0),
    () => atomic(random),
    () => options(DESTINATION, []),
  ].filter(() => random.once(4))
  return (list.length > 0 ? list : [() => options(DESTINATION, [])]).map((make) => make())
}

/** Any chain: in any order, with segments left, options that are answered, lengths that lie. */
export function anyChain(basis: Basis): Extension[] {
  const { random } = basis
  const left = random.pick([0, 0, 1, 1, 2, 5])
  const one = (): Extension =>
    random.pick<() => Extension>([
      () => someOptions(basis, HOP),
      () => someOptions(basis, HOP),
      () => someOptions(basis, DESTINATION),
      () => someOptions(basis, DESTINATION),
      () => someOptions(basis, DESTINATION),
      () => routing(basis, random.pick([0, 1, 2, 3, 4, 4, 253]), left),
      () => routing(basis, random.pick([0, 2, 3, 4]), left),
      // On its way through segments.
      () => routing(basis, 4, random.pick([1, 1, 2]), 3),
      () => ({ ...routing(basis, 2, 1), bytes: [0, random.pick([1, 3]), 2, 1, 0, 0, 0, 0] }),
      () => atomic(random, random.pick([0, 0, 2, 6])),
      () => authentication(basis),
      () => authentication(basis, random.pick([0, 1, 2, 30])),
      () => options(random.pick([HOP, DESTINATION]), [], random.pick([1, 2, 20, 255])),
      () => ({ type: random.pick([135, 139, 140, 50, 253, 254]), bytes: [59, 0, 0, 0, 0, 0, 0, 0] }),
    ])()
  const chain: Extension[] = []
  for (let n = random.pick([1, 1, 1, 2, 2, 3]); n > 0; n--) chain.push(one())
  return chain
}
