// Lines of iptables spelled in unusual ways, one after the other, and rules that -C is asked for though others are there,
// against the real tools.

import { describe, expect, test } from 'vitest'
import { shellWords } from '../extensions/rule.ts'
import { type Call, whyNot } from '../harness/commands.ts'
import { compare } from '../harness/commands-compare.ts'

/** Values glued to options that take the last word for theirs; letters and options that nobody knows. */
const LINES = `
iptables -A INPUT -m ttl --ttl-lt 2 --ttl-eq 2 --ttl-gt 3
iptables -A INPUT -m ttl --ttl-gt 2 --ttl-eq 2 --ttl-lt 3
iptables -A INPUT -m ttl --ttl-eq 2 --ttl-gt 2 --ttl-lt 3
ip6tables -A INPUT -m hl --hl-lt 2 --hl-eq 2 --hl-gt 3
ip6tables -A INPUT -m hl --hl-gt 2 --hl-lt 2 --hl-eq 3
iptables -t raw -A OUTPUT -j CT --zone 1
iptables -t raw -D OUTPUT -j CT --zone-orig 1 --zone-reply 1
iptables -t raw -A OUTPUT -j CT --zone-orig 1 --zone-reply 1
iptables -t raw -L
iptables -t raw -S
iptables -t raw -D OUTPUT -j CT --zone-orig 1 --zone-reply 1
ip6tables -A INPUT -m frag --fragid 0:4294967295
ip6tables -C INPUT -m frag
ip6tables -D INPUT -m frag
ip6tables -F
ip6tables -A INPUT -m frag
ip6tables -D INPUT -m frag --fragid 0:4294967295
ip6tables -F
ip6tables -A INPUT -m rt --rt-segsleft 0:4294967295
ip6tables -D INPUT -m rt
ip6tables -F
ip6tables -A INPUT -m rt
ip6tables -D INPUT -m rt --rt-segsleft 0:4294967295
ip6tables -F
ip6tables -A OUTPUT -m policy --dir out --pol none --reqid 5
ip6tables -D OUTPUT -m policy --dir out --pol none
ip6tables -S
ip6tables -L
ip6tables -D OUTPUT -m policy --dir out --pol none --reqid 5
iptables -A OUTPUT -m policy --dir out --pol none --reqid 5
iptables -D OUTPUT -m policy --dir out --pol none
iptables -L
ip6tables -C FORWARD -p esp -m esp --espspi 5: --es
ip6tables -C FORWARD -p esp -m esp --es
ip6tables -C FORWARD -p tcp -m tcp --dpo
ip6tables -C FORWARD -p udp -m udp --dport 5 --dpo
ip6tables -C FORWARD -p sctp -m sctp --spo
ip6tables -C FORWARD -p mh -m mh --mh
ip6tables -C FORWARD -p ipv6-icmp -m icmp6 --icm
ip6tables -C FORWARD -p dccp -m dccp --dpo
ip6tables -C FORWARD -p ipcomp -m ipcomp --ipc
iptables -C FORWARD -p ah -m ah --ahs
iptables -C FORWARD -p icmp -m icmp --icm
iptables -C FORWARD -p tcp -m tcp --dpo
ip6tables -A FORWARD -m string --algo nosuch --hex-string '|'
ip6tables -A FORWARD -m string --algo nosuch --string a
iptables -A FORWARD -jACCEPT
iptables -A FORWARD --jump=ACCEPT
ip6tables -A FORWARD -jLOG
iptables -A FORWARD -s1.2.3.4
iptables -A FORWARD --source=1.2.3.4
iptables -A FORWARD -d10.0.0.0/8
iptables -A FORWARD -ptcp
iptables -A FORWARD -pTCP
ip6tables -A FORWARD --protocol=tcp
iptables -A FORWARD --proto=6
iptables -A FORWARD -ieth0
iptables -A FORWARD --in-interface=eth0
iptables -A FORWARD --in-interface=
iptables -A FORWARD -iaverylongnamefor
iptables -A FORWARD -otun0
iptables -N a
iptables -A FORWARD -ga
iptables -A FORWARD --goto=a
iptables -A FORWARD -mtcp
iptables -A FORWARD -p udp --match=udp --dport=53
iptables -A FORWARD -c5,6
iptables -A FORWARD ! -averylongnamefor
ip6tables -A FORWARD -lo
iptables -A FORWARD -l
iptables -ql
iptables -A FORWARD -nqn
iptables -A FORWARD -p tcp -qlm
iptables -A FORWARD -p tcp -nq
iptables -A FORWARD -p tcp -nj
iptables -A FORWARD -p tcp -qv
iptables -A FORWARD -p tcp -qj ACCEPT
ip6tables -A FORWARD -p tcp -qf
iptables -A INPUT -p +6 --tcp-flags SYN SYN
iptables -v -A INPUT ! -p mptcp -j ACCEPT
iptables -L INPUT
iptables -L INPUT -n -v
ip6tables -A INPUT -p ' 17' --dport 53
ip6tables -A INPUT -p 0x3a --icmpv6-type 128
iptables -p 006 -h
iptables -A FORWARD -p udp --destina
iptables -A FORWARD -p udp ! --sou
iptables -A FORWARD -p udp --source
iptables -A FORWARD -p tcp --so=
iptables -A FORWARD -p tcp --syn=1
iptables -A FORWARD -p tcp --fragment=1
ip6tables -A FORWARD -p sctp -j REJECT --sour
iptables -A FORWARD -p tcp --sour 1.2.3.4 --sour
iptables -A FORWARD -p tcp --sport 5 --sour
iptables -A INPUT -m cgroup --path '' -j ACCEPT
iptables -nL INPUT
iptables -A INPUT -m cgroup ! --path '' -j ACCEPT
iptables -nL INPUT
iptables -A INPUT -j ULOG
iptables -A INPUT -j ULOG --ulog-nlgroup 0
iptables -A INPUT -j ULOG --ulog-cprange x
iptables -A INPUT -j ULOG --ulog-qthreshold 51
iptables -A INPUT -j ULOG --ulog-nlgroup 5 --ulog-prefix x
iptables -A INPUT -j ULOG -h
iptables -v -A INPUT -j ULOG
iptables -v -R INPUT 1 -j ULOG --ulog-cprange 99999999999
iptables -v -A INPUT -p tcp -j ULOG --ulog-prefix abcdefghijklmnopqrstuvwxyz0123456789 --ulog-qthreshold 5 --ulog-nlgroup 32
iptables -v -C INPUT -j ULOG --ulog-prefix a"b
ip6tables -A INPUT -j ULOG
iptables-restore -W 5
iptables-restore -w -W 5
iptables-restore -w 0 -W 5
iptables-restore -W 5 /nope
iptables-restore -w 5 -W 99999999999999999999
iptables -W 999999999999999999999999999999 -L
iptables -W 4294967297 -L
iptables -w -W -99999999999999999999 -L
iptables -A INPUT -c 18446744073709551615 -1 -j ACCEPT
iptables -nvL INPUT
iptables -nvxL INPUT
iptables -vS INPUT
`
  .trim()
  .split('\n')

/** Patterns of 127 to 129 bytes: whatever stands behind the 128th is too much, the bar that ends a hex block too. */
const PATTERNS = [127, 128, 129].flatMap((length) => {
  const text = 'x'.repeat(length - 1)
  return [`'${text}x'`, `'${text}|61|'`, `'${text}|61'`, `'|61|${text}'`, `'${text}\\x'`].map(
    (pattern) => `iptables -A INPUT -m string --algo bm --hex-string ${pattern} -j ACCEPT`,
  )
})

/** A rule that is there, and one that is asked for. ip6tables sees no difference between many (rules/check-mask.ts). */
const CHECKED = `
-p tcp -m tcp --dport 22 -j ACCEPT | -p tcp -m tcp --dport 80 -j ACCEPT
-p tcp -m tcp --dport 22 -j ACCEPT | -p tcp -m tcp --dport 22 -j DROP
-p udp -m udp --dport 22 -j ACCEPT | -p udp -j ACCEPT
-m comment --comment a -j ACCEPT | -m comment --comment b -j ACCEPT
-m comment --comment a -p tcp -m tcp --dport 22 -j a | -m comment --comment a -p tcp -m tcp --dport 80 -j a
-p tcp -m tcp --dport 22 -m comment --comment a -j a | -p tcp -m tcp --dport 80 -m comment --comment a -j a
-m conntrack --ctstate NEW -j ACCEPT | -m conntrack --ctstate INVALID -j ACCEPT
-m conntrack --ctorigsrc fd00::1 -j ACCEPT | -m conntrack --ctorigsrc fd00::2 -j ACCEPT
-m conntrack --ctreplsrc fd00::1 -j ACCEPT | -m conntrack --ctreplsrc fd00::2 -j ACCEPT
-m conntrack --ctstate NEW -m comment --comment a -j ACCEPT | -m conntrack --ctstate INVALID -m comment --comment a -j ACCEPT
-m limit --limit 1/s -m comment --comment a | -m limit --limit 2/s -m comment --comment a
-m hashlimit --hashlimit-upto 5/s --hashlimit-name a | -m hashlimit --hashlimit-upto 6/s --hashlimit-name a
-m hashlimit --hashlimit-upto 5/s --hashlimit-name a | -m hashlimit --hashlimit-upto 5/s --hashlimit-name b
-m recent --set --name a | -m recent --set --name b
-m recent --set --name a | -m recent --set --name a --rdest
-m recent --rcheck --name a --seconds 5 | -m recent --rcheck --name a --seconds 6
-m string --string abc --algo bm | -m string --string abd --algo bm
-j LOG --log-prefix a | -j LOG --log-prefix b
-p tcp -j REJECT | -p tcp -j REJECT --reject-with tcp-reset
-s fd00::1 | -s fd00::2
`
  .trim()
  .split('\n')
  .map((line) => line.split(' | ') as [string, string])

/** Rules of ip6tables with addresses and ports in their data, and what -C takes for them. */
const CHECKED6 = `
ip6tables -N f
ip6tables -I INPUT -p tcp -m multiport --dports 22 -j f
ip6tables -C INPUT -p tcp -m multiport --dports 256 -j f
ip6tables -C INPUT -p tcp -m multiport --dports 22 -j f
ip6tables -C INPUT -p tcp -m multiport --dports 23 -j f
ip6tables -w -C INPUT -p tcp -m multiport --dports 23 -j f
ip6tables -C INPUT -p tcp -m multiport --dports 23,24 -j f
ip6tables -C INPUT -p tcp -m multiport --sports 23,24 -j f
ip6tables -C INPUT -p tcp -m multiport ! --sports 23,24 -j f
ip6tables -A INPUT -m mac --mac-source 00:11:22:33:44:55 -j f
ip6tables -C INPUT -m mac --mac-source 00:11:22:33:44:56 -j f
ip6tables -C INPUT -m mac ! --mac-source 00:11:22:33:44:55 -j f
ip6tables -C INPUT -m mac --mac-source 00:11:22:33:44:56 -j ACCEPT
ip6tables -A INPUT -m iprange --src-range ::1-::5 -j f
ip6tables -C INPUT -m iprange --src-range ::1-::6 -j f
ip6tables -C INPUT -m iprange --dst-range ::1-::6 -j f
ip6tables -C INPUT -m iprange ! --src-range ::1-::5 -j f
ip6tables -C INPUT -m iprange --src-range 2001:db8::1-2001:db8::5 -j f
ip6tables -A INPUT -p tcp -m multiport --ports 1:5,7 -m comment --comment a -j ACCEPT
ip6tables -C INPUT -p tcp -m multiport --ports 1:5,8 -m comment --comment a -j ACCEPT
ip6tables -C INPUT -p tcp -m multiport --ports 1,5,8 -m comment --comment b -j ACCEPT
ip6tables -C INPUT -p tcp -m multiport ! --ports 1,5,8 -m comment --comment b -j ACCEPT
ip6tables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination [2001:db8::1]:80
ip6tables -t nat -C PREROUTING -p tcp --dport 80 -j DNAT --to-destination [2001:db8::1]:81
ip6tables -t nat -C PREROUTING -p tcp --dport 80 -j DNAT --to-destination [2001:db8::2]:80
ip6tables -t nat -C PREROUTING -p tcp --dport 80 -j DNAT --to-destination 2001:db8::1
ip6tables -t nat -C PREROUTING -p tcp --dport 81 -j DNAT --to-destination [2001:db8::1]:80
ip6tables -t nat -C PREROUTING -p tcp --dport 80 -j DNAT --to-destination [2001:db8::1]:80 --random
ip6tables -t nat -A POSTROUTING -j SNAT --to-source 2001:db8::1
ip6tables -t nat -C POSTROUTING -j SNAT --to-source 2001:db8::2
ip6tables -t nat -C POSTROUTING -j SNAT --to-source 2001:db8::1 --persistent
ip6tables -t nat -C POSTROUTING -j SNAT --to-source 2001:db8::1-2001:db8::5
ip6tables -t nat -A POSTROUTING -o t0 -s fd00::/8 -j MASQUERADE
ip6tables -t nat -C POSTROUTING -o t0 -s fd00::/8 -j MASQUERADE --random
ip6tables -t nat -C POSTROUTING -o t0 -s fd00::/8 -p tcp -j MASQUERADE --to-ports 80
ip6tables -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 80
ip6tables -t nat -C PREROUTING -p tcp -j REDIRECT --to-ports 81
ip6tables -t nat -C PREROUTING -p tcp -j REDIRECT
ip6tables -t nat -A PREROUTING -d 2001:db8:7::/64 -j NETMAP --to fd00:7::/64
ip6tables -t nat -C PREROUTING -d 2001:db8:7::/64 -j NETMAP --to fd00:8::/64
ip6tables -t nat -A PREROUTING -p tcp -m multiport --dports 80,443 -j DNAT --to-destination [2001:db8::1]:80
ip6tables -t nat -C PREROUTING -p tcp -m multiport --dports 80,444 -j DNAT --to-destination [2001:db8::1]:81
ip6tables -t nat -C PREROUTING -p tcp -m multiport --dports 80 -j DNAT --to-destination [2001:db8::3]:80
ip6tables -t nat -C PREROUTING -p tcp -m multiport --sports 80,443 -m comment --comment x -j DNAT --to-destination [2001:db8::1]:80
`
  .trim()
  .split('\n')

/** A rule of ip6tables with every extension that has data, and another one: -C takes it for the same or not by the rule's length
 * and addresses. ~: a blank. */
const CHECKED6_DATA = `
-m ah --ahspi 1:5 --ahlen 3 | -m ah ! --ahspi 2:9 --ahres
-m esp --espspi 1:5 | -m esp ! --espspi 4:260
-m frag --fragid 1:5 --fraglen 3 --fragfirst | -m frag --fragid 1:9 --fragmore --fragres
-m ipcomp --ipcompspi 1:5 | -m ipcomp ! --ipcompspi 9 --compres
-m hbh --hbh-len 8 --hbh-opts 1:2,3 | -m hbh ! --hbh-len 9 --hbh-opts 1:3
-m dst --dst-opts 1:2,3 | -m dst --dst-len 3 --dst-opts 5:2,4,6
-m rt --rt-type 0 --rt-segsleft 1:5 --rt-0-addrs ::1,::2 | -m rt --rt-type 0 ! --rt-segsleft 1:6 --rt-0-addrs ::1,::3 --rt-0-not-strict
-m srh --srh-next-hdr 6 --srh-tag 5 --srh-psid 2001:db8::/32 | -m srh --srh-hdr-len-eq 3 ! --srh-tag 6 --srh-nsid 2001:db8::/32
-m mh --mh-type 1:5 | -m mh ! --mh-type 2
-m ipv6header --header hop,dst | -m ipv6header ! --header esp --soft
-m cluster --cluster-total-nodes 4 --cluster-local-node 1 --cluster-hash-seed 7 | -m cluster --cluster-total-nodes 5 ! --cluster-local-node 2 --cluster-hash-seed 8
-m connbytes --connbytes 1:9 --connbytes-dir both --connbytes-mode bytes | -m connbytes ! --connbytes 1:8 --connbytes-dir reply --connbytes-mode packets
-m connlimit --connlimit-above 3 --connlimit-mask 64 | -m connlimit --connlimit-upto 4 --connlimit-mask 60 --connlimit-daddr
-m connmark --mark 1/3 | -m connmark ! --mark 257/7
-m devgroup --src-group 1 | -m devgroup ! --dst-group 2/3
-m helper --helper ftp | -m helper ! --helper sip
-m owner --uid-owner 5-9 | -m owner ! --gid-owner 6 --suppl-groups
-m physdev --physdev-in t0 --physdev-is-bridged | -m physdev --physdev-out lo ! --physdev-is-in
-m policy --dir out --pol ipsec --strict --reqid 5 --spi 0x100 --next --proto esp --mode tunnel --tunnel-src fd00::/64 | -m policy --dir out --pol ipsec --strict --reqid 6 ! --spi 0x200 --next --proto ah --mode tunnel --tunnel-dst fd00::/64
-m quota --quota 1000 | -m quota ! --quota 1001
-m statistic --mode random --probability 0.5 | -m statistic --mode nth --every 5 --packet 2
-m time --timestart 08:00 --weekdays Mon | -m time --timestop 09:00 --monthdays 5 --kerneltz
-m u32 --u32 0&0xFF=1 | -m u32 ! --u32 4>>22&0x3C@8=1:5,9&&0=2
-m u32 --u32 0=1&&4=2&&8=3 | -m u32 --u32 0=1&&4=2&&8=4
-m addrtype --src-type LOCAL | -m addrtype ! --dst-type UNICAST
-m connlabel --label 5 | -m connlabel ! --label 6 --set
-m cpu --cpu 0 | -m cpu ! --cpu 256
-m dscp --dscp 1 | -m dscp ! --dscp 0x2e
-m ecn --ecn-ip-ect 1 | -m ecn ! --ecn-ip-ect 2
-m hl --hl-eq 5 | -m hl --hl-gt 6
-m length --length 5:9 | -m length ! --length 5:300
-m pkttype --pkt-type multicast | -m pkttype ! --pkt-type unicast
-m socket --transparent | -m socket --nowildcard --restore-skmark
-m tos --tos 1/2 | -m tos ! --tos 0x10/0x3f
-m recent --name a --set | -m recent --name b --rcheck --seconds 5 --hitcount 2 --rttl --rdest
-m string --algo bm --string GET | -m string --algo kmp ! --string POSTS --icase --from 5
-m bpf --bytecode 1,6~0~0~1 | -m bpf --bytecode 2,48~0~0~9,6~0~0~1
-p sctp -m sctp --sport 5 --chunk-types any DATA:BE | -p sctp -m sctp ! --sport 6 --chunk-types all INIT,ABORT:T
-p dccp -m dccp --dport 5 --dccp-types DATA | -p dccp -m dccp ! --sport 5 --dccp-types ACK --dccp-option 3
-p tcp -m tcpmss --mss 5:9 | -p tcp -m tcpmss ! --mss 5:10
-p tcp -m tcp --sport 5 | -p tcp -m tcp ! --sport 5 --tcp-flags SYN,ACK SYN
-p udp -m udp --sport 5 | -p udp -m udp ! --dport 6
-j NFLOG --nflog-group 5 --nflog-prefix a | -j NFLOG --nflog-size 9 --nflog-prefix bc --nflog-threshold 3
-j NFQUEUE --queue-num 5 | -j NFQUEUE --queue-balance 1:3 --queue-bypass
-j REJECT --reject-with no-route | -j REJECT --reject-with addr-unreach
-j AUDIT --type accept | -j AUDIT --type drop
-j RATEEST --rateest-name a --rateest-interval 250ms --rateest-ewmalog 0.5s | -j RATEEST --rateest-name b --rateest-interval 500ms --rateest-ewmalog 1s
-j IDLETIMER --timeout 30 --label a | -j IDLETIMER --timeout 31 --label b
-t mangle -j HL --hl-set 5 | -t mangle -j HL --hl-inc 6
-t mangle -j TOS --set-tos 1/2 | -t mangle -j TOS --set-tos 0x10/0x3f
-t mangle -j DSCP --set-dscp 1 | -t mangle -j DSCP --set-dscp 5
-t mangle -j CLASSIFY --set-class 1:2 | -t mangle -j CLASSIFY --set-class 3:4
-t mangle -j CONNMARK --set-mark 1/3 | -t mangle -j CONNMARK --save-mark --mask 5
-t mangle -j HMARK --hmark-tuple src,dport --hmark-mod 5 --hmark-rnd 7 | -t mangle -j HMARK --hmark-src-prefix 64 --hmark-sport 5 --hmark-mod 6 --hmark-rnd 8 --hmark-offset 9
-t mangle -j TEE --gateway fd00::1 | -t mangle -j TEE --gateway fd00::2 --oif t0
-t mangle -p tcp -j TCPOPTSTRIP --strip-options mss | -t mangle -p tcp -j TCPOPTSTRIP --strip-options wscale,40
-t mangle -p tcp --syn -j TCPMSS --set-mss 1460 | -t mangle -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu
-t raw -j CT --zone 5 --helper ftp -p tcp | -t raw -j CT --zone-orig 6 --ctevents new -p tcp
-t raw -j CT --notrack | -t raw -j NOTRACK
`
  .trim()
  .split('\n')
  .map((line) => line.split(' | ') as [string, string])

/** What the last bytes of a rule are compared under, next to nothing up to everything. Targets are asked for behind the first
 * two: malloc() finds other memory for the mask of some lengths, with other bytes behind it, which check-mask.ts does not know. */
const BEFORE = [
  '',
  '-s fd00:1:2:3:4:5:6:7 -d 2001:db8::/100',
  '-s ffff:ffff:ffff::/40 -m mark --mark 0xffffffff',
]
const BEHIND = ['', '-m comment --comment x', '-m length --length 5:9']

const callOf = (line: string): Call => {
  const [tool, ...argv] = shellWords(line)
  return { tool: tool as Call['tool'], argv, stdin: '' }
}

const reason = whyNot()
if (reason !== null)
  console.warn(`NOT RUN: odd spellings of iptables are not compared with the real one: ${reason}`)
describe.skipIf(reason !== null)('spellings of iptables', () => {
  test('are read as the real one reads them', () => {
    const ulog = '*filter\n-A INPUT -j ULOG\n-A INPUT -j ULOG\nCOMMIT\n'
    const glued = '*filter\n-A INPUT -p tcp -jACCEPT\nCOMMIT\n'
    const unknown = '*filter\n[1:2] -ql -A INPUT\nCOMMIT\n'
    const tabbed = '*filter\n[18446744073709551615:2] -A INPUT\t-j\tACCEPT\n-A "INPUT"\t\nCOMMIT\n'
    const inputs = [ulog, glued, unknown, unknown.replace('[1:2] ', ''), tabbed]
    const files: Call[] = inputs.map((stdin) => ({
      tool: 'iptables-restore',
      argv: ['-c'],
      stdin,
    }))
    // Lines of the other family do nothing, but count for -vv as far as they are read.
    const others =
      '*filter\n-A INPUT -6 -j ACCEPT\n-6 -A NOPE -j ACCEPT\n-A INPUT -4 -j ACCEPT\n-A INPUT -p tcp -6 --dport\n-vv -N x -4\n-vv -N y -6\n-N z\n-A z -j DROP\n-F z -6\n-E z v -6\n-P INPUT DROP -6\n-A INPUT -j DROP\n-D INPUT 1 -6\n-D INPUT -j DROP -6\n-C INPUT -j DROP -6\n-S -6\n-L INPUT -n -4\n-X v -6\n-X v -4\nCOMMIT\n'
    for (const tool of ['iptables-restore', 'ip6tables-restore'] as const)
      for (const argv of [[], ['-v'], ['-vv'], ['-n', '-vv']]) files.push({ tool, argv, stdin: others })
    expect(compare([...LINES, ...PATTERNS].map(callOf).concat(files))).toBeNull()
  })

  test('ip6tables -C of addresses and ports', () => {
    expect(compare(CHECKED6.map(callOf))).toBeNull()
  })

  test('ip6tables -C of data', () => {
    const calls = CHECKED6_DATA.flatMap(([there, asked]) =>
      (there.includes('-j') ? BEFORE.slice(0, 2) : BEFORE).flatMap((before) =>
        (there.includes('-j') ? BEHIND.slice(0, 2) : BEHIND).flatMap((behind) => {
          const [, table = 'filter'] = /^-t (\w+)/.exec(there) ?? []
          const call = (...words: string[]): Call => ({
            tool: 'ip6tables',
            argv: words
              .flatMap((text) => text.replace(/^-t \w+ /, '').split(' '))
              .filter((word) => word !== '')
              .map((word) => word.replaceAll('~', ' ')),
            stdin: '',
          })
          return [
            call('-t', table, '-A OUTPUT', before, there, behind),
            call('-t', table, '-C OUTPUT', before, asked, behind),
            call('-t', table, '-F'),
          ]
        }),
      ),
    )
    expect(compare(calls)).toBeNull()
  })

  test.each(['iptables', 'ip6tables'])('%s -C of a rule like one that is there', (tool) => {
    const lines = CHECKED.flatMap(([there, asked]) => [
      `${tool} -A INPUT ${there}`,
      `${tool} -C INPUT ${asked}`,
      `${tool} -D INPUT ${asked}`,
      `${tool} -C INPUT ${there}`,
      `${tool} -F INPUT`,
    ])
    const own = tool === 'iptables' ? lines.map((line) => line.replaceAll(/fd00::(\d)/g, '10.0.0.$1')) : lines
    expect(compare([`${tool} -N a`, ...own].map(callOf))).toBeNull()
  })
})
