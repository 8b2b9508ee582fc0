// ICMP redirects (ip_rt_send_redirect() of net/ipv4/route.c, 6.18): a host on the link is told of the gateway that it
// might have asked itself.

import { type Route, usesGateway } from '../fib.ts'
import type { Host } from '../host.ts'
import type { Packet } from '../packet.ts'
import { ICMP_REDIRECT } from '../wire/icmp.ts'

const ICMP_REDIR_HOST = 1

/** ip_rt_redirect_*: nine redirects to each host, each after twice the time of the one before; ms. */
const REDIRECT_NUMBER = 9
const REDIRECT_LOAD = 20
const REDIRECT_SILENCE = 20 << 10

/** At most nine, further and further apart, until the host has been quiet for 20 s. */
export function sendRedirect(host: Host, pkt: Packet, route: Route): void {
  if (!route.device!.conf.sendRedirects) return
  const { peers, now } = host
  const place = peers.place(4, pkt.s0, 0, 0, 0)
  if (now > peers.last[place]! + REDIRECT_SILENCE) {
    peers.tokens[place] = 0
    peers.redirects[place] = 0
  }
  const sent = peers.redirects[place]!
  if (sent >= REDIRECT_NUMBER) {
    peers.last[place] = now
    return
  }
  if (sent !== 0 && now <= peers.last[place]! + REDIRECT_LOAD * (1 << sent)) return
  peers.redirects[place] = sent + 1
  host.replies.icmpError(pkt, ICMP_REDIRECT, ICMP_REDIR_HOST, usesGateway(route) ? route.gateway![0] : pkt.d0)
  peers.last[peers.place(4, pkt.s0, 0, 0, 0)] = now
}
