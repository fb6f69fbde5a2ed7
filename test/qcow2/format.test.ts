/* Bytes of the format against vectors taken from the peer. */
import { describe, expect, it } from 'vitest';
import type { CreateValues } from '../../src/core/block/driver.ts';
import { makeGeometry } from '../../src/qcow2/address.ts';
import { decodeHeader, encodeHeader } from '../../src/qcow2/header.ts';
import { clusterKind, compressedEntry, compressedExtent, newEntry, readEntry, standardKind, subclusterKind, subclusterRun } from '../../src/qcow2/l2-entry.ts';
import { probeQcow2 } from '../../src/qcow2/probe.ts';
import { getRefcount, setRefcount } from '../../src/qcow2/refcount-blocks.ts';
import { CachedTable } from '../../src/qcow2/table-cache.ts';
import { bytesOf, filled, newDisk, newMedium } from './image-support.ts';

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const geometryOf = (clusterBits: number, isExtended = false) => makeGeometry({ clusterBits, isExtended, refcountOrder: 4, version: 3 });

describe('a new image', () => {
  it('has the header and tables of a 64 MiB default image', async () => {
    const image = bytesOf(await newMedium({ size: 64 * 1024 * 1024 }));
    expect(hexOf(image.subarray(0, 112))).toBe(
      '514649fb000000030000000000000000000000000000001000000000040000000000000000000001000000000003000000000000000100000000000100000000000000000000000000000000000000000000000000000000000000000000000000000004000000700000000000000000',
    );
    expect(hexOf(image.subarray(0x10000, 0x10008))).toBe('0000000000020000');
    expect(hexOf(image.subarray(0x20000, 0x2000a))).toBe('00010001000100010000');
    expect(image.length).toBe(196616);
  });

  it('keeps the bytes of names that are no text when its header is written anew', async () => {
    const image = bytesOf(await newMedium({ size: 1024 * 1024, cluster_size: 4096, backing_file: 'b12.raw', backing_fmt: 'raw' }));
    const cluster = image.slice(0, 4096);
    const at = Buffer.from(cluster).indexOf('b12.raw');
    cluster.set([0xff, 0xc3], at + 1);
    expect(encodeHeader(decodeHeader(cluster, { readOnly: true }))).toEqual(cluster);
  });

  it('marks zstd in the header', async () => {
    const image = bytesOf(await newMedium({ size: 1024 * 1024, compression_type: 'zstd' }));
    expect(hexOf(image.subarray(72, 112))).toBe('00000000000000080000000000000000000000000000000000000004000000700100000000000000');
  });

  it.each<[CreateValues, number]>([
    [{ size: 0 }, 3 * 65536],
    [{ size: 10 * 2 ** 30 }, 0x300a0],
    [{ size: 2 ** 40 }, 0x34000],
    [{ size: 64 * 1024 * 1024, cluster_size: 512 }, 0x4600],
  ])('of %o is %i bytes long', async (values, length) => {
    expect((await newMedium(values)).size()).toBe(length);
  });

  it('is recognised by its first bytes, a cut one is not', () => {
    expect(probeQcow2(bytes('514649fb00000003'))).toBe(100);
    expect(probeQcow2(bytes('514649fb00000001'))).toBe(0);
    expect(probeQcow2(bytes('514649fb'))).toBe(0);
    expect(probeQcow2(bytes('514649fa00000003'))).toBe(0);
  });

  it('keeps what it does not know when the header is written again', async () => {
    const image = bytesOf(await newMedium({ size: 1024 * 1024, cluster_size: 4096, backing_file: 'base', backing_fmt: 'raw' }));
    const header = decodeHeader(image.subarray(0, 4096), { readOnly: true });
    header.unknownExtensions.push({ type: 0x12345678, data: Uint8Array.from([1, 2, 3]) });
    header.unknownFields = filled(16, 9);
    header.compatible |= 1n << 40n;
    const again = decodeHeader(encodeHeader(header), { readOnly: true });
    expect(again).toEqual(header);
    expect(again.backingFile).toBe('base');
  });
});

describe('L2 entries', () => {
  it.each<[string, number, number, boolean]>([
    ['8000000000050000', clusterKind.data, 0x50000, true],
    ['8000000000050001', clusterKind.zeroPlaced, 0x50000, true],
    ['0000000000000001', clusterKind.zero, 0, false],
    ['0000000000050000', clusterKind.data, 0x50000, false],
    ['0000000000000000', clusterKind.unallocated, 0, false],
  ])('decode %s', (hex, kind, offset, isCopied) => {
    const entry = readEntry(geometryOf(16), new CachedTable(0, bytes(hex)), 0, newEntry());
    expect([standardKind(entry, false), entry.offset, entry.isCopied]).toEqual([kind, offset, isCopied]);
  });

  it.each<[number, string, number, number]>([
    [16, '5000000000070000', 0x70000, 32887],
    [16, '4340000000060000', 0x60000, 6809],
    [16, '5000000000051a99', 0x51a99, 32887],
    [21, '4008000000a00000', 0xa00000, 5 * 512],
  ])('of %i-bit clusters locate compressed data: %s', (bits, hex, offset, length) => {
    const [hi, lo] = [parseInt(hex.slice(0, 8), 16), parseInt(hex.slice(8), 16)];
    const found = compressedExtent(geometryOf(bits), hi, lo);
    expect(found.offset).toBe(offset);
    expect(found.length).toBeGreaterThanOrEqual(length);
    expect(compressedEntry(geometryOf(bits), offset, found.length)).toEqual({ hi, lo });
  });

  it('decode subclusters and their runs', () => {
    const table = new CachedTable(0, bytes('8000000000050000 0000000400000012'));
    const entry = readEntry(geometryOf(16, true), table, 0, newEntry());
    const kinds = [0, 1, 2, 4].map((index) => subclusterKind(entry, index, false));
    expect(kinds).toEqual([clusterKind.unallocatedPlaced, clusterKind.data, clusterKind.zeroPlaced, clusterKind.data]);
    expect([subclusterRun(entry, 0), subclusterRun(entry, 1), subclusterRun(entry, 5)]).toEqual([1, 1, 27]);
    entry.allocated |= 4;
    expect(subclusterKind(entry, 2, false)).toBe(clusterKind.invalid);
    expect(subclusterRun({ ...entry, allocated: 0xffffffff, zeros: 0 }, 0)).toBe(32);
  });

  it('of extended images show which subclusters a write touched', async () => {
    const { engine, backend, medium } = await newDisk({ values: { size: 1024 * 1024, extended_l2: true } });
    await backend.write(3072, filled(512, 1));
    await backend.write(8192, filled(2048, 2));
    await engine.close();
    expect(medium.size()).toBe(0x52800);
    expect(hexOf(bytesOf(medium).subarray(0x40000, 0x40010))).toBe('80000000000500000000000000000012');
  });
});

describe('refcounts', () => {
  const counts = [1, 1, 1, 1, 2, 2, 2, 1, 1];
  it.each<[number, string]>([
    [2, '556a01'],
    [4, '1111221201'],
    [8, '010101010202020101'],
    [16, '000100010001000100020002000200010001'],
  ])('of %i bits are packed as the peer packs them', (bits, hex) => {
    const block = new Uint8Array(hex.length / 2);
    const view = new DataView(block.buffer);
    for (const [index, count] of counts.entries()) setRefcount(view, bits, index, count);
    expect(hexOf(block)).toBe(hex);
    expect(counts.map((_, index) => getRefcount(view, bits, index))).toEqual(counts);
  });

  it.each([32, 64])('of %i bits are big-endian', (bits) => {
    const view = new DataView(new ArrayBuffer(24));
    setRefcount(view, bits, 1, 0x1020304);
    expect(getRefcount(view, bits, 1)).toBe(0x1020304);
    expect(view.getUint32(bits === 32 ? 4 : 12)).toBe(0x1020304);
    expect(getRefcount(view, bits, 0)).toBe(0);
  });

  it('of 1 bit fill a byte from its lowest bit', () => {
    const view = new DataView(new ArrayBuffer(2));
    for (let index = 0; index < 7; index++) setRefcount(view, 1, index, 1);
    expect(view.getUint8(0)).toBe(0x7f);
    setRefcount(view, 1, 3, 0);
    expect(view.getUint8(0)).toBe(0x77);
  });
});
