// libvirt's virtual networks: LIBVIRT_INP, OUT, FWI, FWO, FWX, PRT, rules by bridge (virbr0).

import { oneOf, type Recogniser } from './author.ts'

const KNOWN: Readonly<Record<string, string>> = {
  LIBVIRT_INP: 'services of this host for guests',
  LIBVIRT_OUT: 'answers of this host to guests',
  LIBVIRT_FWI: 'forwarded to guests',
  LIBVIRT_FWO: 'forwarded from guests',
  LIBVIRT_FWX: 'forwarded between guests of a network',
  LIBVIRT_PRT: 'masquerading of guests',
}

export const libvirt: Recogniser = {
  program: 'libvirt',
  words: { chains: [oneOf(Object.keys(KNOWN))] },
  chain: (_, name) => (name.startsWith('LIBVIRT_') ? (KNOWN[name] ?? '') : null),
  rule({ chain, rule }) {
    const about = KNOWN[chain]
    const bridge = rule.base.inInterface?.name ?? rule.base.outInterface?.name
    return about === undefined || bridge === undefined ? null : `network ${bridge}: ${about}`
  },
}
