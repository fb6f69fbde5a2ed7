/* An engine over media in memory, by path; each may be wrapped (delayed, faulty). */

import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { Engine } from '../../src/engine/engine.ts';

export interface MemoryEngine {
  readonly engine: Engine;
  readonly media: Map<string, MemoryStorage>;
}

export function memoryEngine(wrap: (storage: Storage, path: string) => Storage = (storage) => storage): MemoryEngine {
  const media = new Map<string, MemoryStorage>();
  const engine = new Engine({
    openStorage: async (path, how) => {
      let medium = media.get(path);
      if (medium === undefined) {
        if (how.create === 'never') throw new BlockError('No such file or directory', { code: 'ENOENT' });
        medium = new MemoryStorage(path);
        media.set(path, medium);
      } else if (how.create === 'truncate') medium.truncate(0);
      return wrap(medium, path);
    },
  });
  return { engine, media };
}
