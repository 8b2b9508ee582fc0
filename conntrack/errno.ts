/** Negative errno, as netlink answers have it. */
export const Errno = {
  None: 0,
  Perm: -1,
  NoEntry: -2,
  NoMemory: -12,
  Busy: -16,
  Exists: -17,
  Invalid: -22,
  Range: -34,
  NoData: -61,
  NotSupported: -95,
} as const
