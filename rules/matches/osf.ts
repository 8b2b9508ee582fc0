// osf: guesses the system that sent a SYN (libxt_osf of iptables 1.8.9, nf_osf_match() of nfnetlink_osf.c). What it
// compares with is loaded from outside (nfnl_osf there, pf.os of the host folder here); without that nothing fits.
//
//     total length, DF, TTL, kinds of the TCP options in order, window: a number, a multiple, or so many times the MSS

import type { Address } from '../../datapath/devices.ts'
import type { Host } from '../../datapath/host.ts'
import type { Packet } from '../../datapath/packet.ts'
import { IP_DF, IPV4_FRAG, IPV4_TTL } from '../../datapath/wire/ipv4.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { TCP_FLAGS, TCP_HEADER_LEN, TCP_SYN, TCP_WINDOW, tcpHeaderLength } from '../../datapath/wire/tcp.ts'
import type { Match } from '../extension.ts'
import { OptionError } from '../options.ts'
import { logLine } from '../targets/log.ts'
import { formatAddress, prefixMask } from '../text/address.ts'
import { cutBytes } from './comment.ts'
import { type Fingerprint, fingerprintsOf, Window } from './osf-fingerprints.ts'

export interface Osf {
  readonly genre: string
  readonly invert: boolean
  /** --ttl; null: as 0. */
  readonly ttl: number | null
  /** --log; null: no record. */
  readonly log: number | null
}

const MAX_GENRE = 31
const TTL_TRUE = 0
const TTL_NO_CHECK = 2
const LOG_FIRST = 1
/** LOGLEVEL_NOTICE */
const NOTICE = 5
const OPTION_MSS = 2
const MAX_OPTIONS = 40
/** What modems on the way make of the MSS (SMART_MSS_1, SMART_MSS_2). */
const MSS_1 = 1460
const MSS_2 = 1448

const local = (pkt: Packet, address: Address): boolean => {
  if (address.family !== 4) return false
  const mask = prefixMask(address.prefixLength, 4)[0]
  return ((pkt.s0 ^ address.words[0]) & mask) === 0
}

/** nf_osf_ttl(). */
function ttlFits(pkt: Packet, ttl: number, check: number, wanted: number): boolean {
  if (check === TTL_TRUE) return ttl === wanted
  if (check === TTL_NO_CHECK || ttl <= wanted) return true
  const addresses = pkt.arrival?.addresses ?? []
  for (let i = 0; i < addresses.length; i++) if (local(pkt, addresses[i]!)) return ttl === wanted
  return false
}

/** nf_osf_match_one(): `at` to `end` the TCP options. Does not allocate. */
function fits(
  pkt: Packet,
  view: DataView,
  f: Fingerprint,
  check: number,
  at: number,
  end: number,
  win: number,
): boolean {
  if (pkt.end - pkt.l3 !== f.length || !ttlFits(pkt, view.getUint8(pkt.l3 + IPV4_TTL), check, f.ttl))
    return false
  const { kinds, lengths } = f
  let size = 0
  for (let i = 0; i < lengths.length; i++) size += lengths[i]!
  if (size > MAX_OPTIONS || size !== end - at) return false
  let mss = 0
  let o = at
  for (let i = 0; i < kinds.length; i++) {
    const kind = kinds[i]!
    if (view.getUint8(o) !== kind) return false
    if (kind === OPTION_MSS) mss = view.getUint16(o + 2)
    o += lengths[i]!
  }
  const n = f.window
  switch (f.windowKind) {
    case Window.Plain:
      return n === 0 || win === n
    case Window.Mss:
      return win === n * mss || win === n * MSS_1 || win === n * MSS_2
    case Window.Mtu:
      return win === n * (mss + 40) || win === n * (MSS_1 + 40) || win === n * (MSS_2 + 40)
    default:
      return win % n === 0
  }
}

const quad = (word: number): string => formatAddress([word, 0, 0, 0], 4)

/** nf_log_packet() with the default flags. */
function report(pkt: Packet, host: Host, text: string): void {
  host.events.log?.({
    level: NOTICE,
    text: logLine(pkt, host, { prefix: `${text}\n`, level: NOTICE, flags: 0 }),
  })
}

/** nf_osf_match(). Hot: does not allocate but for records. */
function matches(pkt: Packet, host: Host, m: Osf): boolean {
  const { view } = host.memory
  const { l4 } = pkt
  if (l4 + TCP_HEADER_LEN > pkt.end || (view.getUint8(l4 + TCP_FLAGS) & TCP_SYN) === 0) return false
  const end = l4 + tcpHeaderLength(view, l4)
  if (end > pkt.end) return false
  const options = l4 + TCP_HEADER_LEN
  const win = view.getUint16(l4 + TCP_WINDOW)
  const all = fingerprintsOf(host, (view.getUint16(pkt.l3 + IPV4_FRAG) & IP_DF) !== 0)
  const check = m.ttl ?? TTL_TRUE
  let found = 0
  for (let i = 0; i < all.length; i++) {
    const f = all[i]!
    if (m.log === null && f.genre !== m.genre) continue
    if (!fits(pkt, view, f, check, options, Math.max(end, options), win)) continue
    found++
    if (m.log === null) break
    const hops = f.ttl - view.getUint8(pkt.l3 + IPV4_TTL)
    report(
      pkt,
      host,
      `${f.genre} [${f.version}:${f.subtype}] : ${quad(pkt.s0)}:${pkt.sport} -> ${quad(pkt.d0)}:${pkt.dport} hops=${hops}`,
    )
    if (m.log === LOG_FIRST) break
  }
  if (found === 0 && m.log !== null)
    report(pkt, host, `Remote OS is not known: ${quad(pkt.s0)}:${pkt.sport} -> ${quad(pkt.d0)}:${pkt.dport}`)
  return found > 0
}

export const osf: Match<Osf> = {
  kind: 'match',
  name: 'osf',
  families: [4],
  layout: { size: 48 },
  chains: ['PREROUTING', 'INPUT', 'FORWARD'],
  protocols: [IPPROTO_TCP],
  options: [{ flag: 'genre', required: true, invertible: true }, { flag: 'ttl' }, { flag: 'log' }],
  help: `OS fingerprint match options:
[!] --genre string     Match a OS genre by passive fingerprinting.
--ttl level            Use some TTL check extensions to determine OS:
       0                       true ip and fingerprint TTL comparison. Works for LAN.
       1                       check if ip TTL is less than fingerprint one. Works for global addresses.
       2                       do not compare TTL at all. This allows NMAP detection, but can produce false results.
--log level            Log determined genres into dmesg even if they do not match desired one:
       0                       log all matched or unknown signatures.
       1                       log only first one.
       2                       log all known matched signatures.
`,
  parse(o) {
    const ttl = o.has('ttl') ? o.uint('ttl', 32, 0, 2) : null
    const log = o.has('log') ? o.uint('log', 32, 0, 2) : null
    const genre = o.text('genre')
    if (genre.includes('\0')) throw new OptionError('Invalid genre\n')
    return { genre: cutBytes(genre, MAX_GENRE), invert: o.inverted('genre'), ttl, log }
  },
  print: (m) =>
    `${m.invert ? '! ' : ''}--genre ${m.genre}${m.ttl === null ? '' : ` --ttl ${m.ttl}`}${m.log === null ? '' : ` --log ${m.log}`}`,
  list: (m) => `OS fingerprint match ${m.invert ? '! ' : ''}${m.genre}`,
  // What is logged is an effect.
  reads: (m) => (m.log === null ? ['tcp', 'length', 'ttl'] : ['tcp', 'length', 'ttl', 'state']),
  emit: (m, js) => js`${js.bind(matches)}(pkt, ${js.env.host}, ${m})`,
}
