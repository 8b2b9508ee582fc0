// The control socket: messages survive any cutting of the stream; only whole calls are answered; clients agree.

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { callTool } from '../../../daemon/control/client.ts'
import {
  Decoder,
  decodeArgs,
  encode,
  encodeArgs,
  Kind,
  type ToolCall,
} from '../../../daemon/control/protocol.ts'
import { type ControlServer, serve } from '../../../daemon/control/server.ts'
import { SeededRandom } from '../../../daemon/random.ts'

const CLIENT = fileURLToPath(new URL('../../../datapath/native/build/tunwall-client', import.meta.url))

describe('protocol', () => {
  test('messages come out as they went in, however the stream is cut', () => {
    const random = new SeededRandom(7)
    for (let round = 0; round < 200; round++) {
      const sent = Array.from({ length: 1 + (random.u32() % 6) }, () => ({
        kind: 65 + (random.u32() % 20),
        body: Buffer.from(Array.from({ length: random.u32() % 300 }, () => random.u32() & 255)),
      }))
      const stream = Buffer.concat(sent.map((m) => encode(m.kind, m.body)))
      const got: { kind: number; body: Buffer }[] = []
      const decoder = new Decoder((kind, body) => got.push({ kind, body: Buffer.from(body) }))
      for (let at = 0; at < stream.length; ) {
        const size = 1 + (random.u32() % 40)
        decoder.push(stream.subarray(at, at + size))
        at += size
      }
      expect(got).toEqual(sent)
    }
  })

  test('arguments keep empty words, blanks and other scripts', () => {
    const call = { tool: 'iptables', directory: '/a b', argv: ['-A', '', 'ü 中', '--x=y'] }
    const bytes = (text: string): string => Buffer.from(text).toString('latin1')
    expect(decodeArgs(encodeArgs(call).subarray(5))).toEqual({ ...call, argv: call.argv.map(bytes) })
  })

  test('an impossible length is refused', () => {
    const bytes = Buffer.from([65, 255, 255, 255, 255])
    expect(() => new Decoder(() => {}).push(bytes)).toThrow(RangeError)
  })
})

describe('server', () => {
  let dir: string
  let path: string
  let server: ControlServer
  const calls: ToolCall[] = []
  /** Calls that went on and were ended. */
  let ended = 0

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'tunwall-test-'))
    path = join(dir, 'socket')
    calls.length = 0
    ended = 0
    server = await serve(path, {
      wantsInput: (call) => call.argv.includes('-'),
      run: async (call, follower) => {
        calls.push(call)
        if (call.argv[0] === '-E')
          return new Promise((resolve) => {
            follower.begin(() => {
              ended++
              resolve({ stdout: 'last\n', stderr: '', code: 0 })
            })
            follower.say('first\n', '')
          })
        return { stdout: `${call.argv.join('|')}\n${call.stdin}`, stderr: 'said\n', code: 3 }
      },
    })
  })

  afterEach(() => {
    server.close()
    rmSync(dir, { recursive: true, force: true })
  })

  function streams(input: string) {
    const stdin = new PassThrough()
    stdin.end(input)
    const collect = (): { stream: PassThrough; text: () => string } => {
      const stream = new PassThrough()
      const chunks: Buffer[] = []
      stream.on('data', (c: Buffer) => chunks.push(c))
      return { stream, text: () => Buffer.concat(chunks).toString() }
    }
    const [out, err] = [collect(), collect()]
    return { io: { stdin, stdout: out.stream, stderr: err.stream }, out, err }
  }

  test('only its owner may open it', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  test('a call without input', async () => {
    const { io, out, err } = streams('not asked for')
    expect(await callTool(path, 'iptables', ['-S', 'a b'], io)).toBe(3)
    expect(out.text()).toBe('-S|a b\n')
    expect(err.text()).toBe('said\n')
    expect(calls[0]).toEqual({ tool: 'iptables', directory: process.cwd(), argv: ['-S', 'a b'], stdin: '' })
  })

  test('input of a megabyte arrives whole', async () => {
    const text = 'x'.repeat(1_000_000)
    const { io, out } = streams(text)
    expect(await callTool(path, 'iptables-restore', ['-'], io)).toBe(3)
    expect(out.text()).toBe(`-\n${text}`)
  })

  test('a call that goes on prints at once, and a signal ends it with its last words', async ({ skip }) => {
    if (!existsSync(CLIENT)) skip('the client is not built: npm run build:native')
    const link = join(dir, 'conntrack')
    symlinkSync(CLIENT, link)
    const child = spawn(link, ['-E'], { env: { TUNWALL_SOCKET: path }, stdio: 'pipe' })
    let out = ''
    const code = new Promise((resolve) => child.on('close', resolve))
    await new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk) => {
        out += chunk
        resolve()
      })
    })
    expect(out).toBe('first\n')
    child.kill('SIGINT')
    expect(await code).toBe(0)
    expect(out).toBe('first\nlast\n')
  })

  test('a call that goes on ends when its caller is gone', async () => {
    const socket = connect(path)
    socket.write(encodeArgs({ tool: 'conntrack', directory: '/', argv: ['-E'] }))
    await new Promise((resolve) => socket.once('data', resolve))
    socket.destroy()
    for (let i = 0; i < 200 && ended === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10))
    expect(ended).toBe(1)
  })

  test('the C client does the same', async ({ skip }) => {
    if (!existsSync(CLIENT)) skip('the client is not built: npm run build:native')
    const link = join(dir, 'iptables-restore')
    symlinkSync(CLIENT, link)
    const child = spawn(link, ['-', 'ü'], { env: { TUNWALL_SOCKET: path }, cwd: dir, stdio: 'pipe' })
    const text = 'line\n'.repeat(100_000)
    child.stdin.end(text)
    let out = ''
    child.stdout.setEncoding('utf8').on('data', (c: string) => {
      out += c
    })
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(3)
    expect(out).toBe(`-|ü\n${text}`)
    expect(calls[0]).toMatchObject({ tool: 'iptables-restore', directory: dir })
  })

  test('the C client says that the daemon has gone in the middle of a call', async ({ skip }) => {
    if (!existsSync(CLIENT)) skip('the client is not built: npm run build:native')
    const link = join(dir, 'iptables-restore')
    symlinkSync(CLIENT, link)
    // At once, or as soon as it has asked for input, of which there is more than a socket takes.
    for (const [name, first] of [
      ['silent', Buffer.alloc(0)],
      ['asking', encode(Kind.NeedInput, '')],
    ] as const) {
      const gone = join(dir, name)
      const dying = createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', () => socket.write(first, () => socket.destroy()))
      })
      await new Promise<void>((resolve) => dying.listen(gone, resolve))
      const child = spawn(link, ['-'], { env: { TUNWALL_SOCKET: gone }, stdio: 'pipe' })
      child.stdin.on('error', () => {})
      child.stdin.end('line\n'.repeat(2_000_000))
      let said = ''
      child.stderr.setEncoding('utf8').on('data', (c: string) => {
        said += c
      })
      expect(await new Promise((resolve) => child.on('close', resolve))).toBe(111)
      expect(said).toBe('iptables-restore: the daemon closed the connection\n')
      await new Promise((resolve) => dying.close(resolve))
    }
  })

  test('the C client without standard descriptors, and with a full one', async ({ skip }) => {
    if (!existsSync(CLIENT)) skip('the client is not built: npm run build:native')
    symlinkSync(CLIENT, join(dir, 'iptables'))
    const statuses = new Promise<number[]>((resolve) => {
      const child = spawn(
        'sh',
        [
          '-c',
          ['./iptables - <&-', './iptables >&-', './iptables - <&- >&- 2>&-', './iptables >/dev/full']
            .map((l) => `${l}; echo $?`)
            .join('\n'),
        ],
        {
          cwd: dir,
          env: { PATH: process.env.PATH ?? '/usr/bin:/bin', TUNWALL_SOCKET: path },
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      )
      let out = ''
      child.stdout.on('data', (c: Buffer) => {
        out += c
      })
      child.on('close', () => resolve((out.match(/^\d+$/gm) ?? []).map(Number)))
    })
    expect(await statuses).toEqual([3, 3, 3, 3])
  })

  test('bytes that are no text go through the C client unchanged', async ({ skip }) => {
    if (!existsSync(CLIENT)) skip('the client is not built: npm run build:native')
    const link = join(dir, 'iptables-save')
    symlinkSync(CLIENT, link)
    const child = spawn('sh', ['-c', `exec ${link} "$(printf '\\377\\200x')" ''`], {
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', TUNWALL_SOCKET: path },
      stdio: 'pipe',
    })
    let out = ''
    child.stdout.setEncoding('latin1').on('data', (c: string) => {
      out += c
    })
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(3)
    expect(out).toBe('\xff\x80x|\n')
  })

  test('garbage ends the connection and nothing else', async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(path, () => socket.write(Buffer.from([1, 2, 3, 255, 255, 9, 9])))
      socket.on('close', () => resolve())
      socket.on('error', () => {})
    })
    const { io } = streams('')
    expect(await callTool(path, 'iptables', [], io)).toBe(3)
  })

  test('a second daemon is refused, a dead socket is replaced', async () => {
    const service = { wantsInput: () => false, run: async () => ({ stdout: '', stderr: '', code: 0 }) }
    await expect(serve(path, service)).rejects.toThrow(/another tunwall is running/)
    const dead = join(dir, 'dead')
    const script = join(dir, 'dead.mjs')
    writeFileSync(
      script,
      `import { createServer } from 'node:net'; createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`,
    )
    await new Promise((resolve) => spawn(process.execPath, [script]).on('close', resolve))
    expect(existsSync(dead)).toBe(true)
    const second = await serve(dead, service)
    second.close()
  })

  test('what is no socket stays where it is', async () => {
    const service = { wantsInput: () => false, run: async () => ({ stdout: '', stderr: '', code: 0 }) }
    const file = join(dir, 'file')
    writeFileSync(file, 'precious')
    await expect(serve(file, service)).rejects.toThrow(/no socket is in the way/)
    expect(readFileSync(file, 'utf8')).toBe('precious')
    await expect(serve(dir, service)).rejects.toThrow(/no socket is in the way/)
    await expect(serve(join(dir, 'no', 'folder'), service)).rejects.toThrow(/no such file or directory/)
    await expect(serve(join(dir, 'x'.repeat(108)), service)).rejects.toThrow(/at most 107 bytes/)
    await expect(serve(join(file, 'below'), service)).rejects.toThrow(/not a directory/i)
  })

  test('closing ends connections that say nothing', async () => {
    const idle = connect(path)
    idle.on('error', () => {})
    await new Promise((resolve) => idle.once('connect', resolve))
    await new Promise((resolve) => setTimeout(resolve, 20))
    const closed = new Promise((resolve) => idle.once('close', resolve))
    server.close()
    await closed
    expect(existsSync(path)).toBe(false)
  })

  test('no daemon: one line that says what to do', async () => {
    const { io } = streams('')
    await expect(callTool(join(dir, 'nobody'), 'iptables', [], io)).rejects.toThrow(
      /start one with: tunwall up/,
    )
  })
})
