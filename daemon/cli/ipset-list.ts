// What ipset 7.17 prints of sets: plain, as commands that make them again, or as XML (ipset_session_list).

import type { Host } from '../../datapath/host.ts'
import type { SetHolder, SetMember } from '../../rules/sets/set-type.ts'
import { joined, writeElement, writeOptions } from '../../rules/sets/write.ts'
import { elementOrder } from './ipset-order.ts'

export type ListMode = 'plain' | 'save' | 'xml'

export interface ListOptions {
  readonly mode: ListMode
  /** -name */
  readonly namesOnly: boolean
  /** -terse */
  readonly terse: boolean
  /** `save`: the kernel sends elements even if -terse then leaves out their heading. */
  readonly saving: boolean
  readonly sorted: boolean
  /** -resolve: no resolver is asked, but -sorted then goes by letters. */
  readonly resolve: boolean
  /** Whose packets may come between elements. */
  readonly host: Host
}

export function listSets(holders: readonly SetHolder[], options: ListOptions): string {
  const texts = holders.map((holder) => listSet(holder, options))
  if (options.mode === 'xml') return `<ipsets>\n${texts.join('')}</ipsets>\n`
  return texts.join(options.mode === 'plain' && !options.namesOnly ? '\n' : '')
}

type Pairs = readonly (readonly [string, string])[]

const tags = (options: Pairs): string =>
  options.map(([key, text]) => (text === '' ? `<${key}/>` : `<${key}>${text}</${key}>`)).join('')

function listSet({ name, references, set }: SetHolder, options: ListOptions): string {
  const { type, family, data } = set
  const { mode } = options
  if (options.namesOnly && mode !== 'save') return mode === 'xml' ? `<ipset name="${name}"/>\n` : `${name}\n`
  const header = writeOptions(type, data.header(), family, true)
  const withMembers = mode === 'save' || !options.terse
  const members = withMembers || options.saving ? [...data.members()] : []
  const of = (member: SetMember): Pairs => writeOptions(type, member, family, false)
  const element = (member: SetMember): string => writeElement(type, member, family)
  const line = (member: SetMember): string => {
    options.host.condResched()
    return `${element(member)}${joined(of(member))}\n`
  }
  if (options.sorted && type.name.startsWith('hash:')) {
    const order = options.resolve ? (a: string, b: string) => (a < b ? -1 : 1) : elementOrder
    const texts = new Map(members.map((member) => [member, line(member)]))
    members.sort((a, b) => order(texts.get(a)!, texts.get(b)!))
  }
  if (mode === 'save')
    return `create ${name} ${type.name}${joined(header)}\n${members
      .map((member) => `add ${name} ${line(member)}`)
      .join('')}`
  if (mode === 'plain')
    return `Name: ${name}\nType: ${type.name}\nRevision: ${type.revision}\nHeader:${joined(header)}\nSize in memory: ${data.memory()}\nReferences: ${references}\nNumber of entries: ${data.count()}\n${
      withMembers ? 'Members:\n' : ''
    }${members.map(line).join('')}`
  const lines = members.map((m) => `<member><elem>${element(m)}</elem>${tags(of(m))}</member>\n`)
  const body = withMembers ? `<members>\n${lines.join('')}` : lines.join('')
  // 7.17 closes the set whose name it remembers: one whose name is empty stays open.
  const end = name === '' ? '' : `${withMembers ? '</members>\n' : ''}</ipset>\n`
  return `<ipset name="${name}">\n<type>${type.name}</type>\n<revision>${type.revision}</revision>\n<header>${tags(header)}\n<memsize>${data.memory()}</memsize>\n<references>${references}</references>\n<numentries>${data.count()}</numentries>\n</header>\n${body}${end}`
}
