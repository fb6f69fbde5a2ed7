/*
 * Creation options of qcow2: their list for help and parsing, and the checks of their values in the peer's order and words.
 * Rule source: observed behaviour of image creation; the texts of the list are part of the tools' output.
 */
import type { CreateOption, CreateValues } from '../core/block/driver.ts';
import { driverNames } from '../core/block/driver-names.ts';
import type { Prealloc } from '../core/storage/storage.ts';
import { meantValue } from '../core/util/did-you-mean.ts';
import { BlockError } from '../core/util/errors.ts';
import { isPowerOfTwo } from '../core/util/math.ts';
import { encodeName } from '../core/util/name-codec.ts';
import { maxBackingNameLength } from './layout.ts';

export const createOptions: readonly CreateOption[] = [
  { name: 'encryption', type: 'bool', help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)" },
  { name: 'encrypt.format', type: 'string', help: "Encrypt the image, format choices: 'aes', 'luks'" },
  { name: 'encrypt.key-secret', type: 'string', help: 'ID of secret providing qcow AES key or LUKS passphrase' },
  { name: 'encrypt.cipher-alg', type: 'string', help: 'Name of encryption cipher algorithm' },
  { name: 'encrypt.cipher-mode', type: 'string', help: 'Name of encryption cipher mode' },
  { name: 'encrypt.ivgen-alg', type: 'string', help: 'Name of IV generator algorithm' },
  { name: 'encrypt.ivgen-hash-alg', type: 'string', help: 'Name of IV generator hash algorithm' },
  { name: 'encrypt.hash-alg', type: 'string', help: 'Name of encryption hash algorithm' },
  { name: 'encrypt.iter-time', type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
  { name: 'cluster_size', type: 'size', help: 'qcow2 cluster size', defaultText: '65536' },
  { name: 'extended_l2', type: 'bool', help: 'Extended L2 tables', defaultText: 'off' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, metadata, falloc, full)' },
  { name: 'compression_type', type: 'string', help: 'Compression method used for image cluster compression', defaultText: 'zlib' },
  { name: 'keep_data_file', type: 'bool', help: 'Assume the external data file already exists and do not overwrite it' },
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'compat', type: 'string', help: 'Compatibility level (v2 [0.10] or v3 [1.1])' },
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: 'Image format of the base image' },
  { name: 'data_file', type: 'string', help: 'File name of an external data file' },
  { name: 'data_file_raw', type: 'bool', help: 'The external data file must stay valid as a raw image' },
  { name: 'lazy_refcounts', type: 'bool', help: 'Postpone refcount updates', defaultText: 'off' },
  { name: 'refcount_bits', type: 'number', help: 'Width of a reference count entry in bits', defaultText: '16' },
];

/** What of an image `amend` can change, in the peer's order of checks. */
export const amendOptions: readonly CreateOption[] = [
  { name: 'encrypt.state', type: 'string', help: 'Select new state of affected keyslots (active/inactive)' },
  { name: 'encrypt.keyslot', type: 'number', help: 'Select a single keyslot to modify explicitly' },
  { name: 'encrypt.old-secret', type: 'string', help: 'Select all keyslots that match this password' },
  { name: 'encrypt.new-secret', type: 'string', help: 'New secret to set in the matching keyslots. Empty string to erase' },
  ...createOptions.filter(({ name }) =>
    ['encrypt.iter-time', 'size', 'compat', 'backing_file', 'backing_fmt', 'data_file', 'data_file_raw', 'lazy_refcounts', 'refcount_bits'].includes(name),
  ),
];

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
  const encryption = encryptionFormat(values);
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
  if (encryption !== undefined) refuseEncryption(values, encryption);
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

function encryptionFormat(values: CreateValues): 'aes' | 'luks' | undefined {
  const format = textOf(values, 'encrypt.format') ?? (values['encryption'] === true ? 'aes' : undefined);
  if (format === undefined) {
    const given = Object.keys(values).some((name) => name.startsWith('encrypt.') && values[name] !== undefined);
    if (given) throw new BlockError("Parameter 'encrypt.format' is missing", { code: 'ERR_OPTION' });
    return undefined;
  }
  if (format !== 'aes' && format !== 'luks')
    throw new BlockError(`Parameter 'format' does not accept value '${format}'`, { code: 'ERR_OPTION', hint: meantValue(format, ['aes', 'luks']) });
  return format;
}

/** Encrypted images are not made here; the answers to wrong options stay the peer's. */
function refuseEncryption(values: CreateValues, format: 'aes' | 'luks'): never {
  const secret = textOf(values, 'encrypt.key-secret');
  if (secret === undefined) throw new BlockError("Parameter 'encrypt.key-secret' is required for cipher", { code: 'ERR_OPTION' });
  throw new BlockError(`Encryption format '${format}' is not supported for new qcow2 images`, { code: 'ENOTSUP' });
}
