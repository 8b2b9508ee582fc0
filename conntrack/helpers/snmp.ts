// SNMP versions 1 and 2 (RFC 1157, 3416; nf_conntrack_snmp.c and nf_nat_snmp_basic_main.c, Linux 6.18): the addresses
// in values of type IpAddress are translated as the connection's are (RFC 2962).
//
//     SEQUENCE { INTEGER version, OCTET STRING community, [n] PDU }
//     PDU      { INTEGER, INTEGER, INTEGER, SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, value } }
//
// What is not built like that is dropped once the connection is translated; so are traps of version 1, whose PDU is
// another one.

import { Verdict } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { ensureWritable } from '../../datapath/rewrite.ts'
import { fold } from '../../datapath/wire/checksum.ts'
import { IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN, UDP_LENGTH } from '../../datapath/wire/udp.ts'
import type { Conntrack } from '../conntrack.ts'
import { expectAnswers } from './broadcast.ts'
import { destinationOf, type HelperKind, isTranslated, refuse, sourceOf } from './helper.ts'

const PORT = 161
const TRAP_PORT = 162
const BROADCAST_TIMEOUT_S = 30
const EXPECT_TIMEOUT_S = 180

const INTEGER = 0x02
const OCTET_STRING = 0x04
const NULL = 0x05
const OBJECT_IDENTIFIER = 0x06
const SEQUENCE = 0x30
const IP_ADDRESS = 0x40
const CONSTRUCTED = 0x20
const INDEFINITE = 0x80
const LONG_TAG = 0x1f
/** [0] to [8], but for the obsolete [4], in the order in which they are looked for. */
const PDUS = [0xa0, 0xa1, 0xa5, 0xa2, 0xa3, 0xa6, 0xa7, 0xa8]
/** Simple types: one of them. */
const SIMPLE = [INTEGER, OCTET_STRING, OBJECT_IDENTIFIER]
/** The application's: address, counter, ticks, opaque, long counter, gauge. */
const APPLICATION = [IP_ADDRESS, 0x41, 0x43, 0x44, 0x46, 0x42]
/** What stands for no value. */
const NOTHING = [NULL, 0x80, 0x81, 0x82]
const HIGHEST_VERSION = 1

/** Reads BER as asn1_ber_decoder() does. */
class Reader {
  readonly #bytes: Uint8Array
  /** Next byte. */
  at: number
  /** One past the innermost constructed value. */
  #end: number
  /** Ends of the values around it, negative where the length is indefinite. */
  readonly #around: number[] = []
  /** Of the value that was found last. */
  length = 0
  /** Whether what was looked for last was there (FLAG_MATCHED). */
  matched = false
  /** Something cannot be read. */
  failed = false

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.#bytes = bytes
    this.at = at
    this.#end = end
  }

  get atEnd(): boolean {
    return this.at === this.#end
  }

  /** Whether a value of the type begins here; its tag and length are read then. */
  find(tag: number): boolean {
    this.matched = false
    if (this.at >= this.#end - 1) return this.#fail()
    const found = this.#bytes[this.at]!
    if ((found & LONG_TAG) === LONG_TAG) return this.#fail()
    // A constructed type may come as a simple one.
    if (((tag ^ found) & ~(tag & CONSTRUCTED)) !== 0) return false
    this.at++
    let length = this.#bytes[this.at++]!
    const indefinite = length === INDEFINITE
    if (indefinite) {
      if ((found & CONSTRUCTED) === 0 || this.#end - this.at < 2) return this.#fail()
    } else {
      if (length > 0x7f) {
        let n = length - 0x80
        if (n > 2 || this.at >= this.#end - n) return this.#fail()
        for (length = 0; n > 0; n--) length = (length << 8) | this.#bytes[this.at++]!
      }
      if (length > this.#end - this.at) return this.#fail()
    }
    this.length = length
    if ((tag & CONSTRUCTED) !== 0) {
      this.#around.push(indefinite ? -this.#end : this.#end)
      if (!indefinite) this.#end = this.at + length
    }
    this.matched = true
    return true
  }

  #fail(): false {
    this.failed = true
    return false
  }

  /** A value of that type is passed over. */
  skip(tag: number): boolean {
    if (!this.find(tag)) return false
    this.at += this.length
    return true
  }

  /** Whether the list goes on. */
  get goesOn(): boolean {
    const indefinite = this.#around.at(-1)! < 0
    return indefinite ? this.#end - this.at >= 2 && this.#bytes[this.at] !== 0 : this.at < this.#end
  }

  /** The constructed value ends here. */
  close(): boolean {
    const around = this.#around.pop()!
    if (around < 0) {
      this.#end = -around
      if (this.#end - this.at < 2) return false
      return this.#bytes[this.at++] === 0 && this.#bytes[this.at++] === 0
    }
    if (this.at !== this.#end) return false
    this.#end = around
    return true
  }
}

/**
 * Reads a message; `address` is called with the offset of every IpAddress. False: it is none. Alternatives are looked
 * for one after the other, and another one may follow that comes later in the list: the kernel's grammar has them
 * optional.
 */
function read(bytes: Uint8Array, at: number, end: number, address: (at: number) => void): boolean {
  const r = new Reader(bytes, at, end)
  if (!r.find(SEQUENCE)) return false
  if (!r.find(INTEGER) || r.length !== 1 || bytes[r.at]! > HIGHEST_VERSION) return false
  r.at++
  if (!r.skip(OCTET_STRING)) return false
  for (const tag of PDUS) if (!r.atEnd && r.find(tag) && !readPdu(r, address)) return false
  return r.matched && !r.failed && r.close()
}

function readPdu(r: Reader, address: (at: number) => void): boolean {
  if (!r.skip(INTEGER) || !r.skip(INTEGER) || !r.skip(INTEGER) || !r.find(SEQUENCE)) return false
  do {
    if (!r.find(SEQUENCE) || !r.skip(OBJECT_IDENTIFIER)) return false
    for (const tag of SIMPLE) if (!r.atEnd && (tag === INTEGER || !r.matched)) r.skip(tag)
    for (const tag of APPLICATION) {
      if (r.atEnd || !r.find(tag)) continue
      if (tag === IP_ADDRESS) {
        if (r.length !== 4) return false
        address(r.at)
      }
      r.at += r.length
    }
    for (const tag of NOTHING) if (!r.matched && !r.atEnd) r.skip(tag)
    if (!r.matched || r.failed || !r.close()) return false
  } while (r.goesOn)
  return r.close() && r.close()
}

/** nf_nat_snmp_basic's help(). */
function translate(ct: Conntrack, pkt: Packet, entry: number, dir: number): Verdict {
  if (pkt.sport === PORT && dir === 0) return Verdict.Accept
  if (pkt.dport === TRAP_PORT && dir !== 0) return Verdict.Accept
  if (!isTranslated(ct, entry)) return Verdict.Accept
  const { bytes, view } = ct.host.memory
  const { l4, end } = pkt
  if (view.getUint16(l4 + UDP_LENGTH) !== end - l4)
    return refuse(ct, pkt, entry, 'dropping malformed packet\n')
  ensureWritable(pkt, end - pkt.l3)
  const from = sourceOf(ct, entry, 0)[0]
  const to = destinationOf(ct, entry, 1)[0]
  if (from === to) return Verdict.Accept
  const data = l4 + UDP_HEADER_LEN
  const fine = read(bytes, data, end, (at) => {
    if (view.getInt32(at) !== from) return
    const check = view.getUint16(l4 + UDP_CHECKSUM)
    if (check !== 0) {
      // At an odd offset the bytes of each half of a 16-bit word change places.
      const turn = (word: number): number => {
        const sum = (word >>> 16) + (word & 0xffff)
        return ((at - data) & 1) === 0 ? sum : ((fold(sum) & 0xff) << 8) | (fold(sum) >>> 8)
      }
      view.setUint16(l4 + UDP_CHECKSUM, ~fold((~check & 0xffff) + turn(~from) + turn(to)) & 0xffff)
    }
    view.setInt32(at, to)
    pkt.sumEnd = 0
  })
  return fine ? Verdict.Accept : refuse(ct, pkt, entry, 'parser failed\n')
}

export const snmp: HelperKind = {
  name: 'snmp',
  families: [4],
  protocols: [IPPROTO_UDP],
  create: (ct) => ({
    policies: [{ max: 1, seconds: BROADCAST_TIMEOUT_S }],
    help(pkt, entry, dir) {
      expectAnswers(ct, pkt, entry, dir, PORT, BROADCAST_TIMEOUT_S)
      return translate(ct, pkt, entry, dir)
    },
  }),
}

export const snmpTrap: HelperKind = {
  name: 'snmp_trap',
  families: [4],
  protocols: [IPPROTO_UDP],
  create: (ct) => ({
    policies: [{ max: 0, seconds: EXPECT_TIMEOUT_S }],
    help: (pkt, entry, dir) => translate(ct, pkt, entry, dir),
  }),
}
