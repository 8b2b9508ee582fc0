// --filter: which frames of a capture are played, in the words of tcpdump (pcap-filter(7)). libpcap compiles them,
// where it is installed; the program that comes out runs here.

import { type NativeFilter, nativeFilter } from '../../datapath/native/index.ts'
import { LinkType } from '../../datapath/ports/pcap.ts'
import {
  compileForFrames,
  type FrameFilter,
  type Instruction,
  verify,
} from '../../rules/matches/bpf-program.ts'
import { CommandError, ExitCode, PlaceError } from '../errors.ts'
import type { FrameSource } from './player.ts'

/** libpcap's number (DLT_*) of a link type, where it is another. */
const DLT: Readonly<Record<number, number>> = { [LinkType.Raw]: 12 }

/** What libpcap says of a filter that no frame of the link type can pass. */
const REJECTS_ALL = 'expression rejects all packets'

export class CaptureFilter {
  readonly #text: string
  readonly #native: NativeFilter
  /** By link type. */
  readonly #programs = new Map<number, FrameFilter>()
  /** By number of the capture's interface. */
  readonly #byInterface: FrameFilter[] = []

  /** Throws CommandError without libpcap, PlaceError for what no frame of any kind could be asked. */
  constructor(text: string, native: NativeFilter = loadNative()) {
    this.#text = text
    this.#native = native
    // A mistake is told before the first packet. What only some links have (`ether host`) is none yet.
    const raw = this.#compile(LinkType.Raw)
    if (typeof raw === 'string' && typeof this.#compile(LinkType.Ethernet) === 'string')
      throw this.#mistake(raw)
  }

  /** Hot: whether the source's frame is to be played. */
  passes(source: FrameSource): boolean {
    const program = this.#byInterface[source.interface] ?? this.#program(source)
    return program(source.view, source.at, source.at + source.length, source.originalLength)
  }

  #program(source: FrameSource): FrameFilter {
    const { linkType } = source.interfaces[source.interface]!
    let program = this.#programs.get(linkType)
    if (program === undefined) {
      const compiled = this.#compile(linkType)
      // Of one link no frame can pass (`arp` of RAW): others may have some.
      if (typeof compiled === 'string' && compiled !== REJECTS_ALL) throw this.#mistake(compiled)
      program = typeof compiled === 'string' ? () => false : compileForFrames(compiled)
      this.#programs.set(linkType, program)
    }
    this.#byInterface[source.interface] = program
    return program
  }

  #compile(linkType: number, text = this.#text): readonly Instruction[] | string {
    const words = this.#native.compile(text, DLT[linkType] ?? linkType)
    if (words === null)
      throw new CommandError(
        '--filter: libpcap is not installed (Debian package libpcap0.8)',
        ExitCode.Unusable,
      )
    if (typeof words === 'string') return words
    const program: Instruction[] = []
    for (let i = 0; i < words.length; i += 4)
      program.push({ code: words[i]!, jt: words[i + 1]!, jf: words[i + 2]!, k: words[i + 3]! })
    return verify(program) ? program : 'libpcap made a program that the kernel would refuse'
  }

  /** libpcap does not say where: behind the longest beginning that it takes. */
  #mistake(reason: string): PlaceError {
    let column = 1
    for (const { index } of this.#text.matchAll(/\s+(?=\S)/g)) {
      const beginning = this.#text.slice(0, index)
      if (typeof this.#compile(LinkType.Ethernet, beginning) !== 'string')
        column = index + /^\s*/.exec(this.#text.slice(index))![0].length + 1
    }
    return new PlaceError(`"${this.#text}": ${reason.replace(/^can't parse filter expression: /, '')}`, {
      file: '--filter',
      line: 1,
      column,
    })
  }
}

function loadNative(): NativeFilter {
  try {
    return nativeFilter()
  } catch (error) {
    throw new CommandError(`--filter: ${(error as Error).message}`, ExitCode.Unusable)
  }
}
