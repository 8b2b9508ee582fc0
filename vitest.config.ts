import { defineConfig } from 'vitest/config'

// Two projects: `unit` runs anywhere; `kernel` asks the machine's own netfilter and needs root.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'test/{unit,extensions,property,replay,replay-tools,diff,explain,fuzz,testing,coverage,anonymize}/**/*.test.ts',
          ],
          testTimeout: 120_000,
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
