import { defineConfig } from 'vitest/config'

/** Counts what is allocated: another worker beside it would be counted, too, by what it delays. */
const ALONE = 'test/unit/*/no-allocation.test.ts'

// `unit` and `alone` run anywhere; `kernel` asks the machine's own netfilter and needs root.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'test/{unit,extensions,property,replay,replay-tools,diff,explain,fuzz,testing,coverage,anonymize}/**/*.test.ts',
          ],
          exclude: [ALONE],
          testTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'alone',
          include: [ALONE],
          testTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'kernel',
          include: ['test/differential/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
