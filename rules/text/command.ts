// One command line of iptables, and so one line of iptables-restore, into a Command: as do_parse() of iptables
// 1.8.9 (legacy) does it, mistake for mistake.
//
//     words ──getopt──> global options ─┐
//                       -m, -j load ────┼─> layers of options, newest first ──> uses ──parse──> MatchUse, TargetUse
//                       -p loads late ──┘
//
// getopt_long's rules: words that are no options come in between; `-abc` is a cluster; a long option may be cut
// short while it stays unambiguous; an exact name wins, global options first, then those of the extension loaded
// last. An option that nobody knows loads the protocol's match, once, and is looked up again.

import type { Family } from '../../datapath/packet.ts'
import type { Match, Target } from '../extension.ts'
import type { AddressMatch, Counters, MatchUse, TargetUse } from '../model.ts'
import { isRepeated, OptionError, type OptionSpec, refusedUse } from '../options.ts'
import { networks } from './command-addresses.ts'
import { ExtensionReader } from './command-extensions.ts'
import { type Command, type Op, type RuleText, VARIANT } from './command-model.ts'
import {
  BESIDE,
  type Found,
  type Layer,
  longOption,
  ONLY_WITH,
  OPTION_ORDER,
  SHORT,
  type Use,
} from './command-options.ts'
import { Sayings } from './command-sayings.ts'
import { ToolError, ToolStop } from './errors.ts'
import { helpText, STANDARD_HELP } from './help.ts'
import { hasSpace, isScanInt, scanCounter, scanUnsigned, wholeNumber } from './numbers.ts'
import { type Loadable, MAX_NAME, type Registry, VERDICTS } from './registry.ts'
import { protocolNumber } from './services.ts'

const ANY_SOURCE: readonly (AddressMatch | null)[] = [null]
const NO_TARGET: TargetUse = { kind: 'none' }
const STANDARD: ReadonlyMap<string, TargetUse> = new Map(
  [...VERDICTS].map((verdict) => [verdict, { kind: 'standard', verdict } as TargetUse]),
)

export interface ParserOptions {
  readonly registry: Registry
  readonly family: Family
  /** iptables, ip6tables, iptables-restore … for messages. */
  readonly program: string
  /** Lines of iptables-restore: the table is given, -t and -w may not stand. */
  readonly restore?: boolean
  /** Takes what is printed on stderr though nothing failed. */
  readonly warn: (text: string) => void
}

/** Parses command lines of one family; keeps what it learned from one to the next. */
export class CommandParser {
  /** @internal */
  readonly context: ParserOptions
  readonly #loaded = new Set<Loadable>()
  /** @internal */
  readonly extensions: ExtensionReader

  constructor(options: ParserOptions) {
    this.context = options
    this.extensions = new ExtensionReader(options.registry, options.family)
  }

  /**
   * `argv` without the program's name. Throws ToolError, OptionError or ToolStop. A line of restore for the other family
   * (-4, -6) is read as far as that word, and makes no rules.
   */
  parse(argv: readonly string[], table = 'filter'): Command {
    return new Parse(this, argv, table).run()
  }

  /** @internal True the first time: what is loaded stays so for all lines of a file. */
  loadsFirst(loaded: Loadable): boolean {
    if (this.#loaded.has(loaded)) return false
    this.#loaded.add(loaded)
    return true
  }
}

const matchUse = (extension: Match | Target, data: unknown): MatchUse => ({ match: extension as Match, data })
const targetUse = (extension: Match | Target, data: unknown): TargetUse => ({
  kind: 'extension',
  target: extension as Target,
  data,
})

/** One run of do_parse(). */
class Parse {
  readonly #parser: CommandParser
  readonly #registry: Registry
  readonly #extensions: ExtensionReader
  readonly #family: Family
  readonly #restore: boolean
  readonly #argv: readonly string[]
  /** getopt's optind. */
  #at = 0
  #word = 0
  #invert = false
  #stopped = false

  readonly #ops = new Set<Op>()
  readonly #options = new Set<string>()
  #table: string
  #chain: string | null = null
  #newName: string | null = null
  #policy: string | null = null
  #number = 0
  #verbose = 0
  /** Where the last `!` stood that inverts; NaN: none did. A word's index may be -1, too: the program's name. */
  #inversionAt = Number.NaN
  #counters: Counters | null = null
  #waitGiven = false
  #waitInterval = false
  readonly #sayings: Sayings

  #protocolText: string | null = null
  #protocol = 0
  #protocolInverted = false
  #protocolUsed = false
  #source: string | null = null
  #sourceInverted = false
  #destination: string | null = null
  #destinationInverted = false
  #in: { name: string; invert: boolean } | null = null
  #out: { name: string; invert: boolean } | null = null
  #fragment: { invert: boolean } | null = null
  #jumpTo = ''
  #goto = false
  #target: Use | null = null
  #verdict: TargetUse | null = null
  readonly #uses: Use[] = []
  /** Newest last. */
  readonly #layers: Layer[] = []

  constructor(parser: CommandParser, argv: readonly string[], table: string) {
    const { registry, family, restore } = parser.context
    this.#parser = parser
    this.#registry = registry
    this.#extensions = parser.extensions
    this.#sayings = new Sayings(parser.extensions, parser.context.warn)
    this.#family = family
    this.#restore = restore ?? false
    this.#argv = argv
    this.#table = table
  }

  run(): Command {
    const argv = this.#argv
    try {
      while (this.#at < argv.length) {
        this.#word = this.#at
        const word = argv[this.#at++]!
        if (word.length < 2 || word.charCodeAt(0) !== 45) this.#plain(word)
        else if (word.charCodeAt(1) !== 45) this.#cluster(word)
        else if (word.length === 2) break
        else this.#long(word)
        if (this.#stopped) return this.#cutShort()
      }
      const command = this.#finish()
      this.#sayings.say(this.#allUses())
      return command
    } catch (error) {
      throw this.#sayings.firstMistake(error, this.#allUses())
    }
  }

  /** A word that is no option. */
  #plain(word: string): void {
    if (word !== '!') throw new ToolError(`Bad argument \`${word}'`, 2, this.#word, true)
    if (this.#invert) this.#fail('multiple consecutive ! not allowed')
    this.#invert = true
    this.#inversionAt = this.#word
  }

  #cluster(word: string): void {
    for (let i = 1; i < word.length; i++) {
      const letter = word[i]!
      const found = SHORT.get(letter)
      if (found === undefined) {
        const last = i + 1 === word.length
        if (this.#loadProtocol()) {
          // As command_default(): one word back. Behind the last letter the same word is read again; before it, once
          // its other letters are done.
          this.#at--
          if (last) return
          continue
        }
        this.#fail(`unknown option "${this.#wordAt(last ? this.#at - 1 : this.#at - 2)}"`)
      }
      const { argument } = found!
      if (argument === 'none') {
        this.#option(found!, null)
        continue
      }
      let value: string | null = i + 1 < word.length ? word.slice(i + 1) : null
      if (value === null && argument === 'required') {
        if (this.#at >= this.#argv.length) {
          if (this.#loadProtocol()) {
            this.#at--
            return
          }
          this.#fail(`option "${word}" requires an argument`)
        }
        value = this.#argv[this.#at++]!
      }
      this.#option(found!, value)
      return
    }
  }

  #long(word: string): void {
    const equals = word.indexOf('=')
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals)
    const found = longOption(name, this.#layers, this.#family)
    const { argument } = found ?? {}
    let value: string | null = equals < 0 ? null : word.slice(equals + 1)
    const takes = argument !== 'none' && argument !== 'next'
    const missing = takes && argument !== 'optional' && value === null && this.#at >= this.#argv.length
    if (found === null || missing || (!takes && value !== null)) {
      // As command_default(): getopt's complaint counts once the protocol's options are known, too.
      if (this.#loadProtocol()) {
        this.#at--
        return
      }
      this.#fail(
        found !== null && missing ? `option "${word}" requires an argument` : `unknown option "${word}"`,
      )
    }
    if (takes && argument !== 'optional') value ??= this.#argv[this.#at++]!
    this.#option(found!, value)
  }

  /** One option met, with getopt's optarg. */
  #option(found: Found, value: string | null): void {
    if (found.layer !== null) {
      this.#extensionOption(found.layer.use, found.spec!, value)
      this.#invert = false
      return
    }
    this.#global(found.global, value)
    this.#invert = false
  }

  #extensionOption(use: Use, spec: OptionSpec, value: string | null): void {
    const words = value === null ? [] : [value]
    if ((spec.arg === 'two' || spec.arg === 'next') && this.#hasArgument())
      words.push(this.#argv[this.#at++]!)
    const given = spec.multiple !== true && use.given.some((g) => isRepeated(g.spec, spec))
    const refusal = refusedUse(use.loaded.extension.name, spec, given, this.#invert)
    if (refusal !== null) throw new OptionError(refusal)
    use.given.push({
      spec,
      inverted: this.#invert,
      words,
      word: this.#word,
      protocol: this.#protocol,
      protocolInverted: this.#protocolInverted,
    })
  }

  #global(letter: string, value: string | null): void {
    switch (letter) {
      case 'A':
      case 'C':
        this.#command(letter)
        this.#chain = value
        break
      case 'D':
        this.#command('D')
        this.#chain = value
        if (this.#hasArgument()) {
          this.#number = this.#ruleNumber(this.#next())
          this.#ops.delete('D')
          this.#ops.add('n')
        }
        break
      case 'R':
        this.#command('R')
        this.#chain = value
        if (!this.#hasArgument()) this.#fail('-R requires a rule number')
        this.#number = this.#ruleNumber(this.#next())
        break
      case 'I':
        this.#command('I')
        this.#chain = value
        this.#number = this.#hasArgument() ? this.#ruleNumber(this.#next()) : 1
        break
      case 'L':
      case 'S':
      case 'Z':
        this.#command(letter)
        if (value !== null) this.#chain = value
        else if (this.#hasArgument()) this.#chain = this.#next()
        if (this.#hasArgument()) {
          this.#number = this.#ruleNumber(this.#next())
          if (letter === 'Z') {
            this.#ops.clear()
            this.#ops.add('z')
          }
        }
        break
      case 'F':
      case 'X':
        this.#command(letter)
        if (value !== null) this.#chain = value
        else if (this.#hasArgument()) this.#chain = this.#next()
        break
      case 'N':
        this.#validChainName(value!)
        this.#command('N')
        this.#chain = value
        break
      case 'E':
        this.#command('E')
        this.#chain = value
        if (!this.#hasArgument()) this.#fail('-E requires old-chain-name and new-chain-name')
        this.#newName = this.#next()
        break
      case 'P':
        this.#command('P')
        this.#chain = value
        if (!this.#hasArgument()) this.#fail('-P requires a chain and a policy')
        this.#policy = this.#next()
        break
      case 'h':
        throw new ToolStop(this.#help())
      case 'p':
        this.#set('p', true)
        this.#protocolText = this.#lastWord().replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
        this.#parseProtocol()
        break
      case 's':
        this.#set('s', true)
        this.#source = this.#lastWord()
        this.#sourceInverted = this.#invert
        break
      case 'd':
        this.#set('d', true)
        this.#destination = this.#lastWord()
        this.#destinationInverted = this.#invert
        break
      case 'g':
        this.#set('j', false)
        this.#goto = true
        this.#jumpTo = this.#targetName(value!)
        break
      case 'j':
        this.#set('j', false)
        this.#jump(this.#lastWord())
        break
      case 'i':
        if (value === '') this.#fail('Empty interface is likely to be undesired')
        this.#set('i', true)
        this.#in = this.#interface(this.#lastWord())
        break
      case 'o':
        if (value === '') this.#fail('Empty interface is likely to be undesired')
        this.#set('o', true)
        this.#out = this.#interface(this.#lastWord())
        break
      case 'f':
        if (this.#family === 6) this.#fail("`-f' is not supported in IPv6, use -m frag instead")
        this.#set('f', true)
        this.#fragment = { invert: this.#invert }
        break
      case 'v':
        if (this.#verbose === 0) this.#set('v', false)
        this.#verbose++
        break
      case 'm':
        this.#match(value!)
        break
      case 'n':
      case 'x':
      case '0':
        this.#set(letter, false)
        break
      case 't':
        if (this.#invert) this.#fail('unexpected ! flag before --table')
        if (this.#restore) this.#fail(`The -t option cannot be used in ${this.#parser.context.program}.\n`)
        this.#table = value!
        break
      case 'V': {
        const { program } = this.#parser.context
        throw new ToolStop(this.#invert ? `Not ${VARIANT} ;-)\n` : `${program} v${VARIANT}\n`)
      }
      case 'w':
        if (this.#restore) this.#fail("You cannot use `-w' from iptables-restore")
        if (value === null && this.#hasArgument()) value = this.#next()
        if (value !== null && !isScanInt(value)) this.#fail('wait seconds not numeric')
        this.#waitGiven = value === null || Number.parseInt(value, 10) !== 0
        break
      case 'W':
        if (this.#restore) this.#fail("You cannot use `-W' from iptables-restore")
        this.#parseWaitInterval(value)
        break
      case 'c':
        this.#set('c', false)
        this.#parseCounters(value!)
        break
      case '4':
      case '6':
        if (letter === String(this.#family)) break
        if (!this.#restore) throw new ToolError('', 2, this.#word, true)
        this.#stopped = true
        break
      case 'M':
        break
      default:
        this.#fail(`Unknown arg "${value ?? '(null)'}"`)
    }
  }

  #command(op: Op): void {
    if (this.#invert) this.#fail("unexpected '!' flag")
    const beside = BESIDE[op] ?? ''
    for (const other of this.#ops)
      if (!beside.includes(other))
        this.#fail(
          `Cannot use -${op} with -${({ n: 'D', z: 'Z' } as Record<string, string>)[other] ?? other}`,
        )
    this.#ops.add(op)
  }

  #set(letter: string, invertible: boolean): void {
    if (this.#options.has(letter)) this.#fail(`multiple -${letter} flags not allowed`)
    this.#options.add(letter)
    if (this.#invert && !invertible) this.#fail(`cannot have ! before -${letter}`)
  }

  #match(name: string): void {
    if (this.#invert) this.#fail('unexpected ! flag before --match')
    if (name.length > MAX_NAME) this.#fail(`Invalid match name "${name}" (${MAX_NAME} chars max)`)
    const loaded = this.#registry.match(name, this.#family)
    if (loaded === null) this.#fail(`Couldn't load match \`${name}':No such file or directory\n`)
    this.#load(
      loaded!,
      this.#layers.find((layer) => layer.loaded === loaded),
    )
  }

  /** `layer`: whose options it shares. */
  #load(loaded: Loadable, layer?: Layer): void {
    const use: Use = { loaded, given: [] }
    this.#uses.push(use)
    if (layer === undefined) this.#layers.push({ loaded, use })
    else layer.use = use
  }

  #jump(name: string): void {
    if (name === 'CONTINUE') return
    this.#jumpTo = this.#targetName(name)
    const verdict = STANDARD.get(name)
    if (verdict !== undefined) {
      this.#verdict = verdict
      return
    }
    const loaded = this.#registry.target(name, this.#family)
    if (loaded === null) return
    const { loadRemark } = loaded.extension
    if (loadRemark !== undefined && this.#parser.loadsFirst(loaded)) this.#warn(loadRemark)
    this.#target = { loaded, given: [] }
    this.#layers.push({ loaded, use: this.#target })
  }

  #targetName(name: string): string {
    if (name === '') this.#fail('Invalid target name (too short)')
    if (name.length > MAX_NAME) this.#fail(`Invalid target name \`${name}' (${MAX_NAME} chars max)`)
    if (hasSpace(name)) this.#fail(`Invalid target name \`${name}'`)
    return name
  }

  /** load_proto(): true if the protocol's match was loaded now. */
  #loadProtocol(): boolean {
    if (this.#protocolText === null || this.#protocolUsed) return false
    this.#protocolUsed = true
    const loaded = this.#registry.protocolMatch(this.#protocolText, this.#protocol, this.#family)
    if (loaded === null) return false
    // Behind its own -m the options are there twice then: what is short for one is ambiguous.
    this.#load(loaded)
    return true
  }

  #parseProtocol(): void {
    const text = this.#protocolText!
    const number = protocolNumber(text)
    if (number === null) this.#fail(`unknown protocol "${text}" specified`)
    this.#protocol = number!
    this.#protocolInverted = this.#invert
    if (number === 0 && this.#invert) this.#fail('rule would never match protocol')
    if (this.#family === 6 && !this.#invert && [43, 44, 51, 60].includes(number!))
      this.#warn(`Warning: never matched protocol: ${text}. use extension match instead.\n`)
  }

  #interface(name: string): { name: string; invert: boolean } {
    if (name.length > 15) this.#fail(`interface name \`${name}' must be shorter than IFNAMSIZ (15)`)
    if (/[/ ]/.test(name))
      this.#warn(
        `Warning: weird character in interface \`${name}' ('/' and ' ' are not allowed by the kernel).\n`,
      )
    return { name, invert: this.#invert }
  }

  #parseWaitInterval(value: string | null): void {
    if (value === null) {
      if (!this.#hasArgument()) this.#fail('wait interval value required')
      value = this.#next()
    }
    const micros = scanUnsigned(value) ?? this.#fail('wait interval not numeric')
    if (micros > 999999) this.#fail(`too long usec wait ${micros} > 999999 usec`)
    this.#warn('Ignoring deprecated --wait-interval option.\n')
    this.#waitInterval = true
  }

  #parseCounters(value: string): void {
    const comma = value.indexOf(',')
    let bytes = comma < 0 ? null : value.slice(comma + 1)
    if (bytes === null && this.#hasArgument()) bytes = this.#next()
    if (bytes === null) this.#fail('-c requires packet and byte counter')
    const packets = scanCounter(value)
    if (packets === null) this.#fail('-c packet counter not numeric')
    const read = scanCounter(bytes!)
    if (read === null) this.#fail('-c byte counter not numeric')
    this.#counters = { packets: packets!, bytes: read! }
  }

  #ruleNumber(text: string): number {
    const number = wholeNumber(text, 1, 0x7fffffff)
    if (number === null) this.#fail(`Invalid rule number \`${text}'`)
    return number!
  }

  #validChainName(name: string): void {
    if (name.length > MAX_NAME)
      this.#fail(`chain name \`${name}' too long (must be under ${MAX_NAME + 1} chars)`)
    if (name[0] === '-' || name[0] === '!') this.#fail(`chain name not allowed to start with \`${name[0]}'`)
    if (this.#registry.isTargetName(name, this.#family))
      this.#fail('chain name may not clash with target name')
    if (hasSpace(name)) this.#fail(`Invalid chain name \`${name}'`)
  }

  /** xs_has_arg(): the next word is no option and no `!`. */
  #hasArgument(): boolean {
    const next = this.#argv[this.#at]
    return next !== undefined && next[0] !== '-' && next[0] !== '!'
  }

  /**
   * The word before the next: do_parse() takes it for the value of -p, -s, -d, -j, -i and -o, so that a value glued to its
   * option (`-jACCEPT`, `--jump=ACCEPT`) is read with the option's name.
   */
  #lastWord(): string {
    return this.#argv[this.#at - 1]!
  }

  /** A word of the command line; before its first, the program's name, or the table of a line of iptables-restore. */
  #wordAt(index: number): string {
    const word = this.#argv[index] ?? (this.#restore ? this.#table : this.#parser.context.program)
    // do_parse() empties it when it has seen it, other than as a value.
    return index === this.#inversionAt ? '' : word
  }

  #next(): string {
    return this.#argv[this.#at++]!
  }

  #help(): string {
    const { program } = this.#parser.context
    let text = helpText(program, VARIANT, this.#family)
    if (this.#verdict !== null) text += STANDARD_HELP
    const extensions: (Match | Target)[] = this.#target ? [this.#target.loaded.extension] : []
    if (this.#uses.length > 0) extensions.push(...this.#uses.map((use) => use.loaded.extension))
    else if (this.#protocolText !== null) {
      const loaded = this.#registry.match(this.#protocolText, this.#family)
      if (loaded !== null) extensions.push(loaded.extension)
    }
    for (const { help } of extensions) text += `\n${help}${help.endsWith('\n') ? '' : '\n'}`
    return text
  }

  /**
   * A line of restore for the other family: the tool stops to read and has no addresses to make rules for, but it does what
   * was read of commands that need none. Differs from it: a replacement crashes 1.8.9.
   */
  #cutShort(): Command {
    return this.#result([], [], [], this.#target !== null ? NO_TARGET : this.#plainTarget())
  }

  /** Without an extension. */
  #plainTarget(): TargetUse | null {
    return this.#verdict ?? (this.#jumpTo === '' ? NO_TARGET : null)
  }

  /** What stands after the words: checks in do_parse()'s order. */
  #finish(): Command {
    const argv = this.#argv
    this.#word = argv.length
    if (this.#table === 'nat' && (this.#policy === 'DROP' || this.#jumpTo === 'DROP'))
      this.#fail(
        '\nThe "nat" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n',
      )
    if (!this.#waitGiven && this.#waitInterval) this.#fail('--wait-interval only makes sense with --wait\n')

    const matches: MatchUse[] = []
    for (const use of this.#uses)
      matches.push(this.#extensions.complete(use, this.#sayings.remarks, matchUse))
    const target =
      this.#target !== null
        ? this.#extensions.complete(this.#target, this.#sayings.remarks, targetUse)
        : this.#plainTarget()

    if (this.#at < argv.length) this.#fail('unknown arguments found on commandline')
    if (this.#ops.size === 0) this.#fail('no command specified')
    if (this.#invert) this.#fail('nothing appropriate following !')

    const sources = this.#networks(this.#source, this.#sourceInverted)
    const destinations = this.#networks(this.#destination, this.#destinationInverted)
    if (
      (sources.length > 1 || destinations.length > 1) &&
      (this.#sourceInverted || this.#destinationInverted)
    )
      this.#fail('! not allowed with multiple source or destination IP addresses')
    if (this.#ops.has('R') && (sources.length !== 1 || destinations.length !== 1))
      this.#fail('Replacement rule does not specify a unique address')
    this.#checkOptions()

    return this.#result(sources, destinations, matches, target)
  }

  #result(
    sources: RuleText['sources'],
    destinations: RuleText['destinations'],
    matches: readonly MatchUse[],
    target: TargetUse | null,
  ): Command {
    const number = this.#protocol
    // `-p all` asks IPv6 packets for an upper header (IP6T_F_PROTO), IPv4 packets for nothing.
    const asked = number !== 0 || (this.#family === 6 && this.#protocolText !== null)
    return {
      ops: this.#ops,
      table: this.#table,
      chain: this.#chain,
      newName: this.#newName,
      policy: this.#policy,
      number: this.#number,
      verbose: this.#verbose,
      numeric: this.#options.has('n'),
      exact: this.#options.has('x'),
      lineNumbers: this.#options.has('0'),
      counters: this.#counters,
      rule: {
        base: {
          inInterface: this.#in,
          outInterface: this.#out,
          protocol: asked ? { number, invert: this.#protocolInverted } : null,
          fragment: this.#fragment,
        },
        sources,
        destinations,
        matches,
        jumpTo: this.#jumpTo,
        goto: this.#goto,
        target,
      },
    }
  }

  #checkOptions(): void {
    for (const letter of OPTION_ORDER) {
      const allowed = ONLY_WITH[letter]
      if (allowed === undefined || !this.#options.has(letter)) continue
      if (![...this.#ops].some((op) => allowed.includes(op)))
        this.#fail(`Illegal option \`-${letter}' with this command`)
    }
    const chain = this.#chain
    if (chain === null) return
    if (chain.length > MAX_NAME)
      this.#fail(`chain name \`${chain}' too long (must be under ${MAX_NAME + 1} chars)`)
    if (!['A', 'D', 'C', 'I', 'R'].some((op) => this.#ops.has(op as Op))) return
    if (this.#out !== null && (chain === 'PREROUTING' || chain === 'INPUT'))
      this.#fail(`Can't use -o with ${chain}\n`)
    if (this.#in !== null && (chain === 'POSTROUTING' || chain === 'OUTPUT'))
      this.#fail(`Can't use -i with ${chain}\n`)
  }

  #networks(text: string | null, invert: boolean): readonly (AddressMatch | null)[] {
    return text === null ? ANY_SOURCE : networks(text, this.#family, invert, (why) => this.#fail(why))
  }

  #warn(text: string): void {
    this.#sayings.add(text, this.#word)
  }

  #fail(message: string): never {
    throw new ToolError(message, 2, this.#word)
  }

  #allUses(): readonly Use[] {
    return this.#target === null ? this.#uses : [...this.#uses, this.#target]
  }
}
