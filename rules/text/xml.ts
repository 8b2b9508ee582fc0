// What iptables-save printed as XML: iptables-xml 1.8.9, word for word. It reads rules as text alone: nothing is
// checked, and an option's name becomes a tag as it stands.
//
//     <table> <chain> <rule> <conditions> <match|NAME> <OPTION>value</OPTION> … <actions> <call|goto|TARGET> …

import { ToolError } from './errors.ts'
import { fields, lines, ruleCounters, splitWords } from './line.ts'

/** Longest table and chain name, in bytes. */
const MAX_NAME = 32
const MAX_CHAINS = 10240
const CONDITIONS = '        '
const INNER = '          '

/** A line that is no rules file's: `iptables-xml: line 3 failed`; exit status 1. */
export class XmlFailed extends Error {}

interface SavedChain {
  readonly name: string
  readonly policy: string
  readonly packets: string
  readonly bytes: string
  opened: boolean
}

interface Word {
  readonly text: string
  readonly quoted: boolean
}

const isTarget = (word: string | undefined): boolean =>
  word === '-j' || word === '--jump' || word === '-g' || word === '--goto'
const isMatch = (word: string | undefined): boolean => word === '-m' || word === '--module'
const isGoto = (word: string): boolean => word === '-g' || word === '--goto'
const VERDICTS = ['ACCEPT', 'DROP', 'QUEUE', 'RETURN']

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

const escapeXml = (text: string): string =>
  text.replaceAll(/[&<>"\x7f-\xff]/g, (c) => ENTITIES[c] ?? `&#${c.charCodeAt(0)};`)

/** No comment of XML may hold two hyphens in a row: a star stands before each, and a blank before every second. */
function escapeComment(text: string): string {
  let hyphens = 0
  const whole = text.endsWith('\n') ? text.slice(0, -1) : text
  return whole.replaceAll('-', () => (++hyphens % 2 === 0 ? ' *-' : '*-'))
}

const attribute = (name: string, value: string): string => `${name}="${escapeXml(value)}" `

export class XmlWriter {
  readonly #combine: boolean
  readonly #verbose: boolean
  readonly #parts: string[] = []
  #table = ''
  #chain = ''
  #chains: SavedChain[] = []
  #actionsOpen = false
  #ruleOpen = false
  #packets = '0'
  #bytes = '0'
  /** Words of the rule before. */
  #before: readonly Word[] = []
  /** Of the line being read, from 1. */
  line = 0

  constructor(options: { readonly combine: boolean; readonly verbose: boolean }) {
    this.#combine = options.combine
    this.#verbose = options.verbose
  }

  /** What was written so far: on a failure it is printed all the same. */
  get text(): string {
    return this.#parts.join('')
  }

  /** Throws XmlFailed, or ToolError. */
  run(text: string): void {
    this.#put('<iptables-rules version="1.0">\n')
    for (const line of lines(text)) {
      this.line++
      this.#read(line)
    }
    if (this.#table !== '') throw new XmlFailed(`iptables-xml: COMMIT expected at line ${this.line + 1}`)
    this.#put('</iptables-rules>\n')
  }

  #put(text: string): void {
    this.#parts.push(text)
  }

  #read(line: string): void {
    if (line[0] === '\n') return
    if (line[0] === '#') {
      this.#put(`<!-- ${escapeComment(line)} -->\n`)
      return
    }
    if (this.#verbose) this.#put(`<!-- line ${this.line} ${escapeComment(line)} -->\n`)
    if (line === 'COMMIT\n' && this.#table !== '') this.#closeTable()
    else if (line[0] === '*') this.#openTable(line)
    else if (line[0] === ':' && this.#table !== '') this.#saveChain(line)
    else if (this.#table !== '') this.#rule(line)
    else throw new XmlFailed(`iptables-xml: line ${this.line} failed`)
  }

  #fail(message: string): never {
    throw new ToolError(message, 2, 0)
  }

  #openTable(line: string): void {
    const [table] = fields(line.slice(1))
    if (table === undefined) this.#fail(`iptables-xml: line ${this.line} table name invalid`)
    this.#closeTable()
    this.#table = table!.slice(0, MAX_NAME)
    this.#put(`  <table ${attribute('name', this.#table)}>\n`)
  }

  #closeTable(): void {
    this.#closeChain()
    for (const chain of this.#chains) if (!chain.opened) this.#openChain(chain, true)
    this.#chains = []
    if (this.#table !== '') this.#put('  </table>\n')
    this.#table = ''
  }

  #saveChain(line: string): void {
    const [name, policy, counters] = fields(line.slice(1))
    if (name === undefined) this.#fail(`iptables-xml: line ${this.line} chain name invalid`)
    if (policy === undefined) this.#fail(`iptables-xml: line ${this.line} policy invalid`)
    if (this.#chains.length >= MAX_CHAINS) this.#fail(`iptables-xml: line ${this.line} chain name invalid`)
    const read = /^\[\s*([-+]?\d+)(?::\s*([-+]?\d+))?/.exec(counters ?? '')
    // Without its own, a chain gets the numbers that were read last.
    this.#packets = signed(read?.[1]) ?? this.#packets
    this.#bytes = signed(read?.[2]) ?? this.#bytes
    this.#chains.push({
      name: name!,
      policy: policy!,
      packets: this.#packets,
      bytes: this.#bytes,
      opened: false,
    })
  }

  #openChain({ name, policy, packets, bytes }: SavedChain, empty: boolean): void {
    this.#closeChain()
    const cut = name.slice(0, MAX_NAME)
    this.#put(`    <chain ${attribute('name', cut)}`)
    if (policy !== '-') this.#put(attribute('policy', policy))
    this.#put(`packet-count="${packets}" byte-count="${bytes}" ${empty ? '/' : ''}>\n`)
    if (!empty) this.#chain = cut
  }

  #closeChain(): void {
    if (this.#chain === '') return
    this.#closeRule()
    this.#put('    </chain>\n')
    this.#chain = ''
  }

  #closeRule(): void {
    if (this.#actionsOpen) this.#put('       </actions>\n\n')
    if (this.#ruleOpen) this.#put('      </rule>\n\n')
    this.#actionsOpen = false
    this.#ruleOpen = false
  }

  #rule(line: string): void {
    let from = 0
    let packets: string | null = null
    let bytes: string | null = null
    let text = line
    if (line[0] === '[') {
      const counters = ruleCounters(line)
      if (typeof counters === 'string') this.#fail(`Bad line ${this.line}: need ${counters}`)
      else {
        packets = counters.packets
        bytes = counters.bytes
        from = counters.from
        text = line.slice(0, counters.end)
      }
    }
    const texts: string[] = []
    const quoted: boolean[] = []
    splitWords(text, from, texts, undefined, quoted)
    const words = texts.map((word, i) => ({ text: word, quoted: quoted[i]! }))
    let chain: string | null = null
    for (let i = 1; i < words.length; i++) if (words[i - 1]!.text === '-A') chain = words[i]!.text
    if (chain === null) throw new XmlFailed(`iptables-xml: line ${this.line} failed - no chain found`)
    if (chain !== this.#chain)
      for (const saved of this.#chains)
        if (saved.name === chain) {
          this.#openChain(saved, false)
          saved.opened = true
        }
    this.#writeRule(words, packets, bytes)
    this.#before = words
  }

  #writeRule(words: readonly Word[], packets: string | null, bytes: string | null): void {
    const conditions = words.length > 2 && !isTarget(words[2]!.text)
    if (this.#combine && conditions && this.#sameConditions(words))
      this.#put(`<!-- ${escapeComment('Combine action from next rule')} -->\n`)
    else {
      this.#closeRule()
      this.#put('      <rule ')
      if (packets !== null) this.#put(attribute('packet-count', packets))
      if (bytes !== null) this.#put(attribute('byte-count', bytes))
      this.#put('>\n')
      this.#ruleOpen = true
      if (conditions) {
        this.#put('       <conditions>\n')
        this.#part(words, 2, true)
        this.#put('       </conditions>\n')
      }
    }
    if (!this.#actionsOpen) this.#put('       <actions>\n')
    this.#actionsOpen = true
    let at = 2
    while (at < words.length && (words[at]!.quoted || !isTarget(words[at]!.text))) at++
    this.#part(words, at, false)
  }

  /** The same words up to a target, and the rule before did not end the walk. */
  #sameConditions(words: readonly Word[]): boolean {
    const before = this.#before
    for (let i = 0; i < words.length && i < before.length; i++) {
      const old = before[i]!.text
      if (isTarget(old) && isTarget(words[i]!.text)) {
        if (isGoto(old)) return false
        return !VERDICTS.includes(before[i + 1]?.text ?? '')
      }
      if (old !== words[i]!.text) return false
    }
    return false
  }

  /** Conditions (up to the target) or actions (from it on) as elements. */
  #part(words: readonly Word[], from: number, conditions: boolean): void {
    let outer: string | null = null
    let inner: string | null = null
    let invert = false
    let spacer = ''
    const closeInner = (): void => {
      if (inner !== null) this.#put(`</${inner}>\n`)
      inner = null
    }
    const closeBoth = (): void => {
      closeInner()
      if (outer !== null) this.#put(`${CONDITIONS}</${outer}>\n`)
      outer = null
      spacer = ''
      invert = false
    }
    const first = words[words[from]?.text === '!' ? from + 1 : from]?.text
    if (first?.startsWith('-') && !isTarget(first) && first !== '-m') {
      outer = 'match'
      this.#put(`${CONDITIONS}<match >\n`)
    }
    for (let at = from; at < words.length; at++) {
      const { text, quoted } = words[at]!
      const next = words[at + 1]
      if (conditions && !quoted && isTarget(text)) break
      if (!quoted && text === '!') {
        if (next?.text.startsWith('-')) invert = true
        else this.#put(`${spacer}!`)
        spacer = ' '
      } else if (!quoted && isTarget(text) && next !== undefined && this.#isChain(next.text)) {
        closeBoth()
        const tag = isGoto(text) ? 'goto' : 'call'
        this.#put(`${CONDITIONS}<${tag} >\n${INNER}<${next.text} />\n`)
        outer = tag
        at++
      } else if (!quoted && (isTarget(text) || isMatch(text))) {
        if (next === undefined) break
        closeBoth()
        at++
        this.#put(`${CONDITIONS}<${next.text} `)
        const after = words[at + 1]
        if (after === undefined || (!after.quoted && (isTarget(after.text) || isMatch(after.text))))
          this.#put(' />\n')
        else {
          this.#put('>\n')
          outer = next.text
        }
      } else if (!quoted && text.startsWith('-')) {
        closeInner()
        const tag = text.replace(/^-+/, '')
        spacer = ''
        this.#put(`${INNER}<${tag} ${invert ? ' invert="1"' : ''}`)
        invert = false
        if (next === undefined || next.text.startsWith('-')) this.#put(' />\n')
        else {
          this.#put('>')
          inner = tag
        }
      } else {
        const quote = quoted || text.includes(' ') ? '&quot;' : ''
        this.#put(`${spacer}${quote}${escapeXml(text)}${quote}`)
        spacer = ' '
      }
    }
    closeBoth()
  }

  #isChain(name: string): boolean {
    return name === this.#chain || this.#chains.some((chain) => chain.name === name)
  }
}

/** A 64-bit counter as %lld prints it. */
const signed = (text: string | undefined): string | null =>
  text === undefined ? null : String(BigInt.asIntN(64, BigInt(text.replace('+', ''))))
