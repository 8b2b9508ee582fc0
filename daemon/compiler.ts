// How V8 compiles the packet path. Its budget for inlining is made for pages, not for one path that every packet
// takes through forty functions: with the default of 920 bytes of bytecode half of them stay calls. Three times as
// much makes an established flow a third faster (bench/engine.ts); still more only takes longer to compile.

import { setFlagsFromString } from 'node:v8'

const INLINE_BYTECODE = 3000

/** To be called before the first packet; V8 reads the flag whenever it optimises a function. */
export function tuneCompiler(): void {
  setFlagsFromString(`--max-inlined-bytecode-size-cumulative=${INLINE_BYTECODE}`)
}
