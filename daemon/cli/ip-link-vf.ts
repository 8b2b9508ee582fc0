// ip link set DEV vf N …, as iplink_parse_vf() of iproute2 6.1 reads it. No link here has virtual functions: what is right
// is read, and the kernel's refusal is the caller's.

import { ETH_P_8021AD, ETH_P_8021Q } from '../../datapath/wire/ethernet.ts'
import { begins, hardware, type Line, number, offOrOn } from './ip-words.ts'

/** llproto_names[], but for those of VLANs. */
const OTHER_PROTOCOLS: ReadonlySet<string> = new Set(
  'loop pup pupat ip x25 arp bpq ieeepup ieeepupat dec dna_dl dna_rc dna_rt lat diag cust sca teb rarp atalk aarp ipx ipv6 ppp_disc ppp_ses atmmpoa atmfate 802_3 ax25 all 802_2 snap ddcmp wan_ppp ppp_mp localtalk can ppptalk tr_802_2 mobitex control irda econet tipc profinet aoe ethercat mpls_uc mpls_mc ipv4'.split(
    ' ',
  ),
)
const STATES = ['auto', 'enable', 'disable']
const GUID = /^[\da-f]{2}(:[\da-f]{2}){7}$/i

const UNSAID = 0xffff_ffff

interface VirtualFunction {
  /** Bytes, in hexadecimal. */
  mac: string | null
  /** Least and most rates; UNSAID, as 0xffffffff itself: to be asked of the kernel, 0. */
  min: number
  max: number
  /** `rate` is the most where a least rate is said and no most one, in words to come too. */
  readonly rateIsMax: boolean
}

/** What stands behind `vf N`; another word ends it. Returns the last hardware address, null if there is none. */
export function readVirtualFunction(line: Line): string | null {
  const said = (name: string): boolean => line.rest().some((word) => begins(word, name))
  const rateIsMax = said('min_tx_rate') && !said('max_tx_rate')
  const vf: VirtualFunction = { mac: null, min: UNSAID, max: UNSAID, rateIsMax }
  if (line.done) line.incomplete()
  for (let first = true; !line.done; first = false) {
    const word = line.peek()
    const read = WORDS.find(([name]) => begins(word, name))?.[1]
    if (read === undefined) {
      if (first) line.incomplete()
      break
    }
    line.take()
    read(line, vf)
  }
  const { min, max } = vf
  if (max !== 0 && max !== UNSAID && min !== UNSAID && min > max)
    line.fail(`Invalid min_tx_rate ${min | 0} - must be <= max_tx_rate ${max | 0}\n`, 1)
  return vf.mac
}

type Read = (line: Line, vf: VirtualFunction) => void

/** A number of 32 bits, or up to `most`. */
function unsigned(line: Line, called: string, most?: number): number {
  const text = line.next()
  return number(text, most) ?? line.invalid(`Invalid "${called}" value\n`, text)
}

/** vlan ID [qos N] [proto 802.1Q|802.1ad]. */
function vlan(line: Line): void {
  unsigned(line, 'vlan', 4095)
  if (line.done) return
  if (begins(line.peek(), 'qos')) {
    line.take()
    unsigned(line, 'qos')
  }
  if (line.done || !begins(line.peek(), 'proto')) return
  line.take()
  const text = line.next()
  const name = text.toLowerCase()
  const known = name === '802.1q' ? ETH_P_8021Q : name === '802.1ad' ? ETH_P_8021AD : number(text, 0xffff)
  if (known === null && !OTHER_PROTOCOLS.has(name)) line.invalid('protocol is invalid\n', text)
  if (known !== ETH_P_8021Q && known !== ETH_P_8021AD)
    line.invalid('Invalid "vlan protocol" value - supported 802.1Q, 802.1ad\n', text)
}

function guid(line: Line): void {
  const text = line.next()
  if (!GUID.test(text)) line.invalid('Invalid GUID format\n', text)
}

/** Cut short, a word is the first of these that it begins. */
const WORDS: readonly (readonly [string, Read])[] = [
  [
    'mac',
    (line, vf) => {
      vf.mac = hardware(line)
    },
  ],
  ['vlan', vlan],
  [
    'rate',
    (line, vf) => {
      const rate = unsigned(line, 'rate')
      if (vf.rateIsMax) vf.max = rate
    },
  ],
  [
    'max_tx_rate',
    (line, vf) => {
      vf.max = unsigned(line, 'max tx rate')
    },
  ],
  [
    'min_tx_rate',
    (line, vf) => {
      vf.min = unsigned(line, 'min tx rate')
    },
  ],
  ['spoofchk', (line) => offOrOn(line, 'spoofchk', 1)],
  ['query_rss', (line) => offOrOn(line, 'query_rss', 1)],
  ['trust', (line) => offOrOn(line, 'trust', 1)],
  [
    'state',
    (line) => {
      const text = line.next()
      if (!STATES.some((state) => begins(text, state))) line.invalid('Invalid "state" value\n', text)
    },
  ],
  ['node_guid', guid],
  ['port_guid', guid],
]
