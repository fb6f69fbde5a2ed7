/* The file that a secret is read from: small, once, whole. Messages as QEMU words them. */
import * as fs from 'node:fs';
import { errnoText } from '../util/errno.ts';
import { BlockError } from '../util/errors.ts';
import { systemName } from '../util/name-codec.ts';

/** Throws `Unable to read PATH: …`. */
export function readSecretFile(path: string): Uint8Array {
  try {
    return fs.readFileSync(systemName(path));
  } catch (error) {
    const verb = error instanceof Error && 'syscall' in error && error.syscall === 'read' ? 'Error reading file' : 'Failed to open file';
    throw new BlockError(`Unable to read ${path}: ${verb} “${path}”: ${errnoText(error)}`, { code: 'ERR_OPTION', cause: error });
  }
}
