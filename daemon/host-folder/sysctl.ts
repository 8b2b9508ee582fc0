// `sysctl net` text, and the names of sysctls.

import { PlaceError } from '../errors.ts'
import type { SysctlConfig } from './config.ts'
import type { Origin, SourceFile } from './source.ts'

/**
 * A name as sysctl(8) prints it: dots between the parts, and a slash for a dot within one. A name whose first
 * separator is a slash has them the other way round (`net/ipv4/conf/eth0.5/rp_filter`).
 */
export function sysctlName(text: string): string {
  const separator = /[./]/.exec(text)?.[0]
  return separator === '/' ? text.replace(/[./]/g, (c) => (c === '/' ? '.' : '/')) : text
}

/** Lines `name = value`, as sysctl prints them and sysctl.conf has them; a later line of the same name wins. */
export function readSysctls(source: SourceFile): SysctlConfig[] {
  const found = new Map<string, SysctlConfig>()
  let offset = 0
  for (const line of source.text.split('\n')) {
    const start = offset
    offset += line.length + 1
    const text = line.trim()
    if (text === '' || text.startsWith('#') || text.startsWith(';')) continue
    const first = start + line.length - line.trimStart().length
    const equals = text.indexOf('=')
    if (equals < 0)
      throw new PlaceError(`expected "name = value", not ${JSON.stringify(text)}`, source.placeAt(first))
    const name = sysctlName(text.slice(0, equals).trim().replace(/^-/, ''))
    if (!/^[^\s.]+(?:\.[^\s.]+)+$/.test(name))
      throw new PlaceError(`${JSON.stringify(name)} is no name of a sysctl`, source.placeAt(first))
    found.set(name, { name, value: text.slice(equals + 1).trim(), byHand: false, origin: at(source, first) })
  }
  return [...found.values()]
}

const at = (source: SourceFile, offset: number): Origin => ({ place: () => source.placeAt(offset) })

/**
 * The order in which they take effect alike whatever order they were written in: a write to `conf.all` or ip_forward
 * changes all interfaces, so those come first (devinet_sysctl_forward), then `conf.default`, then the rest.
 */
export function inOrderOfEffect(sysctls: readonly SysctlConfig[]): SysctlConfig[] {
  const rank = (name: string): number =>
    name === 'net.ipv4.ip_forward' || name.endsWith('.conf.all.forwarding')
      ? 0
      : /^net\.ipv[46]\.conf\.all\./.test(name)
        ? 1
        : /\.conf\.default\./.test(name)
          ? 2
          : 3
  return sysctls.toSorted((a, b) => rank(a.name) - rank(b.name))
}

/** The interface that a per-interface sysctl speaks of, with its dots; null for others. */
export function sysctlInterface(name: string): string | null {
  const match = /^net\.ipv[46]\.(?:conf|neigh)\.([^.]+)\.[^.]+$/.exec(name)
  if (match === null || match[1] === 'all' || match[1] === 'default') return null
  return match[1]!.replaceAll('/', '.')
}
