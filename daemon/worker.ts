// The engine's thread: reads batches from TUN devices, runs them through the host, writes what leaves, and
// between batches answers the tools. It never runs Node's event loop: it sleeps in poll(2) on its devices and
// on a wake-up descriptor, so that a command costs one wake-up and a packet none.
//
//     receive batch ─> engine ─> flush ─> timers ─> poll ─> commands ─┐
//       ^─────────────────────────────────────────────────────────────┘
//
// A command that takes long lets packets through where it says so (Host.condResched).

import { randomInt } from 'node:crypto'
import { openSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { HINT_NONE } from '../conntrack/look-ahead.ts'
import type { LogRecord } from '../datapath/events.ts'
import { native } from '../datapath/native/index.ts'
import { type WriteBytes, writeTo } from '../datapath/ports/capture-writer.ts'
import { LocalPort } from '../datapath/ports/local.ts'
import { type OnFrames, TunPorts } from '../datapath/ports/tun.ts'
import { FrameMemory, HEADROOM } from '../datapath/ring.ts'
import { UdpGro } from '../datapath/udp-gro.ts'
import { traceLog } from '../rules/targets/trace.ts'
import type { ToolCall, ToolResult } from './control/protocol.ts'
import { createEngine, type Engine } from './engine.ts'
import { CommandError, ExitCode, systemReason } from './errors.ts'
import type { HostConfig } from './host-folder/config.ts'
import { loadHostFolder } from './host-folder/index.ts'
import { LocalNamespace } from './local-port.ts'
import type { FromWorker, PortSummary, ToWorker, WorkerStart } from './messages.ts'
import { checkNamespace, configurePeer, netnsPath } from './netns.ts'
import { NflogFiles } from './nflog-files.ts'
import { SeededRandom } from './random.ts'
import { followTool, runTool } from './tools.ts'

/** Slots of frame memory: four batches a device would do; the rest is for fragments that wait. */
const SLOTS = 2048
/** Longest sleep, so that timers run. */
const TICK_MS = 100
/** Timers are looked at no more often, so that a packet that comes alone does not wait for them. */
const TIMERS_MS = 5
/** Longest sleep while timers have more to do. */
const BEHIND_MS = 1
/** Batches in a row before commands and timers get their turn. */
const BATCHES_A_TURN = 16
/** So long a command goes on while packets wait: a device's queue of 500 is not full before, at any rate that we reach. */
const SLICE_MS = 0.5
/** Steps of a command, some microseconds each at most, between two looks at the clock. */
const STEPS = 16
/** LOG records kept for the main thread between two turns; more are counted and dropped. */
const MAX_LOG_BACKLOG = 4096

/** Wall time of the monotonic clock's zero, ms. */
const TIME_ORIGIN = performance.timeOrigin

const port = parentPort!
const say = (message: FromWorker): void => port.postMessage(message)

/** The host's processes: their port and their namespace. */
interface Local {
  readonly port: LocalPort
  readonly namespace: LocalNamespace
}

/** The local port is one of lo. Null if the host has none. */
function openLocal(config: HostConfig, engine: Engine, tun: TunPorts): Local | null {
  const { local } = config
  if (local === null) return null
  checkNamespace(local)
  const { host } = engine
  try {
    const { name, offload } = local
    const { loopback } = host.devices
    loopback.offloads = tun.open({ device: loopback.index, name, netns: netnsPath(local.namespace), offload })
  } catch (error) {
    throw new CommandError(`local: ${(error as Error).message} in ${local.namespace}`)
  }
  const namespace = new LocalNamespace(local, host)
  namespace.setUp()
  return { port: new LocalPort(host), namespace }
}

function openPorts(config: HostConfig, engine: Engine, tun: TunPorts): PortSummary[] {
  const wanted = config.interfaces.flatMap((i) => (i.port?.kind === 'tun' ? [{ ...i, port: i.port }] : []))
  for (const item of config.interfaces)
    if (item.port !== null && item.port.kind !== 'tun') {
      const { file, line, column } = item.port.origin.place()
      throw new CommandError(
        `${file}:${line}:${column}: port kind "${item.port.kind}" cannot be opened by tunwall up; expected tun`,
        ExitCode.Unusable,
      )
    }
  for (const item of wanted) checkNamespace(item.port)
  for (const item of wanted) {
    const device = engine.host.devices.byName(item.name)!
    try {
      const { name, offload, udpGro } = item.port
      device.offloads = tun.open({
        device: device.index,
        name,
        netns: netnsPath(item.port.namespace),
        offload,
      })
      if (udpGro) device.gro = new UdpGro(engine.host, device, tun)
    } catch (error) {
      const where = item.port.namespace === null ? '' : ` in ${item.port.namespace}`
      throw new CommandError(`${item.name}: ${(error as Error).message}${where}`)
    }
    configurePeer(item.port, item.mtu)
  }
  return wanted.map((i) => ({ device: i.name, namespace: i.port.namespace, name: i.port.name }))
}

/** Rules whose code is made in a turn that has no packets: a fraction of a millisecond. */
const RULES_A_TURN = 16
/** So long after a command nothing is made ahead: more of them may follow. So long after a packet others are expected. */
const PAUSE_MS = 1000

/** Characters that a follower is told in one turn at most; what is beyond is lost, as in a full netlink socket. */
const MAX_SAID = 4 * 1024 * 1024

const nothing = (): ToolResult => ({ stdout: '', stderr: '', code: 0 })

/** A new file; trouble with it later ends the log, not the gateway. */
function openIn(directory: string, name: string): WriteBytes {
  const path = `${directory}/${name}`
  try {
    const write = writeTo(openSync(path, 'w', 0o600))
    let broken = false
    return (bytes, length) => {
      if (broken) return
      try {
        write(bytes, length)
      } catch (error) {
        broken = true
        complain(`${path}: cannot be written: ${systemReason(error)}`)
      }
    }
  } catch (error) {
    complain(`${path}: cannot be written: ${systemReason(error)}`)
    return () => {}
  }
}

const complain = (text: string): void => say({ kind: 'log', records: [{ level: 3, text }] })

class Gateway {
  readonly #engine: Engine
  readonly #tun: TunPorts
  readonly #local: Local | null
  readonly #logs: LogRecord[] = []
  readonly #nflog: NflogFiles | null
  #running = true
  /** host.now from which timers are looked at again. */
  #timersAt = 0
  /** Timers have more to do than one turn allows. */
  #behind = false
  /** host.now from which code may be made ahead. */
  #warmAt = 0
  /** Frames when that was last looked at, and host.now until which packets count as coming. */
  #received = 0
  #busyUntil = 0
  /** By performance.now(): when the command that runs lets packets through. */
  #sliceEnd = 0
  /** Calls that go on: what ends them, and what they have printed since the last turn. */
  readonly #following = new Map<number, { end: () => ToolResult; stdout: string; stderr: string }>()

  constructor(engine: Engine, tun: TunPorts, local: Local | null, nflog: string | null) {
    this.#engine = engine
    this.#tun = tun
    this.#local = local
    tun.onGone = (index) =>
      complain(`${engine.host.devices.byIndex[index]?.name}: its TUN device was removed`)
    engine.host.events.log = (record) => {
      if (this.#logs.length < MAX_LOG_BACKLOG) this.#logs.push(record)
    }
    engine.host.events.trace = (record) => {
      if (this.#logs.length < MAX_LOG_BACKLOG) this.#logs.push(traceLog(record, engine.host))
    }
    let steps = 0
    engine.host.condResched = () => {
      if (++steps % STEPS === 0 && performance.now() >= this.#sliceEnd) this.#letThrough()
    }
    this.#nflog = nflog === null ? null : new NflogFiles(engine.host, (name) => openIn(nflog, name))
  }

  run(): void {
    const tun = this.#tun
    let batches = 0
    while (this.#running) {
      const more = this.#batch()
      if (!more || this.#behind || ++batches === BATCHES_A_TURN) {
        batches = 0
        // It starts programs, which take milliseconds: once after a command that changes routes, not in its midst.
        this.#local?.namespace.sync()
        this.#betweenBatches()
      }
      const atOnce = more || (!this.#behind && this.#warm())
      if (tun.wait(atOnce ? 0 : this.#behind ? BEHIND_MS : TICK_MS)) this.#serve()
    }
  }

  /** One batch of each device. True: there may be more. */
  #batch(): boolean {
    this.#setClock()
    const more = this.#tun.receive(this.#onFrames)
    this.#tun.flush()
    return more
  }

  /** A turn in the midst of a command. Other commands wait: #serve() asks for them when this one has ended. */
  #letThrough(): void {
    this.#tun.wait(0)
    let batches = 1
    while (this.#batch() && batches < BATCHES_A_TURN) batches++
    this.#betweenBatches()
    this.#sliceEnd = performance.now() + SLICE_MS
  }

  /** With nothing else to do, code is made that packets will ask for. False: there is none left, or not now. */
  #warm(): boolean {
    const { host, tables } = this.#engine
    return host.now >= this.#warmAt && tables.warm(RULES_A_TURN)
  }

  #betweenBatches(): void {
    const tun = this.#tun
    const { now } = this.#engine.host
    if (this.#behind || now >= this.#timersAt) {
      this.#timersAt = now + TIMERS_MS
      this.#behind = this.#engine.tick()
      this.#lookBusy(now)
    }
    tun.flush()
    if (this.#following.size > 0) this.#tellFollowers()
    this.#nflog?.flush()
    if (this.#logs.length > 0) say({ kind: 'log', records: this.#logs.splice(0) })
  }

  #lookBusy(now: number): void {
    const { received } = this.#tun
    if (received !== this.#received) this.#busyUntil = now + PAUSE_MS
    this.#received = received
    this.#engine.host.isBusy = now < this.#busyUntil
  }

  #setClock(): void {
    const { host } = this.#engine
    host.now = performance.now()
    host.wall = TIME_ORIGIN + host.now
  }

  /** Hot: what a device gave. */
  readonly #onFrames: OnFrames = (index, frames) => {
    const { host, lookAhead } = this.#engine
    const device = host.devices.byIndex[index]
    if (device === undefined) {
      for (let i = 0; i < frames.count; i++) host.memory.give(frames.offsets[i]! - HEADROOM)
      return
    }
    if (frames.count > 1) frames.hints = lookAhead(frames.offsets, frames.count)
    else frames.hints[0] = HINT_NONE
    // Nothing arrives on lo from outside: this comes from the host's own processes.
    if (device.loopback) this.#local!.port.sendBatch(frames)
    else host.path.receiveBatch(frames, device)
  }

  #serve(): void {
    for (;;) {
      const received = receiveMessageOnPort(port)
      if (received === undefined) break
      this.#sliceEnd = performance.now() + SLICE_MS
      const message = received.message as ToWorker
      if (message.kind === 'stop') this.#running = false
      else if (message.kind === 'end') this.#end(message.id)
      else if (!this.#follow(message.id, message.call))
        say({ kind: 'result', id: message.id, result: this.#answer(message.call) })
    }
    this.#setClock()
    this.#warmAt = this.#engine.host.now + PAUSE_MS
  }

  #follow(id: number, call: ToolCall): boolean {
    const follower = { end: nothing, stdout: '', stderr: '' }
    const end = followTool(call, this.#engine, (stdout, stderr) => {
      if (follower.stdout.length > MAX_SAID) return
      follower.stdout += stdout
      follower.stderr += stderr
    })
    if (end === null) return false
    follower.end = end
    this.#following.set(id, follower)
    say({ kind: 'follow', id })
    return true
  }

  #end(id: number): void {
    const follower = this.#following.get(id)
    if (follower === undefined) return
    this.#tellFollowers()
    this.#following.delete(id)
    say({ kind: 'result', id, result: follower.end() })
  }

  #tellFollowers(): void {
    for (const [id, follower] of this.#following) {
      const { stdout, stderr } = follower
      if (stdout === '' && stderr === '') continue
      follower.stdout = follower.stderr = ''
      say({ kind: 'said', id, stdout, stderr })
    }
  }

  #answer(call: ToolCall) {
    return runTool(call, this.#engine)
  }
}

function main(start: WorkerStart): void {
  const memory = new FrameMemory(SLOTS, 65535)
  const tun = new TunPorts(memory)
  memory.onEmpty = () => tun.flush()
  let local: Local | null = null
  try {
    const config = loadHostFolder(start.directory)
    const random = new SeededRandom(start.seed ?? randomInt(2 ** 47))
    const engine = createEngine(config, { memory, egress: tun, random })
    // Once and for all: a table that grows would stop the packets while it is copied.
    engine.conntrack.table.reserve(engine.host.tunables.get('net.netfilter.nf_conntrack_max'))
    const ports = openPorts(config, engine, tun)
    local = openLocal(config, engine, tun)
    if (config.local !== null && local !== null)
      ports.push({ device: 'lo', namespace: config.local.namespace, name: config.local.name })
    // All that both threads know is open: from here on the descriptors of one are not the other's.
    native().ownFiles()
    say({ kind: 'ready', wakeFd: tun.wakeFd, ports })
    new Gateway(engine, tun, local, start.nflog).run()
    say({ kind: 'stopped' })
  } catch (error) {
    const status = error instanceof CommandError ? error.status : ExitCode.Failure
    const message = error instanceof CommandError ? error.message : ((error as Error).stack ?? String(error))
    say({ kind: 'failed', message, status })
  } finally {
    local?.namespace.close()
    tun.close()
    port.close()
  }
}

main(workerData as WorkerStart)
