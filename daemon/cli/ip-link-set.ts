// ip link set, add, replace and delete, as iplink.c of iproute2 6.1 reads them. Links belong to the host folder: what is
// set is theirs, none is made or taken away.

import { type Address, type Device, ipv6Begun } from '../../datapath/devices.ts'
import { type IpContext, numberOf, Refusal } from './ip-context.ts'
import { isLinkKind, kindHelp } from './ip-link-kinds.ts'
import { readVirtualFunction } from './ip-link-vf.ts'
import { linkUsage } from './ip-usage.ts'
import { begins, groupNumber, hardware, type Line, number, offOrOn } from './ip-words.ts'

export type LinkChange = 'set' | 'add' | 'replace' | 'delete'

/** When in a request something is done, whatever order the words have: checks first (validate_linkmsg), then do_setlink(). */
const STEPS = [
  'kind',
  'netns',
  'netnsid',
  'address check',
  'sizes',
  'mode check',
  'address',
  'mtu',
  'group',
  'name',
  'alias',
  'broadcast',
  'flags',
  'master',
  'carrier',
  'queue',
  'size',
  'state',
  'mode',
  'address mode',
  'protodown',
  'vf',
] as const
type Step = (typeof STEPS)[number]

interface Change {
  readonly step: Step
  /** The attribute: of two the kernel takes the last. Flags are no attributes. */
  readonly key: string
  readonly run: (d: Device) => void
  /** What it is refused with, whatever the link. */
  readonly refusal?: Refusal
}

interface Wish {
  up: boolean | null
  name: string | null
  dev: string | null
  type: string | null
  group: number | null
  index: number | null
  /** `link NAME`, of which a link is made. */
  parent: string | null
  readonly changes: Change[]
  /** Words of a hardware address are compared with the link's length before anything is asked of the kernel. */
  length: number
}

const INT_MAX = 0x7fff_ffff

/** get_integer(): with a sign. */
function integer(text: string, most = INT_MAX): number | null {
  const minus = /^\s*-(?=\d)/.test(text)
  if (!minus) return number(text, most)
  const value = number(text.replace('-', ''), 0x8000_0000)
  return value === null ? null : -value
}

function onOff(line: Line, key: string): boolean {
  const text = line.next()
  if (text === 'on' || text === 'off') return text === 'on'
  return line.fail(`Error: argument of "${key}" must be "on" or "off", not "${text}"\n`, 1)
}

/** check_ifname(), but for the length, of which the kernel speaks. */
const validName = (text: string, most = Number.POSITIVE_INFINITY): boolean =>
  text !== '' && Buffer.byteLength(text) <= most && !/[\s/]/.test(text)

const bytesOf = (address: string): number => address.split(':').length

/** validate_linkmsg(): an address may be longer than the link's, which takes what it needs. */
function longEnough(device: Device, address: string): void {
  if (device.link.mac !== null && bytesOf(address) < bytesOf(device.link.mac)) throw new Refusal('EINVAL')
}

const cut = (device: Device, address: string): string =>
  address.split(':').slice(0, bytesOf(device.link.mac!)).join(':')

/** An integer that may be said once. */
class Once {
  #said = false
  read(line: Line, key: string, most?: number): number {
    const text = line.next()
    if (this.#said) line.duplicate(key, text)
    // -1 is what has not been said.
    const value = integer(text, most)
    this.#said = value !== -1
    return value ?? line.invalid(`Invalid "${key.replace(/.*\//, '')}" value\n`, text)
  }
}

/** iplink_parse(). */
function readWish(context: IpContext, line: Line): Wish {
  const wish: Wish = {
    up: null,
    name: null,
    dev: null,
    type: null,
    group: null,
    index: null,
    parent: null,
    changes: [],
    length: 0,
  }
  const once = new Map<string, Once>()
  const value = (key: string, most?: number): number => {
    let one = once.get(key)
    if (one === undefined) {
      one = new Once()
      once.set(key, one)
    }
    return one.read(line, key, most)
  }
  const push = (change: Change): void => {
    const { step, key } = change
    const before = step === 'flags' || step === 'kind' ? -1 : wish.changes.findIndex((c) => c.key === key)
    if (before >= 0) wish.changes.splice(before, 1)
    wish.changes.push(change)
  }
  const change = (step: Step, run: (d: Device) => void, key: string = step): void => push({ step, key, run })
  const refuse = (step: Step, code: string, told: string | null = null): void =>
    push({ step, key: step, run: () => {}, refusal: new Refusal(code, told) })
  while (!line.done) {
    const word = line.take()
    if (word === 'up' || word === 'down') wish.up = word === 'up'
    else if (word === 'name') {
      const text = line.next()
      if (wish.name !== null) line.duplicate('name', text)
      if (!validName(text, 15)) line.invalid('"name" not a valid ifname', text)
      wish.name = text
    } else if (word === 'index') {
      const text = line.next()
      if (wish.index !== null) line.duplicate('index', text)
      wish.index = Number.parseInt(text, 10) || 0
      if (wish.index <= 0) line.invalid('Invalid "index" value', text)
    } else if (begins(word, 'link')) wish.parent = line.next()
    else if (begins(word, 'address')) {
      const address = hardware(line)
      wish.length = bytesOf(address)
      change('address check', (d) => longEnough(d, address))
      change('address', (d) => setAddress(d, address))
    } else if (begins(word, 'broadcast') || word === 'brd') {
      const address = hardware(line)
      change('address check', (d) => longEnough(d, address), 'broadcast check')
      change('broadcast', (d) => {
        if (d.link.mac !== null) d.link.broadcast = cut(d, address)
      })
    } else if (begins(word, 'txqueuelen') || word === 'qlen' || begins(word, 'txqlen')) {
      const length = value('txqueuelen')
      change('queue', (d) => {
        // tun_device_event() cannot make its rings that long.
        if ((length < 0 || length >= 0x1000_0000) && !d.loopback) throw new Refusal('EPERM')
        d.link.txQueueLength = length
      })
    } else if (word === 'mtu') {
      const mtu = value('mtu')
      change('mtu', (d) => setMtu(context, d, mtu))
    } else if (/^xdp(generic|drv|offload)?$/.test(word)) {
      const text = line.next()
      if ((text !== 'off' && text !== 'none') || !line.done) line.die(`What mode is "${text}"?\n`)
    } else if (word === 'netns') {
      const text = line.next()
      if (once.has('netns')) line.duplicate('netns', text)
      once.set('netns', new Once())
      if (integer(text) === null) line.invalid('Invalid "netns" value\n', text)
      refuse('netns', 'ESRCH')
    } else if (word === 'multicast') {
      const on = onOff(line, word)
      change('flags', (d) => {
        d.link.multicast = on
      })
    } else if (word === 'allmulticast') {
      const on = onOff(line, word)
      change('flags', (d) => {
        d.link.allMulticast = on
      })
    } else if (word === 'promisc') {
      const on = onOff(line, word)
      change('flags', (d) => {
        d.link.promiscuous = on
      })
    } else if (word === 'trailers') {
      const on = onOff(line, word)
      change('flags', (d) => {
        d.link.noTrailers = !on
      })
    } else if (word === 'arp') {
      const on = onOff(line, word)
      change('flags', (d) => {
        d.link.noArp = !on
      })
    } else if (word === 'carrier') {
      // Differs from Linux: the carrier is the port's.
      const on = offOrOn(line, word, 22)
      change('carrier', (d) => {
        if (!on || d.loopback) throw new Refusal('EOPNOTSUPP')
      })
    } else if (word === 'vf') {
      const text = line.next()
      const vf = integer(text) ?? line.invalid('Invalid "vf" value\n', text)
      wish.dev ??= wish.name
      if (wish.dev === null) line.die('Error: argument "dev" is required\n')
      const mac = readVirtualFunction(line)
      if (mac !== null) wish.length = bytesOf(mac)
      // do_setvfinfo()
      refuse('vf', vf < 0 || vf === INT_MAX ? 'EINVAL' : 'EOPNOTSUPP')
    } else if (begins(word, 'master')) {
      const text = line.next()
      if (context.device(text) === undefined && !context.isNobody(text))
        line.invalid('Device does not exist\n', text)
      // do_set_master()
      refuse('master', context.isNobody(text) ? 'EINVAL' : 'EOPNOTSUPP')
    } else if (word === 'vrf') line.invalid('Not a valid VRF name\n', line.next())
    else if (begins(word, 'nomaster')) change('master', () => {})
    else if (begins(word, 'dynamic')) {
      const on = onOff(line, 'dynamic')
      change('flags', (d) => {
        d.link.dynamic = on
      })
    } else if (begins(word, 'type')) {
      wish.type = line.next()
      break
    } else if (begins(word, 'alias')) {
      const text = line.next()
      if (Buffer.byteLength(text) > 255) line.invalid('alias too long\n', text)
      change('alias', (d) => {
        d.link.alias = text === '' ? null : text
      })
    } else if (word === 'group') {
      const text = line.next()
      if (wish.group !== null) line.duplicate('group', text)
      wish.group = groupNumber(text) ?? line.invalid('Invalid "group" value\n', text)
    } else if (word === 'mode') {
      const text = line.next()
      const mode = /^default$/i.test(text) ? 'DEFAULT' : /^dormant$/i.test(text) ? 'DORMANT' : null
      if (mode === null) line.invalid('Invalid link mode\n', text)
      else
        change('mode', (d) => {
          d.link.mode = mode
        })
    } else if (word === 'state') {
      const text = line.next()
      const state = text.toUpperCase()
      if (!STATES.has(state)) line.invalid('Invalid operstate\n', text)
      change('state', (d) => setState(d, state))
    } else if (begins(word, 'numtxqueues')) value('numtxqueues')
    else if (begins(word, 'numrxqueues')) value('numrxqueues')
    else if (begins(word, 'addrgenmode')) {
      const text = line.next()
      const mode = ['eui64', 'none', 'stable_secret', 'random'].indexOf(text)
      if (mode < 0) line.invalid('Invalid address generation mode\n', text)
      change('mode check', (d) => {
        if (!ipv6Begun(d)) throw new Refusal('EAFNOSUPPORT')
        if (mode === 2 && context.host.ipv6Devices.addressMode(d) !== 2) throw new Refusal('EINVAL')
      })
      change('address mode', (d) => {
        context.host.tunables.set(`net.ipv6.conf.${d.name.replaceAll('.', '/')}.addr_gen_mode`, mode)
      })
    } else if (begins(word, 'link-netns')) {
      const text = line.next()
      line.invalid('Invalid "link-netns" value\n', text)
    } else if (begins(word, 'link-netnsid')) {
      value('link-netns/link-netnsid')
      refuse('netnsid', 'EINVAL', 'Unknown network namespace id')
    } else if (word === 'protodown') {
      offOrOn(line, word, 22)
      refuse('protodown', 'EOPNOTSUPP', 'Protodown not supported by device')
    } else if (word === 'protodown_reason') {
      const text = line.next()
      if (number(text, 31) === null) line.invalid('invalid protodown reason\n', text)
      onOff(line, word)
      refuse('protodown', 'EOPNOTSUPP', 'Protodown not supported by device')
    } else if (word === 'gso_max_size') {
      const size = largest(line, word, 0xffff_ffff)
      // MAX_TCP_HEADER
      if (size <= 192) refuse('kind', 'EINVAL', 'integer out of range')
      change(
        'sizes',
        (d) => {
          if (size > (d.loopback ? 524_280 : 65_536)) throw new Refusal('EINVAL', 'too big gso_max_size')
        },
        'check of gso_max_size',
      )
      change(
        'size',
        (d) => {
          d.link.gsoMaxSize = size
        },
        'gso_max_size',
      )
    } else if (word === 'gso_max_segs') {
      const segments = largest(line, word, 65_535)
      change(
        'size',
        (d) => {
          d.link.gsoMaxSegments = segments
        },
        word,
      )
    } else if (word === 'gro_max_size') {
      const size = largest(line, word, 0xffff_ffff)
      change(
        'sizes',
        () => {
          if (size > 524_280) throw new Refusal('EINVAL', 'too big gro_max_size')
        },
        'check of gro_max_size',
      )
      change(
        'size',
        (d) => {
          d.link.groMaxSize = size
        },
        'gro_max_size',
      )
    } else if (word === 'parentdev') line.next()
    else {
      if (begins(word, 'help')) line.die(linkUsage)
      const given = word === 'dev' ? line.next() : word
      if (wish.dev !== null) line.garbage('dev', given)
      if (!validName(given)) line.invalid('"dev" not a valid ifname', given)
      wish.dev = given
    }
  }
  return wish
}

const STATES: ReadonlySet<string> = new Set(
  'UNKNOWN NOTPRESENT DOWN LOWERLAYERDOWN TESTING DORMANT UP'.split(' '),
)

const largest = (line: Line, key: string, most: number): number => {
  const text = line.next()
  return number(text, most) ?? line.invalid(`Invalid "${key}" value\n`, text)
}

/** set_operstate(): only some states follow upon others. Differs from Linux: no link becomes dormant. */
function setState(device: Device, state: string): void {
  if (state === 'UP') device.link.operState = 'UP'
}

function setAddress(device: Device, address: string): void {
  if (device.link.mac === null) throw new Refusal('EOPNOTSUPP')
  if ((device.loopback && /^00(:00)*$/.test(address)) || (Number.parseInt(address, 16) & 1) === 1)
    throw new Refusal('EADDRNOTAVAIL')
  device.link.mac = cut(device, address)
}

function setMtu(context: IpContext, device: Device, mtu: number): void {
  if (mtu === device.mtu) return
  if (mtu < (device.loopback ? 0 : 68)) throw new Refusal('EINVAL', 'mtu less than device minimum')
  if (!device.loopback && mtu > 65535) throw new Refusal('EINVAL', 'mtu greater than device maximum')
  context.devices.setMtu(device, mtu)
  // inetdev_valid_mtu(): the protocol leaves the link. What IPv6 does is the host's business.
  const gone = (a: Address): boolean => a.family === 4 && mtu < 68
  for (const address of device.addresses.filter(gone))
    if (device.addresses.includes(address)) context.devices.removeAddress(device, address)
}

/** iplink_modify(). */
export function modifyLink(context: IpContext, line: Line, verb: LinkChange): number {
  const wish = readWish(context, line)
  const making = verb === 'add' || verb === 'replace'
  wish.dev ??= wish.name
  if (wish.name === wish.dev && verb !== 'add' && verb !== 'replace') wish.name = null
  const target = wish.dev === null ? undefined : context.device(wish.dev)
  if (!making && wish.dev !== null && wish.length > 0) {
    // nl_get_ll_addr_len() asks the kernel, which says what it does not have.
    if (context.isNobody(wish.dev)) {
      const refusal = new Refusal(numberOf(wish.dev) < 0 ? 'EINVAL' : 'ENODEV')
      context.talk(() => {
        throw refusal
      })
    }
    const own = target?.link.mac ? bytesOf(target.link.mac) : 0
    if (own !== 0 && own !== wish.length)
      return line.fail(`Invalid address length ${wish.length} - must be ${own} bytes\n`, 1)
  }
  if (!making && wish.index !== null && !wish.changes.some(({ step }) => step === 'netns'))
    return line.die('index can be used only when creating devices or when moving device to another netns.\n')
  if (wish.group !== null && wish.dev === null) {
    if (!line.done) return garbage(line, 255)
    if (making) return line.die('group cannot be used when creating devices.\n')
    return changeGroup(context, wish, verb)
  }
  if (!making) {
    if (wish.dev === null) return line.die('Not enough information: "dev" argument is required.\n')
    if (target === undefined && !context.isNobody(wish.dev)) return line.noDevice(wish.dev)
  } else if (wish.name !== null && wish.dev !== wish.name)
    return line.die('both "name" and "dev" cannot be used when creating devices.\n')
  else if (
    wish.parent !== null &&
    context.device(wish.parent) === undefined &&
    !context.isNobody(wish.parent)
  )
    return line.noDevice(wish.parent)
  if (wish.type !== null) {
    if (!line.done && !isLinkKind(wish.type)) {
      if (begins(line.peek(), 'help')) line.die(linkUsage)
      return garbage(line)
    }
    const help = line.peek() === 'help' ? kindHelp(wish.type, verb === 'set') : null
    if (help !== null) {
      context.out.raw(help.stdout)
      return line.fail(help.stderr, 1)
    }
  } else if (making) return line.fail('Not enough information: "type" argument is required\n', 1)
  return answered(
    context,
    context.talk(() => {
      if (making) make(context, wish, verb)
      else if (target === undefined) throw numberRefusal(wish.dev!, verb)
      else if (verb === 'delete') {
        checkDeletion(wish)
        throw new Refusal('EOPNOTSUPP')
      } else set(context, target, wish, !line.done)
    }),
  )
}

/** The number of a link that is not there: rtnl_setlink(), rtnl_dellink(). */
function numberRefusal(name: string, verb: LinkChange): Refusal {
  if (numberOf(name) > 0) return new Refusal('ENODEV')
  return verb === 'delete' ? new Refusal('EINVAL') : new Refusal('EINVAL', "ifindex can't be negative")
}

/** -echo: the kernel has sent an acknowledgement and nothing else, of which an empty object is shown. */
function answered(context: IpContext, code: 0 | 2): number {
  if (code === 0 && context.options.echo) context.out.echo(false, () => {})
  return code
}

/** 255: the program ends there. */
function garbage(line: Line, code: 1 | 255 = 1): number {
  const text = `Garbage instead of arguments "${line.peek()} ...". Try "ip link help".\n`
  return code === 255 ? line.die(text) : line.fail(text, code)
}

/** `more`: words stand behind `type KIND`, whatever they are (rtnl_changelink: no link here takes any). */
function set(context: IpContext, target: Device, wish: Wish, more: boolean): void {
  if (wish.type === 'tun') throw new Refusal('EINVAL', 'tun/tap creation via rtnetlink is not supported')
  if (more || (wish.type?.endsWith('_slave') && isLinkKind(wish.type))) throw new Refusal('EOPNOTSUPP')
  const { group, name, up } = wish
  const changes: Change[] = [
    ...wish.changes,
    ...(group === null
      ? []
      : [{ step: 'group' as const, key: 'group', run: (d: Device) => void (d.link.group = group) }]),
    ...(name === null
      ? []
      : [
          {
            step: 'name' as const,
            key: 'name',
            run: (d: Device) => context.devices.rename(d, freeName(context, name)),
          },
        ]),
    ...(up === null
      ? []
      : [{ step: 'flags' as const, key: 'flags', run: (d: Device) => context.devices.setUp(d, up) }]),
  ]
  changes.sort((a, b) => STEPS.indexOf(a.step) - STEPS.indexOf(b.step))
  const { noArp } = target.link
  try {
    for (const { run, refusal } of changes) {
      if (refusal !== undefined) throw refusal
      run(target)
    }
  } finally {
    if (target.link.noArp !== noArp) context.devices.arpChanged(target)
  }
  // Of these the kernel says nothing else, or only if they are new (NETDEV_CHANGE).
  const loud = wish.changes.some(({ key }) => key !== 'mtu' && key !== 'queue')
  context.devices.touch(loud || group !== null || name !== null)
}

/** __dev_alloc_name(): a pattern takes the first number that is free. */
function freeName(context: IpContext, name: string): string {
  if (!name.includes('%')) return name
  if (!/^[^%]*%d[^%]*$/.test(name)) throw new Refusal('EINVAL')
  for (let i = 0; ; i++) {
    const made = name.replace('%d', String(i))
    if (context.devices.byAnyName(made) === undefined) return made
  }
}

/** Emulated links are those of the host folder: none is made or taken away while it runs. */
function make(context: IpContext, wish: Wish, verb: LinkChange): void {
  const name = wish.name ?? wish.dev
  if (name !== null && Buffer.byteLength(name) > 15)
    throw new Refusal('EINVAL', 'Attribute failed policy validation')
  checkEarly(wish, ['kind', 'netns', 'netnsid'])
  // rtnl_newlink(): a number goes before the name.
  const there =
    wish.index !== null
      ? context.devices.byIndex[wish.index]
      : name === null
        ? undefined
        : context.devices.byName(name)
  if (there !== undefined && verb === 'add') throw new Refusal('EEXIST')
  if (wish.type === 'tun') throw new Refusal('EINVAL', 'tun/tap creation via rtnetlink is not supported')
  // rtnl_changelink() replaces nothing.
  if (there !== undefined) throw new Refusal('EOPNOTSUPP')
  else throw new Refusal('EOPNOTSUPP', 'Unknown device type')
}

/** What the kernel refuses before it looks for a link. */
function checkEarly(wish: Wish, steps: readonly Step[]): void {
  for (const step of steps)
    for (const change of wish.changes) if (change.step === step && change.refusal) throw change.refusal
}

/** rtnl_dellink(): the attributes are read, a namespace is none of its own. */
function checkDeletion(wish: Wish): void {
  checkEarly(wish, ['kind'])
  if (wish.changes.some(({ step }) => step === 'netns'))
    throw new Refusal('EINVAL', 'specified netns attribute not supported')
}

/** Every link of a group; without one nothing is done, but to delete it. The tool does not send the kind that was said. */
function changeGroup(context: IpContext, wish: Wish, verb: LinkChange): number {
  const members = context.devices.all().filter((d) => d.link.group === wish.group)
  return answered(
    context,
    context.talk(() => {
      if (verb === 'delete') {
        checkDeletion(wish)
        if (wish.group === 0) throw new Refusal('EPERM')
        throw new Refusal(members.length === 0 ? 'ENODEV' : 'EOPNOTSUPP')
      }
      if (members.length === 0) checkEarly(wish, ['kind', 'netns', 'netnsid'])
      for (const member of members)
        set(context, member, { ...wish, group: null, name: null, type: null }, false)
    }),
  )
}
