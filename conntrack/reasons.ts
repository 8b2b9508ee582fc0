// Why a packet is INVALID, in the kernel's words (nf_ct_l4proto_log_invalid).

/** Puts values in the places of %u (unsigned), %d, %x and %s, in order. */
export function formatReason(reason: string, values: readonly (number | string)[]): string {
  let at = 0
  return reason.replace(/%([udxs])/g, (_, kind) => {
    const value = values[at++] ?? ''
    if (typeof value === 'string') return value
    if (kind === 'x') return (value >>> 0).toString(16)
    return String(kind === 'u' ? value >>> 0 : value)
  })
}
