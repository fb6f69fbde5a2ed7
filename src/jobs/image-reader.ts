/*
 * Reading whole images from start to end, as convert and compare do: sizes in whole sectors, a ragged end padded with
 * zeros, and the tests for zeros and differences on what was read. Knows no format and no command.
 */
import type { BlockBackend } from '../core/block/backend.ts';
import { type ChainStatus, chainStatus } from '../core/block/block-status.ts';
import type { BlockNode } from '../core/block/node.ts';
import { BlockError } from '../core/util/errors.ts';
import { chain, type Maybe } from '../core/util/maybe.ts';

/** Images are made of sectors of this many bytes. */
export const sector = 512;

/** A part of an image, in bytes; inside it. */
export interface Window {
  readonly start: number;
  readonly length: number;
}

/** An image to be read in order; offsets are in whole sectors. */
export class ImageReader {
  readonly node: BlockNode;
  /** Bytes, a multiple of the sector. */
  readonly size: number;
  readonly #backend: BlockBackend;
  readonly #exactSize: number;
  /** The part of the image that is read; undefined: all of it. */
  readonly #window: Window | undefined;

  constructor(backend: BlockBackend, window?: Window) {
    const { node } = backend;
    if (node === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
    this.node = node;
    this.#backend = backend;
    this.#window = window;
    this.#exactSize = window?.length ?? backend.size();
    this.size = Math.ceil(this.#exactSize / sector) * sector;
  }

  get #start(): number {
    return this.#window?.start ?? 0;
  }

  /** Fills `into`; what lies past the last byte reads as zeros. */
  read(offset: number, into: Uint8Array): Maybe<void> {
    const inside = this.#exactSize - offset;
    if (inside >= into.length) return this.#backend.read(this.#start + offset, into);
    into.fill(0, Math.max(0, inside));
    return inside <= 0 ? undefined : this.#backend.read(this.#start + offset, into.subarray(0, inside));
  }

  /** State of the run at `offset`, at most `length` long, through the chain down to but not including `base`. */
  status(offset: number, length: number, base?: BlockNode): Maybe<ChainStatus> {
    const most = this.#window === undefined ? length : Math.min(length, this.#exactSize - offset);
    return chain(chainStatus(this.node, base, this.#start + offset, most, true), (status) => {
      const end = offset + Math.min(status.length, length);
      // the padding of a ragged end is part of the last run
      const padded = end === this.#exactSize ? this.size - offset : end - offset;
      return { ...status, length: Math.min(length, padded) };
    });
  }
}

/** Whether all bytes from `start` to `end` are zero. The range is not empty. */
export function isZeroRange(buffer: Buffer, start: number, end: number): boolean {
  // a buffer whose first byte is zero and that equals itself moved by one byte is zero throughout
  return buffer[start] === 0 && buffer[end - 1] === 0 && (end - start < 2 || buffer.compare(buffer, start, end - 1, start + 1, end) === 0);
}

/** Offset of the first sector that is not zero; -1 when there is none. */
export function firstNonZero(buffer: Buffer): number {
  if (buffer.length === 0 || isZeroRange(buffer, 0, buffer.length)) return -1;
  for (let at = 0; at < buffer.length; at += sector) {
    if (!isZeroRange(buffer, at, Math.min(at + sector, buffer.length))) return at;
  }
  return -1;
}

/** Offset of the first sector in which two buffers of one length differ; -1 when they do not. */
export function firstDifference(a: Buffer, b: Buffer): number {
  if (a.compare(b) === 0) return -1;
  for (let at = 0; at < a.length; at += sector) {
    if (a.compare(b, at, at + sector, at, at + sector) !== 0) return at;
  }
  return -1;
}
