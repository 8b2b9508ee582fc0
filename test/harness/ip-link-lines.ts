// Lines of `ip link`.

import { IpWords } from './ip-words.ts'

export class IpLinkLines extends IpWords {
  #linkFilter(): string[] {
    return this.one([
      ['type', this.one(['tun', 'bridge', 'nope', 'bridge_slave'])],
      ['master', this.device()],
      ['vrf', this.device()],
      ['label', this.one(['t1:web', 't*', 'x'])],
      ['nomaster'],
      ['group', this.one(['default', '7', 'x'])],
    ])
  }

  /** What `ip link set` may say of a link. */
  #linkWord(): string[] {
    const onOff = this.one(['on', 'off', 'maybe'])
    return this.one([
      ['up'],
      ['up'],
      ['mtu', this.one(['1400', '1500', '70000', 'x', '1280', '65535', '65536', '-1', '0x600', '67'])],
      [this.one(['txqueuelen', 'qlen', 'txqlen', 'txq']), this.one(['100', '500', 'x', '-1', '0'])],
      [this.one(['multicast', 'promisc']), 'maybe'],
      [this.one(['allmulticast', 'arp', 'trailers']), this.one(['maybe', 'on'])],
      ['dynamic', onOff],
      ['trailers', onOff],
      ['protodown', onOff],
      ['protodown_reason', this.one(['3', '32', 'x']), onOff],
      ['carrier', this.one(['on', 'x'])],
      ['group', this.one(['default', '7', 'x'])],
      ['group', '7', 'type', this.one(['tun', 'dummy'])],
      ['alias', this.one(['uplink', 'a b', ''])],
      ['name', this.one(['t1', 'averyveryverylongname', 'a/b', '', 'alt0'])],
      ['mode', this.one(['default', 'dormant', 'x'])],
      ['state', this.one(['up', 'down', 'x'])],
      ['addrgenmode', this.one(['none', 'eui64', 'x', 'stable_secret'])],
      ['gso_max_size', this.one(['1000', '65536', '65537', 'x'])],
      ['gso_max_segs', this.one(['10', '65535', '65536'])],
      ['gro_max_size', this.one(['1000', '65536', '524281', 'x'])],
      ['numtxqueues', this.one(['1', 'x'])],
      ['index', this.one(['5', '0', 'x'])],
      ['master', this.device()],
      ['nomaster'],
      ['vrf', this.device()],
      ['netns', this.one(['nope', '999999'])],
      ['link-netnsid', this.one(['5', 'x'])],
      ['address', this.one(['00:11:22:33:44:55', '00:11', 'x', '00:11:22:33:44:55:66:77'])],
      [this.one(['brd', 'broadcast']), this.one(['00:11:22:33:44:55', 'x'])],
      ['xdp', this.one(['off', 'foo'])],
      [
        'vf',
        this.one(['0', '1', 'x']),
        ...this.#virtualFunction(),
        ...this.maybe(0.3, ...this.#virtualFunction()),
      ],
      ['frob'],
    ])
  }

  /** What stands behind `vf N`, words cut short too. */
  #virtualFunction(): string[] {
    const cut = (word: string): string => this.short(word, 1)
    return this.one([
      [cut('vlan'), '5', ...this.maybe(0.5, cut('qos'), '2'), ...this.maybe(0.3, cut('proto'), '802.1ad')],
      [cut('mac'), '00:11:22:33:44:55'],
      [cut(this.one(['rate', 'max_tx_rate', 'min_tx_rate'])), this.one(['5', '7', '0', 'x'])],
      [cut(this.one(['spoofchk', 'query_rss', 'trust'])), this.one(['on', 'off', 'x'])],
      [cut('state'), this.one(['auto', 'enable', 'dis', 'x'])],
      [cut(this.one(['node_guid', 'port_guid'])), this.one(['00:11:22:33:44:55:66:77', 'x'])],
    ])
  }

  /** Other names of a link. */
  #property(): string[] {
    const name = (): string =>
      this.one([
        'alt0',
        'other',
        'alt0',
        'alt2',
        'averyveryverylongname',
        't0',
        'lo',
        'a/b',
        '',
        'x'.repeat(128),
      ])
    return [
      this.short('property', 1),
      this.one(['add', 'add', 'add', 'del', 'delete']),
      ...this.maybe(0.6, 'dev'),
      this.device(),
      ...this.maybe(0.95, 'altname', name()),
      ...this.maybe(0.2, 'altname', name()),
    ]
  }

  command(): string[] {
    const object = this.one(['l', 'link', 'li'])
    if (this.chance(0.5))
      return [
        object,
        ...this.maybe(0.7, this.one(['show', 'sh', 'list', 'ls'])),
        ...this.maybe(0.4, ...this.maybe(0.6, 'dev'), this.device()),
        ...this.maybe(0.2, 'up'),
        ...this.maybe(0.12, ...this.#linkFilter()),
        ...this.maybe(0.03, 'down'),
      ]
    if (this.chance(0.06))
      return [object, this.one(['del', 'delete']), ...this.maybe(0.5, 'dev'), this.one(['lo', 'nope'])]
    if (this.chance(0.06))
      return [object, 'add', ...this.maybe(0.5, 'name'), this.one(['t0', 'new']), 'type', 'nonesuch']
    if (this.chance(0.1))
      return [
        object,
        ...this.one([
          ['xstats'],
          ['xstats', 'type', this.one(['tun', 'nope'])],
          ['afstats', ...this.maybe(0.5, 'dev', this.device())],
          ['afstats', 'x'],
          ['property', 'frob'],
          ['property', 'add', 'altname', 'x'],
          ['property', 'del', 'dev', 'nope', 'altname', 'x'],
          ...[0, 1, 2, 3].map(() => this.#property()),
          ['replace', this.device(), 'up'],
          ['delete', 'group', this.one(['9', 'default', 'x'])],
        ]),
      ]
    if (this.chance(0.6))
      return [
        object,
        this.one(['set', 's', 'change']),
        ...this.maybe(0.5, this.one(['dev', 'dev', 'dev', 'name'])),
        this.chance(0.92) ? this.device() : this.one(['group default', 'group 9', 'a/b']),
        ...this.#linkWord(),
        ...this.maybe(0.4, ...this.#linkWord()),
        ...this.maybe(0.1, ...this.#linkWord()),
      ].flatMap((word) => (word.startsWith('group ') ? word.split(' ') : [word]))
    return [
      object,
      this.one(['set', 's']),
      ...this.maybe(0.5, 'dev'),
      this.device(),
      ...this.one([
        ['up'],
        ['up'],
        ['up'],
        ['down'],
        ['mtu', this.one(['1400', '1500', '70000', 'x', '1280', '65535', '65536', '-1', '0x600'])],
        ['txqueuelen', this.one(['100', '500', 'x'])],
        ['promisc', 'maybe'],
        ['multicast', 'maybe'],
        ['group', this.one(['default', '7', 'x'])],
        ['alias', this.one(['uplink', 'a b', ''])],
        ['name', this.one(['t1', 'averyveryverylongname', 'a/b'])],
        ['frob'],
      ]),
    ]
  }
}
