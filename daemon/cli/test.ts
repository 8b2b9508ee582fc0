// tunwall test: unit tests of firewalls in YAML.

import type { Command } from 'commander'
import { CommandError, ExitCode } from '../errors.ts'

interface TestWords {
  readonly tap?: boolean
  readonly junit?: string
  readonly filter?: string
  readonly watch?: boolean
  readonly color?: boolean
  readonly coverage?: boolean
  readonly lcov?: string
  readonly annotate?: string
}

export function addTest(program: Command): void {
  program
    .command('test')
    .description('run the tests in YAML files: packets in, and what a host must do with them')
    .argument('<path...>', 'test files, and folders with *.test.yaml in them')
    .option('--filter <name>', 'only tests with this in their name; /PATTERN/ is a regular expression')
    .option('--tap', 'results in the Test Anything Protocol')
    .option('--junit <file>', 'also write them as JUnit’s XML')
    .option('--watch', 'run again whenever a file of the tests or their hosts changes')
    .option('--coverage', 'tell which rules of the hosts the tests hit')
    .option('--lcov <file>', 'with --coverage: write it in lcov’s format')
    .option('--annotate <file>', 'with --coverage: write the rules with their hits')
    .option('--color', 'in colours, though standard output is no terminal')
    .option('--no-color', 'without colours')
    .action(async (paths: readonly string[], words: TestWords) => {
      const { runTests, watchTests } = await import('../testing/command.ts')
      const options = {
        paths,
        filter: readFilter(words.filter),
        tap: words.tap === true,
        junit: words.junit ?? null,
        color: words.color ?? null,
        coverage:
          words.coverage || words.lcov !== undefined || words.annotate !== undefined
            ? { lcov: words.lcov ?? null, annotate: words.annotate ?? null, summary: true }
            : null,
        out: (text: string) => void process.stdout.write(text),
      }
      if (words.watch) await watchTests(options)
      else process.exitCode = runTests(options)
    })
}

function readFilter(text: string | undefined): ((name: string) => boolean) | null {
  if (text === undefined) return null
  const pattern = /^\/(.+)\/$/.exec(text)
  if (pattern === null) return (name) => name.toLowerCase().includes(text.toLowerCase())
  try {
    const regexp = new RegExp(pattern[1]!)
    return (name) => regexp.test(name)
  } catch (error) {
    throw new CommandError(`--filter ${text}: ${(error as Error).message}`, ExitCode.Unusable)
  }
}
