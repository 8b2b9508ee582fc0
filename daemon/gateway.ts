// `tunwall up`: the main thread. It starts the engine's worker, listens on the control socket, writes the log, and
// takes everything down again on SIGINT and SIGTERM.

import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Logger } from 'pino'
import { native } from '../datapath/native/index.ts'
import { packageRoot } from '../datapath/native/root.ts'
import { textOf } from './bytes.ts'
import type { ToolCall, ToolResult } from './control/protocol.ts'
import { type ControlServer, type Follower, serve } from './control/server.ts'
import { CommandError, type ExitCode } from './errors.ts'
import type { FromWorker, PortSummary, ToWorker, WorkerStart } from './messages.ts'
import { wantsInput } from './tools.ts'

/** pino's names of the syslog levels that LOG has. */
const LEVELS = ['fatal', 'fatal', 'fatal', 'error', 'warn', 'info', 'info', 'debug'] as const

export interface GatewayOptions {
  readonly directory: string
  readonly socket: string
  readonly seed: number | null
  /** Directory for nflog-GROUP.pcap. */
  readonly nflog: string | null
  readonly log: Logger
}

/** The worker as the main thread sees it. */
class EngineThread {
  readonly #worker: Worker
  readonly #log: Logger
  readonly #waiting = new Map<
    number,
    { readonly resolve: (result: ToolResult) => void; readonly follower: Follower }
  >()
  #next = 0
  #wakeFd = -1
  #over = false
  readonly ready: Promise<readonly PortSummary[]>
  readonly ended: Promise<void>

  constructor(start: WorkerStart, log: Logger) {
    this.#log = log
    this.#worker = new Worker(join(packageRoot(), 'dist/daemon/worker.js'), { workerData: start })
    let opened: (ports: readonly PortSummary[]) => void
    let refused: (error: Error) => void
    this.ready = new Promise((resolve, reject) => {
      opened = resolve
      refused = reject
    })
    this.ended = new Promise((resolve, reject) => {
      this.#worker.on('message', (message: FromWorker) => {
        if (message.kind === 'ready') {
          this.#wakeFd = message.wakeFd
          opened(message.ports)
        } else if (message.kind === 'failed') {
          const error = new CommandError(message.message, message.status as ExitCode)
          refused(error)
          reject(error)
        } else if (message.kind === 'stopped') resolve()
        else this.#take(message)
      })
      this.#worker.on('error', (error) => {
        refused(error)
        reject(error)
      })
    })
    // Both promises fail together; whoever waits for one must not be told twice.
    this.ended
      .catch(() => {})
      .finally(() => {
        this.#over = true
      })
  }

  #take(message: Extract<FromWorker, { kind: 'result' | 'log' | 'follow' | 'said' }>): void {
    if (message.kind === 'result') {
      this.#waiting.get(message.id)?.resolve(message.result)
      this.#waiting.delete(message.id)
      return
    }
    if (message.kind === 'follow') {
      const { id } = message
      this.#waiting.get(id)?.follower.begin(() => this.#send({ kind: 'end', id }))
      return
    }
    if (message.kind === 'said') {
      this.#waiting.get(message.id)?.follower.say(message.stdout, message.stderr)
      return
    }
    for (const { level, text } of message.records)
      this.#log[LEVELS[level] ?? 'info']({ netfilter: true, level7: level }, textOf(text))
  }

  /** A worker that has ended has closed its wake-up descriptor; the number may be somebody else's by now. */
  #send(message: ToWorker): void {
    if (this.#over) return
    this.#worker.postMessage(message)
    native().wake(this.#wakeFd)
  }

  call(call: ToolCall, follower: Follower): Promise<ToolResult> {
    const id = this.#next++
    return new Promise((resolve) => {
      this.#waiting.set(id, { resolve, follower })
      this.#send({ kind: 'call', id, call })
    })
  }

  stop(): void {
    this.#send({ kind: 'stop' })
  }
}

/** Runs until a signal ends it. Throws CommandError when it cannot start; devices and socket are gone then. */
export async function runGateway(options: GatewayOptions): Promise<void> {
  const { log } = options
  const signal = untilSignal(log)
  const engine = new EngineThread(
    { directory: options.directory, seed: options.seed, nflog: options.nflog },
    log,
  )
  const ports = await engine.ready
  let server: ControlServer | null = null
  try {
    server = await serve(options.socket, { wantsInput, run: (call, follower) => engine.call(call, follower) })
    for (const port of ports) log.info(port, `${port.device} is up`)
    log.info({ socket: options.socket }, 'ready')
    await Promise.race([signal, engine.ended])
  } finally {
    server?.close()
    engine.stop()
    await engine.ended
  }
  log.info('stopped')
}

function untilSignal(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => {
        log.info({ signal }, 'stopping')
        resolve()
      })
  })
}
