/* A drive for discs: what is asked of it while there is a disc, and while there is none. */
import { afterEach, describe, expect, it } from 'vitest';
import { BlockBackend, resizerPerms } from '../../../src/core/block/backend.ts';
import { MemoryStorage } from '../../../src/core/storage/memory.ts';
import type { Storage } from '../../../src/core/storage/storage.ts';
import { Engine } from '../../../src/engine/engine.ts';

const size = 4096;
let engine: Engine;
afterEach(() => engine.close());

interface Drive {
  /** Undefined: nobody can tell. */
  hasDisc: boolean | undefined;
}

/** The backend of a raw node over the drive, or of the drive itself. */
async function open(drive: Drive, driver: 'raw' | 'host_cdrom'): Promise<BlockBackend> {
  const medium = new MemoryStorage('sr0', { size });
  engine = new Engine({
    openStorage: async (): Promise<Storage> =>
      new Proxy<Storage>(medium, {
        get: (target, name) => {
          if (name === 'caps') return { ...target.caps, kind: 'block-device' };
          if (name === 'hasDisc') return () => drive.hasDisc;
          const value: unknown = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
  });
  const cdrom = { driver: 'host_cdrom', filename: '/dev/sr0' };
  const node = await engine.addNode({ 'node-name': 'cd', ...(driver === 'raw' ? { driver, file: cdrom } : cdrom) });
  const backend = new BlockBackend(engine.graph, resizerPerms);
  backend.insert(node);
  return backend;
}

const outcome = async (request: () => unknown): Promise<string> => {
  try {
    await request();
    return 'done';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
};

describe.each(['raw', 'host_cdrom'] as const)('a drive under %s', (driver) => {
  it('has no medium while its disc is out, and has it again', async () => {
    const drive: Drive = { hasDisc: true };
    const backend = await open(drive, driver);
    const all = async (): Promise<string[]> => [
      await outcome(() => backend.read(0, new Uint8Array(512))),
      await outcome(() => backend.write(0, new Uint8Array(512))),
      await outcome(() => backend.zero(0, 512)),
      await outcome(() => backend.discard(0, 512)),
      await outcome(() => backend.flush()),
      await outcome(() => backend.mediumSize((reason) => reason)),
      await outcome(() => backend.truncate(size, { exact: false, prealloc: 'off' })),
    ];
    const done = Array<string>(7).fill('done');
    expect(await all()).toEqual(done);
    drive.hasDisc = false;
    expect(await all()).toEqual([...Array<string>(6).fill('No medium found'), 'No medium inserted']);
    // what is no request goes on
    expect(backend.size()).toBe(size);
    expect(await backend.status(0, size)).toMatchObject({ length: size });
    drive.hasDisc = true;
    expect(await all()).toEqual(done);
    await backend.remove();
  });

  it('is asked all the same where nobody can tell', async () => {
    const backend = await open({ hasDisc: undefined }, driver);
    expect(await outcome(() => backend.read(0, new Uint8Array(512)))).toBe('done');
    await backend.remove();
  });
});

it('is a device', async () => {
  engine = new Engine({ openStorage: async () => new MemoryStorage('f', { size }) });
  await expect(engine.addNode({ driver: 'host_cdrom', 'node-name': 'cd', filename: 'f' })).rejects.toThrow(
    "'host_cdrom' driver requires 'f' to be either a character or block device",
  );
});
