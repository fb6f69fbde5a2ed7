/* Structs of the handshake, numbers of errors, the memory that replies lie in, and what an export remembers of its data. */
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../src/core/util/errors.ts';
import { BufferPool } from '../../src/nbd/buffer-pool.ts';
import { NbdExport } from '../../src/nbd/export.ts';
import { KnownData } from '../../src/nbd/known-data.ts';
import { isForeseen, nbdErrno } from '../../src/nbd/protocol.ts';
import { encodeExportNameReply } from '../../src/nbd/wire.ts';
import { FakeBackend } from '../support/nbd-fake.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('structs', () => {
  it('answers EXPORT_NAME with and without 124 zeros', () => {
    expect(hex(encodeExportNameReply(65536, 0x18d, false))).toBe('0000000000010000018d');
    expect(encodeExportNameReply(65536, 0x18d, true).length).toBe(134);
  });

  it('maps errors to the few numbers of the protocol', () => {
    const numbers = (['EROFS', 'EIO', 'ENOMEM', 'EDQUOT', 'ENOTSUP', 'ESHUTDOWN', 'EBUSY'] as const).map((code) => nbdErrno(new BlockError('x', { code })));
    expect(numbers).toEqual([1, 5, 12, 28, 95, 108, 22]);
  });

  it('takes what the block layer and the system say for an answer, and nothing else', () => {
    const system = Object.assign(new Error('x'), { code: 'EIO' });
    const other = Object.assign(new Error('x'), { code: 'ERR_OUT_OF_RANGE' });
    expect([new BlockError('x', { code: 'EIO' }), system, other, new TypeError('x'), 'x'].map(isForeseen)).toEqual([true, true, false, false, false]);
    expect([nbdErrno(new BlockError('x', { code: 'ERR_CORRUPT' })), nbdErrno(system)]).toEqual([5, 5]);
  });
});

describe('memory', () => {
  it('comes back when the last holder lets go, and is used again', () => {
    const pool = new BufferPool();
    const account = { held: 0 };
    const lease = pool.lease(1000, account);
    expect(account.held).toBe(lease.bytes.length);
    lease.hold();
    lease.release();
    expect([pool.outstanding, account.held]).toEqual([1, lease.bytes.length]);
    lease.release();
    expect([pool.outstanding, account.held]).toEqual([0, 0]);
    const other = { held: 5 };
    expect(pool.lease(2000, other)).toBe(lease);
    expect([pool.outstanding, pool.kept, account.held, other.held]).toEqual([1, 0, 0, 5 + lease.bytes.length]);
  });

  it('comes in classes with room for a header, larger pieces as they are', () => {
    const pool = new BufferPool();
    const sizes = [1, 20_480, 20_481, 69_632, 69_633, 266_240, 266_241, 1_052_672, 1_052_673].map((size) => pool.lease(size, { held: 0 }).bytes.length);
    expect(sizes).toEqual([20_480, 20_480, 69_632, 69_632, 266_240, 266_240, 1_052_672, 1_052_672, 1_052_673]);
    expect(pool.outstanding).toBe(9);
  });

  it('is given back once a holder', () => {
    const lease = new BufferPool().lease(1, { held: 0 });
    lease.release();
    expect(() => lease.release()).toThrow('a lease is released once a holder');
  });

  it('keeps no more than it was told to', () => {
    const pool = new BufferPool(600_000);
    const account = { held: 0 };
    const leases = Array.from({ length: 10 }, () => pool.lease(100_000, account));
    expect(account.held).toBe(2_662_400);
    for (const lease of leases) lease.release();
    expect([pool.kept, account.held]).toEqual([2 * 266_240, 0]);
    const large = pool.lease(32 * 1024 * 1024, account);
    expect(large.bytes.length).toBe(32 * 1024 * 1024);
    large.release();
    expect([pool.kept, pool.outstanding]).toEqual([2 * 266_240, 0]);
  });
});

describe('known data', () => {
  it('covers only granules that were wholly seen, the last one at the end of the image', () => {
    const known = new KnownData(200_000);
    known.add(1, 200_000 - 1);
    expect(known.covers(0, 1)).toBe(false);
    expect(known.covers(65536, 65536)).toBe(true);
    expect(known.covers(65536, 200_000 - 65536)).toBe(true);
    known.remove(131_071, 1);
    expect(known.covers(65536, 1)).toBe(false);
    expect(known.covers(131_072, 1)).toBe(true);
    known.remove(131_072, 0);
    expect(known.covers(131_072, 1)).toBe(true);
  });

  it('stays small for huge images', () => {
    const known = new KnownData(2 ** 50);
    known.add(0, 2 ** 50);
    expect(known.covers(2 ** 49, 2 ** 40)).toBe(true);
  });
});

describe('an export', () => {
  it('refuses names and descriptions that the protocol cannot carry', () => {
    const backend = new FakeBackend(512);
    expect(() => new NbdExport({ name: 'é'.repeat(2049), backend })).toThrow("' too long");
    expect(() => new NbdExport({ name: 'x', description: 'd'.repeat(4097), backend })).toThrow(/^description 'd{4097}' too long$/);
    expect(new NbdExport({ name: 'x'.repeat(4096), backend }).name.length).toBe(4096);
  });

  it('tells what can be done with it', () => {
    const backend = new FakeBackend(512);
    expect(new NbdExport({ name: 'x', backend, writable: true, multiConn: false }).flags).toBe(0xc6d);
    expect(new NbdExport({ name: 'x', backend, writable: true }).flags).toBe(0xd6d);
    expect(new NbdExport({ name: 'x', backend }).flags).toBe(0x50f);
    backend.readOnly = true;
    expect(new NbdExport({ name: 'x', backend, writable: true, multiConn: false }).flags).toBe(0x40f);
  });
});
