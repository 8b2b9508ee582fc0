// nfct of conntrack-tools 1.4.7: timeout policies for CT --timeout, and the default timeouts.
//
//     nfct add timeout web inet tcp established 100 close 10
//     nfct timeout list                                          the two words in either order

import { Errno } from '../../conntrack/errno.ts'
import type { TimeoutPolicies, TimeoutPolicy } from '../../conntrack/timeouts.ts'
import { MAX_POLICY_NAME, type Seconds } from '../../conntrack/timeouts.ts'
import type { Family } from '../../datapath/packet.ts'
import { strtol } from '../../rules/text/numbers.ts'
import { protocolByName } from '../../rules/text/services.ts'
import type { ToolCall, ToolResult } from '../control/protocol.ts'
import type { Engine } from '../engine.ts'
import { atol } from './conntrack-words.ts'
import type { Tool } from './tool.ts'

const NAME = 'nfct v1.4.7: '
const USAGE = 'Usage: nfct command subsystem [parameters]...\n'

const COMMANDS = ['list', 'add', 'delete', 'get', 'flush', 'disable', 'default-set', 'default-get'] as const
type Command = (typeof COMMANDS)[number]
const SUBSYSTEMS = ['timeout', 'helper', 'version'] as const
const VERSION = `nfct v1.4.7: utility for the Netfilter's Connection Tracking System
Copyright (C) 2012 Pablo Neira Ayuso <pablo@netfilter.org>
This program comes with ABSOLUTELY NO WARRANTY.
This is free software, and you are welcome to redistribute it under certain 
conditions; see LICENSE file distributed in this package for details.
`

/** Beside those of /etc/protocols. */
const OWN_NAMES: ReadonlyMap<string, number> = new Map([
  ['generic', 255],
  ['icmpv6', 58],
])
/** DCCP, whose tracker 6.16 took out of the kernel. */
const DCCP_NAMES = ['request', 'respond', 'partopen', 'open', 'closereq', 'closing', 'timewait']
const FAMILIES: ReadonlyMap<string, Family> = new Map([
  ['inet', 4],
  ['inet6', 6],
])

/** Helpers that come with the tool. */
const HELPERS: ReadonlyMap<string, readonly string[]> = new Map([
  ['amanda', ['udp']],
  ['dhcpv6', ['udp']],
  ['ftp', ['tcp']],
  ['mdns', ['udp']],
  ['rpc', ['tcp', 'udp']],
  ['sane', ['tcp']],
  ['slp', ['udp']],
  ['ssdp', ['tcp', 'udp']],
  ['tftp', ['udp']],
  ['tns', ['tcp']],
])

/** Ends the command: what it says on standard error. */
class Complaint extends Error {}

const netlinkError = (errno: number): Complaint => new Complaint(`${NAME}netlink error: ${REASONS[errno]}\n`)
const REASONS: Readonly<Record<number, string>> = {
  [Errno.NoEntry]: 'No such file or directory',
  [Errno.Busy]: 'Device or resource busy',
  [Errno.Invalid]: 'Invalid argument',
  [Errno.NotSupported]: 'Operation not supported',
}

/** The first of `names` that `word` begins. */
const begun = <T extends string>(names: readonly T[], word: string): T | undefined =>
  names.find((name) => name.startsWith(word))

/** Text of a policy, or of the defaults without its head (nfct_timeout_snprintf). */
function print(family: Family, protocol: number, seconds: Seconds): string {
  const lines = seconds.map(([name, value]) => `\t\t.${name.toUpperCase()} = ${value},\n`)
  return `\t.l3proto = ${family === 4 ? 2 : 10},\n\t.l4proto = ${protocol},\n\t.policy = {\n${lines.join('')}\t},\n};\n`
}

class Session {
  readonly #policies: TimeoutPolicies
  readonly #argv: readonly string[]
  readonly #names: (protocol: number) => readonly string[]

  constructor({ conntrack }: Engine, argv: readonly string[]) {
    this.#policies = conntrack.policies
    this.#argv = argv
    this.#names = (protocol) => (protocol === 33 ? DCCP_NAMES : conntrack.policies.names(protocol))
  }

  run(): string {
    const [first = '', second = ''] = this.#argv
    if (this.#argv.length < 2) throw new Complaint(USAGE)
    const ordered = begun(COMMANDS, first)
    const subsystem = begun(SUBSYSTEMS, ordered === undefined ? first : second)
    if (subsystem === undefined) throw new Complaint(`${NAME}Unknown subsystem: ${first}\n${USAGE}`)
    const command = ordered ?? begun(COMMANDS, second)
    if (command === undefined) throw unknownCommand(first)
    // A subsystem as any other: it takes each command, and minds none.
    if (subsystem === 'version') return VERSION
    return subsystem === 'timeout' ? this.#timeout(command) : this.#helper(command, second)
  }

  #timeout(command: Command): string {
    switch (command) {
      case 'list':
        if (this.#argv.length > 2) throw new Complaint(`${NAME}too many arguments\n`)
        return this.#policies
          .all()
          .map((policy) => this.#policy(policy))
          .join('')
      case 'add':
        return this.#add()
      case 'delete':
        return done(this.#policies.remove(this.#named()))
      case 'get': {
        const policy = this.#policies.get(this.#named())
        if (policy === null) throw netlinkError(Errno.NoEntry)
        return this.#policy(policy)
      }
      case 'flush':
        if (this.#argv.length > 2) throw new Complaint(`${NAME}too many arguments\n`)
        this.#policies.flush()
        return ''
      case 'default-set': {
        if (this.#argv.length < 5) throw missing('default-set timeout family protocol state1 timeout1...')
        const { protocol, seconds } = this.#wish(2)
        return done(this.#policies.setDefaults(protocol, seconds))
      }
      case 'default-get': {
        if (this.#argv.length < 4) throw missing('default-get timeout family protocol')
        const { family, protocol } = this.#kind(2)
        const seconds = this.#policies.defaults(protocol)
        if (typeof seconds === 'number') throw netlinkError(seconds)
        return print(family, protocol, seconds)
      }
      default:
        throw new Complaint(
          `${NAME}Missing command\nnfct <list|add|delete|get|default-set|default-get|flush> timeout [<parameters>, ...]\n`,
        )
    }
  }

  #add(): string {
    if (this.#argv.length < 5) throw missing('add timeout name family protocol state1 timeout1 ...')
    const { family, protocol, seconds } = this.#wish(3)
    return done(this.#policies.add(cut(this.#argv[2]!), family, protocol, seconds))
  }

  #policy(policy: TimeoutPolicy): string {
    return `.${policy.name} = {\n${print(policy.family, policy.protocol, this.#policies.seconds(policy))}`
  }

  /** The name behind the two words. */
  #named(): string {
    const [, , name, ...rest] = this.#argv
    if (name === undefined) throw new Complaint(`${NAME}missing timeout policy name\n`)
    if (rest.length > 0) throw new Complaint(`${NAME}too many arguments\n`)
    return cut(name)
  }

  #kind(at: number): { family: Family; protocol: number } {
    const family = FAMILIES.get(this.#argv[at]!)
    if (family === undefined) throw new Complaint(`${NAME}unknown layer 3 protocol\n`)
    const name = this.#argv[at + 1]!
    const protocol = OWN_NAMES.get(name) ?? protocolByName(name)
    if (protocol === null) throw new Complaint(`${NAME}unknown layer 4 protocol\n`)
    return { family, protocol }
  }

  /** Family, protocol and pairs of a state and its seconds. */
  #wish(at: number): { family: Family; protocol: number; seconds: Seconds } {
    const kind = this.#kind(at)
    const names = this.#names(kind.protocol)
    const seconds: [string, number][] = []
    // The reason that strtol(3) left behind when a value was beyond a long.
    let left = ''
    for (let i = at + 2; i < this.#argv.length; i += 2) {
      const word = this.#argv[i]!
      const value = this.#argv[i + 1]
      if (value === undefined) throw new Complaint(`${NAME}missing value for this timeout${left}\n`)
      const name = names.find((one) => one === word.toLowerCase())
      if (name === undefined)
        throw new Complaint(`${NAME}Wrong state name: \`${word}' for protocol \`${this.#argv[at + 1]}'\n`)
      seconds.push([name, atol(value)])
      if (strtol(value).outOfRange) left = ': Numerical result out of range'
    }
    return { ...kind, seconds }
  }

  /** Helpers in user space: a kernel without them refuses every message (no nfnetlink_cthelper). */
  #helper(command: Command, second: string): string {
    const [, , name, family, protocol, ...rest] = this.#argv
    const named = command === 'get' || command === 'delete'
    switch (command) {
      case 'add':
      case 'disable':
        if (protocol === undefined) throw missing(`${command} helper name family protocol`)
        break
      case 'get':
      case 'delete':
        if (name === undefined) throw new Complaint(`${NAME}missing helper policy name\n`)
        break
      case 'list':
      case 'flush':
        if (name !== undefined) throw new Complaint(`${NAME}too many arguments\n`)
        break
      default:
        throw new Complaint(
          `${NAME}Unknown command: ${second}\n${NAME}Missing command\nnfct helper list|add|delete|disable|get|flush [parameters...]\n`,
        )
    }
    if (named && rest.length > 0) throw new Complaint(`${NAME}too many arguments\n`)
    if (family !== undefined && !FAMILIES.has(family))
      throw new Complaint(`${NAME}unknown layer 3 protocol\n`)
    if (protocol !== undefined && protocol !== 'tcp' && protocol !== 'udp')
      throw new Complaint(`${NAME}unsupported layer 4 protocol\n`)
    if (protocol !== undefined && !named && !HELPERS.get(name!)?.includes(protocol))
      throw new Complaint(`${NAME}that helper is not supported\n`)
    throw netlinkError(Errno.Invalid)
  }
}

const unknownCommand = (word: string): Complaint => new Complaint(`${NAME}Unknown command: ${word}\n${USAGE}`)
const missing = (syntax: string): Complaint =>
  new Complaint(`${NAME}missing parameters\nsyntax: nfct ${syntax}\n`)
const cut = (name: string): string => name.slice(0, MAX_POLICY_NAME)

function done(errno: number): string {
  if (errno !== Errno.None) throw netlinkError(errno)
  return ''
}

export const nfctTool: Tool = {
  names: ['nfct'],
  run({ argv }: ToolCall, engine: Engine): ToolResult {
    try {
      return { stdout: new Session(engine, argv).run(), stderr: '', code: 0 }
    } catch (error) {
      if (!(error instanceof Complaint)) throw error
      return { stdout: '', stderr: error.message, code: 1 }
    }
  },
}
