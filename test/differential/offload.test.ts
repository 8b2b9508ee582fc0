// Superframes and unfinished checksums against the kernel's: random ones through a router between TUN devices, one way out
// that takes them as they are, one that does not, and one that is narrow. NAT on the way.
//
//     header, frame ─▶ a ─┬─▶ [ namespace: iptables, forwarding ] ─┬─▶ plain (segments)
//                         └─▶ engine ─────────────────────────────┼─▶ vnet (header, superframe)      same?
//                                                                 └─▶ narrow (MTU 600)

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { IFF_VNET_HDR, native } from '../../datapath/native/index.ts'
import { Offload, takeOffload, VNET_HEADER_LEN, VNET_HEADER_WORDS } from '../../datapath/offload.ts'
import { Packet } from '../../datapath/packet.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { fold, sumView } from '../../datapath/wire/checksum.ts'
import { decode, SeededRandom, tcp, toHex, udp } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const why = whyNoKernel()
const SEED = SEED_OF_RUN
const FRAMES = Number(process.env.TUNWALL_SCENARIOS ?? 400)

const NS = `twoff${process.pid}`
const OFFLOADS = Offload.Checksum | Offload.Tso4 | Offload.Tso6 | Offload.TsoEcn | Offload.Uso4 | Offload.Uso6
/** Name, own address and MTU of each way out; behind it 10.N.0.0/16 and 2001:db8:N::/48. */
const WAYS = [
  { name: 'plain', net: 1, mtu: 1500, vnet: false },
  { name: 'vnet', net: 2, mtu: 1500, vnet: true },
  { name: 'narrow', net: 3, mtu: 600, vnet: false },
] as const
const RULES = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp --dport 81 -j DNAT --to-destination :8081
-A POSTROUTING -p tcp --dport 8000:8999 -j MASQUERADE
-A POSTROUTING -p udp --dport 8000:8999 -j MASQUERADE
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A FORWARD -p tcp --tcp-flags SYN SYN -j TCPMSS --set-mss 500
-A FORWARD -p udp --dport 9000 -j TOS --set-tos 0x10/0xff
COMMIT
`

interface Input {
  readonly header: Uint8Array
  readonly frame: Uint8Array
}

const GSO = { none: 0, tcp4: 1, tcp6: 4, udp: 5 }

function header(o: {
  gso: number
  headerLength: number
  size: number
  start: number
  offset: number
}): Uint8Array {
  const bytes = new Uint8Array(VNET_HEADER_LEN)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, 1)
  view.setUint8(1, o.gso)
  view.setUint16(2, o.gso === GSO.none ? 0 : o.headerLength, true)
  view.setUint16(4, o.size, true)
  view.setUint16(6, o.start, true)
  view.setUint16(8, o.offset, true)
  return bytes
}

/** A frame whose checksum is the pseudo header's sum, as a stack leaves it to its device. */
function draw(random: SeededRandom): Input {
  const below = (n: number): number => random.u32() % n
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!
  const six = below(2) === 0
  const way = pick(WAYS)
  const isTcp = below(3) > 0
  const big = below(3) > 0
  const [src, dst] = six
    ? [`2001:db8::${(2 + below(9)).toString(16)}`, `2001:db8:${way.net}::9`]
    : [`10.0.0.${2 + below(9)}`, `10.${way.net}.0.9`]
  const common = {
    src,
    dst,
    ttl: pick([2, 64, 255]),
    tos: pick([0, 0, 2, 0x48]),
    id: below(65536),
    df: below(2) === 0,
    sport: 1024 + below(60000),
    dport: pick([81, 8080, 8443, 9000, 9001]),
    payload: big ? 1 + below(pick([600, 3000, 40000])) : below(1300),
  }
  const frame = isTcp
    ? tcp({
        ...common,
        seq: random.u32(),
        ack: random.u32(),
        flags: pick(['A', 'PA', 'FA', 'S', 0x90, 0x98, 0x99, 0xd0]),
        window: below(65536),
        ...(below(2) === 0 && { tcpOptions: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8] }),
      })
    : udp(common)
  const view = new DataView(frame.buffer, frame.byteOffset)
  const l4 = six ? 40 : 20
  const offset = isTcp ? 16 : 6
  view.setUint16(l4 + offset, 0)
  const pseudo = sumView(view, six ? 8 : 12, six ? 40 : 20, (isTcp ? 6 : 17) + frame.length - l4)
  view.setUint16(l4 + offset, fold(pseudo))
  const transport = isTcp ? (frame[l4 + 12]! >> 4) * 4 : 8
  // UDP_MAX_SEGMENTS: the kernel takes no more than 128 datagrams.
  const size = Math.max(pick([100, 536, 540, 1000, 1400, 1440]), isTcp ? 0 : Math.ceil(frame.length / 100))
  const isGso = frame.length - l4 - transport > size
  const ecn = isTcp && (frame[l4 + 13]! & 0x80) !== 0 ? 0x80 : 0
  const gso = !isGso ? GSO.none : isTcp ? (six ? GSO.tcp6 : GSO.tcp4) | ecn : GSO.udp
  return {
    frame,
    header: header({ gso, headerLength: l4 + transport, size: isGso ? size : 0, start: l4, offset }),
  }
}

/** What came out, by device: a header where the device has one, and the frame. */
type Output = readonly string[]

class Kernel {
  readonly #io = native()
  readonly #memory = new Uint8Array(new SharedArrayBuffer(70_000 * 64))
  readonly #offsets = new Int32Array(64)
  readonly #lengths = new Int32Array(64)
  readonly #headers = new Uint16Array(64 * VNET_HEADER_WORDS)
  readonly #fds: { readonly name: string; readonly fd: number; readonly vnet: boolean }[] = []
  #in = -1

  constructor() {
    const path = `/run/netns/${NS}`
    const ip = (...argv: string[]): void => {
      execFileSync('ip', ['-n', NS, ...argv])
    }
    execFileSync('ip', ['netns', 'add', NS])
    const exec = (input: string, ...argv: string[]): void => {
      execFileSync('ip', ['netns', 'exec', NS, ...argv], { input })
    }
    exec(
      '',
      'sysctl',
      '-qw',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv6.conf.default.addr_gen_mode=1',
      'net.ipv6.conf.default.router_solicitations=0',
      'net.ipv4.conf.default.rp_filter=0',
      'net.ipv4.conf.all.rp_filter=0',
    )
    this.#in = this.#io.openTun('a', path, IFF_VNET_HDR)
    this.#io.setOffload(this.#in, VNET_HEADER_LEN, 0)
    const up = (name: string, net: number, mtu: number): void => {
      ip('link', 'set', 'dev', name, 'mtu', String(mtu), 'up')
      ip('addr', 'add', `10.${net}.0.1/16`, 'dev', name)
      if (mtu >= 1280) ip('addr', 'add', `2001:db8:${net}::1/48`, 'dev', name)
    }
    up('a', 0, 1500)
    for (const { name, net, mtu, vnet } of WAYS) {
      const fd = this.#io.openTun(name, path, vnet ? IFF_VNET_HDR : 0)
      if (vnet) this.#io.setOffload(fd, VNET_HEADER_LEN, OFFLOADS)
      this.#fds.push({ name, fd, vnet })
      up(name, net, mtu)
    }
    exec(
      '',
      'sysctl',
      '-qw',
      'net.ipv4.ip_forward=1',
      'net.ipv6.conf.all.forwarding=1',
      'net.ipv4.icmp_ratelimit=0',
      'net.ipv6.icmp.ratelimit=0',
    )
    exec(RULES, 'iptables-legacy-restore')
    exec(RULES, 'ip6tables-legacy-restore')
    this.#fds.push({ name: 'a', fd: this.#in, vnet: true })
    this.run(null)
  }

  run(input: Input | null): Output {
    if (input !== null) {
      this.#memory.set(input.header, 0)
      this.#memory.set(input.frame, VNET_HEADER_LEN)
      this.#offsets[0] = 0
      this.#lengths[0] = VNET_HEADER_LEN + input.frame.length
      const tx = this.#io.createWriter(this.#memory, this.#offsets, this.#lengths, new Uint32Array(64))
      expect(this.#io.writeBatch(tx, this.#in, 0, 1)).toBe(1)
      expect(this.#lengths[0]).toBeGreaterThan(0)
    }
    const out: string[] = []
    for (const { name, fd, vnet } of this.#fds) {
      const rx = this.#io.createReader(
        this.#memory,
        this.#offsets,
        this.#lengths,
        new Uint32Array(64),
        vnet ? this.#headers : null,
      )
      for (;;) {
        for (let i = 0; i < 64; i++) this.#offsets[i] = i * 70_000
        const count = this.#io.readBatch(rx, fd, 0, 64, 65_600)
        if (count <= 0) break
        for (let i = 0; i < count; i++) {
          const frame = this.#memory.slice(i * 70_000, i * 70_000 + this.#lengths[i]!)
          // What the kernel says of itself (MLD) is no answer.
          if (frame[0]! >> 4 === 6 && frame[24] === 0xff) continue
          const words = vnet ? this.#headers.slice(i * VNET_HEADER_WORDS, (i + 1) * VNET_HEADER_WORDS) : null
          out.push(shown(name, words === null ? null : new Uint8Array(words.buffer), frame))
        }
      }
    }
    return out
  }

  close(): void {
    for (const { fd } of this.#fds) this.#io.close(fd)
    execFileSync('ip', ['netns', 'del', NS])
  }
}

/** The header's length field is a hint, which each stack fills in its own way. */
function shown(name: string, header: Uint8Array | null, frame: Uint8Array): string {
  let head = ''
  if (header !== null) {
    const copy = header.slice()
    copy.fill(0, 2, 4)
    // DATA_VALID is what the kernel says of what it made itself.
    if (copy[0] === 2) copy[0] = 0
    head = `${toHex(copy)} `
  }
  const bytes = frame.slice()
  // The identification of what a router makes is its own.
  if (bytes[0]! >> 4 === 4 && bytes[9] === 1) {
    bytes.fill(0, 4, 6)
    bytes.fill(0, 10, 12)
  }
  // So is its flow label.
  if (bytes[0]! >> 4 === 6 && bytes[6] === 58) {
    bytes[1]! &= 0xf0
    bytes.fill(0, 2, 4)
  }
  return `${name} ${head}${toHex(bytes)}`
}

class Ours {
  readonly engine: Engine
  readonly #memory = new FrameMemory(256, 65_535)
  readonly #out: string[] = []

  constructor() {
    const dir = mkdtempSync(join(tmpdir(), 'tunwall-offload-'))
    try {
      const interfaces = [{ name: 'a', net: 0, mtu: 1500, vnet: true }, ...WAYS].map(
        ({ name, net, mtu }) =>
          `  ${name}: { mtu: ${mtu}, addresses: [10.${net}.0.1/16${mtu >= 1280 ? `, "2001:db8:${net}::1/48"` : ''}] }`,
      )
      writeFileSync(
        join(dir, 'host.yaml'),
        `interfaces:\n${interfaces.join('\n')}\nsysctls: { net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1, net.ipv4.icmp_ratelimit: 0, net.ipv6.icmp.ratelimit: 0 }\n`,
      )
      writeFileSync(join(dir, 'iptables-save'), RULES)
      writeFileSync(join(dir, 'ip6tables-save'), RULES)
      const memory = this.#memory
      const egress = {
        send: (dev: number, off: number, len: number, slot: number, offloaded?: boolean) => {
          const { name } = this.engine.host.devices.byIndex[dev]!
          const has = name === 'vnet' || name === 'a'
          const header = offloaded
            ? memory.bytes.slice(off - VNET_HEADER_LEN, off)
            : new Uint8Array(VNET_HEADER_LEN)
          this.#out.push(shown(name, has ? header : null, memory.bytes.slice(off, off + len)))
          if (slot >= 0) memory.give(slot)
        },
        flush: () => {},
      }
      this.engine = createEngine(loadHostFolder(dir), { memory, egress, random: new SeededRandom(1) })
      this.engine.host.now = 1e6
      this.engine.host.devices.byName('vnet')!.offloads = OFFLOADS
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  }

  run(input: Input): Output {
    const { host } = this.engine
    const memory = this.#memory
    const free = memory.free
    this.#out.length = 0
    // No limit of ICMP is reached.
    host.now += 100
    const pkt = new Packet()
    pkt.slot = memory.take()
    pkt.limit = pkt.slot + memory.stride
    pkt.l3 = pkt.slot + HEADROOM
    pkt.end = pkt.l3 + input.frame.length
    memory.bytes.set(input.frame, pkt.l3)
    const words = new Uint16Array(input.header.slice().buffer)
    expect(takeOffload(pkt, words, 0)).toBe(true)
    host.path.receive(pkt, host.devices.byName('a')!)
    expect(memory.free).toBe(free)
    return [...this.#out]
  }
}

let kernel: Kernel
beforeAll(() => {
  if (why === null) kernel = new Kernel()
})
afterAll(() => {
  kernel?.close()
})

test.skipIf(why !== null)(`superframes as the kernel cuts and passes them; seed ${SEED}`, () => {
  const random = new SeededRandom(SEED)
  const ours = new Ours()
  let segments = 0
  for (let n = 0; n < FRAMES; n++) {
    const input = draw(random)
    const expected = kernel.run(input)
    const got = ours.run(input)
    expect(got, `seed ${SEED}, frame ${n}: header ${toHex(input.header)}, ${decode(input.frame)}`).toEqual(
      expected,
    )
    segments += got.length
  }
  expect(segments).toBeGreaterThan(FRAMES)
})
