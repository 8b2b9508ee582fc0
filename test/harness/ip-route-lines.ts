// Lines of `ip route`.

import { IpWords, PROTOCOLS, TABLES } from './ip-words.ts'

export class IpRouteLines extends IpWords {
  #hop(six: boolean): string[] {
    const via = this.chance(0.6)
    return [
      ...(via ? ['via', ...this.gateway(six)] : []),
      ...(via && this.chance(0.5) ? [] : ['dev', this.device()]),
    ]
  }

  /** One prefix, one metric: next hops join each other, and go one by one. */
  #meeting(six: boolean): string[] {
    const hop = (): string[] => [
      ...this.maybe(
        0.9,
        'via',
        ...(six && this.chance(0.6) ? [this.one(['fe80::1', 'fe80::2'])] : this.gateway(six)),
      ),
      ...this.maybe(0.7, 'dev', this.device()),
      ...this.maybe(0.1, 'onlink'),
    ]
    const weighed = (): string[] => [
      'nexthop',
      ...hop(),
      ...this.maybe(0.4, 'weight', this.one(['1', '2', '9'])),
    ]
    return [
      this.one(['add', 'append', 'append', 'prepend', 'replace', 'change', 'del', 'del']),
      six ? '2001:db8:44::/48' : '10.44.0.0/16',
      ...(this.chance(0.4) ? hop() : []),
      ...this.maybe(0.1, 'metric', '5'),
      ...Array.from({ length: this.below(4) }).flatMap(weighed),
    ]
  }

  command(): string[] {
    const object = this.one(['r', 'ro', 'route'])
    const six = this.six()
    const own = six && this.chance(0.8) ? ['-6'] : []
    if (this.chance(0.08)) return [...own, object, ...this.#meeting(six)]
    switch (this.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4: {
        const kind = this.chance(0.2)
          ? [
              this.one([
                'blackhole',
                'unreachable',
                'prohibit',
                'throw',
                'local',
                'broadcast',
                'unicast',
                'multicast',
                'anycast',
              ]),
            ]
          : []
        const refused = kind.length > 0 && /^(bl|un|pr|th)/.test(kind[0]!) && kind[0] !== 'unicast'
        const several = this.chance(refused ? 0.05 : 0.12)
        return [
          ...own,
          object,
          this.one([
            'add',
            'add',
            'a',
            'replace',
            'repl',
            'change',
            'append',
            'app',
            'prepend',
            'chg',
            'test',
          ]),
          ...kind,
          ...this.maybe(0.05, 'to'),
          this.prefix(six),
          ...this.maybe(six ? 0.2 : 0.02, 'from', this.prefix(six)),
          ...(refused || (several && this.chance(0.7)) ? [] : this.#hop(six)),
          ...this.maybe(0.15, 'table', this.one([...TABLES, 'nope'])),
          ...this.maybe(0.2, this.one(['metric', 'prio', 'preference']), this.one(['5', '100', '0', 'x'])),
          ...(six ? [] : this.maybe(0.08, 'tos', this.one(['0x10', '8', 'CS1', '3', 'zz']))),
          ...this.maybe(0.12, 'proto', this.one([...PROTOCOLS, 'nope'])),
          ...(six ? [] : this.maybe(0.08, 'scope', this.one(['link', 'global', 'host', '17', 'nope']))),
          ...this.maybe(0.12, 'src', this.chance(0.06) ? this.one(['any', 'default']) : this.address(six)),
          ...this.maybe(0.1, 'mtu', ...this.maybe(0.3, 'lock'), this.one(['1400', '0', '70000', 'x'])),
          ...this.maybe(
            0.05,
            this.one(['window', 'advmss', 'initcwnd', 'hoplimit', 'cwnd', 'ssthresh']),
            this.one(['10', '0', '255']),
          ),
          ...(six
            ? []
            : this.maybe(0.06, 'realm', this.one(['5', '1/2', 'cosmos', 'x', '65536', '1/', '/1']))),
          ...this.maybe(0.05, 'onlink'),
          ...this.maybe(
            six ? 0.1 : 0.02,
            'expires',
            this.one(['4000', '7000', 'x', '4294967295', '2000000']),
          ),
          ...this.maybe(six ? 0.06 : 0.01, 'pref', this.one(['low', 'medium', 'high', '1', '7', 'x'])),
          ...this.maybe(
            0.05,
            ...this.one([
              ['rtt', this.one(['10', '1s', '5ms', '1.5s', 'x'])],
              ['rttvar', this.one(['10', '1s', '5ms', 'x'])],
              ['rto_min', this.one(['10', '1s', '5ms', 'x'])],
              ['reordering', this.one(['3', 'x'])],
              ['initrwnd', this.one(['10', '0'])],
              ['quickack', this.one(['0', '1', '2'])],
              ['fastopen_no_cookie', this.one(['0', '1', '2'])],
              ['congctl', this.one(['reno', 'nope'])],
              ['features', this.one(['ecn', 'x'])],
              ['ttl-propagate', this.one(['enabled', 'disabled', 'en', 'dis', 'x'])],
              ['as', 'to', '10.0.0.1'],
            ]),
          ),
          ...this.maybe(0.02, 'nhid', this.one(['7', '0', 'x'])),
          ...this.maybe(0.01, 'encap', this.one(['mpls', 'nope'])),
          ...(several
            ? Array.from({ length: 1 + this.below(3) }).flatMap(() => [
                'nexthop',
                ...this.maybe(0.9, 'via', ...this.gateway(six)),
                ...this.maybe(0.6, 'dev', this.device()),
                ...this.maybe(0.4, 'weight', this.one(['1', '2', '256', '0'])),
                ...this.maybe(0.08, 'onlink'),
                ...(six ? [] : this.maybe(0.08, 'realm', this.one(['5', '1/2']))),
              ])
            : []),
        ]
      }
      case 5:
      case 6:
        return [
          ...own,
          object,
          this.short('delete', 1),
          ...this.maybe(0.1, this.one(['blackhole', 'unreachable', 'local', 'broadcast'])),
          this.prefix(six),
          ...this.maybe(six ? 0.2 : 0.02, 'from', this.prefix(six)),
          ...this.maybe(0.3, ...this.#hop(six)),
          ...this.maybe(0.1, 'nexthop', ...this.#hop(six), ...this.maybe(0.6, 'nexthop', ...this.#hop(six))),
          ...this.maybe(0.15, 'table', this.one(TABLES)),
          ...this.maybe(0.1, 'metric', this.one(['5', '100', '0'])),
          ...this.maybe(0.05, 'proto', this.one(PROTOCOLS)),
          ...this.maybe(0.05, 'src', this.address(six)),
          ...this.maybe(0.05, 'tos', this.one(['0x10', '8', '0'])),
          ...this.maybe(0.05, 'scope', this.one(['link', 'global', 'host'])),
          ...this.maybe(0.04, this.one(['mtu', 'realm', 'advmss']), this.one(['5', '1400'])),
          ...this.maybe(0.04, 'onlink'),
          ...this.maybe(0.03, 'pref', this.one(['low', 'high'])),
        ]
      case 7:
      case 8:
        return [
          ...own,
          object,
          this.one(['get', 'g']),
          this.address(six),
          ...this.maybe(0.15, 'from', this.chance(0.1) ? this.prefix(six) : this.address(six)),
          ...this.maybe(0.1, 'oif', this.device()),
          ...this.maybe(0.06, 'iif', this.device()),
          ...this.maybe(0.1, 'mark', this.one(['5', '0x10', 'x'])),
          ...(six ? [] : this.maybe(0.08, 'tos', this.one(['0x10', '8']))),
          ...this.maybe(0.1, 'fibmatch'),
          ...this.maybe(0.04, 'connected'),
          ...this.maybe(0.04, 'ipproto', this.one(['tcp', 'udp', 'icmp', '47', 'x'])),
          ...this.maybe(0.04, 'sport', this.one(['5', 'x', '70000'])),
          ...this.maybe(0.04, 'dport', this.one(['80', '0'])),
          ...this.maybe(0.03, 'uid', this.one(['0', '5', 'x'])),
          ...this.maybe(0.02, this.one(['notify', 'to', 'vrf', 'frob'])),
        ]
      case 9:
        return [
          ...own,
          object,
          this.short('flush', 1),
          ...this.one([
            ['table', this.one(TABLES)],
            [this.prefix(six)],
            ['root', this.prefix(six)],
            ['from', ...this.maybe(0.5, this.one(['root', 'match', 'exact'])), this.prefix(six)],
            ['dev', this.device()],
            ['proto', this.one(PROTOCOLS)],
            ['cache'],
            [this.one(['all', 'any', 'default'])],
          ]),
        ]
      default:
        return [
          ...own,
          object,
          ...this.maybe(0.7, this.one(['show', 'sh', 'list', 'ls'])),
          ...this.maybe(0.4, 'table', this.one([...TABLES, 'all', 'all', 'nope'])),
          ...this.maybe(
            0.15,
            ...this.maybe(0.6, this.one(['root', 'match', 'exact', 'to'])),
            this.prefix(six),
          ),
          ...this.maybe(
            six ? 0.1 : 0.02,
            'from',
            ...this.maybe(0.6, this.one(['root', 'match', 'exact'])),
            this.prefix(six),
          ),
          ...this.maybe(0.15, 'dev', this.device()),
          ...this.maybe(0.1, 'proto', this.one([...PROTOCOLS, 'all'])),
          ...this.maybe(0.08, 'scope', this.one(['link', 'global', 'host', 'all'])),
          ...this.maybe(0.08, 'type', this.one(['local', 'unicast', 'blackhole', 'broadcast'])),
          ...this.maybe(0.05, 'via', this.address(six)),
          ...this.maybe(0.05, 'src', this.address(six)),
          ...this.maybe(0.05, this.one(['metric', 'prio', 'preference']), this.one(['5', '1024', 'x'])),
          ...this.maybe(
            0.05,
            ...this.one([
              ['oif', this.device()],
              ['iif', this.device()],
              ['mark', '5'],
              ['type', this.one(['throw', 'prohibit', 'unreachable', 'multicast', 'anycast', 'x'])],
              ['via', this.prefix(six)],
              ['src', this.prefix(six)],
              ['via', 'inet6', this.address(true)],
              ['tos', this.one(['8', '0', 'zz'])],
              ['realms', this.one(['1/2', '5', 'x'])],
              ['table', 'cache'],
              ['root', this.prefix(six), 'match', this.prefix(six)],
            ]),
          ),
          ...this.maybe(
            0.03,
            ...this.one([
              ['vrf', 'x'],
              ['realm', '5'],
              ['cache'],
              ['cloned'],
              ['tos', '0x10'],
              ['frob'],
              ['onlink'],
            ]),
          ),
        ]
    }
  }
}
