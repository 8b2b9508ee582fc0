// Packet words: what is said is what is built, and what is printed is what was said.

import { describe, expect, test } from 'vitest'
import { PlaceError } from '../../daemon/errors.ts'
import { buildFrame, buildFrames } from '../../daemon/words/build.ts'
import { wordsOf } from '../../daemon/words/of-frame.ts'
import { parsePacket, parseWords, readDuration } from '../../daemon/words/parse.ts'
import { printPacket, printSteps } from '../../daemon/words/print.ts'
import { decode, SeededRandom, toHex } from '../harness/frames.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'
import { randomPacket, randomSteps } from './packet-words.ts'

const SEED = SEED_OF_RUN
const ROUNDS = Number(process.env.TUNWALL_SCENARIOS ?? 1000)

function one(text: string): string {
  const { steps } = parseWords(text)
  expect(steps).toHaveLength(1)
  const step = steps[0]!
  if (step.kind !== 'packet') throw new Error(`no packet: ${text}`)
  return buildFrames(step.packet).map(decode).join(' + ')
}

function mistake(text: string): string {
  try {
    parseWords(text)
  } catch (error) {
    if (error instanceof PlaceError) return error.message
    throw error
  }
  throw new Error(`accepted: ${text}`)
}

describe('words to frames', () => {
  const table: readonly (readonly [string, string])[] = [
    [
      'tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0',
      '10.0.0.5 > 10.96.0.10 ttl 64 id 0 tcp 40000 > 80 [S] seq 0 ack 0 win 65535 len 0',
    ],
    [
      'tcp 10.0.0.5 > 10.96.0.10:http syn,ack seq 7 ack 8 window 100 mss 1460 sack-ok timestamp 1:2 nop wscale 7',
      '10.0.0.5 > 10.96.0.10 ttl 64 id 0 tcp 40000 > 80 [SA] seq 7 ack 8 win 100 opt 020405b40402080a000000010000000201030307 len 0',
    ],
    [
      'udp [2001:db8::1]:53 > [2001:db8::2]:1000 payload "hello" in lan',
      '2001:db8::1 > 2001:db8::2 hlim 64 udp 53 > 1000 len 5',
    ],
    [
      'icmp 10.0.0.1 > 10.0.0.2 echo-request id 1 seq 2 ttl 1 in eth0',
      '10.0.0.1 > 10.0.0.2 ttl 1 id 0 icmp 8/0 id 1 seq 2 len 0',
    ],
    [
      'icmp fe80::1 > ff02::2 router-solicitation hl 255',
      'fe80::1 > ff02::2 hlim 255 icmp6 133/0 id 0 seq 0 len 0',
    ],
    [
      'udp 10.0.0.1:1 > 10.0.0.2:2 dscp ef ecn ect0 id 9 df payload 3 bad-checksum',
      '10.0.0.1 > 10.0.0.2 ttl 64 tos 0xba id 9 DF udp 1 > 2 len 3 BAD-CSUM',
    ],
    [
      'udp 10.0.0.1 > 10.0.0.2 fragment 1480 payload 8',
      '10.0.0.1 > 10.0.0.2 ttl 64 id 1 frag 1480+8 proto 17',
    ],
    [
      'udp 10.0.0.1:1 > 10.0.0.2:2 payload 20 pieces 16',
      '10.0.0.1 > 10.0.0.2 ttl 64 id 1 frag 0+16 MF udp 1 > 2 len 8 length 28 of 16 + ' +
        '10.0.0.1 > 10.0.0.2 ttl 64 id 1 frag 16+12 proto 17',
    ],
    [
      'icmp 10.9.9.9 > 10.0.0.5 fragmentation-needed mtu 1400 about (udp 10.0.0.5:1 > 10.0.0.6:2)',
      '10.9.9.9 > 10.0.0.5 ttl 64 id 0 icmp 3/4 rest 0x578 len 28 [10.0.0.5 > 10.0.0.6 ttl 64 id 0 udp 1 > 2 len 0]',
    ],
    [
      'sctp 10.0.0.1:1 > 10.0.0.2:2',
      '10.0.0.1 > 10.0.0.2 ttl 64 id 0 sctp 1 > 2 vtag 0 01000014000000010001000000 len 32'.replace(
        '0001000000',
        '00010000000a000a',
      ),
    ],
    ['gre 10.0.0.1 > 10.0.0.2 key 7', '10.0.0.1 > 10.0.0.2 ttl 64 id 0 gre 0x2000 proto 0x800 len 8'],
    [
      'proto ospf 10.0.0.1 > 224.0.0.5 payload 0x0201',
      '10.0.0.1 > 224.0.0.5 ttl 64 id 0 proto 89 len 2 0201',
    ],
    ['tcp 10.0.0.1 > 10.0.0.2 raw payload 0x0050', '10.0.0.1 > 10.0.0.2 ttl 64 id 0 proto 6 len 2 0050'],
  ]
  test.each(table)('%s', (words, frame) => {
    expect(one(words)).toBe(frame)
  })

  test('commas, semicolons, lines and comments', () => {
    const text = `# a handshake
      tcp 10.0.0.5:1 -> 10.0.0.6:80 in eth0   # SYN
      reply; again ack, wait 1m30s
      again psh,ack payload "a, b \\x00\\"", error host-unreachable from 10.9.9.9`
    expect(printSteps(parseWords(text).steps)).toBe(
      'tcp 10.0.0.5:1 > 10.0.0.6:80 in eth0, reply, again ack, wait 1m30s, ' +
        'again psh,ack payload 0x612c2062200022, error host-unreachable from 10.9.9.9',
    )
  })

  test('times', () => {
    expect(['5', '5s', '200ms', '1h30m', '1.5s', '2d'].map(readDuration)).toEqual([
      5000, 5000, 200, 5_400_000, 1500, 172_800_000,
    ])
    expect(['', 's', '5x', '-1s', '1 s'].map(readDuration)).toEqual([null, null, null, null, null])
  })
})

describe('mistakes say where and what was expected', () => {
  const table: readonly (readonly [string, string])[] = [
    ['', 'packet:1:1: expected a protocol (tcp, udp, icmp, proto N …), reply, again, error or wait'],
    [
      'tpc 10.0.0.1:1 > 10.0.0.2:2',
      'packet:1:1: expected a protocol (tcp, udp, icmp, proto N …), reply, again, error or wait, not "tpc"',
    ],
    ['tcp 10.0.0.256:1 > 10.0.0.2:2', 'packet:1:5: expected an address, not "10.0.0.256:1"'],
    ['tcp 10.0.0.1:1 10.0.0.2:2', 'packet:1:16: expected ">" between the addresses, not "10.0.0.2:2"'],
    ['tcp 10.0.0.1:1 > 10.0.0.2', 'packet:1:18: expected the port that it is sent to: 10.0.0.2:PORT'],
    [
      'tcp 10.0.0.1:1 > [::1]:2',
      'packet:1:18: expected an IPv4 address as on the other side of ">", not "[::1]:2"',
    ],
    ['icmp 10.0.0.1:1 > 10.0.0.2', 'packet:1:6: "10.0.0.1:1": packets of this protocol have no ports'],
    ['tcp 10.0.0.1:1 > 10.0.0.2:2 sin', 'packet:1:29: unknown word "sin": did you mean "syn"?'],
    [
      'tcp 10.0.0.1:1 > 10.0.0.2:2 syn,akc',
      'packet:1:29: unknown TCP flags "syn,akc": expected some of syn, ack, fin, rst, psh, urg, ece, cwr with commas',
    ],
    ['udp 10.0.0.1:1 > 10.0.0.2:2 window 5', 'packet:1:29: "window" says nothing about IPv4 udp packets'],
    ['udp 10.0.0.1:1 > 10.0.0.2:2 ttl 256', 'packet:1:33: expected a number from 0 to 255, not "256"'],
    ['udp 10.0.0.1:1 > 10.0.0.2:2 ttl 1 ttl 2', 'packet:1:35: "ttl" is said twice'],
    ['udp 10.0.0.1:1 > 10.0.0.2:2 payload "abc', 'packet:1:37: text that begins with " is not closed'],
    ['udp 10.0.0.1:1 > 10.0.0.2:2 in', 'packet:1:31: expected the name of an interface, not the end'],
    ['udp 10.0.0.1:1 > 10.0.0.2:2 in a out', 'packet:1:34: where the packet comes from is said twice'],
    ['reply syn', 'packet:1:1: "reply" needs a packet before it'],
    [
      'udp 10.0.0.1:1 > 10.0.0.2:2 in a,\nwait soon',
      'packet:2:6: expected a time (5s, 200ms, 1m30s), not "soon"',
    ],
    ['icmp 1.1.1.1 > 2.2.2.2 about (wait 5s)', 'packet:1:36: expected a packet within the parentheses'],
  ]
  test.each(table)('%s', (words, message) => {
    expect(mistake(words)).toBe(message)
  })
})

describe(`random packets, seed ${SEED}`, () => {
  test('parse(print(words)) is the words', () => {
    const random = new SeededRandom(SEED)
    for (let n = 0; n < ROUNDS; n++) {
      const steps = randomSteps(random)
      const text = printSteps(steps)
      expect(parseWords(text).steps, text).toEqual(steps)
    }
  })

  test('a frame in words is the frame again', () => {
    const random = new SeededRandom(SEED + 1)
    for (let n = 0; n < ROUNDS; n++) {
      const { pieces: _, mark: __, cast: ___, ...packet } = randomPacket(random)
      const frame = buildFrame(packet)
      const words = wordsOf(frame)
      expect(words, printPacket(packet)).not.toBeNull()
      expect(toHex(buildFrame(words!)), `${printPacket(packet)}\n${printPacket(words!)}`).toBe(toHex(frame))
      const again = parseWords(printPacket(words!)).steps
      expect(again, printPacket(words!)).toEqual([{ kind: 'packet', packet: words }])
    }
  })

  test('anything is either read or refused with a place', () => {
    const random = new SeededRandom(SEED + 2)
    for (let n = 0; n < ROUNDS; n++) {
      const words = printSteps(randomSteps(random)).split('')
      for (let k = random.below(4); k >= 0; k--) {
        const at = random.below(words.length)
        if (random.once(2)) words.splice(at, 1 + random.below(4))
        else words.splice(at, 0, random.pick(['"', ',', ' ', '(', ')', '\n', ':', '\\', '[', '0x', 'é']))
      }
      try {
        parseWords(words.join(''))
      } catch (error) {
        if (!(error instanceof PlaceError)) throw error
        expect(error.message).toMatch(/^packet:\d+:\d+: [^\n]+$/)
      }
    }
  })
})

test('a packet without its protocol, for the API', () => {
  expect(printPacket(parsePacket('10.0.0.5:40000 > 10.96.0.10:80 rst', 'tcp'))).toBe(
    'tcp 10.0.0.5:40000 > 10.96.0.10:80 rst',
  )
})
