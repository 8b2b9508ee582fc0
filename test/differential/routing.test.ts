// Routing against the kernel's: random hosts, and what `ip route get` says there about random packets.
//
//     seed ─▶ addresses, routes, rules, sysctls ─┬─▶ a namespace with TUN devices ─ ip -batch route get ─┐
//                                                └─▶ Devices, Fib, Path.routeInput ────────────────────┴─ same?

import { spawnSync } from 'node:child_process'
import { test } from 'vitest'
import {
  newFlowKey,
  type Route,
  RouteError,
  RouteFailure,
  RouteType,
  type RuleSpec,
  Table,
  usesGateway,
  type Words,
} from '../../datapath/fib.ts'
import { Host } from '../../datapath/host.ts'
import { Packet, PathFlag } from '../../datapath/packet.ts'
import { fill4 } from '../../datapath/parse.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { formatIpv4, parseIpv4, prefixMask4 } from '../../datapath/wire/address.ts'
import { udp } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const DEVICES = ['eth0', 'eth1', 'vlan.7']
const HOSTS = Number(process.env.TUNWALL_SCENARIOS ?? 30)
const QUESTIONS = 400

class Dice {
  #state: number
  constructor(seed: number) {
    this.#state = seed | 0
  }
  /** 0 to n - 1. */
  below(n: number): number {
    this.#state = (this.#state + 0x9e3779b9) | 0
    let h = Math.imul(this.#state ^ (this.#state >>> 16), 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
    return ((h ^ (h >>> 16)) >>> 0) % n
  }
  chance(percent: number): boolean {
    return this.below(100) < percent
  }
  pick<T>(of: readonly T[]): T {
    return of[this.below(of.length)]!
  }
}

/** Addresses from a small world, so that things meet, and the odd ones. */
function anAddress(dice: Dice): string {
  if (dice.chance(8))
    return dice.pick([
      '127.0.0.1',
      '127.3.4.5',
      '224.0.0.1',
      '224.0.0.5',
      '239.1.2.3',
      '255.255.255.255',
      '0.0.0.0',
      '0.1.2.3',
      '240.0.0.1',
      '169.254.1.1',
    ])
  return `10.${dice.below(4)}.${dice.below(3)}.${dice.pick([0, 1, 2, 3, 9, 127, 128, 254, 255])}`
}

function aPrefix(dice: Dice): string {
  const length = dice.pick([0, 8, 14, 15, 16, 22, 23, 24, 25, 30, 31, 32])
  return `${formatIpv4(parseIpv4(anAddress(dice))! & prefixMask4(length))}/${length}`
}

/** The same host twice: as ip(8) and sysctl(8) commands, and as objects. What the kernel refuses, both refuse. */
function build(dice: Dice): { readonly host: Host; readonly commands: readonly string[] } {
  const host = new Host({
    memory: new FrameMemory(2, 2048),
    egress: { send: () => {}, flush: () => {} },
    random: { i32: () => dice.below(0x100000000) | 0 },
  })
  const { devices, fib, tunables } = host
  const commands: string[] = []
  for (const name of DEVICES) devices.add(name, 1500)

  const address = (name: string, text: string, peer: string | null): void => {
    const [word, length] = text.split('/')
    commands.push(`addr add ${peer === null ? text : `${word} peer ${peer}/${length}`} dev ${name}`)
    devices.addAddress(devices.byName(name)!, {
      family: 4,
      words: [parseIpv4(word!)!, 0, 0, 0],
      prefixLength: Number(length),
      broadcast: null,
      peer: peer === null ? null : parseIpv4(peer),
      scope: 0,
      secondary: false,
      label: null,
    })
  }
  commands.push('addr add 127.0.0.1/8 dev lo')
  const taken = new Set<string>()
  for (const name of DEVICES)
    for (let n = dice.below(4); n > 0; n--) {
      const own = `10.${dice.below(4)}.${dice.below(3)}.${dice.pick([1, 2, 9, 254])}`
      if (taken.has(own)) continue
      taken.add(own)
      address(
        name,
        `${own}/${dice.pick([16, 24, 24, 24, 30, 31, 32])}`,
        dice.chance(10) ? `10.3.2.${n}` : null,
      )
    }
  const set = (name: string, value: number): void => {
    commands.push(`sysctl ${name}=${value}`)
    tunables.set(name, value)
  }
  if (dice.chance(85)) set('net.ipv4.ip_forward', 1)
  for (const scope of ['all', ...DEVICES])
    for (const [name, values] of [
      ['rp_filter', [0, 1, 2]],
      ['accept_local', [0, 1]],
      ['route_localnet', [0, 1]],
      ['send_redirects', [0, 1]],
      ['shared_media', [0, 1]],
      ['src_valid_mark', [0, 1]],
      ['forwarding', [0, 1]],
      ['bc_forwarding', [0, 1]],
    ] as const)
      if (dice.chance(scope === 'all' ? 6 : 12) && !(scope === 'all' && name === 'forwarding'))
        set(`net.ipv4.conf.${scope.replaceAll('.', '/')}.${name}`, dice.pick(values))

  set('net.ipv4.fib_multipath_hash_seed', 1 + dice.below(1_000_000))
  if (dice.chance(60)) set('net.ipv4.fib_multipath_hash_policy', dice.below(3))
  const words = (text: string): Words => [parseIpv4(text)!, 0, 0, 0]
  for (let n = dice.below(14); n > 0; n--) {
    const [word, length] = aPrefix(dice).split('/') as [string, string]
    const table = dice.chance(70) ? Table.Main : dice.pick([100, 101, Table.Default, Table.Local])
    const type = dice.chance(75)
      ? 'unicast'
      : dice.pick(['blackhole', 'unreachable', 'prohibit', 'throw', 'local', 'broadcast'])
    const plain = type === 'unicast' || type === 'local' || type === 'broadcast'
    const tos = dice.chance(15) ? dice.pick([0x04, 0x08, 0x10, 0x20]) : 0
    const metric = dice.chance(20) ? dice.below(3) : 0
    const device = dice.pick(DEVICES)
    const own = [...taken]
    // Several next hops, or a source to prefer.
    if (type === 'unicast' && dice.chance(25)) {
      const hops = Array.from({ length: 2 + dice.below(3) }, () => ({
        name: dice.pick(DEVICES),
        weight: 1 + dice.below(4),
        gateway: dice.chance(70) ? anAddress(dice) : null,
      }))
      try {
        fib.addRoute(
          {
            dst: words(word),
            prefixLength: Number(length),
            table,
            tos,
            metric,
            nexthops: hops.map((h) => ({
              device: devices.byName(h.name)!,
              weight: h.weight,
              gateway: h.gateway === null ? null : words(h.gateway),
            })),
          },
          'append',
          true,
        )
      } catch (e) {
        if (!(e instanceof RouteError)) throw e
        continue
      }
      commands.push(
        `route append ${word}/${length} table ${table}${tos === 0 ? '' : ` tos 0x${tos.toString(16)}`}` +
          `${metric === 0 ? '' : ` metric ${metric}`}${hops
            .map(
              (h) =>
                ` nexthop${h.gateway === null ? '' : ` via ${h.gateway}`} dev ${h.name} weight ${h.weight}`,
            )
            .join('')}`,
      )
      continue
    }
    const source = plain && own.length > 0 && dice.chance(15) ? dice.pick(own) : null
    // A gateway that is on no link is refused on both sides: it has to be the other end of something.
    const gateway = type === 'unicast' && dice.chance(40) ? anAddress(dice) : null
    const scope = gateway !== null && dice.chance(50) ? ' onlink' : ''
    if (parseIpv4(word)! >>> 24 > 239 || (gateway !== null && !gateway.startsWith('10.'))) continue
    if (scope !== '' && fib.addressType(4, parseIpv4(gateway!)!, 0, 0, 0, 0) !== RouteType.Unicast) continue
    try {
      fib.addRoute(
        {
          type: RouteType[`${type[0]!.toUpperCase()}${type.slice(1)}` as keyof typeof RouteType],
          dst: words(word),
          prefixLength: Number(length),
          table,
          tos,
          metric,
          device: plain ? devices.byName(device)! : null,
          gateway: gateway === null ? null : words(gateway),
          source: source === null ? null : words(source),
          protocol: 'boot',
        },
        'append',
        scope === '',
      )
    } catch (e) {
      if (!(e instanceof RouteError)) throw e
      continue
    }
    commands.push(
      `route append ${type} ${word}/${length}${gateway === null ? '' : ` via ${gateway}`}${plain ? ` dev ${device}` : ''}${scope}` +
        ` table ${table}${tos === 0 ? '' : ` tos 0x${tos.toString(16)}`}${metric === 0 ? '' : ` metric ${metric}`}` +
        `${source === null ? '' : ` src ${source}`}`,
    )
  }
  for (const name of DEVICES)
    if (dice.chance(20)) {
      devices.byName(name)!.link.group = 7
      devices.touch()
      commands.push(`link set ${name} group 7`)
    }
  if (dice.chance(60))
    for (let n = dice.below(7); n > 0; n--) {
      const spec: { -readonly [K in keyof RuleSpec]: RuleSpec[K] } = {
        action: dice.chance(80)
          ? 'lookup'
          : dice.pick(['unreachable', 'prohibit', 'blackhole', 'goto', 'nop'] as const),
        priority: 100 + dice.below(20) * 1000 + n,
      }
      let text = `rule add priority ${spec.priority}`
      if (dice.chance(10)) {
        spec.not = true
        text = `rule add not priority ${spec.priority}`
      }
      const prefix = (): { words: Words; prefixLength: number } => {
        const [word, length] = aPrefix(dice).split('/') as [string, string]
        text += `${word}/${length}`
        return { words: words(word), prefixLength: Number(length) }
      }
      if (dice.chance(40)) {
        text += ' from '
        spec.source = prefix()
      }
      if (dice.chance(30)) {
        text += ' to '
        spec.destination = prefix()
      }
      if (dice.chance(30)) {
        spec.mark = dice.below(4)
        spec.markMask = 3
        text += ` fwmark ${spec.mark}/0x3`
      }
      if (dice.chance(20)) {
        spec.iif = dice.pick([...DEVICES, 'lo', 'gone0'])
        text += ` iif ${spec.iif}`
      }
      if (dice.chance(15)) {
        spec.oif = dice.pick([...DEVICES, 'lo', 'gone0'])
        text += ` oif ${spec.oif}`
      }
      const range = (): readonly [number, number] => {
        const low = 1000 + dice.below(4)
        return [low, low + dice.below(3)]
      }
      if (dice.chance(10)) {
        spec.protocol = dice.pick([6, 17])
        text += ` ipproto ${spec.protocol}`
      }
      if (dice.chance(10)) {
        spec.sourcePorts = range()
        text += ` sport ${spec.sourcePorts.join('-')}`
      }
      if (dice.chance(10)) {
        spec.destinationPorts = range()
        text += ` dport ${spec.destinationPorts.join('-')}`
      }
      if (dice.chance(15)) {
        spec.tos = dice.pick([0x04, 0x08, 0x10])
        text += ` tos 0x${spec.tos.toString(16)}`
      }
      if (spec.action === 'lookup') {
        spec.table = dice.pick([100, 101, Table.Main, Table.Local])
        text += ` lookup ${spec.table}`
        if (dice.chance(20)) {
          spec.suppressPrefixLength = dice.pick([0, 8, 16, 24])
          text += ` suppress_prefixlength ${spec.suppressPrefixLength}`
        }
        if (dice.chance(10)) {
          spec.suppressGroup = dice.pick([0, 7])
          text += ` suppress_ifgroup ${spec.suppressGroup}`
        }
      } else if (spec.action === 'goto') {
        // Ahead, to a rule that is there or to none.
        spec.target = dice.chance(50) ? 32766 : spec.priority! + 1 + dice.below(20000)
        text += ` goto ${spec.target}`
      } else text += ` ${spec.action}`
      fib.addRule(spec)
      commands.push(text)
    }
  return { host, commands }
}

interface Question {
  readonly to: string
  readonly from: string
  readonly iif: string | null
  readonly oif: string | null
  readonly mark: number
  readonly tos: number
  readonly sport: number
  readonly dport: number
}

function ask(dice: Dice): Question {
  const incoming = dice.chance(75)
  return {
    to: anAddress(dice),
    from: incoming || dice.chance(50) ? anAddress(dice) : '0.0.0.0',
    iif: incoming ? dice.pick(DEVICES) : null,
    oif: !incoming && dice.chance(25) ? dice.pick(DEVICES) : null,
    mark: dice.below(4),
    tos: dice.chance(30) ? dice.pick([0x04, 0x08, 0x10, 0x1c, 0x20, 0xc0]) : 0,
    sport: 999 + dice.below(8),
    dport: 999 + dice.below(8),
  }
}

const command = (q: Question): string =>
  `route get ${q.to}${q.from === '0.0.0.0' && q.iif === null ? '' : ` from ${q.from}`}${q.iif === null ? '' : ` iif ${q.iif}`}` +
  `${q.oif === null ? '' : ` oif ${q.oif}`} mark ${q.mark}${q.tos === 0 ? '' : ` tos 0x${q.tos.toString(16)}`}` +
  ` ipproto udp sport ${q.sport} dport ${q.dport}`

const ERRORS: Readonly<Record<string, string>> = {
  'Invalid argument': 'EINVAL',
  'Network is unreachable': 'ENETUNREACH',
  'No route to host': 'EHOSTUNREACH',
  'Permission denied': 'EACCES',
}

/** What the kernel says to each question: `unicast dev eth1 via 10.0.0.9 redirect`, `local dev lo`, or an errno. */
function askKernel(commands: readonly string[], questions: readonly Question[]): string[] {
  const script = [
    'ip link set lo up',
    'ip addr flush dev lo',
    // A link with nobody behind it has no carrier, which routes do not mind.
    ...DEVICES.map((d) => `ip tuntap add dev ${d} mode tun && ip link set ${d} up`),
    ...commands.map((c) => {
      const text = c.startsWith('sysctl ') ? `sysctl -qw ${c.slice(7)}` : `ip ${c}`
      return `${text} || { echo 'set-up failed: ${text}' >&2; exit 9; }`
    }),
    'exec ip -force -batch -',
  ].join('\n')
  const run = spawnSync('unshare', ['-n', 'bash', '-c', script], {
    input: questions.map((q) => `${command(q)}\n`).join(''),
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  if (run.status === 9) throw new Error(run.stderr)
  // Answers stand on standard output in order; a refusal names its line on standard error.
  const answers: string[] = questions.map(() => '')
  const complaints = run.stderr.split('\n')
  for (const [i, line] of complaints.entries()) {
    const at = /^Command failed -:(\d+)/.exec(line)
    if (at === null) continue
    const words = complaints[i - 1]!.replace(/^RTNETLINK answers: |^Error: /, '')
    answers[Number(at[1]) - 1] = ERRORS[words] ?? words
  }
  const texts = run.stdout.split(/\n(?! )/).filter((t) => t !== '')
  for (let i = 0; i < answers.length; i++)
    if (answers[i] === '') answers[i] = brief(texts.shift() ?? 'silence')
  if (texts.length > 0) throw new Error(`more answers than questions: ${run.stdout}\n${run.stderr}`)
  return answers
}

/** `local 10.0.0.1 from 10.0.0.5 dev lo \n cache <local> iif eth0` in the form of answer(). */
function brief(text: string): string {
  const words = text.replaceAll('\n', ' ').split(/ +/)
  const type = /^[0-9]/.test(words[0]!) ? 'unicast' : words[0]!
  const after = (word: string): string => {
    const at = words.indexOf(word)
    return at < 0 ? '' : ` ${word} ${words[at + 1]}`
  }
  return `${type}${after('via')}${after('dev')}${after('src')}${/<.*redirect.*>/.test(text) ? ' redirect' : ''}`
}

const answer = (route: Route, source: number, redirect: boolean): string =>
  `${TYPES[route.type]}${usesGateway(route) ? ` via ${formatIpv4(route.gateway![0])}` : ''} dev ${route.device!.name}` +
  `${source === 0 ? '' : ` src ${formatIpv4(source)}`}${redirect ? ' redirect' : ''}`

const TYPES: Readonly<Record<number, string>> = { 1: 'unicast', 2: 'local', 3: 'broadcast', 5: 'multicast' }
const FAILURES: Readonly<Record<number, string>> = {
  [RouteFailure.Invalid]: 'EINVAL',
  [RouteFailure.NetUnreach]: 'ENETUNREACH',
  [RouteFailure.HostUnreach]: 'EHOSTUNREACH',
  [RouteFailure.Prohibited]: 'EACCES',
}

function askUs(host: Host, q: Question): string {
  if (q.iif === null) {
    const key = newFlowKey()
    key.d0 = parseIpv4(q.to)!
    key.s0 = parseIpv4(q.from)!
    key.oif = q.oif === null ? 0 : host.devices.byName(q.oif)!.index
    key.mark = q.mark
    key.tos = q.tos
    key.protocol = 17
    key.sport = q.sport
    key.dport = q.dport
    const fixed = key.s0 !== 0
    const route = host.fib.output(key)
    return route === null ? FAILURES[host.fib.failure]! : answer(route, fixed ? 0 : key.s0, false)
  }
  const frame = udp({ src: q.from, dst: q.to, tos: q.tos, sport: q.sport, dport: q.dport })
  const pkt = new Packet()
  pkt.l3 = HEADROOM
  pkt.end = HEADROOM + frame.length
  host.memory.bytes.set(frame, HEADROOM)
  fill4(pkt, host.memory.view, HEADROOM + 20)
  pkt.mark = q.mark
  pkt.arrival = host.devices.byName(q.iif)!
  if (!host.path.routeInput(pkt, pkt.d0)) return 'EINVAL'
  const failure = host.path.failureOf(pkt.route!)
  if (failure !== RouteFailure.None) return FAILURES[failure]!
  return answer(pkt.route!, 0, (pkt.flags & PathFlag.DoRedirect) !== 0)
}

const reason = whyNoKernel()
if (reason !== null) console.log(`routing is not compared with the kernel: ${reason}`)

const first = SEED_OF_RUN

test.skipIf(reason !== null)(`${HOSTS} hosts from seed ${first}: where packets go`, () => {
  for (let seed = first; seed < first + HOSTS; seed++) {
    const dice = new Dice(seed)
    const { host, commands } = build(dice)
    const questions = Array.from({ length: QUESTIONS }, () => ask(dice))
    const theirs = askKernel(commands, questions).map((text, i) => {
      // The kernel keeps a nexthop's last rtable, type included, for all prefixes that share the nexthop.
      const q = questions[i]!
      if (q.iif === null) return /^2[23]/.test(q.to) ? text.replace(/^unicast /, 'multicast ') : text
      // What bc_forwarding passes on is called broadcast the first time.
      return text.replace(/^broadcast (?=.*dev (?!lo))/, 'unicast ')
    })
    for (const [i, q] of questions.entries()) {
      // Twice: the second answer comes out of the caches.
      for (const time of ['first', 'second']) {
        const ours = askUs(host, q)
        if (ours !== theirs[i])
          throw new Error(
            `seed ${seed}, ${time} time: ip ${command(q)}\n  kernel: ${theirs[i]}\n  ours:   ${ours}\n  ${commands.join('\n  ')}`,
          )
      }
    }
  }
})
