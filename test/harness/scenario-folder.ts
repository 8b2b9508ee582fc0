// A scenario as files: a host folder and a capture, so that `tunwall replay` can be given the same thing, and
// what the kernel made of it, to compare by hand.
//
//     DIR/scenario.json        what the harness reads
//     DIR/host/                host.yaml, iptables-save
//     DIR/in.pcapng            the frames, with the times of the run
//     DIR/kernel/              out.pcapng, iptables-save, conntrack: what Linux did
//     DIR/report.txt           the difference, readable
//
//     tunwall replay --host DIR/host --in DIR/in.pcapng --out out.pcapng --after after
//
// Random ports in the capture are those that the kernel drew; a replay draws others.

import { closeSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CaptureWriter, writeTo } from '../../datapath/ports/capture-writer.ts'
import { baseSysctls } from './kernel.ts'
import {
  addressesOf,
  type Family,
  familiesOf,
  partOf,
  printRun,
  printScenario,
  type Run,
  type Scenario,
} from './scenario.ts'

/** host.yaml: JSON is YAML. */
export function hostYaml(scenario: Scenario): string {
  const { devices, sysctls } = scenario
  const families = familiesOf(scenario)
  const worded = (of: 'routes' | 'rules'): string[] =>
    families.flatMap((family) =>
      partOf(scenario, family)[of].map((line) => (family === 6 ? `-6 ${line}` : line)),
    )
  const yaml = {
    interfaces: Object.fromEntries(
      devices.map((device) => {
        const { name, mtu, group } = device
        const addresses = families.flatMap((family) => addressesOf(scenario, device, family))
        return [name, { mtu, ...(group === undefined ? {} : { group }), addresses }]
      }),
    ),
    routes: worded('routes'),
    rules: worded('rules'),
    sysctls: { ...baseSysctls(scenario), ...sysctls },
  }
  return `${JSON.stringify(yaml, null, 2)}\n`
}

/** File name of the tables. */
export const savedAs = (family: Family = 4): 'iptables-save' | 'ip6tables-save' =>
  family === 6 ? 'ip6tables-save' : 'iptables-save'

/** What `nfct list timeout` would print, but for the timeouts that were not given. */
function policies(words: readonly string[]): string {
  return words
    .map((line) => {
      const [name, family, protocol, ...timeouts] = line.split(' ')
      const lines = timeouts.flatMap((word, i) =>
        i % 2 === 0 ? [`\t\t.${word.toUpperCase()} = ${timeouts[i + 1]},\n`] : [],
      )
      const number = POLICY_PROTOCOLS[protocol!]
      return `.${name} = {\n\t.l3proto = ${family === 'inet' ? 2 : 10},\n\t.l4proto = ${number},\n\t.policy = {\n${lines.join('')}\t},\n};\n`
    })
    .join('')
}

const POLICY_PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  gre: 47,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
  generic: 255,
}

/** The host folder alone. */
export function writeHostFolder(directory: string, scenario: Scenario): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'host.yaml'), hostYaml(scenario))
  if (scenario.sets !== undefined) writeFileSync(join(directory, 'ipset-save'), scenario.sets)
  if (scenario.policies !== undefined)
    writeFileSync(join(directory, 'nfct-timeout'), policies(scenario.policies))
  for (const family of familiesOf(scenario)) {
    const { iptables } = partOf(scenario, family)
    if (iptables !== '') writeFileSync(join(directory, savedAs(family)), iptables)
  }
}

/** Everything; what was there before goes. */
export function writeScenarioFolder(
  directory: string,
  scenario: Scenario,
  run: Run,
  report: string,
  captured?: Readonly<Record<string, string>>,
): void {
  rmSync(directory, { recursive: true, force: true })
  if (captured === undefined) writeHostFolder(join(directory, 'host'), scenario)
  else {
    mkdirSync(join(directory, 'host'), { recursive: true })
    for (const [name, text] of Object.entries(captured)) writeFileSync(join(directory, 'host', name), text)
  }
  writeFileSync(join(directory, 'scenario.json'), printScenario(scenario))
  writeFileSync(join(directory, 'report.txt'), `${report}\n`)
  writeFileSync(join(directory, 'run.json'), printRun(run))
  const kernel = join(directory, 'kernel')
  mkdirSync(kernel)
  writeFileSync(join(kernel, savedAs(scenario.family)), run.save)
  if (run.saveBeside !== undefined)
    writeFileSync(join(kernel, savedAs(scenario.family === 6 ? 4 : 6)), run.saveBeside)
  writeFileSync(join(kernel, 'conntrack'), run.conntrack.map((l) => `${l}\n`).join(''))
  writeCapture(join(directory, 'in.pcapng'), scenario, run, (step) =>
    step.injected === null ? [] : [{ dev: step.dev!, bytes: step.injected }],
  )
  writeCapture(join(kernel, 'out.pcapng'), scenario, run, (step) => [...step.before, ...step.sent])
}

function writeCapture(
  path: string,
  scenario: Scenario,
  run: Run,
  frames: (step: Run['steps'][number]) => readonly { dev: string; bytes: Uint8Array }[],
): void {
  const fd = openSync(path, 'w')
  try {
    const writer = new CaptureWriter(writeTo(fd))
    const numbers = new Map(scenario.devices.map((d) => [d.name, writer.interface(d.name)]))
    for (const step of run.steps) {
      const ms = run.wall + step.at
      const seconds = Math.floor(ms / 1000)
      const nanos = Math.min(999_999_999, Math.round((ms - seconds * 1000) * 1e6))
      for (const { dev, bytes } of frames(step))
        writer.packet(numbers.get(dev)!, seconds, nanos, bytes, 0, bytes.length)
    }
    writer.flush()
  } finally {
    closeSync(fd)
  }
}
