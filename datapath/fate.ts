// What became of a packet: the answer of Path.receive, for reports and counters.

/** The word of the replay report is FATE_NAMES[fate]. */
export const Fate = { Dropped: 0, Forwarded: 1, Delivered: 2, Replied: 3, Consumed: 4 } as const
export type Fate = (typeof Fate)[keyof typeof Fate]
export const FATE_NAMES = ['dropped', 'forwarded', 'delivered', 'replied', 'consumed'] as const

/** Instead of a Fate: the flow cache leaves the packet to the whole path. */
export const MISS = -1
