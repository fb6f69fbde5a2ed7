/* What open refuses, in which words and in which order; and what it lets pass. */
import { describe, expect, it } from 'vitest';
import { FaultyStorage } from '../../src/core/storage/faulty.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { setU32, setU64, setU64Big } from '../../src/core/util/bytes.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { bytesOf, mediumOf, newMedium, openMedium } from './image-support.ts';

type Mutation = (image: Uint8Array) => void;
const u32 =
  (at: number, value: number): Mutation =>
  (image) =>
    setU32(image, at, value);
const u64 =
  (at: number, value: number | bigint): Mutation =>
  (image) =>
    typeof value === 'bigint' ? setU64Big(image, at, value) : setU64(image, at, value);
const both =
  (...mutations: readonly Mutation[]): Mutation =>
  (image) => {
    for (const mutate of mutations) mutate(image);
  };

async function open(mutate: Mutation, readOnly = true): Promise<string> {
  const image = bytesOf(await newMedium({ size: 4 * 1024 * 1024 }));
  mutate(image);
  try {
    const { engine, backend } = await openMedium(mediumOf(image), { readOnly });
    const size = backend.size();
    await engine.close();
    return `opens with ${size} bytes`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const K64 = 0x10000n;

describe('an image is refused when', () => {
  it.each<[string, Mutation, string]>([
    ['the magic differs', u32(0, 0x514649fa), 'Image is not in qcow2 format'],
    ['the version is unknown', u32(4, 4), 'Unsupported qcow2 version 4'],
    ['clusters are too small', u32(20, 8), 'Unsupported cluster size: 2^8'],
    ['clusters are absurdly large', u32(20, 0xffffffff), 'Unsupported cluster size: 2^4294967295'],
    ['the cluster size does not fit the tables', u32(20, 12), 'L1 table is too small'],
    ['the tables do not fit the cluster size', u32(20, 21), 'Reference count table offset invalid'],
    ['the disk is larger than its L1 table', u64(24, 2 ** 40), 'L1 table is too small'],
    ['the disk is too big', u64(24, 2n ** 62n), 'Image is too big'],
    ['the size wraps', u64(24, 2n ** 64n - 1n), 'Could not refresh total sector count: File too large'],
    ['LUKS has no header', u32(32, 2), 'Missing CRYPTO header for crypt method 2'],
    ['the encryption is unknown', u32(32, 0xffffffff), 'Unsupported encryption method -1'],
    ['the L1 table is too large', u32(36, 0x400001), 'Active L1 table too large'],
    ['the L1 table is unaligned', u64(40, 512), 'Active L1 table offset invalid'],
    ['the L1 table ends beyond 2^63', u64(40, 2n ** 64n - K64), 'Active L1 table offset invalid'],
    ['the refcount table is unaligned', u64(48, 1), 'Reference count table offset invalid'],
    ['there is no refcount table', u32(56, 0), 'Image does not contain a reference count table'],
    ['the refcount table is too large', u32(56, 129), 'Reference count table too large'],
    ['there are too many snapshots', u32(60, 65537), 'Snapshot table too large'],
    ['the snapshot table is unaligned', u64(64, 12345), 'Snapshot table offset invalid'],
    ['a data file is missing', u64(72, 4), "'data-file' is required for this image"],
    ['the compression bit lacks a type', u64(72, 8), 'qcow2: Compression type incompatible feature bit must not be set'],
    ['the compression type lacks its bit', (image) => image.fill(1, 104, 105), 'qcow2: Compression type incompatible feature bit must be set'],
    ['the compression type is unknown', (image) => image.fill(2, 104, 105), 'qcow2: unknown compression type: 2'],
    ['a feature is unknown', u64(72, 0x20), 'Unsupported qcow2 feature(s): Unknown incompatible feature: 20'],
    ['features are unknown', u64(72, 0x8000000000000020n), 'Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000020'],
    [
      'an unknown feature has a name',
      both(u64(72, 0x60), (image) => {
        // the table's first entry: incompatible bit 5
        image.set([0, 5, ...Buffer.from('my feature\0')], 120);
      }),
      'Unsupported qcow2 feature(s): my feature, Unknown incompatible feature: 40',
    ],
    ['raw data asks for a data file', u64(88, 2), 'data-file-raw requires a data file'],
    ['refcounts are too wide', u32(96, 7), 'Reference count entry width too large; may not exceed 64 bits'],
    ['the header is too short', u32(100, 103), 'qcow2 header too short'],
    ['the header is cut', (image) => image.fill(0, 80), 'qcow2 header too short'],
    ['the header is longer than a cluster', u32(100, 65544), 'qcow2 header exceeds cluster size'],
    ['an extension is too long', u32(116, 0x10000), 'Header extension too large'],
    ['the header ends inside an extension', u32(100, 108), 'Header extension too large'],
    ['the backing name is too long', both(u64(8, 1024), u32(16, 1024)), 'Backing file name too long'],
    ['the backing name is beyond the first cluster', both(u64(8, 65537), u32(16, 4)), 'Invalid backing file offset'],
    ['the backing format is too long', both(u32(112, 0xe2792aca), u32(116, 16)), 'ERROR: ext_backing_format: len=16 too large (>=16)'],
    ['an encryption header belongs to nobody', both(u32(112, 0x0537be77), u32(116, 16)), 'CRYPTO header extension only expected with LUKS encryption method'],
    ['the encryption header has a wrong size', both(u32(32, 2), u32(112, 0x0537be77), u32(116, 8)), 'CRYPTO header extension size 8, but expected size 16'],
    [
      'the encryption header is unaligned',
      both(u32(32, 2), u32(112, 0x0537be77), u32(116, 16), u64(120, 512)),
      "Encryption header offset '512' is not a multiple of cluster size '65536'",
    ],
    ['the bitmaps extension has a wrong size', both(u64(88, 1), u32(112, 0x23852875), u32(116, 23)), 'bitmaps_ext: Invalid extension length'],
    ['there are no bitmaps', both(u64(88, 1), u32(112, 0x23852875), u32(116, 24), u64(120, 0)), 'found bitmaps extension with zero bitmaps'],
    [
      'there are too many bitmaps',
      both(u64(88, 1), u32(112, 0x23852875), u32(116, 24), u32(120, 65536), u32(124, 0)),
      'bitmaps_ext: Image has 65536 bitmaps, exceeding the QEMU supported maximum of 65535',
    ],
    [
      'several things are wrong: the first check speaks',
      both(u32(96, 7), u32(56, 0), u32(36, 0x400001), u64(72, 0x20)),
      'Unsupported qcow2 feature(s): Unknown incompatible feature: 20',
    ],
  ])('%s', async (_what, mutate, message) => {
    expect(await open(mutate)).toBe(message);
  });

  it('it is corrupt and to be written', async () => {
    expect(await open(u64(72, 2), false)).toBe('qcow2: Image is corrupt; cannot be opened read/write');
    expect(await open(u64(72, 2), true)).toBe('opens with 4194304 bytes');
  });
});

describe('an image opens although', () => {
  it.each<[string, Mutation, number]>([
    ['its size is no multiple of a sector', u64(24, 513), 512],
    ['its size is less than a sector', u64(24, 511), 0],
    ['it has unknown compatible features', u64(80, 0x100), 4194304],
    ['it has unknown autoclear features', u64(88, 0x100), 4194304],
    ['its header length is odd', u32(100, 105), 4194304],
    ['its L1 table lies beyond the end of the file', u64(40, 2 ** 40), 4194304],
    ['an extension is unknown', u32(112, 0x1234), 4194304],
    ['bitmaps are there without their feature', both(u32(112, 0x23852875), u32(116, 24)), 4194304],
  ])('%s', async (_what, mutate, size) => {
    expect(await open(mutate)).toBe(`opens with ${size} bytes`);
  });

  it('it is only a header', async () => {
    const image = bytesOf(await newMedium({ size: 0 })).subarray(0, 112);
    const { engine, backend } = await openMedium(mediumOf(Uint8Array.from(image)), { readOnly: true });
    expect(backend.size()).toBe(0);
    await engine.close();
  });
});

describe('an image whose medium fails', () => {
  it.each([
    ['at the header', 0, 'Could not read qcow2 header: Input/output error'],
    ['at the refcount table', 65536, 'Could not initialize refcount handling: Input/output error'],
    ['at the L1 table', 196608, 'Could not read L1 table: Input/output error'],
    ['at the snapshot table', 262144, 'Failed to read snapshot table: Input/output error'],
  ])('%s says so', async (_what, bad, message) => {
    const image = new Uint8Array(327680);
    image.set(bytesOf(await newMedium({ size: 4 * 1024 * 1024 })));
    setU32(image, 60, 1);
    setU64(image, 64, 262144);
    const broken = (storage: Storage): Storage =>
      new FaultyStorage(storage, {
        fail: (op, offset) => (op === 'read' && offset === bad ? new BlockError('Input/output error', { code: 'EIO' }) : undefined),
      });
    await expect(openMedium(mediumOf(image), { readOnly: true, wrap: broken })).rejects.toThrow(message);
  });
});

it('clears unknown autoclear bits before a writer touches anything', async () => {
  const image = bytesOf(await newMedium({ size: 4 * 1024 * 1024 }));
  setU64(image, 88, 0x100);
  const medium = mediumOf(image);
  const { engine } = await openMedium(medium);
  expect(bytesOf(medium).subarray(88, 96)).toEqual(new Uint8Array(8));
  await engine.close();
});
