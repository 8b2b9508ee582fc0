// A host for tests: the very engine that gateway and replay run, with a clock that stands still until it is told to go
// on, packets by hand, and a record of why each became what it became. Needs no root, no network, no kernel.

import { FATE_NAMES, Fate } from '../../datapath/fate.ts'
import type { Random } from '../../datapath/host.ts'
import { Packet as EnginePacket, type Family, load, PacketType } from '../../datapath/packet.ts'
import { LocalPort } from '../../datapath/ports/local.ts'
import { type Egress, FrameMemory } from '../../datapath/ring.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import type { Rule } from '../../rules/model.ts'
import { traceLog } from '../../rules/targets/trace.ts'
import { afterFiles } from '../after.ts'
import { textOf } from '../bytes.ts'
import { createEngine, type Engine } from '../engine.ts'
import { CommandError, ExitCode } from '../errors.ts'
import { attach, type Recorder } from '../explain/recorder.ts'
import { loadHostFolder } from '../host-folder/index.ts'
import type { SourceFile } from '../host-folder/source.ts'
import { SeededRandom } from '../random.ts'
import { runTool } from '../tools.ts'
import { type Arrival, type Sending, Talk } from '../words/conversation.ts'
import type { PacketWords, Step } from '../words/model.ts'
import { wordsOf } from '../words/of-frame.ts'
import { parseWords, readDuration } from '../words/parse.ts'
import { splitCommand } from './command-line.ts'
import { type Flow, readFlows } from './flows.ts'
import type { Packet } from './packets.ts'
import { type OutFrame, Result, type Seen } from './result.ts'
import { isRule, type RuleName } from './rule-names.ts'
import { configOf, type HostSpec, runLines } from './spec.ts'

export interface HostOptions {
  /** Seed of the host's random numbers (`-m statistic`, ports of MASQUERADE). Default 1. */
  readonly seed?: number
  /** The wall clock at the beginning, for `-m time`. Default 2026-04-02T12:00:00Z, a Thursday. */
  readonly time?: Date | string
  /**
   * Whether processes listen on every port of the host and say nothing unless the test makes them (default), or nobody
   * does: then a SYN to the host is answered by a reset.
   */
  readonly listening?: boolean
}

/** What a tool printed. */
export interface ToolOutput {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

const SLOTS = 128
const MAX_FRAME = 65535
/** host.now at the beginning: the host has been up for a while. */
const UPTIME_MS = 3_600_000
/** Timers run this often while the clock goes on; after a long wait only their effects count. */
const TIMER_STEP_MS = 100
const TIMER_STEPS = 6000
const START = Date.UTC(2026, 3, 2, 12)

export class Host {
  /** Lines that LOG and TRACE wrote, as the kernel's log has them. */
  readonly log: string[] = []
  /** @internal */
  readonly engine: Engine
  readonly #memory = new FrameMemory(SLOTS, MAX_FRAME)
  readonly #recorder: Recorder
  readonly #local: LocalPort
  readonly #packet = new EnginePacket()
  #talk = new Talk()
  /** Wall clock less host.now. */
  #epoch: number
  readonly #start: number
  readonly #random: Reseedable
  /** Whether the host is but for flows and counters what it was at first: no answers, no tools, no state of rules. */
  #pristine = true
  #stateless: boolean | null = null
  #out: { readonly device: number; readonly frame: Uint8Array }[] = []
  #n = 0

  private constructor(
    make: (parts: { memory: FrameMemory; egress: Egress; random: Random }) => Engine,
    options: HostOptions,
  ) {
    const time = options.time ?? START
    const start = typeof time === 'number' ? time : new Date(time).getTime()
    if (Number.isNaN(start))
      throw new CommandError(
        `time ${JSON.stringify(time)}: expected a date, as 2026-04-02T12:00:00Z`,
        ExitCode.Unusable,
      )
    this.#start = start
    this.#epoch = start - UPTIME_MS
    this.#random = new Reseedable(options.seed ?? 1)
    const egress: Egress = {
      send: (device, off, len, slot) => {
        this.#out.push({ device, frame: this.#memory.bytes.slice(off, off + len) })
        if (slot >= 0) this.#memory.give(slot)
      },
      flush: () => {},
    }
    this.engine = make({ memory: this.#memory, egress, random: this.#random })
    this.#random.mark()
    const { host } = this.engine
    host.now = UPTIME_MS
    host.wall = start
    host.events.log = (record) => this.log.push(textOf(record.text))
    host.events.trace = (record) => this.log.push(textOf(traceLog(record, host).text))
    this.#local = new LocalPort(host)
    const deliver = host.path.localDelivery!
    const listening = options.listening ?? true
    // Pings are answered by the host's stack in any case, fragments are its business.
    host.path.localDelivery = (pkt) => listening && isForProcess(pkt) && deliver(pkt)
    this.#recorder = attach(this.engine, { frames: false })
  }

  /** A host from a folder (docs/host-folder.md). Throws PlaceError: `FILE:LINE:COLUMN: what is wrong`. */
  static load(directory: string, options: HostOptions = {}): Host {
    const config = loadHostFolder(directory)
    return new Host((parts) => createEngine(config, parts), options)
  }

  /** A host in a few lines; without interfaces it has only lo. Throws PlaceError. */
  static from(spec: HostSpec, options: HostOptions = {}): Host {
    return Host.#of(spec, 'Host.from', {}, options)
  }

  /** @internal A host in a test file, whose texts have places there. */
  static within(
    file: string,
    spec: HostSpec,
    sources: Readonly<Record<string, SourceFile>>,
    options: HostOptions,
  ): Host {
    return Host.#of(spec, file, sources, options)
  }

  static #of(
    spec: HostSpec,
    file: string,
    sources: Readonly<Record<string, SourceFile>>,
    options: HostOptions,
  ): Host {
    const { config, lines } = configOf(spec, file, sources)
    return new Host((parts) => {
      const engine = createEngine(config, parts)
      for (const some of lines) runLines(some, engine)
      return engine
    }, options)
  }

  // -- packets

  /**
   * Sends a packet to the host by an interface. A text is packet words, which may say the interface themselves; bytes
   * are a frame from its IP header on. Sequence numbers of TCP that are not said follow from the packets before.
   * Throws CommandError for an interface that there is not.
   */
  async send(packet: Packet | string | Uint8Array, device?: string): Promise<Result> {
    return this.sendNow(packet, device)
  }

  /** The same, without a promise. */
  sendNow(packet: Packet | string | Uint8Array, device?: string): Result {
    if (packet instanceof Uint8Array) return this.#sendFrame(packet, device)
    const words = typeof packet === 'string' ? onePacket(packet) : packet
    const from = device === undefined ? words.from : device === 'out' ? 'out' : { device }
    if (from === null)
      throw new CommandError(
        `where does the packet come from? expected an interface (${this.#names()}), or "out"`,
        ExitCode.Unusable,
      )
    return this.#take({ ...words, from })
  }

  /** Sends a packet from a process of the host, through OUTPUT. */
  async sendLocal(packet: Packet | string): Promise<Result> {
    return this.sendNow(packet, 'out')
  }

  /** A conversation in packet words, with `reply`, `again`, `error` and `wait`; a result for each packet. */
  async talk(words: string): Promise<Result[]> {
    const parsed = parseWords(words)
    const results: Result[] = []
    for (const [n, step] of parsed.steps.entries()) {
      if (step.kind === 'wait') {
        this.#wait(step.ms)
        continue
      }
      const fail = (reason: string): never => {
        throw new CommandError(`step ${n + 1}: ${reason}`, ExitCode.Unusable)
      }
      results.push(this.step(step, fail))
    }
    return results
  }

  // -- time

  /** Lets the clock go on: `5s`, `1m30s`, or milliseconds. What timers send meanwhile is returned. */
  advance(time: string | number): OutFrame[] {
    const ms = typeof time === 'number' ? time : readDuration(time)
    if (ms === null || !(ms >= 0))
      throw new CommandError(
        `advance(${JSON.stringify(time)}): expected a time (5s, 200ms, 1m30s)`,
        ExitCode.Unusable,
      )
    return this.#wait(ms)
  }

  /** The wall clock. */
  get time(): Date {
    return new Date(this.engine.host.wall)
  }

  #wait(ms: number): OutFrame[] {
    const { host } = this.engine
    const end = host.now + ms
    const step = Math.max(TIMER_STEP_MS, ms / TIMER_STEPS)
    // Members of sets may have ended.
    if (this.engine.sets.size > 0) this.#pristine = false
    this.#out = []
    for (let at = host.now; at < end; ) {
      at = Math.min(at + step, end)
      host.now = at
      host.wall = this.#epoch + at
      while (this.engine.tick());
    }
    return this.#frames().filter(({ dev }) => dev !== 'lo')
  }

  // -- tools

  /** A command line of iptables without its name: `host.iptables('-I FORWARD 1 -s 10.0.0.9 -j DROP')`. */
  iptables(line: string): string {
    return this.run(`iptables ${line}`)
  }

  ip6tables(line: string): string {
    return this.run(`ip6tables ${line}`)
  }

  ipset(line: string): string {
    return this.run(`ipset ${line}`)
  }

  /**
   * Any tool (iptables-restore, ip, sysctl, conntrack …) as the gateway answers it: what it printed. Throws CommandError
   * with the tool's message and exit status if it fails.
   */
  run(line: string, input = ''): string {
    const [tool = '', ...argv] = splitCommand(line)
    const { stdout, stderr, code } = this.tool(tool, argv, input)
    if (code !== 0)
      throw new CommandError(`${line}: ${stderr.trim() || `exit status ${code}`}`, ExitCode.Unusable)
    return stdout
  }

  /** The same with all that the tool said; throws nothing. */
  tool(tool: string, argv: readonly string[], input = ''): ToolOutput {
    this.#pristine = false
    const bytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')
    const { stdout, stderr, code } = runTool(
      { tool, argv: argv.map(bytes), stdin: bytes(input), directory: process.cwd() },
      this.engine,
    )
    return { stdout: textOf(stdout), stderr: textOf(stderr), code }
  }

  // -- state

  /** What `conntrack -L` lists, IPv4 first. */
  flows(): Flow[] {
    return readFlows(new Map(afterFiles(this.engine)).get('conntrack')!)
  }

  /** Packets and bytes that a rule or policy has counted. Throws CommandError unless `rule` means exactly one. */
  counters(rule: RuleName): { readonly packets: number; readonly bytes: number } {
    const found = [...this.rules()].filter(({ ref }) => isRule(ref, rule, this.engine))
    if (found.length === 1) return { packets: found[0]!.packets, bytes: found[0]!.bytes }
    const names = found.map(({ ref }) => ref.name).slice(0, 4)
    throw new CommandError(
      found.length === 0
        ? `no rule is called ${String(rule)}`
        : `${String(rule)} means ${found.length} rules: ${names.join(', ')}${found.length > 4 ? ' …' : ''}`,
      ExitCode.Unusable,
    )
  }

  /** Every rule and policy with its counters, in the order of iptables-save. */
  *rules(): Generator<{
    readonly ref: Result['rules'][number]
    readonly packets: number
    readonly bytes: number
  }> {
    const { references } = this.#recorder
    for (const family of [4, 6] as const)
      for (const table of this.engine.tables.used(family))
        for (const chain of table.chains.values()) {
          const number = references.chain(family, table.name, chain)
          const { counters, slots, model } = chain
          if (model.policy !== null)
            yield { ref: references.rule(number, -1), packets: chain.policyPackets, bytes: chain.policyBytes }
          for (let i = 0; i < slots.count; i++)
            yield {
              ref: references.rule(number, slots.at[i]!),
              packets: counters[i * 2]!,
              bytes: counters[i * 2 + 1]!,
            }
        }
  }

  // -- beginning anew

  /**
   * @internal Makes the host what it was at first, if that costs nothing: forgets flows and counters, sets the clock
   * back. False: too much may have changed; a new host is needed.
   */
  renew(): boolean {
    const { engine } = this
    if (!this.#pristine || !this.#isStateless()) return false
    engine.conntrack.flush()
    engine.conntrack.expectations.flush()
    this.log.length = 0
    this.#talk = new Talk()
    this.#random.seed()
    this.#epoch = this.#start - engine.host.now
    engine.host.wall = this.#start
    return true
  }

  /** No rule keeps state of its own, none changes a set. Asked only while the rules are those of the beginning. */
  #isStateless(): boolean {
    this.#stateless ??= [4, 6].every((family) =>
      this.engine.tables
        .used(family as Family)
        .every((table) =>
          [...table.chains.values()].every((chain) => !chain.hasState && !chain.model.rules.some(fillsSets)),
        ),
    )
    return this.#stateless
  }

  // -- inside

  #names(): string {
    return this.engine.host.devices
      .all()
      .map((device) => device.name)
      .join(', ')
  }

  #sendFrame(frame: Uint8Array, device?: string): Result {
    const from = device === undefined || device === 'out' ? 'out' : { device }
    const packet = wordsOf(frame, from)
    const arrival = { device: from === 'out' ? null : from.device, frame, mark: 0, cast: null }
    return new Result(this.engine, packet, [this.#one(arrival)])
  }

  #take(packet: PacketWords): Result {
    return this.step({ kind: 'packet', packet }, (reason) => {
      throw new CommandError(reason, ExitCode.Unusable)
    })
  }

  /** @internal One step of a conversation; `fail` says what is wrong with it. */
  step(step: Exclude<Step, { kind: 'wait' }>, fail: (reason: string) => never): Result {
    return this.#carry(this.#talk.send(step, fail))
  }

  #carry(sending: Sending): Result {
    const seen = sending.arrivals.map((arrival) => this.#one(arrival))
    const result = new Result(this.engine, sending.packet, seen)
    this.#talk.settle({
      left: result.sent.map(({ dev, frame }) => ({ device: dev, frame })),
      delivered: result.delivered?.frame ?? null,
    })
    return result
  }

  #one({ device, frame, mark, cast }: Arrival): Seen {
    const { host } = this.engine
    const memory = this.#memory
    const dev = device === null ? null : host.devices.byName(device)
    if (dev === undefined)
      throw new CommandError(
        `"${device}" is no interface of the host: expected one of ${this.#names()}`,
        ExitCode.Unusable,
      )
    if (frame.length > MAX_FRAME)
      throw new CommandError(`a packet of ${frame.length} bytes is too long`, ExitCode.Unusable)
    const pkt = this.#packet
    if (!load(pkt, memory, frame)) throw new CommandError('the host has no memory for another packet')
    pkt.mark = mark
    if (cast) pkt.pktType = CASTS[cast]
    this.#out = []
    this.#recorder.begin(this.#n++)
    let fate: Fate = Fate.Dropped
    if (dev === null) this.#local.send(pkt)
    else fate = host.path.receive(pkt, dev)
    const frames = this.#frames()
    // What the host answers is limited by its own clocks, what it keeps of fragments may be anything.
    const toProcess = frames.some((out) => out.dev === 'lo')
    if (fate === Fate.Replied || fate === Fate.Consumed || (fate === Fate.Delivered && !toProcess))
      this.#pristine = false
    const reason = dev !== null && !dev.up ? 'device-down' : null
    const record = this.#recorder.take(device ?? 'lo', fate, reason)
    return { record, frames, local: dev === null, fate: FATE_NAMES[fate]! }
  }

  #frames(): OutFrame[] {
    const { devices } = this.engine.host
    const out = this.#out
    this.#out = []
    return out.map(({ device, frame }) => {
      const dev = devices.byIndex[device]?.name ?? `if${device}`
      return { dev, frame, packet: wordsOf(frame, dev === 'lo' ? 'out' : { device: dev }) }
    })
  }
}

const fillsSets = ({ target }: Rule): boolean => target.kind === 'extension' && target.target.name === 'SET'

const CASTS = {
  broadcast: PacketType.Broadcast,
  multicast: PacketType.Multicast,
  'other-host': PacketType.OtherHost,
} as const

const isForProcess = (pkt: EnginePacket): boolean =>
  pkt.fragOffset === 0 &&
  !pkt.moreFragments &&
  pkt.proto !== (pkt.family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) &&
  pkt.sport >= 0

/** Random numbers that can begin anew from where the host was made: as its first packet finds them, here as in a replay. */
class Reseedable implements Random {
  readonly #seed: number
  #numbers: SeededRandom
  #drawn = 0
  #atStart = 0

  constructor(seed: number) {
    this.#seed = seed
    this.#numbers = new SeededRandom(seed)
  }

  mark(): void {
    this.#atStart = this.#drawn
  }

  /** Back to the mark. */
  seed(): void {
    this.#numbers = new SeededRandom(this.#seed)
    for (let i = 0; i < this.#atStart; i++) this.#numbers.i32()
  }

  i32(): number {
    this.#drawn++
    return this.#numbers.i32()
  }
}

function onePacket(words: string): PacketWords {
  const { steps } = parseWords(words)
  const step = steps[0]!
  if (steps.length > 1 || step.kind !== 'packet')
    throw new CommandError('send() takes one packet; a conversation is for talk()', ExitCode.Unusable)
  return step.packet
}
