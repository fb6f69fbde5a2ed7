/* Reading tables while an image opens: an error says which of them could not be read. */
import type { Child } from '../core/block/child.ts';
import { BlockError } from '../core/util/errors.ts';

/** Fills `into` from `offset`. Rejects with `failure`, a colon and the medium's message. */
export async function readMetadata(failure: string, file: Child, offset: number, into: Uint8Array): Promise<void> {
  try {
    await file.read(offset, into);
  } catch (error) {
    throw error instanceof BlockError ? error.prepend(`${failure}: `) : error;
  }
}
