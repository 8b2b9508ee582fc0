// Rate estimators (net/core/gen_estimator.c of Linux 6.18): counted by RATEEST, read by rateest, shared by name.
//
//     every (HZ / 4) << interval jiffies:   average += (count - last) / 2^ewma - average / 2^ewma
//
// Averages are kept in 1/256 of bytes or packets a second. No timer runs here: what would have run is made up for
// when somebody counts or reads, which comes to the same.

import type { Host } from '../../datapath/host.ts'
import { HZ, jiffies, sharedOf } from '../shared.ts'

export interface EstimatorParameters {
  /** log2 of the interval in seconds, -2 to 3. */
  readonly interval: number
  /** log2 of the averaging constant, 1 to 30. */
  readonly ewmaLog: number
}

export class Estimator {
  bytes = 0
  packets = 0
  params: EstimatorParameters | null = null
  #lastBytes = 0
  #lastPackets = 0
  #averageBytes = 0
  #averagePackets = 0
  /** jiffy of the next look. */
  #next = 0

  /** gen_new_estimator(): only the first time. */
  start(host: Host, params: EstimatorParameters): void {
    if (this.params !== null) return
    this.params = params
    this.#next = jiffies(host) + this.#step(params)
  }

  #step(params: EstimatorParameters): number {
    return Math.floor(HZ / 4) * 2 ** (params.interval + 2)
  }

  /** xt_rateest_tg(). Hot: does not allocate. */
  count(host: Host, length: number): void {
    this.#catchUp(host)
    this.bytes += length
    this.packets++
  }

  /** est_timer(), as often as it is due. */
  #catchUp(host: Host): void {
    const { params } = this
    if (params === null) return
    const now = jiffies(host)
    if (now < this.#next) return
    const step = this.#step(params)
    const scale = 2 ** (8 - params.interval)
    const weight = 2 ** params.ewmaLog
    while (this.#next <= now) {
      const bytes = Math.floor(((this.bytes - this.#lastBytes) * scale) / weight)
      const packets = Math.floor(((this.packets - this.#lastPackets) * scale) / weight)
      const fadeBytes = Math.floor(this.#averageBytes / weight)
      const fadePackets = Math.floor(this.#averagePackets / weight)
      this.#lastBytes = this.bytes
      this.#lastPackets = this.packets
      this.#averageBytes += bytes - fadeBytes
      this.#averagePackets += packets - fadePackets
      this.#next += step
      // Nothing came and nothing fades any more: the rest of a long silence changes nothing.
      if (bytes === 0 && packets === 0 && fadeBytes === 0 && fadePackets === 0 && this.#next <= now)
        this.#next += Math.ceil((now + 1 - this.#next) / step) * step
    }
  }

  /** Bytes a second (gen_estimator_read). */
  bps(host: Host): number {
    this.#catchUp(host)
    return Math.floor(this.#averageBytes / 256)
  }

  /** Packets a second. */
  pps(host: Host): number {
    this.#catchUp(host)
    return Math.floor(this.#averagePackets / 256)
  }
}

/** The estimators of a host, by name. */
export const estimators = (host: Host) => sharedOf<Estimator>(host, 'rateest')
export const newEstimator = (): Estimator => new Estimator()
