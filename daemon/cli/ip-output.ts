// What ip(8) prints: text, or JSON in the exact layout of iproute2's json_writer.c.
//
//     { any('mtu', 1500, 'mtu 1500 ') }  ─▶ text:  mtu 1500
//                                        └▶ JSON:  "mtu":1500

export type Json = string | number | bigint | boolean | null | readonly Json[] | JsonObject
/** Members in order; JSON objects of iproute2 may hold a name twice. */
export interface JsonObject {
  readonly members: [string, Json][]
}

const INDENT = '    '

/** What has a colour with -c (SGR numbers; iproute2 takes the terminal for a light one). */
const COLORS = { name: 36, mac: 33, inet: 35, inet6: 34, up: 32, down: 31 } as const
export type Color = keyof typeof COLORS

function write(value: Json, pretty: boolean, depth: number): string {
  if (Array.isArray(value)) {
    const items = value.map((item) => write(item as Json, pretty, depth + 1)).join(',')
    if (!pretty) return `[${items}]`
    return value.length === 0 ? '[ ]' : `[ ${items} ]`
  }
  if (typeof value === 'object' && value !== null) {
    const lines = (value as JsonObject).members.map(
      ([key, member]) => `${JSON.stringify(key)}:${pretty ? ' ' : ''}${write(member, pretty, depth + 1)}`,
    )
    if (!pretty || lines.length === 0) return `{${lines.join(',')}}`
    const inner = `\n${INDENT.repeat(depth + 1)}`
    return `{${inner}${lines.join(`,${inner}`)}\n${INDENT.repeat(depth)}}`
  }
  return typeof value === 'string' ? `"${escaped(value)}"` : String(value)
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\t': '\\t',
  '\n': '\\n',
  '\r': '\\r',
  '\f': '\\f',
  '\b': '\\b',
}

/** jsonw_puts(): an apostrophe has a backslash too, and other control characters are printed as they are. */
const escaped = (text: string): string => text.replace(/[\t\n\r\f\b\\"']/g, (c) => ESCAPES[c] ?? `\\${c}`)

export class Output {
  /** Standard output so far. */
  text = ''
  readonly #asJson: boolean
  readonly #pretty: boolean
  /** What ends a line inside a record: `\` with -o. */
  readonly lineEnd: string
  #root: Json[] | null = null
  #open: JsonObject[] = []

  readonly #colored: boolean

  constructor(json: boolean, pretty: boolean, oneline: boolean, color: boolean) {
    this.#asJson = json
    this.#colored = color && !json
    this.#pretty = pretty
    this.lineEnd = oneline ? '\\' : '\n'
  }

  /** is_json_context(): what is printed outside of a list is text, whatever was asked for. */
  get json(): boolean {
    return this.#root !== null
  }

  /** new_json_obj() and delete_json_obj(). */
  list(fill: () => void): void {
    if (!this.#asJson) {
      fill()
      return
    }
    this.#root = []
    try {
      fill()
    } finally {
      this.text += `${write(this.#root, this.#pretty, 0)}\n`
      this.#root = null
    }
  }

  /** What -echo shows: one object, of which iproute2 opens some twice. */
  echo(twice: boolean, fill: () => void): void {
    if (!this.#asJson || !twice) {
      this.list(() => this.object(null, fill))
      return
    }
    this.#root = []
    this.object(null, fill)
    const pretty = this.#pretty
    const inner = write(this.#root[0] ?? null, pretty, pretty ? 2 : 0)
    this.text += pretty ? `[ {${inner}\n${INDENT}} ]\n` : `[{${inner}}]\n`
    this.#root = null
  }

  /** What is left of a list when the program ends in the middle of it. */
  broken(): void {
    if (this.#asJson) this.text += this.#pretty ? '[ ' : '['
  }

  /** One object of the list, or a member object when a name is given. */
  object(name: string | null, fill: () => void): void {
    if (!this.json) {
      fill()
      return
    }
    const made: JsonObject = { members: [] }
    const parent = this.#open.at(-1)
    if (name !== null && parent !== undefined) parent.members.push([name, made])
    else if (this.#items !== null) this.#items.push(made)
    else this.#root?.push(made)
    const items = this.#items
    this.#items = null
    this.#open.push(made)
    fill()
    this.#open.pop()
    this.#items = items
  }

  #items: Json[] | null = null

  /** A member that is a list of objects. */
  array(name: string, fill: () => void): void {
    if (!this.json) {
      fill()
      return
    }
    const items: Json[] = []
    this.#open.at(-1)?.members.push([name, items])
    const outer = this.#items
    this.#items = items
    fill()
    this.#items = outer
  }

  any(name: string, value: Json, text: string): void {
    if (this.json) this.#open.at(-1)?.members.push([name, value])
    else this.text += text
  }

  /** Text in its colour, the blanks that are printed with it too. */
  paint(color: Color | null, text: string): string {
    return this.#colored && color !== null ? `\x1b[${COLORS[color]}m${text}\x1b[0m` : text
  }

  /** PRINT_FP: text only. */
  plain(text: string): void {
    if (!this.json) this.text += text
  }

  /** printf(3): into the output whatever its form. */
  raw(text: string): void {
    this.text += text
  }

  /** PRINT_JSON: JSON only. */
  member(name: string, value: Json): void {
    if (this.json) this.#open.at(-1)?.members.push([name, value])
  }

  newline(): void {
    this.plain(this.lineEnd)
  }
}
