// The report of a replay: one JSON object a line for each packet, built as bytes.

import type { Device } from '../../datapath/devices.ts'
import type { LogRecord } from '../../datapath/events.ts'
import { FATE_NAMES, type Fate } from '../../datapath/fate.ts'
import { textOf } from '../bytes.ts'
import type { ReplayEgress } from './egress.ts'
import type { FrameSource } from './player.ts'

export class Report {
  readonly #write: (bytes: Uint8Array, length: number) => void
  readonly #sent: number[] = []
  readonly #bytes = Buffer.allocUnsafe(256 * 1024)
  #at = 0
  /** Names as JSON, by ifindex. */
  readonly #names: string[]
  readonly #reasons = new Map<string, string>()
  /** [ifindex, length] pairs of what timers sent. */
  #timers: number[] = []
  #log: string[] = []

  /** `names`: of interfaces, by ifindex. */
  constructor(
    write: (bytes: Uint8Array, length: number) => void,
    names: readonly string[],
    egress: ReplayEgress,
  ) {
    this.#write = write
    this.#names = names.map((name) => JSON.stringify(name ?? null))
    egress.sent = this.#sent
  }

  log(record: LogRecord): void {
    this.#log.push(textOf(record.text))
  }

  /** What has been sent since the last packet was sent by timers; it goes to the next packet's line. */
  timers(): void {
    if (this.#sent.length > 0) this.#timers.push(...this.#sent.splice(0))
  }

  packet(n: number, reader: FrameSource, device: Device | null, fate: Fate, reason: string): void {
    if (this.#at > this.#bytes.length / 2) this.flush()
    this.#put('{"n":')
    this.#put(String(n))
    this.#put(',"ts":')
    this.#put(String(reader.seconds))
    this.#nanos(reader.nanos)
    this.#put(',"in":')
    this.#put(device === null ? 'null' : this.#names[device.index]!)
    this.#put(',"verdict":"')
    this.#put(FATE_NAMES[fate]!)
    this.#put('","out":')
    this.#frames(this.#sent)
    this.#sent.length = 0
    let quoted = this.#reasons.get(reason)
    if (quoted === undefined) {
      quoted = JSON.stringify(reason)
      this.#reasons.set(reason, quoted)
    }
    this.#put(',"reason":')
    this.#put(quoted)
    if (this.#timers.length > 0) {
      this.#put(',"timers":')
      this.#frames(this.#timers)
      this.#timers = []
    }
    if (this.#log.length > 0) {
      this.#put(',"log":')
      this.#put(JSON.stringify(this.#log))
      this.#log = []
    }
    this.#put('}\n')
  }

  #frames(pairs: readonly number[]): void {
    this.#put('[')
    for (let i = 0; i < pairs.length; i += 2) {
      this.#put(i > 0 ? ',{"dev":' : '{"dev":')
      this.#put(this.#names[pairs[i]!]!)
      this.#put(',"len":')
      this.#put(String(pairs[i + 1]))
      this.#put('}')
    }
    this.#put(']')
  }

  /** `.` and nine decimals. */
  #nanos(nanos: number): void {
    const bytes = this.#bytes
    bytes[this.#at] = 46
    let rest = nanos
    for (let i = 9; i > 0; i--) {
      bytes[this.#at + i] = 48 + (rest % 10)
      rest = Math.floor(rest / 10)
    }
    this.#at += 10
  }

  #put(text: string): void {
    const bytes = this.#bytes
    if (this.#at + text.length * 3 > bytes.length - 16) {
      this.flush()
      if (text.length * 3 > bytes.length - 16) {
        const long = Buffer.from(text)
        this.#write(long, long.length)
        return
      }
    }
    let at = this.#at
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i)
      if (c > 127) {
        this.#at += bytes.write(text, this.#at)
        return
      }
      bytes[at++] = c
    }
    this.#at = at
  }

  flush(): void {
    if (this.#at > 0) this.#write(this.#bytes, this.#at)
    this.#at = 0
  }
}
