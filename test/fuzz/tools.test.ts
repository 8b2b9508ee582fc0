// Broken command lines and files: no tool of ours throws, each ends as iptables can end, and rules in force stay.

import { expect, test } from 'vitest'
import { type Call, CommandDice, masked, OurTools } from '../harness/commands.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const SEED = SEED_OF_RUN
const ROUNDS = Number(process.env.TUNWALL_ROUNDS ?? 400)

const RULES =
  '*filter\n:web - [0:0]\n-A INPUT -s 10.0.0.0/8 -j web\n-A web -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n'

test(`damaged files, seed ${SEED}`, () => {
  const dice = new CommandDice(SEED)
  const tools = new OurTools()
  expect(tools.run({ tool: 'iptables-restore', argv: [], stdin: RULES }).code).toBe(0)
  const rules = (): string =>
    masked(tools.run({ tool: 'iptables-save', argv: ['-t', 'filter'], stdin: '' })).stdout
  const before = rules()
  const damage = (text: string): string => {
    let bytes = text
    for (let n = 1 + dice.below(4); n > 0; n--) {
      const at = dice.below(bytes.length + 1)
      const put = Array.from({ length: dice.below(6) }, () => String.fromCharCode(dice.below(256))).join('')
      bytes = bytes.slice(0, at) + put + bytes.slice(at + dice.below(9))
    }
    return bytes
  }
  for (let i = 0; i < ROUNDS; i++) {
    const text = damage(dice.restoreText())
    const tool = dice.pick(['iptables-restore', 'ip6tables-restore', 'iptables-xml'] as const)
    // -t reads and checks everything, and puts nothing in force.
    const argv = tool === 'iptables-xml' ? [] : ['-t', ...dice.pick([[], ['-n'], ['-c'], ['-v']])]
    const call: Call = { tool, argv, stdin: text }
    expect([0, 1, 2, 3], JSON.stringify(call)).toContain(tools.run(call).code)
    expect(rules(), JSON.stringify(call)).toBe(before)
  }
})

test('a line of ten megabytes is refused', () => {
  const tools = new OurTools()
  tools.run({ tool: 'iptables-restore', argv: [], stdin: RULES })
  const before = tools.save().stdout
  const stdin = `*filter\n-A INPUT ${'x'.repeat(10_000_000)}\nCOMMIT\n`
  expect(tools.run({ tool: 'iptables-restore', argv: [], stdin })).toEqual({
    stdout: '',
    stderr:
      "iptables-restore v1.8.9 (legacy): Parameter too long!\nError occurred at line: 2\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.\n",
    code: 2,
  })
  expect(tools.save().stdout).toBe(before)
})
