// log_martians: the kernel's lines about packets whose source or destination cannot be (ip_handle_martian_source() and
// its kin), ten in five seconds for all reasons together (net_ratelimit, net.core.message_burst and message_cost).

import { Reason } from './counters.ts'
import type { Device } from './devices.ts'
import type { Host } from './host.ts'
import { formatIpv4 } from './wire/address.ts'

const KERN_WARNING = 4
const INTERVAL_MS = 5000
const BURST = 10

export class Martians {
  readonly #host: Host
  /** When the present window began, ms; -1: none has. */
  #begin = -1
  #said = 0
  #missed = 0

  constructor(host: Host) {
    this.#host = host
  }

  /** A packet from `s0` to `d0` (words) that routing refused at `device`; other reasons are not about martians. */
  note(reason: Reason, s0: number, d0: number, device: Device): void {
    const { log } = this.#host.events
    if (log === null) return
    const destination = reason === Reason.MartianDestination
    if (
      !destination &&
      reason !== Reason.MartianSource &&
      reason !== Reason.LocalSource &&
      reason !== Reason.ReversePath
    )
      return
    if (!this.#allowed()) return
    const text = destination
      ? `martian destination ${formatIpv4(d0)} from ${formatIpv4(s0)}, dev ${device.name}`
      : `martian source ${formatIpv4(d0)} from ${formatIpv4(s0)}, on dev ${device.name}`
    log({ level: KERN_WARNING, text: `IPv4: ${text}` })
  }

  /** ___ratelimit(). */
  #allowed(): boolean {
    const { events, now } = this.#host
    if (this.#begin < 0) this.#begin = now
    if (now > this.#begin + INTERVAL_MS) {
      if (this.#missed > 0)
        events.log!({
          level: KERN_WARNING,
          text: `net_ratelimit: ${this.#missed} callbacks suppressed`,
        })
      this.#begin = now
      this.#said = this.#missed = 0
    }
    if (this.#said < BURST) {
      this.#said++
      return true
    }
    this.#missed++
    return false
  }
}
