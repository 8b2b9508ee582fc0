// Names of interfaces, letter by letter: what becomes of a letter follows from those before it, by the key, as bits of
// addresses do. So names that begin alike begin alike afterwards, `lan+` fits the same ones, and no list of names is
// needed. Letters become letters, digits digits.
//
// Names that the kernel and well-known programs give tell nothing: eth0, ens3, docker0 stay, and of cali1a2b3c the kind.
// VLAN numbers stay, as they do in captures.

import { Buffer } from 'node:buffer'
import type { AddressMap } from './addresses.ts'
import type { Prf } from './prf.ts'

/** Kinds that are numbered: eth0. */
const NUMBERED =
  'bond br cni dummy docker erspan eth gre gretap ib ifb ip6gre ip6tnl ip6_vti ip_vti ipip ipvlan lxcbr lxdbr macvlan ' +
  'mpls podman ppp sit tap team tun tunl usb veth virbr vlan vnet vrf vti vxlan wg wlan wwan wwp'
/** Whole names. */
const WHOLE =
  'lo all default docker_gwbridge cilium_host cilium_net cilium_vxlan flannel kube-bridge kube-ipvs0 nodelocaldns ' +
  'vxlan_calico vxlan.calico wireguard.cali weave'
/** What a program draws digits in base 16 for. */
const DRAWN = ['br-', 'cali', 'lxc', 'tap', 'veth', 'vethwe-', 'vif', 'azv', 'eni', 'gke', 'cilium_lxc']

const KINDS = NUMBERED.split(' ')
const WORDS = [...KINDS, ...WHOLE.split(' '), ...DRAWN, 'enx']
const KIND_AND_NUMBER = new RegExp(`^(?:${KINDS.join('|')})\\d*$`)
/** Names by slot and port, as udev makes them; any beginning of one. */
const BY_SLOT =
  /^(?:en|wl|ww|ib)(?:b\d*|c[\da-f.]*|o\d*(?:n(?:p\d*)?|d\d*)?|(?:P\d*)?(?:p\d*(?:s\d*(?:f\d*)?(?:n(?:p\d*)?|d\d*)?)?)?|s\d*(?:f\d*)?(?:n(?:p\d*)?|d\d*)?)$/
const DRAWN_BEGUN = new RegExp(`^(?:${DRAWN.join('|')})[\\da-f-]*$`)

/** Whether a name that begins so may be of a kind that everybody knows. */
const isKnown = (begin: string): boolean =>
  WORDS.some((word) => word.startsWith(begin)) || KIND_AND_NUMBER.test(begin) || BY_SLOT.test(begin)

/** Whether everybody has such names. */
export const isCommonInterface = (name: string): boolean =>
  WHOLE.split(' ').includes(name) ||
  (KIND_AND_NUMBER.test(name) && /\d$/.test(name)) ||
  (BY_SLOT.test(name) && /\d/.test(name))

const LOWER = 'abcdefghijklmnopqrstuvwxyz'
const DIGITS = '0123456789'
const HEX = '0123456789abcdef'
const ALPHABETS = [LOWER, LOWER.toUpperCase(), DIGITS]
const HEX_ALPHABETS = [HEX, 'ghijklmnopqrstuvwxyz', LOWER.toUpperCase()]

export class InterfaceNames {
  readonly #prf: Prf
  readonly #addresses: AddressMap
  readonly #keep: readonly string[]
  /** Letters behind a beginning that stands for many names. */
  readonly #nodes = new Map<string, ReadonlyMap<string, string>>()
  readonly known = new Map<string, string>()

  /** `keep`: names that stay. */
  constructor(prf: Prf, addresses: AddressMap, keep: readonly string[]) {
    this.#prf = prf
    this.#addresses = addresses
    this.#keep = keep
  }

  /** A name as it is written: `+` at the end of a pattern stays, and so does the colon of a label. */
  map(name: string): string {
    let to = this.known.get(name)
    if (to === undefined) {
      to = this.#ofMac(name) ?? this.#map(name)
      this.known.set(name, to)
    }
    return to
  }

  /** enx525400123456 */
  #ofMac(name: string): string | null {
    return /^enx[\da-f]{12}$/.test(name) ? `enx${this.#addresses.mac(name.slice(3))}` : null
  }

  #map(name: string): string {
    let begin = ''
    let to = ''
    for (const letter of name) {
      to += this.#letter(begin, letter)
      begin += letter
    }
    return to
  }

  #letter(begin: string, letter: string): string {
    if (letter > '~') {
      // What is not ASCII becomes some letter.
      const bytes = Buffer.from(letter)
      return [...bytes]
        .map((_, i) => LOWER[this.#prf.bytes('letter', `${begin.length} ${bytes.toString('hex')}`)[i]! % 26])
        .join('')
    }
    return this.#node(begin).get(letter) ?? letter
  }

  #node(begin: string): ReadonlyMap<string, string> {
    let node = this.#nodes.get(begin)
    if (node !== undefined) return node
    const stays = (letter: string): boolean => {
      const longer = begin + letter
      if (DIGITS.includes(letter) && begin.includes('.')) return true
      return isKnown(longer) || this.#keep.some((name) => name.startsWith(longer))
    }
    const made = new Map<string, string>()
    const text = Buffer.from(begin).toString('latin1')
    for (const alphabet of DRAWN_BEGUN.test(begin) ? HEX_ALPHABETS : ALPHABETS) {
      const order = this.#prf.bytes(`letters ${alphabet}`, text)
      const moving = [...alphabet].filter((letter) => !stays(letter))
      const shuffled = moving
        .map((letter) => ({ letter, by: order[alphabet.indexOf(letter)]! }))
        .sort((a, b) => a.by - b.by || (a.letter < b.letter ? -1 : 1))
      for (const [i, letter] of moving.entries()) made.set(letter, shuffled[i]!.letter)
    }
    node = made
    this.#nodes.set(begin, node)
    return node
  }
}
