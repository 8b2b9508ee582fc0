// The daemon's Unix socket: mode 0600, and only its owner (or root) is answered.

import { chmodSync, lstatSync, type Stats, unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { native } from '../../datapath/native/index.ts'
import { bytesOf } from '../bytes.ts'
import { CommandError, systemReason } from '../errors.ts'
import { Decoder, decodeArgs, encode, Kind, type ToolCall, type ToolResult } from './protocol.ts'

/** Bytes of output in one message. */
const CHUNK = 64 * 1024

export interface Service {
  /** Whether this call reads standard input. */
  wantsInput(call: Pick<ToolCall, 'tool' | 'argv'>): boolean
  /** Runs a call; one that goes on tells `follower` so and prints through it until it is ended. */
  run(call: ToolCall, follower: Follower): Promise<ToolResult>
}

/** Where a call that goes on prints. */
export interface Follower {
  /** The call goes on until `end` is called. */
  begin(end: () => void): void
  say(stdout: string, stderr: string): void
}

/** A caller who does not read loses events beyond this many bytes, as a netlink socket's buffer overflows. */
const MAX_UNREAD = 8 * 1024 * 1024
const LOST =
  'WARNING: We have hit ENOBUFS! We are losing events.\nThis message means that the current netlink socket buffer size is too small.\nPlease, check --buffer-size in conntrack(8) manpage.\n'

/** Longest socket path in bytes: sun_path of sockaddr_un, with its closing zero. */
const MAX_PATH = 107

/** A socket that is listened at. */
export class ControlServer {
  readonly #server: Server
  readonly #clients: ReadonlySet<Socket>

  constructor(server: Server, clients: ReadonlySet<Socket>) {
    this.#server = server
    this.#clients = clients
  }

  /** Removes the socket and ends every connection, idle ones too. */
  close(): void {
    this.#server.close()
    for (const client of this.#clients) client.destroy()
  }
}

/**
 * Listens at `path`. A socket left behind by a killed daemon is replaced; one that answers is not, and neither is
 * anything that is no socket. Throws CommandError.
 */
export async function serve(path: string, service: Service): Promise<ControlServer> {
  if (Buffer.byteLength(path) > MAX_PATH)
    throw new CommandError(`${path}: a socket's path has at most ${MAX_PATH} bytes`)
  await makeRoom(path)
  const clients = new Set<Socket>()
  const server = createServer((socket) => {
    clients.add(socket)
    socket.on('close', () => clients.delete(socket))
    attend(socket, service)
  })
  const mask = process.umask(0o177)
  try {
    await listen(server, path)
    chmodSync(path, 0o600)
  } finally {
    process.umask(mask)
  }
  return new ControlServer(server, clients)
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new CommandError(`${path}: ${systemReason(error)}`)))
    server.listen(path, resolve)
  })
}

/** Removes a dead socket at `path`; refuses a live one, and whatever else stands there. */
async function makeRoom(path: string): Promise<void> {
  const found = entryAt(path)
  if (found === undefined) return
  if (!found.isSocket()) throw new CommandError(`${path}: something that is no socket is in the way`)
  if (await answers(path)) throw new CommandError(`${path}: another tunwall is running there`)
  unlinkSync(path)
}

/** What is at `path`, if anything. Listening itself would call a missing folder "permission denied". */
function entryAt(path: string): Stats | undefined {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found === undefined) lstatSync(dirname(path))
    return found
  } catch (error) {
    throw new CommandError(`${path}: ${systemReason(error)}`)
  }
}

/** True unless nobody accepts connections at the path. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'))
  })
}

function allowed(socket: Socket): boolean {
  const fd = (socket as unknown as { _handle: { fd: number } | null })._handle?.fd
  if (fd === undefined || fd < 0) return false
  try {
    const uid = native().peerUid(fd)
    return uid === 0 || uid === process.getuid!()
  } catch {
    return false // gone before it was asked
  }
}

function attend(socket: Socket, service: Service): void {
  socket.on('error', () => socket.destroy())
  if (!allowed(socket)) {
    socket.destroy()
    return
  }
  let call: Pick<ToolCall, 'tool' | 'directory' | 'argv'> | null = null
  let finished = false
  let stop: (() => void) | null = null
  let lost = false
  socket.on('close', () => stop?.())
  const follower: Follower = {
    begin(end) {
      stop = end
      if (socket.destroyed) end()
      else socket.write(encode(Kind.Follow, ''))
    },
    say(stdout, stderr) {
      if (socket.destroyed) return
      if (socket.writableLength > MAX_UNREAD) {
        lost = true
        return
      }
      print(socket, stdout, lost ? LOST + stderr : stderr)
      lost = false
    },
  }
  const input: Buffer[] = []
  const finish = async (): Promise<void> => {
    if (call === null || finished) return
    finished = true
    const result = await service.run({ ...call, stdin: Buffer.concat(input).toString('latin1') }, follower)
    if (!socket.destroyed) answer(socket, result)
  }
  const decoder = new Decoder((kind, payload) => {
    if (kind === Kind.Args && call === null) {
      call = decodeArgs(payload)
      if (service.wantsInput(call)) socket.write(encode(Kind.NeedInput, ''))
      else void finish()
    } else if (kind === Kind.Input && call !== null) input.push(Buffer.from(payload))
    else if (kind === Kind.InputEnd && call !== null) void finish()
    else if (kind === Kind.Stop && stop !== null) stop()
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
  print(socket, result.stdout, result.stderr)
  socket.end(encode(Kind.Exit, Uint8Array.of(result.code & 0xff)))
}

function print(socket: Socket, stdout: string, stderr: string): void {
  for (const [kind, text] of [
    [Kind.Output, stdout],
    [Kind.Error, stderr],
  ] as const) {
    const bytes = bytesOf(text)
    for (let at = 0; at < bytes.length; at += CHUNK)
      socket.write(encode(kind, bytes.subarray(at, at + CHUNK)))
  }
}
