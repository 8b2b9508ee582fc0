// How V8 compiles the packet path. Its budget for inlining is made for pages, not for one path that every packet
// takes through forty functions: with the default of 920 bytes of bytecode half of them stay calls. Three times as
// much makes an established flow a third faster (bench/engine.ts); still more only takes longer to compile. Functions that are
// large, or that few packets take, are inlined too: else which of them are is a matter of luck, 10 to 16 % of an established
// packet from one run to the next.

import { setFlagsFromString } from 'node:v8'

const INLINE_BYTECODE = 3000
/** Bytes of bytecode of one function; V8's default is 460. */
const INLINE_FUNCTION = 1000
/** Calls for each of the function that calls; V8's default is 0.15. */
const INLINE_FREQUENCY = 0.05

/** To be called before the first packet; V8 reads the flags whenever it optimises a function. */
export function tuneCompiler(): void {
  setFlagsFromString(`--max-inlined-bytecode-size-cumulative=${INLINE_BYTECODE}`)
  setFlagsFromString(`--max-inlined-bytecode-size=${INLINE_FUNCTION}`)
  setFlagsFromString(`--min-inlining-frequency=${INLINE_FREQUENCY}`)
}
