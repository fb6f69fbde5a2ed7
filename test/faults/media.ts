/* Media in memory for an engine of the public library, with hooks: errors on a script, latency, counts. */
import type { Engine, MemoryStorage, Storage } from '../../src/index.ts';
import type { Library } from './stage.ts';

export type StorageOp = 'read' | 'write' | 'zero' | 'discard' | 'flush' | 'truncate' | 'extents' | 'close';

export interface Hooks {
  /** Waited for before each request. */
  before?(op: StorageOp, offset: number, length: number, path: string): Promise<void> | void;
  /** The errno with which the request fails, or nothing. */
  fail?(op: StorageOp, offset: number, length: number, path: string): string | undefined;
}

export interface HookedEngine {
  readonly engine: Engine;
  readonly media: Map<string, MemoryStorage>;
}

const texts: Readonly<Record<string, string>> = { EIO: 'Input/output error', ENOSPC: 'No space left on device' };

/** An engine over media in memory, by path. `media` may be shared: what one engine wrote another opens. */
export function hookedEngine(library: Library, hooks: Hooks = {}, media: Map<string, MemoryStorage> = new Map()): HookedEngine {
  const engine = new library.Engine({
    openStorage: async (path, how) => {
      let medium = media.get(path);
      if (medium === undefined) {
        if (how.create === 'never') throw new library.BlockError('No such file or directory', { code: 'ENOENT' });
        medium = new library.MemoryStorage(path);
        media.set(path, medium);
      } else if (how.create === 'truncate') await medium.truncate(0);
      return hooked(library, medium, path, hooks);
    },
  });
  return { engine, media };
}

function hooked(library: Library, inner: Storage, path: string, hooks: Hooks): Storage {
  const run = <T>(op: StorageOp, offset: number, length: number, body: () => T | Promise<T>): T | Promise<T> => {
    const go = (): T | Promise<T> => {
      const errno = hooks.fail?.(op, offset, length, path);
      if (errno !== undefined) throw new library.BlockError(texts[errno] ?? errno, { code: errno as 'EIO' });
      return body();
    };
    const waiting = hooks.before?.(op, offset, length, path);
    return waiting === undefined ? go() : waiting.then(go);
  };
  return {
    path,
    get caps() {
      return inner.caps;
    },
    size: () => inner.size(),
    allocatedSize: () => inner.allocatedSize(),
    read: (offset, into) => run('read', offset, into.length, () => inner.read(offset, into)),
    write: (offset, from) => run('write', offset, from.length, () => inner.write(offset, from)),
    zero: (offset, length, mayUnmap) => run('zero', offset, length, () => inner.zero(offset, length, mayUnmap)),
    discard: (offset, length) => run('discard', offset, length, () => inner.discard(offset, length)),
    extents: (offset, length) => run('extents', offset, length, () => inner.extents(offset, length)),
    truncate: (size, prealloc) => run('truncate', size, 0, () => inner.truncate(size, prealloc)),
    flush: () => run('flush', 0, 0, () => inner.flush()),
    [Symbol.asyncDispose]: async () => {
      await run('close', 0, 0, () => undefined);
    },
  };
}
