// Lines of `ip rule`.

import { IpWords, PROTOCOLS, TABLES } from './ip-words.ts'

export class IpRuleLines extends IpWords {
  #selector(six: boolean): string[] {
    return [
      ...this.maybe(0.1, 'not'),
      ...this.maybe(0.02, 'to', 'all'),
      ...this.maybe(0.5, 'from', this.prefix(six)),
      ...this.maybe(0.03, 'iif', 'lo'),
      ...this.maybe(0.2, 'to', this.prefix(six)),
      ...this.maybe(
        0.2,
        'fwmark',
        this.one(['5', '0x10/0xf0', '1/1', 'x', '7/z', '0', '0/0xff', '5/0', '/5']),
      ),
      ...this.maybe(0.15, this.one(['iif', 'dev']), this.device()),
      ...this.maybe(0.1, 'oif', this.device()),
      ...this.maybe(0.08, 'tos', this.one(['0x10', '8', 'CS1', '3', 'zz'])),
      ...this.maybe(0.08, 'ipproto', this.one(['tcp', 'udp', '47', '200', 'nope', 'TCP', '0', '256'])),
      ...this.maybe(0.06, 'sport', this.one(['5', '5-10', '10-5', 'x', '-5', '5-6-7', '65535'])),
      ...this.maybe(0.06, 'dport', this.one(['80', '1-65535', '0'])),
      ...this.maybe(0.05, 'uidrange', this.one(['0-5', '5-0', '7', '1-5x', '0-4294967295'])),
      ...this.maybe(
        0.02,
        ...this.one([['l3mdev'], ['tun_id', this.one(['5', 'x'])], ['dsfield', this.one(['8', 'x'])]]),
      ),
    ]
  }

  command(): string[] {
    const object = this.one(['ru', 'rule'])
    const six = this.six()
    const own = six && this.chance(0.8) ? ['-6'] : []
    const priority = (): string[] => [
      this.one(['pref', 'priority', 'order', 'prio']),
      this.one(['10', '20', '100', '200', '32766', 'x']),
    ]
    const action = (): string[] =>
      this.one([
        ['table', this.one([...TABLES, 'nope'])],
        ['lookup', this.one(TABLES)],
        ['goto', this.one(['50', '100', '40000', 'x'])],
        ['nop'],
        ['blackhole'],
        ['unreachable'],
        ['prohibit'],
        ['type', this.one(['blackhole', 'local', 'throw', '12', '0'])],
        [],
        ['frob'],
      ])
    switch (this.below(8)) {
      case 0:
      case 1:
      case 2:
        return [
          ...own,
          object,
          this.one(['add', 'a']),
          ...this.#selector(six),
          ...this.maybe(0.7, ...priority()),
          ...action(),
          ...this.maybe(0.08, 'suppress_prefixlength', this.one(['0', '16', 'x'])),
          ...this.maybe(0.05, 'suppress_ifgroup', this.one(['default', '7'])),
          ...this.maybe(0.05, 'protocol', this.one(PROTOCOLS)),
          ...this.maybe(0.05, 'realms', this.one(['1/2', '3', 'x', '65536', '1/', '/1'])),
        ]
      case 3:
      case 4:
        return [
          ...own,
          object,
          this.short('delete', 1),
          ...this.maybe(0.5, ...this.#selector(six)),
          ...this.maybe(0.6, ...priority()),
          ...this.maybe(0.3, ...action()),
        ]
      case 5:
        return this.chance(0.3) ? [...own, object, 'flush'] : [...own, object, 'show', ...priority()]
      default:
        return [
          ...own,
          object,
          ...this.maybe(0.7, this.one(['show', 'list', 'ls', 'l'])),
          ...this.maybe(0.15, 'from', this.prefix(six)),
          ...this.maybe(0.1, 'table', this.one(TABLES)),
          ...this.maybe(0.1, 'iif', this.device()),
          ...this.maybe(0.06, 'fwmark', this.one(['5', '0x10', '0/0xff', '5/0'])),
          ...this.maybe(0.06, 'proto', this.one([...PROTOCOLS, 'all'])),
          ...this.maybe(
            0.1,
            ...this.one([
              ['to', this.prefix(six)],
              ['oif', this.device()],
              ['dev', this.device()],
              ['not'],
              ['tos', this.one(['8', '0x10', 'zz'])],
              ['dsfield', '8'],
              ['pref', this.one(['10', '100', '32766', 'x'])],
              ['lookup', this.one([...TABLES, 'all'])],
              ['ipproto', this.one(['tcp', '47'])],
              ['sport', '5'],
              ['dport', '1-65535'],
              ['uidrange', '0-5'],
              ['tun_id', '5'],
              ['l3mdev'],
              ['suppress_prefixlength', '0'],
              ['goto', '50'],
              ['type', 'blackhole'],
              ['realms', '3'],
            ]),
          ),
        ]
    }
  }
}
