/*
 * Reads and writes of guest ranges. A read whose slices are cached, and a write in place, are plain calls on the child
 * without a promise or an allocation; everything else goes through steps. Requests that became pending hold their guest
 * range, shared for reads and writes in place, exclusive for whatever may free or remap clusters: so no cluster changes its
 * owner under them, and overlapping allocations wait for each other.
 * Rule source: qcow2 specification; ordering of data, copied edges and L2 updates as in allocate.ts.
 */

import type { DebugEvent } from '../core/block/debug-events.ts';
import { type ReqFlags, reqFlag } from '../core/block/driver.ts';
import { alignDown, alignUp } from '../core/util/math.ts';
import { chain, isPending, type Maybe } from '../core/util/maybe.ts';
import type { GuestPosition, HostPosition } from '../core/util/offsets.ts';
import { abandonPlan, linkPlan, planWrite, type WritePlan } from './allocate.ts';
import { readCompressed } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import { clusterKind } from './l2-entry.ts';
import { loadSlice, lookup, lookupInPlace, lookupSteps, newRun, type Run } from './mapping.ts';
import { run as carryOut, locked, type Steps, wait } from './steps.ts';
import { writeCompressed } from './write-compressed.ts';

/** Edges up to this are copied together with the data in one write. */
const maxMerged = 1024 * 1024;
/** Zeros around the data beyond this are made by the file, not written. */
const maxWrittenZeros = 65536;

// scratch of the synchronous paths: never live across a yield
const scratchRun = newRun();

function checkUsable(image: Qcow2Image): void {
  if (image.broken !== undefined) throw image.broken;
}

// -- read -------------------------------------------------------------------------------------------------------------

/** Fills `into` from guest offset `guest`. */
export function readGuest(image: Qcow2Image, guest: GuestPosition, into: Uint8Array): Maybe<void> {
  checkUsable(image);
  if (image.ranges.busy !== 0 && !image.ranges.isFree(guest, guest + into.length, 'shared')) return readWhenFree(image, guest, into);
  const result = readRange(image, guest, into);
  if (!isPending(result)) return;
  const hold = image.ranges.hold(guest, guest + into.length, 'shared');
  return result.finally(() => image.ranges.release(hold));
}

async function readWhenFree(image: Qcow2Image, guest: GuestPosition, into: Uint8Array): Promise<void> {
  const hold = await image.ranges.acquire(guest, guest + into.length, 'shared');
  try {
    // the one that was waited for may have found the image corrupt
    checkUsable(image);
    await readRange(image, guest, into);
  } finally {
    image.ranges.release(hold);
  }
}

/** The read itself, for holders of the range. Runs are read side by side when the children take their time. */
export function readRange(image: Qcow2Image, guest: GuestPosition, into: Uint8Array): Maybe<void> {
  let pending: Promise<void>[] | undefined;
  const { length } = into;
  for (let done = 0; done < length; ) {
    if (!lookup(image, guest + done, length - done, scratchRun)) {
      const loading = loadSlice(image, guest + done);
      if (isPending(loading)) return readAfter(image, guest, into, done, loading, pending);
      continue;
    }
    const count = scratchRun.length;
    const part = count === length ? into : into.subarray(done, done + count);
    const result = readRun(image, scratchRun, guest + done, part);
    if (isPending(result)) {
      pending ??= [];
      pending.push(result);
    }
    done += count;
  }
  if (pending === undefined) return;
  return pending.length === 1 ? pending[0] : allSettled(pending);
}

async function readAfter(
  image: Qcow2Image,
  guest: GuestPosition,
  into: Uint8Array,
  done: number,
  loading: Promise<void>,
  before: Promise<void>[] | undefined,
): Promise<void> {
  const rest = loading.then(() => readRange(image, guest + done, into.subarray(done)));
  if (before === undefined) await rest;
  else await allSettled([...before, rest]);
}

/** Waits for all, also after a failure: the buffer is the caller's again only then. */
async function allSettled(pending: Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(pending);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** The same behind an event. */
function readDebugged(image: Qcow2Image, event: DebugEvent, read: () => Maybe<void>): Maybe<void> {
  return chain(image.raise(event), read);
}

function readRun(image: Qcow2Image, run: Run, guest: GuestPosition, into: Uint8Array): Maybe<void> {
  const { host, hi, lo } = run;
  switch (run.kind) {
    case clusterKind.data:
      return image.isDebugged ? readDebugged(image, 'read_aio', () => image.readData(host, guest, into)) : image.readData(host, guest, into);
    case clusterKind.unallocated:
    case clusterKind.unallocatedPlaced: {
      const { backing } = image.node;
      if (backing !== undefined && image.isDebugged) return readDebugged(image, 'read_backing_aio', () => backing.read(guest, into));
      if (backing !== undefined) return backing.read(guest, into);
      into.fill(0);
      return;
    }
    case clusterKind.compressed:
      return image.isDebugged
        ? readDebugged(image, 'read_compressed', () => readCompressed(image, hi, lo, guest % image.geometry.clusterSize, into))
        : readCompressed(image, hi, lo, guest % image.geometry.clusterSize, into);
    default:
      into.fill(0);
      return;
  }
}

// -- write ------------------------------------------------------------------------------------------------------------

export function writeGuest(image: Qcow2Image, guest: GuestPosition, from: Uint8Array, flags: ReqFlags): Maybe<void> {
  checkUsable(image);
  const { length } = from;
  if ((flags & reqFlag.compressed) === 0 && (image.ranges.busy === 0 || image.ranges.isFree(guest, guest + length, 'shared'))) {
    if (lookupInPlace(image, guest, length, scratchRun) === length) {
      const { host } = scratchRun;
      if (!image.hasDataFile) image.checkOverlap(host, length, 0);
      const result = image.isDebugged ? chain(image.raise('write_aio'), () => image.writeData(host, guest, from)) : image.writeData(host, guest, from);
      if (!isPending(result)) return;
      const hold = image.ranges.hold(guest, guest + length, 'shared');
      return result.finally(() => image.ranges.release(hold));
    }
  }
  return carryOut(writeSteps(image, guest, from, flags));
}

/** Runs `body` while nobody else uses the clusters of the guest range. */
export function* exclusively<T>(image: Qcow2Image, guest: GuestPosition, length: number, body: () => Steps<T>): Steps<T> {
  const start = alignDown(guest, image.geometry.clusterSize);
  const end = alignUp(guest + length, image.geometry.clusterSize);
  const hold = yield* wait(image.ranges.acquire(start, end, 'exclusive'));
  try {
    return yield* body();
  } finally {
    image.ranges.release(hold);
  }
}

function* writeSteps(image: Qcow2Image, guest: GuestPosition, from: Uint8Array, flags: ReqFlags): Steps<void> {
  yield* exclusively(image, guest, from.length, function* () {
    // another request may have found the image corrupt while this one waited
    checkUsable(image);
    if ((flags & reqFlag.compressed) !== 0) yield* writeCompressed(image, guest, from, (at, bytes) => writeHeld(image, at, bytes));
    else yield* writeHeld(image, guest, from);
  });
}

/** Writes piece by piece: take clusters, write data with what has to be copied around it, update the map. For holders of the range. */
export function* writeHeld(image: Qcow2Image, guest: GuestPosition, from: Uint8Array): Steps<void> {
  const run = newRun();
  let host: HostPosition | undefined;
  for (let done = 0; done < from.length; ) {
    const inPlace = lookupInPlace(image, guest + done, from.length - done, run);
    if (inPlace > 0) {
      if (!image.hasDataFile) image.checkOverlap(run.host, inPlace, 0);
      const { host: place } = run;
      yield* wait(image.raise('write_aio'));
      yield* wait(image.writeData(place, guest + done, from.subarray(done, done + inPlace)));
      done += inPlace;
      host = place + inPlace;
      continue;
    }
    const plan: WritePlan = yield* locked(image.mutex, () => planWrite(image, guest + done, from.length - done, host));
    let hasCopied: boolean;
    try {
      hasCopied = yield* writePlanned(image, plan, from.subarray(done, done + plan.length));
    } catch (error) {
      yield* locked(image.mutex, () => abandonPlan(image, plan));
      throw error;
    }
    if (plan.needsLink) {
      yield* locked(image.mutex, function* () {
        yield* linkPlan(image, plan, hasCopied);
      });
    }
    done += plan.length;
    host = plan.host + plan.length;
  }
}

/** Writes a plan's data and the copied edges. True when something besides the request's bytes was written. */
function* writePlanned(image: Qcow2Image, plan: WritePlan, data: Uint8Array): Steps<boolean> {
  const head = plan.guest - plan.copyFrom;
  const tail = plan.copyTo - plan.guest - plan.length;
  const start = plan.host - head;
  if (!image.hasDataFile) image.checkOverlap(start, head + data.length + tail, 0);
  if (head === 0 && tail === 0) {
    yield* wait(image.raise('write_aio'));
    yield* wait(image.writeData(plan.host, plan.guest, data));
    return false;
  }
  const total = head + data.length + tail;
  const areZeros = (yield* readsAsZeros(image, plan.copyFrom, head)) && (yield* readsAsZeros(image, plan.guest + plan.length, tail));
  if (areZeros && head + tail > maxWrittenZeros && image.area.keepsZeros) {
    yield* wait(image.raise('cluster_alloc_space'));
    yield* wait(image.zeroData(start, total, 0));
    yield* wait(image.raise('write_aio'));
    yield* wait(image.writeData(plan.host, plan.guest, data));
    return true;
  }
  if (total > maxMerged) {
    yield* copyEdge(image, plan.copyFrom, head, start, areZeros);
    yield* wait(image.raise('write_aio'));
    yield* wait(image.writeData(plan.host, plan.guest, data));
    yield* copyEdge(image, plan.guest + plan.length, tail, plan.host + plan.length, areZeros);
    return true;
  }
  const merged = image.scratch.take(total);
  try {
    yield* readEdge(image, plan.copyFrom, merged.subarray(0, head), areZeros);
    merged.set(data, head);
    yield* readEdge(image, plan.guest + plan.length, merged.subarray(head + data.length), areZeros);
    yield* wait(image.raise('write_aio'));
    yield* wait(image.writeData(start, plan.copyFrom, merged));
  } finally {
    image.scratch.put(merged);
  }
  return true;
}

function* copyEdge(image: Qcow2Image, guest: GuestPosition, length: number, host: HostPosition, isZero: boolean): Steps<void> {
  if (length === 0) return;
  const edge = image.scratch.take(length);
  try {
    yield* readEdge(image, guest, edge, isZero);
    yield* wait(image.raise('cow_write'));
    yield* wait(image.writeData(host, guest, edge));
  } finally {
    image.scratch.put(edge);
  }
}

function* readEdge(image: Qcow2Image, guest: GuestPosition, into: Uint8Array, isZero: boolean): Steps<void> {
  if (into.length === 0) return;
  if (isZero) {
    into.fill(0);
    return;
  }
  // the cluster may reach past the end of the disk
  const inside = Math.max(0, Math.min(into.length, image.size - guest));
  into.fill(0, inside);
  if (inside === 0) return;
  yield* wait(image.raise('cow_read'));
  yield* wait(readRange(image, guest, into.subarray(0, inside)));
}

/** True when the range is known to read as zeros without asking the backing file for data. */
export function* readsAsZeros(image: Qcow2Image, guest: GuestPosition, length: number): Steps<boolean> {
  const end = Math.min(guest + length, image.size);
  const run = newRun();
  for (let at = guest; at < end; at += run.length) {
    yield* lookupSteps(image, at, end - at, run);
    if (run.kind === clusterKind.zero || run.kind === clusterKind.zeroPlaced) continue;
    if (run.kind !== clusterKind.unallocated && run.kind !== clusterKind.unallocatedPlaced) return false;
    const { backing } = image.node;
    if (backing !== undefined && at < backing.size()) return false;
  }
  return true;
}
