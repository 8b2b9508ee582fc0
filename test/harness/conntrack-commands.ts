// Command lines of conntrack(8), drawn from its whole grammar, well-formed and not.

import type { SeededRandom } from './frames.ts'
import { MutatedLines } from './mutated-lines.ts'

/** A random command line, or a text for `path` from which -R reads some. */
export function randomStep(random: SeededRandom, path: string): { words: string; input: string } {
  if (random.u32() % 100 < 40) {
    const words = changed(random)
    if (words !== null) return { words, input: '' }
  }
  if (random.u32() % 100 >= 6) return { words: spelled(randomWords(random), random), input: '' }
  const lines = Array.from({ length: 1 + (random.u32() % 5) }, () => {
    const words = randomWords(random)
    switch (random.u32() % 10) {
      case 0:
        return '# a comment'
      case 1:
        return `  ${words}`
      case 2:
        return words
      default:
        // What -o save prints.
        return words.replace(/^-\w( expect)?/, () => ['-A', '-I', '-A', '-D', '-U'][random.u32() % 5]!)
    }
  })
  // Not from standard input: the tool opens it anew, which a socket does not like.
  return { words: `-R ${path}`, input: `${lines.join('\n')}\n` }
}

/** One of test/data/command-lines/conntrack.txt, changed; null for what waits or cannot be compared, or has an empty word. */
function changed(random: SeededRandom): string | null {
  const words = new MutatedLines(random, 'conntrack').line()
  // Not -S either: each processor counts for itself.
  const not = words.some((word) => /^(-[^-]*[ERS]|--(e|l|st|sta.*$))/.test(word))
  if (not || words.some((word) => word === '' || word.includes(' '))) return null
  return words.map((word, i) => slowed(word, words[i - 1])).join(' ')
}

/** A lifetime of seconds would end now in one of two kernels that are asked one after the other: it becomes one of hours. */
function slowed(word: string, before: string | undefined): string {
  const own = /^(-t|--ti[a-z]*=)(.*)$/.exec(word)
  if (own !== null) return own[1]! + longer(own[2]!)
  return before !== undefined && /^(-[a-zA-Z]*t|--ti[a-z]*)$/.test(before) ? longer(word) : word
}

const longer = (seconds: string): string =>
  seconds.replace(/^(\+?(?:0x[\da-f]{1,3}(?![\da-f])|\d{1,3}(?![\dx])))/i, '$1000')

/** Long names of options, as people write them in scripts. */
const LONG: Readonly<Record<string, readonly string[]>> = {
  '-L': ['--dump'],
  '-I': ['--create'],
  '-A': ['--add'],
  '-U': ['--update'],
  '-D': ['--delete'],
  '-G': ['--get'],
  '-F': ['--flush'],
  '-C': ['--count'],
  '-S': ['--stats'],
  '-s': ['--src', '--orig-src'],
  '-d': ['--dst', '--orig-dst'],
  '-r': ['--reply-src'],
  '-q': ['--reply-dst'],
  '-p': ['--proto'],
  '-t': ['--timeout'],
  '-u': ['--status'],
  '-o': ['--output'],
  '-m': ['--mark'],
  '-f': ['--family'],
  '-n': ['--src-nat'],
  '-g': ['--dst-nat'],
  '-j': ['--any-nat'],
  '-w': ['--zone'],
  '-z': ['--zero'],
}

/** The same words, some options by their long names, some with their values behind them. */
function spelled(text: string, random: SeededRandom): string {
  const words = text.split(' ')
  const out: string[] = []
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    const dice = random.u32() % 100
    const long = LONG[word]
    const name = long !== undefined && dice < 18 ? long[dice % long.length]! : word
    const next = words[i + 1] ?? ''
    const value = next !== '' && !next.startsWith('-') && i > 0
    if (value && name.startsWith('--') && random.u32() % 100 < 30) {
      out.push(`${name}=${next}`)
      i++
    } else if (value && /^-[spdtmfw]$/.test(name) && random.u32() % 100 < 6) {
      out.push(name + next)
      i++
    } else out.push(name)
  }
  return out.join(' ')
}

/** A random command line: every option at some time, right and wrong. Addresses and ports are few, so that they meet. */
function randomWords(random: SeededRandom): string {
  const pick = <T>(items: readonly T[]): T => items[random.u32() % items.length]!
  const often = (percent: number): boolean => random.u32() % 100 < percent
  const v4 = ['10.0.0.2', '10.1.0.2', '10.0.0.7', '1.1.1.1', '2.2.2.2', '10.1.0.1']
  const v6 = ['fe::1', 'fe::2', '::1']
  const six = often(15)
  const ip = (): string => (often(3) ? pick(['nope', '', '1.2.3', '300.1.1.1', '1::g']) : pick(six ? v6 : v4))
  const net = (): string =>
    often(12) ? `${ip()}/${pick([0, 8, 24, 31, 32, 33, 64, 128, 129, 'x', ''])}` : ip()
  const port = (): string => pick(['1', '2', '53', '80', '1000', '2000', '65536', 'x', '0x10'])
  const protocol = pick([
    'tcp',
    'udp',
    'udp',
    six ? 'icmpv6' : 'icmp',
    'sctp',
    'gre',
    'udplite',
    'dccp',
    '99',
    'UDP',
    'esp',
    '6',
  ])
  const own = (need: boolean): string[] => {
    const out: string[] = []
    const add = (...words: string[]): void => {
      if (often(need ? 95 : 25)) out.push(words.join(' '))
    }
    switch (protocol) {
      case 'gre':
        add('--srckey', port())
        add('--dstkey', port())
        break
      case 'icmp':
      case 'icmpv6':
        add(`--${protocol}-type`, pick(six ? ['128', '129', '1'] : ['8', '0', '13', '3']))
        add(`--${protocol}-code`, pick(['0', '1']))
        if (often(50)) add(`--${protocol}-id`, pick(['77', '78', '1']))
        break
      case '99':
      case 'esp':
        break
      default:
        add(pick(['--sport', '--orig-port-src']), port())
        add(pick(['--dport', '--orig-port-dst']), port())
        if (often(15)) add('--reply-port-src', port())
        if (often(15)) add('--reply-port-dst', port())
        if (['tcp', '6'].includes(protocol)) add('--state', pick(TCP_WORDS))
        if (protocol === 'dccp') add('--state', pick(['OPEN', 'REQUEST', 'NONE']))
        if (protocol === 'dccp' && need) out.push('--role', pick(['client', 'server', 'x']))
        if (protocol === 'sctp') add('--state', pick(['ESTABLISHED', 'CLOSED', 'SHUTDOWN_SENT']))
        if (protocol === 'sctp' && need) out.push('--orig-vtag 1', '--reply-vtag 2')
    }
    return out
  }
  const common = (): string[] => {
    const out: string[] = []
    const maybe = (percent: number, text: () => string): void => {
      if (often(percent)) out.push(text())
    }
    maybe(20, () => `-m ${pick(['0', '7', '0x10', '5/0xff', '0/0', '1/1'])}`)
    maybe(
      12,
      () =>
        `-u ${pick(['ASSURED', 'SEEN_REPLY', 'UNSET', 'SEEN_REPLY,ASSURED', 'fixed', 'EXPECTED', 'UNREPLIED', '!ASSURED', 'x', ''])}`,
    )
    maybe(
      12,
      () =>
        `-o ${pick(['extended', 'xml', 'save', 'ext,xml', 'ktimestamp', 'save,id', 'labels', 'x', 'xml,id', 'extended,id,ktimestamp', 'timestamp', 'userspace', 'ext,labels', 'xml,ktimestamp,labels', 'save,extended', ',', 'id,', ''])}`,
    )
    maybe(8, () => `-f ${pick(['ipv4', 'ipv6', 'ipx'])}`)
    maybe(4, () => `-n ${pick(['', ip(), `${pick(v4)}:${port()}`])}`)
    maybe(4, () => `-g ${pick(['', ip(), `${pick(v4)}:${port()}`])}`)
    maybe(2, () => `-j ${pick(['', ip()])}`)
    maybe(4, () => `-w ${pick(['0', '5', '7'])}`)
    maybe(3, () => `--orig-zone ${pick(['0', '3'])}`)
    maybe(3, () => `--reply-zone ${pick(['0', '4'])}`)
    maybe(2, () =>
      pick([
        '-z',
        '-b 100',
        '-e NEW',
        '-a x',
        '-l x',
        '-c 3',
        '-i 9',
        '--id 9',
        '-l 3',
        '--label-del',
        '--dump',
        '-u SNAT,DNAT',
        '-u SRC_NAT,DST_NAT',
        '-u OFFLOAD',
        '-o',
        '-E',
        '--label-add y',
        '--nope',
        '-Z',
        '--lab',
        'stray',
        '-m',
        '--reply',
      ]),
    )
    return out
  }
  const command = pick([
    '-L',
    '-L',
    '-L',
    '-I',
    '-I',
    '-I',
    '-I',
    '-A',
    '-U',
    '-U',
    '-D',
    '-D',
    '-G',
    '-C',
    '-F',
    '-S expect',
    '-L expect',
    '-L dying',
    '-L -z',
    '-L unconfirmed',
    '-D expect',
    '-G expect',
    '-I expect',
    '-F expect',
    '-C expect',
    '-L expect -o xml',
    '-U expect',
    '-h',
    '-V',
  ])
  if (/ expect/.test(command)) {
    const out = [command]
    if (often(60)) out.push(`-s ${ip()}`, `-d ${ip()}`)
    if (often(50)) out.push(`--tuple-src ${ip()}`, `--tuple-dst ${ip()}`)
    if (often(40)) out.push(`--mask-src ${pick(['255.255.255.255', '255.255.255.0', 'x'])}`)
    if (often(40)) out.push('--mask-dst 255.255.255.255')
    if (often(60)) out.push(`-p ${protocol}`, ...own(true))
    if (often(30) && ['tcp', 'udp'].includes(protocol))
      out.push(`--tuple-port-src ${port()}`, `--tuple-port-dst ${port()}`)
    if (often(30)) out.push(`-t ${pick(['100', 'x'])}`)
    if (often(15)) out.push(...common())
    return out.join(' ')
  }
  const making = command === '-I' || command === '-A'
  const words: string[] = []
  if (making || command === '-G') {
    if (often(92)) words.push(`-s ${ip()}`, `-d ${ip()}`)
    if (often(8)) words.push(`-r ${ip()}`, `-q ${ip()}`)
    if (often(97)) words.push(`-p ${protocol}`, ...own(true))
    if (making && often(97)) words.push(`-t ${pick(['100', '1000', '77777777', 'x1'])}`)
    if (often(40)) words.push(...common())
  } else if (['-L', '-U', '-D'].includes(command)) {
    if (often(35)) words.push(`${pick(['-s', '--src', '--orig-src'])} ${net()}`)
    if (often(25)) words.push(`${pick(['-d', '--dst'])} ${net()}`)
    if (often(10)) words.push(`-r ${net()}`)
    if (often(10)) words.push(`-q ${ip()}`)
    if (often(4)) words.push(`--mask-src ${pick(['255.255.255.0', '0.0.0.0'])}`)
    if (often(60)) words.push(`-p ${protocol}`, ...own(false))
    if (command === '-U' && often(20)) words.push(`-t ${pick(['50', '5000'])}`)
    if (command === '-U' && often(70)) words.push(`-f ${six ? 'ipv6' : 'ipv4'}`)
    words.push(...common())
  } else if (often(20)) words.push(...common())
  return [command, ...words].join(' ')
}

const TCP_WORDS = ['NONE', 'SYN_SENT', 'ESTABLISHED', 'TIME_WAIT', 'CLOSE', 'LISTEN', 'SYN_SENT2', 'NOPE']

/**
 * A file for -R has a -U that names no single conversation. Of several entries it shows the one that comes first in the
 * order of the kernel's random hash, and no line tells how many there were.
 */
export const updatesSeveral = (file: string): boolean =>
  file
    .split('\n')
    .some(
      (line) =>
        /^\s*(-U|--update)/.test(line) &&
        !(/ --(sport|orig-port-src|srckey)/.test(line) && / --(dport|orig-port-dst|dstkey)/.test(line)) &&
        !/ --icmp(v6)?-id/.test(line),
    )
