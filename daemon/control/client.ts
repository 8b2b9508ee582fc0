// The tool's half of the control protocol, for commands that are JavaScript already (`tunwall iptables …`).

import { connect } from 'node:net'
import { CommandError, systemReason } from '../errors.ts'
import { Decoder, encode, encodeArgs, Kind } from './protocol.ts'

export interface Streams {
  readonly stdin: NodeJS.ReadableStream
  readonly stdout: NodeJS.WritableStream
  readonly stderr: NodeJS.WritableStream
}

/** Where the daemon listens unless told otherwise: $TUNWALL_SOCKET, root's /run, or the user's runtime directory. */
export function defaultSocket(env: NodeJS.ProcessEnv = process.env): string {
  if (env.TUNWALL_SOCKET) return env.TUNWALL_SOCKET
  if (process.getuid?.() === 0) return '/run/tunwall.sock'
  return `${env.XDG_RUNTIME_DIR ?? `/tmp`}/tunwall-${process.getuid?.() ?? 0}.sock`
}

/** Runs one tool in the daemon; resolves to its exit status. Throws CommandError if no daemon answers. */
export function callTool(
  path: string,
  tool: string,
  argv: readonly string[],
  streams: Streams,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    let status: number | null = null
    const decoder = new Decoder((kind, payload) => {
      if (kind === Kind.Output) streams.stdout.write(payload)
      else if (kind === Kind.Error) streams.stderr.write(payload)
      else if (kind === Kind.Exit) status = payload[0] ?? 1
      else if (kind === Kind.Follow) {
        for (const signal of ['SIGINT', 'SIGTERM'] as const)
          process.once(signal, () => socket.write(encode(Kind.Stop, '')))
      } else if (kind === Kind.NeedInput) {
        streams.stdin.on('data', (chunk: Buffer | string) => socket.write(encode(Kind.Input, chunk)))
        streams.stdin.on('end', () => socket.write(encode(Kind.InputEnd, '')))
      }
    })
    socket.on('connect', () => socket.write(encodeArgs({ tool, directory: process.cwd(), argv })))
    socket.on('data', (chunk) => decoder.push(chunk))
    socket.on('error', (error) =>
      reject(
        new CommandError(`no tunwall answers at ${path}: ${systemReason(error)}; start one with: tunwall up`),
      ),
    )
    socket.on('close', () => {
      if (status === null) reject(new CommandError(`the daemon at ${path} closed the connection`))
      else resolve(status)
    })
  })
}
