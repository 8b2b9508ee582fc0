// What a tool and the daemon say to each other over the Unix socket.
//
//     tool                                   daemon
//      | Args  tool \0 directory \0 argv...    |
//      |-------------------------------------->|
//      |                  NeedInput (if wanted)|
//      |<--------------------------------------|
//      | Input ... Input, InputEnd             |
//      |-------------------------------------->|
//      |            Output*, Error*, Exit (u8) |
//      |<--------------------------------------|
//
// A call that goes on (conntrack -E) says Follow first, prints as things happen, and ends when the tool says Stop
// (it got SIGINT or SIGTERM) or goes away.
//
// Each message: one byte kind, four bytes length (little-endian), that many bytes. datapath/native/client.c speaks
// the tool's half.

export const Kind = {
  Args: 65,
  Input: 73,
  InputEnd: 69,
  NeedInput: 78,
  Follow: 70,
  Stop: 83,
  Output: 79,
  Error: 82,
  Exit: 88,
} as const

export const HEADER_BYTES = 5
/** Nobody types more; a larger length is garbage, or somebody else's protocol. */
export const MAX_MESSAGE = 256 * 1024 * 1024

export function encode(kind: number, payload: Uint8Array | string): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload) : payload
  const out = Buffer.allocUnsafe(HEADER_BYTES + body.length)
  out[0] = kind
  out.writeUInt32LE(body.length, 1)
  out.set(body, HEADER_BYTES)
  return out
}

/** Cuts a byte stream into messages. Throws RangeError for a length that cannot be. */
export class Decoder {
  readonly #onMessage: (kind: number, payload: Buffer) => void
  #chunks: Buffer[] = []
  #held = 0
  #wanted = HEADER_BYTES

  constructor(onMessage: (kind: number, payload: Buffer) => void) {
    this.#onMessage = onMessage
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#held += chunk.length
    while (this.#held >= this.#wanted) {
      const all = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
      const length = all.readUInt32LE(1)
      if (length > MAX_MESSAGE) throw new RangeError(`message of ${length} bytes`)
      const end = HEADER_BYTES + length
      if (all.length < end) {
        this.#chunks = [all]
        this.#wanted = end
        return
      }
      this.#chunks = all.length > end ? [all.subarray(end)] : []
      this.#held -= end
      this.#wanted = HEADER_BYTES
      this.#onMessage(all[0]!, all.subarray(HEADER_BYTES, end))
    }
  }
}

/** One command for the daemon. Its strings are bytes, a character for each: the tools know no encoding. */
export interface ToolCall {
  readonly tool: string
  /** Working directory of the caller, for file names. */
  readonly directory: string
  readonly argv: readonly string[]
  readonly stdin: string
}

/** What it printed, in bytes again; a character that is no byte (a message of ours) is written in UTF-8. */
export interface ToolResult {
  readonly stdout: string
  readonly stderr: string
  /** Exit status. */
  readonly code: number
}

export function encodeArgs(call: Pick<ToolCall, 'tool' | 'directory' | 'argv'>): Buffer {
  return encode(Kind.Args, [call.tool, call.directory, ...call.argv].join('\0'))
}

export function decodeArgs(payload: Buffer): Pick<ToolCall, 'tool' | 'directory' | 'argv'> {
  const [tool = '', directory = '/', ...argv] = payload.toString('latin1').split('\0')
  return { tool, directory, argv }
}
