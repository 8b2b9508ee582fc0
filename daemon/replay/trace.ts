// --trace: what the Recorder says of each packet, one line of JSON each, with `ts` behind `n`.

import { onlyAscii, recordJson } from '../explain/json.ts'
import type { PacketRecord } from '../explain/record.ts'

const BUFFER = 1024 * 1024

export class Trace {
  readonly #write: (bytes: Uint8Array, length: number) => void
  readonly #bytes = Buffer.allocUnsafe(BUFFER)
  #at = 0

  constructor(write: (bytes: Uint8Array, length: number) => void) {
    this.#write = write
  }

  packet(record: PacketRecord, seconds: number, nanos: number): void {
    const line = recordLine(record, `${seconds}.${String(nanos).padStart(9, '0')}`)
    // A character is at most three bytes.
    if (this.#at + line.length * 3 > BUFFER) {
      this.flush()
      if (line.length * 3 > BUFFER) {
        const long = Buffer.from(line)
        this.#write(long, long.length)
        return
      }
    }
    this.#at += this.#bytes.write(line, this.#at, onlyAscii() ? 'latin1' : 'utf8')
  }

  flush(): void {
    if (this.#at > 0) this.#write(this.#bytes, this.#at)
    this.#at = 0
  }
}

/** One line, with its end. `ts`: seconds, as it is to be printed. */
export const recordLine = (record: PacketRecord, ts: string): string => `${recordJson(record, ts)}\n`
