// The application helpers that CT --helper may name.

import { amanda } from './amanda.ts'
import { ftp } from './ftp.ts'
import { h245, q931, ras } from './h323.ts'
import type { HelperKind } from './helper.ts'
import { irc } from './irc.ts'
import { netbiosNs } from './netbios-ns.ts'
import { pptp } from './pptp.ts'
import { sane } from './sane.ts'
import { sip } from './sip.ts'
import { snmp, snmpTrap } from './snmp.ts'
import { tftp } from './tftp.ts'

export const HELPERS: readonly HelperKind[] = [
  amanda,
  ftp,
  h245,
  irc,
  netbiosNs,
  pptp,
  q931,
  ras,
  sane,
  sip,
  snmp,
  snmpTrap,
  tftp,
]
