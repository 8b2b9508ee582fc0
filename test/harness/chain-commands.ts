// Random edits of a table whose chains end early: verdicts that ask nothing, jumps, and extensions that may not stand in every
// chain. Behind such a verdict the kernel looks at nothing (mark_source_chains), so that whether a command is
// refused hangs on what stands before it, and on every chain that leads there.

import type { Call } from './commands.ts'
import type { SeededRandom } from './frames.ts'

const BUILTIN = ['INPUT', 'FORWARD', 'OUTPUT']
const USER = ['A', 'B', 'C', 'D']

const VERDICTS = ['ACCEPT', 'DROP', 'RETURN']
const ASKING = ['-p tcp -j ACCEPT', '-p all -j ACCEPT', '-j MARK --set-mark 1', '-p udp -j D']
/** May stand in some chains only. */
export const MISPLACED = [
  '-j CLASSIFY --set-class 1:1',
  '-p tcp -j TCPMSS --clamp-mss-to-pmtu',
  '-m policy --dir in --pol none',
  '-m policy --dir out --pol none',
  '-m addrtype --src-type LOCAL --limit-iface-in',
  '-m owner --uid-owner 0',
]

/** `count` edits of mangle, with a fresh start now and then. */
export function chainEdits(random: SeededRandom, tool: 'iptables' | 'ip6tables', count: number): Call[] {
  const below = (n: number): number => random.u32() % n
  const pick = <T>(from: readonly T[]): T => from[below(from.length)]!
  const rule = (): string => {
    switch (below(5)) {
      case 0:
        return `-j ${pick(VERDICTS)}`
      case 1:
        return `-${pick(['j', 'j', 'g'])} ${pick(USER)}`
      case 2:
        return pick(ASKING)
      case 3:
        return pick(MISPLACED)
      default:
        return `-j ${pick([...VERDICTS, ...USER])}`
    }
  }
  const edit = (chain: string): string => {
    const at = 1 + below(4)
    switch (below(10)) {
      case 0:
      case 1:
      case 2:
        return `-A ${chain} ${rule()}`
      case 3:
      case 4:
      case 5:
        return `-I ${chain} ${at} ${rule()}`
      case 6:
      case 7:
      case 8:
        return `-D ${chain} ${at}`
      default:
        return `-R ${chain} ${at} ${rule()}`
    }
  }
  const lines = USER.map((chain) => `-N ${chain}`)
  for (let i = 0; i < count; i++) lines.push(i % 60 === 59 ? '-F' : edit(pick([...BUILTIN, ...USER])))
  return lines.map((line) => ({ tool, argv: ['-t', 'mangle', ...line.split(' ')], stdin: '' }))
}
