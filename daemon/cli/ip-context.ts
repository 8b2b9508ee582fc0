// One call of ip(8): its options, the host it speaks of, and how a refusal of the kernel is worded.

import { DeviceError, type Devices } from '../../datapath/device-table.ts'
import { type Device, newDevice } from '../../datapath/devices.ts'
import { RouteError } from '../../datapath/fib.ts'
import type { Host } from '../../datapath/host.ts'
import type { Family } from '../../datapath/packet.ts'
import { scanned } from '../../rules/text/numbers.ts'
import { Output } from './ip-output.ts'
import { type Foreign, Line, Names, NumberReader } from './ip-words.ts'

export interface IpOptions {
  family: Family | 0
  /** -B, -M, -0 and `ip link`: a family of which this host has neither addresses nor routes; `family` is 0 then. */
  foreign: Foreign | null
  /** Show what the kernel says that it has done. Not in a batch. */
  echo: boolean
  /** -c: always, or not. */
  color: boolean
  json: boolean
  pretty: boolean
  oneline: boolean
  brief: boolean
  details: boolean
  /** How often -s was given. */
  stats: number
  numeric: boolean
  timestamp: boolean
  human: boolean
  maxLoops: number
}

/** No options: what `ip` prints to a person. */
export const PLAIN: IpOptions = {
  family: 0,
  foreign: null,
  color: false,
  echo: false,
  json: false,
  pretty: false,
  oneline: false,
  brief: false,
  details: false,
  stats: 0,
  numeric: false,
  timestamp: false,
  human: false,
  maxLoops: 10,
}

/** strerror(3) of what the kernel refuses with. */
const ERRORS: Readonly<Record<string, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  ESRCH: 'No such process',
  EACCES: 'Permission denied',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  ENODEV: 'No such device',
  EINVAL: 'Invalid argument',
  ERANGE: 'Numerical result out of range',
  EOPNOTSUPP: 'Operation not supported',
  EAFNOSUPPORT: 'Address family not supported by protocol',
  ENXIO: 'No such device or address',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EMSGSIZE: 'Message too long',
  ENOBUFS: 'No buffer space available',
  ENETDOWN: 'Network is down',
  ENETUNREACH: 'Network is unreachable',
  EHOSTUNREACH: 'No route to host',
}

/** What a netlink request comes back with: an errno, and perhaps the kernel's own words (extack). */
export class Refusal extends Error {
  readonly code: string
  readonly told: string | null
  constructor(code: string, told: string | null = null) {
    super(told ?? code)
    this.code = code
    this.told = told
  }
}

/** IFNAMSIZ without the byte that ends it. */
const MAX_NAME = 15

export interface IpSession {
  /** do_link: `ip link show` was run, and from then on links tell more of themselves. */
  links: boolean
  /** Names that were read so far. */
  readonly numbers: NumberReader
}

/** What a `save` of addresses and routes begins with (dump_magic of iproute2). */
const MAGIC = { address: '"\x126G', route: '$\x121E' }

export class IpContext {
  readonly options: IpOptions
  readonly host: Host
  readonly out: Output
  readonly names = new Names()
  err = ''
  /** -6: links are asked for from IPv6, which knows less of them, unless one is named. */
  short: boolean

  /** Questions are strict (NETLINK_GET_STRICT_CHK): a table that is not there is an error. Not in a batch. */
  readonly strict: boolean
  /** What one line of a batch leaves behind for the next. */
  readonly session: IpSession
  /** Standard input, bytes as characters. */
  readonly #input: string

  /** `session`: of a batch; null: a command of its own. */
  constructor(host: Host, options: IpOptions, session: IpSession | null, input = '') {
    this.#input = input
    this.strict = session === null
    this.session = session ?? { links: false, numbers: new NumberReader() }
    this.host = host
    this.options = options
    this.short = options.family === 6
    this.out = new Output(options.json, options.pretty, options.oneline, options.color)
    this.names.numeric = options.numeric
  }

  get devices(): Devices {
    return this.host.devices
  }

  /** ll_name_to_index(): by what netlink knows, then by what SIOCGIFINDEX reads, then `if7`. */
  device(name: string): Device | undefined {
    const named = this.devices.byAnyName(name)
    if (named !== undefined) return named
    // dev_ioctl() cuts a label off the name of its interface: `eth0:1` is eth0.
    const colon = name.indexOf(':')
    const labelled =
      colon < 0 || name.length > MAX_NAME ? undefined : this.devices.byAnyName(name.slice(0, colon))
    if (labelled !== undefined) return labelled
    return this.devices.byIndex[numberOf(name)]
  }

  /** Whether a name is none and `if99` is no device's number: the tool asks for it all the same, and the kernel refuses. */
  isNobody(name: string): boolean {
    return numberOf(name) !== 0 && this.device(name) === undefined
  }

  /** As device(); of nobody one that is not there, without MTU. Null: the tool refuses the name itself. */
  asked(name: string): Device | null {
    return this.device(name) ?? (this.isNobody(name) ? newDevice(numberOf(name), name, 0) : null)
  }

  /** rtnl_talk(): 0, or the words of the refusal on standard error and 2. */
  talk(request: () => void): 0 | 2 {
    try {
      request()
      return 0
    } catch (error) {
      const refusal = refusalOf(error)
      if (refusal === null) throw error
      this.err +=
        refusal.told === null
          ? `RTNETLINK answers: ${ERRORS[refusal.code] ?? refusal.code}\n`
          : `Error: ${refusal.told}${refusal.told.endsWith('.') ? '' : '.'}\n`
      return 2
    }
  }

  /** `restore` and `showdump`: what is read does not begin as what `save` writes, or is, which this host cannot take. */
  foreignDump(verb: string): string {
    const bytes = Buffer.from(this.#input.slice(0, 4), 'latin1')
    const magic = bytes.reduceRight((sum, byte) => sum * 256 + byte, 0)
    return Object.values(MAGIC).includes(bytes.toString('latin1'))
      ? `ip ${verb}: the binary form is the kernel's\n`
      : `Magic mismatch (${bytes.length === 4 ? 1 : 0} elems, ${magic.toString(16)} magic)\n`
  }

  /** `save`: all that it writes is in the kernel's words, but for this. */
  saveMagic(object: keyof typeof MAGIC): void {
    this.out.raw(MAGIC[object])
  }

  line(words: readonly string[]): Line {
    return new Line(words, this.options.foreign, this.session.numbers, (text) => {
      this.err += text
    })
  }
}

/** ll_idx_a2n(): the number in `if7`, 0 if there is none; sscanf(3) does not mind what stands behind it. `if-1` is the int -1. */
export function numberOf(name: string): number {
  const [, sign, digits] = /^if\s*([+-]?)(\d+)/.exec(name) ?? []
  if (digits === undefined) return 0
  return Number(BigInt.asIntN(32, scanned(BigInt(digits), sign === '-')))
}

function refusalOf(error: unknown): Refusal | null {
  if (error instanceof Refusal) return error
  if (error instanceof RouteError) return new Refusal(error.code, error.told ? error.message : null)
  if (error instanceof DeviceError) return new Refusal(error.code)
  return null
}
