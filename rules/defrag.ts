// Extensions that have packets reassembled before the hooks though nothing tracks connections (socket, TPROXY):
// nf_defrag_ipv4_enable(), nf_defrag_ipv6_enable(), counted by the rules that ask for it.

import { DefragUser } from '../datapath/fragments.ts'
import { Hook, type HookFn, Priority } from '../datapath/hooks.ts'
import type { Host } from '../datapath/host.ts'
import { DefragUser6 } from '../datapath/ipv6/fragments.ts'
import type { Family } from '../datapath/packet.ts'
import type { CompileEnv } from './extension.ts'
import { sharedOf } from './shared.ts'

interface Defrag {
  readonly undo: readonly (() => void)[]
}

function register(host: Host, family: Family): Defrag {
  const entry = (hook: Hook, run: HookFn): (() => void) =>
    host.hooks.register({ name: 'defrag', family, hook, priority: Priority.Defrag, run, recordable: true })
  return {
    undo:
      family === 4
        ? [
            entry(Hook.PreRouting, (pkt) => host.fragments.defrag(pkt, DefragUser.ConntrackIn)),
            entry(Hook.LocalOut, (pkt) => host.fragments.defrag(pkt, DefragUser.ConntrackOut)),
          ]
        : [
            entry(Hook.PreRouting, (pkt) => host.fragments6.defrag(pkt, DefragUser6.ConntrackIn)),
            entry(Hook.LocalOut, (pkt) => host.fragments6.defrag(pkt, DefragUser6.ConntrackOut)),
          ],
  }
}

/** One user more. */
export function takeDefrag({ host }: CompileEnv, family: Family): object {
  return sharedOf<Defrag>(host, 'defrag').take(String(family), () => register(host, family))
}

export function giveDefrag({ host }: CompileEnv, family: Family): void {
  const users = sharedOf<Defrag>(host, 'defrag')
  const name = String(family)
  const held = users.get(name)
  users.give(name)
  if (users.get(name) === null) for (const undo of held?.undo ?? []) undo()
}
