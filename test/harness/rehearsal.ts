// A scenario drawn and run by tunwall alone: what the random rules and frames are like can be seen without a kernel,
// without waiting, and the same each time.

import { SeededRandom } from './frames.ts'
import type { Taker } from './generate.ts'
import type { Scenario, Step, StepRun } from './scenario.ts'
import { EngineHost } from './scenario-engine.ts'
import { fillReferences } from './scenario-references.ts'

/** Steps that fall into one jiffy of four milliseconds, about as many as with a kernel. */
const STEPS_A_JIFFY = 8
const JIFFY_MS = 4

export class Rehearsal implements Taker {
  readonly host: EngineHost
  readonly #byId = new Map<number, StepRun>()
  readonly #began: number
  #steps = 0
  #at = 0

  /** `wall`: milliseconds since 1970 when it begins. */
  constructor(scenario: Scenario, wall: number) {
    this.host = new EngineHost(scenario, new SeededRandom(0x7075), null)
    this.#began = wall
    this.host.advance(0, wall)
  }

  async take(steps: readonly Step[]): Promise<StepRun[]> {
    return steps.map((step) => {
      const { host } = this
      this.#at += step.pause ?? 0
      if (++this.#steps % STEPS_A_JIFFY === 0) this.#at += JIFFY_MS
      const at = this.#at
      const wall = this.#began + at
      host.advance(at, wall)
      const before = host.sent()
      if (step.command !== undefined) host.run(step.command, step.input)
      const injected = step.frame === undefined ? null : fillReferences(step, this.#byId)
      if (injected !== null) host.receive(step.dev!, injected)
      const run = { id: step.id, at, wall, dev: step.dev ?? null, injected, before, sent: host.sent() }
      this.#byId.set(step.id, run)
      return run
    })
  }
}
