/* An engine over media in memory, by path; each may be wrapped (delayed, faulty). Keeps the names of events as they come. */
import { MemoryStorage } from '../../src/core/storage/memory.ts';
import type { Storage } from '../../src/core/storage/storage.ts';
import type { Clock } from '../../src/core/util/clock.ts';
import { BlockError } from '../../src/core/util/errors.ts';
import { Engine } from '../../src/engine/engine.ts';

export interface MemoryEngine {
  readonly engine: Engine;
  readonly media: Map<string, MemoryStorage>;
  /** `id status` for changes of jobs, `EVENT id` for the others. */
  readonly log: string[];
}

type Wrap = (storage: Storage, path: string) => Storage;

export interface MemoryEngineOptions {
  readonly wrap?: Wrap;
  readonly strict?: boolean;
  readonly clock?: Clock;
}

export function memoryEngine(given: Wrap | MemoryEngineOptions = {}): MemoryEngine {
  const { wrap = (storage: Storage) => storage, strict = false, clock }: MemoryEngineOptions = typeof given === 'function' ? { wrap: given } : given;
  const media = new Map<string, MemoryStorage>();
  const engine = new Engine({
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
  engine.events.listen(({ name, data = {} }) => {
    log.push(name === 'JOB_STATUS_CHANGE' ? `${data['id']} ${data['status']}` : `${name} ${data['device'] ?? data['id'] ?? data['export']}`);
  });
  return { engine, media, log };
}
