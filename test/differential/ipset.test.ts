// ipset 7.17 on the kernel's sets and ours: random command lines, valid and not. Exit status, both outputs, what -file
// wrote and what `ipset save` prints behind every command are equal, but for what cannot be: memory, hash sizes, the
// hash's secret, the order of elements of a hash, and some seconds of timeouts.
//
//     TUNWALL_SEED       first seed; default: 310000
//     TUNWALL_RUNS       seeds, of 60 commands each; default 12

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runIpset } from '../../daemon/cli/ipset.ts'
import { Host } from '../../datapath/host.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { Sets } from '../../rules/sets/store.ts'
import { SeededRandom } from '../harness/frames.ts'
import { type IpsetStep, IpsetWords } from '../harness/generate-ipset.ts'
import { type IpsetAnswer, runRealIpset } from '../harness/ipset-kernel.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const RUNS = Number(process.env.TUNWALL_RUNS ?? 12)
const STEPS = 60
const SAVE: IpsetStep = { argv: ['save'], input: '' }

const reason = whyNoKernel()
const first = Number(process.env.TUNWALL_SEED ?? 310_000)
console.log(
  reason === null
    ? `random ipset commands: TUNWALL_SEED=${first} TUNWALL_RUNS=${RUNS}`
    : `NOT RUN: ipset is not compared with the kernel: ${reason}`,
)

/** What 7.17 prints behind a bitmask is the low byte of the random initval (docs/parity.md). */
const BEHIND_BITMASK = /(bitmask\S* ?[0-9a-f.:]+)\/(\d+)(?=(.*initval\S* ?0x[0-9a-f]{6}([0-9a-f]{2})))/g

/** What may differ, taken out; elements of one set in the order of their text, unless the order was asked for. */
function masked(text: string, ordered: boolean): string {
  const lines = text
    .replace(/hashsize \d+/g, 'hashsize N')
    .replace(/<hashsize>\d+/g, '<hashsize>N')
    .replace(BEHIND_BITMASK, (line, head: string, length: string, _, last: string) =>
      Number(length) === Number.parseInt(last, 16) ? head : line,
    )
    .replace(/initval 0x[0-9a-f]+/g, 'initval X')
    .replace(/<initval>0x[0-9a-f]+/g, '<initval>X')
    .replace(/Size in memory: \d+/g, 'Size in memory: N')
    .replace(/<memsize>\d+/g, '<memsize>N')
    // A second may pass between the two; 0 is for ever and must agree.
    .replace(/timeout [1-9]\d*/g, (found) => `timeout ${Math.ceil(Number(found.slice(8)) / 10)}0`)
    .replace(/<timeout>[1-9]\d*/g, (found) => `<timeout>${Math.ceil(Number(found.slice(9)) / 10)}0`)
    .split('\n')
  const out: string[] = []
  let run: string[] = []
  for (const line of lines) {
    if (!ordered && /^(add |<member>|[0-9a-f.:]+([/,-]| |$))/i.test(line)) {
      run.push(line)
      continue
    }
    out.push(...run.sort(), line)
    run = []
  }
  return [...out, ...run.sort()].join('\n')
}

const CARRIED = /^ipset v7\.17: Internal protocol error\n/gm

/** Bitmaps and lists have an order anyway. */
const ORDERED = /^--?s(orted)?$/

const maskedAnswer = ({ code, stdout, stderr, file }: IpsetAnswer, { argv }: IpsetStep): IpsetAnswer => {
  const ordered = argv.some((word) => ORDERED.test(word))
  return {
    code,
    stdout: masked(stdout, ordered),
    // `ipset -` sends the pieces of a failed command with the next, or at its end (docs/parity.md).
    stderr: argv.includes('-') ? stderr.replaceAll(CARRIED, '') : stderr,
    file: file === null ? null : masked(file, ordered),
  }
}

const BUFFER = 8192

/**
 * Elements that ends of 7.17's buffer cut are made whole: where less than 12 bytes are left of each 8 KiB, it prints no
 * port (`10.0.0.1,gre` for `10.0.0.1,gre:0`; ipset_print_port), and where less than 24 are, no interface.
 */
function made(real: string, ours: string): string {
  if (real.length < BUFFER / 2 || real === ours) return real
  const wholes = new Set(ours.split('\n'))
  for (const line of real.split('\n')) wholes.delete(line)
  const known = new Set(ours.split('\n'))
  let cuts = 1 + (2 * real.length) / BUFFER
  return real
    .split('\n')
    .map((line) => {
      if (known.has(line) || cuts < 1) return line
      for (const whole of wholes) {
        const more = whole.length - line.length
        const at = [...whole].findIndex((letter, i) => letter !== line[i])
        if (more <= 0 || more > 40 || at < 0 || !/[:,]/.test(whole[at]!)) continue
        if (whole.slice(0, at) + whole.slice(at + more) !== line) continue
        cuts--
        wholes.delete(whole)
        return whole
      }
      return line
    })
    .join('\n')
}

/** What -file left behind, which goes. */
function taken(file: string): string | null {
  try {
    const text = readFileSync(file, 'utf8')
    rmSync(file)
    return text
  } catch {
    return null
  }
}

const asBytes = (text: string): string => Buffer.from(text).toString('latin1')
const asText = (bytes: string): string => Buffer.from(bytes, 'latin1').toString()

/** Ours, whose strings are bytes, a character for each. */
function run({ argv, input }: IpsetStep, sets: Sets, directory: string): Omit<IpsetAnswer, 'file'> {
  const call = { argv: argv.map(asBytes), input: asBytes(input), directory }
  const { code, stdout, stderr } = runIpset(call, sets)
  return { code, stdout: asText(stdout), stderr: asText(stderr) }
}

/**
 * A random command. Not those that say -file in a line before the one that writes: 7.17 has lost the name by then, and
 * writes to whatever stands in its place (docs/parity.md).
 */
function drawn(words: IpsetWords): IpsetStep {
  for (;;) {
    const step = words.step()
    const lines = step.input.trimEnd().split('\n')
    if (!lines.slice(0, -1).some((line) => /(^|\s)--?f(ile)?(\s|$)/.test(line))) return step
  }
}

const quoted = ({ argv, input }: IpsetStep): string =>
  `ipset ${argv.map((word) => (/[ "']|^$/.test(word) ? `'${word}'` : word)).join(' ')}${input === '' ? '' : ` <<< ${JSON.stringify(input)}`}`

function freshHost(random: SeededRandom): Host {
  return new Host({
    memory: new FrameMemory(1, 2048),
    egress: { send: () => {}, flush: () => {} },
    random,
  })
}

const seeds = Array.from({ length: RUNS }, (_, i) => first + i)

test.skipIf(reason !== null).each(seeds)('ipset and the kernel, seed %i', { timeout: 60_000 }, (seed) => {
  const random = new SeededRandom(seed)
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-ipset-'))
  try {
    const sets = new Sets(freshHost(random))
    const words = new IpsetWords(
      random,
      (name) => sets.lookup(name)?.set.type.name ?? 'hash:ip',
      (name) => sets.lookup(name)?.set.family ?? 4,
    )
    const steps: IpsetStep[] = []
    const ours: IpsetAnswer[] = []
    for (let i = 0; i < STEPS; i++)
      for (const step of [drawn(words), SAVE]) {
        const answer = run(step, sets, directory)
        steps.push(step)
        ours.push({ ...answer, file: taken(join(directory, 'out')) })
      }
    const real = runRealIpset(steps, directory)
    for (const [i, answer] of real.entries()) {
      // 7.17 was killed by a signal: nothing to compare with.
      if (answer.code === null) continue
      const history = steps.slice(0, i + 1).filter((step) => step !== SAVE)
      const whole = { ...answer, stdout: made(answer.stdout, ours[i]!.stdout) }
      expect(maskedAnswer(ours[i]!, steps[i]!), `seed ${seed}\n${history.map(quoted).join('\n')}`).toEqual(
        maskedAnswer(whole, steps[i]!),
      )
    }
    const saved = real.at(-1)!.stdout
    // An empty name, or one with a space, is lost on the way through 7.17 too; elements that the kernel did not mask
    // are masked when they come back.
    if (/^create ((?!\S+ (hash|bitmap|list):)|.* (bit|net)mask )/m.test(saved)) return
    // What the kernel saved loads and prints back the same, line for line.
    const again = new Sets(freshHost(random))
    expect(run({ argv: ['restore'], input: saved }, again, directory)).toEqual({
      stdout: '',
      stderr: '',
      code: 0,
    })
    expect(run(SAVE, again, directory).stdout).toBe(saved)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

/** Lines that once differed, in sequence. */
const ONCE = `
create skb hash:ip skbinfo
add skb 1.1.1.1 skbprio 0x:10
add skb 1.1.1.2 skbprio 0x:0x
add skb 1.1.1.3 skbprio 0xg:5
add skb 1.1.1.4 skbprio 5:0xg
add skb 1.1.1.5 skbmark 0x/0x
list skb -s
destroy skb
create '' hash:ip
add '' 1.2.3.4
list -o xml
create b hash:net
list -o xml
list -t -o xml
list -n -o xml
list
save
rename '' c
list -o xml
destroy
create a1 hash:ip,port,net
add a1 10.0.0.1,tcp:80,10.0.0.0/20
create a2 hash:ip bitmask 255.255.0.0
save
list -o xml
list a2
destroy
create c hash:ip,port,net
test c 10.0.1.3,icmp:echo-request,10.0.0.0-10.0.1.4
add c 10.0.0.1,80,10.0.0.0/24
test c 10.0.0.1,80,10.0.0.0-10.0.0.9
-q test c 10.0.0.1,80,10.0.0.7-10.0.0.9
create d hash:ip,port,net family inet6
test d 2001:db8::1,80,2001:db8::-2001:db8::5
create e hash:ip probes 4
create e hash:ip probes 4 resize 5
-exist create e hash:ip resize 50
create f hash:ip probes 4 netmask 33
create n hash:net
add n 10.0.0.2/28
add n 10.2.0.0/24 nomatch
test n 10.0.0.2 nomatch
test n 10.0.0.0/28 nomatch
test n 10.2.0.1 nomatch
test n 10.2.0.1
create big hash:net maxelem 100
add big 1.0.0.5-250.0.0.1
save big
create far hash:net
add far 62.255.255.250-191.0.0.0
save far
add far 0.0.0.0-255.255.255.254
add far 1.0.0.0-129.0.0.0
-! del far 1.0.0.0-129.0.0.0
-! add far 127.255.255.254-255.255.255.254
del far 1.0.0.0-250.0.0.0
save far
create pair hash:ip,port,net maxelem 50
add pair 10.0.0.1,80,63.255.255.250-192.0.0.0
add pair 10.0.0.1,80,1.0.0.0-192.0.0.0
save pair
create o hash:ip,port,ip
add o 10.0.0.1,80,10.0.0.1
create p hash:ip,port,net
create b bitmap:ip range 10.0.0.0/24
create m bitmap:ip,mac range 10.0.0.0/24
create six hash:net,port family inet6
add m 10.0.0.1,:::::
add m 10.0.0.2,0x1:-0:+2:3:4:5
add m 10.0.0.3,000:11:22:33:44:55
add m 10.0.0.4,-1:11:22:33:44:55
add m 10.0.0.5,000:1:2:3:4:5:
save m
create ports bitmap:port range 0-1023
add ports [ssh]-[http]
add ports [80-90]
add ports [ssh
add ports [ssh]x
add ports 80-[http
add ports gre:5
add ports gre:0
add ports dccp:80
add ports all:0
add o 10.0.0.1,tcp:[ssh],10.0.0.1
add o 10.0.0.1,all:0,10.0.0.1
add o 10.0.0.1,[tcp]:80,10.0.0.1
save ports
create i hash:ip,port from 1 to x network 2 probes 3 resize 4 resize 5
save i
create j hash:ip,port bitmask 255.255.0.0/16
create k hash:ip bitmask 255.255.0.0/33
create k hash:ip bitmask 255.255.0.0-x
create k bitmap:ip range 10.0.0.0/24 to 10.0.0.9
save k
create l bitmap:ip to 10.0.0.9 range 10.0.0.1-10.0.0.5
save l
create q bitmap:ip range 10.0.0.1-10.0.0.5 to 10.0.0.9
create q bitmap:ip from 10.0.0.0/24 to 10.0.0.9
create wait bitmap:ip,mac range 10.0.0.0/24 timeout 1000 counters comment
add wait 10.0.0.5 packets 7 comment a
add wait 10.0.0.5 timeout 700
save wait
add wait 10.0.0.5,1:1:1:1:1:1 timeout 1000
save wait
add wait 10.0.0.5
-exist add wait 10.0.0.5
list wait
test wait 10.0.0.5
test wait 10.0.0.5,1:1:1:1:1:1
add wait 10.0.0.5,2:2:2:2:2:2
save wait
-exist add wait 10.0.0.5
-exist add wait 10.0.0.5,2:2:2:2:2:2
save wait
-exist add wait 10.0.0.5
del wait 10.0.0.5
add wait 10.0.0.6
del wait 10.0.0.6
add wait 10.0.0.6 timeout 0
add wait 10.0.0.6
-exist add wait 10.0.0.6
list wait
flush wait
add wait 10.0.0.5
save wait
create counts bitmap:port range 0-10 counters
add counts 5 packets 7 bytes 8
del counts 5
add counts 5 bytes 9
add counts 6 packets 3
flush counts
add counts 6
save counts
add m [10.0.0.1]x
add m [10.0.0.1]x-foo
add m [10.0.0.1]x/24
add b [10.0.0.1]x-foo
add b [10.0.0.1]x/24
add b 10.0.0.1-[10.0.0.3]x
add six [2001:db8::1]x-foo,80
add six [2001:db8::1]x,80
add six [2001:db8::1]-[2001:db8::2],80
create é hash:ip
create ééééééééééééééé hash:ip
create éééééééééééééééé hash:ip
list é
- <<< test o 10.0.0.1-10.0.0.4,80,10.0.0.1
- <<< test p 10.0.0.1-10.0.0.4,80,10.0.0.1/24
- <<< test p 10.0.0.1,80-90,10.0.0.1-10.0.0.5
- <<< -q test p 10.0.0.1,80-90,10.0.0.1-10.0.0.5
- <<< test b 10.0.0.0/22
- <<< -q test b 10.0.0.0/22
- <<< create x bitmap:ip
- <<< create x bitmap:port
- <<< create x bitmap:ip from 10.0.0.1
-q help
-q help hash:ip
-q help nope
-q - <<< help
-q - <<< help hash:ip
-q - <<< help nope
- <<< -q help
- <<< -q help nope
-q - <<< test o 10.0.0.1,80,10.0.0.1
- <<< del b icmpv6:1/1
- <<< del m 10.0.0.6,icmpv6:1/1
- <<< del b 10.0.0.6,icmpv6:1/1
- <<< add b 10.0.0.6,icmpv6:1/1
- <<< test b 10.0.0.6,icmpv6:1/1
- <<< test o 10.0.0.6,x
- <<< del six 2001:db8::1
restore <<< test o 10.0.0.1,80,10.0.0.1\ncreate w1 hash:ip\n
restore <<< add b 10.0.0.9\ntest b 10.0.0.9\nlist -f none/out b\n
restore <<< create w2 hash:ip probes 4\ncreate w3 hash:ip\n
restore <<< -q create w4 hash:ip probes 4\ncreate w5 hash:ip\n
-q restore <<< test b 10.0.0.9\ncreate w6 hash:ip\n
restore <<< test b 10.0.0.10\ncreate w7 hash:ip\n
restore <<< create w2 hash:ip probes 4\n
create half bitmap:ip range 10.0.0.0-10.1.0.0 netmask 28
create part bitmap:ip range 0.0.0.0-1.0.0.0 netmask 9
create odd bitmap:ip range 10.0.3.0-10.0.9.0 netmask 24
create skb hash:ip,port,ip skbinfo
- <<< add skb 10.0.0.6,sctp:80,10.0.0.2/32 comment x\n
- <<< del skb 10.0.0.6,sctp:80,10.0.0.2/32\n
- <<< test skb 10.0.0.6,sctp:80,10.0.0.2/32\n
restore <<< add skb 10.0.0.6,sctp:80,10.0.0.2/32\n
save
create ipport hash:ip,port maxelem 20
create ipport6 hash:ip,port family inet6
add ipport 0.0.0.0,80
add ipport 0.0.0.0/30,80-82
del ipport 0.0.0.0,80
test ipport 0.0.0.0,80
add ipport6 ::,80
add ipport6 ::,80-82
add ipport 0.0.0.4-0.0.0.0,80
add ipport 255.255.255.254-255.255.255.255,80
create ipport8 hash:ip,port netmask 8 maxelem 20
add ipport8 0.1.2.3-1.2.3.4,80
add ipport8 10.0.0.1-10.0.0.5,80
add ipport8 255.1.2.3-254.2.3.4,80
create ipport30 hash:ip,port netmask 30 maxelem 80
add ipport30 10.0.0.1-10.0.0.5,80
add ipport30 10.0.0.33/29,80-81
del ipport30 10.0.0.33/30,80
test ipport30 10.0.0.35,80
add ipport30 0.0.0.9-0.0.0.1,80
create ipportlow hash:ip,port bitmask 0.0.0.252 maxelem 80
add ipportlow 10.0.7.1-10.0.7.6,80
add ipportlow 10.0.8.129,80
add ipportlow 10.0.8.5-0.0.0.7,80
save ipport
save ipport30
save ipportlow
`
  .trim()
  .split('\n')

test.skipIf(reason !== null)('ipset: lines that once differed', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-ipset-'))
  try {
    const sets = new Sets(freshHost(new SeededRandom(1)))
    const steps = ONCE.map((line): IpsetStep => {
      const [argv = '', input = ''] = line.split(' <<< ')
      return {
        argv: argv.split(' ').map((word) => (word === "''" ? '' : word)),
        input: input.replaceAll('\\n', '\n'),
      }
    })
    const real = runRealIpset(steps, directory)
    for (const [i, step] of steps.entries()) {
      const ours = { ...run(step, sets, directory), file: null }
      expect(maskedAnswer(ours, step), quoted(step)).toEqual(maskedAnswer(real[i]!, step))
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
})
