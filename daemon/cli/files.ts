// Files that tools name: the caller's, opened by the daemon, which must never wait for one.
//
//     /dev/stdin, /dev/fd/0    the call's standard input; the client makes other descriptors it (datapath/native/client.c)
//     a directory              opens, and reads as nothing, as with fopen(3)
//     a pipe, a device         refused: nobody knows when it ends

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { resolve } from 'node:path'
import type { ToolCall } from '../control/protocol.ts'

const standard = (name: string, n: number): ReadonlySet<string> =>
  new Set([`/dev/${name}`, `/dev/fd/${n}`, `/proc/self/fd/${n}`])
const INPUT = standard('stdin', 0)
const OUTPUT = standard('stdout', 1)

export const isStandardInput = (path: string): boolean => INPUT.has(path)
export const isStandardOutput = (path: string): boolean => OUTPUT.has(path)

/** Words of a call, paths and texts are bytes, one a character. Throws as fs.readFileSync does. */
export function readCallFile(call: Pick<ToolCall, 'directory' | 'stdin'>, path: string): string {
  if (isStandardInput(path)) return call.stdin
  // Not to wait for somebody to write into a pipe.
  const fd = openSync(whole(call.directory, path), constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stat = fstatSync(fd)
    if (stat.isDirectory()) return ''
    if (!stat.isFile()) {
      if (stat.isCharacterDevice() && stat.rdev === DEV_NULL) return ''
      throw Object.assign(new Error('not a regular file'), { code: 'EINVAL' })
    }
    return readFileSync(fd, 'latin1')
  } finally {
    closeSync(fd)
  }
}

/** makedev(1, 3) */
const DEV_NULL = 0x103

/** Throws as fs.writeFileSync does. */
export function writeCallFile(directory: string, path: string, text: string): void {
  const fd = openSync(
    whole(directory, path),
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NONBLOCK,
    0o666,
  )
  try {
    writeFileSync(fd, text, 'latin1')
  } finally {
    closeSync(fd)
  }
}

/** Names in a directory, as bytes; none if it cannot be read. */
export function filesIn(directory: string): string[] {
  try {
    return readdirSync(directory, 'latin1')
  } catch {
    return []
  }
}

/** A regular file, or a link to one. */
export const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false

function whole(directory: string, path: string): Buffer {
  if (path === '') throw Object.assign(new Error('no such file or directory'), { code: 'ENOENT' })
  return Buffer.from(resolve(directory, path), 'latin1')
}
