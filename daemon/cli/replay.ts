// tunwall replay: a capture through an emulated host, in capture time.

import type { Command } from 'commander'
import { CommandError, ExitCode } from '../errors.ts'
import { replay } from '../replay.ts'

interface ReplayWords {
  readonly host: string
  readonly in: string
  readonly out: string
  readonly iface?: string
  readonly after?: string
  readonly report?: string
  readonly nflog?: string
  readonly filter?: string
  readonly seed: string
}

export function addReplay(program: Command): void {
  program
    .command('replay')
    .description('send a capture through the host that a folder describes, and write what leaves it')
    .requiredOption('--host <dir>', 'the host folder')
    .requiredOption(
      '--in <file>',
      'pcapng or pcap, - for standard input: what arrives; if_name names the interface',
    )
    .requiredOption('--out <file>', 'pcapng, - for standard output: what leaves, by interface')
    .option('--iface <name>', 'the interface on which frames arrive, where the capture names none')
    .option('--after <dir>', 'write iptables-save, ip6tables-save, conntrack and ipset-save there at the end')
    .option('--report <file>', 'one line of JSON for each packet: what became of it and why')
    .option('--nflog <dir>', 'write the packets of NFLOG there, a pcap for each group')
    .option('--filter <expr>', 'only packets that tcpdump would show for it (needs libpcap)')
    .option('--seed <number>', 'seed of the random numbers', '1')
    .action((words: ReplayWords) => {
      const seed = Number(words.seed)
      if (!/^\d+$/.test(words.seed) || !Number.isSafeInteger(seed))
        throw new CommandError(
          `--seed ${words.seed}: expected a whole number from 0 to 2^53 - 1`,
          ExitCode.Unusable,
        )
      const { packets, fates } = replay({
        host: words.host,
        input: words.in,
        output: words.out,
        iface: words.iface ?? null,
        after: words.after ?? null,
        report: words.report ?? null,
        nflog: words.nflog ?? null,
        filter: words.filter ?? null,
        progress: process.stderr.isTTY === true,
        seed,
      })
      const parts = Object.entries(fates).map(([fate, count]) => `${count} ${fate}`)
      const out = words.out === '-' ? process.stderr : process.stdout
      out.write(`${packets} packets${parts.length > 0 ? `: ${parts.join(', ')}` : ''}\n`)
    })
}
