/* An export over its backend: the part of the node that it shows, a ragged end, what it remembers, its flags and contexts. */
import { describe, expect, it } from 'vitest';
import { noLimits, reqFlag } from '../../src/core/block/driver.ts';
import { dirtyBitmapContext } from '../../src/nbd/dirty-bitmap.ts';
import { NbdExport } from '../../src/nbd/export.ts';
import { FakeBackend, ioError } from '../support/nbd-fake.ts';

function ragged(how: { readonly offset?: number; readonly length?: number } = {}): { exp: NbdExport; backend: FakeBackend } {
  const backend = new FakeBackend(1000);
  backend.bytes.fill(7);
  return { backend, exp: new NbdExport({ name: 'x', backend, writable: true, ...how }) };
}

const calls = ({ calls: made }: FakeBackend): string[] => made.map((call) => call.join(' '));

describe('the part of a node', () => {
  it('is the whole of it, in sectors, when nobody says', () => {
    expect([ragged().exp.size, ragged().exp.start]).toEqual([1024, 0]);
    expect(ragged({ offset: 100 }).exp.size).toBe(924);
    expect(ragged({ offset: 2000 }).exp.size).toBe(0);
    expect(ragged({ offset: 100, length: 50 }).exp.size).toBe(50);
  });

  it('is asked for at its place', async () => {
    const { exp, backend } = ragged({ offset: 100, length: 800 });
    await exp.read(10, new Uint8Array(20));
    await exp.write(11, new Uint8Array(20), reqFlag.fua);
    await exp.zero(12, 20, reqFlag.mayUnmap);
    await exp.discard(13, 20);
    await exp.status(14, 20);
    await exp.flush();
    expect(calls(backend)).toEqual([
      'read 110 20 0',
      `write 111 20 ${reqFlag.fua}`,
      `zero 112 20 ${reqFlag.mayUnmap}`,
      'discard 113 20 0',
      'status 114 20 0',
      'flush 0 0 0',
    ]);
  });
});

describe('a ragged end', () => {
  it('reads as zeros', async () => {
    const { exp, backend } = ragged();
    const into = new Uint8Array(24).fill(1);
    await exp.read(1000, into);
    expect([...into]).toEqual(Array.from({ length: 24 }, () => 0));
    expect(calls(backend)).toEqual([]);
    into.fill(1);
    await exp.read(990, into);
    expect([...into]).toEqual([...Array.from({ length: 10 }, () => 7), ...Array.from({ length: 14 }, () => 0)]);
    await exp.read(976, into);
    expect(calls(backend)).toEqual(['read 990 10 0', 'read 976 24 0']);
  });

  it('takes zeros without growing', async () => {
    const { exp, backend } = ragged();
    await exp.zero(1000, 24, 0);
    await exp.discard(1000, 24);
    await exp.write(1000, new Uint8Array(24), 0);
    expect(calls(backend)).toEqual([]);
    await exp.zero(990, 34, 0);
    await exp.discard(990, 34);
    await exp.write(990, new Uint8Array(34), 0);
    expect(calls(backend)).toEqual(['zero 990 10 0', 'discard 990 10 0', 'write 990 10 0']);
    expect(backend.bytes.length).toBe(1000);
  });

  it('is made when it is written', async () => {
    const { exp, backend } = ragged();
    const data = new Uint8Array(24).fill(5);
    await exp.write(1000, data, reqFlag.fua);
    expect([backend.bytes.length, backend.bytes[1023], calls(backend)]).toEqual([1024, 5, [`write 1000 24 ${reqFlag.fua}`]]);
    await exp.discard(1000, 24);
    expect(calls(backend).at(-1)).toBe('discard 1000 24 0');
  });

  it('that cannot be made is no space', async () => {
    const { exp, backend } = ragged();
    Object.assign(backend, { truncate: undefined });
    await expect(exp.write(1000, new Uint8Array(24).fill(5), 0)).rejects.toMatchObject({ code: 'ENOSPC', message: 'No space left on device' });
  });

  it('is a hole that reads as zeros', () => {
    const { exp } = ragged();
    expect(exp.status(1000, 24)).toEqual({ length: 24, data: false, zero: true, allocated: true });
    expect(exp.status(900, 124)).toMatchObject({ length: 100, data: true });
  });
});

describe('what was seen to be data', () => {
  it.each(['now', 'later'] as const)('is asked for again after it was zeroed or discarded, done %s, even when that failed', async (mode) => {
    const backend = new FakeBackend(1024 * 1024);
    backend.mode = mode;
    const exp = new NbdExport({ name: 'x', backend, writable: true });
    for (const change of [() => exp.zero(65536, 512, 0), () => exp.discard(65536, 512)]) {
      exp.known.add(0, 1024 * 1024);
      await change();
      expect([exp.known.covers(0, 65536), exp.known.covers(65536, 1), exp.known.covers(131072, 1)]).toEqual([true, false, true]);
    }
    if (mode === 'now') return;
    exp.known.add(0, 1024 * 1024);
    backend.fail = ioError;
    await expect(exp.zero(0, 512, 0)).rejects.toThrow('Input/output error');
    expect(exp.known.covers(0, 1)).toBe(false);
  });
});

describe('what clients are told', () => {
  it('follows the backend and the options', () => {
    const backend = new FakeBackend(512);
    backend.limits = { ...noLimits, requestAlign: 4096 };
    const exp = new NbdExport({ name: 'né', backend, description: 'dé' });
    expect([exp.minimumBlockSize, exp.writable, exp.writethrough]).toEqual([4096, false, false]);
    expect([Buffer.from(exp.nameBytes).toString(), Buffer.from(exp.descriptionBytes).toString()]).toEqual(['né', 'dé']);
    expect(new NbdExport({ name: 'x', backend }).descriptionBytes.length).toBe(0);
    expect(new NbdExport({ name: 'x', backend, writable: true, writethrough: true }).writethrough).toBe(true);
  });

  it('are the contexts that it has, more of them later', () => {
    const backend = new FakeBackend(8192);
    const exp = new NbdExport({ name: 'x', backend, offset: 4096 });
    const dirty = dirtyBitmapContext(
      { name: 'b', nextDirty: (offset, end) => ({ offset: Math.max(offset, 4608), length: Math.min(end, 5120) - Math.max(offset, 4608) }) },
      exp.start,
    );
    const before = exp.contexts;
    expect([exp.addContext(dirty), exp.addContext(dirty)]).toEqual([true, false]);
    expect([before.map(({ context }) => context.name), exp.contexts.map(({ id, context }) => `${id} ${context.name}`)]).toEqual([
      ['base:allocation'],
      ['0 base:allocation', '2 qemu:dirty-bitmap:b'],
    ]);
    expect([dirty.extentAt(0, 4096), dirty.extentAt(512, 4096), dirty.extentAt(600, 10)]).toEqual([
      { length: 512, state: 0 },
      { length: 512, state: 1 },
      { length: 10, state: 1 },
    ]);
    const clean = dirtyBitmapContext({ nextDirty: () => undefined }, 0);
    expect([clean.name, clean.extentAt(0, 4096)]).toEqual(['qemu:dirty-bitmap:', { length: 4096, state: 0 }]);
    expect(new NbdExport({ name: 'x', backend, allocationDepth: true }).contexts.map(({ id }) => id)).toEqual([0, 1]);
  });

  it('counts sessions, and lets all go when it closes', async () => {
    const exp = ragged().exp;
    let isClosed = false;
    const session = {
      close: async () => {
        isClosed = true;
      },
    };
    exp.enter(session);
    expect([exp.clientCount, exp.isClosing]).toEqual([1, false]);
    exp.leave(session);
    expect(exp.clientCount).toBe(0);
    exp.enter(session);
    await exp.close();
    expect([isClosed, exp.isClosing]).toEqual([true, true]);
  });
});
