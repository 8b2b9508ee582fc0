// Both hosts, asked again and again: each conversation finds them without connections.

import type { Random } from '../../../datapath/host.ts'
import { CommandError } from '../../errors.ts'
import type { HostConfig } from '../../host-folder/config.ts'
import { SeededRandom } from '../../random.ts'
import { Talk } from '../../words/conversation.ts'
import type { Step } from '../../words/model.ts'
import { outcomeOf } from '../compare.ts'
import { MemorySource } from '../memory-source.ts'
import { difference, type Kind } from '../outcome.ts'
import type { SideOutcome } from '../report.ts'
import { LOCAL, Side } from '../side.ts'

/** So many draws miss, all others hit: as luck would have it. */
class Luck implements Random {
  #misses: number
  constructor(misses: number) {
    this.#misses = misses
  }
  i32(): number {
    return this.#misses-- > 0 ? -1 : 0
  }
}

/** A frame as it was sent in. */
export interface SentIn {
  /** Null: the host itself sends it. */
  readonly device: string | null
  readonly frame: Uint8Array
}

export interface Found {
  readonly kind: Kind
  /** Number of the step that shows it. */
  readonly step: number
  readonly a: SideOutcome
  readonly b: SideOutcome
  readonly sent: readonly SentIn[]
}

/** A conversation that cannot go on. */
class Stuck extends Error {}

const stuck = (): never => {
  throw new Stuck()
}

/** 1 ms between packets, as `tunwall test` and `explain` have it. */
const PAUSE_MS = 1
/** Between conversations: limits recover, lists forget. */
const REST_MS = 1000

export class Probe {
  readonly a: Side
  readonly b: Side
  readonly #source = new MemorySource()
  /** Conversations so far. */
  count = 0
  #packets = 0

  constructor(a: HostConfig, b: HostConfig, seed: number) {
    // A captured host's wall clock is somewhere: noon of a Thursday in April, as explain has it.
    this.#source.seconds = Date.UTC(2026, 3, 2, 12) / 1000
    this.a = new Side(a, this.#source, 'packet', null, seed)
    this.b = new Side(b, this.#source, 'packet', null, seed)
  }

  /**
   * Plays steps on both; what differs first, and what is more than the deciding rule if anything is. `luck`: draws that
   * miss; null: random numbers of the seed go on.
   */
  play(steps: readonly Step[], luck: number | null, seed = 1): Found | null {
    let weak: Found | null = null
    const sides = [this.a, this.b]
    for (const side of sides) {
      side.engine.conntrack.flush()
      side.engine.conntrack.expectations.flush()
      side.random.next = luck === null ? this.#fresh(side, seed) : null
    }
    this.count++
    const talk = new Talk()
    const sent: SentIn[] = []
    let wait = REST_MS
    try {
      for (const [n, step] of steps.entries()) {
        if (step.kind === 'wait') {
          wait = step.ms
          continue
        }
        if (luck !== null) for (const side of sides) side.random.next = new Luck(luck)
        const listening = steps.slice(n + 1).find(({ kind }) => kind !== 'wait')?.kind === 'reply'
        for (const side of sides) side.listening = listening
        const { arrivals } = talk.send(step, stuck)
        for (const { device, frame, mark } of arrivals) {
          if (device !== null && !this.#known(device)) return null
          this.#source.set(device ?? 'lo', frame, wait)
          wait = PAUSE_MS
          for (const side of sides)
            if (device === null) side.sendLocal(this.#packets, frame, mark)
            else side.receive(this.#packets, mark)
          this.#packets++
          sent.push({ device, frame })
          const kind = difference(this.a, this.b)
          if (kind === null || (kind === 'rule' && weak !== null)) continue
          const found = {
            kind,
            step: n,
            a: outcomeOf(this.a, this.a.natRules()),
            b: outcomeOf(this.b, this.b.natRules()),
            sent: [...sent],
          }
          if (kind !== 'rule') return found
          weak = found
        }
        const { held, names } = this.a
        const left = []
        let delivered: Uint8Array | null = null
        for (let i = 0; i < held.count; i++) {
          const dev = held.dev(i)
          if (dev === LOCAL) delivered = held.frame(i).slice()
          else left.push({ device: names[dev]!, frame: held.frame(i).slice() })
        }
        talk.settle({ left, delivered })
      }
    } catch (error) {
      // Nothing to answer, or a packet that cannot be built: this conversation tells nothing.
      if (error instanceof Stuck || error instanceof CommandError) return weak
      throw error
    }
    return weak
  }

  #known(device: string): boolean {
    return (
      this.a.engine.host.devices.byName(device) !== undefined &&
      this.b.engine.host.devices.byName(device) !== undefined
    )
  }

  /** The stream of a seed as a new host has it. */
  #fresh(side: Side, seed: number): Random {
    const random = new SeededRandom(seed)
    for (let i = 0; i < side.drawnBefore; i++) random.i32()
    return random
  }
}
