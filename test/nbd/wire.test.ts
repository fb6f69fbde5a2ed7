/* Structs on the wire, the memory they lie in, and what an export remembers of its data. */
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../src/core/util/errors.ts';
import { BufferPool } from '../../src/nbd/buffer-pool.ts';
import { NbdExport } from '../../src/nbd/export.ts';
import { KnownData } from '../../src/nbd/known-data.ts';
import { baseAllocation, matchesQuery } from '../../src/nbd/meta-context.ts';
import { nbdErrno } from '../../src/nbd/protocol.ts';
import {
  decodeRequest,
  emptyRequest,
  encodeDataChunk,
  encodeErrorChunk,
  encodeExportNameReply,
  encodeHoleChunk,
  encodeSimpleReply,
  offsetText,
} from '../../src/nbd/wire.ts';
import { FakeBackend } from '../support/nbd-fake.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('structs', () => {
  const request = emptyRequest();
  decodeRequest(Buffer.from('ff25609513000900070102030405060708ffffffffffffffff80000000', 'hex'), 1, request);

  it('decodes every field of a request, offsets above 2^53 included', () => {
    expect(request).toMatchObject({ magic: 0x25609513, flags: 9, type: 7, cookieHigh: 0x01020304, cookieLow: 0x05060708, length: 0x80000000 });
    expect(request.offset).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
    expect(offsetText(request)).toBe('18446744073709551615');
  });

  it('encodes replies with the cookie as it came', () => {
    const bytes = new Uint8Array(64);
    encodeSimpleReply(bytes, 1, request, 5);
    expect(hex(bytes.subarray(0, 18))).toBe('0067446698000000050102030405060708' + '00');
    encodeDataChunk(bytes, 0, request, 2 ** 40 + 1, 512, true);
    expect(hex(bytes.subarray(0, 28))).toBe('668e33ef000100010102030405060708000002080000010000000001');
    encodeHoleChunk(bytes, 0, request, 4096, 0x80000000, false);
    expect(hex(bytes.subarray(0, 32))).toBe('668e33ef0000000201020304050607080000000c000000000000100080000000');
    const length = encodeErrorChunk(bytes, 0, request, 22, Buffer.from('no'));
    expect(hex(bytes.subarray(0, length))).toBe('668e33ef000180010102030405060708000000080000001600026e6f');
  });

  it('answers EXPORT_NAME with and without 124 zeros', () => {
    expect(hex(encodeExportNameReply(65536, 0x18d, false))).toBe('0000000000010000018d');
    expect(encodeExportNameReply(65536, 0x18d, true).length).toBe(134);
  });

  it('maps errors to the few numbers of the protocol', () => {
    const numbers = (['EROFS', 'EIO', 'ENOMEM', 'EDQUOT', 'ENOTSUP', 'ESHUTDOWN', 'EBUSY'] as const).map((code) => nbdErrno(new BlockError('x', { code })));
    expect(numbers).toEqual([1, 5, 12, 28, 95, 108, 22]);
  });
});

describe('queries of meta contexts', () => {
  it.each([
    ['base:allocation', true, true],
    ['base:', true, false],
    ['base:alloc', false, false],
    ['base', false, false],
    ['', false, false],
    ['qemu:', false, false],
  ])('%j lists %s and selects %s', (query, lists, selects) => {
    expect([matchesQuery(baseAllocation, query, true), matchesQuery(baseAllocation, query, false)]).toEqual([lists, selects]);
  });
});

describe('memory', () => {
  it('comes back when the last holder lets go, and is used again', () => {
    const pool = new BufferPool();
    const lease = pool.lease(1000);
    lease.hold();
    lease.release();
    expect(pool.outstanding).toBe(1);
    lease.release();
    expect(pool.outstanding).toBe(0);
    expect(pool.lease(2000)).toBe(lease);
  });

  it('keeps no more than it was told to', () => {
    const pool = new BufferPool(300_000);
    const leases = Array.from({ length: 10 }, () => pool.lease(100_000));
    for (const lease of leases) lease.release();
    expect(pool.kept).toBeLessThanOrEqual(300_000);
    const large = pool.lease(32 * 1024 * 1024);
    expect(large.bytes.length).toBe(32 * 1024 * 1024);
    large.release();
    expect(pool.kept).toBeLessThanOrEqual(300_000);
    expect(pool.outstanding).toBe(0);
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
