// conntrack of conntrack-tools 1.4.7 on the kernel against ours: the same frames through a namespace with two TUN
// devices and through the engine, then the same command lines; output, complaints and exit status.
//
//     frames ──> TUN lan ─ namespace ─ TUN wan      conntrack ARGV
//         └────> engine in memory                   conntrackTool.run(ARGV)

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { conntrackTool } from '../../daemon/cli/conntrack.ts'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { native } from '../../datapath/native/index.ts'
import { Packet } from '../../datapath/packet.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { writeFolder } from '../harness/capture.ts'
import { icmp, SeededRandom, tcp, udp } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: conntrack is not compared with the real one: ${reason}`)

const NAMESPACE = `tw-ct-${process.pid}`
const RULES = `*mangle
-A PREROUTING -p udp -m udp --dport 53 -j CONNMARK --set-mark 0x7
COMMIT
*nat
-A PREROUTING -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80
-A POSTROUTING -o wan -p tcp -j SNAT --to-source 10.1.0.1
COMMIT
*raw
-A PREROUTING -p udp -m udp --dport 99 -j CT --zone 5
COMMIT
`
const SYSCTLS = ['net.ipv4.ip_forward=1', 'net.netfilter.nf_conntrack_acct=1']

interface Ingress {
  readonly device: 'lan' | 'wan'
  readonly bytes: Uint8Array
}

const [CLIENT, SERVER, GATEWAY] = ['10.0.0.2', '10.1.0.2', '10.1.0.1']
const lan = (bytes: Uint8Array): Ingress => ({ device: 'lan', bytes })
const wan = (bytes: Uint8Array): Ingress => ({ device: 'wan', bytes })

const FRAMES: readonly Ingress[] = [
  lan(tcp({ src: CLIENT, dst: SERVER, sport: 1000, dport: 80, flags: 'S', seq: 1 })),
  wan(tcp({ src: SERVER, dst: GATEWAY, sport: 80, dport: 1000, flags: 'SA', seq: 9, ack: 2 })),
  lan(tcp({ src: CLIENT, dst: SERVER, sport: 1000, dport: 80, flags: 'A', seq: 2, ack: 10 })),
  lan(tcp({ src: CLIENT, dst: SERVER, sport: 1001, dport: 443, flags: 'S', seq: 1 })),
  wan(tcp({ src: SERVER, dst: GATEWAY, sport: 5000, dport: 8080, flags: 'S', seq: 1 })),
  lan(udp({ src: CLIENT, dst: SERVER, sport: 2000, dport: 53, payload: 'q' })),
  wan(udp({ src: SERVER, dst: CLIENT, sport: 53, dport: 2000, payload: 'a' })),
  lan(udp({ src: CLIENT, dst: '10.1.0.9', sport: 2001, dport: 99, payload: 'q' })),
  lan(udp({ src: '10.0.0.7', dst: SERVER, sport: 2002, dport: 123 })),
  lan(icmp({ src: CLIENT, dst: SERVER, echoId: 77, seq: 1 })),
  wan(icmp({ src: SERVER, dst: CLIENT, type: 0, echoId: 77, seq: 1 })),
  lan(icmp({ src: '10.0.0.7', dst: SERVER, echoId: 78, seq: 1 })),
]

let engine: Engine
let receive: (frame: Ingress) => void
let kernelFds: Readonly<Record<'lan' | 'wan', number>>
const root = reason === null ? mkdtempSync(join(tmpdir(), 'tunwall-conntrack-')) : ''

function real(argv: readonly string[], input = ''): { stdout: string; stderr: string; code: number | null } {
  const done = spawnSync('ip', ['netns', 'exec', NAMESPACE, ...argv], { encoding: 'utf8', input })
  return { stdout: done.stdout, stderr: done.stderr, code: done.status }
}

function must(command: string): void {
  const done = spawnSync('sh', ['-ec', command], { encoding: 'utf8' })
  if (done.status !== 0) throw new Error(`${command}: ${done.stderr}`)
}

function startKernel(): void {
  must(`ip netns add ${NAMESPACE}`)
  const open = (name: string): number => native().openTun(name, `/run/netns/${NAMESPACE}`, 0)
  kernelFds = { lan: open('lan'), wan: open('wan') }
  must(`ip netns exec ${NAMESPACE} sysctl -qw ${SYSCTLS.join(' ')} net.ipv6.conf.all.disable_ipv6=1
    ip -n ${NAMESPACE} link set lo up
    ip -n ${NAMESPACE} addr add 10.0.0.1/24 dev lan; ip -n ${NAMESPACE} link set lan up
    ip -n ${NAMESPACE} addr add 10.1.0.1/24 dev wan; ip -n ${NAMESPACE} link set wan up`)
  expect(real(['iptables-legacy-restore'], RULES)).toMatchObject({ code: 0 })
}

function startEngine(): void {
  const yaml = `interfaces:\n  lan: {addresses: [10.0.0.1/24]}\n  wan: {addresses: [10.1.0.1/24]}\nsysctls:\n${SYSCTLS.map((s) => `  ${s.replace('=', ': ')}\n`).join('')}`
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
}

/** Both sides see the frames anew, from an empty table. */
function refill(): void {
  real(['conntrack', '-F'])
  engine.conntrack.flush()
  for (const frame of FRAMES) {
    engine.host.now += 1
    receive(frame)
    writeSync(kernelFds[frame.device], frame.bytes)
  }
}

/** Entries come in the order of a hash with a random key; time passes; identities are drawn. */
function comparable(answer: { stdout: string; stderr: string; code: number | null }) {
  const lines = answer.stdout.split('\n').map((line) =>
    line
      .replace(/^((?:ipv4 +\d+ )?\w+ +\d+) \d+ /, '$1 T ')
      .replace(/id=\d{4,}(?=\n|$| )/g, (id, at: number) => (at > line.length - 30 ? 'id=X' : id))
      .replace(/\[start=[^\]]*\]/, '[start]')
      .replace(/delta-time=\d+/, 'delta-time=X')
      .replace(/ use=\d+/, ' use=N'),
  )
  return { code: answer.code, stderr: answer.stderr, stdout: lines.sort() }
}

function compare(words: string): void {
  const argv = words.split(' ').filter((word) => word !== '')
  const call = { tool: 'conntrack', directory: '/', argv, stdin: '' }
  expect(comparable(conntrackTool.run(call, engine)), words).toEqual(comparable(real(['conntrack', ...argv])))
}

describe.skipIf(reason !== null)('conntrack answers as conntrack-tools', () => {
  beforeAll(() => {
    startEngine()
    startKernel()
    refill()
  })
  afterAll(() => {
    if (kernelFds !== undefined) for (const fd of Object.values(kernelFds)) native().close(fd)
    spawnSync('ip', ['netns', 'del', NAMESPACE])
    rmSync(root, { recursive: true, force: true })
  })

  test.each(lists())('%s', (words) => compare(words))

  test.each(changes())('%s, then what is left', (words) => {
    refill()
    compare(words)
    compare('-L')
    compare('-C')
  })

  test('-S: a line of the same counters', () => {
    const names = (text: string): string[] =>
      [...(text.split('\n')[0] ?? '').matchAll(/(\w+)=/g)].map((m) => m[1]!)
    const ours = conntrackTool.run({ tool: 'conntrack', directory: '/', argv: ['-S'], stdin: '' }, engine)
    expect(names(ours.stdout)).toEqual(names(real(['conntrack', '-S']).stdout))
  })
})

function lists(): string[] {
  return `
-L
-L conntrack
-L -o extended
-L -o id
-L -o extended,id
-L -o ktimestamp
-L -o userspace
-L -o nope
-L -p tcp
-L -p TCP
-L -p 6
-L -p udp --dport 53
-L -p udp --sport 2000 --dport 53
-L -p udp --orig-port-src 2000
-L -p tcp --reply-port-dst 1000
-L -p tcp --reply-port-src 80
-L -p tcp --state ESTABLISHED
-L -p tcp --state SYN_SENT
-L -p tcp --state NOPE
-L -p icmp
-L -p icmp --icmp-id 77
-L -p icmp --icmp-type 8
-L -p icmp --icmp-code 0
-L -p icmp --icmp-id 78 --icmp-type 8 --icmp-code 0
-L -p 47
-L -p gre
-L -p sctp
-L -p 300
-L -p nope
-L -s 10.0.0.2
-L -s 10.0.0.0/24
-L -s 10.0.0.0/29
-L --src 10.0.0.7 -d 10.1.0.2
-L --orig-src=10.0.0.7
-L -s 10.0.0.0 --mask-src 255.255.255.0
-L -d 10.1.0.0 --mask-dst 255.255.255.0
-L -d 10.1.0.2
-L -r 10.1.0.2
-L -q 10.1.0.1
-L --reply-src 10.0.0.2
-L --reply-dst 10.1.0.2
-L -s nope
-L -s 10.0.0.0/33
-L -s 1.2.3
-L -f ipv4
-L -f ipv6
-L -f nope
-L -s ::1
-L -m 7
-L -m 0x7
-L -m 7/1
-L -m 1/1
-L -m 0
-L -m x
-L -n
-L -g
-L -j
-L -n 10.1.0.1
-L --src-nat 1.1.1.1
-L --dst-nat 10.0.0.2
-L -g 10.1.0.1
-L --any-nat 10.1.0.1
-L --any-nat=10.0.0.2
-L -u ASSURED
-L -u SEEN_REPLY
-L -u SEEN_REPLY,ASSURED
-L -u UNSET
-L -u CONFIRMED
-L -u SNAT
-L -u nope
-L -w 5
-L -w 0
-L --zone 5
-L --orig-zone 5
-L --reply-zone 5
-L -w 70000
-L -w x
-L expect
-L dying
-L unconfirmed
-L nope
-C
-C conntrack
-C expect
-C -p tcp
-G
-G -p udp
-G -p udp -s 10.0.0.2 -d 10.1.0.2 --sport 2000 --dport 53
-G -p udp -s 10.0.0.2 -d 10.1.0.2 --sport 2000 --dport 54
-G -s 10.0.0.2 -d 10.1.0.2 -p tcp --sport 1000 --dport 80
-G -p tcp -r 10.1.0.2 -q 10.1.0.1 --reply-port-src 80 --reply-port-dst 1000
-V
--version
-L -C
-L -L
-L -p tcp -p udp
-L -s 1.1.1.1 -s 1.1.1.2
-L --nope
-L -Z
-L -s
-L -p
-L extra words
-L --dport 53
-L -p icmp --dport 53
-L -p tcp --dport
-L -p tcp --dport x
-L -p tcp --dport 70000
-L -p tcp --sp 1000
-L -p tcp --state
--dump
--list
-p tcp
nope
-L -e NEW
-F -s 1.1.1.1
-S -p tcp
-D -e NEW
-V -L
-L -t 5
-C -o extended
-G -o extended -p udp -s 10.0.0.2 -d 10.1.0.2 --sport 2000 --dport 53
-L -b 100000
-D expect
-G expect
-S nope
-C nope
-F nope
-D nope
`
    .trim()
    .split('\n')
}

function changes(): string[] {
  return `
-D
-D -p tcp
-D -p udp --dport 53
-D -s 10.0.0.2
-D -s 10.0.0.2 -o extended
-D -s 9.9.9.9
-D -p icmp --icmp-id 77
-D -g
-D -n
-D -m 7
-D -w 5
-D -f ipv6
-D -r 10.1.0.2
-D -u ASSURED
-D conntrack -p tcp --state ESTABLISHED
-F
-F conntrack
-F expect
-F -f ipv4
-F -f ipv6
-L -z
-L -p tcp -z
`
    .trim()
    .split('\n')
}
