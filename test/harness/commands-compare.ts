// Ours against the real iptables, call by call.

import { type Answer, type Call, masked, ourAnswers, realAnswers } from './commands.ts'

/** The calls up to the first that differs, and what differs. */
export function compare(calls: readonly Call[]): string | null {
  const theirs = realAnswers(calls)
  const mine = ourAnswers(calls)
  const show = ({ tool, argv, stdin }: Call): string =>
    `${tool} ${argv.map((w) => JSON.stringify(w)).join(' ')}${stdin === '' ? '' : ` <<E\n${stdin.slice(0, 5000)}E`}`
  const say = (i: number, what: string, a: Answer, b: Answer): string =>
    `${calls.slice(0, i).map(show).join('\n')}\n--> ${show(calls[i]!)}\n${what}, ours:\n${text(a)}\ntheirs:\n${text(b)}`
  for (const i of calls.keys())
    for (const part of [0, 1] as const) {
      // iptables-xml crashes of some lines; nothing follows from that.
      if (calls[i]!.tool === 'iptables-xml' && theirs[i]![0].code > 128) continue
      const [a, b] = [masked(mine[i]![part]), masked(theirs[i]![part])]
      if (JSON.stringify(a) !== JSON.stringify(b))
        return say(i, part === 0 ? 'answer' : 'ruleset afterwards', a, b)
    }

  return null
}

const text = (a: Answer): string => `exit ${a.code}\n[stdout]\n${a.stdout}[stderr]\n${a.stderr}`
