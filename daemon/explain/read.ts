// A recorder's journal, read as steps.

import { Status } from '../../conntrack/table.ts'
import { SCTP_STATE_NAMES } from '../../conntrack/trackers/sctp.ts'
import { TCP_STATE_NAMES } from '../../conntrack/trackers/tcp-states.ts'
import { REASONS, Reason } from '../../datapath/counters.ts'
import type { Route } from '../../datapath/fib.ts'
import { HOOK_NAMES, type Hook } from '../../datapath/hooks.ts'
import type { Family } from '../../datapath/packet.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP } from '../../datapath/wire/protocol.ts'
import { CONTINUE } from '../../rules/extension.ts'
import { protocolName } from '../../rules/text/services.ts'
import { addressText } from './address.ts'
import { conditionText } from './conditions.ts'
import { ENTRY, Op, type Recorded, WINDOW } from './journal.ts'
import type {
  ConntrackStep,
  EntryFacts,
  Journey,
  NatStep,
  PacketFacts,
  RuleRef,
  RuleStep,
  Step,
  TableStep,
  TupleFacts,
  WindowFacts,
  WindowSide,
} from './record.ts'
import { type KnownChain, verdictName } from './references.ts'
import { explainRoute, whyNowhere } from './routing.ts'
import { stateName } from './values.ts'
import { reasonOf } from './why.ts'

const KINDS = ['arrived', 'made here', 'looped', 'copy'] as const

type Changing<T> = { -readonly [K in keyof T]: T[K] }

interface OpenJourney {
  readonly kind: Journey['kind']
  readonly cause: number | null
  readonly began: readonly [number, number] | null
  readonly packet: PacketFacts
  readonly steps: Step[]
}

/** A walk that is not over. */
interface OpenWalk {
  readonly journey: number
  readonly step: Changing<Omit<TableStep, 'rules'>> & { readonly rules: Changing<RuleStep>[] }
  /** Chains that led here, the built-in one first; a goto puts its chain in the place of the one that it left. */
  readonly stack: number[]
  last: RuleRef | null
  hotdrop: RuleRef | null
}

/** What the journal says. */
export function readRecord(recorder: Recorded): {
  readonly packet: PacketFacts | null
  readonly journeys: readonly Journey[]
} {
  return new Reader(recorder).all()
}

class Reader {
  readonly #recorder: Recorded
  readonly #values: Float64Array
  readonly #journeys: OpenJourney[] = []
  readonly #walks: OpenWalk[] = []
  /** Journeys at a hook point, innermost last. */
  readonly #at: number[] = []
  #why: string | null = null
  #window: WindowFacts | null = null
  #frames = 0
  /** The NAT rule at hand: the last that ended a walk through the nat table. */
  #natRule: RuleRef | null = null

  constructor(recorder: Recorded) {
    this.#recorder = recorder
    this.#values = recorder.journal.values
  }

  all(): { readonly packet: PacketFacts | null; readonly journeys: readonly Journey[] } {
    const { length } = this.#recorder.journal
    let at = 0
    while (at < length) at = this.#read(at)
    return { packet: this.#journeys[0]?.packet ?? null, journeys: this.#journeys }
  }

  /** The operation at `at`; answers where the next one is. */
  #read(at: number): number {
    const v = this.#values
    const op = v[at++]!
    switch (op) {
      case Op.Journey: {
        const journey = v[at]!
        const cause = this.#recorder.causes[journey]!
        this.#journeys[journey] = {
          kind: KINDS[v[at + 1]!]!,
          cause: cause < 0 ? null : cause,
          began: this.#now(cause),
          packet: this.#facts(at + 2),
          steps: [],
        }
        return at + 17
      }
      case Op.Hook: {
        this.#at.push(v[at]!)
        this.#step({
          at: 'hook',
          hook: HOOK_NAMES[v[at + 2]!]!,
          in: this.#device(v[at + 3]!),
          out: this.#device(v[at + 4]!),
        })
        return at + 5
      }
      case Op.HookEnd:
        this.#at.pop()
        return at + 2
      case Op.Walk:
        this.#walk(v[at]!)
        return at + 1
      case Op.WalkEnd:
        this.#walkEnd(v[at]!, v[at + 1]!)
        return at + 2
      case Op.Hit:
        this.#hit(v[at]!, v[at + 1]!)
        return at + 2
      case Op.Mark:
      case Op.CtMark: {
        const rule = this.#walks.at(-1)?.step.rules.at(-1)
        const change = [v[at]!, v[at + 1]!] as const
        if (rule?.matched) {
          if (op === Op.Mark) rule.mark = change
          else rule.ctmark = change
        }
        return at + 2
      }
      case Op.Refused:
        this.#journeys[v[at]!]?.steps.push({ at: 'drop', reason: this.#recorder.texts[v[at + 1]!]! })
        return at + 2
      case Op.Hotdrop:
        this.#hotdrop(v[at]!, v[at + 1]!)
        return at + 2
      case Op.Miss:
        this.#miss(v[at]!, v[at + 1]!, v[at + 2]!, this.#recorder.texts[v[at + 3]!]!)
        return at + 4
      case Op.Defrag:
        this.#step({ at: 'defrag', complete: v[at] === 1, length: v[at + 1]! })
        return at + 2
      case Op.Why:
        this.#why = this.#recorder.texts[v[at]!]!
        this.#window = v[at + 1] === 1 ? this.#windowAt(at + 2) : null
        return at + 2 + (v[at + 1] === 1 ? WINDOW : 0)
      case Op.Conntrack:
        return this.#conntrack(at)
      case Op.Confirm:
        this.#step({ at: 'confirm', entry: this.#entry(at) })
        return at + ENTRY
      case Op.Nat:
        this.#nat(at)
        return at + 24
      case Op.Route:
        this.#route(v[at]!, at + 1)
        return at + 17
      case Op.Drop:
        this.#drop(this.#journeys[v[at]!], v[at + 1] as Reason)
        return at + 2
      case Op.Sent: {
        const [journey, device, length, from] = [v[at]!, v[at + 1]!, v[at + 2]!, v[at + 3]!]
        const { bytes } = this.#recorder
        this.#journeys[Math.max(journey, 0)]?.steps.push({
          at: 'sent',
          frame: this.#frames++,
          dev: this.#device(device)!,
          length,
          ...(from >= 0 && { bytes: Buffer.from(bytes.buffer, from, length).toString('hex') }),
        })
        return at + 4
      }
    }
    throw new Error(`journal: no operation ${op}`)
  }

  /** How far a journey has come. */
  #now(journey: number): readonly [number, number] | null {
    const steps = this.#journeys[journey]?.steps
    if (steps === undefined) return null
    const last = steps.at(-1)
    return [steps.length, last?.at === 'table' ? last.rules.length : 0]
  }

  #chain(chain: number): KnownChain {
    return this.#recorder.references.chains[chain]!
  }

  #step(step: Step): void {
    this.#journeys[this.#at.at(-1) ?? 0]?.steps.push(step)
  }

  #device(index: number): string | null {
    return index === 0 ? null : (this.#recorder.engine.host.devices.byIndex[index]?.name ?? `if${index}`)
  }

  #drop(journey: OpenJourney | undefined, reason: Reason): void {
    if (journey === undefined) return
    const last = journey.steps.at(-1)
    // A hook function said so already.
    if (reason === Reason.Rule && last?.at === 'drop') return
    if (last?.at === 'route')
      journey.steps[journey.steps.length - 1] = {
        ...last,
        why: whyNowhere(this.#recorder.engine, reason, journey.packet.family, last),
      }
    journey.steps.push({ at: 'drop', reason: REASONS[reason]! })
  }

  // -- packets and entries

  #facts(at: number): PacketFacts {
    const v = this.#values
    const family = v[at]! as Family
    const side = at + 5
    return {
      family,
      protocol: nameOf(v[at + 1]!),
      src: this.#address(family, side),
      dst: this.#address(family, side + 4),
      sport: v[side + 8]!,
      dport: v[side + 9]!,
      length: v[at + 2]!,
      mark: v[at + 3]!,
    }
  }

  #address(family: Family, at: number): string {
    const v = this.#values
    return addressText(family, v[at]!, v[at + 1]!, v[at + 2]!, v[at + 3]!)
  }

  #entry(at: number): EntryFacts {
    const v = this.#values
    const meta = v[at + 6]!
    const status = v[at + 1]!
    const state = v[at + 2]!
    const names = meta >> 8 === IPPROTO_SCTP ? SCTP_STATE_NAMES : TCP_STATE_NAMES
    return {
      entry: v[at]!,
      protocol: nameOf(meta >> 8),
      state: state < 0 ? '' : (names[state] ?? ''),
      timeout: Math.max(0, Math.floor(v[at + 3]! / 1000)),
      status: statusNames(status),
      mark: v[at + 4]!,
      original: this.#tuple(at + 7, meta),
      reply: this.#tuple(at + 16, meta),
      master: v[at + 5]! < 0 ? null : v[at + 5]!,
    }
  }

  #tuple(at: number, meta: number): TupleFacts {
    const family = (meta & 0xff) as Family
    const ports = this.#values[at + 8]!
    return {
      src: this.#address(family, at),
      dst: this.#address(family, at + 4),
      sport: ports >>> 16,
      dport: ports & 0xffff,
    }
  }

  // -- rules

  #walk(chain: number): void {
    const { table, chain: loaded } = this.#chain(chain)
    const step: OpenWalk['step'] = {
      at: 'table',
      table,
      chain: loaded.model.name,
      rules: [],
      verdict: '',
      by: this.#recorder.references.rule(chain, -1),
    }
    this.#walks.push({ journey: this.#at.at(-1) ?? 0, step, stack: [chain], last: null, hotdrop: null })
    this.#step(step)
  }

  #walkEnd(chain: number, verdict: number): void {
    const walk = this.#walks.pop()!
    const { step } = walk
    const policy = this.#chain(chain).policy()
    step.verdict = verdictName(verdict === CONTINUE ? policy : verdict)
    const ended = verdict !== CONTINUE ? (walk.hotdrop ?? walk.last) : null
    step.by = ended ?? this.#recorder.references.rule(chain, -1)
    if (step.table === 'nat') this.#natRule = ended
  }

  /** Jumps that led to the chain; the chains that were come back from are left. */
  #depth(walk: OpenWalk, chain: number): number {
    const at = walk.stack.lastIndexOf(chain)
    if (at >= 0) walk.stack.length = at + 1
    else walk.stack.push(chain)
    return walk.stack.length - 1
  }

  #hit(chain: number, slot: number): void {
    const walk = this.#walks.at(-1)!
    const depth = this.#depth(walk, chain)
    const rule = this.#recorder.references.rule(chain, slot)
    walk.step.rules.push({ matched: true, rule, depth })
    walk.last = rule
    const known = this.#chain(chain)
    const target = known.chain.slots.bySlot[slot]?.target
    if (target?.kind !== 'jump' && target?.kind !== 'goto') return
    // The chain that it leads to; one that has no code yet had no rule to tell of either.
    if (target.kind === 'goto' && walk.stack.length > 1) walk.stack.pop()
    const to = this.#recorder.references.numberOf(known, target.chain)
    if (to >= 0) walk.stack.push(to)
  }

  #hotdrop(chain: number, slot: number): void {
    const walk = this.#walks.at(-1)!
    const rule = this.#recorder.references.rule(chain, slot)
    walk.hotdrop = rule
    const missed = walk.step.rules.at(-1)
    if (missed !== undefined && !missed.matched && missed.rule === rule) missed.dropped = true
    else if (missed?.rule !== rule)
      walk.step.rules.push({
        matched: false,
        rule,
        depth: this.#depth(walk, chain),
        failed: '',
        saw: 'a header that is cut short',
        dropped: true,
      })
  }

  #miss(chain: number, slot: number, condition: number, saw: string): void {
    const walk = this.#walks.at(-1)!
    const rule = this.#chain(chain).chain.slots.bySlot[slot]!
    walk.step.rules.push({
      matched: false,
      rule: this.#recorder.references.rule(chain, slot),
      depth: this.#depth(walk, chain),
      failed: conditionText(rule, condition, this.#chain(chain).family),
      saw,
    })
  }

  // -- conntrack, NAT, routing

  #conntrack(at: number): number {
    const v = this.#values
    const known = v[at] === 1
    const before = known ? this.#entry(at + 1) : null
    let next = at + 1 + ENTRY
    const state = stateName(v[next]!) as ConntrackStep['state']
    const direction = v[next + 1] === 1 ? 'reply' : 'original'
    const flags = v[next + 2]!
    const has = v[next + 3] === 1
    next += 4
    const after = has ? this.#entry(next) : null
    if (has) next += ENTRY
    const { why, sysctl } = reasonOf({ state, said: this.#why, flags, before, after })
    const window = this.#window
    this.#why = this.#window = null
    this.#step({ at: 'conntrack', state, direction, before, after, why, sysctl, window })
    return next
  }

  #windowAt(at: number): WindowFacts {
    const v = this.#values
    const side = (from: number): WindowSide => ({ end: v[from]!, limit: v[from + 1]!, window: v[from + 2]! })
    return { seq: v[at]!, ack: v[at + 1]!, sender: side(at + 3), receiver: side(at + 6) }
  }

  #nat(at: number): void {
    const v = this.#values
    const hook = v[at]! as Hook
    const source = v[at + 1] === 0
    const done = source ? Status.SrcNatDone : Status.DstNatDone
    const bound = (v[at + 2]! & done) === 0 && (v[at + 3]! & done) !== 0
    const rule = bound ? this.#natRule : null
    this.#natRule = null
    const before = at + 4
    const after = at + 14
    const family = (this.#journeys[this.#at.at(-1) ?? 0]?.packet.family ?? 4) as Family
    const side = (from: number): readonly [string, number] => [
      this.#address(family, source ? from : from + 4),
      v[from + (source ? 8 : 9)]!,
    ]
    const step: NatStep = {
      at: 'nat',
      hook: HOOK_NAMES[hook]!,
      changes: source ? 'source' : 'destination',
      binding: bound ? (rule === null ? 'null' : 'rule') : 'old',
      rule,
      before: side(before),
      after: side(after),
    }
    // A connection that was bound before, and is what it was: nothing to tell.
    const same = step.before[0] === step.after[0] && step.before[1] === step.after[1]
    if (step.binding !== 'old' || !same) this.#step(step)
  }

  #route(journey: number, at: number): void {
    const v = this.#values
    const number = v[at]!
    const route: Route | null = number < 0 ? null : this.#recorder.routes[number]!
    const to = this.#journeys[journey]
    if (to === undefined) return
    const side = at + 6
    to.steps.push(
      explainRoute(this.#recorder.engine, {
        family: to.packet.family,
        route,
        iif: v[at + 1]!,
        mark: v[at + 2]!,
        tos: v[at + 3]!,
        protocol: v[at + 4]!,
        local: v[at + 5] === 1,
        words: v.subarray(side, side + 10),
      }),
    )
  }
}

/** By protocol number. */
const names: string[] = []

const nameOf = (protocol: number): string =>
  (names[protocol] ??=
    protocol === IPPROTO_ICMP
      ? 'icmp'
      : protocol === IPPROTO_ICMPV6
        ? 'icmpv6'
        : (protocolName(protocol, true) ?? String(protocol)))

/** By status: few there are. */
const statuses = new Map<number, readonly string[]>()

function statusNames(status: number): readonly string[] {
  let names = statuses.get(status)
  if (names === undefined) {
    names = STATUS_NAMES.filter(([bit]) => (status & bit) !== 0).map(([, name]) => name)
    statuses.set(status, names)
  }
  return names
}

const STATUS_NAMES: readonly (readonly [number, string])[] = [
  [Status.Expected, 'EXPECTED'],
  [Status.SeenReply, 'SEEN_REPLY'],
  [Status.Assured, 'ASSURED'],
  [Status.Confirmed, 'CONFIRMED'],
  [Status.SrcNat, 'SRC_NAT'],
  [Status.DstNat, 'DST_NAT'],
  [Status.SeqAdjust, 'SEQ_ADJUST'],
  [Status.Dying, 'DYING'],
  [Status.FixedTimeout, 'FIXED_TIMEOUT'],
  [Status.Helper, 'HELPER'],
]
