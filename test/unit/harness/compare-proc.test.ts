import { describe, expect, test } from 'vitest'
import { compareProc } from '../../harness/compare-proc.ts'
import type { Run } from '../../harness/scenario.ts'

const PATH = 'net/ipt_hashlimit/h'
const NAMES = ['kernel', 'tunwall'] as const
const run = (text: string, later?: string, save = ''): Run =>
  ({
    save,
    proc: { [PATH]: text },
    ...(later === undefined ? {} : { procLater: { [PATH]: later } }),
  }) as unknown as Run
const differences = (kernel: string, ours: string, later?: string, save = ''): number =>
  compareProc(run(kernel, undefined, save), run(ours, later, save), NAMES).length

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

  test('a port that the kernel drew may stand nowhere else', () => {
    const save = '-A INPUT -j SNAT --to-source 10.0.0.9 --random-fully\n'
    const other = within.replace(':80', ':40000')
    expect(differences(other, within, undefined, save)).toBe(0)
    expect(differences(other, within)).toBe(1)
    expect(differences(other.replace('10.0.0.1', '10.0.0.2'), within, undefined, save)).toBe(1)
    expect(differences(other.replace(' 4 1', ' 5 1'), within, undefined, save)).toBe(1)
    expect(differences(other + within, within, undefined, save)).toBe(1)
  })

  test('lines with other ports are told apart by what they have left', () => {
    const line = (port: number, credit: number): string =>
      `58 0.0.0.0:443->0.0.0.0:${port} ${credit} 27487790600000 13743895300000\n`
    const kernel = line(14680, 27487790600000) + line(32530, 15393162741664)
    const ours = line(34196, 13743895300000) + line(34459, 27487790600000)
    expect(differences(kernel, ours, undefined, '-j SNAT --random')).toBe(0)
    expect(differences(ours, kernel, undefined, '-j SNAT --random')).toBe(1)
  })
})
