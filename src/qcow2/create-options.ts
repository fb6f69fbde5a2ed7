/*
 * Options of new qcow2 images, and of amend: tables only, loaded with the driver. The texts are part of the tools' output.
 */
import type { CreateOption } from '../core/block/driver.ts';
import { luksAmendOptions, luksCreateOptions } from '../crypto/luks-options.ts';

export const createOptions: readonly CreateOption[] = [
  { name: 'encryption', type: 'bool', help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)" },
  { name: 'encrypt.format', type: 'string', help: "Encrypt the image, format choices: 'aes', 'luks'" },
  { name: 'encrypt.key-secret', type: 'string', help: 'ID of secret providing qcow AES key or LUKS passphrase' },
  ...luksCreateOptions('encrypt.'),
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
  ...luksAmendOptions('encrypt.'),
  ...createOptions.filter(({ name }) =>
    ['size', 'compat', 'backing_file', 'backing_fmt', 'data_file', 'data_file_raw', 'lazy_refcounts', 'refcount_bits'].includes(name),
  ),
];
