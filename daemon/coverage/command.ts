// What `tunwall coverage` does, and `tunwall test --coverage`: hits from captures and tests, and where they are written.

import { CountingEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { createEngine, type Engine } from '../engine.ts'
import { ExitCode } from '../errors.ts'
import { loadHostFolder } from '../host-folder/index.ts'
import { OutputFiles } from '../output-files.ts'
import { SeededRandom } from '../random.ts'
import { CaptureFile } from '../replay/capture-file.ts'
import { MAX_FRAME, Player, SLOTS } from '../replay/player.ts'
import { Coverage, type Covered } from './collect.ts'
import { annotated, lcov, type ReadText, readText, summary, sums } from './reports.ts'

export interface CoverageOutput {
  /** File for lcov's format, null none. */
  readonly lcov: string | null
  /** File for the annotated rules, null none; `-`: standard output. */
  readonly annotate: string | null
  /** The table of sums. */
  readonly summary: boolean
}

/** The coverage of several hosts, by folder or file. */
export class Coverages {
  readonly #all = new Map<string, Coverage>()

  /** The coverage of the rules that `name` has; those of `engine`, if it is new. */
  of(name: string, engine: Engine): Coverage {
    let coverage = this.#all.get(name)
    if (coverage === undefined) {
      coverage = new Coverage(engine)
      this.#all.set(name, coverage)
    }
    return coverage
  }

  get rules(): Covered[] {
    return [...this.#all.values()].flatMap(({ rules }) => rules)
  }

  /** Writes the files and says what is wanted. Throws CommandError. */
  report(
    { lcov: lcovFile, annotate, summary: sum }: CoverageOutput,
    out: (text: string) => void,
    read: ReadText = readText,
  ): void {
    // Rules of different hosts may have the same names: each is told by itself.
    const each = [...this.#all.values()].map(({ rules }) => rules)
    const files = new OutputFiles()
    try {
      if (lcovFile !== null) files.text(lcovFile, each.map((rules) => lcov(rules, read)).join(''))
      const marked = annotate === null ? '' : each.map((rules) => annotated(rules, read)).join('\n')
      if (annotate !== null && annotate !== '-') files.text(annotate, marked)
      files.commit()
      if (annotate === '-') out(`${marked}\n`)
    } finally {
      files.discard()
    }
    if (sum) for (const rules of each) out(summary(rules))
  }
}

export interface CoverageOptions extends CoverageOutput {
  /** The host folder. */
  readonly host: string
  readonly captures: readonly string[]
  /** Where frames arrive, whatever captures say; null: as they say. */
  readonly iface: string | null
  readonly seed: number
  /** Least percentage of rules hit, of those that can be; null: any. */
  readonly least: number | null
  readonly out: (text: string) => void
  /** Tests that are run too: they add to what they find in `coverages`. */
  readonly tests: ((coverages: Coverages) => void) | null
}

/** Failure: fewer rules were hit than `least` says. Throws CommandError. */
export function coverage(options: CoverageOptions): ExitCode {
  const coverages = new Coverages()
  const config = loadHostFolder(options.host)
  const make = (): { engine: Engine; memory: FrameMemory } => {
    const memory = new FrameMemory(SLOTS, MAX_FRAME)
    const random = new SeededRandom(options.seed)
    return { engine: createEngine(config, { memory, egress: new CountingEgress(memory), random }), memory }
  }
  if (options.captures.length === 0) coverages.of(options.host, make().engine)
  for (const capture of options.captures) {
    // Each capture has its own time, and so its own host.
    const { engine } = make()
    const covered = coverages.of(options.host, engine)
    const counts = covered.begin(engine)
    play(engine, capture, options.iface)
    covered.count(engine, counts)
  }
  options.tests?.(coverages)
  coverages.report(options, options.out)
  const { rules, hit, never } = sums(coverages.rules)
  if (options.least === null || hit * 100 >= options.least * (rules - never)) return ExitCode.Ok
  options.out(`${hit} of ${rules - never} rules that can be hit: less than ${options.least}%\n`)
  return ExitCode.Failure
}

function play(engine: Engine, path: string, iface: string | null): void {
  const capture = new CaptureFile(path)
  try {
    const stamped = { seconds: 0, nanos: 0 }
    const player = new Player({ engine, source: capture.reader, file: capture.path, iface, stamped })
    while (capture.next()) {
      player.setClock()
      player.receive()
    }
  } finally {
    capture.close()
  }
}
