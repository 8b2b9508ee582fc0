// The application helpers that CT --helper may name.

import { createAmanda } from './amanda.ts'
import { createFtp } from './ftp.ts'
import type { HelperMaker } from './helper.ts'
import { createIrc } from './irc.ts'
import { createSane } from './sane.ts'
import { createTftp } from './tftp.ts'

export const HELPERS: readonly HelperMaker[] = [createAmanda, createFtp, createIrc, createSane, createTftp]
