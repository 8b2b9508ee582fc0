// Where dropping is cheapest (recipe R5): one rule at each place that a flood meets, and the flood tracked or not.

import { Lab } from './lab.ts'
import { median, ratio, spread, table } from './stats.ts'

const SECONDS = 0.5
const ROUNDS = 5
const KINDS = ['tunwall', 'kernel'] as const

const drop = (chain: string): string =>
  `-A ${chain} -p udp -m udp --dport 9 -m comment --comment flood -j DROP`

interface Place {
  readonly name: string
  readonly table: string
  readonly chain: string
  /** Rules before it, in tables of their own. */
  readonly before?: string
}

const NOTRACK = '*raw\n-A PREROUTING -p udp -m udp --dport 9 -j CT --notrack\nCOMMIT\n'
/** So that there is tracking at all. */
const TRACKED = '*nat\n-A POSTROUTING -o wan -p tcp -j MASQUERADE\nCOMMIT\n'

const PLACES: readonly Place[] = [
  { name: 'raw PREROUTING', table: 'raw', chain: 'PREROUTING' },
  { name: 'mangle PREROUTING', table: 'mangle', chain: 'PREROUTING' },
  { name: 'filter FORWARD', table: 'filter', chain: 'FORWARD' },
  { name: 'filter FORWARD, NOTRACK', table: 'filter', chain: 'FORWARD', before: NOTRACK },
]

const rules = ({ table: name, chain, before = '' }: Place): string =>
  `${TRACKED}${before}*${name}\n${drop(chain)}\nCOMMIT\n`

interface Flood {
  readonly tunwall: number[]
  readonly kernel: number[]
  /** tunwall's processor time for a packet. */
  readonly ns: number[]
}

/** All places and both contenders in turn. */
async function floods(labs: readonly Lab[][]): Promise<Flood[]> {
  const all = PLACES.map((): Flood => ({ tunwall: [], kernel: [], ns: [] }))
  for (let round = -1; round < ROUNDS; round++)
    for (const [i, place] of PLACES.entries())
      for (const lab of labs[i]!) {
        const { rate, ns } = await lab.dropped(place.table, 'flood', round < 0 ? lab.settling : SECONDS)
        if (round < 0) continue
        all[i]![lab.kind as 'tunwall' | 'kernel'].push(rate)
        if (lab.kind === 'tunwall') all[i]!.ns.push(ns)
      }
  return all
}

export async function drops(): Promise<string> {
  const labs: Lab[][] = []
  try {
    for (const place of PLACES) {
      labs.push([])
      for (const kind of KINDS)
        labs.at(-1)!.push(await Lab.start({ kind, offload: false, rules: rules(place) }))
    }
    const all = await floods(labs)
    const first = all[0]!
    return [
      `60-byte UDP packets of one flow, offered without pause and dropped by one rule; packets a second that the rule counted, medians of ${ROUNDS} interleaved runs of ${SECONDS} s (lowest to highest). The kernel drops in the sender's own call, between veths; tunwall reads each from its device.`,
      '',
      table(
        [
          'where',
          'tunwall',
          'kernel',
          'tunwall / kernel',
          'ns a packet',
          'cost against raw',
          'kernel against raw',
        ],
        PLACES.map((place, i) => {
          const { tunwall, kernel, ns } = all[i]!
          return [
            place.name,
            spread(tunwall),
            spread(kernel),
            ratio(median(tunwall) / median(kernel)),
            median(ns).toFixed(0),
            ratio(median(ns) / median(first.ns)),
            ratio(median(first.kernel) / median(kernel)),
          ]
        }),
      ),
    ].join('\n')
  } finally {
    for (const lab of labs.flat()) lab.stop()
  }
}
