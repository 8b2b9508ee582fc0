// Folders that appear as a whole: made beside their place under another name, renamed when everything is there.

import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { CommandError, ExitCode, systemReason } from '../errors.ts'

export class Folders {
  readonly #pending: { readonly path: string; readonly temporary: string }[] = []

  /** Throws CommandError, exit status 2, for a place where something is already. */
  static check(path: string): void {
    try {
      const there = statSync(path, { throwIfNoEntry: false })
      if (there === undefined) return
      if (!there.isDirectory())
        throw new CommandError(`${path}: is there, and no directory`, ExitCode.Unusable)
      if (readdirSync(path).length > 0)
        throw new CommandError(`${path}: is not empty: expected a folder to make`, ExitCode.Unusable)
    } catch (error) {
      if (error instanceof CommandError) throw error
      throw new CommandError(`${path}: cannot be made: ${systemReason(error)}`)
    }
  }

  write(path: string, files: readonly (readonly [name: string, bytes: Uint8Array])[]): void {
    const whole = resolve(path)
    const temporary = join(dirname(whole), `.${basename(whole)}.${randomBytes(6).toString('hex')}.tmp`)
    try {
      mkdirSync(dirname(whole), { recursive: true })
      mkdirSync(temporary)
      this.#pending.push({ path, temporary })
      for (const [name, bytes] of files) writeFileSync(join(temporary, name), bytes)
    } catch (error) {
      throw new CommandError(`${path}: cannot be written: ${systemReason(error)}`)
    }
  }

  commit(): void {
    for (const { path, temporary } of this.#pending)
      try {
        renameSync(temporary, path)
      } catch (error) {
        throw new CommandError(`${path}: cannot be written: ${systemReason(error)}`)
      }
    this.#pending.length = 0
  }

  /** Takes away what commit() has not named. */
  discard(): void {
    for (const { temporary } of this.#pending) rmSync(temporary, { recursive: true, force: true })
    this.#pending.length = 0
  }
}
