// Extensions that have packets reassembled before the hooks though nothing tracks connections (socket, TPROXY):
// nf_defrag_ipv4_enable(), nf_defrag_ipv6_enable(), counted by the rules that ask for it.

import { DefragUser } from '../datapath/fragments.ts'
import { Hook, type HookFn, Priority, Verdict } from '../datapath/hooks.ts'
import { DefragUser6 } from '../datapath/ipv6/fragments.ts'
import { CtInfo, type Family, type Packet } from '../datapath/packet.ts'
import type { CompileEnv } from './extension.ts'
import { sharedOf } from './shared.ts'

interface Defrag {
  readonly undo: readonly (() => void)[]
}

function register({ host, conntrack }: CompileEnv, family: Family): Defrag {
  // One hook serves all: conntrack's own while it is there, and then not a second time for a fragment inside a fragment.
  // What is untracked, as TEE's copies are, goes on as it is (ipv4_conntrack_defrag, ipv6_defrag).
  const spared = (pkt: Packet): boolean => conntrack.isActive(family) || pkt.ctInfo === CtInfo.Untracked
  const entry = (hook: Hook, defrag: HookFn): (() => void) =>
    host.hooks.register({
      name: 'defrag',
      family,
      hook,
      priority: Priority.Defrag,
      run: (pkt) => (spared(pkt) ? Verdict.Accept : defrag(pkt)),
      recordable: true,
    })
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
export function takeDefrag(env: CompileEnv, family: Family): object {
  return sharedOf<Defrag>(env.host, 'defrag').take(String(family), () => register(env, family))
}

export function giveDefrag({ host }: CompileEnv, family: Family): void {
  const users = sharedOf<Defrag>(host, 'defrag')
  const name = String(family)
  const held = users.get(name)
  users.give(name)
  if (users.get(name) === null) for (const undo of held?.undo ?? []) undo()
}
