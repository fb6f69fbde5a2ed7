/*
 * Values of creation options of qcow2, checked in the peer's order and words. Rule source: observed behaviour of image creation.
 */
import type { CreateValues } from '../core/block/driver.ts';
import { driverNames } from '../core/block/driver-names.ts';
import type { Prealloc } from '../core/storage/storage.ts';
import { meantValue } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPowerOfTwo } from '../core/util/math.ts';
import { encodeName } from '../core/util/name-codec.ts';
import { readLuksCreation } from '../crypto/luks-values.ts';
import { maxBackingNameLength } from './layout.ts';

/** Checked values. */
export interface CreateSettings {
  readonly size: number;
  readonly version: number;
  readonly clusterBits: number;
  readonly refcountOrder: number;
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
  readonly isZstd: boolean;
  readonly preallocation: Prealloc;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  readonly encryption: 'aes' | 'luks' | undefined;
  readonly dataFile: string | undefined;
  readonly dataFileRaw: boolean;
  readonly keepDataFile: boolean;
}

const onlyV3 = 'compatibility level 1.1 and above (use version=v3 or greater)';

function textOf(values: CreateValues, name: string): string | undefined {
  const value = values[name];
  return value === undefined ? undefined : String(value);
}

function oneOf<T extends string>(values: CreateValues, name: string, shown: string, allowed: readonly T[]): T | undefined {
  const text = textOf(values, name);
  if (text === undefined) return undefined;
  const found = allowed.find((candidate) => candidate === text);
  if (found === undefined)
    throw new BlockError(`Parameter '${shown}' does not accept value '${text}'`, { code: 'ERR_OPTION', hint: meantValue(text, allowed) });
  return found;
}

/** Checks `values`; throws the first failure in the peer's order. */
export function checkCreateValues(values: CreateValues): CreateSettings {
  const compat = textOf(values, 'compat') ?? 'v3';
  const version = compat === '0.10' || compat === 'v2' ? 2 : compat === '1.1' || compat === 'v3' ? 3 : undefined;
  if (version === undefined)
    throw new BlockError(`Parameter 'version' does not accept value '${compat}'`, { code: 'ERR_OPTION', hint: meantValue(compat, ['0.10', '1.1']) });
  const backingFormat = oneOf(values, 'backing_fmt', 'backing-fmt', driverNames);
  const encryption = readEncryption(values);
  const preallocation = oneOf(values, 'preallocation', 'preallocation', ['off', 'metadata', 'falloc', 'full'] as const);
  const compression = oneOf(values, 'compression_type', 'compression-type', ['zlib', 'zstd'] as const) ?? 'zlib';
  const clusterSize = Number(values['cluster_size'] ?? 65536);
  if (!isPowerOfTwo(clusterSize) || clusterSize < 512 || clusterSize > 2 * 1024 * 1024) {
    throw new BlockError('Cluster size must be a power of two between 512 and 2048k', { code: 'ERR_OPTION' });
  }
  const extendedL2 = values['extended_l2'] === true;
  if (extendedL2 && clusterSize < 16384)
    throw new BlockError('Extended L2 entries are only supported with cluster sizes of at least 16384 bytes', { code: 'ENOTSUP' });
  if (extendedL2 && version < 3) throw new BlockError(`Extended L2 entries are only supported with ${onlyV3}`, { code: 'ENOTSUP' });
  const backingFile = textOf(values, 'backing_file');
  if (backingFile !== undefined && preallocation !== undefined && preallocation !== 'off' && !extendedL2) {
    throw new BlockError('Backing file and preallocation can only be used at the same time if extended_l2 is on', { code: 'ERR_OPTION' });
  }
  if (backingFormat !== undefined && backingFile === undefined)
    throw new BlockError('Backing format cannot be used without backing file', { code: 'ERR_OPTION' });
  const lazyRefcounts = values['lazy_refcounts'] === true;
  if (version < 3 && lazyRefcounts) throw new BlockError(`Lazy refcounts only supported with ${onlyV3}`, { code: 'ENOTSUP' });
  const refcountBits = Number(values['refcount_bits'] ?? 16);
  if (refcountBits > 64 || !isPowerOfTwo(refcountBits))
    throw new BlockError('Refcount width must be a power of two and may not exceed 64 bits', { code: 'ERR_OPTION' });
  if (version < 3 && refcountBits !== 16) {
    throw new BlockError('Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)', { code: 'ERR_OPTION' });
  }
  const data = checkDataFile(values, version, backingFile);
  if (compression !== 'zlib' && version < 3) throw new BlockError(`Non-zlib compression type is only supported with ${onlyV3}`, { code: 'ENOTSUP' });
  if (backingFile !== undefined && encodeName(backingFile).length > maxBackingNameLength) {
    throw new BlockError(`Could not assign backing file '${backingFile}' with format '${backingFormat ?? ''}': Invalid argument`, { code: 'ERR_OPTION' });
  }
  return {
    size: Number(values['size'] ?? 0),
    version,
    clusterBits: Math.log2(clusterSize),
    refcountOrder: Math.log2(refcountBits),
    lazyRefcounts,
    extendedL2,
    isZstd: compression === 'zstd',
    preallocation: preallocation ?? 'off',
    backingFile,
    backingFormat,
    encryption,
    ...data,
  };
}

function checkDataFile(
  values: CreateValues,
  version: number,
  backingFile: string | undefined,
): { dataFile: string | undefined; dataFileRaw: boolean; keepDataFile: boolean } {
  const dataFile = textOf(values, 'data_file');
  const dataFileRaw = values['data_file_raw'] === true;
  const keepDataFile = values['keep_data_file'] === true;
  if (dataFileRaw && dataFile === undefined) throw new BlockError('data-file-raw requires data-file', { code: 'ERR_OPTION' });
  if (dataFileRaw && backingFile !== undefined) throw new BlockError('Backing file and data-file-raw cannot be used at the same time', { code: 'ERR_OPTION' });
  if (keepDataFile && dataFile === undefined) throw new BlockError("Must not use 'keep_data_file=on' without 'data_file'", { code: 'ERR_OPTION' });
  if (dataFile !== undefined && version < 3) throw new BlockError(`External data files are only supported with ${onlyV3}`, { code: 'ENOTSUP' });
  return { dataFile, dataFileRaw, keepDataFile };
}

/** What can be wrong with keeping the content of an external data file; asked once that could be opened. */
export function checkKeptDataFile({ preallocation, dataFileRaw }: CreateSettings): void {
  if (preallocation === 'falloc' || preallocation === 'full') {
    throw new BlockError(
      "Preallocating more than only metadata would overwrite the external data file's content and is therefore incompatible with 'keep_data_file=on'",
      { code: 'ERR_OPTION' },
    );
  }
  if (preallocation === 'off' && !dataFileRaw) {
    throw new BlockError("'keep_data_file=on' requires 'preallocation=metadata' or 'data_file_raw=on', or the file contents will not be visible", {
      code: 'ERR_OPTION',
    });
  }
}

/** The encryption that is asked for; what its options hold is checked. */
function readEncryption(values: CreateValues): 'aes' | 'luks' | undefined {
  const given = Object.keys(values).filter((name) => name.startsWith('encrypt.') && values[name] !== undefined);
  if (values['encryption'] === true && values['encrypt.format'] !== undefined)
    throw new BlockError("'encrypt.format' and its alias 'encryption' can't be used at the same time", { code: 'ERR_OPTION' });
  const format = textOf(values, 'encrypt.format') ?? (values['encryption'] === true ? 'aes' : undefined);
  if (format === undefined) {
    if (given.length > 0) throw new BlockError("Parameter 'encrypt.format' is missing", { code: 'ERR_OPTION' });
    return undefined;
  }
  if (format !== 'aes' && format !== 'luks')
    throw new BlockError(`Parameter 'format' does not accept value '${format}'`, { code: 'ERR_OPTION', hint: meantValue(format, ['aes', 'luks']) });
  if (format === 'luks') readLuksCreation(values, 'encrypt.');
  const unexpected = given.find((name) => name !== 'encrypt.format' && name !== 'encrypt.key-secret');
  if (format === 'aes' && unexpected !== undefined) throw new BlockError(`Parameter '${unexpected}' is unexpected`, { code: 'ERR_OPTION' });
  return format;
}
