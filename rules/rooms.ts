// Rooms in an array that grows: those that were given back are taken again by who asks for the same size. What fits in a
// cache line stands in one, since a packet that is the first for long waits for each line.

export class Rooms {
  readonly #line: number
  readonly #fewest: number
  #end = 0
  /** By size: where rooms are that were given back. */
  readonly #free = new Map<number, number[]>()

  /** `line`: numbers in a cache line. `fewest`: no room is smaller; a part of a line by halves. */
  constructor(line: number, fewest: number) {
    this.#line = line
    this.#fewest = fewest
  }

  /** How long the array has to be. */
  get end(): number {
    return this.#end
  }

  /** Where a room for so many numbers begins; they are what its last owner left. */
  take(size: number): number {
    const room = this.roomOf(size)
    const free = this.#free.get(room)?.pop()
    if (free !== undefined) return free
    const step = Math.min(room, this.#line)
    const at = (this.#end + step - 1) & -step
    this.#end = at + room
    return at
  }

  /** Nobody asks for the room that was taken for so many. */
  give(at: number, size: number): void {
    const room = this.roomOf(size)
    const free = this.#free.get(room)
    if (free === undefined) this.#free.set(room, [at])
    else free.push(at)
  }

  /** Numbers that a room for so many has. */
  roomOf(size: number): number {
    if (size > this.#line) return (size + this.#line - 1) & -this.#line
    let room = this.#fewest
    while (room < size) room *= 2
    return room
  }
}
