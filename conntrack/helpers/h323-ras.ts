// H.323's registration, admission and status (RAS, ITU-T H.225.0; process_ras() and its like in nf_conntrack_h323_main.c,
// Linux 6.18).
//
//     telephone  GRQ, RRQ, ARQ, URQ, LRQ, IRR  ────>  gatekeeper:1719
//                <────────  GCF, RCF, ACF, LCF
//
// A registration (RRQ) says where calls are taken; its connection then lives as long as the registration. An admission
// (ACF) or location (LCF) says where to call.

import type { Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { UDP_HEADER_LEN } from '../../datapath/wire/udp.ts'
import type { Conntrack } from '../conntrack.ts'
import { ExpectError, ExpectFlag } from '../expect.ts'
import { STATUS, STRIDE, Status } from '../table.ts'
import type { H323Master, H323Message, H323Nat, Said } from './h323-nat.ts'
import type { PerReader, Value } from './h323-per.ts'
import { rasMessage } from './h323-types.ts'
import {
  announce,
  destinationOf,
  expectation,
  familyOf,
  sameWords,
  sourceOf,
  sourcePortOf,
} from './helper.ts'

/** How long a registration holds that does not say so (default_rrq_ttl), seconds. */
const DEFAULT_TTL_S = 300
/** What is left to say goodbye, milliseconds. */
const GOODBYE_MS = 30_000
/** Jiffies are counted in 32 bits: 250 a second. */
const HZ = 250

/** What becomes of a message; false: its packet is to be dropped. */
type Handle = (m: H323Message, message: Value) => boolean

export class RasMessages {
  readonly #ct: Conntrack
  readonly #per: PerReader
  readonly #nat: H323Nat

  constructor(ct: Conntrack, per: PerReader, nat: H323Nat) {
    this.#ct = ct
    this.#per = per
    this.#nat = nat
  }

  /** ras_help() */
  help(pkt: Packet, entry: number, dir: number, master: H323Master): boolean {
    const at = pkt.l4 + UDP_HEADER_LEN
    if (at >= pkt.end) return true
    const message = this.#per.read(rasMessage, at, at, pkt.end)
    if (message === null) return true
    const m: H323Message = { pkt, entry, dir, master, base: UDP_HEADER_LEN, offset: 0 }
    for (const [name, handle] of this.#handlers) {
      const said = message.get(name)
      if (said !== null) return handle(m, said)
    }
    return true
  }

  readonly #handlers: readonly (readonly [string, Handle])[] = [
    ['gatekeeperRequest', (m, grq) => this.#ownAddress(m, grq.get('rasAddress'))],
    ['gatekeeperConfirm', (m, gcf) => this.#gatekeeper(m, gcf.get('rasAddress')!)],
    ['registrationRequest', (m, rrq) => this.#registration(m, rrq)],
    ['registrationConfirm', (m, rcf) => this.#registered(m, rcf)],
    ['unregistrationRequest', (m, urq) => this.#unregistration(m, urq)],
    ['admissionRequest', (m, arq) => this.#admission(m, arq)],
    ['admissionConfirm', (m, acf) => this.#admitted(m, acf.get('destCallSignalAddress')!)],
    ['locationRequest', (m, lrq) => this.#ownAddress(m, lrq.get('replyAddress'))],
    ['locationConfirm', (m, lcf) => this.#located(m, lcf.get('callSignalAddress')!)],
    [
      'infoRequestResponse',
      (m, irr) => this.#ownAddress(m, irr.get('rasAddress')) && this.#ownSignals(m, irr),
    ],
  ]

  /** process_grq(), process_lrq() */
  #ownAddress(m: H323Message, value: Value | null): boolean {
    return value === null || !this.#nat.needed(m) || this.#nat.ras(m, [value])
  }

  #ownSignals(m: H323Message, message: Value): boolean {
    const values = message.get('callSignalAddress')?.items ?? []
    return !this.#nat.needed(m) || this.#nat.signal(m, values)
  }

  /** process_gcf(): requests may go to another gatekeeper than was asked. */
  #gatekeeper(m: H323Message, value: Value): boolean {
    const { entry, dir } = m
    const ct = this.#ct
    const said = this.#nat.h225(m, value)
    if (said === null) return true
    if (sameWords(said.address, sourceOf(ct, entry, dir)) && said.port === sourcePortOf(ct, entry, dir))
      return true
    // An answer to what was expected expects nothing itself.
    if ((ct.table.words[entry * STRIDE + STATUS]! & Status.Expected) !== 0) return true
    const e = expectation(ct, entry, {
      source: sourceOf(ct, entry, 1 - dir),
      destination: said.address,
      protocol: IPPROTO_UDP,
      sport: null,
      dport: said.port,
      helper: ct.helpers.number('RAS', familyOf(ct, entry), IPPROTO_UDP),
    })
    return announce(ct, e) === ExpectError.None
  }

  /** process_rrq() */
  #registration(m: H323Message, rrq: Value): boolean {
    if (!this.#expectCalls(m, rrq.get('callSignalAddress')?.items ?? [])) return false
    if (this.#nat.needed(m) && !this.#nat.ras(m, rrq.get('rasAddress')?.items ?? [])) return false
    m.master.ttl = rrq.get('timeToLive')?.number ?? DEFAULT_TTL_S
    return true
  }

  /** expect_q931(): calls to the first address that is the sender's own; from the gatekeeper only. */
  #expectCalls(m: H323Message, values: readonly Value[]): boolean {
    const { entry, dir, master } = m
    const ct = this.#ct
    let said: Said | null = null
    let first: Value | null = null
    for (const [i, value] of values.entries()) {
      said = this.#nat.h225(m, value)
      if (said !== null && said.port !== 0 && sameWords(said.address, sourceOf(ct, entry, dir))) {
        first = i > 0 ? values[0]! : null
        break
      }
      said = null
    }
    if (said === null) return true
    const e = expectation(ct, entry, {
      source: sourceOf(ct, entry, 1 - dir),
      destination: destinationOf(ct, entry, 1 - dir),
      protocol: IPPROTO_TCP,
      sport: null,
      dport: said.port,
      flags: ExpectFlag.Permanent,
      helper: ct.helpers.number('Q.931', familyOf(ct, entry), IPPROTO_TCP),
    })
    if (this.#nat.needed(m)) return this.#nat.signalPort(m, said, e, first)
    if (announce(ct, e) !== ExpectError.None) return false
    master.signal[dir] = said.port
    return true
  }

  /** process_rcf() */
  #registered(m: H323Message, rcf: Value): boolean {
    const { entry, master } = m
    if (!this.#ownSignals(m, rcf)) return false
    const said = rcf.get('timeToLive')
    if (said !== null) master.ttl = said.number
    // The expectation would live as long, but the kernel looks for it in vain: it asks for one from anywhere.
    if (master.ttl > 0) this.#ct.core.prolong(entry, (Math.imul(master.ttl, HZ) * 1000) / HZ)
    return true
  }

  /** process_urq() */
  #unregistration(m: H323Message, urq: Value): boolean {
    const { entry, master } = m
    if (!this.#ownSignals(m, urq)) return false
    this.#ct.expectations.removeOf(entry)
    master.signal[0] = master.signal[1] = 0
    this.#ct.core.prolong(entry, GOODBYE_MS)
    return true
  }

  /** process_arq(): of one who is called, or of the caller. */
  #admission(m: H323Message, arq: Value): boolean {
    const { entry, dir, master } = m
    const ct = this.#ct
    if (!this.#nat.needed(m)) return true
    const outside = destinationOf(ct, entry, 1 - dir)
    const own = (name: string): Said | null => {
      const value = arq.get(name)
      const said = value === null ? null : this.#nat.h225(m, value)
      return said !== null && sameWords(said.address, sourceOf(ct, entry, dir)) ? said : null
    }
    const called = own('destCallSignalAddress')
    if (called !== null && called.port === master.signal[dir])
      return this.#nat.write(m, called.at, outside, master.signal[1 - dir]!)
    const caller = own('srcCallSignalAddress')
    return caller === null || this.#nat.write(m, caller.at, outside, caller.port)
  }

  /** process_acf(): whom to call, or to the one who is called: itself. */
  #admitted(m: H323Message, value: Value): boolean {
    const said = this.#nat.h225(m, value)
    if (said === null) return true
    if (sameWords(said.address, destinationOf(this.#ct, m.entry, m.dir)))
      return !this.#nat.needed(m) || this.#nat.signal(m, [value])
    return this.#expectCallTo(m, said)
  }

  /** process_lcf() */
  #located(m: H323Message, value: Value): boolean {
    const said = this.#nat.h225(m, value)
    return said === null || this.#expectCallTo(m, said)
  }

  #expectCallTo(m: H323Message, said: Said): boolean {
    const { entry, dir } = m
    const ct = this.#ct
    const e = expectation(ct, entry, {
      source: sourceOf(ct, entry, 1 - dir),
      destination: said.address,
      protocol: IPPROTO_TCP,
      sport: null,
      dport: said.port,
      flags: ExpectFlag.Permanent,
      helper: ct.helpers.number('Q.931', familyOf(ct, entry), IPPROTO_TCP),
    })
    return announce(ct, e) === ExpectError.None
  }
}
