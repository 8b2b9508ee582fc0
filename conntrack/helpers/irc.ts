// IRC's direct connections (DCC; nf_conntrack_irc.c and nf_nat_irc.c, Linux 6.18): one client tells another, through
// the server, where to connect.
//
//     PRIVMSG nick :\1DCC SEND file 3232235777 5000 1234\1\n        address as a decimal number, port

import { Verdict } from '../../datapath/hooks.ts'
import { CtInfo, type Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Conntrack } from '../conntrack.ts'
import {
  ALL_PORTS,
  announceAtFreePort,
  announceOrRefuse,
  CANNOT_MANGLE,
  destinationOf,
  expectation,
  followMaster,
  type HelperKind,
  isTranslated,
  refuse,
  sourceOf,
  tcpData,
} from './helper.ts'
import { ascii, mangleTcp } from './mangle.ts'
import { CR, decimal, find, LF, SPACE, startsWith, startsWithAnyCase } from './text.ts'

/** How much of a segment is looked at. */
const MAX_SEARCH = 4095
const COMMANDS = ['SEND ', 'CHAT ', 'MOVE ', 'TSEND ', 'SCHAT ']
/** `PRIVMSG x `. */
const SHORTEST_HEAD = 10
/** ` :\1DCC SENT t AAAAAAAA P\1\n`. */
const SHORTEST_MESSAGE = 26
/** `AAAAAAAA P\1\n`. */
const SHORTEST_ADDRESS = 12

interface Offer {
  /** A word. */
  readonly address: number
  readonly port: number
  readonly at: number
  readonly length: number
}

/** parse_dcc(): the offer behind the command's name; null: none. */
function parse(bytes: Uint8Array, at: number, end: number): Offer | null {
  while (bytes[at++] !== SPACE) if (at > end - SHORTEST_ADDRESS) return null
  if (find(bytes, at, end, '\n') < 0) return null
  const address = decimal(bytes, at, end)
  let i = address.end
  while (bytes[i] === SPACE) if (i++ >= end) return null
  const port = decimal(bytes, i, end)
  return { address: address.value | 0, port: port.value & 0xffff, at, length: port.end - at }
}

function create(ct: Conntrack): ReturnType<HelperKind['create']> {
  const { bytes } = ct.host.memory
  const follow = followMaster(ct)

  const help = (pkt: Packet, entry: number, dir: number): Verdict => {
    // Only what clients say; both ends must have been heard.
    if (dir !== 0 || pkt.ctInfo !== CtInfo.Established) return Verdict.Accept
    const data = tcpData(ct, pkt)
    if (data < 0) return Verdict.Accept
    const end = Math.min(pkt.end, data + MAX_SEARCH)
    let at = data
    while (at < end - SHORTEST_HEAD && (bytes[at] === SPACE || bytes[at] === CR || bytes[at] === LF)) at++
    if (at < end - SHORTEST_HEAD) {
      if (!startsWithAnyCase(bytes, at, end, 'PRIVMSG ')) return Verdict.Accept
      at += 8
    }
    for (; at < end - SHORTEST_MESSAGE; at++) {
      if (!startsWith(bytes, at, end, ' :')) continue
      at += 2
      if (!startsWith(bytes, at, end, '\x01DCC ')) return Verdict.Accept
      at += 5
      for (const command of COMMANDS) {
        if (!startsWith(bytes, at, end, command)) continue
        at += command.length
        const offer = parse(bytes, at, end)
        if (offer === null || !isOwn(entry, dir, offer)) continue
        return expect(pkt, entry, dir, data, offer)
      }
      at--
    }
    return Verdict.Accept
  }

  /** The address is the client's own, inside or outside. */
  const isOwn = (entry: number, dir: number, { address, port }: Offer): boolean =>
    port !== 0 &&
    (sourceOf(ct, entry, dir)[0] === address || destinationOf(ct, entry, 1 - dir)[0] === address)

  const expect = (pkt: Packet, entry: number, dir: number, data: number, offer: Offer): Verdict => {
    const outside = destinationOf(ct, entry, 1 - dir)
    const e = expectation(ct, entry, {
      source: null,
      destination: outside,
      protocol: IPPROTO_TCP,
      sport: null,
      dport: offer.port,
    })
    if (!isTranslated(ct, entry)) return announceOrRefuse(ct, pkt, entry, e)
    e.nat = { dir: 1, port: offer.port }
    e.onMatch = follow
    const port = announceAtFreePort(ct, e, offer.port)
    if (port === 0) return refuse(ct, pkt, entry, ALL_PORTS)
    const text = ascii(`${outside[0] >>> 0} ${port}`)
    if (mangleTcp(ct, pkt, entry, dir, offer.at - data, offer.length, text)) return Verdict.Accept
    ct.expectations.remove(e)
    return refuse(ct, pkt, entry, CANNOT_MANGLE)
  }

  return { policies: [{ max: 8, seconds: 300 }], help }
}

export const irc: HelperKind = { name: 'irc', families: [4], protocols: [IPPROTO_TCP], create }
