// One direction of a flow, as comparable words. Reused objects: the hot path makes none.

export class Tuple {
  s0 = 0
  s1 = 0
  s2 = 0
  s3 = 0
  d0 = 0
  d1 = 0
  d2 = 0
  d3 = 0
  /** See table.ts: source << 16 | destination; ICMP: id << 16 | type << 8 | code. */
  ports = 0
  /** protocol << 8 | family. */
  meta = 0
  zone = 0

  copy(from: Tuple): this {
    this.s0 = from.s0
    this.s1 = from.s1
    this.s2 = from.s2
    this.s3 = from.s3
    this.d0 = from.d0
    this.d1 = from.d1
    this.d2 = from.d2
    this.d3 = from.d3
    this.ports = from.ports
    this.meta = from.meta
    this.zone = from.zone
    return this
  }
}
