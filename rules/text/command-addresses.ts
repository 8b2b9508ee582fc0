// Values of -s and -d: one or several networks, parted by commas, as xtables_ipparse_multiple() reads them.

import type { Family } from '../../datapath/packet.ts'
import type { AddressMatch } from '../model.ts'
import { maskWords, numericIpv4, parseAddress, parseHost, prefixMask, type Words } from './address.ts'
import { hostNamed, networkNamed } from './host-names.ts'
import { wholeNumber } from './numbers.ts'

/** Ends the command. */
type Bad = (why: string) => never

/** All networks of `text`; null among them: any address. */
export function networks(text: string, family: Family, invert: boolean, bad: Bad): (AddressMatch | null)[] {
  return text.split(',').map((part) => {
    const one = part.trimStart()
    return one.length > 255 ? bad('Hostname too long') : network(one, family, invert, bad)
  })
}

function network(text: string, family: Family, invert: boolean, bad: Bad): AddressMatch | null {
  const slash = text.lastIndexOf('/')
  const mask = maskOf(slash < 0 ? null : text.slice(slash + 1), family, bad)
  const any = mask.every((w) => w === 0)
  const host = slash < 0 ? text : text.slice(0, slash)
  const words = any ? mask : maskWords(hostOf(host, family, bad), mask)
  return any && !invert ? null : { words, mask, invert }
}

function hostOf(text: string, family: Family, bad: Bad): Words {
  if (family === 4) {
    const word = numericIpv4(text)
    if (word !== null) return [word, 0, 0, 0]
  }
  const words = parseHost(text, family)
  if (words !== null) return words
  const network = family === 4 ? networkNamed(text) : null
  if (network !== null) return [network, 0, 0, 0]
  return hostNamed(text, family) ?? bad(`host/network \`${text}' not found`)
}

function maskOf(text: string | null, family: Family, bad: Bad): Words {
  const bits = family === 4 ? 32 : 128
  if (text === null) return prefixMask(bits, family)
  if (family === 4) {
    const word = numericIpv4(text, true)
    if (word !== null) return [word, 0, 0, 0]
  } else {
    const words = parseAddress(text, 6)
    if (words !== null) return words
  }
  const length = wholeNumber(text, 0, bits)
  if (length === null) return bad(`invalid mask \`${text}' specified`)
  return prefixMask(length, family)
}
