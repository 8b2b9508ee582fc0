// parse(print(x)) = x for every extension over generated data, and no option text ever throws anything but
// OptionError.

import { describe, expect, test } from 'vitest'
import type { Family } from '../../datapath/packet.ts'
import { PatternTables } from '../../rules/compile/names.ts'
import { makeJs } from '../../rules/compile/template.ts'
import { matches } from '../../rules/matches/index.ts'
import { OptionError, ParsedOptions } from '../../rules/options.ts'
import type { Sets } from '../../rules/sets/store.ts'
import { targets } from '../../rules/targets/index.ts'
import { PrintEnds } from '../../rules/text/errors.ts'
import { splitWords } from '../../rules/text/line.ts'
import { SeededRandom } from '../harness/frames.ts'
import { parseRule } from './rule.ts'
import { World } from './world.ts'

const SEED = 20_261_121
const ROUNDS = 300

const random = new SeededRandom(SEED)
const below = (n: number): number => random.u32() % n
const pick = <T>(list: readonly T[]): T => list[below(list.length)]!
const maybe = (text: () => string): string => (below(2) === 0 ? text() : '')
const not = (): string => (below(3) === 0 ? '! ' : '')
// Left out: what iptables-save itself loses, `! --dport 0:65535` and rates that have no round number in any unit.

/** Numbers at the edges more often than between. */
const number = (max: number): number => pick([0, 1, max, max - 1, below(max + 1), below(256) % (max + 1)])
const range = (max: number): string => {
  const [a, b] = [number(max), number(max)].sort((x, y) => x - y)
  return pick([`${a}`, `${a}:${b}`, `${Math.max(1, a!)}:`, `:${b}`])
}
/** Not every value: iptables loses such an inverted option. */
const part = (max: number): string => `${below(max)}:${max - 1}`
const some = (list: readonly string[]): string => {
  const chosen = list.filter(() => below(3) === 0)
  return (chosen.length === 0 ? [pick(list)] : chosen).join(',')
}
/** Of the family that is being tried. */
let family: Family = 4
const address = (): string =>
  family === 4
    ? `${below(256)}.${below(256)}.${below(256)}.${below(256)}`
    : pick(['::', '::1', 'fe80::1:2', `2001:db8:${below(65536).toString(16)}::${below(65536).toString(16)}`])
const prefix = (): number => below(family === 4 ? 33 : 129)
const mark = (): string =>
  pick([`${number(0xffffffff)}`, `0x${number(0xffffffff).toString(16)}/${number(0xffffffff)}`])
const text = (): string =>
  `"${Array.from({ length: 1 + below(20) }, () => pick(['a', 'B', '9', ' ', '-', '_', ':', '/', '\\"', "'", '\\\\', 'ü', '*'])).join('')}"`
const ports = (): string =>
  `${maybe(() => `${not()}--sport ${pick([range(65534), part(65535)])} `)}${maybe(() => `${not()}--dport ${pick([range(65534), part(65535)])}`)}`
const dirs = (): string => Array.from({ length: 1 + below(6) }, () => pick(['src', 'dst'])).join()
const headerOptions = (): string =>
  Array.from({ length: 1 + below(16) }, () =>
    pick(['0', `${1 + below(255)}`, `${1 + below(255)}:${below(256)}`]),
  ).join(',')
const TCP = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG']

const rules: Readonly<Record<string, () => string>> = {
  tcp: () =>
    `-p tcp -m tcp ${ports()} ${pick(['', `${not()}--syn`, `${not()}--tcp-flags ${some(TCP)} ${pick([some(TCP), 'NONE'])}`])} ${maybe(() => `${not()}--tcp-option ${1 + below(255)}`)}`,
  udp: () => `-p udp -m udp ${ports()}`,
  dccp: () =>
    `-p dccp -m dccp ${ports()} ${maybe(() => `${not()}--dccp-types ${some(['REQUEST', 'DATA', 'SYNCACK', 'INVALID'])}`)} ${maybe(() => `${not()}--dccp-option ${1 + below(255)}`)}`,
  sctp: () =>
    `-p sctp -m sctp ${ports()} ${maybe(() => `${not()}--chunk-types ${pick(['all', 'any', 'only'])} ${pick([some(['DATA', 'DATA:Ub', 'INIT', 'ABORT:t', 'ASCONF']), 'ALL', 'NONE'])}`)}`,
  icmp: () =>
    `-p icmp -m icmp ${not()}--icmp-type ${pick(['any', `${below(255)}`, `${below(255)}/${below(256)}`, 'ping'])}`,
  comment: () => `-m comment --comment ${text()}`,
  conntrack: () =>
    `-m conntrack ${not()}--ctstate ${some(['INVALID', 'NEW', 'RELATED', 'ESTABLISHED', 'UNTRACKED', 'SNAT', 'DNAT'])} ${maybe(() => `${not()}--ctproto ${below(256)}`)} ${maybe(() => `${not()}--ctorigsrc ${address()}/${prefix()}`)} ${maybe(() => `${not()}--ctrepldst ${address()}`)} ${maybe(() => `${not()}--ctorigdstport ${range(65535)}`)} ${maybe(() => `${not()}--ctstatus ${some(['EXPECTED', 'SEEN_REPLY', 'ASSURED', 'CONFIRMED'])}`)} ${maybe(() => `${not()}--ctexpire ${range(0xffffffff)}`)} ${maybe(() => `--ctdir ${pick(['ORIGINAL', 'REPLY'])}`)}`,
  state: () => `-m state ${not()}--state ${some(['INVALID', 'NEW', 'RELATED', 'ESTABLISHED', 'UNTRACKED'])}`,
  mark: () => `-m mark ${not()}--mark ${mark()}`,
  connmark: () => `-m connmark ${not()}--mark ${mark()}`,
  multiport: () =>
    `-p tcp -m multiport ${not()}${pick(['--sports', '--dports', '--ports'])} ${Array.from({ length: 1 + below(7) }, () => pick([`${number(65535)}`, `${below(100)}:${100 + below(65000)}`])).join(',')}`,
  addrtype: () =>
    `-m addrtype ${not()}--src-type ${some(['UNICAST', 'LOCAL', 'ANYCAST', 'UNSPEC'])} ${maybe(() => `${not()}--dst-type ${some(['MULTICAST', 'LOCAL', 'UNREACHABLE'])}`)} ${pick(['', '--limit-iface-in', '--limit-iface-out'])}`,
  statistic: () =>
    pick([
      () => `-m statistic --mode random ${not()}--probability ${below(0x80000000) / 0x80000000}`,
      () => {
        const every = 1 + number(0xfffffffe)
        return `-m statistic --mode nth ${not()}--every ${every} --packet ${below(every)}`
      },
    ])(),
  limit: () =>
    `-m limit --limit ${pick([1, 2, 3, 5, 7, 10, 20, 50])}/${pick(['s', 'min', 'hour', 'day'])} --limit-burst ${1 + below(9)}`,
  iprange: () =>
    `-m iprange ${not()}--src-range ${address()}-${address()} ${maybe(() => `${not()}--dst-range ${address()}`)}`,
  ttl: () => `-m ttl ${pick([`${not()}--ttl-eq`, '--ttl-lt', '--ttl-gt'])} ${number(255)}`,
  length: () => `-m length ${not()}--length ${range(65535)}`,
  tos: () =>
    `-m tos ${not()}--tos ${pick([`${number(255)}`, `${number(255)}/${number(255)}`, 'Minimize-Cost'])}`,
  dscp: () =>
    `-m dscp ${not()}${pick([`--dscp ${number(63)}`, `--dscp-class AF${1 + below(4)}${1 + below(3)}`])}`,
  tcpmss: () => `-p tcp -m tcpmss ${not()}--mss ${range(65535)}`,
  pkttype: () => `-m pkttype ${not()}--pkt-type ${pick(['unicast', 'bcast', 'multicast', 'otherhost'])}`,
  mac: () =>
    `-m mac ${not()}--mac-source ${Array.from({ length: 6 }, () => below(256).toString(16)).join(':')}`,
  owner: () =>
    `-m owner ${not()}--uid-owner ${pick([`${number(0xfffffffe)}`, `${below(9)}-${9 + below(9)}`])} ${maybe(() => `${not()}--gid-owner ${below(99)} ${maybe(() => '--suppl-groups')}`)} ${maybe(() => `${not()}--socket-exists`)}`,
  esp: () =>
    `-p esp -m esp ${maybe(() => `${not()}--espspi ${pick([range(0xfffffffe), part(0xffffffff)])}`)}`,
  ah: () =>
    family === 6
      ? `-m ah ${maybe(() => `${not()}--ahspi ${pick([range(0xfffffffe), part(0xffffffff)])}`)} ${maybe(() => `${not()}--ahlen ${1 + below(99)}`)} ${maybe(() => '--ahres')}`
      : `-p ah -m ah ${maybe(() => `${not()}--ahspi ${pick([range(0xfffffffe), part(0xffffffff)])}`)}`,
  // Without --mask all 128 bits count, and a saved IPv4 mask holds 32: the tool takes them for two rules, too.
  recent: () =>
    `-m recent ${not()}${pick(['--set', '--remove', `--rcheck ${maybe(() => `--seconds ${1 + below(999)} ${maybe(() => '--reap')}`)} ${maybe(() => `--hitcount ${below(300)}`)}`, '--update --rttl'])} ${maybe(() => '--name list-1')} ${pick(['', '--rsource', '--rdest'])} --mask ${address()}`,
  hashlimit: () =>
    `-m hashlimit ${not()}--hashlimit-${pick(['upto', 'above'])} ${pick([`${pick([1, 2, 5, 7, 10])}/${pick(['s', 'min', 'hour', 'day'])} ${maybe(() => `--hashlimit-burst ${1 + below(99)}`)}`, `${1 + below(9)}${pick(['kb', 'mb'])}/s`])} --hashlimit-name n ${maybe(() => `--hashlimit-mode ${some(['srcip', 'dstip', 'srcport', 'dstport'])}`)} ${maybe(() => `--hashlimit-srcmask ${prefix()}`)} ${maybe(() => `--hashlimit-dstmask ${prefix()}`)} ${maybe(() => `--hashlimit-htable-size ${below(99)}`)} ${maybe(() => `--hashlimit-htable-expire ${1 + below(99999)}`)}`,
  string: () =>
    `-m string ${not()}${pick([`--string ${text()}`, `--hex-string "|${Array.from({ length: 1 + below(9) }, () => below(256).toString(16).padStart(2, '0')).join(pick(['', ' ']))}|"`])} --algo ${pick(['bm', 'kmp'])} ${maybe(() => '--icase')} ${maybe(() => `--from ${below(65536)}`)} ${maybe(() => `--to ${below(65536)}`)}`,
  time: () =>
    `-m time ${maybe(() => `--timestart ${below(24)}:${below(60)}`)} ${maybe(() => `--timestop ${below(24)}:${below(60)}:${below(60)}`)} ${maybe(() => `${not()}--monthdays ${1 + below(10)},${11 + below(20)}`)} ${maybe(() => `${not()}--weekdays ${some(['Mon', 'Tue', 'Fri', 'Sun'])}`)} ${maybe(() => `--datestart ${1970 + below(68)}-${1 + below(12)}-${1 + below(28)}T${below(24)}`)} ${maybe(() => `--datestop ${1971 + below(67)}`)} ${maybe(() => '--kerneltz')}`,
  connlimit: () =>
    `-m connlimit ${not()}--connlimit-${pick(['upto', 'above'])} ${number(0xffffffff)} ${maybe(() => `--connlimit-mask ${prefix()}`)} ${pick(['', '--connlimit-saddr', '--connlimit-daddr'])}`,
  connbytes: () =>
    `-m connbytes ${not()}--connbytes ${1 + below(99)}:${pick(['', `${100 + below(99)}`])} --connbytes-dir ${pick(['original', 'reply', 'both'])} --connbytes-mode ${pick(['packets', 'bytes', 'avgpkt'])}`,
  quota: () => `-m quota ${not()}--quota ${number(0xffffffff)}`,
  rpfilter: () =>
    `-m rpfilter ${maybe(() => '--loose')} ${maybe(() => '--validmark')} ${maybe(() => '--accept-local')} ${maybe(() => '--invert')}`,
  u32: () =>
    `-m u32 ${not()}--u32 "${Array.from({ length: 1 + below(9) }, () => `${number(0xffffffff)}${maybe(() => `${pick(['&', '<<', '>>', '@'])}${number(31)}`)}=${range(0xffff).replace(/:$/, '').replace(/^:/, '')}`).join('&&')}"`,
  cluster: () =>
    `-m cluster --cluster-total-nodes ${16 + below(17)} ${not()}--cluster-local-node${pick([` ${1 + below(6)}`, `mask ${1 + below(32)}`])} --cluster-hash-seed ${number(0xffffffff)}`,
  policy: () =>
    `-m policy --dir ${pick(['in', 'out'])} --pol ${pick(['none', `ipsec ${not()}--reqid ${number(0xffffffff)} ${maybe(() => `${not()}--spi ${number(0xffffffff)}`)} ${maybe(() => `${not()}--proto ${pick(['ah', 'esp', 'ipcomp'])}`)} ${maybe(() => `--mode tunnel ${not()}--tunnel-src ${address()}/${prefix()}`)}`, `ipsec --strict --reqid ${below(9)} --next ${not()}--spi ${below(99)} --next --mode transport`])}`,
  helper: () => `-m helper ${not()}--helper ${pick(['ftp', 'ftp-2121', text()])}`,
  connlabel: () => `-m connlabel ${not()}--label ${below(128)} ${maybe(() => '--set')}`,
  ecn: () =>
    `-p tcp -m ecn ${not()}--ecn-ip-ect ${below(4)} ${maybe(() => `${not()}--ecn-tcp-ece`)} ${maybe(() => `${not()}--ecn-tcp-cwr`)}`,
  cpu: () => `-m cpu ${not()}--cpu ${number(0xffffffff)}`,
  cgroup: () => `-m cgroup ${not()}${pick([`--cgroup ${number(0xffffffff)}`, '--path /'])}`,
  realm: () => `-m realm ${not()}--realm ${pick([mark(), 'cosmos'])}`,
  devgroup: () =>
    `-m devgroup ${not()}--src-group ${mark()} ${maybe(() => `${not()}--dst-group ${pick([mark(), 'default'])}`)}`,
  physdev: () =>
    `-m physdev ${not()}--physdev-in ${pick(['eth0', 'br+', '+'])} ${maybe(() => `${not()}--physdev-out p1`)} ${maybe(() => `${not()}--physdev-is-in`)} ${maybe(() => `${not()}--physdev-is-out`)} ${maybe(() => `${not()}--physdev-is-bridged`)}`,
  ipcomp: () =>
    `-p ipcomp -m ipcomp ${maybe(() => `${not()}--ipcompspi ${pick([range(0xfffffffe), part(0xffffffff)])}`)} ${maybe(() => '--compres')}`,
  nfacct: () => '-m nfacct --nfacct-name traffic',
  socket: () =>
    `-m socket ${maybe(() => '--transparent')} ${maybe(() => '--nowildcard')} ${maybe(() => '--restore-skmark')}`,
  AUDIT: () => `-j AUDIT --type ${pick(['accept', 'drop', 'REJECT'])}`,
  CHECKSUM: () => '-j CHECKSUM --checksum-fill',
  ECN: () =>
    `-p tcp -j ECN ${pick(['--ecn-tcp-remove', `--ecn-tcp-cwr ${below(2)} ${maybe(() => `--ecn-tcp-ece ${below(2)}`)}`, `--ecn-tcp-ece ${below(2)}`])} ${maybe(() => `--ecn-ip-ect ${below(4)}`)}`,
  TCPOPTSTRIP: () =>
    `-p tcp -j TCPOPTSTRIP --strip-options ${some(['mss', 'wscale', 'sack', 'md5', '200', '254', '4'])}`,
  NFLOG: () =>
    `-j NFLOG ${maybe(() => `--nflog-group ${number(65535)}`)} ${maybe(() => `--nflog-prefix ${text()}`)} ${pick(['', `--nflog-size ${number(0xffffffff)}`, `--nflog-range ${below(99)}`])} ${maybe(() => `--nflog-threshold ${number(65535)}`)}`,
  NFQUEUE: () =>
    `-j NFQUEUE ${pick([`--queue-num ${number(65535)}`, `--queue-balance ${below(99)}:${99 + below(9999)} ${maybe(() => '--queue-cpu-fanout')}`])} ${maybe(() => '--queue-bypass')}`,
  IDLETIMER: () =>
    `-j IDLETIMER --timeout ${1 + below(9999)} --label a${below(99)} ${maybe(() => '--alarm')}`,
  CONNSECMARK: () => `-j CONNSECMARK --${pick(['save', 'restore'])}`,
  SECMARK: () => '-j SECMARK --selctx system_u:object_r:x_t:s0',
  TPROXY: () =>
    `-p tcp -j TPROXY --on-port ${below(65536)} ${maybe(() => `--on-ip ${address()}`)} ${maybe(() => `--tproxy-mark ${mark()}`)}`,
  TRACE: () => '-j TRACE',
  HMARK: () =>
    `-j HMARK ${pick([`--hmark-tuple ${some(['ct', 'src', 'dst', 'sport', 'dport', 'proto'])}`, `--hmark-src-prefix ${below(33)} --hmark-spi ${number(0xffffffff)}`, `--hmark-sport-mask ${number(65535)} --hmark-dport ${number(65535)}`])} --hmark-mod ${1 + below(9999)} --hmark-rnd ${number(0xffffffff)} ${maybe(() => `--hmark-offset ${number(0xffffffff)}`)}`,
  TEE: () => `-j TEE --gateway ${address()} ${maybe(() => `--oif eth${below(9)}`)}`,
  LED: () =>
    `-j LED --led-trigger-id a${below(99)} ${pick(['', '--led-delay inf', `--led-delay ${below(9999)}`])} ${maybe(() => '--led-always-blink')}`,
  RATEEST: () =>
    `-j RATEEST --rateest-name a${below(9)} --rateest-interval ${pick(['250ms', '1s', '8s'])} --rateest-ewmalog ${pick(['32s', '64s'])}`,
  SYNPROXY: () =>
    `-p tcp -j SYNPROXY ${maybe(() => '--sack-perm')} ${maybe(() => '--timestamp')} ${maybe(() => `--wscale ${below(256)}`)} ${maybe(() => `--mss ${number(65535)}`)} ${maybe(() => '--ecn')}`,
  CLUSTERIP: () =>
    `-j CLUSTERIP ${pick(['', `--new --hashmode ${pick(['sourceip', 'sourceip-sourceport'])} --clustermac 01:00:5e:00:00:0${below(10)} --total-nodes ${below(17)} --local-node ${below(17)} --hash-init ${number(0xffffffff)}`])}`,
  osf: () =>
    `-p tcp -m osf ${not()}--genre Linux ${maybe(() => `--ttl ${below(3)}`)} ${maybe(() => `--log ${below(3)}`)}`,
  bpf: () =>
    `-m bpf --bytecode "2,${below(65536)} ${below(256)} ${below(256)} ${number(0xffffffff)},6 0 0 1"`,
  rateest: () =>
    `-m rateest ${pick([`--rateest-delta --rateest1 a --rateest-pps1 ${number(0xffffffff)} --rateest-pps2 ${number(0xffffffff)} ${maybe(() => '--rateest2 b')}`, `--rateest a --rateest-pps ${number(0xffffffff)}`, `--rateest a --rateest-bps ${below(999)}Kbit`])} ${not()}--rateest-${pick(['lt', 'gt', 'eq'])}`,
  ipvs: () =>
    `-m ipvs ${pick([`${not()}--ipvs`, `${not()}--vproto 6 ${not()}--vaddr ${address()} ${maybe(() => `${not()}--vport ${number(65535)}`)} ${maybe(() => '--vdir REPLY')} ${maybe(() => `${not()}--vmethod MASQ`)} ${maybe(() => `${not()}--vportctl 21`)}`])}`,
  REJECT: () =>
    `-p tcp -j REJECT --reject-with ${family === 4 ? pick(['icmp-net-unreachable', 'tcp-reset', 'admin-prohib', 'port-unreach']) : pick(['icmp6-no-route', 'tcp-reset', 'addr-unreach', 'policy-fail', 'reject-route'])}`,
  LOG: () =>
    `-j LOG --log-prefix ${text()} ${maybe(() => `--log-level ${below(8)}`)} ${maybe(() => '--log-uid')} ${maybe(() => '--log-tcp-options')} ${maybe(() => '--log-macdecode')}`,
  MARK: () => `-j MARK --${pick(['set-xmark', 'set-mark'])} ${mark()}`,
  CONNMARK: () =>
    `-j CONNMARK ${pick([`--set-xmark ${mark()}`, `--or-mark ${number(0xffffffff)}`, `--save-mark --nfmask ${number(0xffffffff)} --ctmask ${number(0xffffffff)}`, '--restore-mark'])} ${maybe(() => `--${pick(['left', 'right'])}-shift-mark ${below(32)}`)}`,
  CT: () =>
    `-j CT ${maybe(() => '--notrack')} ${maybe(() => `--helper ${pick(['ftp', 'sip'])}`)} ${maybe(() => `--ctevents ${some(['new', 'destroy', 'mark', 'secmark'])}`)} ${maybe(() => `--zone${pick(['', '-orig', '-reply'])} ${pick(['mark', `${1 + below(65535)}`])}`)}`,
  NOTRACK: () => '-j NOTRACK',
  TOS: () =>
    `-j TOS ${pick([`--set-tos ${number(255)}/${number(255)}`, `--and-tos ${number(255)}`, `--xor-tos ${number(255)}`])}`,
  DSCP: () => `-j DSCP --set-dscp ${number(63)}`,
  TTL: () => `-j TTL --ttl-${pick(['inc', 'dec', 'set'])} ${1 + below(255)}`,
  set: () =>
    `-m set ${not()}--match-set name-${below(9)} ${dirs()} ${maybe(() => '--return-nomatch')} ${maybe(() => '! --update-counters')} ${maybe(() => '! --update-subcounters')} ${pick(['', `${not()}--packets-eq ${number(0xffffffff)}`, `--packets-lt ${number(0xffffffff)}`, '--packets-gt 18446744073709551615'])} ${pick(['', `${not()}--bytes-eq ${number(0xffffffff)}`, `--bytes-gt ${number(0xffffffff)}`])}`,
  SET: () =>
    `-j SET ${pick([`--add-set a ${dirs()} ${maybe(() => '--exist')} ${maybe(() => `--timeout ${number(0xfffffffe)}`)} ${maybe(() => `--del-set b ${dirs()}`)}`, `--del-set c ${dirs()}`])} ${pick(['', `--map-set m ${dirs()} --map-mark`, `--map-set m ${dirs()} --map-prio --map-queue`])}`,
  TCPMSS: () => `-p tcp -j TCPMSS ${pick([`--set-mss ${number(65495)}`, '--clamp-mss-to-pmtu'])}`,
  dst: () =>
    `-m dst ${maybe(() => `${not()}--dst-len ${number(0xffffffff)}`)} ${maybe(() => `--dst-opts ${headerOptions()}`)}`,
  hbh: () =>
    `-m hbh ${maybe(() => `${not()}--hbh-len ${number(0xffffffff)}`)} ${maybe(() => `--hbh-opts ${headerOptions()}`)}`,
  eui64: () => '-m eui64',
  frag: () =>
    `-m frag ${maybe(() => `${not()}--fragid ${pick([range(0xfffffffe), part(0xffffffff)])}`)} ${maybe(() => `${not()}--fraglen ${below(99)}`)} ${maybe(() => '--fragres')} ${maybe(() => '--fragfirst')} ${pick(['', '--fragmore', '--fraglast'])}`,
  hl: () => `-m hl ${pick([`${not()}--hl-eq`, '--hl-lt', '--hl-gt'])} ${number(255)}`,
  icmp6: () =>
    `-p icmpv6 -m icmp6 ${not()}--icmpv6-type ${pick([`${below(256)}`, `${below(256)}/${below(256)}`, 'ping', 'no-route'])}`,
  ipv6header: () =>
    `-m ipv6header ${not()}--header ${some(['hop', 'dst', 'route', 'frag', 'auth', 'esp', 'none', 'prot'])} ${maybe(() => '--soft')}`,
  mh: () => `-p mh -m mh ${maybe(() => `${not()}--mh-type ${pick([part(255), 'brr', 'bu:be'])}`)}`,
  rt: () =>
    `-m rt ${pick(['', `${not()}--rt-type ${number(0xffffffff)}`, `--rt-type 0 ${maybe(() => '--rt-0-res')} --rt-0-addrs ${Array.from({ length: 1 + below(16) }, address).join(',')} ${maybe(() => '--rt-0-not-strict')}`])} ${maybe(() => `${not()}--rt-segsleft ${pick([range(0xfffffffe), part(0xffffffff)])}`)} ${maybe(() => `${not()}--rt-len ${number(0xffffffff)}`)}`,
  srh: () =>
    `-m srh ${maybe(() => `${not()}--srh-next-hdr ${number(255)}`)} ${['hdr-len', 'segs-left', 'last-entry'].map((field) => maybe(() => `${not()}--srh-${field}-${pick(['eq', 'gt', 'lt'])} ${number(255)}`)).join(' ')} ${maybe(() => `${not()}--srh-tag ${number(65535)}`)} ${['psid', 'nsid', 'lsid'].map((sid) => maybe(() => `${not()}--srh-${sid} ${address()}/${prefix()}`)).join(' ')}`,
  HL: () => `-j HL --hl-${pick(['inc', 'dec', 'set'])} ${1 + below(255)}`,
  SNPT: () => `-j SNPT --src-pfx ${address()}/${1 + below(128)} --dst-pfx ${address()}/${1 + below(128)}`,
  DNPT: () => `-j DNPT --src-pfx ${address()}/${1 + below(128)} --dst-pfx ${address()}/${1 + below(128)}`,
  CLASSIFY: () => `-j CLASSIFY --set-class ${below(65536).toString(16)}:${below(65536).toString(16)}`,
}

const words = (line: string): string[] => {
  const list: string[] = []
  splitWords(line, 0, list)
  return list
}

const NAT = ['DNAT', 'MASQUERADE', 'NETMAP', 'REDIRECT', 'SNAT']

test('every extension has a generator', () => {
  const names = [...matches, ...targets].map((e) => e.name).filter((name) => !NAT.includes(name))
  expect(Object.keys(rules).sort()).toEqual([...new Set(names)].sort())
})

const has = (name: string, of: Family): boolean =>
  [...matches, ...targets].some((e) => e.name === name && e.families.includes(of))

for (const of of [4, 6] as const)
  describe(`IPv${of}: parse(print(x)) = x, seed ${SEED}`, () => {
    for (const [name, generate] of Object.entries(rules).filter(([known]) => has(known, of)))
      test(name, () => {
        family = of
        for (let i = 0; i < ROUNDS; i++) {
          const line = generate()
          const rule = parseRule(words(line), of)
          const use = rule.target ?? rule.matches[0]!
          const extension = 'target' in use ? use.target : use.match
          expect(extension.name).toBe(name)
          const protocol = line.startsWith('-p') ? words(line).slice(0, 2).join(' ') : ''
          const flag = 'target' in use ? '-j' : '-m'
          const printed = `${protocol} ${flag} ${extension.name} ${extension.print(use.data, of)}`
          const again = parseRule(words(printed), of)
          expect((again.target ?? again.matches[0]!).data, `${line} -> ${printed}`).toEqual(use.data)
        }
      })
  })

describe('what emits the same is the same code but for its values', () => {
  const world = new World()
  const sets: Sets = Object.assign(Object.create(world.sets), { lookup: () => ({}) })
  for (const of of [4, 6] as const)
    for (const [name, generate] of Object.entries(rules).filter(([known]) => has(known, of)))
      test(`${name}, IPv${of}`, () => {
        family = of
        const js = makeJs({ ...world.env, sets }, of, new PatternTables(world.host.devices))
        const seen = new Map<string, { text: string; values: number; common: readonly object[] }>()
        for (let i = 0; i < ROUNDS; i++) {
          const { matches, target } = parseRule(words(generate()), of)
          js.begin([])
          const codes = matches.map(({ match, data }) => match.emit(data, js))
          if (target !== null) codes.push(target.target.emit(target.data, js))
          const text = js.text(js.lines(codes), false)
          const trail = js.trail.words.slice(0, js.trail.length).join(' ')
          const common = [...js.common()]
          const known = seen.get(trail) ?? { text, values: js.values().length, common }
          seen.set(trail, known)
          expect(text).toBe(known.text)
          expect(js.values()).toHaveLength(known.values)
          expect(common.every((object, at) => object === known.common[at])).toBe(true)
        }
      })
})

test('no text makes an extension throw anything but OptionError or PrintEnds', () => {
  const pieces = [
    '',
    '0',
    '-1',
    '1',
    ':',
    '/',
    ',',
    '-',
    '0x',
    '4294967296',
    'a',
    'tcp',
    'ALL',
    '!',
    ' ',
    '\n',
    'ü',
    '1.2.3.4',
    '65536',
    'mark',
    '%s',
  ]
  for (const extension of [...matches, ...targets])
    for (let i = 0; i < ROUNDS; i++) {
      const of = pick(extension.families)
      const options = new ParsedOptions(extension, of, pick([0, 6, 17]), below(4) === 0)
      try {
        for (const spec of extension.options) {
          if (below(2) === 0) continue
          const word = (): string => Array.from({ length: 1 + below(4) }, () => pick(pieces)).join('')
          options.add(
            spec,
            below(4) === 0,
            spec.arg === 'none' ? [] : [word(), ...(spec.arg === 'two' ? [word()] : [])],
          )
        }
        const data = extension.parse(options)
        extension.print(data, of)
        extension.list?.(data, below(2) === 0, of)
      } catch (error) {
        // One that cannot be printed is refused before it stands in a table.
        if (!(error instanceof PrintEnds)) expect(error, extension.name).toBeInstanceOf(OptionError)
      }
    }
})
