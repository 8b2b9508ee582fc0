// tunwall anonymize: host folders and captures that can be shown to strangers. Everything is made beside its place and
// named when all of it is there.

import { randomBytes } from 'node:crypto'
import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { CommandError, ExitCode } from '../errors.ts'
import { OutputFiles } from '../output-files.ts'
import { captureTo } from './captures.ts'
import { Folders } from './folders.ts'
import { HostFiles } from './host.ts'
import { Mapping } from './mapping.ts'

export interface AnonymizeOptions {
  /** Folders and where they go, in turns alike. */
  readonly hosts: readonly (readonly [from: string, to: string])[]
  readonly captures: readonly (readonly [from: string, to: string])[]
  /** Null: drawn. */
  readonly key: Buffer | null
  /** A private file: what became what; null none. */
  readonly map: string | null
  readonly keep: readonly string[]
  readonly keepPayload: boolean
}

export interface Anonymized {
  readonly files: number
  readonly packets: number
  readonly remarks: readonly string[]
}

/** Throws CommandError; nothing has been written then. */
export function anonymize(options: AnonymizeOptions): Anonymized {
  checkPlaces(options)
  const mapping = new Mapping({ ...options, key: options.key ?? randomBytes(32) })
  const hosts = options.hosts.map(([from, to]) => ({ host: new HostFiles(from), to }))
  for (const { host } of hosts) host.freeze(mapping)
  for (const { host } of hosts) host.learn(mapping)
  const folders = new Folders()
  const outputs = new OutputFiles()
  let files = 0
  let packets = 0
  try {
    for (const { host, to } of hosts) {
      const made = host.map(mapping)
      files += made.length
      folders.write(to, made)
      const others = host.others()
      if (others.length > 0)
        mapping.remarks.add(`${host.directory}: left out, as no host is read from them: ${others.join(', ')}`)
    }
    for (const [from, to] of options.captures) packets += captureTo(from, to, outputs, mapping)
    if (options.map !== null) {
      const text = Buffer.from(mapping.toJson())
      outputs.bytes(options.map, 0o600)(text, text.length)
    }
    folders.commit()
    outputs.commit()
  } finally {
    outputs.discard()
    folders.discard()
  }
  return { files, packets, remarks: [...mapping.remarks] }
}

/** Throws CommandError for places that would overwrite something, or show what is private. */
function checkPlaces({ hosts, captures, map }: AnonymizeOptions): void {
  if (hosts.length + captures.length === 0) unusable('expected --host DIR --out DIR, or --in FILE --to FILE')
  const taken = new Map<string, string>()
  const take = (path: string): void => {
    const real = realPlace(path)
    if (path !== '-' && taken.has(real)) unusable(`${path}: is written twice`)
    taken.set(real, path)
  }
  for (const [from, to] of hosts) {
    if (inside(to, from)) unusable(`${to}: is inside of ${from}, which it is made of`)
    Folders.check(to)
    take(to)
  }
  for (const [from, to] of captures) {
    if (to !== '-' && from !== '-' && realPlace(from) === realPlace(to))
      unusable(`${to}: is the capture itself`)
    take(to)
  }
  if (map === null) return
  take(map)
  for (const [, to] of hosts) if (inside(map, to)) unusable(`${map}: is private, and ${to} is to be shown`)
}

function unusable(reason: string): never {
  throw new CommandError(reason, ExitCode.Unusable)
}

/** The path without links, as far as it is there. */
function realPlace(path: string): string {
  const whole = resolve(path)
  if (existsSync(whole)) return realpathSync(whole)
  const above = dirname(whole)
  return above === whole ? whole : join(realPlace(above), basename(whole))
}

function inside(path: string, folder: string): boolean {
  const [one, other] = [realPlace(path), realPlace(folder)]
  return one === other || one.startsWith(other.endsWith('/') ? other : `${other}/`)
}
