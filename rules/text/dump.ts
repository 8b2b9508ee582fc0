// What -v twice prints of a table: libiptc's own copy, as the kernel gave it before the command (dump_entries() of libip4tc.c
// and libip6tc.c of 1.8.9). Built-in chains end with their policy, the others begin with an ERROR entry that has their name and
// end with a RETURN; a last ERROR entry ends the table.

import type { Family } from '../../datapath/packet.ts'
import { byBytes } from '../check.ts'
import type { Match, Target } from '../extension.ts'
import {
  ENTRY_SIZE,
  HEADER_SIZE,
  interfaceMaskLength,
  inversionFlags,
  kernelName,
  PLAIN_LAYOUT,
} from '../layout.ts'
import {
  type AddressMatch,
  BUILTIN,
  type Counters,
  type InterfaceMatch,
  NO_BASE,
  type Rule,
  type TargetUse,
} from '../model.ts'
import type { ChainView, TableView } from '../view.ts'
import { ANY, formatAddress, prefixLength } from './address.ts'
import type { Sink } from './execute.ts'
import { countText } from './print.ts'

/** Bytes of a struct xt_standard_target and of a struct xt_error_target. */
const STANDARD_SIZE = 40
const ERROR_SIZE = 64

/** All hooks in their order: mangle has a chain at each. */
const HOOKS = BUILTIN.mangle

interface Entry {
  readonly rule: Pick<Rule, 'base' | 'matches'>
  /** Null: ERROR. */
  readonly target: TargetUse | null
  /** Of an ERROR entry. */
  readonly label: string
  readonly counters: Counters
  readonly offset: number
  readonly size: number
}

const ALWAYS: Entry['rule'] = { base: NO_BASE, matches: [] }
const ZERO: Counters = { packets: 0, bytes: 0 }
const RETURN: TargetUse = { kind: 'standard', verdict: 'RETURN' }

/** Bytes of a match or target with its header. */
function sizeOf({ layout = PLAIN_LAYOUT }: Match | Target, family: Family): number {
  return HEADER_SIZE + ((family === 4 ? layout.size4 : undefined) ?? layout.size)
}

function targetSize(target: TargetUse | null, family: Family): number {
  if (target === null) return ERROR_SIZE
  return target.kind === 'extension' ? sizeOf(target.target, family) : STANDARD_SIZE
}

/** The table as one block of entries. */
class Blob {
  readonly family: Family
  readonly entries: Entry[] = []
  size = 0
  /** Where each chain begins (for jumps), and where what ends it stands. */
  readonly starts = new Map<string, number>()
  readonly ends = new Map<string, number>()

  constructor(view: TableView) {
    this.family = view.family
    const builtin = BUILTIN[view.name]
    const user = [...view.chains.keys()].filter((name) => !builtin.includes(name)).sort(byBytes)
    for (const name of [...builtin, ...user]) this.#chain(name, view.chains.get(name)!)
    this.#put({ label: 'ERROR' })
  }

  #chain(name: string, { model, counters, policyPackets, policyBytes }: ChainView): void {
    const { policy, rules } = model
    if (policy === null) this.#put({ label: name })
    this.starts.set(name, this.size)
    for (const [i, rule] of rules.entries())
      this.#put({
        rule,
        target: rule.target,
        counters: { packets: counters[2 * i]!, bytes: counters[2 * i + 1]! },
      })
    this.ends.set(name, this.size)
    if (policy === null) this.#put({ target: RETURN })
    else
      this.#put({
        target: { kind: 'standard', verdict: policy },
        counters: { packets: policyPackets, bytes: policyBytes },
      })
  }

  #put({
    rule = ALWAYS,
    target = null,
    label = '',
    counters = ZERO,
  }: Partial<Pick<Entry, 'rule' | 'target' | 'label' | 'counters'>>): void {
    const { family } = this
    const matches = rule.matches.reduce((sum, { match }) => sum + sizeOf(match, family), 0)
    const size = ENTRY_SIZE[family] + matches + targetSize(target, family)
    this.entries.push({ rule, target, label, counters, offset: this.size, size })
    this.size += size
  }
}

/** Prints the table as it is in force. */
export function dumpTable(view: TableView, sink: Sink): void {
  const blob = new Blob(view)
  const builtin = BUILTIN[view.name]
  const hooks = (offsets: ReadonlyMap<string, number>): string =>
    HOOKS.map((name) => (builtin.includes(name) ? offsets.get(name)!.toString(16) : 'ffffffff')).join('/')
  sink.out(
    `libiptc vlibxtables.so.12. ${blob.size} bytes.\n` +
      `Table \`${view.name}'\n` +
      `Hooks: pre/in/fwd/out/post = ${hooks(blob.starts)}\n` +
      `Underflows: pre/in/fwd/out/post = ${hooks(blob.ends)}\n`,
  )
  for (const [i, entry] of blob.entries.entries()) sink.out(entryText(entry, i, blob))
}

function entryText(entry: Entry, index: number, blob: Blob): string {
  const { family } = blob
  const { rule, target, counters } = entry
  const { base, matches } = rule
  const goto = target?.kind === 'goto'
  const flags =
    family === 4
      ? (base.fragment === null ? 0 : 1) | (goto ? 2 : 0)
      : (base.protocol === null ? 0 : 1) | (goto ? 4 : 0)
  let text =
    `Entry ${index} (${entry.offset}):\n` +
    `SRC IP: ${addressText(base.source, family)}` +
    `DST IP: ${addressText(base.destination, family)}` +
    `Interface: ${interfaceText(base.inInterface)}to ${interfaceText(base.outInterface)}\n` +
    `Protocol: ${base.protocol?.number ?? 0}\n` +
    `Flags: ${byteText(flags)}\n` +
    `Invflags: ${byteText(inversionFlags(base))}\n` +
    `Counters: ${countText(counters.packets)} packets, ${countText(counters.bytes)} bytes\n` +
    'Cache: 00000000\n'
  for (const { match } of matches) text += `Match name: \`${kernelName(match)}'\n`
  const name = target === null ? 'ERROR' : target.kind === 'extension' ? kernelName(target.target) : ''
  text += `Target name: \`${name}' [${targetSize(target, family)}]\n`
  if (target === null) text += `error=\`${entry.label}'\n`
  else if (target.kind !== 'extension') text += `verdict=${verdictText(target, entry, blob)}\n`
  return `${text}\n`
}

const byteText = (value: number): string => value.toString(16).toUpperCase().padStart(2, '0')

/** ip6tables ends a line behind each address (puts()), and behind a mask with holes. */
function addressText(match: AddressMatch | null, family: Family): string {
  const { words, mask } = match ?? { words: ANY, mask: ANY }
  const address = formatAddress(words, family)
  if (family === 4) return `${address}/${formatAddress(mask, family)}\n`
  const bits = prefixLength(mask, family)
  return `\n${address}\n/${bits >= 0 ? bits : `${formatAddress(mask, family)}\n`}\n`
}

function interfaceText(match: InterfaceMatch | null): string {
  const name = match?.name ?? ''
  return `\`${name}'/${'X'.repeat(interfaceMaskLength(name)).padEnd(16, '.')}`
}

/** Jumps are offsets; a rule without a target jumps to the next one. ip6tables knows no name for QUEUE. */
function verdictText(
  target: Exclude<TargetUse, { readonly kind: 'extension' }>,
  { offset, size }: Entry,
  { family, starts }: Blob,
): string {
  switch (target.kind) {
    case 'none':
      return String(offset + size)
    case 'jump':
    case 'goto':
      return String(starts.get(target.chain)!)
    case 'standard':
      if (target.verdict === 'RETURN') return 'RETURN'
      if (target.verdict === 'QUEUE' && family === 6) return 'UNKNOWN'
      return `NF_${target.verdict}`
  }
}
