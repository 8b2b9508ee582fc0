// Hosts without a folder: what Host.from() is given, as the files of a host folder.

import type { Family } from '../../datapath/packet.ts'
import type { Draft } from '../../rules/draft.ts'
import { OptionError } from '../../rules/options.ts'
import { CommandParser as Commands, type CommandParser as Parser } from '../../rules/text/command.ts'
import { TableError, ToolError, ToolStop } from '../../rules/text/errors.ts'
import { execute, type Sink } from '../../rules/text/execute.ts'
import { LineError, splitWords } from '../../rules/text/line.ts'
import { textOf } from '../bytes.ts'
import type { Engine } from '../engine.ts'
import { PlaceError } from '../errors.ts'
import type { HostConfig } from '../host-folder/config.ts'
import { loadHost } from '../host-folder/index.ts'
import { SourceFile } from '../host-folder/source.ts'

/** One interface, as host.yaml has it; a text or a list is its addresses. */
export type InterfaceSpec =
  | string
  | readonly string[]
  | {
      readonly addresses?: string | readonly string[]
      readonly mtu?: number
      readonly up?: boolean
      readonly mac?: string
      readonly group?: string | number
    }

/** A host in a few lines. */
export interface HostSpec {
  /** By name, as in host.yaml: `{ eth0: '10.0.0.1/24', eth1: ['10.1.0.1/24', '2001:db8::1/64'] }`. */
  readonly interfaces?: Readonly<Record<string, InterfaceSpec>>
  /** `default via 10.1.0.254`, in the words of `ip route add`. */
  readonly routes?: readonly string[]
  /** In the words of `ip rule add`. */
  readonly rules?: readonly string[]
  /** Forwarding is on unless this says otherwise: `{ 'net.ipv4.ip_forward': 0 }`. */
  readonly sysctls?: Readonly<Record<string, string | number | boolean>>
  /** What iptables-save prints, or command lines: `-P FORWARD DROP`, `-t nat -A POSTROUTING -o eth1 -j MASQUERADE`. */
  readonly iptables?: string
  readonly ip6tables?: string
  /** What `ipset save` prints. */
  readonly ipset?: string
}

/** Command lines that are to be run once the host is there. */
export interface Lines {
  readonly family: Family
  readonly source: SourceFile
}

const isSaved = (text: string): boolean => /^\s*\*/m.test(text)

/**
 * The host of a spec, and the rules in it that are command lines. `file`: what messages call it. `sources`: texts as
 * they stand in a file, by the spec's names, where they are known. Throws PlaceError.
 */
export function configOf(
  spec: HostSpec,
  file: string,
  sources: Readonly<Record<string, SourceFile>> = {},
): { readonly config: HostConfig; readonly lines: Lines[] } {
  const { interfaces = {}, routes, rules, sysctls } = spec
  const yaml = {
    interfaces: Object.fromEntries(
      Object.entries(interfaces).map(([name, item]) => [
        name,
        typeof item === 'string' || Array.isArray(item) ? { addresses: item } : item,
      ]),
    ),
    ...(routes && { routes }),
    ...(rules && { rules }),
    sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1, ...sysctls },
  }
  const lines: Lines[] = []
  const texts = new Map<string, SourceFile>([
    ['host.yaml', new SourceFile(file, JSON.stringify(yaml, null, 2))],
  ])
  if (spec.ipset !== undefined) texts.set('ipset-save', sources.ipset ?? new SourceFile('ipset', spec.ipset))
  for (const [name, family] of [['iptables', 4] as const, ['ip6tables', 6] as const]) {
    const text = spec[name]
    if (text === undefined) continue
    const source = sources[name] ?? new SourceFile(name, bytesOf(text))
    if (isSaved(text)) texts.set(`${name}-save`, source)
    else lines.push({ family, source })
  }
  return { config: loadHost(file, (name) => texts.get(name) ?? null), lines }
}

/** Rules are text of one character a byte. */
const bytesOf = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

const SILENT: Sink = { out: () => {}, err: () => {} }

/** Runs command lines of iptables, one a line, with the places of their rules; one commit a table. Throws PlaceError. */
export function runLines({ family, source }: Lines, { registry, rulesets }: Engine): void {
  const program = family === 4 ? 'iptables' : 'ip6tables'
  const parser: Parser = new Commands({ registry, family, program, warn: () => {} })
  const drafts = new Map<string, Draft>()
  let offset = 0
  let last = { file: source.path, line: 1, column: 1 }
  const attempt = (run: () => void): void => {
    try {
      run()
    } catch (error) {
      if (error instanceof ToolStop) throw new PlaceError('expected a rule, not a question', last)
      if (
        error instanceof ToolError ||
        error instanceof OptionError ||
        error instanceof TableError ||
        error instanceof LineError
      )
        throw new PlaceError(textOf(error.message), last)
      throw error
    }
  }
  for (const text of source.text.split('\n')) {
    const trimmed = text.trim()
    const at = offset + text.length - text.trimStart().length
    offset += text.length + 1
    if (trimmed === '' || trimmed.startsWith('#')) continue
    last = source.placeAt(at)
    attempt(() => {
      const argv: string[] = []
      splitWords(trimmed.replace(/^(sudo +)?ip6?tables(-legacy)? +/, ''), 0, argv)
      const command = parser.parse(argv)
      if (command === null) return
      let draft = drafts.get(command.table)
      if (draft === undefined) {
        draft = rulesets.open(family, command.table) ?? undefined
        if (draft === undefined) throw new PlaceError(`there is no table "${command.table}"`, last)
        drafts.set(command.table, draft)
      }
      execute(command, draft, SILENT, last)
    })
  }
  attempt(() => {
    for (const draft of drafts.values()) rulesets.commit(draft)
  })
}
