// Command lines with the answers that iptables 1.8.9 (legacy) gave on Linux 6.18, recorded by
// test/differential/commands.test.ts (TUNWALL_RECORD): what a machine without root can hold us to.

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type Answer, type Call, masked, OurTools } from '../../harness/commands.ts'

interface Session {
  readonly calls: readonly Call[]
  /** The answer, and the ruleset behind it where it changed. */
  readonly answers: readonly (readonly [Answer, string | null])[]
}

const sessions = readFileSync(new URL('../../data/iptables-commands.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Session)

test.each(sessions.map((session, i) => [i, session] as const))(
  'recorded session %i',
  (_, { calls, answers }) => {
    const tools = new OurTools()
    let before = ''
    for (const [i, call] of calls.entries()) {
      const [answer, changed] = answers[i]!
      const line = `${call.tool} ${call.argv.join(' ')}\n${call.stdin}`
      expect(masked(tools.run(call)), line).toEqual(answer)
      before = changed ?? before
      expect(masked(tools.save()).stdout, line).toBe(before)
    }
  },
)
