// hbh: the hop-by-hop options header; see options6.ts.

import { NEXTHDR_HOP } from '../../datapath/wire/ipv6-headers.ts'
import { optionHeader } from './options6.ts'

export const hbh = optionHeader(
  'hbh',
  NEXTHDR_HOP,
  'PAD0 has not got length',
  `hbh match options:
[!] --hbh-len length            total length of this header
  --hbh-opts TYPE[:LEN][,TYPE[:LEN]...] 
                                Options and its length (list, max: 16)
`,
)
