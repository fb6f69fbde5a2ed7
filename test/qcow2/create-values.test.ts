/* Options of a new image: what they come to, and what is refused in the peer's words and order. */
import { describe, expect, it } from 'vitest';
import type { CreateValues } from '../../src/core/block/driver.ts';
import { checkCreateValues, checkKeptDataFile } from '../../src/qcow2/create-values.ts';

const v3 = 'compatibility level 1.1 and above (use version=v3 or greater)';

describe('options of a new image', () => {
  it('have defaults', () => {
    expect(checkCreateValues({})).toEqual({
      ...{ size: 0, version: 3, clusterBits: 16, refcountOrder: 4, lazyRefcounts: false, extendedL2: false, isZstd: false, preallocation: 'off' },
      ...{ backingFile: undefined, backingFormat: undefined, encryption: undefined, dataFile: undefined, dataFileRaw: false, keepDataFile: false },
    });
  });

  it('are taken as they are given', () => {
    const { clusterBits, refcountOrder, ...others } = checkCreateValues({
      ...{ size: 4096, compat: '1.1', cluster_size: 2 * 1024 * 1024, refcount_bits: 64, lazy_refcounts: true, extended_l2: true },
      ...{ compression_type: 'zstd', preallocation: 'metadata', data_file: 'd', data_file_raw: true, keep_data_file: true },
    });
    expect([clusterBits, refcountOrder]).toEqual([21, 6]);
    expect(others).toMatchObject({ size: 4096, version: 3, lazyRefcounts: true, extendedL2: true, isZstd: true, preallocation: 'metadata' });
    expect(others).toMatchObject({ dataFile: 'd', dataFileRaw: true, keepDataFile: true });
    expect(checkCreateValues({ cluster_size: 512, refcount_bits: 1 })).toMatchObject({ clusterBits: 9, refcountOrder: 0 });
    expect(checkCreateValues({ backing_file: 'b', backing_fmt: 'raw', compat: 'v2' })).toMatchObject({ version: 2, backingFile: 'b', backingFormat: 'raw' });
    for (const [compat, version] of [
      ['0.10', 2],
      ['v2', 2],
      ['1.1', 3],
      ['v3', 3],
    ] as const)
      expect(checkCreateValues({ compat }).version).toBe(version);
    expect(checkCreateValues({ backing_file: 'b', preallocation: 'metadata', extended_l2: true }).preallocation).toBe('metadata');
    expect(checkCreateValues({ backing_file: 'b', preallocation: 'off' }).preallocation).toBe('off');
    expect(checkCreateValues({ encryption: true }).encryption).toBe('aes');
    expect(checkCreateValues({ encryption: false }).encryption).toBeUndefined();
    expect(checkCreateValues({ 'encrypt.format': 'aes', 'encrypt.key-secret': 's' }).encryption).toBe('aes');
    expect(checkCreateValues({ 'encrypt.format': 'luks', 'encrypt.key-secret': 's' }).encryption).toBe('luks');
    expect(checkCreateValues({ backing_file: 'b'.repeat(1023) }).backingFile).toHaveLength(1023);
  });

  it.each<[CreateValues, string]>([
    [{ compat: 'v4' }, "Parameter 'version' does not accept value 'v4'"],
    [{ backing_fmt: 'nosuch', backing_file: 'b' }, "Parameter 'backing-fmt' does not accept value 'nosuch'"],
    [{ preallocation: 'some' }, "Parameter 'preallocation' does not accept value 'some'"],
    [{ compression_type: 'lzo' }, "Parameter 'compression-type' does not accept value 'lzo'"],
    ...[256, 768, 4 * 1024 * 1024, 0].map((bytes): [CreateValues, string] => [
      { cluster_size: bytes },
      'Cluster size must be a power of two between 512 and 2048k',
    ]),
    [{ extended_l2: true, cluster_size: 8192 }, 'Extended L2 entries are only supported with cluster sizes of at least 16384 bytes'],
    [{ extended_l2: true, compat: '0.10' }, `Extended L2 entries are only supported with ${v3}`],
    [{ backing_file: 'b', preallocation: 'metadata' }, 'Backing file and preallocation can only be used at the same time if extended_l2 is on'],
    [{ backing_fmt: 'raw' }, 'Backing format cannot be used without backing file'],
    [{ lazy_refcounts: true, compat: '0.10' }, `Lazy refcounts only supported with ${v3}`],
    [{ refcount_bits: 3 }, 'Refcount width must be a power of two and may not exceed 64 bits'],
    [{ refcount_bits: 128 }, 'Refcount width must be a power of two and may not exceed 64 bits'],
    [{ refcount_bits: 8, compat: '0.10' }, 'Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)'],
    [{ data_file_raw: true }, 'data-file-raw requires data-file'],
    [{ data_file_raw: true, data_file: 'd', backing_file: 'b' }, 'Backing file and data-file-raw cannot be used at the same time'],
    [{ keep_data_file: true }, "Must not use 'keep_data_file=on' without 'data_file'"],
    [{ data_file: 'd', compat: '0.10' }, `External data files are only supported with ${v3}`],
    [{ compression_type: 'zstd', compat: '0.10' }, `Non-zlib compression type is only supported with ${v3}`],
    [{ backing_file: 'b'.repeat(1024), backing_fmt: 'raw' }, `Could not assign backing file '${'b'.repeat(1024)}' with format 'raw': Invalid argument`],
    [{ backing_file: 'b'.repeat(1024) }, `Could not assign backing file '${'b'.repeat(1024)}' with format '': Invalid argument`],
    [{ 'encrypt.key-secret': 's' }, "Parameter 'encrypt.format' is missing"],
    [{ 'encrypt.format': 'rot13' }, "Parameter 'format' does not accept value 'rot13'"],
    [{ 'encrypt.format': 'aes', 'encrypt.cipher-alg': 'aes-256' }, "Parameter 'encrypt.cipher-alg' is unexpected"],
  ])('are refused: %j', (values, message) => {
    expect(() => checkCreateValues(values)).toThrow(expect.objectContaining({ message, code: expect.stringMatching(/^E[A-Z_]+$/) }));
  });

  it('tell what was meant', () => {
    const hint = (values: CreateValues): unknown => {
      try {
        checkCreateValues(values);
      } catch (error) {
        return (error as { hint?: unknown }).hint;
      }
      return expect.fail('accepted');
    };
    expect(hint({ preallocation: 'metadat' })).toContain('metadata');
    expect(hint({ 'encrypt.format': 'luk' })).toContain('luks');
    expect(hint({ compat: '1.2' })).toContain('1.1');
  });

  it('that keep a data file must leave its content visible and in place', () => {
    const kept = (values: CreateValues): void => checkKeptDataFile(checkCreateValues({ data_file: 'd', keep_data_file: true, ...values }));
    for (const preallocation of ['falloc', 'full']) expect(() => kept({ preallocation })).toThrow("would overwrite the external data file's content");
    expect(() => kept({})).toThrow("'keep_data_file=on' requires 'preallocation=metadata' or 'data_file_raw=on'");
    kept({ data_file_raw: true });
    kept({ preallocation: 'metadata' });
  });
});
