// iptables-xml 1.8.9: rules files as XML. It knows no tables, and asks the host nothing.

import { VERSION } from '../../rules/text/command-model.ts'
import { XmlFailed, XmlWriter } from '../../rules/text/xml.ts'
import { getopt, type LongOption } from './getopt.ts'
import { failure, Output, type ToolIo, type ToolOutput } from './iptables-common.ts'
import { reasonOf } from './iptables-save.ts'

const LONG: readonly LongOption[] = [
  { name: 'verbose', letter: 'v', argument: 'none' },
  { name: 'combine', letter: 'c', argument: 'none' },
  { name: 'help', letter: 'h', argument: 'none' },
]

const USAGE = `Usage: iptables-xml [-c] [-v] [-h]
          [--combine ]
	   [ --verbose ]
	   [ --help ]
`

const parse = (argv: readonly string[]) => getopt(argv, 'cvh', LONG, 'iptables-xml', '', true)

/** Whether standard input is read. */
export function xmlReadsInput(argv: readonly string[]): boolean {
  const { options, rest } = parse(argv)
  return rest.length === 0 && !options.some(({ letter }) => letter === 'h')
}

/** `argv` without the program's name. */
export function runIptablesXml(argv: readonly string[], io: ToolIo): ToolOutput {
  const output = new Output(null)
  const end = (code: number, stderr: string): ToolOutput => {
    output.err(stderr)
    return output.finish(code)
  }
  const { options, rest } = parse(argv)
  let combine = false
  let verbose = false
  for (const { letter, value } of options) {
    if (letter === '?') output.err(value!)
    else if (letter === 'c') combine = true
    else if (letter === 'v') {
      verbose = true
      output.out('xptables-xml\n')
    } else return end(1, USAGE)
  }
  if (rest.length > 1) return end(1, 'Unknown arguments found on commandline')
  const [path] = rest
  let text: string
  try {
    text = path === undefined ? io.stdin() : io.readFile(path)
  } catch (failed) {
    return end(1, `Can't open ${path ?? 'standard input'}: ${reasonOf(failed)}`)
  }
  const writer = new XmlWriter({ combine, verbose })
  try {
    writer.run(text)
  } catch (failed) {
    output.out(writer.text)
    if (failed instanceof XmlFailed) return end(1, `${failed.message}\n`)
    const { code, stderr } = failure(failed, 'iptables-xml', writer.line, VERSION)
    return end(code, stderr)
  }
  output.out(writer.text)
  return output.finish(0)
}
