import { expect, test } from 'vitest'
import { formatMask, inetAton, numericIpv4, prefixLength, prefixMask } from '../../../rules/text/address.ts'
import { hexMask, strtoul, wholeNumber } from '../../../rules/text/numbers.ts'
import { saveString } from '../../../rules/text/quote.ts'
import { parsePort, protocolName, protocolNumber, resolvePort } from '../../../rules/text/services.ts'

// inet_aton() gives the last part all bits that are left; iptables' own reader (-s, -d) fills up with zeros.
test.each([
  ['10.1.2.3', 0x0a010203, 0x0a010203],
  ['10.1', 0x0a000001, 0x0a010000],
  ['10', 10, 0x0a000000],
  ['0x0a.010.1.2', 0x0a080102, 0x0a080102],
  ['255.255.255.255', -1, -1],
  ['1.2.3.256', null, null],
  ['1.2.3.4.5', null, null],
  ['1..2.3', null, null],
  ['', null, null],
  [' 1.2.3.4', null, 0x01020304],
  ['1.2.3.4 ', null, null],
])('%j is %s to inet_aton, %s to iptables', (text, aton, own) => {
  expect(inetAton(text)).toBe(aton)
  expect(numericIpv4(text)).toBe(own)
})

test('every prefix length comes back from its mask', () => {
  for (let bits = 0; bits <= 32; bits++) expect(prefixLength(prefixMask(bits, 4), 4)).toBe(bits)
  for (let bits = 0; bits <= 128; bits++) expect(prefixLength(prefixMask(bits, 6), 6)).toBe(bits)
  expect(prefixLength([0x00ffff00, 0, 0, 0], 4)).toBe(-1)
  expect(prefixLength([-1, 0, -1, 0], 6)).toBe(-1)
  expect(formatMask([-1, 0, 0, 0], 4)).toBe('')
  expect(formatMask([0xff00ff00 | 0, 0, 0, 0], 4)).toBe('/255.0.255.0')
})

test('numbers in any base, none with a minus', () => {
  expect(wholeNumber('0x1f', 0, 255)).toBe(31)
  expect(wholeNumber('017', 0, 255)).toBe(15)
  expect(wholeNumber(' +7', 0, 255)).toBe(7)
  expect(wholeNumber('-1', 0, 255)).toBeNull()
  expect(wholeNumber('256', 0, 255)).toBeNull()
  expect(wholeNumber('08', 0, 255)).toBeNull()
  expect(wholeNumber('', 0, 255)).toBeNull()
  expect(strtoul('12/3', 0, 255)).toEqual({ value: 12, end: 2 })
  expect(strtoul('0xg', 0, 255)).toEqual({ value: 0, end: 1 })
  expect(hexMask(-1, -1)).toBe('0xffffffff')
  expect(hexMask(1, 0xff)).toBe('0x1/0xff')
})

test('ports and protocols, by number and by name', () => {
  expect(resolvePort('70000')).toBe(4464) // getaddrinfo cuts to 16 bits
  expect(resolvePort('bootps')).toBe(67)
  expect(resolvePort('0x50')).toBeNull()
  expect(parsePort('0x50', 'tcp')).toBe(80)
  expect(parsePort('70000', 'tcp')).toBeNull()
  expect(parsePort('bootps', 'tcp')).toBeNull()
  expect(protocolNumber('tcp')).toBe(6)
  expect(protocolNumber('icmpv6')).toBe(58)
  expect(protocolNumber('256')).toBeNull()
  expect(protocolName(58)).toBe('ipv6-icmp')
  expect(protocolName(47)).toBeNull()
  expect(protocolName(47, true)).toBe('gre')
})

test('words are quoted where iptables-save quotes them', () => {
  expect(saveString('a_b-1')).toBe('a_b-1')
  expect(saveString('')).toBe('""')
  expect(saveString('a.b')).toBe('"a.b"')
  expect(saveString(`"\\'`)).toBe(`"\\"\\\\\\'"`)
})
