// Lines of iptables spelled in unusual ways, one after the other, and rules that -C is asked for though others are there,
// against the real tools.

import { describe, expect, test } from 'vitest'
import { shellWords } from '../extensions/rule.ts'
import { type Call, whyNot } from '../harness/commands.ts'
import { compare } from '../harness/commands-compare.ts'

/** Values glued to options that take the last word for theirs; letters and options that nobody knows. */
const LINES = `
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
ip6tables -A INPUT -j ULOG
iptables-restore -W 5
iptables-restore -w -W 5
iptables-restore -w 0 -W 5
iptables-restore -W 5 /nope
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
    expect(compare([...LINES, ...PATTERNS].map(callOf).concat(files))).toBeNull()
  })

  test('ip6tables -C of addresses and ports', () => {
    expect(compare(CHECKED6.map(callOf))).toBeNull()
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
