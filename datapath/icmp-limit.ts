// net.ipv4.icmp_msgs_per_sec and icmp_msgs_burst: one budget for the ICMP messages of both families (icmp_global_allow()
// and icmp_global_consume() of Linux 6.18).

import type { Host } from './host.ts'

export class IcmpLimit {
  readonly #host: Host
  /** icmp_global_credit and icmp_global_stamp (ms). */
  #credit = 0
  #stamp = Number.NEGATIVE_INFINITY

  constructor(host: Host) {
    this.#host = host
  }

  /** Credit is left, or 20 ms have passed to earn some. */
  allow(): boolean {
    if (this.#credit > 0) return true
    const { icmpMsgsPerSec, icmpMsgsBurst } = this.#host.ipv4
    const elapsed = Math.min(this.#host.now - this.#stamp, 1000)
    if (elapsed < 20) return false
    const earned = Math.floor((icmpMsgsPerSec * elapsed) / 1000)
    if (earned === 0) return false
    this.#stamp = this.#host.now
    this.#credit = Math.min(this.#credit + earned, icmpMsgsBurst)
    return true
  }

  /** One credit on average, so that nobody can count them. */
  consume(): void {
    this.#credit -= (this.#host.random.i32() >>> 0) % 3
  }
}
