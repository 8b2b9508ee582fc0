import { describe, expect, test } from 'vitest'
import { compareProc } from '../../harness/compare-proc.ts'
import type { Run } from '../../harness/scenario.ts'

const PATH = 'net/ipt_hashlimit/h'
const NAMES = ['kernel', 'tunwall'] as const
const run = (text: string, later?: string): Run =>
  ({
    proc: { [PATH]: text },
    ...(later === undefined ? {} : { procLater: { [PATH]: later } }),
  }) as unknown as Run
const differences = (kernel: string, ours: string, later?: string): number =>
  compareProc(run(kernel), run(ours, later), NAMES).length

describe('tables of hashlimit', () => {
  // A window of a second that has 4 packets in it, and once it is over.
  const within = '3599 10.0.0.1:0->0.0.0.0:80 4294967297 4 1\n'
  const over = '3598 10.0.0.1:0->0.0.0.0:80 1 0 1\n'

  test('a window may end while the kernel reads them', () => {
    expect(differences(over, within, over)).toBe(0)
    expect(differences(within, within, over)).toBe(0)
  })

  test('nothing else may change', () => {
    expect(differences(over, within)).toBe(1)
    expect(differences(over, within, within)).toBe(1)
    expect(differences(over.replace(':80', ':81'), within, over)).toBe(1)
    expect(differences('3598 10.0.0.1:0->0.0.0.0:80 1 0 2\n', within, over)).toBe(1)
    expect(differences(over + within, within, over)).toBe(1)
  })
})
