// Captures as commands name them: a file, or `-` for standard input.

import { closeSync, openSync, readSync } from 'node:fs'
import { CaptureError, CaptureReader } from '../../datapath/ports/pcap.ts'
import { PlaceError, systemReason } from '../errors.ts'

/** A capture that is open. */
export class CaptureFile {
  readonly reader: CaptureReader
  readonly path: string
  /** Frames that next() has found. */
  count = 0
  readonly #fd: number

  /** Throws PlaceError for what cannot be read, or is no capture. */
  constructor(path: string) {
    this.path = path === '-' ? '<stdin>' : path
    try {
      this.#fd = path === '-' ? 0 : openSync(path, 'r')
    } catch (error) {
      throw this.#unreadable(error)
    }
    try {
      this.reader = new CaptureReader((into, at, length) => readSync(this.#fd, into, at, length, null))
    } catch (error) {
      this.close()
      throw this.#unreadable(error)
    }
  }

  /** On to the next frame; false at the end. Throws PlaceError. */
  next(): boolean {
    try {
      const there = this.reader.next()
      if (there) this.count++
      return there
    } catch (error) {
      throw this.#unreadable(error)
    }
  }

  close(): void {
    if (this.#fd > 0) closeSync(this.#fd)
  }

  /** Line: number of the block or record. Column: byte of the file, from 1. */
  #unreadable(error: unknown): PlaceError {
    if (error instanceof CaptureError)
      return new PlaceError(error.message, { file: this.path, line: error.block, column: error.offset + 1 })
    // The reader is not there yet if the file cannot even be opened.
    const reader = this.reader as CaptureReader | undefined
    return new PlaceError(`cannot be read: ${systemReason(error)}`, {
      file: this.path,
      line: reader === undefined ? 1 : reader.block + 1,
      column: reader === undefined ? 1 : reader.offset + 1,
    })
  }
}
