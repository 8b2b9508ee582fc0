// Captures as commands name them: a file, `-` for standard input; packed with gzip or not.

import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { CaptureError, CaptureReader, type ReadBytes } from '../../datapath/ports/pcap.ts'
import { CommandError, PlaceError, systemReason } from '../errors.ts'

/** A capture that is open. */
export class CaptureFile {
  readonly reader: CaptureReader
  readonly path: string
  /** Bytes in all, unpacked; null: a pipe, nobody knows. */
  size: number | null = null
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
      this.reader = new CaptureReader(this.#open())
    } catch (error) {
      this.close()
      throw this.#unreadable(error)
    }
  }

  /** The file's bytes from the beginning. */
  #open(): ReadBytes {
    const fd = this.#fd
    const stat = fstatSync(fd)
    if (stat.isFile()) this.size = stat.size
    const head = Buffer.alloc(2)
    let length = 0
    for (let got = -1; length < 2 && got !== 0; length += got)
      got = readSync(fd, head, length, 2 - length, null)
    if (length === 2 && head[0] === 0x1f && head[1] === 0x8b) {
      const all = this.#unpack(Buffer.concat([head, readFileSync(fd)]))
      this.size = all.length
      return bytesOf(all)
    }
    const first = bytesOf(head.subarray(0, length))
    return (into, at, room) => first(into, at, room) || readSync(fd, into, at, room, null)
  }

  #unpack(packed: Buffer): Buffer {
    try {
      return gunzipSync(packed)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      const reason =
        code === 'ERR_BUFFER_TOO_LARGE'
          ? 'too large to be unpacked in memory: unpack it first'
          : `cannot be unpacked: ${(error as Error).message}`
      throw new PlaceError(reason, { file: this.path, line: 1, column: 1 })
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
  #unreadable(error: unknown): CommandError {
    if (error instanceof CommandError) return error
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

function bytesOf(bytes: Uint8Array): ReadBytes {
  let from = 0
  return (into, at, room) => {
    const count = Math.min(room, bytes.length - from)
    into.set(bytes.subarray(from, from + count), at)
    from += count
    return count
  }
}
