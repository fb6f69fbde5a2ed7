/* A system over media in memory, by path; each may be wrapped (delayed, faulty). Keeps the names of events as they come. */
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import type { Clock } from '../../src/core/util/clock.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { System } from '../../src/engine/system.ts';

export interface MemorySystem {
  readonly system: System;
  readonly media: Map<string, MemoryStorage>;
  /** `id status` for changes of jobs, `EVENT id` for the others. */
  readonly log: string[];
}

export interface MemorySystemOptions {
  readonly wrap?: (storage: Storage, path: string) => Storage;
  readonly strict?: boolean;
  readonly clock?: Clock;
}

export function memorySystem({ wrap = (storage) => storage, strict = false, clock }: MemorySystemOptions = {}): MemorySystem {
  const media = new Map<string, MemoryStorage>();
  const system = new System({
    strict,
    ...(clock === undefined ? {} : { clock }),
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
  const log: string[] = [];
  system.engine.events.listen(({ name, data = {} }) => {
    log.push(name === 'JOB_STATUS_CHANGE' ? `${data['id']} ${data['status']}` : `${name} ${data['device'] ?? data['id'] ?? data['export']}`);
  });
  return { system, media, log };
}
