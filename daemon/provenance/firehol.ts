// FireHOL: chains by direction and interface name, in_world and out_world, and SMART_REJECT beside them.

import type { Recogniser } from './author.ts'

const WAYS: Readonly<Record<string, string>> = { in: 'inbound', out: 'outbound', pr: 'protection' }

export const firehol: Recogniser = {
  program: 'FireHOL',
  words: { beside: ['SMART_REJECT'], chains: [/^SMART_REJECT$/, /^(?:in|out|pr)_(?<names>.+)$/] },
  chain(_, name, around) {
    if (!around.has('filter', 'SMART_REJECT')) return null
    if (name === 'SMART_REJECT') return 'reject by protocol'
    const found = /^(in|out|pr)_(.+?)(?:_[a-z0-9]+)?$/.exec(name)
    return found === null ? null : `${found[2]}, ${WAYS[found[1]!]}`
  },
}
