// How far a long replay has come: a bar on standard error, only on a terminal, and only for what takes a while.

import { Presets, SingleBar } from 'cli-progress'

/** Nothing is shown for what is done sooner. */
const PATIENCE_MS = 700
/** Frames between two looks at the clock. */
const STEP = 2048

/** What is counted: bytes of the file, or frames. */
export class Progress {
  readonly #total: number
  readonly #stream: NodeJS.WriteStream
  readonly #began = performance.now()
  #bar: SingleBar | null = null
  #left = STEP

  /** `total`: where the end is, in the unit of tick(). */
  constructor(total: number, stream: NodeJS.WriteStream = process.stderr) {
    this.#total = total
    this.#stream = stream
  }

  /** After each frame: hot, and nothing most times. */
  tick(position: number, frames: number): void {
    if (--this.#left > 0) return
    this.#left = STEP
    const seconds = (performance.now() - this.#began) / 1000
    if (this.#bar === null && seconds * 1000 < PATIENCE_MS) return
    const counts = {
      frames: frames.toLocaleString('en'),
      rate: Math.round(frames / seconds).toLocaleString('en'),
    }
    if (this.#bar === null) {
      this.#bar = barOn(
        this.#stream,
        '{bar} {percentage} % · {frames} packets · {rate} packets/s · {eta_formatted} left',
      )
      this.#bar.start(this.#total, position, counts)
    }
    this.#bar.update(position, counts)
  }

  /** Takes the bar away. */
  end(): void {
    this.#bar?.stop()
    this.#bar = null
  }
}

/** How much of a time that was allowed is gone. */
export class Waiting {
  readonly #total: number
  readonly #stream: NodeJS.WriteStream
  #bar: SingleBar | null = null

  /** Milliseconds. */
  constructor(total: number, stream: NodeJS.WriteStream = process.stderr) {
    this.#total = total
    this.#stream = stream
  }

  tick(gone: number, tried: number): void {
    if (gone < PATIENCE_MS) return
    const counts = { tried: tried.toLocaleString('en') }
    if (this.#bar === null) {
      this.#bar = barOn(this.#stream, '{bar} {tried} conversations tried')
      this.#bar.start(this.#total, Math.round(gone), counts)
    }
    this.#bar.update(Math.round(gone), counts)
  }

  end(): void {
    this.#bar?.stop()
  }
}

function barOn(stream: NodeJS.WriteStream, format: string): SingleBar {
  return new SingleBar(
    {
      format,
      stream,
      clearOnComplete: true,
      barsize: 30,
      fps: 8,
      // Nobody returns to the event loop meanwhile: the bar is drawn when it is told.
      synchronousUpdate: true,
      gracefulExit: false,
    },
    Presets.shades_classic,
  )
}
