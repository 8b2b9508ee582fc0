// Call identifiers of PPTP (nf_conntrack_proto_gre.c, Linux 6.18). A GRE packet of version 1 has that of its
// destination only; the control connection's helper knows the other one. Rare, so a short list.
//
//     src dst key ──> key of the source

import { Tuple } from './tuple.ts'

interface Call {
  readonly master: number
  readonly dir: number
  readonly tuple: Tuple
}

export class CallIds {
  readonly #calls: Call[] = []

  /** gre_keymap_lookup(): sets the source key of a tuple whose destination key is known. Hot: does not allocate. */
  complete(t: Tuple): void {
    const calls = this.#calls
    for (let i = 0; i < calls.length; i++) {
      const known = calls[i]!.tuple
      if (!sameCall(known, t)) continue
      t.ports = (known.ports & ~0xffff) | (t.ports & 0xffff)
      return
    }
  }

  /** nf_ct_gre_keymap_add(): one for each direction of a master. False: it has another one there. */
  add(master: number, dir: number, tuple: Tuple): boolean {
    const own = this.#calls.find((c) => c.master === master && c.dir === dir)
    if (own !== undefined) return sameCall(own.tuple, tuple)
    this.#calls.push({ master, dir, tuple: new Tuple().copy(tuple) })
    return true
  }

  /** nf_ct_gre_keymap_destroy() */
  forget(master: number): void {
    for (let i = this.#calls.length - 1; i >= 0; i--)
      if (this.#calls[i]!.master === master) this.#calls.splice(i, 1)
  }
}

/** gre_key_cmpfn() */
function sameCall(a: Tuple, b: Tuple): boolean {
  return (
    (a.ports & 0xffff) === (b.ports & 0xffff) &&
    a.meta === b.meta &&
    a.s0 === b.s0 &&
    a.d0 === b.d0 &&
    a.s1 === b.s1 &&
    a.s2 === b.s2 &&
    a.s3 === b.s3 &&
    a.d1 === b.d1 &&
    a.d2 === b.d2 &&
    a.d3 === b.d3
  )
}
