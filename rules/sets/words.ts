// Option words that types share, in libipset's order.

const EXTENSIONS = ['packets', 'bytes', 'comment', 'skbmark', 'skbprio', 'skbqueue']

/** What may follow an element that is added. */
export const ADD: readonly string[] = ['timeout', ...EXTENSIONS]
/** The same for types with networks. */
export const ADD_NET: readonly string[] = ['timeout', 'nomatch', ...EXTENSIONS]
export const FAMILY: readonly string[] = ['family', '-4', '-6']
export const SIZES: readonly string[] = ['hashsize', 'maxelem']
export const HASH_EXTENSIONS: readonly string[] = [
  'timeout',
  'counters',
  'comment',
  'forceadd',
  'skbinfo',
  'bucketsize',
  'initval',
]
export const BITMAP_EXTENSIONS: readonly string[] = ['timeout', 'counters', 'comment', 'skbinfo']
/** Words of old versions that are passed over with a warning, or that say the same in another way. */
export const PROBES: readonly string[] = ['probes', 'resize']
export const RANGE: readonly string[] = ['from', 'to', 'network']
