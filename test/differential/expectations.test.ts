// Expectations with the conntrack tool of conntrack-tools 1.4.7 and with ours: the same masters in a namespace and in an
// engine, then the same command lines, and what `-E expect` tells meanwhile.
//
//     frames ──> TUN lan ─ namespace ─ TUN wan      conntrack ARGV
//         └────> engine in memory                   conntrackTool.run(ARGV)

import { spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { conntrackTool } from '../../daemon/cli/conntrack.ts'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { Reason } from '../../datapath/counters.ts'
import { native } from '../../datapath/native/index.ts'
import { Packet } from '../../datapath/packet.ts'
import { parse } from '../../datapath/parse.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { writeFolder } from '../harness/capture.ts'
import { SeededRandom, tcp, udp } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: expectations are not compared with the real ones: ${reason}`)

const NAMESPACE = `tw-exp-${process.pid}`
const RULES = `*raw
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
-A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp
-A PREROUTING -p udp -m udp --dport 5060 -j CT --helper sip
-A OUTPUT -p udp -m udp --dport 137 -j CT --helper netbios-ns
-A OUTPUT -p udp -m udp --dport 161 -j CT --helper snmp
COMMIT
*nat
-A POSTROUTING -o wan -p tcp -j SNAT --to-source 10.1.0.1
COMMIT
`
const root = reason === null ? mkdtempSync(join(tmpdir(), 'tunwall-expect-')) : ''

interface Ingress {
  readonly device: 'lan' | 'wan'
  readonly bytes: Uint8Array
}
const [CLIENT, SERVER, GATEWAY] = ['10.0.0.2', '10.1.0.2', '10.1.0.1']
const lan = (bytes: Uint8Array): Ingress => ({ device: 'lan', bytes })
const wan = (bytes: Uint8Array): Ingress => ({ device: 'wan', bytes })
const control = { src: CLIENT, dst: SERVER, sport: 1000, dport: 21 }

/** A master with an active connection announced, one of TFTP, one of SIP with media. */
const MASTERS: readonly Ingress[] = [
  lan(tcp({ ...control, flags: 'S', seq: 1 })),
  wan(tcp({ src: SERVER, dst: GATEWAY, sport: 21, dport: 1000, flags: 'SA', seq: 9, ack: 2 })),
  lan(tcp({ ...control, flags: 'A', seq: 2, ack: 10 })),
  lan(tcp({ ...control, flags: 'PA', seq: 2, ack: 10, payload: 'USER a\r\n' })),
  lan(tcp({ ...control, flags: 'PA', seq: 10, ack: 10, payload: 'PORT 10,0,0,2,19,136\r\n' })),
  lan(udp({ src: CLIENT, dst: SERVER, sport: 2000, dport: 69, payload: [0, 1, 97, 0, 98, 0] })),
  lan(
    udp({
      src: CLIENT,
      dst: SERVER,
      sport: 5060,
      dport: 5060,
      payload: `INVITE sip:b@${SERVER} SIP/2.0\r\nVia: SIP/2.0/UDP ${CLIENT}:5060\r\nCSeq: 1 INVITE\r\nContent-Length: 60\r\n\r\nv=0\r\no=a 1 1 IN IP4 ${CLIENT}\r\nc=IN IP4 ${CLIENT}\r\nm=audio 4000 RTP/AVP 0\r\n`,
    }),
  ),
  lan(
    udp({
      src: CLIENT,
      dst: SERVER,
      sport: 5060,
      dport: 5060,
      payload: `REGISTER sip:${SERVER} SIP/2.0\r\nVia: SIP/2.0/UDP ${CLIENT}:5060\r\nCSeq: 2 REGISTER\r\nContact: <sip:a@${CLIENT}:5062>;expires=60\r\n\r\n`,
    }),
  ),
]
/** What was announced comes. */
const DATA = wan(tcp({ src: SERVER, dst: GATEWAY, sport: 20, dport: 5000, flags: 'S', seq: 5 }))

const LINES = [
  '-L expect',
  '-L expect -f ipv4',
  '-L expect -f ipv6',
  '-L expect -o extended',
  '-L expect -n',
  '-C expect',
  '-L -o extended',
  '-L -p tcp',
  '-G expect',
  `-G expect -s ${CLIENT} -d ${SERVER} -p tcp --sport 1000 --dport 21`,
  `-G expect -s ${SERVER} -d ${GATEWAY} -p tcp --dport 5000`,
  `-D expect -s ${SERVER} -d ${GATEWAY} -p tcp --sport 0 --dport 5000`,
  `-D expect -s ${SERVER} -d ${CLIENT} -p udp --dport 4001`,
  `-D expect -s ${SERVER} -d ${CLIENT} -p udp --dport 9`,
  '-L expect',
  `-I expect -s ${CLIENT} -d ${SERVER} -p tcp --sport 1000 --dport 21 --tuple-src ${SERVER} --tuple-dst ${GATEWAY} --tuple-sport 0 --tuple-dport 77 --mask-src 255.255.255.255 --mask-dst 255.255.255.255 -t 50`,
  `-I expect -s ${CLIENT} -d ${SERVER} -t 50`,
  '-D expect',
  '-L expect',
  '-F expect',
  '-L expect',
  '-C expect',
  '-S expect -x',
]

let engine: Engine
let receive: (frame: Ingress) => void
/** What a process of the host sends. */
let sendFrom: (bytes: Uint8Array) => void
let fds: Readonly<Record<'lan' | 'wan', number>>

function real(argv: readonly string[], input = '') {
  const done = spawnSync('ip', ['netns', 'exec', NAMESPACE, ...argv], { encoding: 'utf8', input })
  return { stdout: done.stdout, stderr: done.stderr, code: done.status }
}

function startKernel(): void {
  spawnSync('ip', ['netns', 'add', NAMESPACE])
  const open = (name: string): number => native().openTun(name, `/run/netns/${NAMESPACE}`, 0)
  fds = { lan: open('lan'), wan: open('wan') }
  const script = `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1
    ip link set lo up; ip addr add 10.0.0.1/24 brd + dev lan; ip link set lan up
    ip addr add 10.1.0.1/24 dev wan; ip link set wan up; iptables-legacy-restore`
  expect(real(['sh', '-ec', script], RULES)).toMatchObject({ code: 0, stderr: '' })
}

function startEngine(): void {
  const yaml = `interfaces:\n  lan: {addresses: [10.0.0.1/24 brd +]}\n  wan: {addresses: [10.1.0.1/24]}\nsysctls: {net.ipv4.ip_forward: 1}\n`
  const folder = writeFolder(join(root, 'host'), { 'host.yaml': yaml, 'iptables-save': RULES })
  const memory = new FrameMemory(64, 2048)
  const egress = new MemoryEgress(memory)
  engine = createEngine(loadHostFolder(folder), { memory, egress, random: new SeededRandom(1) })
  const pkt = new Packet()
  receive = ({ device, bytes }) => {
    const slot = memory.take()
    memory.bytes.set(bytes, slot + HEADROOM)
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + bytes.length
    engine.host.path.receive(pkt, engine.host.devices.byName(device)!)
    egress.take()
  }
  sendFrom = (bytes) => {
    const slot = memory.take()
    memory.bytes.set(bytes, slot + HEADROOM)
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + bytes.length
    expect(parse(pkt, engine.host)).toBe(Reason.None)
    pkt.local = true
    engine.host.path.sendLocal(pkt)
    egress.take()
  }
}

function send(frame: Ingress): void {
  receive(frame)
  writeSync(fds[frame.device], frame.bytes)
}

/** Times pass, uses are counted otherwise, the order is that of a hash. */
const comparable = (text: string): string[] =>
  text
    .split('\n')
    .map((line) =>
      line
        .replace(/^((?: *\[(?:NEW|DESTROY)\] )?)\d+ proto/, '$1T proto')
        .replace(/^((?:ipv4 +\d+ )?\w+ +\d+) \d+ /, '$1 T ')
        .replace(/ use=\d+/, ' use=N'),
    )
    .sort()

function compare(words: string): void {
  const argv = words.split(' ')
  const ours = conntrackTool.run({ tool: 'conntrack', directory: '/', argv, stdin: '' }, engine)
  const theirs = real(['conntrack', ...argv])
  expect({ ...ours, stdout: comparable(ours.stdout) }, words).toEqual({
    ...theirs,
    stdout: comparable(theirs.stdout),
  })
}

const listens = (): boolean =>
  real(['cat', '/proc/net/netlink'])
    .stdout.split('\n')
    .some((line) => /^\S+ 12 +\d+ +[0-9a-f]*[1-9a-f]/.test(line))

async function until(what: () => boolean, ms = 5000): Promise<void> {
  for (const end = Date.now() + ms; !what(); await new Promise((resolve) => setTimeout(resolve, 20)))
    if (Date.now() > end) throw new Error('it did not happen')
}

describe.skipIf(reason !== null)('expectations as conntrack-tools show them', () => {
  beforeAll(() => {
    startKernel()
    startEngine()
  })
  afterAll(() => {
    for (const fd of Object.values(fds)) closeSync(fd)
    spawnSync('ip', ['netns', 'del', NAMESPACE])
    rmSync(root, { recursive: true, force: true })
  })
  beforeEach(() => {
    real(['conntrack', '-F'])
    engine.conntrack.flush()
    for (const frame of MASTERS) send(frame)
  })

  test('command lines', () => {
    for (const words of LINES) compare(words)
  })

  test('one that came true is gone, and its connection has a master', () => {
    send(DATA)
    compare('-L expect')
    compare('-L -o extended')
    compare('-D -p tcp --dport 21')
    compare('-L expect')
  })

  test('a question to everybody on a network', () => {
    for (const [port, dst] of [
      [137, '10.0.0.255'],
      [161, '10.0.0.255'],
      [137, '10.1.0.2'],
    ] as const) {
      const script = `const s = require('dgram').createSocket('udp4'); s.bind(4000, '10.0.0.1', () => { s.setBroadcast(true); s.send('who?', ${port}, '${dst}', () => s.close()) })`
      expect(real([process.execPath, '-e', script])).toMatchObject({ code: 0, stderr: '' })
      sendFrom(udp({ src: '10.0.0.1', dst, sport: 4000, dport: port, payload: 'who?', df: true }))
    }
    const question = '-p udp -s 10.0.0.1'
    expect(real(['conntrack', '-L', 'expect']).stdout).toMatch(
      /mask-src=255\.255\.255\.0 .* PERMANENT .*helper=netbios-ns/,
    )
    compare('-L expect')
    compare(`-L ${question}`)
    for (const src of ['10.0.0.7', '10.0.0.8'])
      send(lan(udp({ src, dst: '10.0.0.1', sport: 137, dport: 4000, payload: 'me' })))
    compare('-L expect')
    compare('-L -p udp --dport 4000')
  })

  test('-E expect', async () => {
    real(['conntrack', '-F'])
    engine.conntrack.flush()
    let theirs = ''
    let mine = ''
    const child = spawn('ip', ['netns', 'exec', NAMESPACE, 'conntrack', '-E', 'expect'])
    const ended = new Promise((resolve) => child.on('close', resolve))
    child.stdout.on('data', (chunk) => {
      theirs += chunk
    })
    const call = { tool: 'conntrack', directory: '/', argv: ['-E', 'expect'], stdin: '' }
    try {
      await until(listens)
      const end = conntrackTool.follow!(call, engine, (out) => {
        mine += out
      })!
      for (const frame of [...MASTERS, DATA]) send(frame)
      for (const argv of [['-D', '-p', 'udp', '--dport', '69'], ['-F']]) {
        real(['conntrack', ...argv])
        conntrackTool.run({ ...call, argv }, engine)
      }
      await until(() => theirs.length >= mine.length, 3000).catch(() => {})
      expect(mine).toMatch(/\[NEW\][\s\S]*\[DESTROY\]/)
      expect(comparable(mine)).toEqual(comparable(theirs))
      expect(end()).toMatchObject({ code: 0 })
    } finally {
      child.kill('SIGINT')
      await ended
    }
  })
})
