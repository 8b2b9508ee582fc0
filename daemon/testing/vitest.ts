// vitest's matchers for firewalls: `import 'tunwall/vitest'` once, in a test or in vitest's setupFiles.
//
//     expect(await host.send(tcp('10.0.0.5:40000 > 10.96.0.10:80', { syn: true }), 'eth0'))
//       .toBeForwarded({ dev: 'eth1', dst: '10.200.3.7:8080' })

import { expect } from 'vitest'
import type { Mismatch, OutFields } from './expectations.ts'
import * as expected from './expectations.ts'
import { Result } from './result.ts'
import type { RuleName } from './rule-names.ts'

/** The matchers. */
export interface FirewallMatchers<R = unknown> {
  /** It left the host, and looks so. */
  toBeForwarded(fields?: OutFields): R
  /** The host got it, and it looks so then. */
  toBeDelivered(fields?: OutFields): R
  /** It ended without an answer; `reason` as in replay's report: `rule`, `no-route`, `reverse-path` … */
  toBeDropped(reason?: string): R
  /** This rule, or policy, dropped it. */
  toBeDroppedBy(rule: RuleName): R
  /** A rule answered it, with anything. */
  toBeRejected(): R
  /** A rule answered it with this: `tcp-reset`, `icmp-port-unreachable`, as REJECT calls it. */
  toBeRejectedWith(how: string): R
  /** NAT changed addresses or ports, to these; null: not this side. */
  toBeTranslated(to?: { readonly src?: string | null; readonly dst?: string | null }): R
  /** It matched this rule on its way. */
  toMatchRule(rule: RuleName): R
  /** This rule, or policy, decided what became of it. */
  toBeDecidedBy(rule: RuleName): R
}

declare module 'vitest' {
  // biome-ignore lint/suspicious/noExplicitAny: vitest's own declaration has it.
  interface Matchers<T = any> extends FirewallMatchers<T> {}
}

const matcher =
  <A extends unknown[]>(what: string, check: (result: Result, ...args: A) => Mismatch) =>
  (received: unknown, ...args: A): { pass: boolean; message: () => string } => {
    if (!(received instanceof Result))
      throw new TypeError(
        received instanceof Promise
          ? 'expected what host.send() resolves to: await it'
          : 'expected what host.send() resolves to',
      )
    const mismatch = check(received, ...args)
    return {
      pass: mismatch === null,
      message: () => `${mismatch ?? `expected it not to be ${what}`}\n\n${received.summary()}`,
    }
  }

/** For expect.extend() of a vitest of your own. */
export const firewallMatchers = {
  toBeForwarded: matcher('forwarded like this', expected.forwarded),
  toBeDelivered: matcher('delivered like this', expected.delivered),
  toBeDropped: matcher('dropped', expected.dropped),
  toBeDroppedBy: matcher('dropped by this rule', expected.droppedBy),
  toBeRejected: matcher('rejected', (result: Result) => expected.rejected(result)),
  toBeRejectedWith: matcher('rejected with this', expected.rejected),
  toBeTranslated: matcher('translated like this', expected.translated),
  toMatchRule: matcher('matched by this rule', expected.matchedRule),
  toBeDecidedBy: matcher('decided by this rule', expected.decidedBy),
}

expect.extend(firewallMatchers)
