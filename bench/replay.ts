// Replay (recipe R12): packets a second through the built program, by what it is to tell, against the kernel in a
// namespace that is given the same frames by a TUN device.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type IoHandle, native } from '../datapath/native/index.ts'
import { packageRoot } from '../datapath/native/root.ts'
import { writeCapture, writeFolder } from '../test/harness/capture.ts'
import { udp } from '../test/harness/frames.ts'
import { gatewayRules } from './rules.ts'
import { interleave, median, ratio, short, spread, table } from './stats.ts'

const MAIN = join(packageRoot(), 'dist/daemon/main.js')
const PACKETS = 200_000
const FLOWS = 1000
const FILTERS = 20
const ROUNDS = 3
/** Packets a second of the capture. */
const PACE = 10_000
const BATCH = 64

const frame = (i: number): Uint8Array =>
  udp({
    src: `10.9.1.${2 + (i % 100)}`,
    dst: '10.9.2.2',
    sport: 1024 + (i % FLOWS),
    dport: 53,
    payload: 32,
  })

/** Packets a second by the clock: one program, from start to end. */
function replayed(directory: string, argv: readonly string[]): number {
  const files = argv.map((word) => (word.startsWith('--') ? word : join(directory, word)))
  const start = performance.now()
  const done = spawnSync(
    process.execPath,
    [
      MAIN,
      'replay',
      '--host',
      join(directory, 'host'),
      '--in',
      join(directory, 'in.pcapng'),
      '--out',
      join(directory, 'out.pcapng'),
      '--no-summary',
      ...files,
    ],
    { encoding: 'utf8' },
  )
  if (done.status !== 0) throw new Error(done.stderr)
  return PACKETS / ((performance.now() - start) / 1000)
}

/** The same frames through a namespace's kernel: written to one TUN device, read from the other. */
class Kernel {
  readonly #ns = `twb${process.pid}k`
  readonly #io = native()
  readonly #lan: number
  readonly #wan: number
  readonly #tx: IoHandle
  readonly #rx: IoHandle

  constructor(frames: readonly Uint8Array[]) {
    execFileSync('ip', ['netns', 'add', this.#ns])
    this.#lan = this.#io.openTun('lan', `/run/netns/${this.#ns}`, 0)
    this.#wan = this.#io.openTun('wan', `/run/netns/${this.#ns}`, 0)
    const script = `ip link set lan up; ip link set wan up; ip addr add 10.9.1.1/24 dev lan; ip addr add 10.9.2.1/24 dev wan
      echo 1 > /proc/sys/net/ipv4/ip_forward; iptables-legacy-restore`
    execFileSync('ip', ['netns', 'exec', this.#ns, 'sh', '-ec', script], { input: gatewayRules(FILTERS) })
    const stride = 128
    const memory = new Uint8Array(frames.length * stride)
    for (const [i, bytes] of frames.entries()) memory.set(bytes, i * stride)
    const offsets = Int32Array.from(frames, (_, i) => i * stride)
    const lengths = Int32Array.from(frames, (bytes) => bytes.length)
    this.#tx = this.#io.createWriter(memory, offsets, lengths, new Uint32Array(frames.length))
    const into = new Uint8Array(BATCH * 2048)
    this.#rx = this.#io.createReader(
      into,
      Int32Array.from({ length: BATCH }, (_, i) => i * 2048),
      new Int32Array(BATCH),
      new Uint32Array(BATCH),
      null,
    )
  }

  rate(): number {
    const start = performance.now()
    let out = 0
    for (let at = 0; at < PACKETS; at += BATCH) {
      this.#io.writeBatch(this.#tx, this.#lan, at % FLOWS, Math.min(BATCH, FLOWS - (at % FLOWS)))
      for (let n = BATCH; n === BATCH; out += n) n = this.#io.readBatch(this.#rx, this.#wan, 0, BATCH, 2048)
    }
    return out / ((performance.now() - start) / 1000)
  }

  stop(): void {
    this.#io.close(this.#lan)
    this.#io.close(this.#wan)
    execFileSync('ip', ['netns', 'del', this.#ns])
  }
}

export async function replays(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-bench-'))
  let kernel: Kernel | null = null
  try {
    writeFolder(join(directory, 'host'), {
      'host.yaml':
        'interfaces:\n  lan: { addresses: [10.9.1.1/24] }\n  wan: { addresses: [10.9.2.1/24] }\nsysctls: { net.ipv4.ip_forward: 1 }\n',
      'iptables-save': gatewayRules(FILTERS),
    })
    const frames = Array.from({ length: FLOWS }, (_, i) => frame(i))
    const at = (i: number) => ({
      seconds: 1_700_000_000 + Math.floor(i / PACE),
      nanos: (i % PACE) * (1e9 / PACE),
    })
    writeCapture(
      join(directory, 'in.pcapng'),
      Array.from({ length: PACKETS }, (_, i) => ({ iface: 'lan', bytes: frames[i % FLOWS]!, ...at(i) })),
    )
    kernel = new Kernel(frames)
    const peer = kernel
    const runs = await interleave(ROUNDS, {
      plain: () => replayed(directory, []),
      report: () => replayed(directory, ['--report', 'report.jsonl']),
      trace: () => replayed(directory, ['--trace', 'trace.jsonl']),
      kernel: () => peer.rate(),
    })
    const row = (name: string, of: number[]): string[] => [
      name,
      spread(of),
      ratio(median(of) / PACE),
      ratio(median(of) / median(runs.kernel)),
    ]
    return [
      `A capture of ${short(PACKETS)} packets of ${FLOWS} flows, ${PACE} a second; conntrack, MASQUERADE and ${FILTERS} filter rules. Packets a second by the clock, start and end of the program included; medians of ${ROUNDS} interleaved runs (lowest to highest). The kernel is given the frames in a namespace, without a capture to read or write.`,
      '',
      table(
        ['replay', 'packets/s', 'times as fast as it happened', 'against the kernel'],
        [
          row('frames out', runs.plain),
          row('and a report', runs.report),
          row('and every step of each packet', runs.trace),
          row('kernel', runs.kernel),
        ],
      ),
    ].join('\n')
  } finally {
    kernel?.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}
