// A scenario: one host, the frames it is sent, as plain data. The kernel and tunwall are both given it, and it
// can be kept as a file (test/differential/regressions/*.json) or written as a host folder with a capture.

export type Family = 4 | 6

/** An interface of the host: a TUN device on the kernel's side. Interface numbers: lo 1, then 2, 3, … in order. */
export interface ScenarioDevice {
  readonly name: string
  readonly mtu: number
  /** `ip link set … group`, 0 unless said. */
  readonly group?: number
  /** Each in the words of `ip addr add`: `10.0.0.1/24`, `10.0.0.1/24 brd +`, `10.0.0.1 peer 10.0.0.2/32`. */
  readonly addresses: readonly string[]
}

/** Interfaces that have an address. */
export const numbered = ({ devices }: Pick<Scenario, 'devices'>): readonly ScenarioDevice[] =>
  devices.filter(({ addresses }) => addresses.length > 0)

/**
 * Two bytes of a frame that repeat what the host sent earlier: a port or identifier drawn at random by NAT.
 * A run puts in what it saw and mends the checksums; where the answer is missing the recorded bytes stay.
 */
export interface Reference {
  /** Offset of the two bytes in this frame. */
  readonly at: number
  /** Step whose answer has them; Step.id. */
  readonly step: number
  /** Number of the frame among that step's answers. */
  readonly answer: number
  /** Offset of the two bytes in the answer. */
  readonly from: number
}

export interface Step {
  /** Unique in the scenario; survives the removal of other steps. */
  readonly id: number
  /** Milliseconds to wait before the frame, or alone. */
  readonly pause?: number
  /** Interface the frame comes in at; without it the step is only a pause. */
  readonly dev?: string
  /** Hex. */
  readonly frame?: string
  readonly references?: readonly Reference[]
  /** A tool and its arguments, run instead of sending a frame. */
  readonly command?: readonly string[]
  /** The command's standard input. */
  readonly input?: string
  /** What the generator meant by it. */
  readonly note?: string
}

/** What a host has of the other family besides: its sysctls stand with all others. */
export interface Beside {
  /** By name of the interface. */
  readonly addresses: Readonly<Record<string, readonly string[]>>
  readonly routes: readonly string[]
  readonly rules: readonly string[]
  readonly iptables: string
}

export interface Scenario {
  readonly name: string
  /** Of addresses, routes, rules and frames; 4 unless said. */
  readonly family?: Family
  readonly devices: readonly ScenarioDevice[]
  /** In the words of `ip route add`. */
  readonly routes: readonly string[]
  /** In the words of `ip rule add`. */
  readonly rules: readonly string[]
  /** Dotted names, in the order in which they are written. */
  readonly sysctls: Readonly<Record<string, string>>
  /** Text for `ipset restore`, before the rules. */
  readonly sets?: string
  /** In the words of `nfct add timeout`, before the rules. */
  readonly policies?: readonly string[]
  /** Text for iptables-restore, or ip6tables-restore; empty: nothing is ever loaded. */
  readonly iptables: string
  /** Frames may be of both families then. */
  readonly beside?: Beside
  readonly steps: readonly Step[]
}

/** A frame that left the host. */
export interface Sent {
  readonly dev: string
  readonly bytes: Uint8Array
}

/** What one step did to a host. */
export interface StepRun {
  readonly id: number
  /** Milliseconds since the run began; on the kernel's side whole jiffies, by which netfilter measures time. */
  readonly at: number
  /** Wall clock, milliseconds since 1970. */
  readonly wall: number
  /** What had expired was taken out of the table of connections just before. */
  readonly collected?: boolean
  readonly dev: string | null
  /** The frame as it went in, references filled in. */
  readonly injected: Uint8Array | null
  /** Frames that left before this step's own went in: during its pause, or too late for the step before. */
  readonly before: readonly Sent[]
  readonly sent: readonly Sent[]
}

/** What a whole scenario did to a host. */
export interface Run {
  /** Wall clock at the start, milliseconds since 1970. */
  readonly wall: number
  /** Jiffies at the start, in milliseconds: timers fire at round ones. */
  readonly uptime?: number
  /** Steps during which a jiffy ended: nobody knows which of the two netfilter saw. */
  readonly straddling?: number
  readonly steps: readonly StepRun[]
  /** When the tables below were read, milliseconds since the run began. */
  readonly endAt: number
  /** `iptables-save -c`, or `ip6tables-save -c`. */
  readonly save: string
  /** The same of the other family, if the scenario has both. */
  readonly saveBeside?: string
  /** `ipset save`, if the scenario has sets. */
  readonly sets?: string
  /** When they were made, milliseconds since the run began: negative. From there on their collectors come by. */
  readonly setsAt?: number
  /** Lists and tables that rules keep, as below /proc: path to text. */
  readonly proc?: Readonly<Record<string, string>>
  /** Those a moment later: reading them takes the kernel a while, and brings what it shows up to date. Not of the kernel. */
  readonly procLater?: Readonly<Record<string, string>>
  /** What NFLOG and TRACE said: struct nfgenmsg and attributes, in order. */
  readonly records?: readonly Uint8Array[]
  /** `conntrack -L -o extended` of the families, a line each. */
  readonly conntrack: readonly string[]
  /** `conntrack -L expect`, a line each, if some rule names a helper. */
  readonly expect?: readonly string[]
  /** Statistics of /proc/net/snmp and netstat (IPv4: `Ip.InReceives` to its number), or snmp6 (`Ip6InReceives`), or all. */
  readonly snmp?: Readonly<Record<string, number>>
  /** The same a little before and behind the end, on tunwall's side: timers are not that exact. */
  readonly snmpAround?: readonly [Readonly<Record<string, number>>, Readonly<Record<string, number>>]
  /** tunwall dropped a packet that goes round and round for ever. */
  readonly endless?: boolean
  /** `conntrack -S`, all processors together. */
  readonly stats?: Readonly<Record<string, number>>
}

/** Numbers of `conntrack -S`: those of the processors added up. */
export function readStats(text: string): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const [, name = '', value] of text.matchAll(/\b(?!cpu=)(\w+)=(\d+)/g))
    sums[name] = (sums[name] ?? 0) + Number(value)
  return sums
}

/** Numbers of /proc/net/snmp and netstat, by group and name; what is 0 is left out. */
export function readSnmp(text: string): Record<string, number> {
  const out: Record<string, number> = {}
  const lines = text.split('\n')
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const [group = '', ...names] = lines[i]!.split(' ')
    const values = lines[i + 1]!.split(' ').slice(1)
    for (const [n, name] of names.entries())
      if (values[n] !== '0') out[`${group.slice(0, -1)}.${name}`] = Number(values[n])
  }
  return out
}

/** Numbers of /proc/net/snmp6, and those of TCP in /proc/net/snmp, which both families share; as readSnmp(). */
export function readSnmp6(text: string, both: string): Record<string, number> {
  const tcp = Object.entries(readSnmp(both)).filter(([name]) => /^Tcp\.(In|Out)/.test(name))
  const out: Record<string, number> = Object.fromEntries(tcp)
  for (const [, name = '', value] of text.matchAll(/^(\w+)\s+(\d+)$/gm))
    if (value !== '0') out[name] = Number(value)
  return out
}

/** Of addresses, rules and frames. */
export const familiesOf = ({ family = 4, beside }: Scenario): readonly Family[] =>
  beside === undefined ? [family] : [4, 6]

/** The scenario's part of one of its families. */
export const partOf = (scenario: Scenario, family: Family): Omit<Beside, 'addresses'> =>
  family === (scenario.family ?? 4) ? scenario : scenario.beside!

/** Addresses of an interface that are of the family. */
export const addressesOf = (
  { family: own = 4, beside }: Scenario,
  { name, addresses }: ScenarioDevice,
  family: Family,
): readonly string[] => (family === own ? addresses : (beside?.addresses[name] ?? []))

/** The rules at the begin, of both families. */
export const firstRules = ({ iptables, beside }: Pick<Scenario, 'iptables' | 'beside'>): string =>
  beside === undefined ? iptables : `${iptables}${beside.iptables}`

/** The rules, and those that a command puts in later, a line each. */
export const allRules = (scenario: Scenario): string =>
  [
    firstRules(scenario),
    ...scenario.steps.map(({ command, input = '' }) => `${command?.join(' ') ?? ''}\n${input}`),
  ].join('')

/** Whether some rule names an application helper. */
export const hasHelpers = (scenario: Scenario): boolean => firstRules(scenario).includes(' --helper ')

/** Whether some rule keeps a list or table that is shown below /proc. */
export const hasProc = (scenario: Scenario): boolean => / -m (recent|hashlimit) /.test(firstRules(scenario))

/**
 * Whether some rule hands out packets. Where ports are drawn they may show what no frame does, and so what nobody can
 * make tunwall draw too.
 */
export const hasRecords = (scenario: Scenario): boolean =>
  / -j (NFLOG|TRACE)\b/.test(firstRules(scenario)) && !firstRules(scenario).includes('--random')

export const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
export const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

/** The words of an `ip addr add` line as data. */
export function addressOf(words: string): { address: string; prefix: number; rest: string } {
  const [first = '', ...rest] = words.split(/\s+/)
  const [address = '', prefix] = first.split('/')
  return {
    address,
    prefix: prefix === undefined ? (address.includes(':') ? 128 : 32) : Number(prefix),
    rest: rest.join(' '),
  }
}

/** One JSON object, steps on a line each, so that a diff of two stored scenarios can be read. */
export function printScenario(scenario: Scenario): string {
  const { steps, ...head } = scenario
  const text = JSON.stringify(head, null, 1)
  return `${text.slice(0, -2)},\n "steps": [\n${steps.map((s) => `  ${JSON.stringify(s)}`).join(',\n')}\n ]\n}\n`
}

/** A run as JSON, bytes as `{"hex":"…"}`: what the kernel once did can be held against tunwall again. */
export const printRun = (run: Run): string =>
  JSON.stringify(run, (_, value) => (value instanceof Uint8Array ? { hex: hex(value) } : value))

export const parseRun = (text: string): Run =>
  JSON.parse(text, (_, value) => (typeof value?.hex === 'string' ? unhex(value.hex) : value)) as Run

export function parseScenario(text: string): Scenario {
  return JSON.parse(text) as Scenario
}
