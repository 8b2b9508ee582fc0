// The C addon's functions, typed. See tunwall.c for what each does; npm run build:native makes it.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { packageRoot } from './root.ts'

/** Opaque: frame memory and descriptor arrays pinned for batches. */
export type IoHandle = { readonly __brand: 'io' }
/** linux/if_tun.h */
export const IFF_MULTI_QUEUE = 0x0100
export const IFF_VNET_HDR = 0x4000
/** Of writeBatch: these bytes go behind others. */
export const IS_PART = 0x80000000

export interface Native {
  /**
   * Opens (or makes) a TUN device without packet information, non-blocking. `netns` is a path such as
   * /run/netns/client, or null for the caller's namespace. The device goes when the descriptor is closed.
   * Throws Error with the system's reason.
   */
  openTun(name: string, netns: string | null, extraFlags: number): number
  close(fd: number): void
  /**
   * For readBatch. `sums`: of the frames. `headers`: for devices opened with IFF_VNET_HDR, whose headers of 12 bytes are
   * read there, apart from the frames; else null.
   */
  createReader(
    memory: Uint8Array,
    offsets: Int32Array,
    lengths: Int32Array,
    sums: Uint32Array,
    headers: Uint16Array | null,
  ): IoHandle
  /**
   * For writeBatch. `parts`: what goes behind each: the number of the next part, 0 none, and IS_PART if it is one itself.
   * A device's header stands in front of the frame, within what `offsets` and `lengths` say.
   */
  createWriter(memory: Uint8Array, offsets: Int32Array, lengths: Int32Array, parts: Uint32Array): IoHandle
  /** Parts that a frame may have, the first one too. */
  readonly maxParts: number
  /** TUNSETVNETHDRSZ and TUNSETOFFLOAD; false: this kernel does not know all of the bits (TUN_F_*). */
  setOffload(fd: number, headerBytes: number, bits: number): boolean
  /**
   * Frames read into offsets[first …], at most `room` bytes each; 0: nothing there; < 0: -errno. No sum is made of frames
   * whose header speaks of the checksum.
   */
  readBatch(io: IoHandle, fd: number, first: number, max: number, room: number): number
  /** How many of the frames and their parts the device took; those it refused have lengths[i] = -errno. */
  writeBatch(io: IoHandle, fd: number, first: number, count: number): number
  /** Bytes of frames that may be under way behind the device before it says that it is full (TUNSETSNDBUF). */
  setSendBuffer(fd: number, bytes: number): void
  /**
   * Blocks up to timeoutMs (-1: for ever) for something to read; returns how many descriptors have it, fills revents.
   * Negative descriptors are left out.
   */
  poll(fds: Int32Array, revents: Int32Array, timeoutMs: number): number
  /**
   * The calling thread has descriptors of its own from here on, those that are open now: its system calls are cheaper, and
   * nobody else's open() and close() concern it. False: that is forbidden here, as in many containers, and nothing changes.
   */
  ownFiles(): boolean
  wakeOpen(): number
  wake(fd: number): void
  wakeClear(fd: number): void
  /** User id of the peer of a connected Unix socket. */
  peerUid(socketFd: number): number
  /** RFC 1071 sum of bytes[from, end) as big-endian words, folded, not inverted. */
  onesSum(bytes: Uint8Array, from: number, end: number): number
}

/** filter.c: libpcap's compiler of filters. */
export interface NativeFilter {
  /**
   * Classic BPF for frames of a link type, as libpcap numbers it (DLT_*): four numbers for each instruction, code, jt, jf,
   * k. A string: what is wrong with the text. Null: libpcap is not installed.
   */
  compile(text: string, linkType: number): Uint32Array | string | null
}

let loaded: Native | null = null

/** Loads the addon on first use. Throws with the command that builds it when it is not there. */
export function native(): Native {
  loaded ??= load('tunwall.node') as Native
  return loaded
}

/** The same for filters. */
export const nativeFilter = (): NativeFilter => load('filter.node') as NativeFilter

function load(name: string): unknown {
  const file = join(packageRoot(), 'datapath/native/build', name)
  if (existsSync(file)) return createRequire(import.meta.url)(file)
  throw new Error('the native addon is not built: run "npm run build:native"')
}
