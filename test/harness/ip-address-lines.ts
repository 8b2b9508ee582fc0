// Lines of `ip address`.

import { IpWords } from './ip-words.ts'

const LIFETIMES = ['4000', '7000', '2000', 'forever', '4294967295', '2000000', '4000']

export class IpAddressLines extends IpWords {
  command(): string[] {
    const object = this.one(['a', 'addr', 'address', 'ad'])
    const six = this.six()
    switch (this.below(10)) {
      case 0:
      case 1:
      case 2: {
        const verb = this.one(['add', 'a', 'add', 'replace', 'change'])
        return [
          object,
          verb,
          ...this.maybe(0.1, 'local'),
          this.local(six),
          ...(six
            ? [
                ...this.maybe(0.1, this.one(['nodad', 'home', 'noprefixroute', 'tentative'])),
                ...this.maybe(0.12, this.one(['peer', 'remote']), this.local(true)),
              ]
            : [
                ...this.maybe(
                  0.25,
                  this.one(['brd', 'broadcast', 'broad']),
                  this.one(['+', '-', '10.0.0.255', 'x']),
                ),
                ...this.maybe(0.12, 'peer', this.local(false)),
                ...this.maybe(0.1, 'label', this.one(['t0:1', 'abc', 't1', 't0:averylongname'])),
                ...this.maybe(0.08, 'noprefixroute'),
                ...this.maybe(0.05, this.one(['nodad', 'secondary', 'autojoin'])),
              ]),
          ...this.maybe(0.1, 'scope', this.one(['link', 'host', 'global', '7', 'nope', '300'])),
          ...this.maybe(0.1, this.one(['metric', 'prio']), this.one(['5', '0', 'x', '4294967296'])),
          // The prefix route of a permanent IPv6 address that is given an end has ended at once (docs/parity.md).
          ...(six && !verb.startsWith('a') ? [] : this.#lifetimes()),
          ...this.maybe(0.02, this.one(['anycast', 'deprecated', 'mngtmpaddr', 'proto']), this.address(six)),
          ...this.maybe(0.97, 'dev', this.device()),
        ]
      }
      case 3:
      case 4:
        return [
          object,
          this.short('delete', 1),
          ...this.maybe(0.96, this.local(six)),
          ...this.maybe(0.08, 'peer', this.local(six)),
          ...this.maybe(0.05, 'label', this.one(['t0:1', 'abc', 't1'])),
          ...this.maybe(0.04, 'brd', this.one(['+', '10.0.0.255'])),
          ...this.maybe(0.04, 'scope', this.one(['link', 'host', 'global'])),
          ...this.maybe(0.97, 'dev', this.device()),
        ]
      case 5:
        return [
          object,
          this.short('flush', 1),
          ...this.maybe(0.8, 'dev', this.device()),
          ...this.maybe(0.2, 'scope', this.one(['link', 'global', 'host'])),
          ...this.maybe(0.2, 'to', this.prefix(six)),
          ...this.maybe(0.1, this.one(['secondary', 'primary', 'permanent', 'dynamic'])),
        ]
      default:
        return [
          object,
          ...this.maybe(0.7, this.one(['show', 'sh', 'list', 'ls', 'lst'])),
          ...this.maybe(0.4, ...this.maybe(0.6, 'dev'), this.device()),
          ...this.maybe(0.15, 'up'),
          ...this.maybe(0.1, 'scope', this.one(['link', 'global', 'host', 'all'])),
          ...this.maybe(0.12, 'to', this.prefix(six)),
          ...this.maybe(0.08, 'label', this.one(['t0*', 't?', '*:1'])),
          ...this.maybe(
            0.12,
            this.one([
              'secondary',
              'primary',
              'permanent',
              '-tentative',
              'dynamic',
              'deprecated',
              '-deprecated',
              'noprefixroute',
              'mngtmpaddr',
              'home',
              'autojoin',
              'nomaster',
              'down',
            ]),
          ),
          ...this.maybe(0.05, 'type', this.one(['tun', 'bridge', 'nope'])),
          ...this.maybe(0.03, 'group', this.one(['default', '7', 'x'])),
          ...this.maybe(0.02, 'master', this.device()),
        ]
    }
  }

  /** Long enough that none ends while a test runs. */
  #lifetimes(): string[] {
    const time = (): string => (this.chance(0.05) ? this.one(['x', '-1', '0']) : this.one(LIFETIMES))
    const valid = ['valid_lft', time()]
    const preferred = [this.one(['preferred_lft', 'preferred']), this.chance(0.2) ? '0' : time()]
    return this.maybe(
      0.2,
      ...this.one([[...valid, ...preferred], [...preferred, ...valid], valid, preferred]),
    )
  }
}
