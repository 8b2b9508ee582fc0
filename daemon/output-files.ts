// Output that appears as a whole or not at all: every file is written under a temporary name beside its own and is
// renamed when all of them are complete. `-` is standard output, and a name that ends in .gz is packed.

import { randomBytes } from 'node:crypto'
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { gzipSync } from 'node:zlib'
import { type WriteBytes, writeTo } from '../datapath/ports/capture-writer.ts'
import { bytesOf } from './bytes.ts'
import { CommandError, systemReason } from './errors.ts'

interface Pending {
  readonly path: string
  readonly temporary: string
  fd: number
}

export class OutputFiles {
  readonly #files: Pending[] = []
  readonly #directories: string[] = []

  /** A directory that is made if it is not there, and taken away again if all fails. */
  directory(path: string): void {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return
    try {
      const first = mkdirSync(path, { recursive: true })
      if (first !== undefined) this.#directories.push(path)
    } catch (error) {
      throw new CommandError(`${path}: cannot be made: ${systemReason(error)}`)
    }
  }

  /** A file; answers what writes to it. `mode`: who may read it, as far as the umask lets. */
  bytes(path: string, mode = 0o666): WriteBytes {
    if (path === '-') return guarded('<stdout>', toStdout)
    const there = statSync(path, { throwIfNoEntry: false })
    try {
      // A device or pipe (/dev/stdout) cannot be renamed over: it is written as it comes.
      const direct = there !== undefined && !there.isFile() && !there.isDirectory()
      const temporary = direct ? path : `${path}.${randomBytes(6).toString('hex')}.tmp`
      if (there?.isDirectory()) throw Object.assign(new Error('is a directory'), { code: 'EISDIR' })
      const fd = openSync(temporary, direct ? 'w' : 'wx', mode)
      this.#files.push({ path, temporary, fd })
      return guarded(path, path.endsWith('.gz') ? packed(writeTo(fd)) : writeTo(fd))
    } catch (error) {
      throw new CommandError(`${path}: cannot be written: ${systemReason(error)}`)
    }
  }

  text(path: string, text: string): void {
    const bytes = bytesOf(text)
    this.bytes(path)(bytes, bytes.length)
  }

  /** Gives all files their names. */
  commit(): void {
    for (const file of this.#files) {
      closeSync(file.fd)
      file.fd = -1
    }
    for (const { path, temporary } of this.#files)
      try {
        if (temporary !== path) renameSync(temporary, path)
      } catch (error) {
        throw new CommandError(`${path}: cannot be written: ${systemReason(error)}`)
      }
    this.#files.length = 0
    this.#directories.length = 0
  }

  /** Takes away what commit() has not named; nothing after commit(). */
  discard(): void {
    for (const { path, temporary, fd } of this.#files) {
      if (fd >= 0) closeSync(fd)
      if (temporary !== path && lstatSync(temporary, { throwIfNoEntry: false }) !== undefined)
        unlinkSync(temporary)
    }
    for (const path of this.#directories)
      try {
        rmdirSync(path)
      } catch {
        // Somebody put something into it meanwhile.
      }
    this.#files.length = 0
    this.#directories.length = 0
  }
}

/** Each piece by itself: gzip files may be put behind each other. */
function packed(write: WriteBytes): WriteBytes {
  return (bytes, length) => {
    const piece = gzipSync(bytes.subarray(0, length), { level: 3 })
    write(piece, piece.length)
  }
}

/** Standard output: a pipe that somebody has made non-blocking is full now and then. */
const toStdout: WriteBytes = (bytes, length) => {
  for (let at = 0; at < length; )
    try {
      at += writeSync(1, bytes, at, length - at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
}

function guarded(path: string, write: WriteBytes): WriteBytes {
  return (bytes, length) => {
    try {
      write(bytes, length)
    } catch (error) {
      throw new CommandError(`${path}: cannot be written: ${systemReason(error)}`)
    }
  }
}
