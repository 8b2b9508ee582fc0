// The built program as its user has it: started on a host folder, asked over its socket, stopped.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { repositoryRoot } from './kernel.ts'

export const MAIN = join(repositoryRoot(), 'dist/daemon/main.js')

export interface Done {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the program to its end; bounded in time. */
export function run(
  argv: readonly string[],
  options: { readonly socket: string; readonly input?: string | Buffer },
): Done {
  const done = spawnSync(process.execPath, [MAIN, ...argv], {
    encoding: 'utf8',
    input: options.input ?? '',
    timeout: 60_000,
    maxBuffer: 1 << 28,
    env: { ...process.env, TUNWALL_SOCKET: options.socket },
  })
  return { code: done.status, stdout: done.stdout, stderr: done.stderr }
}

export class Gateway {
  readonly socket: string
  readonly #child: ChildProcess
  readonly ended: Promise<number | null>
  log = ''

  /** `under`: a program that runs the rest of its command line, and its arguments. */
  constructor(directory: string, socket: string, under: readonly string[] = []) {
    this.socket = socket
    const [program = '', ...argv] = [...under, process.execPath, MAIN]
    this.#child = spawn(program, [...argv, 'up', '--host', directory, '--socket', this.socket])
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.log += text
      })
    this.ended = new Promise((resolve) => this.#child.on('exit', resolve))
  }

  /** Resolves when the tools are answered; throws with the log if it ends before. */
  async ready(): Promise<this> {
    for (const end = Date.now() + 30_000; Date.now() < end; ) {
      if (this.log.includes('"ready"')) return this
      if (this.#child.exitCode !== null) break
      await pause(20)
    }
    throw new Error(`the gateway did not start: ${this.log}`)
  }

  get pid(): number {
    return this.#child.pid!
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** Exit status; null if it had to be killed. */
  async stop(): Promise<number | null> {
    const timer = setTimeout(() => this.signal('SIGKILL'), 15_000)
    this.signal('SIGTERM')
    const code = await this.ended
    clearTimeout(timer)
    return code
  }

  tool(...argv: string[]): Done {
    return run(argv, { socket: this.socket })
  }

  /** The tools under their own names, as programs find them. */
  sh(script: string, input?: string | Buffer): Done {
    return run(['exec', '--', 'sh', '-c', script], { socket: this.socket, ...(input ? { input } : {}) })
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
