import picocolors from 'picocolors'

/** How words are set off. */
export interface Colors {
  bold(text: string): string
  dim(text: string): string
  red(text: string): string
  green(text: string): string
  yellow(text: string): string
  cyan(text: string): string
}

/**
 * Colours for standard output: as `asked` (--color, --no-color); null: on a terminal only, unless NO_COLOR or
 * FORCE_COLOR say otherwise. picocolors by itself colours a pipe too where CI is set, and scripts read that pipe.
 */
export function colorsFor(asked: boolean | null): Colors {
  return picocolors.createColors(asked ?? wanted())
}

function wanted(): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env
  if (NO_COLOR) return false
  if (FORCE_COLOR) return FORCE_COLOR !== '0'
  return process.stdout.isTTY === true && TERM !== 'dumb'
}
