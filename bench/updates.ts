// Changing rules under traffic (recipe R7): whole files of several sizes, one rule among 30,000, and what is lost
// meanwhile. Real tools in the kernel router's namespace, ours by the native client.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Lab, withLabs } from './lab.ts'
import { gatewayRules } from './rules.ts'
import { median, ratio, table } from './stats.ts'

const KINDS = ['tunwall', 'kernel', 'kernel-nft'] as const
type Kind = (typeof KINDS)[number]
const LOADED = 30_000
const LARGEST = 150_000
/** iptables-nft takes minutes for the last one. */
const SIZES: readonly (readonly [rules: number, kinds: readonly Kind[]])[] = [
  [1000, KINDS],
  [LOADED, KINDS],
  [LARGEST, ['tunwall', 'kernel']],
]
const ROUNDS = 3
const RULE = '-s 192.0.2.1/32 -p tcp -m tcp --dport 80 -j ACCEPT'
const COMMANDS = [
  ['add', `-A FORWARD ${RULE}`],
  ['replace', `-R FORWARD ${LOADED / 2} ${RULE}`],
  ['delete', `-D FORWARD ${LOADED / 2}`],
] as const
/** Packets a second, evenly, while rules change. */
const PACE = 2000

type Times = Record<Kind, number[]>
const none = (): Times => ({ tunwall: [], kernel: [], 'kernel-nft': [] })

/** Milliseconds by the clock. */
async function timed(lab: Lab, command: string): Promise<number> {
  const out = await lab.tools(`TIMEFORMAT='timed %R'; time ${command}`)
  return Number(/^timed (\S+)$/m.exec(out)![1]) * 1000
}

const ms = (of: readonly number[]): string => {
  if (of.length === 0) return ''
  const digits = (value: number): string => (value < 10 ? value.toFixed(1) : value.toFixed(0))
  return `${digits(median(of))} (${digits(Math.min(...of))} to ${digits(Math.max(...of))})`
}
const row = (name: string, of: Times): string[] => [
  name,
  ms(of.tunwall),
  ms(of.kernel),
  ms(of['kernel-nft']),
  ratio(median(of.kernel) / median(of.tunwall)),
  of['kernel-nft'].length === 0 ? '' : ratio(median(of['kernel-nft']) / median(of.tunwall)),
]

export async function updates(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-bench-'))
  const file = (rules: number): string => join(directory, String(rules))
  try {
    for (const [size] of SIZES) writeFileSync(file(size), gatewayRules(size))
    return await withLabs(KINDS, { offload: false, rules: gatewayRules(0) }, async (labs) => {
      const rows: string[][] = []
      for (const [size, kinds] of SIZES) {
        const times = none()
        for (let round = 0; round < ROUNDS; round++)
          for (const kind of kinds)
            times[kind].push(await timed(labs[kind], `iptables-restore ${file(size)}`))
        rows.push(row(`restore of ${size} rules`, times))
      }
      for (const kind of KINDS) await labs[kind].tools(`iptables-restore ${file(LOADED)}`)
      for (const [name, command] of COMMANDS) {
        const times = none()
        for (let round = 0; round < ROUNDS; round++)
          for (const kind of KINDS) times[kind].push(await timed(labs[kind], `iptables ${command}`))
        rows.push(row(`${name} one of ${LOADED}`, times))
      }
      return [
        `Milliseconds by the clock, one command each; medians of ${ROUNDS} interleaved rounds (lowest to highest).`,
        '',
        table(
          ['what', 'tunwall', 'iptables-legacy', 'iptables-nft', 'legacy / tunwall', 'nft / tunwall'],
          rows,
        ),
        '',
        await losses(labs, file),
      ].join('\n')
    })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** What goes on meanwhile, seconds of traffic, packets a second; iptables-nft takes minutes for the largest file. */
const CHANGES: readonly (readonly [
  string,
  number,
  number,
  (file: (rules: number) => string) => string,
  readonly Kind[],
])[] = [
  ['nothing', 1, PACE, () => 'true', KINDS],
  ['10 rules one by one', 3, PACE, () => `for i in $(seq 10); do iptables -A FORWARD ${RULE}; done`, KINDS],
  [`restore of ${LOADED} rules`, 3, PACE, (file) => `iptables-restore ${file(LOADED)}`, KINDS],
  [
    `restore of ${LARGEST} rules`,
    6,
    PACE,
    (file) => `iptables-restore ${file(LARGEST)}`,
    ['tunwall', 'kernel'],
  ],
  [
    `restore of ${LARGEST} rules`,
    6,
    10 * PACE,
    (file) => `iptables-restore ${file(LARGEST)}`,
    ['tunwall', 'kernel'],
  ],
]

async function losses(labs: Readonly<Record<Kind, Lab>>, file: (rules: number) => string): Promise<string> {
  const rows: string[][] = []
  for (const [name, seconds, pace, script, kinds] of CHANGES) {
    const cells: string[] = [name, String(pace)]
    for (const kind of kinds) {
      const { offered, received } = await labs[kind].pacedUdp(seconds, pace, () =>
        labs[kind].tools(script(file)),
      )
      cells.push(`${Math.max(0, offered - received)} of ${offered}`)
    }
    while (cells.length < 2 + KINDS.length) cells.push('')
    rows.push(cells)
  }
  return [
    'Packets lost while rules change:',
    '',
    table(['meanwhile', 'packets/s', 'tunwall', 'iptables-legacy', 'iptables-nft'], rows),
  ].join('\n')
}
