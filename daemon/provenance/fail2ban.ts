// fail2ban: a chain f2b-JAIL, or a set of that name.

import type { Recogniser } from './author.ts'

export const fail2ban: Recogniser = {
  program: 'fail2ban',
  words: { chains: [/^f2b-(?<name>.+)$/], sets: [/^f2b-(?<name>.+?)6?$/] },
  chain: (_, name) => (name.startsWith('f2b-') ? `jail ${name.slice(4)}` : null),
  rule({ chain, target, text, rule }) {
    const set = /--match-set f2b-(\S+) /.exec(text)?.[1]
    if (set !== undefined) return `jail ${set.replace(/6$/, '')}`
    if (!chain.startsWith('f2b-')) return null
    const { source } = rule.base
    return source === null || target === 'RETURN'
      ? null
      : `jail ${chain.slice(4)}: banned ${/-s (\S+?)(?:\/32|\/128)? /.exec(text)?.[1] ?? ''}`
  },
}
