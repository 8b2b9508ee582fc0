// How tunwall says that it cannot go on: one line, the place first, and an exit status.
//
//     site/host.yaml:7:12: "10.0.0.1/33" is no address: the prefix length must be 0 to 32

import type { Place } from '../rules/model.ts'

/** Exit statuses of the `tunwall` command. Unusable input and bad usage are 2, as `iptables` has it. */
export const ExitCode = { Ok: 0, Failure: 1, Unusable: 2 } as const
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

/** Ends the command with `status` and its message as one line on standard error. */
export class CommandError extends Error {
  override readonly name: string = 'CommandError'
  readonly status: ExitCode

  constructor(message: string, status: ExitCode = ExitCode.Failure) {
    super(oneLine(message))
    this.status = status
  }
}

/** Unusable input, with the place of the mistake; line and column count from 1. */
export class PlaceError extends CommandError {
  override readonly name: string = 'PlaceError'
  readonly place: Place
  readonly reason: string

  constructor(reason: string, place: Place) {
    super(`${place.file}:${place.line}:${place.column}: ${reason}`, ExitCode.Unusable)
    this.place = place
    this.reason = oneLine(reason)
  }
}

/** Words for a failed system call: `no such file or directory`. */
export function systemReason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code
  return (code !== undefined && ERRNO_WORDS[code]) || oneLine((error as Error).message)
}

const ERRNO_WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EEXIST: 'file exists',
  EISDIR: 'is a directory',
  ELOOP: 'too many levels of symbolic links',
  ENAMETOOLONG: 'file name too long',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'not a directory',
  EPIPE: 'nobody reads it',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
}

function oneLine(text: string): string {
  return text.replace(/\s*[\r\n]+\s*/g, ' ').trim()
}
