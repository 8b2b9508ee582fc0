#!/usr/bin/env node
// Entry of the `tunwall` command.

import { tunwall } from './cli/tunwall.ts'

process.exitCode = await tunwall(process.argv.slice(2))
