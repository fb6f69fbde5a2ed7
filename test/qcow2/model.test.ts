/* Random histories against a flat array: whatever the storage's timing, reads give what was written, and check stays clean. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BlockBackend } from '../../src/core/block/backend.ts';
import { type CreateValues, reqFlag } from '../../src/core/block/driver.ts';
import { delayed, FaultyStorage } from '../../src/core/storage/faulty.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { checkMedium, type DiskOptions, newDisk } from './image-support.ts';

type Op =
  | { readonly kind: 'write' | 'zero' | 'unmap' | 'discard'; readonly offset: number; readonly length: number; readonly byte: number }
  | { readonly kind: 'flush' };

const size = 96 * 4096;
const sector = 512;

function anyOp(clusterSize: number): fc.Arbitrary<Op> {
  const place = fc.record({
    offset: fc.nat(size / sector - 1),
    length: fc.integer({ min: 1, max: 48 }),
    isAligned: fc.boolean(),
    byte: fc.integer({ min: 1, max: 255 }),
  });
  const kinds = fc.constantFrom('write', 'write', 'write', 'zero', 'unmap', 'discard');
  return fc.oneof(
    { weight: 8, arbitrary: fc.tuple(kinds, place).map(([kind, at]) => toOp(kind as 'write', at, clusterSize)) },
    { weight: 1, arbitrary: fc.constant<Op>({ kind: 'flush' }) },
  );
}

function toOp(kind: 'write', at: { offset: number; length: number; isAligned: boolean; byte: number }, clusterSize: number): Op {
  const unit = at.isAligned ? clusterSize : sector;
  const offset = Math.floor((at.offset * sector) / unit) * unit;
  const length = Math.min(size - offset, Math.ceil((at.length * sector) / unit) * unit);
  return { kind, offset, length, byte: at.byte };
}

async function carryOut(backend: BlockBackend, op: Op): Promise<void> {
  if (op.kind === 'write') await backend.write(op.offset, new Uint8Array(op.length).fill(op.byte));
  else if (op.kind === 'zero') await backend.zero(op.offset, op.length);
  else if (op.kind === 'unmap') await backend.zero(op.offset, op.length, reqFlag.mayUnmap);
  else if (op.kind === 'discard') await backend.discard(op.offset, op.length);
  else await backend.flush();
}

/** After a discard a byte is what it was, or zero. */
const either = 256;

function apply(model: Uint16Array, op: Op): void {
  if (op.kind === 'write') model.fill(op.byte, op.offset, op.offset + op.length);
  else if (op.kind === 'zero' || op.kind === 'unmap') model.fill(0, op.offset, op.offset + op.length);
  else if (op.kind === 'discard') for (let at = op.offset; at < op.offset + op.length; at++) if ((model[at] ?? 0) !== 0) model[at] = (model[at] ?? 0) | either;
}

async function compare(backend: BlockBackend, model: Uint16Array): Promise<void> {
  const found = new Uint8Array(size);
  await backend.read(0, found);
  for (let at = 0; at < size; at++) {
    const expected = model[at] ?? 0;
    const byte = found[at];
    if (byte === (expected & 255) || (expected >= either && byte === 0)) continue;
    throw new Error(`byte ${at} is ${byte}, expected ${expected & 255}`);
  }
}

/** Pending for a while that varies from request to request, so that requests overtake each other. */
function shuffled(storage: Storage, seed: number): Storage {
  let state = seed;
  return new FaultyStorage(storage, {
    before: () => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      const turns = (state >>> 16) % 4;
      if (turns === 0) return;
      return (async () => {
        for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      })();
    },
  });
}

const layouts: readonly [string, CreateValues][] = [
  ['4 KiB clusters', { cluster_size: 4096 }],
  ['512 byte clusters', { cluster_size: 512 }],
  ['64 KiB clusters', {}],
  ['extended L2', { cluster_size: 16384, extended_l2: true }],
  ['version 2', { cluster_size: 4096, compat: 'v2' }],
  ['1-bit refcounts', { cluster_size: 1024, refcount_bits: 1 }],
  ['64-bit refcounts', { cluster_size: 512, refcount_bits: 64 }],
  ['lazy refcounts', { cluster_size: 4096, lazy_refcounts: true }],
];

const base = new Uint8Array(70 * 4096).map((_, at) => (Math.floor(at / 3000) % 3 === 0 ? 0 : 1 + (Math.floor(at / 1000) % 250)));
/** Caches of two tables: eviction is the rule. */
const tinyCaches = { 'l2-cache-size': 1024, 'refcount-cache-size': 1024 };

async function history(options: DiskOptions, ops: readonly Op[], atOnce: number): Promise<void> {
  const { engine, backend, medium } = await newDisk(options);
  const model = new Uint16Array(size);
  if (options.backing !== undefined) model.set(options.backing);
  try {
    for (let at = 0; at < ops.length; at += atOnce) {
      const batch = ops.slice(at, at + atOnce);
      await Promise.all(batch.map((op) => carryOut(backend, op)));
      for (const op of batch) apply(model, op);
      if (atOnce === 1 && at % 8 === 0) await compare(backend, model);
    }
    await compare(backend, model);
  } finally {
    await engine.close();
  }
  const result = await checkMedium(medium, options);
  expect({ corruptions: result.corruptions, leaks: result.leaks, messages: result.messages }).toEqual({ corruptions: 0, leaks: 0, messages: [] });
}

describe.each(layouts)('a qcow2 disk with %s', (_name, values) => {
  const clusterSize = Number(values['cluster_size'] ?? 65536);
  const disk = { ...values, size };
  const ops = fc.array(anyOp(clusterSize), { minLength: 1, maxLength: 40 });

  it('reads back what was written', async () => {
    await fc.assert(
      fc.asyncProperty(ops, (list) => history({ values: disk }, list, 1)),
      { numRuns: 25 },
    );
  });

  it('reads back what was written over a backing file', async () => {
    await fc.assert(
      fc.asyncProperty(ops, (list) => history({ values: disk, backing: base }, list, 1)),
      { numRuns: 15 },
    );
  });

  it('gives the same on a storage that is always pending', async () => {
    await fc.assert(
      fc.asyncProperty(ops, (list) => history({ values: disk, backing: base, wrap: (storage) => delayed(storage, 'microtask') }, list, 1)),
      { numRuns: 10 },
    );
  });

  it('keeps requests in flight apart', async () => {
    // side by side only what does not overlap: the order of the rest would be anybody's guess
    const batches = fc.tuple(ops, fc.nat(1000)).map(([list, seed]) => ({ list: apart(list), seed }));
    await fc.assert(
      fc.asyncProperty(batches, async ({ list, seed }) => {
        const { engine, backend, medium } = await newDisk({ values: disk, backing: base, wrap: (storage) => shuffled(storage, seed), open: tinyCaches });
        const model = new Uint16Array(size);
        model.set(base);
        try {
          for (const batch of list) {
            await Promise.all(batch.map((op) => carryOut(backend, op)));
            for (const op of batch) apply(model, op);
          }
          await compare(backend, model);
        } finally {
          await engine.close();
        }
        const result = await checkMedium(medium, { backing: base });
        expect(result.messages).toEqual([]);
      }),
      { numRuns: 15 },
    );
  });
});

/** Groups of up to eight operations without common bytes. */
function apart(list: readonly Op[]): Op[][] {
  const batches: Op[][] = [];
  let batch: Op[] = [];
  for (const op of list) {
    const clashes = batch.some(
      (other) => op.kind !== 'flush' && other.kind !== 'flush' && op.offset < other.offset + other.length && other.offset < op.offset + op.length,
    );
    if (clashes || batch.length === 8) {
      batches.push(batch);
      batch = [];
    }
    batch.push(op);
  }
  return [...batches, batch];
}
