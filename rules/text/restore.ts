// Reads what iptables-save printed, line by line, into drafts, and commits each table at its COMMIT: the loop of
// iptables-restore 1.8.9. Also the loader of rules files, which says where a mistake stands.

import type { Family } from '../../datapath/packet.ts'
import type { Draft } from '../draft.ts'
import type { BaseMatch, Counters, MatchUse, Place, Rule, TargetUse } from '../model.ts'
import { OptionError } from '../options.ts'
import type { RulesetAccess } from '../ruleset.ts'
import { CommandParser } from './command.ts'
import { errnoText, RuleError, TableError, ToolError } from './errors.ts'
import { execute, type Sink } from './execute.ts'
import { FastLines } from './fast.ts'
import {
  beforeZero,
  fields,
  LineError,
  lineEnd,
  own,
  type RuleCounters,
  ruleCounters,
  splitWords,
} from './line.ts'
import { MAX_NAME, type Registry } from './registry.ts'

export interface RestoreOptions {
  readonly family: Family
  readonly registry: Registry
  readonly rulesets: RulesetAccess
  /** iptables-restore or ip6tables-restore, for messages. */
  readonly program: string
  readonly sink: Sink
  /** Where the lines come from, for the places of rules. */
  readonly file: string
  /** -c; 'if given': counters count where they stand, and may be missing. */
  readonly counters: boolean | 'if given'
  /** -n: keep what is there. */
  readonly noFlush?: boolean
  /** -t: commit nothing. */
  readonly testing?: boolean
  /** -T: only this table. */
  readonly only?: string | null
  /** How often -v was given: as often it stands in front of each rule. */
  readonly verbose?: number
}

/** `iptables-restore: line 3 failed`, exit status 1; `cause` says why, for people. */
export class LineFailed extends Error {
  readonly line: number
  override readonly cause: TableError | null
  constructor(program: string, line: number, cause: TableError | null) {
    super(`${program}: line ${line} failed`)
    this.line = line
    this.cause = cause
  }
}

/** A rule that fills a line. There may be hundreds of thousands: their places are made when somebody asks. */
class LineRule implements Rule {
  readonly base: BaseMatch
  readonly matches: readonly MatchUse[]
  readonly target: TargetUse
  readonly needs: number
  readonly file: string
  readonly line: number

  constructor(
    base: BaseMatch,
    matches: readonly MatchUse[],
    target: TargetUse,
    needs: number,
    file: string,
    line: number,
  ) {
    this.base = base
    this.matches = matches
    this.target = target
    this.needs = needs
    this.file = file
    this.line = line
  }

  get place(): Place {
    return { file: this.file, line: this.line, column: 1 }
  }
}

export class Restore {
  readonly #o: RestoreOptions
  readonly #parser: CommandParser
  /** Null where every rule is printed. */
  readonly #fast: FastLines | null
  #draft: Draft | null = null
  #inTable = false
  #table = ''
  #testing: boolean
  /** There are bytes 0 in the text. */
  #zeros = false
  /** Of the line being read, from 1. */
  line = 0

  constructor(options: RestoreOptions) {
    this.#o = options
    this.#testing = options.testing ?? false
    const { registry, family, program, sink } = options
    this.#fast = options.verbose ? null : new FastLines(registry, family)
    this.#parser = new CommandParser({
      registry,
      family,
      program,
      restore: true,
      warn: (text) => sink.err(text),
    })
  }

  /** Throws ToolError, OptionError, LineError, ToolStop or LineFailed; tables committed before stay so. */
  run(text: string): void {
    this.#zeros = text.includes('\0')
    for (let at = 0; at < text.length; ) {
      const next = lineEnd(text, at)
      this.line++
      this.#read(text, at, next)
      at = next
      this.#o.rulesets.host?.condResched()
    }
    if (this.#inTable) throw new EndMissing(`${this.#o.program}: COMMIT expected at line ${this.line + 1}`)
  }

  /** The line of the text from `from` to `next`, its line end included. */
  #read(text: string, from: number, next: number): void {
    const { only } = this.#o
    try {
      if (this.#inTable && this.#fast !== null && this.#plainRule(this.#fast, text, from, next)) return
      const line = beforeZero(text.slice(from, next))
      const first = line[0]
      if (first === '\n') return
      if (first === '#') this.#remark(line)
      else if (this.#inTable && line === 'COMMIT\n') {
        this.#inTable = false
        const draft = this.#draft!
        this.#draft = null
        if (!this.#testing) this.#o.rulesets.commit(draft)
      } else if (first === '*' && !this.#inTable) this.#startTable(line)
      else if (first === ':' && this.#inTable) this.#chainLine(line)
      else if (this.#inTable) this.#rule(line)
      else if (!this.#skips(only)) throw new LineFailed(this.#o.program, this.line, null)
    } catch (error) {
      if (!(error instanceof TableError)) throw error
      if (!this.#skips(only)) throw new LineFailed(this.#o.program, this.line, error)
    }
  }

  #remark(line: string): void {
    if (this.#o.verbose) this.#o.sink.out(line)
  }

  #skips(only: string | null | undefined): boolean {
    return only != null && only !== this.#table
  }

  #startTable(line: string): void {
    const { only, verbose, sink, family, program, rulesets } = this.#o
    const [table] = fields(line.slice(1))
    if (table === undefined) throw new ToolError(`${program}: line ${this.line} table name invalid`, 2, 0)
    this.#table = table.slice(0, 32)
    if (this.#skips(only)) return
    const draft = rulesets.open(family, table)
    if (draft === null) throw new ToolError(`${program}: unable to initialize table '${table}'`, 2, 0)
    draft.begin()
    if (this.#o.noFlush !== true) {
      if (verbose) for (const name of draft.names()) sink.out(`Flushing chain \`${name}'\n`)
      if (verbose)
        for (const name of draft.names()) if (!draft.isBuiltin(name)) sink.out(`Deleting chain \`${name}'\n`)
      draft.clear()
    }
    this.#draft = draft
    this.#inTable = true
  }

  #chainLine(line: string): void {
    const { program } = this.#o
    const draft = this.#draft!
    const [cut, policy, counted] = fields(line.slice(1))
    const chain = cut === undefined ? undefined : own(cut)
    if (chain === undefined) throw new ToolError(`${program}: line ${this.line} chain name invalid`, 2, 0)
    if (chain.length > MAX_NAME)
      throw new ToolError(`Invalid chain name \`${chain}' (${MAX_NAME} chars max)`, 2, 0)
    if (!draft.isBuiltin(chain)) {
      if (this.#o.noFlush === true && draft.isChain(chain)) draft.flush(chain)
      else
        try {
          draft.create(chain)
        } catch (error) {
          if (!(error instanceof TableError)) throw error
          throw new ToolError(`error creating chain '${chain}':${errnoText(error.errno)}`, 2, 0)
        }
    }
    if (policy === undefined) throw new ToolError(`${program}: line ${this.line} policy invalid`, 2, 0)
    if (policy === '-') return
    try {
      draft.setPolicy(chain, policy, this.#policyCounters(chain, counted))
    } catch (error) {
      if (!(error instanceof TableError)) throw error
      throw new ToolError(
        `Can't set policy \`${policy}' on \`${chain}' line ${this.line}: ${error.message}`,
        1,
        0,
      )
    }
  }

  #policyCounters(chain: string, text: string | undefined): Counters | null {
    if (this.#o.counters === false) return null
    const counters = /^\[\s*(\d+):\s*(\d+)/.exec(text ?? '')
    if (counters !== null) return { packets: Number(counters[1]), bytes: Number(counters[2]) }
    if (this.#o.counters === 'if given' && text === undefined) return null
    throw new ToolError(`invalid policy counters for chain '${chain}'`, 2, 0)
  }

  /** `-A CHAIN …` as iptables-save prints it. False: something else. */
  #plainRule(fast: FastLines, text: string, from: number, next: number): boolean {
    if (this.#zeros) return false
    const end = text.charCodeAt(next - 1) === 10 ? next - 1 : next
    const draft = this.#draft!
    if (!fast.read(text, from, end, this.#table, draft)) return false
    draft.add(fast.chain, this.#ruleOf(fast), null)
    return true
  }

  #ruleOf({ base, matches, target, needs }: FastLines): Rule {
    return new LineRule(base, matches, target, needs, this.#o.file, this.line)
  }

  #rule(line: string): void {
    const draft = this.#draft!
    const fast = this.#fast
    let end = line.endsWith('\n') ? line.length - 1 : line.length
    let from = 0
    let counters: RuleCounters | null = null
    if (line[0] === '[') {
      const found = ruleCounters(line)
      if (typeof found === 'string') throw new ToolError(`Bad line ${this.line}: need ${found}`, 2, 0)
      from = found.from
      while (line[from] === ' ') from++
      if (found.end < end) {
        line = line.slice(0, found.end)
        end = found.end
      }
      if (this.#o.counters !== false) counters = found
    }
    // Without counters it has been tried, or there is a byte 0 somewhere, which is rare.
    const count = counters === null ? null : plainCounters(counters)
    if (fast !== null && count !== null && fast.read(line, from, end, this.#table, draft)) {
      draft.add(fast.chain, this.#ruleOf(fast), count)
      return
    }

    const words: string[] = []
    // With --noflush the rules are not printed, whatever -v says.
    if (this.#o.noFlush !== true) for (let n = this.#o.verbose ?? 0; n > 0; n--) words.push('-v')
    if (counters !== null) words.push('--set-counters', counters.packets, counters.bytes)
    const ruleAt = words.length
    splitWords(line, from, words)
    for (let i = ruleAt; i < words.length; i++) words[i] = own(words[i]!)
    const command = this.#parser.parse(words, this.#table)
    execute(command, draft, this.#o.sink, { file: this.#o.file, line: this.line, column: 1 })
  }

  /** The column of word `index` of a rule line, counted from 1. */
  columnOf(line: string, index: number): number {
    const columns: number[] = []
    const counted = line[0] === '['
    splitWords(line, counted ? line.indexOf(']') + 1 : 0, [], columns)
    // --set-counters and its two values stand before the words of the line.
    const at = counted && this.#o.counters !== false ? index - 3 : index
    return at < 0 ? 1 : (columns[at] ?? line.length + 1)
  }
}

/** The file ends inside of a table; exit status 1. */
export class EndMissing extends Error {}

/** Counters of nothing but digits, or null. */
function plainCounters({ packets, bytes }: RuleCounters): Counters | null {
  if (!/^\d{1,15}$/.test(packets) || !/^\d{1,15}$/.test(bytes)) return null
  return { packets: Number(packets), bytes: Number(bytes) }
}

/**
 * Loads a rules file as `iptables-save` prints it, with its counters if it has any. Throws RuleError with the
 * place of the first mistake, in iptables' words.
 */
export function loadRules(
  text: string,
  options: Pick<RestoreOptions, 'family' | 'registry' | 'rulesets' | 'file'>,
): void {
  const { file, family } = options
  const program = family === 4 ? 'iptables-restore' : 'ip6tables-restore'
  // COMMIT without a line end is no COMMIT to iptables-restore; a file that ends so is meant well.
  const whole = text === '' || text.endsWith('\n') ? text : `${text}\n`
  const restore = new Restore({
    ...options,
    program,
    counters: 'if given',
    sink: { out: () => {}, err: () => {} },
  })
  try {
    restore.run(whole)
  } catch (error) {
    const line = restore.line
    const source = whole.split('\n')[line - 1] ?? ''
    const at = (column: number, reason: string): RuleError =>
      new RuleError(reason.trim().replaceAll(/\s*\n\s*/g, ' '), { file, line, column })
    if (error instanceof EndMissing) throw at(source.length + 1, 'the table lacks its COMMIT')
    if (error instanceof LineFailed) {
      const { cause } = error
      if (cause === null) throw at(1, `expected a comment or *TABLE, found "${source}"`)
      if (cause.place !== null) throw new RuleError(cause.reason, cause.place)
      throw at(1, cause.reason)
    }
    if (error instanceof ToolError)
      throw at(error.word === null ? 1 : restore.columnOf(source, error.word), error.message)
    if (error instanceof OptionError || error instanceof LineError) throw at(1, error.message)
    throw error
  }
}
