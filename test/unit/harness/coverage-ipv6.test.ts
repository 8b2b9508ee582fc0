// What the random scenarios try: every option of every extension that sees IPv6 packets (harness/coverage-tests.ts).
//
//     TUNWALL_SCENARIOS  how many at most; default 400, which try every extension. Every option needs some 2000

import { type Options, testCoverage } from '../../harness/coverage-tests.ts'

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 1000)

/** What iptables-save never prints, because another option says the same. */
const SAID_OTHERWISE: Options = {
  '-m cluster': ['--cluster-local-node', '! --cluster-local-node'],
  '-m connlimit': ['! --connlimit-upto', '! --connlimit-above'],
  '-m dccp': ['--source-port', '! --source-port', '--destination-port', '! --destination-port'],
  '-m dscp': ['--dscp-class', '! --dscp-class'],
  '-m hashlimit': ['! --hashlimit-upto', '! --hashlimit-above'],
  '-m multiport': ['--source-ports', '! --source-ports', '--destination-ports', '! --destination-ports'],
  '-m sctp': ['--source-port', '! --source-port', '--destination-port', '! --destination-port'],
  '-m set': ['--set', '! --set', '--update-counters', '--update-subcounters'],
  '-m tcp': [
    '--source-port',
    '! --source-port',
    '--destination-port',
    '! --destination-port',
    '--syn',
    '! --syn',
  ],
  '-m time': ['--localtz', '--utc', '! --monthdays', '! --weekdays'],
  '-m udp': ['--source-port', '! --source-port', '--destination-port', '! --destination-port'],
  '-j CONNMARK': ['--set-mark', '--and-mark', '--or-mark', '--xor-mark', '--mask'],
  '-j DSCP': ['--set-dscp-class'],
  '-j MARK': ['--set-mark', '--and-mark', '--or-mark', '--xor-mark'],
  '-j SET': ['add-set', 'del-set', 'map-set', 'exist', 'timeout', 'map-mark', 'map-prio', 'map-queue'].map(
    (flag) => `! --${flag}`,
  ),
  '-j TOS': ['--and-tos', '--or-tos', '--xor-tos'],
}

/** What needs something that no scenario has. */
const NOT_DRAWN: Options = {
  // A program pinned in the file system of BPF.
  '-m bpf': ['--object-pinned'],
  // Read, and never looked at.
  '-m frag': ['--fraglen', '! --fraglen'],
  '-m ipcomp': ['--compres'],
  // A timeout policy, which no tool of the scenario makes.
  '-j CT': ['--timeout'],
}

/** What has one answer on a host of TUN devices without sockets, IPsec and fingerprints of systems; and why. */
const ONE_ANSWER: readonly RegExp[] = [
  /^-m (comment|eui64|mac|osf|physdev|policy|socket)\b/,
  // Only processors that no machine has are drawn.
  /^-m cpu/,
  // Packets of the host itself belong to no group, user or file.
  /^-m (cgroup|owner) (! )?--(path|uid-owner|gid-owner|suppl-groups)$/,
  // The first always fits.
  /^-m recent (! )?--set$/,
  // All types.
  /^-m mh$/,
]

testCoverage({
  family: 6,
  seed: 920_000,
  profiles: ['v6-extensions', 'v6-extensions', 'v6-nat', 'v6-fragments', 'v6-extensions', 'v6-sets'],
  scenarios: SCENARIOS,
  saidOtherwise: SAID_OTHERWISE,
  notDrawn: NOT_DRAWN,
  oneAnswer: ONE_ANSWER,
  each: SCENARIOS > 1000 ? 'option' : 'extension',
})
