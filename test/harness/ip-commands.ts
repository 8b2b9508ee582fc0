// Command lines of ip(8), drawn from a grammar over what the emulated host has: addr, route, rule and link of both
// families, well-formed and not. Names and numbers come from small pools, so that commands meet what others made.

import type { SeededRandom } from './frames.ts'
import { IpAddressLines } from './ip-address-lines.ts'
import { IpLinkLines } from './ip-link-lines.ts'
import { IpRouteLines } from './ip-route-lines.ts'
import { IpRuleLines } from './ip-rule-lines.ts'
import { IpSysctls } from './ip-sysctls.ts'
import { IpWords } from './ip-words.ts'
import { MutatedLines } from './mutated-lines.ts'

const OBJECTS = ['address', 'route', 'rule', 'link']
/** Objects of ip that the emulated host has none of. */
const OTHER_OBJECTS = (
  'addrlabel maddress neighbor neighbour ntable ntbl l2tp fou ila macsec tunnel tunl tuntap tap token tcpmetrics ' +
  'tcp_metrics monitor xfrm mroute mrule netns netconf vrf sr nexthop mptcp ioam stats'
).split(' ')

export class IpGrammar extends IpWords {
  readonly #mutated: MutatedLines
  readonly #address: IpAddressLines
  readonly #route: IpRouteLines
  readonly #rule: IpRuleLines
  readonly #link: IpLinkLines
  readonly #sysctls: IpSysctls

  constructor(random: SeededRandom) {
    super(random)
    this.#mutated = new MutatedLines(random, 'ip')
    this.#address = new IpAddressLines(random)
    this.#route = new IpRouteLines(random)
    this.#rule = new IpRuleLines(random)
    this.#link = new IpLinkLines(random)
    this.#sysctls = new IpSysctls(random)
  }

  line(): string[] {
    // In a batch -echo is another matter (docs/parity.md).
    return this.chance(0.04)
      ? this.#nonsense()
      : [...this.maybe(0.03, '-echo'), ...this.#options(), ...this.#command()]
  }

  #command(): string[] {
    const dice = this.below(96)
    if (dice < 24) return this.#address.command()
    if (dice < 62) return this.#route.command()
    if (dice < 82) return this.#rule.command()
    return this.#link.command()
  }

  /** Everything there is, to see what a command has done. */
  static readonly everything: readonly (readonly string[])[] = [
    ['-d', 'addr'],
    ['-j', 'route', 'show', 'table', 'all'],
    ['-4', 'rule'],
    ['-6', 'rule'],
  ]

  #options(): string[] {
    return [
      ...this.maybe(0.12, '-4'),
      ...this.maybe(0.06, '-6'),
      ...this.maybe(
        0.02,
        ...this.one([['-0'], ['-B'], ['-M'], ['-f', 'link'], ['-f', 'bridge'], ['-f', 'mpls']]),
      ),
      ...this.maybe(0.15, this.short('-json', 2)),
      ...this.maybe(0.1, this.short('-pretty', 2)),
      ...this.maybe(0.1, this.short('-oneline', 2)),
      ...this.maybe(0.1, this.short('-details', 2)),
      ...this.maybe(0.06, '-br'),
      ...this.maybe(0.03, '-N'),
      ...this.maybe(0.05, this.short('-statistics', 2), ...this.maybe(0.3, '-s')),
      ...this.maybe(0.1, this.one(['-c', '-color', '-c=always', '-co='])),
      ...this.maybe(0.03, this.one(['-c=auto', '-co=never', '-c=never', '-colo=nope', '-c=alw'])),
      // Not -resolve: it asks name servers, and waits for them.
      ...this.maybe(0.03, this.one(['-iec', '-human', '-all'])),
      ...this.maybe(
        0.03,
        ...this.one([
          ['-t'],
          ['-ts'],
          ['-rc', '2000'],
          ['-rcvbuf', 'x'],
          ['-loops', '3'],
          ['-l', '1'],
          ['--json'],
          ['--brief'],
          ['-f', 'inet'],
          ['-f', 'inet6'],
          ['-family', 'inet'],
          ['-j', '-p'],
          ['-s', '-s', '-d'],
        ]),
      ),
    ]
  }

  /** Several lines for -batch. */
  #batch(): { argv: string[]; input: string } {
    const lines = Array.from({ length: 1 + this.below(5) }, () => {
      const dice = this.below(12)
      if (dice === 0)
        return this.one(['', '# a comment', '   ', 'frob', 'addr frob', 'link show lo # what', "'", '"'])
      return this.#command()
        .map((word) => (/^[\w./:+*-]+$/.test(word) ? word : `"${word.replaceAll('"', '')}"`))
        .join(this.chance(0.05) ? ' \\\n ' : ' ')
    })
    return {
      argv: [...this.maybe(0.4, this.short('-force', 3)), ...this.#options(), this.short('-batch', 2), '-'],
      input: `${lines.join('\n')}${this.chance(0.9) ? '\n' : ''}`,
    }
  }

  /** One of test/data/command-lines/ip.txt, changed; not what waits, asks name servers or takes links away. */
  #changed(): string[] {
    for (;;) {
      const words = this.#mutated.line()
      // What stands in front of an object may be the value of an option.
      const plain = words.filter((word) => !word.startsWith('-'))
      const at = plain.findIndex((word) => OBJECTS.some((known) => known.startsWith(word)))
      const before = at < 0 ? plain : plain.slice(0, at)
      if (before.some((word) => OTHER_OBJECTS.some((known) => known.startsWith(word)))) continue
      // No links are taken away (docs/parity.md).
      const [object = '', verb = ''] = at < 0 ? [] : plain.slice(at)
      if (object !== '' && 'link'.startsWith(object) && verb !== '' && 'delete'.startsWith(verb)) continue
      // The binary forms are not made (docs/parity.md).
      if (!words.some((word) => /^(-{1,2}(r|re|res|reso.*|n|ne.*|b|ba.*)|sa.*)$/.test(word))) return words
    }
  }

  /** A line, and what it reads; one of `sysctl` where that is its first word. */
  step(): { argv: string[]; input: string } {
    if (this.chance(0.05)) return { argv: ['sysctl', ...this.#sysctls.words()], input: '' }
    if (this.chance(0.4)) return { argv: this.#changed(), input: '' }
    return this.chance(0.06) ? this.#batch() : { argv: this.line(), input: '' }
  }

  #nonsense(): string[] {
    return this.one([
      ['frob'],
      ['-Q', 'a'],
      ['a', 'frob'],
      ['route', 'frob'],
      ['rule', 'frob'],
      ['link', 'frob'],
      ['-V'],
      ['help'],
      ['route', 'help'],
      ['a', 'h'],
      ['l', 'help'],
      ['ru', 'help'],
      ['route', 'add'],
      ['addr', 'add', '10.0.0.1/24'],
      ['addr', 'add', 'dev', 't0'],
      ['addr', 'add', '10.0.0.1/24', 'dev'],
      ['route', 'get'],
      ['rule', 'add'],
      ['route', 'flush'],
      ['addr', 'flush'],
      ['link', 'set'],
      ['-f', 'inet', 'a'],
      ['-family', 'inet6', 'r'],
      ['-f', 'nope', 'r'],
    ])
  }
}
