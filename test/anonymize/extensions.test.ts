// Every option of every match and target says what its value holds, or is known to hold nothing. A new option with a value
// is in neither list until somebody has thought about it.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Mapping } from '../../daemon/anonymize/mapping.ts'
import { freezeOptions, mapOptions, type Within } from '../../daemon/anonymize/values.ts'
import { matches } from '../../rules/matches/index.ts'
import { NO_BASE } from '../../rules/model.ts'
import { setTypes } from '../../rules/sets/index.ts'
import { targets } from '../../rules/targets/index.ts'
import { parseRule, shellWords } from '../extensions/rule.ts'
import { repositoryRoot } from '../harness/kernel.ts'

/** Options whose values are numbers, ports, protocols, marks, masks of lengths, times, and the tools' own words. */
const PLAIN: Readonly<Record<string, string>> = {
  addrtype: 'src-type dst-type',
  ah: 'ahspi ahlen',
  bpf: 'object-pinned',
  cgroup: 'cgroup',
  cluster: 'cluster-total-nodes cluster-local-node cluster-local-nodemask cluster-hash-seed',
  connbytes: 'connbytes connbytes-dir connbytes-mode',
  connlabel: 'label',
  connlimit: 'connlimit-upto connlimit-above connlimit-mask',
  connmark: 'mark',
  conntrack:
    'ctstate ctproto ctstatus ctexpire ctorigsrcport ctorigdstport ctreplsrcport ctrepldstport ctdir',
  cpu: 'cpu',
  dccp: 'source-port destination-port dccp-types dccp-option',
  devgroup: 'src-group dst-group',
  dscp: 'dscp dscp-class',
  dst: 'dst-len dst-opts',
  ecn: 'ecn-ip-ect',
  esp: 'espspi',
  frag: 'fragid fraglen',
  hashlimit:
    'hashlimit-upto hashlimit-above hashlimit-srcmask hashlimit-dstmask hashlimit-burst hashlimit-htable-size ' +
    'hashlimit-htable-max hashlimit-htable-gcinterval hashlimit-htable-expire hashlimit-mode hashlimit-rate-interval',
  hbh: 'hbh-len hbh-opts',
  helper: 'helper',
  hl: 'hl-lt hl-gt hl-eq',
  icmp: 'icmp-type',
  icmp6: 'icmpv6-type',
  ipcomp: 'ipcompspi',
  ipv6header: 'header',
  ipvs: 'vproto vport vdir vmethod vportctl',
  length: 'length',
  limit: 'limit limit-burst',
  mark: 'mark',
  mh: 'mh-type',
  multiport: 'source-ports destination-ports ports',
  osf: 'genre ttl log',
  owner: 'uid-owner gid-owner',
  pkttype: 'pkt-type',
  policy: 'dir pol reqid spi proto mode',
  quota: 'quota',
  rateest: 'rateest-bps1 rateest-bps2 rateest-pps1 rateest-pps2',
  realm: 'realm',
  recent: 'seconds hitcount',
  rt: 'rt-type rt-segsleft rt-len',
  sctp: 'source-port destination-port chunk-types',
  set: 'packets-eq packets-lt packets-gt bytes-eq bytes-lt bytes-gt',
  srh:
    'srh-next-hdr srh-hdr-len-eq srh-hdr-len-gt srh-hdr-len-lt srh-segs-left-eq srh-segs-left-gt srh-segs-left-lt ' +
    'srh-last-entry-eq srh-last-entry-gt srh-last-entry-lt srh-tag',
  state: 'state',
  statistic: 'mode probability every packet',
  string: 'from to algo',
  tcp: 'source-port destination-port tcp-flags tcp-option',
  tcpmss: 'mss',
  time: 'datestart datestop monthdays timestart timestop weekdays',
  tos: 'tos',
  ttl: 'ttl-lt ttl-gt ttl-eq',
  udp: 'source-port destination-port',
  AUDIT: 'type',
  CLASSIFY: 'set-class',
  CLUSTERIP: 'hashmode total-nodes local-node hash-init',
  CONNMARK:
    'set-xmark set-mark and-mark or-mark xor-mark left-shift-mark right-shift-mark ctmask nfmask mask',
  CT: 'helper ctevents expevents zone zone-orig zone-reply',
  DSCP: 'set-dscp set-dscp-class',
  ECN: 'ecn-tcp-cwr ecn-tcp-ece ecn-ip-ect',
  HL: 'hl-set hl-dec hl-inc',
  HMARK:
    'hmark-tuple hmark-src-prefix hmark-dst-prefix hmark-sport-mask hmark-dport-mask hmark-spi-mask hmark-sport hmark-dport ' +
    'hmark-spi hmark-proto-mask hmark-rnd hmark-mod hmark-offset',
  IDLETIMER: 'timeout',
  LED: 'led-delay',
  LOG: 'log-level',
  MARK: 'set-xmark set-mark and-mark or-mark xor-mark',
  MASQUERADE: 'to-ports',
  NFLOG: 'nflog-group nflog-range nflog-size nflog-threshold',
  NFQUEUE: 'queue-num queue-balance',
  RATEEST: 'rateest-interval rateest-ewmalog',
  REDIRECT: 'to-ports',
  REJECT: 'reject-with',
  SET: 'timeout',
  SYNPROXY: 'wscale mss',
  TCPMSS: 'set-mss',
  TCPOPTSTRIP: 'strip-options',
  TOS: 'set-tos and-tos or-tos xor-tos',
  TPROXY: 'on-port tproxy-mark',
  TTL: 'ttl-set ttl-dec ttl-inc',
}

test('every option with a value holds something, or is known to hold nothing', () => {
  const unknown: string[] = []
  for (const { name, options } of [...matches, ...targets])
    for (const { flag, arg, holds } of options)
      if (arg !== 'none' && holds === undefined && !(PLAIN[name] ?? '').split(' ').includes(flag))
        unknown.push(`${name} --${flag}`)
  expect(unknown).toEqual([])
})

test('every part of an element of a set is treated', () => {
  // What daemon/anonymize/sets.ts maps, and what holds nothing: ports, protocols, marks.
  const treated = ['ip', 'ip2', 'single', 'single2', 'ether', 'iface', 'set', 'proto-port', 'port', 'mark']
  for (const { name, parts } of setTypes) for (const { kind } of parts) expect(treated, name).toContain(kind)
})

/** Rules of the recorded tables, as their lines say. */
function* recordedRules(folder: string): Generator<string> {
  const at = join(repositoryRoot(), 'test/extensions', folder)
  for (const file of readdirSync(at))
    for (const line of readFileSync(join(at, file), 'utf8').split('\n'))
      if (line.startsWith('S -A ')) yield line.slice(2)
}

test.each([
  ['tables', 4],
  ['tables6', 6],
] as const)('all recorded rules (%s): addresses and names change, and nothing else', (folder, family) => {
  const mapping = new Mapping({ key: Buffer.from('k'), keep: [], keepPayload: true })
  const within: Within = { mapping, family, chain: 'FORWARD', base: NO_BASE, where: 'rules:1:1' }
  const texts: { text: string; options: Parameters<typeof mapOptions>[1] }[] = []
  for (const line of recordedRules(folder)) {
    let rule: ReturnType<typeof parseRule>
    try {
      rule = parseRule(shellWords(line).slice(2), family)
    } catch {
      // Words that the short parser of those tables does not take.
      continue
    }
    for (const { match, data } of rule.matches)
      texts.push({ text: match.print(data, family), options: match.options })
    if (rule.target !== null)
      texts.push({
        text: rule.target.target.print(rule.target.data, family),
        options: rule.target.target.options,
      })
  }
  expect(texts.length).toBeGreaterThan(family === 4 ? 800 : 150)
  for (const { text, options } of texts) freezeOptions(text, options, within)
  let changed = 0
  for (const { text, options } of texts) {
    const to = mapOptions(text, options, within)
    const holding = options.filter(({ holds }) => holds !== undefined).map(({ flag }) => flag)
    const flags = (of: string): string[] => of.match(/--[\w-]+/g) ?? []
    if (!holding.some((flag) => text.includes(`--${flag}`))) expect(to).toBe(text)
    else if (!/--(log-prefix|nflog-prefix|comment|string|hex-string)/.test(text))
      expect(flags(to)).toEqual(flags(text))
    if (to !== text) changed++
  }
  expect(changed).toBeGreaterThan(20)
})
