// The daemon's Unix socket: mode 0600, and only its owner (or root) is answered.

import { chmodSync, unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { native } from '../../datapath/native/index.ts'
import { CommandError, ExitCode, systemReason } from '../errors.ts'
import { Decoder, decodeArgs, encode, Kind, type ToolCall, type ToolResult } from './protocol.ts'

/** Bytes of output in one message. */
const CHUNK = 64 * 1024

export interface Service {
  /** Whether this call reads standard input. */
  wantsInput(call: Pick<ToolCall, 'tool' | 'argv'>): boolean
  run(call: ToolCall): Promise<ToolResult>
}

/**
 * Listens at `path`. A socket left behind by a killed daemon is replaced; one that answers is not.
 * Throws CommandError.
 */
export async function serve(path: string, service: Service): Promise<Server> {
  if (await answers(path))
    throw new CommandError(`${path}: another tunwall is running there`, ExitCode.Failure)
  const server = createServer((socket) => attend(socket, service))
  const mask = process.umask(0o177)
  try {
    await listen(server, path)
    chmodSync(path, 0o600)
  } finally {
    process.umask(mask)
  }
  return server
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new CommandError(`${path}: ${systemReason(error)}`)))
    server.listen(path, resolve)
  })
}

/** True if somebody accepts connections at the path; a dead socket is removed. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') unlinkSync(path)
      resolve(false)
    })
  })
}

function allowed(socket: Socket): boolean {
  const fd = (socket as unknown as { _handle: { fd: number } })._handle.fd
  const uid = native().peerUid(fd)
  return uid === 0 || uid === process.getuid!()
}

function attend(socket: Socket, service: Service): void {
  socket.on('error', () => socket.destroy())
  if (!allowed(socket)) {
    socket.destroy()
    return
  }
  let call: Pick<ToolCall, 'tool' | 'directory' | 'argv'> | null = null
  const input: Buffer[] = []
  const finish = async (): Promise<void> => {
    if (call === null) return
    const result = await service.run({ ...call, stdin: Buffer.concat(input).toString('utf8') })
    answer(socket, result)
  }
  const decoder = new Decoder((kind, payload) => {
    if (kind === Kind.Args && call === null) {
      call = decodeArgs(payload)
      if (service.wantsInput(call)) socket.write(encode(Kind.NeedInput, ''))
      else void finish()
    } else if (kind === Kind.Input && call !== null) input.push(Buffer.from(payload))
    else if (kind === Kind.InputEnd && call !== null) void finish()
    else socket.destroy()
  })
  socket.on('data', (chunk) => {
    try {
      decoder.push(chunk)
    } catch {
      socket.destroy()
    }
  })
}

function answer(socket: Socket, result: ToolResult): void {
  for (const [kind, text] of [
    [Kind.Output, result.stdout],
    [Kind.Error, result.stderr],
  ] as const) {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; at += CHUNK)
      socket.write(encode(kind, bytes.subarray(at, at + CHUNK)))
  }
  socket.end(encode(Kind.Exit, Uint8Array.of(result.code & 0xff)))
}
