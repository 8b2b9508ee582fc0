// Set-up of the device at the far end of a TUN port, with iproute2, in the namespace where it lives.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { formatAddress } from '../datapath/wire/address.ts'
import { CommandError, ExitCode } from './errors.ts'
import type { PortConfig } from './host-folder/config.ts'

type TunPortConfig = Extract<PortConfig, { kind: 'tun' }>

/** Path of a namespace given by name (`ip netns`) or by path; null stays null. */
export function netnsPath(namespace: string | null): string | null {
  if (namespace === null || namespace.includes('/')) return namespace
  return `/run/netns/${namespace}`
}

function ip(namespace: string | null, args: readonly string[]): void {
  const path = netnsPath(namespace)
  const [command, ...rest] = path === null ? ['ip', ...args] : ['nsenter', `--net=${path}`, 'ip', ...args]
  const done = spawnSync(command!, rest, { encoding: 'utf8' })
  if (done.status === 0) return
  const reason = done.error ? done.error.message : done.stderr.trim()
  throw new CommandError(`ip ${args.join(' ')}${namespace === null ? '' : ` (in ${namespace})`}: ${reason}`)
}

/** Refuses a namespace that is not there, before anything is opened. */
export function checkNamespace(port: Pick<TunPortConfig, 'namespace' | 'origin'>): void {
  const path = netnsPath(port.namespace)
  if (path === null || existsSync(path)) return
  const { file, line, column } = port.origin.place()
  throw new CommandError(
    `${file}:${line}:${column}: there is no network namespace ${port.namespace}: make it with "ip netns add ${port.namespace}"`,
    ExitCode.Unusable,
  )
}

/** Gives the neighbour's end its addresses, MTU and routes, and brings it up. */
export function configurePeer(port: TunPortConfig, mtu: number): void {
  const { namespace, name } = port
  ip(namespace, ['link', 'set', 'dev', name, 'mtu', String(mtu)])
  for (const prefix of port.peer)
    ip(namespace, [
      'addr',
      'add',
      `${formatAddress(prefix.family, prefix.words)}/${prefix.prefixLength}`,
      'dev',
      name,
    ])
  ip(namespace, ['link', 'set', 'dev', name, 'up'])
  for (const { dst, gateway } of port.routes) {
    const to = `${formatAddress(dst.family, dst.words)}/${dst.prefixLength}`
    const via = gateway === null ? [] : ['via', formatAddress(dst.family, gateway)]
    ip(namespace, [dst.family === 6 ? '-6' : '-4', 'route', 'add', to, ...via, 'dev', name])
  }
}
