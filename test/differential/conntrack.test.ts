// conntrack of conntrack-tools 1.4.7 on the kernel against ours: the same frames through a namespace with two TUN
// devices and through the engine, then the same command lines; output, complaints and exit status.
//
//     frames ──> TUN lan ─ namespace ─ TUN wan      conntrack ARGV
//         └────> engine in memory                   conntrackTool.run(ARGV)

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
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
import { randomStep, updatesSeveral } from '../harness/conntrack-commands.ts'
import { icmp, SeededRandom, tcp, udp } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: conntrack is not compared with the real one: ${reason}`)

/** TUNWALL_SEED repeats a run, TUNWALL_LINES says how long it is. */
const SEED = Number(process.env.TUNWALL_SEED ?? 7)
const LINES = Number(process.env.TUNWALL_LINES ?? 200)

/** Lines of the tool, in the two sections of the file. */
const [EACH, CHANGES] = readFileSync(new URL('conntrack-lines.txt', import.meta.url), 'utf8')
  .split(/^## .*\n/m)
  .slice(1)
  .map((section) => section.trim().split('\n')) as [string[], string[]]

const NAMESPACE = `tw-ct-${process.pid}`
const RULES = `*mangle
-A PREROUTING -p udp -m udp --dport 53 -j CONNMARK --set-mark 0x7
-A PREROUTING -p udp -m conntrack --ctstate ESTABLISHED -m udp --dport 53 -m connlabel --label 3 --set
-A PREROUTING -p tcp -m connlabel --label 4 --set
COMMIT
*nat
-A PREROUTING -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80
-A POSTROUTING -o wan -p tcp -j SNAT --to-source 10.1.0.1
COMMIT
*raw
-A PREROUTING -p udp -m udp --dport 99 -j CT --zone 5
-A PREROUTING -p udp -m udp --dport 123 -j CT --ctevents reply,destroy
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

interface Answer {
  readonly stdout: string
  readonly stderr: string
  /** Null: a signal ended it. */
  readonly code: number | null
  readonly signal?: NodeJS.Signals | null
}

function real(argv: readonly string[], input = ''): Answer {
  const done = spawnSync('ip', ['netns', 'exec', NAMESPACE, ...argv], { encoding: 'utf8', input })
  return { stdout: done.stdout, stderr: done.stderr, code: done.status, signal: done.signal }
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

/** When refill() was last, ms. */
let filled = 0

/** Both sides see the frames anew, from an empty table. */
function refill(): void {
  filled = Date.now()
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
      .replace(/^((?:ipv[46] +\d+ )?\w+ +\d+) \d+ /, '$1 T ')
      .replace(/<id>\d+<\/id>/, '<id>X</id>')
      .replace(/<use>\d+<\/use>/, '<use>N</use>')
      .replace(/<timeout>\d+<\/timeout>/, '<timeout>T</timeout>')
      .replace(/^-([AUD]) -t \d+/, '-$1 -t T')
      .replace(/id=\d{4,}(?=\n|$| )/g, (id, at: number) => (at > line.length - 30 ? 'id=X' : id))
      .replace(/\[start=[^\]]*\]/, '[start]')
      .replace(/delta-time=\d+/, 'delta-time=X')
      .replace(/ use=\d+/, ' use=N'),
  )
  return {
    code: answer.code,
    stderr: answer.stderr,
    stdout: lines.sort(),
  }
}

function compare(words: string): void {
  const argv = words.split(' ').filter((word) => word !== '')
  const call = { tool: 'conntrack', directory: '/', argv, stdin: '' }
  expect(comparable(conntrackTool.run(call, engine)), words).toEqual(comparable(real(['conntrack', ...argv])))
}

/** Lines that follow upon each other, of protocols whose ports nobody tracks. */
const UNTRACKED = `
-I -s 10.0.0.2 -d 10.1.0.2 -p dccp --sport 5 --dport 1 --state OPEN --role client -t 500
-L -p dccp --dport 7
-D -p dccp --dport 7
-L -p dccp --dport 0
-L -p dccp --orig-port-src 65536
-D -p dccp --reply-port-src 0
-U -p dccp --dport 7 -t 600
-U -p dccp --dport 7 -t 600 -f ipv4
-U -p dccp --reply-port-dst 7 -t 700 -f ipv4
-L -p dccp
-I -s 10.0.0.2 -d 10.1.0.2 -p udplite --sport 5 --dport 1 -t 500
-U -p udplite --dport 7 -t 600 -f ipv4
-U -p udplite --dport 1 -t 600 -f ipv4
${[
  'udplite --sport 5 --dport 6',
  'sctp --sport 5 --dport 6 --state CLOSED --orig-vtag 1 --reply-vtag 2',
  'gre --srckey 5 --dstkey 6',
  '99',
  'icmp --icmp-type 8 --icmp-code 0',
  'udp --sport 5 --dport 6',
  'tcp --sport 5 --dport 6 --state NONE',
]
  .flatMap((p) => [
    `-I -s 10.7.0.2 -d 10.0.0.7 -p ${p} -t 1000 -g 1.1.1.1:53 -n 2.2.2.2:54`,
    '-L -s 10.7.0.2',
    '-D -s 10.7.0.2',
  ])
  .join('\n')}
`
  .trim()
  .split('\n')

/** Commands that need much, with ever more of the options of each protocol. */
function* needs(): Generator<string> {
  const ports = ['orig', 'reply', 'mask', 'tuple'].flatMap((side) => [
    `--${side}-port-src 1`,
    `--${side}-port-dst 2`,
  ])
  const icmp = (name: string, type: number): string[] => [`--${name}-type ${type}`, `--${name}-code 0`]
  const options: readonly (readonly [string, readonly string[]])[] = [
    ['tcp', [...ports, '--state CLOSE']],
    ['udp', ports],
    ['udplite', ports],
    ['sctp', [...ports, '--state CLOSED', '--orig-vtag 1', '--reply-vtag 1']],
    ['dccp', [...ports, '--state OPEN', '--role client']],
    ['gre', ports.map((port) => port.replace('port', 'key'))],
    ['icmp', icmp('icmp', 8)],
    ['icmp', icmp('icmp', 1)],
    ['icmpv6', icmp('icmpv6', 128)],
    ['58', icmp('icmpv6', 8)],
    ['ipv6-icmp', []],
  ]
  for (const pair of ['1.1.1.1 2.2.2.2', 'fe::1 fe::2']) {
    const [a, b] = pair.split(' ') as [string, string]
    const mask = a === 'fe::1' ? 'ff::' : '255.0.0.0'
    const tuple = `--tuple-src ${a} --tuple-dst ${b} --mask-src ${mask} --mask-dst ${mask}`
    for (const [protocol, known] of a === 'fe::1' ? options.slice(5) : options)
      for (const command of [
        `-I -s ${a} -d ${b} -t 500`,
        `-A -s ${a} -d ${b} -t 500`,
        `-G -s ${a} -d ${b}`,
        `-G -r ${a} -q ${b}`,
        `-I expect -s ${a} -d ${b} ${tuple} -t 500`,
        `-D expect -s ${a} -d ${b}`,
        `-G expect -s ${a} -d ${b}`,
      ]) {
        for (let i = 0; i <= known.length; i++)
          yield `${command} -p ${protocol} ${known.slice(0, i).join(' ')}`
        // Expectations take no reply ports of most protocols.
        for (let i = 4; command.startsWith('-I expect') && i <= known.length; i++)
          yield `${command} -p ${protocol} ${[...known.slice(0, 2), ...known.slice(4, i)].join(' ')}`
      }
  }
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

  test.each(EACH)('%s', (words) => compare(words))

  test.each(CHANGES)('%s, then what is left', (words) => {
    refill()
    compare(words)
    compare('-L')
    compare('-C')
  })

  // The real tool numbers its requests by the second: where one passes between two lines, it takes the rest of an answer for
  // a protocol error.
  test('-R: what -o says holds for all lines, and the mark that was said last', { retry: 3 }, () => {
    const command = (words: string): string =>
      `-I -s 10.7.0.2 -d 10.0.0.7 -p udp --sport 5 --dport ${words}\n`
    const end = '-D -s 10.7.0.2 -o extended\n'
    for (const text of [
      `-D -p tcp -o labels\n-D -p udp -o xml\n`,
      `${command('6 -t 500')}${command('7 -t 500 -o xml')}-D -s 10.7.0.2 --dport 6 -p udp\n`,
      `${end}${end}-D -p udp -o save\n`,
      end,
      // And the mark of -U is that of the last line.
      '-U -f ipv4 -p icmp --icmp-id 77 -m 0\n-D -s 10.9.0.2\n',
      '-U -f ipv4 -p icmp --icmp-id 77 -m 5\n-D -m 9/15\n',
      '-U -f ipv4 -p icmp --icmp-id 77 -m 5/1\n-U -f ipv4 -p icmp --icmp-id 77 -m 0x60/0xf0\n',
      `-U -f ipv4 -p icmp --icmp-id 77 -m 5\n-A -s 10.7.0.2 -d 10.0.0.7 -p udp --sport 5 --dport 9 -t 500 -m 3\n`,
      '-U -p icmp --icmp-id 77 -m 5\n-D -s 10.9.0.2\n',
    ]) {
      refill()
      writeFileSync(join(root, 'commands'), text)
      compare(`-R ${join(root, 'commands')}`)
      compare('-L')
    }
  })

  test('what each protocol needs and refuses', () => {
    for (const words of needs()) compare(words)
    refill()
  })

  test('directions half said, zones of each direction', () => {
    const [orig, reply] = ['--sport 1 --dport 2', '--reply-port-src 1 --reply-port-dst 2']
    const base = `-I -s 1.1.1.1 -d 2.2.2.2 -p udp ${orig} -t 900`
    for (const addresses of [
      '-r 1.1.1.1 -q 2.2.2.2 -s 1.1.1.1',
      '-r 1.1.1.1 -q 2.2.2.2 -d 2.2.2.2',
      '-r 1.1.1.1 -q 2.2.2.2',
      '-s 1.1.1.1 -d 2.2.2.2 -q 3.3.3.3',
      '-s 1.1.1.1 -d 2.2.2.2 -r 3.3.3.3',
      '-s 1.1.1.1 -d 2.2.2.2',
    ])
      for (const ports of [`udp ${orig}`, `udp ${reply}`, `udp ${orig} ${reply}`, '99']) {
        real(['conntrack', '-F'])
        engine.conntrack.flush()
        const words = `${addresses} -p ${ports}`
        for (const line of [`-I ${words} -t 900`, `-A ${words} -t 900`, `-G ${words}`, '-L']) compare(line)
      }
    for (const first of ['', ' -w 5', ' --orig-zone 5', ' --reply-zone 5'])
      for (const second of ['', ' -w 5', ' --orig-zone 5', ' --reply-zone 5'])
        for (const made of [
          base,
          `-I -r 1.1.1.1 -q 2.2.2.2 -p udp ${reply} -t 900`,
          `-I -s 2.2.2.2 -d 1.1.1.1 -p udp --sport 2 --dport 1 -t 900`,
        ]) {
          real(['conntrack', '-F'])
          engine.conntrack.flush()
          for (const line of [base + first, made + second, '-L']) compare(line)
        }
    refill()
  })

  test('ports that are not tracked', () => {
    refill()
    for (const words of UNTRACKED) compare(words)
  })

  test(`random command lines, seed ${SEED}`, () => {
    const random = new SeededRandom(SEED)
    const differences: string[] = []
    /** What changed something since the tables were filled. */
    const said: string[] = []
    for (let i = 0; i < LINES && differences.length < 12; i++) {
      const before = filled
      // Before the shortest timeouts pass, however slow the machine.
      if (i % 100 === 0 || Date.now() - filled > 8000) refill()
      engine.host.now += 5
      const { words, input } = randomStep(random, join(root, 'commands'))
      const whole = `${words}${input === '' ? '' : ` <<< ${JSON.stringify(input)}`}`
      const lines = /^-(-?[IAUDFRL]|-(create|add|update|delete|flush|dump))/.test(words)
        ? [words, '-L -o save', '-L expect']
        : [words]
      for (const line of lines) {
        const file = line === words ? input : ''
        if (file !== '') writeFileSync(join(root, 'commands'), file)
        const difference = differs(line, file)
        if (difference === null) continue
        differences.push(`after\n${said.join('\n')}\nthen ${whole}\n${difference}`)
        refill()
        break
      }
      if (filled > before) said.length = 0
      if (lines.length > 1) said.push(whole)
    }
    expect(differences.join('\n\n')).toBe('')
  }, 600_000)

  test(`-E over random conversations, seed ${SEED}`, async () => {
    refill()
    real(['conntrack', '-F'])
    engine.conntrack.flush()
    const theirs: string[] = []
    const child = spawn('ip', ['netns', 'exec', NAMESPACE, 'conntrack', '-E', '-o', 'extended'])
    const ended = new Promise((resolve) => child.on('close', resolve))
    child.stdout.on('data', (chunk) => theirs.push(String(chunk)))
    const mine: string[] = []
    const call = { tool: 'conntrack', directory: '/', argv: ['-E', '-o', 'extended'], stdin: '' }
    try {
      await until(() => listens(NAMESPACE))
      const end = conntrackTool.follow!(call, engine, (out) => mine.push(out))!
      const random = new SeededRandom(SEED)
      // In less than the 2 s after which a UDP stream is assured, on either clock.
      for (let i = 0; i < Math.min(LINES, 800); i++) {
        const frame = randomFrame(random)
        engine.host.now += 1
        receive(frame)
        writeSync(kernelFds[frame.device], frame.bytes)
      }
      real(['conntrack', '-D', '-p', 'icmp'])
      conntrackTool.run({ ...call, argv: ['-D', '-p', 'icmp'] }, engine)
      const last = (): string[] => events(theirs)
      await until(() => last().length >= events(mine).length, 3000).catch(() => {})
      expect(last()).toEqual(events(mine))
      expect(end()).toMatchObject({ code: 0, stderr: expect.stringMatching(/ flow events have been shown/) })
    } finally {
      child.kill('SIGINT')
      await ended
    }
  }, 600_000)

  test('-S: a line of the same counters', () => {
    const names = (text: string): string[] =>
      [...(text.split('\n')[0] ?? '').matchAll(/(\w+)=/g)].map((m) => m[1]!)
    const ours = conntrackTool.run({ tool: 'conntrack', directory: '/', argv: ['-S'], stdin: '' }, engine)
    expect(names(ours.stdout)).toEqual(names(real(['conntrack', '-S']).stdout))
  })
})

/** One of a few conversations goes on, or goes wrong. */
function randomFrame(random: SeededRandom): Ingress {
  const pick = <T>(items: readonly T[]): T => items[random.u32() % items.length]!
  const port = 3000 + (random.u32() % 6)
  const seq = pick([1, 2, 3, 100])
  const ack = pick([1, 2, 3, 10])
  switch (random.u32() % 8) {
    case 0:
      return lan(udp({ src: CLIENT, dst: SERVER, sport: port, dport: pick([53, 99, 123]), payload: 'q' }))
    case 1:
      return wan(udp({ src: SERVER, dst: CLIENT, sport: pick([53, 123]), dport: port, payload: 'a' }))
    case 2:
      return lan(icmp({ src: CLIENT, dst: SERVER, echoId: port, seq: 1 }))
    case 3:
      return wan(icmp({ src: SERVER, dst: CLIENT, type: 0, echoId: port, seq: 1 }))
    case 4:
    case 5:
      return lan(
        tcp({
          src: CLIENT,
          dst: SERVER,
          sport: port,
          dport: 80,
          flags: pick(['S', 'A', 'A', 'FA', 'R']),
          seq,
          ack,
        }),
      )
    default:
      return wan(
        tcp({
          src: SERVER,
          dst: GATEWAY,
          sport: 80,
          dport: port,
          flags: pick(['SA', 'SA', 'A', 'FA', 'R']),
          seq,
          ack,
        }),
      )
  }
}

/** Whole lines, without what cannot agree: remaining times, the program's number, the order of one program's deeds. */
function events(chunks: readonly string[]): string[] {
  const lines = chunks
    .join('')
    .split('\n')
    .slice(0, -1)
    .map((line) =>
      line
        .replace(/( \w+ +\d+) \d+ (?=[A-Z]|src)/, '$1 T ')
        .replace(/ portid=\d+( progname=.*)?$/, ' portid'),
    )
  const byProgram = (line: string): boolean => line.includes('[USERSPACE]')
  return [...lines.filter((line) => !byProgram(line)), ...lines.filter(byProgram).sort()]
}

const listens = (namespace: string): boolean =>
  spawnSync('ip', ['netns', 'exec', namespace, 'cat', '/proc/net/netlink'], { encoding: 'utf8' })
    .stdout.split('\n')
    .some((line) => / 12 +\d+ +0000000[1-9a-f] /.test(line))

async function until(what: () => boolean, ms = 5000): Promise<void> {
  for (const end = Date.now() + ms; !what(); await new Promise((resolve) => setTimeout(resolve, 20)))
    if (Date.now() > end) throw new Error('it did not happen')
}

/** What the two say differently, line by line; null: nothing. `file`: what -R reads. */
function differs(words: string, file: string): string | null {
  const argv = words.split(' ').filter((word) => word !== '')
  // The entries shown hang on a random order.
  const unordered = updatesSeveral(file)
  const lines = (answer: Answer): string[] => answerLines(unordered ? { ...answer, stdout: '' } : answer)
  const mine = lines(conntrackTool.run({ tool: 'conntrack', directory: '/', argv, stdin: '' }, engine))
  const answer = real(['conntrack', ...argv])
  // The real tool takes --id for an option without a value, reads one, and crashes: no answer to compare with.
  if (answer.signal === 'SIGSEGV' && /(^|\s)--id?\b/m.test(`${words} ${file}`)) {
    refill()
    return null
  }
  const theirs = lines(answer)
  const only = (a: readonly string[], b: readonly string[]): string[] => a.filter((line) => !b.includes(line))
  const differences = [
    ...only(theirs, mine).map((line) => `  kernel: ${line}`),
    ...only(mine, theirs).map((line) => `  ours:   ${line}`),
  ]
  return differences.length === 0 && mine.length === theirs.length
    ? null
    : `${words}\n${differences.join('\n')}`
}

function answerLines(answer: Answer): string[] {
  const { code, stderr, stdout } = comparable(answer)
  // The real tool reads answers to earlier questions from the second entry that it updates on, so that what it counts
  // and shows hangs on the order of a random hash. What it did is compared all the same, by the listing that follows.
  if (/ ([2-9]|\d\d+) flow entries have been updated/.test(stderr)) return [`exit ${code}, some were updated`]
  // Which of them it complains of, too: of one in a zone only as the first. A status that none may have, or a state of a
  // protocol whose tags are not said, ends it with the first in no zone, whichever that is.
  const refused = /Operation failed: (Device or resource busy|invalid parameters)/.test(stderr)
  const updated = refused || / flow entries have been updated/.test(stderr)
  const complaints = stderr
    .split('\n')
    .filter((line) => !(updated && line === 'Operation failed: No such file or directory'))
  // Other processors count for themselves.
  const lines = refused ? [] : stdout.filter((line) => !line.startsWith('cpu=1'))
  return [`exit ${code}`, ...complaints.map((line) => `! ${line}`), ...lines]
}
