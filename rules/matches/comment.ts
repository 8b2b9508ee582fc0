// comment: a remark in a rule; matches everything (libxt_comment of iptables 1.8.9).

import type { Match } from '../extension.ts'
import { nameField } from '../layout.ts'
import { saveString } from '../text/quote.ts'

export interface Comment {
  readonly text: string
}

/** XT_MAX_COMMENT_LEN, with the byte that ends it. */
const MAX_BYTES = 256

export const comment: Match<Comment> = {
  kind: 'match',
  name: 'comment',
  families: [4, 6],
  layout: { size: 256, fields: ({ text }) => [nameField(0, 256, text)] },
  options: [{ flag: 'comment', holds: 'comment', required: true }],
  help: `comment match options:
--comment COMMENT             Attach a comment to a rule
`,
  parse: (o) => ({ text: cutBytes(o.text('comment'), MAX_BYTES - 1) }),
  print: (m) => `--comment ${saveString(m.text)}`,
  list: (m) => `/* ${m.text} */`,
  reads: [],
  byChance: () => true,
  emit: (_, js) => js`true`,
}

/** The text's first `max` bytes, each a character. */
export const cutBytes = (text: string, max: number): string => text.slice(0, max)
