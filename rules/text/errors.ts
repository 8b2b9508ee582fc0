// How a command line fails. The commands word these as the real tools do; a loader of files gives the place.

import type { Place } from '../model.ts'

/** A mistake in a rules file: `FILE:LINE:COLUMN: what is wrong`. */
export class RuleError extends SyntaxError {
  override readonly name = 'RuleError'
  readonly reason: string
  readonly place: Place
  constructor(reason: string, place: Place) {
    super(`${place.file}:${place.line}:${place.column}: ${reason}`)
    this.reason = reason
    this.place = place
  }
}

/** xtables_error(): printed behind the program's name and version; `code` is the exit status. */
export class ToolError extends Error {
  override readonly name: string = 'ToolError'
  readonly code: number
  /** Printed alone, without program and version (`Bad argument …`), or not at all. */
  readonly bare: boolean
  /** Index of the word at fault, where known. */
  readonly word: number | null
  constructor(message: string, code = 2, word: number | null = null, bare = false) {
    super(message)
    this.code = code
    this.word = word
    this.bare = bare
  }
}

/** The command asks to print this and stop with success (-h, -V). */
export class ToolStop extends Error {
  override readonly name = 'ToolStop'
}

/** An extension ends the program, with status 1 and no word about it, in the middle of printing: what it had printed. */
export class PrintEnds extends Error {
  override readonly name = 'PrintEnds'
}

/** Errors of libiptc and of the kernel. */
export type Errno =
  | 'EINVAL'
  | 'ENOENT'
  | 'EEXIST'
  | 'ELOOP'
  | 'EMLINK'
  | 'ENOTEMPTY'
  | 'E2BIG'
  | 'ERANGE'
  | 'EPERM'

/** An operation on a table was refused. `text` is iptc_strerror()'s. */
export class TableError extends Error {
  override readonly name = 'TableError'
  readonly errno: Errno
  /** What the kernel would log; for people. */
  readonly reason: string
  /** The rule at fault, where known. */
  readonly place: Place | null
  constructor(errno: Errno, text: string, reason = text, place: Place | null = null) {
    super(text)
    this.errno = errno
    this.reason = reason
    this.place = place
  }
}

const STRERROR: Readonly<Record<Errno, string>> = {
  EINVAL: 'Invalid argument',
  ENOENT: 'No chain/target/match by that name',
  EEXIST: 'File exists',
  ELOOP: 'Too many levels of symbolic links',
  EMLINK: 'Too many links',
  ENOTEMPTY: 'Directory not empty',
  E2BIG: 'Argument list too long',
  ERANGE: 'Numerical result out of range',
  EPERM: 'Permission denied (you must be root)',
}

/** What the kernel answers to a commit: iptc_strerror() knows no operation then. */
export const kernelError = (errno: Errno, reason: string, place: Place | null = null): TableError =>
  new TableError(errno, STRERROR[errno], reason, place)

export const errnoText = (errno: Errno): string => STRERROR[errno]
