// dst: the destination options header; see options6.ts.

import { NEXTHDR_DEST } from '../../datapath/wire/ipv6-headers.ts'
import { optionHeader } from './options6.ts'

export const dst = optionHeader(
  'dst',
  NEXTHDR_DEST,
  "PAD0 hasn't got length",
  `dst match options:
[!] --dst-len length            total length of this header
  --dst-opts TYPE[:LEN][,TYPE[:LEN]...]
                                Options and its length (list, max: 16)
`,
)
