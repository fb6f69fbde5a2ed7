/*
 * A table in clusters of its own, durably, before anything names it: what every table that replaces another goes through.
 * Rule source: write ordering of qcow2 (new tables before what names them).
 */
import type { DebugEvent } from '../core/block/debug-events.ts';
import type { Qcow2Image } from './image.ts';
import { allocateClusters, freeClusters } from './refcounts.ts';
import { type Steps, wait } from './steps.ts';

/** Events of the table's way, where it has some: its bytes are due; they are there and about to be named. */
export interface TableEvents {
  readonly write: DebugEvent;
  readonly activate: DebugEvent;
}

/** Returns where `bytes` lie. After an error the clusters are free again. */
export function* writeNewTable(image: Qcow2Image, bytes: Uint8Array, events?: TableEvents): Steps<number> {
  const offset = yield* allocateClusters(image, bytes.length);
  try {
    yield* image.refcountCache.flush();
    image.checkOverlap(offset, bytes.length, 0);
    if (events !== undefined) yield* wait(image.raise(events.write));
    yield* wait(image.writeFile(offset, bytes));
    yield* wait(image.flushMedium());
    if (events !== undefined) yield* wait(image.raise(events.activate));
    return offset;
  } catch (error) {
    yield* freeClusters(image, offset, bytes.length, 'never');
    throw error;
  }
}
