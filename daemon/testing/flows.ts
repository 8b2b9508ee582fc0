// Connections as `conntrack -L` lists them, as data.

export interface FlowSide {
  readonly src: string
  readonly dst: string
  /** Null for protocols without ports. */
  readonly sport: number | null
  readonly dport: number | null
  /** 0 unless net.netfilter.nf_conntrack_acct is on. */
  readonly packets: number
  readonly bytes: number
}

export interface Flow {
  /** `tcp`, `icmp` …; `unknown` for a protocol without a name. */
  readonly protocol: string
  /** `ESTABLISHED`; '' for protocols without states. */
  readonly state: string
  /** Seconds until it is forgotten. */
  readonly timeout: number
  readonly original: FlowSide
  readonly reply: FlowSide
  /** UNREPLIED, ASSURED. */
  readonly flags: readonly string[]
  readonly mark: number
  readonly zone: number
  /** The line. */
  readonly text: string
}

/** Lines of `conntrack -L -o extended`. */
export const readFlows = (text: string): Flow[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map(readFlow)

function readFlow(text: string): Flow {
  const pairs = [...text.matchAll(/(\S+?)=(\S+)/g)].map(([, key, value]) => [key!, value!] as const)
  const all = (key: string): string[] => pairs.filter(([k]) => k === key).map(([, value]) => value)
  const side = (n: number): FlowSide => {
    const number = (key: string): number | null => (all(key)[n] === undefined ? null : Number(all(key)[n]))
    return {
      src: all('src')[n] ?? '',
      dst: all('dst')[n] ?? '',
      sport: number('sport'),
      dport: number('dport'),
      packets: number('packets') ?? 0,
      bytes: number('bytes') ?? 0,
    }
  }
  // ipv4 2 tcp 6 431999 ESTABLISHED src=…
  const head = text.split(/\s+/)
  const at = head.findIndex((word) => word.includes('='))
  return {
    protocol: head[2] ?? '',
    state: at > 5 ? (head[5] ?? '') : '',
    timeout: Number(head[4]),
    original: side(0),
    reply: side(1),
    flags: [...text.matchAll(/\[(\w+)\]/g)].map(([, flag]) => flag!),
    mark: Number(all('mark')[0] ?? 0),
    zone: Number(all('zone')[0] ?? 0),
    text,
  }
}
