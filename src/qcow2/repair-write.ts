/* The way of every repair to the medium: nothing is written where the overlap check would let no writer write. */
import type { Qcow2Image } from './image.ts';
import type { StructureBits } from './overlap.ts';
import { type Steps, wait } from './steps.ts';

/** Writes metadata of the kind `own`. Throws EIO, and marks the image corrupt, where other metadata lies. Not durable yet. */
export function* repairWrite(image: Qcow2Image, offset: number, from: Uint8Array, own: StructureBits): Steps<void> {
  image.checkOverlap(offset, from.length, own);
  yield* wait(image.writeFile(offset, from));
}
