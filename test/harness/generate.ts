// Random scenarios from a seed. The traffic answers the host: frames are drawn one by one while a kernel
// runs the scenario, and what far ends send follows from what the kernel let through. The result is concrete
// bytes, the same for every later run.

import { PlaceError } from '../../daemon/errors.ts'
import type { Conversation, Wire } from './conversation.ts'
import { EchoConversation, TftpConversation, UdpConversation } from './conversation-datagrams.ts'
import { H323Conversation } from './conversation-h323.ts'
import { HELPER_CONVERSATIONS } from './conversation-helpers.ts'
import { OtherConversation } from './conversation-other.ts'
import { SctpConversation } from './conversation-sctp.ts'
import { TcpConversation } from './conversation-tcp.ts'
import type { SeededRandom } from './frames.ts'
import { type Change, Changes } from './generate-changes.ts'
import { cutUp } from './generate-fragments.ts'
import { makeHelperRules } from './generate-helpers.ts'
import { makeNoise } from './generate-noise.ts'
import { type Basis, makeRules } from './generate-rules.ts'
import { makeSets } from './generate-sets.ts'
import { type Kind, kindOf, makeWorld, type Profile, stream, type World } from './generate-world.ts'
import { headersOf } from './headers.ts'
import { KernelHost, type Oracle, Refused } from './kernel.ts'
import {
  firstRules,
  hex,
  type Reference,
  type Run,
  type Scenario,
  type Step,
  type StepRun,
  unhex,
} from './scenario.ts'

export interface Generated {
  readonly scenario: Scenario
  /** What the kernel did while the scenario was drawn. */
  readonly run: Run
  /** The host folder as the stock tools printed it before the first frame; null unless asked for. */
  readonly captured: Record<string, string> | null
}

/** Frames of a scenario, at least. */
export const FRAMES = 200

/** Chances of each kind of activity: conversations (TCP, UDP, echo, other), noise; and one in how many sends is cut in fragments. */
const MIX: Readonly<
  Record<
    Kind,
    {
      tcp: number
      udp: number
      echo: number
      other: number
      noise: number
      fragments: number
      pauses: number
    }
  >
> = {
  filtering: { tcp: 40, udp: 20, echo: 8, other: 4, noise: 20, fragments: 40, pauses: 80 },
  state: { tcp: 60, udp: 14, echo: 5, other: 3, noise: 16, fragments: 60, pauses: 30 },
  nat: { tcp: 40, udp: 25, echo: 8, other: 3, noise: 20, fragments: 40, pauses: 60 },
  mangle: { tcp: 35, udp: 20, echo: 8, other: 5, noise: 32, fragments: 30, pauses: 200 },
  local: { tcp: 8, udp: 5, echo: 4, other: 3, noise: 60, fragments: 20, pauses: 150 },
  fragments: { tcp: 10, udp: 30, echo: 15, other: 5, noise: 40, fragments: 2, pauses: 60 },
  mixed: { tcp: 35, udp: 15, echo: 7, other: 6, noise: 37, fragments: 12, pauses: 100 },
  sets: { tcp: 30, udp: 30, echo: 12, other: 6, noise: 24, fragments: 30, pauses: 30 },
  extensions: { tcp: 30, udp: 18, echo: 8, other: 34, noise: 20, fragments: 30, pauses: 40 },
  routing: { tcp: 12, udp: 20, echo: 8, other: 5, noise: 60, fragments: 60, pauses: 200 },
  helpers: { tcp: 2, udp: 2, echo: 1, other: 40, noise: 2, fragments: 60, pauses: 60 },
  h323: { tcp: 1, udp: 1, echo: 1, other: 60, noise: 2, fragments: 60, pauses: 60 },
}

/** What takes frames: the kernel, or what stands for it while only frames are wanted. */
export type Taker = Pick<KernelHost, 'take'>

/** A host without rules that passes on what it gets, unchanged. */
class Passer implements Taker {
  readonly #world: World
  constructor(world: World) {
    this.#world = world
  }
  async take(steps: readonly Step[]): Promise<StepRun[]> {
    return steps.map(({ id, dev = '', frame = '' }) => {
      const bytes = unhex(frame)
      const to = headersOf(bytes)?.dst
      const peer = this.#world.peers.find((p) => p.address === to)
      const sent = peer === undefined ? [] : [{ dev: peer.dev, bytes }]
      return { id, at: 0, wall: 0, dev, injected: bytes, before: [], sent }
    })
  }
}

/** Frames that a sample for the rules is made of. */
const SAMPLE = 60

/** The frames as they would be if the rules let everything through. */
async function sampleFrames(seed: number, profile: Kind, world: World): Promise<Uint8Array[]> {
  const recorder = new Recorder(new Passer(world), world, profile, stream(seed, 'traffic'))
  await talk(recorder, profile, SAMPLE)
  return recorder.history.map((r) => r.injected!).filter((f) => f.length >= 20)
}

interface Piece {
  readonly dev: string
  readonly frame: Uint8Array
  readonly note: string
  readonly references: readonly Reference[]
}

class Recorder implements Wire {
  world: World
  readonly random: SeededRandom
  readonly headersOnceIn: number
  readonly steps: Step[] = []
  readonly history: StepRun[] = []
  readonly #kernel: Taker
  readonly #mix: (typeof MIX)[Kind]
  #pauses = 0
  #id = 0
  /** Fragments that are still on their way. */
  readonly #late: Piece[] = []
  readonly #fragmentIds: number[] = []

  constructor(kernel: Taker, world: World, profile: Kind, random: SeededRandom) {
    this.#kernel = kernel
    this.world = world
    this.random = random
    this.#mix = MIX[profile]
    this.headersOnceIn = profile === 'extensions' ? 3 : 20
    this.#id = random.below(65536)
  }

  get frames(): number {
    return this.history.length
  }

  id(): number {
    return this.random.once(30) ? 0 : (this.#id = (this.#id + 1 + this.random.below(9)) & 0xffff)
  }

  /** Time passes now and then: never near a whole second, where a tick more or less would count. */
  #pause(): number {
    if (this.#pauses >= 5 || !this.random.once(this.#mix.pauses)) return 0
    this.#pauses++
    return this.random.pick([20, 120, 1120, 2120])
  }

  /** The host changes while it runs. */
  async change(change: Change): Promise<void> {
    const step: Step = { id: this.steps.length, ...change }
    this.steps.push(step)
    await this.#kernel.take([step])
  }

  async send(
    dev: string,
    frame: Uint8Array,
    note: string,
    references: readonly Reference[] = [],
  ): Promise<StepRun> {
    const { random } = this
    if (this.#late.length > 0 && random.once(6)) {
      const piece = this.#late.splice(random.below(this.#late.length), 1)[0]!
      await this.one(piece.dev, piece.frame, piece.note, piece.references)
    }
    const cut = random.once(this.#mix.fragments) ? cutUp(frame, random, this.#fragmentIds) : null
    if (cut === null || cut.length === 0) return this.one(dev, frame, note, references)
    const late = random.once(4) ? random.below(cut.length) : -1
    const runs: StepRun[] = []
    for (const [i, frameOf] of cut.entries()) {
      const piece: Piece = {
        dev,
        frame: frameOf,
        note: `${note}, fragment ${i + 1} of ${cut.length}`,
        references: referencesInto(frame, frameOf, references),
      }
      // Others come before it, and time passes.
      if (i === late && cut.length > 1) this.#late.push(piece)
      else runs.push(await this.one(piece.dev, piece.frame, piece.note, piece.references))
    }
    // The whole message came out of one of them, if of any.
    return runs.findLast((r) => r.sent.length > 0) ?? runs.at(-1)!
  }

  async one(
    dev: string,
    frame: Uint8Array,
    note: string,
    references: readonly Reference[],
  ): Promise<StepRun> {
    const pause = this.#pause()
    const step: Step = {
      id: this.steps.length,
      ...(pause > 0 ? { pause } : {}),
      dev,
      frame: hex(frame),
      ...(references.length > 0 ? { references } : {}),
      note,
    }
    this.steps.push(step)
    const [run] = await this.#kernel.take([step])
    this.history.push(run!)
    return run!
  }
}

/** Those that point into the first fragment, which has a header more if it is one of IPv6. */
function referencesInto(
  frame: Uint8Array,
  piece: Uint8Array,
  references: readonly Reference[],
): readonly Reference[] {
  const whole = headersOf(frame)
  const part = headersOf(piece)
  if (whole === null || part === null || part.fragment === null || part.fragment.offset > 0) return []
  const by = part.l4 - whole.l4
  if (part.l4 + 8 > piece.length || by !== (part.family === 4 ? 0 : 8)) return []
  return references.map((r) => ({ ...r, at: r.at + by }))
}

/** Conversations that are neither TCP, UDP nor echo. */
const OTHERS = [OtherConversation, OtherConversation, OtherConversation, SctpConversation, TftpConversation]

const conversationsOf = (profile: Kind, family: World['family']) =>
  profile === 'helpers' ? HELPER_CONVERSATIONS[family] : profile === 'h323' ? [H323Conversation] : OTHERS

/** So many turns in a row may pass without a frame. */
const MOST_IDLE = 10_000

/** What went in, and what left, of one family. */
const ofFamily = (history: readonly StepRun[], family: World['family']): StepRun[] =>
  history.filter(({ injected }) => injected !== null && injected[0]! >> 4 === family)

/** The other family's world on the same host, and what changes there. */
interface Other {
  readonly world: World
  readonly changes: Changes
}

/** On a host of both families no link goes down or gets so small that IPv6 ends there: it would tell its groups. */
const endsIpv6 = ([tool, , verb, ...words]: readonly string[]): boolean =>
  tool === 'ip' && verb === 'set' && (words.includes('down') || Number(words.at(-1)) < 1280)

/** `changes`: what may change meanwhile; null: nothing does. `other`: frames are of both families. */
async function talk(
  recorder: Recorder,
  profile: Kind,
  frames: number,
  changes: Changes | null = null,
  other: Other | null = null,
): Promise<void> {
  const sides = [{ world: recorder.world, changes }, ...(other === null ? [] : [other])]
  const { random } = recorder
  const mix = MIX[profile]
  const talks = mix.tcp + mix.udp + mix.echo + mix.other
  const active: { readonly world: World; readonly conversation: Conversation }[] = []
  for (let idle = 0, before = 0; recorder.frames < frames; idle++) {
    if (recorder.frames !== before) idle = 0
    before = recorder.frames
    if (idle > MOST_IDLE) throw new Error(`nobody says anything after ${before} frames`)
    const side = other === null ? sides[0]! : random.pick(sides)
    recorder.world = side.world
    const history = other === null ? recorder.history : ofFamily(recorder.history, side.world.family)
    const change = side.changes?.draw(recorder, history) ?? null
    if (change !== null && (other === null || !endsIpv6(change.command))) await recorder.change(change)
    if (random.below(talks + mix.noise) >= talks) {
      const n = makeNoise(recorder, profile, history)
      if (n !== null) await recorder.send(n.dev, n.frame, n.note, n.references ?? [])
      continue
    }
    if (active.length > 0 && (active.length >= 6 || !random.once(4))) {
      const at = random.below(active.length)
      const { world, conversation } = active[at]!
      recorder.world = world
      await conversation.turn()
      if (conversation.done) active.splice(at, 1)
      continue
    }
    let at = random.below(talks)
    const begin = (): Conversation => {
      if ((at -= mix.tcp) < 0) return new TcpConversation(recorder, !random.once(3))
      if ((at -= mix.udp) < 0) return new UdpConversation(recorder)
      if ((at -= mix.echo) < 0) return new EchoConversation(recorder)
      return new (random.pick(conversationsOf(profile, recorder.world.family)))(recorder)
    }
    active.push({ world: recorder.world, conversation: begin() })
  }
}

/** Timeout policies for CT --timeout, by the protocol that they are for: see the target CT. */
const POLICIES: Readonly<Record<World['family'], readonly string[]>> = {
  4: [
    'tcp inet tcp syn_sent 3 established 5 close 1 time_wait 2 retrans 4 unacknowledged 2',
    'udp inet udp unreplied 1 replied 3',
    'icmp inet icmp timeout 2',
    'sctp inet sctp closed 1 established 5',
  ],
  6: [
    'tcp inet6 tcp syn_sent 3 established 5 close 1 time_wait 2 retrans 4 unacknowledged 2',
    'udp inet6 udp unreplied 1 replied 3',
    'icmp inet6 icmpv6 timeout 2',
    'sctp inet6 sctp closed 1 established 5',
  ],
}

/** What the rules of a scenario are drawn from, `wall` being milliseconds since 1970; null where they are those of the helpers. */
async function basisOf(drawn: number, profile: Kind, wall: number, world: World): Promise<Basis | null> {
  if (profile === 'helpers' || profile === 'h323') return null
  return { seed: drawn, profile, world, frames: await sampleFrames(drawn, profile, world), wall }
}

/** The host of a scenario, without a frame yet. `drawn`: the seed. */
function bareScenario(
  name: string,
  drawn: number,
  profile: Kind,
  world: World,
  basis: Basis | null,
): Scenario {
  const { devices, routes, rules, sysctls } = world
  return {
    name,
    ...(world.family === 6 ? { family: 6 } : {}),
    devices,
    routes,
    rules,
    sysctls,
    ...(world.sets ? { sets: makeSets(drawn, world) } : {}),
    ...(profile === 'state' ? { policies: POLICIES[world.family] } : {}),
    iptables:
      basis === null
        ? makeHelperRules(drawn, world, profile === 'h323' ? profile : 'helpers')
        : makeRules(basis),
    steps: [],
  }
}

/** The host with what it has of the other family too. `drawn`: the seed. */
async function withOther(
  bare: Scenario,
  drawn: number,
  kind: Kind,
  wall: number,
): Promise<{ bare: Scenario; other: { world: World; basis: Basis | null } }> {
  const family = bare.family === 6 ? 4 : 6
  // Interfaces have the same names, for both are drawn from one seed. The tool refuses sets of another family.
  const world = { ...makeWorld(drawn, kind, family), sets: false }
  // Rules are not those of the first family over again.
  const basis = await basisOf(drawn ^ 0x5a5a5a5a, kind, wall, world)
  const beside = {
    addresses: Object.fromEntries(world.devices.map((d) => [d.name, d.addresses])),
    routes: world.routes,
    rules: world.rules,
    iptables: basis === null ? '' : makeRules(basis),
  }
  const mtus = new Map(world.devices.map((d) => [d.name, d.mtu]))
  const devices = bare.devices.map((d) => ({ ...d, mtu: Math.max(1280, d.mtu, mtus.get(d.name) ?? 0) }))
  return {
    bare: { ...bare, devices, beside, sysctls: { ...bare.sysctls, ...world.sysctls } },
    other: { world, basis },
  }
}

/** What the other family says and changes. */
function otherSide(
  bare: Scenario,
  drawn: number,
  kind: Kind,
  { world, basis }: { world: World; basis: Basis | null },
): Other {
  const beside = { ...bare.beside!, iptables: bare.iptables }
  const scenario = { ...bare, iptables: bare.beside!.iptables, beside }
  return { world, changes: new Changes(kind, basis, stream(drawn, 'other changes'), scenario) }
}

/** Draws a scenario while `oracle` runs it. `wall`: ms since 1970, which rules with a time are drawn about. */
export async function generate(
  oracle: Oracle,
  seed: number,
  profile: Profile,
  frames: number = FRAMES,
  { capture = false, wall = Date.now() }: { capture?: boolean; wall?: number } = {},
): Promise<Generated> {
  let refusal: unknown
  // A ruleset that iptables refuses is a fault of the generator; rare ones are passed over.
  const { kind, family } = kindOf(profile)
  for (let attempt = 0; attempt < 10; attempt++) {
    const drawn = (Math.imul(seed, 16) + attempt) | 0
    const world = makeWorld(drawn, kind, family)
    const basis = await basisOf(drawn, kind, wall, world)
    const first = bareScenario(`${profile}-${seed}`, drawn, kind, world, basis)
    const { bare, other } =
      profile === 'both' ? await withOther(first, drawn, kind, wall) : { bare: first, other: null }
    const kernel = new KernelHost(oracle, bare)
    try {
      await kernel.setUp()
    } catch (e) {
      if (!(e instanceof Refused)) throw e
      refusal = e
      refusals.push(e.message)
      continue
    }
    // What is saved has the tables in another order, and the first rule that names an estimator or a list makes it.
    // IPv6's `-p all` asks for an upper header, but is not saved.
    const loses = / -m (rateest|recent) |^-A .* -p all\b/m.test(firstRules(bare))
    const captured = capture && !loses ? await kernel.capture() : null
    const recorder = new Recorder(kernel, world, kind, stream(drawn, 'traffic'))
    const changes = new Changes(kind, basis, stream(drawn, 'changes'), bare)
    await talk(recorder, kind, frames, changes, other && otherSide(bare, drawn, kind, other))
    return { scenario: { ...bare, steps: recorder.steps }, run: await kernel.finish(), captured }
  }
  throw refusal
}

/** Draws a scenario while somebody other than a kernel runs it, whom `start` sets up at `wall`, ms since 1970. */
export async function rehearse(
  seed: number,
  profile: Profile,
  wall: number,
  start: (scenario: Scenario) => Taker,
  frames: number = FRAMES,
): Promise<Scenario> {
  const { kind, family } = kindOf(profile)
  let refusal: unknown
  for (let attempt = 0; attempt < 10; attempt++) {
    const drawn = (Math.imul(seed, 16) + attempt) | 0
    const world = makeWorld(drawn, kind, family)
    const bare = bareScenario(
      `${profile}-${seed}`,
      drawn,
      kind,
      world,
      await basisOf(drawn, kind, wall, world),
    )
    let taker: Taker
    try {
      taker = start(bare)
    } catch (e) {
      // Rules that cannot be loaded are passed over here as well.
      if (!(e instanceof PlaceError)) throw e
      refusal = e
      continue
    }
    const recorder = new Recorder(taker, world, kind, stream(drawn, 'traffic'))
    // Who asks what the rules did wants them to stay.
    await talk(recorder, kind, frames, new Changes(kind, null, stream(drawn, 'changes'), bare))
    return { ...bare, steps: recorder.steps }
  }
  throw refusal
}

/** Set-ups that the kernel or its tools refused while scenarios were drawn: for whoever improves the generator. */
export const refusals: string[] = []
