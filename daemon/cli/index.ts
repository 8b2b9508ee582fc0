// The subcommands of `tunwall`: a new one is one file here and one line below.

import type { Command } from 'commander'
import { addAnonymize } from './anonymize.ts'
import { addCoverage } from './coverage.ts'
import { addDiff } from './diff.ts'
import { addExplain } from './explain.ts'
import { addReplay } from './replay.ts'
import { addSnapshot } from './snapshot.ts'
import { addTest } from './test.ts'
import { addTools } from './tools.ts'
import { addUp } from './up.ts'

export function addSubcommands(program: Command): void {
  addUp(program)
  addExplain(program)
  addReplay(program)
  addDiff(program)
  addTest(program)
  addCoverage(program)
  addSnapshot(program)
  addAnonymize(program)
  addTools(program)
}
