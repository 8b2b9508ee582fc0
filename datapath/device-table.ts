// The host's interfaces. CONTRACT, to be filled in.

import type { Address, Device } from './devices.ts'

export interface Devices {
  /** By ifindex; hole: undefined. */
  readonly byIndex: readonly (Device | undefined)[]
  byName(name: string): Device | undefined
  add(name: string, mtu: number, options?: { index?: number; pointToPoint?: boolean; loopback?: boolean; up?: boolean }): Device
  remove(device: Device): void
  addAddress(device: Device, address: Address): void
  removeAddress(device: Device, address: Address): void
  /** Raised at every change; interface-name tables of the rules compare it. */
  readonly generation: number
  all(): Device[]
}
