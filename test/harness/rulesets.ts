// Whole rulesets, as texts: those that programs wrote (test/data/rulesets, recorded by scripts/record-rulesets), the
// seeds', and kube-proxy's in any size.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ToolResult } from '../../daemon/control/protocol.ts'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { SeededRandom } from '../../daemon/random.ts'
import { runTool } from '../../daemon/tools.ts'
import type { Family } from '../../datapath/packet.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { repositoryRoot } from './kernel.ts'

export interface RecordedRuleset {
  readonly name: string
  /** `ipset save`; empty if there are none. */
  readonly sets: string
  /** `iptables-save -c`. */
  readonly ipv4: string
  /** `ip6tables-save -c`. */
  readonly ipv6: string
}

/** One folder of test/data/rulesets each; and the seeds' and a cluster's, which were written by hand. */
export function recordedRulesets(): RecordedRuleset[] {
  const data = join(repositoryRoot(), 'test/data')
  const folders = readdirSync(join(data, 'rulesets')).map((name) => ({
    name,
    at: join(data, 'rulesets', name),
  }))
  const more = ['seeds', 'kubernetes'].map((name) => ({ name, at: join(data, name) }))
  return [...folders, ...more].map(({ name, at }) => {
    const text = (file: string): string =>
      existsSync(join(at, file)) ? readFileSync(join(at, file), 'latin1') : ''
    return { name, sets: text('ipset-save'), ipv4: text('iptables-save'), ipv6: text('ip6tables-save') }
  })
}

/** One command with its input. */
export interface Asked {
  readonly tool: string
  readonly argv: readonly string[]
  readonly stdin?: string
}

const restoreOf = (family: Family): string => (family === 4 ? 'iptables-restore' : 'ip6tables-restore')
const saveOf = (family: Family): string => (family === 4 ? 'iptables-save' : 'ip6tables-save')
const toolOf = (family: Family): string => (family === 4 ? 'iptables' : 'ip6tables')

/** The tables of a save that were first used first: a save prints the youngest first, a restore makes it so again. */
export const oldestFirst = (save: string): string =>
  save
    .split(/(?<=^COMMIT\n)/m)
    .reverse()
    .join('')

/** Loads a text in ways that a person may, and prints it in all the ways there are. */
export function questions(family: Family, text: string): Asked[] {
  const tables = [...text.matchAll(/^\*(\w+)$/gm)].map(([, table]) => table!)
  const tool = toolOf(family)
  const save = { tool: saveOf(family), argv: [] }
  const saveCounted = { tool: saveOf(family), argv: ['-c'] }
  return [
    { tool: restoreOf(family), argv: ['-c'], stdin: text },
    saveCounted,
    save,
    ...tables.flatMap((table) => [
      { tool, argv: ['-t', table, '-L', '-n', '-v', '--line-numbers'] },
      { tool, argv: ['-t', table, '-L', '-n', '-x'] },
      { tool, argv: ['-t', table, '-S', '-v'] },
      { tool, argv: ['-t', table, '-S'] },
    ]),
    // A second time, without counters, on top of the first; then a third time without emptying.
    { tool: restoreOf(family), argv: [], stdin: text },
    saveCounted,
    { tool: restoreOf(family), argv: ['-n', '-c'], stdin: text },
    saveCounted,
  ]
}

/** A host of ours in memory. */
export class OurHost {
  readonly engine: Engine

  constructor() {
    const dir = mkdtempSync(join(tmpdir(), 'tunwall-rulesets-'))
    try {
      writeFileSync(join(dir, 'host.yaml'), 'interfaces: {}\n')
      const memory = new FrameMemory(4, 2048)
      const egress = new MemoryEgress(memory)
      this.engine = createEngine(loadHostFolder(dir), { memory, egress, random: new SeededRandom(1) })
    } finally {
      rmSync(dir, { recursive: true })
    }
  }

  ask({ tool, argv, stdin = '' }: Asked): ToolResult {
    return runTool({ tool, argv, stdin, directory: '/' }, this.engine)
  }
}

/** The real tools' answers, in a namespace of their own. */
export function askKernel(asked: readonly Asked[]): ToolResult[] {
  const folder = mkdtempSync(join(tmpdir(), 'tunwall-rulesets-'))
  try {
    const script = asked.map(({ tool, argv, stdin = '' }, i) => {
      writeFileSync(join(folder, `${i}.in`), stdin, 'latin1')
      const program = tool === 'ipset' ? tool : tool.replace(/^(ip6?tables)/, '$1-legacy')
      return `${[program, ...argv].join(' ')} <${i}.in >${i}.out 2>${i}.err; echo $? >${i}.code`
    })
    const ran = spawnSync('unshare', ['-n', 'sh'], { cwd: folder, input: script.join('\n') })
    if (ran.status !== 0) throw new Error(`the runner failed: ${ran.stderr.toString()}`)
    const read = (name: string): string => readFileSync(join(folder, name), 'latin1')
    return asked.map((_, i) => ({
      stdout: read(`${i}.out`),
      stderr: read(`${i}.err`),
      code: Number(read(`${i}.code`)),
    }))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Without dates, and the real programs' names. */
export const comparable = ({ stdout, stderr, code }: ToolResult): ToolResult => ({
  stdout: withoutDates(stdout),
  stderr,
  code,
})

export const withoutDates = (text: string): string =>
  text.replaceAll(/^# (Generated by \S+ \S+|Completed) on .*$/gm, '# $1')

/**
 * kube-proxy's nat table: 18 lines and for each service 3 + 4 for each of its endpoints. 10,000 services of 10
 * endpoints make 430,000 lines.
 */
export function kubeProxy(services: number, endpoints: number): string {
  const name = (of: string): string =>
    [...createHash('sha256').update(of).digest().subarray(0, 16)]
      .map((byte) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[byte & 31]!)
      .join('')
  const chains: string[] = []
  const portals: string[] = []
  const rules: string[] = []
  for (let s = 0; s < services; s++) {
    const service = `default/service-${s}:http`
    const chain = `KUBE-SVC-${name(service)}`
    const clusterIp = `10.96.${(s >> 8) & 255}.${s & 255}/32`
    const portal = `-d ${clusterIp} -p tcp -m comment --comment "${service} cluster IP" -m tcp --dport 80`
    chains.push(`:${chain} - [0:0]`)
    portals.push(`-A KUBE-SERVICES ${portal} -j ${chain}`)
    rules.push(`-A ${chain} ! -s 10.128.0.0/10 ${portal} -j KUBE-MARK-MASQ`)
    for (let e = 0; e < endpoints; e++) {
      const n = s * endpoints + e
      const pod = `10.${128 + ((n >> 16) & 63)}.${(n >> 8) & 255}.${n & 255}`
      const endpoint = `KUBE-SEP-${name(`${service} ${pod}`)}`
      const share =
        e === endpoints - 1
          ? ''
          : ` -m statistic --mode random --probability ${probability(1 / (endpoints - e))}`
      chains.push(`:${endpoint} - [0:0]`)
      rules.push(
        `-A ${chain} -m comment --comment "${service} -> ${pod}:8080"${share} -j ${endpoint}`,
        `-A ${endpoint} -s ${pod}/32 -m comment --comment "${service}" -j KUBE-MARK-MASQ`,
        `-A ${endpoint} -p tcp -m comment --comment "${service}" -m tcp -j DNAT --to-destination ${pod}:8080`,
      )
    }
  }
  return [
    '*nat',
    ...['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'].map((chain) => `:${chain} ACCEPT [0:0]`),
    ...['KUBE-MARK-MASQ', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-SERVICES'].map((c) => `:${c} - [0:0]`),
    ...chains,
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    '-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000',
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0',
    '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    ...portals,
    '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
    ...rules,
    'COMMIT',
    '',
  ].join('\n')
}

/** As iptables-save prints a share of 2^31. */
const probability = (share: number): string => (Math.round(share * 0x80000000) / 0x80000000).toFixed(11)
