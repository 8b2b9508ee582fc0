// socket: whether a socket of this host waits for the packet (libxt_socket of iptables 1.8.9, socket_mt4() of
// xt_socket.c). Nothing listens here and nothing is connected: no packet fits.

import { giveDefrag, takeDefrag } from '../defrag.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { words } from './parts.ts'

export interface SocketMatch {
  readonly transparent: boolean
  readonly noWildcard: boolean
  readonly restoreMark: boolean
}

export const socket: Match<SocketMatch> = {
  kind: 'match',
  name: 'socket',
  revision: 3,
  families: [4, 6],
  layout: { size: 8, fields: (m) => [[0, 1, bits(m.transparent, m.noWildcard, m.restoreMark)]] },
  chains: ['PREROUTING', 'INPUT'],
  options: [
    { flag: 'transparent', arg: 'none' },
    { flag: 'nowildcard', arg: 'none' },
    { flag: 'restore-skmark', arg: 'none' },
  ],
  help: `socket match options:
  --nowildcard     Do not ignore LISTEN sockets bound on INADDR_ANY
  --transparent    Ignore non-transparent sockets
  --restore-skmark Set the packet mark to the socket mark if
                   the socket matches and transparent / 
                   nowildcard conditions are satisfied

`,
  parse: (o) => ({
    transparent: o.has('transparent'),
    noWildcard: o.has('nowildcard'),
    restoreMark: o.has('restore-skmark'),
  }),
  print: (m) =>
    words(
      m.transparent ? '--transparent' : '',
      m.noWildcard ? '--nowildcard' : '',
      m.restoreMark ? '--restore-skmark' : '',
    ),
  list: (m) => words('socket', socket.print(m, 4)),
  state: (_, env, family) => takeDefrag(env, family),
  release: (_, env, family) => giveDefrag(env, family),
  reads: [],
  emit: (_, js) => js`false`,
}
