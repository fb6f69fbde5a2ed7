/*
 * Making images: finds the driver, runs its `create` with a host that makes and opens protocol files, and removes what a
 * failed create made. Messages are the peer's, without the program's prefix.
 */

import { type BlockBackend, resizerPerms } from '../core/block/backend.ts';
import type { CreateHost, CreateTarget, CreateValues } from '../core/block/driver.ts';
import { hasProtocol, stripProtocol } from '../core/block/options.ts';
import { BlockError } from '../core/util/errors.ts';
import { perm } from '../core/util/perm-bits.ts';
import type { Engine } from './engine.ts';
import { creatorOf, takeDevice } from './protocol-creators.ts';

/**
 * Makes an image of `format` at `filename`. `values` are the format's creation options, parsed. True when it is known to
 * read as zeros: all that holds it was made here, out of empty regular files, whatever of it was allocated.
 */
export async function createImage(engine: Engine, format: string, filename: string, values: CreateValues): Promise<boolean> {
  const driver = await creatorOf(engine, format);
  if (driver.create === undefined) throw new BlockError(`Format driver '${format}' does not support image creation`, { code: 'ENOTSUP' });
  const path = driver.kind === 'protocol' ? stripProtocol(filename, format) : localPath(filename);
  const outcome: Outcome = { made: [], readsAsZeros: true };
  try {
    await driver.create(createHost(engine, path, outcome), path, values);
    return outcome.readsAsZeros;
  } catch (error) {
    // a raw image is its file: as much as there is of it stays, as with the peer
    if (driver.isFilterLike !== true) for (const filename of outcome.made) engine.openStorage.remove?.(filename);
    throw error;
  }
}

function localPath(filename: string): string {
  if (!filename.startsWith('file:') && hasProtocol(filename))
    throw new BlockError(`Unknown protocol '${filename.slice(0, filename.indexOf(':'))}'`, { code: 'ENOTSUP' });
  return stripProtocol(filename);
}

interface Outcome {
  /** The files that were made or emptied. */
  readonly made: string[];
  /** False once something takes part that may have held data before. */
  readsAsZeros: boolean;
}

function createHost(engine: Engine, path: string, outcome: Outcome): CreateHost {
  const host: CreateHost = {
    clock: engine.clock,
    objects: engine.objects,
    createFile: async (filename, size, prealloc) => {
      if (engine.openStorage.isDevice?.(filename) === true) return takeDevice(host, filename, { size, preallocation: prealloc });
      const storage = await engine
        .openStorage(filename, { readOnly: false, create: 'keep', direct: false, noFlush: false, locking: 'auto' })
        .catch((error: unknown) => {
          if (!(error instanceof BlockError)) throw error;
          // a pipe can be opened, but has no size
          if (error.code === 'ESPIPE') throw new BlockError('Could not resize file: Invalid argument', { code: 'EINVAL', cause: error });
          throw error.prepend(`Could not create '${filename}': `);
        });
      try {
        // the lock comes before the file is emptied: somebody may be using it
        const held = perm.write | perm.resize;
        storage.setLocks?.(held, perm.all & ~(perm.consistentRead | perm.write | perm.writeUnchanged)).commit();
        await storage.truncate(0);
        outcome.made.push(filename);
        if (prealloc === 'metadata') throw new BlockError('Unsupported preallocation mode: metadata', { code: 'ENOTSUP' });
        await storage.truncate(size, prealloc);
      } finally {
        await storage[Symbol.asyncDispose]();
      }
    },
    openFile: async (filename) => {
      if (!outcome.made.includes(filename)) outcome.readsAsZeros = false;
      return target(engine, await engine.openBackend({ filename, isProtocol: true, readOnly: false, discard: true, perms: createPerms }));
    },
    openImage: async (filename, format) =>
      target(engine, await engine.openBackend({ filename: filename || path, format, readOnly: false, noBacking: true, perms: resizerPerms })),
  };
  return host;
}

/** Who makes an image shares everything but resizing, as the peer does. */
const createPerms = { perm: perm.write | perm.resize, shared: perm.all & ~perm.resize };

function target(engine: Engine, backend: BlockBackend): CreateTarget {
  const { root } = backend;
  if (root === undefined) throw new BlockError('No medium found', { code: 'ENOMEDIUM' });
  return {
    // straight to the edge: creation writes past the end
    write: (offset, from) => root.write(offset, from),
    zero: (offset, length) => root.zero(offset, length),
    truncate: (size, prealloc) => backend.truncate(size, { exact: false, prealloc }),
    size: () => root.size(),
    flush: () => backend.flush(),
    state: root.node.state,
    close: () =>
      engine.closeBackend(backend).catch((error: unknown) => {
        // a device that knows no flush has nothing left to lose
        if (!(error instanceof BlockError) || error.code !== 'EINVAL') throw error;
      }),
  };
}
