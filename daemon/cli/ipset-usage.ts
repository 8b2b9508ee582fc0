// What `ipset help` prints (7.17).

import { ICMP_NAMES, ICMPV6_NAMES } from '../../rules/sets/icmp-names.ts'
import { setTypes } from '../../rules/sets/index.ts'
import type { CommandSpec, SetType } from '../../rules/sets/set-type.ts'

const USAGE = `ipset v7.17

Usage: ipset [options] COMMAND

Commands:
create SETNAME TYPENAME [type-specific-options]
        Create a new set
add SETNAME ENTRY
        Add entry to the named set
del SETNAME ENTRY
        Delete entry from the named set
test SETNAME ENTRY
        Test entry in the named set
destroy [SETNAME]
        Destroy a named set or all sets
list [SETNAME]
        List the entries of a named set or all sets
save [SETNAME]
        Save the named set or all sets to stdout
restore 
        Restore a saved state
flush [SETNAME]
        Flush a named set or all sets
rename FROM-SETNAME TO-SETNAME
        Rename two sets
swap FROM-SETNAME TO-SETNAME
        Swap the contect of two existing sets
help [TYPENAME]
        Print help, and settype specific help
version 
        Print version information
quit 
        Quit interactive mode

Options:
-o plain|save|xml
       Specify output mode for listing sets.
       Default value for "list" command is mode "plain"
       and for "save" command is mode "save".
-s 
        Print elements sorted (if supported by the set type).
-q 
        Suppress any notice or warning message.
-r 
        Try to resolve IP addresses in the output (slow!)
-! 
        Ignore errors when creating or adding sets or
        elements that do exist or when deleting elements
        that don't exist.
-n 
        When listing, just list setnames from the kernel.

-t 
        When listing, list setnames and set headers
        from kernel only.
-f 
        Read from the given file instead of standard
        input (restore) or write to given file instead
        of standard output (list/save).
`

/** How an option is written; options that are not here are not told of. */
const OPTION_HELP: Readonly<Record<string, string>> = {
  family: '[family inet|inet6]|[-4|-6]',
  hashsize: '[hashsize VALUE]',
  maxelem: '[maxelem VALUE]',
  size: '[size VALUE]',
  netmask: '[netmask CIDR]',
  bitmask: '[bitmask bitmask]',
  before: '[before|after NAME]',
  forceadd: '[forceadd]',
  markmask: 'markmask VALUE',
  nomatch: '[nomatch]',
  wildcard: '[wildcard]',
  timeout: '[timeout VALUE]',
  counters: '[counters]',
  packets: '[packets VALUE]',
  bytes: '[bytes VALUE]',
  skbinfo: '[skbinfo]',
  skbmark: '[skbmark VALUE]',
  skbprio: '[skbprio VALUE]',
  skbqueue: '[skbqueue VALUE]',
  bucketsize: '[bucketsize VALUE]',
  initval: '[initval VALUE]',
}

const PORT_USAGE = `      [PROTO:]PORT is a valid pattern of the following:
           PORTNAME         TCP port name from /etc/services
           PORTNUMBER       TCP port number identifier
           tcp|sctp|udp|udplite:PORTNAME|PORTNUMBER
           icmp:CODENAME    supported ICMP codename
           icmp:TYPE/CODE   ICMP type/code value
           icmpv6:CODENAME  supported ICMPv6 codename
           icmpv6:TYPE/CODE ICMPv6 type/code value
           PROTO:0          all other protocols

`

/** Revisions of each type with what they brought, newest first. */
const HASH_TAIL = ['bucketsize, initval support', 'skbinfo support', 'forceadd support']
const REVISIONS: Readonly<Record<string, readonly string[]>> = {
  'list:set': ['skbinfo support', 'comment support', 'counters support', 'Initial revision'],
  'hash:mac': ['bucketsize, initval support', 'Initial revision'],
  'hash:ip,mac': ['bucketsize, initval support', 'Initial revision'],
  'hash:net,iface': [
    'bucketsize, initval support',
    'skbinfo and wildcard support',
    'skbinfo support',
    'forceadd support',
    'comment support',
    'counters support',
    '/0 network support',
    'nomatch flag support',
    'Initial revision',
  ],
  'hash:net,port': [
    ...HASH_TAIL,
    'comment support',
    'counters support',
    'nomatch flag support',
    'Add/del range support',
    'SCTP and UDPLITE support',
  ],
  'hash:net,port,net': [...HASH_TAIL, 'initial revision'],
  'hash:net,net': ['netmask and bitmask support', ...HASH_TAIL, 'initial revision'],
  'hash:net': [
    ...HASH_TAIL,
    'comment support',
    'counters support',
    'nomatch flag support',
    'Add/del range support',
    'Initial revision',
  ],
  'hash:ip,port,net': [
    ...HASH_TAIL,
    'comment support',
    'counters support',
    'nomatch flag support',
    'Add/del range support',
    'SCTP and UDPLITE support',
  ],
  'hash:ip,port,ip': [...HASH_TAIL, 'comment support', 'counters support', 'SCTP and UDPLITE support'],
  'hash:ip,mark': [...HASH_TAIL, 'initial revision'],
  'hash:ip,port': [
    'netmask and bitmask support',
    ...HASH_TAIL,
    'comment support',
    'counters support',
    'SCTP and UDPLITE support',
  ],
  'hash:ip': [
    'bitmask support',
    'bucketsize, initval support',
    'skbinfo support',
    'forceadd support',
    'comment support',
    'counters support',
    'Initial revision',
  ],
  'bitmap:port': ['skbinfo support', 'comment support', 'counters support', 'Initial revision'],
  'bitmap:ip,mac': ['skbinfo support', 'comment support', 'counters support', 'Initial revision'],
  'bitmap:ip': ['skbinfo support', 'comment support', 'counters support', 'Initial revision'],
}

function typeList(): string {
  const lines = setTypes.flatMap(({ name, revision }) =>
    REVISIONS[name]!.map(
      (what, i) => `    ${name}\t${name.length < 12 ? '\t' : ''}${revision - i}\t${what}\n`,
    ),
  )
  return `\nSupported set types:\n${lines.join('')}`
}

function command(prefix: string, type: SetType, spec: CommandSpec, creating: boolean): string {
  const options = spec.options.flatMap((name) => {
    const text = name === 'comment' ? (creating ? '[comment]' : '[comment "string"]') : OPTION_HELP[name]
    return text === undefined ? [] : [`               ${text}\n`]
  })
  return `${prefix} ${type.name} ${spec.help}\n${options.join('')}`
}

const codeNames = (names: readonly (readonly [string, number, number])[]): string =>
  names.map(([name]) => `               ${name}\n`).join('')

function typeHelp(type: SetType): string {
  const family =
    type.family === 0
      ? `Type ${type.name} is family neutral.`
      : type.family === 46
        ? `Type ${type.name} supports inet and inet6.`
        : `Type ${type.name} supports family inet only.`
  const ports = `${PORT_USAGE}           Supported ICMP codenames:\n${codeNames(ICMP_NAMES)}           Supported ICMPv6 codenames:\n${codeNames(ICMPV6_NAMES)}`
  return (
    `\n${type.name} type specific options:\n\n` +
    command('create SETNAME', type, type.create, true) +
    command('add    SETNAME', type, type.add, false) +
    command('del    SETNAME', type, type.del, false) +
    command('test   SETNAME', type, type.test, false) +
    `\n${type.usage}\n${type.portUsage ? ports : ''}\n${family}\n`
  )
}

/** `type`: null for all of them in short; `brief`: -quiet. */
export function ipsetHelp(type: SetType | null, brief: boolean): string {
  return brief ? USAGE : USAGE + (type === null ? typeList() : typeHelp(type))
}
