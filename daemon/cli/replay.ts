// tunwall replay: a capture through an emulated host, in capture time.

import type { Command } from 'commander'
import { CommandError, ExitCode } from '../errors.ts'
import { printSummary } from '../replay/summary.ts'
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
  readonly summary?: boolean
  readonly trace?: string
  readonly comments?: boolean
  readonly annotated?: string
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
    .option('--trace <file>', 'one line of JSON for each packet: every step it took, as explain has it')
    .option('--comments', 'notes beside the frames of --out: verdict, rule, NAT, reason; for Wireshark')
    .option('--annotated <file>', 'pcapng: what came in and what left, side by side, with such notes')
    .option('--nflog <dir>', 'write the packets of NFLOG there, a pcap for each group')
    .option('--filter <expr>', 'only packets that tcpdump would show for it (needs libpcap)')
    .option(
      '--summary',
      'packets and bytes by verdict and deciding rule, to standard error (default on a terminal)',
    )
    .option('--no-summary', 'without it, also on a terminal: fastest')
    .option('--seed <number>', 'seed of the random numbers', '1')
    .action((words: ReplayWords) => {
      const seed = Number(words.seed)
      if (!/^\d+$/.test(words.seed) || !Number.isSafeInteger(seed))
        throw new CommandError(
          `--seed ${words.seed}: expected a whole number from 0 to 2^53 - 1`,
          ExitCode.Unusable,
        )
      const terminal = process.stderr.isTTY === true
      const { packets, fates, rows } = replay({
        host: words.host,
        input: words.in,
        output: words.out,
        iface: words.iface ?? null,
        after: words.after ?? null,
        report: words.report ?? null,
        nflog: words.nflog ?? null,
        trace: words.trace ?? null,
        comments: words.comments ?? false,
        annotated: words.annotated ?? null,
        filter: words.filter ?? null,
        progress: terminal,
        summary: words.summary ?? terminal,
        seed,
      })
      const parts = Object.entries(fates).map(([fate, count]) => `${count} ${fate}`)
      if (rows !== null)
        process.stderr.write(printSummary(rows, terminal && process.env.NO_COLOR === undefined))
      // Standard output may be one of the files.
      const files = [words.out, words.trace, words.report, words.annotated]
      const out = files.includes('-') ? process.stderr : process.stdout
      out.write(`${packets} packets${parts.length > 0 ? `: ${parts.join(', ')}` : ''}\n`)
    })
}
