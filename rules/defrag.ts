// Extensions that have packets reassembled before the hooks though nothing tracks connections (socket, TPROXY):
// nf_defrag_ipv4_enable(), counted by the rules that ask for it.

import { DefragUser } from '../datapath/fragments.ts'
import { Hook, Priority } from '../datapath/hooks.ts'
import type { CompileEnv } from './extension.ts'
import { sharedOf } from './shared.ts'

interface Defrag {
  readonly undo: readonly (() => void)[]
}

/** One user more. */
export function takeDefrag({ host }: CompileEnv): object {
  return sharedOf<Defrag>(host, 'defrag').take('', () => ({
    undo: [
      [Hook.PreRouting, DefragUser.ConntrackIn] as const,
      [Hook.LocalOut, DefragUser.ConntrackOut] as const,
    ].map(([hook, user]) =>
      host.hooks.register({
        name: 'defrag',
        family: 4,
        hook,
        priority: Priority.Defrag,
        run: (pkt) => host.fragments.defrag(pkt, user),
      }),
    ),
  }))
}

export function giveDefrag({ host }: CompileEnv): void {
  const users = sharedOf<Defrag>(host, 'defrag')
  const held = users.get('')
  users.give('')
  if (users.get('') === null) for (const undo of held?.undo ?? []) undo()
}
